//! The engine's thread: takes jobs, plans steps, pushes them through the backend, chooses tokens.
//!
//! A failing sequence ends alone: a NaN, a grammar that breaks, a budget too small for it. Only a fault of the device
//! ends the sequences of its step.

mod branches;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use self::branches::{Branch, Logits};
use super::job::Job;
use super::knee::{Knee, Step};
use super::{Board, EngineOptions};
use crate::answer::{Answer, Mask};
use crate::backend::{Backend, Feed, LogitRows};
use crate::error::EngineError;
use crate::sampling::Sampler;
use crate::scheduler::{self, Limits, Running, Turns, Waiting};

/// Time over which the speed is averaged.
const WINDOW: Duration = Duration::from_secs(5);

/// A job with keys and values.
struct Live<S> {
    job: Job,
    sequence: S,
    computed: usize,
    /// Tokens that are prefill.
    base: usize,
    /// Ways on towards options that are weighed.
    branches: Vec<Branch<S>>,
}

impl<S> Live<S> {
    fn view(&self) -> Running<'_> {
        Running {
            priority: self.job.priority,
            scope: self.job.scope,
            tokens: &self.job.tokens,
            computed: self.computed,
            prompt: self.base,
        }
    }
}

pub(super) struct Core<B: Backend> {
    backend: B,
    limits: Limits,
    sequential: bool,
    board: Arc<Board>,
    inbox: Receiver<Job>,
    open: bool,
    waiting: VecDeque<Job>,
    live: Vec<Live<B::Sequence>>,
    turns: Turns,
    /// Memory was short, so nothing is admitted until a sequence ends.
    held: bool,
    sampler: Sampler,
    logits: LogitRows,
    recent: VecDeque<(Instant, u64)>,
    knee: Knee,
}

impl<B: Backend> Core<B> {
    pub(super) fn new(backend: B, options: &EngineOptions, board: Arc<Board>, inbox: Receiver<Job>) -> Self {
        let sequences = if options.sequential { 1 } else { options.max_sequences.max(1) };
        Self {
            backend,
            limits: Limits { sequences, prefill: options.prefill_chunk.max(1) },
            sequential: options.sequential,
            board,
            inbox,
            open: true,
            waiting: VecDeque::new(),
            live: Vec::new(),
            turns: Turns::default(),
            held: false,
            sampler: Sampler::default(),
            logits: LogitRows::default(),
            recent: VecDeque::new(),
            knee: Knee::default(),
        }
    }

    /// Runs until the last handle is gone.
    pub(super) fn run(mut self) {
        while self.take_jobs() {
            self.drop_cancelled();
            self.admit();
            let feeds = self.plan();
            if !self.live.is_empty() {
                self.step(&feeds);
            }
            self.report();
        }
        for job in self.waiting.drain(..).chain(self.live.drain(..).map(|live| live.job)) {
            job.fail(EngineError::Stopped);
        }
    }

    /// Takes what has arrived, waiting for it if there is nothing to do. Says whether to go on.
    fn take_jobs(&mut self) -> bool {
        if self.live.is_empty() && self.waiting.is_empty() {
            match self.inbox.recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(_) => self.open = false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(TryRecvError::Empty) => return self.open,
                Err(TryRecvError::Disconnected) => {
                    self.open = false;
                    return false;
                }
            }
        }
    }

    fn drop_cancelled(&mut self) {
        let before = self.waiting.len() + self.live.len();
        let waited = self.waiting.len();
        self.waiting.retain(|job| !job.is_cancelled());
        self.board.waiting.fetch_sub(waited - self.waiting.len(), Ordering::Relaxed);
        let lived = self.live.len();
        self.live.retain(|live| !live.job.is_cancelled());
        self.held &= self.live.len() == lived;
        let dropped = before - self.waiting.len() - self.live.len();
        if dropped > 0 {
            self.board.update(|stats| stats.cancelled += dropped as u64);
        }
    }

    fn admit(&mut self) {
        self.held &= !self.live.is_empty();
        if self.waiting.is_empty() || self.held || self.live.len() >= self.limits.sequences {
            return;
        }
        let waiting: Vec<Waiting<'_>> = self
            .waiting
            .iter()
            .map(|job| Waiting { priority: job.priority, scope: job.scope, tokens: &job.tokens })
            .collect();
        let running: Vec<Running<'_>> = self.live.iter().map(Live::view).collect();
        let backend = &self.backend;
        let cached = |place: usize| backend.cached_prefix(waiting[place].tokens, waiting[place].scope);
        let mut admitted = scheduler::admit(self.limits, &waiting, &running, &mut self.turns, cached);
        // Taken out from the back, so that places stay true, and started in the order of admission.
        let order = admitted.clone();
        admitted.sort_unstable_by(|a, b| b.cmp(a));
        let mut taken: Vec<(usize, Job)> =
            admitted.into_iter().filter_map(|place| Some((place, self.waiting.remove(place)?))).collect();
        taken.sort_by_key(|(place, _)| order.iter().position(|other| other == place));
        self.board.waiting.fetch_sub(taken.len(), Ordering::Relaxed);
        for (_, mut job) in taken {
            let (sequence, computed) = self.backend.begin(&job.tokens, job.scope);
            let first_time = job.cached.is_none();
            let cached = *job.cached.get_or_insert(computed.min(job.prompt));
            if first_time {
                self.board.update(|stats| stats.cached_tokens += cached as u64);
            }
            // On the reference path even the tokens that begin the answer go one by one.
            let base = if self.sequential { job.prompt } else { job.tokens.len() };
            self.live.push(Live { job, sequence, computed, base, branches: Vec::new() });
        }
    }

    /// How many tokens of each sequence go next, with room for them made. Sequences give way where memory is short.
    fn plan(&mut self) -> Vec<usize> {
        loop {
            let running: Vec<Running<'_>> = self.live.iter().map(Live::view).collect();
            let feeds = scheduler::feeds(self.limits, &running, self.sequential);
            let mut short = None;
            for (place, (live, &feed)) in self.live.iter_mut().zip(&feeds).enumerate() {
                if feed > 0
                    && let Err(error) = self.backend.reserve(&mut live.sequence, feed)
                {
                    short = Some((place, error));
                    break;
                }
            }
            let short = match short {
                None => self.plan_branches().err(),
                short => short,
            };
            let Some((place, error)) = short else { return feeds };
            let running: Vec<Running<'_>> = self.live.iter().map(Live::view).collect();
            match scheduler::gives_way(&running, place) {
                Some(place) => {
                    let live = self.live.remove(place);
                    self.held = true;
                    self.board.waiting.fetch_add(1, Ordering::Relaxed);
                    self.board.update(|stats| stats.restarted += 1);
                    self.waiting.push_front(live.job);
                }
                None => {
                    let live = self.live.remove(place);
                    self.fail(live.job, error);
                }
            }
        }
    }

    fn step(&mut self, counts: &[usize]) {
        let mut prefilled = 0;
        let mut step = Step::default();
        let mut feeds = Vec::new();
        let mut choosing: Vec<(usize, &mut Answer)> = Vec::new();
        // Row of each sequence's own last logits, and those sequences whose options are weighed from there on.
        let (mut row, mut rows, mut rooted) = (0, vec![0; counts.len()], Vec::new());
        for (place, (live, &count)) in self.live.iter_mut().zip(counts).enumerate() {
            let of_branches = live.branches.iter().map(|branch| branch.count).sum::<usize>();
            if count + of_branches > 0 && live.computed >= live.base {
                step.answering += 1;
                step.of_answers += count + of_branches;
            }
            step.tokens += count + of_branches;
            if count > 0 {
                let end = live.computed + count;
                prefilled += live.base.min(end).saturating_sub(live.computed);
                let last = end == live.job.tokens.len();
                // An engine without forced tokens would want logits for each token of an answer.
                let logits = usize::from(last || (self.sequential && end > live.base));
                let tokens = &live.job.tokens[live.computed..end];
                feeds.push(Feed { sequence: &mut live.sequence, tokens, logits });
                rows[place] = row;
                row += logits;
                if last && live.job.answer.weighing().is_some() {
                    rooted.push((place, rows[place]));
                } else if last {
                    choosing.push((place, &mut live.job.answer));
                }
            }
            for branch in live.branches.iter_mut().filter(|branch| branch.count > 0) {
                branch.row = row;
                let feed = branch.feed();
                row += feed.logits;
                feeds.push(feed);
            }
        }
        let (pass, masks, times) = run_beside(&mut self.backend, &mut feeds, &mut self.logits, choosing);
        drop(feeds);
        let passed = Instant::now();
        if let Err(error) = pass {
            self.fail_step(counts, &error);
            return;
        }
        self.knee.step(Step { seconds: (times.pass + times.waited).as_secs_f64(), ..step });
        self.advance(counts, &rooted);
        let mut chosen = self.choose(masks, &rows);
        self.learn(&rooted, &mut chosen);
        self.choose_options(&mut chosen);
        self.record(&chosen, prefilled, &times, passed);
        chosen.ended.sort_by_key(|(place, _)| *place);
        self.end(chosen.ended);
    }

    /// Ends the sequences of a step in which the device failed.
    fn fail_step(&mut self, counts: &[usize], error: &EngineError) {
        for place in (0..counts.len()).rev() {
            if counts[place] > 0 || self.live[place].branches.iter().any(|branch| branch.count > 0) {
                let live = self.live.remove(place);
                self.fail(live.job, error.clone());
            }
        }
    }

    /// Counts what went through the model, and offers to others what is of use to them.
    fn advance(&mut self, counts: &[usize], rooted: &[(usize, usize)]) {
        for (place, (live, &count)) in self.live.iter_mut().zip(counts).enumerate() {
            let was_prefilling = live.computed < live.base;
            live.computed += count;
            // Branches begin with what was published.
            let is_rooted = rooted.iter().any(|(rooted, _)| *rooted == place);
            if (was_prefilling || is_rooted) && count > 0 && !self.sequential {
                self.backend.publish(&live.sequence);
            }
        }
    }

    /// Tells what a step did.
    fn record(&mut self, chosen: &Chosen, prefilled: usize, times: &Times, passed: Instant) {
        let (kv_bytes, evicted) = (self.backend.kv_bytes(), self.backend.evicted_tokens());
        let batched = self.live.len() as u64;
        self.recent.push_back((passed, chosen.sampled + chosen.forced));
        self.board.update(|stats| {
            stats.kv_bytes = kv_bytes;
            stats.evicted_tokens = evicted;
            stats.batched += batched;
            // Asking a GPU takes part of a millisecond, and its memory is taken when the model is loaded.
            if stats.steps.is_multiple_of(256)
                && let Some(memory) = self.backend.device_memory()
            {
                stats.device_free_bytes = memory.free;
                stats.device_total_bytes = memory.total;
            }
            stats.steps += 1;
            stats.prefill_tokens += prefilled as u64;
            stats.sampled_tokens += chosen.sampled;
            stats.forced_tokens += chosen.forced;
            stats.weighed_tokens += chosen.weighed;
            stats.forward_seconds += times.pass.as_secs_f64();
            stats.mask_seconds += times.masks.as_secs_f64();
            stats.mask_wait_seconds += times.waited.as_secs_f64();
            stats.choice_seconds += passed.elapsed().as_secs_f64();
        });
    }

    /// Chooses a token for each sequence that has a mask.
    fn choose(&mut self, masks: Masks, rows: &[usize]) -> Chosen {
        let logits = Logits { values: &self.logits, width: self.backend.shape().vocab_size };
        let mut chosen = Chosen::default();
        for (place, mask) in masks {
            let job = &mut self.live[place].job;
            let row = logits.row(rows[place]);
            let position = (job.tokens.len() - job.prompt) as u64;
            let token = mask.and_then(|mask| {
                self.sampler
                    .choose(row, mask.words(), job.choice, position)
                    .map_err(|_| EngineError::NotANumber { position: job.tokens.len() })
            });
            match token.and_then(|token| Ok((token, job.answer.take(token)?))) {
                Ok((token, follow)) => {
                    chosen.sampled += 1;
                    chosen.forced += follow.len() as u64;
                    let mut tokens = vec![token];
                    tokens.extend(follow);
                    if job.extend(&tokens, 1) || job.is_full() {
                        chosen.ended.push((place, None));
                    }
                }
                Err(error) => chosen.ended.push((place, Some(error))),
            }
        }
        chosen
    }

    /// Ends sequences that are done or have failed, given in the order of their places.
    fn end(&mut self, ended: Vec<(usize, Option<EngineError>)>) {
        for (place, error) in ended.into_iter().rev() {
            let live = self.live.remove(place);
            self.held = false;
            match error {
                None => self.complete(live.job),
                Some(error) => self.fail(live.job, error),
            }
        }
    }

    fn complete(&self, job: Job) {
        let running = self.live.len();
        self.board.update(|stats| {
            stats.completed += 1;
            stats.running = running;
        });
        job.complete();
    }

    fn fail(&self, job: Job, error: EngineError) {
        tracing::warn!(%error, "a sequence failed");
        if matches!(error, EngineError::Grammar(_)) {
            job.answer.forget_grammar();
        }
        let running = self.live.len();
        self.board.update(|stats| {
            stats.failed += 1;
            stats.running = running;
        });
        job.fail(error);
    }

    fn report(&mut self) {
        let now = Instant::now();
        while self.recent.front().is_some_and(|(then, _)| now - *then > WINDOW) {
            self.recent.pop_front();
        }
        let idle = self.live.is_empty() && self.waiting.is_empty();
        let speed = match self.recent.front() {
            Some((first, _)) if !idle && now > *first => {
                let tokens: u64 = self.recent.iter().skip(1).map(|(_, tokens)| tokens).sum();
                tokens as f64 / (now - *first).as_secs_f64()
            }
            _ => 0.0,
        };
        if idle {
            self.recent.clear();
        }
        let running = self.live.len();
        let efficient = self.knee.of(self.limits.sequences).unwrap_or(0);
        self.board.update(|stats| {
            stats.running = running;
            stats.tokens_per_second = speed;
            stats.efficient_sequences = efficient;
        });
    }
}

/// What a step chose.
#[derive(Default)]
struct Chosen {
    sampled: u64,
    forced: u64,
    /// Tokens of branches.
    weighed: u64,
    /// Places of the sequences that end, and why those that fail do.
    ended: Vec<(usize, Option<EngineError>)>,
}

/// Times of one step.
struct Times {
    pass: Duration,
    masks: Duration,
    /// By how much masks made the step longer.
    waited: Duration,
}

type Masks = Vec<(usize, Result<Mask, EngineError>)>;

/// Runs the pass and computes the masks. Masks that take work are computed beside the pass where that leaves CPUs
/// free. Where the pass itself runs on them they come first: a second thread would take their time from the pass, and
/// be waited for after it.
fn run_beside<B: Backend>(
    backend: &mut B,
    feeds: &mut [Feed<'_, B::Sequence>],
    logits: &mut LogitRows,
    choosing: Vec<(usize, &mut Answer)>,
) -> (Result<(), EngineError>, Masks, Times) {
    let all = |choosing: Vec<(usize, &mut Answer)>| -> (Masks, Duration) {
        let began = Instant::now();
        let masks = choosing.into_iter().map(|(place, answer)| (place, answer.mask())).collect();
        (masks, began.elapsed())
    };
    let beside = backend.leaves_cpus_free() && choosing.iter().any(|(_, answer)| answer.mask_takes_work());
    let mut pass = || {
        let began = Instant::now();
        (backend.forward(feeds, logits), began.elapsed())
    };
    if !beside {
        let (masks, time) = all(choosing);
        let (result, pass) = pass();
        return (result, masks, Times { pass, masks: time, waited: time });
    }
    let began = Instant::now();
    thread::scope(|scope| {
        let places: Vec<usize> = choosing.iter().map(|(place, _)| *place).collect();
        let beside = scope.spawn(|| all(choosing));
        let (result, pass) = pass();
        let (masks, time) = beside.join().unwrap_or_else(|_| {
            let broken = || Err(EngineError::Grammar("the computation of a mask broke off".to_owned()));
            (places.into_iter().map(|place| (place, broken())).collect(), Duration::ZERO)
        });
        (result, masks, Times { pass, masks: time, waited: began.elapsed().saturating_sub(pass) })
    })
}
