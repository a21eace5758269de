//! A log in a form of its own: protobuf behind a mark and a version. Evidence that was read travels in it and is never read again as
//! text, so that nothing which stands in a record can be taken for another record or for a count.

use prost::Message;

use super::{AlertLog, FormatCount, Reading};
use crate::formats::Format;
use crate::reading::LogError;
use crate::text::printable;
use crate::{Endpoint, Record, RecordKind, Repeats, SensorVerdict, Tactic, Timestamp};

/// What the form begins with: no text does, and the last byte is its version.
const MARK: [u8; 8] = *b"\0cmrec\0\x01";
/// No record may claim to stand for more than this, so that counts can be added without overflow.
const MAX_COUNT: u64 = 1_000_000_000_000;

impl AlertLog {
    /// The log in the form of this module. Of a log that [`AlertLog::read`] read it has less than 64 MiB.
    pub fn to_bytes(&self) -> Vec<u8> {
        let log = WireLog {
            records: self.records.iter().map(WireRecord::from).collect(),
            warnings: self.warnings.clone(),
            formats: self.reading.formats.iter().map(WireFormat::from).collect(),
            unknown: self.reading.unknown,
            nearest: self.reading.nearest.map(|format| format.name().to_owned()),
            cut: self.reading.cut,
            repeated: self.reading.repeated,
            other_sinks: self.reading.other_sinks,
        };
        let mut out = MARK.to_vec();
        out.extend(log.encode_to_vec());
        out
    }

    /// Whether bytes are a log in the form of this module, of whatever version.
    pub fn is_records(bytes: &[u8]) -> bool {
        bytes.get(..MARK.len() - 1) == MARK.get(..MARK.len() - 1)
    }

    /// Reads what [`AlertLog::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`LogError::Records`] if it is of another version or damaged. Texts that would act when shown are escaped again, since anybody
    /// can write bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<AlertLog, LogError> {
        let refuse = |why: &str| LogError::Records(why.to_owned());
        if !Self::is_records(bytes) {
            return Err(refuse("they do not begin as such"));
        }
        let body = bytes
            .strip_prefix(&MARK)
            .ok_or_else(|| refuse("they were written by another version; use the same one at both ends"))?;
        let log = WireLog::decode(body).map_err(|error| LogError::Records(error.to_string()))?;
        Ok(AlertLog {
            records: log.records.into_iter().map(Record::from).collect(),
            warnings: log.warnings.into_iter().map(safe).collect(),
            reading: Reading {
                formats: log.formats.into_iter().map(FormatCount::from).collect(),
                unknown: log.unknown,
                nearest: log.nearest.as_deref().and_then(Format::named),
                cut: log.cut,
                repeated: log.repeated,
                other_sinks: log.other_sinks,
            },
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct WireLog {
    #[prost(message, repeated, tag = "1")]
    records: Vec<WireRecord>,
    #[prost(string, repeated, tag = "2")]
    warnings: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    formats: Vec<WireFormat>,
    #[prost(uint64, tag = "4")]
    unknown: u64,
    #[prost(string, optional, tag = "5")]
    nearest: Option<String>,
    #[prost(uint64, tag = "6")]
    cut: u64,
    #[prost(uint64, tag = "7")]
    repeated: u64,
    #[prost(uint64, tag = "8")]
    other_sinks: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WireFormat {
    #[prost(string, tag = "1")]
    format: String,
    #[prost(uint64, tag = "2")]
    alerts: u64,
    #[prost(uint64, tag = "3")]
    logs: u64,
    #[prost(uint64, tag = "4")]
    telemetry: u64,
    #[prost(uint64, tag = "5")]
    unknown: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WireRecord {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(message, optional, tag = "3")]
    time: Option<WireTime>,
    #[prost(string, tag = "4")]
    sensor: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    message: String,
    #[prost(string, tag = "7")]
    detail: String,
    #[prost(string, tag = "8")]
    rule: String,
    #[prost(uint32, optional, tag = "9")]
    priority: Option<u32>,
    #[prost(string, tag = "10")]
    classification: String,
    #[prost(string, repeated, tag = "11")]
    tactics: Vec<String>,
    #[prost(string, repeated, tag = "12")]
    techniques: Vec<String>,
    #[prost(string, tag = "13")]
    protocol: String,
    #[prost(message, optional, tag = "14")]
    source: Option<WireEnd>,
    #[prost(message, optional, tag = "15")]
    destination: Option<WireEnd>,
    #[prost(string, repeated, tag = "16")]
    via: Vec<String>,
    #[prost(string, tag = "17")]
    account: String,
    #[prost(string, tag = "18")]
    process: String,
    #[prost(string, tag = "19")]
    file: String,
    #[prost(bool, optional, tag = "20")]
    was_blocked: Option<bool>,
    #[prost(string, tag = "21")]
    raw: String,
    #[prost(bool, tag = "22")]
    is_cut: bool,
    #[prost(uint64, tag = "23")]
    count: u64,
    #[prost(message, optional, tag = "24")]
    last: Option<WireTime>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireTime {
    #[prost(uint32, optional, tag = "1")]
    year: Option<u32>,
    #[prost(sint32, tag = "2")]
    turns: i32,
    #[prost(uint32, tag = "3")]
    month: u32,
    #[prost(uint32, tag = "4")]
    day: u32,
    #[prost(uint32, tag = "5")]
    second: u32,
    #[prost(uint32, tag = "6")]
    micro: u32,
    #[prost(bool, tag = "7")]
    has_zone: bool,
}

#[derive(Clone, PartialEq, Message)]
struct WireEnd {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(uint32, optional, tag = "2")]
    port: Option<u32>,
}

impl From<&FormatCount> for WireFormat {
    fn from(count: &FormatCount) -> Self {
        let FormatCount { format, alerts, logs, telemetry, unknown } = *count;
        WireFormat { format: format.name().to_owned(), alerts, logs, telemetry, unknown }
    }
}

impl From<WireFormat> for FormatCount {
    fn from(count: WireFormat) -> Self {
        let WireFormat { format, alerts, logs, telemetry, unknown } = count;
        FormatCount { format: Format::named(&format).unwrap_or_default(), alerts, logs, telemetry, unknown }
    }
}

impl From<Timestamp> for WireTime {
    fn from(time: Timestamp) -> Self {
        let (year, turns, month, day, second, micro, has_zone) = time.parts();
        WireTime {
            year: year.map(u32::from),
            turns: turns.into(),
            month: month.into(),
            day: day.into(),
            second,
            micro,
            has_zone,
        }
    }
}

/// The time, if there is such a moment.
fn time(time: Option<WireTime>) -> Option<Timestamp> {
    let WireTime { year, turns, month, day, second, micro, has_zone } = time?;
    let year = year.map(u16::try_from).transpose().ok()?;
    let (month, day) = (month.try_into().ok()?, day.try_into().ok()?);
    Timestamp::of_parts((year, turns.try_into().ok()?, month, day, second, micro, has_zone))
}

impl From<&Endpoint> for WireEnd {
    fn from(end: &Endpoint) -> Self {
        WireEnd { address: end.address.clone(), port: end.port.map(u32::from) }
    }
}

impl From<WireEnd> for Endpoint {
    fn from(end: WireEnd) -> Self {
        Endpoint::new(&safe(end.address), end.port.and_then(|port| port.try_into().ok()))
    }
}

impl From<&Record> for WireRecord {
    fn from(record: &Record) -> Self {
        WireRecord {
            kind: match record.kind {
                RecordKind::Unknown => 0,
                RecordKind::Alert => 1,
                RecordKind::Log => 2,
                RecordKind::Telemetry => 3,
            },
            format: record.format.name().to_owned(),
            time: record.time.map(WireTime::from),
            sensor: record.sensor.clone(),
            host: record.host.clone(),
            message: record.message.clone(),
            detail: record.detail.clone(),
            rule: record.rule.clone(),
            priority: record.priority.map(u32::from),
            classification: record.classification.clone(),
            tactics: record.tactics.iter().map(|tactic| tactic.name().to_owned()).collect(),
            techniques: record.techniques.clone(),
            protocol: record.protocol.clone(),
            source: record.source.as_ref().map(WireEnd::from),
            destination: record.destination.as_ref().map(WireEnd::from),
            via: record.via.clone(),
            account: record.account.clone(),
            process: record.process.clone(),
            file: record.file.clone(),
            was_blocked: record.verdict.map(|verdict| verdict == SensorVerdict::Blocked),
            raw: record.raw.clone(),
            is_cut: record.is_cut,
            count: record.repeats.count,
            last: record.repeats.last.map(WireTime::from),
        }
    }
}

impl From<WireRecord> for Record {
    fn from(record: WireRecord) -> Self {
        let texts = |texts: Vec<String>| texts.into_iter().map(safe).collect();
        Record {
            kind: match record.kind {
                1 => RecordKind::Alert,
                2 => RecordKind::Log,
                3 => RecordKind::Telemetry,
                _ => RecordKind::Unknown,
            },
            format: Format::named(&record.format).unwrap_or_default(),
            time: time(record.time),
            sensor: safe(record.sensor),
            host: safe(record.host),
            message: safe(record.message),
            detail: safe(record.detail),
            rule: safe(record.rule),
            priority: record.priority.and_then(|priority| priority.try_into().ok()),
            classification: safe(record.classification),
            tactics: record.tactics.iter().filter_map(|name| Tactic::parse(name)).collect(),
            techniques: texts(record.techniques),
            protocol: safe(record.protocol),
            source: record.source.map(Endpoint::from),
            destination: record.destination.map(Endpoint::from),
            via: texts(record.via),
            account: safe(record.account),
            process: safe(record.process),
            file: safe(record.file),
            verdict: record.was_blocked.map(|blocked| match blocked {
                true => SensorVerdict::Blocked,
                false => SensorVerdict::Allowed,
            }),
            raw: safe(record.raw),
            is_cut: record.is_cut,
            repeats: Repeats { count: record.count.clamp(1, MAX_COUNT), last: time(record.last) },
        }
    }
}

fn safe(text: String) -> String {
    match printable(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(escaped) => escaped,
    }
}
