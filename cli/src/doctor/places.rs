//! Ports, workers, and the place where incidents are kept.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use toml::Table;

use super::{Finding, text};

/// Time that somebody elsewhere has to take a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Whether a port can be listened on.
pub(super) fn port(subject: &str, settings: &Table, key: &str) -> Option<Finding> {
    let address: SocketAddr = text(settings, key)?.parse().ok()?;
    if address.port() == 0 {
        return Some(Finding::good(subject, format!("a free one at {}", address.ip())));
    }
    Some(match TcpListener::bind(address) {
        Ok(_) => Finding::good(subject, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::doubtful(
            subject,
            format!("{address} is taken"),
            format!("by the process itself if it runs; else give another one with --{key}"),
        ),
        Err(error) => Finding::bad(
            subject,
            format!("{address}: {error}"),
            format!("give an address of this machine with --{key}"),
        ),
    })
}

/// Whether the workers, or the registry in which they are found, take connections.
pub(super) async fn workers(settings: &Table) -> Vec<Finding> {
    let (key, subject) = match text(settings, "discovery").as_deref() {
        Some("etcd") => ("etcd", "etcd"),
        _ => ("workers", "worker"),
    };
    let mut findings = Vec::new();
    for url in list(settings, key) {
        let finding = match host(&url) {
            Some(host) => match reach(&host).await {
                Ok(()) => Finding::good(subject, format!("{url} takes connections")),
                Err(problem) => {
                    let advice = format!("start it, or change --{key}");
                    Finding::bad(subject, format!("{url}: {problem}"), advice)
                }
            },
            None => Finding::bad(
                subject,
                format!("{url} is no address"),
                format!("write http://host:port in --{key}"),
            ),
        };
        findings.push(finding);
    }
    if findings.is_empty() {
        findings.push(Finding::bad(subject, "none is named", format!("name them with --{key}")));
    }
    findings
}

/// Whether incidents can be kept where the settings say.
pub(super) async fn store(settings: &Table) -> Finding {
    let Some(url) = text(settings, "store").or_else(default_store) else {
        return Finding::bad("store", "this user has no home folder", "name a place with --store");
    };
    if url == "memory:" {
        return Finding::doubtful(
            "store",
            "incidents go with the process",
            "name a place with --store to keep them",
        );
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        return folder(Path::new(path));
    }
    let host = url.split_once("://").and_then(|(_, rest)| {
        let authority = rest.split(['/', '?']).next()?;
        let host = authority.rsplit('@').next()?;
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(if has_port { host.to_owned() } else { format!("{host}:5432") })
    });
    match host {
        Some(host) => match reach(&host).await {
            Ok(()) => Finding::good("store", format!("the database at {host} takes connections")),
            Err(problem) => {
                Finding::bad("store", format!("{host}: {problem}"), "start the database, or change --store")
            }
        },
        None => Finding::bad(
            "store",
            format!("{url} is no address"),
            "write postgres://user@host/database in --store",
        ),
    }
}

/// The place in the user's state folder, as the coordinator has it.
fn default_store() -> Option<String> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
    Some(format!("sqlite:{}", state.join("countermove/incidents.db").display()))
}

/// Whether a file can be written: in the nearest folder that is there a file is made and taken away.
fn folder(file: &Path) -> Finding {
    let name = file.display();
    let mut parents = file
        .ancestors()
        .skip(1)
        .map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let Some(folder) = parents.find(|parent| parent.is_dir()) else {
        return Finding::bad(
            "store",
            format!("no folder above {name} is there"),
            "name another place with --store",
        );
    };
    let trial = folder.join(format!(".countermove-doctor-{}", std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&trial);
    let removed = made.and_then(|_| std::fs::remove_file(&trial));
    match removed {
        Ok(()) => Finding::good("store", format!("{name} can be written")),
        Err(error) => Finding::bad(
            "store",
            format!("nothing can be written in {}: {error}", folder.display()),
            "give this user the right to, or name another place with --store",
        ),
    }
}

/// The texts of a setting that may be a list.
fn list(settings: &Table, key: &str) -> Vec<String> {
    match settings.get(key) {
        Some(toml::Value::Array(values)) => {
            values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
        }
        Some(toml::Value::String(text)) => text.split(',').map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// `host:port` of a URL.
fn host(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?.rsplit('@').next().filter(|host| !host.is_empty())?;
    let usual = if scheme == "https" { 443 } else { 80 };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { host.to_owned() } else { format!("{host}:{usual}") })
}

async fn reach(host: &str) -> Result<(), String> {
    match timeout(CONNECT, TcpStream::connect(host)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it does not answer within {} s", CONNECT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Standing;
    use super::*;

    fn settings(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_is_free_or_taken_or_of_another_machine() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let at = |address: &str| port("p", &settings(&format!("listen = \"{address}\"")), "listen").unwrap();
        assert_eq!(at(&address.to_string()).standing, Standing::Doubtful);
        drop(held);
        assert_eq!(at(&address.to_string()).standing, Standing::Good);
        assert_eq!(at("127.0.0.1:0").standing, Standing::Good);
        assert_eq!(at("192.0.2.1:7700").standing, Standing::Bad);
        assert_eq!(port("p", &Table::new(), "listen"), None);
    }

    #[tokio::test]
    async fn workers_are_called_one_by_one() {
        let here = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = here.local_addr().unwrap();
        let both = settings(&format!(
            "discovery = \"static\"\nworkers = [\"http://{address}\", \"http://127.0.0.1:9\"]"
        ));
        let standings: Vec<_> = workers(&both).await.iter().map(|finding| finding.standing).collect();
        assert_eq!(standings, [Standing::Good, Standing::Bad]);
        assert_eq!(workers(&Table::new()).await[0].standing, Standing::Bad);
        assert_eq!(host("https://a.example/x").as_deref(), Some("a.example:443"));
        assert_eq!(host("nonsense"), None);
    }

    #[tokio::test]
    async fn a_store_can_be_written_or_reached() {
        let place = tempfile::tempdir().unwrap();
        let at = async |url: &str| store(&settings(&format!("store = \"{url}\""))).await;
        assert_eq!(at("memory:").await.standing, Standing::Doubtful);
        let below = place.path().join("not/yet/incidents.db");
        assert_eq!(at(&format!("sqlite:{}", below.display())).await.standing, Standing::Good);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing is left behind");
        assert_eq!(at("sqlite:/proc/nowhere/incidents.db").await.standing, Standing::Bad);
        let gone = at("postgres://plan:***@127.0.0.1:9/x").await;
        assert_eq!(gone.standing, Standing::Bad);
        assert!(gone.what.contains("127.0.0.1:9") && !gone.what.contains("plan"), "{}", gone.what);
    }
}
