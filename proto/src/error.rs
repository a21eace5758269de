//! One error for every service, and its form on the wire.
//!
//! Contract: [`Error`] becomes a [`tonic::Status`] with `google.rpc` details and comes back from it as it was. Every
//! status that a Countermove server sends on purpose carries an `ErrorInfo` of the domain [`ERROR_DOMAIN`]; a status
//! without one was made by the transport or by somebody between the two.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of the `ErrorInfo` that our servers send.
pub const ERROR_DOMAIN: &str = "countermove";

/// Longest message of a status, in bytes: all of it has to fit HTTP/2 headers together with the details.
const MAX_MESSAGE: usize = 1024;

/// Most field violations that a status lists.
const MAX_VIOLATIONS: usize = 8;

/// What a service answers when it does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fields of the request cannot be used. Sending it again unchanged is useless.
    #[error("{}", list(.0))]
    InvalidArgument(Vec<Violation>),
    /// The thing that the request names does not exist here.
    #[error("there is no {kind} named `{name}`")]
    NotFound {
        /// What kind of thing.
        kind: Resource,
        /// Its resource name as it was asked for.
        name: String,
    },
    /// Nobody knows who calls: what was shown is missing, wrong, expired or revoked.
    #[error("{0}")]
    Unauthenticated(String),
    /// Who calls may not do this.
    #[error("{0}")]
    Denied(String),
    /// The thing is not in a state in which the request makes sense.
    #[error("{description}")]
    Precondition {
        /// Which condition does not hold.
        condition: Condition,
        /// Resource name of the thing.
        subject: String,
        /// One sentence: what is the case, and what to do.
        description: String,
    },
    /// There is too much work already.
    #[error("{message}")]
    Exhausted {
        /// One sentence: what is full.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Whoever calls asks for more than its part.
    #[error("{message}")]
    OverQuota {
        /// Of what.
        quota: Quota,
        /// Whose part it is: `tenants/{tenant}`, or `callers/{name}` for a caller of several tenants.
        subject: String,
        /// One sentence: what the limit is.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Nobody can do it now.
    #[error("{message}")]
    Unavailable {
        /// Why.
        cause: Outage,
        /// One sentence.
        message: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The caller's time is over.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// It was cancelled.
    #[error("{0}")]
    Cancelled(String),
    /// The model can never take this question.
    #[error("the model cannot take this question: {0}")]
    ModelRefused(String),
    /// The model failed on this question.
    #[error("the model failed: {0}")]
    ModelFailed(String),
    /// A fault of ours.
    #[error("internal fault: {0}")]
    Internal(String),
    /// The connection failed, or something between the two ends did. The peer may never have seen the request.
    #[error("the connection failed: {0}")]
    Transport(String),
    /// The peer answered with a status that is not one of ours.
    #[error("the peer answered with {code:?}: {message}")]
    Foreign {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
    },
}

/// A field that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `evidence.alerts`.
    pub field: String,
    /// One sentence: what is wrong, and what to do.
    pub description: String,
}

/// What a resource name can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `incidents/{incident}`.
    Incident,
    /// `workers/{worker}`.
    Worker,
    /// `tokens/{token}`.
    Token,
}

/// Conditions that a request can depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The incident waits for what the request brings.
    Status,
    /// The step is the one that waits.
    Step,
    /// The action is the one that was chosen.
    Action,
    /// There is a plan.
    Plan,
    /// The decision is still the one that the caller has seen.
    Stale,
    /// The evidence of the incident has room for more.
    Evidence,
    /// Whoever approves has not approved it already: different people have to.
    Approver,
}

/// What each tenant has a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Calls a second.
    Rate,
    /// Calls that are answered at the same time.
    Calls,
}

/// Why a service cannot work now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// No worker takes work.
    NoWorker,
    /// The process is about to stop.
    Draining,
    /// The model is not there.
    Model,
    /// The incident is being taken over by another coordinator.
    Owner,
    /// The store does not answer.
    Store,
    /// The server did not get to it in time.
    Late,
    /// The issuer of the caller's token does not say what its keys are.
    Issuer,
    /// Who may do what has changed.
    Access,
}

impl Error {
    /// One field that cannot be used.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidArgument(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// Whether the same request may succeed later, or elsewhere, without a change.
    pub fn is_retryable(&self) -> bool {
        self.retry_after().is_some() || matches!(self, Self::Transport(_))
    }

    /// When the peer wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exhausted { retry_after, .. }
            | Self::OverQuota { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The code that the error has on the wire.
    pub fn code(&self) -> Code {
        match self {
            Self::InvalidArgument(_) | Self::ModelRefused(_) => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Denied(_) => Code::PermissionDenied,
            Self::Precondition { .. } => Code::FailedPrecondition,
            Self::Exhausted { .. } | Self::OverQuota { .. } => Code::ResourceExhausted,
            Self::Unavailable { .. } | Self::Transport(_) => Code::Unavailable,
            Self::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Self::Cancelled(_) => Code::Cancelled,
            Self::ModelFailed(_) | Self::Internal(_) => Code::Internal,
            Self::Foreign { code, .. } => *code,
        }
    }

    /// `ErrorInfo.reason`; absent for what is not ours.
    fn reason(&self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidArgument(_) => "INVALID_ARGUMENT",
            Self::NotFound { kind, .. } => kind.missing(),
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::Denied(_) => "PERMISSION_DENIED",
            Self::Precondition { condition, .. } => condition.reason(),
            Self::Exhausted { .. } => "EXHAUSTED",
            Self::OverQuota { quota, .. } => quota.reason(),
            Self::Unavailable { cause, .. } => cause.as_str(),
            Self::DeadlineExceeded(_) => "DEADLINE_EXCEEDED",
            Self::Cancelled(_) => "CANCELLED",
            Self::ModelRefused(_) => "MODEL_REFUSED",
            Self::ModelFailed(_) => "MODEL_FAILED",
            Self::Internal(_) => "INTERNAL",
            Self::Transport(_) | Self::Foreign { .. } => return None,
        })
    }

    /// The text from which the variant can be built again.
    fn message(&self) -> String {
        match self {
            Self::ModelRefused(text)
            | Self::ModelFailed(text)
            | Self::Internal(text)
            | Self::Transport(text)
            | Self::Foreign { message: text, .. } => text.clone(),
            other => other.to_string(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = error.code();
        let message = shorten(&error.message());
        let Some(reason) = error.reason() else { return Self::new(code, message) };
        let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, []);
        match &error {
            Error::InvalidArgument(violations) => {
                for violation in violations.iter().take(MAX_VIOLATIONS) {
                    details.add_bad_request_violation(&violation.field, shorten(&violation.description));
                }
            }
            Error::NotFound { kind, name } => {
                details.set_resource_info(kind.as_str(), shorten(name), "", &message);
            }
            Error::Precondition { condition, subject, .. } => {
                details.add_precondition_failure_violation(condition.as_str(), shorten(subject), &message);
            }
            Error::Exhausted { retry_after, .. } | Error::Unavailable { retry_after, .. } => {
                details.set_retry_info(Some(*retry_after));
            }
            Error::OverQuota { subject, retry_after, .. } => {
                details.add_quota_failure_violation(shorten(subject), &message);
                details.set_retry_info(Some(*retry_after));
            }
            _ => {}
        }
        Self::with_error_details(code, message, details)
    }
}

impl From<&Status> for Error {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let message = status.message().to_owned();
        details
            .error_info()
            .filter(|info| info.domain == ERROR_DOMAIN)
            .and_then(|info| ours(&info.reason, message, &details))
            .unwrap_or_else(|| foreign(status))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

impl Resource {
    const ALL: [Self; 3] = [Self::Incident, Self::Worker, Self::Token];

    fn as_str(self) -> &'static str {
        match self {
            Self::Incident => "countermove.v1.Incident",
            Self::Worker => "countermove.v1.Worker",
            Self::Token => "countermove.v1.Token",
        }
    }
}

impl Resource {
    /// `ErrorInfo.reason` where there is none.
    fn missing(self) -> &'static str {
        match self {
            Self::Incident => "INCIDENT_NOT_FOUND",
            Self::Worker => "WORKER_NOT_FOUND",
            Self::Token => "TOKEN_NOT_FOUND",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incident => "incident",
            Self::Worker => "worker",
            Self::Token => "token",
        })
    }
}

impl Condition {
    const ALL: [Self; 7] =
        [Self::Status, Self::Step, Self::Action, Self::Plan, Self::Stale, Self::Evidence, Self::Approver];

    fn as_str(self) -> &'static str {
        match self {
            Self::Status => "STATUS",
            Self::Step => "STEP",
            Self::Action => "ACTION",
            Self::Plan => "PLAN",
            Self::Stale => "STALE",
            Self::Evidence => "EVIDENCE",
            Self::Approver => "APPROVER",
        }
    }

    /// `ErrorInfo.reason` where it does not hold.
    fn reason(self) -> &'static str {
        match self {
            Self::Status => "WRONG_STATUS",
            Self::Step => "WRONG_STEP",
            Self::Action => "WRONG_ACTION",
            Self::Plan => "NO_PLAN",
            Self::Stale => "STALE_PLAN_HASH",
            Self::Evidence => "EVIDENCE_FULL",
            Self::Approver => "SAME_APPROVER",
        }
    }
}

impl Quota {
    const ALL: [Self; 2] = [Self::Rate, Self::Calls];

    /// `ErrorInfo.reason` where it is used up.
    fn reason(self) -> &'static str {
        match self {
            Self::Rate => "TENANT_RATE",
            Self::Calls => "TENANT_CALLS",
        }
    }
}

impl Outage {
    const ALL: [Self; 8] = [
        Self::NoWorker,
        Self::Draining,
        Self::Model,
        Self::Owner,
        Self::Store,
        Self::Late,
        Self::Issuer,
        Self::Access,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::NoWorker => "NO_WORKER",
            Self::Draining => "DRAINING",
            Self::Model => "MODEL_UNAVAILABLE",
            Self::Owner => "OWNER_CHANGES",
            Self::Store => "STORE_UNAVAILABLE",
            Self::Late => "NO_ANSWER_IN_TIME",
            Self::Issuer => "ISSUER_UNAVAILABLE",
            Self::Access => "ACCESS_CHANGED",
        }
    }
}

/// The error behind a status of our domain; `None` if its details do not fit its reason.
fn ours(reason: &str, message: String, details: &ErrorDetails) -> Option<Error> {
    let retry_after =
        || details.retry_info().and_then(|info| info.retry_delay).unwrap_or(Duration::from_secs(1));
    Some(match reason {
        "INVALID_ARGUMENT" => Error::InvalidArgument(
            details
                .bad_request()?
                .field_violations
                .iter()
                .map(|v| Violation { field: v.field.clone(), description: v.description.clone() })
                .collect(),
        ),
        // The first is what earlier releases say.
        "NOT_FOUND" | "INCIDENT_NOT_FOUND" | "WORKER_NOT_FOUND" | "TOKEN_NOT_FOUND" => {
            let info = details.resource_info()?;
            let kind = Resource::ALL.into_iter().find(|kind| kind.as_str() == info.resource_type)?;
            Error::NotFound { kind, name: info.resource_name.clone() }
        }
        reason
            if reason == "PRECONDITION_FAILED" || Condition::ALL.iter().any(|one| one.reason() == reason) =>
        {
            let violation = details.precondition_failure()?.violations.first()?;
            let condition = Condition::ALL.into_iter().find(|c| c.as_str() == violation.r#type)?;
            Error::Precondition { condition, subject: violation.subject.clone(), description: message }
        }
        "EXHAUSTED" => Error::Exhausted { message, retry_after: retry_after() },
        "TENANT_RATE" | "TENANT_CALLS" => {
            let quota = Quota::ALL.into_iter().find(|quota| quota.reason() == reason)?;
            let subject = details.quota_failure()?.violations.first()?.subject.clone();
            Error::OverQuota { quota, subject, message, retry_after: retry_after() }
        }
        "UNAUTHENTICATED" => Error::Unauthenticated(message),
        "PERMISSION_DENIED" => Error::Denied(message),
        "DEADLINE_EXCEEDED" => Error::DeadlineExceeded(message),
        "CANCELLED" => Error::Cancelled(message),
        "MODEL_REFUSED" => Error::ModelRefused(message),
        "MODEL_FAILED" => Error::ModelFailed(message),
        "INTERNAL" => Error::Internal(message),
        outage => {
            let cause = Outage::ALL.into_iter().find(|cause| cause.as_str() == outage)?;
            Error::Unavailable { cause, message, retry_after: retry_after() }
        }
    })
}

/// The error behind a status that is not of our domain. tonic reports a broken connection, a refused one and a reset
/// stream with these codes, and it reports a timeout of the client's own as a cancellation.
fn foreign(status: &Status) -> Error {
    let message = source_chain(status);
    match status.code() {
        // The last is what tonic makes of a peer's connection that has had enough (ENHANCE_YOUR_CALM); one of ours would
        // have said when to come back.
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::ResourceExhausted => {
            Error::Transport(message)
        }
        Code::DeadlineExceeded => Error::DeadlineExceeded(message),
        code => Error::Foreign { code, message },
    }
}

/// The message and what lies behind it: "transport error" alone tells nobody that a port was closed.
fn source_chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

fn list(violations: &[Violation]) -> String {
    let sentences: Vec<_> = violations.iter().take(MAX_VIOLATIONS).map(Violation::to_string).collect();
    let more = violations.len().saturating_sub(MAX_VIOLATIONS);
    match more {
        0 => sentences.join("; "),
        more => format!("{}; and {more} more", sentences.join("; ")),
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.description),
            field => write!(f, "{field}: {}", self.description),
        }
    }
}

fn shorten(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let mut end = MAX_MESSAGE - 3;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every_error() -> Vec<Error> {
        let mut all = vec![
            Error::invalid("evidence.alerts", "the log is binary"),
            Error::InvalidArgument(vec![
                Violation { field: "options.candidates".into(), description: "at most 16".into() },
                Violation { field: String::new(), description: "the message is empty".into() },
            ]),
            Error::Exhausted { message: "the queue is full".into(), retry_after: Duration::from_millis(250) },
            Error::Unauthenticated("the token has expired".into()),
            Error::Denied("an approver is needed".into()),
            Error::DeadlineExceeded("too late".into()),
            Error::Cancelled("enough".into()),
            Error::ModelRefused("too long".into()),
            Error::ModelFailed("a NaN".into()),
            Error::Internal("a bug".into()),
            Error::Transport("connection refused".into()),
            Error::Foreign { code: Code::OutOfRange, message: "too large".into() },
        ];
        all.extend(Resource::ALL.map(|kind| Error::NotFound { kind, name: "incidents/x".into() }));
        all.extend(Condition::ALL.map(|condition| Error::Precondition {
            condition,
            subject: "incidents/x".into(),
            description: "it is over".into(),
        }));
        all.extend(Quota::ALL.map(|quota| Error::OverQuota {
            quota,
            subject: "tenants/blue".into(),
            message: "too many".into(),
            retry_after: Duration::from_millis(20),
        }));
        all.extend(Outage::ALL.map(|cause| Error::Unavailable {
            cause,
            message: "nobody is there".into(),
            retry_after: Duration::from_secs(3),
        }));
        all
    }

    #[test]
    fn every_error_comes_back_from_the_wire_as_it_was() {
        for error in every_error() {
            let status = Status::from(error.clone());
            assert_eq!(status.code(), error.code());
            assert_eq!(Error::from(status), error);
        }
    }

    #[test]
    fn details_are_where_other_clients_look_for_them() {
        let details = Status::from(Error::invalid("name", "it is empty")).get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "name");
        assert_eq!(details.error_info().unwrap().domain, ERROR_DOMAIN);

        let busy = Error::Exhausted { message: "full".into(), retry_after: Duration::from_secs(2) };
        let details = Status::from(busy).get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));

        let gone = Error::NotFound { kind: Resource::Worker, name: "workers/a".into() };
        let details = Status::from(gone).get_error_details();
        assert_eq!(details.resource_info().unwrap().resource_name, "workers/a");
    }

    #[test]
    fn reasons_say_more_than_the_code_and_those_of_earlier_releases_are_understood() {
        let reason = |error: &Error| {
            Status::from(error.clone()).get_error_details().error_info().map(|info| info.reason.clone())
        };
        let errors = every_error();
        let told: Vec<_> = errors.iter().filter_map(reason).collect();
        let distinct: std::collections::BTreeSet<_> = told.iter().collect();
        // Two errors in the list are of the same kind.
        assert_eq!(distinct.len() + 1, told.len(), "{told:?}");
        assert!(distinct.contains(&"STALE_PLAN_HASH".to_owned()));
        for error in errors {
            let earlier = match error {
                Error::NotFound { .. } => "NOT_FOUND",
                Error::Precondition { .. } => "PRECONDITION_FAILED",
                _ => continue,
            };
            let status = Status::from(error.clone());
            let mut details = status.get_error_details();
            details.set_error_info(earlier, ERROR_DOMAIN, std::collections::HashMap::new());
            let status = Status::with_error_details(status.code(), status.message(), details);
            assert_eq!(Error::from(status), error);
        }
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        assert!(matches!(Error::from(Status::unavailable("connection refused")), Error::Transport(_)));
        assert!(matches!(Error::from(Status::resource_exhausted("h2 protocol error")), Error::Transport(_)));
        assert!(matches!(Error::from(Status::not_found("who")), Error::Foreign { code: Code::NotFound, .. }));
        let odd = Status::with_error_details(
            Code::NotFound,
            "who",
            ErrorDetails::with_error_info("NOT_FOUND", ERROR_DOMAIN, []),
        );
        assert!(matches!(Error::from(odd), Error::Foreign { .. }), "details are missing");
        let other = Status::with_error_details(
            Code::Internal,
            "elsewhere",
            ErrorDetails::with_error_info("INTERNAL", "example.com", []),
        );
        assert!(matches!(Error::from(other), Error::Transport(_)));
    }

    #[test]
    fn a_status_stays_small_however_much_is_wrong() {
        let violation = Violation { field: "f".into(), description: "é".repeat(5000) };
        let status = Status::from(Error::InvalidArgument(vec![violation; 500]));
        assert!(status.message().len() <= MAX_MESSAGE);
        assert!(status.details().len() < 12 * 1024, "{} bytes", status.details().len());
    }

    proptest! {
        #[test]
        fn no_status_can_break_the_parser(code in 0i32..20, message in ".{0,40}", details: Vec<u8>) {
            let status = Status::with_details(Code::from_i32(code), message, details.into());
            let _ = Error::from(status);
        }

        #[test]
        fn texts_survive_unless_they_are_too_long(text in "\\PC{0,200}") {
            let error = Error::ModelFailed(text);
            prop_assert_eq!(Error::from(Status::from(error.clone())), error);
        }
    }
}
