//! Windows events: as winlogbeat writes them (ECS), EVTX files made JSON (`Event.System`, `Event.EventData`), and flat forms
//! (NXLog, collections of events, PowerShell's `Get-WinEvent | ConvertTo-Json`, Splunk's fields).
//!
//! Sysmon and the Security log's processes, objects and connections are telemetry; the antivirus raises alerts; the rest
//! are logs. Windows' own levels say how an event is logged and not how bad it is, so that only the antivirus sets a
//! severity.

use std::borrow::Cow;
use std::net::IpAddr;

use serde_json::Value;

use super::fields::{self, Fields};
use super::windows_events::{self, DEFENDER, SECURITY, SYSMON};
use super::{
    Draft, Envelope, Format, Object, ObjectFormat, Record, ecs, is_notable, listed, splunk_windows, tags,
    told, traffic,
};
use crate::record::{RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

/// See the module.
pub(crate) const WINDOWS_EVENT: ObjectFormat =
    ObjectFormat { format: Format::WindowsEvent, recognises, read };

fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    let is_foreign = ["RuleTitle", "rule_level", "document", "event_type", "class_uid"]
        .iter()
        .any(|key| object.contains_key(*key));
    let is_one = || !is_foreign && !ecs::is_detection(fields) && Event::of(fields).is_some();
    !is_notable(object) && (splunk_windows::is_event(object) || is_one())
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let of_splunk = splunk_windows::as_written(object);
    let object = of_splunk.as_ref().unwrap_or(object);
    let fields = Fields(object);
    let event = Event::of(fields)?;
    let mut draft = Draft { time: event.time, raw: event.text.map(Cow::Borrowed), ..Draft::default() };
    event.fill(&mut draft);
    if fields.has("winlog") || fields.has("@timestamp") {
        ecs::complete(fields, &mut draft);
    }
    event.name(&mut draft);
    Some(draft.finish(Format::WindowsEvent, object, envelope))
}

/// An event, whatever wrote it as JSON.
#[derive(Clone, Debug)]
pub(super) struct Event<'a> {
    provider: Cow<'a, str>,
    id: u64,
    computer: Option<Cow<'a, str>>,
    pub(super) time: Option<Timestamp>,
    data: Data<'a>,
    /// The event in the words of its provider, where a collector has rendered them.
    text: Option<&'a str>,
}

/// Where an event's own values stand.
#[derive(Clone, Debug)]
enum Data<'a> {
    Named(Fields<'a>),
    /// `[{"#attributes":{"Name":"Image"},"#text":"…"}]`, the way of some XML readers.
    Listed(&'a [Value]),
    /// Only in the rendered text.
    Absent,
}

impl<'a> Event<'a> {
    /// The event that an object is, if it is one.
    pub(super) fn of(fields: Fields<'a>) -> Option<Event<'a>> {
        if let Some(event) = fields.object("Event") {
            return Event::of_xml(event);
        }
        // What Wazuh's agent sends, without what its manager puts around.
        if let Some(win) = fields.object("win") {
            return Event::of_wazuh(win);
        }
        // Elastic's agent may leave the event's number to the common schema.
        let code = || fields.number("event.code").filter(|_| fields.has("winlog.channel"));
        if let Some(id) = fields.number("winlog.event_id").or_else(code) {
            return Some(Event {
                provider: fields
                    .first(&["winlog.provider_name", "event.provider"])
                    .or_else(|| provider_of(fields.string("winlog.channel")?).map(Cow::Borrowed))
                    .unwrap_or_default(),
                id,
                computer: fields.first(&["winlog.computer_name", "host.name"]),
                time: fields.time(&["@timestamp", "event.created"]),
                data: Data::of(fields.get("winlog.event_data").or_else(|| fields.get("winlog.user_data"))),
                text: fields.string("message"),
            });
        }
        if let Some(id) =
            fields.number("event_id").filter(|_| fields.has("log_name") && fields.has("computer_name"))
        {
            // winlogbeat up to 6.
            return Some(Event {
                provider: fields.first(&["source_name", "provider_name"]).unwrap_or_default(),
                id,
                computer: fields.text("computer_name"),
                time: fields.time(&["@timestamp"]),
                data: Data::of(fields.get("event_data").or_else(|| fields.get("user_data"))),
                text: fields.string("message"),
            });
        }
        let provider = ["SourceName", "ProviderName", "Provider", "Provider_Name"]
            .iter()
            .find_map(|key| fields.string(key));
        // The text form calls the Security log's provider by its title.
        let provider =
            provider.map(|name| if name == "Microsoft Windows security auditing." { SECURITY } else { name });
        let log = ["Channel", "LogName", "EventLog"].iter().find_map(|key| fields.string(key));
        let id = ["EventID", "EventId"].iter().find_map(|key| fields.number(key));
        let id = id.or_else(|| fields.number("Id").filter(|_| provider.is_some()))?;
        let computer = fields.first(&["Computer", "Hostname", "MachineName", "ComputerName"]);
        // One of them may be missing, but a number alone is no event.
        if [provider.is_some(), log.is_some(), computer.is_some()].iter().filter(|has| **has).count() < 2 {
            return None;
        }
        Some(Event {
            provider: provider.or_else(|| provider_of(log?)).map(Cow::Borrowed).unwrap_or_default(),
            id,
            computer,
            time: fields.time(&[
                "SystemTime",
                "EventTime",
                "TimeCreated",
                "TimeGenerated",
                "@timestamp",
                "UtcTime",
            ]),
            // PowerShell numbers the values and names them only in the text.
            data: match Data::of(fields.get("EventData")) {
                Data::Absent if fields.has("Properties") || fields.has("Id") => Data::Absent,
                Data::Absent => Data::Named(fields),
                data => data,
            },
            text: fields.string("Message").or_else(|| fields.string("message")),
        })
    }

    fn of_xml(event: Fields<'a>) -> Option<Event<'a>> {
        let system = event.object("System")?;
        let attribute = |of: &str, name: &str| {
            ["#attributes.", "@", "", "_attributes."].iter().find_map(|form| match *form {
                "_attributes." => system.text(&format!("{of}_attributes.{name}")),
                form => system.text(&format!("{of}.{form}{name}")),
            })
        };
        let id = system.number("EventID").or_else(|| system.number("EventID.#text"))?;
        let time = [
            "TimeCreated.#attributes.SystemTime",
            "TimeCreated_attributes.SystemTime",
            "TimeCreated.@SystemTime",
        ];
        Some(Event {
            provider: attribute("Provider", "Name").unwrap_or_default(),
            id,
            computer: system.text("Computer"),
            time: system.time(&time).or_else(|| system.time(&["TimeCreated.SystemTime", "TimeCreated"])),
            data: Data::of(event.get("EventData").or_else(|| {
                // Events of some providers wrap their values once more, under a name of their own.
                let data = event.get("UserData")?;
                data.as_object().and_then(|data| data.values().find(|value| value.is_object())).or(Some(data))
            })),
            text: event.string("RenderingInfo.Message"),
        })
    }

    /// The event that Wazuh's agent puts under `data.win`.
    pub(super) fn of_wazuh(win: Fields<'a>) -> Option<Event<'a>> {
        Some(Event {
            provider: win.text("system.providerName").unwrap_or_default(),
            id: win.number("system.eventID")?,
            computer: win.text("system.computer"),
            time: win.time(&["system.systemTime"]),
            data: Data::of(win.get("eventdata")),
            text: win.string("system.message"),
        })
    }

    /// Takes what the event says, without a message.
    pub(super) fn fill(&self, draft: &mut Draft<'a>) {
        let value = |names: &[&str]| names.iter().find_map(|name| self.value(name));
        let (_, kind) = windows_events::event(&self.provider, self.id);
        draft.kind = kind;
        draft.sensor = self.provider.clone();
        draft.host = self.computer.clone().unwrap_or_default();
        draft.rule = Cow::Owned(self.id.to_string());
        draft.account =
            value(&["TargetUserName", "User", "SubjectUserName", "AccountName", "Detection User"])
                .map(without_domain)
                .unwrap_or_default();
        draft.process =
            value(&["CommandLine", "ProcessCommandLine", "ScriptBlockText", "ImagePath", "ServiceFileName"])
                .or_else(|| value(&["Image", "NewProcessName", "SourceImage", "ProcessName", "Process Name"]))
                .or_else(|| value(&["Application"]))
                .unwrap_or_default();
        draft.file = value(&["TargetFilename", "ImageLoaded", "TargetObject", "TargetImage", "PipeName"])
            .or_else(|| value(&["RelativeTargetName", "ObjectName", "ShareName", "Path"]))
            .unwrap_or_default();
        draft.protocol = value(&["Protocol"]).filter(|text| text.len() <= 8).unwrap_or_default();
        self.fill_ends(draft);
        draft.detail = Cow::Owned(listed([
            told("logon type", value(&["LogonType"])),
            told("status", value(&["SubStatus"]).or_else(|| value(&["Status", "FailureCode"]))),
            told("domain", value(&["TargetDomainName"])),
            told("by", value(&["SubjectUserName"]).filter(|by| *by != draft.account)),
            told("parent", value(&["ParentCommandLine", "ParentImage", "ParentProcessName"])),
            told("answer", value(&["QueryResults"])),
            told("value", value(&["Details"])),
            told("", value(&["Hashes"])),
        ]));
        if let Some(rule) = value(&["RuleName"]) {
            // The way of sysmon-modular: `technique_id=T1059.001,technique_name=PowerShell`.
            draft.tags.take_all(rule.split(',').filter_map(|part| part.trim().strip_prefix("technique_id=")));
        }
        draft.verdict = match self.id {
            5157 | 5152 => Some(SensorVerdict::Blocked),
            5156 => Some(SensorVerdict::Allowed),
            27 | 28 if windows_events::is_sysmon(&self.provider) => Some(SensorVerdict::Blocked),
            1007 | 1117 | 1121 | 1123 if self.provider == DEFENDER => Some(SensorVerdict::Blocked),
            _ => None,
        };
        if self.provider == DEFENDER {
            draft.priority = value(&["Severity Name"]).and_then(|word| tags::severity(&word));
            draft.classification = value(&["Category Name"]).unwrap_or_default();
        }
    }

    fn fill_ends(&self, draft: &mut Draft<'a>) {
        let end = |addresses: &[&str], ports: &[&str]| {
            let address =
                addresses.iter().find_map(|name| self.value(name).filter(|text| fields::is_name(text)))?;
            let port = ports.iter().find_map(|name| self.value(name)?.parse().ok()).filter(|port| *port != 0);
            Some(fields::end(&address, port)).filter(is_elsewhere)
        };
        let names = |end: Endpoint| end.address != self.short_computer();
        draft.source =
            end(&["IpAddress", "SourceIp", "SourceAddress", "ClientAddress"], &["IpPort", "SourcePort"])
                // Remote desktop's events name neither, only numbered values.
                .or_else(|| end(&["Address", "Param3"], &[]).filter(|end| end.ip().is_some()))
                .or_else(|| end(&["WorkstationName", "Workstation"], &[]).filter(|end| names(end.clone())));
        draft.destination = end(&["DestinationIp", "DestAddress"], &["DestinationPort", "DestPort"]);
        let computer = self.computer.as_deref().filter(|name| fields::is_name(name));
        match (self.id, computer) {
            // Somebody elsewhere logs on to this computer.
            (4624 | 4625 | 4768..=4771 | 4776 | 4778 | 21 | 25 | 1149, Some(computer))
                if draft.source.is_some() && !windows_events::is_sysmon(&self.provider) =>
            {
                draft.destination = Some(fields::end(computer, None));
            }
            // Somebody on this computer logs on elsewhere.
            (4648, Some(computer)) => {
                let target = end(&["TargetServerName"], &[]).filter(|end| names(end.clone()));
                if target.is_some() {
                    (draft.source, draft.destination) = (Some(fields::end(computer, None)), target);
                }
            }
            _ => {}
        }
    }

    /// Gives the draft a message that stands by itself.
    pub(super) fn name(&self, draft: &mut Draft<'_>) {
        let value = |name: &str| self.value(name);
        let title = match windows_events::event(&self.provider, self.id).0 {
            Some(title) => Cow::Borrowed(title),
            None if self.provider.is_empty() || self.provider == SECURITY => {
                windows_events::title_anywhere(self.id).map_or_else(|| self.own_title(), Cow::Borrowed)
            }
            None => self.own_title(),
        };
        let mut message = format!("{} {title}", self.id);
        if draft.kind == RecordKind::Alert {
            message = titled_threat(&title, value("Threat Name"));
        } else if let Some(computer) = &self.computer {
            message.push_str(&format!(" on {computer}"));
        }
        let is_connection = draft.kind == RecordKind::Telemetry && draft.destination.is_some();
        let from = draft.source.as_ref().filter(|_| !is_connection).map(|end| end.address.as_str());
        let to = draft.destination.as_ref().filter(|_| self.id == 4648).map(|end| end.address.as_str());
        let ends = is_connection
            .then(|| traffic(&draft.protocol, draft.source.as_ref(), draft.destination.as_ref()));
        let facts = if draft.kind == RecordKind::Alert {
            String::new()
        } else {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            listed([
                told("account", some(&draft.account)),
                told("from", from),
                told("to", to),
                ends,
                told("service", value("ServiceName").filter(|_| matches!(self.id, 4697 | 7000..=7045))),
                told("task", value("TaskName")),
                told("member", value("MemberName").or_else(|| value("MemberSid"))),
                told(
                    "right",
                    value("Properties").and_then(|rights| replication(&rights)).filter(|_| self.id == 4662),
                ),
                told("", value("QueryName")),
                told("", some(&draft.process)),
                told("file", some(&draft.file)),
            ])
        };
        draft.message = Cow::Owned(super::titled(&message, &facts));
    }

    fn own_title(&self) -> Cow<'a, str> {
        let line =
            self.text.and_then(|text| text.lines().next()).map(str::trim).filter(|line| !line.is_empty());
        match line {
            Some(line) => Cow::Owned(crate::text::shorten(line.trim_end_matches('.'), 120).into_owned()),
            None if self.provider.is_empty() => Cow::Borrowed("Windows event"),
            None => Cow::Owned(format!("event of {}", self.provider)),
        }
    }

    /// Whether an end is the computer that writes.
    pub(super) fn is_on(&self, end: &Endpoint) -> bool {
        self.computer.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&end.address))
    }

    fn short_computer(&self) -> String {
        self.computer.as_deref().and_then(|name| name.split('.').next()).unwrap_or_default().to_owned()
    }

    fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        match &self.data {
            Data::Named(fields) => named(*fields, name),
            Data::Listed(items) => {
                items.iter().take(128).filter_map(Value::as_object).map(Fields).find_map(|item| {
                    let key = item.first(&["#attributes.Name", "@Name", "Name"])?;
                    (key == name).then(|| item.first(&["#text", "Value", "text"]))?
                })
            }
            // A right stands on a line of its own there.
            Data::Absent if name == "Properties" => self.text.map(Cow::Borrowed),
            Data::Absent if name == "ScriptBlockText" => self.script().map(Cow::Borrowed),
            Data::Absent => Some(Cow::Borrowed(rendered(self.text?, &self.label(name)?)?)),
        }
    }

    /// The script that PowerShell's text quotes between its first line and the script's number.
    fn script(&self) -> Option<&'a str> {
        let (_, script) = self.text?.split_once('\n').filter(|_| self.id == 4104)?;
        let script = script.rsplit_once("\nScriptBlock ID:").map_or(script, |(script, _)| script).trim();
        Some(script).filter(|script| !script.is_empty())
    }

    /// What the rendered text calls a value. Only the text of a logon or a connection names an address: in others, command lines are
    /// free text.
    fn label(&self, name: &str) -> Option<Cow<'static, str>> {
        if windows_events::is_sysmon(&self.provider) {
            let is_end =
                ["SourceIp", "SourcePort", "DestinationIp", "DestinationPort", "Protocol"].contains(&name);
            return (self.id == 3 || !is_end).then(|| Cow::Owned(format!("{name}:")));
        }
        let is_logon = matches!(self.id, 4624 | 4625 | 4768..=4771 | 4776 | 4778 | 4779);
        Some(Cow::Borrowed(match name {
            "IpAddress" if is_logon => "Source Network Address:",
            "IpPort" if is_logon => "Source Port:",
            "ClientAddress" if is_logon => "Client Address:",
            "WorkstationName" if is_logon => "Workstation Name:",
            "TargetUserName" => "Account Name:",
            "ServiceName" => "Service Name:",
            "ImagePath" => "Service File Name:",
            "LogonType" => "Logon Type:",
            "CommandLine" => "Process Command Line:",
            "NewProcessName" => "New Process Name:",
            "TaskName" => "Task Name:",
            "ObjectName" => "Object Name:",
            _ => return None,
        }))
    }
}

impl<'a> Data<'a> {
    fn of(value: Option<&'a Value>) -> Data<'a> {
        match value {
            Some(Value::Object(object)) => match object.get("Data") {
                Some(Value::Array(items)) if items.iter().any(Value::is_object) => Data::Listed(items),
                _ => Data::Named(Fields(object)),
            },
            Some(Value::Array(items)) => Data::Listed(items),
            _ => Data::Absent,
        }
    }
}

/// A value by its name, which Wazuh begins with a small letter.
fn named<'a>(fields: Fields<'a>, name: &str) -> Option<Cow<'a, str>> {
    // Without a look for dots: names of values have none.
    let value = fields.0.get(name).or_else(|| {
        let (first, rest) = name.split_at_checked(1)?;
        fields.0.get(&format!("{}{rest}", first.to_ascii_lowercase()))
    })?;
    fields::scalar(value).or_else(|| fields::scalar(value.get("#text")?))
}

/// The last value that the text gives behind a label at a line's start: what was acted upon stands behind who did it.
fn rendered<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines()
        .take(128)
        .filter_map(|line| line.trim().strip_prefix(label))
        .map(str::trim)
        .last()
        .filter(|value| !matches!(*value, "" | "-"))
}

/// The right to copy a directory's secrets, among those that an operation on it used. The XML form names rights by their numbers, the
/// text by their names, one a line.
fn replication(rights: &str) -> Option<&'static str> {
    const RIGHTS: [(&str, &str); 3] = [
        ("1131f6ad-9c07-11d1-f79f-00c04fc2dcd2", "Replicating Directory Changes All"),
        ("89e95b76-444d-4c62-991a-0facbeda640c", "Replicating Directory Changes In Filtered Set"),
        ("1131f6aa-9c07-11d1-f79f-00c04fc2dcd2", "Replicating Directory Changes"),
    ];
    let rights = rights.to_ascii_lowercase();
    let is_used = |(number, name): &&(&str, &str)| {
        rights.contains(number) || rights.contains(&name.to_ascii_lowercase())
    };
    RIGHTS.iter().find(is_used).map(|(_, name)| *name)
}

/// The provider of the only events that a log holds.
fn provider_of(log: &str) -> Option<&'static str> {
    match log {
        "Security" => Some(SECURITY),
        "Microsoft-Windows-Sysmon/Operational" => Some(SYSMON),
        "Microsoft-Windows-Windows Defender/Operational" => Some(DEFENDER),
        "Microsoft-Windows-PowerShell/Operational" => Some("Microsoft-Windows-PowerShell"),
        "Microsoft-Windows-TaskScheduler/Operational" => Some("Microsoft-Windows-TaskScheduler"),
        "Microsoft-Windows-TerminalServices-LocalSessionManager/Operational" => {
            Some("Microsoft-Windows-TerminalServices-LocalSessionManager")
        }
        "Microsoft-Windows-TerminalServices-RemoteConnectionManager/Operational" => {
            Some("Microsoft-Windows-TerminalServices-RemoteConnectionManager")
        }
        _ => None,
    }
}

fn titled_threat(title: &str, threat: Option<Cow<'_, str>>) -> String {
    super::titled(title, &threat.unwrap_or_default())
}

fn without_domain(name: Cow<'_, str>) -> Cow<'_, str> {
    match name.rsplit_once('\\') {
        Some((_, bare)) => Cow::Owned(bare.to_owned()),
        None => name,
    }
}

/// Whether an end is another computer than the one that writes; `LOCAL` and the loopback are not.
fn is_elsewhere(end: &Endpoint) -> bool {
    match end.address.parse::<IpAddr>() {
        Ok(ip) => !ip.is_loopback() && !ip.is_unspecified(),
        Err(_) => !matches!(end.address.to_ascii_lowercase().as_str(), "local" | "localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    const LOGON: &str = r#"{"@timestamp":"2026-06-03T12:59:31.342Z","event":{"code":"4625","provider":"Microsoft-Windows-Security-Auditing"},"host":{"name":"DC01"},"message":"An account failed to log on.\n\nSubject:\n\tAccount Name:\t\t-\n","winlog":{"channel":"Security","computer_name":"DC01.corp.example","event_id":"4625","event_data":{"IpAddress":"::ffff:10.0.3.17","IpPort":"50000","LogonType":"3","TargetUserName":"svc-backup","TargetDomainName":"CORP","SubStatus":"0xc000006a"},"provider_name":"Microsoft-Windows-Security-Auditing"}}"#;

    #[test]
    fn a_failed_logon_of_winlogbeat_keeps_who_whence_and_where() {
        let record = record(LOGON);
        assert_eq!((record.kind, record.priority), (RecordKind::Log, None));
        assert_eq!(
            record.message,
            "4625 Logon failed on DC01.corp.example: account svc-backup, from 10.0.3.17"
        );
        assert_eq!(record.source, Some(Endpoint::new("10.0.3.17", Some(50000))));
        assert_eq!((record.account.as_str(), record.host.as_str()), ("svc-backup", "DC01.corp.example"));
        assert_eq!(record.detail, "logon type 3, status 0xc000006a, domain CORP");
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        assert!(record.raw.starts_with("An account failed to log on."));
    }

    #[test]
    fn the_same_event_of_every_writer_says_the_same() {
        let data = r#""TargetUserName":"svc","IpAddress":"10.0.3.17","IpPort":"50000","LogonType":3"#;
        for text in [
            format!(
                r##"{{"Event":{{"#attributes":{{}},"System":{{"Provider":{{"#attributes":{{"Name":"Microsoft-Windows-Security-Auditing"}}}},"EventID":4625,"TimeCreated":{{"#attributes":{{"SystemTime":"2026-06-03T12:59:31.342000Z"}}}},"Channel":"Security","Computer":"DC01"}},"EventData":{{{data}}}}}}}"##
            ),
            format!(
                r##"{{"Event":{{"System":{{"Provider_attributes":{{"Name":"Microsoft-Windows-Security-Auditing"}},"EventID":{{"#text":"4625"}},"TimeCreated_attributes":{{"SystemTime":"2026-06-03T12:59:31.342000Z"}},"Computer":"DC01"}},"EventData":{{{data}}}}}}}"##
            ),
            r##"{"Event":{"System":{"Provider":{"@Name":"Microsoft-Windows-Security-Auditing"},"EventID":"4625","TimeCreated":{"@SystemTime":"2026-06-03T12:59:31.342Z"},"Computer":"DC01"},"EventData":{"Data":[{"@Name":"TargetUserName","#text":"svc"},{"@Name":"IpAddress","#text":"10.0.3.17"},{"@Name":"IpPort","#text":"50000"},{"@Name":"LogonType","#text":"3"}]}}}"##.to_owned(),
            format!(
                r#"{{"EventTime":"2026-06-03 12:59:31.342","Hostname":"DC01","EventID":4625,"SourceName":"Microsoft-Windows-Security-Auditing","Channel":"Security",{data}}}"#
            ),
            r#"{"Id":4625,"ProviderName":"Microsoft-Windows-Security-Auditing","LogName":"Security","MachineName":"DC01","TimeCreated":"/Date(1780491571342)/","Message":"An account failed to log on.\r\n\r\nSubject:\r\n\tAccount Name:\t\t-\r\n\r\nLogon Type:\t\t3\r\n\r\nAccount For Which Logon Failed:\r\n\tAccount Name:\t\tsvc\r\n\r\nNetwork Information:\r\n\tSource Network Address:\t10.0.3.17\r\n\tSource Port:\t\t50000\r\n"}"#.to_owned(),
        ] {
            let record = record(&text);
            assert_eq!(record.message, "4625 Logon failed on DC01: account svc, from 10.0.3.17", "{text}");
            assert_eq!(record.source, Some(Endpoint::new("10.0.3.17", Some(50000))), "{text}");
            assert_eq!(record.detail, "logon type 3", "{text}");
            assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000", "{text}");
        }
    }

    #[test]
    fn sysmon_is_telemetry_and_the_antivirus_raises_alerts() {
        let connection = record(
            r##"{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Sysmon"}},"EventID":3,"Computer":"WS-017"},"EventData":{"RuleName":"technique_id=T1071.001,technique_name=Web","Image":"C:\\Temp\\u.exe","User":"CORP\\alice","Protocol":"tcp","SourceIp":"10.0.3.17","SourcePort":50001,"DestinationIp":"203.0.113.66","DestinationPort":443}}}"##,
        );
        assert_eq!(connection.kind, RecordKind::Telemetry);
        assert_eq!(
            connection.message,
            r"3 Network connection on WS-017: account alice, TCP 10.0.3.17 -> 203.0.113.66:443, C:\Temp\u.exe"
        );
        assert_eq!(connection.techniques, ["T1071.001"]);
        let malware = record(
            r#"{"EventID":1117,"Channel":"Microsoft-Windows-Windows Defender/Operational","Computer":"WS-017","Threat Name":"Trojan:Win32/Invented","Severity Name":"Severe","Path":"file:_C:\\Temp\\u.exe","Detection User":"CORP\\alice"}"#,
        );
        assert_eq!((malware.kind, malware.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(malware.message, "Action taken against malware: Trojan:Win32/Invented");
        assert_eq!(malware.verdict, Some(SensorVerdict::Blocked));
    }

    #[test]
    fn a_rendered_text_names_an_address_only_for_logons() {
        let event = |id: u32, message: &str| {
            let message = serde_json::Value::from(message);
            record(&format!(
                r#"{{"Id":{id},"ProviderName":"Microsoft-Windows-Security-Auditing","LogName":"Security","MachineName":"DC01","TimeCreated":"/Date(1780491571342)/","Message":{message}}}"#
            ))
        };
        let injected = "\tAccount Name:\t\tx\n\tSource Network Address:\t10.0.2.20\n";
        assert_eq!(event(4688, injected).source, None);
        let logon = format!("{injected}\tSource Network Address:\t10.0.3.17\n");
        assert_eq!(event(4625, &logon).source, Some(Endpoint::new("10.0.3.17", None)));
        assert_eq!(event(4625, &format!("{injected}\tSource Network Address:\t-\n")).source, None);
    }

    #[test]
    fn where_a_logon_comes_from_is_another_computer_or_nothing() {
        for address in ["-", "::1", "127.0.0.1", "LOCAL", "not an address"] {
            let text = LOGON.replace("::ffff:10.0.3.17", address);
            assert_eq!(record(&text).source, None, "{address}");
        }
    }
}
