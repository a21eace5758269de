//! What was read of evidence, before anything is made of it: forms, kinds, severities, times, ends, and what was not understood.
//!
//! Contract: a pure function of what was read; the counts of [`Survey::forms`] add up to [`Survey::records`]. Its JSON is for programs:
//! names are those of the formats and kinds, severity is 1 (high) to 4 (informational) or null where the source sets none.

use std::collections::BTreeMap;

use countermove_incident::{Format, Record, RecordKind, Timestamp};
use serde::{Serialize, Serializer};

use super::Gathered;

/// Pairs of ends that are told.
const PAIRS: usize = 8;
/// Lines that are shown of what was not understood.
const EXAMPLES: usize = 3;

/// What was read.
#[derive(Debug, Serialize)]
pub(crate) struct Survey {
    /// Each log.
    pub(crate) sources: Vec<SourceSeen>,
    /// Records in all, those that say the same counted singly.
    pub(crate) records: u64,
    /// Records that had come before, and alerts that another output of the same sensor wrote too; not among the others.
    pub(crate) repeated: u64,
    /// Records by form, kind and severity.
    pub(crate) forms: Vec<Form>,
    /// Who is in records together, the most telling first.
    pub(crate) ends: Vec<Pair>,
    /// Pairs of ends beyond those.
    pub(crate) more_ends: u64,
    /// What no format took.
    pub(crate) not_understood: NotUnderstood,
    /// What should be known about how it was read, one sentence each.
    pub(crate) notes: Vec<String>,
}

/// A log that was read.
#[derive(Debug, Serialize)]
pub(crate) struct SourceSeen {
    /// Its path, or `standard input`.
    pub(crate) name: String,
    /// Records in it that no log before it held.
    pub(crate) records: u64,
}

/// Records of one form, kind and severity.
#[derive(Debug, Serialize)]
pub(crate) struct Form {
    #[serde(serialize_with = "format_name")]
    pub(crate) format: Format,
    #[serde(serialize_with = "kind_name")]
    pub(crate) kind: RecordKind,
    pub(crate) severity: Option<u8>,
    pub(crate) records: u64,
    #[serde(serialize_with = "time_text")]
    pub(crate) first: Option<Timestamp>,
    #[serde(serialize_with = "time_text")]
    pub(crate) last: Option<Timestamp>,
}

/// How many records of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Kinds {
    pub(crate) alerts: u64,
    pub(crate) logs: u64,
    pub(crate) telemetry: u64,
}

/// Two ends, and the records that name both.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    /// Who acts, or where traffic came from.
    pub(crate) source: String,
    /// Who is acted upon, or where it went.
    pub(crate) target: String,
    #[serde(flatten)]
    pub(crate) kinds: Kinds,
}

/// What no format took.
#[derive(Debug, Serialize)]
pub(crate) struct NotUnderstood {
    /// Lines and objects.
    pub(crate) records: u64,
    /// The known form that most of them are nearest to, if any is near.
    #[serde(serialize_with = "nearest_name")]
    pub(crate) nearest: Option<Format>,
    /// Some of them.
    pub(crate) examples: Vec<String>,
}

impl Survey {
    /// What was read.
    pub(crate) fn new(gathered: &Gathered) -> Self {
        let log = &gathered.log;
        let (ends, more_ends) = ends(&log.records);
        let unknown = log.records.iter().filter(|record| record.kind == RecordKind::Unknown);
        let not_understood = NotUnderstood {
            records: log.reading.unknown,
            nearest: log.reading.nearest,
            examples: unknown.map(|record| record.line().into_owned()).take(EXAMPLES).collect(),
        };
        Self {
            sources: gathered
                .sources
                .iter()
                .map(|(name, records)| SourceSeen { name: name.clone(), records: *records })
                .collect(),
            records: log.total(),
            repeated: log.reading.repeated.saturating_add(log.reading.other_sinks),
            forms: forms(&log.records),
            ends,
            more_ends,
            not_understood,
            notes: gathered.notes.iter().chain(&log.warnings).cloned().collect(),
        }
    }

    /// Whether any record is in a known form.
    pub(crate) fn is_understood(&self) -> bool {
        self.forms.iter().any(|form| form.kind != RecordKind::Unknown)
    }
}

/// Records by kind, form and severity, in this order.
fn forms(records: &[Record]) -> Vec<Form> {
    let mut forms: BTreeMap<(RecordKind, Format, u8), Form> = BTreeMap::new();
    for record in records {
        // What is unset comes last.
        let key = (record.kind, record.format, record.priority.unwrap_or(u8::MAX));
        let form = forms.entry(key).or_insert(Form {
            format: record.format,
            kind: record.kind,
            severity: record.priority,
            records: 0,
            first: None,
            last: None,
        });
        form.records = form.records.saturating_add(record.repeats.count);
        let last = record.repeats.last.or(record.time);
        form.first = [form.first, record.time].into_iter().flatten().min();
        form.last = [form.last, last].into_iter().flatten().max();
    }
    forms.into_values().collect()
}

/// The pairs of ends, those with alerts first, then those with logs; of these the most frequent. And how many there are beyond.
fn ends(records: &[Record]) -> (Vec<Pair>, u64) {
    let mut pairs: BTreeMap<(&str, &str), Kinds> = BTreeMap::new();
    for record in records {
        let (Some(source), Some(target)) = (&record.source, &record.destination) else { continue };
        let kinds = pairs.entry((&source.address, &target.address)).or_default();
        let count = match record.kind {
            RecordKind::Alert => &mut kinds.alerts,
            RecordKind::Log => &mut kinds.logs,
            RecordKind::Telemetry => &mut kinds.telemetry,
            RecordKind::Unknown => continue,
        };
        *count = count.saturating_add(record.repeats.count);
    }
    let mut pairs: Vec<Pair> = pairs
        .into_iter()
        .map(|((source, target), kinds)| Pair { source: source.to_owned(), target: target.to_owned(), kinds })
        .collect();
    // The sort is stable: pairs with equal counts stay in the order of their names.
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.kinds));
    let more = pairs.len().saturating_sub(PAIRS) as u64;
    pairs.truncate(PAIRS);
    (pairs, more)
}

/// What a person calls a kind.
pub(crate) fn kind_title(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Alert => "alert",
        RecordKind::Log => "log",
        RecordKind::Telemetry => "telemetry",
        RecordKind::Unknown => "unknown",
    }
}

fn format_name<S: Serializer>(format: &Format, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(format.name())
}

fn nearest_name<S: Serializer>(format: &Option<Format>, serializer: S) -> Result<S::Ok, S::Error> {
    format.map(Format::name).serialize(serializer)
}

fn kind_name<S: Serializer>(kind: &RecordKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind_title(*kind))
}

fn time_text<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

#[cfg(test)]
pub(crate) mod tests {
    use countermove_incident::AlertLog;

    use super::*;

    /// Two alerts, a login, telemetry, and a line in no known form.
    pub(crate) const MIXED: &str = "\
{\"timestamp\":\"2026-06-03T12:59:31.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.9\",\"src_port\":40000,\"dest_ip\":\"10.0.2.11\",\"dest_port\":22,\"proto\":\"TCP\",\"alert\":{\"signature_id\":1,\"signature\":\"probe\",\"category\":\"Misc activity\",\"severity\":3}}
{\"timestamp\":\"2026-06-03T13:05:00.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.9\",\"src_port\":40001,\"dest_ip\":\"10.0.2.11\",\"dest_port\":22,\"proto\":\"TCP\",\"alert\":{\"signature_id\":2,\"signature\":\"shell\",\"category\":\"Attempted Administrator Privilege Gain\",\"severity\":1}}
{\"timestamp\":\"2026-06-03T13:05:01.000000+0000\",\"event_type\":\"flow\",\"src_ip\":\"10.0.2.11\",\"src_port\":50000,\"dest_ip\":\"10.0.2.12\",\"dest_port\":443,\"proto\":\"TCP\"}
Jun  3 13:06:00 web01 sshd[7]: Failed password for root from 203.0.113.9 port 50022 ssh2
the pump in hall 3 was serviced
";

    /// The survey of these logs.
    pub(crate) fn survey_of(text: &str) -> Survey {
        let log = AlertLog::parse(text.as_bytes()).unwrap();
        let sources = vec![("mixed.log".to_owned(), log.total())];
        Survey::new(&Gathered { log, sources, ..Gathered::default() })
    }

    #[test]
    fn records_are_counted_by_form_kind_and_severity() {
        let survey = survey_of(MIXED);
        assert_eq!(survey.records, 5);
        assert_eq!(survey.forms.iter().map(|form| form.records).sum::<u64>(), 5);
        let alerts: Vec<_> = survey.forms.iter().filter(|form| form.kind == RecordKind::Alert).collect();
        assert_eq!(alerts.iter().map(|form| form.severity).collect::<Vec<_>>(), [Some(1), Some(3)]);
        assert_eq!(alerts[0].first.unwrap().clock(), "13:05:00");
        assert!(survey.is_understood());
    }

    #[test]
    fn ends_with_alerts_come_first() {
        let survey = survey_of(MIXED);
        assert_eq!(
            (survey.ends[0].source.as_str(), survey.ends[0].target.as_str(), survey.ends[0].kinds.alerts),
            ("203.0.113.9", "10.0.2.11", 2)
        );
        assert_eq!(survey.ends.last().unwrap().kinds, Kinds { telemetry: 1, ..Kinds::default() });
    }

    #[test]
    fn what_was_not_understood_is_shown() {
        let survey = survey_of(MIXED);
        assert_eq!(survey.not_understood.records, 1);
        assert_eq!(survey.not_understood.examples, ["the pump in hall 3 was serviced"]);
        let nothing = survey_of("the pump in hall 3 was serviced\nit runs again\n");
        assert!(!nothing.is_understood());
    }

    #[test]
    fn programs_read_names() {
        let json = serde_json::to_value(survey_of(MIXED)).unwrap();
        assert_eq!(json["forms"][0]["format"], "eve");
        assert_eq!(json["forms"][0]["kind"], "alert");
        assert_eq!(json["forms"][0]["severity"], 1);
        assert_eq!(json["forms"][0]["first"], "2026-06-03T13:05:00.000000");
        assert_eq!(json["ends"][0]["alerts"], 2);
        assert_eq!(json["not_understood"]["records"], 1);
    }
}
