//! Answers that are one of a few: what a schema allows, as text and as a tree of tokens, and how likely each is.
//!
//! The probability of an option is that of all its tokens together, each by the model's own softmax at temperature 1 over
//! the whole vocabulary, divided by the sum over all options. What a mask makes likely is something else: where two options
//! begin alike, it shares their beginning's mass out by what follows it within the mask alone. An option's tokens are those
//! of its text encoded as one piece, as in training; other ways to spell it do not count.
//!
//! Sentences are told apart by how they begin: where an option is longer than [`SENTENCE`] tokens, of each option what it takes to know
//! it from all others counts, and how likely the rest of its wording is does not.
//!
//! A [`Weighing`] learns that from rows of logits, and asks for no more of them than it takes to know each probability
//! to [`REST`].

mod tree;
mod values;
mod weighing;

pub(crate) use tree::{Node, Options};
pub use values::option_values;
pub(crate) use values::values;
pub(crate) use weighing::Weighing;

/// Most options that are weighed.
pub(crate) const MOST: usize = 64;
/// Options of which the longest has more tokens are sentences.
pub(crate) const SENTENCE: usize = 32;
/// Most tokens of one option.
pub(crate) const LONGEST: usize = 512;
/// Share of the mass that may lie on beginnings of options whose ends the model was not asked about. So much is the error
/// of a probability at most.
pub(crate) const REST: f64 = 0.01;
