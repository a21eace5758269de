//! Fortinet's other appliances beside its firewalls: FortiMail, FortiWeb and what writes as they do, `date=2026-06-03 time=12:59:31
//! device_id=FE400 log_id=0200012345 type=statistics pri=information …`.
//!
//! Viruses in mails and attacks on sites are alerts; mails that passed are telemetry, what was refused or taken for spam a log; events and
//! logins (`event`, `kevent`) are logs. `pri` is syslog's level, and ranks no attack.

use super::super::format::{Envelope, LineFormat};
use super::super::json::severity;
use super::super::{
    Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, has_ports, port,
};
use super::pairs::find;
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, behind_relay, ip_end, once, relayed, tell_traffic, verdict,
};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| envelope.program.is_empty() && fields(line).is_some(),
    read: |line, envelope| Some(relayed(fields(line)?, envelope, read)),
};

/// The pairs, which begin with the date, and the host that a relay names before them.
fn fields(line: &str) -> Option<(&str, &str)> {
    let (host, fields) = behind_relay(line, &["date=", "itime="])?;
    let has = |keys: [&str; 2]| keys.iter().any(|key| find(fields, key).is_some());
    (has(["device_id", "devid"]) && has(["log_id", "logid"]) && has(["type", "log_type"]))
        .then_some((host, fields))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Record {
    let value =
        |key: &str| find(line, key).filter(|value| !matches!(*value, "N/A" | "n/a" | "none" | "unknown"));
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(key)).unwrap_or_default();
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    let device = first(&["device_id", "devid"]);
    record.sensor = product(device).to_owned();
    let host = first(&["devname", "device_name", "hostname"]);
    if !host.is_empty() {
        record.host = clean(host, MAX_NAME);
    }
    let time = value("date")
        .zip(value("time"))
        .and_then(|(date, clock)| Timestamp::parse(&format!("{date}T{clock}")));
    record.time = time.or(record.time);
    record.rule = clean(first(&["signature_id", "log_id", "logid"]), MAX_NAME);
    record.raw = clean(line, MAX_RAW);
    record.protocol = clean_protocol(first(&["proto"]));
    (record.source, record.destination) = ends(line, &record.protocol);
    record.account = clean(first(&["user", "user_name"]), MAX_NAME);
    record.file = clean(first(&["file", "filename", "fname"]), MAX_COMMAND);
    record.verdict = [first(&["action"]), first(&["disposition"])].into_iter().find_map(done);
    let (kind, subtype) = (first(&["type", "log_type"]), first(&["subtype", "sub_type"]));
    let said = first(&["msg", "logdesc"]);
    match kind {
        "virus" | "attack" | "ips" | "malware" => found(line, &mut record, [kind, subtype, said]),
        "statistics" | "spam" | "encrypt" => mail(line, &mut record, kind),
        "traffic" => {
            if record.verdict != Some(SensorVerdict::Blocked) {
                record.kind = RecordKind::Telemetry;
                record.raw = String::new();
            }
            tell_traffic(&mut record, &format!("traffic {}", first(&["action"])));
        }
        _ => {
            let facts = facts(
                line,
                &[
                    ("by", "user"),
                    ("at", "ui"),
                    ("did", "action"),
                    ("status", "status"),
                    ("because", "reason"),
                ],
            );
            let title = if said.is_empty() { format!("{kind} {subtype}") } else { said.to_owned() };
            record.message = clean_message(&titled(title.trim(), &facts));
        }
    }
    record
}

/// What a device is, by the beginning of its number.
fn product(device: &str) -> &'static str {
    match device.get(..2) {
        Some("FE") => "FortiMail",
        Some("FV") => "FortiWeb",
        Some("FL" | "FA") => "FortiAnalyzer",
        Some("FS") => "FortiSandbox",
        _ => "Fortinet",
    }
}

/// What became of it. A mail that is only marked or delivered passed.
fn done(word: &str) -> Option<SensorVerdict> {
    let bare = word.rsplit(['_', ' ']).next().unwrap_or_default();
    match word.to_ascii_lowercase().as_str() {
        "alert" | "deliver" | "tag" | "monitor" => Some(SensorVerdict::Allowed),
        "discard" | "replace" | "system quarantine" | "user quarantine" | "erase" => {
            Some(SensorVerdict::Blocked)
        }
        _ => verdict(bare).or_else(|| verdict(word)),
    }
}

/// Both ends. A client's name is the mail server's own, and no end.
fn ends(line: &str, protocol: &str) -> (Option<Endpoint>, Option<Endpoint>) {
    // Where a key begins the line `once` does not see it, and none of these does.
    let bare = line.replace('"', "");
    let address = |keys: &[&str]| keys.iter().find_map(|key| ip_end(once(&bare, key), None));
    let number = |key: &str| port(once(&bare, key)).filter(|_| has_ports(protocol));
    let of_administrator = || {
        let (_, address) = find(line, "ui")?.split_once('(')?;
        ip_end(address.trim_end_matches(')'), None)
    };
    let source = address(&["src", "srcip", "client_ip", "remip"]);
    let source = source.map(|end| Endpoint { port: number("src_port").or_else(|| number("srcport")), ..end });
    let destination = address(&["dst", "dstip", "dst_ip"]);
    let destination =
        destination.map(|end| Endpoint { port: number("dst_port").or_else(|| number("dstport")), ..end });
    (source.or_else(of_administrator), destination)
}

fn found(line: &str, record: &mut Record, [kind, subtype, said]: [&str; 3]) {
    let first = |keys: &[&str]| keys.iter().find_map(|key| find(line, key)).unwrap_or_default();
    record.kind = RecordKind::Alert;
    record.priority = severity(first(&["severity_level", "severity", "threat_level"]));
    let class = first(&["main_type", "attack_type"]);
    record.classification = clean_classification(if class.is_empty() { kind } else { class });
    record.detail = clean(first(&["http_url", "url", "subject"]), MAX_DETAIL);
    let named = first(&["virus", "attack", "signature_subclass"]);
    let title = [named, subtype, class].into_iter().find(|name| !name.is_empty()).unwrap_or(kind);
    record.message = clean_message(&titled(title, said));
}

/// A mail: what became of it, between whom.
fn mail(line: &str, record: &mut Record, kind: &str) {
    let virus = find(line, "virus").unwrap_or_default();
    let facts = facts(
        line,
        &[
            ("from", "from"),
            ("to", "to"),
            ("disposition", "disposition"),
            ("classifier", "classifier"),
            ("", "msg"),
        ],
    );
    record.detail = clean(find(line, "subject").unwrap_or_default(), MAX_DETAIL);
    if !virus.is_empty() {
        record.kind = RecordKind::Alert;
        record.message = clean_message(&titled(virus, &facts));
        return;
    }
    if kind != "spam" && record.verdict != Some(SensorVerdict::Blocked) {
        record.kind = RecordKind::Telemetry;
        record.raw = String::new();
    }
    let what = if kind == "spam" { "Spam mail" } else { "Mail" };
    record.message = clean_message(&titled(what, &facts));
}

/// `word value` for each key that says something.
fn facts(line: &str, told: &[(&str, &str)]) -> String {
    let told = told.iter().filter_map(|(word, key)| {
        let value = find(line, key).filter(|value| !matches!(*value, "none" | "N/A" | "n/a"))?;
        Some(format!("{word} {value}").trim().to_owned())
    });
    told.collect::<Vec<_>>().join(", ")
}

fn titled(title: &str, facts: &str) -> String {
    if facts.is_empty() { title.to_owned() } else { format!("{title}: {facts}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(device: &str, said: &str) -> Record {
        let line = format!("date=2026-06-03 time=12:59:31.342 device_id={device} log_id=0200025843 {said}");
        assert!((FORMAT.recognises)(&line, &Envelope::default()), "{line}");
        (FORMAT.read)(&line, &Envelope::default()).unwrap()
    }

    #[test]
    fn mails_are_telemetry_unless_they_are_refused_or_hold_a_virus() {
        let mail = |kind: &str, disposition: &str, virus: &str| {
            parse(
                "FE400",
                &format!(
                    "type={kind} pri=information session_id=\"s\" client_name=\"[6.6.6.6]\" client_ip=\"203.0.113.9\" dst_ip=\"10.0.2.25\" from=\"a@shop.example\" to=\"b@corp.example\" subject=\"Your bill\" virus=\"{virus}\" disposition=\"{disposition}\" classifier=\"X\""
                ),
            )
        };
        let passed = mail("statistics", "Accept", "");
        assert_eq!((passed.kind, passed.sensor.as_str()), (RecordKind::Telemetry, "FortiMail"));
        assert_eq!(
            passed.message,
            "Mail: from a@shop.example, to b@corp.example, disposition Accept, classifier X"
        );
        let ends = [passed.source, passed.destination].map(|end| end.unwrap().address);
        assert_eq!(
            (ends, passed.detail.as_str()),
            (["203.0.113.9".to_owned(), "10.0.2.25".to_owned()], "Your bill")
        );
        assert_eq!(passed.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let refused = mail("statistics", "Reject", "");
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(mail("spam", "Accept", "").kind, RecordKind::Log);
        let virus = mail("virus", "Discard", "LOCAL.Worm");
        assert_eq!((virus.kind, virus.verdict), (RecordKind::Alert, Some(SensorVerdict::Blocked)));
        assert_eq!((virus.message.as_str(), virus.detail.as_str()), ("LOCAL.Worm", "Your bill"));
    }

    #[test]
    fn events_are_logs_with_who_and_from_where() {
        let login = parse(
            "FE400",
            "type=kevent subtype=admin pri=information user=admin ui=GUI(203.0.113.9) action=login status=failure reason=none msg=\"A login failed\"",
        );
        assert_eq!((login.kind, login.account.as_str()), (RecordKind::Log, "admin"));
        assert_eq!(login.source.unwrap().address, "203.0.113.9");
        assert_eq!(login.message, "A login failed: by admin, at GUI(203.0.113.9), did login, status failure");
        let hostile = parse("FE400", "type=event subtype=smtp user=\"x src=6.6.6.6\" src=203.0.113.9 msg=x");
        assert_eq!(hostile.source, None, "a name that looks like an end is none");
    }

    #[test]
    fn attacks_on_sites_are_alerts() {
        let attack = parse(
            "FV400",
            "type=attack pri=alert main_type=\"Signature Detection\" sub_type=\"SQL Injection\" severity_level=High proto=tcp service=http action=Alert_Deny src=203.0.113.9 src_port=51234 dst=10.0.2.11 dst_port=80 http_url=\"/x\" msg=\"a query\"",
        );
        assert_eq!(
            (attack.kind, attack.priority, attack.verdict),
            (RecordKind::Alert, Some(1), Some(SensorVerdict::Blocked))
        );
        assert_eq!((attack.message.as_str(), attack.detail.as_str()), ("SQL Injection: a query", "/x"));
        assert_eq!(
            (attack.sensor.as_str(), attack.classification.as_str()),
            ("FortiWeb", "Signature Detection")
        );
        assert_eq!(attack.source.unwrap().to_string(), "203.0.113.9:51234");
        for line in
            ["date=2026-06-03 time=12:59:31 type=x", "x date=2026-06-03 device_id=1 log_id=2 type=x", ""]
        {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
    }
}
