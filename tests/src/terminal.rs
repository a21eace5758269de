//! A program at a terminal of its own, as a person sees it and types into it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::PATIENCE_SECONDS;

/// A running program and its terminal. Dropping it kills the program.
pub struct AtTerminal {
    child: Child,
    keys: File,
    /// The side of the program, held open so that the terminal can be looked at once it has ended.
    terminal: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
}

/// Opens a terminal: its far side, and the one that programs are started at.
fn open(columns: u16, rows: u16) -> std::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let far = openpt(flags)?;
    grantpt(&far)?;
    unlockpt(&far)?;
    let near = ioctl_tiocgptpeer(&far, flags)?;
    tcsetwinsize(&near, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((far, near))
}

impl AtTerminal {
    /// Starts a program at a terminal of this size.
    ///
    /// # Panics
    /// If there is no terminal to be had, or the program cannot be started.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Self {
        let started = open(columns, rows).and_then(|(far, near)| {
            let copy = || near.try_clone().map(Stdio::from);
            command
                .stdin(copy()?)
                .stdout(copy()?)
                .stderr(copy()?)
                .env("TERM", "xterm-256color")
                .env_remove("NO_COLOR");
            // SAFETY: the closure runs between fork and exec and makes three system calls.
            unsafe {
                command.pre_exec(|| {
                    rustix::process::setsid()?;
                    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                    // The program dies with the test that started it, even if that one is killed.
                    match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                });
            }
            Ok((command.spawn()?, File::from(far.try_clone()?), File::from(far), near))
        });
        let (child, mut shown, keys, terminal) =
            started.unwrap_or_else(|error| panic!("at a terminal: {error}"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let drawn = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = shown.read(&mut bytes) {
                drawn.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..read]);
            }
        });
        Self { child, keys, terminal, screen }
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn type_in(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .unwrap_or_else(|error| panic!("{keys:?} cannot be typed: {error}"));
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Waits until all of these words are on the screen, and gives what is there.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn wait_for(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
        loop {
            let screen = self.screen();
            if words.iter().all(|word| screen.contains(word)) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{words:?} did not come:\n{screen}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Id of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to end, as a system that goes down does.
    pub fn terminate(&self) {
        if let Ok(pid) = libc::pid_t::try_from(self.pid()) {
            // SAFETY: kill takes two integers. The child was not waited for, so the id is its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
    }

    /// Waits for its end, and gives its exit code; a death by signal N is -N.
    ///
    /// # Panics
    /// If it does not end, or leaves its terminal otherwise than it found it.
    pub async fn end(mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                _ => assert!(Instant::now() < deadline, "it still runs:\n{}", self.screen()),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let modes = tcgetattr(&self.terminal).map(|termios| termios.local_modes);
        let usual = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        assert!(modes.is_ok_and(|modes| modes.contains(usual)), "the terminal takes lines again");
        // What was written last may still be on its way.
        let is_back = || {
            let parser = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            let screen = parser.screen();
            !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
        };
        while !is_back() {
            assert!(Instant::now() < deadline, "the screen is not what it was:\n{}", self.screen());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
