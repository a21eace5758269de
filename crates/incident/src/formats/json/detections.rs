//! What agents on hosts and other security products found, from products that have no form of their own here: a detection or a
//! threat with its name, how severe it is, and on which host. Carbon Black, Cisco Secure Endpoint, Cortex XDR, CrowdStrike, Defender,
//! ESET, SentinelOne, Sophos, Trend and others write such objects, under names of their own for the same things.
//!
//! An object is one if no form with marks of its own knows it and it has a time, a host, and either the name of a threat or a detection,
//! or a title beside a tactic or technique of ATT&CK. What watches machines raises alerts with titles and severities as well, so these
//! alone make none.

use std::borrow::Cow;

use super::log_analytics::{Table, as_written};
use super::named::{Named, is_nobodys, within};
use super::tags::severity;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told, verdict};
use crate::record::RecordKind;
use crate::{Endpoint, Timestamp};

/// See the module.
pub(crate) const DETECTIONS: ObjectFormat = ObjectFormat { format: Format::Detections, recognises, read };

// Names in lower case and without what parts their words, as `Named` compares them.
/// What was found, by names that only security products give.
const FOUND: [&str; 18] = [
    "detectname",
    "detectionname",
    "threatname",
    "threatinfo.threatname",
    "threatfamilyname",
    "malwarename",
    "virusname",
    "cloudioc.shortdescription",
    "iocname",
    "detection",
    "threat",
    "detectdescription",
    "detectionreason",
    "threatcausereason",
    "viruspattern",
    "malware",
    "attackname",
    "signaturename",
];
/// What an alert is called, by names that others give as well.
const TITLE: [&str; 7] = ["alertname", "title", "alerttitle", "name", "displayname", "description", "reason"];
const DESCRIBED: [&str; 7] = [
    "detectdescription",
    "cloudioc.description",
    "description",
    "reason",
    "threatinfo.classification",
    "eventtype",
    "type",
];
pub(super) const HOST: [&str; 16] = [
    "computername",
    "computer.hostname",
    "computer.name",
    "computerdnsname",
    "hostname",
    "hostinfo.hostname",
    "devicename",
    "device.hostname",
    "device.devicename",
    "devicednsname",
    "agentrealtimeinfo.agentcomputername",
    "agentcomputername",
    "endpointname",
    "endpointhostname",
    "machinename",
    "location",
];
const ADDRESS: [&str; 11] = [
    "localip",
    "hostip",
    "deviceinternalip",
    "device.localip",
    "agentip",
    "agentdetectioninfo.agentipv4",
    "computer.networkaddresses.ip",
    "endpointip",
    "ipv4",
    "ipaddress",
    "sourceip",
];
const REMOTE: [&str; 6] = [
    "remoteip",
    "destinationip",
    "dstip",
    "networkaccesses.remoteaddress",
    "remoteaddress",
    "networkinfo.remoteip",
];
const ACCOUNT: [&str; 9] = [
    "username",
    "user",
    "useremail",
    "deviceusername",
    "computer.user",
    "actorusername",
    "loggedonusers",
    "processuser",
    "threatinfo.processuser",
];
pub(super) const PROCESS: [&str; 9] = [
    "commandline",
    "cmdline",
    "processcmd",
    "actorprocesscommandline",
    "threatinfo.maliciousprocessarguments",
    "processname",
    "actorprocessimagename",
    "threatinfo.originatorprocess",
    "parentfilename",
];
pub(super) const FILE: [&str; 9] = [
    "filepath",
    "file.filepath",
    "file.filename",
    "threatinfo.filepath",
    "filename",
    "objecturi",
    "processpath",
    "path",
    "threatcauseactorname",
];
const SEVERITY: [&str; 8] = [
    "severityname",
    "severity",
    "alertseverity",
    "threatinfo.confidencelevel",
    "risklevel",
    "criticality",
    "priority",
    "threatlevel",
];
const DONE: [&str; 8] = [
    "actiontaken",
    "action",
    "patterndispositiondescription",
    "mitigationstatus",
    "threatinfo.mitigationstatus",
    "disposition",
    "result",
    "status",
];
const TACTIC: [&str; 7] =
    ["tactic", "tacticid", "tactics.id", "tactics.name", "mitretactics", "mitretacticidandname", "category"];
const TECHNIQUE: [&str; 8] = [
    "technique",
    "techniqueid",
    "techniques.id",
    "techniques.technique",
    "mitretechniques",
    "mitretechniqueidandname",
    "mitreattck.techniques",
    "tags",
];
/// Longest name of what was found that is a name.
const MAX_FOUND: usize = 160;

/// What an object says of a detection.
#[derive(Clone, Copy)]
struct Detection<'a>(Named<'a>);

impl<'a> Detection<'a> {
    fn short(self, paths: &[&str]) -> Option<Cow<'a, str>> {
        paths.iter().find_map(|path| self.0.text(&[path]).filter(|text| is_name(text)))
    }

    /// The name of what was found.
    fn found(self) -> Option<Cow<'a, str>> {
        self.short(&FOUND).or_else(|| self.short(&TITLE).filter(|_| self.is_tagged()))
    }

    /// Whether a tactic or a technique of ATT&CK stands beside it.
    fn is_tagged(self) -> bool {
        let mut tags = super::Tags::default();
        tags.take_all(self.0.texts(&TACTIC[..6]).into_iter().chain(self.0.texts(&TECHNIQUE[..7])));
        !tags.tactics.is_empty() || !tags.techniques.is_empty()
    }

    fn host(self) -> Option<Cow<'a, str>> {
        self.0.text(&HOST).filter(|name| super::is_name(name))
    }

    fn is_one(self) -> bool {
        let is_ranked = self.0.text(&SEVERITY).is_some() || self.is_tagged();
        self.found().is_some() && self.host().is_some() && is_ranked
    }
}

/// Whether a text may be what something is called: no path, no number, no truth value.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_FOUND
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && !text.contains(['{', '\n'])
        && !matches!(text, "true" | "false")
}

/// The detection and its time, also within what a product wraps it in. The time may stand beside what is wrapped.
fn detection(object: &Object) -> Option<(Detection<'_>, Timestamp)> {
    let is_one = |named: Named<'_>| Detection(named).is_one();
    let found = within(object, is_one)?;
    let beside =
        || object.values().filter_map(serde_json::Value::as_object).find_map(|inner| Named(inner).time());
    let time = found.time().or_else(|| Named(object).time()).or_else(beside)?;
    Some((Detection(found), time))
}

/// Whether an object tells of a detection.
pub(super) fn is_one(object: &Object) -> bool {
    detection(object).is_some() || is_row(object)
}

/// Whether it is a SIEM's row of an alert, which may be about an account alone.
fn is_row(object: &Object) -> bool {
    Table::among(&[Table::Alerts], object).is_some()
}

fn recognises(object: &Object) -> bool {
    is_row(object) || is_one(object) && is_nobodys(object)
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let row = as_written(object, &[Table::Alerts]);
    let (detection, time) = match &row {
        Some(row) => (Detection(Named(row)), Named(row).time()?),
        None => detection(object)?,
    };
    let Detection(named) = detection;
    let found = detection.found()?;
    let host = detection.host().unwrap_or_default();
    let described = named.text(&DESCRIBED).filter(|text| *text != found && text.len() <= MAX_FOUND);
    let file = named.text(&FILE).unwrap_or_default();
    let account = named.text(&ACCOUNT).unwrap_or_default();
    let own = named.address(&ADDRESS).or_else(|| Some(Endpoint::new(some(&host)?, None)));
    let done = named.text(&DONE);
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: Some(time),
        priority: named.first(&SEVERITY, |value| severity(&super::fields::scalar(value)?)),
        message: Cow::Owned(super::titled(&found, described.as_deref().unwrap_or_default())),
        detail: Cow::Owned(listed([
            told("on", some(&host)),
            told("account", some(&account)),
            told("done", done.as_deref().filter(|done| is_name(done))),
        ])),
        source: named.address(&REMOTE).filter(|remote| Some(remote) != own.as_ref()),
        destination: own,
        verdict: done.as_deref().and_then(verdict),
        process: named.text(&PROCESS).unwrap_or_default(),
        host,
        account,
        file,
        ..Draft::default()
    };
    draft.tags.take_all(named.texts(&TACTIC).into_iter().chain(named.texts(&TECHNIQUE)));
    Some(draft.finish(Format::Detections, object, envelope))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::record::SensorVerdict;

    const FALCON: &str = r#"{"metadata":{"eventType":"DetectionSummaryEvent","eventCreationTime":1780491571342},"event":{"ComputerName":"pc7","UserName":"alice","DetectName":"Suspicious Activity","DetectDescription":"A process deleted backups.","SeverityName":"High","FileName":"x.exe","CommandLine":"x.exe -a","LocalIP":"10.0.2.20","Tactic":"Impact","Technique":"T1490"}}"#;

    #[test]
    fn what_was_found_on_which_host_is_told_under_whatever_names() {
        let found = record(FALCON);
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(found.message, "Suspicious Activity: A process deleted backups.");
        assert_eq!((found.host.as_str(), found.account.as_str()), ("pc7", "alice"));
        assert_eq!(found.destination, Some(Endpoint::new("10.0.2.20", None)));
        assert_eq!(
            (found.process.as_str(), found.techniques.as_slice()),
            ("x.exe -a", &["T1490".to_owned()][..])
        );
        assert_eq!(found.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        for (text, message, verdict) in [
            (
                r#"{"data":{"date":"2026-06-03T12:59:31Z","event_type":"Threat Quarantined","severity":"Medium","detection":"W32.Local","computer":{"hostname":"pc7","network_addresses":[{"ip":"10.0.2.20"}]},"file":{"file_name":"x.exe"}}}"#,
                "W32.Local: Threat Quarantined",
                None,
            ),
            (
                r#"{"createdAt":"2026-06-03T12:59:31Z","threatInfo":{"threatName":"x.exe","classification":"Trojan","confidenceLevel":"malicious","mitigationStatus":"quarantined"},"agentRealtimeInfo":{"agentComputerName":"pc7"}}"#,
                "x.exe: Trojan",
                Some(SensorVerdict::Blocked),
            ),
            (
                r#"{"alert_name":"Behaviour","severity":"high","hostname":"pc7","created_at":"2026-06-03T12:59:31Z","mitre_technique_id_and_name":["T1003 - OS Credential Dumping"],"action":"blocked"}"#,
                "Behaviour",
                Some(SensorVerdict::Blocked),
            ),
        ] {
            let found = record(text);
            assert_eq!((found.message.as_str(), found.verdict), (message, verdict), "{text}");
            assert_eq!((found.kind, found.host.as_str()), (RecordKind::Alert, "pc7"), "{text}");
        }
    }

    #[test]
    fn what_watches_machines_finds_nothing() {
        for text in [
            r#"{"title":"High CPU","severity":"critical","hostname":"web01","time":"2026-06-03T12:59:31Z"}"#,
            r#"{"name":"shop","hostname":"web01","level":30,"time":"2026-06-03T12:59:31Z","msg":"x"}"#,
            r#"{"detection":true,"severity":"high","hostname":"web01","time":"2026-06-03T12:59:31Z"}"#,
            r#"{"threatName":"x","severity":"high","time":"2026-06-03T12:59:31Z"}"#,
            r#"{"threatName":"x","severity":"high","hostname":"web01"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!recognises(&object), "{text}");
        }
        let object: Object = serde_json::from_str(FALCON).unwrap();
        assert!(recognises(&object));
    }

    #[test]
    fn names_that_others_choose_are_no_ends() {
        let text = r#"{"threatName":"x","severity":"high","hostname":"pc7","time":"2026-06-03T12:59:31Z","localIp":"10.0.2.20"}"#;
        for (key, value) in
            [("fileName", "6.6.6.6"), ("description", "from 6.6.6.6"), ("userName", "6.6.6.6")]
        {
            let found = changed(text, &[(key, value.into())]);
            assert_eq!(
                (found.source, found.destination),
                (None, Some(Endpoint::new("10.0.2.20", None))),
                "{key}"
            );
        }
    }
}
