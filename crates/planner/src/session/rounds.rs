//! Rolls candidates out: deals rounds of rollouts as the race asks, within the decision's budget.
//!
//! Invariant: rollout r of candidate c is the same in every mode, so what a race runs of a candidate is the beginning of
//! what an exhaustive run would. Whatever the budget, what ended within it is there to choose from.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::StreamExt;

use crate::choosing::aggregate::{Tally, level, tally};
use crate::choosing::candidate::Candidate;
use crate::choosing::race::Race;
use crate::language_model::ModelError;
use crate::rollouts::runner::{RolloutBatch, RolloutKey, RolloutResult, RolloutRunner, RolloutSpec};
use crate::seeds::derive_seed;
use crate::session::events::{PlanEvent, PlanSink, PlanningStage, Progress};
use crate::session::plan_session::PlanSession;

/// The rollouts of one decision.
pub(crate) struct Rolling<'a, R> {
    pub(crate) runner: &'a R,
    pub(crate) session: &'a PlanSession,
    pub(crate) sink: &'a dyn PlanSink,
    pub(crate) candidates: &'a [Candidate],
    /// What all rollouts share; its own list of rollouts is empty.
    pub(crate) batch: RolloutBatch,
    /// Actions taken so far, as prompts tell them.
    pub(crate) history: Vec<String>,
    /// Root of the seeds of this decision.
    pub(crate) seed: u64,
}

/// What was rolled out.
#[derive(Debug, Default)]
pub(crate) struct Rolled {
    pub(crate) results: Vec<RolloutResult>,
    /// Of each candidate, in order.
    pub(crate) tallies: Vec<Tally>,
    /// The bound of the budget that ended it, as a word.
    pub(crate) cut_by: Option<&'static str>,
}

impl<R: RolloutRunner> Rolling<'_, R> {
    /// Runs rounds until the race is over or the budget is.
    pub(crate) async fn run(&self) -> Result<Rolled, ModelError> {
        let options = &self.session.options;
        let race = Race {
            rollouts: options.rollouts,
            confidence: options.confidence,
            exhaustive: options.exhaustive,
        };
        let until = options.budget.time.and_then(|time| Instant::now().checked_add(time));
        let tokens_before = self.session.tokens.total();
        let mut rolled =
            Rolled { tallies: vec![Tally::default(); self.candidates.len()], ..Rolled::default() };
        let mut dealt = vec![0u32; self.candidates.len()];
        while rolled.cut_by.is_none() {
            let deal = race.deal(self.session.state, &rolled.tallies, &dealt);
            let mut specs = self.specs(&dealt, &deal);
            if specs.is_empty() {
                break;
            }
            let spent = || self.session.tokens.total().saturating_sub(tokens_before);
            if let Some(most) = options.budget.tokens {
                match affordable(most.saturating_sub(spent()), &rolled.results, self.candidates.len()) {
                    0 => {
                        rolled.cut_by = Some("tokens");
                        break;
                    }
                    // What is left over is dealt when it is known what these took.
                    most => specs.truncate(most),
                }
            }
            if let Some(most) = options.budget.rollouts {
                let left = most.saturating_sub(dealt.iter().sum());
                if (specs.len() as u64) > u64::from(left) {
                    specs.truncate(left as usize);
                    rolled.cut_by = Some("rollouts");
                }
            }
            for spec in &specs {
                if let Some(dealt) = dealt.get_mut(spec.key.candidate as usize) {
                    *dealt += 1;
                }
            }
            if !specs.is_empty() {
                let spent_up = || options.budget.tokens.is_some_and(|most| spent() >= most);
                if let Some(cut) = self.round(specs, until, spent_up, &mut rolled.results).await? {
                    rolled.cut_by = Some(cut);
                }
            }
            rolled.tallies = self.tallies(&rolled.results, &dealt);
        }
        Ok(rolled)
    }

    /// The next rollouts of each candidate; the first of every candidate before the second of any.
    fn specs(&self, dealt: &[u32], deal: &[u32]) -> Vec<RolloutSpec> {
        let mut keys: Vec<(u32, u32)> = Vec::new();
        for (candidate, (&dealt, &more)) in self.candidates.iter().zip(dealt.iter().zip(deal)) {
            keys.extend((dealt..dealt + more).map(|rollout| (rollout, candidate.index)));
        }
        keys.sort_unstable();
        let step = self.session.next_step();
        let spec = |(rollout, index): (u32, u32)| {
            let candidate = self.candidates.get(index as usize)?;
            Some(RolloutSpec {
                key: RolloutKey { step, candidate: index, rollout },
                seed: derive_seed(self.seed, "rollout", &[u64::from(index), u64::from(rollout)]),
                common_seed: derive_seed(self.session.options.seed, "rollouts", &[u64::from(rollout)]),
                state: self.session.state,
                history: self.history.clone(),
                action: candidate.action.text.clone(),
            })
        };
        keys.into_iter().filter_map(spec).collect()
    }

    /// Runs rollouts and collects each result once. Gives the bound that cut it, if one did.
    async fn round(
        &self,
        rollouts: Vec<RolloutSpec>,
        until: Option<Instant>,
        spent_up: impl Fn() -> bool,
        results: &mut Vec<RolloutResult>,
    ) -> Result<Option<&'static str>, ModelError> {
        let mut missing: BTreeSet<RolloutKey> = rollouts.iter().map(|spec| spec.key).collect();
        let (before, total) = (results.len(), results.len() + rollouts.len());
        let batch = RolloutBatch { rollouts, ..self.batch.clone() };
        let mut reports = self.runner.run(batch, &self.session.tokens);
        self.report(before, total);
        loop {
            let next = async {
                match until {
                    None => Ok(reports.next().await),
                    Some(until) => tokio::time::timeout_at(until.into(), reports.next()).await,
                }
            };
            // Dropping the stream cancels what still runs.
            let Ok(next) = next.await else { return Ok(Some("time")) };
            let Some(finished) = next else { return Ok(None) };
            let finished = finished?;
            // A runner that hands a rollout out twice must not have it counted twice.
            if missing.remove(&finished.result.key) {
                results.push(finished.result.clone());
                self.sink.emit(PlanEvent::Rollout(finished));
                self.report(results.len(), total);
            }
            if spent_up() && !missing.is_empty() {
                return Ok(Some("tokens"));
            }
        }
    }

    fn tallies(&self, results: &[RolloutResult], dealt: &[u32]) -> Vec<Tally> {
        let roles = self.session.assessment().map(|assessment| &assessment.entities);
        let is_outside = |name: &str| roles.is_some_and(|roles| roles.attacks_from_outside(name));
        let of = |(candidate, &dealt): (&Candidate, &u32)| {
            let mut tally = tally(results.iter().filter(|result| result.key.candidate == candidate.index));
            tally.tell_apart(&candidate.action.text, is_outside);
            tally.cost.cancelled += dealt.saturating_sub(tally.finished() + tally.cost.cancelled);
            tally
        };
        let mut tallies: Vec<Tally> = self.candidates.iter().zip(dealt).map(of).collect();
        level(&mut tallies);
        tallies
    }

    fn report(&self, finished: usize, total: usize) {
        self.sink.emit(PlanEvent::Progress(Progress {
            stage: PlanningStage::Rollouts,
            step: self.session.next_step(),
            rollouts_finished: finished as u32,
            rollouts_total: total as u32,
            tokens: self.session.tokens.total(),
        }));
    }
}

/// How many rollouts to deal at once with so many tokens left, by what those took that have ended; two of each candidate
/// while that is not known. Workers may be done with all that they have before the first result is here.
fn affordable(left: u64, ended: &[RolloutResult], candidates: usize) -> usize {
    if left == 0 {
        return 0;
    }
    let took: u64 = ended.iter().map(|result| result.usage.generated()).fold(0, u64::saturating_add);
    match took.checked_div(ended.len() as u64) {
        Some(each) => usize::try_from(left.div_ceil(each.max(1))).unwrap_or(usize::MAX),
        None => candidates.saturating_mul(2),
    }
}
