//! Elastic Common Schema: detection alerts of Kibana (`kibana.alert.*`, before 8.0 `signal.*`), Security Onion, and ECS events
//! of any module, with nested or dotted keys, also inside `_source`.

use std::borrow::Cow;

use super::beats;
use super::fields::{self, Fields};
use super::log_analytics::{Table, as_written};
use super::tags::{risk, severity};
use super::{
    Draft, Envelope, Format, Object, ObjectFormat, Record, is_own_proxy, listed, told, traffic, verdict,
};
use crate::Endpoint;
use crate::record::RecordKind;

/// See the module.
pub(crate) const ECS: ObjectFormat = ObjectFormat { format: Format::Ecs, recognises, read };

/// Where threats stand that a rule names, newest first.
const THREATS: [&str; 4] =
    ["kibana.alert.rule.threat", "kibana.alert.rule.parameters.threat", "signal.rule.threat", "threat"];

/// The same in the flat fields of a search hit.
const FLAT_THREATS: [&str; 5] = [
    "kibana.alert.rule.threat.tactic.id",
    "kibana.alert.rule.threat.technique.id",
    "kibana.alert.rule.threat.technique.subtechnique.id",
    "kibana.alert.rule.tags",
    "rule.mitre.id",
];

fn recognises(object: &Object) -> bool {
    if Table::among(&[Table::Seen], object).is_some() {
        return true;
    }
    let fields = inner(Fields(object));
    if is_detection(fields) {
        return true;
    }
    let is_foreign =
        ["winlog.event_id", "winlog.channel", "rule.level", "class_uid", "event_type", "RuleTitle", "Event"]
            .iter()
            .any(|path| fields.has(path));
    let is_ecs = ["ecs.version", "event.kind", "event.module", "event.dataset", "event.category"]
        .iter()
        .any(|path| fields.has(path));
    !is_foreign && fields.has("@timestamp") && is_ecs
}

/// The document of a search hit, whole or as the fields that were asked for, or the object itself.
fn inner(fields: Fields<'_>) -> Fields<'_> {
    let of_hit = |key| fields.object(key).filter(|_| fields.has("_index"));
    of_hit("_source").or_else(|| of_hit("fields")).unwrap_or(fields)
}

/// Whether an object is an alert of Kibana's detection engine. It repeats the fields of what raised it.
pub(super) fn is_detection(fields: Fields<'_>) -> bool {
    ["kibana.alert.rule.name", "kibana.alert.uuid", "kibana.alert.severity", "signal.rule.name"]
        .iter()
        .any(|path| fields.has(path))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let row = as_written(object, &[Table::Seen]);
    let fields = inner(Fields(row.as_ref().unwrap_or(object)));
    let kind = kind(fields);
    if kind != RecordKind::Alert
        && let Some(record) = beats::as_line(fields, envelope)
    {
        return Some(record);
    }
    let mut draft = Draft {
        time: fields.time(&["@timestamp", "kibana.alert.original_time", "timestamp"]),
        kind,
        raw: fields.first(&["event.original", "kibana.alert.reason", "signal.reason"]),
        ..Draft::default()
    };
    if draft.raw.is_none() && !fields.has("kibana.alert.uuid") {
        draft.raw = fields.text("message");
    }
    complete(fields, &mut draft);
    if draft.source.is_none() && draft.destination.is_some() && is_outward(fields) {
        draft.source = own_end(fields);
    }
    if let Some(made) = beats::made_account(fields) {
        draft.account = made;
    }
    if draft.kind == RecordKind::Alert {
        fill_alert(fields, &mut draft);
    } else {
        draft.message = Cow::Owned(event_message(fields, &draft));
    }
    if draft.message.is_empty() { None } else { Some(draft.finish(Format::Ecs, object, envelope)) }
}

/// What an ECS document may be used for, by its own categories.
fn kind(fields: Fields<'_>) -> RecordKind {
    let is = |path: &str, word: &str| fields.texts(path).iter().any(|text| text == word);
    let is_alert = is_detection(fields)
        || is("event.kind", "alert")
        || is("event.kind", "signal")
        // Security Onion leaves out the kind.
        || fields
            .text("event.dataset")
            .is_some_and(|name| matches!(name.rsplit('.').next(), Some("alert" | "notice")))
        || (is("tags", "alert") && fields.has("rule.name"));
    let is_log =
        ["authentication", "iam", "configuration", "session", "web", "intrusion_detection", "malware"]
            .iter()
            .any(|category| is("event.category", category));
    let is_seen = [
        "network", "process", "file", "registry", "driver", "library", "host", "package", "database", "email",
    ]
    .iter()
    .any(|category| is("event.category", category));
    let is_flow = ["suricata.", "zeek.", "network_traffic.", "packetbeat", "netflow."]
        .iter()
        .any(|name| fields.text("event.dataset").is_some_and(|dataset| dataset.starts_with(name)));
    // What there is, told from time to time, and what is measured.
    let is_state = ["state", "metric", "asset", "enrichment"].iter().any(|word| is("event.kind", word));
    match (is_alert, is_log, is_seen || is_flow) {
        (true, ..) => RecordKind::Alert,
        _ if is_state => RecordKind::Telemetry,
        (_, true, _) => RecordKind::Log,
        (_, _, true) => RecordKind::Telemetry,
        _ if fields.has("source.ip") && fields.has("destination.ip") => RecordKind::Telemetry,
        _ => RecordKind::Log,
    }
}

fn fill_alert<'a>(fields: Fields<'a>, draft: &mut Draft<'a>) {
    draft.message = fields
        .first(&[
            "kibana.alert.rule.name",
            "signal.rule.name",
            "rule.name",
            "suricata.eve.alert.signature",
            "notice.note",
            "zeek.notice.note",
            "event.action",
            "message",
        ])
        .unwrap_or_default();
    draft.rule = fields
        .first(&[
            "kibana.alert.rule.rule_id",
            "kibana.alert.rule.parameters.rule_id",
            "kibana.alert.rule.uuid",
            "signal.rule.rule_id",
            "signal.rule.id",
            "rule.uuid",
            "rule.id",
            "suricata.eve.alert.signature_id",
        ])
        .unwrap_or_default();
    draft.classification =
        fields.first(&["rule.category", "suricata.eve.alert.category"]).unwrap_or_default();
    draft.priority = priority(fields);
    for path in THREATS {
        for threat in fields.objects(path) {
            take_threat(draft, threat);
        }
    }
    for path in FLAT_THREATS {
        draft.tags.take_all(fields.texts(path));
    }
}

fn take_threat(draft: &mut Draft<'_>, threat: Fields<'_>) {
    // The identifier and the name are one tactic.
    draft.tags.take_all(threat.first(&["tactic.id", "tactic.name"]));
    for technique in threat.objects("technique") {
        draft.tags.take_all(technique.texts("id"));
        for sub in technique.objects("subtechnique") {
            draft.tags.take_all(sub.texts("id"));
        }
    }
}

/// Severity in words first; numbers mean different things to different modules.
fn priority(fields: Fields<'_>) -> Option<u8> {
    const WORDS: [&str; 7] = [
        "kibana.alert.severity",
        "kibana.alert.rule.severity",
        "signal.severity",
        "signal.rule.severity",
        "event.severity_label",
        "sigma_level",
        "rule.severity",
    ];
    const SCORES: [&str; 4] = [
        "kibana.alert.risk_score",
        "kibana.alert.rule.risk_score",
        "signal.rule.risk_score",
        "event.risk_score",
    ];
    if let Some(found) = WORDS.iter().find_map(|path| severity(&fields.text(path)?)) {
        return Some(found);
    }
    if let Some(found) = SCORES.iter().find_map(|path| risk(fields.number(path)?)) {
        return Some(found);
    }
    // Filebeat copies Suricata's; Elastic's own agent writes a score.
    match fields.number("suricata.eve.alert.severity").or_else(|| fields.number("event.severity"))? {
        0 => None,
        low @ 1..=4 => u8::try_from(low).ok(),
        score => risk(score),
    }
}

/// Fills what is still empty from ECS's common fields.
pub(super) fn complete<'a>(fields: Fields<'a>, draft: &mut Draft<'a>) {
    let fill = |slot: &mut Cow<'a, str>, paths: &[&str]| {
        if slot.is_empty() {
            *slot = fields.first(paths).unwrap_or_default();
        }
    };
    fill(
        &mut draft.sensor,
        &["event.module", "observer.product", "event.dataset", "event.provider", "agent.type"],
    );
    fill(&mut draft.host, &["host.name", "host.hostname", "agent.name", "observer.name", "agent.hostname"]);
    fill(&mut draft.account, &["user.name", "user.target.name", "source.user.name", "user.email", "user.id"]);
    fill(&mut draft.process, &["process.command_line"]);
    if draft.process.is_empty() {
        draft.process = Cow::Owned(fields.texts("process.args").join(" "));
    }
    fill(&mut draft.process, &["process.title", "process.executable", "process.name"]);
    fill(&mut draft.file, &["file.path", "file.name", "registry.path", "dll.path"]);
    if draft.protocol.is_empty() {
        draft.protocol = fields.text("network.transport").filter(|name| name.len() <= 12).unwrap_or_default();
    }
    if draft.source.is_none() && draft.destination.is_none() {
        let ports = |of: &str| [format!("{of}.port")];
        let end = |of: &str| {
            let [port] = ports(of);
            let addresses = ["ip", "address", "domain"].map(|key| format!("{of}.{key}"));
            fields.end(&addresses.each_ref().map(String::as_str), &[&port])
        };
        draft.source = end("source").or_else(|| end("client"));
        draft.destination = end("destination").or_else(|| end("server"));
        if let (Some(proxy), Some(client)) = (
            draft.source.as_ref(),
            fields.end(&["network.forwarded_ip"], &[]).filter(|end| end.ip().is_some()),
        ) && proxy.address != client.address
            && is_own_proxy(proxy, draft.destination.as_ref())
        {
            draft.via.push(proxy.address.clone());
            draft.source = Some(client);
        }
    }
    if draft.verdict.is_none() {
        let words = fields.texts("event.type").into_iter().chain(fields.texts("event.action"));
        draft.verdict = words.filter_map(|word| verdict(&word)).next();
    }
    if draft.detail.is_empty() {
        draft.detail = Cow::Owned(listed([
            told("via", draft.via.first()),
            told("", fields.first(&["http.request.method"])),
            told("", fields.first(&["url.full", "url.original", "url.path"])),
            told("dns", fields.first(&["dns.question.name", "dns.query.name"])),
            told("tls", fields.first(&["tls.client.server_name"])),
            told(
                "parent",
                fields
                    .text("process.parent.command_line")
                    .or_else(|| some_owned(fields.texts("process.parent.args").join(" ")))
                    .or_else(|| fields.first(&["process.parent.executable", "process.parent.name"])),
            ),
            told("version", fields.first(&["package.version"])),
            told("", fields.first(&["file.hash.sha256", "process.hash.sha256"])),
            told("outcome", fields.first(&["event.outcome"])),
        ]));
    }
}

fn some_owned<'a>(text: String) -> Option<Cow<'a, str>> {
    (!text.is_empty()).then_some(Cow::Owned(text))
}

/// Whether a connection went out from the host that tells of it.
fn is_outward(fields: Fields<'_>) -> bool {
    let is = |path: &str, words: &[&str]| fields.text(path).is_some_and(|text| words.contains(&&*text));
    is("network.direction", &["egress", "outbound", "outgoing"]) || is("event.action", &["connected-to"])
}

/// The host that tells of it: its address if it has one, else its name.
fn own_end(fields: Fields<'_>) -> Option<Endpoint> {
    let addresses = fields.texts("host.ip");
    let mut fourth = addresses.iter().filter(|address| address.parse::<std::net::Ipv4Addr>().is_ok());
    match (fourth.next(), fourth.next()) {
        (Some(only), None) => Some(fields::end(only, None)),
        _ => fields.end(&["host.name", "host.hostname"], &[]),
    }
}

/// How it ended. Of what authenticates somebody under a name that does not say so, that it was a login.
fn ended(fields: Fields<'_>, action: &str) -> Option<String> {
    let outcome = fields.first(&["event.outcome"])?;
    let is_login = fields.texts("event.category").iter().any(|category| category == "authentication")
        && !["login", "logon", "logout", "logoff", "logged-out"].iter().any(|word| action.contains(word))
        && (outcome == "failure" || ["logged-in", "authenticated"].iter().any(|word| action.contains(word)));
    told(if is_login { "login" } else { "outcome" }, Some(outcome))
}

/// A message that stands by itself, of an event that no rule has judged.
fn event_message(fields: Fields<'_>, draft: &Draft<'_>) -> String {
    let action = fields.first(&["event.action", "event.dataset", "event.code", "event.category"]);
    let ends = traffic(&draft.protocol, draft.source.as_ref(), draft.destination.as_ref());
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let from = draft.source.as_ref().filter(|_| draft.destination.is_none()).map(|end| end.address.as_str());
    let facts = listed([
        told("account", some(&draft.account)),
        told("from", from),
        some(&ends),
        told("", some(&draft.process)),
        told("file", some(&draft.file)),
        told("package", fields.first(&["package.name"])),
        told("group", fields.first(&["group.name"]).filter(|_| draft.kind == RecordKind::Log)),
        told("dns", fields.first(&["dns.question.name"])),
        ended(fields, action.as_deref().unwrap_or_default()),
    ]);
    let made = if beats::made_account(fields).is_some() { "new user: " } else { "" };
    let title = match action {
        Some(action) if draft.host.is_empty() => format!("{made}{action}"),
        Some(action) => format!("{made}{action} on {}", draft.host),
        None => return fields.text("message").unwrap_or_default().into_owned(),
    };
    super::titled(&title, &facts)
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use crate::Tactic;
    use crate::record::SensorVerdict;

    const KIBANA: &str = r#"{"@timestamp":"2026-06-03T12:59:31.342Z","kibana.alert.rule.name":"SSH brute force","kibana.alert.severity":"critical","kibana.alert.risk_score":99,"kibana.alert.rule.rule_id":"r-1","kibana.alert.rule.threat":[{"framework":"MITRE ATT&CK","tactic":{"id":"TA0006","name":"Credential Access"},"technique":[{"id":"T1110","name":"Brute Force","subtechnique":[{"id":"T1110.001"}]}]}],"kibana.alert.reason":"event on bastion01","event":{"kind":"signal"},"host":{"name":"bastion01","ip":["10.0.2.11"]},"source":{"ip":"203.0.113.9","port":51234},"destination":{"ip":"10.0.2.11","port":22},"network":{"transport":"tcp"}}"#;

    #[test]
    fn an_alert_of_kibana_is_read_in_every_spelling_of_its_keys() {
        let nested = r#"{"@timestamp":"2026-06-03T12:59:31.342Z","kibana":{"alert":{"rule":{"name":"SSH brute force","rule_id":"r-1","threat":[{"tactic":{"id":"TA0006"},"technique":[{"id":"T1110","subtechnique":[{"id":"T1110.001"}]}]}]},"severity":"critical"}},"host.name":"bastion01","source.ip":"203.0.113.9","source.port":51234,"destination.ip":"10.0.2.11","destination.port":22,"network.transport":"tcp"}"#;
        let signal = r#"{"@timestamp":"2026-06-03T12:59:31.342Z","signal":{"rule":{"name":"SSH brute force","severity":"critical","rule_id":"r-1","threat":[{"tactic":{"id":"TA0006"},"technique":[{"id":"T1110","subtechnique":[{"id":"T1110.001"}]}]}]}},"host":{"name":"bastion01"},"source":{"ip":"203.0.113.9","port":51234},"destination":{"ip":"10.0.2.11","port":22},"network":{"transport":"tcp"}}"#;
        let hit = format!(r#"{{"_index":"x","_id":"y","_source":{KIBANA}}}"#);
        let asked = r#"{"_index":"x","_id":"y","fields":{"@timestamp":["2026-06-03T12:59:31.342Z"],"kibana.alert.rule.name":["SSH brute force"],"kibana.alert.rule.rule_id":["r-1"],"kibana.alert.severity":["critical"],"kibana.alert.rule.threat.tactic.id":["TA0006"],"kibana.alert.rule.threat.technique.id":["T1110"],"kibana.alert.rule.threat.technique.subtechnique.id":["T1110.001"],"host.name":["bastion01"],"source.ip":["203.0.113.9"],"source.port":[51234],"destination.ip":["10.0.2.11"],"destination.port":[22]}}"#;
        for text in [KIBANA, nested, signal, &hit, asked] {
            let record = record(text);
            assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)), "{text}");
            assert_eq!(record.message, "SSH brute force");
            assert_eq!((record.rule.as_str(), record.host.as_str()), ("r-1", "bastion01"));
            assert_eq!(record.tactics, [Tactic::CredentialAccess]);
            assert_eq!(record.techniques, ["T1110", "T1110.001"]);
            assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", Some(51234))));
            assert_eq!(record.destination, Some(Endpoint::new("10.0.2.11", Some(22))));
            assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        }
    }

    #[test]
    fn severities_are_words_or_scores() {
        for (word, expected) in [("critical", 1), ("high", 1), ("medium", 2), ("low", 3)] {
            assert_eq!(record(&KIBANA.replace("critical", word)).priority, Some(expected), "{word}");
        }
        let score = KIBANA.replace("\"critical\"", "null").replace(":99", ":47");
        assert_eq!(record(&score).priority, Some(2));
        assert_eq!(record(&score.replace(":47", ":0")).priority, None);
    }

    #[test]
    fn security_onion_is_read() {
        let record = record(
            r#"{"@timestamp":"2026-06-03T12:59:31.342Z","event":{"module":"suricata","dataset":"suricata.alert","severity":3,"severity_label":"high"},"rule":{"name":"LOCAL SSH logins","uuid":"9900030","category":"Misc Attack"},"source":{"ip":"203.0.113.9","port":51234},"destination":{"ip":"10.0.2.11","port":22},"network":{"transport":"TCP"},"observer":{"name":"so-sensor"},"message":"{\"raw\":1}"}"#,
        );
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((record.message.as_str(), record.rule.as_str()), ("LOCAL SSH logins", "9900030"));
        assert_eq!((record.sensor.as_str(), record.host.as_str()), ("suricata", "so-sensor"));
        assert_eq!(record.raw, r#"{"raw":1}"#);
    }

    #[test]
    fn a_notice_of_zeek_through_security_onion_is_an_alert() {
        let record = record(
            r#"{"@timestamp":"2026-06-03T12:59:31.342Z","event":{"module":"zeek","dataset":"zeek.notice"},"notice":{"note":"Scan::Port_Scan","message":"203.0.113.9 scanned"},"source":{"ip":"203.0.113.9"},"destination":{"ip":"10.0.2.11"}}"#,
        );
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, None));
        assert_eq!(record.message, "Scan::Port_Scan");
    }

    #[test]
    fn events_that_no_rule_judged_are_logs_or_telemetry() {
        let logon = record(
            r#"{"@timestamp":"2026-06-03T12:59:31Z","ecs":{"version":"8.0.0"},"event":{"kind":"event","category":["authentication"],"action":"ssh_login","outcome":"failure"},"user":{"name":"admin"},"source":{"ip":"203.0.113.9","port":51234},"host":{"name":"web01"}}"#,
        );
        assert_eq!(logon.kind, RecordKind::Log);
        assert_eq!(logon.message, "ssh_login on web01: account admin, from 203.0.113.9, outcome failure");
        let flow = record(
            r#"{"@timestamp":"2026-06-03T12:59:31Z","ecs":{"version":"8.0.0"},"event":{"kind":"event","category":["network"],"action":"denied"},"source":{"ip":"10.0.3.18","port":51000},"destination":{"ip":"198.51.100.80","port":443},"network":{"transport":"tcp"}}"#,
        );
        assert_eq!((flow.kind, flow.verdict), (RecordKind::Telemetry, Some(SensorVerdict::Blocked)));
        assert_eq!(flow.message, "denied: TCP 10.0.3.18 -> 198.51.100.80:443");
    }

    #[test]
    fn the_client_behind_a_proxy_is_the_source() {
        let text = KIBANA.replace(r#""transport":"tcp""#, r#""forwarded_ip":"198.51.100.7""#);
        assert_eq!(
            record(&text).source,
            Some(Endpoint::new("203.0.113.9", Some(51234))),
            "no proxy of the site"
        );
        let record = record(&text.replace("203.0.113.9", "10.0.2.5"));
        assert_eq!(record.source, Some(Endpoint::new("198.51.100.7", None)));
        assert_eq!((record.via, record.detail.as_str()), (vec!["10.0.2.5".to_owned()], "via 10.0.2.5"));
    }
}
