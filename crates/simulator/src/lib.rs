//! Incidents with ground truth: made from a seed, played action by action, and judged.
//!
//! Invariant: nothing here knows the planner, and nothing of a [`Truth`] reaches it; a planner sees
//! [`Scenario::system`] and [`Scenario::log`] alone.
//! Invariant: the same seed and the same data give the same bytes, on any machine.
//! Invariant: no I/O but reading the folder that the caller names, and writing one that it names.

pub mod action;
pub mod oracle;
pub mod phrasing;
mod play;
#[cfg(test)]
mod testing;
mod truth;

pub use play::{Judge, Outcome, Progress, World};
pub use truth::{
    Account, AccountState, Constraint, ConstraintKind, Family, Host, Injection, Lure, Need, Requirement,
    Role, Scenario, Service, Step, Target, Truth, Way,
};
