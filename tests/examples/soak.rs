//! A cluster with simulated workers under a steady load for a long time: does any process grow? `make soak` runs it and
//! draws the memory of each process over time.
//!
//! The load is a fixed number of incidents at a time, each followed by the next. What is compared is the mean of the
//! second quarter of the time with that of the last, so that what fills up once at the beginning is not taken for a leak.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use countermove_chart::{Axes, Line};
use countermove_tests::{Process, lazy_client, program, quantile, repository, timed_plan};
use tokio::task::JoinSet;

/// Time that a process has to come up.
const START: Duration = Duration::from_secs(60);
/// Time between two looks at the memory.
const LOOK: Duration = Duration::from_secs(2);
/// Tokens a second of each worker.
const PACE: &str = "4000";
const WORKERS: usize = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (minutes, at_once) = (number("MINUTES", 30), number("INCIDENTS", 8));
    // Growth of a process, in percent, above which the memory does not count as flat.
    let bound = number("BOUND", 5) as f64;
    let target = std::env::var("CHART").unwrap_or_else(|_| "docs/soak.svg".to_owned());
    match soak(Duration::from_secs(60 * minutes), at_once).await {
        Ok(lines) => {
            let title = format!("Resident memory over {minutes} minutes, {at_once} incidents at a time");
            let target = repository().join(target);
            let axes = Axes { title: &title, x: "minutes", y: "MiB" };
            let chart = countermove_chart::lines(axes, &lines).map_err(|error| error.to_string());
            let written = chart.and_then(|chart| {
                std::fs::write(&target, chart)
                    .map_err(|error| format!("{} could not be written: {error}", target.display()))
            });
            if let Err(problem) = written {
                eprintln!("error: {problem}");
                return ExitCode::FAILURE;
            }
            match lines.iter().filter(|line| report(line) > bound).count() {
                0 => ExitCode::SUCCESS,
                count => {
                    eprintln!("error: {count} processes grew by more than {bound} %");
                    ExitCode::FAILURE
                }
            }
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Puts the load on for so long, and gives the memory of each process.
async fn soak(time: Duration, at_once: u64) -> Result<Vec<Line>, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no folder for the store: {error}"))?;
    let mut processes = Vec::new();
    let mut urls = Vec::new();
    for index in 0..WORKERS {
        let id = format!("worker {}", index + 1);
        let mut command = Command::new(program("countermove-worker"));
        command.args(["--listen", "127.0.0.1:0", "--simulate", PACE]).env("RUST_LOG", "warn");
        let mut worker = Process::start(&id, &mut command);
        urls.push(format!("http://{}", worker.address(START)));
        processes.push(worker);
    }
    let store = format!("sqlite:{}", folder.path().join("incidents.db").display());
    let mut command = Command::new(program("countermove-coordinator"));
    command.args(["--listen", "127.0.0.1:0", "--store", &store, "--workers", &urls.join(",")]);
    command.env("RUST_LOG", "warn");
    let mut coordinator = Process::start("coordinator", &mut command);
    let client = lazy_client(&format!("http://{}", coordinator.address(START)));
    processes.insert(0, coordinator);

    let mut lines: Vec<Line> = processes
        .iter()
        .map(|process| Line { name: process.name().to_owned(), points: Vec::new() })
        .collect();
    let (begun, mut plans, mut running, mut seed) = (Instant::now(), Vec::new(), JoinSet::new(), 0);
    let mut look = tokio::time::interval(LOOK);
    while begun.elapsed() < time || !running.is_empty() {
        while running.len() < at_once as usize && begun.elapsed() < time {
            running.spawn(timed_plan(client.clone(), seed));
            seed += 1;
        }
        tokio::select! {
            Some(ended) = running.join_next() => {
                plans.push(ended.map_err(|error| error.to_string())??);
            }
            _ = look.tick() => {
                let minutes = begun.elapsed().as_secs_f64() / 60.0;
                for (line, process) in lines.iter_mut().zip(&processes) {
                    let rss = process.rss().ok_or_else(|| format!("{} has ended", process.name()))?;
                    line.points.push((minutes, rss as f64 / f64::from(1 << 20)));
                }
            }
        }
    }
    plans.sort_unstable();
    println!(
        "{} incidents in {:.1} min, {at_once} at a time, none failed; p50 {:.2} s, p99 {:.2} s\n",
        plans.len(),
        begun.elapsed().as_secs_f64() / 60.0,
        quantile(&plans, 0.5).as_secs_f64(),
        quantile(&plans, 0.99).as_secs_f64()
    );
    println!("| process | MiB, second quarter | MiB, last quarter | growth | highest MiB |");
    println!("|---|---|---|---|---|");
    Ok(lines)
}

/// Prints a process's line and gives its growth in percent.
fn report(line: &Line) -> f64 {
    let quarter = line.points.len() / 4;
    let mean =
        |points: &[(f64, f64)]| points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64;
    let (early, late) =
        (mean(&line.points[quarter..2 * quarter]), mean(&line.points[line.points.len() - quarter..]));
    let growth = 100.0 * (late / early - 1.0);
    let highest = line.points.iter().fold(0.0_f64, |highest, point| highest.max(point.1));
    println!("| {} | {early:.1} | {late:.1} | {growth:+.1} % | {highest:.1} |", line.name);
    growth
}
