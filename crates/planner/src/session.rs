//! An incident being planned, as a value: what is known, what was decided, and whose turn it is.
//!
//! A session is driven from outside. [`crate::Planner::step`] does the next piece of model work; in interactive mode
//! an operator approves, rejects and reports between them. Transitions are plain functions without I/O, so a history
//! of decisions can be replayed.
//!
//! Invariants: model work changes a session only when it is complete, so dropping it leaves the session as it was;
//! a session that has ended never changes again; the state moves on only by a reported or a predicted outcome.

mod saved;

use std::sync::Arc;
use std::time::Instant;

use countermove_incident::RecoveryState;
use serde::{Deserialize, Serialize};

use crate::assessment::Assessment;
use crate::language_model::{TokenCounter, Usage};
use crate::options::{PlanMode, PlanOptions};
use crate::plan::{Plan, PlanEnd, PlanEnded, PlanStep, StateAfter, StateSource};
use crate::prompts::history_line;
use crate::scene::Scene;
use crate::seeds::derive_seed;
pub use saved::RestoreError;

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The evidence has to be read.
    Perception,
    /// The next step has to be decided.
    Decision,
    /// The last step's action waits for an approval.
    Approval,
    /// The approved action waits for its outcome.
    Outcome,
    /// Planning has ended.
    Ended(PlanEnded),
}

/// Why an operator's word cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Nobody waits for this now.
    #[error("{what} is not possible now: {now}")]
    NotNow {
        /// What was tried.
        what: &'static str,
        /// What the incident waits for.
        now: &'static str,
    },
    /// It is about another step than the current one.
    #[error("step {step} is not the one that waits; that is step {current}")]
    WrongStep {
        /// The step that was named.
        step: u32,
        /// The step that waits.
        current: u32,
    },
    /// It is about another action than the chosen one.
    #[error("the action of step {step} is {chosen:?}, not {named:?}")]
    WrongAction {
        /// The step.
        step: u32,
        /// Its action.
        chosen: String,
        /// The action that was named.
        named: String,
    },
}

/// An action that was taken, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) step: u32,
    pub(crate) action: String,
    pub(crate) before: RecoveryState,
    pub(crate) after: RecoveryState,
}

impl Taken {
    /// Facts that it brought about.
    pub(crate) fn gained(&self) -> Vec<usize> {
        self.before.gained(self.after)
    }
}

/// An action that the operator rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) step: u32,
    pub(crate) action: String,
    pub(crate) reason: String,
}

/// An incident being planned.
#[derive(Clone, Debug)]
pub struct PlanSession {
    pub(crate) incident: String,
    pub(crate) options: PlanOptions,
    pub(crate) scene: Arc<Scene>,
    pub(crate) assessment: Option<Assessment>,
    pub(crate) state: RecoveryState,
    pub(crate) steps: Vec<PlanStep>,
    pub(crate) taken: Vec<Taken>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) usage: Usage,
    pub(crate) tokens: TokenCounter,
    pub(crate) deadline: Option<Instant>,
    pub(crate) end_announced: bool,
    started: Instant,
    phase: Phase,
}

impl PlanSession {
    pub(crate) fn new(incident: String, options: PlanOptions, scene: Arc<Scene>) -> Self {
        let started = Instant::now();
        Self {
            incident,
            // A deadline beyond what the clock can hold is none.
            deadline: options.deadline.and_then(|deadline| started.checked_add(deadline)),
            options,
            scene,
            assessment: None,
            state: RecoveryState::default(),
            steps: Vec::new(),
            taken: Vec::new(),
            refusals: Vec::new(),
            usage: Usage::default(),
            tokens: TokenCounter::default(),
            end_announced: false,
            started,
            phase: Phase::Perception,
        }
    }

    /// Whose turn it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Name of the incident.
    pub fn incident(&self) -> &str {
        &self.incident
    }

    /// Options in force.
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// What was made of the evidence.
    pub fn assessment(&self) -> Option<&Assessment> {
        self.assessment.as_ref()
    }

    /// How the evidence was read, with what was left out.
    pub fn digest(&self) -> &countermove_incident::DigestReport {
        &self.scene.report
    }

    /// State now.
    pub fn state(&self) -> RecoveryState {
        self.state
    }

    /// Decisions so far.
    pub fn steps(&self) -> &[PlanStep] {
        &self.steps
    }

    /// A live count of the tokens behind the incident, for progress alone.
    pub fn tokens(&self) -> &TokenCounter {
        &self.tokens
    }

    /// When planning has to end.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The plan as it stands. Before planning has ended, its end is [`PlanEnd::Cancelled`].
    pub fn plan(&self) -> Plan {
        let ended = match &self.phase {
            Phase::Ended(ended) => ended.clone(),
            _ => PlanEnded { end: PlanEnd::Cancelled, error: String::new(), usage: self.usage_now() },
        };
        Plan { assessment: self.assessment.clone(), steps: self.steps.clone(), ended }
    }

    /// Approves the action of the step that waits; it now waits for its outcome.
    ///
    /// # Errors
    /// If no approval is waited for, or step or action are not the current ones.
    pub fn approve(&mut self, step: u32, action: &str) -> Result<(), SessionError> {
        let current = self.waiting("an approval", &Phase::Approval, step)?;
        if current.action() != action {
            return Err(SessionError::WrongAction {
                step,
                chosen: current.action().to_owned(),
                named: action.to_owned(),
            });
        }
        self.phase = Phase::Outcome;
        Ok(())
    }

    /// Rejects the action of the step that waits. The step is taken back and decided again; the model reads the
    /// reason, and the same action is not proposed again.
    ///
    /// # Errors
    /// If no approval is waited for, or the step is not the current one.
    pub fn reject(&mut self, step: u32, reason: &str) -> Result<(), SessionError> {
        let action = self.waiting("a rejection", &Phase::Approval, step)?.action().to_owned();
        self.steps.pop();
        self.refusals.push(Refusal { step, action, reason: reason.trim().to_owned() });
        self.phase = Phase::Decision;
        Ok(())
    }

    /// Takes the state that was found after the approved action. It may have fallen back.
    ///
    /// # Errors
    /// If no outcome is waited for, or the step is not the current one.
    pub fn report_outcome(&mut self, step: u32, state: RecoveryState) -> Result<(), SessionError> {
        self.waiting("an outcome", &Phase::Outcome, step)?;
        self.arrive(StateAfter { state, source: StateSource::Reported });
        Ok(())
    }

    /// Ends planning because the caller wants it. Nothing happens if it has ended.
    pub fn cancel(&mut self) {
        self.end(PlanEnd::Cancelled, String::new());
    }

    /// Ends planning because its deadline has passed. Nothing happens if it has ended.
    pub fn expire(&mut self) {
        self.end(PlanEnd::Deadline, String::new());
    }

    /// Takes what perception concluded.
    pub(crate) fn assessed(&mut self, assessment: Assessment, usage: Usage) {
        self.usage += usage;
        self.state = assessment.state;
        let is_incident = assessment.is_incident;
        self.assessment = Some(assessment);
        self.phase = Phase::Decision;
        if !is_incident {
            self.end(PlanEnd::NoIncident, String::new());
        }
    }

    /// Takes a decision. In offline mode its predicted state becomes the next one at once.
    pub(crate) fn decided(&mut self, step: PlanStep) {
        self.usage += step.usage;
        let predicted = step.chosen_candidate().and_then(|candidate| candidate.predicted_state);
        self.steps.push(step);
        match self.options.mode {
            PlanMode::Interactive => self.phase = Phase::Approval,
            PlanMode::Offline => {
                let state = predicted.unwrap_or(self.state);
                self.arrive(StateAfter { state, source: StateSource::Predicted });
            }
        }
    }

    /// Ends planning, unless it has ended.
    pub(crate) fn end(&mut self, end: PlanEnd, error: String) {
        if !matches!(self.phase, Phase::Ended(_)) {
            self.phase = Phase::Ended(PlanEnded { end, error, usage: self.usage_now() });
        }
    }

    /// The step that is to be decided next.
    pub(crate) fn next_step(&self) -> u32 {
        self.steps.len() as u32
    }

    /// Root of the seeds of the next decision. A step that is decided again after a rejection has other seeds.
    pub(crate) fn decision_seed(&self) -> u64 {
        let step = self.next_step();
        let rejections = self.refusals.iter().filter(|refusal| refusal.step == step).count();
        derive_seed(self.options.seed, "decision", &[u64::from(step), rejections as u64])
    }

    /// Actions taken so far, as prompts tell them.
    pub(crate) fn history(&self) -> Vec<String> {
        self.taken.iter().map(|taken| history_line(&taken.action, taken.before, taken.after)).collect()
    }

    fn usage_now(&self) -> Usage {
        Usage { elapsed: self.started.elapsed(), ..self.usage }
    }

    fn arrive(&mut self, after: StateAfter) {
        let Some(step) = self.steps.last_mut() else { return };
        step.state_after = Some(after);
        self.taken.push(Taken {
            step: step.index,
            action: step.action().to_owned(),
            before: step.state_before,
            after: after.state,
        });
        self.state = after.state;
        self.phase = Phase::Decision;
        if after.state.is_terminal() {
            self.end(PlanEnd::Recovered, String::new());
        } else if self.next_step() >= self.options.max_steps {
            self.end(PlanEnd::StepLimit, String::new());
        }
    }

    /// The current step, if it waits in this phase and is the one that was named.
    fn waiting(&self, what: &'static str, phase: &Phase, step: u32) -> Result<&PlanStep, SessionError> {
        let now = match &self.phase {
            Phase::Perception => "the evidence is being read",
            Phase::Decision => "a step is being decided",
            Phase::Approval => "an action waits for approval or rejection",
            Phase::Outcome => "an approved action waits for its outcome",
            Phase::Ended(_) => "planning has ended",
        };
        match self.steps.last() {
            Some(current) if self.phase == *phase => match current.index {
                index if index == step => Ok(current),
                current => Err(SessionError::WrongStep { step, current }),
            },
            _ => Err(SessionError::NotNow { what, now }),
        }
    }
}
