//! The worker process: reads flags, loads the model, serves it until a signal comes; or does what `model …` asks for.
//!
//! Standard output gets one line, `listening on ADDR`, when calls are taken; the log goes to standard error.
//! Exit codes: 0 after a signal, 1 if something failed, 2 for flags that cannot be used.

use std::io::{self, Read};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::CommandFactory;
use clap::error::ErrorKind;
use countermove_model::{Engine, Fetch, LoadOptions};
use countermove_planner::{Answers, Profile, Templates};
use countermove_proto::v1::ModelIdentity;
use countermove_telemetry::start_log;
use countermove_worker::{
    AdapterChoice, Arguments, Command, Config, EngineModel, NAMES, Replica, serve_with, simulated,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    let arguments: Arguments = countermove_settings::parse(&NAMES, check);
    if let Some(Command::Model(model)) = arguments.command {
        // What these commands print is the answer; the log is for those who ask for it.
        if std::env::var_os("RUST_LOG").is_some() {
            start_log(arguments.log_format, None);
        }
        return model.run().map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS);
    }
    // The model has its own threads and cores: these two answer calls, and wait most of the time.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .thread_name("worker-rpc")
        .enable_all()
        .build();
    let runtime = match runtime.context("the runtime cannot start") {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, 1),
    };
    // What is left is exported when this is dropped, by the runtime's threads.
    let traces = {
        let _within = runtime.enter();
        arguments.traces.start("countermove-worker", env!("CARGO_PKG_VERSION"), arguments.tls.insecure)
    };
    let traces = match traces {
        Ok(traces) => traces,
        Err(error) => return fail(&error.into(), 2),
    };
    start_log(arguments.log_format, traces.as_ref());
    let config = match Config::try_from(arguments) {
        Ok(config) => config,
        Err(error) => return fail(&error.into(), 2),
    };
    let parent = config.exit_with_parent.then(watch_parent);
    match runtime.block_on(serve_model(config, parent)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

/// Whether a configuration can be made of them.
fn check(arguments: &Arguments) -> Result<(), clap::Error> {
    let unusable = |error| Arguments::command().error(ErrorKind::ValueValidation, error);
    Config::try_from(arguments.clone()).map(drop).map_err(unusable)
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {}", sentence(error));
    code.into()
}

/// The error and its causes, each told once and without the system's error numbers, which are for programs.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    while let Some(start) = text.find(" (os error ") {
        let end = text[start..].find(')').map_or(text.len(), |end| start + end + 1);
        text.replace_range(start..end, "");
    }
    text
}

async fn serve_model(config: Config, parent: Option<oneshot::Receiver<()>>) -> anyhow::Result<()> {
    // Signals are taken from the start: one that comes while the model loads is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let shutdown = async move {
        let parent_gone = async {
            match parent {
                Some(gone) => drop(gone.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = parent_gone => tracing::info!("standard input has ended"),
        }
    };
    let mut shutdown = std::pin::pin!(shutdown);
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        anyhow!("{} cannot be listened on: {error}; give another address with --listen", config.listen)
    })?;
    let finished = match config.simulate {
        Some(pace) => {
            let replica = simulated(&config, pace)?;
            serve_with(&config, replica, listener, shutdown).await?
        }
        None => {
            let loaded = config.clone();
            let replica = tokio::select! {
                replica = tokio::task::spawn_blocking(move || load(&loaded)) => replica.context("loading failed")??,
                // Loading cannot be broken off, so the process ends here.
                () = &mut shutdown => std::process::exit(0),
            };
            serve_with(&config, replica, listener, shutdown).await?
        }
    };
    if !finished {
        tracing::warn!(
            seconds = config.drain_timeout.as_secs(),
            "work was still running after the drain timeout and was stopped"
        );
    }
    tracing::info!("stopped");
    Ok(())
}

/// Templates before the model: what is quick to check fails first.
fn load(config: &Config) -> anyhow::Result<Replica<EngineModel>> {
    let named = config.templates.as_deref().map(|named| Templates::load(Some(named))).transpose()?;
    let home = countermove_model::home(config.home.clone());
    let adapter = config.adapter.folder(&config.model, &home);
    let adapter = adapter.with_context(|| format!("the adapter cannot be unpacked in {}", home.display()))?;
    let options = LoadOptions { adapter, ..config.load.clone() };
    let model = config.model.load(&home, &options, &mut |event| {
        if let Fetch::Begins { file, bytes } = event {
            tracing::info!(file, bytes, "fetching from the hub");
        }
    })?;
    let engine = Engine::start(model, config.engine.clone())?;
    let info = engine.info();
    let templates = match named {
        Some(templates) => templates,
        None => Templates::built_in(Profile::of(info.parameters))?,
    };
    let identity = ModelIdentity {
        name: info.name.clone(),
        weights_sha256: info.weights_sha256.clone(),
        adapter_sha256: match config.adapter {
            AdapterChoice::Merged => "merged".to_owned(),
            _ => info.adapter_sha256.clone().unwrap_or_default(),
        },
        tokenizer_sha256: info.tokenizer_sha256.clone(),
        templates_sha256: templates.digest(),
        arithmetic: info.arithmetic.clone(),
    };
    let context_length = info.context_length;
    let model = EngineModel::new(engine, templates.instructions(), identity.adapter_sha256.is_empty());
    Ok(Replica { model, templates, identity, context_length, answers: Answers::default() })
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
