//! A port as a server is given one.

use std::io;
use std::time::Duration;

use countermove_transport::Tls;
use futures::Stream;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::connections::{ConnectionLimits, connections};
use crate::secure::{Secured, secured};

/// Where connections come, and what they are taken with.
#[derive(Debug)]
pub struct Port {
    /// Where they come.
    pub listener: TcpListener,
    /// Certificates; absent: connections are in plain text.
    pub tls: Option<Tls>,
    /// Time after which a client is asked to come again over a new connection; absent: never.
    pub connection_age: Option<Duration>,
}

impl From<TcpListener> for Port {
    /// In plain text.
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None, connection_age: None }
    }
}

impl Port {
    /// The connections that come, as long as this process may take some. Who does not go when asked to is hung up on after twice
    /// the time.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Secured>> {
        let limits = ConnectionLimits::of_this_process(self.connection_age.map(|age| age.saturating_mul(2)));
        secured(connections(self.listener, limits), self.tls, limits)
    }

    /// Follows the certificates' files, as long as what this gives is there.
    pub fn renew(&self) -> Option<AbortOnDropHandle<()>> {
        let tls = self.tls.clone()?;
        Some(AbortOnDropHandle::new(tokio::spawn(tls.follow())))
    }
}
