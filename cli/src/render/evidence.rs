//! What was read of evidence, as tables.

use std::fmt::Write;

use countermove_incident::{Format, Timestamp};

use super::incident::Page;
use super::table::lines;
use super::text::{count, hanging, thousands};
use crate::evidence::{Form, Survey, kind_title};

/// The survey as a page.
pub(crate) fn survey(survey: &Survey, page: Page) -> String {
    let style = page.style;
    let mut out = String::new();
    let read = count(survey.records, "record");
    let _ =
        writeln!(out, "{}  {read} of {}", style.heading("READ"), count(survey.sources.len() as u64, "log"));
    for source in &survey.sources {
        let records =
            if source.records == 0 { "nothing new".to_owned() } else { count(source.records, "record") };
        out.push_str(&hanging("  ", &format!("{}: {records}", source.name), page.columns));
    }
    out.push('\n');
    let rows = survey.forms.iter().map(row).collect();
    let head = ["FORM", "KIND", "SEVERITY", "RECORDS", "FIRST", "LAST"];
    out.push_str(&lines(&head, 0, rows, page.columns));
    if !survey.ends.is_empty() {
        out.push('\n');
        let number = |number| if number == 0 { "-".to_owned() } else { thousands(number) };
        let rows = survey.ends.iter().map(|pair| {
            let kinds = pair.kinds;
            let numbers = [kinds.alerts, kinds.logs, kinds.telemetry].map(number);
            [pair.source.clone(), pair.target.clone()].into_iter().chain(numbers).collect()
        });
        out.push_str(&lines(
            &["SOURCE", "TARGET", "ALERTS", "LOGS", "TELEMETRY"],
            0,
            rows.collect(),
            page.columns,
        ));
        if survey.more_ends > 0 {
            let _ = writeln!(out, "and {}", count(survey.more_ends, "more pair"));
        }
    }
    let lost = &survey.not_understood;
    if lost.records > 0 {
        let _ = writeln!(out, "\n{}  {}", style.heading("NOT UNDERSTOOD"), count(lost.records, "record"));
        if let Some(nearest) = lost.nearest {
            out.push_str(&hanging(
                "  ",
                &format!("The nearest known form is {}.", nearest.title()),
                page.columns,
            ));
        }
        for example in &lost.examples {
            out.push_str(&hanging("  > ", example, page.columns));
        }
    }
    if !survey.notes.is_empty() {
        out.push('\n');
    }
    for note in &survey.notes {
        let text = hanging("note  ", note, page.columns);
        let _ = writeln!(out, "{}", style.warning(text.trim_end_matches('\n')));
    }
    out
}

fn row(form: &Form) -> Vec<String> {
    let title = if form.format == Format::Unknown { "no known form" } else { form.format.title() };
    let severity = match form.severity {
        Some(1) => "1 high",
        Some(2) => "2 medium",
        Some(3) => "3 low",
        Some(_) => "4 info",
        None => "-",
    };
    let (first, last) = times(form.first, form.last);
    vec![
        title.to_owned(),
        kind_title(form.kind).to_owned(),
        severity.to_owned(),
        thousands(form.records),
        first,
        last,
    ]
}

/// Of two times of one day the second is told by its clock.
fn times(first: Option<Timestamp>, last: Option<Timestamp>) -> (String, String) {
    let whole = |time: Timestamp| format!("{} {}", time.date(), time.clock());
    match (first, last) {
        (Some(first), Some(last)) if first.same_day(last) => (whole(first), last.clock()),
        (Some(first), Some(last)) => (whole(first), whole(last)),
        _ => ("-".to_owned(), "-".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::width;
    use super::*;
    use crate::evidence::survey_tests::{MIXED, survey_of};

    #[test]
    fn a_survey_reads_like_this() {
        let text = survey(&survey_of(MIXED), Page::plain(80));
        let expected = "\
READ  5 records of 1 log
  mixed.log: 5 records

FORM               KIND       SEVERITY  RECORDS  FIRST                LAST
Suricata EVE JSON  alert      1 high    1        2026-06-03 13:05:00  13:05:00
Suricata EVE JSON  alert      3 low     1        2026-06-03 12:59:31  12:59:31
sshd               log        -         1        2026-06-03 13:06:00  13:06:00
Suricata EVE JSON  telemetry  -         1        2026-06-03 13:05:01  13:05:01
no known form      unknown    -         1        -                    -

SOURCE       TARGET     ALERTS  LOGS  TELEMETRY
203.0.113.9  10.0.2.11  2       -     -
203.0.113.9  web01      -       1     -
10.0.2.11    10.0.2.12  -       -     1

NOT UNDERSTOOD  1 record
  > the pump in hall 3 was serviced

";
        assert!(text.starts_with(expected), "\n{text}");
    }

    #[test]
    fn nothing_is_wider_than_the_page_or_acts_on_a_terminal() {
        let hostile = format!("{MIXED}{} \u{1b}]0;x\u{7}\n", "a very long line ".repeat(30));
        for columns in [60, 80] {
            let text = survey(&survey_of(&hostile), Page::plain(columns));
            assert!(text.lines().all(|line| width(line) <= columns), "\n{text}");
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
    }
}
