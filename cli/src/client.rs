//! The connection to a coordinator.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countermove_proto::v1::access_service_client::AccessServiceClient;
use countermove_proto::v1::audit_service_client::AuditServiceClient;
use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::{Error, MAX_EVIDENCE_MESSAGE_BYTES, RequestId};
use countermove_transport::{ClientTls, Dial};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::args::{COORDINATOR_VARIABLE, DEFAULT_COORDINATOR, Remote};
use crate::failure::Failure;
use crate::render::one_line;

/// Variable that may hold the caller's token.
const TOKEN_VARIABLE: &str = "COUNTERMOVE_TOKEN";

/// Time for the connection to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// Time for a call that answers at once.
pub(crate) const CALL: Duration = Duration::from_secs(30);

/// A coordinator that can be called, or several that share a store: where one cannot be reached, the next is called. Clones share the
/// connections and know which one answered last.
#[derive(Clone, Debug)]
pub struct Coordinator {
    urls: Arc<[String]>,
    channels: Arc<[Channel]>,
    current: Arc<AtomicUsize>,
    credentials: Credentials,
    /// Whether the caller shows who it is, by a token or a certificate.
    is_known: bool,
    /// The incident that calls are about.
    about: Option<Arc<str>>,
}

/// The way that calls go: over a connection, with the caller's token.
pub type Line = InterceptedService<Channel, Credentials>;

/// The caller's token, if it has one, in the form in which it goes with each call.
#[derive(Clone, Default)]
pub struct Credentials(Option<MetadataValue<Ascii>>);

impl std::fmt::Debug for Credentials {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Credentials(a token)" } else { "Credentials(none)" })
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Credentials {
    /// The token in the file, or in the environment.
    fn read(file: Option<&Path>) -> Result<Self, Failure> {
        let token = match file {
            Some(path) => std::fs::read_to_string(path).map_err(|error| Failure::unreadable(path, &error))?,
            None => std::env::var(TOKEN_VARIABLE).unwrap_or_default(),
        };
        let token = token.trim();
        if token.is_empty() {
            return match file {
                Some(path) => Err(Failure::Input(format!("--token-file {}: it is empty", path.display()))),
                None => Ok(Self(None)),
            };
        }
        let mut header: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| {
            Failure::Input("the token holds something else than printable characters".to_owned())
        })?;
        header.set_sensitive(true);
        Ok(Self(Some(header)))
    }
}

impl Coordinator {
    /// Connects to the first of these that can be reached, so that a wrong address shows before anything is read or sent.
    pub async fn connect(remote: &Remote) -> Result<Self, Failure> {
        let has_tls = remote.ca.is_some() || remote.cert.is_some();
        let urls = remote.urls.iter().map(|url| normalise(url, has_tls)).collect::<Result<Vec<_>, _>>()?;
        let credentials = Credentials::read(remote.token_file.as_deref())?;
        let is_known = credentials.0.is_some() || remote.cert.is_some();
        let dial = dial(remote)?;
        let mut channels = Vec::new();
        let mut reached = None;
        let mut problem = "no address is given".to_owned();
        for (index, url) in urls.iter().enumerate() {
            let route = dial.to(url, settings);
            let route = route.map_err(|error| Failure::Input(format!("--coordinator: {error}")))?;
            channels.push(route.connect_lazy());
            if reached.is_none() {
                match route.connect().await {
                    Ok(_) => reached = Some(index),
                    Err(error) => problem = innermost(&error),
                }
            }
        }
        let Some(reached) = reached else {
            return Err(Failure::server(&urls, None, &Error::Transport(problem)));
        };
        let current = Arc::new(AtomicUsize::new(reached));
        Ok(Self { urls: urls.into(), channels: channels.into(), current, credentials, is_known, about: None })
    }

    /// The same, for calls about an incident: what fails names it.
    pub fn about(&self, incident: &str) -> Self {
        Self { about: Some(one_line(incident).into()), ..self.clone() }
    }

    /// The incidents.
    pub fn incidents(&self) -> IncidentServiceClient<Line> {
        IncidentServiceClient::new(self.line())
            .max_encoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Line> {
        AuditServiceClient::new(self.line()).max_decoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Line> {
        ClusterServiceClient::new(self.line())
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Line> {
        AccessServiceClient::new(self.line())
    }

    /// Whom an approval names: the one that was asked for; else nobody where the coordinator sees who calls, which it then puts
    /// into the record, and the user elsewhere.
    pub fn approver(&self, asked: Option<String>) -> String {
        match asked {
            Some(asked) => asked,
            None if self.is_known => String::new(),
            None => std::env::var("USER").unwrap_or_else(|_| "operator".to_owned()),
        }
    }

    /// Makes a call with a time limit, at each coordinator in turn while they cannot be reached or cannot do it. `send` takes its client
    /// anew each time. A message that changes anything carries a [`request_id`].
    pub async fn call<T: Clone, R>(
        &self,
        message: T,
        send: impl AsyncFn(tonic::Request<T>) -> Result<tonic::Response<R>, Status>,
    ) -> Result<R, Failure> {
        let mut left = self.urls.len();
        loop {
            left = left.saturating_sub(1);
            match send(bounded(message.clone())).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if left > 0 && may_be_gone(&status) => self.fail_over(),
                Err(status) => return Err(self.failure(&status)),
            }
        }
    }

    /// Calls go to the next coordinator from now on.
    pub(crate) fn fail_over(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// What went wrong with a call, as a sentence that names the incident.
    pub fn failure(&self, status: &Status) -> Failure {
        Failure::server(&self.urls, self.about.as_deref(), &Error::from(status))
    }

    /// How a command reaches these coordinators: nothing if it does by itself.
    pub(crate) fn flag(&self) -> String {
        let urls = self.urls.join(",");
        let by_itself =
            std::env::var(COORDINATOR_VARIABLE).unwrap_or_else(|_| DEFAULT_COORDINATOR.to_owned());
        if urls == by_itself { String::new() } else { format!(" --coordinator {urls}") }
    }

    fn line(&self) -> Line {
        InterceptedService::new(self.channel(), self.credentials.clone())
    }

    fn channel(&self) -> Channel {
        let at = self.current.load(Ordering::Relaxed) % self.channels.len().max(1);
        // There is one for each address, and without an address nothing is connected.
        self.channels
            .get(at)
            .cloned()
            .unwrap_or_else(|| Endpoint::from_static(DEFAULT_COORDINATOR).connect_lazy())
    }
}

/// How coordinators are called: by TLS with what the flags name, or in plain text on this machine.
fn dial(remote: &Remote) -> Result<Dial, Failure> {
    let own = remote.cert.as_deref().zip(remote.key.as_deref());
    let tls = ClientTls::load(remote.ca.as_deref(), own)
        .map_err(|error| Failure::Input(format!("TLS cannot be set up: {error}")))?;
    Ok(Dial::named(tls, remote.insecure))
}

fn settings(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
}

/// Whether another coordinator may do what this one could not.
pub(crate) fn may_be_gone(status: &Status) -> bool {
    matches!(Error::from(status), Error::Transport(_) | Error::Unavailable { .. })
}

/// A call with a time limit.
pub fn bounded<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL);
    request
}

/// A key under which repeating a call has no second effect.
pub fn request_id() -> String {
    RequestId::generate().to_string()
}

/// The resource name of what a person may have written without its collection.
pub(crate) fn resource(collection: &str, text: &str) -> String {
    if text.starts_with(&format!("{collection}/")) { text.to_owned() } else { format!("{collection}/{text}") }
}

/// An address without a scheme is called by TLS where flags say something of it.
fn normalise(url: &str, has_tls: bool) -> Result<String, Failure> {
    match url.split_once("://") {
        None if has_tls => Ok(format!("https://{url}")),
        None => Ok(format!("http://{url}")),
        Some(("http" | "https", _)) => Ok(url.to_owned()),
        Some((scheme, _)) => Err(Failure::Input(format!(
            "--coordinator: the scheme {} is not supported; write https://host:port or http://host:port",
            one_line(scheme)
        ))),
    }
}

/// "transport error" tells nobody anything; what lies under it does.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    // The number of the system's error is for programs.
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_may_be_short() {
        assert_eq!(normalise("localhost:7700", false).unwrap(), "http://localhost:7700");
        assert_eq!(normalise("localhost:7700", true).unwrap(), "https://localhost:7700");
        assert_eq!(normalise("http://h:1", true).unwrap(), "http://h:1");
        assert_eq!(normalise("ftp://h:1", false).unwrap_err().code(), 2);
        assert_eq!(resource("incidents", "abc"), "incidents/abc");
        assert_eq!(resource("incidents", "incidents/abc"), "incidents/abc");
    }

    #[tokio::test]
    async fn a_closed_port_is_told_with_advice() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let failure = Coordinator::connect(&Remote::local(&address.to_string())).await.unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("connection refused") && text.contains("countermove up"), "{text}");
        assert_eq!(failure.code(), 1);
    }

    #[tokio::test]
    async fn the_next_coordinator_answers_for_one_that_is_gone() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (gone, open) =
            (closed.local_addr().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        drop(closed);
        // A connection comes up when it is accepted by the system; nobody has to answer.
        let urls = [gone.to_string(), open.local_addr().unwrap().to_string()];
        let coordinator =
            Coordinator::connect(&Remote::local("").at(urls.clone())).await.unwrap().about("incidents/7");
        assert_eq!(coordinator.current.load(Ordering::Relaxed), 1);
        coordinator.fail_over();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let answer = coordinator.call((), async |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            match coordinator.current.load(Ordering::Relaxed) % 2 {
                0 => Err(Status::from(Error::Transport("connection refused".to_owned()))),
                _ => Ok(tonic::Response::new(5)),
            }
        });
        assert_eq!((answer.await.unwrap(), asked.into_inner()), (5, 2));
        let failure = coordinator.call((), async |_| {
            Err::<tonic::Response<()>, _>(Status::from(Error::Transport("connection refused".to_owned())))
        });
        let text = failure.await.unwrap_err().to_string();
        assert!(
            text.starts_with("incidents/7: ") && text.contains(&urls[0]) && text.contains(&urls[1]),
            "{text}"
        );
        assert!(!text.contains("countermove up"), "{text}");
    }
}
