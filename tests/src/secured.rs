//! Coordinators and simulated workers with certificates, and connections to them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use countermove_transport::{ClientTls, Dial};
use tonic::transport::Channel;

use crate::PATIENCE_SECONDS;
use crate::certificates::{Authority, Holder};
use crate::process::{Process, program};

const PATIENCE: Duration = Duration::from_secs(PATIENCE_SECONDS);

/// A process and where it is called.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it is called.
    pub url: String,
}

/// Starts a program that listens at a free port.
///
/// # Panics
/// If it does not come up.
pub fn start(name: &str, program_name: &str, scheme: &str, flags: &[String]) -> Server {
    let mut command = Command::new(program(program_name));
    command.args(["--listen", "127.0.0.1:0"]).args(flags);
    let mut process = Process::start(name, &mut command);
    let url = format!("{scheme}://{}", process.address(PATIENCE));
    Server { process, url }
}

/// A worker without a model, which answers by dice.
///
/// # Panics
/// If it does not come up.
pub fn worker(authority: &Authority, holder: &Holder, more: &[&str]) -> Server {
    let mut flags = authority.flags(holder);
    flags.extend(["--simulate", "100000", "--id", "w-1"].map(str::to_owned));
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    start("worker", "countermove-worker", "https", &flags)
}

/// A coordinator with this worker, which forgets its incidents unless `more` names a store.
///
/// # Panics
/// If it does not come up.
pub fn coordinator(authority: &Authority, holder: &Holder, workers: &str, more: &[&str]) -> Server {
    let mut flags = authority.flags(holder);
    flags.extend(["--workers", workers].map(str::to_owned));
    if !more.contains(&"--store") {
        flags.extend(["--store", "memory:"].map(str::to_owned));
    }
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    start("coordinator", "countermove-coordinator", "https", &flags)
}

/// How a client with this certificate calls servers of this authority.
///
/// # Panics
/// If the files cannot be used.
pub fn dial(ca: Option<&Path>, own: Option<&Holder>) -> Dial {
    let own = own.map(|holder| (holder.cert.as_path(), holder.key.as_path()));
    let tls = ClientTls::load(ca, own).unwrap_or_else(|error| panic!("{error}"));
    Dial::named(tls, false)
}

/// A connection that is made with the first call.
///
/// # Panics
/// If `url` is none.
pub fn channel(dial: &Dial, url: &str) -> Channel {
    let route = dial.to(url, |endpoint| endpoint.connect_timeout(Duration::from_secs(20)));
    route.unwrap_or_else(|error| panic!("{error}")).connect_lazy()
}
