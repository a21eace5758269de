//! What a rollout takes to be true: which hosts are compromised and which accounts the attacker has, drawn from how likely each is,
//! which facts something that nobody has seen keeps from coming about, whether the attacker comes back from an address that is not known for
//! its own, and when it takes further hosts. Whoever responds in it knows no more than the plan does, and learns from what its actions
//! bring about and from what is seen.
//!
//! Invariant: rollouts of one number meet the same world, whatever their candidate.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{CostModel, RecoveryState, TargetKind, VerbClass};
use serde::{Deserialize, Serialize};

use crate::evidence::findings::Finding;
use crate::evidence::infrastructure::passes_traffic;
use crate::evidence::roles::{IN_DOUBT, Roles};
use crate::prompts::coverage::{Coverage, FAILS, KINDS, named};
use crate::prompts::past::{Deed, Objects};
use crate::rollouts::advance::{Advance, Fall};
use crate::rollouts::checks::interrupts;
use crate::seeds::{chance, derive_seed};

/// What is believed before a decision: worlds weighed by how well they agree with what came of earlier actions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Belief {
    /// How likely each host of the system is compromised that the attack has to do with, from 0 to 1.
    pub compromised: BTreeMap<String, f32>,
    /// How likely the attacker has each account that the evidence says so of, from 0 to 1.
    #[serde(default)]
    pub held: BTreeMap<String, f32>,
    /// How likely something unseen stands against each fact, in the order of [`RecoveryState::NAMES`].
    pub hindered: [f32; 6],
    /// How likely the attacker comes back from an address that is not known for its own, so that blocking those which are does not
    /// contain the attack.
    #[serde(default)]
    pub returns: f32,
}

/// Worlds that a belief is read off.
const WEIGHED: u64 = 512;

impl Belief {
    /// What is believed of an incident in which so much was done.
    pub(crate) fn new(believed: &Roles, deeds: &[Deed], seed: u64) -> Belief {
        let (mut total, mut compromised) = (0.0, BTreeMap::<String, f64>::new());
        let mut held = BTreeMap::<String, f64>::new();
        let (mut hindered, mut returns) = ([0.0; 6], 0.0);
        // What the attacker does from now on says nothing of what has been.
        let advance = Advance::new(seed);
        for number in 0..WEIGHED {
            let world = World::guess(believed, derive_seed(seed, "belief", &[number]), advance);
            let weight = world.likelihood(deeds);
            total += weight;
            for (host, _) in believed.suspects() {
                let is = if world.roles.targets.contains(host) { weight } else { 0.0 };
                *compromised.entry(host.clone()).or_default() += is;
            }
            for account in believed.held.keys() {
                let is = if world.roles.has_account(account) { weight } else { 0.0 };
                *held.entry(account.clone()).or_default() += is;
            }
            for (sum, is) in hindered.iter_mut().zip(world.hindered) {
                *sum += if is { weight } else { 0.0 };
            }
            returns += if world.returning.is_some() { weight } else { 0.0 };
        }
        let share = |sum: f64| if total > 0.0 { (sum / total) as f32 } else { 0.0 };
        let mut chances = believed.compromised.clone();
        chances.extend(compromised.into_iter().map(|(host, sum)| (host, share(sum))));
        let held = held.into_iter().map(|(account, sum)| (account, share(sum))).collect();
        Belief { compromised: chances, held, hindered: hindered.map(share), returns: share(returns) }
    }
}

/// A world that may be the true one.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Says which part of an action it is that does not work in it.
    seed: u64,
    /// Who is who in it.
    pub(crate) roles: Roles,
    /// Facts that something unseen stands against, such as a way in that no record tells of: doing all that is known seldom does.
    hindered: [bool; 6],
    /// Who is who in it with the further addresses of the attacker among the attackers, where it has any: those that the attacked hosts
    /// had to do with, or one that no record tells of, which nothing cuts off but what cuts off the attacked hosts themselves.
    returning: Option<Roles>,
    /// When the attacker takes further hosts, unless the attack is contained.
    advance: Advance,
}

/// How often something unseen stands against a fact. Set by hand, as is the next; that little fails makes what failed say more of who is
/// missing.
const HINDERED: f64 = 0.05;
/// How often such a fact comes about all the same, as a share of what it else does.
const HARDLY: f64 = 0.3;
/// How often an attacker from outside comes back from an address that no record tells of: of 25 documented breaches (`attack-flows` of
/// the data for evaluation) 6 name a proxy or addresses that change (ATT&CK's T1090 and T1568).
const RETURNS: f64 = 0.24;
/// The same, of one that has come from several already. Set by hand.
const RETURNS_AGAIN: f64 = 0.5;
/// An address that no record tells of and no action can name.
const UNTOLD: &str = "an address that no record tells of";
/// How often it is such a one, where the attacked hosts had to do with addresses that are not known for the attacker's. Set by hand, as is
/// the next.
const IS_UNTOLD: f64 = 0.5;
/// How many worlds are drawn at most until one agrees with what came of earlier actions.
const DRAWS: u64 = 64;

impl World {
    /// Draws which hosts are compromised and which accounts the attacker has, as likely as they were and as what came of earlier actions
    /// lets them be: where all was done and the fact does not hold, somebody else most likely is, and where it holds, nobody is whom it
    /// did not reach.
    pub(crate) fn draw(believed: &Roles, deeds: &[Deed], seed: u64) -> World {
        // Whichever world it is, the attacker of one number keeps the same time.
        let advance = Advance::new(derive_seed(seed, "advance", &[]));
        let mut best: Option<(f64, World)> = None;
        for number in 0..DRAWS {
            let world = World::guess(believed, derive_seed(seed, "world", &[number]), advance);
            let likely = world.likelihood(deeds);
            let agrees = chance(derive_seed(seed, "agrees", &[number])) < likely;
            if agrees || best.as_ref().is_none_or(|(most, _)| likely > *most) {
                best = Some((likely, world));
            }
            if agrees {
                break;
            }
        }
        let as_believed =
            || World { seed, roles: believed.clone(), hindered: [false; 6], returning: None, advance };
        best.map_or_else(as_believed, |(_, world)| world)
    }

    /// How likely what came of earlier actions is in this world.
    fn likelihood(&self, deeds: &[Deed]) -> f64 {
        let mut likely = 1.0;
        for (number, deed) in deeds.iter().enumerate() {
            let so_far = deeds.get(..number).unwrap_or_default();
            let coverage = Coverage::of(&self.roles, so_far);
            let within = coverage.within_reach(&deed.objects, deed.before, Some(self.seed));
            let open = deed.open().union(within);
            let hindered = self.hinders(so_far, &deed.objects, deed.before);
            let ways = || coverage.ways_to_contain_with(&deed.objects, deed.before).max(1);
            let facts = open.bits().into_iter().zip(within.bits()).zip(deed.after.bits()).zip(hindered);
            for (kind, (((open, within), holds), hindered)) in KINDS.into_iter().zip(facts) {
                let fails = self.works(kind, &deed.objects).map_or(FAILS, |works| 1.0 - works);
                // An attack that is shut out in two ways goes on only where both did not work.
                let fails = match kind {
                    VerbClass::Contain if within => fails.powi(ways() as i32),
                    _ => fails,
                };
                let works = (1.0 - fails) * if hindered { HARDLY } else { 1.0 };
                likely *= match (open, within, holds) {
                    (true, true, true) => works,
                    (true, true, false) => 1.0 - works,
                    // What did not reach everybody did not do; said to hold all the same, it is likelier that nobody was missing.
                    (true, false, true) => FAILS,
                    _ => 1.0,
                };
            }
        }
        likely
    }

    /// Draws which hosts are compromised and which accounts the attacker has. It may be nobody: the alarm is false, or the attacker never
    /// got in.
    fn guess(believed: &Roles, seed: u64, advance: Advance) -> World {
        // An attacker is shut out, whoever it is.
        let mut fallen = drawn(seed, "compromised", believed.suspects());
        let held = drawn(seed, "held", believed.held.iter());
        let is_out =
            |host: &String| believed.suspects().any(|(own, _)| own == host) && !fallen.contains(host);
        let mut roles = believed.clone();
        roles.targets.retain(|host| !is_out(host));
        roles.footholds.retain(|host| !is_out(host));
        fallen.retain(|host| !roles.targets.contains(*host));
        roles.targets.extend(fallen.into_iter().cloned());
        let has = |account: &String| held.contains(account) || !believed.held.contains_key(account);
        roles.stolen_accounts.retain(has);
        roles.planted_accounts.retain(has);
        let made = believed.made_accounts().filter(|(account, _)| held.contains(account));
        roles.planted_accounts.extend(made.map(|(account, _)| account.clone()));
        let is_hindered = |fact| chance(derive_seed(seed, "hindered", &[fact as u64])) < HINDERED;
        let returns = match roles.attackers.iter().filter(|name| roles.attacks_from_outside(name)).count() {
            0 => 0.0,
            1 => RETURNS,
            _ => RETURNS_AGAIN,
        };
        let returning = (chance(derive_seed(seed, "returns", &[])) < returns).then(|| {
            let is_untold = roles.contacts.is_empty() || chance(derive_seed(seed, "untold", &[])) < IS_UNTOLD;
            let further = if is_untold { vec![UNTOLD.to_owned()] } else { roles.contacts.clone() };
            Roles { attackers: [roles.attackers.clone(), further].concat(), ..roles.clone() }
        });
        World { seed, roles, hindered: std::array::from_fn(is_hindered), returning, advance }
    }

    /// What an action shows that searches logs: of each host in doubt whether the attacker got in, for certain, as what people find out is
    /// taken.
    pub(crate) fn found(&self, objects: &Objects) -> Vec<Finding> {
        let shows = |host: &String| {
            let is_compromised = self.roles.targets.contains(host);
            Finding { name: host.clone(), kind: TargetKind::Host, is_compromised }
        };
        searched(&self.roles, objects).map(shows).collect()
    }

    /// Whether there is nothing to recover from: of all who are suspected nobody has fallen, and the attacker is shut out as far as it can
    /// be, if there is one. Where nobody is suspected that is not known.
    pub(crate) fn is_whole(&self, state: RecoveryState) -> bool {
        let is_anybody_suspected = self.roles.suspects().next().is_some() || !self.roles.held.is_empty();
        !self.roles.has_fallen() && is_anybody_suspected && self.roles.is_shut_out(state)
    }

    /// The attacker goes on while the last of these is done, if it has got in and the attack is not contained after it: who falls has to be
    /// reached from then on, and whoever responds knows of it if it was seen.
    pub(crate) fn pass(&mut self, minutes: f64, deeds: &mut [Deed]) {
        if !self.roles.has_fallen() || deeds.last().is_none_or(|last| last.after.is_attack_contained) {
            return;
        }
        for Fall { is_seen } in self.advance.pass(minutes) {
            let Some(next) = next_to_fall(&self.roles, deeds, is_seen) else { continue };
            let (name, is_account) = (next.name().clone(), matches!(next, Next::Account(_)));
            for roles in std::iter::once(&mut self.roles).chain(&mut self.returning) {
                let fallen = if is_account { &mut roles.stolen_accounts } else { &mut roles.targets };
                fallen.push(name.clone());
            }
            if let Some(last) = deeds.last_mut().filter(|_| is_seen) {
                last.fallen.push(name);
            }
        }
    }

    /// Facts that something unseen stands against when this is done after these others: containment as well, where the attacker comes
    /// back from elsewhere and the attacked hosts are not cut off.
    fn hinders(&self, deeds: &[Deed], objects: &Objects, before: RecoveryState) -> [bool; 6] {
        let mut hindered = self.hindered;
        if let (Some(roles), [contained, ..]) = (&self.returning, &mut hindered) {
            let within = Coverage::of(roles, deeds).within_reach(objects, before, Some(self.seed));
            *contained |= !within.is_attack_contained;
        }
        hindered
    }

    /// The chance that an action of this kind works which reaches all whom it has to, where the organisation says.
    fn works(&self, kind: VerbClass, objects: &Objects) -> Option<f64> {
        let names = objects.iter().filter(|(own, _)| *own == kind).flat_map(|(_, names)| names);
        self.roles.works(kind, names)
    }

    /// Of facts that an action may bring about, those that it does by what the organisation says of how often it works, as the lot
    /// decides, and those of which it says nothing.
    pub(crate) fn stated(
        &self,
        objects: &Objects,
        open: RecoveryState,
        lot: u64,
    ) -> (RecoveryState, RecoveryState) {
        let (mut works, mut unsaid) = ([false; 6], open.bits());
        for (fact, (kind, (holds, unsaid))) in
            KINDS.into_iter().zip(works.iter_mut().zip(&mut unsaid)).enumerate()
        {
            if let Some(often) = self.works(kind, objects).filter(|_| *unsaid) {
                *holds = chance(derive_seed(lot, "works", &[fact as u64])) < often;
                *unsaid = false;
            }
        }
        (RecoveryState::from_bits(works), RecoveryState::from_bits(unsaid))
    }

    /// What comes about of what would, if nothing unseen stood against it. The lot decides.
    pub(crate) fn let_through(
        &self,
        deeds: &[Deed],
        objects: &Objects,
        before: RecoveryState,
        gained: RecoveryState,
        lot: u64,
    ) -> RecoveryState {
        let mut bits = gained.bits();
        let hindered = self.hinders(deeds, objects, before);
        for (fact, (holds, hindered)) in bits.iter_mut().zip(hindered).enumerate() {
            *holds &= !hindered || chance(derive_seed(lot, "let through", &[fact as u64])) < HARDLY;
        }
        RecoveryState::from_bits(bits)
    }

    /// Facts that an action may bring about after these others, since it does all that they ask for. `objects` are whom it names.
    pub(crate) fn reach(&self, deeds: &[Deed], objects: &Objects, state: RecoveryState) -> RecoveryState {
        Coverage::of(&self.roles, deeds).within_reach(objects, state, Some(self.seed))
    }

    /// What an action costs that led from one state to another.
    pub(crate) fn cost(
        &self,
        costs: &dyn CostModel,
        before: RecoveryState,
        action: &str,
        after: RecoveryState,
    ) -> f64 {
        let hosts = self.taken_down_needlessly(action);
        costs.cost(before, action, after) + costs.needless(before, after, hosts)
    }

    /// How many hosts of the system an action takes down that have no part in the incident. Whoever is locked out of an account meanwhile
    /// waits, which costs no action.
    pub(crate) fn taken_down_needlessly(&self, action: &str) -> usize {
        if !interrupts(action) {
            return 0;
        }
        let guilty = self.roles.to_clean();
        let is_innocent = |name: &String| {
            self.roles.systems.contains(name)
                && !guilty.contains(name)
                && !self.roles.attackers.contains(name)
        };
        let hosts: BTreeSet<String> = named(action, &self.roles).into_iter().map(|(_, name)| name).collect();
        hosts.into_iter().filter(is_innocent).count()
    }
}

/// Hosts in doubt whose logs an action searches.
pub(crate) fn searched<'a>(roles: &'a Roles, objects: &'a Objects) -> impl Iterator<Item = &'a String> {
    let is_searched = |host: &String| {
        objects.iter().any(|(kind, names)| *kind == VerbClass::Analyse && names.contains(host))
    };
    let in_doubt = |chance: f32| (IN_DOUBT..=1.0 - IN_DOUBT).contains(&chance);
    let suspects = roles.suspects().filter(move |(_, chance)| in_doubt(**chance)).map(|(host, _)| host);
    suspects.filter(move |host| is_searched(host))
}

/// Whether whoever responds is told what searches find: as long as none was made that told nothing of somebody who is in doubt still.
pub(crate) fn is_told(roles: &Roles, past: &[Deed]) -> bool {
    past.iter().all(|deed| searched(roles, &deed.objects).next().is_none())
}

/// Those that the lot falls on, each as often as it is likely.
fn drawn<'a>(
    seed: u64,
    what: &str,
    chances: impl Iterator<Item = (&'a String, &'a f32)>,
) -> BTreeSet<&'a String> {
    let lot = |position: usize| chance(derive_seed(seed, what, &[position as u64]));
    let falls = |(position, (_, likely)): &(usize, (&String, &f32))| lot(*position) < f64::from(**likely);
    chances.enumerate().filter(falls).map(|(_, (name, _))| name).collect()
}

/// Who falls next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A host of the system.
    Host(&'a String),
    /// An account, where the attack is about accounts.
    Account(&'a String),
}

impl<'a> Next<'a> {
    fn name(self) -> &'a String {
        match self {
            Next::Host(name) | Next::Account(name) => name,
        }
    }
}

/// What falls next. Where accounts are attacked and no host is known to be, it is an account: of those that the attacker may have the
/// likeliest, and then the first of those that the log tells of. Else it is a host.
pub(crate) fn next_to_fall<'a>(roles: &'a Roles, deeds: &[Deed], is_seen: bool) -> Option<Next<'a>> {
    if roles.to_clean().is_empty() && !roles.stolen_accounts.is_empty() {
        let may_fall = |account: &String| {
            !roles.has_account(account) && !deeds.iter().any(|deed| deed.protects(account))
        };
        let held = roles.held.iter().filter(|(account, _)| may_fall(account));
        let likeliest = held.min_by(|a, b| b.1.total_cmp(a.1)).map(|(account, _)| account);
        let others = || roles.seen_accounts.iter().find(|account| may_fall(account));
        return likeliest.or_else(others).map(Next::Account);
    }
    next_host(roles, deeds, is_seen).map(Next::Host)
}

/// The host that falls next: the likeliest of those that the attack has to do with, and then the first of those that are described.
/// The order is no lot, since no number says more than how likely each is, and worlds in which another one falls would ask other questions.
/// One of which nothing ever tells, and which falls unseen, would be missed by whoever responds for good: it is left out.
fn next_host<'a>(roles: &'a Roles, deeds: &[Deed], is_seen: bool) -> Option<&'a String> {
    let may_fall = |host: &String| {
        !roles.targets.contains(host)
            && !roles.attackers.contains(host)
            && !deeds.iter().any(|deed| deed.protects(host))
    };
    let suspects = roles.suspects().filter(|(host, _)| may_fall(host));
    // Among equals the first.
    let likeliest = suspects.min_by(|a, b| b.1.total_cmp(a.1)).map(|(host, _)| host);
    let is_described = |host: &&String| {
        let mut names = roles.names.iter().filter(|(_, address)| address == host).peekable();
        names.peek().is_some() && names.all(|(name, _)| !passes_traffic(name))
    };
    let others = || roles.systems.iter().filter(|host| may_fall(host)).find(is_described);
    likeliest.or_else(|| others().filter(|_| is_seen))
}

#[cfg(test)]
mod tests {
    use countermove_incident::MinuteTable;

    use super::*;
    use crate::prompts::coverage::widened;
    use crate::prompts::past::past;

    fn roles(chances: &[(&str, f32)]) -> Roles {
        Roles {
            attackers: vec!["203.0.113.7".into()],
            systems: chances.iter().map(|(host, _)| (*host).to_owned()).collect(),
            targets: vec![chances[0].0.to_owned()],
            footholds: vec![chances[0].0.to_owned()],
            compromised: chances.iter().map(|(host, chance)| ((*host).to_owned(), *chance)).collect(),
            ..Roles::default()
        }
    }

    #[test]
    fn hosts_are_compromised_as_often_as_they_are_likely_to_be() {
        let believed = roles(&[("10.0.0.1", 0.9), ("10.0.0.2", 0.3), ("10.0.0.3", 0.0)]);
        let mut times = [0; 3];
        for seed in 0..4000 {
            let world = World::draw(&believed, &[], seed).roles;
            assert!(world.footholds.iter().all(|host| world.targets.contains(host)));
            for (host, times) in believed.systems.iter().zip(&mut times) {
                *times += usize::from(world.targets.contains(host));
            }
        }
        assert!((times[0] as f64 / 4000.0 - 0.9).abs() < 0.02, "{times:?}");
        assert!((times[1] as f64 / 4000.0 - 0.3).abs() < 0.03 && times[2] == 0, "{times:?}");
        let none = Roles { compromised: Default::default(), ..believed.clone() };
        assert_eq!(World::draw(&none, &[], 1).roles, none, "where nobody is doubted nobody is drawn");
    }

    #[test]
    fn a_world_is_whole_where_none_of_the_suspects_has_fallen_and_the_attacker_is_shut_out() {
        let believed = roles(&[("10.0.0.1", 0.4)]);
        let contained = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let mut whole = 0;
        for seed in 0..500 {
            let world = World::draw(&believed, &[], seed);
            assert_eq!(world.is_whole(contained), world.roles.targets.is_empty());
            assert!(!world.is_whole(RecoveryState::default()), "the attacker knocks still");
            whole += usize::from(world.is_whole(contained));
            let mut deeds = in_vain(&believed, &["Search the logs of 10.0.0.2"]);
            let mut later = world.clone();
            later.pass(1e5, &mut deeds);
            assert!(!world.is_whole(contained) || later.roles.targets.is_empty(), "who is out goes nowhere");
        }
        assert!((250..350).contains(&whole), "{whole}");
        let inside = Roles { attackers: Vec::new(), ..believed };
        let is_whole = |seed| World::draw(&inside, &[], seed).is_whole(RecoveryState::default());
        assert!((0..50).any(is_whole), "where nobody attacks from outside nobody has to be shut out");
        let unknown =
            Roles { targets: Vec::new(), footholds: Vec::new(), compromised: BTreeMap::new(), ..inside };
        assert!(!World::draw(&unknown, &[], 1).is_whole(contained), "where nobody is suspected nobody knows");
    }

    #[test]
    fn what_came_of_actions_says_who_is_compromised() {
        let believed = roles(&[("10.0.0.1", 0.95), ("10.0.0.2", 0.2)]);
        let share = |history: &[&str], state: RecoveryState| {
            let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
            let deeds = past(&believed, &history, state);
            let second = "10.0.0.2".to_owned();
            let fallen = |seed: &u64| World::draw(&believed, &deeds, *seed).roles.targets.contains(&second);
            (0..2000).filter(fallen).count() as f64 / 2000.0
        };
        let none = RecoveryState::default();
        assert!((share(&[], none) - 0.2).abs() < 0.03);
        let failed = share(&["Save the logs of 10.0.0.1 (it changed nothing)"], none);
        // It fails for 0.95 · 0.1 + 0.05 · 0.73 where nobody is missing: 0.2 / (0.2 + 0.8 · 0.1315)
        assert!((failed - 0.655).abs() < 0.04, "{failed}");
        let kept = RecoveryState { are_forensics_preserved: true, ..none };
        let worked = share(&["Save the logs of 10.0.0.1 (then: forensics preserved)"], kept);
        // 0.2 · 0.1 / (0.2 · 0.1 + 0.8 · 0.8685)
        assert!((worked - 0.028).abs() < 0.02, "{worked}");
    }

    #[test]
    fn what_is_believed_moves_with_what_comes_of_actions() {
        let believed = roles(&[("10.0.0.1", 0.95), ("10.0.0.2", 0.2)]);
        let after =
            |line: &str, state| Belief::new(&believed, &past(&believed, &[line.to_owned()], state), 1);
        let at_first = Belief::new(&believed, &[], 1);
        assert!((at_first.compromised["10.0.0.2"] - 0.2).abs() < 0.06, "{at_first:?}");
        assert!(at_first.hindered.iter().all(|chance| (chance - 0.05).abs() < 0.04), "{at_first:?}");
        let failed = after("Save the logs of 10.0.0.1 (it changed nothing)", RecoveryState::default());
        assert!(failed.compromised["10.0.0.2"] > 0.5, "{failed:?}");
        assert!(failed.hindered[2] > 0.1 && failed.hindered[0] < 0.1, "{failed:?}");
        let kept = RecoveryState { are_forensics_preserved: true, ..RecoveryState::default() };
        let worked = after("Save the logs of 10.0.0.1 (then: forensics preserved)", kept);
        assert!(worked.compromised["10.0.0.2"] < 0.1 && worked.hindered[2] < 0.03, "{worked:?}");
    }

    #[test]
    fn a_search_shows_who_in_doubt_has_fallen() {
        let chances = [("10.0.0.1", 1.0), ("10.0.0.2", 0.5), ("10.0.0.3", 0.5), ("10.0.0.4", 0.01)];
        let believed = roles(&chances);
        let objects =
            crate::prompts::past::objects("Search the logs of 10.0.0.1, 10.0.0.2 and 10.0.0.4", &believed);
        for seed in 0..200 {
            let world = World::draw(&believed, &[], seed);
            let shown = world.found(&objects);
            let [Finding { name, is_compromised, .. }] = &shown[..] else { panic!("{shown:?}") };
            assert_eq!(
                name, "10.0.0.2",
                "the first is known, the third was not searched, of the last nothing says so"
            );
            assert_eq!(*is_compromised, world.roles.targets.contains(name));
        }
        // Who was searched and is in doubt still shows that nobody tells.
        let history = ["Search the logs of 10.0.0.2 (then: knowledge sufficient)".to_owned()];
        let known = RecoveryState { is_knowledge_sufficient: true, ..RecoveryState::default() };
        let deeds = past(&believed, &history, known);
        assert!(!is_told(&believed, &deeds));
        let clean = Finding { name: "10.0.0.2".into(), kind: TargetKind::Host, is_compromised: false };
        let mut learnt = believed.clone();
        learnt.learn(&clean);
        assert!(is_told(&learnt, &deeds) && is_told(&believed, &[]));
        // What a rollout was shown, whoever responds in it knows.
        let shown = |is_compromised| {
            let mut deeds = deeds.clone();
            deeds[0].found = vec![Finding { is_compromised, ..clean.clone() }];
            widened(&believed, &deeds).roles.into_owned()
        };
        assert!(shown(true).targets.ends_with(&["10.0.0.2".to_owned()]));
        assert!(shown(false).suspects().all(|(host, _)| host != "10.0.0.2"));
    }

    #[test]
    fn an_address_that_the_hosts_turned_to_may_be_where_the_attacker_comes_back_from() {
        let believed = Roles { contacts: vec!["c2.example".into()], ..roles(&[("10.0.0.1", 1.0)]) };
        let believed = Roles { footholds: Vec::new(), ..believed };
        let worlds: Vec<World> = (0..4000).map(|seed| World::draw(&believed, &[], seed)).collect();
        let share = |name: &str| {
            let has = |world: &&World| {
                world.returning.as_ref().is_some_and(|roles| roles.attackers.contains(&name.to_owned()))
            };
            worlds.iter().filter(has).count() as f64 / 4000.0
        };
        assert!(
            (share("c2.example") - RETURNS / 2.0).abs() < 0.02
                && (share(UNTOLD) - RETURNS / 2.0).abs() < 0.02
        );
        let contains = |action: &str| {
            let objects = crate::prompts::past::objects(action, &believed);
            let does = |world: &&World| !world.hinders(&[], &objects, RecoveryState::default())[0];
            worlds.iter().filter(does).count() as f64 / 4000.0
        };
        let known = contains("Block all traffic from 203.0.113.7");
        let all = contains("Block all traffic from 203.0.113.7 and c2.example");
        assert!((all - known - RETURNS / 2.0).abs() < 0.02, "{known} {all}");
    }

    #[test]
    fn how_often_something_works_is_the_organisations_word() {
        let text = "other = { work = 30 }\n[[response]]\ndoes = \"preserve\"\nto = \"host\"\nworks = 0.5";
        let capabilities = MinuteTable::parse(text).unwrap().capabilities;
        let believed = roles(&[("10.0.0.1", 0.95), ("10.0.0.2", 0.2)]).able(&capabilities);
        let keep = "Save the logs of 10.0.0.1";
        let objects = crate::prompts::past::objects(keep, &believed);
        let open =
            RecoveryState { are_forensics_preserved: true, is_hardened: true, ..RecoveryState::default() };
        let world = World::draw(&believed, &[], 1);
        let works =
            (0..2000).filter(|lot| world.stated(&objects, open, *lot).0.are_forensics_preserved).count();
        assert!((900..1100).contains(&works), "{works}");
        assert!(
            (0..20).all(|lot| world.stated(&objects, open, lot).1
                == RecoveryState { is_hardened: true, ..RecoveryState::default() }),
            "of hardening nothing is said"
        );
        // What fails half the time says less of who is missing than what seldom does.
        let failed = past(&believed, &[format!("{keep} (it changed nothing)")], RecoveryState::default());
        let belief = Belief::new(&believed, &failed, 1).compromised["10.0.0.2"];
        assert!((0.25..0.4).contains(&belief), "{belief}");
    }

    #[test]
    fn what_fails_where_nobody_can_be_missing_is_hindered() {
        let believed = roles(&[("10.0.0.1", 1.0)]);
        let keep = "Save the logs of 10.0.0.1 (it changed nothing)".to_owned();
        let hindered = |times: usize| {
            let history: Vec<String> = std::iter::repeat_n(keep.clone(), times).collect();
            let deeds = past(&believed, &history, RecoveryState::default());
            let is = |seed: &u64| World::draw(&believed, &deeds, *seed).hindered[2];
            (0..2000).filter(is).count() as f64 / 2000.0
        };
        let shares = [hindered(0), hindered(1), hindered(2)];
        // 0.05; 0.05 · 0.73 / (0.05 · 0.73 + 0.95 · 0.1); 0.05 · 0.73² / (0.05 · 0.73² + 0.95 · 0.1²)
        for (share, expected) in shares.into_iter().zip([0.05, 0.278, 0.737]) {
            assert!((share - expected).abs() < 0.04, "{shares:?}");
        }
        let kept = RecoveryState { are_forensics_preserved: true, ..RecoveryState::default() };
        let hindered = [false, false, true, false, false, false];
        let world = World { seed: 1, roles: believed, hindered, returning: None, advance: Advance::new(1) };
        let let_through =
            |lot: &u64| world.let_through(&[], &Vec::new(), RecoveryState::default(), kept, *lot) == kept;
        let through = (0..8000).filter(let_through).count() as f64 / 8000.0;
        assert!((through - HARDLY).abs() < 0.04, "{through}");
    }

    #[test]
    fn an_attacker_whose_block_did_not_hold_comes_from_elsewhere() {
        let believed = roles(&[("10.0.0.1", 1.0)]);
        let returns = |believed: &Roles, history: &[&str], state: RecoveryState| {
            let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
            f64::from(Belief::new(believed, &past(believed, &history, state), 1).returns)
        };
        let none = RecoveryState::default();
        let contained = RecoveryState { is_attack_contained: true, ..none };
        let block = |what: &str| format!("Block all traffic from 203.0.113.7 and isolate 10.0.0.1 ({what})");
        let alone = Roles { footholds: Vec::new(), ..believed.clone() };
        let failed = "Block all traffic from 203.0.113.7 (it changed nothing)";
        let held = "Block all traffic from 203.0.113.7 (then: attack contained)";
        let shares = [
            returns(&alone, &[], none),
            returns(&alone, &[failed], none),
            returns(&alone, &[held], contained),
            returns(&alone, &[&block("it changed nothing")], none),
        ];
        // 0.24; a block fails for 0.73 of those who come back and for 0.1315 of the others; it holds for 0.27 and for 0.8685; cutting off
        // the host says nothing.
        for (share, expected) in shares.into_iter().zip([0.24, 0.637, 0.089, 0.24]) {
            assert!((share - expected).abs() < 0.08, "{shares:?}");
        }
        let several = Roles { attackers: vec!["203.0.113.7".into(), "198.51.100.3".into()], ..alone.clone() };
        assert!((returns(&several, &[], none) - 0.5).abs() < 0.06, "who came from two may come from a third");
        let inside = Roles { attackers: vec!["10.0.0.1".into()], ..alone };
        assert!(returns(&inside, &[], none) == 0.0, "an attacker within the system has nowhere to come from");
    }

    /// What was done by these actions, none of which brought anything about.
    fn in_vain(believed: &Roles, actions: &[&str]) -> Vec<Deed> {
        let history: Vec<String> =
            actions.iter().map(|action| format!("{action} (it changed nothing)")).collect();
        past(believed, &history, RecoveryState::default())
    }

    #[test]
    fn an_attacker_who_is_left_free_takes_further_hosts_and_one_who_is_contained_does_not() {
        let chances = [("10.0.0.1", 1.0), ("10.0.0.2", 0.1), ("10.0.0.3", 0.2), ("10.0.0.4", 0.0)];
        let believed = roles(&chances);
        let contained = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let mut fell = 0;
        for seed in 0..200 {
            let drawn = World::draw(&believed, &[], seed);
            let passed = |actions: &[&str], minutes: f64| {
                let (mut world, mut deeds) = (drawn.clone(), in_vain(&believed, actions));
                world.pass(minutes, &mut deeds);
                assert!(world.returning.is_none_or(|roles| roles.targets == world.roles.targets));
                let seen = deeds.pop().map(|last| last.fallen).unwrap_or_default();
                (world.roles.targets, seen)
            };
            let [search, isolate] = ["Search the logs of 10.0.0.1", "Isolate 10.0.0.3 from the network"];
            let (targets, seen) = passed(&[search], 90.0);
            assert!(
                targets.starts_with(&drawn.roles.targets) && seen.iter().all(|host| targets.contains(host))
            );
            let new = targets.get(drawn.roles.targets.len()..).unwrap_or_default();
            fell += usize::from(!new.is_empty());
            let likeliest = ["10.0.0.3", "10.0.0.2", "10.0.0.4"].map(str::to_owned);
            let free: Vec<&String> =
                likeliest.iter().filter(|host| !drawn.roles.targets.contains(host)).collect();
            assert!(new.iter().eq(free.into_iter().take(new.len())), "{new:?}");
            // The same luck, whatever is done; more of it, the longer it takes.
            assert_eq!(passed(&["Save the logs of 10.0.0.2"], 90.0), (targets.clone(), seen));
            assert!(passed(&[search], 500.0).0.starts_with(&targets));
            let (after, _) = passed(&[isolate, search], 1e5);
            assert!(drawn.roles.targets.contains(&likeliest[0]) || !after.contains(&likeliest[0]), "cut off");

            let (mut world, mut deeds) = (drawn.clone(), in_vain(&believed, &[search]));
            deeds.last_mut().unwrap().after = contained;
            world.pass(1e5, &mut deeds);
            assert_eq!((world.roles.targets, world.advance), (drawn.roles.targets, drawn.advance));
        }
        // 0.52 · (1 - exp(-90 / 60)), less where all have fallen already
        assert!((60..100).contains(&fell), "{fell}");
    }

    #[test]
    fn a_host_of_which_nothing_tells_falls_in_sight_and_a_gateway_never_does() {
        let hosts = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].map(str::to_owned);
        let names = [("gw1", "10.0.0.2"), ("web", "10.0.0.3")];
        let believed = Roles {
            systems: hosts.to_vec(),
            names: names.map(|(name, address)| (name.to_owned(), address.to_owned())).into(),
            ..roles(&[("10.0.0.1", 1.0)])
        };
        let mut fell = 0;
        for seed in 0..200 {
            let mut world = World::draw(&believed, &[], seed);
            let mut deeds = in_vain(&believed, &["Search the logs of 10.0.0.1"]);
            world.pass(1e5, &mut deeds);
            let seen = &deeds[0].fallen;
            assert!(seen.is_empty() || seen == &hosts[2..3], "{seen:?}");
            assert_eq!(world.roles.targets, [&hosts[..1], seen].concat());
            let wider = widened(&believed, &deeds);
            assert_eq!((&wider.joined, &wider.roles.targets), (seen, &world.roles.targets), "it is known of");
            fell += usize::from(!seen.is_empty());
        }
        assert!(fell > 20, "{fell}");
    }

    #[test]
    fn accounts_are_held_as_often_as_they_are_likely_to_be_and_outcomes_tell_of_them() {
        let believed = Roles {
            stolen_accounts: vec!["alice".into()],
            planted_accounts: vec!["svc_helper".into()],
            held: [("alice".to_owned(), 0.6), ("svc_helper".to_owned(), 0.9)].into(),
            ..roles(&[("10.0.0.1", 1.0)])
        };
        let worlds: Vec<Roles> = (0..2000).map(|seed| World::draw(&believed, &[], seed).roles).collect();
        let share = |name: &str| {
            worlds.iter().filter(|roles| roles.has_account(&name.to_owned())).count() as f64 / 2000.0
        };
        assert!((share("alice") - 0.6).abs() < 0.04 && (share("svc_helper") - 0.9).abs() < 0.03);
        assert!(worlds.iter().all(|roles| roles.held == believed.held && roles.targets == believed.targets));
        let unlisted = Roles { planted_accounts: Vec::new(), ..believed.clone() };
        let made = (0..2000).map(|seed| World::draw(&unlisted, &[], seed).roles);
        assert!(made.eq(worlds), "one in no list was made by the attacker, or not");
        // Hardening holds although nobody changed the password: alice is her own master.
        let after =
            |line: &str, state| Belief::new(&believed, &past(&believed, &[line.to_owned()], state), 1);
        let hardened = RecoveryState { is_hardened: true, ..RecoveryState::default() };
        let held = after("Patch 10.0.0.1 (then: system hardened)", hardened).held["alice"];
        let failed = after("Patch 10.0.0.1 (it changed nothing)", RecoveryState::default()).held["alice"];
        assert!(held < 0.25 && failed > 0.8, "{held}, {failed}");
    }

    #[test]
    fn where_accounts_alone_are_attacked_further_accounts_fall() {
        let believed = Roles {
            stolen_accounts: vec!["alice".into()],
            seen_accounts: vec!["bob".into(), "carol".into()],
            systems: vec!["10.0.0.1".into()],
            names: [("web".to_owned(), "10.0.0.1".to_owned())].into(),
            held: [("alice".to_owned(), 1.0)].into(),
            ..Roles::default()
        };
        let mut fell = 0;
        for seed in 0..200 {
            let drawn = World::draw(&believed, &[], seed);
            let passed = |action: &str| {
                let (mut world, mut deeds) = (drawn.clone(), in_vain(&believed, &[action]));
                world.pass(1e5, &mut deeds);
                (world.roles, deeds)
            };
            let (roles, deeds) = passed("Search the sign-in logs of alice");
            assert!(["alice", "bob", "carol"].map(str::to_owned).starts_with(&roles.stolen_accounts));
            assert!(roles.targets.is_empty(), "no host is attacked");
            let seen = &deeds[0].fallen;
            assert!(seen.iter().all(|account| roles.stolen_accounts.contains(account)));
            let wider = widened(&believed, &deeds);
            assert_eq!((&wider.joined, wider.roles.targets.len()), (seen, 0), "it is known of");
            assert!(seen.iter().all(|account| wider.roles.has_account(account)));
            fell += usize::from(!seen.is_empty());
            let (roles, _) = passed("Disable the account bob");
            assert!(!roles.stolen_accounts.contains(&"bob".to_owned()), "it is disabled");
        }
        assert!((20..104).contains(&fell), "{fell}");
    }

    #[test]
    fn whoever_has_no_part_is_taken_down_needlessly_and_counts_once() {
        let world = World::draw(&roles(&[("10.0.0.1", 1.0), ("10.0.0.2", 0.0), ("10.0.0.3", 0.0)]), &[], 5);
        for (action, hosts) in [
            ("Isolate 10.0.0.1 and 10.0.0.2 from the network", 1),
            ("Isolate 10.0.0.2 and 10.0.0.3 from the network, then remove the web shell from 10.0.0.2", 2),
            ("Isolate 10.0.0.1 from the network", 0),
            ("Block all traffic from 203.0.113.7", 0),
            ("Search the logs of 10.0.0.2 for what the attacker did", 0),
        ] {
            assert_eq!(world.taken_down_needlessly(action), hosts, "{action}");
        }
    }
}
