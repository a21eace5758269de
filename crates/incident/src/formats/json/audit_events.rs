//! Audit events of services that have no form of their own here: who did what, from which address, when. Asana, Atlassian, Auth0,
//! Bitwarden, Duo, GitLab, Keycloak, Notion, OneLogin, Slack, Snowflake, Teleport, Vault, Zendesk and Zoom write such objects, under
//! names of their own for the same things: `ip_address`, `clientIp`, `CLIENT_IP`.
//!
//! An object is one if no other form knows it and it has a time, an account, what was done, and either an address or an actor who is
//! described: an application's own event seldom has these. Each is a log; how it ended is told, and what was denied is blocked.

use std::borrow::Cow;

use serde_json::Value;

use super::detections;
use super::named::{Named, is_nobodys, within};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, quoted, some, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const AUDIT_EVENTS: ObjectFormat = ObjectFormat { format: Format::AuditEvents, recognises, read };

// Names in lower case and without what parts their words, as `Named` compares them.
pub(super) const ACCOUNT: [&str; 37] = [
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
    "loginname",
    "actor",
    "user",
    "email",
    "login",
    "actor.user.displayname",
    "targetuser.email",
    "authoraccountid",
    "authorkey",
    "userid",
];
/// Whoever acts, described by more than a name.
const ACTOR: [&str; 5] = ["actor", "author", "initiatedby", "createdby", "auth"];
const ACTION: [&str; 18] = [
    "event.action",
    "action.type",
    "action",
    "audittype.action",
    "eventname",
    "eventtype",
    "event",
    "operation",
    "actiontype",
    "request.operation",
    "event.type",
    "operationname",
    "operationtype",
    "eventtype.description",
    "eventtype.tag",
    "type",
    "summary",
    "description",
];
pub(super) const ADDRESS: [&str; 24] = [
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
    "origin.address",
    "origin.geolocation.ipaddress",
    "requestip",
    "clientipaddr",
    "source",
];
/// What it was done to.
pub(super) const UPON: [&str; 17] = [
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
    "objectitem.name",
    "request.path",
    "object",
    "application.name",
    "sourcelabel",
    "privilegename",
];
const RESULT: [&str; 9] = [
    "result",
    "outcome.result",
    "outcome",
    "status",
    "success",
    "issuccess",
    "allowed",
    "actionresult",
    "action.result",
];
const REASON: [&str; 4] = ["reason", "failurereason", "outcome.reason", "error"];
/// What the service says of it in a sentence, in which others' words may stand.
const SENTENCE: [&str; 5] = ["operationdetail", "changedescription", "description", "summary", "event"];
/// Longest name of what was done, and longest reason.
pub(super) const MAX_ACTION: usize = 96;
/// Longest sentence that is told.
const MAX_SENTENCE: usize = 200;

/// An event's fields.
#[derive(Clone, Copy)]
struct Event<'a>(Named<'a>);

impl<'a> Event<'a> {
    fn text(self, paths: &[&str]) -> Option<Cow<'a, str>> {
        self.0.text(paths)
    }

    /// What was done, in the service's own few words.
    fn action(self) -> Option<Cow<'a, str>> {
        let is_short = |action: &str| action.len() <= MAX_ACTION && !action.contains(['\n', '{', '"']);
        self.text(&ACTION).filter(|action| is_short(action))
    }

    fn is_one(self) -> bool {
        let has = |path: &str, is: fn(&Value) -> bool| self.0.get(path).is_some_and(is);
        let has_actor = || ACTOR.iter().any(|path| has(path, Value::is_object));
        // Duo's administrators and Zoom's act without an address, under names that nobody else gives.
        let is_named_so = || has("isotimestamp", |_| true) || has("operator", |_| true);
        self.0.time().is_some()
            && self.action().is_some()
            && self.text(&ACCOUNT).is_some()
            && (self.0.address(&ADDRESS).is_some() || has_actor() || is_named_so())
    }
}

/// The event, also within what a service wraps it in.
fn event(object: &Object) -> Option<Event<'_>> {
    within(object, |named| Event(named).is_one()).map(Event)
}

fn recognises(object: &Object) -> bool {
    event(object).is_some() && !detections::is_one(object) && is_nobodys(object)
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = event(object)?;
    let action = event.action()?;
    let account = event.text(&ACCOUNT).unwrap_or_default();
    let source = event.0.address(&ADDRESS);
    let result = event.text(&RESULT).unwrap_or_default();
    let (ended, verdict) = ending(&result);
    let reason = || event.text(&REASON).filter(|reason| *reason != result && reason.len() <= MAX_ACTION);
    let is_more =
        |text: &Cow<'_, str>| *text != action && text.len() <= MAX_SENTENCE && !text.starts_with('{');
    let sentence = event.text(&SENTENCE).filter(is_more);
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("upon", event.text(&UPON).filter(|upon| *upon != account)),
        told("with", event.text(&["factor"])),
        ended.map(|word| match reason() {
            Some(reason) => format!("{word}: {reason}"),
            None => word.to_owned(),
        }),
        sentence.map(|text| quoted(&text)),
    ]);
    let draft = Draft {
        kind: RecordKind::Log,
        time: event.0.time(),
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
pub(super) fn ending(result: &str) -> (Option<&'static str>, Option<SensorVerdict>) {
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
            (
                r#"{"@timestamp":"2026-06-03T12:59:31,342","event.type":"rest","event.action":"authentication_failed","user.name":"alice","origin.address":"203.0.113.9:51234","url.path":"/"}"#,
                "authentication_failed: by alice, from 203.0.113.9",
            ),
            (
                r#"{"eventTime":1780491571342,"loginName":"alice@example.com","clientIp":"203.0.113.9","description":"Logged in successfully"}"#,
                "Logged in successfully: by alice@example.com, from 203.0.113.9",
            ),
            (
                r#"{"id":7,"summary":"Workflow updated","remoteAddress":"203.0.113.9","authorAccountId":"a1","created":"2026-06-03T12:59:31.342+0000","eventSource":"","objectItem":{"name":"Shop"}}"#,
                "Workflow updated: by a1, from 203.0.113.9, upon Shop",
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
