//! Reads what is known about an incident from files, and makes it fit a message.
//!
//! A log of any length is taken. One that does not fit a message, or is packed or not UTF-8, is read in bounded memory and sent as
//! records: those that say the same become one with a count, and a note says so. Nothing is left out. A log that is empty or not text is
//! refused.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use countermove_incident::AlertLog;
use countermove_proto::v1::Evidence;
use serde_json::Value;

use crate::args::PlanArgs;
use crate::failure::Failure;
use crate::render::{count, thousands};

/// Longest log that is sent as it is, in bytes.
const MAX_RAW_LOG: u64 = 64 << 20;

/// Longest other file, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// Names under which the alert log of an incident's folder is looked for, in this order.
const LOG_NAMES: [&str; 3] = ["alerts.log", "alerts.json", "eve.json"];

/// Where the parts of the evidence come from.
#[derive(Debug, PartialEq, Eq)]
struct Sources {
    system: PathBuf,
    alerts: PathBuf,
    constraints: Option<PathBuf>,
    /// Where constraints are looked for if there is no file of them.
    record: Option<PathBuf>,
}

/// The evidence that the arguments name.
pub(crate) fn read(arguments: &PlanArgs) -> Result<Evidence, Failure> {
    let sources = Sources::find(arguments)?;
    let system_description = text_file(&sources.system)?;
    if system_description.trim().is_empty() {
        return Err(Failure::Input(format!(
            "{} is empty; the plan needs the system's description",
            show(&sources.system)
        )));
    }
    let constraints = match (&sources.constraints, &sources.record) {
        (Some(path), _) => constraint_lines(&text_file(path)?),
        (None, Some(path)) => specification(path)?,
        (None, None) => Vec::new(),
    };
    let Alerts { text: alerts, records, notes } = alert_file(&sources.alerts, MAX_RAW_LOG)?;
    Ok(Evidence { system_description, alerts, constraints, notes, records })
}

impl Sources {
    /// A file that is named goes before the one of that role in the folder.
    fn find(arguments: &PlanArgs) -> Result<Self, Failure> {
        let folder = arguments.incident.as_deref();
        if let Some(folder) = folder {
            let known = std::fs::metadata(folder).map_err(|error| Failure::unreadable(folder, &error))?;
            if !known.is_dir() {
                return Err(Failure::Input(format!(
                    "{} is no folder; name one file with --alerts",
                    show(folder)
                )));
            }
        }
        let inside = |names: &[&str]| {
            let folder = folder?;
            names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
        };
        let missing = |names: &[&str], flag: &str| {
            let folder = folder.map(show).unwrap_or_default();
            Failure::Input(format!(
                "{folder} holds no {}; add it or name a file with {flag}",
                names.join(" or ")
            ))
        };
        let system = arguments.system.clone().or_else(|| inside(&["system.txt"]));
        let alerts = arguments.alerts.clone().or_else(|| inside(&LOG_NAMES));
        Ok(Self {
            system: system.ok_or_else(|| missing(&["system.txt"], "--system"))?,
            alerts: alerts.ok_or_else(|| missing(&LOG_NAMES, "--alerts"))?,
            constraints: arguments.constraints.clone().or_else(|| inside(&["constraints.txt"])),
            record: inside(&["incident.json"]),
        })
    }
}

/// One constraint a line; empty lines and lines that begin with `#` are left out, and so is a list mark.
fn constraint_lines(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.trim_start_matches(['-', '*']).trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// The list items of the field `specification` of an incident's record; a record without one has no constraints.
fn specification(path: &Path) -> Result<Vec<String>, Failure> {
    let text = text_file(path)?;
    let record: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Input(format!("{} is not JSON: {error}", show(path))))?;
    let lines = record.get("specification").and_then(Value::as_str).unwrap_or_default().lines();
    Ok(lines
        .filter_map(|line| line.trim().strip_prefix("- "))
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect())
}

/// A log for a message.
#[derive(Debug, Default)]
struct Alerts {
    /// As it is, if it fits.
    text: String,
    /// Else as records.
    records: Vec<u8>,
    /// What has to be known about how it was folded.
    notes: Vec<String>,
}

fn alert_file(path: &Path, max_raw: u64) -> Result<Alerts, Failure> {
    let unreadable = |error: &io::Error| Failure::unreadable(path, error);
    let mut file = File::open(path).map_err(|error| unreadable(&error))?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(max_raw + 1).read_to_end(&mut head).map_err(|error| unreadable(&error))?;
    let is_whole = head.len() as u64 <= max_raw;
    // Also a short log is read here, so that what cannot be planned is refused before it is sent.
    let log = if is_whole {
        AlertLog::read(head.as_slice())
    } else {
        AlertLog::read(BufReader::with_capacity(1 << 20, Cursor::new(std::mem::take(&mut head)).chain(file)))
    };
    let log = log.map_err(|error| Failure::Input(format!("{}: {error}", show(path))))?;
    if log.total() == 0 {
        return Err(Failure::Input(format!(
            "{} is empty; planning needs at least one alert or log line",
            show(path)
        )));
    }
    let mut notes = Vec::new();
    if is_whole {
        match String::from_utf8(head) {
            Ok(text) => return Ok(Alerts { text, ..Alerts::default() }),
            Err(_) => notes.push(
                "The alert log is packed or not UTF-8 throughout, and was read before it was sent."
                    .to_owned(),
            ),
        }
    } else {
        notes.push(format!(
            "The alert log is longer than {} bytes; its {} were folded into {} with counts before they were sent, and none \
             was left out.",
            thousands(max_raw),
            count(log.total(), "record"),
            count(log.records.len() as u64, "different one")
        ));
    }
    notes.extend(log.warnings.iter().cloned());
    Ok(Alerts { text: String::new(), records: log.to_bytes(), notes })
}

fn text_file(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEXT + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Failure::Input(format!("{} is longer than {} bytes", show(path), thousands(MAX_TEXT))));
    }
    let text = String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| Failure::Input(format!("{} is not UTF-8 text", show(path))))?;
    Ok(text)
}

fn show(path: &Path) -> String {
    crate::render::one_line(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    const ALERT: &str = "02/06-10:15:22.341201 [**] [1:2006546:3] ET SCAN SSH Brute Force [**] \
                         [Classification: Attempted Information Leak] [Priority: 2] {TCP} 192.168.1.50:44321 -> 10.0.3.3:22\n";

    fn plan(arguments: &[&str]) -> PlanArgs {
        let all = ["countermove", "plan"].into_iter().chain(arguments.iter().copied());
        match Cli::try_parse_from(all).unwrap().command {
            Command::Plan(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_has_all_the_parts() {
        let folder = folder(&[
            ("system.txt", b"Two servers: 10.0.3.3, 10.0.2.1."),
            ("alerts.log", ALERT.as_bytes()),
            ("constraints.txt", b"# rules\n- Keep FTP up.\n\nKeep SSH up.\n"),
            ("incident.json", br#"{"specification": "- not read"}"#),
        ]);
        let evidence = read(&plan(&["--incident", folder.path().to_str().unwrap()])).unwrap();
        assert_eq!(evidence.alerts, ALERT);
        assert_eq!(evidence.constraints, ["Keep FTP up.", "Keep SSH up."]);
        assert!(evidence.notes.is_empty());
    }

    #[test]
    fn constraints_come_from_the_record_if_there_is_no_file_of_them() {
        let folder = folder(&[
            ("system.txt", b"A server."),
            ("eve.json", ALERT.as_bytes()),
            ("incident.json", br#"{"specification": "Rules:\n- One.\n - Two.\nThree."}"#),
        ]);
        let evidence = read(&plan(&["--incident", folder.path().to_str().unwrap()])).unwrap();
        assert_eq!(evidence.constraints, ["One.", "Two."]);
    }

    #[test]
    fn a_named_file_goes_before_the_folder() {
        let other = folder(&[("other.txt", b"Another system.")]);
        let folder = folder(&[("system.txt", b"A server."), ("alerts.log", ALERT.as_bytes())]);
        let system = other.path().join("other.txt");
        let evidence = read(&plan(&[
            "--incident",
            folder.path().to_str().unwrap(),
            "--system",
            system.to_str().unwrap(),
        ]))
        .unwrap();
        assert_eq!(evidence.system_description, "Another system.");
    }

    #[test]
    fn a_log_that_does_not_fit_is_condensed_and_loses_nothing() {
        let log: String = (0..100).map(|n| ALERT.replace("341201", &format!("3412{n:02}"))).collect();
        let folder = folder(&[("alerts.log", log.as_bytes())]);
        let alerts = alert_file(&folder.path().join("alerts.log"), 1000).unwrap();
        let log = AlertLog::from_bytes(&alerts.records).unwrap();
        assert_eq!(log.total(), 100);
        assert!(alerts.records.len() < 1000 && alerts.text.is_empty());
        assert!(
            alerts.notes[0].contains("100 records were folded into 1 different one"),
            "{:?}",
            alerts.notes
        );
    }

    #[test]
    fn a_log_in_another_encoding_is_taken_with_a_note() {
        let folder = folder(&[("alerts.log", b"login of user J\xf6rg failed on host web-1\n")]);
        let alerts = alert_file(&folder.path().join("alerts.log"), 1000).unwrap();
        let log = AlertLog::from_bytes(&alerts.records).unwrap();
        assert!(log.records[0].message.contains("rg failed on host web-1"), "{log:?}");
        assert!(alerts.notes[0].contains("not UTF-8"), "{:?}", alerts.notes);
    }

    #[test]
    fn what_cannot_be_used_is_one_sentence() {
        let folder = folder(&[
            ("empty.log", b""),
            ("blank.log", b"\n\n  \n"),
            ("binary.log", &[0, 159, 146, 150, 0, 0, 1, 2, 3].repeat(100)),
            ("system.txt", b"A server."),
            ("bad.json", b"{"),
        ]);
        let path = |name: &str| folder.path().join(name);
        for name in ["empty.log", "blank.log", "binary.log", "missing.log", ""] {
            let failure = alert_file(&path(name), MAX_RAW_LOG).unwrap_err();
            assert_eq!(failure.code(), 2, "{name}");
            assert!(!failure.to_string().contains('\n'), "{failure}");
        }
        assert!(specification(&path("bad.json")).is_err());
        assert!(text_file(&path("binary.log")).is_err());
        let failure = read(&plan(&["--incident", folder.path().to_str().unwrap()])).unwrap_err();
        assert!(failure.to_string().contains("alerts.log or alerts.json or eve.json"), "{failure}");
        let file = path("system.txt");
        assert!(
            read(&plan(&["--incident", file.to_str().unwrap()]))
                .unwrap_err()
                .to_string()
                .contains("is no folder")
        );
    }
}
