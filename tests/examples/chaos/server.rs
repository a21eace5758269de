//! A server of the cluster: a process that is started again as often as it takes, as an init system does.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use countermove_tests::{Host, Process, Signal, program};

/// Time that a process has to come up.
pub(crate) const START: Duration = Duration::from_secs(60);
/// Time that a worker has to end whose engine has died: a second, and more on a machine that is busy with all this.
const ENGINE: Duration = Duration::from_secs(3);
/// Time between two starts of one that does not come up, such as a coordinator without its database.
const AGAIN: Duration = Duration::from_millis(500);

/// A process at an address of its own, which it keeps when it is started again.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) host: Host,
    program: PathBuf,
    arguments: Vec<String>,
    /// Variables of its environment.
    environment: Vec<(String, String)>,
    process: Option<Process>,
    /// It says that it listens.
    pub(crate) is_up: bool,
    /// When it is started again.
    next_start: Option<Instant>,
}

impl Server {
    pub(crate) fn new(name: String, host: Host, program_name: &str, arguments: Vec<String>) -> Self {
        Self::of(name, host, program(program_name), arguments)
    }

    /// One of this program.
    pub(crate) fn of(name: String, host: Host, program: PathBuf, arguments: Vec<String>) -> Self {
        let log = std::env::var("CHAOS_LOG").unwrap_or_else(|_| "warn".to_owned());
        Self {
            name,
            host,
            program,
            arguments,
            environment: vec![("RUST_LOG".to_owned(), log)],
            process: None,
            is_up: false,
            next_start: None,
        }
    }

    /// Sets its clock off, where `library` is libfaketime. Waiting times are as they are.
    pub(crate) fn skew(&mut self, library: &str, offset: &str) {
        for (name, value) in
            [("LD_PRELOAD", library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
        {
            self.environment.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Starts it; [`Self::supervise`] sees it come up.
    pub(crate) fn start(&mut self) {
        let mut command = self.host.command(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(&self.name, &mut command));
        (self.is_up, self.next_start) = (false, None);
    }

    /// Starts again what could not begin. An error if it ended after it had begun, which nobody told it to.
    pub(crate) fn supervise(&mut self) -> Result<(), String> {
        if self.next_start.is_some_and(|next| next <= Instant::now()) {
            self.start();
        }
        let Some(process) = &mut self.process else { return Ok(()) };
        if self.is_up {
            return match process.poll() {
                None => Ok(()),
                Some(status) => {
                    Err(format!("{} ended by itself ({status}); its log:\n{}", self.name, process.log()))
                }
            };
        }
        match process.next_line(Instant::now()) {
            Ok(line) => self.is_up = line.starts_with("listening on "),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.process = None;
                self.next_start = Some(Instant::now() + AGAIN);
            }
        }
        Ok(())
    }

    /// Says so if it should have come up by now.
    pub(crate) fn is_in_time(&self, until: Instant) -> Result<(), String> {
        match Instant::now() <= until {
            true => Ok(()),
            false => Err(format!("{} does not come up; its log:\n{}", self.name, self.log())),
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// Ends it without notice, and for good until [`Self::start`].
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::Kill);
        (self.process, self.is_up, self.next_start) = (None, false, None);
    }

    /// Kills its engine, and sees that the process ends by itself, with an error.
    pub(crate) fn kill_engine(&mut self) -> io::Result<()> {
        let Some(process) = self.process.as_mut().filter(|_| self.is_up) else { return Ok(()) };
        process.signal(Signal::User);
        let until = Instant::now() + ENGINE;
        let status = loop {
            match process.poll() {
                Some(status) => break status,
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                None => return Err(io::Error::other("it serves on without its engine")),
            }
        };
        if status.code() != Some(1) {
            return Err(io::Error::other(format!(
                "without its engine it ended with {status}, which is no error"
            )));
        }
        (self.process, self.is_up, self.next_start) = (None, false, None);
        Ok(())
    }

    /// Asks it to end, waits for that, and starts it again.
    pub(crate) async fn restart(&mut self) -> Result<(), String> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        (self.is_up, self.next_start) = (false, None);
        process.signal(Signal::Terminate);
        let code = process.exit_code(START).await;
        if code != 0 {
            return Err(format!(
                "{} was told to end and exited with {code}; its log:\n{}",
                self.name,
                process.log()
            ));
        }
        self.start();
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }
}
