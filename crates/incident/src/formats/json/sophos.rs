//! Sophos Central: alerts and events of its SIEM API, and alerts of its common API.
//!
//! Each names what it is by a `type` such as `Event::Endpoint::Threat::CleanedUp`. It says that something is wrong where the type, or the
//! group that the product puts it in, is of what was found: a malware, a behaviour, an exploit. Updates, policies and connections to the
//! console are logs, whatever their severity.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::tags::severity;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told};
use crate::record::{RecordKind, SensorVerdict};

/// What was found wrong.
pub(crate) const ALERTS: ObjectFormat = ObjectFormat {
    format: Format::Detections,
    recognises: is_alert,
    read: |object, envelope| read(object, envelope, true),
};

/// What else happened.
pub(crate) const EVENTS: ObjectFormat = ObjectFormat {
    format: Format::ProductEvents,
    recognises: is_event,
    read: |object, envelope| read(object, envelope, false),
};

/// Parts of types and groups that are about something wrong.
const WRONG: [&str; 20] = [
    "threat",
    "detection",
    "detected",
    "malware",
    "malicious",
    "exploit",
    "ransom",
    "cryptoguard",
    "hmpa",
    "hips",
    "pua",
    "corepua",
    "amsi",
    "ips",
    "lateral",
    "rootkit",
    "webfilteringblocked",
    "phish",
    "virus",
    "adversary",
];
/// Parts of types that hold such words and are about how the product itself does.
const ITS_OWN: [&str; 8] = [
    "policy",
    "updat",
    "scancomplete",
    "exclusion",
    "application::",
    "device::",
    "webcontrol",
    "datalossprevention",
];
/// What the product did, as its types and sentences say it.
const STOPPED: [&str; 8] =
    ["cleanedup", "cleaned up", "cleaned:", "blocked", "prevented", "quarantined", "removed", "terminated"];
const LEFT: [&str; 6] =
    ["cleanupfailed", "notcleanedup", "not cleaned", "cleanup required", "could not be", "unable to"];

/// Whether an object is an alert or an event.
pub(super) fn is_one(object: &Object) -> bool {
    let event = Fields(object);
    let is_typed = event.string("type").is_some_and(|kind| kind.starts_with("Event::"));
    is_typed && ["when", "created_at", "raisedAt", "end", "rt"].iter().any(|key| event.has(key))
}

fn is_alert(object: &Object) -> bool {
    is_one(object) && is_wrong(Fields(object))
}

fn is_event(object: &Object) -> bool {
    is_one(object) && !is_wrong(Fields(object))
}

fn is_wrong(event: Fields<'_>) -> bool {
    let kind = event.text("type").unwrap_or_default().to_ascii_lowercase();
    let group = event.first(&["group", "category"]).unwrap_or_default().to_ascii_lowercase();
    // Short words count as whole ones alone: `IpsecTunnelDown` is about no intrusion.
    let is_word = |word: &str, wrong: &str| match wrong.len() {
        ..4 => word == wrong,
        4 => word.starts_with(wrong),
        _ => word.contains(wrong),
    };
    let is_said =
        |text: &str| text.split([':', '_', ' ']).any(|word| WRONG.iter().any(|wrong| is_word(word, wrong)));
    let is_own = ITS_OWN.iter().any(|own| kind.contains(own));
    let is_named = event.has("threat") || group == "runtime_detections";
    !is_own && (is_named || is_said(&kind) || is_said(&group))
}

fn read(object: &Object, envelope: &Envelope<'_>, is_alert: bool) -> Option<Record> {
    let event = Fields(object);
    let kind = event.text("type")?;
    let said = event.first(&["name", "description"]);
    let title = said.clone().unwrap_or_else(|| Cow::Owned(short(&kind).to_owned()));
    let host = event.first(&["location", "dhost", "managedAgent.name", "data.endpoint_name"]);
    let host = host.filter(|name| super::is_name(name)).unwrap_or_default();
    // Who was at it, or the system itself.
    let account =
        event.first(&["source", "suser", "person.name"]).filter(|name| fields_address(name).is_none());
    let account = account.unwrap_or_default();
    let own = event
        .address(&["source_info.ip", "data.source_info.ip", "ips_threat_data.localIp"])
        .or_else(|| some(&host).map(|host| fields::end(host, None)));
    let remote =
        event.address(&["ips_threat_data.remoteIp", "ips_threat_data.remote_ip", "details.remoteIp"]);
    let threat = event.first(&["threat", "data.threat", "threatName"]);
    let verdict = verdict(&kind, &title);
    let rank = event.text("severity").and_then(|word| severity(&word)).filter(|_| is_alert);
    let facts = listed([
        told("on", some(&host)),
        told("account", some(&account)),
        told("threat", threat.as_deref().filter(|threat| !title.contains(threat))),
        told("", Some(short(&kind)).filter(|_| said.is_some())),
    ]);
    let draft = Draft {
        kind: if is_alert { RecordKind::Alert } else { RecordKind::Log },
        time: event.time(&["when", "end", "raisedAt", "created_at", "rt"]),
        sensor: Cow::Borrowed("Sophos Central"),
        message: if is_alert { title.clone() } else { Cow::Owned(super::titled(&title, &facts)) },
        detail: if is_alert { Cow::Owned(facts) } else { Cow::default() },
        rule: Cow::Owned(threat.map_or_else(|| short(&kind).to_owned(), Cow::into_owned)),
        priority: rank,
        classification: event.first(&["group", "category"]).unwrap_or_default(),
        file: Cow::Owned(path(object, &title)),
        process: event
            .first(&["amsi_threat_data.processPath", "ips_threat_data.executableName"])
            .unwrap_or_default(),
        source: remote,
        destination: own,
        verdict,
        host,
        account,
        ..Draft::default()
    };
    let format = if is_alert { Format::Detections } else { Format::ProductEvents };
    Some(draft.finish(format, object, envelope))
}

/// Whether a text is an address, as where a firewall tells of one in place of a person.
fn fields_address(text: &str) -> Option<crate::Endpoint> {
    fields::address(&serde_json::Value::from(text))
}

/// `Threat::CleanedUp` of `Event::Endpoint::Threat::CleanedUp`.
fn short(kind: &str) -> &str {
    let rest = kind.strip_prefix("Event::").unwrap_or(kind);
    rest.split_once("::").map_or(rest, |(_, rest)| rest)
}

/// What became of it. What the product could not do comes first: its sentences name the deed as well.
fn verdict(kind: &str, said: &str) -> Option<SensorVerdict> {
    let (kind, said) = (kind.to_ascii_lowercase(), said.to_ascii_lowercase());
    // A sentence goes on with a threat's name and a path, which others choose.
    let said = said.split('\'').next().unwrap_or_default();
    let says = |words: &[&str]| words.iter().any(|word| kind.contains(word) || said.contains(word));
    match () {
        () if says(&LEFT) => None,
        () if says(&STOPPED) => Some(SensorVerdict::Blocked),
        () => None,
    }
}

/// The file, which the sentence names in quotation marks behind `at`.
fn path(object: &Object, said: &str) -> String {
    let told = said.rsplit_once(" at '").and_then(|(_, rest)| rest.split('\'').next());
    let told = told.map(str::to_owned);
    let remedied = || {
        let item = Fields(object)
            .first(&["core_remedy_items.items.descriptor", "data.core_remedy_items.items.descriptor"]);
        item.map(Cow::into_owned)
    };
    told.or_else(remedied).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const EVENT: &str = r#"{"endpoint_id":"e","endpoint_type":"computer","created_at":"2026-06-03T12:59:41.342Z","customer_id":"c","source_info":{"ip":"10.0.2.20"},"severity":"low","source":"CORP\\alice","user_id":"u","when":"2026-06-03T12:59:31.342Z","id":"i","name":"Malware cleaned up: 'Troj/Local' at 'C:\\x.exe'","location":"pc7","group":"MALWARE","type":"Event::Endpoint::Threat::CleanedUp","threat":"Troj/Local","datastream":"event"}"#;

    #[test]
    fn what_was_found_is_an_alert_with_what_became_of_it() {
        let found = record(EVENT);
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(3)));
        assert_eq!(found.message, "Malware cleaned up: 'Troj/Local' at 'C:\\x.exe'");
        assert_eq!((found.host.as_str(), found.account.as_str()), ("pc7", "CORP\\alice"));
        assert_eq!((found.file.as_str(), found.rule.as_str()), ("C:\\x.exe", "Troj/Local"));
        assert_eq!(
            (found.destination.unwrap().address.as_str(), found.verdict),
            ("10.0.2.20", Some(SensorVerdict::Blocked))
        );
        assert_eq!(found.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let open = changed(
            EVENT,
            &[
                ("type", "Event::Endpoint::Threat::Detected".into()),
                ("name", "Manual malware cleanup required: 'blocked' at 'C:\\x.exe'".into()),
                ("severity", "high".into()),
            ],
        );
        assert_eq!((open.kind, open.priority, open.verdict), (RecordKind::Alert, Some(1), None));
        for kind in [
            "Event::Endpoint::CoreHmpaExploitPrevented",
            "Event::Endpoint::HmpaCryptoGuardSmbDetected",
            "Event::Endpoint::CoreDetection",
            "Event::Firewall::FirewallAdvancedThreatProtection",
        ] {
            assert_eq!(changed(EVENT, &[("type", kind.into())]).kind, RecordKind::Alert, "{kind}");
        }
    }

    #[test]
    fn what_the_product_does_by_itself_is_a_log() {
        for (kind, group, name) in [
            ("Event::Endpoint::UpdateFailure", "UPDATING", "Update failed"),
            (
                "Event::Endpoint::Application::Blocked",
                "APPLICATION_CONTROL",
                "Controlled application blocked",
            ),
            ("Event::Endpoint::Device::AlertedOnly", "PERIPHERALS", "Peripheral allowed"),
            ("Event::Firewall::LostConnectionToSophosCentral", "CONNECTIVITY", "Lost connection"),
            ("Event::Endpoint::SavScanComplete", "MALWARE", "Scan completed"),
        ] {
            let seen = changed(
                EVENT,
                &[
                    ("type", kind.into()),
                    ("group", group.into()),
                    ("name", name.into()),
                    ("threat", serde_json::Value::Null),
                ],
            );
            assert_eq!((seen.kind, seen.priority), (RecordKind::Log, None), "{kind}");
            assert!(
                seen.message.starts_with(&format!("{name}: on pc7, account CORP\\alice")),
                "{}",
                seen.message
            );
        }
    }

    #[test]
    fn alerts_of_both_interfaces_are_read() {
        let alert = record(
            r#"{"created_at":"2026-06-03T12:59:41.342Z","when":"2026-06-03T12:59:31.342Z","location":"pc7","id":"i","customer_id":"c","severity":"high","threat_cleanable":null,"threat":"ML/PE-A","type":"Event::Endpoint::Threat::Detected","description":"Manual cleanup required: 'ML/PE-A' at 'C:\\x.exe'","data":{"endpoint_id":"e","source_info":{"ip":"10.0.2.20"}},"source":"n/a","info":null}"#,
        );
        assert_eq!((alert.kind, alert.priority, alert.account.as_str()), (RecordKind::Alert, Some(1), ""));
        assert_eq!(alert.destination.unwrap().address, "10.0.2.20");
        let common = record(
            r#"{"id":"i","allowedActions":["acknowledge"],"category":"malware","description":"Malware detected","groupKey":"x","managedAgent":{"id":"m","type":"computer"},"product":"endpoint","raisedAt":"2026-06-03T12:59:31.342Z","severity":"medium","tenant":{"id":"t","name":"Example"},"type":"Event::Endpoint::Threat::Detected"}"#,
        );
        assert_eq!(
            (common.kind, common.priority, common.message.as_str()),
            (RecordKind::Alert, Some(2), "Malware detected")
        );
    }

    #[test]
    fn objects_of_others_are_none() {
        for text in [
            r#"{"type":"Event::Endpoint::Threat::Detected"}"#,
            r#"{"type":"Event","when":"2026-06-03T12:59:31Z"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!is_one(&object), "{text}");
        }
    }
}
