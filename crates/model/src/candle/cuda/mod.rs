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

mod device;
mod kernels;
mod pass;
mod products;

pub(crate) use device::gpu_kind;
pub(super) use device::memory;
pub(super) use kernels::{Kernels, Layer, Tables};
pub(super) use pass::Pass;

use device::{Address, address};

/// Bytes beside weights, keys and values that a pass over some thousands of rows takes.
pub(super) const ROOM_FOR_A_PASS: u64 = 3 << 29;

/// CUDA GPUs for other crates' kernels: opening one, compiling for it, and where tensors lie.
pub mod gpu {
    pub use super::device::{Address, address, allow_shared_memory, compile, open, slice_address};
}
