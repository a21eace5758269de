//! A batch of rollouts over all workers.
//!
//! All of them wait in the queue of the coordinator. What is granted on one worker goes there in one call, neighbours in
//! the batch together, since rollouts of one candidate share the most. What a broken call leaves behind goes back to the
//! queue with the failure counted, and to whoever has room. A rollout that takes much longer than its siblings did is
//! started once more elsewhere. What a result costs is reckoned again ([`Auditor`]), and a share of the rollouts runs on two
//! workers from the start ([`checking`](super::checking)).
//!
//! Invariant: every rollout that was not reported waits, or is in one call, or is hedged or checked and in two. None is reported
//! twice: the first result takes the rollout out of all calls, and the result of one that is checked is reported once it is settled;
//! which result that is does not depend on whether it was checked. What has nobody waiting for it is not decoded on: a call that has
//! none left is cancelled, and of one that has others its worker is told to cancel that rollout alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use countermove_planner::{
    Auditor, ModelError, Purpose, RolloutBatch, RolloutKey, RolloutReport, RolloutResult, RolloutRunner,
    RolloutSpec, TokenCounter,
};
use countermove_proto::{Error, RequestId, WorkerId};
use countermove_telemetry::{TRACE, count};
use countermove_wire::bounds::ResultBounds;
use countermove_wire::{cancel_rollout_request, run_rollouts_request};
use futures::StreamExt;
use futures::stream::{self, AbortHandle, BoxStream, SelectAll, abortable};
use tokio::time::Instant;
use tonic::transport::Channel;
use tracing::{Instrument, Span, info_span};

use super::checking::{Check, Checks, Word};
use super::hedging::most_hedges;
use super::queue::{Grant, Turn};
use super::{IncidentWorkers, Patience, call, passed};

impl RolloutRunner for IncidentWorkers {
    fn run(
        &self,
        batch: RolloutBatch,
        tokens: &TokenCounter,
    ) -> BoxStream<'static, Result<RolloutReport, ModelError>> {
        let run = Run::new(self.clone(), batch, tokens.clone());
        stream::unfold(run, |mut run| async move { run.next().await.map(|item| (item, run)) }).boxed()
    }
}

/// A rollout that waits, or that a call runs.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) spec: RolloutSpec,
    patience: Patience,
}

impl Task {
    pub(super) fn new(spec: RolloutSpec) -> Self {
        Self { spec, patience: Patience::default() }
    }
}

/// A call under way.
#[derive(Debug)]
struct Call {
    /// What its worker knows it by.
    name: String,
    worker: WorkerId,
    channel: Channel,
    tasks: HashMap<RolloutKey, Task>,
    begun: Instant,
    /// Until when the worker may say what came of a rollout that it was told to cancel, if it was.
    last_words: Option<Instant>,
    cancel: AbortHandle,
    /// Ends with it.
    _span: Span,
}

/// Time in which a worker breaks off a rollout and says so. A call that brings nothing else is not waited for any longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Something that a call brought. The grant comes back with its end.
#[derive(Debug)]
enum News {
    Result(RolloutResult),
    /// `None`: the worker ended it as it should.
    Ended(Option<Error>, Grant),
}

type CallId = u64;

struct Run {
    workers: IncidentWorkers,
    /// What all rollouts share; its own list of rollouts is empty.
    batch: RolloutBatch,
    /// What its results may be.
    bounds: ResultBounds,
    auditor: Auditor,
    /// How many there are.
    total: usize,
    tokens: TokenCounter,
    turn: Turn,
    waiting: Vec<Task>,
    under_way: HashMap<CallId, Call>,
    calls: SelectAll<BoxStream<'static, (CallId, News)>>,
    next_call: CallId,
    /// What no name of another run's calls begins with.
    name: RequestId,
    /// How long those took that have finished.
    finished: Vec<Duration>,
    /// Those that were started a second time.
    hedged: HashSet<RolloutKey>,
    /// Those that run on several workers to be compared.
    checks: Checks,
    /// What is settled and not yet reported.
    ready: VecDeque<RolloutReport>,
    ended: bool,
}

impl Run {
    fn new(workers: IncidentWorkers, mut batch: RolloutBatch, tokens: TokenCounter) -> Self {
        let waiting: Vec<_> = std::mem::take(&mut batch.rollouts).into_iter().map(Task::new).collect();
        batch.tenant = workers.tenant();
        Self {
            turn: workers.turn(Purpose::Rollout),
            bounds: ResultBounds::of(&batch),
            auditor: Auditor::of(&batch),
            checks: Checks::new(workers.options().checked),
            ready: VecDeque::new(),
            workers,
            batch,
            total: waiting.len(),
            tokens,
            waiting,
            under_way: HashMap::new(),
            calls: SelectAll::new(),
            next_call: 0,
            name: RequestId::generate(),
            finished: Vec::new(),
            hedged: HashSet::new(),
            ended: false,
        }
    }

    /// The next result; `None` after the last, or after an error.
    async fn next(&mut self) -> Option<Result<RolloutReport, ModelError>> {
        while !self.ended {
            if let Some(report) = self.ready.pop_front() {
                return Some(Ok(report));
            }
            if self.waiting.is_empty() && self.under_way.is_empty() {
                return None;
            }
            match self.step().await {
                Ok(Some(report)) => return Some(Ok(report)),
                Ok(None) => {}
                Err(error) => {
                    // What still runs is of no use to anybody.
                    self.ended = true;
                    self.turn.want(0);
                    self.calls.clear();
                    self.under_way.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Waits for one thing to happen.
    async fn step(&mut self) -> Result<Option<RolloutReport>, ModelError> {
        let deadline = self.workers.0.deadline;
        if let Some(deadline) = deadline.filter(|&deadline| deadline <= Instant::now()) {
            let late = Instant::now().saturating_duration_since(deadline);
            let incident = self.workers.0.origin.incident;
            tracing::debug!(%incident, ?late, "deadline passed during rollouts");
            return Err(ModelError::Unavailable("the deadline passed before all rollouts ended".to_owned()));
        }
        self.turn.want(self.waiting.len());
        let look_again = self.hedge();
        let overdue = self.end_overdue();
        if self.waiting.is_empty() && self.under_way.is_empty() {
            return Ok(None);
        }
        let (some_wait, some_run) = (!self.waiting.is_empty(), !self.under_way.is_empty());
        tokio::select! {
            grants = self.turn.granted(), if some_wait => {
                for grant in grants {
                    self.fill(grant);
                }
                Ok(None)
            }
            news = self.calls.next(), if some_run => match news {
                Some((call, news)) => self.take(call, news),
                // Every call says when it ends.
                None => Err(ModelError::Failed("a call ended without a word".to_owned())),
            },
            error = self.workers.nobody(Purpose::Rollout), if !some_run => Err(error),
            () = passed(look_again) => Ok(None),
            () = passed(overdue) => Ok(None),
            () = passed(deadline) => Ok(None),
        }
    }

    /// Starts what waits where there is room for it.
    fn fill(&mut self, mut grant: Grant) {
        let room = usize::try_from(grant.lease().held()).unwrap_or(usize::MAX).min(self.waiting.len());
        grant.keep(room);
        if room > 0 {
            let tasks: Vec<Task> = self.waiting.drain(..room).collect();
            let worker = grant.lease().worker().clone();
            let is_wanted = |task: &&Task| {
                let key = &task.spec.key;
                self.checks.wants(key) && !self.hedged.contains(key)
            };
            let checked: Vec<Task> = tasks.iter().filter(is_wanted).cloned().collect();
            self.start(grant, tasks, self.tokens.clone());
            for task in checked {
                self.check(task, &worker);
            }
        }
    }

    /// Starts the slowest rollout once more if it is slow enough, and says when to look again.
    fn hedge(&mut self) -> Option<Instant> {
        let policy = self.workers.options().hedging?;
        if !self.waiting.is_empty() || self.hedged.len() >= most_hedges(self.total) {
            return None;
        }
        let patience = policy.patience(&self.finished, self.total)?;
        let running =
            self.under_way.values().flat_map(|call| call.tasks.values().map(move |task| (call, task)));
        let (call, task) = running
            .filter(|(_, task)| !self.hedged.contains(&task.spec.key) && !self.checks.has(&task.spec.key))
            .min_by_key(|(call, task)| (call.begun, task.spec.key))?;
        let (due, now) = (call.begun.checked_add(patience)?, Instant::now());
        if due > now {
            return Some(due);
        }
        let shared = &self.workers.0;
        let Some(grant) =
            shared.dispatcher.spare(Purpose::Rollout, &shared.origin, &shared.warm, &call.worker)
        else {
            // There may be room later.
            return now.checked_add(patience);
        };
        let (key, first) = (task.spec.key, call.worker.clone());
        let copy = task.clone();
        let (incident, second) = (shared.origin.incident, grant.lease().worker());
        tracing::info!(%incident, ?key, worker = %first, hedge = %second, "a slow rollout is started once more");
        self.hedged.insert(key);
        self.start(grant, vec![copy], self.tokens.clone());
        // The next one may be due as well.
        Some(now)
    }

    /// Gives a rollout that this worker has to another one as well, if there is one.
    fn check(&mut self, task: Task, worker: &WorkerId) {
        let shared = &self.workers.0;
        let not = std::slice::from_ref(worker);
        let Some(grant) = shared.dispatcher.elsewhere(&shared.origin, not) else { return };
        let second = grant.lease().worker().clone();
        self.checks.begin(task.clone(), [worker.clone(), second]);
        self.start_unpaid(grant, task);
    }

    /// Starts one whose work is none of the plan's: what is planned must not depend on it.
    fn start_unpaid(&mut self, grant: Grant, task: Task) {
        self.start(grant, vec![task], TokenCounter::default());
    }

    fn start(&mut self, grant: Grant, tasks: Vec<Task>, tokens: TokenCounter) {
        let call = self.next_call;
        self.next_call += 1;
        let (worker, channel) = (grant.lease().worker().clone(), grant.lease().channel());
        self.workers.warmed(&worker);
        let name = format!("{}/{call}", self.name);
        let specs: Vec<_> = tasks.iter().map(|task| task.spec.clone()).collect();
        let tasks: HashMap<_, _> = tasks.into_iter().map(|task| (task.spec.key, task)).collect();
        let (request, keys) =
            (run_rollouts_request(&self.batch, &specs, name.clone()), tasks.keys().copied().collect());
        let time = self.workers.call_time();
        let silence = self.workers.options().silence;
        let rules = call::Rules { silence, tokens, bounds: self.bounds };
        let span = info_span!(target: TRACE, "rollout_batch", %worker, rollouts = count(specs.len()));
        let opening = async move {
            match call::Rollouts::open(&grant, request, keys, time, rules).await {
                Ok(rollouts) => Answers::Open(grant, rollouts),
                Err(error) => Answers::Broken(grant, error),
            }
        };
        let opening = opening.instrument(span.clone());
        let news = stream::once(opening).flat_map(|begun| stream::unfold(begun, Answers::step));
        let (news, cancel) = abortable(news.map(move |news| (call, news)));
        self.under_way.insert(
            call,
            Call {
                name,
                worker,
                channel,
                tasks,
                begun: Instant::now(),
                last_words: None,
                cancel,
                _span: span,
            },
        );
        self.calls.push(news.boxed());
    }

    /// Takes in what a call brought.
    fn take(&mut self, call: CallId, news: News) -> Result<Option<RolloutReport>, ModelError> {
        match news {
            News::Result(result) => {
                let Some(running) = self.under_way.get_mut(&call) else { return Ok(None) };
                // One that came from elsewhere first, or was cancelled for that.
                let Some(task) = running.tasks.remove(&result.key) else { return Ok(None) };
                let (worker, took) = (running.worker.clone(), running.begun.elapsed());
                let result = match self.auditor.check(&task.spec, result) {
                    Ok(result) => result,
                    Err(problem) => {
                        self.distrust(&worker, &format!("it sent a rollout that cannot be: {problem}"));
                        self.go_on_without(vec![task]);
                        return Ok(None);
                    }
                };
                self.finished.push(took);
                self.workers.fleet().metrics().rollout(result.end);
                let key = result.key;
                if let Some(check) = self.checks.get(&key) {
                    check.answers.push((worker, result));
                    self.settle_check(&key);
                    return Ok(None);
                }
                self.drop_copy(call, &key);
                Ok(Some(RolloutReport { result, worker: worker.name() }))
            }
            News::Ended(error, grant) => {
                let Some(running) = self.under_way.remove(&call) else { return Ok(None) };
                if running.tasks.is_empty() {
                    return Ok(None);
                }
                let error = error.unwrap_or_else(|| {
                    Error::Internal(format!(
                        "the worker ended the call with {} rollouts missing",
                        running.tasks.len()
                    ))
                });
                self.put_back(running.tasks.into_values().collect(), &grant, error)?;
                Ok(None)
            }
        }
    }

    /// Does what the answers of a rollout that is checked ask for, once no call has it any more.
    fn settle_check(&mut self, key: &RolloutKey) {
        if self.runs(key) {
            return;
        }
        let Some(check) = self.checks.get(key) else { return };
        let word = check.word();
        if word == Word::Open {
            let shared = &self.workers.0;
            if let Some(grant) = shared.dispatcher.elsewhere(&shared.origin, &check.asked) {
                check.asked.push(grant.lease().worker().clone());
                let task = check.task.clone();
                self.start_unpaid(grant, task);
                return;
            }
        }
        let Some(Check { task, mut answers, .. }) = self.checks.end(key) else { return };
        match word {
            // Nobody was left to ask.
            Word::Open if answers.len() <= 1 => {}
            Word::Agreed => {
                self.workers.fleet().count_check(answers.iter().map(|(worker, _)| worker), true);
            }
            Word::Outvoted(wrong) => {
                let (worker, _) = answers.swap_remove(wrong);
                self.workers.fleet().count_check(answers.iter().map(|(worker, _)| worker), true);
                self.workers.fleet().count_check([&worker].into_iter(), false);
                self.distrust(&worker, "of a rollout it gave another result than two workers that agree");
            }
            Word::Open | Word::Torn => {
                self.workers.fleet().count_check(answers.iter().map(|(worker, _)| worker), false);
                for (worker, _) in std::mem::take(&mut answers) {
                    let reason = "it gave another result of a rollout than another worker, and none tells which is right";
                    self.distrust(&worker, reason);
                }
            }
        }
        match answers.into_iter().next() {
            Some((worker, result)) => {
                self.ready.push_back(RolloutReport { result, worker: worker.name() });
            }
            None => self.waiting.push(task),
        }
    }

    /// Gives a worker nothing more, since it cannot be believed.
    fn distrust(&self, worker: &WorkerId, reason: &str) {
        if self.workers.fleet().distrust(worker, reason) {
            self.workers.notice(format!("worker {} is not used any more: {reason}", worker.as_str()));
        }
    }

    /// Whether a call has a rollout.
    fn runs(&self, key: &RolloutKey) -> bool {
        self.under_way.values().any(|running| running.tasks.contains_key(key))
    }

    /// Puts rollouts that a call has no more back into the queue. What runs elsewhere as well goes on there.
    fn go_on_without(&mut self, tasks: Vec<Task>) {
        for task in tasks {
            let key = task.spec.key;
            if self.checks.has(&key) {
                self.settle_check(&key);
            } else if !self.runs(&key) {
                self.waiting.push(task);
            }
        }
        // What belongs together stays together.
        self.waiting.sort_unstable_by_key(|task| task.spec.key);
    }

    /// Takes a rollout out of the call that still runs it, after `call` has brought its result.
    fn drop_copy(&mut self, call: CallId, key: &RolloutKey) {
        if !self.hedged.contains(key) {
            return;
        }
        let mut cancelling = Vec::new();
        self.under_way.retain(|&other, running| {
            if other == call || running.tasks.remove(key).is_none() {
                return true;
            }
            let is_over = running.tasks.is_empty();
            if is_over {
                running.cancel.abort();
            } else {
                running.last_words = Some(Instant::now() + LAST_WORDS);
                let request = cancel_rollout_request(running.name.clone(), *key);
                cancelling.push(call::cancel_rollout(running.channel.clone(), request));
            }
            !is_over
        });
        // They bring no news, and end with the calls that they are about.
        self.calls.extend(
            cancelling
                .into_iter()
                .map(|asking| stream::once(asking).filter_map(|()| std::future::ready(None)).boxed()),
        );
    }

    /// Ends calls that have nothing left but a rollout that should have been cancelled by now. Gives when to look again.
    fn end_overdue(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let until = |running: &Call| running.last_words.filter(|_| running.tasks.is_empty());
        self.under_way.retain(|_, running| {
            let is_overdue = until(running).is_some_and(|until| until <= now);
            if is_overdue {
                running.cancel.abort();
            }
            !is_overdue
        });
        self.under_way.values().filter_map(until).min()
    }

    fn put_back(&mut self, mut tasks: Vec<Task>, grant: &Grant, error: Error) -> Result<(), ModelError> {
        tracing::info!(
            incident = %self.workers.0.origin.incident,
            worker = %grant.lease().worker(),
            rollouts = tasks.len(),
            %error,
            "rollouts go back to the queue"
        );
        let mut patience = tasks
            .iter()
            .map(|task| task.patience)
            .max_by_key(|patience| patience.spent())
            .unwrap_or_default();
        let before = patience;
        self.workers.settle(grant.lease(), error, &mut patience)?;
        for task in &mut tasks {
            task.patience.losses += patience.losses - before.losses;
            task.patience.failures += patience.failures - before.failures;
        }
        self.go_on_without(tasks);
        Ok(())
    }
}

/// What a call still brings.
#[expect(clippy::large_enum_variant, reason = "few at a time, each taken apart at once")]
enum Answers {
    Open(Grant, call::Rollouts),
    Broken(Grant, Error),
    Over,
}

impl Answers {
    async fn step(self) -> Option<(News, Self)> {
        match self {
            Self::Open(mut grant, mut rollouts) => Some(match rollouts.next(&mut grant).await {
                Ok(Some(result)) => (News::Result(result), Self::Open(grant, rollouts)),
                Ok(None) => (News::Ended(None, grant), Self::Over),
                Err(error) => (News::Ended(Some(error), grant), Self::Over),
            }),
            Self::Broken(grant, error) => Some((News::Ended(Some(error), grant), Self::Over)),
            Self::Over => None,
        }
    }
}
