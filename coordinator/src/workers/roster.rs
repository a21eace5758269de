//! The members of the fleet, and the [`Board`] of those that can be used. Whoever may change a member gets it from here, so that the board
//! is brought up to date by looking at what may have changed and at nothing else.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::Member;
use super::board::{Board, Number};
use crate::discovery::WorkerUrl;

/// All members.
#[derive(Debug, Default)]
pub(super) struct Roster {
    numbers: BTreeMap<WorkerUrl, Number>,
    members: BTreeMap<Number, Member>,
    next: Number,
    board: Board,
    /// Those that may have changed since the board was up to date.
    changed: BTreeSet<Number>,
    /// When who may be asked again that is left alone until then.
    resting: BTreeSet<(Instant, Number)>,
}

impl Roster {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// By address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerUrl, &Member)> {
        self.numbers.iter().filter_map(|(url, number)| Some((url, self.members.get(number)?)))
    }

    pub(super) fn get(&self, url: &WorkerUrl) -> Option<&Member> {
        self.members.get(self.numbers.get(url)?)
    }

    /// Who is at an address, to be changed.
    pub(super) fn get_mut(&mut self, url: &WorkerUrl) -> Option<&mut Member> {
        let number = *self.numbers.get(url)?;
        self.at_mut(number)
    }

    /// A member, to be changed.
    pub(super) fn at_mut(&mut self, number: Number) -> Option<&mut Member> {
        let member = self.members.get_mut(&number)?;
        self.changed.insert(number);
        Some(member)
    }

    /// Takes a member in, unless there is one at its address.
    pub(super) fn add(&mut self, url: &WorkerUrl, member: impl FnOnce() -> Member) {
        if !self.numbers.contains_key(url) {
            self.numbers.insert(url.clone(), self.next);
            self.members.insert(self.next, member());
            self.changed.insert(self.next);
            self.next += 1;
        }
    }

    pub(super) fn remove(&mut self, url: &WorkerUrl) -> Option<Member> {
        let number = self.numbers.remove(url)?;
        self.changed.remove(&number);
        self.board.remove(number);
        self.members.remove(&number)
    }

    /// Those that can be used, as they are now.
    pub(super) fn board(&mut self, now: Instant) -> &mut Board {
        while let Some(&(until, number)) = self.resting.first().filter(|(until, _)| *until <= now) {
            self.resting.remove(&(until, number));
            self.changed.insert(number);
        }
        for number in std::mem::take(&mut self.changed) {
            let Some(Member { entry, .. }) = self.members.get(&number) else { continue };
            match entry.usable() {
                Some((profile, _)) => self.board.set(number, &profile.id, entry.load(profile, now)),
                None => self.board.remove(number),
            }
            self.resting.extend(entry.next_rested(now).map(|until| (until, number)));
        }
        &mut self.board
    }

    /// When the first of those that are left alone may be asked again.
    pub(super) fn next_rested(&mut self, now: Instant) -> Option<Instant> {
        self.board(now);
        self.resting.first().map(|(until, _)| *until)
    }
}
