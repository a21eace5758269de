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

    /// The position of one of these, each as likely as its weight says; `None` of none.
    pub(crate) fn drawn(&mut self, weights: impl Iterator<Item = f64> + Clone) -> Option<usize> {
        let mut left = self.unit() * weights.clone().sum::<f64>();
        let mut last = None;
        for (at, weight) in weights.enumerate() {
            left -= weight;
            last = Some(at);
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// One of so many, from 0; 0 of none.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
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

/// A move that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) moved: Move,
    /// How it ended, if it was an attempt.
    pub(crate) outcome: Outcome,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It runs into what was set up to deflect it.
    Deflected,
    /// It fails.
    InVain,
    /// It gives the attacker the host.
    Success,
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
    /// Whether its last attempt failed.
    has_failed: bool,
    gives_up: f64,
    pace: f64,
}

/// How often an attacker who goes straight on tries where it has looked already, rather than look further.
const KEEPS_TRYING: f64 = 0.8;
/// How often one who has failed there tries anywhere: attackers differ, and what one does tells which it is.
const GIVES_UP: [f64; 3] = [0.2, 0.5, 0.9];
/// How often one does something in a round, rather than rest or do what nobody sees.
const PACES: [f64; 3] = [0.5, 0.75, 1.0];
/// How often an attacker does what its manner does not foretell.
const STRAYS: f64 = 0.3;
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
        let mut one_of = |of: [f64; 3]| of.get(dice.below(of.len())).copied().unwrap_or(1.0);
        let (gives_up, pace) = (one_of(GIVES_UP), one_of(PACES));
        let probed = field.hosts().map(lost).collect();
        Attack {
            hold,
            probed,
            known,
            open: vec![1.0; field.names.len()],
            manner,
            focus: None,
            has_failed: false,
            gives_up,
            pace,
        }
    }

    pub(crate) fn holds(&self, host: Host) -> Hold {
        self.hold.get(host).copied().unwrap_or_default()
    }

    /// How attempts on a host end, each with its chance.
    pub(crate) fn outcomes(&self, field: &Field<'_>, host: Host) -> [(Outcome, f64); 3] {
        let open = self.open.get(host).copied().unwrap_or(1.0);
        let success = if self.holds(host) == Hold::None { field.attacker.breaks_in } else { 0.0 };
        [
            (Outcome::Deflected, 1.0 - open),
            (Outcome::InVain, open * (1.0 - success)),
            (Outcome::Success, open * success),
        ]
    }

    fn has_probed(&self, host: Host) -> bool {
        self.probed.get(host).copied().unwrap_or_default()
    }

    /// A deed of the defender. Gives whether it could be carried out, which is drawn unless it is known.
    pub(crate) fn respond(
        &mut self,
        field: &Field<'_>,
        deed: Deed,
        known: Option<bool>,
        dice: &mut Dice,
    ) -> bool {
        let Some(action) = field.action(deed) else { return false };
        let fits = known.unwrap_or_else(|| dice.happens(field.fits(deed)));
        let works = fits && dice.happens(action.works);
        if let Some(host) = deed.host.filter(|_| works) {
            if let Some(hold) =
                self.hold.get_mut(host).filter(|hold| **hold <= action.ends && !field.is_lost(host))
            {
                *hold = Hold::None;
            }
            if let Some(open) = self.open.get_mut(host) {
                *open = if action.clears {
                    1.0
                } else {
                    (*open * (1.0 - action.deflects)).max((1.0 - action.deflects_at_most).min(*open))
                };
            }
        }
        fits
    }

    /// What it does next.
    pub(crate) fn go_on(&mut self, field: &Field<'_>, dice: &mut Dice) -> Done {
        let mut moves = Vec::with_capacity(16);
        self.foreseen(field, &mut moves);
        self.draw(field, &moves, dice)
    }

    /// What it may do next, each with its chance; at hosts where something was `seen` it may be at work whether its manner foretells it,
    /// and whether there is a way to them, or not: no manner foretells everything, and no catalogue knows every way.
    pub(crate) fn may_do(&self, field: &Field<'_>, seen: &[Host], moves: &mut Vec<(Move, f64)>) {
        moves.clear();
        self.foreseen(field, moves);
        moves.iter_mut().for_each(|(_, chance)| *chance *= 1.0 - STRAYS);
        let known = moves.len();
        let reach = self.reach(field);
        moves.push((Move::Rest, 0.0));
        for host in field.hosts().filter(|host| !field.is_lost(*host)) {
            if self.holds(host) == Hold::User {
                moves.push((Move::Control(host), 0.0));
            }
            if self.is_reachable(field, reach, host) {
                moves.extend([(Move::Probe(host), 0.0), (Move::Attempt(host), 0.0)]);
            }
        }
        let (anywhere, at_seen) =
            if seen.is_empty() { (STRAYS, 0.0) } else { (STRAYS * (1.0 - AT_SEEN), STRAYS * AT_SEEN) };
        let strays = (moves.len() - known) as f64;
        moves.iter_mut().skip(known).for_each(|(_, chance)| *chance = anywhere / strays);
        for host in seen {
            let each = at_seen / (2 * seen.len()) as f64;
            moves.extend([(Move::Probe(*host), each), (Move::Attempt(*host), each)]);
        }
    }

    /// Draws one of these moves and makes it.
    fn draw(&mut self, field: &Field<'_>, moves: &[(Move, f64)], dice: &mut Dice) -> Done {
        let drawn = dice.drawn(moves.iter().map(|(_, chance)| *chance));
        let moved = drawn.and_then(|at| moves.get(at)).map_or(Move::Rest, |(moved, _)| *moved);
        let outcome = match moved {
            Move::Attempt(host) => {
                let outcomes = self.outcomes(field, host);
                let drawn = dice.drawn(outcomes.iter().map(|(_, chance)| *chance));
                drawn.and_then(|at| outcomes.get(at)).map_or(Outcome::InVain, |(outcome, _)| *outcome)
            }
            _ => Outcome::InVain,
        };
        self.make(field, moved, outcome, dice);
        Done { moved, outcome }
    }

    /// Zones that it reaches, a bit each.
    fn reach(&self, field: &Field<'_>) -> u64 {
        let from_outside = if field.is_lost.contains(&true) { 0 } else { 1 };
        let controlled = self.hold.iter().zip(&field.reach).filter(|(hold, _)| **hold == Hold::Administrator);
        controlled.fold(from_outside, |reached, (_, reach)| reached | reach)
    }

    /// Whether it knows of a host and gets to it.
    fn is_reachable(&self, field: &Field<'_>, reach: u64, host: Host) -> bool {
        let is_known = self.known.get(host).copied().unwrap_or_default() || self.has_probed(host);
        is_known && field.depth.get(host).is_some_and(|zone| reach >> zone & 1 == 1)
    }

    /// What its manner and its pace foretell, each with its chance.
    fn foreseen(&self, field: &Field<'_>, moves: &mut Vec<(Move, f64)>) {
        self.wanted(field, moves);
        moves.iter_mut().for_each(|(_, chance)| *chance *= self.pace);
        moves.push((Move::Rest, 1.0 - self.pace));
    }

    /// What its manner foretells, each with its chance.
    fn wanted(&self, field: &Field<'_>, moves: &mut Vec<(Move, f64)>) {
        let reach = self.reach(field);
        let depth = |host: Host| field.depth.get(host).copied().unwrap_or_default();
        let (mut half_held, mut deepest): (Option<Host>, Option<usize>) = (None, None);
        for host in field.hosts() {
            let hold = self.holds(host);
            if hold == Hold::Administrator && field.ruin.get(host).is_some_and(|ruin| *ruin > 0.0) {
                moves.push((Move::Ruin(host), 1.0));
                return;
            }
            if hold == Hold::User && half_held.is_none_or(|other| depth(host) > depth(other)) {
                half_held = Some(host);
            }
            if self.is_wanted(field, reach, host) {
                deepest = deepest.max(Some(depth(host)));
            }
        }
        let is_straight = self.manner == Manner::StraightOn;
        if let Some(host) = half_held.filter(|_| is_straight) {
            moves.push((Move::Control(host), 1.0));
            return;
        }
        for host in field.hosts() {
            let is_on_its_way = !is_straight || Some(depth(host)) == deepest;
            if is_on_its_way && self.is_wanted(field, reach, host) {
                moves.push((self.approach(host), 1.0));
            }
        }
        let is_probe = |moved: &Move| matches!(moved, Move::Probe(_));
        let probes = moves.iter().filter(|(moved, _)| is_probe(moved)).count();
        let attempts = moves.len() - probes;
        if is_straight {
            if self.has_failed && !moves.is_empty() {
                self.anywhere(field, reach, moves);
                return;
            }
            let focus = self.focus.filter(|focus| moves.contains(&(Move::Attempt(*focus), 1.0)));
            if let Some(host) = focus {
                moves.clear();
                moves.push((Move::Attempt(host), 1.0));
                return;
            }
            let tries = match (attempts, probes) {
                (0, _) => 0.0,
                (_, 0) => 1.0,
                _ => KEEPS_TRYING,
            };
            for (moved, chance) in moves.iter_mut() {
                *chance =
                    if is_probe(moved) { (1.0 - tries) / probes as f64 } else { tries / attempts as f64 };
            }
        } else if probes > 0 {
            moves.retain(|(moved, _)| is_probe(moved));
        } else if let Some(host) = half_held {
            moves.clear();
            moves.push((Move::Control(host), 1.0));
        }
        if moves.is_empty() {
            moves.push((Move::Rest, 1.0));
        }
        if !is_straight {
            let each = 1.0 / moves.len() as f64;
            moves.iter_mut().for_each(|(_, chance)| *chance = each);
        }
    }

    /// Whether it wants a host that it may get to: one that it does not hold, or has not looked at.
    fn is_wanted(&self, field: &Field<'_>, reach: u64, host: Host) -> bool {
        (self.holds(host) == Hold::None || !self.has_probed(host)) && self.is_reachable(field, reach, host)
    }

    /// What it does first to a host that it wants.
    fn approach(&self, host: Host) -> Move {
        if self.has_probed(host) { Move::Attempt(host) } else { Move::Probe(host) }
    }

    /// Who goes straight on and has failed goes on as deep in as it can, or tries anywhere.
    fn anywhere(&self, field: &Field<'_>, reach: u64, moves: &mut Vec<(Move, f64)>) {
        let deepest = moves.len() as f64;
        moves.iter_mut().for_each(|(_, chance)| *chance = (1.0 - self.gives_up) / deepest);
        let before = moves.len();
        let wanted = field.hosts().filter(|host| self.is_wanted(field, reach, *host));
        moves.extend(wanted.map(|host| (self.approach(host), 0.0)));
        let each = self.gives_up / (moves.len() - before) as f64;
        moves.iter_mut().skip(before).for_each(|(_, chance)| *chance = each);
    }

    /// Makes a move; an attempt succeeds or not.
    pub(crate) fn make(&mut self, field: &Field<'_>, moved: Move, outcome: Outcome, dice: &mut Dice) {
        let (Move::Probe(host) | Move::Attempt(host) | Move::Control(host)) = moved else { return };
        self.probed.get_mut(host).into_iter().for_each(|probed| *probed = true);
        self.focus = Some(host);
        self.has_failed = matches!(moved, Move::Attempt(_)) && outcome != Outcome::Success;
        let rates = field.attacker;
        let Some(hold) = self.hold.get_mut(host) else { return };
        match moved {
            Move::Attempt(_) if *hold == Hold::None && outcome == Outcome::Success => {
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
        let lost: f64 = held
            .filter(|((hold, _), lost)| **hold >= field.harms_from && !**lost)
            .map(|((_, loss), _)| loss)
            .sum();
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
            let moves: Vec<Move> = (0..200).map(|_| attack.go_on(&field, &mut dice).moved).collect();
            assert!(moves.contains(&Move::Ruin(4)), "{:?}: {moves:?}", attack.manner);
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
                attack.respond(&field, Deed { action, host: Some(3) }, None, &mut dice);
                attack.hold[3] > Hold::None
            };
            (0..2000).filter(after).count() as f64 / 2000.0
        };
        assert!((held(2, Hold::User) - 0.1).abs() < 0.03);
        assert_eq!((held(2, Hold::Administrator), held(3, Hold::Administrator)), (1.0, 0.0));
        let mut dice = Dice::new(1);
        let mut attack = Attack::begin(&field, &mut dice);
        for _ in 0..2 {
            attack.respond(&field, Deed { action: 4, host: Some(3) }, None, &mut dice);
        }
        assert_eq!(attack.open[3], 0.25);
        attack.respond(&field, Deed { action: 3, host: Some(3) }, None, &mut dice);
        assert_eq!(attack.open[3], 1.0);
        attack.respond(&field, Deed { action: 3, host: Some(0) }, None, &mut dice);
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
                attack.respond(&field, Deed { action, host }, None, &mut dice);
                let moved = attack.go_on(&field, &mut dice).moved;
                prop_assert!(attack.loss(&field, moved) >= 0.0);
                prop_assert_eq!(attack.hold[0], Hold::Administrator);
                prop_assert!(attack.open.iter().all(|open| (0.0..=1.0).contains(open)));
            }
        }
    }
}
