//! Whose certificate is taken: what TLS checks of a chain, and then the id.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use crate::spiffe::{Kind, SpiffeId};

/// Takes servers that are members of the cluster of `own` and of this kind, whatever their address: a SPIFFE id is who they are.
#[derive(Debug)]
pub(crate) struct MemberServer {
    pub(crate) roots: Arc<RootCertStore>,
    /// Knows what was revoked.
    pub(crate) revocation: Option<Arc<WebPkiServerVerifier>>,
    pub(crate) kind: Kind,
    pub(crate) own: SpiffeId,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for MemberServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        if let Some(revocation) = &self.revocation {
            // It looks at the address after the chain, and who a member is does not follow from that.
            let by_address = |error: &Error| {
                use CertificateError::{NotValidForName, NotValidForNameContext};
                matches!(error, Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
            };
            let verified = revocation.verify_server_cert(end_entity, intermediates, name, ocsp, now);
            if let Some(error) = verified.err().filter(|error| !by_address(error)) {
                return Err(error);
            }
        }
        check_member(end_entity, self.kind, &self.own)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes clients that are members of the cluster of `own` and of this kind. `chain` checks all but that.
#[derive(Debug)]
pub(crate) struct MemberClient {
    pub(crate) chain: Arc<dyn ClientCertVerifier>,
    pub(crate) kind: Kind,
    pub(crate) own: SpiffeId,
}

impl ClientCertVerifier for MemberClient {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        check_member(end_entity, self.kind, &self.own)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn check_member(certificate: &CertificateDer<'_>, kind: Kind, own: &SpiffeId) -> Result<(), Error> {
    let found = SpiffeId::of(certificate);
    if found.as_ref().is_some_and(|found| found.is_member(kind, own)) {
        return Ok(());
    }
    let who = found.map_or_else(|| "nobody by a SPIFFE id".to_owned(), |found| found.to_string());
    tracing::warn!(certificate = who, needed = %kind, trust_domain = own.trust_domain(), "a certificate is refused");
    Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
}
