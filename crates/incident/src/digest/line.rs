//! How a group reads: compact, since a small model reads it.
//!
//! `12:59-13:10 x11 P1 SSH connection attempt [Attempted User Privilege Gain] TCP 10.0.1.11 -> 10.0.2.11:22`

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

use super::Group;
use crate::text::shorten;
use crate::{AlertLog, RecordKind, Timestamp};

/// Longest message in a line, in bytes; the records keep it whole.
const MAX_MESSAGE: usize = 160;
/// Longest text of a plain line.
const MAX_LINE: usize = 240;
const MAX_DETAIL: usize = 90;
/// Most hosts named on one side of a line.
const MAX_HOSTS: usize = 6;
/// Most ports and ranges of ports named on one side.
const MAX_PORTS: usize = 6;

/// A group before it has a number.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) group: Group,
    pub(super) order: Option<Timestamp>,
    pub(super) position: usize,
}

/// Which dates a log has, and so how its times are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dates {
    /// It has no times.
    None,
    /// All on this day.
    One(Timestamp),
    /// On several days.
    Many,
}

impl Dates {
    pub(super) fn of_log(log: &AlertLog) -> Dates {
        let mut dates = Dates::None;
        for record in log.records.iter().filter(|record| record.kind != RecordKind::Telemetry) {
            for time in [record.time, record.repeats.last].into_iter().flatten() {
                dates = match dates {
                    Dates::None => Dates::One(time),
                    Dates::One(day) if day.same_day(time) => dates,
                    _ => return Dates::Many,
                };
            }
        }
        dates
    }

    /// A line that gives the one date.
    pub(super) fn header(self) -> Option<String> {
        match self {
            Dates::One(day) => Some(format!("Times of {}:", day.date())),
            Dates::None | Dates::Many => None,
        }
    }

    /// First and last time and the count, with a space behind. A span is told in minutes, since every digit is a
    /// token; the group keeps its exact times.
    pub(super) fn span(self, first: Option<Timestamp>, last: Option<Timestamp>, count: u64) -> String {
        let mut out = String::new();
        if let Some(first) = first {
            if matches!(self, Dates::Many) {
                out.push_str(&first.date());
                out.push(' ');
            }
            match last.filter(|last| !last.same_day(first) || minute(*last) != minute(first)) {
                Some(last) if last.same_day(first) => {
                    let _ = write!(out, "{}-{} ", minute(first), minute(last));
                }
                Some(last) => {
                    let _ = write!(out, "{} to {} {} ", minute(first), last.date(), minute(last));
                }
                None => {
                    let _ = write!(out, "{} ", first.clock());
                }
            }
        }
        if count > 1 {
            let _ = write!(out, "x{count} ");
        }
        out
    }
}

/// `12:59`.
fn minute(time: Timestamp) -> String {
    let mut clock = time.clock();
    clock.truncate(5);
    clock
}

/// The hosts on one side of a line, each once, and their ports.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    names: Vec<String>,
    ports: String,
}

impl Hosts {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>, ports: &BTreeSet<u16>) -> Hosts {
        let mut seen = HashSet::new();
        let names = names.filter(|name| !name.is_empty() && seen.insert(*name)).map(str::to_owned).collect();
        Hosts { names, ports: ports_text(ports) }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }

    /// `10.0.2.11:22`, `10.0.2.11, 10.0.2.12 port 22`, `10.0.2.11, … and 40 more`.
    fn text(&self) -> String {
        match self.names.as_slice() {
            [] => "?".to_owned(),
            [name] if self.ports.is_empty() => name.clone(),
            [name] if name.contains(':') => format!("[{name}]:{}", self.ports),
            [name] => format!("{name}:{}", self.ports),
            names => {
                let mut out = names.iter().take(MAX_HOSTS).map(String::as_str).collect::<Vec<_>>().join(", ");
                if names.len() > MAX_HOSTS {
                    let _ = write!(out, " and {} more", names.len() - MAX_HOSTS);
                }
                if !self.ports.is_empty() {
                    let _ = write!(out, " port {}", self.ports);
                }
                out
            }
        }
    }
}

/// Ports in ascending order, three or more neighbours as a range.
fn ports_text(ports: &BTreeSet<u16>) -> String {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => runs.push((port, port)),
        }
    }
    let mut parts = Vec::new();
    let mut named = 0_usize;
    for (first, last) in runs {
        if parts.len() >= MAX_PORTS {
            break;
        }
        match last - first {
            0 => parts.push(first.to_string()),
            1 => parts.extend([first.to_string(), last.to_string()]),
            _ => parts.push(format!("{first}-{last}")),
        }
        named += usize::from(last - first) + 1;
    }
    let mut out = parts.join(",");
    if named < ports.len() {
        let _ = write!(out, "+{}", ports.len() - named);
    }
    out
}

/// What an alert line says behind its times.
pub(super) struct AlertText<'a> {
    pub(super) priority: Option<u8>,
    pub(super) message: &'a str,
    pub(super) classification: &'a str,
    pub(super) protocol: &'a str,
    pub(super) sources: &'a Hosts,
    pub(super) destinations: &'a Hosts,
    pub(super) details: &'a [String],
}

impl AlertText<'_> {
    pub(super) fn write(&self, out: &mut String) {
        if let Some(priority) = self.priority {
            let _ = write!(out, "P{priority} ");
        }
        out.push_str(&shorten(self.message, MAX_MESSAGE));
        if !self.classification.is_empty() {
            let _ = write!(out, " [{}]", self.classification);
        }
        if !self.protocol.is_empty() {
            let _ = write!(out, " {}", self.protocol);
        }
        if !self.sources.names.is_empty() || !self.destinations.names.is_empty() {
            let _ = write!(out, " {} -> {}", self.sources.text(), self.destinations.text());
        }
        for detail in self.details {
            let _ = write!(out, " ({})", shorten(detail, MAX_DETAIL));
        }
    }
}

/// Writes what a record that is no alert says behind its times, and its ends where the text does not name them.
pub(super) fn line_text(out: &mut String, text: &str, texts: usize, sources: &Hosts, destinations: &Hosts) {
    out.push_str(&shorten(text, MAX_LINE));
    let named = |hosts: &Hosts| hosts.names.iter().all(|name| text.contains(name.as_str()));
    if !named(sources) || !named(destinations) {
        let _ = write!(out, " {} -> {}", sources.text(), destinations.text());
    }
    if texts > 1 {
        let _ = write!(out, " (and {} similar)", texts - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_ranges_and_bounded() {
        let text = |ports: &[u16]| ports_text(&ports.iter().copied().collect());
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[22, 80]), "22,80");
        assert_eq!(text(&[1, 2, 3, 4, 139, 445, 65535]), "1-4,139,445,65535");
        assert_eq!(text(&[1, 3, 5, 7, 9, 11, 13, 15]), "1,3,5,7,9,11+2");
        assert_eq!(ports_text(&(0..=u16::MAX).collect()), "0-65535");
    }

    #[test]
    fn hosts_are_named_once_and_bounded() {
        let none = BTreeSet::new();
        let hosts = |names: &[&str], ports: &[u16]| {
            Hosts::new(names.iter().copied(), &ports.iter().copied().collect()).text()
        };
        assert_eq!(hosts(&["a", "b", "a"], &[22]), "a, b port 22");
        assert_eq!(hosts(&["2001:db8::1"], &[22]), "[2001:db8::1]:22");
        assert_eq!(hosts(&[], &[]), "?");
        let many: Vec<String> = (0..50).map(|n| format!("h{n}")).collect();
        assert_eq!(
            Hosts::new(many.iter().map(String::as_str), &none).text(),
            "h0, h1, h2, h3, h4, h5 and 44 more"
        );
    }
}
