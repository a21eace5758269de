//! What this coordinator posts to over HTTP, and what it must not reach: an address that an operator mistypes, or a name that
//! somebody lets point elsewhere, must not turn it into a way to what only this machine or its cloud answers.
//!
//! Invariants: redirects are not followed; certificates are checked against Mozilla's authorities; a connection to a loopback,
//! link-local, multicast or unspecified address, or to one at which clouds tell their machines secrets, is not opened unless it was
//! allowed. A name is looked up for each connection, and what is looked up is what is connected to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use std::time::Duration;
use tower::Service;

/// A client for what is outside. Clones share its connections.
pub(crate) type Outside = Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>;

/// How long a connection that is not used stays open.
const IDLE: Duration = Duration::from_secs(10);

/// Addresses at which clouds answer their machines that are neither link-local nor loopback: of Alibaba, Oracle and AWS.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// A client that reaches what may be reached.
///
/// # Errors
/// If TLS cannot be set up: a fault of the build.
pub(crate) fn client(allows_local: bool) -> Result<Outside, rustls::Error> {
    let mut http = HttpConnector::new_with_resolver(Guarded { inner: GaiResolver::new(), allows_local });
    http.enforce_http(false);
    // Named, so that it does not matter what else of the program speaks TLS.
    let tls = HttpsConnectorBuilder::new().with_provider_and_webpki_roots(ring::default_provider())?;
    let connector = tls.https_or_http().enable_http1().wrap_connector(http);
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    Ok(client.build(connector))
}

/// Whether an address is one that only this machine, its link or its cloud answers.
pub(crate) fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let by_kind = match address {
        IpAddr::V4(v4) => {
            let is_zero_net = v4.octets()[0] == 0;
            v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || is_zero_net
        }
        IpAddr::V6(v6) => {
            let embedded = match v6.segments() {
                // NAT64 and 6to4 lead to the IPv4 address that they hold.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    let [a, b] = high.to_be_bytes();
                    let [c, d] = low.to_be_bytes();
                    is_local(Ipv4Addr::new(a, b, c, d).into())
                }
                _ => false,
            };
            embedded
                || v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
        }
    };
    by_kind || METADATA.contains(&address)
}

/// Whether the host of an address is written as a number that must not be reached. Numbers are looked up by nobody, so they are
/// looked at once.
pub(crate) fn names_local(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.parse().is_ok_and(is_local)
}

/// Looks names up, and leaves out what must not be reached.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    inner: GaiResolver,
    allows_local: bool,
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (looking, allows_local) = (self.inner.call(name), self.allows_local);
        Box::pin(async move {
            let found: Vec<SocketAddr> = looking.await?.collect();
            let may: Vec<SocketAddr> =
                found.into_iter().filter(|address| allows_local || !is_local(address.ip())).collect();
            if may.is_empty() {
                return Err(io::Error::other("its name leads to no address that may be reached"));
            }
            Ok(may.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_machine_its_link_or_its_cloud_answers_is_local() {
        for local in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "64:ff9b::7f00:1",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        for outside in [
            "10.0.0.5",
            "192.168.1.7",
            "203.0.113.9",
            "100.64.0.1",
            "2001:db8::1",
            "fd00::1",
            "64:ff9b::a00:5",
        ] {
            assert!(!is_local(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn numbers_are_looked_at_in_any_form_that_a_url_has() {
        for (url, local) in [
            ("http://127.0.0.1/x", true),
            ("https://[::1]:8443/", true),
            ("http://169.254.169.254/latest/meta-data", true),
            ("https://[::ffff:10.0.0.1]/", false),
            ("https://soar.example/hook", false),
            ("http://10.0.0.9:8080/", false),
        ] {
            assert_eq!(names_local(&url.parse().unwrap()), local, "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_followed() {
        let look = async |allows_local| {
            let mut guarded = Guarded { inner: GaiResolver::new(), allows_local };
            guarded.call("localhost".parse().unwrap()).await.map(Iterator::count)
        };
        assert!(look(false).await.unwrap_err().to_string().contains("may be reached"));
        assert!(look(true).await.unwrap() > 0);
    }
}
