//! One sequence's way through its answer: an optional passage of reasoning, then a JSON value or free text.
//!
//! The passage is `<think>`, a line feed, at most so many tokens of ordinary text, `</think>`, a line feed. No token
//! may reach past the closing tag; which ones would depends on how much of the tag is there already, so these masks
//! are made once for a vocabulary and cost nothing later. The token limit of the answer keeps room for the value: the
//! passage is closed early rather than the value cut.
//!
//! A value whose options are weighed is not followed token by token: when all is known of them, one is taken whole.

use std::sync::Arc;

use llguidance::toktrie::SimpleVob;
use serde_json::Value;

use crate::error::EngineError;
use crate::grammar::{Follower, Grammars};
use crate::kv::Owner;
use crate::options::{Node, Weighing};
use crate::request::Weighed;
use crate::tokenizer::Tokenizer;

const OPEN: &str = "<think>";
const CLOSE: &[u8] = b"</think>";

/// What all answers of one model share.
pub(crate) struct Formats {
    grammars: Grammars,
    open: Vec<u32>,
    close: Vec<u32>,
    line: Vec<u32>,
    /// The token for the closing tag, if the vocabulary has one.
    close_token: Option<u32>,
    /// Tokens that may come inside the passage after `n` bytes of the closing tag.
    passage: [Arc<SimpleVob>; CLOSE.len()],
    /// Tokens that may come in free text.
    free: Arc<SimpleVob>,
    /// Temperature of the calibration of options.
    calibration: f32,
    tokenizer: Arc<Tokenizer>,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Format<'a> {
    /// For whom.
    pub(crate) owner: Owner,
    /// Schema of the value; free text without one.
    pub(crate) schema: Option<&'a Value>,
    /// Whether the probabilities of the schema's values are wanted.
    pub(crate) weigh_options: bool,
    /// Most tokens of reasoning.
    pub(crate) thinking_tokens: usize,
    /// Most tokens of all.
    pub(crate) max_tokens: usize,
}

/// Tokens that may come next.
pub(crate) enum Mask {
    /// A mask that many share.
    Shared(Arc<SimpleVob>),
    /// A mask made for this choice.
    Own(SimpleVob),
}

impl Mask {
    /// Bit `i % 32` of word `i / 32` is token `i`.
    pub(crate) fn words(&self) -> &[u32] {
        match self {
            Self::Shared(mask) => mask.as_slice(),
            Self::Own(mask) => mask.as_slice(),
        }
    }
}

/// Where an answer is.
enum Stage {
    /// Nothing has been said.
    Start,
    /// In the passage, with so many tokens left and so many bytes of the closing tag said.
    Passage { left: usize, matched: usize },
    /// In the JSON value.
    Value,
    /// In the JSON value, whose options are weighed.
    Options,
    /// In free text.
    Free,
    /// At the end.
    End,
}

/// One sequence's answer so far.
pub(crate) struct Answer {
    formats: Arc<Formats>,
    stage: Stage,
    follower: Option<Box<Follower>>,
    weighing: Option<Box<Weighing>>,
    options: Vec<Weighed>,
    passage_limit: Option<usize>,
    thinking: Vec<u8>,
    text: Vec<u8>,
}

impl Formats {
    /// `calibration` is the temperature of the options' probabilities.
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, calibration: f32) -> Result<Self, EngineError> {
        let tag = |text: &str| match tokenizer.control(text) {
            Some(id) => vec![id],
            None => tokenizer.encode_data(text),
        };
        let close_token = tokenizer.control("</think>");
        let line = tokenizer.encode_data("\n");
        let passage = std::array::from_fn(|matched| {
            let mut mask = SimpleVob::clone(tokenizer.ordinary());
            for id in 0..tokenizer.vocab_size() as u32 {
                if mask.is_allowed(id) && reaches_past(matched, tokenizer.bytes(id)) {
                    mask.disallow_token(id);
                }
            }
            if let Some(id) = close_token {
                mask.allow_token(id);
            }
            Arc::new(mask)
        });
        let mut free = SimpleVob::clone(tokenizer.ordinary());
        tokenizer.ends().iter().for_each(|&id| free.allow_token(id));
        let mut open = tag(OPEN);
        open.extend(&line);
        Ok(Self {
            grammars: Grammars::new(&tokenizer)?,
            open,
            close: tag("</think>"),
            line,
            close_token,
            passage,
            free: Arc::new(free),
            calibration,
            tokenizer,
        })
    }

    /// An answer that has not begun.
    ///
    /// # Errors
    /// [`EngineError::Grammar`] if the schema cannot be compiled, or its values are to be weighed and are not few.
    pub(crate) fn answer(self: &Arc<Self>, format: Format<'_>) -> Result<Answer, EngineError> {
        let Format { owner, schema, weigh_options, thinking_tokens, max_tokens } = format;
        let tags = self.open.len() + self.close.len() + self.line.len();
        let (mut follower, mut weighing) = (None, None);
        let room = match schema {
            Some(schema) if weigh_options => {
                let options = self.grammars.options(owner, schema, &self.tokenizer)?;
                let room = options.longest();
                let needed = if thinking_tokens > 0 { room + tags } else { room };
                if needed > max_tokens {
                    return Err(EngineError::Grammar(format!(
                        "the longest answer that is weighed takes {needed} tokens, and it may have {max_tokens}"
                    )));
                }
                weighing = Some(Box::new(Weighing::new(options, self.calibration)));
                room
            }
            Some(schema) => {
                let (schema, room) = self.grammars.follow(owner, schema, &self.tokenizer)?;
                follower = Some(Box::new(schema));
                room
            }
            None if weigh_options => {
                return Err(EngineError::Grammar("free text has no options to be weighed".to_owned()));
            }
            None => max_tokens / 4,
        };
        let limit = thinking_tokens.min(max_tokens.saturating_sub(room.saturating_add(tags)));
        Ok(Answer {
            formats: Arc::clone(self),
            stage: Stage::Start,
            follower,
            weighing,
            options: Vec::new(),
            passage_limit: (thinking_tokens > 0).then_some(limit),
            thinking: Vec::new(),
            text: Vec::new(),
        })
    }
}

impl Answer {
    /// Tokens that begin the answer. Called once, first.
    pub(crate) fn begin(&mut self) -> Result<Vec<u32>, EngineError> {
        match self.passage_limit {
            Some(0) => {
                let mut tokens = self.formats.open.clone();
                tokens.extend(self.close_passage(true)?);
                Ok(tokens)
            }
            Some(left) => {
                self.stage = Stage::Passage { left, matched: 0 };
                Ok(self.formats.open.clone())
            }
            None => self.begin_value(),
        }
    }

    /// Tokens that may come next. Not called at the end.
    pub(crate) fn mask(&mut self) -> Result<Mask, EngineError> {
        match &self.stage {
            Stage::Passage { matched, .. } => Ok(Mask::Shared(Arc::clone(&self.formats.passage[*matched]))),
            Stage::Value => match &mut self.follower {
                Some(follower) => follower.mask().map(Mask::Own),
                None => Ok(Mask::Shared(Arc::clone(&self.formats.free))),
            },
            Stage::Start | Stage::Free | Stage::Options | Stage::End => {
                Ok(Mask::Shared(Arc::clone(&self.formats.free)))
            }
        }
    }

    /// Whether [`mask`](Self::mask) has to be computed.
    pub(crate) fn mask_takes_work(&self) -> bool {
        matches!(self.stage, Stage::Value)
    }

    /// Takes a token that the mask allowed and gives those that must follow it.
    pub(crate) fn take(&mut self, token: u32) -> Result<Vec<u32>, EngineError> {
        match &mut self.stage {
            Stage::Passage { left, matched } => {
                *left -= 1;
                if Some(token) == self.formats.close_token {
                    return self.close_passage(false);
                }
                let bytes = self.formats.tokenizer.bytes(token);
                self.thinking.extend_from_slice(bytes);
                *matched = bytes.iter().fold(*matched, |matched, &byte| advance(matched, byte));
                if *matched == CLOSE.len() {
                    self.thinking.truncate(self.thinking.len() - CLOSE.len());
                    self.close_passage(false)
                } else if *left == 0 {
                    self.close_passage(true)
                } else {
                    Ok(Vec::new())
                }
            }
            Stage::Value => {
                let Some(follower) = &mut self.follower else { return Ok(Vec::new()) };
                follower.take(token)?;
                if !self.formats.tokenizer.ends().contains(&token) {
                    self.text.extend_from_slice(self.formats.tokenizer.bytes(token));
                }
                self.force_value()
            }
            Stage::Start | Stage::Free | Stage::Options | Stage::End => {
                if self.formats.tokenizer.ends().contains(&token) {
                    self.stage = Stage::End;
                } else {
                    self.text.extend_from_slice(self.formats.tokenizer.bytes(token));
                }
                Ok(Vec::new())
            }
        }
    }

    /// What is known of the options, while they are weighed.
    pub(crate) fn weighing(&mut self) -> Option<&mut Weighing> {
        if matches!(self.stage, Stage::Options) { self.weighing.as_deref_mut() } else { None }
    }

    /// Nodes of the options' tree about which the model is to be asked now; none where no options are weighed.
    pub(crate) fn round(&self) -> &[usize] {
        match &self.weighing {
            Some(weighing) if matches!(self.stage, Stage::Options) => weighing.round(),
            _ => &[],
        }
    }

    /// One of the nodes of the options' tree, while they are weighed.
    pub(crate) fn node(&self, number: usize) -> Option<&Node> {
        self.weighing.as_ref().map(|weighing| weighing.node(number))
    }

    /// Takes an option, now that all have their `probabilities`. Gives the tokens that are not there yet; the answer is
    /// whole with them.
    pub(crate) fn take_option(&mut self, option: usize, probabilities: &[f32]) -> Vec<u32> {
        let Some(weighing) = self.weighing.take() else { return Vec::new() };
        let options = weighing.options();
        let weighed =
            |(option, &probability)| Weighed { value: options.text(option).to_owned(), probability };
        self.options = probabilities.iter().enumerate().map(weighed).collect();
        self.text = options.text(option).as_bytes().to_vec();
        self.stage = Stage::End;
        options.rest(option).to_vec()
    }

    /// Tokens that end an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        self.formats.tokenizer.ends()
    }

    /// Whether the answer came to its own end.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::End)
    }

    /// What a token adds to the text of the answer.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        if self.formats.tokenizer.ends().contains(&token) { &[] } else { self.formats.tokenizer.bytes(token) }
    }

    /// Forgets the grammar, after it broke.
    pub(crate) fn forget_grammar(&self) {
        if let Some(follower) = &self.follower {
            self.formats.grammars.forget(follower);
        }
    }

    /// Reasoning and answer as text, and the options that were weighed.
    pub(crate) fn finish(self) -> (String, String, Vec<Weighed>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let thinking = text(&self.thinking).trim().trim_end_matches('\u{fffd}').to_owned();
        (thinking, text(&self.text), self.options)
    }

    fn close_passage(&mut self, with_tag: bool) -> Result<Vec<u32>, EngineError> {
        let mut tokens = if with_tag { self.formats.close.clone() } else { Vec::new() };
        tokens.extend(&self.formats.line);
        tokens.extend(self.begin_value()?);
        Ok(tokens)
    }

    fn begin_value(&mut self) -> Result<Vec<u32>, EngineError> {
        if let Some(options) = self.weighing.as_ref().map(|weighing| Arc::clone(weighing.options())) {
            self.stage = Stage::Options;
            if options.len() == 1 {
                self.take_option(0, &[1.0]);
            }
            return Ok(options.common().to_vec());
        }
        if self.follower.is_none() {
            self.stage = Stage::Free;
            return Ok(Vec::new());
        }
        self.stage = Stage::Value;
        self.force_value()
    }

    fn force_value(&mut self) -> Result<Vec<u32>, EngineError> {
        let Some(follower) = &mut self.follower else { return Ok(Vec::new()) };
        let tokens = if follower.is_whole() { Vec::new() } else { follower.forced()? };
        for &token in &tokens {
            self.text.extend_from_slice(self.formats.tokenizer.bytes(token));
        }
        if follower.is_whole() {
            self.stage = Stage::End;
        }
        Ok(tokens)
    }
}

/// Bytes of the closing tag that are there after one more byte.
fn advance(matched: usize, byte: u8) -> usize {
    if matched < CLOSE.len() && CLOSE[matched] == byte {
        matched + 1
    } else {
        // No proper beginning of the tag ends in another one, since '<' occurs in it once.
        usize::from(byte == CLOSE[0])
    }
}

/// Whether a token completes the closing tag and goes on.
fn reaches_past(mut matched: usize, bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(index, &byte)| {
        matched = advance(matched, byte);
        matched == CLOSE.len() && index + 1 < bytes.len()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tokenizer::tests::tiny;

    fn formats() -> Arc<Formats> {
        Arc::new(Formats::new(Arc::new(tiny()), 1.0).expect("sound"))
    }

    fn format(schema: Option<&Value>, thinking_tokens: usize, max_tokens: usize) -> Format<'_> {
        Format { owner: Owner::default(), schema, thinking_tokens, max_tokens, weigh_options: false }
    }

    fn say(answer: &mut Answer, formats: &Formats, text: &str) -> Vec<u32> {
        let mut forced = Vec::new();
        for token in formats.tokenizer.encode_data(text) {
            let mask = answer.mask().expect("a mask");
            assert!(mask.words()[token as usize / 32] >> (token % 32) & 1 == 1, "{text}");
            forced = answer.take(token).expect("taken");
        }
        forced
    }

    #[test]
    fn a_closed_passage_leads_to_the_value() {
        let formats = formats();
        let mut answer =
            formats.answer(format(Some(&json!({"type": "boolean"})), 50, 200)).expect("compiles");
        assert_eq!(formats.tokenizer.decode(&answer.begin().expect("begins")), "<think>\n");
        let forced = say(&mut answer, &formats, "it <</think>");
        assert_eq!(formats.tokenizer.decode(&forced), "\n");
        assert!(answer.mask_takes_work());
        say(&mut answer, &formats, "t");
        assert!(answer.is_whole());
        assert_eq!(answer.finish(), ("it <".to_owned(), "true".to_owned(), vec![]));
    }

    #[test]
    fn the_budget_closes_the_passage() {
        let formats = formats();
        let mut answer = formats.answer(format(Some(&json!({"const": 1})), 3, 200)).expect("compiles");
        answer.begin().expect("begins");
        let forced = say(&mut answer, &formats, "ab<");
        assert_eq!(formats.tokenizer.decode(&forced), "</think>\n1");
        assert!(answer.is_whole());
        assert_eq!(answer.finish(), ("ab<".to_owned(), "1".to_owned(), vec![]));
    }

    #[test]
    fn the_token_limit_keeps_room_for_the_value() {
        let formats = formats();
        let schema = json!({"const": "twelve bytes"});
        let need = formats.open.len() + formats.close.len() + formats.line.len() + 14;
        let mut answer = formats.answer(format(Some(&schema), 1000, need + 2)).expect("compiles");
        answer.begin().expect("begins");
        let forced = say(&mut answer, &formats, "ab");
        assert_eq!(formats.tokenizer.decode(&forced), "</think>\n\"twelve bytes\"");
        let mut answer = formats.answer(format(Some(&schema), 1000, need)).expect("compiles");
        assert_eq!(
            formats.tokenizer.decode(&answer.begin().expect("begins")),
            "<think>\n</think>\n\"twelve bytes\""
        );
    }

    #[test]
    fn free_text_ends_at_an_end_token() {
        let formats = formats();
        let mut answer = formats.answer(format(None, 0, 100)).expect("compiles");
        assert_eq!(answer.begin(), Ok(Vec::new()));
        say(&mut answer, &formats, "hello");
        assert!(!answer.is_whole());
        answer.take(formats.tokenizer.ends()[0]).expect("taken");
        assert!(answer.is_whole());
        assert_eq!(answer.finish(), (String::new(), "hello".to_owned(), vec![]));
    }

    #[test]
    fn options_are_weighed_after_the_passage_and_one_is_taken_whole() {
        let formats = formats();
        let schema = json!({"enum": ["the truth", "the lie", "x"]});
        let weighed = |thinking_tokens, max_tokens| {
            formats
                .answer(Format { weigh_options: true, ..format(Some(&schema), thinking_tokens, max_tokens) })
        };
        let mut answer = weighed(2, 60).expect("few");
        answer.begin().expect("begins");
        assert!(answer.weighing().is_none() && answer.round().is_empty());
        let forced = say(&mut answer, &formats, "ab");
        assert_eq!(formats.tokenizer.decode(&forced), "</think>\n\"");
        assert_eq!(answer.round(), [0]);
        let rest = answer.take_option(1, &[0.25, 0.75, 0.0]);
        assert_eq!(formats.tokenizer.decode(&rest), "the lie\"");
        assert!(answer.is_whole() && answer.round().is_empty());
        let (thinking, text, options) = answer.finish();
        assert_eq!((thinking.as_str(), text.as_str()), ("ab", "\"the lie\""));
        assert_eq!(options[0], Weighed { value: "\"the truth\"".to_owned(), probability: 0.25 });
        let tokens = |text: &str| formats.tokenizer.encode_data(text).len();
        let needed = ["\"the truth\"", "\"the lie\"", "\"x\""].map(tokens).into_iter().max().expect("three");
        assert!(weighed(0, needed).is_ok());
        assert!(matches!(weighed(0, needed - 1), Err(EngineError::Grammar(_))));
        let free = formats.answer(Format { weigh_options: true, ..format(None, 0, 10) });
        assert!(matches!(free, Err(EngineError::Grammar(_))));
    }

    proptest! {
        #[test]
        fn tokens_that_reach_past_the_tag_are_told(before in "[<a/]{0,3}", matched in 0_usize..8, after in "[{ a]{0,3}") {
            let rest = String::from_utf8_lossy(&CLOSE[matched..]).into_owned();
            prop_assert_eq!(reaches_past(matched, format!("{rest}{after}").as_bytes()), !after.is_empty());
            let (past, short) = (format!("{before}</think>{after}x"), format!("{before}</think"));
            prop_assert!(reaches_past(0, past.as_bytes()));
            prop_assert!(!reaches_past(0, short.as_bytes()));
        }
    }
}
