//! What hosts and services say, of `data/lines.tsv`.

use countermove_incident::Tactic;

use super::Labelled;
use super::stage::Form;

const LINES: &str = include_str!("../../data/lines.tsv");

/// All lines of the table.
pub(super) fn read() -> Vec<Labelled> {
    LINES.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

fn line(line: &str) -> Option<Labelled> {
    let mut fields = line.splitn(3, '\t');
    let (shows, form, text) = (fields.next()?, fields.next()?, fields.next()?);
    let shows = match shows {
        "everyday" => Vec::new(),
        tactic => vec![Tactic::parse(tactic)?],
    };
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
    Some(Labelled {
        source: "lines".into(),
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
        let rows = LINES.lines().filter(|line| !line.starts_with('#')).count();
        let lines = read();
        assert_eq!(lines.len(), rows);
        for tactic in Tactic::ALL.into_iter().filter(|tactic| *tactic != Tactic::ResourceDevelopment) {
            assert!(lines.iter().any(|line| line.shows == [tactic]), "{tactic}");
        }
        assert!(lines.iter().filter(|line| line.shows.is_empty()).count() > rows / 3);
    }
}
