//! The decoder on CPUs.
//!
//! A forward pass is a list of phases, each spread over the pool's threads: products by tiles of outputs, attention by
//! blocks of query rows, the rest by rows. Scratch buffers are kept from step to step.
//!
//! Invariant: the logits of a sequence depend on its tokens alone, bit for bit; see [`matmul`] and [`attention`].

#[allow(clippy::needless_range_loop, reason = "kernels unroll over register tiles by index")]
mod attention;
mod cpus;
mod decoder;
#[allow(clippy::needless_range_loop, reason = "kernels unroll over register tiles by index")]
mod matmul;
mod pool;
mod rows;
mod simd;
mod sync;
#[cfg(test)]
mod tests;

pub(crate) use decoder::check_shapes;

use attention::{Entry, Heads, Plan, attend};
use decoder::{Decoder, footprint};
use matmul::{Action, Input, Matrix, Output, Packing, Quantised, multiply, quantise};
use pool::Pool;
use rows::{Norm, Rotation, normalise, rotate};
use simd::Level;

use crate::backend::{Backend, Feed, LogitRows, Shape, admit};
use crate::error::{EngineError, LoadError};
use crate::kv::{KvTree, PAGE, Scope, Sequence};
use crate::memory::Region;
use crate::model::{LoadOptions, ModelInfo, WeightFormat};
use crate::weights::Checkpoint;

/// A decoder whose weights, keys and values are in memory and whose arithmetic runs on a pool of pinned threads.
///
/// The thread that runs [`Backend::forward`] is the pool's first: the first pass pins it to the first CPU.
#[derive(Debug)]
pub(crate) struct CpuBackend {
    shape: Shape,
    decoder: Decoder,
    format: WeightFormat,
    level: Level,
    tree: KvTree,
    pool: Pool,
    pinned: Option<std::thread::ThreadId>,
    rotations: Rotations,
    scratch: Scratch,
}

/// Describes a model from its header: what it is, and what it will take in memory. Digests are empty.
///
/// # Errors
/// See [`LoadError`].
pub(crate) fn describe(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<ModelInfo, LoadError> {
    let source = checkpoint.source();
    let config = source.config();
    let footprint = footprint(source, options.weights)?;
    Ok(ModelInfo {
        name: checkpoint.name(),
        architecture: config.architecture.name().to_owned(),
        parameters: footprint.parameters,
        context_length: options.context_length.unwrap_or(usize::MAX).min(config.context_length),
        vocab_size: config.vocab_size,
        file_bytes: checkpoint.bytes(),
        weight_bytes: footprint.weight_bytes,
        kv_bytes_per_token: footprint.kv_bytes_per_token,
        ..ModelInfo::default()
    })
}

impl CpuBackend {
    /// Loads the weights of a GGUF file or a folder of safetensors.
    #[cfg(test)]
    pub(crate) fn load(path: &std::path::Path, options: &LoadOptions) -> Result<Self, LoadError> {
        let mut checkpoint = Checkpoint::open(path)?;
        if let Some(adapter) = &options.adapter {
            checkpoint = checkpoint.with_adapter(adapter)?;
        }
        let info = describe(&checkpoint, options)?;
        Self::new(&checkpoint, info, options)
    }

    /// Loads the weights of an open checkpoint that `describe` has described.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        info: ModelInfo,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let pool = Pool::new(&options.threads);
        let decoder = Decoder::load(checkpoint.source(), options.weights, pool.threads())?;
        let shape = Shape {
            vocab_size: info.vocab_size,
            context_length: info.context_length,
            kv_bytes_per_token: info.kv_bytes_per_token,
        };
        let tree = KvTree::new(decoder.sizes.page_floats(&decoder.config), options.kv_on_host());
        Ok(Self {
            shape,
            format: options.weights,
            level: Level::detect(),
            tree,
            pool,
            pinned: None,
            rotations: Rotations::default(),
            scratch: Scratch::default(),
            decoder,
        })
    }
}

impl Backend for CpuBackend {
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
        let page_bytes = self.tree.pool().page_bytes();
        self.tree.reserve(sequence, tokens).map_err(|out| out.in_bytes(page_bytes))
    }

    fn forward(
        &mut self,
        feeds: &mut [Feed<'_, Sequence>],
        logits: &mut LogitRows,
    ) -> Result<(), EngineError> {
        let thread = std::thread::current().id();
        if self.pinned != Some(thread) {
            self.pool.pin_caller();
            self.pinned = Some(thread);
        }
        admit(self, feeds)?;
        let rows = self.scratch.prepare(feeds, &self.decoder, self.format);
        if rows == 0 {
            logits.clear();
            return Ok(());
        }
        let longest = feeds.iter().map(|feed| feed.sequence.len() + feed.tokens.len()).max().unwrap_or(0);
        self.rotations.cover(longest, &self.decoder.frequencies);
        let config = &self.decoder.config;
        let entries = feeds.iter().map(|feed| Entry { sequence: feed.sequence, tokens: feed.tokens.len() });
        let group = config.heads / config.kv_heads;
        self.scratch.plan.prepare(entries, group, config.kv_heads, self.pool.threads());
        let scratches = self.scratch.plan.scratches(self.pool.threads(), config.kv_heads);
        self.scratch.scores.grow(self.scratch.plan.scratch() * scratches);
        let mut pass = Pass {
            decoder: &self.decoder,
            level: self.level,
            pool: &self.pool,
            rotations: &self.rotations,
            scratch: &mut self.scratch,
            rows,
        };
        pass.embed(feeds);
        for layer in 0..pass.decoder.layers.len() {
            pass.attention(layer);
            pass.feed_forward(layer);
        }
        pass.logits(feeds, logits);
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
        self.tree.pool().in_use() * self.tree.pool().page_bytes()
    }
}

/// Cosines and sines of all positions so far asked for.
#[derive(Debug, Default)]
struct Rotations {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    positions: usize,
}

impl Rotations {
    fn cover(&mut self, positions: usize, frequencies: &[f32]) {
        if positions <= self.positions {
            return;
        }
        let wanted = positions.next_power_of_two().max(256);
        for position in self.positions..wanted {
            for frequency in frequencies {
                // The angle is rounded to single precision, as the models were trained with.
                let angle = f64::from(position as f32 * frequency);
                self.cosines.push(angle.cos() as f32);
                self.sines.push(angle.sin() as f32);
            }
        }
        self.positions = wanted;
    }
}

/// Buffers of a forward pass.
#[derive(Debug, Default)]
struct Scratch {
    /// Residual stream.
    residual: Region<f32>,
    /// Normalised rows.
    normed: Region<f32>,
    /// Queries, keys and values.
    qkv: Region<f32>,
    /// Results of attention.
    attention: Region<f32>,
    /// Within the feed-forward network.
    intermediate: Region<f32>,
    /// Rows as they go into products.
    quantised: Quantised,
    /// Scores of each thread's block.
    scores: Region<f32>,
    positions: Vec<usize>,
    pages: Vec<*mut f32>,
    plan: Plan,
}

// SAFETY: the page pointers are only followed within a forward pass, which borrows the sequences that own the pages.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Makes room for a step and notes each row's position and page. Gives the number of rows.
    fn prepare(&mut self, feeds: &[Feed<'_, Sequence>], decoder: &Decoder, format: WeightFormat) -> usize {
        let sizes = &decoder.sizes;
        self.positions.clear();
        self.pages.clear();
        for feed in feeds {
            for offset in 0..feed.tokens.len() {
                let position = feed.sequence.len() + offset;
                self.positions.push(position);
                self.pages.push(feed.sequence.pages()[position / PAGE].as_ptr());
            }
        }
        let rows = self.positions.len();
        self.residual.grow(rows * sizes.hidden);
        self.normed.grow(rows * sizes.hidden);
        self.qkv.grow(rows * sizes.qkv);
        self.attention.grow(rows * sizes.attention);
        self.intermediate.grow(rows * sizes.intermediate);
        if format == WeightFormat::Q8_0 {
            self.quantised.prepare(rows, sizes.hidden.max(sizes.attention).max(sizes.intermediate));
        }
        rows
    }
}

/// Rows of activations, for tasks that each work on some of them.
#[derive(Clone, Copy)]
struct Rows(*const f32);
// SAFETY: tasks only read through it.
unsafe impl Sync for Rows {}

/// One forward pass.
struct Pass<'a> {
    decoder: &'a Decoder,
    level: Level,
    pool: &'a Pool,
    rotations: &'a Rotations,
    scratch: &'a mut Scratch,
    rows: usize,
}

impl Pass<'_> {
    /// Looks the tokens up.
    fn embed(&mut self, feeds: &[Feed<'_, Sequence>]) {
        let embedding = self.decoder.embedding.as_ref().unwrap_or(&self.decoder.head);
        let rows = self.scratch.residual.chunks_mut(self.decoder.sizes.hidden);
        let tokens = feeds.iter().flat_map(|feed| feed.tokens);
        for (row, token) in rows.zip(tokens) {
            embedding.unpack(*token as usize, row);
        }
    }

    fn attention(&mut self, index: usize) {
        let (layer, sizes, config) = (&self.decoder.layers[index], &self.decoder.sizes, &self.decoder.config);
        self.normalise(self.rows, &layer.attention_norm);
        let normed = self.scratch.normed.as_ptr();
        let qkv = self.scratch.qkv.as_mut_ptr();
        let output = Output { to: qkv, stride: sizes.qkv, columns: sizes.qkv, action: Action::Set };
        self.multiply(&layer.qkv, self.rows, normed, output);
        let pointer = |region: &Option<Region<f32>>| region.as_ref().map_or(std::ptr::null(), |r| r.as_ptr());
        let rotation = Rotation {
            rows: qkv,
            stride: sizes.qkv,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            head_stride: sizes.head,
            bias: pointer(&layer.qkv_bias),
            query_norm: pointer(&layer.query_norm),
            key_norm: pointer(&layer.key_norm),
            epsilon: config.rms_epsilon,
            cosines: self.rotations.cosines.as_ptr(),
            sines: self.rotations.sines.as_ptr(),
            positions: self.scratch.positions.as_ptr(),
            pages: self.scratch.pages.as_ptr(),
            layer_offset: index * sizes.layer_floats(config),
        };
        let level = self.level;
        self.by_rows(self.rows, &|first, last| {
            // SAFETY: `Scratch::prepare` made room for the rows and gave each a page with its slot, which no other
            // sequence sees; `Rotations::cover` covers the positions.
            unsafe { rotate(level, &rotation, first, last) };
        });
        let heads = Heads {
            queries: qkv,
            query_stride: sizes.qkv,
            out: self.scratch.attention.as_mut_ptr(),
            out_stride: sizes.attention,
            head_stride: sizes.head,
            group: config.heads / config.kv_heads,
            kv_heads: config.kv_heads,
            layer_offset: index * sizes.layer_floats(config),
            scratch: self.scratch.scores.as_mut_ptr(),
        };
        // SAFETY: the plan was made for this step; keys and values of the rows were stored above, earlier ones in
        // earlier steps; the scores have room for the plan on each thread.
        unsafe { attend(self.pool, self.level, &self.scratch.plan, &heads) };
        let residual = self.scratch.residual.as_mut_ptr();
        let output =
            Output { to: residual, stride: sizes.hidden, columns: sizes.hidden, action: Action::Add };
        self.multiply(&layer.attention_output, self.rows, heads.out, output);
    }

    fn feed_forward(&mut self, index: usize) {
        let (layer, sizes) = (&self.decoder.layers[index], &self.decoder.sizes);
        self.normalise(self.rows, &layer.feed_forward_norm);
        let normed = self.scratch.normed.as_ptr();
        let to = self.scratch.intermediate.as_mut_ptr();
        let (stride, columns) = (sizes.intermediate, sizes.intermediate);
        self.multiply(
            &layer.gate_up,
            self.rows,
            normed,
            Output { to, stride, columns, action: Action::SwiGlu },
        );
        let residual = self.scratch.residual.as_mut_ptr();
        let (stride, columns) = (sizes.hidden, sizes.hidden);
        let output = Output { to: residual, stride, columns, action: Action::Add };
        self.multiply(&layer.down, self.rows, to, output);
    }

    fn logits(&mut self, feeds: &[Feed<'_, Sequence>], logits: &mut LogitRows) {
        let (hidden, vocab) = (self.decoder.sizes.hidden, self.decoder.config.vocab_size);
        let (mut wanted, mut end) = (0, 0);
        for feed in feeds {
            end += feed.tokens.len();
            let rows = feed.logits.min(feed.tokens.len());
            self.scratch.residual.copy_within((end - rows) * hidden..end * hidden, wanted * hidden);
            wanted += rows;
        }
        let logits = logits.room(wanted * vocab);
        if wanted == 0 {
            return;
        }
        self.normalise(wanted, &self.decoder.final_norm);
        let normed = self.scratch.normed.as_ptr();
        let output = Output { to: logits.as_mut_ptr(), stride: vocab, columns: vocab, action: Action::Set };
        self.multiply(&self.decoder.head, wanted, normed, output);
    }

    /// Normalises the first rows of the residual stream.
    fn normalise(&mut self, rows: usize, weights: &Region<f32>) {
        let norm = Norm {
            from: self.scratch.residual.as_ptr(),
            to: self.scratch.normed.as_mut_ptr(),
            stride: self.decoder.sizes.hidden,
            width: self.decoder.config.hidden,
            weights: weights.as_ptr(),
            epsilon: self.decoder.config.rms_epsilon,
        };
        let level = self.level;
        self.by_rows(rows, &|first, last| {
            // SAFETY: `Scratch::prepare` made room for the rows; weights are padded like them.
            unsafe { normalise(level, &norm, first, last) };
        });
    }

    /// Multiplies rows of as many floats as the matrix has inputs.
    fn multiply(&mut self, matrix: &Matrix, rows: usize, from: *const f32, output: Output) {
        let input = match matrix.packing() {
            Packing::F32 => Input::Floats(from),
            Packing::Eight | Packing::Four => {
                let view = self.scratch.quantised.view(matrix.inputs);
                let (level, from, stride) = (self.level, Rows(from), matrix.inputs);
                self.by_rows(rows, &|first, last| {
                    let Rows(from) = { from };
                    // SAFETY: the rows are there, and `Scratch::prepare` made room for them quantised.
                    unsafe { quantise(level, from, stride, view, first, last) };
                });
                Input::Quantised(view)
            }
        };
        // SAFETY: input and output have the rows; `Level::detect` found the level.
        unsafe { multiply(self.pool, self.level, matrix, rows, input, output) };
    }

    /// Runs light work on rows: on this thread alone if there are few.
    fn by_rows(&self, rows: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        const FEW: usize = 4;
        if rows <= FEW || self.pool.threads() == 1 {
            return work(0, rows);
        }
        let tasks = rows.div_ceil(FEW).min(4 * self.pool.threads());
        self.pool.run(tasks, &|task, _| work(rows * task / tasks, rows * (task + 1) / tasks));
    }
}
