//! Counts the calls of a server, and why some were refused, as a layer around its services.

use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::page::Counters;

/// Why a call was refused: the status that it was answered with, in the words of gRPC.
pub const REASONS: &[&str] = &[
    "invalid_argument",
    "not_found",
    "already_exists",
    "permission_denied",
    "unauthenticated",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "unavailable",
    "deadline_exceeded",
    "cancelled",
    "unimplemented",
    "internal",
    "other",
];

/// Counts the calls of the services that it is laid around. A call whose stream breaks off after it began was not refused.
#[derive(Clone, Debug)]
pub struct CountCalls {
    /// All of them; without labels.
    pub calls: Counters,
    /// Those that were refused, with one label for the reason.
    pub refused: Counters,
}

impl<S> Layer<S> for CountCalls {
    type Service = CountedCalls<S>;

    fn layer(&self, inner: S) -> CountedCalls<S> {
        CountedCalls { inner, counting: self.clone() }
    }
}

/// See [`CountCalls`].
#[derive(Clone, Debug)]
pub struct CountedCalls<S> {
    inner: S,
    counting: CountCalls,
}

impl<S, B> Service<Request<B>> for CountedCalls<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (answer, counting) = (self.inner.call(request), self.counting.clone());
        Box::pin(async move {
            let answer = answer.await?;
            counting.calls.count(&[]);
            // What is refused has its status in the headers; what was begun has it after its last message.
            if let Some(status) =
                Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok)
            {
                counting.refused.count(&[reason(status.code())]);
            }
            Ok(answer)
        })
    }
}

fn reason(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument | Code::OutOfRange => "invalid_argument",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::Unauthenticated => "unauthenticated",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::Cancelled => "cancelled",
        Code::Unimplemented => "unimplemented",
        Code::Internal | Code::DataLoss => "internal",
        Code::Ok | Code::Unknown => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::page::Page;
    use crate::table::{Kind, Label, Metric, Values};

    const REASON: Label = Label { name: "reason", values: Values::Of(REASONS) };

    #[tokio::test]
    async fn a_refusal_is_counted_by_its_reason_and_an_answer_is_none() {
        let mut page = Page::default();
        let counting = CountCalls {
            calls: page.counters(&Metric::new("calls_total", Kind::Counter, "")),
            refused: page.counters(&Metric::new("refused_total", Kind::Counter, "").by(&[REASON])),
        };
        let service = counting.layer(service_fn(|request: Request<()>| async move {
            Ok::<_, Infallible>(match request.uri().path() {
                "/refused" => Status::resource_exhausted("full").into_http(),
                _ => Response::new(Body::empty()),
            })
        }));
        for path in ["/refused", "/answered", "/refused"] {
            let request = Request::builder().uri(path).body(()).unwrap();
            service.clone().oneshot(request).await.unwrap();
        }
        let text = page.text();
        assert!(text.contains("calls_total 3"), "{text}");
        assert!(text.contains("refused_total{reason=\"resource_exhausted\"} 2"), "{text}");
        assert!(text.contains("refused_total{reason=\"internal\"} 0"), "{text}");
    }

    #[test]
    fn every_code_has_a_reason_that_is_listed() {
        for code in (0..=16).map(Code::from_i32) {
            assert!(REASONS.contains(&reason(code)), "{code:?}");
        }
    }
}
