//! A process of the cluster.
//!
//! Invariant: it never outlives this process. It runs with `--exit-with-parent`, so it ends when the pipe to its
//! standard input closes, however this process ends. Closing that pipe is also how it is asked to drain.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countermove_incident::printable;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};

use crate::console::Console;
use crate::failure::Failure;

/// Last lines of the log that are kept to explain a death.
const TAIL: usize = 20;

/// Settings of servers in the environment that are not for these: one machine's cluster is by itself, in plain text.
const NOT_INHERITED: [&str; 5] = [
    "COUNTERMOVE_TLS_CERT",
    "COUNTERMOVE_TLS_KEY",
    "COUNTERMOVE_TLS_CA",
    "COUNTERMOVE_AUTH",
    "COUNTERMOVE_INSECURE",
];

/// A running process.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    stdin: Option<ChildStdin>,
    address: Option<oneshot::Receiver<SocketAddr>>,
    status: watch::Receiver<Option<String>>,
    kill: mpsc::Sender<()>,
    tail: Tail,
}

/// What a process ended with that was not asked to.
#[derive(Debug)]
pub(super) struct Death {
    /// Name of the process.
    pub(super) name: String,
    /// How it ended.
    pub(super) how: String,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

impl Child {
    /// Starts a program. Its log goes to the console behind its name; its end goes to `deaths` as well.
    pub(super) fn start(
        name: &str,
        program: &Path,
        arguments: &[OsString],
        log_filter: Option<&str>,
        console: &Console,
        deaths: mpsc::Sender<Death>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at the terminal reaches this process alone, which then decides who ends when.
            .process_group(0)
            .kill_on_drop(true);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        if let Some(filter) = log_filter {
            command.env("RUST_LOG", filter);
        }
        let mut process = command
            .spawn()
            .map_err(|error| Failure::Failed(format!("{} cannot be started: {error}", program.display())))?;
        let stdin = process.stdin.take();
        let tail = Tail::default();
        let (tell, address) = oneshot::channel();
        let reading = [
            process.stdout.take().map(|stdout| tokio::spawn(find_address(stdout, tell))),
            process.stderr.take().map(|stderr| {
                tokio::spawn(forward(stderr, format!("[{name}]"), console.clone(), Arc::clone(&tail)))
            }),
        ];
        let (kill, mut killed) = mpsc::channel(1);
        let (set_status, status) = watch::channel(None);
        let name = name.to_owned();
        tokio::spawn({
            let name = name.clone();
            async move {
                let status = tokio::select! {
                    status = process.wait() => status,
                    Some(()) = killed.recv() => {
                        // It may have ended in the same moment, which is as good.
                        let _ = process.start_kill();
                        process.wait().await
                    }
                };
                for task in reading.into_iter().flatten() {
                    // What it said last explains its end; a grandchild may hold the pipe open.
                    let _ = tokio::time::timeout(Duration::from_secs(1), task).await;
                }
                let how = status.map_or_else(|error| format!("was lost: {error}"), describe);
                set_status.send_replace(Some(how.clone()));
                // Nobody listens any more once everything is being stopped.
                let _ = deaths.send(Death { name, how }).await;
            }
        });
        Ok(Self { name, stdin, address: Some(address), status, kill, tail })
    }

    /// Waits for the line that tells where it listens.
    pub(super) async fn ready(&mut self, timeout: Duration) -> Result<SocketAddr, Failure> {
        let Some(address) = self.address.take() else {
            return Err(Failure::Failed(format!("{} was asked for its address twice", self.name)));
        };
        match tokio::time::timeout(timeout, address).await {
            Ok(Ok(address)) => Ok(address),
            Ok(Err(_)) => {
                let how = self.ended().await;
                Err(Failure::Failed(format!("{} {how} before it was ready{}", self.name, self.last_words())))
            }
            Err(_) => Err(Failure::Failed(format!(
                "{} was not ready within {} s{}",
                self.name,
                timeout.as_secs(),
                self.last_words()
            ))),
        }
    }

    /// Asks it to finish its work and end; kills it if it has not after `timeout`.
    pub(super) async fn stop(&mut self, timeout: Duration) -> bool {
        self.stdin = None;
        if tokio::time::timeout(timeout, self.ended()).await.is_ok() {
            return true;
        }
        // A full channel means that it is being killed already.
        let _ = self.kill.try_send(());
        self.ended().await;
        false
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    async fn ended(&mut self) -> String {
        match self.status.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "ended".to_owned(),
        }
    }

    /// The last error that it wrote, else its last line.
    fn last_words(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let line = tail.iter().rev().find(|line| line.starts_with("error:")).or(tail.back());
        line.map_or_else(String::new, |line| format!(": {}", line.trim_start_matches("error: ")))
    }
}

/// Looks for `listening on ADDR` and reads the rest away, so that the process never blocks on a full pipe.
async fn find_address(stdout: impl AsyncRead + Unpin, tell: oneshot::Sender<SocketAddr>) {
    let mut tell = Some(tell);
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let address = line.strip_prefix("listening on ").and_then(|address| address.trim().parse().ok());
        if let (Some(address), Some(tell)) = (address, tell.take_if(|_| address.is_some())) {
            // If nobody waits any more, nobody needs the address.
            let _ = tell.send(address);
        }
    }
}

async fn forward(stderr: impl AsyncRead + Unpin, prefix: String, console: Console, tail: Tail) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = printable(&line).into_owned();
        console.line(&format!("{prefix} {line}"));
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that runs `script`, with its arguments ignored.
    fn shell(script: &str) -> (Child, mpsc::Receiver<Death>) {
        let (sender, deaths) = mpsc::channel(1);
        let arguments = ["-c".into(), script.into()];
        let child = Child::start("worker 1", Path::new("/bin/sh"), &arguments, None, &Console::new(), sender)
            .unwrap();
        (child, deaths)
    }

    #[tokio::test]
    async fn a_child_tells_its_address_and_ends_with_its_standard_input() {
        let (mut child, mut deaths) =
            shell("echo hello; echo listening on 127.0.0.1:4321; read line; exit 0");
        assert_eq!(child.ready(Duration::from_secs(10)).await.unwrap(), "127.0.0.1:4321".parse().unwrap());
        assert!(child.stop(Duration::from_secs(10)).await, "it had not to be killed");
        assert_eq!(deaths.recv().await.unwrap().how, "ended with exit code 0");
    }

    #[tokio::test]
    async fn a_death_before_the_address_is_explained_in_the_childs_own_words() {
        let (mut child, _deaths) = shell("echo 'error: no such model' >&2; echo more >&2; exit 3");
        let failure = child.ready(Duration::from_secs(10)).await.unwrap_err().to_string();
        assert_eq!(failure, "worker 1 ended with exit code 3 before it was ready: no such model");
    }

    #[tokio::test]
    async fn a_child_that_does_not_listen_is_killed() {
        let (mut child, mut deaths) = shell("trap '' TERM; sleep 60 <&-; sleep 60");
        assert!(child.ready(Duration::from_millis(50)).await.is_err());
        assert!(!child.stop(Duration::from_millis(100)).await);
        assert_eq!(deaths.recv().await.unwrap().how, "was ended by signal 9");
    }
}
