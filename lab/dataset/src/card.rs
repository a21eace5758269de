//! What a training set holds: counts, lengths, and how it was divided.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::example::{Example, Task};
use crate::lessons::Tally;
use crate::split::{Part, Split};

/// What a training set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Seed of the set.
    pub seed: u64,
    /// Incidents that were made.
    pub incidents: u64,
    /// Digest of the templates, hexadecimal.
    pub templates: String,
    /// Where rules and flows come from, in words.
    pub source: String,
    /// Counts and lengths by split and task.
    pub counts: BTreeMap<(Split, Task), Count>,
    /// Examples that were left out since an equal one was there.
    pub repeated: u64,
    /// How far the planner's view carries.
    pub tally: Tally,
    /// Flows, families and categories of each split, in words.
    pub parts: Vec<String>,
}

/// Examples of one kind, with their lengths in tokens as estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub examples: u64,
    /// Tokens of the system text and the instruction, which are the same for all.
    pub fixed: usize,
    /// Sum of the tokens of the moving parts.
    pub moving: u64,
    /// Longest moving part.
    pub longest: usize,
    /// Sum of the tokens of the answers.
    pub answer: u64,
}

impl Card {
    pub(crate) fn add(&mut self, example: &Example) {
        let [fixed, moving, answer] = example.tokens();
        let count = self.counts.entry((example.split, example.task)).or_default();
        count.examples += 1;
        count.fixed = count.fixed.max(fixed);
        count.moving += moving as u64;
        count.longest = count.longest.max(moving);
        count.answer += answer as u64;
    }

    pub(crate) fn describe(&mut self, parts: &[Part]) {
        let [train, ..] = parts else { return };
        let categories = |part: &Part| -> BTreeSet<String> {
            part.vocabulary.rules().iter().map(|rule| rule.category.clone()).collect()
        };
        let known = categories(train);
        self.parts = parts
            .iter()
            .map(|part| {
                let flows: Vec<&str> =
                    part.vocabulary.flows().iter().map(|flow| flow.name.as_str()).collect();
                let own: Vec<String> = categories(part).difference(&known).cloned().collect();
                let own = match own.as_slice() {
                    [] => String::new(),
                    names => format!(" Categories that only it has: {}.", names.join(", ")),
                };
                format!(
                    "**{}**: {} rules. Families: {}. Flows: {}.{own}",
                    part.split.name(),
                    part.vocabulary.rules().len(),
                    part.families.join(", "),
                    flows.join(", ")
                )
            })
            .collect();
    }

    /// Examples in all.
    pub fn examples(&self) -> u64 {
        self.counts.values().map(|count| count.examples).sum()
    }

    /// The card as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "# Training set\n\n{} examples of {} simulated incidents, seed {}, {}. Prompts are those of the planner, templates {}.\n",
            self.examples(),
            self.incidents,
            self.seed,
            self.source,
            self.templates.get(..12).unwrap_or(&self.templates),
        );
        let _ = writeln!(
            out,
            "| split | task | examples | fixed tokens | moving tokens, mean | longest | answer tokens, mean |\n|---|---|---:|---:|---:|---:|---:|"
        );
        for ((split, task), count) in &self.counts {
            let mean = |sum: u64| sum as f64 / count.examples.max(1) as f64;
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {:.1} | {} | {:.1} |",
                split.name(),
                task.name(),
                count.examples,
                count.fixed,
                mean(count.moving),
                count.longest,
                mean(count.answer)
            );
        }
        let _ = writeln!(
            out,
            "\nTokens are estimated (`approximate_tokens`; within a few percent of tokenizers that split digits). The fixed \
             tokens are the system text and the task's instruction, the same in every example of a task. {} examples were \
             left out since an equal one was there.\n",
            self.repeated
        );
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        let tally = &self.tally;
        let _ = writeln!(
            out,
            "How far the planner's view carries, if every group of alerts is judged rightly: attacked hosts right in {:.1} % of \
             {} incidents that the log shows, with all known attackers in {:.1} %; what is left says what an action brings \
             about in {:.1} % of {} questions about one fact; the menu helps at {:.1} % of {} points of play.\n",
            share(tally.right_targets, tally.incidents),
            tally.incidents,
            share(tally.right_roles, tally.incidents),
            share(tally.suggested, tally.states),
            tally.states,
            100.0 - share(tally.stuck, tally.points),
            tally.points
        );
        let _ = writeln!(out, "## Splits\n");
        for part in &self.parts {
            let _ = writeln!(out, "- {part}");
        }
        out
    }
}
