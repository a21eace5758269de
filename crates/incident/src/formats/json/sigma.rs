//! Matches of Sigma rules, as chainsaw (`--json`, `--jsonl`), hayabusa and suzaku (JSON, JSONL) and Zircolite write them.
//!
//! The record is the rule's; ends, account, process and computer are those of the event that matched. Where one object holds
//! several matches (chainsaw's aggregates, Zircolite), the record stands for all of them, shows the first and names where else.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{self, Fields, scalar};
use super::tags::severity;
use super::windows::Event;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, told};
use crate::record::RecordKind;
use crate::{Endpoint, Repeats};

/// See the module.
pub(crate) const SIGMA: ObjectFormat = ObjectFormat { format: Format::Sigma, recognises, read };

/// Most matches of one object whose times are looked at.
const MAX_MATCHES: usize = 100_000;

/// Which program wrote an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Chainsaw,
    Hayabusa,
    Zircolite,
}

fn writer(object: &Object) -> Option<Writer> {
    let is_text = |key: &str| object.get(key).is_some_and(Value::is_string);
    let has = |key: &&str| object.contains_key(*key);
    if is_text("RuleTitle") && ["Level", "RuleID", "Details", "RuleFile"].iter().any(has) {
        return Some(Writer::Hayabusa);
    }
    if is_text("rule_level") && is_text("title") {
        return Some(Writer::Zircolite);
    }
    // A row of its table.
    if is_text("detections") && ["Event ID", "Computer", "Record ID"].iter().any(has) {
        return Some(Writer::Chainsaw);
    }
    let has_event = object.get("document").is_some_and(Value::is_object)
        || object.get("documents").is_some_and(Value::is_array);
    (has_event && is_text("name") && ["level", "group", "source"].iter().any(has)).then_some(Writer::Chainsaw)
}

fn recognises(object: &Object) -> bool {
    writer(object).is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let mut draft = Draft { kind: RecordKind::Alert, ..Draft::default() };
    let mut repeats = Repeats::default();
    match writer(object)? {
        Writer::Chainsaw => {
            read_chainsaw(fields, &mut draft);
            tell_others(
                fields.objects("documents").filter_map(|document| document.object("data")),
                &mut draft,
            );
            repeats.count = objects_in(object.get("documents")).max(1);
        }
        Writer::Hayabusa => read_hayabusa(fields, &mut draft),
        Writer::Zircolite => {
            read_zircolite(fields, &mut draft, &mut repeats);
            tell_others(fields.objects("matches"), &mut draft);
        }
    }
    draft.kind = RecordKind::Alert;
    let mut record = draft.finish(Format::Sigma, object, envelope);
    record.repeats = repeats;
    Some(record)
}

fn objects_in(list: Option<&Value>) -> u64 {
    list.and_then(Value::as_array).map_or(1, |list| u64::try_from(list.len()).unwrap_or(1))
}

/// Takes the event that matched, which brings its own host, ends and account, and no message.
fn take_event<'a>(event: Fields<'a>, draft: &mut Draft<'a>) {
    if let Some(event) = Event::of(event) {
        event.fill(draft);
        draft.time = draft.time.or(event.time);
        return;
    }
    // Rules for other systems match flat records.
    draft.source = event.end(&["SrcIP", "src_ip", "c-ip", "sourceIPAddress"], &["SrcPort", "src_port"]);
    draft.destination =
        event.end(&["TgtIP", "DstIP", "dest_ip", "dst_ip"], &["TgtPort", "DstPort", "dest_port"]);
    draft.host = event.first(&["Computer", "host", "hostname", "node"]).unwrap_or_default();
    draft.account = event.first(&["User", "user", "UserName", "acct", "auid"]).unwrap_or_default();
    draft.process = event.first(&["CommandLine", "cmdline", "proctitle", "exe", "comm"]).unwrap_or_default();
}

/// Puts the computers and sources of other matches before what is told of the first.
fn tell_others<'a>(events: impl Iterator<Item = Fields<'a>>, draft: &mut Draft<'_>) {
    let mut others: Vec<String> = Vec::new();
    for event in events {
        let mut other = Draft::default();
        take_event(event, &mut other);
        let source = other
            .source
            .filter(|source| draft.source.as_ref().is_none_or(|first| first.address != source.address));
        let is_elsewhere = !other.host.is_empty() && other.host != draft.host;
        let place = listed([
            told("on", Some(&other.host).filter(|_| is_elsewhere)),
            told("from", source.map(|source| source.address)),
        ]);
        if !place.is_empty() && others.len() < 4 && !others.contains(&place) {
            others.push(place);
        }
    }
    if !others.is_empty() {
        let more = Some(draft.detail.as_ref()).filter(|text| !text.is_empty());
        draft.detail = Cow::Owned(listed([told("also", Some(others.join("; "))), told("", more)]));
    }
}

fn read_chainsaw<'a>(fields: Fields<'a>, draft: &mut Draft<'a>) {
    draft.time = fields.time(&["timestamp"]);
    let document = fields.object("document").or_else(|| fields.objects("documents").next());
    if let Some(document) = document {
        take_event(document.object("data").unwrap_or(document), draft);
    }
    draft.sensor = Cow::Borrowed("chainsaw");
    draft.message = fields.text("name").unwrap_or_default();
    if draft.message.is_empty() {
        let names = fields.text("detections").unwrap_or_default();
        let names = names.lines().map(|name| name.trim_start_matches('\u{2023}').trim());
        draft.message = Cow::Owned(names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join(", "));
        draft.host = fields.text("Computer").unwrap_or_default();
    }
    draft.rule = fields.first(&["id", "name"]).unwrap_or_default();
    draft.classification = fields.first(&["group"]).filter(|group| group != "Sigma").unwrap_or_default();
    draft.priority = fields.text("level").and_then(|word| severity(&word));
    draft.tags.take_all(fields.texts("tags"));
}

fn read_zircolite<'a>(fields: Fields<'a>, draft: &mut Draft<'a>, repeats: &mut Repeats) {
    // Its template for Elastic writes the event's fields beside the rule's.
    let event = fields.objects("matches").next().unwrap_or(fields);
    take_event(event, draft);
    let time = |event: Fields<'_>| event.time(&["SystemTime", "UtcTime", "timestamp", "@timestamp"]);
    let times = match fields.get("matches") {
        Some(Value::Array(matches)) => matches.as_slice(),
        _ => &[],
    };
    let times = times.iter().take(MAX_MATCHES).filter_map(|event| time(Fields(event.as_object()?)));
    let (first, last) = times.fold((None, None), |(first, last): (Option<_>, Option<_>), at| {
        (Some(first.map_or(at, |first| at.min(first))), Some(last.map_or(at, |last| at.max(last))))
    });
    draft.time = first.or_else(|| time(event)).or(draft.time);
    repeats.count = objects_in(fields.get("matches")).max(1);
    repeats.last = last.filter(|last| Some(*last) > first);
    draft.sensor = Cow::Borrowed("zircolite");
    draft.message = fields.text("title").unwrap_or_default();
    draft.rule = fields.first(&["id", "title"]).unwrap_or_default();
    draft.priority = fields.text("rule_level").and_then(|word| severity(&word));
    draft.tags.take_all(fields.texts("tags"));
}

fn read_hayabusa<'a>(fields: Fields<'a>, draft: &mut Draft<'a>) {
    let details = Details::of(fields);
    draft.time = fields.time(&["Timestamp"]);
    draft.sensor = Cow::Borrowed("hayabusa");
    draft.host = fields.first(&["Computer"]).unwrap_or_default();
    draft.message = fields.text("RuleTitle").unwrap_or_default();
    draft.rule = fields.first(&["RuleID", "RuleFile", "RuleTitle"]).unwrap_or_default();
    draft.priority = fields.text("Level").and_then(|word| severity(&word));
    draft.tags.take_all(["MitreTactics", "MitreTags"].iter().flat_map(|key| separated(fields.get(key))));
    draft.account = details
        .first(&["TgtUser", "TargetUserName", "User", "SrcUser", "SubjectUserName", "UserName"])
        .map(|name| name.rsplit_once('\\').map_or(name.clone(), |(_, bare)| Cow::Owned(bare.to_owned())))
        .unwrap_or_default();
    draft.process = details
        .first(&[
            "Cmdline",
            "CommandLine",
            "ScriptBlock",
            "ScriptBlockText",
            "Proc",
            "Image",
            "SvcPath",
            "ImagePath",
        ])
        .unwrap_or_default();
    draft.file = details
        .first(&["TgtFile", "TargetFilename", "ObjName", "ObjectName", "ShareName"])
        .unwrap_or_default();
    draft.protocol = details.first(&["Proto"]).filter(|name| name.len() <= 8).unwrap_or_default();
    let end = |addresses: &[&str], ports: &[&str]| -> Option<Endpoint> {
        let address = details.named(addresses).filter(|text| fields::is_name(text))?;
        let port = details.named(ports).and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let end = fields::end(&address, port);
        let is_here =
            end.ip().is_some_and(|ip| ip.is_loopback() || ip.is_unspecified()) || end.address == "LOCAL";
        (!is_here).then_some(end)
    };
    draft.source = end(&["SrcIP", "IpAddress", "SourceIp"], &["SrcPort", "IpPort", "SourcePort"]);
    draft.destination =
        end(&["TgtIP", "DestIP", "DestinationIp"], &["TgtPort", "DestPort", "DestinationPort"])
            .or_else(|| end(&["TgtHost"], &[]));
    let event = fields.first(&["EventID", "EventName"]);
    draft.detail = Cow::Owned(listed([
        told("event", event),
        told("logon type", details.first(&["LogonType"])),
        told("service", details.first(&["Svc", "ServiceName"])),
        told("parent", details.first(&["ParentCmdline", "ParentImage"])),
        told("on behalf of", details.first(&["SrcUser"]).filter(|by| *by != draft.account)),
        told("dns", details.first(&["Query", "QueryName"])),
    ]));
}

/// The items of a list, or of a text in which hayabusa sets them apart by `¦`.
fn separated(value: Option<&Value>) -> Vec<Cow<'_, str>> {
    match value {
        Some(Value::String(text)) => {
            text.split(['¦', ',']).take(32).map(|part| Cow::Borrowed(part.trim())).collect()
        }
        Some(Value::Array(items)) => items.iter().take(32).filter_map(scalar).collect(),
        _ => Vec::new(),
    }
}

/// What hayabusa tells of an event, under short names or the event's own. Written as one text, a name that somebody chose
/// may hold what looks like the next field, so that no end is taken from there.
struct Details<'a> {
    named: Vec<Fields<'a>>,
    written: Vec<(&'a str, &'a str)>,
}

impl<'a> Details<'a> {
    fn of(fields: Fields<'a>) -> Details<'a> {
        let keys = ["Details", "ExtraFieldInfo", "AllFieldInfo"];
        let named = keys.iter().filter_map(|key| fields.object(key)).chain([fields]).collect();
        let written = keys
            .iter()
            .filter_map(|key| fields.string(key))
            .flat_map(|text| text.split('¦').take(64))
            .filter_map(|part| part.split_once(": ").map(|(key, value)| (key.trim(), value.trim())))
            .collect();
        Details { named, written }
    }

    fn named(&self, keys: &[&str]) -> Option<Cow<'a, str>> {
        keys.iter().find_map(|key| self.named.iter().find_map(|fields| scalar(fields.0.get(*key)?)))
    }

    fn first(&self, keys: &[&str]) -> Option<Cow<'a, str>> {
        let written = |key: &str| {
            let value = self.written.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)?;
            (!matches!(value, "" | "-" | "n/a")).then_some(Cow::Borrowed(value))
        };
        keys.iter().find_map(|key| self.named(&[key]).or_else(|| written(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::Tactic;

    const EVENT: &str = r##"{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Security-Auditing"}},"EventID":4625,"Channel":"Security","Computer":"DC01"},"EventData":{"TargetUserName":"svc","IpAddress":"10.0.3.17","IpPort":"50000"}}}"##;

    fn assert_match(record: &Record) {
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(
            (record.message.as_str(), record.rule.as_str()),
            ("Failed logon from a workstation", "r-1")
        );
        assert_eq!((record.host.as_str(), record.account.as_str()), ("DC01", "svc"));
        assert_eq!(record.source, Some(Endpoint::new("10.0.3.17", Some(50000))));
        assert_eq!(record.tactics, [Tactic::CredentialAccess]);
        assert_eq!(record.techniques, ["T1110"]);
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn a_match_of_chainsaw_is_the_rules_with_the_events_ends() {
        let head = r#""group":"Sigma","kind":"individual","name":"Failed logon from a workstation","timestamp":"2026-06-03T12:59:31.342+00:00","level":"high","source":"sigma","id":"r-1","tags":["attack.credential-access","attack.t1110"]"#;
        assert_match(&record(&format!(
            r#"{{{head},"document":{{"kind":"evtx","path":"x","data":{EVENT}}}}}"#
        )));
        let several = record(&format!(
            r#"{{{head},"documents":[{{"kind":"evtx","data":{EVENT}}},{{"kind":"evtx","data":{EVENT}}}]}}"#
        ));
        assert_match(&several);
        assert_eq!(several.repeats.count, 2);
    }

    #[test]
    fn a_match_of_hayabusa_is_read_with_details_of_both_kinds() {
        let head = r#""Timestamp":"2026-06-03 14:59:31.342 +02:00","RuleTitle":"Failed logon from a workstation","Level":"high","Computer":"DC01","Channel":"Sec","EventID":4625,"RecordID":1,"RuleID":"r-1""#;
        let named = record(&format!(
            r#"{{{head},"MitreTactics":["CredAccess"],"MitreTags":["T1110"],"Details":{{"TgtUser":"svc","SrcIP":"10.0.3.17","LogonType":3}},"ExtraFieldInfo":{{"IpPort":50000}}}}"#
        ));
        assert_match(&named);
        assert_eq!(named.detail, "event 4625, logon type 3");
        let written = record(&format!(
            r#"{{{head},"MitreTactics":"CredAccess","MitreTags":"T1110","Details":"TgtUser: svc ¦ SrcIP: 10.0.3.17 ¦ LogonType: 3"}}"#
        ));
        assert_eq!((written.account.as_str(), written.detail.as_str()), ("svc", "event 4625, logon type 3"));
        assert_eq!((written.source, written.techniques), (None, vec!["T1110".to_owned()]));
    }

    #[test]
    fn a_rule_of_zircolite_stands_for_all_its_matches() {
        let record = record(
            r#"{"title":"Failed logon from a workstation","id":"r-1","rule_level":"high","tags":["attack.credential-access","attack.t1110"],"count":2,"matches":[{"Channel":"Security","EventID":4625,"Computer":"DC01","Provider_Name":"Microsoft-Windows-Security-Auditing","TargetUserName":"svc","IpAddress":"10.0.3.17","IpPort":"50000","SystemTime":"2026-06-03T12:59:32Z"},{"Channel":"Security","EventID":4625,"Computer":"DC02","IpAddress":"10.0.3.18","SystemTime":"2026-06-03T12:59:31.342Z"}]}"#,
        );
        assert_match(&record);
        assert!(record.detail.starts_with("also on DC02, from 10.0.3.18"), "{}", record.detail);
        assert_eq!(record.repeats.count, 2);
        assert_eq!(record.repeats.last.unwrap().to_string(), "2026-06-03T12:59:32.000000");
    }

    #[test]
    fn levels_are_mapped() {
        let text =
            r#"{"Timestamp":"2026-06-03 12:59:31.342 +00:00","RuleTitle":"x","Level":"crit","RuleID":"r"}"#;
        for (word, expected) in [
            ("crit", Some(1)),
            ("high", Some(1)),
            ("med", Some(2)),
            ("low", Some(3)),
            ("info", Some(4)),
            ("", None),
        ] {
            assert_eq!(changed(text, &[("Level", word.into())]).priority, expected, "{word}");
        }
    }
}
