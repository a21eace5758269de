//! Errors as the Connect protocol writes them: code, message, details, and the HTTP status that follows from the code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use countermove_proto::Error;
use http_body_util::Full;
use prost::Message;
use prost_reflect::DynamicMessage;
use serde::Serialize;
use serde_json::Value;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Response, StatusCode, header};
use tonic::{Code, Status};

use super::Codec;

/// An error in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Debug, Serialize)]
struct Detail {
    #[serde(rename = "type")]
    kind: String,
    /// The message in its binary form.
    value: String,
    /// The same for people, and for those who have no such messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Value>,
}

impl Codec {
    pub(super) fn problem(&self, status: &Status) -> Problem {
        // What somebody between the two ends made may have no details, or others.
        let status_message = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
        let details = status_message.details.into_iter().map(|detail| {
            let kind = detail.type_url.rsplit('/').next().unwrap_or_default().to_owned();
            let message = self.details.get_message_by_name(&kind);
            let message = message.and_then(|of| DynamicMessage::decode(of, detail.value.as_slice()).ok());
            let debug = message.and_then(|message| serde_json::to_value(message).ok());
            Detail { kind, value: STANDARD_NO_PAD.encode(&detail.value), debug }
        });
        Problem {
            code: name(status.code()),
            message: status.message().to_owned(),
            details: details.collect(),
        }
    }

    /// The answer to a call that was not done.
    pub(super) fn refusal(&self, status: &Status) -> Response<Body> {
        // Texts and JSON always become JSON.
        let body = serde_json::to_vec(&self.problem(status)).unwrap_or_default();
        let mut answer = Response::new(Body::new(Full::from(body)));
        *answer.status_mut() = http_status(status.code());
        let headers = answer.headers_mut();
        if let Some(time) = Error::from(status).retry_after() {
            headers.insert(header::RETRY_AFTER, time.as_secs().max(1).into());
        }
        if status.code() == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
        Code::Ok | Code::Unknown => "unknown",
    }
}

fn http_status(code: Code) -> StatusCode {
    match code {
        // Nobody reads it: the caller has gone. 499 is what Connect says, and is in no registry.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
