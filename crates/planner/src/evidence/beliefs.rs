//! Which tactics are at work and how clearly, with the techniques and the evidence of each.
//!
//! A tactic is named if it is likelier than not that some record shows it. Groups with one message are one piece of evidence, which
//! shows a tactic as likely as the likeliest of them does; pieces are taken to be independent of each other (a noisy-or). So the
//! expected number of wrong answers is the least, those that are named wrongly and those that are missed together. All this is said for the
//! case that there is an attack, which among noise is not as good as certain: there everything is as likely as beside the likeliest group.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{Tactic, technique, techniques_of};

use crate::evidence::assessment::{EvidenceLine, TacticBelief, TechniqueName};
use crate::evidence::conclusion::Shown;
use crate::evidence::groups::GroupView;
use crate::evidence::scene::Scene;
use crate::evidence::surroundings::{between, noise};

/// Most groups that are listed for a tactic.
const MAX_EVIDENCE: usize = 5;
/// Most techniques that are listed for a tactic because messages name them.
const MAX_NAMED: usize = 2;
/// Most techniques that are listed for a tactic because records state them.
const MAX_STATED: usize = 8;

/// From this chance on a tactic is named; the likeliest is, in any case.
const NAMED: f32 = 0.5;
/// The same among noise, where the sets that can be named at all are worse: where the F1 of a set is best lies at half of it.
const NAMED_AMONG_NOISE: f32 = 0.4;
/// A group speaks for a tactic that it shows with this chance or more.
const SPEAKS: f32 = 0.1;

/// The tactics by the weight of the groups that show them.
pub(crate) fn beliefs(scene: &Scene, shown: &[Shown<'_>]) -> Vec<TacticBelief> {
    let chances = chances(shown);
    let named = named(shown, &chances);
    // What a group weighs is shared by the tactics that it may show.
    let mut by_tactic: BTreeMap<Tactic, Vec<(f32, &Shown<'_>)>> = BTreeMap::new();
    for (shown, chances) in shown.iter().zip(&chances) {
        for (tactic, chance) in chances.iter().filter(|(tactic, _)| named.contains(tactic)) {
            by_tactic.entry(*tactic).or_default().push((chance * weight(shown.group), shown));
        }
    }
    let total: f32 = by_tactic.values().flatten().map(|(weight, _)| weight).sum();
    let mut beliefs: Vec<TacticBelief> = by_tactic
        .into_iter()
        .map(|(tactic, mut shown)| {
            shown.sort_by(|(a, left), (b, right)| {
                let order = |shown: &Shown<'_>| (shown.group.priority, shown.group.number);
                b.total_cmp(a).then_with(|| order(left).cmp(&order(right)))
            });
            let own: f32 = shown.iter().map(|(weight, _)| weight).sum();
            let most = shown.first().map_or(0.0, |(weight, _)| *weight);
            shown.retain(|(own, _)| *own >= SPEAKS * most);
            let groups: Vec<&GroupView> = shown.iter().map(|(_, shown)| shown.group).collect();
            let evidence = shown
                .iter()
                .filter_map(|(_, shown)| Some((scene.digest.group(shown.group.number)?, shown.verdict)));
            TacticBelief {
                tactic,
                weight: if total > 0.0 { own / total } else { 0.0 },
                techniques: techniques(tactic, &groups),
                evidence: evidence
                    .take(MAX_EVIDENCE)
                    .map(|(group, verdict)| EvidenceLine {
                        number: group.number,
                        text: group.text.clone(),
                        count: group.count,
                        attack: verdict.attack,
                        because: verdict.because.clone(),
                    })
                    .collect(),
            }
        })
        .collect();
    // Stable: among equals in the order of the tactics.
    beliefs.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    beliefs
}

/// How likely each group shows each tactic if there is an attack.
fn chances(shown: &[Shown<'_>]) -> Vec<BTreeMap<Tactic, f32>> {
    let likeliest = shown.iter().map(|shown| shown.verdict.attack).fold(0.0, f32::max);
    let of = |shown: &Shown<'_>| {
        let given = likeliest.max(f32::EPSILON).powf(-shown.group.around.noise);
        let alone = shown.chances().into_iter();
        alone.map(|(tactic, chance)| (tactic, (given * chance).min(1.0))).collect()
    };
    shown.iter().map(of).collect()
}

/// The tactics that are named.
fn named(shown: &[Shown<'_>], chances: &[BTreeMap<Tactic, f32>]) -> BTreeSet<Tactic> {
    let mut pieces: BTreeMap<(&str, Tactic), f32> = BTreeMap::new();
    for (shown, chances) in shown.iter().zip(chances) {
        for (tactic, chance) in chances {
            let piece = pieces.entry((&shown.group.words.message, *tactic)).or_default();
            *piece = piece.max(*chance);
        }
    }
    let mut missed: BTreeMap<Tactic, f32> = BTreeMap::new();
    for ((_, tactic), chance) in pieces {
        *missed.entry(tactic).or_insert(1.0) *= 1.0 - chance;
    }
    let likeliest = missed.iter().min_by(|a, b| a.1.total_cmp(b.1)).map(|(tactic, _)| *tactic);
    let bound = between(noise(shown.iter().map(|shown| shown.group)), NAMED, NAMED_AMONG_NOISE);
    let likely = missed.iter().filter(|(_, missed)| 1.0 - **missed >= bound).map(|(tactic, _)| *tactic);
    likely.chain(likeliest).collect()
}

/// How much a group counts: a severe alert twice as much as one of the next priority, and one that nobody has weighed as much as
/// a medium one. How often it came does not count, or one loud scan would drown everything.
fn weight(group: &GroupView) -> f32 {
    match group.severity {
        Some(0 | 1) => 4.0,
        Some(2) => 2.0,
        None if group.is_alert => 2.0,
        _ => 1.0,
    }
}

/// Techniques of the tactic: those that the records state, then those that the messages name.
fn techniques(tactic: Tactic, groups: &[&GroupView]) -> Vec<TechniqueName> {
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let said: Vec<BTreeSet<String>> = groups.iter().map(|group| words(&group.words.message)).collect();
    let is_named = |name: &str| {
        let own = words(name.rsplit(": ").next().unwrap_or(name));
        said.iter().any(|said| own.is_subset(said))
    };
    let stated = groups.iter().flat_map(|group| &group.techniques).filter_map(|id| technique(id));
    let stated = stated.filter(|technique| technique.tactics.contains(&tactic));
    let mut found: Vec<TechniqueName> = Vec::new();
    for technique in stated {
        if found.len() < MAX_STATED && !found.iter().any(|known| known.id == technique.id) {
            found.push(TechniqueName { id: technique.id.into(), name: technique.name.into() });
        }
    }
    let named = techniques_of(tactic).filter(|technique| is_named(technique.name)).take(MAX_NAMED);
    for technique in named {
        if !found.iter().any(|known| known.id == technique.id) {
            found.push(TechniqueName { id: technique.id.into(), name: technique.name.into() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::conclusion::Verdict;

    fn group(number: u32, message: &str) -> GroupView {
        let mut group = GroupView { number, is_alert: true, ..GroupView::default() };
        group.words.message = message.into();
        group
    }

    fn verdict(shares: &[(Tactic, f32)]) -> Verdict {
        Verdict { tactic: Some(shares[0].0), shares: shares.to_vec(), attack: 0.9, because: String::new() }
    }

    /// What is named of groups with these messages.
    fn of(pieces: &[(&str, &[(Tactic, f32)])]) -> Vec<Tactic> {
        let verdicts: Vec<Verdict> = pieces.iter().map(|(_, shares)| verdict(shares)).collect();
        let groups: Vec<GroupView> =
            (1..).zip(pieces).map(|(number, (message, _))| group(number, message)).collect();
        let shown: Vec<Shown<'_>> = groups
            .iter()
            .zip(&verdicts)
            .map(|(group, verdict)| Shown { group, tactics: verdict.tactic.into_iter().collect(), verdict })
            .collect();
        let chances: Vec<_> = shown.iter().map(Shown::chances).collect();
        named(&shown, &chances).into_iter().collect()
    }

    #[test]
    fn what_is_likelier_than_not_is_named() {
        use Tactic::{Discovery, Execution, InitialAccess, LateralMovement};
        let both: &[_] = &[(InitialAccess, 0.6), (Execution, 0.4)];
        assert_eq!(of(&[("a", both)]), [InitialAccess]);
        assert_eq!(of(&[("a", both), ("b", both)]), [InitialAccess, Execution], "two pieces together");
        assert_eq!(of(&[("a", both), ("a", both)]), [InitialAccess], "one message is one piece");
        let unsure: &[_] = &[(Discovery, 0.4), (LateralMovement, 0.3), (Execution, 0.3)];
        assert_eq!(of(&[("a", unsure)]), [Discovery], "the likeliest, in any case");
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn among_noise_tactics_are_named_for_the_case_that_there_is_an_attack() {
        let named = |noise: f32| {
            let mut group = group(1, "a");
            group.around.noise = noise;
            let verdict =
                Verdict { attack: 0.5, ..verdict(&[(Tactic::Execution, 0.6), (Tactic::Impact, 0.4)]) };
            let tactics = [Tactic::Execution].into();
            let likelier = [Shown { group: &group, tactics, verdict: &verdict }];
            chances(&likelier)[0][&Tactic::Execution]
        };
        assert!((named(0.0) - 0.3).abs() < 1e-6 && (named(1.0) - 0.6).abs() < 1e-6);
    }

    #[test]
    fn what_a_source_states_is_so() {
        let stated = GroupView { tactics: [Tactic::Impact].into(), ..group(1, "a") };
        let everyday = Verdict { attack: 0.1, ..Verdict::default() };
        let shown = Shown { group: &stated, tactics: [Tactic::Impact].into(), verdict: &everyday };
        assert_eq!(shown.chances(), [(Tactic::Impact, 1.0)].into());
        let seen = verdict(&[(Tactic::Execution, 0.8), (Tactic::Impact, 0.2)]);
        let tactics = [Tactic::Execution, Tactic::Impact].into();
        let chances = Shown { group: &stated, tactics, verdict: &seen }.chances();
        assert_eq!(chances.get(&Tactic::Impact), Some(&1.0));
        assert!(chances.get(&Tactic::Execution).is_some_and(|chance| (chance - 0.72).abs() < 1e-6));
    }
}
