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

/// Where in the registry's history a follower is.
#[derive(Clone, Copy)]
struct Place {
    cluster: u64,
    revision: i64,
}

/// Follows the registry and tells every change to `members`, until nobody listens any more. What is missing after the
/// registry was out of sight stays a member for `grace`.
pub async fn follow(endpoints: Endpoints, grace: Duration, members: watch::Sender<Members>) {
    let (mut view, mut place) = (View::new(grace), None);
    let mut failures = 0;
    loop {
        let connection = one_connection(&endpoints, &mut view, &mut place, &members, &mut failures);
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
    place: &mut Option<Place>,
    members: &watch::Sender<Members>,
    failures: &mut u32,
) -> Fault {
    let mut client = match connect(endpoints).await {
        Ok(client) => client,
        Err(fault) => return fault,
    };
    loop {
        let mut stream = match begin(&mut client, view, place).await {
            Ok(stream) => stream,
            Err(fault) => return fault,
        };
        *failures = 0;
        match read(&mut stream, view, place, members).await {
            // What lies between is no longer kept, so the registry is read anew.
            Ok(()) => *place = None,
            Err(fault) => return fault,
        }
    }
}

/// Opens a watch that goes on where the last one ended, or, where that is not possible, reads everything first.
async fn begin(
    client: &mut Client,
    view: &mut View,
    place: &mut Option<Place>,
) -> Result<WatchStream, Fault> {
    let listing = client.get(WORKERS, Some(GetOptions::new().with_prefix()));
    let listing = timeout(CALL, listing).await.map_err(|_| Fault::Broken("etcd does not answer"))??;
    let header = listing.header().ok_or(Fault::Broken("etcd's answer has no header"))?;
    let now = Place { cluster: header.cluster_id(), revision: header.revision() };
    // Another cluster, or one that lost its data, would keep silent about a revision that it has not reached.
    let goes_on = place.filter(|place| place.cluster == now.cluster && place.revision <= now.revision);
    let from = match goes_on {
        Some(place) => place,
        None => {
            view.rebuild(listing.kvs().iter().filter_map(member).collect(), Instant::now());
            now
        }
    };
    *place = Some(from);
    let options = WatchOptions::new().with_prefix().with_start_revision(from.revision + 1);
    let watching = client.watch(WORKERS, Some(options));
    Ok(timeout(CALL, watching).await.map_err(|_| Fault::Broken("etcd does not answer"))??)
}

/// Takes in what the watch brings. Ends well if the registry has forgotten what comes next.
async fn read(
    stream: &mut WatchStream,
    view: &mut View,
    place: &mut Option<Place>,
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
        if let (Some(place), Some(header)) = (place.as_mut(), message.header()) {
            place.revision = place.revision.max(header.revision());
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
