//! A stream that is taken up again where it broke off.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use countermove_proto::Error;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{
    WatchIncidentRequest, WatchIncidentResponse, WatchIncidentsRequest, WatchIncidentsResponse,
};
use tonic::{Status, Streaming};

use crate::client::{Coordinator, may_be_gone};

/// Bounds of the pauses before a broken stream is taken up again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What can be followed: a request that is answered by a stream.
pub(crate) trait Followed {
    /// What comes.
    type Message;

    /// Opens the stream, behind what was heard already.
    async fn open(&self, coordinator: &Coordinator) -> Result<Streaming<Self::Message>, Status>;

    /// Takes note of a message, so that it is not told again.
    fn heard(&mut self, message: &Self::Message);
}

/// One that is followed.
#[derive(Debug)]
pub(crate) struct Following<F: Followed> {
    coordinator: Coordinator,
    what: F,
    stream: Option<Streaming<F::Message>>,
    attempts: Option<usize>,
    pauses: ExponentialBackoff,
    /// The pause before the next attempt, after one that failed.
    pause: Option<Duration>,
}

/// What came of listening.
#[derive(Debug)]
pub(crate) enum Heard<M> {
    /// A message.
    Message(M),
    /// A stream that broke was opened again.
    Back,
    /// The stream broke; it is taken up again after the pause.
    Broke {
        /// Why.
        status: Status,
        /// Time until the next attempt.
        pause: Duration,
        /// Whether it was whole before.
        is_first: bool,
    },
}

impl<F: Followed> Following<F> {
    /// Follows, with so many attempts in a row after it broke, or without end.
    pub(crate) fn new(coordinator: Coordinator, what: F, attempts: Option<usize>) -> Self {
        Self { coordinator, what, stream: None, attempts, pauses: pauses(attempts), pause: None }
    }

    /// The next message, or the news that the stream broke. Safe to drop and to call again.
    ///
    /// # Errors
    /// What the server has against it, if that is more than being gone or busy, or what was last in the way if all attempts were made.
    pub(crate) async fn next(&mut self) -> Result<Heard<F::Message>, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                if let Some(pause) = self.pause {
                    tokio::time::sleep(pause).await;
                }
                let stream = match self.what.open(&self.coordinator).await {
                    Ok(stream) => self.stream.insert(stream),
                    Err(status) => return self.broke(status),
                };
                // Whether it lasts shows with its first message; until then attempts count on.
                if self.pause.is_some() {
                    return Ok(Heard::Back);
                }
                stream
            }
        };
        match stream.message().await {
            Ok(Some(message)) => {
                if self.pause.take().is_some() {
                    self.pauses = pauses(self.attempts);
                }
                self.what.heard(&message);
                Ok(Heard::Message(message))
            }
            // Whoever follows leaves at the end; one that comes before was cut, for example by a coordinator that stops.
            Ok(None) => self.broke(Status::unavailable("the coordinator ended the stream before its end")),
            Err(status) => self.broke(status),
        }
    }

    fn broke(&mut self, status: Status) -> Result<Heard<F::Message>, Status> {
        self.stream = None;
        let is_first = self.pause.is_none();
        let may_pass = may_be_gone(&status) || matches!(Error::from(&status), Error::Exhausted { .. });
        self.pause = self.pauses.next().filter(|_| may_pass);
        let Some(pause) = self.pause else { return Err(status) };
        self.coordinator.fail_over();
        Ok(Heard::Broke { status, pause, is_first })
    }
}

impl Followed for WatchIncidentRequest {
    type Message = WatchIncidentResponse;

    async fn open(&self, coordinator: &Coordinator) -> Result<Streaming<Self::Message>, Status> {
        coordinator.incidents().watch_incident(self.clone()).await.map(tonic::Response::into_inner)
    }

    fn heard(&mut self, message: &Self::Message) {
        if let Some(Update::Event(event)) = &message.update {
            self.resume_after = self.resume_after.max(event.sequence);
        }
    }
}

impl Followed for WatchIncidentsRequest {
    type Message = WatchIncidentsResponse;

    async fn open(&self, coordinator: &Coordinator) -> Result<Streaming<Self::Message>, Status> {
        coordinator.incidents().watch_incidents(self.clone()).await.map(tonic::Response::into_inner)
    }

    /// A queue begins anew: what is there is told again, and `Present` says that it was.
    fn heard(&mut self, _: &Self::Message) {}
}

fn pauses(attempts: Option<usize>) -> ExponentialBackoff {
    let pauses = ExponentialBuilder::default().with_min_delay(SHORTEST_PAUSE).with_max_delay(LONGEST_PAUSE);
    match attempts {
        Some(attempts) => pauses.with_max_times(attempts),
        None => pauses.without_max_times(),
    }
    .build()
}
