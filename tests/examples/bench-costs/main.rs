//! What an incident costs: tokens, bytes and messages on each way between the parts of a real cluster, and the formula that they
//! follow. Prints Markdown; `make bench-costs` runs it, and docs/scaling.md rests on it.
//!
//! Two coordinators on PostgreSQL and two workers that are found by etcd, each behind a proxy that counts. What passes without any
//! incident is measured first and taken off by the time that an incident took. `WORKER=simulated` measures without a model: then
//! bytes are those of dice, and tokens mean nothing.

mod cluster;
mod fit;
mod proxy;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster::{Cluster, Sample, WAYS};
use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_tests::incident_evidence;
use fit::{Fit, fit};

/// For how long nothing is done.
const IDLE: Duration = Duration::from_secs(20);
/// Time for what an incident leaves behind to pass.
const SETTLE: Duration = Duration::from_secs(3);
/// Plans that the formula is fitted to: steps, candidates, rollouts of each.
const PLANS: [(u32, u32, u32); 6] = [(1, 2, 2), (3, 2, 2), (3, 4, 2), (3, 2, 8), (2, 3, 20), (5, 3, 4)];

/// A plan, and what passed for it.
struct Plan {
    name: String,
    steps: u32,
    /// One, candidates and rollouts.
    size: [f64; 3],
    seconds: f64,
    sample: Sample,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), String> {
    let cluster = Cluster::start().await?;
    tokio::time::sleep(SETTLE).await;
    let before = cluster.sample().await?;
    tokio::time::sleep(IDLE).await;
    let idle = cluster.sample().await?.less(&before);
    print_idle(&idle);

    let mut plans = Vec::new();
    for (number, (steps, candidates, rollouts)) in (1..).zip(PLANS) {
        let options = api::PlanOptions {
            candidates,
            rollouts,
            max_steps: steps,
            exhaustive: true,
            ..api::PlanOptions::default()
        };
        let name = format!("{steps} × {candidates} × {rollouts}");
        plans.push(plan(&cluster, &idle, name, api::PlanOptions { seed: Some(number), ..options }, 0).await?);
    }
    let usual = api::PlanOptions { seed: Some(7), ..api::PlanOptions::default() };
    let usual = [
        plan(&cluster, &idle, "defaults".to_owned(), usual, 0).await?,
        plan(&cluster, &idle, "defaults, watched at the other coordinator".to_owned(), usual, 1).await?,
    ];
    print_plans(plans.iter().chain(&usual));
    print_fits(&plans, &usual[0]);
    Ok(())
}

/// Plans the sample incident at the first coordinator, watched at the one that `watcher` says, and gives what that took beyond what
/// passes anyway.
async fn plan(
    cluster: &Cluster,
    idle: &Sample,
    name: String,
    options: api::PlanOptions,
    watcher: usize,
) -> Result<Plan, String> {
    let evidence = incident_evidence().map_err(|error| format!("the sample incident: {error}"))?;
    let before = cluster.sample().await?;
    let begun = Instant::now();
    let request = api::CreateIncidentRequest {
        evidence: Some(evidence),
        options: Some(options),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..api::CreateIncidentRequest::default()
    };
    let created = cluster.client(0).create_incident(request).await.map_err(|status| status.to_string())?;
    let incident = created.into_inner().incident.ok_or("CreateIncident gave no incident")?.name;
    let request = api::WatchIncidentRequest { name: incident, resume_after: 0 };
    let watched = cluster.client(watcher).watch_incident(request).await;
    let mut stream = watched.map_err(|status| status.to_string())?.into_inner();
    let (mut steps, mut candidates, mut rollouts) = (0, 0.0, 0.0);
    while let Some(update) = stream.message().await.map_err(|status| status.to_string())? {
        let Some(Update::Event(api::IncidentEvent { kind: Some(kind), .. })) = update.update else {
            continue;
        };
        match kind {
            Kind::Proposed(proposed) => {
                steps += 1;
                candidates += proposed.candidates.len() as f64;
            }
            Kind::Rollout(_) => rollouts += 1.0,
            Kind::Ended(ended) if ended.end() == api::PlanEnd::Failed => return Err(ended.error),
            Kind::Ended(_) => break,
            _ => {}
        }
    }
    drop(stream);
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let passed = cluster.sample().await?.less(&before);
    let part = begun.elapsed().as_secs_f64() / IDLE.as_secs_f64();
    Ok(Plan { name, steps, size: [1.0, candidates, rollouts], seconds, sample: passed.less_part(idle, part) })
}

fn print_idle(idle: &Sample) {
    let seconds = IDLE.as_secs_f64();
    println!("Nothing is planned, {seconds} s; a second:\n");
    println!("| way | connections | bytes | calls | pings | turns |\n|---|---|---|---|---|---|");
    for (way, passed) in WAYS.iter().zip(&idle.ways) {
        let of = |count: f64| count / seconds;
        println!(
            "| {way} | {} | {:.0} | {:.2} | {:.2} | {:.2} |",
            passed.open,
            of(passed.bytes),
            of(passed.calls),
            of(passed.pings),
            of(passed.turns)
        );
    }
    println!(
        "\nOperations of the store meanwhile, a second: {:.2}\n",
        idle.of("other operations of the store") / seconds
    );
}

fn print_plans<'a>(plans: impl Iterator<Item = &'a Plan> + Clone) {
    println!("| plan | steps | candidates | rollouts | s |");
    println!("|---|---|---|---|---|");
    for plan in plans.clone() {
        let [_, candidates, rollouts] = plan.size;
        println!("| {} | {} | {candidates} | {rollouts} | {:.1} |", plan.name, plan.steps, plan.seconds);
    }
    println!();
    let names: Vec<_> = plans.clone().map(|plan| plan.name.clone()).collect();
    println!("| what | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    let Some(first) = plans.clone().next() else { return };
    for (at, (what, _)) in first.sample.figures().into_iter().enumerate() {
        let figures: Vec<_> =
            plans.clone().map(|plan| format!("{:.0}", plan.sample.figures()[at].1)).collect();
        println!("| {what} | {} |", figures.join(" | "));
    }
    println!();
}

/// The formula of each figure, how far it is from what it was fitted to, and from the plan with the defaults, which it was not.
fn print_fits(plans: &[Plan], usual: &Plan) {
    println!("| what | an incident | a candidate | a rollout | furthest, % | defaults, formula | measured |");
    println!("|---|---|---|---|---|---|---|");
    let sizes: Vec<_> = plans.iter().map(|plan| plan.size).collect();
    for (at, (what, measured)) in usual.sample.figures().into_iter().enumerate() {
        let figures: Vec<_> = plans.iter().map(|plan| plan.sample.figures()[at].1).collect();
        let Some(Fit { each: [one, candidate, rollout], furthest }) = fit(&sizes, &figures) else {
            continue;
        };
        let expected: f64 =
            usual.size.iter().zip([one, candidate, rollout]).map(|(size, each)| size * each).sum();
        println!(
            "| {what} | {one:.0} | {candidate:.0} | {rollout:.0} | {:.0} | {expected:.0} | {measured:.0} |",
            furthest * 100.0
        );
    }
}
