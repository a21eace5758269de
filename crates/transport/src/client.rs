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

impl ClientTls {
    /// Takes servers whose certificates are of the authorities in `ca`, or of Mozilla's without one, and that bear the name that
    /// was called. `own` is a certificate and its key, for servers that ask who calls.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(ca: Option<&Path>, own: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let roots = match ca {
            Some(path) => read_roots(path)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(roots);
        let mut config = match own {
            Some((cert, key)) => {
                let keys = TlsFiles { cert: cert.to_owned(), key: key.to_owned(), ca: None }.load()?;
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
