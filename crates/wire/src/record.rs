//! The whole record of an incident as a document: the plan, and every event that led to it.
//!
//! Contract: as for [`PlanDocument`]; an event is an object with `sequence`, `time`, `kind` and what belongs to that kind. Events
//! are complete and in order, so that what was known at any moment can be read from those before it.

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::{remark, time_text, v1};
use serde::{Deserialize, Serialize, Serializer};

use crate::document::{
    AlertKind, Assessment, Candidate, CostModel, Delivery, Digest, End, Finding, Options, PlanDocument,
    Priority, Rejected, RolloutEnd, State, Step, Tactic, TacticBelief, Usage,
};

/// An incident from its creation to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordDocument {
    /// The plan as it stands.
    pub plan: PlanDocument,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Something that happened to an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Position in the history, from 1.
    pub sequence: u64,
    /// When, as RFC 3339 writes it.
    pub time: Option<String>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. Its name is the event's `kind`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The incident was created.
    Created {
        /// Options in force.
        options: Option<Options>,
        /// What actions cost.
        cost_model: Option<CostModel>,
        /// How the log was read.
        digest: Option<DigestRead>,
        /// On whose account it is planned.
        tenant: String,
        /// How urgent it is.
        priority: Priority,
    },
    /// Perception is done.
    Assessed {
        /// What was made of the evidence.
        assessment: Assessment,
    },
    /// Candidates of a step were proposed.
    Proposed {
        /// The step.
        step: u32,
        /// The candidates, without cost.
        candidates: Vec<Candidate>,
        /// Proposals that were thrown away.
        rejected: Vec<Rejected>,
    },
    /// A rollout ended.
    Rollout {
        /// The step.
        step: u32,
        /// The candidate.
        candidate: u32,
        /// The rollout, from 0.
        rollout: u32,
        /// How it ended.
        end: RolloutEnd,
        /// Its cost, if it reached recovery.
        cost: Option<f64>,
        /// Actions simulated.
        depth: u32,
        /// Worker that ran it.
        worker: String,
        /// Its model work.
        usage: Option<Usage>,
    },
    /// A step was decided.
    Decided {
        /// The step.
        step: Step,
    },
    /// An action was approved.
    Approved {
        /// The step.
        step: u32,
        /// Who approved; empty if nobody was named.
        approver: String,
        /// Whether no person did.
        is_automatic: bool,
        /// Hash of the step that was approved.
        plan_hash: String,
    },
    /// Somebody approved an action that needs several approvals, and others have to as well.
    Approval {
        /// The step.
        step: u32,
        /// Who approved.
        approver: String,
        /// Hash of the step that was approved.
        plan_hash: String,
    },
    /// An action was rejected.
    Rejected {
        /// The step.
        step: u32,
        /// Why.
        reason: String,
        /// What was found out meanwhile.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        findings: Vec<Finding>,
    },
    /// An outcome was reported.
    Outcome {
        /// The step.
        step: u32,
        /// State after the action.
        state: Option<State>,
        /// What came beside what was expected.
        comparison: Option<Comparison>,
        /// Whether the action could be carried out, if that was told.
        carried_out: Option<bool>,
        /// What was found out.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        findings: Vec<Finding>,
    },
    /// Alerts were added.
    Alerts {
        /// How the whole log reads then.
        digest: Option<DigestRead>,
        /// Records that were there already.
        repeated_records: u64,
    },
    /// Planning ended.
    Ended {
        /// Why.
        end: End,
        /// The fault that ended it.
        error: Option<String>,
        /// Work behind the plan.
        usage: Option<Usage>,
    },
    /// An approved action was sent to the webhook, or was not taken there.
    Delivery(Delivery),
    /// Something that a reader should know.
    Notice {
        /// One sentence.
        text: String,
    },
    /// The conjecture was revised.
    Revised {
        /// The step that is planned with it.
        step: u32,
        /// Why.
        reason: String,
        /// The conjecture before.
        before: Vec<TacticBelief>,
        /// What is made of the evidence now.
        assessment: Option<Assessment>,
    },
    /// The state fell back.
    FellBack {
        /// State now.
        state: Option<State>,
        /// Why.
        reason: String,
        /// The step that was withdrawn.
        withdrawn_step: Option<u32>,
    },
    /// An event of a later version.
    Unknown {},
}

/// How a log was read, with the warnings, which a plan's document lists elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestRead {
    /// The figures.
    pub read: Digest,
    /// What a reader should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Alerts that came beside those that were expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The tactic that was conjectured.
    #[serde(serialize_with = "as_word")]
    pub tactic: Tactic,
    /// Kinds that it was expected to raise.
    pub predicted: Vec<AlertKind>,
    /// Kinds that came.
    pub observed: Vec<AlertKind>,
    /// Share of the expected kinds that came.
    pub precision: f64,
    /// Whether the conjecture stands.
    pub holds: bool,
}

impl RecordDocument {
    /// The record of an incident with these events.
    pub fn new(incident: v1::Incident, events: Vec<v1::IncidentEvent>) -> Self {
        let notices = events.iter().filter_map(|event| event.kind.as_ref().and_then(remark));
        let plan = PlanDocument::new(incident, notices.collect::<Vec<_>>());
        Self { plan, events: events.into_iter().map(Event::from).collect() }
    }

    /// The record as indented JSON.
    ///
    /// # Errors
    /// None for a record that was made by [`RecordDocument::new`].
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl From<v1::IncidentEvent> for Event {
    fn from(event: v1::IncidentEvent) -> Self {
        Self {
            sequence: event.sequence,
            time: event.time.and_then(time_text),
            what: event.kind.map_or(What::Unknown {}, What::from),
        }
    }
}

impl From<Kind> for What {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Created(created) => Self::Created {
                priority: created.priority().into(),
                options: created.options.map(Into::into),
                cost_model: created.cost_model.map(Into::into),
                digest: created.digest.map(Into::into),
                tenant: created.tenant,
            },
            Kind::Assessed(assessment) => Self::Assessed { assessment: assessment.into() },
            Kind::Proposed(proposed) => Self::Proposed {
                step: proposed.step,
                candidates: proposed.candidates.into_iter().map(Into::into).collect(),
                rejected: proposed.rejected.into_iter().map(Into::into).collect(),
            },
            Kind::Rollout(rollout) => Self::Rollout {
                step: rollout.step,
                candidate: rollout.candidate,
                rollout: rollout.rollout,
                end: rollout.end().into(),
                cost: rollout.cost,
                depth: rollout.depth,
                usage: rollout.usage.map(Into::into),
                worker: rollout.worker,
            },
            Kind::Decided(step) => Self::Decided { step: step.into() },
            Kind::Approved(approved) => Self::Approved {
                step: approved.step,
                approver: approved.approver,
                is_automatic: approved.is_automatic,
                plan_hash: approved.plan_hash,
            },
            Kind::Approval(given) => {
                Self::Approval { step: given.step, approver: given.approver, plan_hash: given.plan_hash }
            }
            Kind::Rejected(rejected) => Self::Rejected {
                step: rejected.step,
                reason: rejected.reason,
                findings: rejected.findings.into_iter().map(Into::into).collect(),
            },
            Kind::Outcome(outcome) => Self::Outcome {
                step: outcome.step,
                state: outcome.state.map(Into::into),
                comparison: outcome.comparison.map(Into::into),
                carried_out: outcome.carried_out,
                findings: outcome.findings.into_iter().map(Into::into).collect(),
            },
            Kind::Alerts(alerts) => Self::Alerts {
                digest: alerts.digest.map(Into::into),
                repeated_records: alerts.repeated_records,
            },
            Kind::Ended(ended) => Self::Ended {
                end: ended.end().into(),
                usage: ended.usage.map(Into::into),
                error: Some(ended.error).filter(|error| !error.is_empty()),
            },
            Kind::Delivery(delivery) => Self::Delivery(delivery.into()),
            Kind::Notice(notice) => Self::Notice { text: notice.text },
            Kind::Revised(revised) => Self::Revised {
                step: revised.step,
                reason: revised.reason,
                before: revised.before.into_iter().map(Into::into).collect(),
                assessment: revised.assessment.map(Into::into),
            },
            Kind::FellBack(fell_back) => Self::FellBack {
                state: fell_back.state.map(Into::into),
                reason: fell_back.reason,
                withdrawn_step: fell_back.withdrawn_step,
            },
        }
    }
}

impl From<v1::DigestReport> for DigestRead {
    fn from(report: v1::DigestReport) -> Self {
        Self { warnings: report.warnings.clone(), read: report.into() }
    }
}

impl From<v1::AlertComparison> for Comparison {
    fn from(comparison: v1::AlertComparison) -> Self {
        Self {
            tactic: comparison.tactic().into(),
            predicted: comparison.predicted.into_iter().map(Into::into).collect(),
            observed: comparison.observed.into_iter().map(Into::into).collect(),
            precision: comparison.precision,
            holds: comparison.holds,
        }
    }
}

/// A record has always spelled the tactic of a comparison like the other enumerations.
fn as_word<S: Serializer>(tactic: &Tactic, serializer: S) -> Result<S::Ok, S::Error> {
    let word = match tactic {
        Tactic::Unspecified => "unspecified".to_owned(),
        tactic => tactic.word().to_ascii_lowercase().replace(' ', "_"),
    };
    serializer.serialize_str(&word)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
            Kind::Approval(Default::default()),
            Kind::Rejected(Default::default()),
            Kind::Outcome(v1::OutcomeReported { comparison: Some(Default::default()), ..Default::default() }),
            Kind::Alerts(Default::default()),
            Kind::Revised(Default::default()),
            Kind::FellBack(Default::default()),
            Kind::Delivery(v1::Delivery { status: v1::DeliveryStatus::Pending.into(), ..Default::default() }),
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
        assert_eq!(record.plan.warnings, ["worker w-1 was lost"]);
        let json: Value = serde_json::from_str(&record.to_json().unwrap()).unwrap();
        let events = json["events"].as_array().unwrap();
        let words: Vec<&str> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        let expected = [
            "created",
            "assessed",
            "proposed",
            "rollout",
            "decided",
            "approved",
            "approval",
            "rejected",
            "outcome",
            "alerts",
            "revised",
            "fell_back",
            "delivery",
            "notice",
            "ended",
        ];
        assert_eq!(words, expected);
        assert_eq!(count, expected.len());
        assert_eq!(events[5]["step"], 3);
        let approved: Vec<_> = events[5].as_object().unwrap().keys().collect();
        assert_eq!(approved, ["sequence", "time", "kind", "step", "approver", "is_automatic", "plan_hash"]);
        assert!(json["plan"]["version"].is_number());
    }

    #[test]
    fn a_tactic_that_was_compared_is_a_word() {
        let comparison = v1::AlertComparison {
            tactic: v1::Tactic::CommandAndControl.into(),
            ..v1::AlertComparison::default()
        };
        let json = serde_json::to_value(Comparison::from(comparison)).unwrap();
        assert_eq!(json["tactic"], "command_and_control");
    }
}
