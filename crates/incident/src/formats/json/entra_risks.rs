//! Risks that Identity Protection of Microsoft Entra ID sees, as diagnostic settings export them and as Microsoft Graph gives them: a
//! detection of one (`riskDetections`), and how an account stands by all of them (`riskyUsers`). Of applications there are the same.
//!
//! Each is an alert as long as nobody has dealt with it, and a log from then on.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, listed, tags, told};
use crate::record::RecordKind;

/// Who is at risk.
const ACCOUNT: [&str; 4] =
    ["userPrincipalName", "servicePrincipalDisplayName", "userDisplayName", "displayName"];

/// Whether an object that Graph gave is one of them.
pub(super) fn is_one(fields: Fields<'_>) -> bool {
    let are_texts = |keys: &[&str]| keys.iter().all(|key| fields.string(key).is_some());
    are_texts(&["riskState", "riskLevel"])
        && (are_texts(&["riskEventType", "detectedDateTime"]) || are_texts(&["riskLastUpdatedDateTime"]))
        && ACCOUNT.iter().any(|key| fields.string(key).is_some())
}

/// What one tells; nothing if it is none.
pub(super) fn read<'a>(fields: Fields<'a>, draft: Draft<'a>) -> Option<Draft<'a>> {
    if !fields.has("riskLevel") {
        return None;
    }
    if fields.has("riskEventType") { detection(fields, draft) } else { standing(fields, draft) }
}

/// A risk that was detected.
fn detection<'a>(fields: Fields<'a>, draft: Draft<'a>) -> Option<Draft<'a>> {
    let risk = fields.text("riskEventType").filter(|risk| risk != "generic");
    let risk = risk.or_else(|| fields.text("riskType"))?;
    let state = fields.text("riskState").unwrap_or_default();
    let is_over =
        ["remediated", "dismissed", "confirmedSafe"].iter().any(|own| state.eq_ignore_ascii_case(own));
    Some(Draft {
        kind: if is_over { RecordKind::Log } else { RecordKind::Alert },
        message: Cow::Owned(format!("Risk detected: {risk}")),
        detail: Cow::Owned(listed([
            told("activity", fields.text("activity")),
            told("state", fields.text("riskState")),
            told("because", fields.text("riskDetail")),
            told("country", fields.text("location.countryOrRegion")),
        ])),
        priority: fields.text("riskLevel").and_then(|level| tags::severity(&level)),
        classification: risk.clone(),
        rule: risk,
        source: fields.address(&["ipAddress"]),
        account: fields.first(&ACCOUNT).unwrap_or_default(),
        ..draft
    })
}

/// How an account stands since its risk changed last.
fn standing<'a>(fields: Fields<'a>, draft: Draft<'a>) -> Option<Draft<'a>> {
    let time = fields.time(&["riskLastUpdatedDateTime"])?;
    let state = fields.text("riskState")?;
    let who = if fields.has("servicePrincipalType") { "Application" } else { "Account" };
    let account = fields.first(&ACCOUNT).unwrap_or_default();
    let why = fields.text("riskDetail");
    let found = match state.to_ascii_lowercase().as_str() {
        "atrisk" => Some(format!("{who} at risk")),
        "confirmedcompromised" => Some(format!("{who} confirmed as compromised")),
        _ => None,
    };
    let facts =
        || listed([told("of", Some(&account).filter(|name| !name.is_empty())), told("", why.as_deref())]);
    Some(Draft {
        kind: if found.is_some() { RecordKind::Alert } else { RecordKind::Log },
        time: Some(time),
        message: Cow::Owned(found.unwrap_or_else(|| super::titled(&format!("Risk {state}"), &facts()))),
        detail: Cow::Owned(listed([
            told("risk", fields.text("riskLevel")),
            told("account", Some(&account).filter(|name| !name.is_empty())),
            told("because", why.as_deref()),
        ])),
        priority: fields.text("riskLevel").and_then(|level| tags::severity(&level)),
        classification: Cow::Borrowed("RiskyUsers"),
        account,
        ..draft
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::{changed, record};
    use super::*;
    use crate::{Endpoint, Format};

    const EXPORTED: &str = r#"{"time":"6/3/2026 1:01:00 PM","resourceId":"/tenants/0b1f6471-1bf0-4dda-aec3-cb9272f09590/providers/microsoft.aadiam","operationName":"User Risk Detection","category":"UserRiskEvents","tenantId":"0b1f6471-1bf0-4dda-aec3-cb9272f09590","resultSignature":"None","identity":"Alice"}"#;
    const GRAPH: &str = r#"{"id":"r1","requestId":"q1","riskEventType":"passwordSpray","riskLevel":"high","riskState":"atRisk","riskDetail":"none","source":"IdentityProtection","activity":"signin","ipAddress":"203.0.113.9","activityDateTime":"2026-06-03T12:59:31.342Z","detectedDateTime":"2026-06-03T13:01:00Z","userDisplayName":"Alice","userPrincipalName":"alice@example.com","location":{"countryOrRegion":"NL"}}"#;
    const USER: &str = r#"{"id":"u1","isDeleted":false,"isProcessing":false,"riskLevel":"high","riskState":"atRisk","riskDetail":"none","riskLastUpdatedDateTime":"2026-06-03T12:59:31.342Z","userDisplayName":"Alice","userPrincipalName":"alice@example.com"}"#;

    #[test]
    fn a_risk_is_an_alert_until_somebody_has_dealt_with_it() {
        let exported = |state: &str| {
            let mut risk: Value = serde_json::from_str(GRAPH).unwrap();
            risk["riskState"] = state.into();
            changed(EXPORTED, &[("properties", risk)])
        };
        for alert in [exported("atRisk"), record(GRAPH)] {
            assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(1)));
            assert_eq!(
                (alert.message.as_str(), alert.account.as_str()),
                ("Risk detected: passwordSpray", "alice@example.com")
            );
            assert_eq!(alert.source, Some(Endpoint::new("203.0.113.9", None)));
            assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
            assert_eq!(alert.detail, "activity signin, state atRisk, country NL");
        }
        assert_eq!(exported("dismissed").kind, RecordKind::Log);
        let solved = [("riskState", "remediated".into()), ("riskDetail", "userPassedMFA".into())];
        let solved = changed(GRAPH, &solved);
        assert_eq!(solved.kind, RecordKind::Log);
        assert!(solved.detail.contains("because userPassedMFA"), "{}", solved.detail);
    }

    #[test]
    fn an_account_is_at_risk_until_it_is_not() {
        let user = record(USER);
        assert_eq!((user.kind, user.priority, user.format), (RecordKind::Alert, Some(1), Format::EntraId));
        assert_eq!((user.message.as_str(), user.account.as_str()), ("Account at risk", "alice@example.com"));
        assert_eq!(user.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let with = |state: &str, why: &str| {
            changed(
                USER,
                &[("riskState", state.into()), ("riskDetail", why.into()), ("riskLevel", "none".into())],
            )
        };
        let over = with("remediated", "userPerformedSecuredPasswordChange");
        assert_eq!((over.kind, over.priority), (RecordKind::Log, None));
        assert_eq!(over.message, "Risk remediated: of alice@example.com, userPerformedSecuredPasswordChange");
        assert_eq!(with("confirmedCompromised", "x").message, "Account confirmed as compromised");
        let application = changed(USER, &[("servicePrincipalType", "Application".into())]);
        assert_eq!(application.message, "Application at risk");
        let exported = changed(EXPORTED, &[("properties", serde_json::from_str(USER).unwrap())]);
        assert_eq!((exported.kind, exported.message.as_str()), (RecordKind::Alert, "Account at risk"));
    }

    #[test]
    fn half_a_risk_is_none() {
        for text in [
            r#"{"riskLevel":"high","riskState":"atRisk","userPrincipalName":"a@example.com"}"#,
            r#"{"riskEventType":"x","detectedDateTime":"x","userPrincipalName":"a@example.com"}"#,
            r#"{"riskLevel":"high","riskState":"atRisk","riskLastUpdatedDateTime":"2026-06-03T12:59:31Z"}"#,
        ] {
            let object: Value = serde_json::from_str(text).unwrap();
            assert!(!is_one(Fields(object.as_object().unwrap())), "{text}");
        }
    }
}
