//! Harness of the cluster tests: starts the real binaries on free ports, breaks them, and reads their answers.
//!
//! Contract: a process that a test starts is gone when its handle is dropped, together with everything that it
//! started. A test that fails shows the logs of all its processes. The model is the real default model; without it a
//! test fails and says how to fetch it, because a cluster test without a model would test nothing.

mod certificates;
mod cluster;
mod command;
mod dice;
mod etcd;
mod fake_worker;
pub mod http;
pub mod injections;
mod issuer;
mod load;
mod network;
mod plan;
mod postgres;
mod process;
mod samples;
pub mod secured;
mod terminal;

pub use certificates::{Authority, Holder};
pub use cluster::{Cluster, ClusterOptions, Worker};
pub use command::{Cli, CliOutput, Program};
pub use dice::Dice;
pub use etcd::Etcd;
pub use fake_worker::{FakeWorker, ReservedPort, identity};
pub use issuer::{AUDIENCE, Forgery, Issuer};
pub use load::{lazy_client, quantile, timed_plan, timed_plan_of};
pub use network::{Host, Network};
pub use plan::{PlanRun, Planning, Unwatched, fingerprint, small_options};
pub use postgres::{Postgres, free_port};
pub use process::{Process, Signal, exclusive, marked_processes, program, wait_until};
pub use samples::{
    alerts, default_model, evidence, incident_evidence, incident_folder, long_log, repository,
    system_description,
};
pub use terminal::AtTerminal;

/// How long anything in a cluster test may take before the test fails, in seconds. Generous, because the machine may
/// be busy; a test that passes is far below it.
pub const PATIENCE_SECONDS: u64 = 180;
