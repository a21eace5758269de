//! A model that answers any question with an instance of its JSON Schema, drawn from the prompt and the seed alone.

use countermove_planner::{
    Answer, Answers, LanguageModel, ModelError, Question, RolloutBatch, RolloutResult, RolloutSpec,
    Simulator, TokenCounter, Usage, Weighed, run_rollout,
};
use countermove_tests::Dice;
use serde_json::{Map, Value, json};

/// Answers at once; the same question with the same seed has the same answer on every worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScriptedModel;

impl ScriptedModel {
    pub async fn roll_out(&self, batch: &RolloutBatch, spec: &RolloutSpec) -> RolloutResult {
        let (templates, answers) = (super::templates(), Answers::default());
        let simulator = Simulator { model: self, templates: &templates, answers: &answers };
        run_rollout(&simulator, batch, spec, &TokenCounter::default()).await.expect("a rollout")
    }
}

impl LanguageModel for ScriptedModel {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        let text = question.prompt.segments.join("\n");
        let mut dice =
            Dice::new(text.bytes().fold(question.sampling.seed ^ 0x9e37_79b9_7f4a_7c15, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            }));
        let json = instance(&question.format.json_schema, &mut dice).to_string();
        tokens.add(json.len() as u64);
        Ok(Answer {
            untuned: false,
            thinking: String::new(),
            options: if question.format.weigh_options {
                weighed(&question.format.json_schema, &json)
            } else {
                Vec::new()
            },
            json,
            complete: true,
            usage: Usage { prompt_tokens: 100, sampled_tokens: 10, forced_tokens: 5, ..Usage::default() },
        })
    }
}

fn instance(schema: &Value, dice: &mut Dice) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values[dice.position(values.len())].clone();
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        // The first way to answer is the one that says more.
        return instance(&choices[0], dice);
    }
    match schema["type"].as_str() {
        Some("boolean") => json!(dice.roll(5) < 2),
        Some("string") => match schema["pattern"].as_str() {
            Some(pattern) => json!(sentence(pattern, dice)),
            None => json!(format!("Somebody looks at it, case {}.", dice.roll(1000))),
        },
        Some("array") => {
            let items = schema["minItems"].as_u64().unwrap_or(0).max(1);
            (0..items).map(|_| instance(&schema["items"], dice)).collect()
        }
        Some("object") => {
            let empty = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&empty);
            properties.iter().map(|(name, schema)| (name.clone(), instance(schema, dice))).collect()
        }
        other => panic!("a schema of type {other:?}"),
    }
}

/// The values of an object with one enumerated property, half of the mass on the answer.
fn weighed(schema: &Value, answer: &str) -> Vec<Weighed> {
    let (name, property) =
        schema["properties"].as_object().and_then(|properties| properties.iter().next()).expect("one");
    let Some(values) = property["enum"].as_array() else {
        // Facts: as likely as that none of them holds.
        let none = answer.replace("true", "false");
        return [answer.to_owned(), none].map(|value| Weighed { value, probability: 0.5 }).to_vec();
    };
    let weigh = |value: &Value| {
        let value = json!({name.as_str(): value}).to_string();
        let others = (values.len() - 1).max(1) as f32;
        Weighed { probability: if value == answer { 0.5 } else { 0.5 / others }, value }
    };
    values.iter().map(weigh).collect()
}

/// One of the alternatives at the start of the pattern, with an ending that makes it differ from others.
fn sentence(pattern: &str, dice: &mut Dice) -> String {
    let mut openings = vec![String::new()];
    let mut chars = pattern.trim_start_matches('^').trim_start_matches("(?:").chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => openings.last_mut().expect("one").extend(chars.next()),
            '|' => openings.push(String::new()),
            ')' => break,
            c => openings.last_mut().expect("one").push(c),
        }
    }
    let endings = ["at once", "before noon", "as soon as possible", "within the hour", "while it is quiet"];
    format!("{} {}", openings[dice.position(openings.len())], endings[dice.position(endings.len())])
}
