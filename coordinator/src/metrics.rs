//! Figures of a coordinator: the table of all of them, and who counts what.
//!
//! The table is what docs/metrics.md, the dashboards and the alerts are held against. A figure is counted where it happens; what is
//! cheaper to look up than to follow is looked up when the page is read ([`Metrics::look_at`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use countermove_planner::{Purpose, RolloutEnd, Usage};
use countermove_proto::v1::{Incident, IncidentStatus, PlanEnd, PlanMode, WorkerStatus};
use countermove_proto::{PROTOCOL_VERSION, Quota, system_time};
use countermove_telemetry::{
    CountCalls, Counters, Gauges, Histograms, Kind, Label, Largest, Metric, OTHER, Page, REASONS, SECONDS,
    Values,
};

use crate::incidents::Incidents;
use crate::workers::Fleet;

/// Tenants that have series of their own.
const TENANTS: usize = 20;

const TENANT: Label = Label {
    name: "tenant",
    values: Values::Open(OTHER, "the 20 that took most tokens lately, and `other` for all others"),
};
const WORK: Label = Label { name: "work", values: Values::Of(&["question", "rollout"]) };
const MODE: Label = Label { name: "mode", values: Values::Of(&["interactive", "offline"]) };
const END: Label = Label {
    name: "end",
    values: Values::Of(&[
        "recovered",
        "step_limit",
        "no_incident",
        "no_candidate",
        "cleared",
        "deadline",
        "cancelled",
        "not_understood",
        "failed",
    ]),
};

macro_rules! table {
    ($($name:ident = $metric:expr;)+) => {
        $(const $name: Metric = $metric;)+
        /// Every figure of a coordinator.
        pub const TABLE: &[Metric] = &[$($name),+];
    };
}

table! {
    BUILD = Metric::new("countermove_build_info", Kind::Gauge, "1; the labels say which release this is and which protocol it speaks with workers")
        .by(&[Label { name: "version", values: Values::Open(env!("CARGO_PKG_VERSION"), "the release") },
              Label { name: "protocol", values: Values::Open("", "the protocol's version") }]);
    QUEUE_DEPTH = Metric::new("countermove_queue_depth", Kind::Gauge, "Questions and rollouts that wait for a worker")
        .by(&[TENANT, WORK]);
    QUEUE_WAIT = Metric::new("countermove_queue_wait_seconds", Kind::Histogram(SECONDS), "Time that a question or a rollout waited for a worker")
        .by(&[TENANT, WORK]);
    TOKENS = Metric::new("countermove_tokens_total", Kind::Counter, "Tokens of work that workers finished: prompt tokens computed or found in a cache, answer tokens chosen or forced by the grammar, and those of answers that were broken off")
        .by(&[Label { name: "kind", values: Values::Of(&["computed", "cached", "chosen", "forced", "discarded"]) }]);
    TENANT_TOKENS = Metric::new("countermove_tenant_tokens_total", Kind::Counter, "Tokens that the work of a tenant took: prompt tokens computed, and answer tokens")
        .by(&[TENANT]);
    ROLLOUTS = Metric::new("countermove_rollouts_total", Kind::Counter, "Rollouts that came back, by how they ended")
        .by(&[Label { name: "end", values: Values::Of(&["terminal", "truncated", "cancelled", "malformed"]) }]);
    HEDGES = Metric::new("countermove_hedges_total", Kind::Counter, "Slow rollouts and questions that were started once more on another worker");
    FIRST_CANDIDATE = Metric::new("countermove_first_candidate_seconds", Kind::Histogram(SECONDS), "Time from an incident's creation to its first candidate actions");
    WORK_TIME = Metric::new("countermove_work_seconds", Kind::Histogram(SECONDS), "Time of one piece of planning: what happened, a revision of that, or a decision, which is a step; waits for people are not in it")
        .by(&[Label { name: "phase", values: Values::Of(&["perception", "revision", "decision"]) }]);
    PLAN = Metric::new("countermove_plan_seconds", Kind::Histogram(SECONDS), "Time from an incident's creation to the end of its planning, waits for people included; its count is that of ended incidents")
        .by(&[MODE, END]);
    CREATED = Metric::new("countermove_incidents_created_total", Kind::Counter, "Incidents that were created here");
    INCIDENTS = Metric::new("countermove_incidents", Kind::Gauge, "Incidents that are planned here, by what they wait for")
        .by(&[Label { name: "state", values: Values::Of(&["awaiting_approval", "awaiting_outcome", "planning"]) }]);
    PLACES = Metric::new("countermove_incident_places", Kind::Gauge, "Incidents that may be planned here at the same time");
    WORKERS = Metric::new("countermove_workers", Kind::Gauge, "Workers, by how they stand")
        .by(&[Label { name: "status", values: Values::Of(&["ready", "draining", "lost", "refused", "connecting"]) }]);
    BATCH_PLACES = Metric::new("countermove_batch_places", Kind::Gauge, "Sequences that the workers that are ready decode in one batch each, together");
    BATCH_RUNNING = Metric::new("countermove_batch_running", Kind::Gauge, "Sequences that workers have of this coordinator, waiting in a worker included");
    LOST = Metric::new("countermove_workers_lost_total", Kind::Counter, "Times that contact with a worker broke off, or that it was not believed any more");
    CALLS = Metric::new("countermove_calls_total", Kind::Counter, "Calls that were answered, refused or begun");
    REFUSED = Metric::new("countermove_calls_refused_total", Kind::Counter, "Calls that were refused, by the status that says why")
        .by(&[Label { name: "reason", values: Values::Of(REASONS) }]);
    OVER_QUOTA = Metric::new("countermove_quota_refusals_total", Kind::Counter, "Calls that were refused since their tenant made too many a second, or at the same time")
        .by(&[Label { name: "quota", values: Values::Of(&["rate", "calls"]) }]);
    STREAMS = Metric::new("countermove_streams", Kind::Gauge, "Watchers of incidents whose streams are open");
    STORE = Metric::new("countermove_store_seconds", Kind::Histogram(SECONDS), "Time that the store took to do something that it did")
        .by(&[OPERATION]);
    STORE_ERRORS = Metric::new("countermove_store_errors_total", Kind::Counter, "Times that the store did not do what it was asked for, a wrong name or number included")
        .by(&[OPERATION]);
    DELIVERIES = Metric::new("countermove_deliveries_total", Kind::Counter, "Approved actions that the webhook took, or that were given up")
        .by(&[Label { name: "outcome", values: Values::Of(&["taken", "failed"]) }]);
    NOTIFICATIONS = Metric::new("countermove_notifications_total", Kind::Counter, "Notifications that a receiver took, or that were given up")
        .by(&[Label { name: "outcome", values: Values::Of(&["taken", "failed"]) }]);
    COMPUTE_BUSY = Metric::new("countermove_compute_busy_seconds_total", Kind::Counter, "Time that the computing threads were at work, of all of them together");
    COMPUTE_THREADS = Metric::new("countermove_compute_threads", Kind::Gauge, "Threads that compute");
}

const OPERATION: Label = Label {
    name: "operation",
    values: Values::Of(&["append", "read", "list", "lease", "request", "forget"]),
};

/// Who counts. Clones count for the same page.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tenants: Mutex<Largest>,
    queue_depth: Gauges,
    queue_wait: Histograms,
    tokens: Counters,
    tenant_tokens: Counters,
    rollouts: Counters,
    hedges: Counters,
    first_candidate: Histograms,
    work: Histograms,
    plan: Histograms,
    created: Counters,
    incidents: Gauges,
    places: Gauges,
    workers: Gauges,
    batch_places: Gauges,
    batch_running: Gauges,
    lost: Counters,
    calls: CountCalls,
    over_quota: Counters,
    streams: Gauges,
    store: Histograms,
    store_errors: Counters,
    deliveries: Counters,
    notifications: Counters,
    compute_busy: Counters,
    compute_threads: Gauges,
}

impl Default for Metrics {
    /// Counts for a page that nobody reads.
    fn default() -> Self {
        Self::new().0
    }
}

impl Metrics {
    /// Figures that begin with zero, and the page on which they stand.
    pub fn new() -> (Self, Page) {
        let mut page = Page::default();
        let build = page.gauges(&BUILD);
        build.forget(&[env!("CARGO_PKG_VERSION"), ""]);
        build.set(&[env!("CARGO_PKG_VERSION"), &PROTOCOL_VERSION.to_string()], 1.0);
        let inner = Inner {
            tenants: Mutex::new(Largest::new(TENANTS)),
            queue_depth: page.gauges(&QUEUE_DEPTH),
            queue_wait: page.histograms(&QUEUE_WAIT),
            tokens: page.counters(&TOKENS),
            tenant_tokens: page.counters(&TENANT_TOKENS),
            rollouts: page.counters(&ROLLOUTS),
            hedges: page.counters(&HEDGES),
            first_candidate: page.histograms(&FIRST_CANDIDATE),
            work: page.histograms(&WORK_TIME),
            plan: page.histograms(&PLAN),
            created: page.counters(&CREATED),
            incidents: page.gauges(&INCIDENTS),
            places: page.gauges(&PLACES),
            workers: page.gauges(&WORKERS),
            batch_places: page.gauges(&BATCH_PLACES),
            batch_running: page.gauges(&BATCH_RUNNING),
            lost: page.counters(&LOST),
            calls: CountCalls { calls: page.counters(&CALLS), refused: page.counters(&REFUSED) },
            over_quota: page.counters(&OVER_QUOTA),
            streams: page.gauges(&STREAMS),
            store: page.histograms(&STORE),
            store_errors: page.counters(&STORE_ERRORS),
            deliveries: page.counters(&DELIVERIES),
            notifications: page.counters(&NOTIFICATIONS),
            compute_busy: page.counters(&COMPUTE_BUSY),
            compute_threads: page.gauges(&COMPUTE_THREADS),
        };
        (Self(Arc::new(inner)), page)
    }

    /// Has the page say how incidents, workers and queue stand whenever it is read.
    pub fn look_at(&self, page: &mut Page, incidents: Incidents, fleet: Fleet) {
        let this = self.clone();
        page.before_reading(move || this.look(&incidents, &fleet));
    }

    fn look(&self, incidents: &Incidents, fleet: &Fleet) {
        let inner = &*self.0;
        let mut states = [("planning", 0), ("awaiting_approval", 0), ("awaiting_outcome", 0)];
        incidents.each_status(|status| {
            let index = match status {
                IncidentStatus::AwaitingApproval => 1,
                IncidentStatus::AwaitingOutcome => 2,
                IncidentStatus::Planning | IncidentStatus::Unspecified | IncidentStatus::Ended => 0,
            };
            states[index].1 += 1;
        });
        for (state, count) in states {
            inner.incidents.set(&[state], f64::from(count));
        }
        inner.places.set(&[], incidents.most_active() as f64);
        let (busy, threads) = incidents.computing();
        inner.compute_busy.raise_to(&[], busy.as_secs_f64());
        inner.compute_threads.set(&[], threads as f64);

        let mut standings = [("ready", 0), ("draining", 0), ("lost", 0), ("refused", 0), ("connecting", 0)];
        let (mut places, mut running) = (0.0, 0.0);
        for worker in fleet.list() {
            let index = match worker.status() {
                WorkerStatus::Ready => 0,
                WorkerStatus::Draining => 1,
                WorkerStatus::Lost => 2,
                WorkerStatus::Refused => 3,
                WorkerStatus::Connecting | WorkerStatus::Unspecified => 4,
            };
            standings[index].1 += 1;
            if index == 0 {
                places += f64::from(worker.capacity);
            }
            running += f64::from(worker.running);
        }
        for (status, count) in standings {
            inner.workers.set(&[status], f64::from(count));
        }
        inner.batch_places.set(&[], places);
        inner.batch_running.set(&[], running);

        let queued = incidents.queued();
        let tenants = self.tenants();
        let mut depths: std::collections::BTreeMap<(&str, Purpose), u64> = std::collections::BTreeMap::new();
        for name in tenants.names().chain([OTHER]) {
            for purpose in [Purpose::Decision, Purpose::Rollout] {
                depths.insert((name, purpose), 0);
            }
        }
        for flow in &queued {
            let name = tenants.name(&flow.tenant);
            for (purpose, count) in
                [(Purpose::Decision, flow.waiting_questions), (Purpose::Rollout, flow.waiting_rollouts)]
            {
                *depths.entry((name, purpose)).or_default() += u64::from(count);
            }
        }
        for ((tenant, purpose), depth) in depths {
            inner.queue_depth.set(&[tenant, work(purpose)], depth as f64);
        }
    }

    /// A question or a rollout of a tenant has a worker.
    pub(crate) fn waited(&self, tenant: &str, purpose: Purpose, time: Duration) {
        // Named or not is settled by tokens; until then somebody new is named if there is room.
        let name = self.name(tenant, 0);
        self.0.queue_wait.observe(&[&name, work(purpose)], time.as_secs_f64());
    }

    /// Work of a tenant was finished, or broken off after so many tokens that no answer came of.
    pub(crate) fn used(&self, tenant: &str, usage: &Usage) {
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        for (kind, tokens) in [
            ("computed", computed),
            ("cached", usage.cached_tokens),
            ("chosen", usage.sampled_tokens),
            ("forced", usage.forced_tokens),
            ("discarded", usage.discarded_tokens),
        ] {
            self.0.tokens.add(&[kind], tokens as f64);
        }
        let all = computed.saturating_add(usage.generated()).saturating_add(usage.discarded_tokens);
        let name = self.name(tenant, all);
        self.0.tenant_tokens.add(&[&name], all as f64);
    }

    /// A rollout came back.
    pub(crate) fn rollout(&self, end: RolloutEnd) {
        let end = match end {
            RolloutEnd::Terminal => "terminal",
            RolloutEnd::Truncated => "truncated",
            RolloutEnd::Cancelled => "cancelled",
            RolloutEnd::Malformed => "malformed",
        };
        self.0.rollouts.count(&[end]);
    }

    /// A slow rollout is started once more.
    pub(crate) fn hedged(&self) {
        self.0.hedges.count(&[]);
    }

    /// A worker that was there is not any more.
    pub(crate) fn lost(&self) {
        self.0.lost.count(&[]);
    }

    /// The first candidates of an incident are there.
    pub(crate) fn first_candidate(&self, incident: &Incident) {
        self.0.first_candidate.observe(&[], age(incident).as_secs_f64());
    }

    /// A piece of planning is done.
    pub(crate) fn worked(&self, phase: &str, time: Duration) {
        self.0.work.observe(&[phase], time.as_secs_f64());
    }

    /// An incident is in the store.
    pub(crate) fn created(&self) {
        self.0.created.count(&[]);
    }

    /// The last event of an incident is in the store.
    pub(crate) fn ended(&self, incident: &Incident) {
        let options = incident.options.as_ref();
        let mode = match options.map(|options| options.mode()) {
            Some(PlanMode::Interactive) => "interactive",
            _ => "offline",
        };
        let end = match incident.plan.as_ref().map_or(PlanEnd::Unspecified, |plan| plan.end()) {
            PlanEnd::Recovered => "recovered",
            PlanEnd::StepLimit => "step_limit",
            PlanEnd::NoIncident => "no_incident",
            PlanEnd::NoCandidate => "no_candidate",
            PlanEnd::Cleared => "cleared",
            PlanEnd::Deadline => "deadline",
            PlanEnd::Cancelled => "cancelled",
            PlanEnd::NotUnderstood => "not_understood",
            PlanEnd::Failed | PlanEnd::Unspecified => "failed",
        };
        self.0.plan.observe(&[mode, end], age(incident).as_secs_f64());
    }

    /// The store did something, or did not.
    pub(crate) fn stored(&self, operation: &str, time: Duration, was_done: bool) {
        match was_done {
            true => self.0.store.observe(&[operation], time.as_secs_f64()),
            false => self.0.store_errors.count(&[operation]),
        }
    }

    /// The delivery of a notification is over.
    pub(crate) fn notified(&self, was_taken: bool) {
        self.0.notifications.count(&[if was_taken { "taken" } else { "failed" }]);
    }

    /// A delivery is over.
    pub(crate) fn delivered(&self, was_taken: bool) {
        self.0.deliveries.count(&[if was_taken { "taken" } else { "failed" }]);
    }

    /// A call was refused since its tenant makes too many.
    pub(crate) fn over_quota(&self, quota: Quota) {
        self.0.over_quota.count(&[match quota {
            Quota::Rate => "rate",
            Quota::Calls => "calls",
        }]);
    }

    /// Counts calls.
    pub(crate) fn calls(&self) -> CountCalls {
        self.0.calls.clone()
    }

    /// Counts a stream for as long as what this gives is there.
    pub(crate) fn stream(&self) -> OpenStream {
        self.0.streams.add(&[], 1.0);
        OpenStream(self.clone())
    }

    /// The name under which a tenant's figures are kept, after it did so much.
    fn name(&self, tenant: &str, tokens: u64) -> String {
        let named = self.tenants().did(tenant, tokens);
        if let Some(over) = &named.over {
            self.0.tenant_tokens.forget(&[over]);
            for purpose in [Purpose::Decision, Purpose::Rollout] {
                self.0.queue_wait.forget(&[over, work(purpose)]);
                self.0.queue_depth.forget(&[over, work(purpose)]);
            }
        }
        named.name
    }

    fn tenants(&self) -> MutexGuard<'_, Largest> {
        // Nothing panics while it holds the lock.
        self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is open. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct OpenStream(Metrics);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.0.streams.add(&[], -1.0);
    }
}

fn work(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Decision => "question",
        Purpose::Rollout => "rollout",
    }
}

/// Time since an incident was created, by the machine's clock.
fn age(incident: &Incident) -> Duration {
    let created = incident.create_time.and_then(system_time);
    created.and_then(|created| SystemTime::now().duration_since(created).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use countermove_settings::compare;
    use countermove_telemetry::document;

    use super::*;

    #[test]
    fn every_row_of_the_table_is_on_the_page() {
        let (_metrics, page) = Metrics::new();
        assert!(page.missing(TABLE).is_empty(), "{:?}", page.missing(TABLE));
        let text = page.text();
        for name in TABLE.iter().flat_map(Metric::series) {
            assert!(text.lines().any(|line| line.starts_with(&name)), "{name} in\n{text}");
        }
        assert!(!text.contains("protocol=\"\""), "{text}");
    }

    #[test]
    fn the_page_of_metrics_lists_them() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        compare(page.as_ref(), "coordinator", &document(TABLE), true)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn tokens_are_told_by_kind_and_by_the_largest_tenants() {
        let (metrics, page) = Metrics::new();
        let usage = |tokens| Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            sampled_tokens: tokens,
            forced_tokens: 3,
            discarded_tokens: 2,
            ..Usage::default()
        };
        for tenant in 0..TENANTS + 5 {
            metrics.used(&format!("t{tenant}"), &usage(20));
        }
        let text = page.text();
        let all = TENANTS + 5;
        for line in [
            format!("countermove_tokens_total{{kind=\"computed\"}} {}", 6 * all),
            format!("countermove_tokens_total{{kind=\"cached\"}} {}", 4 * all),
            format!("countermove_tokens_total{{kind=\"forced\"}} {}", 3 * all),
            "countermove_tenant_tokens_total{tenant=\"t0\"} 31".to_owned(),
            format!("countermove_tenant_tokens_total{{tenant=\"other\"}} {}", 31 * 5),
        ] {
            assert!(text.lines().any(|known| known.starts_with(&line)), "{line} in\n{text}");
        }
        // One that works more than the others gets a name, and the one whose it was counts among the others from then on.
        metrics.used(&format!("t{}", TENANTS + 1), &usage(500));
        let text = page.text();
        let named = text
            .lines()
            .filter(|line| line.starts_with("countermove_tenant_tokens_total{tenant=\"t"))
            .count();
        assert_eq!(named, TENANTS, "{text}");
        assert!(text.contains(&format!("tenant=\"t{}\"}} 511", TENANTS + 1)), "{text}");
    }

    #[test]
    fn a_stream_counts_as_long_as_it_is_open() {
        let (metrics, page) = Metrics::new();
        let open = metrics.stream();
        assert!(page.text().contains("countermove_streams 1"));
        drop(open);
        assert!(page.text().contains("countermove_streams 0"));
    }
}
