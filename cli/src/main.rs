//! `countermove`: the person's client, and a whole cluster on one machine.
//!
//! Standard output carries results alone: a plan, a table, a document. Progress, remarks and errors go to standard
//! error; an error is one sentence. Exit codes stand in [`failure::EXIT_CODES`].

mod args;
mod client;
mod console;
mod dataset;
mod decisions;
mod evaluate;
mod evidence;
mod failure;
mod incidents;
mod interrupt;
mod model;
mod plan;
mod render;
mod report;
mod tail;
mod train;
mod up;
mod workers;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Err(error) => Err(Failure::Failed(format!("the runtime cannot start: {error}"))),
        Ok(runtime) => {
            let outcome = runtime.block_on(Box::pin(run(cli.command)));
            // A thread that still reads a file or computes is not waited for.
            runtime.shutdown_background();
            outcome
        }
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.code().into()
        }
    }
}

async fn run(command: Command) -> Result<Exit, Failure> {
    let console = Console::new();
    let mut interrupt = Interrupt::new()?;
    match command {
        Command::Up(arguments) => up::up(arguments, &console, &mut interrupt).await,
        Command::Model(arguments) => model::model(arguments, &console, &mut interrupt).await,
        Command::Dataset(arguments) => dataset::dataset(arguments, &console, &mut interrupt).await,
        Command::Train(arguments) => train::train(arguments, &console, &mut interrupt).await,
        client => run_client(client, None, &console, &mut interrupt).await,
    }
}

/// Runs a command that talks to a coordinator; `url` goes before the one in its arguments.
async fn run_client(
    command: Command,
    url: Option<&str>,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let choose = |remote: args::Remote| args::Remote { url: url.map_or(remote.url, str::to_owned) };
    match command {
        Command::Plan(arguments) => {
            let remote = choose(arguments.remote.clone());
            let prepared = tokio::select! {
                prepared = plan::Prepared::read(arguments) => prepared?,
                () = interrupt.wait() => return Ok(Exit::Interrupted),
            };
            prepared.run(&remote.url, console, interrupt).await
        }
        Command::Workers(arguments) => {
            let remote = choose(arguments.remote);
            workers::workers(args::WorkersArgs { remote, ..arguments }).await
        }
        Command::Incidents(arguments) => {
            let remote = choose(arguments.remote);
            incidents::incidents(args::IncidentsArgs { remote, ..arguments }, console, interrupt).await
        }
        Command::Evaluate(arguments) => {
            let remote = choose(arguments.remote);
            evaluate::evaluate(args::EvaluateArgs { remote, ..arguments }, console, interrupt).await
        }
        Command::Up(_) | Command::Model(_) | Command::Dataset(_) | Command::Train(_) => {
            Err(Failure::Input("this command does not talk to a coordinator".to_owned()))
        }
    }
}
