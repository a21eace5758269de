//! Packed matrices.

use std::sync::Arc;

use half::f16;

use crate::memory::Region;
use crate::weights::Levels;

/// Inputs that share a scale; the number of inputs is padded to a multiple.
pub(crate) const BLOCK: usize = 32;
/// Outputs of a tile; the number of outputs is padded to a multiple.
pub(crate) const TILE: usize = 32;

/// How weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// 32 floats for each input.
    F32,
    /// For each block of 32 inputs: eight times (4 inputs × 32 outputs) bytes, each a weight plus 128, then 32
    /// half-precision scales.
    Eight,
    /// For each block: four times (4 inputs × 32 outputs) bytes, each with one of 16 levels in its low half and in its
    /// high half that of the input 16 further on, then 32 half-precision scales and 32 half-precision minima. A weight
    /// is its level times the scale plus the minimum: just what a file of four-bit blocks says.
    Four,
}

impl Packing {
    /// Bytes of a block of a tile, or of one input in single precision.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4 * TILE,
            Self::Eight => BLOCK * TILE + 2 * TILE,
            Self::Four => BLOCK * TILE / 2 + 4 * TILE,
        }
    }

    /// Bytes of a tile with that many inputs (padded).
    pub(crate) fn tile_bytes(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs * self.block_bytes(),
            Self::Eight | Self::Four => inputs / BLOCK * self.block_bytes(),
        }
    }
}

/// A packed matrix.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(super) weights: Arc<Region<u8>>,
    pub(super) start: usize,
    packing: Packing,
    /// Inputs, padded.
    pub(crate) inputs: usize,
    /// Outputs, padded.
    pub(crate) outputs: usize,
}

impl Matrix {
    /// A matrix packed at `start` of a region by [`pack_tile`] or [`pack_levels`].
    pub(crate) fn new(
        weights: Arc<Region<u8>>,
        start: usize,
        packing: Packing,
        inputs: usize,
        outputs: usize,
    ) -> Self {
        let matrix = Self { weights, start, packing, inputs, outputs };
        assert!(inputs.is_multiple_of(BLOCK) && outputs.is_multiple_of(TILE));
        assert!(matrix.weights.len() - start >= outputs / TILE * packing.tile_bytes(inputs));
        matrix
    }

    /// How the weights are packed.
    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    /// Writes the weights of one output, as they are used, to `out`.
    pub(crate) fn unpack(&self, output: usize, out: &mut [f32]) {
        let tile_bytes = self.packing.tile_bytes(self.inputs);
        let (tile, lane) = (output / TILE, output % TILE);
        let tile = &self.weights[self.start + tile * tile_bytes..][..tile_bytes];
        match self.packing {
            Packing::F32 => {
                for (value, column) in out.iter_mut().zip(tile.as_chunks::<{ 4 * TILE }>().0) {
                    *value = f32::from_le_bytes(column.as_chunks().0[lane]);
                }
            }
            Packing::Eight => {
                let blocks = tile.chunks_exact(self.packing.block_bytes());
                for (values, block) in out.chunks_mut(BLOCK).zip(blocks) {
                    let (bytes, scales) = block.split_at(BLOCK * TILE);
                    let scale = f16::from_le_bytes(scales.as_chunks().0[lane]).to_f32();
                    for (index, value) in values.iter_mut().enumerate() {
                        let byte = bytes[index / 4 * 4 * TILE + lane * 4 + index % 4];
                        *value = f32::from(byte.wrapping_sub(128) as i8) * scale;
                    }
                }
            }
            Packing::Four => {
                let blocks = tile.chunks_exact(self.packing.block_bytes());
                for (values, block) in out.chunks_mut(BLOCK).zip(blocks) {
                    let (bytes, numbers) = block.split_at(BLOCK * TILE / 2);
                    let numbers = numbers.as_chunks().0;
                    let scale = f16::from_le_bytes(numbers[lane]).to_f32();
                    let minimum = f16::from_le_bytes(numbers[TILE + lane]).to_f32();
                    for (index, value) in values.iter_mut().enumerate() {
                        let byte = bytes[index % 16 / 4 * 4 * TILE + lane * 4 + index % 4];
                        *value = f32::from(if index < 16 { byte & 15 } else { byte >> 4 }) * scale + minimum;
                    }
                }
            }
        }
    }
}

/// Packs a tile in single precision or eight bits: `rows` has 32 rows of `inputs` weights, one row for each output.
pub(crate) fn pack_tile(packing: Packing, inputs: usize, rows: &[f32], out: &mut [u8]) {
    if packing == Packing::F32 {
        for (input, column) in out.as_chunks_mut::<{ 4 * TILE }>().0.iter_mut().enumerate() {
            for (lane, word) in column.as_chunks_mut().0.iter_mut().enumerate() {
                *word = rows[lane * inputs + input].to_le_bytes();
            }
        }
        return;
    }
    for (index, block) in out.chunks_exact_mut(Packing::Eight.block_bytes()).enumerate() {
        let (bytes, scales) = block.split_at_mut(BLOCK * TILE);
        for (lane, scale) in scales.as_chunks_mut().0.iter_mut().enumerate() {
            let values = &rows[lane * inputs + index * BLOCK..][..BLOCK];
            *scale = quantise_weights(values, |at, byte| {
                bytes[at / 4 * 4 * TILE + lane * 4 + at % 4] = (byte as u8).wrapping_add(128);
            })
            .to_le_bytes();
        }
    }
}

/// Packs a tile in four bits: `rows` has 32 rows of `inputs / 32` blocks.
pub(crate) fn pack_levels(inputs: usize, rows: &[Levels], out: &mut [u8]) {
    let blocks = inputs / BLOCK;
    for (index, block) in out.chunks_exact_mut(Packing::Four.block_bytes()).enumerate() {
        let (bytes, numbers) = block.split_at_mut(BLOCK * TILE / 2);
        let (scales, minima) = numbers.split_at_mut(2 * TILE);
        let numbers = scales.as_chunks_mut().0.iter_mut().zip(minima.as_chunks_mut().0);
        for (lane, (scale, minimum)) in numbers.enumerate() {
            let weights = &rows[lane * blocks + index];
            *scale = weights.scale.to_le_bytes();
            *minimum = weights.minimum.to_le_bytes();
            let (low, high) = weights.levels.split_at(BLOCK / 2);
            for (at, (low, high)) in low.iter().zip(high).enumerate() {
                bytes[at / 4 * 4 * TILE + lane * 4 + at % 4] = low | high << 4;
            }
        }
    }
}

/// Quantises a block of weights to bytes in -127..=127 and gives the scale. A block of Q8_0 keeps its very values.
fn quantise_weights(values: &[f32], mut store: impl FnMut(usize, i8)) -> f16 {
    let largest = values
        .iter()
        .fold(0.0_f32, |largest, value| if value.abs() <= largest { largest } else { value.abs() });
    let mut scale = f16::from_f32(largest / 127.0);
    if scale.to_f32() < largest / 127.0 * (1.0 - 1.0 / 1024.0) && scale.is_finite() {
        // Tiny scales are coarse. Rounded down, the largest weight would not fit.
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    let step = scale.to_f32();
    for (at, value) in values.iter().enumerate() {
        // Adding and taking away a number whose last bit is one rounds to whole numbers, ties to even.
        const ROUND: f32 = 12_582_912.0;
        let byte = if step > 0.0 { ((value / step).clamp(-127.0, 127.0) + ROUND - ROUND) as i8 } else { 0 };
        store(at, byte);
    }
    scale
}
