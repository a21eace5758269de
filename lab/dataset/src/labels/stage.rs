//! Puts a labelled text into a log of a small network, as a record that a sensor or a host would write, and renders the planner's
//! question about it.

use std::sync::Arc;

use countermove_incident::{AlertLog, Endpoint, Record, RecordKind, Tactic};
use countermove_planner::{Evidence, Rendered, Rendering, Templates, derive_seed};
use serde_json::json;

use super::Labelled;
use crate::error::DatasetError;

/// How a text reaches a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An alert of an agent on a host.
    Title,
    /// An alert of a network sensor.
    Network,
    /// An alert about traffic out of the network.
    Outbound,
    /// A line of a program in syslog.
    Syslog(String),
    /// A command on Linux, as sudo logs it.
    Sudo,
    /// A command on Windows, as an event about a new process.
    Process,
    /// What an application or a cloud service logs.
    Log,
    /// A record as its product writes it.
    Raw,
}

impl Form {
    /// Whether the text is a rule's name, which products word in their own ways.
    pub(super) fn is_title(&self) -> bool {
        matches!(self, Form::Title | Form::Network | Form::Outbound)
    }
}

/// Hosts and what the description says of them.
const HOSTS: [(&str, &str, &str); 12] = [
    ("web01", "10.0.2.11", "(Debian 12) runs nginx and PHP"),
    ("db01", "10.0.2.12", "runs PostgreSQL 15"),
    ("dc01", "10.0.2.13", "is the Windows domain controller"),
    ("fs02", "10.0.2.14", "is a file server with Windows Server 2022"),
    ("ws-117", "10.0.3.17", "is a Windows 11 workstation"),
    ("ws-044", "10.0.3.44", "is a workstation of accounting"),
    ("build3", "10.0.2.15", "builds software on Ubuntu 22.04"),
    ("srv-mail", "10.0.2.16", "handles mail with Postfix"),
    ("k8s-n1", "10.0.2.17", "is a Kubernetes node"),
    ("scada1", "10.0.4.5", "controls the pumps"),
    ("hr-app", "10.0.2.18", "runs Tomcat"),
    ("jump", "10.0.2.19", "is the jump host for administrators"),
];
/// Outside addresses.
const OUTSIDE: [&str; 4] = ["203.0.113.77", "198.51.100.23", "192.0.2.140", "203.0.113.9"];

/// The planner's question about the record, and the answer that it shows this; nothing if the reader makes no group of it.
pub(super) fn rendered(
    templates: &Arc<Templates>,
    one: &Labelled,
    text: &str,
    seed: u64,
    shows: Option<Tactic>,
) -> Result<Option<Rendered>, DatasetError> {
    let evidence = Evidence {
        system_description: description(seed),
        log: log(one, text, seed, shows),
        constraints: Vec::new(),
        notes: Vec::new(),
        baseline: None,
    };
    let rendering = Rendering::new(Arc::clone(templates), &evidence, 4_000)?;
    Ok(rendering.incident(0, shows)?)
}

fn draw(seed: u64, what: &str, bound: usize) -> usize {
    usize::try_from(derive_seed(seed, what, &[]) % bound.max(1) as u64).unwrap_or(0)
}

/// Some of the hosts, or none that anybody described.
pub(super) fn description(seed: u64) -> String {
    if draw(seed, "description", 5) == 0 {
        return "The network is 10.0.0.0/16.".to_owned();
    }
    let hosts = HOSTS.iter().map(|(name, address, about)| format!("{name} at {address} {about}.\n"));
    hosts.collect()
}

/// A log of one record that says so.
pub(super) fn log(one: &Labelled, text: &str, seed: u64, shows: Option<Tactic>) -> AlertLog {
    let (name, address, _) = HOSTS[draw(seed, "host", HOSTS.len())];
    let (_, other, _) = HOSTS[draw(seed, "other", HOSTS.len())];
    let outside = OUTSIDE[draw(seed, "outside", OUTSIDE.len())];
    // What a sensor saw pass is read as it is where it is asked about.
    let parsed = |line: String| {
        let mut log = AlertLog::parse(line.as_bytes()).unwrap_or_default();
        for record in log.records.iter_mut().filter(|record| record.kind == RecordKind::Telemetry) {
            record.kind = RecordKind::Log;
        }
        log
    };
    let end = |address: &str, port| Some(Endpoint::new(address, Some(port)));
    let record = match &one.form {
        Form::Syslog(program) => return parsed(format!("Jun  3 12:59:31 {name} {program}[911]: {text}\n")),
        Form::Raw => return parsed(format!("{text}\n")),
        Form::Sudo => {
            let line = format!(
                "Jun  3 12:59:31 {name} sudo:   deploy : TTY=pts/0 ; PWD=/home/deploy ; USER=root ; COMMAND={text}\n"
            );
            return parsed(line);
        }
        Form::Process => {
            let program = text.trim_start_matches('"').split([' ', '"']).next().unwrap_or_default();
            let event = json!({
                "@timestamp": "2026-06-03T12:59:31Z",
                "winlog": {
                    "channel": "Security", "event_id": 4688, "computer_name": name,
                    "provider_name": "Microsoft-Windows-Security-Auditing",
                    "event_data": {"NewProcessName": program, "CommandLine": text, "SubjectUserName": "m.weber"},
                },
            });
            return parsed(format!("{event}\n"));
        }
        Form::Title | Form::Log => Record {
            kind: if one.form == Form::Log { RecordKind::Log } else { RecordKind::Alert },
            host: if draw(seed, "named", 3) == 0 { String::new() } else { name.to_owned() },
            ..Record::default()
        },
        Form::Outbound => Record {
            kind: RecordKind::Alert,
            protocol: "TCP".into(),
            source: end(address, 50_123),
            destination: end(outside, 443),
            ..Record::default()
        },
        Form::Network => {
            let (source, destination) = way(shows, draw(seed, "way", 10));
            let place = |side: Side| match side {
                Side::Outside => outside,
                Side::Own => address,
                Side::Other => other,
            };
            Record {
                kind: RecordKind::Alert,
                protocol: "TCP".into(),
                source: end(place(source), 50_123),
                destination: end(place(destination), 80),
                ..Record::default()
            }
        }
    };
    let class = if draw(seed, "class", 2) == 0 { one.class.clone() } else { String::new() };
    let priority = [None, Some(1), Some(2), Some(3)][draw(seed, "priority", 4)];
    AlertLog {
        records: vec![Record { message: text.to_owned(), classification: class, priority, ..record }],
        ..AlertLog::default()
    }
}

/// Where one end of a connection is.
#[derive(Clone, Copy)]
enum Side {
    Outside,
    Own,
    Other,
}

/// From where to where a network sensor sees what shows this. Everyday traffic goes all ways.
fn way(shows: Option<Tactic>, draw: usize) -> (Side, Side) {
    match shows {
        Some(Tactic::Reconnaissance | Tactic::InitialAccess) => (Side::Outside, Side::Own),
        Some(Tactic::Discovery | Tactic::LateralMovement) => (Side::Own, Side::Other),
        Some(Tactic::CommandAndControl | Tactic::Exfiltration) => (Side::Own, Side::Outside),
        _ => match draw {
            0..=3 => (Side::Outside, Side::Own),
            4..=6 => (Side::Own, Side::Outside),
            _ => (Side::Own, Side::Other),
        },
    }
}
