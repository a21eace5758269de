//! An incident as its events make it. A pure fold: the same events give the same incident, on any coordinator.

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    ActionApproved, Approval, Assessment, Decision, DecisionKind, DeliveryStatus, Finding, Incident,
    IncidentEvent, IncidentStatus, ModelIdentity, PendingAction, Plan, PlanMode, PlanStep, RecoveryState,
    StateSource, Usage,
};
use countermove_proto::{duration_from_message, duration_to_message};
use countermove_wire::with_findings;

use super::seal::chosen;

/// The incident of this name before its first event.
pub(crate) fn empty(name: String) -> Incident {
    Incident {
        name,
        plan: Some(Plan::default()),
        state: Some(RecoveryState::default()),
        ..Incident::default()
    }
}

/// Takes an event into an incident. Events come in the order of their sequence numbers.
pub(crate) fn apply(incident: &mut Incident, event: &IncidentEvent) {
    incident.last_sequence = event.sequence;
    incident.update_time = event.time;
    let interactive =
        incident.options.as_ref().is_some_and(|options| options.mode() == PlanMode::Interactive);
    let plan = incident.plan.get_or_insert_default();
    match event.kind.as_ref() {
        Some(Kind::Created(created)) => {
            incident.create_time = event.time;
            incident.options.clone_from(&created.options);
            incident.cost_model.clone_from(&created.cost_model);
            incident.tenant.clone_from(&created.tenant);
            incident.priority = created.priority;
            incident.labels.clone_from(&created.labels);
            incident.external_id.clone_from(&created.external_id);
            incident.set_status(IncidentStatus::Planning);
        }
        Some(Kind::Assessed(assessment)) => {
            // A later look at the evidence revises the picture of the attack, not what was done since.
            if incident.assessment.is_none() {
                incident.state = assessment.state;
            }
            incident.model = assessment.model.clone().filter(|model| *model != ModelIdentity::default());
            incident.assessment = Some(assessment.clone());
        }
        Some(Kind::Revised(revised)) => {
            incident.assessment.clone_from(&revised.assessment);
            incident.revisions.push(revised.clone());
            incident.set_status(IncidentStatus::Planning);
        }
        Some(Kind::FellBack(fell_back)) => {
            incident.state = fell_back.state;
            if let Some(withdrawn) = fell_back.withdrawn_step {
                let decision = Decision {
                    kind: DecisionKind::Withdrawn.into(),
                    reason: fell_back.reason.clone(),
                    ..about(plan, withdrawn, event)
                };
                incident.decisions.push(decision);
                plan.steps.retain(|known| known.index < withdrawn);
            }
            incident.set_status(IncidentStatus::Planning);
        }
        Some(Kind::Decided(step)) => {
            plan.steps.retain(|known| known.index < step.index);
            plan.steps.push(PlanStep { decide_time: event.time, ..step.clone() });
            // A step that is decided anew has cost its work. The end brings the sum of all work, not of decisions alone.
            add(plan.usage.get_or_insert_default(), &step.usage.unwrap_or_default());
            if let Some(state) = step.state_after {
                incident.state = Some(state);
            }
            incident.set_status(match interactive {
                true => IncidentStatus::AwaitingApproval,
                false => IncidentStatus::Planning,
            });
        }
        Some(Kind::Approval(given)) => {
            add_approval(plan, given.step, &given.approver, &given.plan_hash, event);
        }
        Some(Kind::Approved(approved)) => {
            if needs_several(plan, approved) {
                add_approval(plan, approved.step, &approved.approver, &approved.plan_hash, event);
            }
            if let Some(other) = approved.chosen {
                choose(plan, approved, other);
            }
            let decision = Decision {
                kind: DecisionKind::Approved.into(),
                by: approved.approver.clone(),
                is_automatic: approved.is_automatic,
                is_other_choice: approved.chosen.is_some(),
                ..about(plan, approved.step, event)
            };
            incident.decisions.push(decision);
            incident.set_status(IncidentStatus::AwaitingOutcome);
        }
        Some(Kind::Rejected(rejected)) => {
            let decision = Decision {
                kind: DecisionKind::Rejected.into(),
                by: rejected.rejected_by.clone(),
                reason: rejected.reason.clone(),
                findings: rejected.findings.clone(),
                ..about(plan, rejected.step, event)
            };
            incident.decisions.push(decision);
            plan.steps.retain(|known| known.index < rejected.step);
            learn(&mut incident.assessment, &rejected.findings);
            incident.set_status(IncidentStatus::Planning);
        }
        Some(Kind::Outcome(outcome)) => {
            if let Some(step) = plan.steps.iter_mut().find(|step| step.index == outcome.step) {
                step.state_after = outcome.state;
                step.set_state_after_source(StateSource::Reported);
                step.findings.clone_from(&outcome.findings);
            }
            learn(&mut incident.assessment, &outcome.findings);
            incident.state = outcome.state;
            incident.set_status(IncidentStatus::Planning);
        }
        Some(Kind::Delivery(delivery)) => {
            incident.deliveries.retain(|known| known.step != delivery.step);
            incident.deliveries.push(delivery.clone());
        }
        Some(Kind::Ended(ended)) => {
            // What is over is not carried out any more.
            for delivery in &mut incident.deliveries {
                if delivery.status() == DeliveryStatus::Pending {
                    delivery.set_status(DeliveryStatus::Failed);
                    delivery.problem = "planning ended before the receiver took it".to_owned();
                }
            }
            plan.end = ended.end;
            plan.usage = ended.usage;
            incident.error.clone_from(&ended.error);
            incident.set_status(IncidentStatus::Ended);
        }
        Some(Kind::Proposed(_) | Kind::Rollout(_) | Kind::Alerts(_) | Kind::Notice(_)) | None => {}
    }
}

/// Whether others approved before.
fn needs_several(plan: &Plan, approved: &ActionApproved) -> bool {
    let step = plan.steps.iter().find(|step| step.index == approved.step);
    step.is_some_and(|step| step.approvals.iter().any(|given| given.plan_hash == approved.plan_hash))
}

/// Notes one of several approvals.
fn add_approval(plan: &mut Plan, step: u32, approver: &str, plan_hash: &str, event: &IncidentEvent) {
    if let Some(step) = plan.steps.iter_mut().find(|known| known.index == step) {
        let (approver, plan_hash) = (approver.to_owned(), plan_hash.to_owned());
        step.approvals.push(Approval { approver, time: event.time, plan_hash });
    }
}

/// Makes the candidate that a person chose the chosen one of its step.
fn choose(plan: &mut Plan, approved: &ActionApproved, other: u32) {
    let Some(step) = plan.steps.iter_mut().find(|step| step.index == approved.step) else { return };
    let candidate = step.candidates.iter().find(|candidate| candidate.index == other);
    if let (Some(assurance), Some(candidate)) = (&mut step.assurance, candidate) {
        assurance.reversibility = candidate.reversibility;
    }
    step.planner_choice = Some(step.chosen);
    step.chosen = other;
    step.plan_hash.clone_from(&approved.plan_hash);
}

/// Takes what people found out into what is known of who is who.
fn learn(assessment: &mut Option<Assessment>, findings: &[Finding]) {
    let entities = assessment.as_mut().and_then(|known| known.entities.as_mut());
    if let Some(entities) = entities.filter(|_| !findings.is_empty()) {
        *entities = with_findings(std::mem::take(entities), findings);
    }
}

/// What a decision about a step tells of it, whatever was decided.
fn about(plan: &Plan, step: u32, event: &IncidentEvent) -> Decision {
    let known = plan.steps.iter().find(|known| known.index == step);
    Decision {
        step,
        time: event.time,
        action: known.map(chosen),
        plan_hash: known.map(|known| known.plan_hash.clone()).unwrap_or_default(),
        ..Decision::default()
    }
}

/// The incident as lists and queues show it: with the action that waits, and without steps and decisions of its plan.
pub(crate) fn summary(mut incident: Incident) -> Incident {
    incident.pending = pending(&incident);
    if let Some(plan) = &mut incident.plan {
        plan.steps.clear();
    }
    incident.decisions.clear();
    incident
}

/// The action that an incident waits with.
pub(crate) fn pending(incident: &Incident) -> Option<PendingAction> {
    let waits =
        matches!(incident.status(), IncidentStatus::AwaitingApproval | IncidentStatus::AwaitingOutcome);
    let step = incident.plan.as_ref()?.steps.last().filter(|_| waits)?;
    let candidate = step.candidates.iter().find(|candidate| candidate.index == step.chosen)?;
    let assurance = step.assurance.as_ref();
    let approval = incident.decisions.last().filter(|decision| {
        decision.kind() == DecisionKind::Approved && incident.status() == IncidentStatus::AwaitingOutcome
    });
    Some(PendingAction {
        step: step.index,
        action: candidate.action.clone(),
        plan_hash: step.plan_hash.clone(),
        decide_time: step.decide_time,
        takes_down: candidate.takes_down.clone(),
        reversibility: assurance.map(|assurance| assurance.reversibility).unwrap_or_default(),
        is_clear: assurance.is_some_and(|assurance| assurance.is_clear),
        approver: approval.map(|approval| approval.by.clone()).unwrap_or_default(),
        approvers: candidate.approvers,
        approvals: step.approvals.iter().filter(|given| given.plan_hash == step.plan_hash).cloned().collect(),
    })
}

/// The same as releases kept it that knew neither decisions nor times of steps.
pub(crate) fn as_kept_before(mut incident: Incident) -> Incident {
    incident.decisions.clear();
    for step in incident.plan.iter_mut().flat_map(|plan| &mut plan.steps) {
        step.decide_time = None;
    }
    incident
}

/// Adds work to what was done before.
fn add(total: &mut Usage, more: &Usage) {
    let sum = |one: u64, other: u64| one.saturating_add(other);
    let time = |usage: &Usage| usage.elapsed.and_then(duration_from_message).unwrap_or_default();
    *total = Usage {
        prompt_tokens: sum(total.prompt_tokens, more.prompt_tokens),
        cached_tokens: sum(total.cached_tokens, more.cached_tokens),
        sampled_tokens: sum(total.sampled_tokens, more.sampled_tokens),
        forced_tokens: sum(total.forced_tokens, more.forced_tokens),
        rollouts: sum(total.rollouts, more.rollouts),
        discarded_tokens: sum(total.discarded_tokens, more.discarded_tokens),
        elapsed: Some(duration_to_message(time(total).saturating_add(time(more)))),
    };
}

/// Whether an event changes more of an incident than number and time of its last event. Must not be false for an event
/// that [`apply`] makes more of.
pub(crate) fn is_changed_by(kind: &Kind) -> bool {
    !matches!(kind, Kind::Proposed(_) | Kind::Rollout(_) | Kind::Alerts(_) | Kind::Notice(_))
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{
        ActionRejected, Assessment, ConjectureRevised, Delivery, IncidentCreated, OutcomeReported, PlanEnd,
        PlanEnded, PlanOptions, StateFellBack,
    };

    use super::*;

    fn fold(kinds: Vec<Kind>) -> Incident {
        let mut incident = empty("incidents/x".to_owned());
        for (sequence, kind) in (1..).zip(kinds) {
            let time = Some(prost_types::Timestamp { seconds: sequence, nanos: 0 });
            apply(
                &mut incident,
                &IncidentEvent { sequence: sequence.unsigned_abs(), time, kind: Some(kind) },
            );
        }
        incident
    }

    fn created(mode: PlanMode) -> Kind {
        let options = Some(PlanOptions { mode: mode.into(), ..PlanOptions::default() });
        Kind::Created(IncidentCreated { options, ..IncidentCreated::default() })
    }

    fn contained() -> RecoveryState {
        RecoveryState { is_attack_contained: true, ..RecoveryState::default() }
    }

    fn step(index: u32, state_after: Option<RecoveryState>) -> Kind {
        let mut step = PlanStep { index, state_after, ..PlanStep::default() };
        if state_after.is_some() {
            step.set_state_after_source(StateSource::Predicted);
        }
        Kind::Decided(step)
    }

    #[test]
    fn an_offline_plan_goes_on_from_what_is_predicted() {
        let incident = fold(vec![
            created(PlanMode::Offline),
            Kind::Assessed(Assessment::default()),
            step(0, Some(contained())),
        ]);
        assert_eq!(incident.status(), IncidentStatus::Planning);
        assert_eq!(incident.state, Some(contained()));
        assert_eq!((incident.last_sequence, incident.update_time.unwrap().seconds), (3, 3));
        assert_eq!(incident.create_time.unwrap().seconds, 1);
    }

    #[test]
    fn an_incident_that_goes_on_tells_what_its_decisions_took() {
        let decided = |index, tokens| {
            let usage = Some(Usage { sampled_tokens: tokens, rollouts: 9, ..Usage::default() });
            Kind::Decided(PlanStep { index, usage, ..PlanStep::default() })
        };
        // The first was withdrawn and decided anew.
        let kinds = vec![created(PlanMode::Offline), decided(0, 100), decided(0, 20), decided(1, u64::MAX)];
        let usage = fold(kinds).plan.unwrap().usage.unwrap();
        assert_eq!((usage.sampled_tokens, usage.rollouts), (u64::MAX, 27));
    }

    #[test]
    fn an_interactive_plan_waits_for_people() {
        let mut kinds =
            vec![created(PlanMode::Interactive), Kind::Assessed(Assessment::default()), step(0, None)];
        assert_eq!(fold(kinds.clone()).status(), IncidentStatus::AwaitingApproval);
        kinds.push(Kind::Approved(ActionApproved {
            step: 0,
            approver: "ann".into(),
            ..ActionApproved::default()
        }));
        assert_eq!(fold(kinds.clone()).status(), IncidentStatus::AwaitingOutcome);
        kinds.push(Kind::Outcome(OutcomeReported { state: Some(contained()), ..OutcomeReported::default() }));
        let incident = fold(kinds);
        assert_eq!(incident.status(), IncidentStatus::Planning);
        let step = &incident.plan.as_ref().unwrap().steps[0];
        assert_eq!((step.state_after, step.state_after_source()), (Some(contained()), StateSource::Reported));
        assert_eq!(incident.state, Some(contained()));
    }

    #[test]
    fn a_rejected_step_is_not_part_of_the_plan() {
        let rejected =
            Kind::Rejected(ActionRejected { step: 0, reason: "no".into(), ..ActionRejected::default() });
        let kinds = vec![created(PlanMode::Interactive), step(0, None), rejected];
        let incident = fold(kinds.clone());
        assert_eq!(incident.status(), IncidentStatus::Planning);
        assert!(incident.plan.unwrap().steps.is_empty());
        let again = fold(kinds.into_iter().chain([step(0, None)]).collect());
        assert_eq!(again.plan.unwrap().steps.len(), 1);
    }

    #[test]
    fn a_state_that_falls_back_withdraws_the_step_that_waits() {
        let fell_back = StateFellBack {
            state: Some(RecoveryState::default()),
            withdrawn_step: Some(1),
            ..Default::default()
        };
        let revised =
            ConjectureRevised { assessment: Some(Assessment::default()), ..ConjectureRevised::default() };
        let incident = fold(vec![
            created(PlanMode::Interactive),
            step(0, Some(contained())),
            step(1, None),
            Kind::FellBack(fell_back),
            Kind::Revised(revised.clone()),
        ]);
        assert_eq!(
            (incident.status(), incident.state),
            (IncidentStatus::Planning, Some(RecoveryState::default()))
        );
        assert_eq!(incident.plan.unwrap().steps.len(), 1);
        assert_eq!(incident.revisions, [revised]);
    }

    #[test]
    fn a_second_assessment_leaves_the_state_alone() {
        let look = |state| Kind::Assessed(Assessment { state: Some(state), ..Assessment::default() });
        let incident = fold(vec![
            created(PlanMode::Offline),
            look(RecoveryState::default()),
            step(0, Some(contained())),
            look(RecoveryState::default()),
        ]);
        assert_eq!(incident.state, Some(contained()));
    }

    #[test]
    fn a_delivery_is_what_was_last_said_of_it_and_none_outlives_the_end() {
        let delivery = |step, status: DeliveryStatus| {
            Kind::Delivery(Delivery { step, status: status.into(), ..Delivery::default() })
        };
        let mut kinds = vec![
            created(PlanMode::Interactive),
            delivery(0, DeliveryStatus::Pending),
            delivery(0, DeliveryStatus::Taken),
            delivery(1, DeliveryStatus::Pending),
        ];
        let status = |kinds: &[Kind]| -> Vec<DeliveryStatus> {
            fold(kinds.to_vec()).deliveries.iter().map(Delivery::status).collect()
        };
        assert_eq!(status(&kinds), [DeliveryStatus::Taken, DeliveryStatus::Pending]);
        kinds.push(Kind::Ended(PlanEnded::default()));
        assert_eq!(status(&kinds), [DeliveryStatus::Taken, DeliveryStatus::Failed]);
    }

    #[test]
    fn the_end_says_why() {
        let mut ended = PlanEnded { error: "no worker".into(), ..PlanEnded::default() };
        ended.set_end(PlanEnd::Failed);
        let incident = fold(vec![created(PlanMode::Offline), Kind::Ended(ended)]);
        assert_eq!((incident.status(), incident.error.as_str()), (IncidentStatus::Ended, "no worker"));
        assert_eq!(incident.plan.unwrap().end(), PlanEnd::Failed);
    }
}
