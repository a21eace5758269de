//! Running the programs as a person does: against a cluster ([`Cli`]), and alone ([`Program`]).

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE_SECONDS;
use crate::process::program;

/// A call of `countermove`.
pub struct Cli {
    command: Command,
}

/// What a call left behind.
#[derive(Debug)]
pub struct CliOutput {
    /// Exit code; a death by a signal counts as -1.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Time that it took.
    pub elapsed: Duration,
}

impl Cli {
    /// `countermove ARGUMENTS`, talking to the coordinator at `url`.
    pub fn new<A: AsRef<OsStr>>(url: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::of("countermove", url, arguments)
    }

    /// `countermove-lab ARGUMENTS`, talking to the coordinator at `url`.
    pub fn lab<A: AsRef<OsStr>>(url: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::of("countermove-lab", url, arguments)
    }

    fn of<A: AsRef<OsStr>>(name: &str, url: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(program(name));
        command.env("COUNTERMOVE_COORDINATOR", url).args(arguments);
        Self { command }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The command, for a test that starts it by itself.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end on a thread of its own, so that servers in the test go on answering.
    ///
    /// # Panics
    /// If it does not end, or cannot be started.
    pub async fn run(mut self) -> CliOutput {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            let mut child =
                self.command.spawn().unwrap_or_else(|error| panic!("cannot start countermove: {error}"));
            let stdout = child.stdout.take().map(drain);
            let stderr = child.stderr.take().map(drain);
            let deadline = start + Duration::from_secs(PATIENCE_SECONDS);
            let status = loop {
                match child.try_wait() {
                    Ok(Some(status)) => break Some(status),
                    Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                    _ => break None,
                }
            };
            if status.is_none() {
                child.kill().and_then(|()| child.wait()).ok();
            }
            let text = |reader: Option<thread::JoinHandle<String>>| {
                reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
            };
            let output = CliOutput {
                code: status.and_then(|status| status.code()).unwrap_or(-1),
                stdout: text(stdout),
                stderr: text(stderr),
                elapsed: start.elapsed(),
            };
            assert!(status.is_some(), "countermove still ran after {PATIENCE_SECONDS} s: {output:#?}");
            output
        });
        ended.await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// One of the programs, as nobody has set anything up for it.
#[derive(Clone, Copy, Debug)]
pub struct Program(&'static str);

impl Program {
    /// The program at `path`: `env!("CARGO_BIN_EXE_…")`.
    pub fn new(path: &'static str) -> Self {
        Self(path)
    }

    /// Runs it to its end, with no variable of Countermove in its environment.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COUNTERMOVE_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).output().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.0))
    }

    /// Checks that it fails with this code and one sentence that holds all words.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn refuses(self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?} prints nothing on standard output");
        assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{arguments:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{arguments:?} names {word:?}: {stderr}");
        }
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl CliOutput {
    /// Checks that the call failed as a failure should look to a person: a code above 0, and a message on standard
    /// error that holds every one of `words` and is no panic.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn assert_failure(&self, words: &[&str]) {
        assert!(self.code > 0, "a failure exits with a code above 0: {self:#?}");
        assert!(!self.stderr.contains("panicked"), "a failure is not a panic: {self:#?}");
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(said.contains(&word.to_lowercase()), "the message names {word:?}: {self:#?}");
        }
    }

    /// Checks that the call failed before any planning: as in [`Self::assert_failure`], and with nothing on standard
    /// output.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn assert_refused(&self, words: &[&str]) {
        self.assert_failure(words);
        assert!(self.stdout.trim().is_empty(), "what is refused prints nothing: {self:#?}");
    }

    /// Checks that the call succeeded.
    ///
    /// # Panics
    /// If it did not.
    pub fn assert_success(&self) {
        assert_eq!(self.code, 0, "{self:#?}");
    }

    /// Checks that planning came to an end: of the incident, of the plan before that, or with the finding that there is none.
    ///
    /// # Panics
    /// If it did not.
    pub fn assert_planned(&self) {
        assert!([0, 5, 6].contains(&self.code), "{self:#?}");
    }
}
