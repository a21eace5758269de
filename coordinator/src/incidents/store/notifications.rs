//! Notifications that no receiver has taken yet. They are written with the events that they tell of ([`super::Append`]).

use futures::future::BoxFuture;

use super::{OwnerId, StoreError};

/// A notification for one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Name of the receiver.
    pub receiver: String,
    /// What tells a repetition of it; no two for one receiver have the same.
    pub id: String,
    /// What is told, as JSON.
    pub body: Vec<u8>,
}

/// Keeps notifications until they are delivered or given up.
pub trait Notifications: Send + Sync {
    /// Up to `limit` that wait for `receiver`, the oldest first, and that are this owner's to deliver: those that it wrote, and those of
    /// owners that are not alive, which are its own from now on. One that is under way is given again.
    fn waiting(
        &self,
        owner: OwnerId,
        receiver: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Waiting>, StoreError>>;

    /// Forgets one that was taken, or given up.
    fn settle(&self, receiver: String, id: String) -> BoxFuture<'_, Result<(), StoreError>>;
}
