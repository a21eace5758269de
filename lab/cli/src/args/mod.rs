//! The command line: one module for each command.

mod cage2;
mod calibrate;
mod dataset;
mod days;
mod evaluate;
mod model;
mod perceive;
mod scale;
mod train;
mod wording;

use clap::{Parser, Subcommand};
use countermove::failure::EXIT_CODES;

pub(crate) use cage2::*;
pub(crate) use calibrate::*;
pub(crate) use dataset::*;
pub(crate) use days::*;
pub(crate) use evaluate::*;
pub(crate) use model::*;
pub(crate) use perceive::*;
pub(crate) use scale::*;
pub(crate) use train::*;
pub(crate) use wording::*;

/// Makes training sets, tunes models, tries them out, and judges what plans are worth.
#[derive(Debug, Parser)]
#[command(name = "countermove-lab", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play scenarios whose truth is known through a coordinator, and print what its plans are worth.
    Evaluate(EvaluateArgs),
    /// Judge perception on labels that the adapter did not see, and calibrate its probabilities.
    Calibrate(CalibrateArgs),
    /// Play CAGE Challenge 2, a world that others wrote, through a coordinator, beside simple rules.
    Cage2(Cage2Args),
    /// Make training sets from simulated incidents and from public labels.
    Dataset(DatasetArgs),
    /// Judge perception, and what plans take down, by days of sites that somebody has labelled line by line.
    Days(DaysArgs),
    /// Try models out, and merge adapters into them.
    Model(ModelArgs),
    /// Show what perception makes of scenarios whose truth is known, without a cluster.
    Perceive(PerceiveArgs),
    /// Simulate thousands of incidents on thousands of workers, with the coordinators' own queues.
    Scale(ScaleArgs),
    /// Tune a model on incidents with their answers; writes a LoRA adapter.
    Train(TrainArgs),
    /// Fit what the words of a record alone say, which perception has beside the model.
    Wording(WordingArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
