//! Whom the system's hosts turned to outside: the ends of the traffic that they sent, and the names that they asked for. Of an attacked host
//! each may be the attacker's, whatever the record looks like that tells of it. Who turned to a host is left out: a server's clients are many,
//! and no attacker's for that.

use std::collections::{BTreeMap, HashSet};

use countermove_incident::{AlertLog, Entities, EntityKind, Record, RecordKind};

use crate::evidence::parts::{ASKED, Own, Place};

/// Most that are kept of a host, and most that are given.
const MOST: usize = 8;

/// By the host, in the log's order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contacts(BTreeMap<String, Vec<String>>);

impl Contacts {
    /// Those that a log tells of, and the description does not. What alerts tell of comes first and then what sensors saw, since that is less and
    /// says more than logs do.
    pub(crate) fn of_log(log: &AlertLog, own: Own<'_>, description: &str) -> Contacts {
        let described: HashSet<String> =
            Entities::find(description).iter().map(|entity| entity.value.to_lowercase()).collect();
        let mut contacts = Contacts::default();
        let is_of = |kind: RecordKind| move |record: &&Record| record.kind == kind;
        let rest = |record: &&Record| !matches!(record.kind, RecordKind::Alert | RecordKind::Telemetry);
        let alerts = log.records.iter().filter(is_of(RecordKind::Alert));
        let telemetry = log.records.iter().filter(is_of(RecordKind::Telemetry));
        for record in alerts.chain(telemetry).chain(log.records.iter().filter(rest)) {
            let Some(Place::Inside(host)) = record.source.as_ref().map(|end| own.place(&end.address)) else {
                continue;
            };
            let known = contacts.0.entry(host).or_default();
            if known.len() == MOST {
                continue;
            }
            let is_asked = |port: u16| ASKED.contains(&port);
            let end = record.destination.as_ref().filter(|end| {
                // Whoever writes a log is mostly given as its destination.
                !end.port.is_some_and(is_asked) && !end.address.eq_ignore_ascii_case(&record.host)
            });
            let others = end.map(|end| end.address.clone()).into_iter().chain(asked_for(record));
            for name in others {
                let is_outside = matches!(own.place(&name), Place::Outside(_));
                let is_new = is_outside && !described.contains(&name.to_lowercase());
                if is_new && known.len() < MOST && !known.contains(&name) {
                    known.push(name);
                }
            }
        }
        contacts
    }

    /// Those of these hosts that are not among the known, each once.
    pub(crate) fn of(&self, hosts: &[String], known: &[String]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for name in hosts.iter().filter_map(|host| self.0.get(host)).flatten() {
            if all.len() < MOST && !all.contains(name) && !known.contains(name) {
                all.push(name.clone());
            }
        }
        all
    }
}

/// Names that telemetry tells a host to have asked for. What a rule or an application writes is no such name.
fn asked_for(record: &Record) -> Vec<String> {
    if record.kind != RecordKind::Telemetry {
        return Vec::new();
    }
    Entities::find(&record.message).of(EntityKind::Domain).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::hosts::Hosts;

    #[test]
    fn whom_a_host_turned_to_is_told_and_who_turned_to_it_is_not() {
        let alert = |ends: &str| {
            format!(
                "06/10-13:11:51.405000 [**] [1:1:1] x [**] [Classification: Misc activity] [Priority: 3] {{TCP}} {ends}\n"
            )
        };
        let text = [
            alert("203.0.113.9:4000 -> 10.0.2.13:443"),
            alert("10.0.2.13:4000 -> 203.0.113.7:443"),
            alert("10.0.2.13:4000 -> 203.0.113.53:53"),
            alert("10.0.2.13:4000 -> 10.0.2.14:445"),
            alert("10.0.2.14:4000 -> 203.0.113.8:80"),
            "2026-06-10T13:12:00 gw1 dnsmasq[7]: query[A] c2.example from 10.0.2.13\n".to_owned(),
            "2026-06-10T13:12:01 gw1 dnsmasq[7]: query[A] pay.example from 10.0.2.13\n".to_owned(),
        ]
        .concat();
        let log = AlertLog::parse(text.as_bytes()).unwrap();
        let systems = HashSet::from(["10.0.2.13", "10.0.2.14"]);
        let own = Own { systems: &systems, hosts: &Hosts::default() };
        let contacts = Contacts::of_log(&log, own, "The shop pays by pay.example.");
        let host = ["10.0.2.13".to_owned()];
        assert_eq!(contacts.of(&host, &[]), ["203.0.113.7", "c2.example"]);
        assert_eq!(contacts.of(&host, &["203.0.113.7".to_owned()]), ["c2.example"]);
        assert!(contacts.of(&[], &[]).is_empty());
    }
}
