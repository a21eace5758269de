//! `countermove-lab`: makes training sets, tunes models, tries them out, and judges what plans are worth.
//!
//! It uses the product and the product does not know it. Output, errors and exit codes are as those of `countermove`.

mod args;
mod cage2;
mod calibrate;
mod dataset;
mod days;
mod evaluate;
mod model;
mod perceive;
mod perceived;
mod reader;
mod readings;
mod scale;
mod train;
mod wording;
mod write;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    countermove::main(async move |console, interrupt| match cli.command {
        Command::Evaluate(arguments) => evaluate::evaluate(arguments, console, interrupt).await,
        Command::Cage2(arguments) => cage2::cage2(arguments, console, interrupt).await,
        Command::Calibrate(arguments) => calibrate::calibrate(arguments, console, interrupt).await,
        Command::Dataset(arguments) => dataset::dataset(arguments, console, interrupt).await,
        Command::Days(arguments) => days::days(arguments, console, interrupt).await,
        Command::Model(arguments) => model::model(arguments, console, interrupt).await,
        Command::Perceive(arguments) => perceive::perceive(arguments, console, interrupt).await,
        Command::Scale(arguments) => scale::scale(arguments, console, interrupt).await,
        Command::Train(arguments) => train::train(arguments, console, interrupt).await,
        Command::Wording(arguments) => wording::wording(&arguments, console),
    })
}
