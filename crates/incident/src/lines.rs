//! Cuts a byte stream into lines of text in bounded memory, and refuses what is no text.
//!
//! Invariant: no more than [`HEAD`] bytes and one line of [`MAX_LINE`] bytes are held at a time, and each byte is
//! looked at a fixed number of times.

use std::borrow::Cow;
use std::io::{self, BufRead, Chain, Cursor, Read};

use crate::LogError;

/// Bytes at the beginning that decide whether a log is text.
const HEAD: u64 = 64 * 1024;

/// Longest line that is kept whole, in bytes. Suricata's longest events stay well below it.
pub(crate) const MAX_LINE: usize = 256 * 1024;

/// Lines that had to be changed to be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineFaults {
    /// Lines cut at [`MAX_LINE`].
    pub(crate) cut: u64,
    /// Lines with bytes that are no UTF-8.
    pub(crate) undecodable: u64,
    /// Lines with NUL bytes behind the head.
    pub(crate) with_nul: u64,
}

/// The lines of a log.
pub(crate) struct Lines<R> {
    reader: Chain<Cursor<Vec<u8>>, R>,
    buffer: Vec<u8>,
    faults: LineFaults,
}

impl<R: BufRead> Lines<R> {
    /// Looks at the beginning of the log.
    pub(crate) fn open(mut reader: R) -> Result<Self, LogError> {
        let mut head = Vec::new();
        reader.by_ref().take(HEAD).read_to_end(&mut head)?;
        if let Some(reason) = reason_to_refuse(&head) {
            return Err(LogError::Binary { reason });
        }
        let start = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut head = Cursor::new(head);
        head.set_position(start);
        Ok(Lines { reader: head.chain(reader), buffer: Vec::new(), faults: LineFaults::default() })
    }

    /// The next line without its end, or nothing at the end of the log.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Cow<'_, str>>> {
        if !self.fill()? {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&self.buffer);
        self.faults.undecodable += u64::from(matches!(line, Cow::Owned(_)));
        Ok(Some(line))
    }

    /// Lines that had to be changed so far.
    pub(crate) fn faults(&self) -> LineFaults {
        self.faults
    }

    /// Puts the next line into the buffer; false at the end of the log.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let (mut any, mut cut) = (false, false);
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
            let room = MAX_LINE - self.buffer.len();
            cut |= part.len() > room;
            self.buffer.extend_from_slice(part.get(..room).unwrap_or(part));
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if cut {
            self.faults.cut += 1;
            self.drop_partial_character();
        }
        while self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        self.faults.with_nul += u64::from(self.buffer.contains(&0));
        Ok(any)
    }

    /// Removes a character that the cut has left incomplete, so that it does not count as undecodable.
    fn drop_partial_character(&mut self) {
        let tail = self.buffer.len().saturating_sub(3);
        if let Some(start) = self.buffer.iter().skip(tail).position(|&byte| byte >= 0xc0) {
            self.buffer.truncate(tail + start);
        }
    }
}

/// Why a log that begins like this is refused.
fn reason_to_refuse(head: &[u8]) -> Option<String> {
    const MAGIC: [(&[u8], &str); 9] = [
        (b"\x1f\x8b", "it is compressed with gzip; decompress it first"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; decompress it first"),
        (b"\xfd7zXZ", "it is compressed with xz; decompress it first"),
        (b"PK\x03\x04", "it is a ZIP archive; unpack it first"),
        (b"\xd4\xc3\xb2\xa1", "it is a packet capture; let an IDS read it and give its alerts"),
        (b"\xa1\xb2\xc3\xd4", "it is a packet capture; let an IDS read it and give its alerts"),
        (b"\x0a\x0d\x0d\x0a", "it is a packet capture; let an IDS read it and give its alerts"),
        (b"\xff\xfe", "it is UTF-16; convert it to UTF-8 first"),
        (b"\xfe\xff", "it is UTF-16; convert it to UTF-8 first"),
    ];
    const HINT: &str = "give Snort fast or full alerts, Suricata EVE JSON or plain log lines";
    if let Some((_, reason)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some((*reason).to_owned());
    }
    if let Some(offset) = head.iter().position(|&byte| byte == 0) {
        return Some(format!("it has a NUL byte at offset {offset}; {HINT}"));
    }
    let control = head.iter().filter(|&&byte| byte < b' ' && !b"\t\n\r\x1b".contains(&byte)).count();
    let undecodable: usize = head.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    let strange = control + undecodable;
    (strange * 10 > head.len() * 3).then(|| {
        format!(
            "{} % of its first {} bytes are no text; {HINT}",
            strange * 100 / head.len().max(1),
            head.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> (Vec<String>, LineFaults) {
        let mut lines = Lines::open(io::BufReader::with_capacity(7, bytes)).unwrap();
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push(line.into_owned());
        }
        (out, lines.faults())
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_are_taken_off() {
        assert_eq!(lines(b"\xef\xbb\xbfone\r\ntwo\n\nfour").0, ["one", "two", "", "four"]);
        assert!(lines(b"").0.is_empty());
    }

    #[test]
    fn undecodable_bytes_are_replaced_and_counted() {
        let (out, faults) = lines(b"caf\xe9 au lait\nplain\n");
        assert_eq!(out, ["caf\u{fffd} au lait", "plain"]);
        assert_eq!(faults.undecodable, 1);
    }

    #[test]
    fn a_gigantic_line_is_cut() {
        let mut bytes = "é".repeat(MAX_LINE).into_bytes();
        bytes.insert(0, b'x');
        bytes.extend(b"\nnext\n");
        let (out, faults) = lines(&bytes);
        assert_eq!(out.len(), 2);
        assert!(out[0].len() <= MAX_LINE && out[0].len() > MAX_LINE - 4);
        assert_eq!((faults.cut, faults.undecodable), (1, 0));
        assert_eq!(out[1], "next");
    }

    #[test]
    fn what_is_no_text_is_refused_with_a_reason() {
        for (bytes, expected) in [
            (&b"\x1f\x8b\x08\x00"[..], "gzip"),
            (b"\xff\xfea\0", "UTF-16"),
            (b"text\0text", "NUL byte at offset 4"),
            (b"\x80\x81\x82\x83abc", "no text"),
        ] {
            let error = Lines::open(bytes).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_nul_byte_behind_the_head_is_counted() {
        let mut bytes = "plain line\n".repeat(10_000).into_bytes();
        bytes.extend(b"a\0b\n");
        let (out, faults) = lines(&bytes);
        assert_eq!(out.len(), 10_001);
        assert_eq!(faults.with_nul, 1);
    }
}
