//! The challenge's world: a process that speaks JSON lines.

use std::collections::BTreeMap;
use std::process::Stdio;

use countermove::failure::Failure;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What is seen of a host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Seen {
    #[serde(default)]
    pub(super) processes: Vec<Process>,
    #[serde(default)]
    pub(super) files: Vec<File>,
    #[serde(default)]
    pub(super) addresses: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Process {
    #[serde(default)]
    pub(super) connections: Vec<Connection>,
}

/// Ends as `address:port`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Connection {
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct File {
    #[serde(rename = "Path", default)]
    pub(super) path: String,
    #[serde(rename = "File Name", default)]
    pub(super) name: String,
}

/// What is seen, by host.
pub(super) type Sight = BTreeMap<String, Seen>;

#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    pub(super) hosts: Vec<String>,
    pub(super) seen: Sight,
}

#[derive(Debug, Deserialize)]
pub(super) struct Step {
    /// The score so far: 0 at most, and the less the worse.
    pub(super) total: f64,
    /// Whether what was done could be done, if that is said.
    #[serde(default)]
    pub(super) worked: Option<bool>,
    pub(super) seen: Sight,
}

/// The process.
pub(super) struct World {
    /// Killed when it is dropped.
    _process: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl World {
    pub(super) fn start(command: &[String]) -> Result<World, Failure> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| Failure::Input("there is no command of a world".into()))?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::Input(format!("the world {program:?} cannot be started: {error}")))?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (asks, answers) = pipes.ok_or_else(|| Failure::Failed("the world has no pipes".into()))?;
        Ok(World { _process: process, asks, answers: BufReader::new(answers).lines() })
    }

    /// Begins a game.
    pub(super) async fn reset(&mut self, seed: u64, red: &str) -> Result<Begun, Failure> {
        self.ask(&json!({"reset": seed, "red": red})).await
    }

    /// Plays a round.
    pub(super) async fn act(&mut self, action: &str) -> Result<Step, Failure> {
        self.ask(&json!({ "act": action })).await
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&mut self, question: &Value) -> Result<T, Failure> {
        let broken =
            |error: &dyn std::fmt::Display| Failure::Failed(format!("the world does not answer: {error}"));
        self.asks.write_all(format!("{question}\n").as_bytes()).await.map_err(|error| broken(&error))?;
        let line = self.answers.next_line().await.map_err(|error| broken(&error))?;
        let line = line.ok_or_else(|| broken(&"it has ended"))?;
        let answer: Value = serde_json::from_str(&line).map_err(|error| broken(&error))?;
        if let Some(error) = answer.get("error") {
            return Err(Failure::Failed(format!("the world refuses {question}: {error}")));
        }
        serde_json::from_value(answer).map_err(|error| broken(&error))
    }
}
