//! What a flag is called in the environment.

use clap::{Arg, Command};

/// The rule by which flags are named: `COUNTERMOVE_` and the flag in capitals. The flags in `own` say where one process is, and
/// have another prefix, so that one environment may serve both programs.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Flags that both programs have and that may not be the same for both.
    pub own: &'static [&'static str],
    /// What these begin with.
    pub prefix: &'static str,
}

/// What only the command line says.
const NEVER: [&str; 3] = ["help", "version", "print-config"];

impl Names {
    /// The name of a flag in the environment; `None` for what only a command line says.
    pub fn variable(&self, arg: &Arg) -> Option<String> {
        let long = arg.get_long().filter(|long| !NEVER.contains(long))?;
        let prefix = if self.own.contains(&long) { self.prefix } else { "COUNTERMOVE_" };
        Some(format!("{prefix}{}", long.to_uppercase().replace('-', "_")))
    }

    /// The command with these names, as help shows them.
    pub(crate) fn shown(&self, command: Command) -> Command {
        command.mut_args(|arg| match self.variable(&arg) {
            // clap wants names that live as long as the program; there are some dozens of them, made once.
            Some(name) => arg.env(&*name.leak()),
            None => arg,
        })
    }

    /// The command that reads nothing from the environment: [`crate::Settings`] does.
    pub(crate) fn bare(command: Command) -> Command {
        command.mut_args(|arg| arg.env(None::<&'static str>))
    }
}
