//! Sentences for an incident's readers, from whoever works for it. None is lost: telling never waits, and when nobody writes
//! them down for a while they are kept, equal ones as one with their number, and beyond [`MOST`] as a number alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Different sentences that are kept at most until somebody takes them.
const MOST: usize = 256;

/// The end that tells. Clones are the same.
#[derive(Clone, Debug)]
pub struct Notices(Arc<Shared>);

/// The end that takes.
#[derive(Debug)]
pub struct NoticeInbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Sentences in the order in which they came, and how often each did.
    sentences: Vec<(String, u64)>,
    /// Those that were told beside them.
    more: u64,
}

/// Both ends.
pub fn notices() -> (Notices, NoticeInbox) {
    let shared = Arc::new(Shared::default());
    (Notices(Arc::clone(&shared)), NoticeInbox(shared))
}

impl Notices {
    /// Tells a sentence.
    pub fn tell(&self, sentence: String) {
        let mut held = self.0.lock();
        let waiting = &mut *held;
        let has_room = waiting.sentences.len() < MOST;
        match waiting.sentences.iter_mut().find(|(known, _)| *known == sentence) {
            Some((_, times)) => *times += 1,
            None if has_room => waiting.sentences.push((sentence, 1)),
            None => waiting.more += 1,
        }
        drop(held);
        self.0.told.notify_one();
    }
}

impl NoticeInbox {
    /// Everything that was told since, at least one sentence. Dropping this loses nothing.
    pub async fn take(&mut self) -> Vec<String> {
        loop {
            let sentences = self.ready();
            if !sentences.is_empty() {
                return sentences;
            }
            self.0.told.notified().await;
        }
    }

    /// Everything that was told since, if anything was.
    pub fn ready(&mut self) -> Vec<String> {
        let Waiting { sentences, more } = std::mem::take(&mut *self.0.lock());
        let counted = sentences.into_iter().map(|(sentence, times)| match times {
            1 => sentence,
            times => format!("{sentence} ({times} times)"),
        });
        let rest =
            (more > 0).then(|| format!("{more} further notices came faster than they could be written"));
        counted.chain(rest).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that could panic happens between two changes.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_notice_is_lost_however_late_it_is_taken() {
        let (notices, mut inbox) = notices();
        for number in 0..100 {
            notices.tell(format!("worker w-{number} was lost"));
        }
        let taken = inbox.take().await;
        assert_eq!((taken.len(), taken[99].as_str()), (100, "worker w-99 was lost"));
        notices.tell("once".to_owned());
        (0..3).for_each(|_| notices.tell("often".to_owned()));
        assert_eq!(inbox.take().await, ["once", "often (3 times)"]);
    }

    #[tokio::test]
    async fn what_is_beyond_the_bound_is_counted() {
        let (notices, mut inbox) = notices();
        for number in 0..MOST + 7 {
            notices.tell(number.to_string());
        }
        let taken = inbox.take().await;
        assert_eq!(taken.len(), MOST + 1);
        assert!(taken[MOST].starts_with("7 further notices"), "{}", taken[MOST]);
        assert!(futures::poll!(Box::pin(inbox.take())).is_pending());
    }
}
