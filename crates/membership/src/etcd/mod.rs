//! Registration and following over etcd.
//!
//! A worker is the key `/countermove/workers/ID` with a [`Registration`] as value, bound to a lease.
//! Its incarnation is the revision at which it was written, which no other registration has.

mod follow;
mod register;

use std::str::FromStr;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};

pub use follow::follow;
pub use register::register;

use crate::{Backoff, Incarnation, Member, Registration};

/// Folder of the keys.
const WORKERS: &str = "/countermove/workers/";
/// Time for a connection, and for a call that is no stream.
const CALL: Duration = Duration::from_secs(3);
/// Waiting times between two tries.
const RETRY: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) };

/// The members of an etcd cluster, `http://host:port` each, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(Vec<String>);

/// Why a text names no etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the address of an etcd member; write http://host:port, several separated by commas")]
pub struct EndpointsError(String);

/// Why the registry cannot be used now.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Etcd(#[from] etcd_client::Error),
    #[error("{0}")]
    Broken(&'static str),
}

impl FromStr for Endpoints {
    type Err = EndpointsError;

    fn from_str(text: &str) -> Result<Self, EndpointsError> {
        let endpoints: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        let is_endpoint = |text: &&String| {
            text.strip_prefix("http://")
                .and_then(|rest| rest.trim_end_matches('/').rsplit_once(':'))
                .is_some_and(|(host, port)| {
                    !host.is_empty() && !host.contains(['/', '@']) && port.parse::<u16>().is_ok()
                })
        };
        match endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
            Some(wrong) => Err(EndpointsError(wrong.chars().take(100).collect())),
            None => Ok(Self(endpoints)),
        }
    }
}

async fn connect(endpoints: &Endpoints) -> Result<Client, Fault> {
    let options = ConnectOptions::new()
        .with_connect_timeout(CALL)
        .with_keep_alive(Duration::from_secs(3), Duration::from_secs(3))
        // A member that is cut off from the others says so, instead of showing what was true once.
        .with_require_leader(true);
    Ok(Client::connect(&endpoints.0, Some(options)).await?)
}

fn key(id: &str) -> String {
    format!("{WORKERS}{id}")
}

/// The id and the member behind a key and its value; `None` for what is no registration.
fn member(entry: &etcd_client::KeyValue) -> Option<(String, Member)> {
    let id = entry.key_str().ok()?.strip_prefix(WORKERS)?.to_owned();
    match Registration::decode(entry.value()) {
        Ok(registration) => {
            let incarnation = Incarnation(u64::try_from(entry.mod_revision()).unwrap_or_default());
            Some((id, Member { registration, incarnation }))
        }
        Err(error) => {
            tracing::warn!(worker = id, %error, "a registration cannot be read and is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked() {
        assert!("http://a:2379".parse::<Endpoints>().is_ok());
        assert_eq!("http://a:1, http://[::1]:2/".parse::<Endpoints>().unwrap().0.len(), 2);
        for bad in ["", "a:1", "http://a", "https://a:1", "http://a:1,", "http://u@a:1", "http://a:x"] {
            assert!(bad.parse::<Endpoints>().is_err(), "{bad}");
        }
    }
}
