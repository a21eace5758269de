//! Who is told of what, as an operator writes it down: a TOML file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::template::{self, Template};
use super::{Event, Inner, Notify, Receiver};
use crate::webhook::{self, Webhook, WebhookError};

/// Receivers at most.
const MOST: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Where browsers find the console, for links.
    console: Option<String>,
    receiver: Vec<ReceiverTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverTable {
    name: String,
    events: Vec<Event>,
    /// Of whose incidents.
    #[serde(default)]
    tenants: Vec<String>,
    url: Option<String>,
    /// A file with the address, for those that are secrets.
    url_file: Option<PathBuf>,
    /// A file with what is signed with.
    secret_file: Option<PathBuf>,
    template: Option<PathBuf>,
    /// Headers that are sent as well, and files with their values.
    #[serde(default)]
    header_files: BTreeMap<String, PathBuf>,
}

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A file cannot be read.
    #[error("{file} cannot be read: {problem}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: std::io::Error,
    },
    /// The file says what makes no sense.
    #[error("{file}: {problem}")]
    Nonsense {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A receiver cannot be posted to.
    #[error("receiver {receiver}: {problem}")]
    Receiver {
        /// Which.
        receiver: String,
        /// What is wrong.
        problem: WebhookError,
    },
    /// A template cannot be used.
    #[error("the template of receiver {receiver} cannot be used: {problem}")]
    Template {
        /// Whose.
        receiver: String,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a file. Paths in it are from its own folder.
pub(super) fn read(path: &Path, allows_local: bool) -> Result<Notify, NotifyError> {
    let nonsense = |problem: String| NotifyError::Nonsense { file: path.to_owned(), problem };
    let text = read_text(path)?;
    let file: File =
        toml::from_str(&text).map_err(|error| nonsense(error.to_string().trim_end().replace('\n', " ")))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let console = file.console.map(|url| console(&url)).transpose().map_err(nonsense)?;
    if file.receiver.is_empty() || file.receiver.len() > MOST {
        return Err(nonsense(format!("it names {} receivers; 1 to {MOST} are needed", file.receiver.len())));
    }
    let mut receivers = BTreeMap::new();
    for table in file.receiver {
        let name = table.name.clone();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 63 || !name.chars().all(is_name) {
            return Err(nonsense(format!(
                "{name:?} is no name of a receiver; take 1 to 63 letters, digits, - _ and ."
            )));
        }
        let receiver = receiver(table, folder, console.as_deref(), allows_local)?.map_err(nonsense)?;
        if receivers.insert(name.clone(), receiver).is_some() {
            return Err(nonsense(format!("the receiver {name} stands there twice")));
        }
    }
    Ok(Notify(Arc::new(Inner { console, receivers })))
}

fn console(url: &str) -> Result<String, String> {
    let refused = || format!("console: {url:?} is no address; write https://host:port");
    let parsed: Uri = url.parse().map_err(|_| refused())?;
    match parsed.scheme_str() {
        Some("http" | "https") if parsed.host().is_some() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(refused()),
    }
}

/// A receiver; within, what is wrong with what the file says of it.
fn receiver(
    table: ReceiverTable,
    folder: &Path,
    console: Option<&str>,
    allows_local: bool,
) -> Result<Result<Receiver, String>, NotifyError> {
    let ReceiverTable { name, events, tenants, url, url_file, secret_file, template, header_files } = table;
    let failed = |problem| NotifyError::Receiver { receiver: name.clone(), problem };
    let url = match (url, url_file) {
        (Some(url), None) => url,
        (None, Some(file)) => read_secret(&folder.join(file))?,
        _ => return Ok(Err(format!("receiver {name}: either url or url_file is needed"))),
    };
    if events.is_empty() {
        let all = Event::ALL.map(Event::name).join(", ");
        return Ok(Err(format!("receiver {name}: events names none; there are {all}")));
    }
    let mut target = match secret_file {
        Some(file) => {
            let secret = read_secret(&folder.join(file))?;
            webhook::Receiver::new(&url, &secret, allows_local).map_err(failed)?
        }
        None => webhook::Receiver::unsigned(&url, allows_local).map_err(failed)?,
    };
    for (header, file) in header_files {
        let value = read_secret(&folder.join(file))?;
        let (Ok(header), Ok(mut value)) = (HeaderName::try_from(&header), HeaderValue::try_from(value))
        else {
            return Ok(Err(format!("receiver {name}: header_files: {header} or its value is none of HTTP")));
        };
        value.set_sensitive(true);
        target = target.with_header(header, value);
    }
    let of = |problem| NotifyError::Template { receiver: name.clone(), problem };
    let template = match template {
        Some(file) => {
            let file = folder.join(file);
            let unreadable = |problem| NotifyError::Unreadable { file: file.clone(), problem };
            if std::fs::metadata(&file).map_err(unreadable)?.len() > template::LONGEST {
                return Err(of(format!("it has more than {} bytes", template::LONGEST)));
            }
            Some(Template::new(&read_text(&file)?).map_err(of)?)
        }
        None => None,
    };
    let receiver = Receiver { events, tenants, template, webhook: Webhook::new(target).map_err(failed)? };
    for &event in &receiver.events {
        receiver.sample(event, console).map_err(of)?;
    }
    Ok(Ok(receiver))
}

fn read_text(path: &Path) -> Result<String, NotifyError> {
    std::fs::read_to_string(path)
        .map_err(|problem| NotifyError::Unreadable { file: path.to_owned(), problem })
}

/// A secret as it stands in a file. White space around it does not count.
fn read_secret(path: &Path) -> Result<String, NotifyError> {
    let text = read_text(path)?;
    webhook::warn_if_open(path);
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Notify, NotifyError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.json"), r#"{"text": "{{ title }}"}"#).unwrap();
        std::fs::write(folder.path().join("bad.json"), r#"{"text": "{{ titel }}"}"#).unwrap();
        std::fs::write(folder.path().join("url"), "http://192.0.2.1/hook\n").unwrap();
        let file = folder.path().join("notify.toml");
        std::fs::write(&file, text).unwrap();
        Notify::read(&file, false)
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_is_wrong() {
        let with = |rest: &str| format!("[[receiver]]\nname = \"a\"\nevents = [\"ended\"]\n{rest}");
        for (text, expected) in [
            (String::new(), "missing field"),
            ("receiver = []".to_owned(), "0 receivers"),
            (with(""), "either url or url_file"),
            (with("url = \"http://127.0.0.1/\""), "--allow-local"),
            (with("url = \"ftp://a\""), "no address of a webhook"),
            (with("url_file = \"nothing\""), "cannot be read"),
            (with("url = \"http://a\"\ntemplate = \"bad.json\""), "the string at /text"),
            (with("url = \"http://a\"\nheader_files = { \"a b\" = \"url\" }"), "none of HTTP"),
            (with("url = \"http://a\"\ncolour = 1"), "unknown field"),
            (format!("console = \"soc\"\n{}", with("url = \"http://a\"")), "no address"),
            (with("url = \"http://a\"\n").repeat(2), "twice"),
            (with("url = \"http://a\"").replace("\"ended\"", "\"began\""), "waits_for_approval"),
            (with("url = \"http://a\"").replace("\"a\"\ne", "\"a b\"\ne"), "no name of a receiver"),
        ] {
            let refused = read(&text).unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}\n{refused}");
            assert!(!refused.contains('\n'), "{refused}");
        }
    }

    #[test]
    fn samples_show_what_each_receiver_gets() {
        let text = "console = \"https://soc.example/\"\n[[receiver]]\nname = \"a\"\nevents = [\"ended\", \"not_understood\"]\n\
                    url_file = \"url\"\ntemplate = \"x.json\"\n[[receiver]]\nname = \"b\"\nevents = [\"waits_for_approval\"]\n\
                    url = \"http://192.0.2.1/\"\n";
        let samples = read(text).unwrap().samples().unwrap();
        assert!(samples.contains("# a: ended\n{\n  \"text\": \"Planning ended: recovered\"\n}"), "{samples}");
        assert!(samples.contains("# b: waits_for_approval\n{\n  \"version\": 1,"), "{samples}");
        assert!(samples.contains("https://soc.example/#/incidents/"), "{samples}");
    }

    #[test]
    fn the_samples_of_deploy_are_templates() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/notify");
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        for secret in ["slack.url", "teams.url", "mail.token", "ticket.token", "pages.secret"] {
            std::fs::write(
                copy.path().join(secret),
                "https://192.0.2.1/secret-of-32-bytes-and-more-than-that",
            )
            .unwrap();
        }
        let notify = Notify::read(&copy.path().join("notify.toml"), false).unwrap();
        let samples = notify.samples().unwrap();
        for said in
            ["Isolate 10.0.2.13", "Two candidates are as cheap", "takes down: 10.0.2.13", "/#/incidents/"]
        {
            assert!(samples.contains(said), "{said} in\n{samples}");
        }
    }
}
