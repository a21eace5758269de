//! A request on its way through the engine.

use tokio::sync::mpsc;

use crate::answer::Answer;
use crate::error::EngineError;
use crate::kv::Scope;
use crate::request::{Completion, Event, Priority, Request};
use crate::sampling::Choice;
use crate::tokenizer::TextStream;

/// A request on its way: its tokens so far and its answer so far. It survives the loss of its keys and values.
pub(super) struct Job {
    pub(super) priority: Priority,
    /// Who shares what is kept of it.
    pub(super) scope: Scope,
    pub(super) choice: Choice,
    max_tokens: usize,
    /// Prompt and answer so far.
    pub(super) tokens: Vec<u32>,
    /// How many of them are the prompt.
    pub(super) prompt: usize,
    /// Tokens of the prompt that were in the cache when it was first admitted.
    pub(super) cached: Option<usize>,
    sampled: u64,
    forced: u64,
    pub(super) answer: Answer,
    stream: TextStream,
    events: mpsc::Sender<Event>,
}

impl Job {
    pub(super) fn new(
        request: &Request,
        scope: Scope,
        prompt: Vec<u32>,
        answer: Answer,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            priority: request.priority,
            scope,
            choice: Choice { temperature: request.temperature, top_p: request.top_p, seed: request.seed },
            max_tokens: usize::try_from(request.max_tokens).unwrap_or(usize::MAX),
            prompt: prompt.len(),
            tokens: prompt,
            cached: None,
            sampled: 0,
            forced: 0,
            answer,
            stream: TextStream::default(),
            events,
        }
    }

    /// Adds tokens to the answer, the first `sampled` of them chosen by the model, and tells the receiver. Says whether
    /// the answer is whole.
    pub(super) fn extend(&mut self, tokens: &[u32], sampled: usize) -> bool {
        self.tokens.extend(tokens);
        self.sampled += sampled as u64;
        self.forced += (tokens.len() - sampled) as u64;
        if !tokens.is_empty() {
            let mut text = String::new();
            for &token in tokens {
                text.push_str(&self.stream.push(self.answer.bytes(token)));
            }
            if self.answer.is_whole() {
                text.push_str(&self.stream.finish());
            }
            let _ = self.events.try_send(Event::Tokens { count: tokens.len() as u32, text });
        }
        self.answer.is_whole()
    }

    /// Whether the answer may take no more tokens.
    pub(super) fn is_full(&self) -> bool {
        self.tokens.len() - self.prompt >= self.max_tokens
    }

    pub(super) fn completion(self) -> Completion {
        let complete = self.answer.is_whole();
        let (thinking, text, options) = self.answer.finish();
        Completion {
            thinking,
            text,
            options,
            complete,
            prompt_tokens: self.prompt as u64,
            cached_tokens: self.cached.unwrap_or(0) as u64,
            sampled_tokens: self.sampled,
            forced_tokens: self.forced,
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// Tells the answer.
    pub(super) fn complete(self) {
        let events = self.events.clone();
        let _ = events.try_send(Event::Done(Ok(self.completion())));
    }

    /// Tells why there is none.
    pub(super) fn fail(self, error: EngineError) {
        let _ = self.events.try_send(Event::Done(Err(error)));
    }
}
