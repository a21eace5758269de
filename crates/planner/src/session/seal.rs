//! The hash of a step: who approves it has seen just this. It can be computed again wherever the step is read.

use countermove_incident::RecoveryState;
use sha2::{Digest, Sha256};

use crate::words::history_line;

/// What the hash of a step is about.
#[derive(Clone, Debug)]
pub struct Seal<'a> {
    /// Name of the incident.
    pub incident: &'a str,
    /// Actions that were taken before, as [`Seal::taken`] tells them.
    pub before: &'a [String],
    /// Position of the step in the plan, from 0.
    pub index: u32,
    /// State before the action.
    pub state_before: RecoveryState,
    /// Index of the chosen candidate.
    pub chosen: u32,
    /// The candidates, in order.
    pub candidates: Vec<SealedCandidate<'a>>,
    /// Why the chosen one.
    pub reason: &'a str,
}

/// What the hash of a step covers of each of its candidates.
#[derive(Clone, Copy, Debug)]
pub struct SealedCandidate<'a> {
    /// Text of the action.
    pub text: &'a str,
    /// Why to do it.
    pub explanation: &'a str,
    /// Mean cost, if any rollout recovered.
    pub mean: Option<f64>,
    /// Predicted state, if there is one.
    pub predicted: Option<RecoveryState>,
}

impl Seal<'_> {
    /// An action that was taken, as later steps tell of it.
    pub fn taken(action: &str, before: RecoveryState, after: RecoveryState) -> String {
        history_line(action, before, after)
    }

    /// SHA-256 over all of it; lower-case hex.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // Lengths first, so that no two lists of parts run together to the same bytes.
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(b"countermove plan step 1");
        part(self.incident.as_bytes());
        part(&(self.before.len() as u64).to_le_bytes());
        self.before.iter().for_each(|line| part(line.as_bytes()));
        part(&self.index.to_le_bytes());
        part(&self.state_before.bits().map(u8::from));
        part(&self.chosen.to_le_bytes());
        for candidate in &self.candidates {
            part(candidate.text.as_bytes());
            part(candidate.explanation.as_bytes());
            part(&candidate.mean.unwrap_or(f64::NAN).to_bits().to_le_bytes());
            part(&candidate.predicted.unwrap_or_default().bits().map(u8::from));
        }
        part(self.reason.as_bytes());
        hex::encode(hash.finalize())
    }
}
