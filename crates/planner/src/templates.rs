//! The prompt templates: what the model reads, as minijinja files that a user can override by a folder.
//!
//! Beside minijinja's own filters there are `listed` (`a, b and c`), `accounts` (`the accounts a and b`), `sentence` (the
//! parts that are not empty, listed, with a capital) and `some` (a choice among names, for an opening).
//!
//! Two profiles are built in. `small` asks short questions and offers whole actions; `large` shows the whole context, lets the
//! model choose verb and names apart and asks it for its reason.
//!
//! Invariants: a value is never template source, so template syntax in an alert is plain text; a name that a template
//! uses and that does not exist is an error when the templates are loaded, not an empty string in a prompt; the digest
//! covers every byte that can change a prompt. Values from outside pass through [`fenced`](crate::words::fenced) before they are rendered,
//! so they cannot end the `===` block that they stand in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::words::listed;

/// A template, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TemplateName {
    /// Instruction that stands before everything else.
    System,
    /// System description, constraints and alerts; the first segment of every prompt of an incident, if it shows any.
    Context,
    /// What perception concluded; the second segment.
    Assessment,
    /// Instruction of the task *incident*.
    Incident,
    /// Moving part of the task *incident*.
    IncidentTurn,
    /// Instruction of the task *action*.
    Action,
    /// Moving part of the task *action*.
    ActionTurn,
    /// Instruction of the task *state*.
    State,
    /// Moving part of the task *state*.
    StateTurn,
    /// Instruction of the task *alerts*.
    Alerts,
    /// Moving part of the task *alerts*.
    AlertsTurn,
    /// How an action may begin, one beginning a line; nothing if actions are free text.
    Openings,
}

struct Source {
    name: TemplateName,
    file: &'static str,
    default: &'static str,
    /// What the template may use.
    values: &'static [&'static str],
}

/// Templates of the large profile; it shares the others with the small one.
const LARGE: [(TemplateName, &str); 4] = [
    (TemplateName::Context, include_str!("../templates/large/context.txt.j2")),
    (TemplateName::Assessment, include_str!("../templates/large/assessment.txt.j2")),
    (TemplateName::ActionTurn, include_str!("../templates/large/action_turn.txt.j2")),
    (TemplateName::Openings, include_str!("../templates/large/openings.txt.j2")),
];

const SOURCES: [Source; 12] = [
    Source {
        name: TemplateName::System,
        file: "system.txt.j2",
        default: include_str!("../templates/system.txt.j2"),
        values: &[],
    },
    Source {
        name: TemplateName::Context,
        file: "context.txt.j2",
        default: include_str!("../templates/context.txt.j2"),
        values: &["system", "constraints", "alerts"],
    },
    Source {
        name: TemplateName::Assessment,
        file: "assessment.txt.j2",
        default: include_str!("../templates/assessment.txt.j2"),
        values: &["description", "attackers", "systems", "targets", "tactics"],
    },
    Source {
        name: TemplateName::Incident,
        file: "incident.txt.j2",
        default: include_str!("../templates/incident.txt.j2"),
        values: &[],
    },
    Source {
        name: TemplateName::IncidentTurn,
        file: "incident_turn.txt.j2",
        default: include_str!("../templates/incident_turn.txt.j2"),
        values: &["message", "classification", "priority", "source", "destination", "count"],
    },
    Source {
        name: TemplateName::Action,
        file: "action.txt.j2",
        default: include_str!("../templates/action.txt.j2"),
        values: &[],
    },
    Source {
        name: TemplateName::ActionTurn,
        file: "action_turn.txt.j2",
        default: include_str!("../templates/action_turn.txt.j2"),
        values: &[
            "state",
            "achieved",
            "missing",
            "attackers",
            "targets",
            "accounts",
            "kept",
            "history",
            "futile",
            "refused",
        ],
    },
    Source {
        name: TemplateName::State,
        file: "state.txt.j2",
        default: include_str!("../templates/state.txt.j2"),
        values: &[],
    },
    Source {
        name: TemplateName::StateTurn,
        file: "state_turn.txt.j2",
        default: include_str!("../templates/state_turn.txt.j2"),
        values: &["state", "achieved", "missing", "open", "action", "notes"],
    },
    Source {
        name: TemplateName::Alerts,
        file: "alerts.txt.j2",
        default: include_str!("../templates/alerts.txt.j2"),
        values: &[],
    },
    Source {
        name: TemplateName::AlertsTurn,
        file: "alerts_turn.txt.j2",
        default: include_str!("../templates/alerts_turn.txt.j2"),
        values: &["tactic", "seen"],
    },
    Source {
        name: TemplateName::Openings,
        file: "openings.txt.j2",
        default: include_str!("../templates/openings.txt.j2"),
        values: &["state", "attackers", "systems", "targets", "left"],
    },
];

/// Names that minijinja itself provides.
const BUILT_IN: [&str; 5] = ["range", "dict", "debug", "namespace", "loop"];

/// Why templates cannot be loaded or rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder or a file in it cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Folder or file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A file in the folder is no template.
    #[error("{}: no prompt template has this name; the names are {names}", path.display())]
    UnknownFile {
        /// The file.
        path: PathBuf,
        /// The names that exist.
        names: String,
    },
    /// A template uses a value that it is not given.
    #[error("{file}: it uses {value:?}, which it is not given; it is given {given}")]
    UnknownValue {
        /// The template's file name.
        file: &'static str,
        /// The value.
        value: String,
        /// Values that it is given.
        given: String,
    },
    /// A template's syntax is wrong, or rendering it failed.
    #[error("{file}: {reason}")]
    Invalid {
        /// The template's file name.
        file: &'static str,
        /// What is wrong, with the line.
        reason: String,
    },
}

/// Weights from which a model counts as large.
const LARGE_PARAMETERS: u64 = 1_000_000_000;

/// Built-in templates, by what a model is good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Short questions about one thing each, answered by a choice.
    Small,
    /// The whole context before each question, and actions that the model puts together and explains.
    Large,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// The profile for a model of so many weights.
    pub fn of(parameters: u64) -> Self {
        if parameters < LARGE_PARAMETERS { Self::Small } else { Self::Large }
    }

    /// As the flag names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// The effective templates: those of a profile, and those of a folder in their place.
#[derive(Clone, Debug)]
pub struct Templates {
    environment: Environment<'static>,
    digest: String,
    lists_actions: bool,
}

impl Templates {
    /// The templates that a flag names: a profile, or a folder whose files stand in the place of the small profile's. Hidden
    /// files in the folder are ignored. Without a flag, the small profile's.
    ///
    /// # Errors
    /// If the folder cannot be read, holds a file that is no template, or holds a template that cannot work.
    pub fn load(named: Option<&Path>) -> Result<Templates, TemplateError> {
        let Some(named) = named else { return Self::built_in(Profile::Small) };
        if let Some(profile) = Profile::ALL.into_iter().find(|profile| Path::new(profile.name()) == named) {
            return Self::built_in(profile);
        }
        let mut sources = sources(Profile::Small);
        override_from(named, &mut sources)?;
        Self::new(sources)
    }

    /// A profile's templates.
    ///
    /// # Errors
    /// None that a test does not find.
    pub fn built_in(profile: Profile) -> Result<Templates, TemplateError> {
        Self::new(sources(profile))
    }

    fn new(sources: Vec<String>) -> Result<Templates, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // Cannot fail: delimiters are the usual ones.
        if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
            environment.set_syntax(syntax);
        }
        environment.add_filter("listed", |items: Vec<String>| listed(&items));
        environment.add_filter("accounts", accounts);
        environment.add_filter("sentence", sentence);
        environment.add_filter("some", some);
        let mut hasher = Sha256::new();
        let mut lists_actions = false;
        for (source, text) in SOURCES.iter().zip(sources) {
            for part in [source.file, &text] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part.as_bytes());
            }
            lists_actions |= source.name == TemplateName::Openings && says_something(&text);
            environment
                .add_template_owned(source.file, text)
                .map_err(|error| invalid(source.file, &error))?;
            check_values(&environment, source)?;
        }
        let digest = hex::encode(hasher.finalize());
        Ok(Templates { environment, digest, lists_actions })
    }

    /// SHA-256 over the effective templates, lower-case hex.
    pub fn digest(&self) -> String {
        self.digest.clone()
    }

    /// The instructions, which say nothing of any incident and are the same in the prompts of all.
    pub fn instructions(&self) -> Vec<String> {
        use TemplateName::{Action, Alerts, Incident, State, System};
        let all = [System, Incident, Action, State, Alerts];
        // They are given no values, so one that is loaded can be rendered.
        all.into_iter()
            .filter_map(|name| self.render(name, ()).ok())
            .filter(|text| !text.is_empty())
            .collect()
    }

    /// Whether actions are taken from a list. Where the template of openings is blank they are free text.
    pub(crate) fn lists_actions(&self) -> bool {
        self.lists_actions
    }

    /// File names that a folder may hold.
    pub fn file_names() -> impl Iterator<Item = &'static str> {
        SOURCES.iter().map(|source| source.file)
    }

    /// Renders a template. Text from outside must have passed through [`fenced`](crate::words::fenced).
    pub(crate) fn render(&self, name: TemplateName, values: impl Serialize) -> Result<String, TemplateError> {
        let file = SOURCES.iter().find(|source| source.name == name).map_or("", |source| source.file);
        let template = self.environment.get_template(file).map_err(|error| invalid(file, &error))?;
        template.render(Serde(values)).map_err(|error| invalid(file, &error))
    }
}

/// Whether a template has more than comments and blanks.
fn says_something(text: &str) -> bool {
    text.split("{#").enumerate().any(|(at, part)| {
        let told = if at == 0 { part } else { part.split_once("#}").map_or("", |(_, behind)| behind) };
        !told.trim().is_empty()
    })
}

/// A choice among names, as an opening writes it: `{a|b}`. Names that would end it are left out; nothing of none.
fn some(names: Vec<String>) -> String {
    let fit: Vec<String> = names.into_iter().filter(|name| !name.contains(['{', '|', '}'])).collect();
    if fit.is_empty() { String::new() } else { format!("{{{}}}", fit.join("|")) }
}

/// `the account a`, `the accounts a and b`; nothing of none.
fn accounts(names: Vec<String>) -> String {
    match names.len() {
        0 => String::new(),
        1 => format!("the account {}", listed(&names)),
        _ => format!("the accounts {}", listed(&names)),
    }
}

/// Parts as one sentence that begins with a capital; empty ones are left out.
fn sentence(mut parts: Vec<String>) -> String {
    parts.retain(|part| !part.is_empty());
    let text = listed(&parts);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A profile's sources, in the order of [`SOURCES`].
fn sources(profile: Profile) -> Vec<String> {
    let large = |name| LARGE.iter().find(|(known, _)| profile == Profile::Large && *known == name);
    SOURCES
        .iter()
        .map(|source| large(source.name).map_or(source.default, |(_, text)| *text).to_owned())
        .collect()
}

fn override_from(folder: &Path, sources: &mut [String]) -> Result<(), TemplateError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TemplateError::Io { path, source }
    };
    for entry in std::fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let slot = SOURCES.iter().zip(sources.iter_mut()).find(|(source, _)| source.file == name);
        let Some((_, slot)) = slot else {
            let names: Vec<&str> = Templates::file_names().collect();
            return Err(TemplateError::UnknownFile { path, names: names.join(", ") });
        };
        *slot = std::fs::read_to_string(&path).map_err(io(&path))?;
    }
    Ok(())
}

fn check_values(environment: &Environment<'static>, source: &Source) -> Result<(), TemplateError> {
    let template = environment.get_template(source.file).map_err(|error| invalid(source.file, &error))?;
    // Sorted, so that the same folder always gives the same error.
    let used: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    for value in used {
        if !source.values.contains(&value.as_str()) && !BUILT_IN.contains(&value.as_str()) {
            let given = match source.values {
                [] => "no values".to_owned(),
                values => values.join(", "),
            };
            return Err(TemplateError::UnknownValue { file: source.file, value, given });
        }
    }
    Ok(())
}

fn invalid(file: &'static str, error: &minijinja::Error) -> TemplateError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    TemplateError::Invalid { file, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_goes_by_the_size_of_the_model_and_by_its_name() {
        assert_eq!([134_515_008, 1_543_714_304].map(Profile::of), Profile::ALL);
        let [small, large] = Profile::ALL.map(|profile| Templates::built_in(profile).unwrap().digest());
        assert_ne!(small, large);
        let named = |name: &str| Templates::load(Some(Path::new(name))).map(|templates| templates.digest());
        assert_eq!([named("small").unwrap(), named("large").unwrap()], [small.clone(), large]);
        assert_eq!(Templates::load(None).unwrap().digest(), small);
        assert!(named("./large").is_err(), "a folder of that name is another thing");
    }
}
