//! Training sets: simulated incidents, rendered by the planner's own prompts, answered by the truth.
//!
//! Records that others have labelled (detection rules with their ATT&CK tags, procedure examples) are the other source: they teach what
//! a record says, and the simulator what follows from it.
//!
//! The simulator knows no planner and the planner no truth; this is the one place where both meet.
//!
//! Invariant: a prompt holds nothing that a planner could not see; labels come from the simulator's judge alone.
//! Invariant: the same seed, count, data and templates give the same bytes.

mod card;
mod csle;
mod error;
mod example;
mod generate;
mod labels;
mod lessons;
mod split;
mod thoughts;
mod writer;

pub use card::Card;
pub use csle::{Pair, read_pairs};
pub use error::DatasetError;
pub use example::{Example, Task, read_examples};
pub use generate::{DatasetOptions, Form, Written, generate};
pub use labels::{LabelOptions, LabelledLog, labelled_logs, labels, single_records};
pub use lessons::{Lessons, Tally, lessons};
pub use split::{Part, Split, parts};
