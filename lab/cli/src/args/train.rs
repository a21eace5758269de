//! `train`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use countermove::args::values::duration;
use countermove::failure::EXIT_CODES;
use countermove_training::TaskShare;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct TrainArgs {
    /// Folder that `countermove-lab dataset generate` wrote, or files of rows: JSON lines with system, prompt, think and
    /// answer, or the published document with instructions and answers (.json).
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// Files of validation rows [default: the validation split of the data folder].
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) validation: Vec<PathBuf>,
    /// Folder for the adapter, its log and its checkpoint. A run whose checkpoint is there goes on from it.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Model to tune: `default`, a file or folder, or `hf:organisation/name[@revision][/file.gguf]`.
    #[arg(long, default_value = "default")]
    pub(crate) model: String,
    /// Where to compute: cpu, cuda:N, or cuda:N:FORMAT with FORMAT one of bf16, f32, q8_0, q4_k for the frozen weights.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// CPU threads [default: as many as the process may use].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// How products are computed on CPUs.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub(crate) precision: PrecisionArg,
    /// Rank of the adapter; even [default: 16, large models 64].
    #[arg(long)]
    pub(crate) rank: Option<usize>,
    /// The change of a projection is multiplied with alpha / rank [default: twice the rank].
    #[arg(long)]
    pub(crate) alpha: Option<f32>,
    /// Share of the adapter's inputs that is dropped in training [default: 0, large models 0.05].
    #[arg(long)]
    pub(crate) dropout: Option<f32>,
    /// Projections to change [default: all of q, k, v, o, gate, up, down].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) targets: Vec<Projection>,
    /// Highest learning rate [default: 1e-3, large models 9.5e-4].
    #[arg(long)]
    pub(crate) learning_rate: Option<f64>,
    /// Examples of one optimisation step [default: 32].
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Times that the data is gone through [default: 1].
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// Optimisation steps at most.
    #[arg(long)]
    pub(crate) steps: Option<usize>,
    /// Time that training may take, such as 45m; the learning rate falls to zero by then.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) time_limit: Option<Duration>,
    /// Tokens of the longest example; longer answers are cut [default: 2048, large models 4096].
    #[arg(long, value_name = "TOKENS")]
    pub(crate) length: Option<usize>,
    /// Tokens that are computed together [default: 2048, on a GPU 16384, large models 4096].
    #[arg(long, value_name = "TOKENS")]
    pub(crate) pack_tokens: Option<usize>,
    /// Examples with a common prefix that stay together in a batch [default: 8].
    #[arg(long, value_name = "N")]
    pub(crate) together: Option<usize>,
    /// Share of the steps, 50 at most, over which the learning rate rises [default: 0.03].
    #[arg(long, value_name = "SHARE")]
    pub(crate) warm_up: Option<f64>,
    /// Decay of the adapter's numbers, as a share of the learning rate [default: 0].
    #[arg(long)]
    pub(crate) weight_decay: Option<f64>,
    /// Largest norm of a step's gradient [default: 1].
    #[arg(long, value_name = "NORM")]
    pub(crate) clip: Option<f64>,
    /// Steps between two looks at the validation loss [default: 50].
    #[arg(long, value_name = "STEPS")]
    pub(crate) validate_every: Option<usize>,
    /// Validation rows that are looked at [default: 256].
    #[arg(long, value_name = "N")]
    pub(crate) validation_examples: Option<usize>,
    /// Ends the run after so many looks without a better validation loss.
    #[arg(long, value_name = "LOOKS")]
    pub(crate) patience: Option<usize>,
    /// Steps between two checkpoints [default: 50].
    #[arg(long, value_name = "STEPS")]
    pub(crate) checkpoint_every: Option<usize>,
    /// Compute each layer twice and hold less in memory [default: for large models].
    #[arg(long, value_name = "BOOL")]
    pub(crate) recompute: Option<bool>,
    /// Train the reasoning before answers as well [default: for large models].
    #[arg(long, value_name = "BOOL")]
    pub(crate) thinking: Option<bool>,
    /// Tasks to train on, as the rows name them, each with how often an epoch goes through its rows: `state=0.5,alerts=3`
    /// [default: all, once].
    #[arg(long, value_delimiter = ',', value_name = "TASK[=TIMES]")]
    pub(crate) tasks: Vec<TaskShare>,
    /// Training rows at most, the first ones.
    #[arg(long, value_name = "N")]
    pub(crate) examples: Option<usize>,
    /// Seed of every random choice [default: 1].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Adapter to go on from instead of one that changes nothing.
    #[arg(long, value_name = "DIR")]
    pub(crate) start_from: Option<PathBuf>,
    /// Write the adapter in single precision instead of bfloat16.
    #[arg(long)]
    pub(crate) f32: bool,
    /// Draw the losses into this SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// No progress on standard error.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Folder that holds models/ [default: the user's cache folder].
    #[arg(long, value_name = "DIR", env = "COUNTERMOVE_HOME")]
    pub(crate) home: Option<PathBuf>,
}

/// How products are computed on CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// In bfloat16 if the CPU has instructions for it.
    Auto,
    /// With factors in bfloat16 and sums in single precision.
    Bf16,
    /// In single precision.
    F32,
}

/// A projection that an adapter can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}
