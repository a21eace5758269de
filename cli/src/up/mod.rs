//! `countermove up`: a coordinator and workers on this machine, as processes, until Ctrl-C or until a command or program
//! has ended.

mod child;
mod program;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use countermove_proto::v1::WorkerStatus;
use tokio::sync::mpsc;

use self::child::{Child, Death};
pub(crate) use self::program::Program;
use crate::args::{Cli, Command, Remote, UpArgs};
use crate::client::Coordinator;
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::plan::write_out;
use crate::render::{count, one_line};
use crate::{plan, workers};

/// Address of the coordinator unless a command runs or another one is given.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 7700);

/// Time that a worker has to load its model.
const LOADING: Duration = Duration::from_secs(300);

/// Time that the coordinator has to start, and to accept the workers.
const STARTING: Duration = Duration::from_secs(30);

/// Time that running work has when everything is stopped.
const DRAINING: Duration = Duration::from_secs(10);

/// What runs against the cluster.
enum Task {
    Nothing,
    Plan(Box<plan::Prepared>),
    Other(Box<Command>),
    Program(Program),
}

pub(crate) async fn up(
    arguments: UpArgs,
    insecure: bool,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    // What can be wrong with the command, its files and the model shows before anything starts.
    let task = Task::parse(&arguments.command).await?;
    let programs = Programs::find()?;
    // A model of the hub is fetched once, not by each worker.
    let model = match programs
        .worker
        .clone()
        .args(["model", "find", "--model", &arguments.model])
        .ask(interrupt)
        .await?
    {
        Ok(answer) => answer.trim_end().to_owned(),
        Err(exit) => return Ok(exit),
    };
    let (send_death, mut deaths) = mpsc::channel(64);
    let mut cluster = Cluster { console: console.clone(), children: Vec::new(), send_death, insecure };
    let started = tokio::select! {
        started = cluster.start(&arguments, &model, &programs) => Some(started),
        () = interrupt.wait() => None,
    };
    let outcome = match started {
        None => Ok(Exit::Interrupted),
        Some(Err(failure)) => Err(failure),
        Some(Ok(url)) => run(task, &url, &mut deaths, console, interrupt).await,
    };
    tokio::select! {
        () = cluster.stop() => {}
        // A second signal is an order to go at once: the children see the end of their standard input, or are killed.
        () = interrupt.wait() => {}
    }
    outcome
}

/// Runs the task, or waits for a signal; reports what dies meanwhile.
async fn run(
    task: Task,
    url: &str,
    deaths: &mut mpsc::Receiver<Death>,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let has_task = !matches!(task, Task::Nothing);
    let mut work = std::pin::pin!(async {
        match task {
            // The incident ends with its cluster.
            Task::Plan(prepared) => {
                prepared.run(&Remote::local(url), plan::Leave::Cancel, console, interrupt).await
            }
            Task::Other(command) => {
                Box::pin(crate::run(*command, &Remote::local(url), console, interrupt)).await
            }
            Task::Program(program) => program.run(url, interrupt).await,
            Task::Nothing => {
                interrupt.wait().await;
                // Ctrl-C is the ordinary way to end a cluster.
                Ok(Exit::Success)
            }
        }
    });
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            Some(death) = deaths.recv() => {
                console.line(&format!("{} {}", death.name, death.how));
                // A command notices the loss of its coordinator itself, and says what it means.
                if death.name == COORDINATOR && !has_task {
                    return Err(Failure::Failed("the coordinator has ended, so everything is stopped".to_owned()));
                }
            }
        }
    }
}

impl Task {
    async fn parse(words: &[String]) -> Result<Self, Failure> {
        let Some(first) = words.first() else { return Ok(Self::Nothing) };
        if Cli::command().find_subcommand(first).is_none() {
            let program = Program::find(first).ok_or_else(|| {
                Failure::Input(format!(
                    "the command after `--`: {} is neither a command of countermove nor a program beside it or in PATH",
                    one_line(first)
                ))
            })?;
            return Ok(Self::Program(program.args(&words[1..])));
        }
        let all = std::iter::once("countermove").chain(words.iter().map(String::as_str));
        let cli = Cli::try_parse_from(all).map_err(|error| {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
            Failure::Input(format!("the command after `--`: {}", one_line(first)))
        })?;
        match cli.command {
            Command::Plan(arguments) if !arguments.validate => Ok(Self::Plan(Box::new(plan::Prepared::read(*arguments).await?))),
            command @ (Command::Workers(_) | Command::Incidents(_) | Command::Audit(_) | Command::Tokens(_) | Command::Whoami) => Ok(Self::Other(Box::new(command))),
            Command::Up(_)
            | Command::Plan(_)
            | Command::Evidence(_) | Command::Baseline(_)
            | Command::Certs(_)
            | Command::Doctor(_)
            | Command::Mcp
            | Command::Watch(_)
            | Command::Completions { .. }
            | Command::Man { .. } => Err(Failure::Input(
                "the command after `--` has to be plan, workers, incidents, audit, or a program that talks to a coordinator"
                    .to_owned(),
            )),
        }
    }
}

const COORDINATOR: &str = "coordinator";

/// The processes of the cluster. Dropping it kills them.
struct Cluster {
    console: Console,
    children: Vec<Child>,
    send_death: mpsc::Sender<Death>,
    /// Whether the coordinator may be reached in plain text from other machines.
    insecure: bool,
}

impl Cluster {
    /// Starts workers and coordinator and waits until all workers take work. Gives the coordinator's URL.
    async fn start(
        &mut self,
        arguments: &UpArgs,
        model: &str,
        programs: &Programs,
    ) -> Result<String, Failure> {
        let begun = Instant::now();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        if cpus < usize::from(arguments.workers) {
            self.console.line(&format!(
                "warning: there are fewer CPUs than workers, so workers share them; {} would do better",
                count(cpus as u64, "worker")
            ));
        }
        for number in 1..=arguments.workers {
            let flags = worker_flags(arguments, model, number);
            self.spawn(&format!("worker {number}"), programs.worker.path(), &flags, arguments)?;
        }
        self.console.line(&format!("loading the model in {}", count(self.children.len() as u64, "worker")));
        let mut urls = Vec::new();
        for worker in &mut self.children {
            urls.push(format!("http://{}", worker.ready(LOADING).await?));
        }
        let flags = coordinator_flags(arguments, &urls, self.insecure);
        self.spawn(COORDINATOR, programs.coordinator.path(), &flags, arguments)?;
        let coordinator = match self.children.last_mut() {
            Some(child) => child.ready(STARTING).await?,
            None => return Err(Failure::Failed("the coordinator was not started".to_owned())),
        };
        let url = format!("http://{coordinator}");
        self.wait_for_workers(&url, urls.len()).await?;
        self.console.line(&format!(
            "{} ready after {:.1} s; the coordinator is at {url}",
            count(urls.len() as u64, "worker"),
            begun.elapsed().as_secs_f64()
        ));
        if arguments.command.is_empty() {
            write_out(format!("{url}\n").as_bytes())?;
            self.console.line(&format!("the console is at {url}/ in a browser; Ctrl-C stops everything"));
        }
        Ok(url)
    }

    /// Asks the coordinator until it gives work to as many workers as there are.
    async fn wait_for_workers(&self, url: &str, wanted: usize) -> Result<(), Failure> {
        let coordinator = Coordinator::connect(&Remote::local(url)).await?;
        let deadline = Instant::now() + STARTING;
        loop {
            let workers = workers::list(&coordinator).await?;
            if let Some(refused) = workers.iter().find(|worker| worker.status() == WorkerStatus::Refused) {
                return Err(Failure::Failed(format!(
                    "the coordinator refuses {}: {}",
                    one_line(&refused.name),
                    one_line(&refused.status_reason)
                )));
            }
            let ready = workers.iter().filter(|worker| worker.status() == WorkerStatus::Ready).count();
            if ready >= wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Failure::Failed(format!(
                    "after {} s the coordinator gives work to {ready} of {wanted} workers; see `countermove workers \
                     list --coordinator {url}`",
                    STARTING.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn spawn(
        &mut self,
        name: &str,
        program: &Path,
        flags: &[OsString],
        arguments: &UpArgs,
    ) -> Result<(), Failure> {
        // The log of a whole cluster would bury the plan of a command: then only what went wrong is shown.
        let has_own_filter = std::env::var_os("RUST_LOG").is_some();
        let quiet = !arguments.command.is_empty() && !arguments.verbose && !has_own_filter;
        let filter = quiet.then_some("warn");
        let child = Child::start(name, program, flags, filter, &self.console, self.send_death.clone())?;
        self.children.push(child);
        Ok(())
    }

    /// Ends everything: the coordinator first, so that it gives out no more work, then all workers at once.
    async fn stop(&mut self) {
        self.children.sort_by_key(|child| child.name() != COORDINATOR);
        let has_coordinator = self.children.first().is_some_and(|child| child.name() == COORDINATOR);
        let (first, rest) = self.children.split_at_mut(usize::from(has_coordinator));
        for children in [first, rest] {
            let stopping = children.iter_mut().map(|child| async {
                if !child.stop(DRAINING + Duration::from_secs(5)).await {
                    self.console.line(&format!("{} did not end in time and was killed", child.name()));
                }
            });
            futures::future::join_all(stopping).await;
        }
    }
}

/// The binaries of the cluster.
struct Programs {
    coordinator: Program,
    worker: Program,
}

impl Programs {
    fn find() -> Result<Self, Failure> {
        let find = |name: &str| {
            Program::find(name).ok_or_else(|| {
                Failure::Failed(format!(
                    "{name} is neither beside this program nor in PATH; build all of it with `cargo build --workspace`"
                ))
            })
        };
        Ok(Self { coordinator: find("countermove-coordinator")?, worker: find("countermove-worker")? })
    }
}

fn worker_flags(arguments: &UpArgs, model: &str, number: u16) -> Vec<OsString> {
    let mut flags = Flags::default();
    flags.add("--listen", "127.0.0.1:0");
    flags.add("--model", model);
    if let Some(adapter) = &arguments.adapter {
        flags.add("--adapter", adapter);
    }
    flags.add("--id", format!("local-{}-{number}", std::process::id()));
    flags.add("--drain-timeout", DRAINING.as_secs().to_string());
    flags.add("--cpu-part", format!("{number}/{}", arguments.workers));
    if let Some(memory) = arguments.kv_memory {
        flags.add("--kv-memory", memory.to_string());
    }
    if let Some(sequences) = arguments.sequences {
        flags.add("--sequences", sequences.to_string());
    }
    if let Some(templates) = &arguments.templates {
        flags.add("--templates", templates);
    }
    if arguments.sequential {
        flags.0.push("--sequential".into());
    }
    flags.0
}

fn coordinator_flags(arguments: &UpArgs, workers: &[String], insecure: bool) -> Vec<OsString> {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let usual = if arguments.command.is_empty() { SocketAddr::from(DEFAULT_LISTEN) } else { free };
    let mut flags = Flags::default();
    flags.add("--listen", arguments.listen.unwrap_or(usual).to_string());
    flags.add("--discovery", "static");
    flags.add("--workers", workers.join(","));
    if insecure {
        flags.0.push("--insecure".into());
    }
    // What was started for one command is forgotten after it.
    let for_one = (!arguments.command.is_empty()).then_some("memory:");
    if let Some(store) = arguments.store.as_deref().or(for_one) {
        flags.add("--store", store);
    }
    if let Some(templates) = &arguments.templates {
        flags.add("--templates", templates);
    }
    flags.0
}

#[derive(Default)]
struct Flags(Vec<OsString>);

impl Flags {
    fn add(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.extend([name.into(), value.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(flags: &[&str]) -> UpArgs {
        let all = ["countermove", "up"].into_iter().chain(flags.iter().copied());
        match Cli::try_parse_from(all).unwrap().command {
            Command::Up(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_gets_a_free_port_and_a_cluster_the_usual_one() {
        let listen = |flags: &[&str]| coordinator_flags(&arguments(flags), &[], false)[1].clone();
        assert_eq!(listen(&[]), "127.0.0.1:7700");
        assert_eq!(listen(&["--", "workers", "list"]), "127.0.0.1:0");
        assert_eq!(listen(&["--listen", "0.0.0.0:9", "--", "workers", "list"]), "0.0.0.0:9");
    }

    #[test]
    fn what_is_asked_for_reaches_the_workers() {
        let given =
            arguments(&["--kv-memory", "64", "--templates", "t", "--sequential", "--adapter", "tuned"]);
        let flags = worker_flags(&given, "hf:org/name@abc", 2);
        for pair in [
            ["--cpu-part", "2/2"],
            ["--kv-memory", "64"],
            ["--templates", "t"],
            ["--model", "hf:org/name@abc"],
            ["--adapter", "tuned"],
        ] {
            assert!(flags.windows(2).any(|flags| flags == pair), "{pair:?} in {flags:?}");
        }
        assert!(flags.contains(&"--sequential".into()));
    }

    #[tokio::test]
    async fn only_commands_for_a_coordinator_run_in_a_cluster() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for text in
            ["up", "workers nonsense", "no-such-program fetch", "plan", "plan --incident no/such/folder"]
        {
            let failure = Task::parse(&words(text)).await.err().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(failure.code(), 2, "{text}");
            assert!(!failure.to_string().contains('\n'), "{failure}");
        }
        assert!(matches!(Task::parse(&words("workers list")).await, Ok(Task::Other(_))));
        assert!(matches!(Task::parse(&words("sh -c true")).await, Ok(Task::Program(_))));
        assert!(matches!(Task::parse(&[]).await, Ok(Task::Nothing)));
    }
}
