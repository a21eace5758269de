//! What a round showed of each host, from what perception makes of its records.

use std::collections::BTreeMap;

use countermove_incident::{Catalogue, CatalogueAction, Tactic};

use super::belief::Sight;
use super::field::Field;
use crate::evidence::conclusion::LOOKING;
use crate::evidence::groups::GroupView;
use crate::evidence::hosts::Hosts;
use crate::evidence::judgement::Judgement;
use crate::evidence::reading::Reading;

/// Tactics of which trying to break into it consists. All others are work on it.
const BREAKING_IN: [Tactic; 3] = [Tactic::InitialAccess, Tactic::CredentialAccess, Tactic::LateralMovement];

/// What a group of records of a round shows of hosts.
pub(crate) struct Shown<'a> {
    pub(crate) group: &'a GroupView,
    pub(crate) reading: &'a Reading,
    pub(crate) judgement: &'a Judgement,
}

/// What the groups of a round show of the hosts of the catalogue. `action` is what was done in it: if a host was searched, what names
/// nobody else is what the search found.
pub(crate) fn sights(catalogue: &Catalogue, hosts: &Hosts, shown: &[Shown<'_>], action: &str) -> Vec<Sight> {
    let field = Field::new(catalogue);
    let searched =
        field.deed(action).filter(|deed| field.action(*deed).is_some_and(|action| action.finds > 0.0));
    let mut sights: BTreeMap<&str, Sight> = BTreeMap::new();
    for (host, name) in field.names.iter().copied().enumerate() {
        let address = hosts.address_of(name);
        let is_it = |other: &String| other == name || address == Some(other.as_str());
        for Shown { group, reading, judgement } in shown {
            let parts = &group.parts;
            let is_named = parts.aimed_at.iter().chain(&parts.to_inside).chain(&parts.wrote).any(is_it);
            if !is_named {
                continue;
            }
            let sight = sights.entry(name).or_insert_with(|| Sight { host: name.into(), ..Sight::default() });
            if searched.is_some_and(|deed| deed.host == Some(host))
                && parts.outside.is_empty()
                && !parts.from_inside.iter().any(|from| !is_it(from))
            {
                sight.trace = true;
                continue;
            }
            let message = group.words.message.as_str();
            let is_alert =
                |action: &CatalogueAction| !action.alert.is_empty() && message.contains(&action.alert);
            let (looking, breaking_in) = (share(reading, &LOOKING), share(reading, &BREAKING_IN));
            let seen = if field.actions.iter().any(is_alert) {
                // The organisation itself set up what says so.
                Sight { deflected: 1.0, ..Sight::default() }
            } else {
                Sight {
                    probe: judgement.attack * looking,
                    attempt: judgement.attack * breaking_in,
                    work: judgement.attack * (1.0 - looking - breaking_in).max(0.0),
                    ..Sight::default()
                }
            };
            // Of several groups the one that tells most counts: they are about one thing that the attacker did.
            if seen.told() > sight.told() {
                *sight = Sight { host: std::mem::take(&mut sight.host), trace: sight.trace, ..seen };
            }
        }
    }
    sights.into_values().collect()
}

/// What was seen in a round at first and what was seen later, taken together.
pub(crate) fn together(first: &[Sight], later: Vec<Sight>) -> Vec<Sight> {
    let mut all = later;
    for sight in first {
        match all.iter_mut().find(|other| other.host == sight.host) {
            None => all.push(sight.clone()),
            Some(other) => {
                let trace = other.trace || sight.trace;
                if sight.told() > other.told() {
                    *other = sight.clone();
                }
                other.trace = trace;
            }
        }
    }
    all
}

/// How likely what a reading shows is one of these tactics, if it is an attack.
fn share(reading: &Reading, tactics: &[Tactic]) -> f32 {
    let (mut these, mut all) = (0.0, 0.0);
    for (tactic, probability) in &reading.tactics {
        all += probability;
        if tactics.contains(tactic) {
            these += probability;
        }
    }
    if all > 0.0 { these / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(tactics: &[(Tactic, f32)]) -> Reading {
        Reading { everyday: 0.0, tactics: tactics.to_vec() }
    }

    fn group(to: &str, from: &str) -> GroupView {
        let mut group = GroupView::default();
        group.parts.aimed_at.insert(to.into());
        if !from.is_empty() {
            group.parts.from_inside.insert(from.into());
        }
        group
    }

    #[test]
    fn looking_and_work_are_told_apart_by_host() {
        let catalogue = Catalogue::parse(super::super::field::tests::NETWORK).unwrap();
        let hosts =
            Hosts::read("pc1 at 10.0.0.1 and web at 10.0.1.1.", &["10.0.0.1".into(), "10.0.1.1".into()]);
        let likely = Judgement { attack: 0.8, ..Judgement::default() };
        let scan = reading(&[(Tactic::Discovery, 0.75), (Tactic::InitialAccess, 0.25)]);
        let work = reading(&[(Tactic::LateralMovement, 1.0)]);
        let (on_pc, on_web) = (group("10.0.0.1", "10.0.0.9"), group("10.0.1.1", "10.0.0.9"));
        let shown = [
            Shown { group: &on_pc, reading: &scan, judgement: &likely },
            Shown { group: &on_web, reading: &work, judgement: &likely },
        ];
        let seen = sights(&catalogue, &hosts, &shown, "");
        let sight = |host: &str, probe: f32, attempt: f32| Sight {
            host: host.into(),
            probe,
            attempt,
            ..Sight::default()
        };
        assert_eq!(seen.len(), 2);
        assert!((seen[0].probe - 0.6).abs() < 1e-6 && (seen[0].attempt - 0.2).abs() < 1e-6, "{seen:?}");
        assert_eq!(seen[1], sight("web", 0.0, 0.8));
        assert_eq!(sights(&catalogue, &hosts, &[], ""), []);
    }

    #[test]
    fn what_a_decoy_tells_of_was_turned_away() {
        let told = super::super::field::tests::NETWORK
            .replace("deflects = 0.5", "deflects = 0.5\n        alert = \"decoy service\"");
        let catalogue = Catalogue::parse(&told).unwrap();
        let hosts = Hosts::read("web at 10.0.1.1.", &["10.0.1.1".into()]);
        let (unlikely, read) =
            (Judgement { attack: 0.1, ..Judgement::default() }, reading(&[(Tactic::Execution, 1.0)]));
        let mut hit = group("10.0.1.1", "10.0.0.9");
        hit.words.message = "Connection to the decoy service at port 443".into();
        let shown = [Shown { group: &hit, reading: &read, judgement: &unlikely }];
        let seen = sights(&catalogue, &hosts, &shown, "");
        assert_eq!(seen, [Sight { host: "web".into(), deflected: 1.0, ..Sight::default() }]);
    }

    #[test]
    fn what_a_search_finds_is_a_trace() {
        let catalogue = Catalogue::parse(super::super::field::tests::NETWORK).unwrap();
        let hosts = Hosts::read("pc1 at 10.0.0.1.", &["10.0.0.1".into()]);
        let (likely, read) =
            (Judgement { attack: 0.8, ..Judgement::default() }, reading(&[(Tactic::Execution, 1.0)]));
        let found = group("10.0.0.1", "");
        let shown = [Shown { group: &found, reading: &read, judgement: &likely }];
        assert!(sights(&catalogue, &hosts, &shown, "Search pc1")[0].trace);
        assert!(!sights(&catalogue, &hosts, &shown, "Search pc2")[0].trace);
    }
}
