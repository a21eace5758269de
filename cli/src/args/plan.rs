//! `plan`, and how to plan.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use countermove_incident::Pricing;
use countermove_proto::Tenant;
use countermove_proto::v1::Priority;
use countermove_wire::limits;

use super::values::{
    baseline, budget, catalogue, certainty, confidence, costs, duration, label, share, temperature, whole,
};
use crate::failure::EXIT_CODES;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct PlanArgs {
    /// Folder of an incident: system.txt, alerts.log (or alerts.json, eve.json), and where they are there notes.txt and constraints.txt
    /// or incident.json.
    #[arg(long, value_name = "DIR", required_unless_present_all = ["system", "alerts"])]
    pub(crate) incident: Option<PathBuf>,
    /// Description of the system: hosts, addresses, services, zones.
    #[arg(long, value_name = "FILE")]
    pub(crate) system: Option<PathBuf>,
    /// Log, folder of logs, or `-` for standard input; may be given several times, and a log that comes twice counts once.
    /// Read are the forms of docs/evidence.md: Snort, Suricata, Wazuh, Elastic, OCSF, Sigma, Falco, Zeek, Windows events,
    /// CloudTrail, Okta, Entra ID, firewalls, CEF, syslog and others, also in UTF-16 or packed with gzip or zstd.
    #[arg(long, value_name = "FILE")]
    pub(crate) alerts: Vec<PathBuf>,
    /// What responders have written down, one remark a line: evidence that you vouch for. An account is taken for stolen where a remark
    /// says that its credentials were found.
    #[arg(long, value_name = "FILE")]
    pub(crate) notes: Option<PathBuf>,
    /// Rules that the plan has to keep, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) constraints: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// What actions cost: `unit` (the paper), `superfluous` (two for an action that gains nothing), or a TOML file with
    /// costs in minutes, as deploy/costs.toml shows [default: the coordinator's].
    #[arg(long, value_name = "MODEL", value_parser = costs)]
    pub(crate) costs: Option<Costs>,
    /// What can be done while the attack goes on, in what network and at what price: a TOML file as deploy/catalogue.toml shows. Then each
    /// step is a round, and what is proposed is of the catalogue.
    #[arg(long, value_name = "FILE", value_parser = catalogue, requires = "interactive")]
    pub(crate) catalogue: Option<CatalogueText>,
    /// What the organisation's logs say on ordinary days, as `countermove baseline` learns it: records that are as on those days are less
    /// likely part of an attack [default: the coordinator's].
    #[arg(long, value_name = "FILE", value_parser = baseline, env = "COUNTERMOVE_BASELINE")]
    pub(crate) baseline: Option<BaselineText>,
    /// On whose account it is planned: tenants share the workers equally [default: default].
    #[arg(long, value_name = "NAME", env = "COUNTERMOVE_TENANT")]
    pub(crate) tenant: Option<Tenant>,
    /// What others know it by, such as team=emea; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Its name in another system, such as the number of a ticket.
    #[arg(long, value_name = "ID")]
    pub(crate) external_id: Option<String>,
    /// How urgent it is, beside other incidents of the same coordinator [default: normal].
    #[arg(long, value_enum, value_name = "CLASS")]
    pub(crate) priority: Option<PriorityArg>,
    /// Decide about each action, at the terminal unless `--detach` is given, and say what it achieved.
    #[arg(long, conflicts_with = "json")]
    pub(crate) interactive: bool,
    /// Print the incident's name and go, with `--json` as JSON: `incidents watch`, `approve`, `reject` and `report-outcome` do the rest.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Let actions be approved without asking if they can be taken back, are the best with this chance, and take down no
    /// host and no account that is less surely the attacker's.
    #[arg(long, value_name = "P", value_parser = certainty, requires = "interactive")]
    pub(crate) approve_reversible: Option<f64>,
    /// Show what was read, as `countermove evidence` does, and plan nothing; needs no coordinator.
    #[arg(long, conflicts_with_all = ["interactive", "detach"])]
    pub(crate) validate: bool,
    /// Print the plan as JSON; docs/plan.schema.json describes it.
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct BaselineArgs {
    /// Logs of ordinary days, folders of logs, or `-` for standard input, in the forms of docs/evidence.md. Days are told by the times in
    /// them; a log without times counts as one day.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where to write what was learnt [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct EvidenceArgs {
    /// Logs, folders of logs, or `-` for standard input, in the forms of docs/evidence.md, also in UTF-16 or packed with
    /// gzip or zstd. A log that comes twice counts once.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
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
pub struct PlanOptions {
    /// Candidate actions proposed for each step, N [default: 3].
    #[arg(long, value_name = "N", value_parser = whole(limits::CANDIDATES))]
    pub(crate) candidates: Option<u32>,
    /// Rollouts of each candidate, M [default: 40].
    #[arg(long, value_name = "M", value_parser = whole(limits::ROLLOUTS))]
    pub(crate) rollouts: Option<u32>,
    /// Actions simulated in one rollout before it counts as truncated, D [default: 10].
    #[arg(long, value_name = "D", value_parser = whole(limits::DEPTH))]
    pub(crate) depth: Option<u32>,
    /// Actions in the plan at most [default: 10].
    #[arg(long, value_name = "K", value_parser = whole(limits::STEPS))]
    pub steps: Option<u32>,
    /// Seed of every random choice: the same seed gives the same plan [default: drawn, and reported].
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Sampling temperature of candidates and simulated actions [default: 0.6].
    #[arg(long, value_name = "T", value_parser = temperature)]
    pub(crate) temperature: Option<f32>,
    /// Tokens of reasoning before each answer of perception and of a candidate, at most.
    #[arg(long, value_name = "TOKENS", value_parser = whole(limits::THINKING_TOKENS))]
    pub thinking_tokens: Option<u32>,
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
pub struct Costs(pub Pricing);

/// Text of a baseline that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineText(pub String);

/// Text of a catalogue that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueText(pub String);
