//! A hundred incidents at a time on three coordinators, one PostgreSQL and four simulated workers, while processes are
//! killed, frozen and restarted by a schedule that a seed draws. `make chaos` runs it.
//!
//! Each round ends with a check: every incident ended, with the very decisions of the undisturbed run; nothing was told
//! twice; every chain is whole. A round that fails it ends the program with the incident's name and the seed.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use countermove_proto::v1 as api;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_tests::{Postgres, Process, Signal, evidence, free_port, program};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

const COORDINATORS: usize = 3;
const WORKERS: usize = 4;
/// Time that a process has to come up.
const START: Duration = Duration::from_secs(60);
/// Time that a round may take before an incident counts as lost.
const ROUND: Duration = Duration::from_secs(600);
/// Tokens a second of a worker: slow enough that a round is long enough to be hurt.
const PACE: &str = "6000";

/// Decisions of a plan, as text.
type Decisions = String;

#[tokio::main]
async fn main() -> ExitCode {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (incidents, minutes, seed) = (number("INCIDENTS", 100), number("MINUTES", 30), number("SEED", 1));
    let Some(server) = Postgres::start() else { return ExitCode::FAILURE };
    let mut cluster = Cluster::start(server);
    let begun = Instant::now();
    let expected = match cluster.round(incidents, None).await {
        Ok((plans, _)) => plans,
        Err(problem) => {
            eprintln!("error: the undisturbed round: {problem}");
            return ExitCode::FAILURE;
        }
    };
    println!("undisturbed: {} incidents in {:.1} s", expected.len(), begun.elapsed().as_secs_f64());
    let (begun, mut total, mut finished) = (Instant::now(), BTreeMap::new(), 0);
    for round in 0.. {
        if begun.elapsed() > Duration::from_secs(60 * minutes) {
            break;
        }
        let (seed, started) = (seed.wrapping_add(round), Instant::now());
        match cluster.round(incidents, Some(seed)).await {
            Ok((plans, faults)) => {
                if let Some((index, _)) = plans.iter().find(|(index, plan)| expected.get(index) != Some(plan))
                {
                    eprintln!(
                        "error: with seed {seed} the plan of incident {index} is another one than undisturbed"
                    );
                    return ExitCode::FAILURE;
                }
                finished += plans.len();
                println!(
                    "seed {seed}: {} of {incidents} incidents finished as undisturbed in {:.1} s; faults: {faults:?}",
                    plans.len(),
                    started.elapsed().as_secs_f64()
                );
                for (fault, count) in faults {
                    *total.entry(fault).or_insert(0) += count;
                }
            }
            Err(problem) => {
                eprintln!("error: with seed {seed}: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("in all: {finished} incidents finished, none lost, none changed; faults: {total:?}");
    ExitCode::SUCCESS
}

/// A process at an address of its own, which it keeps when it is started again.
struct Server {
    name: String,
    arguments: Vec<String>,
    program: &'static str,
    process: Option<Process>,
}

impl Server {
    fn start(&mut self) {
        let mut command = Command::new(program(self.program));
        command.args(&self.arguments).env("RUST_LOG", "warn");
        let mut process = Process::start(&self.name, &mut command);
        process.address(START);
        self.process = Some(process);
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
        if signal == Signal::Kill {
            self.process = None;
        }
    }
}

struct Cluster {
    database: Postgres,
    workers: Vec<Server>,
    coordinators: Vec<Server>,
    urls: Vec<String>,
}

impl Cluster {
    fn start(database: Postgres) -> Self {
        let address = || format!("127.0.0.1:{}", free_port());
        let (mut workers, mut worker_urls) = (Vec::new(), Vec::new());
        for index in 0..WORKERS {
            let (listen, id) = (address(), format!("simulated-{index}"));
            worker_urls.push(format!("http://{listen}"));
            let arguments =
                ["--listen", &listen, "--id", &id, "--simulate", PACE].map(str::to_owned).to_vec();
            workers.push(Server { name: id, arguments, program: "countermove-worker", process: None });
        }
        let (mut coordinators, mut urls) = (Vec::new(), Vec::new());
        for index in 0..COORDINATORS {
            let listen = address();
            urls.push(format!("http://{listen}"));
            let arguments = [
                ["--listen", &listen],
                ["--store", &database.url()],
                ["--workers", &worker_urls.join(",")],
                ["--lease", "3"],
                ["--worker-wait", "120"],
            ];
            let arguments = arguments.concat().into_iter().map(str::to_owned).collect();
            let name = format!("coordinator-{index}");
            coordinators.push(Server { name, arguments, program: "countermove-coordinator", process: None });
        }
        workers.iter_mut().chain(&mut coordinators).for_each(Server::start);
        Self { database, workers, coordinators, urls }
    }

    /// Plans so many incidents, with faults that the seed draws or with none, and checks what came of it.
    async fn round(
        &mut self,
        incidents: u64,
        seed: Option<u64>,
    ) -> Result<(BTreeMap<u64, Decisions>, BTreeMap<&'static str, u64>), String> {
        let (done, over) = watch::channel(false);
        let urls = self.urls.clone();
        // On a thread of its own: futures of asynchronous closures that borrow cannot move between threads.
        let runtime = tokio::runtime::Handle::current();
        let load = tokio::task::spawn_blocking(move || {
            runtime.block_on(async move {
                let client = Clients::new(&urls);
                let running: FuturesUnordered<_> = (0..incidents).map(|index| client.plan(index)).collect();
                let plans: Vec<Result<(u64, Decisions), String>> = running.collect().await;
                done.send_replace(true);
                plans.into_iter().collect::<Result<BTreeMap<_, _>, _>>()
            })
        });
        let faults = match seed {
            Some(seed) => self.hurt(Dice(seed), over).await,
            None => BTreeMap::new(),
        };
        let plans = load.await.map_err(|error| error.to_string())??;
        Ok((plans, faults))
    }

    /// Injects faults until `over`, and mends everything at the end.
    async fn hurt(&mut self, mut dice: Dice, mut over: watch::Receiver<bool>) -> BTreeMap<&'static str, u64> {
        let mut faults = BTreeMap::new();
        loop {
            let pause = Duration::from_millis(500 + dice.roll(2500));
            tokio::select! {
                _ = over.wait_for(|over| *over) => return faults,
                () = tokio::time::sleep(pause) => {}
            }
            let (worker, coordinator) =
                (dice.roll(WORKERS as u64) as usize, dice.roll(COORDINATORS as u64) as usize);
            let away = Duration::from_millis(500 + dice.roll(3000));
            let fault = match dice.roll(20) {
                0..7 => {
                    self.workers[worker].signal(Signal::Kill);
                    tokio::time::sleep(away).await;
                    self.workers[worker].start();
                    "workers killed"
                }
                7..9 => {
                    // Longer than a ping may take.
                    self.workers[worker].signal(Signal::Stop);
                    tokio::time::sleep(Duration::from_secs(9)).await;
                    self.workers[worker].signal(Signal::Continue);
                    "workers frozen"
                }
                9..15 => {
                    self.coordinators[coordinator].signal(Signal::Kill);
                    tokio::time::sleep(away).await;
                    self.coordinators[coordinator].start();
                    "coordinators killed"
                }
                15..18 => {
                    // Longer than its lease.
                    self.coordinators[coordinator].signal(Signal::Stop);
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    self.coordinators[coordinator].signal(Signal::Continue);
                    "coordinators frozen"
                }
                _ => {
                    self.database.stop();
                    tokio::time::sleep(away).await;
                    self.database.resume();
                    "databases restarted"
                }
            };
            *faults.entry(fault).or_insert(0) += 1;
        }
    }
}

/// Clients of all coordinators: what one does not answer is asked of the next.
struct Clients(Vec<IncidentServiceClient<Channel>>);

impl Clients {
    fn new(urls: &[String]) -> Self {
        let connect = |url: &String| {
            let endpoint =
                Endpoint::from_shared(url.clone()).unwrap_or_else(|error| panic!("{url}: {error}"));
            let endpoint = endpoint.connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(10));
            IncidentServiceClient::new(endpoint.connect_lazy())
        };
        Self(urls.iter().map(connect).collect())
    }

    /// Plans one incident and gives its decisions.
    async fn plan(&self, index: u64) -> Result<(u64, Decisions), String> {
        let options =
            api::PlanOptions { seed: Some(index), max_steps: 3, max_depth: 5, ..api::PlanOptions::default() };
        let request = api::CreateIncidentRequest {
            evidence: Some(evidence()),
            options: Some(options),
            request_id: uuid::Uuid::now_v7().to_string(),
            ..api::CreateIncidentRequest::default()
        };
        let until = Instant::now() + ROUND;
        let first = index as usize;
        let created =
            self.insist(first, until, async |client| client.create_incident(request.clone()).await).await?;
        let name = created.incident.ok_or("CreateIncident gave no incident")?.name;
        let get = api::GetIncidentRequest { name: name.clone() };
        let incident = loop {
            let got =
                self.insist(first, until, async |client| client.get_incident(get.clone()).await).await?;
            let incident = got.incident.ok_or("GetIncident gave no incident")?;
            if incident.status() == api::IncidentStatus::Ended {
                break incident;
            }
            if Instant::now() > until {
                return Err(format!("{name} (seed {index}) did not end: {:?}", incident.status()));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        };
        if !incident.error.is_empty() {
            return Err(format!("{name} (seed {index}) failed: {}", incident.error));
        }
        let verify = api::VerifyIncidentRequest { name: name.clone() };
        let verified =
            self.insist(first, until, async |client| client.verify_incident(verify.clone()).await).await?;
        if verified.broken_event > 0 {
            return Err(format!("{name}: event {} is broken: {}", verified.broken_event, verified.problem));
        }
        let events = self.insist(first, until, async |client| self.events(client, &name).await).await?;
        told_once(&name, &events)?;
        Ok((index, decisions(&incident)))
    }

    async fn events(
        &self,
        client: &mut IncidentServiceClient<Channel>,
        name: &str,
    ) -> Result<tonic::Response<Vec<api::IncidentEvent>>, tonic::Status> {
        let request = api::WatchIncidentRequest { name: name.to_owned(), resume_after: 0 };
        let mut watch = client.watch_incident(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(update) = watch.message().await? {
            if let Some(Update::Event(event)) = update.update {
                events.push(event);
            }
        }
        Ok(tonic::Response::new(events))
    }

    /// Asks one coordinator after the other until one answers.
    async fn insist<T>(
        &self,
        first: usize,
        until: Instant,
        call: impl AsyncFn(&mut IncidentServiceClient<Channel>) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, String> {
        let mut last = String::new();
        for client in self.0.iter().cycle().skip(first % self.0.len()) {
            match call(&mut client.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => last = status.to_string(),
            }
            if Instant::now() > until {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("no coordinator answers: {last}"))
    }
}

/// What was decided, without what depends on time and place.
fn decisions(incident: &api::Incident) -> Decisions {
    let mut plan = incident.plan.clone().unwrap_or_default();
    plan.usage = None;
    for step in &mut plan.steps {
        step.usage = None;
        // It covers the name of the incident.
        step.plan_hash.clear();
    }
    format!("{plan:?}")
}

/// Checks that events are numbered without a gap and that nothing was told twice.
fn told_once(name: &str, events: &[api::IncidentEvent]) -> Result<(), String> {
    if !events.iter().map(|event| event.sequence).eq(1..=events.len() as u64) {
        return Err(format!("{name}: the numbers of its events have a gap"));
    }
    let mut told: Vec<String> = events
        .iter()
        .filter_map(|event| match event.kind.as_ref()? {
            Kind::Rollout(r) => Some(format!("rollout {} {} {}", r.step, r.candidate, r.rollout)),
            Kind::Proposed(proposed) => Some(format!("candidates {}", proposed.step)),
            Kind::Decided(step) => Some(format!("decision {}", step.index)),
            Kind::Created(_) => Some("creation".to_owned()),
            Kind::Assessed(_) => Some("assessment".to_owned()),
            Kind::Ended(_) => Some("end".to_owned()),
            _ => None,
        })
        .collect();
    told.sort_unstable();
    match told.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{name}: told twice: {}", pair[0])),
        None => Ok(()),
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}
