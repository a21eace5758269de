//! The CUDA device: opening it, and the kernels of our own.
//!
//! [`Kernels`] does for a layer what [`super::attention`] and the rotation do over candle's operators, in three
//! launches. A test emulates the kernels on the CPU and compares the two.
//!
//! Safety of the launches: all work of a backend goes to the one stream of its device, in order, so no launch sees
//! memory that another still writes, and memory is freed in stream order. Every pointer is a slice that lives until
//! after the launch; grid and tables come from one [`Step`], whose indices lie inside the shapes that are asserted
//! beside each launch.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, CudaView, LaunchConfig, PushKernelArg, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Storage, Tensor};
use half::bf16;

use super::attention::Pool;
use super::step::{CHUNK, Step, TILE, Tables as HostTables};
use crate::config::DecoderConfig;
use crate::kv::PAGE;

const SOURCE: &str = include_str!("kernels.cu");
/// Threads of a block of the attention kernel: eight for two queries.
const THREADS: u32 = TILE as u32 / 2 * 8;

/// Opens a device. It gets a stream of its own: the default one would differ between the threads that load and run.
pub(super) fn open(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    let stream = device.as_cuda_device()?.cuda_stream();
    let context = stream.context();
    // SAFETY: this process uses one stream on the device, so the order of its work needs no events.
    unsafe { context.disable_event_tracking() };
    // Without this the driver would give memory back and take it again in every step.
    let keep_all = u64::MAX;
    // SAFETY: the device is the context's own, its default pool lives as long as the device, and the attribute is a
    // 64-bit number that is only read during the call.
    unsafe {
        let pool =
            result::device::get_default_mem_pool(context.cu_device()).map_err(candle_core::Error::wrap)?;
        let value = (&raw const keep_all).cast_mut().cast();
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, value).map_err(candle_core::Error::wrap)?;
    }
    Ok(device)
}

/// Free and total bytes of a device's memory.
pub(super) fn memory(device: &Device) -> Result<(usize, usize)> {
    let stream = device.as_cuda_device()?.cuda_stream();
    stream.context().mem_get_info().map_err(candle_core::Error::wrap)
}

/// Compiled kernels for one model.
#[derive(Clone, Debug)]
pub(super) struct Kernels {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    store: CudaFunction,
    attend: CudaFunction,
    merge: CudaFunction,
}

/// Tables of a step, on the device.
#[derive(Debug)]
pub(super) struct Tables {
    items: CudaSlice<u32>,
    segments: CudaSlice<u32>,
    members: CudaSlice<u32>,
    rows: CudaSlice<u32>,
    slots: CudaSlice<u32>,
    item_count: u32,
    row_count: usize,
    partials: usize,
}

/// A layer's part in attention.
pub(super) struct Layer<'a> {
    pub(super) index: usize,
    /// Rows × (heads + 2 × key-value heads) × width.
    pub(super) qkv: &'a Tensor,
    /// Normalisation of query and of key heads.
    pub(super) head_norms: Option<&'a (Tensor, Tensor)>,
    /// Cosines and sines, rows × 1 × half a head.
    pub(super) rotation: &'a (Tensor, Tensor),
}

impl Kernels {
    /// Compiles the kernels for a model; `None` where they do not fit: not a CUDA device, or unusual heads.
    pub(super) fn compile(device: &Device, config: &DecoderConfig, kv: DType) -> Result<Option<Self>> {
        let Device::Cuda(device) = device else { return Ok(None) };
        if !config.head_dim.is_multiple_of(32)
            || config.head_dim > 128
            || !matches!(kv, DType::BF16 | DType::F32)
        {
            return Ok(None);
        }
        let stream = device.cuda_stream();
        let context = stream.context();
        let (major, minor) = context.compute_capability().map_err(candle_core::Error::wrap)?;
        let define = |name: &str, value: usize| format!("-D{name}={value}");
        let options = CompileOptions {
            name: Some("countermove.cu".to_owned()),
            options: vec![
                format!("--gpu-architecture=compute_{major}{minor}"),
                "--std=c++17".to_owned(),
                define("HEAD", config.head_dim),
                define("KV_BF16", usize::from(kv == DType::BF16)),
                define("PAGE", PAGE),
                define("CHUNK", CHUNK),
                define("TILE", TILE),
            ],
            ..CompileOptions::default()
        };
        let ptx = compile_ptx_with_opts(SOURCE, options).map_err(candle_core::Error::wrap)?;
        let module = context.load_module(ptx).map_err(candle_core::Error::wrap)?;
        let function = |name| module.load_function(name).map_err(candle_core::Error::wrap);
        Ok(Some(Self {
            store: function("store")?,
            attend: function("attend")?,
            merge: function("merge")?,
            device: device.clone(),
            stream,
        }))
    }

    /// Puts a step's tables on the device.
    pub(super) fn tables(&self, step: &Step, config: &DecoderConfig) -> Result<Tables> {
        let host = HostTables::new(step, config.heads / config.kv_heads);
        let upload = |numbers: &Vec<u32>| self.device.clone_htod(numbers);
        Ok(Tables {
            item_count: (host.items.len() / HostTables::ITEM) as u32,
            items: upload(&host.items)?,
            segments: upload(&host.segments)?,
            members: upload(&host.members)?,
            rows: upload(&host.rows)?,
            slots: upload(&step.slots)?,
            row_count: step.tokens.len(),
            partials: step.partials,
        })
    }

    /// Keeps the keys and values of a layer's rows in the pool and attends to them: rows × (heads × width).
    pub(super) fn attention(
        &self,
        config: &DecoderConfig,
        pool: &Pool,
        tables: &Tables,
        layer: &Layer<'_>,
    ) -> Result<Tensor> {
        // SAFETY: `store` writes all of it before `attend` reads it.
        let queries = unsafe { self.device.alloc(tables.row_count * config.heads * config.head_dim) }?;
        let rotate =
            Store { kernels: self, config, tables, layer, layers: pool.layers, queries: queries.into() };
        pool.tensor.inplace_op1(&rotate)?;
        let queries = rotate.queries.into_inner();
        let (storage, _) = pool.tensor.storage_and_layout();
        let values = match &*storage {
            Storage::Cuda(storage) if storage.dtype() == DType::BF16 => self.attend(
                config,
                storage.as_cuda_slice::<bf16>()?,
                pool.layers,
                tables,
                layer.index,
                &queries,
            )?,
            Storage::Cuda(storage) => self.attend(
                config,
                storage.as_cuda_slice::<f32>()?,
                pool.layers,
                tables,
                layer.index,
                &queries,
            )?,
            _ => candle_core::bail!("the keys and values are not on a CUDA device"),
        };
        let values = Storage::Cuda(CudaStorage::wrap_cuda_slice(values, self.device.clone()));
        let shape = (tables.row_count, config.heads * config.head_dim);
        Ok(Tensor::from_storage(values, shape, BackpropOp::none(), false))
    }

    fn attend<T: CudaDType>(
        &self,
        config: &DecoderConfig,
        pool: &CudaSlice<T>,
        layers: usize,
        tables: &Tables,
        layer: usize,
        queries: &CudaSlice<f32>,
    ) -> Result<CudaSlice<f32>> {
        let (heads, kv_heads, width) = (config.heads as u32, config.kv_heads as u32, config.head_dim);
        let per_head = tables.partials * config.heads;
        // SAFETY: `attend` writes the partials of every row, each once, before `merge` reads them; `merge` writes all
        // of `out`.
        let (mut top, mut sum, mut values, mut out) = unsafe {
            (
                self.device.alloc::<f32>(per_head)?,
                self.device.alloc::<f32>(per_head)?,
                self.device.alloc::<f32>(per_head * width)?,
                self.device.alloc::<f32>(tables.row_count * config.heads * width)?,
            )
        };
        let (layers, layer, scale) = (layers as u32, layer as u32, 1.0 / (width as f32).sqrt());
        let mut launch = self.stream.launch_builder(&self.attend);
        launch.arg(queries).arg(pool).arg(&tables.items).arg(&tables.segments).arg(&tables.members);
        launch.arg(&tables.rows).arg(&mut top).arg(&mut sum).arg(&mut values);
        launch.arg(&heads).arg(&kv_heads).arg(&layers).arg(&layer).arg(&scale);
        let grid = LaunchConfig {
            grid_dim: (tables.item_count, kv_heads, 1),
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: types and order are those of the kernel. Items name segments, segments name members and pages of
        // the pool, members name rows, and a row's partials lie below `partials`, all by construction of the step.
        unsafe { launch.launch(grid) }.map_err(candle_core::Error::wrap)?;
        let mut launch = self.stream.launch_builder(&self.merge);
        launch.arg(&top).arg(&sum).arg(&values).arg(&tables.rows).arg(&mut out).arg(&heads);
        let grid = LaunchConfig {
            grid_dim: (tables.row_count as u32, heads, 1),
            block_dim: (width as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: as above; one thread for each number of `out`.
        unsafe { launch.launch(grid) }.map_err(candle_core::Error::wrap)?;
        Ok(out)
    }
}

/// Writes keys and values to the pool, which it runs on, and the rotated queries beside it.
struct Store<'a> {
    kernels: &'a Kernels,
    config: &'a DecoderConfig,
    tables: &'a Tables,
    layer: &'a Layer<'a>,
    layers: usize,
    queries: RefCell<CudaSlice<f32>>,
}

impl Store<'_> {
    fn launch<T: CudaDType>(&self, pool: &mut CudaSlice<T>) -> Result<()> {
        let (config, tables, layer) = (self.config, self.tables, self.layer);
        let all_heads = config.heads + 2 * config.kv_heads;
        let (cosines, sines) = layer.rotation;
        // Without normalisation its pointers are never followed, so any will do.
        let (query_norm, key_norm) = layer.head_norms.map_or((cosines, cosines), |(query, key)| (query, key));
        let guards = [layer.qkv, query_norm, key_norm, cosines, sines].map(Tensor::storage_and_layout);
        let mut floats = Vec::new();
        for (storage, layout) in &guards {
            floats.push(view(storage, layout)?);
        }
        let half = config.head_dim / 2;
        let mut queries = self.queries.borrow_mut();
        if floats[0].len() < tables.row_count * all_heads * config.head_dim
            || floats[3].len() < tables.row_count * half
            || floats[4].len() < tables.row_count * half
            || (layer.head_norms.is_some() && floats[1].len().min(floats[2].len()) < config.head_dim)
        {
            candle_core::bail!("a layer's tensors are smaller than its step");
        }
        let (heads, kv_heads) = (config.heads as u32, config.kv_heads as u32);
        let (layers, index) = (self.layers as u32, layer.index as u32);
        let normed = u32::from(layer.head_norms.is_some());
        let mut launch = self.kernels.stream.launch_builder(&self.kernels.store);
        for floats in &floats {
            launch.arg(floats);
        }
        launch.arg(&tables.slots).arg(pool).arg(&mut *queries);
        launch.arg(&heads).arg(&kv_heads).arg(&layers).arg(&index).arg(&normed).arg(&config.rms_epsilon);
        let grid = LaunchConfig {
            grid_dim: (tables.row_count as u32, all_heads as u32, 1),
            block_dim: (half as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: types and order are those of the kernel, and the sizes were checked. Slots lie in pages of the
        // pool, and no two rows have the same one.
        unsafe { launch.launch(grid) }.map_err(candle_core::Error::wrap)?;
        Ok(())
    }
}

impl InplaceOp1 for Store<'_> {
    fn name(&self) -> &'static str {
        "store-keys-and-values"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("the kernel runs on CUDA devices only")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        match storage.dtype() {
            DType::BF16 => self.launch(storage.as_cuda_slice_mut::<bf16>()?),
            _ => self.launch(storage.as_cuda_slice_mut::<f32>()?),
        }
    }
}

/// The numbers of a contiguous tensor.
fn view<'a>(storage: &'a Storage, layout: &Layout) -> Result<CudaView<'a, f32>> {
    let (Storage::Cuda(storage), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a tensor for the kernel is not contiguous on the CUDA device");
    };
    Ok(storage.as_cuda_slice::<f32>()?.slice(from..to))
}
