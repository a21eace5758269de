//! TLS of a client from outside the cluster: it knows a server by the name that it called.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use crate::files::{TlsError, TlsFiles, read_roots};
use crate::{ALPN, VERSIONS, provider};

/// What connections to servers are made with. Clones are the same.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<ClientConfig>);

/// What a client of web servers connects with: it takes those whose certificates are of the authorities in `ca`, or of Mozilla's
/// without one.
///
/// # Errors
/// See [`TlsError`].
pub fn web_client(ca: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let config =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(rustls::DEFAULT_VERSIONS)?;
    Ok(config.with_root_certificates(authorities(ca)?).with_no_client_auth())
}

fn authorities(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    match ca {
        Some(path) => read_roots(path),
        None => Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
    }
}

impl ClientTls {
    /// Takes servers whose certificates are of the authorities in `ca`, or of Mozilla's without one, and that bear the name that
    /// was called. `own` is a certificate and its key, for servers that ask who calls.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(ca: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(authorities(ca)?);
        let mut config = match own {
            Some((cert, key)) => {
                let keys =
                    TlsFiles { cert: cert.to_owned(), key: key.to_owned(), ca: None, crl: None }.load()?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(keys.own)))
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}
