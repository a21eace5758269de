//! Google Workspace's activity reports, as its API, exports and BigQuery have them: an activity with one or more events of an application
//! (login, admin, token, drive, …). Each activity is a log; what Google itself warns of is an alert.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, told};
use crate::record::RecordKind;

/// See the module.
pub(crate) const GOOGLE_WORKSPACE: ObjectFormat =
    ObjectFormat { format: Format::GoogleWorkspace, recognises, read };

/// Most events and facts of one that a message names.
const MAX_NAMED: usize = 4;

/// What of an event's parameters says whom or what it is about.
const TELLING: [&str; 15] = [
    "affected_email_address",
    "USER_EMAIL",
    "GROUP_EMAIL",
    "ROLE_NAME",
    "SETTING_NAME",
    "NEW_VALUE",
    "app_name",
    "client_id",
    "doc_title",
    "visibility",
    "target_user",
    "login_type",
    "login_challenge_method",
    "login_failure_type",
    "is_suspicious",
];

fn recognises(object: &Object) -> bool {
    let activity = Fields(object);
    activity.string("kind") == Some("admin#reports#activity") && activity.object("id").is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let activity = Fields(object);
    let first = activity.objects("events").next()?;
    let is_warning = first.string("type") == Some("account_warning");
    let actor = activity.first(&["actor.email", "actor.key", "actor.profileId"]).unwrap_or_default();
    let about = parameter(first, "affected_email_address");
    let account = about.clone().filter(|_| is_warning).unwrap_or_else(|| actor.clone());
    let source = activity.address(&["ipAddress"]);
    let name = first.text("name")?;
    let others = joined(activity.objects("events").skip(1).take(MAX_NAMED).filter_map(name_of));
    let application = activity.text("id.applicationName").unwrap_or_default();
    let title =
        if application.is_empty() { name.clone() } else { Cow::Owned(format!("{name} ({application})")) };
    let facts = listed([
        told("by", some(&actor)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        joined(
            TELLING
                .iter()
                .filter_map(|key| Some(format!("{key} {}", parameter(first, key)?)))
                .take(MAX_NAMED),
        ),
        told("then", others),
    ]);
    let message = if is_warning {
        // `gov_attack_warning`: the rule's name, as words.
        Cow::Owned(format!("Google warns: {}", name.replace('_', " ")))
    } else {
        Cow::Owned(super::titled(&title, &facts))
    };
    let draft = Draft {
        kind: if is_warning { RecordKind::Alert } else { RecordKind::Log },
        time: activity.time(&["id.time"]),
        sensor: Cow::Borrowed("google workspace"),
        message,
        detail: Cow::Owned(if is_warning { facts } else { String::new() }),
        rule: if is_warning { name } else { Cow::Borrowed("") },
        classification: Cow::Borrowed(if is_warning { "account_warning" } else { "" }),
        source,
        account,
        ..Draft::default()
    };
    Some(draft.finish(Format::GoogleWorkspace, object, envelope))
}

fn name_of(event: Fields<'_>) -> Option<String> {
    event.text("name").map(Cow::into_owned)
}

/// The value of a parameter of an event.
fn parameter<'a>(event: Fields<'a>, name: &str) -> Option<Cow<'a, str>> {
    let found = event.objects("parameters").find(|parameter| parameter.string("name") == Some(name))?;
    found.first(&["value", "multiValue", "boolValue", "intValue"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;

    const LOGIN: &str = r#"{"kind":"admin#reports#activity","id":{"time":"2026-06-03T12:59:31.342Z","uniqueQualifier":"1","applicationName":"login","customerId":"C1"},"actor":{"callerType":"USER","email":"alice@example.com","profileId":"1"},"ownerDomain":"example.com","ipAddress":"203.0.113.9","events":[{"type":"login","name":"login_failure","parameters":[{"name":"login_type","value":"google_password"},{"name":"is_suspicious","boolValue":true},{"name":"login_challenge_method","multiValue":["password"]}]},{"type":"login","name":"login_challenge"}]}"#;

    #[test]
    fn an_activity_is_a_log_that_says_who_did_what_from_where() {
        let told = record(LOGIN);
        assert_eq!((told.kind, told.account.as_str()), (RecordKind::Log, "alice@example.com"));
        assert_eq!(
            told.message,
            "login_failure (login): by alice@example.com, from 203.0.113.9, login_type google_password, \
             login_challenge_method password, is_suspicious true, then login_challenge"
        );
        assert_eq!(told.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(told.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn what_google_warns_of_is_an_alert_about_the_account() {
        let events = json!({"type": "account_warning", "name": "account_disabled_hijacked",
            "parameters": [{"name": "affected_email_address", "value": "bob@example.com"}]});
        let told = changed(LOGIN, &[("events", events)]);
        assert_eq!((told.kind, told.priority), (RecordKind::Alert, None));
        assert_eq!(
            (told.message.as_str(), told.rule.as_str(), told.account.as_str()),
            ("Google warns: account disabled hijacked", "account_disabled_hijacked", "bob@example.com")
        );
    }

    #[test]
    fn names_that_others_choose_are_no_ends() {
        let events = json!([{"type": "login", "name": "x from 10.0.2.20", "parameters": [{"name": "login_type", "value": "user=root 10.0.2.20"}]}]);
        let told = changed(LOGIN, &[("events", events), ("ipAddress", "x 10.0.2.20".into())]);
        assert_eq!((told.source, told.destination, told.account.as_str()), (None, None, "alice@example.com"));
    }
}
