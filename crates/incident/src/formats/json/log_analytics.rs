//! Rows of a Log Analytics workspace, which is where Microsoft Sentinel keeps its tables: `TimeGenerated`, the table's name as `Type`, and
//! the columns of the product whose events they are. And alerts as Graph's security API gives them, which are the same. A row becomes the object that the product itself writes, or one of the Elastic
//! Common Schema, so that the form of these reads it, with one place for what each event means.
//!
//! Invariant: what a row becomes holds the row's own values alone, under other names.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::{Object, defender_cloud};

/// What a table's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Sign-ins of Entra ID.
    SignIns,
    /// Its audits.
    Audits,
    /// Risks that it detected.
    Risks,
    /// Azure's activity log.
    Activity,
    /// Microsoft 365's audit log.
    Office,
    /// Alerts of all products.
    Alerts,
    /// What Defender saw on devices and in mail: processes, files, connections, logins, mails, links.
    Seen,
}

impl Table {
    /// The table that an object is a row of, if it is one of these.
    pub(super) fn among(tables: &[Table], object: &Object) -> Option<Table> {
        Table::of(Fields(object)).filter(|table| tables.contains(table))
    }

    /// The table that a row is of.
    fn of(row: Fields<'_>) -> Option<Table> {
        if is_of_graph(row) || defender_cloud::alert_in(row).is_some() {
            return Some(Table::Alerts);
        }
        // Rows of the activity log without their table's name.
        let is_activity =
            ["TimeGenerated", "Caller", "CallerIpAddress"].iter().all(|column| row.string(column).is_some())
                && ["OperationName", "OperationNameValue"].iter().any(|column| row.string(column).is_some());
        if is_activity && !row.has("Type") {
            return Some(Table::Activity);
        }
        row.string("TimeGenerated")?;
        Some(match row.string("Type")? {
            "SigninLogs"
            | "AADNonInteractiveUserSignInLogs"
            | "AADServicePrincipalSignInLogs"
            | "AADManagedIdentitySignInLogs" => Table::SignIns,
            "AuditLogs" => Table::Audits,
            "AADUserRiskEvents" | "AADServicePrincipalRiskEvents" => Table::Risks,
            "AzureActivity" => Table::Activity,
            "OfficeActivity" => Table::Office,
            "SecurityAlert" => Table::Alerts,
            "DeviceProcessEvents"
            | "DeviceFileEvents"
            | "DeviceNetworkEvents"
            | "DeviceLogonEvents"
            | "DeviceRegistryEvents"
            | "DeviceImageLoadEvents"
            | "DeviceEvents"
            | "EmailEvents"
            | "EmailAttachmentInfo"
            | "UrlClickEvents" => Table::Seen,
            _ => return None,
        })
    }
}

/// The object that the product of one of these tables writes; none if the row is of no such table.
pub(super) fn as_written(object: &Object, tables: &[Table]) -> Option<Object> {
    let table = Table::among(tables, object)?;
    let row = Fields(object);
    let written = match table {
        Table::SignIns => sign_in(row),
        Table::Audits => audit(row),
        Table::Risks => risk(row),
        Table::Activity => activity(row),
        Table::Office => office(object, row),
        Table::Alerts if is_of_graph(row) => alert_of_graph(row),
        Table::Alerts if defender_cloud::alert_in(row).is_some() => {
            defender_cloud::columns(row).map_or(Value::Null, |columns| alert(Fields(&columns)))
        }
        Table::Alerts => alert(row),
        Table::Seen => seen(row),
    };
    match written {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The value of the first of these columns that has one.
pub(super) fn first(row: Fields<'_>, columns: &[&str]) -> Value {
    columns.iter().find_map(|column| row.get(column)).cloned().unwrap_or_default()
}

/// The same of a column that holds an object or a list, also where it is written as text.
pub(super) fn inner(row: Fields<'_>, column: &str) -> Value {
    match row.get(column) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

fn sign_in(row: Fields<'_>) -> Value {
    let is_interactive = match row.string("Type") {
        Some("SigninLogs") => first(row, &["IsInteractive"]),
        _ => json!("false"),
    };
    let location = match inner(row, "LocationDetails") {
        Value::Object(location) => Value::Object(location),
        _ => json!({"countryOrRegion": first(row, &["Location"])}),
    };
    let code =
        row.number("ResultType").or_else(|| Fields(inner(row, "Status").as_object()?).number("errorCode"));
    json!({
        "createdDateTime": first(row, &["CreatedDateTime", "TimeGenerated"]),
        "userPrincipalName": first(row, &["UserPrincipalName", "ServicePrincipalName", "Identity"]),
        "appDisplayName": first(row, &["AppDisplayName", "ResourceDisplayName"]),
        "appId": row.text("AppId").unwrap_or_default(),
        "ipAddress": row.text("IPAddress").unwrap_or_default(),
        "status": {"errorCode": code.unwrap_or_default(), "failureReason": first(row, &["ResultDescription"])},
        "isInteractive": is_interactive,
        "riskLevelDuringSignIn": first(row, &["RiskLevelDuringSignIn"]),
        "conditionalAccessStatus": first(row, &["ConditionalAccessStatus"]),
        "authenticationRequirement": first(row, &["AuthenticationRequirement"]),
        "clientAppUsed": first(row, &["ClientAppUsed"]),
        "location": location,
        "deviceDetail": inner(row, "DeviceDetail"),
        "userAgent": first(row, &["UserAgent"]),
        "category": first(row, &["Type"]),
    })
}

fn audit(row: Fields<'_>) -> Value {
    json!({
        "activityDateTime": first(row, &["ActivityDateTime", "TimeGenerated"]),
        "activityDisplayName": row.first(&["OperationName", "ActivityDisplayName"]).unwrap_or_default(),
        "initiatedBy": match inner(row, "InitiatedBy") {
            Value::Object(by) => by,
            _ => Map::from_iter([("app".to_owned(), json!({"displayName": first(row, &["Identity"])}))]),
        },
        "targetResources": match inner(row, "TargetResources") {
            Value::Null => json!([]),
            targets => targets,
        },
        "result": first(row, &["Result"]),
        "resultReason": first(row, &["ResultReason", "ResultDescription"]),
        "loggedByService": first(row, &["LoggedByService"]),
        "category": first(row, &["Category"]),
    })
}

fn risk(row: Fields<'_>) -> Value {
    let properties = json!({
        "riskEventType": first(row, &["RiskEventType"]),
        "riskLevel": first(row, &["RiskLevel"]),
        "riskState": first(row, &["RiskState"]),
        "ipAddress": first(row, &["IpAddress"]),
        "userPrincipalName": first(row, &["UserPrincipalName", "ServicePrincipalDisplayName"]),
        "detectedDateTime": first(row, &["DetectedDateTime", "TimeGenerated"]),
        "activity": first(row, &["Activity"]),
    });
    json!({
        "time": first(row, &["TimeGenerated"]), "resourceId": "", "operationName": "Risk detection", "category": first(row, &["Type"]),
        "tenantId": "", "resultSignature": "", "properties": properties,
    })
}

fn activity(row: Fields<'_>) -> Value {
    json!({
        "time": first(row, &["TimeGenerated"]),
        "resourceId": row.first(&["_ResourceId", "ResourceId"]).unwrap_or_default(),
        "operationName": row.first(&["OperationNameValue", "OperationName"]).unwrap_or_default(),
        "category": row.first(&["CategoryValue", "Category"]).unwrap_or_default(),
        "resultType": row.first(&["ActivityStatusValue", "ActivityStatus"]).unwrap_or_default(),
        "resultSignature": first(row, &["ActivitySubstatusValue", "ActivitySubstatus"]),
        "callerIpAddress": row.text("CallerIpAddress").unwrap_or_default(),
        "caller": first(row, &["Caller"]),
        "claims": inner(row, "Claims"),
    })
}

fn office(object: &Object, row: Fields<'_>) -> Value {
    let mut written = object.clone();
    for (name, value) in [
        ("CreationTime", first(row, &["TimeGenerated"])),
        ("Workload", first(row, &["OfficeWorkload"])),
        ("ObjectId", first(row, &["OfficeObjectId"])),
        ("ClientIP", first(row, &["ClientIP", "Client_IPAddress"])),
        ("SiteUrl", first(row, &["Site_Url"])),
        ("RecordType", json!(row.text("RecordType").unwrap_or_default())),
        ("UserId", json!(row.text("UserId").unwrap_or_default())),
    ] {
        written.insert(name.to_owned(), value);
    }
    for name in ["Parameters", "OperationProperties", "ModifiedProperties", "ExtendedProperties"] {
        if let list @ Value::Array(_) = inner(row, name) {
            written.insert(name.to_owned(), list);
        }
    }
    Value::Object(written)
}

/// An alert with those whom it is about, of each kind the first.
fn alert(row: Fields<'_>) -> Value {
    let entities = inner(row, "Entities");
    let entities: Vec<Fields<'_>> =
        entities.as_array().into_iter().flatten().filter_map(Value::as_object).map(Fields).collect();
    let of_kind = |kind: &str| {
        entities
            .iter()
            .copied()
            .find(|entity| entity.string("Type").is_some_and(|own| own.eq_ignore_ascii_case(kind)))
    };
    let account = of_kind("account").and_then(|account| {
        let name = account.text("Name")?;
        let domain = account.text("UPNSuffix").filter(|_| !name.contains('@'));
        Some(domain.map_or_else(|| name.to_string(), |domain| format!("{name}@{domain}")))
    });
    let host = of_kind("host").and_then(|host| host.first(&["HostName", "NetBiosName"]));
    let about = row.text("CompromisedEntity");
    let is_account = |about: &Cow<'_, str>| about.contains('@');
    let tags = |column: &str| match inner(row, column) {
        Value::Array(tags) => Value::Array(tags),
        // Several stand in one text.
        _ => row.text(column).map_or(Value::Null, |text| text.split(',').map(str::trim).collect()),
    };
    let text = |value: Option<Cow<'_, str>>| value.map_or(Value::Null, |text| Value::from(text.into_owned()));
    json!({
        "time": first(row, &["StartTime", "TimeGenerated"]),
        "detectionname": first(row, &["DisplayName", "AlertName"]),
        "detectdescription": first(row, &["Description"]),
        "severity": first(row, &["AlertSeverity"]),
        "status": first(row, &["Status"]),
        "hostname": text(host.or_else(|| about.clone().filter(|about| !is_account(about)))),
        "username": account.map(Value::from).unwrap_or_else(|| text(about.filter(is_account))),
        "remoteip": text(of_kind("ip").and_then(|ip| ip.text("Address"))),
        "commandline": text(of_kind("process").and_then(|process| process.text("CommandLine"))),
        "filename": text(of_kind("file").and_then(|file| file.text("Name"))),
        "mitretactics": tags("Tactics"),
        "mitretechniques": tags("Techniques"),
    })
}

/// Whether it is an alert as Graph's security API gives it (`alerts_v2`).
fn is_of_graph(alert: Fields<'_>) -> bool {
    ["id", "title", "severity", "serviceSource", "createdDateTime"]
        .iter()
        .all(|key| alert.string(key).is_some())
        && alert.get("evidence").is_some_and(Value::is_array)
}

/// The same of such an alert, whose evidence tells of those that it is about.
fn alert_of_graph(alert: Fields<'_>) -> Value {
    let evidence: Vec<Fields<'_>> = alert.objects("evidence").collect();
    let of = |kind: &str, paths: &[&str]| {
        let such =
            evidence.iter().filter(|one| one.string("@odata.type").is_some_and(|own| own.ends_with(kind)));
        such.copied()
            .find_map(|one| one.first(paths))
            .map_or(Value::Null, |text| Value::from(text.into_owned()))
    };
    let logged_on = evidence.iter().find_map(|one| one.text("loggedOnUsers.accountName"));
    let account = match of("userEvidence", &["userAccount.userPrincipalName", "userAccount.accountName"]) {
        Value::Null => logged_on.map_or(Value::Null, |name| Value::from(name.into_owned())),
        account => account,
    };
    json!({
        "time": first(alert, &["firstActivityDateTime", "createdDateTime"]),
        "detectionname": first(alert, &["title"]),
        "detectdescription": first(alert, &["description"]),
        "severity": first(alert, &["severity"]),
        "status": first(alert, &["status"]),
        "hostname": of("deviceEvidence", &["hostName", "deviceDnsName"]),
        "username": account,
        "remoteip": of("ipEvidence", &["ipAddress"]),
        "commandline": of("processEvidence", &["processCommandLine", "imageFile.fileName"]),
        "filename": of("fileEvidence", &["fileDetails.fileName"]),
        "mitretactics": first(alert, &["category"]),
        "mitretechniques": first(alert, &["mitreTechniques"]),
    })
}

/// What Defender saw, in the Elastic Common Schema.
fn seen(row: Fields<'_>) -> Value {
    let table = row.string("Type").unwrap_or_default();
    let action = row.text("ActionType");
    let category = match table {
        "DeviceProcessEvents" => "process",
        "DeviceFileEvents" => "file",
        "DeviceNetworkEvents" => "network",
        "DeviceLogonEvents" => "authentication",
        "DeviceRegistryEvents" => "registry",
        "DeviceImageLoadEvents" => "library",
        "DeviceEvents" => "host",
        _ => "email",
    };
    let outcome = action
        .as_deref()
        .filter(|_| category == "authentication")
        .map(|action| if action.ends_with("Failed") { "failure" } else { "success" });
    let account = ["AccountUpn", "AccountName", "RecipientEmailAddress", "InitiatingProcessAccountName"];
    let file = first(row, &["FolderPath", "FileName", "RegistryKey", "Url", "Subject"]);
    json!({
        "@timestamp": first(row, &["TimeGenerated"]),
        "event": {
            "kind": "event", "category": [category], "outcome": outcome,
            "action": first(row, &["ActionType", "DeliveryAction", "Type"]),
        },
        "host": {"name": first(row, &["DeviceName"])},
        "user": {"name": first(row, &account)},
        "process": {
            "command_line": first(row, &["ProcessCommandLine", "InitiatingProcessCommandLine"]),
            "parent": {"command_line": first(row, &["InitiatingProcessCommandLine", "InitiatingProcessFileName"])},
        },
        "file": {"path": if category == "process" { Value::Null } else { file }},
        "source": {"ip": match category {
            "network" => first(row, &["LocalIP"]),
            "email" => first(row, &["SenderIPv4", "IPAddress"]),
            "authentication" => first(row, &["RemoteIP"]),
            _ => Value::Null,
        }},
        "destination": {"ip": if category == "network" { first(row, &["RemoteIP"]) } else { Value::Null },
            "port": if category == "network" { first(row, &["RemotePort"]) } else { Value::Null }},
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::record::RecordKind;
    use crate::{Endpoint, Format, Tactic};

    const SIGN_IN: &str = r#"{"TimeGenerated":"2026-06-03T12:59:31.342Z","Type":"SigninLogs","UserPrincipalName":"alice@example.com","AppDisplayName":"Azure Portal","AppId":"c44b4083-3bb0-49c1-b47d-974e53cbdf3c","IPAddress":"203.0.113.9","ResultType":"50126","ResultDescription":"Invalid username or password","LocationDetails":"{\"countryOrRegion\":\"NL\"}","UserAgent":"x"}"#;
    const ALERT: &str = r#"{"TimeGenerated":"2026-06-03T13:01:00Z","Type":"SecurityAlert","AlertName":"Suspicious process","DisplayName":"Suspicious process","AlertSeverity":"High","ProviderName":"MDATP","Status":"New","Tactics":"Execution, Persistence","Techniques":"[\"T1059\"]","CompromisedEntity":"pc7","Entities":"[{\"Type\":\"host\",\"HostName\":\"pc7\"},{\"Type\":\"account\",\"Name\":\"alice\",\"UPNSuffix\":\"example.com\"},{\"Type\":\"ip\",\"Address\":\"203.0.113.9\"}]","Description":"A process did something.","StartTime":"2026-06-03T12:59:31.342Z"}"#;

    #[test]
    fn a_row_of_sign_ins_is_the_sign_in() {
        let signed = record(SIGN_IN);
        assert_eq!((signed.kind, signed.format), (RecordKind::Log, Format::EntraId));
        assert_eq!(
            signed.message,
            "Sign-in to Azure Portal: by alice@example.com, from 203.0.113.9, failed: 50126 Invalid username or password"
        );
        assert!(signed.detail.contains("country NL"), "{}", signed.detail);
        assert_eq!(signed.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let silent = changed(
            SIGN_IN,
            &[("Type", "AADNonInteractiveUserSignInLogs".into()), ("ResultType", "0".into())],
        );
        assert!(silent.message.ends_with("from 203.0.113.9, not interactive"), "{}", silent.message);
    }

    #[test]
    fn a_row_of_alerts_is_an_alert_on_a_host_or_an_account() {
        let alert = record(ALERT);
        assert_eq!(
            (alert.kind, alert.priority, alert.format),
            (RecordKind::Alert, Some(1), Format::Detections)
        );
        assert_eq!(alert.message, "Suspicious process: A process did something.");
        assert_eq!((alert.host.as_str(), alert.account.as_str()), ("pc7", "alice@example.com"));
        assert_eq!(alert.tactics, [Tactic::Execution, Tactic::Persistence]);
        assert_eq!(alert.techniques, ["T1059"]);
        assert_eq!(alert.source, Some(Endpoint::new("203.0.113.9", None)));
        let entities = r#"[{"Type":"account","Name":"bob","UPNSuffix":"example.com"}]"#;
        let of_account =
            changed(ALERT, &[("Entities", entities.into()), ("CompromisedEntity", "bob@example.com".into())]);
        assert_eq!((of_account.kind, of_account.account.as_str()), (RecordKind::Alert, "bob@example.com"));
        assert_eq!((of_account.host.as_str(), of_account.destination), ("", None));
    }

    #[test]
    fn an_alert_of_graph_is_the_same() {
        const GRAPH: &str = r##"{"id":"aad1","status":"new","severity":"medium","classification":null,"determination":null,"serviceSource":"microsoftDefenderForEndpoint","title":"Suspicious process","description":"A process did something.","category":"Execution","mitreTechniques":["T1059"],"createdDateTime":"2026-06-03T13:05:00Z","firstActivityDateTime":"2026-06-03T12:59:31.342Z","evidence":[{"@odata.type":"#microsoft.graph.security.deviceEvidence","hostName":"pc7","loggedOnUsers":[{"accountName":"alice","domainName":"CORP"}]},{"@odata.type":"#microsoft.graph.security.ipEvidence","ipAddress":"203.0.113.9"},{"@odata.type":"#microsoft.graph.security.processEvidence","processCommandLine":"x.exe -a"}]}"##;
        let alert = record(GRAPH);
        assert_eq!(
            (alert.kind, alert.priority, alert.format),
            (RecordKind::Alert, Some(2), Format::Detections)
        );
        assert_eq!((alert.host.as_str(), alert.account.as_str()), ("pc7", "alice"));
        assert_eq!(
            (alert.process.as_str(), alert.tactics.as_slice()),
            ("x.exe -a", &[Tactic::Execution][..])
        );
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let dismissed = changed(GRAPH, &[("classification", "falsePositive".into())]);
        assert_eq!(dismissed.kind, RecordKind::Telemetry);
    }

    #[test]
    fn other_rows_are_what_their_products_write() {
        let audit = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"AuditLogs","OperationName":"Reset user password","Category":"UserManagement","Result":"success","InitiatedBy":{"user":{"userPrincipalName":"alice@example.com","ipAddress":"203.0.113.9"}},"TargetResources":[{"type":"User","userPrincipalName":"bob@example.com"}]}"#,
        );
        assert_eq!(
            audit.message,
            "Reset user password: by alice@example.com, from 203.0.113.9, User bob@example.com"
        );
        let office = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"OfficeActivity","OfficeWorkload":"Exchange","RecordType":"ExchangeAdmin","Operation":"New-InboxRule","UserId":"alice@example.com","ClientIP":"203.0.113.9:4711","ResultStatus":"True","Parameters":"[{\"Name\":\"ForwardTo\",\"Value\":\"eve@example.net\"}]"}"#,
        );
        assert_eq!((office.kind, office.format), (RecordKind::Log, Format::Microsoft365));
        assert_eq!(
            office.message,
            "New-InboxRule (Exchange): by alice@example.com, from 203.0.113.9, ForwardTo eve@example.net"
        );
        let activity = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"AzureActivity","OperationNameValue":"MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMAND/ACTION","CategoryValue":"Administrative","ActivityStatusValue":"Success","Caller":"alice@example.com","CallerIpAddress":"203.0.113.9","_ResourceId":"/subscriptions/x/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web01"}"#,
        );
        assert_eq!(
            activity.message,
            "MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMAND/ACTION: by alice@example.com, from 203.0.113.9, upon Microsoft.Compute/virtualMachines/web01"
        );
        let risk = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"AADUserRiskEvents","RiskEventType":"passwordSpray","RiskLevel":"high","RiskState":"atRisk","IpAddress":"203.0.113.9","UserPrincipalName":"alice@example.com"}"#,
        );
        assert_eq!((risk.kind, risk.priority), (RecordKind::Alert, Some(1)));
        let process = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"DeviceProcessEvents","DeviceName":"pc7.example.com","ActionType":"ProcessCreated","FileName":"whoami.exe","ProcessCommandLine":"whoami /all","AccountName":"alice","InitiatingProcessCommandLine":"cmd.exe"}"#,
        );
        assert_eq!((process.kind, process.process.as_str()), (RecordKind::Telemetry, "whoami /all"));
        let login = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"DeviceLogonEvents","DeviceName":"pc7","ActionType":"LogonFailed","AccountName":"alice","RemoteIP":"203.0.113.9"}"#,
        );
        assert_eq!((login.kind, login.source), (RecordKind::Log, Some(Endpoint::new("203.0.113.9", None))));
    }

    #[test]
    fn what_is_no_row_is_left_to_others() {
        let row: Object = serde_json::from_str(SIGN_IN).unwrap();
        assert!(as_written(&row, &[Table::Alerts]).is_none());
        for (key, value) in [("Type", "Heartbeat"), ("TimeGenerated", "")] {
            let mut other = row.clone();
            other.remove(key);
            assert!(as_written(&other, &[Table::SignIns]).is_none(), "{key}");
            other.insert(key.to_owned(), value.into());
            assert!(key != "Type" || as_written(&other, &[Table::SignIns]).is_none());
        }
    }
}
