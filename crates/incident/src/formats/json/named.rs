//! Fields under names that are compared without case and the marks between their words, for services that write the same things
//! under names of their own: `ip_address`, `clientIp`, `CLIENT_IP`.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{self, address, scalar};
use super::{BY_NAMES, OBJECT_FORMATS, Object, meant_as};
use crate::{Endpoint, Timestamp};

/// When something happened.
const TIME: [&str; 18] = [
    "timestamp",
    "timestamp.epochsecond",
    "time",
    "isotimestamp",
    "createdat",
    "createddatetime",
    "date",
    "datecreate",
    "eventtime",
    "eventtimestamp",
    "eventcreationtime",
    "occurredat",
    "detectiontime",
    "detecteddatetime",
    "created",
    "when",
    "requesttime",
    "eventstarttime",
];

/// What services wrap an event in.
const AROUND: [&str; 4] = ["data", "event", "detail", "attributes"];

/// An object's fields. A dot in a path leads into an object, or is part of a flat name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a>(pub(super) &'a Object);

impl<'a> Named<'a> {
    /// The value at a path in lower case and without marks; `null` is none. A list of objects stands for its first.
    pub(super) fn get(self, path: &str) -> Option<&'a Value> {
        let member = |name: &str| {
            self.0
                .iter()
                .find(|(key, value)| !value.is_null() && is_called(key, name))
                .map(|(_, value)| value)
        };
        if let Some(value) = member(path) {
            return Some(value);
        }
        let (name, rest) = path.split_once('.')?;
        let value = member(name)?;
        let inner = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        Named(inner.as_object()?).get(rest)
    }

    /// The first of these paths at which there is such a thing.
    pub(super) fn first<T>(self, paths: &[&str], as_what: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        paths.iter().find_map(|path| as_what(self.get(path)?))
    }

    /// The first of these paths that has a text.
    pub(super) fn text(self, paths: &[&str]) -> Option<Cow<'a, str>> {
        self.first(paths, scalar)
    }

    /// The first of these paths that has an IP address.
    pub(super) fn address(self, paths: &[&str]) -> Option<Endpoint> {
        self.first(paths, address)
    }

    /// When it happened.
    pub(super) fn time(self) -> Option<Timestamp> {
        self.first(&TIME, fields::time)
    }

    /// All texts at these paths.
    pub(super) fn texts(self, paths: &[&str]) -> Vec<Cow<'a, str>> {
        let all = paths.iter().filter_map(|path| self.get(path)).flat_map(|value| match value {
            Value::Array(items) => items.iter().take(32).filter_map(scalar).collect(),
            value => scalar(value).into_iter().collect::<Vec<_>>(),
        });
        all.collect()
    }
}

/// The object itself or the one that a service wraps it in, if one passes.
pub(super) fn within<'a>(object: &'a Object, passes: impl Fn(Named<'a>) -> bool) -> Option<Named<'a>> {
    let inner = AROUND.iter().filter_map(|key| object.get(*key)?.as_object());
    std::iter::once(object).chain(inner).map(Named).find(|named| passes(*named))
}

/// Whether no format that has marks of its own takes the object, nor may be meant. Those that read by such names come last.
pub(super) fn is_nobodys(object: &Object) -> bool {
    let others = OBJECT_FORMATS.len().saturating_sub(BY_NAMES);
    meant_as(object).is_none() && !OBJECT_FORMATS.iter().take(others).any(|other| (other.recognises)(object))
}

/// Whether a key is this name, whatever its case and the marks between its words.
fn is_called(key: &str, name: &str) -> bool {
    // `.tag` is what Dropbox calls the kind of something.
    let key = key.trim_start_matches('.');
    let bare = key.bytes().filter(|byte| !b"_-@ ".contains(byte)).map(|byte| byte.to_ascii_lowercase());
    bare.eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_marks() {
        for text in [
            r#"{"client_ip":"x"}"#,
            r#"{"CLIENT-IP":"x"}"#,
            r#"{"clientIp":["x"]}"#,
            r#"{"client_ip":null,"clientIp":"x"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert_eq!(Named(&object).text(&["clientip"]).as_deref(), Some("x"), "{text}");
        }
        for text in [r#"{"User":{"Name":"x"}}"#, r#"{"user.name":"x"}"#, r#"{"user":[{"name":"x"}]}"#] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert_eq!(Named(&object).text(&["user.name"]).as_deref(), Some("x"), "{text}");
        }
        let other: Object = serde_json::from_str(r#"{"user":"x","name":{}}"#).unwrap();
        assert_eq!(Named(&other).text(&["user.name", "name", "z"]), None);
    }
}
