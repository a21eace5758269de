//! The operations on a CUDA GPU: products by cuBLAS that add to what is there, and kernels of our own between them.
//!
//! Activations that enter products are BF16, and so are queries, keys, values and their gradients; sums, residuals and
//! their gradients are single precision. Nothing waits for the GPU before a step ends. A test emulates the kernels on
//! the CPU and compares them with [`CandleKernels`].
//!
//! Safety of the launches: all work goes to the one stream of the device, in order, so no launch sees memory that
//! another still writes, and memory is freed in stream order. Every address is that of a contiguous tensor which lives
//! until after its launch, and whose size was compared with those that the launch is given.

mod places;
mod products;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::quantized::GgmlDType;
use candle_core::{D, DType, Device, Result, Shape, Storage, Tensor, bail};
use countermove_model::gpu::{self, Address};
use half::bf16;

use super::{CandleKernels, Dropout, Frozen, Heads, Kernels, Right, Rotation, Term, Update};
use crate::optimiser::Moments;
use crate::pack::Layout;
use places::Places;

/// Behind what the model's kernels have in common with them.
const SOURCE: &str = include_str!("kernels.cu");
/// Sizes of the kernels.
const TILE: usize = 64;
const STRIP: usize = 32;
/// Rows that one block looks from when it sums what a tile of keys and values gets.
const PART_ROWS: usize = 256;
const THREADS: u32 = 128;
const BLOCK_HEADS: u32 = 4;
const ROW_THREADS: u32 = 256;
/// Blocks for each array of the kernels that work on many.
const PARTS: usize = 32;
/// No address: the kernel does without.
const NULL: Address = 0;

/// Kernels for one model on one GPU.
#[derive(Debug)]
pub(crate) struct CudaKernels {
    candle: CandleKernels,
    device: CudaDevice,
    stream: Arc<CudaStream>,
    head: usize,
    functions: Functions,
    /// That of the last pack.
    seen: Mutex<Option<Arc<Seen>>>,
}

#[derive(Debug)]
struct Functions {
    normalise: CudaFunction,
    normalise_backward: CudaFunction,
    split: CudaFunction,
    join: CudaFunction,
    gate: CudaFunction,
    gate_backward: CudaFunction,
    drop: CudaFunction,
    cross_entropy: CudaFunction,
    squares: CudaFunction,
    prepare: CudaFunction,
    adamw: CudaFunction,
    along: CudaFunction,
    attend: CudaFunction,
    attend_backward_queries: CudaFunction,
    attend_backward_keys: CudaFunction,
    collect: CudaFunction,
}

/// Which row sees which, on the device.
#[derive(Debug)]
struct Seen {
    layout: Layout,
    /// Ends, the furthest end of each strip, parts of tiles, first part of each tile.
    _numbers: CudaSlice<u32>,
    ends: Address,
    furthest: Address,
    parts: Address,
    firsts: Address,
    part_count: usize,
}

impl CudaKernels {
    /// Kernels for heads of a width; `None` where they do not fit: a GPU without products of BF16 (before compute
    /// capability 8.0), or unusual heads.
    ///
    /// # Errors
    /// If they cannot be compiled.
    pub(crate) fn new(device: &Device, head: usize, blocks: Option<GgmlDType>) -> Result<Option<Self>> {
        let Device::Cuda(cuda) = device else { return Ok(None) };
        let stream = cuda.cuda_stream();
        let fits = head.is_multiple_of(16) && (16..=128).contains(&head);
        let Some(module) = fits.then(|| gpu::compile(cuda, SOURCE, &[("HEAD", head)])).transpose()?.flatten()
        else {
            return Ok(None);
        };
        let function = |name| module.load_function(name).map_err(candle_core::Error::wrap);
        let functions = Functions {
            normalise: function("normalise")?,
            normalise_backward: function("normalise_backward")?,
            split: function("split")?,
            join: function("join")?,
            gate: function("gate")?,
            gate_backward: function("gate_backward")?,
            drop: function("drop")?,
            cross_entropy: function("cross_entropy")?,
            squares: function("squares")?,
            prepare: function("prepare")?,
            adamw: function("adamw")?,
            along: function("along")?,
            attend: function("attend")?,
            attend_backward_queries: function("attend_backward_queries")?,
            attend_backward_keys: function("attend_backward_keys")?,
            collect: function("collect")?,
        };
        let attention =
            [&functions.attend, &functions.attend_backward_queries, &functions.attend_backward_keys];
        for function in attention {
            gpu::allow_shared_memory(function, shared_bytes(head))?;
        }
        Ok(Some(Self {
            candle: CandleKernels::new(device.clone(), DType::BF16, blocks),
            device: cuda.clone(),
            stream,
            head,
            functions,
            seen: Mutex::new(None),
        }))
    }

    /// Room for a tensor; its numbers are whatever was there, and are written before they are read.
    fn room<T: CudaDType + DeviceRepr>(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        // SAFETY: the callers launch what writes all of it.
        let slice: CudaSlice<T> = unsafe { self.device.alloc(shape.elem_count().max(1)) }?;
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, self.device.clone()));
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    }

    fn room_of(&self, dtype: DType, shape: impl Into<Shape>) -> Result<Tensor> {
        match dtype {
            DType::BF16 => self.room::<bf16>(shape),
            _ => self.room::<f32>(shape),
        }
    }

    fn seen(&self, layout: &Layout) -> Result<Arc<Seen>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.as_ref().filter(|known| known.layout == *layout) {
            return Ok(Arc::clone(known));
        }
        let ends = layout.ends();
        let furthest = ends.chunks(STRIP).map(|strip| strip.iter().copied().max().unwrap_or(0)).collect();
        let (parts, firsts) = Layout::parts(&ends, TILE, PART_ROWS);
        let part_count = parts.len() / 3;
        let tables = [ends, furthest, parts, firsts];
        let numbers = self.device.clone_htod(&tables.concat())?;
        let mut next = gpu::slice_address(&numbers, &self.stream);
        let [ends, furthest, parts, firsts] = tables.map(|table| {
            let place = next;
            next += size_of_val(table.as_slice()) as Address;
            place
        });
        let layout = layout.clone();
        let new = Seen { layout, _numbers: numbers, ends, furthest, parts, firsts, part_count };
        Ok(Arc::clone(seen.insert(Arc::new(new))))
    }

    /// The kernels' own checks of queries, keys and values: heads, key-value heads and rows.
    fn sizes(&self, heads: &Heads<'_>, layout: &Layout) -> Result<(usize, usize, usize)> {
        let (count, rows, width) = heads.queries.dims3()?;
        let kv_heads = heads.keys.dim(0)?;
        let fit = heads.keys.dims3()? == (kv_heads, rows, width)
            && heads.values.dims3()? == (kv_heads, rows, width);
        if !fit || width != self.head || rows != layout.tokens() || !count.is_multiple_of(kv_heads.max(1)) {
            bail!("queries, keys and values do not fit each other or the pack");
        }
        Ok((count, kv_heads, rows))
    }

    /// Tiles of rows × heads of an attention kernel.
    fn tiles(&self, rows: usize, heads: u32) -> LaunchConfig {
        LaunchConfig {
            shared_mem_bytes: shared_bytes(self.head),
            ..grid(rows.div_ceil(TILE), heads, THREADS)
        }
    }

    /// Rows × heads by a kernel that works on pairs of numbers of a head.
    fn by_head(&self, rows: usize, heads: usize) -> LaunchConfig {
        let blocks = (heads as u32).div_ceil(BLOCK_HEADS);
        grid(rows, blocks, BLOCK_HEADS * self.head as u32 / 2)
    }
}

/// Bytes of shared memory of the attention kernels.
fn shared_bytes(head: usize) -> u32 {
    ((2 * TILE + 2 * STRIP) * (head + 8) * size_of::<bf16>()) as u32
}

fn grid(x: usize, y: u32, threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (x as u32, y, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
}

/// A thread for each of so many numbers.
fn each(count: usize) -> LaunchConfig {
    grid(count.div_ceil(ROW_THREADS as usize), 1, ROW_THREADS)
}

/// Address of a tensor's numbers of either type, and whether they are BF16.
fn place(tensor: &Tensor) -> Result<(Address, u32)> {
    match tensor.dtype() {
        DType::BF16 => Ok((gpu::address::<bf16>(tensor)?, 1)),
        _ => Ok((gpu::address::<f32>(tensor)?, 0)),
    }
}

fn same_shape(tensors: &[&Tensor]) -> Result<()> {
    match tensors.windows(2).all(|pair| pair[0].shape() == pair[1].shape()) {
        true => Ok(()),
        false => bail!("tensors of one kernel differ in shape"),
    }
}

fn rotation_addresses(rotation: Option<&Rotation>, rows: usize, head: usize) -> Result<[Address; 2]> {
    let Some(rotation) = rotation else { return Ok([NULL; 2]) };
    if rotation.cosines.dims2()? != (rows, head / 2) || rotation.sines.dims2()? != (rows, head / 2) {
        bail!("a rotation does not fit {rows} rows of heads of {head}");
    }
    Ok([gpu::address::<f32>(&rotation.cosines)?, gpu::address::<f32>(&rotation.sines)?])
}

/// Launches a kernel with arguments in the order that it has them.
macro_rules! launch {
    ($self:ident.$function:ident, $grid:expr, $($argument:expr),+ $(,)?) => {{
        let mut launch = $self.stream.launch_builder(&$self.functions.$function);
        $(launch.arg($argument);)+
        // SAFETY: types and order are those of the kernel; see the head of this file for the addresses.
        unsafe { launch.launch($grid) }.map_err(candle_core::Error::wrap)?;
    }};
}

impl Kernels for CudaKernels {
    fn device(&self) -> &Device {
        self.candle.device()
    }

    fn dtype(&self) -> DType {
        DType::BF16
    }

    fn freeze(&self, values: Vec<f32>, rows: usize, columns: usize) -> Result<Frozen> {
        self.candle.freeze(values, rows, columns)
    }

    fn prepare(&self, matrices: &[(&Tensor, f32)]) -> Result<Vec<Frozen>> {
        let tensors: Vec<&Tensor> = matrices.iter().map(|(matrix, _)| *matrix).collect();
        let places = Places::of(&tensors);
        let slab = self.room::<bf16>(places.total)?;
        let mut table = Vec::new();
        for ((matrix, scale), first) in matrices.iter().zip(&places.firsts) {
            table.extend([gpu::address::<f32>(matrix)?, matrix.elem_count() as u64, *first as u64]);
            table.push(u64::from(scale.to_bits()));
        }
        let held = self.device.clone_htod(&table)?;
        let (table, to) = (gpu::slice_address(&held, &self.stream), gpu::address::<bf16>(&slab)?);
        launch!(self.prepare, grid(PARTS, matrices.len() as u32, ROW_THREADS), &table, &to);
        let ready = places.views(&slab, &tensors)?.into_iter();
        ready
            .map(|matrix| Ok(Frozen { forward: Right::Dense(matrix.t()?), backward: Right::Dense(matrix) }))
            .collect()
    }

    fn product(&self, terms: &[Term<'_>], onto: Option<&Tensor>, dtype: DType) -> Result<Tensor> {
        let mut out = onto
            .map(|onto| if dtype == DType::F32 { onto.copy() } else { onto.to_dtype(dtype) })
            .transpose()?;
        // The last are those of low rank: what is added to them is rounded once.
        for term in terms.iter().rev() {
            let held;
            let right = match term.right {
                Right::Dense(right) => right,
                Right::Blocks { weight, transposed } => {
                    let weight = weight.dequantize(self.device())?.to_dtype(DType::BF16)?;
                    held = if *transposed { weight } else { weight.t()? };
                    &held
                }
                Right::Packed(_) | Right::Short(_) => bail!("packed tiles are for the CPU's own kernels"),
            };
            let adds = out.is_some();
            let sum = match out.take() {
                Some(sum) => sum,
                None => self.room_of(dtype, (term.left.dim(0)?, right.dim(1)?))?,
            };
            self.multiply(term.left, right, &sum, adds)?;
            out = Some(sum);
        }
        match out {
            Some(out) => Ok(out),
            None => bail!("a product needs a term"),
        }
    }

    fn outer(&self, left: &Tensor, right: &Tensor, scale: f32) -> Result<Tensor> {
        let ((rows, height), (of_right, width)) = (left.dims2()?, right.dims2()?);
        if rows != of_right {
            bail!("an outer product of {rows} and {of_right} rows");
        }
        let out = self.room::<f32>((height, width))?;
        let operands = [gpu::address::<bf16>(right)?, gpu::address::<bf16>(left)?];
        self.gemm(operands, [true, false], [width, height, rows], [width, height], &out, false, scale)?;
        Ok(out)
    }

    fn cast(&self, x: &Tensor) -> Result<Tensor> {
        x.to_dtype(DType::BF16)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f32, dtype: DType) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        if weight.dims1()? != width {
            bail!("a normalisation of {width} by {:?}", weight.shape());
        }
        let out = self.room_of(dtype, (rows, width))?;
        let (from, by, (to, halved)) = (gpu::address::<f32>(x)?, gpu::address::<f32>(weight)?, place(&out)?);
        let width = width as u32;
        launch!(self.normalise, grid(rows, 1, ROW_THREADS), &from, &by, &to, &width, &epsilon, &halved);
        Ok(out)
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f32,
        gradient: &Tensor,
        onto: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        same_shape(&[x, gradient, onto.unwrap_or(x)])?;
        if weight.dims1()? != width {
            bail!("a normalisation of {width} by {:?}", weight.shape());
        }
        let out = self.room::<f32>((rows, width))?;
        let (from, by, gradient) =
            (gpu::address::<f32>(x)?, gpu::address::<f32>(weight)?, gpu::address::<f32>(gradient)?);
        let onto = onto.map(gpu::address::<f32>).transpose()?.unwrap_or(NULL);
        let (to, width) = (gpu::address::<f32>(&out)?, width as u32);
        launch!(
            self.normalise_backward,
            grid(rows, 1, ROW_THREADS),
            &from,
            &by,
            &gradient,
            &onto,
            &to,
            &width,
            &epsilon
        );
        Ok(out)
    }

    fn split_heads(&self, x: &Tensor, heads: usize, rotation: Option<&Rotation>) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        if width != heads * self.head {
            bail!("{width} numbers are not {heads} heads of {}", self.head);
        }
        let [cosines, sines] = rotation_addresses(rotation, rows, self.head)?;
        let out = self.room::<bf16>((heads, rows, self.head))?;
        let (from, to) = (gpu::address::<f32>(x)?, gpu::address::<bf16>(&out)?);
        let (count, of) = (rows as u32, heads as u32);
        launch!(self.split, self.by_head(rows, heads), &from, &cosines, &sines, &to, &count, &of);
        Ok(out)
    }

    fn merge_heads(&self, x: &Tensor, rotation: Option<&Rotation>, dtype: DType) -> Result<Tensor> {
        let (heads, rows, width) = x.dims3()?;
        if width != self.head {
            bail!("heads of {width} instead of {}", self.head);
        }
        let [cosines, sines] = rotation_addresses(rotation, rows, self.head)?;
        let out = self.room_of(dtype, (rows, heads * width))?;
        let (from, (to, halved)) = (gpu::address::<bf16>(x)?, place(&out)?);
        let (count, of) = (rows as u32, heads as u32);
        launch!(self.join, self.by_head(rows, heads), &from, &cosines, &sines, &to, &count, &of, &halved);
        Ok(out)
    }

    fn attention(&self, heads: Heads<'_>, layout: &Layout) -> Result<(Tensor, Tensor)> {
        let (count, kv_heads, rows) = self.sizes(&heads, layout)?;
        let seen = self.seen(layout)?;
        let (out, sums) = (self.room::<bf16>((count, rows, self.head))?, self.room::<f32>((count, rows))?);
        let (until, furthest) = (seen.ends, seen.furthest);
        let [queries, keys, values] = addresses(&heads)?;
        let (to, sums_at) = (gpu::address::<bf16>(&out)?, gpu::address::<f32>(&sums)?);
        let (rows_arg, heads_arg, kv_arg) = (rows as u32, count as u32, kv_heads as u32);
        let (scale, _) = scales(self.head);
        launch!(
            self.attend,
            self.tiles(rows, heads_arg),
            &queries,
            &keys,
            &values,
            &until,
            &furthest,
            &to,
            &sums_at,
            &rows_arg,
            &heads_arg,
            &kv_arg,
            &scale
        );
        Ok((out, sums))
    }

    fn attention_backward(
        &self,
        heads: Heads<'_>,
        layout: &Layout,
        output: &Tensor,
        sums: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let (count, kv_heads, rows) = self.sizes(&heads, layout)?;
        same_shape(&[heads.queries, output, gradient])?;
        if sums.dims2()? != (count, rows) {
            bail!("sums of other rows");
        }
        let seen = self.seen(layout)?;
        let (until, furthest) = (seen.ends, seen.furthest);
        let along = self.room::<f32>((count, rows))?;
        let by_queries = self.room::<bf16>((count, rows, self.head))?;
        let by_keys = self.room::<bf16>((kv_heads, rows, self.head))?;
        let by_values = self.room::<bf16>((kv_heads, rows, self.head))?;
        let [queries, keys, values] = addresses(&heads)?;
        let (output, gradient) = (gpu::address::<bf16>(output)?, gpu::address::<bf16>(gradient)?);
        let (sums, along_at) = (gpu::address::<f32>(sums)?, gpu::address::<f32>(&along)?);
        let (rows_arg, heads_arg, kv_arg) = (rows as u32, count as u32, kv_heads as u32);
        let (scale, factor) = scales(self.head);
        let all = (count * rows) as u32;
        let warps = grid((count * rows).div_ceil(ROW_THREADS as usize / 32), 1, ROW_THREADS);
        launch!(self.along, warps, &output, &gradient, &along_at, &all);
        let to = gpu::address::<bf16>(&by_queries)?;
        launch!(
            self.attend_backward_queries,
            self.tiles(rows, heads_arg),
            &queries,
            &keys,
            &values,
            &gradient,
            &sums,
            &along_at,
            &until,
            &furthest,
            &to,
            &rows_arg,
            &heads_arg,
            &kv_arg,
            &scale,
            &factor
        );
        let shape = (seen.part_count * kv_heads, TILE * self.head);
        let (key_parts, value_parts) = (self.room::<f32>(shape)?, self.room::<f32>(shape)?);
        let (to_keys, to_values) = (gpu::address::<f32>(&key_parts)?, gpu::address::<f32>(&value_parts)?);
        launch!(
            self.attend_backward_keys,
            LaunchConfig {
                shared_mem_bytes: shared_bytes(self.head),
                ..grid(seen.part_count, kv_arg, THREADS)
            },
            &queries,
            &keys,
            &values,
            &gradient,
            &sums,
            &along_at,
            &until,
            &seen.parts,
            &to_keys,
            &to_values,
            &rows_arg,
            &heads_arg,
            &kv_arg,
            &scale
        );
        let tiles = grid(rows.div_ceil(TILE), kv_arg, THREADS);
        for (parts, out, factor) in [(to_keys, &by_keys, factor), (to_values, &by_values, 1.0)] {
            let to = gpu::address::<bf16>(out)?;
            launch!(self.collect, tiles, &parts, &seen.firsts, &to, &rows_arg, &kv_arg, &factor);
        }
        Ok([by_queries, by_keys, by_values])
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        same_shape(&[gate, up])?;
        let pairs = even(gate)? / 2;
        let out = self.room::<bf16>(gate.shape().clone())?;
        let (gate, up, to) =
            (gpu::address::<bf16>(gate)?, gpu::address::<bf16>(up)?, gpu::address::<bf16>(&out)?);
        let count = pairs as u32;
        launch!(self.gate, each(pairs), &gate, &up, &to, &count);
        Ok(out)
    }

    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, gradient: &Tensor) -> Result<[Tensor; 2]> {
        same_shape(&[gate, up, gradient])?;
        let pairs = even(gate)? / 2;
        let (by_gate, by_up) =
            (self.room::<bf16>(gate.shape().clone())?, self.room::<bf16>(gate.shape().clone())?);
        let [gate, up, gradient] = [gate, up, gradient].map(gpu::address::<bf16>);
        let (gate, up, gradient) = (gate?, up?, gradient?);
        let (to_gate, to_up) = (gpu::address::<bf16>(&by_gate)?, gpu::address::<bf16>(&by_up)?);
        let count = pairs as u32;
        launch!(self.gate_backward, each(pairs), &gate, &up, &gradient, &to_gate, &to_up, &count);
        Ok([by_gate, by_up])
    }

    fn dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        let out = self.room_of(x.dtype(), x.shape().clone())?;
        let ((from, halved), (to, _)) = (place(x)?, place(&out)?);
        let (count, low, high) = (x.elem_count() as u32, dropout.seed as u32, (dropout.seed >> 32) as u32);
        let (threshold, growth) = (dropout.threshold(), dropout.growth());
        launch!(
            self.drop,
            each(x.elem_count()),
            &from,
            &to,
            &count,
            &low,
            &high,
            &threshold,
            &growth,
            &halved
        );
        Ok(out)
    }

    fn cross_entropy(&self, logits: &Tensor, targets: &[u32], scale: f32) -> Result<(Tensor, Tensor)> {
        let (rows, width) = logits.dims2()?;
        if targets.len() != rows || targets.iter().any(|&target| target as usize >= width) {
            bail!("{} targets do not fit {rows} × {width} logits", targets.len());
        }
        let (losses, gradient) = (self.room::<f32>(rows)?, self.room::<bf16>((rows, width))?);
        let numbers = self.device.clone_htod(targets)?;
        let targets = gpu::slice_address(&numbers, &self.stream);
        let (from, to_losses, to) =
            (gpu::address::<f32>(logits)?, gpu::address::<f32>(&losses)?, gpu::address::<bf16>(&gradient)?);
        let width = width as u32;
        launch!(
            self.cross_entropy,
            grid(rows, 1, ROW_THREADS),
            &from,
            &targets,
            &to_losses,
            &to,
            &width,
            &scale
        );
        Ok((losses, gradient))
    }

    fn square_sum(&self, tensors: &[&Tensor]) -> Result<f64> {
        if tensors.is_empty() {
            return Ok(0.0);
        }
        let sums = self.room::<f32>(tensors.len() * PARTS)?;
        let mut table = Vec::new();
        for tensor in tensors {
            table.extend([gpu::address::<f32>(tensor)?, tensor.elem_count() as u64]);
        }
        let held = self.device.clone_htod(&table)?;
        let (table, to) = (gpu::slice_address(&held, &self.stream), gpu::address::<f32>(&sums)?);
        launch!(self.squares, grid(PARTS, tensors.len() as u32, ROW_THREADS), &table, &to);
        Ok(sums.to_vec1::<f32>()?.iter().map(|&sum| f64::from(sum)).sum())
    }

    fn adamw(
        &self,
        update: Update,
        parameters: &[(&Tensor, &Tensor, &Moments)],
    ) -> Result<Vec<(Tensor, Moments)>> {
        let tensors: Vec<&Tensor> = parameters.iter().map(|(parameter, ..)| *parameter).collect();
        let places = Places::of(&tensors);
        let room = || self.room::<f32>(places.total);
        let (stepped, first, second) = (room()?, room()?, room()?);
        let mut table = Vec::new();
        for ((parameter, gradient, moments), place) in parameters.iter().zip(&places.firsts) {
            let arrays = [*parameter, *gradient, &moments.first, &moments.second];
            same_shape(&arrays)?;
            for array in arrays {
                table.push(gpu::address::<f32>(array)?);
            }
            table.extend([parameter.elem_count() as u64, *place as u64]);
        }
        let held = self.device.clone_htod(&table)?;
        let table = gpu::slice_address(&held, &self.stream);
        let (to, to_first, to_second) =
            (gpu::address::<f32>(&stepped)?, gpu::address::<f32>(&first)?, gpu::address::<f32>(&second)?);
        let numbers = update.numbers();
        let [shrink, beta1, beta2, kept, root, epsilon, rate] = &numbers;
        launch!(
            self.adamw,
            grid(PARTS, parameters.len() as u32, ROW_THREADS),
            &table,
            &to,
            &to_first,
            &to_second,
            shrink,
            beta1,
            beta2,
            kept,
            root,
            epsilon,
            rate
        );
        let firsts = places.views(&first, &tensors)?.into_iter();
        let moments = firsts.zip(places.views(&second, &tensors)?);
        let moments = moments.map(|(first, second)| Moments { first, second });
        Ok(places.views(&stepped, &tensors)?.into_iter().zip(moments).collect())
    }
}

/// Number of a tensor's numbers, which must be even.
fn even(tensor: &Tensor) -> Result<usize> {
    match tensor.elem_count() {
        count if tensor.dim(D::Minus1)?.is_multiple_of(2) => Ok(count),
        _ => bail!("a kernel that takes two numbers at a time was given rows of odd width"),
    }
}

fn addresses(heads: &Heads<'_>) -> Result<[Address; 3]> {
    Ok([
        gpu::address::<bf16>(heads.queries)?,
        gpu::address::<bf16>(heads.keys)?,
        gpu::address::<bf16>(heads.values)?,
    ])
}

/// What scores are multiplied with, where weights are powers of two and where they are what they are.
fn scales(head: usize) -> (f32, f32) {
    let factor = 1.0 / (head as f64).sqrt();
    ((factor * std::f64::consts::LOG2_E) as f32, factor as f32)
}
