//! Threads for what computes: reading evidence, what planning works out between two questions, hashing. What answers calls,
//! renews leases and delivers runs elsewhere and never waits for it.
//!
//! Contract: no more threads compute than were asked for. Work that is given up by dropping its future is dropped where it
//! next waits; a closure that has begun is finished. How busy the threads were is said in the log once a minute.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime, RuntimeMetrics};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// Time between two lines about how busy the threads are.
const REPORT: Duration = Duration::from_secs(60);

/// The threads. Clones are the same; with the last of them they end.
#[derive(Clone, Debug)]
pub struct Cpu(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    /// Taken out only when they end.
    runtime: Option<Runtime>,
}

/// How busy the threads were since it was last asked.
#[derive(Debug)]
struct Meter {
    metrics: RuntimeMetrics,
    since: Instant,
    busy: Duration,
}

/// Work broke off.
#[derive(Debug, thiserror::Error)]
#[error("the work broke off: {0}")]
pub struct Broken(#[from] JoinError);

impl Broken {
    /// Goes on with the panic that broke it off, if it was one.
    pub fn go_on_panicking(self) -> Self {
        match self.0.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Self(error),
        }
    }
}

impl Cpu {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("compute")
            .enable_all()
            .build()?;
        let mut meter = Meter::new(runtime.metrics());
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(REPORT).await;
                let busy = format!("{:.2}", meter.busy());
                tracing::info!(busy, waiting = meter.metrics.global_queue_depth(), "computing threads");
            }
        });
        Ok(Self(Arc::new(Threads { runtime: Some(runtime) })))
    }

    /// Computes something.
    ///
    /// # Errors
    /// If it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Broken> {
        self.spawn(async move { work() }).await.map_err(Broken)
    }

    /// Begins something that computes between its waits. Dropping what is returned gives it up.
    pub fn spawn<F>(&self, work: F) -> AbortOnDropHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        // It is there until the last clone is gone.
        let handle = match &self.0.runtime {
            Some(runtime) => runtime.spawn(work),
            None => tokio::spawn(work),
        };
        AbortOnDropHandle::new(handle)
    }
}

impl Cpu {
    /// Time that the threads were at work so far, all together, and how many there are.
    pub fn worked(&self) -> (Duration, usize) {
        let Some(runtime) = &self.0.runtime else { return (Duration::ZERO, 0) };
        let metrics = runtime.metrics();
        (worked(&metrics), metrics.num_workers())
    }
}

/// Time that the threads of a runtime were at work, all together.
fn worked(metrics: &RuntimeMetrics) -> Duration {
    (0..metrics.num_workers()).map(|thread| metrics.worker_total_busy_duration(thread)).sum()
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for threads is not allowed where this may be dropped.
            runtime.shutdown_background();
        }
    }
}

impl Meter {
    fn new(metrics: RuntimeMetrics) -> Self {
        Self { metrics, since: Instant::now(), busy: Duration::ZERO }
    }

    /// Share of the threads' time that they worked, since this was last asked.
    fn busy(&mut self) -> f64 {
        let threads = self.metrics.num_workers();
        let busy = worked(&self.metrics);
        let (worked, passed) = (busy.saturating_sub(self.busy), self.since.elapsed() * threads as u32);
        (self.busy, self.since) = (busy, Instant::now());
        if passed.is_zero() { 0.0 } else { (worked.as_secs_f64() / passed.as_secs_f64()).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_threads_compute_than_were_asked_for_and_nobody_else_waits() {
        let cpu = Cpu::start(2).unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            cpu.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                now.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let all = futures::future::join_all((0..10).map(|_| work()));
        let begun = Instant::now();
        let (done, beat) = tokio::join!(all, async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            begun.elapsed()
        });
        assert!(done.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), 2);
        assert!(beat < Duration::from_millis(60), "the thread that answers waited for {beat:?}");
    }

    #[tokio::test]
    async fn a_panic_is_told_and_takes_no_thread_away() {
        let cpu = Cpu::start(1).unwrap();
        for _ in 0..3 {
            let broken: Result<(), Broken> = cpu.run(|| panic!("an overflow, say")).await;
            assert!(broken.unwrap_err().to_string().contains("panic"));
        }
        assert_eq!(cpu.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_busy_ratio_is_that_of_the_threads() {
        let cpu = Cpu::start(2).unwrap();
        let mut meter = Meter::new(cpu.0.runtime.as_ref().unwrap().metrics());
        cpu.run(|| std::thread::sleep(Duration::from_millis(100))).await.unwrap();
        // The figure is brought up to date when a thread goes to sleep.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let busy = meter.busy();
        assert!((0.1..=0.75).contains(&busy), "one of two threads: {busy}");
    }
}
