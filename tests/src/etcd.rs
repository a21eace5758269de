//! An etcd of the test's own: one member or several, in a folder that goes away, on free ports.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::network::Host;
use crate::postgres::free_port;
use crate::process::{Process, Signal};

/// Time that it has to come up.
const START: Duration = Duration::from_secs(60);

/// A running etcd. Dropping it kills it.
pub struct Etcd {
    program: PathBuf,
    folder: TempDir,
    members: Vec<Member>,
}

struct Member {
    host: Host,
    client: u16,
    peer: u16,
    process: Option<Process>,
}

impl Etcd {
    /// Starts a member that is a whole cluster. `None`, with a word on standard error, where etcd is not installed.
    ///
    /// # Panics
    /// If it is installed and does not come up.
    pub fn start() -> Option<Self> {
        Self::start_on(&[Host::loopback()])
    }

    /// Starts a member on each host. `None`, with a word on standard error, where etcd is not installed.
    ///
    /// # Panics
    /// If it is installed and does not come up.
    pub fn start_on(hosts: &[Host]) -> Option<Self> {
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
        let member = |host: &Host| Member {
            host: host.clone(),
            client: free_port(),
            peer: free_port(),
            process: None,
        };
        let mut etcd = Self { program, folder, members: hosts.iter().map(member).collect() };
        etcd.resume();
        Some(etcd)
    }

    /// Its addresses for clients, separated by commas.
    pub fn url(&self) -> String {
        self.members.iter().map(|member| member.url(member.client)).collect::<Vec<_>>().join(",")
    }

    /// Kills all of it, as machines do that lose power. What was written stays.
    pub fn kill(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill_member(index));
    }

    /// Kills one member.
    pub fn kill_member(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            process.signal(Signal::Kill);
        }
    }

    /// Starts all of it again with what was written.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn resume(&mut self) {
        (0..self.members.len()).for_each(|index| self.resume_member(index));
        let deadline = Instant::now() + START;
        for member in &self.members {
            let address = SocketAddr::from((member.host.address(), member.client));
            while TcpStream::connect(address).is_err() {
                assert!(
                    Instant::now() < deadline,
                    "etcd did not come up:\n{}",
                    member.process.as_ref().map(Process::log).unwrap_or_default()
                );
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Starts one member again with what it wrote. It serves once most members are there.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn resume_member(&mut self, index: usize) {
        let name = |index: usize| format!("test-{index}");
        let peers = self.members.iter().enumerate();
        let cluster: Vec<String> =
            peers.map(|(index, member)| format!("{}={}", name(index), member.url(member.peer))).collect();
        let data = self.data(index);
        let member = &mut self.members[index];
        let (client, peer) = (member.url(member.client), member.url(member.peer));
        let mut command = member.host.command(&self.program);
        command.arg("--data-dir").arg(data).args(["--name", &name(index), "--log-level", "error"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &cluster.join(",")]);
        // Tests lose processes and never the machine.
        command.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        member.process = Some(Process::start("etcd", &mut command));
    }

    /// Starts it again as one that knows nothing any more.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn resume_empty(&mut self) {
        for index in 0..self.members.len() {
            std::fs::remove_dir_all(self.data(index)).unwrap_or_else(|error| panic!("{error}"));
        }
        self.resume();
    }

    fn data(&self, index: usize) -> PathBuf {
        Path::new(self.folder.path()).join(format!("data-{index}"))
    }
}

impl Member {
    fn url(&self, port: u16) -> String {
        format!("http://{}:{port}", self.host.address())
    }
}
