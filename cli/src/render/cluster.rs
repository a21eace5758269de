//! Tables of workers and incidents.

use std::time::SystemTime;

use countermove_proto::system_time;
use countermove_proto::v1::{Incident, IncidentStatus, PlanEnd, Priority, Worker, WorkerStatus};
use countermove_wire::document::End;

use super::incident::end_sentence;
use super::text::{hanging, one_line, pad, thousands, time, width};

/// Workers as a table; the reason of one that takes no work stands under it.
pub(crate) fn workers(workers: &[Worker], columns: usize) -> String {
    if workers.is_empty() {
        return "No workers are known.\n".to_owned();
    }
    let head = ["ID", "ADDRESS", "STATUS", "MODEL", "CAPACITY", "RUNNING", "FINISHED", "TOKENS"];
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
                    text
                },
            );
            vec![
                worker.name.trim_start_matches("workers/").to_owned(),
                worker.address.clone(),
                worker_status(worker.status()).to_owned(),
                model,
                worker.capacity.to_string(),
                worker.running.to_string(),
                thousands(worker.rollouts_finished),
                thousands(worker.tokens_generated),
            ]
        })
        .collect();
    let mut lines = table(&head, rows).into_iter();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (worker, line) in workers.iter().zip(lines) {
        out.push_str(&line);
        out.push('\n');
        if worker.status() != WorkerStatus::Ready && !worker.status_reason.is_empty() {
            out.push_str(&hanging("    ", &worker.status_reason, columns));
        }
    }
    out
}

/// Incidents as a table.
pub(crate) fn incidents(incidents: &[Incident], now: SystemTime) -> String {
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
            let what = incident.assessment.as_ref().map_or("", |assessment| assessment.description.as_str());
            vec![
                incident.name.clone(),
                age,
                tenant(incident).to_owned(),
                priority(incident).to_owned(),
                incident_status(incident),
                what.to_owned(),
            ]
        })
        .collect();
    let head = ["NAME", "AGE", "TENANT", "PRIORITY", "STATUS", "DESCRIPTION"];
    table(&head, rows).iter().map(|line| format!("{line}\n")).collect()
}

/// On whose account it is planned; incidents of releases without tenants belong to the default one.
fn tenant(incident: &Incident) -> &str {
    if incident.tenant.is_empty() { "default" } else { &incident.tenant }
}

/// How urgent it is, in a word.
fn priority(incident: &Incident) -> &'static str {
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

fn incident_status(incident: &Incident) -> String {
    match incident.status() {
        IncidentStatus::Unspecified => "unknown".to_owned(),
        IncidentStatus::Planning => "planning".to_owned(),
        IncidentStatus::AwaitingApproval => "awaits approval".to_owned(),
        IncidentStatus::AwaitingOutcome => "awaits an outcome".to_owned(),
        IncidentStatus::Ended => match incident.plan.as_ref().map(|plan| plan.end()) {
            None | Some(PlanEnd::Unspecified) => "ended".to_owned(),
            Some(PlanEnd::Recovered) => "recovered".to_owned(),
            Some(PlanEnd::StepLimit) => "step limit".to_owned(),
            Some(PlanEnd::NoIncident) => "no incident".to_owned(),
            Some(PlanEnd::NotUnderstood) => "not understood".to_owned(),
            Some(PlanEnd::NoCandidate) => "no candidate".to_owned(),
            Some(PlanEnd::Deadline) => "deadline".to_owned(),
            Some(PlanEnd::Cancelled) => "cancelled".to_owned(),
            Some(PlanEnd::Failed) => end_sentence(Some(End::Failed), 0, &incident.error),
        },
    }
}

/// Columns two spaces apart, each as wide as its widest cell.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let mut all = vec![head.iter().map(|&title| title.to_owned()).collect::<Vec<_>>()];
    all.extend(rows.into_iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()));
    let widths: Vec<_> = (0..head.len())
        .map(|column| all.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    all.iter()
        .map(|row| {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &columns)| pad(cell, columns)).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::ModelIdentity;

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
                ..ModelIdentity::default()
            }),
            ..Worker::default()
        };
        assert!(workers(&[tuned], 100).contains("m b179c952 + adapter 0f31aa77"));
        let text = workers(&[ready, refused], 100);
        let expected = "\
ID     ADDRESS                 STATUS   MODEL                  CAPACITY  RUNNING  FINISHED  TOKENS
w-1    http://127.0.0.1:40001  ready    SmolLM2 135M b179c952  32        9        1,200     34,567
other  http://127.0.0.1:40002  refused  -                      0         0        0         0
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
        let text = incidents(&[failed], SystemTime::UNIX_EPOCH);
        assert!(text.contains("no worker is left\\u{1b}[2J"), "{text}");
    }

    #[test]
    fn an_incident_shows_who_it_is_for_and_how_urgent_it_is() {
        let urgent = Incident {
            name: "incidents/1".to_owned(),
            tenant: "blue-team".to_owned(),
            priority: Priority::Urgent.into(),
            status: IncidentStatus::Planning.into(),
            ..Incident::default()
        };
        let older = Incident { name: "incidents/2".to_owned(), ..Incident::default() };
        let text = incidents(&[urgent, older], SystemTime::UNIX_EPOCH);
        let expected = "\
NAME         AGE  TENANT     PRIORITY  STATUS    DESCRIPTION
incidents/1  -    blue-team  urgent    planning
incidents/2  -    default    normal    unknown
";
        assert_eq!(text, expected, "\n{text}");
    }
}
