//! Other coordinators: calls about an incident that one of them owns are passed on to it.
//!
//! Invariant: a call is passed on once at most, so two coordinators that each take the other for the owner cannot play
//! ball with it.

use std::time::Duration;

use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::{Error, MAX_EVIDENCE_MESSAGE_BYTES, Outage};
use countermove_transport::Dial;
use moka::sync::Cache;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::access::{PASSED_ON, PRINCIPAL, Principal, carried};

/// The caller's deadline, which holds for the owner as well.
const DEADLINE: &str = "grpc-timeout";
/// Time for a connection to come up.
const CONNECT: Duration = Duration::from_secs(2);
/// Time after which a new connection takes the place of the old one, with the certificates of then.
const RENEW: Duration = Duration::from_secs(300);
/// Addresses that are remembered.
const MOST: u64 = 64;

/// A client of another coordinator.
pub(crate) type Peer = IncidentServiceClient<Channel>;

/// Connections to other coordinators.
#[derive(Debug)]
pub(crate) struct Peers {
    channels: Cache<String, Channel>,
    dial: Dial,
}

impl Peers {
    /// Connections that are made like this.
    pub(crate) fn new(dial: Dial) -> Self {
        Self { channels: Cache::builder().max_capacity(MOST).time_to_live(RENEW).build(), dial }
    }

    /// A client of the coordinator at this address.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is no address.
    pub(crate) fn at(&self, address: &str) -> Result<Peer, Error> {
        let connect = || {
            let route = self.dial.to(address, |endpoint| {
                endpoint
                    .connect_timeout(CONNECT)
                    .http2_keep_alive_interval(Duration::from_secs(5))
                    .keep_alive_timeout(Duration::from_secs(5))
            });
            route.map(|route| route.connect_lazy())
        };
        let channel = self.channels.try_get_with_by_ref(address, connect);
        let channel = channel.map_err(|error| out_of_reach(address, &error.to_string()))?;
        Ok(Peer::new(channel)
            .max_encoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_EVIDENCE_MESSAGE_BYTES))
    }
}

/// The call as it is passed on: the message, the caller's deadline, who the caller is, and the mark.
pub(crate) fn pass_on<T>(message: T, metadata: &MetadataMap, caller: &Principal) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(deadline) = metadata.get(DEADLINE) {
        request.metadata_mut().insert(DEADLINE, deadline.clone());
    }
    if caller.is_known() {
        request.metadata_mut().insert_bin(PRINCIPAL, carried(caller));
    }
    request.metadata_mut().insert(PASSED_ON, MetadataValue::from_static("1"));
    request
}

/// The owner's answer. One that does not answer may be gone: its incidents are about to change hands.
pub(crate) fn answered<T>(address: &str, answer: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
    answer.map_err(|status| match Error::from(&status) {
        Error::Transport(problem) => out_of_reach(address, &problem).into(),
        _ => status,
    })
}

fn out_of_reach(address: &str, problem: &str) -> Error {
    Error::Unavailable {
        cause: Outage::Owner,
        message: format!(
            "the coordinator at {address}, which plans the incident, does not answer ({problem}); another one takes \
             over when its lease runs out: ask again"
        ),
        retry_after: Duration::from_secs(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_its_deadline_and_is_marked() {
        let mut first = Request::new(());
        first.set_timeout(Duration::from_secs(3));
        let second = pass_on((), first.metadata(), &Principal::local());
        assert!(second.metadata().contains_key(PASSED_ON) && second.metadata().get_bin(PRINCIPAL).is_none());
        let known = Principal { name: "ann".to_owned(), ..Principal::local() };
        assert!(pass_on((), first.metadata(), &known).metadata().get_bin(PRINCIPAL).is_some());
        assert_eq!(first.metadata().get(DEADLINE), second.metadata().get(DEADLINE));
    }

    #[tokio::test]
    async fn an_owner_out_of_reach_is_worth_a_second_try() {
        let peers = Peers::new(Dial::default());
        assert!(peers.at("no address").is_err());
        assert!(peers.at("http://127.0.0.1:9").is_ok());
        assert!(peers.at("http://10.0.0.1:9").is_err(), "that would be plain text over a network");
        let refused =
            answered::<()>("http://a:1", Err(Status::unavailable("connection refused"))).unwrap_err();
        assert!(
            matches!(Error::from(&refused), Error::Unavailable { cause: Outage::Owner, .. }),
            "{refused:?}"
        );
        let ours = Status::from(Error::invalid("name", "it is empty"));
        assert_eq!(answered::<()>("http://a:1", Err(ours.clone())).unwrap_err().code(), ours.code());
    }
}
