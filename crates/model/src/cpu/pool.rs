//! A pool of pinned threads with a cheap barrier.
//!
//! One forward pass is a few hundred phases of a few microseconds to a millisecond. [`Pool::run`] starts a phase on
//! all threads, the caller being the first of them, and returns when all its tasks are done. Idle threads spin for
//! some microseconds, so that the next phase finds them awake, and then sleep.
//!
//! Each thread starts with its own contiguous share of the tasks and then helps the others with theirs: memory is
//! read in long streams, and a thread that another process disturbs does not hold up the rest.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};

/// Rounds of spinning before a thread sleeps: some 20 microseconds.
const SPINS: usize = 2000;

/// Threads that run phases together.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// CPU of the thread that calls [`Pool::run`].
    caller_cpu: Option<usize>,
    /// Keeps the pool from being shared: two phases at a time would use the same cells.
    not_shared: PhantomData<Cell<()>>,
}

/// A task: its number, and the number of the thread that runs it.
type Task<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// One phase, as the threads see it.
#[derive(Clone, Copy)]
struct Phase {
    task: *const (dyn Fn(usize, usize) + Sync),
}

struct Shared {
    /// Number of the current phase.
    phase: AtomicUsize,
    /// What the current phase runs. Written by the caller between phases only.
    job: UnsafeCell<Option<Phase>>,
    shares: Vec<Share>,
    /// Workers that have not finished the current phase.
    busy: AtomicUsize,
    caller: UnsafeCell<Option<Thread>>,
    caller_sleeps: AtomicBool,
    stop: AtomicBool,
    /// A task panicked on a worker.
    panicked: AtomicBool,
}

/// Tasks that one thread starts with. On a cache line of its own.
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: AtomicUsize,
    sleeps: AtomicBool,
}

// SAFETY: `job` and `caller` are written by the one caller (a pool cannot be shared between threads) while no phase runs:
// before the release of `phase`, which workers acquire, and after `busy` has come to zero, which workers release.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("threads", &self.shares.len()).finish_non_exhaustive()
    }
}

impl Pool {
    /// One thread for each of `cpus`, or for each CPU that the process may use if that is empty; never more threads
    /// than the process may use at a time. The calling thread becomes the first when it calls [`Pool::pin_caller`].
    pub(crate) fn new(cpus: &[usize]) -> Self {
        let allowed = allowed_cpus();
        let mut cpus: Vec<usize> = match cpus {
            [] => allowed,
            some => some.iter().copied().filter(|cpu| allowed.is_empty() || allowed.contains(cpu)).collect(),
        };
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        cpus.truncate(parallelism);
        let threads = cpus.len().max(1);
        let shared = Arc::new(Shared {
            phase: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            shares: (0..threads)
                .map(|_| Share {
                    next: AtomicUsize::new(0),
                    end: AtomicUsize::new(0),
                    sleeps: AtomicBool::new(false),
                })
                .collect(),
            busy: AtomicUsize::new(0),
            caller: UnsafeCell::new(None),
            caller_sleeps: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let mut workers = Vec::new();
        for index in 1..threads {
            let shared = Arc::clone(&shared);
            let cpu = cpus.get(index).copied();
            let name = format!("compute-{index}");
            match std::thread::Builder::new().name(name).spawn(move || shared.work(index, cpu)) {
                Ok(worker) => workers.push(worker),
                // A share without its thread is taken by the others.
                Err(error) => tracing::warn!(%error, "a compute thread could not be started"),
            }
        }
        Self { shared, workers, caller_cpu: cpus.first().copied(), not_shared: PhantomData }
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.shared.shares.len()
    }

    /// Pins the calling thread to the pool's first CPU.
    pub(crate) fn pin_caller(&self) {
        if let Some(cpu) = self.caller_cpu {
            pin(cpu);
        }
    }

    /// Runs `task(0..tasks, thread)` on all threads and waits for them. Tasks cannot start phases of their own.
    ///
    /// # Panics
    /// If a task does.
    pub(crate) fn run(&self, tasks: usize, task: Task<'_>) {
        let threads = self.workers.len() + 1;
        if threads == 1 || tasks <= 1 {
            for index in 0..tasks {
                task(index, 0);
            }
            return;
        }
        let shared = &*self.shared;
        let total = shared.shares.len();
        for (index, share) in shared.shares.iter().enumerate() {
            share.next.store(tasks * index / total, Ordering::Relaxed);
            share.end.store(tasks * (index + 1) / total, Ordering::Relaxed);
        }
        shared.busy.store(self.workers.len(), Ordering::Relaxed);
        // SAFETY: only the lifetime is changed. Workers use the reference until `busy` comes to zero, and this call
        // does not return before (nor unwinds: see `Finish`).
        let task_for_workers: Task<'static> = unsafe { std::mem::transmute(task) };
        // SAFETY: no phase is running, so nobody else looks at the cells.
        unsafe {
            *shared.job.get() = Some(Phase { task: task_for_workers });
            let caller = &mut *shared.caller.get();
            let current = std::thread::current();
            if caller.as_ref().is_none_or(|known| known.id() != current.id()) {
                *caller = Some(current);
            }
        }
        shared.phase.fetch_add(1, Ordering::SeqCst);
        for (share, worker) in shared.shares[1..].iter().zip(&self.workers) {
            if share.sleeps.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        let finish = Finish(shared);
        shared.take_tasks(0, task);
        drop(finish);
        // The output of a kernel that panicked is undefined, so the panic goes on where somebody can see it.
        assert!(!shared.panicked.load(Ordering::SeqCst), "a compute task panicked");
    }
}

/// Waits for the workers when it is dropped, also if a task panics on the caller's thread.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let shared = self.0;
        let mut spins = 0;
        while shared.busy.load(Ordering::Acquire) > 0 {
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
                continue;
            }
            shared.caller_sleeps.store(true, Ordering::SeqCst);
            if shared.busy.load(Ordering::SeqCst) > 0 {
                std::thread::park();
            }
            shared.caller_sleeps.store(false, Ordering::SeqCst);
        }
    }
}

impl Shared {
    /// Runs the tasks of one's own share, then those of the others.
    fn take_tasks(&self, thread: usize, task: Task<'_>) {
        let total = self.shares.len();
        for offset in 0..total {
            let share = &self.shares[(thread + offset) % total];
            let end = share.end.load(Ordering::Relaxed);
            while share.next.load(Ordering::Relaxed) < end {
                let index = share.next.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                task(index, thread);
            }
        }
    }

    /// Life of a worker.
    fn work(&self, thread: usize, cpu: Option<usize>) {
        if let Some(cpu) = cpu {
            pin(cpu);
        }
        let mut seen = 0;
        loop {
            let mut spins = 0;
            while self.phase.load(Ordering::SeqCst) == seen {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                if spins < SPINS {
                    spins += 1;
                    std::hint::spin_loop();
                    continue;
                }
                let sleeps = &self.shares[thread].sleeps;
                sleeps.store(true, Ordering::SeqCst);
                if self.phase.load(Ordering::SeqCst) == seen && !self.stop.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                sleeps.store(false, Ordering::SeqCst);
            }
            seen = seen.wrapping_add(1);
            // SAFETY: the phase that was just seen cannot end before this thread lowers `busy`, so the caller does
            // not write the cell and the task is still borrowed.
            let job = unsafe { (*self.job.get()).map(|phase| &*phase.task) };
            if let Some(task) = job {
                let run = std::panic::AssertUnwindSafe(|| self.take_tasks(thread, task));
                if std::panic::catch_unwind(run).is_err() {
                    self.panicked.store(true, Ordering::SeqCst);
                }
            }
            // The caller's handle is read before `busy` falls: afterwards the cell may be written again.
            // SAFETY: as above.
            let caller = unsafe { (*self.caller.get()).clone() };
            if self.busy.fetch_sub(1, Ordering::SeqCst) == 1
                && self.caller_sleeps.load(Ordering::SeqCst)
                && let Some(caller) = caller
            {
                caller.unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches panics, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

/// CPUs that the process may use, in order; empty where the system does not tell.
#[cfg(target_os = "linux")]
fn allowed_cpus() -> Vec<usize> {
    // SAFETY: a CPU set is plain bits; the call writes at most the size it is given.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// Pins the calling thread to a CPU. A refusal costs speed only.
#[cfg(target_os = "linux")]
fn pin(cpu: usize) {
    if cpu >= libc::CPU_SETSIZE as usize {
        return;
    }
    // SAFETY: a CPU set is plain bits, and the number was checked to lie in it.
    let refused = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) != 0
    };
    if refused {
        tracing::warn!(cpu, "a compute thread could not be pinned");
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_their_number() {
        let pool = Pool::new(&[]);
        let threads = pool.threads();
        for tasks in [0, 1, 2, 3, 7, 100, 1000] {
            let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|index, thread| {
                assert!(thread < threads);
                runs[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|run| run.load(Ordering::Relaxed) == 1), "{tasks} tasks");
        }
    }

    #[test]
    fn phases_follow_each_other_also_after_a_pause() {
        let pool = Pool::new(&[]);
        let sum = AtomicUsize::new(0);
        for round in 0..2000 {
            let before = sum.load(Ordering::Relaxed);
            pool.run(8, &|index, _| {
                sum.fetch_add(index, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), before + 28);
            if round % 500 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    }

    #[test]
    fn threads_are_never_more_than_the_process_may_use() {
        let most = std::thread::available_parallelism().unwrap().get();
        assert!(Pool::new(&[]).threads() <= most);
        let many: Vec<usize> = (0..1000).collect();
        assert!(Pool::new(&many).threads() <= most);
        assert_eq!(Pool::new(&[usize::MAX]).threads(), 1);
    }
}
