//! One record for all evidence: what any source says about one thing that happened, in the same fields.
//!
//! Every format maps into [`Record`]; everything downstream (digest, roles, perception, grounding, the wire) reads records and
//! nothing else. A field that the source does not state is empty or `None`, never a guess.
//!
//! Invariant: no text in a record holds a control character or one that changes how its surroundings look; records
//! that a reader makes are escaped by [`crate::printable`] on the way in, after entities were read from the raw text.

use std::borrow::Cow;

use crate::{AlertKind, Endpoint, Format, Repeats, Tactic, Timestamp};

/// What a record may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// A sensor says that something is wrong: an IDS alert, a SIEM detection, a rule that matched.
    Alert,
    /// What a host or a service wrote about itself in a form that is known: logins, privileges, audit, access logs, cloud API
    /// calls. It may show an attack.
    Log,
    /// What a sensor saw pass: flows, names that were looked up, requests, handshakes, files, processes. Context for other
    /// records: it never makes an incident, an attacker or a target by itself.
    Telemetry,
    /// A line that no format understood. Evidence that a person may read; counted and said.
    #[default]
    Unknown,
}

/// What the sensor did with what it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SensorVerdict {
    /// It passed.
    Allowed,
    /// The sensor stopped it: dropped, rejected, quarantined, denied.
    Blocked,
}

/// One record of a source, or several equal ones folded into one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What it may be used for.
    pub kind: RecordKind,
    /// The format that it was read from.
    pub format: Format,
    /// When it happened; the first time if it stands for several.
    pub time: Option<Timestamp>,
    /// Product or module that reports: `suricata`, `sshd`, `Microsoft-Windows-Security-Auditing`; empty if unknown.
    pub sensor: String,
    /// Host or address that wrote it: the syslog host, the agent, the computer. It is not by itself a target.
    pub host: String,
    /// What it says: the rule's message or title; for logs the line without its time.
    pub message: String,
    /// What else it tells that a responder would look for, such as a request's method and URL; often empty.
    pub detail: String,
    /// Rule that raised it, in the sensor's own spelling: `1:2006546:3`, `5712`, a UUID; empty if none.
    pub rule: String,
    /// The source's own severity: 1 high (critical and high), 2 medium, 3 low, 4 informational. `None` is unset: the source
    /// says nothing, or a value that its defaults set (Snort's priority 0, Suricata's severity 3 without a class).
    pub priority: Option<u8>,
    /// Class as the source names it; empty if it names none.
    pub classification: String,
    /// ATT&CK tactics that the source names, each once.
    pub tactics: Vec<Tactic>,
    /// ATT&CK techniques that the source names (`T1110.001`), each once.
    pub techniques: Vec<String>,
    /// Protocol in capitals, such as `TCP`; empty if the source names none.
    pub protocol: String,
    /// Who acts: the attacking side where the source says which that is, else where the traffic came from.
    pub source: Option<Endpoint>,
    /// Who is acted upon, else where the traffic went.
    pub destination: Option<Endpoint>,
    /// Proxies and load balancers between the two, nearest to the destination last. They take no part.
    pub via: Vec<String>,
    /// Account that acts or is acted upon; empty if none.
    pub account: String,
    /// Program or command line.
    pub process: String,
    /// File or object.
    pub file: String,
    /// What the sensor did with it, if it says.
    pub verdict: Option<SensorVerdict>,
    /// The text as it stood in the source, escaped and bounded; empty where `message` is that text.
    pub raw: String,
    /// Whether the source was cut off before the record's end; what was readable is kept.
    pub is_cut: bool,
    /// How many records it stands for.
    pub repeats: Repeats,
}

impl Record {
    /// Whether a sensor says that something is wrong.
    pub fn is_alert(&self) -> bool {
        self.kind == RecordKind::Alert
    }

    /// What it says, with who wrote it in front as in a log: `web01 sshd: Failed password …`. Of alerts and telemetry the message.
    pub fn line(&self) -> Cow<'_, str> {
        let by_logger = matches!(
            self.format,
            Format::Sshd
                | Format::Sudo
                | Format::Auditd
                | Format::WebAccess
                | Format::Remark
                | Format::Syslog
                | Format::OtherLines
                | Format::Unknown
        );
        match self.kind {
            RecordKind::Alert | RecordKind::Telemetry => Cow::Borrowed(&self.message),
            _ if self.host.is_empty() || self.message.contains(&self.host) => Cow::Borrowed(&self.message),
            _ if by_logger && !self.sensor.is_empty() => {
                Cow::Owned(format!("{} {}: {}", self.host, self.sensor, self.message))
            }
            _ => Cow::Owned(format!("{} {}", self.host, self.message)),
        }
    }

    /// The pair by which predicted and observed alerts are compared.
    pub fn alert_kind(&self) -> AlertKind {
        AlertKind::new(&self.classification, self.priority)
    }
}
