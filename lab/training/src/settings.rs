//! How a run is made, and the values that it has by default.

use std::path::PathBuf;
use std::time::Duration;

use countermove_model::Part;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// Models with more parameters than this are trained with the paper's values.
const LARGE: u64 = 1_000_000_000;

/// How to train. What a run computes depends on these alone (and, with a time limit, on time).
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSettings {
    /// Rank of each projection's change; even.
    pub rank: usize,
    /// The change is multiplied with alpha / rank.
    pub alpha: f32,
    /// Share of each adapter input that is dropped in training.
    pub dropout: f32,
    /// Projections that are changed.
    pub targets: Vec<Part>,
    /// Highest learning rate.
    pub rate: f64,
    /// Examples of one optimisation step.
    pub batch: usize,
    /// Most tokens that are computed together; a batch is cut into packs of this size, whose gradients are added.
    pub pack_tokens: usize,
    /// Longest example in tokens.
    pub length: usize,
    /// Times that the data is gone through.
    pub epochs: usize,
    /// Most optimisation steps.
    pub steps: Option<usize>,
    /// Time after which training ends; the learning rate falls to zero by then.
    pub time_limit: Option<Duration>,
    /// Share of the steps over which the learning rate rises.
    pub warm_up: f64,
    /// Decay of the parameters, as a share of the learning rate.
    pub decay: f64,
    /// Largest norm of a step's gradient; longer ones are scaled down to it.
    pub clip: f64,
    /// Examples with a common prefix that stay together in one batch.
    pub together: usize,
    /// Steps between two looks at the validation loss.
    pub validate_every: usize,
    /// Validation examples that are looked at.
    pub validation_examples: usize,
    /// Looks without a better validation loss after which training ends.
    pub patience: Option<usize>,
    /// Steps between two checkpoints.
    pub checkpoint_every: usize,
    /// Computes each layer twice and keeps less in memory.
    pub recompute: bool,
    /// Whether the reasoning before answers is trained.
    pub thinking: bool,
    /// Tasks to train on, and how often; empty means all, once in an epoch.
    pub tasks: Vec<TaskShare>,
    /// Most training examples.
    pub examples: Option<usize>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Type of the numbers in the adapter's file.
    pub stored: Stored,
    /// How products are computed on CPUs.
    pub precision: Precision,
    /// Adapter that training starts from instead of one that changes nothing.
    pub start: Option<PathBuf>,
}

/// A task that is trained, and how often an epoch goes through its rows: 2 means twice, 0.5 through every other row.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskShare {
    /// Its name in the rows.
    pub name: String,
    /// Times that an epoch goes through its rows; above 0.
    pub times: f64,
}

impl TaskShare {
    /// How often an epoch holds this row of the task, counted from 0.
    pub(crate) fn copies(&self, row: usize) -> usize {
        let upto = |rows: usize| (rows as f64 * self.times).floor() as usize;
        upto(row + 1) - upto(row)
    }
}

impl std::str::FromStr for TaskShare {
    type Err = String;

    /// `state` or `state=0.5`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, times) = text.split_once('=').unwrap_or((text, "1"));
        let times = times.parse().ok().filter(|times| (0.001..=1000.0).contains(times));
        let times = times.ok_or_else(|| format!("{text:?} does not end in a number from 0.001 to 1000"))?;
        if name.is_empty() {
            return Err(format!("{text:?} names no task"));
        }
        Ok(Self { name: name.to_owned(), times })
    }
}

/// Type of the numbers in an adapter's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// 16-bit floating point with the exponent of single precision.
    #[default]
    Bf16,
    /// 32-bit floating point.
    F32,
}

/// How products are computed on CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// With factors in bfloat16 if the CPU has instructions for it, in single precision otherwise.
    #[default]
    Auto,
    /// With factors in bfloat16, and sums in single precision.
    Bf16,
    /// In single precision.
    F32,
}

impl TrainSettings {
    /// Defaults for a model of so many parameters: for large ones those of arXiv 2602.13156, section 5; for small ones
    /// what docs/training.md reports. A GPU is filled by more tokens at a time than a CPU.
    pub fn for_parameters(parameters: u64, on_gpu: bool) -> Self {
        let large = parameters > LARGE;
        Self {
            rank: if large { 64 } else { 16 },
            alpha: if large { 128.0 } else { 32.0 },
            dropout: if large { 0.05 } else { 0.0 },
            targets: crate::adapter::PARTS.to_vec(),
            rate: if large { 9.5e-4 } else { 1e-3 },
            batch: 32,
            pack_tokens: match (large, on_gpu) {
                (true, _) => 4096,
                (false, true) => 16_384,
                (false, false) => 2048,
            },
            length: if large { 4096 } else { 2048 },
            epochs: 1,
            steps: None,
            time_limit: None,
            warm_up: 0.03,
            decay: 0.0,
            clip: 1.0,
            together: 8,
            validate_every: 50,
            validation_examples: 256,
            patience: None,
            checkpoint_every: 50,
            recompute: large,
            thinking: large,
            tasks: Vec::new(),
            examples: None,
            seed: 1,
            stored: Stored::default(),
            precision: Precision::default(),
            start: None,
        }
    }

    /// Checks all ranges.
    ///
    /// # Errors
    /// [`TrainError::Setting`], naming the first that does not fit.
    pub fn check(&self) -> Result<(), TrainError> {
        let finite = |value: f64| value.is_finite() && value >= 0.0;
        let wrong = |name, value: &dyn ToString, expected| {
            Err(TrainError::Setting { name, value: value.to_string(), expected })
        };
        if self.rank == 0 || self.rank > 1024 || !self.rank.is_multiple_of(2) {
            return wrong("the rank", &self.rank, "an even number from 2 to 1024");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return wrong("alpha", &self.alpha, "a number above 0");
        }
        if !(0.0..0.9).contains(&self.dropout) {
            return wrong("the dropout", &self.dropout, "at least 0 and below 0.9");
        }
        if self.targets.is_empty() {
            return wrong("the list of targets", &"empty", "one projection or more");
        }
        if !(finite(self.rate) && self.rate > 0.0) {
            return wrong("the learning rate", &self.rate, "a number above 0");
        }
        if !(finite(self.clip) && self.clip > 0.0) {
            return wrong("the clipping norm", &self.clip, "a number above 0");
        }
        if !finite(self.decay) {
            return wrong("the decay", &self.decay, "0 or more");
        }
        if !(0.0..=1.0).contains(&self.warm_up) {
            return wrong("the warm-up", &self.warm_up, "a share of the steps, from 0 to 1");
        }
        for (name, value) in [
            ("the batch", self.batch),
            ("the number of tokens in a pack", self.pack_tokens),
            ("the length", self.length),
            ("the number of epochs", self.epochs),
            ("the number of examples that stay together", self.together),
            ("the number of steps between validations", self.validate_every),
            ("the number of steps between checkpoints", self.checkpoint_every),
        ] {
            if value == 0 || value > 1 << 30 {
                return wrong(name, &value, "a whole number above 0");
            }
        }
        Ok(())
    }

    /// What a run must not change between a checkpoint and its resumption.
    pub(crate) fn fingerprint(&self) -> String {
        // How often it looks at itself and for how long it runs changes nothing that was computed so far.
        let kept = Self {
            validate_every: 1,
            checkpoint_every: 1,
            patience: None,
            time_limit: None,
            recompute: false,
            stored: Stored::default(),
            ..self.clone()
        };
        format!("{kept:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_says_how_often_a_row_is_seen() {
        let copies = |text: &str| -> Vec<usize> {
            let share: TaskShare = text.parse().unwrap();
            (0..6).map(|row| share.copies(row)).collect()
        };
        assert_eq!(copies("state"), [1; 6]);
        assert_eq!(copies("alerts=2.5"), [2, 3, 2, 3, 2, 3]);
        assert_eq!(copies("state=0.5"), [0, 1, 0, 1, 0, 1]);
        for wrong in ["state=", "state=0", "state=-1", "state=NaN", "=2", "state=1e9"] {
            assert!(wrong.parse::<TaskShare>().is_err(), "{wrong}");
        }
    }
}
