//! Takes off what stands around a record: an export's answer, a container runtime's or journald's wrapping, a syslog header, JSON
//! in a text field. What is left is an object or a line, and an envelope of what the wrapping said.
//!
//! Only what a collector writes around each of its records is taken off, told by the wrapping's own keys. A text field of an
//! application's record stays what it is, since others may choose its content; so does an object that a program says in syslog
//! whose name is neither a sensor's nor a shipper's.

use serde_json::Value;

use super::header::header;
use super::json::{self, WRAPPERS};
use crate::Timestamp;
use crate::formats::{Envelope, Object};

/// Most wrappings one in another.
const MAX_DEPTH: u32 = 6;

/// Words in the names of programs that write records as JSON objects, or pass them on: sensors, their outputs, shippers.
const WRITERS_OF_OBJECTS: [&str; 40] = [
    "alert", "alerts", "auditbeat", "aws", "bro", "cef", "cloudtrail", "corelight", "detection", "ecs", "edr", "elastic",
    "eve", "evtx", "falco", "filebeat", "fluent", "fluentd", "guardduty", "hayabusa", "hids", "ids", "ips", "json",
    "logstash", "nids", "nxlog", "ocsf", "ossec", "packetbeat", "rsyslogd", "securityonion", "siem", "sigma", "snort",
    "suricata", "sysmon", "wazuh", "winlogbeat", "zeek",
];

/// An envelope that owns its texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Around {
    pub(super) time: Option<Timestamp>,
    pub(super) host: String,
    pub(super) program: String,
    /// The header that was taken off a line.
    pub(super) header: String,
}

impl Around {
    pub(super) fn envelope(&self) -> Envelope<'_> {
        Envelope { time: self.time, host: &self.host, program: &self.program }
    }

    /// The inner wrapping is nearer to the record, and goes before.
    fn add(&mut self, time: Option<Timestamp>, host: &str, program: &str) {
        self.time = time.or(self.time);
        for (own, more) in [(&mut self.host, host), (&mut self.program, program)] {
            if !more.is_empty() {
                more.clone_into(own);
            }
        }
    }
}

/// What a record is written as.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Object(Object),
    Line(String),
}

/// A record without its wrapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) body: Body,
    pub(super) around: Around,
    /// Whether it breaks off.
    pub(super) is_cut: bool,
}

/// Takes a line apart into `out`.
pub(super) fn line(text: &str, around: Around, is_cut: bool, out: &mut Vec<Item>) {
    take_line(text, around, is_cut, 0, out);
}

/// Takes an object apart into `out`.
pub(super) fn object(object: Object, is_cut: bool, out: &mut Vec<Item>) {
    take_object(object, Around::default(), is_cut, 0, out);
}

fn take_line(text: &str, mut around: Around, is_cut: bool, depth: u32, out: &mut Vec<Item>) {
    let mut message = text;
    if let Some(found) = header(text) {
        around.add(found.time, found.host, found.program);
        message = found.message;
        text.get(..text.len() - message.len()).unwrap_or_default().clone_into(&mut around.header);
    }
    let inner = message.trim_start();
    let inner = inner.strip_prefix("@cee:").map_or(inner, str::trim_start);
    if inner.starts_with('{') && depth < MAX_DEPTH && writes_objects(&around.program) {
        if let Some(object) = json::object(inner) {
            return take_object(object, around, is_cut, depth + 1, out);
        }
        // Syslog cuts what is longer than a datagram.
        if message.len() < text.len()
            && let Some(object) = json::repaired(inner.trim_end())
        {
            return take_object(object, around, true, depth + 1, out);
        }
    }
    out.push(Item { body: Body::Line(message.to_owned()), around, is_cut });
}

/// Whether what this program says may be a record as an object. Without a name it is a file's line, or a container's.
fn writes_objects(program: &str) -> bool {
    program.is_empty()
        || program.split(|c: char| !c.is_ascii_alphabetic()).any(|word| {
            WRITERS_OF_OBJECTS.iter().any(|own| own.eq_ignore_ascii_case(word))
        })
}

fn take_object(mut object: Object, mut around: Around, is_cut: bool, depth: u32, out: &mut Vec<Item>) {
    if depth >= MAX_DEPTH {
        out.push(Item { body: Body::Object(object), around, is_cut });
        return;
    }
    if let Some(records) = wrapped(&mut object) {
        for record in records {
            match record {
                Value::Object(record) => take_object(record, around.clone(), is_cut, depth + 1, out),
                Value::String(record) => take_line(&record, around.clone(), is_cut, depth + 1, out),
                _ => {}
            }
        }
        return;
    }
    // A document of a search engine.
    if let Some(Value::Object(source)) = object.get_mut("_source").map(Value::take) {
        return take_object(source, around, is_cut, depth + 1, out);
    }
    if let Some(message) = message_of(&mut object, &mut around) {
        let mut lines = message.lines().filter(|line| !line.trim().is_empty()).peekable();
        if message.trim_start().starts_with('{') {
            return take_line(&message, around, is_cut, depth + 1, out);
        }
        if lines.peek().is_none() {
            out.push(Item { body: Body::Object(object), around, is_cut });
            return;
        }
        for line in lines {
            take_line(line, around.clone(), is_cut, depth + 1, out);
        }
        return;
    }
    out.push(Item { body: Body::Object(object), around, is_cut });
}

/// The records of an export.
fn wrapped(object: &mut Object) -> Option<Vec<Value>> {
    for path in WRAPPERS {
        let (last, way) = path.split_last()?;
        let mut place = Some(&mut *object);
        for key in way {
            place = place.and_then(|object| object.get_mut(*key)?.as_object_mut());
        }
        let Some(Value::Array(records)) = place.and_then(|object| object.get_mut(*last)) else { continue };
        if !records.is_empty() && records.iter().all(Value::is_object) {
            return Some(std::mem::take(records));
        }
    }
    None
}

/// The record that a collector's object carries as text; what else the object says goes into the envelope.
fn message_of(object: &mut Object, around: &mut Around) -> Option<String> {
    let word =
        |object: &Object, key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    // Docker's json-file driver.
    if is_text(object, "log") && (is_text(object, "stream") || is_text(object, "time")) && object.len() <= 4 {
        around.add(Timestamp::parse(&word(object, "time")), "", "");
        return text(object, "log");
    }
    // Splunk: a search's result, over REST or from a file.
    if let Some(Value::Object(result)) = object.get_mut("result")
        && is_text(result, "_raw")
    {
        around.add(Timestamp::parse(&word(result, "_time")), &word(result, "host"), "");
        return text(result, "_raw");
    }
    if is_text(object, "_raw") {
        around.add(Timestamp::parse(&word(object, "_time")), &word(object, "host"), "");
        return text(object, "_raw");
    }
    // journald, as `journalctl -o json` and its export write it.
    if object.contains_key("MESSAGE")
        && object.keys().any(|key| key.starts_with("__") || key.starts_with("_SOURCE_"))
    {
        let time = ["_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"]
            .into_iter()
            .find_map(|key| Timestamp::from_micros(object.get(key)?.as_str()?.parse().ok()?));
        let program = Some(word(object, "SYSLOG_IDENTIFIER")).filter(|name| !name.is_empty());
        around.add(time, &word(object, "_HOSTNAME"), &program.unwrap_or_else(|| word(object, "_COMM")));
        return match object.get("MESSAGE")? {
            Value::String(message) => Some(message.clone()),
            // What is no UTF-8 is written as a list of bytes.
            Value::Array(bytes) => {
                let bytes: Vec<u8> =
                    bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        };
    }
    // CloudWatch, by subscription or export.
    if is_text(object, "message") && object.len() <= 5 && object.contains_key("ingestionTime")
        || is_text(object, "message")
            && is_text(object, "id")
            && object.contains_key("timestamp")
            && object.len() == 3
    {
        let millis = object.get("timestamp").and_then(Value::as_i64);
        around.add(millis.and_then(|millis| Timestamp::from_micros(millis.checked_mul(1000)?)), "", "");
        return text(object, "message");
    }
    // A shipper of files: the line stands in `message` or, where that was rewritten, in `event.original`.
    if is_shipped(object) {
        let original = object.get("event").and_then(|event| event.get("original")).and_then(Value::as_str);
        let line = original.or_else(|| object.get("message")?.as_str())?;
        let line = line.trim_start();
        let has_record = line.starts_with('{') && json::object(line).is_some();
        if has_record {
            let line = line.to_owned();
            let host = object.get("host").and_then(|host| host.get("name").or(Some(host))?.as_str());
            let host = host.unwrap_or_default().to_owned();
            around.add(Timestamp::parse(&word(object, "@timestamp")), &host, "");
            return Some(line);
        }
    }
    None
}

/// Whether a shipper that follows files wrote the object: it names the file.
fn is_shipped(object: &Object) -> bool {
    let of = |key: &str, inner: &str| object.get(key).and_then(|value| value.get(inner)).is_some();
    object.contains_key("@timestamp")
        && (of("log", "file") || of("input", "type") || object.contains_key("@version"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<(String, Around)> {
        let mut out = Vec::new();
        line(text, Around::default(), false, &mut out);
        out.into_iter()
            .map(|item| match item.body {
                Body::Object(object) => (Value::Object(object).to_string(), item.around),
                Body::Line(line) => (line, item.around),
            })
            .collect()
    }

    fn bodies(text: &str) -> Vec<String> {
        items(text).into_iter().map(|(body, _)| body).collect()
    }

    #[test]
    fn every_wrapping_is_taken_off() {
        for text in [
            r#"{"event_type":"alert"}"#,
            r#"{"log":"{\"event_type\":\"alert\"}\n","stream":"stdout","time":"2026-06-03T12:59:31Z"}"#,
            r#"{"preview":false,"result":{"_time":"2026-06-03T12:59:31Z","host":"ids1","_raw":"{\"event_type\":\"alert\"}"}}"#,
            r#"{"MESSAGE":"{\"event_type\":\"alert\"}","__REALTIME_TIMESTAMP":"1780491571342001","_HOSTNAME":"ids1"}"#,
            r#"{"Records":[{"event_type":"alert"}]}"#,
            r#"{"took":1,"hits":{"total":1,"hits":[{"_index":"x","_source":{"event_type":"alert"}}]}}"#,
            r#"<141>1 2026-06-03T12:59:31+02:00 fw suricata 1 - - {"event_type":"alert"}"#,
            r#"Jun  3 12:59:31 ids suricata[9]: @cee: {"event_type":"alert"}"#,
            r#"{"@timestamp":"2026-06-03T12:59:31Z","log":{"file":{"path":"/x"}},"message":"{\"event_type\":\"alert\"}"}"#,
            r#"{"logEvents":[{"id":"1","timestamp":1780491571342,"message":"{\"event_type\":\"alert\"}"}]}"#,
        ] {
            assert_eq!(bodies(text), [r#"{"event_type":"alert"}"#], "{text}");
        }
    }

    #[test]
    fn the_wrapping_says_when_where_and_who() {
        let (body, around) = items("Jun  3 12:59:31 web01 sshd[1]: Failed").remove(0);
        assert_eq!(
            (body.as_str(), around.host.as_str(), around.program.as_str()),
            ("Failed", "web01", "sshd")
        );
        let text = r#"{"MESSAGE":[70,97,105,108,255],"__REALTIME_TIMESTAMP":"1780491571342001","_HOSTNAME":"web01","SYSLOG_IDENTIFIER":"sshd"}"#;
        let (body, around) = items(text).remove(0);
        assert_eq!(body, "Fail\u{fffd}");
        assert_eq!((around.host.as_str(), around.program.as_str()), ("web01", "sshd"));
        assert_eq!(around.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
    }

    #[test]
    fn what_an_application_says_stays_in_its_field() {
        let text =
            r#"{"level":"info","message":"{\"event_type\":\"alert\"}","log":"{\"event_type\":\"alert\"}"}"#;
        assert_eq!(bodies(text), [text]);
        let text = r#"{"user":"x","data":[1,2],"value":[]}"#;
        assert_eq!(bodies(text), [text]);
    }

    #[test]
    fn an_object_in_syslog_is_a_sensors_or_a_text() {
        let object = r#"{"event_type":"alert"}"#;
        for (program, is_object) in [
            ("suricata", true),
            ("eve-json", true),
            ("/usr/bin/Wazuh", true),
            ("snort3", true),
            ("shop", false),
            ("sshd", false),
            ("steve", false),
        ] {
            let items = items(&format!("Jun  3 12:59:31 web01 {program}[9]: {object}"));
            let mut out = Vec::new();
            line(&format!("Jun  3 12:59:31 web01 {program}[9]: {object}"), Around::default(), false, &mut out);
            assert_eq!(matches!(out[0].body, Body::Object(_)), is_object, "{program}");
            assert_eq!((items.len(), items[0].0.as_str()), (1, object), "{program}");
        }
    }

    #[test]
    fn deep_wrappings_are_bounded() {
        let mut text = "{}".to_owned();
        for _ in 0..20 {
            text = format!("{{\"log\":{},\"stream\":\"x\"}}", Value::String(text));
            if text.len() > 1 << 16 {
                break;
            }
        }
        assert_eq!(bodies(&text).len(), 1);
    }
}
