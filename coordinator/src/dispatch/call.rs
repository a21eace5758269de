//! Single calls to a worker, each bounded in time, in silence and by the contact over which it runs.

use std::collections::HashSet;
use std::time::Duration;

use countermove_planner::{Answer, RolloutEnd, RolloutKey, RolloutResult, TokenCounter};
use countermove_proto::Error;
use countermove_proto::worker::v1 as wire;
use countermove_proto::worker::v1::worker_service_client::WorkerServiceClient;
use countermove_telemetry::inject;
use countermove_wire::FromMessage;
use countermove_wire::bounds::ResultBounds;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::queue::Grant;
use crate::workers::Lease;

/// Time that a worker has to take note of a rollout that is cancelled.
const CANCELLING: Duration = Duration::from_secs(10);

/// Asks one question.
pub(super) async fn generate(
    grant: &mut Grant,
    request: wire::GenerateRequest,
    time: Duration,
    silence: Duration,
    tokens: &TokenCounter,
) -> Result<Answer, Error> {
    use wire::generate_response::Event;
    let mut client = WorkerServiceClient::new(grant.lease().channel());
    let opening = async { client.generate(bounded(request, time)).await };
    let mut stream = while_heard(grant.lease(), silence, opening).await?.into_inner();
    loop {
        let Some(message) = next(grant.lease(), silence, &mut stream).await? else {
            return Err(Error::Internal("the worker ended the call without an answer".to_owned()));
        };
        grant.lease().told(message.load.as_ref());
        match message.event {
            Some(Event::Progress(news)) => count(grant, tokens, news.tokens),
            Some(Event::Answer(answer)) => return read(grant.lease(), answer),
            // An event of a later version of the protocol.
            None => {}
        }
    }
}

/// A call that runs rollouts.
#[derive(Debug)]
pub(super) struct Rollouts {
    stream: Streaming<wire::RunRolloutsResponse>,
    rules: Rules,
    /// Those that have not ended.
    running: HashSet<RolloutKey>,
}

/// How a call that runs rollouts is followed.
#[derive(Debug)]
pub(super) struct Rules {
    /// Longest silence.
    pub(super) silence: Duration,
    /// Counts each token once, as soon as it is known of.
    pub(super) tokens: TokenCounter,
    /// What results may be.
    pub(super) bounds: ResultBounds,
}

impl Rollouts {
    /// Hands these rollouts over. Nothing is sent before the first poll.
    pub(super) async fn open(
        grant: &Grant,
        request: wire::RunRolloutsRequest,
        running: HashSet<RolloutKey>,
        time: Duration,
        rules: Rules,
    ) -> Result<Self, Error> {
        let mut client = WorkerServiceClient::new(grant.lease().channel());
        let opening = async { client.run_rollouts(bounded(request, time)).await };
        let stream = while_heard(grant.lease(), rules.silence, opening).await?.into_inner();
        Ok(Self { stream, rules, running })
    }

    /// The next result, each once; `None` when the worker has ended the call.
    pub(super) async fn next(&mut self, grant: &mut Grant) -> Result<Option<RolloutResult>, Error> {
        use wire::run_rollouts_response::Event;
        loop {
            let Some(message) = next(grant.lease(), self.rules.silence, &mut self.stream).await? else {
                return Ok(None);
            };
            grant.lease().told(message.load.as_ref());
            match message.event {
                Some(Event::Progress(news)) => count(grant, &self.rules.tokens, news.tokens),
                Some(Event::Result(result)) => {
                    let result: RolloutResult = read(grant.lease(), result)?;
                    let bounds = self.rules.bounds.check(&result);
                    bounds.map_err(|error| at_fault(grant.lease(), error))?;
                    // A result that nobody asked this call for, or that came already.
                    if !self.running.remove(&result.key) {
                        continue;
                    }
                    self.rules.tokens.add(match result.end {
                        RolloutEnd::Cancelled => grant.cancelled(&result.usage),
                        _ => grant.finished(&result.usage),
                    });
                    return Ok(Some(result));
                }
                None => {}
            }
        }
    }
}

/// Has a worker break off one rollout of a call that goes on. Should that fail, it runs to its end for nobody.
pub(super) async fn cancel_rollout(channel: Channel, request: wire::CancelRolloutsRequest) {
    let mut client = WorkerServiceClient::new(channel);
    let answer = client.cancel_rollouts(bounded(request, CANCELLING));
    match timeout(CANCELLING, answer).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a rollout could not be cancelled"),
        Err(_) => tracing::debug!("nobody answered that a rollout is cancelled"),
    }
}

fn read<M, T: FromMessage<M>>(lease: &Lease, message: M) -> Result<T, Error> {
    T::from_message(message).map_err(|error| at_fault(lease, error))
}

/// A worker that sends what cannot be is at fault, not the question, and is not believed any more.
fn at_fault(lease: &Lease, error: Error) -> Error {
    lease.distrust(&format!("it sent an answer that cannot be: {error}"));
    Error::Internal(format!("the worker's answer cannot be: {error}"))
}

fn bounded<T>(message: T, time: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    inject(request.metadata_mut());
    request
}

async fn next<T>(lease: &Lease, silence: Duration, stream: &mut Streaming<T>) -> Result<Option<T>, Error> {
    while_heard(lease, silence, stream.message()).await
}

/// Waits for the worker, as long as there is contact and it has not been silent for too long.
async fn while_heard<T>(
    lease: &Lease,
    silence: Duration,
    answer: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        answer = timeout(silence, answer) => match answer {
            Ok(answer) => answer.map_err(Error::from),
            Err(_) => Err(Error::Transport(format!("it said nothing for {silence:.0?}"))),
        },
        () = lease.lost() => Err(Error::Transport("contact with it was lost".to_owned())),
    }
}

fn count(grant: &mut Grant, tokens: &TokenCounter, news: u32) {
    tokens.add(grant.count_tokens(news.into()));
}
