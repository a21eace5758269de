//! TLS between the processes of a cluster, and from its clients.
//!
//! A process of the cluster has a certificate that names it by a SPIFFE id: `spiffe://TRUST-DOMAIN/coordinator/NAME` or
//! `spiffe://TRUST-DOMAIN/worker/NAME`. Both ends of a connection within the cluster ask for the other's certificate, and take
//! only one of their own certificate authority, of their own trust domain, and of the kind that belongs at that end.
//!
//! Invariants: who somebody is stands in the one URI among the names of the certificate, never in its common name. Plain text
//! leaves the machine only where the operator said so. New certificates are taken from their files while the process runs; such
//! as cannot be used change nothing.

mod client;
mod dial;
mod files;
mod flags;
mod spiffe;
mod tls;
mod verify;

pub use client::{ClientTls, web_client};
pub use dial::{Dial, DialError};
pub use files::{Keys, TlsError, TlsFiles};
pub use flags::{Exposure, ExposureError, TlsArgs, is_local_url, is_loopback};
pub use spiffe::{Kind, ParseSpiffeError, SpiffeId};
pub use tls::Tls;

/// Time that a TLS handshake may take.
pub const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(5);

/// The cryptography of all TLS here.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::ring::default_provider())
}

/// HTTP/2, which gRPC speaks.
const ALPN: &[u8] = b"h2";
/// One version, in which nothing can be negotiated down.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

#[cfg(test)]
mod tests;
