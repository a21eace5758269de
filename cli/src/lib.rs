//! `countermove`: the person's client, and a whole cluster on one machine.
//!
//! Standard output carries results alone: a plan, a table, a document. Progress, remarks and errors go to standard
//! error; an error is one sentence. Exit codes stand in [`failure::EXIT_CODES`].
//!
//! A program of its own that talks to a coordinator as this one does begins with [`main`] and takes from the public
//! modules what it needs.

pub mod args;
mod audit;
mod certs;
pub mod client;
pub mod console;
pub mod decisions;
mod doctor;
mod evidence;
pub mod failure;
mod following;
mod incidents;
pub mod interrupt;
mod manual;
mod mcp;
pub mod plan;
mod proof;
pub mod render;
mod report;
mod tail;
mod tokens;
mod up;
mod watch;
pub mod workers;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, Remote};
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// All of `countermove`: reads the command line, does what it says, and gives the exit code.
pub fn client() -> ExitCode {
    let cli = Cli::parse();
    main(async move |console, interrupt| match cli.command {
        Command::Up(arguments) => up::up(arguments, cli.remote.insecure, console, interrupt).await,
        client => run(client, &cli.remote, console, interrupt).await,
    })
}

/// The frame of a program: runs its work on one thread, tells its failure, gives its exit code.
pub fn main(work: impl AsyncFnOnce(&Console, &mut Interrupt) -> Result<Exit, Failure>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Err(error) => Err(Failure::Failed(format!("the runtime cannot start: {error}"))),
        Ok(runtime) => {
            let outcome = runtime.block_on(Box::pin(async {
                let mut interrupt = Interrupt::new()?;
                work(&Console::new(), &mut interrupt).await
            }));
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

/// Runs a command, most of which talk to a coordinator.
async fn run(
    command: Command,
    remote: &Remote,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    match command {
        Command::Evidence(arguments) => locally(move || evidence::evidence(&arguments), interrupt).await,
        Command::Baseline(arguments) => locally(move || evidence::baseline(&arguments), interrupt).await,
        Command::Certs(arguments) => certs::certs(&arguments),
        Command::Plan(arguments) if arguments.validate => {
            locally(move || evidence::validate(&arguments), interrupt).await
        }
        Command::Plan(arguments) => {
            let prepared = tokio::select! {
                prepared = plan::Prepared::read(*arguments) => prepared?,
                () = interrupt.wait() => return Ok(Exit::Interrupted),
            };
            prepared.run(remote, plan::Leave::Detach, console, interrupt).await
        }
        Command::Watch(arguments) => watch::watch(arguments, remote, interrupt).await,
        Command::Workers(arguments) => workers::workers(arguments, remote).await,
        Command::Incidents(arguments) => incidents::incidents(arguments, remote, console, interrupt).await,
        Command::Tokens(arguments) => tokens::tokens(arguments, remote, console).await,
        Command::Whoami => tokens::whoami(remote).await,
        Command::Audit(arguments) => audit::audit(arguments, remote).await,
        Command::Mcp => mcp::mcp(remote, interrupt).await,
        Command::Doctor(arguments) => doctor::doctor(arguments, remote, interrupt).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::manual(out.as_deref()),
        Command::Up(_) => Err(Failure::Input("`up` does not talk to a coordinator".to_owned())),
    }
}

/// Work without a coordinator. Reading 200 MB takes seconds, in which signals still get through.
async fn locally(
    work: impl FnOnce() -> Result<Exit, Failure> + Send + 'static,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => {
            done.map_err(|error| Failure::Failed(format!("the evidence could not be read: {error}")))?
        }
        () = interrupt.wait() => Ok(Exit::Interrupted),
    }
}
