//! The file of an SQLite store: who may read it, who uses it, and whether it is the one that was there before.
//!
//! Beside `FILE` stand `FILE-wal`, SQLite's own, and `FILE.lock`. The lock is held as long as the file is used, and notes
//! which store the file holds: an id, and how often it was opened. A file that holds another one, or an earlier state of it,
//! was put there by somebody, or lost its `FILE-wal`; it is refused with a word on what to do, and never served as an empty
//! store.
//!
//! Invariants: what is made here is for this user alone (0700, 0600); no link is followed at the lock's name, and no content
//! is cut off there.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// How a log that SQLite writes ahead begins; the last bit tells the byte order of its sums.
const WAL_MAGIC: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
/// Longest note that is read.
const LONGEST_NOTE: u64 = 256;

/// Which store a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: Uuid,
    /// How often it was opened.
    pub(super) opened: u64,
}

/// The lock of a file that is used by this process.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    name: PathBuf,
}

/// Makes file and folder if they are not there, for this user alone, and takes the lock.
///
/// # Errors
/// One sentence without the file's name, or with that of another one.
pub(super) fn prepare(path: &Path) -> Result<FileLock, String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let lock = lock(beside(path, ".lock"))?;
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        keep_private(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    private().create(true).open(path).map_err(|error| error.to_string())?;
    check_wal(&beside(path, "-wal"))?;
    Ok(lock)
}

impl FileLock {
    /// Which store was here when it was opened last; `None` if this is not known.
    pub(super) fn noted(&mut self) -> Result<Option<Identity>, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.name.display());
        let mut note = String::new();
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        // What is no text is no note: earlier releases left the file empty.
        let read = (&self.file).take(LONGEST_NOTE).read_to_string(&mut note);
        match read {
            Err(error) if error.kind() != ErrorKind::InvalidData => Err(failed(error)),
            _ => Ok(parse(&note)),
        }
    }

    /// Notes which store is here.
    pub(super) fn note(&mut self, Identity { id, opened }: Identity) -> Result<(), String> {
        let note = format!("countermove store {id} opened {opened}\n");
        let written = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(note.as_bytes()))
            .and_then(|()| self.file.set_len(note.len() as u64))
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| format!("{}: {error}", self.name.display()))
    }

    /// Says what is wrong if the store that was found is not the one that was here.
    pub(super) fn check(&mut self, found: Identity) -> Result<(), String> {
        let way = format!(
            "restore the file together with the -wal file beside it; if this is what you want to go on with, remove {}",
            self.name.display()
        );
        match self.noted()? {
            Some(noted) if noted.id != found.id => {
                Err(format!("it is not the store that was here before: that had the id {}; {way}", noted.id))
            }
            Some(noted) if noted.opened > found.opened => Err(format!(
                "it is an earlier state of the store that was here: it was opened {} times, and that {} times; {way}",
                found.opened, noted.opened
            )),
            _ => Ok(()),
        }
    }
}

fn parse(note: &str) -> Option<Identity> {
    let (id, opened) = note.strip_prefix("countermove store ")?.split_once(" opened ")?;
    Some(Identity { id: id.parse().ok()?, opened: opened.trim().parse().ok()? })
}

fn lock(name: PathBuf) -> Result<FileLock, String> {
    let opened = private().create(true).custom_flags(libc::O_NOFOLLOW).open(&name);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => format!("{} is a link, and links are not followed there", name.display()),
        _ => format!("{}: {error}", name.display()),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock { file, name }),
        Err(TryLockError::WouldBlock) => Err("another coordinator uses it; give each its own file, or use \
                                              PostgreSQL for several coordinators"
            .to_owned()),
        Err(TryLockError::Error(error)) => Err(format!("{}: {error}", name.display())),
    }
}

/// Takes a file that is there from everybody but this user.
fn keep_private(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.permissions().mode() & 0o077 == 0 => Ok(()),
        Ok(_) => {
            tracing::warn!(file = %path.display(), "others could read the store; from now on only this user can");
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
        }
    }
}

/// SQLite takes a log that it cannot read for an empty one, and what was written last would be gone without a word.
fn check_wal(path: &Path) -> Result<(), String> {
    let mut begin = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut begin));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
        // A log that was worked off is empty.
        Ok(0) => Ok(()),
        // Zeros are what a power cut leaves of a beginning that was never on disk, and so of nothing that was told.
        Ok(4) if WAL_MAGIC.contains(&begin) || begin == [0; 4] => Ok(()),
        Ok(_) => Err(format!(
            "{} is damaged, and what was written last would be lost: restore both files from a copy; to go on without \
             what it held, remove it",
            path.display()
        )),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false).mode(0o600);
    options
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_this_user_alone_and_what_was_open_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/countermove/incidents.db");
        drop(prepare(&path).unwrap());
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        assert_eq!(mode(&beside(&path, ".lock")), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(prepare(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn no_link_is_followed_and_nothing_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("x.db"), folder.path().join("victim"));
        std::fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, beside(&path, ".lock")).unwrap();
        assert!(prepare(&path).unwrap_err().contains("is a link"));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
    }

    #[test]
    fn another_store_and_an_earlier_state_are_told_from_the_one_that_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = prepare(&folder.path().join("x.db")).unwrap();
        let first = Identity { id: Uuid::now_v7(), opened: 12 };
        assert_eq!(lock.noted(), Ok(None));
        assert_eq!(lock.check(first), Ok(()), "nothing is known yet");
        lock.note(Identity { opened: 1_000_000, ..first }).unwrap();
        lock.note(first).unwrap();
        assert_eq!(lock.noted(), Ok(Some(first)), "a shorter note leaves nothing of a longer one");
        assert_eq!(lock.check(Identity { opened: 13, ..first }), Ok(()));
        let earlier = lock.check(Identity { opened: 11, ..first }).unwrap_err();
        assert!(earlier.contains("an earlier state") && earlier.contains("x.db.lock"), "{earlier}");
        let other = lock.check(Identity { id: Uuid::now_v7(), opened: 50 }).unwrap_err();
        assert!(other.contains("not the store that was here"), "{other}");
    }

    #[test]
    fn a_damaged_log_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        for (content, is_good) in [
            (&b""[..], true),
            (b"\x37\x7f\x06\x82rest", true),
            (&[0; 32], true),
            (b"garbage", false),
            (b"\x37", false),
        ] {
            std::fs::write(beside(&path, "-wal"), content).unwrap();
            assert_eq!(prepare(&path).is_ok(), is_good, "{content:?}");
        }
    }
}
