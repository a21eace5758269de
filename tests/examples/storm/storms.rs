//! What somebody can do to a coordinator from one address without being anybody.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::{GetIncidentRequest, WatchIncidentsRequest};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::join_all;
use futures::stream::{self, FuturesUnordered, StreamExt};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::Bytes;
use tonic::codegen::http::{Request, Response};
use tonic::transport::{Channel, Endpoint};

/// Connections of slow and silent clients: more than the half of its places that a coordinator gives one address.
const SLOW: usize = 3000;
/// Streams that are idle, and over how many connections.
const IDLE: usize = 10_000;
const CHANNELS: usize = 100;
/// Who connects, cancels or sends at the same time.
const AT_ONCE: usize = 64;
/// Bytes that a bomb swells to, a thousand times its length.
const SWOLLEN: usize = 64 << 20;
/// Levels of the JSON, at a byte or five each.
const DEPTH: usize = 700_000;
/// Time between two bytes of a slow client.
const SLOWLY: Duration = Duration::from_secs(1);
/// Time after which a connection that does not come, or does not end, is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a storm is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storm {
    /// Connections that say nothing, or a byte now and then.
    SlowLoris,
    /// Streams that are opened and on which nothing happens.
    IdleStreams,
    /// Connections that are made and broken off.
    Connections,
    /// Calls that are made and cancelled.
    Cancellations,
    /// Messages that swell.
    GzipBombs,
    /// JSON as deep as it is long.
    DeepJson,
}

/// How often what came of it.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    fn add(&self, what: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(what.into()).or_default() += 1;
    }

    fn ended<T>(&self, what: &str, answer: &Result<T, Status>) {
        self.add(match answer {
            Ok(_) => format!("{what}: answered"),
            Err(status) => format!("{what}: {:?}", status.code()),
        });
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told: Vec<_> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&told.join("; "))
    }
}

impl Storm {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::SlowLoris,
        Self::IdleStreams,
        Self::Connections,
        Self::Cancellations,
        Self::GzipBombs,
        Self::DeepJson,
    ];

    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SlowLoris => "3,000 slow or silent connections",
            Self::IdleStreams => "10,000 idle streams",
            Self::Connections => "connections, made and broken off",
            Self::Cancellations => "calls, made and cancelled",
            Self::GzipBombs => "gzip bombs of 64 MiB",
            Self::DeepJson => "JSON of 700,000 levels",
        }
    }

    /// Blows for so long, once it has come up.
    pub(super) async fn blow(self, address: &str, time: Duration, counts: &Counts) {
        match self {
            Self::SlowLoris => slow(address, time, counts).await,
            Self::IdleStreams => idle(address, time, counts).await,
            Self::Connections => at_once(time, |_| connection(address, counts)).await,
            Self::Cancellations => {
                let channels = channels(address, 8);
                at_once(time, |number| cancellation(channels[number % channels.len()].clone(), counts)).await;
            }
            Self::GzipBombs => {
                let (bomb, channels) = (bomb(), channels(address, 8));
                at_once(time, |number| {
                    explosion(
                        channels[number % channels.len()].clone(),
                        address,
                        bomb.clone(),
                        number,
                        counts,
                    )
                })
                .await;
            }
            Self::DeepJson => {
                let (deep, channels) = (deep(), channels(address, 8));
                at_once(time, |number| {
                    let json = deep[number % deep.len()].clone();
                    posted(channels[number % channels.len()].clone(), address, json, None, "deep", counts)
                })
                .await;
            }
        }
    }
}

/// Lets this process, which has both ends of few connections and one end of many, have as many descriptors as it may.
pub(super) fn raise_descriptors() {
    // SAFETY: both calls read or write one structure that is there.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Does something again and again, so many at the same time.
async fn at_once<F: Future<Output = ()>>(time: Duration, work: impl Fn(usize) -> F) {
    let end = Instant::now() + time;
    join_all((0..AT_ONCE).map(|number| {
        let work = &work;
        async move {
            while Instant::now() < end {
                work(number).await;
            }
        }
    }))
    .await;
}

fn channels(address: &str, count: usize) -> Vec<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address of this machine");
    (0..count).map(|_| endpoint.connect_lazy()).collect()
}

/// Connections that are slow in three ways, each made anew when it is hung up on.
async fn slow(address: &str, time: Duration, counts: &Counts) {
    let end = Instant::now() + time;
    let client = |number: usize| async move {
        while Instant::now() < end {
            let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(address)).await else {
                counts.add("not taken");
                sleep(SLOWLY).await;
                continue;
            };
            let (what, greeting, next): (_, Vec<u8>, &[u8]) = match number % 3 {
                0 => ("silent", Vec::new(), b""),
                1 => ("slow headers", b"POST / HTTP/1.1\r\nhost: localhost\r\nx: ".to_vec(), b"x"),
                _ => ("slow messages", call_without_end(), &[0, 0, 1, 0, 0, 0, 0, 0, 1, 0]),
            };
            counts.add(format!("{what}: connected"));
            if hold(&mut stream, &greeting, next, end).await.is_err() {
                counts.add(format!("{what}: hung up on"));
            }
            // Who is hung up on at once waits a little, as who wants many places would.
            sleep(SLOWLY / 4).await;
        }
    };
    join_all((0..SLOW).map(client)).await;
}

/// Says what it says slowly until the end, or until it is hung up on.
async fn hold(stream: &mut TcpStream, greeting: &[u8], next: &[u8], end: Instant) -> std::io::Result<()> {
    stream.write_all(greeting).await?;
    let mut answer = [0; 1024];
    while Instant::now() < end {
        match timeout(SLOWLY, stream.read(&mut answer)).await {
            Ok(Ok(0)) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => drop(read?),
            Err(_) => stream.write_all(next).await?,
        }
    }
    Ok(())
}

/// A connection of HTTP/2 and the head of a call whose message does not come.
fn call_without_end() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("a short frame");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let text = |bytes: &str| {
        let length = u8::try_from(bytes.len()).expect("a short text");
        [&[length], bytes.as_bytes()].concat()
    };
    let head = [
        // POST over http, by the static table; then the path, the authority, and two headers by their names.
        vec![0x83, 0x86, 0x04],
        text("/countermove.v1.IncidentService/CreateIncident"),
        vec![0x01],
        text("localhost"),
        [vec![0], text("content-type"), text("application/grpc")].concat(),
        [vec![0], text("te"), text("trailers")].concat(),
    ]
    .concat();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 4, 1, &head));
    // The message is to have 4 MiB.
    bytes.extend(frame(0, 0, 1, &[0, 0, 64, 0, 0]));
    bytes
}

/// Streams of all incidents, opened and then left alone.
async fn idle(address: &str, time: Duration, counts: &Counts) {
    let channels = channels(address, CHANNELS);
    let open = |number: usize| {
        let channel = channels[number % channels.len()].clone();
        async move {
            let watched =
                IncidentServiceClient::new(channel).watch_incidents(WatchIncidentsRequest::default()).await;
            counts.ended("stream", &watched);
            Some(watched.ok()?.into_inner())
        }
    };
    let streams: Vec<_> = stream::iter(0..IDLE)
        .map(open)
        .buffer_unordered(AT_ONCE)
        .filter_map(async |open| open)
        .collect()
        .await;
    // What is told on them is read, and the first that ends says so.
    let read = streams.into_iter().map(|mut stream| async move {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return "ended".to_owned(),
                Err(status) => return format!("{:?}", status.code()),
            }
        }
    });
    let mut open: FuturesUnordered<_> = read.collect();
    let end = Instant::now() + time;
    while let Ok(Some(ended)) = timeout(end.saturating_duration_since(Instant::now()), open.next()).await {
        counts.add(format!("stream that ran: {ended}"));
    }
}

/// A connection that is broken off, before or after its greeting.
async fn connection(address: &str, counts: &Counts) {
    let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(address)).await else {
        counts.add("not taken");
        return;
    };
    counts.add("connected");
    // The port is free again at once, and the other end learns of it by a reset.
    let _ = stream.set_zero_linger();
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
}

/// Calls that are dropped while they are under way.
async fn cancellation(channel: Channel, counts: &Counts) {
    let mut client = IncidentServiceClient::new(channel);
    let request = GetIncidentRequest { name: "incidents/01a21e36-e6d9-76dc-bdfd-8d10085ab181".to_owned() };
    match timeout(Duration::from_millis(1), client.get_incident(request)).await {
        Ok(answer) => counts.ended("call", &answer),
        Err(_) => counts.add("call: cancelled"),
    }
}

/// A message of zeros, packed.
fn bomb() -> Bytes {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..SWOLLEN >> 20 {
        packed.write_all(&zeros).expect("memory can be written");
    }
    packed.finish().expect("memory can be written").into()
}

/// Sends a packed message as gRPC, or as JSON.
async fn explosion(channel: Channel, address: &str, bomb: Bytes, number: usize, counts: &Counts) {
    if number.is_multiple_of(2) {
        return posted(channel, address, bomb, Some("gzip"), "as JSON", counts).await;
    }
    let length = u32::try_from(bomb.len()).expect("a short message");
    let message = [&[1], &length.to_be_bytes()[..], &bomb].concat();
    let request = Request::post(format!("http://{address}/countermove.v1.IncidentService/CreateIncident"))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "gzip")
        .header("te", "trailers");
    let answer =
        called(channel, request.body(Body::new(Full::new(message.into()))).expect("a request")).await;
    counts.add(match answer {
        Ok(answer) => {
            let status = Status::from_header_map(answer.headers());
            format!(
                "as gRPC: {}",
                status.map_or("answered".to_owned(), |status| format!("{:?}", status.code()))
            )
        }
        Err(problem) => format!("as gRPC: {problem}"),
    });
}

/// Texts of many levels.
fn deep() -> Vec<Bytes> {
    let levels = |open: &str, close: &str, depth: usize| {
        Bytes::from(format!("{{\"evidence\":{}1{}}}", open.repeat(depth), close.repeat(depth)))
    };
    vec![levels("[", "]", DEPTH), levels("{\"a\":", "}", DEPTH), Bytes::from("[".repeat(DEPTH))]
}

async fn posted(
    channel: Channel,
    address: &str,
    text: Bytes,
    encoding: Option<&str>,
    what: &str,
    counts: &Counts,
) {
    let mut request =
        Request::post(format!("http://{address}/countermove.v1.IncidentService/CreateIncident"))
            .header("content-type", "application/json");
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    let answer = called(channel, request.body(Body::new(Full::new(text))).expect("a request")).await;
    counts.add(match answer {
        Ok(answer) => format!("{what}: {}", answer.status()),
        Err(problem) => format!("{what}: {problem}"),
    });
}

/// Calls, and reads the answer to its end.
async fn called(mut channel: Channel, request: Request<Body>) -> Result<Response<()>, String> {
    let answered = async {
        std::future::poll_fn(|context| GrpcService::<Body>::poll_ready(&mut channel, context)).await?;
        GrpcService::call(&mut channel, request).await
    };
    let answer = timeout(PATIENCE, answered).await.map_err(|_| "no answer".to_owned())?;
    let (mut head, body) = answer.map_err(|_| "broken off".to_owned())?.into_parts();
    let body = body.collect().await.map_err(|status| format!("{:?}", status.code()))?;
    if let Some(trailers) = body.trailers() {
        head.headers.extend(trailers.clone());
    }
    Ok(Response::from_parts(head, ()))
}
