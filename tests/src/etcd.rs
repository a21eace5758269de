//! An etcd member of the test's own: in a folder that goes away, on free ports of the loopback.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::postgres::free_port;
use crate::process::{Process, Signal};

/// Time that it has to come up.
const START: Duration = Duration::from_secs(60);

/// A running member, which is a whole cluster. Dropping it kills it.
pub struct Etcd {
    program: PathBuf,
    folder: TempDir,
    client: u16,
    peer: u16,
    process: Option<Process>,
}

impl Etcd {
    /// Starts a member. `None`, with a word on standard error, where etcd is not installed.
    ///
    /// # Panics
    /// If it is installed and does not come up.
    pub fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program =
            std::env::split_paths(&path).map(|folder| folder.join("etcd")).find(|file| file.is_file());
        let Some(program) = program else {
            // Not by `eprintln!`, which a passing test keeps for itself.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: etcd is not installed (it is not in PATH); `apt-get install etcd-server` brings it"
            );
            return None;
        };
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no folder for etcd: {error}"));
        let mut etcd = Self { program, folder, client: free_port(), peer: free_port(), process: None };
        etcd.resume();
        Some(etcd)
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// Kills it, as a machine does that loses power. What it wrote stays.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::Kill);
        }
        self.process = None;
    }

    /// Starts it again with what it wrote.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn resume(&mut self) {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer));
        let mut command = Command::new(&self.program);
        command.arg("--data-dir").arg(self.data()).args(["--name", "test", "--log-level", "error"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("test={peer}")]);
        // Tests lose processes and never the machine.
        command.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        self.process = Some(Process::start("etcd", &mut command));
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.client)).is_err() {
            assert!(
                Instant::now() < deadline,
                "etcd did not come up:\n{}",
                self.process.as_ref().map(Process::log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again as one that knows nothing any more.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn resume_empty(&mut self) {
        std::fs::remove_dir_all(self.data()).unwrap_or_else(|error| panic!("{error}"));
        self.resume();
    }

    fn data(&self) -> PathBuf {
        Path::new(self.folder.path()).join("data")
    }
}
