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
pub(crate) use cluster::{incident_status, incidents, priority, tenant, workers};
pub(crate) use evidence::survey;
pub(crate) use incident::{NOT_ASSESSED, Page, approvals, end_sentence, incident, tactic_name};
pub(crate) use json::{incidents_json, workers_json};
pub(crate) use step::{clear, cost, step};
pub(crate) use text::{Style, count, cut, hanging, pad, time, width};
pub use text::{one_line, thousands};
