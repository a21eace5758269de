//! What the model reads and how it answers: the questions, what its answers look like, the menu of actions, and what is
//! left to do, which the questions tell. Training rows are made of the same parts.

pub(crate) mod coverage;
pub(crate) mod menu;
pub(crate) mod past;
pub(crate) mod questions;
pub(crate) mod rows;
pub(crate) mod tasks;
