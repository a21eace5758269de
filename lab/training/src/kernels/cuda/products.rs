//! Products, by the library that takes matrices column after column.

use std::ffi::{c_int, c_void};

use candle_core::cuda_backend::cudarc::cublas::{result as cublas, sys};
use candle_core::{DType, Result, Tensor, bail};
use countermove_model::gpu::{self, Address};
use half::bf16;

use super::CudaKernels;

impl CudaKernels {
    /// Adds left · right to `out`, or takes its place; `out` is rows × outputs without gaps.
    pub(super) fn multiply(&self, left: &Tensor, right: &Tensor, out: &Tensor, adds: bool) -> Result<()> {
        let ((rows, inputs), (of_right, outputs)) = (left.dims2()?, right.dims2()?);
        if inputs != of_right || out.dims2()? != (rows, outputs) {
            bail!("a product of {rows} × {inputs} and {of_right} × {outputs} does not fit {:?}", out.shape());
        }
        // What lies row after row is its own transpose to a library that takes columns.
        let (right, by_row, leading) = match right.stride() {
            [_, 1] => (right.clone(), true, outputs),
            [1, _] => (right.t()?, false, inputs),
            _ => bail!("a matrix with gaps cannot be multiplied"),
        };
        let operands = [gpu::address::<bf16>(&right)?, gpu::address::<bf16>(left)?];
        self.gemm(operands, [by_row, true], [outputs, rows, inputs], [leading, inputs], out, adds, 1.0)
    }

    /// out (rows × columns, row after row) = scale · the product, by the library that takes columns: `sizes` are columns,
    /// rows and the inner dimension, `plain` says which operands are taken as they lie.
    #[expect(clippy::too_many_arguments, reason = "a product has so many")]
    pub(super) fn gemm(
        &self,
        operands: [Address; 2],
        plain: [bool; 2],
        sizes: [usize; 3],
        leading: [usize; 2],
        out: &Tensor,
        adds: bool,
        scale: f32,
    ) -> Result<()> {
        let (to, out_type) = match out.dtype() {
            DType::BF16 => (gpu::address::<bf16>(out)?, sys::cudaDataType::CUDA_R_16BF),
            _ => (gpu::address::<f32>(out)?, sys::cudaDataType::CUDA_R_32F),
        };
        let operation = |plain: bool| match plain {
            true => sys::cublasOperation_t::CUBLAS_OP_N,
            false => sys::cublasOperation_t::CUBLAS_OP_T,
        };
        let size = |size: usize| size as c_int;
        let kept = if adds { 1.0_f32 } else { 0.0 };
        let half = sys::cudaDataType::CUDA_R_16BF;
        let [columns, rows, inner] = sizes;
        // SAFETY: the addresses are those of matrices of these sizes, which the callers compared; alpha and beta are
        // read during the call.
        unsafe {
            cublas::gemm_ex(
                *self.device.cublas_handle().handle(),
                operation(plain[0]),
                operation(plain[1]),
                size(columns),
                size(rows),
                size(inner),
                (&raw const scale).cast(),
                operands[0] as *const c_void,
                half,
                size(leading[0]),
                operands[1] as *const c_void,
                half,
                size(leading[1]),
                (&raw const kept).cast(),
                to as *mut c_void,
                out_type,
                size(columns),
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(candle_core::Error::wrap)
    }
}
