//! What speaks against a name, and the order that follows: who is cut from a list is whom least speaks against.
//!
//! How often something came does not count, or whoever sends most would push everybody else out. Nor do datagrams count as much as
//! connections, since their sender can write any address into them.

use std::collections::BTreeMap;

use crate::evidence::groups::GroupView;

/// Most hosts for which reaching one more makes a case heavier.
const MOST_REACHED: usize = 8;

/// Names with what speaks against each.
#[derive(Debug, Default)]
pub(crate) struct Against(BTreeMap<String, Case>);

#[derive(Debug, Default)]
struct Case {
    is_proven: bool,
    weight: u64,
}

/// Names, those against whom most speaks first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) names: Vec<String>,
    /// How many more there are.
    pub(crate) left_out: usize,
}

impl Against {
    /// Adds a group that shows the name: it weighs by its severity, and by how many hosts the attack got into with it.
    pub(crate) fn add(&mut self, name: &str, group: &GroupView, reached: usize, is_proven: bool) {
        let case = self.0.entry(name.to_owned()).or_default();
        case.is_proven |= is_proven;
        let hosts = 1 + reached.min(MOST_REACHED) as u64;
        case.weight = case.weight.saturating_add(severity(group).saturating_mul(hosts));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All names in order; among equals, by name.
    pub(crate) fn ordered(self) -> Vec<String> {
        let mut cases: Vec<(String, Case)> = self.0.into_iter().collect();
        cases.sort_by_key(|(_, case)| std::cmp::Reverse((case.is_proven, case.weight)));
        cases.into_iter().map(|(name, _)| name).collect()
    }
}

impl Listed {
    /// The first names of a list, and how many do not fit.
    pub(crate) fn first(mut names: Vec<String>, most: usize) -> Listed {
        let left_out = names.len().saturating_sub(most);
        names.truncate(most);
        Listed { names, left_out }
    }
}

/// An alert weighs sixteen times as much as one of the next priority; one whose sensor sets none, as much as a medium one; what a
/// host says of itself, as a low one, and a line that nobody understood still less.
fn severity(group: &GroupView) -> u64 {
    match group.severity {
        Some(severity) => 16_u64.pow(u32::from(4_u8.saturating_sub(severity))),
        None if group.is_alert => 256,
        None if group.is_log => 16,
        None => 1,
    }
}
