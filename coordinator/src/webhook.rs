//! Tells another system of each approved action, so that it can be carried out there. Countermove executes nothing.
//!
//! An approval is sent as one POST with a JSON body, in the form that Standard Webhooks gives to such calls, so that receivers find a
//! library for it:
//!
//! - `webhook-id`: the same for every attempt to deliver it, so that the receiver can tell a repetition;
//! - `webhook-timestamp`: seconds since 1970 at which this attempt was made;
//! - `webhook-signature`: for each secret `v1,` and the HMAC-SHA256 (RFC 2104) of id, a full stop, timestamp, a full stop, and the
//!   body, in base64, with spaces between. Id and time are signed: a receiver that takes no id twice and nothing older than
//!   [`WINDOW`] cannot be sent an old delivery as a new one. There are two secrets while one takes the place of the other;
//! - `Content-Type: application/json`.
//!
//! The receiver answers with a status from 200 to 299 once it has taken the action on. On anything else, or on none within
//! ten seconds, it is tried again with growing pauses, [`ATTEMPTS`] times in all; redirects are not followed. What the
//! action achieved comes back through `ReportOutcome`, whoever reports it.
//!
//! Notifications ([`crate::notify`]) go out in the same way; to receivers that share no secret without a signature.
//!
//! This module makes the attempts. That a delivery outlives the process, and what became of it, is the incident's log's
//! business ([`crate::incidents`]): it says `pending` before the first attempt, and whoever owns the incident goes on until it
//! says `taken` or `failed`. So a receiver may get an action more than once, and never not at all without a word.
//!
//! Invariants: of actions only approved ones are sent; a receiver takes no thread and holds up nothing but its own deliveries; the
//! secret and the address are in no log.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{ExponentialBuilder, Retryable};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countermove_incident::Reversibility;
use countermove_proto::v1;
use countermove_wire::document::Order;
use countermove_wire::{FromDomain, document};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Uri};
use serde::Serialize;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::outside::{Outside, client, names_local};

/// Attempts to deliver an approval at most.
pub const ATTEMPTS: u32 = 10;
/// Attempts that are made at the same time, over all incidents; others wait for their turn.
const AT_ONCE: usize = 64;
/// Pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Time in which the receiver has to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Shortest secret, in bytes: as long as the hash's output asks for (RFC 2104, section 3).
const SHORTEST_SECRET: usize = 32;
/// Secrets at a time: the one that is used and the one that takes its place.
const SECRETS: usize = 2;
/// What a secret in base64 begins with.
const ENCODED: &str = "whsec_";
/// How old an attempt may be that a receiver takes.
pub const WINDOW: Duration = Duration::from_secs(300);

/// An approved action, as the receiver reads it. Fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Approval {
    /// Version of this form.
    pub version: u32,
    /// `action_approved`.
    pub event: &'static str,
    /// `incidents/{incident}`.
    pub incident: String,
    /// The step, from 0, as ReportOutcome names it.
    pub step: u32,
    /// Hash of the step that was approved.
    pub plan_hash: String,
    /// What to do.
    pub action: String,
    /// Why.
    pub explanation: String,
    /// Who approved; empty if the incident's autonomy did.
    pub approver: String,
    /// All who approved, where several had to: the one above is the last of them.
    pub approvers: Vec<String>,
    /// Whether the incident's autonomy approved it, and no person.
    pub is_automatic: bool,
    /// How well it can be taken back: `harmless`, `reversible`, `laborious` or `irreversible`.
    pub reversibility: &'static str,
    /// What it does, part by part.
    pub responses: Vec<Response>,
    /// How it is carried out, target by target, as far as the cost model says; left out where it does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Order>,
}

/// A part of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Response {
    /// `contain`, `preserve`, `analyse`, `eradicate`, `harden` or `restore`.
    pub kind: &'static str,
    /// Identifier of the nearest technique of MITRE D3FEND.
    pub d3fend: &'static str,
    /// Identifier of the nearest response action of RE&CT; left out where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub react: Option<&'static str>,
}

/// Where approvals, or notifications, go. Clones are the same.
#[derive(Clone)]
pub struct Webhook {
    receiver: Receiver,
    client: Outside,
    places: Arc<Semaphore>,
}

/// Why a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address is none.
    #[error("{0:?} is no address of a webhook; give http:// or https:// with a host")]
    Url(String),
    /// The address is one that only this machine, its link or its cloud answers.
    #[error("{0} is an address of this machine, its link or its cloud; give --allow-local if it is meant")]
    Local(String),
    /// There is no secret, or there are too many.
    #[error("it holds {0} secrets; one a line is read, and at most {SECRETS}")]
    Count(usize),
    /// A secret is not what its beginning says.
    #[error("a secret that begins with {ENCODED} has base64 behind it")]
    Encoding,
    /// The secret is too short to sign with.
    #[error("the secret has {0} bytes, and at least {SHORTEST_SECRET} are needed")]
    Secret(usize),
    /// TLS cannot be set up: a fault of the build.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A delivery that was given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undelivered {
    pub(crate) attempts: u32,
    /// Why, as the rest of a sentence.
    pub(crate) problem: String,
}

/// Where to send, and how to sign.
#[derive(Clone)]
pub struct Receiver {
    url: Uri,
    /// None: nothing is signed.
    secrets: Arc<[Vec<u8>]>,
    /// What is sent as well.
    headers: HeaderMap,
    allows_local: bool,
    first_pause: Duration,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook")
    }
}

impl std::fmt::Debug for Receiver {
    /// Without the secret, and without the address, which may hold another one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("host", &self.url.host()).finish_non_exhaustive()
    }
}

impl Receiver {
    /// A receiver at this address, which must not be local unless that is allowed. The secrets stand one a line; each is taken as
    /// it is, or from base64 where it begins with `whsec_`. White space around them does not count.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub fn new(url: &str, secrets: &str, allows_local: bool) -> Result<Self, WebhookError> {
        let receiver = Self::unsigned(url, allows_local)?;
        let lines = secrets.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets = lines.map(secret).collect::<Result<Vec<_>, _>>()?;
        if secrets.is_empty() || secrets.len() > SECRETS {
            return Err(WebhookError::Count(secrets.len()));
        }
        Ok(Self { secrets: secrets.into(), ..receiver })
    }

    /// A receiver at this address that shares no secret, so that nothing is signed.
    ///
    /// # Errors
    /// [`WebhookError::Url`], [`WebhookError::Local`].
    pub fn unsigned(url: &str, allows_local: bool) -> Result<Self, WebhookError> {
        let refused = || WebhookError::Url(url.to_owned());
        let url: Uri = url.parse().map_err(|_| refused())?;
        let named = url.host().is_some_and(|host| !host.is_empty());
        if !named || !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(refused());
        }
        if !allows_local && names_local(&url) {
            return Err(WebhookError::Local(url.host().unwrap_or_default().to_owned()));
        }
        let (secrets, headers) = (Arc::from([]), HeaderMap::new());
        Ok(Self { url, secrets, headers, allows_local, first_pause: FIRST_PAUSE })
    }

    /// With a header that is sent as well.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// What an attempt is signed with: one signature for each secret; none without a secret.
    fn signature(&self, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
        let all: Vec<String> = self.secrets.iter().map(|secret| sign(secret, id, timestamp, body)).collect();
        (!all.is_empty()).then(|| all.join(" "))
    }

    /// With another pause before the second attempt.
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }
}

impl Webhook {
    /// Sends to this receiver.
    ///
    /// # Errors
    /// [`WebhookError::Tls`].
    pub fn new(receiver: Receiver) -> Result<Self, WebhookError> {
        let client = client(receiver.allows_local)?;
        Ok(Self { receiver, client, places: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Delivers an approval under this id, and gives the number of the attempt that was taken. Dropping it stops trying.
    pub(crate) async fn deliver(&self, id: &str, approval: &Approval) -> Result<u32, Undelivered> {
        match serde_json::to_vec(approval) {
            Ok(body) => self.send(id, body.into()).await,
            Err(error) => Err(Undelivered { attempts: 0, problem: format!("it cannot be written: {error}") }),
        }
    }

    /// Delivers JSON under this id, and gives the number of the attempt that was taken. Dropping it stops trying.
    pub(crate) async fn send(&self, id: &str, body: Bytes) -> Result<u32, Undelivered> {
        let attempts = AtomicU32::new(0);
        let given_up = |problem| Undelivered { attempts: attempts.load(Ordering::Relaxed), problem };
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.receiver.first_pause)
            .with_max_delay(LONGEST_PAUSE)
            .with_factor(2.0)
            .with_max_times(ATTEMPTS as usize - 1);
        let attempt = || {
            attempts.fetch_add(1, Ordering::Relaxed);
            self.post(id, body.clone())
        };
        let sent = attempt.retry(pauses).when(|refused| !refused.is_final).await;
        match sent {
            Ok(()) => Ok(attempts.load(Ordering::Relaxed)),
            Err(Refused { reason, is_final: true }) => Err(given_up(reason)),
            Err(Refused { reason, .. }) => Err(given_up(format!("after {ATTEMPTS} attempts, {reason}"))),
        }
    }

    /// One attempt.
    async fn post(&self, id: &str, body: Bytes) -> Result<(), Refused> {
        // It is never closed.
        let _place = self.places.acquire().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut request = Request::post(&self.receiver.url)
            .header("Content-Type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.to_string());
        if let Some(signature) = self.receiver.signature(id, now, &body) {
            request = request.header("webhook-signature", signature);
        }
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.receiver.headers.clone());
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Refused { reason: format!("it cannot be written: {error}"), is_final: true })?;
        // The faults are told without the address: it may hold a token.
        let passing = |reason: &str| Refused { reason: reason.to_owned(), is_final: false };
        match timeout(ANSWER, self.client.request(request)).await {
            Err(_) => Err(passing(&format!("it did not answer within {} s", ANSWER.as_secs()))),
            Ok(Err(error)) if error.is_connect() => Err(passing("it could not be reached")),
            Ok(Err(_)) => Err(passing("the connection broke before it answered")),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(Refused::by(answer.status().as_u16())),
        }
    }
}

/// Why a receiver did not take a delivery.
#[derive(Debug)]
struct Refused {
    reason: String,
    /// It will never take it.
    is_final: bool,
}

impl Refused {
    fn by(status: u16) -> Self {
        // 408, 425 and 429 ask for patience.
        let is_final = (400..500).contains(&status) && ![408, 425, 429].contains(&status);
        Self { reason: format!("it answered with status {status}"), is_final }
    }
}

/// How well an action can be taken back, in the word that receivers read.
pub(crate) fn reversibility(action: &str) -> &'static str {
    document::Reversibility::from(v1::Reversibility::from_domain(Reversibility::of(action))).word()
}

/// Says so in the log if others than its owner can read a file with a secret.
pub(crate) fn warn_if_open(file: &Path) {
    if std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        tracing::warn!(file = %file.display(), "others can read this secret: chmod 600 it");
    }
}

/// A secret as a line has it.
fn secret(line: &str) -> Result<Vec<u8>, WebhookError> {
    let secret = match line.strip_prefix(ENCODED) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| WebhookError::Encoding)?,
        None => line.as_bytes().to_vec(),
    };
    if secret.len() < SHORTEST_SECRET {
        return Err(WebhookError::Secret(secret.len()));
    }
    Ok(secret)
}

/// The signature, under one secret, of a body that is sent under this id at this time.
pub fn sign(secret: &[u8], id: &str, timestamp: u64, body: &[u8]) -> String {
    let mut signature = "v1,".to_owned();
    // HMAC takes a key of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        STANDARD.encode_string(mac.finalize().into_bytes(), &mut signature);
    }
    signature
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NEXT_SECRET: [u8; 32] = [7; 32];

    /// RFC 4231, test case 2, and a signature that was made with Python's hmac module.
    #[test]
    fn signatures_are_those_of_other_implementations() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let digest = hex::encode(mac.finalize().into_bytes());
        assert_eq!(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let expected = "v1,ge/IGU2/SsWETLzADqwjG4vwwYgN08f6z/G3L5yRHIA=";
        assert_eq!(sign(SECRET.as_bytes(), "msg_1", 1_700_000_000, b"{\"step\":0}"), expected);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_the_secret_is_never_shown() {
        for url in ["", "ftp://a", "http://", "https:///x", "http://a b", "example.com", "/x", "http://:1"] {
            assert!(matches!(Receiver::new(url, SECRET, true), Err(WebhookError::Url(_))), "{url}");
        }
        let with = |secrets: &str| Receiver::new("http://a", secrets, false);
        assert!(matches!(with("short\n"), Err(WebhookError::Secret(5))));
        assert!(matches!(with(" \n"), Err(WebhookError::Count(0))));
        assert!(matches!(with(&format!("{SECRET}\n").repeat(3)), Err(WebhookError::Count(3))));
        assert!(matches!(with("whsec_###"), Err(WebhookError::Encoding)));
        assert!(matches!(with("whsec_AAAA"), Err(WebhookError::Secret(3))));
        for local in ["http://127.0.0.1:9/", "https://[::1]/", "http://169.254.169.254/latest"] {
            assert!(matches!(Receiver::new(local, SECRET, false), Err(WebhookError::Local(_))), "{local}");
            assert!(Receiver::new(local, SECRET, true).is_ok());
        }
        let receiver = Receiver::new("http://a", SECRET, false).unwrap();
        assert!(!format!("{receiver:?}").contains(SECRET));
        let keyed = Receiver::new("https://me:key1@soar.example/hook?token=key2", SECRET, false).unwrap();
        let shown = format!("{keyed:?}");
        assert!(shown.contains("soar.example") && !shown.contains("key"), "{shown}");
    }

    fn approval() -> Approval {
        Approval {
            version: 1,
            event: "action_approved",
            incident: "incidents/x".into(),
            step: 0,
            plan_hash: "ab".repeat(32),
            action: "Isolate 10.0.2.13".into(),
            explanation: String::new(),
            approver: "ann".into(),
            approvers: vec!["ann".into()],
            is_automatic: false,
            reversibility: "reversible",
            responses: vec![Response { kind: "contain", d3fend: "D3-NI", react: Some("RA3102") }],
            orders: Vec::new(),
        }
    }

    /// Head and body of a request.
    type Request = (String, Vec<u8>);

    /// Serves one request for each of these statuses, and gives the heads and bodies.
    fn serve(statuses: &'static [u16]) -> (String, std::thread::JoinHandle<Vec<Request>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let one = |status: &u16| {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    reader.read_line(&mut head).unwrap();
                }
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
                });
                let mut body = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut body).unwrap();
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
                (head, body)
            };
            statuses.iter().map(one).collect()
        });
        (url, served)
    }

    fn webhook(url: &str) -> Webhook {
        let secrets = format!("{SECRET}\nwhsec_{}\n", STANDARD.encode(NEXT_SECRET));
        let receiver = Receiver::new(url, &secrets, true).unwrap();
        Webhook::new(receiver.with_first_pause(Duration::from_millis(1))).unwrap()
    }

    async fn deliver(url: &str) -> Result<u32, Undelivered> {
        webhook(url).deliver("incidents/x/steps/0/ab", &approval()).await
    }

    #[tokio::test]
    async fn a_delivery_is_signed_and_tried_again_until_it_is_taken() {
        let (url, served) = serve(&[500, 429, 204]);
        assert_eq!(deliver(&url).await, Ok(3));
        let requests = served.join().unwrap();
        let header = |head: &str, name: &str| {
            let line = head
                .lines()
                .find_map(|line| line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)));
            line.unwrap().1.trim().to_owned()
        };
        for (head, body) in &requests {
            let (id, timestamp) = (header(head, "webhook-id"), header(head, "webhook-timestamp"));
            let signed = |secret: &[u8]| sign(secret, &id, timestamp.parse().unwrap(), body);
            let expected = format!("{} {}", signed(SECRET.as_bytes()), signed(&NEXT_SECRET));
            assert_eq!(header(head, "webhook-signature"), expected, "under both secrets");
            assert_eq!(id, header(&requests[0].0, "webhook-id"));
            let told: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(
                (&told["action"], &told["responses"][0]["d3fend"]),
                (&"Isolate 10.0.2.13".into(), &"D3-NI".into())
            );
        }
    }

    #[tokio::test]
    async fn a_receiver_that_refuses_is_not_asked_again() {
        let (url, served) = serve(&[403]);
        let problem = "it answered with status 403".to_owned();
        assert_eq!(deliver(&url).await, Err(Undelivered { attempts: 1, problem }));
        assert_eq!(served.join().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (elsewhere, asked) = serve(&[200]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut seen = [0; 4096];
                let _ = stream.read(&mut seen);
                let answer = format!(
                    "HTTP/1.1 307 x\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let refused = deliver(&url).await.unwrap_err();
        assert!(refused.problem.contains("status 307"), "{refused:?}");
        assert!(!asked.is_finished(), "nobody called there");
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_called() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let receiver = Receiver::new(&url, SECRET, false).unwrap().with_first_pause(Duration::from_millis(1));
        let refused = Webhook::new(receiver).unwrap().deliver("x", &approval()).await.unwrap_err();
        assert!(refused.problem.contains("could not be reached"), "{refused:?}");
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody called");
    }

    #[tokio::test]
    async fn a_receiver_that_is_not_there_is_said() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let problem = format!("after {ATTEMPTS} attempts, it could not be reached");
        assert_eq!(
            deliver(&format!("http://{free}/")).await,
            Err(Undelivered { attempts: ATTEMPTS, problem })
        );
    }

    /// However many receivers hang, they take no thread: this runtime has one, and no other to give away.
    #[tokio::test(flavor = "current_thread")]
    async fn receivers_that_never_answer_take_no_thread() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let webhook = webhook(&format!("http://{}/", listener.local_addr().unwrap()));
        let hanging: Vec<_> = (0..20)
            .map(|_| {
                let webhook = webhook.clone();
                tokio::spawn(async move { webhook.deliver("x", &approval()).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = tokio::time::Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(2), tokio::task::spawn_blocking(|| 7)).await;
        assert_eq!(answer.unwrap().unwrap(), 7);
        assert!(begun.elapsed() < Duration::from_secs(1) && hanging.iter().all(|task| !task.is_finished()));
        hanging.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
