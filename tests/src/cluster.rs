//! One coordinator and its workers as processes of this machine.

use std::process::Command;
use std::time::Duration;

use countermove_proto::v1 as api;
use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::process::{Process, Signal, program, wait_until};
use crate::{PATIENCE_SECONDS, default_model};

const PATIENCE: Duration = Duration::from_secs(PATIENCE_SECONDS);

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Worker processes.
    pub workers: usize,
    /// Further flags of each worker.
    pub worker_flags: Vec<String>,
    /// Further flags of the coordinator.
    pub coordinator_flags: Vec<String>,
    /// URLs of workers that run elsewhere, such as fakes.
    pub other_workers: Vec<String>,
}

/// A worker process.
pub struct Worker {
    /// The process.
    pub process: Process,
    /// Where it listens, such as `http://127.0.0.1:43211`.
    pub url: String,
    /// Its id, as given by `--id`.
    pub id: String,
}

impl Worker {
    /// Starts worker number `index` of `count`; workers share the cores of this machine out between them.
    ///
    /// # Panics
    /// If it does not come up, or the model is missing.
    pub fn start(index: usize, count: usize, flags: &[String]) -> Self {
        default_model();
        let id = format!("test-worker-{index}");
        let mut command = Command::new(program("countermove-worker"));
        command.args(["--listen", "127.0.0.1:0", "--model", "default", "--id", &id]);
        command.args(["--cpus", &cpus(index, count), "--sequences", "16"]);
        command.args(flags);
        let mut process = Process::start(&id, &mut command);
        let url = format!("http://{}", process.address(PATIENCE));
        Self { process, url, id }
    }
}

/// CPU ids for worker `index` of `count`, disjoint while there are enough.
fn cpus(index: usize, count: usize) -> String {
    // SAFETY: an all-zero cpu_set_t is an empty set, and sched_getaffinity writes at most its size into it.
    let allowed: Vec<usize> = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    };
    assert!(!allowed.is_empty(), "this process may run on no CPU");
    let mine: Vec<String> = if count > allowed.len() {
        vec![allowed[index % allowed.len()].to_string()]
    } else {
        allowed.iter().skip(index).step_by(count.max(1)).map(usize::to_string).collect()
    };
    mine.join(",")
}

async fn start_coordinator(flags: &[String]) -> (Process, String, Channel) {
    let mut command = Command::new(program("countermove-coordinator"));
    let mut coordinator = Process::start("coordinator", command.args(flags));
    let url = format!("http://{}", coordinator.address(PATIENCE));
    let channel = Endpoint::from_shared(url.clone())
        .unwrap_or_else(|error| panic!("{url}: {error}"))
        .connect()
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"));
    (coordinator, url, channel)
}

/// A running cluster. Dropping it kills everything.
pub struct Cluster {
    /// The coordinator.
    pub coordinator: Process,
    /// Where it listens, such as `http://127.0.0.1:43211`.
    pub url: String,
    /// Its workers.
    pub workers: Vec<Worker>,
    channel: Channel,
    /// Flags of the coordinator.
    flags: Vec<String>,
}

impl Cluster {
    /// Starts workers, then the coordinator, and waits until every one of these workers is ready.
    ///
    /// # Panics
    /// If something does not come up.
    pub async fn start(options: ClusterOptions) -> Self {
        let workers: Vec<Worker> = (0..options.workers)
            .map(|index| Worker::start(index, options.workers, &options.worker_flags))
            .collect();
        let urls: Vec<String> = workers
            .iter()
            .map(|worker| worker.url.clone())
            .chain(options.other_workers.iter().cloned())
            .collect();
        let urls = urls.join(",");
        let mut flags = vec!["--listen", "127.0.0.1:0", "--discovery", "static", "--workers", &urls];
        if !options.coordinator_flags.iter().any(|flag| flag == "--store") {
            flags.extend(["--store", "memory:"]);
        }
        flags.extend(options.coordinator_flags.iter().map(String::as_str));
        let flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        let (coordinator, url, channel) = start_coordinator(&flags).await;
        let cluster = Self { coordinator, url, workers, channel, flags };
        cluster.wait_for_workers().await;
        cluster
    }

    /// Kills the coordinator and starts another one with the same flags, at another address.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn replace_coordinator(&mut self) {
        self.coordinator.signal(Signal::Kill);
        self.coordinator.exit_code(PATIENCE).await;
        self.start_coordinator_again().await;
    }

    /// Tells the coordinator to end and waits until it has.
    ///
    /// # Panics
    /// If it does not end in good order.
    pub async fn end_coordinator(&mut self) {
        self.coordinator.signal(Signal::Terminate);
        assert_eq!(self.coordinator.exit_code(PATIENCE).await, 0);
    }

    /// Starts a coordinator with the same flags in the place of one that has ended.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_coordinator_again(&mut self) {
        (self.coordinator, self.url, self.channel) = start_coordinator(&self.flags).await;
        self.wait_for_workers().await;
    }

    async fn wait_for_workers(&self) {
        for worker in &self.workers {
            self.wait_for(&worker.id, "ready", |found| found.status() == api::WorkerStatus::Ready).await;
        }
    }

    /// Starts `workers` workers and a coordinator.
    ///
    /// # Panics
    /// If something does not come up.
    pub async fn of(workers: usize) -> Self {
        Self::start(ClusterOptions { workers, ..ClusterOptions::default() }).await
    }

    /// A connection to the coordinator.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A client of the incident service.
    pub fn incidents(&self) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.channel())
    }

    /// A client of the cluster service.
    pub fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel())
    }

    /// The workers as the coordinator sees them.
    ///
    /// # Panics
    /// If the coordinator does not answer.
    pub async fn list_workers(&self) -> Vec<api::Worker> {
        let request = api::ListWorkersRequest { page_size: 100, page_token: String::new() };
        let answer = self.cluster().list_workers(request).await;
        answer.unwrap_or_else(|status| panic!("ListWorkers: {status}")).into_inner().workers
    }

    /// Waits until the worker with this id is as `holds` wants it.
    ///
    /// # Panics
    /// If it does not come to that.
    pub async fn wait_for(&self, id: &str, what: &str, holds: impl Fn(&api::Worker) -> bool) -> api::Worker {
        let name = format!("workers/{id}");
        wait_until(&format!("{id} is {what}"), PATIENCE, || async {
            self.list_workers().await.into_iter().find(|worker| worker.name == name && holds(worker))
        })
        .await
    }

    /// Waits until no worker that is ready runs anything.
    ///
    /// # Panics
    /// If one is still at work after `patience`.
    pub async fn wait_until_idle(&self, patience: Duration) {
        wait_until("all workers are idle", patience, || async {
            let workers = self.list_workers().await;
            workers.iter().all(|worker| worker.running == 0).then_some(())
        })
        .await;
    }
}
