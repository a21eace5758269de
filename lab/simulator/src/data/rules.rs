//! Reads rules of an IDS.

use std::path::Path;

use countermove_incident::AlertClass;

use super::table::{malformed, read_text, records};
use super::{Class, DataError};

/// A rule of an IDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Identity.
    pub sid: u32,
    /// Revision.
    pub rev: u32,
    /// Class.
    pub class: &'static AlertClass,
    /// Priority of its alerts, from 1 (high).
    pub priority: u8,
    /// Protocol in capitals: `TCP`, `UDP`, `ICMP` or `IP`.
    pub protocol: String,
    /// First port that it watches at the destination; none if it watches several that have nothing to do with each
    /// other.
    pub port: Option<u16>,
    /// Category that its message begins with, such as `SCAN`.
    pub category: String,
    /// Message, category included.
    pub message: String,
}

/// Longest message of a rule, in bytes; parsers of alerts cut longer ones.
const MAX_MESSAGE: usize = 400;

pub(super) fn read(path: &Path, classes: &[Class]) -> Result<Vec<Rule>, DataError> {
    let text = read_text(path)?;
    records(path, &text, ["sid", "rev", "classtype", "severity", "proto", "dst_port", "msg"])?
        .into_iter()
        .map(|(line, [sid, rev, class, _, protocol, port, message])| {
            let bad = |field, reason: String| malformed(path, line, field, reason);
            let number = |field, text: &str| {
                text.parse::<u32>().map_err(|_| bad(field, format!("{text:?} is not a whole number")))
            };
            let priority = classes
                .iter()
                .find(|own| own.short_name == class)
                .map(|own| own.priority)
                .ok_or_else(|| bad("classtype", format!("{class:?} is not in classification.config")))?;
            let class = AlertClass::find(&class).ok_or_else(|| {
                bad("classtype", format!("{class:?} is no class that alerts are compared by"))
            })?;
            let protocol = protocol.to_ascii_uppercase();
            if !["TCP", "UDP", "ICMP", "IP"].contains(&protocol.as_str()) {
                return Err(bad("proto", format!("{protocol:?} is none of tcp, udp, icmp and ip")));
            }
            let message = countermove_incident::printable(message.trim()).into_owned();
            if message.is_empty() || message.len() > MAX_MESSAGE {
                return Err(bad("msg", format!("has {} bytes, not 1 to {MAX_MESSAGE}", message.len())));
            }
            Ok(Rule {
                sid: number("sid", &sid)?,
                rev: number("rev", &rev)?,
                class,
                priority,
                protocol,
                port: first_port(&port),
                category: category(&message),
                message,
            })
        })
        .collect()
}

/// The word behind the rule set's name: `SCAN` of `ET SCAN Nmap`.
pub(super) fn category(message: &str) -> String {
    let mut words = message.split_whitespace();
    let first = words.next().unwrap_or_default();
    words.next().unwrap_or(first).to_owned()
}

/// The port that stands first: 445 of `[445,139]`, 1024 of `1024:65535`, 80 of `$HTTP_PORTS`.
fn first_port(text: &str) -> Option<u16> {
    match text {
        "$HTTP_PORTS" | "[$HTTP_PORTS,443]" => return Some(80),
        "$SSH_PORTS" => return Some(22),
        text if text.starts_with('!') => return None,
        _ => {}
    }
    let text = text.trim_start_matches('[').trim_start_matches("$HTTP_PORTS,");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits)?.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_every_form_are_read() {
        for (text, port) in [
            ("any", None),
            ("22", Some(22)),
            ("[139,445]", Some(139)),
            ("1024:65535", Some(1024)),
            ("$HTTP_PORTS", Some(80)),
            ("$SSH_PORTS", Some(22)),
            ("!80", None),
            ("![80,443]", None),
            ("[!$HTTP_PORTS,1024:]", None),
            ("0:1023", None),
            ("", None),
        ] {
            assert_eq!(first_port(text), port, "{text}");
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.csv");
        let classes = [Class {
            short_name: "misc-attack".to_owned(),
            description: "Misc Attack".to_owned(),
            priority: 2,
        }];
        let error = |line: &str| {
            std::fs::write(&path, format!("sid,rev,classtype,severity,proto,dst_port,msg\n{line}\n"))
                .unwrap();
            read(&path, &classes).map_err(|error| error.to_string().split_once(", ").unwrap().1.to_owned())
        };
        assert_eq!(error("1,2,misc-attack,,tcp,22,\"ET SCAN a, b\"").unwrap()[0].message, "ET SCAN a, b");
        for (line, expected) in [
            ("x,2,misc-attack,,tcp,22,m", "line 2, sid: \"x\" is not a whole number"),
            ("1,2,odd,,tcp,22,m", "line 2, classtype: \"odd\" is not in classification.config"),
            ("1,2,misc-attack,,carrier,22,m", "line 2, proto: \"CARRIER\" is none of tcp, udp, icmp and ip"),
            ("1,2,misc-attack,,tcp,22, ", "line 2, msg: has 0 bytes, not 1 to 400"),
        ] {
            assert_eq!(error(line).unwrap_err(), expected);
        }
    }
}
