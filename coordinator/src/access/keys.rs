//! Public keys of an issuer of tokens, fetched from where it publishes them.
//!
//! Contract: keys are fetched when the first token comes, and again when they are older than some minutes or a token names one
//! that is not there; however many come, there is one fetch at a time and no second one within seconds. While the issuer does
//! not answer, the keys that are known go on counting for an hour.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use countermove_proto::{Error, Outage};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Age at which keys are fetched anew.
const FRESH: Duration = Duration::from_secs(300);
/// Age up to which they count while no new ones can be had.
const STALE: Duration = Duration::from_secs(3600);
/// Time between two fetches.
const PAUSE: Duration = Duration::from_secs(5);
/// Time that an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const LONGEST: usize = 256 << 10;
/// Where an issuer says where its keys are (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    /// Where they are; absent: where the issuer says.
    at: Option<Uri>,
    /// Authorities of its certificate, as their file says them; empty: those of the web.
    ca: Vec<u8>,
    client: HttpClient,
    known: RwLock<Known>,
    fetching: Mutex<()>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Arc<[Jwk]>,
    /// When they came.
    fetched: Option<Instant>,
    /// When they were last asked for.
    tried: Option<Instant>,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

/// An address that keys may be fetched from: by TLS, or on this machine.
pub(super) fn address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| format!("{text:?} is no URL"))?;
    match uri.scheme_str() {
        Some("https") if uri.host().is_some() => Ok(uri),
        Some("http") if uri.host().is_some_and(countermove_transport::is_loopback) => Ok(uri),
        _ => Err(format!("{text:?} has to begin with https://, or to be on this machine")),
    }
}

impl Keys {
    pub(super) fn new(issuer: String, at: Option<Uri>, ca: Vec<u8>, tls: rustls::ClientConfig) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { issuer, at, ca, client, known: RwLock::default(), fetching: Mutex::default() }
    }

    /// Whether others are fetched from the same place, which proves itself in the same way.
    pub(super) fn come_from_the_same(&self, others: &Self) -> bool {
        (&self.issuer, &self.at, &self.ca) == (&others.issuer, &others.at, &others.ca)
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that a token names; or the only one that fits, if it names none.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if the issuer has no such key, [`Error::Unavailable`] if it cannot be asked.
    pub(super) async fn find(&self, named: Option<&str>, fits: impl Fn(&Jwk) -> bool) -> Result<Jwk, Error> {
        let pick = |known: &Known| {
            let counts = known.fetched.is_some_and(|at| at.elapsed() < STALE);
            let mut fitting = known.keys.iter().filter(|key| counts && signs(key) && fits(key));
            match named {
                Some(id) => fitting.find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
                None => fitting.next().filter(|_| fitting.next().is_none()).cloned(),
            }
        };
        let known = self.known();
        let is_fresh = known.fetched.is_some_and(|at| at.elapsed() < FRESH);
        if let (true, Some(key)) = (is_fresh, pick(&known)) {
            return Ok(key);
        }
        let problem = self.refresh(known.tried).await.err();
        match (pick(&self.known()), problem) {
            (Some(key), _) => Ok(key),
            (None, Some(problem)) => Err(Error::Unavailable {
                cause: Outage::Issuer,
                message: format!("the keys of {} cannot be had: {problem}", self.issuer),
                retry_after: PAUSE,
            }),
            (None, None) => {
                Err(Error::Unauthenticated(format!("{} has no key that fits the token", self.issuer)))
            }
        }
    }

    /// Fetches the keys, unless somebody has since `seen`, or just before.
    async fn refresh(&self, seen: Option<Instant>) -> Result<(), String> {
        let _one = self.fetching.lock().await;
        let tried = self.known().tried;
        if tried != seen || tried.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(());
        }
        let fetched = self.fetch().await;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.tried = Some(Instant::now());
        match fetched {
            Ok(keys) => {
                tracing::debug!(issuer = self.issuer, keys = keys.len(), "keys of an issuer were fetched");
                (known.keys, known.fetched) = (keys.into(), known.tried);
                Ok(())
            }
            Err(problem) => {
                tracing::warn!(issuer = self.issuer, problem, "keys of an issuer cannot be fetched");
                Err(problem)
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, String> {
        let at = match &self.at {
            Some(at) => at.clone(),
            None => {
                let asked = format!("{}{DISCOVERY}", self.issuer.trim_end_matches('/'));
                let found: Discovered = self.get(address(&asked)?).await?;
                if found.issuer != self.issuer {
                    return Err(format!("it says that it is {:?}", found.issuer));
                }
                address(&found.jwks_uri)?
            }
        };
        Ok(self.get::<JwkSet>(at).await?.keys)
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, from: Uri) -> Result<T, String> {
        let asked = async {
            let answer = self.client.get(from.clone()).await.map_err(|error| causes(&error))?;
            if answer.status() != StatusCode::OK {
                return Err(format!("{from} answers with {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| format!("what {from} says cannot be read: {error}"))
        };
        timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(format!("{from} does not answer")))
    }
}

/// Whether a key is for signatures.
fn signs(key: &Jwk) -> bool {
    key.common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
