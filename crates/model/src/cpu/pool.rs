//! A pool of pinned threads with a cheap barrier.
//!
//! One forward pass is a few hundred phases of a few microseconds to a millisecond. [`Pool::run`] starts a phase on
//! all threads, the caller being the first of them, and returns when all its tasks are done. Idle threads spin for
//! some microseconds, so that the next phase finds them awake, and then sleep.
//!
//! Who is about to sleep says so and then looks once more for work; who has work writes it down and then looks who sleeps. A
//! fence between the two steps, on both sides, lets no wake-up get lost; the loom test plays through the rest.
//!
//! Each thread starts with its own contiguous share of the tasks and then helps the others with theirs: memory is
//! read in long streams, and a thread that another process disturbs does not hold up the rest.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;

use super::cpus;
use super::sync::{
    Arc, AtomicBool, AtomicUsize, Builder, JoinHandle, Ordering, SPINS, Thread, UnsafeCell, current, fence,
    park, spin_loop,
};

/// Threads that run phases together.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Threads beside the caller's, with the numbers of their shares.
    workers: Vec<(usize, JoinHandle<()>)>,
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
        let allowed = cpus::allowed();
        let mut cpus: Vec<usize> = match cpus {
            [] => allowed,
            some => some.iter().copied().filter(|cpu| allowed.is_empty() || allowed.contains(cpu)).collect(),
        };
        cpus.truncate(cpus::parallelism());
        let mut pool = Self::start(cpus.len().max(1), |index, shared| {
            let cpu = cpus.get(index).copied();
            let work = move || {
                if let Some(cpu) = cpu {
                    cpus::pin(cpu);
                }
                shared.work(index);
            };
            Builder::new().name(format!("compute-{index}")).spawn(work)
        });
        pool.caller_cpu = cpus.first().copied();
        pool
    }

    /// One share for each thread. `spawn` starts the thread of a share; a share without its thread is taken by the others.
    fn start(
        threads: usize,
        mut spawn: impl FnMut(usize, Arc<Shared>) -> io::Result<JoinHandle<()>>,
    ) -> Self {
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
            match spawn(index, Arc::clone(&shared)) {
                Ok(worker) => workers.push((index, worker)),
                Err(error) => tracing::warn!(%error, "a compute thread could not be started"),
            }
        }
        Self { shared, workers, caller_cpu: None, not_shared: PhantomData }
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.shared.shares.len()
    }

    /// Pins the calling thread to the pool's first CPU.
    pub(crate) fn pin_caller(&self) {
        if let Some(cpu) = self.caller_cpu {
            cpus::pin(cpu);
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
            shared.job.with_mut(|job| *job = Some(Phase { task: task_for_workers }));
            shared.caller.with_mut(|caller| {
                let current = current();
                if (*caller).as_ref().is_none_or(|known| known.id() != current.id()) {
                    *caller = Some(current);
                }
            });
        }
        shared.phase.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
        for (index, worker) in &self.workers {
            if shared.shares[*index].sleeps.load(Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
        let finish = Finish(shared);
        shared.take_tasks(0, task);
        drop(finish);
        // The output of a kernel that panicked is undefined, so the panic goes on where somebody can see it.
        assert!(!shared.panicked.load(Ordering::Relaxed), "a compute task panicked");
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
                spin_loop();
                continue;
            }
            shared.caller_sleeps.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if shared.busy.load(Ordering::Acquire) > 0 {
                park();
            }
            shared.caller_sleeps.store(false, Ordering::Relaxed);
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
    fn work(&self, thread: usize) {
        let mut seen = 0;
        loop {
            let mut spins = 0;
            while self.phase.load(Ordering::Acquire) == seen {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                if spins < SPINS {
                    spins += 1;
                    spin_loop();
                    continue;
                }
                let sleeps = &self.shares[thread].sleeps;
                sleeps.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                if self.phase.load(Ordering::Acquire) == seen && !self.stop.load(Ordering::Acquire) {
                    park();
                }
                sleeps.store(false, Ordering::Relaxed);
            }
            seen = seen.wrapping_add(1);
            // SAFETY: the phase that was just seen cannot end before this thread lowers `busy`, so the caller does
            // not write the cell and the task is still borrowed.
            let job = unsafe { self.job.with(|job| (*job).map(|phase| &*phase.task)) };
            if let Some(task) = job {
                let run = std::panic::AssertUnwindSafe(|| self.take_tasks(thread, task));
                if std::panic::catch_unwind(run).is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
            // The caller's handle is read before `busy` falls: afterwards the cell may be written again.
            // SAFETY: as above.
            let caller = unsafe { self.caller.with(|caller| (*caller).clone()) };
            let is_last = self.busy.fetch_sub(1, Ordering::AcqRel) == 1;
            fence(Ordering::SeqCst);
            if is_last
                && self.caller_sleeps.load(Ordering::Relaxed)
                && let Some(caller) = caller
            {
                caller.unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for (_, worker) in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches panics, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

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

    /// A pool whose threads with these numbers cannot be spawned.
    fn without(threads: usize, refused: &[usize]) -> Pool {
        Pool::start(threads, |index, shared| {
            if refused.contains(&index) {
                return Err(io::Error::from(io::ErrorKind::WouldBlock));
            }
            Builder::new().spawn(move || shared.work(index))
        })
    }

    #[test]
    fn a_thread_that_cannot_be_spawned_is_no_ones_loss() {
        for refused in [&[1][..], &[2], &[1, 3], &[1, 2, 3]] {
            let (done, all_done) = std::sync::mpsc::channel();
            let refused = refused.to_vec();
            let told = refused.clone();
            let run = std::thread::spawn(move || {
                let pool = without(4, &refused);
                for round in 0..20 {
                    let runs: Vec<AtomicUsize> = (0..9).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(9, &|index, _| {
                        runs[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(runs.iter().all(|run| run.load(Ordering::Relaxed) == 1));
                    // Long enough for the threads to fall asleep, so that each has to be woken.
                    std::thread::sleep(std::time::Duration::from_millis(if round % 4 == 0 { 3 } else { 0 }));
                }
                drop(pool);
                done.send(()).unwrap();
            });
            let ended = all_done.recv_timeout(std::time::Duration::from_secs(20));
            assert!(ended.is_ok(), "without the threads {told:?} it hangs or fails");
            run.join().unwrap();
        }
    }

    #[test]
    fn a_kernel_that_panics_on_any_thread_panics_where_it_was_asked_for() {
        for broken in 0..3 {
            let pool = without(3, &[]);
            // Each thread comes to run one, however busy the machine is.
            let all_are_here = std::sync::Barrier::new(3);
            let run = std::panic::AssertUnwindSafe(|| {
                pool.run(3, &|_, thread| {
                    all_are_here.wait();
                    assert!(thread != broken, "an injected fault");
                });
            });
            assert!(std::panic::catch_unwind(run).is_err(), "thread {broken}");
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
