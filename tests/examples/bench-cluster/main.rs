//! Measures a cluster with simulated workers: many incidents on one coordinator, and the same load per worker on more
//! and more workers, and what large evidence costs. Prints Markdown. `make bench-cluster` runs it on release binaries.
//!
//! A simulated worker keeps the protocol and the pace of a real one and computes nothing, so what is measured is the
//! coordinator, its store and the wire. `ONLY=load` or `ONLY=evidence` measures one half.

mod evidence;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_tests::{Process, lazy_client, program, quantile, timed_plan, wait_until};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tonic::transport::Channel;

/// Time that a process has to come up.
const START: Duration = Duration::from_secs(60);
/// Connections that the load is spread over; a coordinator takes 128 calls on each.
const CONNECTIONS: usize = 16;

/// What is asked for.
struct Load {
    workers: usize,
    incidents: usize,
    /// Tokens a second of each worker.
    pace: u32,
    store: String,
}

/// What was measured.
struct Figures {
    finished: usize,
    elapsed: Duration,
    /// Time from creation to end, sorted.
    plans: Vec<Duration>,
    /// CPU time of the coordinator.
    cpu: Duration,
    /// Most memory of the coordinator, and before the first incident, in bytes.
    peak: u64,
    idle: u64,
    /// Time of a GetIncident call under the load, sorted.
    calls: Vec<Duration>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let number = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    if only != "load" {
        for measured in [Box::pin(evidence::restart()).await, Box::pin(evidence::answers()).await] {
            if let Err(problem) = measured {
                eprintln!("error: {problem}");
                return ExitCode::FAILURE;
            }
            println!();
        }
    }
    if only == "evidence" {
        return ExitCode::SUCCESS;
    }
    let (incidents, pace) = (number("INCIDENTS", 1000), number("PACE", 20_000));
    let pace = u32::try_from(pace).unwrap_or(u32::MAX);
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("error: no folder for the store: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "| store | workers | incidents | finished | s | plans/s | plan p50 s | p99 s | coordinator CPU s | CPU ms a plan | CPU, % of plan time | peak MiB | KiB an incident | GetIncident p50 ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut all_ended = true;
    let sqlite = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    for store in ["memory:".to_owned(), sqlite("many.db")] {
        let load = Load { workers: 16, incidents, pace, store };
        let figures = run(&load).await;
        all_ended &= figures.finished == load.incidents;
        print(&load, &figures);
    }
    println!(
        "\nThe same load per worker on more workers (slow ones, so that the machine is never the bound):\n"
    );
    println!("| workers | incidents | s | plans/s a worker | efficiency |");
    println!("|---|---|---|---|---|");
    let mut one = None;
    for workers in [1, 4, 16, 64] {
        let load = Load { workers, incidents: workers * 4, pace: pace / 50, store: "memory:".to_owned() };
        let figures = run(&load).await;
        all_ended &= figures.finished == load.incidents;
        let rate = figures.finished as f64 / figures.elapsed.as_secs_f64() / workers as f64;
        let efficiency = rate / *one.get_or_insert(rate);
        println!(
            "| {workers} | {} | {:.1} | {rate:.3} | {efficiency:.3} |",
            load.incidents,
            figures.elapsed.as_secs_f64()
        );
    }
    if all_ended {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: not every incident ended with a plan");
        ExitCode::FAILURE
    }
}

fn print(load: &Load, figures: &Figures) {
    let plan_time: Duration = figures.plans.iter().sum();
    let (finished, seconds) = (figures.finished.max(1) as f64, figures.elapsed.as_secs_f64());
    println!(
        "| {} | {} | {} | {} | {seconds:.1} | {:.1} | {:.2} | {:.2} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} | {:.1} | {:.1} |",
        load.store.split(':').next().unwrap_or_default(),
        load.workers,
        load.incidents,
        figures.finished,
        finished / seconds,
        quantile(&figures.plans, 0.5).as_secs_f64(),
        quantile(&figures.plans, 0.99).as_secs_f64(),
        figures.cpu.as_secs_f64(),
        figures.cpu.as_secs_f64() * 1000.0 / finished,
        100.0 * figures.cpu.as_secs_f64() / plan_time.as_secs_f64().max(f64::EPSILON),
        figures.peak as f64 / f64::from(1 << 20),
        figures.peak.saturating_sub(figures.idle) as f64 / 1024.0 / load.incidents as f64,
        quantile(&figures.calls, 0.5).as_secs_f64() * 1000.0,
        quantile(&figures.calls, 0.99).as_secs_f64() * 1000.0,
    );
}

/// Starts a cluster, puts the load on it and takes the figures.
async fn run(load: &Load) -> Figures {
    let workers: Vec<(Process, String)> = (0..load.workers).map(|index| worker(index, load.pace)).collect();
    let urls: Vec<&str> = workers.iter().map(|(_, url)| url.as_str()).collect();
    let mut command = Command::new(program("countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0", "--store", &load.store, "--workers", &urls.join(",")]);
    command.args(["--max-incidents", "100000"]).env("RUST_LOG", "warn");
    let mut coordinator = Process::start("coordinator", &mut command);
    let url = format!("http://{}", coordinator.address(START));
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| lazy_client(&url)).collect();
    let cluster = api::cluster_service_client::ClusterServiceClient::connect(url.clone())
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"));
    let ready = wait_until("all workers are ready", START, || {
        let mut cluster = cluster.clone();
        async move {
            let request = api::ListWorkersRequest { page_size: 1000, page_token: String::new() };
            let listed = cluster.list_workers(request).await.ok()?.into_inner().workers;
            let ready = listed.iter().filter(|worker| worker.status() == api::WorkerStatus::Ready).count();
            (ready == load.workers).then_some(())
        }
    });
    ready.await;
    let idle = coordinator.peak_rss().unwrap_or_default();
    let cpu_before = coordinator.cpu_time();
    let begun = Instant::now();
    let mut running: FuturesUnordered<_> =
        (0..load.incidents).map(|index| plan(clients[index % CONNECTIONS].clone(), index as u64)).collect();
    let (stop, stopped) = oneshot::channel();
    let probe = tokio::spawn(probe(lazy_client(&url), stopped));
    let mut plans = Vec::new();
    while let Some(ended) = running.next().await {
        plans.extend(ended);
    }
    let elapsed = begun.elapsed();
    drop(stop);
    let mut calls = probe.await.unwrap_or_default();
    plans.sort_unstable();
    calls.sort_unstable();
    Figures {
        finished: plans.len(),
        elapsed,
        plans,
        cpu: coordinator.cpu_time().saturating_sub(cpu_before),
        peak: coordinator.peak_rss().unwrap_or_default(),
        idle,
        calls,
    }
}

fn worker(index: usize, pace: u32) -> (Process, String) {
    let id = format!("simulated-{index}");
    let mut command = Command::new(program("countermove-worker"));
    command.args(["--listen", "127.0.0.1:0", "--id", &id, "--simulate", &pace.to_string()]);
    command.env("RUST_LOG", "warn");
    let mut process = Process::start(&id, &mut command);
    let url = format!("http://{}", process.address(START));
    (process, url)
}

/// Plans one incident; gives the time that it took, if it ended with a plan.
async fn plan(client: IncidentServiceClient<Channel>, seed: u64) -> Option<Duration> {
    timed_plan(client, seed).await.map_err(|problem| eprintln!("a plan failed: {problem}")).ok()
}

/// Asks for the newest incident all the time, as a person at a console does, until `stopped`. Gives how long it took.
async fn probe(
    mut client: IncidentServiceClient<Channel>,
    mut stopped: oneshot::Receiver<()>,
) -> Vec<Duration> {
    let mut calls = Vec::new();
    while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        let listed =
            client.list_incidents(api::ListIncidentsRequest { page_size: 1, ..Default::default() }).await;
        let newest = listed.ok().and_then(|listed| listed.into_inner().incidents.into_iter().next());
        if let Some(incident) = newest {
            let begun = Instant::now();
            match client.get_incident(api::GetIncidentRequest { name: incident.name }).await {
                Ok(_) => calls.push(begun.elapsed()),
                Err(status) => eprintln!("GetIncident failed: {status}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    calls
}
