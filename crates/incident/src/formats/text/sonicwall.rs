//! SonicWall's firewalls: `id=firewall sn=0011 time="2026-06-03 12:59:31 UTC" fw=10.0.0.1 pri=1 c=32 m=82 msg="Possible port scan"
//! src=203.0.113.9:51234:X1 dst=10.0.2.11:22:X0 proto=tcp/22 …`.
//!
//! Connections that were opened and closed are telemetry; what intrusion prevention and the malware filters say, and what belongs to the
//! category of attacks, is an alert; the rest is a log. `pri` is syslog's level, and ranks no attack.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port};
use super::pairs::find;
use super::{MAX_NAME, MAX_RAW, begun, end, once, tell_traffic, verdict};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| {
        let mut words = line.split_whitespace();
        let begins = |word: Option<&str>, key: &str| word.is_some_and(|word| word.starts_with(key));
        envelope.program.is_empty() && begins(words.next(), "id=") && begins(words.next(), "sn=")
    },
    read: |line, envelope| Some(read(line, envelope)),
};

/// The category of attacks.
const ATTACKS: &str = "32";

fn read(line: &str, envelope: &Envelope<'_>) -> Record {
    let line = line.trim_start();
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "SonicWall".to_owned();
    let time = find(line, "time").unwrap_or_default();
    record.time = Timestamp::parse(time.trim_end_matches(" UTC")).or(record.time);
    if record.host.is_empty() {
        record.host = clean(find(line, "fw").unwrap_or_default(), MAX_NAME);
    }
    record.rule = clean(find(line, "m").unwrap_or_default(), MAX_NAME);
    record.raw = clean(line, MAX_RAW);
    // `tcp/https`: the protocol, and what it is used for.
    let protocol = once(line, "proto").split('/').next().unwrap_or_default();
    record.protocol = clean_protocol(protocol);
    // Whoever logs in chooses the name, which stands before both ends.
    (record.source, record.destination) = (place(once(line, "src")), place(once(line, "dst")));
    let account = find(line, "usr").or_else(|| find(line, "user")).filter(|name| !name.contains('='));
    record.account = clean(account.unwrap_or_default(), MAX_NAME);
    let said = find(line, "msg").unwrap_or_default();
    let action = find(line, "fw_action").and_then(verdict);
    let told = said.rsplit([' ', '.']).find(|word| !word.is_empty()).and_then(verdict);
    record.verdict = action.or(told);
    record.message = clean_message(said);
    let rank = ["ipspri", "spypri"].iter().find_map(|key| find(line, key));
    let is_found = ["Gateway Anti-Virus Alert", "Anti-Spyware", "IPS ", "Botnet", "Geo-IP"]
        .iter()
        .any(|beginning| said.starts_with(beginning));
    match said {
        "Connection Opened" | "Connection Closed" => {
            record.kind = RecordKind::Telemetry;
            record.raw = String::new();
            tell_traffic(&mut record, said);
        }
        _ if rank.is_some() || is_found || find(line, "c") == Some(ATTACKS) => {
            record.kind = RecordKind::Alert;
            record.priority = rank.and_then(of_three);
            let class = ["ipscat", "spycat"].iter().find_map(|key| find(line, key));
            record.classification = clean_classification(class.unwrap_or_default());
        }
        _ if record.verdict == Some(SensorVerdict::Blocked) && record.destination.is_some() => {
            tell_traffic(&mut record, said);
        }
        _ => {
            let from = record.source.as_ref().map(|end| format!(" from {}", end.address)).unwrap_or_default();
            let by = Some(&record.account).filter(|name| !name.is_empty());
            let by = by.map(|name| format!(" by {name}")).unwrap_or_default();
            record.message = clean_message(&format!("{said}{by}{from}"));
        }
    }
    record.detail = clean(find(line, "note").unwrap_or_default(), MAX_DETAIL);
    record
}

/// `203.0.113.9:51234:X1`: address, port and interface, the last two missing at times. Names stand behind.
fn place(text: &str) -> Option<Endpoint> {
    let mut parts = text.split(':');
    let (address, number) = (parts.next()?, parts.next().unwrap_or_default());
    end(address, port(number).filter(|port| *port != 0)).filter(|end| end.ip().is_some())
}

/// Intrusion prevention ranks from 1, high, to 3.
fn of_three(text: &str) -> Option<u8> {
    text.parse::<u8>().ok().filter(|rank| (1..=3).contains(rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(said: &str) -> Record {
        let line = format!("  id=firewall sn=0011 time=\"2026-06-03 12:59:31 UTC\" fw=10.0.0.1 pri=6 {said}");
        assert!((FORMAT.recognises)(&line, &Envelope::default()), "{line}");
        read(&line, &Envelope::default())
    }

    #[test]
    fn connections_are_telemetry_and_what_is_dropped_is_a_log() {
        let record = parse(
            "c=262144 m=98 msg=\"Connection Opened\" n=7 src=10.0.2.20:51234:X0 dst=203.0.113.9:443:X1 proto=tcp/https",
        );
        assert_eq!((record.kind, record.host.as_str()), (RecordKind::Telemetry, "10.0.0.1"));
        assert_eq!(record.message, "Connection Opened TCP 10.0.2.20 -> 203.0.113.9:443");
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let record = parse(
            "c=64 m=36 msg=\"TCP connection dropped\" src=203.0.113.9:51234:X1 dst=10.0.2.11:22:X0 proto=tcp/22 fw_action=\"drop\"",
        );
        assert_eq!((record.kind, record.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(record.message, "TCP connection dropped TCP 203.0.113.9 -> 10.0.2.11:22");
    }

    #[test]
    fn what_was_found_is_an_alert() {
        let record = parse(
            "c=32 m=608 msg=\"IPS Detection Alert: LOCAL overflow\" sid=7 ipscat=WEB-ATTACKS ipspri=2 src=203.0.113.9:51234:X1 dst=10.0.2.11:80:X0 proto=tcp/http",
        );
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(
            (record.message.as_str(), record.rule.as_str(), record.classification.as_str()),
            ("IPS Detection Alert: LOCAL overflow", "608", "WEB-ATTACKS")
        );
        let record =
            parse("c=32 m=82 msg=\"Possible port scan detected\" src=203.0.113.9:1:X1 dst=10.0.2.11:2:X0");
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, None));
    }

    #[test]
    fn a_name_is_never_an_end() {
        let line = |name: &str| {
            format!(
                "c=16 m=30 msg=\"Administrator login denied due to bad credentials\" n=1 usr=\"{name}\" src=203.0.113.9:51234:X1 dst=10.0.0.1:443:X1 proto=tcp/https"
            )
        };
        let record = parse(&line("admin"));
        assert_eq!((record.account.as_str(), record.kind), ("admin", RecordKind::Log));
        assert_eq!(
            record.message,
            "Administrator login denied due to bad credentials by admin from 203.0.113.9"
        );
        let record = parse(&line("x\" src=6.6.6.6:1:X1 y=\""));
        assert_eq!(record.source, None);
    }
}
