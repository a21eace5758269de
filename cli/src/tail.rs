//! Reads what is appended to a log, record by whole record.
//!
//! Contract: what was written is given once and in order. A line without its end waits for it, and a record of several lines (Snort's
//! full alerts) for the empty line behind it. A log that is rotated is read to its end and then the new one from its
//! beginning; one that is cut is read from its beginning. Nothing here sleeps; whoever calls decides how often.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Most bytes that one call gives; the rest comes with the next.
const MOST: usize = 4 << 20;

/// A log that is followed.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    file: Option<Followed>,
    /// Where reading begins in a file that is there from the start.
    from_end: bool,
    /// Bytes that were read and make no whole record yet.
    pending: Vec<u8>,
}

#[derive(Debug)]
struct Followed {
    file: File,
    identity: u64,
    offset: u64,
}

impl Tail {
    /// Follows the log at this path, from its beginning or from its end. A log that comes later is read from its beginning.
    pub(crate) fn new(path: &Path, from_start: bool) -> Self {
        Self { path: path.to_owned(), file: None, from_end: !from_start, pending: Vec::new() }
    }

    /// Whole records that were written since the last call; `None` if there are none yet.
    pub(crate) fn read(&mut self) -> io::Result<Option<String>> {
        let from_end = std::mem::take(&mut self.from_end);
        if self.file.is_none() {
            self.file = self.open(from_end)?;
        }
        let whole = self.append()?;
        if whole && self.is_rotated()? {
            // What the old log still held was read above; its last line may lack its end.
            self.end_line();
            self.file = self.open(false)?;
            self.append()?;
        }
        Ok(self.records())
    }

    /// Like [`Tail::read`], and what lacks its end counts as whole: nobody writes this file any more.
    pub(crate) fn rest(&mut self) -> io::Result<Option<String>> {
        match self.read()? {
            Some(text) => Ok(Some(text)),
            None => {
                self.end_line();
                Ok(self.records())
            }
        }
    }

    fn open(&self, from_end: bool) -> io::Result<Option<Followed>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let identity = identity(&file.metadata()?);
        let offset = if from_end { file.seek(SeekFrom::End(0))? } else { 0 };
        Ok(Some(Followed { file, identity, offset }))
    }

    /// Reads up to a bound. Gives whether everything was read.
    fn append(&mut self) -> io::Result<bool> {
        let Some(followed) = &mut self.file else { return Ok(true) };
        if followed.file.metadata()?.len() < followed.offset {
            // It was cut, and what comes now is new.
            followed.offset = followed.file.seek(SeekFrom::Start(0))?;
            self.pending.clear();
        }
        let room = MOST.saturating_sub(self.pending.len()) as u64;
        let read = Read::by_ref(&mut followed.file).take(room).read_to_end(&mut self.pending)?;
        followed.offset += read as u64;
        Ok((read as u64) < room)
    }

    fn is_rotated(&self) -> io::Result<bool> {
        let Some(followed) = &self.file else { return Ok(false) };
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok(identity(&now) != followed.identity),
            // Moved away, and the new one is not there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn end_line(&mut self) {
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(b"\n\n");
        }
    }

    /// The whole records among what was read.
    fn records(&mut self) -> Option<String> {
        let lines = self.pending.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1)?;
        let text = self.pending.get(..lines)?;
        // A record longer than the bound is given in parts: it is no alert.
        let full = self.pending.len() < MOST && is_multi_line(text);
        let end =
            if full { text.windows(2).rposition(|pair| pair == b"\n\n").map(|at| at + 2)? } else { lines };
        let rest = self.pending.split_off(end);
        let whole = std::mem::replace(&mut self.pending, rest);
        let text = String::from_utf8_lossy(&whole).replace('\0', "\u{fffd}");
        (!text.trim().is_empty()).then_some(text)
    }
}

/// Whether the text holds alerts of several lines: their first line is a signature alone, and other lines follow.
fn is_multi_line(text: &[u8]) -> bool {
    let mut lines =
        text.split(|&byte| byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace));
    lines.any(|line| {
        let line = line.trim_ascii();
        line.starts_with(b"[**]") && line.ends_with(b"[**]")
    })
}

/// Tells a file from the one that takes its name.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;

    metadata.ino() ^ metadata.dev().rotate_left(32)
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    struct Log(tempfile::TempDir);

    impl Log {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("alert")
        }

        fn write(&self, text: &str) {
            let mut file = OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn what_is_appended_is_given_once_by_whole_lines() {
        let log = Log::new();
        log.write("old\n");
        let mut tail = Tail::new(&log.path(), false);
        assert_eq!(tail.read().unwrap(), None);
        log.write("a\nb");
        assert_eq!(tail.read().unwrap().as_deref(), Some("a\n"));
        assert_eq!(tail.read().unwrap(), None);
        log.write("c\n\n");
        assert_eq!(tail.read().unwrap().as_deref(), Some("bc\n\n"));
        assert_eq!(Tail::new(&log.path(), true).read().unwrap().as_deref(), Some("old\na\nbc\n\n"));
    }

    #[test]
    fn the_rest_of_a_finished_file_is_given_as_well() {
        let log = Log::new();
        log.write("a\nb");
        let mut tail = Tail::new(&log.path(), true);
        assert_eq!(tail.rest().unwrap().as_deref(), Some("a\n"));
        assert_eq!(tail.rest().unwrap().as_deref(), Some("b\n\n"));
        assert_eq!(tail.rest().unwrap(), None);
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_read_from_its_beginning() {
        let log = Log::new();
        let mut tail = Tail::new(&log.path(), false);
        assert_eq!(tail.read().unwrap(), None);
        log.write("first\n");
        assert_eq!(tail.read().unwrap().as_deref(), Some("first\n"));
    }

    #[test]
    fn a_rotated_log_loses_nothing() {
        let log = Log::new();
        log.write("a\n");
        let mut tail = Tail::new(&log.path(), true);
        assert_eq!(tail.read().unwrap().as_deref(), Some("a\n"));
        log.write("b\nhalf");
        std::fs::rename(log.path(), log.0.path().join("alert.1")).unwrap();
        assert_eq!(tail.read().unwrap().as_deref(), Some("b\n"), "the new one is not there yet");
        log.write("c\n");
        assert_eq!(tail.read().unwrap().as_deref(), Some("half\n\nc\n"));
    }

    #[test]
    fn a_log_that_is_cut_is_read_from_its_beginning() {
        let log = Log::new();
        log.write("a long line\nrest");
        let mut tail = Tail::new(&log.path(), true);
        tail.read().unwrap();
        std::fs::write(log.path(), "new\n").unwrap();
        assert_eq!(tail.read().unwrap().as_deref(), Some("new\n"));
    }

    #[test]
    fn an_alert_of_several_lines_is_given_whole() {
        let log = Log::new();
        let mut tail = Tail::new(&log.path(), true);
        log.write("[**] [1:1:1] probe [**]\n[Priority: 1]\n");
        assert_eq!(tail.read().unwrap(), None);
        log.write("06/03-12:59:31.0 10.0.0.1 -> 10.0.0.2\n\n[**] [1:2:1] other [**]\n");
        let text = tail.read().unwrap().unwrap();
        assert!(text.starts_with("[**] [1:1:1] probe [**]\n") && text.ends_with("10.0.0.2\n\n"), "{text:?}");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let log = Log::new();
        std::fs::write(log.path(), b"a\0\xff\n").unwrap();
        let text = Tail::new(&log.path(), true).read().unwrap().unwrap();
        assert_eq!(text, "a\u{fffd}\u{fffd}\n");
    }

    proptest! {
        #[test]
        fn however_it_is_written_the_lines_are_the_same(
            lines in prop::collection::vec("[a-z]{0,6}", 0..12), cuts in prop::collection::vec(0usize..80, 0..6),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let log = Log::new();
            let mut tail = Tail::new(&log.path(), true);
            let mut given = String::new();
            for pair in cuts.windows(2) {
                log.write(&text[pair[0]..pair[1]]);
                given.push_str(&tail.read().unwrap().unwrap_or_default());
            }
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&given), words(&text));
        }
    }
}
