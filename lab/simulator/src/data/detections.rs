//! Reads public detection rules with their ATT&CK tags.

use std::path::Path;

use countermove_incident::{Tactic, technique};

use super::DataError;
use super::table::{malformed, read_text, records};

/// File of detection rules below a data folder.
const DETECTIONS_FILE: &str = "detections/detections.csv";

/// A detection rule of a SIEM or an EDR, as its authors publish it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    /// Who publishes it, such as `sigma`.
    pub source: String,
    /// Title.
    pub title: String,
    /// Severity in the source's own words or numbers.
    pub level: String,
    /// What it reads, such as `windows/process_creation/`.
    pub log_source: String,
    /// Tactics that its authors name; of a rule that names techniques alone, those of techniques that serve one or two.
    pub tactics: Vec<Tactic>,
    /// What it is for.
    pub description: String,
}

impl Detection {
    /// Reads the detection rules of a data folder.
    ///
    /// # Errors
    /// [`DataError`], which names the file, and the line and the field if the file can be read.
    pub fn read(folder: &Path) -> Result<Vec<Detection>, DataError> {
        let path = folder.join(DETECTIONS_FILE);
        let text = read_text(&path)?;
        let header = ["source", "id", "title", "level", "logsource", "tactics", "techniques", "description"];
        records(&path, &text, header)?
            .into_iter()
            .map(|(line, [source, _, title, level, log_source, tactics, techniques, description])| {
                if title.is_empty() {
                    return Err(malformed(&path, line, "title", "is empty".to_owned()));
                }
                let techniques: Vec<&str> = techniques.split('|').filter(|id| !id.is_empty()).collect();
                let named = tactics.split('|').filter_map(Tactic::parse);
                let mut tactics: Vec<Tactic> = named.map(|tactic| tactic.meant(&techniques)).collect();
                if tactics.is_empty() {
                    let served = techniques.iter().filter_map(|id| technique(id));
                    let clear = served.filter(|technique| technique.tactics.len() <= 2);
                    tactics.extend(clear.flat_map(|technique| technique.tactics));
                }
                tactics.sort_unstable();
                tactics.dedup();
                Ok(Detection { source, title, level, log_source, tactics, description })
            })
            .collect()
    }
}
