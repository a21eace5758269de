//! Deterministic language models for tests.

use std::sync::Mutex;

use serde_json::{Map, Value};

use crate::language_model::{Answer, LanguageModel, ModelError, Question, TokenCounter, Usage, Weighed};
use crate::seeds::derive_seed;

/// A model that answers by a function of the question, and remembers what it was asked.
#[derive(Debug)]
pub struct ScriptedModel<F> {
    script: F,
    asked: Mutex<Vec<Question>>,
}

impl<F> ScriptedModel<F> {
    /// Answers with the JSON text that `script` gives.
    pub fn new(script: F) -> Self {
        Self { script, asked: Mutex::new(Vec::new()) }
    }

    /// The questions so far, in the order in which they came.
    pub fn asked(&self) -> Vec<Question> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl<F> LanguageModel for ScriptedModel<F>
where
    F: Fn(&Question) -> Result<String, ModelError> + Send + Sync + 'static,
{
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        let json = (self.script)(&question)?;
        let words = |text: &str| text.split_whitespace().count() as u64;
        let usage = Usage {
            prompt_tokens: question.prompt.segments.iter().map(|segment| words(segment)).sum(),
            sampled_tokens: words(&json),
            ..Usage::default()
        };
        tokens.add(usage.sampled_tokens);
        let options = sure_of(&question, &json);
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(question);
        // Lets questions that were asked together take turns, as a real engine would.
        tokio::task::yield_now().await;
        let thinking = "It follows from the alerts.".into();
        Ok(Answer { thinking, json, complete: true, options, untuned: false, usage })
    }
}

/// What a question's options weigh for a model that is sure of its answer, be it one of them or not; none if they are not asked for.
pub fn sure_of(question: &Question, json: &str) -> Vec<Weighed> {
    if !question.format.weigh_options {
        return Vec::new();
    }
    let answer: Value = serde_json::from_str(json).unwrap_or_default();
    let weighed = |value: Value| {
        let probability = if value == answer { 1.0 } else { 0.0 };
        Weighed { value: value.to_string(), probability }
    };
    let allowed = allowed(&question.format.json_schema);
    match allowed.contains(&answer) {
        true => allowed.into_iter().map(weighed).collect(),
        false => vec![Weighed { value: json.to_owned(), probability: 1.0 }],
    }
}

/// All values of a schema of constants, Booleans, lists and objects of such.
fn allowed(schema: &Value) -> Vec<Value> {
    if let Some(value) = schema.get("const") {
        return vec![value.clone()];
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.clone();
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return vec![true.into(), false.into()];
    };
    properties.iter().fold(vec![Value::Object(Map::new())], |objects, (name, schema)| {
        let values = allowed(schema);
        let with = |object: &Value, value: &Value| {
            let mut object = object.clone();
            object[name.as_str()] = value.clone();
            object
        };
        objects
            .iter()
            .flat_map(|object| values.iter().map(|value| with(object, value)).collect::<Vec<_>>())
            .collect()
    })
}

/// A value that the schema allows, by the question's seed: names are drawn, lists are as short as they may be,
/// Booleans are true, text is a fixed sentence, and of alternatives the first is taken. So there is an incident, and
/// whatever an action can bring about, it does.
pub fn optimist(question: &Question) -> Result<String, ModelError> {
    let mut draws = 0;
    let value = instance(&question.format.json_schema, question.sampling.seed, &mut draws);
    Ok(value.to_string())
}

fn instance(schema: &Value, seed: u64, draws: &mut u64) -> Value {
    let get = |key: &str| schema.get(key);
    if let Some(value) = get("const") {
        return value.clone();
    }
    if let Some(names) = get("enum").and_then(Value::as_array) {
        *draws += 1;
        let drawn = derive_seed(seed, "draw", &[*draws]) as usize % names.len().max(1);
        return names.get(drawn).cloned().unwrap_or_default();
    }
    if let Some(first) = get("anyOf").and_then(Value::as_array).and_then(|schemas| schemas.first()) {
        return instance(first, seed, draws);
    }
    match get("type").and_then(Value::as_str) {
        Some("object") => {
            let properties = get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            let entries = properties.into_iter().map(|(name, schema)| {
                let value = instance(&schema, seed, draws);
                (name, value)
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Some("array") => {
            let least = get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let items = get("items").cloned().unwrap_or_default();
            (0..least).map(|_| instance(&items, seed, draws)).collect()
        }
        Some("boolean") => Value::Bool(true),
        _ => Value::String("It stops the attacker.".into()),
    }
}
