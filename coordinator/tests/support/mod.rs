//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

pub mod cluster;
pub mod model;
pub mod process;
pub mod receiver;
pub mod worker;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use countermove_coordinator::discovery::{StaticDiscovery, WorkerUrl};
use countermove_coordinator::workers::{Backoff, Fleet, FleetOptions, LinkOptions};
use countermove_planner::{AnswerFormat, Prompt, Purpose, Question, Sampling, Templates};
use countermove_proto::v1::WorkerStatus;

/// The templates that coordinators and workers of a test share.
pub fn templates() -> Arc<Templates> {
    static TEMPLATES: OnceLock<Arc<Templates>> = OnceLock::new();
    Arc::clone(TEMPLATES.get_or_init(|| Arc::new(Templates::load(None).expect("built-in templates"))))
}

/// A fleet of these workers.
pub fn fleet(workers: impl IntoIterator<Item = WorkerUrl>) -> Fleet {
    let options =
        FleetOptions { templates: vec![templates()], link: quick_links(), ..FleetOptions::default() };
    Fleet::start(&StaticDiscovery::new(workers), options)
}

/// Waits until this many workers are ready.
pub async fn ready(fleet: &Fleet, count: usize) {
    until(&format!("{count} ready workers"), || {
        fleet.list().iter().filter(|worker| worker.status() == WorkerStatus::Ready).count() == count
    })
    .await;
}

/// Links that notice everything fast.
pub fn quick_links() -> LinkOptions {
    LinkOptions {
        renew: None,
        connect_timeout: Duration::from_millis(500),
        keep_alive_interval: Duration::from_millis(150),
        keep_alive_timeout: Duration::from_millis(400),
        probe_interval: Duration::from_millis(100),
        probe_timeout: Duration::from_millis(600),
        backoff: Backoff { first: Duration::from_millis(20), most: Duration::from_millis(200) },
    }
}

/// Waits until something holds; panics with `what` after ten seconds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A question of a decision, with an answer of a few tokens.
pub fn question(text: &str, seed: u64) -> Question {
    Question {
        tenant: String::new(),
        prompt: Prompt { system: "You plan.".into(), segments: vec![text.into()] },
        format: AnswerFormat {
            thinking_tokens: 0,
            json_schema: serde_json::json!({"type": "object", "properties": {"Yes": {"type": "boolean"}}}),
            max_tokens: 16,
            weigh_options: false,
        },
        sampling: Sampling { temperature: 0.6, top_p: 0.9, seed },
        purpose: Purpose::Decision,
    }
}
