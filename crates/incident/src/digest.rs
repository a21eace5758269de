//! Condenses a log into counted lines that fit a token budget.
//!
//! Records with the same message, class, priority and protocol are a family. A family is first shown as one line for
//! each pair of hosts. If the text is too long, families are folded further, by host, then into one line each, then
//! into a line without class and details, the least important first; if that does not do, the least important are left out and counted. Importance is priority
//! first, then rarity in steps of four: a priority weighs as much as 64-fold repetition.
//!
//! Telemetry is in no group: it is context for records that say that something is wrong, and the digest is what is asked about.
//!
//! Invariants: the counts of all groups, shown or not, add up to the records of the log that are no telemetry, and these alone
//! decide what the groups are; [`Digest::text`] never
//! exceeds its budget; the same log and budget give the same digest.

mod family;
mod line;

use serde::{Deserialize, Serialize};

use crate::text::approximate_tokens;
use crate::{AlertKind, AlertLog, Reading, RecordKind, Timestamp};
use family::{Family, Folding};
use line::{Dates, Line};

/// A log condensed for the model: groups of like records as counted lines, ordered by first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    groups: Vec<Group>,
    text: String,
    report: DigestReport,
}

/// Records that say the same, folded into one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number, from 1: `A3` in [`Digest::text`] is number 3.
    pub number: u32,
    /// The line as the model reads it, without the number.
    pub text: String,
    /// Records folded into it.
    pub count: u64,
    /// First time.
    pub first: Option<Timestamp>,
    /// Last time.
    pub last: Option<Timestamp>,
    /// What its records may be used for.
    pub record_kind: RecordKind,
    /// What kind of alerts they are; nothing for what is no alert.
    pub kind: Option<AlertKind>,
    /// The records' message; the first if they differ in numbers.
    pub message: String,
    /// Places of its records in the log, in ascending order.
    pub records: Vec<usize>,
    /// Hosts that the traffic came from, in the order of the log; all of them, also where `text` shortens.
    pub sources: Vec<String>,
    /// Hosts that it went to, likewise.
    pub destinations: Vec<String>,
}

/// How a log was read and condensed, so that nothing is dropped silently.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestReport {
    /// Records in the log, alerts and plain lines.
    pub records: u64,
    /// Records that were read as alerts.
    pub alerts: u64,
    /// The other records: logs, telemetry, and lines in no known form.
    pub plain_lines: u64,
    /// Which forms the log had, and what was not understood.
    #[serde(default)]
    pub reading: Reading,
    /// Groups after folding.
    pub groups: u64,
    /// Groups that the model reads.
    pub groups_shown: u64,
    /// Records in groups that did not fit the token budget; the rarest groups are kept first.
    pub records_not_shown: u64,
    /// What a reader should know about the log, one sentence each.
    pub warnings: Vec<String>,
}

impl Digest {
    /// Condenses a log into a text of at most `budget_tokens` tokens, as [`approximate_tokens`] counts them.
    pub fn new(log: &AlertLog, budget_tokens: usize) -> Digest {
        let families = Family::of_log(log);
        let dates = Dates::of_log(log);
        let header = dates.header().map(|line| line + "\n").unwrap_or_default();
        // With a budget for a few lines at most, the lines are worth more than the date.
        let header = if approximate_tokens(&header) * 8 <= budget_tokens { header } else { String::new() };
        let budget = budget_tokens - approximate_tokens(&header);

        let mut selection = Selection::fine(families, dates);
        selection.coarsen(budget);
        let footer = selection.leave_out(budget);
        selection.into_digest(log, &header, footer.as_deref(), budget_tokens)
    }

    /// The groups that the model reads, ordered by first time.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group with this number.
    pub fn group(&self, number: u32) -> Option<&Group> {
        let position = usize::try_from(number).ok()?.checked_sub(1)?;
        self.groups.get(position)
    }

    /// What the model reads: one line for each group, `A1 …`, at times with a line before that gives the date and a
    /// line behind that counts what is not shown.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How the log was read and condensed.
    pub fn report(&self) -> &DigestReport {
        &self.report
    }
}

/// Families with how each of them is shown.
struct Selection {
    /// Most important first.
    families: Vec<Chosen>,
    dates: Dates,
    /// What `A12 ` in front of a line and the line break behind it cost at most.
    number_tokens: usize,
}

struct Chosen {
    family: Family,
    lines: Vec<Line>,
    tokens: usize,
    shown: bool,
}

impl Selection {
    fn fine(mut families: Vec<Family>, dates: Dates) -> Self {
        families.sort_by_key(|family| (std::cmp::Reverse(family.importance()), family.position()));
        let lines: Vec<Vec<Line>> =
            families.iter().map(|family| family.lines(Folding::Pairs, dates)).collect();
        let most = lines.iter().map(Vec::len).sum::<usize>().max(1);
        let number_tokens = 3 + most.ilog10() as usize;
        let chosen = |(family, lines): (Family, Vec<Line>)| Chosen {
            family,
            tokens: tokens_of(&lines, number_tokens),
            lines,
            shown: true,
        };
        Selection { families: families.into_iter().zip(lines).map(chosen).collect(), dates, number_tokens }
    }

    fn tokens(&self) -> usize {
        self.families.iter().filter(|chosen| chosen.shown).map(|chosen| chosen.tokens).sum()
    }

    /// Folds families further, the least important first, until they fit.
    fn coarsen(&mut self, budget: usize) {
        let mut tokens = self.tokens();
        for folding in [Folding::Hosts, Folding::One, Folding::Brief] {
            for chosen in self.families.iter_mut().rev() {
                if tokens <= budget {
                    return;
                }
                if chosen.lines.len() < 2 && folding != Folding::Brief {
                    continue;
                }
                let lines = chosen.family.lines(folding, self.dates);
                let fewer = tokens_of(&lines, self.number_tokens);
                if fewer < chosen.tokens {
                    tokens -= chosen.tokens - fewer;
                    (chosen.lines, chosen.tokens) = (lines, fewer);
                }
            }
        }
    }

    /// Leaves out what does not fit, and gives the line that counts it.
    fn leave_out(&mut self, budget: usize) -> Option<String> {
        if self.tokens() <= budget {
            return None;
        }
        // Counts only shrink from here on, so that the line for everything is the longest.
        let reserve = approximate_tokens(&self.footer(|_| true)) + 1;
        let with_footer = reserve * 4 <= budget;
        let mut room = if with_footer { budget - reserve } else { budget };
        for chosen in &mut self.families {
            chosen.shown = chosen.tokens <= room;
            if chosen.shown {
                room -= chosen.tokens;
            }
        }
        with_footer.then(|| self.footer(|chosen| !chosen.shown))
    }

    fn footer(&self, counts: impl Fn(&Chosen) -> bool) -> String {
        let (mut records, mut groups) = (0_u64, 0_usize);
        let mut by_priority = [0_u64; 4];
        for chosen in self.families.iter().filter(|chosen| counts(chosen)) {
            records = records.saturating_add(chosen.family.count());
            groups += chosen.lines.len();
            let place = chosen.family.priority().map_or(3, |priority| usize::from(priority.clamp(1, 3)) - 1);
            by_priority[place] = by_priority[place].saturating_add(chosen.family.count());
        }
        let parts: Vec<String> = ["P1", "P2", "P3 and lower", "no priority"]
            .into_iter()
            .zip(by_priority)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name}: {count}"))
            .collect();
        let noun = if groups == 1 { "group" } else { "groups" };
        format!("Not shown: {records} more records in {groups} {noun} ({}).", parts.join(", "))
    }

    fn into_digest(self, log: &AlertLog, header: &str, footer: Option<&str>, budget_tokens: usize) -> Digest {
        let mut report = DigestReport {
            warnings: log.warnings.clone(),
            reading: log.reading.clone(),
            ..DigestReport::default()
        };
        for record in &log.records {
            let count = record.repeats.count;
            report.records = report.records.saturating_add(count);
            let kind = if record.is_alert() { &mut report.alerts } else { &mut report.plain_lines };
            *kind = kind.saturating_add(count);
        }
        let mut lines = Vec::new();
        for chosen in self.families {
            report.groups += chosen.lines.len() as u64;
            if chosen.shown {
                lines.extend(chosen.lines);
            } else {
                report.records_not_shown = report.records_not_shown.saturating_add(chosen.family.count());
            }
        }
        report.groups_shown = lines.len() as u64;
        if report.records_not_shown > 0 {
            report.warnings.push(format!(
                "{} of {} records, in {} of {} groups, do not fit the {budget_tokens} tokens of the log that the \
                 model reads; the rarest of the highest priority were kept.",
                report.records_not_shown,
                report.records,
                report.groups - report.groups_shown,
                report.groups
            ));
        }
        lines.sort_by_key(|line| (line.order, line.position));
        let mut text = header.to_owned();
        let mut groups = Vec::with_capacity(lines.len());
        for (number, line) in (1..).zip(lines) {
            text.push_str(&format!("A{number} {}\n", line.group.text));
            groups.push(Group { number, ..line.group });
        }
        text.extend(footer);
        text.truncate(text.trim_end().len());
        Digest { groups, text, report }
    }
}

fn tokens_of(lines: &[Line], number_tokens: usize) -> usize {
    lines.iter().map(|line| approximate_tokens(&line.group.text) + number_tokens).sum()
}
