//! Microsoft Sentinel's `CommonSecurityLog`: what firewalls and other appliances sent as CEF, with a column for each key. A row becomes
//! the event that the line was, so that one place says what each means.

use super::super::text::CefEvent;
use super::fields::Fields;
use super::{Envelope, Format, MAX_RAW, Object, ObjectFormat, Record, as_text, clean};

/// See the module.
pub(crate) const COMMON_SECURITY: ObjectFormat = ObjectFormat { format: Format::Cef, recognises, read };

/// Columns and the keys of CEF that they stand for. Where two columns stand for one key, the first that has a value counts.
const COLUMNS: [(&str, &str); 29] = [
    ("SourceIP", "src"),
    ("SourcePort", "spt"),
    ("SourceHostName", "shost"),
    ("SourceUserName", "suser"),
    ("SourceUserID", "suid"),
    ("SourceProcessName", "sproc"),
    ("DestinationIP", "dst"),
    ("DestinationPort", "dpt"),
    ("DestinationHostName", "dhost"),
    ("DestinationUserName", "duser"),
    ("DestinationUserID", "duid"),
    ("DestinationProcessName", "dproc"),
    ("ProcessName", "deviceProcessName"),
    ("DeviceCustomIPv6Address2", "c6a2"),
    ("DeviceCustomIPv6Address3", "c6a3"),
    ("Protocol", "proto"),
    ("ApplicationProtocol", "app"),
    ("DeviceAction", "act"),
    ("SimplifiedDeviceAction", "act"),
    ("EventOutcome", "outcome"),
    ("DeviceEventCategory", "cat"),
    ("Message", "msg"),
    ("RequestURL", "request"),
    ("FilePath", "filePath"),
    ("FileName", "fname"),
    ("DeviceName", "dvchost"),
    ("DeviceAddress", "dvc"),
    ("Computer", "dvc"),
    ("ThreatDescription", "msg"),
];
/// Keys that are taken from the text of those that have no column, and how many of its pairs are looked at.
const ADDITIONAL: [&str; 4] = ["cat", "outcome", "app", "request"];
const MAX_ADDITIONAL: usize = 64;

fn recognises(object: &Object) -> bool {
    let row = Fields(object);
    row.string("Type") == Some("CommonSecurityLog") && row.string("TimeGenerated").is_some()
        // Exports and queries may leave the table's name out.
        || ["DeviceVendor", "DeviceProduct", "LogSeverity"].iter().all(|column| row.has(column))
            && row.has("TimeGenerated")
            && !row.has("Type")
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let row = Fields(object);
    let text = |column: &str| row.text(column).unwrap_or_default();
    let (name, rule) = (text("Activity"), text("DeviceEventClassID"));
    if name.is_empty() && rule.is_empty() && !row.has("Message") {
        return None;
    }
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (column, key) in COLUMNS {
        if let Some(value) = row.text(column) {
            pairs.push((key, value.into_owned()));
        }
    }
    // `cat=threat;outcome=failure`, keys that not every version has a column for. Who takes part stands in columns alone: a value may
    // hold what looks like another pair.
    let additional = row.string("AdditionalExtensions").unwrap_or_default();
    let additional = additional.split(';').filter_map(|pair| pair.split_once('=')).take(MAX_ADDITIONAL);
    let additional = additional.filter(|(key, _)| ADDITIONAL.contains(&key.trim()));
    pairs.extend(additional.map(|(key, value)| (key.trim(), value.trim().to_owned())));
    let vendor = text("DeviceVendor");
    let product = text("DeviceProduct");
    let severity = text("LogSeverity");
    let event = CefEvent {
        vendor: &vendor,
        product: &product,
        rule: &rule,
        name: if name.is_empty() { &rule } else { &name },
        severity: &severity,
        pairs,
    };
    let mut record = event.record(envelope);
    if record.message.is_empty() {
        record.message.clone_from(&record.detail);
    }
    // The row's time names its zone; what the device wrote seldom does.
    record.time = row.time(&["TimeGenerated", "EndTime", "StartTime"]).or(record.time);
    record.raw = clean(&as_text(object), MAX_RAW);
    Some(record)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Endpoint;
    use crate::record::{RecordKind, SensorVerdict};

    const ROW: &str = r#"{"TimeGenerated":"2026-06-03T12:59:31.342Z","Type":"CommonSecurityLog","Computer":"collector01","DeviceVendor":"Palo Alto Networks","DeviceProduct":"PAN-OS","DeviceName":"fw01","DeviceEventClassID":"end","Activity":"TRAFFIC","LogSeverity":"1","DeviceAction":"allow","SourceIP":"203.0.113.9","SourcePort":51234,"DestinationIP":"10.0.2.14","DestinationPort":443,"Protocol":"tcp","ApplicationProtocol":"ssl","Message":"end tcp-fin"}"#;

    #[test]
    fn traffic_is_telemetry_unless_it_is_refused() {
        let passed = record(ROW);
        assert_eq!((passed.kind, passed.priority), (RecordKind::Telemetry, None));
        assert_eq!(passed.message, "TRAFFIC allow ssl TCP 203.0.113.9 -> 10.0.2.14:443");
        assert_eq!((passed.host.as_str(), passed.sensor.as_str()), ("fw01", "Palo Alto Networks PAN-OS"));
        assert_eq!(passed.source, Some(Endpoint::new("203.0.113.9", Some(51234))));
        assert_eq!(passed.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        let refused = changed(
            ROW,
            &[("DeviceAction", "deny".into()), ("ApplicationProtocol", "not-applicable".into())],
        );
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(refused.message, "TRAFFIC deny TCP 203.0.113.9 -> 10.0.2.14:443");
    }

    #[test]
    fn a_threat_has_its_name_and_its_products_severity() {
        let threat = |severity: &str, action: &str, message: &str| {
            changed(
                ROW,
                &[
                    ("Activity", "THREAT".into()),
                    ("DeviceEventClassID", "vulnerability".into()),
                    ("LogSeverity", severity.into()),
                    ("DeviceAction", action.into()),
                    ("Message", message.into()),
                ],
            )
        };
        let read = threat("4", "reset-both", "SSH User Authentication Brute Force Attempt(40015)");
        assert_eq!((read.kind, read.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(read.message, "SSH User Authentication Brute Force Attempt");
        assert_eq!((read.rule.as_str(), read.verdict), ("40015", Some(SensorVerdict::Blocked)));
        assert_eq!(threat("2", "drop", "A scanner(57955)").priority, Some(3));
        let seen = threat("1", "alert", "URL category news: x.example/");
        assert_eq!((seen.kind, seen.priority), (RecordKind::Telemetry, None));
        assert_eq!(seen.message, "vulnerability alert URL category news: x.example/");
        assert_eq!(threat("1", "block-url", "x.example/").kind, RecordKind::Log);
    }

    #[test]
    fn what_a_cisco_firewall_says_is_read_as_its_line() {
        const ASA: &str = r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"CommonSecurityLog","DeviceVendor":"Cisco","DeviceProduct":"ASA","DeviceName":"vpn01","DeviceEventClassID":"113015","Activity":"AAA user authentication Rejected","LogSeverity":"6","SourceIP":"203.0.113.9","SourceUserName":"bob","Message":"%ASA-6-113015: AAA user authentication Rejected : reason = Invalid password : local database : user = bob : user IP = 203.0.113.9"}"#;
        let failed = record(ASA);
        assert_eq!((failed.kind, failed.priority), (RecordKind::Log, None));
        assert!(
            failed.message.starts_with("AAA user authentication Rejected : reason"),
            "{}",
            failed.message
        );
        assert_eq!((failed.account.as_str(), failed.rule.as_str()), ("bob", "113015"));
        assert_eq!((failed.source.unwrap().address.as_str(), failed.destination), ("203.0.113.9", None));
        let bare = changed(ASA, &[("Message", Value::Null)]);
        assert_eq!((bare.kind, bare.message.as_str()), (RecordKind::Log, "AAA user authentication Rejected"));
        let came = changed(
            ASA,
            &[
                ("DeviceEventClassID", "113039".into()),
                (
                    "Message",
                    "%ASA-6-113039: Group <staff> User <bob> IP <203.0.113.9> AnyConnect parent session started."
                        .into(),
                ),
            ],
        );
        assert!(came.message.starts_with("VPN session opened: Group <staff>"), "{}", came.message);
        assert_eq!((came.account.as_str(), came.host.as_str()), ("bob", "vpn01"));
    }

    #[test]
    fn other_appliances_are_read_as_their_lines_of_cef_are() {
        let alert = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"CommonSecurityLog","DeviceVendor":"Example","DeviceProduct":"IPS","DeviceEventClassID":"9900030","Activity":"SSH guessing","LogSeverity":"8","DeviceAction":"blocked","SourceIP":"203.0.113.9","DestinationIP":"10.0.2.11","DestinationPort":"22","AdditionalExtensions":"cat=bruteforce;x;suser=root;src=6.6.6.6"}"#,
        );
        assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((alert.message.as_str(), alert.classification.as_str()), ("SSH guessing", "bruteforce"));
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!((alert.source.unwrap().address.as_str(), alert.account.as_str()), ("203.0.113.9", ""));
        let login = record(
            r#"{"TimeGenerated":"2026-06-03T12:59:31Z","Type":"CommonSecurityLog","DeviceVendor":"Example","DeviceProduct":"VPN","DeviceEventClassID":"7","Activity":"User login","LogSeverity":"Low","EventOutcome":"failure","SourceIP":"203.0.113.9","DestinationUserName":"bob"}"#,
        );
        assert_eq!((login.kind, login.message.as_str()), (RecordKind::Log, "User login failure"));
        assert_eq!(login.account, "bob");
    }

    #[test]
    fn what_is_no_row_or_half_of_one_is_survived() {
        for text in [
            r#"{"Type":"CommonSecurityLog"}"#,
            r#"{"Type":"Heartbeat","TimeGenerated":"2026-06-03T12:59:31Z","Message":"x"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!recognises(&object), "{text}");
        }
        let row: Object =
            serde_json::from_str(r#"{"Type":"CommonSecurityLog","TimeGenerated":"2026-06-03T12:59:31Z"}"#)
                .unwrap();
        assert!(recognises(&row));
        assert_eq!(read(&row, &Envelope::default()), None);
        let half = changed(ROW, &[("SourceIP", Value::from(7)), ("Activity", Value::Null)]);
        assert_eq!(half.kind, RecordKind::Log);
    }
}
