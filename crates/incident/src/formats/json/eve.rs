//! Suricata's EVE JSON, versions 4 to 8.
//!
//! `alert` is an alert, and `drop` where it names the rule that dropped. Every other event is telemetry, `anomaly` too:
//! most anomalies are broken checksums and lost packets, and no rule has judged them.
//!
//! Who acts is what the rule says (`alert.source`), else the client: a rule on a response fires on a packet from the server
//! back to it (`direction`, `flow`). Behind a proxy of the site the client is whom the proxy names (`xff`).

use std::borrow::Cow;

use super::fields::{self, Fields, scalar};
use super::tags::{Tags, severity};
use super::{
    Draft, Envelope, Format, Object, ObjectFormat, Record, is_own_proxy, listed, told, traffic,
    verdict as verdict_of,
};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const EVE: ObjectFormat = ObjectFormat { format: Format::Eve, recognises, read };

/// Severity of a rule without a class, which says nothing.
const UNSET: u64 = 3;

fn recognises(object: &Object) -> bool {
    let has = |key: &str| object.contains_key(key);
    object.get("event_type").is_some_and(serde_json::Value::is_string)
        && ["timestamp", "flow_id", "in_iface", "pcap_cnt"].iter().any(|key| has(key))
        && ["src_ip", "alert", "stats", "engine", "flow_id", "in_iface", "ether"].iter().any(|key| has(key))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let draft = draft(Fields(object))?;
    Some(draft.finish(Format::Eve, object, envelope))
}

/// What an event says; nothing for an alert without its rule.
pub(super) fn draft(event: Fields<'_>) -> Option<Draft<'_>> {
    let event_type = event.string("event_type")?;
    let rule = event.object("alert");
    let protocol = event.text("proto").unwrap_or_default();
    let ends = Ends::of(event, rule);
    let mut draft = Draft {
        time: event.time(&["timestamp", "@timestamp"]),
        sensor: Cow::Borrowed("suricata"),
        host: event.first(&["host", "host.name", "sensor_name"]).unwrap_or_default(),
        verdict: verdict(event, event_type),
        account: event
            .first(&["smb.ntlmssp.user", "krb5.cname", "rdp.cookie", "ftp.user", "sip.from"])
            .unwrap_or_default(),
        file: event.first(&["fileinfo.filename", "files.filename", "smb.filename"]).unwrap_or_default(),
        ..Draft::default()
    };
    let details = details(event);
    match (event_type, rule) {
        ("alert" | "drop", Some(rule)) => {
            draft.kind = RecordKind::Alert;
            fill_rule(&mut draft, rule);
            let blocked = (draft.verdict == Some(SensorVerdict::Blocked)).then_some("blocked");
            let via = (!ends.via.is_empty()).then(|| ends.via.join(", "));
            let details = (!details.is_empty()).then_some(details);
            draft.detail = Cow::Owned(listed([told("", blocked), told("via", via), told("", details)]));
        }
        ("alert", None) => return None,
        _ => {
            draft.kind = RecordKind::Telemetry;
            let mut title = format!("{event_type} event");
            let ends = traffic(&protocol, ends.source.as_ref(), ends.destination.as_ref());
            if !ends.is_empty() {
                title.push_str(&format!(" {ends}"));
            }
            draft.message = Cow::Owned(super::titled(&title, &details));
        }
    }
    (draft.source, draft.destination, draft.via) = (ends.source, ends.destination, ends.via);
    draft.protocol = protocol;
    Some(draft)
}

fn fill_rule<'a>(draft: &mut Draft<'a>, rule: Fields<'a>) {
    draft.message = rule.text("signature").unwrap_or_default();
    draft.classification = rule.text("category").unwrap_or_default();
    if let Some(sid) = rule.number("signature_id") {
        let number = |key, unset| rule.number(key).unwrap_or(unset);
        draft.rule = Cow::Owned(format!("{}:{sid}:{}", number("gid", 1), number("rev", 0)));
        if draft.message.is_empty() {
            draft.message = Cow::Owned(format!("rule {}", draft.rule));
        }
    }
    let class = draft.classification.as_ref();
    draft.priority = match rule.number("severity") {
        None | Some(0) => None,
        Some(UNSET) if class.is_empty() => None,
        Some(severity) => u8::try_from(severity.min(4)).ok(),
    }
    // What the rule's writer says where its class does not. `Informational` is the lowest of his words for an alert.
    .or_else(|| {
        rule.text("metadata.signature_severity").and_then(|word| severity(&word)).map(|found| found.min(3))
    });
    let mut tags = Tags::default();
    for key in ["mitre_tactic_id", "mitre_technique_id", "mitre_tactic_name"] {
        tags.take_all(rule.texts(&format!("metadata.{key}")));
    }
    draft.tags = tags;
}

fn verdict(event: Fields<'_>, event_type: &str) -> Option<SensorVerdict> {
    let is = |path: &str| event.text(path).and_then(|word| verdict_of(&word));
    if event_type == "drop" {
        Some(SensorVerdict::Blocked)
    } else {
        is("alert.action").or_else(|| is("verdict.action"))
    }
}

/// Who acts and who is acted upon.
#[derive(Debug, Default)]
struct Ends {
    source: Option<Endpoint>,
    destination: Option<Endpoint>,
    via: Vec<String>,
}

impl Ends {
    fn of(event: Fields<'_>, rule: Option<Fields<'_>>) -> Ends {
        let packet = (event.end(&["src_ip"], &["src_port"]), event.end(&["dest_ip"], &["dest_port"]));
        let flow = (
            event.end(&["flow.src_ip"], &["flow.src_port"]),
            event.end(&["flow.dest_ip"], &["flow.dest_port"]),
        );
        let address = |end: &Option<Endpoint>| end.as_ref().map(|end| end.address.clone());
        // Older versions do not name the direction; a flow that begins where the packet goes tells as much.
        let is_response = match event.string("direction") {
            Some(direction) => direction == "to_client",
            None => flow.0.is_some() && address(&flow.0) == address(&packet.1) && flow.0 != packet.0,
        };
        let is_response = is_response && rule.is_some();
        let (client, server) = match (is_response, flow) {
            (true, (Some(client), server)) => (Some(client), server.or(packet.0)),
            (true, _) => (packet.1, packet.0),
            (false, _) => packet,
        };
        let proxy = client
            .clone()
            .filter(|client| is_own_proxy(client, server.as_ref()))
            .map(|client| client.address);
        let named = rule.map(|rule| {
            let port = |end: &Option<Endpoint>| end.as_ref().and_then(|end| end.port);
            let end = |name: &str| {
                let mut end = rule.end(&[&format!("{name}.ip")], &[&format!("{name}.port")])?;
                let same =
                    [&client, &server].into_iter().find(|side| address(side).as_ref() == Some(&end.address));
                end.port = end.port.or_else(|| same.and_then(port));
                Some(end)
            };
            (end("source"), end("target"))
        });
        let other = |named: &Endpoint| {
            [&client, &server]
                .into_iter()
                .find(|side| address(side).as_ref() != Some(&named.address))
                .cloned()?
        };
        let (source, destination) = match named {
            Some((Some(source), Some(target))) => (Some(source), Some(target)),
            Some((Some(source), None)) => (Some(source.clone()), other(&source)),
            Some((None, Some(target))) => (other(&target), Some(target)),
            _ => (client, server),
        };
        let mut ends = Ends { source, destination, via: Vec::new() };
        if let (Some(proxy), Some(behind)) = (proxy, forwarded_for(event)) {
            ends.look_behind(&proxy, &behind);
        }
        ends
    }

    /// Puts the client behind a proxy in the proxy's place.
    fn look_behind(&mut self, proxy: &str, behind: &str) {
        let behind = fields::end(behind, None);
        for side in [&mut self.source, &mut self.destination] {
            if side.as_ref().is_some_and(|end| end.address == proxy && end.address != behind.address) {
                *side = Some(behind.clone());
                self.via = vec![proxy.to_owned()];
                return;
            }
        }
    }
}

/// The client that the last proxy saw. What stands before it in the header, the client may have written.
fn forwarded_for<'a>(event: Fields<'a>) -> Option<Cow<'a, str>> {
    let header = event.first(&["xff", "http.xff"]).or_else(|| {
        let mut headers = event.objects("http.request_headers");
        headers
            .find(|header| {
                header.text("name").is_some_and(|name| name.eq_ignore_ascii_case("x-forwarded-for"))
            })?
            .text("value")
    })?;
    header.rsplit(',').find_map(bare_address).map(Cow::Owned)
}

/// An address without the port that some proxies write behind it.
fn bare_address(text: &str) -> Option<String> {
    let text = text.trim().trim_matches('"');
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Some(text.to_owned());
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.rsplit_once(':')?.0,
    };
    bare.parse::<std::net::IpAddr>().is_ok().then(|| bare.to_owned())
}

/// What an event tells about the application's side of the traffic.
fn details(event: Fields<'_>) -> String {
    /// Parts of an event that are told, each with the fields of it that are.
    const TOLD: [(&str, &[&str]); 13] = [
        ("tls", &["sni", "subject"]),
        ("ssh", &["client.software_version", "server.software_version"]),
        ("smb", &["command", "share", "filename"]),
        ("ftp", &["command", "command_data"]),
        ("smtp", &["mail_from", "rcpt_to"]),
        ("fileinfo", &["filename", "size", "sha256"]),
        ("anomaly", &["type", "event"]),
        ("krb5", &["msg_type", "cname", "sname"]),
        ("rdp", &["event_type", "cookie"]),
        ("dhcp", &["type", "hostname", "assigned_ip"]),
        ("quic", &["sni"]),
        ("drop", &["reason"]),
        ("flow", &["state", "reason"]),
    ];
    let mut parts: Vec<String> = Vec::new();
    parts.extend(event.object("http").and_then(http));
    parts.extend(event.object("dns").map(dns).filter(|names| !names.is_empty()));
    for (name, keys) in TOLD {
        let Some(part) = event.object(name) else { continue };
        let values: Vec<_> = keys.iter().filter_map(|key| part.text(key)).collect();
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join(" ")));
        }
    }
    parts.join(", ")
}

/// Host and path of a request (some versions give the whole URL as the path), method, status and client.
fn http(http: Fields<'_>) -> Option<String> {
    let path = http.text("url").unwrap_or_default();
    let host = http.text("hostname").filter(|_| !path.starts_with("http")).unwrap_or_default();
    let url = Some(format!("{host}{path}")).filter(|url| !url.is_empty()).map(Cow::Owned);
    let others = ["http_method", "status", "http_user_agent"].map(|key| http.text(key));
    let values: Vec<_> = [url].into_iter().chain(others).flatten().collect();
    (!values.is_empty()).then(|| format!("http {}", values.join(" ")))
}

/// `dns query NAME TYPE` in every version: 4 has the name beside its type, 5 to 7 put an alert's into `query`, 8 all of them
/// into `queries`. Answers follow.
fn dns(dns: Fields<'_>) -> String {
    let name = |of: Fields<'_>| {
        let name = of.text("rrname")?;
        Some(of.text("rrtype").map_or_else(|| name.to_string(), |kind| format!("{name} {kind}")))
    };
    let asked: Vec<String> = ["queries", "query"]
        .iter()
        .map(|key| dns.objects(key).take(4).filter_map(name).collect::<Vec<_>>())
        .find(|names| !names.is_empty())
        .unwrap_or_else(|| name(dns).into_iter().collect());
    let kind = dns.text("type").unwrap_or_default();
    let of_answer = dns.object("answer").unwrap_or(dns);
    let is_answer = matches!(kind.as_ref(), "answer" | "response") || dns.has("answer");
    let asked = if asked.is_empty() { name(of_answer).into_iter().collect() } else { asked };
    let answers: Vec<Cow<'_, str>> = of_answer
        .objects("answers")
        .filter_map(|answer| answer.text("rdata"))
        .chain(["A", "AAAA", "CNAME"].iter().flat_map(|kind| of_answer.texts(&format!("grouped.{kind}"))))
        .chain(dns.text("rdata"))
        .take(4)
        .collect();
    let mut parts: Vec<String> = Vec::new();
    if !asked.is_empty() {
        parts.push(format!("dns {} {}", if is_answer { "answer" } else { "query" }, asked.join(", ")));
        parts.extend(of_answer.get("rcode").and_then(scalar).filter(|_| is_answer).map(Cow::into_owned));
        parts.extend((!answers.is_empty()).then(|| answers.join(" ")));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::{changed, record};
    use super::*;

    const ALERT: &str = r#"{"timestamp":"2026-06-03T12:59:31.342001+0000","flow_id":1,"event_type":"alert","src_ip":"203.0.113.9","src_port":51234,"dest_ip":"10.0.2.14","dest_port":80,"proto":"TCP","http":{"hostname":"shop.example","url":"/upload.php","http_method":"POST","status":200},"alert":{"action":"allowed","gid":1,"signature_id":2019,"rev":4,"signature":"LOCAL WEB upload","category":"Web Application Attack","severity":1}}"#;

    fn ends(record: &Record) -> String {
        let shown = |end: &Option<Endpoint>| end.as_ref().map(Endpoint::to_string).unwrap_or_default();
        format!("{} -> {}", shown(&record.source), shown(&record.destination))
    }

    #[test]
    fn an_alert_is_read_with_its_rule_and_its_request() {
        let record = record(ALERT);
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(record.message, "LOCAL WEB upload");
        assert_eq!(record.rule, "1:2019:4");
        assert_eq!(record.classification, "Web Application Attack");
        assert_eq!(ends(&record), "203.0.113.9:51234 -> 10.0.2.14:80");
        assert_eq!(record.detail, "http shop.example/upload.php POST 200");
        assert_eq!(record.verdict, Some(SensorVerdict::Allowed));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
    }

    #[test]
    fn a_drop_with_its_rule_is_an_alert_that_was_blocked() {
        let record = record(&ALERT.replace(r#""event_type":"alert""#, r#""event_type":"drop""#));
        assert_eq!((record.kind, record.verdict), (RecordKind::Alert, Some(SensorVerdict::Blocked)));
        assert!(record.detail.starts_with("blocked, "), "{}", record.detail);
        let bare = changed(ALERT, &[("event_type", Value::from("drop")), ("alert", Value::Null)]);
        assert_eq!((bare.kind, bare.verdict), (RecordKind::Telemetry, Some(SensorVerdict::Blocked)));
    }

    #[test]
    fn the_client_of_a_response_is_who_acts() {
        let back = ALERT
            .replace(r#""src_ip":"203.0.113.9","src_port":51234"#, r#""src_ip":"10.0.2.14","src_port":80"#)
            .replace(
                r#""dest_ip":"10.0.2.14","dest_port":80"#,
                r#""dest_ip":"203.0.113.9","dest_port":51234"#,
            );
        let flow =
            r#","flow":{"src_ip":"203.0.113.9","src_port":51234,"dest_ip":"10.0.2.14","dest_port":80}}"#;
        let expected = "203.0.113.9:51234 -> 10.0.2.14:80";
        for more in [
            format!(r#","direction":"to_client"{flow}"#),
            r#","direction":"to_client"}"#.to_owned(),
            flow.to_owned(),
        ] {
            let text = format!("{}{more}", back.strip_suffix('}').unwrap());
            assert_eq!(ends(&record(&text)), expected, "{text}");
        }
        let named = r#""severity":1,"source":{"ip":"203.0.113.9"},"target":{"ip":"10.0.2.14"}"#;
        assert_eq!(ends(&record(&back.replace(r#""severity":1"#, named))), expected);
        assert_eq!(
            ends(&record(&back)),
            "10.0.2.14:80 -> 203.0.113.9:51234",
            "nothing says that it is a response"
        );
    }

    #[test]
    fn the_client_behind_a_proxy_is_who_acts() {
        for header in ["203.0.113.9", "198.51.100.1, 203.0.113.9", "unknown, ::ffff:203.0.113.9"] {
            let record = changed(ALERT, &[("src_ip", Value::from("10.0.2.5")), ("xff", Value::from(header))]);
            assert_eq!(ends(&record), "203.0.113.9 -> 10.0.2.14:80", "{header}");
            assert_eq!(record.via, ["10.0.2.5"]);
            assert!(record.detail.starts_with("via 10.0.2.5, "), "{}", record.detail);
        }
        let text = ALERT
            .replace(r#""status":200"#, r#""status":200,"xff":"198.51.100.7""#)
            .replace(r#""src_ip":"203.0.113.9""#, r#""src_ip":"10.0.2.5""#);
        assert_eq!(ends(&record(&text)), "198.51.100.7 -> 10.0.2.14:80");
        let junk = changed(ALERT, &[("src_ip", "10.0.2.5".into()), ("xff", "db01, Shut down db01".into())]);
        assert_eq!((ends(&junk).as_str(), junk.via.len()), ("10.0.2.5:51234 -> 10.0.2.14:80", 0));
        let forged = changed(ALERT, &[("xff", "10.0.2.20".into())]);
        assert_eq!(ends(&forged), "203.0.113.9:51234 -> 10.0.2.14:80", "no proxy of the site says so");
        let sixth = [
            ("src_ip", "2001:db8:1::5".into()),
            ("dest_ip", "2001:db8:1::13".into()),
            ("xff", "203.0.113.9".into()),
        ];
        assert_eq!(ends(&changed(ALERT, &sixth)), "203.0.113.9 -> [2001:db8:1::13]:80");
    }

    #[test]
    fn names_that_were_asked_for_read_the_same_in_every_version() {
        for dns in [
            r#"{"type":"query","rrname":"c2.example.net","rrtype":"TXT","tx_id":0}"#,
            r#"{"query":[{"type":"query","rrname":"c2.example.net","rrtype":"TXT"}]}"#,
            r#"{"version":3,"type":"request","queries":[{"rrname":"c2.example.net","rrtype":"TXT"}]}"#,
        ] {
            let record =
                changed(ALERT, &[("dns", serde_json::from_str(dns).unwrap()), ("http", Value::Null)]);
            assert_eq!(record.detail, "dns query c2.example.net TXT", "{dns}");
        }
        let event = r#"{"timestamp":"2026-06-03T12:59:31.342001+0000","event_type":"dns","src_ip":"10.0.2.53","src_port":53,"dest_ip":"10.0.3.18","dest_port":50000,"proto":"UDP","dns":{"version":2,"type":"answer","rrname":"www.example.com","rrtype":"A","rcode":"NOERROR","answers":[{"rrname":"www.example.com","rdata":"198.51.100.80"}]}}"#;
        let record = record(event);
        assert_eq!(record.kind, RecordKind::Telemetry);
        assert_eq!(
            record.message,
            "dns event UDP 10.0.2.53:53 -> 10.0.3.18: dns answer www.example.com A NOERROR 198.51.100.80"
        );
    }

    #[test]
    fn what_a_rule_does_not_set_is_unset() {
        let rule = |more: &str| {
            record(&ALERT.replace(r#""category":"Web Application Attack","severity":1"#, more)).priority
        };
        assert_eq!(rule(r#""category":"","severity":3"#), None);
        assert_eq!(rule(r#""severity":3"#), None);
        assert_eq!(rule(r#""category":"x","severity":0"#), None);
        assert_eq!(rule(r#""category":"Misc activity","severity":3"#), Some(3));
        assert_eq!(rule(r#""category":"x","severity":255"#), Some(4));
        for (word, expected) in [("Critical", 1), ("Major", 1), ("Minor", 2), ("Informational", 3)] {
            let metadata =
                format!(r#""category":"","severity":3,"metadata":{{"signature_severity":["{word}"]}}"#);
            assert_eq!(rule(&metadata), Some(expected), "{word}");
        }
    }

    #[test]
    fn the_rules_attack_tags_are_kept() {
        let metadata = r#""severity":1,"metadata":{"mitre_tactic_id":["TA0040"],"mitre_tactic_name":["Impact"],"mitre_technique_id":["T1496"]}"#;
        let record = record(&ALERT.replace(r#""severity":1"#, metadata));
        assert_eq!(record.tactics, [crate::Tactic::Impact]);
        assert_eq!(record.techniques, ["T1496"]);
    }

    #[test]
    fn other_events_are_telemetry() {
        for kind in ["flow", "http", "tls", "anomaly", "stats", "fileinfo", "smb", "invented"] {
            let record = changed(ALERT, &[("event_type", Value::from(kind)), ("alert", Value::Null)]);
            assert_eq!(record.kind, RecordKind::Telemetry, "{kind}");
            assert!(record.message.starts_with(&format!("{kind} event TCP 203.0.113.9 -> 10.0.2.14:80")));
        }
    }

    #[test]
    fn an_alert_without_its_rule_is_none() {
        let object: Object = serde_json::from_str(&ALERT.replace(r#""alert":{"#, r#""other":{"#)).unwrap();
        assert_eq!(read(&object, &Envelope::default()), None);
    }
}
