//! How a command ends: its exit code, and the one sentence that says why it failed.

use std::path::Path;
use std::process::ExitCode;

use countermove_incident::printable;
use countermove_proto::Error;

/// Exit codes, as `--help` lists them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done; of a plan: with its last action the incident is over
  1    a server, a worker or the model failed, or no action could be planned
  2    wrong arguments, or input that cannot be used
  3    the deadline passed; what was planned until then was printed
  4    nothing in the evidence is in a known form, so nothing was judged
  5    a plan was printed that ends before recovery: at the step limit, or for want of another action
  6    there is no incident in the evidence; what was found was printed
  7    a person's word is waited for (`incidents watch --until-decision`)
  130  interrupted (Ctrl-C or SIGTERM); the incident was cancelled, with `--interactive` it goes on";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success,
    /// It failed, and has said so.
    Failure,
    /// The deadline passed.
    Deadline,
    /// Nothing in the evidence was understood.
    NotUnderstood,
    /// There is a plan, and it ends before recovery.
    Unfinished,
    /// There is no incident.
    NoIncident,
    /// A person has to decide.
    Waiting,
    /// The user interrupted it.
    Interrupted,
    /// A program that was run for it ended with this code, and has said why.
    Program(u8),
}

/// Why a command failed, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The user's arguments or files cannot be used.
    #[error("{0}")]
    Input(String),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Deadline => 3,
            Self::NotUnderstood => 4,
            Self::Unfinished => 5,
            Self::NoIncident => 6,
            Self::Waiting => 7,
            Self::Interrupted => 130,
            Self::Program(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Failed(_) => 1,
        }
    }

    /// A file that cannot be read.
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let name = printable(&path.display().to_string()).into_owned();
        Self::Input(match error.kind() {
            std::io::ErrorKind::NotFound => format!("{name} does not exist"),
            std::io::ErrorKind::PermissionDenied => format!("{name} may not be read by this user"),
            std::io::ErrorKind::IsADirectory => format!("{name} is a folder, a file is needed"),
            _ => format!("{name} cannot be read: {error}"),
        })
    }

    /// What the servers at these addresses answered, to a call about this incident.
    pub(crate) fn server(urls: &[String], incident: Option<&str>, error: &Error) -> Self {
        let text = printable(&error.to_string()).into_owned();
        // A sentence that names it already is left as it is.
        let named = |text: String| match incident.filter(|name| !text.contains(*name)) {
            Some(name) => format!("{name}: {text}"),
            None => text,
        };
        match error {
            Error::InvalidArgument(_) => {
                Self::Input(named(format!("the coordinator cannot use this request: {text}")))
            }
            Error::Transport(_) => {
                let whom = match urls {
                    [url] => format!("the coordinator at {url} cannot be reached"),
                    many => format!("none of the coordinators at {} can be reached", many.join(", ")),
                };
                let why = text.trim_start_matches("the connection failed: ").trim_end_matches('.');
                let advice = match incident {
                    Some(name) => format!(
                        "when it is back, `countermove incidents watch {}` goes on from where it was kept",
                        name.trim_start_matches("incidents/")
                    ),
                    None => {
                        "start one with `countermove up --workers 2`, or name another one with --coordinator"
                            .to_owned()
                    }
                };
                Self::Failed(named(format!("{whom} ({why}); {advice}")))
            }
            _ => Self::Failed(named(match error.retry_after() {
                Some(delay) => format!("{text}; try again in {:.0} s", delay.as_secs_f64().max(1.0)),
                None => text,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_error_is_one_sentence_with_its_details() {
        let urls = ["http://h:1".to_owned()];
        let invalid = Error::invalid("evidence.alerts", "it is binary\u{1b}[31m");
        let failure = Failure::server(&urls, None, &invalid);
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("evidence.alerts: it is binary\\u{1b}[31m"), "{failure}");

        let full = Error::Exhausted {
            message: "64 incidents run already".to_owned(),
            retry_after: Duration::from_secs(7),
        };
        let failure = Failure::server(&urls, None, &full);
        assert_eq!(
            (failure.code(), failure.to_string()),
            (1, "64 incidents run already; try again in 7 s".to_owned())
        );

        let gone = Failure::server(&urls, None, &Error::Transport("connection refused".to_owned()));
        assert!(
            gone.to_string().contains("http://h:1") && gone.to_string().contains("countermove up"),
            "{gone}"
        );
    }

    #[test]
    fn an_error_about_an_incident_names_it_once() {
        let (urls, name) = (["http://h:1".to_owned()], Some("incidents/7"));
        let gone =
            Failure::server(&urls, name, &Error::Transport("connection refused".to_owned())).to_string();
        assert!(gone.starts_with("incidents/7: ") && gone.contains("incidents watch 7`"), "{gone}");
        let unknown = Error::Internal("incidents/7 is broken".to_owned());
        assert_eq!(Failure::server(&urls, name, &unknown).to_string().matches("incidents/7").count(), 1);
        let full = Error::DeadlineExceeded("it took too long".to_owned());
        assert_eq!(Failure::server(&urls, name, &full).to_string(), "incidents/7: it took too long");
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let path = Path::new("no/such\nfile");
        let error = std::fs::read(path).unwrap_err();
        assert_eq!(Failure::unreadable(path, &error).to_string(), "no/such\\nfile does not exist");
    }
}
