//! QRadar's Log Event Extended Format, `LEEF:1.0|vendor|product|version|event|key=value<TAB>key=value`; version 2 may name
//! the character between the pairs in a sixth field, by itself or by its number.
//!
//! What is alert, log and telemetry is decided as for CEF. What Check Point sends so is read as its own form is.

use super::super::format::{Envelope, LineFormat};
use super::super::{
    Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, json, port,
};
use super::cef::{extension_pairs, kind};
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, check_point, end, of_ten, program, unescaped_at, verdict,
};
use crate::Timestamp;
use crate::record::Record;

pub(super) const FORMAT: LineFormat =
    LineFormat { format: Format::Leef, recognises: |line, envelope| header(line, envelope).is_some(), read };

/// Words in the names of programs that send nothing else: products, and the exporters of their consoles.
const SENDERS: [&str; 16] = [
    "leef",
    "checkpoint",
    "cyberark",
    "darktrace",
    "fenotify",
    "fireeye",
    "forcepoint",
    "guard",
    "imperva",
    "kaspersky",
    "netskope",
    "proofpoint",
    "trellix",
    "trendmicro",
    "vectra",
    "zscaler",
];
/// Most pairs of a line.
const MAX_PAIRS: usize = 256;

/// Vendor, product and event, the character between the pairs, and the pairs.
struct Header<'a> {
    vendor: &'a str,
    product: &'a str,
    event: &'a str,
    between: char,
    pairs: &'a str,
}

/// Behind syslog's header `LEEF` may have been taken for the program.
fn header<'a>(line: &'a str, envelope: &Envelope<'_>) -> Option<Header<'a>> {
    let line = line.trim_start();
    let mut rest = match line.strip_prefix("LEEF:") {
        Some(rest) if sends(program(envelope)) => rest.trim_start(),
        None if envelope.program == "LEEF" => line,
        // A program may have been told by others what to log.
        _ => return None,
    };
    let mut fields = [""; 5];
    for field in &mut fields {
        let end = unescaped_at(rest, b'|')?;
        (*field, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
    }
    let [version, vendor, product, _, event] = fields;
    let (between, pairs) = match version {
        "0" | "1" | "1.0" => ('\t', rest),
        // The sixth field may be left out.
        "2" | "2.0" => rest
            .split_once('|')
            .and_then(|(between, pairs)| Some((separator(between)?, pairs)))
            .unwrap_or(('\t', rest)),
        _ => return None,
    };
    Some(Header { vendor, product, event, between, pairs })
}

/// Whether the line stands alone, or its program is a sender.
fn sends(program: &str) -> bool {
    program.is_empty()
        || program
            .split(|c: char| !c.is_ascii_alphabetic())
            .any(|word| SENDERS.iter().any(|sender| sender.eq_ignore_ascii_case(word)))
}

/// A character, or its number as `x09`, `0x09` or `\\t`; nothing is a tab. Anything else is a pair.
fn separator(text: &str) -> Option<char> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (None, _) => return Some('\t'),
        (Some(only), None) => return Some(only),
        _ if text == "\\t" => return Some('\t'),
        _ => {}
    }
    let number = text.strip_prefix("0x").or_else(|| text.strip_prefix(['x', 'X']))?;
    let is_number = (1..=4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(number, 16).ok().filter(|_| is_number).and_then(char::from_u32)
}

/// The pairs of a line. Relays write `#011` for a tab, or a blank; then a value ends before the next key, as in CEF.
fn pairs<'a>(text: &'a str, between: char) -> Vec<(&'a str, String)> {
    let pair = |part: &'a str| {
        let (key, value) = part.trim().split_once('=')?;
        Some((key, value.trim().to_owned()))
    };
    if between == '\t' && !text.contains('\t') {
        return match text.contains("#011") {
            true => text.split("#011").take(MAX_PAIRS).filter_map(pair).collect(),
            false => extension_pairs(text),
        };
    }
    text.split(between).take(MAX_PAIRS).filter_map(pair).collect()
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let Header { vendor, product, event, between, pairs: text } = header(line, envelope)?;
    let pairs = pairs(text, between);
    let first = |keys: &[&str]| {
        let value = |key: &&str| pairs.iter().find(|(name, value)| name == key && !value.is_empty());
        keys.iter().find_map(value).map_or("", |(_, value)| value.as_str())
    };
    let mut record = if vendor == "Check Point" {
        check_point::of_pairs(product, event, &pairs, envelope)
    } else {
        let priority = of_word(first(&["sev", "severity"]));
        let class = first(&["cat"]);
        let mut record = begun(kind(priority, [event, "", class]), Format::Leef, envelope);
        record.sensor = clean(format!("{vendor} {product}").trim(), MAX_NAME);
        record.rule = clean(event, MAX_NAME);
        record.message = clean_message(title(&first, event));
        record.detail = clean(first(&["url", "resource", "reason"]), MAX_DETAIL);
        record.priority = priority;
        record.classification = clean_classification(class);
        record.protocol = clean_protocol(first(&["proto"]));
        // What only knows the identity names no other source.
        record.source = end(first(&["src", "identSrc"]), port(first(&["srcPort"])));
        record.destination = end(first(&["dst"]), port(first(&["dstPort"])));
        record.account = clean(first(&["usrName", "accountName"]), MAX_NAME);
        record.process = clean(first(&["cmdLine", "process", "processName"]), MAX_COMMAND);
        record.file = clean(first(&["fileName", "filePath"]), MAX_COMMAND);
        record.verdict = verdict(first(&["action", "act"]));
        record
    };
    record.format = Format::Leef;
    record.time = time(first(&["devTime"])).or(record.time);
    let host = first(&["identHostName", "devName"]);
    if !host.is_empty() {
        record.host = clean(host, MAX_NAME);
    }
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

/// What the device says of the event; where it only numbers it, the event's class.
fn title<'a>(first: &impl Fn(&[&str]) -> &'a str, event: &'a str) -> &'a str {
    let said = first(&["msg", "eventName", "name", "desc", "description", "policy"]);
    let is_number = event.bytes().all(|byte| byte.is_ascii_digit());
    let class = first(&["cat"]);
    match () {
        () if !said.is_empty() => said,
        () if is_number && !class.is_empty() => class,
        () => event,
    }
}

/// A severity from 1 to 10, or a word.
fn of_word(text: &str) -> Option<u8> {
    text.parse().map_or_else(|_| json::severity(text), of_ten)
}

/// Milliseconds or seconds since 1970, or `Jun 03 2026 12:59:31`.
fn time(text: &str) -> Option<Timestamp> {
    match text.split_at_checked(10) {
        Some((seconds, millis)) if millis.len() == 3 => {
            Timestamp::parse_epoch(&format!("{seconds}.{millis}"))
        }
        _ => Timestamp::parse_epoch(text).or_else(|| Timestamp::parse_prefix(text).map(|(time, _)| time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;

    #[test]
    fn both_versions_are_read() {
        for line in [
            "LEEF:1.0|Example|IPS|1.0|9900030|src=203.0.113.9\tsrcPort=51234\tdst=10.0.2.11\tdstPort=22\tproto=TCP\tsev=8\t\
             cat=bruteforce\tusrName=root x=1\tmsg=SSH guessing\tdevTime=Jun 03 2026 12:59:31",
            "LEEF:2.0|Example|IPS|1.0|9900030|^|src=203.0.113.9^srcPort=51234^dst=10.0.2.11^dstPort=22^proto=TCP^sev=8^\
             cat=bruteforce^usrName=root x=1^msg=SSH guessing^devTime=1780491571000",
            "LEEF:2.0|Example|IPS|1.0|9900030|0x09|src=203.0.113.9\tsrcPort=51234\tdst=10.0.2.11\tdstPort=22\tproto=TCP\t\
             sev=8\tcat=bruteforce\tusrName=root x=1\tmsg=SSH guessing\tdevTime=1780491571",
        ] {
            let record = read(line, &Envelope::default()).unwrap();
            assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
            assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
            assert_eq!(record.destination.unwrap().to_string(), "10.0.2.11:22");
            assert_eq!((record.account.as_str(), record.message.as_str()), ("root x=1", "SSH guessing"));
            assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        }
    }

    #[test]
    fn what_stands_between_the_pairs_may_be_left_out_numbered_or_lost() {
        for (field, between) in [
            ("", "\t"),
            ("|", "\t"),
            ("^|", "^"),
            ("x7C|", "|"),
            ("0x5e|", "^"),
            ("\\t|", "\t"),
            ("", "#011"),
            ("", " "),
        ] {
            let line =
                ["xff=10.0.0.9", "src=203.0.113.9", "usrName=bob", "sev=High", "cat=scan"].join(between);
            let record =
                read(&format!("LEEF:2.0|Example|IPS \\| gate|1.0|77|{field}{line}"), &Envelope::default())
                    .unwrap();
            assert_eq!(record.source.unwrap().to_string(), "203.0.113.9", "{field} {between}");
            assert_eq!((record.account.as_str(), record.priority), ("bob", Some(1)), "{field} {between}");
            assert_eq!((record.message.as_str(), record.rule.as_str()), ("scan", "77"), "{field} {between}");
        }
    }

    #[test]
    fn check_points_products_are_read_as_its_own_form_is() {
        let envelope = Envelope { program: "CheckPoint", host: "fw01", ..Envelope::default() };
        let ends =
            "srcPort=51234\tsrc=203.0.113.9\tdst=10.0.2.11\tproto=tcp\tdstPort=443\tdevTime=1780491571";
        let parse = |head: &str, more: &str| {
            read(&format!("LEEF:2.0|Check Point|{head}|{ends}\t{more}"), &envelope).unwrap()
        };
        let dropped = parse("VPN-1 & FireWall-1|1.0|Drop", "cat=FireWall\taction=Drop\trule_name=Last");
        assert_eq!((dropped.kind, dropped.format), (RecordKind::Log, Format::Leef));
        assert_eq!(dropped.message, "Drop TCP 203.0.113.9 -> 10.0.2.11:443");
        assert_eq!(dropped.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let attack = parse(
            "SmartDefense|1.0|Detect",
            "attack=Enforcement Violation\tprotection_name=Invented Overflow\tseverity=2\taction=Detect",
        );
        assert_eq!((attack.kind, attack.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(
            (attack.message.as_str(), attack.classification.as_str()),
            ("Invented Overflow", "Enforcement Violation")
        );
        let login =
            parse("Identity Awareness|1.0|Log In", "usrName=Bob Example (bob)\tauth_status=Successful Login");
        assert_eq!((login.kind, login.account.as_str()), (RecordKind::Log, "bob"));
        assert_eq!(login.message, "Identity Awareness Log In Successful Login");
    }

    #[test]
    fn the_header_stands_at_the_beginning() {
        for line in ["x LEEF:1.0|a|b|c|d|", "LEEF:3.0|a|b|c|d|", "LEEF:1.0|a|b"] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
        for (program, is_sender) in
            [("CheckPoint", true), ("zscaler-nss", true), ("shop", false), ("vanguard", false)]
        {
            let envelope = Envelope { program, ..Envelope::default() };
            assert_eq!((FORMAT.recognises)("LEEF:2.0|a|b|c|d|x=1", &envelope), is_sender, "{program}");
        }
        let quiet = read("LEEF:1.0|a|b|c|login|src=10.0.0.1", &Envelope::default()).unwrap();
        assert_eq!((quiet.kind, quiet.priority, quiet.message.as_str()), (RecordKind::Log, None, "login"));
        let identity =
            read("LEEF:1.0|a|b|c|login|identSrc=10.0.0.1\tusrName=bob", &Envelope::default()).unwrap();
        assert_eq!(
            (identity.source.unwrap().address.as_str(), identity.account.as_str()),
            ("10.0.0.1", "bob")
        );
    }
}
