//! What a reader should know about how evidence was read, one sentence each.

use super::dossier::Counts;
use super::times::settle;
use super::{AlertLog, Reading};
use crate::formats::{Format, MAX_TEXT};

impl AlertLog {
    /// Puts times in order, and says how the log was read.
    pub(super) fn finished(mut self, counts: &Counts, coarse: u64) -> AlertLog {
        let settled = settle(&mut self.records);
        let seen = &counts.seen;
        self.reading = Reading {
            formats: counts.formats.values().copied().collect(),
            unknown: seen.unknown,
            nearest: seen
                .nearest
                .iter()
                .max_by_key(|(format, count)| (**count, std::cmp::Reverse(**format)))
                .map(|(format, _)| *format),
            cut: seen.cut,
            repeated: counts.repeated,
            other_sinks: counts.other_sinks,
        };
        let mut warn = |count: u64, text: String| {
            if count > 0 {
                self.warnings.push(text);
            }
        };
        let total: u64 = counts.formats.values().map(|count| count.total()).fold(0, u64::saturating_add);
        warn(u64::from(total == 0), "The alert log is empty.".to_owned());
        warn(seen.unknown, not_understood(&self.reading, total));
        let unfamiliar = counts.formats.values().filter(|count| count.format.is_unfamiliar());
        let unfamiliar = unfamiliar.map(|count| count.total()).fold(0, u64::saturating_add);
        warn(
            unfamiliar,
            format!(
                "{} in no form that is known, and read by words alone, which others may have chosen.",
                counted(unfamiliar, "record is", "records are")
            ),
        );
        warn(
            seen.broken,
            format!(
                "{} like a known form and cannot be read as it, kept as plain evidence.",
                counted(seen.broken, "line begins", "lines begin")
            ),
        );
        warn(
            seen.cut,
            format!(
                "{} off; what was readable in front was kept.",
                counted(seen.cut, "record breaks", "records break")
            ),
        );
        if let Some(why) = seen.unread {
            warn(1, format!("The end of the log is missing: {why}."));
        }
        warn(
            counts.repeated,
            format!(
                "{} before and counted once.",
                counted(counts.repeated, "record had come", "records had come")
            ),
        );
        warn(
            counts.other_sinks,
            format!(
                "{} by several of the sensor's outputs and counted once.",
                counted(counts.other_sinks, "alert was written", "alerts were written")
            ),
        );
        warn(
            settled,
            format!(
                "{} no year; the one that fits the others was taken.",
                counted(settled, "time has", "times have")
            ),
        );
        warn(
            counts.zoned.min(counts.zoneless),
            "Some times name their zone and others do not; those were taken as UTC, so their order is uncertain by the \
             zone's hours."
                .to_owned(),
        );
        warn(
            seen.undecodable,
            format!(
                "{} no valid UTF-8; what cannot be read is shown as \u{fffd}.",
                counted(seen.undecodable, "line is", "lines are")
            ),
        );
        warn(
            seen.with_nul,
            format!("{} NUL bytes, which were taken out.", counted(seen.with_nul, "line held", "lines held")),
        );
        warn(
            counts.shortened,
            format!(
                "{} longer than {MAX_TEXT} bytes and shortened.",
                counted(counts.shortened, "message is", "messages are")
            ),
        );
        warn(
            coarse,
            format!(
                "The log has more different records than are kept apart; {} counted with others of the same message \
                 or class.",
                counted(coarse, "is", "are")
            ),
        );
        warn(
            counts.lures,
            format!(
                "{} text that looks like template syntax or like instructions to a model; it is evidence and nobody \
                 follows it.",
                counted(counts.lures, "record holds", "records hold")
            ),
        );
        self
    }
}

/// How much was not understood, and what it may be.
fn not_understood(reading: &Reading, total: u64) -> String {
    let of = match (reading.unknown, total) {
        (unknown, total) if unknown >= total => {
            format!(
                "No line of the log is in a known form; {unknown} {} kept as plain evidence",
                if unknown == 1 { "is" } else { "are" }
            )
        }
        (unknown, total) => {
            let are = if unknown == 1 { "is" } else { "are" };
            format!("{unknown} of {total} records {are} in no known form, kept as plain evidence")
        }
    };
    match reading.nearest.map(Format::title) {
        Some(title) => format!("{of}; the nearest known form is {title}."),
        None => format!("{of}."),
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
