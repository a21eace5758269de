//! What an operator can set, and the coordinator that follows from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use countermove_incident::{MinuteTable, Pricing};
use countermove_planner::{OptionsError, PlanOptions, TemplateError, Templates};
use tokio::net::TcpListener;

use crate::discovery::{StaticDiscovery, WorkerUrl};
use crate::dispatch::DispatchOptions;
use crate::incidents::{IncidentOptions, Incidents, MemoryStore};
use crate::server::{ServeError, serve};
use crate::webhook::{Receiver, WebhookError};
use crate::workers::{Fleet, FleetOptions, LinkOptions};

/// Plans the response to network incidents with the workers it is given.
#[derive(Clone, Debug, Parser)]
#[command(name = "countermove-coordinator", version)]
pub struct Args {
    /// Address to serve at; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7700", env = "COUNTERMOVE_LISTEN")]
    pub listen: SocketAddr,
    /// Where workers are found
    #[arg(long, value_enum, default_value_t = DiscoveryKind::Static)]
    pub discovery: DiscoveryKind,
    /// Addresses of the workers, http://host:port, separated by commas
    #[arg(long, value_delimiter = ',', env = "COUNTERMOVE_WORKERS", required = true)]
    pub workers: Vec<WorkerUrl>,
    /// Folder with prompt templates that take the place of the built-in ones; workers need the same
    #[arg(long)]
    pub templates: Option<PathBuf>,
    /// SHA-256 of the weights that every worker has to hold [default: those of the first worker]
    #[arg(long, value_parser = sha256)]
    pub model_sha256: Option<String>,
    /// Seconds that work waits for a worker when there is none
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub worker_wait: f64,
    /// Seconds without an answer to a ping after which a worker counts as lost
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub keep_alive_timeout: f64,
    /// Seconds that incidents at work have to end when the process is told to stop
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    pub drain_timeout: f64,
    /// Incidents that may be planned at the same time
    #[arg(long, default_value_t = 1000)]
    pub max_incidents: usize,
    /// Ended incidents that are kept in memory
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
    /// Address that approved actions are posted to, signed with the secret of --webhook-secret
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    pub webhook: Option<String>,
    /// File with the secret that the webhook shares, at least 32 bytes
    #[arg(long, value_name = "FILE", requires = "webhook")]
    pub webhook_secret: Option<PathBuf>,
    /// Threads that serve; few, since workers on the same machine need the cores
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub runtime_threads: u16,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "COUNTERMOVE_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Drain and exit when standard input ends, so that the process never outlives the one that holds its other end
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// Where workers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiscoveryKind {
    /// At the addresses of --workers.
    Static,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The templates cannot be used.
    #[error("the prompt templates cannot be used: {0}")]
    Templates(#[from] TemplateError),
    /// The cost model cannot be used.
    #[error("--costs {name}: {fault}")]
    Costs {
        /// What was given.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The webhook cannot be used.
    #[error("--webhook: {0}")]
    Webhook(#[from] WebhookError),
    /// The webhook's secret cannot be read.
    #[error("--webhook-secret {path}: {fault}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: std::io::Error,
    },
    /// A default for plans is out of its range.
    #[error("the planning defaults cannot be used: {0}")]
    Options(#[from] OptionsError),
}

/// A coordinator that is ready to serve.
pub struct Coordinator {
    discovery: StaticDiscovery,
    fleet: FleetOptions,
    templates: Arc<Templates>,
    incidents: IncidentOptions,
    receiver: Option<Receiver>,
    keep_incidents: usize,
    drain_timeout: Duration,
}

impl TryFrom<&Args> for Coordinator {
    type Error = ConfigError;

    fn try_from(args: &Args) -> Result<Self, ConfigError> {
        let templates = Templates::load(args.templates.as_deref())?;
        let defaults = PlanOptions {
            thinking_tokens: args.thinking_tokens,
            rollout_thinking_tokens: args.rollout_thinking_tokens,
            context_tokens: args.context_tokens,
            pricing: pricing(&args.costs)?,
            ..PlanOptions::default()
        };
        defaults.validate()?;
        let DiscoveryKind::Static = args.discovery;
        Ok(Self {
            discovery: StaticDiscovery::new(args.workers.iter().cloned()),
            fleet: FleetOptions {
                templates_sha256: templates.digest(),
                model_sha256: args.model_sha256.clone(),
                link: LinkOptions {
                    keep_alive_timeout: Duration::from_secs_f64(args.keep_alive_timeout),
                    ..LinkOptions::default()
                },
            },
            templates: Arc::new(templates),
            incidents: IncidentOptions {
                defaults,
                dispatch: DispatchOptions {
                    worker_wait: Duration::from_secs_f64(args.worker_wait),
                    ..DispatchOptions::default()
                },
                most_active: args.max_incidents,
                webhook: None,
            },
            receiver: receiver(args)?,
            keep_incidents: args.keep_incidents,
            drain_timeout: Duration::from_secs_f64(args.drain_timeout),
        })
    }
}

impl Coordinator {
    /// Serves at `listener` until `shutdown` ends, and then drains.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let fleet = Fleet::start(&self.discovery, self.fleet);
        let store = Arc::new(MemoryStore::new(self.keep_incidents));
        let webhook = self.receiver.map(Receiver::start);
        let options = IncidentOptions { webhook, ..self.incidents };
        let incidents = Incidents::new(store, fleet.clone(), self.templates, options);
        serve(incidents, fleet, listener, self.drain_timeout, shutdown).await
    }
}

/// Who is told of approved actions.
fn receiver(args: &Args) -> Result<Option<Receiver>, ConfigError> {
    let (Some(url), Some(path)) = (&args.webhook, &args.webhook_secret) else { return Ok(None) };
    let secret =
        std::fs::read_to_string(path).map_err(|fault| ConfigError::Secret { path: path.clone(), fault })?;
    Ok(Some(Receiver::new(url, &secret)?))
}

/// A model by its name, or the table in the file of that name.
fn pricing(name: &str) -> Result<Pricing, ConfigError> {
    if let Some(pricing) = Pricing::named(name) {
        return Ok(pricing);
    }
    let refused = |fault: String| ConfigError::Costs { name: name.to_owned(), fault };
    let text = std::fs::read_to_string(name).map_err(|error| refused(error.to_string()))?;
    MinuteTable::parse(&text)
        .map(|table| Pricing::Minutes(Arc::new(table)))
        .map_err(|error| refused(error.to_string()))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0 to 1000000 is needed".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(more: &[&str]) -> Result<Args, clap::Error> {
        let all = ["countermove-coordinator", "--workers", "http://a:1,http://b:2"].iter().chain(more);
        Args::try_parse_from(all)
    }

    #[test]
    fn defaults_make_a_coordinator() {
        let args = args(&[]).unwrap();
        assert_eq!(args.workers.len(), 2);
        let coordinator = Coordinator::try_from(&args).unwrap();
        assert_eq!(coordinator.incidents.dispatch.worker_wait, Duration::from_secs(10));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for bad in [
            ["--workers", "http://a"],
            ["--model-sha256", "abc"],
            ["--worker-wait", "-1"],
            ["--drain-timeout", "nan"],
            ["--runtime-threads", "0"],
            ["--discovery", "magic"],
        ] {
            assert!(args(&bad).is_err(), "{bad:?}");
        }
        let vast = args(&["--thinking-tokens", "100000"]).unwrap();
        assert!(matches!(Coordinator::try_from(&vast), Err(ConfigError::Options(_))));
        let nowhere = args(&["--templates", "no/such/folder"]).unwrap();
        assert!(matches!(Coordinator::try_from(&nowhere), Err(ConfigError::Templates(_))));
        let costly = args(&["--costs", "no/such/file.toml"]).unwrap();
        assert!(matches!(Coordinator::try_from(&costly), Err(ConfigError::Costs { .. })));
        let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/costs.toml");
        let minutes = Coordinator::try_from(&args(&["--costs", table]).unwrap()).unwrap();
        assert_eq!(minutes.incidents.defaults.pricing.name(), "minutes");
    }

    #[test]
    fn a_digest_is_taken_in_either_case() {
        let upper = "AB".repeat(32);
        assert_eq!(args(&["--model-sha256", &upper]).unwrap().model_sha256.unwrap(), upper.to_lowercase());
    }
}
