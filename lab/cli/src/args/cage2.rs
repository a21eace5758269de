//! `cage2`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use countermove::args::Remote;

#[derive(Debug, Args)]
pub(crate) struct Cage2Args {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Attackers of the challenge: `b_line`, `meander`, `sleep`.
    #[arg(long, value_delimiter = ',', default_value = "b_line,meander", value_name = "LIST")]
    pub(crate) red: Vec<String>,
    /// Seed of the first game.
    #[arg(long, default_value_t = 1)]
    pub(crate) first_seed: u64,
    /// Games of each player against each attacker, one a seed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) games: u64,
    /// Rounds of a game.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) rounds: u32,
    /// Rollouts of each candidate, M; each stands for 128 games of a search [default: the coordinator's].
    #[arg(long, default_value_t = 0)]
    pub(crate) rollouts: u32,
    /// Plays each game once more with a part switched off, and tells the difference game by game.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) ablate: Vec<Part>,
    /// File of scores, with tabs between: those of games that end are added, and what is in it is not played again.
    #[arg(long, value_name = "FILE")]
    pub(crate) scores: Option<PathBuf>,
    /// Draw what each player lost into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// Command that starts the challenge as a process which speaks JSON lines (docs/evaluation.md says which).
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) world: Vec<String>,
}

/// A part of what decides a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The search: what the simple rule of a responder says is done, with the same belief.
    Planning,
    /// What comes back: nothing that is seen is reported, so that nothing is revised by it.
    Revision,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Planning => "planning",
            Part::Revision => "revision",
        }
    }
}

impl Cage2Args {
    pub(crate) fn seeds(&self) -> RangeInclusive<u64> {
        self.first_seed..=self.first_seed.saturating_add(self.games - 1)
    }
}
