//! What follows from the verdicts on the groups of a log: who attacks, which hosts and accounts it has reached, which
//! tactics are at work and how clearly.
//!
//! Invariants: everything named occurs in the description or the evidence; a host has one role, but for one of the
//! system's own hosts that the attack comes from, which attacks and has to be cleaned.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{Entities, EntityKind, RecoveryState, Tactic, techniques_of};

use crate::evidence::assessment::{Assessment, EvidenceLine, TacticBelief, TechniqueName};
use crate::evidence::groups::{GroupView, SERIOUS, without_orders};
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;
use crate::words::listed;

/// Most hosts that are listed as attacked, the worst hit first.
const MAX_TARGETS: usize = 8;
/// Most attackers that are listed.
const MAX_ATTACKERS: usize = 8;
/// Most groups that are listed for a tactic.
const MAX_EVIDENCE: usize = 5;
/// Most techniques that are listed for a tactic.
const MAX_TECHNIQUES: usize = 2;

/// A group that is part of an attack.
struct Shown<'a> {
    group: &'a GroupView,
    tactic: Tactic,
}

/// Draws the conclusion. `verdicts` are those on the groups of the scene, in their order; none means everyday traffic.
pub(crate) fn conclude(scene: &Scene, verdicts: &[Option<Tactic>]) -> Assessment {
    let shown: Vec<Shown<'_>> = scene
        .groups
        .iter()
        .zip(verdicts)
        .filter_map(|(group, verdict)| verdict.map(|tactic| Shown { group, tactic }))
        .collect();
    let mut assessment = Assessment {
        is_incident: false,
        description: String::new(),
        entities: Roles {
            systems: scene.systems.clone(),
            kept: scene.kept.clone(),
            names: scene.hosts.all_names(),
            ..Roles::default()
        },
        tactics: Vec::new(),
        state: RecoveryState::default(),
        reasoning: String::new(),
        rejected: Vec::new(),
        digest: scene.report.clone(),
    };
    if shown.is_empty() {
        assessment.description = match scene.has_records {
            true => "The model takes none of the records for an attack.".into(),
            false => "The log holds no records, so nothing shows an incident.".into(),
        };
        return assessment;
    }
    if shown.iter().all(|shown| shown.group.is_minor()) {
        assessment.description =
            "Some alerts look like an attack, all of them of low priority, which alone make no incident."
                .into();
        return assessment;
    }
    if is_slip(scene, &shown) {
        assessment.description =
            "Somebody inside mistyped a password, nobody twice in a row, which alone makes no incident."
                .into();
        return assessment;
    }
    assessment.is_incident = true;
    name_roles(&mut assessment.entities, scene, &shown);
    assessment.tactics = beliefs(scene, &shown);
    assessment.description = describe(scene, &assessment, shown.len());
    assessment
}

/// Whether all that is shown are logins from inside of which none failed twice. To a small model a mistyped password looks like a
/// guessed one; who guesses fails more often.
fn is_slip(scene: &Scene, shown: &[Shown<'_>]) -> bool {
    let serious = || shown.iter().map(|own| (own.group, own.tactic)).filter(|(group, _)| !group.is_minor());
    let is_login = |(group, tactic): (&GroupView, Tactic)| {
        !group.is_alert && tactic == Tactic::CredentialAccess && group.outside.is_empty()
    };
    if !serious().all(is_login) {
        return false;
    }
    let mut failures: BTreeMap<(Vec<String>, Vec<String>), u64> = BTreeMap::new();
    for line in scene.lines.iter().filter(|line| fails_to_log_in(&line.message)) {
        if serious().any(|(group, _)| scene.is_line_of(group, &line.message)) {
            let found = Entities::find(&line.message);
            let of = |kind| found.of(kind).map(str::to_owned).collect::<Vec<_>>();
            let count = failures.entry((of(EntityKind::Account), of(EntityKind::Address))).or_default();
            *count = count.saturating_add(line.repeats.count);
        }
    }
    failures.values().all(|&count| count < 2)
}

/// Whether a line tells of a login that failed.
fn fails_to_log_in(line: &str) -> bool {
    const WORDS: [&str; 5] = ["failed", "failure", "4625", "invalid user", "denied"];
    let lower = line.to_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
}

fn name_roles(roles: &mut Roles, scene: &Scene, shown: &[Shown<'_>]) {
    let mut attackers = Ranking::default();
    for Shown { group, .. } in shown {
        group.outside.iter().for_each(|name| attackers.add(name, group));
    }
    roles.attackers = attackers.ordered();
    roles.attackers.truncate(MAX_ATTACKERS);
    let mut insiders = if roles.attackers.is_empty() { insiders(shown) } else { Vec::new() };
    // A host that has to stay up is not shut out. Then whoever tried the system from outside has to be, if anybody did.
    let stays = |host: &String| scene.kept.contains(host);
    if insiders.iter().any(stays) {
        insiders.retain(|host| !stays(host));
        roles.attackers = intruders(scene);
    }

    let mut reached = Ranking::default();
    let mut touched = Ranking::default();
    for Shown { group, tactic } in shown {
        let among_own = group.outside.is_empty() && group.is_alert;
        for host in &group.from_inside {
            touched.add(host, group);
            // A host that turns on others has fallen, whatever it tries.
            if among_own || gets_in(*tactic) {
                reached.add(host, group);
            }
        }
        for host in &group.to_inside {
            touched.add(host, group);
            if group.is_alert && gets_in(*tactic) {
                reached.add(host, group);
            }
        }
    }
    if touched.is_empty() {
        // No alert tells who was attacked. What a host wrote itself names it.
        for Shown { group, .. } in shown {
            for line in &group.lines {
                scene.hosts.named_in(without_orders(line)).iter().for_each(|host| touched.add(host, group));
            }
        }
    }
    let mut targets = if reached.is_empty() { touched.ordered() } else { reached.ordered() };
    // An own host that attacks has to be cleaned if it is one of those described, else it only has to be shut out.
    let described = |host: &String| scene.hosts.names().values().any(|own| own == host);
    targets.retain(|host| !insiders.contains(host) || described(host));
    targets.truncate(MAX_TARGETS);
    roles.footholds = targets
        .iter()
        .filter(|host| {
            let moves = |shown: &&Shown<'_>| {
                shown.tactic == Tactic::LateralMovement
                    && shown.group.outside.is_empty()
                    && shown.group.from_inside.contains(*host)
            };
            shown.iter().any(|shown| moves(&shown))
        })
        .cloned()
        .collect();
    roles.targets = targets;
    roles.attackers.extend(insiders);
    name_accounts(roles, scene, shown);
}

/// Hosts of the system that attack and that nobody attacks.
fn insiders(shown: &[Shown<'_>]) -> Vec<String> {
    let mut sources = Ranking::default();
    for Shown { group, .. } in shown {
        group.from_inside.iter().for_each(|host| sources.add(host, group));
    }
    let attacked: BTreeSet<&String> = shown.iter().flat_map(|shown| &shown.group.to_inside).collect();
    let all = sources.ordered();
    let free: Vec<String> = all.iter().filter(|host| !attacked.contains(host)).cloned().collect();
    if free.is_empty() { all.into_iter().take(1).collect() } else { free }
}

/// Addresses outside that serious alerts show to have tried the system, the worst first.
fn intruders(scene: &Scene) -> Vec<String> {
    let mut tried = Ranking::default();
    let serious =
        |group: &&GroupView| group.is_alert && group.priority <= SERIOUS && !group.to_inside.is_empty();
    for group in scene.groups.iter().filter(serious) {
        group.outside.iter().for_each(|name| tried.add(name, group));
    }
    let mut names = tried.ordered();
    names.truncate(MAX_ATTACKERS);
    names
}

/// Whether a host that the tactic is used against has fallen to it, or has before.
fn gets_in(tactic: Tactic) -> bool {
    !matches!(
        tactic,
        Tactic::Reconnaissance | Tactic::ResourceDevelopment | Tactic::CredentialAccess | Tactic::Discovery
    )
}

/// Accounts that plain lines of the attack name: those that it made, and those that it got in with.
fn name_accounts(roles: &mut Roles, scene: &Scene, shown: &[Shown<'_>]) {
    let log: Vec<(&str, Entities)> = scene
        .lines
        .iter()
        .map(|line| (line.message.as_str(), Entities::find(without_orders(&line.message))))
        .collect();
    for Shown { group, tactic } in shown.iter().filter(|shown| !shown.group.is_alert) {
        for (text, found) in log.iter().filter(|(text, _)| scene.is_line_of(group, text)) {
            for account in found.of(EntityKind::Account) {
                let list = match tactic {
                    Tactic::Persistence => &mut roles.planted_accounts,
                    _ if got_in(account, text, found, &log) => &mut roles.stolen_accounts,
                    _ => continue,
                };
                if !list.iter().any(|known| known == account) {
                    list.push(account.to_owned());
                }
            }
        }
    }
    let planted = roles.planted_accounts.clone();
    roles.stolen_accounts.retain(|account| !planted.contains(account));
}

/// Whether a line says that the account logged in from an address that this line names as well.
fn got_in(account: &str, line: &str, found: &Entities, log: &[(&str, Entities)]) -> bool {
    const WORDS: [&str; 4] = ["accepted", "4624", "logged in", "session opened"];
    let logs_in = |text: &str| {
        let lower = text.to_lowercase();
        WORDS.iter().any(|word| lower.contains(word))
    };
    logs_in(line)
        || log.iter().any(|(text, other)| {
            other.of(EntityKind::Account).any(|own| own == account)
                && other
                    .of(EntityKind::Address)
                    .any(|own| found.of(EntityKind::Address).any(|one| one == own))
                && logs_in(text)
        })
}

/// The tactics by the weight of the groups that show them. Plain lines count only if nothing else does: they tell what a
/// host noticed, which is seldom what for.
fn beliefs(scene: &Scene, shown: &[Shown<'_>]) -> Vec<TacticBelief> {
    let by_alert = shown.iter().any(|shown| shown.group.is_alert);
    let mut by_tactic: BTreeMap<Tactic, Vec<&GroupView>> = BTreeMap::new();
    for Shown { group, tactic } in shown.iter().filter(|shown| shown.group.is_alert || !by_alert) {
        by_tactic.entry(*tactic).or_default().push(group);
    }
    let total: u32 = by_tactic.values().flatten().map(|group| weight(group)).sum();
    let mut beliefs: Vec<TacticBelief> = by_tactic
        .into_iter()
        .map(|(tactic, mut groups)| {
            groups.sort_by_key(|group| (group.priority, group.number));
            let own: u32 = groups.iter().map(|group| weight(group)).sum();
            let evidence = groups.iter().filter_map(|group| scene.digest.group(group.number));
            TacticBelief {
                tactic,
                weight: own as f32 / total.max(1) as f32,
                techniques: techniques(tactic, &groups),
                evidence: evidence
                    .take(MAX_EVIDENCE)
                    .map(|group| EvidenceLine {
                        number: group.number,
                        text: group.text.clone(),
                        count: group.count,
                    })
                    .collect(),
            }
        })
        .collect();
    // Stable: among equals in the order of the tactics.
    beliefs.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    beliefs
}

/// How much a group counts: a severe alert twice as much as one of the next priority. How often it came does not count,
/// or one loud scan would drown everything.
fn weight(group: &GroupView) -> u32 {
    match group.priority {
        0 | 1 => 4,
        2 => 2,
        _ => 1,
    }
}

/// Techniques of the tactic that the messages name.
fn techniques(tactic: Tactic, groups: &[&GroupView]) -> Vec<TechniqueName> {
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let said: Vec<BTreeSet<String>> = groups.iter().map(|group| words(&group.words.message)).collect();
    let named = |name: &str| {
        let own = words(name.rsplit(": ").next().unwrap_or(name));
        said.iter().any(|said| own.is_subset(said))
    };
    techniques_of(tactic)
        .filter(|technique| named(technique.name))
        .take(MAX_TECHNIQUES)
        .map(|technique| TechniqueName { id: technique.id.into(), name: technique.name.into() })
        .collect()
}

/// One sentence about what happened, of what was concluded alone.
fn describe(scene: &Scene, assessment: &Assessment, groups: usize) -> String {
    let Roles { attackers, targets, .. } = &assessment.entities;
    let named = |address: &String| {
        let name = scene.hosts.names().iter().find(|(_, own)| *own == address);
        name.map_or_else(|| address.clone(), |(name, _)| format!("{name} ({address})"))
    };
    let list = |names: &[String], none: &str| match names {
        [] => none.to_owned(),
        names => listed(&names.iter().map(named).collect::<Vec<_>>()),
    };
    let tactics: Vec<String> =
        assessment.tactics.iter().map(|belief| belief.tactic.name().to_owned()).collect();
    format!(
        "{} attacked {}: {}, in {groups} of {} alert groups.",
        list(attackers, "An unknown attacker"),
        list(targets, "unknown hosts"),
        listed(&tactics),
        scene.groups.len(),
    )
}

/// Names by weight, the heaviest first; among equals, by name.
#[derive(Default)]
struct Ranking(BTreeMap<String, u64>);

impl Ranking {
    /// An alert weighs sixteen times as much as one of the next priority.
    fn add(&mut self, name: &str, group: &GroupView) {
        let weight = 16_u64.pow(u32::from(4_u8.saturating_sub(group.priority)));
        let sum = self.0.entry(name.to_owned()).or_default();
        *sum = sum.saturating_add(group.words.count.saturating_mul(weight));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn ordered(self) -> Vec<String> {
        let mut names: Vec<(String, u64)> = self.0.into_iter().collect();
        names.sort_by(|(_, a), (_, b)| b.cmp(a));
        names.into_iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::AlertLog;

    use super::*;
    use crate::evidence::scene::Evidence;
    use crate::templates::Templates;

    const SYSTEM: &str = "The network is 10.0.2.0/24. web01 at 10.0.2.13 runs Apache.\ndb01 at 10.0.2.14 runs \
                          PostgreSQL.\ndesk01 at 10.0.2.20 is a workstation.\n";

    fn scene(lines: &[&str]) -> Scene {
        let evidence = Evidence {
            system_description: SYSTEM.into(),
            log: AlertLog::parse(lines.join("\n").as_bytes()).unwrap(),
            constraints: vec!["db01 must stay up.".into()],
            notes: Vec::new(),
        };
        Scene::new(&evidence, &Templates::load(None).unwrap(), 2000).unwrap()
    }

    fn alert(message: &str, priority: u8, source: &str, destination: &str) -> String {
        format!(
            "06/10-13:10:51.405000 [**] [1:1:2] {message} [**] [Classification: Misc Attack] [Priority: {priority}] \
             {{TCP}} {source}:4711 -> {destination}:80"
        )
    }

    /// Draws the conclusion from verdicts by message.
    fn concluded(lines: &[&str], verdict: impl Fn(&str) -> Option<Tactic>) -> Assessment {
        let scene = scene(lines);
        let verdicts: Vec<Option<Tactic>> =
            scene.groups.iter().map(|group| verdict(&group.words.message)).collect();
        conclude(&scene, &verdicts)
    }

    #[test]
    fn roles_follow_from_the_groups_of_the_attack() {
        let lines = [
            alert("Scan", 2, "203.0.113.7", "10.0.2.14"),
            alert("Exploit", 1, "203.0.113.7", "10.0.2.13"),
            alert("SMB exploit", 1, "10.0.2.13", "10.0.2.14"),
            alert("Beacon", 1, "10.0.2.14", "198.51.100.3"),
            alert("Chat", 3, "10.0.2.20", "192.0.2.9"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let assessment = concluded(&lines, |message| match message {
            "Scan" => Some(Tactic::Reconnaissance),
            "Exploit" => Some(Tactic::InitialAccess),
            "SMB exploit" => Some(Tactic::LateralMovement),
            "Beacon" => Some(Tactic::CommandAndControl),
            _ => None,
        });
        let roles = &assessment.entities;
        assert_eq!(roles.attackers, ["203.0.113.7", "198.51.100.3"]);
        assert_eq!(roles.targets, ["10.0.2.13", "10.0.2.14"]);
        assert_eq!(
            (roles.footholds.as_slice(), roles.kept.as_slice()),
            (&["10.0.2.13".to_owned()][..], &["10.0.2.14".to_owned()][..])
        );
        let weights: Vec<f32> = assessment.tactics.iter().map(|belief| belief.weight).collect();
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(weights.is_sorted_by(|a, b| a >= b), "{weights:?}");
        assert_eq!(assessment.tactics.last().unwrap().tactic, Tactic::Reconnaissance);
        assert!(assessment.description.contains("web01 (10.0.2.13)"), "{}", assessment.description);
        assert!(scene(&lines).grounding.unknown_entities(&assessment.description).is_empty());
    }

    #[test]
    fn a_scan_alone_reaches_whom_it_touches() {
        let line = alert("Scan", 2, "203.0.113.7", "10.0.2.14");
        let assessment = concluded(&[&line], |_| Some(Tactic::Reconnaissance));
        assert_eq!(assessment.entities.targets, ["10.0.2.14"]);
    }

    #[test]
    fn an_insider_attacks_and_has_to_be_cleaned() {
        let line = alert("Exploit", 1, "10.0.2.20", "10.0.2.13");
        let assessment = concluded(&[&line], |_| Some(Tactic::InitialAccess));
        assert_eq!(assessment.entities.attackers, ["10.0.2.20"]);
        assert_eq!(assessment.entities.targets, ["10.0.2.13", "10.0.2.20"]);
        // A host that nobody has described only has to be shut out.
        let line = alert("Exploit", 1, "10.0.2.99", "10.0.2.13");
        let assessment = concluded(&[&line], |_| Some(Tactic::InitialAccess));
        assert_eq!(assessment.entities.attackers, ["10.0.2.99"]);
        assert_eq!(assessment.entities.targets, ["10.0.2.13"]);
    }

    #[test]
    fn an_insider_that_has_to_stay_up_is_not_shut_out() {
        let lines = [
            alert("Brute force", 2, "203.0.113.7", "10.0.2.13"),
            alert("Scan", 3, "198.51.100.3", "10.0.2.13"),
            alert("Exploit", 1, "10.0.2.14", "10.0.2.13"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let assessment = concluded(&lines, |message| (message == "Exploit").then_some(Tactic::InitialAccess));
        assert_eq!(assessment.entities.attackers, ["203.0.113.7"]);
        assert_eq!(assessment.entities.targets, ["10.0.2.13", "10.0.2.14"]);
    }

    #[test]
    fn accounts_are_those_that_were_made_or_that_got_in() {
        let lines = [
            "Jun 10 13:10:51 web01 sshd[1]: Failed password for shop_rw from 203.0.113.7 port 40001 ssh2",
            "Jun 10 13:10:52 web01 sshd[1]: Accepted password for shop_rw from 203.0.113.7 port 40002 ssh2",
            "Jun 10 13:10:53 web01 sshd[2]: Failed password for backup_op from 203.0.113.7 port 40003 ssh2",
            "Jun 10 13:11:51 web01 useradd[3]: new user: user=svc_helper, home=/tmp, shell=/bin/sh",
        ];
        let assessment = concluded(&lines, |message| match message {
            message if message.contains("useradd") => Some(Tactic::Persistence),
            message if message.contains("Failed") => Some(Tactic::CredentialAccess),
            _ => None,
        });
        assert_eq!(assessment.entities.stolen_accounts, ["shop_rw"]);
        assert_eq!(assessment.entities.planted_accounts, ["svc_helper"]);
        assert_eq!(assessment.entities.attackers, ["203.0.113.7"]);
    }

    #[test]
    fn alerts_of_low_priority_alone_are_no_incident() {
        let lines =
            [alert("Update", 3, "10.0.2.20", "192.0.2.9"), alert("Chat", 4, "10.0.2.20", "192.0.2.9")];
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let verdict = |_: &str| Some(Tactic::CommandAndControl);
        let assessment = concluded(&lines, verdict);
        assert!(!assessment.is_incident && assessment.tactics.is_empty());
        assert!(assessment.description.contains("low priority"), "{}", assessment.description);
        // What a host wrote itself has no priority, and counts.
        lines.push("Jun 10 13:11:51 web01 useradd[3]: new user: user=svc_helper, home=/tmp, shell=/bin/sh");
        assert!(concluded(&lines, verdict).is_incident);
    }

    #[test]
    fn a_password_that_was_mistyped_once_is_no_incident() {
        let failed =
            "Jun 10 13:10:51 web01 sshd[1]: Failed password for shop_rw from 10.0.2.20 port 40001 ssh2";
        let again =
            "Jun 10 13:10:55 web01 sshd[1]: Failed password for shop_rw from 10.0.2.20 port 40003 ssh2";
        let other = "Jun 10 13:12:55 web01 sshd[1]: Failed password for root from 10.0.2.14 port 40003 ssh2";
        let works =
            "Jun 10 13:10:59 web01 sshd[1]: Accepted password for shop_rw from 10.0.2.20 port 40002 ssh2";
        let guessed = |_: &str| Some(Tactic::CredentialAccess);
        for slip in [&[failed, works][..], &[failed], &[failed, other, works]] {
            let assessment = concluded(slip, guessed);
            assert!(!assessment.is_incident && assessment.tactics.is_empty(), "{slip:?}");
            assert!(assessment.description.contains("mistyped"), "{}", assessment.description);
        }
        assert!(concluded(&[failed, again, works], guessed).is_incident, "twice is more than a slip");
        let outside = failed.replace("10.0.2.20", "203.0.113.7");
        assert!(concluded(&[&outside, works], guessed).is_incident, "from outside nobody mistypes");
        let alert = alert("Exploit", 1, "203.0.113.7", "10.0.2.13");
        assert!(concluded(&[failed, &alert, works], guessed).is_incident, "an alert speaks beside it");
    }

    #[test]
    fn nothing_but_everyday_traffic_is_no_incident() {
        let line = alert("Chat", 3, "10.0.2.20", "192.0.2.9");
        let assessment = concluded(&[&line], |_| None);
        assert!(!assessment.is_incident && assessment.tactics.is_empty());
        assert!(assessment.entities.attackers.is_empty() && assessment.entities.targets.is_empty());
        assert!(assessment.description.contains("none of the records"));
    }
}
