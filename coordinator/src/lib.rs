//! The coordinator: takes incidents in, plans them, and has workers do the model work. It holds no weights.

pub mod discovery;
pub mod dispatch;
pub mod incidents;
mod service;
pub mod workers;
