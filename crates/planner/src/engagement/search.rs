//! What to do next: a tree search over what may be done and what may then be seen, in attacks that are drawn from the belief
//! (partially observable Monte-Carlo planning: Silver and Veness, 2010).
//!
//! The first actions share the search by halving: all are tried equally often, then the better half, until two are left. Below them an action is
//! tried the more, the cheaper it seems and the less it was tried. Beyond the tree a simple rule goes on.
//!
//! Invariant: whoever responds in a game knows what was done and seen in it, and nothing of the attack.

use std::collections::HashMap;

use countermove_incident::{CatalogueAction, Hold};

use super::attack::{Attack, Dice, Move};
use super::belief::{Attacks, Round, deed_of, finding};
use super::field::{Deed, Field, Host};

/// Hosts with an alarm that are looked at, the dearest first.
const ALARMED: usize = 4;
/// Hosts on which something that deflects is thought of, those that need it most first.
const GUARDED: usize = 4;
/// How much the spread of costs makes an action be tried that was tried seldom.
const CURIOSITY: f64 = 1.0;
/// Rounds beyond the last one in which what the attacker holds then still counts.
const AFTERMATH: usize = 3;
/// From this chance of being held on a host is looked at whatever was seen of it.
const DOUBT: f64 = 0.2;
/// A host that was looked at needs protection so many times as much.
const PROBED: f64 = 3.0;

/// What a responder has seen and done, of each host.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Whether somebody seems to have tried to break in since it was last restored or searched in vain.
    alarm: Vec<bool>,
    /// Whether it was looked at.
    probed: Vec<bool>,
    /// How often something was set up that deflects.
    guards: Vec<u32>,
}

impl View {
    fn new(field: &Field<'_>) -> View {
        let count = field.names.len();
        View { alarm: vec![false; count], probed: vec![false; count], guards: vec![0; count] }
    }

    /// After these rounds.
    pub(crate) fn after(field: &Field<'_>, rounds: &[Round]) -> View {
        let mut view = View::new(field);
        for round in rounds {
            if let Some(deed) = deed_of(field, &round.action) {
                let trace = |host| {
                    round
                        .sights
                        .iter()
                        .any(|sight| sight.trace && field.names.get(host) == Some(&sight.host.as_str()))
                };
                view.did(field, deed, deed.host.is_some_and(trace));
            }
            for sight in &round.sights {
                let Some(host) = field.names.iter().position(|name| *name == sight.host) else { continue };
                if sight.trace || (sight.attempt >= sight.probe && sight.attempt > 0.3) {
                    view.saw(Move::Attempt(host));
                } else if sight.probe > 0.3 {
                    view.saw(Move::Probe(host));
                }
            }
        }
        view
    }

    /// The same, with an alarm at each host that is as likely held: what was seen there may have been too little for one.
    pub(crate) fn with_doubts(mut self, attacks: &Attacks) -> View {
        for (host, alarm) in self.alarm.iter_mut().enumerate() {
            *alarm |= attacks.held(host) >= DOUBT;
        }
        self
    }

    fn did(&mut self, field: &Field<'_>, deed: Deed, trace: bool) {
        let (Some(action), Some(host)) = (field.action(deed), deed.host) else { return };
        let alarm = self.alarm.get_mut(host);
        if action.ends == Hold::Administrator {
            alarm.into_iter().for_each(|alarm| *alarm = false);
        } else if action.finds > 0.0 {
            alarm.into_iter().for_each(|alarm| *alarm = trace);
        }
        let guards = self.guards.get_mut(host).into_iter();
        match (action.clears, action.deflects > 0.0) {
            (true, _) => guards.for_each(|guards| *guards = 0),
            (_, true) => guards.for_each(|guards| *guards = guards.saturating_add(1)),
            _ => {}
        }
    }

    fn saw(&mut self, moved: Move) {
        let (Move::Probe(host) | Move::Attempt(host)) = moved else { return };
        self.probed.get_mut(host).into_iter().for_each(|probed| *probed = true);
        if let Move::Attempt(_) = moved {
            self.alarm.get_mut(host).into_iter().for_each(|alarm| *alarm = true);
        }
    }

    fn is(&self, of: &[bool], host: Host) -> bool {
        of.get(host).copied().unwrap_or_default()
    }

    /// Hosts with an alarm that can be saved.
    fn alarmed(&self, field: &Field<'_>) -> impl Iterator<Item = Host> {
        field.hosts().filter(|host| self.is(&self.alarm, *host) && !field.is_lost(*host))
    }

    /// What may be worth doing.
    fn deeds(&self, field: &Field<'_>) -> Vec<Deed> {
        let mut alarmed: Vec<Host> = self.alarmed(field).collect();
        alarmed.sort_by(|a, b| field.worth(*b).total_cmp(&field.worth(*a)));
        alarmed.truncate(ALARMED);
        let mut deeds = Vec::new();
        for (at, action) in field.actions.iter().enumerate() {
            let on = |host: Host| Deed { action: at, host: Some(host) };
            if !action.is_on_host() {
                deeds.push(Deed { action: at, host: None });
            } else if action.deflects > 0.0 {
                deeds.extend(self.needy(field, action.most).into_iter().map(on));
            } else {
                deeds.extend(alarmed.iter().copied().map(on));
            }
        }
        deeds
    }

    /// Hosts on which something that deflects is of most use.
    fn needy(&self, field: &Field<'_>, most: u32) -> Vec<Host> {
        let guards = |host: Host| self.guards.get(host).copied().unwrap_or_default();
        let need = |host: Host| {
            let looked_at = if self.is(&self.probed, host) { PROBED } else { 1.0 };
            field.worth(host) * looked_at / (1.0 + 2.0 * f64::from(guards(host)))
        };
        let open = |host: &Host| guards(*host) < most && !field.is_lost(*host);
        let mut hosts: Vec<Host> = field.hosts().filter(open).collect();
        hosts.sort_by(|a, b| need(*b).total_cmp(&need(*a)));
        hosts.truncate(GUARDED);
        hosts
    }

    /// What a simple rule does: the dearest host with an alarm is restored if its loss until the end would be dearer, else what ends a
    /// user's hold is done; without an alarm the host that needs it most is guarded.
    fn rule(&self, field: &Field<'_>, rounds_left: usize) -> Deed {
        let by = |wanted: &dyn Fn(&CatalogueAction) -> bool| field.actions.iter().position(wanted);
        let idle = Deed { action: by(&|action| !action.is_on_host()).unwrap_or_default(), host: None };
        let guard = by(&|action| action.deflects > 0.0);
        if let Some(host) = self.alarmed(field).max_by(|a, b| field.worth(*a).total_cmp(&field.worth(*b))) {
            let guarded = guard
                .and_then(|at| field.actions.get(at))
                .map_or(1.0, |action| 1.0 - action.works * action.deflects);
            let guards = self.guards.get(host).copied().unwrap_or_default().min(32);
            let held = field.attacker.breaks_in * guarded.powi(guards as i32);
            let restore = by(&|action| action.ends == Hold::Administrator);
            let price =
                restore.and_then(|at| field.actions.get(at)).map_or(f64::INFINITY, |action| action.cost);
            let pays = held * field.worth(host) * rounds_left as f64 > price;
            let stop = by(&|action| action.ends == Hold::User);
            if let Some(action) = if pays { restore } else { stop.or(restore) } {
                return Deed { action, host: Some(host) };
            }
        }
        let most = guard.and_then(|at| field.actions.get(at)).map_or(0, |action| action.most);
        match (guard, self.needy(field, most).first()) {
            (Some(action), Some(host)) => Deed { action, host: Some(*host) },
            _ => idle,
        }
    }
}

/// A deed and what games that began with it cost.
#[derive(Clone, Debug)]
pub(crate) struct Outlook {
    pub(crate) deed: Deed,
    /// Costs of the games, in their order.
    pub(crate) costs: Vec<f64>,
}

impl Outlook {
    pub(crate) fn mean(&self) -> f64 {
        self.costs.iter().sum::<f64>() / self.costs.len().max(1) as f64
    }
}

/// A place in the tree: what was done and seen up to here.
struct Node {
    deeds: Vec<Deed>,
    /// Of each deed, how often it was tried and what the games cost together.
    tried: Vec<(f64, f64)>,
    /// Of all games through here: how many, the sum of their costs, and of the squares.
    games: (f64, f64, f64),
    /// Where one gets by a deed and what was seen then.
    next: HashMap<(usize, Glimpse), usize>,
}

/// What a responder learns in a round of a game.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Glimpse {
    /// The host at which something was seen, and whether it was an attempt.
    seen: Option<(Host, bool)>,
    /// Whether a search found something.
    found: bool,
}

/// A search from what is believed and seen.
pub(crate) struct Search<'a> {
    pub(crate) field: &'a Field<'a>,
    pub(crate) attacks: &'a Attacks,
    pub(crate) view: View,
    /// Rounds that are left, if the end is known.
    pub(crate) rounds_left: usize,
    /// Games that are played.
    pub(crate) games: usize,
    pub(crate) seed: u64,
}

impl Search<'_> {
    /// What may be done next, the cheapest first; `allowed` says what may be.
    pub(crate) fn run(&self, allowed: impl Fn(Deed) -> bool) -> Vec<Outlook> {
        let mut tree = vec![self.node(&self.view)];
        let Some(root) = tree.first_mut() else { return Vec::new() };
        root.deeds.retain(|deed| allowed(*deed));
        root.tried.truncate(root.deeds.len());
        let mut outlooks: Vec<Outlook> =
            root.deeds.iter().map(|deed| Outlook { deed: *deed, costs: Vec::new() }).collect();
        let mut alive: Vec<usize> = (0..outlooks.len()).collect();
        let halvings = alive.len().max(2).next_power_of_two().ilog2() as usize;
        let mut dice = Dice::new(self.seed);
        for halving in 0..halvings {
            let share = self.games / halvings / alive.len().max(1);
            for _ in 0..share.max(1) {
                for first in &alive {
                    let cost = self.play(&mut tree, *first, &mut dice);
                    outlooks.get_mut(*first).into_iter().for_each(|outlook| outlook.costs.push(cost));
                }
            }
            let mean = |at: &usize| outlooks.get(*at).map_or(f64::INFINITY, Outlook::mean);
            alive.sort_by(|a, b| mean(a).total_cmp(&mean(b)).then(a.cmp(b)));
            if halving + 1 < halvings {
                alive.truncate(alive.len().div_ceil(2).max(2));
            }
        }
        // Those that were left last come first: the others were tried too seldom to be compared with them.
        let rank = |at: usize| alive.iter().position(|own| *own == at).unwrap_or(usize::MAX);
        let mut ranked: Vec<(usize, Outlook)> =
            outlooks.into_iter().enumerate().map(|(at, outlook)| (rank(at), outlook)).collect();
        ranked.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.mean().total_cmp(&other.mean())));
        ranked.into_iter().map(|(_, outlook)| outlook).collect()
    }

    fn node(&self, view: &View) -> Node {
        let deeds = view.deeds(self.field);
        Node { tried: vec![(0.0, 0.0); deeds.len()], deeds, games: (0.0, 0.0, 0.0), next: HashMap::new() }
    }

    /// Plays one game that begins with the deed of this number, and takes in what it cost.
    fn play(&self, tree: &mut Vec<Node>, first: usize, dice: &mut Dice) -> f64 {
        let drawn = self.attacks.all.get(dice.below(self.attacks.all.len()));
        let Some(mut attack) = drawn.cloned() else { return 0.0 };
        let depth = self.field.horizon.min(self.rounds_left);
        let mut view = self.view.clone();
        let mut path: Vec<(usize, usize, f64)> = Vec::with_capacity(depth);
        let (mut at, mut round) = (0, 0);
        while round < depth {
            let Some(node) = tree.get(at) else { break };
            let choice = if round == 0 { first } else { node.most_promising(dice) };
            let Some(deed) = node.deeds.get(choice).copied() else { break };
            let is_new = node.tried.get(choice).is_some_and(|(times, _)| *times == 0.0);
            let (cost, glimpse) = self.round(&mut attack, &mut view, deed, dice);
            path.push((at, choice, cost));
            round += 1;
            if is_new {
                break;
            }
            let next = node.next.get(&(choice, glimpse)).copied();
            at = next.unwrap_or_else(|| {
                tree.push(self.node(&view));
                let new = tree.len() - 1;
                tree.get_mut(at).into_iter().for_each(|node| {
                    node.next.insert((choice, glimpse), new);
                });
                new
            });
        }
        let mut cost = 0.0;
        while round < depth {
            let deed = view.rule(self.field, depth - round);
            cost += self.round(&mut attack, &mut view, deed, dice).0;
            round += 1;
        }
        let aftermath = self.rounds_left.saturating_sub(depth).min(AFTERMATH);
        cost += attack.loss(self.field, Move::Rest) * aftermath as f64;
        for (at, choice, own) in path.into_iter().rev() {
            cost += own;
            let Some(node) = tree.get_mut(at) else { continue };
            let (games, sum, squares) = node.games;
            node.games = (games + 1.0, sum + cost, squares + cost * cost);
            if let Some((times, sum)) = node.tried.get_mut(choice) {
                *times += 1.0;
                *sum += cost;
            }
        }
        cost
    }

    /// One round of a game: what is done, what the attacker does, what is seen of it. Gives what it costs.
    fn round(&self, attack: &mut Attack, view: &mut View, deed: Deed, dice: &mut Dice) -> (f64, Glimpse) {
        let (price, _) = attack.respond(self.field, deed, dice);
        let moved = attack.go_on(self.field, dice);
        let finds = self.field.action(deed).map_or(0.0, |action| action.finds);
        let hold = deed.host.and_then(|host| attack.hold.get(host)).copied().unwrap_or_default();
        let found = finds > 0.0 && dice.happens(finding(hold, finds));
        view.did(self.field, deed, found);
        let seen = match moved {
            Move::Probe(host) => Some((host, false)),
            Move::Attempt(host) => Some((host, true)),
            _ => None,
        };
        let seen = seen.filter(|_| dice.happens(self.field.attacker.noticed));
        if seen.is_some() {
            view.saw(moved);
        }
        (price + attack.loss(self.field, moved), Glimpse { seen, found })
    }
}

impl Node {
    /// The deed that is worth trying: one that was not tried yet, else the one that may be cheapest.
    fn most_promising(&self, dice: &mut Dice) -> usize {
        let untried: Vec<usize> =
            self.tried.iter().enumerate().filter(|(_, (times, _))| *times == 0.0).map(|(at, _)| at).collect();
        if let Some(at) = untried.get(dice.below(untried.len())) {
            return *at;
        }
        let (games, sum, squares) = self.games;
        let spread = (squares / games - (sum / games).powi(2)).max(0.01).sqrt();
        let bound =
            |(times, sum): &(f64, f64)| sum / times - CURIOSITY * spread * (games.ln() / times).sqrt();
        let cheapest = self.tried.iter().enumerate().min_by(|(_, a), (_, b)| bound(a).total_cmp(&bound(b)));
        cheapest.map_or(0, |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::Catalogue;

    use super::super::belief::Sight;
    use super::super::field::tests::NETWORK;
    use super::*;

    fn best(rounds: &[Round], network: &str) -> (String, Vec<Outlook>) {
        let catalogue = Catalogue::parse(network).unwrap();
        let field = Field::new(&catalogue);
        let attacks = Attacks::after(&field, rounds, 3);
        let view = View::after(&field, rounds).with_doubts(&attacks);
        let search = Search { field: &field, attacks: &attacks, view, rounds_left: 20, games: 4000, seed: 5 };
        let outlooks = search.run(|_| true);
        (field.text(outlooks[0].deed), outlooks)
    }

    fn attempt(action: &str, host: &str) -> Round {
        Round {
            action: action.into(),
            sights: vec![Sight { host: host.into(), attempt: 0.95, probe: 0.05, trace: false }],
        }
    }

    #[test]
    fn a_server_that_was_broken_into_is_put_right_before_anything_else() {
        let rounds = [attempt("Watch", "pc1"), attempt("Watch", "web")];
        let (action, outlooks) = best(&rounds, NETWORK);
        assert!(["Restore web", "Stop processes on web"].contains(&action.as_str()), "{action}");
        assert!(outlooks.iter().all(|outlook| !outlook.costs.is_empty()));
        assert!(
            outlooks[0].costs.len() > outlooks[outlooks.len() - 1].costs.len(),
            "the better are played more"
        );
    }

    #[test]
    fn where_nothing_has_happened_a_server_is_guarded() {
        let (action, _) = best(&[], NETWORK);
        assert!(action.starts_with("Set up a decoy on "), "{action}");
    }

    #[test]
    fn what_is_dearer_than_the_loss_is_not_done() {
        let dear = NETWORK.replace("cost = 1\n", "cost = 500\n");
        let (action, _) = best(&[attempt("Watch", "pc1")], &dear);
        assert!(!action.starts_with("Restore"), "{action}");
    }

    #[test]
    fn the_same_seed_plays_the_same_games() {
        let rounds = [attempt("Watch", "pc1")];
        let costs = || best(&rounds, NETWORK).1.into_iter().map(|outlook| outlook.costs).collect::<Vec<_>>();
        assert_eq!(costs(), costs());
    }
}
