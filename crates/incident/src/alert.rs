//! What records are made of: the pair by which alerts are compared, ends of traffic, and counts.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::classification::{AlertClass, normalise_classification};

/// A class and a priority: what predicted and observed alerts are compared by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AlertKind {
    /// Class in its normal form; see [`normalise_classification`].
    pub classification: String,
    /// Priority, from 1 (high).
    pub priority: Option<u8>,
}

impl AlertKind {
    /// The kind of an alert with this class, in any spelling, and this priority; without one, the class's own.
    pub fn new(classification: &str, priority: Option<u8>) -> AlertKind {
        let priority = priority.or_else(|| AlertClass::find(classification).map(|class| class.priority));
        AlertKind { classification: normalise_classification(classification), priority }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.classification.is_empty() { "no class" } else { &self.classification };
        match self.priority {
            Some(priority) => write!(f, "{name} (priority {priority})"),
            None => f.write_str(name),
        }
    }
}

/// One end of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address in its usual short form, or a name as the log writes it.
    pub address: String,
    /// Port, if the protocol has ports and the log names it.
    pub port: Option<u16>,
}

impl Endpoint {
    /// An endpoint. An IP address is put into its usual form; an IPv4 address in IPv6 (`::ffff:10.0.2.11`) is the former.
    pub fn new(address: &str, port: Option<u16>) -> Endpoint {
        let address = match address.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().to_string(),
            Err(_) => address.to_owned(),
        };
        Endpoint { address, port }
    }

    /// The address, if it is one and not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    /// `10.0.2.11:22`, `[2001:db8::1]:22`, or the address alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.address.contains(':') => write!(f, "[{}]:{port}", self.address),
            Some(port) => write!(f, "{}:{port}", self.address),
            None => f.write_str(&self.address),
        }
    }
}

/// Identity of the rule that raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Signature {
    /// Generator: 1 for text rules.
    pub gid: u32,
    /// Rule.
    pub sid: u32,
    /// Revision of the rule.
    pub rev: u32,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.gid, self.sid, self.rev)
    }
}

/// How many records one record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Number of records, at least 1.
    pub count: u64,
    /// Time of the last of them, if it is later than that of the first.
    pub last: Option<Timestamp>,
}

impl Default for Repeats {
    /// Once.
    fn default() -> Self {
        Repeats { count: 1, last: None }
    }
}
