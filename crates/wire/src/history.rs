//! What planning tells, as the incident's history has it.

use countermove_planner::PlanEvent;
use countermove_proto::v1;
use countermove_proto::v1::incident_event::Kind;

use crate::IntoMessage;

/// What an event of planning says in the history; `None` for a sign of life, which watchers see and nobody keeps. An assessment names
/// `model`, which made it.
pub fn told(event: PlanEvent, model: Option<v1::ModelIdentity>) -> Option<Kind> {
    Some(match event {
        PlanEvent::Assessed(assessment) => {
            Kind::Assessed(v1::Assessment { model, ..assessment.into_message() })
        }
        PlanEvent::Proposed { step, candidates, rejected } => Kind::Proposed(v1::CandidatesProposed {
            step,
            candidates: candidates.into_iter().map(IntoMessage::into_message).collect(),
            rejected: rejected.into_iter().map(IntoMessage::into_message).collect(),
        }),
        PlanEvent::Rollout(report) => Kind::Rollout(report.into_message()),
        PlanEvent::Revised { step, reason, before, assessment } => Kind::Revised(v1::ConjectureRevised {
            step,
            reason,
            before: before.into_iter().map(IntoMessage::into_message).collect(),
            assessment: Some(v1::Assessment { model, ..assessment.into_message() }),
        }),
        PlanEvent::Decided(step) => Kind::Decided(step.into_message()),
        PlanEvent::Approved { step, plan_hash } => Kind::Approved(v1::ActionApproved {
            step,
            approver: String::new(),
            is_automatic: true,
            plan_hash,
            chosen: None,
        }),
        PlanEvent::Notice(text) => Kind::Notice(v1::Notice { text }),
        PlanEvent::Ended(ended) => Kind::Ended(ended.into_message()),
        PlanEvent::Progress(_) => return None,
    })
}
