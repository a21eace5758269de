//! The decoder over candle's operators: what runs on CUDA devices.
//!
//! The same code runs on candle's CPU device, where the tests compare it with [`crate::cpu`]. Only what
//! `cuda` holds needs a GPU: a whole pass over weights of BF16, in far fewer steps than the operators take, and
//! attention for weights in blocks.
//!
//! Keys and values lie in one tensor of pages on the device. The KV tree counts the pages, shares them and evicts
//! them as it does for the CPU; a page's place in its pool is its place in the tensor.
//!
//! Invariant: the logits of a sequence depend on its tokens alone. Products of operators have a fixed number of rows
//! (see [`weights::Linear`]), those of the CUDA pass are by algorithms that were seen to give a row the same bits in
//! every batch, attention sums by chunks of absolute positions (see [`step`]), and everything else works on each row
//! by itself.

mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod step;
#[cfg(test)]
mod tests;
mod weights;

#[cfg(feature = "cuda")]
pub use cuda::gpu;
#[cfg(feature = "cuda")]
pub(crate) use cuda::gpu_kind;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Result as CandleResult, Tensor};

use attention::Pool;
use step::Step;
use weights::{Decoder, Layer, Loader, Precision, matrix_bytes};

use crate::backend::{Backend, Feed, LogitRows, Shape, admit};
use crate::device::DeviceWeights;
use crate::error::{EngineError, LoadError};
use crate::kv::{KvTree, PAGE, Scope, Sequence};
use crate::model::{LoadOptions, ModelInfo};
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
    /// The pass that takes the place of the operators, where the weights are of BF16 on a GPU.
    #[cfg(feature = "cuda")]
    whole: Option<cuda::Pass>,
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
    /// Candle's CPU device: the reference.
    fn cpu(weights: DeviceWeights) -> Self {
        let (precision, kv) = formats(weights, false);
        Self { device: Device::Cpu, precision, kv, tile: 8 }
    }

    /// A GPU. Up to about a tile of rows a product takes as long as reading its weights does, so that padding to a
    /// tile costs next to nothing. Arithmetic on blocks is slower, and their tile smaller.
    #[cfg(feature = "cuda")]
    fn cuda(ordinal: usize, weights: DeviceWeights) -> CandleResult<Self> {
        let (precision, kv) = formats(weights, true);
        let tile = if matches!(precision, Precision::Dense(_)) { 64 } else { 32 };
        Ok(Self { device: cuda::gpu::open(ordinal)?, precision, kv, tile })
    }
}

/// How matrices, and keys and values, are held. Candle multiplies no BF16 on CPUs; they hold it as single precision.
fn formats(weights: DeviceWeights, on_gpu: bool) -> (Precision, DType) {
    let half = if on_gpu { DType::BF16 } else { DType::F32 };
    match weights {
        DeviceWeights::Bf16 => (Precision::Dense(half), half),
        DeviceWeights::F32 => (Precision::Dense(DType::F32), DType::F32),
        DeviceWeights::Q8_0 => (Precision::Blocks(GgmlDType::Q8_0), half),
        DeviceWeights::Q4K => (Precision::Blocks(GgmlDType::Q4K), half),
    }
}

fn unsupported(source: &dyn Source, reason: String) -> LoadError {
    LoadError::Unsupported { path: source.place(Role::Embedding).0.to_path_buf(), reason }
}

/// Bytes of the matrices, and of the keys and values of a token.
fn footprint(source: &dyn Source, weights: DeviceWeights, on_gpu: bool) -> (u64, usize) {
    let (precision, kv) = formats(weights, on_gpu);
    (matrix_bytes(source, precision), kv_width(source) * kv.size_in_bytes())
}

/// Numbers of one token in the KV pool.
fn kv_width(source: &dyn Source) -> usize {
    let config = source.config();
    2 * config.layers * config.kv_heads * config.head_dim
}

impl CandleBackend {
    /// Describes a model from its header: what it is, and what it will take on a device. Digests are empty.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn describe(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        weights: DeviceWeights,
        on_gpu: bool,
    ) -> Result<ModelInfo, LoadError> {
        let (weight_bytes, kv_bytes_per_token) = footprint(checkpoint.source(), weights, on_gpu);
        Ok(ModelInfo { weight_bytes, kv_bytes_per_token, ..crate::cpu::describe(checkpoint, options)? })
    }

    /// Describes a decoder that has no file. What names a file is empty.
    pub(crate) fn describe_shape(
        source: &dyn Source,
        options: &LoadOptions,
        weights: DeviceWeights,
        on_gpu: bool,
    ) -> ModelInfo {
        let config = source.config();
        let (weight_bytes, kv_bytes_per_token) = footprint(source, weights, on_gpu);
        ModelInfo {
            weight_bytes,
            kv_bytes_per_token,
            vocab_size: config.vocab_size,
            context_length: options.context_length.unwrap_or(usize::MAX).min(config.context_length),
            ..ModelInfo::default()
        }
    }

    /// Loads weights that [`Self::describe`] has described onto candle's CPU device.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn on_cpu(
        source: &dyn Source,
        info: &ModelInfo,
        options: &LoadOptions,
        weights: DeviceWeights,
    ) -> Result<Self, LoadError> {
        Self::new(source, info, options.kv_on_host(), Placement::cpu(weights))
    }

    /// Loads weights that [`Self::describe`] has described onto a GPU.
    ///
    /// # Errors
    /// See [`LoadError`].
    #[cfg(feature = "cuda")]
    pub(crate) fn on_cuda(
        source: &dyn Source,
        info: &ModelInfo,
        options: &LoadOptions,
        ordinal: usize,
        weights: DeviceWeights,
    ) -> Result<Self, LoadError> {
        let unusable = |error: candle_core::Error| {
            unsupported(source, format!("GPU {ordinal} cannot be used: {}", plain(&error)))
        };
        let placement = Placement::cuda(ordinal, weights).map_err(unusable)?;
        let device = placement.device.clone();
        let (free, total) = cuda::memory(&device).map_err(unusable)?;
        let held = info.weight_bytes + cuda::ROOM_FOR_A_PASS;
        let kv_budget = options.kv_budget.unwrap_or((free as u64).saturating_sub(held) as usize / 2);
        let needed = held + kv_budget as u64;
        if needed > free as u64 {
            return Err(unsupported(
                source,
                format!(
                    "the weights take {} MiB, keys and values may take {} MiB and a pass takes {} MiB, but GPU {ordinal} \
                     has {} MiB free; allow less for keys and values or hold the weights in fewer bits",
                    info.weight_bytes >> 20,
                    kv_budget >> 20,
                    cuda::ROOM_FOR_A_PASS >> 20,
                    free >> 20
                ),
            ));
        }
        let backend = Self::new(source, info, kv_budget, placement)?;
        let (left, _) = cuda::memory(&device).map_err(unusable)?;
        tracing::info!(
            gpu = ordinal,
            %weights,
            kernels = backend.kernels.is_some(),
            whole_pass = backend.whole.is_some(),
            free_mib = left >> 20,
            used_mib = free.saturating_sub(left) >> 20,
            total_mib = total >> 20,
            "model loaded on the GPU"
        );
        Ok(backend)
    }

    fn new(
        source: &dyn Source,
        info: &ModelInfo,
        kv_budget: usize,
        placement: Placement,
    ) -> Result<Self, LoadError> {
        let Placement { device, precision, kv, tile } = placement;
        let decoder = Loader { source, device: &device, precision, tile }.decoder()?;
        let config = &decoder.config;
        let pages = kv_budget / (info.kv_bytes_per_token * PAGE);
        let rows = pages * config.layers * 2 * PAGE;
        let pool = Tensor::zeros((rows, config.kv_heads * config.head_dim), kv, &device)
            .and_then(|tensor| device.synchronize().map(|()| tensor))
            .map_err(|error| {
                let (room, error) = (kv_budget >> 20, plain(&error));
                unsupported(source, format!("{room} MiB of keys and values do not fit the device: {error}"))
            })?;
        #[cfg(feature = "cuda")]
        let (kernels, whole) = {
            let unusable = |what: &str, error: &candle_core::Error| {
                unsupported(source, format!("its {what}: {}", plain(error)))
            };
            let kernels = match kv {
                DType::BF16 => {
                    cuda::Kernels::compile(&device, config, &decoder.frequencies, info.context_length)
                        .map_err(|error| unusable("kernels cannot be compiled", &error))?
                }
                _ => None,
            };
            let whole = match &kernels {
                Some(kernels) if precision == Precision::Dense(DType::BF16) => Some(
                    cuda::Pass::new(kernels, &decoder)
                        .map_err(|error| unusable("products cannot be set up", &error))?,
                ),
                _ => None,
            };
            (kernels, whole)
        };
        Ok(Self {
            shape: Shape {
                vocab_size: info.vocab_size,
                context_length: info.context_length,
                kv_bytes_per_token: info.kv_bytes_per_token,
            },
            // The numbers are in the pool on the device: here a page is one idle float.
            tree: KvTree::new(1, pages * size_of::<f32>()),
            pool: Pool { tensor: pool, layers: config.layers },
            #[cfg(feature = "cuda")]
            kernels,
            #[cfg(feature = "cuda")]
            whole,
            decoder,
            device,
            tile,
        })
    }

    fn page_bytes(&self) -> usize {
        self.shape.kv_bytes_per_token * PAGE
    }

    /// Runs a pass and reads the logits of the wanted rows.
    fn run(&self, step: &Step, logits: &mut LogitRows) -> CandleResult<()> {
        if step.wanted.is_empty() {
            logits.clear();
        }
        #[cfg(feature = "cuda")]
        if let (Some(kernels), Some(whole)) = (&self.kernels, &self.whole) {
            return whole.run(kernels, &self.decoder, &self.pool, step, logits);
        }
        if let Some(rows) = self.pass(step)? {
            // Reading a part of a tensor would bring all of its storage to the host first.
            *logits.plain() = rows.force_contiguous()?.flatten_all()?.to_vec1()?;
        }
        Ok(())
    }

    /// The pass over operators: logits of the wanted rows.
    fn pass(&self, step: &Step) -> CandleResult<Option<Tensor>> {
        let rows = step.tokens.len();
        let padded = rows.next_multiple_of(self.tile);
        let pass = Pass {
            backend: self,
            step,
            rows,
            rotation: self.rotation(step)?,
            #[cfg(feature = "cuda")]
            kernels: match &self.kernels {
                Some(kernels) => Some((kernels, kernels.tables(step)?)),
                None => None,
            },
        };
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

    fn cached_prefix(&self, tokens: &[u32], scope: Scope) -> usize {
        self.tree.cached_prefix(tokens, scope)
    }

    fn begin(&mut self, tokens: &[u32], scope: Scope) -> (Sequence, usize) {
        self.tree.begin_prompt(tokens, scope)
    }

    fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), EngineError> {
        let mut copied = Ok(());
        let pool = &self.pool;
        let reserved = self.tree.reserve_with(sequence, tokens, |target, source| {
            copied = pool.copy(source.place(), target.place());
        });
        reserved.map_err(|out| out.in_bytes(self.page_bytes()))?;
        copied.map_err(|error| failed(&error))
    }

    fn forward(
        &mut self,
        feeds: &mut [Feed<'_, Sequence>],
        logits: &mut LogitRows,
    ) -> Result<(), EngineError> {
        let planned = admit(self, feeds).and_then(|()| Step::plan(feeds).map_err(EngineError::Device));
        let step = match planned {
            Ok(step) if !step.tokens.is_empty() => step,
            other => {
                logits.clear();
                return other.map(|_| ());
            }
        };
        self.run(&step, logits).map_err(|error| failed(&error))?;
        for feed in feeds {
            feed.sequence.extend(feed.tokens);
        }
        Ok(())
    }

    fn publish(&mut self, sequence: &Sequence) {
        self.tree.publish(sequence);
    }

    fn evicted_tokens(&self) -> u64 {
        self.tree.evicted()
    }

    fn kv_bytes(&self) -> usize {
        self.tree.pool().in_use() * self.page_bytes()
    }

    #[cfg(feature = "cuda")]
    fn product_seconds(&self, rows: usize, wanted: usize) -> Option<f64> {
        self.whole.as_ref().map(|whole| whole.product_seconds(rows, wanted))
    }

    #[cfg(feature = "cuda")]
    fn device_memory(&self) -> Option<crate::backend::DeviceMemory> {
        let (free, total) = cuda::memory(&self.device).ok()?;
        Some(crate::backend::DeviceMemory { free: free as u64, total: total as u64 })
    }
}

fn failed(error: &candle_core::Error) -> EngineError {
    EngineError::Device(plain(error))
}

/// What candle says, without the backtrace that it appends where one is wanted.
fn plain(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// One pass under way.
struct Pass<'a> {
    backend: &'a CandleBackend,
    step: &'a Step,
    /// Rows that are not padding.
    rows: usize,
    /// Cosines and sines.
    rotation: (Tensor, Tensor),
    #[cfg(feature = "cuda")]
    kernels: Option<(&'a cuda::Kernels, cuda::Tables)>,
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
        #[cfg(feature = "cuda")]
        if let Some((kernels, tables)) = &self.kernels {
            let layer = cuda::Layer { index, qkv, head_norms: layer.head_norms.as_ref() };
            return kernels.attend(&self.backend.pool, tables, &layer);
        }
        let (heads, kv_heads, width) = (config.heads, config.kv_heads, config.head_dim);
        let all = qkv.reshape((self.rows, heads + 2 * kv_heads, width))?;
        let mut queries = all.narrow(1, 0, heads)?;
        let mut keys = all.narrow(1, heads, kv_heads)?;
        let values = all.narrow(1, heads + kv_heads, kv_heads)?;
        if let Some((query_norm, key_norm)) = &layer.head_norms {
            queries = normalise(&queries, query_norm, config.rms_epsilon)?;
            keys = normalise(&keys, key_norm, config.rms_epsilon)?;
        }
        let queries = rotate(&queries, &self.rotation)?;
        let keys = rotate(&keys, &self.rotation)?;
        let (pool, step) = (&self.backend.pool, self.step);
        pool.store(index, &step.slots, &keys, &values)?;
        attention::attend(config, step, pool, index, &queries)
    }
}

/// Rotates the two halves of each head against one another.
fn rotate(heads: &Tensor, (cosines, sines): &(Tensor, Tensor)) -> CandleResult<Tensor> {
    let half = heads.dim(2)? / 2;
    let (a, b) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
    let first = (a.broadcast_mul(cosines)? - b.broadcast_mul(sines)?)?;
    let second = (b.broadcast_mul(cosines)? + a.broadcast_mul(sines)?)?;
    Tensor::cat(&[first, second], 2)
}

/// Divides each row by the root of its mean square and multiplies it with `weight`.
fn normalise(rows: &Tensor, weight: &Tensor, epsilon: f32) -> CandleResult<Tensor> {
    candle_nn::ops::rms_norm(&rows.contiguous()?, weight, epsilon)
}
