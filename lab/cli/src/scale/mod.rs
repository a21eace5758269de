//! `countermove-lab scale`: a cluster of any size on a clock of its own, with the coordinators' real queues.
//!
//! Shares, placement, hedging and the table of workers are those of the coordinator; workers, networks and stores are models with
//! measured figures ([`machine`], [`scenario`]). Time is simulated, so a minute of ten thousand incidents is no minute here, and the
//! same seed gives the same figures. docs/scaling.md says what came of it, and what is not in it.

mod dice;
mod dispatching;
mod figures;
mod incident;
mod machine;
mod scenario;
mod tables;
#[cfg(test)]
mod tests;
mod worker;
mod world;

use countermove::console::Console;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::plan::write_out;
use futures::future::join_all;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use self::dice::Dice;
use self::figures::Figures;
use self::scenario::{MOST, Scenario};
use self::world::World;
use crate::args::ScaleArgs;

/// Simulates, and prints tables. Ctrl-C ends it between two of them.
pub(crate) async fn scale(
    arguments: ScaleArgs,
    _console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    for beside in tables::all(&arguments) {
        // Each on a thread of its own, since it has its own clock.
        let works: Vec<_> = beside.into_iter().map(tokio::task::spawn_blocking).collect();
        for work in works {
            let printed = tokio::select! {
                done = work => done.map_err(|error| Failure::Failed(format!("a simulation broke off: {error}")))?,
                () = interrupt.wait() => return Ok(Exit::Interrupted),
            };
            write_out(printed.map_err(Failure::Failed)?.as_bytes())?;
        }
    }
    Ok(Exit::Success)
}

/// Runs what needs a clock that jumps to the next thing that happens.
fn on_a_clock_of_its_own<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"))?;
    LocalSet::new().block_on(&runtime, work)
}

/// Simulates a scenario to its end.
fn simulate(scenario: Scenario) -> Result<Figures, String> {
    on_a_clock_of_its_own(async move {
        let world = World::new(scenario)?;
        let mut dice = Dice::of(scenario.seed, u64::MAX);
        let mut arrivals: Vec<_> =
            (0..scenario.incidents).map(|_| world.begun + scenario.arrival.mul_f64(dice.part())).collect();
        arrivals.sort_unstable();
        let plans =
            (0..).zip(arrivals).map(|(number, at)| spawn_local(incident::plan(world.clone(), number, at)));
        let plans = join_all(plans.collect::<Vec<_>>());
        let trouble = world.clone();
        spawn_local(async move { trouble.go_wrong().await });
        tokio::select! {
            biased;
            _ = plans => {}
            () = world.look() => {}
            () = world.keep_telling() => {}
            () = sleep(MOST) => {}
        }
        let mut figures = world.figures.take();
        figures.ended = world.begun.elapsed();
        Ok(figures)
    })
}
