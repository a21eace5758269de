//! A worker: one replica of the model behind gRPC.
//!
//! It answers single questions (`Generate`) and runs whole rollouts with the planner's own code (`RunRollouts`), all of
//! them at once, so that the engine decodes them in one batch. The model has threads of its own; the runtime that
//! answers calls and health checks never computes.
//!
//! Invariants:
//! - A call whose client is gone, whose deadline has passed or whose worker stops drops its futures, and with them its
//!   sequences: the decode stops within one step.
//! - The number of sequences taken on is bounded; what does not fit is refused at once with `RESOURCE_EXHAUSTED`.
//! - A draining worker says so in its health first, refuses new work, and finishes what it has within a bound.

mod adapter;
mod admission;
mod call;
mod cancelling;
mod config;
mod cpu_part;
mod deadline;
mod engine_model;
mod measure;
pub mod metrics;
mod model_command;
mod registered;
mod server;
mod service;
mod simulate;

pub use adapter::AdapterChoice;
#[cfg(feature = "etcd")]
pub use config::Registry;
pub use config::{Arguments, Command, Config, ConfigError, NAMES};
pub use countermove_model::EngineStats;
pub use cpu_part::{CpuPart, ParsePartError};
pub use engine_model::EngineModel;
pub use model_command::ModelArguments;
pub use registered::{serve_with, simulated};
pub use server::{ServeError, serve};
pub use service::{Limits, Replica, ServedModel, Worker};
pub use simulate::SimulatedModel;
