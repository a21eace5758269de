//! Text to tokens and back.
//!
//! Two ways in: [`Tokenizer::encode_control`] reads control tokens such as `<|im_end|>` as what they are and serves
//! the chat frame alone; [`Tokenizer::encode_data`] never does, so text from outside cannot leave its turn.
//!
//! Invariant: every id that encoding gives is below [`Tokenizer::vocab_size`], which is the width of a logits row.

mod alphabet;
mod load;
mod stream;

use std::fmt;
use std::sync::Arc;

use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use sha2::{Digest, Sha256};

pub(crate) use load::read_json;
pub(crate) use stream::TextStream;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Ordinary text.
    Text,
    /// A mark that text never turns into: the ends of turns, `<think>` where the vocabulary has it.
    Control,
    /// A place in the vocabulary that nothing uses.
    Unused,
}

/// A vocabulary before it is made into a [`Tokenizer`].
pub(crate) struct Vocabulary {
    /// Tokens in the order of their ids, text in the byte-level alphabet.
    pub(crate) tokens: Vec<(String, TokenKind)>,
    /// SHA-256 over tokens and merges.
    pub(crate) digest: String,
    /// Splits and merges text; knows no control tokens.
    pub(crate) bpe: tokenizers::Tokenizer,
    /// Token that begins every prompt, if the model wants one.
    pub(crate) begin: Option<u32>,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
}

/// A model's tokenizer.
pub struct Tokenizer {
    table: Arc<Table>,
    control: Vec<(String, u32)>,
    begin: Option<u32>,
    ends: Vec<u32>,
    digest: String,
    ordinary: Arc<SimpleVob>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Checks a vocabulary and makes it ready.
    ///
    /// # Errors
    /// One sentence on what is wrong with it.
    pub(crate) fn new(vocabulary: Vocabulary) -> Result<Self, String> {
        let Vocabulary { tokens, digest, bpe, begin, mut ends } = vocabulary;
        ends.retain(|&id| (id as usize) < tokens.len());
        let Some(&end) = ends.first() else {
            return Err("the tokenizer names no token that ends an answer".to_owned());
        };
        let size = u32::try_from(tokens.len())
            .ok()
            .filter(|&size| size < 1 << 23)
            .ok_or_else(|| format!("the vocabulary has {} tokens, more than any model", tokens.len()))?;
        let alphabet = alphabet::Alphabet::new();
        let mut control = Vec::new();
        let mut ordinary = SimpleVob::alloc(tokens.len());
        let mut words = Vec::with_capacity(tokens.len());
        for (id, (text, kind)) in (0..size).zip(tokens) {
            words.push(match kind {
                TokenKind::Unused => Vec::new(),
                TokenKind::Control => {
                    let word = [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat();
                    control.push((text, id));
                    word
                }
                TokenKind::Text => match alphabet.decode(&text) {
                    // A byte 0xff is never part of text, and the trie reads it as the mark of a control token.
                    Some(bytes) if !bytes.is_empty() && !bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER) => {
                        ordinary.allow_token(id);
                        bytes
                    }
                    Some(_) => Vec::new(),
                    None => return Err(format!("token {id} ({text:?}) is not of the byte-level alphabet")),
                },
            });
        }
        control.retain(|(text, _)| !text.is_empty());
        control.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let trie = TokTrie::from(&TokRxInfo::new(size, end), &words).with_eos_tokens(&ends);
        Ok(Self {
            table: Arc::new(Table { trie, bpe }),
            control,
            begin: begin.filter(|&id| id < size),
            ends,
            digest,
            ordinary: Arc::new(ordinary),
        })
    }

    /// Entries of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.table.trie.vocab_size()
    }

    /// SHA-256 over vocabulary and merges, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Encodes data. Control tokens written in it become ordinary tokens that spell them.
    pub fn encode_data(&self, text: &str) -> Vec<u32> {
        self.table.encode(text)
    }

    /// Encodes a chat frame: control tokens written in it are control tokens.
    pub fn encode_control(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let (mut plain, mut at) = (0, 0);
        while let Some(c) = text[at..].chars().next() {
            match self.control.iter().find(|(token, _)| text[at..].starts_with(token.as_str())) {
                Some((token, id)) => {
                    ids.extend(self.encode_data(&text[plain..at]));
                    ids.push(*id);
                    at += token.len();
                    plain = at;
                }
                None => at += c.len_utf8(),
            }
        }
        ids.extend(self.encode_data(&text[plain..]));
        ids
    }

    /// Text of tokens; control tokens as they are written.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut stream = TextStream::default();
        let mut text: String = ids.iter().map(|&id| stream.push(self.bytes(id))).collect();
        text.push_str(&stream.finish());
        text
    }

    /// Bytes of a token; a control token as it is written. Empty for ids that nothing uses.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        if id as usize >= self.vocab_size() {
            return &[];
        }
        let word = self.table.trie.token(id);
        word.strip_prefix(&[TokTrie::SPECIAL_TOKEN_MARKER]).unwrap_or(word)
    }

    /// Id of a control token by how it is written.
    pub(crate) fn control(&self, text: &str) -> Option<u32> {
        self.control.iter().find(|(token, _)| token == text).map(|&(_, id)| id)
    }

    /// Token that begins every prompt.
    pub(crate) fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// Tokens that end an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Tokens that are text.
    pub(crate) fn ordinary(&self) -> &Arc<SimpleVob> {
        &self.ordinary
    }

    /// Most bytes that one token stands for.
    pub(crate) fn longest_token(&self) -> usize {
        self.table.trie.max_token_len().max(1)
    }

    /// The vocabulary as grammars see it.
    pub(crate) fn grammar_environment(&self) -> TokEnv {
        Arc::clone(&self.table) as TokEnv
    }
}

/// Trie and merges, shared with the grammars.
struct Table {
    trie: TokTrie,
    bpe: tokenizers::Tokenizer,
}

impl Table {
    fn encode(&self, text: &str) -> Vec<u32> {
        match self.bpe.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            // Byte-level BPE takes every text; longest matches stand in should a tokenizer.json manage to fail.
            Err(_) => self.trie.greedy_tokenize(text.as_bytes()),
        }
    }
}

impl TokenizerEnv for Table {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.encode(text))
    }
}

/// SHA-256 over tokens and merges, the same for a GGUF file and a `tokenizer.json` of one tokenizer.
fn digest<'a>(
    tokens: impl Iterator<Item = &'a str>,
    merges: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut hash = Sha256::new();
    let mut put = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    tokens.for_each(&mut put);
    for (left, right) in merges {
        put(left);
        put(right);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::weights::MetaValue;

    /// A byte-level tokenizer of 256 bytes, a few merges and the control tokens of ChatML.
    pub(crate) fn tiny() -> Tokenizer {
        Tokenizer::new(load::tests::tiny_vocabulary(0)).expect("the tiny vocabulary is sound")
    }

    /// The same tokenizer as values of a GGUF header.
    pub(crate) fn tiny_metadata() -> Vec<(String, MetaValue)> {
        let vocabulary = load::tests::tiny_vocabulary(0);
        let kinds = vocabulary.tokens.iter().map(|(_, kind)| if *kind == TokenKind::Control { 3 } else { 1 });
        let merges = load::tests::tiny_merges().into_iter().map(|(left, right)| format!("{left} {right}"));
        [
            ("model", MetaValue::Text("gpt2".to_owned())),
            ("pre", MetaValue::Text("smollm".to_owned())),
            ("tokens", MetaValue::Texts(vocabulary.tokens.iter().map(|(token, _)| token.clone()).collect())),
            ("token_type", MetaValue::Integers(kinds.collect())),
            ("merges", MetaValue::Texts(merges.collect())),
            ("eos_token_id", MetaValue::Unsigned(2)),
        ]
        .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
        .to_vec()
    }

    #[test]
    fn control_tokens_in_data_are_spelled() {
        let tokenizer = tiny();
        let end = tokenizer.control("<|im_end|>").expect("the tiny vocabulary has it");
        assert_eq!(tokenizer.encode_control("a<|im_end|>b").iter().filter(|&&id| id == end).count(), 1);
        let data = tokenizer.encode_data("a<|im_end|>b");
        assert!(!data.contains(&end));
        assert_eq!(tokenizer.decode(&data), "a<|im_end|>b");
    }

    #[test]
    fn a_vocabulary_without_an_end_is_refused() {
        let mut vocabulary = load::tests::tiny_vocabulary(0);
        vocabulary.ends = vec![100_000];
        assert!(Tokenizer::new(vocabulary).expect_err("no end").contains("ends an answer"));
    }

    #[test]
    fn the_digest_depends_on_tokens_and_merges() {
        let of =
            |tokens: &[&str], merges: &[(&str, &str)]| digest(tokens.iter().copied(), merges.iter().copied());
        let base = of(&["a", "b"], &[("a", "b")]);
        assert_eq!(base.len(), 64);
        assert_ne!(base, of(&["ab"], &[("a", "b")]));
        assert_ne!(base, of(&["a", "b"], &[("b", "a")]));
    }

    proptest! {
        #[test]
        fn text_survives(text in ".{0,40}") {
            let tokenizer = tiny();
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode_data(&text)), text.clone());
            let control = tokenizer.encode_data(&text).iter().any(|&id| tokenizer.control.iter().any(|c| c.1 == id));
            prop_assert!(!control);
        }
    }
}
