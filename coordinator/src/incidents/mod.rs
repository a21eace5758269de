//! x
mod projection;
mod store;
