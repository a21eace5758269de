//! The forms in which sources write records: a registry of formats, and what they share.
//!
//! Each format is linear in its item and takes what it recognises; an item that none takes is an unknown line.

use std::borrow::Cow;

pub(crate) mod format;
pub(crate) mod json;
mod render;
pub(crate) mod text;

pub use format::Format;
pub(crate) use format::{Envelope, Layout, LayoutFormat, LineFormat, Object, ObjectFormat, Offered};
pub(crate) use json::{event, is_notable, meant_as, time_of};
pub use render::AlertFormat;
pub(crate) use text::{MERAKI, is_clear_pass, is_net_scaler};

use crate::text::{printable, shorten};
use crate::{Endpoint, Record, RecordKind, Signature, Timestamp};

/// Longest message of a record, in bytes. With the limits of [`crate::AlertLog::read`] it bounds the memory of a log.
pub(crate) const MAX_TEXT: usize = 512;
const MAX_DETAIL: usize = 200;
const MAX_CLASSIFICATION: usize = 128;
const MAX_ADDRESS: usize = 128;
const MAX_PROTOCOL: usize = 16;
/// How far into a line the time of an access log may stand.
const ACCESS_LOG_PREFIX: usize = 160;

/// Every format whose records are JSON objects. Where several recognise an object, the first is meant.
pub(crate) fn objects() -> &'static [ObjectFormat] {
    static OBJECTS: [ObjectFormat; json::OBJECT_FORMATS.len()] = json::OBJECT_FORMATS;
    &OBJECTS
}

/// Every format whose records are lines; likewise.
pub(crate) fn lines() -> &'static [LineFormat] {
    static LINES: [LineFormat; text::LINES.len()] = text::LINES;
    &LINES
}

/// Every format with memory; likewise.
pub(crate) fn layouts() -> &'static [LayoutFormat] {
    static LAYOUTS: [LayoutFormat; text::LAYOUTS.len()] = text::LAYOUTS;
    &LAYOUTS
}

/// The record of what a program said, where the form of its lines is known: for sources that carry the parts of a line apart.
pub(crate) fn said_by(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let format = lines().iter().find(|format| (format.recognises)(line, envelope))?;
    (format.read)(line, envelope).filter(|record| record.kind != RecordKind::Unknown)
}

/// What a line in no known form says, and when, if it says when.
pub(crate) fn plain(line: &str) -> (Option<Timestamp>, Cow<'_, str>) {
    if let Some((time, rest)) = Timestamp::parse_prefix(line).or_else(|| other_time(line)) {
        return (Some(time), rest.into());
    }
    if let Some(start) = line.bytes().take(ACCESS_LOG_PREFIX).position(|byte| byte == b'[')
        && let (Some(before), Some(behind)) = (line.get(..start), line.get(start + 1..))
        && let Some((time, rest)) = Timestamp::parse_access_log(behind)
    {
        let rest = rest.trim_start().trim_start_matches(']').trim_start();
        return (Some(time), format!("{} {rest}", before.trim_end()).into());
    }
    (None, line.into())
}

/// A time in front in forms that services have of their own: in brackets or quotation marks, with slashes
/// (`2026/06/03 12:59:31.342`), or in seconds or milliseconds since 1970.
fn other_time(line: &str) -> Option<(Timestamp, &str)> {
    let line = line.trim_start();
    for (begin, end) in [('[', ']'), ('"', '"')] {
        if let Some((time, rest)) = line.strip_prefix(begin).and_then(|rest| rest.split_once(end)) {
            let time = Timestamp::parse(time.trim()).or_else(|| Timestamp::parse_slashed(time.trim()))?;
            return Some((time, rest.trim_start_matches([',', ' '])));
        }
    }
    let end = line.find(' ')?;
    let (first, rest) = (line.get(..end)?, line.get(end + 1..)?);
    if first.contains('/') {
        let end = rest.find(' ')?;
        let time = Timestamp::parse_slashed(line.get(..first.len() + 1 + end)?)?;
        return Some((time, rest.get(end + 1..)?));
    }
    let number = first.trim_end_matches([':', ',']);
    let is_count = matches!(number.split('.').next().unwrap_or_default().len(), 10 | 13)
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let time = is_count.then(|| time_of(&serde_json::Value::String(number.to_owned())))??;
    Some((time, rest))
}

/// Text from the log as records hold it: escaped, without spaces around it, and of bounded length.
pub(crate) fn clean(text: &str, most: usize) -> String {
    shorten(&printable(text.trim()), most).into_owned()
}

pub(crate) fn clean_message(text: &str) -> String {
    clean(text, MAX_TEXT)
}

/// A class, or nothing for the words that loggers write when there is none.
fn clean_classification(text: &str) -> String {
    match text.trim() {
        "None" | "null" | "(null)" | "-" => String::new(),
        other => clean(other, MAX_CLASSIFICATION),
    }
}

fn clean_protocol(text: &str) -> String {
    clean(&text.to_ascii_uppercase(), MAX_PROTOCOL)
}

fn has_ports(protocol: &str) -> bool {
    matches!(protocol, "TCP" | "UDP" | "SCTP" | "UDPLITE")
}

/// `gid:sid:rev` in brackets at the beginning of a text, and what stands behind it.
fn signature(text: &str) -> Option<(Signature, &str)> {
    let inner = text.strip_prefix('[')?;
    // Three numbers of at most ten digits.
    let end = inner.bytes().take(33).position(|byte| byte == b']')?;
    let mut parts = inner.get(..end)?.split(':').map(|part| part.parse::<u32>().ok());
    let signature = Signature { gid: parts.next()??, sid: parts.next()??, rev: parts.next()?? };
    parts.next().is_none().then_some((signature, inner.get(end + 1..)?))
}

/// An endpoint: `10.0.2.11:22`, `10.0.2.11`, `[2001:db8::1]:22`, Snort's `2001:db8::1:22`, or a name.
///
/// Snort writes the port of an IPv6 address behind a plain colon. With a protocol that has ports the last number is
/// the port whenever an address remains without it. Suricata writes type and code of ICMP as ports; they are left out.
fn endpoint(text: &str, protocol: &str) -> Option<Endpoint> {
    let text = text.trim();
    if text.is_empty() || text == "-" || text == "?" || text.contains(char::is_whitespace) {
        return None;
    }
    let make = |address: &str, port| Endpoint::new(&clean(address, MAX_ADDRESS), port);
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return Some(make(address, rest.strip_prefix(':').and_then(port)));
    }
    let whole = text.contains(':') && text.parse::<std::net::Ipv6Addr>().is_ok();
    let Some((address, number)) = text.rsplit_once(':') else { return Some(make(text, None)) };
    let split =
        !address.is_empty() && (!address.contains(':') || address.parse::<std::net::Ipv6Addr>().is_ok());
    match port(number).filter(|_| split) {
        Some(_) if whole && !has_ports(protocol) => Some(make(text, None)),
        Some(_) if protocol.contains("ICMP") => Some(make(address, None)),
        Some(port) => Some(make(address, Some(port))),
        None => Some(make(text, None)),
    }
}

fn port(text: &str) -> Option<u16> {
    let decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| decimal)
}

/// Both ends of `a -> b`, and what stands behind the second.
fn endpoints<'a>(text: &'a str, protocol: &str) -> Option<(Option<Endpoint>, Option<Endpoint>, &'a str)> {
    let (source, rest) = text.split_once("->")?;
    let rest = rest.trim_start();
    let (destination, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    Some((endpoint(source, protocol), endpoint(destination, protocol), rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, protocol: &str) -> String {
        let endpoint = endpoint(text, protocol).unwrap();
        format!("{} {:?}", endpoint.address, endpoint.port)
    }

    #[test]
    fn endpoints_of_every_kind_are_read() {
        assert_eq!(shown("10.0.2.11:22", "TCP"), "10.0.2.11 Some(22)");
        assert_eq!(shown("10.0.2.11", "ICMP"), "10.0.2.11 None");
        assert_eq!(shown("10.0.2.11:8", "ICMP"), "10.0.2.11 None");
        assert_eq!(shown("[2001:DB8::1]:443", "TCP"), "2001:db8::1 Some(443)");
        assert_eq!(shown("2001:0db8:0000:0000:0000:0000:0000:0001:443", "TCP"), "2001:db8::1 Some(443)");
        assert_eq!(shown("2001:db8::1:443", "TCP"), "2001:db8::1 Some(443)");
        assert_eq!(shown("2001:db8::1", "TCP"), "2001:db8::1 None");
        assert_eq!(shown("fe80::1:2", "IPV6-ICMP"), "fe80::1:2 None");
        assert_eq!(shown("server_ssh:22", "TCP"), "server_ssh Some(22)");
        assert_eq!(shown("10.0.2.11:99999", "TCP"), "10.0.2.11:99999 None");
        assert_eq!(endpoint("-", "TCP"), None);
        assert_eq!(endpoint("", "TCP"), None);
    }

    #[test]
    fn a_signature_has_three_numbers() {
        assert_eq!(signature("[1:2006546:3] x").unwrap().0.to_string(), "1:2006546:3");
        for text in ["[1:2]", "[1:2:3:4]", "[a:b:c]", "1:2:3", "[1:2:3", "[99999999999:1:1]", ""] {
            assert_eq!(signature(text), None, "{text}");
        }
    }

    #[test]
    fn the_time_is_taken_out_of_a_plain_line() {
        let (time, text) = plain("2026-06-03 12:59:31 something");
        assert_eq!((time.unwrap().clock().as_str(), text.trim()), ("12:59:31", "something"));
        let (time, text) = plain("203.0.113.9 - - [03/Jun/2026:12:59:31 +0000] \"GET /x HTTP/1.1\" 200 12");
        assert_eq!(text, "203.0.113.9 - - \"GET /x HTTP/1.1\" 200 12");
        assert_eq!(time.unwrap().date(), "2026-06-03");
        assert_eq!(plain("no time [here]"), (None, "no time [here]".into()));
    }

    #[test]
    fn every_format_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> =
            Format::ALL.iter().map(|format| format.name()).collect();
        assert_eq!(names.len(), Format::ALL.len());
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
        }
    }
}
