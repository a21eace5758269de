//! A simulated worker: sequences share a [`Machine`]; questions begin before rollouts. It tells what it has as a real one does.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use countermove_planner::Purpose;
use countermove_proto::worker::v1::WorkerLoad;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::machine::Machine;

/// Sequences that wait in a worker at most, beside its batch.
const QUEUE: u32 = 1024;

/// A worker. It decodes until it is dropped or stopped.
pub(super) struct Worker {
    inbox: mpsc::UnboundedSender<Piece>,
    capacity: u32,
    /// Rollouts and questions that it has.
    rollouts: Rc<Cell<u32>>,
    questions: Rc<Cell<u32>>,
    /// Those of each coordinator.
    of: Vec<Rc<Cell<u32>>>,
    stop: oneshot::Sender<()>,
}

struct Piece {
    tokens: f64,
    purpose: Purpose,
    done: oneshot::Sender<()>,
}

/// Sequences that a worker has taken on, until it is dropped.
pub(super) struct Taken {
    counts: [Rc<Cell<u32>>; 2],
    sequences: u32,
}

impl Drop for Taken {
    fn drop(&mut self) {
        for count in &self.counts {
            count.set(count.get().saturating_sub(self.sequences));
        }
    }
}

impl Worker {
    /// Needs a `LocalSet` around it.
    pub(super) fn start(machine: Machine, coordinators: usize) -> Self {
        let (inbox, pieces) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                // Dropped, it is gone as well.
                _ = stopped => {}
                () = decode(machine, pieces) => {}
            }
        });
        let of = (0..coordinators).map(|_| Rc::default()).collect();
        Self {
            inbox,
            capacity: machine.capacity,
            rollouts: Rc::default(),
            questions: Rc::default(),
            of,
            stop,
        }
    }

    /// It stands still from now on, and says nothing of it.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
    }

    /// Takes sequences of a coordinator on, or says when to ask again.
    ///
    /// # Errors
    /// The time to wait.
    pub(super) fn take(
        &self,
        coordinator: usize,
        purpose: Purpose,
        sequences: u32,
    ) -> Result<Taken, Duration> {
        let places = self.capacity + QUEUE;
        let (count, places) = match purpose {
            Purpose::Rollout => (&self.rollouts, places),
            Purpose::Decision => (&self.questions, places.div_ceil(4)),
        };
        if count.get() + sequences > places {
            let batches = count.get() / self.capacity;
            return Err((Duration::from_millis(250) * (batches + 1)).min(Duration::from_secs(10)));
        }
        let counts = [Rc::clone(count), Rc::clone(&self.of[coordinator])];
        counts.iter().for_each(|count| count.set(count.get() + sequences));
        Ok(Taken { counts, sequences })
    }

    /// Decodes one sequence. Never ends at a worker that was stopped; dropped, it takes no share any more.
    pub(super) fn decode(&self, purpose: Purpose, tokens: f64) -> impl Future<Output = ()> + use<> {
        let (done, ended) = oneshot::channel();
        let is_sent = self.inbox.send(Piece { tokens, purpose, done }).is_ok();
        async move {
            if !is_sent || ended.await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// What it says that it has.
    pub(super) fn load(&self) -> WorkerLoad {
        WorkerLoad { rollouts: self.rollouts.get(), decisions: self.questions.get() }
    }

    /// Whether a coordinator has something there.
    pub(super) fn works_for(&self, coordinator: usize) -> bool {
        self.of[coordinator].get() > 0
    }

    /// Sequences that decode there.
    pub(super) fn running(&self) -> u32 {
        (self.rollouts.get() + self.questions.get()).min(self.capacity)
    }
}

/// One count of tokens per sequence grows for all, so nothing is counted for each: a piece of w tokens that begins at v ends at v + w.
async fn decode(machine: Machine, mut inbox: mpsc::UnboundedReceiver<Piece>) {
    let mut running: BTreeMap<(u64, u64), oneshot::Sender<()>> = BTreeMap::new();
    let (mut questions, mut rollouts) = (VecDeque::new(), VecDeque::new());
    // In thousandths of a token.
    let (mut served, mut at, mut number) = (0.0_f64, Instant::now(), 0_u64);
    loop {
        running.retain(|_, done| !done.is_closed());
        while running.len() < machine.capacity as usize {
            let Some(piece): Option<Piece> = questions.pop_front().or_else(|| rollouts.pop_front()) else {
                break;
            };
            if !piece.done.is_closed() {
                number += 1;
                running.insert(((served + piece.tokens.max(0.0) * 1000.0).ceil() as u64, number), piece.done);
            }
        }
        let each = machine.each(running.len()) * 1000.0;
        let next = running
            .first_key_value()
            .map(|((end, _), _)| at + Duration::from_secs_f64((*end as f64 - served).max(0.0) / each));
        let news = tokio::select! {
            biased;
            piece = inbox.recv() => match piece {
                Some(piece) => Some(piece),
                None => return,
            },
            () = async { match next { Some(next) => sleep_until(next).await, None => pending().await } } => None,
        };
        let now = Instant::now();
        if !running.is_empty() {
            served += (now - at).as_secs_f64() * each;
        }
        at = now;
        // Timers have milliseconds, and arithmetic rounds.
        while let Some(first) = running.first_entry().filter(|first| first.key().0 as f64 <= served + 1.0) {
            let _ = first.remove().send(());
        }
        if let Some(piece) = news {
            match piece.purpose {
                Purpose::Decision => questions.push_back(piece),
                Purpose::Rollout => rollouts.push_back(piece),
            }
        }
    }
}
