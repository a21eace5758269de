//! The six facts of recovery, and where each comes from.

use countermove_proto::v1::{Incident, PlanMode, PlanStep, RecoveryState, StateSource};
use countermove_wire::document::FACTS;
use countermove_wire::recovery_state;

use crate::decisions::chosen;

/// Where it comes from that a fact holds, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// An outcome that somebody reported.
    Reported,
    /// The model's prediction, in an offline plan.
    Predicted,
    /// The evidence.
    Evidence,
}

/// A fact now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) word: &'static str,
    pub(super) holds: bool,
    pub(super) source: Source,
    /// The step after which it came to be so, from 1; 0: before the first.
    pub(super) step: u64,
    /// The action that waits or is carried out is predicted to bring it about.
    pub(super) is_expected: bool,
}

impl Fact {
    /// Where it comes from, in a few words.
    pub(super) fn from(&self) -> String {
        let after = if self.step > 0 { format!(", step {}", self.step) } else { String::new() };
        match self.source {
            Source::Reported => format!("reported{after}"),
            _ if self.is_expected => "predicted next".to_owned(),
            _ if !self.holds => "open".to_owned(),
            Source::Predicted => format!("predicted{after}"),
            Source::Evidence => "by the evidence".to_owned(),
        }
    }
}

/// The facts in the order of a response.
pub(super) fn facts(incident: &Incident) -> Vec<Fact> {
    let steps = incident.plan.as_ref().map_or(&[][..], |plan| &plan.steps);
    let bits = |state: Option<RecoveryState>| recovery_state(state.unwrap_or_default()).bits();
    let now = bits(incident.state);
    let predicted = bits(open(incident).and_then(|step| chosen(step).predicted_state));
    let first = steps.first().and_then(|step| step.state_before);
    let mut facts = Vec::new();
    for ((place, word), (holds, is_predicted)) in
        FACTS.into_iter().enumerate().zip(now.into_iter().zip(predicted))
    {
        let at = |state: Option<RecoveryState>| bits(state).get(place).copied().unwrap_or_default();
        let (mut source, mut after, mut before) = (Source::Evidence, 0, at(first));
        for step in steps {
            let from = match step.state_after_source() {
                StateSource::Reported => Source::Reported,
                StateSource::Predicted => Source::Predicted,
                StateSource::Unspecified => continue,
            };
            let became = at(step.state_after);
            if became != before {
                (source, after) = (from, u64::from(step.index) + 1);
            } else if from == Source::Reported {
                source = from;
            }
            before = became;
        }
        // The last report may be overtaken by what was seen since.
        if before != holds {
            (source, after) = (Source::Evidence, 0);
        }
        facts.push(Fact { word, holds, source, step: after, is_expected: !holds && is_predicted });
    }
    facts
}

/// The step that waits for a decision or for its outcome.
pub(super) fn open(incident: &Incident) -> Option<&PlanStep> {
    let is_interactive = incident.options.is_some_and(|options| options.mode() == PlanMode::Interactive);
    let last = incident.plan.as_ref()?.steps.last()?;
    (is_interactive && last.state_after_source() == StateSource::Unspecified).then_some(last)
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{Candidate, Plan, PlanOptions};

    use super::*;

    fn state(contained: bool, understood: bool) -> Option<RecoveryState> {
        Some(RecoveryState {
            is_attack_contained: contained,
            is_knowledge_sufficient: understood,
            ..RecoveryState::default()
        })
    }

    #[test]
    fn a_fact_says_whether_it_was_reported_or_predicted() {
        let reported = PlanStep {
            state_before: state(false, false),
            state_after: state(true, false),
            state_after_source: StateSource::Reported.into(),
            ..PlanStep::default()
        };
        let waits = PlanStep {
            index: 1,
            state_before: state(true, false),
            candidates: vec![Candidate { predicted_state: state(true, true), ..Candidate::default() }],
            ..PlanStep::default()
        };
        let options = PlanOptions { mode: PlanMode::Interactive.into(), ..PlanOptions::default() };
        let mut incident = Incident {
            options: Some(options),
            state: state(true, false),
            plan: Some(Plan { steps: vec![reported, waits], ..Plan::default() }),
            ..Incident::default()
        };
        let told = |incident: &Incident| -> Vec<String> {
            facts(incident).iter().take(3).map(|fact| format!("{} {}", fact.holds, fact.from())).collect()
        };
        assert_eq!(told(&incident), ["true reported, step 1", "false reported", "false reported"]);
        incident.state = state(false, false);
        assert_eq!(told(&incident)[0], "false predicted next", "what was seen since overtakes it");
        let plan = incident.plan.as_mut().unwrap();
        plan.steps[0].set_state_after_source(StateSource::Predicted);
        incident.state = state(true, false);
        assert_eq!(told(&incident), ["true predicted, step 1", "false predicted next", "false open"]);
    }
}
