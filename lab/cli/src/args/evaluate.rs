//! `evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countermove::args::values::costs;
use countermove::args::{Costs, PlanOptions, Remote};

/// Scenarios whose truth is known.
#[derive(Debug, Args)]
pub(crate) struct Scenarios {
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
    /// Folder with public rules, attack flows and incidents [default: ../shared/data if it is there].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) scenarios: Scenarios,
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
    /// Write what was done in each scenario into this file, a JSON object a line: each action with what it was predicted to bring
    /// about and to cost, and what came of it.
    #[arg(long, value_name = "FILE")]
    pub(crate) episodes: Option<PathBuf>,
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
    /// What searches show: the planner is not told which of the hosts that were searched the attacker got into.
    Findings,
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

fn at_once(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=256).contains(number));
    number.ok_or_else(|| "it has to be a number from 1 to 256".to_owned())
}
