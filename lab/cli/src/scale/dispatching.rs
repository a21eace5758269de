//! What it costs a coordinator to hand out a piece of work, by the clock of this machine: the real queue before many workers, all of
//! which are full while more waits, so that each piece that ends lets one begin.

use std::collections::VecDeque;
use std::time::Instant;

use countermove_planner::Usage;
use futures::FutureExt;

use super::scenario::Scenario;
use super::world::World;

/// Pieces of work that are measured.
const PIECES: usize = 2000;
/// Incidents whose rollouts wait.
const INCIDENTS: usize = 100;

/// Microseconds of a rollout and of a question, from the end of one to the beginning of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) rollout: f64,
    pub(super) question: f64,
}

/// Measures one coordinator before as many workers as the scenario has.
///
/// # Errors
/// If there is no runtime for it.
pub(super) fn cost(scenario: Scenario) -> Result<Cost, String> {
    super::on_a_clock_of_its_own(async move {
        let world = World::new(Scenario { coordinators: 1, tenants: 1, ..scenario })?;
        let askers: Vec<_> = (0..INCIDENTS).map(|incident| world.asker(0, incident)).collect();
        let turns: Vec<_> = askers.iter().map(|asker| asker.rollouts()).collect();
        // One tenant, or questions would wait for its turn. Twice what all workers take waits.
        let each = 3 * scenario.workers * scenario.machine.capacity as usize / INCIDENTS + PIECES;
        turns.iter().for_each(|turn| turn.want(each));
        let mut places = VecDeque::new();
        for turn in &turns {
            places.extend(turn.granted().now_or_never().into_iter().flatten());
        }
        // All of them have the same size, so that averages stay what they are.
        let used = Usage { sampled_tokens: 512, ..Usage::default() };
        let begun = Instant::now();
        for piece in 0..PIECES {
            let mut place = places.pop_front().ok_or("no worker took any rollout")?;
            place.finished(&used);
            if place.held() > 0 {
                places.push_back(place);
            }
            // Whoever hands out runs now, if it has to.
            tokio::task::yield_now().await;
            places.extend(turns[piece % INCIDENTS].granted().now_or_never().into_iter().flatten());
        }
        let rollout = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for piece in 0..PIECES {
            let asker = &askers[piece % INCIDENTS];
            let mut place = asker.question().await.map_err(|error| error.to_string())?;
            place.finished(&used);
            tokio::task::yield_now().await;
        }
        let question = begun.elapsed().as_secs_f64();
        let of = |seconds: f64| seconds * 1e6 / PIECES as f64;
        Ok(Cost { rollout: of(rollout), question: of(question) })
    })
}
