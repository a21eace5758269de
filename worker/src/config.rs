//! Flags, and the configuration that they make once they are checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use countermove_model::{
    CpuListError, DeviceError, EngineOptions, LoadOptions, ModelSource, SourceError, WeightFormat,
    allowed_cpus, check_allowed_cpus, parse_cpu_list,
};
use countermove_proto::{ParseIdError, WorkerId};
use countermove_settings::{Names, SettingsArgs};
use countermove_telemetry::{ListenError, LogFormat, MetricsArgs, TraceArgs};
#[cfg(feature = "etcd")]
use countermove_transport::is_local_url;
use countermove_transport::{Exposure, ExposureError, Kind, Tls, TlsArgs, TlsError};

use crate::adapter::{AdapterChoice, ShippedAdapter};
use crate::cpu_part::CpuPart;
use crate::model_command::ModelArguments;

/// How a worker's flags are called in the environment. Where it is, and its settings, are not a coordinator's beside it.
pub const NAMES: Names =
    Names { own: &["advertise", "config", "id", "listen", "metrics-listen"], prefix: "COUNTERMOVE_WORKER_" };

/// Serves the model to a Countermove coordinator.
#[derive(Clone, Debug, Parser)]
#[command(name = "countermove-worker", version, group = ArgGroup::new("cores"), args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Something else than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Address to listen on; port 0 takes a free one, which the line on standard output tells.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where settings are.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Where figures are read.
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// Model to serve: `default`, a name that `model list` has, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, value_name = "MODEL", default_value = "default")]
    pub model: String,
    /// LoRA adapter for the model: a folder with adapter_config.json and adapter_model.safetensors, `none`, `merged` for weights that
    /// are tuned themselves, or `default`, which is the one that ships for it [default: `default` where one does, else `none`].
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<AdapterChoice>,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Certificates, by which coordinators know this worker and it knows them.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Where to compute: `cpu`, or `cuda:N` or `cuda:N:FORMAT` in builds for CUDA; FORMAT of the weights on the GPU is
    /// bf16, f32, q8_0 or q4_k [default format: bf16]. One process serves one GPU.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// How weights are held in memory on CPUs.
    #[arg(long, value_enum, default_value_t = Weights::Q8_0)]
    pub weights: Weights,
    /// CPUs to compute on: the first N that the process may use [default: all].
    #[arg(long, value_name = "N", group = "cores")]
    pub threads: Option<usize>,
    /// CPUs to compute on, such as 0,2-3. Workers on one machine need disjoint ones.
    #[arg(long, value_name = "LIST", group = "cores")]
    pub cpus: Option<String>,
    /// CPUs to compute on: the K-th of N equal parts of those that the process may use.
    #[arg(long, value_name = "K/N", group = "cores")]
    pub cpu_part: Option<CpuPart>,
    /// Memory for keys and values [default: 1024 on CPUs; on a GPU half of what is left beside weights and passes].
    #[arg(long, value_name = "MiB")]
    pub kv_memory: Option<usize>,
    /// Longest sequence in tokens [default: the model's own limit].
    #[arg(long, value_name = "TOKENS")]
    pub context_length: Option<usize>,
    /// Sequences decoded in one batch [default: 32 on CPUs, 128 on GPUs].
    #[arg(long, value_name = "N")]
    pub sequences: Option<usize>,
    /// Prompt tokens that go through the model in one step beside the running sequences [default: 256 on CPUs, 2048 on GPUs]. Answers
    /// do not depend on it.
    #[arg(long, value_name = "TOKENS")]
    pub prefill_chunk: Option<usize>,
    /// Rollouts that may wait beside the batch; more are refused.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub queue: usize,
    /// Addresses of the etcd members to register with, http://host:port or https://host:port, separated by commas.
    #[cfg(feature = "etcd")]
    #[arg(long, value_name = "URLS")]
    pub etcd: Option<countermove_membership::etcd::Endpoints>,
    /// Certificates towards etcd.
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    pub etcd_tls: countermove_membership::etcd::EtcdTls,
    /// URL at which coordinators that find it by --etcd reach this worker [default: that of --listen].
    #[cfg(feature = "etcd")]
    #[arg(long, value_name = "URL")]
    pub advertise: Option<String>,
    /// Seconds without a sign of life after which coordinators count this worker as gone.
    #[cfg(feature = "etcd")]
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub lease: u64,
    /// Prompt templates: `small` or `large`, which are built in, or a folder whose files replace those of `small`
    /// [default: `large` for a model of a billion weights or more].
    #[arg(long, value_name = "DIR")]
    pub templates: Option<PathBuf>,
    /// Identifier of this process: letters, which are taken as lower-case ones, digits, `-`, `.` and `_` [default: a random one].
    #[arg(long)]
    pub id: Option<String>,
    /// Seconds that running work has to finish after SIGTERM or SIGINT.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_timeout: u64,
    /// One sequence at a time and nothing shared: the slow reference path, with the same answers.
    #[arg(long)]
    pub sequential: bool,
    /// Hold no model: answer by dice, at the pace of a worker that chooses this many tokens a second in all. For measuring
    /// clusters that are larger than the machine; never mixes with workers that hold a model.
    #[arg(long, value_name = "TOKENS_PER_S", conflicts_with_all = ["model", "adapter", "device", "sequential"])]
    pub simulate: Option<u32>,
    /// Form of the log on standard error; RUST_LOG chooses what it holds.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Drain and exit when standard input ends, so that the process never outlives the one that holds its other end.
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// What a worker's program does beside serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List and fetch known models, find models, say what they are, measure and check a device.
    Model(ModelArguments),
}

/// How weights are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// Eight bits and a scale for each 32 weights; what a file holds in four bits stays so.
    #[value(name = "q8_0")]
    Q8_0,
    /// 32-bit floating point.
    #[value(name = "f32")]
    F32,
}

/// What a worker process runs with. Everything that can be checked without loading the model has been.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Certificates; absent: in plain text.
    pub tls: Option<Tls>,
    /// How the port may be reached.
    pub exposure: Exposure,
    /// Where figures are read, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// How long a connection lasts.
    pub connection_age: Option<Duration>,
    /// Model to serve.
    pub model: ModelSource,
    /// Tokens a second of a worker that holds no model and serves dice.
    pub simulate: Option<u32>,
    /// Folder that holds `models/`; `None` is the user's cache folder.
    pub home: Option<PathBuf>,
    /// How to load it; the adapter is not in it yet.
    pub load: LoadOptions,
    /// Adapter to load beside it.
    pub adapter: AdapterChoice,
    /// How to batch.
    pub engine: EngineOptions,
    /// Rollouts taken on in all.
    pub places: usize,
    /// Folder with templates.
    pub templates: Option<PathBuf>,
    /// Identifier of this process.
    pub id: WorkerId,
    /// Where to register.
    #[cfg(feature = "etcd")]
    pub registry: Option<Registry>,
    /// Time that running work has to finish.
    pub drain_timeout: Duration,
    /// Whether the end of standard input ends the process.
    pub exit_with_parent: bool,
}

/// Where a worker registers, and as what.
#[cfg(feature = "etcd")]
#[derive(Clone, Debug)]
pub struct Registry {
    /// The etcd members.
    pub endpoints: countermove_membership::etcd::Endpoints,
    /// Where coordinators reach this worker; absent: at the address on which it listens.
    pub advertise: Option<String>,
    /// How long it counts as alive without a word.
    pub lease: Duration,
}

/// Flags that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// See [`SourceError`].
    #[error("--model: {0}")]
    Model(#[from] SourceError),
    /// No adapter ships for a model.
    #[error("--adapter default: none ships for {0}; give the folder of one, or --adapter none")]
    NoAdapter(ModelSource),
    /// See [`DeviceError`].
    #[error("--device: {0}")]
    Device(#[from] DeviceError),
    /// See [`CpuListError`].
    #[error("--cpus: {0}")]
    Cpus(#[from] CpuListError),
    /// See [`ParseIdError`].
    #[error("--id: {0}")]
    Id(#[from] ParseIdError),
    /// See [`TlsError`].
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// See [`ExposureError`].
    #[error(transparent)]
    Exposure(#[from] ExposureError),
    /// See [`ListenError`].
    #[error(transparent)]
    Metrics(#[from] ListenError),
    /// A worker takes nobody without a certificate.
    #[error("--tls-cert: a worker also needs --tls-ca, the authorities of the coordinators that may call it")]
    NoAuthority,
    /// etcd would be called in plain text over a network.
    #[cfg(feature = "etcd")]
    #[error(
        "--etcd {0} would be called in plain text over a network; write https:// (--etcd-ca), or say --insecure"
    )]
    PlainEtcd(String),
    /// It would be found in plain text.
    #[cfg(feature = "etcd")]
    #[error("--advertise {0}: a worker with certificates is reached at https://")]
    PlainAdvertise(String),
    /// Nobody could reach this worker.
    #[cfg(feature = "etcd")]
    #[error(
        "--listen {0} is no address that a coordinator can reach; say with --advertise where it finds this worker"
    )]
    Advertise(SocketAddr),
    /// More threads than CPUs, or none.
    #[error("--threads: {asked} threads were asked for, and this process may use 1 to {allowed} CPUs")]
    Threads {
        /// Asked for.
        asked: usize,
        /// CPUs that may be used.
        allowed: usize,
    },
    /// A number outside its range.
    #[error("{flag}: {value} is out of range, give {low} to {high}")]
    Range {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: usize,
        /// Least.
        low: usize,
        /// Most.
        high: usize,
    },
}

impl TryFrom<Arguments> for Config {
    type Error = ConfigError;

    fn try_from(arguments: Arguments) -> Result<Self, ConfigError> {
        let exposure = arguments.tls.exposure(arguments.listen)?;
        let metrics_listen = arguments.metrics.checked(arguments.tls.insecure)?;
        if arguments.tls.tls_cert.is_some() && arguments.tls.tls_ca.is_none() {
            return Err(ConfigError::NoAuthority);
        }
        let tls = arguments.tls.load(Kind::Worker)?;
        let in_range = |flag, value: usize, low, high| match value {
            value if (low..=high).contains(&value) => Ok(value),
            value => Err(ConfigError::Range { flag, value, low, high }),
        };
        let sequences = arguments.sequences;
        let sequences = sequences.map(|count| in_range("--sequences", count, 1, 1024)).transpose()?;
        if let Some(pace) = arguments.simulate {
            in_range("--simulate", pace as usize, 1, 100_000_000)?;
        }
        let prefill_chunk = arguments.prefill_chunk;
        let prefill_chunk =
            prefill_chunk.map(|tokens| in_range("--prefill-chunk", tokens, 16, 65_536)).transpose()?;
        let queue = in_range("--queue", arguments.queue, 0, 65_536)?;
        let kv_memory = arguments.kv_memory;
        let kv_budget =
            kv_memory.map(|mib| in_range("--kv-memory", mib, 1, 1 << 22)).transpose()?.map(|mib| mib << 20);
        if let Some(length) = arguments.context_length {
            in_range("--context-length", length, 16, 1 << 24)?;
        }
        let threads = match (arguments.cpus, arguments.threads, arguments.cpu_part) {
            (Some(list), ..) => {
                let cpus = parse_cpu_list(&list)?;
                check_allowed_cpus(&cpus)?;
                cpus
            }
            (None, Some(asked), _) => {
                let mut cpus = allowed_cpus();
                if !(1..=cpus.len()).contains(&asked) {
                    return Err(ConfigError::Threads { asked, allowed: cpus.len() });
                }
                cpus.truncate(asked);
                cpus
            }
            (None, None, Some(part)) => part.of(&allowed_cpus()),
            (None, None, None) => Vec::new(),
        };
        #[cfg(feature = "etcd")]
        let registry = match arguments.etcd {
            Some(_) if arguments.advertise.is_none() && arguments.listen.ip().is_unspecified() => {
                return Err(ConfigError::Advertise(arguments.listen));
            }
            Some(endpoints) if !arguments.tls.insecure && endpoints.plain().any(|url| !is_local_url(url)) => {
                let plain = endpoints.plain().find(|url| !is_local_url(url)).unwrap_or_default();
                return Err(ConfigError::PlainEtcd(plain.to_owned()));
            }
            Some(_) if tls.is_some() && arguments.advertise.as_deref().is_some_and(is_plain) => {
                return Err(ConfigError::PlainAdvertise(arguments.advertise.unwrap_or_default()));
            }
            endpoints => endpoints.map(|endpoints| Registry {
                endpoints: endpoints.with_tls(arguments.etcd_tls),
                advertise: arguments.advertise,
                lease: Duration::from_secs(arguments.lease),
            }),
        };
        let model: ModelSource = arguments.model.parse()?;
        let device = arguments.device.parse()?;
        let usual_engine = EngineOptions::on(device);
        let sequences = sequences.unwrap_or(usual_engine.max_sequences);
        let shipped = ShippedAdapter::of(&model);
        if arguments.adapter == Some(AdapterChoice::Shipped) && shipped.is_none() {
            return Err(ConfigError::NoAdapter(model));
        }
        let usual = shipped.map_or(AdapterChoice::None, |_| AdapterChoice::Shipped);
        Ok(Self {
            #[cfg(feature = "etcd")]
            registry,
            listen: arguments.listen,
            connection_age: arguments.tls.connection_age(),
            tls,
            exposure,
            metrics_listen,
            model,
            adapter: arguments.adapter.unwrap_or(usual),
            simulate: arguments.simulate,
            home: arguments.home,
            load: LoadOptions {
                device,
                weights: match arguments.weights {
                    Weights::Q8_0 => WeightFormat::Q8_0,
                    Weights::F32 => WeightFormat::F32,
                },
                threads,
                kv_budget,
                context_length: arguments.context_length,
                adapter: None,
            },
            engine: EngineOptions {
                max_sequences: sequences,
                prefill_chunk: prefill_chunk.unwrap_or(usual_engine.prefill_chunk),
                sequential: arguments.sequential,
                ..usual_engine
            },
            places: sequences + queue,
            templates: arguments.templates,
            id: arguments
                .id
                // Host names may have capitals.
                .map_or_else(|| Ok(WorkerId::generate()), |id| WorkerId::new(&id.to_lowercase()))?,
            drain_timeout: Duration::from_secs(arguments.drain_timeout),
            exit_with_parent: arguments.exit_with_parent,
        })
    }
}

#[cfg(feature = "etcd")]
fn is_plain(url: &str) -> bool {
    !url.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;
    use countermove_settings::{Settings, command, compare, reference};

    use super::*;

    fn config(flags: &[&str]) -> Result<Config, ConfigError> {
        let flags = std::iter::once("countermove-worker").chain(flags.iter().copied());
        Arguments::try_parse_from(flags).unwrap().try_into()
    }

    #[test]
    fn defaults_make_a_config() {
        let config = config(&[]).unwrap();
        assert_eq!((config.engine.max_sequences, config.places), (32, 1056));
        assert_eq!(config.load.kv_budget, None);
        assert!(config.load.threads.is_empty());
        assert_eq!(config.engine.prefill_chunk, 256);
        let chunked = self::config(&["--prefill-chunk", "512"]).unwrap();
        assert_eq!(chunked.engine.prefill_chunk, 512);
    }

    #[test]
    fn the_reference_lists_every_flag() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
        let flags = reference(&command::<Arguments>(&NAMES), 2);
        compare(page.as_ref(), "countermove-worker", &flags, cfg!(feature = "etcd"))
            .unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn what_lies_about_in_the_environment_stops_nobody() {
        let line =
            ["countermove-worker", "--cpu-part", "1/1", "--simulate", "9"].map(std::ffi::OsString::from);
        let read = Settings::read::<Arguments>(&NAMES, line, |name| match name {
            "COUNTERMOVE_ADVERTISE" | "COUNTERMOVE_WORKER_ADVERTISE" => Some("http://10.0.0.1:7701".into()),
            "COUNTERMOVE_CPUS" => Some("0".into()),
            "COUNTERMOVE_MODEL" => Some("other.gguf".into()),
            "COUNTERMOVE_LISTEN" => Some("127.0.0.1:7700".into()),
            _ => None,
        });
        let arguments = Arguments::from_arg_matches(read.unwrap().matches()).unwrap();
        assert_eq!((arguments.listen.port(), arguments.simulate), (0, Some(9)));
        assert!(Config::try_from(arguments).is_ok());
    }

    #[test]
    fn each_bad_flag_is_named_in_one_sentence() {
        for (flags, word) in [
            (["--cpus", "x"], "--cpus"),
            (["--cpus", "4000"], "may use"),
            (["--threads", "0"], "--threads"),
            (["--threads", "100000"], "--threads"),
            (["--sequences", "0"], "--sequences"),
            (["--kv-memory", "0"], "--kv-memory"),
            (["--prefill-chunk", "0"], "--prefill-chunk"),
            (["--prefill-chunk", "1000000"], "--prefill-chunk"),
            (["--id", "Not An Id"], "--id"),
            (["--device", "gpu"], "cuda:N"),
            (["--model", "hf:nothing"], "hf:organisation/name"),
            (["--model", ""], "--model"),
        ] {
            let error = config(&flags).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{flags:?}: {error}");
        }
    }

    #[test]
    fn a_host_name_with_capitals_makes_an_id() {
        assert_eq!(config(&["--id", "SOC-WS01-1"]).unwrap().id.as_str(), "soc-ws01-1");
    }

    #[test]
    fn plain_text_stays_on_this_machine_unless_somebody_says_otherwise() {
        let open = config(&["--listen", "0.0.0.0:7701"]).unwrap_err().to_string();
        assert!(open.contains("--insecure") && open.contains("--tls-cert"), "{open}");
        assert_eq!(config(&["--listen", "0.0.0.0:7701", "--insecure"]).unwrap().exposure, Exposure::Open);
        assert_eq!(config(&[]).unwrap().exposure, Exposure::Loopback);
        let half = config(&["--tls-cert", "c", "--tls-key", "k"]).unwrap_err().to_string();
        assert!(half.contains("--tls-ca"), "{half}");
    }

    #[test]
    fn known_models_come_with_their_adapters_and_others_with_none() {
        let adapter = |flags: &[&str]| config(flags).unwrap().adapter;
        assert_eq!(adapter(&[]), AdapterChoice::Shipped);
        assert_eq!(adapter(&["--model", "smollm2-135m"]), AdapterChoice::Shipped);
        let none = config(&["--model", "other.gguf", "--adapter", "default"]).unwrap_err().to_string();
        assert!(none.contains("other.gguf") && none.contains("--adapter none"), "{none}");
        assert_eq!(adapter(&["--model", "other.gguf"]), AdapterChoice::None);
        assert_eq!(adapter(&["--adapter", "none"]), AdapterChoice::None);
        assert_eq!(adapter(&["--adapter", "tuned"]), AdapterChoice::Folder("tuned".into()));
    }

    #[test]
    fn cpus_and_threads_exclude_each_other() {
        assert!(Arguments::try_parse_from(["w", "--cpus", "0", "--threads", "1"]).is_err());
        assert!(Arguments::try_parse_from(["w", "--cpus", "0", "--cpu-part", "1/2"]).is_err());
    }

    #[test]
    fn cpus_are_those_that_are_named() {
        let first = allowed_cpus()[0];
        assert_eq!(config(&["--cpus", &first.to_string()]).unwrap().load.threads, [first]);
        assert_eq!(config(&["--threads", "1"]).unwrap().load.threads, [first]);
        assert_eq!(config(&["--cpu-part", "1/1"]).unwrap().load.threads, allowed_cpus());
        assert_eq!(config(&["--cpu-part", "1/4096"]).unwrap().load.threads, [first]);
    }
}
