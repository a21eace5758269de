//! A simulated worker whose engine dies when it is told to: the program that workers are, over a model that ends on SIGUSR1 as an
//! engine does whose kernel panics. `chaos worker FLAGS` is one; no program that ships can be told such a thing.

use std::ffi::OsString;

use clap::Parser;
use countermove_planner::{Answer, LanguageModel, ModelError, Question, TokenCounter};
use countermove_worker::{
    Arguments, Config, EngineStats, ServedModel, SimulatedModel, serve_with, simulated,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Answers as a simulated model does until it is dead.
struct Mortal {
    model: SimulatedModel,
    dead: watch::Receiver<bool>,
}

impl Mortal {
    async fn died(&self) {
        let mut dead = self.dead.clone();
        if dead.wait_for(|dead| *dead).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl LanguageModel for Mortal {
    async fn ask(&self, question: Question, tokens: &TokenCounter) -> Result<Answer, ModelError> {
        tokio::select! {
            biased;
            () = self.died() => Err(ModelError::Unavailable("the engine has stopped".to_owned())),
            answer = self.model.ask(question, tokens) => answer,
        }
    }
}

impl ServedModel for Mortal {
    fn stats(&self) -> EngineStats {
        self.model.stats()
    }

    async fn ended(&self) {
        self.died().await;
    }
}

/// Serves until it is told to stop, or its engine dies, which is an error.
pub(crate) async fn serve(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let config = Config::try_from(Arguments::try_parse_from(arguments)?)?;
    let pace = config.simulate.ok_or_else(|| anyhow::anyhow!("only simulated engines die on demand"))?;
    let mut kill = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (death, dead) = watch::channel(false);
    tokio::spawn(async move {
        kill.recv().await;
        death.send_replace(true);
        // It stays dead.
        death.closed().await;
    });
    let replica = simulated(&config, pace)?.with_model(|model| Mortal { model, dead });
    let listener = tokio::net::TcpListener::bind(config.listen).await?;
    serve_with(&config, replica, listener, async move {
        terminate.recv().await;
    })
    .await
    .map(drop)
}
