//! Microsoft Entra ID and Azure: sign-ins, audits and the activity log, as diagnostic settings export them; sign-ins and audits as
//! Microsoft Graph gives them, and the activity log as its own API does. They are logs. Alerts that the activity log repeats are
//! alerts; what Azure says of its own health is telemetry. Risks are told of in [`super::entra_risks`].

use std::borrow::Cow;

use super::fields::{Fields, is_id, without_ids};
use super::log_analytics::{Table, as_written};
use super::{
    Draft, Envelope, Format, Object, ObjectFormat, Record, entra_risks, joined, listed, some, tags, told,
};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const ENTRA_ID: ObjectFormat = ObjectFormat { format: Format::EntraId, recognises, read };

/// Categories of the activity log in which Azure speaks of itself.
const OWN_HEALTH: [&str; 5] = ["ServiceHealth", "ResourceHealth", "Autoscale", "Recommendation", "Alert"];

/// Properties whose new value says what an audited change is about.
const CHANGED: [&str; 6] = [
    "Role.DisplayName",
    "Group.DisplayName",
    "AppRole.Value",
    "ConsentContext.IsAdminConsent",
    "ServicePrincipal.DisplayName",
    "StrongAuthenticationMethod",
];

/// Most targets, and most changes of each, that a message names.
const MAX_TARGETS: usize = 3;

/// Of a sign-in, who signed in; and what nobody else tells beside it. Who asks Graph may leave out any of them.
const SIGNED_IN: [&str; 5] =
    ["userPrincipalName", "servicePrincipalName", "userDisplayName", "userId", "servicePrincipalId"];
const OF_SIGN_IN: [&str; 6] = [
    "appId",
    "appDisplayName",
    "resourceDisplayName",
    "clientAppUsed",
    "conditionalAccessStatus",
    "isInteractive",
];

/// How a record came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a diagnostic setting: what is particular to a category stands in `properties`.
    Exported,
    /// By Graph, or by the activity log's own API.
    Asked,
}

fn way(object: &Object) -> Option<Way> {
    let fields = Fields(object);
    let are_texts = |keys: &[&str]| keys.iter().all(|key| fields.string(key).is_some());
    if super::azure_resources::recognises(object) {
        return None;
    }
    if are_texts(&["time", "resourceId", "operationName", "category"]) {
        let says_who = [
            "caller",
            "callerIpAddress",
            "callerIPAddress",
            "identity",
            "tenantId",
            "properties.initiatedBy",
            "properties.eventCategory",
        ];
        // The activity log names the caller, and storage how the answer was.
        let says_how = ["resultType", "resultSignature", "caller", "statusText"];
        let is_call =
            says_who.iter().any(|key| fields.has(key)) && says_how.iter().any(|key| fields.has(key));
        return is_call.then_some(Way::Exported);
    }
    let is_sign_in = are_texts(&["createdDateTime"])
        && fields.has("status.errorCode")
        && SIGNED_IN.iter().any(|key| fields.string(key).is_some())
        && OF_SIGN_IN.iter().any(|key| fields.has(key));
    let is_audit = are_texts(&["activityDateTime", "activityDisplayName"])
        && fields.object("initiatedBy").is_some()
        && fields.has("targetResources");
    let is_activity = are_texts(&["eventTimestamp", "resourceId", "operationName.value"])
        && ["caller", "claims"].iter().any(|key| fields.has(key));
    (is_sign_in || is_audit || is_activity || entra_risks::is_one(fields)).then_some(Way::Asked)
}

/// Tables of a Log Analytics workspace that hold them.
const TABLES: [Table; 4] = [Table::SignIns, Table::Audits, Table::Risks, Table::Activity];

fn recognises(object: &Object) -> bool {
    way(object).is_some() || Table::among(&TABLES, object).is_some()
}

/// A record and what is particular to its category.
#[derive(Clone, Copy, Debug)]
struct Event<'a> {
    outer: Fields<'a>,
    inner: Fields<'a>,
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let row = as_written(object, &TABLES);
    let written = row.as_ref().unwrap_or(object);
    let outer = Fields(written);
    let inner = match way(written)? {
        Way::Exported => outer.object("properties").unwrap_or(outer),
        Way::Asked => outer,
    };
    let event = Event { outer, inner };
    let draft = if let Some(draft) = entra_risks::read(inner, event.draft()) {
        draft
    } else if inner.has("status.errorCode") {
        event.sign_in()?
    } else if inner.has("initiatedBy") {
        event.audit()?
    } else {
        event.activity()?
    };
    Some(draft.finish(Format::EntraId, object, envelope))
}

impl<'a> Event<'a> {
    fn draft(self) -> Draft<'a> {
        Draft {
            kind: RecordKind::Log,
            // When something happened, else when it was written down.
            time: self
                .inner
                .time(&["createdDateTime", "activityDateTime", "detectedDateTime"])
                .or_else(|| self.outer.time(&["time", "eventTimestamp"])),
            sensor: Cow::Borrowed("entra"),
            classification: self.outer.first(&["category.value", "category"]).unwrap_or_default(),
            ..Draft::default()
        }
    }

    fn sign_in(self) -> Option<Draft<'a>> {
        let Event { outer, inner } = self;
        let account = inner
            .first(&["userPrincipalName", "servicePrincipalName", "userDisplayName", "managedIdentityName"])
            .or_else(|| inner.first(&SIGNED_IN))
            .or_else(|| outer.text("identity"))
            .unwrap_or_default();
        let source =
            inner.address(&["ipAddress"]).or_else(|| outer.address(&["callerIpAddress", "callerIPAddress"]));
        let code = inner.number("status.errorCode").filter(|code| *code != 0);
        let reason = inner.first(&["status.failureReason"]).filter(|reason| *reason != "Other.");
        let reason = reason.or_else(|| outer.text("resultDescription"));
        // What signs in by itself is the application; what it signs in to is the resource.
        let into = match inner.has("userPrincipalName") {
            true => ["appDisplayName", "resourceDisplayName"],
            false => ["resourceDisplayName", "appDisplayName"],
        };
        let title = match inner.first(&into) {
            Some(app) => format!("Sign-in to {app}"),
            None => "Sign-in".to_owned(),
        };
        let facts = listed([
            told("by", some(&account)),
            told("from", source.as_ref().map(|end| end.address.as_str())),
            inner.text("isInteractive").filter(|is| is == "false").map(|_| "not interactive".to_owned()),
            code.map(|code| {
                let reason = reason.map(|reason| format!(" {reason}")).unwrap_or_default();
                format!("{}: {code}{reason}", ended(code))
            }),
        ]);
        let risk = inner.first(&["riskLevelDuringSignIn"]).filter(|risk| risk != "hidden");
        Some(Draft {
            message: Cow::Owned(super::titled(&title, &facts)),
            detail: Cow::Owned(listed([
                told("risk", risk),
                told("access policies:", inner.text("conditionalAccessStatus")),
                told("", inner.text("authenticationRequirement")),
                told("by way of", inner.text("clientAppUsed")),
                told("protocol", inner.text("authenticationProtocol")),
                told("credential", inner.text("clientCredentialType")),
                told("country", inner.text("location.countryOrRegion")),
                // Short and of the same words each day, which a whole agent is not.
                told("agent", inner.first(&["deviceDetail.browser", "userAgent"])),
            ])),
            verdict: code.filter(|code| is_refusal(*code)).map(|_| SensorVerdict::Blocked),
            source,
            account,
            ..self.draft()
        })
    }

    fn audit(self) -> Option<Draft<'a>> {
        let Event { outer, inner } = self;
        let name = inner.text("activityDisplayName").or_else(|| outer.text("operationName"))?;
        let by =
            ["user.userPrincipalName", "user.displayName", "app.displayName", "app.servicePrincipalName"];
        let account = by.iter().find_map(|key| inner.text(&format!("initiatedBy.{key}")));
        let account = account.or_else(|| outer.text("identity")).unwrap_or_default();
        let source =
            inner.address(&["initiatedBy.user.ipAddress"]).or_else(|| outer.address(&["callerIpAddress"]));
        let result = inner.text("result").or_else(|| outer.text("resultSignature")).unwrap_or_default();
        let is_failed = result.eq_ignore_ascii_case("failure");
        let facts = listed([
            told("by", some(&account)),
            told("from", source.as_ref().map(|end| end.address.as_str())),
            targets(inner),
            is_failed.then(|| {
                let reason = inner.text("resultReason");
                reason.map_or_else(|| "failed".to_owned(), |reason| format!("failed: {reason}"))
            }),
        ]);
        Some(Draft {
            message: Cow::Owned(super::titled(&name, &facts)),
            detail: Cow::Owned(listed([
                told("", inner.first(&["loggedByService"])),
                told("", inner.text("category")),
            ])),
            source,
            account,
            ..self.draft()
        })
    }

    /// A call of Azure's API, or of a service that logs in the same form.
    fn activity(self) -> Option<Draft<'a>> {
        const CLAIMS: [&str; 6] = [
            "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
            "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
            "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
            "upn",
            "unique_name",
            "name",
        ];
        let outer = self.outer;
        let name = outer.first(&["operationName.value", "operationName"])?;
        let draft = self.draft();
        let category = draft.classification.clone();
        let claim = |from: &str| CLAIMS.iter().find_map(|claim| outer.text(&format!("{from}.{claim}")));
        let named = || {
            ["identity.claims", "identity.claim", "claims", "identity.requester"]
                .iter()
                .find_map(|from| claim(from))
        };
        // A claim may be a name for show, which the caller's address is not.
        let account = outer.text("caller").filter(|caller| caller.contains('@')).or_else(named);
        let caller = || outer.first(&["caller", "identity"]).filter(|caller| !is_id(caller));
        let account = account.or_else(caller).unwrap_or_default();
        let source = outer.address(&[
            "callerIpAddress",
            "callerIPAddress",
            "httpRequest.clientIpAddress",
            "claims.ipaddr",
        ]);
        let how = outer
            .first(&["resultSignature", "subStatus.value", "httpStatusCode", "statusText"])
            .unwrap_or_default();
        let result = outer.first(&["resultType", "status.value"]).unwrap_or_default();
        let is_refused =
            ["forbidden", "unauthorized"].iter().any(|word| how.to_ascii_lowercase().contains(word));
        let upon = outer.text("resourceId").unwrap_or_default();
        let kind = match category.as_ref() {
            "Security" => RecordKind::Alert,
            other if OWN_HEALTH.contains(&other) => RecordKind::Telemetry,
            _ => RecordKind::Log,
        };
        // A sign-in whose properties are missing.
        let code = result.parse().ok().filter(|code| *code != 0);
        let facts = listed([
            told("by", some(&account)),
            told("from", source.as_ref().map(|end| end.address.as_str())),
            told("upon", some(&place(&upon))),
            match result.to_ascii_lowercase().as_str() {
                _ if is_refused => Some(format!("refused: {how}")),
                "start" | "started" => Some("started".to_owned()),
                "failure" | "failed" => {
                    Some(if how.is_empty() { "failed".to_owned() } else { format!("failed: {how}") })
                }
                _ => code.map(|code| format!("{}: {code}", ended(code))),
            },
        ]);
        let message = if kind == RecordKind::Alert {
            outer
                .first(&["properties.eventName", "eventName.value", "properties.description", "description"])
                .unwrap_or(name)
        } else {
            Cow::Owned(super::titled(&name, &facts))
        };
        let level = || {
            outer.first(&[
                "properties.severity",
                "properties.eventProperties.severity",
                "properties.Severity",
            ])
        };
        Some(Draft {
            kind,
            message,
            detail: Cow::Owned(listed([
                told(
                    "role",
                    outer.first(&["identity.authorization.evidence.role", "authorization.evidence.role"]),
                ),
                told("", outer.text("resultDescription")),
            ])),
            priority: if kind == RecordKind::Alert {
                level().and_then(|level| tags::severity(&level))
            } else {
                None
            },
            sensor: Cow::Borrowed("azure"),
            source,
            account,
            file: upon,
            verdict: is_refused.then_some(SensorVerdict::Blocked),
            ..draft
        })
    }
}

/// How a sign-in ended that did not succeed. It also stops where a password was right and something else is asked for, and waits where
/// it was begun on one device and is to be confirmed on another.
fn ended(code: u64) -> &'static str {
    match code {
        50055 | 50072 | 50074 | 50076 | 50079 | 50140 | 70016 => "interrupted",
        code if is_refusal(code) => "refused",
        _ => "failed",
    }
}

/// Whether an error means that a rule kept somebody out: an account locked or disabled, a policy of access.
fn is_refusal(code: u64) -> bool {
    matches!(code, 50053 | 50057 | 50105 | 53000..=53004 | 530_000..=530_999)
}

/// Whom and what an audited change is about, and what it was set to: `User bob@example.com, Role.DisplayName Global
/// Administrator`.
fn targets(event: Fields<'_>) -> Option<String> {
    let mut told = Vec::new();
    for target in event.objects("targetResources").take(MAX_TARGETS) {
        let name = target.first(&["userPrincipalName", "displayName"]).filter(|name| !is_id(name));
        if let Some(name) = name {
            told.push(format!("{} {name}", target.text("type").unwrap_or(Cow::Borrowed("target"))));
        }
        let changed = target.objects("modifiedProperties").filter_map(|property| {
            let name = property.text("displayName").filter(|name| CHANGED.contains(&name.as_ref()))?;
            // It is JSON in a text.
            let value = property.text("newValue").or_else(|| property.text("oldValue"))?;
            let value = value.trim_matches('"');
            (!value.is_empty()).then(|| format!("{name} {value}"))
        });
        told.extend(changed.take(MAX_TARGETS));
    }
    joined(told)
}

/// What of a resource's path says what it is: from its provider on, else from its group on.
fn place(resource: &str) -> String {
    let lower = resource.to_ascii_lowercase();
    let from = lower.rfind("/providers/").map(|at| at + "/providers/".len());
    let from = from.or_else(|| lower.find("/resourcegroups/")).unwrap_or_default();
    // Other than in lower case ASCII letters both are the same.
    without_ids(resource.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;

    const SIGN_IN: &str = r#"{"time":"2026-06-03T13:01:00.1Z","resourceId":"/tenants/0b1f6471-1bf0-4dda-aec3-cb9272f09590/providers/Microsoft.aadiam","operationName":"Sign-in activity","operationVersion":"1.0","category":"SignInLogs","tenantId":"0b1f6471-1bf0-4dda-aec3-cb9272f09590","resultType":"50126","resultSignature":"None","resultDescription":"Invalid username or password","durationMs":0,"callerIpAddress":"203.0.113.9","correlationId":"c1","identity":"Alice","Level":4,"location":"NO","properties":{"id":"s1","createdDateTime":"2026-06-03T12:59:31.342Z","userDisplayName":"Alice","userPrincipalName":"alice@example.com","appId":"a1","appDisplayName":"Azure Portal","ipAddress":"203.0.113.9","status":{"errorCode":50126},"clientAppUsed":"Browser","userAgent":"curl/8.5","conditionalAccessStatus":"notApplied","isInteractive":true,"riskLevelDuringSignIn":"none"}}"#;

    const AUDIT: &str = r#"{"time":"2026-06-03T12:59:31.342Z","resourceId":"/tenants/0b1f6471-1bf0-4dda-aec3-cb9272f09590/providers/Microsoft.aadiam","operationName":"Add member to role","category":"AuditLogs","tenantId":"0b1f6471-1bf0-4dda-aec3-cb9272f09590","resultSignature":"None","properties":{"id":"d1","category":"RoleManagement","result":"success","activityDisplayName":"Add member to role","activityDateTime":"2026-06-03T12:59:31.342Z","loggedByService":"Core Directory","initiatedBy":{"user":{"userPrincipalName":"alice@example.com","ipAddress":"203.0.113.9"}},"targetResources":[{"type":"User","userPrincipalName":"mallory@example.com","modifiedProperties":[{"displayName":"Role.DisplayName","oldValue":null,"newValue":"\"Global Administrator\""},{"displayName":"Role.ObjectID","newValue":"\"1\""}]}]}}"#;

    const ACTIVITY: &str = r#"{"time":"2026-06-03T12:59:31.342Z","resourceId":"/SUBSCRIPTIONS/0B1F6471-1BF0-4DDA-AEC3-CB9272F09590/RESOURCEGROUPS/SHOP/PROVIDERS/MICROSOFT.COMPUTE/VIRTUALMACHINES/WEB01","operationName":"MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMAND/ACTION","category":"Administrative","resultType":"Success","resultSignature":"Accepted.Accepted","callerIpAddress":"203.0.113.9","correlationId":"c1","identity":{"authorization":{"evidence":{"role":"Owner"}},"claims":{"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":"alice@example.com"}},"level":"Information","properties":{"statusCode":"Accepted"}}"#;

    #[test]
    fn a_sign_in_says_who_came_from_where_and_how_it_ended() {
        let record = record(SIGN_IN);
        assert_eq!((record.kind, record.priority, record.verdict), (RecordKind::Log, None, None));
        assert_eq!(
            record.message,
            "Sign-in to Azure Portal: by alice@example.com, from 203.0.113.9, failed: 50126 Invalid username or password"
        );
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(
            (record.account.as_str(), record.classification.as_str()),
            ("alice@example.com", "SignInLogs")
        );
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn graph_gives_the_same_sign_in() {
        let object: Value = serde_json::from_str(SIGN_IN).unwrap();
        let mut graph = object["properties"].clone();
        graph["status"]["failureReason"] = "Invalid username or password".into();
        let graph = record(&graph.to_string());
        assert_eq!(graph.message, record(SIGN_IN).message);
        assert_eq!(graph.time, record(SIGN_IN).time);
    }

    #[test]
    fn graph_is_known_by_what_is_left_of_a_sign_in() {
        let few = json!({
            "id": "s1", "createdDateTime": "2026-06-03T12:59:31Z", "userPrincipalName": "alice@example.com",
            "appDisplayName": "Azure Portal", "ipAddress": null, "authenticationProtocol": "deviceCode",
            "status": {"errorCode": 70016, "failureReason": "Pending."},
        });
        let signed = record(&few.to_string());
        assert_eq!(
            signed.message,
            "Sign-in to Azure Portal: by alice@example.com, interrupted: 70016 Pending."
        );
        assert_eq!((signed.source, signed.detail.as_str()), (None, "protocol deviceCode"));
        for key in ["createdDateTime", "userPrincipalName", "appDisplayName", "status"] {
            let mut other = few.clone();
            other[key] = Value::Null;
            assert!(!recognises(other.as_object().unwrap()), "{key}");
        }
    }

    #[test]
    fn an_application_signs_in_to_a_resource() {
        let signed = json!({
            "createdDateTime": "2026-06-03T12:59:31Z", "servicePrincipalName": "Sync", "appDisplayName": "Sync",
            "resourceDisplayName": "Microsoft Graph", "ipAddress": "203.0.113.9", "clientCredentialType": "clientSecret",
            "isInteractive": false, "status": {"errorCode": 7000222, "failureReason": "Keys are expired."},
        });
        let signed = record(&signed.to_string());
        assert_eq!(
            signed.message,
            "Sign-in to Microsoft Graph: by Sync, from 203.0.113.9, not interactive, failed: 7000222 Keys are expired."
        );
        assert_eq!((signed.account.as_str(), signed.detail.as_str()), ("Sync", "credential clientSecret"));
    }

    #[test]
    fn what_a_policy_keeps_out_is_blocked_and_a_second_factor_interrupts() {
        let ending = |code: u64| {
            let object: Value = serde_json::from_str(SIGN_IN).unwrap();
            let mut properties = object["properties"].clone();
            properties["status"] = json!({"errorCode": code, "failureReason": "Reason."});
            changed(SIGN_IN, &[("properties", properties)])
        };
        assert_eq!(ending(53003).verdict, Some(SensorVerdict::Blocked));
        assert!(ending(53003).message.ends_with("refused: 53003 Reason."));
        assert!(
            ending(50074).message.ends_with("interrupted: 50074 Reason.") && ending(50074).verdict.is_none()
        );
        let bare = changed(SIGN_IN, &[("properties", "{}".into())]);
        assert_eq!(
            bare.message,
            "Sign-in activity: by Alice, from 203.0.113.9, upon Microsoft.aadiam, failed: 50126"
        );
        assert!(ending(0).message.ends_with("from 203.0.113.9"), "{}", ending(0).message);
    }

    #[test]
    fn an_audit_says_who_made_whom_what() {
        let record = record(AUDIT);
        assert_eq!(
            record.message,
            "Add member to role: by alice@example.com, from 203.0.113.9, User mallory@example.com, Role.DisplayName Global Administrator"
        );
        assert_eq!((record.kind, record.account.as_str()), (RecordKind::Log, "alice@example.com"));
    }

    #[test]
    fn a_call_of_azure_says_who_did_what_to_which_resource() {
        let done = record(ACTIVITY);
        assert_eq!(
            done.message,
            "MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMAND/ACTION: by alice@example.com, from 203.0.113.9, upon MICROSOFT.COMPUTE/VIRTUALMACHINES/WEB01"
        );
        assert_eq!((done.kind, done.sensor.as_str()), (RecordKind::Log, "azure"));
        let refused = [("resultType", "Failure".into()), ("resultSignature", "Failed.Forbidden".into())];
        let refused = changed(ACTIVITY, &refused);
        assert_eq!(refused.verdict, Some(SensorVerdict::Blocked));
        assert!(refused.message.ends_with("refused: Failed.Forbidden"));
        let health = [
            ("category", "ResourceHealth".into()),
            ("callerIpAddress", Value::Null),
            ("identity", Value::Null),
            ("properties", json!({"eventCategory": "ResourceHealth"})),
        ];
        assert_eq!(changed(ACTIVITY, &health).kind, RecordKind::Telemetry);
        let asked = json!({
            "eventTimestamp": "2026-06-03T12:59:31.342Z", "caller": "alice@example.com", "category": {"value": "Administrative"},
            "resourceId": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/shop",
            "operationName": {"value": "Microsoft.Resources/subscriptions/resourceGroups/delete"},
            "status": {"value": "Started"}, "httpRequest": {"clientIpAddress": "203.0.113.9"},
        });
        assert_eq!(
            record(&asked.to_string()).message,
            "Microsoft.Resources/subscriptions/resourceGroups/delete: by alice@example.com, from 203.0.113.9, upon resourceGroups/shop, started"
        );
    }

    #[test]
    fn what_a_client_says_names_nobody() {
        let object: Value = serde_json::from_str(SIGN_IN).unwrap();
        let mut properties = object["properties"].clone();
        properties["userAgent"] = "x user=root from 10.0.2.20 {\"riskEventType\":\"x\"}".into();
        properties["ipAddress"] = "203.0.113.9 10.0.2.20".into();
        let told = changed(SIGN_IN, &[("properties", properties), ("callerIpAddress", Value::Null)]);
        assert_eq!((told.source, told.destination, told.kind), (None, None, RecordKind::Log));
        assert_eq!(told.account, "alice@example.com");
    }
}
