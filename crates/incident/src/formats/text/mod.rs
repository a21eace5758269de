//! Formats whose records are lines of text, one file each: alerts of IDS, logs of hosts and services, telemetry of Zeek.
//!
//! Contract: as in [`super::format`], a line is recognised by how it begins, or by the program that syslog's header
//! names; what a program writes on behalf of others (a user's name, a path, a browser's name) changes neither kind nor
//! format. Every reader is linear in its line.

mod asterisk;
mod auditd;
mod balancers;
mod bracketed;
mod cef;
mod cef_vendors;
mod check_point;
mod cisco;
mod cisco_ise;
mod clear_pass;
mod columns;
mod csv;
mod dhcp;
mod f5;
mod falco;
mod fortigate;
mod fortinet;
mod huawei;
mod juniper;
mod leef;
mod logfmt;
mod meraki;
mod net_scaler;
mod ossec;
mod ossec_syslog;
mod pairs;
mod palo_alto;
mod pam;
mod pfsense_csv;
mod qradar;
mod radius;
mod service_files;
mod services;
mod snort_csv;
mod snort_fast;
mod snort_full;
mod sonicwall;
mod sophos_firewall;
mod squid;
mod sshd;
mod sudo;
mod syslog;
mod vmware;
mod vpc_flow;
mod w3c;
mod web;
mod web_errors;
mod windows_text;
mod zeek_tsv;
mod zscaler;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod rendered;

use std::borrow::Cow;

use super::format::{Envelope, LayoutFormat, LineFormat};
use super::json::{is_name, traffic};
use super::{Format, MAX_ADDRESS, clean, clean_message};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};
pub(super) use cef::Event as CefEvent;
pub(crate) use clear_pass::is_clear_pass;
pub(crate) use meraki::KINDS as MERAKI;
pub(crate) use net_scaler::is_net_scaler;
pub(super) use ossec::agent;
pub(super) use pairs::pairs;

/// The formats of single lines. Where several recognise a line, the first of them is meant: what begins with a mark
/// comes before what a program's name tells, and any line of syslog comes last.
pub(crate) const LINES: [LineFormat; 37] = [
    snort_fast::FORMAT,
    bracketed::FORMAT,
    pfsense_csv::FORMAT,
    snort_csv::FORMAT,
    cef::FORMAT,
    leef::FORMAT,
    palo_alto::FORMAT,
    zscaler::FORMAT,
    qradar::FORMAT,
    net_scaler::FORMAT,
    clear_pass::FORMAT,
    falco::FORMAT,
    auditd::FORMAT,
    web::FORMAT,
    balancers::FORMAT,
    w3c::ROW,
    squid::FORMAT,
    web_errors::FORMAT,
    service_files::FORMAT,
    dhcp::FORMAT,
    // Its devices' sshd has messages of their own.
    juniper::FORMAT,
    f5::FORMAT,
    sshd::FORMAT,
    sudo::FORMAT,
    ossec_syslog::FORMAT,
    cisco::FORMAT,
    cisco_ise::FORMAT,
    vmware::FORMAT,
    huawei::FORMAT,
    fortigate::FORMAT,
    fortinet::FORMAT,
    sophos_firewall::FORMAT,
    check_point::FORMAT,
    meraki::FORMAT,
    sonicwall::FORMAT,
    logfmt::FORMAT,
    syslog::FORMAT,
];

/// The formats of several lines.
pub(crate) const LAYOUTS: [LayoutFormat; 6] = [
    snort_full::FORMAT,
    ossec::FORMAT,
    zeek_tsv::FORMAT,
    w3c::FORMAT,
    vpc_flow::FORMAT,
    windows_text::FORMAT,
];

/// Longest name of a program, an account or a rule.
const MAX_NAME: usize = 128;
/// Longest command line or path.
const MAX_COMMAND: usize = 256;
/// Longest text of a line that is kept beside what was read from it.
const MAX_RAW: usize = 512;

/// A record with what stands around the line.
fn begun(kind: RecordKind, format: Format, envelope: &Envelope<'_>) -> Record {
    Record {
        kind,
        format,
        time: envelope.time,
        sensor: clean(program(envelope), MAX_NAME),
        host: clean(envelope.host, MAX_ADDRESS),
        ..Record::default()
    }
}

/// The program's name without its folder and without the module that spoke for it.
fn program<'a>(envelope: &Envelope<'a>) -> &'a str {
    let name = envelope.program.rsplit('/').next().unwrap_or_default();
    name.split_once(pam::BY_MODULE).map_or(name, |(name, _)| name)
}

/// A line that begins with one of these keys, also behind the time and the host that a relay puts before it, and that host.
fn behind_relay<'a>(line: &'a str, keys: &[&str]) -> Option<(&'a str, &'a str)> {
    let begins = |text: &str| keys.iter().any(|key| text.starts_with(key));
    let line = line.trim_start();
    if begins(line) {
        return Some(("", line));
    }
    let (_, rest) = Timestamp::parse_prefix(line)?;
    let (host, rest) = rest.trim_start().split_once(' ')?;
    let rest = rest.trim_start();
    (is_name(host) && begins(rest)).then_some((host, rest))
}

/// Reads what [`behind_relay`] found, as of the host that the relay names, if it does.
fn relayed(
    (host, fields): (&str, &str),
    envelope: &Envelope<'_>,
    read: impl Fn(&str, &Envelope<'_>) -> Record,
) -> Record {
    let host = if host.is_empty() { envelope.host } else { host };
    read(&blanks(fields), &Envelope { host, ..*envelope })
}

/// Whether the line stands alone, or one of these programs wrote it.
fn may_be_from(envelope: &Envelope<'_>, programs: &[&str]) -> bool {
    let name = program(envelope);
    name.is_empty() || programs.contains(&name)
}

/// An end, unless the source leaves it out.
fn end(address: &str, port: Option<u16>) -> Option<Endpoint> {
    let address = address.trim().trim_start_matches('[').trim_end_matches(']');
    let is_named = !matches!(address, "" | "-" | "?" | "(null)" | "UNKNOWN" | "unknown" | "any" | "N/A")
        && is_name(address);
    is_named.then(|| Endpoint::new(&clean(address, MAX_ADDRESS), port))
}

/// An end that is an address, where names may be anybody's.
fn ip_end(address: &str, port: Option<u16>) -> Option<Endpoint> {
    end(address, port).filter(|end| end.ip().is_some())
}

/// The host that wrote the line as an end.
fn own_end(envelope: &Envelope<'_>) -> Option<Endpoint> {
    end(envelope.host, None)
}

/// Snort's and Suricata's priority on the one scale: 0 is what a rule that sets none has.
fn priority(text: &str) -> Option<u8> {
    match text.trim().parse::<u32>().ok()? {
        0 => None,
        number => Some(u8::try_from(number).unwrap_or(4).min(4)),
    }
}

/// The priority of a severity from 1 to 10, as CEF and LEEF have it: 7 and more is high, 4 and more medium.
pub(super) fn of_ten(severity: u32) -> Option<u8> {
    match severity {
        0 => None,
        1..=3 => Some(3),
        4..=6 => Some(2),
        _ => Some(1),
    }
}

/// What a sensor says it did, in the words that sensors use.
pub(super) fn verdict(word: &str) -> Option<SensorVerdict> {
    let word = word.trim().trim_matches(['"', '[', ']']).to_ascii_lowercase();
    const BLOCKED: [&str; 7] = ["drop", "block", "den", "reject", "reset", "quarantin", "prevent"];
    const ALLOWED: [&str; 8] = ["allow", "pass", "permit", "accept", "would", "wdrop", "cant", "can't"];
    let begins = |words: &[&str]| words.iter().any(|beginning| word.starts_with(beginning));
    match () {
        () if begins(&BLOCKED) => Some(SensorVerdict::Blocked),
        () if begins(&ALLOWED) => Some(SensorVerdict::Allowed),
        () => None,
    }
}

/// The name of an IP protocol by its number, where it has one that logs use.
pub(super) fn protocol_of(number: &str) -> &str {
    match number {
        "1" => "ICMP",
        "2" => "IGMP",
        "6" => "TCP",
        "17" => "UDP",
        "47" => "GRE",
        "50" => "ESP",
        "58" => "IPV6-ICMP",
        "132" => "SCTP",
        other => other,
    }
}

/// Says what happened to traffic without what changes from one flow to the next, so that like ones fold.
fn tell_traffic(record: &mut Record, what: &str) {
    let what = what.trim();
    let flow = traffic(&record.protocol, record.source.as_ref(), record.destination.as_ref());
    record.message = clean_message(&format!("{what} {flow}"));
}

/// Where the first of these marks stands that no backslash is before.
fn unescaped_at(text: &str, mark: u8) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_meant = byte == mark && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_meant
    })
}

/// The texts in quotation marks, without these; a backslash takes the meaning from the mark behind it.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let inner = rest.get(rest.find('"')? + 1..)?;
        let end = unescaped_at(inner, b'"')?;
        rest = inner.get(end + 1..)?;
        inner.get(..end)
    })
}

/// What a line says, with a blank for each tab (rsyslog writes `#011` for one): an address behind a tab that is escaped would
/// not stand at a word's beginning any more.
fn blanks(line: &str) -> Cow<'_, str> {
    if !line.contains('\t') && !line.contains("#011") {
        return Cow::Borrowed(line);
    }
    Cow::Owned(line.replace('\t', " ").replace("#011", " "))
}

/// The value of `key=` where that stands once: a key that others could write again says nothing.
fn once<'a>(line: &'a str, key: &str) -> &'a str {
    let mark = format!(" {key}=");
    let mut found = line.match_indices(&mark).map(|(at, mark)| at + mark.len());
    let (Some(at), None) = (found.next(), found.next()) else { return "" };
    let value = line.get(at..).unwrap_or_default();
    value.split([' ', '"']).next().unwrap_or_default()
}

/// An account as Windows' events name it, so that it is the same there and here.
fn without_domain(name: &str) -> &str {
    name.rsplit_once('\\').map_or(name, |(_, bare)| bare)
}

/// Snort 3 puts messages in quotation marks.
fn unquoted(message: &str) -> &str {
    let message = message.trim();
    message.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_is_unset_and_levels_keep_their_order() {
        assert_eq!(
            ["0", "1", "3", "9", "x", ""].map(priority),
            [None, Some(1), Some(3), Some(4), None, None]
        );
        assert_eq!([0, 1, 4, 7, 10].map(of_ten), [None, Some(3), Some(2), Some(1), Some(1)]);
    }

    #[test]
    fn a_tab_is_a_blank_in_whatever_a_program_says() {
        for (program, line) in [
            ("sshd", "Failed password for root from 203.0.113.9 port 5 ssh2"),
            ("sudo", "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ping 203.0.113.9"),
            ("login", "FAILED LOGIN on pts/0 from 203.0.113.9 for root"),
            ("kernel", "refused: 203.0.113.9 again"),
            ("shop", "came from 203.0.113.9 again"),
            ("nginx", "2026/06/03 12:59:31 [error] 12#12: *1 x, client: 203.0.113.9, server: y"),
        ] {
            let envelope = Envelope { program, host: "web01", time: None };
            let read = |line: &str| {
                let format = LINES.iter().find(|format| (format.recognises)(line, &envelope)).unwrap();
                Record { raw: String::new(), ..(format.read)(line, &envelope).unwrap() }
            };
            for mark in ["\t", "#011"] {
                let tabbed = line.replacen(" 203.0.113.9", &format!("{mark}203.0.113.9"), 1);
                assert_eq!(read(&tabbed), read(line), "{tabbed}");
            }
        }
    }

    #[test]
    fn sensors_say_what_they_did() {
        for word in ["Drop", "[drop]", "blocked", "Denied", "reject"] {
            assert_eq!(verdict(word), Some(SensorVerdict::Blocked), "{word}");
        }
        for word in ["Allow", "allow", "[wDrop]", "would_drop", "permit"] {
            assert_eq!(verdict(word), Some(SensorVerdict::Allowed), "{word}");
        }
        assert_eq!(verdict("alert"), None);
    }
}
