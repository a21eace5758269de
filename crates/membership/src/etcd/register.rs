//! The worker's side: one registration, kept as long as the process lives.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{CALL, Endpoints, Fault, RETRY, connect, key, member};
use crate::Registration;

/// Registers a worker and keeps it registered until `shutdown` ends; then the registration is taken back. What goes wrong
/// is logged and tried again: a worker works without etcd as well, for those who know it.
pub async fn register(
    endpoints: Endpoints,
    id: String,
    registration: Registration,
    ttl: Duration,
    shutdown: impl Future<Output = ()>,
) {
    let mut lease = None;
    let keep = async {
        let mut failures = 0;
        loop {
            let fault = match keep(&endpoints, &id, &registration, ttl, &mut lease, &mut failures).await {
                Ok(()) => continue,
                Err(fault) => fault,
            };
            let wait = RETRY.wait(failures);
            failures += 1;
            tracing::warn!(worker = id, %fault, ?wait, "registration is interrupted");
            sleep(wait).await;
        }
    };
    tokio::select! {
        () = keep => {}
        () = shutdown => {}
    }
    let Some(lease) = lease else { return };
    let leave = async { connect(&endpoints).await?.lease_revoke(lease.id).await.map_err(Fault::from) };
    match timeout(CALL, leave).await {
        Ok(Ok(_)) => tracing::info!(worker = id, "registration was taken back"),
        _ => tracing::warn!(worker = id, "registration could not be taken back; it goes with its lease"),
    }
}

/// A lease, and when it is over by this process's clock at the earliest.
#[derive(Clone, Copy)]
struct Lease {
    id: i64,
    until: Instant,
}

/// One connection's worth of being registered. Ends when the lease was lost, or with what broke the connection; a lease
/// that still runs is gone on with by the next call.
async fn keep(
    endpoints: &Endpoints,
    id: &str,
    registration: &Registration,
    ttl: Duration,
    lease: &mut Option<Lease>,
    failures: &mut u32,
) -> Result<(), Fault> {
    let mut client = connect(endpoints).await?;
    let mut held = match lease.filter(|lease| lease.until > Instant::now()) {
        Some(held) => held,
        None => {
            let fresh = enter(&mut client, id, registration, ttl).await?;
            *lease = Some(fresh);
            fresh
        }
    };
    *failures = 0;
    let (mut keeper, mut answers) = within(client.lease_keep_alive(held.id)).await?;
    loop {
        // Half of what is left, so that there is time for more tries.
        sleep(held.until.saturating_duration_since(Instant::now()) / 2).await;
        match renew(&mut keeper, &mut answers, held.until).await? {
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
    client: &mut Client,
    id: &str,
    registration: &Registration,
    ttl: Duration,
) -> Result<Lease, Fault> {
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
    let asked = Instant::now();
    let granted = within(client.lease_grant(seconds, None)).await?;
    let lease = granted.id();
    let (key, value) = (key(id), registration.encode());
    let put = TxnOp::put(key.clone(), value.clone(), Some(PutOptions::new().with_lease(lease)));
    let create = Txn::new()
        .when([Compare::version(key.clone(), CompareOp::Equal, 0)])
        .and_then([put.clone()])
        .or_else([TxnOp::get(key.clone(), None)]);
    let answer = within(client.txn(create)).await?;
    if !answer.succeeded() {
        let there = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().cloned(),
            _ => None,
        });
        let mine = there
            .as_ref()
            .and_then(member)
            .is_some_and(|(_, m)| m.registration.process == registration.process);
        let replaced = match there {
            // This process's own, from before it lost its way: it moves to the new lease.
            Some(entry) if mine => {
                let replace = Txn::new()
                    .when([Compare::mod_revision(key, CompareOp::Equal, entry.mod_revision())])
                    .and_then([put]);
                within(client.txn(replace)).await?.succeeded()
            }
            _ => false,
        };
        if !replaced {
            let _ = within(client.lease_revoke(lease)).await;
            return Err(Fault::Broken(
                "another process is registered with this id; if it is gone, its lease runs out soon",
            ));
        }
    }
    tracing::info!(worker = id, lease, "registered");
    let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0));
    Ok(Lease { id: lease, until: asked + ttl })
}

/// Renews the lease. Gives its new end, or `None` if it has run out.
async fn renew(
    keeper: &mut LeaseKeeper,
    answers: &mut LeaseKeepAliveStream,
    until: Instant,
) -> Result<Option<Instant>, Fault> {
    let asked = Instant::now();
    keeper.keep_alive().await?;
    let answer = timeout_at(until.max(asked + Duration::from_millis(200)), answers.message())
        .await
        .map_err(|_| Fault::Broken("etcd does not answer"))??
        .ok_or(Fault::Broken("etcd ended the stream"))?;
    let left = u64::try_from(answer.ttl()).unwrap_or(0);
    Ok((left > 0).then(|| asked + Duration::from_secs(left)))
}

async fn within<T>(call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Fault> {
    Ok(timeout(CALL, call).await.map_err(|_| Fault::Broken("etcd does not answer"))??)
}
