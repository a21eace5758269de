//! The coordinator: takes incidents in, plans them, and has workers do the model work. It holds no weights.

pub mod access;
pub mod anchoring;
pub mod audit;
pub mod config;
pub mod console;
pub mod cpu;
pub mod discovery;
pub mod dispatch;
mod export;
pub mod incidents;
mod json;
pub mod metrics;
pub mod notify;
mod outside;
#[cfg(test)]
mod reference;
pub mod replica;
pub mod server;
pub mod service;
mod shed;
pub mod webhook;
pub mod workers;
