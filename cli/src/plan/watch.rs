//! Follows an incident to its end. A broken connection is taken up again after the last event that was seen.

use std::time::Instant;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{IncidentEvent, PlanEnded, WatchIncidentRequest};
use indicatif::ProgressBar;

use super::activity::Activity;
use crate::client::Coordinator;
use crate::console::Console;
use crate::failure::Failure;
use crate::following::{Following, Heard};
use crate::render::one_line;

/// How often in a row a broken stream is taken up again.
const ATTEMPTS: usize = 6;

/// An incident that is followed.
#[derive(Debug)]
pub struct Watch {
    coordinator: Coordinator,
    name: String,
    following: Following<WatchIncidentRequest>,
    activity: Activity,
    console: Console,
    bar: ProgressBar,
    quiet: bool,
}

impl Watch {
    /// Follows an incident from its first event.
    pub fn new(coordinator: Coordinator, name: String, console: Console, quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { console.progress() };
        let request = WatchIncidentRequest { name: name.clone(), resume_after: 0 };
        Self {
            following: Following::new(coordinator.clone(), request, Some(ATTEMPTS)),
            coordinator,
            name,
            activity: Activity::new(Instant::now()),
            console,
            bar,
            quiet,
        }
    }

    /// The next event; milestones and progress are shown on the way. Safe to drop and to call again.
    pub async fn next(&mut self) -> Result<IncidentEvent, Failure> {
        loop {
            let heard = self.following.next().await.map_err(|status| self.coordinator.failure(&status))?;
            match heard {
                Heard::Message(message) => match message.update {
                    Some(Update::Event(event)) => {
                        if let Some(line) = self.activity.happened(&event).filter(|_| !self.quiet) {
                            self.console.line(&line);
                        }
                        self.show();
                        return Ok(event);
                    }
                    Some(Update::Progress(progress)) => {
                        self.activity.progressed(progress, Instant::now());
                        self.show();
                    }
                    None => {}
                },
                Heard::Broke { is_first: true, .. } if !self.quiet => {
                    let line = format!("the connection broke; taking {} up again", one_line(&self.name));
                    self.console.line(&line);
                }
                Heard::Broke { .. } | Heard::Back => {}
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

    fn show(&self) {
        if self.console.is_terminal() {
            self.bar.set_message(self.activity.line(Instant::now()));
        }
    }
}
