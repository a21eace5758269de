//! The programs and words that ordinary days hold at all: what is made of others is strange, whatever it says.
//!
//! Invariants: a name of a host, an account or an address is no word, and a word is no longer than [`LONGEST_WORD`], however it is learnt or
//! looked up; and a baseline that was learnt without words calls nothing strange.

use std::collections::BTreeSet;

use super::learning::fitting;
use super::{BaselineError, LONGEST_TEXT};
use crate::Record;

/// Letters of a word at least; shorter ones are parts of identifiers.
const SHORTEST_WORD: usize = 3;
/// Bytes of a word, or of a program's name, at most; of longer ones the beginning counts.
const LONGEST_WORD: usize = 40;
/// What words and programs may take of a baseline's text.
const ROOM: usize = LONGEST_TEXT / 8;
/// How long a line of words gets.
const LINE: usize = 120;
/// How a program's file ends.
const ENDINGS: [&str; 7] = [".exe", ".com", ".scr", ".bat", ".cmd", ".ps1", ".dll"];

/// Programs and words that were seen on ordinary days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vocabulary {
    pub(super) programs: BTreeSet<String>,
    pub(super) words: BTreeSet<String>,
}

/// What in a record nothing had on ordinary days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strange {
    /// How many different words.
    pub words: usize,
    /// The program that was run, by the name of its file.
    pub program: Option<String>,
}

impl Vocabulary {
    /// As many as there is room for, of those given first, and the bytes that they take.
    pub(super) fn of(programs: Vec<(String, u32)>, words: Vec<(String, u32)>) -> (Vocabulary, usize) {
        let kept = |all: Vec<(String, u32)>| {
            let (kept, taken) = fitting(all.iter().map(|(word, _)| quoted(word)), ROOM);
            (all.into_iter().take(kept).map(|(word, _)| word).collect(), taken)
        };
        let ((programs, of_programs), (words, of_words)) = (kept(programs), kept(words));
        (Vocabulary { programs, words }, of_programs + of_words)
    }

    pub(super) fn check(&self) -> Result<(), BaselineError> {
        let is_wrong = |word: &&String| word.is_empty() || word.len() > LONGEST_WORD;
        match self.programs.iter().chain(&self.words).find(is_wrong) {
            Some(word) => Err(BaselineError::Content(format!(
                "{word:?} is no word or program: these have 1 to {LONGEST_WORD} bytes"
            ))),
            None => Ok(()),
        }
    }

    /// Writes the members of a JSON object, each behind a comma.
    pub(super) fn write(&self, text: &mut String) {
        for (name, all) in [("programs", &self.programs), ("words", &self.words)] {
            if all.is_empty() {
                continue;
            }
            text.push_str(&format!(", \"{name}\": [\n"));
            let mut line = 0;
            for (at, word) in all.iter().enumerate() {
                let word = quoted(word);
                if at > 0 {
                    let is_full = line + word.len() > LINE;
                    text.push_str(if is_full { ",\n" } else { ", " });
                    line = if is_full { 0 } else { line };
                }
                line += word.len() + ", ".len();
                text.push_str(&word);
            }
            text.push_str("\n]");
        }
    }

    pub(super) fn strange(&self, record: &Record) -> Strange {
        let program = program_of(record)
            .filter(|program| !self.programs.is_empty() && !self.programs.contains(program));
        let words = match self.words.is_empty() {
            true => 0,
            false => words_of(record).iter().filter(|word| !self.words.contains(*word)).count(),
        };
        Strange { words, program }
    }
}

/// A word as JSON.
fn quoted(word: &str) -> String {
    serde_json::Value::from(word).to_string()
}

/// The different words of what a record tells, in lower case, without the names in its fields.
pub(super) fn words_of(record: &Record) -> BTreeSet<String> {
    let mut said =
        [&record.message, &record.detail, &record.process, &record.file].map(String::as_str).join(" ");
    let ends = [&record.source, &record.destination].into_iter().flatten().map(|end| &end.address);
    for name in ends.chain([&record.host, &record.account]).filter(|name| !name.is_empty()) {
        said = said.replace(name.as_str(), " ");
    }
    let is_part = |c: char| c.is_alphabetic() || matches!(c, '_' | '.' | '-');
    let runs = said.split(|c: char| !is_part(c)).map(|run| run.trim_matches(|c: char| !c.is_alphabetic()));
    runs.filter(|run| run.chars().take(SHORTEST_WORD).count() == SHORTEST_WORD).map(shortened).collect()
}

/// The program that a record says was run, by the name of its file in lower case.
pub(super) fn program_of(record: &Record) -> Option<String> {
    let command = record.process.trim();
    let path = match command.chars().next()? {
        quote @ ('"' | '\'') => command.split(quote).nth(1)?,
        _ => unquoted(command),
    };
    let name = path.rsplit(['\\', '/']).next().unwrap_or(path);
    Some(shortened(name)).filter(|name| !name.is_empty())
}

/// The path at the beginning of a command line that quotes none: to the first space, or where it is one of Windows', which hold spaces, to
/// where a program's file ends.
fn unquoted(command: &str) -> &str {
    let lower = command.to_ascii_lowercase();
    let is_of_windows = lower.get(1..).is_some_and(|rest| rest.starts_with(":\\"));
    let ends = ENDINGS.iter().filter(|_| is_of_windows);
    let ends = ends.flat_map(|ending| lower.match_indices(ending).map(|(at, _)| at + ending.len()));
    let is_end = |at: &usize| lower.get(*at..).is_some_and(|rest| !rest.starts_with(['\\', '.']));
    let end = ends.filter(is_end).min().or_else(|| command.find(char::is_whitespace));
    end.and_then(|end| command.get(..end)).unwrap_or(command)
}

fn shortened(word: &str) -> String {
    let lower = word.to_lowercase();
    let mut end = LONGEST_WORD.min(lower.len());
    while !lower.is_char_boundary(end) {
        end -= 1;
    }
    lower.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Baseline, BaselineLearner, Endpoint};

    fn run(process: &str) -> Record {
        Record { process: process.into(), ..Record::default() }
    }

    #[test]
    fn a_program_is_known_by_its_file() {
        for (process, program) in [
            (r"C:\Program Files\Vendor\Agent.EXE --run", "agent.exe"),
            (r#""C:\Program Files\Vendor\agent.exe" -x"#, "agent.exe"),
            ("powershell.exe -c iex", "powershell.exe"),
            (r"C:\Windows\System32\svchost.exe", "svchost.exe"),
            (r"C:\example.com\run.bat x", "run.bat"),
            ("/usr/bin/curl -s http://a.example/x.exe", "curl"),
            ("/usr/sbin/sshd", "sshd"),
            ("bash -i", "bash"),
        ] {
            assert_eq!(program_of(&run(process)).as_deref(), Some(program), "{process}");
        }
        for nobody in ["", "  ", "\"", "/"] {
            assert_eq!(program_of(&run(nobody)), None, "{nobody:?}");
        }
    }

    #[test]
    fn names_in_fields_are_no_words() {
        let record = Record {
            message: "User m.brand logged on to WS-017 from evil.example, ticket 4711".into(),
            host: "WS-017".into(),
            account: "m.brand".into(),
            source: Some(Endpoint::new("evil.example", None)),
            ..Record::default()
        };
        let words = words_of(&record);
        assert_eq!(words.into_iter().collect::<Vec<_>>(), ["from", "logged", "ticket", "user"]);
    }

    #[test]
    fn what_no_day_held_is_strange_and_without_words_nothing_is() {
        let day = |day: u8| {
            format!("Jun {day:2} 03:00:00 web01 cron[9]: (root) CMD (/opt/backup/run.sh --nightly)\n")
        };
        let mut learner = BaselineLearner::default();
        for log in [day(1), day(2)] {
            crate::AlertLog::each(log.as_bytes(), |record| learner.add(&record, "")).unwrap();
        }
        let learnt = learner.learn().unwrap().baseline;
        let read = Baseline::parse(&learnt.to_text()).unwrap();
        assert_eq!(read, learnt);
        let words = |text: &str| {
            let log = crate::AlertLog::parse(text.as_bytes()).unwrap();
            read.strange(&log.records[0]).words
        };
        assert_eq!(words(&day(3)), 0);
        assert_eq!(words(&day(3).replace("nightly", "exfiltrate")), 1);
        let none = Baseline::parse(r#"{"days": 2, "kinds": []}"#).unwrap();
        assert_eq!(none.strange(&run("x.exe")), Strange::default());
        for wrong in
            [r#"{"days": 2, "words": [""], "kinds": []}"#, r#"{"days": 2, "wordz": ["x"], "kinds": []}"#]
        {
            assert!(Baseline::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_learnt_is_not_strange(said in ".{0,80}", process in ".{0,60}") {
            let record = Record { message: said, process, ..Record::default() };
            let of = |all: BTreeSet<String>| all.into_iter().map(|word| (word, 1)).collect::<Vec<_>>();
            let (vocabulary, _) =
                Vocabulary::of(of(program_of(&record).into_iter().collect()), of(words_of(&record)));
            prop_assert!(vocabulary.check().is_ok());
            prop_assert_eq!(vocabulary.strange(&record), Strange::default());
        }
    }
}
