//! Time that work takes when it shares a rate with other work.
//!
//! Processor sharing: with k pieces at work each gets a k-th of the rate. One clock of served work per piece, V, grows
//! with rate / k; a piece of w that begins at V₀ ends when V reaches V₀ + w. So nothing is counted per piece, and one
//! timer serves all.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};

/// Pieces that may lie unread.
const INBOX: usize = 1024;

/// The clock has ended with its runtime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopped;

/// A rate that work shares.
#[derive(Clone, Debug)]
pub(super) struct Pace(mpsc::Sender<Piece>);

#[derive(Debug)]
struct Piece {
    work: f64,
    done: oneshot::Sender<()>,
}

impl Pace {
    /// `rate` units of work a second in all.
    pub(super) fn start(rate: f64) -> Self {
        let (sender, inbox) = mpsc::channel(INBOX);
        tokio::spawn(keep(rate, inbox));
        Self(sender)
    }

    /// Waits until nothing is served any more.
    pub(super) async fn ended(&self) {
        self.0.closed().await;
    }

    /// Ends when `work` has been served. Dropping it takes the work away.
    pub(super) async fn work(&self, work: f64) -> Result<(), Stopped> {
        let (done, served) = oneshot::channel();
        self.0.send(Piece { work, done }).await.map_err(|_| Stopped)?;
        served.await.map_err(|_| Stopped)
    }
}

/// Pieces by the count at which they end, and a number that tells equal ones apart.
type Pieces = BTreeMap<(u64, u64), oneshot::Sender<()>>;

async fn keep(rate: f64, mut inbox: mpsc::Receiver<Piece>) {
    let (mut pieces, mut number) = (Pieces::new(), 0);
    // Work served to each piece so far, in thousandths.
    let (mut served, mut at) = (0.0_f64, Instant::now());
    loop {
        // What nobody waits for any more takes no share.
        pieces.retain(|_, done| !done.is_closed());
        let next = pieces.first_key_value().map(|((end, _), _)| {
            let left = (*end as f64 - served).max(0.0) / 1000.0;
            at + Duration::from_secs_f64(left * pieces.len() as f64 / rate)
        });
        let news = tokio::select! {
            piece = inbox.recv() => match piece {
                Some(piece) => Some(piece),
                None => return,
            },
            () = passed(next) => None,
        };
        let now = Instant::now();
        if !pieces.is_empty() {
            served += (now - at).as_secs_f64() * rate / pieces.len() as f64 * 1000.0;
        }
        at = now;
        // A timer is never early, but arithmetic rounds.
        while let Some(first) = pieces.first_entry().filter(|first| first.key().0 as f64 <= served + 1.0) {
            let _ = first.remove().send(());
        }
        if let Some(Piece { work, done }) = news {
            number += 1;
            pieces.insert(((served + work.max(0.0) * 1000.0).ceil() as u64, number), done);
        }
    }
}

async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_shares_the_rate() {
        let pace = Pace::start(100.0);
        let begun = Instant::now();
        let took = async |work: f64| {
            pace.work(work).await.unwrap();
            begun.elapsed().as_secs_f64()
        };
        // Two at 50 a second until the shorter one ends after 2 s; the longer one's other 100 go at the whole rate.
        let (short, long) = tokio::join!(took(100.0), took(200.0));
        assert!((short - 2.0).abs() < 0.02 && (long - 3.0).abs() < 0.02, "{short} {long}");
        let alone = took(50.0).await;
        assert!((alone - 3.5).abs() < 0.03, "{alone}");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_nobody_waits_for_takes_no_share() {
        let pace = Pace::start(100.0);
        let begun = Instant::now();
        let given_up = tokio::time::timeout(Duration::from_secs(1), pace.work(1e9)).await;
        assert!(given_up.is_err());
        pace.work(100.0).await.unwrap();
        let took = begun.elapsed().as_secs_f64();
        assert!((took - 2.0).abs() < 0.02, "{took}");
    }
}
