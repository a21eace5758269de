//! What the cluster tests plan: a small incident, so that a plan takes seconds.

use std::path::{Path, PathBuf};

use countermove_proto::v1::Evidence;

/// Root of the repository.
///
/// # Panics
/// Never: this package lies one folder below the root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| panic!("the tests lie in no repository"))
}

/// The sample incident that the repository ships.
pub fn incident_folder() -> PathBuf {
    repository().join("tests/incidents/web-shell")
}

/// A small system.
pub fn system_description() -> String {
    "The network has three hosts behind a firewall.\n\
     Server 1 (web01, 10.0.1.10) runs a public web shop.\n\
     Server 2 (db01, 10.0.1.20) holds the orders in PostgreSQL; only web01 needs it.\n\
     Server 3 (log01, 10.0.1.30) collects logs.\n"
        .to_owned()
}

/// A short attack on it, as Snort's fast alerts.
pub fn alerts() -> String {
    [
        "03/14-09:12:01.104882  [**] [1:1000101:1] SCAN SSH banner sweep [**] [Classification: Attempted Information \
         Leak] [Priority: 2] {TCP} 203.0.113.7:41022 -> 10.0.1.10:22",
        "03/14-09:14:37.550120  [**] [1:1000214:3] SSH repeated failed logins [**] [Classification: Attempted \
         Administrator Privilege Gain] [Priority: 1] {TCP} 203.0.113.7:41388 -> 10.0.1.10:22",
        "03/14-09:14:38.019004  [**] [1:1000214:3] SSH repeated failed logins [**] [Classification: Attempted \
         Administrator Privilege Gain] [Priority: 1] {TCP} 203.0.113.7:41390 -> 10.0.1.10:22",
        "03/14-09:21:55.731411  [**] [1:1000377:2] TROJAN outbound beacon [**] [Classification: A Network Trojan was \
         Detected] [Priority: 1] {TCP} 10.0.1.10:50112 -> 203.0.113.7:443",
    ]
    .join("\n")
        + "\n"
}

/// The alerts and beacons behind them, of so many bytes in all and no two the same; the numbers say which ones.
pub fn long_log(first: usize, bytes: usize) -> String {
    let mut log = alerts();
    log.reserve(bytes);
    for number in first.. {
        let (minute, second, port) = (number / 60 % 60, number % 60, 1024 + number % 60_000);
        let line = format!(
            "03/14-10:{minute:02}:{second:02}.{:06}  [**] [1:1000377:2] TROJAN outbound beacon {number} [**] \
             [Classification: A Network Trojan was Detected] [Priority: 1] {{TCP}} 10.0.1.10:{port} -> 203.0.113.7:443\n",
            number % 1_000_000
        );
        if log.len() + line.len() > bytes {
            break;
        }
        log.push_str(&line);
    }
    log
}

/// Both, as a client sends them.
pub fn evidence() -> Evidence {
    Evidence { system_description: system_description(), alerts: alerts(), ..Evidence::default() }
}

/// The sample incident that the repository ships, as a client sends it.
///
/// # Errors
/// If one of its files cannot be read.
pub fn incident_evidence() -> std::io::Result<Evidence> {
    let folder = incident_folder();
    Ok(Evidence {
        system_description: std::fs::read_to_string(folder.join("system.txt"))?,
        alerts: std::fs::read_to_string(folder.join("alerts.log"))?,
        ..Evidence::default()
    })
}

/// The default model's file.
///
/// # Panics
/// If it has not been fetched: without a model a cluster test would test nothing.
pub fn default_model() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("COUNTERMOVE_HOME")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("countermove")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/countermove")))
        .unwrap_or_else(|| panic!("neither COUNTERMOVE_HOME, XDG_CACHE_HOME nor HOME is set"));
    let path = home.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        path.is_file(),
        "the default model is not at {}; run `make test`, or `countermove-worker model fetch`",
        path.display()
    );
    path
}
