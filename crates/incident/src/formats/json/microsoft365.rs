//! Microsoft 365's unified audit log: what its API and Purview's search give. Each record is an operation: a log. Alerts of its own
//! policies stand in it as well.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{Fields, is_id, scalar};
use super::log_analytics::{Table, as_written};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, joined, listed, some, tags, told};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const MICROSOFT365: ObjectFormat = ObjectFormat { format: Format::Microsoft365, recognises, read };

/// Parameters of commands and properties of changes that a message names: mail that is sent on or hidden, rights, and what is logged.
const TELLING: [&str; 26] = [
    "ForwardTo",
    "ForwardAsAttachmentTo",
    "RedirectTo",
    "ForwardingSmtpAddress",
    "ForwardingAddress",
    "DeliverToMailboxAndForward",
    "DeleteMessage",
    "MoveToFolder",
    "MarkAsRead",
    "SubjectContainsWords",
    "SubjectOrBodyContainsWords",
    "BodyContainsWords",
    "From",
    "RuleOperation",
    "RuleActions",
    "User",
    "Trustee",
    "AccessRights",
    "Role",
    "Member",
    "Members",
    "AuditEnabled",
    "AuditBypassEnabled",
    "UnifiedAuditLogIngestionEnabled",
    "Role.DisplayName",
    "ConsentContext.IsAdminConsent",
];

/// Where such parameters stand.
const LISTS: [&str; 3] = ["Parameters", "OperationProperties", "ModifiedProperties"];

/// Most of them that a message names.
const MAX_TOLD: usize = 5;

fn recognises(object: &Object) -> bool {
    let record = Fields(object);
    if Table::among(&[Table::Office], object).is_some() {
        return record.string("Operation").is_some();
    }
    ["CreationTime", "Operation"].iter().all(|key| record.string(key).is_some())
        && object.get("RecordType").is_some_and(|kind| kind.is_number() || kind.is_string())
        && ["Workload", "UserId", "UserKey", "OrganizationId"].iter().any(|key| record.string(key).is_some())
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let row = as_written(object, &[Table::Office]);
    let record = Fields(row.as_ref().unwrap_or(object));
    let operation = record.text("Operation")?;
    let is_alert = matches!(operation.as_ref(), "AlertTriggered" | "AlertEntityGenerated");
    let entity = || record.text("AlertEntityId").filter(|_| record.string("EntityType") == Some("User"));
    let account = if is_alert { entity() } else { record.text("UserId") };
    let account = account.filter(|name| name != "Not Available" && name != "Unknown").unwrap_or_default();
    let source = record.address(&["ClientIP", "ClientIPAddress", "ActorIpAddress"]);
    let result = record.text("ResultStatus").unwrap_or_default();
    let is_failed = ["fail", "false"].iter().any(|word| result.to_ascii_lowercase().starts_with(word));
    let why = record
        .first(&["LogonError"])
        .or_else(|| property(record, "ExtendedProperties", "ResultStatusDetail"));
    let is_refused = why.as_deref().is_some_and(|why| {
        ["BlockedByConditionalAccess", "AccountLocked", "IdsLocked", "UserDisabled"]
            .iter()
            .any(|word| why.contains(word))
    });
    let title = match record.text("Workload") {
        Some(workload) => format!("{operation} ({workload})"),
        None => operation.clone().into_owned(),
    };
    let upon =
        record.text("ObjectId").filter(|name| !is_id(name) && name != "Unknown" && name != "Not Available");
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("upon", place(record, upon.as_deref())),
        parameters(record),
        is_failed.then(|| {
            let word = if is_refused { "refused" } else { "failed" };
            why.as_ref().map_or_else(|| word.to_owned(), |why| format!("{word}: {why}"))
        }),
    ]);
    let title_of_alert = record.text("Name").filter(|_| is_alert);
    let draft = Draft {
        kind: if is_alert { RecordKind::Alert } else { RecordKind::Log },
        time: record.time(&["CreationTime"]),
        sensor: Cow::Borrowed("microsoft365"),
        message: title_of_alert.clone().unwrap_or_else(|| Cow::Owned(super::titled(&title, &facts))),
        detail: Cow::Owned(listed([
            told("", record.text("SourceFileName")),
            told("shared with", record.text("TargetUserOrGroupName")),
            told("mailbox", record.text("MailboxOwnerUPN")),
            told(
                "agent",
                record
                    .first(&["UserAgent", "ClientInfoString"])
                    .or_else(|| property(record, "ExtendedProperties", "UserAgent")),
            ),
        ])),
        rule: title_of_alert.unwrap_or_default(),
        priority: record.text("Severity").filter(|_| is_alert).and_then(|word| tags::severity(&word)),
        classification: record.text("Category").filter(|_| is_alert).unwrap_or_default(),
        source,
        account,
        file: upon.unwrap_or_default(),
        verdict: (is_failed && is_refused).then_some(SensorVerdict::Blocked),
        ..Draft::default()
    };
    Some(draft.finish(Format::Microsoft365, object, envelope))
}

/// Whom or what an operation acts upon. A site stands for its files, so that reads of many are like one another.
fn place<'a>(record: Fields<'a>, upon: Option<&str>) -> Option<Cow<'a, str>> {
    if let Some(site) = record.text("SiteUrl") {
        return Some(site);
    }
    let targets = record.objects("Target").filter_map(|target| target.text("ID"));
    let named = targets.filter(|name| name.contains('@')).last();
    named.or_else(|| Some(Cow::Owned(upon?.to_owned())))
}

/// The value of one of a list's members: `[{"Name":"UserAgent","Value":"curl"}]`.
fn property<'a>(record: Fields<'a>, list: &str, name: &str) -> Option<Cow<'a, str>> {
    record.objects(list).find(|member| member.string("Name") == Some(name))?.text("Value")
}

fn parameters(record: Fields<'_>) -> Option<String> {
    let members = LISTS.iter().flat_map(|list| record.objects(list));
    let told = members
        .filter_map(|member| {
            let name = member.text("Name").filter(|name| TELLING.contains(&name.as_ref()))?;
            let value = member.first(&["Value", "NewValue"])?;
            // Of a change the value is JSON in a text: `["Global Administrator"]`.
            let value = value.trim_matches(|c: char| c.is_whitespace() || "[]\"".contains(c));
            (!value.is_empty()).then(|| format!("{name} {value}"))
        })
        .take(MAX_TOLD);
    // Some writers give one text instead of a list.
    let whole =
        || record.get("Parameters").filter(|value| matches!(value, Value::String(_))).and_then(scalar);
    joined(told).or_else(|| whole().map(Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;

    const LOGIN: &str = r#"{"CreationTime":"2026-06-03T12:59:31","Id":"m1","Operation":"UserLoginFailed","OrganizationId":"o1","RecordType":15,"ResultStatus":"Failed","UserKey":"k1","UserType":0,"Version":1,"Workload":"AzureActiveDirectory","ClientIP":"203.0.113.9","ObjectId":"00000002-0000-0ff1-ce00-000000000000","UserId":"alice@example.com","ExtendedProperties":[{"Name":"UserAgent","Value":"curl/8.5"},{"Name":"RequestType","Value":"OAuth2:Token"}],"ModifiedProperties":[],"Target":[{"ID":"00000002-0000-0ff1-ce00-000000000000","Type":0}],"LogonError":"InvalidUserNameOrPassword"}"#;

    #[test]
    fn an_operation_is_a_log_that_says_who_did_what_from_where() {
        let record = record(LOGIN);
        assert_eq!((record.kind, record.priority, record.verdict), (RecordKind::Log, None, None));
        assert_eq!(
            record.message,
            "UserLoginFailed (AzureActiveDirectory): by alice@example.com, from 203.0.113.9, failed: InvalidUserNameOrPassword"
        );
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(
            (record.account.as_str(), record.detail.as_str()),
            ("alice@example.com", "agent curl/8.5")
        );
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let kept_out = changed(LOGIN, &[("LogonError", "BlockedByConditionalAccess".into())]);
        assert_eq!(kept_out.verdict, Some(SensorVerdict::Blocked));
    }

    #[test]
    fn a_rule_says_where_mail_goes() {
        let rule = json!({
            "CreationTime": "2026-06-03T12:59:31", "Operation": "New-InboxRule", "RecordType": 1, "Workload": "Exchange",
            "UserId": "alice@example.com", "ClientIP": "[2001:db8::9]:51234", "ResultStatus": "True", "ObjectId": "alice\\r",
            "Parameters": [
                {"Name": "Name", "Value": "."}, {"Name": "ForwardTo", "Value": "mallory@example.net"},
                {"Name": "DeleteMessage", "Value": "True"},
            ],
        });
        let rule = record(&rule.to_string());
        assert_eq!(
            rule.message,
            "New-InboxRule (Exchange): by alice@example.com, from 2001:db8::9, upon alice\\r, ForwardTo mallory@example.net, DeleteMessage True"
        );
        let role = json!([{"Name": "Role.DisplayName", "NewValue": "[\r\n  \"Global Administrator\"\r\n]", "OldValue": "[]"}]);
        let role =
            changed(LOGIN, &[("Operation", "Add member to role.".into()), ("ModifiedProperties", role)]);
        assert!(role.message.contains("Role.DisplayName Global Administrator"), "{}", role.message);
    }

    #[test]
    fn reads_of_many_files_are_like_one_another() {
        let read = |name: &str| {
            let file = format!("https://example.com/sites/shop/{name}");
            changed(
                LOGIN,
                &[
                    ("Operation", "FileDownloaded".into()),
                    ("ResultStatus", serde_json::Value::Null),
                    ("SiteUrl", "https://example.com/sites/shop/".into()),
                    ("ObjectId", file.into()),
                ],
            )
        };
        assert_eq!(read("a.docx").message, read("b.docx").message);
        assert_eq!(read("a.docx").file, "https://example.com/sites/shop/a.docx");
    }

    #[test]
    fn its_own_alerts_are_alerts() {
        let alert = json!({
            "CreationTime": "2026-06-03T12:59:31", "Operation": "AlertEntityGenerated", "RecordType": 40, "Severity": "Medium",
            "Workload": "SecurityComplianceCenter", "UserId": "SecurityComplianceAlerts", "Name": "Mail is sent on", "Status": "Active",
            "Category": "ThreatManagement", "EntityType": "User", "AlertEntityId": "alice@example.com",
        });
        let alert = record(&alert.to_string());
        assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(
            (alert.message.as_str(), alert.account.as_str()),
            ("Mail is sent on", "alice@example.com")
        );
    }

    #[test]
    fn what_a_client_calls_itself_is_no_end() {
        let hostile = "x from 10.0.2.20 user=root {\"Operation\":\"AlertTriggered\"}";
        let told = changed(
            LOGIN,
            &[
                ("ClientIP", hostile.into()),
                ("ExtendedProperties", json!([{"Name": "UserAgent", "Value": hostile}])),
            ],
        );
        assert_eq!((told.source, told.destination, told.kind), (None, None, RecordKind::Log));
        assert_eq!(told.account, "alice@example.com");
    }
}
