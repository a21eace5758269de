//! The weights of a decoder, packed for the kernels.
//!
//! Loading asks the source for the shape of every tensor first, so that a file with a missing or misshapen tensor
//! is refused before memory is taken. Then all matrices are packed into one region, tile by tile, on several threads.
//!
//! Queries, keys and values are one matrix; so are gates and ups, in alternating groups of 16, such that one tile
//! holds the gates and the ups of the same channels. Where a head's size is no multiple of 16 it is padded with
//! zeros. Rotated pairs are always the two halves of a head: rows that alternate in the file are put in order.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::matmul::{BLOCK, Matrix, Packing, TILE, pack_levels, pack_tile};
use super::simd::LANES;
use crate::config::{Architecture, DecoderConfig};
use crate::error::LoadError;
use crate::kv::PAGE;
use crate::memory::Region;
use crate::model::WeightFormat;
use crate::weights::{Levels, Part, Role, Source};

/// Sizes in memory, padded for the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Floats of a row of the residual stream.
    pub(crate) hidden: usize,
    /// Floats of a head.
    pub(crate) head: usize,
    /// Floats of a row of queries, keys and values.
    pub(crate) qkv: usize,
    /// Floats of a row of attention results.
    pub(crate) attention: usize,
    /// Floats of a row within the feed-forward network.
    pub(crate) intermediate: usize,
    /// Rows of the vocabulary.
    pub(crate) vocab: usize,
}

impl Sizes {
    /// Padded sizes of a decoder.
    pub(crate) fn of(config: &DecoderConfig) -> Self {
        let head = config.head_dim.next_multiple_of(LANES);
        Self {
            hidden: config.hidden.next_multiple_of(BLOCK),
            head,
            qkv: ((config.heads + 2 * config.kv_heads) * head).next_multiple_of(TILE),
            attention: (config.heads * head).next_multiple_of(BLOCK),
            intermediate: config.intermediate.next_multiple_of(BLOCK),
            vocab: config.vocab_size.next_multiple_of(TILE),
        }
    }

    /// Floats of a page: for each layer and key-value head a tile of keys, then one of values.
    pub(crate) fn page_floats(&self, config: &DecoderConfig) -> usize {
        config.layers * self.layer_floats(config)
    }

    /// Floats of one layer in a page.
    pub(crate) fn layer_floats(&self, config: &DecoderConfig) -> usize {
        config.kv_heads * 2 * PAGE * self.head
    }
}

/// A layer's weights.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Region<f32>,
    pub(crate) qkv: Matrix,
    pub(crate) qkv_bias: Option<Region<f32>>,
    pub(crate) query_norm: Option<Region<f32>>,
    pub(crate) key_norm: Option<Region<f32>>,
    pub(crate) attention_output: Matrix,
    pub(crate) feed_forward_norm: Region<f32>,
    pub(crate) gate_up: Matrix,
    pub(crate) down: Matrix,
}

/// All weights.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) sizes: Sizes,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_norm: Region<f32>,
    /// Also serves embedding look-ups, where the two are tied.
    pub(crate) head: Matrix,
    pub(crate) embedding: Option<Matrix>,
    pub(crate) frequencies: Vec<f32>,
}

/// What a decoder takes in memory, known from the header alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Number of parameters.
    pub(crate) parameters: u64,
    /// Bytes of the packed matrices.
    pub(crate) weight_bytes: u64,
    /// Bytes of keys and values of a token.
    pub(crate) kv_bytes_per_token: usize,
}

/// Which matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Qkv(usize),
    AttentionOutput(usize),
    GateUp(usize),
    Down(usize),
    Head(Role),
}

/// A matrix to be packed.
#[derive(Clone, Copy, Debug)]
struct Plan {
    kind: Kind,
    packing: Packing,
    inputs: usize,
    outputs: usize,
    start: usize,
}

/// Checks every tensor's shape and says what the decoder will take.
///
/// # Errors
/// [`LoadError::Malformed`] if a tensor is missing or has another shape than the configuration says.
pub(crate) fn footprint(source: &dyn Source, format: WeightFormat) -> Result<Footprint, LoadError> {
    let config = source.config();
    check_shapes(source)?;
    let sizes = Sizes::of(config);
    let (_, bytes) = plan(source, format);
    Ok(Footprint {
        parameters: config.parameters(source.shape(Role::Head).is_none()),
        weight_bytes: bytes as u64,
        kv_bytes_per_token: sizes.page_floats(config) * size_of::<f32>() / PAGE,
    })
}

impl Decoder {
    /// Reads and packs all weights.
    ///
    /// # Errors
    /// As [`footprint`], and if a file cannot be read.
    pub(crate) fn load(source: &dyn Source, format: WeightFormat, threads: usize) -> Result<Self, LoadError> {
        check_shapes(source)?;
        let config = source.config().clone();
        let sizes = Sizes::of(&config);
        let (plans, bytes) = plan(source, format);
        let mut region = Region::zeroed(bytes);
        pack_all(source, &plans, &mut region, threads)?;
        let region = Arc::new(region);
        let mut matrices = plans.iter().map(|plan| {
            Matrix::new(Arc::clone(&region), plan.start, plan.packing, plan.inputs, plan.outputs)
        });
        let missing = || {
            let (path, _) = source.place(Role::Embedding);
            LoadError::Malformed { path: path.to_path_buf(), reason: "the model has no layers".to_owned() }
        };
        let mut next = || matrices.next().ok_or_else(missing);
        let mut layers = Vec::new();
        for layer in 0..config.layers {
            let part = |part| Role::Layer(layer, part);
            layers.push(Layer {
                attention_norm: vector(source, part(Part::AttentionNorm), sizes.hidden)?,
                qkv: next()?,
                qkv_bias: qkv_bias(source, layer, &sizes)?,
                query_norm: head_norm(source, part(Part::QueryNorm), &sizes)?,
                key_norm: head_norm(source, part(Part::KeyNorm), &sizes)?,
                attention_output: next()?,
                feed_forward_norm: vector(source, part(Part::FeedForwardNorm), sizes.hidden)?,
                gate_up: next()?,
                down: next()?,
            });
        }
        let head = next()?;
        let embedding = if source.shape(Role::Head).is_some() { Some(next()?) } else { None };
        let mut frequencies = config.rope_frequencies();
        if source.shape(Role::RopeFactors).is_some() {
            let mut factors = Vec::new();
            source.rows(Role::RopeFactors, 0..1, &mut factors)?;
            for (frequency, factor) in frequencies.iter_mut().zip(factors) {
                *frequency /= factor;
            }
        }
        let final_norm = vector(source, Role::FinalNorm, sizes.hidden)?;
        Ok(Self { config, sizes, layers, final_norm, head, embedding, frequencies })
    }
}

/// Roles of a decoder with the rows and columns they must have. A vector is one row.
fn expected_shapes(source: &dyn Source) -> impl Iterator<Item = (Role, (usize, usize))> {
    let c = source.config().clone();
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let mut shapes = vec![(Role::Embedding, (c.vocab_size, c.hidden)), (Role::FinalNorm, (1, c.hidden))];
    if source.shape(Role::Head).is_some() {
        shapes.push((Role::Head, (c.vocab_size, c.hidden)));
    }
    if source.shape(Role::RopeFactors).is_some() {
        shapes.push((Role::RopeFactors, (1, c.head_dim / 2)));
    }
    let mut parts = vec![
        (Part::AttentionNorm, (1, c.hidden)),
        (Part::Query, (q, c.hidden)),
        (Part::Key, (kv, c.hidden)),
        (Part::Value, (kv, c.hidden)),
        (Part::AttentionOutput, (c.hidden, q)),
        (Part::FeedForwardNorm, (1, c.hidden)),
        (Part::Gate, (c.intermediate, c.hidden)),
        (Part::Up, (c.intermediate, c.hidden)),
        (Part::Down, (c.hidden, c.intermediate)),
    ];
    match c.architecture {
        Architecture::Llama => {}
        Architecture::Qwen2 => {
            parts.extend([(Part::QueryBias, (1, q)), (Part::KeyBias, (1, kv)), (Part::ValueBias, (1, kv))]);
        }
        Architecture::Qwen3 => {
            parts.extend([(Part::QueryNorm, (1, c.head_dim)), (Part::KeyNorm, (1, c.head_dim))]);
        }
    }
    let layers = (0..c.layers).flat_map(move |layer| {
        parts.clone().into_iter().map(move |(part, shape)| (Role::Layer(layer, part), shape))
    });
    shapes.into_iter().chain(layers)
}

pub(crate) fn check_shapes(source: &dyn Source) -> Result<(), LoadError> {
    for (role, (rows, columns)) in expected_shapes(source) {
        let (path, name) = source.place(role);
        let reason = match source.shape(role) {
            Some(shape) if shape == (rows, columns) => continue,
            Some((found_rows, found_columns)) => format!(
                "tensor {name} has {found_rows} rows of {found_columns}, but the configuration says {rows} of {columns}"
            ),
            None => format!("tensor {name} is missing"),
        };
        return Err(LoadError::Malformed { path: path.to_path_buf(), reason });
    }
    Ok(())
}

/// Matrices in the order of their use, and the bytes of all.
fn plan(source: &dyn Source, format: WeightFormat) -> (Vec<Plan>, usize) {
    let config = source.config();
    let sizes = Sizes::of(config);
    let mut plans = Vec::new();
    let mut start = 0;
    let mut add = |kind, inputs, outputs| {
        let packing = packing(source, format, kind);
        plans.push(Plan { kind, packing, inputs, outputs, start });
        start += outputs / TILE * packing.tile_bytes(inputs);
    };
    for layer in 0..config.layers {
        add(Kind::Qkv(layer), sizes.hidden, sizes.qkv);
        add(Kind::AttentionOutput(layer), sizes.attention, sizes.hidden);
        add(Kind::GateUp(layer), sizes.hidden, 2 * sizes.intermediate);
        add(Kind::Down(layer), sizes.intermediate, sizes.hidden);
    }
    if source.shape(Role::Head).is_some() {
        add(Kind::Head(Role::Head), sizes.hidden, sizes.vocab);
    }
    add(Kind::Head(Role::Embedding), sizes.hidden, sizes.vocab);
    (plans, start)
}

/// How a matrix is packed: four-bit blocks stay as they are if all of it consists of them.
fn packing(source: &dyn Source, format: WeightFormat, kind: Kind) -> Packing {
    if format == WeightFormat::F32 {
        return Packing::F32;
    }
    let part = |layer, part| source.has_levels(Role::Layer(layer, part));
    let has_levels = match kind {
        Kind::Qkv(layer) => [Part::Query, Part::Key, Part::Value].into_iter().all(|p| part(layer, p)),
        // Padded heads would move the borders of blocks.
        Kind::AttentionOutput(layer) => {
            part(layer, Part::AttentionOutput) && source.config().head_dim.is_multiple_of(LANES)
        }
        Kind::GateUp(layer) => part(layer, Part::Gate) && part(layer, Part::Up),
        Kind::Down(layer) => part(layer, Part::Down),
        Kind::Head(role) => source.has_levels(role),
    };
    if has_levels { Packing::Four } else { Packing::Eight }
}

/// Packs all matrices, a few tiles at a time, on several threads.
fn pack_all(source: &dyn Source, plans: &[Plan], region: &mut [u8], threads: usize) -> Result<(), LoadError> {
    let mut pieces = Vec::new();
    let mut rest = region;
    for plan in plans {
        let bytes = plan.packing.tile_bytes(plan.inputs);
        for tile in 0..plan.outputs / TILE {
            let (piece, tail) = std::mem::take(&mut rest).split_at_mut(bytes);
            pieces.push(Mutex::new(Some((plan, tile, piece))));
            rest = tail;
        }
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || {
        let mut packer = Packer::new(source);
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let taken = piece.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some((plan, tile, out)) = taken else { continue };
            if let Err(error) = packer.pack(plan, tile, out) {
                next.store(pieces.len(), Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(work);
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Gathers the rows of tiles.
struct Packer<'a> {
    source: &'a dyn Source,
    /// 32 rows, padded.
    rows: Vec<f32>,
    /// Rows as read.
    row: Vec<f32>,
    /// 32 rows of four-bit blocks, padded.
    levels: Vec<Levels>,
    /// Rows of them as read.
    level_row: Vec<Levels>,
}

impl<'a> Packer<'a> {
    fn new(source: &'a dyn Source) -> Self {
        Self { source, rows: Vec::new(), row: Vec::new(), levels: Vec::new(), level_row: Vec::new() }
    }

    fn pack(&mut self, plan: &Plan, tile: usize, out: &mut [u8]) -> Result<(), LoadError> {
        let blocks = plan.inputs / BLOCK;
        if plan.packing == Packing::Four {
            self.levels.clear();
            self.levels.resize(TILE * blocks, Levels::ZERO);
        } else {
            self.rows.clear();
            self.rows.resize(TILE * plan.inputs, 0.0);
        }
        let mut lane = 0;
        while lane < TILE {
            let Some((role, row)) = self.origin(plan.kind, tile * TILE + lane) else {
                lane += 1;
                continue;
            };
            let mut count = 1;
            while lane + count < TILE
                && self.origin(plan.kind, tile * TILE + lane + count) == Some((role, row + count))
            {
                count += 1;
            }
            if plan.packing == Packing::Four {
                self.source.levels(role, row..row + count, &mut self.level_row)?;
                let width = self.level_row.len() / count;
                let rows = self.levels[lane * blocks..].chunks_mut(blocks);
                for (values, to) in self.level_row.chunks(width).zip(rows) {
                    to[..width].copy_from_slice(values);
                }
            } else {
                self.source.rows(role, row..row + count, &mut self.row)?;
                let rows = &mut self.rows[lane * plan.inputs..][..count * plan.inputs];
                place_rows(self.source.config(), plan, &self.row, rows);
            }
            lane += count;
        }
        match plan.packing {
            Packing::Four => pack_levels(plan.inputs, &self.levels, out),
            packing => pack_tile(packing, plan.inputs, &self.rows, out),
        }
        Ok(())
    }

    /// Tensor and row that an output of a packed matrix comes from; `None` for padding.
    fn origin(&self, kind: Kind, output: usize) -> Option<(Role, usize)> {
        let config = self.source.config();
        let sizes = Sizes::of(config);
        match kind {
            Kind::Qkv(layer) => {
                let (head, dim) = (output / sizes.head, output % sizes.head);
                if dim >= config.head_dim {
                    return None;
                }
                let (part, head) = match head {
                    head if head < config.heads => (Part::Query, head),
                    head if head < config.heads + config.kv_heads => (Part::Key, head - config.heads),
                    head => (Part::Value, head - config.heads - config.kv_heads),
                };
                let heads = if part == Part::Query { config.heads } else { config.kv_heads };
                let dim = if part == Part::Value { dim } else { self.rotated(dim) };
                (head < heads).then_some((Role::Layer(layer, part), head * config.head_dim + dim))
            }
            Kind::GateUp(layer) => {
                let channel = output / TILE * LANES + output % LANES;
                let part = if output % TILE < LANES { Part::Gate } else { Part::Up };
                (channel < config.intermediate).then_some((Role::Layer(layer, part), channel))
            }
            Kind::AttentionOutput(layer) => {
                (output < config.hidden).then_some((Role::Layer(layer, Part::AttentionOutput), output))
            }
            Kind::Down(layer) => (output < config.hidden).then_some((Role::Layer(layer, Part::Down), output)),
            Kind::Head(role) => (output < config.vocab_size).then_some((role, output)),
        }
    }

    /// Row within a head, as stored, of a dimension whose partner is half a head away.
    fn rotated(&self, dim: usize) -> usize {
        let half = self.source.config().head_dim / 2;
        if self.source.interleaved_rotation() { dim % half * 2 + dim / half } else { dim }
    }
}

/// Copies rows as read to padded rows.
fn place_rows(config: &DecoderConfig, plan: &Plan, values: &[f32], rows: &mut [f32]) {
    let columns = values.len() / (rows.len() / plan.inputs);
    for (values, to) in values.chunks(columns).zip(rows.chunks_mut(plan.inputs)) {
        match plan.kind {
            Kind::AttentionOutput(_) => {
                let head = Sizes::of(config).head;
                for (values, to) in values.chunks(config.head_dim).zip(to.chunks_mut(head)) {
                    to[..config.head_dim].copy_from_slice(values);
                }
            }
            _ => to[..columns].copy_from_slice(values),
        }
    }
}

/// A vector, padded with zeros.
fn vector(source: &dyn Source, role: Role, length: usize) -> Result<Region<f32>, LoadError> {
    let mut values = Vec::new();
    source.rows(role, 0..1, &mut values)?;
    let mut region = Region::zeroed(length);
    region[..values.len()].copy_from_slice(&values);
    Ok(region)
}

fn head_norm(source: &dyn Source, role: Role, sizes: &Sizes) -> Result<Option<Region<f32>>, LoadError> {
    match source.config().architecture {
        Architecture::Qwen3 => vector(source, role, sizes.head).map(Some),
        _ => Ok(None),
    }
}

/// Biases of queries, keys and values in the order of the packed matrix.
fn qkv_bias(source: &dyn Source, layer: usize, sizes: &Sizes) -> Result<Option<Region<f32>>, LoadError> {
    let config = source.config();
    if config.architecture != Architecture::Qwen2 {
        return Ok(None);
    }
    let mut region = Region::zeroed(sizes.qkv);
    let mut values = Vec::new();
    let mut heads = region.chunks_mut(sizes.head);
    for (part, count) in [
        (Part::QueryBias, config.heads),
        (Part::KeyBias, config.kv_heads),
        (Part::ValueBias, config.kv_heads),
    ] {
        let rows: Range<usize> = 0..1;
        source.rows(Role::Layer(layer, part), rows, &mut values)?;
        for (values, to) in values.chunks(config.head_dim).zip(heads.by_ref().take(count)) {
            to[..config.head_dim].copy_from_slice(values);
        }
    }
    Ok(Some(region))
}
