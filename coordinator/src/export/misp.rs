//! The attack as an event of MISP, in MISP's core format.
//!
//! Invariants: `to_ids`, which has sensors raise alarms, is set for attackers outside that are the same ones in other networks, and for
//! nothing else. The event is not published and stays within the organisation until somebody there says otherwise. Identifiers follow
//! from the incident alone, so taking an event in again brings the one that is there up to date.

use countermove_proto::time_text;
use serde_json::{Value, json};

use super::attack::{Attack, Observable};
use super::{derived, milliseconds, producer};

/// Writes the event.
pub(crate) fn misp(attack: &Attack) -> Value {
    let created = milliseconds(attack.created.and_then(time_text).as_deref());
    let timestamp = attack.updated.or(attack.created).map_or(0, |time| time.seconds.max(0)).to_string();
    let mut event = Event { attack, timestamp: timestamp.clone(), attributes: Vec::new() };
    event.attributes();
    let techniques = attack.behaviours.iter().filter(|behaviour| behaviour.technique.is_some());
    let galaxy = techniques.map(|behaviour| {
        format!("misp-galaxy:mitre-attack-pattern=\"{} - {}\"", behaviour.name(), behaviour.id())
    });
    let tags: Vec<Value> =
        ["tlp:amber".to_owned()].into_iter().chain(galaxy).map(|name| json!({"name": name})).collect();
    let info = match attack.description.as_str() {
        "" => attack.incident.as_str(),
        description => description,
    };
    json!({"Event": {
        "uuid": derived(&attack.incident, "misp event").to_string(),
        "info": info,
        "date": created.get(..10).unwrap_or_default(),
        "timestamp": timestamp,
        // Undefined: what an incident costs its owner is no measure of the threat to others.
        "threat_level_id": "4",
        // Completed, or ongoing.
        "analysis": if attack.is_over { "2" } else { "1" },
        // Within the own organisation.
        "distribution": "0",
        "published": false,
        "Orgc": {"name": "Countermove", "uuid": producer().to_string()},
        "Tag": tags,
        "Attribute": event.attributes,
    }})
}

struct Event<'a> {
    attack: &'a Attack,
    timestamp: String,
    attributes: Vec<Value>,
}

impl Event<'_> {
    /// Adds an attribute, unless one of this type and value is there.
    fn add(&mut self, category: &str, kind: &str, value: &str, to_ids: bool, comment: &str) {
        let uuid = derived(&self.attack.incident, &format!("misp {category} {kind} {value}")).to_string();
        if !value.is_empty() && !self.attributes.iter().any(|known| known["uuid"] == uuid.as_str()) {
            self.attributes.push(json!({
                "uuid": uuid,
                "category": category,
                "type": kind,
                "value": value,
                "to_ids": to_ids,
                "comment": comment,
                "timestamp": self.timestamp,
                // As the event.
                "distribution": "5",
                // Prose, and names that mean another one elsewhere, lead to nothing.
                "disable_correlation": !to_ids,
            }));
        }
    }

    fn attributes(&mut self) {
        let attack = self.attack;
        for attacker in &attack.attackers {
            let value = attacker.observable.value();
            let comment =
                chance("An attacker.", attacker.probability, "that records of it are part of the attack");
            self.add("Network activity", kind(&attacker.observable), &value, attacker.is_telling, &comment);
        }
        for host in &attack.hosts {
            let comment =
                chance("A host that the attack has reached.", host.probability, "that it is compromised");
            self.add("Targeting data", "target-machine", &host.name, false, &comment);
        }
        for account in &attack.accounts {
            let told = |text| chance(text, account.probability, "that the attacker has it");
            match account.is_planted {
                true => {
                    let comment = told("An account that the attacker made.");
                    self.add("Persistence mechanism", "text", &account.login, false, &comment);
                }
                false => {
                    let comment = told("Its password was guessed or stolen.");
                    self.add("Targeting data", "target-user", &account.login, false, &comment);
                }
            }
        }
        for behaviour in &attack.behaviours {
            let sure = chance(
                behaviour.name(),
                behaviour.probability,
                "that what speaks for it is part of the attack",
            );
            self.add(
                "External analysis",
                "link",
                &behaviour.url(),
                false,
                &format!("{sure} {}", behaviour.share()),
            );
        }
        for action in &attack.actions {
            self.add("Internal reference", "text", &action.text, false, "An action that was approved.");
        }
        for line in &attack.evidence {
            let told = format!("Evidence A{}, {} records.", line.number, line.count);
            let comment = chance(&told, line.probability, "that it is part of the attack");
            self.add("Internal reference", "text", &line.text, false, &comment);
        }
    }
}

/// The type of an attribute for an attacker. A name of two parts may be registered; a longer one is taken for a host's.
fn kind(observable: &Observable) -> &'static str {
    match observable {
        Observable::Address(_) => "ip-src",
        Observable::Domain(domain) if domain.matches('.').count() > 1 => "hostname",
        Observable::Domain(_) => "domain",
    }
}

/// The text, and behind it how likely something is.
fn chance(text: &str, probability: Option<f32>, of: &str) -> String {
    let text = if text.ends_with('.') { text.to_owned() } else { format!("{text}.") };
    match probability {
        Some(probability) => format!("{text} {:.0} % {of}.", 100.0 * probability),
        None => text,
    }
}
