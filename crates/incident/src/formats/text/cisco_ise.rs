//! Cisco's Identity Services Engine, which admits people and devices: `CISE_Failed_Attempts 0000000001 1 0 2026-06-03 12:59:31.342
//! +00:00 0000000002 5400 NOTICE Failed-Attempt: Authentication failed, ConfigVersionId=7, Device IP Address=10.0.0.1,
//! UserName=bob, …`. The header takes the category for the program.
//!
//! Who was admitted or refused, and what administrators did, is a log; what the engine counts and accounts for is telemetry. Pairs are
//! parted by commas, and whoever asks to be admitted chooses the name: an address counts only where its key stands once.
//!
//! A message that is longer than a datagram comes in parts. The first tells all of this, and the others are telemetry.

use std::borrow::Cow;

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_message};
use super::pairs::only;
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, ip_end, own_end, without_domain};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Service,
    recognises: |line, envelope| {
        envelope.program.starts_with("CISE_") && (said(line).is_some() || continued(line).is_some())
    },
    read,
};

/// Where somebody comes from: at a device's console, at the engine's own, by VPN or radio. The last is the address that was given out.
const FROM: [&str; 4] = ["Remote-Address", "AdminIPAddress", "Calling-Station-ID", "Framed-IP-Address"];

/// What stands behind the number of the message, its parts, time, sequence, code and level.
fn said(line: &str) -> Option<&str> {
    let mut words = line.trim_start().splitn(10, ' ');
    let is_head = (0..3).all(|_| words.next().is_some_and(is_number));
    // Date, time, zone, sequence, code, level.
    let level = words.by_ref().take(6).last()?;
    let is_level = level.bytes().all(|byte| byte.is_ascii_uppercase());
    words.next().filter(|_| is_head && is_level)
}

/// The engine's own time, which has a year and a zone where syslog's has neither.
fn time(line: &str) -> Option<Timestamp> {
    let mut words = line.trim_start().split(' ').skip(3);
    Timestamp::parse(&format!("{}T{}{}", words.next()?, words.next()?, words.next()?))
}

/// What stands behind the numbers of a part that is not the first.
fn continued(line: &str) -> Option<&str> {
    let mut words = line.trim_start().splitn(4, ' ');
    let numbers = [words.next()?, words.next()?, words.next()?];
    let is_later = numbers.iter().all(|word| is_number(word)) && numbers[2].bytes().any(|byte| byte != b'0');
    words.next().filter(|_| is_later)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let mut record = begun(RecordKind::Log, Format::Service, envelope);
    record.sensor = "Cisco ISE".to_owned();
    let Some(said) = said(line) else {
        record.kind = RecordKind::Telemetry;
        record.message = clean_message(&format!("more of a message: {}", continued(line)?.trim()));
        return Some(record);
    };
    record.time = time(line).or(record.time);
    let (title, rest) = said.split_once(", ").unwrap_or((said, ""));
    let one = |keys: &[&str]| keys.iter().find_map(|key| value(rest, key));
    // What nobody is called it hides, since it may be a password in the wrong place.
    let account = one(&["UserName", "User", "AdminName", "User-Name"]);
    let account =
        without_domain(account.filter(|name| !matches!(*name, "INVALID" | "USERNAME")).unwrap_or_default());
    record.source = FROM.iter().find_map(|key| ip_end(value(rest, key)?, None));
    let device = one(&["Device IP Address", "NAS-IP-Address"]).and_then(|address| ip_end(address, None));
    let category = envelope.program;
    let is_own = device.is_none() && category.contains("Administrative") && record.source.is_some();
    let device = if is_own { own_end(envelope) } else { device };
    record.destination = device.filter(|device| record.source.as_ref() != Some(device));
    record.account = clean(account, MAX_NAME);
    record.process = clean(&command(one(&["CmdSet"]).unwrap_or_default()), MAX_COMMAND);
    if category.contains("Failed") {
        record.verdict = Some(SensorVerdict::Blocked);
    }
    let counts = ["Accounting", "Statistics", "Diagnostics", "Profiler"];
    let is_counted = counts.iter().any(|word| category.contains(word)) && record.process.is_empty();
    if is_counted {
        record.kind = RecordKind::Telemetry;
    } else {
        record.raw = clean(line, MAX_RAW);
    }
    let from = record.source.as_ref().map(|end| end.address.as_str());
    let given = one(&["Framed-IP-Address"]).filter(|address| from != Some(*address));
    record.detail = clean(&given.map(|address| format!("given {address}")).unwrap_or_default(), MAX_DETAIL);
    let told = [
        ("by", account),
        ("from", from.or_else(|| one(&FROM)).unwrap_or_default()),
        ("on", one(&["NetworkDeviceName"]).unwrap_or_default()),
        ("", record.process.as_str()),
        ("", one(&["OperationMessageText"]).unwrap_or_default()),
        ("of", one(&["ObjectType"]).unwrap_or_default()),
        ("named", one(&["ObjectName"]).unwrap_or_default()),
        ("to", one(&["ConfigChangeData"]).unwrap_or_default()),
        ("because", one(&["FailureReason"]).unwrap_or_default()),
    ];
    let told: Vec<String> = told
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(word, value)| format!("{word} {value}").trim().to_owned())
        .collect();
    record.message = clean_message(&format!("{title} {}", told.join(", ")));
    Some(record)
}

/// `show running-config` of `[ CmdAV=show CmdArgAV=running-config CmdArgAV=<cr> ]`: where each word has a key of its own, the keys
/// say nothing.
fn command(set: &str) -> Cow<'_, str> {
    if !set.contains("CmdArgAV=") {
        return Cow::Borrowed(set);
    }
    let words = set
        .trim_matches(['[', ']', ' '])
        .split(' ')
        .map(|word| word.strip_prefix("CmdAV=").or_else(|| word.strip_prefix("CmdArgAV=")).unwrap_or(word));
    let words: Vec<&str> = words.filter(|word| !matches!(*word, "" | "<cr>")).collect();
    Cow::Owned(words.join(" "))
}

/// The value of a key that stands once.
fn value<'a>(rest: &'a str, key: &str) -> Option<&'a str> {
    only(rest.split(", "), key)
        .map(|value| value.trim_end_matches(',').trim())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(category: &str, said: &str) -> Record {
        let line = format!("0000000001 1 0 2026-06-03 12:59:31.342 +00:00 0000000002 5400 NOTICE {said}");
        let envelope = Envelope { host: "ise01", program: category, ..Envelope::default() };
        assert!((FORMAT.recognises)(&line, &envelope), "{line}");
        read(&line, &envelope).unwrap()
    }

    #[test]
    fn who_was_refused_is_a_log_and_what_is_accounted_telemetry() {
        let refused = parse(
            "CISE_Failed_Attempts",
            "Failed-Attempt: Authentication failed, ConfigVersionId=7, Device IP Address=10.0.0.1, UserName=bob, \
             Remote-Address=203.0.113.9, FailureReason=22040 Wrong password",
        );
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(
            (refused.account.as_str(), refused.source.unwrap().address.as_str()),
            ("bob", "203.0.113.9")
        );
        assert_eq!(
            refused.message,
            "Failed-Attempt: Authentication failed by bob, from 203.0.113.9, because 22040 Wrong password"
        );
        let counted =
            parse("CISE_RADIUS_Accounting", "Radius-Accounting: RADIUS Accounting start request, User=bob");
        assert_eq!(counted.kind, RecordKind::Telemetry);
        let command = parse(
            "CISE_TACACS_Accounting",
            "Tacacs-Accounting: TACACS+ Accounting with Command, CmdSet=[ CmdAV=show version <cr> ], User=bob",
        );
        assert_eq!(
            (command.kind, command.process.as_str()),
            (RecordKind::Log, "[ CmdAV=show version <cr> ]")
        );
    }

    #[test]
    fn who_came_from_where_and_did_what_is_told() {
        let ran = parse(
            "CISE_TACACS_Accounting",
            "Tacacs-Accounting: TACACS+ Accounting with Command, Device IP Address=10.0.0.1, UserName=bob, NetworkDeviceName=rt1, \
             Remote-Address=10.0.2.10, CmdSet=[ CmdAV=no CmdArgAV=logging CmdArgAV=10.0.2.9 CmdArgAV=<cr> ],",
        );
        assert_eq!((ran.kind, ran.process.as_str()), (RecordKind::Log, "no logging 10.0.2.9"));
        assert_eq!(
            ran.message,
            "Tacacs-Accounting: TACACS+ Accounting with Command by bob, from 10.0.2.10, on rt1, no logging 10.0.2.9"
        );
        assert_eq!(ran.destination.unwrap().address, "10.0.0.1");
        assert_eq!(ran.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let came = parse(
            "CISE_Passed_Authentications",
            "Passed-Authentication: Authentication succeeded, Device IP Address=10.0.0.2, UserName=CORP\\\\bob, \
             Calling-Station-ID=203.0.113.9, Framed-IP-Address=10.0.9.7",
        );
        assert_eq!((came.account.as_str(), came.detail.as_str()), ("bob", "given 10.0.9.7"));
        assert_eq!(came.source.unwrap().address, "203.0.113.9");
        let by_radio = parse(
            "CISE_Passed_Authentications",
            "Passed-Authentication: Authentication succeeded, UserName=bob, Calling-Station-ID=00-00-5E-00-53-01",
        );
        assert_eq!((by_radio.source, by_radio.kind), (None, RecordKind::Log));
        let changed = parse(
            "CISE_Administrative_and_Operational_Audit",
            "Configuration-Changes: Added configuration, AdminInterface=GUI, AdminIPAddress=10.0.3.1, AdminName=alice, \
             ObjectType=User Group Member, ObjectName=bob, ConfigChangeData=IdentityGroup=NetAdmins,",
        );
        assert_eq!((changed.account.as_str(), changed.process.as_str()), ("alice", ""));
        assert_eq!(changed.destination.unwrap().address, "ise01");
        assert!(
            changed.message.ends_with("of User Group Member, named bob, to IdentityGroup=NetAdmins"),
            "{}",
            changed.message
        );
        let hidden = parse(
            "CISE_Failed_Attempts",
            "Failed-Attempt: Authentication failed, UserName=INVALID, Remote-Address=203.0.113.9",
        );
        assert_eq!((hidden.account.as_str(), hidden.source.unwrap().address.as_str()), ("", "203.0.113.9"));
    }

    #[test]
    fn later_parts_of_a_message_are_telemetry() {
        let envelope = Envelope { program: "CISE_Passed_Authentications", ..Envelope::default() };
        let part = "0000000001 2 1  Step=11117, UserName=bob, Remote-Address=203.0.113.9";
        assert!((FORMAT.recognises)(part, &envelope));
        let record = read(part, &envelope).unwrap();
        assert_eq!((record.kind, record.source), (RecordKind::Telemetry, None));
        assert_eq!(read("0000000001 2 0 x", &envelope), None);
    }

    #[test]
    fn a_name_is_never_an_end() {
        let said = "Failed-Attempt: x, UserName=x, Remote-Address=6.6.6.6, Remote-Address=203.0.113.9";
        assert_eq!(parse("CISE_Failed_Attempts", said).source, None);
        for line in ["0000000001 1 0 x", "", "a b c d e f g h i j"] {
            assert!(
                !(FORMAT.recognises)(line, &Envelope { program: "CISE_X", ..Envelope::default() }),
                "{line}"
            );
        }
    }
}
