//! Palo Alto's Cortex XDR: alerts and incidents as its interfaces give them and as they are forwarded. An alert tells its host and its
//! account itself or in the events that raised it; an incident names them as `pc7:1a2b` and stands for the alerts in it.
//!
//! Both are alerts. The console's own word says what was done with them.

use std::borrow::Cow;

use super::fields::Fields;
use super::tags::severity;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const CORTEX: ObjectFormat = ObjectFormat { format: Format::Detections, recognises, read };

/// Whether the object is one of them.
pub(super) fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    is_alert(fields) || is_incident(fields)
}

fn is_alert(fields: Fields<'_>) -> bool {
    let is_numbered = ["alert_id", "external_id", "internal_id"].iter().any(|key| fields.has(key));
    let is_named = ["name", "alert_name"].iter().any(|key| fields.string(key).is_some());
    let is_timed = ["detection_timestamp", "source_insert_ts"].iter().any(|key| fields.has(key));
    is_numbered && is_named && is_timed && fields.has("severity")
}

fn is_incident(fields: Fields<'_>) -> bool {
    ["incident_id", "creation_time", "severity"].iter().all(|key| fields.has(key))
        && ["alert_count", "incident_sources", "xdr_url"].iter().any(|key| fields.has(key))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let draft = if is_alert(fields) { alert(fields)? } else { incident(fields)? };
    Some(draft.finish(Format::Detections, object, envelope))
}

/// The first value under these names, of the alert or of the first of its events.
fn of<'a>(alert: Fields<'a>, keys: &[&str]) -> Option<Cow<'a, str>> {
    alert.first(keys).or_else(|| keys.iter().find_map(|key| alert.text(&format!("events.{key}"))))
}

fn address(alert: Fields<'_>, keys: &[&str]) -> Option<Endpoint> {
    alert.address(keys).or_else(|| keys.iter().find_map(|key| alert.address(&[&format!("events.{key}")])))
}

/// What was done, in the product's few words: `Detected (Reported)`, `BLOCKED`, `Prevented (Blocked)`.
fn verdict(action: &str) -> Option<SensorVerdict> {
    let action = action.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| action.contains(word));
    if is(&["block", "prevent", "terminate", "quarantine"]) {
        Some(SensorVerdict::Blocked)
    } else {
        is(&["detect", "report", "allow", "scanned"]).then_some(SensorVerdict::Allowed)
    }
}

fn alert(fields: Fields<'_>) -> Option<Draft<'_>> {
    let name = fields.first(&["name", "alert_name"])?;
    let host =
        of(fields, &["host_name", "agent_hostname", "endpoint_name", "agent_fqdn"]).unwrap_or_default();
    let account =
        of(fields, &["user_name", "actor_effective_username", "actor_primary_username", "username"]);
    let account = account.unwrap_or_default();
    let own = address(fields, &["host_ip", "action_local_ip", "agent_ip_addresses"]);
    let own = own.or_else(|| some(&host).map(|host| Endpoint::new(host, None)));
    let remote = address(fields, &["action_remote_ip", "remote_ip"]);
    // A connection that came in goes from there to the host, and one that went out the other way.
    let port = |key: &str| fields.port(&[key, &format!("events.{key}")]);
    let is_from_here = port("action_remote_port")
        .is_some_and(|there| port("action_local_port").is_none_or(|here| here > there));
    let (source, destination) = match remote.filter(|remote| Some(remote) != own.as_ref()) {
        Some(remote) if is_from_here => (own, Some(Endpoint { port: port("action_remote_port"), ..remote })),
        remote => (remote, own),
    };
    let action = of(fields, &["action_pretty", "action"]).unwrap_or_default();
    let described = fields.first(&["description", "alert_description"]).filter(|text| *text != name);
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: fields.time(&["detection_timestamp", "events.event_timestamp", "source_insert_ts"]),
        sensor: Cow::Owned(format!("Cortex {}", fields.first(&["source"]).unwrap_or(Cow::Borrowed("XDR")))),
        message: match &described {
            Some(described) => Cow::Owned(super::titled(&name, described)),
            None => name,
        },
        rule: fields
            .first(&["matching_service_rule_id", "rule_id", "contains_featured_rule"])
            .unwrap_or_default(),
        priority: fields.text("severity").and_then(|word| severity(word.trim_start_matches("SEV_"))),
        classification: fields.first(&["category", "alert_type"]).unwrap_or_default(),
        detail: Cow::Owned(listed([
            told("on", some(&host)),
            told("account", some(&account)),
            told("by", of(fields, &["causality_actor_process_image_name"])),
            told("done", some(&action)),
        ])),
        process: of(
            fields,
            &[
                "action_process_image_command_line",
                "actor_process_command_line",
                "causality_actor_process_command_line",
                "os_actor_process_command_line",
                "actor_process_image_name",
                "actor_process_image_path",
            ],
        )
        .unwrap_or_default(),
        file: of(fields, &["action_file_path", "action_file_name", "actor_process_image_path"])
            .unwrap_or_default(),
        verdict: verdict(&action),
        source,
        destination,
        host,
        account,
        ..Draft::default()
    };
    for key in ["mitre_tactic_id_and_name", "mitre_technique_id_and_name"] {
        take_tags(&mut draft, fields, key);
    }
    if fields.text("resolution_status").is_some_and(|state| state.ends_with("FALSE_POSITIVE")) {
        draft.kind = RecordKind::Telemetry;
    }
    Some(draft)
}

/// Several may stand in one text, and each is an identifier and a name: `T1003.001 - OS Credential Dumping: LSASS Memory`.
fn take_tags(draft: &mut Draft<'_>, fields: Fields<'_>, key: &str) {
    for text in fields.texts(key) {
        let named = text.split(", T").map(|tag| tag.split(" - ").next().unwrap_or_default().trim());
        let named: Vec<String> = named.map(|tag| format!("T{}", tag.trim_start_matches('T'))).collect();
        draft.tags.take_all(named);
    }
}

fn incident(fields: Fields<'_>) -> Option<Draft<'_>> {
    let title = fields.first(&["incident_name", "description"])?;
    // `pc7:1a2b3c`, the identifier of the agent behind the name.
    let host = fields.text("hosts").map(|host| host.split(':').next().unwrap_or_default().to_owned());
    let host = host.unwrap_or_default();
    let account = fields.text("users").unwrap_or_default();
    let all = |key: &str| {
        let all: Vec<String> = fields
            .texts(key)
            .iter()
            .map(|one| one.split(':').next().unwrap_or_default().to_owned())
            .collect();
        super::joined(all)
    };
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: fields.time(&["detection_time", "creation_time"]),
        sensor: Cow::Borrowed("Cortex XDR incident"),
        rule: fields.text("incident_id").unwrap_or_default(),
        priority: fields.first(&["manual_severity", "severity"]).and_then(|word| severity(&word)),
        classification: fields.first(&["alert_categories"]).unwrap_or_default(),
        detail: Cow::Owned(listed([told("hosts", all("hosts")), told("accounts", all("users"))])),
        message: title,
        destination: some(&host).map(|host| Endpoint::new(host, None)),
        host: Cow::Owned(host),
        account,
        ..Draft::default()
    };
    for key in ["mitre_tactics_ids_and_names", "mitre_techniques_ids_and_names"] {
        take_tags(&mut draft, fields, key);
    }
    // Resolved as no attack, as the console's word ends.
    let status = fields.text("status").unwrap_or_default().to_ascii_lowercase();
    if ["resolved_false_positive", "resolved_known_issue", "resolved_security_testing", "resolved_duplicate"]
        .contains(&status.as_str())
    {
        draft.kind = RecordKind::Telemetry;
    }
    Some(draft)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const ALERT: &str = r#"{"external_id":"1","severity":"high","mitre_technique_id_and_name":"T1003.001 - OS Credential Dumping: LSASS Memory","mitre_tactic_id_and_name":["TA0006 - Credential Access"],"alert_type":"Unclassified","events":[{"event_type":"Process Execution","actor_process_command_line":"x.exe -a","action_remote_ip":"203.0.113.9","user_name":"CORP\\alice"}],"alert_id":"22","detection_timestamp":1780491571342,"name":"Credential dump","category":"Credential Access","description":"LSASS was read","host_ip":["10.0.2.20"],"host_name":"pc7","source":"XDR BIOC","action":"DETECTED","action_pretty":"Detected (Reported)"}"#;
    const INCIDENT: &str = r#"{"incident_id":"12","incident_name":null,"creation_time":1780491571342,"status":"new","severity":"high","description":"'Credential dump' along with 2 other alerts","alert_count":3,"hosts":["pc7:e1","pc8:e2"],"users":["corp\\alice"],"incident_sources":["XDR BIOC"],"mitre_tactics_ids_and_names":["TA0006 - Credential Access"],"mitre_techniques_ids_and_names":["T1003 - OS Credential Dumping"],"xdr_url":"x"}"#;

    #[test]
    fn an_alert_names_host_account_and_process() {
        let alert = record(ALERT);
        assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(alert.message, "Credential dump: LSASS was read");
        assert_eq!((alert.host.as_str(), alert.account.as_str()), ("pc7", "CORP\\alice"));
        assert_eq!((alert.process.as_str(), alert.techniques), ("x.exe -a", vec!["T1003.001".to_owned()]));
        assert_eq!((alert.tactics.len(), alert.verdict), (1, Some(SensorVerdict::Allowed)));
        assert_eq!(alert.destination.unwrap().address, "10.0.2.20");
        assert_eq!(alert.source.unwrap().address, "203.0.113.9");
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let out = changed(
            ALERT,
            &[("action_remote_port", 443.into()), ("action_pretty", "Prevented (Blocked)".into())],
        );
        assert_eq!(out.destination.unwrap().to_string(), "203.0.113.9:443");
        assert_eq!(
            (out.source.unwrap().address.as_str(), out.verdict),
            ("10.0.2.20", Some(SensorVerdict::Blocked))
        );
    }

    #[test]
    fn an_incident_stands_for_its_alerts() {
        let incident = record(INCIDENT);
        assert_eq!(
            (incident.kind, incident.priority, incident.host.as_str()),
            (RecordKind::Alert, Some(1), "pc7")
        );
        assert_eq!((incident.account.as_str(), incident.techniques.len()), ("corp\\alice", 1));
        assert_eq!(incident.detail, "hosts pc7, pc8, accounts corp\\alice");
        let over = changed(INCIDENT, &[("status", "resolved_false_positive".into())]);
        assert_eq!(over.kind, RecordKind::Telemetry);
    }
}
