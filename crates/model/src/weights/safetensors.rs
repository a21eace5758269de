//! A folder with `config.json` and safetensors, in one file or in shards with an index.
//!
//! Headers are checked before anything is allocated: after [`SafetensorsFolder::open`], every tensor's bytes lie
//! inside its file.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde::Deserialize;
use serde_json::Value;

use super::{Part, Role, Source};
use crate::config::{Architecture, DecoderConfig, RopeScaling};
use crate::error::LoadError;
use crate::regular;

/// Longest header of a safetensors file, and longest JSON file, that is read.
const LONGEST_HEADER: u64 = 100 << 20;

/// A folder of safetensors with its configuration.
#[derive(Debug)]
pub(crate) struct SafetensorsFolder {
    folder: PathBuf,
    config: DecoderConfig,
    files: Vec<TensorFile>,
    /// File of each tensor.
    place: HashMap<String, usize>,
    tied: bool,
}

/// Element type of a tensor that the engine reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

#[derive(Debug)]
struct Tensor {
    element: Element,
    rows: usize,
    columns: usize,
    start: u64,
}

/// One safetensors file, open.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    tensors: HashMap<String, Tensor>,
}

impl TensorFile {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if the file is not of this format or is cut short.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: path.to_path_buf(), source };
        let malformed = |reason: String| LoadError::Malformed { path: path.to_path_buf(), reason };
        let mut file = regular::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        if bytes < 8 {
            return Err(malformed("this is not a safetensors file".into()));
        }
        file.read_exact(&mut length).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > bytes - 8 || length > LONGEST_HEADER {
            return Err(malformed(format!(
                "the header claims {length} bytes, but {} follow; the file was cut short or is not a safetensors file",
                bytes - 8
            )));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let header: HashMap<String, Value> = serde_json::from_slice(&header)
            .map_err(|error| malformed(format!("the header is not JSON: {error}")))?;
        let data = 8 + length;
        let mut tensors = HashMap::new();
        for (name, value) in header {
            if name == "__metadata__" {
                continue;
            }
            let info = TensorInfo::deserialize(value)
                .map_err(|error| malformed(format!("the entry of tensor {name} is damaged: {error}")))?;
            if let Some(tensor) = info.check(&name, data, bytes).map_err(malformed)? {
                tensors.insert(name, tensor);
            }
        }
        Ok(Self { path: path.to_path_buf(), file, bytes, tensors })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of its tensors that can be read.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Rows and columns of a tensor. A vector is one row.
    pub(crate) fn shape(&self, name: &str) -> Option<(usize, usize)> {
        self.tensors.get(name).map(|tensor| (tensor.rows, tensor.columns))
    }

    /// Replaces `out` by rows of a tensor.
    ///
    /// # Errors
    /// [`LoadError::Io`] if they cannot be read, [`LoadError::Malformed`] if they are not there.
    pub(crate) fn rows(&self, name: &str, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), LoadError> {
        let found = self.tensors.get(name).filter(|tensor| rows.start < rows.end && rows.end <= tensor.rows);
        let Some(tensor) = found else {
            let reason = format!("tensor {name} has no rows {rows:?}");
            return Err(LoadError::Malformed { path: self.path.clone(), reason });
        };
        let row_bytes = tensor.columns * tensor.element.bytes();
        let mut raw = vec![0; row_bytes * rows.len()];
        self.file
            .read_exact_at(&mut raw, tensor.start + (rows.start * row_bytes) as u64)
            .map_err(|source| LoadError::Io { path: self.path.clone(), source })?;
        out.clear();
        match tensor.element {
            Element::F32 => out.extend(raw.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word))),
            Element::F16 => {
                out.extend(raw.as_chunks().0.iter().map(|word| f16::from_le_bytes(*word).to_f32()))
            }
            Element::Bf16 => {
                out.extend(raw.as_chunks().0.iter().map(|word| bf16::from_le_bytes(*word).to_f32()))
            }
        }
        Ok(())
    }
}

/// A tensor's entry in the header.
#[derive(Deserialize)]
struct TensorInfo {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl TensorInfo {
    /// Checks the entry against the file. `None` for element types that no weight has; they may belong to buffers.
    fn check(&self, name: &str, data: u64, bytes: u64) -> Result<Option<Tensor>, String> {
        let (start, end) = self.data_offsets;
        if start > end || end > bytes - data {
            return Err(format!(
                "tensor {name} ends at {end} of {} bytes; the file was cut short, fetch it again",
                bytes - data
            ));
        }
        let element = match self.dtype.as_str() {
            "F32" => Element::F32,
            "F16" => Element::F16,
            "BF16" => Element::Bf16,
            _ => return Ok(None),
        };
        let (rows, columns) = match self.shape.as_slice() {
            [columns] => (1, *columns),
            [rows, columns] => (*rows, *columns),
            _ => return Ok(None),
        };
        let size = rows.checked_mul(columns).and_then(|count| count.checked_mul(element.bytes() as u64));
        if size != Some(end - start) || rows == 0 || columns == 0 {
            return Err(format!("tensor {name} has the shape {:?}, but {} bytes", self.shape, end - start));
        }
        // Both fit: their product is smaller than the file.
        Ok(Some(Tensor { element, rows: rows as usize, columns: columns as usize, start: data + start }))
    }
}

/// Reads a JSON file of reasonable length.
///
/// # Errors
/// [`LoadError`] naming the file.
pub(crate) fn read_json(path: &Path) -> Result<Value, LoadError> {
    let io = |source| LoadError::Io { path: path.to_path_buf(), source };
    let malformed = |reason: String| LoadError::Malformed { path: path.to_path_buf(), reason };
    let file = regular::open(path).map_err(io)?;
    let mut text = Vec::new();
    file.take(LONGEST_HEADER + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > LONGEST_HEADER {
        return Err(malformed("the file is far too long for what it should hold".into()));
    }
    serde_json::from_slice(&text).map_err(|error| malformed(format!("the file is not JSON: {error}")))
}

/// What a model is read from besides its weights, as far as it is there: who changes one of these changes its answers as well.
const BESIDE_WEIGHTS: [&str; 5] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

impl SafetensorsFolder {
    /// Reads the configuration and the header of every file.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        let config_path = folder.join("config.json");
        let json = read_json(&config_path)?;
        let config = read_config(&config_path, &json)?;
        let tied = json.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
        let index = folder.join("model.safetensors.index.json");
        let names = if index.exists() {
            shard_names(&index)?
        } else {
            BTreeSet::from(["model.safetensors".to_owned()])
        };
        let mut files = Vec::new();
        let mut place = HashMap::new();
        for name in names {
            let file = TensorFile::open(&folder.join(name))?;
            place.extend(file.names().map(|name| (name.to_owned(), files.len())));
            files.push(file);
        }
        let found = Self { folder: folder.to_path_buf(), config, files, place, tied };
        if !tied && found.shape(Role::Head).is_none() {
            let (path, name) = found.place(Role::Head);
            let reason =
                format!("tensor {name} is missing, and config.json does not tie it to the embedding");
            return Err(LoadError::Malformed { path: path.to_path_buf(), reason });
        }
        Ok(found)
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every file that answers follow from: weight files in the order of their names, then what else the model is read from.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let weights = self.files.iter().map(|file| file.path.clone());
        let others = BESIDE_WEIGHTS.iter().map(|name| self.folder.join(name)).filter(|path| path.exists());
        weights.chain(others).collect()
    }

    /// Where a tensor's data is, if it is there.
    pub(crate) fn tensor_place(&self, name: &str) -> Option<TensorPlace<'_>> {
        let file = self.files.get(*self.place.get(name)?)?;
        let tensor = file.tensors.get(name)?;
        Some(TensorPlace {
            path: &file.path,
            start: tensor.start,
            rows: tensor.rows,
            element: tensor.element,
        })
    }

    /// Bytes of all weight files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Where a tensor's data is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorPlace<'a> {
    pub(crate) path: &'a Path,
    pub(crate) start: u64,
    pub(crate) rows: usize,
    element: Element,
}

impl TensorPlace<'_> {
    /// Values as the file holds them.
    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self.element {
            Element::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Element::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Element::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

impl Source for SafetensorsFolder {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn shape(&self, role: Role) -> Option<(usize, usize)> {
        if role == Role::Head && self.tied {
            return None;
        }
        let name = tensor_name(role)?;
        self.files[*self.place.get(&name)?].shape(&name)
    }

    fn rows(&self, role: Role, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), LoadError> {
        let (path, name) = self.place(role);
        match self.place.get(&name) {
            Some(&file) => self.files[file].rows(&name, rows, out),
            None => {
                let reason = format!("tensor {name} is missing");
                Err(LoadError::Malformed { path: path.to_path_buf(), reason })
            }
        }
    }

    fn place(&self, role: Role) -> (&Path, String) {
        let name = tensor_name(role).unwrap_or_default();
        match self.place.get(&name) {
            Some(&file) => (&self.files[file].path, name),
            None => (&self.folder, name),
        }
    }

    fn interleaved_rotation(&self) -> bool {
        false
    }
}

/// Files that an index names.
pub(crate) fn shard_names(path: &Path) -> Result<BTreeSet<String>, LoadError> {
    let malformed =
        |reason: &str| LoadError::Malformed { path: path.to_path_buf(), reason: reason.to_owned() };
    let json = read_json(path)?;
    let map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| malformed("there is no weight_map"))?;
    let mut names = BTreeSet::new();
    for name in map.values() {
        let name = name.as_str().ok_or_else(|| malformed("weight_map has an entry that is no file name"))?;
        // A shard lies beside its index: a name with a folder in it could point anywhere.
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with("..") {
            return Err(malformed("weight_map has an entry that is no file name"));
        }
        names.insert(name.to_owned());
    }
    Ok(names)
}

/// A tensor's name in such files; `None` if they never hold it.
pub(crate) fn tensor_name(role: Role) -> Option<String> {
    let (layer, part) = match role {
        Role::Embedding => return Some("model.embed_tokens.weight".into()),
        Role::FinalNorm => return Some("model.norm.weight".into()),
        Role::Head => return Some("lm_head.weight".into()),
        Role::RopeFactors => return None,
        Role::Layer(layer, part) => (layer, part),
    };
    let part = match part {
        Part::AttentionNorm => "input_layernorm.weight",
        Part::Query => "self_attn.q_proj.weight",
        Part::Key => "self_attn.k_proj.weight",
        Part::Value => "self_attn.v_proj.weight",
        Part::QueryBias => "self_attn.q_proj.bias",
        Part::KeyBias => "self_attn.k_proj.bias",
        Part::ValueBias => "self_attn.v_proj.bias",
        Part::QueryNorm => "self_attn.q_norm.weight",
        Part::KeyNorm => "self_attn.k_norm.weight",
        Part::AttentionOutput => "self_attn.o_proj.weight",
        Part::FeedForwardNorm => "post_attention_layernorm.weight",
        Part::Gate => "mlp.gate_proj.weight",
        Part::Up => "mlp.up_proj.weight",
        Part::Down => "mlp.down_proj.weight",
    };
    Some(format!("model.layers.{layer}.{part}"))
}

fn read_config(path: &Path, json: &Value) -> Result<DecoderConfig, LoadError> {
    let malformed = |reason: String| LoadError::Malformed { path: path.to_path_buf(), reason };
    let unsupported = |reason: String| LoadError::Unsupported { path: path.to_path_buf(), reason };
    let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let architecture = match kind {
        "mistral" if json.get("sliding_window").is_none_or(Value::is_null) => Some(Architecture::Llama),
        kind => Architecture::parse(kind),
    };
    let architecture = architecture.ok_or_else(|| {
        unsupported(format!("model_type is {kind:?}; llama, qwen2 and qwen3 are supported"))
    })?;
    let flag = |key: &str| json.get(key).and_then(Value::as_bool).unwrap_or(false);
    if flag("use_sliding_window") {
        return Err(unsupported("sliding-window attention is not supported".into()));
    }
    if flag("mlp_bias") || (flag("attention_bias") && architecture != Architecture::Qwen2) {
        return Err(unsupported("biases on these projections are not supported".into()));
    }
    if let Some(other) = json.get("hidden_act").and_then(Value::as_str)
        && other != "silu"
    {
        return Err(unsupported(format!("the activation is {other:?}; silu is supported")));
    }
    let optional = |key: &str| {
        json.get(key).and_then(Value::as_u64).map(|value| usize::try_from(value).unwrap_or(usize::MAX))
    };
    let required = |key: &str| optional(key).ok_or_else(|| malformed(format!("there is no number {key}")));
    let (hidden, heads) = (required("hidden_size")?, required("num_attention_heads")?);
    let head_dim = optional("head_dim")
        .or_else(|| hidden.checked_div(heads))
        .ok_or_else(|| malformed("num_attention_heads is 0".into()))?;
    // Newer files keep the base beside the scaling.
    let scaling =
        json.get("rope_parameters").or_else(|| json.get("rope_scaling")).filter(|value| !value.is_null());
    let rope_base = json
        .get("rope_theta")
        .or_else(|| scaling.and_then(|scaling| scaling.get("rope_theta")))
        .and_then(Value::as_f64)
        .unwrap_or(10_000.0);
    let rope_scaling = match scaling {
        None => RopeScaling::None,
        Some(scaling) => {
            let number = |key: &str| {
                let value = scaling.get(key).and_then(Value::as_f64);
                value
                    .map(|value| value as f32)
                    .ok_or_else(|| malformed(format!("rope_scaling has no number {key}")))
            };
            let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
            match kind.unwrap_or("default") {
                "default" => RopeScaling::None,
                "linear" => RopeScaling::Linear(number("factor")?),
                "llama3" => RopeScaling::Llama3 {
                    factor: number("factor")?,
                    low: number("low_freq_factor")?,
                    high: number("high_freq_factor")?,
                    original_context: number("original_max_position_embeddings")?,
                },
                other => return Err(unsupported(format!("rotation scaling {other:?} is not supported"))),
            }
        }
    };
    let config = DecoderConfig {
        architecture,
        layers: required("num_hidden_layers")?,
        hidden,
        intermediate: required("intermediate_size")?,
        heads,
        kv_heads: optional("num_key_value_heads").unwrap_or(heads),
        head_dim,
        vocab_size: required("vocab_size")?,
        context_length: required("max_position_embeddings")?,
        rms_epsilon: json.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6) as f32,
        rope_base: rope_base as f32,
        rope_scaling,
    };
    config.validate().map_err(malformed)?;
    Ok(config)
}
