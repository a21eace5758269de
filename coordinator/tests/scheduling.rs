//! How long the coordinator takes from a question to the worker that answers it. A measurement, not a check:
//! `make bench-cluster` runs it on optimised code.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use countermove_coordinator::dispatch::{DispatchOptions, Dispatcher, IncidentWorkers, Payer};
use countermove_planner::{LanguageModel, TokenCounter};
use countermove_proto::IncidentId;
use support::worker::{FakeWorker, Script};
use support::{fleet, question, ready};

const WORKERS: usize = 64;
const INCIDENTS: u64 = 1000;
const QUESTIONS: u64 = 10;
/// Time that an answer takes; with it 1,000 incidents ask 1,000 questions a second.
const ANSWER: Duration = Duration::from_secs(1);

/// From the moment at which the planner asks until the worker has the question, over real sockets: choosing the worker,
/// counting, encoding, and the way there. Workers have room, so nothing waits for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: `make bench-cluster` runs it"]
async fn time_from_a_question_to_its_worker() {
    let workers: Vec<_> = (0..WORKERS)
        .map(|index| {
            let script = Script::with_capacity(&format!("w-{index}"), 32);
            *script.answer_delay.lock().unwrap() = ANSWER;
            FakeWorker::start(script)
        })
        .collect();
    let fleet = fleet(workers.iter().map(|worker| worker.url.clone()));
    ready(&fleet, WORKERS).await;
    let dispatcher = Dispatcher::start(fleet, DispatchOptions::default());
    let incidents = (0..INCIDENTS).map(|incident| {
        let id = IncidentId::generate();
        let asker = IncidentWorkers::new(dispatcher.clone(), id, Payer::default(), None, None);
        tokio::spawn(async move {
            // Incidents do not begin at the same moment.
            tokio::time::sleep(ANSWER * u32::try_from(incident).unwrap() / u32::try_from(INCIDENTS).unwrap())
                .await;
            let mut asked = Vec::new();
            for number in 0..QUESTIONS {
                let seed = incident * QUESTIONS + number;
                asked.push((seed, Instant::now()));
                asker.ask(question(&"What now? ".repeat(200), seed), &TokenCounter::default()).await.unwrap();
            }
            asked
        })
    });
    let mut times = Vec::new();
    for incident in incidents.collect::<Vec<_>>() {
        for (seed, asked) in incident.await.unwrap() {
            let arrived = workers.iter().find_map(|w| w.script.arrivals.lock().unwrap().get(&seed).copied());
            times.push(arrived.unwrap() - asked);
        }
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1000.0;
    println!("| incidents | workers | questions | p50 ms | p99 ms | p99.9 ms | longest ms |");
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {INCIDENTS} | {WORKERS} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}
