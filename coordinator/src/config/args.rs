//! The flags of a coordinator.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use countermove_ledger::Key;
use countermove_planner::PlanOptions;
use countermove_settings::{Names, SettingsArgs};
use countermove_telemetry::{LogFormat, MetricsArgs, TraceArgs};
use countermove_transport::TlsArgs;

use crate::access::QuotaOptions;
use crate::anchoring::Anchor;
use crate::discovery::WorkerUrl;
use crate::dispatch::Hedging;
use crate::incidents::StoreUrl;
use crate::notify::{Notify, NotifyError};

/// How a coordinator's flags are called in the environment.
pub const NAMES: Names = Names { own: &[], prefix: "COUNTERMOVE_" };

/// Plans the response to network incidents with the workers it is given.
#[derive(Clone, Debug, Parser)]
#[command(name = "countermove-coordinator", version)]
pub struct Args {
    /// Address to serve at; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,
    /// Where settings are, and figures.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Where figures are read.
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// Certificates, by which users, workers and other coordinators know this one and it knows them.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// File that says who may call and what for [default: whoever is on this machine may do everything]
    #[arg(long, value_name = "FILE")]
    pub auth: Option<PathBuf>,
    /// Where workers are found
    #[arg(long, value_enum, default_value_t = DiscoveryKind::Static)]
    pub discovery: DiscoveryKind,
    /// Addresses of the workers, http://host:port or https://host:port, separated by commas, for static discovery
    #[arg(long, value_delimiter = ',')]
    pub workers: Vec<WorkerUrl>,
    /// Addresses of the etcd members, http://host:port or https://host:port, separated by commas
    #[cfg(feature = "etcd")]
    #[arg(long, required_if_eq("discovery", "etcd"))]
    pub etcd: Option<countermove_membership::etcd::Endpoints>,
    /// Certificates towards etcd
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    pub etcd_tls: countermove_membership::etcd::EtcdTls,
    /// Where incidents are kept: memory:, sqlite:PATH or postgres://user:password@host:port/database; several
    /// coordinators share a PostgreSQL database [default: an SQLite file in the user's state folder]
    #[arg(long, hide_env_values = true)]
    pub store: Option<StoreUrl>,
    /// URL at which other coordinators on the same store reach this one [default: that of --listen]
    #[arg(long)]
    pub advertise: Option<WorkerUrl>,
    /// Whether the console is served to browsers at the same port
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub console: bool,
    /// Names of hosts, separated by commas, by which browsers reach this coordinator in plain text or by a proxy, beside its addresses,
    /// localhost and the name in --advertise
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub console_host: Vec<String>,
    /// Seconds without a sign of life after which others take over a coordinator's incidents
    #[arg(long, default_value_t = 10.0, value_parser = lease)]
    pub lease: f64,
    /// Days for which ended incidents are kept in a database [default: for ever]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_days: Option<u32>,
    /// Prompt templates: `small` or `large`, which are built in, or a folder whose files replace those of `small`; workers need the
    /// same [default: those of the first worker, `small` if an incident comes five seconds before it]
    #[arg(long)]
    pub templates: Option<PathBuf>,
    /// SHA-256 of the model that every worker has to hold, as `countermove-worker model info` says it [default: that of the first
    /// worker]
    #[arg(long, value_parser = sha256)]
    pub model_sha256: Option<String>,
    /// Seconds that work waits for a worker when there is none
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub worker_wait: f64,
    /// Model of a replica for this coordinator's own questions, which a countermove-worker beside it serves: perception and
    /// candidates then share no batch with rollouts. The same model as the workers', named as for them
    #[arg(long, value_name = "MODEL")]
    pub model: Option<OsString>,
    /// LoRA adapter for it, as for the workers
    #[arg(long, value_name = "DIR", requires = "model")]
    pub adapter: Option<OsString>,
    /// CPUs that it computes on, such as 0,2-3; workers on the same machine need others [default: all]
    #[arg(long, value_name = "LIST", requires = "model")]
    pub model_cpus: Option<OsString>,
    /// Times the median of its siblings that a rollout may take, before it is started once more on a worker that would be
    /// idle; a question 2.5 times as many of the last ones; 0: never
    #[arg(long, value_name = "MULTIPLE", default_value_t = Hedging::default().multiple, value_parser = multiple)]
    pub hedge_after: f64,
    /// Share of the rollouts that run on two workers and have to agree bit for bit, where there are two; 0: none
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share)]
    pub verify_share: f64,
    /// Seconds without an answer to a ping after which a worker counts as lost
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub keep_alive_timeout: f64,
    /// Seconds that incidents at work have to end when the process is told to stop
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    pub drain_timeout: f64,
    /// Incidents that may be planned at the same time
    #[arg(long, default_value_t = 1000)]
    pub max_incidents: usize,
    /// Ended incidents that are kept with `--store memory:`
    #[arg(long, default_value_t = 1000)]
    pub keep_incidents: usize,
    /// Most tokens of reasoning before an answer of perception and of a candidate
    #[arg(long, default_value_t = PlanOptions::default().thinking_tokens)]
    pub thinking_tokens: u32,
    /// Most tokens of reasoning before an answer within a rollout
    #[arg(long, default_value_t = PlanOptions::default().rollout_thinking_tokens)]
    pub rollout_thinking_tokens: u32,
    /// Tokens that the evidence may take in a prompt
    #[arg(long, default_value_t = PlanOptions::default().context_tokens)]
    pub context_tokens: u32,
    /// What actions cost where an incident does not say: `unit`, `superfluous`, or a TOML file with costs in minutes
    #[arg(long, default_value = "superfluous")]
    pub costs: String,
    /// What the organisation's logs say on ordinary days, for incidents that do not bring it: a file of `countermove baseline`, read anew for
    /// each incident
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Address that approved actions are posted to, signed with the secret of --webhook-secret
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    pub webhook: Option<String>,
    /// File with the secret that the webhook shares, at least 32 bytes; two lines while one takes the place of the other
    #[arg(long, value_name = "FILE", requires = "webhook")]
    pub webhook_secret: Option<PathBuf>,
    /// TOML file that says who is told how incidents stand: chats, mail gateways, ticket systems
    #[arg(long, value_name = "FILE")]
    pub notify: Option<PathBuf>,
    /// Print what each receiver in --notify would get of an incident that is made up, and exit
    #[arg(long, requires = "notify")]
    pub notify_check: bool,
    /// Let webhook, receivers of notifications and anchors be at addresses that only this machine, its link or its cloud answers
    #[arg(long)]
    pub allow_local: bool,
    /// File with the Ed25519 key that signs what a database keeps, made if it is not there [default: PATH.key beside an SQLite
    /// file, else signing.key in the user's state folder]
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,
    /// Public keys whose signatures are believed as well: of other coordinators on the same store, and of keys that were used
    /// before, separated by commas
    #[arg(long, value_name = "HEX", value_delimiter = ',')]
    pub trusted_keys: Vec<Key>,
    /// File or URL where checkpoints of the store are written down, outside of it; may be given several times
    #[arg(long, value_name = "FILE|URL")]
    pub anchor: Vec<Anchor>,
    /// Seconds between two checkpoints
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = lease)]
    pub checkpoint_every: f64,
    /// Calls a second that one tenant's callers may make, where --auth says who they are; twice as many at once after a silence.
    /// A caller with roles in several tenants counts by itself. 0: without bound
    #[arg(long, value_name = "CALLS", default_value_t = QuotaOptions::default().rate, value_parser = rate)]
    pub tenant_rate: f64,
    /// Calls of one tenant's callers that may be answered at the same time, where --auth says who they are. 0: without bound
    #[arg(long, value_name = "CALLS", default_value_t = QuotaOptions::default().calls)]
    pub tenant_calls: usize,
    /// Threads that serve; few, since workers on the same machine need the cores
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub runtime_threads: u16,
    /// Threads that read evidence and work out plans between two questions to the workers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub compute_threads: u16,
    /// Hours that an incident waits for a person's word before planning ends; 0: for ever
    #[arg(long, value_name = "HOURS", default_value_t = 72.0, value_parser = hours)]
    pub answer_within: f64,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Drain and exit when standard input ends, so that the process never outlives the one that holds its other end
    #[arg(long)]
    pub exit_with_parent: bool,
}

impl Args {
    /// Who is told how incidents stand.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn notify(&self) -> Result<Option<Notify>, NotifyError> {
        self.notify.as_deref().map(|file| Notify::read(file, self.allow_local)).transpose()
    }
}

/// Where workers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiscoveryKind {
    /// At the addresses of --workers.
    Static,
    /// Where they register themselves, in --etcd.
    #[cfg(feature = "etcd")]
    Etcd,
}

/// A number that is allowed; `needed` says which are.
fn number(text: &str, is_allowed: impl Fn(f64) -> bool, needed: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| is_allowed(*number)).ok_or_else(|| needed.to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let needed = "a number of seconds from 0 to 1000000 is needed";
    number(text, |seconds| (0.0..=1e6).contains(&seconds), needed)
}

fn hours(text: &str) -> Result<f64, String> {
    number(text, |hours| (0.0..=1e6).contains(&hours), "a number of hours from 0 to 1000000 is needed")
}

/// Less than the median would start half of all rollouts twice.
fn multiple(text: &str) -> Result<f64, String> {
    let is_allowed = |multiple| multiple == 0.0 || (1.0..=1000.0).contains(&multiple);
    number(text, is_allowed, "0, or a number from 1 to 1000, is needed")
}

fn rate(text: &str) -> Result<f64, String> {
    let is_allowed = |rate| rate == 0.0 || (0.01..=1e6).contains(&rate);
    number(text, is_allowed, "0, or a number of calls from 0.01 to 1000000, is needed")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |share| (0.0..=1.0).contains(&share), "a number from 0 to 1 is needed")
}

/// A lease is renewed at a third of its time, and takes a few round trips.
fn lease(text: &str) -> Result<f64, String> {
    match seconds(text)? {
        seconds if seconds >= 1.0 => Ok(seconds),
        _ => Err("at least one second is needed".to_owned()),
    }
}

fn sha256(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("64 hexadecimal digits are needed".to_owned())
    }
}
