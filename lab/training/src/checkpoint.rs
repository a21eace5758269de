//! What a run needs to go on after a kill as if nothing had happened: parameters, moments and counters, in one file.
//!
//! Invariant: the file is replaced in one step, so there is a whole checkpoint at all times after the first.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::learner::Learner;
use crate::optimiser::Moments;
use crate::peft;

/// Counters of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Optimisation steps done.
    pub(crate) step: usize,
    /// Seconds spent in steps.
    pub(crate) seconds: f64,
    /// Tokens computed, a shared prefix once.
    pub(crate) tokens: u64,
    /// Best validation loss, and the looks since then without a better one.
    pub(crate) best: Option<f64>,
    pub(crate) looks: usize,
}

/// The text beside the tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    progress: Counters,
    /// Settings, base and data that the run must have again.
    fingerprint: String,
}

const KEY: &str = "countermove";

/// Writes a checkpoint.
pub(crate) fn write(
    path: &Path,
    learner: &Learner,
    progress: &Counters,
    fingerprint: &str,
) -> Result<(), TrainError> {
    let mut tensors = Vec::new();
    for (index, (module, moments)) in learner.adapter.modules.iter().zip(&learner.moments).enumerate() {
        for (letter, parameter, moments) in [("a", &module.a, &moments[0]), ("b", &module.b, &moments[1])] {
            tensors.push((format!("{index}.{letter}"), parameter.clone()));
            tensors.push((format!("{index}.{letter}.first"), moments.first.clone()));
            tensors.push((format!("{index}.{letter}.second"), moments.second.clone()));
        }
    }
    for (_, tensor) in &mut tensors {
        // A part of a tensor would bring all that it is a part of.
        *tensor = tensor.force_contiguous()?.to_device(&Device::Cpu)?;
    }
    let header = Header { progress: progress.clone(), fingerprint: fingerprint.to_owned() };
    let text = serde_json::to_string(&header).unwrap_or_default();
    peft::save(path, tensors, Some(HashMap::from([(KEY.to_owned(), text)])))
}

/// Reads a checkpoint into a learner of the same shape.
///
/// # Errors
/// [`TrainError::Checkpoint`] if it is of another run or damaged.
pub(crate) fn read(path: &Path, learner: &mut Learner, fingerprint: &str) -> Result<Counters, TrainError> {
    let fault = |reason: String| TrainError::Checkpoint { path: path.to_path_buf(), reason };
    let bytes = std::fs::read(path).map_err(TrainError::io(path))?;
    let damaged = |error: &dyn std::fmt::Display| {
        fault(format!("the checkpoint is damaged ({error}); delete it to start again"))
    };
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
    let text = metadata.metadata().as_ref().and_then(|map| map.get(KEY));
    let header: Header =
        serde_json::from_str(text.map_or("", String::as_str)).map_err(|error| damaged(&error))?;
    if header.fingerprint != fingerprint {
        return Err(fault(
            "it is of a run with other settings, another base or other data; give another output folder, or delete it \
             to start again"
                .to_owned(),
        ));
    }
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, learner.decoder.kernels().device())
        .map_err(|error| damaged(&error))?;
    let mut take = |name: String, like: &Tensor| {
        tensors
            .remove(&name)
            .filter(|tensor| tensor.shape() == like.shape() && tensor.dtype() == like.dtype())
            .ok_or_else(|| damaged(&format!("{name} is missing or misshapen")))
    };
    let mut all = Vec::new();
    for (index, module) in learner.adapter.modules.iter_mut().enumerate() {
        let mut pair = Vec::new();
        for (letter, parameter) in [("a", &mut module.a), ("b", &mut module.b)] {
            let first = take(format!("{index}.{letter}.first"), parameter)?;
            let second = take(format!("{index}.{letter}.second"), parameter)?;
            *parameter = take(format!("{index}.{letter}"), parameter)?;
            pair.push(Moments { first, second });
        }
        all.extend(<[Moments; 2]>::try_from(pair));
    }
    learner.moments = all;
    Ok(header.progress)
}
