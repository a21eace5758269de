//! When records are alike, and how like records become one.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::BuildHasher;

use crate::text::{pattern, shorten};
use crate::{AlertKind, Endpoint, Record, RecordKind, Repeats, Timestamp};

/// Forgets the port that a client's system drew at random, so that what is left tells which service was meant.
pub(crate) fn drop_client_port(source: &mut Option<Endpoint>, destination: &mut Option<Endpoint>) {
    let port = |end: &Option<Endpoint>| end.as_ref().and_then(|end| end.port);
    let client = match client(port(source), port(destination)) {
        Some(Side::Source) => source.as_mut(),
        Some(Side::Destination) => destination.as_mut(),
        None => None,
    };
    if let Some(client) = client {
        client.port = None;
    }
}

/// Ports from which systems draw those of their clients begin here (Linux; elsewhere they begin higher).
const EPHEMERAL: u16 = 32_768;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// The end whose port is in the range of those drawn at random while the other's is not; the source if that does not
/// tell. Nothing if there are no two ports.
fn client(source: Option<u16>, destination: Option<u16>) -> Option<Side> {
    let reply = source? < EPHEMERAL && destination? >= EPHEMERAL;
    Some(if reply { Side::Destination } else { Side::Source })
}

/// Records that were folded, with what is needed to fold more into them.
#[derive(Clone, Debug, Default)]
pub(super) struct Fold {
    pub(super) records: Vec<Record>,
    /// Where the record with a key stands. Of the keys only hashes are kept, under keys that nobody else knows.
    places: HashMap<u64, usize>,
    hasher: RandomState,
    /// Different records by weight and likeness.
    different: [[usize; LIMITS.len()]; WEIGHTS],
    key: String,
    /// Records that were counted with others of the same message or class.
    pub(super) coarse: u64,
}

impl Fold {
    /// Takes a record. One that is unlike all others is given back as it is kept.
    pub(super) fn add(&mut self, mut record: Record) -> Option<&Record> {
        let weight = weight(&record);
        let count = record.repeats.count;
        for (step, (likeness, limit)) in LIMITS.into_iter().enumerate() {
            self.key.clear();
            write_key(&mut self.key, &record, likeness, weight);
            let key = self.hasher.hash_one(self.key.as_str());
            let coarse = if step > 0 { count } else { 0 };
            if let Some(&place) = self.places.get(&key) {
                self.coarse = self.coarse.saturating_add(coarse);
                fold(self.records.get_mut(place)?, record);
                return None;
            }
            let different = self.different.get_mut(weight)?.get_mut(step)?;
            if *different < limit {
                *different += 1;
                self.coarse = self.coarse.saturating_add(coarse);
                blur(&mut record, likeness);
                bound(&mut record);
                self.places.insert(key, self.records.len());
                self.records.push(record);
                return self.records.last();
            }
        }
        None
    }
}

/// Keeps a record within [`MAX_RECORD`]: the text as it stood in the source gives way first.
fn bound(record: &mut Record) {
    let texts = [&record.message, &record.detail, &record.process, &record.file, &record.classification];
    let names = [&record.sensor, &record.host, &record.rule, &record.account, &record.protocol];
    let long: usize = texts.iter().chain(&names).map(|text| text.len()).sum();
    record.raw = shorten(&record.raw, MAX_RAW.min(MAX_RECORD.saturating_sub(long))).into_owned();
    for text in [&mut record.process, &mut record.file] {
        if long > MAX_RECORD {
            *text = shorten(text, MAX_LONG).into_owned();
        }
    }
    record.raw.shrink_to_fit();
    record.message.shrink_to_fit();
}

/// How alike records have to be to be folded, from fine to coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    /// They differ in time and client port alone.
    Fine,
    /// They differ in time, ports and detail; what is no alert also in words with digits.
    SameMessage,
    /// They have the same class and priority.
    SameKind,
    /// They are of one kind, and of about the same weight.
    Any,
}

/// Different records that are kept apart at each likeness, for each weight.
const LIMITS: [(Likeness, usize); 4] = [
    (Likeness::Fine, 6_000),
    (Likeness::SameMessage, 1_500),
    (Likeness::SameKind, 400),
    (Likeness::Any, usize::MAX),
];

/// Most bytes of the texts of a record that is kept, but for lists.
const MAX_RECORD: usize = 1_100;
/// Of the source's own text.
const MAX_RAW: usize = 512;
/// Of a command or a path where the texts are longer than that together.
const MAX_LONG: usize = 64;
/// Weights that have limits of their own: three priorities of alerts, and each other kind of record.
const WEIGHTS: usize = 6;
/// Which limits a record counts against, so that many records of a low priority, or of a kind that seldom matters, never crowd
/// out one of a high priority.
fn weight(record: &Record) -> usize {
    match record.kind {
        RecordKind::Unknown => 0,
        RecordKind::Alert => usize::from(record.alert_kind().priority.unwrap_or(2).clamp(1, 3)),
        RecordKind::Log => 4,
        RecordKind::Telemetry => 5,
    }
}

/// A text that records of this likeness share and others do not. Records hold no control characters, so that one can
/// separate the parts.
fn write_key(key: &mut String, record: &Record, likeness: Likeness, weight: usize) {
    // Writing to a string cannot fail.
    // Times with a year and without cannot be ordered before all of the log is known.
    let has_year = record.time.is_some_and(|time| time.year().is_some());
    let _ = write!(key, "{}\u{1f}{weight}\u{1f}{has_year}", likeness as u8);
    let _ = match likeness {
        Likeness::Any => Ok(()),
        Likeness::SameKind => {
            let kind = record.alert_kind();
            write!(key, "\u{1f}{}\u{1f}{:?}", kind.classification, kind.priority)
        }
        Likeness::SameMessage if record.is_alert() => write_fields(key, record, &record.message, false),
        Likeness::SameMessage => write_fields(key, record, &pattern(&record.message), false),
        Likeness::Fine => write_fields(key, record, &record.message, true),
    };
}

fn write_fields(key: &mut String, record: &Record, message: &str, fine: bool) -> std::fmt::Result {
    let Record { classification, priority, protocol, rule, .. } = record;
    write!(key, "\u{1f}{classification}\u{1f}{priority:?}\u{1f}{protocol}\u{1f}{message}\u{1f}{rule}")?;
    let port = |end: &Option<Endpoint>| end.as_ref().and_then(|end| end.port);
    let (mut from, mut to) = (port(&record.source), port(&record.destination));
    match client(from, to) {
        Some(Side::Source) => from = None,
        Some(Side::Destination) => to = None,
        None => {}
    }
    for (end, port) in [(&record.source, from), (&record.destination, to)] {
        let address = end.as_ref().map_or("", |end| end.address.as_str());
        write!(key, "\u{1f}{address}")?;
        if let Some(port) = port.filter(|_| fine) {
            write!(key, "\u{1f}:{port}")?;
        }
    }
    write!(key, "\u{1f}{}\u{1f}{}\u{1f}{:?}", record.host, record.account, record.verdict)?;
    if !fine {
        return Ok(());
    }
    write!(key, "\u{1f}{}\u{1f}{}\u{1f}{}", record.detail, record.process, record.file)?;
    write!(key, "\u{1f}{:?}\u{1f}{:?}", record.tactics, record.techniques)?;
    for proxy in &record.via {
        write!(key, "\u{1f}{proxy}")?;
    }
    Ok(())
}

/// Takes out of a record what those that will be folded into it need not share.
fn blur(record: &mut Record, likeness: Likeness) {
    match likeness {
        Likeness::Fine => {}
        Likeness::SameMessage => {
            for end in [&mut record.source, &mut record.destination].into_iter().flatten() {
                end.port = None;
            }
            if !record.is_alert() {
                record.message = pattern(&record.message);
            }
            for text in [&mut record.detail, &mut record.process, &mut record.file, &mut record.raw] {
                text.clear();
            }
        }
        Likeness::SameKind | Likeness::Any => {
            let what = if record.is_alert() { "alerts" } else { "lines" };
            let AlertKind { priority, .. } = record.alert_kind();
            let classification = match likeness {
                Likeness::SameKind => std::mem::take(&mut record.classification),
                _ => String::new(),
            };
            *record = Record {
                kind: record.kind,
                time: record.time,
                repeats: record.repeats,
                classification,
                priority,
                message: format!("(further different {what})"),
                ..Record::default()
            };
        }
    }
}

/// Counts `other` into `kept`, which it is like.
fn fold(kept: &mut Record, other: Record) {
    for (kept, other) in [(&mut kept.source, &other.source), (&mut kept.destination, &other.destination)] {
        if let (Some(kept), Some(other)) = (kept, other)
            && kept.port != other.port
        {
            kept.port = None;
        }
    }
    kept.is_cut |= other.is_cut;
    merge(&mut kept.time, &mut kept.repeats, other.time, other.repeats);
}

fn merge(time: &mut Option<Timestamp>, repeats: &mut Repeats, other_time: Option<Timestamp>, other: Repeats) {
    let last = [*time, repeats.last, other_time, other.last].into_iter().flatten().max();
    *time = [*time, other_time].into_iter().flatten().min();
    repeats.count = repeats.count.saturating_add(other.count);
    repeats.last = last.filter(|last| Some(*last) > *time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_end_is_told_by_its_port() {
        assert_eq!(client(Some(51_234), Some(22)), Some(Side::Source));
        assert_eq!(client(Some(80), Some(51_234)), Some(Side::Destination));
        assert_eq!(client(Some(51_234), Some(51_413)), Some(Side::Source));
        assert_eq!(client(Some(53), Some(53)), Some(Side::Source));
        assert_eq!(client(None, Some(22)), None);
    }

    #[test]
    fn merged_times_span_both() {
        let time = |second| Timestamp::new(Some(2026), 6, 3, (12, 0, second), 0);
        let (mut first, mut repeats) = (time(5), Repeats::default());
        merge(&mut first, &mut repeats, time(9), Repeats { count: 3, last: time(20) });
        assert_eq!((first, repeats), (time(5), Repeats { count: 4, last: time(20) }));
        merge(&mut first, &mut repeats, time(1), Repeats::default());
        assert_eq!((first, repeats.last), (time(1), time(20)));
        merge(&mut first, &mut repeats, None, Repeats::default());
        assert_eq!((first, repeats.count), (time(1), 6));
    }
}
