//! A loaded model: weights on their device, tokenizer and chat frame.

mod arithmetic;

use std::fmt;
use std::path::{Path, PathBuf};

use arithmetic::arithmetic;
use serde::{Deserialize, Serialize};

use crate::candle::CandleBackend;
use crate::chat::Chat;
use crate::cpu::{self, CpuBackend};
use crate::device::{Device, DeviceBackend};
use crate::engine::Text;
use crate::error::LoadError;
use crate::tokenizer::Tokenizer;
use crate::weights::Checkpoint;

/// How weights are held in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WeightFormat {
    /// Eight bits and a scale for each 32 weights: fast, and close to full precision. Matrices that the file holds in
    /// four-bit blocks (Q4_0, Q4_1) stay as they are, exactly.
    #[default]
    #[serde(rename = "Q8_0")]
    Q8_0,
    /// 32-bit floating point: the reference.
    F32,
}

/// How to load a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Where to compute.
    pub device: Device,
    /// How weights are held in memory on [`Device::Cpu`].
    pub weights: WeightFormat,
    /// CPUs to compute on, one thread pinned to each; empty means all that the process may use.
    pub threads: Vec<usize>,
    /// Most bytes of keys and values; `None` means 1 GiB, or half of what is left on a GPU beside weights and passes.
    pub kv_budget: Option<usize>,
    /// Longest sequence; `None` means the model's own limit.
    pub context_length: Option<usize>,
    /// Folder of a LoRA adapter in PEFT's format, to be merged into the weights.
    pub adapter: Option<PathBuf>,
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q8_0 => "q8_0",
            Self::F32 => "f32",
        })
    }
}

impl LoadOptions {
    /// Most bytes of keys and values in the host's memory.
    pub(crate) fn kv_on_host(&self) -> usize {
        self.kv_budget.unwrap_or(1 << 30)
    }
}

/// What a model is, and what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name in the file, or the file's name.
    pub name: String,
    /// Architecture: `llama`, `qwen2` or `qwen3`.
    pub architecture: String,
    /// Weights, counted.
    pub parameters: u64,
    /// SHA-256 of the model: of its GGUF file, or over names and digests of the files of its folder that answers follow from,
    /// which are the weights, the configuration, the tokenizer and the chat template.
    pub weights_sha256: String,
    /// SHA-256 over vocabulary and merges.
    pub tokenizer_sha256: String,
    /// SHA-256 over configuration and weights of the adapter, if there is one.
    pub adapter_sha256: Option<String>,
    /// What decides the bits of an answer beside the above: device, platform, format of the weights in memory, and version of the engine's
    /// arithmetic.
    pub arithmetic: String,
    /// Longest sequence in tokens.
    pub context_length: usize,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Bytes of the files.
    pub file_bytes: u64,
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Bytes of keys and values for one token.
    pub kv_bytes_per_token: usize,
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    pub(crate) info: ModelInfo,
    pub(crate) text: Text,
    pub(crate) backend: DeviceBackend,
}

impl Model {
    /// Loads a GGUF file or a folder of safetensors.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let checkpoint = open(path, options)?;
        let mut info = describe(&checkpoint, options)?;
        let tokenizer = tokenizer(&checkpoint, info.vocab_size)?;
        let chat = match checkpoint.gguf() {
            Some(file) => Chat::from_gguf(file, &tokenizer)?,
            None => Chat::from_folder(path, &tokenizer)?,
        };
        if tokenizer.vocab_size() != info.vocab_size {
            let reason = format!(
                "the tokenizer has {} tokens, but the model's embedding has {} rows",
                tokenizer.vocab_size(),
                info.vocab_size
            );
            return Err(LoadError::Malformed { path: path.to_path_buf(), reason });
        }
        // Digests take as long as reading the weights does, and one thread.
        let (digests, backend) = std::thread::scope(|scope| {
            let digests = scope.spawn(|| digests(&checkpoint, &tokenizer));
            let backend = backend(&checkpoint, &info, options);
            (digests.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), backend)
        });
        digests?.put(&mut info);
        let text =
            Text::new(tokenizer, chat, checkpoint.calibration()).map_err(|error| LoadError::Unsupported {
                path: path.to_path_buf(),
                reason: format!("grammars cannot be made over its vocabulary: {error}"),
            })?;
        Ok(Self { info, text, backend: backend? })
    }

    /// What it is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }
}

/// What a model is and what it will take, before any of it is taken. Weights are read for their digest only.
///
/// # Errors
/// See [`LoadError`].
pub(crate) fn inspect(path: &Path, options: &LoadOptions) -> Result<ModelInfo, LoadError> {
    let checkpoint = open(path, options)?;
    let mut info = describe(&checkpoint, options)?;
    let tokenizer = tokenizer(&checkpoint, info.vocab_size)?;
    digests(&checkpoint, &tokenizer)?.put(&mut info);
    Ok(info)
}

/// What the header says about the model on the device that the options name.
fn describe(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, LoadError> {
    let info = match options.device {
        Device::Cpu => cpu::describe(checkpoint, options),
        Device::Cuda { weights, .. } => CandleBackend::describe(checkpoint, options, weights, true),
        Device::CandleCpu { weights } => CandleBackend::describe(checkpoint, options, weights, false),
    }?;
    Ok(ModelInfo { arithmetic: arithmetic(options.device, options.weights), ..info })
}

/// Digests of a model's parts.
struct Digests {
    tokenizer: String,
    weights: String,
    adapter: Option<String>,
}

impl Digests {
    fn put(self, info: &mut ModelInfo) {
        info.tokenizer_sha256 = self.tokenizer;
        info.weights_sha256 = self.weights;
        info.adapter_sha256 = self.adapter;
    }
}

fn digests(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Digests, LoadError> {
    Ok(Digests {
        tokenizer: tokenizer.digest().to_owned(),
        weights: checkpoint.sha256()?,
        adapter: checkpoint.adapter_sha256()?,
    })
}

/// Loads the weights onto the device that the options name.
fn backend(
    checkpoint: &Checkpoint,
    info: &ModelInfo,
    options: &LoadOptions,
) -> Result<DeviceBackend, LoadError> {
    match options.device {
        Device::Cpu => {
            CpuBackend::new(checkpoint, info.clone(), options).map(Box::new).map(DeviceBackend::Cpu)
        }
        Device::CandleCpu { weights } => CandleBackend::on_cpu(checkpoint.source(), info, options, weights)
            .map(Box::new)
            .map(DeviceBackend::Candle),
        #[cfg(feature = "cuda")]
        Device::Cuda { ordinal, weights } => {
            CandleBackend::on_cuda(checkpoint.source(), info, options, ordinal, weights)
                .map(Box::new)
                .map(DeviceBackend::Candle)
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda { .. } => Err(LoadError::Unsupported {
            path: checkpoint.source().place(crate::weights::Role::Embedding).0.to_path_buf(),
            reason: crate::device::DeviceError::NotBuilt(options.device.to_string()).to_string(),
        }),
    }
}

/// Opens a model with the adapter that the options name.
fn open(path: &Path, options: &LoadOptions) -> Result<Checkpoint, LoadError> {
    let checkpoint = Checkpoint::open(path)?;
    match &options.adapter {
        Some(adapter) => checkpoint.with_adapter(adapter),
        None => Ok(checkpoint),
    }
}

fn tokenizer(checkpoint: &Checkpoint, vocab_size: usize) -> Result<Tokenizer, LoadError> {
    match checkpoint.gguf() {
        Some(file) => Tokenizer::from_gguf(file),
        None => Tokenizer::from_folder(checkpoint.path(), vocab_size),
    }
}
