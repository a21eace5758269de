//! Comma-separated values with a header, as RFC 4180 has them, one record to a line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::DataError;

/// No data file is larger than this; a larger one is something else.
const MAX_BYTES: u64 = 64 << 20;

/// The text of a data file.
pub(super) fn read_text(path: &Path) -> Result<String, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(malformed(path, 1, "file", format!("is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

pub(super) fn malformed(path: &Path, line: usize, field: &'static str, reason: String) -> DataError {
    DataError::Malformed { path: path.to_owned(), line, field, reason }
}

/// The records of a file with this header, each with its line.
pub(super) fn records<const N: usize>(
    path: &Path,
    text: &str,
    header: [&'static str; N],
) -> Result<Vec<(usize, [String; N])>, DataError> {
    let mut lines = (1..).zip(text.lines());
    let first = lines.next().map(|(_, line)| line.trim_start_matches('\u{feff}')).unwrap_or_default();
    if first != header.join(",") {
        let shown: String = first.chars().take(80).collect();
        return Err(malformed(path, 1, "header", format!("is {shown:?}, not {:?}", header.join(","))));
    }
    let mut out = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fields = split(line)
            .ok_or_else(|| malformed(path, number, "record", "a quotation mark is not closed".to_owned()))?;
        let count = fields.len();
        let fields = <[String; N]>::try_from(fields).map_err(|_| {
            malformed(path, number, "record", format!("has {count} fields, not the {N} of the header"))
        })?;
        out.push((number, fields));
    }
    Ok(out)
}

/// The fields of a record; nothing if a quotation mark is not closed.
fn split(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        // There is always a last field.
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(split("a,\"b, \"\"c\"\"\",").unwrap(), ["a", "b, \"c\"", ""]);
        assert_eq!(split("a,b \"c\"").unwrap(), ["a", "b \"c\""]);
        assert_eq!(split("a,\"b"), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let path = Path::new("x.csv");
        let error = |text: &str| records(path, text, ["a", "b"]).unwrap_err().to_string();
        assert_eq!(error("a;b\n"), r#"x.csv, line 1, header: is "a;b", not "a,b""#);
        assert_eq!(error("a,b\n1,2\n\n1\n"), "x.csv, line 4, record: has 1 fields, not the 2 of the header");
        assert_eq!(error("a,b\n1,\"2\n"), "x.csv, line 2, record: a quotation mark is not closed");
        assert!(records(path, "\u{feff}a,b\n", ["a", "b"]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_fields_round_trip(fields in proptest::collection::vec("[^\r\n]{0,12}", 1..6)) {
            let quoted: Vec<String> =
                fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            prop_assert_eq!(split(&quoted.join(",")), Some(fields));
        }
    }
}
