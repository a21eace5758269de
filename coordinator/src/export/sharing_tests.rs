//! The two forms for others. What is written for one incident stands in `golden`, where `make lint` has the programs of others read
//! it; `UPDATE_GOLDEN=1` writes it anew.

use std::collections::BTreeSet;

use countermove_proto::v1::{self, DecisionKind, Tactic};
use prost_types::Timestamp;
use serde_json::Value;

use super::{Attack, misp, stix};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn line(number: u32, text: &str, count: u64, attack: f32) -> v1::EvidenceLine {
    v1::EvidenceLine { number, text: text.to_owned(), count, attack, ..v1::EvidenceLine::default() }
}

fn belief(
    tactic: Tactic,
    techniques: &[&str],
    weight: f32,
    evidence: Vec<v1::EvidenceLine>,
) -> v1::TacticBelief {
    let technique = |id: &&str| v1::Technique { id: (*id).to_owned(), name: "Not read".to_owned() };
    let techniques = techniques.iter().map(technique).collect();
    v1::TacticBelief { tactic: tactic.into(), techniques, evidence, weight }
}

fn decision(step: u32, kind: DecisionKind, text: &str) -> v1::Decision {
    let action = v1::Action { text: text.to_owned(), explanation: "It stops the guessing.".to_owned() };
    v1::Decision {
        step,
        kind: kind.into(),
        action: Some(action),
        plan_hash: format!("{step:064x}"),
        time: Some(Timestamp { seconds: 1_790_000_060, nanos: 0 }),
        by: "carol@corp.example".to_owned(),
        ..v1::Decision::default()
    }
}

fn incident() -> v1::Incident {
    let guessing = line(1, "12:59-13:10 x11 P1 SSH login failed TCP 203.0.113.9 -> 10.0.2.11:22", 11, 0.934);
    let beacon = line(2, "13:20 x3 beacon\u{202e} to c2.bad.example from 10.0.2.11\u{1b}[31m <b>", 3, 0.8);
    let entities = v1::Entities {
        attackers: texts(&[
            "203.0.113.9",
            "2001:db8::66",
            "c2.bad.example",
            "192.168.7.7",
            "10.0.2.12",
            "kali",
        ]),
        systems: texts(&["10.0.2.11", "10.0.2.12", "web-01"]),
        targets: texts(&["10.0.2.11", "web-01"]),
        stolen_accounts: texts(&["deploy"]),
        planted_accounts: texts(&["svc_backup"]),
        names: vec![v1::HostName { name: "web-01".to_owned(), address: "10.0.2.13".to_owned() }],
        compromised: vec![v1::Suspect { host: "10.0.2.11".to_owned(), probability: 0.85 }],
        held_accounts: vec![v1::HeldAccount { account: "deploy".to_owned(), probability: 0.72 }],
        ..v1::Entities::default()
    };
    let assessment = v1::Assessment {
        is_incident: true,
        description: "Somebody guesses passwords\nand gets in.".to_owned(),
        entities: Some(entities),
        tactics: vec![
            belief(Tactic::CredentialAccess, &["T1110.001", "T0000"], 0.6, vec![guessing.clone()]),
            belief(Tactic::Persistence, &["T1078"], 0.2, vec![guessing]),
            belief(Tactic::InitialAccess, &["T1078"], 0.1, vec![]),
            belief(Tactic::CommandAndControl, &[], 0.1, vec![beacon]),
        ],
        ..v1::Assessment::default()
    };
    v1::Incident {
        name: "incidents/01a20b91-7599-70b3-a5ca-d4a820f22dd4".to_owned(),
        create_time: Some(Timestamp { seconds: 1_790_000_000, nanos: 120_000_000 }),
        update_time: Some(Timestamp { seconds: 1_790_000_300, nanos: 0 }),
        status: v1::IncidentStatus::Ended.into(),
        assessment: Some(assessment),
        decisions: vec![
            decision(0, DecisionKind::Rejected, "Restart 10.0.2.11"),
            decision(0, DecisionKind::Approved, "Block 203.0.113.9 at the firewall"),
            decision(1, DecisionKind::Approved, "Isolate web-01"),
            decision(1, DecisionKind::Withdrawn, "Isolate web-01"),
        ],
        ..v1::Incident::default()
    }
}

fn bundle() -> Value {
    stix(&Attack::of(&incident()).unwrap())
}

fn event() -> Value {
    misp(&Attack::of(&incident()).unwrap())["Event"].take()
}

fn of<'a>(bundle: &'a Value, kind: &str) -> Vec<&'a Value> {
    bundle["objects"].as_array().unwrap().iter().filter(|object| object["type"] == kind).collect()
}

fn relationship<'a>(bundle: &'a Value, source: &Value, kind: &str, target: &Value) -> Option<&'a Value> {
    of(bundle, "relationship").into_iter().find(|one| {
        one["relationship_type"] == kind
            && one["source_ref"] == source["id"]
            && one["target_ref"] == target["id"]
    })
}

#[test]
fn both_forms_stay_what_other_programs_have_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/export/golden");
    let attack = Attack::of(&incident()).unwrap();
    for (name, value) in [("stix.json", stix(&attack)), ("misp.json", misp(&attack))] {
        let path = format!("{folder}/{name}");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
        }
        let known: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(known, value, "{path}: UPDATE_GOLDEN=1 writes it anew, then run make lint");
    }
}

#[test]
fn every_reference_of_a_bundle_leads_to_one_of_its_objects() {
    let bundle = bundle();
    let objects = bundle["objects"].as_array().unwrap();
    let ids: BTreeSet<&str> = objects.iter().filter_map(|object| object["id"].as_str()).collect();
    assert_eq!(ids.len(), objects.len(), "each once");
    let mut references = 0;
    for (name, value) in objects.iter().flat_map(|object| object.as_object().unwrap()) {
        let many = value.as_array().filter(|_| name.ends_with("_refs")).into_iter().flatten();
        for reference in many.chain(Some(value).filter(|_| name.ends_with("_ref"))) {
            assert!(ids.contains(reference.as_str().unwrap()), "{name} {reference}");
            references += 1;
        }
    }
    assert!(references > objects.len());
}

#[test]
fn chances_are_confidence_and_what_has_none_has_none() {
    let bundle = bundle();
    let incident = of(&bundle, "incident")[0];
    let confidence = |name: &str| {
        let pattern = of(&bundle, "attack-pattern").into_iter().find(|one| one["name"] == name).unwrap();
        (pattern["confidence"].as_u64(), pattern["external_references"][0]["external_id"].as_str().unwrap())
    };
    assert_eq!(of(&bundle, "attack-pattern").len(), 3, "a technique that is none is none");
    assert_eq!(confidence("Password Guessing"), (Some(93), "T1110.001"));
    assert_eq!(confidence("Valid Accounts"), (Some(93), "T1078"));
    assert_eq!(confidence("Command and Control"), (Some(80), "TA0011"));
    let hosts = of(&bundle, "identity");
    let host = |name: &str| {
        let host = hosts.iter().find(|one| one["name"] == name).unwrap();
        relationship(&bundle, incident, "related-to", host).unwrap()["confidence"].as_u64()
    };
    assert_eq!((host("10.0.2.11"), host("web-01"), host("10.0.2.12")), (Some(85), None, None));
    let accounts = of(&bundle, "user-account");
    let account = |login: &str| {
        let account = accounts.iter().find(|one| one["account_login"] == login).unwrap();
        relationship(&bundle, incident, "related-to", account).unwrap()["confidence"].as_u64()
    };
    assert_eq!((account("deploy"), account("svc_backup")), (Some(72), None));
}

#[test]
fn only_attackers_outside_that_are_the_same_elsewhere_raise_alarms() {
    let bundle = bundle();
    let patterns: Vec<&str> =
        of(&bundle, "indicator").iter().filter_map(|indicator| indicator["pattern"].as_str()).collect();
    assert_eq!(
        patterns,
        [
            "[ipv4-addr:value = '203.0.113.9']",
            "[ipv6-addr:value = '2001:db8::66']",
            "[domain-name:value = 'c2.bad.example']"
        ]
    );
    let event = event();
    let attributes = event["Attribute"].as_array().unwrap();
    let raise = |raises: bool| {
        let chosen = attributes.iter().filter(move |one| one["to_ids"] == raises);
        chosen.map(|one| (one["type"].as_str().unwrap(), one["value"].as_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(
        raise(true),
        [("ip-src", "203.0.113.9"), ("ip-src", "2001:db8::66"), ("hostname", "c2.bad.example")]
    );
    for own in [("ip-src", "192.168.7.7"), ("target-machine", "10.0.2.12"), ("target-user", "deploy")] {
        assert!(raise(false).contains(&own), "{own:?}");
    }
}

#[test]
fn what_was_sighted_is_counted_where_the_count_is_its_own() {
    let sightings = |incident: &v1::Incident| {
        let bundle = stix(&Attack::of(incident).unwrap());
        of(&bundle, "sighting").iter().map(|one| one["count"].as_u64()).collect::<Vec<_>>()
    };
    let mut incident = incident();
    assert_eq!(sightings(&incident), [Some(11), Some(3)], "the address that no record names was not seen");
    let assessment = incident.assessment.as_mut().unwrap();
    for belief in &mut assessment.tactics {
        for line in &mut belief.evidence {
            line.text.push_str(" 2001:db8::66");
        }
    }
    assert_eq!(sightings(&incident), [None, None, None]);
}

#[test]
fn only_what_was_approved_and_stayed_so_is_a_course_of_action() {
    let bundle = bundle();
    let courses = of(&bundle, "course-of-action");
    assert_eq!(courses.len(), 1);
    assert_eq!(courses[0]["name"], "Block 203.0.113.9 at the firewall");
    assert_eq!(courses[0]["created"], "2026-09-21T14:14:20.000Z");
    assert!(relationship(&bundle, courses[0], "mitigates", of(&bundle, "indicator")[0]).is_some());
    let text = format!("{bundle} {}", event());
    assert!(!text.contains("Isolate") && !text.contains("Restart"), "{text}");
    assert!(!text.contains("carol"), "who approved is nobody else's business");
}

#[test]
fn texts_of_the_evidence_cannot_act() {
    for text in [bundle().to_string(), event().to_string()] {
        assert!(!text.contains('\u{202e}') && !text.contains("\\u001b"), "{text}");
        assert!(text.contains(r"beacon\\u{202e} to"), "{text}");
        assert!(text.contains("Somebody guesses passwords and gets in."));
    }
}

#[test]
fn what_is_no_attack_is_told_to_nobody() {
    assert!(Attack::of(&v1::Incident::default()).is_none());
    type Change = fn(&mut v1::Assessment);
    let changes: [Change; 2] = [|known| known.is_incident = false, |known| known.not_understood = true];
    for change in changes {
        let mut incident = incident();
        change(incident.assessment.as_mut().unwrap());
        assert!(Attack::of(&incident).is_none());
    }
}

#[test]
fn an_attack_of_which_next_to_nothing_is_known_is_told_too() {
    let assessment = v1::Assessment { is_incident: true, ..v1::Assessment::default() };
    let incident = v1::Incident { assessment: Some(assessment), ..v1::Incident::default() };
    let attack = Attack::of(&incident).unwrap();
    let kinds: Vec<Value> =
        stix(&attack)["objects"].as_array().unwrap().iter().map(|one| one["type"].clone()).collect();
    assert_eq!(kinds, ["marking-definition", "identity", "incident", "grouping"]);
    assert_eq!(misp(&attack)["Event"]["Attribute"].as_array().unwrap().len(), 0);
}

#[test]
fn the_identifier_of_an_observable_is_the_one_of_the_standard() {
    // As `stix2` 3.0.2 makes it for IPv4Address(value="203.0.113.9").
    let bundle = bundle();
    assert_eq!(of(&bundle, "ipv4-addr")[0]["id"], "ipv4-addr--39090fdc-366e-571f-ab5b-d05e2918f88f");
}
