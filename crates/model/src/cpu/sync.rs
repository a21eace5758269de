//! What [`pool`](super::pool) is made of: the standard library's threads and atomics. `crates/model/loom` puts loom's in their
//! place and plays through how the threads may meet.

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
pub(super) use std::thread::{Builder, JoinHandle, Thread, current, park};

/// Rounds of spinning before a thread sleeps: some 20 microseconds.
pub(super) const SPINS: usize = 2000;

/// A cell whose user keeps two from using it at a time.
#[derive(Debug)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Looks at it. The pointer holds for the call.
    pub(super) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
        look(self.0.get())
    }

    /// Changes it. The pointer holds for the call.
    pub(super) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        change(self.0.get())
    }
}
