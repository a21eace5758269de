//! `countermove incidents report-alerts`: sends alerts to an incident that goes on, from a file or as they are written.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use countermove_incident::{Decoded, LogError};
use countermove_proto::v1::{DigestReport, ReportAlertsRequest};
use countermove_proto::{Condition, Error};

use crate::client::{Coordinator, bounded, may_be_gone, request_id};
use crate::console::Console;
use crate::evidence;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::render::{count, one_line};
use crate::tail::{Pending, Tail};

/// Longest pause between attempts to reach a coordinator.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Time without anything to send after which it is said.
const QUIET: Duration = Duration::from_secs(10);

/// Sends what these logs hold, once, record by whole record.
pub(crate) async fn files(
    coordinator: &Coordinator,
    name: &str,
    files: &[PathBuf],
    console: &Console,
) -> Result<Exit, Failure> {
    let (inputs, notes) = evidence::find(files)?;
    for note in notes {
        console.line(&note);
    }
    let mut is_empty = true;
    for input in &inputs {
        let mut text = match Decoded::new(input.open()?) {
            Ok(text) => text,
            Err(LogError::Io(error)) => return Err(input.unreadable(&error)),
            Err(error) if input.is_named() => {
                return Err(Failure::Input(format!("{}: {error}", input.name())));
            }
            Err(error) => {
                console.line(&format!("{} was left out: {error}", input.name()));
                continue;
            }
        };
        let mut pending = Pending::default();
        let mut is_over = false;
        while !is_over {
            let (room, read) = pending.fill(&mut text).map_err(|error| input.unreadable(&error))?;
            is_over = read < room;
            if is_over {
                pending.end();
            }
            if let Some(alerts) = pending.records() {
                is_empty = false;
                console.line(&reads_now(&send(coordinator, name, alerts).await?));
            }
        }
        if let Some(why) = text.broken() {
            console.line(&format!("the end of {} is missing: {why}", input.name()));
        }
    }
    match inputs.as_slice() {
        _ if !is_empty => Ok(Exit::Success),
        [input] => Err(Failure::Input(format!("{} is empty", input.name()))),
        many => Err(Failure::Input(format!("none of the {} logs holds a record", many.len()))),
    }
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
    let path = one_line(&follow.path.display().to_string());
    if !follow.path.exists() {
        console.line(&format!("{path} is not there yet; it is read as soon as it is"));
    }
    // Silence is told once, until something was sent again.
    let mut quiet_since = Some(Instant::now());
    loop {
        // Reading is bounded, so that it keeps nobody waiting.
        while let Some(alerts) = tail.read().map_err(|error| Failure::unreadable(follow.path, &error))? {
            let sent = tokio::select! {
                sent = send_for_sure(coordinator, name, alerts, console) => sent?,
                () = interrupt.wait() => return Ok(Exit::Interrupted),
            };
            quiet_since = Some(Instant::now());
            match sent {
                Some(digest) => console.line(&reads_now(&digest)),
                None => {
                    console.line("planning has ended");
                    return Ok(Exit::Success);
                }
            }
        }
        if quiet_since.is_some_and(|since| since.elapsed() >= QUIET) {
            quiet_since = None;
            console.line(&nothing_to_send(&path, tail.waiting()));
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
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .build();
    loop {
        let answer = coordinator.incidents().report_alerts(bounded(request.clone())).await;
        let status = match answer {
            Ok(answer) => return Ok(Some(answer.into_inner().digest.unwrap_or_default())),
            Err(status) => status,
        };
        match Error::from(&status) {
            Error::Precondition { condition: Condition::Status, .. } => return Ok(None),
            error if error.is_retryable() => {
                if may_be_gone(&status) {
                    coordinator.fail_over();
                }
                console.line(&format!("{}; trying again", coordinator.failure(&status)));
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
            _ => return Err(coordinator.failure(&status)),
        }
    }
}

async fn send(coordinator: &Coordinator, name: &str, alerts: String) -> Result<DigestReport, Failure> {
    let answer = coordinator
        .call(request(name, alerts), async |request| coordinator.incidents().report_alerts(request).await);
    Ok(answer.await?.digest.unwrap_or_default())
}

fn request(name: &str, alerts: String) -> ReportAlertsRequest {
    ReportAlertsRequest { name: name.to_owned(), alerts, request_id: request_id(), validate_only: false }
}

/// Why nothing is sent.
fn nothing_to_send(path: &str, waiting: usize) -> String {
    match waiting as u64 {
        0 => format!("nothing new is in {path}; it is still followed"),
        waiting => format!(
            "nothing to send yet: the last {} of {path} are no whole record; they wait for the end of the line, or the empty \
             line behind an alert of several lines",
            count(waiting, "byte")
        ),
    }
}

fn reads_now(digest: &DigestReport) -> String {
    format!("the log now holds {} in {}", count(digest.records, "record"), count(digest.groups, "group"))
}
