//! The decoder over candle's operators: what runs on CUDA devices.
//!
//! The same code runs on candle's CPU device, where the tests compare it with [`crate::cpu`]. Only what
//! [`cuda`] holds needs a GPU: kernels for attention and for writing keys and values, which the operators do as well,
//! but in many more steps.
//!
//! Keys and values lie in one tensor of pages on the device. The KV tree counts the pages, shares them and evicts
//! them as it does for the CPU; a page's place in its pool is its place in the tensor.
//!
//! Invariant: the logits of a sequence depend on its tokens alone. Products have a fixed number of rows (see
//! [`weights::Linear`]), attention sums by chunks of absolute positions (see [`step`]), and everything else works on
//! each row by itself.

mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod step;
#[cfg(test)]
mod tests;
mod weights;

use candle_core::{D, DType, Device, Result as CandleResult, Tensor};

use attention::Pool;
use step::Step;
use weights::{Decoder, Layer, Loader, Precision, matrix_bytes};

use crate::backend::{Backend, Feed, Shape};
use crate::error::{EngineError, LoadError};
use crate::kv::{KvTree, PAGE, Sequence};
use crate::model::{LoadOptions, ModelInfo, WeightFormat};
use crate::weights::{Checkpoint, Role, Source};

/// A decoder whose weights, keys and values are on a device that candle drives.
#[derive(Debug)]
pub(crate) struct CandleBackend {
    shape: Shape,
    decoder: Decoder,
    device: Device,
    tile: usize,
    tree: KvTree,
    pool: Pool,
    #[cfg(feature = "cuda")]
    kernels: Option<cuda::Kernels>,
}

/// Where to run and how.
#[derive(Clone, Debug)]
struct Placement {
    device: Device,
    precision: Precision,
    /// Type of keys and values.
    kv: DType,
    /// Rows of every product.
    tile: usize,
}

impl Placement {
    /// Candle's CPU device: the reference. Candle multiplies no BF16 there, so it is held as single precision.
    fn cpu(weights: WeightFormat) -> Self {
        let precision = match weights {
            WeightFormat::Q8_0 => Precision::Blocks(candle_core::quantized::GgmlDType::Q8_0),
            WeightFormat::F32 => Precision::Dense(DType::F32),
        };
        Self { device: Device::Cpu, precision, kv: DType::F32, tile: 8 }
    }
}

/// Numbers of one token in the KV pool.
fn kv_width(source: &dyn Source) -> usize {
    let config = source.config();
    2 * config.layers * config.kv_heads * config.head_dim
}

impl CandleBackend {
    /// Loads the weights of an open checkpoint onto candle's CPU device.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn on_cpu(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<(Self, ModelInfo), LoadError> {
        Self::new(checkpoint, options, Placement::cpu(options.weights))
    }

    fn new(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        placement: Placement,
    ) -> Result<(Self, ModelInfo), LoadError> {
        let source = checkpoint.source();
        let Placement { device, precision, kv, tile } = placement;
        let kv_bytes_per_token = kv_width(source) * kv.size_in_bytes();
        let info = ModelInfo {
            weight_bytes: matrix_bytes(source, precision),
            kv_bytes_per_token,
            ..crate::cpu::describe(checkpoint, options)?
        };
        let decoder = Loader { source, device: &device, precision, tile }.decoder()?;
        let config = &decoder.config;
        let pages = options.kv_budget / (kv_bytes_per_token * PAGE);
        let pool_rows = pages * config.layers * 2 * PAGE;
        let pool = Tensor::zeros((pool_rows, config.kv_heads * config.head_dim), kv, &device)
            .and_then(|tensor| device.synchronize().map(|()| tensor))
            .map_err(|error| LoadError::Unsupported {
                path: source.place(Role::Embedding).0.to_path_buf(),
                reason: format!(
                    "the device has no room for {} MiB of keys and values beside the weights; allow less: {error}",
                    options.kv_budget >> 20
                ),
            })?;
        let backend = Self {
            shape: Shape {
                vocab_size: info.vocab_size,
                context_length: info.context_length,
                kv_bytes_per_token,
            },
            // The numbers are in the pool on the device: here a page is one idle float.
            tree: KvTree::new(1, pages * size_of::<f32>()),
            pool: Pool { tensor: pool, layers: config.layers },
            #[cfg(feature = "cuda")]
            kernels: cuda::Kernels::compile(&device, config, kv)?,
            decoder,
            device,
            tile,
        };
        Ok((backend, info))
    }

    fn page_bytes(&self) -> usize {
        self.shape.kv_bytes_per_token * PAGE
    }

    /// Checks feeds and gets them their pages.
    fn admit(&mut self, feeds: &mut [Feed<'_, Sequence>]) -> Result<(), EngineError> {
        for feed in feeds.iter_mut() {
            let (held, fed) = (feed.sequence.len(), feed.tokens.len());
            if held + fed > self.shape.context_length {
                let limit = self.shape.context_length;
                return Err(EngineError::ContextLength { prompt: held, answer: fed, limit });
            }
            if let Some(token) = feed.tokens.iter().find(|token| **token as usize >= self.shape.vocab_size) {
                return Err(EngineError::Device(format!(
                    "token {token} lies beyond the vocabulary of {}",
                    self.shape.vocab_size
                )));
            }
            if held + fed > feed.sequence.capacity() {
                self.reserve(feed.sequence, fed)?;
            }
        }
        Ok(())
    }

    /// The pass itself: logits of the wanted rows.
    fn pass(&self, step: &Step) -> CandleResult<Option<Tensor>> {
        let rows = step.tokens.len();
        let padded = rows.next_multiple_of(self.tile);
        let pass = Pass { backend: self, step, rows, rotation: self.rotation(step)? };
        // Rows beyond the last are token 0: their results go nowhere.
        let mut tokens = step.tokens.clone();
        tokens.resize(padded, 0);
        let mut residual = self.decoder.embedding.look_up(&Tensor::new(tokens, &self.device)?)?;
        for (index, layer) in self.decoder.layers.iter().enumerate() {
            residual = pass.layer(index, layer, &residual)?;
        }
        if step.wanted.is_empty() {
            return Ok(None);
        }
        let mut wanted = step.wanted.clone();
        wanted.resize(wanted.len().next_multiple_of(self.tile), 0);
        let last = residual.index_select(&Tensor::new(wanted, &self.device)?, 0)?;
        let last = normalise(&last, &self.decoder.final_norm, self.decoder.config.rms_epsilon)?;
        self.decoder.head.forward(&last)?.narrow(0, 0, step.wanted.len()).map(Some)
    }

    /// Cosines and sines of each row, rows × 1 × half a head.
    fn rotation(&self, step: &Step) -> CandleResult<(Tensor, Tensor)> {
        let frequencies = &self.decoder.frequencies;
        // The angle is rounded to single precision, as the models were trained with.
        let angles: Vec<f64> = step
            .positions
            .iter()
            .flat_map(|&position| frequencies.iter().map(move |f| f64::from(position as f32 * f)))
            .collect();
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle) as f32).collect();
            Tensor::from_vec(values, (step.positions.len(), 1, frequencies.len()), &self.device)
        };
        Ok((table(f64::cos)?, table(f64::sin)?))
    }
}

impl Backend for CandleBackend {
    type Sequence = Sequence;

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn cached_prefix(&self, tokens: &[u32]) -> usize {
        self.tree.cached_prefix(tokens)
    }

    fn begin(&mut self, tokens: &[u32]) -> (Sequence, usize) {
        let sequence = self.tree.begin(&tokens[..tokens.len().saturating_sub(1)]);
        let cached = sequence.len();
        (sequence, cached)
    }

    fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), EngineError> {
        let mut copied = Ok(());
        let pool = &self.pool;
        let reserved = self.tree.reserve_with(sequence, tokens, |target, source| {
            copied = pool.copy(source.place(), target.place());
        });
        reserved.map_err(|out| EngineError::KvBudget {
            needed: out.needed * self.page_bytes(),
            budget: self.tree.pool().capacity() * self.page_bytes(),
        })?;
        copied.map_err(|error| failed(&error))
    }

    fn forward(
        &mut self,
        feeds: &mut [Feed<'_, Sequence>],
        logits: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        logits.clear();
        self.admit(feeds)?;
        let step = Step::plan(feeds).map_err(EngineError::Device)?;
        if step.tokens.is_empty() {
            return Ok(());
        }
        let rows = self.pass(&step).map_err(|error| failed(&error))?;
        if let Some(rows) = rows {
            *logits = rows.flatten_all().and_then(|rows| rows.to_vec1()).map_err(|error| failed(&error))?;
        }
        for feed in feeds {
            feed.sequence.extend(feed.tokens);
        }
        Ok(())
    }

    fn publish(&mut self, sequence: &Sequence) {
        self.tree.publish(sequence);
    }

    fn kv_bytes(&self) -> usize {
        self.tree.pool().in_use() * self.page_bytes()
    }
}

fn failed(error: &candle_core::Error) -> EngineError {
    EngineError::Device(error.to_string())
}

/// One pass under way.
struct Pass<'a> {
    backend: &'a CandleBackend,
    step: &'a Step,
    /// Rows that are not padding.
    rows: usize,
    /// Cosines and sines.
    rotation: (Tensor, Tensor),
}

impl Pass<'_> {
    fn layer(&self, index: usize, layer: &Layer, residual: &Tensor) -> CandleResult<Tensor> {
        let config = &self.backend.decoder.config;
        let normed = normalise(residual, &layer.attention_norm, config.rms_epsilon)?;
        let mut qkv = layer.qkv.forward(&normed)?;
        if let Some(bias) = &layer.qkv_bias {
            qkv = qkv.broadcast_add(bias)?;
        }
        let padding = residual.dim(0)? - self.rows;
        let attended =
            self.attention(index, layer, &qkv.narrow(0, 0, self.rows)?)?.pad_with_zeros(0, 0, padding)?;
        let residual = (residual + layer.attention_output.forward(&attended)?)?;
        let normed = normalise(&residual, &layer.feed_forward_norm, config.rms_epsilon)?;
        let gate_up = layer.gate_up.forward(&normed)?;
        let gate = gate_up.narrow(1, 0, config.intermediate)?;
        let up = gate_up.narrow(1, config.intermediate, config.intermediate)?;
        &residual + layer.down.forward(&(gate.silu()? * up)?)?
    }

    /// Keeps the rows' keys and values and attends to them: rows × (heads × width).
    fn attention(&self, index: usize, layer: &Layer, qkv: &Tensor) -> CandleResult<Tensor> {
        let config = &self.backend.decoder.config;
        let (heads, kv_heads, width) = (config.heads, config.kv_heads, config.head_dim);
        let all = qkv.reshape((self.rows, heads + 2 * kv_heads, width))?;
        let mut queries = all.narrow(1, 0, heads)?;
        let mut keys = all.narrow(1, heads, kv_heads)?;
        let values = all.narrow(1, heads + kv_heads, kv_heads)?;
        if let Some((query_norm, key_norm)) = &layer.head_norms {
            queries = normalise(&queries, query_norm, config.rms_epsilon)?;
            keys = normalise(&keys, key_norm, config.rms_epsilon)?;
        }
        let queries = self.rotate(&queries)?;
        let keys = self.rotate(&keys)?;
        let (pool, step) = (&self.backend.pool, self.step);
        pool.store(index, &step.slots, &keys, &values)?;
        attention::attend(config, step, pool, index, &queries)
    }

    /// Rotates the two halves of each head against one another.
    fn rotate(&self, heads: &Tensor) -> CandleResult<Tensor> {
        let half = heads.dim(2)? / 2;
        let (cosines, sines) = &self.rotation;
        let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
        let first = (a.broadcast_mul(cosines)? - b.broadcast_mul(sines)?)?;
        let second = (b.broadcast_mul(cosines)? + a.broadcast_mul(sines)?)?;
        Tensor::cat(&[first, second], 2)
    }
}

/// Divides each row by the root of its mean square and multiplies it with `weight`.
fn normalise(rows: &Tensor, weight: &Tensor, epsilon: f32) -> CandleResult<Tensor> {
    let mean = (rows.sqr()?.sum_keepdim(D::Minus1)? / rows.dim(D::Minus1)? as f64)?;
    rows.broadcast_div(&(mean + f64::from(epsilon))?.sqrt()?)?.broadcast_mul(weight)
}
