//! Which candidate to take, from rollouts that ended: pure functions, without a model and without a clock.

pub(crate) mod aggregate;
pub(crate) mod approval;
pub(crate) mod assurance;
pub(crate) mod candidate;
pub(crate) mod choice;
pub(crate) mod race;
pub(crate) mod student_t;
