//! Rollouts: what goes to whoever runs them and comes back, how one is simulated, and what every action has to keep to.

pub(crate) mod advance;
pub(crate) mod answers;
pub(crate) mod audit;
pub(crate) mod checks;
pub(crate) mod runner;
pub(crate) mod simulate;
pub(crate) mod terms;
pub(crate) mod world;
