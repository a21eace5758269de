//! What is asked of the engine, and what comes back.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::error::EngineError;

/// Which requests go first where not all can. The engine has a word of its own for it, since it knows no incidents and
/// answers whoever asks; a caller says which of its questions are of which sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Somebody waits for exactly this answer; it goes before bulk.
    Interactive,
    /// One of many, of which the last one counts.
    Bulk,
}

/// One question to the model. The same request always has the same answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Whose it is, by any name. What is kept of it (keys and values, encoded texts, compiled schemas) is of use to requests of
    /// the same owner alone, so that nobody learns from the time or the count of cached tokens what others ask.
    pub owner: String,
    /// How many of its leading parts, the system text being the first and the segments following, say nothing of anybody. These
    /// are shared with everybody.
    pub common_parts: usize,
    /// Instruction that stands before everything else, in the chat frame's system turn. Control tokens written in it
    /// are plain text.
    pub system: String,
    /// Parts of the user's turn. A token never spans two parts, so requests of one owner that agree in their first parts
    /// share the keys and values of those. Control tokens written in them are plain text.
    pub segments: Vec<String>,
    /// Most tokens of reasoning between `<think>` tags; 0 leaves out the tags as well. The passage ends early where
    /// [`max_tokens`](Self::max_tokens) would otherwise not leave room for the value after it.
    pub thinking_tokens: u32,
    /// JSON Schema of the answer; `None` asks for free text. Properties come in the order in which the schema names
    /// them. White space is fixed: one space after each colon and comma, none elsewhere. Objects are closed unless
    /// the schema says otherwise.
    pub json_schema: Option<serde_json::Value>,
    /// Whether the probability of every value that the schema allows is wanted. It must allow a few dozen at most:
    /// constants, Booleans, lists, and objects of such whose properties are all required. One of the values is then the
    /// answer, the likeliest where the temperature is 0. Sentences, which begin to differ long before they end, are weighed by
    /// their beginnings alone, and only these count as tokens.
    pub weigh_options: bool,
    /// Most tokens of the whole answer, chosen and forced.
    pub max_tokens: u32,
    /// Temperature; 0 takes the likeliest token.
    pub temperature: f32,
    /// Nucleus mass, in (0, 1].
    pub top_p: f32,
    /// Seed of this answer alone.
    pub seed: u64,
    /// Whether it goes first.
    pub priority: Priority,
}

/// News about a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More of the answer.
    Tokens {
        /// Tokens since the last event, chosen and forced.
        count: u32,
        /// Their text, the `<think>` tags included. May be empty: a character can span tokens.
        text: String,
    },
    /// The last event: the answer, or why there is none.
    Done(Result<Completion, EngineError>),
}

/// A value that an answer may have, and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    /// The JSON value as an answer has it.
    pub value: String,
    /// Its share of the mass that the model gives to all values that the schema allows: for each, the product of the
    /// probabilities of the tokens of its text, at temperature 1 and over the whole vocabulary. Known to 0.01, where the
    /// calibration changes nothing.
    pub probability: f32,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// Text between the `<think>` tags, without white space around it.
    pub thinking: String,
    /// The JSON value, or the free text.
    pub text: String,
    /// All values of the schema in its order, if they were to be weighed. Their probabilities sum to 1; with reasoning,
    /// they are those after it.
    pub options: Vec<Weighed>,
    /// Whether the answer came to its own end; false if the token limit cut it.
    pub complete: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, tokens whose keys and values were in the cache already.
    pub cached_tokens: u64,
    /// Tokens that the model chose.
    pub sampled_tokens: u64,
    /// Tokens that the answer's format left no choice about.
    pub forced_tokens: u64,
}

/// A running request. Dropping it cancels the request within one decode step.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<Event>,
    done: bool,
}

impl Generation {
    pub(crate) fn new(events: mpsc::Receiver<Event>) -> Self {
        Self { events, done: false }
    }

    /// The next event; `None` after [`Event::Done`]. There is exactly one `Done`, unless the generation is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn completion(mut self) -> Result<Completion, EngineError> {
        loop {
            match self.next().await {
                Some(Event::Done(result)) => return result,
                Some(Event::Tokens { .. }) => {}
                None => return Err(EngineError::Stopped),
            }
        }
    }

    /// [`next`](Self::next) for code that polls.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.done {
            return Poll::Ready(None);
        }
        self.events.poll_recv(context).map(|event| {
            let event = event.unwrap_or(Event::Done(Err(EngineError::Stopped)));
            self.done = matches!(event, Event::Done(_));
            Some(event)
        })
    }
}
