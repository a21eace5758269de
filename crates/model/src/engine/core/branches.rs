//! Ways on from the end of a sequence towards its options, so that the model can say how likely they are.
//!
//! A branch is a sequence of its own that begins with the keys and values of the one that it leaves, as any sequence takes
//! them from the cache. It leads to one node of the options' tree and ends when the model was asked about it, most often
//! within one step. Nothing of it is kept unless options part again at its end.
//!
//! Branches of all sequences together take at most [`TOKENS`] tokens of a step, since each has a row of logits. Beyond the
//! first of a sequence they wait for memory as well. The order changes nothing: what is asked next depends on the rows of
//! a whole round.

use super::super::job::Job;
use super::{Chosen, Core, Live};
use crate::backend::{Backend, Feed};
use crate::error::EngineError;
use crate::options::Weighing;
use crate::request::Priority;
use crate::sampling::{BadRow, Sampler};

/// Most tokens of branches in a step.
const TOKENS: usize = 64;

/// A way to a node of the options' tree.
pub(super) struct Branch<S> {
    node: usize,
    /// The tokens of the sequence that it leaves, then the path to the node.
    tokens: Vec<u32>,
    /// How many of them have to go through the model.
    end: usize,
    /// From here on, the logits after a token are wanted.
    asked: usize,
    sequence: S,
    computed: usize,
    /// Logarithm of the probability of the asked tokens so far, without the first.
    way: f64,
    /// Tokens that go next.
    pub(super) count: usize,
    /// Where its logits of this step begin, in rows.
    pub(super) row: usize,
}

impl<S> Branch<S> {
    /// A branch to one of the options' nodes; none where no options are weighed.
    fn begin<B: Backend<Sequence = S>>(backend: &mut B, job: &Job, number: usize) -> Option<Self> {
        let node = job.answer.node(number)?;
        let (end, asked) = (job.tokens.len() + node.fed(), job.tokens.len() + node.parted);
        let tokens = [job.tokens.as_slice(), &node.path].concat();
        // The token from which logits are wanted is always computed, and so are those after it.
        let (sequence, computed) = backend.begin(&tokens[..=asked], job.scope);
        Some(Self { node: number, tokens, end, asked, sequence, computed, way: 0.0, count: 0, row: 0 })
    }

    /// How many tokens go next, of at most `most`. On the reference path those of an answer go `one_by_one`.
    fn next(&self, most: usize, one_by_one: bool, prompt: usize) -> usize {
        match self.end - self.computed {
            _ if one_by_one && self.computed >= prompt => 1,
            _ if one_by_one => (prompt - self.computed).min(most),
            missing => missing.min(most),
        }
    }

    /// What goes through the model in this step.
    pub(super) fn feed(&mut self) -> Feed<'_, S> {
        let end = self.computed + self.count;
        let logits = end.saturating_sub(self.asked.max(self.computed));
        Feed { sequence: &mut self.sequence, tokens: &self.tokens[self.computed..end], logits }
    }

    /// Takes in the rows of a step. Says whether the node is known now.
    fn take(
        &mut self,
        logits: &Logits<'_>,
        weighing: &mut Weighing,
        ends: &[u32],
        sampler: &mut Sampler,
    ) -> Result<bool, BadRow> {
        let first = self.asked.max(self.computed);
        self.computed += self.count;
        self.count = 0;
        for place in first..self.computed {
            let after = sampler.log_probabilities(logits.row(self.row + place - first))?;
            match self.tokens.get(place + 1) {
                Some(&next) => self.way += after.of(next),
                None => weighing.learn(self.node, self.way, |token| after.of(token), ends),
            }
        }
        let is_known = self.computed == self.end;
        if is_known && self.end < self.tokens.len() {
            weighing.learn(self.node, self.way, |_| f64::NEG_INFINITY, ends);
        }
        Ok(is_known)
    }
}

/// Rows of logits.
pub(super) struct Logits<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
}

impl<'a> Logits<'a> {
    pub(super) fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.width..][..self.width]
    }
}

impl<S> Live<S> {
    /// Whether its options are weighed and its own keys and values are there.
    fn may_branch(&self) -> bool {
        self.computed == self.job.tokens.len() && !self.job.answer.round().is_empty()
    }

    /// A node of the round to which no branch leads yet.
    fn next_node(&self) -> Option<usize> {
        let mut round = self.job.answer.round().iter().copied();
        round.find(|&node| self.branches.iter().all(|branch| branch.node != node))
    }
}

impl<B: Backend> Core<B> {
    /// Begins branches and says which of their tokens go next.
    ///
    /// # Errors
    /// Place of a sequence that has no memory for a single branch, and what is missing.
    pub(super) fn plan_branches(&mut self) -> Result<(), (usize, EngineError)> {
        self.live.iter_mut().flat_map(|live| &mut live.branches).for_each(|branch| branch.count = 0);
        let mut left = TOKENS;
        for priority in [Priority::Interactive, Priority::Bulk] {
            for place in 0..self.live.len() {
                if self.live[place].job.priority == priority && self.live[place].may_branch() {
                    self.plan_branches_of(place, &mut left).map_err(|error| (place, error))?;
                }
            }
        }
        Ok(())
    }

    fn plan_branches_of(&mut self, place: usize, left: &mut usize) -> Result<(), EngineError> {
        let (live, backend) = (&mut self.live[place], &mut self.backend);
        let prompt = live.job.prompt;
        let mut number = 0;
        while *left > 0 {
            if number == live.branches.len() {
                let alone = self.sequential && number > 0;
                let Some(node) = live.next_node().filter(|_| !alone) else { break };
                let Some(branch) = Branch::begin(backend, &live.job, node) else { break };
                live.branches.push(branch);
            }
            let branch = &mut live.branches[number];
            let count = branch.next(*left, self.sequential, prompt);
            match backend.reserve(&mut branch.sequence, count) {
                Ok(()) => branch.count = count,
                // With one of them gone, there will be room.
                Err(_) if number > 0 => {
                    live.branches.truncate(number);
                    break;
                }
                Err(error) => return Err(error),
            }
            *left -= count;
            number += 1;
        }
        Ok(())
    }

    /// Takes in what a step said about options. `rooted` are places of sequences whose last row says where their options
    /// begin, and those rows.
    pub(super) fn learn(&mut self, rooted: &[(usize, usize)], chosen: &mut Chosen) {
        let logits = Logits { values: &self.logits, width: self.backend.shape().vocab_size };
        for (place, live) in self.live.iter_mut().enumerate() {
            if live.job.answer.round().is_empty() {
                continue;
            }
            let ends = live.job.answer.ends().to_vec();
            let length = live.job.tokens.len();
            let Some(weighing) = live.job.answer.weighing() else { continue };
            let mut learned = Ok(());
            if let Some((_, row)) = rooted.iter().find(|(rooted, _)| *rooted == place) {
                let after = self.sampler.log_probabilities(logits.row(*row));
                learned = after.map(|after| weighing.learn(0, 0.0, |token| after.of(token), &ends));
            }
            let mut number = 0;
            while let (Ok(()), Some(branch)) = (learned, live.branches.get_mut(number)) {
                if branch.count == 0 {
                    number += 1;
                    continue;
                }
                chosen.weighed += branch.count as u64;
                match branch.take(&logits, weighing, &ends, &mut self.sampler) {
                    Ok(true) => {
                        let branch = live.branches.remove(number);
                        // Whatever parts here begins here.
                        if branch.end == branch.tokens.len() && !self.sequential {
                            self.backend.publish(&branch.sequence);
                        }
                    }
                    Ok(false) => number += 1,
                    Err(bad) => learned = Err(bad),
                }
            }
            match learned {
                Ok(()) => {}
                Err(BadRow) => chosen.ended.push((place, Some(EngineError::NotANumber { position: length }))),
            }
        }
    }

    /// Takes an option for each sequence of which all are known.
    pub(super) fn choose_options(&mut self, chosen: &mut Chosen) {
        for (place, live) in self.live.iter_mut().enumerate() {
            let job = &mut live.job;
            let position = (job.tokens.len() - job.prompt) as u64;
            let Some(weighing) = job.answer.weighing() else { continue };
            if !weighing.round().is_empty() {
                continue;
            }
            let probabilities = weighing.probabilities();
            match self.sampler.choose_option(&probabilities, job.choice, position) {
                Ok(option) => {
                    let tokens = job.answer.take_option(option, &probabilities);
                    let sampled = tokens.len().min(1);
                    job.extend(&tokens, sampled);
                    chosen.sampled += sampled as u64;
                    chosen.forced += (tokens.len() - sampled) as u64;
                    chosen.ended.push((place, None));
                }
                Err(BadRow) => {
                    let error = EngineError::NotANumber { position: job.tokens.len() };
                    chosen.ended.push((place, Some(error)));
                }
            }
        }
    }
}
