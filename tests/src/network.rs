//! Machines of the test's own: network namespaces on one bridge, whose cables can be pulled. Root alone can make them;
//! for others every machine is the loopback.
//!
//! The addresses are of 198.18.0.0/15, which is set apart for measurements of networks. The machine that the test runs on
//! has two of them: programs in no namespace listen on one, and the test itself calls from the other, so that a cut to
//! such a program does not cut the test off.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Prefix of the names of namespaces; the id of the process follows.
const NAME: &str = "cmtest";

/// The bridge and the namespaces. Dropping it, and every [`Host`] of it, takes them away.
#[derive(Debug)]
pub struct Network {
    bridge: Arc<Bridge>,
    hosts: u8,
}

#[derive(Debug)]
struct Bridge {
    name: String,
    subnet: u8,
}

/// A machine. Clones are the same.
#[derive(Clone, Debug)]
pub struct Host {
    address: Ipv4Addr,
    place: Option<Arc<Place>>,
}

#[derive(Debug)]
struct Place {
    namespace: String,
    /// The bridge's end of its cable.
    cable: String,
    _bridge: Arc<Bridge>,
}

impl Network {
    /// A network without hosts.
    ///
    /// # Errors
    /// What stands in the way, such as not being root.
    pub fn create() -> io::Result<Self> {
        remove_left_behind();
        let id = std::process::id();
        // An interface's name has 15 characters at most.
        let bridge = Bridge { name: format!("cm{id}"), subnet: (id % 250) as u8 };
        ip(&["link", "add", &bridge.name, "type", "bridge"])?;
        let bridge = Arc::new(bridge);
        for last in [254, 1] {
            ip(&["addr", "add", &format!("{}/24", bridge.address(last)), "dev", &bridge.name])?;
        }
        ip(&["link", "set", &bridge.name, "up"])?;
        Ok(Self { bridge, hosts: 1 })
    }

    /// Where programs in no namespace listen.
    pub fn outside(&self) -> Host {
        Host { address: self.bridge.address(1), place: None }
    }

    /// One more machine.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn host(&mut self) -> io::Result<Host> {
        self.host_at(self.bridge.address(self.hosts + 1))
    }

    /// One more machine, at an address of another network; it reaches others of that network alone.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn host_at(&mut self, address: Ipv4Addr) -> io::Result<Host> {
        self.hosts += 1;
        let number = self.hosts;
        let (id, bridge) = (std::process::id(), &self.bridge.name);
        let place = Place {
            namespace: format!("{NAME}-{id}-{number}"),
            cable: format!("cm{id}-{number}"),
            _bridge: Arc::clone(&self.bridge),
        };
        let (inside, cable) = (&place.namespace, &place.cable);
        ip(&["netns", "add", inside])?;
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", inside])?;
        ip(&["link", "set", cable, "master", bridge, "up"])?;
        ip(&["-n", inside, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", inside, "link", "set", "eth0", "up"])?;
        ip(&["-n", inside, "link", "set", "lo", "up"])?;
        Ok(Host { address, place: Some(Arc::new(place)) })
    }
}

impl Bridge {
    fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.subnet, last)
    }
}

impl Host {
    /// The machine that the test runs on.
    pub fn loopback() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, place: None }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command that runs there.
    pub fn command(&self, program: &Path) -> Command {
        match &self.place {
            None => Command::new(program),
            Some(place) => {
                // It becomes the program: same process, same signals.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &place.namespace]).arg(program);
                command
            }
        }
    }

    /// Ids of the processes that run there; none of one without a namespace.
    pub fn processes(&self) -> Vec<u32> {
        let Some(place) = &self.place else { return Vec::new() };
        let listed = Command::new("ip").args(["netns", "pids", &place.namespace]).output();
        let listed = listed.map(|listed| listed.stdout).unwrap_or_default();
        String::from_utf8_lossy(&listed).split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }

    /// Pulls its cable, or plugs it in again. Nothing happens to one without a namespace.
    ///
    /// # Panics
    /// If `ip` fails, since what the test says of its faults would not be true.
    pub fn isolate(&self, isolated: bool) {
        if let Some(place) = &self.place {
            must(&["link", "set", &place.cable, if isolated { "down" } else { "up" }]);
        }
    }

    /// Loses what it sends to another one, or does so no longer. Each still hears of the other what was sent without a
    /// connection; over TCP they are cut off.
    ///
    /// # Panics
    /// As [`Self::isolate`].
    pub fn cut_from(&self, other: &Self, cut: bool) {
        if let Some(place) = &self.place {
            let (verb, other) = (if cut { "add" } else { "del" }, other.address.to_string());
            must(&["-n", &place.namespace, "route", verb, "blackhole", &other]);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The cable goes with the namespace, once its last process is gone.
        let _ = ip(&["link", "del", &self.cable]);
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.name]);
    }
}

/// Takes away what test programs left behind that were killed.
fn remove_left_behind() {
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).stdin(Stdio::null()).output() else { return };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let Some(namespace) = line.split_whitespace().next() else { continue };
        let owner = namespace.strip_prefix(NAME).and_then(|rest| rest.split('-').nth(1));
        let Some(owner) = owner.and_then(|id| id.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            let _ = ip(&["netns", "del", namespace]);
            let _ = ip(&["link", "del", &format!("cm{owner}")]);
        }
    }
}

fn must(arguments: &[&str]) {
    if let Err(error) = ip(arguments) {
        panic!("ip {}: {error}", arguments.join(" "));
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
