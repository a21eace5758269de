//! The logs that a command line names: files, folders of files, standard input.
//!
//! Contract: all of them are read as one body of evidence, each in the form that its own beginning shows; a file that is named twice, or
//! that lies in a folder and is named as well, is read once, and that is said. A file that is named has to be usable; one that only lies in
//! a named folder and is no text is left out, and that is said.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use countermove_incident::{AlertLog, Dossier, LogError, SourceName};

use super::show;
use crate::failure::Failure;
use crate::render::{count, thousands};

/// What stands for standard input on a command line.
const STDIN: &str = "-";

/// A log that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether the command line names it; else it names its folder.
        is_named: bool,
    },
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// All of it.
    pub(crate) log: AlertLog,
    /// The only log as it is, if it is short and plain.
    pub(crate) text: Option<String>,
    /// Each log, with the records in it that had not come before.
    pub(crate) sources: Vec<(String, u64)>,
    /// What was left out or given twice, one sentence each.
    pub(crate) notes: Vec<String>,
    /// How it was read, where it is not sent as it is.
    pub(crate) how: Option<String>,
}

/// Reads the logs with these names. A single one of at most `max_raw` bytes is also given as it is, if it is plain text.
pub(crate) fn gather(names: &[PathBuf], max_raw: u64) -> Result<Gathered, Failure> {
    let (inputs, mut notes) = find(names)?;
    let mut dossier = Dossier::default();
    let mut sources = Vec::new();
    let mut head = Vec::new();
    let mut is_long = false;
    for input in &inputs {
        let mut reader = input.open()?;
        let name = input.name();
        // A single log may be sent as it is.
        if inputs.len() == 1 {
            let read = reader.by_ref().take(max_raw.saturating_add(1)).read_to_end(&mut head);
            read.map_err(|error| input.unreadable(&error))?;
            is_long = head.len() as u64 > max_raw;
        }
        let source = SourceName { name: name.clone(), format: None };
        let read = if inputs.len() == 1 && !is_long {
            dossier.add(&source, head.as_slice())
        } else {
            dossier.add(&source, io::Cursor::new(std::mem::take(&mut head)).chain(reader))
        };
        if let Some(records) = input.usable(read, &mut notes)? {
            sources.push((name, records));
        }
    }
    let log = dossier.into_log();
    if log.total() == 0 {
        return Err(Failure::Input(match inputs.as_slice() {
            [input] => format!("{} is empty; planning needs at least one alert or log line", input.name()),
            many => format!("none of the {} logs holds a record; planning needs at least one", many.len()),
        }));
    }
    let text = if inputs.len() == 1 && !is_long { plain(head) } else { None };
    let how = text.is_none().then(|| how(&inputs, is_long, max_raw, &sources, &log));
    Ok(Gathered { log, text, sources, notes, how })
}

/// How logs were read that are not sent as they are.
fn how(inputs: &[Input], is_long: bool, max_raw: u64, sources: &[(String, u64)], log: &AlertLog) -> String {
    if inputs.len() > 1 {
        let each: Vec<String> =
            sources.iter().map(|(name, records)| format!("{name} ({})", count(*records, "record"))).collect();
        return format!("{} logs were read as one: {}.", sources.len(), each.join(", "));
    }
    if is_long {
        return format!(
            "The alert log is longer than {} bytes; its {} were folded into {} with counts before they were sent, and \
             none was left out.",
            thousands(max_raw),
            count(log.total(), "record"),
            count(log.records.len() as u64, "different one")
        );
    }
    "The alert log is packed or not UTF-8 throughout, and was read before it was sent.".to_owned()
}

/// The text, if it is UTF-8 and no other encoding looks like it.
fn plain(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// What the names stand for, in their order, each file once.
pub(crate) fn find(names: &[PathBuf]) -> Result<(Vec<Input>, Vec<String>), Failure> {
    let (mut inputs, mut notes) = (Vec::new(), Vec::new());
    let mut known = BTreeSet::new();
    let mut add = |input: Input| {
        // A file that is not there has no such path, and is told when it is opened.
        let place = match &input {
            Input::Stdin => PathBuf::from(STDIN),
            Input::File { path, .. } => fs::canonicalize(path).unwrap_or_else(|_| path.clone()),
        };
        if known.insert(place) {
            inputs.push(input);
        } else {
            notes.push(format!("{} was given twice and read once.", input.name()));
        }
    };
    for name in names {
        if name.as_os_str() == STDIN {
            add(Input::Stdin);
        } else if name.is_dir() {
            for path in files(name)? {
                add(Input::File { path, is_named: false });
            }
        } else {
            add(Input::File { path: name.clone(), is_named: true });
        }
    }
    Ok((inputs, notes))
}

/// The files of a folder by their names, hidden ones not among them.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: io::Error| Failure::unreadable(folder, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Failure::Input(format!("the folder {} holds no file", show(folder))));
    }
    files.sort();
    Ok(files)
}

impl Input {
    /// What a person calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Input::Stdin => "standard input".to_owned(),
            Input::File { path, .. } => show(path),
        }
    }

    /// Whether the command line names it itself.
    pub(crate) fn is_named(&self) -> bool {
        !matches!(self, Input::File { is_named: false, .. })
    }

    /// A reader from its beginning.
    pub(crate) fn open(&self) -> Result<Box<dyn Read>, Failure> {
        match self {
            Input::Stdin => Ok(Box::new(io::stdin().lock())),
            Input::File { path, .. } => {
                let file = File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
                Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
            }
        }
    }

    /// What was read of it; nothing of one that nobody named and that is no text, which is noted.
    pub(crate) fn usable<T>(
        &self,
        read: Result<T, LogError>,
        notes: &mut Vec<String>,
    ) -> Result<Option<T>, Failure> {
        match (read, self.is_named()) {
            (Ok(read), _) => Ok(Some(read)),
            (Err(LogError::Binary { reason }), false) => {
                notes.push(format!("{} was left out: {reason}.", self.name()));
                Ok(None)
            }
            (Err(LogError::Io(error)), _) => Err(self.unreadable(&error)),
            (Err(error), _) => Err(Failure::Input(format!("{}: {error}", self.name()))),
        }
    }

    /// Why it cannot be read.
    pub(crate) fn unreadable(&self, error: &io::Error) -> Failure {
        match self {
            Input::Stdin => Failure::Input(format!("standard input cannot be read: {error}")),
            Input::File { path, .. } => Failure::unreadable(path, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &str = "02/06-10:15:22.341201 [**] [1:2006546:3] ET SCAN SSH Brute Force [**] \
                         [Classification: Attempted Information Leak] [Priority: 2] {TCP} 192.0.2.50:44321 -> 10.0.3.3:22\n";
    const EVENT: &str = r#"{"timestamp":"2026-02-06T10:16:00.000000+0000","event_type":"alert","src_ip":"192.0.2.50","dest_ip":"10.0.3.3","alert":{"signature_id":1,"signature":"probe","severity":2}}"#;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn gathered(folder: &tempfile::TempDir, names: &[&str]) -> Gathered {
        let names: Vec<PathBuf> = names.iter().map(|name| folder.path().join(name)).collect();
        gather(&names, 1000).unwrap()
    }

    #[test]
    fn several_logs_of_different_forms_are_one() {
        let folder = folder(&[("a.log", ALERT.as_bytes()), ("eve.json", EVENT.as_bytes())]);
        let both = gathered(&folder, &["a.log", "eve.json"]);
        assert_eq!((both.log.total(), both.log.reading.formats.len(), both.text), (2, 2, None));
        let how = both.how.unwrap();
        assert!(how.starts_with("2 logs were read as one: ") && how.contains("a.log (1 record), "), "{how}");
    }

    #[test]
    fn a_file_that_is_given_twice_counts_once() {
        let line = "a line without a time\n";
        let folder = folder(&[("a.log", line.as_bytes()), ("b.log", ALERT.as_bytes())]);
        let twice = gathered(&folder, &["a.log", ".", "./a.log"]);
        assert_eq!(twice.log.total(), 2);
        assert_eq!(
            twice.notes.iter().filter(|note| note.ends_with("was given twice and read once.")).count(),
            2
        );
        // A copy under another name is told by what its records say.
        fs::copy(folder.path().join("b.log"), folder.path().join("c.log")).unwrap();
        let copied = gathered(&folder, &["b.log", "c.log"]);
        assert_eq!((copied.log.total(), copied.log.reading.repeated), (1, 1));
    }

    #[test]
    fn a_folder_is_read_without_what_is_no_text() {
        let folder = folder(&[
            ("b.log", ALERT.as_bytes()),
            (".hidden", b"not read"),
            ("picture", &[0, 159, 146, 150, 0, 0, 1, 2, 3].repeat(100)),
        ]);
        fs::create_dir(folder.path().join("below")).unwrap();
        let read = gathered(&folder, &["."]);
        assert_eq!(read.log.total(), 1);
        assert!(read.notes.iter().any(|note| note.contains("picture was left out: ")), "{:?}", read.notes);
        let empty = gather(&[folder.path().join("below")], 1000).unwrap_err();
        assert!(empty.to_string().contains("holds no file"), "{empty}");
        let named = gather(&[folder.path().join("picture"), folder.path().join("b.log")], 1000).unwrap_err();
        assert_eq!(named.code(), 2);
    }

    #[test]
    fn what_is_packed_or_encoded_is_read_and_sent_as_records() {
        let utf16: Vec<u8> =
            std::iter::once(0xfeff).chain(ALERT.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let without_mark: Vec<u8> = ALERT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let folder = folder(&[
            ("utf16.log", &utf16),
            ("unmarked.log", &without_mark),
            ("plain.log", ALERT.as_bytes()),
        ]);
        for name in ["utf16.log", "unmarked.log"] {
            let read = gathered(&folder, &[name]);
            assert_eq!((read.log.alerts().count(), read.text), (1, None), "{name}");
            assert!(read.how.as_ref().unwrap().contains("not UTF-8"), "{:?}", read.how);
        }
        let plain = gathered(&folder, &["plain.log"]);
        assert_eq!((plain.text.as_deref(), plain.how), (Some(ALERT), None));
    }

    #[test]
    fn a_log_that_does_not_fit_is_folded_and_loses_nothing() {
        let log: String = (0..100).map(|n| ALERT.replace("341201", &format!("3412{n:02}"))).collect();
        let folder = folder(&[("alerts.log", log.as_bytes())]);
        let read = gathered(&folder, &["alerts.log"]);
        assert_eq!((read.log.total(), read.text.is_none()), (100, true));
        let how = read.how.unwrap();
        assert!(how.contains("100 records were folded into 1 different one"), "{how}");
    }
}
