//! The log: alerts and lines in the order of their times, in one form.

use std::collections::BTreeSet;
use std::fmt::Write;

use countermove_incident::{AlertFormat, Record, RecordKind, Timestamp};
use serde_json::json;

use super::clock::Clock;

/// What goes into a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    entries: Vec<Entry>,
    /// Categories of the rules behind its alerts.
    pub(super) categories: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    record: Record,
    /// Whether the alert's detail is a request, which EVE carries and Snort's forms do not.
    request: Option<Request>,
}

/// A request that an alert is about.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) agent: String,
}

impl Evidence {
    pub(super) fn add(&mut self, alert: Record) {
        self.entries.push(Entry { record: alert, request: None });
    }

    /// An alert with what its request said, in a form that tells it.
    pub(super) fn add_request(&mut self, mut alert: Record, request: Request) {
        alert.detail = format!("http {}{} GET 200 {}", request.host, request.path, request.agent);
        self.entries.push(Entry { record: alert, request: Some(request) });
    }

    /// A line of a host's log, as `web-01 sshd[812]: …`.
    pub(super) fn add_line(&mut self, clock: &Clock, text: String) {
        let record = Record {
            kind: RecordKind::Unknown,
            time: clock.whole_second(),
            message: text,
            ..Record::default()
        };
        self.entries.push(Entry { record, request: None });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn sort(&mut self) {
        self.entries.sort_by_key(|entry| entry.record.time);
    }

    /// The records in their order.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().map(|entry| &entry.record)
    }

    /// The log as text.
    pub(super) fn render(&self, format: AlertFormat) -> String {
        let mut text = String::with_capacity(self.entries.len() * 220);
        for entry in &self.entries {
            let record = &entry.record;
            match &entry.request {
                Some(request) if format == AlertFormat::Eve => text.push_str(&with_request(record, request)),
                _ if record.is_alert() => text.push_str(&record.render(format)),
                _ => write_line(&mut text, record),
            }
            text.push('\n');
        }
        text
    }
}

/// An EVE alert with its request.
fn with_request(alert: &Record, request: &Request) -> String {
    let line = alert.render(AlertFormat::Eve);
    let http = json!({
        "hostname": request.host,
        "url": request.path,
        "http_user_agent": request.agent,
        "http_method": "GET",
        "status": 200,
    });
    // What was rendered is one object, so that a member can stand before its last brace.
    match line.strip_suffix('}') {
        Some(open) => format!("{open},\"http\":{http}}}"),
        None => line,
    }
}

/// `Jun  3 12:59:31 text`, or with a year `2026-06-03T12:59:31.000000 text`.
fn write_line(text: &mut String, line: &Record) {
    // Writing to a string cannot fail.
    let _ = match line.time {
        Some(time) if time.year().is_none() => write!(text, "{} {}", syslog_time(time), line.message),
        Some(time) => write!(text, "{time} {}", line.message),
        None => write!(text, "{}", line.message),
    };
}

fn syslog_time(time: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.get(usize::from(time.month()).wrapping_sub(1)).copied().unwrap_or("Jan");
    format!("{month} {:>2} {}", time.day(), time.clock())
}
