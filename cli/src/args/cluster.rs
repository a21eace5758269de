//! `up`, `workers`, `incidents` and `watch`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use countermove_incident::RecoveryState;
use countermove_ledger::Key;
use countermove_proto::v1::{Finding, IncidentStatus, Role};

use super::plan::PriorityArg;
use super::values::{duration, holder, label, trust_domain};
use crate::decisions;

/// What was found out about hosts, accounts, addresses and domains. It is taken for certain.
#[derive(Debug, Args)]
pub(crate) struct FindingArgs {
    /// The attacker got into this host, has this account, or uses this address or domain; may be given several times.
    #[arg(long, value_name = "NAME")]
    compromised: Vec<String>,
    /// This one was looked at and has no part in the attack; likewise.
    #[arg(long, value_name = "NAME")]
    clean: Vec<String>,
}

impl FindingArgs {
    /// All of them.
    pub(crate) fn all(self) -> Vec<Finding> {
        decisions::findings(self.compromised, self.clean)
    }
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Worker processes; the CPUs that this process may use are divided between them.
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// Address of the coordinator [default: 127.0.0.1:7700; a free port if a command is given].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Model that the workers serve: `default`, a name that `countermove-worker model list` has, a file or folder, or
    /// `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, value_name = "MODEL", env = "COUNTERMOVE_MODEL", default_value = "default")]
    pub(crate) model: String,
    /// LoRA adapter for the model: a folder with adapter_config.json and adapter_model.safetensors, `none`, `merged` for weights that
    /// are tuned themselves, or `default`, which is the one that ships for it [default: `default` where one does, else `none`].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_ADAPTER")]
    pub(crate) adapter: Option<PathBuf>,
    /// Memory for keys and values, for each worker.
    #[arg(long, value_name = "MiB")]
    pub(crate) kv_memory: Option<usize>,
    /// Sequences that each worker decodes in one batch.
    #[arg(long, value_name = "N")]
    pub(crate) sequences: Option<usize>,
    /// Prompt templates: `small` or `large`, which are built in, or a folder whose files replace those of `small`
    /// [default: `large` for a model of a billion weights or more].
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
    /// A command to run against this cluster, such as `plan --incident DIR`, or a program, which finds the coordinator in
    /// COUNTERMOVE_COORDINATOR; its exit code becomes that of `up`.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// What the holder of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HolderKind {
    Coordinator,
    Worker,
    User,
}

impl HolderKind {
    pub(crate) const ALL: [Self; 3] = [Self::Coordinator, Self::Worker, Self::User];

    /// First part of the path of its id.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::User => "user",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    /// Folder to write NAME.pem and NAME.key into; an authority that it holds already issues again.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub(crate) out: PathBuf,
    /// Trust domain of the SPIFFE ids: a name of the cluster.
    #[arg(long, value_name = "NAME", default_value = "countermove.local", value_parser = trust_domain)]
    pub(crate) trust_domain: String,
    /// Names and addresses at which coordinators and workers are called.
    #[arg(long, value_name = "HOST", value_delimiter = ',', default_values_t = ["localhost", "127.0.0.1", "::1"].map(String::from))]
    pub(crate) host: Vec<String>,
    /// Who gets a certificate: coordinator/NAME, worker/NAME or user/NAME [default: one of each].
    #[arg(value_name = "WHO", value_parser = holder)]
    pub(crate) holders: Vec<(HolderKind, String)>,
    /// Days for which they hold.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub(crate) days: u16,
}

#[derive(Debug, Args)]
pub(crate) struct WorkersArgs {
    #[command(subcommand)]
    pub(crate) command: WorkersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the workers, refused and lost ones included.
    List {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
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
pub(crate) struct DoctorArgs {
    /// File with the coordinator's settings, as its `--config` takes it [default: those of the environment].
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// File with the worker's settings, as its `--config` takes it [default: those of the environment].
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_WORKER_CONFIG")]
    pub(crate) worker_config: Option<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    #[command(subcommand)]
    pub(crate) command: TokensCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Make a token and print its secret, which is shown this once.
    Create {
        /// What it is for.
        #[arg(value_name = "DESCRIPTION", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        description: String,
        /// Tenant that it is for, `*` for all; may be repeated.
        #[arg(long, value_name = "NAME", default_value = "default")]
        tenant: Vec<String>,
        /// What may be done with it; may be repeated.
        #[arg(long, value_enum, required = true)]
        role: Vec<RoleName>,
        /// How long it is good for, up to a year.
        #[arg(long, value_name = "TIME", default_value = "30days", value_parser = duration)]
        expires: Duration,
    },
    /// List the tokens of the tenants that the caller administers, newest first.
    List,
    /// End a token.
    Revoke {
        /// Its name, `tokens/ID`, or the ID alone.
        id: String,
    },
}

/// What somebody may do in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// See incidents.
    Viewer,
    /// See, create, report, reject and cancel.
    Responder,
    /// All that a responder may, and approve.
    Approver,
    /// See and steer workers; for all tenants alone.
    Operator,
    /// Make and revoke tokens.
    Admin,
}

impl RoleName {
    pub(crate) fn message(self) -> Role {
        match self {
            Self::Viewer => Role::Viewer,
            Self::Responder => Role::Responder,
            Self::Approver => Role::Approver,
            Self::Operator => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List who did what, oldest first.
    List {
        /// Print each entry as a line of JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Check that no entry was changed or taken away.
    Verify {
        /// Public keys whose signatures are believed, separated by commas [default: those that the coordinator names].
        #[arg(long, value_name = "HEX", value_delimiter = ',')]
        keys: Vec<Key>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// An incident to begin with: its name, `incidents/ID`, or the ID alone [default: the queue].
    pub(crate) name: Option<String>,
    /// Show the incidents of this tenant alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Who approves, for the record; where coordinators know who calls, that one and no other
    /// [default: who calls, or the user's name].
    #[arg(long = "as", value_name = "WHO")]
    pub(crate) approver: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    #[command(subcommand)]
    pub(crate) command: IncidentsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsCommand {
    /// List incidents, newest first.
    List(ListArgs),
    /// Print an incident with its plan as it stands.
    Get {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// Print it as JSON; docs/plan.schema.json describes it.
        #[arg(long)]
        json: bool,
    },
    /// Follow an incident until its planning has ended.
    Watch {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// End as soon as a person has to decide or to say what an action achieved, with exit code 7.
        #[arg(long)]
        until_decision: bool,
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
        /// Another candidate of the step than the planner chose, by its number in `incidents get`, from 1: it is done in place of the
        /// planner's.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        candidate: Option<u32>,
        /// Who approves, for the record; where coordinators know who calls, that one and no other
        /// [default: who calls, or the user's name].
        #[arg(long = "as", value_name = "WHO")]
        approver: Option<String>,
    },
    /// Reject the action that waits; the next proposals take the reason into account.
    Reject {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// Why.
        #[arg(value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
        #[command(flatten)]
        findings: FindingArgs,
    },
    /// Say what holds after the action that was approved.
    ReportOutcome {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// The facts that hold now, all of them: contained, understood, preserved, eradicated, hardened, recovered, or none.
        #[arg(value_name = "FACTS", required_unless_present_any = ["as_predicted", "not_carried_out"], value_parser = decisions::read_facts)]
        facts: Option<RecoveryState>,
        /// It achieved what the model had predicted.
        #[arg(long, conflicts_with = "facts")]
        as_predicted: bool,
        /// It could not be carried out, and everything is as it was.
        #[arg(long, conflicts_with_all = ["facts", "as_predicted"])]
        not_carried_out: bool,
        #[command(flatten)]
        findings: FindingArgs,
    },
    /// Send an approved action to the webhook once more.
    Resend {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// The step, from 1.
        #[arg(value_name = "STEP", value_parser = clap::value_parser!(u32).range(1..))]
        step: u32,
    },
    /// Add alerts to an incident that goes on.
    ReportAlerts {
        /// Its name, `incidents/ID`, or the ID alone.
        name: String,
        /// Logs, folders of logs, or `-` for standard input, sent once, in any form that `plan` reads.
        #[arg(value_name = "FILE", required_unless_present = "follow", conflicts_with = "follow")]
        files: Vec<PathBuf>,
        /// Log that is followed: what is appended is sent, until planning has ended or Ctrl-C. It may be rotated or cut.
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
        /// What is known of the attack as a STIX 2.1 bundle instead.
        #[arg(long, conflicts_with_all = ["markdown", "cacao", "record"])]
        stix: bool,
        /// What is known of the attack as an event of MISP instead.
        #[arg(long, conflicts_with_all = ["markdown", "cacao", "record", "stix"])]
        misp: bool,
    },
    /// Check that what is kept of an incident, or of all, is what was written.
    Verify {
        /// Its name, `incidents/ID`, or the ID alone [default: all incidents, the checkpoints and the audit log].
        name: Option<String>,
        /// File with checkpoints that was written outside of the store: it has to agree with them.
        #[arg(long, value_name = "FILE", conflicts_with = "name")]
        anchor: Option<PathBuf>,
        /// Public keys whose signatures are believed, separated by commas [default: those that the coordinator names].
        #[arg(long, value_name = "HEX", value_delimiter = ',', conflicts_with = "name")]
        keys: Vec<Key>,
    },
}

/// What incidents wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusArg {
    /// The model is at work.
    Planning,
    /// An action waits for a person.
    Approval,
    /// An approved action waits for its outcome.
    Outcome,
    /// Nothing: planning has ended.
    Ended,
}

impl From<StatusArg> for IncidentStatus {
    fn from(status: StatusArg) -> Self {
        match status {
            StatusArg::Planning => Self::Planning,
            StatusArg::Approval => Self::AwaitingApproval,
            StatusArg::Outcome => Self::AwaitingOutcome,
            StatusArg::Ended => Self::Ended,
        }
    }
}

/// Which incidents are listed, and how.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Those that wait for this; may be given several times, or with commas.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) status: Vec<StatusArg>,
    /// Those of this urgency; may be given several times, or with commas.
    #[arg(long, value_enum, value_name = "CLASS", value_delimiter = ',')]
    pub(crate) priority: Vec<PriorityArg>,
    /// Those of this tenant.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Those with this label; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Those of this name in another system.
    #[arg(long, value_name = "ID")]
    pub(crate) external_id: Option<String>,
    /// Those in which this text stands: in the name, a label, who is who, the description, the action that waits.
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Oldest first.
    #[arg(long)]
    pub(crate) oldest_first: bool,
    /// Print them as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl IncidentsCommand {
    /// Name or id of the incident that it is about.
    pub(crate) fn incident(&self) -> Option<&str> {
        match self {
            Self::List(_) => None,
            Self::Get { name, .. }
            | Self::Watch { name, .. }
            | Self::Cancel { name }
            | Self::Approve { name, .. }
            | Self::Reject { name, .. }
            | Self::ReportOutcome { name, .. }
            | Self::Resend { name, .. }
            | Self::ReportAlerts { name, .. }
            | Self::Export { name, .. } => Some(name),
            Self::Verify { name, .. } => name.as_deref(),
        }
    }
}
