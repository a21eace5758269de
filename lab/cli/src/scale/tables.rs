//! What is simulated, and the tables that say what came of it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::figures::{Figures, Look, fairness, quantile};
use super::machine::Machine;
use super::scenario::{Demand, Fault, Scenario};
use super::world::LOOK;
use super::{dispatching, simulate};
use crate::args::ScaleArgs;

/// A simulation, and its table as Markdown.
pub(super) type Table = Box<dyn FnOnce() -> Result<String, String> + Send>;

/// Parts of what a cluster of workers can do that are asked of it, in the table that is held against the operator's formula.
const LOADS: [f64; 4] = [0.3, 0.5, 0.7, 0.9];
/// What the formula is held against: so many workers, and so many incidents.
const STEADY: (usize, usize) = (10, 300);
/// Numbers of workers before which one coordinator is measured.
const FLEETS: [usize; 3] = [10, 100, 1000];

/// All tables, in their order. Those that stand together are worked out side by side; what is timed stands alone.
pub(super) fn all(arguments: &ScaleArgs) -> Vec<Vec<Table>> {
    let base = Scenario {
        name: "nothing goes wrong",
        seed: arguments.seed,
        workers: arguments.workers,
        coordinators: arguments.coordinators,
        machine: if arguments.gpu { Machine::GPU } else { Machine::CPU },
        incidents: arguments.incidents,
        arrival: Duration::from_secs(10),
        tenants: 10,
        demand: Demand::USUAL,
        fault: Fault::None,
        near: Duration::from_millis(1),
        far: Duration::from_millis(40),
    };
    // In the middle of the work, as it would be without the fault.
    let at = Duration::from_secs_f64(base.least() / 2.0);
    let faults = [
        base,
        Scenario { name: "half of the workers vanish", fault: Fault::Region(at), ..base },
        Scenario { name: "a coordinator is gone", fault: Fault::Coordinator(at), ..base },
        Scenario { name: "each tenth worker is 8 times as slow", fault: Fault::Slow(10, 8.0), ..base },
    ];
    let costs: Table = Box::new(move || dispatching_costs(base));
    let mut others: Vec<Table> = vec![Box::new(move || Ok(steady(base)? + "\n"))];
    others.push(Box::new(move || Ok(head(&base))));
    others.extend(faults.map(|scenario| -> Table { Box::new(move || timed(scenario)) }));
    vec![vec![costs], others]
}

fn dispatching_costs(base: Scenario) -> Result<String, String> {
    let mut text = "What one coordinator takes to hand out a piece of work, on this machine:\n\n\
                    | workers | µs a rollout, all full | µs a question, all full of rollouts |\n|---|---|---|\n"
        .to_owned();
    for workers in FLEETS {
        let cost = dispatching::cost(Scenario { workers, ..base })?;
        let _ = writeln!(text, "| {workers} | {:.0} | {:.0} |", cost.rollout, cost.question);
    }
    Ok(text + "\n")
}

/// Load that stays, held against the formula of the operator's guide and against tokens.
fn steady(base: Scenario) -> Result<String, String> {
    let (workers, incidents) = STEADY;
    let mut text = format!(
        "{incidents} incidents at random times on {workers} workers, by the part of their full batches that they ask for:\n\n\
         | load | plan p50 / p99, s | question p99, s | rollout p99, s | places taken | workers busy | waiting | \
         needed: by places | by busy workers | by tokens |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
    );
    for load in LOADS {
        let asked = incidents as f64 * base.demand.tokens();
        let arrival = Duration::from_secs_f64(asked / (load * workers as f64 * base.machine.most()));
        let scenario = Scenario { workers, coordinators: 2, incidents, arrival, tenants: 1, ..base };
        let mut figures = simulate(scenario)?;
        // Without the beginning and the end.
        let count = (arrival.as_secs_f64() / LOOK.as_secs_f64()) as usize;
        let looks = figures.looks.get(count / 4..count.min(figures.looks.len())).unwrap_or_default().to_vec();
        let of = |part: fn(&Look) -> f64| looks.iter().map(part).sum::<f64>() / looks.len().max(1) as f64;
        let (places, busy, waiting) = (of(|l| l.places), of(|l| l.busy), of(|l| l.waiting as f64));
        let needed = |part| needed(workers as f64, part, waiting, of(|l| l.taken));
        let mut plans = figures.plans();
        let _ = writeln!(
            text,
            "| {load} | {:.1} / {:.1} | {:.2} | {:.2} | {places:.3} | {busy:.2} | {waiting:.1} | {:.1} | {:.1} | {:.1} |",
            quantile(&mut plans, 0.5),
            quantile(&mut plans, 0.99),
            quantile(&mut figures.question_waits, 0.99),
            quantile(&mut figures.rollout_waits, 0.99),
            needed(places),
            needed(busy),
            load * workers as f64 / 0.7
        );
    }
    Ok(text)
}

/// How many workers are needed by the formula of docs/operations.md, of the part of the workers that is at work, of what waits, and of what
/// is taken from the queue each second.
fn needed(workers: f64, part: f64, waiting: f64, taken: f64) -> f64 {
    workers * part * (1.0 / 0.7 + waiting / (60.0 * taken.max(f64::MIN_POSITIVE)))
}

fn head(base: &Scenario) -> String {
    format!(
        "{} incidents within {} s on {} workers, {} coordinators, two regions, {} tenants of which the first has half; {} questions and {} rollouts \
         each, {:.0} tokens. No cluster of this size ends before {:.0} s.\n\n\
         | | ended | failed | all, s | plan p50 / p99, s | question p50 / p99, s | rollout p50 / p99, s | most waiting | \
         shares of equal tenants, Jain | of the first | times as long for it | hedges | lost | refused | taken over | writes, most a s | simulated in, s |\n\
         |{}\n",
        base.incidents,
        base.arrival.as_secs(),
        base.workers,
        base.coordinators,
        base.tenants,
        base.demand.questions(),
        base.demand.rollouts(),
        base.demand.tokens(),
        base.least(),
        "---|".repeat(17)
    )
}

fn row(scenario: &Scenario, figures: &mut Figures) -> String {
    let mut plans = figures.plans();
    let shares = figures.shares(scenario.tenants, scenario.arrival.as_secs());
    let waiting = figures.looks.iter().map(|look| look.waiting).max().unwrap_or_default();
    let pair = |times: &mut [Duration]| format!("{:.2} / {:.2}", quantile(times, 0.5), quantile(times, 0.99));
    format!(
        "| {} | {} | {} | {:.0} | {} | {} | {} | {waiting} | {:.3} | {:.2} | {:.1} | {} | {} | {} | {} | {} |",
        scenario.name,
        plans.len(),
        figures.failed,
        figures.ended.as_secs_f64(),
        pair(&mut plans),
        pair(&mut figures.question_waits),
        pair(&mut figures.rollout_waits),
        fairness(&shares),
        shares.first().copied().unwrap_or_default(),
        figures.mean_of(|tenant| tenant == 0) / figures.mean_of(|tenant| tenant != 0),
        figures.hedges,
        figures.lost,
        figures.refused,
        figures.taken_over,
        figures.most_writes(),
    )
}

/// A row, with how long it took to simulate it.
fn timed(scenario: Scenario) -> Result<String, String> {
    let begun = Instant::now();
    let row = row(&scenario, &mut simulate(scenario)?);
    Ok(format!("{row} {:.0} |\n", begun.elapsed().as_secs_f64()))
}
