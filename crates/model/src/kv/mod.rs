//! The KV cache: keys and values in pages of 16 positions, sequences that own a path of pages, and the index of published prefixes.
//!
//! A fork shares full pages by reference. The page in which it leaves its prefix is copied, so that every page of a
//! sequence is valid from its first slot on and position `p` is always slot `p % 16` of page `p / 16`.
//!
//! Invariants:
//! - Slots of a page below the used length of any sequence or index node never change. Only the sequence that
//!   allocated a page writes to it, and only beyond its own length.
//! - Pages in use, live and idle, never exceed the budget.
//! - A sequence begins with pages of its own owner, or with such as hold nothing of anybody ([`Scope`]).
//! - Dropping a sequence releases what neither another sequence nor the index holds.

mod pages;
mod scope;
mod tree;

pub(crate) use pages::{Page, PagePool};
pub use scope::Scope;
pub(crate) use scope::{Owner, owner_of};
pub(crate) use tree::{KvTree, Sequence};

/// Positions of one page; also the lanes of the widest vector.
pub(crate) const PAGE: usize = 16;
