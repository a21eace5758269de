//! What collectors write around each record that they pass on: container runtimes, journald, shippers, log stores. Each is told by keys
//! of its own, which no application's record has together.

use serde_json::Value;

use super::json;
use super::unwrap::Around;
use crate::Timestamp;
use crate::formats::{Format, Object, is_notable, objects, time_of};

/// What a collector carried.
pub(super) enum Carried {
    /// A record as text, of one line or several.
    Text(String),
    /// A record as an object.
    Object(Object),
    /// Several records as texts, each with its time.
    Texts(Vec<(Option<Timestamp>, String)>),
    /// None: an instruction to a store, such as stands before each document of a bulk request.
    Nothing,
}

/// A collector that carries a record as text beside what it knows of it.
struct Collector {
    /// The key of the text.
    text: &'static str,
    /// Keys of which one has to be there, of each of these groups.
    with: &'static [&'static [&'static str]],
    time: &'static [&'static str],
    host: &'static [&'static str],
    program: &'static [&'static str],
}

/// Most keys beside which `log` and a time are Docker's.
const MAX_DOCKER: usize = 4;

const COLLECTORS: [Collector; 12] = [
    // Splunk's results.
    Collector { text: "_raw", with: &[], time: &["_time"], host: &["host"], program: &[] },
    // Docker's json-file driver, Fluent Bit and Fluentd behind it.
    Collector {
        text: "log",
        with: &[&["stream"]],
        time: &["time", "@timestamp", "date"],
        host: &[],
        program: &[],
    },
    Collector { text: "log", with: &[&["time", "date"]], time: &["time", "date"], host: &[], program: &[] },
    // syslog-ng's `format-json`.
    Collector {
        text: "MESSAGE",
        with: &[&["PROGRAM"], &["HOST", "HOST_FROM"]],
        time: &["ISODATE", "DATE"],
        host: &["HOST", "HOST_FROM"],
        program: &["PROGRAM"],
    },
    // Graylog's extended format.
    Collector {
        text: "short_message",
        with: &[&["version"], &["host"]],
        time: &["timestamp"],
        host: &["host"],
        program: &["_application_name", "_program", "_container_name", "_facility", "facility"],
    },
    // Graylog's answer to a search.
    Collector {
        text: "message",
        with: &[&["source"], &["timestamp"], &["_id", "gl2_message_id", "gl2_source_input"]],
        time: &["timestamp"],
        host: &["source"],
        program: &["application_name", "program", "facility"],
    },
    // What takes syslog apart: rsyslog, Fluentd, Vector.
    Collector {
        text: "message",
        with: &[
            &["programname", "syslogtag", "ident", "appname", "syslog_identifier"],
            &["host", "hostname"],
        ],
        time: &["timereported", "@timestamp", "timestamp", "time"],
        host: &["hostname", "host"],
        program: &["programname", "appname", "ident", "syslog_identifier", "syslogtag"],
    },
    Collector {
        text: "msg",
        with: &[&["programname", "syslogtag"], &["host", "hostname"]],
        time: &["timereported", "@timestamp", "timestamp", "time"],
        host: &["hostname", "host"],
        program: &["programname", "syslogtag"],
    },
    // Vector's files and sockets.
    Collector {
        text: "message",
        with: &[&["source_type"], &["timestamp"]],
        time: &["timestamp"],
        host: &["host"],
        program: &[],
    },
    // The unified log of macOS, as `log show --style ndjson` writes it.
    Collector {
        text: "eventMessage",
        with: &[&["processImagePath"], &["messageType", "eventType"]],
        time: &["timestamp"],
        host: &["hostname", "host", "computerName"],
        program: &["processImagePath"],
    },
    // Log Analytics' `Syslog`.
    Collector {
        text: "SyslogMessage",
        with: &[&["ProcessName"], &["TimeGenerated", "EventTime"]],
        time: &["TimeGenerated", "EventTime"],
        host: &["Computer", "HostName"],
        program: &["ProcessName"],
    },
    // Loki's client.
    Collector { text: "line", with: &[&["labels"]], time: &["timestamp"], host: &[], program: &[] },
];

/// The record that a collector's object carries; what else the object says goes into the envelope.
pub(super) fn carried(object: &mut Object, around: &mut Around) -> Option<Carried> {
    if is_instruction(object) {
        return Some(Carried::Nothing);
    }
    // Splunk's own events have more in their fields than in their text.
    if is_notable(object) {
        return None;
    }
    // What stands beside a result, the hit of a search or an event.
    for (key, beside) in [
        ("result", &["preview", "offset", "lastrow", "_raw"][..]),
        ("_source", &["_index", "_id", "_score", "_type"]),
        ("event", &["sourcetype", "index"]),
        ("json", &["agent", "input", "beat"]),
        ("message", &["index", "decoration_stats", "highlight_ranges"]),
    ] {
        let is_inner = object.get(key).is_some_and(Value::is_object);
        let is_one = |inner: &&str| object.contains_key(*inner);
        let is_known =
            is_inner && (beside.iter().any(is_one) || key == "_source" || is_of_splunk(object, key));
        if is_known && let Some(Value::Object(inner)) = object.get_mut(key).map(Value::take) {
            add(object, around, &["time", "@timestamp"], &["host"], &[]);
            return Some(Carried::Object(inner));
        }
    }
    if let Some(inner) = integrated(object) {
        return Some(Carried::Object(inner));
    }
    if is_text(object, "event") && ["sourcetype", "index"].iter().any(|key| is_text(object, key)) {
        add(object, around, &["time"], &["host"], &[]);
        return text(object, "event").map(Carried::Text);
    }
    if let Some(texts) = stream(object) {
        return Some(Carried::Texts(texts));
    }
    if object.contains_key("MESSAGE")
        && object.keys().any(|key| key.starts_with("__") || key.starts_with("_SOURCE_"))
    {
        return journald(object, around).map(Carried::Text);
    }
    if is_text(object, "CloudTrailEvent") && is_text(object, "EventId") {
        return text(object, "CloudTrailEvent").map(Carried::Text);
    }
    // Purview's search, and the shell's.
    let beside = ["CreationDate", "Operation", "Operations", "UserId", "UserIds"];
    if is_text(object, "AuditData") && beside.iter().filter(|key| object.contains_key(**key)).count() >= 2 {
        return text(object, "AuditData").map(Carried::Text);
    }
    unpack(object);
    if is_cloudwatch(object) {
        add(object, around, &["timestamp"], &[], &[]);
        return text(object, "message").map(Carried::Text);
    }
    if let Some(collector) = COLLECTORS.iter().find(|collector| collector.wrote(object)) {
        add(object, around, collector.time, collector.host, collector.program);
        return text(object, collector.text).map(Carried::Text);
    }
    shipped(object, around).map(Carried::Text)
}

/// EvtxECmd writes what an event holds as text beside what it says of it, in its tables and in its JSON.
fn unpack(object: &mut Object) {
    let is_event = is_text(object, "Payload") && is_text(object, "Channel") && object.contains_key("EventId");
    let payload = object.get("Payload").and_then(Value::as_str).filter(|_| is_event).and_then(json::object);
    for (name, value) in payload.into_iter().flatten() {
        object.entry(name).or_insert(value);
    }
}

/// What one of Wazuh's integrations fetched, which stands under the integration's name, alone or beside it.
fn integrated(object: &mut Object) -> Option<Object> {
    const INTEGRATIONS: [&str; 6] = ["aws", "docker", "gcp", "github", "ms-graph", "office365"];
    let is_named = |name: &&&str| {
        object.get("integration").and_then(Value::as_str).map_or(object.len() == 1, |own| own == **name)
    };
    let name = INTEGRATIONS.iter().find(|name| object.contains_key(**name) && is_named(name))?;
    match object.get_mut(*name)? {
        Value::Object(inner) => Some(std::mem::take(inner)),
        _ => None,
    }
}

impl Collector {
    fn wrote(&self, object: &Object) -> bool {
        let has = |keys: &&[&str]| keys.iter().any(|key| object.contains_key(*key));
        let is_short = self.text != "log" || object.len() <= MAX_DOCKER || has(&&["stream"][..]);
        is_text(object, self.text) && is_short && self.with.iter().all(has)
    }
}

/// Whether a result is Splunk's: the event's text, or its fields with what Splunk says of each.
fn is_of_splunk(object: &Object, key: &str) -> bool {
    let has = |name: &str| object.get(key).is_some_and(|inner| inner.get(name).is_some());
    key == "result" && (has("_raw") || has("_time") && ["sourcetype", "source", "index"].into_iter().any(has))
}

/// `{"index":{"_index":"x"}}`, the line before each document of a bulk request.
fn is_instruction(object: &Object) -> bool {
    let mut members = object.iter();
    let (Some((key, Value::Object(inner))), None) = (members.next(), members.next()) else { return false };
    matches!(key.as_str(), "index" | "create" | "update" | "delete")
        && !inner.is_empty()
        && inner.keys().all(|key| key.starts_with('_') || key == "routing")
}

/// Loki's streams, and CloudWatch's rows of fields.
fn stream(object: &Object) -> Option<Vec<(Option<Timestamp>, String)>> {
    object.get("stream").filter(|stream| stream.is_object())?;
    let Some(Value::Array(values)) = object.get("values") else { return None };
    let pair = |value: &Value| {
        let time = value.get(0).and_then(time_of);
        Some((time, value.get(1)?.as_str()?.to_owned()))
    };
    Some(values.iter().filter_map(pair).collect())
}

/// journald, as `journalctl -o json` and its export write it.
fn journald(object: &Object, around: &mut Around) -> Option<String> {
    let time = ["_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"]
        .into_iter()
        .find_map(|key| Timestamp::from_micros(object.get(key)?.as_str()?.parse().ok()?));
    let host = word(object, &["_HOSTNAME"]);
    // What a container says stands under its name; its identifier is the runtime's.
    let program = word(object, &["CONTAINER_NAME", "SYSLOG_IDENTIFIER", "_COMM"]);
    around.add(time, &host, &program);
    match object.get("MESSAGE")? {
        Value::String(message) => Some(message.clone()),
        // What is no UTF-8 is written as a list of bytes.
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    }
}

/// CloudWatch, by subscription or export.
fn is_cloudwatch(object: &Object) -> bool {
    let is_event = object.contains_key("ingestionTime") && object.len() <= 6;
    let is_sent = is_text(object, "id") && object.contains_key("timestamp") && object.len() == 3;
    is_text(object, "message") && (is_event || is_sent)
}

/// What a shipper of files carries: the line stands in `message` or, where that was rewritten, in `event.original`. Where the shipper
/// took the line apart itself, the object is the record.
fn shipped(object: &Object, around: &mut Around) -> Option<String> {
    let of = |key: &str, inner: &str| object.get(key).and_then(|value| value.get(inner)).is_some();
    let names_file = of("log", "file") || of("input", "type") || object.contains_key("@version");
    if !object.contains_key("@timestamp") || !names_file || is_applications(object) {
        return None;
    }
    let event = object.get("event");
    let original = event.and_then(|event| event.get("original")).and_then(Value::as_str);
    let line = original.or_else(|| object.get("message")?.as_str())?.trim_start();
    let is_object = line.starts_with('{') && json::object(line).is_some();
    let says = |key: &str| event.is_some_and(|event| event.get(key).is_some());
    let is_read = ["kind", "category", "action", "outcome", "code"].into_iter().any(says)
        || objects().iter().any(|own| own.format != Format::Ecs && (own.recognises)(object));
    if !is_object && (is_read || line.is_empty()) {
        return None;
    }
    let line = line.to_owned();
    add(object, around, &["@timestamp"], &["host"], &[]);
    Some(line)
}

/// Whether an application wrote the object itself, so that its message is what it was told by others.
fn is_applications(object: &Object) -> bool {
    const OWN: [&str; 9] = [
        "level",
        "log.level",
        "logger",
        "logger_name",
        "log.logger",
        "thread_name",
        "levelname",
        "service.name",
        "stack_trace",
    ];
    let of = |key: &str, inner: &str| object.get(key).and_then(|value| value.get(inner)).is_some();
    OWN.iter().any(|key| object.contains_key(*key))
        || of("log", "level")
        || of("log", "logger")
        || of("service", "name")
}

/// Puts what an object says of when, where and by whom into the envelope.
fn add(object: &Object, around: &mut Around, time: &[&str], host: &[&str], program: &[&str]) {
    let time = time.iter().find_map(|key| time_of(object.get(*key)?));
    let host = host.iter().find_map(|key| {
        let host = object.get(*key)?;
        host.get("name").or_else(|| host.get("hostname")).unwrap_or(host).as_str()
    });
    // `sshd[120]:` is a whole tag.
    let program = word(object, program);
    let program = program.split(['[', ':']).next().unwrap_or_default();
    around.add(time, host.unwrap_or_default(), program);
}

fn word(object: &Object, keys: &[&str]) -> String {
    let words = keys.iter().filter_map(|key| object.get(*key)?.as_str());
    words.map(str::trim).find(|word| !word.is_empty() && *word != "-").unwrap_or_default().to_owned()
}

fn is_text(object: &Object, key: &str) -> bool {
    object.get(key).is_some_and(Value::is_string)
}

fn text(object: &mut Object, key: &str) -> Option<String> {
    match object.get_mut(key).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}
