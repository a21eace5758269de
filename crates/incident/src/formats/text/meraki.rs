//! Cisco Meraki's firewalls and access points: `1 1780491571.342 mx01 flows allow src=10.0.2.20 dst=203.0.113.9 …`, whose header tells
//! who writes and what kind of record it is.
//!
//! Flows that were let through and pages that were asked for are telemetry, flows that were denied a log; what the intrusion detection
//! or the malware filter found is an alert; what the device says of itself, of its users and of its neighbours is a log.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_message, clean_protocol, endpoint, has_ports, port};
use super::pairs::find;
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, priority, program, tell_traffic, verdict};
use crate::Endpoint;
use crate::record::{Record, RecordKind, SensorVerdict};

/// Kinds of records, as the header names them.
pub(crate) const KINDS: [&str; 12] = [
    "flows",
    "firewall",
    "vpn_firewall",
    "cellular_firewall",
    "bridge_firewall",
    "ip_flow_start",
    "ip_flow_end",
    "urls",
    "ids-alerts",
    "security_event",
    "events",
    "airmarshal_events",
];

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| KINDS.contains(&envelope.program) && is_said(line, envelope.program),
    read: |line, envelope| Some(read(line, envelope)),
};

/// Whether a line goes on as one of its kind: programs of other makers may have such a name too.
fn is_said(line: &str, kind: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    match kind {
        "events" | "airmarshal_events" => true,
        "security_event" => ["ids_alerted", "security_filtering"].iter().any(|word| first.starts_with(word)),
        _ => first.contains('=') || verdict(first).is_some(),
    }
}

fn read(line: &str, envelope: &Envelope<'_>) -> Record {
    let kind = program(envelope);
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "Cisco Meraki".to_owned();
    // What is asked for, or found, stands last and may hold anything.
    let (facts, said) = match kind {
        "urls" => line.split_once(" request: ").unwrap_or((line, "")),
        "ids-alerts" | "security_event" => line.split_once(" message: ").unwrap_or((line, "")),
        _ => line.split_once(" pattern: ").unwrap_or((line, "")),
    };
    // `tcp/ip`; or a number.
    let protocol = find(facts, "protocol").unwrap_or_default().split('/').next().unwrap_or_default();
    record.protocol = clean_protocol(super::protocol_of(protocol));
    let end = |address: &str, of_port: &str| {
        let own = find(facts, of_port).and_then(port).filter(|_| has_ports(&record.protocol));
        let end = find(facts, address).and_then(|text| endpoint(text, &record.protocol))?;
        end.ip().is_some().then(|| Endpoint { port: end.port.or(own), ..end })
    };
    let (source, destination) = (end("src", "sport"), end("dst", "dport"));
    (record.source, record.destination) = (source, destination);
    record.message = clean_message(line);
    match kind {
        "urls" => {
            record.kind = RecordKind::Telemetry;
            record.detail = clean(said, MAX_DETAIL);
            tell_traffic(&mut record, "asked for");
        }
        "ids-alerts" => alert(facts, said, &mut record),
        "security_event" if line.starts_with("ids_alerted") => alert(facts, said, &mut record),
        "security_event" => malware(facts, &mut record),
        "events" | "airmarshal_events" => {}
        _ => flow(line, said, &mut record),
    }
    if record.kind != RecordKind::Telemetry && record.raw.is_empty() {
        record.raw = clean(line, MAX_RAW);
    }
    record
}

/// `allow src=…`, `src=… pattern: deny all`; a start or an end says nothing of the kind.
fn flow(line: &str, pattern: &str, record: &mut Record) {
    let first = |text: &str| text.split(' ').next().and_then(verdict);
    record.verdict = first(line).or_else(|| first(pattern));
    let what = match record.verdict {
        Some(SensorVerdict::Blocked) => "deny",
        Some(SensorVerdict::Allowed) => "allow",
        None => "flow",
    };
    if record.verdict != Some(SensorVerdict::Blocked) {
        record.kind = RecordKind::Telemetry;
    }
    if record.source.is_some() && record.destination.is_some() {
        tell_traffic(record, what);
    }
}

/// `signature=1:28423:1 priority=1 … decision=blocked message: …`
fn alert(facts: &str, said: &str, record: &mut Record) {
    record.kind = RecordKind::Alert;
    record.rule = clean(find(facts, "signature").unwrap_or_default(), MAX_NAME);
    record.priority = find(facts, "priority").and_then(priority);
    record.verdict = find(facts, "decision").and_then(verdict);
    if !said.is_empty() {
        record.message = clean_message(said);
    }
}

/// `security_filtering_file_scanned url=… src=… name='…' sha256=… disposition=malicious action=block`: what is clean is telemetry.
fn malware(facts: &str, record: &mut Record) {
    let is_bad = find(facts, "disposition").is_some_and(|found| found.starts_with("malicious"));
    record.verdict = find(facts, "action").and_then(verdict);
    record.detail = clean(find(facts, "url").unwrap_or_default(), MAX_DETAIL);
    record.file = clean(find(facts, "name").unwrap_or_default(), MAX_COMMAND);
    record.kind = if is_bad { RecordKind::Alert } else { RecordKind::Telemetry };
    if is_bad {
        let name = find(facts, "name").unwrap_or("a file");
        record.message = clean_message(&format!("Malware found: {name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "mx01", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        read(line, &envelope)
    }

    #[test]
    fn flows_are_telemetry_unless_they_are_denied() {
        let record = parse(
            "flows",
            "allow src=10.0.2.20 dst=203.0.113.9 mac=00:00:00:00:00:01 protocol=tcp sport=51234 dport=443",
        );
        assert_eq!((record.kind, record.verdict), (RecordKind::Telemetry, Some(SensorVerdict::Allowed)));
        assert_eq!(record.message, "allow TCP 10.0.2.20 -> 203.0.113.9:443");
        let line = "src=203.0.113.9 dst=10.0.2.11 protocol=tcp sport=51234 dport=22 pattern: deny all";
        let record = parse("firewall", line);
        assert_eq!((record.kind, record.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(record.message, "deny TCP 203.0.113.9 -> 10.0.2.11:22");
        let record = parse("flows", "src=203.0.113.9 dst=10.0.2.11 protocol=icmp type=8 pattern: 1 all");
        assert_eq!((record.kind, record.verdict), (RecordKind::Telemetry, None));
        assert_eq!(record.destination, Some(Endpoint::new("10.0.2.11", None)));
    }

    #[test]
    fn what_was_found_is_an_alert() {
        let line = "ids_alerted signature=1:99003:1 priority=1 timestamp=1780491571.3 dhost=00:00:00:00:00:01 \
                    direction=ingress protocol=tcp/ip src=203.0.113.9:80 dst=10.0.2.13:53023 decision=blocked \
                    message: LOCAL exploit, src=6.6.6.6";
        let record = parse("security_event", line);
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((record.rule.as_str(), record.verdict), ("1:99003:1", Some(SensorVerdict::Blocked)));
        assert_eq!(record.message, "LOCAL exploit, src=6.6.6.6");
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:80");
        let line = "security_filtering_file_scanned url=http://x.example/a src=10.0.2.20:1 dst=203.0.113.9:80 \
                    mac=00:00:00:00:00:01 name='LOCAL.Worm' sha256=ab disposition=malicious action=allow";
        let record = parse("security_event", line);
        assert_eq!((record.kind, record.message.as_str()), (RecordKind::Alert, "Malware found: LOCAL.Worm"));
        let clean = line.replace("malicious", "clean");
        assert_eq!(parse("security_event", &clean).kind, RecordKind::Telemetry);
    }

    #[test]
    fn pages_are_telemetry_and_events_are_logs() {
        let line = "src=10.0.2.20:51234 dst=203.0.113.9:443 mac=00:00:00:00:00:01 request: GET https://x/?src=6.6.6.6";
        let record = parse("urls", line);
        assert_eq!((record.kind, record.source.unwrap().port), (RecordKind::Telemetry, Some(51234)));
        assert_eq!(record.message, "asked for 10.0.2.20 -> 203.0.113.9:443");
        let record =
            parse("events", "type=vpn_connectivity_change vpn_type='site-to-site' connectivity='false'");
        assert_eq!((record.kind, record.source), (RecordKind::Log, None));
        for (program, line) in [("flows", "of something"), ("security_event", "x"), ("shop", "allow src=x")] {
            assert!(!(FORMAT.recognises)(line, &Envelope { program, ..Envelope::default() }), "{line}");
        }
    }
}
