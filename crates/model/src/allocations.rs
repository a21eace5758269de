//! Counts what a thread allocates, so that tests can hold loaders to the size of the files that they read.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that this thread holds, and the most that it has held. Memory that another thread frees counts there.
    static BYTES: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, with each thread's bytes counted as they are asked for.
struct Counting;

fn count(change: isize) {
    // A thread that is ending has no counters any more.
    let _ = BYTES.try_with(|bytes| {
        let (held, most) = bytes.get();
        bytes.set((held + change, most.max(held + change)));
    });
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) };
    }
}

/// Runs work and tells how many bytes this thread held at most beyond what it held before.
pub(crate) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.with(|bytes| {
        let (held, _) = bytes.get();
        bytes.set((held, held));
        held
    });
    let result = work();
    (result, BYTES.with(|bytes| bytes.get().1 - before) as usize)
}

#[test]
fn what_is_allocated_and_freed_again_counts() {
    let (kept, peak) = peak_of(|| {
        drop(vec![0_u8; 3 << 20]);
        vec![0_u8; 1 << 20]
    });
    assert!((3 << 20..4 << 20).contains(&peak), "{peak} with {} kept", kept.len());
}
