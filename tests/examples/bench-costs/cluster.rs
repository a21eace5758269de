//! The cluster that is measured: every way between two of its parts leads through a proxy.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use countermove_proto::v1 as api;
use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_tests::{
    Etcd, Postgres, Process, default_model, free_port, http, lazy_client, program, wait_until,
};
use tonic::transport::Channel;

use crate::proxy::{Passed, Proxy};

const START: Duration = Duration::from_secs(180);
const WORKERS: usize = 2;
const COORDINATORS: usize = 2;
/// Ways between the parts, in the order of [`Sample::ways`].
pub(crate) const WAYS: [&str; 6] = [
    "client – coordinator",
    "coordinator – worker",
    "coordinator – coordinator",
    "coordinator – PostgreSQL",
    "coordinator – etcd",
    "worker – etcd",
];
/// Figures of coordinators that are told beside the ways.
const TOKENS: [&str; 5] = ["computed", "cached", "chosen", "forced", "discarded"];
const WORK: [&str; 2] = ["question", "rollout"];

pub(crate) struct Cluster {
    proxies: [Vec<Proxy>; WAYS.len()],
    clients: Vec<IncidentServiceClient<Channel>>,
    /// Where coordinators tell their figures.
    figures: Vec<String>,
    _processes: Vec<Process>,
    _etcd: Etcd,
    _database: Postgres,
}

/// What passed on one way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    /// Connections that were made since the start.
    pub(crate) open: u64,
    pub(crate) bytes: f64,
    pub(crate) turns: f64,
    pub(crate) calls: f64,
    pub(crate) frames: f64,
    pub(crate) pings: f64,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) ways: [Way; WAYS.len()],
    /// Of coordinators' own figures.
    told: BTreeMap<String, f64>,
}

impl Cluster {
    /// Starts all of it and waits until the workers are ready.
    ///
    /// # Errors
    /// What this machine lacks.
    pub(crate) async fn start() -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("a proxy: {error}");
        let etcd = Etcd::start().ok_or("etcd is needed")?;
        let database = Postgres::start().ok_or("PostgreSQL is needed")?;
        let stored = database.url();
        let between =
            |text: &str| -> Option<String> { Some(text.split_once('@')?.1.split_once('/')?.0.to_owned()) };
        let database_address = between(&stored).ok_or("the database has no address")?;
        let registry = etcd.url().trim_start_matches("http://").to_owned();
        let for_workers = Proxy::to(registry.clone()).await.map_err(fault)?;
        let for_coordinators = Proxy::to(registry).await.map_err(fault)?;
        let to_database = Proxy::to(database_address.clone()).await.map_err(fault)?;
        let (mut processes, mut to_workers) = (Vec::new(), Vec::new());
        let is_simulated = std::env::var("WORKER").is_ok_and(|worker| worker == "simulated");
        if !is_simulated {
            default_model();
        }
        for number in 0..WORKERS {
            let listen = format!("127.0.0.1:{}", free_port());
            let proxy = Proxy::to(listen.clone()).await.map_err(fault)?;
            let mut command = Command::new(program("countermove-worker"));
            command.args(["--listen", &listen, "--id", &format!("worker-{number}")]);
            command.args(["--advertise", &format!("http://{}", proxy.address)]);
            command.args(["--etcd", &format!("http://{}", for_workers.address)]).env("RUST_LOG", "warn");
            match is_simulated {
                true => command.args(["--simulate", "4000"]),
                false => command.args(["--model", "default"]),
            };
            processes.push(Process::start("worker", &mut command));
            to_workers.push(proxy);
        }
        let (mut near, mut peers, mut figures, mut clients) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let store = stored.replace(&database_address, &to_database.address);
        for _ in 0..COORDINATORS {
            let listen = format!("127.0.0.1:{}", free_port());
            let told = format!("127.0.0.1:{}", free_port());
            let (client, peer) = (
                Proxy::to(listen.clone()).await.map_err(fault)?,
                Proxy::to(listen.clone()).await.map_err(fault)?,
            );
            let mut command = Command::new(program("countermove-coordinator"));
            command.args(["--listen", &listen, "--store", &store, "--metrics-listen", &told]);
            command.args(["--advertise", &format!("http://{}", peer.address), "--discovery", "etcd"]);
            command.args(["--etcd", &format!("http://{}", for_coordinators.address)]).env("RUST_LOG", "warn");
            processes.push(Process::start("coordinator", &mut command));
            clients.push(lazy_client(&format!("http://{}", client.address)));
            figures.push(told);
            near.push(client);
            peers.push(peer);
        }
        for process in &mut processes {
            process.address(START);
        }
        for proxy in &near {
            let url = format!("http://{}", proxy.address);
            let cluster = ClusterServiceClient::connect(url.clone())
                .await
                .map_err(|error| format!("{url}: {error}"))?;
            wait_until("all workers are ready", START, || {
                let mut cluster = cluster.clone();
                async move {
                    let listed = cluster
                        .list_workers(api::ListWorkersRequest::default())
                        .await
                        .ok()?
                        .into_inner()
                        .workers;
                    let is_ready = |worker: &&api::Worker| worker.status() == api::WorkerStatus::Ready;
                    (listed.iter().filter(is_ready).count() == WORKERS).then_some(())
                }
            })
            .await;
        }
        let proxies = [near, to_workers, peers, vec![to_database], vec![for_coordinators], vec![for_workers]];
        Ok(Self { proxies, clients, figures, _processes: processes, _etcd: etcd, _database: database })
    }

    pub(crate) fn client(&self, coordinator: usize) -> IncidentServiceClient<Channel> {
        self.clients[coordinator].clone()
    }

    /// All counts as they stand.
    ///
    /// # Errors
    /// If a coordinator does not tell its figures.
    pub(crate) async fn sample(&self) -> Result<Sample, String> {
        let mut sample = Sample::default();
        for (way, proxies) in sample.ways.iter_mut().zip(&self.proxies) {
            *way = Way::of(proxies.iter().map(Proxy::passed).fold(Passed::default(), Passed::plus));
        }
        for address in &self.figures {
            let host = [("host", address.as_str())];
            let page = http::ask(address, "GET", "/metrics", &host, b"").await;
            let text = String::from_utf8(page.body).map_err(|_| "a page of metrics is no text")?;
            for line in text.lines() {
                let Some((name, figure)) = told(line) else { continue };
                *sample.told.entry(name).or_default() += figure;
            }
        }
        Ok(sample)
    }
}

/// What of a line of a page of metrics is counted, under the name that the table has for it.
fn told(line: &str) -> Option<(String, f64)> {
    let (series, figure) = line.rsplit_once(' ')?;
    let figure: f64 = figure.parse().ok()?;
    let labelled = |label: &str, value: &str| series.contains(&format!("{label}=\"{value}\""));
    if series.starts_with("countermove_tokens_total") {
        let kind = TOKENS.into_iter().find(|kind| labelled("kind", kind))?;
        return Some((format!("tokens {kind}"), figure));
    }
    if series.starts_with("countermove_queue_wait_seconds_count") {
        let work = WORK.into_iter().find(|work| labelled("work", work))?;
        return Some((format!("{work}s that had a place"), figure));
    }
    if series.starts_with("countermove_store_seconds_sum") && labelled("operation", "append") {
        return Some(("ms in store appends".to_owned(), figure * 1000.0));
    }
    let name = match series.split('{').next()? {
        "countermove_store_seconds_count" if labelled("operation", "append") => "store appends",
        "countermove_store_seconds_count" => "other operations of the store",
        "countermove_hedges_total" => "hedges",
        _ => return None,
    };
    Some((name.to_owned(), figure))
}

impl Way {
    fn of(passed: Passed) -> Self {
        Self {
            open: passed.connections,
            bytes: passed.bytes() as f64,
            turns: passed.turns as f64,
            calls: passed.calls as f64,
            frames: passed.frames as f64,
            pings: passed.pings as f64,
        }
    }

    /// This less a part of the other.
    fn less(self, other: Self, part: f64) -> Self {
        Self {
            open: self.open,
            bytes: self.bytes - other.bytes * part,
            turns: self.turns - other.turns * part,
            calls: self.calls - other.calls * part,
            frames: self.frames - other.frames * part,
            pings: self.pings - other.pings * part,
        }
    }
}

impl Sample {
    pub(crate) fn less(&self, before: &Self) -> Self {
        self.less_part(before, 1.0)
    }

    /// This less a part of another one.
    pub(crate) fn less_part(&self, other: &Self, part: f64) -> Self {
        let mut left = self.clone();
        for (way, other) in left.ways.iter_mut().zip(other.ways) {
            *way = way.less(other, part);
        }
        for (name, figure) in &mut left.told {
            *figure -= other.of(name) * part;
        }
        left
    }

    /// A figure that coordinators tell.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.told.get(name).copied().unwrap_or_default()
    }

    /// All figures by name, in one order.
    pub(crate) fn figures(&self) -> Vec<(String, f64)> {
        let mut figures: Vec<_> = self.told.iter().map(|(name, figure)| (name.clone(), *figure)).collect();
        for (name, way) in WAYS.iter().zip(&self.ways) {
            figures.push((format!("{name}: bytes"), way.bytes));
            if name.ends_with("PostgreSQL") {
                figures.push((format!("{name}: turns"), way.turns));
            } else {
                figures.push((format!("{name}: calls"), way.calls));
                figures.push((format!("{name}: frames of data"), way.frames));
            }
        }
        figures
    }
}
