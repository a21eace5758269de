//! What fuzz targets share: for the readers of evidence the entry is in `crates/incident`, for all others it is here.
//!
//! A target fails on a panic in any thread, on an input that takes too long, on memory beyond what is said below, and on an answer
//! that says that the fault is the program's.

pub mod files;
pub mod models;
pub mod network;
pub mod token;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;

/// Most bytes that may be asked for at once: inputs have some KiB, and a length that is read from one must not be believed.
const AT_ONCE: usize = 256 << 20;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// The system's allocator, for what is not out of all proportion.
struct Bounded;

// SAFETY: every call is the system's with the same arguments, or ends the process.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        bounded(layout.size());
        // SAFETY: as of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        bounded(layout.size());
        // SAFETY: as of the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        bounded(size);
        // SAFETY: as of the caller.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as of the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

fn bounded(size: usize) {
    if size > AT_ONCE {
        // Ends the process by a signal, which keeps the input.
        eprintln!("{size} bytes were asked for at once");
        std::process::abort();
    }
}

/// A folder for files that are written and read again, in memory where the machine has such a place.
fn folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let made = tempfile::Builder::new().prefix("countermove-fuzz-").tempdir_in(place);
    // One for the whole run: it is left there when libFuzzer ends the process.
    made.expect("a folder can be made").keep()
}

/// A fuzz target for the parsers of one format, or `log` for the whole reader.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        ::libfuzzer_sys::fuzz_target!(|data: &[u8]| countermove_incident::fuzzing::run(
            stringify!($name),
            data
        ));
    };
}
