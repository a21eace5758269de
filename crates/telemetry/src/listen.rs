//! The port at which the page is read: HTTP, in plain text, a listener of its own.
//!
//! `/metrics` is the page, `/live` says that the process answers, and `/ready` whether it takes work. Nothing else is there, and
//! nothing can be changed. Few connections at a time are taken, none for long, so that who connects and says nothing costs
//! nothing that serving needs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::page::Page;

/// Connections at a time.
const CONNECTIONS: usize = 16;
/// Time that a request may take to come.
const HEADERS: Duration = Duration::from_secs(5);
/// Time that a connection lasts.
const CONNECTION: Duration = Duration::from_secs(60);
/// Pause after a connection that could not be taken: the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// What the page is written in.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves the page at `listener`, and whether this process takes work, until it is dropped.
pub async fn serve(listener: TcpListener, page: Arc<Page>, is_ready: Arc<dyn Fn() -> bool + Send + Sync>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Who has ended is let go of.
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a reader of metrics could not be taken");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (page, is_ready) = (Arc::clone(&page), Arc::clone(&is_ready));
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let answer = answer(&request, &page, &*is_ready);
                async move { Ok::<_, Infallible>(answer) }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            // A reader that hangs up, or stays too long, is none of our faults.
            let _ = timeout(CONNECTION, serving).await;
        });
    }
}

fn answer(request: &Request<Incoming>, page: &Page, is_ready: &dyn Fn() -> bool) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, OPEN_METRICS, page.text()),
        (&Method::GET | &Method::HEAD, "/live") => (StatusCode::OK, "text/plain", "live\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/ready") if is_ready() => {
            (StatusCode::OK, "text/plain", "ready\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, "/ready") => {
            (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, "text/plain", "there are /metrics, /live and /ready\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "this is read by GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

/// Where the page is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct MetricsArgs {
    /// Address at which figures for Prometheus are read, and whether this process is live and ready: /metrics, /live, /ready, by
    /// HTTP in plain text; port 0 takes a free one, which the log tells [default: nowhere].
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Serve them beyond this machine as well; names of tenants and figures of load are read there by whoever reaches the port,
    /// nothing of any incident.
    #[arg(long)]
    pub metrics_insecure: bool,
}

/// Why the page is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--metrics-listen {0} would be read in plain text beyond this machine; listen on 127.0.0.1, or say --metrics-insecure \
     (--insecure says it for every port)"
)]
pub struct ListenError(pub SocketAddr);

impl MetricsArgs {
    /// Where the page is to be served, if anywhere; `insecure` is what was said of every port.
    ///
    /// # Errors
    /// [`ListenError`] if that is beyond this machine, and nobody said that it may be.
    pub fn checked(&self, insecure: bool) -> Result<Option<SocketAddr>, ListenError> {
        match self.metrics_listen {
            Some(address) if !address.ip().is_loopback() && !insecure && !self.metrics_insecure => {
                Err(ListenError(address))
            }
            address => Ok(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::table::{Kind, Metric};

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_page_is_read_and_nothing_else_is_there() {
        let mut page = Page::default();
        page.gauges(&Metric::new("countermove_x", Kind::Gauge, "X"));
        let ready = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::clone(&ready);
        let serving =
            tokio::spawn(serve(listener, Arc::new(page), Arc::new(move || asked.load(Ordering::SeqCst))));
        let read = ask(address, "GET /metrics").await;
        assert!(read.starts_with("HTTP/1.1 200") && read.contains("application/openmetrics-text"), "{read}");
        assert!(read.contains("countermove_x 0") && read.ends_with("# EOF\n"), "{read}");
        assert!(ask(address, "GET /live").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "GET /ready").await.starts_with("HTTP/1.1 503"));
        ready.store(true, Ordering::SeqCst);
        assert!(ask(address, "GET /ready").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "GET /").await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));
        serving.abort();
    }

    #[test]
    fn figures_stay_on_the_machine_unless_somebody_says_otherwise() {
        let (near, far): (SocketAddr, SocketAddr) =
            ("127.0.0.1:9".parse().unwrap(), "0.0.0.0:9".parse().unwrap());
        let args = |metrics_listen, metrics_insecure| MetricsArgs { metrics_listen, metrics_insecure };
        assert_eq!(args(None, false).checked(false), Ok(None));
        assert_eq!(args(Some(near), false).checked(false), Ok(Some(near)));
        assert_eq!(args(Some(far), false).checked(false), Err(ListenError(far)));
        assert_eq!(args(Some(far), true).checked(false), Ok(Some(far)));
        assert_eq!(args(Some(far), false).checked(true), Ok(Some(far)));
    }
}
