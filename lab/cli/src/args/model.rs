//! `model`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use countermove::args::values::{in_range, temperature};

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, global = true, value_name = "DIR", env = "COUNTERMOVE_HOME")]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Ask a model, and print its answer as it comes.
    Generate(GenerateArgs),
    /// Write a model with an adapter merged in: a GGUF file for a GGUF file, a folder for a folder of safetensors.
    Merge(MergeArgs),
}

/// Which model.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, default_value = "default")]
    pub(crate) model: String,
    /// LoRA adapter for it: a folder with adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
}

/// A model that reads records.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reader {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_HOME")]
    pub(crate) home: Option<PathBuf>,
    /// File that keeps what the model read, so that it is asked about nothing twice; it is made where it is missing.
    #[arg(long, value_name = "FILE")]
    pub(crate) readings: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, default_value = "default")]
    pub(crate) model: String,
    /// Folder with adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// File or folder to write; it must not be there yet.
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// How the tensors that the adapter changes are written to a GGUF file; a folder keeps their types.
    #[arg(long = "type", value_enum, default_value_t = MergedTypeArg::Q8_0)]
    pub(crate) merged: MergedTypeArg,
}

/// How changed tensors are written to a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MergedTypeArg {
    /// Eight bits and a scale for each 32 weights.
    #[value(name = "q8_0")]
    Q8_0,
    /// 16-bit floating point.
    F16,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// What is asked.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// Instruction that stands before it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) system: String,
    /// JSON Schema that the answer has to fit.
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Tokens of the answer, at most.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// Tokens of reasoning before the answer, at most.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) thinking_tokens: u32,
    /// Sampling temperature; 0 takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub(crate) temperature: f32,
    /// Nucleus mass.
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = top_p)]
    pub(crate) top_p: f32,
    /// Seed of the sampling.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// CPUs to compute on, such as 0,2-3 [default: all allowed].
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<String>,
}

fn top_p(text: &str) -> Result<f32, String> {
    in_range(text, |value| value > 0.0 && value <= 1.0, "a number above 0 and at most 1")
}
