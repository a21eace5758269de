//! Figures of a worker: the table of all of them, and where they come from.
//!
//! The engine counts for itself; what it has counted is looked up when the page is read. What is in the table is what
//! docs/metrics.md, the dashboards and the alerts are held against.

use countermove_model::EngineStats;
use countermove_proto::PROTOCOL_VERSION;
use countermove_telemetry::{CountCalls, Counters, Gauges, Kind, Label, Metric, Page, REASONS, Values};

use crate::service::{ServedModel, Worker};

macro_rules! table {
    ($($name:ident = $metric:expr;)+) => {
        $(const $name: Metric = $metric;)+
        /// Every figure of a worker.
        pub const TABLE: &[Metric] = &[$($name),+];
    };
}

table! {
    BUILD = Metric::new("countermove_worker_build_info", Kind::Gauge, "1; the labels say which release this is and which protocol it speaks with coordinators")
        .by(&[Label { name: "version", values: Values::Open(env!("CARGO_PKG_VERSION"), "the release") },
              Label { name: "protocol", values: Values::Open("", "the protocol's version") }]);
    MODEL = Metric::new("countermove_worker_model_info", Kind::Gauge, "1; the labels say what it holds and how it computes")
        .by(&[Label { name: "model", values: Values::Open("", "the model's name") },
              Label { name: "weights_sha256", values: Values::Open("", "the digest of its weights") },
              Label { name: "arithmetic", values: Values::Open("", "device, platform, format and version of the arithmetic") }]);
    CALLS = Metric::new("countermove_worker_calls_total", Kind::Counter, "Calls that were answered, refused or begun");
    REFUSED = Metric::new("countermove_worker_calls_refused_total", Kind::Counter, "Calls that were refused, by the status that says why")
        .by(&[Label { name: "reason", values: Values::Of(REASONS) }]);
    RUNNING_CALLS = Metric::new("countermove_worker_calls_running", Kind::Gauge, "Calls under way");
    PLACES = Metric::new("countermove_worker_batch_places", Kind::Gauge, "Sequences that are decoded in one batch at most");
    EFFICIENT = Metric::new("countermove_worker_batch_efficient", Kind::Gauge, "Sequences with which a batch is nine tenths as fast as a full one; 0 while that was not measured");
    SEQUENCES = Metric::new("countermove_worker_sequences", Kind::Gauge, "Sequences that are decoded, and requests that wait for a place")
        .by(&[Label { name: "state", values: Values::Of(&["running", "waiting"]) }]);
    STEPS = Metric::new("countermove_worker_steps_total", Kind::Counter, "Passes through the model");
    BATCHED = Metric::new("countermove_worker_batched_total", Kind::Counter, "Sequences in the batch, summed over all passes: by countermove_worker_steps_total and countermove_worker_batch_places it is how full the batch was");
    STEP_SECONDS = Metric::new("countermove_worker_step_seconds_total", Kind::Counter, "Time of steps, by what they did: passes through the model, waiting for masks of grammars, choosing tokens")
        .by(&[Label { name: "part", values: Values::Of(&["forward", "mask_wait", "choice"]) }]);
    MASK_SECONDS = Metric::new("countermove_worker_mask_seconds_total", Kind::Counter, "Time spent on masks of grammars, also beside passes");
    TOKENS = Metric::new("countermove_worker_tokens_total", Kind::Counter, "Prompt tokens computed or found in the cache, answer tokens chosen or forced by the grammar, and tokens of options that were weighed")
        .by(&[Label { name: "kind", values: Values::Of(&["computed", "cached", "chosen", "forced", "weighed"]) }]);
    EVICTED = Metric::new("countermove_worker_evicted_tokens_total", Kind::Counter, "Tokens of kept prefixes that gave way to others");
    REQUESTS = Metric::new("countermove_worker_requests_total", Kind::Counter, "Requests to the engine, by how they ended")
        .by(&[Label { name: "outcome", values: Values::Of(&["completed", "failed", "cancelled"]) }]);
    RESTARTED = Metric::new("countermove_worker_restarts_total", Kind::Counter, "Times that a sequence gave way for want of memory and was started again");
    KV = Metric::new("countermove_worker_kv_bytes", Kind::Gauge, "Keys and values, in use and idle");
    DEVICE = Metric::new("countermove_worker_device_bytes", Kind::Gauge, "Memory of the GPU; 0 without one")
        .by(&[Label { name: "state", values: Values::Of(&["free", "total"]) }]);
}

/// What is written on the page.
struct Figures {
    running_calls: Gauges,
    efficient: Gauges,
    sequences: Gauges,
    steps: Counters,
    batched: Counters,
    step_seconds: Counters,
    mask_seconds: Counters,
    tokens: Counters,
    evicted: Counters,
    requests: Counters,
    restarted: Counters,
    kv: Gauges,
    device: Gauges,
}

/// The page of a worker, and what counts its calls.
pub(crate) fn page<M: ServedModel>(worker: &Worker<M>) -> (Page, CountCalls) {
    let mut page = Page::default();
    let build = page.gauges(&BUILD);
    build.forget(&[env!("CARGO_PKG_VERSION"), ""]);
    build.set(&[env!("CARGO_PKG_VERSION"), &PROTOCOL_VERSION.to_string()], 1.0);
    let (model, identity) = (page.gauges(&MODEL), worker.identity());
    model.forget(&["", "", ""]);
    model.set(&[&identity.name, &identity.weights_sha256, &identity.arithmetic], 1.0);
    page.gauges(&PLACES).set(&[], worker.batch() as f64);
    let calls = CountCalls { calls: page.counters(&CALLS), refused: page.counters(&REFUSED) };
    let figures = Figures {
        running_calls: page.gauges(&RUNNING_CALLS),
        efficient: page.gauges(&EFFICIENT),
        sequences: page.gauges(&SEQUENCES),
        steps: page.counters(&STEPS),
        batched: page.counters(&BATCHED),
        step_seconds: page.counters(&STEP_SECONDS),
        mask_seconds: page.counters(&MASK_SECONDS),
        tokens: page.counters(&TOKENS),
        evicted: page.counters(&EVICTED),
        requests: page.counters(&REQUESTS),
        restarted: page.counters(&RESTARTED),
        kv: page.gauges(&KV),
        device: page.gauges(&DEVICE),
    };
    let worker = worker.clone();
    page.before_reading(move || {
        figures.running_calls.set(&[], worker.running() as f64);
        figures.write(&worker.stats());
    });
    (page, calls)
}

impl Figures {
    fn write(&self, stats: &EngineStats) {
        self.efficient.set(&[], stats.efficient_sequences as f64);
        self.sequences.set(&["running"], stats.running as f64);
        self.sequences.set(&["waiting"], stats.waiting as f64);
        self.steps.raise_to(&[], stats.steps as f64);
        self.batched.raise_to(&[], stats.batched as f64);
        for (part, seconds) in [
            ("forward", stats.forward_seconds),
            ("mask_wait", stats.mask_wait_seconds),
            ("choice", stats.choice_seconds),
        ] {
            self.step_seconds.raise_to(&[part], seconds);
        }
        self.mask_seconds.raise_to(&[], stats.mask_seconds);
        for (kind, tokens) in [
            ("computed", stats.prefill_tokens),
            ("cached", stats.cached_tokens),
            ("chosen", stats.sampled_tokens),
            ("forced", stats.forced_tokens),
            ("weighed", stats.weighed_tokens),
        ] {
            self.tokens.raise_to(&[kind], tokens as f64);
        }
        self.evicted.raise_to(&[], stats.evicted_tokens as f64);
        for (outcome, requests) in
            [("completed", stats.completed), ("failed", stats.failed), ("cancelled", stats.cancelled)]
        {
            self.requests.raise_to(&[outcome], requests as f64);
        }
        self.restarted.raise_to(&[], stats.restarted as f64);
        self.kv.set(&[], stats.kv_bytes as f64);
        self.device.set(&["free"], stats.device_free_bytes as f64);
        self.device.set(&["total"], stats.device_total_bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use countermove_planner::{Answers, Templates};
    use countermove_proto::WorkerId;
    use countermove_settings::compare;
    use countermove_telemetry::document;

    use super::*;
    use crate::service::{Limits, Replica};
    use crate::simulate::SimulatedModel;

    #[test]
    fn the_page_of_metrics_lists_them() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        compare(page.as_ref(), "worker", &document(TABLE), true).unwrap_or_else(|error| panic!("{error}"));
    }

    #[tokio::test]
    async fn every_row_of_the_table_is_on_the_page() {
        let replica = Replica {
            model: SimulatedModel::start(1000.0),
            templates: Templates::load(None).unwrap(),
            identity: SimulatedModel::identity(),
            context_length: 4096,
            answers: Answers::default(),
        };
        let worker = Worker::new(WorkerId::generate(), replica, Limits { batch: 8, places: 16 });
        let (page, _calls) = page(&worker);
        assert!(page.missing(TABLE).is_empty(), "{:?}", page.missing(TABLE));
        let text = page.text();
        for name in TABLE.iter().flat_map(Metric::series) {
            assert!(text.lines().any(|line| line.starts_with(&name)), "{name} in\n{text}");
        }
        assert!(text.contains("countermove_worker_batch_places 8"), "{text}");
        assert!(text.contains("arithmetic=\"dice/1\"} 1"), "{text}");
    }
}
