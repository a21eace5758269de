//! CUDA devices: opening them, kernels of our own, and the pass that is made of them.
//!
//! Where weights are BF16 the whole pass is [`Pass`]: products over all rows at once ([`products`]) and seven kernels
//! ([`kernels`]). Where they are blocks, candle multiplies, and [`kernels::Kernels::attend`] stands in for attention
//! over operators. A test emulates the kernels on the CPU and compares them with the operators.
//!
//! Safety of the launches: all work of a backend goes to the one stream of its device, in order, so no launch sees
//! memory that another still writes, and memory is freed in stream order. Every address is that of a slice or tensor
//! that lives until after the launch; grids and tables come from one [`Step`](super::step::Step), whose indices lie
//! inside the shapes that buffers are made for.

mod kernels;
mod pass;
mod products;

pub(super) use kernels::{Kernels, Layer, Tables};
pub(super) use pass::Pass;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::cublaslt::sys::cublasLtGetVersion;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DevicePtr, result, sys};
use candle_core::{Device, Result, Storage, Tensor};

/// Bytes beside weights, keys and values that a pass over some thousands of rows takes.
pub(super) const ROOM_FOR_A_PASS: u64 = 3 << 29;

/// Where numbers lie in a device's memory.
type Address = sys::CUdeviceptr;

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

/// What decides about bits beside our own code: compute capability, multiprocessors and the library's version, such as
/// `sm90x132-cublas130002`. `None` if there is no such GPU.
pub(crate) fn gpu_kind(ordinal: usize) -> Option<String> {
    let context = CudaContext::new(ordinal).ok()?;
    let (major, minor) = context.compute_capability().ok()?;
    let count = context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).ok()?;
    // SAFETY: it takes nothing and gives a number.
    let library = unsafe { cublasLtGetVersion() };
    Some(format!("sm{major}{minor}x{count}-cublas{library}"))
}

/// Free and total bytes of a device's memory.
pub(super) fn memory(device: &Device) -> Result<(usize, usize)> {
    let stream = device.as_cuda_device()?.cuda_stream();
    stream.context().mem_get_info().map_err(candle_core::Error::wrap)
}

/// Address of a tensor's numbers, all of it contiguous and of type `T`. It holds while the tensor lives.
fn address<T: CudaDType>(tensor: &Tensor) -> Result<Address> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((from, _))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a tensor for a kernel is not contiguous on the CUDA device");
    };
    let slice = storage.as_cuda_slice::<T>()?;
    let stream = storage.device().cuda_stream();
    let (address, _in_order) = slice.device_ptr(&stream);
    Ok(address + (from * size_of::<T>()) as Address)
}
