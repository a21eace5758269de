//! Makes checkpoints of the store, and writes them down where whoever changes the store cannot reach them.
//!
//! An anchor is a file to which a line is added for each checkpoint, best on another machine or a medium that is written once, or an
//! address to which each is posted as JSON. A checkpoint covers all before it, so an anchor that misses some loses nothing but time:
//! it goes on with the last one. Incidents go on whatever anchors do; what cannot be written is said in the log and tried again
//! with the next checkpoint.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use countermove_ledger::Signed;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Uri};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::incidents::{EventLog, Ledger};
use crate::outside::{Outside, client, names_local};

/// Time in which an anchor has to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// End of an anchor's file that is read to find its last line.
const TAIL: u64 = 64 << 10;
/// Checkpoints that are written down at a time.
const PART: usize = 64;

/// Where checkpoints are written down. Parses from a path, or from an address that begins with http:// or https://.
#[derive(Clone, PartialEq, Eq)]
pub enum Anchor {
    /// A file that grows by a line for each.
    File(PathBuf),
    /// An address to which each is posted.
    Url(Uri),
}

impl FromStr for Anchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a file, or an address that begins with http:// or https://, is needed".to_owned());
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(Self::File(text.into()));
        }
        let url: Uri = text.parse().map_err(|_| format!("{text:?} is no address"))?;
        match url.host() {
            Some(host) if !host.is_empty() => Ok(Self::Url(url)),
            _ => Err(format!("{text:?} names no host")),
        }
    }
}

impl fmt::Display for Anchor {
    /// Without what an address may hold besides its host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url.host().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an anchor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// It is at an address that must not be reached.
    #[error("{0} is an address of this machine, its link or its cloud; give --allow-local if it is meant")]
    Local(Anchor),
    /// TLS cannot be set up: a fault of the build.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Makes checkpoints and writes them down.
pub struct Anchoring {
    anchors: Vec<Anchor>,
    every: Duration,
    outside: Outside,
}

impl Anchoring {
    /// Every so often, at these anchors.
    ///
    /// # Errors
    /// [`AnchorError`].
    pub fn new(anchors: Vec<Anchor>, every: Duration, allows_local: bool) -> Result<Self, AnchorError> {
        let local = anchors.iter().find(|anchor| match anchor {
            Anchor::Url(url) => !allows_local && names_local(url),
            Anchor::File(_) => false,
        });
        if let Some(anchor) = local {
            return Err(AnchorError::Local(anchor.clone()));
        }
        Ok(Self { anchors, every, outside: client(allows_local)? })
    }

    /// Makes checkpoints of this store until told to stop, and a last one then.
    pub(crate) async fn keep(self, log: Arc<dyn EventLog>, stop: CancellationToken) {
        let Some(ledger) = log.ledger() else { return };
        let mut known: Vec<u64> = self.anchors.iter().map(written).collect();
        let mut beat = interval(self.every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let stops = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                _ = beat.tick() => false,
            };
            self.once(ledger, &mut known).await;
            if stops {
                return;
            }
        }
    }

    async fn once(&self, ledger: &dyn Ledger, known: &mut [u64]) {
        if let Err(error) = ledger.make_checkpoint().await {
            tracing::warn!(%error, "no checkpoint was made");
        }
        for (anchor, known) in self.anchors.iter().zip(known) {
            if let Err(problem) = self.write_down(ledger, anchor, known).await {
                tracing::warn!(%anchor, problem, "a checkpoint was not written down");
            }
        }
    }

    /// Brings an anchor up to date.
    async fn write_down(&self, ledger: &dyn Ledger, anchor: &Anchor, known: &mut u64) -> Result<(), String> {
        loop {
            let kept = ledger.checkpoints(*known, PART).await.map_err(|error| error.to_string())?;
            let Some(last) = kept.last() else { return Ok(()) };
            match anchor {
                Anchor::File(path) => {
                    let lines: String = kept.iter().map(|kept| format!("{}\n", kept.line)).collect();
                    let path = path.clone();
                    let written = tokio::task::spawn_blocking(move || append(&path, &lines)).await;
                    written
                        .map_err(|error| error.to_string())?
                        .map_err(|error| format!("it cannot be written: {error}"))?;
                }
                // Each covers those before.
                Anchor::Url(url) => self.post(url, last.line.clone()).await?,
            }
            *known = last.number;
        }
    }

    async fn post(&self, url: &Uri, line: String) -> Result<(), String> {
        let request = Request::post(url)
            .header("Content-Type", "application/json")
            .body(Full::new(Bytes::from(line)))
            .map_err(|error| format!("it cannot be written: {error}"))?;
        match timeout(ANSWER, self.outside.request(request)).await {
            Err(_) => Err(format!("it did not answer within {} s", ANSWER.as_secs())),
            Ok(Err(error)) if error.is_connect() => Err("it could not be reached".to_owned()),
            Ok(Err(_)) => Err("the connection broke before it answered".to_owned()),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(format!("it answered with status {}", answer.status().as_u16())),
        }
    }
}

/// Number of the last checkpoint that an anchor has; 0 if that is not known.
fn written(anchor: &Anchor) -> u64 {
    let Anchor::File(path) = anchor else { return 0 };
    let tail = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let last = tail().ok().and_then(|text| text.lines().rev().find_map(|line| Signed::read(line).ok()));
    last.map_or(0, |last| last.checkpoint.number)
}

/// Adds lines to a file, on disk when it returns.
fn append(path: &Path, lines: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_a_file_or_an_address_and_tells_no_more_than_its_host() {
        assert_eq!("/var/anchor".parse(), Ok(Anchor::File("/var/anchor".into())));
        let url: Anchor = "https://key:secret@witness.example/x?token=t".parse().unwrap();
        assert_eq!(
            (url.to_string(), format!("{url:?}")),
            ("witness.example".into(), "witness.example".into())
        );
        for bad in ["", "https://", "http:///x"] {
            assert!(bad.parse::<Anchor>().is_err(), "{bad}");
        }
        let local = vec!["http://169.254.169.254/".parse().unwrap()];
        assert!(matches!(Anchoring::new(local.clone(), ANSWER, false), Err(AnchorError::Local(_))));
        assert!(Anchoring::new(local, ANSWER, true).is_ok());
    }

    #[test]
    fn a_file_that_is_gone_or_holds_something_else_is_written_from_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchor");
        assert_eq!(written(&Anchor::File(path.clone())), 0);
        append(&path, "no checkpoint\n").unwrap();
        assert_eq!(written(&Anchor::File(path.clone())), 0);
        append(&path, "another\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no checkpoint\nanother\n");
    }
}
