//! `scale`.

use std::ops::RangeInclusive;

use clap::Args;
use clap::builder::TypedValueParser;

#[derive(Clone, Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Incidents that come within ten seconds.
    #[arg(long, default_value_t = 1000, value_parser = number(1..=100_000))]
    pub(crate) incidents: usize,
    /// Workers, half of them in each region.
    #[arg(long, default_value_t = 100, value_parser = number(1..=10_000))]
    pub(crate) workers: usize,
    /// Coordinators, half of them in each region.
    #[arg(long, default_value_t = 10, value_parser = number(2..=100))]
    pub(crate) coordinators: usize,
    /// Workers are GPUs with a model of 14 billion weights, rather than two threads with the default model.
    #[arg(long)]
    pub(crate) gpu: bool,
    /// Root of every random number.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// A number within bounds.
fn number(bounds: RangeInclusive<i64>) -> impl TypedValueParser<Value = usize> {
    // Bounds are above zero and far below what a `usize` holds.
    clap::value_parser!(u32).range(bounds).map(|number| number as usize)
}
