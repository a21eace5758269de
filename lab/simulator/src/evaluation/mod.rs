//! Judging a system that plans: what it did with scenarios, measured against what is true.
//!
//! A driver plays scenarios and writes down [`Episode`]s; everything here is a pure function of them.
//!
//! Invariant: a figure that cannot be had is absent, never zero. A share over no cases, an F1 without positives, a cost
//! of recovery where nothing recovered: each is `null` in JSON and a dash in print.

mod confusion;
mod episode;
mod measures;
mod paired;
mod pricing;
mod report;

pub use confusion::Confusion;
pub use episode::{Episode, Likely, Move};
pub use measures::{MEASURES, Measure, Unit, fact_figures, measure, tactics};
pub use paired::{Difference, Paired};
pub use pricing::with_inventory;
pub use report::{Report, Spread, Variant};
