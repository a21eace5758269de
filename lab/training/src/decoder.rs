//! A decoder whose weights stay, forward and backward through an adapter, one pack of examples at a time.
//!
//! The backward pass is written out: what is frozen gets no gradient, and a layer keeps only what its gradient needs.
//! With `recompute` a layer keeps its input alone and is computed again on the way back.

use candle_core::{DType, Tensor};
use countermove_model::{BaseModel, Part, Role};
use rayon::prelude::*;

use crate::adapter::{Adapter, PARTS, Ready, ReadyModule};
use crate::error::TrainError;
use crate::kernels::{Dropout, Frozen, Heads, Kernels, Right, Rotation, Term};
use crate::pack::Pack;

/// Rows whose logits are computed together.
const LOGIT_ROWS: usize = 256;

type Result<T> = std::result::Result<T, TrainError>;

/// Places in [`PARTS`].
const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;
const OUTPUT: usize = 3;
const GATE: usize = 4;
const UP: usize = 5;
const DOWN: usize = 6;

/// A layer's frozen weights.
#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    feed_forward_norm: Tensor,
    projections: [Frozen; 7],
    /// Of queries, keys and values.
    biases: Option<[Tensor; 3]>,
    /// Of queries and keys.
    head_norms: Option<[Tensor; 2]>,
}

/// The frozen model.
#[derive(Debug)]
pub(crate) struct Decoder {
    kernels: Box<dyn Kernels>,
    layers: Vec<Layer>,
    /// Vocabulary × width.
    embedding: Tensor,
    final_norm: Tensor,
    head: Frozen,
    frequencies: Vec<f32>,
    epsilon: f32,
    heads: usize,
    kv_heads: usize,
    recompute: bool,
}

/// Dropout of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepDropout {
    pub(crate) rate: f32,
    /// Differs from pack to pack.
    pub(crate) seed: u64,
}

/// What a pack gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Cross entropy of each target, in nats.
    pub(crate) losses: Vec<f32>,
    /// Gradients of A and B (as [`crate::adapter::Module`] holds them) for each module; empty if none were asked for.
    pub(crate) gradients: Vec<[Tensor; 2]>,
}

/// What a layer keeps for its gradient.
struct Kept {
    /// Normalised input of attention.
    attended: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    /// Queries and keys before they were normalised, where they are.
    raw: Option<[Tensor; 2]>,
    context: Tensor,
    sums: Tensor,
    /// Context as the output projection takes it.
    merged: Tensor,
    middle: Tensor,
    fed: Tensor,
    gate: Tensor,
    up: Tensor,
    activated: Tensor,
    /// Each projection's input times A.
    lows: [Option<Tensor>; 7],
}

/// One pack on its way through the layers.
struct Pass<'a> {
    decoder: &'a Decoder,
    adapter: &'a Adapter,
    ready: &'a Ready,
    pack: &'a Pack,
    rotation: Rotation,
    dropout: Option<StepDropout>,
}

impl Decoder {
    /// Reads the weights. `recompute` keeps less in memory and computes each layer twice.
    pub(crate) fn load(base: &BaseModel, kernels: Box<dyn Kernels>, recompute: bool) -> Result<Self> {
        let config = base.config();
        let loader = Loader { base, kernels: &*kernels };
        // Reading and converting takes as long as copying to a GPU: on all CPUs, side by side.
        let layers =
            (0..config.layers).into_par_iter().map(|layer| loader.layer(layer)).collect::<Result<_>>()?;
        let table = loader.values(Role::Embedding)?;
        let head = match base.shape(Role::Head) {
            Some(_) => loader.frozen(Role::Head)?,
            None => kernels.freeze(table.clone(), config.vocab_size, config.hidden)?,
        };
        let embedding = Tensor::from_vec(table, (config.vocab_size, config.hidden), kernels.device())?
            .to_dtype(kernels.dtype())?;
        let final_norm = loader.vector(Role::FinalNorm)?;
        Ok(Self {
            layers,
            embedding,
            final_norm,
            head,
            frequencies: base.rope_frequencies()?,
            epsilon: config.rms_epsilon,
            heads: config.heads,
            kv_heads: config.kv_heads,
            recompute,
            kernels,
        })
    }

    pub(crate) fn kernels(&self) -> &dyn Kernels {
        &*self.kernels
    }

    /// Losses of a pack's targets.
    pub(crate) fn losses(&self, adapter: &Adapter, ready: &Ready, pack: &Pack) -> Result<Vec<f32>> {
        let pass = self.pass(adapter, ready, pack, None)?;
        let mut x = pass.embed()?;
        for layer in 0..self.layers.len() {
            x = pass.forward(layer, &x)?.0;
        }
        read(&pass.loss(&x, None)?.0)
    }

    /// Losses of a pack's targets, and the gradient of their sum times `scale` by the adapter's parameters.
    pub(crate) fn step(
        &self,
        adapter: &Adapter,
        ready: &Ready,
        pack: &Pack,
        scale: f32,
        dropout: Option<StepDropout>,
    ) -> Result<Outcome> {
        let pass = self.pass(adapter, ready, pack, dropout.filter(|dropout| dropout.rate > 0.0))?;
        let mut x = pass.embed()?;
        let mut inputs = Vec::new();
        for layer in 0..self.layers.len() {
            let (output, kept) = pass.forward(layer, &x)?;
            inputs.push((x, (!self.recompute).then_some(kept)));
            x = output;
        }
        let (losses, gradient) = pass.loss(&x, Some(scale))?;
        let mut gradients: Vec<Option<[Tensor; 2]>> = vec![None; adapter.modules.len()];
        if let Some(mut gradient) = gradient {
            while let Some((input, kept)) = inputs.pop() {
                let layer = inputs.len();
                let kept = match kept {
                    Some(kept) => kept,
                    None => pass.forward(layer, &input)?.1,
                };
                gradient = pass.backward(layer, &input, kept, gradient, &mut gradients)?;
            }
        }
        let zero = |module: &crate::adapter::Module| Ok([module.a.zeros_like()?, module.b.zeros_like()?]);
        let gradients = gradients
            .into_iter()
            .zip(&adapter.modules)
            .map(|(gradient, module)| gradient.map_or_else(|| zero(module), Ok))
            .collect::<Result<_>>()?;
        // Only now, since reading waits for a GPU.
        Ok(Outcome { losses: read(&losses)?, gradients })
    }

    fn pass<'a>(
        &'a self,
        adapter: &'a Adapter,
        ready: &'a Ready,
        pack: &'a Pack,
        dropout: Option<StepDropout>,
    ) -> Result<Pass<'a>> {
        let positions: Vec<usize> = pack.layout.positions().collect();
        let furthest = positions.iter().max().map_or(0, |position| position + 1);
        let half = self.frequencies.len();
        // Many rows have the same position: each angle is computed once.
        let angles = |function: fn(f32) -> f32| {
            let of = |position: usize| self.frequencies.iter().map(move |f| function(position as f32 * f));
            let table: Vec<f32> = (0..furthest).flat_map(of).collect();
            let rows = positions.iter().flat_map(|position| &table[position * half..][..half]);
            Tensor::from_vec(rows.copied().collect(), (positions.len(), half), self.kernels.device())
        };
        let rotation = Rotation { cosines: angles(f32::cos)?, sines: angles(f32::sin)? };
        Ok(Pass { decoder: self, adapter, ready, pack, rotation, dropout })
    }
}

impl Pass<'_> {
    fn kernels(&self) -> &dyn Kernels {
        &*self.decoder.kernels
    }

    fn embed(&self) -> Result<Tensor> {
        let tokens = Tensor::new(self.pack.tokens.as_slice(), self.kernels().device())?;
        Ok(self.decoder.embedding.index_select(&tokens, 0)?.to_dtype(DType::F32)?)
    }

    /// Dropout of the input of some projections of a layer; they share it.
    fn dropout(&self, layer: usize, part: usize) -> Option<Dropout> {
        let StepDropout { rate, seed } = self.dropout?;
        let place = (layer * PARTS.len() + part) as u64;
        Some(Dropout { rate, seed: crate::random::Random::of(&[seed, place]).next() })
    }

    /// Input times A, for each of some projections of one input.
    fn lows(&self, layer: usize, parts: &[usize], x: &Tensor, lows: &mut [Option<Tensor>; 7]) -> Result<()> {
        if parts.iter().all(|&part| self.ready.get(layer, part).is_none()) {
            return Ok(());
        }
        let dropped = self.dropped(layer, parts[0], x)?;
        for &part in parts {
            if let Some(module) = self.ready.get(layer, part) {
                let term = [Term { left: &dropped, right: &module.down.forward }];
                lows[part] = Some(self.kernels().product(&term, None, self.kernels().dtype())?);
            }
        }
        Ok(())
    }

    fn dropped(&self, layer: usize, part: usize, x: &Tensor) -> Result<Tensor> {
        Ok(match self.dropout(layer, part) {
            Some(dropout) => self.kernels().dropout(x, dropout)?,
            None => x.clone(),
        })
    }

    /// One projection of an input.
    fn project(
        &self,
        layer: usize,
        part: usize,
        x: &Tensor,
        low: Option<&Tensor>,
        onto: Option<&Tensor>,
        dtype: DType,
    ) -> Result<Tensor> {
        let mut terms = vec![Term { left: x, right: &self.decoder.layers[layer].projections[part].forward }];
        if let (Some(low), Some(module)) = (low, self.ready.get(layer, part)) {
            terms.push(Term { left: low, right: &module.up.backward });
        }
        Ok(self.kernels().product(&terms, onto, dtype)?)
    }

    fn forward(&self, layer: usize, x: &Tensor) -> Result<(Tensor, Kept)> {
        let (decoder, kernels) = (self.decoder, self.kernels());
        let (weights, dtype, epsilon) = (&decoder.layers[layer], kernels.dtype(), decoder.epsilon);
        let mut lows: [Option<Tensor>; 7] = std::array::from_fn(|_| None);

        let attended = kernels.rms_norm(x, &weights.attention_norm, epsilon, dtype)?;
        self.lows(layer, &[QUERY, KEY, VALUE], &attended, &mut lows)?;
        let mut projected = Vec::new();
        for part in [QUERY, KEY, VALUE] {
            let y = self.project(layer, part, &attended, lows[part].as_ref(), None, DType::F32)?;
            projected.push(match &weights.biases {
                Some(biases) => y.broadcast_add(&biases[part])?,
                None => y,
            });
        }
        let mut raw = None;
        if let Some(norms) = &weights.head_norms {
            let by_head = |part: usize, heads: usize| -> Result<(Tensor, Tensor)> {
                let (rows, width) = projected[part].dims2()?;
                let flat = projected[part].reshape((rows * heads, width / heads))?;
                let normal = kernels.rms_norm(&flat, &norms[part], epsilon, DType::F32)?;
                Ok((flat, normal.reshape((rows, width))?))
            };
            let (queries, normal_queries) = by_head(QUERY, decoder.heads)?;
            let (keys, normal_keys) = by_head(KEY, decoder.kv_heads)?;
            raw = Some([queries, keys]);
            projected[QUERY] = normal_queries;
            projected[KEY] = normal_keys;
        }
        let queries = kernels.split_heads(&projected[QUERY], decoder.heads, Some(&self.rotation))?;
        let keys = kernels.split_heads(&projected[KEY], decoder.kv_heads, Some(&self.rotation))?;
        let values = kernels.split_heads(&projected[VALUE], decoder.kv_heads, None)?;
        let heads = Heads { queries: &queries, keys: &keys, values: &values };
        let (context, sums) = kernels.attention(heads, &self.pack.layout)?;
        let merged = kernels.merge_heads(&context, None, dtype)?;
        self.lows(layer, &[OUTPUT], &merged, &mut lows)?;
        let middle = self.project(layer, OUTPUT, &merged, lows[OUTPUT].as_ref(), Some(x), DType::F32)?;

        let fed = kernels.rms_norm(&middle, &weights.feed_forward_norm, epsilon, dtype)?;
        self.lows(layer, &[GATE, UP], &fed, &mut lows)?;
        let gate = self.project(layer, GATE, &fed, lows[GATE].as_ref(), None, dtype)?;
        let up = self.project(layer, UP, &fed, lows[UP].as_ref(), None, dtype)?;
        let activated = kernels.swiglu(&gate, &up)?;
        self.lows(layer, &[DOWN], &activated, &mut lows)?;
        let output = self.project(layer, DOWN, &activated, lows[DOWN].as_ref(), Some(&middle), DType::F32)?;
        let kept = Kept {
            attended,
            queries,
            keys,
            values,
            raw,
            context,
            sums,
            merged,
            middle,
            fed,
            gate,
            up,
            activated,
            lows,
        };
        Ok((output, kept))
    }

    /// Gradient by a layer's input, given that by its output.
    fn backward(
        &self,
        layer: usize,
        x: &Tensor,
        kept: Kept,
        gradient: Tensor,
        gradients: &mut [Option<[Tensor; 2]>],
    ) -> Result<Tensor> {
        let (decoder, kernels) = (self.decoder, self.kernels());
        let (weights, dtype, epsilon) = (&decoder.layers[layer], kernels.dtype(), decoder.epsilon);
        let mut inputs = Inputs { pass: self, layer, lows: &kept.lows, gradients };

        let by_output = kernels.cast(&gradient)?;
        let by_activated = inputs.backward(&[(DOWN, &by_output)], &kept.activated, dtype)?;
        let [by_gate, by_up] = kernels.swiglu_backward(&kept.gate, &kept.up, &by_activated)?;
        let by_fed = inputs.backward(&[(GATE, &by_gate), (UP, &by_up)], &kept.fed, DType::F32)?;
        let norm = &weights.feed_forward_norm;
        let by_middle = kernels.rms_norm_backward(&kept.middle, norm, epsilon, &by_fed, Some(&gradient))?;

        let by_context = kernels.cast(&by_middle)?;
        let by_merged = inputs.backward(&[(OUTPUT, &by_context)], &kept.merged, DType::F32)?;
        let by_context = kernels.split_heads(&by_merged, decoder.heads, None)?;
        let heads = Heads { queries: &kept.queries, keys: &kept.keys, values: &kept.values };
        let [by_queries, by_keys, by_values] =
            kernels.attention_backward(heads, &self.pack.layout, &kept.context, &kept.sums, &by_context)?;
        let by_values = kernels.merge_heads(&by_values, None, dtype)?;
        let unrotated = |by: &Tensor, part: usize| -> Result<Tensor> {
            let (Some(raw), Some(norms)) = (&kept.raw, &weights.head_norms) else {
                return Ok(kernels.merge_heads(by, Some(&self.rotation), dtype)?);
            };
            let by = kernels.merge_heads(by, Some(&self.rotation), DType::F32)?;
            let flat = by.reshape(raw[part].shape())?;
            let by_raw = kernels.rms_norm_backward(&raw[part], &norms[part], epsilon, &flat, None)?;
            Ok(kernels.cast(&by_raw.reshape(by.shape())?)?)
        };
        let by_queries = unrotated(&by_queries, QUERY)?;
        let by_keys = unrotated(&by_keys, KEY)?;
        let all = [(QUERY, &by_queries), (KEY, &by_keys), (VALUE, &by_values)];
        let by_attended = inputs.backward(&all, &kept.attended, DType::F32)?;
        let norm = &weights.attention_norm;
        Ok(kernels.rms_norm_backward(x, norm, epsilon, &by_attended, Some(&by_middle))?)
    }

    /// Losses of the targets given the last layer's output and, if a scale is given, the gradient of their sum times
    /// that scale by that output.
    fn loss(&self, x: &Tensor, scale: Option<f32>) -> Result<(Vec<Tensor>, Option<Tensor>)> {
        let (decoder, kernels) = (self.decoder, self.kernels());
        let rows: Vec<u32> = self.pack.targets.iter().map(|target| target.row).collect();
        let tokens: Vec<u32> = self.pack.targets.iter().map(|target| target.token).collect();
        let rows = Tensor::new(rows.as_slice(), kernels.device())?;
        let chosen = x.index_select(&rows, 0)?;
        let normal = kernels.rms_norm(&chosen, &decoder.final_norm, decoder.epsilon, kernels.dtype())?;
        let (mut losses, mut parts) = (Vec::new(), Vec::new());
        for (index, tokens) in tokens.chunks(LOGIT_ROWS).enumerate() {
            let left = normal.narrow(0, index * LOGIT_ROWS, tokens.len())?;
            let term = [Term { left: &left, right: &decoder.head.forward }];
            let logits = kernels.product(&term, None, DType::F32)?;
            let (more, by_logits) = kernels.cross_entropy(&logits, tokens, scale.unwrap_or(0.0))?;
            losses.push(more);
            if scale.is_some() {
                let term = [Term { left: &by_logits, right: &decoder.head.backward }];
                parts.push(kernels.product(&term, None, DType::F32)?);
            }
        }
        if parts.is_empty() {
            return Ok((losses, None));
        }
        let by_normal = Tensor::cat(&parts, 0)?;
        let by_chosen =
            kernels.rms_norm_backward(&chosen, &decoder.final_norm, decoder.epsilon, &by_normal, None)?;
        // Rows of targets may repeat: examples that end their prompts alike do not share the last token, but nothing
        // else forbids it, so gradients are added.
        let gradient = x.zeros_like()?.index_add(&rows, &by_chosen, 0)?;
        Ok((losses, Some(gradient)))
    }
}

/// Numbers of some vectors, one after another.
fn read(vectors: &[Tensor]) -> Result<Vec<f32>> {
    Ok(if vectors.is_empty() { Vec::new() } else { Tensor::cat(vectors, 0)?.to_vec1()? })
}

/// The way back through the projections of a layer.
struct Inputs<'a, 'b> {
    pass: &'a Pass<'a>,
    layer: usize,
    lows: &'a [Option<Tensor>; 7],
    gradients: &'b mut [Option<[Tensor; 2]>],
}

impl Inputs<'_, '_> {
    /// Gradient by the common input of projections, given those by their outputs, as `dtype`. Notes the gradients of
    /// their factors.
    fn backward(&mut self, outputs: &[(usize, &Tensor)], input: &Tensor, dtype: DType) -> Result<Tensor> {
        let (pass, layer) = (self.pass, self.layer);
        let (kernels, ready) = (pass.kernels(), pass.ready);
        let mut by_lows: Vec<(&ReadyModule, Tensor)> = Vec::new();
        for &(part, by_output) in outputs {
            if let Some(module) = ready.get(layer, part) {
                let term = [Term { left: by_output, right: &module.up.forward }];
                by_lows.push((module, kernels.product(&term, None, kernels.dtype())?));
            }
        }
        let dropout = pass.dropout(layer, outputs[0].0);
        if !by_lows.is_empty() {
            let dropped = pass.dropped(layer, outputs[0].0, input)?;
            let mut found = by_lows.iter();
            for &(part, by_output) in outputs {
                let (Some(low), Some((module, by_low))) =
                    (&self.lows[part], if ready.get(layer, part).is_some() { found.next() } else { None })
                else {
                    continue;
                };
                let by_a = kernels.outer(by_low, &dropped, 1.0)?;
                let by_b = kernels.outer(low, by_output, pass.adapter.scale)?;
                self.gradients[module.index] = Some([by_a, by_b]);
            }
        }
        let frozen = |part: usize| -> &Right { &pass.decoder.layers[layer].projections[part].backward };
        let mut terms: Vec<Term<'_>> =
            outputs.iter().map(|&(part, left)| Term { left, right: frozen(part) }).collect();
        let low_terms: Vec<Term<'_>> =
            by_lows.iter().map(|(module, left)| Term { left, right: &module.down.backward }).collect();
        match dropout.filter(|_| !low_terms.is_empty()) {
            Some(dropout) => {
                let through = kernels.product(&low_terms, None, DType::F32)?;
                let through = kernels.dropout(&through, dropout)?;
                Ok(kernels.product(&terms, Some(&through), dtype)?)
            }
            None => {
                terms.extend(low_terms);
                Ok(kernels.product(&terms, None, dtype)?)
            }
        }
    }
}

/// Reads weights for the kernels.
struct Loader<'a> {
    base: &'a BaseModel,
    kernels: &'a dyn Kernels,
}

impl Loader<'_> {
    fn values(&self, role: Role) -> Result<Vec<f32>> {
        Ok(self.base.tensor(role)?.unwrap_or_default())
    }

    fn vector(&self, role: Role) -> Result<Tensor> {
        let values = self.values(role)?;
        let length = values.len();
        Ok(Tensor::from_vec(values, length, self.kernels.device())?)
    }

    fn frozen(&self, role: Role) -> Result<Frozen> {
        let (rows, columns) = self.base.shape(role).unwrap_or_default();
        Ok(self.kernels.freeze(self.values(role)?, rows, columns)?)
    }

    fn layer(&self, layer: usize) -> Result<Layer> {
        let part = |part: Part| Role::Layer(layer, part);
        let mut projections = Vec::new();
        for role in PARTS.map(part) {
            projections.push(self.frozen(role)?);
        }
        let Ok(projections) = <[Frozen; 7]>::try_from(projections) else {
            return Err(TrainError::Device("a layer has seven projections".to_owned()));
        };
        let biases = [Part::QueryBias, Part::KeyBias, Part::ValueBias];
        let norms = [Part::QueryNorm, Part::KeyNorm];
        let vector = |kind: Part| self.vector(part(kind));
        Ok(Layer {
            attention_norm: vector(Part::AttentionNorm)?,
            feed_forward_norm: vector(Part::FeedForwardNorm)?,
            projections,
            biases: match self.base.has_projection_biases() {
                true => Some([vector(biases[0])?, vector(biases[1])?, vector(biases[2])?]),
                false => None,
            },
            head_norms: match self.base.has_head_norms() {
                true => Some([vector(norms[0])?, vector(norms[1])?]),
                false => None,
            },
        })
    }
}
