//! A decoder's weights as candle tensors on a device.
//!
//! Queries, keys and values are one matrix, gates and ups another. Rotated pairs are always the two halves of a head:
//! rows that alternate in the file are put in order while they are read.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor, WithDType};
use half::bf16;

use crate::config::{Architecture, DecoderConfig};
use crate::cpu::check_shapes;
use crate::error::LoadError;
use crate::weights::{Part, Role, Source};

/// Numbers that a thread reads at a time.
const NUMBERS_AT_ONCE: usize = 1 << 20;

/// How matrices are held on the device. Vectors are always single precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// Floating point of this type.
    Dense(DType),
    /// Blocks of this type; Q8_0 where a row does not divide into its blocks.
    Blocks(GgmlDType),
}

impl Precision {
    /// Bytes of a matrix.
    fn bytes(self, rows: usize, columns: usize) -> u64 {
        let cells = rows as u64 * columns as u64;
        match self.of_columns(columns) {
            Self::Dense(dtype) => cells * dtype.size_in_bytes() as u64,
            Self::Blocks(dtype) => cells / dtype.block_size() as u64 * dtype.type_size() as u64,
        }
    }

    /// What a matrix with rows of this length is held in.
    fn of_columns(self, columns: usize) -> Self {
        match self {
            Self::Blocks(dtype) if columns.is_multiple_of(dtype.block_size()) => self,
            Self::Blocks(_) if columns.is_multiple_of(GgmlDType::Q8_0.block_size()) => {
                Self::Blocks(GgmlDType::Q8_0)
            }
            Self::Blocks(_) => Self::Dense(DType::F32),
            Self::Dense(_) => self,
        }
    }
}

/// A matrix that rows are multiplied with.
///
/// Invariant: every product has exactly `tile` rows. The device's libraries choose their kernel, and with it the
/// order of the sums, by the shape of a product: one shape, one order, whatever shares the batch.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    weight: Weight,
    tile: usize,
}

#[derive(Clone, Debug)]
enum Weight {
    /// Outputs × inputs.
    Dense(Tensor),
    Blocks(Arc<QTensor>),
}

impl Linear {
    /// Multiplies rows of single precision, as many as a multiple of the tile, and gives single precision.
    pub(super) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        let count = rows.dim(0)?;
        if count == self.tile {
            return self.tile(rows);
        }
        let tiles = (0..count / self.tile)
            .map(|index| self.tile(&rows.narrow(0, index * self.tile, self.tile)?))
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&tiles, 0)
    }

    fn tile(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Dense(weight) => {
                rows.to_dtype(weight.dtype())?.matmul(&weight.t()?)?.to_dtype(DType::F32)
            }
            Weight::Blocks(weight) => QMatMul::QTensor(Arc::clone(weight)).forward(rows),
        }
    }

    /// The matrix, where it is of floating point.
    #[cfg(feature = "cuda")]
    pub(super) fn dense(&self) -> Option<&Tensor> {
        match &self.weight {
            Weight::Dense(weight) => Some(weight),
            Weight::Blocks(_) => None,
        }
    }

    /// Rows of the matrix, in single precision.
    pub(super) fn look_up(&self, rows: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Dense(weight) => weight.index_select(rows, 0)?.to_dtype(DType::F32),
            Weight::Blocks(weight) => weight.embedding(rows),
        }
    }
}

/// A layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Tensor,
    pub(super) qkv: Linear,
    pub(super) qkv_bias: Option<Tensor>,
    /// Normalisation of query and of key heads.
    pub(super) head_norms: Option<(Tensor, Tensor)>,
    pub(super) attention_output: Linear,
    pub(super) feed_forward_norm: Tensor,
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
}

/// All weights.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) config: DecoderConfig,
    pub(super) layers: Vec<Layer>,
    pub(super) embedding: Linear,
    pub(super) final_norm: Tensor,
    pub(super) head: Linear,
    /// Rotation frequency of each pair of dimensions.
    pub(super) frequencies: Vec<f32>,
}

/// Bytes of the matrices.
pub(super) fn matrix_bytes(source: &dyn Source, precision: Precision) -> u64 {
    let c = source.config();
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let layer = precision.bytes(q + 2 * kv, c.hidden)
        + precision.bytes(c.hidden, q)
        + precision.bytes(2 * c.intermediate, c.hidden)
        + precision.bytes(c.hidden, c.intermediate);
    let vocabularies = if source.shape(Role::Head).is_some() { 2 } else { 1 };
    layer * c.layers as u64 + precision.bytes(c.vocab_size, c.hidden) * vocabularies
}

/// Reads weights onto a device.
pub(super) struct Loader<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) device: &'a Device,
    pub(super) precision: Precision,
    /// Rows of every product.
    pub(super) tile: usize,
}

impl Loader<'_> {
    /// Reads all weights.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if a tensor is missing or misshapen, or does not fit the device.
    pub(super) fn decoder(&self) -> std::result::Result<Decoder, LoadError> {
        check_shapes(self.source)?;
        let config = self.source.config().clone();
        let layers =
            (0..config.layers).map(|layer| self.layer(layer)).collect::<std::result::Result<_, _>>()?;
        let embedding = self.matrix(&[Role::Embedding])?;
        let head = match self.source.shape(Role::Head) {
            Some(_) => self.matrix(&[Role::Head])?,
            None => embedding.clone(),
        };
        let mut frequencies = config.rope_frequencies();
        if self.source.shape(Role::RopeFactors).is_some() {
            let mut factors = Vec::new();
            self.source.rows(Role::RopeFactors, 0..1, &mut factors)?;
            frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        }
        let final_norm = self.vector(&[Role::FinalNorm])?;
        Ok(Decoder { config, layers, embedding, final_norm, head, frequencies })
    }

    fn layer(&self, layer: usize) -> std::result::Result<Layer, LoadError> {
        let part = |part| Role::Layer(layer, part);
        let architecture = self.source.config().architecture;
        let qkv_bias = match architecture {
            Architecture::Qwen2 => {
                Some(self.vector(&[part(Part::QueryBias), part(Part::KeyBias), part(Part::ValueBias)])?)
            }
            _ => None,
        };
        let head_norms = match architecture {
            Architecture::Qwen3 => {
                Some((self.vector(&[part(Part::QueryNorm)])?, self.vector(&[part(Part::KeyNorm)])?))
            }
            _ => None,
        };
        Ok(Layer {
            attention_norm: self.vector(&[part(Part::AttentionNorm)])?,
            qkv: self.matrix(&[part(Part::Query), part(Part::Key), part(Part::Value)])?,
            qkv_bias,
            head_norms,
            attention_output: self.matrix(&[part(Part::AttentionOutput)])?,
            feed_forward_norm: self.vector(&[part(Part::FeedForwardNorm)])?,
            gate_up: self.matrix(&[part(Part::Gate), part(Part::Up)])?,
            down: self.matrix(&[part(Part::Down)])?,
        })
    }

    /// Vectors, one after another.
    fn vector(&self, roles: &[Role]) -> std::result::Result<Tensor, LoadError> {
        let (mut all, mut one) = (Vec::new(), Vec::new());
        for &role in roles {
            self.source.rows(role, 0..1, &mut one)?;
            all.append(&mut one);
        }
        let length = all.len();
        Tensor::from_vec(all, length, self.device).map_err(|error| self.failed(roles[0], &error))
    }

    /// Matrices of the same width, one below the other.
    fn matrix(&self, roles: &[Role]) -> std::result::Result<Linear, LoadError> {
        let columns = self.source.shape(roles[0]).map_or(1, |(_, columns)| columns);
        let weight = match self.precision.of_columns(columns) {
            precision if self.source.is_made_up() => self.drawn(roles, columns, precision),
            Precision::Dense(DType::BF16) => {
                self.dense(self.read(roles, columns, bf16::from_f32)?, columns).map(Weight::Dense)
            }
            Precision::Dense(dtype) => self
                .dense(self.read(roles, columns, |value| value)?, columns)
                .and_then(|weight| weight.to_dtype(dtype))
                .map(Weight::Dense),
            Precision::Blocks(dtype) => {
                Tensor::from_vec(self.read(roles, columns, |value| value)?, ((), columns), &Device::Cpu)
                    .and_then(|host| QTensor::quantize_onto(&host, dtype, self.device))
                    .map(|weight| Weight::Blocks(Arc::new(weight)))
            }
        };
        weight.map(|weight| Linear { weight, tile: self.tile }).map_err(|error| self.failed(roles[0], &error))
    }

    fn dense<T: WithDType>(&self, values: Vec<T>, columns: usize) -> Result<Tensor> {
        Tensor::from_vec(values, ((), columns), &Device::Cpu)?.to_device(self.device)
    }

    /// Reads matrices of the same width, one below the other, on all CPUs.
    fn read<T: Copy + Default + Send>(
        &self,
        roles: &[Role],
        columns: usize,
        narrow: impl Fn(f32) -> T + Sync,
    ) -> std::result::Result<Vec<T>, LoadError> {
        let head_dim = self.source.config().head_dim;
        // Whole heads, so that the rows of each can be put in order.
        let rows_at_once = (NUMBERS_AT_ONCE / columns).max(1).next_multiple_of(head_dim);
        let mut blocks = Vec::new();
        for &role in roles {
            let rows = self.source.shape(role).map_or(0, |(rows, _)| rows);
            blocks.extend(
                (0..rows).step_by(rows_at_once).map(|first| (role, first..rows.min(first + rows_at_once))),
            );
        }
        let total: usize = blocks.iter().map(|(_, rows)| rows.len() * columns).sum();
        let mut all = vec![T::default(); total];
        let (mut rest, mut work) = (all.as_mut_slice(), Vec::new());
        for (role, rows) in blocks {
            let (room, after) = rest.split_at_mut(rows.len() * columns);
            work.push((role, rows, room));
            rest = after;
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(work.len());
        let work = Mutex::new(work.into_iter());
        let one_thread = || -> std::result::Result<(), LoadError> {
            let (mut stored, mut ordered) = (Vec::new(), Vec::new());
            loop {
                let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((role, rows, room)) = next else { return Ok(()) };
                let count = rows.len();
                self.source.rows(role, rows, &mut stored)?;
                let turned = matches!(role, Role::Layer(_, Part::Query | Part::Key));
                let values = if turned && self.source.interleaved_rotation() {
                    ordered.clear();
                    put_in_order(&mut ordered, &stored, count, head_dim);
                    &ordered
                } else {
                    &stored
                };
                room.iter_mut().zip(values).for_each(|(to, &value)| *to = narrow(value));
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
            // A thread that panics does so for all.
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(all)
    }

    /// Random matrices of such shapes, drawn on the device.
    fn drawn(&self, roles: &[Role], columns: usize, precision: Precision) -> Result<Weight> {
        let rows: usize =
            roles.iter().filter_map(|&role| self.source.shape(role)).map(|(rows, _)| rows).sum();
        let values: Tensor = Tensor::randn(0.0_f32, 0.02, (rows, columns), self.device)?;
        Ok(match precision {
            Precision::Dense(dtype) => Weight::Dense(values.to_dtype(dtype)?),
            Precision::Blocks(dtype) => Weight::Blocks(Arc::new(QTensor::quantize(&values, dtype)?)),
        })
    }

    fn failed(&self, role: Role, error: &candle_core::Error) -> LoadError {
        let (path, name) = self.source.place(role);
        LoadError::Unsupported {
            path: path.to_path_buf(),
            reason: format!("tensor {name} cannot be put on the device: {}", super::plain(error)),
        }
    }
}

/// Appends rows whose rotated pairs lie side by side such that the pairs become the halves of each head.
fn put_in_order(all: &mut Vec<f32>, stored: &[f32], rows: usize, head_dim: usize) {
    let columns = stored.len() / rows.max(1);
    for row in 0..rows {
        let (head, dim) = (row / head_dim, row % head_dim);
        let half = head_dim / 2;
        let from = head * head_dim + dim % half * 2 + dim / half;
        all.extend_from_slice(&stored[from * columns..][..columns]);
    }
}

#[cfg(test)]
impl Linear {
    /// The same matrix with a row of NaN.
    pub(super) fn spoil(&self, row: usize) -> Result<Self> {
        let Weight::Dense(weight) = &self.weight else {
            return Err(candle_core::Error::msg("blocks hold no NaN"));
        };
        let copy = weight.copy()?;
        copy.slice_set(&Tensor::full(f32::NAN, (1, weight.dim(1)?), weight.device())?, 0, row)?;
        Ok(Self { weight: Weight::Dense(copy), tile: self.tile })
    }
}
