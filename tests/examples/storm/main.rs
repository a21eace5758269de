//! Storms on a coordinator: slow and silent clients, thousands of idle streams, connections and cancellations as fast as they go,
//! messages that swell when they are unpacked, JSON as deep as it is long. `make storm` runs them one after the other against the real
//! programs and prints, as Markdown, what a client that behaves sees before, during and after each.
//!
//! That client comes from another address of this machine, as it would from another machine: what one address takes leaves others
//! their part. It has a thread of its own, but storms and coordinator share the machine's cores with it, so what it waits for is
//! more than what the coordinator makes it wait for.

mod caller;
mod storms;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use countermove_tests::{Process, program, quantile};
use tokio::time::sleep;

use caller::{Caller, Kind, Sample};
use storms::{Counts, Storm};

/// Time that a process has to come up.
const START: Duration = Duration::from_secs(60);
/// Time of quiet before each storm.
const BEFORE: Duration = Duration::from_secs(4);
/// Time that a storm lasts once it has come up.
const DURING: Duration = Duration::from_secs(12);
/// Time that passes after a storm before the caller's calls count as those after it.
const CLEARING: Duration = Duration::from_secs(2);
/// Time of quiet after each storm.
const AFTER: Duration = Duration::from_secs(4);
/// What 99 of 100 calls have to take at most during a storm.
const BOUND: Duration = Duration::from_secs(1);
/// Most memory of the coordinator, in bytes: what it gets in `deploy/`.
const MEMORY: u64 = 1 << 30;

fn main() -> ExitCode {
    storms::raise_descriptors();
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("error: no folder for the store: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut command = Command::new(program("countermove-worker"));
    command.args(["--listen", "127.0.0.1:0", "--simulate", "4000"]).env("RUST_LOG", "warn");
    let mut worker = Process::start("worker", &mut command);
    let worker_url = format!("http://{}", worker.address(START));
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let mut command = Command::new(program("countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0", "--store", &store, "--workers", &worker_url]);
    command.env("RUST_LOG", "error");
    let mut coordinator = Process::start("coordinator", &mut command);
    let address = coordinator.address(START);
    match runtime.block_on(play(&coordinator, &address)) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            problems.iter().for_each(|problem| eprintln!("error: {problem}"));
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Plays all storms, prints a line for each, and gives what was not as it should be.
async fn play(coordinator: &Process, address: &str) -> Result<Vec<String>, String> {
    let caller = Caller::start(address).await?;
    println!(
        "| storm | calls of others: before, p50 / p99 ms | during | after | new connections during, p50 / p99 ms | failed | coordinator before, peak MiB | what the storm did and met |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut problems = Vec::new();
    for storm in Storm::ALL {
        let begun = Instant::now();
        sleep(BEFORE).await;
        let memory = resident(coordinator)?;
        let blown = Instant::now();
        let counts = Counts::default();
        let peak = blow(coordinator, storm, address, &counts).await?;
        let calmed = Instant::now();
        sleep(CLEARING).await;
        let cleared = Instant::now();
        sleep(AFTER).await;
        let told = caller.samples();
        let within = |from: Instant, to: Instant, kind: Kind| {
            let taken =
                told.iter().filter(|sample| sample.kind == kind && sample.begun >= from && sample.begun < to);
            taken.cloned().collect::<Vec<Sample>>()
        };
        let during = within(blown, calmed, Kind::Call);
        let connections = within(blown, calmed, Kind::Connection);
        let failed: Vec<&Sample> =
            told.iter().filter(|sample| sample.begun >= begun && sample.problem.is_some()).collect();
        println!(
            "| {} | {} | {} | {} | {} | {} of {} | {:.0}, {:.0} | {counts} |",
            storm.name(),
            shown(&within(begun, blown, Kind::Call)),
            shown(&during),
            shown(&within(cleared, Instant::now(), Kind::Call)),
            shown(&connections),
            failed.len(),
            told.iter().filter(|sample| sample.begun >= begun).count(),
            mebibytes(memory),
            mebibytes(peak),
        );
        if let Some(first) = failed.first().and_then(|sample| sample.problem.as_ref()) {
            problems.push(format!(
                "{}: {} calls of others failed, the first with: {first}",
                storm.name(),
                failed.len()
            ));
        }
        let slowest = quantile(&sorted(&during), 0.99);
        if slowest > BOUND {
            problems
                .push(format!("{}: of calls of others one in a hundred took {slowest:.1?}", storm.name()));
        }
        if peak > MEMORY {
            problems.push(format!("{}: the coordinator took {:.0} MiB", storm.name(), mebibytes(peak)));
        }
    }
    Ok(problems)
}

/// Lets a storm blow, and gives the most memory that the coordinator held meanwhile.
async fn blow(coordinator: &Process, storm: Storm, address: &str, counts: &Counts) -> Result<u64, String> {
    let mut blowing = std::pin::pin!(storm.blow(address, DURING, counts));
    let (mut peak, mut look) = (0, tokio::time::interval(Duration::from_millis(50)));
    loop {
        tokio::select! {
            () = &mut blowing => return Ok(peak),
            _ = look.tick() => peak = peak.max(resident(coordinator)?),
        }
    }
}

fn resident(coordinator: &Process) -> Result<u64, String> {
    coordinator.rss().ok_or_else(|| format!("the coordinator has ended; its log:\n{}", coordinator.log()))
}

fn sorted(samples: &[Sample]) -> Vec<Duration> {
    let mut times: Vec<_> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    times
}

fn shown(samples: &[Sample]) -> String {
    let times = sorted(samples);
    let at = |part| quantile(&times, part).as_secs_f64() * 1000.0;
    format!("{:.1} / {:.1}", at(0.5), at(0.99))
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
