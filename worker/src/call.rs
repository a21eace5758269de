//! The work behind a call. Dropping one of these futures drops its sequences.
//!
//! Invariant: nothing that must arrive waits for the reader. Its room is set aside before the work begins; signs of life take what
//! is left and are lost when there is none, so whoever reads slowly, or not at all, holds up neither a batch nor a place.

use std::sync::Arc;
use std::time::Duration;

use countermove_planner::{
    Caller, LanguageModel, ModelError, Question, RolloutBatch, RolloutEnd, RolloutKey, RolloutResult,
    RolloutSpec, Simulator, TokenCounter, Usage, run_rollout_for,
};
use countermove_proto::Error;
use countermove_proto::worker::v1 as wire;
use countermove_telemetry::{TRACE, count, part};
use countermove_wire::{FromDomain, IntoMessage, rollout_result_message};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{Instrument, info_span};

use crate::admission::{Admission, Place};
use crate::service::Replica;

/// Time between two messages of progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// A call's way back to its client.
pub(crate) struct Call<T> {
    pub(crate) sender: Answers<T>,
    pub(crate) receiver: mpsc::Receiver<Result<T, Status>>,
    /// Room for the word on how it ended.
    pub(crate) last: Room<T>,
    pub(crate) deadline: Option<Instant>,
}

type Answers<T> = mpsc::Sender<Result<T, Status>>;

/// Room for one answer, which nothing else takes.
pub(crate) type Room<T> = OwnedPermit<Result<T, Status>>;

/// Signs of life that may lie unread.
const SIGNS: usize = 4;

impl<T> Call<T> {
    /// A call with so many answers; also the room for them.
    ///
    /// # Errors
    /// None: there is room in a channel that is new.
    pub(crate) fn new(answers: usize, deadline: Option<Instant>) -> Result<(Self, Vec<Room<T>>), Error> {
        let (sender, receiver) = mpsc::channel(answers + 1 + SIGNS);
        let mut rooms = (0..=answers).map(|_| sender.clone().try_reserve_owned());
        let full = |_| Error::Internal("a new channel has no room".to_owned());
        let last = rooms.next().transpose().map_err(full)?;
        let rooms = rooms.collect::<Result<Vec<_>, _>>().map_err(full)?;
        let last = last.ok_or_else(|| Error::Internal("a new channel has no room".to_owned()))?;
        Ok((Self { sender, receiver, last, deadline }, rooms))
    }
}

/// Answers one question.
pub(crate) async fn generate<M: LanguageModel>(
    replica: Arc<Replica<M>>,
    question: Question,
    answers: Answers<wire::GenerateResponse>,
    room: Room<wire::GenerateResponse>,
    admission: Admission,
) -> Result<(), Error> {
    use wire::generate_response::Event;
    let message = |event| wire::GenerateResponse { event: Some(event), load: Some(admission.load()) };
    let tokens = TokenCounter::default();
    let mut progress = TokenMeter::start(vec![tokens.clone()]);
    let mut asking = std::pin::pin!(replica.model.ask(question, &tokens));
    let answer = loop {
        tokio::select! {
            answer = &mut asking => break answer.map_err(Error::from_domain)?,
            news = progress.next() => {
                progress.told(news, offer(&answers, message(Event::Progress(news))));
            }
        }
    };
    room.send(Ok(message(Event::Answer(answer.into_message()))));
    Ok(())
}

/// What a rollout needs of this worker.
pub(crate) struct Slot {
    /// The right to run. It is free again when the rollout has ended.
    pub(crate) place: Place,
    /// Room for its result.
    pub(crate) room: Room<wire::RunRolloutsResponse>,
    /// Ends when it is wanted no more.
    pub(crate) cancelled: CancellationToken,
}

/// Runs all rollouts of a batch at once, each with its slot, and gives each result when it is there.
pub(crate) async fn run_rollouts<M: LanguageModel>(
    replica: Arc<Replica<M>>,
    batch: RolloutBatch,
    slots: Vec<Slot>,
    answers: Answers<wire::RunRolloutsResponse>,
    admission: Admission,
) -> Result<(), Error> {
    use wire::run_rollouts_response::Event;
    let message = |event| wire::RunRolloutsResponse { event: Some(event), load: Some(admission.load()) };
    let counters: Vec<_> = slots.iter().map(|_| TokenCounter::default()).collect();
    let mut progress = TokenMeter::start(counters.clone());
    let mut running: FuturesUnordered<_> = batch
        .rollouts
        .iter()
        .zip(slots)
        .zip(&counters)
        .map(|((spec, slot), tokens)| {
            let (replica, batch) = (&replica, &batch);
            async move {
                let Slot { place, room, cancelled } = slot;
                let caller = Caller { tokens, cancelled: cancelled.cancelled() };
                let Replica { model, templates, answers, .. } = &**replica;
                let simulator = Simulator { model, templates, answers };
                let RolloutKey { step, candidate, rollout } = spec.key;
                let span = part(|| info_span!(target: TRACE, "rollout", step = count(step), candidate = count(candidate), rollout = count(rollout)));
                let result = run_rollout_for(&simulator, batch, spec, caller).instrument(span).await;
                (spec, place, room, result)
            }
        })
        .collect();
    loop {
        tokio::select! {
            ended = running.next() => {
                let Some((spec, place, room, result)) = ended else { return Ok(()) };
                let result = rollout_result_message(settle(spec, result)?, spec.seed);
                let message = message(Event::Result(result));
                drop(place);
                room.send(Ok(message));
            }
            news = progress.next() => {
                progress.told(news, offer(&answers, message(Event::Progress(news))));
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

/// Sends what may be lost. Gives whether there was room for it.
fn offer<T>(answers: &Answers<T>, message: T) -> bool {
    answers.try_send(Ok(message)).is_ok()
}

/// Says at most five times a second how many tokens came. What could not be told is told the next time.
struct TokenMeter {
    tokens: Vec<TokenCounter>,
    told: u64,
    ticker: Interval,
}

impl TokenMeter {
    fn start(tokens: Vec<TokenCounter>) -> Self {
        let mut ticker = interval_at(Instant::now() + PROGRESS, PROGRESS);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tokens, told: 0, ticker }
    }

    /// Waits until there is something to tell. Safe to drop at any point.
    async fn next(&mut self) -> wire::GenerateProgress {
        loop {
            self.ticker.tick().await;
            let total = self.tokens.iter().map(TokenCounter::total).fold(0, u64::saturating_add);
            let tokens = u32::try_from(total.saturating_sub(self.told)).unwrap_or(u32::MAX);
            if tokens > 0 {
                return wire::GenerateProgress { tokens };
            }
        }
    }

    fn told(&mut self, news: wire::GenerateProgress, was_sent: bool) {
        if was_sent {
            self.told = self.told.saturating_add(news.tokens.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::RecoveryState;
    use countermove_planner::{Answer, Answers, Templates, Weighed};
    use countermove_proto::v1::ModelIdentity;
    use countermove_wire::FromMessage;
    use serde_json::{Value, json};

    use super::*;
    use crate::admission::Admission;

    /// Takes a minute for each answer and shows signs of life all the while.
    struct Slow;

    impl LanguageModel for Slow {
        async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
            for _ in 0..600 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                tokens.add(1);
            }
            let properties = question.format.json_schema.get("properties").cloned().unwrap_or_default();
            let is_state = RecoveryState::NAMES.iter().any(|name| properties.get(*name).is_some());
            let facts = RecoveryState::NAMES.map(|name| (name.to_owned(), json!(true)));
            let json = if is_state {
                Value::Object(facts.into_iter().collect())
            } else {
                json!({"Action": "Isolate 10.0.0.5 from the network."})
            };
            Ok(Answer {
                untuned: false,
                thinking: String::new(),
                json: json.to_string(),
                complete: true,
                options: vec![Weighed { value: json.to_string(), probability: 1.0 }],
                usage: Usage::default(),
            })
        }
    }

    fn slow() -> Arc<Replica<Slow>> {
        let templates = Templates::load(None).unwrap();
        let identity = ModelIdentity::default();
        let answers = Answers::default();
        Arc::new(Replica { model: Slow, templates, identity, context_length: 2048, answers })
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_holds_up_neither_the_batch_nor_a_place() {
        const COUNT: usize = 6;
        let all_but_recovered = countermove_proto::v1::RecoveryState {
            is_attack_contained: true,
            is_knowledge_sufficient: true,
            are_forensics_preserved: true,
            is_eradicated: true,
            is_hardened: true,
            is_recovered: false,
        };
        let batch = RolloutBatch::from_message(wire::RunRolloutsRequest {
            incident: "incidents/test".to_owned(),
            system: "You respond to incidents.".to_owned(),
            context: vec!["A server at 10.0.0.5.".to_owned()],
            policy: Some(wire::RolloutPolicy {
                max_depth: 2,
                temperature: 0.6,
                top_p: 0.9,
                thinking_tokens: 0,
            }),
            rollouts: (0..COUNT as u32)
                .map(|rollout| wire::RolloutSpec {
                    key: Some(wire::RolloutKey { step: 1, candidate: 0, rollout, seed: u64::from(rollout) }),
                    state: Some(all_but_recovered),
                    history: Vec::new(),
                    action: format!("Restore the server from its backup {rollout}."),
                    common_seed: 0,
                })
                .collect(),
            ..wire::RunRolloutsRequest::default()
        })
        .unwrap();
        let admission = Admission::new(2, COUNT);
        let places = admission.rollouts(COUNT).unwrap();
        let (call, rooms) = Call::new(COUNT, None).unwrap();
        let Call { sender, mut receiver, last, .. } = call;
        let cancelled = CancellationToken::new();
        let slot = |(place, room)| Slot { place, room, cancelled: cancelled.clone() };
        let slots = places.into_iter().zip(rooms).map(slot).collect();
        let work = run_rollouts(slow(), batch, slots, sender, admission.clone());
        tokio::time::timeout(Duration::from_secs(3600), work).await.expect("it waits for a reader").unwrap();
        assert!(admission.rollouts(COUNT).is_ok(), "every place is free");
        last.send(Err(Status::cancelled("the end")));
        let (mut results, mut signs, mut ends) = (0, 0, 0);
        while let Ok(message) = receiver.try_recv() {
            match message.map(|message| message.event) {
                Ok(Some(wire::run_rollouts_response::Event::Result(_))) => results += 1,
                Ok(_) => signs += 1,
                Err(_) => ends += 1,
            }
        }
        assert_eq!((results, signs, ends), (COUNT, SIGNS, 1));

        // An answer to a question has its room as well.
        let question = Question::from_message(wire::GenerateRequest {
            tenant: String::new(),
            system: "You respond to incidents.".to_owned(),
            segments: vec!["What now?".to_owned()],
            answer: Some(wire::AnswerFormat {
                thinking_tokens: 0,
                json_schema: r#"{"type": "object"}"#.to_owned(),
                max_tokens: 64,
                weigh_options: false,
            }),
            sampling: Some(wire::Sampling { temperature: 0.0, top_p: 1.0, seed: 1 }),
        })
        .unwrap();
        let (call, mut rooms) = Call::new(1, None).unwrap();
        let work = generate(slow(), question, call.sender, rooms.pop().unwrap(), admission);
        tokio::time::timeout(Duration::from_secs(3600), work).await.expect("it waits for a reader").unwrap();
    }

    fn spec() -> RolloutSpec {
        let key = RolloutKey { step: 1, candidate: 2, rollout: 3 };
        RolloutSpec {
            key,
            seed: 7,
            common_seed: 8,
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
        let tokens = [TokenCounter::default(), TokenCounter::default()];
        let mut progress = TokenMeter::start(tokens.to_vec());
        tokens[0].add(1);
        tokens[1].add(2);
        let begun = Instant::now();
        let news = progress.next().await;
        assert_eq!(news.tokens, 3);
        progress.told(news, false);
        let news = progress.next().await;
        assert_eq!(news.tokens, 3, "it could not be told");
        progress.told(news, true);
        assert!(begun.elapsed() >= PROGRESS);
        assert!(
            tokio::time::timeout(PROGRESS * 2, progress.next()).await.is_err(),
            "nothing new, nothing said"
        );
        tokens[0].add(4);
        assert_eq!(progress.next().await.tokens, 4);
    }
}
