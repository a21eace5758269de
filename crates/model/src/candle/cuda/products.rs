//! Products of all rows of a pass with a matrix of BF16, by cuBLASLt.
//!
//! Invariant: what a row gives depends on that row alone. Which algorithm is the fastest depends on how many rows there
//! are, and two algorithms may take a sum in different orders. So the algorithms that the library offers are run when
//! the model is loaded, on the model's own matrix and rows of which several are the same, and sorted by the bits that
//! they give. One class of algorithms with the same bits for every count of rows is kept; which of them runs makes no
//! difference then but in time. Which class is kept does not depend on time, so that all workers keep the same.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Result;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::{result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use half::bf16;

use super::Address;
use super::kernels::Kernels;
use crate::sampling::uniform;

/// Counts of rows up to which an algorithm of its own is kept. More rows go in parts.
const STEPS: [usize; 11] = [16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048];
/// Algorithms that the library is asked for at each step.
const OFFERED: usize = 8;
/// Different rows among those that algorithms are compared on. Prime, so that equal rows fall on different places.
const PATTERNS: usize = 61;
/// Times that a product is repeated to be timed.
const REPEATS: u32 = 4;
/// Bytes that an algorithm may use beside its operands.
const WORKSPACE: usize = 32 << 20;

/// Type of a product's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Rounded to BF16, as the factor of another product.
    Bf16,
    /// Single precision.
    Single,
    /// Single precision, added to what is there.
    Added,
}

impl Output {
    fn bytes(self) -> usize {
        if self == Self::Bf16 { size_of::<bf16>() } else { size_of::<f32>() }
    }

    fn data_type(self) -> sys::cudaDataType {
        if self == Self::Bf16 { sys::cudaDataType::CUDA_R_16BF } else { sys::cudaDataType::CUDA_R_32F }
    }
}

/// The library, on the stream of a backend.
#[derive(Debug)]
pub(super) struct Library {
    handle: sys::cublasLtHandle_t,
    stream: Arc<CudaStream>,
    workspace: CudaSlice<u8>,
}

// SAFETY: the library allows its handles to be used from any thread and by several at once. The workspace is used in
// the order of the stream.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    pub(super) fn new(kernels: &Kernels) -> Result<Self> {
        let workspace = kernels.room(WORKSPACE)?;
        let handle = result::create_handle().map_err(candle_core::Error::wrap)?;
        Ok(Self { handle, stream: Arc::clone(kernels.stream()), workspace })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the handle was made by `new` and is not used again.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// The product with matrices of one shape, outputs × inputs.
#[derive(Debug)]
pub(super) struct Product {
    library: Arc<Library>,
    outputs: usize,
    inputs: usize,
    output: Output,
    description: Description,
    weight: Layout,
    /// Rows up to which each algorithm is taken, ascending.
    algorithms: Vec<(usize, sys::cublasLtMatmulAlgo_t)>,
    /// Seconds of the fastest algorithm for so many rows, whatever its bits.
    free: Vec<(usize, f64)>,
}

/// What is known of an algorithm after it was tried.
struct Tried {
    algorithm: sys::cublasLtMatmulAlgo_t,
    /// Bits of the rows of each pattern; `None` if equal rows had different bits.
    bits: Option<[u64; PATTERNS]>,
    /// Seconds for each step.
    seconds: Vec<f64>,
}

impl Product {
    /// Chooses algorithms for matrices of the shape that `weight` has. At most `most` rows go through at once.
    ///
    /// # Errors
    /// If no algorithm gives a row the same bits wherever it stands.
    pub(super) fn new(
        library: &Arc<Library>,
        kernels: &Kernels,
        (outputs, inputs): (usize, usize),
        output: Output,
        weight: Address,
        most: usize,
    ) -> Result<Self> {
        let mut product = Self {
            library: Arc::clone(library),
            outputs,
            inputs,
            output,
            description: Description::new()?,
            weight: Layout::new(sys::cudaDataType::CUDA_R_16BF, inputs, outputs)?,
            algorithms: Vec::new(),
            free: Vec::new(),
        };
        let steps: Vec<usize> = STEPS.into_iter().filter(|&step| step <= most).collect();
        product.choose(kernels, weight, &steps)?;
        Ok(product)
    }

    /// Seconds that so many rows would take at least, were their bits of no account; between steps, in proportion.
    pub(super) fn fastest(&self, rows: usize) -> f64 {
        let Some(&(most, of_most)) = self.free.last() else { return 0.0 };
        let (whole, rest) = ((rows / most) as f64 * of_most, rows % most);
        let above = self.free.partition_point(|(step, _)| *step < rest);
        let below = above.checked_sub(1).map(|below| self.free[below]);
        let of_rest = match (below, self.free.get(above)) {
            _ if rest == 0 => 0.0,
            (Some((from, low)), Some(&(to, high))) => {
                low + (high - low) * (rest - from) as f64 / (to - from) as f64
            }
            (_, step) => step.map_or(of_most, |(_, seconds)| *seconds),
        };
        whole + of_rest
    }

    /// Multiplies rows × inputs of BF16 with a matrix of this shape.
    pub(super) fn multiply(&self, weight: Address, rows: Address, out: Address, count: usize) -> Result<()> {
        let Some(&(most, _)) = self.algorithms.last() else { candle_core::bail!("no algorithm was chosen") };
        for first in (0..count).step_by(most) {
            let part = most.min(count - first);
            let fitting = self.algorithms.iter().find(|(step, _)| part <= *step);
            let Some((_, algorithm)) = fitting else { candle_core::bail!("no algorithm fits {part} rows") };
            let from = rows + (first * self.inputs * size_of::<bf16>()) as Address;
            let to = out + (first * self.outputs * self.output.bytes()) as Address;
            self.run(algorithm, weight, from, to, part)?;
        }
        Ok(())
    }

    fn run(
        &self,
        algorithm: &sys::cublasLtMatmulAlgo_t,
        weight: Address,
        rows: Address,
        out: Address,
        count: usize,
    ) -> Result<()> {
        let from = Layout::new(sys::cudaDataType::CUDA_R_16BF, self.inputs, count)?;
        let to = Layout::new(self.output.data_type(), self.outputs, count)?;
        let (one, kept) = (1.0_f32, if self.output == Output::Added { 1.0_f32 } else { 0.0 });
        let library = &self.library;
        // SAFETY: descriptions and layouts live until the call returns, which has then read them. The operands are
        // matrices of these layouts on the device of the stream, and `out` is no operand. The workspace is used by
        // one product of the stream at a time.
        unsafe {
            result::matmul(
                library.handle,
                self.description.0,
                (&raw const one).cast(),
                (&raw const kept).cast(),
                weight as *const c_void,
                self.weight.0,
                rows as *const c_void,
                from.0,
                out as *const c_void,
                to.0,
                out as *mut c_void,
                to.0,
                algorithm,
                library.workspace.device_ptr(&library.stream).0 as *mut c_void,
                WORKSPACE,
                library.stream.cu_stream().cast(),
            )
        }
        .map_err(candle_core::Error::wrap)
    }

    /// Tries what the library offers at each step, and keeps the largest class of algorithms with the same bits.
    fn choose(&mut self, kernels: &Kernels, weight: Address, steps: &[usize]) -> Result<()> {
        let most = steps.last().copied().unwrap_or(0);
        let patterns: Vec<bf16> = (0..PATTERNS * self.inputs)
            .map(|place| bf16::from_f64(2.0 * uniform(1, place as u64) - 1.0))
            .collect();
        let rows: Vec<bf16> = (0..most)
            .flat_map(|row| &patterns[pattern(row) * self.inputs..][..self.inputs])
            .copied()
            .collect();
        let rows = kernels.device().clone_htod(&rows)?;
        let mut out = kernels.device().alloc_zeros::<u8>(most * self.outputs * self.output.bytes())?;
        let mut offered: Vec<sys::cublasLtMatmulAlgo_t> = Vec::new();
        for &step in steps {
            for algorithm in self.offered(step)? {
                if !offered.contains(&algorithm) {
                    offered.push(algorithm);
                }
            }
        }
        let mut free = vec![f64::INFINITY; steps.len()];
        let mut classes: HashMap<[u64; PATTERNS], Vec<Tried>> = HashMap::new();
        for algorithm in &offered {
            let Some(tried) = self.attempt(kernels, algorithm, weight, &rows, &mut out, steps)? else {
                continue;
            };
            free.iter_mut().zip(&tried.seconds).for_each(|(least, seconds)| *least = least.min(*seconds));
            if let Some(bits) = tried.bits {
                classes.entry(bits).or_default().push(tried);
            }
        }
        // The fastest of a class at each step.
        let fastest = |class: &[Tried], step: usize| -> Option<(f64, sys::cublasLtMatmulAlgo_t)> {
            let of_step = class.iter().map(|tried| (tried.seconds[step], tried.algorithm));
            of_step.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        // Of equals the class with the lowest bits.
        let kept = classes
            .iter()
            .max_by(|(a_bits, a), (b_bits, b)| a.len().cmp(&b.len()).then_with(|| b_bits.cmp(a_bits)));
        let Some((_, kept)) = kept else {
            candle_core::bail!(
                "none of {} algorithms for a product of {} x {} gives a row the same bits in every batch",
                offered.len(),
                self.outputs,
                self.inputs
            );
        };
        let chosen = |step: usize| Some((steps[step], fastest(kept, step)?.1));
        self.algorithms = (0..steps.len()).filter_map(chosen).collect();
        self.free = steps.iter().copied().zip(free.iter().copied()).collect();
        let micros = |step: usize| fastest(kept, step).map_or(0.0, |(seconds, _)| seconds * 1e6);
        let times: Vec<String> = (0..steps.len())
            .map(|step| {
                format!("{}: {:.1} ({:.2})", steps[step], micros(step), micros(step) / free[step] / 1e6)
            })
            .collect();
        tracing::info!(
            outputs = self.outputs,
            inputs = self.inputs,
            algorithms = offered.len(),
            classes = classes.len(),
            kept = kept.len(),
            microseconds = times.join(", "),
            "algorithms of a product; in brackets times against the fastest whatever its bits"
        );
        Ok(())
    }

    /// Algorithms that the library holds to be fast for so many rows.
    fn offered(&self, rows: usize) -> Result<Vec<sys::cublasLtMatmulAlgo_t>> {
        let from = Layout::new(sys::cudaDataType::CUDA_R_16BF, self.inputs, rows)?;
        let to = Layout::new(self.output.data_type(), self.outputs, rows)?;
        let preference = result::create_matmul_pref().map_err(candle_core::Error::wrap)?;
        let (mut found, mut count) = (Vec::with_capacity(OFFERED), 0);
        let workspace = WORKSPACE;
        // SAFETY: descriptions and layouts live until the call returns; the library writes at most OFFERED results,
        // for which there is room, and says how many. The preference is destroyed once.
        let status = unsafe {
            result::set_matmul_pref_attribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )
            .map_err(candle_core::Error::wrap)?;
            let status = sys::cublasLtMatmulAlgoGetHeuristic(
                self.library.handle,
                self.description.0,
                self.weight.0,
                from.0,
                to.0,
                to.0,
                preference,
                OFFERED as i32,
                found.as_mut_ptr(),
                &raw mut count,
            );
            let _ = result::destroy_matmul_pref(preference);
            if status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
                found.set_len((count as usize).min(OFFERED));
            }
            status
        };
        status.result().map_err(candle_core::Error::wrap)?;
        let usable = |offer: &&sys::cublasLtMatmulHeuristicResult_t| {
            offer.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS && offer.workspaceSize <= WORKSPACE
        };
        Ok(found.iter().filter(usable).map(|offer| offer.algo).collect())
    }

    /// Bits and times of an algorithm; `None` if it cannot be run.
    fn attempt(
        &self,
        kernels: &Kernels,
        algorithm: &sys::cublasLtMatmulAlgo_t,
        weight: Address,
        rows: &CudaSlice<bf16>,
        out: &mut CudaSlice<u8>,
        steps: &[usize],
    ) -> Result<Option<Tried>> {
        let row_bytes = self.outputs * self.output.bytes();
        let (mut bits, mut same): ([Option<u64>; PATTERNS], bool) = ([None; PATTERNS], true);
        let mut seconds = Vec::new();
        // The counts in between are tried as well; the largest comes first, since it has every pattern.
        let counts = steps
            .iter()
            .flat_map(|&step| [(step, true), (step / 2 + 1, false), (step - 5, false), (1, false)])
            .rev();
        for (count, timed) in counts {
            if self.output == Output::Added {
                kernels.stream().memset_zeros(out).map_err(candle_core::Error::wrap)?;
            }
            let (from, to) = (kernels.at(rows), kernels.at(out));
            if self.run(algorithm, weight, from, to, count).is_err() {
                return Ok(None);
            }
            for (row, found) in kernels.digest(to, row_bytes, count)?.into_iter().enumerate() {
                same &= *bits[pattern(row)].get_or_insert(found) == found;
            }
            if timed {
                let began = Instant::now();
                for _ in 0..REPEATS {
                    self.run(algorithm, weight, from, to, count)?;
                }
                kernels.stream().synchronize().map_err(candle_core::Error::wrap)?;
                seconds.push(began.elapsed().as_secs_f64() / f64::from(REPEATS));
            }
        }
        seconds.reverse();
        let bits = same.then(|| bits.map(Option::unwrap_or_default));
        Ok(Some(Tried { algorithm: *algorithm, bits, seconds }))
    }
}

/// Which pattern a row of the trial is.
fn pattern(row: usize) -> usize {
    row * 7 % PATTERNS
}

/// Description of a product: the matrix transposed, single precision sums.
#[derive(Debug)]
struct Description(sys::cublasLtMatmulDesc_t);

// SAFETY: it is written when it is made and only read later.
unsafe impl Send for Description {}
// SAFETY: as above.
unsafe impl Sync for Description {}

impl Description {
    fn new() -> Result<Self> {
        let description = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType::CUDA_R_32F,
        )
        .map_err(candle_core::Error::wrap)?;
        let description = Self(description);
        let transposed = cublasOperation_t::CUBLAS_OP_T;
        // SAFETY: the attribute is an operation, read during the call.
        unsafe {
            result::set_matmul_desc_attribute(
                description.0,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast(),
                size_of_val(&transposed),
            )
        }
        .map_err(candle_core::Error::wrap)?;
        Ok(description)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// Layout of a matrix, column after column without gaps.
#[derive(Debug)]
struct Layout(sys::cublasLtMatrixLayout_t);

// SAFETY: as for `Description`.
unsafe impl Send for Layout {}
// SAFETY: as for `Description`.
unsafe impl Sync for Layout {}

impl Layout {
    fn new(numbers: sys::cudaDataType, rows: usize, columns: usize) -> Result<Self> {
        result::create_matrix_layout(numbers, rows as u64, columns as u64, rows as i64)
            .map(Self)
            .map_err(candle_core::Error::wrap)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}
