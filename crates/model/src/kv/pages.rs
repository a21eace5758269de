//! Pages of keys and values: counted, recycled, released on drop.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Alignment of a page: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

/// Hands out pages of one size, never more than its capacity at a time, and takes their memory back on drop.
#[derive(Debug)]
pub(crate) struct PagePool {
    floats: usize,
    capacity: usize,
    in_use: AtomicUsize,
    /// Buffers made so far; buffers are recycled, so never more than `capacity`.
    made: AtomicUsize,
    free: Mutex<Vec<Buffer>>,
}

impl PagePool {
    /// A pool of at most `capacity` pages of `floats` numbers each.
    pub(crate) fn new(floats: usize, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            floats: floats.max(1),
            capacity,
            in_use: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
            free: Mutex::default(),
        })
    }

    /// A page, or `None` if all are in use. A page that was used before keeps its old numbers.
    pub(crate) fn allocate(self: &Arc<Self>) -> Option<Arc<Page>> {
        self.in_use
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < self.capacity).then_some(used + 1)
            })
            .ok()?;
        let recycled = self.free_buffers().pop();
        let buffer =
            recycled.unwrap_or_else(|| Buffer::zeroed(self.floats, self.made.fetch_add(1, Ordering::AcqRel)));
        Some(Arc::new(Page { buffer: Some(buffer), pool: Arc::clone(self) }))
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

    fn free_buffers(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One page. Its memory goes back to the pool when the last holder drops it.
#[derive(Debug)]
pub(crate) struct Page {
    /// `None` only while the page is being dropped.
    buffer: Option<Buffer>,
    pool: Arc<PagePool>,
}

impl Page {
    /// Place of the page among the pool's pages: below the capacity, and different for pages in use at one time.
    /// A device that keeps the numbers in its own memory finds them by it.
    pub(crate) fn place(&self) -> usize {
        self.buffer.as_ref().map_or(usize::MAX, |buffer| buffer.place)
    }

    /// Start of the page's numbers, aligned to 64 bytes. Writing through it follows the rules of [`crate::kv`].
    pub(crate) fn as_ptr(&self) -> *mut f32 {
        self.buffer.as_ref().map_or(std::ptr::null_mut(), |buffer| buffer.start.as_ptr())
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
        if let Some(buffer) = self.buffer.take() {
            self.pool.free_buffers().push(buffer);
        }
        self.pool.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Aligned memory of fixed size.
#[derive(Debug)]
struct Buffer {
    start: NonNull<f32>,
    layout: Layout,
    place: usize,
}

// SAFETY: a buffer is plain memory that it owns alone. Access through `Page::as_ptr` follows the rules of the module:
// slots that others can read are not written any more.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn zeroed(floats: usize, place: usize) -> Self {
        let Ok(layout) = Layout::array::<f32>(floats).and_then(|layout| layout.align_to(ALIGNMENT)) else {
            handle_alloc_error(Layout::new::<f32>());
        };
        // SAFETY: the layout has a size greater than zero, because the pool never makes empty pages.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<f32>()) else {
            handle_alloc_error(layout);
        };
        Self { start, layout, place }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout and is freed once.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_and_recycled() {
        let pool = PagePool::new(32, 2);
        let first = pool.allocate().unwrap();
        let address = first.as_ptr();
        assert_eq!(address.align_offset(ALIGNMENT), 0);
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
