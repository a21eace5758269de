//! Certificates and keys, from files in PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::spiffe::{Kind, SpiffeId};

/// Largest file that is read, in bytes: a chain has a few kilobytes, all public authorities together 300.
const LARGEST: u64 = 4 << 20;

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of this process, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that others' certificates have to be of.
    pub ca: Option<PathBuf>,
    /// What these authorities have revoked.
    pub crl: Option<PathBuf>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file} cannot be read: {problem}")]
    Unreadable {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A file holds nothing of the kind that is needed.
    #[error("{file} holds no {what} in PEM")]
    Nothing {
        /// The file.
        file: String,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate does not fit its use.
    #[error("{file}: {problem}")]
    Certificate {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// Certificate and key do not belong together, or TLS refuses them.
    #[error("certificate and key cannot be used: {0}")]
    Refused(#[from] rustls::Error),
}

/// What the files hold.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Certificate and key.
    pub own: Arc<CertifiedKey>,
    /// The id in the certificate, if it has one.
    pub id: Option<SpiffeId>,
    /// The authorities, if any are named.
    pub roots: Option<Arc<RootCertStore>>,
    /// What they have revoked; empty: nothing is said of that.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl TlsFiles {
    /// Reads and checks all of them.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(&self) -> Result<Keys, TlsError> {
        self.load_from(&self.read()?)
    }

    /// What the files hold now, as bytes: to see whether that has changed.
    pub(crate) fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            cert: read(&self.cert)?,
            key: read(&self.key)?,
            ca: self.ca.as_deref().map(read).transpose()?,
            crl: self.crl.as_deref().map(read).transpose()?,
        })
    }

    pub(crate) fn load_from(&self, contents: &Contents) -> Result<Keys, TlsError> {
        let chain = certificates(&self.cert, &contents.cert)?;
        let key = private_key(&self.key, &contents.key)?;
        let id = chain.first().and_then(SpiffeId::of);
        // Also finds out that they do not belong together.
        let own = CertifiedKey::from_der(chain, key, &crate::provider())?;
        own.keys_match()?;
        let roots = match (&self.ca, &contents.ca) {
            (Some(path), Some(bytes)) => Some(Arc::new(roots(path, bytes)?)),
            _ => None,
        };
        let revoked = match (&self.crl, &contents.crl) {
            (Some(path), Some(bytes)) => revocations(path, bytes)?,
            _ => Vec::new(),
        };
        Ok(Keys { own: Arc::new(own), id, roots, revoked })
    }

    /// The id of a process of this kind, which its certificate has to bear.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] if it bears none or another.
    pub fn member(&self, keys: &Keys, kind: Kind) -> Result<SpiffeId, TlsError> {
        let problem = match &keys.id {
            Some(id) if id.kind() == Some(kind) => return Ok(id.clone()),
            Some(id) => format!("it is the certificate of {id}"),
            None => "the certificate bears no SPIFFE id".to_owned(),
        };
        Err(TlsError::Certificate {
            file: self.cert.display().to_string(),
            problem: format!(
                "{problem}, and a {kind} in a cluster with TLS needs the one URI spiffe://TRUST-DOMAIN/{kind}/NAME among its \
                 names; `countermove certs` makes such certificates"
            ),
        })
    }
}

/// Bytes of the files.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let unreadable = |problem: &dyn std::fmt::Display| TlsError::Unreadable {
        file: path.display().to_string(),
        problem: problem.to_string(),
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(unreadable(&"it is larger than 4 MiB"));
    }
    Ok(bytes)
}

fn nothing(path: &Path, what: &'static str) -> TlsError {
    TlsError::Nothing { file: path.display().to_string(), what }
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| nothing(path, "certificate"))
}

fn revocations(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| nothing(path, "revocation list"))
}

fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| nothing(path, "private key"))
}

fn roots(path: &Path, bytes: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, bytes)? {
        roots.add(certificate).map_err(|error| TlsError::Certificate {
            file: path.display().to_string(),
            problem: format!("a certificate in it is of no authority: {error}"),
        })?;
    }
    Ok(roots)
}

/// The authorities in a file.
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    roots(path, &read(path)?)
}
