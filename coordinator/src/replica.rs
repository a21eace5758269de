//! A replica of the model for this coordinator's own questions: a worker process beside it, on the loopback interface.
//!
//! Perception and candidates are what the rest of a plan waits for; in a replica of their own they share a batch with no
//! rollout. Contract: it gets questions and nothing else. It never outlives this process: it runs with
//! `--exit-with-parent`, so it ends when the pipe to its standard input closes, however this process ends. When it dies it
//! is started again, with growing waits; meanwhile the other workers answer.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use countermove_membership::Backoff;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::discovery::WorkerUrl;
use crate::workers::Fleet;

const PROGRAM: &str = "countermove-worker";
/// Time that it has to load its model.
const LOADING: Duration = Duration::from_secs(600);
/// Time that it has to end.
const CLOSING: Duration = Duration::from_secs(5);
/// Waits between two starts.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(30) };
/// Settings of workers in the environment that are not for this one: nobody else may find it.
/// It listens on this machine alone, in plain text.
const NOT_INHERITED: [&str; 11] = [
    "COUNTERMOVE_WORKER_CONFIG",
    "COUNTERMOVE_WORKER_ADVERTISE",
    "COUNTERMOVE_WORKER_METRICS_LISTEN",
    "COUNTERMOVE_ETCD",
    "COUNTERMOVE_CPU_PART",
    "COUNTERMOVE_MODEL",
    "COUNTERMOVE_ADAPTER",
    "COUNTERMOVE_TLS_CERT",
    "COUNTERMOVE_TLS_KEY",
    "COUNTERMOVE_TLS_CA",
    "COUNTERMOVE_INSECURE",
];

/// How the process is started.
#[derive(Clone, Debug)]
pub struct Replica {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Replica {
    /// A worker with these arguments. `--listen` and `--exit-with-parent` are added.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments }
    }

    /// Finds the worker's program beside this one or in PATH; `None` if it is in neither.
    pub fn find(arguments: Vec<OsString>) -> Option<Self> {
        let here = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_path_buf));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places =
            here.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join(PROGRAM));
        places.find(|file| file.is_file()).map(|program| Self::new(program, arguments))
    }

    /// Keeps the process running and its address known to the fleet, until `stop`.
    pub async fn keep(self, fleet: Fleet, stop: CancellationToken) {
        let mut failures: u32 = 0;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let reason = self.live(&fleet, &stop).await;
            if stop.is_cancelled() {
                return;
            }
            tracing::warn!(reason, "the coordinator's own replica ended and is started again");
            failures = if begun.elapsed() > BACKOFF.most { 1 } else { failures + 1 };
            tokio::select! {
                () = tokio::time::sleep(BACKOFF.wait(failures - 1)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One life of the process; says why it ended.
    async fn live(&self, fleet: &Fleet, stop: &CancellationToken) -> String {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args(["--listen", "127.0.0.1:0", "--exit-with-parent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C at the terminal reaches the coordinator alone, which then decides who ends when.
            .process_group(0)
            .kill_on_drop(true);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => return format!("{} cannot be started: {error}", self.program.display()),
        };
        let input = process.stdin.take();
        let Some(output) = process.stdout.take() else { return "it has no standard output".to_owned() };
        // Kept to the end: a process whose output nobody holds fails when it writes.
        let mut lines = BufReader::new(output).lines();
        let line = tokio::select! {
            line = timeout(LOADING, lines.next_line()) => line,
            () = stop.cancelled() => return "the coordinator stops".to_owned(),
        };
        let line = match line {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None) | Err(_)) => return "it ended before it was ready".to_owned(),
            Err(_) => return format!("it was not ready within {} s", LOADING.as_secs()),
        };
        let Some(url) = url(&line) else { return format!("it does not say where it listens: {line}") };
        tracing::info!(address = %url, "the coordinator's own replica is up");
        let _attached = fleet.attach(url);
        tokio::select! {
            status = process.wait() => match status {
                Ok(status) => status.to_string(),
                Err(error) => format!("it was lost: {error}"),
            },
            () = stop.cancelled() => {
                drop(input);
                // If it does not end in time it is killed as `process` is dropped.
                let _ = timeout(CLOSING, process.wait()).await;
                "the coordinator stops".to_owned()
            }
        }
    }
}

/// The address in the line that a worker prints when it takes calls.
fn url(line: &str) -> Option<WorkerUrl> {
    let address: SocketAddr = line.strip_prefix("listening on ")?.trim().parse().ok()?;
    format!("http://{address}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_one_line() {
        assert_eq!(url("listening on 127.0.0.1:4711").unwrap().as_str(), "http://127.0.0.1:4711");
        assert_eq!(url("listening on somewhere"), None);
        assert_eq!(url("127.0.0.1:4711"), None);
    }
}
