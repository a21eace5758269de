//! What happens around an incident's task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countermove_planner::Templates;
use countermove_proto::v1::{self, IncidentStatus, PlanEnd};
use futures::StreamExt;
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

/// Two coordinators over one store, of which the second one takes what the first one holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_an_incident_hears_so_at_the_next_renewal_and_who_watches_there_goes_on_from_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("incidents.db"));
    let store: Arc<dyn Ownership> = Arc::new(SqlStore::open(&url).await.unwrap());
    let here = incidents(Store::Lasting(Arc::clone(&store)), IncidentOptions::default());
    let (created, _) = here.create(order(), false, None).await.unwrap();
    let id: IncidentId = created.name.parse().unwrap();
    let mut updates = Box::pin(here.watch(id, 1).await.unwrap().stream());
    // It is taken for dead, and does not know.
    let heir = OwnerId::generate();
    let claims = store.claim(heir, vec![], 9).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.id).collect::<Vec<_>>(), [id]);
    let (incident, hash) = store::replay(&*store, id).await.unwrap();
    let mut theirs = Log::resume(claims[0], store.clone(), incident, hash, Vec::new());
    store.renew(heir, "http://heir:1".to_owned(), Duration::from_secs(60)).await.unwrap();
    let lease = Duration::from_millis(300);
    here.share(Sharing { address: "http://here:1".to_owned(), lease, settling: lease, keep: None });
    until("letting go", async || here.active() == 0).await;
    assert_eq!(here.elsewhere(id).await.unwrap().as_deref(), Some("http://heir:1"));
    theirs.append(Kind::Notice(v1::Notice { text: "the heir".to_owned() }), None).await.unwrap();
    let heard = async {
        loop {
            let update = updates.next().await.unwrap().unwrap();
            if let v1::watch_incident_response::Update::Event(event) = update {
                return event.kind;
            }
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(5), heard).await.unwrap();
    assert!(matches!(heard, Some(Kind::Notice(notice)) if notice.text == "the heir"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenant_leaves_places_to_others() {
    let options = IncidentOptions { most_active: 8, ..IncidentOptions::default() };
    let incidents = incidents(MemoryStore::new(9), options);
    let of = |tenant: &str| NewIncident {
        payer: Payer::new(v1::Priority::Normal, tenant.parse().unwrap()),
        ..order()
    };
    for _ in 0..6 {
        incidents.create(of("red"), false, None).await.unwrap();
    }
    let refused = incidents.create(of("red"), false, None).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Exhausted { message, .. } if message.contains("kept for other tenants"))
    );
    for _ in 0..2 {
        incidents.create(of("blue"), false, None).await.unwrap();
    }
    assert!(matches!(incidents.create(of("green"), false, None).await, Err(Error::Exhausted { .. })));
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
