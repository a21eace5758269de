//! The flags of a program as a part of a page, and whether the page still says so.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, ArgAction, Command};

/// Set, it has [`compare`] write the page instead.
const UPDATE: &str = "UPDATE_REFERENCE";

/// The flags of a command and of its subcommands in Markdown, below headings of this level.
pub fn reference(command: &Command, level: usize) -> String {
    let mut command = command.clone();
    command.build();
    let mut text = String::new();
    describe(&command, command.get_name(), level, &mut text);
    text
}

fn describe(command: &Command, path: &str, level: usize, text: &mut String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    // Writing to a string never fails.
    let _ = writeln!(text, "{} `{path}`\n\n{}\n", "#".repeat(level), cell(&about));
    let is_shown = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    // What a subcommand has of its parent is said there.
    let is_own = |arg: &&Arg| !arg.is_global_set() || !path.contains(' ');
    let args: Vec<&Arg> = command.get_arguments().filter(is_shown).filter(is_own).collect();
    if !args.is_empty() {
        let _ = writeln!(text, "| flag | environment | default | what it is |\n|---|---|---|---|");
        for arg in args {
            let _ = writeln!(text, "{}", row(arg));
        }
        text.push('\n');
    }
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
    for subcommand in subcommands.filter(|command| command.get_name() != "help") {
        describe(subcommand, &format!("{path} {}", subcommand.get_name()), level, text);
    }
}

fn row(arg: &Arg) -> String {
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let values = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
    let values = values.collect::<Vec<_>>().join(" ");
    let flag = match (arg.get_long(), takes_value) {
        (Some(long), true) => format!("--{long} {values}"),
        (Some(long), false) => format!("--{long}"),
        (None, _) => values,
    };
    let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default =
        if takes_value && !defaults.is_empty() { format!("`{}`", defaults.join(",")) } else { String::new() };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = match takes_value {
        true => arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect(),
        false => Vec::new(),
    };
    let choices = if choices.is_empty() { String::new() } else { format!(" ({})", choices.join(", ")) };
    let flag = flag.replace('|', "\\|");
    format!("| `{flag}` | {variable} | {default} | {}{choices} |", cell(&help).trim_end_matches('.'))
}

/// A text as a cell of a table in Markdown: without breaks, and without what would end the cell.
pub fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Compares the part of a page between `<!-- NAME -->` and `<!-- /NAME -->` with what it should be; with `UPDATE_REFERENCE=1` in
/// the environment it writes it instead. `is_whole`: the program is built with all of its parts. If it is not, the page may
/// have lines of the others.
///
/// # Errors
/// A sentence that says what differs and how to write the page.
pub fn compare(page: &Path, name: &str, part: &str, is_whole: bool) -> Result<(), String> {
    let file = page.display();
    let text = std::fs::read_to_string(page).map_err(|error| format!("{file}: {error}"))?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let lost = || format!("{file} has no part between {} and {end}", begin.trim_end());
    let (before, rest) = text.split_once(&begin).ok_or_else(lost)?;
    let (now, after) = rest.split_once(&end).ok_or_else(lost)?;
    let part = part.trim();
    if std::env::var_os(UPDATE).is_some() {
        if !is_whole {
            return Err(format!("{file} is written by a program with all of its parts: build it with etcd"));
        }
        return std::fs::write(page, format!("{before}{begin}\n{part}\n\n{end}{after}"))
            .map_err(|error| format!("{file}: {error}"));
    }
    let differs = match is_whole {
        true => now.trim() != part,
        false => part.lines().any(|line| !now.lines().any(|known| known == line)),
    };
    if !differs {
        return Ok(());
    }
    let first = part.lines().find(|line| !now.lines().any(|known| known == *line));
    let first = first.or_else(|| now.trim().lines().find(|line| !part.lines().any(|made| made == *line)));
    Err(format!(
        "the part {name} of {file} is not what the code says, beginning with\n  {}\nwrite it with {UPDATE}=1 and look at the diff",
        first.unwrap_or("the order of its lines")
    ))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn command() -> Command {
        Command::new("plan-it")
            .about("Plans.")
            .arg(
                Arg::new("lease")
                    .long("lease")
                    .value_name("SECONDS")
                    .env("COUNTERMOVE_LEASE")
                    .default_value("10")
                    .help("Seconds | of\nlife."),
            )
            .arg(Arg::new("on").long("on").action(ArgAction::SetTrue).help("Switched on."))
            .subcommand(
                Command::new("list").about("Lists.").arg(Arg::new("name").value_name("NAME").help("Whose.")),
            )
    }

    #[test]
    fn flags_are_rows_and_subcommands_have_their_own_heading() {
        let text = reference(&command(), 2);
        for needed in [
            "## `plan-it`\n\nPlans.",
            "| `--lease SECONDS` | `COUNTERMOVE_LEASE` | `10` | Seconds \\| of life |",
            "| `--on` |  |  | Switched on |",
            "## `plan-it list`",
            "| `NAME` |  |  | Whose |",
        ] {
            assert!(text.contains(needed), "{needed} in\n{text}");
        }
    }

    #[test]
    fn a_page_that_says_something_else_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        std::fs::write(&page, "# Page\n\n<!-- x -->\n\n| a |\n| b |\n\n<!-- /x -->\n").unwrap();
        assert_eq!(compare(&page, "x", "| a |\n| b |\n", true), Ok(()));
        let error = compare(&page, "x", "| a |\n", true).unwrap_err();
        assert!(error.contains("| b |"), "{error}");
        assert_eq!(compare(&page, "x", "| a |\n", false), Ok(()), "what is not built in may stand there");
        assert!(compare(&page, "x", "| c |\n", false).unwrap_err().contains("| c |"));
        assert!(compare(&page, "y", "", true).unwrap_err().contains("no part"));
    }
}
