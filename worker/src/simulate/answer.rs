//! Answers by dice.

use countermove_model::option_values;
use countermove_planner::{ModelError, Question, Weighed};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// An instance of the question's JSON Schema, drawn from the question and its seed alone.
pub(super) fn instance(question: &Question) -> String {
    draw(&question.format.json_schema, &mut dice(question)).to_string()
}

/// One of the values that the question's JSON Schema allows, drawn likewise, and all of them. What is drawn has half of
/// the mass.
///
/// # Errors
/// [`ModelError::Refused`] where a real model refuses to weigh them.
pub(super) fn weighed(question: &Question) -> Result<(String, Vec<Weighed>), ModelError> {
    let values = option_values(&question.format.json_schema)
        .map_err(|error| ModelError::Refused(error.to_string()))?;
    let drawn = dice(question).roll(values.len());
    let rest = values.len() - 1;
    let (own, others) = if rest == 0 { (1.0, 0.0) } else { (0.5, 0.5 / rest as f32) };
    let weigh = |(number, value)| Weighed { value, probability: if number == drawn { own } else { others } };
    let options: Vec<Weighed> = values.into_iter().enumerate().map(weigh).collect();
    Ok((options[drawn].value.clone(), options))
}

/// Dice that fall by the question and its seed alone.
fn dice(question: &Question) -> Dice {
    let texts = question.prompt.segments.iter().chain([&question.prompt.system]);
    // The texts enter by FNV-1a.
    let seed = texts
        .flat_map(|text| text.bytes())
        .fold(question.sampling.seed ^ 0x9e37_79b9_7f4a_7c15, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Dice::new(seed)
}

/// Random numbers; the generator is SplitMix64.
struct Dice(SplitMix64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// A number below `sides`; 0 where there is none.
    fn roll(&mut self, sides: usize) -> usize {
        // Below `sides`, so it fits.
        self.0.next_u64().checked_rem(sides as u64).unwrap_or(0) as usize
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.roll(choices.len()))
    }
}

fn draw(schema: &Value, dice: &mut Dice) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(value) = schema.get("enum").and_then(Value::as_array).and_then(|values| dice.pick(values)) {
        return value.clone();
    }
    // The first way to answer is the one that says more.
    if let Some(first) = schema.get("anyOf").and_then(Value::as_array).and_then(|ways| ways.first()) {
        return draw(first, dice);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => json!(dice.roll(5) < 2),
        Some("integer" | "number") => json!(dice.roll(10)),
        Some("string") => match schema.get("pattern").and_then(Value::as_str) {
            Some(pattern) => json!(sentence(pattern, dice)),
            None => json!(format!("Somebody looks at it, case {}.", dice.roll(1000))),
        },
        Some("array") => {
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 16);
            (0..count).map(|_| schema.get("items").map_or(Value::Null, |items| draw(items, dice))).collect()
        }
        Some("object") => {
            let empty = Map::new();
            let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
            Value::Object(
                properties.iter().map(|(name, schema)| (name.clone(), draw(schema, dice))).collect(),
            )
        }
        _ => Value::Null,
    }
}

/// One of the alternatives with which the pattern begins, with an ending that makes it differ from others.
fn sentence(pattern: &str, dice: &mut Dice) -> String {
    const ENDINGS: [&str; 5] =
        ["at once", "before noon", "as soon as possible", "within the hour", "while it is quiet"];
    let mut openings = vec![String::new()];
    let mut chars = pattern.trim_start_matches('^').trim_start_matches("(?:").chars();
    while let Some(c) = chars.next() {
        match (c, openings.last_mut()) {
            ('|', _) => openings.push(String::new()),
            (')', _) => break,
            ('\\', Some(opening)) => opening.extend(chars.next()),
            (c, Some(opening)) => opening.push(c),
            (_, None) => break,
        }
    }
    let opening = dice.pick(&openings).cloned().unwrap_or_default();
    format!("{opening} {}", dice.pick(&ENDINGS).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use countermove_planner::{AnswerFormat, Prompt, Purpose, Sampling};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_fit_their_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"type": "boolean"},
                "b": {"enum": ["x", "y"]},
                "c": {"type": "array", "minItems": 2, "items": {"const": 7}},
                "d": {"type": "string", "pattern": "^(?:Isolate|Wipe 10\\.0) .*$"},
                "e": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            },
        });
        let mut seen = std::collections::HashSet::new();
        for seed in 0..50 {
            let answer = draw(&schema, &mut Dice::new(seed));
            assert!(answer["a"].is_boolean() && answer["e"].is_number());
            assert!(answer["b"] == "x" || answer["b"] == "y");
            assert_eq!(answer["c"], json!([7, 7]));
            let sentence = answer["d"].as_str().unwrap().to_owned();
            assert!(sentence.starts_with("Isolate ") || sentence.starts_with("Wipe 10.0 "), "{sentence}");
            assert_eq!(draw(&schema, &mut Dice::new(seed)), answer, "the same dice");
            seen.insert(answer.to_string());
        }
        assert!(seen.len() > 20, "other dice");
    }

    #[test]
    fn options_are_weighed_where_a_real_model_weighs_them() {
        let question = |json_schema| Question {
            tenant: String::new(),
            prompt: Prompt { system: String::new(), segments: vec!["x".to_owned()] },
            format: AnswerFormat { thinking_tokens: 0, json_schema, max_tokens: 32, weigh_options: true },
            sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: 1 },
            purpose: Purpose::Decision,
        };
        let (answer, options) = weighed(&question(json!({"enum": ["a", "b", "c"]}))).unwrap();
        assert_eq!(options.iter().map(|option| option.probability).sum::<f32>(), 1.0);
        let likeliest = options.iter().max_by(|a, b| a.probability.total_cmp(&b.probability)).unwrap();
        assert_eq!((likeliest.value.as_str(), likeliest.probability), (answer.as_str(), 0.5));
        assert!(matches!(weighed(&question(json!({"type": "string"}))), Err(ModelError::Refused(_))));
        assert_eq!(weighed(&question(json!({"const": 1}))).unwrap().1[0].probability, 1.0);
    }

    proptest! {
        #[test]
        fn no_schema_breaks_it(pattern in "\\PC{0,30}", seed: u64) {
            let schema = json!({"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}, "y": []}});
            let _ = draw(&schema, &mut Dice::new(seed));
        }
    }
}
