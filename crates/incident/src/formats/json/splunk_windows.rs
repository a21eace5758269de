//! Windows events that Splunk took apart: each value under the label that the event's text has for it (`Account_Name`,
//! `Source_Network_Address`), or, of events that came as XML, under its own name. The row becomes the object that other collectors write,
//! so that one reader knows what each event means.
//!
//! Invariant: what a row becomes holds the row's own values alone, under other names.

use std::borrow::Cow;

use serde_json::Value;

use super::Object;
use super::fields::Fields;
use super::splunk::is_notable;

/// What the text calls a value, and the event itself. Where the event has one value under several labels, the first that is there counts.
const NAMES: [(&str, &str); 40] = [
    ("Logon_Type", "LogonType"),
    ("Source_Network_Address", "IpAddress"),
    ("Client_Address", "IpAddress"),
    ("src_ip", "IpAddress"),
    ("Source_Port", "IpPort"),
    ("Client_Port", "IpPort"),
    ("Source_Address", "SourceAddress"),
    ("Destination_Address", "DestAddress"),
    ("Destination_Port", "DestPort"),
    ("Application_Name", "Application"),
    ("Workstation_Name", "WorkstationName"),
    ("Source_Workstation", "Workstation"),
    ("Caller_Computer_Name", "Workstation"),
    ("Target_Server_Name", "TargetServerName"),
    ("Sub_Status", "SubStatus"),
    ("Result_Code", "Status"),
    ("Error_Code", "Status"),
    ("Failure_Code", "FailureCode"),
    ("New_Process_Name", "NewProcessName"),
    ("Process_Command_Line", "CommandLine"),
    ("Creator_Process_Name", "ParentProcessName"),
    ("Parent_Process_Name", "ParentProcessName"),
    ("Process_Name", "ProcessName"),
    ("Service_Name", "ServiceName"),
    ("Service_File_Name", "ImagePath"),
    ("Task_Name", "TaskName"),
    ("Share_Name", "ShareName"),
    ("Relative_Target_Name", "RelativeTargetName"),
    ("Object_Name", "ObjectName"),
    ("Member_Name", "MemberName"),
    ("Target_Account_Name", "TargetUserName"),
    ("Target_User_Name", "TargetUserName"),
    ("Logon_Account", "TargetUserName"),
    ("Group_Name", "TargetUserName"),
    ("Target_Account_Domain", "TargetDomainName"),
    ("Threat_Name", "Threat Name"),
    ("Name_of_Threat", "Threat Name"),
    ("Severity", "Severity Name"),
    ("Category", "Category Name"),
    ("Detection_User", "Detection User"),
];
/// Names that events have for their values, of which any shows that the values need not be looked for in the text.
const OWN: [&str; 7] = [
    "TargetUserName",
    "SubjectUserName",
    "IpAddress",
    "CommandLine",
    "Image",
    "ScriptBlockText",
    "ServiceName",
];

/// Whether an object is such an event: Splunk's own word for the kind of source, and the event's number.
pub(super) fn is_event(object: &Object) -> bool {
    let fields = Fields(object);
    log(fields).is_some() && number(fields).is_some() && !is_notable(object)
}

/// The object that other collectors write of it; none if it is no such event.
pub(super) fn as_written(object: &Object) -> Option<Object> {
    let fields = Fields(object);
    let (log, id) = (log(fields)?, number(fields)?);
    let mut event = object.clone();
    let mut set = |name: &str, value: Option<Cow<'_, str>>| {
        if let Some(value) = value.filter(|_| !event.contains_key(name)) {
            event.insert(name.to_owned(), Value::from(value.into_owned()));
        }
    };
    set("EventID", Some(Cow::Owned(id.to_string())));
    set("Channel", fields.text("LogName").or(Some(Cow::Borrowed(log)).filter(|log| !log.is_empty())));
    set("ComputerName", fields.first(&["Computer", "dvc", "host"]));
    set("EventTime", fields.text("_time"));
    set("Provider", fields.text("Name").map(unquoted).filter(|name| name.starts_with("Microsoft-Windows-")));
    let mut has_values = OWN.iter().any(|name| fields.has(name));
    for (label, name) in NAMES {
        let value = fields.text(label).and_then(|value| lines(value).pop());
        has_values |= value.is_some();
        set(name, value);
    }
    let (subject, target) = accounts(fields, id);
    has_values |= subject.is_some() || target.is_some();
    set("TargetUserName", target.or_else(|| fields.text("user").filter(|_| !has_values)));
    set("SubjectUserName", subject);
    set("TargetDomainName", fields.texts("Account_Domain").pop().and_then(|domain| lines(domain).pop()));
    // Then they stand in the text alone, as with those who number the values.
    let is_told = fields.string("Message").is_some_and(|text| text.trim_end().contains('\n'));
    set("Id", Some(Cow::Owned(id.to_string())).filter(|_| is_told && !has_values));
    if fields.string("User") == Some("NOT_TRANSLATED") {
        event.remove("User");
    }
    Some(event)
}

/// The log that an event is of, as Splunk's word for its source says (`WinEventLog:Security`); empty where that does not.
fn log(fields: Fields<'_>) -> Option<&str> {
    let mut named = ["source", "sourcetype"].into_iter().filter_map(|key| {
        let text = fields.string(key)?;
        let text = text
            .get(..3)
            .filter(|head| head.eq_ignore_ascii_case("xml"))
            .map_or(Some(text), |_| text.get(3..))?;
        let (head, rest) = text.split_at_checked("WinEventLog".len())?;
        let log = rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))?;
        head.eq_ignore_ascii_case("WinEventLog").then_some(log)
    });
    let first = named.next()?;
    Some(if first.is_empty() { named.next().unwrap_or(first) } else { first })
}

fn number(fields: Fields<'_>) -> Option<u64> {
    fields.number("EventCode").or_else(|| fields.number("EventID"))
}

/// Who acts and who is acted upon. The text has both under the same label, one behind the other; of a logon it has at times only the one
/// who logs on.
fn accounts(fields: Fields<'_>, id: u64) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    let mut names: Vec<Cow<'_, str>> = fields.texts("Account_Name").into_iter().flat_map(lines).collect();
    let is_logon = matches!(id, 4624 | 4625 | 4634 | 4647 | 4768..=4771 | 4776 | 4778 | 4779);
    let target = names.pop_if(|_| is_logon).or_else(|| if names.len() > 1 { names.pop() } else { None });
    (names.into_iter().next(), target)
}

/// The values of a field that has several, each on a line where a table has room for one alone.
fn lines(value: Cow<'_, str>) -> Vec<Cow<'_, str>> {
    if !value.contains('\n') {
        return vec![value];
    }
    let lines = value.lines().map(str::trim).filter(|line| !matches!(*line, "" | "-"));
    lines.map(|line| Cow::Owned(line.to_owned())).collect()
}

/// Splunk leaves the quotation marks of XML's attributes around their values.
fn unquoted(value: Cow<'_, str>) -> Cow<'_, str> {
    match value.trim_matches(['\'', '"']) {
        bare if bare.len() < value.len() => Cow::Owned(bare.to_owned()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;
    use crate::record::RecordKind;

    const FAILED: &str = r#"{"_time":"2026-06-03T12:59:31.342+00:00","index":"win","host":"DC01","source":"WinEventLog:Security","sourcetype":"WinEventLog","EventCode":"4625","ComputerName":"DC01.corp.example","Message":"An account failed to log on.","Account_Name":["-","svc"],"Account_Domain":["-","CORP"],"Logon_Type":"3","Source_Network_Address":"10.0.3.17","Source_Port":"50000","Sub_Status":"0xC000006A"}"#;

    fn event(id: &str, log: &str, more: &[(&str, Value)]) -> crate::Record {
        let text = format!(
            r#"{{"_time":"2026-06-03T12:59:31.342+00:00","host":"DC01","source":"WinEventLog:{log}","sourcetype":"WinEventLog:{log}","EventCode":{id},"ComputerName":"DC01"}}"#
        );
        changed(&text, more)
    }

    #[test]
    fn an_event_says_what_it_says_of_other_collectors() {
        for text in [
            FAILED.to_owned(),
            FAILED.replace(r#"["-","svc"]"#, r#""-\nsvc""#),
            FAILED.replace(r#"["-","svc"]"#, r#""svc""#),
            r#"{"_time":"2026-06-03T12:59:31.342+00:00","source":"XmlWinEventLog:Security","sourcetype":"XmlWinEventLog","Name":"'Microsoft-Windows-Security-Auditing'","EventID":"4625","Computer":"DC01.corp.example","TargetUserName":"svc","TargetDomainName":"CORP","LogonType":"3","IpAddress":"10.0.3.17","IpPort":"50000","SubStatus":"0xC000006A"}"#.to_owned(),
            r#"{"_time":"2026-06-03T12:59:31.342+00:00","source":"WinEventLog:Security","sourcetype":"WinEventLog:Security","EventCode":4625,"ComputerName":"DC01.corp.example","Message":"An account failed to log on.\n\nSubject:\n\tAccount Name:\t\t-\n\nLogon Type:\t\t3\n\nAccount For Which Logon Failed:\n\tAccount Name:\t\tsvc\n\nNetwork Information:\n\tSource Network Address:\t10.0.3.17\n\tSource Port:\t\t50000\n"}"#.to_owned(),
        ] {
            let record = record(&text);
            assert_eq!(record.message, "4625 Logon failed on DC01.corp.example: account svc, from 10.0.3.17", "{text}");
            assert_eq!(record.source, Some(Endpoint::new("10.0.3.17", Some(50000))), "{text}");
            assert_eq!((record.kind, record.sensor.as_str()), (RecordKind::Log, "Microsoft-Windows-Security-Auditing"));
            assert!(record.detail.starts_with("logon type 3"), "{text}");
            assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000", "{text}");
        }
    }

    #[test]
    fn who_acts_is_told_from_whom_it_is_done_to() {
        let created = event("4720", "Security", &[("Account_Name", serde_json::json!(["root", "new"]))]);
        assert_eq!((created.account.as_str(), created.detail.as_str()), ("new", "by root"));
        let created = event(
            "4720",
            "Security",
            &[("Account_Name", "root".into()), ("Target_Account_Name", "new".into())],
        );
        assert_eq!((created.account.as_str(), created.detail.as_str()), ("new", "by root"));
        let started = event(
            "4688",
            "Security",
            &[("Account_Name", serde_json::json!(["bob", "-"])), ("Process_Command_Line", "x.exe -a".into())],
        );
        assert_eq!((started.kind, started.account.as_str()), (RecordKind::Telemetry, "bob"));
        assert_eq!(started.process, "x.exe -a");
        let locked = event(
            "4740",
            "Security",
            &[("Target_Account_Name", "bob".into()), ("Caller_Computer_Name", "PC7".into())],
        );
        assert_eq!(locked.message, "4740 Account locked out on DC01: account bob, from PC7");
        let found = event(
            "1117",
            "Microsoft-Windows-Windows Defender/Operational",
            &[
                ("Threat_Name", "Trojan:Win32/Invented".into()),
                ("Severity", "Severe".into()),
                ("User", "CORP\\bob".into()),
            ],
        );
        assert_eq!((found.kind, found.priority, found.account.as_str()), (RecordKind::Alert, Some(1), "bob"));
        let installed = event(
            "7045",
            "System",
            &[("Service_Name", "x".into()), ("Service_File_Name", "c:\\x.exe".into())],
        );
        assert_eq!(installed.message, "7045 Service installed on DC01: service x, c:\\x.exe");
    }

    #[test]
    fn other_rows_are_none() {
        for text in [
            r#"{"sourcetype":"linux_secure","source":"/var/log/secure","EventCode":"4625","host":"web01"}"#,
            r#"{"sourcetype":"WinEventLog","source":"WinEventLog:Security","host":"web01"}"#,
            r#"{"sourcetype":"xmlé","source":"é","EventCode":"1"}"#,
        ] {
            assert!(!is_event(&serde_json::from_str(text).unwrap()), "{text}");
        }
    }
}
