//! How actions may begin in a state, as the template `openings.txt.j2` lists it: one opening a line.
//!
//! A line is a whole action, unless it ends in `...`, which lets the model go on, or holds a choice such as `{a|b}`, of which the
//! model names one or more. Behind ` | ` it may say why; then the model is not asked. If the template lists nothing, actions
//! are free text. A small model is a poor writer and a better chooser, so its list is of whole actions; a larger one chooses
//! verb and names apart. Rollouts take all of a choice: what they play is one action of a few.

use countermove_incident::{RecoveryState, VerbClass};
use serde::Serialize;

use crate::evidence::roles::Roles;
use crate::prompts::coverage::Coverage;
use crate::templates::{TemplateError, TemplateName, Templates};
use crate::words::{fenced_line, listed, normalise};

/// How an action may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The words, without the dots; with all of the names, if there is a choice.
    pub(crate) text: String,
    /// Of which names.
    pub(crate) choice: Option<Choice>,
    /// Whether the model may go on.
    pub(crate) continued: bool,
    /// Why one would take it; empty if the template does not say.
    pub(crate) explanation: String,
}

impl Opening {
    /// Whether it stands for more than one action.
    pub(crate) fn is_open(&self) -> bool {
        self.continued || self.choice.is_some()
    }
}

/// An opening in which names are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// What stands before the names.
    pub(crate) before: String,
    /// At least two.
    pub(crate) names: Vec<String>,
    /// What stands behind them.
    pub(crate) after: String,
}

impl Choice {
    /// The first choice of a line, and the line with all of its names.
    fn read(line: &str) -> (String, Option<Choice>) {
        let Some((before, (names, after))) =
            line.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        else {
            return (line.to_owned(), None);
        };
        let names: Vec<String> = names.split('|').map(|name| name.trim().to_owned()).collect();
        let text = format!("{before}{}{after}", listed(&names));
        let choice = Choice { before: before.to_owned(), names, after: after.to_owned() };
        (text, Some(choice).filter(|choice| choice.names.len() > 1))
    }

    /// The names that an action takes of it; `None` if it is another action.
    pub(crate) fn taken<'a>(&self, action: &'a str) -> Option<Vec<&'a str>> {
        let names = action.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        let names: Vec<&str> = names.split(" and ").flat_map(|part| part.split(", ")).collect();
        names.iter().all(|name| self.names.iter().any(|known| known == name)).then_some(names)
    }
}

/// How actions may begin in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Menu {
    pub(crate) openings: Vec<Opening>,
    /// Whether an action may be any sentence, since the templates list none. A list that is empty is another thing: nothing is known that
    /// an action could be about, and a sentence would be made up.
    pub(crate) is_free: bool,
}

impl Menu {
    /// What the template lists in a state that came about by the actions of a history.
    pub(crate) fn new(
        templates: &Templates,
        state: RecoveryState,
        roles: &Roles,
        history: &[String],
    ) -> Result<Menu, TemplateError> {
        Menu::of(templates, state, roles, &Coverage::after(roles, history, state))
    }

    /// The same for what was done.
    pub(crate) fn of(
        templates: &Templates,
        state: RecoveryState,
        roles: &Roles,
        reached: &Coverage<'_>,
    ) -> Result<Menu, TemplateError> {
        #[derive(Serialize)]
        struct Values<'a> {
            state: RecoveryState,
            attackers: &'a [String],
            systems: &'a [String],
            targets: &'a [String],
            left: Left,
        }
        let left = Left::new(reached, roles);
        let Roles { attackers, systems, .. } = roles;
        let values = Values { state, attackers, systems, targets: &roles.to_clean(), left };
        let text = templates.render(TemplateName::Openings, values)?;
        let mut openings: Vec<Opening> = Vec::new();
        for line in text.lines() {
            // A line that lists nothing begins with its explanation.
            let (opening, explanation) = line.split_once("| ").unwrap_or((line, ""));
            let opening = fenced_line(opening);
            let (text, continued) = match opening.strip_suffix("...") {
                Some(start) => (start.trim_end(), true),
                None => (opening.as_str(), false),
            };
            let (text, choice) = Choice::read(text);
            if !text.is_empty() && !openings.iter().any(|known| known.text == text) {
                let explanation = fenced_line(explanation);
                openings.push(Opening { text, choice, continued, explanation });
            }
        }
        Ok(Menu { openings, is_free: !templates.lists_actions() })
    }

    /// A menu of whole actions.
    pub(crate) fn whole<'a>(actions: impl IntoIterator<Item = &'a str>) -> Menu {
        let opening = |text: &str| Opening {
            text: text.to_owned(),
            choice: None,
            continued: false,
            explanation: String::new(),
        };
        Menu { openings: actions.into_iter().map(opening).collect(), is_free: false }
    }

    /// The menu without the whole actions that say the same as one of `actions`.
    pub(crate) fn without<'a>(&self, actions: impl IntoIterator<Item = &'a str>) -> Menu {
        let gone: Vec<String> = actions.into_iter().map(normalise).collect();
        let stays = |opening: &&Opening| opening.is_open() || !gone.contains(&normalise(&opening.text));
        Menu { openings: self.openings.iter().filter(stays).cloned().collect(), ..*self }
    }

    /// An action as the menu would write it: the names of a choice in the menu's order, each once.
    pub(crate) fn in_order(&self, action: &str) -> String {
        let choices = self.openings.iter().filter_map(|opening| opening.choice.as_ref());
        let mut taken = choices.filter_map(|choice| {
            let names = choice.taken(action)?;
            let named: Vec<String> =
                choice.names.iter().filter(|name| names.contains(&name.as_str())).cloned().collect();
            Some(format!("{}{}{}", choice.before, listed(&named), choice.after))
        });
        taken.next().unwrap_or_else(|| action.to_owned())
    }

    /// The menu with all of each choice taken.
    pub(crate) fn without_choices(self) -> Menu {
        let whole = |opening| Opening { choice: None, ..opening };
        Menu { openings: self.openings.into_iter().map(whole).collect(), is_free: self.is_free }
    }

    /// Whether names are chosen in some action.
    pub(crate) fn has_choices(&self) -> bool {
        self.openings.iter().any(|opening| opening.choice.is_some())
    }

    /// Whether it lists nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.openings.is_empty()
    }

    /// Whether the menu explains every action that it allows.
    pub(crate) fn explains(&self) -> bool {
        !self.is_empty() && self.openings.iter().all(|opening| !opening.explanation.is_empty())
    }

    /// Why one would take this action; empty if the menu does not say.
    pub(crate) fn explanation(&self, action: &str) -> &str {
        let matches = |opening: &&Opening| match (&opening.choice, opening.continued) {
            (Some(choice), _) => choice.taken(action).is_some(),
            (None, true) => action.starts_with(&opening.text),
            (None, false) => action == opening.text,
        };
        self.openings.iter().find(matches).map_or("", |opening| &opening.explanation)
    }
}

/// What is left for each kind of response, as the template reads it. Where nothing is left and the fact is missing all
/// the same, everything is: what was done did not do.
#[derive(Debug, Serialize)]
struct Left {
    contain: Contain,
    preserve: Reach,
    analyse: Reach,
    eradicate: Reach,
    harden: Reach,
    restore: Reach,
}

#[derive(Debug, Serialize)]
struct Contain {
    attackers: Vec<String>,
    /// Attacked hosts that need not stay up.
    isolable: Vec<String>,
    accounts: Vec<String>,
    /// Accounts that can be shut out by a new password alone.
    passwords: Vec<String>,
    /// Whether no attacked host has to stay up, so that it may do to isolate them.
    may_isolate: bool,
    /// Whether all attackers can be blocked, so that it may do to shut them out; or else nothing would do.
    may_shut_out: bool,
    /// Whether everything was done already.
    tried: bool,
}

#[derive(Debug, Serialize)]
struct Reach {
    hosts: Vec<String>,
    /// Of what is to be eradicated those that the attacker made, for they are deleted.
    accounts: Vec<String>,
    /// Accounts to be eradicated from that are somebody's own.
    stolen: Vec<String>,
    /// Whether everything was done already.
    tried: bool,
}

impl Left {
    fn new(coverage: &Coverage<'_>, roles: &Roles) -> Left {
        let nothing = Coverage::after(roles, &[], RecoveryState::default());
        let may_be_cut = |host: &String| roles.may_be_cut(host);
        let can_contain = |name: &String| roles.can(VerbClass::Contain, name);
        let left = |kind: VerbClass| {
            let of = |coverage: &Coverage<'_>| {
                let mut left = coverage.left(kind);
                if kind == VerbClass::Contain {
                    left.hosts.retain(may_be_cut);
                    left.attackers.retain(can_contain);
                }
                left
            };
            let own = of(coverage);
            let tried = own.attackers.is_empty() && own.hosts.is_empty() && own.accounts.is_empty();
            (if tried { of(&nothing) } else { own }, tried)
        };
        let reach = |kind: VerbClass| {
            let (left, tried) = left(kind);
            let keeps = |name: &String| kind == VerbClass::Eradicate && roles.stolen_accounts.contains(name);
            let (stolen, accounts) = left.accounts.into_iter().partition(keeps);
            Reach { hosts: left.hosts, accounts, stolen, tried }
        };
        let may_isolate = roles.to_clean().iter().all(may_be_cut);
        let may_shut_out = !may_isolate || roles.can_block();
        let (mut contain, tried) = left(VerbClass::Contain);
        // A host that attacks and has to be cleaned is isolated; to block it as well says nothing more.
        contain.attackers.retain(|name| !contain.hosts.contains(name));
        let (accounts, passwords) = contain.accounts.into_iter().partition(can_contain);
        Left {
            contain: Contain {
                attackers: contain.attackers,
                isolable: contain.hosts,
                accounts,
                passwords,
                may_isolate,
                may_shut_out,
                tried,
            },
            preserve: reach(VerbClass::Preserve),
            analyse: reach(VerbClass::Analyse),
            eradicate: reach(VerbClass::Eradicate),
            harden: reach(VerbClass::Harden),
            restore: reach(VerbClass::Restore),
        }
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::MinuteTable;

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn roles() -> Roles {
        Roles {
            attackers: names(&["203.0.113.7", "198.51.100.3"]),
            systems: names(&["10.0.2.13", "10.0.2.14", "10.0.2.15"]),
            targets: names(&["10.0.2.13", "10.0.2.14"]),
            stolen_accounts: names(&["shop_rw"]),
            planted_accounts: names(&["svc_helper"]),
            ..Roles::default()
        }
    }

    fn menu(state: [bool; 6], roles: &Roles, history: &[&str]) -> Vec<String> {
        let templates = Templates::load(None).unwrap();
        let menu = Menu::new(&templates, RecoveryState::from_bits(state), roles, &names(history)).unwrap();
        assert!(menu.explains() || menu.is_empty());
        menu.openings.into_iter().map(|opening| opening.text).collect()
    }

    #[test]
    fn where_no_host_is_known_the_accounts_are_what_a_response_is_about() {
        let roles = Roles {
            attackers: names(&["203.0.113.7"]),
            stolen_accounts: names(&["bob@example.com"]),
            planted_accounts: names(&["svc_helper"]),
            ..Roles::default()
        };
        assert_eq!(
            menu([false; 6], &roles, &[]),
            [
                "Disable the account bob@example.com and block all traffic from 203.0.113.7",
                "Save the logs of the account bob@example.com",
                "Search the logs of the account bob@example.com for what the attacker did",
            ]
        );
        assert_eq!(
            menu([true, true, true, false, false, false], &roles, &[]),
            [
                "Remove the sessions, tokens and factors of the account bob@example.com and delete the account svc_helper",
                "Reset the password of the account bob@example.com",
            ]
        );
        assert_eq!(
            menu([true, true, true, true, true, false], &roles, &[]),
            ["Restore the access of the account bob@example.com and check it"]
        );
        let state = RecoveryState::default();
        let saved = "Save the logs of the account bob@example.com";
        let objects = crate::prompts::past::objects(saved, &roles);
        assert_eq!(objects, [(VerbClass::Preserve, ["bob@example.com".to_owned()].into())]);
        let reached = Coverage::of(&roles, &[]).within_reach(&objects, state, None);
        assert_eq!(reached, RecoveryState { are_forensics_preserved: true, ..state });
    }

    #[test]
    fn the_menu_reaches_everything_at_once() {
        assert_eq!(
            menu([false; 6], &roles(), &[]),
            [
                "Isolate 10.0.2.13 and 10.0.2.14 from the network, disable the account shop_rw and block all traffic from \
                 203.0.113.7 and 198.51.100.3",
                "Disable the account shop_rw and block all traffic from 203.0.113.7 and 198.51.100.3",
                "Isolate 10.0.2.13 and 10.0.2.14 from the network",
                "Save the logs and a memory image of 10.0.2.13 and 10.0.2.14",
                "Search the logs of 10.0.2.13 and 10.0.2.14 for what the attacker did",
            ]
        );
        assert_eq!(
            menu([true, true, true, false, false, false], &roles(), &[]),
            [
                "Remove the malware and the backdoors from 10.0.2.13 and 10.0.2.14 and delete the account svc_helper",
                "Patch and harden 10.0.2.13 and 10.0.2.14 and reset the password of the account shop_rw",
            ]
        );
        assert_eq!(
            menu([true, true, true, true, true, false], &roles(), &[]),
            ["Restore the services of 10.0.2.13 and 10.0.2.14 and check them"]
        );
        assert!(menu([true; 6], &roles(), &[]).is_empty());
    }

    fn able(text: &str) -> Roles {
        let table = MinuteTable::parse(&format!("other = {{ work = 30 }}\n{text}")).unwrap();
        roles().able(&table.capabilities)
    }

    #[test]
    fn what_the_organisation_cannot_do_is_not_offered() {
        let dear = able("[[response]]\ndoes = \"contain\"\nto = \"host\"\nexcept = [\"10.0.2.14\"]");
        assert_eq!(
            menu([false; 6], &dear, &[])[..2],
            [
                "Isolate 10.0.2.13 from the network, disable the account shop_rw and block all traffic from 203.0.113.7 and \
                 198.51.100.3",
                "Disable the account shop_rw and block all traffic from 203.0.113.7 and 198.51.100.3",
            ]
        );
        assert!(
            !menu([false; 6], &dear, &[]).contains(&"Isolate 10.0.2.13 from the network".to_owned()),
            "it does not do"
        );
        let no_firewall = able("[[response]]\ndoes = \"contain\"\nto = \"address\"\npossible = false");
        assert_eq!(
            menu([false; 6], &no_firewall, &[])[..2],
            [
                "Isolate 10.0.2.13 and 10.0.2.14 from the network and disable the account shop_rw",
                "Isolate 10.0.2.13 and 10.0.2.14 from the network",
            ]
        );
        let no_locks = able("[[response]]\ndoes = \"contain\"\nto = \"account\"\nexcept = [\"SHOP_RW\"]");
        assert_eq!(
            menu([false; 6], &no_locks, &[])[1],
            "Reset the password of the account shop_rw and block all traffic from 203.0.113.7 and 198.51.100.3"
        );
    }

    #[test]
    fn what_was_reached_is_left_out_unless_it_was_not_enough() {
        let known = [true, true, false, false, false, false];
        let one = ["Save the logs of 10.0.2.13 (it changed nothing)"];
        assert!(
            menu(known, &roles(), &one).contains(&"Save the logs and a memory image of 10.0.2.14".to_owned())
        );
        let all = ["Save the logs of 10.0.2.13 and 10.0.2.14 (it changed nothing)"];
        let again = "Save the logs and a memory image of 10.0.2.13 and 10.0.2.14".to_owned();
        assert!(menu(known, &roles(), &all).contains(&again));
    }

    #[test]
    fn what_was_tried_in_vain_blocks_nothing_that_follows() {
        let all = [
            "Isolate 10.0.2.13 and 10.0.2.14, disable the account shop_rw and block all traffic from 203.0.113.7 \
                    and 198.51.100.3 (it changed nothing)",
        ];
        let patch = "Patch and harden 10.0.2.13 and 10.0.2.14 and reset the password of the account shop_rw"
            .to_owned();
        let tried = menu([false; 6], &roles(), &all);
        assert!(tried.contains(&patch));
        assert!(tried[1].starts_with("Reset the password of the account shop_rw and block"), "{tried:?}");
        assert!(!menu([false; 6], &roles(), &[]).contains(&patch));
    }

    #[test]
    fn hosts_that_have_to_stay_up_are_not_isolated() {
        let roles = Roles { kept: names(&["10.0.2.13"]), ..roles() };
        let menu = menu([false; 6], &roles, &[]);
        assert!(menu[0].starts_with("Isolate 10.0.2.14 from the network, "), "{menu:?}");
        assert!(!menu.iter().any(|text| text.starts_with("Isolate 10.0.2.14 from the network and")
            || text == "Isolate 10.0.2.14 from the network"));
    }

    #[test]
    fn unknown_attackers_and_hosts_leave_what_is_known() {
        let nobody = Roles { targets: names(&["10.0.2.13"]), ..Roles::default() };
        assert_eq!(menu([false; 6], &nobody, &[])[0], "Isolate 10.0.2.13 from the network");
        let nothing = Roles { attackers: names(&["203.0.113.7"]), ..Roles::default() };
        assert_eq!(menu([false; 6], &nothing, &[]), ["Block all traffic from 203.0.113.7"]);
        assert!(menu([false; 6], &Roles::default(), &[]).is_empty());
    }

    #[test]
    fn a_choice_takes_any_of_its_names_and_writes_them_in_order() {
        let (text, choice) = Choice::read("Isolate {10.0.2.13|10.0.2.14|web01} from the network");
        assert_eq!(text, "Isolate 10.0.2.13, 10.0.2.14 and web01 from the network");
        let opening = Opening { text, choice, continued: false, explanation: "It helps.".into() };
        let menu = Menu { openings: vec![opening], is_free: false };
        for (written, ordered) in [
            ("web01", "web01"),
            ("web01 and 10.0.2.13", "10.0.2.13 and web01"),
            ("10.0.2.14, web01 and 10.0.2.14", "10.0.2.14 and web01"),
        ] {
            let action = menu.in_order(&format!("Isolate {written} from the network"));
            assert_eq!(action, format!("Isolate {ordered} from the network"));
            assert_eq!(menu.explanation(&action), "It helps.");
        }
        let other = "Isolate 10.0.2.1 from the network";
        assert_eq!((menu.in_order(other).as_str(), menu.explanation(other)), (other, ""));
        // What is listed whole is gone with its text; a choice is not.
        assert!(!menu.without([menu.openings[0].text.as_str()]).is_empty());
        let whole = menu.without_choices();
        assert!(whole.without([whole.openings[0].text.as_str()]).is_empty());
        let (text, choice) = Choice::read("Save the logs of {web01}");
        assert_eq!((text.as_str(), choice), ("Save the logs of web01", None), "one name is no choice");
    }

    #[test]
    fn the_large_profile_offers_names_apart_and_keeps_the_order_of_a_response() {
        let templates = Templates::built_in(crate::templates::Profile::Large).unwrap();
        let menu = |state: RecoveryState| Menu::new(&templates, state, &roles(), &[]).unwrap();
        let first = menu(RecoveryState::default());
        assert!(!first.explains(), "the model says why");
        let isolate = first.openings.iter().find(|opening| opening.text.starts_with("Isolate")).unwrap();
        let names = &isolate.choice.as_ref().unwrap().names;
        assert_eq!(*names, ["10.0.2.13", "10.0.2.14"]);
        let offers =
            |menu: &Menu, verb: &str| menu.openings.iter().any(|opening| opening.text.starts_with(verb));
        assert!(offers(&first, "Block") && offers(&first, "Save") && offers(&first, "Search"));
        assert!(!offers(&first, "Remove") && !offers(&first, "Restore") && !offers(&first, "Patch"));
        let kept = RecoveryState {
            is_attack_contained: true,
            are_forensics_preserved: true,
            ..RecoveryState::default()
        };
        assert!(
            offers(&menu(kept), "Remove") && offers(&menu(kept), "Patch") && !offers(&menu(kept), "Isolate")
        );
    }
}
