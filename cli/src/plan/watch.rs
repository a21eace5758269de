//! Follows an incident to its end. A broken connection is taken up again after the last event that was seen.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{IncidentEvent, PlanEnded, WatchIncidentRequest, WatchIncidentResponse};
use indicatif::ProgressBar;
use tonic::Streaming;

use super::activity::Activity;
use crate::client::{Coordinator, may_be_gone};
use crate::console::Console;
use crate::failure::Failure;
use crate::render::one_line;

/// How often in a row a broken stream is taken up again, and the bounds of the pauses before.
const ATTEMPTS: usize = 6;
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// An incident that is followed.
#[derive(Debug)]
pub struct Watch {
    coordinator: Coordinator,
    name: String,
    stream: Option<Streaming<WatchIncidentResponse>>,
    last_sequence: u64,
    pauses: ExponentialBackoff,
    /// The pause before the next attempt, after one that failed.
    pause: Option<Duration>,
    activity: Activity,
    console: Console,
    bar: ProgressBar,
    quiet: bool,
}

impl Watch {
    /// Follows an incident from its first event.
    pub fn new(coordinator: Coordinator, name: String, console: Console, quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { console.progress() };
        Self {
            coordinator,
            name,
            stream: None,
            last_sequence: 0,
            pauses: pauses(),
            pause: None,
            activity: Activity::new(Instant::now()),
            console,
            bar,
            quiet,
        }
    }

    /// The next event; milestones and progress are shown on the way. Safe to drop and to call again.
    pub async fn next(&mut self) -> Result<IncidentEvent, Failure> {
        loop {
            match self.receive().await {
                Ok(Some(Update::Event(event))) => {
                    self.is_back();
                    self.last_sequence = self.last_sequence.max(event.sequence);
                    if let Some(line) = self.activity.happened(&event).filter(|_| !self.quiet) {
                        self.console.line(&line);
                    }
                    self.show();
                    return Ok(event);
                }
                Ok(Some(Update::Progress(progress))) => {
                    self.is_back();
                    self.activity.progressed(progress, Instant::now());
                    self.show();
                }
                Ok(None) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Waits for the last event.
    pub(crate) async fn end(&mut self) -> Result<PlanEnded, Failure> {
        loop {
            if let Some(Kind::Ended(ended)) = self.next().await?.kind {
                return Ok(ended);
            }
        }
    }

    /// Name of the incident.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Steps decided so far.
    pub(crate) fn steps(&self) -> usize {
        self.activity.steps()
    }

    /// Takes the line of progress away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The line of progress gives way while `work` uses the terminal.
    pub(crate) fn pause(&self) {
        self.bar.disable_steady_tick();
        self.bar.set_message("");
        self.bar.finish_and_clear();
    }

    /// The line of progress comes back.
    pub(crate) fn resume(&mut self) {
        if !self.quiet {
            self.bar = self.console.progress();
        }
    }

    async fn receive(&mut self) -> Result<Option<Update>, Failure> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                if let Some(pause) = self.pause {
                    tokio::time::sleep(pause).await;
                }
                let request =
                    WatchIncidentRequest { name: self.name.clone(), resume_after: self.last_sequence };
                match self.coordinator.incidents().watch_incident(request).await {
                    Ok(response) => self.stream.insert(response.into_inner()),
                    Err(status) => return self.broke(&status),
                }
            }
        };
        match stream.message().await {
            Ok(Some(message)) => Ok(message.update),
            // A stream that ends before the last event was cut, for example by a coordinator that stops.
            Ok(None) => self
                .broke(&tonic::Status::unavailable("the coordinator ended the stream before the plan ended")),
            Err(status) => self.broke(&status),
        }
    }

    /// A stream that broke is taken up again, unless the server had a reason of its own or it breaks too often.
    fn broke(&mut self, status: &tonic::Status) -> Result<Option<Update>, Failure> {
        self.stream = None;
        let is_first = self.pause.is_none();
        self.pause = self.pauses.next().filter(|_| may_be_gone(status));
        if self.pause.is_none() {
            return Err(self.coordinator.failure(status));
        }
        self.coordinator.fail_over();
        if is_first && !self.quiet {
            self.console.line(&format!("the connection broke; taking {} up again", one_line(&self.name)));
        }
        Ok(None)
    }

    fn is_back(&mut self) {
        if self.pause.take().is_some() {
            self.pauses = pauses();
        }
    }

    fn show(&self) {
        if self.console.is_terminal() {
            self.bar.set_message(self.activity.line(Instant::now()));
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(SHORTEST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(ATTEMPTS)
        .build()
}
