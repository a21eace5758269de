//! What goes over the wire: messages, services, ids and errors. Coordinator, worker and clients all depend on this
//! crate and never on each other.
//!
//! Invariant: the conversions between messages and domain types live here and nowhere else, so that both ends of a
//! connection read a field in the same way.

mod convert;
pub mod document;
mod error;
mod ids;
pub mod record;

pub use convert::{
    duration_from_message, duration_to_message, plan_options, pricing, rollout_result_message,
    run_rollouts_request, system_time, timestamp,
};
pub use countermove_planner::limits;
pub use error::{Condition, ERROR_DOMAIN, Error, Outage, Resource, Violation};
pub use ids::{IncidentId, ParseIdError, RequestId, Tenant, WorkerId};

/// Messages and services of the package `countermove.v1`, which users see.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::large_futures, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("countermove.v1");
}

/// What a coordinator asks of a worker.
pub mod worker {
    /// Messages and services of the package `countermove.worker.v1`.
    #[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::large_futures, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("countermove.worker.v1");
    }
}

/// Version of the protocol between coordinator and worker. Both refuse a peer that speaks another one.
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest message that carries evidence, in bytes: 64 MiB of alerts and room for the rest.
pub const MAX_EVIDENCE_MESSAGE_BYTES: usize = 80 << 20;

/// All services and messages as an encoded `FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
