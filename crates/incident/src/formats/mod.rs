//! The forms in which logs write alerts, and how each line is told apart.
//!
//! Each parser is linear in its line and takes what it recognises; a line that no parser takes is plain evidence.

mod bracketed;
mod eve;
pub(crate) mod format;
// The reader takes them over, as those of `text`.
#[allow(dead_code)]
pub(crate) mod json;
mod render;
mod snort;
mod snort_full;
mod syslog;
// The reader takes them over from the modules above, which it replaces.
#[allow(dead_code)]
pub(crate) mod text;

pub use format::Format;
pub use render::AlertFormat;
pub(crate) use render::condensed;
pub(crate) use snort_full::{Continuation, PartialAlert};

use crate::text::{printable, shorten};
use crate::{Alert, Endpoint, LogLine, Signature};

/// Longest message of an alert and longest text of a line, in bytes. With the limits of [`crate::AlertLog::read`] it
/// bounds the memory of a log.
pub(crate) const MAX_TEXT: usize = 512;
const MAX_DETAIL: usize = 200;
const MAX_CLASSIFICATION: usize = 128;
const MAX_ADDRESS: usize = 128;
const MAX_PROTOCOL: usize = 16;
/// No line may claim to stand for more records than this, so that counts can be added without overflow.
const MAX_COUNT: u64 = 1_000_000_000_000;

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole alert.
    Alert(Alert),
    /// The first line of an alert in Snort's full form.
    Partial(PartialAlert),
    /// An event of an IDS that is no alert, summarised.
    Event(LogLine),
    /// A line in no form that is known here.
    Line(LogLine),
    /// A line that carries the marks of an alert and cannot be read as one.
    Broken(LogLine),
}

/// Reads one line that is not empty, and says in which format.
pub(crate) fn parse_line(line: &str) -> (Parsed, Format) {
    if let Some(parsed) = eve::parse(line) {
        let format = if matches!(parsed, Parsed::Line(_)) { Format::Unknown } else { Format::Eve };
        return (parsed, format);
    }
    let (marked, format) = if line.contains("[**]") {
        (snort::parse_marked(line), Format::SnortFast)
    } else if line.contains("[pri=") {
        (bracketed::parse(line).map(Parsed::Alert), Format::Bracketed)
    } else if line.contains("[Classification:") || line.contains("[Priority:") {
        (snort::parse_syslog(line).map(Parsed::Alert), Format::SnortFast)
    } else {
        return (Parsed::Line(syslog::parse(line)), Format::Unknown);
    };
    let format = if matches!(marked, Some(Parsed::Partial(_))) { Format::SnortFull } else { format };
    match marked {
        Some(parsed) => (parsed, format),
        None => (Parsed::Broken(syslog::parse(line)), Format::Unknown),
    }
}

/// Text from the log as records hold it: escaped, without spaces around it, and of bounded length.
fn clean(text: &str, most: usize) -> String {
    shorten(&printable(text.trim()), most).into_owned()
}

fn clean_message(text: &str) -> String {
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
    fn lines_are_told_apart() {
        assert!(matches!(
            parse_line("Jun  3 12:59:31 web sshd[1]: Failed password for root").0,
            Parsed::Line(_)
        ));
        assert!(matches!(parse_line("[**] nothing more").0, Parsed::Broken(_)));
        assert!(matches!(parse_line("[**] [1:2:3] a message [**]").0, Parsed::Partial(_)));
        assert!(matches!(parse_line("x [pri=high cls").0, Parsed::Broken(_)));
        assert!(matches!(parse_line("{\"event_type\":\"dns\"}").0, Parsed::Event(_)));
        assert!(matches!(parse_line("{\"level\":\"info\"}").0, Parsed::Line(_)));
    }
}
