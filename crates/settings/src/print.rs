//! What is in force, as a file with settings.

use std::fmt::Write;

use clap::{Arg, ArgAction};
use toml::Value;

use crate::layers::{Settings, Source};
use crate::mask::masked;

/// What no file says.
const NEVER: [&str; 4] = ["help", "version", "config", "print-config"];

impl Settings {
    /// Every setting in force with where it comes from, in TOML that can be read again. Passwords are left out.
    pub fn print(&self) -> String {
        let mut text = format!(
            "# Settings of {}. A flag goes before the environment, the environment before a file.\n",
            self.command.get_name()
        );
        for arg in self.command.get_arguments() {
            let Some(key) = arg.get_long().filter(|key| !NEVER.contains(key)) else { continue };
            let source = match self.source(arg.get_id().as_str()) {
                Source::Flag => "flag".to_owned(),
                Source::Environment(name) => format!("environment: {name}"),
                Source::File(path) => format!("file: {}", path.display()),
                Source::Default => "default".to_owned(),
            };
            // Writing to a string never fails.
            let _ = match self.value(arg) {
                Some((value, false)) => writeln!(text, "{key} = {value}  # {source}"),
                Some((value, true)) => {
                    writeln!(text, "{key} = {value}  # {source}; the password is left out")
                }
                None => writeln!(text, "# {key}: not set"),
            };
        }
        text
    }

    /// A setting in TOML, and whether a password of it is hidden.
    fn value(&self, arg: &Arg) -> Option<(String, bool)> {
        let id = arg.get_id().as_str();
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            return Some((self.matches().get_flag(id).to_string(), false));
        }
        let raw = self.matches().get_raw(id)?;
        let (mut values, mut has_password) = (Vec::new(), false);
        for value in raw {
            let (text, hidden) = masked(&value.to_string_lossy());
            has_password |= hidden;
            values.push(in_toml(text));
        }
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let value = match values.pop() {
            Some(value) if values.is_empty() && !is_list => value,
            Some(last) => {
                values.push(last);
                Value::Array(values)
            }
            None => return None,
        };
        Some((value.to_string(), has_password))
    }
}

/// Numbers, and what is on or off, are written as such if that changes nothing.
fn in_toml(text: String) -> Value {
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Value::Integer(number);
    }
    match text.as_str() {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        _ => Value::String(text),
    }
}
