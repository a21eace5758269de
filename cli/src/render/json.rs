//! Lists as JSON, for programs. Names of fields and values are those of the API, values in lower case without the name of their
//! enumeration; an absent value is `null`.

use countermove_proto::time_text;
use countermove_proto::v1::{Incident, Worker};
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::cluster::{priority, tenant};

/// Incidents as they are listed, in the same order.
pub(crate) fn incidents_json(incidents: &[Incident]) -> String {
    lines(incidents.iter().map(|incident| {
        let pending = incident.pending.as_ref().map(|pending| {
            json!({
                "step": u64::from(pending.step) + 1,
                "action": pending.action.as_ref().map(|action| &action.text),
                "plan_hash": pending.plan_hash,
                "decide_time": instant(pending.decide_time),
                "takes_down": pending.takes_down,
                "is_clear": pending.is_clear,
                "reversibility": word(pending.reversibility().as_str_name(), "REVERSIBILITY_"),
                "approver": pending.approver,
                "approvers": pending.approvers.max(1),
                "approvals": pending.approvals.iter().map(|given| &given.approver).collect::<Vec<_>>(),
            })
        });
        json!({
            "name": incident.name,
            "create_time": instant(incident.create_time),
            "update_time": instant(incident.update_time),
            "status": word(incident.status().as_str_name(), "INCIDENT_STATUS_"),
            "end": incident.plan.as_ref().map(|plan| word(plan.end().as_str_name(), "PLAN_END_")),
            "tenant": tenant(incident),
            "priority": priority(incident),
            "labels": incident.labels,
            "external_id": incident.external_id,
            "description": incident.assessment.as_ref().map(|assessment| &assessment.description),
            "pending": pending,
            "tokens": incident.progress.map(|progress| progress.tokens),
            "error": incident.error,
        })
    }))
}

/// Workers as they are listed, in the same order.
pub(crate) fn workers_json(workers: &[Worker]) -> String {
    lines(workers.iter().map(|worker| {
        let model = worker.model.as_ref().map(|model| {
            json!({
                "name": model.name,
                "weights_sha256": model.weights_sha256,
                "adapter_sha256": model.adapter_sha256,
                "arithmetic": model.arithmetic,
            })
        });
        json!({
            "name": worker.name,
            "address": worker.address,
            "status": word(worker.status().as_str_name(), "WORKER_STATUS_"),
            "status_reason": worker.status_reason,
            "model": model,
            "capacity": worker.capacity,
            "running": worker.running,
            "rollouts_finished": worker.rollouts_finished,
            "tokens_generated": worker.tokens_generated,
            "last_seen_time": instant(worker.last_seen_time),
        })
    }))
}

/// An array, one value a line.
fn lines(values: impl Iterator<Item = Value>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    if values.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", values.join(",\n")) }
}

/// A value of an enumeration as JSON has it here: `awaiting_approval`.
fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}

fn instant(time: Option<Timestamp>) -> Option<String> {
    time.and_then(time_text)
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{Action, IncidentStatus, PendingAction};

    use super::*;

    #[test]
    fn what_is_listed_can_be_read_by_a_program() {
        let action = Some(Action { text: "Isolate \"web01\"\n".into(), ..Action::default() });
        let pending =
            PendingAction { step: 0, action, takes_down: vec!["web01".into()], ..Default::default() };
        let mut waiting = Incident {
            name: "incidents/x".into(),
            create_time: Some(Timestamp { seconds: 0, nanos: 0 }),
            labels: [("team".to_owned(), "emea".to_owned())].into(),
            pending: Some(pending),
            ..Incident::default()
        };
        waiting.set_status(IncidentStatus::AwaitingApproval);
        let text = incidents_json(&[waiting, Incident::default()]);
        assert_eq!(text.lines().count(), 4);
        let read: Value = serde_json::from_str(&text).unwrap();
        let first = &read[0];
        assert_eq!(
            (first["name"].as_str(), first["pending"]["step"].as_u64()),
            (Some("incidents/x"), Some(1))
        );
        assert_eq!(first["pending"]["action"], "Isolate \"web01\"\n");
        assert!(first["create_time"].as_str().unwrap().starts_with("1970-01-01"));
        assert_eq!(
            (&first["labels"]["team"], &first["status"]),
            (&json!("emea"), &json!("awaiting_approval"))
        );
        assert_eq!((&read[1]["pending"], &read[1]["create_time"]), (&Value::Null, &Value::Null));
        assert_eq!(incidents_json(&[]), "[]\n");

        let worker = Worker { name: "workers/w-1".into(), capacity: 32, ..Worker::default() };
        let read: Value = serde_json::from_str(&workers_json(&[worker])).unwrap();
        assert_eq!((&read[0]["name"], &read[0]["capacity"]), (&json!("workers/w-1"), &json!(32)));
    }
}
