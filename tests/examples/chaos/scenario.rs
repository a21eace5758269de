//! Scenes that are always played, beside what seeds draw.

use std::time::{Duration, Instant};

use countermove_tests::{Host, free_port};

use crate::cluster::{Cluster, words};
use crate::disk::Disk;
use crate::load::{Plans, plan_all};
use crate::server::{START, Server};

/// Incidents of the scene.
const INCIDENTS: u64 = 100;
/// Bytes of its disk.
const DISK: u64 = 256 << 20;
/// How long planning goes on before the disk is full, and how long it is full.
const BEFORE: Duration = Duration::from_millis(700);
const FULL: Duration = Duration::from_secs(8);

/// A coordinator whose SQLite file lies on a disk that fills up in the middle of plans, and is freed again.
pub(crate) async fn full_sqlite_disk(cluster: &mut Cluster, expected: &Plans) -> Result<(), String> {
    // Its absence was told when the cluster came up.
    let Ok(disk) = Disk::mount(DISK) else { return Ok(()) };
    let host = if cluster.has_network { cluster.outside.clone() } else { Host::loopback() };
    let listen = format!("{}:{}", host.address(), free_port());
    let store = format!("sqlite:{}", disk.path().join("incidents.db").display());
    let workers = cluster.worker_urls.join(",");
    let arguments = words(&[
        "--listen",
        &listen,
        "--store",
        &store,
        "--workers",
        &workers,
        "--worker-wait",
        "120",
        "--insecure",
    ]);
    let mut coordinator =
        Server::new("coordinator on a small disk".to_owned(), host, "countermove-coordinator", arguments);
    coordinator.start();
    let until = Instant::now() + START;
    while !coordinator.is_up {
        coordinator.supervise()?;
        coordinator.is_in_time(until)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (urls, incidents) = ([format!("http://{listen}")], INCIDENTS.min(expected.len() as u64));
    let runtime = tokio::runtime::Handle::current();
    let load = tokio::task::spawn_blocking(move || runtime.block_on(plan_all(&urls, incidents, None)));
    let change = |what: std::io::Result<()>| what.map_err(|error| error.to_string());
    tokio::time::sleep(BEFORE).await;
    change(disk.fill())?;
    tokio::time::sleep(FULL).await;
    let caught = !load.is_finished();
    coordinator.supervise()?;
    change(disk.free_up())?;
    let ended = load.await.map_err(|error| error.to_string())?;
    let plans = ended.map_err(|problem| format!("{problem}; its log:\n{}", coordinator.log()))?;
    coordinator.supervise()?;
    if let Some((index, _)) = plans.iter().find(|(index, plan)| expected.get(index) != Some(plan)) {
        return Err(format!("the plan of incident {index} is another one than undisturbed"));
    }
    println!(
        "a full SQLite disk: {} incidents finished as undisturbed{}",
        plans.len(),
        if caught { "" } else { ", all of them before it was full" }
    );
    Ok(())
}
