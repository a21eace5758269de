//! `countermove incidents report-alerts`: sends alerts to an incident that goes on, from a file or as they are written.

use std::path::Path;
use std::time::Duration;

use countermove_proto::v1::{DigestReport, ReportAlertsRequest};
use countermove_proto::{Condition, Error};

use crate::client::{Coordinator, bounded, request_id};
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::render::count;
use crate::tail::Tail;

/// Most pauses between attempts to reach a coordinator, and how long the longest is.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Sends what the file holds, once.
pub(crate) async fn file(
    coordinator: &Coordinator,
    name: &str,
    path: &Path,
    console: &Console,
) -> Result<Exit, Failure> {
    let unreadable = |error: &std::io::Error| Failure::unreadable(path, error);
    std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    let mut tail = Tail::new(path, true);
    let mut any = false;
    while let Some(alerts) = tail.rest().map_err(|error| unreadable(&error))? {
        any = true;
        let digest = send(coordinator, name, alerts).await?;
        console.line(&reads_now(&digest));
    }
    if any { Ok(Exit::Success) } else { Err(Failure::Input(format!("{} is empty", path.display()))) }
}

/// What is followed, and how.
pub(crate) struct Follow<'a> {
    pub(crate) path: &'a Path,
    /// Send also what the log holds already.
    pub(crate) from_start: bool,
    /// How often the log is looked at.
    pub(crate) every: Duration,
}

/// Sends what is appended to the log, until the incident's planning has ended or the user interrupts.
pub(crate) async fn follow(
    coordinator: &Coordinator,
    name: &str,
    follow: Follow<'_>,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let mut tail = Tail::new(follow.path, follow.from_start);
    if !follow.path.exists() {
        console.line(&format!("{} is not there yet; it is read as soon as it is", follow.path.display()));
    }
    loop {
        // Reading is bounded, so that it keeps nobody waiting.
        while let Some(alerts) = tail.read().map_err(|error| Failure::unreadable(follow.path, &error))? {
            let sent = tokio::select! {
                sent = send_for_sure(coordinator, name, alerts, console) => sent?,
                () = interrupt.wait() => return Ok(Exit::Interrupted),
            };
            match sent {
                Some(digest) => console.line(&reads_now(&digest)),
                None => {
                    console.line("planning has ended");
                    return Ok(Exit::Success);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(follow.every) => {}
            () = interrupt.wait() => return Ok(Exit::Interrupted),
        }
    }
}

/// Sends alerts, and again under the same id while the coordinator cannot be reached or asks for patience. `None`: planning
/// has ended.
async fn send_for_sure(
    coordinator: &Coordinator,
    name: &str,
    alerts: String,
    console: &Console,
) -> Result<Option<DigestReport>, Failure> {
    let request = request(name, alerts);
    let mut pause = Duration::from_millis(500);
    loop {
        let answer = coordinator.incidents().report_alerts(bounded(request.clone())).await;
        let status = match answer {
            Ok(answer) => return Ok(Some(answer.into_inner().digest.unwrap_or_default())),
            Err(status) => status,
        };
        match Error::from(&status) {
            Error::Precondition { condition: Condition::Status, .. } => return Ok(None),
            Error::Transport(_) | Error::Unavailable { .. } | Error::Exhausted { .. } => {
                console.line(&format!("{}; trying again", coordinator.failure(&status)));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            _ => return Err(coordinator.failure(&status)),
        }
    }
}

async fn send(coordinator: &Coordinator, name: &str, alerts: String) -> Result<DigestReport, Failure> {
    let answer = coordinator.incidents().report_alerts(bounded(request(name, alerts))).await;
    Ok(answer.map_err(|status| coordinator.failure(&status))?.into_inner().digest.unwrap_or_default())
}

fn request(name: &str, alerts: String) -> ReportAlertsRequest {
    ReportAlertsRequest { name: name.to_owned(), alerts, request_id: request_id(), validate_only: false }
}

fn reads_now(digest: &DigestReport) -> String {
    format!("the log now holds {} in {}", count(digest.records, "record"), count(digest.groups, "group"))
}
