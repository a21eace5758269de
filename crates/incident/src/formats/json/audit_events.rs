//! Audit events of services that have no form of their own here: who did what, from which address, when. Asana, Atlassian, Auth0,
//! Bitwarden, Duo, GitLab, Keycloak, Notion, OneLogin, Slack, Snowflake, Teleport, Vault, Zendesk and Zoom write such objects, under
//! names of their own for the same things: `ip_address`, `clientIp`, `CLIENT_IP`.
//!
//! An object is one if no other form knows it and it has a time, an account, what was done, and either an address or an actor who is
//! described: an application's own event seldom has these. Each is a log; how it ended is told, and what was denied is blocked.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{self, address, scalar};
use super::{
    Draft, Envelope, Format, OBJECT_FORMATS, Object, ObjectFormat, Record, listed, meant_as, some, told,
};
use crate::record::{RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

/// See the module.
pub(crate) const AUDIT_EVENTS: ObjectFormat = ObjectFormat { format: Format::AuditEvents, recognises, read };

// Names in lower case and without what parts their words, as `is_called` compares them; a dot leads into an object.
const TIME: [&str; 11] = [
    "timestamp",
    "timestamp.epochsecond",
    "time",
    "isotimestamp",
    "createdat",
    "date",
    "datecreate",
    "eventtime",
    "eventtimestamp",
    "occurredat",
    "when",
];
const ACCOUNT: [&str; 31] = [
    "actor.user.email",
    "actor.person.email",
    "actor.email",
    "actor.username",
    "actor.loginname",
    "actor.name",
    "actor.displayname",
    "actoremail",
    "actorusername",
    "actorname",
    "initiatedby.email",
    "initiatedby.username",
    "author.email",
    "author.name",
    "authorname",
    "createdby.login",
    "createdby.name",
    "auth.displayname",
    "details.username",
    "user.email",
    "user.username",
    "user.login",
    "user.name",
    "useremail",
    "username",
    "admin.name",
    "operator",
    "actor",
    "user",
    "email",
    "login",
];
/// Whoever acts, described by more than a name.
const ACTOR: [&str; 5] = ["actor", "author", "initiatedby", "createdby", "auth"];
const ACTION: [&str; 10] = [
    "action",
    "audittype.action",
    "eventname",
    "eventtype",
    "event.type",
    "event",
    "operation",
    "actiontype",
    "request.operation",
    "type",
];
const ADDRESS: [&str; 20] = [
    "ipaddress",
    "ip",
    "ipaddr",
    "clientip",
    "clientipaddress",
    "client.ipaddress",
    "client.ip",
    "remoteip",
    "remoteaddr",
    "remoteaddress",
    "request.remoteaddress",
    "sourceip",
    "actor.ip",
    "actorip",
    "actoripaddress",
    "addr.remote",
    "context.ipaddress",
    "context.clientipaddress",
    "accessdevice.ip",
    "source",
];
/// What it was done to.
const UPON: [&str; 16] = [
    "target.email",
    "target.name",
    "targetdetails",
    "target",
    "affectedobjects.name",
    "entity.user.email",
    "entity.app.name",
    "entity.name",
    "entitypath",
    "resource.name",
    "item.name",
    "request.path",
    "object",
    "application.name",
    "sourcelabel",
    "privilegename",
];
const RESULT: [&str; 6] = ["result", "outcome.result", "outcome", "status", "success", "issuccess"];
const REASON: [&str; 4] = ["reason", "failurereason", "outcome.reason", "error"];
/// What the service says of it in a sentence, in which others' words may stand.
const SENTENCE: [&str; 3] = ["operationdetail", "changedescription", "description"];
/// Longest name of what was done, and longest reason.
const MAX_ACTION: usize = 96;
/// Longest sentence that is told.
const MAX_SENTENCE: usize = 200;

/// What services wrap an event in.
const AROUND: [&str; 3] = ["data", "event", "detail"];

/// An event's fields, by names that are compared without case and marks.
#[derive(Clone, Copy)]
struct Event<'a>(&'a Object);

impl<'a> Event<'a> {
    fn get(self, path: &str) -> Option<&'a Value> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let value = self.0.iter().find(|(key, value)| !value.is_null() && is_called(key, name))?.1;
        let Some(rest) = rest else { return Some(value) };
        let inner = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        Event(inner.as_object()?).get(rest)
    }

    fn first<T>(self, paths: &[&str], as_what: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        paths.iter().find_map(|path| as_what(self.get(path)?))
    }

    fn text(self, paths: &[&str]) -> Option<Cow<'a, str>> {
        self.first(paths, scalar)
    }

    fn time(self) -> Option<Timestamp> {
        self.first(&TIME, fields::time)
    }

    fn address(self) -> Option<Endpoint> {
        self.first(&ADDRESS, address)
    }

    /// What was done, in the service's own few words.
    fn action(self) -> Option<Cow<'a, str>> {
        let is_short = |action: &str| action.len() <= MAX_ACTION && !action.contains(['\n', '{', '"']);
        self.text(&ACTION).filter(|action| is_short(action))
    }

    fn is_one(self) -> bool {
        let has_actor = || ACTOR.iter().any(|path| self.get(path).is_some_and(Value::is_object));
        // Duo's administrators and Zoom's act without an address, under names that nobody else gives.
        let is_named_so = || self.0.contains_key("isotimestamp") || self.0.contains_key("operator");
        self.time().is_some()
            && self.action().is_some()
            && self.text(&ACCOUNT).is_some()
            && (self.address().is_some() || has_actor() || is_named_so())
    }
}

/// Whether a key is this name, whatever its case and the marks between its words.
fn is_called(key: &str, name: &str) -> bool {
    let bare = key.bytes().filter(|byte| !b"_-@ ".contains(byte)).map(|byte| byte.to_ascii_lowercase());
    bare.eq(name.bytes())
}

/// The event, also within what a service wraps it in.
fn event(object: &Object) -> Option<Event<'_>> {
    let inner = AROUND.iter().filter_map(|key| object.get(*key)?.as_object());
    std::iter::once(object).chain(inner).map(Event).find(|event| event.is_one())
}

fn recognises(object: &Object) -> bool {
    let mut others = OBJECT_FORMATS.iter().filter(|other| other.format != Format::AuditEvents);
    event(object).is_some() && meant_as(object).is_none() && !others.any(|other| (other.recognises)(object))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = event(object)?;
    let action = event.action()?;
    let account = event.text(&ACCOUNT).unwrap_or_default();
    let source = event.address();
    let result = event.text(&RESULT).unwrap_or_default();
    let (ended, verdict) = ending(&result);
    let reason = || event.text(&REASON).filter(|reason| *reason != result && reason.len() <= MAX_ACTION);
    let sentence = event.text(&SENTENCE).filter(|text| text.len() <= MAX_SENTENCE && !text.starts_with('{'));
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("upon", event.text(&UPON).filter(|upon| *upon != account)),
        told("with", event.text(&["factor"])),
        ended.map(|word| match reason() {
            Some(reason) => format!("{word}: {reason}"),
            None => word.to_owned(),
        }),
        // What stands in quotation marks makes no account, no login and no failure.
        sentence.map(|text| format!("\"{}\"", text.replace('"', "'"))),
    ]);
    let draft = Draft {
        kind: RecordKind::Log,
        time: event.time(),
        message: Cow::Owned(super::titled(&action, &facts)),
        detail: Cow::Owned(listed([
            told("agent", event.text(&["useragent", "context.ua", "context.useragent"])),
            told("country", event.text(&["country", "location.country", "accessdevice.location.country"])),
        ])),
        source,
        account,
        verdict,
        ..Draft::default()
    };
    Some(draft.finish(Format::AuditEvents, object, envelope))
}

/// How it ended, where that is not well.
fn ending(result: &str) -> (Option<&'static str>, Option<SensorVerdict>) {
    match result.to_ascii_lowercase().as_str() {
        "denied" | "deny" | "blocked" | "rejected" | "forbidden" | "refused" => {
            (Some("refused"), Some(SensorVerdict::Blocked))
        }
        "failure" | "failed" | "fail" | "error" | "false" | "no" | "unsuccessful" | "invalid" => {
            (Some("failed"), None)
        }
        "fraud" => (Some("reported as fraud"), None),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;

    const FACTOR: &str = r#"{"access_device":{"ip":"203.0.113.9","location":{"country":"Norway"}},"application":{"key":"k1","name":"VPN"},"event_type":"authentication","factor":"duo_push","isotimestamp":"2026-06-03T12:59:31.342+00:00","reason":"user_marked_fraud","result":"fraud","timestamp":1780491571,"user":{"key":"u1","name":"alice"}}"#;

    #[test]
    fn who_did_what_from_where_is_told_under_whatever_names() {
        let push = record(FACTOR);
        assert_eq!((push.kind, push.account.as_str(), push.verdict), (RecordKind::Log, "alice", None));
        assert_eq!(
            push.message,
            "authentication: by alice, from 203.0.113.9, upon VPN, with duo_push, reported as fraud: user_marked_fraud"
        );
        assert_eq!(push.source, Some(Endpoint::new("203.0.113.9", None)));
        for (text, message) in [
            (
                r#"{"email":"alice@example.com","ip_address":"203.0.113.9","time":"2026-06-03T12:59:31Z","type":"Sign in","client_type":"Browser"}"#,
                "Sign in: by alice@example.com, from 203.0.113.9",
            ),
            (
                r#"{"auditType":{"action":"User added to group","category":"groups"},"author":{"id":"7","name":"alice"},"affectedObjects":[{"name":"admins","type":"GROUP"}],"source":"203.0.113.9","timestamp":{"epochSecond":1780491571,"nano":0}}"#,
                "User added to group: by alice, from 203.0.113.9, upon admins",
            ),
            (
                r#"{"time":1780491571342,"type":"LOGIN_ERROR","realmId":"r1","ipAddress":"203.0.113.9","error":"invalid_user_credentials","details":{"username":"alice"}}"#,
                "LOGIN_ERROR: by alice, from 203.0.113.9",
            ),
            (
                r#"{"event":"session.start","user":"alice","login":"root","addr.remote":"203.0.113.9:51234","time":"2026-06-03T12:59:31Z","success":false}"#,
                "session.start: by alice, from 203.0.113.9, failed",
            ),
            (
                r#"{"action":"admin_update","description":"{\"phone\":\"1\"}","isotimestamp":"2026-06-03T12:59:31+00:00","object":"bob","timestamp":1780491571,"username":"alice"}"#,
                "admin_update: by alice, upon bob",
            ),
            (
                r#"{"EVENT_TIMESTAMP":"2026-06-03 12:59:31.342 Z","EVENT_TYPE":"LOGIN","USER_NAME":"ALICE","CLIENT_IP":"203.0.113.9","IS_SUCCESS":"NO"}"#,
                "LOGIN: by ALICE, from 203.0.113.9, failed",
            ),
            (
                r#"{"event":{"actor":{"person":{"email":"alice@example.com"}},"ip_address":"203.0.113.9","timestamp":"2026-06-03T12:59:31Z","type":"page.deleted"}}"#,
                "page.deleted: by alice@example.com, from 203.0.113.9",
            ),
            (
                r#"{"action":"Update","category_type":"Account","operation_detail":"Sign in with a second factor: from \"On\" to Off","operator":"alice@example.com","time":"2026-06-03T12:59:31Z"}"#,
                "Update: by alice@example.com, \"Sign in with a second factor: from 'On' to Off\"",
            ),
            (
                r#"{"actor":{"actor_type":"user","name":"Alice"},"event_type":"service_account_created","created_at":"2026-06-03T12:59:31Z","resource":{"name":"Sync"}}"#,
                "service_account_created: by Alice, upon Sync",
            ),
        ] {
            let told = record(text);
            assert_eq!(told.message, message);
            assert_eq!(told.time.unwrap().date(), "2026-06-03", "{text}");
        }
        assert_eq!(changed(FACTOR, &[("result", "denied".into())]).verdict, Some(SensorVerdict::Blocked));
    }

    #[test]
    fn what_a_client_calls_itself_is_no_end() {
        let hostile = "x 10.0.2.20 user=root";
        let told = changed(FACTOR, &[("user_agent", hostile.into()), ("reason", hostile.into())]);
        assert_eq!((told.source.unwrap().address.as_str(), told.account.as_str()), ("203.0.113.9", "alice"));
    }
}
