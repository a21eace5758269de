//! The coordinator's side: who is registered, now and from now on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use etcd_client::{Client, EventType, GetOptions, WatchOptions, WatchStream};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::{CALL, Endpoints, Fault, RETRY, WORKERS, connect, member};
use crate::{Incarnation, Member, View};

/// The members by id.
type Members = BTreeMap<String, Member>;

/// Follows the registry and tells every change to `members`, until nobody listens any more. What is missing after the
/// registry was out of sight stays a member for `grace`.
pub async fn follow(endpoints: Endpoints, grace: Duration, members: watch::Sender<Members>) {
    let mut view = View::new(grace);
    let mut failures = 0;
    loop {
        let connection = one_connection(&endpoints, &mut view, &members, &mut failures);
        let fault = tokio::select! {
            fault = connection => fault,
            () = members.closed() => return,
        };
        let wait = RETRY.wait(failures);
        failures += 1;
        tracing::warn!(%fault, ?wait, members = view.members().len(), "etcd is out of sight; known workers stay");
        sleep(wait).await;
        tell(&mut view, &members);
    }
}

/// Follows as long as the connection holds; gives what broke it.
async fn one_connection(
    endpoints: &Endpoints,
    view: &mut View,
    members: &watch::Sender<Members>,
    failures: &mut u32,
) -> Fault {
    let mut client = match connect(endpoints).await {
        Ok(client) => client,
        Err(fault) => return fault,
    };
    loop {
        let mut stream = match begin(&mut client, view).await {
            Ok(stream) => stream,
            Err(fault) => return fault,
        };
        *failures = 0;
        // What lies between is no longer kept if it ends well, so the registry is read anew.
        if let Err(fault) = read(&mut stream, view, members).await {
            return fault;
        }
    }
}

/// Reads the registry, and opens a watch on what comes after.
///
/// Nothing of an earlier watch is gone on with: an etcd that lost its data counts its revisions from the beginning and may
/// have passed the one that was reached before, so that what lies below would never be heard of.
async fn begin(client: &mut Client, view: &mut View) -> Result<WatchStream, Fault> {
    let listing = client.get(WORKERS, Some(GetOptions::new().with_prefix()));
    let listing = timeout(CALL, listing).await.map_err(|_| Fault::Broken("etcd does not answer"))??;
    let header = listing.header().ok_or(Fault::Broken("etcd's answer has no header"))?;
    view.rebuild(listing.kvs().iter().filter_map(member).collect(), Instant::now());
    let options = WatchOptions::new().with_prefix().with_start_revision(header.revision() + 1);
    let watching = client.watch(WORKERS, Some(options));
    Ok(timeout(CALL, watching).await.map_err(|_| Fault::Broken("etcd does not answer"))??)
}

/// Takes in what the watch brings. Ends well if the registry has forgotten what comes next.
async fn read(
    stream: &mut WatchStream,
    view: &mut View,
    members: &watch::Sender<Members>,
) -> Result<(), Fault> {
    loop {
        let next_leave = tell(view, members);
        let message = tokio::select! {
            message = stream.message() => message?.ok_or(Fault::Broken("etcd ended the stream"))?,
            () = passed(next_leave) => continue,
        };
        if message.compact_revision() > 0 {
            tracing::info!(
                revision = message.compact_revision(),
                "history was compacted; reading the registry anew"
            );
            return Ok(());
        }
        if message.canceled() {
            return Err(Fault::Broken("etcd cancelled the watch"));
        }
        for event in message.events() {
            let Some(entry) = event.kv() else { continue };
            match event.event_type() {
                EventType::Put => {
                    if let Some((id, member)) = member(entry) {
                        tracing::info!(worker = id, url = member.registration.url, "worker registered");
                        view.put(&id, member);
                    }
                }
                EventType::Delete => {
                    let Some(id) = entry.key_str().ok().and_then(|key| key.strip_prefix(WORKERS)) else {
                        continue;
                    };
                    tracing::info!(worker = id, "worker's registration is gone");
                    view.remove(id, Incarnation(u64::try_from(entry.mod_revision()).unwrap_or_default()));
                }
            }
        }
    }
}

/// Tells the members, if they changed, and gives the time at which one of them leaves.
fn tell(view: &mut View, members: &watch::Sender<Members>) -> Option<Instant> {
    let next = view.expire(Instant::now());
    let now = view.members();
    members.send_if_modified(|known| {
        let changed = *known != now;
        *known = now;
        changed
    });
    next
}

async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
