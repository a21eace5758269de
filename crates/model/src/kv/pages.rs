//! Pages of keys and values: counted, recycled, released on drop.
//!
//! Pages are cut from slabs of some 32 MiB, which the system can back with huge pages: a step touches a few thousand
//! places far apart, and with small pages each would be missing from the processor's address cache.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::Region;

/// Floats of a cache line; pages start at one.
const LINE: usize = 16;
/// Bytes of a slab, if a page is smaller.
const SLAB_BYTES: usize = 32 << 20;

/// Hands out pages of one size, never more than its capacity at a time, and takes their memory back on drop.
#[derive(Debug)]
pub(crate) struct PagePool {
    floats: usize,
    capacity: usize,
    in_use: AtomicUsize,
    store: Mutex<Store>,
}

/// Memory of the pages.
#[derive(Debug, Default)]
struct Store {
    /// Slabs live as long as the pool, and every page holds the pool.
    slabs: Vec<Region<f32>>,
    free: Vec<Buffer>,
    /// Buffers made so far; buffers are recycled, so never more than the capacity.
    made: usize,
}

impl PagePool {
    /// A pool of at most `capacity` pages of `floats` numbers each.
    pub(crate) fn new(floats: usize, capacity: usize) -> Arc<Self> {
        let floats = floats.max(1);
        Arc::new(Self { floats, capacity, in_use: AtomicUsize::new(0), store: Mutex::default() })
    }

    /// A page, or `None` if all are in use. A page that was used before keeps its old numbers.
    pub(crate) fn allocate(self: &Arc<Self>) -> Option<Arc<Page>> {
        let mut store = self.store();
        if self.in_use() >= self.capacity {
            return None;
        }
        if store.free.is_empty() {
            store.add_slab(self.floats, self.capacity);
        }
        let buffer = store.free.pop()?;
        self.in_use.fetch_add(1, Ordering::AcqRel);
        Some(Arc::new(Page { buffer, pool: Arc::clone(self) }))
    }

    /// Pages in use.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Acquire)
    }

    /// Most pages in use at a time.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of one page.
    pub(crate) fn page_bytes(&self) -> usize {
        self.floats * size_of::<f32>()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn add_slab(&mut self, floats: usize, capacity: usize) {
        let stride = floats.next_multiple_of(LINE);
        let pages = (SLAB_BYTES / (stride * size_of::<f32>())).clamp(1, capacity - self.made);
        let mut slab = Region::zeroed(pages * stride);
        for (index, page) in slab.chunks_exact_mut(stride).enumerate().rev() {
            self.free.push(Buffer { start: NonNull::from(page).cast(), place: self.made + index });
        }
        self.made += pages;
        self.slabs.push(slab);
    }
}

/// One page. Its memory goes back to the pool when the last holder drops it.
#[derive(Debug)]
pub(crate) struct Page {
    buffer: Buffer,
    pool: Arc<PagePool>,
}

impl Page {
    /// Place of the page among the pool's pages: below the capacity, and different for pages in use at one time.
    /// A device that keeps the numbers in its own memory finds them by it.
    pub(crate) fn place(&self) -> usize {
        self.buffer.place
    }

    /// Start of the page's numbers, aligned to 64 bytes. Writing through it follows the rules of [`crate::kv`].
    pub(crate) fn as_ptr(&self) -> *mut f32 {
        self.buffer.start.as_ptr()
    }

    /// Copies all of another page of the same pool into this one, which nobody else may hold yet.
    pub(crate) fn copy_from(page: &mut Arc<Self>, source: &Self) {
        if let Some(page) = Arc::get_mut(page)
            && page.pool.floats == source.pool.floats
        {
            // SAFETY: both pointers are valid for `floats` numbers; `page` is held by nobody else, so they differ.
            // The owner of `source` writes only during a forward pass, which holds the tree exclusively.
            unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), page.as_ptr(), source.pool.floats) };
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let mut store = self.pool.store();
        store.free.push(self.buffer);
        self.pool.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Memory of one page within a slab.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    start: NonNull<f32>,
    place: usize,
}

// SAFETY: a buffer is a part of a slab that one page or the free list owns alone. Access through `Page::as_ptr`
// follows the rules of the module: slots that others can read are not written any more.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_and_recycled() {
        let pool = PagePool::new(32, 2);
        let first = pool.allocate().unwrap();
        let address = first.as_ptr();
        assert_eq!(address.align_offset(64), 0);
        let second = pool.allocate().unwrap();
        assert!(pool.allocate().is_none());
        assert_eq!((first.place(), second.place()), (0, 1));
        assert_eq!(pool.in_use(), 2);
        drop(first);
        assert_eq!(pool.in_use(), 1);
        let again = pool.allocate().unwrap();
        assert_eq!((again.as_ptr(), again.place()), (address, 0));
        drop(again);
        drop(second);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_copy_holds_the_same_numbers_and_a_shared_page_is_not_overwritten() {
        let pool = PagePool::new(4, 3);
        let source = pool.allocate().unwrap();
        // SAFETY: the page has 4 numbers and this thread alone holds it.
        unsafe { source.as_ptr().write(7.0) };
        let mut target = pool.allocate().unwrap();
        Page::copy_from(&mut target, &source);
        // SAFETY: as above.
        assert_eq!(unsafe { target.as_ptr().read() }, 7.0);
        let mut shared = pool.allocate().unwrap();
        let _other = Arc::clone(&shared);
        Page::copy_from(&mut shared, &source);
        // SAFETY: as above.
        assert_eq!(unsafe { shared.as_ptr().read() }, 0.0);
    }
}
