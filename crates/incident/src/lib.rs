//! What an incident is: recovery states, tactics, alerts and their parsers, entities, actions, costs and grounding.
//!
//! Invariant: no model, and no I/O beyond reading from a reader that the caller opened; everything here is a pure
//! function of its input. No input makes it panic, and its time is linear in the input's length.

mod actions;
mod alert;
mod baseline;
mod catalogue;
mod classification;
mod constraints;
mod cost;
mod digest;
mod entities;
mod formats;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod grounding;
mod log;
mod reading;
mod record;
mod shorthand;
mod state;
mod tactics;
mod techniques;
mod text;
mod time;

pub use actions::{
    Measure, Named, Part, Reversibility, TargetKind, VerbClass, VerbForm, VerbUse, Word, destroys_evidence,
};
pub(crate) use alert::Signature;
pub use alert::{AlertKind, Endpoint, Repeats};
pub use baseline::{
    Baseline, BaselineError, BaselineLearner, FAILS, Familiarity, Known, LastDay, Learnt, Origin, Strange,
    bare_account,
};
pub use catalogue::{AttackerRates, Catalogue, CatalogueAction, CatalogueError, Hold, HostNote, Zone};
pub use classification::{ALERT_CLASSES, AlertClass, normalise_classification};
pub use constraints::{Broken, Constraint, Constraints, HostNames, Rule};
pub use cost::{
    ActionMinutes, Asset, Capability, CostModel, MinuteCost, MinuteTable, Order, Pricing, SuperfluousCost,
    TableError, UnitCost,
};
pub use digest::{Digest, DigestReport, Group};
pub use entities::{Entities, Entity, EntityKind, Network};
pub use formats::{AlertFormat, Format};
pub use grounding::Grounding;
pub use log::{Absorbed, AlertLog, Dossier, FormatCount, Reading, SourceName};
pub use reading::{Decoded, LogError};
pub use record::{Record, RecordKind, SensorVerdict};
pub use shorthand::spelled_out;
pub use state::RecoveryState;
pub use tactics::Tactic;
pub use techniques::{Technique, technique, techniques, techniques_of};
pub use text::{approximate_tokens, pattern, printable, printable_line};
pub use time::Timestamp;
