//! What a response action says: which kinds of response it tells somebody to carry out, and on what.
//!
//! It reads English sentences and the common shell commands. What is forbidden, asked, considered or only mentioned is
//! told from what is to be done; each thing named belongs to the verb that acts on it, so `isolate A and collect the
//! logs of B` isolates A alone. An action that names nothing acts on nothing: `isolate the compromised hosts` leaves it
//! to the reader which hosts those are.
//!
//! Invariant: no text makes it panic. The first 16 KiB of an action are read.

mod commands;
mod mood;
mod names;
mod roles;
mod sentences;

use countermove_incident::VerbClass;

pub use mood::Mood;
pub use names::{Names, Subject};

/// An action, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// What it says, in order.
    pub clauses: Vec<Clause>,
    /// Whether it says that there is nothing to respond to.
    pub dismisses: bool,
}

/// One verb of an action with what it acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// What is done.
    pub deed: Deed,
    /// Whether it is to be done.
    pub mood: Mood,
    /// What it is done to.
    pub objects: Vec<Subject>,
    /// The other end, if the objects are cut off from something in particular: `isolate A from B`.
    pub peers: Vec<Subject>,
    /// Whether what it is done to no longer works while and after it is done: isolating, shutting down, rebuilding.
    pub interrupts: bool,
}

/// What a clause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A kind of response.
    Respond(VerbClass),
    /// Lets its objects and peers reach each other.
    Open,
}

/// Bytes of an action that are read. An action is a sentence or a few lines.
const LONGEST: usize = 16 * 1024;

impl Action {
    /// Reads an action's text with the names of the system that it is about.
    pub fn parse(text: &str, names: &Names) -> Action {
        let text = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text);
        let (commands, prose) = commands::split(text);
        let mut clauses = sentences::clauses(&prose, names);
        clauses.extend(commands::clauses(&commands, &prose, names));
        clauses.sort_by_key(|(start, _)| *start);
        let clauses = clauses.into_iter().map(|(_, clause)| clause).collect();
        Action { clauses, dismisses: sentences::dismisses(text) }
    }

    /// The clauses that are to be done.
    pub fn told(&self) -> impl Iterator<Item = &Clause> {
        self.clauses.iter().filter(|clause| clause.mood == Mood::Told)
    }

    /// The kinds of response that are to be carried out, in the order in which they are named, each once.
    pub fn kinds(&self) -> Vec<VerbClass> {
        let mut kinds = Vec::new();
        for clause in self.told() {
            if let Deed::Respond(kind) = clause.deed
                && !kinds.contains(&kind)
            {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The clauses that carry out this kind of response.
    pub fn of(&self, kind: VerbClass) -> impl Iterator<Item = &Clause> {
        self.told().filter(move |clause| clause.deed == Deed::Respond(kind))
    }
}

#[cfg(test)]
mod tests;
