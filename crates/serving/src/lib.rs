//! What both servers do with those who call, before a service sees a call: taking connections, and the messages that come over
//! them, within bounds.
//!
//! Invariants: one peer never takes so much that others find nothing. Who connects and says nothing, who calls and does not send
//! its message, and who has nothing to ask any more, is hung up on; none of them holds a place that a call needs.

mod bodies;
mod connections;
mod port;
mod prepared;
mod secure;
mod shares;

pub use bodies::{Bodies, InFlight, MessageLimits};
pub use connections::{Connection, ConnectionLimits, InUse, KeepInUse, Peer, connections};
pub use port::Port;
pub use prepared::{Served, prepared};
pub use secure::{Secured, secured};
pub use shares::{Full, Held, Shares};
