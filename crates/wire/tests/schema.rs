//! The published schema is the one that the document's types have.

use countermove_proto::v1;
use countermove_wire::document::{PlanDocument, schema};
use serde_json::Value;

/// How the published schema is written anew.
const COMMAND: &str = "UPDATE_SCHEMA=1 cargo test -p countermove-wire --test schema";
const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/plan.schema.json");

#[test]
fn the_published_schema_is_the_documents() {
    let current = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(PUBLISHED, &current).expect("the schema can be written");
    }
    let published = std::fs::read_to_string(PUBLISHED).expect("there is a schema");
    assert!(
        published == current,
        "docs/plan.schema.json is not what the types say; write it anew: {COMMAND}"
    );
}

fn valid(validator: &jsonschema::Validator, document: &Value) -> Result<(), String> {
    let faults: Vec<_> =
        validator.iter_errors(document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// An incident in which everything is there once.
fn incident() -> v1::Incident {
    let belief = v1::TacticBelief {
        tactic: v1::Tactic::CredentialAccess.into(),
        weight: 1.0,
        techniques: vec![v1::Technique { id: "T1110".into(), name: "Brute Force".into() }],
        evidence: vec![v1::EvidenceLine {
            number: 1,
            text: "ssh login".into(),
            count: 3,
            attack: 0.9,
            because: "the model +2.2".into(),
        }],
    };
    let assessment = v1::Assessment {
        tactics: vec![belief.clone()],
        digest: Some(v1::DigestReport::default()),
        ..v1::Assessment::default()
    };
    let mean = v1::CostEstimate { mean: Some(1.5), variance: Some(0.5), ..v1::CostEstimate::default() };
    let state = v1::RecoveryState { is_attack_contained: true, ..v1::RecoveryState::default() };
    let candidate =
        v1::Candidate { cost: Some(mean), predicted_state: Some(state), ..v1::Candidate::default() };
    let step = v1::PlanStep {
        candidates: vec![candidate],
        rejected: vec![v1::RejectedCandidate::default()],
        state_after: Some(state),
        state_after_source: v1::StateSource::Predicted.into(),
        assurance: Some(v1::Assurance {
            reversibility: v1::Reversibility::Laborious.into(),
            ..Default::default()
        }),
        plan_hash: "0".repeat(64),
        expected_alerts: Some(v1::ExpectedAlerts {
            tactic: v1::Tactic::Impact.into(),
            kinds: vec![v1::AlertKind { classification: "trojan".into(), priority: Some(1) }],
        }),
        ..v1::PlanStep::default()
    };
    let table = v1::MinuteTable {
        actions: vec![v1::ActionMinutes::default()],
        assets: vec![v1::Asset { names: vec!["db-1".into()], criticality: 2.0 }],
        ..v1::MinuteTable::default()
    };
    v1::Incident {
        name: "incidents/018f3c1e-0000-7000-8000-000000000001".into(),
        create_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        status: v1::IncidentStatus::AwaitingApproval.into(),
        model: Some(v1::ModelIdentity {
            weights_sha256: "1".repeat(64),
            tokenizer_sha256: "2".repeat(64),
            templates_sha256: "3".repeat(64),
            arithmetic: "cpu-q8_0/1".into(),
            ..v1::ModelIdentity::default()
        }),
        options: Some(v1::PlanOptions {
            candidates: 3,
            rollouts: 3,
            max_depth: 10,
            max_steps: 10,
            seed: Some(u64::MAX),
            temperature: Some(0.6),
            top_p: Some(0.9),
            confidence: Some(0.95),
            alert_precision: Some(0.7),
            budget_tokens: 1000,
            deadline: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..v1::PlanOptions::default()
        }),
        cost_model: Some(v1::CostModel { kind: v1::CostKind::Minutes.into(), minutes: Some(table) }),
        revisions: vec![v1::ConjectureRevised {
            before: vec![belief],
            assessment: Some(assessment.clone()),
            ..v1::ConjectureRevised::default()
        }],
        assessment: Some(assessment),
        state: Some(state),
        plan: Some(v1::Plan { steps: vec![step], end: v1::PlanEnd::Recovered.into(), usage: None }),
        ..v1::Incident::default()
    }
}

#[test]
fn documents_are_as_the_schema_says_and_are_read_as_they_were_written() {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is a schema");
    let document = PlanDocument::new(incident(), ["worker w-1 was lost".to_owned()]);
    let json: Value = serde_json::from_str(&document.to_json().unwrap()).unwrap();
    assert_eq!(valid(&validator, &json), Ok(()));
    assert_eq!(serde_json::from_value::<PlanDocument>(json.clone()).unwrap(), document);

    let broken = |pointer: &str, value: Value| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).unwrap_or_else(|| panic!("there is no {pointer}")) = value;
        assert!(valid(&validator, &json).is_err(), "{pointer} is not bound");
    };
    broken("/version", 2.into());
    broken("/incident", "incidents/1".into());
    broken("/status", "unspecified".into());
    broken("/end", "lunch".into());
    broken("/options/candidates", 17.into());
    broken("/options/mode", "unspecified".into());
    broken("/model/weights_sha256", "1".into());
    broken("/assessment/tactics/0/id", "".into());
    broken("/assessment/tactics/0/name", "unknown".into());
    broken("/assessment/tactics/0/weight", 1.5.into());
    broken("/steps/0/state_after_source", "guessed".into());
    broken("/steps", "none".into());
    for field in json.as_object().unwrap().keys() {
        let mut less = json.clone();
        less.as_object_mut().unwrap().remove(field);
        assert!(valid(&validator, &less).is_err(), "{field} may be left out");
    }
}

#[test]
fn the_keys_and_words_of_version_1_are_as_they_were() {
    let json = serde_json::to_value(PlanDocument::new(incident(), [])).unwrap();
    let words = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    for (pointer, word) in [
        ("/status", "awaiting_approval"),
        ("/end", "recovered"),
        ("/options/mode", "offline"),
        ("/options/autonomy", "advise"),
        ("/cost_model/kind", "minutes"),
        ("/cost_model/minutes/actions/0/kind", "unspecified"),
        ("/assessment/tactics/0/id", "TA0006"),
        ("/assessment/tactics/0/name", "Credential Access"),
        ("/steps/0/state_after_source", "predicted"),
        ("/steps/0/assurance/reversibility", "laborious"),
        ("/steps/0/expected_alerts/tactic", "Impact"),
        ("/create_time", "2023-11-14T22:13:20Z"),
    ] {
        assert_eq!(words(pointer), word, "{pointer}");
    }
    for key in [
        "version",
        "incident",
        "create_time",
        "update_time",
        "status",
        "model",
        "options",
        "cost_model",
        "assessment",
        "state",
        "steps",
        "end",
        "error",
        "usage",
        "warnings",
    ] {
        assert!(json.get(key).is_some(), "{key} is missing");
    }
}
