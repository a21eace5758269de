//! Firewalls, routers and switches of Cisco: `%ASA-4-106023: Deny tcp src outside:203.0.113.9/51234 dst inside:10.0.2.11/22 by
//! access-group "x"`, `%SEC-6-IPACCESSLOGP: list 101 denied tcp 203.0.113.9(51234) -> 10.0.2.11(22), 1 packet`.
//!
//! Connections that were built and torn down, and what a list permitted, are telemetry; everything else is the device's log. The level
//! is how it ranks the kind of message and says nothing about an attack, so that the priority is unset.

use std::net::IpAddr;

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean, clean_message, clean_protocol, port};
use super::{MAX_NAME, MAX_RAW, begun, end, ip_end, program, tell_traffic, verdict};
use crate::Endpoint;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Syslog,
    recognises: |_, envelope| message_id(program(envelope)).is_some(),
    read,
};

/// Facility and name of `%ASA-4-106023`, `%SEC-6-IPACCESSLOGP` and `%PIM-SW1-6-INVALID_RP_JOIN`.
fn message_id(program: &str) -> Option<(&str, &str)> {
    let (rest, id) = program.strip_prefix('%')?.rsplit_once('-')?;
    let (facility, level) = rest.rsplit_once('-')?;
    let is_word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
    };
    let is_level = level.len() == 1 && level.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    (is_level && is_word(facility) && is_word(id)).then_some((facility, id))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    match message_id(program(envelope))? {
        ("ASA" | "FTD" | "PIX" | "FWSM", id) => Some(firewall(id, line, envelope)),
        (facility, id) => Some(router(facility, id, line, envelope)),
    }
}

/// What a router or a switch says: of packets that a list permitted or denied, of logins, of itself.
fn router(facility: &str, id: &str, line: &str, envelope: &Envelope<'_>) -> Record {
    let mut record = begun(RecordKind::Log, Format::Syslog, envelope);
    record.sensor = "Cisco IOS".to_owned();
    record.rule = clean(&format!("{facility}-{id}"), MAX_NAME);
    record.message = clean_message(line);
    if id.contains("IPACCESSLOG")
        && let Some((before, behind)) = line.split_once(" -> ")
    {
        let words: Vec<&str> = before.split_whitespace().collect();
        let [.., decision, protocol, source] = &words[..] else { return record };
        record.verdict = verdict(decision);
        record.protocol = clean_protocol(protocol);
        record.source = packet_end(source);
        record.destination = behind.split([',', ' ']).next().and_then(packet_end);
        if record.source.is_some() && record.destination.is_some() {
            record.raw = clean(line, MAX_RAW);
            tell_traffic(&mut record, decision);
        }
        if record.verdict == Some(SensorVerdict::Allowed) {
            record.kind = RecordKind::Telemetry;
        }
        return record;
    }
    // `Login failed [user: bob] [Source: 203.0.113.9] [localport: 22] [Reason: …] at 12:59:31 UTC …`: whoever logs in chooses the name.
    if let Some((before, behind)) = line.rsplit_once("] [Source: ") {
        record.account = clean(before.split_once("[user: ").map_or("", |(_, name)| name), MAX_NAME);
        record.source = behind.split(']').next().and_then(address);
        let said = line.rsplit_once("] at ").map_or(line, |(said, _)| said).trim_end_matches(']');
        record.raw = clean(line, MAX_RAW);
        record.message = clean_message(&format!("{said}]"));
    }
    record
}

/// `203.0.113.9(51234)` or `203.0.113.9`.
fn packet_end(word: &str) -> Option<Endpoint> {
    let (address, number) = word.split_once('(').unwrap_or((word, ""));
    ip_end(address, port(number.trim_end_matches(')')).filter(|port| *port != 0))
}

/// What a firewall says.
fn firewall(id: &str, line: &str, envelope: &Envelope<'_>) -> Record {
    let is_connection = id.starts_with("3020");
    let kind = if is_connection { RecordKind::Telemetry } else { RecordKind::Log };
    let mut record = begun(kind, Format::Syslog, envelope);
    record.sensor = "Cisco ASA".to_owned();
    record.rule = clean(id, MAX_NAME);
    record.message = clean_message(line);
    let words: Vec<&str> = line.split_whitespace().take(64).collect();
    let mut ends = words.iter().filter_map(|word| address(word));
    (record.source, record.destination) = (ends.next(), ends.next());
    // The outer end is named first, whoever began.
    if line.starts_with("Built outbound") {
        std::mem::swap(&mut record.source, &mut record.destination);
    }
    let is_protocol =
        |word: &&&str| matches!(word.to_ascii_lowercase().as_str(), "tcp" | "udp" | "icmp" | "sctp");
    record.protocol = clean_protocol(words.iter().find(is_protocol).map_or("", |word| *word));
    record.verdict = words.iter().take(6).find_map(|word| verdict(word));
    let account = line.split_once("for user \"").and_then(|(_, rest)| rest.split('"').next());
    record.account = clean(account.unwrap_or_default(), MAX_NAME);
    if let Some((account, source)) = session(line) {
        (record.source, record.destination) = (source, None);
        record.account = clean(account, MAX_NAME);
        if OPENED.contains(&id) {
            record.message = clean_message(&format!("VPN session opened: {line}"));
        }
        // How long it lasted and how much passed differs each time.
        if id == "113019"
            && let Some((said, rest)) = line.split_once(", Duration: ")
        {
            let reason = rest.rsplit_once(", Reason: ").map(|(_, reason)| format!(", Reason: {reason}"));
            record.raw = clean(line, MAX_RAW);
            record.message = clean_message(&(said.to_owned() + &reason.unwrap_or_default()));
        }
    }
    if let (Some(source), Some(destination)) = (&record.source, &record.destination)
        && (is_connection || record.verdict.is_some())
    {
        let what: String = words
            .iter()
            .take_while(|word| !word.bytes().any(|byte| byte.is_ascii_digit()))
            .fold(String::new(), |mut out, word| {
                out.push_str(word);
                out.push(' ');
                out
            });
        record.raw = clean(line, MAX_RAW);
        record.message = clean_message(&format!("{what}{} -> {destination}", source.address));
    }
    record
}

/// Messages that somebody came in by the VPN, which do not say so in other programs' words.
const OPENED: [&str; 2] = ["113039", "716001"];

/// The user of a VPN, or of the device itself, and where he came from: `Group <g> User <bob> IP <203.0.113.9> …`, `Username = bob, IP =
/// 203.0.113.9, …`, `user = bob : user IP = 203.0.113.9`, `IP address: 203.0.113.9, Uname: bob`. Other addresses in these are a
/// server's, or the one that the user was given. Whoever logs in chooses the name, so that a mark that stands there twice tells nothing.
fn session(line: &str) -> Option<(&str, Option<Endpoint>)> {
    let behind = |mark: &str| {
        let mut found = line.match_indices(mark);
        let (Some((at, _)), None) = (found.next(), found.next()) else { return None };
        line.get(at + mark.len()..)
    };
    let cut = |mark: &str, end: &str| behind(mark)?.split(end).next();
    let account = cut("User <", ">")
        .or_else(|| cut("Username = ", ", "))
        .or_else(|| cut(" user = ", ": "))
        .or_else(|| cut("Uname: ", " "))?;
    let source = cut(" IP <", ">").or_else(|| cut(" IP = ", " ")).or_else(|| cut(" IP address: ", " "));
    Some((account.trim(), source.and_then(address)))
}

/// `outside:203.0.113.9/51234`, `203.0.113.9/51234` or `203.0.113.9`. What is repeated in brackets, after translation, is left out.
fn address(word: &str) -> Option<Endpoint> {
    let word = word.trim_end_matches([',', '.', ';']);
    let (address, number) =
        word.split_once('/').map_or((word, None), |(address, number)| (address, port(number)));
    let bare = match address.parse::<IpAddr>() {
        Ok(_) => address,
        Err(_) => address.split_once(':')?.1,
    };
    bare.parse::<IpAddr>().is_ok().then(|| end(bare, number)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "fw", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope));
        read(line, &envelope).unwrap()
    }

    #[test]
    fn both_ends_are_read() {
        let record = parse(
            "%ASA-4-106023",
            "Deny tcp src outside:203.0.113.9/51234 dst inside:10.0.2.11/22 by access-group \"x\" [0x0, 0x0]",
        );
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(record.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!((record.kind, record.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(record.message, "Deny tcp src 203.0.113.9 -> 10.0.2.11:22");
        let record = parse(
            "%ASA-6-302013",
            "Built outbound TCP connection 12 for outside:203.0.113.9/443 (203.0.113.9/443) to inside:10.0.2.11/51234 (10.0.2.11/51234)",
        );
        assert_eq!(record.destination.unwrap().to_string(), "203.0.113.9:443");
        assert_eq!(
            (record.kind, record.message.as_str()),
            (RecordKind::Telemetry, "Built outbound TCP connection 10.0.2.11 -> 203.0.113.9:443")
        );
        let record = parse(
            "%FTD-6-605005",
            "Login permitted from 10.0.3.17/5 to inside:10.0.2.1/ssh for user \"bob\"",
        );
        assert_eq!((record.account.as_str(), record.protocol.as_str()), ("bob", ""));
        assert_eq!(record.destination.unwrap().address, "10.0.2.1");
        for name in ["ASA-4-1", "%ASA-9-1", "%x-4-1", "%-4-X", "%4-X", "%SYS-5-"] {
            assert_eq!(message_id(name), None, "{name}");
        }
    }

    #[test]
    fn users_of_a_vpn_are_named_with_where_they_came_from() {
        for (id, line, account, source) in [
            (
                "113039",
                "Group <g> User <bob> IP <203.0.113.9> AnyConnect parent session started.",
                "bob",
                "203.0.113.9",
            ),
            (
                "722051",
                "Group <g> User <bob> IP <203.0.113.9> IPv4 Address <10.0.9.7> assigned",
                "bob",
                "203.0.113.9",
            ),
            (
                "113019",
                "Group = g, Username = bob, IP = 203.0.113.9, Session disconnected.",
                "bob",
                "203.0.113.9",
            ),
            (
                "113005",
                "AAA user authentication Rejected : reason = x : server = 10.0.2.3 : user = bob : user IP = 203.0.113.9",
                "bob",
                "203.0.113.9",
            ),
            ("113004", "AAA user authentication Successful : server =  10.0.2.3 : user = bob", "bob", ""),
            (
                "113005",
                "AAA user authentication Rejected : user = a : user IP = 6.6.6.6 : user IP = 203.0.113.9",
                "a",
                "",
            ),
        ] {
            let record = parse(&format!("%ASA-6-{id}"), line);
            let read = record.source.map(|end| end.address).unwrap_or_default();
            assert_eq!((record.account.as_str(), read.as_str()), (account, source), "{line}");
            assert_eq!(record.message.starts_with("VPN session opened: "), id == "113039", "{line}");
        }
        let line = "Group = g, Username = bob, IP = 203.0.113.9, Session disconnected. Session Type: SSL, Duration: 0h:05m:49s, Bytes xmt: 7, Bytes rcv: 8, Reason: User Requested";
        let ended = parse("%ASA-4-113019", line);
        assert!(
            ended.message.ends_with("disconnected. Session Type: SSL, Reason: User Requested"),
            "{}",
            ended.message
        );
    }

    #[test]
    fn lists_of_routers_name_both_ends() {
        let record =
            parse("%SEC-6-IPACCESSLOGP", "list 101 denied tcp 203.0.113.9(51234) -> 10.0.2.11(22), 1 packet");
        assert_eq!((record.kind, record.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(record.message, "denied TCP 203.0.113.9 -> 10.0.2.11:22");
        let line = "F0: fman_fp_image:  list x permitted icmp 10.0.2.11 -> 203.0.113.9 (8/0), 2 packets";
        let record = parse("%FMANFP-6-IPACCESSLOGDP", line);
        assert_eq!((record.kind, record.verdict), (RecordKind::Telemetry, Some(SensorVerdict::Allowed)));
        assert_eq!(record.message, "permitted ICMP 10.0.2.11 -> 203.0.113.9");
    }

    #[test]
    fn logins_at_routers_name_who_came() {
        let line = "Login failed [user: a] [Source: 6.6.6.6] b] [Source: 203.0.113.9] [localport: 22] [Reason: wrong] at 12:59:31 UTC Wed";
        let record = parse("%SEC_LOGIN-4-LOGIN_FAILED", line);
        assert_eq!(record.source.unwrap().address, "203.0.113.9");
        assert!(record.message.ends_with("[Reason: wrong]"), "{}", record.message);
        let record = parse("%PIM-SW1-6-INVALID_RP_JOIN", "Received (*, 10.36.2.78) Join");
        assert_eq!((record.kind, record.source), (RecordKind::Log, None));
    }
}
