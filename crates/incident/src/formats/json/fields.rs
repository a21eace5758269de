//! Reads the fields of an object, whatever shape they were written in.
//!
//! The same field is written nested (`{"rule":{"name":1}}`), dotted (`{"rule.name":1}`) or both, its value as a string, a
//! number or a list of one. What loggers write where there is nothing (`-`, `null`, `N/A`) is nothing.
//!
//! Invariant: every function takes any value, and what it returns is bounded in number. Texts are as the source wrote them;
//! [`super::Draft`] cleans them.

use std::borrow::Cow;

use serde_json::Value;

use super::super::format::Object;
use crate::{Endpoint, Timestamp};

/// Most values that are taken of a list.
const MAX_ITEMS: usize = 32;

/// Longest address or name of a host that is taken as one, in bytes.
const MAX_ADDRESS: usize = 128;

/// The fields of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a Object);

impl<'a> Fields<'a> {
    /// The value at a path such as `kibana.alert.rule.name`; `null` is none. A list of one object stands for it.
    pub(super) fn get(self, path: &str) -> Option<&'a Value> {
        if let Some(value) = self.0.get(path) {
            return (!value.is_null()).then_some(value);
        }
        path.match_indices('.').find_map(|(at, _)| {
            let inner = self.0.get(path.get(..at)?)?;
            let inner = inner.as_array().and_then(|list| list.first()).unwrap_or(inner);
            Fields(inner.as_object()?).get(path.get(at + 1..)?)
        })
    }

    /// Whether there is such a field.
    pub(super) fn has(self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// The object at a path.
    pub(super) fn object(self, path: &str) -> Option<Fields<'a>> {
        self.get(path)?.as_object().map(Fields)
    }

    /// The object that passes, this one or the one that EventBridge carries in `detail`.
    pub(super) fn itself_or_detail(self, passes: impl Fn(Fields<'a>) -> bool) -> Option<Fields<'a>> {
        [Some(self), self.object("detail")].into_iter().flatten().find(|fields| passes(*fields))
    }

    /// The objects at a path: a list of them, or one.
    pub(super) fn objects(self, path: &str) -> impl Iterator<Item = Fields<'a>> + use<'a> {
        let items = match self.get(path) {
            Some(Value::Array(items)) => items.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        items.iter().take(MAX_ITEMS).filter_map(Value::as_object).map(Fields)
    }

    /// The string at a path, and nothing else than a string: for telling formats apart.
    pub(super) fn string(self, path: &str) -> Option<&'a str> {
        self.get(path)?.as_str()
    }

    /// The value at a path as text: a string, a number, a truth value, or the first of a list.
    pub(super) fn text(self, path: &str) -> Option<Cow<'a, str>> {
        scalar(self.get(path)?)
    }

    /// The first of these paths that has a text.
    pub(super) fn first(self, paths: &[&str]) -> Option<Cow<'a, str>> {
        paths.iter().find_map(|path| self.text(path))
    }

    /// All texts at a path: those of a list, or the one.
    pub(super) fn texts(self, path: &str) -> Vec<Cow<'a, str>> {
        match self.get(path) {
            Some(Value::Array(items)) => items.iter().take(MAX_ITEMS).filter_map(scalar).collect(),
            Some(value) => scalar(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A number that is not negative, also where it is written as text, decimal or `0x…`. Fractions are dropped.
    pub(super) fn number(self, path: &str) -> Option<u64> {
        let value = self.get(path)?;
        number(value.as_array().and_then(|items| items.first()).unwrap_or(value))
    }

    /// The first of these paths that has a port. 0 is none.
    pub(super) fn port(self, paths: &[&str]) -> Option<u16> {
        paths.iter().find_map(|path| u16::try_from(self.number(path)?).ok().filter(|port| *port != 0))
    }

    /// The first of these paths that has a time.
    pub(super) fn time(self, paths: &[&str]) -> Option<Timestamp> {
        paths.iter().find_map(|path| time(self.get(path)?))
    }

    /// An end of the traffic: the first address of `addresses` and the first port of `ports`.
    pub(super) fn end(self, addresses: &[&str], ports: &[&str]) -> Option<Endpoint> {
        let address = addresses.iter().find_map(|path| self.text(path).filter(|text| is_name(text)))?;
        Some(end(&address, self.port(ports)))
    }

    /// The first of these paths that has an IP address, also with a port behind it, which is left out: the client's system
    /// drew it. Names that services have there for themselves are no ends.
    pub(super) fn address(self, paths: &[&str]) -> Option<Endpoint> {
        paths.iter().find_map(|path| address(self.get(path)?))
    }
}

/// An IP address, also with a port behind it, which is left out.
pub(super) fn address(value: &Value) -> Option<Endpoint> {
    let text = scalar(value).filter(|text| text.len() <= MAX_ADDRESS)?;
    let end = super::super::endpoint(&text, "")?;
    let is_address = end.ip().is_some_and(|ip| !ip.is_unspecified());
    is_address.then_some(Endpoint { port: None, ..end })
}

/// A path of names without the parts that are identifiers (GUIDs, long numbers, hashes), so that like records fold.
pub(super) fn without_ids(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && !is_id(part)).collect();
    parts.join("/")
}

/// Whether a text is an identifier: twelve digits or more, hexadecimal with at least three of them decimal.
pub(super) fn is_id(text: &str) -> bool {
    let bare = text.bytes().filter(|byte| *byte != b'-');
    bare.clone().count() >= 12
        && bare.clone().all(|byte| byte.is_ascii_hexdigit())
        && bare.filter(u8::is_ascii_digit).count() >= 3
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => match text.trim() {
            text if text.starts_with("0x") => u64::from_str_radix(text.get(2..)?, 16).ok(),
            text => text.parse().ok(),
        },
        _ => None,
    }
}

/// An endpoint from an address or a name. A zone behind an address (`fe80::1%eth0`) is dropped.
pub(super) fn end(address: &str, port: Option<u16>) -> Endpoint {
    let bare = address.trim().split('%').next().unwrap_or_default();
    Endpoint::new(&super::super::clean(bare, MAX_ADDRESS), port)
}

/// Whether a text can be an address or the name of a host: one word of a host's letters.
pub(in crate::formats) fn is_name(text: &str) -> bool {
    let text = text.trim();
    (1..=MAX_ADDRESS).contains(&text.len())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"'`{}()[],;|=&?*".contains(c))
}

/// A text, number or truth value; of a list the first. Nothing for what stands for nothing.
pub(super) fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !is_unset(text)).map(Cow::Borrowed),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Array(items) => match items.first()? {
            Value::Array(_) => None,
            first => scalar(first),
        },
        Value::Null | Value::Object(_) => None,
    }
}

fn is_unset(text: &str) -> bool {
    matches!(
        text,
        "" | "-" | "--" | "null" | "(null)" | "(none)" | "None" | "none" | "N/A" | "n/a" | "<NA>" | "?"
    )
}

/// A time as text (ISO 8601 with or without a space before its zone, Snort's form, PowerShell's `/Date(…)/`) or as a
/// number since 1970.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(whole) => since_epoch(whole),
            // A double holds microseconds of this century exactly.
            None => since_epoch(i64::try_from(whole(number.as_f64()? * 1e6 + 0.5)?).ok()?),
        },
        Value::String(text) => {
            let text = text.trim();
            if let Some(number) = text.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/")) {
                return since_epoch(number.parse().ok()?);
            }
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                return since_epoch(text.parse().ok()?);
            }
            if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return time(&Value::from(text.parse::<f64>().ok()?));
            }
            // `Jun 3, 2026 @ 12:59:31.342`, as Kibana shows times.
            if let Some((date, clock)) = text.split_once(" @ ") {
                let text = format!("{} {clock}", date.replace(',', ""));
                return Timestamp::parse(&text);
            }
            match text.rsplit_once(' ') {
                Some((clock, "UTC" | "GMT")) => {
                    Timestamp::parse_prefix(&format!("{clock}Z")).map(|(time, _)| time)
                }
                Some((_, "AM" | "PM")) => Timestamp::parse_half_days(text),
                // `12:59:31.342 +02:00`: the zone counts.
                Some((clock, zone)) if is_zone(zone) => {
                    Timestamp::parse_prefix(&format!("{clock}{zone}")).map(|(time, _)| time)
                }
                _ => Timestamp::parse_prefix(text).map(|(time, _)| time),
            }
        }
        Value::Array(items) => items.first().filter(|first| !first.is_array()).and_then(time),
        _ => None,
    }
}

fn is_zone(text: &str) -> bool {
    text == "Z"
        || text.strip_prefix(['+', '-']).is_some_and(|rest| {
            rest.len() >= 4 && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
        })
}

/// A moment from a whole number since 1970; its size tells seconds, milliseconds, microseconds and nanoseconds apart, each
/// for moments between 1973 and 5138.
fn since_epoch(number: i64) -> Option<Timestamp> {
    let per_second = match number {
        ..0 => return None,
        0..100_000_000_000 => 1,
        100_000_000_000..100_000_000_000_000 => 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let micro = u128::try_from(number % per_second).ok()? * 1_000_000 / u128::try_from(per_second).ok()?;
    Timestamp::from_epoch(number / per_second, u32::try_from(micro).ok()?)
}

/// The whole part of a number that is not negative and exact in a double.
fn whole(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (0.0..9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn fields_are_found_nested_dotted_and_mixed() {
        for text in [
            r#"{"a":{"b":{"c":"x"}}}"#,
            r#"{"a.b.c":"x"}"#,
            r#"{"a.b":{"c":"x"}}"#,
            r#"{"a":{"b.c":["x","y"]}}"#,
            r#"{"a":[{"b":{"c":" x "}}]}"#,
        ] {
            let object = object(text);
            assert_eq!(Fields(&object).text("a.b.c").as_deref(), Some("x"), "{text}");
        }
        let other = object(r#"{"a":"x","a.c":null,"b":"-","c":"null","d":[],"e":{}}"#);
        for path in ["a.b.c", "a.c", "b", "c", "d", "e", "f", "", "."] {
            assert_eq!(Fields(&other).text(path), None, "{path}");
        }
    }

    #[test]
    fn numbers_are_read_from_texts_too() {
        let object =
            object(r#"{"a":22,"b":"22","c":22.0,"d":"0x16","e":-1,"f":"x","g":[22],"h":0,"i":99999}"#);
        let fields = Fields(&object);
        for path in ["a", "b", "c", "d", "g"] {
            assert_eq!((fields.number(path), fields.port(&[path])), (Some(22), Some(22)), "{path}");
        }
        for path in ["e", "f", "h", "i", "z"] {
            assert_eq!(fields.port(&[path]), None, "{path}");
        }
    }

    #[test]
    fn times_of_all_kinds_are_one_moment() {
        for text in [
            "1780491571.342001",
            r#""1780491571.342001""#,
            "1780491571342001",
            "1780491571342001000",
            r#""2026-06-03T12:59:31.342001Z""#,
            r#""2026-06-03T12:59:31.342001+0000""#,
            r#""2026-06-03 14:59:31.342001 +02:00""#,
            r#""2026-06-03T12:59:31.3420010Z""#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let time = time(&value).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(time.to_string(), "2026-06-03T12:59:31.342001", "{text}");
        }
        assert_eq!(
            time(&Value::from("/Date(1780491571342)/")).unwrap().to_string(),
            "2026-06-03T12:59:31.342000"
        );
        assert_eq!(time(&Value::from(1_780_491_571)).unwrap().to_string(), "2026-06-03T12:59:31.000000");
        for value in
            [Value::from(-1), Value::from("soon"), Value::from(f64::MAX), Value::from(""), Value::Null]
        {
            assert_eq!(time(&value), None, "{value}");
        }
    }

    #[test]
    fn an_address_is_read_with_or_without_a_port() {
        for text in ["203.0.113.9", "203.0.113.9:51234", "[203.0.113.9]:51234", "::ffff:203.0.113.9"] {
            let object = Object::from_iter([("a".to_owned(), Value::from(text))]);
            let read = Fields(&object).address(&["b", "a"]);
            assert_eq!(read, Some(Endpoint::new("203.0.113.9", None)), "{text}");
        }
        for text in
            ["gce-internal-ip", "0.0.0.0", "203.0.113.0/24", "x 203.0.113.9", "203.0.113.9, 203.0.113.8"]
        {
            let object = Object::from_iter([("a".to_owned(), Value::from(text))]);
            assert_eq!(Fields(&object).address(&["a"]), None, "{text}");
        }
    }

    #[test]
    fn identifiers_are_left_out_of_paths() {
        let path =
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/shop/backup01/deadbeef";
        assert_eq!(without_ids(path), "subscriptions/resourceGroups/shop/backup01/deadbeef");
    }

    #[test]
    fn an_end_is_an_address_or_a_name_of_one_word() {
        let object =
            object(r#"{"a":"::ffff:10.0.3.17","b":"fe80::1%eth0","c":"Shut down db01","d":"-","p":"22"}"#);
        let fields = Fields(&object);
        assert_eq!(fields.end(&["d", "a"], &["p"]), Some(Endpoint::new("10.0.3.17", Some(22))));
        assert_eq!(fields.end(&["b"], &[]), Some(Endpoint::new("fe80::1", None)));
        assert_eq!(fields.end(&["c"], &["p"]), None);
    }
}
