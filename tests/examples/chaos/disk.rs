//! A small disk that can be filled and freed.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory, mounted on a folder that goes away.
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    /// One of so many bytes. Needs root.
    pub(crate) fn mount(bytes: u64) -> io::Result<Self> {
        let folder = TempDir::new()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .output()?;
        if !mounted.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&mounted.stderr).trim().to_owned()));
        }
        let disk = Self { folder };
        // Servers run as other users.
        std::fs::set_permissions(disk.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all that is free.
    pub(crate) fn fill(&self) -> io::Result<()> {
        let file = File::create(self.filler())?;
        let (mut taken, mut part) = (0, libc::off_t::try_from(self.free()?).unwrap_or(libc::off_t::MAX));
        // Others write meanwhile, so what was free a moment ago may not fit; then smaller parts do.
        while part >= 4096 {
            // SAFETY: the descriptor is open as long as `file` lives.
            match unsafe { libc::posix_fallocate(file.as_raw_fd(), taken, part) } {
                0 => taken += part,
                libc::ENOSPC => part /= 2,
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn free_up(&self) -> io::Result<()> {
        std::fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn free(&self) -> io::Result<u64> {
        let path = CString::new(self.path().as_os_str().as_bytes()).map_err(io::Error::other)?;
        // SAFETY: an all-zero statvfs is valid, and statvfs writes at most its size into it.
        let (status, found) = unsafe {
            let mut found: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(path.as_ptr(), &raw mut found), found)
        };
        match status {
            0 => Ok(found.f_bavail * found.f_frsize),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is about to end may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
