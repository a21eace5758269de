//! Reads what is appended to a log, record by whole record.
//!
//! Contract: what was written is given once and in order. A line without its end waits for it, and a record of several lines (Snort's
//! full alerts, OSSEC's) for the empty line behind it; lines end with a line feed, with a carriage return before it or without. A log that
//! is rotated is read to its end and then the new one from its beginning. One that is cut is read from its beginning, also if it has grown
//! past its old length meanwhile, which its last bytes that were read tell. Zero bytes, such as those of the hole that a cut leaves behind
//! a writer who goes on at the old place, are passed over. Nothing here sleeps; whoever calls decides how often.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most bytes that one call gives; the rest comes with the next.
const MOST: usize = 4 << 20;

/// Most bytes that one call looks at.
const MOST_LOOKED_AT: u64 = 64 << 20;

/// Bytes before the place where reading goes on, by which a log is known again.
const MARK: u64 = 1024;

/// A log that is followed.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    file: Option<Followed>,
    /// Where reading begins in a file that is there from the start.
    from_end: bool,
    pending: Pending,
}

#[derive(Debug)]
struct Followed {
    file: File,
    identity: (u64, u64),
    offset: u64,
    /// The last bytes before the offset.
    mark: Vec<u8>,
}

/// Bytes that were read and make no whole record yet.
#[derive(Debug, Default)]
pub(crate) struct Pending(Vec<u8>);

impl Tail {
    /// Follows the log at this path, from its beginning or from its end. A log that comes later is read from its beginning.
    pub(crate) fn new(path: &Path, from_start: bool) -> Self {
        Self { path: path.to_owned(), file: None, from_end: !from_start, pending: Pending::default() }
    }

    /// Whole records that were written since the last call; `None` if there are none yet.
    pub(crate) fn read(&mut self) -> io::Result<Option<String>> {
        let from_end = std::mem::take(&mut self.from_end);
        if self.file.is_none() {
            self.file = self.open(from_end)?;
        }
        let is_whole = self.append()?;
        if is_whole && self.is_rotated()? {
            // What the old log still held was read above; its last line may lack its end.
            self.pending.end();
            self.file = self.open(false)?;
            self.append()?;
        }
        Ok(self.pending.records())
    }

    /// Bytes that wait for the end of their record.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.0.len()
    }

    fn open(&self, from_end: bool) -> io::Result<Option<Followed>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let offset = if from_end { metadata.len() } else { 0 };
        let mut followed = Followed { file, identity: identity(&metadata), offset, mark: Vec::new() };
        followed.go_on_at(offset)?;
        Ok(Some(followed))
    }

    /// Reads up to a bound. Gives whether everything was read.
    fn append(&mut self) -> io::Result<bool> {
        let Some(followed) = &mut self.file else { return Ok(true) };
        if followed.is_cut()? {
            // What comes now is new; of what came before, the last line may lack its end.
            self.pending.end();
            followed.go_on_at(0)?;
        }
        let before = followed.offset;
        loop {
            let (room, read) = self.pending.fill(&mut followed.file)?;
            followed.offset += read;
            let is_whole = read < room;
            if is_whole || room == 0 || followed.offset - before >= MOST_LOOKED_AT {
                followed.go_on_at(followed.offset)?;
                return Ok(is_whole);
            }
        }
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
}

impl Followed {
    /// Goes to this place, and takes the mark by which the log is known again.
    fn go_on_at(&mut self, offset: u64) -> io::Result<()> {
        let length = offset.min(MARK);
        let mut mark = vec![0; usize::try_from(length).unwrap_or_default()];
        let is_there = holds(&self.file, &mut mark, offset - length)?;
        self.mark = if is_there { mark } else { Vec::new() };
        self.offset = self.file.seek(SeekFrom::Start(offset))?;
        Ok(())
    }

    /// Whether the log does not hold any more what was read of it.
    fn is_cut(&self) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.offset {
            return Ok(true);
        }
        let mut now = vec![0; self.mark.len()];
        let is_there = holds(&self.file, &mut now, self.offset - self.mark.len() as u64)?;
        Ok(!is_there || now != self.mark)
    }
}

/// Reads at a place without going there. False if the file ends before.
fn holds(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

impl Pending {
    /// Reads until it is full or the reader ends, and passes over zero bytes. Gives how much there was room for, and how much was read:
    /// less only at the end.
    pub(crate) fn fill(&mut self, reader: &mut impl Read) -> io::Result<(u64, u64)> {
        let before = self.0.len();
        let room = MOST.saturating_sub(before) as u64;
        let read = reader.by_ref().take(room).read_to_end(&mut self.0)? as u64;
        if self.0.iter().skip(before).any(|&byte| byte == 0) {
            let new = self.0.split_off(before);
            self.0.extend(new.into_iter().filter(|&byte| byte != 0));
        }
        Ok((room, read))
    }

    /// Nothing more is written behind it, so that what lacks its end is whole.
    pub(crate) fn end(&mut self) {
        if !self.0.is_empty() {
            self.0.extend_from_slice(b"\n\n");
        }
    }

    /// The whole records among what was read.
    pub(crate) fn records(&mut self) -> Option<String> {
        let is_full = self.0.len() >= MOST;
        let lines = self.0.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
        let end = match lines {
            // A record longer than the bound is given in parts: it is no alert.
            None if is_full => self.0.len(),
            None => return None,
            Some(lines) if is_full || !is_multi_line(self.0.get(..lines)?) => lines,
            Some(lines) => behind_last_blank(self.0.get(..lines)?)?,
        };
        let rest = self.0.split_off(end);
        let whole = std::mem::replace(&mut self.0, rest);
        let text = String::from_utf8_lossy(&whole).into_owned();
        (!text.trim().is_empty()).then_some(text)
    }
}

/// Whether the text holds alerts of several lines: Snort's, whose first line is a signature alone, or OSSEC's.
fn is_multi_line(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .any(|line| line.starts_with(b"** Alert ") || (line.starts_with(b"[**]") && line.ends_with(b"[**]")))
}

/// The end of the last empty line.
fn behind_last_blank(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    let ends = text.split_inclusive(|&byte| byte == b'\n').filter_map(|line| {
        at += line.len();
        line.trim_ascii().is_empty().then_some(at)
    });
    ends.last()
}

/// Tells a file from the one that takes its name.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
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
        assert_eq!(tail.read().unwrap().as_deref(), Some("rest\n\nnew\n"));
    }

    #[test]
    fn a_log_that_is_cut_and_grows_past_its_old_length_loses_nothing() {
        for (old, from_start) in [("first\n", true), ("first\n", false), (&"x".repeat(5000), true)] {
            let log = Log::new();
            log.write(old);
            let mut tail = Tail::new(&log.path(), from_start);
            tail.read().unwrap();
            let text = "second\nthird\nfourth\n".repeat(1 + old.len() / 10);
            std::fs::write(log.path(), &text).unwrap();
            let given = tail.read().unwrap().unwrap();
            assert!(given.ends_with(&text), "{given}");
            log.write("fifth\n");
            assert_eq!(tail.read().unwrap().as_deref(), Some("fifth\n"));
        }
    }

    #[test]
    fn the_hole_that_a_cut_leaves_behind_its_writer_is_passed_over() {
        let log = Log::new();
        let mut writer = File::create(log.path()).unwrap();
        writer.write_all(b"before\n").unwrap();
        let mut tail = Tail::new(&log.path(), true);
        assert_eq!(tail.read().unwrap().as_deref(), Some("before\n"));
        // The writer does not append: it goes on where it was.
        writer.seek(SeekFrom::Start(3 * MOST as u64)).unwrap();
        OpenOptions::new().write(true).open(log.path()).unwrap().set_len(0).unwrap();
        writer.write_all(b"behind\n").unwrap();
        assert_eq!(tail.read().unwrap().as_deref(), Some("behind\n"));
        writer.write_all(b"and on\n").unwrap();
        assert_eq!(tail.read().unwrap().as_deref(), Some("and on\n"));
    }

    #[test]
    fn a_line_that_does_not_end_holds_nothing_up() {
        let log = Log::new();
        log.write(&"x".repeat(MOST + 10));
        log.write("\nbehind\n");
        let mut tail = Tail::new(&log.path(), true);
        let mut given = String::new();
        while let Some(text) = tail.read().unwrap() {
            given.push_str(&text);
        }
        assert!(given.len() == MOST + 18 && given.ends_with("\nbehind\n"), "{}", given.len());
    }

    #[test]
    fn lines_may_end_as_windows_writes_them() {
        let log = Log::new();
        let mut tail = Tail::new(&log.path(), true);
        log.write("[**] [1:1:1] probe [**]\r\n[Priority: 1]\r\n06/03-12:59:31.0 192.0.2.1 -> 10.0.0.2\r\n");
        assert_eq!(tail.read().unwrap(), None);
        assert!(tail.waiting() > 0);
        log.write("\r\n[**] [1:2:1] other [**]\r\n");
        let text = tail.read().unwrap().unwrap();
        assert!(
            text.starts_with("[**] [1:1:1] probe [**]\r\n") && text.ends_with("10.0.0.2\r\n\r\n"),
            "{text:?}"
        );
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
        assert_eq!(text, "a\u{fffd}\n");
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
