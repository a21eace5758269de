//! The model engine.

mod backend;
mod error;

pub use backend::{Backend, Feed, Shape};
pub use error::{EngineError, LoadError};
