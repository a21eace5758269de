//! Plans as text for people. Pure functions, of a plan's document, and of messages where there is no plan.

mod access;
mod cluster;
mod evidence;
mod incident;
mod json;
mod step;
mod table;
mod text;

pub(crate) use access::{caller, tokens};
pub(crate) use cluster::{incidents, workers};
pub(crate) use evidence::survey;
pub(crate) use incident::{Page, end_sentence, incident, tactic_name};
pub(crate) use json::{incidents_json, workers_json};
pub(crate) use step::{FACTS, cost, step};
pub(crate) use text::{Style, count, time};
pub use text::{one_line, thousands};
