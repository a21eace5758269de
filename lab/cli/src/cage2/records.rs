//! What is seen, as the records that a sensor on hosts would write of it.

use std::collections::BTreeSet;

use serde_json::json;

use super::world::{Connection, Seen, Sight};

/// Ports from which connections are opened; one from below is a service of its own.
const EPHEMERAL: u16 = 32_768;

/// The records of a round, a line each, in Suricata's JSON.
pub(super) fn records(sight: &Sight, round: u32) -> String {
    let mut lines = String::new();
    for (host, seen) in sight {
        for (from, message) in messages(seen) {
            let own = seen.addresses.first().map_or(host.as_str(), String::as_str);
            let (source, port) = from.map_or((own, 0), split);
            let record = json!({
                "timestamp": format!("2026-01-01T{:02}:{:02}:00.000000+0000", round / 60, round % 60),
                "event_type": "alert",
                "host": host,
                "src_ip": source,
                "src_port": port,
                "dest_ip": own,
                "proto": "TCP",
                "alert": {"gid": 1, "signature_id": 0, "rev": 0, "signature": message, "category": ""},
            });
            lines.push_str(&record.to_string());
            lines.push('\n');
        }
    }
    lines
}

/// Whether somebody seems to have tried to break in, and neither only looked nor ran into a decoy.
pub(super) fn is_attempt(seen: &Seen) -> bool {
    let is_harmless = |message: &str| message.starts_with("Port scan") || message.contains("decoy service");
    messages(seen).iter().any(|(from, message)| from.is_some() && !is_harmless(message))
}

/// What a host's records say, and from where it came, if it came from elsewhere.
fn messages(seen: &Seen) -> Vec<(Option<&str>, String)> {
    let connections: Vec<&Connection> =
        seen.processes.iter().flat_map(|process| &process.connections).collect();
    let ports: Vec<u16> = connections.iter().map(|connection| split(&connection.to).1).collect();
    let distinct: BTreeSet<u16> = ports.iter().copied().collect();
    let served = connections.iter().find(|connection| (1..EPHEMERAL).contains(&split(&connection.from).1));
    // Whoever runs into a decoy gets no connection: it is told without a port of its own.
    let deceived = connections.iter().any(|connection| split(&connection.from).1 == 0);
    let mut messages = Vec::new();
    if let Some(first) = connections.first() {
        let from = first.from.as_str();
        let message = match (served, ports.first()) {
            (Some(served), _) => {
                format!("Reverse shell: a process is connected to port {}", split(&served.from).1)
            }
            (None, Some(port)) if deceived => format!("Exploit attempt on the decoy service at port {port}"),
            (None, Some(port)) if distinct.len() < ports.len() => {
                format!("Brute force: {} connections to port {port}", ports.len())
            }
            _ if distinct.len() > 1 => format!("Port scan: connections to {} ports", distinct.len()),
            (_, port) => {
                format!("Exploit attempt: unusual connection to port {}", port.copied().unwrap_or_default())
            }
        };
        messages.push((Some(from), message));
    }
    for file in &seen.files {
        messages.push((None, format!("Backdoor: unsigned program {}{}", file.path, file.name)));
    }
    messages
}

/// Address and port.
fn split(end: &str) -> (&str, u16) {
    end.rsplit_once(':').map_or((end, 0), |(address, port)| (address, port.parse().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use countermove_incident::AlertLog;

    use super::*;

    fn sight(host: serde_json::Value) -> Sight {
        serde_json::from_value(json!({ "User1": host })).unwrap()
    }

    fn connection(from: u16, to: u16) -> serde_json::Value {
        json!({"pid": 1, "name": null, "connections": [{"from": format!("10.0.0.9:{from}"), "to": format!("10.0.0.1:{to}")}]})
    }

    #[test]
    fn what_is_seen_becomes_records() {
        for (processes, said) in [
            (vec![connection(52_420, 22), connection(57_993, 21)], "Port scan: connections to 2 ports"),
            (
                vec![
                    connection(52_913, 443),
                    json!({"connections": [{"from": "10.0.0.9:None", "to": "10.0.0.1:443"}]}),
                ],
                "Exploit attempt on the decoy service at port 443",
            ),
            (vec![connection(52_420, 22), connection(57_993, 22)], "Brute force: 2 connections to port 22"),
            (
                vec![connection(57_548, 443), connection(4444, 51_269)],
                "Reverse shell: a process is connected to port 4444",
            ),
            (vec![connection(57_548, 21)], "Exploit attempt: unusual connection to port 21"),
        ] {
            let text = records(
                &sight(
                    json!({"os": "LINUX", "processes": processes, "files": [], "addresses": ["10.0.0.1"]}),
                ),
                3,
            );
            let log = AlertLog::parse(text.as_bytes()).unwrap();
            assert_eq!(log.records.len(), 1, "{text}");
            let record = &log.records[0];
            assert_eq!(record.message, said);
            assert_eq!(record.source.as_ref().unwrap().address, "10.0.0.9");
            assert_eq!(record.destination.as_ref().unwrap().address, "10.0.0.1");
        }
    }

    #[test]
    fn what_a_search_finds_names_nobody_else() {
        let file =
            json!({"Path": "C:\\temp\\", "Known Path": "TEMP", "File Name": "cmd.exe", "Density": 0.9});
        let text = records(&sight(json!({"os": null, "processes": [], "files": [file], "addresses": []})), 0);
        assert!(text.contains("Backdoor: unsigned program C:\\\\temp\\\\cmd.exe"), "{text}");
        assert!(text.contains("\"src_ip\":\"User1\",") && text.contains("\"dest_ip\":\"User1\""), "{text}");
        assert_eq!(records(&sight(json!({})), 0), "");
    }
}
