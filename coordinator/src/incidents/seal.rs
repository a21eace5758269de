//! Whether a step of an incident is the one that its hash names. Asked before an approval is taken and before an action is
//! sent, over the incident as its events make it.

use countermove_planner::{Seal, SealedCandidate};
use countermove_proto::v1::{Action, Candidate, Incident, PlanStep};
use countermove_wire::recovery_state;

/// The step, if its content is what its hash was made of.
///
/// # Errors
/// One sentence that says what does not fit.
pub(super) fn sealed(incident: &Incident, step: u32) -> Result<&PlanStep, String> {
    let steps = incident.plan.as_ref().map_or(&[][..], |plan| &plan.steps);
    let step = steps.iter().find(|known| known.index == step);
    let step = step.ok_or_else(|| "there is no such step".to_owned())?;
    match hash(&incident.name, before(incident, step.index), step) {
        hash if hash == step.plan_hash => Ok(step),
        hash => Err(format!(
            "step {} is not the one that its hash {} names: it has the hash {hash}",
            step.index, step.plan_hash
        )),
    }
}

/// Checks that a hash is that of a step, or of the step with another of its candidates as the chosen one.
///
/// # Errors
/// One sentence that says what does not fit.
pub(super) fn names(incident: &Incident, step: u32, named: &str) -> Result<(), String> {
    let step = sealed(incident, step)?;
    let is_named = |candidate: &Candidate| {
        let chosen = PlanStep { chosen: candidate.index, ..step.clone() };
        hash(&incident.name, before(incident, step.index), &chosen) == named
    };
    if step.plan_hash == named || step.candidates.iter().any(is_named) {
        return Ok(());
    }
    Err(format!("step {} has no candidate with the hash {named}", step.index))
}

/// Steps before one.
fn before(incident: &Incident, step: u32) -> &[PlanStep] {
    let steps = incident.plan.as_ref().map_or(&[][..], |plan| &plan.steps);
    &steps[..steps.iter().position(|known| known.index == step).unwrap_or(steps.len())]
}

/// The chosen candidate of a step.
pub(super) fn chosen_candidate(step: &PlanStep) -> Option<&Candidate> {
    step.candidates.iter().find(|candidate| candidate.index == step.chosen)
}

/// The chosen action of a step.
pub(super) fn chosen(step: &PlanStep) -> Action {
    chosen_candidate(step).and_then(|candidate| candidate.action.clone()).unwrap_or_default()
}

fn hash(incident: &str, done: &[PlanStep], step: &PlanStep) -> String {
    let state = |state: Option<countermove_proto::v1::RecoveryState>| state.map(recovery_state);
    let before: Vec<String> = done
        .iter()
        .filter_map(|done| {
            let (before, after) = (state(done.state_before).unwrap_or_default(), state(done.state_after)?);
            Some(Seal::taken(&chosen(done).text, before, after))
        })
        .collect();
    let candidates = step.candidates.iter().map(|candidate| {
        let (text, explanation) =
            candidate.action.as_ref().map_or(("", ""), |action| (&*action.text, &*action.explanation));
        let mean = candidate.cost.as_ref().and_then(|cost| cost.mean);
        SealedCandidate { text, explanation, mean, predicted: state(candidate.predicted_state) }
    });
    let seal = Seal {
        incident,
        before: &before,
        index: step.index,
        state_before: state(step.state_before).unwrap_or_default(),
        chosen: step.chosen,
        candidates: candidates.collect(),
        reason: &step.reason,
    };
    seal.hash()
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{self, CostEstimate, Plan};

    use super::*;

    /// An incident with two steps, each under its hash.
    fn incident() -> Incident {
        let contained = v1::RecoveryState { is_attack_contained: true, ..Default::default() };
        let step = |index, text: &str| PlanStep {
            index,
            state_before: Some(if index == 0 { v1::RecoveryState::default() } else { contained }),
            candidates: vec![Candidate {
                action: Some(Action { text: text.to_owned(), explanation: "since".to_owned() }),
                cost: Some(CostEstimate { mean: Some(3.5), ..Default::default() }),
                ..Default::default()
            }],
            reason: "it is best".to_owned(),
            ..Default::default()
        };
        let name = "incidents/x".to_owned();
        let mut steps = vec![step(0, "Isolate 10.0.2.13"), step(1, "Restore 10.0.2.13")];
        steps[0].state_after = Some(contained);
        for index in 0..2 {
            steps[index].plan_hash = hash(&name, &steps[..index], &steps[index]);
        }
        Incident { name, plan: Some(Plan { steps, ..Default::default() }), ..Default::default() }
    }

    #[test]
    fn a_step_whose_content_was_changed_is_not_the_one_that_its_hash_names() {
        let whole = incident();
        assert_eq!(sealed(&whole, 0).unwrap().index, 0);
        assert_eq!(sealed(&whole, 1).unwrap().index, 1);
        assert!(sealed(&whole, 2).is_err());
        let edits: [fn(&mut Incident); 4] = [
            |incident| incident.name = "incidents/y".to_owned(),
            |incident| action(incident, 1).text = "Shut down db01".to_owned(),
            |incident| action(incident, 0).text = "Wait".to_owned(),
            |incident| incident.plan.as_mut().unwrap().steps[1].candidates[0].cost = None,
        ];
        for edit in edits {
            let mut changed = whole.clone();
            edit(&mut changed);
            let refused = sealed(&changed, 1).unwrap_err();
            assert!(refused.contains("is not the one that its hash"), "{refused}");
        }
    }

    #[test]
    fn a_hash_may_name_another_candidate_and_no_other_step() {
        let mut incident = incident();
        let steps = &mut incident.plan.as_mut().unwrap().steps;
        let other = Candidate {
            index: 1,
            action: Some(Action { text: "Block 203.0.113.9".to_owned(), ..Action::default() }),
            ..Candidate::default()
        };
        steps[1].candidates.push(other);
        let (done, rest) = steps.split_at_mut(1);
        rest[0].plan_hash = hash("incidents/x", done, &rest[0]);
        let second = hash("incidents/x", done, &PlanStep { chosen: 1, ..rest[0].clone() });
        let (first, own) = (done[0].plan_hash.clone(), rest[0].plan_hash.clone());
        assert_ne!(second, own);
        assert_eq!(names(&incident, 1, &own), Ok(()));
        assert_eq!(names(&incident, 1, &second), Ok(()));
        assert!(names(&incident, 1, &first).is_err());
        action(&mut incident, 1).text.push('!');
        assert!(names(&incident, 1, &second).is_err(), "the step is not what its hash names");
    }

    fn action(incident: &mut Incident, step: usize) -> &mut Action {
        incident.plan.as_mut().unwrap().steps[step].candidates[0].action.as_mut().unwrap()
    }
}
