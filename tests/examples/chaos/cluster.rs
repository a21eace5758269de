//! Three coordinators, one PostgreSQL, three members of etcd and four simulated workers, each on a machine of its own
//! where that can be had.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use countermove_tests::{Etcd, Host, Network, Postgres, free_port};
use tempfile::TempDir;

use crate::disk::Disk;
use crate::receiver::Receiver;
use crate::server::{START, Server};

pub(crate) const COORDINATORS: usize = 3;
pub(crate) const WORKERS: usize = 4;
pub(crate) const MEMBERS: usize = 3;
/// Seconds of the leases of workers and coordinators.
pub(crate) const LEASE: u64 = 3;
/// Tokens a second of a worker: slow enough that a round is long enough to be hurt.
const PACE: &str = "6000";
/// How far the clocks of some are off.
const COORDINATOR_CLOCKS: [Option<&str>; COORDINATORS] = [None, Some("+2h"), Some("-2h")];
const WORKER_CLOCKS: [Option<&str>; WORKERS] = [None, Some("+1d"), None, Some("-1d")];
/// Bytes of the disk of the database.
const DATABASE_DISK: u64 = 1 << 30;

pub(crate) struct Cluster {
    pub(crate) database: Postgres,
    /// Where the database listens.
    pub(crate) outside: Host,
    /// What the database lies on, if that can be filled.
    pub(crate) disk: Option<Disk>,
    /// The registry; absent where coordinators are told their workers.
    pub(crate) etcd: Option<Etcd>,
    /// The machines of its members.
    pub(crate) member_hosts: Vec<Host>,
    pub(crate) workers: Vec<Server>,
    pub(crate) coordinators: Vec<Server>,
    pub(crate) urls: Vec<String>,
    pub(crate) worker_urls: Vec<String>,
    /// Who is told of approved actions.
    pub(crate) receiver: Receiver,
    /// Whether machines can be cut off from each other.
    pub(crate) has_network: bool,
    /// Whether clocks are off.
    pub(crate) has_skew: bool,
    /// The webhook's secret.
    _secret: TempDir,
    /// The machines; they go when everything else is gone.
    _network: Option<Network>,
}

impl Cluster {
    /// Starts all of it. What this machine cannot do is said and left out. `None` without PostgreSQL.
    pub(crate) async fn start() -> Result<Option<Self>, String> {
        let mut network = leave_out("network partitions", Network::create());
        let mut host = || match &mut network {
            Some(network) => network.host().map_err(|error| format!("a network namespace: {error}")),
            None => Ok(Host::loopback()),
        };
        let mut hosts = |count: usize| (0..count).map(|_| host()).collect::<Result<Vec<_>, String>>();
        let (member_hosts, worker_hosts, coordinator_hosts) =
            (hosts(MEMBERS)?, hosts(WORKERS)?, hosts(COORDINATORS)?);
        let outside = network.as_ref().map_or_else(Host::loopback, Network::outside);
        let disk = leave_out("a full disk", Disk::mount(DATABASE_DISK));
        let place = disk.as_ref().map_or_else(std::env::temp_dir, |disk| disk.path().to_owned());
        let Some(database) = Postgres::start_in(&place, &outside) else { return Ok(None) };
        let etcd = if knows_etcd() {
            Etcd::start_on(&member_hosts)
        } else {
            println!("left out: etcd, since these binaries were built without it");
            None
        };
        let library = faketime();
        if library.is_none() {
            println!(
                "left out: skewed clocks, since libfaketime is not installed (`apt-get install faketime`)"
            );
        }

        let fault = |error: std::io::Error| format!("the webhook's receiver: {error}");
        let receiver = Receiver::start(&format!("{}:0", outside.address())).await.map_err(fault)?;
        let secret = tempfile::tempdir().map_err(fault)?;
        let secret_file = secret.path().join("secret");
        std::fs::write(&secret_file, "0123456789abcdef".repeat(4)).map_err(fault)?;
        std::fs::set_permissions(&secret_file, Permissions::from_mode(0o600)).map_err(fault)?;
        let program = std::env::current_exe().map_err(|error| format!("this program is gone: {error}"))?;

        let mut worker_urls = Vec::new();
        let mut workers = Vec::new();
        for (index, host) in worker_hosts.into_iter().enumerate() {
            let listen = format!("{}:{}", host.address(), free_port());
            let id = format!("simulated-{index}");
            let mut arguments = words(&["worker", "--listen", &listen, "--id", &id, "--simulate", PACE]);
            // The machines' network is the test's own.
            arguments.push("--insecure".to_owned());
            if let Some(etcd) = &etcd {
                arguments.extend(words(&["--etcd", &etcd.url(), "--lease", &LEASE.to_string()]));
            }
            worker_urls.push(format!("http://{listen}"));
            let mut worker = Server::of(id, host, program.clone(), arguments);
            if let (Some(library), Some(offset)) = (&library, WORKER_CLOCKS[index]) {
                worker.skew(library, offset);
            }
            workers.push(worker);
        }
        let (mut coordinators, mut urls) = (Vec::new(), Vec::new());
        for (index, host) in coordinator_hosts.into_iter().enumerate() {
            let listen = format!("{}:{}", host.address(), free_port());
            urls.push(format!("http://{listen}"));
            let mut arguments = words(&["--listen", &listen, "--store", &database.url(), "--insecure"]);
            arguments.extend(words(&["--lease", &LEASE.to_string(), "--worker-wait", "120"]));
            arguments.extend(words(&["--allow-local", "--webhook", &receiver.url]));
            arguments.extend(["--webhook-secret".to_owned(), secret_file.display().to_string()]);
            arguments.extend(match &etcd {
                Some(etcd) => words(&["--discovery", "etcd", "--etcd", &etcd.url()]),
                None => words(&["--workers", &worker_urls.join(",")]),
            });
            let name = format!("coordinator-{index}");
            let mut coordinator = Server::new(name, host, "countermove-coordinator", arguments);
            if let (Some(library), Some(offset)) = (&library, COORDINATOR_CLOCKS[index]) {
                coordinator.skew(library, offset);
            }
            coordinators.push(coordinator);
        }
        let has_network = network.is_some();
        let has_skew = library.is_some();
        let mut cluster = Self {
            database,
            outside,
            disk,
            etcd,
            member_hosts,
            workers,
            coordinators,
            urls,
            worker_urls,
            has_network,
            has_skew,
            receiver,
            _secret: secret,
            _network: network,
        };
        cluster.servers().for_each(Server::start);
        cluster.wait_until_up().await?;
        Ok(Some(cluster))
    }

    pub(crate) fn servers(&mut self) -> impl Iterator<Item = &mut Server> {
        self.workers.iter_mut().chain(&mut self.coordinators)
    }

    pub(crate) fn supervise(&mut self) -> Result<(), String> {
        self.servers().try_for_each(Server::supervise)
    }

    /// Waits until every process listens.
    pub(crate) async fn wait_until_up(&mut self) -> Result<(), String> {
        let until = Instant::now() + START;
        loop {
            self.supervise()?;
            let Some(late) = self.servers().find(|server| !server.is_up) else { return Ok(()) };
            late.is_in_time(until)?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the database answers.
    pub(crate) async fn wait_for_database(&mut self) -> Result<(), String> {
        let until = Instant::now() + START;
        while !self.database.is_ready() {
            if self.database.has_ended() {
                self.database.begin();
            }
            if Instant::now() > until {
                return Err("the database does not come up again".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Checks the database itself: every incident that clients have created, and no other, has ended.
    pub(crate) fn check_store(&self, created: u64) -> Result<(), String> {
        let count = |condition: &str| {
            let query = format!("SELECT count(*) FROM incidents WHERE {condition}");
            self.database.client("psql", ["-A", "-t", "-c", &query]).trim().to_owned()
        };
        let (all, open) = (count("true"), count("end_time IS NULL"));
        if all != created.to_string() {
            return Err(format!("the database holds {all} incidents, and {created} were created"));
        }
        if open != "0" {
            return Err(format!("{open} incidents in the database have not ended"));
        }
        Ok(())
    }

    /// The last lines of every process.
    pub(crate) fn logs(&mut self) -> String {
        self.servers().map(|server| server.log()).collect()
    }
}

/// What works, or a word that it is left out.
fn leave_out<T>(what: &str, tried: std::io::Result<T>) -> Option<T> {
    tried.map_err(|error| println!("left out: {what}, since this machine does not let us: {error}")).ok()
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Whether the coordinator was built with discovery by etcd.
fn knows_etcd() -> bool {
    let help = Command::new(countermove_tests::program("countermove-coordinator")).arg("--help").output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--etcd"))
}

/// The library that sets a process's clock off.
fn faketime() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let library = |folder: PathBuf| folder.join("faketime/libfaketime.so.1");
    let found = folders.map(library).chain([library(Path::new("/usr/lib").to_owned())]);
    found.filter(|path| path.is_file()).find_map(|path| path.to_str().map(str::to_owned))
}
