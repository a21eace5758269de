//! The whole record of an incident as a document: the plan, and every event that led to it.
//!
//! Contract: as for [`PlanDocument`]; an event is an object with `sequence`, `time`, `kind` and what belongs to that kind. Events
//! are complete and in order, so that what was known at any moment can be read from those before it.

use countermove_proto::v1;
use countermove_proto::v1::incident_event::Kind;
use serde::Serialize;
use serde_json::{Value, json};

use crate::document::{
    Assessment, Candidate, PlanDocument, Rejected, State, Step, TacticBelief, Usage, word,
};
use countermove_proto::remark;

/// An incident from its creation to its end.
#[derive(Clone, Debug, Serialize)]
pub struct RecordDocument {
    /// The plan as it stands.
    pub plan: PlanDocument,
    /// What happened, in order.
    pub events: Vec<Value>,
}

impl RecordDocument {
    /// The record of an incident with these events.
    pub fn new(incident: v1::Incident, events: Vec<v1::IncidentEvent>) -> Self {
        let notices = events.iter().filter_map(|event| event.kind.as_ref().and_then(remark));
        let plan = PlanDocument::new(incident, notices.collect::<Vec<_>>());
        Self { plan, events: events.into_iter().map(event).collect() }
    }

    /// The record as indented JSON.
    ///
    /// # Errors
    /// None for a record that was made by [`RecordDocument::new`].
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

fn event(event: v1::IncidentEvent) -> Value {
    let (kind, what) = event.kind.map_or(("unknown", json!({})), told);
    let mut value = json!({
        "sequence": event.sequence,
        "time": event.time.map(|time| time.to_string()),
        "kind": kind,
    });
    if let (Some(value), Value::Object(what)) = (value.as_object_mut(), what) {
        value.extend(what);
    }
    value
}

fn told(kind: Kind) -> (&'static str, Value) {
    match kind {
        Kind::Created(created) => {
            let (tenant, priority) = (created.tenant.clone(), created.priority());
            let options = created.options.map(crate::document::Options::from);
            let cost_model = created.cost_model.map(crate::document::CostModel::from);
            let digest = created.digest.map(digest);
            let value = json!({
                "options": options,
                "cost_model": cost_model,
                "digest": digest,
                "tenant": tenant,
                "priority": word(priority.as_str_name(), "PRIORITY_"),
            });
            ("created", value)
        }
        Kind::Assessed(assessment) => ("assessed", json!({"assessment": Assessment::from(assessment)})),
        Kind::Proposed(proposed) => {
            let candidates: Vec<Candidate> = proposed.candidates.into_iter().map(Into::into).collect();
            let rejected: Vec<Rejected> = proposed.rejected.into_iter().map(Into::into).collect();
            ("proposed", json!({"step": proposed.step, "candidates": candidates, "rejected": rejected}))
        }
        Kind::Rollout(rollout) => {
            let end = word(rollout.end().as_str_name(), "ROLLOUT_END_");
            let value = json!({
                "step": rollout.step,
                "candidate": rollout.candidate,
                "rollout": rollout.rollout,
                "end": end,
                "cost": rollout.cost,
                "depth": rollout.depth,
                "worker": rollout.worker,
                "usage": rollout.usage.map(Usage::from),
            });
            ("rollout", value)
        }
        Kind::Decided(step) => ("decided", json!({"step": Step::from(step)})),
        Kind::Approved(approved) => (
            "approved",
            json!({
                "step": approved.step,
                "approver": approved.approver,
                "is_automatic": approved.is_automatic,
                "plan_hash": approved.plan_hash,
            }),
        ),
        Kind::Rejected(rejected) => ("rejected", json!({"step": rejected.step, "reason": rejected.reason})),
        Kind::Outcome(outcome) => {
            let state = outcome.state.map(State::from);
            (
                "outcome",
                json!({"step": outcome.step, "state": state, "comparison": outcome.comparison.map(comparison)}),
            )
        }
        Kind::Alerts(alerts) => {
            let digest = alerts.digest.map(digest);
            ("alerts", json!({"digest": digest, "repeated_records": alerts.repeated_records}))
        }
        Kind::Ended(ended) => {
            let end = word(ended.end().as_str_name(), "PLAN_END_");
            let error = Some(ended.error).filter(|error| !error.is_empty());
            ("ended", json!({"end": end, "error": error, "usage": ended.usage.map(Usage::from)}))
        }
        Kind::Notice(notice) => ("notice", json!({"text": notice.text})),
        Kind::Revised(revised) => {
            let before: Vec<TacticBelief> = revised.before.into_iter().map(Into::into).collect();
            let assessment = revised.assessment.map(Assessment::from);
            let value = json!({
                "step": revised.step,
                "reason": revised.reason,
                "before": before,
                "assessment": assessment,
            });
            ("revised", value)
        }
        Kind::Delivery(delivery) => {
            let problem = Some(delivery.problem.as_str()).filter(|problem| !problem.is_empty());
            let value = json!({
                "step": delivery.step,
                "id": delivery.id,
                "status": word(delivery.status().as_str_name(), "DELIVERY_STATUS_"),
                "attempts": delivery.attempts,
                "problem": problem,
                "approver": delivery.approver,
                "is_automatic": delivery.is_automatic,
            });
            ("delivery", value)
        }
        Kind::FellBack(fell_back) => {
            let state = fell_back.state.map(State::from);
            let value = json!({"state": state, "reason": fell_back.reason, "withdrawn_step": fell_back.withdrawn_step});
            ("fell_back", value)
        }
    }
}

/// With the warnings, which a plan's document lists elsewhere.
fn digest(report: v1::DigestReport) -> Value {
    let warnings = report.warnings.clone();
    json!({"read": crate::document::Digest::from(report), "warnings": warnings})
}

fn comparison(comparison: v1::AlertComparison) -> Value {
    let kinds = |kinds: &[v1::AlertKind]| -> Vec<Value> {
        kinds
            .iter()
            .map(|kind| json!({"classification": kind.classification, "priority": kind.priority}))
            .collect()
    };
    json!({
        "tactic": word(comparison.tactic().as_str_name(), "TACTIC_"),
        "predicted": kinds(&comparison.predicted),
        "observed": kinds(&comparison.observed),
        "precision": comparison.precision,
        "holds": comparison.holds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_in_the_record_with_its_own_word() {
        let kinds = vec![
            Kind::Created(Default::default()),
            Kind::Assessed(Default::default()),
            Kind::Proposed(Default::default()),
            Kind::Rollout(Default::default()),
            Kind::Decided(Default::default()),
            Kind::Approved(v1::ActionApproved { step: 3, ..Default::default() }),
            Kind::Rejected(Default::default()),
            Kind::Outcome(v1::OutcomeReported { comparison: Some(Default::default()), ..Default::default() }),
            Kind::Alerts(Default::default()),
            Kind::Revised(Default::default()),
            Kind::FellBack(Default::default()),
            Kind::Delivery(Default::default()),
            Kind::Notice(v1::Notice { text: "worker w-1 was lost".into() }),
            Kind::Ended(Default::default()),
        ];
        let count = kinds.len();
        let events = (1..).zip(kinds).map(|(sequence, kind)| v1::IncidentEvent {
            sequence,
            time: None,
            kind: Some(kind),
        });
        let record = RecordDocument::new(v1::Incident::default(), events.collect());
        let words: std::collections::BTreeSet<String> =
            record.events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(words.len(), count);
        assert_eq!(record.events[5]["step"], 3);
        assert_eq!(record.plan.warnings, ["worker w-1 was lost"]);
        let json: Value = serde_json::from_str(&record.to_json().unwrap()).unwrap();
        assert_eq!(json["events"].as_array().unwrap().len(), count);
        assert!(json["plan"]["version"].is_number());
    }
}
