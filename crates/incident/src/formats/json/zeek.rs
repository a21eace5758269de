//! Zeek's logs as JSON: each names its kind in `_path`, else its columns do.
//!
//! Notices, intelligence hits and signatures are alerts without a severity, since Zeek has none. A `weird` is an alert too,
//! informational unless a script made a notice of it. All other logs are telemetry.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, told, traffic};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const ZEEK_JSON: ObjectFormat = ObjectFormat { format: Format::ZeekJson, recognises, read };

/// Columns of both ends of a connection.
const ORIGINATOR: (&[&str], &[&str]) = (&["id.orig_h"], &["id.orig_p"]);
const RESPONDER: (&[&str], &[&str]) = (&["id.resp_h"], &["id.resp_p"]);

fn recognises(object: &Object) -> bool {
    let log = Fields(object);
    let is_foreign =
        ["event_type", "rule", "class_uid", "output", "kibana.alert.rule.name", "RuleTitle", "msg_id"]
            .iter()
            .any(|key| object.contains_key(*key));
    !is_foreign
        && fields::time(log.get("ts").unwrap_or(&serde_json::Value::Null)).is_some()
        && name(log).is_some()
}

/// Which log a record is of. `conn` comes last: others repeat its columns.
fn name(log: Fields<'_>) -> Option<Cow<'_, str>> {
    /// Logs and the columns that no log before them has.
    const TOLD_BY: [(&str, &[&str]); 17] = [
        ("notice", &["note", "msg"]),
        ("intel", &["seen.indicator"]),
        ("signatures", &["sig_id", "event_msg"]),
        ("weird", &["name", "peer"]),
        ("dns", &["id.orig_h", "rcode_name"]),
        ("dns", &["id.orig_h", "query"]),
        ("http", &["id.orig_h", "uri"]),
        ("http", &["id.orig_h", "trans_depth", "method"]),
        ("ssl", &["id.orig_h", "cipher"]),
        ("ssl", &["id.orig_h", "server_name"]),
        ("ssh", &["id.orig_h", "auth_attempts"]),
        ("rdp", &["id.orig_h", "cookie"]),
        ("smb_files", &["id.orig_h", "action", "path"]),
        ("kerberos", &["id.orig_h", "request_type"]),
        ("files", &["fuid", "source"]),
        ("weird", &["id.orig_h", "name", "notice"]),
        ("conn", &["id.orig_h", "id.resp_h"]),
    ];
    log.text("_path").filter(|_| log.has("ts")).or_else(|| {
        let found = TOLD_BY.iter().find(|(_, columns)| columns.iter().all(|column| log.has(column)));
        found.map(|(name, _)| Cow::Borrowed(*name))
    })
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let log = Fields(object);
    let name = name(log)?;
    let mut draft = Draft {
        time: log.time(&["ts"]),
        sensor: Cow::Borrowed("zeek"),
        host: log.first(&["_system_name", "system_name"]).unwrap_or_default(),
        protocol: log.text("proto").filter(|name| name.len() <= 8).unwrap_or_default(),
        source: log.end(ORIGINATOR.0, ORIGINATOR.1),
        destination: log.end(RESPONDER.0, RESPONDER.1),
        account: log.first(&["username", "user", "client"]).unwrap_or_default(),
        file: log.first(&["filename", "path"]).unwrap_or_default(),
        ..Draft::default()
    };
    let is_alert = match name.as_ref() {
        "notice" => fill_notice(log, &mut draft),
        "weird" => fill_weird(log, &mut draft),
        "intel" => fill_intel(log, &mut draft),
        "signatures" => fill_signature(log, &mut draft),
        _ => false,
    };
    if is_alert {
        draft.kind = RecordKind::Alert;
    } else {
        draft.kind = RecordKind::Telemetry;
        let ends = traffic(&draft.protocol, draft.source.as_ref(), draft.destination.as_ref());
        let title = if ends.is_empty() { name.into_owned() } else { format!("{name} {ends}") };
        draft.message = Cow::Owned(super::titled(&title, &details(log)));
    }
    Some(draft.finish(Format::ZeekJson, object, envelope))
}

fn fill_notice<'a>(log: Fields<'a>, draft: &mut Draft<'a>) -> bool {
    let Some(note) = log.text("note") else { return false };
    draft.message = Cow::Owned(super::titled(&note, &log.text("msg").unwrap_or_default()));
    draft.detail = log.text("sub").unwrap_or_default();
    draft.verdict = log
        .texts("actions")
        .iter()
        .any(|action| action.ends_with("ACTION_DROP"))
        .then_some(SensorVerdict::Blocked);
    // BZAR names what it found `ATTACK::Lateral_Movement`, and the technique behind it.
    if let Some(tactic) = note.strip_prefix("ATTACK::") {
        draft.tags.take(&tactic.replace('_', " "));
        draft.tags.take(&draft.detail);
    }
    draft.rule = note;
    // A script's own ends count: a notice about many connections has no others.
    draft.source = log.end(&["src"], &[]).or(draft.source.take());
    draft.destination = log.end(&["dst"], &["p", RESPONDER.1[0]]).or(draft.destination.take());
    true
}

fn fill_weird<'a>(log: Fields<'a>, draft: &mut Draft<'a>) -> bool {
    let Some(name) = log.text("name") else { return false };
    draft.message = Cow::Owned(format!("weird: {name}"));
    draft.rule = name;
    draft.detail = log.text("addl").unwrap_or_default();
    draft.priority = (log.text("notice").as_deref() != Some("true")).then_some(4);
    true
}

fn fill_intel<'a>(log: Fields<'a>, draft: &mut Draft<'a>) -> bool {
    let Some(indicator) = log.text("seen.indicator") else { return false };
    draft.message = Cow::Owned(format!("Intelligence hit: {indicator}"));
    draft.classification = log.text("seen.indicator_type").unwrap_or_default();
    draft.detail = Cow::Owned(listed([
        told("", log.text("seen.where")),
        told("sources", Some(log.texts("sources").join(" ")).filter(|text| !text.is_empty())),
    ]));
    true
}

fn fill_signature<'a>(log: Fields<'a>, draft: &mut Draft<'a>) -> bool {
    let Some(message) = log.first(&["event_msg", "note"]) else { return false };
    draft.message = message;
    draft.rule = log.text("sig_id").unwrap_or_default();
    draft.source = log.end(&["src_addr"], &["src_port"]).or(draft.source.take());
    draft.destination = log.end(&["dst_addr"], &["dst_port"]).or(draft.destination.take());
    true
}

/// What a log tells about the application's side of the traffic.
fn details(log: Fields<'_>) -> String {
    let uri = log.text("uri").map(|uri| format!("{}{uri}", log.text("host").unwrap_or_default()));
    let answers = log.texts("answers");
    listed([
        told("service", log.text("service")),
        told("state", log.text("conn_state")),
        told(
            "query",
            log.text("query").map(|name| match log.text("qtype_name") {
                Some(kind) => format!("{name} {kind}"),
                None => name.into_owned(),
            }),
        ),
        told("", log.text("rcode_name")),
        told(
            "answers",
            (!answers.is_empty()).then(|| answers.iter().take(4).cloned().collect::<Vec<_>>().join(" ")),
        ),
        told("", log.text("method")),
        told("", uri),
        told("status", log.text("status_code")),
        told("agent", log.text("user_agent")),
        told("name", log.first(&["server_name"])),
        told("client", log.first(&["client", "cookie"])),
        told("success", log.first(&["auth_success", "success"])),
        told("file", log.first(&["filename", "path"])),
        told("type", log.text("mime_type")),
        told("", log.first(&["sha256", "sha1", "md5"])),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use crate::{Endpoint, Tactic};

    #[test]
    fn a_notice_is_an_alert_without_a_severity() {
        let scan = record(
            r#"{"ts":1780491571.342001,"note":"Scan::Port_Scan","msg":"203.0.113.9 scanned at least 15 ports","sub":"remote","src":"203.0.113.9","dst":"10.0.2.11","peer_descr":"zeek","actions":["Notice::ACTION_LOG"],"suppress_for":3600.0}"#,
        );
        assert_eq!((scan.kind, scan.priority), (RecordKind::Alert, None));
        assert_eq!(scan.message, "Scan::Port_Scan: 203.0.113.9 scanned at least 15 ports");
        assert_eq!(scan.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(scan.destination, Some(Endpoint::new("10.0.2.11", None)));
        assert_eq!(scan.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
        for id in [
            r#""id.orig_h":"10.0.2.11","id.orig_p":45000,"id.resp_h":"10.0.2.20","id.resp_p":22"#,
            r#""id":{"orig_h":"10.0.2.11","orig_p":45000,"resp_h":"10.0.2.20","resp_p":22}"#,
        ] {
            let text = format!(
                r#"{{"ts":"2026-06-03T12:59:31.342001Z","uid":"C1",{id},"proto":"tcp","note":"ATTACK::Lateral_Movement","msg":"Detected SMB::FILE_WRITE","sub":"T1021.002 Admin Shares","src":"10.0.2.11"}}"#
            );
            let login = record(&text);
            assert_eq!(login.source, Some(Endpoint::new("10.0.2.11", None)));
            assert_eq!(login.destination, Some(Endpoint::new("10.0.2.20", Some(22))));
            assert_eq!(login.tactics, [Tactic::LateralMovement]);
            assert_eq!(login.techniques, ["T1021.002"]);
        }
    }

    #[test]
    fn a_weird_is_informational_unless_it_was_noticed() {
        let weird = |notice: &str| {
            record(&format!(
                r#"{{"ts":1780491571.3,"uid":"C1","id.orig_h":"203.0.113.9","id.orig_p":1,"id.resp_h":"10.0.2.11","id.resp_p":22,"name":"bad_TCP_checksum","notice":{notice},"peer":"zeek"}}"#
            ))
        };
        assert_eq!((weird("false").kind, weird("false").priority), (RecordKind::Alert, Some(4)));
        assert_eq!(weird("true").priority, None);
        assert_eq!(weird("true").message, "weird: bad_TCP_checksum");
    }

    #[test]
    fn other_logs_are_telemetry_with_or_without_their_name() {
        let id = r#""ts":1780491571.3,"uid":"C1","id.orig_h":"10.0.3.18","id.orig_p":51000,"id.resp_h":"198.51.100.80","id.resp_p":443"#;
        for (rest, expected) in [
            (
                r#""proto":"tcp","service":"ssl","conn_state":"SF","duration":1.2"#,
                "conn TCP 10.0.3.18 -> 198.51.100.80:443: service ssl, state SF",
            ),
            (
                r#""server_name":"www.example.com","cipher":"x""#,
                "ssl 10.0.3.18 -> 198.51.100.80:443: name www.example.com",
            ),
            (
                r#""proto":"udp","query":"www.example.com","qtype_name":"A","rcode_name":"NOERROR","answers":["198.51.100.80"]"#,
                "dns UDP 10.0.3.18 -> 198.51.100.80:443: query www.example.com A, NOERROR, answers 198.51.100.80",
            ),
            (
                r#""trans_depth":1,"method":"GET","host":"shop.example","uri":"/","status_code":200"#,
                "http 10.0.3.18 -> 198.51.100.80:443: GET, shop.example/, status 200",
            ),
            (r#""_path":"dce_rpc","operation":"x""#, "dce_rpc 10.0.3.18 -> 198.51.100.80:443"),
        ] {
            let record = record(&format!("{{{id},{rest}}}"));
            assert_eq!((record.kind, record.message.as_str()), (RecordKind::Telemetry, expected));
        }
        let file = record(
            r#"{"ts":1780491571.3,"fuid":"F1","source":"HTTP","mime_type":"application/x-dosexec","filename":"u.exe"}"#,
        );
        assert_eq!(
            (file.message.as_str(), file.file.as_str()),
            ("files: file u.exe, type application/x-dosexec", "u.exe")
        );
    }

    #[test]
    fn intelligence_hits_and_signatures_are_alerts() {
        let hit = record(
            r#"{"ts":1780491571.3,"uid":"C1","id.orig_h":"10.0.3.18","id.orig_p":51000,"id.resp_h":"203.0.113.66","id.resp_p":443,"seen.indicator":"203.0.113.66","seen.indicator_type":"Intel::ADDR","seen.where":"Conn::IN_RESP","sources":["list"]}"#,
        );
        assert_eq!((hit.kind, hit.message.as_str()), (RecordKind::Alert, "Intelligence hit: 203.0.113.66"));
        let signature = record(
            r#"{"ts":1780491571.3,"src_addr":"203.0.113.9","src_port":1,"dst_addr":"10.0.2.11","dst_port":80,"sig_id":"local-1","event_msg":"LOCAL pattern"}"#,
        );
        assert_eq!((signature.kind, signature.rule.as_str()), (RecordKind::Alert, "local-1"));
    }
}
