//! The coordinator process: reads flags, serves until a signal comes, and drains.
//!
//! Standard output gets one line, `listening on ADDR`, when calls are taken; the log goes to standard error.
//! Exit codes: 0 after a signal, 1 if something failed, 2 for flags that cannot be used.

use std::future::Future;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use countermove_coordinator::config::{Args, ConfigError, Coordinator, NAMES};
use countermove_telemetry::start_log;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    let args: Args =
        countermove_settings::parse(&NAMES, |args| Coordinator::try_from(args).map(drop).map_err(unusable));
    if args.notify_check {
        return match check_notify(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => unusable(error).exit(),
        };
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn unusable(error: ConfigError) -> clap::Error {
    Args::command().error(ErrorKind::ValueValidation, error)
}

/// Prints what receivers of notifications would get.
fn check_notify(args: &Args) -> Result<(), ConfigError> {
    if let Some(notify) = args.notify()? {
        // If nobody can read it, nobody can be told so.
        let _ = announce(notify.samples()?.trim_end());
    }
    Ok(())
}

fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.runtime_threads.into())
        .thread_name("coordinator")
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    // Its threads export what is left when this is dropped, before it ends itself.
    let traces = {
        let _within = runtime.enter();
        args.traces
            .start("countermove-coordinator", env!("CARGO_PKG_VERSION"), args.tls.insecure)
            .unwrap_or_else(|error| unusable(error.into()).exit())
    };
    start_log(args.log_format, traces.as_ref());
    let coordinator = Coordinator::try_from(args).unwrap_or_else(|error| unusable(error).exit());
    runtime.block_on(async {
        let shutdown = shutdown(args.exit_with_parent)?;
        let store = coordinator.open_store().await?;
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("{} cannot be listened on", args.listen))?;
        let address = listener.local_addr().context("the socket has no address")?;
        announce(&format!("listening on {address}")).context("standard output cannot be written")?;
        tracing::info!(%address, workers = args.workers.len(), "serving");
        coordinator.run(store, listener, shutdown).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Ends when the process is told to stop. Signals are taken from now on, so one that comes early is not lost.
fn shutdown(exit_with_parent: bool) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let parent = exit_with_parent.then(watch_parent);
    Ok(async move {
        let parent_gone = async {
            match parent {
                Some(gone) => drop(gone.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM came"),
            _ = interrupt.recv() => tracing::info!("SIGINT came"),
            () = parent_gone => tracing::info!("standard input has ended"),
        }
    })
}

/// Ends when standard input does. A thread of its own, since reading a pipe blocks.
fn watch_parent() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut sink = [0; 256];
        while matches!(io::stdin().lock().read(&mut sink), Ok(1..)) {}
        // Nobody listens any more if the process is stopping already.
        let _ = sender.send(());
    });
    receiver
}

fn announce(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
