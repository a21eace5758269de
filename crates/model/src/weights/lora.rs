//! Low-rank adapters in PEFT's format, merged into the weights as they are read.
//!
//! A projection W becomes W + scale · B · A. Rows of the sum are computed when rows of W are read, so merging takes no
//! memory beside the adapter itself.
//!
//! `adapter_config.json` may hold, beside PEFT's own keys, `"countermove_calibration": {"temperature": T}`: how much surer
//! the tuned model is of its answers than it should be. The logarithms of the probabilities of weighed options are divided
//! by it; absent, it is 1.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::safetensors::{TensorFile, read_json, tensor_name};
use super::{Part, Role, Source};
use crate::base::Factors;
use crate::digest::sha256_files;
use crate::error::LoadError;

/// An adapter, in memory.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// `adapter_config.json`, which holds the scale, and the factors.
    paths: [PathBuf; 2],
    factors: HashMap<Role, Factors>,
    calibration: f32,
}

/// Temperatures of a calibration beyond which nothing that was measured can lie.
const CALIBRATIONS: RangeInclusive<f64> = 0.01..=100.0;

/// Projections that an adapter may change.
pub(crate) const PARTS: [Part; 7] =
    [Part::Query, Part::Key, Part::Value, Part::AttentionOutput, Part::Gate, Part::Up, Part::Down];

impl Adapter {
    /// Reads an adapter's folder and checks it against the weights that it is for.
    ///
    /// # Errors
    /// [`LoadError::AdapterBase`] if it was made for another base, [`LoadError::Malformed`] if a factor is missing,
    /// [`LoadError::Unsupported`] if the adapter changes more than projections.
    pub(crate) fn open(folder: &Path, base: &dyn Source) -> Result<Self, LoadError> {
        let config_path = folder.join("adapter_config.json");
        let json = read_json(&config_path)?;
        let scale_for = scale(&config_path, &json)?;
        let calibration = calibration(&config_path, &json)?;
        let file = TensorFile::open(&folder.join("adapter_model.safetensors"))?;
        let malformed = |reason: String| LoadError::Malformed { path: file.path().to_path_buf(), reason };
        let foreign = |reason: String| LoadError::AdapterBase {
            path: file.path().to_path_buf(),
            base: base.place(Role::Embedding).0.to_path_buf(),
            reason,
        };
        let mut factors = HashMap::new();
        let mut known = 0;
        let layers = base.config().layers;
        for role in (0..layers).flat_map(|layer| PARTS.map(|part| Role::Layer(layer, part))) {
            let Some([a_name, b_name]) = factor_names(role) else {
                continue;
            };
            let (a_shape, b_shape) = match (file.shape(&a_name), file.shape(&b_name)) {
                (Some(a), Some(b)) => (a, b),
                (None, None) => continue,
                _ => return Err(malformed(format!("only one of {a_name} and {b_name} is there"))),
            };
            let (rows, columns) = base.shape(role).unwrap_or_default();
            let rank = a_shape.0;
            if a_shape.1 != columns || b_shape != (rows, rank) {
                return Err(foreign(format!(
                    "{a_name} and {b_name} have the shapes {a_shape:?} and {b_shape:?}, but the base has {rows} rows of \
                     {columns} there"
                )));
            }
            let (mut a, mut b) = (Vec::new(), Vec::new());
            file.rows(&a_name, 0..rank, &mut a)?;
            file.rows(&b_name, 0..rows, &mut b)?;
            known += 2;
            factors.insert(role, Factors { rank, scale: scale_for.of(rank), a, b });
        }
        if known == 0 {
            return Err(foreign("it changes no projection that the base has".into()));
        }
        let belongs = |name: &&str| name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight");
        if let Some(other) = file.names().find(|name| !belongs(name)) {
            let reason =
                format!("tensor {other} is no factor of a projection; only LoRA on projections is supported");
            return Err(LoadError::Unsupported { path: file.path().to_path_buf(), reason });
        }
        if file.names().count() != known {
            return Err(foreign(format!(
                "{} of its tensors belong to no projection of the base",
                file.names().count() - known
            )));
        }
        Ok(Self { paths: [config_path, file.path().to_path_buf()], factors, calibration })
    }

    /// Temperature of the probabilities of options.
    pub(crate) fn calibration(&self) -> f32 {
        self.calibration
    }

    /// Whether the adapter changes a tensor.
    pub(crate) fn changes(&self, role: Role) -> bool {
        self.factors.contains_key(&role)
    }

    /// Adds the adapter's change to rows of the base.
    pub(crate) fn add(&self, base: &dyn Source, role: Role, rows: Range<usize>, values: &mut [f32]) {
        let Some(factors) = self.factors.get(&role) else {
            return;
        };
        let columns = (values.len() / rows.len().max(1)).max(1);
        for (row, values) in rows.zip(values.chunks_mut(columns)) {
            let row = adapter_row(base, role, row);
            let weights = &factors.b[row * factors.rank..][..factors.rank];
            for (weight, direction) in weights.iter().zip(factors.a.chunks(columns)) {
                let weight = weight * factors.scale;
                values.iter_mut().zip(direction).for_each(|(value, a)| *value += weight * a);
            }
        }
    }

    /// One SHA-256 for configuration and factors: the same factors with another scale are another adapter.
    ///
    /// # Errors
    /// [`LoadError::Io`] if a file cannot be read.
    pub(crate) fn sha256(&self) -> Result<String, LoadError> {
        sha256_files(&self.paths)
    }
}

/// The factors of an adapter, in the order of the layers.
///
/// # Errors
/// As [`Adapter::open`].
pub(crate) fn read_adapter(folder: &Path, base: &dyn Source) -> Result<Vec<(Role, Factors)>, LoadError> {
    let mut adapter = Adapter::open(folder, base)?;
    let roles = (0..base.config().layers).flat_map(|layer| PARTS.map(|part| Role::Layer(layer, part)));
    Ok(roles.filter_map(|role| Some((role, adapter.factors.remove(&role)?))).collect())
}

/// Names of the two factors of a projection in PEFT's files.
pub(crate) fn factor_names(role: Role) -> Option<[String; 2]> {
    let name = tensor_name(role)?;
    let stem = name.strip_suffix(".weight")?;
    Some(["A", "B"].map(|factor| format!("base_model.model.{stem}.lora_{factor}.weight")))
}

/// How the factors' product is scaled.
#[derive(Clone, Copy, Debug)]
struct Scale {
    alpha: f32,
    by_root: bool,
}

impl Scale {
    fn of(self, rank: usize) -> f32 {
        let rank = rank as f32;
        self.alpha / if self.by_root { rank.sqrt() } else { rank }
    }
}

fn scale(path: &Path, json: &Value) -> Result<Scale, LoadError> {
    let unsupported = |what: &str| {
        let reason = format!("{what} is not supported; plain LoRA on projections is");
        LoadError::Unsupported { path: path.to_path_buf(), reason }
    };
    let kind = json.get("peft_type").and_then(Value::as_str).unwrap_or("LORA");
    if kind != "LORA" {
        return Err(unsupported(&format!("peft_type {kind:?}")));
    }
    for key in ["use_dora", "fan_in_fan_out", "use_qalora"] {
        if json.get(key).and_then(Value::as_bool).unwrap_or(false) {
            return Err(unsupported(key));
        }
    }
    if json.get("bias").and_then(Value::as_str).unwrap_or("none") != "none" {
        return Err(unsupported("a trained bias"));
    }
    let is_empty = |key: &str| json.get(key).and_then(Value::as_object).is_none_or(|map| map.is_empty());
    if !is_empty("alpha_pattern") {
        return Err(unsupported("alpha_pattern"));
    }
    let alpha = json.get("lora_alpha").and_then(Value::as_f64).map(|alpha| alpha as f32);
    match alpha.filter(|alpha| alpha.is_finite()) {
        Some(alpha) => {
            let by_root = json.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
            Ok(Scale { alpha, by_root })
        }
        None => Err(LoadError::Malformed {
            path: path.to_path_buf(),
            reason: "there is no number lora_alpha".to_owned(),
        }),
    }
}

/// The temperature of the calibration.
fn calibration(path: &Path, json: &Value) -> Result<f32, LoadError> {
    let Some(calibration) = json.get("countermove_calibration") else { return Ok(1.0) };
    let temperature = calibration.get("temperature").and_then(Value::as_f64);
    let sound = temperature.filter(|temperature| CALIBRATIONS.contains(temperature));
    sound.map(|temperature| temperature as f32).ok_or_else(|| LoadError::Malformed {
        path: path.to_path_buf(),
        reason: format!(
            "countermove_calibration has no number temperature from {} to {}",
            CALIBRATIONS.start(),
            CALIBRATIONS.end()
        ),
    })
}

/// Row of an adapter that belongs to a row of the base: adapters never alternate the halves of rotated pairs.
fn adapter_row(base: &dyn Source, role: Role, row: usize) -> usize {
    let head_dim = base.config().head_dim;
    match role {
        Role::Layer(_, Part::Query | Part::Key) if base.interleaved_rotation() => {
            let dim = row % head_dim;
            row - dim + dim / 2 + dim % 2 * (head_dim / 2)
        }
        _ => row,
    }
}
