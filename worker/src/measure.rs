//! `countermove-worker model bench` and `model check`: how fast a device is with a model, and whether its answers can be
//! believed.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::Args;
use countermove_model::{
    BenchOptions, BenchReport, CpuListError, Device, LoadOptions, Model, WeightFormat, agreement, bench,
    bench_shape, check_allowed_cpus, parse_cpu_list, same_bits,
};

use crate::model_command::{Which, print, show_transfer};

/// Tokens of the texts on which a device is compared with the CPU.
const COMPARED: usize = 400;

/// What to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(flatten)]
    which: Which,
    /// Instead of a model, random weights of a known shape, drawn on the GPU.
    #[arg(long, value_name = "NAME", value_parser = shape_parser(), conflicts_with = "model")]
    shape: Option<String>,
    /// Layers of the shape [default: all].
    #[arg(long, value_name = "N", requires = "shape")]
    layers: Option<usize>,
    #[command(flatten)]
    place: Place,
    /// Tokens of the shared prefix.
    #[arg(long, value_name = "P", default_value_t = 1024)]
    prefix: usize,
    /// Sequences forked from it.
    #[arg(long, value_name = "B", default_value_t = 27)]
    sequences: usize,
    /// Steps; in each a sequence chooses a token.
    #[arg(long, value_name = "T", default_value_t = 64)]
    decode: usize,
    /// Tokens that a sequence brings to a step: 1, or more as where a grammar forces tokens.
    #[arg(long, value_name = "R", default_value_t = 1)]
    rows: usize,
    /// Most tokens of the prefix in one pass.
    #[arg(long, value_name = "C", default_value_t = 256)]
    prefill_chunk: usize,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What to check.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    place: Place,
    /// Share of positions at which the device must find the same token the likeliest as single precision on the CPU.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = share)]
    top_1: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "a number from 0 to 1 is wanted".to_owned())
}

/// Where to compute.
#[derive(Clone, Debug, Args)]
struct Place {
    /// `cpu`, `cuda:N` or `cuda:N:FORMAT` with bf16, f32, q8_0 or q4_k.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// LoRA adapter: a folder with adapter_config.json and adapter_model.safetensors.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Most MiB of keys and values [default: 1024 on CPUs; on a GPU half of what is left beside weights and passes].
    #[arg(long, value_name = "MIB")]
    kv_memory: Option<usize>,
    /// CPUs to compute on, such as 0,2-3 [default: all allowed].
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    cpus: Option<Cpus>,
}

/// Numbers of CPUs. Clap takes a vector for a flag that is given several times.
type Cpus = std::sync::Arc<[usize]>;

fn cpu_list(text: &str) -> Result<Cpus, CpuListError> {
    let cpus = parse_cpu_list(text)?;
    check_allowed_cpus(&cpus)?;
    Ok(cpus.into())
}

impl Place {
    fn options(&self) -> LoadOptions {
        LoadOptions {
            device: self.device,
            adapter: self.adapter.clone(),
            threads: self.cpus.as_deref().unwrap_or_default().to_vec(),
            kv_budget: self.kv_memory.map(|mib| mib.saturating_mul(1 << 20)),
            ..LoadOptions::default()
        }
    }
}

fn shape_parser() -> clap::builder::PossibleValuesParser {
    countermove_model::shape_names().collect::<Vec<_>>().into()
}

/// Measures and prints.
///
/// # Errors
/// One sentence that says what failed.
pub(crate) fn run_bench(arguments: &BenchArguments, home: &Path) -> anyhow::Result<()> {
    let options = BenchOptions {
        prefix: arguments.prefix,
        sequences: arguments.sequences,
        decode: arguments.decode,
        rows: arguments.rows,
        prefill_chunk: arguments.prefill_chunk,
    };
    let load = arguments.place.options();
    let report = if let Some(shape) = &arguments.shape {
        bench_shape(shape, arguments.layers, &load, &options)?
    } else {
        let began = std::time::Instant::now();
        let model = arguments.which.model.load(home, &load, &mut show_transfer())?;
        let load_seconds = began.elapsed().as_secs_f64();
        BenchReport { load_seconds, ..bench(model, &options)? }
    };
    print(&if arguments.json { serde_json::to_string(&report)? + "\n" } else { text(&report) })
}

fn text(report: &BenchReport) -> String {
    let BenchReport { prefix, sequences, decode, rows, .. } = *report;
    let mut text = format!(
        "load      {:>9.1} s\n\
         prefill   {:>9.1} tokens/s  ({prefix} tokens in {:.2} s)\n\
         steps     {:>9.1} rows/s    ({sequences} sequences x {rows} tokens, {decode} steps, median {:.2} ms)\n\
         chosen    {:>9.1} tokens/s\n",
        report.load_seconds,
        report.prefill_tokens_per_s,
        report.prefill_seconds,
        report.rows_per_s,
        report.step_seconds * 1e3,
        report.decode_tokens_per_s,
    );
    if let Some(products) = report.product_seconds.filter(|seconds| *seconds > 0.0) {
        text += &format!(
            "products  {:>9.2} ms        (the library's fastest alone; the step takes {:.2} times that)\n",
            products * 1e3,
            report.step_seconds / products
        );
    }
    text
}

/// Checks and prints; fails where bits differ or the device is too far from the CPU.
///
/// # Errors
/// One sentence that says what failed.
pub(crate) fn run_check(arguments: &CheckArguments, home: &Path) -> anyhow::Result<()> {
    let load = arguments.place.options();
    let mut found: Model = arguments.which.model.load(home, &load, &mut show_transfer())?;
    let reference = LoadOptions { device: Device::Cpu, weights: WeightFormat::F32, ..load.clone() };
    let mut reference = arguments.which.model.load(home, &reference, &mut show_transfer())?;
    let close = agreement(&mut found, &mut reference, COMPARED)?;
    let ways = same_bits(&mut found)?;
    let mut text = format!(
        "against single precision on the CPU: {} positions, top-1 {:.2} %, mean divergence {:.1e}\n",
        close.positions,
        close.top_1 * 100.0,
        close.divergence
    );
    for way in &ways {
        text += &format!(
            "{:<50} {:>3} of {:>3} rows have the bits that they have alone\n",
            way.way, way.same, way.rows
        );
    }
    print(&text)?;
    let differing: Vec<&str> =
        ways.iter().filter(|way| way.same < way.rows).map(|way| way.way.as_str()).collect();
    if !differing.is_empty() {
        let device = load.device;
        return Err(anyhow!(
            "on {device} the bits of a sequence depend on its batch: {}",
            differing.join("; ")
        ));
    }
    if close.top_1 < arguments.top_1 {
        bail!(
            "{} agrees with the CPU at {:.2} % of positions only; --top-1 asks for {:.2} %",
            load.device,
            close.top_1 * 100.0,
            arguments.top_1 * 100.0
        );
    }
    Ok(())
}
