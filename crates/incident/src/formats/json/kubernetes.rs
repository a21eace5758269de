//! The audit log of a Kubernetes API server: each event is one call of the API, by an account, from an address, upon an object.
//!
//! `{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","verb":"list","user":{"username":"bob"},…}`

use std::borrow::Cow;

use super::fields::{Fields, end};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const KUBERNETES_AUDIT: ObjectFormat =
    ObjectFormat { format: Format::KubernetesAudit, recognises, read };

fn recognises(object: &Object) -> bool {
    let event = Fields(object);
    let is_audit = event.string("apiVersion").is_some_and(|version| version.starts_with("audit.k8s.io/"));
    // In the lists that a webhook gets, the list alone says what its items are; and shippers drop what is the same in all events.
    let is_item = event.string("requestURI").is_some()
        && ["level", "stage"].iter().any(|key| event.string(key).is_some());
    event.string("auditID").is_some() && event.string("verb").is_some() && (is_audit || is_item)
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let event = Fields(object);
    let verb = event.text("verb")?;
    // An account may act as another one.
    let user = event.text("user.username").unwrap_or_default();
    let account = event.text("impersonatedUser.username").unwrap_or_else(|| user.clone());
    let upon = target(event);
    let code = event.number("responseStatus.code");
    let is_refused = matches!(code, Some(401 | 403));
    // The last address is that of the connection; those before it stand in headers that the client writes.
    let source = event.texts("sourceIPs").pop();
    let source = source.map(|address| end(&address, None)).filter(|end| end.ip().is_some());
    let facts = listed([
        told("by", some(&account)),
        told("in the name of", Some(user.as_ref()).filter(|name| !name.is_empty() && *name != account)),
        told("from", source.as_ref().map(|end| end.address.clone())),
        code.filter(|code| *code >= 400).map(|code| format!("refused: {code}")),
    ]);
    let draft = Draft {
        kind: RecordKind::Log,
        time: event.time(&["requestReceivedTimestamp", "stageTimestamp"]),
        sensor: Cow::Borrowed("kube-apiserver"),
        message: Cow::Owned(super::titled(&format!("{verb} {upon}"), &facts)),
        detail: Cow::Owned(listed([
            told("", event.text("requestURI")),
            told("agent", event.text("userAgent")),
            told("because", event.text("annotations.authorization.k8s.io/reason")),
        ])),
        source,
        account,
        file: Cow::Owned(upon),
        verdict: is_refused.then_some(SensorVerdict::Blocked),
        ..Draft::default()
    };
    Some(draft.finish(Format::KubernetesAudit, object, envelope))
}

/// `pods/exec shop/web-0`: the kind of object, its part, where it is and what it is called; else the path that was asked for.
fn target(event: Fields<'_>) -> String {
    let Some(object) = event.object("objectRef") else {
        let path = event.text("requestURI").unwrap_or_default();
        return path.split('?').next().unwrap_or_default().to_owned();
    };
    let part = object.text("subresource").map(|part| format!("/{part}")).unwrap_or_default();
    let kind = format!("{}{part}", object.text("resource").unwrap_or_default());
    let place = [object.text("namespace"), object.text("name")].into_iter().flatten();
    let place: Vec<Cow<'_, str>> = place.filter(|name| !name.is_empty()).collect();
    format!("{kind} {}", place.join("/")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const EXEC: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"7d1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web-0/exec?command=sh","verb":"create","user":{"username":"system:serviceaccount:shop:default","groups":["system:authenticated"]},"sourceIPs":["6.6.6.6","203.0.113.9"],"userAgent":"kubectl/v1.30.1","objectRef":{"resource":"pods","namespace":"shop","name":"web-0","apiVersion":"v1","subresource":"exec"},"responseStatus":{"metadata":{},"code":101},"requestReceivedTimestamp":"2026-06-03T12:59:31.342001Z","stageTimestamp":"2026-06-03T12:59:31.400000Z"}"#;

    #[test]
    fn a_call_says_who_did_what_to_which_object() {
        let record = record(EXEC);
        assert_eq!((record.kind, record.format), (RecordKind::Log, Format::KubernetesAudit));
        assert_eq!(
            record.message,
            "create pods/exec shop/web-0: by system:serviceaccount:shop:default, from 203.0.113.9"
        );
        assert_eq!(record.source.unwrap().address, "203.0.113.9");
        assert_eq!(record.account, "system:serviceaccount:shop:default");
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
        assert!(record.verdict.is_none() && record.detail.contains("agent kubectl/v1.30.1"));
    }

    #[test]
    fn a_call_that_was_refused_is_blocked_and_one_for_another_names_both() {
        let status = serde_json::json!({"code": 403});
        let refused = changed(EXEC, &[("responseStatus", status), ("objectRef", serde_json::Value::Null)]);
        assert_eq!(refused.verdict, Some(SensorVerdict::Blocked));
        assert!(
            refused.message.starts_with("create /api/v1/namespaces/shop/pods/web-0/exec: by"),
            "{}",
            refused.message
        );
        assert!(refused.message.ends_with("refused: 403"));
        let other = changed(EXEC, &[("impersonatedUser", serde_json::json!({"username": "admin"}))]);
        assert_eq!(other.account, "admin");
        assert!(
            other.message.contains("in the name of system:serviceaccount:shop:default"),
            "{}",
            other.message
        );
    }

    #[test]
    fn an_event_is_known_without_what_all_events_share() {
        let mut event: Object = serde_json::from_str(EXEC).unwrap();
        for key in ["kind", "apiVersion", "level", "stageTimestamp"] {
            event.remove(key);
        }
        let bare = record(&serde_json::Value::Object(event.clone()).to_string());
        assert_eq!(bare.message, record(EXEC).message);
        event.remove("requestURI");
        assert!(!recognises(&event));
    }

    #[test]
    fn what_a_client_calls_itself_is_no_end() {
        let agent = "kubectl user=root src=6.6.6.6 {\"sourceIPs\":[\"6.6.6.6\"]}";
        let told = changed(
            EXEC,
            &[("userAgent", agent.into()), ("sourceIPs", serde_json::json!(["203.0.113.9", "x 6.6.6.6"]))],
        );
        assert_eq!((told.source, told.destination), (None, None));
        assert_eq!(told.account, "system:serviceaccount:shop:default");
    }
}
