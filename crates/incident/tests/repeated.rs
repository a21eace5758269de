//! Lines in which one part stands thousands of times: no reader goes into itself for each, whatever the part is.
//!
//! The lines are those that the fuzzers start from, one at least for every format.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use countermove_incident::AlertLog;

/// Length of the lines, in bytes.
const LENGTH: usize = 32 * 1024;
/// Stack of the thread that reads them: a call for each part takes more.
const STACK: usize = 384 * 1024;
/// Parts that are repeated, of each line.
const PARTS: usize = 4;
/// Words and marks of a part at most.
const WORDS: [usize; 4] = [1, 2, 5, 14];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("the seeds are there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Where words and marks begin, and the end.
fn places(line: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric();
    let mut last = None;
    let mut places: Vec<usize> = Vec::new();
    for (place, c) in line.char_indices() {
        if last != Some(is_word(c)) || !is_word(c) {
            places.push(place);
        }
        last = Some(is_word(c));
    }
    places.push(line.len());
    places
}

/// The line with a part of it so often that it is long, for parts of every length all along it.
fn repeated(line: &str) -> Vec<String> {
    let places = places(line);
    let step = (places.len() / PARTS).max(1);
    let of = |begin: usize, words: usize| {
        let (from, to) = (*places.get(begin)?, *places.get(begin + words)?);
        let (before, part, behind) = (line.get(..from)?, line.get(from..to)?, line.get(to..)?);
        Some([before, &part.repeat(LENGTH / part.len()), behind].concat())
    };
    let begins = (0..places.len()).step_by(step);
    begins.flat_map(|begin| WORDS.map(|words| of(begin, words))).flatten().collect()
}

#[test]
fn a_part_that_stands_thousands_of_times_ends_no_reader() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let texts: Vec<String> = files(&seeds).iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(texts.len() > 50, "{}", texts.len());
    let read = move || {
        let mut count = 0_usize;
        for text in &texts {
            // Of a log with a header of columns as well: they say what the lines below are.
            let header: String = text
                .lines()
                .take_while(|line| line.starts_with('#'))
                .map(|line| format!("{line}\n"))
                .collect();
            let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            for long in repeated(line) {
                // What is no log is refused.
                count += usize::from(AlertLog::parse(format!("{header}{long}\n").as_bytes()).is_ok());
            }
        }
        count
    };
    // Whoever uses more of the stack ends the process.
    let thread = thread::Builder::new().stack_size(STACK).spawn(read).expect("a thread can be made");
    assert!(thread.join().expect("nobody panics") > 300, "most are logs");
}
