//! `key=value` pairs as daemons write them: values bare, or in single or double quotation marks.

/// A key, its value without quotation marks, and whether it stood in double ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::formats) struct Pair<'a> {
    pub(in crate::formats) key: &'a str,
    pub(in crate::formats) value: &'a str,
    pub(super) is_quoted: bool,
}

/// The pairs of a text in order. Text that is no pair is passed over. A value in single quotation marks that begins with a pair
/// itself, as in auditd's `msg='op=login acct="root"'`, is gone into.
pub(in crate::formats) fn pairs(text: &str) -> impl Iterator<Item = Pair<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest =
                rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '\'' | ';' | ',' | '('));
            if rest.is_empty() {
                return None;
            }
            let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let Some(equals) = rest.get(..word).and_then(|word| word.find('=')).filter(|at| *at > 0) else {
                rest = rest.get(word..).unwrap_or_default();
                continue;
            };
            let (key, behind) = (rest.get(..equals)?, rest.get(equals + 1..)?);
            if behind.starts_with('\'') && is_pair(behind) {
                rest = behind;
                continue;
            }
            let (value, next) = value(behind);
            rest = next;
            return Some(Pair { key, value, is_quoted: behind.starts_with('"') });
        }
    })
}

/// The value of the first pair with this key; nothing if it is missing or empty.
pub(super) fn find<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    pairs(text).find(|pair| pair.key == key).map(|pair| pair.value).filter(|value| !value.is_empty())
}

/// The value of a key that stands once among the parts of a line: one that others could write again says nothing.
pub(super) fn only<'a>(parts: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    let mut found = parts.filter_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    found.next().filter(|_| found.next().is_none())
}

fn is_pair(quoted: &str) -> bool {
    let inner = quoted.trim_start_matches('\'');
    let word = inner.split(char::is_whitespace).next().unwrap_or_default();
    word.find('=').is_some_and(|at| at > 0)
}

/// A value at the beginning of a text, and what stands behind it.
fn value(text: &str) -> (&str, &str) {
    for mark in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(mark) {
            let end = inner.match_indices(mark).map(|(at, _)| at).find(|at| closes(inner, *at));
            let end = end.or_else(|| inner.find(mark)).unwrap_or(inner.len());
            return (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default());
        }
    }
    let (value, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    (value.trim_end_matches(['\'', ',', ';']), rest)
}

/// Whether a quotation mark in a value ends it: nothing or another pair follows. Writers that do not escape the marks of what others
/// chose would else let them begin pairs of their own.
fn closes(text: &str, at: usize) -> bool {
    let behind = text.get(at + 1..).unwrap_or_default().trim_start_matches([',', ';', ')', ']', '\'']);
    let next = behind.trim_start();
    // No further than a key reaches: each mark of a line of nothing but marks is asked about.
    let rest = next.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-.:'".contains(c));
    let is_key = rest.len() < next.len() && rest.starts_with('=');
    next.is_empty() || is_key && next.len() < behind.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_every_kind_are_found() {
        let text = "audit: pid=1 msg='op=PAM:auth acct=\"root x=1\" addr=203.0.113.9 res=failed' name='a b' last=, =x y";
        let all: Vec<_> = pairs(text).map(|pair| (pair.key, pair.value)).collect();
        assert_eq!(
            all,
            [
                ("pid", "1"),
                ("op", "PAM:auth"),
                ("acct", "root x=1"),
                ("addr", "203.0.113.9"),
                ("res", "failed"),
                ("name", "a b"),
                ("last", "")
            ]
        );
        assert_eq!(find(text, "addr"), Some("203.0.113.9"));
        assert_eq!(find(text, "x"), None);
        assert_eq!(find(text, "last"), None);
        let forged = "message=\"he said \"stop\". src=203.0.113.9 \"so\" user=root\" host=web01";
        let all: Vec<_> = pairs(forged).map(|pair| (pair.key, pair.value)).collect();
        let said = "he said \"stop\". src=203.0.113.9 \"so";
        assert_eq!(
            all,
            [("message", said), ("user", "root\""), ("host", "web01")],
            "one that looks like a pair is one"
        );
        let told = "message=\"he said \"stop\". src=203.0.113.9\" host=web01";
        assert_eq!(find(told, "message"), Some("he said \"stop\". src=203.0.113.9"));
        assert_eq!((find(told, "src"), find(told, "host")), (None, Some("web01")));
        assert_eq!(
            pairs("k=\"open").collect::<Vec<_>>(),
            [Pair { key: "k", value: "open", is_quoted: true }]
        );
    }
}
