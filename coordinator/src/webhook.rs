//! Tells another system of each approved action, so that it can be carried out there. Countermove executes nothing.
//!
//! An approval is sent as one POST with a JSON body and four headers:
//!
//! - `Countermove-Delivery`: the same for every attempt to deliver it, so that the receiver can tell a repetition;
//! - `Countermove-Timestamp`: seconds since 1970 at which this attempt was made;
//! - `Countermove-Signature`: `sha256=` and the hexadecimal HMAC-SHA256 (RFC 2104) of timestamp, a full stop, and the body,
//!   under the shared secret. The timestamp is signed, so an old delivery cannot be sent again as a new one;
//! - `Content-Type: application/json`.
//!
//! The receiver answers with a status from 200 to 299 once it has taken the action on. On anything else, or on none within
//! ten seconds, it is tried again with growing pauses, [`ATTEMPTS`] times in all; redirects are not followed. The
//! incident's log says how it ended. What the action achieved comes back through `ReportOutcome`, whoever reports it.
//!
//! Invariants: only approved actions are sent; planning never waits for a receiver; the secret is in no log.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;
use tokio::sync::mpsc;

/// Attempts to deliver an approval at most.
pub const ATTEMPTS: u32 = 5;
/// Approvals that wait for delivery at most; what comes beyond that is not sent, and the incident says so.
const QUEUE: usize = 256;
/// Pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Time in which the receiver has to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Shortest secret, in bytes: as long as the hash's output asks for (RFC 2104, section 3).
const SHORTEST_SECRET: usize = 32;

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
    /// Whether the incident's autonomy approved it, and no person.
    pub is_automatic: bool,
    /// How well it can be taken back: `harmless`, `reversible`, `laborious` or `irreversible`.
    pub reversibility: String,
    /// Kinds of response that it tells, with the technique of MITRE D3FEND nearest to each.
    pub responses: Vec<Response>,
}

/// A kind of response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Response {
    /// `contain`, `preserve`, `analyse`, `eradicate`, `harden` or `restore`.
    pub kind: &'static str,
    /// Identifier of the technique of MITRE D3FEND.
    pub d3fend: &'static str,
}

/// Where approvals go. Clones are the same.
#[derive(Clone)]
pub struct Webhook {
    queue: mpsc::Sender<Delivery>,
}

/// Why a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The address is none.
    #[error("{0:?} is no address of a webhook; give http:// or https:// with a host")]
    Url(String),
    /// The secret is too short to sign with.
    #[error("the secret has {0} bytes, and at least {SHORTEST_SECRET} are needed")]
    Secret(usize),
}

struct Delivery {
    approval: Approval,
    /// Where sentences about it go: the incident's log.
    notices: mpsc::Sender<String>,
}

/// Where to send, and how to sign.
#[derive(Clone)]
pub struct Receiver {
    url: String,
    secret: Arc<[u8]>,
    first_pause: Duration,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook")
    }
}

impl std::fmt::Debug for Receiver {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Receiver {
    /// A receiver at this address. White space around the secret does not count.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub fn new(url: &str, secret: &str) -> Result<Self, WebhookError> {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let named = host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'));
        if !named || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(WebhookError::Url(url.to_owned()));
        }
        let secret = secret.trim().as_bytes();
        if secret.len() < SHORTEST_SECRET {
            return Err(WebhookError::Secret(secret.len()));
        }
        Ok(Self { url: url.to_owned(), secret: secret.into(), first_pause: FIRST_PAUSE })
    }

    /// With another pause before the second attempt.
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }

    /// Starts to deliver. Has to be called on a runtime.
    pub fn start(self) -> Webhook {
        let (queue, mut deliveries) = mpsc::channel::<Delivery>(QUEUE);
        tokio::spawn(async move {
            while let Some(Delivery { approval, notices }) = deliveries.recv().await {
                // Each has a task of its own, so that one that is tried again holds up no other.
                let receiver = self.clone();
                tokio::spawn(async move {
                    let step = approval.step + 1;
                    let sentence = match receiver.deliver(approval).await {
                        Ok(attempts) => {
                            format!("The webhook took the action of step {step} (attempt {attempts}).")
                        }
                        Err(fault) => format!("The webhook did not take the action of step {step}: {fault}."),
                    };
                    tracing::info!(%sentence, "webhook");
                    // An incident that has ended meanwhile reads nothing any more.
                    let _ = notices.send(sentence).await;
                });
            }
        });
        Webhook { queue }
    }

    async fn deliver(&self, approval: Approval) -> Result<u32, String> {
        let body = serde_json::to_vec(&approval).map_err(|error| format!("it cannot be written: {error}"))?;
        let delivery = format!("{}/steps/{}/{}", approval.incident, approval.step, approval.plan_hash);
        let mut pause = self.first_pause;
        let mut fault = String::new();
        for attempt in 1..=ATTEMPTS {
            if attempt > 1 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let (receiver, body, delivery) = (self.clone(), body.clone(), delivery.clone());
            match tokio::task::spawn_blocking(move || receiver.post(&delivery, &body)).await {
                Ok(Ok(())) => return Ok(attempt),
                Ok(Err(Refused { reason, is_final })) => {
                    fault = reason;
                    if is_final {
                        return Err(fault);
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("after {ATTEMPTS} attempts, {fault}"))
    }

    fn post(&self, delivery: &str, body: &[u8]) -> Result<(), Refused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let agent = ureq::AgentBuilder::new().timeout(ANSWER).redirects(0).build();
        let sent = agent
            .post(&self.url)
            .set("Content-Type", "application/json")
            .set("Countermove-Delivery", delivery)
            .set("Countermove-Timestamp", &now.to_string())
            .set("Countermove-Signature", &sign(&self.secret, now, body))
            .send_bytes(body);
        match sent {
            Ok(answer) if (200..300).contains(&answer.status()) => Ok(()),
            Ok(answer) => Err(Refused::by(answer.status())),
            Err(ureq::Error::Status(status, _)) => Err(Refused::by(status)),
            Err(ureq::Error::Transport(fault)) => {
                // The address is left out: it may hold a token.
                Err(Refused {
                    reason: format!("it could not be reached ({})", fault.kind()),
                    is_final: false,
                })
            }
        }
    }
}

impl Webhook {
    /// Sends an approval. Sentences about how it went come to `notices`.
    pub(crate) async fn send(&self, approval: Approval, notices: mpsc::Sender<String>) {
        let step = approval.step + 1;
        if let Err(refused) = self.queue.try_send(Delivery { approval, notices }) {
            let notices = match refused {
                mpsc::error::TrySendError::Full(delivery) | mpsc::error::TrySendError::Closed(delivery) => {
                    delivery.notices
                }
            };
            let _ = notices.try_send(format!(
                "The webhook did not get the action of step {step}: {QUEUE} others wait to be delivered."
            ));
        }
    }
}

/// Why a receiver did not take a delivery.
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

/// The signature of a body that is sent at this time.
pub fn sign(secret: &[u8], timestamp: u64, body: &[u8]) -> String {
    use std::fmt::Write;

    let mut signature = "sha256=".to_owned();
    // HMAC takes a key of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
        mac.update(timestamp.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            // Writing to a string cannot fail.
            let _ = write!(signature, "{byte:02x}");
        }
    }
    signature
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    /// RFC 4231, test case 2, and a signature that was made with Python's hmac module.
    #[test]
    fn signatures_are_those_of_other_implementations() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let expected = "sha256=cb03fb82de6400915f71fbd982b846f648b23cb2c13b2d1843af6461627ab6e9";
        assert_eq!(sign(SECRET.as_bytes(), 1_700_000_000, b"{\"step\":0}"), expected);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_the_secret_is_never_shown() {
        for url in ["", "ftp://a", "http://", "https:///x", "http://a b", "example.com"] {
            assert!(matches!(Receiver::new(url, SECRET), Err(WebhookError::Url(_))), "{url}");
        }
        assert!(matches!(Receiver::new("http://a", "short\n"), Err(WebhookError::Secret(5))));
        let receiver = Receiver::new("http://a", SECRET).unwrap();
        assert!(!format!("{receiver:?}").contains(SECRET));
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
            is_automatic: false,
            reversibility: "reversible".into(),
            responses: vec![Response { kind: "contain", d3fend: "D3-NI" }],
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

    async fn deliver(url: &str) -> String {
        let receiver = Receiver::new(url, SECRET).unwrap().with_first_pause(Duration::from_millis(1));
        let (sender, mut notices) = mpsc::channel(4);
        receiver.start().send(approval(), sender).await;
        notices.recv().await.unwrap()
    }

    #[tokio::test]
    async fn a_delivery_is_signed_and_tried_again_until_it_is_taken() {
        let (url, served) = serve(&[500, 429, 204]);
        assert_eq!(deliver(&url).await, "The webhook took the action of step 1 (attempt 3).");
        let requests = served.join().unwrap();
        let header = |head: &str, name: &str| {
            let line = head
                .lines()
                .find_map(|line| line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)));
            line.unwrap().1.trim().to_owned()
        };
        for (head, body) in &requests {
            let timestamp = header(head, "countermove-timestamp").parse().unwrap();
            assert_eq!(header(head, "countermove-signature"), sign(SECRET.as_bytes(), timestamp, body));
            assert_eq!(header(head, "countermove-delivery"), header(&requests[0].0, "countermove-delivery"));
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
        assert!(
            deliver(&url).await.contains("did not take the action of step 1: it answered with status 403")
        );
        assert_eq!(served.join().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_receiver_that_is_not_there_is_said() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let told = deliver(&format!("http://{free}/")).await;
        assert!(told.contains("after 5 attempts, it could not be reached"), "{told}");
    }
}
