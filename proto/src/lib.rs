//! What goes over the wire: messages, services, ids and errors. Coordinator, worker and clients all depend on this
//! crate and never on each other.
//!
//! Messages and services are generated from the .proto files and kept in `src/generated` (`make protos`), so that a build
//! compiles no compiler of them; a test holds the two together.
//!
//! Invariant: it knows no incident and no plan beyond their messages. What a message means to the planner is said in
//! `crates/wire`, so that whoever wants the messages alone compiles no planner.

mod answers;
mod delivery;
mod error;
mod ids;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;

pub use answers::{Answers, OurAnswers, caller_timeout};
pub use delivery::remark;
pub use error::{Condition, ERROR_DOMAIN, Error, Outage, Quota, Resource, Violation};
pub use ids::{IncidentId, ParseIdError, RequestId, Tenant, TokenId, WorkerId};
pub use time::{duration_from_message, duration_to_message, system_time, time_text, timestamp};

/// Messages and services of the package `countermove.v1`, which users see.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::large_futures, unreachable_pub)]
pub mod v1 {
    include!("generated/countermove.v1.rs");
}

/// What a coordinator asks of a worker.
pub mod worker {
    /// Messages and services of the package `countermove.worker.v1`.
    #[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::large_futures, unreachable_pub)]
    pub mod v1 {
        include!("generated/countermove.worker.v1.rs");
    }
}

/// Version of the protocol between coordinator and worker. Both refuse a peer that speaks another one.
pub const PROTOCOL_VERSION: u32 = 19;

/// Largest message that carries evidence, in bytes: 64 MiB of alerts and room for the rest.
pub const MAX_EVIDENCE_MESSAGE_BYTES: usize = 80 << 20;

/// All services and messages as an encoded `FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");
