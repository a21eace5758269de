//! Reads what is known about an incident, and makes it fit a message; or shows what was read.
//!
//! Logs of any number and length are taken. A single one that is short and plain is sent as it is. Others are read in bounded memory and
//! sent as records: those that say the same become one with a count, and a note says so. Nothing is left out. A log that is empty or not
//! text is refused.

mod baseline;
mod inputs;
mod survey;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use countermove_incident::AlertLog;
use countermove_proto::v1::Evidence;
use serde_json::Value;

use crate::args::{EvidenceArgs, PlanArgs};
use crate::console::page;
use crate::failure::{Exit, Failure};
use crate::plan::write_out;
use crate::render::{self, thousands};
pub(crate) use baseline::baseline;
pub(crate) use inputs::{Gathered, find, gather};
#[cfg(test)]
pub(crate) use survey::tests as survey_tests;
pub(crate) use survey::{Form, Survey, kind_title};

/// Longest log that is sent as it is, in bytes.
const MAX_RAW_LOG: u64 = 64 << 20;

/// Longest other file, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// Names under which the alert log of an incident's folder is looked for, in this order.
const LOG_NAMES: [&str; 3] = ["alerts.log", "alerts.json", "eve.json"];

/// What responders have written down, in an incident's folder.
const NOTES_NAME: &str = "notes.txt";

/// Where the parts of the evidence come from.
#[derive(Debug, PartialEq, Eq)]
struct Sources {
    system: PathBuf,
    alerts: Vec<PathBuf>,
    notes: Option<PathBuf>,
    constraints: Option<PathBuf>,
    /// Where constraints are looked for if there is no file of them.
    record: Option<PathBuf>,
}

/// The evidence that the arguments name.
pub(crate) fn read(arguments: &PlanArgs) -> Result<Evidence, Failure> {
    let Parts { system_description, constraints, remarks, gathered } = parts(arguments)?;
    let Gathered { log, text, mut notes, how, .. } = gathered;
    notes.extend(how);
    let records = match text {
        Some(_) => Vec::new(),
        None => {
            notes.extend(log.warnings.iter().cloned());
            log.to_bytes()
        }
    };
    Ok(Evidence {
        system_description,
        alerts: text.unwrap_or_default(),
        constraints,
        notes,
        records,
        remarks,
        baseline: arguments.baseline.as_ref().map(|baseline| baseline.0.clone()).unwrap_or_default(),
    })
}

/// `plan --validate`: shows what `plan` would send, and sends nothing.
pub(crate) fn validate(arguments: &PlanArgs) -> Result<Exit, Failure> {
    let Parts { remarks, mut gathered, .. } = parts(arguments)?;
    let count = AlertLog::of_remarks(&remarks).records.len();
    if count > 0 {
        let remarks = if count == 1 { "1 remark" } else { &format!("{count} remarks") };
        gathered.notes.push(format!("{remarks} of responders would be sent beside the records."));
    }
    survey(gathered, arguments.json)
}

/// `countermove evidence`: shows what was read.
pub(crate) fn evidence(arguments: &EvidenceArgs) -> Result<Exit, Failure> {
    survey(gather(&arguments.files, MAX_RAW_LOG)?, arguments.json)
}

fn survey(gathered: Gathered, json: bool) -> Result<Exit, Failure> {
    let survey = Survey::new(&gathered);
    if json {
        let text = serde_json::to_string_pretty(&survey)
            .map_err(|error| Failure::Failed(format!("the survey cannot be written: {error}")))?;
        write_out(format!("{text}\n").as_bytes())?;
    } else {
        write_out(render::survey(&survey, page()).as_bytes())?;
    }
    Ok(if survey.is_understood() { Exit::Success } else { Exit::NotUnderstood })
}

/// The parts of the evidence, read.
struct Parts {
    system_description: String,
    constraints: Vec<String>,
    remarks: String,
    gathered: Gathered,
}

fn parts(arguments: &PlanArgs) -> Result<Parts, Failure> {
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
    let remarks = sources.notes.as_deref().map(text_file).transpose()?.filter(|text| !text.trim().is_empty());
    let gathered = gather(&sources.alerts, MAX_RAW_LOG)?;
    Ok(Parts { system_description, constraints, remarks: remarks.unwrap_or_default(), gathered })
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
        let system = system.ok_or_else(|| missing(&["system.txt"], "--system"))?;
        let mut alerts = arguments.alerts.clone();
        if alerts.is_empty() {
            alerts.push(inside(&LOG_NAMES).ok_or_else(|| missing(&LOG_NAMES, "--alerts"))?);
        }
        Ok(Self {
            system,
            alerts,
            notes: arguments.notes.clone().or_else(|| inside(&[NOTES_NAME])),
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

/// A path in a sentence.
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
            Command::Plan(plan) => *plan,
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
    fn what_responders_noted_is_sent_beside_the_log() {
        let parts: [(&str, &[u8]); 2] = [("system.txt", b"A server."), ("alerts.log", ALERT.as_bytes())];
        let sent = |more: &[(&str, &[u8])], flags: &[&str]| {
            let folder = folder(&[&parts[..], more].concat());
            let mut arguments = vec!["--incident", folder.path().to_str().unwrap()];
            arguments.extend(flags);
            let evidence = read(&plan(&arguments)).unwrap();
            assert_eq!(evidence.alerts, ALERT);
            evidence.remarks
        };
        assert_eq!(sent(&[("notes.txt", b"He was seen.\n")], &[]), "He was seen.\n");
        assert_eq!(sent(&[], &[]), "");
        assert_eq!(sent(&[("notes.txt", b" \n")], &[]), "", "nothing was noted");
        let other = folder(&[("other.txt", b"Twice.")]);
        let named = other.path().join("other.txt");
        assert_eq!(
            sent(&[("notes.txt", b"He was seen.")], &["--notes", named.to_str().unwrap()]),
            "Twice.",
            "a file that is named goes before the folder's"
        );
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
    fn what_cannot_be_used_is_one_sentence() {
        let folder = folder(&[
            ("empty.log", b""),
            ("blank.log", b"\n\n  \n"),
            ("binary.log", &[0, 159, 146, 150, 0, 0, 1, 2, 3].repeat(100)),
            ("system.txt", b"A server."),
            ("bad.json", b"{"),
        ]);
        let path = |name: &str| folder.path().join(name);
        for name in ["empty.log", "blank.log", "binary.log", "missing.log"] {
            let failure = gather(&[path(name)], MAX_RAW_LOG).unwrap_err();
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
