//! Cisco's Identity Services Engine, which admits people and devices: `CISE_Failed_Attempts 0000000001 1 0 2026-06-03 12:59:31.342
//! +00:00 0000000002 5400 NOTICE Failed-Attempt: Authentication failed, ConfigVersionId=7, Device IP Address=10.0.0.1,
//! UserName=bob, …`. The header takes the category for the program.
//!
//! Who was admitted or refused, and what administrators did, is a log; what the engine counts and accounts for is telemetry. Pairs are
//! parted by commas, and whoever asks to be admitted chooses the name: an address counts only where its key stands once.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean, clean_message};
use super::pairs::only;
use super::{MAX_NAME, MAX_RAW, begun, ip_end};
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Service,
    recognises: |line, envelope| envelope.program.starts_with("CISE_") && said(line).is_some(),
    read,
};

/// What stands behind the number of the message, its parts, time, sequence, code and level.
fn said(line: &str) -> Option<&str> {
    let mut words = line.trim_start().splitn(10, ' ');
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_head = (0..3).all(|_| words.next().is_some_and(is_number));
    // Date, time, zone, sequence, code, level.
    let level = words.by_ref().take(6).last()?;
    let is_level = level.bytes().all(|byte| byte.is_ascii_uppercase());
    words.next().filter(|_| is_head && is_level)
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let said = said(line)?;
    let (title, rest) = said.split_once(", ").unwrap_or((said, ""));
    let mut record = begun(RecordKind::Log, Format::Service, envelope);
    record.sensor = "Cisco ISE".to_owned();
    let one = |keys: &[&str]| keys.iter().find_map(|key| value(rest, key));
    let account = one(&["UserName", "User", "AdminName", "User-Name"]).unwrap_or_default();
    let remote = one(&["Remote-Address", "AdminIPAddress", "Framed-IP-Address", "Calling-Station-ID"]);
    record.source = remote.and_then(|address| ip_end(address, None));
    let device = one(&["Device IP Address", "NAS-IP-Address"]).and_then(|address| ip_end(address, None));
    record.destination = device.filter(|device| record.source.as_ref() != Some(device));
    record.account = clean(account, MAX_NAME);
    record.process = clean(one(&["CmdSet", "OperationMessageText"]).unwrap_or_default(), MAX_NAME);
    let category = envelope.program;
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
    let told = [
        ("by", account),
        ("from", remote.unwrap_or_default()),
        ("on", one(&["NetworkDeviceName"]).unwrap_or_default()),
        ("", record.process.as_str()),
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

/// The value of a key that stands once.
fn value<'a>(rest: &'a str, key: &str) -> Option<&'a str> {
    only(rest.split(", "), key).map(str::trim).filter(|value| !value.is_empty())
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
