//! A session on paper: what has to be kept so that somebody else can go on with it.
//!
//! Invariant: a session that was saved and restored over the same evidence goes on as if nothing had happened: the same
//! seeds, the same questions, the same plan. The evidence itself is not part of it; its owner has it already.

use std::time::{Duration, Instant};

use countermove_incident::RecoveryState;
use serde::{Deserialize, Serialize};

use super::{Phase, PlanSession};
use crate::engagement::belief::Round;
use crate::error::PlanError;
use crate::evidence::adaptation::Observed;
use crate::evidence::assessment::Assessment;
use crate::evidence::findings::Finding;
use crate::language_model::{TokenCounter, Usage};
use crate::options::PlanOptions;
use crate::session::plan::PlanStep;
use crate::session::proposals::{Refusal, Taken};

/// Form of what is written below. A change that an older or a newer reader would misread takes the next number.
const VERSION: u32 = 1;

/// Why a saved session cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is damaged, or of a version that this one cannot read.
    #[error("the saved session cannot be read: {0}")]
    Unreadable(String),
    /// Its evidence or its options cannot be used here.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// A session without its evidence.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    pub(crate) incident: String,
    pub(crate) options: PlanOptions,
    assessment: Option<Assessment>,
    state: RecoveryState,
    steps: Vec<PlanStep>,
    taken: Vec<Taken>,
    refusals: Vec<Refusal>,
    #[serde(default)]
    findings: Vec<Finding>,
    withdrawn: Vec<u32>,
    observed: Observed,
    revision: Option<String>,
    #[serde(default)]
    rounds: Vec<Round>,
    #[serde(default)]
    heard: Vec<u64>,
    usage: Usage,
    end_announced: bool,
    phase: Phase,
    /// Tokens behind the incident, for progress alone.
    tokens: u64,
}

impl PlanSession {
    /// The session without its evidence, for [`crate::Planner::restore`].
    pub fn save(&self) -> Vec<u8> {
        // Named one by one: whoever adds a field has to decide here whether it is kept.
        let Self {
            incident,
            options,
            scene: _,
            constraints: _,
            two_approvers: _,
            assessment,
            state,
            steps,
            taken,
            refusals,
            findings,
            withdrawn,
            observed,
            revision,
            rounds,
            heard,
            counts: _,
            news: _,
            usage,
            tokens,
            deadline: _,
            end_announced,
            started: _,
            phase,
        } = self.clone();
        let tokens = tokens.total();
        let saved = Saved {
            version: VERSION,
            incident,
            options,
            assessment,
            state,
            steps,
            taken,
            refusals,
            findings,
            withdrawn,
            observed,
            revision,
            rounds,
            heard,
            usage,
            end_announced,
            phase,
            tokens,
        };
        // Nothing in it can fail to be written: no map has keys other than strings.
        serde_json::to_vec(&saved).unwrap_or_default()
    }
}

impl Saved {
    /// What [`PlanSession::save`] wrote.
    pub(crate) fn read(saved: &[u8]) -> Result<Saved, RestoreError> {
        let unreadable = |error: &dyn std::fmt::Display| RestoreError::Unreadable(error.to_string());
        let saved: Saved = serde_json::from_slice(saved).map_err(|error| unreadable(&error))?;
        if saved.version != VERSION {
            return Err(unreadable(&format!("it has version {}, not {VERSION}", saved.version)));
        }
        Ok(saved)
    }

    /// The session as it was, in the place of a fresh one of the same incident. `age` is the time since the incident was
    /// created.
    pub(crate) fn over(mut self, fresh: PlanSession, age: Duration) -> PlanSession {
        if let Some(assessment) = &mut self.assessment {
            assessment.enable(&self.options.pricing);
        }
        let started = Instant::now().checked_sub(age).unwrap_or(fresh.started);
        let tokens = TokenCounter::default();
        tokens.add(self.tokens);
        PlanSession {
            assessment: self.assessment,
            state: self.state,
            steps: self.steps,
            taken: self.taken,
            refusals: self.refusals,
            findings: self.findings,
            withdrawn: self.withdrawn,
            observed: self.observed,
            revision: self.revision,
            rounds: self.rounds,
            heard: self.heard,
            usage: self.usage,
            tokens,
            deadline: fresh.options.deadline.and_then(|deadline| started.checked_add(deadline)),
            end_announced: self.end_announced,
            started,
            phase: self.phase,
            ..fresh
        }
    }
}
