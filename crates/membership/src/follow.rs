//! The coordinator's side: who is registered, now and from now on.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::registry::{Change, Connection, Entry, Fault, News, Registry, Watch};
use crate::{Incarnation, Member, Registration, View};

/// The members by id.
type Members = BTreeMap<String, Member>;

/// Follows the registry and tells every change to `members`, until nobody listens any more. What is missing after the
/// registry was out of sight stays a member for `grace`.
pub async fn follow(registry: impl Registry, grace: Duration, members: watch::Sender<Members>) {
    let mut view = View::new(grace);
    let mut failures = 0;
    loop {
        let connection = one_connection(&registry, &mut view, &members, &mut failures);
        let fault = tokio::select! {
            biased;
            () = members.closed() => return,
            fault = connection => fault,
        };
        view.lose_sight(Instant::now().into_std());
        let wait = registry.pause(failures);
        failures += 1;
        tracing::warn!(%fault, ?wait, members = view.members().len(), "etcd is out of sight; known workers stay");
        tell(&mut view, &members);
        sleep(wait).await;
    }
}

/// Follows as long as the connection holds; gives what broke it.
async fn one_connection(
    registry: &impl Registry,
    view: &mut View,
    members: &watch::Sender<Members>,
    failures: &mut u32,
) -> Fault {
    let mut connection = match registry.connect().await {
        Ok(connection) => connection,
        Err(fault) => return fault,
    };
    loop {
        let mut watch = match begin(&mut connection, view).await {
            Ok(watch) => watch,
            Err(fault) => return fault,
        };
        *failures = 0;
        // What lies between is no longer kept if it ends well, so the registry is read anew.
        if let Err(fault) = read(&mut watch, view, members).await {
            return fault;
        }
    }
}

/// Reads the registry, and opens a watch on what comes after.
///
/// Nothing of an earlier watch is gone on with: a registry that lost its data counts its revisions from the beginning and may
/// have passed the one that was reached before, so that what lies below would never be heard of.
async fn begin<C: Connection>(connection: &mut C, view: &mut View) -> Result<C::Watch, Fault> {
    let listing = connection.list().await?;
    view.rebuild(listing.entries.iter().filter_map(member).collect(), Instant::now().into_std());
    connection.watch(listing.revision + 1).await
}

/// Takes in what the watch brings. Ends well if the registry has forgotten what comes next.
async fn read(
    watch: &mut impl Watch,
    view: &mut View,
    members: &watch::Sender<Members>,
) -> Result<(), Fault> {
    loop {
        let next_leave = tell(view, members);
        let news = tokio::select! {
            biased;
            news = watch.next() => news?,
            () = passed(next_leave) => continue,
        };
        let News::Changes(changes) = news else {
            tracing::info!("history was compacted; reading the registry anew");
            return Ok(());
        };
        for change in changes {
            match change {
                Change::Put(entry) => {
                    if let Some((id, member)) = member(&entry) {
                        tracing::info!(worker = id, url = member.registration.url, "worker registered");
                        view.put(&id, member);
                    }
                }
                Change::Gone { id, revision } => {
                    tracing::info!(worker = id, "worker's registration is gone");
                    view.remove(&id, Incarnation(revision));
                }
            }
        }
    }
}

/// The id and the member behind an entry; `None` for what is no registration.
pub(crate) fn member(entry: &Entry) -> Option<(String, Member)> {
    match Registration::decode(&entry.value) {
        Ok(registration) => {
            Some((entry.id.clone(), Member { registration, incarnation: Incarnation(entry.revision) }))
        }
        Err(error) => {
            tracing::warn!(worker = entry.id, %error, "a registration cannot be read and is left out");
            None
        }
    }
}

/// Tells the members, if they changed, and gives the time at which one of them leaves.
fn tell(view: &mut View, members: &watch::Sender<Members>) -> Option<Instant> {
    let next = view.expire(Instant::now().into_std());
    let now = view.members();
    members.send_if_modified(|known| {
        let changed = *known != now;
        *known = now;
        changed
    });
    next.map(Instant::from_std)
}

async fn passed(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
