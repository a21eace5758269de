//! `days`.

use std::path::PathBuf;

use clap::Args;
use countermove::args::{PlanOptions, Remote};

use super::Reader;

#[derive(Debug, Args)]
pub(crate) struct DaysArgs {
    /// Sites, or folders of sites: each with system.txt, days/NAME/alerts.log and days/NAME/labels.json, and logs of ordinary days
    /// under ordinary/, one a day.
    #[arg(value_name = "SITE", required = true)]
    pub(crate) sites: Vec<PathBuf>,
    /// Have each of the labelled days planned as well, through a coordinator, and say whom the plans take down.
    #[arg(long)]
    pub(crate) plans: bool,
    /// Print each day as a line of JSON in place of the figures.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reader: Reader,
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
