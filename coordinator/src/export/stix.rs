//! The attack as a bundle of STIX 2.1 (OASIS Standard), for systems of threat intelligence.
//!
//! An `incident` is what everything else is related to, and a `grouping` holds it together for programs that know no incidents. There is
//! no `observed-data`: it has to say when something was seen, and the record keeps no full times of what sensors wrote.
//!
//! Invariants: identifiers of observables are those that the standard derives from their values, others follow from the incident alone
//! (RFC 9562, version 5, in another namespace, as the standard asks for), so exporting twice gives the same bundle. Chances are
//! `confidence`, in percent; where none is known there is none.

use std::net::IpAddr;

use countermove_incident::{Measure, Named, VerbClass};
use countermove_proto::time_text;
use prost_types::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::attack::{Approved, Attack, Attacker, Behaviour, Evidence, Observable};
use super::{derived, milliseconds, producer, references};

/// Namespace of the identifiers of observables.
const OBSERVABLES: Uuid = Uuid::from_u128(0x00ab_edb4_aa42_466c_9c01_fed2_3315_a9b7);
/// The standard's own marking for TLP:AMBER.
const AMBER: &str = "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82";
/// Version of the producer's identity, which is the same in every bundle.
const PRODUCER_SINCE: &str = "2026-01-01T00:00:00.000Z";

/// Writes the bundle.
pub(crate) fn stix(attack: &Attack) -> Value {
    let created = time(attack.created);
    let mut bundle = Bundle {
        attack,
        producer: format!("identity--{}", producer()),
        incident: String::new(),
        modified: time(attack.updated).max(created.clone()),
        created,
        objects: Vec::new(),
    };
    bundle.head();
    let behaviours: Vec<String> =
        attack.behaviours.iter().map(|behaviour| bundle.behaviour(behaviour)).collect();
    let attackers: Vec<Option<String>> =
        attack.attackers.iter().map(|attacker| bundle.attacker(attacker, &behaviours)).collect();
    bundle.hosts();
    bundle.accounts();
    for action in &attack.actions {
        bundle.action(action, &attackers);
    }
    for evidence in &attack.evidence {
        bundle.evidence(evidence, &behaviours);
    }
    bundle.grouping();
    json!({"type": "bundle", "id": bundle.id("bundle", ""), "objects": bundle.objects})
}

struct Bundle<'a> {
    attack: &'a Attack,
    producer: String,
    incident: String,
    created: String,
    modified: String,
    objects: Vec<Value>,
}

impl Bundle<'_> {
    fn id(&self, kind: &str, part: &str) -> String {
        format!("{kind}--{}", derived(&self.attack.incident, &format!("stix {kind} {part}")))
    }

    /// Adds an object of this incident with what is its own, unless it is there. Gives its identifier.
    fn add(&mut self, kind: &str, part: &str, confidence: Option<f32>, own: Value) -> String {
        let id = self.id(kind, part);
        let mut object = json!({
            "type": kind,
            "spec_version": "2.1",
            "id": id,
            "created_by_ref": self.producer,
            "created": self.created,
            "modified": self.modified,
            "object_marking_refs": [AMBER],
        });
        if let Some(confidence) = confidence {
            // From 0 to 1, so it fits.
            object["confidence"] = json!((100.0 * confidence).round() as u8);
        }
        self.push(object, own);
        id
    }

    fn push(&mut self, mut object: Value, own: Value) {
        if let (Value::Object(object), Value::Object(own)) = (&mut object, own) {
            // Texts and lists that are there may not be empty.
            let is_there = |value: &Value| {
                value.as_array().is_none_or(|list| !list.is_empty()) && value.as_str() != Some("")
            };
            object.extend(own.into_iter().filter(|(_, value)| is_there(value)));
        }
        if !self.objects.iter().any(|known| known["id"] == object["id"]) {
            self.objects.push(object);
        }
    }

    fn relate(&mut self, source: &str, kind: &str, target: &str, confidence: Option<f32>, description: &str) {
        let own = json!({
            "relationship_type": kind,
            "source_ref": source,
            "target_ref": target,
            "description": description,
        });
        self.add("relationship", &format!("{source} {kind} {target}"), confidence, own);
    }

    /// Relates the incident to something.
    fn has(&mut self, target: &str, confidence: Option<f32>, description: &str) {
        let incident = self.incident.clone();
        self.relate(&incident, "related-to", target, confidence, description);
    }

    /// Adds an observable. Its identifier follows from the one property that it has.
    fn observe(&mut self, kind: &str, property: &str, value: &str) -> String {
        let canonical = json!({property: value}).to_string();
        let id = format!("{kind}--{}", Uuid::new_v5(&OBSERVABLES, canonical.as_bytes()));
        let object = json!({"type": kind, "spec_version": "2.1", "id": id, "object_marking_refs": [AMBER]});
        self.push(object, json!({property: value}));
        id
    }

    fn observable(&mut self, observable: &Observable) -> String {
        self.observe(kind(observable), "value", &observable.value())
    }

    fn head(&mut self) {
        self.objects.push(json!({
            "type": "marking-definition",
            "spec_version": "2.1",
            "id": AMBER,
            "created": "2017-01-20T00:00:00.000Z",
            "definition_type": "tlp",
            "name": "TLP:AMBER",
            "definition": {"tlp": "amber"},
        }));
        self.objects.push(json!({
            "type": "identity",
            "spec_version": "2.1",
            "id": self.producer,
            "created": PRODUCER_SINCE,
            "modified": PRODUCER_SINCE,
            "name": "Countermove",
            "description": "Plans the response to incidents; made this of what sensors and hosts wrote.",
            "identity_class": "system",
        }));
        let own = json!({
            "name": self.attack.incident,
            "description": self.attack.description,
            "external_references": [{"source_name": "countermove", "external_id": self.attack.incident}],
        });
        self.incident = self.add("incident", "", None, own);
    }

    fn behaviour(&mut self, behaviour: &Behaviour) -> String {
        let phase = |tactic: &countermove_incident::Tactic| {
            let name = tactic.name().to_lowercase().replace(' ', "-");
            json!({"kill_chain_name": "mitre-attack", "phase_name": name})
        };
        let own = json!({
            "name": behaviour.name(),
            "kill_chain_phases": behaviour.tactics.iter().map(|(tactic, _)| phase(tactic)).collect::<Vec<_>>(),
            "external_references": [
                {"source_name": "mitre-attack", "external_id": behaviour.id(), "url": behaviour.url()},
            ],
        });
        let id = self.add("attack-pattern", behaviour.id(), behaviour.probability, own);
        self.has(&id, behaviour.probability, &behaviour.share());
        id
    }

    /// Gives the identifier of the indicator, if the attacker is the same one for others.
    fn attacker(&mut self, attacker: &Attacker, behaviours: &[String]) -> Option<String> {
        let seen = self.observable(&attacker.observable);
        self.has(&seen, attacker.probability, "An attacker.");
        if !attacker.is_telling {
            return None;
        }
        let value = attacker.observable.value();
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        let own = json!({
            "name": value,
            "description": "An attacker outside of the system.",
            "indicator_types": ["malicious-activity"],
            "pattern": format!("[{}:value = '{quoted}']", kind(&attacker.observable)),
            "pattern_type": "stix",
            "pattern_version": "2.1",
            "valid_from": self.created,
        });
        let indicator = self.add("indicator", &value, attacker.probability, own);
        let attack = self.attack;
        let naming: Vec<&Evidence> =
            attacker.named_in.iter().filter_map(|&place| attack.evidence.get(place)).collect();
        for (behaviour, id) in attack.behaviours.iter().zip(behaviours) {
            if naming.iter().any(|line| line.tactics.iter().any(|tactic| behaviour.serves(*tactic))) {
                self.relate(&indicator, "indicates", id, attacker.probability, "");
            }
        }
        if !naming.is_empty() {
            let mut own = json!({
                "sighting_of_ref": indicator,
                "description": "Named in records that speak for the attack.",
            });
            if let Some(records) = attacker.records {
                // The standard's largest count.
                own["count"] = records.min(999_999_999).into();
            }
            self.add("sighting", &value, attacker.probability, own);
        }
        Some(indicator)
    }

    fn hosts(&mut self) {
        let attack = self.attack;
        for host in &attack.hosts {
            let own = json!({"name": host.name, "identity_class": "system"});
            let id = self.add("identity", &host.name, None, own);
            self.has(&id, host.probability, "A host of the system that the attack has reached.");
            if let Some(observable) = &host.observable {
                let seen = self.observable(observable);
                self.relate(&id, "related-to", &seen, None, "Its address or name.");
            }
        }
    }

    fn accounts(&mut self) {
        let attack = self.attack;
        for account in &attack.accounts {
            let id = self.observe("user-account", "account_login", &account.login);
            self.has(
                &id,
                account.probability,
                match account.is_planted {
                    true => "An account that the attacker made.",
                    false => "An account whose password the attacker guessed or stole.",
                },
            );
        }
    }

    fn action(&mut self, action: &Approved, indicators: &[Option<String>]) {
        let measures = Measure::of(&action.text);
        let technique = |d3fend: Named| {
            let url = format!("https://d3fend.mitre.org/technique/{}", d3fend.iri());
            json!({"source_name": "mitre-d3fend", "external_id": d3fend.id, "url": url})
        };
        let response = |react: Named| json!({"source_name": "react", "external_id": react.id, "description": react.name});
        let references = references(&measures, technique, response);
        let by = match action.is_automatic {
            true => "Approved by the incident's autonomy.",
            false => "Approved by a person.",
        };
        let description = format!("{} {by}", action.explanation);
        let mut own = json!({
            "name": action.text,
            "description": description.trim(),
            "external_references": references,
        });
        if let Some(approved) = action.time.map(|at| time(Some(at))) {
            own["modified"] = self.modified.clone().max(approved.clone()).into();
            own["created"] = approved.into();
        }
        let id = self.add("course-of-action", &format!("{} {}", action.step, action.plan_hash), None, own);
        self.has(&id, None, "An action of the response that was approved.");
        let counters = |measure: &Measure| {
            matches!(measure.class, VerbClass::Contain | VerbClass::Eradicate | VerbClass::Harden)
        };
        let looks = |measure: &Measure| measure.class == VerbClass::Analyse;
        let kind = match measures.as_slice() {
            measures if measures.iter().any(counters) => "mitigates",
            measures if measures.iter().any(looks) => "investigates",
            _ => return,
        };
        let attack = self.attack;
        for (attacker, indicator) in attack.attackers.iter().zip(indicators) {
            if let Some(indicator) = indicator
                && attacker.observable.is_named_in(&action.text)
            {
                self.relate(&id, kind, indicator, None, "");
            }
        }
    }

    /// What speaks for the tactics, in its own words.
    fn evidence(&mut self, evidence: &Evidence, behaviours: &[String]) {
        let attack = self.attack;
        let spoken_for = attack
            .behaviours
            .iter()
            .zip(behaviours)
            .filter(|(behaviour, _)| evidence.tactics.iter().any(|tactic| behaviour.serves(*tactic)));
        let own = json!({
            "abstract": format!("Evidence A{}, {} records", evidence.number, evidence.count),
            "content": evidence.text,
            "object_refs": spoken_for.map(|(_, id)| id).collect::<Vec<_>>(),
        });
        // A note has to say something, and of something.
        if !evidence.text.is_empty() {
            self.add("note", &evidence.number.to_string(), evidence.probability, own);
        }
    }

    fn grouping(&mut self) {
        let ids = self.objects.iter().filter(|object| object["type"] != "marking-definition");
        let own = json!({
            "name": self.attack.incident,
            "context": "suspicious-activity",
            "object_refs": ids.map(|object| object["id"].clone()).collect::<Vec<_>>(),
        });
        self.add("grouping", "", None, own);
    }
}

/// The type of an observable.
fn kind(observable: &Observable) -> &'static str {
    match observable {
        Observable::Address(IpAddr::V4(_)) => "ipv4-addr",
        Observable::Address(IpAddr::V6(_)) => "ipv6-addr",
        Observable::Domain(_) => "domain-name",
    }
}

fn time(time: Option<Timestamp>) -> String {
    milliseconds(time.and_then(time_text).as_deref())
}
