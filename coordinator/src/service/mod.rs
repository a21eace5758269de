//! The gRPC services that users see.
//!
//! Contract: input is checked at the edge, before anything is started. Every mutation takes a `request_id`, under
//! which it has one effect and one answer, and `validate_only`, under which it has none.

mod access;
mod audit;
mod audited;
mod checks;
mod cluster;
mod idempotency;
mod incident;
mod pages;
mod peers;

pub use access::AccessApi;
pub use audit::AuditApi;
pub use audited::Audited;
pub use cluster::ClusterApi;
pub use incident::IncidentApi;

/// Bytes of answers that are remembered for repeated requests, for each service.
const REMEMBERED: u64 = 32 << 20;
