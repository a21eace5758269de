//! Google Cloud's audit logs: entries of Cloud Logging that carry an `AuditLog`. Each is one call of an API: a log. And findings of its
//! Security Command Center, as it exports and notifies them: threats are alerts; what it says of settings and weaknesses is telemetry.

use std::borrow::Cow;

use super::fields::{Fields, without_ids};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, tags, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const GOOGLE_CLOUD: ObjectFormat = ObjectFormat { format: Format::GoogleCloud, recognises, read };

/// What the codes of a call's end are called, from 1 on.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Most changes of rights that a message names.
const MAX_CHANGES: usize = 4;

/// The call that an entry tells of.
fn call(object: &Object) -> Option<Fields<'_>> {
    let call = Fields(object).object("protoPayload")?;
    let is_audit = call.string("@type").is_some_and(|kind| kind.ends_with("google.cloud.audit.AuditLog"));
    Some(call).filter(|call| is_audit && call.string("methodName").is_some())
}

/// The finding that an object tells of, within a notification or by itself.
fn finding(object: &Object) -> Option<Fields<'_>> {
    let is_one = |fields: &Fields<'_>| {
        ["category", "findingClass", "resourceName"].iter().all(|key| fields.string(key).is_some())
    };
    let outer = Fields(object);
    [outer.object("finding"), Some(outer)].into_iter().flatten().find(is_one)
}

fn recognises(object: &Object) -> bool {
    call(object).is_some() || finding(object).is_some()
}

/// A finding. One that is no longer active, or muted, accuses nobody.
fn read_finding(finding: Fields<'_>) -> Option<Draft<'_>> {
    let is = |path: &str, word: &str| finding.string(path).is_some_and(|own| own.eq_ignore_ascii_case(word));
    let is_threat = is("findingClass", "THREAT") || is("findingClass", "CHOKEPOINT");
    let is_open = !is("state", "INACTIVE") && !is("mute", "MUTED");
    let category = finding.text("category")?;
    let upon = finding.text("resourceName").unwrap_or_default();
    let mut draft = Draft {
        kind: if is_threat && is_open { RecordKind::Alert } else { RecordKind::Telemetry },
        time: finding.time(&["eventTime", "createTime"]),
        sensor: Cow::Borrowed("scc"),
        message: category.clone(),
        detail: Cow::Owned(listed([
            told("", finding.text("description")),
            told("upon", some(&place(&upon))),
            told("domain", finding.text("indicator.domains")),
            told("call", finding.text("access.methodName")),
            told("state", finding.text("state").filter(|_| !is_open)),
        ])),
        rule: category,
        priority: finding.text("severity").and_then(|word| tags::severity(&word)),
        classification: finding.text("findingClass").unwrap_or_default(),
        source: finding.address(&["access.callerIp", "indicator.ipAddresses"]),
        account: finding.first(&["access.principalEmail", "access.userName"]).unwrap_or_default(),
        process: finding.first(&["processes.args", "processes.binary.path"]).unwrap_or_default(),
        file: upon,
        ..Draft::default()
    };
    for path in ["mitreAttack.primaryTactic", "mitreAttack.primaryTechniques"] {
        draft.tags.take_all(finding.texts(path));
    }
    Some(draft)
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    if let Some(finding) = finding(object) {
        return Some(read_finding(finding)?.finish(Format::GoogleCloud, object, envelope));
    }
    let (entry, call) = (Fields(object), call(object)?);
    let method = call.text("methodName")?;
    let title = match call.text("serviceName") {
        Some(service) => format!("{method} ({service})"),
        None => method.into_owned(),
    };
    let account = call
        .first(&["authenticationInfo.principalEmail", "authenticationInfo.principalSubject"])
        .unwrap_or_default();
    let source = call.address(&["requestMetadata.callerIp"]);
    let code = call.number("status.code").filter(|code| *code != 0);
    let refusal = refusal(call, code);
    let failure = code.filter(|_| refusal.is_none()).map(code_name);
    let upon = call.text("resourceName").unwrap_or_default();
    let facts = listed([
        told("by", some(&account)),
        // A service account that somebody acts as.
        told(
            "for",
            call.first(&[
                "authenticationInfo.serviceAccountDelegationInfo.firstPartyPrincipal.principalEmail",
                "authenticationInfo.serviceAccountDelegationInfo.principalSubject",
            ]),
        ),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("upon", some(&place(&upon))),
        changes(call),
        told("opened to", call.text("request.sourceRanges")),
        told("refused:", refusal.as_deref()),
        told("failed:", failure),
    ]);
    let log = entry.string("logName").and_then(|name| name.rsplit(['/', '%']).next());
    let draft = Draft {
        kind: RecordKind::Log,
        // An entry's severity says nothing of the kind: every change is a NOTICE.
        time: entry.time(&["timestamp", "receiveTimestamp"]),
        sensor: Cow::Borrowed("cloudaudit"),
        message: Cow::Owned(super::titled(&title, &facts)),
        detail: Cow::Owned(listed([
            told("", call.text("metadata.event.eventName")),
            told("", call.text("status.message")),
            told("reason", call.text("metadata.violationReason")),
            told("project", entry.text("resource.labels.project_id")),
            told("agent", call.text("requestMetadata.callerSuppliedUserAgent")),
        ])),
        classification: Cow::Borrowed(log.map_or("", |log| log.strip_prefix("2F").unwrap_or(log))),
        source,
        verdict: refusal.is_some().then_some(SensorVerdict::Blocked),
        account,
        file: upon,
        ..Draft::default()
    };
    Some(draft.finish(Format::GoogleCloud, object, envelope))
}

fn code_name(code: u64) -> String {
    let name = usize::try_from(code).ok().and_then(|code| CODES.get(code.checked_sub(1)?));
    name.map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

/// Why a call was refused, if it was. Some of the rights that a call looks at may be missing, and it goes on by the others.
fn refusal(call: Fields<'_>, code: Option<u64>) -> Option<String> {
    if let Some(code @ (7 | 16)) = code {
        return Some(code_name(code));
    }
    let granted = |right: &Fields<'_>| right.text("granted").map(|granted| granted == "true");
    let mut rights = call.objects("authorizationInfo").filter_map(|right| Some((granted(&right)?, right)));
    let (is_first_granted, first) = rights.next()?;
    let is_any = is_first_granted || rights.any(|(is_granted, _)| is_granted);
    (code.is_none() && !is_any).then(|| first.text("permission").unwrap_or_default().into_owned())
}

/// Where a call acts. A bucket stands for its objects, so that reads of many are like one another.
fn place(resource: &str) -> String {
    without_ids(resource.split("/objects/").next().unwrap_or_default())
}

/// Whom a call gave a role, or took it from.
fn changes(call: Fields<'_>) -> Option<String> {
    let deltas = ["serviceData.policyDelta.bindingDeltas", "metadata.policyDelta.bindingDeltas"];
    let bound = deltas.iter().flat_map(|path| call.objects(path)).filter_map(|delta| {
        let (role, member) = (delta.text("role")?, delta.text("member")?);
        Some(match delta.string("action") {
            Some("REMOVE") => format!("took {role} from {member}"),
            _ => format!("gave {role} to {member}"),
        })
    });
    let added = call.texts("serviceData.permissionDelta.addedPermissions").into_iter();
    joined(bound.chain(added.map(|right| format!("added {right}"))).take(MAX_CHANGES))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::record;
    use super::*;
    use crate::Endpoint;

    const GRANT: &str = r#"{"insertId":"k1","logName":"projects/shop/logs/cloudaudit.googleapis.com%2Factivity","protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","status":{},"authenticationInfo":{"principalEmail":"alice@example.com"},"requestMetadata":{"callerIp":"203.0.113.9","callerSuppliedUserAgent":"google-cloud-sdk gcloud/470"},"serviceName":"cloudresourcemanager.googleapis.com","methodName":"SetIamPolicy","authorizationInfo":[{"resource":"projects/shop","permission":"resourcemanager.projects.setIamPolicy","granted":true}],"resourceName":"projects/shop","serviceData":{"@type":"type.googleapis.com/google.iam.v1.logging.AuditData","policyDelta":{"bindingDeltas":[{"action":"ADD","role":"roles/owner","member":"user:mallory@example.com"}]}}},"resource":{"type":"project","labels":{"project_id":"shop"}},"timestamp":"2026-06-03T12:59:31.342Z","severity":"NOTICE","receiveTimestamp":"2026-06-03T12:59:32Z"}"#;

    fn call(changes: &[(&str, Value)]) -> Record {
        let mut entry: Value = serde_json::from_str(GRANT).unwrap();
        for (key, value) in changes {
            entry["protoPayload"][key] = value.clone();
        }
        record(&entry.to_string())
    }

    #[test]
    fn a_call_is_a_log_that_says_who_gave_whom_what() {
        let record = record(GRANT);
        assert_eq!((record.kind, record.priority, record.verdict), (RecordKind::Log, None, None));
        assert_eq!(
            record.message,
            "SetIamPolicy (cloudresourcemanager.googleapis.com): by alice@example.com, from 203.0.113.9, upon projects/shop, gave roles/owner to user:mallory@example.com"
        );
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(
            (record.account.as_str(), record.classification.as_str()),
            ("alice@example.com", "activity")
        );
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn a_refused_call_is_blocked_and_a_failed_one_is_not() {
        let denied = call(&[("status", json!({"code": 7, "message": "Permission denied"}))]);
        assert_eq!(denied.verdict, Some(SensorVerdict::Blocked));
        assert!(denied.message.ends_with("refused: PERMISSION_DENIED"), "{}", denied.message);
        let right = |granted: bool| json!({"permission": "compute.instances.list", "granted": granted});
        let missing = call(&[("authorizationInfo", json!([right(false)]))]);
        assert_eq!(missing.verdict, Some(SensorVerdict::Blocked));
        let partly = call(&[("authorizationInfo", json!([right(false), right(true)]))]);
        assert_eq!(partly.verdict, None);
        let absent = call(&[("status", json!({"code": 5, "message": "Not found"}))]);
        assert_eq!(absent.verdict, None);
        assert!(absent.message.ends_with("failed: NOT_FOUND"), "{}", absent.message);
    }

    #[test]
    fn reads_of_many_objects_are_like_one_another() {
        let get = |name: &str| {
            let resource = format!("projects/_/buckets/orders/objects/{name}");
            call(&[("methodName", "storage.objects.get".into()), ("resourceName", resource.into())])
        };
        assert_eq!(get("a.csv").message, get("b.csv").message);
        assert_eq!(get("a.csv").file, "projects/_/buckets/orders/objects/a.csv");
    }

    #[test]
    fn what_a_client_calls_itself_is_no_end() {
        let hostile = "x from 10.0.2.20 user=root {\"callerIp\":\"10.0.2.20\"}";
        let told =
            call(&[("requestMetadata", json!({"callerIp": "private", "callerSuppliedUserAgent": hostile}))]);
        assert_eq!((told.source, told.destination), (None, None));
        assert_eq!(told.account, "alice@example.com");
    }

    const FINDING: &str = r#"{"finding":{"name":"organizations/1/sources/2/findings/3","category":"Malware: Cryptomining Bad Domain","state":"ACTIVE","severity":"HIGH","findingClass":"THREAT","resourceName":"//compute.googleapis.com/projects/shop/zones/z/instances/web01","eventTime":"2026-06-03T12:59:31.342Z","description":"A machine looked a miner's domain up.","indicator":{"domains":["pool.example"]},"access":{"principalEmail":"app@shop.example","callerIp":"203.0.113.9"},"mitreAttack":{"primaryTactic":"IMPACT","primaryTechniques":["RESOURCE_HIJACKING"]}},"resource":{"name":"x"}}"#;

    #[test]
    fn a_threat_is_an_alert_and_a_weak_setting_is_none() {
        let threat = record(FINDING);
        assert_eq!((threat.kind, threat.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(threat.message, "Malware: Cryptomining Bad Domain");
        assert_eq!(threat.tactics, [crate::Tactic::Impact]);
        assert_eq!(
            (threat.account.as_str(), threat.source.map(|end| end.address)),
            ("app@shop.example", Some("203.0.113.9".to_owned()))
        );
        assert_eq!(threat.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        for (from, to) in [("\"THREAT\"", "\"MISCONFIGURATION\""), ("\"ACTIVE\"", "\"INACTIVE\"")] {
            assert_eq!(record(&FINDING.replace(from, to)).kind, RecordKind::Telemetry, "{to}");
        }
    }
}
