//! Okta's system log, as its API, its hooks and EventBridge (in `detail`) deliver it. Each event is a log; what Okta or a user calls
//! a threat is an alert.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, tags, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const OKTA: ObjectFormat = ObjectFormat { format: Format::Okta, recognises, read };

/// Types of events that say that something is wrong.
const THREATS: [&str; 6] = [
    "security.threat.detected",
    "security.attack.start",
    "security.breached_credential.detected",
    "user.account.report_suspicious_activity_by_enduser",
    "user.risk.detect",
    "user.mfa.attempt_bypass",
];

/// Most targets that a message names.
const MAX_TARGETS: usize = 4;

/// An event, also in EventBridge's envelope.
fn event(object: &Object) -> Option<Fields<'_>> {
    let of = |event: Fields<'_>| {
        ["eventType", "published"].iter().all(|key| event.string(key).is_some())
            && event.object("actor").is_some()
            && ["outcome", "displayMessage", "legacyEventType"].iter().any(|key| event.has(key))
    };
    Fields(object).itself_or_detail(of)
}

fn recognises(object: &Object) -> bool {
    !["rule", "RuleTitle", "class_uid"].iter().any(|key| object.contains_key(*key)) && event(object).is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = event(object)?;
    let kind_of_event = event.text("eventType")?;
    let is_threat = THREATS.contains(&kind_of_event.as_ref());
    let actor = event.object("actor")?;
    // Where Okta itself acts, it does so because of a user.
    let by_okta = actor.string("type") == Some("SystemPrincipal");
    let user = || event.objects("target").find(|target| target.string("type") == Some("User")).and_then(name);
    let account = if by_okta { user().or_else(|| name(actor)) } else { name(actor) }.unwrap_or_default();
    let source = event.address(&["client.ipAddress", "request.ipChain.ip"]);
    let result = event.text("outcome.result").unwrap_or_default();
    let reason = event.text("outcome.reason");
    let title = event.text("displayMessage").unwrap_or_else(|| kind_of_event.clone());
    let facts = listed([
        told("by", name(actor)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        targets(event),
        told("with", event.text("debugContext.debugData.factor")),
        told("", outcome(&result, reason.as_deref())),
    ]);
    let message = if is_threat {
        title
    } else {
        Cow::Owned(super::titled(&format!("{title} ({kind_of_event})"), &facts))
    };
    let is_proxy = event.text("securityContext.isProxy").is_some_and(|is| is == "true");
    let draft = Draft {
        kind: if is_threat { RecordKind::Alert } else { RecordKind::Log },
        time: event.time(&["published"]),
        sensor: Cow::Borrowed("okta"),
        message,
        detail: Cow::Owned(listed([
            told("", reason.filter(|_| is_threat)),
            is_proxy.then(|| "through a proxy".to_owned()),
            told("country", event.text("client.geographicalContext.country")),
            told("credential", event.text("authenticationContext.credentialType")),
            told(
                "threat suspected:",
                event.text("debugContext.debugData.threatSuspected").filter(|is| is != "false"),
            ),
            told("asked for", event.text("debugContext.debugData.requestUri")),
            told("agent", event.text("client.userAgent.rawUserAgent")),
        ])),
        rule: if is_threat { kind_of_event.clone() } else { Cow::Borrowed("") },
        // An event's level says how it is logged; only of a threat it says how bad it is.
        priority: event
            .text("severity")
            .filter(|_| is_threat)
            .and_then(|word| tags::severity(&word).filter(|priority| *priority < 4)),
        classification: if is_threat { kind_of_event } else { Cow::Borrowed("") },
        source,
        account,
        verdict: (result == "DENY").then_some(SensorVerdict::Blocked),
        ..Draft::default()
    };
    Some(draft.finish(Format::Okta, object, envelope))
}

/// What somebody or something is called: the name it signs in with, else the one it is shown by.
fn name(of: Fields<'_>) -> Option<Cow<'_, str>> {
    // Of what is no user the other name is an identifier, or none.
    let keys = match of.string("type") {
        Some("User" | "SystemPrincipal") | None => ["alternateId", "displayName"],
        Some(_) => ["displayName", "alternateId"],
    };
    keys.iter().find_map(|key| of.text(key).filter(|name| !name.eq_ignore_ascii_case("unknown")))
}

/// Whom and what an event is about: `User bob@example.com, UserGroup Admins`. What a policy is made of says nothing more.
fn targets(event: Fields<'_>) -> Option<String> {
    let named = event.objects("target").filter_map(|target| {
        let kind = target.text("type")?;
        let is_telling = !matches!(kind.as_ref(), "PolicyRule" | "AuthenticatorEnrollment" | "Token");
        Some(format!("{kind} {}", name(target).filter(|_| is_telling)?))
    });
    joined(named.take(MAX_TARGETS))
}

/// How it ended, where that is not well.
fn outcome(result: &str, reason: Option<&str>) -> Option<String> {
    let word = match result {
        "" | "SUCCESS" | "ALLOW" => return None,
        "FAILURE" => "failed",
        "DENY" => "refused",
        "CHALLENGE" => "challenged",
        other => return Some(other.to_ascii_lowercase()),
    };
    Some(reason.and_then(some).map_or_else(|| word.to_owned(), |reason| format!("{word}: {reason}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;

    const LOGIN: &str = r#"{"actor":{"id":"00u7","type":"User","alternateId":"alice@example.com","displayName":"Alice Example"},"client":{"userAgent":{"rawUserAgent":"curl/8.5","os":"Unknown"},"zone":"null","device":"Unknown","ipAddress":"203.0.113.9","geographicalContext":{"country":"Norway"}},"authenticationContext":{"authenticationStep":0,"externalSessionId":"x1"},"displayMessage":"User login to Okta","eventType":"user.session.start","outcome":{"result":"FAILURE","reason":"INVALID_CREDENTIALS"},"published":"2026-06-03T12:59:31.342Z","securityContext":{"isProxy":true},"severity":"INFO","debugContext":{"debugData":{"requestUri":"/api/v1/authn","threatSuspected":"false"}},"legacyEventType":"core.user_auth.login_failed","transaction":{"id":"t1","type":"WEB"},"uuid":"6f1","version":"0","request":{"ipChain":[{"ip":"203.0.113.9","version":"V4"}]},"target":null}"#;

    #[test]
    fn an_event_is_a_log_that_says_who_did_what_from_where() {
        let record = record(LOGIN);
        assert_eq!((record.kind, record.priority), (RecordKind::Log, None));
        assert_eq!(
            record.message,
            "User login to Okta (user.session.start): by alice@example.com, from 203.0.113.9, failed: INVALID_CREDENTIALS"
        );
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!((record.account.as_str(), record.verdict), ("alice@example.com", None));
        assert!(record.detail.starts_with("through a proxy, country Norway"), "{}", record.detail);
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn whom_it_is_about_is_named_and_what_a_policy_denies_is_blocked() {
        let target = json!([
            {"id":"00u9","type":"User","alternateId":"bob@example.com","displayName":"Bob"},
            {"id":"IFIF","type":"ROLE","alternateId":"unknown","displayName":"Super administrator"},
        ]);
        let granted = changed(
            LOGIN,
            &[
                ("eventType", "user.account.privilege.grant".into()),
                ("displayMessage", "Grant user privilege".into()),
                ("outcome", json!({"result": "SUCCESS"})),
                ("target", target),
            ],
        );
        assert!(
            granted.message.ends_with("from 203.0.113.9, User bob@example.com, ROLE Super administrator"),
            "{}",
            granted.message
        );
        let denied = changed(LOGIN, &[("outcome", json!({"result": "DENY", "reason": "Sign-on policy"}))]);
        assert_eq!(denied.verdict, Some(SensorVerdict::Blocked));
        assert!(denied.message.ends_with("refused: Sign-on policy"), "{}", denied.message);
    }

    #[test]
    fn a_threat_is_an_alert_about_a_user() {
        let threat = changed(
            LOGIN,
            &[
                ("eventType", "security.threat.detected".into()),
                ("displayMessage", "Request from suspicious actor".into()),
                ("severity", "WARN".into()),
                (
                    "actor",
                    json!({"type": "SystemPrincipal", "alternateId": "system@okta.com", "displayName": "Okta System"}),
                ),
                (
                    "target",
                    json!([{"type": "User", "alternateId": "alice@example.com", "displayName": "Alice"}]),
                ),
                ("outcome", json!({"result": "DENY", "reason": "Password Spray"})),
            ],
        );
        assert_eq!((threat.kind, threat.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(
            (threat.message.as_str(), threat.rule.as_str()),
            ("Request from suspicious actor", "security.threat.detected")
        );
        assert_eq!(
            (threat.account.as_str(), threat.verdict),
            ("alice@example.com", Some(SensorVerdict::Blocked))
        );
        assert!(threat.detail.starts_with("Password Spray"));
        let told =
            changed(LOGIN, &[("eventType", "user.account.report_suspicious_activity_by_enduser".into())]);
        // Its level is only how it is logged.
        assert_eq!((told.kind, told.priority), (RecordKind::Alert, None));
    }

    #[test]
    fn what_a_client_calls_itself_is_no_end() {
        let hostile = "x 10.0.2.20 user=root {\"eventType\":\"security.threat.detected\"}";
        let client = json!({"ipAddress": hostile, "userAgent": {"rawUserAgent": hostile}});
        let told = changed(LOGIN, &[("client", client), ("request", Value::Null)]);
        assert_eq!((told.source, told.destination, told.kind), (None, None, RecordKind::Log));
        assert_eq!(told.account, "alice@example.com");
    }

    #[test]
    fn eventbridge_delivers_the_same() {
        let text = format!(r#"{{"version":"0","detail-type":"SystemLog","detail":{LOGIN}}}"#);
        assert_eq!(record(&text).message, record(LOGIN).message);
    }
}
