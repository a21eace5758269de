//! Messages in the planner's terms and back, and the plan as the document that others read.
//!
//! Invariant: what a message of `countermove-proto` means in the types of `countermove-incident` and
//! `countermove-planner` is said here and nowhere else, so that both ends of a connection read a field in the same way. A
//! type that one program alone knows is turned into a message there.
//!
//! Domain to message is [`FromDomain`] and cannot fail. Message to domain is [`FromMessage`]: a field that is missing or out
//! of range is an [`Error`] that names it. Where nothing can be wrong it is a function.

pub mod bounds;
pub mod document;
mod evidence;
mod failure;
mod history;
mod plan;
pub mod record;
mod rules;
mod state;
mod worker;

use countermove_proto::Error;

pub use countermove_planner::limits;
pub use failure::model_error;
pub use history::told;
pub use plan::plan_options;
pub use rules::{baseline, catalogue, pricing};
pub use state::{recovery_state, with_facts, with_findings};
pub use worker::{cancel_rollout_request, cancelled_rollouts, rollout_result_message, run_rollouts_request};

/// A message that says what a value of the domain says.
pub trait FromDomain<T>: Sized {
    /// The message.
    fn from_domain(value: T) -> Self;
}

/// [`FromDomain`] from the value's side.
pub trait IntoMessage<M> {
    /// The message.
    fn into_message(self) -> M;
}

impl<T, M: FromDomain<T>> IntoMessage<M> for T {
    fn into_message(self) -> M {
        M::from_domain(self)
    }
}

/// A value of the domain that a message describes.
pub trait FromMessage<M>: Sized {
    /// The value.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the field that is missing or cannot be used.
    fn from_message(message: M) -> Result<Self, Error>;
}

/// The value of a message field that has to be there.
fn required<T>(value: Option<T>, field: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(field, "it has to be set"))
}
