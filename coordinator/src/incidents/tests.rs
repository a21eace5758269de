//! What happens around an incident's task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countermove_planner::Templates;
use countermove_proto::v1::{self, IncidentStatus, PlanEnd};
use futures::future::BoxFuture;

use super::*;
use crate::discovery::StaticDiscovery;
use crate::workers::FleetOptions;

/// The built-in templates.
fn templates() -> Arc<Templates> {
    static TEMPLATES: OnceLock<Arc<Templates>> = OnceLock::new();
    Arc::clone(TEMPLATES.get_or_init(|| Arc::new(Templates::load(None).unwrap())))
}

/// A coordinator without workers.
fn incidents(store: impl Into<Store>, options: IncidentOptions) -> Incidents {
    let fleet = Fleet::start(&StaticDiscovery::new([]), FleetOptions::default());
    let dispatch = DispatchOptions { worker_wait: Duration::from_secs(30), ..DispatchOptions::default() };
    Incidents::new(store, fleet, templates(), IncidentOptions { dispatch, ..options }).unwrap()
}

fn order() -> NewIncident {
    let alert = "03/14-01:15:00.325789  [**] [1:2001219:20] ET SCAN Potential SSH Scan [**] [Priority: 2] {TCP} \
                 203.0.113.9:44211 -> 10.0.0.5:22\n";
    let evidence = v1::Evidence {
        system_description: "The web server is at 10.0.0.5.".to_owned(),
        alerts: alert.to_owned(),
        ..v1::Evidence::default()
    };
    NewIncident { evidence, options: v1::PlanOptions::default(), cost_model: None, payer: Payer::default() }
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

/// A store in which the first write after the creation of an incident panics.
struct Panicking {
    store: MemoryStore,
    did: AtomicBool,
}

impl EventLog for Panicking {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        let creates = append.records.first().is_some_and(|record| record.sequence == 1);
        assert!(creates || self.did.swap(true, Ordering::SeqCst), "an overflow, say");
        self.store.append(append)
    }

    fn records(
        &self,
        id: IncidentId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.store.records(id, after, limit)
    }

    fn inputs(
        &self,
        id: IncidentId,
        after: u64,
        until: u64,
    ) -> BoxFuture<'_, Result<Vec<StoredInput>, StoreError>> {
        self.store.inputs(id, after, until)
    }

    fn head(&self, id: IncidentId) -> BoxFuture<'_, Result<Head, StoreError>> {
        self.store.head(id)
    }

    fn get(&self, id: IncidentId) -> BoxFuture<'_, Result<Incident, StoreError>> {
        self.store.get(id)
    }

    fn list(
        &self,
        before: Option<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        self.store.list(before, limit)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_ends_its_incident_and_frees_its_place() {
    let store = Panicking { store: MemoryStore::new(9), did: AtomicBool::new(false) };
    let one = IncidentOptions { most_active: 1, ..IncidentOptions::default() };
    let incidents = incidents(Store::Passing(Arc::new(store)), one);
    let (created, _) = incidents.create(order(), false, None).await.unwrap();
    let id: IncidentId = created.name.parse().unwrap();
    // Cancelling writes the end, and that panics.
    let cancelled = incidents.change(id, Change::Cancel, false, None).await;
    assert!(matches!(cancelled, Err(Error::Unavailable { .. }) | Ok(_)), "{cancelled:?}");
    until("the end", async || incidents.get(id).await.unwrap().status() == IncidentStatus::Ended).await;
    let ended = incidents.get(id).await.unwrap();
    assert_eq!(ended.plan.unwrap().end(), PlanEnd::Failed);
    assert!(ended.error.contains("an overflow, say"), "{}", ended.error);
    until("a free place", async || incidents.active() == 0).await;
    incidents.create(order(), false, None).await.unwrap();
}
