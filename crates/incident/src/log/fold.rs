//! When records are alike, and how like records become one.

use std::fmt::Write;

use crate::formats::MAX_TEXT;
use crate::text::pattern;
use crate::{Alert, AlertKind, Endpoint, Record, Repeats, Timestamp};

/// Forgets the port that a client's system drew at random, so that what is left tells which service was meant.
pub(crate) fn drop_client_port(alert: &mut Alert) {
    let port = |end: &Option<Endpoint>| end.as_ref().and_then(|end| end.port);
    let client = match client(port(&alert.source), port(&alert.destination)) {
        Some(Side::Source) => alert.source.as_mut(),
        Some(Side::Destination) => alert.destination.as_mut(),
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

/// How alike records have to be to be folded, from fine to coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// They differ in time and client port alone.
    Fine,
    /// They differ in time, ports and detail; lines in words with digits.
    SameMessage,
    /// They have the same class and priority.
    SameKind,
    /// They are both alerts, or both lines, of about the same weight.
    Any,
}

/// Different records that are kept apart at each likeness, for each of three priorities and for lines.
pub(super) const LIMITS: [(Likeness, usize); 4] = [
    (Likeness::Fine, 10_000),
    (Likeness::SameMessage, 2_000),
    (Likeness::SameKind, 500),
    (Likeness::Any, usize::MAX),
];

/// Most bytes of a record in [`crate::AlertLog::condensed`]: message, class, detail, two addresses, and the rest.
const MAX_RECORD: usize = MAX_TEXT + 128 + 200 + 2 * 136 + 200;
/// Weights that have limits of their own: three priorities, and lines.
pub(super) const WEIGHTS: usize = 4;
// A folded log fits a message of 64 MiB, as `condensed` promises.
const _: () = assert!(WEIGHTS * (LIMITS[0].1 + LIMITS[1].1 + LIMITS[2].1 + 1) * MAX_RECORD < 64 << 20);

/// Which limits a record counts against, so that many records of a low priority never crowd out one of a high one.
pub(super) fn weight(record: &Record) -> usize {
    match record {
        Record::Line(_) => 0,
        Record::Alert(alert) => usize::from(alert.kind().priority.unwrap_or(2).clamp(1, 3)),
    }
}

/// A text that records of this likeness share and others do not. Records hold no control characters, so that one can
/// separate the parts.
pub(super) fn write_key(key: &mut String, record: &Record, likeness: Likeness, weight: usize) {
    let tag = likeness as u8;
    // Writing to a string cannot fail.
    let _ = match record {
        Record::Line(line) => match likeness {
            Likeness::Fine => write!(key, "{tag}\u{1f}{weight}\u{1f}{}", line.text),
            Likeness::SameMessage => write!(key, "{tag}\u{1f}{weight}\u{1f}{}", pattern(&line.text)),
            _ => write!(key, "{tag}\u{1f}{weight}"),
        },
        Record::Alert(alert) => {
            let _ = write!(key, "{tag}\u{1f}{weight}");
            match likeness {
                Likeness::Any => Ok(()),
                Likeness::SameKind => {
                    let kind = alert.kind();
                    write!(key, "\u{1f}{}\u{1f}{:?}", kind.classification, kind.priority)
                }
                Likeness::SameMessage => write_alert_key(key, alert, false),
                Likeness::Fine => write_alert_key(key, alert, true),
            }
        }
    };
}

fn write_alert_key(key: &mut String, alert: &Alert, fine: bool) -> std::fmt::Result {
    let Alert { classification, priority, protocol, message, signature, .. } = alert;
    write!(key, "\u{1f}{classification}\u{1f}{priority:?}\u{1f}{protocol}\u{1f}{message}")?;
    if let Some(signature) = signature {
        write!(key, "\u{1f}{signature}")?;
    }
    let port = |end: &Option<Endpoint>| end.as_ref().and_then(|end| end.port);
    let (mut from, mut to) = (port(&alert.source), port(&alert.destination));
    match client(from, to) {
        Some(Side::Source) => from = None,
        Some(Side::Destination) => to = None,
        None => {}
    }
    for (end, port) in [(&alert.source, from), (&alert.destination, to)] {
        let address = end.as_ref().map_or("", |end| end.address.as_str());
        write!(key, "\u{1f}{address}")?;
        if let Some(port) = port.filter(|_| fine) {
            write!(key, "\u{1f}:{port}")?;
        }
    }
    if fine { write!(key, "\u{1f}{}", alert.detail) } else { Ok(()) }
}

/// Takes out of a record what those that will be folded into it need not share.
pub(super) fn blur(record: &mut Record, likeness: Likeness) {
    match record {
        Record::Line(line) => match likeness {
            Likeness::Fine => {}
            Likeness::SameMessage => line.text = pattern(&line.text),
            Likeness::SameKind | Likeness::Any => line.text = "(further different lines)".to_owned(),
        },
        Record::Alert(alert) => match likeness {
            Likeness::Fine => {}
            Likeness::SameMessage => {
                for end in [&mut alert.source, &mut alert.destination].into_iter().flatten() {
                    end.port = None;
                }
                alert.detail.clear();
            }
            Likeness::SameKind | Likeness::Any => {
                let message = "(further different alerts)".to_owned();
                let AlertKind { priority, .. } = alert.kind();
                let classification = match likeness {
                    Likeness::SameKind => std::mem::take(&mut alert.classification),
                    _ => String::new(),
                };
                let (time, repeats) = (alert.time, alert.repeats);
                *alert = Alert { time, repeats, classification, priority, message, ..Alert::default() };
            }
        },
    }
}

/// Counts `other` into `kept`, which it is like.
pub(super) fn fold(kept: &mut Record, other: Record) {
    match (kept, other) {
        (Record::Alert(kept), Record::Alert(mut other)) => {
            for (kept, other) in
                [(&mut kept.source, &other.source), (&mut kept.destination, &other.destination)]
            {
                if let (Some(kept), Some(other)) = (kept, other)
                    && kept.port != other.port
                {
                    kept.port = None;
                }
            }
            merge(&mut kept.time, &mut kept.repeats, other.time.take(), other.repeats);
        }
        (Record::Line(kept), Record::Line(other)) => {
            merge(&mut kept.time, &mut kept.repeats, other.time, other.repeats);
        }
        // Keys of alerts and lines differ, so that these never meet.
        _ => {}
    }
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
