//! Where a model computes, and the backend that does it there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, DeviceMemory, Feed, LogitRows, Shape};
use crate::candle::CandleBackend;
use crate::cpu::CpuBackend;
use crate::error::EngineError;
use crate::kv::{Scope, Sequence};

/// Where a model computes. Parsed from `cpu`, `cuda:N` or `cuda:N:FORMAT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Device {
    /// This machine's CPUs, with weights as [`LoadOptions::weights`](crate::LoadOptions::weights) says.
    #[default]
    Cpu,
    /// A CUDA GPU. Only builds with the feature `cuda` have it.
    Cuda {
        /// Number of the GPU among those that the process sees.
        ordinal: usize,
        /// How matrices are held on it.
        weights: DeviceWeights,
    },
    /// The code that runs on GPUs, on a CPU: slow, for comparisons.
    CandleCpu {
        /// How matrices are held.
        weights: DeviceWeights,
    },
}

/// How matrices are held on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceWeights {
    /// 16-bit floating point, as most models are published.
    #[default]
    Bf16,
    /// 32-bit floating point: the reference.
    F32,
    /// Eight bits and a scale for each 32 weights.
    Q8_0,
    /// About 4.5 bits a weight; matrices whose rows do not divide by 256 are held as Q8_0.
    Q4K,
}

impl DeviceWeights {
    const ALL: [(&'static str, Self); 4] =
        [("bf16", Self::Bf16), ("f32", Self::F32), ("q8_0", Self::Q8_0), ("q4_k", Self::Q4K)];
}

impl fmt::Display for DeviceWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, weights)| weights == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal, weights } => write!(f, "cuda:{ordinal}:{weights}"),
            Self::CandleCpu { weights } => write!(f, "candle-cpu:{weights}"),
        }
    }
}

/// A device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not the name of a device.
    #[error("{0:?} is no device; give cpu, cuda:N or cuda:N:FORMAT, where FORMAT is bf16, f32, q8_0 or q4_k")]
    Unknown(String),
    /// A GPU, in a build without CUDA.
    #[error("{0} needs a build for CUDA, and this one runs on CPUs only; build it with `make cuda`")]
    NotBuilt(String),
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        let unknown = || DeviceError::Unknown(text.to_owned());
        let mut parts = text.split(':');
        if parts.next() != Some("cuda") {
            return Err(unknown());
        }
        let ordinal = parts.next().and_then(|number| number.parse().ok()).ok_or_else(unknown)?;
        let weights = match parts.next() {
            None => DeviceWeights::default(),
            Some(format) => {
                let known = DeviceWeights::ALL.into_iter().find(|(name, _)| *name == format);
                known.ok_or_else(unknown)?.1
            }
        };
        if parts.next().is_some() {
            return Err(unknown());
        }
        if cfg!(not(feature = "cuda")) {
            return Err(DeviceError::NotBuilt(text.to_owned()));
        }
        Ok(Self::Cuda { ordinal, weights })
    }
}

/// The backend of a device.
#[derive(Debug)]
pub(crate) enum DeviceBackend {
    /// See [`crate::cpu`].
    Cpu(Box<CpuBackend>),
    /// See [`crate::candle`].
    Candle(Box<CandleBackend>),
}

/// Calls the same method of either.
macro_rules! either {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            Self::Cpu($backend) => $call,
            Self::Candle($backend) => $call,
        }
    };
}

impl Backend for DeviceBackend {
    type Sequence = Sequence;

    fn shape(&self) -> &Shape {
        either!(self, backend => backend.shape())
    }

    fn cached_prefix(&self, tokens: &[u32], scope: Scope) -> usize {
        either!(self, backend => backend.cached_prefix(tokens, scope))
    }

    fn begin(&mut self, tokens: &[u32], scope: Scope) -> (Sequence, usize) {
        either!(self, backend => backend.begin(tokens, scope))
    }

    fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), EngineError> {
        either!(self, backend => backend.reserve(sequence, tokens))
    }

    fn forward(
        &mut self,
        feeds: &mut [Feed<'_, Sequence>],
        logits: &mut LogitRows,
    ) -> Result<(), EngineError> {
        either!(self, backend => backend.forward(feeds, logits))
    }

    fn publish(&mut self, sequence: &Sequence) {
        either!(self, backend => backend.publish(sequence))
    }

    fn evicted_tokens(&self) -> u64 {
        either!(self, backend => backend.evicted_tokens())
    }

    fn kv_bytes(&self) -> usize {
        either!(self, backend => backend.kv_bytes())
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        either!(self, backend => backend.device_memory())
    }

    fn product_seconds(&self, rows: usize, wanted: usize) -> Option<f64> {
        either!(self, backend => backend.product_seconds(rows, wanted))
    }

    fn leaves_cpus_free(&self) -> bool {
        matches!(self, Self::Candle(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_device_are_refused() {
        for name in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:0:q5", "cuda:0:bf16:1", "CPU"] {
            assert_eq!(name.parse::<Device>(), Err(DeviceError::Unknown(name.to_owned())), "{name:?}");
        }
    }

    #[test]
    fn a_gpu_is_there_in_builds_for_it_only() {
        assert_eq!("cpu".parse(), Ok(Device::Cpu));
        let parsed = "cuda:1:q8_0".parse::<Device>();
        if cfg!(feature = "cuda") {
            let expected = Device::Cuda { ordinal: 1, weights: DeviceWeights::Q8_0 };
            assert_eq!(parsed, Ok(expected));
            assert_eq!(expected.to_string(), "cuda:1:q8_0");
        } else {
            assert!(parsed.unwrap_err().to_string().contains("make cuda"));
        }
    }
}
