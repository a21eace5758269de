//! What hosts and services say, of `data/lines.tsv`, and records as products write them, of `data/records.tsv`.

use countermove_incident::Tactic;

use super::Labelled;
use super::stage::Form;

const LINES: &str = include_str!("../../data/lines.tsv");
const RECORDS: &str = include_str!("../../data/records.tsv");

/// All lines of both tables.
pub(super) fn read() -> Vec<Labelled> {
    rows(LINES).filter_map(line).chain(rows(RECORDS).filter_map(record)).collect()
}

fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#'))
}

fn record(line: &str) -> Option<Labelled> {
    let (shows, text) = line.split_once('\t')?;
    labelled("records", shows, Form::Raw, text)
}

fn line(line: &str) -> Option<Labelled> {
    let mut fields = line.splitn(3, '\t');
    let (shows, form, text) = (fields.next()?, fields.next()?, fields.next()?);
    let form = match form.split_once(':') {
        Some(("syslog", program)) => Form::Syslog(program.to_owned()),
        _ => match form {
            "sudo" => Form::Sudo,
            "cmd" => Form::Process,
            "alert" => Form::Title,
            "log" => Form::Log,
            _ => return None,
        },
    };
    labelled("lines", shows, form, text)
}

fn labelled(source: &str, shows: &str, form: Form, text: &str) -> Option<Labelled> {
    let shows = match shows {
        "everyday" => Vec::new(),
        tactic => vec![Tactic::parse(tactic)?],
    };
    Some(Labelled {
        source: source.into(),
        family: text.to_owned(),
        texts: vec![text.to_owned()],
        form,
        class: String::new(),
        severity: None,
        shows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_every_tactic_that_a_log_shows_has_rows() {
        let rows = rows(LINES).count() + rows(RECORDS).count();
        let lines = read();
        assert_eq!(lines.len(), rows);
        for tactic in Tactic::ALL.into_iter().filter(|tactic| *tactic != Tactic::ResourceDevelopment) {
            assert!(lines.iter().any(|line| line.shows == [tactic]), "{tactic}");
        }
        assert!(lines.iter().filter(|line| line.shows.is_empty()).count() > rows / 3);
    }
}
