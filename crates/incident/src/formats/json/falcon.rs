//! CrowdStrike Falcon's event stream beside what agents detect ([`super::detections`]): what people and programs did at the console
//! and its interfaces, sessions on hosts that they opened from there, and what was found about identities.
//!
//! Each event is `{"metadata":{"eventType":…,"eventCreationTime":…},"event":{…}}`. What was done is a log of the one who did it; what was
//! found of an account is an alert, as its severity says.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::{
    Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, quoted, some, tags, told,
};
use crate::record::RecordKind;

/// What was done at the console, at interfaces and on hosts.
pub(crate) const ACTIVITIES: ObjectFormat =
    ObjectFormat { format: Format::AuditEvents, recognises: is_activity, read: activity };

/// What was found about identities.
pub(crate) const IDENTITIES: ObjectFormat =
    ObjectFormat { format: Format::Detections, recognises: is_identity, read: identity };

const SIGNED_IN: &str = "AuthActivityAuditEvent";
const DONE: &str = "UserActivityAuditEvent";
const SESSION_STARTS: &str = "RemoteResponseSessionStartEvent";
const SESSION_ENDS: &str = "RemoteResponseSessionEndEvent";
const IDENTITY: &str = "IdpDetectionSummaryEvent";

/// Most values of an activity that are told, and longest of each.
const MAX_VALUES: usize = 6;
const MAX_VALUE: usize = 96;

/// An event, and its type.
fn event(object: &Object) -> Option<(&str, Fields<'_>)> {
    let fields = Fields(object);
    Some((fields.string("metadata.eventType")?, fields.object("event")?))
}

fn is_activity(object: &Object) -> bool {
    event(object).is_some_and(|(kind, event)| match kind {
        SIGNED_IN | DONE => event.has("OperationName"),
        SESSION_STARTS | SESSION_ENDS => event.has("UserName") || event.has("HostnameField"),
        _ => false,
    })
}

fn is_identity(object: &Object) -> bool {
    event(object).is_some_and(|(kind, event)| kind == IDENTITY && event.has("DetectName"))
}

/// When it happened: the service's own time, else when the stream got it.
fn begun<'a>(object: &Object, event: Fields<'a>, times: &[&str]) -> Draft<'a> {
    let time = event.time(times).or_else(|| Fields(object).time(&["metadata.eventCreationTime"]));
    Draft { time, sensor: Cow::Borrowed("CrowdStrike Falcon"), ..Draft::default() }
}

fn activity(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let (kind, event) = event(object)?;
    let service = event.text("ServiceName").unwrap_or_default();
    let account = event.first(&["UserId", "UserName"]).unwrap_or_default();
    let source = event.address(&["UserIp"]);
    let host = event.text("HostnameField").filter(|name| super::is_name(name));
    let did = event.text("OperationName").unwrap_or_default();
    let title = match kind {
        SESSION_STARTS => "Remote response session started".to_owned(),
        SESSION_ENDS => "Remote response session ended".to_owned(),
        // In the words that other providers have for it.
        SIGNED_IN if is_sign_in(&did) => format!("Sign-in to {} ({did})", some(&service).unwrap_or("Falcon")),
        _ => match some(&service) {
            Some(service) => format!("{did} ({service})"),
            None => did.into_owned(),
        },
    };
    let is_failed = event.text("Success").is_some_and(|success| success == "false");
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("on", host.as_deref()),
        is_failed.then(|| "failed".to_owned()),
        values(event, &account),
    ]);
    let times = ["UTCTimestamp", "StartTimestamp", "EndTimestamp"];
    let draft = Draft {
        kind: RecordKind::Log,
        message: Cow::Owned(super::titled(&title, &facts)),
        source,
        destination: host.map(|host| fields::end(&host, None)),
        account,
        ..begun(object, event, &times)
    };
    Some(draft.finish(Format::AuditEvents, object, envelope))
}

/// Whether an operation lets somebody in.
fn is_sign_in(operation: &str) -> bool {
    let operation = operation.to_ascii_lowercase();
    ["authenticate", "saml", "login", "signin"].iter().any(|word| operation.contains(word))
}

/// What an activity was about, without the numbers that things have and who did it. People write some of it, so that it stands in
/// quotation marks.
fn values(event: Fields<'_>, account: &str) -> Option<String> {
    let all = event.objects("AuditKeyValues").filter_map(|pair| {
        let (key, value) = (pair.text("Key")?, pair.first(&["ValueString", "Value"])?);
        let lower = key.to_ascii_lowercase();
        let is_number = lower == "id" || lower.ends_with("_id") || lower == "offset" || lower == "partition";
        let is_told = !is_number && !fields::is_id(&value) && value != account;
        is_told.then(|| format!("{key} {}", quoted(&crate::text::shorten(&value, MAX_VALUE))))
    });
    joined(all.take(MAX_VALUES))
}

fn identity(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let (_, event) = event(object)?;
    let found = event.text("DetectName")?;
    let described = event.text("DetectDescription");
    let named = |path: &str| event.text(path).filter(|name| super::is_name(name));
    let end = |address: &str, name: &str| {
        event.address(&[address]).or_else(|| Some(fields::end(&named(name)?, None)))
    };
    let account = event.first(&["SourceAccountName", "SourceAccountUpn"]).unwrap_or_default();
    let target = event.text("TargetAccountName").filter(|name| *name != account);
    let mut draft = Draft {
        kind: RecordKind::Alert,
        message: Cow::Owned(super::titled(&found, described.as_deref().unwrap_or_default())),
        detail: Cow::Owned(listed([
            told("account", some(&account)),
            told("domain", event.text("SourceAccountDomain")),
            told("upon account", target.as_deref()),
            told("from", named("SourceEndpointHostName")),
            told("to", named("TargetEndpointHostName")),
        ])),
        priority: priority(event),
        source: end("SourceEndpointIpAddress", "SourceEndpointHostName"),
        destination: end("TargetEndpointIpAddress", "TargetEndpointHostName"),
        // Of a guess at many accounts none is the source.
        account: some(&account).map(str::to_owned).map(Cow::Owned).or(target).unwrap_or_default(),
        ..begun(object, event, &["StartTime"])
    };
    for path in ["Tactic", "TacticId", "Technique", "TechniqueId"] {
        draft.tags.take_all(event.texts(path));
    }
    Some(draft.finish(Format::Detections, object, envelope))
}

fn priority(event: Fields<'_>) -> Option<u8> {
    let word = event.text("SeverityName").and_then(|word| tags::severity(&word));
    word.or_else(|| rank(event.number("Severity")?))
}

/// A severity as a number: 1 to 5, or up to 100 in later events and alerts.
pub(super) fn rank(severity: u64) -> Option<u8> {
    match severity {
        1 | 6..=19 => Some(4),
        2 | 20..=39 => Some(3),
        3 | 40..=59 => Some(2),
        4 | 5 | 60..=100 => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::record;
    use super::*;
    use crate::Endpoint;

    fn of(kind: &str, event: Value) -> Record {
        let metadata = json!({"customerIDString": "x", "offset": 7, "eventType": kind, "eventCreationTime": 1780491571342_u64});
        record(&json!({"metadata": metadata, "event": event}).to_string())
    }

    #[test]
    fn sign_ins_say_who_came_from_where() {
        let signed = |success: bool| {
            of(
                SIGNED_IN,
                json!({"UserId": "alice@example.com", "UserIp": "203.0.113.9", "OperationName": "userAuthenticate",
                    "ServiceName": "CrowdStrike Authentication", "Success": success, "UTCTimestamp": 1780491571,
                    "AuditKeyValues": [{"Key": "target_name", "ValueString": "alice@example.com"}]}),
            )
        };
        let failed = signed(false);
        assert_eq!(
            failed.message,
            "Sign-in to CrowdStrike Authentication (userAuthenticate): by alice@example.com, from 203.0.113.9, failed"
        );
        assert_eq!((failed.kind, failed.account.as_str()), (RecordKind::Log, "alice@example.com"));
        assert_eq!(failed.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(failed.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        assert!(!signed(true).message.contains("failed"));
    }

    #[test]
    fn what_was_done_is_told_without_numbers() {
        let done = of(
            DONE,
            json!({"UserId": "bob@example.com", "UserIp": "203.0.113.9", "OperationName": "prevention_policy_updated",
                "ServiceName": "policies", "AuditKeyValues": [{"Key": "policy_id", "ValueString": "x7"},
                {"Key": "comment", "ValueString": "login \"failed\" from 6.6.6.6"}, {"Key": "x"}, 7]}),
        );
        assert_eq!(
            done.message,
            "prevention_policy_updated (policies): by bob@example.com, from 203.0.113.9, comment \"login 'failed' from 6.6.6.6\""
        );
        assert_eq!(done.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let session =
            of(SESSION_STARTS, json!({"SessionId": "s1", "HostnameField": "pc7", "UserName": "bob"}));
        assert_eq!(session.message, "Remote response session started: by bob, on pc7");
        assert_eq!(session.destination.unwrap().address, "pc7");
        assert!(of(SESSION_ENDS, json!({"UserName": "bob"})).message.contains("session ended"));
    }

    #[test]
    fn what_was_found_of_an_identity_is_an_alert() {
        let mut event = json!({"DetectName": "Kerberoasting attack", "DetectDescription": "Many tickets.", "Severity": 4,
            "SeverityName": "High", "StartTime": 1780491570000_u64, "SourceAccountName": "bob", "SourceEndpointHostName": "lt7",
            "SourceEndpointIpAddress": "10.0.3.17", "TargetEndpointHostName": "DC01", "TargetAccountName": "svc",
            "Tactic": "Credential Access", "Technique": "T1558"});
        let found = of(IDENTITY, event.clone());
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(found.message, "Kerberoasting attack: Many tickets.");
        assert_eq!((found.source.unwrap().address.as_str(), found.account.as_str()), ("10.0.3.17", "bob"));
        assert_eq!(found.destination.unwrap().address, "DC01");
        assert_eq!(found.techniques, ["T1558"]);
        for (severity, priority) in [(1, Some(4)), (3, Some(2)), (5, Some(1)), (30, Some(3)), (0, None)] {
            (event["Severity"], event["SeverityName"]) = (severity.into(), Value::Null);
            assert_eq!(of(IDENTITY, event.clone()).priority, priority, "{severity}");
        }
        (event["SourceAccountName"], event["SourceEndpointIpAddress"]) = ("".into(), "x y".into());
        let found = of(IDENTITY, event);
        assert_eq!((found.account.as_str(), found.source.unwrap().address.as_str()), ("svc", "lt7"));
    }

    #[test]
    fn halves_and_other_events_are_none() {
        for text in [
            r#"{"metadata":{"eventType":"UserActivityAuditEvent"},"event":{}}"#,
            r#"{"metadata":{"eventType":"UserActivityAuditEvent"},"event":"x"}"#,
            r#"{"metadata":{"eventType":"IdpDetectionSummaryEvent"},"event":{"Severity":4}}"#,
            r#"{"metadata":{"eventType":["x"]},"event":{"OperationName":"x"}}"#,
            r#"{"metadata":{"eventType":"DetectionSummaryEvent"},"event":{"DetectName":"x","ComputerName":"pc7"}}"#,
            r#"{"eventType":"UserActivityAuditEvent","OperationName":"x"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!is_activity(&object) && !is_identity(&object), "{text}");
        }
    }
}
