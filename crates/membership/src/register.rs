//! The worker's side: one registration, kept by its heartbeat as long as the process lives.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::Registration;
use crate::follow::member;
use crate::registry::{Connection, Created, Fault, LeaseId, Registry, Renewals};

/// Time that taking a registration back may take.
const LEAVE: Duration = Duration::from_secs(3);

/// Registers a worker and keeps it registered until `shutdown` ends; then the registration is taken back. What goes wrong
/// is logged and tried again: a worker works without a registry as well, for those who know it.
pub async fn register(
    registry: impl Registry,
    id: String,
    registration: Registration,
    ttl: Duration,
    shutdown: impl Future<Output = ()>,
) {
    let mut lease = None;
    let keep = async {
        let mut failures = 0;
        loop {
            let fault = match keep(&registry, &id, &registration, ttl, &mut lease, &mut failures).await {
                Ok(()) => continue,
                Err(fault) => fault,
            };
            // A registry that is back ends a lease when its time is over: there have to be some tries within it.
            let wait = registry.pause(failures).min(ttl / 4);
            failures += 1;
            tracing::warn!(worker = id, %fault, ?wait, "registration is interrupted");
            sleep(wait).await;
        }
    };
    tokio::select! {
        biased;
        () = shutdown => {}
        () = keep => {}
    }
    let Some(lease) = lease else { return };
    let leave = async { registry.connect().await?.revoke(lease.id).await };
    match timeout(LEAVE, leave).await {
        Ok(Ok(())) => tracing::info!(worker = id, "registration was taken back"),
        _ => tracing::warn!(worker = id, "registration could not be taken back; it goes with its lease"),
    }
}

/// A lease, and when it is over by this process's clock at the earliest.
#[derive(Clone, Copy)]
struct Lease {
    id: LeaseId,
    until: Instant,
}

/// One connection's worth of being registered. Ends when the lease was lost, or with what broke the connection; a lease
/// that still runs is gone on with by the next call.
async fn keep(
    registry: &impl Registry,
    id: &str,
    registration: &Registration,
    ttl: Duration,
    lease: &mut Option<Lease>,
    failures: &mut u32,
) -> Result<(), Fault> {
    let mut connection = registry.connect().await?;
    let mut held = match lease.filter(|lease| lease.until > Instant::now()) {
        Some(held) => held,
        None => {
            let fresh = enter(&mut connection, id, registration, ttl).await?;
            *lease = Some(fresh);
            fresh
        }
    };
    *failures = 0;
    let mut renewals = connection.renewals(held.id).await?;
    loop {
        // Half of what is left, so that there is time for more tries.
        sleep(held.until.saturating_duration_since(Instant::now()) / 2).await;
        match renew(&mut renewals, held.until).await? {
            Some(until) => {
                held.until = until;
                *lease = Some(held);
            }
            None => {
                tracing::warn!(worker = id, "the lease ran out; registering again");
                *lease = None;
                return Ok(());
            }
        }
    }
}

/// Makes the registration, if there is none.
async fn enter(
    connection: &mut impl Connection,
    id: &str,
    registration: &Registration,
    ttl: Duration,
) -> Result<Lease, Fault> {
    let asked = Instant::now();
    let (lease, ttl) = connection.grant(ttl).await?;
    if let Created::Taken(there) = connection.create(id, registration.encode(), lease).await? {
        let mine = there
            .as_ref()
            .and_then(member)
            .is_some_and(|(_, member)| member.registration.process == registration.process);
        let replaced = match there {
            // This process's own, from before it lost its way: it moves to the new lease.
            Some(entry) if mine => {
                connection.replace(id, registration.encode(), lease, entry.revision).await?
            }
            _ => false,
        };
        if !replaced {
            let _ = connection.revoke(lease).await;
            let taken = "another process is registered with this id; if it is gone, its lease runs out soon";
            return Err(Fault(taken.to_owned()));
        }
    }
    tracing::info!(worker = id, lease, "registered");
    Ok(Lease { id: lease, until: asked + ttl })
}

/// Renews the lease. Gives its new end, or `None` if it has run out.
async fn renew(renewals: &mut impl Renewals, until: Instant) -> Result<Option<Instant>, Fault> {
    let asked = Instant::now();
    let left = timeout_at(until.max(asked + Duration::from_millis(200)), renewals.renew())
        .await
        .map_err(|_| Fault("etcd does not answer".to_owned()))??;
    Ok((!left.is_zero()).then(|| asked + left))
}
