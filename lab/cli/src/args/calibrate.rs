//! `calibrate`.

use std::path::PathBuf;

use clap::Args;

use super::Which;

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
    pub(crate) which: Which,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_HOME")]
    pub(crate) home: Option<PathBuf>,
    /// File that keeps what the model read, so that it is asked about nothing twice; it is made where it is missing.
    #[arg(long, value_name = "FILE")]
    pub(crate) readings: Option<PathBuf>,
    /// Rows of each file at most.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) most: usize,
    /// Write the fitted temperature into the adapter.
    #[arg(long, requires_all = ["fit", "adapter"])]
    pub(crate) set: bool,
}
