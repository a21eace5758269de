//! The loop and what it works on: a session, what is asked in which order, and the plan that comes of it.

pub(crate) mod engaging;
pub(crate) mod events;
pub(crate) mod expectation;
pub(crate) mod perception;
pub(crate) mod plan;
pub(crate) mod plan_session;
pub(crate) mod planner;
pub(crate) mod proposals;
pub(crate) mod rounds;
pub(crate) mod seal;
