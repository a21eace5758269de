//! An attack as it may be: whom it holds, whom it knows of, how it goes about it, and what it does next.
//!
//! Nothing here knows a tool or an exploit: an attacker probes hosts that it knows of and reaches, tries to break in, takes control, learns
//! of further hosts, and does damage where it came for it. One kind goes straight on, the other looks everywhere first.

use countermove_incident::Hold;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::field::{Deed, Field, Host};

/// Random numbers of one game; the generator is SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(SplitMix64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(SplitMix64::seed_from_u64(seed))
    }

    /// From 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        crate::seeds::chance(self.0.next_u64())
    }

    pub(crate) fn happens(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// One of so many, from 0; 0 of none.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    fn one_of(&mut self, hosts: &[Host]) -> Option<Host> {
        hosts.get(self.below(hosts.len())).copied()
    }
}

/// What an attacker does in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Nothing that anybody could see or would suffer from.
    Rest,
    /// It looks at a host.
    Probe(Host),
    /// It tries to break into a host.
    Attempt(Host),
    /// It takes full control of a host that it holds.
    Control(Host),
    /// It does on a host what it came for.
    Ruin(Host),
}

/// How an attacker goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As deep in as it can, by the first way that it finds.
    StraightOn,
    /// It looks at all it knows of, then breaks in wherever it can.
    Everywhere,
}

/// An attack as it may be.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    /// How far it has come on each host.
    pub(crate) hold: Vec<Hold>,
    /// Hosts that it has looked at.
    probed: Vec<bool>,
    /// Hosts that it knows of.
    known: Vec<bool>,
    /// The share of attempts on each host that is let through.
    pub(crate) open: Vec<f64>,
    pub(crate) manner: Manner,
    /// The host that it is at.
    focus: Option<Host>,
}

/// How often an attacker who goes straight on tries where it has looked already, rather than look further.
const KEEPS_TRYING: f64 = 0.8;
/// How often an attacker who does the unforeseen is at a host where something was seen.
const AT_SEEN: f64 = 0.5;

impl Attack {
    /// One that has just begun.
    pub(crate) fn begin(field: &Field<'_>, dice: &mut Dice) -> Attack {
        let lost = |host: Host| field.is_lost(host);
        let hold =
            field.hosts().map(|host| if lost(host) { Hold::Administrator } else { Hold::None }).collect();
        let known_from = |host: Host| field.knows.get(host).into_iter().flatten();
        let mut known: Vec<bool> = field.hosts().map(lost).collect();
        let mut learn = |host: Host| known.get_mut(host).into_iter().for_each(|known| *known = true);
        field.hosts().filter(|host| lost(*host)).flat_map(known_from).copied().for_each(&mut learn);
        // Who is nowhere yet comes from outside, where the first zone is known.
        if !field.is_lost.contains(&true) {
            field.hosts().filter(|host| field.depth.get(*host) == Some(&0)).for_each(&mut learn);
        }
        let manner = if dice.happens(0.5) { Manner::StraightOn } else { Manner::Everywhere };
        let probed = field.hosts().map(lost).collect();
        Attack { hold, probed, known, open: vec![1.0; field.names.len()], manner, focus: None }
    }

    fn holds(&self, host: Host) -> Hold {
        self.hold.get(host).copied().unwrap_or_default()
    }

    /// Whether somebody knows of a host and gets to it.
    fn is_reachable(&self, field: &Field<'_>, host: Host) -> bool {
        let is_known = self.known.get(host).copied().unwrap_or_default() || self.has_probed(host);
        let in_control = || field.hosts().filter(|own| self.holds(*own) == Hold::Administrator);
        let from_outside = || field.depth.get(host) == Some(&0) && !field.is_lost.contains(&true);
        is_known && (in_control().any(|own| field.leads(own, host)) || from_outside())
    }

    fn has_probed(&self, host: Host) -> bool {
        self.probed.get(host).copied().unwrap_or_default()
    }

    /// A deed of the defender, and what it costs. Gives besides whether it did what it is for.
    pub(crate) fn respond(&mut self, field: &Field<'_>, deed: Deed, dice: &mut Dice) -> (f64, bool) {
        let Some(action) = field.action(deed) else { return (0.0, false) };
        let works = dice.happens(action.works);
        if let Some(host) = deed.host.filter(|_| works) {
            if let Some(hold) =
                self.hold.get_mut(host).filter(|hold| **hold <= action.ends && !field.is_lost(host))
            {
                *hold = Hold::None;
            }
            if let Some(open) = self.open.get_mut(host) {
                *open = if action.clears { 1.0 } else { *open * (1.0 - action.deflects) };
            }
        }
        (action.cost, works)
    }

    /// What it does next, by its manner.
    pub(crate) fn go_on(&mut self, field: &Field<'_>, dice: &mut Dice) -> Move {
        let moved = self.choose(field, dice);
        self.make(field, moved, dice);
        moved
    }

    /// Something else that it could do: no manner foretells everything, and no catalogue knows every way. So at hosts where something was
    /// seen it may be at work whether there is a way to them or not.
    pub(crate) fn stray(&mut self, field: &Field<'_>, seen: &[Host], dice: &mut Dice) -> Move {
        if let Some(host) = dice.one_of(seen).filter(|_| dice.happens(AT_SEEN)) {
            let moved = if dice.happens(0.5) { Move::Attempt(host) } else { Move::Probe(host) };
            self.known.get_mut(host).into_iter().for_each(|known| *known = true);
            self.make(field, moved, dice);
            return moved;
        }
        let mut moves = vec![Move::Rest];
        for host in field.hosts().filter(|host| !field.is_lost(*host)) {
            if self.holds(host) == Hold::User {
                moves.push(Move::Control(host));
            }
            if self.is_reachable(field, host) {
                moves.extend([Move::Probe(host), Move::Attempt(host)]);
            }
        }
        let moved = moves.get(dice.below(moves.len())).copied().unwrap_or(Move::Rest);
        self.make(field, moved, dice);
        moved
    }

    fn choose(&self, field: &Field<'_>, dice: &mut Dice) -> Move {
        let ruins = |host: &Host| field.ruin.get(*host).is_some_and(|ruin| *ruin > 0.0);
        let at_its_end = field.hosts().find(|host| self.holds(*host) == Hold::Administrator && ruins(host));
        if let Some(host) = at_its_end {
            return Move::Ruin(host);
        }
        let half_held: Vec<Host> = field.hosts().filter(|host| self.holds(*host) == Hold::User).collect();
        let reachable = field.hosts().filter(|host| self.is_reachable(field, *host));
        let (seen, unseen): (Vec<Host>, Vec<Host>) = reachable
            .filter(|host| !self.has_probed(*host) || self.holds(*host) == Hold::None)
            .partition(|host| self.has_probed(*host));
        match self.manner {
            Manner::Everywhere => {
                let probe = dice.one_of(&unseen).map(Move::Probe);
                let control = || half_held.first().copied().map(Move::Control);
                let mut attempt = || dice.one_of(&seen).map(Move::Attempt);
                probe.or_else(control).or_else(&mut attempt).unwrap_or(Move::Rest)
            }
            Manner::StraightOn => {
                let depth = |host: &Host| field.depth.get(*host).copied().unwrap_or_default();
                if let Some(host) = half_held.iter().copied().max_by_key(depth) {
                    return Move::Control(host);
                }
                let Some(deepest) = seen.iter().chain(&unseen).map(depth).max() else { return Move::Rest };
                let there = |hosts: &[Host]| -> Vec<Host> {
                    hosts.iter().copied().filter(|host| depth(host) == deepest).collect()
                };
                let (seen, unseen) = (there(&seen), there(&unseen));
                if let Some(host) = self.focus.filter(|host| seen.contains(host)) {
                    return Move::Attempt(host);
                }
                let tries = !seen.is_empty() && (unseen.is_empty() || dice.happens(KEEPS_TRYING));
                let chosen = if tries {
                    dice.one_of(&seen).map(Move::Attempt)
                } else {
                    dice.one_of(&unseen).map(Move::Probe)
                };
                chosen.unwrap_or(Move::Rest)
            }
        }
    }

    fn make(&mut self, field: &Field<'_>, moved: Move, dice: &mut Dice) {
        let (Move::Probe(host) | Move::Attempt(host) | Move::Control(host)) = moved else { return };
        if let Some(probed) = self.probed.get_mut(host) {
            *probed = true;
        }
        self.focus = Some(host);
        let rates = field.attacker;
        let open = self.open.get(host).copied().unwrap_or(1.0);
        let Some(hold) = self.hold.get_mut(host) else { return };
        match moved {
            Move::Attempt(_) if *hold == Hold::None && dice.happens(rates.breaks_in * open) => {
                *hold = if dice.happens(rates.takes_over) { Hold::Administrator } else { Hold::User };
            }
            Move::Control(_) if *hold == Hold::User => *hold = Hold::Administrator,
            _ => {}
        }
        if *hold == Hold::Administrator {
            for learnt in field.knows.get(host).into_iter().flatten() {
                self.known.get_mut(*learnt).into_iter().for_each(|known| *known = true);
            }
        }
    }

    /// Takes in that a host was seen to be looked at, whatever this attack did.
    pub(crate) fn was_probed(&mut self, host: Host) {
        self.probed.get_mut(host).into_iter().for_each(|probed| *probed = true);
    }

    /// What this round costs that ended with such a move.
    pub(crate) fn loss(&self, field: &Field<'_>, moved: Move) -> f64 {
        let held = self.hold.iter().zip(&field.loss).zip(&field.is_lost);
        let lost: f64 =
            held.filter(|((hold, _), lost)| **hold > Hold::None && !**lost).map(|((_, loss), _)| loss).sum();
        match moved {
            Move::Ruin(host) => lost + field.ruin.get(host).copied().unwrap_or_default(),
            _ => lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::Catalogue;
    use proptest::prelude::*;

    use super::super::field::tests::NETWORK;
    use super::*;

    #[test]
    fn an_attack_left_alone_gets_where_it_wants() {
        let catalogue = Catalogue::parse(NETWORK).unwrap();
        let field = Field::new(&catalogue);
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let mut attack = Attack::begin(&field, &mut dice);
            let moves: Vec<Move> = (0..60).map(|_| attack.go_on(&field, &mut dice)).collect();
            assert_eq!(moves[59], Move::Ruin(4), "{:?}: {moves:?}", attack.manner);
            let first = |wanted: Move| moves.iter().position(|moved| *moved == wanted).unwrap();
            assert!(first(Move::Probe(3)) > 0, "it learns of servers on the way");
            assert!(first(Move::Probe(4)) < first(Move::Attempt(4)), "it looks before it tries");
        }
    }

    #[test]
    fn what_is_done_holds_it_back() {
        let catalogue = Catalogue::parse(NETWORK).unwrap();
        let field = Field::new(&catalogue);
        let held = |action: usize, from: Hold| {
            let after = |seed: &u64| {
                let mut dice = Dice::new(*seed);
                let mut attack = Attack::begin(&field, &mut dice);
                attack.hold[3] = from;
                attack.respond(&field, Deed { action, host: Some(3) }, &mut dice);
                attack.hold[3] > Hold::None
            };
            (0..2000).filter(after).count() as f64 / 2000.0
        };
        assert!((held(2, Hold::User) - 0.1).abs() < 0.03);
        assert_eq!((held(2, Hold::Administrator), held(3, Hold::Administrator)), (1.0, 0.0));
        let mut dice = Dice::new(1);
        let mut attack = Attack::begin(&field, &mut dice);
        for _ in 0..2 {
            attack.respond(&field, Deed { action: 4, host: Some(3) }, &mut dice);
        }
        assert_eq!(attack.open[3], 0.25);
        attack.respond(&field, Deed { action: 3, host: Some(3) }, &mut dice);
        assert_eq!(attack.open[3], 1.0);
        attack.respond(&field, Deed { action: 3, host: Some(0) }, &mut dice);
        assert_eq!(attack.hold[0], Hold::Administrator, "what is lost stays so");
    }

    proptest! {
        #[test]
        fn a_round_is_never_cheaper_than_nothing(seed in any::<u64>(), deeds in prop::collection::vec((0..7usize, prop::option::of(0..7usize)), 0..40)) {
            let catalogue = Catalogue::parse(NETWORK).unwrap();
            let field = Field::new(&catalogue);
            let mut dice = Dice::new(seed);
            let mut attack = Attack::begin(&field, &mut dice);
            for (action, host) in deeds {
                let (cost, _) = attack.respond(&field, Deed { action, host }, &mut dice);
                let moved = attack.go_on(&field, &mut dice);
                prop_assert!(cost >= 0.0 && attack.loss(&field, moved) >= 0.0);
                prop_assert_eq!(attack.hold[0], Hold::Administrator);
                prop_assert!(attack.open.iter().all(|open| (0.0..=1.0).contains(open)));
            }
        }
    }
}
