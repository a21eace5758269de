//! TLS on connections that come, where the server has certificates.
//!
//! Contract: handshakes run beside each other and beside those that are done, each within a bound, so that one who is slow holds
//! up nobody. A connection whose handshake fails ends, with a line in the log, and no service hears of it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use countermove_transport::{HANDSHAKE, SpiffeId, Tls};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::connections::{Connection, ConnectionLimits, Peer};

/// Time between two lines in the log about handshakes that failed.
const SAID: Duration = Duration::from_secs(1);

/// A connection that calls may come over.
#[derive(Debug)]
pub enum Secured {
    /// In plain text.
    Plain(Connection),
    /// Encrypted.
    Tls(Box<TlsStream<Connection>>),
}

/// These connections, after TLS where there is some.
pub fn secured(
    connections: impl Stream<Item = io::Result<Connection>>,
    tls: Option<Tls>,
    limits: ConnectionLimits,
) -> impl Stream<Item = io::Result<Secured>> {
    let said = Arc::new(Mutex::new(None));
    let handshakes = connections.map(move |connection| handshake(connection, tls.clone(), Arc::clone(&said)));
    handshakes.buffer_unordered(limits.most).filter_map(std::future::ready)
}

type Said = Arc<Mutex<Option<Instant>>>;

async fn handshake(
    connection: io::Result<Connection>,
    tls: Option<Tls>,
    said: Said,
) -> Option<io::Result<Secured>> {
    let (connection, tls) = match (connection, tls) {
        (Ok(connection), Some(tls)) => (connection, tls),
        (Ok(connection), None) => return Some(Ok(Secured::Plain(connection))),
        (Err(error), _) => return Some(Err(error)),
    };
    let peer = connection.address();
    let problem = match timeout(HANDSHAKE, TlsAcceptor::from(tls.server()).accept(connection)).await {
        Ok(Ok(mut stream)) => {
            stream.get_mut().0.expect_greeting();
            return Some(Ok(Secured::Tls(Box::new(stream))));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took longer than {} s", HANDSHAKE.as_secs()),
    };
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_none_or(|last| last.elapsed() >= SAID) {
        *said = Some(Instant::now());
        tracing::warn!(%peer, problem, "a TLS handshake failed");
    }
    None
}

macro_rules! with_stream {
    ($this:expr, $stream:ident => $work:expr) => {
        match $this.get_mut() {
            Secured::Plain($stream) => $work,
            Secured::Tls($stream) => $work,
        }
    };
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_stream!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Secured {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => Pin::new(stream).poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

impl Connected for Secured {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match self {
            Self::Plain(connection) => connection.peer(None, false),
            Self::Tls(stream) => {
                let (connection, session) = stream.get_ref();
                let id = session.peer_certificates().and_then(|chain| SpiffeId::of(chain.first()?));
                connection.peer(id, true)
            }
        }
    }
}
