//! The messages of calls: taken whole before a call counts as one, within a time and within a sum of bytes.
//!
//! A call whose message is not there yet takes none of the places of calls that can be answered. What messages take in memory is
//! counted as it comes, and until the work on them is done, which may be after their callers have left. The beginning of each is
//! free, so that small questions are answered while large ones fill the rest.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use countermove_proto::Error;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::Request;

use crate::connections::Peer;
use crate::prepared::{Served, prepared};
use crate::shares::{Full, Held, Shares};

/// Bytes of a message that count for nothing.
const FREE: u64 = 64 << 10;
/// Time that a message has, whatever its length.
const TIME: Duration = Duration::from_secs(10);
/// Bytes for which it has a second more.
const BYTES_A_SECOND: u64 = 1 << 20;
/// When a refused call is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes before a message that say how long it is.
const PREFIX: usize = 5;

/// What messages may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Messages that are on their way at a time; half of them from one address.
    pub coming: u64,
    /// Bytes of messages that came or are coming and that somebody works on; half of them from one address, and half of one
    /// tenant.
    pub bytes: u64,
    /// Bytes of the longest message.
    pub longest: usize,
}

/// Counts the messages of a server. Clones are the same.
#[derive(Clone, Debug)]
pub struct Bodies {
    limits: MessageLimits,
    coming: Shares<IpAddr>,
    bytes: Shares<IpAddr>,
    tenants: Shares<String>,
}

/// The bytes of one message, as an extension of its request. Whoever works on the message keeps a clone for as long.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Counted>);

/// What a message takes of the sums.
#[derive(Debug)]
struct Counted {
    of_address: Held<IpAddr>,
    tenants: Shares<String>,
    of_tenant: Mutex<Option<Held<String>>>,
}

impl Bodies {
    /// Nothing has come.
    pub fn new(limits: MessageLimits) -> Self {
        Self {
            limits,
            coming: Shares::new(limits.coming, limits.coming / 2),
            bytes: Shares::new(limits.bytes, limits.bytes / 2),
            tenants: Shares::new(limits.bytes, limits.bytes / 2),
        }
    }

    /// Bytes that are in flight.
    pub fn bytes(&self) -> u64 {
        self.bytes.taken()
    }

    /// The service, asked when a message is whole. For methods that take one message.
    pub fn whole<S: Served + 'static>(&self, service: S) -> impl Served + use<S> {
        let bodies = self.clone();
        prepared(service, move |request| {
            let bodies = bodies.clone();
            async move { bodies.take(request).await.map_err(Status::from) }
        })
    }

    /// The request with all of its body.
    async fn take(&self, request: Request<Body>) -> Result<Request<Body>, Error> {
        let (mut head, mut body) = request.into_parts();
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let peer = head.extensions.get::<Peer>().map_or(unknown, Peer::address);
        let coming = self.coming.take(peer, 1).map_err(|full| {
            let taken = amount(full);
            exhausted(format!("{taken} calls are waited for already whose messages have not come"))
        })?;
        let mut held = self.bytes.take(peer, 0).map_err(|full| self.too_much(full))?;
        let (begun, mut length, mut frames) = (Instant::now(), 0_u64, Vec::new());
        loop {
            let time = TIME + Duration::from_secs(length / BYTES_A_SECOND);
            let Ok(frame) = timeout_at(begun + time, body.frame()).await else {
                return Err(Error::DeadlineExceeded(format!(
                    "the message of the call was not whole after {time:.0?}: {length} bytes had come"
                )));
            };
            let Some(frame) = frame else { break };
            // A body that breaks off is the end of its call.
            let frame = frame.map_err(|status| Error::from(&status))?;
            if let Some(data) = frame.data_ref() {
                let before = length.max(FREE);
                length += data.len() as u64;
                held.add(length.max(FREE) - before).map_err(|full| self.too_much(full))?;
            }
            frames.push(frame);
            if length > (self.limits.longest + PREFIX) as u64 {
                // Whoever reads it says that it is too long.
                break;
            }
        }
        drop(coming);
        let (tenants, of_tenant) = (self.tenants.clone(), Mutex::new(None));
        head.extensions.insert(InFlight(Arc::new(Counted { of_address: held, tenants, of_tenant })));
        let body = Body::new(StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, Infallible>))));
        Ok(Request::from_parts(head, body))
    }

    fn too_much(&self, full: Full) -> Error {
        let most = mebibytes(self.limits.bytes);
        let share = mebibytes(self.limits.bytes / 2);
        exhausted(match full {
            Full::All(taken) => format!(
                "messages of {} are being worked on already, of {most} that may be; ask again",
                mebibytes(taken)
            ),
            Full::Share(own) => format!(
                "messages of {} from this address are being worked on already, of {share} that may be; ask again",
                mebibytes(own)
            ),
        })
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl InFlight {
    /// Counts the message for a tenant as well.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if the tenant's messages take its share already.
    pub fn count_for(&self, tenant: &str) -> Result<(), Error> {
        let held = self.0.tenants.take(tenant.to_owned(), self.0.of_address.amount()).map_err(|full| {
            let taken = mebibytes(amount(full));
            exhausted(format!(
                "messages of {taken} of the tenant {tenant} are being worked on already, which is its share; ask again"
            ))
        })?;
        *self.of_tenant() = Some(held);
        Ok(())
    }

    fn of_tenant(&self) -> MutexGuard<'_, Option<Held<String>>> {
        self.0.of_tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn amount(full: Full) -> u64 {
    match full {
        Full::All(amount) | Full::Share(amount) => amount,
    }
}

fn exhausted(message: String) -> Error {
    Error::Exhausted { message, retry_after: RETRY_AFTER }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The body, which holds something for as long as it is read.
pub(crate) fn holding<T: Send + Unpin + fmt::Debug + 'static>(body: Body, held: T) -> Body {
    Body::new(Holding { body, _held: held })
}

#[derive(Debug)]
struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;
    use tonic::codegen::http::Response;
    use tonic::server::NamedService;
    use tower::{Service, ServiceExt};

    use super::*;

    const LIMITS: MessageLimits = MessageLimits { coming: 8, bytes: 1 << 20, longest: 1 << 20 };

    /// Says how long the message was, and holds on to it until it is let go.
    #[derive(Clone)]
    struct Reader(Arc<tokio::sync::Semaphore>);

    impl NamedService for Reader {
        const NAME: &'static str = "reader";
    }

    impl Service<Request<Body>> for Reader {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = futures::future::BoxFuture<'static, Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let gate = Arc::clone(&self.0);
            async move {
                let (head, body) = request.into_parts();
                let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
                let tenant = head.headers.get("tenant").and_then(|tenant| tenant.to_str().ok());
                let in_flight = head.extensions.get::<InFlight>().cloned();
                if let (Some(tenant), Some(in_flight)) = (tenant, &in_flight)
                    && let Err(error) = in_flight.count_for(tenant)
                {
                    return Ok(Status::from(error).into_http());
                }
                drop(gate.acquire().await);
                drop(in_flight);
                let mut answer = Response::new(Body::empty());
                answer.headers_mut().insert("length", length.into());
                Ok(answer)
            }
            .boxed()
        }
    }

    fn reader(open: usize) -> (Bodies, Reader, Arc<tokio::sync::Semaphore>) {
        let gate = Arc::new(tokio::sync::Semaphore::new(open));
        (Bodies::new(LIMITS), Reader(Arc::clone(&gate)), gate)
    }

    /// A request whose body comes bit by bit.
    fn request() -> (mpsc::Sender<Result<Frame<Bytes>, Status>>, Request<Body>) {
        let (sender, receiver) = mpsc::channel(64);
        (sender, Request::new(Body::new(StreamBody::new(ReceiverStream::new(receiver)))))
    }

    fn whole(length: usize) -> Request<Body> {
        Request::new(Body::new(http_body_util::Full::new(Bytes::from(vec![0; length]))))
    }

    fn code(answer: &Response<Body>) -> Code {
        Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_come_ends_its_call_and_one_that_comes_slowly_has_its_time() {
        let (bodies, service, _gate) = reader(1);
        let service = bodies.whole(service);
        let (silent, call) = request();
        let answer = service.clone().oneshot(call).await.unwrap();
        assert_eq!(code(&answer), Code::DeadlineExceeded);
        drop(silent);

        let (sender, call) = request();
        let answer = tokio::spawn(service.oneshot(call));
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send(Ok(Frame::data(Bytes::from_static(&[1; 100])))).await.unwrap();
        }
        drop(sender);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.headers().get("length").unwrap(), "900");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_messages_are_waited_for_and_a_whole_one_is_answered_meanwhile() {
        let (bodies, service, _gate) = reader(1);
        let service = bodies.whole(service);
        let mut senders = Vec::new();
        for _ in 0..3 {
            let (sender, call) = request();
            tokio::spawn(service.clone().oneshot(call));
            senders.push(sender);
        }
        tokio::task::yield_now().await;
        let answer = service.clone().oneshot(whole(7)).await.unwrap();
        assert_eq!(code(&answer), Code::Ok, "those that wait hold no place");
        // A fourth one from the same address is its share.
        let (_sender, call) = request();
        tokio::spawn(service.clone().oneshot(call));
        tokio::task::yield_now().await;
        assert_eq!(code(&service.clone().oneshot(whole(7)).await.unwrap()), Code::ResourceExhausted);
        drop(senders);
        tokio::task::yield_now().await;
        assert_eq!(code(&service.oneshot(whole(7)).await.unwrap()), Code::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_until_the_work_on_them_is_done() {
        let (bodies, service, gate) = reader(0);
        let service = bodies.whole(service);
        let large = 400 << 10;
        let first = tokio::spawn(service.clone().oneshot(whole(large)));
        while bodies.bytes() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bodies.bytes(), large as u64 - FREE);
        let second = service.clone().oneshot(whole(large)).await.unwrap();
        assert_eq!(code(&second), Code::ResourceExhausted, "half is the share of an address");
        let small = tokio::spawn(service.clone().oneshot(whole(FREE as usize)));
        gate.add_permits(9);
        assert_eq!(code(&small.await.unwrap().unwrap()), Code::Ok, "what is small is always taken");
        assert_eq!(code(&first.await.unwrap().unwrap()), Code::Ok);
        assert_eq!(bodies.bytes(), 0);
        assert_eq!(code(&service.oneshot(whole(large)).await.unwrap()), Code::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_half_whatever_its_addresses() {
        let bodies = Bodies::new(LIMITS);
        let take = |address: [u8; 4], length: u64| {
            let of_address = bodies.bytes.take(IpAddr::from(address), length).unwrap();
            InFlight(Arc::new(Counted {
                of_address,
                tenants: bodies.tenants.clone(),
                of_tenant: Mutex::new(None),
            }))
        };
        let (one, two) = (take([10, 0, 0, 1], 400 << 10), take([10, 0, 0, 2], 400 << 10));
        one.count_for("red").unwrap();
        assert!(matches!(two.count_for("red"), Err(Error::Exhausted { .. })));
        two.count_for("blue").unwrap();
        drop(one);
        take([10, 0, 0, 3], 400 << 10).count_for("red").unwrap();
    }

    #[tokio::test]
    async fn a_message_longer_than_any_may_be_is_not_taken_whole() {
        let (bodies, service, _gate) = reader(1);
        let service = bodies.whole(service);
        let (sender, call) = request();
        let answer = tokio::spawn(service.oneshot(call));
        let mut sent = 0;
        while sent < 8 << 20 && sender.send(Ok(Frame::data(Bytes::from(vec![0; 32 << 10])))).await.is_ok() {
            sent += 32 << 10;
        }
        assert!(sent < 4 << 20, "{sent} bytes were taken");
        assert_ne!(code(&answer.await.unwrap().unwrap()), Code::Ok);
    }
}
