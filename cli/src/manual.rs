//! `countermove completions` and `countermove man`: what the definition of the command line says, for shells and for `man`.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Exit, Failure};
use crate::plan::write_out;

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "countermove", &mut script);
    write_out(&script)?;
    Ok(Exit::Success)
}

/// Prints the manual page, or writes one for each command.
pub(crate) fn manual(out: Option<&Path>) -> Result<Exit, Failure> {
    let Some(folder) = out else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|error| Failure::Failed(format!("the manual page cannot be made: {error}")))?;
        write_out(&page)?;
        return Ok(Exit::Success);
    };
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| {
        Failure::Input(format!("manual pages cannot be written into {}: {error}", folder.display()))
    })?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        manual(Some(folder.path())).unwrap();
        for page in
            ["countermove.1", "countermove-plan.1", "countermove-incidents-approve.1", "countermove-doctor.1"]
        {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains(".TH countermove"), "{page}");
        }
        assert!(
            manual(Some(Path::new("/proc/no-such-folder")))
                .unwrap_err()
                .to_string()
                .contains("/proc/no-such")
        );
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "countermove", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["report-outcome", "until-decision", "doctor"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
