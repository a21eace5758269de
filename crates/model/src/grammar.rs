//! Answer formats: compiled once, then followed token by token.
//!
//! A JSON answer is valid by construction: before each choice the grammar says which tokens may come, and after it
//! which tokens must. White space is fixed, so everything that a schema determines is forced and costs no choice.
//!
//! Compiled schemas are kept, each for the owner who asked, the least recently used one going first. What they learn about their lexers while masks
//! are computed is shared by all sequences of that owner that follow the same schema.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, SimpleVob};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Map, Value, json};

use crate::error::EngineError;
use crate::kv::Owner;
use crate::options::{Options, values};
use crate::tokenizer::Tokenizer;

/// Compiled schemas that are kept.
const KEPT: usize = 64;
/// Longest schema, as text.
const LONGEST_SCHEMA: usize = 1 << 20;
/// Deepest schema that is walked; llguidance has its own limits beyond.
const DEEPEST: usize = 32;
/// Tokens that a string is expected to take where its length is not bounded.
const STRING_TOKENS: usize = 64;

/// Compiles schemas and keeps them.
pub(crate) struct Grammars {
    factory: ParserFactory,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    schemas: HashMap<Key, Compiled>,
    uses: u64,
}

/// Whose a schema is, and its text.
type Key = (Owner, Arc<str>);

/// A compiled schema.
struct Compiled {
    /// When it was used last, in uses of any.
    used: u64,
    matcher: Matcher,
    room: usize,
    /// Its values, once somebody asked for their probabilities.
    options: Option<Arc<Options>>,
}

/// One sequence's way through a schema.
#[derive(Clone)]
pub(crate) struct Follower {
    matcher: Matcher,
    /// Key in the cache, to drop a grammar that broke.
    key: Key,
}

impl Grammars {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let capabilities = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&tokenizer.grammar_environment(), capabilities, &slices)
            .map_err(|error| EngineError::Grammar(error.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, kept: Mutex::default() })
    }

    /// Starts on a value of the schema. Gives also how many tokens such a value is expected to take at most, so that
    /// room for it can be kept.
    pub(crate) fn follow(
        &self,
        owner: Owner,
        schema: &Value,
        tokenizer: &Tokenizer,
    ) -> Result<(Follower, usize), EngineError> {
        let text = schema.to_string();
        if text.len() > LONGEST_SCHEMA {
            return Err(EngineError::Grammar(format!("the schema is longer than {LONGEST_SCHEMA} bytes")));
        }
        let key: Key = (owner, text.into());
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.uses += 1;
            let uses = kept.uses;
            if let Some(compiled) = kept.schemas.get_mut(&key) {
                compiled.used = uses;
                let (matcher, room) = (compiled.matcher.clone(), compiled.room);
                return Ok((Follower { matcher, key }, room));
            }
        }
        let schema = prepared(schema)?;
        let room = room(&schema, tokenizer, 0);
        let grammar = TopLevelGrammar::from_grammar(GrammarWithLexer::from_json_schema(schema));
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        if let Some(error) = matcher.get_error() {
            return Err(EngineError::Grammar(first_line(&error)));
        }
        for warning in matcher.grammar_warnings() {
            tracing::warn!(%warning, "answer format is taken loosely");
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.schemas.len() >= KEPT
            && let Some(oldest) =
                kept.schemas.iter().min_by_key(|(_, compiled)| compiled.used).map(|(key, _)| key.clone())
        {
            kept.schemas.remove(&oldest);
        }
        let used = kept.uses;
        kept.schemas.insert(key.clone(), Compiled { used, matcher: matcher.clone(), room, options: None });
        Ok((Follower { matcher, key }, room))
    }

    /// The values of a schema that has few, each in the tokens of its text.
    pub(crate) fn options(
        &self,
        owner: Owner,
        schema: &Value,
        tokenizer: &Tokenizer,
    ) -> Result<Arc<Options>, EngineError> {
        let (follower, _) = self.follow(owner, schema, tokenizer)?;
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(options) = kept.schemas.get(&follower.key).and_then(|kept| kept.options.clone()) {
                return Ok(options);
            }
        }
        let mut options = Vec::new();
        for text in values(schema).map_err(EngineError::Grammar)? {
            let tokens = tokenizer.encode_data(&text);
            if !follower.clone().takes(&tokens) {
                return Err(EngineError::Grammar(format!(
                    "the schema names the answer {text} and does not allow it"
                )));
            }
            options.push((text, tokens));
        }
        let options = Arc::new(Options::new(options).map_err(EngineError::Grammar)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = kept.schemas.get_mut(&follower.key) {
            compiled.options = Some(Arc::clone(&options));
        }
        Ok(options)
    }

    /// Forgets a grammar that broke, so that the next request compiles it anew.
    pub(crate) fn forget(&self, follower: &Follower) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).schemas.remove(&follower.key);
    }
}

impl Follower {
    /// Tokens that must come next; they are taken.
    pub(crate) fn forced(&mut self) -> Result<Vec<u32>, EngineError> {
        let tokens = self.matcher.consume_ff_tokens();
        self.sound().map(|()| tokens)
    }

    /// Tokens that may come next.
    pub(crate) fn mask(&mut self) -> Result<SimpleVob, EngineError> {
        self.matcher
            .compute_mask_or_eos()
            .map_err(|error| EngineError::Grammar(first_line(&error.to_string())))
    }

    /// Takes a token that the mask allows.
    pub(crate) fn take(&mut self, token: u32) -> Result<(), EngineError> {
        self.matcher
            .consume_token(token)
            .map_err(|error| EngineError::Grammar(first_line(&error.to_string())))
    }

    /// Whether these tokens are a whole value.
    fn takes(mut self, tokens: &[u32]) -> bool {
        let taken = self.matcher.consume_tokens(tokens).is_ok();
        taken && (self.is_whole() || self.matcher.is_accepting().unwrap_or(false))
    }

    /// Whether the value is whole and nothing may follow.
    pub(crate) fn is_whole(&self) -> bool {
        self.matcher.is_stopped() && self.matcher.stop_reason().is_ok()
    }

    fn sound(&self) -> Result<(), EngineError> {
        match self.matcher.get_error() {
            Some(error) => Err(EngineError::Grammar(first_line(&error))),
            None => Ok(()),
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The schema with white space fixed and objects closed where it does not say otherwise.
fn prepared(schema: &Value) -> Result<Value, EngineError> {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        Value::Bool(true) => json!({}),
        _ => return Err(EngineError::Grammar("the schema is not a JSON object".to_owned())),
    };
    close(&mut schema, 0);
    if let Some(top) = schema.as_object_mut() {
        top.entry("x-guidance").or_insert_with(
            || json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
        );
    }
    Ok(schema)
}

fn close(schema: &mut Value, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    // These hold values, not schemas.
                    "const" | "enum" | "default" | "examples" | "x-guidance" => {}
                    "properties" | "patternProperties" | "$defs" | "definitions" => {
                        value
                            .as_object_mut()
                            .into_iter()
                            .flat_map(Map::values_mut)
                            .for_each(|v| close(v, depth + 1));
                    }
                    _ => close(value, depth + 1),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| close(value, depth + 1)),
        _ => {}
    }
}

/// Tokens that a value of the schema is expected to take at most: exact for what the schema determines, a guess for
/// text. It only decides when reasoning has to end, never what an answer may be.
fn room(schema: &Value, tokenizer: &Tokenizer, depth: usize) -> usize {
    // Values are written with a space after each comma and colon, which may be a token of its own.
    let written = |value: &Value| {
        let text = value.to_string();
        tokenizer.encode_data(&text).len() + text.matches([',', ':']).count()
    };
    let number = |key: &str| schema[key].as_u64().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if depth > DEEPEST {
        return STRING_TOKENS;
    }
    if let Some(value) = schema.get("const") {
        return written(value);
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(written).max().unwrap_or(1);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(options) = schema[key].as_array() {
            return options.iter().map(|option| room(option, tokenizer, depth + 1)).max().unwrap_or(1);
        }
    }
    let kind = schema["type"].as_str().or(schema["type"][0].as_str());
    match kind {
        Some("boolean" | "null") => 2,
        Some("integer" | "number") => 8,
        Some("array") => {
            let items = number("minItems").unwrap_or(0).max(number("maxItems").unwrap_or(3).min(3)).min(64);
            items * (room(&schema["items"], tokenizer, depth + 1) + 2) + 2
        }
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties
                .map(|(key, value)| tokenizer.encode_data(key).len() + 4 + room(value, tokenizer, depth + 1))
                .fold(4, usize::saturating_add)
        }
        // Three bytes to a token is what English takes at most.
        Some("string") => {
            number("maxLength").map_or(STRING_TOKENS, |longest| (longest / 3 + 3).min(2 * STRING_TOKENS))
        }
        _ => STRING_TOKENS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Owner = [0; 16];
    use crate::tokenizer::tests::tiny;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {"the": {"type": "boolean"}, "b": {"enum": ["x", "yy"]}, "n": {"const": 7}},
            "required": ["the", "b", "n"],
        })
    }

    /// Follows a schema, taking the lowest token that may come; gives the text, choices and forced tokens.
    fn walk(schema: &Value) -> (String, usize, usize) {
        let tokenizer = tiny();
        let grammars = Grammars::new(&tokenizer).expect("a factory");
        let (mut follower, _) = grammars.follow(NOBODY, schema, &tokenizer).expect("it compiles");
        let mut tokens = follower.forced().expect("sound");
        let (mut chosen, mut forced) = (0, tokens.len());
        while !follower.is_whole() {
            let mask = follower.mask().expect("a mask");
            let token =
                (0..tokenizer.vocab_size() as u32).find(|&id| mask.is_allowed(id)).expect("something");
            follower.take(token).expect("allowed");
            tokens.push(token);
            chosen += 1;
            let more = if follower.is_whole() { Vec::new() } else { follower.forced().expect("sound") };
            forced += more.len();
            tokens.extend(more);
            assert!(chosen < 200, "{}", tokenizer.decode(&tokens));
        }
        (tokenizer.decode(&tokens), chosen, forced)
    }

    #[test]
    fn what_the_schema_determines_is_forced() {
        let (text, chosen, forced) = walk(&schema());
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["n"], 7);
        assert!(text.starts_with("{\"the\": ") && text.contains(", \"b\": \""), "{text}");
        // A space or a whole word before each value, then a letter that settles the rest.
        assert!(chosen <= 5, "{text}: {chosen} choices");
        assert!(forced > chosen, "{text}: {forced} forced");
    }

    #[test]
    fn forced_tokens_are_those_of_the_whole_text() {
        let tokenizer = tiny();
        let (text, chosen, _) = walk(&json!({"const": {"the": "truth"}}));
        assert_eq!(text, "{\"the\": \"truth\"}");
        assert_eq!(chosen, 0);
        let grammars = Grammars::new(&tokenizer).expect("a factory");
        let (mut follower, room) =
            grammars.follow(NOBODY, &json!({"const": {"the": "truth"}}), &tokenizer).expect("it compiles");
        let tokens = follower.forced().expect("sound");
        assert_eq!(tokens, tokenizer.encode_data(&text));
        assert!(room >= tokens.len());
    }

    #[test]
    fn broken_schemas_are_refused_in_a_sentence() {
        let tokenizer = tiny();
        let grammars = Grammars::new(&tokenizer).expect("a factory");
        for schema in [
            json!([]),
            json!({"type": "nothing"}),
            json!({"$ref": "#/no/such"}),
            json!({"type": "string", "pattern": "("}),
        ] {
            let error = grammars.follow(NOBODY, &schema, &tokenizer).err().expect("refused");
            assert!(
                matches!(&error, EngineError::Grammar(reason) if !reason.is_empty() && !reason.contains('\n')),
                "{error}"
            );
        }
    }

    #[test]
    fn grammars_are_kept_and_bounded() {
        let tokenizer = tiny();
        let grammars = Grammars::new(&tokenizer).expect("a factory");
        for n in 0..KEPT + 5 {
            grammars.follow(NOBODY, &json!({"const": n}), &tokenizer).expect("it compiles");
        }
        assert_eq!(grammars.kept.lock().expect("whole").schemas.len(), KEPT);
        let (follower, _) =
            grammars.follow(NOBODY, &json!({"const": KEPT}), &tokenizer).expect("it compiles");
        grammars.forget(&follower);
        assert_eq!(grammars.kept.lock().expect("whole").schemas.len(), KEPT - 1);
    }

    #[test]
    fn options_are_what_the_grammar_allows_in_the_tokens_of_their_text() {
        let tokenizer = tiny();
        let grammars = Grammars::new(&tokenizer).expect("a factory");
        let schema = json!({
            "type": "object",
            "properties": {"the": {"type": "boolean"}, "b": {"enum": ["x \"é\"", "yy", 12, 1]}},
            "required": ["the", "b"],
        });
        let options = grammars.options(NOBODY, &schema, &tokenizer).expect("eight");
        assert_eq!(options.len(), 8);
        for option in 0..options.len() {
            let tokens = [options.common(), options.rest(option)].concat();
            assert_eq!(tokens, tokenizer.encode_data(options.text(option)));
        }
        assert!(Arc::ptr_eq(&options, &grammars.options(NOBODY, &schema, &tokenizer).expect("kept")));
        assert!(!Arc::ptr_eq(&options, &grammars.options([1; 16], &schema, &tokenizer).expect("another's")));
        // Of numbers one may be the beginning of another.
        assert_eq!(
            grammars.options(NOBODY, &json!({"enum": [1, 12, "1"]}), &tokenizer).expect("three").len(),
            3
        );
        for refused in [
            json!({"type": "string"}),
            json!({"type": "string", "enum": ["a", 1]}),
            json!({"type": "nothing"}),
        ] {
            assert!(
                matches!(grammars.options(NOBODY, &refused, &tokenizer), Err(EngineError::Grammar(_))),
                "{refused}"
            );
        }
    }

    #[test]
    fn open_objects_stay_open_where_the_schema_says_so() {
        let open = prepared(&json!({"properties": {"a": {"properties": {}}}, "additionalProperties": true}))
            .expect("sound");
        assert_eq!(open["additionalProperties"], true);
        assert_eq!(open["properties"]["a"]["additionalProperties"], false);
    }
}
