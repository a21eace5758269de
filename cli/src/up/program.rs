//! Programs that run once: one that answers a question, and one that works with the cluster.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;

/// The variable by which a program finds the coordinator, as all of ours do.
const COORDINATOR: &str = "COUNTERMOVE_COORDINATOR";

/// Time that a program has to end after it was asked to.
const ENDING: Duration = Duration::from_secs(10);

/// A program of this machine with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<std::ffi::OsString>,
}

impl Program {
    /// Finds a program by its name, beside this one and then in PATH; a path is taken as it is.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let here = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_path_buf));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Box<dyn Iterator<Item = PathBuf>> = if name.contains('/') {
            Box::new(std::iter::once(PathBuf::from(name)))
        } else {
            Box::new(here.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join(name)))
        };
        let path = places.find(|file| file.is_file())?;
        Some(Self { path, arguments: Vec::new() })
    }

    /// With more arguments.
    pub(super) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it writes to standard output; or how the command ends, if it failed (it says why on standard error) or was
    /// interrupted.
    pub(super) async fn ask(self, interrupt: &mut Interrupt) -> Result<Result<String, Exit>, Failure> {
        let child = self.start(|command| command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let answered = tokio::select! {
            answered = child.wait_with_output() => answered.map_err(|error| self.lost(&error))?,
            () = interrupt.wait() => return Ok(Err(Exit::Interrupted)),
        };
        Ok(match code(answered.status) {
            0 => Ok(String::from_utf8_lossy(&answered.stdout).into_owned()),
            code => Err(Exit::Program(code)),
        })
    }

    /// Runs it with this process's own input and output, told where the coordinator is. Ends with its exit code.
    pub(super) async fn run(self, url: &str, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
        let mut child = self.start(|command| command.env(COORDINATOR, url))?;
        let status = tokio::select! {
            status = child.wait() => status,
            () = interrupt.wait() => {
                terminate(&child);
                match tokio::time::timeout(ENDING, child.wait()).await {
                    Ok(status) => status,
                    // It is killed when it is dropped.
                    Err(_) => return Ok(Exit::Interrupted),
                }
            }
        };
        Ok(Exit::Program(code(status.map_err(|error| self.lost(&error))?)))
    }

    fn start(&self, how: impl FnOnce(&mut Command) -> &mut Command) -> Result<Child, Failure> {
        let mut command = Command::new(&self.path);
        how(command.args(&self.arguments).kill_on_drop(true))
            .spawn()
            .map_err(|error| Failure::Failed(format!("{} cannot be started: {error}", self.path.display())))
    }

    fn lost(&self, error: &std::io::Error) -> Failure {
        Failure::Failed(format!("{} was lost: {error}", self.path.display()))
    }
}

/// Asks a process to end. Ctrl-C at a terminal has reached it as well, and to hear it twice does no harm.
fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended in the same moment needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// An exit code as a shell gives it: of a death by a signal, 128 and its number.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::find("sh").unwrap().args(["-c", script])
    }

    #[tokio::test]
    async fn a_program_hears_of_the_coordinator_and_its_code_is_passed_on() {
        let mut interrupt = Interrupt::new().unwrap();
        let knows = "test \"$COUNTERMOVE_COORDINATOR\" = http://h:1 || exit 3; exit 7";
        assert_eq!(shell(knows).run("http://h:1", &mut interrupt).await.unwrap(), Exit::Program(7));
        assert_eq!(shell("kill -9 $$").run("http://h:1", &mut interrupt).await.unwrap(), Exit::Program(137));
        assert_eq!(shell("exit 0").run("http://h:1", &mut interrupt).await.unwrap().code(), 0);
    }

    #[tokio::test]
    async fn an_answer_is_what_stands_on_standard_output() {
        let mut interrupt = Interrupt::new().unwrap();
        assert_eq!(shell("echo a b").ask(&mut interrupt).await.unwrap(), Ok("a b\n".to_owned()));
        assert_eq!(shell("echo no; exit 2").ask(&mut interrupt).await.unwrap(), Err(Exit::Program(2)));
        assert!(Program::find("no-such-program").is_none());
        let gone = Program { path: "no/such".into(), arguments: Vec::new() };
        assert!(
            gone.ask(&mut interrupt).await.unwrap_err().to_string().contains("no/such cannot be started")
        );
    }
}
