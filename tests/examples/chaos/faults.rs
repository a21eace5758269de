//! What is done to a cluster, as a seed draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use countermove_tests::{Dice, Signal};
use tokio::sync::watch;

use crate::cluster::{COORDINATORS, Cluster, LEASE, MEMBERS, WORKERS};

/// Faults that last at the same time, at most.
const AT_ONCE: usize = 2;
/// Time between two looks at the cluster.
const TICK: Duration = Duration::from_millis(50);

/// How often each fault was injected.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    KillWorker,
    FreezeWorker,
    KillEngine,
    KillCoordinator,
    FreezeCoordinator,
    RestartDatabase,
    FillDisk,
    KillMember,
    KillAllMembers,
    IsolateWorker,
    IsolateCoordinator,
    IsolateMember,
    CutFromWorker,
    CutFromDatabase,
    CutFromRegistry,
    SilenceReceiver,
}

/// Every kind with its name, how often it is drawn beside the others, and the milliseconds that it lasts at least and at
/// most.
const KINDS: [(Kind, &str, u64, u64, u64); 16] = [
    (Kind::KillWorker, "workers killed", 5, 500, 3500),
    // Longer than its lease, and than a ping may take.
    (Kind::FreezeWorker, "workers frozen", 2, LEASE * 2000, LEASE * 3000),
    (Kind::KillEngine, "engines killed", 3, 500, 3500),
    (Kind::KillCoordinator, "coordinators killed", 5, 500, 3500),
    (Kind::FreezeCoordinator, "coordinators frozen", 2, LEASE * 1500, LEASE * 2500),
    (Kind::RestartDatabase, "databases restarted", 2, 500, 3500),
    (Kind::FillDisk, "disks filled", 2, 1000, 6000),
    (Kind::KillMember, "etcd members killed", 4, 500, 5000),
    (Kind::KillAllMembers, "etcd killed whole", 1, 2000, 8000),
    (Kind::IsolateWorker, "workers isolated", 2, 2000, 12_000),
    (Kind::IsolateCoordinator, "coordinators isolated", 2, 2000, 12_000),
    (Kind::IsolateMember, "etcd members isolated", 2, 2000, 12_000),
    (Kind::CutFromWorker, "coordinators cut from a worker", 2, 2000, 12_000),
    (Kind::CutFromDatabase, "coordinators cut from the database", 2, 2000, 12_000),
    (Kind::CutFromRegistry, "workers cut from etcd", 2, 2000, 12_000),
    (Kind::SilenceReceiver, "receivers silenced", 3, 2000, 25_000),
];

/// One fault.
#[derive(Clone, Debug)]
struct Fault {
    kind: Kind,
    name: &'static str,
    worker: usize,
    coordinator: usize,
    member: usize,
    ends: Instant,
}

impl Fault {
    /// The next one that this cluster can have.
    fn draw(dice: &mut Dice, cluster: &Cluster) -> Self {
        let possible: Vec<_> = KINDS.iter().filter(|kind| is_possible(kind.0, cluster)).collect();
        let mut roll = dice.roll(possible.iter().map(|kind| kind.2).sum());
        let drawn = possible.iter().find(|kind| match roll.checked_sub(kind.2) {
            Some(rest) => {
                roll = rest;
                false
            }
            None => true,
        });
        // The roll is below the sum of all weights, so one is found.
        let &(kind, name, _, least, most) = *drawn.unwrap_or(&possible[0]);
        Self {
            kind,
            name,
            worker: dice.position(WORKERS),
            coordinator: dice.position(COORDINATORS),
            member: dice.position(MEMBERS),
            ends: Instant::now() + Duration::from_millis(least + dice.roll(most - least + 1)),
        }
    }

    /// What it touches; two faults that touch the same do not last at the same time.
    fn touches(&self) -> Vec<String> {
        let worker = || format!("worker {}", self.worker);
        let coordinator = || format!("coordinator {}", self.coordinator);
        let (database, etcd) = (|| "database".to_owned(), || "etcd".to_owned());
        match self.kind {
            Kind::KillWorker | Kind::FreezeWorker | Kind::KillEngine | Kind::IsolateWorker => vec![worker()],
            Kind::KillCoordinator | Kind::FreezeCoordinator | Kind::IsolateCoordinator => vec![coordinator()],
            Kind::RestartDatabase | Kind::FillDisk => vec![database()],
            Kind::KillMember | Kind::KillAllMembers | Kind::IsolateMember => vec![etcd()],
            Kind::CutFromWorker => vec![coordinator(), worker()],
            Kind::CutFromDatabase => vec![coordinator(), database()],
            Kind::CutFromRegistry => vec![worker(), etcd()],
            Kind::SilenceReceiver => vec!["receiver".to_owned()],
        }
    }

    fn begin(&self, cluster: &mut Cluster) -> io::Result<()> {
        self.change(cluster, true)
    }

    fn end(&self, cluster: &mut Cluster) -> io::Result<()> {
        self.change(cluster, false)
    }

    fn change(&self, cluster: &mut Cluster, begins: bool) -> io::Result<()> {
        let signal = if begins { Signal::Stop } else { Signal::Continue };
        let outside = cluster.outside.clone();
        let (worker, coordinator) =
            (&mut cluster.workers[self.worker], &mut cluster.coordinators[self.coordinator]);
        match (self.kind, &mut cluster.etcd, &cluster.disk) {
            (Kind::KillWorker, ..) if begins => worker.kill(),
            (Kind::KillWorker, ..) => worker.start(),
            (Kind::FreezeWorker, ..) => worker.signal(signal),
            (Kind::KillEngine, ..) if begins => worker.kill_engine()?,
            (Kind::KillEngine, ..) => worker.start(),
            (Kind::KillCoordinator, ..) if begins => coordinator.kill(),
            (Kind::KillCoordinator, ..) => coordinator.start(),
            (Kind::FreezeCoordinator, ..) => coordinator.signal(signal),
            (Kind::RestartDatabase, ..) if begins => cluster.database.stop(),
            (Kind::RestartDatabase, ..) => cluster.database.begin(),
            (Kind::FillDisk, _, Some(disk)) if begins => disk.fill()?,
            (Kind::FillDisk, _, Some(disk)) => disk.free_up()?,
            (Kind::KillMember, Some(etcd), _) if begins => etcd.kill_member(self.member),
            (Kind::KillMember, Some(etcd), _) => etcd.resume_member(self.member),
            (Kind::KillAllMembers, Some(etcd), _) if begins => etcd.kill(),
            (Kind::KillAllMembers, Some(etcd), _) => {
                (0..MEMBERS).for_each(|member| etcd.resume_member(member));
            }
            (Kind::IsolateWorker, ..) => worker.host.isolate(begins),
            (Kind::IsolateCoordinator, ..) => coordinator.host.isolate(begins),
            (Kind::IsolateMember, ..) => cluster.member_hosts[self.member].isolate(begins),
            (Kind::CutFromWorker, ..) => coordinator.host.cut_from(&worker.host, begins),
            (Kind::CutFromDatabase, ..) => coordinator.host.cut_from(&outside, begins),
            (Kind::CutFromRegistry, ..) => {
                cluster.member_hosts.iter().for_each(|member| worker.host.cut_from(member, begins));
            }
            (Kind::SilenceReceiver, ..) => cluster.receiver.fall_silent(begins),
            // Not drawn where there is none.
            (Kind::FillDisk | Kind::KillMember | Kind::KillAllMembers, ..) => {}
        }
        Ok(())
    }
}

fn is_possible(kind: Kind, cluster: &Cluster) -> bool {
    match kind {
        Kind::FillDisk => cluster.disk.is_some(),
        Kind::KillMember | Kind::KillAllMembers => cluster.etcd.is_some(),
        Kind::IsolateMember | Kind::CutFromRegistry => cluster.etcd.is_some() && cluster.has_network,
        Kind::IsolateWorker | Kind::IsolateCoordinator | Kind::CutFromWorker | Kind::CutFromDatabase => {
            cluster.has_network
        }
        _ => true,
    }
}

/// Injects faults that `dice` draw until `over`, and mends everything at the end.
pub(crate) async fn hurt(
    cluster: &mut Cluster,
    mut dice: Dice,
    mut over: watch::Receiver<bool>,
) -> Result<Counts, String> {
    let (mut counts, mut lasting) = (Counts::new(), Vec::<Fault>::new());
    let mut next = Instant::now();
    loop {
        let is_over = tokio::time::timeout(TICK, over.wait_for(|over| *over)).await.is_ok();
        let now = Instant::now();
        let (ended, rest): (Vec<_>, Vec<_>) =
            lasting.into_iter().partition(|fault| is_over || fault.ends <= now);
        lasting = rest;
        for fault in ended {
            fault.end(cluster).map_err(|error| format!("{} could not be mended: {error}", fault.name))?;
        }
        let touched: BTreeSet<String> = lasting.iter().flat_map(Fault::touches).collect();
        if !touched.contains("database") && cluster.database.has_ended() {
            // A server whose disk was full may have given up.
            cluster.database.begin();
        }
        cluster.supervise()?;
        if is_over {
            return Ok(counts);
        }
        if now < next || lasting.len() >= AT_ONCE {
            continue;
        }
        next = now + Duration::from_millis(500 + dice.roll(2500));
        let fault = Fault::draw(&mut dice, cluster);
        if fault.touches().iter().any(|touched_too| touched.contains(touched_too)) {
            continue;
        }
        fault.begin(cluster).map_err(|error| format!("{}: {error}", fault.name))?;
        *counts.entry(fault.name).or_default() += 1;
        lasting.push(fault);
    }
}

/// Restarts every worker and coordinator, one after the other, as for an update. `turn` says where to go on, and ends at
/// the number of servers; stops when `over`.
pub(crate) async fn roll(
    cluster: &mut Cluster,
    turn: &mut usize,
    mut over: watch::Receiver<bool>,
) -> Result<Counts, String> {
    let mut counts = Counts::new();
    while *turn < WORKERS + COORDINATORS && !*over.borrow_and_update() {
        let name = if *turn < WORKERS { "workers restarted" } else { "coordinators restarted" };
        if let Some(server) = cluster.servers().nth(*turn) {
            server.restart().await?;
        }
        cluster.wait_until_up().await?;
        *counts.entry(name).or_default() += 1;
        *turn += 1;
        // An operator looks before the next one.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(counts)
}
