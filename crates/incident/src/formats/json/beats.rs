//! What Beats and Elastic's agent took apart of lines of programs: a web server's accesses, what sshd and sudo write, and whatever
//! else syslog carried. Each becomes the record that its line is, so that requests and logins are counted alike, whoever read them
//! first.
//!
//! Invariant: who came, from where and as whom is what the document's own fields say, whatever stands in the line that is made of them.

use std::borrow::Cow;

use super::super::{MAX_ADDRESS, said_by};
use super::fields::Fields;
use super::{Envelope, MAX_COMMAND, MAX_NAME, MAX_RAW, Record, clean, web};
use crate::Endpoint;

/// The record of the line that a document was, if it was one.
pub(super) fn as_line(fields: Fields<'_>, envelope: &Envelope<'_>) -> Option<Record> {
    if is_access(fields) {
        return web::read(fields.0, envelope);
    }
    let host = fields.first(&["host.name", "host.hostname", "agent.name"]).unwrap_or_default();
    let host = if host.len() <= MAX_ADDRESS { &*host } else { "" };
    let by = |program: &str, line: &str| {
        let time = fields.time(&["@timestamp"]).or(envelope.time);
        let host = if host.is_empty() { envelope.host } else { host };
        let mut record = said_by(line, &Envelope { time, host, program })?;
        record.raw = clean(&fields.first(&["event.original", "message"]).unwrap_or_default(), MAX_RAW);
        Some(record)
    };
    if let Some(line) = ssh(fields) {
        let mut record = by("sshd", &line)?;
        record.account = clean(&fields.text("user.name").unwrap_or_default(), MAX_NAME);
        record.source = client(fields);
        // The document names no end that he came to; the host that wrote it stands beside it.
        record.destination = None;
        return Some(record);
    }
    if let Some(line) = sudo(fields) {
        let mut record = by("sudo", &line)?;
        record.account = clean(&fields.text("user.name").unwrap_or_default(), MAX_NAME);
        record.process = clean(&fields.text("system.auth.sudo.command").unwrap_or_default(), MAX_COMMAND);
        return Some(record);
    }
    let program = fields.first(&["process.name", "log.syslog.appname"]).filter(|_| is_syslog(fields))?;
    by(&program, &fields.text("message")?)
}

/// The account that was made, where a host tells of it. What services in clouds write names who made one.
pub(super) fn made_account<'a>(fields: Fields<'a>) -> Option<Cow<'a, str>> {
    let module = fields.string("event.module")?;
    let action = fields.text("event.action")?;
    match (module, &*action) {
        ("system", "user_added") => fields.text("user.name"),
        ("auditd", "added-user-account") => {
            fields.first(&["user.target.name", "auditd.data.acct", "auditd.summary.object.primary"])
        }
        _ => None,
    }
}

/// Whether it is a request to a web server, as its access log tells it. What a sensor saw pass has the network as its category.
fn is_access(fields: Fields<'_>) -> bool {
    let is_of = |category: &str| fields.texts("event.category").iter().any(|own| own == category);
    let is_log = is_of("web") || fields.string("event.dataset").is_some_and(|name| name.ends_with(".access"));
    is_log && !is_of("network") && fields.has("http.response.status_code")
}

fn client(fields: Fields<'_>) -> Option<Endpoint> {
    fields.end(&["source.ip", "source.address"], &["source.port"])
}

/// What sshd wrote of somebody who came.
fn ssh(fields: Fields<'_>) -> Option<String> {
    let is_login = fields.string("event.dataset") == Some("system.auth")
        && fields.text("event.action").is_some_and(|action| action == "ssh_login");
    if !fields.has("system.auth.ssh") && !is_login {
        return None;
    }
    let outcome = fields.text("event.outcome");
    let event = fields
        .text("system.auth.ssh.event")
        .or_else(|| Some(Cow::Borrowed(if outcome? == "success" { "Accepted" } else { "Failed" })));
    let client = client(fields).or_else(|| fields.end(&["system.auth.ssh.dropped_ip"], &[]));
    let from = client.map(|end| match end.port {
        Some(port) => format!(" from {} port {port}", end.address),
        None => format!(" from {}", end.address),
    });
    let from = from.unwrap_or_default();
    let user = fields.text("user.name").unwrap_or_default();
    Some(match event.as_deref() {
        Some(event @ ("Accepted" | "Failed" | "Postponed" | "Partial")) => {
            let method = fields.text("system.auth.ssh.method").unwrap_or(Cow::Borrowed("password"));
            format!("{event} {method} for {user}{from} ssh2")
        }
        Some("Invalid") => format!("Invalid user {user}{from}"),
        _ if user.is_empty() => format!("Did not receive identification string{from}"),
        Some(event) => format!("{event} {user}{from}"),
        None => return None,
    })
}

/// What sudo wrote of a command.
fn sudo(fields: Fields<'_>) -> Option<String> {
    let sudo = fields.object("system.auth.sudo")?;
    let text = |path: &str| sudo.text(path).unwrap_or_default();
    let failed = fields.text("event.outcome").filter(|outcome| outcome == "failure");
    let error = sudo.text("error").or_else(|| failed.map(|_| Cow::Borrowed("command not allowed")));
    let error = error.map(|error| format!("{error} ; ")).unwrap_or_default();
    let user = fields.text("user.name").unwrap_or_default();
    Some(format!(
        "{user} : {error}TTY={} ; PWD={} ; USER={} ; COMMAND={}",
        text("tty"),
        text("pwd"),
        text("user"),
        text("command")
    ))
}

/// Whether a document's message is a line of syslog without its header.
fn is_syslog(fields: Fields<'_>) -> bool {
    matches!(fields.string("event.dataset"), Some("system.auth" | "system.syslog"))
        || fields.string("input.type") == Some("journald")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::Object;
    use super::super::ecs::ECS;
    use super::super::tests::{any_value, changed, is_bounded, replaced};
    use super::*;
    use crate::Format;
    use crate::record::{RecordKind, SensorVerdict};

    /// The record of a document that only the schema's form takes.
    fn read(text: &str) -> Record {
        let object: Object = serde_json::from_str(text).unwrap();
        let all = super::super::OBJECT_FORMATS;
        let takers = all.iter().filter(|format| (format.recognises)(&object)).count();
        assert_eq!(takers, 1, "{text}");
        assert!((ECS.recognises)(&object), "{text}");
        (ECS.read)(&object, &Envelope::default()).unwrap()
    }

    const ACCESS: &str = r#"{"@timestamp":"2026-06-03T12:59:31Z","ecs":{"version":"8.0.0"},"event":{"module":"nginx","dataset":"nginx.access","kind":"event","category":["web"],"outcome":"failure"},"host":{"name":"web01","ip":["10.0.2.13"]},"source":{"ip":"203.0.113.9"},"http":{"request":{"method":"POST"},"response":{"status_code":401,"body":{"bytes":7}},"version":"1.1"},"url":{"original":"/login?x=1","domain":"shop.example"},"user_agent":{"original":"curl/8"}}"#;

    #[test]
    fn a_web_access_is_read_as_its_line() {
        let access = read(ACCESS);
        assert_eq!((access.kind, access.format), (RecordKind::Log, Format::WebAccess));
        assert_eq!(access.message, "203.0.113.9 \"POST /login?x=1\" 401, agent curl/8");
        assert_eq!((access.host.as_str(), access.detail.as_str()), ("web01", "POST /login?x=1"));
        assert_eq!(access.destination, Some(Endpoint::new("web01", None)));
        let parted = ACCESS.replace(r#""original":"/login?x=1""#, r#""path":"/login","query":"x=1""#);
        assert_eq!(read(&parted).detail, "POST /login?x=1");
        // What a sensor saw is no log of the server.
        let seen =
            read(&ACCESS.replace(r#"["web"]"#, r#"["network","web"]"#).replace("nginx.access", "x.http"));
        assert_eq!(seen.format, Format::Ecs);
        let half = read(&ACCESS.replace(r#""ip":"203.0.113.9""#, r#""domain":"a b""#));
        assert_eq!((half.format, half.kind), (Format::Ecs, RecordKind::Log));
    }

    const SSH: &str = r#"{"@timestamp":"2026-06-03T12:59:31Z","ecs":{"version":"8.0.0"},"event":{"module":"system","dataset":"system.auth","kind":"event","category":["authentication","session"],"action":"ssh_login","outcome":"failure"},"host":{"name":"web01"},"user":{"name":"root"},"source":{"ip":"203.0.113.9","port":51234},"process":{"name":"sshd","pid":7},"system":{"auth":{"ssh":{"event":"Failed","method":"password"}}}}"#;

    #[test]
    fn a_login_is_read_as_sshds_line() {
        let failed = read(SSH);
        assert_eq!((failed.kind, failed.format), (RecordKind::Log, Format::Sshd));
        assert_eq!(failed.message, "Failed password for root from 203.0.113.9 ssh2");
        assert_eq!((failed.account.as_str(), failed.host.as_str()), ("root", "web01"));
        assert_eq!(failed.source, Some(Endpoint::new("203.0.113.9", Some(51234))));
        assert_eq!(failed.destination, None);
        let bare = SSH.replace(r#","system":{"auth":{"ssh":{"event":"Failed","method":"password"}}}"#, "");
        assert_eq!(read(&bare).message, failed.message);
        let invalid = read(&SSH.replace(r#""Failed""#, r#""Invalid""#));
        assert_eq!(invalid.message, "Invalid user root from 203.0.113.9");
        // Whoever tries chooses the name.
        let name = "x from 10.0.2.21 port 1 ssh2\\nAccepted password for root from 10.0.2.21 port 2";
        let odd = read(&SSH.replace(r#""name":"root""#, &format!(r#""name":"{name}""#)));
        assert_eq!(odd.source, Some(Endpoint::new("203.0.113.9", Some(51234))));
        assert!(odd.account.starts_with("x from "), "{}", odd.account);
        let nowhere = read(&SSH.replace(r#""ip":"203.0.113.9""#, r#""geo":1"#));
        assert_eq!((nowhere.source, nowhere.account.as_str()), (None, "root"));
    }

    #[test]
    fn sudo_and_other_programs_are_read_as_their_lines() {
        let sudo = r#"{"@timestamp":"2026-06-03T12:59:31Z","ecs":{"version":"8.0.0"},"event":{"module":"system","dataset":"system.auth","kind":"event","outcome":"success"},"host":{"name":"web01"},"user":{"name":"bob"},"process":{"name":"sudo"},"system":{"auth":{"sudo":{"tty":"pts/4","pwd":"/","user":"root","command":"/usr/bin/crontab -e"}}}}"#;
        let record = read(sudo);
        assert_eq!((record.format, record.account.as_str()), (Format::Sudo, "bob"));
        assert_eq!(record.process, "/usr/bin/crontab -e");
        assert_eq!(record.message, "bob : TTY=pts/4 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/crontab -e");
        let added = r#"{"@timestamp":"2026-06-03T12:59:31Z","event":{"dataset":"system.auth","kind":"event"},"host":{"name":"web01"},"process":{"name":"useradd"},"message":"new user: name=eve, UID=0, GID=0, home=/, shell=/bin/sh"}"#;
        let record = read(added);
        assert_eq!(
            (record.format, record.kind, record.account.as_str()),
            (Format::Syslog, RecordKind::Log, "eve")
        );
        let other = read(&added.replace("useradd", "shop"));
        assert_eq!(other.format, Format::Ecs, "what a program without a form says stays the schema's");
    }

    #[test]
    fn what_auditbeat_saw_is_told_whole() {
        let event = |more: &str| {
            read(&format!(
                r#"{{"@timestamp":"2026-06-03T12:59:31Z","ecs":{{"version":"8.0.0"}},"host":{{"name":"web01","ip":["10.0.2.13","fe80::1"]}},{more}}}"#
            ))
        };
        let ran = event(
            r#""event":{"module":"auditd","kind":"event","category":["process"],"action":"executed","outcome":"success"},"user":{"name":"www-data"},"process":{"executable":"/bin/sh","args":["sh","-c","id > /tmp/x"],"parent":{"name":"php-fpm"}}"#,
        );
        assert_eq!((ran.kind, ran.process.as_str()), (RecordKind::Telemetry, "sh -c id > /tmp/x"));
        assert_eq!(ran.message, "executed on web01: account www-data, sh -c id > /tmp/x, outcome success");
        assert!(ran.detail.starts_with("parent php-fpm"), "{}", ran.detail);
        let out = event(
            r#""event":{"module":"auditd","kind":"event","category":["network"],"action":"connected-to","outcome":"success"},"user":{"name":"www-data"},"destination":{"ip":"198.51.100.77","port":4444},"process":{"executable":"/bin/sh"}"#,
        );
        assert_eq!(out.source, Some(Endpoint::new("10.0.2.13", None)));
        assert!(out.message.contains("10.0.2.13 -> 198.51.100.77:4444"), "{}", out.message);
        let login = event(
            r#""event":{"module":"auditd","kind":"event","category":["authentication"],"action":"logged-in","outcome":"failure"},"user":{"name":"root"},"source":{"ip":"203.0.113.9"}"#,
        );
        assert_eq!(login.message, "logged-in on web01: account root, from 203.0.113.9, login failure");
        let added = event(
            r#""event":{"module":"system","dataset":"user","kind":"event","category":["iam"],"action":"user_added"},"user":{"name":"eve"}"#,
        );
        assert_eq!((added.kind, added.account.as_str()), (RecordKind::Log, "eve"));
        assert_eq!(added.message, "new user: user_added on web01: account eve");
        let there = event(
            r#""event":{"module":"system","dataset":"user","kind":"state","category":["iam"],"action":"existing_user"},"user":{"name":"bob"}"#,
        );
        assert_eq!(there.kind, RecordKind::Telemetry, "what there is did not happen");
        let package = event(
            r#""event":{"module":"system","dataset":"package","kind":"event","category":["package"],"action":"package_installed"},"package":{"name":"nmap","version":"7"}"#,
        );
        assert_eq!(package.message, "package_installed on web01: package nmap");
    }

    #[test]
    fn an_event_of_windows_may_have_its_number_as_a_code() {
        const LOGON: &str = r#"{"@timestamp":"2026-06-03T12:59:31Z","ecs":{"version":"8.0.0"},"event":{"kind":"event","code":"4625","provider":"Microsoft-Windows-Security-Auditing","action":"logon-failed","outcome":"failure"},"host":{"name":"DC01"},"user":{"name":"bob"},"source":{"ip":"10.0.3.17"},"winlog":{"channel":"Security","computer_name":"DC01.corp.example","event_data":{"TargetUserName":"bob","IpAddress":"10.0.3.17"}}}"#;
        let logon = changed(LOGON, &[]);
        assert_eq!((logon.kind, logon.format), (RecordKind::Log, Format::WindowsEvent));
        assert_eq!(logon.message, "4625 Logon failed on DC01.corp.example: account bob, from 10.0.3.17");
        let nameless =
            changed(LOGON, &[("event", serde_json::json!({"code": "4625"})), ("host", Value::Null)]);
        assert_eq!((nameless.rule.as_str(), nameless.verdict), ("4625", None::<SensorVerdict>));
    }

    proptest! {
        #[test]
        fn any_value_in_any_field_is_survived(is_ssh in any::<bool>(), place in any::<usize>(), value in any_value()) {
            let object = replaced(if is_ssh { SSH } else { ACCESS }, place, &value).unwrap();
            if let Some(record) = (ECS.read)(&object, &Envelope::default()) {
                prop_assert!(is_bounded(&record), "{record:?}");
            }
        }
    }
}
