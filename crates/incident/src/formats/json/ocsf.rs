//! The Open Cybersecurity Schema Framework.
//!
//! Detection findings (2004), the older security findings (2001), incident (2005) and data security findings (2006) are
//! alerts, and whatever says `is_alert`. Account changes, logins, API calls and a cleared event log are logs. Network,
//! file and process activity, inventories and findings about weaknesses are telemetry.

use std::borrow::Cow;

use super::fields::Fields;
use super::tags::severity;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, told, traffic, verdict};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const OCSF: ObjectFormat = ObjectFormat { format: Format::Ocsf, recognises, read };

fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    fields.number("class_uid").is_some()
        && ["metadata.version", "metadata.product", "category_uid", "type_uid", "activity_id", "severity_id"]
            .iter()
            .any(|path| fields.has(path))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = Fields(object);
    let class = event.number("class_uid")?;
    // Findings keep what raised them apart.
    let first = |path: &str| event.text(path).or_else(|| event.text(&format!("evidences.{path}")));
    let first_of = |paths: &[&str]| paths.iter().find_map(|path| first(path));
    let mut draft = Draft {
        kind: kind(class, event.text("is_alert").is_some_and(|is| is == "true")),
        time: event.time(&["time", "time_dt", "metadata.original_time"]),
        sensor: event.first(&["metadata.product.name", "metadata.product.vendor_name"]).unwrap_or_default(),
        host: event
            .first(&[
                "device.hostname",
                "device.name",
                "evidences.device.hostname",
                "resources.name",
                "device.ip",
            ])
            .unwrap_or_default(),
        rule: event
            .first(&[
                "finding_info.analytic.uid",
                "finding_info.analytic.name",
                "rule.uid",
                "rule.name",
                "analytic.uid",
            ])
            .unwrap_or_default(),
        classification: event.first(&["finding_info.types", "finding.types"]).unwrap_or_default(),
        priority: priority(event),
        protocol: first_of(&["connection_info.protocol_name"]).unwrap_or_default(),
        account: first_of(&["user.name", "actor.user.name", "user.email_addr", "dst_endpoint.owner.name"])
            .unwrap_or_default(),
        process: first_of(&[
            "process.cmd_line",
            "process.file.path",
            "process.name",
            "actor.process.cmd_line",
            "actor.process.file.path",
            "actor.process.name",
        ])
        .unwrap_or_default(),
        file: first_of(&["file.path", "file.name", "reg_key.path"]).unwrap_or_default(),
        verdict: disposition(event),
        raw: event.text("raw_data"),
        ..Draft::default()
    };
    let end = |of: &str| {
        [of.to_owned(), format!("evidences.{of}")].iter().find_map(|of| {
            let addresses = ["ip", "hostname", "name"].map(|key| format!("{of}.{key}"));
            event.end(&addresses.each_ref().map(String::as_str), &[&format!("{of}.port")])
        })
    };
    draft.source = end("src_endpoint");
    draft.destination = end("dst_endpoint");
    draft.via.extend(event.end(&["proxy_endpoint.ip"], &[]).map(|proxy| proxy.address));
    let attacks = ["attacks", "finding_info.attacks", "finding.attacks"];
    for attack in attacks.iter().flat_map(|path| event.objects(path)) {
        let tactics = ["tactic", "tactics"].iter().flat_map(|key| attack.objects(key));
        draft.tags.take_all(tactics.filter_map(|tactic| tactic.first(&["uid", "name"])));
        draft.tags.take_all(attack.first(&["technique.uid"]));
        draft.tags.take_all(attack.first(&["sub_technique.uid"]));
    }
    let query = first("query.hostname");
    let url = first_of(&["http_request.url.url_string", "http_request.url.path", "url.url_string"]);
    if draft.kind == RecordKind::Alert {
        draft.message =
            event.first(&["finding_info.title", "finding.title", "message", "rule.name", "class_name"])?;
        let via = draft.via.first().cloned();
        draft.detail = Cow::Owned(listed([told("via", via), told("", url), told("dns", query)]));
    } else {
        let title = event
            .first(&["api.operation", "type_name", "activity_name", "message", "class_name"])
            .unwrap_or_else(|| Cow::Owned(format!("class {class}")));
        let both = traffic(&draft.protocol, draft.source.as_ref(), draft.destination.as_ref());
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let from =
            draft.source.as_ref().filter(|_| draft.destination.is_none()).map(|end| end.address.as_str());
        let facts = listed([
            told("account", some(&draft.account)),
            told("from", from),
            some(&both),
            told("dns", query),
            told("", url),
            told("", some(&draft.process)),
            told("file", some(&draft.file)),
            told("status", event.text("status").filter(|status| status != "Success")),
        ]);
        let on = if draft.host.is_empty() { title } else { Cow::Owned(format!("{title} on {}", draft.host)) };
        draft.message = Cow::Owned(super::titled(&on, &facts));
    }
    Some(draft.finish(Format::Ocsf, object, envelope))
}

/// What a class may be used for.
fn kind(class: u64, is_alert: bool) -> RecordKind {
    match class {
        _ if is_alert => RecordKind::Alert,
        2001 | 2004..=2006 => RecordKind::Alert,
        1008 | 3000..=3999 | 6000..=6999 => RecordKind::Log,
        _ => RecordKind::Telemetry,
    }
}

fn priority(event: Fields<'_>) -> Option<u8> {
    match event.number("severity_id") {
        Some(1) => Some(4),
        Some(2) => Some(3),
        Some(3) => Some(2),
        Some(4..=6) => Some(1),
        Some(0) => None,
        // 99 is a word of the source's own.
        _ => severity(&event.text("severity")?),
    }
}

fn disposition(event: Fields<'_>) -> Option<SensorVerdict> {
    match event.number("action_id") {
        Some(1) => Some(SensorVerdict::Allowed),
        Some(2) => Some(SensorVerdict::Blocked),
        _ => match event.number("disposition_id") {
            Some(1) => Some(SensorVerdict::Allowed),
            // Blocked, quarantined, isolated, deleted, dropped.
            Some(2..=6) => Some(SensorVerdict::Blocked),
            _ => event.first(&["disposition", "action"]).and_then(|word| verdict(&word)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::{Endpoint, Tactic};

    const FINDING: &str = r#"{"class_uid":2004,"class_name":"Detection Finding","category_uid":2,"activity_id":1,"severity_id":4,"severity":"High","time":1780491571342,"metadata":{"version":"1.3.0","product":{"name":"Invented EDR"}},"finding_info":{"uid":"f-1","title":"SSH brute force","analytic":{"uid":"r-1"},"attacks":[{"tactic":{"uid":"TA0006","name":"Credential Access"},"technique":{"uid":"T1110"},"sub_technique":{"uid":"T1110.001"}}]},"evidences":[{"src_endpoint":{"ip":"203.0.113.9","port":51234},"dst_endpoint":{"ip":"10.0.2.11","port":22},"process":{"name":"sshd"}}],"device":{"hostname":"bastion01"},"disposition_id":2}"#;

    #[test]
    fn a_detection_finding_is_an_alert() {
        let record = record(FINDING);
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((record.message.as_str(), record.rule.as_str()), ("SSH brute force", "r-1"));
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", Some(51234))));
        assert_eq!(record.destination, Some(Endpoint::new("10.0.2.11", Some(22))));
        assert_eq!(record.tactics, [Tactic::CredentialAccess]);
        assert_eq!(record.techniques, ["T1110", "T1110.001"]);
        assert_eq!((record.host.as_str(), record.process.as_str()), ("bastion01", "sshd"));
        assert_eq!(record.verdict, Some(SensorVerdict::Blocked));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn a_security_finding_of_the_first_versions_is_an_alert() {
        let record = record(
            r#"{"class_uid":2001,"category_uid":2,"severity_id":3,"time":1780491571342,"metadata":{"version":"1.0.0"},"finding":{"title":"Public bucket read","uid":"x","types":["Exfiltration"]},"resources":[{"name":"bucket-1"}],"attacks":[{"tactics":[{"uid":"TA0010"}],"technique":{"uid":"T1530"}}]}"#,
        );
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(2)));
        assert_eq!((record.message.as_str(), record.host.as_str()), ("Public bucket read", "bucket-1"));
        assert_eq!(record.tactics, [Tactic::Exfiltration]);
    }

    #[test]
    fn severities_are_mapped_and_unknown_is_unset() {
        for (id, expected) in
            [(0, None), (1, Some(4)), (2, Some(3)), (3, Some(2)), (4, Some(1)), (5, Some(1)), (6, Some(1))]
        {
            assert_eq!(changed(FINDING, &[("severity_id", id.into())]).priority, expected, "{id}");
        }
        let own = [("severity_id", 99.into()), ("severity", "Medium".into())];
        assert_eq!(changed(FINDING, &own).priority, Some(2));
    }

    #[test]
    fn other_classes_are_logs_or_telemetry() {
        let classes = [(3002, RecordKind::Log), (6003, RecordKind::Log), (4001, RecordKind::Telemetry)];
        for (class, expected) in
            classes.into_iter().chain([(1007, RecordKind::Telemetry), (2002, RecordKind::Telemetry)])
        {
            assert_eq!(changed(FINDING, &[("class_uid", class.into())]).kind, expected, "{class}");
        }
        let marked = [("class_uid", 4001.into()), ("is_alert", true.into())];
        assert_eq!(changed(FINDING, &marked).kind, RecordKind::Alert);
        let flow = record(
            r#"{"class_uid":4001,"type_name":"Network Activity: Open","category_uid":4,"time":1780491571342,"metadata":{"version":"1.3.0"},"src_endpoint":{"ip":"10.0.3.18","port":51000},"dst_endpoint":{"ip":"198.51.100.80","port":443},"connection_info":{"protocol_name":"tcp"}}"#,
        );
        assert_eq!(flow.message, "Network Activity: Open: TCP 10.0.3.18 -> 198.51.100.80:443");
        let login = record(
            r#"{"class_uid":3002,"type_name":"Authentication: Logon","category_uid":3,"time":1780491571342,"metadata":{"version":"1.3.0"},"status":"Failure","user":{"name":"admin"},"src_endpoint":{"ip":"203.0.113.9"},"device":{"hostname":"web01"}}"#,
        );
        assert_eq!(
            login.message,
            "Authentication: Logon on web01: account admin, from 203.0.113.9, status Failure"
        );
    }
}
