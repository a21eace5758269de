//! x
mod idempotency;
mod pages;
