//! What happens around an incident's task.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countermove_planner::{Profile, Templates};
use countermove_proto::RequestId;
use countermove_proto::v1::{self, IncidentStatus, PlanEnd};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};

use super::*;
use crate::discovery::StaticDiscovery;
use crate::workers::FleetOptions;

/// The built-in templates.
fn templates() -> Arc<Templates> {
    static TEMPLATES: OnceLock<Arc<Templates>> = OnceLock::new();
    Arc::clone(TEMPLATES.get_or_init(|| Arc::new(Templates::load(None).unwrap())))
}

/// A coordinator without workers, which waits for some for long.
fn incidents(store: impl Into<Store>, options: IncidentOptions) -> Incidents {
    impatient(store, options, Duration::from_secs(30))
}

/// One that waits for workers for so long, before it takes anything over and before a plan fails.
fn impatient(store: impl Into<Store>, options: IncidentOptions, worker_wait: Duration) -> Incidents {
    let options_of_fleet = FleetOptions { templates: vec![templates()], ..FleetOptions::default() };
    let fleet = Fleet::start(&StaticDiscovery::new([]), options_of_fleet);
    let dispatch = DispatchOptions { worker_wait, ..DispatchOptions::default() };
    Incidents::new(store, fleet, IncidentOptions { dispatch, ..options }).unwrap()
}

fn order() -> NewIncident {
    let alert = "03/14-01:15:00.325789  [**] [1:2001219:20] ET SCAN Potential SSH Scan [**] [Priority: 2] {TCP} \
                 203.0.113.9:44211 -> 10.0.0.5:22\n";
    let evidence = v1::Evidence {
        system_description: "The web server is at 10.0.0.5.".to_owned(),
        alerts: alert.to_owned(),
        ..v1::Evidence::default()
    };
    NewIncident {
        evidence,
        options: v1::PlanOptions::default(),
        cost_model: None,
        catalogue: String::new(),
        payer: Payer::default(),
        creator: String::new(),
        known_as: KnownAs::default(),
    }
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

/// A database with something in the way.
struct Hindered {
    store: SqlStore,
    _folder: tempfile::TempDir,
    /// What happens before something is written.
    before: Box<dyn Fn(&Append) + Send + Sync>,
    /// How long it takes to read what an owner goes on from.
    reading: Duration,
    /// By how much its clock is ahead of this machine's.
    ahead: Duration,
    renewals: AtomicUsize,
}

async fn hindered(before: impl Fn(&Append) + Send + Sync + 'static, reading: Duration) -> Arc<Hindered> {
    hindered_and_ahead(before, reading, Duration::ZERO).await
}

async fn hindered_and_ahead(
    before: impl Fn(&Append) + Send + Sync + 'static,
    reading: Duration,
    ahead: Duration,
) -> Arc<Hindered> {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("incidents.db"));
    let store = SqlStore::open(&url).await.unwrap();
    let (before, renewals) = (Box::new(before), AtomicUsize::new(0));
    Arc::new(Hindered { store, _folder: folder, before, reading, ahead, renewals })
}

impl EventLog for Hindered {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        (self.before)(&append);
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

    fn list(&self, part: Part) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        self.store.list(part)
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<(IncidentId, u64)>, StoreError>> {
        self.store.unfinished()
    }
}

impl Ownership for Hindered {
    fn request(&self, id: RequestId) -> BoxFuture<'_, Result<Option<KnownRequest>, StoreError>> {
        self.store.request(id)
    }

    fn answer(&self, key: RequestKey, answer: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.answer(key, answer)
    }

    fn saved(&self, id: IncidentId) -> BoxFuture<'_, Result<Saved, StoreError>> {
        async move {
            tokio::time::sleep(self.reading).await;
            let saved = self.store.saved(id).await?;
            Ok(Saved { age: saved.age.map(|age| age + self.ahead), ..saved })
        }
        .boxed()
    }

    fn renew(
        &self,
        owner: OwnerId,
        address: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Vec<Held>, StoreError>> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        self.store.renew(owner, address, ttl)
    }

    fn claim(
        &self,
        owner: OwnerId,
        orphans: Vec<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Claim>, StoreError>> {
        self.store.claim(owner, orphans, limit)
    }

    fn leave(&self, owner: OwnerId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.leave(owner)
    }

    fn owner(&self, id: IncidentId, me: OwnerId) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        self.store.owner(id, me)
    }

    fn forget(
        &self,
        age: Option<Duration>,
        requests: Duration,
        most: u32,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.forget(age, requests, most)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
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
async fn who_takes_over_what_it_still_plans_itself_goes_on_with_it() {
    let store = hindered(|_| {}, Duration::ZERO).await;
    let here = incidents(Store::Lasting(store.clone()), IncidentOptions::default());
    let (created, _) = here.create(order(), false, None).await.unwrap();
    let id: IncidentId = created.name.parse().unwrap();
    // Its own lease ran out, since it was frozen for a while.
    let claims = store.claim(here.0.me, vec![], 9).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.id).collect::<Vec<_>>(), [id]);
    assert!(here.take_over(&*store, claims[0]).await);
    until("the end of the first task", async || here.0.tasks.len() == 1).await;
    assert_eq!(here.active(), 1);
    assert_ne!(here.get(id).await.unwrap().status(), IncidentStatus::Ended);
    here.change(id, Change::Cancel, false, None).await.unwrap();
    until("the end", async || here.get(id).await.unwrap().status() == IncidentStatus::Ended).await;
    assert_eq!(here.get(id).await.unwrap().plan.unwrap().end(), PlanEnd::Cancelled);
}

#[tokio::test]
async fn streams_wait_for_their_turn_at_the_store_and_calls_do_not() {
    let here = incidents(MemoryStore::new(10), IncidentOptions::default());
    let (incident, _) = here.create(order(), false, None).await.unwrap();
    let id: IncidentId = incident.name.parse().unwrap();
    let mut taken = Vec::new();
    for _ in 0..watch::READING {
        taken.push(here.0.turns.take().await);
    }
    let mut of_all = Box::pin(here.follow(Filter::read(v1::IncidentFilter::default()).unwrap(), |_| true));
    let mut of_one = Box::pin(here.watch(id, 0).await.unwrap().stream());
    assert!(futures::poll!(of_all.next()).is_pending());
    assert!(futures::poll!(of_one.next()).is_pending());
    assert_eq!(here.get(id).await.unwrap().name, incident.name);
    taken.pop();
    assert!(of_all.next().await.unwrap().is_ok());
    assert!(of_one.next().await.unwrap().is_ok());
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
async fn taking_over_never_delays_the_lease() {
    const LEASE: Duration = Duration::from_millis(600);
    // To read what a single incident goes on from takes longer than the lease.
    let store = hindered(|_| {}, 2 * LEASE).await;
    let gone = incidents(Store::Lasting(store.clone()), IncidentOptions::default());
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (created, _) = gone.create(order(), false, None).await.unwrap();
        ids.push(created.name.parse::<IncidentId>().unwrap());
    }
    // It never renewed, so what it has is anybody's.
    let heir = impatient(Store::Lasting(store.clone()), IncidentOptions::default(), Duration::ZERO);
    let (begun, sharing) = (
        Instant::now(),
        Sharing { address: "http://heir:1".to_owned(), lease: LEASE, settling: Duration::ZERO, keep: None },
    );
    heir.share(sharing);
    // Without workers what is taken over fails at once.
    until("the end of all", async || {
        let store = &store;
        let ended = ids.iter().map(|&id| async move { store.head(id).await.unwrap().ended });
        futures::future::join_all(ended).await.into_iter().all(|ended| ended)
    })
    .await;
    let beats = begun.elapsed().as_secs_f64() / (LEASE / 3).as_secs_f64();
    let renewals = store.renewals.load(Ordering::SeqCst) as f64;
    assert!(beats > 6.0 && renewals > beats / 2.0, "{renewals} renewals in {beats} beats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_ends_its_incident_and_frees_its_place() {
    let did = AtomicBool::new(false);
    let panics = move |append: &Append| {
        let creates = append.records.first().is_some_and(|record| record.sequence == 1);
        assert!(creates || did.swap(true, Ordering::SeqCst), "an overflow, say");
    };
    let store = hindered(panics, Duration::ZERO).await;
    let one = IncidentOptions { most_active: 1, ..IncidentOptions::default() };
    let incidents = incidents(Store::Lasting(store), one);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_goes_by_the_clock_of_the_store_whoever_owns_the_incident() {
    // By the clock that all owners share it was created two hours ago; by this machine's, just now.
    let store = hindered_and_ahead(|_| {}, Duration::ZERO, Duration::from_secs(7200)).await;
    let gone = incidents(Store::Lasting(store.clone()), IncidentOptions::default());
    let an_hour = prost_types::Duration { seconds: 3600, nanos: 0 };
    let options = v1::PlanOptions { deadline: Some(an_hour), ..v1::PlanOptions::default() };
    let (created, _) = gone.create(NewIncident { options, ..order() }, false, None).await.unwrap();
    let id: IncidentId = created.name.parse().unwrap();
    let heir = impatient(Store::Lasting(store), IncidentOptions::default(), Duration::from_secs(1));
    let lease = Duration::from_millis(300);
    heir.share(Sharing { address: "http://heir:1".to_owned(), lease, settling: Duration::ZERO, keep: None });
    until("the end", async || heir.get(id).await.unwrap().status() == IncidentStatus::Ended).await;
    let ended = heir.get(id).await.unwrap();
    assert_eq!(ended.plan.unwrap().end(), PlanEnd::Deadline, "{}", ended.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_of_an_incident_is_bounded_in_sum_and_a_new_owner_knows_the_sum() {
    let store = hindered(|_| {}, Duration::ZERO).await;
    let first = incidents(Store::Lasting(store.clone()), IncidentOptions::default());
    let (created, _) = first.create(order(), false, None).await.unwrap();
    let id: IncidentId = created.name.parse().unwrap();
    let alert = order().evidence.alerts.replace("203.0.113.9", "203.0.113.10");
    let report = |text: String| Change::ReportAlerts { text, in_flight: None };
    first.change(id, report(alert.clone()), false, None).await.unwrap();
    // Alone it would have room.
    let rest = EVIDENCE - alert.len();
    let refused = first.change(id, report("x".repeat(rest)), false, None).await.unwrap_err();
    let is_full = |error: &Error| {
        matches!(error, Error::Precondition { condition: countermove_proto::Condition::Evidence, .. })
    };
    assert!(is_full(&refused), "{refused:?}");
    let heir = impatient(Store::Lasting(store), IncidentOptions::default(), Duration::from_secs(1));
    let lease = Duration::from_millis(300);
    heir.share(Sharing { address: "http://heir:1".to_owned(), lease, settling: Duration::ZERO, keep: None });
    until("the takeover", async || heir.active() == 1).await;
    let refused = heir.change(id, report("x".repeat(rest)), false, None).await.unwrap_err();
    assert!(is_full(&refused), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_all_incidents_hears_of_those_that_another_coordinator_plans() {
    use v1::watch_incidents_response::Update;
    let store = hindered(|_| {}, Duration::ZERO).await;
    let coordinator = |name: &str| {
        let coordinator = incidents(Store::Lasting(store.clone()), IncidentOptions::default());
        let (address, lease) = (format!("http://{name}:1"), Duration::from_secs(60));
        coordinator.share(Sharing { address, lease, settling: lease, keep: None });
        coordinator
    };
    let (here, there) = (coordinator("here"), coordinator("there"));
    let mut updates = Box::pin(there.follow(Filter::default(), |_| true));
    assert_eq!(updates.next().await, Some(Ok(Update::Present(v1::Present { incidents: 0 }))));
    let (created, _) = here.create(order(), false, None).await.unwrap();
    let Some(Ok(Update::Incident(heard))) = updates.next().await else { panic!("it was created") };
    assert_eq!((heard.name.as_str(), heard.progress), (created.name.as_str(), None));
    here.change(created.name.parse().unwrap(), Change::Cancel, false, None).await.unwrap();
    loop {
        match updates.next().await.unwrap().unwrap() {
            Update::Left(left) => {
                break assert_eq!((left.name, left.status), (created.name, IncidentStatus::Ended.into()));
            }
            other => assert!(matches!(&other, Update::Incident(_) | Update::Present(_)), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_incident_is_planned_with_the_templates_that_it_was_planned_with() {
    let large = Arc::new(Templates::built_in(Profile::Large).unwrap());
    let fleet = |templates| {
        let options = FleetOptions { templates, ..FleetOptions::default() };
        Fleet::start(&StaticDiscovery::new([]), options)
    };
    let both = || fleet(vec![templates(), Arc::clone(&large)]);
    let recorded = v1::ModelIdentity { templates_sha256: large.digest(), ..Default::default() };
    let digest = |fleet: &Fleet, recorded| fleet.templates(recorded).map(|templates| templates.digest());
    let taken_over = both();
    assert_eq!(digest(&taken_over, Some(&recorded)), Some(large.digest()));
    assert_eq!(digest(&taken_over, None), Some(large.digest()), "the others of this coordinator as well");
    assert_eq!(digest(&both(), None), Some(templates().digest()), "nobody has come yet");
    assert_eq!(digest(&fleet(vec![templates()]), Some(&recorded)), Some(templates().digest()));
    assert_eq!(digest(&fleet(Vec::new()), None), None);
}

#[tokio::test(start_paused = true)]
async fn the_first_incident_waits_a_little_for_a_worker_that_settles_the_templates() {
    let large = Arc::new(Templates::built_in(Profile::Large).unwrap());
    let waited = async |templates| {
        let options = FleetOptions { templates, ..FleetOptions::default() };
        let fleet = Fleet::start(&StaticDiscovery::new([]), options);
        let begun = Instant::now();
        fleet.settled().await;
        let first = begun.elapsed();
        fleet.templates(None).unwrap();
        fleet.settled().await;
        (first, begun.elapsed() - first)
    };
    let seconds = Duration::from_secs;
    let (first, second) = waited(vec![templates(), large]).await;
    assert!((seconds(5)..seconds(6)).contains(&first) && second < seconds(1), "{first:?}, {second:?}");
    assert!(waited(vec![templates()]).await.0 < seconds(1), "nothing is open");
}
