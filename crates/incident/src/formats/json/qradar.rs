//! IBM QRadar: offenses, as its REST API and notifications give them, and the events behind them, as searches and forwarding give them.
//!
//! An offense is an alert: rules of the SIEM found that something is wrong. It names by one field what it is about (`offense_source`), and
//! by another what that is (`offense_type`): an address, an account, a host. An event is a log of the device that QRadar has it from, and
//! an alert where it belongs to an offense or a rule made it.

use std::borrow::Cow;

use super::super::text::{of_ten, protocol_of};
use super::fields::{self, Fields};
use super::named::Named;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, told};
use crate::record::RecordKind;
use crate::{Endpoint, Timestamp};

/// See the module.
pub(crate) const OFFENSES: ObjectFormat =
    ObjectFormat { format: Format::Detections, recognises: is_offense, read: offense };

/// See the module.
pub(crate) const EVENTS: ObjectFormat =
    ObjectFormat { format: Format::ProductEvents, recognises: is_event, read: event };

const SENSOR: &str = "IBM QRadar";

// Names as `Named` compares them: in lower case, without what parts their words.
const EVENT_NAME: [&str; 6] =
    ["eventname", "qidname", "qidname(qid)", "qideventname", "categoryname", "category"];
const LOG_SOURCE: [&str; 4] =
    ["logsourcename", "logsourcename(logsourceid)", "logsource", "logsourceidentifier"];
const EVENT_TIME: [&str; 8] = [
    "devtimeepoch",
    "devtime",
    "devicetime",
    "starttime",
    "starttimeepoch",
    "devtimeiso",
    "starttimeiso",
    "eventtime",
];
/// What QRadar calls the source of the events that its own rules make.
const RULE_ENGINE: &str = "Custom Rule Engine";
/// Most categories, networks and sources of logs that are told of an offense.
const MAX_TOLD: usize = 6;

fn is_offense(object: &Object) -> bool {
    let offense = Named(object);
    let has = |path: &str| offense.get(path).is_some();
    let is_rated = has("magnitude") || has("credibility") || has("severity");
    is_rated && (has("offensesource") || has("offensetype")) && said(offense).is_some()
}

/// What an offense is called. The API puts line breaks between the names of its rules.
fn said(offense: Named<'_>) -> Option<String> {
    let said = offense.text(&["description", "offensedescription", "offensename"])?;
    Some(said.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What an offense is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Source,
    Destination,
    Account,
    Host,
    Other,
}

impl About {
    /// By the number that the API has for it, or by the word of the console.
    fn of(offense: Named<'_>) -> Option<About> {
        let kind = offense.text(&["offensetype", "offensetypename"])?;
        let bare = kind.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
        Some(match bare.collect::<String>().as_str() {
            "0" | "10" | "sourceip" | "sourceipv6" | "sourceaddress" => About::Source,
            "1" | "11" | "destinationip" | "destinationipv6" | "destinationaddress" => About::Destination,
            "3" | "username" | "user" => About::Account,
            "7" | "hostname" | "host" => About::Host,
            _ => About::Other,
        })
    }
}

/// An offense, from the API or from the pairs of a notification.
pub(in super::super) fn offense(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let offense = Named(object);
    let subject = offense.text(&["offensesource"]).unwrap_or_default();
    let about = About::of(offense);
    let is_about = |what: About| about == Some(what);
    let address = || offense.address(&["offensesource"]);
    let name = || super::is_name(&subject).then(|| fields::end(&subject, None));
    // Where nothing says what an address is of, it is the one by which events are put together: whoever acts.
    let source = offense
        .address(&["sourceaddresses", "sourceaddress", "sourceip", "sourceips"])
        .or_else(|| address().filter(|_| !is_about(About::Destination) && !is_about(About::Account)));
    let named = ["localdestinationaddresses", "destinationaddresses", "destinationaddress", "destinationip"];
    let destination = offense.address(&named).or_else(|| match about {
        Some(About::Destination) => address(),
        Some(About::Host) => name(),
        _ => None,
    });
    let account = Some(subject.clone()).filter(|_| is_about(About::Account));
    let account = account.or_else(|| offense.text(&["username", "usernames"])).unwrap_or_default();
    let all = |paths: &[&str]| joined(offense.texts(paths).into_iter().take(MAX_TOLD).map(Cow::into_owned));
    let rules = joined(rules(object)).unwrap_or_default();
    let is_unsaid = source.is_none() && destination.is_none() && account.is_empty();
    let draft = Draft {
        kind: RecordKind::Alert,
        time: offense.first(&["starttime", "firstpersistedtime", "lastupdatedtime", "time"], fields::time),
        sensor: Cow::Borrowed(SENSOR),
        message: Cow::Owned(said(offense)?),
        detail: Cow::Owned(listed([
            told("about", some(&subject).filter(|_| is_unsaid)),
            told("categories", all(&["categories", "category"])),
            told("from network", offense.text(&["sourcenetwork"])),
            told("to networks", all(&["destinationnetworks", "destinationnetwork"])),
            told("seen by", joined(log_sources(object))),
            told("events", offense.text(&["eventcount"])),
            told("status", offense.text(&["status"])),
        ])),
        rule: Cow::Owned(rules),
        priority: rank(offense),
        classification: offense.text(&["categories", "category"]).unwrap_or_default(),
        source,
        destination,
        account,
        ..Draft::default()
    };
    Some(draft.finish(Format::Detections, object, envelope))
}

/// Magnitude weighs relevance, severity and credibility; each goes to ten.
fn rank(of: Named<'_>) -> Option<u8> {
    let number = of.text(&["magnitude", "severity", "sev"])?;
    number.split('.').next()?.trim().parse().ok().and_then(of_ten)
}

/// The rules that an offense is made of, by name where that is told.
fn rules(object: &Object) -> impl Iterator<Item = String> {
    let rules = Fields(object).objects("rules").take(MAX_TOLD);
    rules.filter_map(|rule| rule.first(&["name", "id"]).map(Cow::into_owned))
}

/// The devices whose events an offense is made of.
fn log_sources(object: &Object) -> impl Iterator<Item = String> {
    let sources = Fields(object).objects("log_sources").filter_map(|source| source.text("name"));
    sources.filter(|name| !name.starts_with(RULE_ENGINE)).take(MAX_TOLD).map(Cow::into_owned)
}

fn is_event(object: &Object) -> bool {
    let event = Named(object);
    let has = |path: &&str| event.get(path).is_some();
    ["qid", "qidname", "qidname(qid)", "isotimeformat"].iter().any(has)
        && (LOG_SOURCE.iter().any(has) || ["logsourceid", "devtimeepoch"].iter().any(has))
        && !is_offense(object)
}

fn event(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = Named(object);
    let name = event.text(&EVENT_NAME)?;
    let log_source = event.text(&LOG_SOURCE).unwrap_or_default();
    // `LinuxServer @ bastion01`: the kind of device, and which it is.
    let host = log_source.rsplit_once(" @ ").map(|(_, host)| host).filter(|host| super::is_name(host));
    let source = end(event, &["sourceip", "sourceaddress", "src"], &["sourceport", "srcport"]);
    let destination =
        end(event, &["destinationip", "destinationaddress", "dst"], &["destinationport", "dstport"]);
    let account = event.text(&["username", "usrname", "identusername"]).unwrap_or_default();
    let is_of_offense = event.text(&["hasoffense"]).is_some_and(|has| has.eq_ignore_ascii_case("true"));
    let kind = match is_of_offense || log_source.starts_with(RULE_ENGINE) {
        true => RecordKind::Alert,
        false => RecordKind::Log,
    };
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("to", destination.as_ref().map(Endpoint::to_string)),
        told("seen by", some(&log_source)),
    ]);
    let message =
        if kind == RecordKind::Alert { name.clone() } else { Cow::Owned(super::titled(&name, &facts)) };
    let protocol =
        event.text(&["protocolname", "protocol", "protocolid"]).filter(|protocol| *protocol != "255");
    let draft = Draft {
        kind,
        time: time(event),
        sensor: Cow::Borrowed(SENSOR),
        host: host.map(|host| Cow::Owned(host.to_owned())).unwrap_or_default(),
        message,
        detail: if kind == RecordKind::Alert { Cow::Owned(facts) } else { Cow::default() },
        rule: event.text(&["qid"]).unwrap_or_default(),
        priority: rank(event).filter(|_| kind == RecordKind::Alert),
        classification: event.text(&["categoryname", "lowlevelcategory", "category"]).unwrap_or_default(),
        protocol: Cow::Owned(protocol_of(&protocol.unwrap_or_default()).to_owned()),
        source,
        destination,
        account,
        raw: event.text(&["payload", "utf8payload"]),
        ..Draft::default()
    };
    Some(draft.finish(Format::ProductEvents, object, envelope))
}

fn time(event: Named<'_>) -> Option<Timestamp> {
    event.first(&EVENT_TIME, fields::time)
}

fn end(event: Named<'_>, address: &[&str], port: &[&str]) -> Option<Endpoint> {
    let port = event.text(port).and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    Some(Endpoint { port, ..event.address(address)? })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{changed, record};
    use super::*;

    const OFFENSE: &str = r#"{"id":7,"description":"Multiple Login Failures for the Same User\n preceded by Local Port Scan\n","offense_type":0,"offense_source":"203.0.113.9","magnitude":7,"severity":8,"credibility":3,"relevance":5,"start_time":1780491571342,"last_updated_time":1780491971342,"categories":["User Login Failure","SSH Login Failed"],"source_network":"other","destination_networks":["Net-10.Net_10_0_0_0"],"username_count":2,"event_count":15,"flow_count":0,"rules":[{"id":100205,"type":"CRE_RULE"}],"status":"OPEN","log_sources":[{"type_name":"EventCRE","type_id":18,"name":"Custom Rule Engine-8 :: qradar","id":63},{"type_name":"LinuxServer","type_id":11,"name":"LinuxServer @ bastion01","id":64}],"assigned_to":null,"follow_up":false,"closing_reason_id":null,"domain_id":0}"#;

    #[test]
    fn an_offense_is_an_alert_about_what_its_type_says() {
        let found = record(OFFENSE);
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(found.message, "Multiple Login Failures for the Same User preceded by Local Port Scan");
        assert_eq!(found.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        assert_eq!((found.sensor.as_str(), found.rule.as_str()), ("IBM QRadar", "100205"));
        assert_eq!(found.classification, "User Login Failure");
        assert!(found.detail.contains("seen by LinuxServer @ bastion01, events 15, status OPEN"));
        for (kind, subject, of) in [
            (json!(0), "203.0.113.9", ("203.0.113.9", "", "")),
            (json!("Destination IP"), "10.0.2.11", ("", "10.0.2.11", "")),
            (json!(3), "alice", ("", "", "alice")),
            (json!(3), "10.0.2.11", ("", "", "10.0.2.11")),
            (json!(7), "bastion01", ("", "bastion01", "")),
            (json!(14), "A rule", ("", "", "")),
        ] {
            let found =
                changed(OFFENSE, &[("offense_type", kind.clone()), ("offense_source", subject.into())]);
            let shown = |end: Option<Endpoint>| end.map(|end| end.address).unwrap_or_default();
            let read = (shown(found.source), shown(found.destination), found.account);
            assert_eq!((read.0.as_str(), read.1.as_str(), read.2.as_str()), of, "{kind} {subject}");
        }
        assert_eq!(changed(OFFENSE, &[("magnitude", 2.into())]).priority, Some(3));
        assert_eq!(changed(OFFENSE, &[("magnitude", Value::Null)]).priority, Some(1), "its severity");
    }

    #[test]
    fn an_offense_that_was_closed_as_none_accuses_nobody() {
        let closed = changed(OFFENSE, &[("closing_reason", "False-Positive, Tuned".into())]);
        assert_eq!(closed.kind, RecordKind::Telemetry);
    }

    #[test]
    fn events_are_logs_unless_they_belong_to_an_offense() {
        let text = r#"{"starttime":1780491571342,"sourceip":"203.0.113.9","destinationip":"10.0.2.11","sourceport":51234,"destinationport":22,"username":"admin","eventname":"SSH Login Failed","logsourcename":"LinuxServer @ bastion01","protocolid":6,"magnitude":5,"severity":3,"qid":44250009,"logsourceid":112,"eventcount":3}"#;
        let seen = record(text);
        assert_eq!((seen.kind, seen.priority, seen.host.as_str()), (RecordKind::Log, None, "bastion01"));
        assert_eq!(
            seen.message,
            "SSH Login Failed: by admin, from 203.0.113.9, to 10.0.2.11:22, seen by LinuxServer @ bastion01"
        );
        assert_eq!((seen.protocol.as_str(), seen.rule.as_str()), ("TCP", "44250009"));
        let of_offense = changed(text, &[("hasOffense", "true".into())]);
        assert_eq!((of_offense.kind, of_offense.priority), (RecordKind::Alert, Some(2)));
        let forwarded = record(
            r#"{"name":"Profile","version":"1.0","isoTimeFormat":"yyyy-MM-dd'T'HH:mm:ss.SSSZ","type":"Event","category":"SSH Login Failed","protocolID":255,"sev":3,"src":"203.0.113.9","dst":"10.0.2.11","srcPort":0,"dstPort":22,"usrName":"admin","devTimeEpoch":1780491571342,"logSource":"LinuxServer @ bastion01","hasOffense":"false","payload":"<34>x"}"#,
        );
        assert!(forwarded.message.starts_with("SSH Login Failed: by admin"), "{}", forwarded.message);
        assert_eq!((forwarded.raw.as_str(), forwarded.protocol.as_str()), ("<34>x", ""));
        assert_eq!(forwarded.source, Some(Endpoint::new("203.0.113.9", None)));
    }

    #[test]
    fn halves_are_none() {
        for text in [
            r#"{"id":7,"description":"x","magnitude":7}"#,
            r#"{"id":7,"offense_type":0,"magnitude":7}"#,
            r#"{"qid":7,"eventname":"x"}"#,
            r#"{"logsourceid":7,"eventname":"x"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!is_offense(&object) && !is_event(&object), "{text}");
        }
    }
}
