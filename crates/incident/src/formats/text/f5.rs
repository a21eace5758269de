//! F5 BIG-IP: what its application firewall finds (`ASM:unit_hostname="f5a",violations="…",ip_client="203.0.113.9",…`), and the lines of
//! its own programs that begin with the number of a message, `01490500:5: /Common/ap:Common:1a2b3c4d: New session from client IP …`.
//!
//! A request with a violation is an alert, one without a log. Sessions of the access policy manager and what administrators did are logs,
//! and what the device says of its own health is telemetry. Requests stand in the firewall's pairs: a key counts only where it stands once.

use super::super::format::{Envelope, LineFormat};
use super::super::json::severity;
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, port};
use super::services::{between, once};
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, ip_end, own_end, program};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| match program(envelope) {
        "ASM" => value(line, "unit_hostname").is_some() || value(line, "ip_client").is_some(),
        name => is_own(name) && code(line).is_some(),
    },
    read: |line, envelope| match program(envelope) {
        "ASM" => Some(request(line, envelope)),
        _ => message(line, envelope),
    },
};

/// The value of a key that stands once, of pairs that commas part.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mark = format!("{key}=\"");
    let mut found = line.match_indices(mark.as_str()).filter(|(at, _)| {
        let before = line.get(..*at).unwrap_or_default();
        before.is_empty() || before.ends_with(',') || before.ends_with(", ")
    });
    let (at, _) = found.next().filter(|_| found.next().is_none())?;
    let value = line.get(at + mark.len()..)?;
    // What a client sent may hold quotation marks, which none of the firewall's own values does.
    let end = value.find("\",").or_else(|| value.strip_suffix('"').map(str::len)).unwrap_or(value.len());
    value.get(..end).map(str::trim).filter(|text| !matches!(*text, "" | "N/A" | "None" | "0"))
}

fn request(line: &str, envelope: &Envelope<'_>) -> Record {
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(line, key));
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "F5 ASM".to_owned();
    record.raw = clean(line, MAX_RAW);
    record.time = record.time.or_else(|| Timestamp::parse(value(line, "date_time")?));
    if let Some(host) = value(line, "unit_hostname").filter(|_| record.host.is_empty()) {
        record.host = clean(host, MAX_NAME);
    }
    let ends = |addresses: &[&str], ports: &[&str]| ip_end(first(addresses)?, first(ports).and_then(port));
    record.source = ends(&["ip_client", "ip", "src_ip"], &["src_port"]);
    record.destination = ends(&["dest_ip", "dst_ip"], &["dest_port", "dst_port"]);
    record.account = clean(first(&["username"]).unwrap_or_default(), MAX_NAME);
    record.rule = clean(first(&["sig_ids", "attack_signature_id"]).unwrap_or_default(), MAX_NAME);
    let method = first(&["method"]).unwrap_or_default();
    let uri = first(&["uri"]).unwrap_or_default();
    let site = first(&["web_application_name", "http_class_name", "vs_name"]).unwrap_or_default();
    record.detail = clean(format!("{method} {uri}").trim(), MAX_DETAIL);
    let status = first(&["request_status"]).unwrap_or_default();
    record.verdict = match status {
        "blocked" => Some(SensorVerdict::Blocked),
        "passed" | "alerted" | "legal" | "illegal" => Some(SensorVerdict::Allowed),
        _ => None,
    };
    let found = [first(&["attack_type"]), first(&["sig_names"]), first(&["violations"])];
    if found.iter().all(Option::is_none) {
        record.message = clean_message(&format!("request {status} {method} {uri} to {site}"));
        return record;
    }
    record.kind = RecordKind::Alert;
    record.classification = clean_classification(first(&["attack_type", "violations"]).unwrap_or_default());
    record.priority = first(&["severity"])
        .and_then(|word| if word.eq_ignore_ascii_case("alert") { Some(1) } else { severity(word) });
    let found: Vec<&str> = found.into_iter().flatten().collect();
    record.message = clean_message(&found.join(": "));
    record
}

/// Whether a program is one of the device's own.
fn is_own(name: &str) -> bool {
    const OWN: [&str; 12] = [
        "apmd",
        "mcpd",
        "tmsh",
        "httpd",
        "iControlPortal",
        "iprepd",
        "logger",
        "scriptd",
        "apm_websso",
        "sshd(pam_audit)",
        "bigd",
        "alertd",
    ];
    OWN.iter().any(|own| name.starts_with(own))
        || name.strip_prefix("tmm").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The number of a message in front, and what stands behind it and its level.
fn code(line: &str) -> Option<(&str, &str)> {
    let (code, rest) = line.split_at_checked(8)?;
    let rest = rest.strip_prefix(':')?.strip_prefix(|c: char| c.is_ascii_digit())?.strip_prefix(": ")?;
    code.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some((code, rest))
}

fn message(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (code, said) = code(line)?;
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = format!("F5 {}", record.sensor);
    code.clone_into(&mut record.rule);
    record.raw = clean(line, MAX_RAW);
    match said.strip_prefix("AUDIT - ") {
        Some(done) => audit(done, &mut record, envelope),
        // Those of the access policy manager.
        None if code.starts_with("0149") => access(said, &mut record, envelope),
        None => {
            record.kind = RecordKind::Telemetry;
            record.message = clean_message(said);
        }
    }
    Some(record)
}

/// What an administrator did: `pid=1 user=root folder=/Common module=(tmos)# status=[Command OK] cmd_data=create …`, `client tmui, user
/// admin - transaction #1 - …`, `user admin - RAW: httpd(pam_audit): user=admin(admin) … host=203.0.113.9 attempts=1 …`.
fn audit(done: &str, record: &mut Record, envelope: &Envelope<'_>) {
    let word = |mark: &str| {
        let (_, rest) = once(done, mark)?;
        Some(rest.split([' ', ',', '(']).next().unwrap_or_default()).filter(|word| !word.is_empty())
    };
    let login = once(done, "(pam_audit): ").map(|(_, rest)| rest);
    let account = done.strip_prefix("user ").and_then(|rest| rest.split(' ').next());
    let account = account.or_else(|| word("user=")).or_else(|| word(", user ")).or_else(|| word("User="));
    record.account = clean(account.unwrap_or_default(), MAX_NAME);
    record.source = word(" host=").and_then(|host| ip_end(host, None));
    record.destination = own_end(envelope).filter(|_| record.source.is_some());
    if let Some((_, command)) = once(done, " cmd_data=") {
        record.process = clean(command, MAX_COMMAND);
    }
    let from = record.source.as_ref().map(|end| format!(" from {}", end.address)).unwrap_or_default();
    let by = if record.account.is_empty() { String::new() } else { format!(" by {}", record.account) };
    record.message = clean_message(&match login {
        Some(said) if said.contains("failed to login") => format!("management login failed{by}{from}"),
        Some(said) if said.contains(" attempts=") => format!("management login{by}{from}"),
        _ if !record.process.is_empty() => format!("command {}{by}{from}", record.process),
        _ => format!("configuration audit: {done}"),
    });
}

/// What the access policy manager says of a session, whose name stands in front and changes from one to the next.
fn access(said: &str, record: &mut Record, envelope: &Envelope<'_>) {
    let said = match said.split_once(": ").filter(|(name, _)| name.starts_with('/') && name.contains(':')) {
        Some((name, behind)) => {
            record.detail = clean(name, MAX_DETAIL);
            behind
        }
        None => said,
    };
    let quoted = said.strip_prefix("Username '").and_then(|rest| rest.strip_suffix('\''));
    let tried =
        once(said, " authenticate with '").map(|(_, rest)| rest.split('\'').next().unwrap_or_default());
    record.account = clean(quoted.or(tried).unwrap_or_default(), MAX_NAME);
    let client = said.strip_prefix("New session from client IP ");
    record.source = client.and_then(|rest| ip_end(rest.split(' ').next()?, None));
    record.destination = ip_end(between(said, " at VIP ", " "), None)
        .or_else(|| own_end(envelope))
        .filter(|_| record.source.is_some());
    if said.starts_with("Access policy result: Logon_Deny") {
        record.verdict = Some(SensorVerdict::Blocked);
    }
    record.message = clean_message(&format!("access session: {said}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "10.0.0.6", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        (FORMAT.read)(line, &envelope).unwrap()
    }

    const REQUEST: &str = r#"unit_hostname="f5a",management_ip_address="10.0.0.6",http_class_name="/Common/shop",violations="Attack signature detected",request_status="blocked",ip_client="203.0.113.9",method="GET",sig_ids="200002147",sig_names="LOCAL injection",date_time="2026-06-03 12:59:31",severity="Critical",attack_type="SQL-Injection",username="N/A",src_port="51234",dest_port="443",dest_ip="10.0.0.7",uri="/a.php",request="GET /a.php?id=1 HTTP/1.1\r\nX: \"y\"""#;

    #[test]
    fn a_violation_is_an_alert() {
        let found = parse("ASM", REQUEST);
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(found.message, "SQL-Injection: LOCAL injection: Attack signature detected");
        assert_eq!(found.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(found.destination.unwrap().to_string(), "10.0.0.7:443");
        assert_eq!((found.verdict, found.detail.as_str()), (Some(SensorVerdict::Blocked), "GET /a.php"));
        assert_eq!((found.rule.as_str(), found.account.as_str()), ("200002147", ""));
        let clean = parse(
            "ASM",
            r#"unit_hostname="f5a",violations="N/A",attack_type="N/A",request_status="passed",uri="/",method="GET""#,
        );
        assert_eq!((clean.kind, clean.verdict), (RecordKind::Log, Some(SensorVerdict::Allowed)));
        let forged = REQUEST.replace("X: ", "\",ip_client=\"6.6.6.6\",x=\"");
        assert_eq!(parse("ASM", &forged).source, None);
    }

    #[test]
    fn administrators_and_sessions_are_logs() {
        let ran = parse(
            "tmsh",
            "01420002:5: AUDIT - pid=1234 user=root folder=/Common module=(tmos)# status=[Command OK] cmd_data=create auth user x",
        );
        assert_eq!(ran.message, "command create auth user x by root");
        let login = parse(
            "httpd(pam_audit)",
            "01070417:6: AUDIT - user admin - RAW: httpd(pam_audit): user=admin(admin) partition=[All] tty=(unknown) host=203.0.113.9 \
             attempts=1 start=\"x\".",
        );
        assert_eq!(login.message, "management login by admin from 203.0.113.9");
        let changed = parse(
            "mcpd",
            "01070417:5: AUDIT - client tmui, user admin - transaction #1-1 - object 0 - create { user_role_partition { } } [Status=Command OK]",
        );
        assert_eq!((changed.kind, changed.account.as_str()), (RecordKind::Log, "admin"));
        let came = parse(
            "tmm1",
            "01490500:5: /Common/ap:Common:1a2b3c4d: New session from client IP 203.0.113.9 (ST=/CC=/C=) at VIP 10.0.0.5 Listener /Common/v",
        );
        assert_eq!(came.source.unwrap().address, "203.0.113.9");
        assert_eq!(came.destination.unwrap().address, "10.0.0.5");
        assert_eq!(parse("apmd", "01490010:5: /Common/ap:Common:1a2b3c4d: Username 'bob'").account, "bob");
        assert_eq!(
            parse("mcpd", "01070638:5: Pool /Common/p member /Common/m down.").kind,
            RecordKind::Telemetry
        );
    }

    #[test]
    fn other_programs_say_nothing_of_it() {
        let shop = Envelope { program: "shop", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("01070417:5: AUDIT - user admin", &shop));
        let own = Envelope { program: "mcpd", ..Envelope::default() };
        for line in ["AUDIT - user admin", "0107041x:5: a", "é1070417:5: a", ""] {
            assert!(!(FORMAT.recognises)(line, &own), "{line}");
        }
    }
}
