//! The right to run work on one worker: it counts what runs there, and gives it back when it is dropped.

use std::sync::Arc;
use std::time::Duration;

use countermove_planner::Purpose;
use countermove_proto::WorkerId;
use countermove_proto::worker::v1::WorkerLoad;
use tokio::time::Instant;
#[cfg(feature = "simulation")]
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::Fleet;
use super::board::Number;
use super::entry::{Connection, Contact, Entry};
use super::load::remaining;
use crate::discovery::WorkerUrl;

/// The right to run work on one worker.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) fleet: Fleet,
    pub(super) url: WorkerUrl,
    pub(super) worker: WorkerId,
    pub(super) connection: Connection,
    /// The member whom it was taken from: another one may be at its address later.
    pub(super) member: Number,
    pub(super) purpose: Purpose,
    pub(super) held: u32,
    /// Tokens that each of its sequences is expected to take.
    pub(super) each: u64,
    pub(super) tokens: Tally,
}

/// Tokens that a worker chose or was forced to in one call. It reports them in lots while it runs, without saying of which
/// sequence they are, and each sequence's at its end; what is short is never in a lot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    reported: u64,
    of_ended: u64,
}

impl Tally {
    /// Those that are known of.
    fn known(self) -> u64 {
        self.reported.max(self.of_ended)
    }

    /// Those that were reported of sequences that still run.
    fn of_running(self) -> u64 {
        self.reported.saturating_sub(self.of_ended)
    }
}

impl Lease {
    pub(crate) fn worker(&self) -> &WorkerId {
        &self.worker
    }

    pub(crate) fn url(&self) -> &WorkerUrl {
        &self.url
    }

    /// What it is for.
    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Sequences that it stands for.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    pub(crate) fn channel(&self) -> Channel {
        self.connection.channel.clone()
    }

    /// What is cancelled when contact with the worker is lost.
    #[cfg(feature = "simulation")]
    pub(crate) fn contact(&self) -> CancellationToken {
        self.connection.lost.clone()
    }

    /// Ends when contact with the worker is lost.
    pub(crate) async fn lost(&self) {
        self.connection.lost.cancelled().await;
    }

    /// Tokens that each of its sequences is expected to take.
    pub(crate) fn each(&self) -> u64 {
        self.each
    }

    /// Tokens that were reported of the sequences that it holds.
    pub(crate) fn seen(&self) -> u64 {
        self.tokens.of_running()
    }

    /// Gives one sequence back, since it has ended after so many tokens; `generated` of them the worker chose or was
    /// forced to. Gives how many of those were not known of.
    pub(crate) fn finished(&mut self, tokens: u64, generated: u64) -> u64 {
        let rollouts = u64::from(self.purpose == Purpose::Rollout);
        let news = self.give_back(1, tokens, generated);
        self.update(|entry| entry.rollouts_finished += rollouts);
        news
    }

    /// As [`Self::finished`], of one that was cancelled.
    pub(crate) fn cancelled(&mut self, tokens: u64, generated: u64) -> u64 {
        self.give_back(1, tokens, generated)
    }

    /// Gives sequences back that were not begun.
    pub(crate) fn unused(&mut self, sequences: u32) {
        self.give_back(sequences, 0, 0);
    }

    /// Counts tokens that the worker reported of what it runs. Gives how many of them were not known of.
    pub(crate) fn count_tokens(&mut self, tokens: u64) -> u64 {
        let before = (self.remaining(), self.tokens.known());
        self.tokens.reported = self.tokens.reported.saturating_add(tokens);
        self.learnt(before)
    }

    /// Takes note of what the worker says that it has now.
    pub(crate) fn told(&self, load: Option<&WorkerLoad>) {
        if let Some(load) = load {
            let is_less = self.update(|entry| entry.told(load, Instant::now()));
            if is_less == Some(true) {
                self.fleet.0.freed.send_replace(());
            }
        }
    }

    /// Tells the fleet what is known now, and gives the tokens that were not known of before.
    fn learnt(&self, before: (u64, u64)) -> u64 {
        let news = self.tokens.known().saturating_sub(before.1);
        self.update(|entry| {
            entry.tokens = entry.tokens.saturating_add(news);
            entry.expect(before.0, self.remaining());
        });
        news
    }

    fn remaining(&self) -> u64 {
        remaining(self.held, self.each, self.seen())
    }

    fn give_back(&mut self, sequences: u32, tokens: u64, generated: u64) -> u64 {
        let before = (self.remaining(), self.tokens.known());
        let (purpose, sequences) = (self.purpose, sequences.min(self.held));
        self.held -= sequences;
        self.tokens.of_ended = self.tokens.of_ended.saturating_add(generated);
        self.update(|entry| entry.end(purpose, sequences, tokens, Instant::now()));
        let news = self.learnt(before);
        self.fleet.0.freed.send_replace(());
        news
    }

    /// Leaves the worker alone for a while with work of this kind, since it is full of that.
    pub(crate) fn rest(&self, time: Duration) {
        let until = Instant::now() + time.clamp(Duration::from_millis(10), Duration::from_secs(60));
        self.update(|entry| entry.rest(self.purpose, until));
    }

    /// Takes the worker out for good, since it said what cannot be.
    pub(crate) fn distrust(&self, reason: &str) {
        self.fleet.distrust(&self.worker, reason);
    }

    /// Takes the worker out until it answers again, since the transport failed.
    pub(crate) fn eject(&self, reason: &str) {
        let recheck = {
            let mut table = self.fleet.lock();
            let Some(member) = table.roster.at_mut(self.member) else { return };
            match &member.entry.contact {
                // Another connection than ours has begun: what failed was the old one.
                Contact::Up(connection)
                    if !connection.lost.is_cancelled() && !self.connection.lost.is_cancelled() => {}
                _ => return,
            }
            tracing::warn!(worker = %self.worker, address = %self.url, reason, "worker is ejected");
            if member.entry.lose(reason.to_owned()) {
                self.fleet.metrics().lost();
            }
            Arc::clone(&member.recheck)
        };
        recheck.notify_one();
        self.fleet.bump();
    }

    /// `None` if the member is gone.
    fn update<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut table = self.fleet.lock();
        table.roster.at_mut(self.member).map(|member| change(&mut member.entry))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What was broken off took the tokens that were reported of it.
        self.give_back(self.held, self.seen(), self.seen());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_once_whether_it_is_reported_early_late_or_at_the_end_alone() {
        let mut tally = Tally { reported: 30, of_ended: 0 };
        assert_eq!((tally.known(), tally.of_running()), (30, 30));
        tally.of_ended = 20;
        assert_eq!((tally.known(), tally.of_running()), (30, 10));
        tally.of_ended = 45;
        assert_eq!((tally.known(), tally.of_running()), (45, 0), "its last lot was not sent yet");
        tally.reported = 45;
        assert_eq!((tally.known(), tally.of_running()), (45, 0));
    }
}
