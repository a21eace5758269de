//! What follows from the verdicts on the groups of a log: whether there is an incident, and then who attacks, which hosts and accounts
//! it has reached, which tactics are at work and how clearly.
//!
//! Invariants: everything named occurs in the description or the evidence; telemetry alone, and lines that no format understood
//! alone, never make an incident, whatever else the log holds; and what was not understood is never called harmless.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{RecoveryState, Tactic};

use crate::evidence::assessment::Assessment;
use crate::evidence::attacks::{Attack, attacks};
use crate::evidence::beliefs::beliefs;
use crate::evidence::groups::GroupView;
use crate::evidence::naming::{LeftOut, name_roles};
use crate::evidence::parts::Parts;
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;
use crate::evidence::surroundings::noise;
use crate::words::listed;

/// What was made of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// The tactic that it most likely shows; none if it counts as everyday traffic.
    pub(crate) tactic: Option<Tactic>,
    /// How likely it shows each tactic if it is part of an attack.
    pub(crate) shares: Vec<(Tactic, f32)>,
    /// How likely it is part of an attack, from 0 to 1.
    pub(crate) attack: f32,
    /// What spoke for that and against it.
    pub(crate) because: String,
}

impl Verdict {
    /// Without a doubt.
    pub(crate) fn sure(tactic: Option<Tactic>) -> Verdict {
        Verdict {
            tactic,
            shares: tactic.map(|tactic| (tactic, 1.0)).into_iter().collect(),
            attack: f32::from(u8::from(tactic.is_some())),
            because: String::new(),
        }
    }
}

/// A group that is part of an attack.
#[derive(Clone, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) group: &'a GroupView,
    /// What the model sees in it, and what its records state.
    pub(crate) tactics: BTreeSet<Tactic>,
    pub(crate) verdict: &'a Verdict,
}

impl<'a> Shown<'a> {
    /// The group, if the verdict on it or its records say that it shows an attack. A sensor that names the tactic of an alert has
    /// judged it already, and is heard beside the model, but for one that tags all that it says.
    fn of(scene: &Scene, group: &'a GroupView, verdict: &'a Verdict) -> Option<Shown<'a>> {
        let tactic = verdict.tactic.filter(|tactic| !is_duty(scene, group, *tactic));
        let tactics: BTreeSet<Tactic> = match tactic {
            Some(tactic) => group.tactics.iter().copied().chain([tactic]).collect(),
            None => group.states().filter(|_| group.around.noise < TAGS_ALL).collect(),
        };
        (!tactics.is_empty()).then_some(Shown { group, tactics, verdict })
    }

    /// How likely it shows each tactic. What the source itself states is taken to be so.
    pub(crate) fn chances(&self) -> BTreeMap<Tactic, f32> {
        let is_read = self.verdict.tactic.is_some_and(|tactic| self.tactics.contains(&tactic));
        let read = self.verdict.shares.iter().filter(|_| is_read);
        let mut chances: BTreeMap<Tactic, f32> =
            read.map(|(tactic, share)| (*tactic, self.verdict.attack * share)).collect();
        chances.extend(self.group.tactics.intersection(&self.tactics).map(|tactic| (*tactic, 1.0)));
        chances
    }
}

/// Draws the conclusion. `verdicts` are those on the groups of the scene, in their order.
pub(crate) fn conclude(scene: &Scene, verdicts: &[Verdict]) -> Assessment {
    let mut assessment = Assessment {
        is_incident: false,
        not_understood: scene.not_understood,
        description: String::new(),
        entities: Roles {
            systems: scene.systems.clone(),
            kept: scene.kept.clone(),
            names: scene.hosts.all_names(),
            ..Roles::default()
        },
        tactics: Vec::new(),
        attacks: Vec::new(),
        state: RecoveryState::default(),
        reasoning: String::new(),
        rejected: Vec::new(),
        digest: scene.report.clone(),
    };
    if scene.not_understood {
        assessment.description = not_understood(scene);
        return assessment;
    }
    assessment.digest.warnings.extend(wants_baseline(scene, verdicts).map(str::to_owned));
    let groups = scene.groups.iter().zip(verdicts);
    let mut shown: Vec<Shown<'_>> =
        groups.filter_map(|(group, verdict)| Shown::of(scene, group, verdict)).collect();
    if let Some(why) = why_not(scene, &shown) {
        assessment.description = why.into();
        assessment.description += &likeliest(scene, verdicts);
        return assessment;
    }
    assessment.is_incident = true;
    keep_related(scene, &mut shown);
    let is_shown = |group: &GroupView| shown.iter().any(|shown| shown.group.number == group.number);
    let rest = scene.groups.iter().zip(verdicts).filter(|(group, _)| !is_shown(group));
    let left_out = name_roles(&mut assessment.entities, scene, &shown, rest);
    assessment.tactics = beliefs(scene, &shown);
    let named: Vec<Tactic> = assessment.tactics.iter().map(|belief| belief.tactic).collect();
    assessment.attacks = attacks(scene, &assessment.entities, &named, &shown);
    assessment.description = describe(scene, &assessment, shown.len(), left_out);
    assessment.digest.warnings.extend(left_out.warnings());
    assessment
}

/// That ordinary days would tell more, where a log is of much at once and nothing in it is likely enough.
fn wants_baseline(scene: &Scene, verdicts: &[Verdict]) -> Option<&'static str> {
    let is_noisy = noise(scene.groups.iter()) >= TAGS_ALL;
    let is_clear = verdicts.iter().any(|verdict| verdict.attack >= CLEAR);
    (is_noisy && !is_clear && !scene.has_baseline).then_some(
        "This log tells of much at once, and no baseline of ordinary days was read beside it: an attack can hardly be told from \
         administrators at work and from false alarms. `countermove baseline` learns one from logs of ordinary days.",
    )
}

/// Which groups are the likeliest to be part of an attack where there is none: those that are worth a look, or the likeliest alone.
fn likeliest(scene: &Scene, verdicts: &[Verdict]) -> String {
    let judged = scene.groups.iter().zip(verdicts).filter(|(_, verdict)| verdict.attack > 0.0);
    let mut judged: Vec<(f32, u32)> = judged.map(|(group, verdict)| (verdict.attack, group.number)).collect();
    judged.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let likely = judged.iter().take_while(|(attack, _)| *attack >= WORTH_A_LOOK).count();
    match judged.get(..likely.clamp(1, MOST_LIKELIEST)).unwrap_or(&judged) {
        [] => String::new(),
        [(attack, number)] => format!(" The likeliest is group A{number}, with {:.0} %.", 100.0 * attack),
        several => {
            let told = several.iter().map(|(attack, number)| format!("A{number} ({:.0} %)", 100.0 * attack));
            let told: Vec<String> = told.collect();
            format!(" Worth a look are groups {}.", listed(&told))
        }
    }
}

/// From this chance on a group is clear enough to go by.
const CLEAR: f32 = 0.8;
/// From this chance on a group is worth a look where there is no incident: whoever looks loses minutes.
const WORTH_A_LOOK: f32 = 0.3;
/// Most groups that are told where there is no incident.
const MOST_LIKELIEST: usize = 3;

/// Whether a group is what the description says that its senders are there for: they look at others, and nothing else shows.
fn is_duty(scene: &Scene, group: &GroupView, tactic: Tactic) -> bool {
    let looks = matches!(tactic, Tactic::Reconnaissance | Tactic::Discovery);
    looks && group.is_by_order(&scene.hosts)
}

/// Leaves out what the sensor itself calls minor and what nobody understood, unless it has a name in common with something serious:
/// alone it is no incident, and beside an incident it is none either.
fn keep_related(scene: &Scene, shown: &mut Vec<Shown<'_>>) {
    fn names<'a>(scene: &Scene, group: &'a GroupView) -> impl Iterator<Item = &'a String> {
        let Parts { outside, from_inside, aimed_at, .. } = &group.parts;
        let own = from_inside.iter().chain(aimed_at).filter(|host| !scene.hosts.passes_traffic(host));
        outside.iter().chain(own)
    }
    let serious = shown.iter().filter(|shown| shown.group.is_serious());
    let known: BTreeSet<&String> = serious.flat_map(|shown| names(scene, shown.group)).collect();
    shown.retain(|shown| {
        shown.group.is_serious() || names(scene, shown.group).any(|name| known.contains(name))
    });
}

/// Why there is no incident, if there is none.
fn why_not(scene: &Scene, shown: &[Shown<'_>]) -> Option<&'static str> {
    if shown.is_empty() {
        return Some(match (scene.records > 0, scene.groups.is_empty()) {
            (false, _) => "The log holds no records, so nothing shows an incident.",
            (true, true) => {
                "The log holds only what sensors saw pass, and no alert or log that says that something is wrong."
            }
            (true, false) => "None of the records is likely enough part of an attack.",
        });
    }
    if !shown.iter().any(|shown| shown.group.is_serious()) {
        return Some(if shown.iter().any(|shown| shown.group.is_minor()) {
            "Some alerts look like an attack, all of them of low priority, which alone make no incident."
        } else {
            "Some lines look like an attack, all of them in no known form; what they say may be anybody's words, which alone make \
             no incident."
        });
    }
    if is_slip(scene, shown) {
        return Some(
            "Somebody inside mistyped a password, nobody twice in a row, which alone makes no incident.",
        );
    }
    let mut serious = shown.iter().filter(|shown| shown.group.is_serious());
    serious.all(|shown| !shown.group.is_alert && only_looks(shown)).then_some(
        "Somebody looked around, as inventories and administrators do all day; no alert says more of it, which alone makes no \
         incident.",
    )
}

/// From this noise on a sensor's tags say what its rules are about, and not that they are right.
const TAGS_ALL: f32 = 0.5;

/// Tactics of which looking consists.
pub(crate) const LOOKING: [Tactic; 2] = [Tactic::Reconnaissance, Tactic::Discovery];

/// Whether a group shows nothing but looking.
pub(crate) fn only_looks(shown: &Shown<'_>) -> bool {
    shown.tactics.iter().all(|tactic| LOOKING.contains(tactic))
}

/// That nothing was understood, how much it was, and what would help.
fn not_understood(scene: &Scene) -> String {
    let lines = scene.report.records;
    let count = if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
    format!(
        "Not understood: {count}, none in a known form{}. Nothing was judged; give alerts or logs in a form that is known.",
        scene.nearest.as_ref().map(|form| format!("; nearest: {form}")).unwrap_or_default()
    )
}

/// Whether all that is shown are logins from inside of which none failed twice. To a small model a mistyped password looks like a
/// guessed one; who guesses fails more often.
fn is_slip(scene: &Scene, shown: &[Shown<'_>]) -> bool {
    let serious = || shown.iter().filter(|shown| shown.group.is_serious());
    let is_login = |shown: &Shown<'_>| {
        let only = shown.tactics.iter().all(|tactic| *tactic == Tactic::CredentialAccess);
        !shown.group.is_alert && only && shown.group.parts.outside.is_empty()
    };
    if !serious().all(is_login) {
        return false;
    }
    let mut failures: BTreeMap<(&[String], &[String]), u64> = BTreeMap::new();
    let positions: BTreeSet<usize> = serious().flat_map(|shown| &shown.group.records).copied().collect();
    for line in positions.iter().filter_map(|position| scene.lines.at(*position)).filter(|line| line.fails) {
        let failed = failures.entry((&line.accounts, &line.addresses)).or_default();
        *failed = failed.saturating_add(line.count);
    }
    failures.values().all(|&count| count < 2)
}

/// One sentence about what happened, of what was concluded alone.
fn describe(scene: &Scene, assessment: &Assessment, groups: usize, left_out: LeftOut) -> String {
    let Roles { attackers, targets, .. } = &assessment.entities;
    let named = |address: &String| {
        let name = scene.hosts.names().iter().find(|(_, own)| *own == address);
        name.map_or_else(|| address.clone(), |(name, _)| format!("{name} ({address})"))
    };
    let list = |names: &[String], others: usize, none: &str| {
        let mut told: Vec<String> = names.iter().map(named).collect();
        if others > 0 {
            told.push(format!("{others} more"));
        }
        if told.is_empty() { none.to_owned() } else { listed(&told) }
    };
    let tactics: Vec<String> =
        assessment.tactics.iter().map(|belief| belief.tactic.name().to_owned()).collect();
    let several = if assessment.attacks.is_empty() {
        String::new()
    } else {
        let one = |attack: &Attack| {
            let tactics: Vec<String> = attack.tactics.iter().map(|tactic| tactic.name().to_owned()).collect();
            let [who, whom] = [&attack.attackers, &attack.targets].map(|names| list(names, 0, ""));
            format!("{who} at {whom} ({})", tactics.join(", "))
        };
        let told: Vec<String> = assessment.attacks.iter().map(one).collect();
        format!(" These are {} attacks that have nothing in common: {}.", told.len(), told.join("; "))
    };
    format!(
        "{} attacked {}: {}, in {groups} of {} alert groups.{several}",
        list(attackers, left_out.attackers, "An unknown attacker"),
        list(targets, left_out.targets, "unknown hosts"),
        listed(&tactics),
        scene.groups.len(),
    )
}

impl LeftOut {
    /// That lists were cut, and how.
    fn warnings(self) -> impl Iterator<Item = String> {
        let told = |count: usize, what: &str| {
            let verb = if count == 1 { "is" } else { "are" };
            let text = format!(
                "{count} more {what} {verb} not listed; those are against whom most speaks, by severity, by what the attack \
                 reached and by whether the address can be forged."
            );
            (count > 0).then_some(text)
        };
        [(self.attackers, "attackers"), (self.targets, "attacked hosts")]
            .into_iter()
            .filter_map(move |(count, what)| told(count, what))
    }
}

#[cfg(test)]
mod tests;
