//! The answers that tonic makes itself, in our terms: a message that is no protobuf, and a call that took too long.
//!
//! Contract: [`Answers`] lies around a server's services. What they answer passes unchanged; a caller hears of its own
//! fault as INVALID_ARGUMENT, of its own deadline as DEADLINE_EXCEEDED, and of a server that did not get to it in time as
//! UNAVAILABLE with the time after which asking again makes sense.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::{Error, Outage};

/// What tonic says to bytes that are no message, to a part of one and to none. It gives all the code of a fault of ours.
const NO_MESSAGE: [&str; 3] =
    ["failed to decode Protobuf message", "Unexpected EOF decoding stream", "Missing request message"];
/// When a call that the server did not get to in time is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Lays [`OurAnswers`] around services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    most: Option<Duration>,
}

impl Answers {
    /// An answer, or the beginning of a stream, may take `most`; without it only callers say how long.
    pub fn within(most: Option<Duration>) -> Self {
        Self { most }
    }
}

impl<S> Layer<S> for Answers {
    type Service = OurAnswers<S>;

    fn layer(&self, inner: S) -> OurAnswers<S> {
        OurAnswers { inner, most: self.most }
    }
}

/// A service whose every answer is ours.
#[derive(Clone, Debug)]
pub struct OurAnswers<S> {
    inner: S,
    most: Option<Duration>,
}

impl<S> Service<Request<Body>> for OurAnswers<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let theirs = caller_timeout(request.headers());
        let time = [theirs, self.most].into_iter().flatten().min();
        let answer = self.inner.call(request);
        let Some(time) = time else { return Box::pin(async { answer.await.map(ours) }) };
        // The clock runs from here, so that it ends before tonic's own, which begins after this call.
        let answer = timeout(time, answer);
        let is_theirs = theirs == Some(time);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer.map(ours),
                Err(_) => Ok(Status::from(late(time, is_theirs)).into_http()),
            }
        })
    }
}

/// The time that a caller gives a call with the header `grpc-timeout`. One that cannot be read is none, as in tonic.
pub fn caller_timeout(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// One to eight digits and a unit, as the gRPC specification of HTTP/2 headers defines it.
fn parse(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = &text[..unit_at];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

fn late(time: Duration, is_theirs: bool) -> Error {
    if is_theirs {
        return Error::DeadlineExceeded(format!(
            "there was no answer within the {time:.1?} that the caller gave"
        ));
    }
    Error::Unavailable {
        cause: Outage::Late,
        message: format!(
            "there was no answer within {time:.1?}; ask again, under the same request_id if there is one"
        ),
        retry_after: RETRY_AFTER,
    }
}

/// The answer, unless it is tonic's word on a message that it could not read.
fn ours(answer: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(answer.headers()) else { return answer };
    // Whatever is ours has details.
    let is_ours = status.code() != Code::Internal || !status.details().is_empty();
    if is_ours || !NO_MESSAGE.iter().any(|words| status.message().starts_with(words)) {
        return answer;
    }
    let message = format!("the request is not the message that this method takes: {}", status.message());
    Status::from(Error::invalid("", message)).into_http()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    async fn answer(most: Option<Duration>, header: Option<&str>, takes: Duration, status: Status) -> Error {
        let service = service_fn(move |_: Request<Body>| {
            let answer = status.clone().into_http();
            async move {
                tokio::time::sleep(takes).await;
                Ok::<Response<Body>, std::convert::Infallible>(answer)
            }
        });
        let service = ServiceBuilder::new().layer(Answers::within(most)).service(service);
        let mut request = Request::new(Body::default());
        if let Some(header) = header {
            request.headers_mut().insert("grpc-timeout", header.parse().unwrap());
        }
        let answer = service.oneshot(request).await.unwrap();
        Error::from(Status::from_header_map(answer.headers()).unwrap())
    }

    const SOON: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_no_protobuf_is_the_callers_fault() {
        let broken = Status::internal("failed to decode Protobuf message: invalid tag value: 0");
        let Error::InvalidArgument(violations) = answer(None, None, SOON, broken).await else {
            panic!("no violation")
        };
        assert!(violations[0].description.ends_with(": invalid tag value: 0"), "{violations:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_service_says_passes() {
        for error in [
            Error::invalid("name", "it is empty"),
            Error::Internal("failed to decode Protobuf message, ours".to_owned()),
            Error::Exhausted { message: "full".to_owned(), retry_after: SOON },
        ] {
            assert_eq!(answer(Some(LONG), Some("1S"), SOON, error.clone().into()).await, error);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_the_time_decides_what_a_late_answer_is() {
        let never = || Status::unknown("it came");
        let server = answer(Some(SOON), None, LONG, never()).await;
        assert!(server.is_retryable() && server.retry_after() == Some(RETRY_AFTER), "{server:?}");
        assert!(matches!(answer(Some(SOON), Some("9S"), LONG, never()).await, Error::Unavailable { .. }));
        assert!(matches!(answer(Some(LONG), Some("5m"), LONG, never()).await, Error::DeadlineExceeded(_)));
        assert!(matches!(answer(None, Some("5m"), LONG, never()).await, Error::DeadlineExceeded(_)));
        assert!(matches!(answer(Some(LONG), Some("nonsense"), SOON, never()).await, Error::Transport(_)));
    }

    #[test]
    fn every_unit_is_read() {
        for (text, timeout) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("42S", Duration::from_secs(42)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("5u", Duration::from_micros(5)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Some(timeout), "{text}");
        }
    }

    #[test]
    fn what_is_no_timeout_is_none() {
        for text in ["", "S", "1", "1 S", "-1S", "1.5S", "123456789S", "1s", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in ".{0,12}") {
            let _ = parse(&text);
        }
    }
}
