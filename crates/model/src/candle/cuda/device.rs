//! A CUDA device: opening it, compiling for it, and where tensors lie on it.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cublaslt::sys::cublasLtGetVersion;
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, CudaDevice};
use candle_core::{Device, Result, Storage, Tensor};

/// What kernels have in common.
const WARP: &str = include_str!("../warp.cu");

/// Where numbers lie in a device's memory.
pub type Address = sys::CUdeviceptr;

/// Opens a device. It gets a stream of its own: the default one would differ between the threads that load and run.
///
/// # Errors
/// If there is no such GPU or it cannot be used.
pub fn open(ordinal: usize) -> Result<Device> {
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
pub(crate) fn memory(device: &Device) -> Result<(usize, usize)> {
    let stream = device.as_cuda_device()?.cuda_stream();
    stream.context().mem_get_info().map_err(candle_core::Error::wrap)
}

/// Address of a tensor's numbers, all of it contiguous and of type `T`. It holds while the tensor lives.
///
/// # Errors
/// If it is not that.
pub fn address<T: CudaDType>(tensor: &Tensor) -> Result<Address> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((from, _))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a tensor for a kernel is not contiguous on the CUDA device");
    };
    let slice = storage.as_cuda_slice::<T>()?;
    let stream = storage.device().cuda_stream();
    let (address, _in_order) = slice.device_ptr(&stream);
    Ok(address + (from * size_of::<T>()) as Address)
}

/// Address of a slice. It holds while the slice lives.
pub fn slice_address<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> Address {
    slice.device_ptr(stream).0
}

/// Compiles kernels behind `warp.cu`, with sizes defined by name; `None` for a device without products of BF16 (before
/// compute capability 8.0).
///
/// # Errors
/// If they do not compile or cannot be loaded.
pub fn compile(
    device: &CudaDevice,
    source: &str,
    sizes: &[(&str, usize)],
) -> Result<Option<Arc<CudaModule>>> {
    let context = device.cuda_stream().context().clone();
    let (major, minor) = context.compute_capability().map_err(candle_core::Error::wrap)?;
    if major < 8 {
        return Ok(None);
    }
    let mut options = vec![
        format!("--gpu-architecture=compute_{major}{minor}"),
        "--std=c++17".to_owned(),
        // Else the compiler decides in each form of a kernel where an addition takes a product unrounded.
        "--fmad=false".to_owned(),
    ];
    options.extend(sizes.iter().map(|(name, value)| format!("-D{name}={value}")));
    let options =
        CompileOptions { name: Some("countermove.cu".to_owned()), options, ..CompileOptions::default() };
    let ptx = compile_ptx_with_opts(format!("{WARP}{source}"), options).map_err(candle_core::Error::wrap)?;
    context.load_module(ptx).map(Some).map_err(candle_core::Error::wrap)
}

/// Lets a kernel be launched with so many bytes of shared memory.
///
/// # Errors
/// If the device has not as many.
pub fn allow_shared_memory(function: &CudaFunction, bytes: u32) -> Result<()> {
    let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    // SAFETY: the function is that of a loaded module, which it keeps.
    unsafe { sys::cuFuncSetAttribute(function.cu_function(), most, bytes as i32) }
        .result()
        .map_err(candle_core::Error::wrap)
}
