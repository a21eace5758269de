//! Tables of workers and incidents.

use std::time::SystemTime;

use countermove_proto::system_time;
use countermove_proto::v1::{Incident, IncidentStatus, PlanEnd, Priority, Worker, WorkerStatus};

use super::table::table;
use super::text::{hanging, thousands, time};

/// Workers as a table; the reason of one that takes no work stands under it.
pub(crate) fn workers(workers: &[Worker], columns: usize) -> String {
    if workers.is_empty() {
        return "No workers are known.\n".to_owned();
    }
    let head = ["ID", "ADDRESS", "STATUS", "MODEL", "RUNNING", "FINISHED", "TOKENS"];
    let rows = workers
        .iter()
        .map(|worker| {
            let model = worker.model.as_ref().map_or_else(
                || "-".to_owned(),
                |model| {
                    let short = |digest: &str| digest.get(..8).unwrap_or(digest).to_owned();
                    let mut text = format!("{} {}", model.name, short(&model.weights_sha256));
                    if !model.adapter_sha256.is_empty() {
                        text += &format!(" + adapter {}", short(&model.adapter_sha256));
                    }
                    if !model.arithmetic.is_empty() {
                        text += &format!(", {}", model.arithmetic);
                    }
                    text
                },
            );
            vec![
                worker.name.trim_start_matches("workers/").to_owned(),
                worker.address.trim_start_matches("http://").to_owned(),
                worker_status(worker.status()).to_owned(),
                model,
                format!("{} of {}", worker.running, worker.capacity),
                thousands(worker.rollouts_finished),
                thousands(worker.tokens_generated),
            ]
        })
        .collect();
    let reasons = workers.iter().map(|worker| match worker.status() {
        WorkerStatus::Ready => "",
        _ => worker.status_reason.as_str(),
    });
    with_notes(table(&head, 2, rows, columns), reasons, columns)
}

/// Incidents as a table; what each is about stands under it.
pub(crate) fn incidents(incidents: &[Incident], now: SystemTime, columns: usize) -> String {
    if incidents.is_empty() {
        return "No incidents are known.\n".to_owned();
    }
    let rows = incidents
        .iter()
        .map(|incident| {
            let age = incident
                .create_time
                .and_then(system_time)
                .and_then(|created| now.duration_since(created).ok())
                .map_or_else(|| "-".to_owned(), |age| time(age.as_secs_f64()));
            vec![
                incident.name.trim_start_matches("incidents/").to_owned(),
                age,
                incident_status(incident),
                tenant(incident).to_owned(),
                priority(incident).to_owned(),
            ]
        })
        .collect();
    let about = incidents.iter().map(|incident| match &incident.assessment {
        _ if !incident.error.is_empty() => incident.error.as_str(),
        Some(assessment) => assessment.description.as_str(),
        None => "",
    });
    let head = ["ID", "AGE", "STATUS", "TENANT", "PRIORITY"];
    with_notes(table(&head, 1, rows, columns), about, columns)
}

/// A table with a note under each row that has one.
fn with_notes<'a>(lines: Vec<String>, notes: impl Iterator<Item = &'a str>, columns: usize) -> String {
    let mut out = String::new();
    // The head has none.
    let mut notes = std::iter::once("").chain(notes);
    let mut note = "";
    for line in lines {
        // A row begins with its id, and goes on with spaces.
        if !line.starts_with(' ') {
            out.push_str(&note_lines(note, columns));
            note = notes.next().unwrap_or_default();
        }
        out.push_str(&line);
        out.push('\n');
    }
    out.push_str(&note_lines(note, columns));
    out
}

fn note_lines(note: &str, columns: usize) -> String {
    if note.trim().is_empty() { String::new() } else { hanging("    ", note, columns) }
}

/// On whose account it is planned; incidents of releases without tenants belong to the default one.
pub(crate) fn tenant(incident: &Incident) -> &str {
    if incident.tenant.is_empty() { "default" } else { &incident.tenant }
}

/// How urgent it is, in a word.
pub(crate) fn priority(incident: &Incident) -> &'static str {
    match incident.priority() {
        Priority::Urgent => "urgent",
        Priority::Unspecified | Priority::Normal => "normal",
        Priority::Background => "background",
    }
}

fn worker_status(status: WorkerStatus) -> &'static str {
    match status {
        WorkerStatus::Unspecified => "unknown",
        WorkerStatus::Connecting => "connecting",
        WorkerStatus::Ready => "ready",
        WorkerStatus::Draining => "draining",
        WorkerStatus::Lost => "lost",
        WorkerStatus::Refused => "refused",
    }
}

/// What an incident waits for, or how it ended, in a word or two.
pub(crate) fn incident_status(incident: &Incident) -> String {
    match incident.status() {
        IncidentStatus::Unspecified => "unknown".to_owned(),
        IncidentStatus::Planning => "planning".to_owned(),
        IncidentStatus::AwaitingApproval => match &incident.pending {
            Some(pending) if pending.approvers > 1 => {
                format!("awaits approval ({} of {})", pending.approvals.len(), pending.approvers)
            }
            _ => "awaits approval".to_owned(),
        },
        IncidentStatus::AwaitingOutcome => "awaits an outcome".to_owned(),
        IncidentStatus::Ended => match incident.plan.as_ref().map(|plan| plan.end()) {
            None | Some(PlanEnd::Unspecified) => "ended".to_owned(),
            Some(PlanEnd::Recovered) => "recovered".to_owned(),
            Some(PlanEnd::StepLimit) => "step limit".to_owned(),
            Some(PlanEnd::NoIncident) => "no incident".to_owned(),
            Some(PlanEnd::NotUnderstood) => "not understood".to_owned(),
            Some(PlanEnd::NoCandidate) => "no candidate".to_owned(),
            Some(PlanEnd::Cleared) => "cleared".to_owned(),
            Some(PlanEnd::Deadline) => "deadline".to_owned(),
            Some(PlanEnd::Cancelled) => "cancelled".to_owned(),
            Some(PlanEnd::Failed) => "failed".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::ModelIdentity;

    use super::super::text::width;
    use super::*;

    #[test]
    fn workers_stand_in_columns_with_their_reasons() {
        let ready = Worker {
            name: "workers/w-1".to_owned(),
            address: "http://127.0.0.1:40001".to_owned(),
            status: WorkerStatus::Ready.into(),
            model: Some(ModelIdentity {
                name: "SmolLM2 135M".to_owned(),
                weights_sha256: "b179c9523d0e".to_owned(),
                ..ModelIdentity::default()
            }),
            capacity: 32,
            running: 9,
            rollouts_finished: 1200,
            tokens_generated: 34_567,
            ..Worker::default()
        };
        let refused = Worker {
            name: "workers/other".to_owned(),
            address: "http://127.0.0.1:40002".to_owned(),
            status: WorkerStatus::Refused.into(),
            status_reason: "it speaks protocol version 2, this coordinator speaks 1".to_owned(),
            ..Worker::default()
        };
        let tuned = Worker {
            model: Some(ModelIdentity {
                name: "m".to_owned(),
                weights_sha256: "b179c9523d0e".to_owned(),
                adapter_sha256: "0f31aa77bbcc".to_owned(),
                arithmetic: "cpu-q8_0/1".to_owned(),
                ..ModelIdentity::default()
            }),
            ..Worker::default()
        };
        assert!(workers(&[tuned], 100).contains("m b179c952 + adapter 0f31aa77, cpu-q8_0/1"));
        let both = [ready, refused];
        let narrow = workers(&both, 80);
        assert!(narrow.lines().all(|line| width(line) <= 80), "\n{narrow}");
        assert!(narrow.contains("127.0.0.1:40001") && narrow.contains("b179c952"), "\n{narrow}");
        let text = workers(&both, 100);
        let expected = "\
ID     ADDRESS          STATUS   MODEL                  RUNNING  FINISHED  TOKENS
w-1    127.0.0.1:40001  ready    SmolLM2 135M b179c952  9 of 32  1,200     34,567
other  127.0.0.1:40002  refused  -                      0 of 0   0         0
    it speaks protocol version 2, this coordinator speaks 1
";
        assert_eq!(text, expected, "\n{text}");
        assert_eq!(workers(&[], 100), "No workers are known.\n");
    }

    #[test]
    fn a_failed_incident_says_why() {
        let failed = Incident {
            name: "incidents/1".to_owned(),
            status: IncidentStatus::Ended.into(),
            error: "no worker is left\u{1b}[2J".to_owned(),
            plan: Some(countermove_proto::v1::Plan { end: PlanEnd::Failed.into(), ..Default::default() }),
            ..Incident::default()
        };
        let text = incidents(&[failed], SystemTime::UNIX_EPOCH, 100);
        assert!(text.contains("no worker is left\\u{1b}[2J"), "{text}");
    }

    #[test]
    fn an_incident_shows_who_it_is_for_and_how_urgent_it_is() {
        let urgent = Incident {
            name: "incidents/018f3c1e-0000-7000-8000-000000000001".to_owned(),
            assessment: Some(countermove_proto::v1::Assessment {
                description: "SSH password guessing from 192.0.2.9.".to_owned(),
                ..Default::default()
            }),
            tenant: "blue-team".to_owned(),
            priority: Priority::Urgent.into(),
            status: IncidentStatus::Planning.into(),
            ..Incident::default()
        };
        let older = Incident { name: "incidents/2".to_owned(), ..Incident::default() };
        let text = incidents(&[urgent, older], SystemTime::UNIX_EPOCH, 80);
        let expected = "\
ID                                    AGE  STATUS    TENANT     PRIORITY
018f3c1e-0000-7000-8000-000000000001  -    planning  blue-team  urgent
    SSH password guessing from 192.0.2.9.
2                                     -    unknown   default    normal
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn the_widest_incident_fits_80_columns_with_its_id_whole() {
        let id = "018f3c1e-0000-7000-8000-000000000001";
        let incident = Incident {
            name: format!("incidents/{id}"),
            create_time: Some(prost_types::Timestamp { seconds: -3599, nanos: 0 }),
            tenant: "a-tenant-with-a-long-name".to_owned(),
            priority: Priority::Background.into(),
            status: IncidentStatus::AwaitingOutcome.into(),
            error: "a sentence ".repeat(20),
            ..Incident::default()
        };
        let text = incidents(&[incident], SystemTime::UNIX_EPOCH, 80);
        assert!(text.lines().all(|line| width(line) <= 80), "\n{text}");
        assert!(text.lines().any(|line| line.starts_with(id)), "\n{text}");
    }
}
