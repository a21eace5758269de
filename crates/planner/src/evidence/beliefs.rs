//! Which tactics are at work and how clearly, with the techniques and the evidence of each.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{Tactic, technique, techniques_of};

use crate::evidence::assessment::{EvidenceLine, TacticBelief, TechniqueName};
use crate::evidence::conclusion::Shown;
use crate::evidence::groups::GroupView;
use crate::evidence::scene::Scene;

/// Most groups that are listed for a tactic.
const MAX_EVIDENCE: usize = 5;
/// Most techniques that are listed for a tactic because messages name them.
const MAX_NAMED: usize = 2;
/// Most techniques that are listed for a tactic because records state them.
const MAX_STATED: usize = 8;

/// The tactics by the weight of the groups that show them. Plain lines count only if nothing else does: they tell what a
/// host noticed, which is seldom what for.
pub(crate) fn beliefs(scene: &Scene, shown: &[Shown<'_>]) -> Vec<TacticBelief> {
    let by_alert = shown.iter().any(|shown| shown.group.is_alert);
    let mut by_tactic: BTreeMap<Tactic, Vec<&Shown<'_>>> = BTreeMap::new();
    for shown in shown.iter().filter(|shown| shown.group.is_alert || !by_alert) {
        for tactic in &shown.tactics {
            by_tactic.entry(*tactic).or_default().push(shown);
        }
    }
    let total: u32 = by_tactic.values().flatten().map(|shown| weight(shown.group)).sum();
    let mut beliefs: Vec<TacticBelief> = by_tactic
        .into_iter()
        .map(|(tactic, mut shown)| {
            shown.sort_by_key(|Shown { group, .. }| {
                (std::cmp::Reverse(weight(group)), group.priority, group.number)
            });
            let own: u32 = shown.iter().map(|shown| weight(shown.group)).sum();
            let groups: Vec<&GroupView> = shown.iter().map(|shown| shown.group).collect();
            let evidence = shown
                .iter()
                .filter_map(|shown| Some((scene.digest.group(shown.group.number)?, shown.verdict)));
            TacticBelief {
                tactic,
                weight: own as f32 / total.max(1) as f32,
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

/// How much a group counts: a severe alert twice as much as one of the next priority, and one that nobody has weighed as much as
/// a medium one. How often it came does not count, or one loud scan would drown everything.
fn weight(group: &GroupView) -> u32 {
    match group.severity {
        Some(0 | 1) => 4,
        Some(2) => 2,
        None if group.is_alert => 2,
        _ => 1,
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
