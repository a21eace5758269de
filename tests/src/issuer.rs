//! An OpenID Connect provider of the test's own: it says where its keys are, signs tokens, and takes new keys.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What its tokens are for.
pub const AUDIENCE: &str = "countermove-test";

/// A running provider. Dropping it ends it.
pub struct Issuer {
    /// How it names itself.
    pub url: String,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

struct State {
    keys: Vec<Key>,
    answers: bool,
}

struct Key {
    id: String,
    pair: KeyPair,
}

/// A token that nobody may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// It ended an hour ago.
    Expired,
    /// It begins in an hour.
    NotYet,
    /// It is for somebody else.
    Audience,
    /// It says that somebody else issued it.
    Issuer,
    /// It has no signature, and says so.
    None,
    /// It is signed with the public key, as if that were a shared secret.
    PublicAsSecret,
    /// Its claims were changed after it was signed.
    Claims,
    /// Its signature was changed.
    Signature,
    /// It is signed by a key of the forger's own.
    OwnKey,
    /// It names a key that there is not.
    UnknownKey,
    /// It never ends.
    Endless,
    /// It says nothing of whom it is for.
    NoAudience,
    /// Its end is a text.
    TextualEnd,
    /// It is of nobody.
    NoSubject,
}

impl Forgery {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Expired,
        Self::NotYet,
        Self::Audience,
        Self::Issuer,
        Self::None,
        Self::PublicAsSecret,
        Self::Claims,
        Self::Signature,
        Self::OwnKey,
        Self::UnknownKey,
        Self::Endless,
        Self::NoAudience,
        Self::TextualEnd,
        Self::NoSubject,
    ];
}

impl Issuer {
    /// Starts one with a key.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("{error}"));
        let address: SocketAddr = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let url = format!("http://{address}");
        let state = Arc::new(Mutex::new(State { keys: vec![Key::new("key-1")], answers: true }));
        let serving = tokio::spawn(serve(listener, url.clone(), Arc::clone(&state)));
        Self { url, state, serving }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a new key, with which it signs from now on; the old ones are published only if they are kept.
    pub fn rotate(&self, id: &str, keep: bool) {
        self.with(|state| {
            if !keep {
                state.keys.clear();
            }
            state.keys.insert(0, Key::new(id));
        });
    }

    /// Whether it answers who asks for its keys.
    pub fn set_answers(&self, answers: bool) {
        self.with(|state| state.answers = answers);
    }

    /// The claims of a token for this subject with these groups.
    pub fn claims(&self, subject: &str, groups: &[&str]) -> Value {
        let now = now();
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": subject, "groups": groups,
            "iat": now, "nbf": now, "exp": now + 3600,
        })
    }

    /// A token that is as it should be.
    pub fn token(&self, subject: &str, groups: &[&str]) -> String {
        self.with_claims(&self.claims(subject, groups))
    }

    /// A token with these claims, well signed.
    pub fn with_claims(&self, claims: &Value) -> String {
        self.with(|state| state.keys[0].sign(&json!({"alg": "ES256", "kid": state.keys[0].id}), claims))
    }

    /// A token for this subject with these groups that nobody may take.
    pub fn forged(&self, how: Forgery, subject: &str, groups: &[&str]) -> String {
        let mut claims = self.claims(subject, groups);
        let without = |mut claims: Value, name: &str| {
            claims.as_object_mut().map(|claims| claims.remove(name));
            claims
        };
        match how {
            Forgery::Expired => claims["exp"] = json!(now() - 3600),
            Forgery::NotYet => claims["nbf"] = json!(now() + 3600),
            Forgery::Audience => claims["aud"] = json!("somebody-else"),
            Forgery::Issuer => claims["iss"] = json!("https://idp.example"),
            Forgery::Endless => claims = without(claims, "exp"),
            Forgery::NoAudience => claims = without(claims, "aud"),
            Forgery::TextualEnd => claims["exp"] = json!("9999999999"),
            Forgery::NoSubject => claims = without(claims, "sub"),
            Forgery::None => {
                return format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims));
            }
            Forgery::PublicAsSecret => {
                let message = format!("{}.{}", part(&json!({"alg": "HS256", "kid": "key-1"})), part(&claims));
                let public = self.with(|state| state.keys[0].pair.public_key_pem());
                let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
                let signature = hmac::sign(&key, message.as_bytes());
                return format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
            }
            Forgery::Claims => {
                let token = self.with_claims(&claims);
                let (head, rest) = token.split_once('.').unwrap_or_default();
                let signature = rest.split_once('.').unwrap_or_default().1;
                claims["sub"] = json!("somebody-else");
                return format!("{head}.{}.{signature}", part(&claims));
            }
            Forgery::Signature => {
                let token = self.with_claims(&claims);
                let (message, signature) = token.rsplit_once('.').unwrap_or_default();
                let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
                bytes[7] ^= 1;
                return format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes));
            }
            Forgery::OwnKey => {
                let kid = self.with(|state| state.keys[0].id.clone());
                return Key::new(&kid).sign(&json!({"alg": "ES256", "kid": kid}), &claims);
            }
            Forgery::UnknownKey => {
                return Key::new("nobody's").sign(&json!({"alg": "ES256", "kid": "nobody's"}), &claims);
            }
        }
        self.with_claims(&claims)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Key {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), pair: KeyPair::generate().unwrap_or_else(|error| panic!("{error}")) }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pair.serialize_der(), &random)
                .unwrap_or_else(|error| panic!("{error}"));
        let signature = pair.sign(&random, message.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// As it is published.
    fn public(&self) -> Value {
        // Uncompressed: 4, x, y.
        let point = self.pair.der_bytes();
        let (x, y) = point[1..].split_at(32);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": encode(x), "y": encode(y)})
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

async fn serve(listener: TcpListener, url: String, state: Arc<Mutex<State>>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let (url, state) = (url.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let mut request = Vec::new();
            let mut part = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match socket.read(&mut part).await {
                    Ok(read @ 1..) => request.extend_from_slice(&part[..read]),
                    _ => return,
                }
            }
            let (body, answers) = {
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                let body = if request.starts_with(b"GET /.well-known/openid-configuration ") {
                    json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
                } else {
                    json!({"keys": state.keys.iter().map(Key::public).collect::<Vec<_>>()})
                };
                (body.to_string(), state.answers)
            };
            let status = if answers { "200 OK" } else { "503 Service Unavailable" };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // Who asked may be gone.
            let _ = socket.write_all(answer.as_bytes()).await;
        });
    }
}
