//! A TCP proxy that counts what passes it: bytes each way, and of HTTP/2 the calls, the frames of data and the pings.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;

/// What passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Connections that were made.
    pub(crate) connections: u64,
    /// Bytes from whoever called, and back.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Times that an answer came after something was sent.
    pub(crate) turns: u64,
    /// HTTP/2 streams that were begun.
    pub(crate) calls: u64,
    /// Frames of data that are not empty, both ways. A message of more than 16 KiB is several.
    pub(crate) frames: u64,
    pub(crate) pings: u64,
}

impl Passed {
    pub(crate) fn bytes(self) -> u64 {
        self.sent + self.received
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            sent: self.sent + other.sent,
            received: self.received + other.received,
            turns: self.turns + other.turns,
            calls: self.calls + other.calls,
            frames: self.frames + other.frames,
            pings: self.pings + other.pings,
        }
    }
}

/// A proxy. It goes with the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    /// Where it listens, such as `127.0.0.1:43211`.
    pub(crate) address: String,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    turns: AtomicU64,
    calls: AtomicU64,
    frames: AtomicU64,
    pings: AtomicU64,
    has_asked: AtomicBool,
}

impl Proxy {
    /// Listens, and passes everything on to `target`, such as `127.0.0.1:5432`.
    pub(crate) async fn to(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, counts) = (listener.local_addr()?.to_string(), Arc::new(Counts::default()));
        let counting = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Whoever is behind it may not be up yet: then the caller is hung up on, as it would be there.
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                counting.connections.fetch_add(1, Ordering::Relaxed);
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, Arc::clone(&counting), true));
                tokio::spawn(pass(far_in, near_out, Arc::clone(&counting), false));
            }
        });
        Ok(Self { address, counts })
    }

    pub(crate) fn passed(&self) -> Passed {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        Passed {
            connections: of(&counts.connections),
            sent: of(&counts.sent),
            received: of(&counts.received),
            turns: of(&counts.turns),
            calls: of(&counts.calls),
            frames: of(&counts.frames),
            pings: of(&counts.pings),
        }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counts: Arc<Counts>, is_asking: bool) {
    let (mut part, mut frames) = (vec![0; 64 * 1024], Frames::default());
    while let Ok(count @ 1..) = from.read(&mut part).await {
        let bytes = if is_asking { &counts.sent } else { &counts.received };
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        if counts.has_asked.swap(is_asking, Ordering::Relaxed) && !is_asking {
            counts.turns.fetch_add(1, Ordering::Relaxed);
        }
        frames.read(&part[..count], |kind, length| {
            let counted = match kind {
                DATA if length > 0 => &counts.frames,
                HEADERS if is_asking => &counts.calls,
                PING => &counts.pings,
                _ => return,
            };
            counted.fetch_add(1, Ordering::Relaxed);
        });
        if to.write_all(&part[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Takes HTTP/2's frames out of one direction of a connection, in whatever parts it comes. What is no HTTP/2 is not read.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes of the preface, or of a frame's head, that have come.
    head: Vec<u8>,
    /// Bytes until the next head.
    skip: usize,
    is_begun: bool,
    is_other: bool,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], mut frame: impl FnMut(u8, usize)) {
        while !bytes.is_empty() && !self.is_other {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if !self.is_begun && PREFACE.starts_with(&self.head) {
                if self.head.len() == PREFACE.len() {
                    self.is_begun = true;
                    self.head.clear();
                }
                continue;
            }
            if let [a, b, c, kind, _, _, _, _, _] = self.head[..] {
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                // Nobody here asks for larger ones than the default, so this is another protocol.
                self.is_other = length > 1 << 14;
                self.is_begun = true;
                self.skip = length;
                self.head.clear();
                if !self.is_other {
                    frame(kind, length);
                }
            }
        }
    }
}
