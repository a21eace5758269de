//! Tokens of an OpenID Connect provider: JSON web tokens (RFC 7519), signed by its keys.
//!
//! Invariants: the algorithm is one of those that the operator allows, and fits the key; a token has an issuer, an audience, a
//! subject and an end, and each is looked at.

use countermove_proto::Error;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::caller::Principal;
use super::grants::Grants;
use super::keys::Keys;

/// Longest token, in bytes.
const LONGEST: usize = 8 << 10;
/// Longest name of a subject, in bytes.
const LONGEST_SUBJECT: usize = 256;

/// Somebody whose tokens are taken.
pub(super) struct Issuer {
    /// As it names itself in its tokens.
    pub(super) url: String,
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    /// The claim that names the groups of a subject.
    pub(super) groups: String,
    /// How far its clock may be from ours, in seconds.
    pub(super) leeway: u64,
    pub(super) keys: Arc<Keys>,
    /// What its subjects and groups may do.
    pub(super) rules: Vec<Rule>,
}

/// What a subject, or a group, of an issuer may do.
pub(super) struct Rule {
    pub(super) whose: Whose,
    pub(super) grants: Grants,
}

pub(super) enum Whose {
    Subject(String),
    Group(String),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    #[serde(flatten)]
    more: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Unproven {
    iss: String,
}

/// Whether a token looks like one of these: three parts.
pub(super) fn looks_like_one(token: &str) -> bool {
    token.bytes().filter(|&byte| byte == b'.').count() == 2
}

/// Whose token this is.
///
/// # Errors
/// [`Error::Unauthenticated`] with what is wrong, [`Error::Unavailable`] if the issuer's keys cannot be had.
pub(super) async fn authenticate(issuers: &[Issuer], token: &str) -> Result<Principal, Error> {
    let refused = |why: &str| Error::Unauthenticated(format!("the token cannot be used: {why}"));
    if token.len() > LONGEST {
        return Err(refused("it is longer than 8 KiB"));
    }
    // Who it says it is of chooses whose keys have to prove it.
    let unproven: Unproven = insecure_decode_claims(token).map_err(|_| refused("it is no JSON web token"))?;
    let issuer = issuers.iter().find(|issuer| issuer.url == unproven.iss);
    issuer.ok_or_else(|| refused("its issuer is not known here"))?.authenticate(token).await
}

impl Issuer {
    async fn authenticate(&self, token: &str) -> Result<Principal, Error> {
        let refused = |why: &str| Error::Unauthenticated(format!("the token cannot be used: {why}"));
        let header =
            decode_header(token).map_err(|_| refused("its header names no algorithm that is taken"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(refused("its algorithm is not taken of this issuer"));
        }
        if header.crit.is_some() {
            return Err(refused("it asks for extensions that are not known"));
        }
        let key = self.keys.find(header.kid.as_deref(), |key| fits(key, header.alg)).await?;
        let key = DecodingKey::from_jwk(&key).map_err(|_| refused("its key is of no use"))?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = self.leeway;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.url]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let Claims { sub, exp, more } =
            decode::<Claims>(token, &key, &validation).map_err(|error| refused(&plain(&error)))?.claims;
        if sub.is_empty() || sub.len() > LONGEST_SUBJECT || sub.chars().any(char::is_control) {
            return Err(refused("its subject is no name"));
        }
        let expires =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp.saturating_add(self.leeway)));
        Ok(Principal {
            grants: self.grants(&sub, more.get(&self.groups)),
            name: format!("{}|{sub}", self.url),
            expires,
            token: None,
        })
    }

    /// What a subject with these groups may do.
    fn grants(&self, subject: &str, groups: Option<&Value>) -> Grants {
        let groups: Vec<&str> = match groups {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(group)) => vec![group],
            _ => Vec::new(),
        };
        let mut grants = Grants::default();
        for rule in &self.rules {
            let is_for_it = match &rule.whose {
                Whose::Subject(named) => named == subject,
                Whose::Group(group) => groups.contains(&group.as_str()),
            };
            if is_for_it {
                grants.extend(&rule.grants);
            }
        }
        grants
    }
}

/// Whether a key may have signed by this algorithm: it is of its family, and says no other.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let says = key.common.key_algorithm;
    let says_it = says.is_none_or(|says| Algorithm::try_from(says).is_ok_and(|says| says == algorithm));
    says_it && DecodingKey::from_jwk(key).is_ok_and(|key| key.family() == algorithm.family())
}

/// What is wrong with a token, in our words.
fn plain(error: &jsonwebtoken::errors::Error) -> String {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "it has expired".to_owned(),
        ErrorKind::ImmatureSignature => "it is not valid yet".to_owned(),
        ErrorKind::InvalidSignature => "its signature is wrong".to_owned(),
        ErrorKind::InvalidAudience => "it is for somebody else".to_owned(),
        ErrorKind::InvalidIssuer => "it is of another issuer".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it does not say {claim}"),
        _ => "it is malformed".to_owned(),
    }
}
