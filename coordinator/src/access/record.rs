//! What is told of calls: each one that was refused, and each one that changed something.
//!
//! Contract: the gate tells of a call once, when its outcome is known, with who called, what, about what, when, from where, and
//! what came of it. Whoever keeps a record implements [`Record`]; the log gets a line in any case.

use std::net::IpAddr;
use std::time::SystemTime;

use tonic::Code;

/// One call, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who called; empty if that is not known.
    pub who: String,
    /// The call, `package.Service/Method`, cut to what is short.
    pub what: String,
    /// When it came.
    pub when: SystemTime,
    /// From where.
    pub from: Option<IpAddr>,
    /// The coordinator that passed it on, by its SPIFFE id.
    pub by: Option<String>,
    /// What came of it.
    pub outcome: Code,
    /// Why it was refused; empty if it was not.
    pub why: String,
    /// Whether a service answered it, and not the gate.
    pub was_let_through: bool,
}

/// Somebody who is told.
pub trait Record: Send + Sync + 'static {
    /// Takes a call into the record.
    fn tell(&self, told: &Told);
}

/// The log, under the target `countermove::access`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogRecord;

impl Record for LogRecord {
    fn tell(&self, told: &Told) {
        let Told { who, what, from, by, outcome, why, .. } = told;
        let from = from.map(tracing::field::display);
        match outcome {
            Code::Ok => {
                tracing::info!(target: "countermove::access", who, what, from, by, "a call changed something")
            }
            outcome => {
                tracing::warn!(target: "countermove::access", who, what, from, by, ?outcome, why, "a call was refused")
            }
        }
    }
}
