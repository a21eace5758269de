//! AWS CloudTrail's records, also as EventBridge delivers them (in `detail`). Each is one call of the API: a log.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{Fields, scalar};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const CLOUD_TRAIL: ObjectFormat = ObjectFormat { format: Format::CloudTrail, recognises, read };

/// Parameters of a call that its message names: who and what it acts upon.
const SUBJECTS: [&str; 16] = [
    "userName",
    "roleName",
    "groupName",
    "policyArn",
    "policyName",
    "roleArn",
    "bucketName",
    "key",
    "name",
    "instanceId",
    "instancesSet.items",
    "groupId",
    "snapshotId",
    "secretId",
    "keyId",
    "functionName",
];

/// Parameters that [`permissions`] tells.
const ALREADY: [&str; 4] = ["createVolumePermission", "launchPermission", "ipPermissions", "instancesSet"];
/// Parts of names of parameters that say nothing of what is done.
const PASSING: [&str; 6] = ["token", "requestid", "nonce", "maxresults", "maxitems", "pagesize"];
/// Most parameters that are told.
const MAX_TOLD: usize = 7;
/// How deep parameters are gone into, and into how many of a list.
const MAX_DEPTH: usize = 3;
const MAX_ITEMS: usize = 3;
/// Longest value of a parameter that is told, in bytes.
const MAX_SETTING: usize = 64;

/// A call, also in EventBridge's envelope.
fn call(object: &Object) -> Option<Fields<'_>> {
    let of = |fields: Fields<'_>| {
        let named = ["eventSource", "eventName"].iter().all(|key| fields.string(key).is_some());
        named && ["eventVersion", "userIdentity", "awsRegion", "eventTime"].iter().any(|key| fields.has(key))
    };
    Fields(object).itself_or_detail(of)
}

fn recognises(object: &Object) -> bool {
    !object.contains_key("RuleTitle") && !object.contains_key("rule") && call(object).is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let call = call(object)?;
    let name = call.text("eventName")?;
    let service = call.text("eventSource").unwrap_or_default();
    let account = assumed(call).or_else(|| {
        call.first(&[
            "userIdentity.userName",
            "userIdentity.sessionContext.sessionIssuer.userName",
            "userIdentity.invokedBy",
            "userIdentity.principalId",
            "userIdentity.type",
            "userIdentity.arn",
        ])
    });
    let account = account.unwrap_or_default();
    // A service that acts for somebody stands there too, by its name; it is no end of any traffic.
    let source = call.end(&["sourceIPAddress"], &[]).filter(|end| end.ip().is_some());
    let error = call.text("errorCode");
    let is_refused = error.as_deref().is_some_and(|code| {
        ["AccessDenied", "Unauthorized", "Forbidden"].iter().any(|word| code.contains(word))
    });
    let result = call.first(&["responseElements.ConsoleLogin", "responseElements.SwitchRole"]);
    let facts = listed([
        told("by", some(&account)),
        told("from", call.text("sourceIPAddress")),
        told("region", call.text("awsRegion")),
        subjects(call),
        told("", result),
        call.text("additionalEventData.MFAUsed")
            .filter(|used| used == "No")
            .map(|_| "without MFA".to_owned()),
        told("refused:", error.clone()),
    ]);
    let draft = Draft {
        kind: RecordKind::Log,
        time: call.time(&["eventTime"]),
        sensor: Cow::Borrowed("cloudtrail"),
        message: Cow::Owned(super::titled(&format!("{name} ({service})"), &facts)),
        detail: Cow::Owned(listed([
            told("", call.text("errorMessage")),
            told("agent", call.text("userAgent")),
            told("type", call.text("userIdentity.type")),
            told("account", call.first(&["recipientAccountId", "userIdentity.accountId"])),
        ])),
        classification: call.text("eventType").filter(|kind| kind != "AwsApiCall").unwrap_or_default(),
        source,
        account,
        file: object_named(call).unwrap_or_default(),
        verdict: is_refused.then_some(SensorVerdict::Blocked),
        ..Draft::default()
    };
    Some(draft.finish(Format::CloudTrail, object, envelope))
}

/// Who calls in an assumed role: whoever signed in through the organisation's identity provider, else the role.
fn assumed(call: Fields<'_>) -> Option<Cow<'_, str>> {
    let arn = call.text("userIdentity.arn")?;
    let (_, assumed) = arn.split_once(":assumed-role/")?;
    let (role, session) = assumed.split_once('/').unwrap_or((assumed, ""));
    match role.starts_with("AWSReservedSSO_") && !session.is_empty() {
        true => Some(Cow::Owned(session.to_owned())),
        false => {
            let issuer = call.text("userIdentity.sessionContext.sessionIssuer.userName");
            issuer.or_else(|| (!role.is_empty()).then(|| Cow::Owned(role.to_owned())))
        }
    }
}

fn subjects(call: Fields<'_>) -> Option<String> {
    let parameters = call.object("requestParameters")?;
    let mut told: Vec<String> = SUBJECTS
        .iter()
        .filter_map(|key| match *key {
            "instancesSet.items" => {
                let ids: Vec<_> =
                    parameters.objects(key).take(8).filter_map(|item| item.text("instanceId")).collect();
                (!ids.is_empty()).then(|| format!("instances {}", ids.join(" ")))
            }
            key => Some(format!("{key} {}", scalar(parameters.0.get(key)?)?)),
        })
        .chain(permissions(parameters))
        .take(MAX_TOLD)
        .collect();
    settings(parameters.0, MAX_DEPTH, &mut told);
    told.truncate(MAX_TOLD);
    joined(told)
}

/// What else a call sets, by the innermost names: in it lies whether a call opens something or closes it. What is told already is left out,
/// and so is what only makes a call unique or cuts its answer into pages.
fn settings(parameters: &Object, depth: usize, told: &mut Vec<String>) {
    // Whatever order an object keeps.
    let mut parameters: Vec<(&String, &Value)> = parameters.iter().collect();
    parameters.sort_by_key(|(key, _)| *key);
    for (key, value) in parameters {
        let is_told = SUBJECTS.contains(&key.as_str()) || ALREADY.contains(&key.as_str());
        let lower = key.to_ascii_lowercase();
        if is_told || PASSING.iter().any(|part| lower.contains(part)) || told.len() >= MAX_TOLD {
            continue;
        }
        match value {
            Value::Object(inner) if depth > 0 => settings(inner, depth - 1, told),
            Value::Array(items) if depth > 0 => {
                for inner in items.iter().take(MAX_ITEMS).filter_map(Value::as_object) {
                    settings(inner, depth - 1, told);
                }
                let words: Vec<_> = items.iter().take(MAX_ITEMS).filter_map(Value::as_str).collect();
                if !words.is_empty() && words.iter().all(|word| word.len() <= MAX_SETTING) {
                    told.push(format!("{key} {}", words.join(" ")));
                }
            }
            value => told.extend(
                scalar(value).filter(|text| text.len() <= MAX_SETTING).map(|text| format!("{key} {text}")),
            ),
        }
    }
}

/// Whom a call lets in: accounts, groups (`all` is everybody) and networks.
fn permissions<'a>(parameters: Fields<'a>) -> impl Iterator<Item = String> + use<'a> {
    let attribute =
        parameters.object("createVolumePermission.add").or_else(|| parameters.object("launchPermission.add"));
    let shared = attribute.into_iter().flat_map(|add| add.objects("items")).filter_map(|item| {
        let whom = item.first(&["group", "userId"])?;
        Some(format!("shared with {whom}"))
    });
    let opened = parameters
        .objects("ipPermissions.items")
        .flat_map(|rule| rule.objects("ipRanges.items"))
        .filter_map(|range| Some(format!("opened to {}", range.text("cidrIp")?)));
    shared.chain(opened)
}

/// The object in a bucket, or the bucket.
fn object_named(call: Fields<'_>) -> Option<Cow<'_, str>> {
    let parameters = call.object("requestParameters")?;
    let bucket = parameters.0.get("bucketName").and_then(Value::as_str)?;
    Some(match parameters.0.get("key").and_then(Value::as_str) {
        Some(key) => Cow::Owned(format!("{bucket}/{key}")),
        None => Cow::Borrowed(bucket),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;

    const LOGIN: &str = r#"{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","principalId":"AIDAX","userName":"deploy"},"eventTime":"2026-06-03T12:59:31Z","eventSource":"signin.amazonaws.com","eventName":"ConsoleLogin","awsRegion":"eu-central-1","sourceIPAddress":"203.0.113.9","userAgent":"curl/8.5","responseElements":{"ConsoleLogin":"Failure"},"additionalEventData":{"MFAUsed":"No"},"eventType":"AwsConsoleSignIn","recipientAccountId":"123456789012"}"#;

    #[test]
    fn who_acts_in_an_assumed_role_is_told() {
        let by = |arn: &str, issuer: &str| {
            let identity =
                format!(r#""type":"AssumedRole","arn":"arn:aws:sts::1:assumed-role/{arn}"{issuer}"#);
            record(&LOGIN.replace(r#""type":"IAMUser","principalId":"AIDAX","userName":"deploy""#, &identity))
                .account
        };
        let issuer = r#","sessionContext":{"sessionIssuer":{"userName":"web"}}"#;
        for (arn, issuer, account) in [
            ("AWSReservedSSO_Admin_1a2b/ann@corp.example", issuer, "ann@corp.example"),
            ("web/i-0abc", issuer, "web"),
            ("backup/job-7", "", "backup"),
            ("AWSReservedSSO_Admin_1a2b/", "", "AWSReservedSSO_Admin_1a2b"),
            ("", "", "AssumedRole"),
        ] {
            assert_eq!(by(arn, issuer), account, "{arn}");
        }
    }

    #[test]
    fn a_call_is_a_log_that_says_who_did_what_from_where() {
        let record = record(LOGIN);
        assert_eq!((record.kind, record.priority), (RecordKind::Log, None));
        assert_eq!(
            record.message,
            "ConsoleLogin (signin.amazonaws.com): by deploy, from 203.0.113.9, region eu-central-1, Failure, without MFA"
        );
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!((record.account.as_str(), record.classification.as_str()), ("deploy", "AwsConsoleSignIn"));
        assert_eq!(record.detail, "agent curl/8.5, type IAMUser, account 123456789012");
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
    }

    #[test]
    fn what_a_call_acts_upon_is_named() {
        let call = |name: &str, parameters: Value| {
            changed(
                LOGIN,
                &[
                    ("eventName", name.into()),
                    ("requestParameters", parameters),
                    ("responseElements", Value::Null),
                    ("additionalEventData", Value::Null),
                ],
            )
        };
        let key = call("CreateAccessKey", serde_json::json!({"userName": "admin"}));
        assert!(key.message.ends_with("region eu-central-1, userName admin"), "{}", key.message);
        let shared = serde_json::json!({"snapshotId": "snap-1", "createVolumePermission": {"add": {"items": [{"group": "all"}]}}});
        let snapshot = call("ModifySnapshotAttribute", shared);
        assert!(snapshot.message.ends_with("snapshotId snap-1, shared with all"), "{}", snapshot.message);
        let selectors = serde_json::json!({"trailName": "org", "clientToken": "x", "eventSelectors": [
            {"includeManagementEvents": false, "readWriteType": "ReadOnly", "dataResources": [], "values": ["a", "b"]},
        ]});
        let muted = call("PutEventSelectors", selectors);
        assert!(
            muted.message.ends_with(
                "region eu-central-1, includeManagementEvents false, readWriteType ReadOnly, values a b, trailName org"
            ),
            "{}",
            muted.message
        );
        let long =
            call("UpdateFunctionCode", serde_json::json!({"functionName": "f", "zipFile": "x".repeat(100)}));
        assert!(long.message.ends_with("region eu-central-1, functionName f"), "{}", long.message);
        let object = call("GetObject", serde_json::json!({"bucketName": "shop", "key": "orders.csv"}));
        assert_eq!(object.file, "shop/orders.csv");
    }

    #[test]
    fn a_refused_call_is_blocked_and_a_service_is_no_source() {
        let refused = changed(LOGIN, &[("errorCode", "AccessDenied".into())]);
        assert_eq!(refused.verdict, Some(SensorVerdict::Blocked));
        assert!(refused.message.ends_with("refused: AccessDenied"));
        let service = changed(LOGIN, &[("sourceIPAddress", "cloudformation.amazonaws.com".into())]);
        assert_eq!(service.source, None);
    }

    #[test]
    fn eventbridge_delivers_the_same() {
        let text = format!(
            r#"{{"version":"0","detail-type":"AWS Console Sign In via CloudTrail","detail":{LOGIN}}}"#
        );
        assert_eq!(record(&text).message, record(LOGIN).message);
    }
}
