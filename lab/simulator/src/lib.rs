//! Incidents with ground truth: made from a seed, played action by action, and judged.
//!
//! Invariant: nothing here knows the planner, and nothing of a [`Truth`] reaches it; a planner sees
//! [`Scenario::system`] and [`Scenario::log`] alone.
//! Invariant: the same seed and the same data give the same bytes, on any machine.
//! Invariant: no I/O but reading the folder that the caller names, and writing one that it names.

pub mod action;
mod classes;
mod data;
mod distractors;
pub mod evaluation;
mod generate;
mod incident_files;
pub mod oracle;
pub mod phrasing;
mod play;
pub mod policies;
mod recorded;
mod rng;
mod showing;
#[cfg(test)]
mod testing;
mod topology;
mod truth;
mod truth_check;

pub use classes::{classes_of_tactic, tactics_of_class};
pub use data::{DataError, Detection, Flow, FlowStep, Rule, Vocabulary};
pub use distractors::{Distractor, Slip, distractors};
pub use generate::{Generator, GeneratorError, GeneratorOptions};
pub use incident_files::{FileError, LOG_FILE, SYSTEM_FILE, TRUTH_FILE};
pub use play::{Judge, Outcome, Position, World};
pub use showing::Showing;
pub use topology::topology_families;
pub use truth::{
    Account, AccountState, Constraint, ConstraintKind, Family, Host, Injection, Lure, Need, Requirement,
    Role, Scenario, Service, Step, Target, Truth, Way,
};
