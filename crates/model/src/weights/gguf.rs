//! GGUF: header and tensors, checked before anything is allocated.
//!
//! The header is read by our own parser, because a file is untrusted input: every count is compared with the bytes
//! that are left in the file first. The blocks of a tensor are then handed to candle for dequantisation.
//!
//! Invariant: after [`Gguf::open`], every tensor's bytes lie inside the file.

mod header;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;

pub use header::MetaValue;
use header::{Header, Tensor, unsigned};

use super::{Levels, Part, Role, Source};
use crate::config::{Architecture, DecoderConfig, RopeScaling};
use crate::error::LoadError;
use crate::regular;

/// An open GGUF file: its header, and access to its tensors.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    bytes: u64,
    values_end: u64,
    metadata: HashMap<String, MetaValue>,
    tensors: HashMap<String, Tensor>,
    config: DecoderConfig,
}

/// What the header says about a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorInfo<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: GgmlDType,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Gguf {
    /// Reads and checks the header of a file.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if the file is no GGUF file or is cut short, [`LoadError::Unsupported`] if it holds a
    /// model that the engine does not run.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: path.to_path_buf(), source };
        let file = regular::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let (metadata, tensors, values_end) = Header::read(path, &file, bytes)?;
        let config = read_config(path, &metadata, &tensors)?;
        Ok(Self { path: path.to_path_buf(), file, bytes, values_end, metadata, tensors, config })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A value of the header.
    pub fn value(&self, key: &str) -> Option<&MetaValue> {
        self.metadata.get(key)
    }

    /// All values of the header, in no order.
    pub fn values(&self) -> impl Iterator<Item = (&str, &MetaValue)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A text of the header.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            MetaValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A list of texts of the header.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.value(key)? {
            MetaValue::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// A list of integers of the header.
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.value(key)? {
            MetaValue::Integers(integers) => Some(integers),
            _ => None,
        }
    }

    /// A list of floating point numbers of the header.
    pub fn floats(&self, key: &str) -> Option<&[f32]> {
        match self.value(key)? {
            MetaValue::Floats(floats) => Some(floats),
            _ => None,
        }
    }

    /// A non-negative integer of the header.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        unsigned(&self.metadata, key)
    }

    /// A truth value of the header.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            MetaValue::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// All tensors, in the order of their data.
    pub(crate) fn tensors(&self) -> Vec<TensorInfo<'_>> {
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, tensor)| tensor.start);
        let mut infos = Vec::new();
        for (name, tensor) in tensors {
            infos.push(TensorInfo { name, dtype: tensor.dtype, rows: tensor.rows, columns: tensor.columns });
        }
        infos
    }

    /// The number of header values and the values, byte by byte.
    pub(crate) fn raw_values(&self) -> Result<Vec<u8>, LoadError> {
        // They follow the magic number, the version and the number of tensors.
        self.raw(16, self.values_end.saturating_sub(16) as usize)
    }

    /// Rows of a tensor, byte by byte.
    pub(crate) fn raw_rows(&self, name: &str, rows: &Range<usize>) -> Result<Vec<u8>, LoadError> {
        let Some(tensor) = self.tensors.get(name).filter(|tensor| rows.end <= tensor.rows) else {
            return Err(self.malformed(format!("tensor {name} has no rows {rows:?}")));
        };
        let row_bytes = tensor.columns / tensor.dtype.block_size() * tensor.dtype.type_size();
        self.raw(tensor.start + (rows.start * row_bytes) as u64, rows.len() * row_bytes)
    }

    fn raw(&self, start: u64, length: usize) -> Result<Vec<u8>, LoadError> {
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, start)
            .map_err(|source| LoadError::Io { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    /// Reads rows of a tensor as they are in the file.
    fn read<'a>(
        &self,
        role: Role,
        rows: &Range<usize>,
        memory: &'a mut Vec<u8>,
    ) -> Result<(&Tensor, &'a [u8]), LoadError> {
        let name = tensor_name(role);
        let found = self.tensors.get(&name);
        let Some(tensor) = found.filter(|tensor| rows.start < rows.end && rows.end <= tensor.rows) else {
            return Err(self.malformed(format!("tensor {name} has no rows {rows:?}")));
        };
        let row_bytes = tensor.columns / tensor.dtype.block_size() * tensor.dtype.type_size();
        // candle wants blocks at even addresses.
        memory.resize(row_bytes * rows.len() + 1, 0);
        let skip = memory.as_ptr().align_offset(2);
        let raw = &mut memory[skip..skip + row_bytes * rows.len()];
        self.file
            .read_exact_at(raw, tensor.start + (rows.start * row_bytes) as u64)
            .map_err(|source| LoadError::Io { path: self.path.clone(), source })?;
        Ok((tensor, raw))
    }

    fn malformed(&self, reason: String) -> LoadError {
        LoadError::Malformed { path: self.path.clone(), reason }
    }
}

impl Source for Gguf {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn shape(&self, role: Role) -> Option<(usize, usize)> {
        self.tensors.get(&tensor_name(role)).map(|tensor| (tensor.rows, tensor.columns))
    }

    fn rows(&self, role: Role, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), LoadError> {
        let mut memory = Vec::new();
        let (tensor, raw) = self.read(role, &rows, &mut memory)?;
        out.clear();
        if tensor.dtype == GgmlDType::F32 {
            out.extend(raw.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)));
            return Ok(());
        }
        let name = tensor_name(role);
        let dequantise = || {
            let storage = QStorage::from_data(Cow::Borrowed(raw), &Device::Cpu, tensor.dtype)?;
            let tensor = QTensor::new(storage, (rows.len(), tensor.columns))?.dequantize(&Device::Cpu)?;
            tensor.flatten_all()?.to_vec1::<f32>()
        };
        *out =
            dequantise().map_err(|error| self.malformed(format!("tensor {name} cannot be read: {error}")))?;
        Ok(())
    }

    fn has_levels(&self, role: Role) -> bool {
        let tensor = self.tensors.get(&tensor_name(role));
        tensor.is_some_and(|tensor| matches!(tensor.dtype, GgmlDType::Q4_0 | GgmlDType::Q4_1))
    }

    fn levels(&self, role: Role, rows: Range<usize>, out: &mut Vec<Levels>) -> Result<(), LoadError> {
        let mut memory = Vec::new();
        let (tensor, raw) = self.read(role, &rows, &mut memory)?;
        out.clear();
        for block in raw.chunks_exact(tensor.dtype.type_size()) {
            let (numbers, bytes) = block.split_at(block.len() - 16);
            let numbers = numbers.as_chunks().0;
            let scale = f16::from_le_bytes(numbers[0]);
            let minimum = match numbers.get(1) {
                Some(minimum) => f16::from_le_bytes(*minimum),
                // Without a minimum, level 8 is zero.
                None => f16::from_f32(-8.0 * scale.to_f32()),
            };
            let mut levels = [0; 32];
            for (at, byte) in bytes.iter().enumerate() {
                levels[at] = byte & 15;
                levels[at + 16] = byte >> 4;
            }
            out.push(Levels { scale, minimum, levels });
        }
        Ok(())
    }

    fn place(&self, role: Role) -> (&Path, String) {
        (&self.path, tensor_name(role))
    }

    fn interleaved_rotation(&self) -> bool {
        self.config.architecture == Architecture::Llama
    }
}

fn tensor_name(role: Role) -> String {
    let (layer, part) = match role {
        Role::Embedding => return "token_embd.weight".into(),
        Role::FinalNorm => return "output_norm.weight".into(),
        Role::Head => return "output.weight".into(),
        Role::RopeFactors => return "rope_freqs.weight".into(),
        Role::Layer(layer, part) => (layer, part),
    };
    let part = match part {
        Part::AttentionNorm => "attn_norm.weight",
        Part::Query => "attn_q.weight",
        Part::Key => "attn_k.weight",
        Part::Value => "attn_v.weight",
        Part::QueryBias => "attn_q.bias",
        Part::KeyBias => "attn_k.bias",
        Part::ValueBias => "attn_v.bias",
        Part::QueryNorm => "attn_q_norm.weight",
        Part::KeyNorm => "attn_k_norm.weight",
        Part::AttentionOutput => "attn_output.weight",
        Part::FeedForwardNorm => "ffn_norm.weight",
        Part::Gate => "ffn_gate.weight",
        Part::Up => "ffn_up.weight",
        Part::Down => "ffn_down.weight",
    };
    format!("blk.{layer}.{part}")
}

fn read_config(
    path: &Path,
    metadata: &HashMap<String, MetaValue>,
    tensors: &HashMap<String, Tensor>,
) -> Result<DecoderConfig, LoadError> {
    let malformed = |reason: String| LoadError::Malformed { path: path.to_path_buf(), reason };
    let unsupported = |reason: String| LoadError::Unsupported { path: path.to_path_buf(), reason };
    let Some(MetaValue::Text(name)) = metadata.get("general.architecture") else {
        return Err(malformed("the header has no general.architecture".into()));
    };
    let architecture = Architecture::parse(name).ok_or_else(|| {
        unsupported(format!("the architecture is {name:?}; llama, qwen2 and qwen3 are supported"))
    })?;
    let optional = |key: &str| {
        unsigned(metadata, &format!("{name}.{key}")).map(|value| usize::try_from(value).unwrap_or(usize::MAX))
    };
    let required =
        |key: &str| optional(key).ok_or_else(|| malformed(format!("the header has no number {name}.{key}")));
    let float = |key: &str| match metadata.get(&format!("{name}.{key}")) {
        Some(MetaValue::Float(value)) => Some(*value as f32),
        _ => None,
    };
    if optional("expert_count").unwrap_or(0) > 1 {
        return Err(unsupported("the model is a mixture of experts; dense models are supported".into()));
    }
    let heads = required("attention.head_count")?;
    let hidden = required("embedding_length")?;
    let Some(embedding) = tensors.get(&tensor_name(Role::Embedding)) else {
        return Err(malformed("tensor token_embd.weight is missing".into()));
    };
    let head_dim = optional("attention.key_length")
        .or_else(|| hidden.checked_div(heads))
        .ok_or_else(|| malformed(format!("{name}.attention.head_count is 0")))?;
    if optional("attention.value_length").is_some_and(|value| value != head_dim) {
        return Err(unsupported("key and value heads differ in size".into()));
    }
    if optional("rope.dimension_count").is_some_and(|value| value != head_dim) {
        return Err(unsupported("only a part of each head is rotated".into()));
    }
    let scaling_type = match metadata.get(&format!("{name}.rope.scaling.type")) {
        Some(MetaValue::Text(kind)) => kind.as_str(),
        _ => "none",
    };
    let rope_scaling = match scaling_type {
        "none" | "" => RopeScaling::None,
        "linear" => RopeScaling::Linear(float("rope.scaling.factor").unwrap_or(1.0)),
        other => return Err(unsupported(format!("rotation scaling {other:?} is not supported"))),
    };
    let config = DecoderConfig {
        architecture,
        layers: required("block_count")?,
        hidden,
        intermediate: required("feed_forward_length")?,
        heads,
        kv_heads: optional("attention.head_count_kv").unwrap_or(heads),
        head_dim,
        vocab_size: embedding.rows,
        context_length: required("context_length")?,
        rms_epsilon: float("attention.layer_norm_rms_epsilon")
            .ok_or_else(|| malformed(format!("the header has no {name}.attention.layer_norm_rms_epsilon")))?,
        rope_base: float("rope.freq_base").unwrap_or(10_000.0),
        rope_scaling,
    };
    config.validate().map_err(malformed)?;
    if let Some(MetaValue::Texts(tokens)) = metadata.get("tokenizer.ggml.tokens")
        && tokens.len() != config.vocab_size
    {
        return Err(malformed(format!(
            "the tokenizer has {} tokens, but token_embd.weight has {} rows",
            tokens.len(),
            config.vocab_size
        )));
    }
    Ok(config)
}
