//! What to do next: a tree search over what may be done and what may then be seen, in attacks that are drawn from the belief
//! (partially observable Monte-Carlo planning: Silver and Veness, 2010).
//!
//! The first actions share the search by halving: all are tried equally often, then the better half, until two are left. Below them an action is
//! tried the more, the cheaper it seems and the less it was tried. Beyond the tree a simple rule goes on.
//!
//! Invariant: whoever responds in a game knows what was done and seen in it, and nothing of the attack.

use std::collections::HashMap;

use countermove_incident::Hold;

use super::attack::{Attack, Dice, Move};
use super::belief::{Attacks, finding};
use super::field::{Deed, Field};
use super::view::{Sighting, View};

/// How much the spread of costs makes an action be tried that was tried seldom.
const CURIOSITY: f64 = 1.0;
/// Rounds beyond the last one in which what the attacker holds then still counts.
const AFTERMATH: usize = 3;

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
    seen: Option<Sighting>,
    /// Whether a search found something.
    found: bool,
    /// Whether what was done could be carried out.
    fits: bool,
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
    /// These deeds as what is done next, the cheapest first.
    pub(crate) fn run(&self, deeds: Vec<Deed>) -> Vec<Outlook> {
        let mut outlooks: Vec<Outlook> =
            deeds.iter().map(|deed| Outlook { deed: *deed, costs: Vec::new() }).collect();
        let mut tree = vec![Node::of(deeds)];
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
                tree.push(Node::of(view.deeds(self.field)));
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
        let fits = attack.respond(self.field, deed, None, dice);
        let (price, finds) = self.field.action(deed).map_or((0.0, 0.0), |action| (action.cost, action.finds));
        let hold = deed.host.map_or(Hold::None, |host| attack.holds(host));
        let found = finds > 0.0 && dice.happens(finding(hold, finds));
        let done = attack.go_on(self.field, dice);
        view.did(self.field, deed, fits, found);
        let seen = Sighting::of(self.field, done, dice);
        if let Some(seen) = seen {
            view.saw(self.field, seen);
        }
        (price + attack.loss(self.field, done.moved), Glimpse { seen, found, fits })
    }
}

impl Node {
    fn of(deeds: Vec<Deed>) -> Node {
        Node { tried: vec![(0.0, 0.0); deeds.len()], deeds, games: (0.0, 0.0, 0.0), next: HashMap::new() }
    }

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

    use super::super::belief::{Round, Sight};
    use super::super::field::tests::NETWORK;
    use super::*;

    fn best(rounds: &[Round], network: &str) -> (String, Vec<Outlook>) {
        let catalogue = Catalogue::parse(network).unwrap();
        let field = Field::new(&catalogue);
        let attacks = Attacks::after(&field, rounds, 3);
        let view = View::after(&field, rounds, &attacks);
        let deeds = view.deeds(&field);
        let search = Search { field: &field, attacks: &attacks, view, rounds_left: 20, games: 4000, seed: 5 };
        let outlooks = search.run(deeds);
        (field.text(outlooks[0].deed), outlooks)
    }

    fn work(action: &str, host: &str) -> Round {
        let sight = Sight { host: host.into(), work: 0.95, probe: 0.05, ..Sight::default() };
        Round { action: action.into(), sights: vec![sight], carried_out: None }
    }

    #[test]
    fn a_server_that_was_broken_into_is_put_right_before_anything_else() {
        let rounds = [work("Watch", "pc1"), work("Watch", "web")];
        let (action, outlooks) = best(&rounds, &NETWORK.replace("loss = 1\n", "loss = 5\n"));
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
        let (action, _) = best(&[work("Watch", "pc1")], &dear);
        assert!(!action.starts_with("Restore"), "{action}");
    }

    #[test]
    fn the_same_seed_plays_the_same_games() {
        let rounds = [work("Watch", "pc1")];
        let costs = || best(&rounds, NETWORK).1.into_iter().map(|outlook| outlook.costs).collect::<Vec<_>>();
        assert_eq!(costs(), costs());
    }
}
