//! Where workers are found.
//!
//! Contract: [`Discovery::members`] shows the members that are known now and every later change. Nothing is said about
//! whether a member answers: that is for its [link](crate::workers) to find out. A member whose process is another one
//! than before has left and come: what the former one still sends is not taken any more.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tokio::sync::watch;
use tonic::transport::Uri;

/// The address of a worker or another coordinator, `http://host:port` or `https://host:port`, in one spelling.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerUrl(String);

/// The workers that are members now, and for each a mark that tells its process from another one at the same address;
/// empty where that is not known.
pub type Members = BTreeMap<WorkerUrl, String>;

/// Something that knows which workers there are.
pub trait Discovery: Send + Sync + 'static {
    /// The members now and every change. The last value stays in force after the sender is gone, so losing the
    /// source of discovery loses no worker.
    fn members(&self) -> watch::Receiver<Members>;
}

/// A list that never changes.
#[derive(Debug)]
pub struct StaticDiscovery(watch::Sender<Members>);

/// A list that its owner changes, for tests and for a process that starts its own workers.
#[derive(Debug, Default)]
pub struct MemoryDiscovery(watch::Sender<Members>);

/// Why an address is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not the address of a server: {problem}")]
pub struct WorkerUrlError {
    url: String,
    problem: &'static str,
}

impl StaticDiscovery {
    /// The workers at these addresses. One that is named twice counts once.
    pub fn new(urls: impl IntoIterator<Item = WorkerUrl>) -> Self {
        Self(watch::Sender::new(urls.into_iter().map(|url| (url, String::new())).collect()))
    }
}

impl Discovery for StaticDiscovery {
    fn members(&self) -> watch::Receiver<Members> {
        self.0.subscribe()
    }
}

impl MemoryDiscovery {
    /// Adds a member.
    pub fn add(&self, url: WorkerUrl) {
        self.0.send_if_modified(|members| members.insert(url, String::new()).is_none());
    }

    /// Takes a member out.
    pub fn remove(&self, url: &WorkerUrl) {
        self.0.send_if_modified(|members| members.remove(url).is_some());
    }
}

impl Discovery for MemoryDiscovery {
    fn members(&self) -> watch::Receiver<Members> {
        self.0.subscribe()
    }
}

/// Workers that register themselves in etcd.
#[cfg(feature = "etcd")]
#[derive(Debug)]
pub struct EtcdDiscovery(watch::Receiver<Members>);

#[cfg(feature = "etcd")]
impl EtcdDiscovery {
    /// Follows the registry from now on. Needs a tokio runtime around it. A worker that is missing after an outage of
    /// etcd stays for `grace`.
    pub fn start(endpoints: countermove_membership::etcd::Endpoints, grace: std::time::Duration) -> Self {
        let (registered, mut registrations) = watch::channel(BTreeMap::new());
        let (sender, receiver) = watch::channel(Members::new());
        tokio::spawn(countermove_membership::etcd::follow(endpoints, grace, registered));
        tokio::spawn(async move {
            loop {
                let members = members(&registrations.borrow_and_update());
                sender.send_replace(members);
                tokio::select! {
                    changed = registrations.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Self(receiver)
    }
}

#[cfg(feature = "etcd")]
impl Discovery for EtcdDiscovery {
    fn members(&self) -> watch::Receiver<Members> {
        self.0.clone()
    }
}

/// Registrations as members. Of two at one address the later one is there: the other's lease has not run out yet.
#[cfg(feature = "etcd")]
fn members(registered: &BTreeMap<String, countermove_membership::Member>) -> Members {
    let mut by_age: Vec<_> = registered.iter().collect();
    by_age.sort_by_key(|(_, member)| member.incarnation);
    let members = by_age.into_iter().filter_map(|(id, member)| {
        let url = member.registration.url.parse::<WorkerUrl>();
        if let Err(error) = &url {
            tracing::warn!(worker = id, %error, "a registration names no address and is left out");
        }
        Some((url.ok()?, member.registration.process.clone()))
    });
    members.collect()
}

impl WorkerUrl {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host's name or address.
    pub fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or(self.0.as_str(), |(_, authority)| authority);
        authority.rsplit_once(':').map_or(authority, |(host, _)| host)
    }

    /// Whether it is reached by TLS.
    pub fn is_secured(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for WorkerUrl {
    type Err = WorkerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem| Err(WorkerUrlError { url: text.chars().take(200).collect(), problem });
        let Ok(uri) = text.trim().parse::<Uri>() else {
            return fail("it is not a URL; write http://host:port");
        };
        let scheme = match uri.scheme_str() {
            Some(scheme @ ("http" | "https")) => scheme,
            _ => return fail("it has to begin with http:// or https://"),
        };
        let Some(authority) = uri.authority() else { return fail("it names no host") };
        let Some(port) = authority.port_u16() else {
            return fail("it names no port; write http://host:port");
        };
        if authority.host().is_empty() || port == 0 {
            return fail("it names no host or the port 0");
        }
        if authority.as_str().contains('@') {
            return fail("it holds a user name");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return fail("it has a path, and only http://host:port is used");
        }
        Ok(Self(format!("{scheme}://{}:{port}", authority.host().to_ascii_lowercase())))
    }
}

impl fmt::Display for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> WorkerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_one_spelling() {
        for text in ["http://Worker-1:7701", "http://worker-1:7701/", " http://worker-1:7701 "] {
            assert_eq!(url(text).as_str(), "http://worker-1:7701");
        }
        assert_eq!(url("http://[::1]:80").as_str(), "http://[::1]:80");
        assert_eq!(url("HTTPS://Worker:1").as_str(), "https://worker:1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, problem) in [
            ("", "not a URL"),
            ("worker:1", "http://"),
            ("ftp://worker:1", "http://"),
            ("http://worker", "no port"),
            ("http://worker:0", "port 0"),
            ("http://worker:99999", "no"),
            ("http://worker:1/path", "path"),
            ("http://worker:1?x=1", "path"),
            ("http://me@worker:1", "user name"),
        ] {
            let error = text.parse::<WorkerUrl>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_static_list_counts_each_worker_once() {
        let discovery = StaticDiscovery::new([url("http://b:2"), url("http://a:1"), url("http://a:1/")]);
        let members = discovery.members().borrow().clone();
        assert_eq!(members.into_keys().collect::<Vec<_>>(), [url("http://a:1"), url("http://b:2")]);
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn of_two_at_one_address_the_later_one_is_there() {
        use countermove_membership::{Incarnation, Member, Registration};
        let member = |url: &str, process: &str, incarnation| Member {
            registration: Registration {
                url: url.to_owned(),
                capacity: 1,
                weights_sha256: String::new(),
                process: process.to_owned(),
            },
            incarnation: Incarnation(incarnation),
        };
        let registered = BTreeMap::from([
            ("a".to_owned(), member("http://h:1", "young", 9)),
            ("b".to_owned(), member("http://h:1", "old", 4)),
            ("c".to_owned(), member("nonsense", "x", 5)),
        ]);
        assert_eq!(super::members(&registered), Members::from([(url("http://h:1"), "young".to_owned())]));
    }

    #[tokio::test]
    async fn a_watcher_sees_changes_and_keeps_the_last_state() {
        let discovery = MemoryDiscovery::default();
        let mut members = discovery.members();
        discovery.add(url("http://a:1"));
        members.changed().await.unwrap();
        assert_eq!(members.borrow_and_update().len(), 1);
        discovery.add(url("http://a:1"));
        assert!(!members.has_changed().unwrap(), "the same member is no change");
        discovery.remove(&url("http://a:1"));
        members.changed().await.unwrap();
        assert!(members.borrow().is_empty());
        drop(discovery);
        assert!(members.borrow().is_empty());
    }
}
