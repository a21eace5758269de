//! Plans that are known word for word: whoever changes how the work is done, and not what is planned, changes none of them.
//!
//! A change that is meant to change plans writes them anew, by `make golden`, and shows in its diff what it changed.

use std::path::{Path, PathBuf};

use countermove_tests::{Cli, Cluster, exclusive, repository};
use serde_json::{Map, Value};

/// Folder of a sample incident, and the seed of its plan.
const PLANS: [(&str, u64); 3] = [("web-shell", 7), ("ssh-ransomware", 11), ("benign", 1)];

/// What differs from run to run, or says how a plan was made and not what it is.
const LEFT_OUT: [&str; 11] = [
    "version",
    "incident",
    "create_time",
    "update_time",
    "tenant",
    "priority",
    "model",
    "options",
    "usage",
    // Hashes and texts over names that every incident has anew.
    "plan_hash",
    "status",
];

/// The value without what is left out and without what is empty. A state becomes the list of what holds in it; numbers
/// keep six digits, since the last bits of a root or a logarithm are the mathematics library's.
fn planned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| value.clone()),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) => format!("{number:.5e}").parse().ok().map(|rounded: f64| rounded.into()),
            None => Some(value.clone()),
        },
        Value::Bool(_) => Some(value.clone()),
        Value::Array(entries) => {
            let entries: Vec<Value> = entries.iter().filter_map(planned).collect();
            (!entries.is_empty()).then_some(Value::Array(entries))
        }
        Value::Object(fields) if is_state(fields) => {
            let holds = fields.iter().filter(|(_, holds)| **holds == Value::Bool(true));
            let names: Vec<&str> = holds.map(|(name, _)| name.as_str()).collect();
            Some(Value::String(names.join(" ")))
        }
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
            let kept: Map<String, Value> =
                kept.filter_map(|(name, value)| Some((name.clone(), planned(value)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
    }
}

fn is_state(fields: &Map<String, Value>) -> bool {
    fields.len() == 6 && fields.values().all(Value::is_boolean)
}

fn golden(incident: &str) -> PathBuf {
    repository().join("tests/golden").join(format!("{incident}.json"))
}

/// The first line in which two texts differ, with its number.
fn first_difference<'a>(one: &'a str, other: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let count = one.lines().count().max(other.lines().count());
    let lines = |text: &'a str| text.lines().chain(std::iter::repeat("(nothing)"));
    (1..=count)
        .zip(lines(one).zip(lines(other)))
        .find_map(|(number, (a, b))| (a != b).then_some((number, a, b)))
}

fn compare(file: &Path, found: &str) {
    if std::env::var_os("COUNTERMOVE_WRITE_GOLDEN").is_some() {
        std::fs::write(file, found).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        return;
    }
    let known = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    if let Some((line, known, found)) = first_difference(&known, found) {
        panic!(
            "another plan than before, first in {}:{line}\n  known: {known}\n  found: {found}\n\
             if plans are meant to change, `make golden` writes them anew",
            file.display()
        );
    }
}

#[tokio::test]
async fn plans_with_a_seed_are_the_known_ones() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    for (incident, seed) in PLANS {
        let output = Cli::new(&cluster.url, ["plan", "--json", "--seed"])
            .arg(seed.to_string())
            .arg("--incident")
            .arg(repository().join("tests/incidents").join(incident))
            .args(["--steps", "3", "--candidates", "2", "--rollouts", "2", "--depth", "7"])
            .args(["--thinking-tokens", "0"])
            .run()
            .await;
        output.assert_planned();
        let document: Value =
            serde_json::from_str(&output.stdout).expect("standard output is one JSON document");
        let planned = planned(&document).expect("the document says something");
        assert!(planned["assessment"].is_object(), "it judges the evidence: {planned}");
        let text = serde_json::to_string_pretty(&planned).expect("it was JSON before");
        compare(&golden(incident), &(text + "\n"));
    }
}
