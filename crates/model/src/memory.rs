//! Aligned memory for packed weights, pages of keys and values, and scratch.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Size of a huge page; large regions start at one, so that the kernel can back them with huge pages.
const HUGE_PAGE: usize = 2 << 20;

/// A zeroed region of plain numbers, aligned to 64 bytes or more.
#[derive(Debug)]
pub(crate) struct Region<T: Number> {
    start: NonNull<T>,
    length: usize,
    layout: Layout,
}

/// Types for which all bits zero is a value.
pub(crate) trait Number: Copy + Send + Sync + 'static {}
impl Number for u8 {}
impl Number for i8 {}
impl Number for i32 {}
impl Number for f32 {}

// SAFETY: a region owns plain numbers, like a `Vec` does.
unsafe impl<T: Number> Send for Region<T> {}
// SAFETY: as above.
unsafe impl<T: Number> Sync for Region<T> {}

impl<T: Number> Region<T> {
    /// `length` zeros.
    pub(crate) fn zeroed(length: usize) -> Self {
        let bytes = length.saturating_mul(size_of::<T>()).max(64);
        let alignment = if bytes >= 4 * HUGE_PAGE { HUGE_PAGE } else { 64 };
        let Ok(layout) = Layout::from_size_align(bytes, alignment) else {
            handle_alloc_error(Layout::new::<T>());
        };
        // SAFETY: the layout has a size greater than zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<T>()) else {
            handle_alloc_error(layout);
        };
        #[cfg(target_os = "linux")]
        if alignment == HUGE_PAGE {
            // SAFETY: the range is ours. The call is advice: it changes no content, and a refusal does no harm.
            unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        Self { start, length, layout }
    }

    /// Makes room for `length` numbers. What was there is lost if it must grow.
    pub(crate) fn grow(&mut self, length: usize) {
        if length > self.length {
            *self = Self::zeroed(length.next_power_of_two());
        }
    }
}

impl<T: Number> Default for Region<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T: Number> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `start` is valid for `length` initialised numbers that `self` owns.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> DerefMut for Region<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> Drop for Region<T> {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout and is freed once.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned_zeroed_and_grow() {
        let mut region = Region::<f32>::zeroed(3);
        assert_eq!(&region[..], &[0.0; 3]);
        assert_eq!(region.as_ptr().align_offset(64), 0);
        region[2] = 5.0;
        region.grow(2);
        assert_eq!(region[2], 5.0);
        region.grow(100);
        assert!(region.len() >= 100 && region.iter().all(|x| *x == 0.0));
        let large = Region::<u8>::zeroed(9 << 20);
        assert_eq!(large.as_ptr().align_offset(HUGE_PAGE), 0);
        assert!(Region::<i32>::default().is_empty());
    }
}
