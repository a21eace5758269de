//! TLS of a process that serves: its own certificate, and whom it takes at either end. All of it is renewed from the files
//! while the process runs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

use crate::files::{Contents, Keys, TlsError, TlsFiles};
use crate::spiffe::{Kind, SpiffeId};
use crate::verify::{MemberClient, MemberServer};
use crate::{ALPN, VERSIONS, provider};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What connections are made and taken with. Clones are the same, and see new certificates together.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: TlsFiles,
    kind: Kind,
    current: RwLock<Current>,
}

/// What is in force.
#[derive(Clone, Debug)]
struct Current {
    server: Arc<ServerConfig>,
    /// For connections to members; absent without an authority to know them by.
    member: Option<Arc<Member>>,
}

#[derive(Debug)]
struct Member {
    id: SpiffeId,
    to_workers: Arc<ClientConfig>,
    to_coordinators: Arc<ClientConfig>,
}

impl Current {
    fn new(files: &TlsFiles, kind: Kind, keys: &Keys) -> Result<Self, TlsError> {
        let Some(roots) = &keys.roots else {
            let server = server(keys, None)?;
            return Ok(Self { server, member: None });
        };
        let id = files.member(keys, kind)?;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
            .with_crls(keys.revoked.iter().cloned());
        let refused = |error: rustls::server::VerifierBuilderError| TlsError::Certificate {
            file: files.crl.as_deref().or(files.ca.as_deref()).unwrap_or(&files.cert).display().to_string(),
            problem: error.to_string(),
        };
        let verifier: Arc<dyn rustls::server::danger::ClientCertVerifier> = match kind {
            // People come with a token, and may come without a certificate.
            Kind::Coordinator => chain.allow_unauthenticated().build().map_err(refused)?,
            Kind::Worker => Arc::new(MemberClient {
                chain: chain.build().map_err(refused)?,
                kind: Kind::Coordinator,
                own: id.clone(),
            }),
        };
        let revocation = if keys.revoked.is_empty() {
            None
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider());
            Some(verifier.with_crls(keys.revoked.iter().cloned()).build().map_err(refused)?)
        };
        let client = |kind| {
            let verifier = MemberServer {
                roots: Arc::clone(roots),
                revocation: revocation.clone(),
                kind,
                own: id.clone(),
                algorithms: provider().signature_verification_algorithms,
            };
            let config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(VERSIONS)?
                // What rustls calls dangerous is checking less; this checks the chain as it does, and the id besides.
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier));
            let mut config =
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&keys.own))));
            config.alpn_protocols = vec![ALPN.to_vec()];
            config.resumption = rustls::client::Resumption::disabled();
            Ok::<_, TlsError>(Arc::new(config))
        };
        let (to_workers, to_coordinators) = (client(Kind::Worker)?, client(Kind::Coordinator)?);
        let member = Some(Arc::new(Member { id, to_workers, to_coordinators }));
        Ok(Self { server: server(keys, Some(verifier))?, member })
    }
}

fn server(
    keys: &Keys,
    clients: Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS)?;
    let config = match clients {
        Some(verifier) => config.with_client_cert_verifier(verifier),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&keys.own))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed connection would be one whose certificate is not looked at again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

impl Tls {
    /// TLS with the certificates in these files, for a process of this kind. With an authority the process is a member of a
    /// cluster, and its certificate has to bear an id that says so.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(files: TlsFiles, kind: Kind) -> Result<Self, TlsError> {
        let current = Current::new(&files, kind, &files.load()?)?;
        Ok(Self(Arc::new(Inner { files, kind, current: RwLock::new(current) })))
    }

    fn current(&self) -> Current {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The id of this process, if it is a member of a cluster.
    pub fn id(&self) -> Option<SpiffeId> {
        self.current().member.as_ref().map(|member| member.id.clone())
    }

    /// What a connection that comes now is taken with.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.current().server
    }

    /// What a connection to a member of this kind is made with; `None` without an authority to know one by.
    pub fn client(&self, of: Kind) -> Option<Arc<ClientConfig>> {
        let member = self.current().member?;
        Some(Arc::clone(match of {
            Kind::Worker => &member.to_workers,
            Kind::Coordinator => &member.to_coordinators,
        }))
    }

    /// Takes what the files hold now.
    ///
    /// # Errors
    /// See [`TlsError`]; what was in force stays so then.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.take(&self.0.files.read()?)
    }

    fn take(&self, contents: &Contents) -> Result<(), TlsError> {
        let keys = self.0.files.load_from(contents)?;
        let current = Current::new(&self.0.files, self.0.kind, &keys)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// Takes what the files hold whenever that changes. Never ends. What cannot be used is said in the log, once, and changes
    /// nothing; so is a certificate that does not fit its key, which is what is seen between the writing of one and the other.
    pub async fn follow(self) {
        let mut known = self.0.files.read().ok();
        let mut problem = String::new();
        loop {
            tokio::time::sleep(LOOK).await;
            let contents = match self.0.files.read() {
                Ok(contents) if known.as_ref() == Some(&contents) => continue,
                Ok(contents) => contents,
                Err(error) => {
                    said(&mut problem, &error);
                    continue;
                }
            };
            match self.take(&contents) {
                Ok(()) => {
                    tracing::info!(certificate = %self.0.files.cert.display(), "new certificates are in use");
                    problem.clear();
                }
                Err(error) => said(&mut problem, &error),
            }
            known = Some(contents);
        }
    }
}

/// Says it, unless that was said last.
fn said(problem: &mut String, error: &TlsError) {
    let text = error.to_string();
    if *problem != text {
        tracing::error!(error = text, "new certificates cannot be used; the old ones stay in use");
        *problem = text;
    }
}
