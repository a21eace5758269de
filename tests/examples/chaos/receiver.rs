//! The system that is told of approved actions: it notes each delivery, and at times takes connections and says nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longest body that is read, in bytes.
const LONGEST: usize = 1 << 20;
/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver. Clones are the same.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    taken: Arc<Mutex<BTreeSet<String>>>,
    silent: Arc<watch::Sender<bool>>,
}

impl Receiver {
    /// Listens at this address.
    pub(crate) async fn start(address: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let receiver = Self { url, taken: Arc::default(), silent: Arc::new(watch::Sender::new(false)) };
        let this = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                tokio::spawn(async move { tokio::time::timeout(PATIENCE, this.answer(stream)).await });
            }
        });
        Ok(receiver)
    }

    /// Whether a delivery with this id was taken.
    pub(crate) fn took(&self, id: &str) -> bool {
        self.taken().contains(id)
    }

    /// Says nothing from now on, or answers again, also those that waited.
    pub(crate) fn fall_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut id, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                let Some((name, value)) = line.trim_end().split_once(':') else {
                    if line.trim().is_empty() {
                        break;
                    }
                    continue;
                };
                if name.eq_ignore_ascii_case("webhook-id") {
                    value.trim().clone_into(&mut id);
                } else if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
            let mut body = vec![0; length.min(LONGEST)];
            stream.read_exact(&mut body).await?;
            // A sender is there as long as this is.
            let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
            self.taken().insert(id);
            stream.get_mut().write_all(b"HTTP/1.1 204 Taken\r\nContent-Length: 0\r\n\r\n").await?;
        }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
