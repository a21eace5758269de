//! What a format is: how it is recognised and how it is read.
//!
//! A format belongs to a source, never to a line. The reader looks at the first items of a source, keeps the formats that
//! recognise some of them, and reads the rest of the source by these alone; what none of them takes is an unknown line. Inside
//! syslog the program's name, which the logger writes and not whoever is logged, chooses among them.
//!
//! Contract of every `recognises`: it is anchored at the item's beginning (a line's first words, an object's own keys) and never
//! looks for a mark somewhere inside, so that no text that an attacker can put into a field changes how the record is read.

#![allow(dead_code)]

use serde_json::{Map, Value};

use crate::{Record, Timestamp};

/// A form in which a source writes its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// None that is known.
    #[default]
    Unknown,
    /// `[pri=N cls=X] {PROTO} a -> b [gid:sid:rev] message`.
    Bracketed,
    /// Snort's and Suricata's fast form, one line, also behind syslog.
    SnortFast,
    /// Snort's full form, several lines.
    SnortFull,
    /// Snort 3's `alert_json`.
    SnortJson,
    /// Snort 3's `alert_csv`.
    SnortCsv,
    /// The CSV of pfSense's Snort package.
    PfsenseCsv,
    /// Suricata's EVE JSON.
    Eve,
    /// Wazuh's `alerts.json`.
    Wazuh,
    /// OSSEC's and Wazuh's `alerts.log`, several lines.
    Ossec,
    /// Elastic Common Schema: detection alerts of Kibana, Security Onion, and ECS events with an alert in them.
    Ecs,
    /// OCSF detection and security findings.
    Ocsf,
    /// Matches of Sigma rules by chainsaw, hayabusa or Zircolite.
    Sigma,
    /// Falco's JSON and text.
    Falco,
    /// Zeek's logs as JSON.
    ZeekJson,
    /// Zeek's logs as tab-separated values with a header.
    ZeekTsv,
    /// Windows events: winlogbeat, EVTX as JSON, Sysmon.
    WindowsEvent,
    /// AWS CloudTrail records.
    CloudTrail,
    /// sshd's lines.
    Sshd,
    /// sudo's and su's lines.
    Sudo,
    /// The Linux audit daemon's lines.
    Auditd,
    /// Access logs of Apache and nginx.
    WebAccess,
    /// ArcSight's Common Event Format.
    Cef,
    /// QRadar's Log Event Extended Format.
    Leef,
    /// Any other line that syslog carries: a program's name and what it says.
    Syslog,
}

/// A JSON object as a source writes it.
pub(crate) type Object = Map<String, Value>;

/// What stood around an item and is no part of it: a syslog header, Docker's or journald's wrapping, an export's columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    /// When the wrapping says that it was written.
    pub(crate) time: Option<Timestamp>,
    /// Host that wrote it; empty if not told.
    pub(crate) host: &'a str,
    /// Program that wrote it (`sshd`, `snort`); empty if not told.
    pub(crate) program: &'a str,
}

/// A format whose records are JSON objects, one each.
pub(crate) struct ObjectFormat {
    pub(crate) format: Format,
    /// Whether an object is of this format, by its own keys.
    pub(crate) recognises: fn(&Object) -> bool,
    /// The record of an object of this format; `None` if it lacks what makes one.
    pub(crate) read: fn(&Object, &Envelope<'_>) -> Option<Record>,
}

/// A format whose records are single lines, given without what stood around them.
pub(crate) struct LineFormat {
    pub(crate) format: Format,
    /// Whether a line is of this format, by how it begins and by the program in the envelope.
    pub(crate) recognises: fn(&str, &Envelope<'_>) -> bool,
    /// The record of a line of this format; `None` if it is not one after all.
    pub(crate) read: fn(&str, &Envelope<'_>) -> Option<Record>,
}

/// A format with memory: a record takes several lines, or a header names the columns.
pub(crate) struct LayoutFormat {
    pub(crate) format: Format,
    /// Whether a line begins a file, or a record, of this format.
    pub(crate) recognises: fn(&str) -> bool,
    /// A reader for one source.
    pub(crate) start: fn() -> Box<dyn Layout>,
}

/// Reads the lines of one source of a format with memory.
pub(crate) trait Layout {
    /// Takes the next line. The record that this line completes, or that it shows to have ended before it, is given.
    fn offer(&mut self, line: &str) -> Offered;
    /// The record that the end of the source leaves unfinished, if there is one.
    fn end(&mut self) -> Option<Record>;
}

/// What a layout did with a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Offered {
    /// It belongs to the format; at times it completes a record.
    Taken(Option<Box<Record>>),
    /// It does not belong; the record before it, if one was open, has ended.
    NotMine(Option<Box<Record>>),
}
