//! Records with the same message, and the ways of folding them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Group;
use super::line::{AlertText, Dates, Hosts, Line, line_text};
use crate::log::drop_client_port;
use crate::text::pattern;
use crate::{AlertKind, AlertLog, Record, RecordKind, Timestamp};

/// How far a family is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folding {
    /// A line for each pair of hosts, or for each text.
    Pairs,
    /// A line for each source, or for each destination if these are fewer.
    Hosts,
    /// One line.
    One,
    /// One line without class and details.
    Brief,
}

/// Records that say the same of different hosts, or almost the same.
#[derive(Clone, Debug)]
pub(super) struct Family {
    what: What,
    members: Vec<Member>,
    count: u64,
}

/// What the records of a family share.
#[derive(Clone, Debug)]
struct What {
    kind: RecordKind,
    /// Of alerts.
    message: String,
    classification: String,
    alert: AlertKind,
    protocol: String,
}

/// Records that differ in nothing but time, ports and details.
#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) source_ports: BTreeSet<u16>,
    pub(super) destination_ports: BTreeSet<u16>,
    /// The message of what is no alert; empty for alerts, whose family has it.
    text: String,
    /// A few of the details.
    pub(super) details: Vec<String>,
    /// Places of its records in the log.
    records: Vec<usize>,
    pub(super) count: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// When it first happened as far as can be told: its own time, or the last one before it in the log.
    order: Option<Timestamp>,
    position: usize,
}

const MAX_DETAILS: usize = 2;

impl Family {
    /// The families of a log, in the order of the log.
    pub(super) fn of_log(log: &AlertLog) -> Vec<Family> {
        let mut families: Vec<Family> = Vec::new();
        let mut by_key: HashMap<FamilyKey, usize> = HashMap::new();
        let mut members: HashMap<(usize, String, String, String), usize> = HashMap::new();
        let mut now = None;
        let accusing = |(_, record): &(usize, &Record)| record.kind != RecordKind::Telemetry;
        for (position, record) in log.records.iter().enumerate().filter(accusing) {
            now = record.time.or(now);
            let member = Member::of(record, now, position);
            let family = *by_key.entry(FamilyKey::of(record)).or_insert_with(|| {
                families.push(Family { what: What::of(record), members: Vec::new(), count: 0 });
                families.len() - 1
            });
            let Some(place) = families.get_mut(family) else { continue };
            place.count = place.count.saturating_add(member.count);
            let key = (family, member.source.clone(), member.destination.clone(), member.text.clone());
            let known = *members.entry(key).or_insert(place.members.len());
            match place.members.get_mut(known) {
                Some(known) => known.absorb(member),
                None => place.members.push(member),
            }
        }
        families
    }

    /// What decides which families are kept; see the module above.
    pub(super) fn importance(&self) -> i64 {
        let severity = match self.priority() {
            Some(..=1) => 4,
            Some(2) => 3,
            Some(3) => 2,
            Some(4..) => 1,
            // An alert that nobody has weighed may be anything; other lines are mostly context.
            None if self.is_alert() => 3,
            None => 2,
        };
        3 * severity - i64::from(self.count.max(1).ilog(4).min(6))
    }

    pub(super) fn priority(&self) -> Option<u8> {
        self.what.alert.priority.filter(|_| self.is_alert())
    }

    fn is_alert(&self) -> bool {
        self.what.kind == RecordKind::Alert
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Where in the log it begins.
    pub(super) fn position(&self) -> usize {
        self.members.first().map_or(0, |member| member.position)
    }

    /// The lines that show it.
    pub(super) fn lines(&self, folding: Folding, dates: Dates) -> Vec<Line> {
        let parts: Vec<Vec<&Member>> = match folding {
            Folding::Pairs => self.members.iter().map(|member| vec![member]).collect(),
            Folding::Hosts if self.is_alert() => {
                let (by_source, by_destination) =
                    (self.split(|member| &member.source), self.split(|member| &member.destination));
                if by_destination.len() < by_source.len() { by_destination } else { by_source }
            }
            Folding::Hosts | Folding::One | Folding::Brief => vec![self.members.iter().collect()],
        };
        parts.iter().map(|part| self.line(part, dates, folding == Folding::Brief)).collect()
    }

    fn split<'a>(&'a self, by: impl Fn(&'a Member) -> &'a String) -> Vec<Vec<&'a Member>> {
        let mut parts: BTreeMap<&String, Vec<&Member>> = BTreeMap::new();
        for member in &self.members {
            parts.entry(by(member)).or_default().push(member);
        }
        parts.into_values().collect()
    }

    fn line(&self, members: &[&Member], dates: Dates, brief: bool) -> Line {
        let mut all = Member { count: 0, position: usize::MAX, ..Member::default() };
        for member in members {
            all.count = all.count.saturating_add(member.count);
            all.first = [all.first, member.first].into_iter().flatten().min();
            all.last = all.last.max(member.last);
            all.source_ports.extend(&member.source_ports);
            all.destination_ports.extend(&member.destination_ports);
            if member.position < all.position {
                (all.position, all.order) = (member.position, member.order);
            }
            all.add_details(&member.details);
            all.records.extend(&member.records);
        }
        let sources = Hosts::new(members.iter().map(|member| member.source.as_str()), &all.source_ports);
        let destinations =
            Hosts::new(members.iter().map(|member| member.destination.as_str()), &all.destination_ports);
        let mut text = dates.span(all.first, all.last, all.count);
        let message = match self.is_alert() {
            true => self.what.message.clone(),
            false => members.first().map(|member| member.text.clone()).unwrap_or_default(),
        };
        if self.is_alert() {
            let line = AlertText {
                priority: self.what.alert.priority,
                message: &message,
                classification: if brief { "" } else { &self.what.classification },
                protocol: &self.what.protocol,
                sources: &sources,
                destinations: &destinations,
                details: if brief { &[] } else { &all.details },
            };
            line.write(&mut text);
        } else {
            line_text(&mut text, &message, members.len(), &sources, &destinations);
        }
        all.records.sort_unstable();
        let group = Group {
            number: 0,
            text,
            count: all.count,
            first: all.first,
            last: all.last,
            record_kind: self.what.kind,
            kind: self.is_alert().then(|| self.what.alert.clone()),
            message,
            records: all.records,
            sources: sources.into_names(),
            destinations: destinations.into_names(),
        };
        Line { group, order: [all.order, all.first].into_iter().flatten().min(), position: all.position }
    }
}

impl What {
    fn of(record: &Record) -> What {
        What {
            kind: record.kind,
            message: if record.is_alert() { alert_message(record) } else { String::new() },
            classification: record.classification.clone(),
            alert: record.alert_kind(),
            protocol: record.protocol.clone(),
        }
    }
}

/// The message, or the rule where there is none.
fn alert_message(alert: &Record) -> String {
    match alert.rule.as_str() {
        rule if alert.message.is_empty() && !rule.is_empty() => format!("rule {rule}"),
        _ => alert.message.clone(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum FamilyKey {
    Alert { message: String, kind: AlertKind, protocol: String },
    Line(RecordKind, String),
}

impl FamilyKey {
    fn of(record: &Record) -> FamilyKey {
        match record.is_alert() {
            true => FamilyKey::Alert {
                message: alert_message(record),
                kind: record.alert_kind(),
                protocol: record.protocol.clone(),
            },
            false => FamilyKey::Line(record.kind, pattern(&record.line())),
        }
    }
}

impl Member {
    fn of(record: &Record, order: Option<Timestamp>, position: usize) -> Member {
        let mut member = Member {
            count: record.repeats.count,
            first: record.time,
            last: record.repeats.last.or(record.time),
            order,
            position,
            records: vec![position],
            ..Member::default()
        };
        // The ends alone are needed, without the port of the client.
        let (mut source, mut destination) = (record.source.clone(), record.destination.clone());
        drop_client_port(&mut source, &mut destination);
        if let Some(end) = source {
            member.source = end.address;
            member.source_ports.extend(end.port);
        }
        if let Some(end) = destination {
            member.destination = end.address;
            member.destination_ports.extend(end.port);
        }
        if !record.is_alert() {
            member.text = record.line().into_owned();
        } else if !record.detail.is_empty() {
            member.details.push(record.detail.clone());
        }
        member
    }

    /// Counts another of the same pair of hosts and the same text into this one.
    fn absorb(&mut self, other: Member) {
        self.count = self.count.saturating_add(other.count);
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.source_ports.extend(other.source_ports);
        self.destination_ports.extend(other.destination_ports);
        self.records.extend(other.records);
        self.add_details(&other.details);
    }

    fn add_details(&mut self, details: &[String]) {
        for detail in details {
            if self.details.len() < MAX_DETAILS && !self.details.contains(detail) {
                self.details.push(detail.clone());
            }
        }
    }
}
