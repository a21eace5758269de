//! Fortinet's FortiGate and what writes as it does: `date=2026-06-03 time=12:59:31 devname="fw01" devid="FG1" logid="0419016384" type="utm"
//! subtype="ips" severity="high" srcip=203.0.113.9 dstip=10.0.2.11 … attack="…" action="dropped"`.
//!
//! Traffic that passed and pages that were let through are telemetry; traffic and pages that were refused, logins and what
//! administrators did are a log; what intrusion prevention, the antivirus, the web application firewall and the anomaly sensors found is
//! an alert. `level` is syslog's, and ranks no attack. Whoever logs in or asks for a page chooses names and addresses, so an end counts
//! only where its key stands once.

use super::super::format::{Envelope, LineFormat};
use super::super::json::severity;
use super::super::{
    Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, has_ports, port,
};
use super::pairs::find;
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, blanks, ip_end, once, protocol_of, tell_traffic, verdict,
};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| envelope.program.is_empty() && fields(line).is_some(),
    read: |line, envelope| read(fields(&blanks(line))?, envelope),
};

/// The pairs, which begin with the date, the time or the device, behind what a relay puts before them.
fn fields(line: &str) -> Option<&str> {
    let beginning = ["date=", "devname=", "logver=", "time=", "devid="];
    let is_first = |at: usize| at == 0 || line.as_bytes().get(at - 1) == Some(&b' ');
    let at = beginning.iter().filter_map(|key| line.find(key)).filter(|at| is_first(*at)).min()?;
    let fields = line.get(at..).filter(|_| at <= 80)?;
    let has = |key: &str| find(fields, key).is_some();
    (has("devid") && has("type") && has("logid")).then_some(fields)
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let value = |key: &str| find(line, key).filter(|value| !matches!(*value, "N/A" | "undefined" | "none"));
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(key));
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "FortiGate".to_owned();
    record.host = clean(value("devname").unwrap_or(envelope.host), MAX_NAME);
    record.time = time(line).or(record.time);
    record.rule = clean(value("logid").unwrap_or_default(), MAX_NAME);
    record.raw = clean(line, MAX_RAW);
    record.protocol = clean_protocol(protocol_of(value("proto").unwrap_or_default()));
    // Where a key begins the line `once` does not see it, and none of these does.
    let end = |address: &str, number: &str| {
        let number = port(once(line, number)).filter(|_| has_ports(&record.protocol));
        Some(Endpoint { port: number, ..ip_end(once(line, address), None)? })
    };
    let administrator = || {
        let place = value("ui")
            .and_then(|place| place.split_once('('))
            .map(|(_, address)| address.trim_end_matches(')'));
        place.and_then(|address| ip_end(address, None))
    };
    let source = end("srcip", "srcport").or_else(|| end("remip", "remport")).or_else(administrator);
    let destination = end("dstip", "dstport");
    (record.source, record.destination) = (source, destination);
    record.account = clean(first(&["user", "unauthuser", "xauthuser"]).unwrap_or_default(), MAX_NAME);
    record.file = clean(first(&["filename", "file"]).unwrap_or_default(), MAX_COMMAND);
    record.detail = clean(first(&["url", "hostname", "qname", "app"]).unwrap_or_default(), MAX_DETAIL);
    let action = value("action").unwrap_or_default();
    record.verdict = match action {
        "detected" | "passthrough" | "monitored" | "close" | "start" | "timeout" => {
            Some(SensorVerdict::Allowed)
        }
        "clear_session" => Some(SensorVerdict::Blocked),
        other => verdict(other),
    };
    let is_blocked = record.verdict == Some(SensorVerdict::Blocked);
    let kind = first(&["subtype", "type"]).unwrap_or_default();
    let said = first(&["msg", "logdesc"]).unwrap_or(kind);
    match (value("type").unwrap_or_default(), kind) {
        ("traffic", _) => {
            if !is_blocked {
                record.kind = RecordKind::Telemetry;
                record.raw = String::new();
            }
            tell_traffic(&mut record, action);
        }
        ("event", _) => record.message = clean_message(&event(line, said)),
        (_, "ips" | "anomaly" | "virus" | "waf" | "attack" | "signature" | "infected" | "botnet") => {
            record.kind = RecordKind::Alert;
            record.priority = first(&["severity", "crlevel"]).and_then(severity);
            record.classification = clean_classification(kind);
            let named = first(&["attack", "virus", "attackname"]).filter(|name| *name != said);
            let found = named.map_or_else(|| said.to_owned(), |name| format!("{name}: {said}"));
            record.message = clean_message(&found);
        }
        _ => {
            if !is_blocked {
                record.kind = RecordKind::Telemetry;
                record.raw = String::new();
            }
            tell_traffic(&mut record, &format!("{kind} {action}"));
        }
    }
    Some(record)
}

/// Date and time of the device's clock, with its zone where it is told.
fn time(line: &str) -> Option<Timestamp> {
    let (date, clock) = (find(line, "date")?, find(line, "time")?);
    let zone = find(line, "tz").unwrap_or_default();
    Timestamp::parse(&format!("{date}T{clock}{zone}"))
}

/// What the device says of itself, of logins and of tunnels.
fn event(line: &str, said: &str) -> String {
    let told =
        [("", "logdesc"), ("by", "user"), ("from", "remip"), ("status", "status"), ("because", "reason")];
    let told: Vec<String> = told
        .into_iter()
        .filter_map(|(word, key)| {
            let value = find(line, key).filter(|value| !matches!(*value, "N/A" | "none"))?;
            (value != said).then(|| format!("{word} {value}").trim().to_owned())
        })
        .collect();
    if told.is_empty() { said.to_owned() } else { format!("{said}: {}", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(said: &str) -> Record {
        let line = format!(
            "date=2026-06-03 time=12:59:31 devname=\"fw01\" devid=\"FG1\" logid=\"0419016384\" {said} tz=\"+0000\""
        );
        for line in [line.clone(), format!("Jun  3 12:59:31 10.0.0.1 {line}")] {
            assert!((FORMAT.recognises)(&line, &Envelope::default()), "{line}");
        }
        (FORMAT.read)(&line, &Envelope::default()).unwrap()
    }

    #[test]
    fn traffic_is_telemetry_unless_it_is_denied() {
        let passed = parse(
            "type=\"traffic\" subtype=\"forward\" level=\"notice\" srcip=10.0.2.20 srcport=51234 dstip=203.0.113.9 dstport=443 proto=6 action=\"close\"",
        );
        assert_eq!((passed.kind, passed.host.as_str()), (RecordKind::Telemetry, "fw01"));
        assert_eq!(passed.message, "close TCP 10.0.2.20 -> 203.0.113.9:443");
        assert_eq!(passed.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let denied = parse(
            "type=traffic subtype=local srcip=203.0.113.9 srcport=1 dstip=10.0.0.1 dstport=22 proto=6 action=deny",
        );
        assert_eq!((denied.kind, denied.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
    }

    #[test]
    fn what_was_found_is_an_alert() {
        let found = parse(
            "type=\"utm\" subtype=\"ips\" level=\"alert\" severity=\"high\" srcip=203.0.113.9 srcport=51234 dstip=10.0.2.11 dstport=80 proto=6 action=\"dropped\" attack=\"LOCAL.Overflow\" msg=\"web: LOCAL.Overflow,\"",
        );
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(
            (found.message.as_str(), found.verdict),
            ("LOCAL.Overflow: web: LOCAL.Overflow,", Some(SensorVerdict::Blocked))
        );
        assert_eq!(found.source.unwrap().to_string(), "203.0.113.9:51234");
        let virus = parse(
            "type=utm subtype=virus srcip=10.0.2.20 dstip=203.0.113.9 proto=6 action=\"blocked\" msg=\"File is infected.\" virus=\"LOCAL.Worm\" filename=\"x.exe\" crlevel=\"critical\"",
        );
        assert_eq!((virus.kind, virus.priority, virus.file.as_str()), (RecordKind::Alert, Some(1), "x.exe"));
        let page = parse(
            "type=utm subtype=webfilter srcip=10.0.2.20 dstip=203.0.113.9 proto=6 action=passthrough url=\"/x\"",
        );
        assert_eq!(page.kind, RecordKind::Telemetry);
    }

    #[test]
    fn logins_are_logs_with_who_and_from_where() {
        let login = parse(
            "type=\"event\" subtype=\"system\" logdesc=\"Admin login failed\" user=\"admin\" ui=\"https(203.0.113.9)\" action=\"login\" status=\"failed\" reason=\"passwd_invalid\" msg=\"Administrator admin login failed\"",
        );
        assert_eq!((login.kind, login.account.as_str()), (RecordKind::Log, "admin"));
        assert_eq!(login.source.unwrap().address, "203.0.113.9");
        assert_eq!(
            login.message,
            "Administrator admin login failed: Admin login failed, by admin, status failed, because passwd_invalid"
        );
        let hostile =
            parse("type=event subtype=vpn user=\"x\" remip=6.6.6.6 y=\"\" remip=203.0.113.9 msg=\"x\"");
        assert_eq!(hostile.source, None);
        for line in ["date=2026-06-03 time=12:59:31 user=x", "devid=1 type=x", "xdevid=1 type=x logid=2", ""]
        {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
    }
}
