//! Alerts of CrowdStrike Falcon as its Alerts API gives them, which is where what agents detect and what is found about identities
//! stands side by side.
//!
//! Each has a `composite_id` and a `created_timestamp`; [`super::falcon`] reads the event stream, in which the same is told under other names.

use std::borrow::Cow;

use super::falcon::rank;
use super::fields::{Fields, end};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, described, listed, some, tags, told};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const FALCON_ALERTS: ObjectFormat = ObjectFormat { format: Format::Detections, recognises, read };

/// What an alert is called, and what it is called inside the product.
const TITLE: [&str; 2] = ["display_name", "name"];

fn recognises(object: &Object) -> bool {
    let alert = Fields(object);
    ["composite_id", "created_timestamp"].iter().all(|key| alert.string(key).is_some())
        && TITLE.iter().any(|key| alert.string(key).is_some())
        && ["severity_name", "severity"].iter().any(|key| alert.has(key))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    let title = alert.first(&TITLE)?;
    let host = alert.first(&["device.hostname", "host_names"]).filter(|name| super::is_name(name));
    let account = alert.first(&["user_name", "source_account_name", "users", "user_principal"]);
    let done = alert.text("pattern_disposition_description");
    let own = || alert.address(&["device.local_ip"]).or_else(|| Some(end(host.as_deref()?, None)));
    let target = place(alert, ["target_endpoint_address_ip4", "target_endpoint_host_name"]);
    let mut draft = Draft {
        kind: RecordKind::Alert,
        // When it happened, else when the alert was made of it.
        time: alert.time(&["timestamp", "context_timestamp", "start_time", "created_timestamp"]),
        sensor: Cow::Borrowed("CrowdStrike Falcon"),
        message: Cow::Owned(described(&title, alert.text("description"))),
        detail: Cow::Owned(listed([
            told("on", host.as_deref()),
            told("account", account.as_deref()),
            told("done", done.as_deref()),
            told("parent", alert.first(&["parent_details.cmdline", "parent_details.filename"])),
            told("upon account", alert.text("target_account_name")),
        ])),
        rule: alert.text("name").unwrap_or_default(),
        priority: priority(alert),
        classification: alert.text("scenario").unwrap_or_default(),
        source: place(alert, ["source_endpoint_address_ip4", "source_endpoint_host_name"])
            .or_else(|| alert.address(&["network_accesses.remote_address"])),
        destination: target.or_else(own),
        process: alert.first(&["cmdline", "filename"]).unwrap_or_default(),
        file: alert.text("filepath").unwrap_or_default(),
        verdict: done.as_deref().and_then(disposition),
        account: account.unwrap_or_default(),
        host: host.clone().unwrap_or_default(),
        ..Draft::default()
    };
    for path in ["tactic", "tactic_id", "tactic_ids", "technique", "technique_id", "technique_ids"] {
        draft.tags.take_all(alert.texts(path));
    }
    for named in alert.objects("mitre_attack") {
        draft.tags.take_all(["tactic_id", "technique_id"].iter().filter_map(|path| named.text(path)));
    }
    Some(draft.finish(Format::Detections, object, envelope))
}

/// An endpoint that an alert about an identity names, by its address or else by its name.
fn place(alert: Fields<'_>, [address, name]: [&str; 2]) -> Option<Endpoint> {
    alert.address(&[address]).or_else(|| alert.end(&[name], &[]))
}

fn priority(alert: Fields<'_>) -> Option<u8> {
    let word = alert.text("severity_name").and_then(|word| tags::severity(&word));
    word.or_else(|| rank(alert.number("severity")?))
}

/// What was done begins with whether anything was: `Detection, process would have been blocked if …` stopped nothing.
fn disposition(done: &str) -> Option<SensorVerdict> {
    match done.split([',', '/']).next().and_then(some)?.trim() {
        "Prevention" => Some(SensorVerdict::Blocked),
        "Detection" => Some(SensorVerdict::Allowed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Tactic;

    const ALERT: &str = r#"{"composite_id":"c7:ind:a7:1-2-3","created_timestamp":"2026-06-03T13:01:00.1Z","timestamp":"2026-06-03T12:59:31.342Z","display_name":"ShadowCopyRemoval","name":"ShadowCopyRemovalCmd","description":"A process removed shadow copies.","severity":70,"severity_name":"High","status":"new","product":"epp","scenario":"ransomware","tactic":"Impact","tactic_id":"TA0040","technique":"Inhibit System Recovery","technique_id":"T1490","pattern_disposition_description":"Prevention, process killed.","filename":"x.exe","filepath":"\\Device\\HarddiskVolume3\\x.exe","cmdline":"x.exe -a","parent_details":{"filename":"cmd.exe"},"user_name":"alice","device":{"hostname":"pc7","local_ip":"10.0.3.20"}}"#;

    #[test]
    fn an_alert_says_what_was_found_on_which_host() {
        let alert = record(ALERT);
        assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(alert.message, "ShadowCopyRemoval: A process removed shadow copies.");
        assert_eq!((alert.host.as_str(), alert.account.as_str()), ("pc7", "alice"));
        assert_eq!(
            (alert.rule.as_str(), alert.classification.as_str()),
            ("ShadowCopyRemovalCmd", "ransomware")
        );
        assert_eq!(alert.detail, "on pc7, account alice, done Prevention, process killed., parent cmd.exe");
        assert_eq!((alert.source, alert.destination.unwrap().address.as_str()), (None, "10.0.3.20"));
        assert_eq!((alert.process.as_str(), alert.verdict), ("x.exe -a", Some(SensorVerdict::Blocked)));
        assert_eq!((alert.tactics, alert.techniques), (vec![Tactic::Impact], vec!["T1490".to_owned()]));
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn few_fields_are_enough() {
        let bare = json!({"composite_id": "c7", "created_timestamp": "2026-06-03T12:59:31Z", "name": "X", "severity": 30});
        let bare = record(&bare.to_string());
        assert_eq!((bare.message.as_str(), bare.priority, bare.destination), ("X", Some(3), None));
        assert_eq!(bare.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        for key in ["composite_id", "created_timestamp", "name", "severity"] {
            let mut other =
                json!({"composite_id": "c7", "created_timestamp": "x", "name": "X", "severity": 30});
            other[key] = Value::Null;
            assert!(!recognises(other.as_object().unwrap()), "{key}");
        }
    }

    #[test]
    fn what_would_have_been_stopped_was_not() {
        let with = |done: &str| changed(ALERT, &[("pattern_disposition_description", done.into())]).verdict;
        let would =
            "Detection, process would have been blocked if related prevention policy setting was enabled.";
        assert_eq!(with(would), Some(SensorVerdict::Allowed));
        assert_eq!(with("Prevention/Quarantine, file was quarantined."), Some(SensorVerdict::Blocked));
        assert_eq!(with(""), None);
    }

    #[test]
    fn an_alert_about_an_identity_has_two_ends() {
        let found = changed(
            ALERT,
            &[
                ("device", Value::Null),
                ("user_name", Value::Null),
                ("source_account_name", "bob".into()),
                ("source_endpoint_host_name", "lt7".into()),
                ("source_endpoint_address_ip4", "10.0.3.17".into()),
                ("target_endpoint_host_name", "DC01".into()),
                ("target_account_name", "svc".into()),
            ],
        );
        assert_eq!((found.source.unwrap().address.as_str(), found.account.as_str()), ("10.0.3.17", "bob"));
        assert_eq!(found.destination.unwrap().address, "DC01");
        assert!(found.detail.ends_with("upon account svc"), "{}", found.detail);
    }

    #[test]
    fn an_alert_that_was_dismissed_is_context_and_no_value_makes_an_end() {
        let over = changed(ALERT, &[("status", "closed".into()), ("resolution", "false_positive".into())]);
        assert_eq!(over.kind, RecordKind::Telemetry);
        let hostile = "x 6.6.6.6 user=root {\"composite_id\":\"1\"}";
        let device = json!({"hostname": hostile, "local_ip": hostile});
        let told = changed(ALERT, &[("device", device), ("cmdline", hostile.into())]);
        assert_eq!((told.source, told.destination, told.host.as_str()), (None, None, ""));
    }
}
