//! How a program that serves is set up: flags, the environment, a file, defaults.
//!
//! Contract: a flag goes before the environment, the environment before the file, the file before the default. Each flag of a
//! program has one name in the environment, which follows from its own by a rule ([`Names`]), and one key in the file, which
//! is the flag without its hyphens in front. What was set further down gives way to what contradicts it further up, so that a
//! variable that lies about stops nobody who says something else. Everything is read, checked and refused by clap, in its words.

mod file;
mod layers;
mod mask;
mod names;
mod print;
mod reference;

use std::path::PathBuf;

use clap::{ArgMatches, Command, Parser};

pub use file::FileError;
pub use layers::{Settings, SettingsError, Source};
pub use mask::masked;
pub use names::Names;
pub use reference::{cell, compare, reference};

/// What every program that serves takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct SettingsArgs {
    /// File with settings in TOML: each flag's name is a key. Flags and the environment go before it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print every setting in force and where it comes from, as such a file, and exit; passwords are left out.
    #[arg(long)]
    pub print_config: bool,
}

/// Reads the settings of this process, or ends it: with help, with what is in force if that was asked for, or with what is
/// wrong, in the code that clap gives.
pub fn parse<T: Parser>(names: &Names, check: impl FnOnce(&T) -> Result<(), clap::Error>) -> T {
    let read = Settings::read::<T>(names, std::env::args_os(), |name| std::env::var_os(name));
    let (settings, args) = match read.and_then(|settings| {
        let args = T::from_arg_matches(settings.matches()).map_err(SettingsError::from)?;
        Ok((settings, args))
    }) {
        Ok(read) => read,
        Err(error) => error.exit(),
    };
    if settings.wants_print() {
        // What cannot be used is refused here as it would be without the flag.
        if let Err(error) = check(&args) {
            error.exit();
        }
        print!("{}", settings.print());
        std::process::exit(0);
    }
    args
}

/// A program's command line with the name of each flag in the environment, as its help and its reference show it.
pub fn command<T: Parser>(names: &Names) -> Command {
    names.shown(T::command())
}

/// Whether a subcommand was named, which takes none of the program's own settings.
fn has_subcommand(matches: &ArgMatches) -> bool {
    matches.subcommand_name().is_some()
}
