//! Formats whose records are JSON objects.
//!
//! Each is told by an object's own keys, never by what stands in a value that others can write. Messages of alerts are the
//! rule's title. Those of logs and telemetry stand by themselves: they name what happened, to whom and from where, without
//! what changes from one record to the next (identifiers, ports of clients, counters), so that like records fold.

mod audit_events;
mod aws_findings;
mod azure_resources;
mod beats;
mod carbon_black;
mod cloudflare;
mod cloudtrail;
mod common_security;
mod cortex;
mod darktrace;
mod defender;
mod defender_cloud;
mod detections;
mod dismissed;
mod ecs;
mod entra;
mod entra_risks;
mod eve;
mod falco;
mod falcon;
mod falcon_alerts;
mod fields;
mod flows;
mod github;
mod google_cloud;
mod google_workspace;
mod jamf;
mod kubernetes;
mod log_analytics;
mod microsoft365;
mod named;
mod nozomi;
mod ocsf;
mod okta;
mod osquery;
mod other;
mod pan_logs;
mod qradar;
mod sentinel_one;
mod sigma;
mod snort;
mod sophos;
mod splunk;
mod splunk_windows;
mod tags;
#[cfg(test)]
mod tests;
mod trend_micro;
mod wazuh;
mod web;
mod windows;
mod windows_events;
mod zeek;
pub(super) mod zscaler;

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;

use dismissed::is_dismissed;
pub(super) use falco::priority as falco_priority;
use fields::Fields;
pub(super) use fields::is_name;
pub(crate) use fields::time as time_of;
pub(crate) use other::event;
pub(super) use qradar::offense as qradar_offense;
pub(crate) use splunk::is_notable;
use tags::Tags;
pub(super) use tags::severity;
pub(super) use wazuh::priority as wazuh_priority;
pub(super) use windows::WINDOWS_EVENT;

use super::format::{Envelope, Format, Object, ObjectFormat};
use super::{MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol};
use crate::log::drop_client_port;
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

/// All of them. No object that a source of one format writes is recognised by another. The last [`BY_NAMES`] read what none before
/// them does.
pub(crate) const OBJECT_FORMATS: [ObjectFormat; 48] = [
    splunk::NOTABLE,
    eve::EVE,
    snort::SNORT_JSON,
    wazuh::WAZUH,
    ecs::ECS,
    ocsf::OCSF,
    sigma::SIGMA,
    falco::FALCO,
    zeek::ZEEK_JSON,
    windows::WINDOWS_EVENT,
    cloudtrail::CLOUD_TRAIL,
    common_security::COMMON_SECURITY,
    kubernetes::KUBERNETES_AUDIT,
    okta::OKTA,
    google_cloud::GOOGLE_CLOUD,
    google_workspace::GOOGLE_WORKSPACE,
    entra::ENTRA_ID,
    microsoft365::MICROSOFT365,
    aws_findings::GUARD_DUTY,
    github::GITHUB,
    zscaler::ZSCALER,
    web::WEB,
    falcon::ACTIVITIES,
    falcon::IDENTITIES,
    falcon_alerts::FALCON_ALERTS,
    sentinel_one::FOUND,
    sentinel_one::ACTIVITIES,
    defender::DEFENDER,
    osquery::OSQUERY,
    jamf::JAMF,
    qradar::OFFENSES,
    qradar::EVENTS,
    carbon_black::ALERTS,
    carbon_black::EVENTS,
    sophos::ALERTS,
    sophos::EVENTS,
    trend_micro::ALERTS,
    trend_micro::EVENTS,
    cortex::CORTEX,
    darktrace::DARKTRACE,
    nozomi::NOZOMI,
    pan_logs::PAN_LOGS,
    cloudflare::CLOUDFLARE,
    azure_resources::AZURE_RESOURCES,
    flows::FLOWS,
    detections::DETECTIONS,
    audit_events::AUDIT_EVENTS,
    splunk::EVENTS,
];

/// How many have no marks of their own, and read whatever has names for what they look for.
const BY_NAMES: usize = 3;

/// The format that an object may be meant as, by a key that no other has. It need not be complete.
pub(crate) fn meant_as(object: &Object) -> Option<Format> {
    const KEYS: [(&str, Format); 20] = [
        ("kibana.alert.rule.name", Format::Ecs),
        ("eventVersion", Format::CloudTrail),
        ("eventSource", Format::CloudTrail),
        ("winlog", Format::WindowsEvent),
        ("Event", Format::WindowsEvent),
        ("EventID", Format::WindowsEvent),
        ("class_uid", Format::Ocsf),
        ("output_fields", Format::Falco),
        ("id.orig_h", Format::ZeekJson),
        ("RuleTitle", Format::Sigma),
        ("full_log", Format::Wazuh),
        ("src_ap", Format::SnortJson),
        ("auditID", Format::KubernetesAudit),
        ("legacyEventType", Format::Okta),
        ("protoPayload", Format::GoogleCloud),
        ("userPrincipalName", Format::EntraId),
        ("RecordType", Format::Microsoft365),
        ("ProductArn", Format::GuardDuty),
        ("actor_location", Format::Github),
        ("_document_id", Format::Github),
    ];
    let is_said =
        |key: &str| object.get(key).is_some_and(|value| value.as_str().is_none_or(|text| !text.is_empty()));
    KEYS.into_iter().find(|(key, _)| is_said(key)).map(|(_, format)| format)
}

/// Longest name of a host, an account, a sensor or a rule, in bytes.
const MAX_NAME: usize = 128;

/// Longest command line or path, in bytes.
const MAX_COMMAND: usize = 256;

/// Longest description that stands behind a title, in bytes: a sentence of what was seen, and no page on what may be done about it.
const MAX_DESCRIPTION: usize = 160;

/// Longest original text that a record keeps, in bytes.
const MAX_RAW: usize = 512;

/// Most proxies that a record names.
const MAX_VIA: usize = 8;

/// What was read of an object, in the source's own words. [`Draft::finish`] makes a record of it.
#[derive(Clone, Debug, Default)]
struct Draft<'a> {
    kind: RecordKind,
    time: Option<Timestamp>,
    sensor: Cow<'a, str>,
    host: Cow<'a, str>,
    message: Cow<'a, str>,
    detail: Cow<'a, str>,
    rule: Cow<'a, str>,
    priority: Option<u8>,
    classification: Cow<'a, str>,
    tags: Tags,
    protocol: Cow<'a, str>,
    source: Option<Endpoint>,
    destination: Option<Endpoint>,
    via: Vec<String>,
    account: Cow<'a, str>,
    process: Cow<'a, str>,
    file: Cow<'a, str>,
    verdict: Option<SensorVerdict>,
    /// The text that the source itself quotes; without one the object is.
    raw: Option<Cow<'a, str>>,
}

impl Draft<'_> {
    /// The record. What the object leaves open is taken from what stood around it.
    fn finish(self, format: Format, object: &Object, envelope: &Envelope<'_>) -> Record {
        // What telemetry tells is in its message; an alert's other fields may be what a person looks for.
        let raw = match (self.raw, self.kind) {
            (Some(raw), _) => raw,
            (None, RecordKind::Telemetry) => Cow::Borrowed(""),
            (None, _) => Cow::Owned(as_text(object)),
        };
        let (kind, message) = match self.kind {
            RecordKind::Alert if is_dismissed(format, Fields(object)) => {
                (RecordKind::Telemetry, Cow::Owned(format!("{} (dismissed)", self.message)))
            }
            kind => (kind, self.message),
        };
        let host = if self.host.is_empty() { Cow::Borrowed(envelope.host) } else { self.host };
        let protocol = clean_protocol(&self.protocol);
        // Type and code of ICMP stand where ports do.
        let without_port = protocol.contains("ICMP");
        let end = |end: Option<Endpoint>| {
            end.map(|end| Endpoint { port: end.port.filter(|_| !without_port), ..end })
        };
        Record {
            kind,
            format,
            time: self.time.or(envelope.time),
            sensor: clean(&self.sensor, MAX_NAME),
            host: clean(&host, MAX_NAME),
            message: clean_message(&message),
            detail: clean(&self.detail, MAX_DETAIL),
            rule: clean(&self.rule, MAX_NAME),
            priority: self.priority,
            classification: clean_classification(&self.classification),
            tactics: self.tags.tactics(),
            techniques: self.tags.techniques,
            source: end(self.source),
            destination: end(self.destination),
            protocol,
            via: self.via.into_iter().take(MAX_VIA).collect(),
            account: clean(&self.account, MAX_NAME),
            process: clean(&self.process, MAX_COMMAND),
            file: clean(&self.file, MAX_COMMAND),
            verdict: self.verdict,
            raw: clean(&raw, MAX_RAW),
            ..Record::default()
        }
    }
}

/// `label value` for a value that there is.
fn told(label: &str, value: Option<impl AsRef<str>>) -> Option<String> {
    let value = value?;
    let value = value.as_ref();
    Some(if label.is_empty() { value.to_owned() } else { format!("{label} {value}") })
}

/// In quotation marks of its own, so that what stands in it makes no account, no login and no failure.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'"))
}

/// What is told, in order, apart by commas.
fn listed<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A text that is not empty.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The same of any number of parts; nothing of none.
fn joined(parts: impl IntoIterator<Item = String>) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `title: facts`, or the title alone.
fn titled(title: &str, facts: &str) -> String {
    if facts.is_empty() { title.to_owned() } else { format!("{title}: {facts}") }
}

/// A title with what is said of it, where that says more and is short.
fn described(title: &str, description: Option<Cow<'_, str>>) -> String {
    let more = description.filter(|text| *text != title && text.len() <= MAX_DESCRIPTION);
    titled(title, more.as_deref().unwrap_or_default())
}

/// Both ends as telemetry names them, without the port that a client's system drew: `TCP 10.0.3.18 -> 198.51.100.80:443`.
pub(super) fn traffic(protocol: &str, source: Option<&Endpoint>, destination: Option<&Endpoint>) -> String {
    let mut out = protocol.to_ascii_uppercase();
    let (mut source, mut destination) = (source.cloned(), destination.cloned());
    drop_client_port(&mut source, &mut destination);
    if let (Some(source), Some(destination)) = (source, destination) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&format!("{source} -> {destination}"));
    }
    out
}

/// Whether an end may be a proxy of the site, so that what it says of the client counts: its address is private, or of the
/// same IPv6 site as the other end's. Anybody else may write whatever he likes into such a header.
fn is_own_proxy(proxy: &Endpoint, other: Option<&Endpoint>) -> bool {
    match (proxy.ip(), other.and_then(Endpoint::ip)) {
        (Some(IpAddr::V4(proxy)), _) => proxy.is_private(),
        (Some(IpAddr::V6(proxy)), other) => {
            let same_site = |other: std::net::Ipv6Addr| other.segments()[..3] == proxy.segments()[..3];
            proxy.is_unique_local() || matches!(other, Some(IpAddr::V6(other)) if same_site(other))
        }
        _ => false,
    }
}

/// The ATT&CK tactics and techniques among texts.
pub(super) fn attack_tags<'a>(texts: impl Iterator<Item = &'a str>) -> (Vec<crate::Tactic>, Vec<String>) {
    let mut tags = Tags::default();
    tags.take_all(texts);
    (tags.tactics(), tags.techniques)
}

/// What a sensor did, in the words of firewalls and agents; nothing for others.
fn verdict(word: &str) -> Option<SensorVerdict> {
    match word.trim().to_ascii_lowercase().as_str() {
        "allow" | "allowed" | "pass" | "passed" | "accept" | "accepted" | "permit" | "permitted" => {
            Some(SensorVerdict::Allowed)
        }
        "block" | "blocked" | "drop" | "dropped" | "deny" | "denied" | "reject" | "rejected"
        | "quarantine" | "quarantined" | "prevented" | "reset" => Some(SensorVerdict::Blocked),
        _ => None,
    }
}

/// The beginning of an object as JSON.
fn as_text(object: &Object) -> String {
    let mut text = Head(Vec::with_capacity(MAX_RAW));
    // It ends with an error where the text is full; what was written stays.
    let _ = serde_json::to_writer(&mut text, object);
    let mut bytes = text.0;
    let valid = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
    bytes.truncate(valid);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Takes one byte more than a record keeps, so that the cut is seen.
struct Head(Vec<u8>);

impl io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (MAX_RAW + 4).saturating_sub(self.0.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.0.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
