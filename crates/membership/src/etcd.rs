//! The registry as etcd is one.
//!
//! A worker is the key `/countermove/workers/ID` with a [`Registration`] as value, bound to a lease.
//! Its incarnation is the revision at which it was written, which no other registration has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, Identity, KeyValue,
    LeaseKeepAliveStream, LeaseKeeper, PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
    WatchStream,
};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::registry::{
    Change, Connection, Created, Entry, Fault, LeaseId, Listing, News, Registry, Renewals, Watch,
};
use crate::{Member, Registration};

/// Folder of the keys.
const WORKERS: &str = "/countermove/workers/";
/// Time for a connection, and for a call that is no stream.
const CALL: Duration = Duration::from_secs(3);

/// The members of an etcd cluster, `http://host:port` or `https://host:port` each, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    urls: Vec<String>,
    tls: EtcdTls,
}

/// Certificates towards etcd. They are read for each connection, so new ones need no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct EtcdTls {
    /// Authorities of the etcd members' certificates, in PEM.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_ETCD_CA")]
    pub etcd_ca: Option<PathBuf>,
    /// Certificate that this process shows etcd, in PEM.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_ETCD_CERT", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_ETCD_KEY", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
}

impl EtcdTls {
    fn load(&self) -> Result<TlsOptions, Fault> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| Fault(format!("{} cannot be read: {error}", path.display())))
        };
        let mut options = TlsOptions::new();
        if let Some(ca) = &self.etcd_ca {
            options = options.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let (Some(cert), Some(key)) = (&self.etcd_cert, &self.etcd_key) {
            options = options.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        Ok(options)
    }
}

impl Endpoints {
    /// The same, called with these certificates.
    #[must_use]
    pub fn with_tls(self, tls: EtcdTls) -> Self {
        Self { tls, ..self }
    }

    /// Those that are called in plain text.
    pub fn plain(&self) -> impl Iterator<Item = &str> {
        self.urls.iter().map(String::as_str).filter(|url| !is_secured(url))
    }
}

fn is_secured(url: &str) -> bool {
    url.starts_with("https://")
}

/// Why a text names no etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the address of an etcd member; write https://host:port or http://host:port, several separated by commas"
)]
pub struct EndpointsError(String);

/// [`crate::register()`] with etcd.
pub async fn register(
    endpoints: Endpoints,
    id: String,
    registration: Registration,
    ttl: Duration,
    shutdown: impl Future<Output = ()>,
) {
    crate::register(endpoints, id, registration, ttl, shutdown).await;
}

/// [`crate::follow()`] with etcd.
pub async fn follow(endpoints: Endpoints, grace: Duration, members: watch::Sender<BTreeMap<String, Member>>) {
    crate::follow(endpoints, grace, members).await;
}

impl FromStr for Endpoints {
    type Err = EndpointsError;

    fn from_str(text: &str) -> Result<Self, EndpointsError> {
        let endpoints: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        let is_endpoint = |text: &&String| {
            text.strip_prefix("http://")
                .or_else(|| text.strip_prefix("https://"))
                .and_then(|rest| rest.trim_end_matches('/').rsplit_once(':'))
                .is_some_and(|(host, port)| {
                    !host.is_empty() && !host.contains(['/', '@']) && port.parse::<u16>().is_ok()
                })
        };
        match endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
            Some(wrong) => Err(EndpointsError(wrong.chars().take(100).collect())),
            None => Ok(Self { urls: endpoints, tls: EtcdTls::default() }),
        }
    }
}

impl Registry for Endpoints {
    type Connection = EtcdConnection;

    async fn connect(&self) -> Result<EtcdConnection, Fault> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CALL)
            .with_keep_alive(Duration::from_secs(3), Duration::from_secs(3))
            // A member that is cut off from the others says so, instead of showing what was true once.
            .with_require_leader(true);
        if self.urls.iter().any(|url| is_secured(url)) {
            options = options.with_tls(self.tls.load()?);
        }
        Ok(EtcdConnection(Client::connect(&self.urls, Some(options)).await?))
    }
}

/// A connection to etcd.
pub struct EtcdConnection(Client);

impl Connection for EtcdConnection {
    type Renewals = Keeper;
    type Watch = Changes;

    async fn grant(&mut self, ttl: Duration) -> Result<(LeaseId, Duration), Fault> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let granted = within(self.0.lease_grant(seconds, None)).await?;
        Ok((granted.id(), Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0))))
    }

    async fn create(&mut self, id: &str, value: Vec<u8>, lease: LeaseId) -> Result<Created, Fault> {
        let create = Txn::new()
            .when([Compare::version(key(id), CompareOp::Equal, 0)])
            .and_then([put(id, value, lease)])
            .or_else([TxnOp::get(key(id), None)]);
        let answer = within(self.0.txn(create)).await?;
        if answer.succeeded() {
            return Ok(Created::Yes);
        }
        let there = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().and_then(entry),
            _ => None,
        });
        Ok(Created::Taken(there))
    }

    async fn replace(
        &mut self,
        id: &str,
        value: Vec<u8>,
        lease: LeaseId,
        revision: u64,
    ) -> Result<bool, Fault> {
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        let replace = Txn::new()
            .when([Compare::mod_revision(key(id), CompareOp::Equal, revision)])
            .and_then([put(id, value, lease)]);
        Ok(within(self.0.txn(replace)).await?.succeeded())
    }

    async fn revoke(&mut self, lease: LeaseId) -> Result<(), Fault> {
        within(self.0.lease_revoke(lease)).await.map(drop)
    }

    async fn renewals(&mut self, lease: LeaseId) -> Result<Keeper, Fault> {
        let (keeper, answers) = within(self.0.lease_keep_alive(lease)).await?;
        Ok(Keeper { keeper, answers })
    }

    async fn list(&mut self) -> Result<Listing, Fault> {
        let listing = within(self.0.get(WORKERS, Some(GetOptions::new().with_prefix()))).await?;
        let header = listing.header().ok_or_else(|| broken("etcd's answer has no header"))?;
        let entries = listing.kvs().iter().filter_map(entry).collect();
        Ok(Listing { revision: number(header.revision()), entries })
    }

    async fn watch(&mut self, from: u64) -> Result<Changes, Fault> {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        Ok(Changes(within(self.0.watch(WORKERS, Some(options))).await?))
    }
}

/// Renews a lease of etcd.
pub struct Keeper {
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl Renewals for Keeper {
    async fn renew(&mut self) -> Result<Duration, Fault> {
        self.keeper.keep_alive().await?;
        let answer = self.answers.message().await?.ok_or_else(|| broken("etcd ended the stream"))?;
        Ok(Duration::from_secs(number(answer.ttl())))
    }
}

/// Changes in etcd.
pub struct Changes(WatchStream);

impl Watch for Changes {
    async fn next(&mut self) -> Result<News, Fault> {
        let message = self.0.message().await?.ok_or_else(|| broken("etcd ended the stream"))?;
        if message.compact_revision() > 0 {
            return Ok(News::Compacted);
        }
        if message.canceled() {
            return Err(broken("etcd cancelled the watch"));
        }
        let changes = message.events().iter().filter_map(|event| {
            let found = entry(event.kv()?)?;
            Some(match event.event_type() {
                EventType::Put => Change::Put(found),
                EventType::Delete => Change::Gone { id: found.id, revision: found.revision },
            })
        });
        Ok(News::Changes(changes.collect()))
    }
}

impl From<etcd_client::Error> for Fault {
    fn from(error: etcd_client::Error) -> Self {
        Self(error.to_string())
    }
}

fn broken(what: &str) -> Fault {
    Fault(what.to_owned())
}

fn key(id: &str) -> String {
    format!("{WORKERS}{id}")
}

fn put(id: &str, value: Vec<u8>, lease: LeaseId) -> TxnOp {
    TxnOp::put(key(id), value, Some(PutOptions::new().with_lease(lease)))
}

/// A key of a worker with its value; `None` for what is none.
fn entry(pair: &KeyValue) -> Option<Entry> {
    let id = pair.key_str().ok()?.strip_prefix(WORKERS)?.to_owned();
    Some(Entry { id, value: pair.value().to_vec(), revision: number(pair.mod_revision()) })
}

fn number(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or_default()
}

async fn within<T>(call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Fault> {
    Ok(timeout(CALL, call).await.map_err(|_| broken("etcd does not answer"))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked() {
        assert!("http://a:2379".parse::<Endpoints>().is_ok());
        let mixed: Endpoints = "https://a:1,http://b:2".parse().unwrap();
        assert_eq!(mixed.plain().collect::<Vec<_>>(), ["http://b:2"]);
        assert_eq!("http://a:1, http://[::1]:2/".parse::<Endpoints>().unwrap().urls.len(), 2);
        for bad in ["", "a:1", "http://a", "ftp://a:1", "http://a:1,", "http://u@a:1", "http://a:x"] {
            assert!(bad.parse::<Endpoints>().is_err(), "{bad}");
        }
    }
}
