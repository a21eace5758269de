//! Wazuh's `alerts.json`, and its `archives.json`, whose events no rule matched.
//!
//! A rule's level of 0 to 16 is its severity: 12 and above high, 7 to 11 medium, 4 to 6 low, 1 to 3 informational, 0 unset.
//! Where the event is another sensor's alert (Suricata through Wazuh), that sensor's severity, ends and verdict count.

use std::borrow::Cow;

use super::super::text::agent;
use super::fields::{self, Fields};
use super::windows::Event;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, eve, listed, told, verdict};
use crate::record::RecordKind;

/// See the module.
pub(crate) const WAZUH: ObjectFormat = ObjectFormat { format: Format::Wazuh, recognises, read };

/// Groups of rules that tell what could be attacked, or how a host is set up.
const CHECKS: [&str; 2] = ["vulnerability-detector", "sca"];

/// What a manager sends by syslog in JSON.
fn is_sent(fields: Fields<'_>) -> bool {
    fields.number("crit").is_some()
        && ["id", "component", "description"].iter().all(|key| fields.text(key).is_some())
}

fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    if is_sent(fields) {
        return true;
    }
    let by_manager = ["agent.id", "manager.name", "decoder", "location", "full_log"]
        .iter()
        .filter(|path| fields.has(path))
        .count();
    let has_rule =
        fields.number("rule.level").is_some() && (fields.has("rule.id") || fields.has("rule.description"));
    let is_archive = fields.has("manager.name") && fields.has("location") && fields.has("decoder");
    !object.contains_key("class_uid") && ((has_rule && by_manager >= 1) || (is_archive && by_manager >= 4))
}

/// Severity of a level.
pub(in super::super) fn priority(level: u64) -> Option<u8> {
    match level {
        0 => None,
        1..=3 => Some(4),
        4..=6 => Some(3),
        7..=11 => Some(2),
        _ => Some(1),
    }
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    if is_sent(alert) {
        return Some(sent(alert).finish(Format::Wazuh, object, envelope));
    }
    let mut draft = Draft {
        time: alert.time(&["timestamp", "@timestamp"]),
        sensor: Cow::Borrowed("wazuh"),
        raw: alert.first(&["full_log", "data.win.system.message"]),
        ..Draft::default()
    };
    let inner = alert.object("data").filter(|data| data.has("event_type")).and_then(eve::draft);
    if let Some(inner) = inner {
        take_suricata(&mut draft, inner);
    } else if let Some(event) = alert.object("data.win").and_then(Event::of_wazuh) {
        event.fill(&mut draft);
        event.name(&mut draft);
        // The agent's address is nearer to what a description says than the computer's name.
        draft.destination = draft.destination.filter(|end| !event.is_on(end));
    }
    let has_rule = alert.number("rule.level").is_some();
    // The agent's name is what people know; the computer's is its full one.
    draft.host = host(alert).unwrap_or_default();
    let groups = alert.texts("rule.groups");
    draft.kind = match has_rule {
        // What could be attacked is no attack.
        true if groups.iter().any(|group| CHECKS.contains(&group.as_ref())) => RecordKind::Telemetry,
        true => RecordKind::Alert,
        false if draft.message.is_empty() => RecordKind::Log,
        false => draft.kind,
    };
    if has_rule {
        draft.message = alert
            .first(&["rule.description"])
            .unwrap_or_else(|| Cow::Owned(format!("rule {}", alert.text("rule.id").unwrap_or_default())));
        draft.rule = alert.text("rule.id").unwrap_or_default();
        draft.classification = Cow::Owned(groups.join(", "));
        draft.priority = draft.priority.or_else(|| priority(alert.number("rule.level")?));
        let tags = ["rule.mitre.tactic", "rule.mitre.id", "rule.mitre.tactics"].map(|path| alert.texts(path));
        draft.tags.take_all(tags.into_iter().flatten());
    } else if draft.message.is_empty() {
        draft.message = alert.first(&["full_log"])?;
    }
    complete(alert, &mut draft);
    fill_ends(alert, &mut draft);
    Some(draft.finish(Format::Wazuh, object, envelope))
}

fn sent(alert: Fields<'_>) -> Draft<'_> {
    let observer = alert.text("component").map(|place| agent(&place)).unwrap_or_default();
    let source = alert.end(&["src_ip"], &["src_port"]);
    let destination = alert.end(&["dst_ip"], &["dst_port"]);
    Draft {
        kind: RecordKind::Alert,
        sensor: Cow::Borrowed("wazuh"),
        message: alert.text("description").unwrap_or_default(),
        rule: alert.text("id").unwrap_or_default(),
        priority: alert.number("crit").and_then(priority),
        classification: alert.text("classification").unwrap_or_default(),
        account: alert.first(&["acct", "user"]).unwrap_or_default(),
        file: alert.text("file").unwrap_or_default(),
        raw: alert.text("message"),
        destination: destination.or_else(|| {
            let own = Some(fields::end(&observer, None)).filter(|end| !end.address.is_empty());
            own.filter(|_| source.is_some())
        }),
        source,
        host: Cow::Owned(observer),
        ..Draft::default()
    }
}

fn take_suricata<'a>(draft: &mut Draft<'a>, inner: Draft<'a>) {
    let Draft { raw, time, sensor, .. } = std::mem::take(draft);
    *draft = Draft { raw, time, sensor, ..inner };
}

/// The agent that reports; for what the manager got by syslog, the host named there.
fn host(alert: Fields<'_>) -> Option<Cow<'_, str>> {
    if is_manager(alert) {
        return alert.first(&["predecoder.hostname", "agent.name", "manager.name"]);
    }
    alert.first(&["agent.name", "predecoder.hostname", "agent.ip", "manager.name"])
}

/// Whether the event is a cloud's, whose log the manager fetched.
fn is_cloud(alert: Fields<'_>) -> bool {
    ["data.aws", "data.office365", "data.gcp", "data.github", "data.ms-graph"]
        .iter()
        .any(|path| alert.has(path))
}

fn is_manager(alert: Fields<'_>) -> bool {
    alert.text("agent.id").is_none_or(|id| id == "000")
}

fn complete<'a>(alert: Fields<'a>, draft: &mut Draft<'a>) {
    let fill = |slot: &mut Cow<'a, str>, paths: &[&str]| {
        if slot.is_empty() {
            *slot = alert.first(paths).unwrap_or_default();
        }
    };
    fill(
        &mut draft.account,
        &[
            "data.dstuser",
            "data.srcuser",
            "data.user",
            "data.aws.userIdentity.userName",
            "data.office365.UserId",
            "data.audit.auid",
        ],
    );
    fill(&mut draft.process, &["data.command", "data.audit.command", "data.audit.exe", "data.process.name"]);
    fill(
        &mut draft.file,
        &["syscheck.path", "data.audit.file.name", "data.file", "data.virustotal.source.file"],
    );
    if draft.protocol.is_empty() {
        // Decoders of web logs put the method here.
        let is_transport = |name: &Cow<'_, str>| {
            ["TCP", "UDP", "ICMP", "SCTP"].iter().any(|known| name.to_ascii_uppercase().starts_with(known))
        };
        draft.protocol =
            alert.first(&["data.protocol", "data.proto"]).filter(is_transport).unwrap_or_default();
    }
    draft.verdict = draft.verdict.or_else(|| verdict(&alert.text("data.action")?));
    if draft.detail.is_empty() {
        draft.detail = Cow::Owned(listed([
            told("", alert.first(&["data.url"])),
            told("file", alert.first(&["syscheck.event"])),
            told("as", alert.first(&["data.dstuser"]).filter(|_| alert.has("data.command"))),
            told("call", alert.first(&["data.aws.eventName"])),
            told("", alert.first(&["data.vulnerability.cve"])),
        ]));
    }
}

fn fill_ends(alert: Fields<'_>, draft: &mut Draft<'_>) {
    let addresses = [
        "data.srcip",
        "data.src_ip",
        "data.aws.sourceIPAddress",
        "data.aws.source_ip_address",
        "data.office365.ClientIP",
        "data.office365.ActorIpAddress",
    ];
    if draft.source.is_none() {
        draft.source = alert.end(&addresses, &["data.srcport", "data.src_port"]);
    }
    if draft.destination.is_none() {
        draft.destination = alert.end(
            &["data.dstip", "data.dest_ip", "data.dst_ip"],
            &["data.dstport", "data.dest_port", "data.dst_port"],
        );
    }
    // Somebody elsewhere did it to the agent's own computer.
    if draft.destination.is_none() && draft.source.is_some() && !is_cloud(alert) {
        let own = if is_manager(alert) {
            alert.end(&["predecoder.hostname"], &[])
        } else {
            alert
                .end(&["agent.ip"], &[])
                .filter(|end| end.ip().is_some())
                .or_else(|| alert.end(&["agent.name"], &[]))
        };
        let source = draft.source.as_ref().map(|end| end.address.as_str());
        draft.destination =
            own.filter(|end| Some(end.address.as_str()) != source && fields::is_name(&end.address));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use crate::record::SensorVerdict;
    use crate::{Endpoint, Tactic};

    const SSH: &str = r#"{"timestamp":"2026-06-03T12:59:40.342+0000","rule":{"level":10,"description":"sshd: brute force","id":"5712","mitre":{"id":["T1110"],"tactic":["Credential Access"],"technique":["Brute Force"]},"firedtimes":1,"groups":["syslog","sshd"]},"agent":{"id":"004","name":"bastion01","ip":"10.0.2.11"},"manager":{"name":"wazuh-mgr"},"id":"1780491571.123456","full_log":"Jun  3 12:59:40 bastion01 sshd[130]: Invalid user admin from 203.0.113.9 port 51300","predecoder":{"hostname":"bastion01"},"decoder":{"name":"sshd"},"data":{"srcip":"203.0.113.9","srcport":"51300","srcuser":"admin"},"location":"/var/log/auth.log"}"#;

    #[test]
    fn an_alert_is_read_with_its_rule_and_agent() {
        let record = record(SSH);
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(2)));
        assert_eq!((record.message.as_str(), record.rule.as_str()), ("sshd: brute force", "5712"));
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", Some(51300))));
        assert_eq!(record.destination, Some(Endpoint::new("10.0.2.11", None)));
        assert_eq!(
            (record.tactics, record.techniques),
            (vec![Tactic::CredentialAccess], vec!["T1110".to_owned()])
        );
        assert_eq!((record.account.as_str(), record.host.as_str()), ("admin", "bastion01"));
        assert!(record.raw.ends_with("port 51300"));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:40.342000");
    }

    #[test]
    fn what_could_be_attacked_is_no_attack() {
        let found = SSH.replace("[\"syslog\",\"sshd\"]", "[\"vulnerability-detector\"]");
        assert_eq!(record(&found).kind, RecordKind::Telemetry);
    }

    #[test]
    fn levels_keep_their_order() {
        let levels = [16, 15, 12, 11, 7, 6, 4, 3, 1, 0].map(priority);
        let one = Some(1);
        assert_eq!(levels, [one, one, one, Some(2), Some(2), Some(3), Some(3), Some(4), Some(4), None]);
    }

    #[test]
    fn an_alert_about_the_agent_alone_has_no_ends() {
        let record =
            record(&SSH.replace(
                r#""srcip":"203.0.113.9","srcport":"51300","srcuser":"admin""#,
                r#""extra_data":"x""#,
            ));
        assert_eq!((record.source, record.destination, record.host.as_str()), (None, None, "bastion01"));
    }

    #[test]
    fn what_the_manager_got_by_syslog_is_the_named_hosts() {
        let record = record(&SSH.replace(
            r#"{"id":"004","name":"bastion01","ip":"10.0.2.11"}"#,
            r#"{"id":"000","name":"wazuh-mgr"}"#,
        ));
        assert_eq!(record.host, "bastion01");
        assert_eq!(record.destination, Some(Endpoint::new("bastion01", None)));
    }

    #[test]
    fn windows_events_and_suricata_inside_are_read() {
        let windows = record(
            r#"{"timestamp":"2026-06-03T12:59:31.342+0000","rule":{"level":5,"description":"Logon failure","id":"60122"},"agent":{"id":"007","name":"DC01","ip":"10.0.3.2"},"manager":{"name":"m"},"data":{"win":{"system":{"providerName":"Microsoft-Windows-Security-Auditing","eventID":"4625","computer":"DC01.corp.example","message":"\"An account failed to log on.\""},"eventdata":{"targetUserName":"svc-backup","ipAddress":"::ffff:10.0.3.17","ipPort":"50000","logonType":"3"}}},"location":"EventChannel"}"#,
        );
        assert_eq!(
            (windows.kind, windows.priority, windows.host.as_str()),
            (RecordKind::Alert, Some(3), "DC01")
        );
        assert_eq!(windows.source, Some(Endpoint::new("10.0.3.17", Some(50000))));
        assert_eq!((windows.account.as_str(), windows.message.as_str()), ("svc-backup", "Logon failure"));
        let suricata = record(
            r#"{"timestamp":"2026-06-03T12:59:31.342+0000","rule":{"level":3,"description":"Suricata: Alert - LOCAL WEB","id":"86601"},"agent":{"id":"009","name":"ids1"},"data":{"event_type":"alert","flow_id":"1","src_ip":"203.0.113.9","src_port":"51234","dest_ip":"10.0.2.14","dest_port":"80","proto":"TCP","alert":{"action":"blocked","signature_id":"1","signature":"LOCAL WEB","category":"Web Application Attack","severity":"1"}},"location":"/var/log/suricata/eve.json"}"#,
        );
        assert_eq!((suricata.kind, suricata.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(suricata.destination, Some(Endpoint::new("10.0.2.14", Some(80))));
        assert_eq!(suricata.verdict, Some(SensorVerdict::Blocked));
    }

    #[test]
    fn what_no_rule_matched_is_a_log() {
        let record = record(
            r#"{"timestamp":"2026-06-03T12:59:31.342+0000","agent":{"id":"004","name":"bastion01"},"manager":{"name":"m"},"id":"1.1","full_log":"Jun  3 12:59:31 bastion01 cron[1]: x","decoder":{"name":"cron"},"location":"/var/log/syslog"}"#,
        );
        assert_eq!((record.kind, record.priority), (RecordKind::Log, None));
        assert_eq!(record.message, "Jun  3 12:59:31 bastion01 cron[1]: x");
    }
}
