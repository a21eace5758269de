//! The thread pool of the engine, every way in which its threads can meet: loom runs each model below once for each order of
//! what the threads do to what they share, under the memory model of C++, and stops at a wrong result, an unguarded access or a
//! thread that nobody wakes. It is the very file that the engine is built from; loom takes the place of the standard library in
//! the module `sync`.
//!
//! A program and no test, since the file's own tests are for the standard library.

/// What loom puts in the place of `crates/model/src/cpu/sync.rs`.
mod sync {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    pub(crate) use loom::thread::{Builder, JoinHandle, Thread, current, park};

    /// Spinning tries out nothing that sleeping does not.
    pub(crate) const SPINS: usize = 0;
}

/// A machine with as many CPUs as anybody asks for.
mod cpus {
    pub(crate) fn allowed() -> Vec<usize> {
        (0..4).collect()
    }

    pub(crate) fn parallelism() -> usize {
        4
    }

    pub(crate) fn pin(_: usize) {}
}

#[allow(dead_code, reason = "the engine uses more of it")]
#[path = "../../src/cpu/pool.rs"]
mod pool;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use pool::Pool;

/// Runs phases of so many tasks, one after the other, and checks that each task has run once by the end of its phase.
fn phases(threads: usize, tasks: &'static [usize], preemptions: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    let orders = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&orders);
    model.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let cpus: Vec<usize> = (0..threads).collect();
        let pool = Pool::new(&cpus);
        for &tasks in tasks {
            let runs: Arc<Vec<AtomicUsize>> = Arc::new((0..tasks).map(|_| AtomicUsize::new(0)).collect());
            pool.run(tasks, &|index, _| {
                runs[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|run| run.load(Ordering::Relaxed) == 1));
        }
    });
    let orders = orders.load(std::sync::atomic::Ordering::Relaxed);
    println!("{threads} threads, phases of {tasks:?} tasks, {preemptions} preemptions: {orders} orders, all sound");
}

fn main() {
    // Nothing to do, which has to end as well.
    phases(2, &[], 3);
    phases(2, &[2], 4);
    phases(2, &[2, 2], 3);
    phases(2, &[3, 2, 2], 2);
    phases(3, &[3], 2);
    phases(3, &[2, 2], 1);
}
