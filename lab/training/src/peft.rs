//! Adapters in the files of Hugging Face PEFT: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use countermove_model::{BaseModel, Factors, Part, Role};
use serde_json::{Value, json};

use crate::error::TrainError;
use crate::settings::Stored;

/// Writes an adapter's folder. Files appear whole or not at all.
///
/// # Errors
/// [`TrainError::Io`] if it cannot be written.
pub(crate) fn write(
    folder: &Path,
    factors: &[(Role, Factors)],
    base_name: &str,
    dropout: f32,
    stored: Stored,
) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
    let dtype = match stored {
        Stored::Bf16 => DType::BF16,
        Stored::F32 => DType::F32,
    };
    let mut tensors = Vec::new();
    for (role, factors) in factors {
        let Some(names) = BaseModel::factor_names(*role) else { continue };
        let shapes = [
            (factors.rank, factors.a.len() / factors.rank.max(1)),
            (factors.b.len() / factors.rank.max(1), factors.rank),
        ];
        for ((name, shape), values) in names.into_iter().zip(shapes).zip([&factors.a, &factors.b]) {
            tensors.push((name, Tensor::from_slice(values, shape, &Device::Cpu)?.to_dtype(dtype)?));
        }
    }
    let (rank, scale) = factors.first().map_or((1, 1.0), |(_, factors)| (factors.rank, factors.scale));
    let targets: BTreeSet<&str> = factors.iter().filter_map(|(role, _)| module_name(*role)).collect();
    let config = json!({
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": f64::from(scale) * rank as f64,
        "lora_dropout": (f64::from(dropout) * 1e6).round() / 1e6,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    save(&folder.join("adapter_model.safetensors"), tensors, Some(metadata))?;
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    replace(&folder.join("adapter_config.json"), text.as_bytes())
}

/// Notes in an adapter's folder by which temperature the logarithms of the probabilities that it gives to options are to be
/// divided: what calibration on held-out data found. Training the adapter further takes it out again.
///
/// # Errors
/// [`TrainError::Setting`] if it is not from 0.01 to 100, [`TrainError::Io`] or [`TrainError::Data`] if the folder holds no
/// adapter.
pub fn set_calibration(folder: &Path, temperature: f64) -> Result<(), TrainError> {
    if !(0.01..=100.0).contains(&temperature) {
        return Err(TrainError::Setting {
            name: "temperature",
            value: temperature.to_string(),
            expected: "from 0.01 to 100",
        });
    }
    let path = folder.join("adapter_config.json");
    let text = std::fs::read(&path).map_err(TrainError::io(&path))?;
    let data = |reason: String| TrainError::Data { path: path.clone(), reason };
    let mut config: Value =
        serde_json::from_slice(&text).map_err(|error| data(format!("it is not JSON: {error}")))?;
    let Some(keys) = config.as_object_mut() else { return Err(data("it is not a JSON object".to_owned())) };
    keys.insert("countermove_calibration".to_owned(), json!({ "temperature": temperature }));
    let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    replace(&path, text.as_bytes())
}

/// Writes tensors to a file of safetensors, whole or not at all.
pub(crate) fn save(
    path: &Path,
    tensors: Vec<(String, Tensor)>,
    metadata: Option<std::collections::HashMap<String, String>>,
) -> Result<(), TrainError> {
    let bytes = safetensors::serialize(tensors, metadata)
        .map_err(|error| TrainError::Io { path: path.to_path_buf(), source: std::io::Error::other(error) })?;
    replace(path, &bytes)
}

/// Replaces a file in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&part)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(TrainError::io(path))
}

/// A projection's name in PEFT's configuration.
fn module_name(role: Role) -> Option<&'static str> {
    match role {
        Role::Layer(_, Part::Query) => Some("q_proj"),
        Role::Layer(_, Part::Key) => Some("k_proj"),
        Role::Layer(_, Part::Value) => Some("v_proj"),
        Role::Layer(_, Part::AttentionOutput) => Some("o_proj"),
        Role::Layer(_, Part::Gate) => Some("gate_proj"),
        Role::Layer(_, Part::Up) => Some("up_proj"),
        Role::Layer(_, Part::Down) => Some("down_proj"),
        _ => None,
    }
}
