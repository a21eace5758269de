//! What a coordinator owes to the others on its store, each as a task of its own so that none waits for another: the heartbeat
//! that renews its lease, the failover of what others left behind, and forgetting what is old.
//!
//! Invariant: nothing but the store's own answer stands between two renewals. However long it takes to go on with an
//! incident, the lease is kept meanwhile; and what another coordinator has taken over is let go of at the next renewal.

use std::sync::Arc;
use std::time::Duration;

use countermove_proto::IncidentId;
use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::store::{Held, Ownership, StoreError};
use super::{Incidents, Stop};

/// Incidents that are taken over at a time: few, so that several coordinators share what one leaves behind, and so that
/// the evidence of few is in memory at once.
const AT_ONCE: usize = 4;
/// Incidents that are gone on with side by side.
const SIDE_BY_SIDE: usize = 2;
/// How long a request is remembered.
const REQUESTS: Duration = Duration::from_secs(24 * 3600);
/// Time between two looks for what may be forgotten.
const FORGET: Duration = Duration::from_secs(3600);
/// Incidents that are forgotten in one step; others write between two.
const FORGOTTEN_AT_ONCE: u32 = 50;

/// How a coordinator shares incidents with others.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Where other coordinators reach this one, such as `http://10.0.0.5:7700`.
    pub address: String,
    /// How long after its last sign of life a coordinator counts as gone. Above zero.
    pub lease: Duration,
    /// For how long the store has to answer without a break before anything is taken over: after an outage others need
    /// time to renew as well. As long as the lease, or zero if there can be no others.
    pub settling: Duration,
    /// How long ended incidents are kept; absent: for ever.
    pub keep: Option<Duration>,
}

/// What the last renewal told.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// Since when the store has answered every one; absent while it does not.
    since: Option<Instant>,
    /// Incidents that are this coordinator's by the store and that it does not work on, since the store failed them.
    orphans: Vec<IncidentId>,
}

impl Incidents {
    /// Begins to keep this coordinator's lease, to take over what others left behind, and to forget what is old, until
    /// the process stops. Nothing of it is needed for a store that does not outlive the process.
    pub fn share(&self, sharing: Sharing) {
        let Some(ownership) = self.ownership() else { return };
        let (standing, stands) = watch::channel(Standing::default());
        let (this, kept, address) = (self.clone(), Arc::clone(&ownership), sharing.address);
        self.0.tasks.spawn(async move { this.keep_lease(&*kept, address, sharing.lease, standing).await });
        let (this, kept) = (self.clone(), Arc::clone(&ownership));
        self.0.tasks.spawn(async move { this.keep_adopting(&*kept, sharing.settling, stands).await });
        let this = self.clone();
        self.0.tasks.spawn(async move { this.keep_looking().await });
        let this = self.clone();
        self.0.tasks.spawn(async move { this.keep_forgetting(&*ownership, sharing.keep).await });
    }

    /// Whether the store answers; always, if it does not outlive the process.
    pub(crate) fn store_answers(&self) -> watch::Receiver<bool> {
        self.0.answers.subscribe()
    }

    async fn keep_lease(
        &self,
        ownership: &dyn Ownership,
        address: String,
        lease: Duration,
        standing: watch::Sender<Standing>,
    ) {
        let mut beat = every(lease / 3);
        while self.until_next(&mut beat).await {
            // Before the store is asked: what is begun meanwhile is not in its answer, and is no loss.
            let held = self.held();
            match ownership.renew(self.0.me, address.clone(), lease).await {
                Ok(owned) => {
                    self.let_go(&held, &owned);
                    // Whatever is in the store took its place here before, so what has none now is an orphan.
                    let orphans = self.orphans(owned.iter().map(|held| held.id));
                    standing.send_modify(|known| {
                        let since = known.since.or_else(|| Some(Instant::now()));
                        *known = Standing { since, orphans };
                    });
                    self.0.answers.send_if_modified(|answers| !std::mem::replace(answers, true));
                }
                Err(error) => {
                    tracing::warn!(%error, "this coordinator's lease was not renewed");
                    standing.send_replace(Standing::default());
                    self.0.answers.send_if_modified(|answers| std::mem::replace(answers, false));
                }
            }
        }
    }

    /// Lets go of what the store says is another coordinator's. Who watches it here goes on from the store, and who wants
    /// to change it is passed on.
    fn let_go(&self, held: &[Held], owned: &[Held]) {
        for lost in held.iter().filter(|held| !owned.contains(held)) {
            if let Some(handle) = self.lock().get(&lost.id) {
                // An incident that has ended meanwhile is owned by nobody, and its task is over anyway.
                handle.lost.cancel();
            }
        }
    }

    async fn keep_adopting(
        &self,
        ownership: &dyn Ownership,
        settling: Duration,
        mut standing: watch::Receiver<Standing>,
    ) {
        let (started, mut stop) = (Instant::now(), self.0.stop.subscribe());
        loop {
            // With every renewal; those that come while something is taken over count as one.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop >= Stop::HandOverNow) => return,
                renewed = standing.changed() => if renewed.is_err() { return },
            }
            // Without a worker what is taken over would only fail. One that is about to connect is waited for.
            let can_work =
                self.0.fleet.any_ready() || started.elapsed() >= self.0.options.dispatch.worker_wait;
            while can_work && standing.borrow().since.is_some_and(|since| since.elapsed() >= settling) {
                let orphans = self.orphans(standing.borrow().orphans.iter().copied());
                match self.adopt_some(ownership, orphans).await {
                    Ok(0) => break,
                    // There may be more.
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "nothing could be taken over");
                        break;
                    }
                }
            }
        }
    }

    /// Takes over a few of those that nobody owns, and says of how many it went on with.
    async fn adopt_some(
        &self,
        ownership: &dyn Ownership,
        orphans: Vec<IncidentId>,
    ) -> Result<usize, StoreError> {
        let room = self.0.options.most_active.saturating_sub(self.active()).min(AT_ONCE);
        if room == 0 || !self.accepts() {
            return Ok(0);
        }
        let claims = ownership.claim(self.0.me, orphans, room).await?;
        let adopted = stream::iter(claims).map(|claim| self.take_over(ownership, claim));
        Ok(adopted.buffer_unordered(SIDE_BY_SIDE).filter(|done| std::future::ready(*done)).count().await)
    }

    async fn keep_forgetting(&self, ownership: &dyn Ownership, keep: Option<Duration>) {
        let mut beat = every(FORGET);
        while self.until_next(&mut beat).await {
            let mut all = 0;
            loop {
                match ownership.forget(keep, REQUESTS, FORGOTTEN_AT_ONCE).await {
                    Ok(incidents) => {
                        all += incidents;
                        if incidents < u64::from(FORGOTTEN_AT_ONCE) {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "old incidents were not forgotten");
                        break;
                    }
                }
            }
            if all > 0 {
                tracing::info!(incidents = all, "old incidents were forgotten");
            }
        }
    }

    /// Incidents that are planned here and are in the store.
    fn held(&self) -> Vec<Held> {
        let active = self.lock();
        let written = active.iter().filter(|(_, handle)| handle.now.borrow().last_sequence > 0);
        written.map(|(&id, handle)| Held { id, epoch: handle.epoch }).collect()
    }

    /// Those that nobody works on here.
    fn orphans(&self, ids: impl Iterator<Item = IncidentId>) -> Vec<IncidentId> {
        let active = self.lock();
        ids.filter(|id| !active.contains_key(id)).collect()
    }

    /// Waits for the next beat; false when the process stops.
    async fn until_next(&self, beat: &mut Interval) -> bool {
        let mut stop = self.0.stop.subscribe();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop >= Stop::HandOverNow) => false,
            _ = beat.tick() => true,
        }
    }
}

fn every(time: Duration) -> Interval {
    let mut beat = interval(time);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}
