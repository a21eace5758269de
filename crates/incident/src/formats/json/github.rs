//! GitHub's audit log: exports, its API, and streams, git's own events among them. Each event is a log.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const GITHUB: ObjectFormat = ObjectFormat { format: Format::Github, recognises, read };

fn recognises(object: &Object) -> bool {
    let event = Fields(object);
    // `category.operation`, GitHub's own words.
    let is_action = event.string("action").is_some_and(|action| {
        action.contains('.')
            && action.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    is_action
        && event.string("actor").is_some()
        && event.time(&["@timestamp", "created_at"]).is_some()
        && ["_document_id", "org", "repo", "business", "actor_location"].iter().any(|key| event.has(key))
        && !["event.kind", "event.module", "event.category", "ecs", "rule", "class_uid", "event_type"]
            .iter()
            .any(|key| event.has(key))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = Fields(object);
    let action = event.text("action")?;
    let account = event.text("actor").unwrap_or_default();
    let source = event.address(&["actor_ip"]);
    // Older exports keep what is particular to an action apart.
    let first = |key: &str| event.text(key).or_else(|| event.text(&format!("data.{key}")));
    let repository = event.first(&["repo", "repository"]);
    let is_refused =
        ["rejected", "denied", "blocked", "failed_login"].iter().any(|word| action.contains(word));
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("user", event.text("user").filter(|user| *user != account)),
        told("team", first("team")),
        told("permission", first("permission")),
        told("visibility", first("visibility")),
        told("in", repository.clone().or_else(|| event.first(&["org", "business"]))),
    ]);
    let draft = Draft {
        kind: RecordKind::Log,
        time: event.time(&["@timestamp", "created_at"]),
        sensor: Cow::Borrowed("github"),
        message: Cow::Owned(super::titled(&action, &facts)),
        detail: Cow::Owned(listed([
            told("as", event.text("external_identity_nameid")),
            told("with", first("programmatic_access_type")),
            told("name", first("name")),
            told("before", first("previous_visibility")),
            told("over", event.text("transport_protocol_name")),
            told("country", event.text("actor_location.country_code")),
            told("agent", event.text("user_agent")),
        ])),
        source,
        account,
        file: repository.unwrap_or_default(),
        verdict: is_refused.then_some(SensorVerdict::Blocked),
        ..Draft::default()
    };
    Some(draft.finish(Format::Github, object, envelope))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;

    const ADDED: &str = r#"{"@timestamp":1780491571342,"_document_id":"g1","action":"repo.add_member","actor":"alice","actor_id":7,"actor_ip":"203.0.113.9","actor_location":{"country_code":"NO"},"business":"example","created_at":1780491571342,"operation_type":"create","org":"example","permission":"admin","repo":"example/shop","user":"mallory","user_agent":"curl/8.5","visibility":"private"}"#;

    #[test]
    fn an_event_is_a_log_that_says_who_did_what_to_whom() {
        let record = record(ADDED);
        assert_eq!((record.kind, record.priority, record.verdict), (RecordKind::Log, None, None));
        assert_eq!(
            record.message,
            "repo.add_member: by alice, from 203.0.113.9, user mallory, permission admin, visibility private, in example/shop"
        );
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!((record.account.as_str(), record.file.as_str()), ("alice", "example/shop"));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn an_export_without_addresses_is_read_and_a_push_that_was_rejected_is_blocked() {
        let old = record(
            r#"{"actor":"alice","data":{"team":"example/admins"},"org":"example","created_at":1780491571342,"action":"team.add_member","user":"mallory"}"#,
        );
        assert_eq!(old.message, "team.add_member: by alice, user mallory, team example/admins, in example");
        let rejected = changed(ADDED, &[("action", "protected_branch.rejected_ref_update".into())]);
        assert_eq!(rejected.verdict, Some(SensorVerdict::Blocked));
    }

    #[test]
    fn what_a_client_calls_itself_is_no_end() {
        let hostile = "git/2 user=root from 10.0.2.20";
        let told = changed(ADDED, &[("user_agent", hostile.into()), ("actor_ip", hostile.into())]);
        assert_eq!((told.source, told.destination, told.account.as_str()), (None, None, "alice"));
    }
}
