//! Audit events of services that have no form of their own here: who did what, from which address, when. Atlassian, Auth0, Bitwarden,
//! Duo, GitLab, Keycloak, OneLogin, Slack, Teleport, Vault and Zoom write such objects, under names of their own for the same things.
//!
//! An object is one if it has all four and no other form knows it: a time, an account, what was done, and an address. An application's own
//! event seldom tells the address. Each is a log; how it ended is told, and what was denied is blocked.

use std::borrow::Cow;

use super::fields::Fields;
use super::{
    Draft, Envelope, Format, OBJECT_FORMATS, Object, ObjectFormat, Record, listed, meant_as, some, told,
};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const AUDIT_EVENTS: ObjectFormat = ObjectFormat { format: Format::AuditEvents, recognises, read };

const TIME: [&str; 13] = [
    "@timestamp",
    "timestamp",
    "timestamp.epochSecond",
    "time",
    "isotimestamp",
    "created_at",
    "createdAt",
    "date",
    "date_create",
    "event_time",
    "eventTime",
    "occurred_at",
    "When",
];
const ACCOUNT: [&str; 31] = [
    "actor.user.email",
    "actor.email",
    "actor.username",
    "actor.name",
    "actor.displayName",
    "actor_email",
    "actor_user_name",
    "ActorEmail",
    "initiated_by.email",
    "initiated_by.username",
    "author.email",
    "author.name",
    "author_name",
    "auth.display_name",
    "details.username",
    "user.email",
    "user.username",
    "user.login",
    "user.name",
    "user_email",
    "user_name",
    "userEmail",
    "userName",
    "username",
    "admin.name",
    "created_by.login",
    "actor",
    "user",
    "email",
    "login",
    "account",
];
const ACTION: [&str; 13] = [
    "action",
    "auditType.action",
    "eventName",
    "event_name",
    "event_type",
    "eventType",
    "event.type",
    "event",
    "operation",
    "activity",
    "ActionType",
    "request.operation",
    "type",
];
const ADDRESS: [&str; 22] = [
    "ip_address",
    "ipAddress",
    "ip",
    "ipaddr",
    "ip_addr",
    "client_ip",
    "clientIp",
    "client.ip_address",
    "client.ip",
    "remote_ip",
    "remote_addr",
    "remote_address",
    "request.remote_address",
    "source_ip",
    "sourceIp",
    "actor.ip",
    "actor_ip",
    "ActorIP",
    "addr.remote",
    "context.ip_address",
    "access_device.ip",
    "source",
];
/// What it was done to.
const UPON: [&str; 13] = [
    "target.email",
    "target.name",
    "target_details",
    "target",
    "affectedObjects.name",
    "entity.user.email",
    "entity.name",
    "entity_path",
    "resource.name",
    "item.name",
    "request.path",
    "object",
    "application.name",
];
const RESULT: [&str; 6] = ["result", "outcome.result", "outcome", "status", "success", "error"];
const REASON: [&str; 5] = ["reason", "failure_reason", "outcome.reason", "error", "description"];
/// Longest name of what was done.
const MAX_ACTION: usize = 96;

fn recognises(object: &Object) -> bool {
    let event = Fields(object);
    let mut others = OBJECT_FORMATS.iter().filter(|other| other.format != Format::AuditEvents);
    event.time(&TIME).is_some()
        && action(event).is_some()
        && event.first(&ACCOUNT).is_some()
        // Duo's administrators act without one, under a time that nobody else names so.
        && (event.address(&ADDRESS).is_some() || event.has("isotimestamp"))
        && meant_as(object).is_none()
        && !others.any(|other| (other.recognises)(object))
}

/// What was done, in the service's own few words.
fn action(event: Fields<'_>) -> Option<Cow<'_, str>> {
    event.first(&ACTION).filter(|action| action.len() <= MAX_ACTION && !action.contains(['\n', '{', '"']))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = Fields(object);
    let action = action(event)?;
    let account = event.first(&ACCOUNT).unwrap_or_default();
    let source = event.address(&ADDRESS);
    let result = event.first(&RESULT).unwrap_or_default();
    let (ended, verdict) = ending(&result);
    let reason = || event.first(&REASON).filter(|reason| *reason != result && reason.len() <= MAX_ACTION);
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("upon", event.first(&UPON).filter(|upon| *upon != account)),
        told("with", event.text("factor")),
        ended.map(|word| match reason() {
            Some(reason) => format!("{word}: {reason}"),
            None => word.to_owned(),
        }),
    ]);
    let draft = Draft {
        kind: RecordKind::Log,
        time: event.time(&TIME),
        message: Cow::Owned(super::titled(&action, &facts)),
        detail: Cow::Owned(listed([
            told("agent", event.first(&["user_agent", "userAgent", "context.ua"])),
            told("country", event.first(&["country", "location.country", "access_device.location.country"])),
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
        "failure" | "failed" | "fail" | "error" | "false" | "unsuccessful" | "invalid" => {
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
