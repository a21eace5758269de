//! In whose terms the model is asked. Worlds differ in who has fallen and in what was found out, and a menu names whoever that is. What the
//! model says is about the kind of action: whether it works to do this to all of them, and what comes next. So wherever the plan's own hosts
//! and accounts make the same sentences, it is asked about those, and worlds that differ ask it the same.

use std::collections::BTreeSet;

use crate::evidence::roles::Roles;
use crate::prompts::menu::Menu;

/// An action of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worded {
    /// As it is taken.
    pub(crate) action: String,
    /// As the model is asked about it.
    pub(crate) asked: String,
}

impl Worded {
    /// One that the model is asked about as it stands.
    pub(crate) fn as_it_stands(action: String) -> Worded {
        Worded { asked: action.clone(), action }
    }
}

/// The lines of a menu, each with the line of the plan's menu that says the same of those whom the plan is about; `None` if there is one
/// that has none. `own` and `planned` are whom the menus name.
pub(crate) fn in_terms_of_the_plan(
    (menu, own): (&Menu, &Roles),
    (plans_menu, planned): (&Menu, &Roles),
) -> Option<Vec<Worded>> {
    let (lines, plans_lines) = (&menu.openings, &plans_menu.openings);
    if lines.len() != plans_lines.len() {
        return None;
    }
    let (own, planned) = (Names::of(own), Names::of(planned));
    lines
        .iter()
        .zip(plans_lines)
        .map(|(line, plans)| {
            let (action, asked) = (&line.text, &plans.text);
            let is_alike = action == asked || own.left_out_of(action).eq(planned.left_out_of(asked));
            is_alike.then(|| Worded { action: action.clone(), asked: asked.clone() })
        })
        .collect()
}

/// What a sentence may be about.
pub(crate) struct Names<'a>(BTreeSet<&'a str>);

impl<'a> Names<'a> {
    pub(crate) fn of(roles: &'a Roles) -> Self {
        Self(roles.all().collect())
    }

    /// The words of a sentence without the names, and without what depends on how many there are.
    pub(crate) fn left_out_of<'b>(&self, sentence: &'b str) -> impl Iterator<Item = &'b str> {
        let words = sentence.split_whitespace().map(|word| word.trim_end_matches(','));
        words
            .filter(|word| !self.0.contains(word) && *word != "and")
            .map(|word| if word == "accounts" { "account" } else { word })
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::RecoveryState;

    use super::*;
    use crate::prompts::coverage::Coverage;
    use crate::templates::Templates;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn worded(world: &Roles, plan: &Roles, state: [bool; 6]) -> Option<Vec<Worded>> {
        let (templates, state) = (Templates::load(None).unwrap(), RecoveryState::from_bits(state));
        let reached = Coverage::of(world, &[]);
        let menu = Menu::of(&templates, state, world, &reached).unwrap();
        let plans = Menu::of(&templates, state, plan, &reached.alike(plan)).unwrap();
        in_terms_of_the_plan((&menu, world), (&plans, plan))
    }

    #[test]
    fn who_has_fallen_makes_no_other_question() {
        let plan = Roles {
            attackers: names(&["203.0.113.7"]),
            systems: names(&["10.0.0.5", "10.0.0.6", "10.0.0.7"]),
            targets: names(&["10.0.0.5", "10.0.0.6"]),
            stolen_accounts: names(&["admin"]),
            ..Roles::default()
        };
        let world = Roles {
            targets: names(&["10.0.0.7"]),
            stolen_accounts: names(&["admin", "root"]),
            ..plan.clone()
        };
        let open = [false; 6];
        let lines = worded(&world, &plan, open).unwrap();
        assert_eq!(
            lines[0],
            Worded {
                action: "Isolate 10.0.0.7 from the network, disable the accounts admin and root and block all traffic from 203.0.113.7".into(),
                asked: "Isolate 10.0.0.5 and 10.0.0.6 from the network, disable the account admin and block all traffic from 203.0.113.7".into(),
            }
        );
        assert!(lines.iter().all(|line| line.action != line.asked), "{lines:?}");
        let nothing_stolen = |roles: &Roles| Roles { stolen_accounts: Vec::new(), ..roles.clone() };
        let lines = worded(&nothing_stolen(&world), &plan, open).unwrap();
        assert_eq!(
            lines[0].asked,
            "Isolate 10.0.0.5 and 10.0.0.6 from the network and block all traffic from 203.0.113.7",
            "who has none left is asked about none"
        );
        assert_eq!(worded(&world, &nothing_stolen(&plan), open), None, "the plan knows of none");
        let late = [true, true, true, true, false, false];
        assert_eq!(worded(&world, &plan, late).map(|lines| lines.len()), Some(2));
    }
}
