//! The simulated cluster: coordinators, each with the real queue and the real table of workers, and workers that all of them share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use countermove_coordinator::discovery::WorkerUrl;
use countermove_coordinator::dispatch::{Asker, DispatchOptions, Dispatcher, Payer};
use countermove_coordinator::workers::Fleet;
use countermove_proto::v1::{ModelIdentity, Priority};
use countermove_proto::worker::v1::GetModelResponse;
use countermove_proto::{IncidentId, PROTOCOL_VERSION, Tenant, WorkerId};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

use super::figures::{Figures, Look};
use super::scenario::{Fault, LEASE, NOTICED, Scenario, TAKEN_OVER, TAKING_OVER};
use super::worker::Worker;

pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) begun: Instant,
    pub(super) figures: RefCell<Figures>,
    workers: RefCell<Vec<Option<Worker>>>,
    numbers: HashMap<WorkerId, usize>,
    urls: Vec<WorkerUrl>,
    coordinators: Vec<Coordinator>,
    pub(super) waiting: Cell<u64>,
    pub(super) taken: Cell<u64>,
    pub(super) incidents: Cell<u64>,
}

struct Coordinator {
    fleet: Fleet,
    dispatcher: Dispatcher,
    is_gone: watch::Sender<bool>,
    taking_over: Semaphore,
}

/// Names that a worker goes by.
struct Named {
    id: WorkerId,
    url: WorkerUrl,
}

impl Named {
    fn worker(number: usize) -> Result<Self, String> {
        let id = WorkerId::new(&format!("w-{number:05}")).map_err(|error| error.to_string())?;
        let url = format!("http://10.{}.{}.{}:7701", number >> 16 & 255, number >> 8 & 255, number & 255);
        Ok(Self { id, url: url.parse().map_err(|error| format!("{error}"))? })
    }
}

/// Time between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Time after which a worker tells those whose work it has what it has of all of them, and after how many of those times it tells everybody: a
/// worker's time between two messages of progress, and a link's between two probes.
const PROGRESS: Duration = Duration::from_millis(200);
const PROBE: usize = 10;
/// What stands in the place of digests.
const DIGEST: &str = "5ca1ab1e";

impl World {
    /// Needs a `LocalSet` around it.
    ///
    /// # Errors
    /// If a name is none, which is a fault of this program.
    pub(super) fn new(scenario: Scenario) -> Result<Rc<Self>, String> {
        let named = (0..scenario.workers).map(Named::worker).collect::<Result<Vec<_>, _>>()?;
        let workers = (0..scenario.workers)
            .map(|number| Some(Worker::start(scenario.machine_of(number), scenario.coordinators)))
            .collect();
        let coordinator = |_| {
            let fleet = Fleet::uncalled();
            for (number, Named { id, url }) in named.iter().enumerate() {
                fleet.answered(url, &answer(id, &scenario, number));
            }
            Coordinator {
                dispatcher: Dispatcher::start(fleet.clone(), DispatchOptions::default()),
                fleet,
                is_gone: watch::Sender::new(false),
                taking_over: Semaphore::new(TAKING_OVER),
            }
        };
        Ok(Rc::new(Self {
            scenario,
            begun: Instant::now(),
            figures: RefCell::default(),
            workers: RefCell::new(workers),
            numbers: named.iter().enumerate().map(|(number, named)| (named.id.clone(), number)).collect(),
            urls: named.iter().map(|named| named.url.clone()).collect(),
            coordinators: (0..scenario.coordinators).map(coordinator).collect(),
            waiting: Cell::default(),
            taken: Cell::default(),
            incidents: Cell::default(),
        }))
    }

    /// The queue of a coordinator, as an incident has it.
    pub(super) fn asker(&self, coordinator: usize, incident: usize) -> Asker {
        // Later incidents sort after earlier ones, as with real ids.
        let id = IncidentId::from_bytes((incident as u128 + 1).to_be_bytes());
        let tenant: Tenant = format!("tenant-{}", self.scenario.tenant(incident)).parse().unwrap_or_default();
        Asker::new(&self.coordinators[coordinator].dispatcher, id, Payer::new(Priority::Normal, tenant))
    }

    pub(super) fn number(&self, worker: &WorkerId) -> usize {
        self.numbers.get(worker).copied().unwrap_or_default()
    }

    /// Does something with a worker; `None` if it stands still.
    pub(super) fn with<T>(&self, worker: usize, act: impl FnOnce(&Worker) -> T) -> Option<T> {
        self.workers.borrow().get(worker)?.as_ref().map(act)
    }

    /// Has a worker tell a coordinator what it has of all of them.
    pub(super) fn tell(&self, worker: usize, coordinator: usize) {
        if let Some(load) = self.with(worker, Worker::load) {
            self.coordinators[coordinator].fleet.told(&self.urls[worker], &load);
        }
    }

    /// Has workers tell what they have again and again, for ever.
    pub(super) async fn keep_telling(&self) {
        for count in 0_usize.. {
            sleep(PROGRESS).await;
            for worker in 0..self.scenario.workers {
                for coordinator in 0..self.scenario.coordinators {
                    // Not all at the same time.
                    let is_probe = (count + worker + coordinator).is_multiple_of(PROBE);
                    if is_probe || self.with(worker, |at| at.works_for(coordinator)) == Some(true) {
                        self.tell(worker, coordinator);
                    }
                }
            }
        }
    }

    /// The way to a worker and back.
    pub(super) async fn way(&self, coordinator: usize, worker: usize) {
        let scenario = &self.scenario;
        let is_near = scenario.region_of_coordinator(coordinator) == scenario.region_of_worker(worker);
        sleep(if is_near { scenario.near } else { scenario.far }).await;
    }

    pub(super) fn second(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    pub(super) fn wrote(&self) {
        *self.figures.borrow_mut().writes.entry(self.second()).or_default() += 1;
    }

    pub(super) fn worked(&self, tenant: usize, tokens: f64) {
        let second = self.second();
        *self.figures.borrow_mut().tokens.entry(second).or_default().entry(tenant).or_default() += tokens;
    }

    /// Ends when a coordinator is gone.
    pub(super) async fn gone(&self, coordinator: usize) {
        let mut is_gone = self.coordinators[coordinator].is_gone.subscribe();
        // The sender is there as long as this is.
        let _ = is_gone.wait_for(|is_gone| *is_gone).await;
    }

    /// Ends when another coordinator goes on with an incident of one that is gone, and says which.
    pub(super) async fn take_over(&self, incident: usize) -> usize {
        sleep(LEASE).await;
        let left: Vec<usize> =
            (0..self.coordinators.len()).filter(|&at| !*self.coordinators[at].is_gone.borrow()).collect();
        let next = left[incident % left.len().max(1)];
        let permit = self.coordinators[next].taking_over.acquire().await;
        sleep(TAKEN_OVER).await;
        drop(permit);
        self.figures.borrow_mut().taken_over += 1;
        next
    }

    /// Lets happen what goes wrong.
    pub(super) async fn go_wrong(&self) {
        match self.scenario.fault {
            Fault::None | Fault::Slow(..) => {}
            Fault::Region(at) => {
                sleep(at).await;
                let lost: Vec<usize> = (0..self.scenario.workers)
                    .filter(|&worker| self.scenario.region_of_worker(worker) == 1)
                    .collect();
                for &worker in &lost {
                    if let Some(worker) = self.workers.borrow_mut()[worker].take() {
                        worker.stop();
                    }
                }
                sleep(NOTICED).await;
                // A task of its own keeps each link, so the others run between two.
                for &worker in &lost {
                    for coordinator in &self.coordinators {
                        coordinator.fleet.broke_off(&self.urls[worker], "it did not answer a ping");
                    }
                    tokio::task::yield_now().await;
                }
            }
            Fault::Coordinator(at) => {
                sleep(at).await;
                self.coordinators[0].is_gone.send_replace(true);
            }
        }
    }

    /// Looks at the cluster again and again, for ever.
    pub(super) async fn look(&self) {
        loop {
            sleep(LOOK).await;
            let running: Vec<u32> = self.workers.borrow().iter().flatten().map(Worker::running).collect();
            let workers = running.len().max(1) as f64;
            let look = Look {
                waiting: self.waiting.get(),
                taken: self.taken.take() as f64 / LOOK.as_secs_f64(),
                places: running.iter().map(|&count| f64::from(count)).sum::<f64>()
                    / (workers * f64::from(self.scenario.machine.capacity)),
                busy: running.iter().filter(|&&count| count > 0).count() as f64 / workers,
                incidents: self.incidents.get(),
            };
            self.figures.borrow_mut().looks.push(look);
        }
    }
}

/// What a worker says of itself.
fn answer(id: &WorkerId, scenario: &Scenario, number: usize) -> GetModelResponse {
    let machine = scenario.machine_of(number);
    GetModelResponse {
        worker_id: id.as_str().to_owned(),
        protocol_version: PROTOCOL_VERSION,
        model: Some(ModelIdentity {
            name: "simulated".to_owned(),
            weights_sha256: DIGEST.to_owned(),
            tokenizer_sha256: DIGEST.to_owned(),
            arithmetic: "none/1".to_owned(),
            ..ModelIdentity::default()
        }),
        capacity: machine.capacity,
        efficient_sequences: machine.efficient(),
        ..GetModelResponse::default()
    }
}
