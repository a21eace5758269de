//! SPIFFE ids: who a certificate says that its holder is.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// Longest id, in bytes, as the SPIFFE standard has it.
const LONGEST: usize = 2048;
/// Longest trust domain.
const LONGEST_DOMAIN: usize = 255;

/// What a process of the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It takes incidents in and plans them.
    Coordinator,
    /// It holds the model.
    Worker,
}

impl Kind {
    /// First part of the path of an id of this kind.
    fn folder(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

/// A name of the form `spiffe://trust-domain/path`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: String,
    /// Length of the trust domain.
    domain: usize,
}

/// Why a text is no SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SPIFFE id, which is written spiffe://trust-domain/path")]
pub struct ParseSpiffeError(String);

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// The id in a certificate: the one URI among its names. A certificate with none, or with more than one, names nobody.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_uri_names();
        let only = names.next().filter(|_| names.next().is_none())?;
        only.parse().ok()
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who vouches for it.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..SCHEME.len() + self.domain]
    }

    fn path(&self) -> &str {
        &self.text[SCHEME.len() + self.domain..]
    }

    /// What process of a cluster it names, if it names one.
    pub fn kind(&self) -> Option<Kind> {
        let mut parts = self.path().split('/').skip(1);
        let (folder, name) = (parts.next()?, parts.next()?);
        [Kind::Coordinator, Kind::Worker].into_iter().find(|kind| kind.folder() == folder && !name.is_empty())
    }

    /// Whether it names a process of this kind in the cluster that the other one is part of.
    pub fn is_member(&self, kind: Kind, of: &Self) -> bool {
        self.kind() == Some(kind) && self.trust_domain() == of.trust_domain()
    }
}

impl FromStr for SpiffeId {
    type Err = ParseSpiffeError;

    fn from_str(text: &str) -> Result<Self, ParseSpiffeError> {
        let refused = || ParseSpiffeError(text.chars().take(100).collect());
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= LONGEST).ok_or_else(refused)?;
        let domain = rest.find('/').unwrap_or(rest.len());
        let (name, path) = rest.split_at(domain);
        let is_domain = (1..=LONGEST_DOMAIN).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        };
        let is_path = path.is_empty() || path.split('/').skip(1).all(is_part);
        if !is_domain || !is_path {
            return Err(refused());
        }
        Ok(Self { text: text.to_owned(), domain })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_has_a_trust_domain_and_may_name_a_member() {
        let worker = id("spiffe://example.org/worker/gpu-1");
        assert_eq!((worker.trust_domain(), worker.kind()), ("example.org", Some(Kind::Worker)));
        assert_eq!(id("spiffe://example.org/coordinator/a/b").kind(), Some(Kind::Coordinator));
        for nobody in [
            "spiffe://example.org",
            "spiffe://example.org/worker",
            "spiffe://example.org/workers/a",
            "spiffe://worker/a",
            "spiffe://example.org/user/worker",
        ] {
            assert_eq!(id(nobody).kind(), None, "{nobody}");
        }
    }

    #[test]
    fn a_member_is_of_the_same_trust_domain() {
        let own = id("spiffe://a/worker/1");
        assert!(id("spiffe://a/coordinator/1").is_member(Kind::Coordinator, &own));
        assert!(!id("spiffe://b/coordinator/1").is_member(Kind::Coordinator, &own));
        assert!(!id("spiffe://a/worker/2").is_member(Kind::Coordinator, &own));
    }

    #[test]
    fn what_the_standard_forbids_is_no_id() {
        for bad in [
            "",
            "https://example.org/worker/a",
            "SPIFFE://example.org/worker/a",
            "spiffe:///worker/a",
            "spiffe://Example.org/worker/a",
            "spiffe://example.org:443/worker/a",
            "spiffe://me@example.org/worker/a",
            "spiffe://example.org/worker/a/",
            "spiffe://example.org//worker/a",
            "spiffe://example.org/worker/../coordinator/a",
            "spiffe://example.org/worker/%61",
            "spiffe://example.org/worker/a?x=1",
            "spiffe://example.org/worker/a#x",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
        assert!(format!("spiffe://a/{}", "x".repeat(3000)).parse::<SpiffeId>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,80}") {
            let _ = text.parse::<SpiffeId>();
            let _ = format!("spiffe://{text}").parse::<SpiffeId>().map(|id| id.kind());
        }

        #[test]
        fn what_is_one_comes_back(domain in "[a-z0-9._-]{1,20}", parts in proptest::collection::vec("[a-zA-Z0-9_-]{1,8}", 0..4)) {
            let text = format!("spiffe://{domain}{}", parts.iter().map(|part| format!("/{part}")).collect::<String>());
            let id = text.parse::<SpiffeId>().unwrap();
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(id.trust_domain(), &domain);
        }
    }
}
