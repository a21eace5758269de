//! The queue, the shares, the placement and the hedges without calls, for the laboratory's simulation of many workers: who simulates
//! takes places as planning does, and says itself when what runs in them has ended.
//!
//! What is not here is what lies between a place and its worker: messages, their bounds, and the audit of results.

use std::time::Duration;

use countermove_planner::{ModelError, Purpose, Usage};
use countermove_proto::{IncidentId, WorkerId};
use tokio::time::Instant;

use super::hedging::most_hedges;
use super::queue::{Grant, Turn};
use super::{Dispatcher, IncidentWorkers, Payer};

/// The fleet as one incident sees it.
#[derive(Clone, Debug)]
pub struct Asker(IncidentWorkers);

/// A place in the queue for rollouts.
#[derive(Debug)]
pub struct RolloutTurn(Turn);

/// A worker's room for one question or some rollouts. What is not said to have ended is given back when it is dropped.
#[derive(Debug)]
pub struct Place(Grant);

impl Asker {
    /// As planning does for an incident without a deadline.
    pub fn new(dispatcher: &Dispatcher, incident: IncidentId, payer: Payer) -> Self {
        Self(IncidentWorkers::new(dispatcher.clone(), incident, payer, None, None))
    }

    /// Room for one question, when it is its turn.
    ///
    /// # Errors
    /// [`ModelError::Unavailable`] when there has been no worker for as long as work waits for one.
    pub async fn question(&self) -> Result<Place, ModelError> {
        self.0.wait_for_place().await.map(Place)
    }

    /// A place in the queue for rollouts.
    pub fn rollouts(&self) -> RolloutTurn {
        RolloutTurn(self.0.turn(Purpose::Rollout))
    }

    /// Ends when there has been no worker for as long as work waits for one.
    pub async fn nobody(&self) -> ModelError {
        self.0.nobody(Purpose::Rollout).await
    }

    /// Notes that a worker holds the incident's prefix.
    pub fn warmed(&self, worker: &WorkerId) {
        self.0.warmed(worker);
    }

    /// Room for a second try of a rollout elsewhere, if nothing waits.
    pub fn spare(&self, not: &WorkerId) -> Option<Place> {
        let shared = &self.0.0;
        shared.dispatcher.spare(Purpose::Rollout, &shared.origin, &shared.warm, not).map(Place)
    }

    /// Room for a second try of a question that was begun at `begun` on `first`, once it is slow and nothing waits.
    pub async fn second_place(&self, begun: Instant, first: &WorkerId) -> Place {
        Place(self.0.second_place(begun, first).await)
    }

    /// Notes how long a question took at its worker.
    pub fn answered(&self, took: Duration) {
        self.0.0.dispatcher.answered(took);
    }

    /// How long a rollout of `total` may take before it is tried a second time, by what others took; `None` while nobody knows, or
    /// if nothing is hedged.
    pub fn patience(&self, finished: &[Duration], total: usize) -> Option<Duration> {
        self.0.options().hedging?.patience(finished, total)
    }

    /// How many of `total` rollouts are tried a second time at most.
    pub fn most_hedges(total: usize) -> usize {
        most_hedges(total)
    }
}

impl RolloutTurn {
    /// Says how many rollouts wait.
    pub fn want(&self, count: usize) {
        self.0.want(count);
    }

    /// Rooms, as soon as there are some.
    pub async fn granted(&self) -> Vec<Place> {
        self.0.granted().await.into_iter().map(Place).collect()
    }
}

impl Place {
    /// Where it is.
    pub fn worker(&self) -> &WorkerId {
        self.0.lease().worker()
    }

    /// Pieces of work that it has room for, or that run in it.
    pub fn held(&self) -> u32 {
        self.0.lease().held()
    }

    /// Gives all but `count` back.
    pub fn keep(&mut self, count: usize) {
        self.0.keep(count);
    }

    /// One piece of work has ended.
    pub fn finished(&mut self, usage: &Usage) {
        self.0.finished(usage);
    }

    /// One was broken off.
    pub fn cancelled(&mut self, usage: &Usage) {
        self.0.cancelled(usage);
    }

    /// The worker refused, since it is full.
    pub fn rest(&self, time: Duration) {
        self.0.lease().rest(time);
    }

    /// Ends when contact with the worker is lost.
    pub fn lost(&self) -> impl Future<Output = ()> + use<> {
        self.0.lease().contact().cancelled_owned()
    }
}
