//! Which of flag, environment, file and default sets what.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Parser};

use crate::file::{FileError, SettingsFile};
use crate::has_subcommand;
use crate::names::Names;

/// Key of the file itself, which no file names.
const CONFIG: &str = "config";

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The command line.
    Flag,
    /// This variable.
    Environment(String),
    /// This file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

/// The settings of a program as they are in force.
#[derive(Debug)]
pub struct Settings {
    pub(crate) command: Command,
    matches: ArgMatches,
    /// Of those that environment or file set, by id.
    sources: BTreeMap<String, Source>,
}

/// Why a program cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// What clap says, and where what it speaks of was set, if that was not on the command line.
    #[error("{error}")]
    Clap {
        /// What clap says.
        error: clap::Error,
        /// Where it was set.
        note: Option<String>,
    },
    /// See [`FileError`].
    #[error("{0}")]
    File(#[from] FileError),
}

impl From<clap::Error> for SettingsError {
    fn from(error: clap::Error) -> Self {
        Self::Clap { error, note: None }
    }
}

impl SettingsError {
    /// Says it and ends the process; help and version are no error.
    pub fn exit(self) -> ! {
        match self {
            Self::Clap { error, note } => {
                let code = error.exit_code();
                // If nobody can read it, nobody can be told so.
                let _ = error.print();
                if let Some(note) = note {
                    eprintln!("{note}");
                }
                std::process::exit(code)
            }
            Self::File(error) => {
                eprintln!("error: {error}");
                std::process::exit(2)
            }
        }
    }
}

/// One thing that environment or file set.
struct Set {
    id: String,
    flag: String,
    arguments: Vec<OsString>,
    source: Source,
}

impl Settings {
    /// Reads the settings of `T` from a command line, an environment, and the file that one of them names.
    ///
    /// # Errors
    /// See [`SettingsError`]; help and version are such as well.
    pub fn read<T: Parser>(
        names: &Names,
        line: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        let line: Vec<OsString> = line.into_iter().collect();
        let bare = Names::bare(T::command());
        // What the line itself says; whether that is whole is seen below.
        let said = bare.clone().ignore_errors(true).try_get_matches_from(&line);
        let said = match said {
            Ok(said) if has_subcommand(&said) => {
                let matches = bare.clone().try_get_matches_from(&line)?;
                return Ok(Self { command: bare, matches, sources: BTreeMap::new() });
            }
            Ok(said) => said,
            // Help shows the names.
            Err(error) if !error.use_stderr() => {
                let shown = names.shown(T::command());
                return Err(shown.try_get_matches_from(&line).err().unwrap_or(error).into());
            }
            Err(error) => return Err(error.into()),
        };
        // An empty variable is one that is not set.
        let variable = |arg: &Arg| {
            let name = names.variable(arg)?;
            let value = variable(&name).filter(|value| !value.is_empty())?;
            Some((name, value))
        };
        let is_said = |arg: &Arg| said.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        // Groups know their members once a command is built.
        let mut built = bare.clone();
        built.build();
        let args: Vec<&Arg> = bare.get_arguments().filter(|arg| arg.get_long().is_some()).collect();
        let rivals: BTreeMap<&str, Vec<&str>> =
            args.iter().map(|arg| (arg.get_id().as_str(), rivals(&built, arg))).collect();
        let mut taken: Vec<&str> =
            args.iter().filter(|arg| is_said(arg)).map(|arg| arg.get_id().as_str()).collect();
        let is_free = |taken: &[&str], arg: &Arg| {
            let id = arg.get_id().as_str();
            let contradicts = |other: &&str| rivals.get(id).is_some_and(|rivals| rivals.contains(other));
            !taken.contains(&id) && !taken.iter().any(contradicts)
        };

        let mut set = Vec::new();
        let mut from_environment = Vec::new();
        for arg in args.iter().filter(|arg| is_free(&taken, arg)) {
            let Some((name, value)) = variable(arg) else { continue };
            from_environment.push(arg.get_id().as_str());
            set.push(of_variable(&bare, arg, name, value)?);
        }
        taken.extend(from_environment);

        let file = match path_of(&said, &set, &args) {
            Some(path) => Some(SettingsFile::read(&path)?),
            None => None,
        };
        if let Some(file) = &file {
            let is_known = |key: &str| {
                args.iter().any(|arg| arg.get_long() == Some(key) && names.variable(arg).is_some())
            };
            if let Some(key) = file.keys().find(|key| !is_known(key) || *key == CONFIG) {
                return Err(file.unknown(key, bare.get_name()).into());
            }
            for arg in args.iter().filter(|arg| is_free(&taken, arg)) {
                set.extend(of_file(file, arg)?);
            }
        }

        let (program, flags) = line.split_at(line.len().min(1));
        let injected = set.iter().flat_map(|set| set.arguments.iter().cloned());
        let whole: Vec<OsString> =
            program.iter().cloned().chain(injected).chain(flags.iter().cloned()).collect();
        let matches = bare.clone().try_get_matches_from(whole).map_err(|error| {
            let note = note(&error, &set);
            SettingsError::Clap { error, note }
        })?;
        let sources = set.into_iter().map(|set| (set.id, set.source)).collect();
        Ok(Self { command: bare, matches, sources })
    }

    /// As clap has them.
    pub fn matches(&self) -> &ArgMatches {
        &self.matches
    }

    /// Whether they are to be printed.
    pub fn wants_print(&self) -> bool {
        !has_subcommand(&self.matches)
            && self.matches.try_get_one::<bool>("print_config").ok().flatten().copied().unwrap_or(false)
    }

    /// Where a setting comes from, by the id of its argument.
    pub fn source(&self, id: &str) -> Source {
        match (self.sources.get(id), self.matches.value_source(id)) {
            (Some(source), _) => source.clone(),
            (None, Some(ValueSource::CommandLine)) => Source::Flag,
            (None, _) => Source::Default,
        }
    }
}

/// The file that is named, on the line or in the environment.
fn path_of(said: &ArgMatches, set: &[Set], args: &[&Arg]) -> Option<PathBuf> {
    args.iter().find(|arg| arg.get_id() == CONFIG)?;
    let on_line = said.get_raw(CONFIG).and_then(|mut values| values.next_back()).map(PathBuf::from);
    on_line.or_else(|| {
        let set = set.iter().find(|set| set.id == CONFIG)?;
        let text = set.arguments.last()?.to_str()?;
        text.split_once('=').map(|(_, path)| PathBuf::from(path))
    })
}

/// Those that cannot be set together with it.
fn rivals<'a>(command: &'a Command, arg: &Arg) -> Vec<&'a str> {
    let id = arg.get_id();
    let mut rivals: Vec<&str> =
        command.get_arg_conflicts_with(arg).iter().map(|arg| arg.get_id().as_str()).collect();
    // What is said of one holds for the other.
    rivals.extend(
        command
            .get_arguments()
            .filter(|other| command.get_arg_conflicts_with(other).iter().any(|named| named.get_id() == id))
            .map(|other| other.get_id().as_str()),
    );
    for group in command.get_groups() {
        // Asking a group takes it as one that may change.
        let is_choice = !group.clone().is_multiple();
        if is_choice && group.get_args().any(|member| member == id) {
            let others = command.get_arguments().filter(|other| {
                other.get_id() != id && group.get_args().any(|member| member == other.get_id())
            });
            rivals.extend(others.map(|other| other.get_id().as_str()));
        }
    }
    rivals
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn flag(arg: &Arg) -> String {
    format!("--{}", arg.get_long().unwrap_or_default())
}

/// `--flag=value`, whatever the value is made of.
fn argument(arg: &Arg, value: &OsStr) -> OsString {
    let mut argument = OsString::from(flag(arg));
    argument.push("=");
    argument.push(value);
    argument
}

fn of_variable(command: &Command, arg: &Arg, name: String, value: OsString) -> Result<Set, SettingsError> {
    let arguments = match is_switch(arg) {
        false => vec![argument(arg, &value)],
        true => match value.to_str().map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1" | "yes" | "on") => vec![flag(arg).into()],
            Some("false" | "0" | "no" | "off") => Vec::new(),
            _ => {
                let problem = format!("{name} has to be true or false\n");
                return Err(command.clone().error(ErrorKind::InvalidValue, problem).into());
            }
        },
    };
    let id = arg.get_id().as_str().to_owned();
    Ok(Set { id, flag: flag(arg), arguments, source: Source::Environment(name) })
}

fn of_file(file: &SettingsFile, arg: &Arg) -> Result<Option<Set>, FileError> {
    let Some(key) = arg.get_long() else { return Ok(None) };
    let arguments = match is_switch(arg) {
        true => match file.switch(key)? {
            Some(true) => vec![flag(arg).into()],
            Some(false) => Vec::new(),
            None => return Ok(None),
        },
        false => match file.values(key)? {
            Some(values) => values.iter().map(|value| argument(arg, OsStr::new(value))).collect(),
            None => return Ok(None),
        },
    };
    let id = arg.get_id().as_str().to_owned();
    Ok(Some(Set { id, flag: flag(arg), arguments, source: Source::File(file.path.clone()) }))
}

/// Where the flags that an error speaks of were set.
fn note(error: &clap::Error, set: &[Set]) -> Option<String> {
    let mut spoken: Vec<&str> = Vec::new();
    for (kind, value) in error.context() {
        if !matches!(kind, ContextKind::InvalidArg | ContextKind::PriorArg) {
            continue;
        }
        match value {
            ContextValue::String(text) => spoken.push(text),
            ContextValue::Strings(texts) => spoken.extend(texts.iter().map(String::as_str)),
            _ => {}
        }
    }
    let is_spoken =
        |set: &&Set| spoken.iter().any(|text| text.split_whitespace().next() == Some(set.flag.as_str()));
    let notes: Vec<String> = set
        .iter()
        .filter(is_spoken)
        .map(|set| match &set.source {
            Source::Environment(name) => format!("note: {} was set by {name} in the environment", set.flag),
            Source::File(path) => format!("note: {} was set in {}", set.flag, path.display()),
            Source::Flag | Source::Default => String::new(),
        })
        .collect();
    (!notes.is_empty()).then(|| notes.join("\n"))
}

#[cfg(test)]
mod tests;
