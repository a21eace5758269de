//! Takes off what stands around a record: an export's answer, a container runtime's or journald's wrapping, a syslog header, JSON
//! in a text field. What is left is an object or a line, and an envelope of what the wrapping said.
//!
//! Only what a collector writes around each of its records is taken off, told by the wrapping's own keys. A text field of an
//! application's record stays what it is, since others may choose its content; so does an object that a program says in syslog
//! whose name is neither a sensor's nor a shipper's.

use serde_json::Value;

use super::collectors::{Carried, carried};
use super::header::{container, header};
use super::json::{self, WRAPPERS};
use super::lines::MAX_LINE;
use super::{structured, xml};
use crate::Timestamp;
use crate::formats::{Envelope, Object, time_of};

/// Most wrappings one in another.
const MAX_DEPTH: u32 = 6;

/// Most rows of one answer of osquery, and the longest text that is repeated in each.
const MAX_ROWS: usize = 10_000;
const MAX_REPEATED: usize = 256;

/// Words in the names of programs that write records as JSON objects, or pass them on: sensors, their outputs, shippers.
const WRITERS_OF_OBJECTS: [&str; 93] = [
    "alert",
    "alerts",
    "alloy",
    "audit",
    "auditbeat",
    "auditd",
    "aws",
    "azure",
    "bro",
    "cef",
    "chainsaw",
    "clamav",
    "claroty",
    "cloudtrail",
    "cloudflare",
    "cloudwatch",
    "containerd",
    "corelight",
    "cortex",
    "crowdsec",
    "crowdstrike",
    "darktrace",
    "defender",
    "detection",
    "docker",
    "ecs",
    "edr",
    "elastic",
    "entra",
    "eraserver",
    "eset",
    "eve",
    "eventlog",
    "evtx",
    "falco",
    "filebeat",
    "firewall",
    "fluent",
    "fluentd",
    "gcp",
    "gelf",
    "github",
    "graylog",
    "guardduty",
    "hayabusa",
    "hids",
    "ids",
    "ips",
    "json",
    "kube",
    "laurel",
    "logstash",
    "loki",
    "microsoft",
    "modsec",
    "modsecurity",
    "mswineventlog",
    "nids",
    "nozomi",
    "nxlog",
    "ocsf",
    "okta",
    "opnsense",
    "osquery",
    "osqueryd",
    "osqueryi",
    "ossec",
    "packetbeat",
    "paloalto",
    "pfsense",
    "promtail",
    "rsyslogd",
    "securityhub",
    "securityonion",
    "siem",
    "sigma",
    "snort",
    "splunk",
    "suricata",
    "sysmon",
    "sysmonforlinux",
    "tetragon",
    "tracee",
    "vector",
    "velociraptor",
    "waf",
    "wazuh",
    "windows",
    "wineventlog",
    "winlogbeat",
    "xdr",
    "zeek",
    "zircolite",
];

/// An envelope that owns its texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Around {
    pub(super) time: Option<Timestamp>,
    pub(super) host: String,
    pub(super) program: String,
    /// The header that was taken off a line.
    pub(super) header: String,
    /// Whether that header holds the record itself, as structured data.
    pub(super) is_in_header: bool,
}

impl Around {
    pub(super) fn envelope(&self) -> Envelope<'_> {
        Envelope { time: self.time, host: &self.host, program: &self.program }
    }

    /// The inner wrapping is nearer to the record, and goes before.
    pub(super) fn add(&mut self, time: Option<Timestamp>, host: &str, program: &str) {
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

/// Takes off what stands around the records of a source. Container runtimes cut long lines, and what was cut is put together.
#[derive(Debug, Default)]
pub(super) struct Unwrapper {
    /// The beginning of a record of which more comes, with what stood around it.
    part: Option<(Around, String)>,
}

impl Unwrapper {
    /// Takes a line apart into `out`.
    pub(super) fn line(&mut self, text: &str, around: Around, is_cut: bool, out: &mut Vec<Item>) {
        let Some((found, is_part)) = container(text) else { return take_line(text, around, is_cut, 0, out) };
        let mut own = around.clone();
        own.add(found.time, "", "");
        match self.part.take() {
            Some((begun, mut whole)) => {
                whole.push_str(found.message);
                self.hold(begun, whole, is_part, out);
            }
            None if is_part => self.hold(own, found.message.to_owned(), true, out),
            None => take_line(text, around, is_cut, 0, out),
        }
    }

    /// Takes an object apart into `out`.
    pub(super) fn object(&mut self, object: Object, is_cut: bool, out: &mut Vec<Item>) {
        let Some(text) = said_by_container(&object) else {
            return take_object(object, Around::default(), is_cut, 0, out);
        };
        let begins = text.trim_start().starts_with('{') && json::object(text).is_none();
        match self.part.take() {
            Some((begun, mut whole)) if json::object(text).is_none() => {
                whole.push_str(text);
                let is_part = json::object(&whole).is_none() && !text.ends_with('\n');
                self.hold(begun, whole, is_part, out);
            }
            None if begins && !text.ends_with('\n') => {
                let mut around = Around::default();
                around.add(object.get("time").and_then(time_of), "", "");
                self.part = Some((around, text.to_owned()));
            }
            before => {
                self.part = before;
                self.end(out);
                take_object(object, Around::default(), is_cut, 0, out);
            }
        }
    }

    /// Keeps what more comes of, up to the length of a line.
    fn hold(&mut self, around: Around, whole: String, is_part: bool, out: &mut Vec<Item>) {
        self.part = Some((around, whole));
        if !is_part || self.part.as_ref().is_some_and(|(_, whole)| whole.len() >= MAX_LINE) {
            self.end(out);
        }
    }

    /// Ends what is open at the end of the source.
    pub(super) fn end(&mut self, out: &mut Vec<Item>) {
        let Some((around, text)) = self.part.take() else { return };
        match json::repaired(text.trim()).filter(|_| json::object(&text).is_none()) {
            Some(object) => take_object(object, around, true, 1, out),
            None => take_line(text.trim_end(), around, false, 1, out),
        }
    }
}

/// What a container said, if its runtime wrote the object.
fn said_by_container(object: &Object) -> Option<&str> {
    let is_runtimes = object.get("stream").is_some_and(Value::is_string);
    object.get("log").and_then(Value::as_str).filter(|_| is_runtimes)
}

fn take_line(text: &str, mut around: Around, is_cut: bool, depth: u32, out: &mut Vec<Item>) {
    let mut message = text;
    if let Some(found) = header(text) {
        around.add(found.time, found.host, found.program);
        message = found.message;
        text.get(..text.len() - message.len()).unwrap_or_default().clone_into(&mut around.header);
        if let Some(event) = structured::windows_event(&found) {
            around.is_in_header = true;
            out.push(Item { body: Body::Object(event), around, is_cut });
            return;
        }
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
    // The name first, which costs less than reading the event.
    if writes_objects(&around.program)
        && let Some(event) = xml::object(inner)
    {
        out.push(Item { body: Body::Object(event), around, is_cut });
        return;
    }
    out.push(Item { body: Body::Line(message.to_owned()), around, is_cut });
}

/// Whether what this program says may be a record as an object. Without a name it is a file's line, or a container's.
fn writes_objects(program: &str) -> bool {
    program.is_empty()
        || program
            .split(|c: char| !c.is_ascii_alphabetic())
            .any(|word| WRITERS_OF_OBJECTS.iter().any(|own| own.eq_ignore_ascii_case(word)))
}

fn take_object(mut object: Object, mut around: Around, is_cut: bool, depth: u32, out: &mut Vec<Item>) {
    if depth >= MAX_DEPTH {
        out.push(Item { body: Body::Object(object), around, is_cut });
        return;
    }
    if let Some(records) = wrapped(&mut object).or_else(|| rows(&mut object)) {
        for record in records {
            match record {
                Value::Object(record) => take_object(record, around.clone(), is_cut, depth + 1, out),
                Value::String(record) => take_line(&record, around.clone(), is_cut, depth + 1, out),
                _ => {}
            }
        }
        return;
    }
    match carried(&mut object, &mut around) {
        Some(Carried::Object(inner)) => take_object(inner, around, is_cut, depth + 1, out),
        Some(Carried::Text(text)) if text.trim().is_empty() => {
            out.push(Item { body: Body::Object(object), around, is_cut });
        }
        Some(Carried::Text(text)) => take_text(&text, &around, is_cut, depth + 1, out),
        Some(Carried::Texts(texts)) => {
            for (time, text) in texts {
                let mut own = around.clone();
                own.add(time, "", "");
                take_text(&text, &own, is_cut, depth + 1, out);
            }
        }
        Some(Carried::Nothing) => {}
        None => out.push(Item { body: Body::Object(object), around, is_cut }),
    }
}

/// A record as text: an object, also over several lines, or lines.
fn take_text(text: &str, around: &Around, is_cut: bool, depth: u32, out: &mut Vec<Item>) {
    // Only of several lines it has to be known whether they are one record.
    let is_one_line = !text.trim_end().contains('\n');
    if is_one_line || text.trim_start().starts_with('{') || xml::object(text).is_some() {
        return take_line(text, around.clone(), is_cut, depth, out);
    }
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        take_line(line, around.clone(), is_cut, depth, out);
    }
}

/// The rows that osquery answers at once, a snapshot or what came and went, each as the result of which it is written alone.
fn rows(object: &mut Object) -> Option<Vec<Value>> {
    object.get("name").zip(object.get("hostIdentifier"))?;
    let mut lists = Vec::new();
    if let Some(Value::Array(snapshot)) = object.get_mut("snapshot") {
        lists.push(("snapshot", std::mem::take(snapshot)));
    }
    for action in ["added", "removed"] {
        let list = object.get_mut("diffResults").and_then(|results| results.get_mut(action));
        if let Some(Value::Array(list)) = list {
            lists.push((action, std::mem::take(list)));
        }
    }
    // What every row repeats is short, so that all of them take no more than the answer did, in proportion.
    let common: Vec<(&str, Value)> =
        ["name", "hostIdentifier", "unixTime", "calendarTime", "counter", "decorations"]
            .into_iter()
            .filter_map(|key| Some((key, short(key, object.get(key)?)?)))
            .collect();
    let rows = lists.into_iter().flat_map(|(action, list)| list.into_iter().map(move |row| (action, row)));
    let rows: Vec<Value> = rows
        .filter(|(_, row)| row.is_object())
        .take(MAX_ROWS)
        .map(|(action, row)| {
            let mut result: Object =
                common.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
            result.insert("action".to_owned(), action.into());
            result.insert("columns".to_owned(), row);
            Value::Object(result)
        })
        .collect();
    (!rows.is_empty()).then_some(rows)
}

/// A value that is repeated in every row, if it is short; of the decorations the host's name.
fn short(key: &str, value: &Value) -> Option<Value> {
    match value {
        Value::Object(decorations) if key == "decorations" => {
            let names = ["hostname", "host_name", "computer_name"];
            let name = names.into_iter().find_map(|name| short(name, decorations.get(name)?))?;
            Some(Value::Object(Object::from_iter([("hostname".to_owned(), name)])))
        }
        Value::String(text) => (text.len() <= MAX_REPEATED).then(|| value.clone()),
        Value::Number(_) => Some(value.clone()),
        _ => None,
    }
}

/// The records of an export.
fn wrapped(object: &mut Object) -> Option<Vec<Value>> {
    // One activity of Google Workspace says in common who acted and when.
    if object.get("kind").and_then(Value::as_str) == Some("admin#reports#activity") {
        return None;
    }
    // An alert of Cortex XDR carries the events that raised it.
    let is_numbered = ["alert_id", "external_id"].iter().any(|key| object.contains_key(*key));
    if is_numbered && object.contains_key("detection_timestamp") {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<(String, Around)> {
        let mut out = Vec::new();
        Unwrapper::default().line(text, Around::default(), false, &mut out);
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
    fn an_alert_keeps_its_events_and_an_answer_gives_its_alerts() {
        let alert = r#"{"alert_id":"1","detection_timestamp":1780491571342,"events":[{"user_name":"x"}]}"#;
        assert_eq!(bodies(alert).len(), 1);
        assert!(bodies(alert)[0].contains("alert_id"));
        let answer = format!(r#"{{"reply":{{"total_count":2,"alerts":[{alert},{alert}]}}}}"#);
        assert_eq!(bodies(&answer).len(), 2);
        assert!(bodies(&answer).iter().all(|body| body.contains("alert_id")));
    }

    #[test]
    fn each_row_of_an_answer_of_osquery_is_a_result() {
        let snapshot = r#"{"name":"users","hostIdentifier":"web01","unixTime":1780491571,"decorations":{"hostname":"w","x":"y"},"action":"snapshot","snapshot":[{"uid":"0"},7,{"uid":"1"}]}"#;
        let rows = bodies(snapshot);
        assert_eq!(rows.len(), 2);
        let first: Value = serde_json::from_str(&rows[0]).unwrap();
        let expected = r#"{"name":"users","hostIdentifier":"web01","unixTime":1780491571,"decorations":{"hostname":"w"},"action":"snapshot","columns":{"uid":"0"}}"#;
        assert_eq!(first, serde_json::from_str::<Value>(expected).unwrap());
        let batch = r#"{"name":"users","hostIdentifier":"web01","diffResults":{"added":[{"uid":"0"}],"removed":[{"uid":"1"}]}}"#;
        let rows = bodies(batch);
        assert!(
            rows[0].contains(r#""action":"added""#) && rows[1].contains(r#""action":"removed""#),
            "{rows:?}"
        );
        for half in
            [r#"{"name":"x","snapshot":[{"uid":"0"}]}"#, r#"{"name":"x","hostIdentifier":"y","snapshot":[]}"#]
        {
            assert_eq!(bodies(half).len(), 1, "{half}");
        }
    }

    #[test]
    fn the_unified_log_carries_lines_of_programs() {
        let line = r#"{"timestamp":"2026-06-03 12:59:31.342001+0000","hostname":"mac07","eventType":"logEvent","messageType":"Default","processImagePath":"/usr/bin/sudo","subsystem":"com.apple.sudo","eventMessage":"bob : TTY=ttys001 ; PWD=/ ; USER=root ; COMMAND=/bin/sh"}"#;
        let (body, around) = items(line).remove(0);
        assert!(body.starts_with("bob : TTY="), "{body}");
        assert_eq!((around.host.as_str(), around.program.as_str()), ("mac07", "/usr/bin/sudo"));
        assert_eq!(around.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
        let row = r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"Syslog","Computer":"web01","Facility":"authpriv","ProcessName":"sshd","SyslogMessage":"Connection closed"}"#;
        let (body, around) = items(row).remove(0);
        assert_eq!((body.as_str(), around.program.as_str()), ("Connection closed", "sshd"));
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
            r#"{"detail-type":"Security Hub Findings - Imported","detail":{"findings":[{"event_type":"alert"}]}}"#,
            r#"{"integration":"gcp","gcp":{"event_type":"alert"}}"#,
            r#"{"docker":{"event_type":"alert"}}"#,
            r#"{"CreationDate":"2026-06-03T12:59:31Z","UserIds":"alice","AuditData":"{\"event_type\":\"alert\"}"}"#,
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
            Unwrapper::default().line(
                &format!("Jun  3 12:59:31 web01 {program}[9]: {object}"),
                Around::default(),
                false,
                &mut out,
            );
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
