//! Connections to others: gRPC channels over TCP or TLS, as the URL says.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::HANDSHAKE;
use crate::client::ClientTls;
use crate::flags::is_loopback;
use crate::spiffe::Kind;
use crate::tls::Tls;

/// How others are reached. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    tls: Option<Source>,
    /// Whether plain text may leave the machine.
    insecure: bool,
}

#[derive(Clone, Debug)]
enum Source {
    /// Members of the cluster, of this kind.
    Member(Tls, Kind),
    /// Servers that are known by their names.
    Named(ClientTls),
}

/// Why somebody cannot be called at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// It is no URL of a server.
    #[error("{0} is no address; write https://host:port, or http://host:port on this machine")]
    Address(String),
    /// It would be plain text over a network.
    #[error(
        "{0} would be called in plain text over a network; give it a certificate and write https://, or say --insecure"
    )]
    Plain(String),
    /// There is nothing to know the other one by.
    #[error("{0} needs certificates to be called with: --tls-cert, --tls-key and --tls-ca")]
    NoTls(String),
}

impl Dial {
    /// Calls members of the cluster, of one kind; those with `http://` in plain text, which leaves the machine only if `insecure`.
    pub fn members(tls: Option<Tls>, kind: Kind, insecure: bool) -> Self {
        Self { tls: tls.map(|tls| Source::Member(tls, kind)), insecure }
    }

    /// Calls servers by their names.
    pub fn named(tls: ClientTls, insecure: bool) -> Self {
        Self { tls: Some(Source::Named(tls)), insecure }
    }

    /// A way to `url`, with what `settings` says of its connection.
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn to(&self, url: &str, settings: impl FnOnce(Endpoint) -> Endpoint) -> Result<Route, DialError> {
        let address = || DialError::Address(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| address())?;
        let authority = uri.authority().ok_or_else(address)?;
        let tls = match uri.scheme_str() {
            Some("http") if self.insecure || is_loopback(authority.host()) => None,
            Some("http") => return Err(DialError::Plain(url.to_owned())),
            Some("https") => match &self.tls {
                Some(Source::Member(tls, kind)) if tls.client(*kind).is_none() => {
                    return Err(DialError::NoTls(url.to_owned()));
                }
                Some(tls) => Some(tls.clone()),
                None => return Err(DialError::NoTls(url.to_owned())),
            },
            _ => return Err(address()),
        };
        // TLS is made by the connector. The endpoint gets the address as http, since it would refuse https without TLS of its
        // own; what the other end reads in its requests is the URL as it is.
        let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| address())?;
        Ok(Route { endpoint: settings(endpoint.origin(uri)), connector: Connector(tls) })
    }
}

/// A way to a server.
#[derive(Clone, Debug)]
pub struct Route {
    endpoint: Endpoint,
    connector: Connector,
}

impl Route {
    /// Connects now.
    ///
    /// # Errors
    /// If there is no connection, or TLS refuses the other end or is refused by it.
    pub async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        self.endpoint.connect_with_connector(self.connector.clone()).await
    }

    /// Connects with the first call.
    pub fn connect_lazy(&self) -> Channel {
        self.endpoint.connect_with_connector_lazy(self.connector.clone())
    }
}

/// Makes connections. Certificates are those of the moment in which one is made.
#[derive(Clone, Debug)]
struct Connector(Option<Source>);

type Io = TokioIo<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Io>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let source = self.0.clone();
        Box::pin(async move {
            let host =
                uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri.port_u16().unwrap_or(if source.is_some() { 443 } else { 80 });
            let socket = TcpStream::connect((host.as_str(), port)).await?;
            // Else a small question waits 40 ms for the peer's word that it got the one before. Without it it is only slower.
            let _ = socket.set_nodelay(true);
            let Some(source) = source else { return Ok(TokioIo::new(Either::Left(socket))) };
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            let secured = TlsConnector::from(source.config()?).connect(name, socket);
            match timeout(HANDSHAKE, secured).await {
                Ok(secured) => Ok(TokioIo::new(Either::Right(Box::new(secured?)))),
                Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
            }
        })
    }
}

impl Source {
    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        match self {
            Self::Named(tls) => Ok(tls.config()),
            Self::Member(tls, kind) => tls
                .client(*kind)
                .ok_or_else(|| io::Error::other("there are no authorities to know the other end by")),
        }
    }
}
