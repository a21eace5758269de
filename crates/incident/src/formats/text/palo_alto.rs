//! Firewalls of Palo Alto Networks as PAN-OS writes to syslog by default: comma-separated fields, of which the second is a time and
//! the fourth names the log.
//!
//! `1,2026/06/03 12:59:31,0011,THREAT,vulnerability,2561,2026/06/03 12:59:31,203.0.113.9,10.0.2.14,…`
//!
//! What a session was allowed is telemetry and what it was refused a log; a threat is an alert unless the firewall itself calls it
//! informational. Logins, configuration and the system's own messages are logs, whose severity ranks the kind of message.

use super::super::format::{Envelope, LineFormat};
use super::super::json::severity;
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port};
use super::csv::{Field, fields};
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, end, ip_end, tell_traffic, verdict};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::Firewall, recognises, read };

/// The logs of PAN-OS.
const LOGS: [&str; 14] = [
    "TRAFFIC",
    "THREAT",
    "USERID",
    "SYSTEM",
    "CONFIG",
    "GLOBALPROTECT",
    "AUTHENTICATION",
    "CORRELATION",
    "HIPMATCH",
    "HIP-MATCH",
    "DECRYPTION",
    "TUNNEL",
    "IPTAG",
    "GTP",
];

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    let mut first = line.splitn(5, ',');
    let (Some(reserved), Some(time), Some(serial), Some(log)) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return false;
    };
    let is_word = |text: &str| text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    envelope.program.is_empty()
        && is_word(reserved)
        && is_word(serial)
        && Timestamp::parse_slashed(time).is_some()
        && LOGS.contains(&log)
}

/// The fields by their places in PAN-OS' tables of syslog fields.
struct Row<'a>(Vec<Field<'a>>);

impl<'a> Row<'a> {
    fn at(&self, place: usize) -> &'a str {
        self.0.get(place).map_or("", |field| field.text)
    }

    /// What stands at these places, apart by blanks.
    fn told<const N: usize>(&self, places: [usize; N]) -> String {
        let told: Vec<&str> = places.into_iter().map(|at| self.at(at)).filter(|text| is_told(text)).collect();
        told.join(" ")
    }
}

fn is_told(text: &str) -> bool {
    !matches!(text, "" | "0" | "none" | "any" | "unknown" | "0.0.0.0")
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let row = Row(fields(line));
    let (log, kind_of_log) = (row.at(3), row.at(4));
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.sensor = "PAN-OS".to_owned();
    record.classification = clean_classification(kind_of_log);
    // The collector's time counts where it names its zone, which the firewall's never does.
    let own = Timestamp::parse_slashed(row.at(6)).or_else(|| Timestamp::parse_slashed(row.at(1)));
    record.time = envelope.time.filter(|time| time.has_zone()).or(own).or(envelope.time);
    record.raw = clean(line, MAX_RAW);
    match log {
        "TRAFFIC" => traffic(&row, &mut record),
        "THREAT" => threat(&row, &mut record),
        "USERID" => login(&row, &mut record, 8, 9, &format!("User-ID {kind_of_log}")),
        "AUTHENTICATION" => {
            login(&row, &mut record, 8, 9, &format!("authentication {}", row.told([20, 18])));
        }
        "GLOBALPROTECT" => {
            login(&row, &mut record, 15, 12, &format!("GlobalProtect {}", row.told([8, 9, 28, 25, 26])));
            record.verdict = (row.at(28) == "failure").then_some(SensorVerdict::Blocked);
        }
        "CONFIG" => {
            login(&row, &mut record, 7, 10, &format!("configuration {}", row.told([9, 12, 13])));
        }
        "SYSTEM" => system(&row, &mut record),
        "CORRELATION" => {
            record.kind = RecordKind::Alert;
            record.source = end(row.at(7), None);
            record.account = clean(row.at(8), MAX_NAME);
            record.classification = clean_classification(row.at(10));
            record.priority = severity(row.at(11));
            record.message = clean_message(&row.told([19, 21]));
        }
        _ => {
            record.kind = RecordKind::Telemetry;
            record.message = clean_message(&row.told([3, 4]));
        }
    }
    Some(record)
}

/// What traffic and threats have in common: both ends, their account, their application and what was done.
fn session(row: &Row<'_>, record: &mut Record) {
    record.protocol = clean_protocol(row.at(29));
    record.source = end(row.at(7), port(row.at(24)).filter(|port| *port != 0));
    record.destination = end(row.at(8), port(row.at(25)).filter(|port| *port != 0));
    record.account = clean(row.at(12), MAX_NAME);
    record.verdict = verdict(row.at(30));
}

fn traffic(row: &Row<'_>, record: &mut Record) {
    session(row, record);
    if record.verdict == Some(SensorVerdict::Allowed) {
        record.kind = RecordKind::Telemetry;
    }
    tell_traffic(record, &row.told([30, 14]));
}

fn threat(row: &Row<'_>, record: &mut Record) {
    session(row, record);
    let (title, number) = match row.at(32).rsplit_once('(') {
        Some((title, number)) if !title.is_empty() => (title.trim(), number.trim_end_matches(')')),
        _ => ("", ""),
    };
    let rank = severity(row.at(34));
    record.rule = clean(number, MAX_NAME);
    record.detail = clean(row.at(31), MAX_DETAIL);
    if matches!(row.at(4), "file" | "virus" | "wildfire" | "wildfire-virus" | "data") {
        record.file = clean(row.at(31), MAX_COMMAND);
    }
    if rank == Some(4) {
        if record.verdict != Some(SensorVerdict::Blocked) {
            record.kind = RecordKind::Telemetry;
        }
        record.message = clean_message(&format!("{} {}", row.told([4, 30, 33]), row.at(31)));
        return;
    }
    record.kind = RecordKind::Alert;
    record.priority = rank;
    let title = if title.is_empty() { row.told([4, 33]) } else { title.to_owned() };
    record.message = clean_message(&title);
}

/// A record of an account that came from somewhere.
fn login(row: &Row<'_>, record: &mut Record, source: usize, account: usize, what: &str) {
    record.source = ip_end(row.at(source), None);
    record.account = clean(row.at(account), MAX_NAME);
    let mut message = what.trim_end().to_owned();
    for (word, value) in [("for", record.account.as_str()), ("from", row.at(source))] {
        if is_told(value) {
            message.push_str(&format!(" {word} {value}"));
        }
    }
    record.message = clean_message(&message);
}

/// The system's own messages: who failed to log in to the firewall stands in their text, behind a mark of their own.
fn system(row: &Row<'_>, record: &mut Record) {
    let said = row.at(14);
    record.rule = clean(row.at(8), MAX_NAME);
    record.message = clean_message(said);
    // Whoever logs in chooses the name that stands before it.
    record.source = said.rsplit_once("From: ").and_then(|(_, rest)| ip_end(rest.trim_end_matches('.'), None));
    let named = said.split_once("user '").and_then(|(_, rest)| rest.rsplit_once('\'')).map(|(name, _)| name);
    record.account = clean(named.unwrap_or_default(), MAX_NAME);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        assert!(recognises(line, &Envelope::default()), "{line}");
        read(line, &Envelope { host: "fw01", ..Envelope::default() }).unwrap()
    }

    /// A line of a log, whose fields from the eighth on are given.
    fn row(log: &str, of: &str, fields: &str) -> Record {
        parse(&format!("1,2026/06/03 12:59:32,0011,{log},{of},2561,2026/06/03 12:59:31,{fields}"))
    }

    const SESSION: &str = "203.0.113.9,10.0.2.14,0.0.0.0,0.0.0.0,out,corp\\bob,,web,vsys1,a,b,e1,e2,,x,7,1,51234,443,0,0,0x0,tcp";

    #[test]
    fn sessions_are_telemetry_unless_they_are_refused() {
        let passed = row("TRAFFIC", "end", &format!("{SESSION},allow,905,633"));
        assert_eq!(passed.kind, RecordKind::Telemetry);
        assert_eq!(passed.message, "allow web TCP 203.0.113.9 -> 10.0.2.14:443");
        assert_eq!(passed.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(
            (passed.account.as_str(), passed.time.unwrap().clock().as_str()),
            ("corp\\bob", "12:59:31")
        );
        let refused = row("TRAFFIC", "deny", &format!("{SESSION},reset-both,0,0"));
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
    }

    #[test]
    fn a_threat_is_an_alert_unless_it_is_informational() {
        let fields = format!(
            "{SESSION},reset-both,\"x.example/a,b\",LOCAL command injection(30001),any,critical,client-to-server"
        );
        let threat = row("THREAT", "vulnerability", &fields);
        assert_eq!((threat.kind, threat.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((threat.message.as_str(), threat.rule.as_str()), ("LOCAL command injection", "30001"));
        assert_eq!(
            (threat.detail.as_str(), threat.classification.as_str()),
            ("x.example/a,b", "vulnerability")
        );
        let fields = format!("{SESSION},alert,\"x.example/\",(9999),news,informational,client-to-server");
        let seen = row("THREAT", "url", &fields);
        assert_eq!((seen.kind, seen.message.as_str()), (RecordKind::Telemetry, "url alert news x.example/"));
    }

    #[test]
    fn logins_name_account_and_client() {
        let told = row("USERID", "login", "vsys1,10.0.3.17,corp\\bob,,0,1,10800");
        assert_eq!(
            (told.kind, told.message.as_str()),
            (RecordKind::Log, "User-ID login for corp\\bob from 10.0.3.17")
        );
        let fields = "vsys1,gateway-auth,login,LDAP,,bob,DE,pc7,203.0.113.9,::,0.0.0.0,::,id,s,6.1,w,10,1,wrong password,,,failure";
        let told = row("GLOBALPROTECT", "0", fields);
        assert_eq!(
            told.message,
            "GlobalProtect gateway-auth login failure wrong password for bob from 203.0.113.9"
        );
        assert_eq!(told.verdict, Some(SensorVerdict::Blocked));
        let said = "failed authentication for user 'a'. From: 6.6.6.6.' b'. Reason: Invalid username/password. From: 203.0.113.9.";
        let told = row("SYSTEM", "auth", &format!("vsys1,auth-fail,,0,0,general,medium,\"{said}\",1,0x0"));
        assert_eq!((told.source.unwrap().address.as_str(), told.priority), ("203.0.113.9", None));
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "1,2026/06/03 12:59:31,0011,OTHER,x",
            "1,yesterday,0011,TRAFFIC,x",
            "said 1,2026/06/03 12:59:31,0011,TRAFFIC,x",
            "TRAFFIC",
            "",
        ] {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
        let shop = Envelope { program: "shop", ..Envelope::default() };
        assert!(!recognises("1,2026/06/03 12:59:31,0011,TRAFFIC,end", &shop));
        assert_eq!(row("TRAFFIC", "end", "").source, None);
    }
}
