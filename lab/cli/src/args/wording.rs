//! `wording`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct WordingArgs {
    /// Rows whose answers are known: files that `dataset labels` wrote.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Rows to judge what was fitted by, of sources that --data has nothing of.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) judge: Vec<PathBuf>,
    /// File that the numbers are written into; the planner is built with crates/planner/data/wording.bin.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}
