//! Alerts of Jamf Protect: what an analytic on a Mac matched, with the facts that it is made of.
//!
//! `{"caid":"…","input":{"eventType":"GPProcessEvent","host":{…},"match":{"severity":2,"facts":[…],"event":{…}},"related":{…}}}`

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const JAMF: ObjectFormat = ObjectFormat { format: Format::Detections, recognises, read };

/// Most facts that the title names.
const MAX_FACTS: usize = 4;

fn recognises(object: &Object) -> bool {
    let alert = Fields(object);
    alert.object("input.match").is_some_and(|matched| matched.has("facts") || matched.has("severity"))
        && alert.string("input.eventType").is_some()
        && alert.object("input.host").is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    let input = alert.object("input")?;
    let matched = input.object("match")?;
    let kind = input.text("eventType")?;
    let facts: Vec<Fields<'_>> = matched.objects("facts").collect();
    let names = facts.iter().filter_map(|fact| fact.text("name")).take(MAX_FACTS).map(Cow::into_owned);
    let rule = joined(names).unwrap_or_default();
    let human = facts.iter().find_map(|fact| fact.first(&["human", "shortDescription"]));
    let process = command(matched, "event.process")
        .or_else(|| command(input, "related.processes"))
        .or_else(|| matched.first(&["event.process.name"]))
        .unwrap_or_default();
    let host = input.first(&["host.hostname", "host.serial"]).unwrap_or_default();
    // The name of who ran the process goes before that of the group or the user who is acted upon.
    let account = matched
        .first(&["event.user", "event.user.name", "event.process.user"])
        .or_else(|| input.first(&["related.users.name"]))
        .unwrap_or_default();
    let file = matched
        .first(&["event.path", "event.file.path", "event.file"])
        .or_else(|| input.first(&["related.files.path"]))
        .unwrap_or_default();
    let is_stopped = kind.contains("Prevent") || kind.contains("ThreatMatch");
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: matched.time(&["event.timestamp"]).or_else(|| alert.time(&["timestamp", "timestampns"])),
        sensor: Cow::Borrowed("Jamf Protect"),
        message: match (some(&rule), human) {
            (Some(rule), Some(human)) => Cow::Owned(super::titled(rule, &human)),
            (Some(rule), None) => Cow::Owned(rule.to_owned()),
            (None, human) => human.unwrap_or_else(|| kind.clone()),
        },
        priority: priority(
            matched
                .number("severity")
                .or_else(|| facts.iter().filter_map(|fact| fact.number("severity")).max()),
        ),
        detail: Cow::Owned(listed([
            told("on", some(&host)),
            told("account", some(&account)),
            told("parent", matched.first(&["event.process.parentPath", "event.process.responsible.path"])),
            told(
                "signed by",
                matched.first(&["event.process.signingInfo", "event.process.signingInfo.appid"]),
            ),
        ])),
        destination: alert.end(&["input.host.hostname"], &[]),
        verdict: is_stopped.then_some(SensorVerdict::Blocked),
        classification: kind,
        rule: Cow::Owned(rule),
        host,
        account,
        process,
        file,
        ..Draft::default()
    };
    draft.tags.take_all(facts.iter().flat_map(|fact| fact.texts("tags")).chain(matched.texts("tags")));
    Some(draft.finish(Format::Detections, object, envelope))
}

/// Severities go from 0, which informs, to 3.
fn priority(severity: Option<u64>) -> Option<u8> {
    match severity? {
        0 => Some(4),
        1 => Some(3),
        2 => Some(2),
        _ => Some(1),
    }
}

/// The command line of the process at a path, else what was run.
fn command<'a>(fields: Fields<'a>, path: &str) -> Option<Cow<'a, str>> {
    let process = fields.objects(path).next()?;
    let arguments = process.texts("args").join(" ");
    if arguments.is_empty() { process.first(&["path", "name"]) } else { Some(Cow::Owned(arguments)) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::{Endpoint, Tactic};

    const ALERT: &str = r#"{"caid":"c1","input":{"eventType":"GPProcessEvent","host":{"hostname":"mac07","serial":"C02","ips":["10.0.3.17"]},"match":{"uuid":"u1","severity":2,"facts":[{"name":"KeychainRead","human":"The keychain was read by a tool","tags":["T1555.001","CredentialAccess"]}],"event":{"timestamp":1780491571.342,"user":"alice","process":{"path":"/usr/bin/security","args":["security","dump-keychain","-d"],"pid":7,"parentPath":"/bin/zsh"}}}},"timestamp":"2026-06-03T12:59:32Z"}"#;

    #[test]
    fn an_alert_is_read_with_its_techniques_and_its_process() {
        let alert = record(ALERT);
        assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(alert.message, "KeychainRead: The keychain was read by a tool");
        assert_eq!((alert.host.as_str(), alert.account.as_str()), ("mac07", "alice"));
        assert_eq!(
            (alert.process.as_str(), alert.rule.as_str()),
            ("security dump-keychain -d", "KeychainRead")
        );
        assert_eq!(alert.techniques, ["T1555.001"]);
        assert_eq!(alert.tactics, [Tactic::CredentialAccess]);
        assert_eq!(alert.destination, Some(Endpoint::new("mac07", None)));
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn what_is_related_is_read_as_well() {
        let alert = record(
            r#"{"caid":"c1","input":{"eventType":"GPPreventedExecutionEvent","host":{"hostname":"mac07"},"match":{"severity":3,"facts":[{"name":"Blocked"}],"event":{"pid":7}},"related":{"processes":[{"args":["/tmp/x","-a"],"path":"/tmp/x"}],"users":[{"name":"alice","uid":501}],"files":[{"path":"/tmp/x"}]}},"timestamp":"2026-06-03T12:59:32Z"}"#,
        );
        assert_eq!((alert.priority, alert.verdict), (Some(1), Some(SensorVerdict::Blocked)));
        assert_eq!(
            (alert.process.as_str(), alert.account.as_str(), alert.file.as_str()),
            ("/tmp/x -a", "alice", "/tmp/x")
        );
    }

    #[test]
    fn half_an_alert_is_read_for_what_it_says() {
        let half = changed(
            ALERT,
            &[(
                "input",
                serde_json::json!({"eventType": "GPUSBEvent", "host": {}, "match": {"severity": "x", "facts": 7}}),
            )],
        );
        assert_eq!((half.message.as_str(), half.priority), ("GPUSBEvent", None));
        for text in
            [r#"{"input":{}}"#, r#"{"input":{"eventType":"x","match":{"facts":[]}}}"#, r#"{"caid":"x"}"#]
        {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(
                !recognises(&object)
                    && read(&object, &Envelope::default()).is_none_or(|read| !read.message.is_empty()),
                "{text}"
            );
        }
    }
}
