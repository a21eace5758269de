//! The kernels of `kernels.cu`, compiled for one model, and their launches.

use std::ptr::NonNull;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg,
    result,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{Device, Result, Storage, Tensor};
use half::bf16;

use super::super::attention::Pool;
use super::super::step::{CHUNK, FORMS, Form, MANY_QUERIES, Step, Tables as HostTables, score_scale};
use super::device::{Address, address, allow_shared_memory, compile, slice_address};
use crate::backend::HostMemory;
use crate::config::DecoderConfig;
use crate::kv::PAGE;

const SOURCE: &str = include_str!("../kernels.cu");
/// Heads of a block of the kernels that work on heads.
const BLOCK_HEADS: u32 = 4;
/// Positions that the attention kernel has in shared memory at a time.
const STRIP: usize = 64;
/// Threads of a block of the kernels that work on a row.
const ROW_THREADS: u32 = 256;
/// No address: the kernel does without.
pub(super) const NULL: Address = 0;

/// Compiled kernels for one model.
#[derive(Debug)]
pub(in super::super) struct Kernels {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    embed: CudaFunction,
    normalise: CudaFunction,
    gate: CudaFunction,
    digest: CudaFunction,
    store: CudaFunction,
    /// In the order of [`FORMS`].
    attend: Vec<CudaFunction>,
    merge: CudaFunction,
    config: DecoderConfig,
    /// Positions × {cosines, sines} × half a head.
    rotation: CudaSlice<f32>,
}

/// Tables of a step, on the device.
#[derive(Debug)]
pub(in super::super) struct Tables {
    _numbers: CudaSlice<u32>,
    pub(super) tokens: Address,
    pub(super) wanted: Address,
    slots: Address,
    rows: Address,
    items: Address,
    segments: Address,
    members: Address,
    item_count: u32,
    /// Which form of the attention kernel they are for.
    form: usize,
    pub(super) row_count: usize,
    partials: usize,
}

/// A layer's part in attention.
pub(in super::super) struct Layer<'a> {
    pub(in super::super) index: usize,
    /// Rows × (heads + 2 × key-value heads) × width, of single precision.
    pub(in super::super) qkv: &'a Tensor,
    /// Normalisation of query and of key heads.
    pub(in super::super) head_norms: Option<&'a (Tensor, Tensor)>,
}

/// What attention is computed from, and in what.
pub(super) struct Attention {
    pub(super) layer: usize,
    pub(super) layers: usize,
    pub(super) pool: Address,
    /// Rows × (heads + 2 × key-value heads) × width, of single precision.
    pub(super) qkv: Address,
    /// Of the same width as a row, or [`NULL`].
    pub(super) bias: Address,
    /// Weights of the normalisation of query and of key heads, or [`NULL`].
    pub(super) head_norms: (Address, Address),
}

/// Buffers of attention: queries, partial results and the result of a step.
#[derive(Debug)]
pub(super) struct Scratch {
    queries: CudaSlice<bf16>,
    top: CudaSlice<f32>,
    sum: CudaSlice<f32>,
    values: CudaSlice<f32>,
    out: CudaSlice<bf16>,
}

impl Kernels {
    /// Compiles the kernels for a model; `None` where they do not fit: not a CUDA device, one without products of BF16
    /// (before compute capability 8.0), or unusual heads.
    pub(in super::super) fn compile(
        device: &Device,
        config: &DecoderConfig,
        frequencies: &[f32],
        context: usize,
    ) -> Result<Option<Self>> {
        let Device::Cuda(device) = device else { return Ok(None) };
        if !config.head_dim.is_multiple_of(32) || config.head_dim > 128 {
            return Ok(None);
        }
        let stream = device.cuda_stream();
        let load = |form: Form| {
            let sizes = [("TILE", form.tile), ("HALVES", form.halves)];
            compile(
                device,
                SOURCE,
                &[&[("HEAD", config.head_dim), ("PAGE", PAGE), ("CHUNK", CHUNK)], &sizes[..]].concat(),
            )
        };
        let modules = FORMS.into_iter().map(load).collect::<Result<Option<Vec<_>>>>()?;
        let Some(modules) = modules else { return Ok(None) };
        let attend =
            |module: &Arc<CudaModule>| module.load_function("attend").map_err(candle_core::Error::wrap);
        let attend = modules.iter().map(attend).collect::<Result<Vec<_>>>()?;
        for (function, form) in attend.iter().zip(FORMS) {
            allow_shared_memory(function, shared_bytes(form, config.head_dim))?;
        }
        // The other kernels are the same in each form.
        let function = |name| modules[0].load_function(name).map_err(candle_core::Error::wrap);
        Ok(Some(Self {
            embed: function("embed")?,
            normalise: function("normalise")?,
            gate: function("gate")?,
            digest: function("digest")?,
            store: function("store")?,
            merge: function("merge")?,
            attend,
            rotation: device.clone_htod(&rotation(frequencies, context))?,
            config: config.clone(),
            device: device.clone(),
            stream,
        }))
    }

    pub(super) fn device(&self) -> &CudaDevice {
        &self.device
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Room on the device whose numbers are whatever was there. It is written before it is read.
    pub(super) fn room<T: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<T>> {
        // SAFETY: the callers' kernels and products write all that is read later.
        unsafe { self.device.alloc(count.max(1)) }
    }

    /// Memory of the host that the device writes to without a copy in between.
    pub(super) fn locked(&self, count: usize) -> Result<Box<dyn HostMemory>> {
        Locked::new(self.stream.context(), count).map(|memory| Box::new(memory) as Box<dyn HostMemory>)
    }

    /// Address of a slice.
    pub(super) fn at<T>(&self, slice: &CudaSlice<T>) -> Address {
        slice_address(slice, &self.stream)
    }

    /// Puts a step's tables on the device, in one copy.
    pub(in super::super) fn tables(&self, step: &Step) -> Result<Tables> {
        let group = self.config.heads / self.config.kv_heads;
        let form = usize::from(step.tokens.len() * group >= MANY_QUERIES);
        let host = HostTables::new(step, group, FORMS[form].tile);
        let parts =
            [&step.tokens, &step.wanted, &step.slots, &host.rows, &host.items, &host.segments, &host.members];
        let numbers = self.device.clone_htod(&parts.map(Vec::as_slice).concat())?;
        let mut next = self.at(&numbers);
        let [tokens, wanted, slots, rows, items, segments, members] = parts.map(|part| {
            let place = next;
            next += size_of_val(part.as_slice()) as Address;
            place
        });
        Ok(Tables {
            _numbers: numbers,
            tokens,
            wanted,
            slots,
            rows,
            items,
            segments,
            members,
            form,
            item_count: (host.items.len() / HostTables::ITEM) as u32,
            row_count: step.tokens.len(),
            partials: step.partials,
        })
    }

    /// Rows of an embedding of BF16, in single precision.
    pub(super) fn embed(
        &self,
        embedding: Address,
        tokens: Address,
        residual: Address,
        rows: usize,
    ) -> Result<()> {
        let width = self.config.hidden as u32;
        let mut launch = self.stream.launch_builder(&self.embed);
        launch.arg(&embedding).arg(&tokens).arg(&residual).arg(&width);
        // SAFETY: types and order are those of the kernel; tokens are below the vocabulary, which the backend checks.
        unsafe { launch.launch(blocks(rows, 1, ROW_THREADS)) }.map_err(candle_core::Error::wrap)?;
        Ok(())
    }

    /// Normalised rows of the residual, in BF16: those that `of` names, or the first ones.
    pub(super) fn normalise(
        &self,
        residual: Address,
        of: Address,
        weight: Address,
        out: Address,
        rows: usize,
    ) -> Result<()> {
        let (width, epsilon) = (self.config.hidden as u32, self.config.rms_epsilon);
        let mut launch = self.stream.launch_builder(&self.normalise);
        launch.arg(&residual).arg(&of).arg(&weight).arg(&out).arg(&width).arg(&epsilon);
        // SAFETY: types and order are those of the kernel; `of` names rows of the residual.
        unsafe { launch.launch(blocks(rows, 1, ROW_THREADS)) }.map_err(candle_core::Error::wrap)?;
        Ok(())
    }

    /// Gated activation of rows × {gates, ups} of BF16.
    pub(super) fn gate(&self, gates_and_ups: Address, out: Address, rows: usize) -> Result<()> {
        let width = self.config.intermediate as u32;
        let mut launch = self.stream.launch_builder(&self.gate);
        launch.arg(&gates_and_ups).arg(&out).arg(&width);
        let grid = blocks(rows, (width / 2).div_ceil(ROW_THREADS), ROW_THREADS);
        // SAFETY: types and order are those of the kernel.
        unsafe { launch.launch(grid) }.map_err(candle_core::Error::wrap)?;
        Ok(())
    }

    /// A number for the bits of each row.
    pub(super) fn digest(&self, numbers: Address, row_bytes: usize, rows: usize) -> Result<Vec<u64>> {
        let out = self.room::<u64>(rows)?;
        let (words, to) = ((row_bytes / 4) as u32, self.at(&out));
        let mut launch = self.stream.launch_builder(&self.digest);
        launch.arg(&numbers).arg(&to).arg(&words);
        // SAFETY: types and order are those of the kernel, which writes a number for each row.
        unsafe { launch.launch(blocks(rows, 1, ROW_THREADS)) }.map_err(candle_core::Error::wrap)?;
        self.device.clone_dtoh(&out)
    }

    /// Buffers for the attention of a step.
    pub(super) fn scratch(&self, tables: &Tables) -> Result<Scratch> {
        let (heads, width) = (self.config.heads, self.config.head_dim);
        Ok(Scratch {
            queries: self.room(tables.row_count * heads * width)?,
            top: self.room(tables.partials * heads)?,
            sum: self.room(tables.partials * heads)?,
            values: self.room(tables.partials * heads * width)?,
            out: self.room(tables.row_count * heads * width)?,
        })
    }

    /// Keeps the keys and values of a layer's rows in the pool and attends to them. Gives where rows × (heads × width)
    /// of BF16 lie in the scratch.
    pub(super) fn attention(&self, tables: &Tables, work: &Attention, scratch: &Scratch) -> Result<Address> {
        let config = &self.config;
        let (heads, kv_heads, width) = (config.heads as u32, config.kv_heads as u32, config.head_dim);
        let (layers, layer) = (work.layers as u32, work.layer as u32);
        let (query_norm, key_norm) = work.head_norms;
        let (rotation, queries) = (self.at(&self.rotation), self.at(&scratch.queries));
        let mut launch = self.stream.launch_builder(&self.store);
        launch
            .arg(&work.qkv)
            .arg(&work.bias)
            .arg(&query_norm)
            .arg(&key_norm)
            .arg(&rotation)
            .arg(&tables.rows);
        launch.arg(&tables.slots).arg(&work.pool).arg(&queries);
        launch.arg(&heads).arg(&kv_heads).arg(&layers).arg(&layer).arg(&config.rms_epsilon);
        let all_heads = heads + 2 * kv_heads;
        let grid = blocks(tables.row_count, all_heads.div_ceil(BLOCK_HEADS), BLOCK_HEADS * width as u32 / 2);
        // SAFETY: types and order are those of the kernel. Slots lie in pages of the pool, no two rows have the same
        // one, and positions are below the context, which the backend checks.
        unsafe { launch.launch(grid) }.map_err(candle_core::Error::wrap)?;

        let (top, sum, values) = (self.at(&scratch.top), self.at(&scratch.sum), self.at(&scratch.values));
        let scale = score_scale(width);
        let form = FORMS[tables.form];
        let mut launch = self.stream.launch_builder(&self.attend[tables.form]);
        launch.arg(&queries).arg(&work.pool).arg(&tables.items).arg(&tables.segments).arg(&tables.members);
        launch.arg(&tables.rows).arg(&top).arg(&sum).arg(&values);
        launch.arg(&heads).arg(&kv_heads).arg(&layers).arg(&layer).arg(&scale);
        let grid = LaunchConfig {
            shared_mem_bytes: shared_bytes(form, width),
            ..blocks(tables.item_count as usize, kv_heads, (form.tile / (16 * form.halves) * 32) as u32)
        };
        // SAFETY: types and order are those of the kernel. Items name segments, segments name members and pages of
        // the pool, members name rows, and a row's partials lie below `partials`, all by construction of the step.
        unsafe { launch.launch(grid) }.map_err(candle_core::Error::wrap)?;

        let out = self.at(&scratch.out);
        let mut launch = self.stream.launch_builder(&self.merge);
        launch.arg(&top).arg(&sum).arg(&values).arg(&tables.rows).arg(&out).arg(&heads);
        let grid = blocks(tables.row_count, heads.div_ceil(BLOCK_HEADS), BLOCK_HEADS * width as u32 / 4);
        // SAFETY: as above; one thread for four numbers of `out`. Each partial was written by `attend`, once.
        unsafe { launch.launch(grid) }.map_err(candle_core::Error::wrap)?;
        Ok(out)
    }

    /// Attention of a layer whose products candle makes: rows × (heads × width), in single precision.
    pub(in super::super) fn attend(&self, pool: &Pool, tables: &Tables, layer: &Layer<'_>) -> Result<Tensor> {
        let head_norms = match layer.head_norms {
            Some((query, key)) => (address::<f32>(query)?, address::<f32>(key)?),
            None => (NULL, NULL),
        };
        let scratch = self.scratch(tables)?;
        let work = Attention {
            layer: layer.index,
            layers: pool.layers,
            pool: address::<bf16>(&pool.tensor)?,
            qkv: address::<f32>(layer.qkv)?,
            bias: NULL,
            head_norms,
        };
        self.attention(tables, &work, &scratch)?;
        let shape = (tables.row_count, self.config.heads * self.config.head_dim);
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(scratch.out, self.device.clone()));
        Tensor::from_storage(storage, shape, BackpropOp::none(), false).to_dtype(candle_core::DType::F32)
    }
}

/// Host memory that is locked for the device.
#[derive(Debug)]
struct Locked {
    /// What unlocks it again needs the context.
    context: Arc<CudaContext>,
    place: NonNull<f32>,
    count: usize,
}

// SAFETY: it is memory like other memory, owned by this value alone.
unsafe impl Send for Locked {}

impl Locked {
    fn new(context: &Arc<CudaContext>, count: usize) -> Result<Self> {
        context.bind_to_thread().map_err(candle_core::Error::wrap)?;
        // SAFETY: the memory is written before it is read, by zeros here. The processor reads it, so it must not be
        // write-combined: no flags.
        let place = unsafe {
            let place =
                result::malloc_host(count.max(1) * size_of::<f32>(), 0).map_err(candle_core::Error::wrap)?;
            place.cast::<u8>().write_bytes(0, count * size_of::<f32>());
            place.cast::<f32>()
        };
        let Some(place) = NonNull::new(place) else {
            candle_core::bail!("no host memory for {count} logits")
        };
        Ok(Self { context: Arc::clone(context), place, count })
    }
}

impl HostMemory for Locked {
    fn numbers(&self) -> &[f32] {
        // SAFETY: `new` made and filled so many numbers, and whoever lets the device write waits for it.
        unsafe { std::slice::from_raw_parts(self.place.as_ptr(), self.count) }
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; the value is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.place.as_ptr(), self.count) }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: made by `new`, freed once.
            let _ = unsafe { result::free_host(self.place.as_ptr().cast()) };
        }
    }
}

/// Bytes of shared memory of the attention kernel.
fn shared_bytes(form: Form, head_dim: usize) -> u32 {
    let queries = if form.halves == 1 { 0 } else { form.tile };
    ((queries + 2 * 2 * STRIP) * (head_dim + 8) * size_of::<bf16>()) as u32
}

fn blocks(x: usize, y: u32, threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (x as u32, y, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
}

/// Cosines and sines of every position. The angle is rounded to single precision, as the models were trained with.
fn rotation(frequencies: &[f32], context: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity(context * 2 * frequencies.len());
    for position in 0..context {
        let angles = || frequencies.iter().map(|frequency| f64::from(position as f32 * frequency));
        table.extend(angles().map(|angle| angle.cos() as f32));
        table.extend(angles().map(|angle| angle.sin() as f32));
    }
    table
}
