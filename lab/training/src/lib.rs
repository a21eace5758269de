//! Fine-tuning with LoRA: frozen weights, a change of low rank for each projection, and the loss on answers alone.
//!
//! [`Trainer`] reads rows of prompts and answers, encodes them as the engine would, and writes an adapter in PEFT's
//! format that the engine, and Python's `peft`, load. It depends on the model crate for weights and texts and knows no
//! incidents.
//!
//! Speed on CPUs comes from four things: a prefix that several examples share is computed once ([`pack`]), logits are
//! computed for answers only, frozen weights get no gradient ([`decoder`]), and products run in bfloat16
//! ([`kernels::cpu`]).
//!
//! Invariant: with the same base, data and settings a run gives the same adapter, whether or not it was killed and
//! taken up again, and on any number of threads. (A time limit makes time one of the settings.)

mod adapter;
mod batches;
mod chart;
mod checkpoint;
mod data;
mod decoder;
mod error;
mod kernels;
mod learner;
mod optimiser;
mod pack;
mod peft;
mod random;
mod settings;
mod trainer;

pub use chart::chart;
pub use data::{DataReport, split_files};
pub use error::TrainError;
pub use peft::set_calibration;
pub use settings::{Precision, Stored, TaskShare, TrainSettings};
pub use trainer::{EndReason, Go, LOG, TrainEvent, TrainFiles, Trainer};

#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;
