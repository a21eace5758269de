//! What Splunk found, and what it keeps of others' events.
//!
//! - Notable events of Enterprise Security, which its correlation searches write into an index of their own, with the risks that they
//!   count up, and saved searches' alerts as their webhook sends them. They are alerts. Names are those of Splunk's common model.
//! - Any other event that was exported as fields, without its text: a log of which Splunk says when, where and of which kind it is. What
//!   else it says is looked for under the names that products have for it.
//!
//! Invariant: what stands in an event's text makes no notable event. Splunk makes fields of the pairs that it finds there, but none of
//! them replaces the index.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{Fields, is_name, scalar};
use super::tags::{risk, severity};
use super::{
    Draft, Envelope, Format, OBJECT_FORMATS, Object, ObjectFormat, Record, Tags, listed, told, verdict,
};
use crate::Endpoint;
use crate::formats::text::pairs;
use crate::record::RecordKind;

/// Notable events; see the module.
pub(crate) const NOTABLE: ObjectFormat =
    ObjectFormat { format: Format::Detections, recognises: is_notable, read: read_notable };

/// Other events; see the module.
pub(crate) const EVENTS: ObjectFormat =
    ObjectFormat { format: Format::OtherJson, recognises: is_event, read: read_event };

/// Indexes into which correlation searches write.
const INDEXES: [&str; 2] = ["notable", "risk"];
/// What a notable event is called.
const TITLES: [&str; 4] = ["rule_title", "rule_name", "search_name", "savedsearch_name"];
/// What only a correlation search adds to what it found.
const RANKS: [&str; 6] = ["urgency", "severity", "security_domain", "risk_score", "event_hash", "orig_sid"];
/// What the common model writes where an event does not say.
const UNSET: [&str; 2] = ["unknown", "n/a"];
/// What Splunk says of its own work on an event.
const OWN: [&str; 12] = [
    "index",
    "source",
    "sourcetype",
    "linecount",
    "splunk_server",
    "splunk_server_group",
    "punct",
    "eventtype",
    "tag",
    "timestartpos",
    "timeendpos",
    "unix_category",
];
/// Where the tactics and techniques stand that a search is annotated with.
const TAGGED: [&str; 9] = [
    "annotations.mitre_attack",
    "annotations.mitre_attack.mitre_tactic",
    "annotations.mitre_attack.mitre_tactic_id",
    "annotations.mitre_attack.mitre_technique_id",
    "mitre_attack",
    "mitre_tactic",
    "mitre_tactic_id",
    "mitre_technique_id",
    "mitre_attack_id",
];
/// Most tokens of a title that are filled in.
const MAX_TOKENS: usize = 16;

/// Whether an object is a notable event, whose fields say more than its text.
pub(crate) fn is_notable(object: &Object) -> bool {
    let fields = Fields(object);
    if webhook(fields).is_some() {
        return true;
    }
    let is_named = || TITLES.iter().any(|name| fields.string(name).is_some());
    let is_ranked = || fields.has("_time") && RANKS.iter().any(|name| fields.has(name));
    let is_numbered = || fields.string("event_id").is_some_and(|id| id.contains("@@notable@@"));
    match (fields.string("index"), fields.string("sourcetype")) {
        (Some(index), kind) if INDEXES.contains(&index) => {
            fields.has("_time") && (is_named() || kind == Some("stash"))
        }
        // What searches keep of what they found, in an index of another name or with none told.
        (_, Some("stash")) => is_named() && (is_numbered() || is_ranked()),
        (None, None) => is_named() && !fields.has("_raw") && (is_numbered() || is_ranked()),
        _ => false,
    }
}

/// What a saved search's alert found first, as its webhook sends it.
fn webhook(fields: Fields<'_>) -> Option<Fields<'_>> {
    let is_named = fields.string("search_name").is_some() && fields.string("sid").is_some();
    fields.object("result").filter(|_| is_named)
}

fn read_notable(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let whole = Fields(object);
    let named = whole.text("search_name");
    if let Some(result) = webhook(whole) {
        return Some(Notable { fields: result, search: named?, sensor: "Splunk" }.record(envelope));
    }
    let taken_apart = text_apart(whole);
    let fields = taken_apart.as_ref().map_or(whole, Fields);
    let search = fields.first(&["search_name", "source", "savedsearch_name", "rule_name", "rule_title"])?;
    Some(Notable { fields, search, sensor: "Splunk Enterprise Security" }.record(envelope))
}

/// The fields of an event that was exported with its text alone: `1780491571, search_name="…", rule_title="…"`.
fn text_apart(fields: Fields<'_>) -> Option<Object> {
    let text = fields.string("_raw").filter(|_| !fields.has("search_name") && !fields.has("rule_title"))?;
    let mut object = fields.0.clone();
    for pair in pairs(text).take(128) {
        object.entry(pair.key).or_insert_with(|| Value::from(pair.value));
    }
    Some(object)
}

/// A notable event, and the search that found it.
struct Notable<'a> {
    fields: Fields<'a>,
    search: Cow<'a, str>,
    sensor: &'static str,
}

impl<'a> Notable<'a> {
    /// The first of these fields that says something; of several values the first.
    fn text(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        names.iter().find_map(|name| {
            let text = self.fields.text(name)?;
            let first = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.lines().next().unwrap_or_default().trim()),
                owned => owned,
            };
            let is_set = !first.is_empty() && !UNSET.iter().any(|unset| first.eq_ignore_ascii_case(unset));
            is_set.then_some(first)
        })
    }

    fn end(&self, names: &[&str], port: &str) -> Option<Endpoint> {
        let address = self.text(names).filter(|text| is_name(text))?;
        Some(super::fields::end(&address, self.fields.port(&[port])))
    }

    /// What the search says that it is about, of this kind.
    fn risk_object(&self, kind: &str) -> Option<Cow<'a, str>> {
        let is_such = self.fields.string("risk_object_type").is_some_and(|own| own == kind);
        self.text(&["risk_object"]).filter(|_| is_such)
    }

    fn record(&self, envelope: &Envelope<'_>) -> Record {
        let account = self.text(&["user"]).or_else(|| self.risk_object("user"));
        let by = self.text(&["src_user"]);
        let bare = |name: Cow<'a, str>| match name.rsplit_once('\\') {
            Some((_, bare)) => Cow::Owned(bare.to_owned()),
            None => name,
        };
        let system = self.risk_object("system").filter(|name| is_name(name));
        let about = system.map(|name| super::fields::end(&name, None));
        let action = self.text(&["action"]);
        let mut draft = Draft {
            kind: RecordKind::Alert,
            time: self.fields.time(&["_time", "orig_time", "time"]),
            sensor: Cow::Borrowed(self.sensor),
            host: self.host().unwrap_or_default(),
            message: self.title(),
            detail: Cow::Owned(self.detail(by.as_deref().filter(|_| account.is_some()))),
            rule: self.search.clone(),
            priority: ["urgency", "severity"]
                .iter()
                .find_map(|name| severity(&self.fields.text(name)?))
                .or_else(|| risk(self.fields.number("risk_score")?)),
            classification: self.text(&["security_domain"]).unwrap_or_default(),
            tags: self.tags(),
            protocol: self.text(&["transport"]).unwrap_or_default(),
            source: self.end(&["src", "src_ip", "src_host"], "src_port"),
            destination: self.end(&["dest", "dest_ip", "dest_host"], "dest_port").or(about),
            account: account.or(by).map(bare).unwrap_or_default(),
            process: self.text(&["process", "process_name", "command"]).unwrap_or_default(),
            file: self.text(&["file_path", "file_name", "object_path"]).unwrap_or_default(),
            verdict: action.as_deref().and_then(verdict),
            ..Draft::default()
        };
        if self.fields.string("index") == Some("risk") && draft.classification.is_empty() {
            draft.classification = Cow::Borrowed("risk");
        }
        draft.finish(Format::Detections, self.fields.0, envelope)
    }

    /// The host on which it happened or that told of it. Only what is found on hosts themselves happened on its destination.
    fn host(&self) -> Option<Cow<'a, str>> {
        let is_on_host = self.fields.string("security_domain").is_none_or(|domain| domain == "endpoint");
        let on = || self.text(&["dest"]).filter(|_| is_on_host);
        let told = self.text(&["orig_host", "dvc"]).or_else(on).or_else(|| self.text(&["host"]));
        told.filter(|name| is_name(name))
    }

    /// The event's own title with what it names filled in (`Malware on $dest$`), else the search's name.
    fn title(&self) -> Cow<'a, str> {
        let Some(title) = self.text(&["rule_title", "rule_name"]) else {
            let bare = self.search.strip_suffix(" - Rule").unwrap_or(&self.search);
            return Cow::Owned(bare.trim().to_owned());
        };
        if !title.contains('$') {
            return title;
        }
        let mut parts = title.split('$').take(MAX_TOKENS);
        let mut filled = parts.next().unwrap_or_default().to_owned();
        let mut is_token = true;
        for part in parts {
            match self.text(&[part]).filter(|_| is_token && !part.is_empty()) {
                Some(value) => {
                    filled.push_str(&value);
                    is_token = false;
                }
                // What was no token may end where one begins.
                None => {
                    filled.push_str(if is_token { "$" } else { "" });
                    filled.push_str(part);
                    is_token = true;
                }
            }
        }
        Cow::Owned(filled)
    }

    fn detail(&self, by: Option<&str>) -> String {
        listed([
            told("by", by),
            told("parent", self.text(&["parent_process", "parent_process_name"])),
            told("signature", self.text(&["signature"])),
            told("app", self.text(&["app"])),
            told("url", self.text(&["url"])),
            told("service", self.text(&["service_name", "service"])),
            told("task", self.text(&["task_name"])),
            told("object", self.text(&["object"])),
            told("list", self.text(&["threat_key"])),
            told("action", self.text(&["action"])),
            told("failures", self.text(&["failure"])),
            told("successes", self.text(&["success"])),
            told("count", self.text(&["count", "event_count"])),
            told("country", self.text(&["src_country"])),
            told("bytes out", self.text(&["bytes_out"])),
        ])
    }

    fn tags(&self) -> Tags {
        let mut tags = Tags::default();
        for text in TAGGED.iter().flat_map(|path| self.fields.texts(path)) {
            tags.take_all(text.split([',', '\n', '|']).take(16));
        }
        // Where they were left as they are saved.
        let saved =
            self.fields.string("annotations").and_then(|text| serde_json::from_str::<Value>(text).ok());
        let list = saved.as_ref().and_then(|saved| saved.get("mitre_attack")?.as_array());
        tags.take_all(list.into_iter().flatten().take(16).filter_map(scalar));
        tags
    }
}

/// Whether an object is an event with its fields alone, in no form of its own.
fn is_event(object: &Object) -> bool {
    let fields = Fields(object);
    let is_kept = fields.string("sourcetype").is_some()
        && fields.has("_time")
        && ["source", "index", "host"].iter().any(|name| fields.string(name).is_some());
    let others = || OBJECT_FORMATS.iter().filter(|other| other.format != Format::OtherJson);
    is_kept && !others().any(|other| (other.recognises)(object))
}

fn read_event(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    // Of its own fields only the time is left.
    let is_splunks = |name: &str| OWN.contains(&name) || name.starts_with("date_") || name.starts_with('_');
    let of_event = object.iter().filter(|(name, _)| *name == "_time" || !is_splunks(name));
    let event: Object = of_event.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut record = super::event(&event, envelope)?;
    record.sensor = super::clean(&fields.text("sourcetype")?, super::MAX_NAME);
    record.verdict = record.verdict.or_else(|| verdict(&fields.text("action")?));
    record.source = record.source.or_else(|| fields.address(&["src", "src_ip"]));
    record.destination = record.destination.or_else(|| fields.end(&["dest", "dest_ip"], &["dest_port"]));
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::Tactic;
    use crate::record::SensorVerdict;

    const FOUND: &str = r#"{"_time":"2026-06-03T12:59:31.342+00:00","index":"notable","event_id":"A@@notable@@b","source":"Access - Guessing - Rule","sourcetype":"stash","rule_title":"Guessing by $src$ ($x$)","security_domain":"access","severity":"medium","urgency":"high","annotations.mitre_attack":["T1110","TA0006"],"src":"203.0.113.9","dest":"web01","user":"CORP\\bob","src_user":"unknown","app":"sshd","failure":"30","success":"1"}"#;

    #[test]
    fn a_notable_event_is_an_alert() {
        let found = record(FOUND);
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(found.message, "Guessing by 203.0.113.9 ($x$)");
        assert_eq!(
            (found.rule.as_str(), found.classification.as_str()),
            ("Access - Guessing - Rule", "access")
        );
        assert_eq!((found.account.as_str(), found.host.as_str()), ("bob", ""));
        assert_eq!(found.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(found.destination, Some(Endpoint::new("web01", None)));
        assert_eq!(
            (found.techniques.as_slice(), found.tactics.as_slice()),
            (&["T1110".to_owned()][..], &[Tactic::CredentialAccess][..])
        );
        assert_eq!(found.detail, "app sshd, failures 30, successes 1");
        assert_eq!(found.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let dismissed =
            changed(FOUND, &[("disposition_label", "False Positive - Incorrect Analytic Logic".into())]);
        assert_eq!(dismissed.kind, RecordKind::Telemetry);
    }

    #[test]
    fn what_searches_found_is_known_in_every_export() {
        for (text, title) in [
            (
                r#"{"_time":"2026-06-03T12:59:31Z","search_name":"Endpoint - Malware - Rule","urgency":"low","annotations":"{\"mitre_attack\":[\"T1204\"]}","dest":"pc7"}"#,
                "Endpoint - Malware",
            ),
            (
                r#"{"_time":"2026-06-03T12:59:31Z","index":"notable","sourcetype":"stash","source":"Endpoint - Malware - Rule","_raw":"1780491571, search_name=\"Endpoint - Malware - Rule\", rule_title=\"Malware on $dest$\", severity=\"low\", mitre_attack=\"T1204\", dest=\"pc7\""}"#,
                "Malware on pc7",
            ),
            (
                r#"{"sid":"scheduler__x","search_name":"Malware","app":"search","owner":"bob","results_link":"http://splunk.example","result":{"_time":"1780491571","_raw":"x","severity":"low","dest":"pc7","mitre_technique_id":"T1204"}}"#,
                "Malware",
            ),
            (
                r#"{"_time":"2026-06-03T12:59:31Z","index":"risk","source":"Malware - Rule","sourcetype":"stash","risk_object":"pc7","risk_object_type":"system","risk_score":"20","mitre_technique_id":"T1204"}"#,
                "Malware",
            ),
        ] {
            let found = record(text);
            assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(3)), "{text}");
            assert_eq!(found.message, title, "{text}");
            assert_eq!(found.techniques, ["T1204"], "{text}");
            assert_eq!(found.destination, Some(Endpoint::new("pc7", None)), "{text}");
            assert_eq!(found.time.unwrap().to_string(), "2026-06-03T12:59:31.000000", "{text}");
        }
    }

    #[test]
    fn what_stands_in_an_events_text_makes_no_notable_event() {
        for text in [
            r#"{"_time":"2026-06-03T12:59:31Z","index":"web","sourcetype":"access","search_name":"x","urgency":"high"}"#,
            r#"{"_time":"2026-06-03T12:59:31Z","_raw":"GET /?search_name=x","search_name":"x","urgency":"high"}"#,
            r#"{"rule_name":"x","severity":"high","time":"2026-06-03T12:59:31Z"}"#,
            r#"{"search_name":"x","result":{"_raw":"x"}}"#,
        ] {
            assert!(!is_notable(&serde_json::from_str(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn other_events_are_logs_of_their_kind() {
        let event = record(
            r#"{"_time":"2026-06-03T12:59:31.342+00:00","index":"net","host":"fw01","source":"udp:514","sourcetype":"acme:fw","punct":"__","action":"blocked","src":"203.0.113.9","dest":"10.0.2.11","dest_port":"22","rule":"edge"}"#,
        );
        assert_eq!(
            (event.kind, event.sensor.as_str(), event.host.as_str()),
            (RecordKind::Log, "acme:fw", "fw01")
        );
        assert_eq!(event.source.unwrap().to_string(), "203.0.113.9");
        assert_eq!(event.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!(event.verdict, Some(SensorVerdict::Blocked));
        assert!(event.message.starts_with("blocked: "), "{}", event.message);
        assert!(!event.message.contains("udp:514") && !event.message.contains("net\""), "{}", event.message);
    }
}
