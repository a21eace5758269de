//! A scenario as a folder: `system.txt`, `alerts.log` and at times `notes.txt`, which a planner may see, and `truth.json`, which it may
//! not.
//!
//! Invariant: what is read has passed the same checks as what is written, so that a truth which names a host that does
//! not exist is refused here, with the file and the field, and not in the middle of an evaluation.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use countermove_incident::{AlertFormat, AlertLog};
use serde::{Deserialize, Serialize};

use crate::truth::{Family, Scenario, Truth};
use crate::truth_check::check;

/// The description.
pub const SYSTEM_FILE: &str = "system.txt";
/// The evidence.
pub const LOG_FILE: &str = "alerts.log";
/// What responders wrote down, where they did.
pub(crate) const REMARKS_FILE: &str = "notes.txt";
/// Everything else.
pub const TRUTH_FILE: &str = "truth.json";

/// Largest files that are read, in bytes.
pub(crate) const MOST_SYSTEM: u64 = 1 << 20;
pub(crate) const MOST_LOG: u64 = 64 << 20;
const MOST_TRUTH: u64 = 16 << 20;
/// Most scenarios in a suite.
const MOST_SCENARIOS: usize = 100_000;

/// Why a scenario cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is too large.
    #[error("{} has more than {most} bytes, the most that a scenario may have there", path.display())]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Most bytes.
        most: u64,
    },
    /// A file does not say what it must.
    #[error("{}, {field}: {reason}", path.display())]
    Malformed {
        /// File.
        path: PathBuf,
        /// Field, such as `truth.hosts[2].criticality`.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A folder holds no scenario.
    #[error(
        "{} holds no scenario: neither {TRUTH_FILE} nor folders with one; `countermove-lab dataset generate` makes some",
        path.display()
    )]
    Empty {
        /// Folder.
        path: PathBuf,
    },
    /// A folder holds nothing of the kind that is looked for in it.
    #[error("{} holds no {what}", path.display())]
    Nothing {
        /// Folder.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
    },
    /// A folder holds too many.
    #[error("{} holds more than {MOST_SCENARIOS} scenarios; split it", path.display())]
    TooMany {
        /// Folder.
        path: PathBuf,
    },
}

/// What `truth.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TruthFile {
    name: String,
    seed: u64,
    format: AlertFormat,
    family: Family,
    truth: Truth,
}

impl Scenario {
    /// Reads a scenario's folder.
    ///
    /// # Errors
    /// [`FileError`], which names the file, and the field if it is one of `truth.json`.
    pub fn read(folder: &Path) -> Result<Scenario, FileError> {
        let path = folder.join(TRUTH_FILE);
        let file: TruthFile = from_json(&path, &read_text(&path, MOST_TRUTH)?)?;
        let TruthFile { name, seed, format, family, truth } = file;
        let system = read_text(&folder.join(SYSTEM_FILE), MOST_SYSTEM)?;
        let log = read_text(&folder.join(LOG_FILE), MOST_LOG)?;
        let remarks = folder.join(REMARKS_FILE);
        let remarks = if remarks.is_file() { read_text(&remarks, MOST_SYSTEM)? } else { String::new() };
        let scenario = Scenario { name, seed, system, log, remarks, format, family, truth };
        scenario.verify(folder, TRUTH_FILE)?;
        Ok(scenario)
    }

    /// Reads all scenarios of a suite: the folder itself if it is one, else the folders in it, by name. Other files and
    /// folders without `truth.json` are left alone.
    ///
    /// # Errors
    /// [`FileError`] of the first scenario that cannot be read; [`FileError::Empty`] if there is none.
    pub fn read_all(folder: &Path) -> Result<Vec<Scenario>, FileError> {
        if folder.join(TRUTH_FILE).exists() {
            return Ok(vec![Scenario::read(folder)?]);
        }
        let io = |source| FileError::Io { path: folder.to_owned(), source };
        let mut folders: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.join(TRUTH_FILE).exists() {
                folders.push(path);
            }
            if folders.len() > MOST_SCENARIOS {
                return Err(FileError::TooMany { path: folder.to_owned() });
            }
        }
        if folders.is_empty() {
            return Err(FileError::Empty { path: folder.to_owned() });
        }
        folders.sort();
        folders.iter().map(|folder| Scenario::read(folder)).collect()
    }

    /// Writes the scenario into a folder, which is made if it is not there. Files that are there are never replaced.
    ///
    /// # Errors
    /// [`FileError`], which names the file; a scenario that could not be read back is refused as malformed.
    pub fn write(&self, folder: &Path) -> Result<(), FileError> {
        self.verify(folder, TRUTH_FILE)?;
        fs::create_dir_all(folder).map_err(|source| FileError::Io { path: folder.to_owned(), source })?;
        let path = folder.join(TRUTH_FILE);
        let Scenario { name, seed, format, family, truth, .. } = self.clone();
        let file = TruthFile { name, seed, format, family, truth };
        let mut json = serde_json::to_string_pretty(&file)
            .map_err(|error| malformed(&path, "document".to_owned(), error.to_string()))?;
        json.push('\n');
        // The truth comes last: a folder that has it is whole.
        write_new(&folder.join(SYSTEM_FILE), &self.system)?;
        write_new(&folder.join(LOG_FILE), &self.log)?;
        if !self.remarks.is_empty() {
            write_new(&folder.join(REMARKS_FILE), &self.remarks)?;
        }
        write_new(&path, &json)
    }

    /// Checks what the types do not. `truth` is the name of the file that the truth comes from.
    pub(crate) fn verify(&self, folder: &Path, truth: &str) -> Result<(), FileError> {
        let truth = folder.join(truth);
        if self.name.is_empty() || self.name.len() > 200 {
            return Err(malformed(&truth, "name".to_owned(), "has to have 1 to 200 bytes".to_owned()));
        }
        if self.system.trim().is_empty() {
            let reason = "is empty; a planner needs the system's description".to_owned();
            return Err(malformed(&folder.join(SYSTEM_FILE), "text".to_owned(), reason));
        }
        if let Err(error) = AlertLog::parse(self.log.as_bytes()) {
            return Err(malformed(&folder.join(LOG_FILE), "text".to_owned(), error.to_string()));
        }
        check(&self.truth).map_err(|flaw| malformed(&truth, format!("truth.{}", flaw.field), flaw.reason))
    }
}

/// What a JSON document says; an error names the field.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." { "document".to_owned() } else { field };
        malformed(path, field, error.into_inner().to_string())
    })?;
    json.end().map_err(|error| malformed(path, "document".to_owned(), error.to_string()))?;
    Ok(value)
}

pub(crate) fn malformed(path: &Path, field: String, reason: String) -> FileError {
    FileError::Malformed { path: path.to_owned(), field, reason }
}

pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    fs::File::open(path).map_err(io)?.take(most + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > most {
        return Err(FileError::TooLarge { path: path.to_owned(), most });
    }
    Ok(text)
}

fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(io)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Generator, GeneratorOptions, Vocabulary};

    fn scenario(seed: u64) -> Scenario {
        let vocabulary = Vocabulary::builtin();
        let options = GeneratorOptions { injected: 50, ..GeneratorOptions::default() };
        Generator::new(&vocabulary, options).unwrap().scenario(seed)
    }

    /// An incident with constraints and a path.
    fn incident() -> Scenario {
        (0..).map(scenario).find(|own| own.truth.incident && !own.truth.constraints.is_empty()).unwrap()
    }

    /// The error of reading a scenario whose `truth.json` was changed.
    fn error_of(change: impl Fn(&mut Value)) -> String {
        let folder = tempfile::tempdir().unwrap();
        incident().write(folder.path()).unwrap();
        let path = folder.path().join(TRUTH_FILE);
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
        let error = Scenario::read(folder.path()).unwrap_err().to_string();
        error.strip_prefix(&format!("{}, ", path.display())).unwrap_or(&error).to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_is_written_is_read_back(seed in any::<u64>()) {
            let folder = tempfile::tempdir().unwrap();
            let scenario = scenario(seed);
            scenario.write(folder.path()).unwrap();
            prop_assert_eq!(Scenario::read(folder.path()).unwrap(), scenario);
        }

        #[test]
        fn no_text_makes_reading_panic(text in "[{}\\[\\]\",:a-z0-9 ]{0,200}") {
            let folder = tempfile::tempdir().unwrap();
            for file in [SYSTEM_FILE, LOG_FILE, TRUTH_FILE] {
                fs::write(folder.path().join(file), &text).unwrap();
            }
            prop_assert!(Scenario::read(folder.path()).is_err());
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let starts =
            |error: String, expected: &str| assert!(error.starts_with(expected), "{error:?} {expected:?}");
        starts(error_of(|json| json["truth"]["mood"] = json!(1)), "truth.mood: unknown field `mood`");
        starts(
            error_of(|json| json["truth"]["stage"] = json!("x")),
            "truth.stage: invalid type: string \"x\"",
        );
        starts(error_of(|json| json["truth"]["stage"] = json!(99)), "truth.stage: is 99, and the path has ");
        starts(
            error_of(|json| json["truth"]["switch"] = json!(99)),
            "truth.switch: is 99, not a place in the path",
        );
        starts(
            error_of(|json| json["truth"]["compromised"][0] = json!("10.9.9.9")),
            "truth.compromised[0]: \"10.9.9.9\" is not the address of a host",
        );
        starts(
            error_of(|json| json["truth"]["path"][0]["technique"] = json!("T9999")),
            "truth.path[0].technique: \"T9999\" is no technique of ATT&CK",
        );
        starts(
            error_of(|json| json["truth"]["path"][0]["tactic"] = json!("Lunch")),
            "truth.path[0].tactic: \"Lunch\" is not an enterprise tactic",
        );
        starts(
            error_of(|json| json["truth"]["path"][0]["alerts"] = json!(["not an alert"])),
            "truth.path[0].alerts: \"not an alert\" is not one alert",
        );
        starts(
            error_of(|json| json["truth"]["requirements"][3]["ways"][0]["needs"][0]["targets"] = json!([])),
            "truth.requirements[3].ways[0].needs[0].targets: is empty",
        );
        starts(
            error_of(|json| {
                json["truth"]["requirements"][0]["ways"][0]["needs"][0]["targets"] =
                    json!([{"account": "nobody_1"}]);
            }),
            "truth.requirements[0].ways[0].needs[0].targets[0].account: \"nobody_1\" is not among the accounts",
        );
        starts(
            error_of(|json| {
                let address = json["truth"]["hosts"][1]["address"].clone();
                let kind = json!({"keep_service": {"host": address, "service": "Gopher"}});
                json["truth"]["constraints"][0]["kind"] = kind;
            }),
            "truth.constraints[0].kind.keep_service.service: \"Gopher\" is no service of ",
        );
        starts(
            error_of(|json| json["truth"]["hosts"][1]["criticality"] = json!(9)),
            "truth.hosts[1].criticality: is 9, not a number from 1 to 5",
        );
        starts(
            error_of(|json| {
                let name = json["truth"]["hosts"][1]["name"].clone();
                json["truth"]["hosts"][2]["name"] = name;
            }),
            "truth.hosts[2]: ",
        );
        starts(error_of(|json| json["format"] = json!("morse")), "format: unknown variant `morse`");
        starts(error_of(|json| *json = json!({})), "document: missing field `name`");
    }

    #[test]
    fn other_files_are_checked_as_well() {
        let folder = tempfile::tempdir().unwrap();
        incident().write(folder.path()).unwrap();
        let read = || Scenario::read(folder.path()).unwrap_err().to_string();
        let log = folder.path().join(LOG_FILE);
        fs::write(&log, "\u{1}\u{2}\u{3}".repeat(100)).unwrap();
        assert!(read().contains("alerts.log, text: the alert log is not text"), "{}", read());
        fs::write(&log, [0xff, 0xfe]).unwrap();
        assert!(read().contains("alerts.log: "), "{}", read());
        fs::remove_file(&log).unwrap();
        assert!(read().contains("alerts.log: No such file"), "{}", read());
        fs::write(&log, "").unwrap();
        fs::write(folder.path().join(SYSTEM_FILE), " \n").unwrap();
        assert!(read().contains("system.txt, text: is empty"), "{}", read());
        fs::write(folder.path().join(SYSTEM_FILE), "x".repeat((MOST_SYSTEM + 1) as usize)).unwrap();
        assert!(read().contains("system.txt has more than 1048576 bytes"), "{}", read());
    }

    #[test]
    fn a_suite_is_read_in_order_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let error = Scenario::read_all(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holds no scenario"), "{error}");
        let (one, two) = (scenario(1), scenario(2));
        two.write(&folder.path().join("b")).unwrap();
        one.write(&folder.path().join("a")).unwrap();
        fs::write(folder.path().join("card.md"), "x").unwrap();
        assert_eq!(Scenario::read_all(folder.path()).unwrap(), [one.clone(), two.clone()]);
        assert_eq!(Scenario::read_all(&folder.path().join("b")).unwrap(), [two]);
        let error = one.write(&folder.path().join("b")).unwrap_err().to_string();
        assert!(error.contains("system.txt: File exists"), "{error}");
        let error = Scenario::read_all(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none: No such file"), "{error}");
    }

    #[test]
    fn a_flawed_scenario_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut flawed = incident();
        flawed.truth.compromised.push("10.9.9.9".to_owned());
        assert!(flawed.write(folder.path()).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
