//! What the evidence says by itself: who is who on which host, the groups of the log with their surroundings, what
//! follows from verdicts on them, and whether later alerts fit.
//!
//! Nothing here asks a model.

pub(crate) mod accounts;
pub(crate) mod adaptation;
pub(crate) mod against;
pub(crate) mod assessment;
pub(crate) mod attacks;
pub(crate) mod beliefs;
pub(crate) mod clients;
pub(crate) mod conclusion;
pub(crate) mod contacts;
pub(crate) mod findings;
pub(crate) mod groups;
pub(crate) mod hosts;
pub(crate) mod infrastructure;
pub(crate) mod judgement;
pub(crate) mod lines;
pub(crate) mod naming;
pub(crate) mod parts;
pub(crate) mod reading;
pub(crate) mod roles;
pub(crate) mod scene;
pub(crate) mod surroundings;
pub(crate) mod suspects;
pub(crate) mod verdicts;
pub(crate) mod wording;
