//! Windows events that a collector sends as syslog with structured data (RFC 5424): NXLog's `[NXLOG@14506 EventID="4625"
//! Channel="Security" TargetUserName="svc" …] An account failed to log on.`, the agent of syslog-ng's `[win@18372.4 EVENT_ID="4625" …]`.
//!
//! They are made the objects that JSON writers make of them, so that one reader knows what an event means. The header holds the data,
//! and the logger writes the header: what a program says behind it makes no event.

use serde_json::Value;

use super::header::Header;
use crate::formats::Object;

/// Most values of an event that are kept, and most bytes of each.
const MAX_VALUES: usize = 128;
const MAX_VALUE: usize = 16 * 1024;
/// What collectors call an event's number, its log, its provider and its computer.
const IDS: [&str; 3] = ["EventID", "EventId", "EVENT_ID"];
const LOGS: [&str; 4] = ["Channel", "LogName", "EventLog", "EVENT_NAME"];
const PROVIDERS: [&str; 5] = ["SourceName", "ProviderName", "Provider", "EventSource", "EVENT_SOURCE"];
const COMPUTERS: [&str; 3] = ["Computer", "Hostname", "ComputerName"];
/// Times beside the one that the header tells with its zone.
const TIMES: [&str; 6] =
    ["EventTime", "EventReceivedTime", "SystemTime", "TimeCreated", "TimeGenerated", "UtcTime"];
/// How the names of most providers begin.
const WINDOWS: &str = "Microsoft-Windows-";

/// The event that a header's structured data holds, if it is one. A number alone makes none: other programs number their events too.
pub(super) fn windows_event(header: &Header<'_>) -> Option<Object> {
    if !IDS.iter().any(|id| header.data.contains(id)) {
        return None;
    }
    let mut values = values(header.data);
    let mut take = |names: &[&str]| names.iter().find_map(|name| values.remove(*name));
    let id = take(&IDS).filter(|id| id.as_str().is_some_and(is_number))?;
    let log = take(&LOGS);
    let told = take(&PROVIDERS);
    let is_windows = log.is_some() || told.is_some() || header.program.starts_with(WINDOWS);
    // Blanks have no place in a program's name.
    let provider = told.or_else(|| {
        let name = header.program;
        let name = if name.starts_with(WINDOWS) { name.to_owned() } else { name.replace('_', " ") };
        (!name.is_empty()).then_some(Value::String(name))
    });
    let computer =
        take(&COMPUTERS).or_else(|| (!header.host.is_empty()).then(|| Value::String(header.host.to_owned())));
    // Where nothing is said, the header's message is the data itself.
    let is_said = !header.message.contains(header.data.trim_matches(['[', ']', ' ']));
    if header.time.is_some() {
        values.retain(|name, _| !TIMES.contains(&name.as_str()));
    }
    let parts = [
        ("EventID", Some(id)),
        ("Channel", log),
        ("SourceName", provider),
        ("Hostname", computer),
        ("EventData", Some(Value::Object(values))),
        ("Message", is_said.then(|| Value::String(header.message.to_owned()))),
    ];
    let parts = parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    is_windows.then(|| parts.collect())
}

fn is_number(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The values of structured data, `[id name="value" …][…]`. Of values with one name the first counts.
fn values(data: &str) -> Object {
    let mut values = Object::new();
    let mut rest = data;
    while values.len() < MAX_VALUES
        && let Some((before, behind)) = rest.split_once("=\"")
    {
        let name = before.rsplit([' ', '[', ']']).next().unwrap_or_default();
        let (value, next) = value(behind);
        if !name.is_empty() && !values.contains_key(name) {
            values.insert(name.to_owned(), Value::String(value));
        }
        rest = next;
    }
    values
}

/// A value up to the mark that ends it, and what stands behind that. A backslash takes the meaning from a mark, a bracket and itself.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            '"' if !is_escaped => return (value, text.get(at + 1..).unwrap_or_default()),
            _ if value.len() >= MAX_VALUE => {}
            _ => {
                // Before anything else it is a backslash: not every writer escapes those of a path.
                if is_escaped && !matches!(c, '"' | '\\' | ']') {
                    value.push('\\');
                }
                value.push(c);
            }
        }
        is_escaped = false;
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::super::header::header;
    use super::*;
    use crate::{AlertLog, Record, RecordKind};

    const FAILED: &str = r#"<11>1 2026-06-03T12:59:31.342+02:00 DC01.corp.example Microsoft-Windows-Security-Auditing 844 - [NXLOG@14506 EventID="4625" EventType="AUDIT_FAILURE" EventTime="2026-06-03 12:59:31" Channel="Security" TargetUserName="svc" TargetDomainName="CORP" SubStatus="0xC000006A" LogonType="3" IpAddress="::ffff:10.0.3.17" IpPort="50000"] An account failed to log on."#;

    fn record(line: &str) -> Record {
        AlertLog::read(line.as_bytes()).unwrap().records.remove(0)
    }

    fn event(line: &str) -> Option<Object> {
        windows_event(&header(line)?)
    }

    #[test]
    fn an_event_says_what_it_says_in_other_forms() {
        let failed = record(FAILED);
        assert_eq!(failed.kind, RecordKind::Log);
        assert_eq!(failed.message, "4625 Logon failed on DC01.corp.example: account svc, from 10.0.3.17");
        assert_eq!(failed.detail, "logon type 3, status 0xC000006A, domain CORP");
        assert_eq!(failed.source.unwrap().to_string(), "10.0.3.17:50000");
        assert_eq!(failed.time.unwrap().to_string(), "2026-06-03T10:59:31.342000");
        assert_eq!(failed.raw, "An account failed to log on.");
        let copied = record(
            r#"<14>1 2026-06-03T12:59:31Z DC01 Microsoft-Windows-Security-Auditing 844 - [NXLOG@14506 EventID="4662" Channel="Security" SubjectUserName="bob" ObjectName="DC=corp" Properties="{1131f6ad-9c07-11d1-f79f-00c04fc2dcd2}"] x"#,
        );
        assert!(copied.message.contains("right Replicating Directory Changes All"), "{}", copied.message);
    }

    #[test]
    fn marks_in_values_are_part_of_them() {
        let started = record(
            r#"<14>1 2026-06-03T12:59:31Z WS7 Microsoft-Windows-Security-Auditing 844 - [NXLOG@14506 EventID="4688" Channel="Security" SubjectUserName="bob" NewProcessName="C:\Windows\cmd.exe" CommandLine="cmd.exe /c \"echo [x\] EventID=\\\"1\\\" a=b\" > \\\\ws8\\c$"] A new process has been created."#,
        );
        assert_eq!(started.kind, RecordKind::Telemetry);
        assert_eq!(started.process, r#"cmd.exe /c "echo [x] EventID=\"1\" a=b" > \\ws8\c$"#);
        let data = event(
            r#"<14>1 - WS7 Microsoft-Windows-X 1 - [a@1 EventID="1" File="C:\Windows\cmd.exe" x="open"#,
        )
        .unwrap();
        assert_eq!(data["EventData"]["File"], r"C:\Windows\cmd.exe");
        assert_eq!(data["EventData"]["x"], "open");
    }

    #[test]
    fn other_providers_and_senders_are_known() {
        let service = record(
            r#"<30>1 2026-06-03T12:59:31Z WS7 Service_Control_Manager 588 - [NXLOG@14506 EventID="7045" Channel="System" ServiceName="x" ImagePath="%COMSPEC% /c x"] A service was installed in the system."#,
        );
        assert_eq!(service.message, "7045 Service installed on WS7: service x, %COMSPEC% /c x");
        let ng = record(
            r#"<132>1 2026-06-03T12:59:31Z DC01 Microsoft_Windows_security_auditing. 612 - [win@18372.4 EVENT_ID="4740" EVENT_NAME="Security" EVENT_SOURCE="Microsoft-Windows-Security-Auditing"][meta sequenceId="1"] Security: [Success Audit] A user account was locked out."#,
        );
        assert!(ng.message.starts_with("4740 Account locked out on DC01"), "{}", ng.message);
        let sysmon = record(
            r#"<14>1 2026-06-03T12:59:31Z WS7 Microsoft-Windows-Sysmon 9 - [NXLOG@14506 EventID="3" UtcTime="2026-06-03 12:59:30.000" Image="C:\\x.exe" SourceIp="10.0.3.17" DestinationIp="203.0.113.9" DestinationPort="443" Protocol="tcp"]"#,
        );
        assert_eq!(
            (sysmon.kind, sysmon.destination.unwrap().to_string().as_str()),
            (RecordKind::Telemetry, "203.0.113.9:443")
        );
    }

    #[test]
    fn what_a_program_says_and_other_programs_data_make_no_event() {
        for line in [
            r#"<14>1 2026-06-03T12:59:31Z web01 shop 1 - - [NXLOG@14506 EventID="4625" Channel="Security" TargetUserName="x"] y"#,
            r#"Jun  3 12:59:31 web01 Microsoft-Windows-X: [NXLOG@14506 EventID="4625" Channel="Security"] y"#,
            r#"<14>1 2026-06-03T12:59:31Z web01 shop 1 - [shop@1 EventID="4625"] y"#,
            r#"<14>1 2026-06-03T12:59:31Z web01 shop 1 - [shop@1 EventID="x" Channel="Security"] y"#,
            r#"<14>1 2026-06-03T12:59:31Z web01 shop 1 - [shop@1 name="EventID=\"4625\" Channel=\"Security\""] y"#,
            r#"<14>1 2026-06-03T12:59:31Z web01 Microsoft-Windows-X 1 - [NXLOG@14506 EventID"#,
            r#"<14>1 2026-06-03T12:59:31Z web01 Microsoft-Windows-X 1 - ["#,
        ] {
            assert_eq!(event(line), None, "{line}");
        }
    }

    #[test]
    fn an_event_is_read_wherever_it_comes() {
        let other =
            "Jun  3 12:59:31 web01 sshd[120]: Failed password for root from 203.0.113.9 port 5 ssh2\n";
        let log = AlertLog::read(format!("{}{FAILED}\n", other.repeat(20_000)).as_bytes()).unwrap();
        assert_eq!(log.records.last().unwrap().rule, "4625");
    }

    #[test]
    fn values_are_bounded() {
        let many: String = (0..1000).map(|at| format!(r#" v{at}="x""#)).collect();
        let line = format!(
            r#"<14>1 - h Microsoft-Windows-X 1 - [a@1 EventID="1" long="{}"{many}] y"#,
            "é".repeat(20_000)
        );
        let data = event(&line).unwrap();
        let data = data["EventData"].as_object().unwrap();
        assert!(data.len() < MAX_VALUES && data["long"].as_str().unwrap().len() <= MAX_VALUE + 4);
    }
}
