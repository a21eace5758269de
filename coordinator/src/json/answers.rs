//! The layer before the gate: calls in JSON become calls of gRPC, and their answers JSON.

use std::convert::Infallible;
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, stream};
use http_body_util::{Full, StreamBody};
use hyper::body::{Buf, Frame};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde_json::json;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{DecodeBuf, Decoder, Streaming};
use tonic::codegen::Bytes;
use tonic::codegen::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service};

use super::{Call, Codec};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// How a call says which time it has, in milliseconds.
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
/// Longest time that gRPC can say in milliseconds.
const LONGEST_TIMEOUT: u64 = 99_999_999;

/// Makes calls of gRPC of what comes as JSON and of what comes as gRPC-Web, and passes on what is gRPC.
#[derive(Clone)]
pub(crate) struct Json(pub(crate) Codec);

impl<S: Clone> Layer<S> for Json {
    type Service = WithJson<S>;

    fn layer(&self, inner: S) -> WithJson<S> {
        WithJson { codec: self.0.clone(), other: GrpcWebLayer::new().layer(inner.clone()), inner }
    }
}

/// Services of gRPC that are called in other forms as well.
#[derive(Clone)]
pub(crate) struct WithJson<S> {
    codec: Codec,
    inner: S,
    /// The same by gRPC-Web, whose layer takes nothing else over HTTP/1.1.
    other: GrpcWebService<S>,
}

impl<S> Service<Request<Body>> for WithJson<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let Ok(()) = ready!(self.inner.poll_ready(context));
        Service::<Request<Body>>::poll_ready(&mut self.other, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.method() != Method::POST || !is_json(request.headers()) {
            return self.other.call(request).boxed();
        }
        let method = self.codec.methods.get(request.uri().path()).cloned();
        as_grpc(request.headers_mut());
        request.extensions_mut().insert(Call(method.clone()));
        let (codec, answer) = (self.codec.clone(), self.inner.call(request));
        async move {
            let Ok(answer) = answer.await;
            let mut answer = codec.answer(method, answer).await;
            let headers = answer.headers_mut();
            headers.entry(header::CONTENT_TYPE).or_insert(JSON);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            Ok(answer)
        }
        .boxed()
    }
}

impl Codec {
    async fn answer(&self, method: Option<MethodDescriptor>, answer: Response<Body>) -> Response<Body> {
        // What is refused has its status in the headers, and what there is no such call for is refused.
        let refused = Status::from_header_map(answer.headers());
        let (method, messages) = match (refused, method) {
            (Some(status), _) => return self.refusal(&status),
            (None, None) => return self.refusal(&Status::unimplemented("there is no such call")),
            (None, Some(method)) => {
                let messages = Streaming::new_response(
                    Whole,
                    answer.into_body(),
                    StatusCode::OK,
                    None,
                    Some(usize::MAX),
                );
                (method, messages)
            }
        };
        if method.is_server_streaming() {
            return self.lines(method.output(), messages);
        }
        match self.only(method.output(), messages).await {
            Ok(json) => Response::new(Body::new(Full::from(json))),
            Err(status) => self.refusal(&status),
        }
    }

    /// The one message of an answer.
    async fn only(&self, of: MessageDescriptor, mut messages: Streaming<Bytes>) -> Result<Vec<u8>, Status> {
        let message =
            messages.message().await?.ok_or_else(|| Status::internal("the answer has no message"))?;
        // The status comes behind it.
        while messages.message().await?.is_some() {}
        Ok(self.write(of, message).await?)
    }

    /// One message a line, and a last line if the stream fails.
    fn lines(&self, of: MessageDescriptor, messages: Streaming<Bytes>) -> Response<Body> {
        let codec = self.clone();
        let lines = stream::unfold(Some(messages), move |messages| {
            let (codec, of) = (codec.clone(), of.clone());
            async move {
                let mut messages = messages?;
                let written = match messages.message().await {
                    Ok(None) => return None,
                    Ok(Some(message)) => codec.write(of, message).await.map_err(Status::from),
                    Err(status) => Err(status),
                };
                Some(match written {
                    Ok(line) => (line, Some(messages)),
                    Err(status) => (json!({"error": codec.problem(&status)}).to_string().into_bytes(), None),
                })
            }
        });
        let frames = lines.map(|mut line| {
            line.push(b'\n');
            Ok::<_, Infallible>(Frame::data(Bytes::from(line)))
        });
        let mut answer = Response::new(Body::new(StreamBody::new(frames)));
        answer.headers_mut().insert(header::CONTENT_TYPE, LINES);
        answer
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Headers as those of a call of gRPC.
pub(super) fn as_grpc(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.remove(header::CONTENT_LENGTH);
    // Frames come as they are, for they are taken apart here.
    headers.remove("grpc-encoding");
    headers.remove("grpc-accept-encoding");
    // A time that cannot be read is none, as with gRPC.
    let time = headers.remove(TIMEOUT).and_then(|time| time.to_str().ok()?.parse::<u64>().ok());
    if let Some(time) =
        time.map(|time| format!("{}m", time.min(LONGEST_TIMEOUT))).and_then(|time| time.parse().ok())
    {
        headers.insert("grpc-timeout", time);
    }
}

/// Takes messages as they are.
struct Whole;

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, frame: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(frame.copy_to_bytes(frame.remaining())))
    }
}
