//! A PostgreSQL server of the test's own: in a folder that goes away, on a free port.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::network::Host;
use crate::process::Process;

/// Time that the server has to come up.
const START: Duration = Duration::from_secs(60);
/// The server refuses to be run by root, so root runs it as this user, `nobody` on every Linux.
const NOBODY: u32 = 65534;

/// A running server. Dropping it stops it.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    process: Option<Process>,
}

impl Postgres {
    /// Starts a server. `None`, with a word on standard error, where PostgreSQL is not installed.
    ///
    /// # Panics
    /// If it is installed and does not come up.
    pub fn start() -> Option<Self> {
        Self::start_in(&std::env::temp_dir(), &Host::loopback())
    }

    /// Starts a server that keeps its data in a folder of `place` and listens at `host`, which is no namespace. `None` as
    /// with [`Self::start`].
    ///
    /// # Panics
    /// If it is installed and does not come up.
    pub fn start_in(place: &Path, host: &Host) -> Option<Self> {
        let Some(programs) = programs() else {
            // Not by `eprintln!`, which a passing test keeps for itself.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: PostgreSQL is not installed (initdb and postgres are neither in PATH nor in \
                 /usr/lib/postgresql); `apt-get install postgresql` brings it"
            );
            return None;
        };
        let folder =
            TempDir::new_in(place).unwrap_or_else(|error| panic!("no folder for PostgreSQL: {error}"));
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))
                .unwrap_or_else(|error| panic!("{}: {error}", folder.path().display()));
        }
        let address = SocketAddr::from((host.address(), free_port()));
        let mut server = Self { programs, folder, address, process: None };
        let data = server.data();
        // Tests lose processes and never the machine, so nothing has to reach the disk.
        let made = server
            .program("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=countermove",
                "--encoding=UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data)
            .output()
            .unwrap_or_else(|error| panic!("initdb cannot be started: {error}"));
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        if !host.address().is_loopback() {
            let rules = data.join("pg_hba.conf");
            let network = format!("host all all {}/24 trust\n", host.address());
            let written = File::options()
                .append(true)
                .open(&rules)
                .and_then(|mut file| file.write_all(network.as_bytes()));
            written.unwrap_or_else(|error| panic!("{}: {error}", rules.display()));
        }
        server.resume();
        Some(server)
    }

    /// URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://countermove@{}/postgres", self.address)
    }

    /// URL of a database of a new role's own. The role is no superuser, so that policies of rows hold for it.
    ///
    /// # Panics
    /// If the role cannot be made.
    pub fn as_role(&self, role: &str) -> String {
        let statements =
            [format!("CREATE ROLE {role} LOGIN"), format!("CREATE DATABASE {role} OWNER {role}")];
        self.client(
            "psql",
            statements.iter().flat_map(|statement| ["-v", "ON_ERROR_STOP=1", "-c", statement]),
        );
        self.url_of(role, role)
    }

    /// URL of a database, as a role.
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@{}/{database}", self.address)
    }

    /// Starts a server that was stopped, with the data that it had.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn resume(&mut self) {
        self.begin();
        let deadline = Instant::now() + START;
        while !self.is_ready() {
            assert!(
                Instant::now() < deadline,
                "PostgreSQL did not come up:\n{}",
                self.process.as_ref().map(Process::log).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a server that was stopped, and does not wait for it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn begin(&mut self) {
        let (address, port, data) =
            (self.address.ip().to_string(), self.address.port().to_string(), self.data());
        let mut command = self.program("postgres");
        command.arg("-D").arg(&data).args(["-p", &port, "-k"]).arg(self.folder.path());
        command.args(["-c", &format!("listen_addresses={address}"), "-c", "fsync=off"]);
        command.args(["-c", "max_connections=60", "-c", "max_wal_size=128MB"]);
        self.process = Some(Process::start("postgres", &mut command));
    }

    /// Whether its process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.poll().is_some())
    }

    /// Stops it as an operator does: connections are cut, the data is whole.
    pub fn stop(&mut self) {
        let data = self.data();
        let stopped = self
            .program("pg_ctl")
            .args(["stop", "-m", "fast", "-w", "-D"])
            .arg(&data)
            .stdin(Stdio::null())
            .output();
        if let Err(error) = stopped {
            eprintln!("pg_ctl: {error}");
        }
        self.process = None;
    }

    /// Runs a client program of PostgreSQL, such as `psql` or `pg_dump`, against the database and gives its output.
    ///
    /// # Panics
    /// If it fails.
    pub fn client<A: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self
            .program(program)
            .arg("-d")
            .arg(self.url())
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Reads a dump into the database.
    ///
    /// # Panics
    /// If it cannot be read or does not fit.
    pub fn restore(&self, dump: &Path) {
        let file = File::open(dump).unwrap_or_else(|error| panic!("{}: {error}", dump.display()));
        let output = self
            .program("psql")
            .args(["-v", "ON_ERROR_STOP=1", "-q", "-d", &self.url()])
            .stdin(file)
            .output()
            .unwrap_or_else(|error| panic!("psql cannot be started: {error}"));
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Whether it answers.
    pub fn is_ready(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
            && self
                .program("psql")
                .args(["-d", &self.url(), "-c", "SELECT 1"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let beside = self.programs.join(name);
        let mut command = Command::new(if beside.is_file() { beside.as_path() } else { Path::new(name) });
        command.current_dir(self.folder.path());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder with the server's programs.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A port that nobody listens on at this moment.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap_or_else(|error| panic!("no free port: {error}"));
    listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}")).port()
}
