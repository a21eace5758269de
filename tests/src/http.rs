//! HTTP/1.1 by hand, as a browser or a script that has no library sends it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE_SECONDS;

const PATIENCE: Duration = Duration::from_secs(PATIENCE_SECONDS);

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// As far as it was read, out of its chunks.
    pub body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
        let head = std::str::from_utf8(&bytes[..end]).expect("headers are text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_lowercase(), value.to_owned())
        };
        let headers: Vec<_> = lines.map(header).collect();
        let mut answer = Self { status, headers, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == "chunked" {
            answer.body = unchunked(&answer.body);
        }
        answer
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|length| usize::from_str_radix(length, 16).ok());
        let length = length.expect("the length of a chunk");
        let content = &bytes[end + 2..];
        body.extend_from_slice(&content[..length.min(content.len())]);
        bytes = content.get(length + 2..).unwrap_or_default();
    }
    body
}

/// Sends a request as it is to this host and port, and reads until the connection ends or the answer is enough.
///
/// # Panics
/// If there is no answer, or one that is none of HTTP.
pub async fn send(host: &str, head: &str, body: &[u8], is_enough: impl Fn(&Answer) -> bool) -> Answer {
    let mut stream = TcpStream::connect(host).await.expect("a server");
    stream.write_all(head.as_bytes()).await.expect("a server that reads");
    // Who refuses a body may hang up before it has read all of it.
    let _ = stream.write_all(body).await;
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = timeout(PATIENCE, stream.read(&mut part)).await.expect("an answer in time").unwrap_or(0);
        read.extend_from_slice(&part[..count]);
        let has_head = read.windows(4).any(|four| four == b"\r\n\r\n");
        if count == 0 || has_head && is_enough(&Answer::read(&read)) {
            return Answer::read(&read);
        }
    }
}

/// Sends a request with these headers, and reads all of its answer.
///
/// # Panics
/// As [`send`].
pub async fn ask(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    send(host, &(head + "\r\n"), body, |_| false).await
}
