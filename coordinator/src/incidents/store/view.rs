//! Whose incidents a piece of work may read from a store.
//!
//! Contract: what is read while a call is answered is read in the view of its caller, whatever the code that reads has in mind; a store
//! that can hold others' incidents back does so ([`super::SqlStore`] on PostgreSQL). The cluster's own work is in no call and sees all:
//! planning, taking over, forgetting, signing.

use std::future::Future;
use std::sync::Arc;

use countermove_proto::Tenant;

tokio::task_local! {
    static VIEW: View;
}

/// Whose incidents can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Everybody's.
    All,
    /// Those of these tenants.
    Of(Arc<[Tenant]>),
}

impl View {
    /// That of the work at hand.
    pub(super) fn current() -> Self {
        VIEW.try_with(Clone::clone).unwrap_or(Self::All)
    }

    /// Work that sees no more than this. What it spawns is no part of it.
    pub(crate) fn over<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        VIEW.scope(self, work)
    }

    /// The same for work that is done at once, such as polling a stream.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        VIEW.sync_scope(self.clone(), work)
    }
}
