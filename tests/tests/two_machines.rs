//! The page docs/two-machines.md, by its own commands: two network namespaces, each with a `/srv` of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use countermove_tests::{Host, Network, program, repository};

/// Time that all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Programs that are not ours; Debian's packages of the page bring them.
const OTHERS: [&str; 7] = ["ip", "nsenter", "etcd", "prometheus", "openssl", "curl", "runuser"];

/// A machine with somebody at its console.
struct Machine {
    name: &'static str,
    host: Host,
    shell: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Machine {
    fn start(name: &'static str, host: Host, path: &str, peer: Option<u32>) -> Self {
        let mut command = host.command(Path::new("bash"));
        command.args(["-eu", "-o", "pipefail"]).env("PATH", path).env_remove("COUNTERMOVE_STORE");
        command.env("PEER", peer.map(|id| id.to_string()).unwrap_or_default());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut shell = command.spawn().expect("a shell");
        let (input, output) = (shell.stdin.take().expect("piped"), shell.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens any more when the test is over.
                let _ = sender.send(line);
            }
        });
        let mut machine = Self { name, host, shell, input, lines };
        // The namespace has mounts of its own, so nothing of this is seen outside.
        machine.run("mount -t tmpfs -o mode=755 tmpfs /srv", Instant::now() + PATIENCE);
        machine
    }

    /// Types a block of commands, waits until it is done, and gives what it printed.
    fn run(&mut self, block: &str, deadline: Instant) -> String {
        let mut printed = String::new();
        // What runs in the background keeps neither end of the console.
        if writeln!(self.input, "{block}\necho '--done--'").is_ok() {
            loop {
                match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(line) if line == "--done--" => return printed,
                    Ok(line) => printed += &format!("{line}\n"),
                    Err(_) => break,
                }
            }
        }
        let logs = self
            .command("bash")
            .args(["-c", "tail -n 20 /srv/countermove/*.log /srv/countermove/postgres/*.log"])
            .output();
        let logs = logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned()).unwrap_or_default();
        panic!(
            "on machine {} this failed or did not end:\n{block}\nit printed:\n{printed}\nlogs:\n{logs}",
            self.name
        )
    }

    /// A command among its mounts and in its network.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.shell.id().to_string(), "--mount", "--net", program]);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Everything that was started there, PostgreSQL included, which is nobody's child.
        for id in self.host.processes() {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
        let _ = self.shell.wait();
    }
}

/// The blocks of the page that name a machine, in order.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(machine) = line.strip_prefix("```sh ") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((machine.to_owned(), block.join("\n")));
        }
    }
    blocks
}

fn is_there(name: &str, path: &str) -> bool {
    std::env::split_paths(path).any(|folder| folder.join(name).is_file())
}

/// Why it cannot be tried here.
fn missing(path: &str) -> Option<String> {
    // SAFETY: it only tells who the process belongs to.
    if unsafe { libc::geteuid() } != 0 {
        return Some("only root can make network namespaces".to_owned());
    }
    if let Some(name) = OTHERS.iter().find(|name| !is_there(name, path)) {
        return Some(format!("{name} is not installed; docs/two-machines.md names the packages"));
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    if versions.filter(|version| version.path().join("bin/initdb").is_file()).count() == 0 {
        return Some("PostgreSQL is not installed; `apt-get install postgresql` brings it".to_owned());
    }
    let help = Command::new(program("countermove-worker")).arg("--help").output().expect("a worker");
    let knows_etcd = String::from_utf8_lossy(&help.stdout).contains("--etcd");
    (!knows_etcd).then(|| "the programs are built without discovery by etcd".to_owned())
}

#[test]
fn the_page_leads_from_nothing_to_two_machines() {
    let programs = program("countermove-worker").parent().expect("a folder").to_owned();
    let tools = tempfile::tempdir().expect("a folder");
    let path = format!(
        "{}:{}:{}:/usr/sbin:/sbin",
        tools.path().display(),
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut network =
        match missing(&path).map_or_else(|| Network::create().map_err(|error| error.to_string()), Err) {
            Ok(network) => network,
            Err(reason) => {
                // Not by `eprintln!`, which a passing test keeps for itself.
                let _ = writeln!(std::io::stderr(), "skipped: {reason}");
                return;
            }
        };
    // There is no ssh: files go from the mounts of one machine to those of the other.
    let scp = tools.path().join("scp");
    let script = "#!/bin/bash\nset -eu\nfor to; do :; done\ntar -cf - \"${@:1:$#-1}\" | nsenter --target $PEER --mount \
                  tar -C \"${to#*:}\" --strip-components=1 -xf -\n";
    std::fs::write(&scp, script).expect("a script");
    std::fs::set_permissions(&scp, PermissionsExt::from_mode(0o755)).expect("a script");

    let mut host = |last| network.host_at(Ipv4Addr::new(10, 77, 0, last)).expect("a namespace");
    let (one, two) = (host(11), host(12));
    let mut two = Machine::start("two", two, &path, None);
    let mut one = Machine::start("one", one, &path, Some(two.shell.id()));
    let page = std::fs::read_to_string(repository().join("docs/two-machines.md")).expect("the page");
    let (blocks, deadline) = (blocks(&page), Instant::now() + PATIENCE);
    assert!(blocks.len() >= 8, "the page has its commands");
    let mut printed = String::new();
    for (machine, block) in blocks {
        printed += &match machine.as_str() {
            "one" => one.run(&block, deadline),
            "two" => two.run(&block, deadline),
            other => panic!("there is no machine {other}"),
        };
    }
    // A plan was made by the worker on the other machine, and its incident is in the database.
    assert!(printed.contains("STEP 1"), "{printed}");
    let rows = one.run(
        "runuser -u postgres -- psql -At -h /srv/countermove/postgres countermove -c 'SELECT count(*) FROM incidents'",
        deadline,
    );
    assert_eq!(rows.trim(), "1");
    let worker = one.run("countermove workers list --json", deadline);
    assert!(worker.contains("https://10.77.0.12:7701") && worker.contains("\"ready\""), "{worker}");
    // What leaves a machine is encrypted: nobody answers in plain text.
    let plain =
        one.run("curl -s -o /dev/null -w '%{http_code}' http://10.77.0.12:7701/ || true; echo", deadline);
    assert_eq!(plain.trim(), "000");
}
