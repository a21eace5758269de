//! Encoded parts of prompts, kept: the calls behind one decision share nearly all of their parts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

#[derive(Default)]
struct Kept {
    parts: HashMap<String, (u64, Arc<[u32]>)>,
    bytes: usize,
    uses: u64,
}

impl Prompts {
    fn within(limit: usize) -> Self {
        Self { kept: Mutex::default(), limit }
    }

    /// Tokens of one part of a prompt.
    pub(crate) fn encode(&self, tokenizer: &Tokenizer, text: &str) -> Arc<[u32]> {
        if text.len() < SHORT || text.len() > self.limit / 4 {
            return tokenizer.encode_data(text).into();
        }
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.uses += 1;
            let uses = kept.uses;
            if let Some((used, tokens)) = kept.parts.get_mut(text) {
                *used = uses;
                return Arc::clone(tokens);
            }
        }
        let tokens: Arc<[u32]> = tokenizer.encode_data(text).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = kept.uses;
        if kept.parts.insert(text.to_owned(), (uses, Arc::clone(&tokens))).is_none() {
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
        let mut uses: Vec<u64> = self.parts.values().map(|(used, _)| *used).collect();
        let middle = uses.len() / 2;
        let (_, &mut bound, _) = uses.select_nth_unstable(middle);
        self.parts.retain(|_, (used, _)| *used > bound);
        self.bytes = self.parts.keys().map(String::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::tiny;

    #[test]
    fn parts_are_kept_within_bounds() {
        let (tokenizer, prompts) = (tiny(), Prompts::within(10_000));
        let first = prompts.encode(&tokenizer, &"alert ".repeat(100));
        assert!(Arc::ptr_eq(&first, &prompts.encode(&tokenizer, &"alert ".repeat(100))));
        for n in 0..30 {
            prompts.encode(&tokenizer, &format!("{n}").repeat(500));
        }
        let kept = prompts.kept.lock().expect("whole");
        assert!(kept.bytes <= 10_000 && !kept.parts.is_empty(), "{}", kept.bytes);
    }
}
