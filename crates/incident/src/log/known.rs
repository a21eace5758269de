//! Which records have come before.
//!
//! A file may be given twice, a report sent again, and one alert written by several sinks of its sensor. A record with a time that
//! came before, in all its fields, is the same record. Equal records of one time in a row are many, since clocks are coarse (forty failed
//! logins in a second are forty), and the same forty again are none. Records without a time may well repeat and are always new.
//!
//! An alert of the same rule between the same ends within [`SINKS_APART`] seconds in another format is the same alert. Sinks differ in how
//! they write times: one leaves out the year, one writes local time without its zone, which differs by whole quarters of an hour.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use crate::{Endpoint, Format, Record, Timestamp};

/// Seconds by which two sinks' times of one alert may differ.
const SINKS_APART: u32 = 2;
/// Most records that are known one by one, at about 10 bytes each. Beyond them nothing is taken for a repetition.
const MAX_KNOWN: usize = 14_000_000;
const MAX_ALERTS: usize = 3_500_000;
/// Most different records of one time.
const MAX_SECOND: usize = 100_000;
/// A set grows by doubling; many small ones never double at once.
const SHARDS: usize = 64;

/// What a record is to those that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    New,
    /// It came before.
    Repeated,
    /// It came before in another format.
    OtherSink,
}

/// The records that have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    hasher: RandomState,
    records: Sharded,
    alerts: Sharded,
    /// Formats of alerts so far.
    formats: Vec<Format>,
    /// Equal records of the time at hand.
    second: HashMap<u64, u32>,
    now: Option<Timestamp>,
    /// Whether the next record is the first of its report.
    is_first: bool,
    /// The time of the report's first record.
    began: Option<Timestamp>,
}

impl Known {
    /// Begins a report. It may go on within the second in which the last one ended; one that lies in this second alone, and says the
    /// same, is the last one again.
    pub(super) fn begin(&mut self) {
        self.is_first = true;
    }

    /// Takes a record, and says what it is.
    pub(super) fn take(&mut self, record: &Record) -> Novelty {
        let Some(time) = record.time else { return Novelty::New };
        if std::mem::take(&mut self.is_first) {
            if self.began == self.now {
                self.now = None;
            }
            self.began = Some(time);
        }
        if self.now != Some(time) {
            self.now = Some(time);
            self.second.clear();
        }
        let own = self.hasher.hash_one(Whole(record));
        if self.second.len() >= MAX_SECOND {
            return Novelty::New;
        }
        let equal = self.second.entry(own).or_default();
        let nth = *equal;
        *equal = equal.saturating_add(1);
        if !self.records.insert(self.hasher.hash_one((own, nth)), MAX_KNOWN) {
            return Novelty::Repeated;
        }
        if self.is_of_another_sink(record, time) { Novelty::OtherSink } else { Novelty::New }
    }

    fn is_of_another_sink(&mut self, record: &Record, time: Timestamp) -> bool {
        let (true, Some(source), Some(destination)) =
            (record.is_alert() && !record.rule.is_empty(), &record.source, &record.destination)
        else {
            return false;
        };
        // Ports make it sure that both mean one connection; without them a clock that is off by hours is another time.
        let period = if source.port.is_some() && destination.port.is_some() { 900 } else { 86_400 };
        let second = time.second_of_day() % period;
        let rule = number_of_rule(&record.rule);
        let key = |format: Format, day: i32, second: u32| {
            self.hasher.hash_one((format, rule, source, destination, day, second))
        };
        let day = time.day_of_leap_year();
        let others = self.formats.iter().filter(|format| **format != record.format);
        let is_known = others.into_iter().any(|format| {
            let days = if period == 900 { -1..=1 } else { 0..=0 };
            days.into_iter().any(|off| {
                let day = (day + off).rem_euclid(366);
                (0..=2 * SINKS_APART).any(|off| {
                    let second = (second + period + off - SINKS_APART) % period;
                    self.alerts.contains(key(*format, day, second))
                })
            })
        });
        if is_known {
            return true;
        }
        let own = key(record.format, day, second);
        if !self.formats.contains(&record.format) {
            self.formats.push(record.format);
        }
        self.alerts.insert(own, MAX_ALERTS);
        false
    }
}

/// The number of a rule: some sinks write it alone, others between its generator and its revision.
fn number_of_rule(rule: &str) -> &str {
    let mut parts = rule.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(number), Some(_), None) => number,
        _ => rule,
    }
}

/// Whether a record names one packet: no other alert of its rule has its time and its ends. Where it came through does not count then.
fn is_of_one_packet(record: &Record) -> bool {
    let has_port = |end: &Option<Endpoint>| end.as_ref().is_some_and(|end| end.port.is_some());
    record.is_alert()
        && !record.rule.is_empty()
        && record.time.is_some_and(|time| time.micro() > 0)
        && has_port(&record.source)
        && has_port(&record.destination)
}

/// All that a record says. Two whose texts differ only beyond what is kept are one.
struct Whole<'a>(&'a Record);

impl Hash for Whole<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let Record {
            kind,
            format,
            time,
            sensor,
            host,
            message,
            detail,
            rule,
            priority,
            classification,
            tactics,
            techniques,
            protocol,
            source,
            destination,
            via,
            account,
            process,
            file,
            verdict,
            raw,
            is_cut,
            repeats,
        } = self.0;
        (kind, format, time, message, rule, priority, classification).hash(state);
        (tactics, techniques, protocol, source, destination, via, account, process, file).hash(state);
        (verdict, repeats.count, repeats.last).hash(state);
        if !is_of_one_packet(self.0) {
            (sensor, host, detail, raw, is_cut).hash(state);
        }
    }
}

/// Hashes. Two different records have the same one with a chance of less than one in a hundred thousand among ten million.
#[derive(Clone, Debug, Default)]
struct Sharded {
    shards: Vec<HashSet<u64, Plain>>,
    len: usize,
}

impl Sharded {
    fn shard(hash: u64) -> usize {
        // The table inside uses the lowest and the highest bits.
        (hash >> 32) as usize % SHARDS
    }

    fn contains(&self, hash: u64) -> bool {
        self.shards.get(Self::shard(hash)).is_some_and(|shard| shard.contains(&hash))
    }

    /// Adds a hash; false if it was there. A full set takes nothing more and knows nothing new.
    fn insert(&mut self, hash: u64, most: usize) -> bool {
        if self.shards.is_empty() {
            self.shards.resize(SHARDS, HashSet::default());
        }
        let Some(shard) = self.shards.get_mut(Self::shard(hash)) else { return true };
        if self.len >= most {
            return !shard.contains(&hash);
        }
        let is_new = shard.insert(hash);
        self.len += usize::from(is_new);
        is_new
    }
}

/// Passes on what is a hash already.
#[derive(Clone, Debug, Default)]
struct Plain;

impl BuildHasher for Plain {
    type Hasher = PlainHasher;

    fn build_hasher(&self) -> PlainHasher {
        PlainHasher(0)
    }
}

struct PlainHasher(u64);

impl std::hash::Hasher for PlainHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordKind;

    fn alert(format: Format, time: &str, port: u16) -> Record {
        Record {
            kind: RecordKind::Alert,
            format,
            time: Timestamp::parse(time),
            rule: "1:9:2".into(),
            source: Some(Endpoint::new("203.0.113.9", Some(port))),
            destination: Some(Endpoint::new("10.0.2.11", Some(22))),
            ..Record::default()
        }
    }

    #[test]
    fn a_record_with_a_time_is_taken_once() {
        let mut known = Known::default();
        let one = alert(Format::Eve, "2026-06-03T12:59:31.5Z", 1);
        assert_eq!(known.take(&one), Novelty::New);
        assert_eq!(known.take(&alert(Format::Eve, "2026-06-03T12:59:31.6Z", 1)), Novelty::New);
        assert_eq!(known.take(&one), Novelty::Repeated);
        let timeless = Record { time: None, ..one };
        assert_eq!((known.take(&timeless), known.take(&timeless)), (Novelty::New, Novelty::New));
    }

    #[test]
    fn equal_records_of_a_second_are_many_and_the_same_again_are_none() {
        let mut known = Known::default();
        let line = |second: u8| Record {
            time: Timestamp::new(None, 6, 3, (12, 0, second), 0),
            message: "Failed password".into(),
            ..Record::default()
        };
        let file: Vec<Record> = (0..3).flat_map(|second| vec![line(second); 40]).collect();
        assert!(file.iter().all(|record| known.take(record) == Novelty::New));
        assert!(file.iter().all(|record| known.take(record) == Novelty::Repeated));
        known.take(&line(9));
        let more = vec![line(2); 41];
        assert_eq!(more.iter().filter(|record| known.take(record) == Novelty::New).count(), 1);
    }

    #[test]
    fn a_report_may_go_on_in_the_second_of_the_last_one() {
        let line =
            |second: u8| Record { time: Timestamp::new(None, 6, 3, (12, 0, second), 0), ..Record::default() };
        let mut known = Known::default();
        let mut take = |report: &[u8]| {
            known.begin();
            report.iter().filter(|second| known.take(&line(**second)) == Novelty::New).count()
        };
        assert_eq!(take(&[1, 2, 2]), 3);
        assert_eq!(take(&[2, 2, 3]), 3, "it goes on");
        assert_eq!(take(&[1, 2, 2]), 0, "again");
        assert_eq!(take(&[4, 4]), 2);
        assert_eq!(take(&[4, 4]), 0, "again");
    }

    #[test]
    fn one_alert_from_several_sinks_is_one() {
        let mut known = Known::default();
        assert_eq!(known.take(&alert(Format::Eve, "2026-06-03T14:59:31.342001+0200", 51_234)), Novelty::New);
        assert_eq!(
            known.take(&alert(Format::SnortFast, "06/03/2026-14:59:31.342001", 51_234)),
            Novelty::OtherSink
        );
        assert_eq!(known.take(&alert(Format::SnortFull, "Jun  3 14:59:32", 51_234)), Novelty::OtherSink);
        for (other, why) in [
            (alert(Format::SnortFast, "06/03/2026-14:59:31.342001", 51_235), "another connection"),
            (alert(Format::SnortFast, "06/03/2026-14:59:38.342001", 51_234), "another time"),
            (alert(Format::Eve, "2026-06-03T14:59:32.342001+0200", 51_234), "the same sink"),
            (
                Record { rule: "1:8:2".into(), ..alert(Format::SnortFast, "06/03/2026-14:59:31.3", 51_234) },
                "another rule",
            ),
        ] {
            assert_eq!(known.take(&other), Novelty::New, "{why}");
        }
    }
}
