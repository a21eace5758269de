//! Requests that are repeated with the same id have one effect and one answer.
//!
//! Contract: the work of a request runs to its end even if its caller hangs up, so that repeating it finds the answer.
//! Only success is remembered: after a failure the same id may be used again. The same id with another payload or
//! another method is refused. The memory is bounded in bytes; what is pushed out counts as never seen, unless a store keeps
//! it: then the effect is written together with the id, and a repetition is known to every coordinator, also after a crash
//! between effect and answer. A request without effect is kept in no store.

use std::sync::Arc;

use countermove_proto::{Error, IncidentId, RequestId};
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::access::Caller;
use crate::incidents::{Hash, Ownership, RequestKey};

/// What a request takes in memory besides its answer, in bytes.
const REQUEST: u32 = 512;

/// Answers of the last requests.
#[derive(Debug)]
pub(crate) struct Replies {
    slots: Cache<RequestId, Arc<Slot>>,
}

#[derive(Debug)]
struct Slot {
    fingerprint: Fingerprint,
    /// The answer, encoded.
    answer: OnceCell<Vec<u8>>,
}

/// Tells one request from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Hash);

impl Fingerprint {
    /// That of a request to a method by this caller: another one finds nothing under the same id.
    pub(crate) fn by(caller: &Caller, method: &'static str, request: &impl Message) -> Self {
        let Self(hash) = Self::of(method, request);
        match caller.name() {
            "" => Self(hash),
            name => Self(Sha256::new().chain_update(hash).chain_update(name).finalize().into()),
        }
    }

    /// That of a request to a method.
    fn of(method: &'static str, request: &impl Message) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((method.len() as u64).to_be_bytes());
        hasher.update(method);
        hasher.update(request.encode_to_vec());
        Self(hasher.finalize().into())
    }
}

impl Replies {
    /// Remembers as many as fit in so many bytes, the last that were used.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        let weight = |_: &RequestId, slot: &Arc<Slot>| {
            let answer = slot.answer.get().map_or(0, Vec::len);
            u32::try_from(answer).unwrap_or(u32::MAX).saturating_add(REQUEST)
        };
        // By order of use: one that has just come is never turned away for one that is asked more often.
        let slots = Cache::builder()
            .max_capacity(bytes)
            .weigher(weight)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Arc::new(Self { slots })
    }

    /// Answers the request behind `print`, which came under `id`: by doing `work`, or from memory. Without an id the
    /// work is done each time.
    ///
    /// # Errors
    /// That of the work, or [`Error::InvalidArgument`] if the id was used for something else.
    pub(crate) async fn once<T, F>(
        self: &Arc<Self>,
        id: Option<RequestId>,
        print: Fingerprint,
        work: F,
    ) -> Result<T, Error>
    where
        T: Message + Default + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let Some(id) = id else {
            return tokio::spawn(work).await.map_err(broken)?;
        };
        let slot = self.slot(id, print)?;
        let this = Arc::clone(self);
        let encoded = tokio::spawn(async move {
            let answer =
                slot.answer.get_or_try_init(|| async { work.await.map(|answer| answer.encode_to_vec()) });
            match answer.await {
                Ok(answer) => {
                    let answer = answer.clone();
                    // Only now is it known what it weighs.
                    this.slots.insert(id, Arc::clone(&slot));
                    Ok(answer)
                }
                Err(error) => {
                    this.forget(id, &slot);
                    Err(error)
                }
            }
        });
        let encoded = encoded.await.map_err(broken)??;
        T::decode(encoded.as_slice()).map_err(broken)
    }

    /// As [`Self::once`], and over processes: `work` gets the key under which its effect has to be written to `store`,
    /// and `recall` gives the answer to a request whose effect, event n of an incident, is there without an answer.
    ///
    /// # Errors
    /// As of [`Self::once`], and those of the store.
    pub(crate) async fn once_kept<T, W, F, C, R>(
        self: &Arc<Self>,
        store: Option<Arc<dyn Ownership>>,
        id: Option<RequestId>,
        print: Fingerprint,
        work: W,
        recall: C,
    ) -> Result<T, Error>
    where
        T: Message + Default + 'static,
        W: FnOnce(Option<RequestKey>) -> F + Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
        C: FnOnce(IncidentId, u64) -> R + Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (Some(store), Some(request)) = (store, id) else {
            return self.once(id, print, work(None)).await;
        };
        let key = RequestKey { id: request, fingerprint: print.0 };
        let kept = async move {
            let known = store.request(request).await?;
            let answer = match known {
                Some(known) if known.fingerprint != key.fingerprint => return Err(used_otherwise(request)),
                Some(known) => match (known.answer, known.effect) {
                    (Some(answer), _) => return T::decode(answer.as_slice()).map_err(broken),
                    (None, Some((incident, sequence))) => recall(incident, sequence).await?,
                    (None, None) => work(Some(key)).await?,
                },
                None => work(Some(key)).await?,
            };
            if let Err(error) = store.answer(key, answer.encode_to_vec()).await {
                // The effect is there; a repetition is answered from it.
                tracing::warn!(request = %request, %error, "the answer to a request was not kept");
            }
            Ok(answer)
        };
        self.once(id, print, kept).await
    }

    fn slot(&self, id: RequestId, fingerprint: Fingerprint) -> Result<Arc<Slot>, Error> {
        let new = || Arc::new(Slot { fingerprint, answer: OnceCell::new() });
        let slot = self.slots.entry(id).or_insert_with(new).into_value();
        if slot.fingerprint != fingerprint {
            return Err(used_otherwise(id));
        }
        Ok(slot)
    }

    fn forget(&self, id: RequestId, slot: &Arc<Slot>) {
        self.slots.entry(id).and_compute_with(|known| match known {
            Some(known) if Arc::ptr_eq(known.value(), slot) && !slot.answer.initialized() => Op::Remove,
            _ => Op::Nop,
        });
    }
}

fn used_otherwise(id: RequestId) -> Error {
    Error::invalid(
        "request_id",
        format!("{id} was used for another request; take a new id for a new request"),
    )
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("the request could not be carried out: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use countermove_proto::v1::{CancelIncidentRequest, GetIncidentRequest, Notice};

    use super::*;

    fn request(name: &str) -> CancelIncidentRequest {
        CancelIncidentRequest { name: name.to_owned(), ..CancelIncidentRequest::default() }
    }

    /// Work that counts how often it is done, and answers with the count.
    fn work(count: &Arc<AtomicUsize>) -> impl Future<Output = Result<Notice, Error>> + Send + 'static {
        let count = Arc::clone(count);
        async move {
            let n = count.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(Notice { text: n.to_string() })
        }
    }

    #[tokio::test]
    async fn a_repeated_request_has_one_effect_and_one_answer() {
        let (replies, count, id) = (Replies::new(1 << 20), Arc::default(), RequestId::generate());
        let request = request("a");
        let (first, second) = tokio::join!(
            replies.once(Some(id), Fingerprint::of("Cancel", &request), work(&count)),
            replies.once(Some(id), Fingerprint::of("Cancel", &request), work(&count)),
        );
        let third = replies.once(Some(id), Fingerprint::of("Cancel", &request), work(&count)).await;
        assert_eq!(first, second);
        assert_eq!(first, third);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn without_an_id_each_request_is_done() {
        let (replies, count) = (Replies::new(1 << 20), Arc::default());
        for n in 1..=2 {
            let answer =
                replies.once(None, Fingerprint::of("Cancel", &request("a")), work(&count)).await.unwrap();
            assert_eq!(answer.text, n.to_string());
        }
    }

    #[tokio::test]
    async fn an_id_for_something_else_is_refused() {
        let (replies, count, id) = (Replies::new(1 << 20), Arc::default(), RequestId::generate());
        replies.once(Some(id), Fingerprint::of("Cancel", &request("a")), work(&count)).await.unwrap();
        let other_payload =
            replies.once(Some(id), Fingerprint::of("Cancel", &request("b")), work(&count)).await;
        let same = GetIncidentRequest { name: "a".into() };
        let other_method = replies.once(Some(id), Fingerprint::of("Get", &same), work(&count)).await;
        for refused in [other_payload, other_method] {
            assert!(matches!(refused, Err(Error::InvalidArgument(v)) if v[0].field == "request_id"));
        }
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let (replies, count, id) = (Replies::new(1 << 20), Arc::default(), RequestId::generate());
        let failing = async { Err::<Notice, _>(Error::Internal("once".into())) };
        assert!(replies.once(Some(id), Fingerprint::of("Cancel", &request("a")), failing).await.is_err());
        assert!(replies.once(Some(id), Fingerprint::of("Cancel", &request("b")), work(&count)).await.is_ok());
    }

    #[tokio::test]
    async fn work_goes_on_when_the_caller_hangs_up() {
        let (replies, count, id) = (Replies::new(1 << 20), Arc::default(), RequestId::generate());
        let request = request("a");
        let call = replies.once(Some(id), Fingerprint::of("Cancel", &request), work(&count));
        assert!(tokio::time::timeout(Duration::from_millis(1), call).await.is_err());
        let answer = replies.once(Some(id), Fingerprint::of("Cancel", &request), work(&count)).await.unwrap();
        assert_eq!((answer.text.as_str(), count.load(Ordering::SeqCst)), ("1", 1));
    }

    #[tokio::test]
    async fn memory_is_bounded_in_bytes() {
        let replies = Replies::new(4 * (1 << 20));
        for _ in 0..40 {
            let answer = async { Ok(Notice { text: "x".repeat(1 << 20) }) };
            let print = Fingerprint::of("Cancel", &request("a"));
            replies.once(Some(RequestId::generate()), print, answer).await.unwrap();
        }
        replies.slots.run_pending_tasks();
        assert!((1..=4).contains(&replies.slots.entry_count()), "{}", replies.slots.entry_count());
    }
}
