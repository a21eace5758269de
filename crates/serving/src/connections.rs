//! Connections: how many there are, and when one is hung up on.
//!
//! A connection is in use while a call runs on it; whether it answers pings is no use of it. One that says nothing, or has been
//! idle for long, ends. When there are as many as may be, or the system has no more descriptors, the one that has been idle for
//! longest makes room; when none is idle, who comes is hung up on at once and may try again, and nothing spins.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use countermove_transport::SpiffeId;
use futures::{Stream, stream};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::transport::server::Connected;
use tower::{Layer, Service};

/// Bytes with which an HTTP/2 client begins: its preface and an empty frame of settings.
const GREETING: usize = 33;
/// Waits between two tries to take a connection when the system gives none.
const BACKOFF: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// Time between two lines in the log about connections that were not taken.
const SAID: Duration = Duration::from_secs(10);

/// What connections may be and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at a time.
    pub most: usize,
    /// Of these, connections of one address.
    pub most_each: usize,
    /// Time that a client has to begin to speak.
    pub greeting: Duration,
    /// Time that a connection may be without a call.
    pub idle: Duration,
    /// Time after which a connection is hung up on, whatever runs on it; absent: never.
    pub age: Option<Duration>,
}

impl ConnectionLimits {
    /// Three quarters of the descriptors that the process may have, since a store and workers need some as well, and half of
    /// those for one address. No connection is older than `age`.
    pub fn of_this_process(age: Option<Duration>) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(descriptors / 4 * 3).unwrap_or(usize::MAX).clamp(8, 4096);
        Self {
            most,
            most_each: most / 2,
            greeting: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            age,
        }
    }
}

/// Who is at the other end, as an extension of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    line: Arc<Line>,
    id: Option<SpiffeId>,
    is_secured: bool,
}

impl Peer {
    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.line.address
    }

    /// Who it is by its certificate, if it showed one that names somebody. TLS has checked the certificate.
    pub fn id(&self) -> Option<&SpiffeId> {
        self.id.as_ref()
    }

    /// Whether the connection is encrypted.
    pub fn is_secured(&self) -> bool {
        self.is_secured
    }
}

/// A connection as others see it.
#[derive(Debug)]
struct Line {
    table: Arc<Table>,
    number: u64,
    address: IpAddr,
    hang_up: CancellationToken,
}

impl Line {
    /// Since when it is idle, if it is.
    fn idle_since(&self) -> Option<Instant> {
        let lines = self.table.lines();
        lines.all.get(&self.number).filter(|state| state.calls == 0).map(|state| state.idle_since)
    }
}

/// The connections there are.
#[derive(Debug)]
struct Table {
    limits: ConnectionLimits,
    lines: Mutex<Lines>,
    next: AtomicU64,
}

/// Connections by their numbers, and those without a call, the one that has been idle for longest first: whoever comes again and again
/// makes another one go each time, so that one is not searched for.
#[derive(Debug, Default)]
struct Lines {
    all: HashMap<u64, State>,
    idle: BTreeSet<(Instant, u64)>,
    each: HashMap<IpAddr, Own>,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Own {
    count: usize,
    idle: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct State {
    address: IpAddr,
    hang_up: CancellationToken,
    calls: usize,
    /// Since when there is no call.
    idle_since: Instant,
}

impl Lines {
    fn insert(&mut self, number: u64, state: State) {
        self.each.entry(state.address).or_default().count += 1;
        self.all.insert(number, state);
        self.list(number);
    }

    fn remove(&mut self, number: u64) -> Option<State> {
        self.unlist(number);
        let state = self.all.remove(&number)?;
        if let Entry::Occupied(mut own) = self.each.entry(state.address) {
            own.get_mut().count -= 1;
            if own.get().count == 0 {
                own.remove();
            }
        }
        Some(state)
    }

    /// Takes a connection among those that are idle, if it is.
    fn list(&mut self, number: u64) {
        if let Some(State { address, calls: 0, idle_since, .. }) = self.all.get(&number) {
            self.idle.insert((*idle_since, number));
            self.each.entry(*address).or_default().idle.insert((*idle_since, number));
        }
    }

    fn unlist(&mut self, number: u64) {
        if let Some(State { address, idle_since, .. }) = self.all.get(&number) {
            self.idle.remove(&(*idle_since, number));
            self.each.entry(*address).or_default().idle.remove(&(*idle_since, number));
        }
    }

    /// Counts a call that begins, or has ended.
    fn count(&mut self, number: u64, call: impl FnOnce(&mut State)) {
        self.unlist(number);
        if let Some(state) = self.all.get_mut(&number) {
            call(state);
        }
        self.list(number);
    }

    /// Hangs up on the connection that has been idle for longest, of all or of one address. Its place is free at once.
    fn hang_up_idle(&mut self, of: Option<IpAddr>) -> Option<()> {
        let idle = match of {
            None => Some(&self.idle),
            Some(address) => self.each.get(&address).map(|own| &own.idle),
        };
        let &(_, number) = idle?.first()?;
        self.remove(number)?.hang_up.cancel();
        Some(())
    }
}

impl Table {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of this address. Where there is none, one that is idle makes room: one of its own where the
    /// address has its share already.
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut lines = self.lines();
        if lines.each.get(&address).is_some_and(|own| own.count >= self.limits.most_each) {
            lines.hang_up_idle(Some(address))?;
        } else if lines.all.len() >= self.limits.most {
            lines.hang_up_idle(None)?;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let hang_up = CancellationToken::new();
        let idle_since = Instant::now();
        lines.insert(number, State { address, hang_up: hang_up.clone(), calls: 0, idle_since });
        Some(Place(Arc::new(Line { table: Arc::clone(self), number, address, hang_up })))
    }
}

/// A place among the connections.
#[derive(Debug)]
struct Place(Arc<Line>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.table.lines().remove(self.0.number);
    }
}

/// The connections that come to a listener, within these limits.
pub fn connections(
    listener: TcpListener,
    limits: ConnectionLimits,
) -> impl Stream<Item = io::Result<Connection>> {
    let table = Arc::new(Table { limits, lines: Mutex::default(), next: AtomicU64::new(0) });
    stream::unfold((listener, table, None), |(listener, table, mut said)| async move {
        let connection = next(&listener, &table, &mut said).await;
        Some((Ok(connection), (listener, table, said)))
    })
}

/// The next connection that is taken.
async fn next(listener: &TcpListener, table: &Arc<Table>, said: &mut Option<Instant>) -> Connection {
    let [mut wait, longest] = BACKOFF;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                wait = BACKOFF[0];
                if let Some(place) = table.admit(peer.ip()) {
                    // Else an answer waits 40 ms for the peer's word that it got the one before. Without it it is only slower.
                    let _ = socket.set_nodelay(true);
                    return Connection::new(socket, peer, place);
                }
                say(said, || {
                    let connections = table.lines().all.len();
                    tracing::warn!(%peer, connections, "a connection was not taken, since there are too many");
                });
            }
            // Of a client that is gone already.
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                table.lines().hang_up_idle(None);
                say(
                    said,
                    || tracing::warn!(%error, "no connection can be taken; one that is idle makes room"),
                );
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(longest);
            }
        }
    }
}

fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn say(said: &mut Option<Instant>, line: impl FnOnce()) {
    if said.is_none_or(|last| last.elapsed() >= SAID) {
        line();
        *said = Some(Instant::now());
    }
}

/// A connection that ends when it is idle, or has to make room.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    peer: SocketAddr,
    place: Place,
    /// Bytes that came, as far as they count for the greeting.
    heard: usize,
    /// When it is hung up on, however busy.
    ends: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    hung_up: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn new(socket: TcpStream, peer: SocketAddr, place: Place) -> Self {
        let hung_up = Box::pin(place.0.hang_up.clone().cancelled_owned());
        let (now, limits) = (Instant::now(), place.0.table.limits);
        let timer = Box::pin(sleep_until(now + limits.greeting));
        let ends = limits.age.and_then(|age| now.checked_add(age));
        Self { socket, peer, place, heard: 0, ends, timer, hung_up }
    }

    /// Who is at the other end, once it is known by what certificate.
    pub(crate) fn peer(&self, id: Option<SpiffeId>, is_secured: bool) -> Peer {
        tracing::trace!(peer = %self.peer, id = id.as_ref().map(SpiffeId::as_str), "connection taken");
        Peer { line: Arc::clone(&self.place.0), id, is_secured }
    }

    /// Its address, with the port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.peer
    }

    /// The client has greeted TLS, and has the same time once more to greet what lies behind.
    pub(crate) fn expect_greeting(&mut self) {
        self.heard = 0;
        self.timer.as_mut().reset(Instant::now() + self.place.0.table.limits.greeting);
    }

    /// Fails when it is time to hang up; otherwise wakes the task then.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.hung_up.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "an idle connection made room"));
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let limits = self.place.0.table.limits;
            let now = Instant::now();
            if self.heard < GREETING {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing"));
            }
            let idle = self.place.0.idle_since().unwrap_or(now) + limits.idle;
            if idle <= now {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was idle"));
            }
            if self.ends.is_some_and(|ends| ends <= now) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was too old"));
            }
            let due = self.ends.map_or(idle, |ends| ends.min(idle));
            self.timer.as_mut().reset(due);
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_patience(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        self.heard = (self.heard + buffer.filled().len() - before).min(GREETING);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer(None, false)
    }
}

/// Lays [`InUse`] around services.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepInUse;

impl<S> Layer<S> for KeepInUse {
    type Service = InUse<S>;

    fn layer(&self, inner: S) -> InUse<S> {
        InUse { inner }
    }
}

/// A service whose calls keep their connection in use, from the first byte of the question to the last of the answer.
#[derive(Clone, Debug)]
pub struct InUse<S> {
    inner: S,
}

/// A call that runs on a connection.
#[derive(Debug)]
struct Running(Arc<Line>);

impl Running {
    fn on(line: &Arc<Line>) -> Self {
        line.table.lines().count(line.number, |state| state.calls += 1);
        Self(Arc::clone(line))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.table.lines().count(self.0.number, |state| {
            state.calls = state.calls.saturating_sub(1);
            state.idle_since = Instant::now();
        });
    }
}

impl<S> Service<Request<Body>> for InUse<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let running = request.extensions().get::<Peer>().map(|peer| Running::on(&peer.line));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| crate::bodies::holding(body, running)))
        })
    }
}

#[cfg(test)]
mod tests;
