//! The name of what decides the bits of an answer beside model, adapter and prompts.
//!
//! Invariant: where two workers hold the same model and name the same arithmetic, they give the same tokens. So the name says
//! everything that may change a bit: the device, the kind of GPU and its library, the platform (libraries of mathematics round their own way), the format in which weights
//! are held, and a version. Instruction levels are not in it: all give the same bits ([`crate::cpu`]).

use std::env::consts::{ARCH, OS};

use crate::device::Device;
use crate::model::WeightFormat;

/// Version of the arithmetic on CPUs. Raise it with every change that is meant to give other bits.
const CPU: u32 = 1;
/// Version of the arithmetic on GPUs, and of the same code on CPUs.
const GPU: u32 = 1;

/// The arithmetic of a device; `weights` is the format on [`Device::Cpu`].
pub(crate) fn arithmetic(device: Device, weights: WeightFormat) -> String {
    match device {
        Device::Cpu => format!("cpu-{}-{weights}/{CPU}", platform()),
        Device::Cuda { ordinal, weights } => format!("cuda-{}{weights}/{GPU}", gpu(ordinal)),
        Device::CandleCpu { weights } => format!("candle-{}-{weights}/{GPU}", platform()),
    }
}

/// What the libraries promise the same bits for: one kind of GPU and one version of them. Empty where there is none.
fn gpu(ordinal: usize) -> String {
    #[cfg(feature = "cuda")]
    if let Some(kind) = crate::candle::gpu_kind(ordinal) {
        return format!("{kind}-");
    }
    let _ = ordinal;
    String::new()
}

/// What this was built for: processor, system and C library.
fn platform() -> String {
    let library = [(cfg!(target_env = "gnu"), "-gnu"), (cfg!(target_env = "musl"), "-musl")];
    let library = library.into_iter().find(|(is_it, _)| *is_it).map_or("", |(_, name)| name);
    format!("{ARCH}-{OS}{library}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceWeights;

    #[test]
    fn whatever_may_change_a_bit_changes_the_name() {
        let [bf16, f32] = [DeviceWeights::Bf16, DeviceWeights::F32];
        let names = [
            arithmetic(Device::Cpu, WeightFormat::Q8_0),
            arithmetic(Device::Cpu, WeightFormat::F32),
            arithmetic(Device::Cuda { ordinal: 0, weights: bf16 }, WeightFormat::Q8_0),
            arithmetic(Device::Cuda { ordinal: 0, weights: f32 }, WeightFormat::Q8_0),
            arithmetic(Device::CandleCpu { weights: f32 }, WeightFormat::Q8_0),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name} stands for two");
            assert!(!name.contains(char::is_whitespace), "{name:?}");
        }
        assert!(names[0].starts_with("cpu-") && names[0].ends_with("-q8_0/1"), "{}", names[0]);
        assert_eq!(names[2], "cuda-bf16/1");
    }

    #[test]
    fn what_changes_no_bit_does_not_change_the_name() {
        let on = |ordinal, cpu| arithmetic(Device::Cuda { ordinal, weights: DeviceWeights::Q8_0 }, cpu);
        assert_eq!(on(0, WeightFormat::Q8_0), on(3, WeightFormat::F32));
    }
}
