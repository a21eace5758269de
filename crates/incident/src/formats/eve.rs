//! Suricata's EVE JSON: one object on each line. Alerts become alerts; other events become one line that says what a
//! responder would look for (names asked for, URLs, files), without ports of clients and counters, so that like
//! events fold.

use serde_json::{Map, Value};

use super::{
    MAX_ADDRESS, MAX_DETAIL, MAX_TEXT, Parsed, clean, clean_classification, clean_message, clean_protocol,
    has_ports,
};
use crate::log::drop_client_port;
use crate::{Alert, Endpoint, LogLine, Signature, Timestamp};

type Object = Map<String, Value>;

/// Reads a line that holds a JSON object, behind a syslog prefix or not, in an array or not. Nothing if it holds none.
pub(super) fn parse(line: &str) -> Option<Parsed> {
    let object = object_in(line)?;
    let Ok(Value::Object(event)) = serde_json::from_str(object) else { return None };
    let time = ["timestamp", "@timestamp", "time"]
        .into_iter()
        .find_map(|key| event.get(key)?.as_str())
        .and_then(|text| Timestamp::parse_prefix(text))
        .map(|(time, _)| time);
    let Some(event_type) = text(&event, "event_type") else {
        return Some(Parsed::Line(LogLine { time, text: clean(object, MAX_TEXT), ..LogLine::default() }));
    };
    match event.get("alert") {
        Some(Value::Object(rule)) if event_type == "alert" => Some(Parsed::Alert(alert(time, &event, rule))),
        _ if event_type == "alert" => {
            Some(Parsed::Broken(LogLine { time, text: clean(object, MAX_TEXT), ..LogLine::default() }))
        }
        _ => Some(Parsed::Event(LogLine { time, text: summary(&event, event_type), ..LogLine::default() })),
    }
}

fn object_in(line: &str) -> Option<&str> {
    let line = line.trim().trim_end_matches([',', ']']).trim_end();
    if !line.ends_with('}') {
        return None;
    }
    let start = line.trim_start_matches(['[', ',', ' ']);
    if start.starts_with('{') {
        return Some(start);
    }
    // Through syslog there is a prefix. The search is for EVE alone, so that other lines with braces stay whole.
    line.contains("\"event_type\"").then(|| line.get(line.find('{')?..)).flatten()
}

fn alert(time: Option<Timestamp>, event: &Object, rule: &Object) -> Alert {
    let number = |key| rule.get(key).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    let signature = number("signature_id").map(|sid| Signature {
        gid: number("gid").unwrap_or(1),
        sid,
        rev: number("rev").unwrap_or(0),
    });
    let protocol = clean_protocol(text(event, "proto").unwrap_or_default());
    let mut parts = details(event);
    if text(rule, "action") == Some("blocked") {
        parts.push("blocked".to_owned());
    }
    Alert {
        time,
        classification: clean_classification(text(rule, "category").unwrap_or_default()),
        priority: number("severity").and_then(|severity| u8::try_from(severity).ok()),
        source: end(event, "src_ip", "src_port", &protocol),
        destination: end(event, "dest_ip", "dest_port", &protocol),
        protocol,
        signature,
        message: clean_message(text(rule, "signature").unwrap_or_default()),
        detail: clean(&parts.join(", "), MAX_DETAIL),
        ..Alert::default()
    }
}

fn summary(event: &Object, event_type: &str) -> String {
    let mut out = format!("{event_type} event");
    let protocol = clean_protocol(text(event, "proto").unwrap_or_default());
    let mut source = end(event, "src_ip", "src_port", &protocol);
    let mut destination = end(event, "dest_ip", "dest_port", &protocol);
    drop_client_port(&mut source, &mut destination);
    if !protocol.is_empty() {
        out.push_str(&format!(" {protocol}"));
    }
    if let (Some(source), Some(destination)) = (source, destination) {
        out.push_str(&format!(" {source} -> {destination}"));
    }
    let parts = details(event);
    if !parts.is_empty() {
        out.push_str(": ");
        out.push_str(&parts.join(", "));
    }
    clean(&out, MAX_TEXT)
}

fn end(event: &Object, address: &str, port: &str, protocol: &str) -> Option<Endpoint> {
    let address = clean(text(event, address).filter(|address| !address.is_empty())?, MAX_ADDRESS);
    let port = event.get(port).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    Some(Endpoint::new(&address, port.filter(|_| has_ports(protocol))))
}

/// What an event tells about the application's side of the traffic.
fn details(event: &Object) -> Vec<String> {
    /// Parts of an event that are told, each with the fields of it that are.
    const TOLD: [(&str, &[&str]); 12] = [
        ("http", &["http_method", "status", "http_user_agent"]),
        ("tls", &["sni", "subject"]),
        ("dns", &["type", "rrname", "rrtype", "rcode"]),
        ("ssh", &["client", "server"]),
        ("smb", &["command", "share", "filename"]),
        ("ftp", &["command", "command_data"]),
        ("smtp", &["mail_from", "rcpt_to"]),
        ("fileinfo", &["filename", "size"]),
        ("anomaly", &["type", "event"]),
        ("krb5", &["msg_type", "cname", "sname"]),
        ("rdp", &["event_type", "cookie"]),
        ("flow", &["state", "reason"]),
    ];
    let mut parts = Vec::new();
    for (name, fields) in TOLD {
        let Some(part) = event.get(name).and_then(Value::as_object) else { continue };
        let mut values: Vec<String> = Vec::new();
        if name == "http" {
            values.extend(url(part));
        }
        if name == "dns" {
            values.extend(
                part.get("queries").and_then(Value::as_array).and_then(|queries| queries.first()).and_then(
                    |query| {
                        Some(format!(
                            "query {} {}",
                            plain(query.get("rrname")?)?,
                            plain(query.get("rrtype")?)?
                        ))
                    },
                ),
            );
        }
        values.extend(fields.iter().filter_map(|field| plain(part.get(*field)?)));
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join(" ")));
        }
    }
    parts
}

/// Host and path of a request. Some versions give the whole URL as the path.
fn url(http: &Object) -> Option<String> {
    let path = text(http, "url").unwrap_or_default();
    let host = text(http, "hostname").filter(|_| !path.starts_with("http")).unwrap_or_default();
    (!host.is_empty() || !path.is_empty()).then(|| format!("{host}{path}"))
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// A value as plain text: the string or number itself, a list's items, or the software version of an SSH end.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().take(4).filter_map(Value::as_str).collect();
            (!items.is_empty()).then(|| items.join(" "))
        }
        Value::Object(end) => text(end, "software_version").map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = r#"{"timestamp":"2026-06-03T12:59:31.342001+0000","flow_id":1,"event_type":"alert","src_ip":"203.0.113.9","src_port":51234,"dest_ip":"10.0.2.14","dest_port":80,"proto":"TCP","http":{"hostname":"shop.example","url":"/upload.php","http_method":"POST","status":200},"alert":{"action":"allowed","gid":1,"signature_id":2019,"rev":4,"signature":"LOCAL WEB upload","category":"Web Application Attack","severity":1}}"#;

    #[test]
    fn an_alert_event_is_read() {
        for line in
            [ALERT.to_owned(), format!("[{ALERT},"), format!("Jun  3 12:59:31 ids suricata[9]: {ALERT}")]
        {
            let Some(Parsed::Alert(alert)) = parse(&line) else { panic!("{line}") };
            assert_eq!(alert.source.unwrap().to_string(), "203.0.113.9:51234");
            assert_eq!(alert.signature.unwrap().to_string(), "1:2019:4");
            assert_eq!((alert.priority, alert.classification.as_str()), (Some(1), "Web Application Attack"));
            assert_eq!(alert.detail, "http shop.example/upload.php POST 200");
            assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
        }
    }

    #[test]
    fn other_events_are_summarised_without_the_clients_port() {
        let line = r#"{"timestamp":"2026-06-03T12:59:31Z","event_type":"dns","src_ip":"10.0.2.14","src_port":51234,"dest_ip":"10.0.2.53","dest_port":53,"proto":"UDP","dns":{"type":"query","rrname":"c2.example.net","rrtype":"A"}}"#;
        let Some(Parsed::Event(event)) = parse(line) else { panic!() };
        assert_eq!(event.text, "dns event UDP 10.0.2.14 -> 10.0.2.53:53: dns query c2.example.net A");
    }

    #[test]
    fn odd_values_do_no_harm() {
        for line in [
            r#"{"event_type":"alert"}"#,
            r#"{"event_type":"alert","alert":{}}"#,
            r#"{"event_type":"alert","src_port":"x","alert":{"severity":999,"signature_id":-1}}"#,
            r#"{"event_type":7}"#,
            r#"{"event_type":"dns","dns":{"queries":[]}}"#,
        ] {
            assert!(parse(line).is_some(), "{line}");
        }
        assert_eq!(parse("{not json}"), None);
        assert_eq!(parse("plain"), None);
        assert_eq!(parse(&"[{\"a\":".repeat(100_000)), None);
    }
}
