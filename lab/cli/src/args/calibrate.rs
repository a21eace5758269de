//! `calibrate`.

use std::path::PathBuf;

use clap::Args;

use super::Reader;

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Rows whose answers are known, of sources that the adapter did not see: files that `dataset labels` wrote.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Rows to fit the temperature on, and what model and words are worth in a pool, which are not judged; without them all stays what it
    /// is.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) fit: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reader: Reader,
    /// Rows of each file at most.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) most: usize,
    /// Write the fitted temperature into the adapter.
    #[arg(long, requires_all = ["fit", "adapter"])]
    pub(crate) set: bool,
}
