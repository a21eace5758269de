//! Which rollouts of the calls under way can be broken off one by one. A client that drops a call ends all of its rollouts; one that
//! has no more use for some names the call, and the others go on.
//!
//! Invariant: a call can be found by its name for as long as it runs, and no two at once have the same name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countermove_planner::RolloutKey;
use countermove_proto::Error;
use tokio_util::sync::CancellationToken;

/// Longest name of a call, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// The calls that run. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancelling(Arc<Mutex<Calls>>);

type Calls = HashMap<String, HashMap<RolloutKey, CancellationToken>>;

/// A call that can be found until this is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    calls: Cancelling,
    name: String,
}

impl Cancelling {
    /// Takes a call in, and gives what ends when each of its rollouts is to end, in order. A call without a name cannot be found.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if another call has this name, or it is too long.
    pub(crate) fn register(
        &self,
        name: &str,
        keys: impl Iterator<Item = RolloutKey>,
    ) -> Result<(Registered, Vec<CancellationToken>), Error> {
        let (keys, tokens): (Vec<_>, Vec<_>) = keys.map(|key| (key, CancellationToken::new())).unzip();
        if name.len() > MAX_NAME_BYTES {
            return Err(Error::invalid("call", format!("it is longer than {MAX_NAME_BYTES} bytes")));
        }
        if !name.is_empty() {
            let mut calls = self.lock();
            if calls.contains_key(name) {
                return Err(Error::invalid("call", "a call of this name is running"));
            }
            calls.insert(name.to_owned(), keys.into_iter().zip(tokens.iter().cloned()).collect());
        }
        Ok((Registered { calls: self.clone(), name: name.to_owned() }, tokens))
    }

    /// Ends rollouts of a call. Those that it does not run are left alone.
    pub(crate) fn cancel(&self, name: &str, keys: impl Iterator<Item = RolloutKey>) {
        let calls = self.lock();
        let Some(call) = calls.get(name) else { return };
        for token in keys.filter_map(|key| call.get(&key)) {
            token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rollout: u32) -> RolloutKey {
        RolloutKey { step: 0, candidate: 0, rollout }
    }

    #[test]
    fn a_rollout_is_found_by_its_call_while_that_runs() {
        let calls = Cancelling::default();
        let (first, tokens) = calls.register("a", [key(0), key(1)].into_iter()).unwrap();
        let (_second, others) = calls.register("b", [key(0)].into_iter()).unwrap();
        let (_nameless, unnamed) = calls.register("", [key(0)].into_iter()).unwrap();
        calls.cancel("a", [key(0), key(7)].into_iter());
        calls.cancel("", [key(0)].into_iter());
        let ended: Vec<_> =
            tokens.iter().chain(&others).chain(&unnamed).map(CancellationToken::is_cancelled).collect();
        assert_eq!(ended, [true, false, false, false]);
        assert!(calls.register("a", [key(0)].into_iter()).is_err(), "the name is taken");
        calls.cancel("a", [key(1)].into_iter());
        assert!(tokens[1].is_cancelled(), "it is still there");
        drop(first);
        let (_again, tokens) = calls.register("a", [key(0)].into_iter()).unwrap();
        assert!(!tokens[0].is_cancelled());
        assert!(calls.register(&"x".repeat(MAX_NAME_BYTES + 1), [key(0)].into_iter()).is_err());
    }
}
