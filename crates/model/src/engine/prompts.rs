//! Encoded parts of prompts, kept: the calls behind one decision share nearly all of their parts. What is one owner's is kept for
//! that owner alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::kv::Owner;
use crate::tokenizer::Tokenizer;

/// Bytes of texts that are kept.
const KEPT_BYTES: usize = 8 << 20;
/// Texts shorter than this are encoded faster than found.
const SHORT: usize = 64;

pub(crate) struct Prompts {
    kept: Mutex<Kept>,
    limit: usize,
}

impl Default for Prompts {
    fn default() -> Self {
        Self::within(KEPT_BYTES)
    }
}

/// Encoded texts, each with when it was used last, in uses of any.
type Parts = HashMap<String, (u64, Arc<[u32]>)>;

#[derive(Default)]
struct Kept {
    parts: HashMap<Option<Owner>, Parts>,
    bytes: usize,
    uses: u64,
}

impl Prompts {
    fn within(limit: usize) -> Self {
        Self { kept: Mutex::default(), limit }
    }

    /// Tokens of one part of a prompt; without an owner it is everybody's.
    pub(crate) fn encode(&self, tokenizer: &Tokenizer, owner: Option<Owner>, text: &str) -> Arc<[u32]> {
        if text.len() < SHORT || text.len() > self.limit / 4 {
            return tokenizer.encode_data(text).into();
        }
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.uses += 1;
            let uses = kept.uses;
            if let Some((used, tokens)) = kept.parts.get_mut(&owner).and_then(|own| own.get_mut(text)) {
                *used = uses;
                return Arc::clone(tokens);
            }
        }
        let tokens: Arc<[u32]> = tokenizer.encode_data(text).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = kept.uses;
        let own = kept.parts.entry(owner).or_default();
        if own.insert(text.to_owned(), (uses, Arc::clone(&tokens))).is_none() {
            kept.bytes += text.len();
        }
        if kept.bytes > self.limit {
            kept.drop_older_half();
        }
        tokens
    }
}

impl Kept {
    fn drop_older_half(&mut self) {
        let all = self.parts.values().flat_map(HashMap::values);
        let mut uses: Vec<u64> = all.map(|(used, _)| *used).collect();
        let middle = uses.len() / 2;
        let (_, &mut bound, _) = uses.select_nth_unstable(middle);
        self.parts.retain(|_, own| {
            own.retain(|_, (used, _)| *used > bound);
            !own.is_empty()
        });
        self.bytes = self.parts.values().flat_map(HashMap::keys).map(String::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::tiny;

    #[test]
    fn parts_are_kept_within_bounds() {
        let (tokenizer, prompts) = (tiny(), Prompts::within(10_000));
        let encode = |owner, text: &str| prompts.encode(&tokenizer, owner, text);
        let text = "alert ".repeat(100);
        let first = encode(Some([1; 16]), &text);
        assert!(Arc::ptr_eq(&first, &encode(Some([1; 16]), &text)));
        for other in [Some([2; 16]), None] {
            assert!(!Arc::ptr_eq(&first, &encode(other, &text)), "it is somebody else's");
        }
        for n in 0..30 {
            encode(Some([n; 16]), &format!("{n}").repeat(500));
        }
        let kept = prompts.kept.lock().expect("whole");
        assert!(kept.bytes <= 10_000 && !kept.parts.is_empty(), "{}", kept.bytes);
    }
}
