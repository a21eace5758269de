//! The work behind a call. Dropping one of these futures drops its sequences.

use std::sync::Arc;
use std::time::Duration;

use countermove_planner::{
    LanguageModel, ModelError, Question, RolloutBatch, RolloutEnd, RolloutResult, RolloutSpec, TokenCounter,
    Usage, run_rollout,
};
use countermove_proto::Error;
use countermove_proto::worker::v1 as wire;
use countermove_wire::{FromDomain, IntoMessage, rollout_result_message};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;

use crate::admission::Place;
use crate::service::Replica;

/// Time between two messages of progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// A call's way back to its client.
pub(crate) struct Call<T> {
    pub(crate) sender: Answers<T>,
    pub(crate) receiver: mpsc::Receiver<Result<T, Status>>,
    pub(crate) deadline: Option<Instant>,
}

type Answers<T> = mpsc::Sender<Result<T, Status>>;

impl<T> Call<T> {
    /// `room` answers may lie unread before the work waits.
    pub(crate) fn new(room: usize, deadline: Option<Instant>) -> Self {
        let (sender, receiver) = mpsc::channel(room);
        Self { sender, receiver, deadline }
    }
}

/// Answers one question.
pub(crate) async fn generate<M: LanguageModel>(
    replica: Arc<Replica<M>>,
    question: Question,
    answers: Answers<wire::GenerateResponse>,
) -> Result<(), Error> {
    use wire::generate_response::Event;
    let mut progress = TokenMeter::start();
    let tokens = progress.tokens.clone();
    let mut asking = std::pin::pin!(replica.model.ask(question, &tokens));
    let answer = loop {
        tokio::select! {
            answer = &mut asking => break answer.map_err(Error::from_domain)?,
            news = progress.next() => offer(&answers, wire::GenerateResponse { event: Some(Event::Progress(news)) }),
        }
    };
    give(&answers, wire::GenerateResponse { event: Some(Event::Answer(answer.into_message())) }).await;
    Ok(())
}

/// Runs all rollouts of a batch at once and gives each result when it is there. Each place is free again when its
/// rollout has ended.
pub(crate) async fn run_rollouts<M: LanguageModel>(
    replica: Arc<Replica<M>>,
    batch: RolloutBatch,
    places: Vec<Place>,
    answers: Answers<wire::RunRolloutsResponse>,
) -> Result<(), Error> {
    use wire::run_rollouts_response::Event;
    let mut progress = TokenMeter::start();
    let tokens = progress.tokens.clone();
    let mut running: FuturesUnordered<_> = batch
        .rollouts
        .iter()
        .zip(places)
        .map(|(spec, place)| {
            let (replica, batch, tokens) = (&replica, &batch, &tokens);
            async move {
                let _place = place;
                let result = run_rollout(&replica.model, &replica.templates, batch, spec, tokens).await;
                (spec, result)
            }
        })
        .collect();
    loop {
        tokio::select! {
            ended = running.next() => {
                let Some((spec, result)) = ended else { return Ok(()) };
                let result = rollout_result_message(settle(spec, result)?, spec.seed);
                give(&answers, wire::RunRolloutsResponse { event: Some(Event::Result(result)) }).await;
            }
            news = progress.next() => {
                offer(&answers, wire::RunRolloutsResponse { event: Some(Event::Progress(news)) });
            }
        }
    }
}

/// A rollout that the model cannot take or on which it fails is malformed, here as on any other worker, and leaves the
/// others alone. A model that cannot be reached ends the call, so that what is left runs elsewhere.
fn settle(spec: &RolloutSpec, result: Result<RolloutResult, ModelError>) -> Result<RolloutResult, Error> {
    match result {
        Ok(result) => Ok(result),
        Err(error @ ModelError::Unavailable(_)) => Err(Error::from_domain(error)),
        Err(error @ (ModelError::Refused(_) | ModelError::Failed(_))) => Ok(RolloutResult {
            key: spec.key,
            end: RolloutEnd::Malformed,
            steps: Vec::new(),
            cost: 0.0,
            fault: error.to_string(),
            usage: Usage { rollouts: 1, ..Usage::default() },
        }),
    }
}

/// Sends what must arrive. If the client is gone, the call is about to be dropped anyway.
async fn give<T>(answers: &Answers<T>, message: T) {
    let _ = answers.send(Ok(message)).await;
}

/// Sends what may be lost.
fn offer<T>(answers: &Answers<T>, message: T) {
    let _ = answers.try_send(Ok(message));
}

/// Counts tokens and says at most five times a second how many came.
struct TokenMeter {
    tokens: TokenCounter,
    told: u64,
    ticker: Interval,
}

impl TokenMeter {
    fn start() -> Self {
        let mut ticker = interval_at(Instant::now() + PROGRESS, PROGRESS);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tokens: TokenCounter::default(), told: 0, ticker }
    }

    /// Waits until there is something to tell. Safe to drop at any point.
    async fn next(&mut self) -> wire::GenerateProgress {
        loop {
            self.ticker.tick().await;
            let total = self.tokens.total();
            let tokens = u32::try_from(total - self.told).unwrap_or(u32::MAX);
            if tokens > 0 {
                self.told += u64::from(tokens);
                return wire::GenerateProgress { tokens };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::RecoveryState;
    use countermove_planner::RolloutKey;

    use super::*;

    fn spec() -> RolloutSpec {
        let key = RolloutKey { step: 1, candidate: 2, rollout: 3 };
        RolloutSpec {
            key,
            seed: 7,
            state: RecoveryState::default(),
            history: Vec::new(),
            action: "isolate it".to_owned(),
        }
    }

    #[test]
    fn a_question_at_fault_spoils_one_rollout_and_a_lost_model_ends_the_call() {
        let spoilt = settle(&spec(), Err(ModelError::Refused("too long".to_owned()))).unwrap();
        assert_eq!((spoilt.end, spoilt.key), (RolloutEnd::Malformed, spec().key));
        assert!(spoilt.fault.contains("too long"));
        let error = settle(&spec(), Err(ModelError::Unavailable("stopped".to_owned()))).unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }

    #[tokio::test]
    async fn progress_tells_each_token_once_and_not_too_often() {
        let mut progress = TokenMeter::start();
        progress.tokens.add(3);
        let begun = Instant::now();
        assert_eq!(progress.next().await.tokens, 3);
        assert!(begun.elapsed() >= PROGRESS);
        assert!(
            tokio::time::timeout(PROGRESS * 2, progress.next()).await.is_err(),
            "nothing new, nothing said"
        );
        progress.tokens.add(4);
        assert_eq!(progress.next().await.tokens, 4);
    }
}
