//! Which actions two people have to approve.
//!
//! An administrator names classes of actions; one that is in any of them needs two people. What a class is about follows from the
//! action's text and from what it takes down, never from what the model says of it.

use std::fmt;
use std::str::FromStr;

use countermove_incident::{Reversibility, VerbClass};

use super::candidate::Candidate;

/// People who have to approve an action in one of the named classes.
const TWO: u32 = 2;

/// A class of actions that two people have to approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionClass {
    /// All of them.
    All,
    /// Those that cut off or clean a host or an account of the system.
    TakesDown,
    /// Those that can be taken back just as well.
    Reversibility(Reversibility),
    /// Those that tell a response of this kind.
    Response(VerbClass),
}

/// A text names no class of actions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no class of actions; classes are {known}", known = known())]
pub struct UnknownClass(String);

impl ActionClass {
    const NAMED: [(&'static str, Self); 4] = [
        ("all", Self::All),
        ("takes_down", Self::TakesDown),
        ("laborious", Self::Reversibility(Reversibility::Laborious)),
        ("irreversible", Self::Reversibility(Reversibility::Irreversible)),
    ];

    fn every() -> impl Iterator<Item = (&'static str, Self)> {
        Self::NAMED.into_iter().chain(VerbClass::ALL.map(|class| (class.name(), Self::Response(class))))
    }

    /// Whether an action is in it. Whom it takes down is known from when the session has taken its step in.
    fn holds(self, candidate: &Candidate) -> bool {
        let text = &candidate.action.text;
        match self {
            Self::All => true,
            Self::TakesDown => !candidate.takes_down.is_empty(),
            Self::Reversibility(class) => Reversibility::of(text) == class,
            Self::Response(class) => VerbClass::of(text).contains(&class),
        }
    }
}

impl FromStr for ActionClass {
    type Err = UnknownClass;

    fn from_str(name: &str) -> Result<Self, UnknownClass> {
        let found = Self::every().find(|(known, _)| *known == name);
        found.map(|(_, class)| class).ok_or_else(|| UnknownClass(name.to_owned()))
    }
}

impl fmt::Display for ActionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::every().find(|(_, class)| class == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

fn known() -> String {
    ActionClass::every().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

/// How many people have to approve a candidate: two if it is in one of the classes, else one.
pub(crate) fn approvers(candidate: &Candidate, classes: &[ActionClass]) -> u32 {
    if classes.iter().any(|class| class.holds(candidate)) { TWO } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choosing::candidate::Action;

    fn candidate(text: &str, takes_down: &[&str]) -> Candidate {
        let action = Action { text: text.to_owned(), explanation: String::new() };
        let takes_down = takes_down.iter().map(|name| (*name).to_owned()).collect();
        Candidate { takes_down, ..Candidate::proposed(0, action, String::new()) }
    }

    #[test]
    fn an_action_in_one_of_the_classes_needs_two() {
        let isolate = candidate("Isolate web01 from the network.", &["web01"]);
        let wipe = candidate("Remove the malware from web01.", &[]);
        let look = candidate("Analyse the traffic of web01.", &[]);
        for (classes, needed) in [
            (&[][..], [1, 1, 1]),
            (&["all"][..], [2, 2, 2]),
            (&["takes_down"], [2, 1, 1]),
            (&["irreversible"], [1, 2, 1]),
            (&["contain"], [2, 1, 1]),
            (&["analyse", "eradicate"], [1, 2, 2]),
        ] {
            let classes: Vec<ActionClass> = classes.iter().map(|name| name.parse().unwrap()).collect();
            let found = [&isolate, &wipe, &look].map(|one| approvers(one, &classes));
            assert_eq!(found, needed, "{classes:?}");
        }
    }

    #[test]
    fn classes_have_names_and_others_are_refused() {
        for (name, class) in ActionClass::every() {
            assert_eq!((name.parse(), class.to_string()), (Ok(class), name.to_owned()));
        }
        let refused = "everything".parse::<ActionClass>().unwrap_err().to_string();
        assert!(refused.contains("takes_down, laborious, irreversible, contain"), "{refused}");
    }
}
