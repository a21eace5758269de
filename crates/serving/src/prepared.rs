//! Services whose requests are made ready before they see them.

use std::convert::Infallible;

use futures::FutureExt;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::LayerExt;
use tower::layer::layer_fn;
use tower::{Service, ServiceExt, service_fn};

/// A service as servers of gRPC take it.
pub trait Served:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + NamedService
    + Clone
    + Send
    + Sync
{
}

impl<S> Served for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + NamedService
        + Clone
        + Send
        + Sync
{
}

/// The service, asked with what `prepare` makes of each request; where that refuses, its status is the answer.
pub fn prepared<S, P, F>(service: S, prepare: P) -> impl Served + use<S, P, F>
where
    S: Served + 'static,
    P: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Request<Body>, Status>> + Send + 'static,
{
    let layer = layer_fn(move |service: S| {
        let prepare = prepare.clone();
        service_fn(move |request: Request<Body>| {
            let (ready, service) = (prepare(request), service.clone());
            async move {
                match ready.await {
                    Ok(request) => service.oneshot(request).await,
                    Err(status) => Ok(status.into_http()),
                }
            }
            .boxed()
        })
    });
    layer.named_layer(service)
}
