//! GGUF: header and tensors, checked before anything is allocated.
//!
//! The header is read by our own parser, because a file is untrusted input: every count is compared with the bytes
//! that are left in the file first. The blocks of a tensor are then handed to candle for dequantisation.
//!
//! Invariant: after [`Gguf::open`], every tensor's bytes lie inside the file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;

use super::{Levels, Part, Role, Source};
use crate::config::{Architecture, DecoderConfig, RopeScaling};
use crate::error::LoadError;

/// A value in a GGUF header.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Any floating point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text; bytes that are not UTF-8 are replaced.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of integers.
    Integers(Vec<i64>),
    /// A list of floating point numbers.
    Floats(Vec<f32>),
    /// A list of a kind that no model needs (of lists, of truth values); its content is skipped.
    Skipped,
}

/// An open GGUF file: its header, and access to its tensors.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: Mutex<File>,
    bytes: u64,
    metadata: HashMap<String, MetaValue>,
    tensors: HashMap<String, Tensor>,
    config: DecoderConfig,
}

/// Where a tensor is in the file.
#[derive(Clone, Debug)]
struct Tensor {
    dtype: GgmlDType,
    rows: usize,
    columns: usize,
    start: u64,
}

impl Gguf {
    /// Reads and checks the header of a file.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if the file is no GGUF file or is cut short, [`LoadError::Unsupported`] if it holds a
    /// model that the engine does not run.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let (metadata, tensors) = Header::read(path, &file, bytes)?;
        let config = read_config(path, &metadata, &tensors)?;
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(file), bytes, metadata, tensors, config })
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
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(tensor.start + (rows.start * row_bytes) as u64))
            .and_then(|_| file.read_exact(raw))
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

fn unsigned(metadata: &HashMap<String, MetaValue>, key: &str) -> Option<u64> {
    match metadata.get(key)? {
        MetaValue::Unsigned(value) => Some(*value),
        MetaValue::Signed(value) => u64::try_from(*value).ok(),
        _ => None,
    }
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

/// Reader of a header that knows how many bytes the file has left.
struct Header<'a> {
    path: &'a Path,
    reader: BufReader<&'a File>,
    position: u64,
    end: u64,
}

/// Deepest nesting of lists.
const DEEPEST: usize = 4;
/// Most dimensions of a tensor in the format.
const MOST_DIMENSIONS: u32 = 4;

type Parsed = (HashMap<String, MetaValue>, HashMap<String, Tensor>);

impl<'a> Header<'a> {
    fn read(path: &'a Path, file: &'a File, bytes: u64) -> Result<Parsed, LoadError> {
        let mut header =
            Self { path, reader: BufReader::with_capacity(1 << 16, file), position: 0, end: bytes };
        if bytes < 24 || &header.array::<4>()? != b"GGUF" {
            return Err(header.malformed("this is not a GGUF file"));
        }
        match header.u32()? {
            2 | 3 => {}
            1 => return Err(header.malformed("GGUF version 1 is too old; convert the model again")),
            version if version.swap_bytes() <= 3 => {
                return Err(header.malformed("the file is big-endian; a little-endian one is needed"));
            }
            version => return Err(header.malformed(format!("GGUF version {version} is not known"))),
        }
        let tensor_count = header.count("tensors", 24)?;
        let value_count = header.count("header values", 13)?;
        let mut metadata = HashMap::new();
        for _ in 0..value_count {
            let key = header.string()?;
            let kind = header.u32()?;
            let value = header.value(kind, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(header.malformed(format!("the header has {key:?} twice")));
            }
        }
        let mut infos = Vec::new();
        for _ in 0..tensor_count {
            infos.push(header.tensor()?);
        }
        let alignment = unsigned(&metadata, "general.alignment").unwrap_or(32);
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(header.malformed(format!("the alignment is {alignment}")));
        }
        let data = header.position.next_multiple_of(alignment);
        let mut tensors = HashMap::new();
        for (name, mut tensor, size) in infos {
            let start = data.checked_add(tensor.start);
            match start.and_then(|start| start.checked_add(size)) {
                Some(end) if end <= bytes => tensor.start = end - size,
                end => {
                    let wanted = end.map_or_else(|| "more".to_string(), |end| end.to_string());
                    return Err(header.malformed(format!(
                        "the file has {bytes} bytes, but tensor {name} ends at {wanted}; it was cut short, fetch it again"
                    )));
                }
            }
            if tensors.contains_key(&name) {
                return Err(header.malformed(format!("tensor {name} is there twice")));
            }
            tensors.insert(name, tensor);
        }
        Ok((metadata, tensors))
    }

    /// Name, place relative to the data and size of the next tensor.
    fn tensor(&mut self) -> Result<(String, Tensor, u64), LoadError> {
        let name = self.string()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MOST_DIMENSIONS {
            return Err(self.malformed(format!("tensor {name} has {dimensions} dimensions")));
        }
        let mut lengths = [1_u64; MOST_DIMENSIONS as usize];
        for length in lengths.iter_mut().take(dimensions as usize) {
            *length = self.u64()?;
        }
        let code = self.u32()?;
        let start = self.u64()?;
        let Some(dtype) = block_type(code) else {
            return Err(LoadError::Unsupported {
                path: self.path.to_path_buf(),
                reason: format!(
                    "tensor {name} has GGUF type {code}; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and Q2_K to Q6_K are supported"
                ),
            });
        };
        let columns = lengths[0];
        let rows = lengths[1..].iter().try_fold(1_u64, |product, length| product.checked_mul(*length));
        let size = rows.and_then(|rows| {
            let blocks = columns.is_multiple_of(dtype.block_size() as u64).then_some(columns)?;
            (blocks / dtype.block_size() as u64).checked_mul(dtype.type_size() as u64)?.checked_mul(rows)
        });
        let (Some(rows), Some(size)) = (rows, size.filter(|size| *size > 0)) else {
            return Err(self.malformed(format!("tensor {name} has impossible dimensions {lengths:?}")));
        };
        if size > self.end {
            return Err(self.malformed(format!(
                "tensor {name} takes {size} bytes, but the file has {}; it was cut short, fetch it again",
                self.end
            )));
        }
        // Both fit: neither is larger than the number of bytes in the file times a block's 256 weights.
        Ok((name, Tensor { dtype, rows: rows as usize, columns: columns as usize, start }, size))
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<MetaValue, LoadError> {
        Ok(match kind {
            0 => MetaValue::Unsigned(self.array::<1>()?[0].into()),
            1 => MetaValue::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => MetaValue::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => MetaValue::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => MetaValue::Unsigned(self.u32()?.into()),
            5 => MetaValue::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => MetaValue::Float(f32::from_le_bytes(self.array()?).into()),
            7 => MetaValue::Bool(self.array::<1>()?[0] != 0),
            8 => MetaValue::Text(self.string()?),
            9 => self.list(depth)?,
            10 => MetaValue::Unsigned(self.u64()?),
            11 => MetaValue::Signed(i64::from_le_bytes(self.array()?)),
            12 => MetaValue::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.malformed(format!("the header has a value of unknown type {other}"))),
        })
    }

    fn list(&mut self, depth: usize) -> Result<MetaValue, LoadError> {
        if depth == DEEPEST {
            return Err(self.malformed("the header nests lists too deeply"));
        }
        let kind = self.u32()?;
        let smallest = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            9 => 12,
            _ => 8,
        };
        let count = self.count("elements of a list", smallest)?;
        Ok(match kind {
            8 => {
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string()?);
                }
                MetaValue::Texts(texts)
            }
            0..=5 | 10 | 11 => {
                let mut integers = Vec::new();
                for _ in 0..count {
                    integers.push(match self.value(kind, depth)? {
                        MetaValue::Unsigned(value) => i64::try_from(value).unwrap_or(i64::MAX),
                        MetaValue::Signed(value) => value,
                        _ => 0,
                    });
                }
                MetaValue::Integers(integers)
            }
            6 | 12 => {
                let mut floats = Vec::new();
                for _ in 0..count {
                    if let MetaValue::Float(value) = self.value(kind, depth)? {
                        floats.push(value as f32);
                    }
                }
                MetaValue::Floats(floats)
            }
            _ => {
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
                MetaValue::Skipped
            }
        })
    }

    /// A count of things that take at least `smallest` bytes each in what is left of the file.
    fn count(&mut self, what: &str, smallest: u64) -> Result<u64, LoadError> {
        let count = self.u64()?;
        let left = self.end - self.position;
        if count > left / smallest {
            return Err(self.malformed(format!(
                "the header claims {count} {what}, but only {left} bytes follow; the file was cut short or is damaged"
            )));
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<String, LoadError> {
        let length = self.count("bytes of text", 1)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), LoadError> {
        if bytes.len() as u64 > self.end - self.position {
            return Err(self.malformed("the file ends within its header; it was cut short, fetch it again"));
        }
        self.reader
            .read_exact(bytes)
            .map_err(|source| LoadError::Io { path: self.path.to_path_buf(), source })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn malformed(&self, reason: impl Into<String>) -> LoadError {
        LoadError::Malformed { path: self.path.to_path_buf(), reason: reason.into() }
    }
}

/// Block format by its number in the file.
fn block_type(code: u32) -> Option<GgmlDType> {
    Some(match code {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
