//! A coordinator and a worker in this process, as their programs serve them, and what is sent to them over the loopback.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countermove_coordinator::access::Gate;
use countermove_coordinator::console::Bundle;
use countermove_coordinator::discovery::StaticDiscovery;
use countermove_coordinator::dispatch::DispatchOptions;
use countermove_coordinator::incidents::{IncidentOptions, Incidents, MemoryStore};
use countermove_coordinator::server::{self, Front};
use countermove_coordinator::workers::{Fleet, FleetOptions};
use countermove_planner::{Answers, Templates};
use countermove_proto::v1::{CreateIncidentRequest, CreateIncidentResponse, Evidence};
use countermove_proto::{FILE_DESCRIPTOR_SET, WorkerId};
use countermove_transport::Dial;
use countermove_worker::{Limits, Replica, SimulatedModel, Worker};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{HeaderMap, Request as HttpRequest, StatusCode};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Calls after which a server is started anew: what it remembers is bounded in number, and may be long.
const CALLS: u32 = 4096;
/// Time that is waited for what a stream says first; some say nothing for long.
const STREAM: Duration = Duration::from_millis(5);
/// Time that is waited for an answer, for a machine that is busy when a server starts: what is too long is for `-timeout` to say.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest answer that is read.
const LONGEST: usize = 16 << 20;

/// A server in this process and a client of it, which take turns on this thread.
pub(crate) struct Served {
    pub(crate) runtime: Runtime,
    channel: Channel,
    address: SocketAddr,
    methods: Vec<MethodDescriptor>,
    /// An incident that is there.
    incident: String,
}

/// Does something with a server that `start` has made.
pub(crate) fn with<S>(kept: &RefCell<Option<(u32, S)>>, start: impl FnOnce() -> S, work: impl FnOnce(&S)) {
    let mut kept = kept.borrow_mut();
    let (calls, served) = match kept.take() {
        Some((calls, served)) if calls < CALLS => (calls, served),
        _ => (0, start()),
    };
    let (_, served) = kept.insert((calls + 1, served));
    work(served);
}

impl Served {
    /// A coordinator that has no worker, whose calls go through this gate.
    pub(crate) fn coordinator(gate: impl AsyncFnOnce() -> Gate) -> Self {
        let runtime = runtime();
        let (channel, address) = runtime.block_on(async {
            let templates = Arc::new(Templates::load(None).expect("the built-in templates"));
            let options = FleetOptions { templates: vec![templates], ..FleetOptions::default() };
            let fleet = Fleet::start(&StaticDiscovery::new([]), options);
            let dispatch =
                DispatchOptions { worker_wait: Duration::from_millis(20), ..DispatchOptions::default() };
            let options = IncidentOptions {
                dispatch,
                compute_threads: 1,
                most_active: 50,
                ..IncidentOptions::default()
            };
            let incidents = Incidents::new(MemoryStore::new(50), fleet.clone(), options);
            let incidents = incidents.expect("options that can be used");
            let gate = gate().await;
            let (port, address) = port().await;
            let front = Front {
                port: port.into(),
                peers: Dial::default(),
                gate,
                console: Some(Bundle::of_this_program()),
            };
            tokio::spawn(server::serve(incidents, fleet, front, Duration::ZERO, pending()));
            (channel(address), address)
        });
        Self { runtime, channel, address, methods: methods("countermove.v1"), incident: String::new() }
    }

    /// The same, with an incident.
    fn with_an_incident(mut self) -> Self {
        let evidence = Evidence {
            system_description: "The web server is at 10.0.0.5.".to_owned(),
            alerts: "03/14-01:15:00.325789  [**] [1:2001219:20] ET SCAN Potential SSH Scan [**] [Priority: 2] {TCP} \
                     203.0.113.9:44211 -> 10.0.0.5:22\n"
                .to_owned(),
            ..Evidence::default()
        };
        let request = CreateIncidentRequest { evidence: Some(evidence), ..CreateIncidentRequest::default() };
        let path = "/countermove.v1.IncidentService/CreateIncident".to_owned();
        let answers = self.call(path, false, request.encode_to_vec(), MetadataMap::new());
        let answers = answers.expect("an incident is created");
        let answer = CreateIncidentResponse::decode(answers.concat().as_slice()).expect("its message");
        self.incident = answer.incident.expect("the incident").name;
        self
    }

    /// A worker that plays.
    fn worker() -> Self {
        let runtime = runtime();
        let (channel, address) = runtime.block_on(async {
            let templates = Templates::load(None).expect("the built-in templates");
            let replica = Replica {
                model: SimulatedModel::start(1e9),
                identity: SimulatedModel::identity(),
                templates,
                context_length: 1 << 17,
                answers: Answers::default(),
            };
            let worker = Worker::new(WorkerId::generate(), replica, Limits { batch: 8, places: 64 });
            let (port, address) = port().await;
            tokio::spawn(countermove_worker::serve(worker, port, Duration::ZERO, pending()));
            (channel(address), address)
        });
        let methods = methods("countermove.worker.v1");
        Self { runtime, channel, address, methods, incident: String::new() }
    }

    /// Calls, and gives the first message of the answer, or as many as come at once.
    pub(crate) fn call(
        &self,
        path: String,
        streams: bool,
        message: Vec<u8>,
        metadata: MetadataMap,
    ) -> Result<Vec<Vec<u8>>, Status> {
        let mut client = Grpc::new(self.channel.clone()).max_decoding_message_size(LONGEST);
        let request = Request::from_parts(metadata, Default::default(), message);
        let path = PathAndQuery::try_from(path).expect("the path of a call");
        let called = async {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            if !streams {
                return Ok(vec![client.unary(request, path, Raw).await?.into_inner()]);
            }
            let mut answers = client.server_streaming(request, path, Raw).await?.into_inner();
            let mut told = Vec::new();
            while let Ok(next) = timeout(STREAM, answers.message()).await {
                match next? {
                    Some(message) if told.len() < 16 => told.push(message),
                    _ => break,
                }
            }
            Ok(told)
        };
        self.within(called)
    }

    fn within<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(ANSWER, work).await.expect("an answer in time") })
    }

    fn method(&self, number: u8) -> &MethodDescriptor {
        &self.methods[usize::from(number) % self.methods.len()]
    }

    /// Sends a message to a call as gRPC, and looks at what comes.
    fn grpc(&self, data: &[u8]) {
        let &[number, flags, ref message @ ..] = data else { return };
        let method = self.method(number);
        let message = if flags & 1 == 1 { self.named(method, message) } else { message.to_vec() };
        let is_message = DynamicMessage::decode(method.input(), message.as_slice()).is_ok();
        match self.call(path(method), method.is_server_streaming(), message, MetadataMap::new()) {
            Ok(answers) => {
                for answer in answers {
                    DynamicMessage::decode(method.output(), answer.as_slice())
                        .expect("the message of the call");
                }
            }
            Err(status) => no_fault(&status, is_message),
        }
    }

    /// The message with the name of an incident that is there, if it names one.
    fn named(&self, method: &MethodDescriptor, message: &[u8]) -> Vec<u8> {
        let Ok(mut message) = DynamicMessage::decode(method.input(), message) else {
            return message.to_vec();
        };
        if message.has_field_by_name("name") {
            message.set_field_by_name("name", Value::String(self.incident.clone()));
        }
        message.encode_to_vec()
    }

    /// Sends a text to a call as JSON over HTTP.
    fn json(&self, data: &[u8]) {
        let Some((&number, text)) = data.split_first() else { return };
        let method = self.method(number);
        let request = HttpRequest::post(format!("http://{}{}", self.address, path(method)))
            .header("content-type", "application/json")
            .body(tonic::body::Body::new(Full::new(Bytes::copy_from_slice(text))))
            .expect("a request");
        let mut channel = self.channel.clone();
        let streams = method.is_server_streaming();
        let (status, body) = self.within(async {
            let ready = std::future::poll_fn(|context| GrpcService::poll_ready(&mut channel, context));
            ready.await.expect("the coordinator is there");
            let answer = GrpcService::call(&mut channel, request).await.expect("an answer");
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect();
            let wait = if streams { STREAM } else { ANSWER };
            (status, timeout(wait, body).await.ok().map(|body| body.expect("a whole answer").to_bytes()))
        });
        assert!(streams || body.is_some(), "the answer of {} does not end", method.name());
        let said = String::from_utf8_lossy(body.as_deref().unwrap_or_default());
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}: {said}", method.name());
        if body.is_some() && !streams {
            serde_json::from_str::<serde_json::Value>(&said).expect("an answer in JSON");
        }
    }

    /// Sends bytes, and nothing after them.
    fn bytes(&self, data: &[u8]) {
        self.within(async {
            let mut stream = TcpStream::connect(self.address).await.expect("the coordinator is there");
            // What is refused early may be hung up on before all of it is sent.
            let _ = stream.write_all(data).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = timeout(STREAM, (&mut stream).take(LONGEST as u64).read_to_end(&mut answer)).await;
        });
    }

    /// Fails if others are no longer served.
    fn serves(&self) {
        let path = "/countermove.v1.AccessService/GetCaller".to_owned();
        self.call(path, false, Vec::new(), MetadataMap::new()).expect("others are served");
    }
}

/// Fails for what says that the fault is the server's. What is no message is told as tonic tells it, which is such a code.
pub(crate) fn no_fault(status: &Status, is_message: bool) {
    let is_fault = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
    assert!(!is_fault || !is_message, "{status:?}");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
}

/// The calls of a package, in order.
fn methods(package: &str) -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our descriptors");
    let services = pool.services().filter(|service| service.package_name() == package);
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Messages as bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

thread_local! {
    static SERVED: RefCell<Option<(u32, Served)>> = const { RefCell::new(None) };
}

fn open() -> Served {
    Served::coordinator(async || Gate::open()).with_an_incident()
}

/// A message to a call of the coordinator: a byte for the call, one that is odd to name an incident that is there, the message.
pub fn grpc(data: &[u8]) {
    SERVED.with(|kept| with(kept, open, |served| served.grpc(data)));
}

/// A message to a call of a worker, in the same form.
pub fn worker(data: &[u8]) {
    SERVED.with(|kept| with(kept, Served::worker, |served| served.grpc(data)));
}

/// A text to a call of the coordinator: a byte for the call, then JSON.
pub fn json(data: &[u8]) {
    SERVED.with(|kept| with(kept, open, |served| served.json(data)));
}

/// Bytes at the coordinator's port: HTTP of either version, or neither.
pub fn http(data: &[u8]) {
    SERVED.with(|kept| {
        with(kept, open, |served| {
            served.bytes(data);
            if data.len().is_multiple_of(16) {
                served.serves();
            }
        });
    });
}

/// The headers of a call.
pub(crate) fn metadata(headers: HeaderMap) -> MetadataMap {
    MetadataMap::from_headers(headers)
}
