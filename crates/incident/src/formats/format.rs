//! What a format is: how it is recognised and how it is read.
//!
//! A format belongs to a source, never to a line. The reader looks at the first items of a source, keeps the formats that
//! recognise some of them, and reads the rest of the source by these alone; what none of them takes is an unknown line. Inside
//! syslog the program's name, which the logger writes and not whoever is logged, chooses among them.
//!
//! Contract of every `recognises`: it is anchored at the item's beginning (a line's first words, an object's own keys) and never
//! looks for a mark somewhere inside, so that no text that an attacker can put into a field changes how the record is read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Record, Timestamp};

/// A form in which a source writes its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Lines of `key=value` pairs in no other form.
    Logfmt,
    /// What services write into files of their own: databases, file servers, VPNs, bans.
    Service,
    /// The audit log of a Kubernetes API server.
    KubernetesAudit,
    /// What firewalls write in forms of their own: PAN-OS, Juniper SRX, Check Point.
    Firewall,
    /// W3C's extended log form: IIS, CloudFront, proxies, the firewall of Windows.
    W3c,
    /// Squid's access log.
    Squid,
    /// Flow logs of Amazon's virtual networks.
    VpcFlow,
    /// Okta's system log.
    Okta,
    /// Google Cloud's audit logs.
    GoogleCloud,
    /// Sign-ins and audits of Microsoft Entra ID, and what is done in Azure.
    EntraId,
    /// Microsoft 365's unified audit log.
    Microsoft365,
    /// Findings of Amazon GuardDuty and AWS Security Hub.
    GuardDuty,
    /// GitHub's audit log.
    Github,
    /// Google Workspace's activities.
    GoogleWorkspace,
    /// osquery's results: rows of its tables that came, went or are there.
    Osquery,
    /// Audit events of services without a form of their own here.
    AuditEvents,
    /// Detections of agents and other security products without a form of their own here.
    Detections,
    /// What security products that have no form of their own here saw or were told, beside what they found wrong.
    ProductEvents,
    /// Any other JSON object that tells of something that happened, of a source in which no other form is recognised.
    OtherJson,
    /// Any other line that begins with a time; likewise.
    OtherLines,
    /// What responders wrote down of the incident. Nothing is recognised as it: who gives evidence says so.
    Remark,
    /// Any other line that syslog carries: a program's name and what it says.
    Syslog,
}

impl Format {
    /// All formats, [`Format::Unknown`] first.
    pub const ALL: [Format; 46] = [
        Format::Unknown,
        Format::Bracketed,
        Format::SnortFast,
        Format::SnortFull,
        Format::SnortJson,
        Format::SnortCsv,
        Format::PfsenseCsv,
        Format::Eve,
        Format::Wazuh,
        Format::Ossec,
        Format::Ecs,
        Format::Ocsf,
        Format::Sigma,
        Format::Falco,
        Format::ZeekJson,
        Format::ZeekTsv,
        Format::WindowsEvent,
        Format::CloudTrail,
        Format::Sshd,
        Format::Sudo,
        Format::Auditd,
        Format::WebAccess,
        Format::Cef,
        Format::Leef,
        Format::Logfmt,
        Format::Service,
        Format::KubernetesAudit,
        Format::Firewall,
        Format::W3c,
        Format::Squid,
        Format::VpcFlow,
        Format::Okta,
        Format::GoogleCloud,
        Format::EntraId,
        Format::Microsoft365,
        Format::GuardDuty,
        Format::Github,
        Format::GoogleWorkspace,
        Format::Osquery,
        Format::AuditEvents,
        Format::Detections,
        Format::ProductEvents,
        Format::OtherJson,
        Format::OtherLines,
        Format::Remark,
        Format::Syslog,
    ];

    /// Its name in arguments and files: `snort_fast`.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// What a person calls it: `Snort fast alerts`.
    pub fn title(self) -> &'static str {
        self.names().1
    }

    /// The format with this name.
    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether its messages are requests in the words of an access log, in which a client chooses the address and what stands in quotation
    /// marks behind the answer's status.
    pub fn tells_requests(self) -> bool {
        matches!(self, Format::WebAccess | Format::W3c | Format::Squid)
    }

    /// Whether no form is known, and records are read by what all that tell of something have: a time, and words. Nobody can tell which of
    /// these the program says and which it repeats of somebody else's.
    pub fn is_unfamiliar(self) -> bool {
        matches!(self, Format::OtherJson | Format::OtherLines)
    }

    /// Whether its records are what somebody did at an interface or an identity provider, and their account is who did it.
    pub fn tells_calls(self) -> bool {
        matches!(
            self,
            Format::CloudTrail
                | Format::KubernetesAudit
                | Format::Okta
                | Format::GoogleCloud
                | Format::EntraId
                | Format::Microsoft365
                | Format::Github
                | Format::GoogleWorkspace
                | Format::AuditEvents
        )
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Format::Unknown => ("unknown", "an unknown form"),
            Format::Bracketed => ("bracketed", "bracketed alerts"),
            Format::SnortFast => ("snort_fast", "Snort fast alerts"),
            Format::SnortFull => ("snort_full", "Snort full alerts"),
            Format::SnortJson => ("snort_json", "Snort 3 JSON"),
            Format::SnortCsv => ("snort_csv", "Snort 3 CSV"),
            Format::PfsenseCsv => ("pfsense_csv", "pfSense CSV"),
            Format::Eve => ("eve", "Suricata EVE JSON"),
            Format::Wazuh => ("wazuh", "Wazuh JSON"),
            Format::Ossec => ("ossec", "OSSEC alerts"),
            Format::Ecs => ("ecs", "Elastic Common Schema"),
            Format::Ocsf => ("ocsf", "OCSF findings"),
            Format::Sigma => ("sigma", "Sigma matches"),
            Format::Falco => ("falco", "Falco"),
            Format::ZeekJson => ("zeek_json", "Zeek JSON"),
            Format::ZeekTsv => ("zeek_tsv", "Zeek TSV"),
            Format::WindowsEvent => ("windows_event", "Windows events"),
            Format::CloudTrail => ("cloudtrail", "AWS CloudTrail"),
            Format::Sshd => ("sshd", "sshd"),
            Format::Sudo => ("sudo", "sudo and su"),
            Format::Auditd => ("auditd", "auditd"),
            Format::WebAccess => ("web_access", "web server logs"),
            Format::Cef => ("cef", "CEF"),
            Format::Leef => ("leef", "LEEF"),
            Format::Logfmt => ("logfmt", "key=value lines"),
            Format::Service => ("service", "service logs"),
            Format::KubernetesAudit => ("kubernetes_audit", "Kubernetes audit"),
            Format::Firewall => ("firewall", "firewall logs"),
            Format::W3c => ("w3c", "W3C extended logs"),
            Format::Squid => ("squid", "Squid"),
            Format::VpcFlow => ("vpc_flow", "VPC flow logs"),
            Format::Okta => ("okta", "Okta system log"),
            Format::GoogleCloud => ("google_cloud", "Google Cloud audit"),
            Format::EntraId => ("entra_id", "Entra ID and Azure"),
            Format::Microsoft365 => ("microsoft365", "Microsoft 365 audit"),
            Format::GuardDuty => ("guard_duty", "AWS findings"),
            Format::Github => ("github", "GitHub audit"),
            Format::GoogleWorkspace => ("google_workspace", "Google Workspace"),
            Format::Osquery => ("osquery", "osquery results"),
            Format::AuditEvents => ("audit_events", "audit events"),
            Format::Detections => ("detections", "detections"),
            Format::ProductEvents => ("product_events", "security products' events"),
            Format::OtherJson => ("other_json", "other JSON events"),
            Format::OtherLines => ("other_lines", "other lines with a time"),
            Format::Remark => ("remark", "responders' remarks"),
            Format::Syslog => ("syslog", "syslog"),
        }
    }
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
    /// The record of an object of this format; `None` if it lacks what makes one. Where the object is a line of a program that was taken
    /// apart, the record is of the line's format.
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

/// Reads the lines of one source of a format with memory. The evidence that it is part of may be copied, it is [`Clone`].
pub(crate) trait Layout: LayoutCopy + std::fmt::Debug + Send + Sync {
    /// Takes the next line. The record that this line completes, or that it shows to have ended before it, is given.
    fn offer(&mut self, line: &str) -> Offered;
    /// The record that the end of the source leaves unfinished; none where each takes one line.
    fn end(&mut self) -> Option<Record> {
        None
    }
    /// Whether what its header said holds behind a line that is none of its own.
    fn holds(&self) -> bool {
        false
    }
}

/// What a layout did with a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Offered {
    /// It belongs to the format; at times it completes a record.
    Taken(Option<Box<Record>>),
    /// It does not belong; the record before it, if one was open, has ended.
    NotMine(Option<Box<Record>>),
}

impl Offered {
    /// Of a line that is a record of the format, or none of it.
    pub(crate) fn line(record: Option<Record>) -> Offered {
        match record {
            Some(record) => Offered::Taken(Some(Box::new(record))),
            None => Offered::NotMine(None),
        }
    }
}

/// A copy of a layout as it stands. Every layout that is [`Clone`] has it.
pub(crate) trait LayoutCopy {
    /// The copy.
    fn copy(&self) -> Box<dyn Layout>;
}

impl<T: Layout + Clone + 'static> LayoutCopy for T {
    fn copy(&self) -> Box<dyn Layout> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Layout> {
    fn clone(&self) -> Self {
        self.as_ref().copy()
    }
}
