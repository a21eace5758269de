//! A started binary: its address, its log, its signals, and its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of a process's log that are kept for a failing test.
const LOG_LINES: usize = 200;

/// A signal that tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A polite end.
    Terminate,
    /// Death without notice.
    Kill,
    /// Freezes the process; its connections stay open.
    Stop,
    /// Thaws it.
    Continue,
    /// Means what the program takes it for.
    User,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
            Self::User => libc::SIGUSR1,
        }
    }
}

/// A running program in a process group of its own. Dropping it kills the group.
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdout: Option<Receiver<String>>,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts `command`. Its standard error is collected, its standard output is read line by line.
    ///
    /// # Panics
    /// If the program cannot be started; the test has failed then.
    pub fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: the closure runs between fork and exec and calls nothing but prctl, which is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                // The process dies with the test that started it, even if that one is killed.
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let errors = child.stderr.take().unwrap_or_else(|| panic!("{name} has no standard error"));
        let output = child.stdout.take().unwrap_or_else(|| panic!("{name} has no standard output"));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LOG_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { name: name.to_owned(), child, ended: None, stdout: Some(receiver), log }
    }

    /// What the test calls the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the process, which is also the id of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line `listening on ADDRESS` and gives the address.
    ///
    /// # Panics
    /// If the process ends first or `patience` runs out.
    pub fn address(&mut self, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let line = self.next_line(deadline);
            match line {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("listening on ") {
                        return address.trim().to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{} does not listen after {patience:?}", self.name),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.wait(Duration::from_secs(5));
                    panic!("{} ended ({status}) before it listened; its log:\n{}", self.name, self.log());
                }
            }
        }
    }

    /// The next line of standard output.
    ///
    /// # Errors
    /// If none comes before `deadline`, or standard output is closed.
    pub fn next_line(&mut self, deadline: Instant) -> Result<String, RecvTimeoutError> {
        match &self.stdout {
            Some(lines) => lines.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => Err(RecvTimeoutError::Disconnected),
        }
    }

    /// Sends a signal to this process alone. A process that has ended is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll().is_some() {
            return;
        }
        if let Ok(pid) = libc::pid_t::try_from(self.pid()) {
            // SAFETY: kill takes two integers. The child was not reaped (see above), so the id is still its own.
            unsafe { libc::kill(pid, signal.number()) };
        }
    }

    /// How it ended, if it has.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If it has not ended after `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.poll() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} still runs after {patience:?}", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end without blocking the runtime, and gives the exit code; a death by signal N is -N.
    ///
    /// # Panics
    /// If it has not ended after `patience`.
    pub async fn exit_code(&mut self, patience: Duration) -> i32 {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.poll() {
                return status.code().unwrap_or_else(|| -status.signal().unwrap_or_default());
            }
            assert!(
                Instant::now() < deadline,
                "{} still runs after {patience:?}; its log:\n{}",
                self.name,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last lines of its standard error.
    pub fn log(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  [{}] {line}\n", self.name)).collect()
    }

    /// Most memory that it has held so far, in bytes; `None` once it has ended.
    pub fn peak_rss(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    /// Memory that it holds now, in bytes; `None` once it has ended.
    pub fn rss(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// CPU time that it has used so far; zero once it has ended.
    pub fn cpu_time(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // Fields 14 and 15, counted behind the name, which may hold anything but ends with the last parenthesis; ticks of
        // 10 ms on every Linux.
        let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
        let ticks: u64 =
            behind.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(group) = libc::pid_t::try_from(self.pid()) {
            // SAFETY: killpg takes two integers. The group is our child's own (process_group(0) above); its id stays
            // taken while a member lives, and an empty group gives ESRCH.
            unsafe { libc::killpg(group, libc::SIGKILL) };
        }
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
        if thread::panicking() {
            eprintln!("log of {} ({:?}):\n{}", self.name, self.ended, self.log());
        }
    }
}

/// Path of one of the project's binaries, beside the test executable.
///
/// # Panics
/// If it has not been built.
pub fn program(name: &str) -> PathBuf {
    let test =
        std::env::current_exe().unwrap_or_else(|error| panic!("cannot find this test's path: {error}"));
    // target/debug/deps/plan-0123 -> target/debug
    let folder =
        test.parent().and_then(Path::parent).unwrap_or_else(|| panic!("{} has no folder", test.display()));
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built; run `make test`, or `cargo build --workspace --bins` before `cargo test`",
        path.display()
    );
    path
}

/// Holds the machine for one cluster test at a time, for those who run the tests by another runner than `make test`'s,
/// which sees to it by itself (`.config/nextest.toml`). Works across test processes; the lock goes with the guard.
///
/// # Panics
/// If the lock file cannot be made.
pub fn exclusive() -> File {
    let path = program("countermove-coordinator").with_file_name("cluster-tests.lock");
    let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.lock().unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
    file
}

/// Ids and command lines of processes whose environment holds `NAME=value`, zombies left out.
pub fn marked_processes(mark: &str) -> Vec<(u32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let mut environment = Vec::new();
        // A zombie's environment reads as empty.
        let read =
            File::open(entry.path().join("environ")).and_then(|mut file| file.read_to_end(&mut environment));
        if read.is_ok() && environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes()) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

/// Asks `holds` again and again until it gives a value.
///
/// # Panics
/// If it gives none within `patience`; `what` says what was waited for.
pub async fn wait_until<T, F>(what: &str, patience: Duration, mut holds: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
