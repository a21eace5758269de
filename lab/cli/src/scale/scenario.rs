//! What is simulated.

use std::time::Duration;

use super::machine::Machine;

/// What an incident asks of the workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Demand {
    /// Questions of perception, all at once.
    pub(super) perception: usize,
    pub(super) steps: usize,
    /// Questions for candidates in a step, all at once.
    pub(super) candidates: usize,
    /// Rollouts of a step, round after round.
    pub(super) rounds: &'static [usize],
    /// Tokens that a question and a rollout take on average: computed of prompts, chosen and forced.
    pub(super) question: f64,
    pub(super) rollout: f64,
    /// How long a rollout waits for others that are written with it.
    pub(super) lot: Duration,
}

impl Demand {
    /// The sample incident with the default options, as `make bench-costs` measures it.
    pub(super) const USUAL: Self = Self {
        perception: 20,
        steps: 6,
        candidates: 5,
        rounds: &[4, 2, 2, 45],
        question: 125.0,
        rollout: 5.0,
        lot: Duration::from_millis(100),
    };

    pub(super) fn questions(&self) -> usize {
        self.perception + self.steps * self.candidates
    }

    pub(super) fn rollouts(&self) -> usize {
        self.steps * self.rounds.iter().sum::<usize>()
    }

    /// Tokens of an incident.
    pub(super) fn tokens(&self) -> f64 {
        self.questions() as f64 * self.question + self.rollouts() as f64 * self.rollout
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Fault {
    #[default]
    None,
    /// The workers of the second region stand still at that time, and are noticed as links notice it.
    Region(Duration),
    /// The first coordinator is gone at that time.
    Coordinator(Duration),
    /// Every n-th worker is so many times as slow.
    Slow(usize, f64),
}

/// A cluster, what comes to it, and what goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) seed: u64,
    pub(super) workers: usize,
    /// Half of them in each of two regions, as the workers.
    pub(super) coordinators: usize,
    pub(super) machine: Machine,
    pub(super) incidents: usize,
    /// Time within which they come, evenly.
    pub(super) arrival: Duration,
    /// Tenants; the first has half of the incidents, and the others share the rest.
    pub(super) tenants: usize,
    pub(super) demand: Demand,
    pub(super) fault: Fault,
    /// Time of a call there and back, within a region and between the two.
    pub(super) near: Duration,
    pub(super) far: Duration,
}

/// Time after which a worker that stands still is noticed: a ping after 2 s without a word, and 5 s for its answer.
pub(super) const NOTICED: Duration = Duration::from_secs(7);
/// Time after which others take over what a coordinator had that is gone: its lease.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// Incidents that a coordinator goes on with side by side, and the time that each takes it.
pub(super) const TAKING_OVER: usize = 2;
pub(super) const TAKEN_OVER: Duration = Duration::from_millis(50);
/// When a simulation is given up.
pub(super) const MOST: Duration = Duration::from_secs(4 * 3600);

impl Scenario {
    pub(super) fn region_of_worker(&self, worker: usize) -> usize {
        worker * 2 / self.workers.max(1)
    }

    pub(super) fn region_of_coordinator(&self, coordinator: usize) -> usize {
        coordinator * 2 / self.coordinators.max(1)
    }

    /// Whose incident it is: every other one is the first tenant's.
    pub(super) fn tenant(&self, incident: usize) -> usize {
        match self.tenants {
            0 | 1 => 0,
            _ if incident.is_multiple_of(2) => 0,
            tenants => 1 + incident / 2 % (tenants - 1),
        }
    }

    /// The machine of a worker.
    pub(super) fn machine_of(&self, worker: usize) -> Machine {
        match self.fault {
            Fault::Slow(every, times) if worker.is_multiple_of(every.max(1)) => self.machine.slower(times),
            _ => self.machine,
        }
    }

    /// Seconds that the work takes if all workers were busy with full batches from the first moment to the last.
    pub(super) fn least(&self) -> f64 {
        let speed: f64 = (0..self.workers).map(|worker| self.machine_of(worker).most()).sum();
        self.incidents as f64 * self.demand.tokens() / speed
    }
}
