//! The coordinator that follows from what an operator sets.

mod args;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countermove_incident::{MinuteTable, Pricing};
use countermove_ledger::{FileKey, KeyError, Signer, TrustedKeys};
use countermove_planner::{OptionsError, PlanOptions, Profile, TemplateError, Templates};
use countermove_serving::Port;
use countermove_telemetry::{ListenError, Page, TracesError};
#[cfg(feature = "etcd")]
use countermove_transport::is_local_url;
use countermove_transport::{Dial, DialError, Exposure, ExposureError, Kind, Tls, TlsError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use args::{Args, DiscoveryKind, NAMES};

use crate::access::{
    Gate, MemoryTokens, PolicyFile, QuotaOptions, Quotas, SettingsError, Sites, TokenStore, Tokens,
};
use crate::anchoring::{AnchorError, Anchoring};
use crate::console::Bundle;
use crate::discovery::{Discovery, StaticDiscovery, WorkerUrl};
use crate::dispatch::{DispatchOptions, Hedging};
use crate::incidents::{
    BaselineFile, IncidentOptions, Incidents, MemoryStore, Sharing, SqlStore, Store, StoreError, StoreUrl,
    UnprotectedStore,
};
use crate::metrics::Metrics;
use crate::notify::{Notify, NotifyError};
use crate::replica::Replica;
use crate::server::{Front, ServeError, serve};
use crate::webhook::{Receiver, Webhook, WebhookError, warn_if_open};
use crate::workers::{Fleet, FleetOptions, LinkOptions};

/// How long a worker that is missing after an outage of etcd has to register again: some of its attempts, and a lease.
#[cfg(feature = "etcd")]
const GRACE: Duration = Duration::from_secs(30);

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The templates cannot be used.
    #[error("the prompt templates cannot be used: {0}")]
    Templates(#[from] TemplateError),
    /// The baseline cannot be used.
    #[error("--baseline {}: {fault}", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
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
    /// An anchor cannot be used.
    #[error("--anchor: {0}")]
    Anchor(#[from] AnchorError),

    /// The webhook's secret cannot be read.
    #[error("--webhook-secret {path}: {fault}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: std::io::Error,
    },
    /// See [`NotifyError`].
    #[error("--notify: {0}")]
    Notify(#[from] NotifyError),
    /// A default for plans is out of its range.
    #[error("the planning defaults cannot be used: {0}")]
    Options(#[from] OptionsError),
    /// Nobody would ever work.
    #[error("no worker is named; give their addresses with --workers")]
    NoWorkers,
    /// See [`TlsError`].
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// See [`ExposureError`].
    #[error(transparent)]
    Exposure(#[from] ExposureError),
    /// See [`ListenError`].
    #[error(transparent)]
    Metrics(#[from] ListenError),
    /// See [`TracesError`].
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// See [`SettingsError`].
    #[error("--auth: {0}")]
    Auth(#[from] SettingsError),
    /// Everybody could do everything.
    #[error(
        "--listen {0} is open to others, and nobody would be asked who it is; say with --auth who may call, listen on \
         127.0.0.1, or say --insecure"
    )]
    Anybody(SocketAddr),
    /// Calls could not be passed on.
    #[error(
        "--auth with a database that several coordinators share needs --tls-ca: by its certificates they know each other when \
         they pass calls on"
    )]
    NoMembers,
    /// A worker would be called in plain text over a network.
    #[error("--workers {0}: {1}")]
    Worker(WorkerUrl, DialError),
    /// The database would be written to in plain text over a network.
    #[error("--store: {0}")]
    Unprotected(#[from] UnprotectedStore),
    /// Others would call this coordinator in plain text.
    #[error("--advertise {0}: a coordinator with certificates is reached at https://")]
    PlainAdvertise(WorkerUrl),
    /// etcd would be called in plain text over a network.
    #[cfg(feature = "etcd")]
    #[error(
        "--etcd {0} would be called in plain text over a network; write https:// (--etcd-ca), or say --insecure"
    )]
    PlainEtcd(String),
    /// The program of the replica is missing.
    #[error("--model: countermove-worker is neither beside this program nor in PATH")]
    NoReplica,
    /// There is no place for the default store.
    #[error("this user has no home folder to keep incidents in; name a place with --store")]
    NoHome,
    /// There is no place for the default key.
    #[error("this user has no home folder to keep the signing key in; name a file with --signing-key")]
    NoKeyHome,
    /// Other coordinators could not reach this one.
    #[error(
        "--listen {0} is no address that other coordinators on the same store can reach; say with --advertise where \
         they find this one"
    )]
    Advertise(SocketAddr),
}

/// A coordinator that is ready to serve.
pub struct Coordinator {
    discovery: Source,
    fleet: FleetOptions,
    incidents: IncidentOptions,
    store: StoreUrl,
    signing_key: PathBuf,
    trusted: TrustedKeys,
    anchoring: Anchoring,
    advertise: Option<WorkerUrl>,
    console: bool,
    sites: Sites,
    tls: Option<Tls>,
    exposure: Exposure,
    insecure: bool,
    connection_age: Option<Duration>,
    policy: Option<PolicyFile>,
    quotas: QuotaOptions,
    lease: Duration,
    keep: Option<Duration>,
    webhook: Option<Webhook>,
    notify: Option<Notify>,
    replica: Option<Replica>,
    keep_incidents: usize,
    drain_timeout: Duration,
    figures: Figures,
}

/// What is counted, and where it is read.
struct Figures {
    page: Page,
    listen: Option<SocketAddr>,
}

/// What outlives calls: incidents, and the tokens of those who call.
pub struct Kept {
    store: Store,
    tokens: Arc<dyn TokenStore>,
}

/// Where workers are found.
enum Source {
    Static(StaticDiscovery),
    #[cfg(feature = "etcd")]
    Etcd(countermove_membership::etcd::Endpoints),
}

impl Source {
    /// Begins to look.
    fn start(self) -> Box<dyn Discovery> {
        match self {
            Self::Static(discovery) => Box::new(discovery),
            #[cfg(feature = "etcd")]
            Self::Etcd(endpoints) => Box::new(crate::discovery::EtcdDiscovery::start(endpoints, GRACE)),
        }
    }
}

impl TryFrom<&Args> for Coordinator {
    type Error = ConfigError;

    fn try_from(args: &Args) -> Result<Self, ConfigError> {
        let templates = match &args.templates {
            Some(named) => vec![Templates::load(Some(named))?],
            None => Profile::ALL.into_iter().map(Templates::built_in).collect::<Result<_, _>>()?,
        };
        let defaults = PlanOptions {
            thinking_tokens: args.thinking_tokens,
            rollout_thinking_tokens: args.rollout_thinking_tokens,
            context_tokens: args.context_tokens,
            pricing: pricing(&args.costs)?,
            ..PlanOptions::default()
        };
        defaults.validate()?;
        if matches!(args.store, Some(StoreUrl::Postgres(_)))
            && args.advertise.is_none()
            && args.listen.ip().is_unspecified()
        {
            return Err(ConfigError::Advertise(args.listen));
        }
        let insecure = args.tls.insecure;
        let exposure = args.tls.exposure(args.listen)?;
        let tls = args.tls.load(Kind::Coordinator)?;
        let policy = args.auth.clone().map(PolicyFile::open).transpose()?;
        if policy.is_none() && !insecure && !args.listen.ip().is_loopback() {
            return Err(ConfigError::Anybody(args.listen));
        }
        let is_shared = matches!(args.store, Some(StoreUrl::Postgres(_)));
        if policy.is_some() && is_shared && args.tls.tls_ca.is_none() {
            return Err(ConfigError::NoMembers);
        }
        let dial = Dial::members(tls.clone(), Kind::Worker, insecure);
        for worker in &args.workers {
            dial.to(worker.as_str(), |endpoint| endpoint)
                .map_err(|error| ConfigError::Worker(worker.clone(), error))?;
        }
        if let Some(store) = args.store.as_ref().filter(|_| !insecure) {
            store.check_protected()?;
        }
        if let Some(plain) = args.advertise.as_ref().filter(|url| tls.is_some() && !url.is_secured()) {
            return Err(ConfigError::PlainAdvertise(plain.clone()));
        }
        let discovery = match args.discovery {
            DiscoveryKind::Static if args.workers.is_empty() => return Err(ConfigError::NoWorkers),
            #[cfg(feature = "etcd")]
            DiscoveryKind::Etcd => {
                let endpoints = args.etcd.clone().ok_or(ConfigError::NoWorkers)?;
                let plain = endpoints.plain().find(|url| !insecure && !is_local_url(url));
                if let Some(plain) = plain {
                    return Err(ConfigError::PlainEtcd(plain.to_owned()));
                }
                Source::Etcd(endpoints.with_tls(args.etcd_tls.clone()))
            }
            DiscoveryKind::Static => Source::Static(StaticDiscovery::new(args.workers.iter().cloned())),
        };
        let store = match &args.store {
            Some(store) => store.clone(),
            None => default_store(|name| std::env::var_os(name)).ok_or(ConfigError::NoHome)?,
        };
        let every = Duration::from_secs_f64(args.checkpoint_every);
        let advertised = args.advertise.as_ref().map(|url| url.host().to_owned());
        let (metrics, page) = Metrics::new();
        let figures = Figures { page, listen: args.metrics.checked(insecure)? };
        Ok(Self {
            discovery,
            fleet: FleetOptions {
                templates: templates.into_iter().map(Arc::new).collect(),
                model_sha256: args.model_sha256.clone(),
                link: LinkOptions {
                    keep_alive_timeout: Duration::from_secs_f64(args.keep_alive_timeout),
                    renew: args.tls.connection_age().map(|age| age / 4),
                    ..LinkOptions::default()
                },
                dial,
                metrics,
            },
            incidents: IncidentOptions {
                defaults,
                dispatch: DispatchOptions {
                    worker_wait: Duration::from_secs_f64(args.worker_wait),
                    hedging: (args.hedge_after > 0.0)
                        .then(|| Hedging { multiple: args.hedge_after, ..Hedging::default() }),
                    checked: args.verify_share,
                    ..DispatchOptions::default()
                },
                most_active: args.max_incidents,
                webhook: None,
                notify: None,
                compute_threads: args.compute_threads.into(),
                patience: (args.answer_within > 0.0)
                    .then(|| Duration::from_secs_f64(args.answer_within * 3600.0)),
                policy: None,
                baseline: args.baseline.clone().map(baseline).transpose()?,
            },
            signing_key: signing_key(args, &store)?,
            store,
            trusted: TrustedKeys::new(args.trusted_keys.iter().copied()),
            anchoring: Anchoring::new(args.anchor.clone(), every, args.allow_local)?,
            advertise: args.advertise.clone(),
            console: args.console,
            sites: Sites::new(args.console_host.iter().cloned().chain(advertised)),
            connection_age: args.tls.connection_age(),
            tls,
            policy,
            quotas: QuotaOptions { rate: args.tenant_rate, calls: args.tenant_calls },
            exposure,
            insecure,
            lease: Duration::from_secs_f64(args.lease),
            keep: args.keep_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600)),
            webhook: webhook(args)?,
            notify: args.notify()?,
            replica: replica(args)?,
            keep_incidents: args.keep_incidents,
            drain_timeout: Duration::from_secs_f64(args.drain_timeout),
            figures,
        })
    }
}

impl Coordinator {
    /// Opens the store that was named. Goes first, since nothing can be answered without it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what is wrong.
    pub async fn open_store(&self) -> Result<Kept, OpenError> {
        tracing::info!(store = %self.store, "opening the store");
        Ok(match &self.store {
            StoreUrl::Memory => Kept {
                store: MemoryStore::new(self.keep_incidents).into(),
                tokens: Arc::new(MemoryTokens::default()),
            },
            database => {
                // It makes the folder that the key may lie in.
                let store = SqlStore::open(database).await?;
                let key = Arc::new(FileKey::open(&self.signing_key)?);
                tracing::info!(key = %key.key(), file = %self.signing_key.display(), "what is written is signed");
                let store = Arc::new(store.signed_by(key, &self.trusted));
                Kept { store: Arc::clone(&store).into(), tokens: store }
            }
        })
    }

    /// Serves at `listener` until `shutdown` ends, and then drains.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn run(
        self,
        kept: Kept,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Kept { store, tokens } = kept;
        let address = match self.advertise {
            Some(url) => url.to_string(),
            None if self.tls.is_some() => format!("https://{}", listener.local_addr()?),
            None => format!("http://{}", listener.local_addr()?),
        };
        match &self.tls {
            Some(tls) => {
                tracing::info!(id = tls.id().as_ref().map(tracing::field::display), "serving by TLS")
            }
            None if self.exposure == Exposure::Open => tracing::warn!(
                "--insecure: whoever reaches this port may do everything, approve actions included, and read what goes by"
            ),
            None => {}
        }
        if self.insecure {
            tracing::warn!(
                "--insecure: workers, other coordinators and the database may be called in plain text"
            );
        }
        match &self.policy {
            Some(_) => tracing::info!("who calls is asked"),
            None => tracing::info!("nobody is asked who calls: whoever reaches this port may do everything"),
        }
        let fleet = Fleet::start(&*self.discovery.start(), self.fleet);
        let front = Front {
            gate: Gate::new(self.policy.clone(), Tokens::new(tokens), self.tls.clone())
                .known_as(self.sites)
                .within(Quotas::new(self.quotas, fleet.metrics().clone())),
            console: self.console.then(Bundle::of_this_program),
            peers: Dial::members(self.tls.clone(), Kind::Coordinator, self.insecure),
            port: Port { listener, tls: self.tls, connection_age: self.connection_age },
        };
        let options = IncidentOptions {
            webhook: self.webhook,
            notify: self.notify,
            policy: self.policy,
            ..self.incidents
        };
        let incidents = Incidents::new(store.clone(), fleet.clone(), options)?;
        // A file belongs to one process, so nobody else is left who could renew.
        let settling = if matches!(self.store, StoreUrl::Sqlite(_)) { Duration::ZERO } else { self.lease };
        let _figures = read_figures(self.figures, &incidents, &fleet).await?;
        incidents.share(Sharing { address, lease: self.lease, settling, keep: self.keep });
        let stop = CancellationToken::new();
        let anchoring = tokio::spawn(self.anchoring.keep(store.log(), stop.clone()));
        let replica = self.replica.map(|replica| tokio::spawn(replica.keep(fleet.clone(), stop.clone())));
        let served = serve(incidents, fleet, front, self.drain_timeout, shutdown).await;
        stop.cancel();
        if let Some(replica) = replica {
            // It ends when it is told to; a fault in it is none of serving.
            let _ = replica.await;
        }
        let _ = anchoring.await;
        // After the last reader.
        store.close().await;
        served
    }
}

/// Serves the page with what is counted, as long as what this gives is there.
async fn read_figures(
    Figures { mut page, listen }: Figures,
    incidents: &Incidents,
    fleet: &Fleet,
) -> Result<Option<AbortOnDropHandle<()>>, ServeError> {
    let Some(address) = listen else { return Ok(None) };
    let cannot = |error| ServeError::Metrics(address, error);
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    tracing::info!(%address, "metrics are read at this address");
    fleet.metrics().look_at(&mut page, incidents.clone(), fleet.clone());
    let (answers, incidents, fleet) = (incidents.store_answers(), incidents.clone(), fleet.clone());
    let is_ready = move || incidents.accepts() && *answers.borrow() && fleet.any_ready();
    let serving = countermove_telemetry::serve(listener, Arc::new(page), Arc::new(is_ready));
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(serving))))
}

/// Why there is no store to keep incidents in.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it keeps cannot be signed.
    #[error("--signing-key {0}")]
    Key(#[from] KeyError),
}

/// Where the key lies.
fn signing_key(args: &Args, store: &StoreUrl) -> Result<PathBuf, ConfigError> {
    match (&args.signing_key, store) {
        (Some(path), _) => Ok(path.clone()),
        (None, StoreUrl::Sqlite(path)) => {
            let mut name = path.clone().into_os_string();
            name.push(".key");
            Ok(name.into())
        }
        // Nothing is signed that goes with the process.
        (None, StoreUrl::Memory) => Ok(PathBuf::new()),
        (None, StoreUrl::Postgres(_)) => match default_store(|name| std::env::var_os(name)) {
            Some(StoreUrl::Sqlite(path)) => Ok(path.with_file_name("signing.key")),
            _ => Err(ConfigError::NoKeyHome),
        },
    }
}

/// Who is told of approved actions.
fn webhook(args: &Args) -> Result<Option<Webhook>, ConfigError> {
    let (Some(url), Some(path)) = (&args.webhook, &args.webhook_secret) else { return Ok(None) };
    let secret =
        std::fs::read_to_string(path).map_err(|fault| ConfigError::Secret { path: path.clone(), fault })?;
    warn_if_open(path);
    Ok(Some(Webhook::new(Receiver::new(url, &secret, args.allow_local)?)?))
}

/// The replica of the coordinator's own.
fn replica(args: &Args) -> Result<Option<Replica>, ConfigError> {
    let Some(model) = &args.model else { return Ok(None) };
    let templates = args.templates.as_ref().map(|folder| folder.clone().into_os_string());
    let flags = [
        ("--model", Some(model.clone())),
        ("--adapter", args.adapter.clone()),
        ("--cpus", args.model_cpus.clone()),
        ("--templates", templates),
    ];
    let set = flags.into_iter().filter_map(|(name, value)| Some([name.into(), value?]));
    Replica::find(set.flatten().collect()).map(Some).ok_or(ConfigError::NoReplica)
}

fn baseline(path: PathBuf) -> Result<BaselineFile, ConfigError> {
    BaselineFile::open(path.clone()).map_err(|fault| ConfigError::Baseline { path, fault })
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

/// `countermove/incidents.db` in the state folder that the XDG base directories name.
fn default_store(variable: impl Fn(&str) -> Option<OsString>) -> Option<StoreUrl> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(StoreUrl::Sqlite(state.join("countermove/incidents.db")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use countermove_settings::{command, compare, reference};

    use super::*;

    fn args(more: &[&str]) -> Result<Args, clap::Error> {
        let all = ["countermove-coordinator", "--workers", "http://127.0.0.1:1,http://localhost:2"]
            .iter()
            .chain(more);
        Args::try_parse_from(all)
    }

    #[test]
    fn defaults_make_a_coordinator() {
        let args = args(&[]).unwrap();
        assert_eq!(args.workers.len(), 2);
        let coordinator = Coordinator::try_from(&args).unwrap();
        assert_eq!(coordinator.incidents.dispatch.worker_wait, Duration::from_secs(10));
        assert_eq!(coordinator.incidents.dispatch.hedging, Some(Hedging::default()));
        assert!(coordinator.replica.is_none());
        let without = self::args(&["--hedge-after", "0"]).unwrap();
        assert_eq!(Coordinator::try_from(&without).unwrap().incidents.dispatch.hedging, None);
    }

    #[test]
    fn the_reference_lists_every_flag() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
        let flags = reference(&command::<Args>(&NAMES), 2);
        compare(page.as_ref(), "countermove-coordinator", &flags, cfg!(feature = "etcd"))
            .unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn figures_stay_on_the_machine_unless_somebody_says_otherwise() {
        let open = args(&["--metrics-listen", "0.0.0.0:7780"]).unwrap();
        assert!(matches!(Coordinator::try_from(&open), Err(ConfigError::Metrics(_))));
        let said = args(&["--metrics-listen", "0.0.0.0:7780", "--metrics-insecure"]).unwrap();
        assert!(Coordinator::try_from(&said).is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for bad in [
            ["--workers", "http://a"],
            #[cfg(feature = "etcd")]
            ["--discovery", "etcd"],
            ["--model-sha256", "abc"],
            ["--worker-wait", "-1"],
            ["--hedge-after", "0.5"],
            ["--verify-share", "1.5"],
            ["--tenant-rate", "0.001"],
            ["--tenant-rate", "nan"],
            ["--tenant-calls", "-1"],
            ["--trusted-keys", "abc"],
            ["--anchor", "http://"],
            ["--checkpoint-every", "0"],
            ["--adapter", "without-a-model"],
            ["--drain-timeout", "nan"],
            ["--runtime-threads", "0"],
            ["--discovery", "magic"],
            ["--store", "mysql://a/b"],
            ["--lease", "0.1"],
            ["--keep-days", "0"],
            ["--advertise", "coordinator:7700"],
            ["--trace-share", "1.5"],
            ["--notify-check", "--allow-local"],
        ] {
            assert!(args(&bad).is_err(), "{bad:?}");
        }
        let vast = args(&["--thinking-tokens", "100000"]).unwrap();
        assert!(matches!(Coordinator::try_from(&vast), Err(ConfigError::Options(_))));
        let hidden = args(&["--store", "postgres://db/x", "--listen", "0.0.0.0:7700", "--insecure"]).unwrap();
        assert!(matches!(Coordinator::try_from(&hidden), Err(ConfigError::Advertise(_))));
        let open = args(&["--listen", "0.0.0.0:7700"]).unwrap();
        assert!(matches!(Coordinator::try_from(&open), Err(ConfigError::Exposure(_))));
        let unasked = args(&["--listen", "0.0.0.0:7700", "--insecure"]).unwrap();
        assert!(Coordinator::try_from(&unasked).is_ok(), "an operator said so");
        let plain = args(&["--workers", "http://10.0.0.1:7701"]).unwrap();
        assert!(matches!(Coordinator::try_from(&plain), Err(ConfigError::Worker(..))));
        let database = args(&["--store", "postgres://db/x"]).unwrap();
        assert!(matches!(Coordinator::try_from(&database), Err(ConfigError::Unprotected(_))));
        let untold = args(&["--notify", "no/such/file.toml"]).unwrap();
        assert!(matches!(Coordinator::try_from(&untold), Err(ConfigError::Notify(_))));
        let nowhere = args(&["--templates", "no/such/folder"]).unwrap();
        assert!(matches!(Coordinator::try_from(&nowhere), Err(ConfigError::Templates(_))));
        let costly = args(&["--costs", "no/such/file.toml"]).unwrap();
        assert!(matches!(Coordinator::try_from(&costly), Err(ConfigError::Costs { .. })));
        let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/costs.toml");
        let minutes = Coordinator::try_from(&args(&["--costs", table]).unwrap()).unwrap();
        assert_eq!(minutes.incidents.defaults.pricing.name(), "minutes");
    }

    #[test]
    fn incidents_are_kept_in_the_users_state_folder_unless_told_otherwise() {
        let with = |pairs: &'static [(&str, &str)]| {
            default_store(|name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            })
        };
        let place = |path: &str| Some(StoreUrl::Sqlite(path.into()));
        assert_eq!(with(&[("HOME", "/h")]), place("/h/.local/state/countermove/incidents.db"));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), place("/s/countermove/incidents.db"));
        assert_eq!(with(&[("XDG_STATE_HOME", "")]), None);
    }

    #[test]
    fn a_digest_is_taken_in_either_case() {
        let upper = "AB".repeat(32);
        assert_eq!(args(&["--model-sha256", &upper]).unwrap().model_sha256.unwrap(), upper.to_lowercase());
    }
}
