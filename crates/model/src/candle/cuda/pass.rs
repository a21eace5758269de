//! A whole pass over weights of BF16: products of all rows, and our kernels between them.
//!
//! The residual stays in single precision and products add to it; factors of products are BF16.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use half::bf16;

use super::super::attention::Pool;
use super::super::step::Step;
use super::super::weights::{Decoder, Linear};
use super::kernels::{Attention, Kernels, NULL};
use super::products::{Library, Output, Product};
use super::{Address, address};
use crate::backend::LogitRows;

/// Rows of logits that one product gives.
const HEAD_ROWS: usize = 128;
/// Rows of the other products.
const ROWS: usize = 2048;

/// A decoder ready to run. It shares the weights' tensors, so that their addresses hold.
#[derive(Debug)]
pub(in super::super) struct Pass {
    embedding: Placed,
    layers: Vec<PlacedLayer>,
    final_norm: Placed,
    head: Placed,
    qkv: Product,
    attention_output: Product,
    gate_up: Product,
    down: Product,
    logits: Product,
}

/// A tensor and where its numbers lie.
#[derive(Debug)]
struct Placed {
    at: Address,
    _tensor: Tensor,
}

#[derive(Debug)]
struct PlacedLayer {
    attention_norm: Placed,
    qkv: Placed,
    qkv_bias: Option<Placed>,
    head_norms: Option<(Placed, Placed)>,
    attention_output: Placed,
    feed_forward_norm: Placed,
    gate_up: Placed,
    down: Placed,
}

impl Placed {
    fn vector(tensor: &Tensor) -> Result<Self> {
        Ok(Self { at: address::<f32>(tensor)?, _tensor: tensor.clone() })
    }

    fn matrix(linear: &Linear) -> Result<Self> {
        let Some(tensor) = linear.dense() else { candle_core::bail!("the weights are blocks") };
        Ok(Self { at: address::<bf16>(tensor)?, _tensor: tensor.clone() })
    }
}

impl PlacedLayer {
    fn new(layer: &super::super::weights::Layer) -> Result<Self> {
        let head_norms = match &layer.head_norms {
            Some((query, key)) => Some((Placed::vector(query)?, Placed::vector(key)?)),
            None => None,
        };
        Ok(Self {
            attention_norm: Placed::vector(&layer.attention_norm)?,
            qkv: Placed::matrix(&layer.qkv)?,
            qkv_bias: layer.qkv_bias.as_ref().map(Placed::vector).transpose()?,
            head_norms,
            attention_output: Placed::matrix(&layer.attention_output)?,
            feed_forward_norm: Placed::vector(&layer.feed_forward_norm)?,
            gate_up: Placed::matrix(&layer.gate_up)?,
            down: Placed::matrix(&layer.down)?,
        })
    }
}

impl Pass {
    /// Chooses how to multiply with the decoder's matrices.
    ///
    /// # Errors
    /// If the matrices are not BF16 or odd in width, or no algorithm's results are independent of the batch.
    pub(in super::super) fn new(kernels: &Kernels, decoder: &Decoder) -> Result<Self> {
        let config = &decoder.config;
        if config.intermediate % 2 == 1 || config.hidden % 2 == 1 {
            candle_core::bail!("layers of odd width");
        }
        let layers = decoder.layers.iter().map(PlacedLayer::new).collect::<Result<Vec<_>>>()?;
        let head = Placed::matrix(&decoder.head)?;
        let Some(first) = layers.first() else { candle_core::bail!("no layers") };
        let (hidden, gates) = (config.hidden, 2 * config.intermediate);
        let (heads, kv_heads) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let library = Arc::new(Library::new(kernels)?);
        let product = |outputs, inputs, output, weight: &Placed, most| {
            Product::new(&library, kernels, (outputs, inputs), output, weight.at, most)
        };
        Ok(Self {
            qkv: product(heads + 2 * kv_heads, hidden, Output::Single, &first.qkv, ROWS)?,
            attention_output: product(hidden, heads, Output::Added, &first.attention_output, ROWS)?,
            gate_up: product(gates, hidden, Output::Bf16, &first.gate_up, ROWS)?,
            down: product(hidden, config.intermediate, Output::Added, &first.down, ROWS)?,
            logits: product(config.vocab_size, hidden, Output::Single, &head, HEAD_ROWS)?,
            embedding: Placed::matrix(&decoder.embedding)?,
            final_norm: Placed::vector(&decoder.final_norm)?,
            layers,
            head,
        })
    }

    /// See [`Backend::product_seconds`](crate::Backend::product_seconds).
    pub(in super::super) fn product_seconds(&self, rows: usize, wanted: usize) -> f64 {
        let of_layer = [&self.qkv, &self.attention_output, &self.gate_up, &self.down];
        let layer: f64 = of_layer.iter().map(|product| product.fastest(rows)).sum();
        layer * self.layers.len() as f64 + self.logits.fastest(wanted)
    }

    /// Pushes a step's rows through the decoder and reads the logits of those that are wanted.
    pub(in super::super) fn run(
        &self,
        kernels: &Kernels,
        decoder: &Decoder,
        pool: &Pool,
        step: &Step,
        logits: &mut LogitRows,
    ) -> Result<()> {
        let config = &decoder.config;
        let rows = step.tokens.len();
        let tables = kernels.tables(step)?;
        let scratch = kernels.scratch(&tables)?;
        let (residual, normed) =
            (kernels.room::<f32>(rows * config.hidden)?, kernels.room::<bf16>(rows * config.hidden)?);
        let qkv = kernels.room::<f32>(rows * (config.heads + 2 * config.kv_heads) * config.head_dim)?;
        let gates = kernels.room::<bf16>(rows * 2 * config.intermediate)?;
        let gated = kernels.room::<bf16>(rows * config.intermediate)?;
        let (qkv, gates, gated) = (kernels.at(&qkv), kernels.at(&gates), kernels.at(&gated));
        let (residual, normed) = (kernels.at(&residual), kernels.at(&normed));
        let pool_at = address::<bf16>(&pool.tensor)?;

        kernels.embed(self.embedding.at, tables.tokens, residual, rows)?;
        for (index, layer) in self.layers.iter().enumerate() {
            kernels.normalise(residual, NULL, layer.attention_norm.at, normed, rows)?;
            self.qkv.multiply(layer.qkv.at, normed, qkv, rows)?;
            let at = |placed: &Placed| placed.at;
            let work = Attention {
                layer: index,
                layers: pool.layers,
                pool: pool_at,
                qkv,
                bias: layer.qkv_bias.as_ref().map_or(NULL, at),
                head_norms: layer.head_norms.as_ref().map_or((NULL, NULL), |(q, k)| (q.at, k.at)),
            };
            let attended = kernels.attention(&tables, &work, &scratch)?;
            self.attention_output.multiply(layer.attention_output.at, attended, residual, rows)?;
            kernels.normalise(residual, NULL, layer.feed_forward_norm.at, normed, rows)?;
            self.gate_up.multiply(layer.gate_up.at, normed, gates, rows)?;
            kernels.gate(gates, gated, rows)?;
            self.down.multiply(layer.down.at, gated, residual, rows)?;
        }
        let wanted = step.wanted.len();
        if wanted == 0 {
            return Ok(());
        }
        let out = kernels.room::<f32>(wanted * config.vocab_size)?;
        kernels.normalise(residual, tables.wanted, self.final_norm.at, normed, wanted)?;
        self.logits.multiply(self.head.at, normed, kernels.at(&out), wanted)?;
        let to = logits.shared(wanted * config.vocab_size, |count| kernels.locked(count))?;
        kernels.stream().memcpy_dtoh(&out, to).map_err(candle_core::Error::wrap)?;
        kernels.stream().synchronize().map_err(candle_core::Error::wrap)
    }
}
