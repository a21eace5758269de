//! Reads Snort's `classification.config`.

use std::path::Path;

use super::DataError;
use super::table::{malformed, read_text};

/// A class of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// Short name, such as `attempted-recon`.
    pub(crate) short_name: String,
    /// Description as alerts print it.
    pub(crate) description: String,
    /// Priority of its rules.
    pub(crate) priority: u8,
}

/// Reads lines of the form `config classification: name,description,priority`.
pub(crate) fn read_classes(path: &Path) -> Result<Vec<Class>, DataError> {
    let text = read_text(path)?;
    (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| class(path, number, line))
        .collect()
}

fn class(path: &Path, number: usize, line: &str) -> Result<Class, DataError> {
    let bad = |field, reason: &str| malformed(path, number, field, reason.to_owned());
    let value = line
        .strip_prefix("config classification:")
        .ok_or_else(|| bad("line", "does not begin with `config classification:`"))?;
    let mut fields = value.splitn(3, ',').map(str::trim);
    let mut next =
        |field| fields.next().filter(|text| !text.is_empty()).ok_or_else(|| bad(field, "is missing"));
    let (short_name, description, priority) = (next("name")?, next("description")?, next("priority")?);
    let priority = priority
        .parse()
        .ok()
        .filter(|priority| (1..=4).contains(priority))
        .ok_or_else(|| bad("priority", "is not a number from 1 to 4"))?;
    Ok(Class { short_name: short_name.to_owned(), description: description.to_owned(), priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_wrong_ones_named() {
        let path = Path::new("c");
        let read = |line: &str| class(path, 3, line);
        let class = read("config classification: misc-attack, Misc Attack , 2").unwrap();
        assert_eq!((class.short_name.as_str(), class.description.as_str()), ("misc-attack", "Misc Attack"));
        for (line, error) in [
            ("classification: x,y,1", "c, line 3, line: does not begin with `config classification:`"),
            ("config classification: x", "c, line 3, description: is missing"),
            ("config classification: x,y", "c, line 3, priority: is missing"),
            ("config classification: x,y,9", "c, line 3, priority: is not a number from 1 to 4"),
        ] {
            assert_eq!(read(line).unwrap_err().to_string(), error);
        }
    }
}
