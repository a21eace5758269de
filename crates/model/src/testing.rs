//! Tiny random models for tests, as GGUF bytes.
//!
//! The same description always gives the same bytes. A model may carry the tokenizer of a real GGUF file, so that
//! prompts and grammars work on it; its answers are noise either way. CUDA kernels are run on the CPU by [`emulate`].

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::config::Architecture;
use crate::weights::{Gguf, MetaValue};

/// Compiles a program that includes `emulation.hpp` and CUDA kernels for the CPU, with sizes defined by name, runs it on
/// arrays, and gives those that it makes of them. `None`, with a word on standard error, without a C++ compiler.
///
/// # Errors
/// If it does not compile or fails, with what it said; or if the folder for program and arrays cannot be used.
pub fn emulate(
    folder: &Path,
    source: &Path,
    sizes: &[(&str, usize)],
    arrays: &[Vec<u8>],
) -> io::Result<Option<Vec<Vec<u8>>>> {
    let (program, from, to) = (folder.join("emulate"), folder.join("input"), folder.join("output"));
    let said = |command: &mut Command| {
        let output = command.output()?;
        let said = || io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned());
        if output.status.success() { Ok(()) } else { Err(said()) }
    };
    let compiled = said(
        Command::new("c++")
            .args(["-std=c++20", "-O1", "-pthread"])
            .args(
                std::env::var("COUNTERMOVE_EMULATE_FLAGS").iter().flat_map(|flags| flags.split_whitespace()),
            )
            .args(sizes.iter().map(|(name, value)| format!("-D{name}={value}")))
            .arg("-I")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/candle"))
            .arg("-o")
            .args([&program, source]),
    );
    match compiled {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: no C++ compiler (c++): {error}");
            return Ok(None);
        }
        compiled => compiled?,
    }
    let framed = arrays.iter().flat_map(|array| [(array.len() as u64).to_le_bytes().to_vec(), array.clone()]);
    std::fs::write(&from, framed.flatten().collect::<Vec<u8>>())?;
    said(Command::new(program).args([&from, &to]))?;
    let written = std::fs::read(&to)?;
    let (mut rest, mut found) = (written.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (array, after) = after.split_at(u64::from_le_bytes(*length) as usize);
        found.push(array.to_vec());
        rest = after;
    }
    Ok(Some(found))
}

/// A tiny random decoder.
#[derive(Clone, Debug)]
pub struct TinyModel {
    /// `llama`, `qwen2` or `qwen3`.
    pub architecture: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward network.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Entries of the vocabulary; those of the tokenizer, if one is carried.
    pub vocab_size: usize,
    /// Longest sequence.
    pub context_length: usize,
    /// Whether the output projection is the embedding.
    pub tied: bool,
    /// Seed of the weights.
    pub seed: u64,
    /// Further header values, such as those of a tokenizer.
    pub metadata: Vec<(String, MetaValue)>,
}

impl Default for TinyModel {
    fn default() -> Self {
        Self {
            architecture: "llama",
            layers: 2,
            hidden: 64,
            intermediate: 96,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            vocab_size: 80,
            context_length: 512,
            tied: true,
            seed: 1,
            metadata: Vec::new(),
        }
    }
}

impl TinyModel {
    /// Carries the tokenizer and chat template of a GGUF file.
    #[must_use]
    pub fn with_tokenizer_of(mut self, gguf: &Gguf) -> Self {
        self.metadata.retain(|(key, _)| !key.starts_with("tokenizer."));
        let mut values: Vec<_> = gguf.values().filter(|(key, _)| key.starts_with("tokenizer.")).collect();
        values.sort_by_key(|(key, _)| key.to_owned());
        self.metadata.extend(values.into_iter().map(|(key, value)| (key.to_owned(), value.clone())));
        if let Some(tokens) = gguf.texts("tokenizer.ggml.tokens") {
            self.vocab_size = tokens.len();
        }
        self
    }

    /// Writes the model as a folder with `config.json` and single-precision safetensors in that many shards.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write_safetensors(&self, folder: &Path, shards: usize) -> std::io::Result<()> {
        let config = json!({
            "model_type": self.architecture,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context_length,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": self.tied,
            "hidden_act": "silu",
        });
        std::fs::write(folder.join("config.json"), config.to_string())?;
        let mut random = Random::new(self.seed);
        let mut parts = vec![Vec::new(); shards.max(1)];
        let mut weight_map = Map::new();
        for (index, (name, rows, columns, fill)) in self.tensors().into_iter().enumerate() {
            let mut values = self.fill(&mut random, rows, columns, fill);
            if self.architecture == "llama"
                && (name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight"))
            {
                values = self.halves(&values, columns);
            }
            let shard = index % parts.len();
            let name = published_name(&name);
            weight_map.insert(name.clone(), Value::from(shard_name(shard, parts.len())));
            parts[shard].push((name, rows, columns, values));
        }
        for (shard, part) in parts.iter().enumerate() {
            std::fs::write(folder.join(shard_name(shard, parts.len())), safetensors(part))?;
        }
        if parts.len() > 1 {
            let index = json!({ "weight_map": weight_map });
            std::fs::write(folder.join("model.safetensors.index.json"), index.to_string())?;
        }
        Ok(())
    }

    /// Rows of heads with rotated pairs half a head apart, from rows where they are neighbours.
    fn halves(&self, values: &[f32], columns: usize) -> Vec<f32> {
        let half = self.head_dim / 2;
        let row = |row: usize| {
            let (head, dim) = (row / self.head_dim, row % self.head_dim);
            let from = head * self.head_dim + dim % half * 2 + dim / half;
            &values[from * columns..][..columns]
        };
        (0..values.len() / columns).flat_map(row).copied().collect()
    }

    fn fill(&self, random: &mut Random, rows: usize, columns: usize, fill: Fill) -> Vec<f32> {
        (0..rows * columns)
            .map(|_| match fill {
                Fill::Weight => random.symmetric() * (3.0 / columns as f32).sqrt(),
                Fill::Norm => 1.0 + 0.2 * random.symmetric(),
                Fill::Bias => 0.3 * random.symmetric(),
            })
            .collect()
    }

    /// The model as a GGUF file with single-precision weights.
    pub fn gguf(&self) -> Vec<u8> {
        let mut random = Random::new(self.seed);
        let tensors = self.tensors();
        let values = self.values();
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        for (key, value) in &values {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0_u64;
        for (name, rows, columns, _) in &tensors {
            put_text(&mut out, name);
            let dimensions: &[usize] = if *rows == 1 { &[*columns] } else { &[*columns, *rows] };
            out.extend((dimensions.len() as u32).to_le_bytes());
            for dimension in dimensions {
                out.extend((*dimension as u64).to_le_bytes());
            }
            out.extend(0_u32.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += ((rows * columns * 4) as u64).next_multiple_of(32);
        }
        for (_, rows, columns, fill) in &tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            for value in self.fill(&mut random, *rows, *columns, *fill) {
                out.extend(value.to_le_bytes());
            }
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out
    }

    fn values(&self) -> Vec<(String, MetaValue)> {
        let name = self.architecture;
        let mut values = vec![
            ("general.architecture".to_owned(), MetaValue::Text(name.to_owned())),
            ("general.name".to_owned(), MetaValue::Text("tiny".to_owned())),
            (format!("{name}.attention.layer_norm_rms_epsilon"), MetaValue::Float(1e-5)),
            (format!("{name}.rope.freq_base"), MetaValue::Float(10_000.0)),
        ];
        for (key, value) in [
            ("block_count", self.layers),
            ("context_length", self.context_length),
            ("embedding_length", self.hidden),
            ("feed_forward_length", self.intermediate),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
        ] {
            values.push((format!("{name}.{key}"), MetaValue::Unsigned(value as u64)));
        }
        values.extend(self.metadata.iter().cloned());
        values
    }

    /// Name, rows, columns and kind of every tensor.
    fn tensors(&self) -> Vec<(String, usize, usize, Fill)> {
        let (q, kv, hidden) = (self.heads * self.head_dim, self.kv_heads * self.head_dim, self.hidden);
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), self.vocab_size, hidden, Fill::Weight),
            ("output_norm.weight".to_owned(), 1, hidden, Fill::Norm),
        ];
        if !self.tied {
            tensors.push(("output.weight".to_owned(), self.vocab_size, hidden, Fill::Weight));
        }
        for layer in 0..self.layers {
            let mut add = |part: &str, rows, columns, fill| {
                tensors.push((format!("blk.{layer}.{part}"), rows, columns, fill))
            };
            add("attn_norm.weight", 1, hidden, Fill::Norm);
            add("attn_q.weight", q, hidden, Fill::Weight);
            add("attn_k.weight", kv, hidden, Fill::Weight);
            add("attn_v.weight", kv, hidden, Fill::Weight);
            add("attn_output.weight", hidden, q, Fill::Weight);
            add("ffn_norm.weight", 1, hidden, Fill::Norm);
            add("ffn_gate.weight", self.intermediate, hidden, Fill::Weight);
            add("ffn_up.weight", self.intermediate, hidden, Fill::Weight);
            add("ffn_down.weight", hidden, self.intermediate, Fill::Weight);
            match Architecture::parse(self.architecture) {
                Some(Architecture::Qwen2) => {
                    add("attn_q.bias", 1, q, Fill::Bias);
                    add("attn_k.bias", 1, kv, Fill::Bias);
                    add("attn_v.bias", 1, kv, Fill::Bias);
                }
                Some(Architecture::Qwen3) => {
                    add("attn_q_norm.weight", 1, self.head_dim, Fill::Norm);
                    add("attn_k_norm.weight", 1, self.head_dim, Fill::Norm);
                }
                _ => {}
            }
        }
        tensors
    }
}

/// A tensor's name in safetensors files, from its name in GGUF files.
fn published_name(name: &str) -> String {
    let name = match name {
        "token_embd.weight" => return "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => return "model.norm.weight".to_owned(),
        "output.weight" => return "lm_head.weight".to_owned(),
        name => name.replacen("blk.", "model.layers.", 1),
    };
    [
        ("attn_norm", "input_layernorm"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ]
    .iter()
    .fold(name, |name, (from, to)| name.replace(&format!(".{from}."), &format!(".{to}.")))
}

fn shard_name(shard: usize, shards: usize) -> String {
    match shards {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{shards:05}.safetensors", shard + 1),
    }
}

/// A safetensors file of single-precision tensors: name, rows, columns, values.
pub(crate) fn safetensors(tensors: &[(String, usize, usize, Vec<f32>)]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data = Vec::new();
    for (name, rows, columns, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let shape = if *rows == 1 { json!([columns]) } else { json!([rows, columns]) };
        header.insert(
            name.clone(),
            json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] }),
        );
    }
    let header = Value::Object(header).to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.bytes());
    out.extend(data);
    out
}

/// How a tensor is filled.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Weight,
    Norm,
    Bias,
}

/// Random numbers of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Between -1 and 1.
    pub(crate) fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Below `end`.
    #[cfg(test)]
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &MetaValue) {
    let mut tag = |kind: u32| out.extend(kind.to_le_bytes());
    match value {
        MetaValue::Unsigned(value) => {
            tag(10);
            out.extend(value.to_le_bytes());
        }
        MetaValue::Signed(value) => {
            tag(11);
            out.extend(value.to_le_bytes());
        }
        MetaValue::Float(value) => {
            tag(12);
            out.extend(value.to_le_bytes());
        }
        MetaValue::Bool(value) => {
            tag(7);
            out.push((*value).into());
        }
        MetaValue::Text(text) => {
            tag(8);
            put_text(out, text);
        }
        MetaValue::Texts(texts) => {
            tag(9);
            tag(8);
            out.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| put_text(out, text));
        }
        MetaValue::Integers(integers) => {
            tag(9);
            tag(11);
            out.extend((integers.len() as u64).to_le_bytes());
            integers.iter().for_each(|value| out.extend(value.to_le_bytes()));
        }
        MetaValue::Floats(floats) => {
            tag(9);
            tag(6);
            out.extend((floats.len() as u64).to_le_bytes());
            floats.iter().for_each(|value| out.extend(value.to_le_bytes()));
        }
        MetaValue::Skipped => {
            tag(9);
            tag(7);
            out.extend(0_u64.to_le_bytes());
        }
    }
}
