//! What an operator says about TLS, and what may be served without.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::files::{TlsError, TlsFiles};
use crate::spiffe::Kind;
use crate::tls::Tls;

/// Certificates of a process that serves, and how long connections to it last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct TlsArgs {
    /// Certificate of this process in PEM, with those between it and its authority; a new one is taken from the file without a
    /// restart.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Authorities of the cluster in PEM: coordinators and workers know each other by certificates of these, with the SPIFFE ids
    /// spiffe://DOMAIN/coordinator/NAME and spiffe://DOMAIN/worker/NAME.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_TLS_CA", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,
    /// Certificates that the authorities of --tls-ca have revoked: their revocation lists in PEM, one of each authority by which
    /// certificates come. Taken from the file without a restart, as certificates are.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_TLS_CRL", requires = "tls_ca")]
    pub tls_crl: Option<PathBuf>,
    /// Serve and call in plain text beyond this machine as well: whoever reaches the port may read and do everything.
    #[arg(long, env = "COUNTERMOVE_INSECURE")]
    pub insecure: bool,
    /// Seconds after which a connection is told to make room for a new one, with the certificates of then; what runs on it goes
    /// on. After twice the time it is hung up on. A connection that this process makes to a worker is replaced after a quarter
    /// of it. 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(0..=31_536_000))]
    pub max_connection_age: u64,
}

/// How a port may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// By TLS.
    Secured,
    /// In plain text, from this machine alone.
    Loopback,
    /// In plain text, from anywhere.
    Open,
}

/// Why a port is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--listen {0} would serve in plain text beyond this machine; give --tls-cert and --tls-key (`countermove certs` makes some to \
     try), listen on 127.0.0.1, or say --insecure"
)]
pub struct ExposureError(pub SocketAddr);

impl TlsArgs {
    /// TLS, if certificates are named.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(&self, kind: Kind) -> Result<Option<Tls>, TlsError> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let files = TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            ca: self.tls_ca.clone(),
            crl: self.tls_crl.clone(),
        };
        Tls::load(files, kind).map(Some)
    }

    /// How a port at `listen` is to be served.
    ///
    /// # Errors
    /// [`ExposureError`] if that would be plain text beyond this machine, and nobody said that it may.
    pub fn exposure(&self, listen: SocketAddr) -> Result<Exposure, ExposureError> {
        if self.tls_cert.is_some() {
            Ok(Exposure::Secured)
        } else if listen.ip().is_loopback() {
            Ok(Exposure::Loopback)
        } else if self.insecure {
            Ok(Exposure::Open)
        } else {
            Err(ExposureError(listen))
        }
    }

    /// How long a connection lasts; `None`: for ever.
    pub fn connection_age(&self) -> Option<Duration> {
        (self.max_connection_age > 0).then(|| Duration::from_secs(self.max_connection_age))
    }
}

/// Whether a host of a URL is this machine: by its address, or as `localhost`.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a URL names a server on this machine.
pub fn is_local_url(url: &str) -> bool {
    let uri = url.parse::<hyper::Uri>();
    uri.is_ok_and(|uri| uri.host().is_some_and(is_loopback))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        tls: TlsArgs,
    }

    fn args(flags: &[&str]) -> Result<TlsArgs, clap::Error> {
        Cli::try_parse_from(["x"].into_iter().chain(flags.iter().copied())).map(|cli| cli.tls)
    }

    #[test]
    fn plain_text_stays_on_the_machine_unless_somebody_says_otherwise() {
        let (near, far) = ("127.0.0.1:7700".parse().unwrap(), "0.0.0.0:7700".parse().unwrap());
        let plain = args(&[]).unwrap();
        assert_eq!(plain.exposure(near), Ok(Exposure::Loopback));
        assert_eq!(plain.exposure("[::1]:1".parse().unwrap()), Ok(Exposure::Loopback));
        assert_eq!(plain.exposure(far), Err(ExposureError(far)));
        assert_eq!(args(&["--insecure"]).unwrap().exposure(far), Ok(Exposure::Open));
        let secured = args(&["--tls-cert", "c", "--tls-key", "k"]).unwrap();
        assert_eq!(secured.exposure(far), Ok(Exposure::Secured));
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        assert!(args(&["--tls-cert", "c"]).is_err() && args(&["--tls-key", "k"]).is_err());
        assert!(args(&["--tls-ca", "a"]).is_err());
        assert!(args(&["--max-connection-age", "-1"]).is_err());
        assert_eq!(args(&["--max-connection-age", "0"]).unwrap().connection_age(), None);
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for near in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]", "::1"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["", "0.0.0.0", "10.0.0.1", "localhost.example.org", "127.0.0.1.example.org", "[::]"] {
            assert!(!is_loopback(far), "{far}");
        }
    }
}
