//! Writes alerts in some of the forms that this crate reads. A written alert stands for one.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Endpoint, Record, Timestamp};

/// A form of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertFormat {
    /// Snort's fast form, one line.
    SnortFast,
    /// Snort's full form, several lines with an empty one behind them.
    SnortFull,
    /// `[pri=N cls=X] {PROTO} a -> b [gid:sid:rev] message`, the only form that keeps details.
    Bracketed,
    /// A line of Suricata's EVE JSON. A time without a year is left out.
    Eve,
}

impl AlertFormat {
    /// All forms.
    pub const ALL: [AlertFormat; 4] =
        [AlertFormat::SnortFast, AlertFormat::SnortFull, AlertFormat::Bracketed, AlertFormat::Eve];
}

impl Record {
    /// An alert in this form, without a line break at the end.
    pub fn render(&self, format: AlertFormat) -> String {
        match format {
            AlertFormat::SnortFast => fast(self),
            AlertFormat::SnortFull => full(self),
            AlertFormat::Bracketed => bracketed(self),
            AlertFormat::Eve => eve(self),
        }
    }
}

/// ISO 8601 with a year, Snort's form without one.
fn log_time(time: Timestamp) -> String {
    if time.year().is_some() { time.to_string() } else { snort_time(time) }
}

fn snort_time(time: Timestamp) -> String {
    let year = time.year().map(|year| format!("/{year:04}")).unwrap_or_default();
    format!("{:02}/{:02}{year}-{}.{:06}", time.month(), time.day(), time.clock(), time.micro())
}

/// An end as parsers read it back: an IPv6 address always in brackets, a missing one as a dash.
fn end(endpoint: Option<&Endpoint>) -> String {
    match endpoint {
        Some(Endpoint { address, port: None }) if address.contains(':') => format!("[{address}]"),
        Some(endpoint) => endpoint.to_string(),
        None => "-".to_owned(),
    }
}

fn ends(alert: &Record) -> String {
    format!("{} -> {}", end(alert.source.as_ref()), end(alert.destination.as_ref()))
}

/// `[Classification: x] [Priority: 2] `.
fn fields(alert: &Record) -> String {
    let mut out = String::new();
    if !alert.classification.is_empty() {
        let _ = write!(out, "[Classification: {}] ", alert.classification);
    }
    if let Some(priority) = alert.priority {
        let _ = write!(out, "[Priority: {priority}] ");
    }
    out
}

/// `[**] [1:2:3] message [**]`.
fn headline(alert: &Record) -> String {
    let rule = if alert.rule.is_empty() { String::new() } else { format!("[{}] ", alert.rule) };
    format!("[**] {rule}{} [**]", alert.message)
}

fn fast(alert: &Record) -> String {
    let time = alert.time.map(|time| snort_time(time) + " ").unwrap_or_default();
    let protocol = if alert.protocol.is_empty() { String::new() } else { format!("{{{}}} ", alert.protocol) };
    format!("{time}{} {}{protocol}{}", headline(alert), fields(alert), ends(alert))
}

fn full(alert: &Record) -> String {
    let mut out = headline(alert);
    out.push('\n');
    let fields = fields(alert);
    if !fields.is_empty() {
        out.push_str(&fields);
        out.push('\n');
    }
    let time = alert.time.map(|time| snort_time(time) + " ").unwrap_or_default();
    let _ = writeln!(out, "{time}{}", ends(alert));
    if !alert.protocol.is_empty() {
        let _ = writeln!(out, "{} TTL:64 TOS:0x0 ID:0 IpLen:20 DgmLen:60", alert.protocol);
    }
    out
}

fn bracketed(alert: &Record) -> String {
    let mut out = alert.time.map(|time| log_time(time) + " ").unwrap_or_default();
    let priority = alert.priority.map_or_else(|| "None".to_owned(), |priority| priority.to_string());
    let _ = write!(out, "[pri={priority}");
    let _ = write!(out, " cls={}] ", alert.classification);
    if !alert.protocol.is_empty() {
        let _ = write!(out, "{{{}}} ", alert.protocol);
    }
    out.push_str(&ends(alert));
    if !alert.rule.is_empty() {
        let _ = write!(out, " [{}]", alert.rule);
    }
    let _ = write!(out, " {}", alert.message);
    if !alert.detail.is_empty() {
        let _ = write!(out, " [detail: {}]", alert.detail);
    }
    out
}

fn eve(alert: &Record) -> String {
    let mut rule =
        json!({ "action": "allowed", "signature": alert.message, "category": alert.classification });
    let numbers: Vec<u32> = alert.rule.split(':').filter_map(|number| number.parse().ok()).collect();
    if let [gid, sid, rev] = numbers[..] {
        rule["gid"] = json!(gid);
        rule["signature_id"] = json!(sid);
        rule["rev"] = json!(rev);
    }
    if let Some(priority) = alert.priority {
        rule["severity"] = json!(priority);
    }
    let mut event = json!({});
    if let Some(time) = alert.time.filter(|time| time.year().is_some()) {
        event["timestamp"] = json!(format!("{time}+0000"));
    }
    event["event_type"] = json!("alert");
    for (end, address, port) in
        [(&alert.source, "src_ip", "src_port"), (&alert.destination, "dest_ip", "dest_port")]
    {
        if let Some(end) = end {
            event[address] = json!(end.address);
            if let Some(number) = end.port {
                event[port] = json!(number);
            }
        }
    }
    event["proto"] = json!(alert.protocol);
    event["alert"] = rule;
    event.to_string()
}
