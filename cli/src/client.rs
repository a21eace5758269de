//! The connection to a coordinator.

use std::time::Duration;

use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::{Error, MAX_EVIDENCE_MESSAGE_BYTES, RequestId};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;
use crate::render::one_line;

/// Time for the connection to come up.
const CONNECT: Duration = Duration::from_secs(5);

/// Time for a call that answers at once.
pub(crate) const CALL: Duration = Duration::from_secs(30);

/// A coordinator that can be called. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Coordinator {
    url: String,
    channel: Channel,
}

impl Coordinator {
    /// Connects, so that a wrong address shows before anything is read or sent.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let url = normalise(url)?;
        let wrong = |error: &dyn std::fmt::Display| Failure::Input(format!("--coordinator {url}: {error}"));
        let channel = Endpoint::from_shared(url.clone())
            .map_err(|error| wrong(&error))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(|error| Failure::server(&url, &Error::Transport(innermost(&error))))?;
        Ok(Self { url, channel })
    }

    /// The incidents.
    pub fn incidents(&self) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.channel.clone())
            .max_encoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    /// What went wrong with a call, as a sentence.
    pub fn failure(&self, status: &Status) -> Failure {
        Failure::server(&self.url, &Error::from(status))
    }
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

fn normalise(url: &str) -> Result<String, Failure> {
    match url.split_once("://") {
        None => Ok(format!("http://{url}")),
        Some(("http", _)) => Ok(url.to_owned()),
        Some((scheme, _)) => Err(Failure::Input(format!(
            "--coordinator: the scheme {} is not supported; write http://host:port",
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
        assert_eq!(normalise("localhost:7700").unwrap(), "http://localhost:7700");
        assert_eq!(normalise("http://h:1").unwrap(), "http://h:1");
        assert_eq!(normalise("ftp://h:1").unwrap_err().code(), 2);
        assert_eq!(resource("incidents", "abc"), "incidents/abc");
        assert_eq!(resource("incidents", "incidents/abc"), "incidents/abc");
    }

    #[tokio::test]
    async fn a_closed_port_is_told_with_advice() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let failure = Coordinator::connect(&address.to_string()).await.unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("connection refused") && text.contains("countermove up"), "{text}");
        assert_eq!(failure.code(), 1);
    }
}
