//! The plan as a CACAO 2.0 playbook: a sequence of manual steps, one for each decision.
//!
//! Written from the rules of the OASIS specification "CACAO Security Playbooks Version 2.0" (Committee Specification 01):
//! identifiers are a type and a UUID, times are UTC with milliseconds, a workflow is one start, a chain of steps and one
//! end. `cacao.schema.json` beside this file states those rules for what is written here; it is ours, since the
//! committee publishes its schemas apart from the specification and they need not be reachable where this is built.
//!
//! Invariant: identifiers follow from the incident alone (RFC 9562, version 5), so exporting twice gives the same
//! playbook, and a step keeps its identifier while the plan goes on.

use countermove_incident::{Entities, EntityKind, Measure, Named};
use countermove_wire::document::{PlanDocument, Step};
use serde_json::{Map, Value, json};

use super::{derived, milliseconds, references};

/// Writes the playbook. Steps that were not approved yet are in it as well: a plan is advice until somebody approves it.
pub(crate) fn cacao(document: &PlanDocument) -> Value {
    let id = |kind: &str, part: &str| format!("{kind}--{}", derived(&document.incident, part));
    let responder = id("individual", "responder");
    let (start, end) = (id("start", "start"), id("end", "end"));
    let actions: Vec<(String, &Step)> =
        document.steps.iter().map(|step| (id("action", &format!("step {}", step.index)), step)).collect();
    let follows = |position: usize| actions.get(position).map_or(&end, |(id, _)| id);

    let mut workflow = Map::new();
    workflow.insert(start.clone(), json!({"type": "start", "on_completion": follows(0)}));
    let mut targets = Map::new();
    for (position, (own, step)) in actions.iter().enumerate() {
        let text = step.action.as_ref().map_or("", |action| action.text.as_str());
        let named = targets_of(text, &id);
        let mut action = action(step, text, &responder, follows(position + 1));
        if !named.is_empty() {
            action.insert("targets".into(), named.iter().map(|(id, _)| id.clone()).collect());
            targets.extend(named);
        }
        workflow.insert(own.clone(), Value::Object(action));
    }
    workflow.insert(end.clone(), json!({"type": "end"}));

    let mut playbook = json!({
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": id("playbook", "playbook"),
        "name": format!("Response to {}", document.incident),
        "description": description(document),
        "playbook_types": ["mitigation", "remediation"],
        "created_by": id("identity", "planner"),
        "created": milliseconds(document.create_time.as_deref()),
        "modified": milliseconds(document.update_time.as_deref().or(document.create_time.as_deref())),
        "revoked": false,
        "labels": labels(document),
        "external_references": attack(document),
        "workflow_start": start,
        "workflow": workflow,
        "agent_definitions": {
            responder: {
                "type": "individual",
                "name": "Incident responder",
                "description": "Whoever carries approved actions out.",
            },
        },
    });
    if let Some(playbook) = playbook.as_object_mut() {
        // Lists and dictionaries that are there may not be empty.
        playbook.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        if !targets.is_empty() {
            playbook.insert("target_definitions".into(), Value::Object(targets));
        }
    }
    playbook
}

fn action(step: &Step, text: &str, agent: &str, next: &str) -> Map<String, Value> {
    let explanation = step.action.as_ref().map_or("", |action| action.explanation.as_str());
    let mut description = explanation.trim().to_owned();
    if !description.is_empty() {
        description.push(' ');
    }
    description.push_str(&step.why());
    let technique = |d3fend: Named| {
        json!({
            "name": "MITRE D3FEND",
            "description": d3fend.name,
            "external_id": d3fend.id,
            "url": format!("https://d3fend.mitre.org/technique/{}", d3fend.iri()),
        })
    };
    let response =
        |react: Named| json!({"name": "RE&CT", "description": react.name, "external_id": react.id});
    let references = references(&Measure::of(text), technique, response);
    let mut action = Map::new();
    action.insert("type".into(), "action".into());
    action.insert("name".into(), text.into());
    action.insert("description".into(), description.trim().into());
    if !references.is_empty() {
        action.insert("external_references".into(), references.into());
    }
    let mut commands = vec![json!({"type": "manual", "command": text})];
    // What the organisation says of each target. Who is to run it, and where, only it knows.
    let orders = step.chosen_candidate().map(|chosen| chosen.orders.as_slice()).unwrap_or_default();
    commands.extend(
        orders
            .iter()
            .filter(|order| !order.command.is_empty())
            .map(|order| json!({"type": "manual", "description": order.told(), "command": order.command})),
    );
    action.insert("commands".into(), commands.into());
    action.insert("agent".into(), agent.into());
    action.insert("on_completion".into(), next.into());
    action
}

/// The hosts that an action names, with their definitions.
fn targets_of(action: &str, id: &impl Fn(&str, &str) -> String) -> Vec<(String, Value)> {
    let target = |kind: EntityKind, name: &str| {
        let key = match kind {
            EntityKind::Address if name.contains(':') => "ipv6",
            EntityKind::Address => "ipv4",
            EntityKind::Domain | EntityKind::Host => "dname",
            EntityKind::Network | EntityKind::Account | EntityKind::Vulnerability => return None,
        };
        let definition = json!({"type": "net-address", "name": name, "address": {key: [name]}});
        Some((id("net-address", &format!("target {name}")), definition))
    };
    Entities::find(action).into_iter().filter_map(|entity| target(entity.kind, &entity.value)).collect()
}

fn description(document: &PlanDocument) -> String {
    let assessed = document.assessment.as_ref().map_or("", |assessment| assessment.description.as_str());
    let advice = "Made by Countermove. A step is carried out only after it was approved, and its outcome is reported back.";
    [assessed.trim(), advice].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn labels(document: &PlanDocument) -> Vec<String> {
    let end = document.end.map_or(document.status.word(), |end| end.word());
    vec!["countermove".to_owned(), end.replace('_', "-")]
}

/// The techniques of the attack, as references.
fn attack(document: &PlanDocument) -> Vec<Value> {
    let tactics = document.assessment.iter().flat_map(|assessment| &assessment.tactics);
    let mut references: Vec<Value> = Vec::new();
    for technique in tactics.flat_map(|tactic| &tactic.techniques) {
        let path = technique.id.replace('.', "/");
        let reference = json!({
            "name": "MITRE ATT&CK",
            "description": technique.name,
            "external_id": technique.id,
            "url": format!("https://attack.mitre.org/techniques/{path}/"),
        });
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    references
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1;

    use super::*;

    fn document(actions: &[&str]) -> PlanDocument {
        let step = |(index, text): (usize, &&str)| v1::PlanStep {
            index: index as u32,
            candidates: vec![v1::Candidate {
                action: Some(v1::Action { text: (*text).to_owned(), explanation: "It helps.".into() }),
                ..v1::Candidate::default()
            }],
            reason: "It is the cheapest.".into(),
            ..v1::PlanStep::default()
        };
        let technique = v1::Technique { id: "T1110.001".into(), name: "Password Guessing".into() };
        let belief = v1::TacticBelief { techniques: vec![technique], ..v1::TacticBelief::default() };
        let assessment = v1::Assessment {
            description: "Somebody guesses passwords.".into(),
            tactics: vec![belief.clone(), belief],
            ..v1::Assessment::default()
        };
        let incident = v1::Incident {
            name: "incidents/01a20b91-7599-70b3-a5ca-d4a820f22dd4".into(),
            create_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 120_000_000 }),
            assessment: Some(assessment),
            plan: Some(v1::Plan {
                steps: actions.iter().enumerate().map(step).collect(),
                ..v1::Plan::default()
            }),
            ..v1::Incident::default()
        };
        PlanDocument::new(incident, [])
    }

    /// The rules that a schema cannot state: references lead somewhere, and the workflow runs from start to end.
    fn check(playbook: &Value) {
        let schema: Value = serde_json::from_str(include_str!("cacao.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(playbook)
            .map(|fault| format!("{fault} at {}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}\n{playbook:#}");
        let workflow = playbook["workflow"].as_object().unwrap();
        let mut at = playbook["workflow_start"].as_str().unwrap();
        let mut visited = 0;
        loop {
            let step = &workflow[at];
            visited += 1;
            assert!(
                at.starts_with(&format!("{}--", step["type"].as_str().unwrap())),
                "{at} is another type of step"
            );
            if step["type"] == "end" {
                break;
            }
            if step["type"] == "action" {
                assert!(playbook["agent_definitions"].get(step["agent"].as_str().unwrap()).is_some());
                for target in step["targets"].as_array().into_iter().flatten() {
                    assert!(playbook["target_definitions"].get(target.as_str().unwrap()).is_some());
                }
            }
            at = step["on_completion"].as_str().unwrap();
        }
        assert_eq!(visited, workflow.len(), "every step is on the way");
    }

    #[test]
    fn a_playbook_keeps_the_rules_of_the_specification() {
        let playbook = cacao(&document(&[
            "Isolate 10.0.2.13 and web-01.corp.example",
            "Save the logs of 10.0.2.13",
            "Block 2001:db8::7",
            "Write a report",
        ]));
        check(&playbook);
        assert_eq!(playbook["created"], "2026-09-21T14:13:20.120Z");
        assert_eq!(playbook["external_references"].as_array().unwrap().len(), 1, "each technique once");
        let steps: Vec<&Value> = playbook["workflow"].as_object().unwrap().values().collect();
        assert_eq!(steps[1]["commands"][0]["command"], "Isolate 10.0.2.13 and web-01.corp.example");
        assert_eq!(steps[1]["targets"].as_array().unwrap().len(), 2);
        assert_eq!(steps[1]["external_references"][0]["external_id"], "D3-NI");
        assert!(steps[4].get("targets").is_none() && steps[4].get("external_references").is_none());
        assert_eq!(playbook["target_definitions"].as_object().unwrap().len(), 3);
    }

    #[test]
    fn a_plan_without_steps_is_a_playbook_too() {
        check(&cacao(&document(&[])));
        check(&cacao(&PlanDocument::new(v1::Incident::default(), [])));
    }

    #[test]
    fn the_same_plan_is_the_same_playbook_and_a_longer_one_keeps_its_steps() {
        let short = cacao(&document(&["Isolate 10.0.2.13"]));
        assert_eq!(short, cacao(&document(&["Isolate 10.0.2.13"])));
        let long = cacao(&document(&["Isolate 10.0.2.13", "Patch 10.0.2.13"]));
        for id in short["workflow"].as_object().unwrap().keys() {
            assert!(long["workflow"].get(id).is_some());
        }
    }

    #[test]
    fn the_schema_refuses_what_breaks_the_rules() {
        let schema: Value = serde_json::from_str(include_str!("cacao.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let good = cacao(&document(&["Isolate 10.0.2.13"]));
        assert!(validator.is_valid(&good));
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 8] = [
            ("no name", |p| drop(p.as_object_mut().unwrap().remove("name"))),
            ("version", |p| p["spec_version"] = "1.0".into()),
            ("identifier", |p| p["id"] = "playbook--7".into()),
            ("time", |p| p["created"] = "yesterday".into()),
            ("precision", |p| p["modified"] = "2026-09-21T14:13:20Z".into()),
            ("no workflow", |p| p["workflow"] = json!({})),
            ("empty list", |p| p["labels"] = json!([])),
            ("no command", |p| {
                let workflow = p["workflow"].as_object_mut().unwrap();
                let action = workflow.values_mut().find(|step| step["type"] == "action").unwrap();
                action["commands"] = json!([]);
            }),
        ];
        for (what, change) in changes {
            let mut playbook = good.clone();
            change(&mut playbook);
            assert!(!validator.is_valid(&playbook), "{what}");
        }
    }
}
