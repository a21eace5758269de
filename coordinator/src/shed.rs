//! Refusing calls that come faster than they can be answered, instead of letting them pile up in memory.
//!
//! A call counts from when its message is whole (`crates/serving`) until its answer, or the beginning of its stream, is there.
//! One that is refused hears so at once, as RESOURCE_EXHAUSTED with the time after which asking again makes sense.

use std::time::Duration;

use countermove_proto::Error;
use countermove_serving::Served;
use futures::FutureExt;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::LayerExt;
use tower::layer::layer_fn;
use tower::load_shed::error::Overloaded;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// When a refused call is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// The service, answering at most `most` calls at a time over all connections.
pub(crate) fn bounded<S: Served>(service: S, most: usize) -> impl Served {
    let layer = layer_fn(|service: S| {
        let service = ServiceBuilder::new().load_shed().concurrency_limit(most).service(service);
        service_fn(move |request: Request| {
            let answer = service.clone().oneshot(request);
            answer.map(move |answer| Ok(answer.unwrap_or_else(|error| refusal(&error, most))))
        })
    });
    layer.named_layer(service)
}

fn refusal(error: &BoxError, most: usize) -> Response {
    let error = if error.is::<Overloaded>() {
        let message = format!("{most} calls are being answered already, and no more are taken");
        Error::Exhausted { message, retry_after: RETRY_AFTER }
    } else {
        // The service itself never fails, so this is a layer that is not known here.
        Error::Internal(error.to_string())
    };
    Status::from(error).into_http()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use futures::future::BoxFuture;
    use tokio::sync::Semaphore;
    use tonic::Code;
    use tonic::server::NamedService;
    use tower::Service;

    use super::*;

    /// Answers as soon as it is let.
    #[derive(Clone)]
    struct Slow(Arc<Semaphore>);

    impl NamedService for Slow {
        const NAME: &'static str = "slow";
    }

    impl Service<Request> for Slow {
        type Response = Response;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request) -> Self::Future {
            let gate = Arc::clone(&self.0);
            async move {
                drop(gate.acquire().await);
                Ok(Response::default())
            }
            .boxed()
        }
    }

    fn status(response: Result<Response, Infallible>) -> Option<Status> {
        let Ok(response) = response;
        Status::from_header_map(response.headers())
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused_at_once_and_taken_later() {
        let gate = Arc::new(Semaphore::new(0));
        let service = bounded(Slow(Arc::clone(&gate)), 2);
        let call = || service.clone().oneshot(Request::default());
        let (mut first, mut second) = (Box::pin(call()), Box::pin(call()));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());

        let refused = status(call().await).expect("a refusal");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(Error::from(refused).retry_after(), Some(RETRY_AFTER));

        gate.add_permits(2);
        assert!(status(first.await).is_none() && status(second.await).is_none());
        assert!(status(call().await).is_none(), "there is room again");
    }
}
