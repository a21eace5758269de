//! Snort's alerts on one line, as Snort 2 and 3 and Suricata's `fast.log` write them:
//!
//! `06/03-12:59:31.342000 [**] [1:2006546:3] message [**] [Classification: x] [Priority: 2] {TCP} a:1 -> b:2`
//!
//! and the same through syslog, without the asterisks.

use super::{
    Parsed, PartialAlert, clean_classification, clean_message, clean_protocol, endpoints, signature,
};
use crate::{Alert, Timestamp};

/// Reads a line with `[**]` in it: a whole alert, or the first line of one in full form.
pub(super) fn parse_marked(line: &str) -> Option<Parsed> {
    let (before, rest) = line.split_once("[**]")?;
    let time = Timestamp::parse_prefix(before).map(|(time, _)| time);
    let rest = rest.trim_start();
    let (signature, rest) = match signature(rest) {
        Some((signature, rest)) => (Some(signature), rest),
        None => (None, rest),
    };
    // The last mark, since a message may hold one.
    let (message, tail) = rest.rsplit_once("[**]")?;
    let mut alert =
        Alert { time, signature, message: clean_message(unquote(message.trim())), ..Alert::default() };
    if tail.trim().is_empty() {
        return signature.map(|_| Parsed::Partial(PartialAlert::new(alert)));
    }
    parse_tail(tail, &mut alert);
    let recognised = signature.is_some() || alert.source.is_some() || !alert.classification.is_empty();
    recognised.then_some(Parsed::Alert(alert))
}

/// Reads `… [1:2006546:3] message [Classification: x] [Priority: 2]: {TCP} a:1 -> b:2`.
pub(super) fn parse_syslog(line: &str) -> Option<Alert> {
    let time = Timestamp::parse_prefix(line).map(|(time, _)| time);
    let (signature, rest) = line.match_indices('[').find_map(|(start, _)| signature(line.get(start..)?))?;
    let end = rest.rfind("[Classification:").or_else(|| rest.rfind("[Priority:"))?;
    let (message, tail) = rest.split_at_checked(end)?;
    let mut alert =
        Alert { time, signature: Some(signature), message: clean_message(message), ..Alert::default() };
    parse_tail(tail, &mut alert);
    Some(alert)
}

/// Reads what stands behind the message: bracketed fields, the protocol in braces, and both ends.
pub(super) fn parse_tail(tail: &str, alert: &mut Alert) {
    let mut rest = tail.trim_start_matches([' ', '\t', ':']);
    loop {
        let (open, close) = match rest.chars().next() {
            // A bracketed IPv6 address is an end, not a field.
            Some('[') if !rest.contains("->") || is_field(rest) => ('[', ']'),
            Some('{') => ('{', '}'),
            Some('<') => ('<', '>'),
            _ => break,
        };
        let Some((inner, behind)) = rest.get(1..).and_then(|rest| rest.split_once(close)) else { break };
        match open {
            '[' => field(inner, alert),
            '{' => alert.protocol = clean_protocol(inner),
            _ => {}
        }
        rest = behind.trim_start_matches([' ', '\t', ':']);
    }
    if let Some((source, destination, _)) = endpoints(rest, &alert.protocol) {
        (alert.source, alert.destination) = (source, destination);
    }
}

/// Whether the brackets at the beginning hold a name and a value.
fn is_field(text: &str) -> bool {
    text.get(1..).is_some_and(|text| {
        let name = text.bytes().take_while(|byte| byte.is_ascii_alphabetic() || *byte == b' ').count();
        // Of the digits of an address only the letters a to f could pass for a name, and no field is that short.
        name >= 5 && text.as_bytes().get(name) == Some(&b':')
    })
}

pub(super) fn field(inner: &str, alert: &mut Alert) {
    let Some((name, value)) = inner.split_once(':') else { return };
    match name.trim() {
        "Classification" => alert.classification = clean_classification(value),
        "Priority" => alert.priority = value.trim().parse().ok(),
        _ => {}
    }
}

/// Snort 3 puts messages in quotation marks.
fn unquote(message: &str) -> &str {
    message.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fast(line: &str) -> Alert {
        match parse_marked(line) {
            Some(Parsed::Alert(alert)) => alert,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fast_alert_is_read() {
        let alert = fast(
            "02/06-10:15:22.341201 [**] [1:2006546:3] ET SCAN SSH Brute Force Login Attempt [**] \
             [Classification: Attempted Information Leak] [Priority: 2] {TCP} 192.168.1.50:44321 -> 10.0.3.3:22",
        );
        assert_eq!(alert.time.unwrap().to_string(), "02-06T10:15:22.341201");
        assert_eq!(alert.signature.unwrap().to_string(), "1:2006546:3");
        assert_eq!(alert.message, "ET SCAN SSH Brute Force Login Attempt");
        assert_eq!(alert.classification, "Attempted Information Leak");
        assert_eq!((alert.priority, alert.protocol.as_str()), (Some(2), "TCP"));
        assert_eq!(alert.source.unwrap().to_string(), "192.168.1.50:44321");
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.3.3:22");
    }

    #[test]
    fn variants_of_the_fast_form_are_read() {
        let suricata = fast(
            "06/03/2026-12:59:31.342001  [Drop] [**] [1:1:1] m [**] [Classification: (null)] [Priority: 3] \
             {IPv6-ICMP} fe80::1:135 -> ff02::1:0",
        );
        assert_eq!(suricata.classification, "");
        assert_eq!(suricata.source.unwrap().address, "fe80::1:135");
        let snort3 = fast(
            "06/03-12:59:31.3 [**] [1:1:1] \"a [**] b\" [**] [Priority: 0] [AppID: SSH] {TCP} a:1 -> b:2",
        );
        assert_eq!(snort3.message, "a [**] b");
        assert_eq!(snort3.destination.unwrap().to_string(), "b:2");
        let bare = fast("[**] [1:1:1] only a message [**] {TCP} [2001:db8::1]:5 -> [2001:db8::2]:6");
        assert_eq!((bare.time, bare.priority), (None, None));
        assert_eq!(bare.source.unwrap().to_string(), "[2001:db8::1]:5");
    }

    #[test]
    fn an_alert_through_syslog_is_read() {
        let alert = parse_syslog(
            "Jun  3 12:59:31 gw snort[842]: [1:1000001:2] ICMP traffic [Classification: Misc activity] \
             [Priority: 3]: <eth0> {ICMP} 10.0.1.11 -> 10.0.2.11",
        )
        .unwrap();
        assert_eq!(alert.message, "ICMP traffic");
        assert_eq!(alert.priority, Some(3));
        assert_eq!(alert.destination.unwrap().address, "10.0.2.11");
    }
}
