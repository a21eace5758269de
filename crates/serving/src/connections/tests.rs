//! Over real sockets, with the health service of tonic as the one that is asked.

use std::time::Instant as Clock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;

const LIMITS: ConnectionLimits = ConnectionLimits {
    most: 8,
    most_each: 8,
    greeting: Duration::from_millis(300),
    idle: Duration::from_millis(900),
    age: None,
};

struct Served {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(limits: ConnectionLimits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_millis(200)))
        .layer(KeepInUse)
        .add_service(health)
        .serve_with_incoming(connections(listener, limits));
    Served { address, server: tokio::spawn(async move { server.await.unwrap() }) }
}

impl Served {
    async fn client(&self) -> Result<HealthClient<Channel>, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        Ok(HealthClient::new(endpoint.connect_timeout(Duration::from_secs(2)).connect().await?))
    }

    async fn silent(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn check() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

/// How long it takes until the other end hangs up.
async fn ends(mut socket: TcpStream) -> Duration {
    let begun = Clock::now();
    let mut sink = [0; 1024];
    let reading = async { while matches!(socket.read(&mut sink).await, Ok(1..)) {} };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("nobody hangs up");
    begun.elapsed()
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_on() {
    let served = serve(LIMITS).await;
    let took = ends(served.silent().await).await;
    assert!((250..900).contains(&took.as_millis()), "{took:?}");
    let mut half = served.silent().await;
    half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let took = ends(half).await;
    assert!((250..900).contains(&took.as_millis()), "half a greeting: {took:?}");
}

#[tokio::test]
async fn who_greets_and_asks_nothing_is_idle_however_often_it_answers_pings() {
    let served = serve(LIMITS).await;
    let mut socket = served.silent().await;
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let begun = Clock::now();
    // Frame by frame: pings are answered, settings acknowledged.
    let talk = async {
        let mut head = [0; 9];
        while socket.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if socket.read_exact(&mut payload).await.is_err() {
                break;
            }
            let is_question = head[4] & 1 == 0;
            let sent = match head[3] {
                6 if is_question => {
                    head[4] = 1;
                    socket.write_all(&[&head[..], &payload].concat()).await
                }
                4 if is_question => socket.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await,
                _ => Ok(()),
            };
            if sent.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), talk).await.expect("an idle connection stays");
    assert!((800..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_on_which_a_call_runs_stays() {
    let served = serve(LIMITS).await;
    let mut client = served.client().await.unwrap();
    let mut watch = client.watch(check()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let more = tokio::time::timeout(LIMITS.idle * 3, watch.message()).await;
    assert!(more.is_err(), "nothing changes, and nobody hangs up: {more:?}");
    client.check(check()).await.unwrap();
    // And when it has ended, the connection's time begins.
    drop(watch);
    tokio::time::sleep(LIMITS.idle / 2).await;
    client.check(check()).await.unwrap();
}

#[tokio::test]
async fn when_there_are_too_many_the_one_that_was_idle_for_longest_makes_room() {
    let patient = Duration::from_secs(60);
    let served = serve(ConnectionLimits { greeting: patient, idle: patient, ..LIMITS }).await;
    let mut watching = served.client().await.unwrap();
    let mut watch = watching.watch(check()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(served.silent().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // There are far more than eight, and still somebody who comes is answered.
    let mut late = served.client().await.unwrap();
    late.check(check()).await.unwrap();
    assert!(ends(silent.swap_remove(0)).await < Duration::from_secs(1));
    // What is in use was no room for anybody.
    assert!(tokio::time::timeout(Duration::from_millis(200), watch.message()).await.is_err());
    watching.check(check()).await.unwrap();
}

#[tokio::test]
async fn when_all_are_in_use_one_more_is_hung_up_on_at_once_and_taken_later() {
    let served = serve(ConnectionLimits { most: 3, most_each: 3, ..LIMITS }).await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        let mut client = served.client().await.unwrap();
        let mut watch = client.watch(check()).await.unwrap().into_inner();
        watch.message().await.unwrap();
        busy.push((client, watch));
    }
    assert!(ends(served.silent().await).await < Duration::from_millis(200));
    busy.pop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.client().await.unwrap().check(check()).await.unwrap();
}

#[test]
fn one_address_has_its_share() {
    let table = Arc::new(Table {
        limits: ConnectionLimits { most: 4, most_each: 2, ..LIMITS },
        lines: Mutex::default(),
        next: AtomicU64::new(0),
    });
    let [greedy, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
    let admit = |address| {
        let place = table.admit(address)?;
        let running = Running::on(&place.0);
        Some((place, running))
    };
    let held = [admit(greedy), admit(greedy)];
    assert!(held.iter().all(Option::is_some));
    assert!(admit(greedy).is_none(), "its share is in use");
    let (first, second) = (admit(other), admit(other));
    assert!(first.is_some() && second.is_some());
    drop(held);
    assert!(admit(greedy).is_some());
}

/// Keeps what a table should hold beside it, and looks at every step whether it holds that.
#[test]
fn the_one_that_was_idle_for_longest_goes_whatever_came_before() {
    use proptest::prelude::*;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    proptest!(|(steps in prop::collection::vec((0_u8..4, 0_u8..3, any::<prop::sample::Index>()), 1..80))| {
        runtime.block_on(async {
            let limits = ConnectionLimits { most: 6, most_each: 3, ..LIMITS };
            let table = Arc::new(Table { limits, lines: Mutex::default(), next: AtomicU64::new(0) });
            let (mut places, mut running) = (Vec::<Place>::new(), Vec::<Running>::new());
            for (step, address, which) in steps {
                tokio::time::advance(Duration::from_millis(1)).await;
                match step {
                    0 => {
                        let address = IpAddr::from([10, 0, 0, address]);
                        let alive: Vec<_> = places.iter().map(|place| &place.0).filter(|line| !line.hang_up.is_cancelled()).collect();
                        let own = alive.iter().filter(|line| line.address == address).count();
                        let is_full = own >= limits.most_each || alive.len() >= limits.most;
                        let may_go = alive.iter().filter(|line| own < limits.most_each || line.address == address);
                        let oldest = may_go.filter_map(|line| Some((line.idle_since()?, line.number))).min();
                        let gone = is_full.then_some(oldest).flatten().map(|(_, number)| number);
                        let taken = table.admit(address);
                        prop_assert_eq!(taken.is_some(), !is_full || gone.is_some());
                        for place in &places {
                            let was_alive = table.lines().all.contains_key(&place.0.number);
                            prop_assert_eq!(was_alive, !place.0.hang_up.is_cancelled());
                            prop_assert!(gone != Some(place.0.number) || !was_alive);
                        }
                        places.extend(taken);
                    }
                    1 if !places.is_empty() => running.push(Running::on(&places[which.index(places.len())].0)),
                    2 if !running.is_empty() => drop(running.swap_remove(which.index(running.len()))),
                    3 if !places.is_empty() => drop(places.swap_remove(which.index(places.len()))),
                    _ => {}
                }
                let lines = table.lines();
                let idle = lines.all.iter().filter(|(_, state)| state.calls == 0).map(|(number, state)| (state.idle_since, *number));
                prop_assert_eq!(&idle.collect::<BTreeSet<_>>(), &lines.idle);
                prop_assert_eq!(lines.each.values().map(|own| own.count).sum::<usize>(), lines.all.len());
                prop_assert!(lines.each.values().all(|own| own.count > 0));
            }
            Ok(())
        })?;
    });
}
