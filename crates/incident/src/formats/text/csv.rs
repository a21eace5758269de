//! Comma-separated fields of one line.

/// Most fields of a line; Exchange's proxy writes some ninety.
const MAX_FIELDS: usize = 128;

/// A field, and whether it stood in quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) text: &'a str,
    pub(super) is_quoted: bool,
}

/// The fields of a line without the spaces around them. A quoted field may hold commas and, behind a backslash or doubled,
/// quotation marks, which stay as they are written.
pub(super) fn fields(line: &str) -> Vec<Field<'_>> {
    let mut out = Vec::new();
    let mut rest = line.trim();
    loop {
        let (field, behind) = match rest.strip_prefix('"').and_then(|inner| Some((inner, closing(inner)?))) {
            Some((inner, end)) => {
                let behind = inner.get(end + 1..).unwrap_or_default();
                let next = behind.split_once(',').map(|(_, next)| next);
                (Field { text: inner.get(..end).unwrap_or_default(), is_quoted: true }, next)
            }
            None => {
                let (text, next) =
                    rest.split_once(',').map_or((rest, None), |(text, next)| (text, Some(next)));
                (Field { text: text.trim(), is_quoted: false }, next)
            }
        };
        out.push(field);
        match behind {
            Some(next) if out.len() < MAX_FIELDS => rest = next.trim_start(),
            _ => return out,
        }
    }
}

/// Where the quotation mark that ends the text stands.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' if bytes.get(at + 1) == Some(&b'"') => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_commas() {
        let texts = |line| fields(line).into_iter().map(|field| field.text).collect::<Vec<_>>();
        assert_eq!(texts("a , \"b, \"\"c\"\" \\\"d\" ,,e"), ["a", "b, \"\"c\"\" \\\"d", "", "e"]);
        assert_eq!(texts("\"open, b"), ["\"open", "b"]);
        assert_eq!(texts(""), [""]);
        assert_eq!(texts(&",".repeat(1000)).len(), MAX_FIELDS);
    }
}
