//! What an incident is: recovery states, tactics, alerts and their parsers, entities, actions, costs and grounding.
//!
//! Invariant: no I/O and no model; everything here is a pure function of its input.

mod state;

pub use state::RecoveryState;
