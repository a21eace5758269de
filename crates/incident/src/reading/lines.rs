//! Cuts text into lines in bounded memory.
//!
//! Invariant: no more than one piece of [`MAX_LINE`] bytes is held at a time, and each byte is looked at a fixed number of times.

use std::io::{self, BufRead};

/// Longest line that is kept whole, in bytes; a longer one comes in pieces. Suricata's longest events stay well below it.
pub(crate) const MAX_LINE: usize = 256 * 1024;

/// Lines that had to be changed to be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineFaults {
    /// Lines with bytes that are no UTF-8.
    pub(super) undecodable: u64,
    /// Lines that had NUL bytes, which are taken out.
    pub(super) with_nul: u64,
}

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Without the line's end.
    pub(super) text: &'a str,
    /// Whether the line begins with it.
    pub(super) starts: bool,
    /// Whether the line ends with it.
    pub(super) ends: bool,
}

/// The lines of a text.
pub(super) struct Lines<R> {
    reader: R,
    bytes: Vec<u8>,
    text: String,
    /// Whether the next piece begins a line.
    starts: bool,
    faults: LineFaults,
    read: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Lines {
            reader,
            bytes: Vec::new(),
            text: String::new(),
            starts: true,
            faults: LineFaults::default(),
            read: 0,
        }
    }

    /// Lines that had to be changed so far.
    pub(super) fn faults(&self) -> LineFaults {
        self.faults
    }

    /// Bytes taken so far.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// The next piece, or nothing at the end of the text.
    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        let Some(ends) = self.fill()? else { return Ok(None) };
        let starts = std::mem::replace(&mut self.starts, ends);
        // A character that the cut has left incomplete waits for its rest.
        let tail = if ends { 0 } else { incomplete(&self.bytes) };
        let rest = self.bytes.split_off(self.bytes.len() - tail);
        while ends && self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        if memchr::memchr(0, &self.bytes).is_some() {
            self.faults.with_nul += 1;
            self.bytes.retain(|&byte| byte != 0);
        }
        self.text.clear();
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => self.text.push_str(text),
            Err(_) => {
                self.faults.undecodable += 1;
                self.text.push_str(&String::from_utf8_lossy(&self.bytes));
            }
        }
        self.bytes = rest;
        Ok(Some(Piece { text: &self.text, starts, ends }))
    }

    /// Puts the next piece behind what the last one left, and says whether its line ends with it; nothing at the end.
    fn fill(&mut self) -> io::Result<Option<bool>> {
        let mut any = !self.bytes.is_empty();
        while self.bytes.len() < MAX_LINE {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                // The last line may end without a line feed, and a long one exactly here.
                return Ok((any || !self.starts).then_some(true));
            }
            any = true;
            let room = MAX_LINE - self.bytes.len();
            let chunk = chunk.get(..room.min(chunk.len())).unwrap_or(chunk);
            let end = memchr::memchr(b'\n', chunk);
            self.bytes.extend_from_slice(chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk));
            let used = end.map_or(chunk.len(), |end| end + 1);
            self.reader.consume(used);
            self.read += used as u64;
            if end.is_some() {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }
}

/// Bytes at the end that begin a character and do not finish it.
fn incomplete(bytes: &[u8]) -> usize {
    let tail = bytes.get(bytes.len().saturating_sub(3)..).unwrap_or_default();
    let Some(start) = tail.iter().rposition(|&byte| byte >= 0xc0) else { return 0 };
    let length = match tail.get(start) {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        _ => 2,
    };
    let there = tail.len() - start;
    if there < length { there } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> (Vec<(String, bool, bool)>, LineFaults) {
        let mut lines = Lines::new(io::BufReader::with_capacity(7, bytes));
        let mut out = Vec::new();
        while let Some(piece) = lines.next_piece().unwrap() {
            out.push((piece.text.to_owned(), piece.starts, piece.ends));
        }
        (out, lines.faults())
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        lines(bytes).0.into_iter().map(|(text, ..)| text).collect()
    }

    #[test]
    fn line_ends_are_taken_off() {
        assert_eq!(texts(b"one\r\ntwo\n\nfour"), ["one", "two", "", "four"]);
        assert!(texts(b"").is_empty());
    }

    #[test]
    fn undecodable_bytes_and_holes_are_counted() {
        let (out, faults) = lines(b"caf\xe9 au lait\n\0\0\0plain\n");
        assert_eq!(
            out.iter().map(|line| line.0.as_str()).collect::<Vec<_>>(),
            ["caf\u{fffd} au lait", "plain"]
        );
        assert_eq!((faults.undecodable, faults.with_nul), (1, 1));
    }

    #[test]
    fn a_gigantic_line_comes_in_pieces() {
        let mut bytes = "é".repeat(MAX_LINE).into_bytes();
        bytes.insert(0, b'x');
        bytes.extend(b"\nnext\n");
        let (out, faults) = lines(&bytes);
        assert!(out.iter().all(|(text, ..)| text.len() <= MAX_LINE));
        assert_eq!(faults.undecodable, 0);
        let whole: String = out.iter().map(|line| line.0.as_str()).collect();
        assert_eq!(whole.len(), bytes.len() - 2);
        let marks: Vec<(bool, bool)> = out.iter().map(|(_, starts, ends)| (*starts, *ends)).collect();
        assert_eq!(marks, [(true, false), (false, false), (false, true), (true, true)]);
    }

    #[test]
    fn a_line_of_exactly_the_bound_is_one_line() {
        let (out, _) = lines(&vec![b'a'; MAX_LINE]);
        assert_eq!(out.iter().map(|(text, ..)| text.len()).sum::<usize>(), MAX_LINE);
        assert_eq!(out.iter().filter(|(_, starts, _)| *starts).count(), 1);
        assert_eq!(out.iter().filter(|(_, _, ends)| *ends).count(), 1);
    }
}
