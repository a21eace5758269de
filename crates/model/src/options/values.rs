//! The values that a schema allows, as the grammar writes them.

use serde_json::Value;

use super::MOST;
use crate::error::EngineError;

/// All values of a schema whose values can be weighed ([`Request::weigh_options`](crate::Request::weigh_options)), in
/// its order: as an answer has them.
///
/// # Errors
/// [`EngineError::Grammar`] if they are not a few that the schema names.
pub fn option_values(schema: &Value) -> Result<Vec<String>, EngineError> {
    values(schema).map_err(EngineError::Grammar)
}

/// All values of the schema, in its order: those of the first property change last.
///
/// # Errors
/// One sentence if they are not a few that the schema names: constants, Booleans, and objects of such.
pub(crate) fn values(schema: &Value) -> Result<Vec<String>, String> {
    let mut values = of(schema, "the answer")?;
    // A list may name a value twice.
    let mut seen = std::collections::HashSet::new();
    values.retain(|value| seen.insert(value.clone()));
    Ok(values)
}

fn of(schema: &Value, name: &str) -> Result<Vec<String>, String> {
    if let Some(value) = schema.get("const") {
        return Ok(vec![written(value)]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return few(values.len()).map(|()| values.iter().map(written).collect());
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => Ok(vec!["true".to_owned(), "false".to_owned()]),
        Some("null") => Ok(vec!["null".to_owned()]),
        Some("object") => object(schema, name),
        _ => Err(format!("only answers out of a list have probabilities, and {name} may be anything")),
    }
}

fn object(schema: &Value, name: &str) -> Result<Vec<String>, String> {
    if schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
        return Err(format!(
            "only answers out of a list have probabilities, and {name} may have more properties"
        ));
    }
    let empty = serde_json::Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required = |key: &str| {
        schema["required"].as_array().is_some_and(|keys| keys.iter().any(|required| required == key))
    };
    let mut written = vec![String::new()];
    for (key, schema) in properties {
        if !required(key) {
            return Err(format!(
                "only answers out of a list have probabilities, and {key:?} may be left out"
            ));
        }
        let values = of(schema, &format!("{key:?}"))?;
        few(written.len().saturating_mul(values.len()))?;
        let separator = if written.iter().all(String::is_empty) { "" } else { ", " };
        let key = Value::from(key.as_str());
        written = written
            .iter()
            .flat_map(|before| values.iter().map(move |value| (before, value)))
            .map(|(before, value)| format!("{before}{separator}{key}: {value}"))
            .collect();
    }
    Ok(written.into_iter().map(|inner| format!("{{{inner}}}")).collect())
}

fn few(count: usize) -> Result<(), String> {
    match count {
        0 => Err("there is no answer to choose".to_owned()),
        1..=MOST => Ok(()),
        _ => Err(format!("at most {MOST} answers are weighed, and the schema allows {count} or more")),
    }
}

/// A value as JSON with a space after each comma and colon.
fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries =
                map.iter().map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), written(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_values_of_an_object_come_in_the_schemas_order() {
        let schema = json!({
            "type": "object",
            "properties": {
                "sure": {"type": "boolean"},
                "kind": {"enum": ["a \"b\"", 7, "a \"b\"", {"x": [1, null]}]},
                "fixed": {"const": "é"},
            },
            "required": ["kind", "sure", "fixed"],
        });
        assert_eq!(
            values(&schema).expect("a few"),
            [
                r#"{"sure": true, "kind": "a \"b\"", "fixed": "é"}"#,
                r#"{"sure": true, "kind": 7, "fixed": "é"}"#,
                r#"{"sure": true, "kind": {"x": [1, null]}, "fixed": "é"}"#,
                r#"{"sure": false, "kind": "a \"b\"", "fixed": "é"}"#,
                r#"{"sure": false, "kind": 7, "fixed": "é"}"#,
                r#"{"sure": false, "kind": {"x": [1, null]}, "fixed": "é"}"#,
            ]
        );
        assert_eq!(values(&json!({"type": "boolean"})).expect("two"), ["true", "false"]);
        assert_eq!(values(&json!({"type": "object", "properties": {}})).expect("one"), ["{}"]);
    }

    #[test]
    fn what_is_no_short_list_is_refused_in_a_sentence() {
        let pairs = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
            let properties: serde_json::Map<String, Value> =
                names.iter().map(|name| (name.clone(), json!({"type": "boolean"}))).collect();
            json!({"type": "object", "properties": properties, "required": names})
        };
        assert_eq!(values(&pairs(6)).map(|values| values.len()), Ok(64));
        let cases = [
            (pairs(7), "at most 64 answers are weighed, and the schema allows 128 or more"),
            (pairs(4000), "at most 64"),
            (json!({"enum": (0..65).collect::<Vec<_>>()}), "at most 64"),
            (json!({"enum": []}), "no answer"),
            (json!({"type": "string"}), "the answer may be anything"),
            (
                json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
                "\"n\" may be anything",
            ),
            (json!({"type": "object", "properties": {"n": {"const": 1}}}), "\"n\" may be left out"),
            (json!({"type": "object", "properties": {}, "additionalProperties": true}), "more properties"),
            (json!(true), "may be anything"),
        ];
        for (schema, reason) in cases {
            let error = values(&schema).expect_err("refused");
            assert!(error.contains(reason) && !error.contains('\n'), "{error}");
        }
    }
}
