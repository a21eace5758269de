//! The workers in the order in which work goes to them. Pure; whoever hands out looks at the first of each kind and at no other, so
//! what a hand-out costs does not grow with the fleet.
//!
//! Workers of about the same speed and of the same capacity are a [`Group`]; within one, who has less to do is done sooner whatever the
//! next piece of work takes, so their order changes only with what they have. Groups are few: a speed is known to a [`STEPS`]th of an octave.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use countermove_planner::Purpose;
use countermove_proto::WorkerId;

use super::load::{Load, Openness};

/// A member of the fleet. One that comes to the address of another has another number.
pub(crate) type Number = u64;

/// Speeds that are told apart between one and the double of it.
const STEPS: f64 = 8.0;
/// Tokens a second and sequence below which nothing is told apart.
const SLOWEST: f64 = 1.0 / 65_536.0;

/// Workers that can be used.
#[derive(Debug, Default)]
pub(crate) struct Board {
    cards: BTreeMap<Number, Card>,
    numbers: HashMap<WorkerId, Number>,
    groups: BTreeMap<Kind, Group>,
}

/// What workers of a group have in common: a class of speeds, if theirs was measured, and the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    speed: Option<i16>,
    capacity: u32,
}

/// One worker.
#[derive(Clone, Debug, PartialEq)]
struct Card {
    id: WorkerId,
    load: Load,
    /// How far it is open to questions, and to rollouts.
    open: [Openness; 2],
}

/// Workers of one kind.
#[derive(Debug, Default)]
pub(crate) struct Group {
    capacity: u32,
    rate: Option<f64>,
    members: usize,
    /// By what they have to do still, those that are as open to work of a kind; none that are closed.
    open: BTreeMap<(Purpose, Openness), BTreeSet<(u64, Number)>>,
}

/// Both kinds of work, in the order of [`Card::open`].
const PURPOSES: [Purpose; 2] = [Purpose::Decision, Purpose::Rollout];

impl Board {
    /// Puts a worker where it belongs by what it has to do now.
    pub(super) fn set(&mut self, number: Number, id: &WorkerId, load: Load) {
        let open = PURPOSES.map(|purpose| load.openness(purpose));
        if self.cards.get(&number).is_none_or(|card| card.id != *id) {
            self.remove(number);
            self.numbers.insert(id.clone(), number);
        }
        self.put(number, Card { id: id.clone(), load, open });
    }

    /// Takes a worker out.
    pub(super) fn remove(&mut self, number: Number) {
        let Some(card) = self.cards.remove(&number) else { return };
        self.unsort(number, &card);
        if self.numbers.get(&card.id) == Some(&number) {
            self.numbers.remove(&card.id);
        }
    }

    /// Counts a sequence of so many tokens that a worker gets. One that wanted rollouts goes on to until it has no room, so that a
    /// parcel that was begun is filled.
    pub(crate) fn add(&mut self, number: Number, purpose: Purpose, tokens: u64) {
        let Some(card) = self.cards.get(&number) else { return };
        let (mut card, before) = (card.clone(), card.open);
        card.load.add(purpose, tokens);
        card.open = PURPOSES.map(|purpose| card.load.openness(purpose));
        for (open, before) in card.open.iter_mut().zip(before) {
            if *open == Openness::Room && before >= Openness::Wants {
                *open = Openness::Wants;
            }
        }
        self.put(number, card);
    }

    /// Whether anybody wants work of a kind.
    pub(crate) fn wants(&self, purpose: Purpose) -> bool {
        self.groups.values().any(|group| group.first(purpose, Openness::Wants, &[]).is_some())
    }

    /// The groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// The worker that goes by this id.
    pub(crate) fn number(&self, id: &WorkerId) -> Option<Number> {
        self.numbers.get(id).copied()
    }

    /// A worker, if it is as open as that, with its group.
    pub(crate) fn get(&self, number: Number, purpose: Purpose, least: Openness) -> Option<(&Load, &Group)> {
        let card = self.cards.get(&number).filter(|card| card.open(purpose) >= least)?;
        Some((&card.load, self.groups.get(&Kind::of(&card.load))?))
    }

    /// Sequences that a worker decodes at a time; at least 1.
    pub(crate) fn capacity(&self, number: Number) -> u32 {
        self.cards.get(&number).map_or(1, |card| card.load.capacity.max(1))
    }

    /// The mean speed of those that were measured, in tokens a second and sequence.
    pub(crate) fn mean_rate(&self) -> Option<f64> {
        let known = self.groups.values().filter_map(|group| Some((group.rate?, group.members as f64)));
        let (sum, count) =
            known.fold((0.0, 0.0), |(sum, count), (rate, members)| (sum + rate * members, count + members));
        (count > 0.0).then(|| sum / count)
    }

    fn put(&mut self, number: Number, card: Card) {
        if let Some(before) = self.cards.get(&number) {
            let is_sorted = before.load.outstanding == card.load.outstanding
                && before.open == card.open
                && Kind::of(&before.load) == Kind::of(&card.load);
            if !is_sorted {
                let before = before.clone();
                self.unsort(number, &before);
                self.sort(number, &card);
            }
        } else {
            self.sort(number, &card);
        }
        self.cards.insert(number, card);
    }

    fn sort(&mut self, number: Number, card: &Card) {
        let kind = Kind::of(&card.load);
        let group = self.groups.entry(kind).or_insert_with(|| Group::new(kind));
        group.members += 1;
        for purpose in PURPOSES {
            let open = card.open(purpose);
            if open > Openness::Closed {
                group.open.entry((purpose, open)).or_default().insert((card.load.outstanding, number));
            }
        }
    }

    fn unsort(&mut self, number: Number, card: &Card) {
        let Entry::Occupied(mut group) = self.groups.entry(Kind::of(&card.load)) else { return };
        for purpose in PURPOSES {
            if let Entry::Occupied(mut those) = group.get_mut().open.entry((purpose, card.open(purpose))) {
                those.get_mut().remove(&(card.load.outstanding, number));
                if those.get().is_empty() {
                    those.remove();
                }
            }
        }
        group.get_mut().members -= 1;
        if group.get().members == 0 {
            group.remove();
        }
    }
}

impl Kind {
    fn of(load: &Load) -> Self {
        // Far within what the class holds: no rate is above 2 to the 1024th.
        let class = |rate: f64| (rate.max(SLOWEST).log2() * STEPS).round() as i16;
        Self { speed: load.rate.map(class), capacity: load.capacity.max(1) }
    }
}

impl Card {
    fn open(&self, purpose: Purpose) -> Openness {
        match purpose {
            Purpose::Decision => self.open[0],
            Purpose::Rollout => self.open[1],
        }
    }
}

impl Group {
    fn new(kind: Kind) -> Self {
        let rate = kind.speed.map(|class| (f64::from(class) / STEPS).exp2());
        Self { capacity: kind.capacity, rate, members: 0, open: BTreeMap::new() }
    }

    /// Tokens a second and sequence, if that was measured.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Sequences that each of them decodes at a time.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Who has least to do of those that are as open as that and none of `not`, and how many tokens that is.
    pub(crate) fn first(&self, purpose: Purpose, least: Openness, not: &[Number]) -> Option<(u64, Number)> {
        let as_open = self.open.range((purpose, least)..=(purpose, Openness::Gains));
        as_open.filter_map(|(_, those)| those.iter().find(|(_, number)| !not.contains(number)).copied()).min()
    }
}

#[cfg(test)]
impl Board {
    /// A board of these workers, numbered from 0.
    pub(crate) fn of<'a>(workers: impl IntoIterator<Item = &'a (WorkerId, Load)>) -> Self {
        let mut board = Self::default();
        for (number, (id, load)) in (0..).zip(workers) {
            board.set(number, id, *load);
        }
        board
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load::Places;
    use super::*;

    fn id(number: Number) -> WorkerId {
        WorkerId::new(&format!("w-{number}")).unwrap()
    }

    #[test]
    fn another_process_at_an_address_is_another_worker() {
        let mut board = Board::default();
        let load = |rate| Load { rate, ..Load::of(4) };
        board.set(7, &id(1), load(Some(2.0)));
        board.set(7, &id(2), load(None));
        assert_eq!((board.number(&id(1)), board.number(&id(2))), (None, Some(7)));
        assert_eq!((board.groups.len(), board.mean_rate()), (1, None));
        board.remove(7);
        assert!(board.groups.is_empty() && board.numbers.is_empty() && !board.wants(Purpose::Decision));
    }

    #[test]
    fn a_parcel_that_was_begun_is_filled() {
        let mut board = Board::default();
        board.set(0, &id(0), Load { rollouts: 10, ..Load::of(8) });
        board.add(0, Purpose::Rollout, 1);
        assert!(board.wants(Purpose::Rollout), "one by one it would not");
        board.add(0, Purpose::Rollout, 1);
        assert!(!board.wants(Purpose::Rollout));
        board.set(0, &id(0), Load { rollouts: 11, ..Load::of(8) });
        assert!(!board.wants(Purpose::Rollout));
    }

    proptest! {
        /// Whatever changed in whatever order, the board is the one that is made of what there is now.
        #[test]
        fn the_order_follows_what_changed(
            changes in proptest::collection::vec(
                (0_u64..6, 0_u32..12, 0_u32..12, 0_u64..5, proptest::option::of(0.1_f64..9.0), 0_u8..8), 0..60),
        ) {
            let mut board = Board::default();
            let mut workers: BTreeMap<Number, (WorkerId, Load)> = BTreeMap::new();
            for (number, rollouts, decisions, outstanding, rate, what) in changes {
                match what {
                    0 => {
                        board.remove(number);
                        workers.remove(&number);
                    }
                    1 => {
                        // A hand-out adds, and what was leased is read anew.
                        board.add(number, Purpose::Rollout, outstanding);
                        if let Some((id, load)) = workers.get_mut(&number) {
                            load.add(Purpose::Rollout, outstanding);
                            board.set(number, id, *load);
                        }
                    }
                    _ => {
                        let places = Places { rollouts: 10, decisions: 10 };
                        let load = Load { rollouts, decisions, outstanding, rate, places, efficient: 3, ..Load::of(8) };
                        board.set(number, &id(number), load);
                        workers.insert(number, (id(number), load));
                    }
                }
            }
            let mut fresh = Board::default();
            for (number, (id, load)) in &workers {
                fresh.set(*number, id, *load);
            }
            prop_assert_eq!(format!("{:?}", board.groups), format!("{:?}", fresh.groups));
            for purpose in PURPOSES {
                for least in [Openness::Places, Openness::Room, Openness::Wants, Openness::Free, Openness::Gains] {
                    let least_busy = |group: &Group| group.first(purpose, least, &[]);
                    let found = board.groups().filter_map(least_busy).min();
                    let open = workers.iter().filter(|(_, (_, load))| load.openness(purpose) >= least);
                    prop_assert_eq!(found, open.map(|(&number, (_, load))| (load.outstanding, number)).min());
                }
            }
        }
    }
}
