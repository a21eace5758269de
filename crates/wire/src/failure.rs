//! What went wrong at a model, on the wire and in planning.

use std::time::Duration;

use countermove_planner::ModelError;
use countermove_proto::{Error, Outage};
use tonic::Code;

use crate::FromDomain;

impl FromDomain<ModelError> for Error {
    fn from_domain(error: ModelError) -> Self {
        match error {
            ModelError::Refused(text) => Self::ModelRefused(text),
            ModelError::Failed(text) => Self::ModelFailed(text),
            ModelError::Unavailable(text) => {
                Self::Unavailable { cause: Outage::Model, message: text, retry_after: Duration::from_secs(1) }
            }
        }
    }
}

/// What an error of a worker means to planning: a question that can never be answered, one that may be answered
/// elsewhere, or one on which the model failed.
pub fn model_error(error: Error) -> ModelError {
    match error {
        Error::ModelRefused(text) => ModelError::Refused(text),
        Error::InvalidArgument(_) => ModelError::Refused(error.to_string()),
        Error::ModelFailed(text) => ModelError::Failed(text),
        Error::Internal(_) | Error::NotFound { .. } | Error::Precondition { .. } => {
            ModelError::Failed(error.to_string())
        }
        // What tonic says to a message beyond the size limit, or to a method that the peer lacks.
        Error::Foreign { code: Code::OutOfRange | Code::Unimplemented, .. } => {
            ModelError::Refused(error.to_string())
        }
        Error::Exhausted { .. }
        | Error::OverQuota { .. }
        | Error::Unavailable { .. }
        | Error::DeadlineExceeded(_)
        | Error::Cancelled(_)
        | Error::Transport(_)
        | Error::Unauthenticated(_)
        | Error::Denied(_)
        | Error::Foreign { .. } => ModelError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn a_model_error_crosses_the_wire() {
        for error in [
            ModelError::Refused("too long".into()),
            ModelError::Failed("a NaN".into()),
            ModelError::Unavailable("it is stopping".into()),
        ] {
            let status = Status::from(Error::from_domain(error.clone()));
            assert_eq!(model_error(Error::from(status)), error);
        }
    }
}
