//! Entry of the fuzz targets in `fuzz/`, behind the feature `fuzzing`, which nothing else sets. Tests build it as well and feed it
//! the seeds.
//!
//! A target feeds any bytes to one parser. It fails on a panic, on a hang, and on a record that breaks what all records
//! promise.

use crate::formats::format::{Envelope, LineFormat, Object, Offered};
use crate::formats::json::OBJECT_FORMATS;
use crate::formats::text::{LAYOUTS, LINES};
use crate::record::Record;
use crate::{AlertLog, Format, printable};

/// Feeds `data` to the parsers of the format with this name (`snort_fast`), or to the whole reader (`log`).
///
/// # Panics
///
/// If a parser does, if a record breaks an invariant, and if there is no such format.
pub fn run(target: &str, data: &[u8]) {
    if target == "log" {
        // What is no text is refused, which is an answer.
        let _ = AlertLog::read(data);
        return;
    }
    let text = String::from_utf8_lossy(data);
    let is_meant = |format: Format| format!("{format:?}").eq_ignore_ascii_case(&target.replace('_', ""));
    let mut parsers = 0;
    for format in LINES.iter().filter(|format| is_meant(format.format)) {
        parsers += 1;
        lines(format, &text);
    }
    for format in LAYOUTS.iter().filter(|format| is_meant(format.format)) {
        parsers += 1;
        let mut reader = (format.start)();
        for line in text.lines() {
            let _ = (format.recognises)(line);
            let (Offered::Taken(record) | Offered::NotMine(record)) = reader.offer(line);
            record.as_deref().into_iter().for_each(check);
        }
        reader.end().iter().for_each(check);
    }
    let objects = OBJECT_FORMATS.iter().filter(|format| is_meant(format.format));
    for format in objects.inspect(|_| parsers += 1) {
        for object in serde_json::Deserializer::from_str(&text).into_iter::<Object>().map_while(Result::ok) {
            let is_recognised = (format.recognises)(&object);
            let record = (format.read)(&object, &Envelope::default());
            record.filter(|_| is_recognised).iter().for_each(check);
        }
    }
    assert!(parsers > 0, "no format is called {target}");
}

/// The first line is the program that wrote the others.
fn lines(format: &LineFormat, text: &str) {
    let (program, lines) = text.split_once('\n').unwrap_or(("", text));
    let envelope = Envelope { program, host: "host", time: None };
    for line in lines.lines() {
        let is_recognised = (format.recognises)(line, &envelope);
        let record = (format.read)(line, &envelope);
        if let Some(record) = record.filter(|_| is_recognised) {
            assert_eq!(record.format, format.format);
            check(&record);
        }
    }
}

fn check(record: &Record) {
    let Record {
        sensor,
        host,
        message,
        detail,
        rule,
        classification,
        protocol,
        account,
        process,
        file,
        raw,
        ..
    } = record;
    let ends = [&record.source, &record.destination].into_iter().flatten().map(|end| &end.address);
    let texts = [sensor, host, message, detail, rule, classification, protocol, account, process, file, raw];
    for text in texts.into_iter().chain(ends).chain(&record.via).chain(&record.techniques) {
        assert!(text.len() <= 1024, "{} bytes", text.len());
        assert_eq!(printable(text), text.as_str());
    }
    assert!(record.repeats.count >= 1);
    assert!(record.priority.is_none_or(|priority| (1..=4).contains(&priority)));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_target_survives_its_seeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let mut seeds = 0;
        for target in fs::read_dir(folder.join("fuzz_targets")).unwrap() {
            let target = target.unwrap().path();
            let name = target.file_stem().unwrap().to_str().unwrap();
            // The others feed what other crates read.
            if !fs::read_to_string(&target).unwrap().contains("countermove_fuzz::target!") {
                continue;
            }
            for seed in fs::read_dir(folder.join("seeds").join(name)).unwrap() {
                run(name, &fs::read(seed.unwrap().path()).unwrap());
                seeds += 1;
            }
        }
        assert!(seeds >= 25, "{seeds}");
    }

    #[test]
    #[should_panic(expected = "no format is called sshx")]
    fn a_target_without_a_format_is_noticed() {
        run("sshx", b"");
    }
}
