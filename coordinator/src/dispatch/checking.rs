//! Which rollouts run on more than one worker, and what follows from their answers. No I/O.
//!
//! A rollout's result depends on its input and its seed alone, bit for bit. So two workers that give different results for one
//! are not both right, and a third tells which. Which rollouts are looked at is drawn anew for each run, by what no worker can
//! know: one that lies cannot lie where nobody looks.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use countermove_planner::{RolloutKey, RolloutResult};
use countermove_proto::WorkerId;

use super::rollouts::Task;

/// The checks of one run.
#[derive(Debug)]
pub(super) struct Checks {
    /// Share of the rollouts that are checked.
    share: f64,
    draw: RandomState,
    open: HashMap<RolloutKey, Check>,
}

/// A rollout that is checked.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) task: Task,
    /// Workers that it was given to.
    pub(super) asked: Vec<WorkerId>,
    /// What they gave, in the order in which it came.
    pub(super) answers: Vec<(WorkerId, RolloutResult)>,
}

/// What a rollout's answers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// They do not settle it.
    Open,
    /// All agree.
    Agreed,
    /// One is not what two others agree on; it has this place.
    Outvoted(usize),
    /// No two agree.
    Torn,
}

impl Checks {
    pub(super) fn new(share: f64) -> Self {
        Self { share, draw: RandomState::new(), open: HashMap::new() }
    }

    /// Whether a rollout is one of those that are checked.
    pub(super) fn wants(&self, key: &RolloutKey) -> bool {
        // The upper half of the bits is a number that a double holds exactly.
        let drawn = (self.draw.hash_one(key) >> 32) as f64 / f64::from(u32::MAX);
        drawn < self.share && !self.open.contains_key(key)
    }

    /// Begins to check a rollout that these workers were given.
    pub(super) fn begin(&mut self, task: Task, asked: [WorkerId; 2]) {
        let key = task.spec.key;
        self.open.insert(key, Check { task, asked: asked.into(), answers: Vec::new() });
    }

    /// Whether a rollout is being checked.
    pub(super) fn has(&self, key: &RolloutKey) -> bool {
        self.open.contains_key(key)
    }

    /// One that is being checked.
    pub(super) fn get(&mut self, key: &RolloutKey) -> Option<&mut Check> {
        self.open.get_mut(key)
    }

    /// Ends a check.
    pub(super) fn end(&mut self, key: &RolloutKey) -> Option<Check> {
        self.open.remove(key)
    }
}

impl Check {
    /// What its answers say.
    pub(super) fn word(&self) -> Word {
        let same = |a: usize, b: usize| match (self.answers.get(a), self.answers.get(b)) {
            (Some((_, a)), Some((_, b))) => are_same(a, b),
            _ => false,
        };
        match self.answers.len() {
            0 | 1 => Word::Open,
            2 if same(0, 1) => Word::Agreed,
            2 => Word::Open,
            _ => match (same(0, 1), same(0, 2), same(1, 2)) {
                (true, true, true) => Word::Agreed,
                (true, ..) => Word::Outvoted(2),
                (_, true, _) => Word::Outvoted(1),
                (.., true) => Word::Outvoted(0),
                _ => Word::Torn,
            },
        }
    }
}

/// Whether two results say the same, bit for bit; what they took is no part of it.
fn are_same(a: &RolloutResult, b: &RolloutResult) -> bool {
    let steps = |result: &RolloutResult| -> Vec<_> {
        let step = |step: &countermove_planner::RolloutStep| {
            (step.action.clone(), step.state_after, step.cost.to_bits())
        };
        result.steps.iter().map(step).collect()
    };
    a.end == b.end && a.cost.to_bits() == b.cost.to_bits() && steps(a) == steps(b)
}

#[cfg(test)]
mod tests {
    use countermove_incident::RecoveryState;
    use countermove_planner::{RolloutEnd, RolloutSpec, RolloutStep, Usage};

    use std::collections::HashSet;

    use super::*;

    fn key(rollout: u32) -> RolloutKey {
        RolloutKey { step: 1, candidate: 2, rollout }
    }

    fn task(rollout: u32) -> Task {
        let spec = RolloutSpec {
            key: key(rollout),
            seed: 1,
            common_seed: 2,
            state: RecoveryState::default(),
            history: Vec::new(),
            action: "Isolate the host".to_owned(),
        };
        Task::new(spec)
    }

    fn result(cost: f64) -> RolloutResult {
        RolloutResult {
            key: key(0),
            end: RolloutEnd::Truncated,
            steps: vec![RolloutStep { action: "a".into(), state_after: RecoveryState::default(), cost }],
            cost,
            fault: String::new(),
            usage: Usage::default(),
        }
    }

    fn word(costs: &[f64]) -> Word {
        let worker = |at: usize| WorkerId::new(&format!("w-{at}")).unwrap();
        let answers = costs.iter().enumerate().map(|(at, &cost)| (worker(at), result(cost))).collect();
        Check { task: task(0), asked: Vec::new(), answers }.word()
    }

    #[test]
    fn two_that_agree_are_believed_and_a_third_tells_who_of_two_is_wrong() {
        for (costs, expected) in [
            (&[][..], Word::Open),
            (&[1.0], Word::Open),
            (&[1.0, 1.0], Word::Agreed),
            (&[1.0, 2.0], Word::Open),
            (&[1.0, 2.0, 1.0], Word::Outvoted(1)),
            (&[1.0, 1.0, 2.0], Word::Outvoted(2)),
            (&[2.0, 1.0, 1.0], Word::Outvoted(0)),
            (&[1.0, 2.0, 3.0], Word::Torn),
            (&[1.0, f64::from_bits(1.0f64.to_bits() + 1)], Word::Open),
        ] {
            assert_eq!(word(costs), expected, "{costs:?}");
        }
        let dear = RolloutResult { usage: Usage { prompt_tokens: 9, ..Usage::default() }, ..result(1.0) };
        assert!(are_same(&dear, &result(1.0)), "what it took says nothing");
    }

    #[test]
    fn a_share_is_checked_that_no_worker_can_tell() {
        let drawn = |checks: &Checks| -> HashSet<u32> {
            (0..20_000).filter(|rollout| checks.wants(&key(*rollout))).collect()
        };
        let (one, other) = (Checks::new(0.1), Checks::new(0.1));
        let (a, b) = (drawn(&one), drawn(&other));
        assert!((1700..2300).contains(&a.len()), "{}", a.len());
        assert!(a.intersection(&b).count() < 400, "each run draws its own");
        assert_eq!(a, drawn(&one));
        assert!(drawn(&Checks::new(0.0)).is_empty());
        let mut all = Checks::new(1.1);
        assert!(all.wants(&key(3)));
        all.begin(task(3), ["w-1", "w-2"].map(|id| WorkerId::new(id).unwrap()));
        assert!(!all.wants(&key(3)) && all.has(&key(3)), "it is under way");
        assert!(all.end(&key(3)).is_some() && all.wants(&key(3)));
    }
}
