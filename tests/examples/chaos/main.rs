//! A hundred incidents at a time on three coordinators, one PostgreSQL, three members of etcd and four simulated workers,
//! while processes and engines are killed, frozen and restarted, machines cut off, disks filled and the webhook's receiver
//! silenced by a schedule that a seed draws. Some incidents have logs of 22 MB, some wait for approvals that go out by webhook.
//! `make chaos` runs it.
//!
//! Each round ends with a check: every incident ended, with the very decisions of the undisturbed run; every approved action
//! reached the receiver; nothing was told twice; every chain is whole; the database holds what clients created and nothing else. A round that fails it ends the
//! program with the incident's name and the seed. What needs root or a program that is not installed is left out with a
//! word.

mod cluster;
mod disk;
mod engine;
mod faults;
mod load;
mod receiver;
mod scenario;
mod server;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster::{COORDINATORS, Cluster, WORKERS};
use countermove_tests::Dice;
use faults::{Counts, hurt, roll};
use load::{Plans, plan_all};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What is done to the cluster during a round.
enum Disturbance<'a> {
    None,
    /// Every process is restarted in turn; the number says where that stands.
    Restarts(&'a mut usize),
    /// Faults that this seed draws.
    Faults(u64),
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    if std::env::args_os().nth(1).is_some_and(|first| first == "worker") {
        // The second one is what it is, and no flag of its.
        return match engine::serve(program.into_iter().chain(arguments.skip(1))).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (incidents, minutes, seed) = (number("INCIDENTS", 100), number("MINUTES", 30), number("SEED", 1));
    let mut cluster = match Cluster::start().await {
        Ok(Some(cluster)) => cluster,
        Ok(None) => return ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("error: the cluster does not come up: {problem}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "{COORDINATORS} coordinators and {WORKERS} workers; clocks are {}",
        if cluster.has_skew { "hours and days off" } else { "right" }
    );
    let played = tokio::select! {
        played = play(&mut cluster, incidents, Duration::from_secs(60 * minutes), seed) => played,
        // The networks and disks have to be taken away again.
        () = stopped() => Err("it was told to stop".to_owned()),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{}error: {problem}", cluster.logs());
            ExitCode::FAILURE
        }
    }
}

/// Ends when somebody ends the program.
async fn stopped() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// All rounds: one undisturbed, some with restarts, then faults until the time is over.
async fn play(cluster: &mut Cluster, incidents: u64, time: Duration, seed: u64) -> Result<(), String> {
    let begun = Instant::now();
    let mut created = incidents;
    let said = |problem: String| format!("the undisturbed round: {problem}");
    let (expected, _) = round(cluster, incidents, Disturbance::None).await.map_err(said)?;
    cluster.check_store(created).map_err(said)?;
    println!("undisturbed: {} incidents finished in {:.1} s", expected.len(), begun.elapsed().as_secs_f64());

    let (begun, mut turn, mut rolled, mut restarts) = (Instant::now(), 0, 0, Counts::new());
    while turn < WORKERS + COORDINATORS {
        let said = |problem: String| format!("during restarts in turn: {problem}");
        let (plans, counts) =
            round(cluster, incidents, Disturbance::Restarts(&mut turn)).await.map_err(said)?;
        created += incidents;
        same(&expected, &plans).and_then(|()| cluster.check_store(created)).map_err(said)?;
        rolled += plans.len();
        add(&mut restarts, counts);
    }
    println!(
        "restarts in turn: {rolled} incidents finished as undisturbed in {:.1} s; {restarts:?}",
        begun.elapsed().as_secs_f64()
    );
    scenario::full_sqlite_disk(cluster, &expected)
        .await
        .map_err(|problem| format!("a full SQLite disk: {problem}"))?;

    let (begun, mut finished, mut total) = (Instant::now(), 0, Counts::new());
    for seed in (0..).map(|round| seed.wrapping_add(round)) {
        if begun.elapsed() > time {
            break;
        }
        let started = Instant::now();
        let said = |problem: String| format!("with seed {seed}: {problem}");
        let (plans, counts) = round(cluster, incidents, Disturbance::Faults(seed)).await.map_err(said)?;
        created += incidents;
        same(&expected, &plans).and_then(|()| cluster.check_store(created)).map_err(said)?;
        finished += plans.len();
        println!(
            "seed {seed}: {} of {incidents} incidents finished as undisturbed in {:.1} s; faults: {counts:?}",
            plans.len(),
            started.elapsed().as_secs_f64()
        );
        add(&mut total, counts);
    }
    println!(
        "in all: {finished} incidents finished in {:.1} min, none lost, none changed; {} faults: {total:?}",
        begun.elapsed().as_secs_f64() / 60.0,
        total.values().sum::<u64>()
    );
    Ok(())
}

/// Plans so many incidents while the cluster is disturbed, and waits until it is whole again.
async fn round(
    cluster: &mut Cluster,
    incidents: u64,
    disturbance: Disturbance<'_>,
) -> Result<(Plans, Counts), String> {
    let (done, over) = watch::channel(false);
    let (urls, receiver) = (cluster.urls.clone(), cluster.receiver.clone());
    // On a thread of its own: futures of asynchronous closures that borrow cannot move between threads.
    let runtime = tokio::runtime::Handle::current();
    let load = tokio::task::spawn_blocking(move || {
        let plans = runtime.block_on(plan_all(&urls, incidents, Some(receiver)));
        done.send_replace(true);
        plans
    });
    let counts = match disturbance {
        Disturbance::None => Counts::new(),
        Disturbance::Restarts(turn) => roll(cluster, turn, over).await?,
        Disturbance::Faults(seed) => hurt(cluster, Dice::new(seed), over).await?,
    };
    let plans = load.await.map_err(|error| error.to_string())??;
    cluster.wait_until_up().await?;
    cluster.wait_for_database().await?;
    Ok((plans, counts))
}

/// Whether plans are those of the undisturbed run.
fn same(expected: &Plans, plans: &Plans) -> Result<(), String> {
    match plans.iter().find(|(index, plan)| expected.get(index) != Some(plan)) {
        Some((index, plan)) => Err(format!(
            "the plan of incident {index} is another one than undisturbed:\n{plan}\ninstead of\n{}",
            expected.get(index).map_or("none", String::as_str)
        )),
        None => Ok(()),
    }
}

fn add(total: &mut Counts, counts: Counts) {
    for (name, count) in counts {
        *total.entry(name).or_default() += count;
    }
}
