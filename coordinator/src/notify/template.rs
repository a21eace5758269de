//! Templates of what is posted: a JSON document in whose strings values of the notification are shown, in the language of Jinja.
//!
//! `{"text": "{{ title }}: {{ action }}"}` is one. A string is rendered by itself and stays a string, whatever the values hold: they
//! cannot end it, nor add a field. Names of fields and everything that is no string are taken as they are. Beside what Jinja brings,
//! `{{ action | slack }}` shows a text in Slack's mrkdwn, and `{{ action | markdown }}` in Markdown, without its markup.

use std::thread;

use countermove_incident::printable_line;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// Bytes of a template at most.
pub(super) const LONGEST: u64 = 256 << 10;

/// Instructions that rendering a string may run, each of them paying for some bytes of what is made: a sound one takes a few hundred.
const FUEL: u64 = 50_000;

/// Longest string of a template, in bytes.
const LONGEST_STRING: usize = 16 << 10;
/// Stack that a string is read and rendered on, in bytes of address space. The library bounds neither how deep an expression nests nor
/// how deep a value does; the deepest is one level for each byte or instruction or so.
const STACK: usize = 512 << 20;

/// A template, read.
#[derive(Debug)]
pub(super) struct Template {
    /// The strings that are rendered, by their places.
    strings: Environment<'static>,
    document: Value,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, and where, as the rest of a sentence.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let document: Value =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let mut strings = Environment::new();
        // What is rendered is a string's content; that it stays inside is JSON's writer's business.
        strings.set_auto_escape_callback(|_| AutoEscape::None);
        strings.set_undefined_behavior(UndefinedBehavior::Strict);
        strings.set_fuel(Some(FUEL));
        strings.add_filter("slack", slack);
        strings.add_filter("markdown", markdown);
        let mut add = |place: &str, text: &str| {
            if text.len() > LONGEST_STRING {
                return Err(printable_line(&format!(
                    "the string at {place} has more than {LONGEST_STRING} bytes"
                )));
            }
            let added = strings.add_template_owned(place.to_owned(), text.to_owned());
            added.map(|()| String::new()).map_err(|error| problem(place, &error))
        };
        deep(|| each(&document, "", &mut add))?;
        Ok(Self { strings, document })
    }

    /// The document with what the notification says.
    ///
    /// # Errors
    /// What cannot be rendered, and where, as the rest of a sentence.
    pub(super) fn render(&self, told: &Value) -> Result<Value, String> {
        let told = minijinja::Value::from(Serde(told));
        let render = |place: &str, _: &str| {
            let rendered = self.strings.get_template(place).and_then(|template| template.render(&told));
            rendered.map_err(|error| problem(place, &error))
        };
        deep(|| each(&self.document, "", &mut { render }))
    }
}

/// Does something on a stack that has room for whatever a template can nest.
fn deep<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("template".to_owned()).stack_size(STACK);
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|error| format!("there is no thread for it: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("its rendering broke off".to_owned()))
    })
}

fn problem(place: &str, error: &minijinja::Error) -> String {
    let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let place = if place.is_empty() { "/" } else { place };
    // Names of fields may hold anything.
    printable_line(&format!("the string at {place}: {reason}"))
}

/// The value with each of its strings replaced. The place of a string is its JSON pointer.
fn each(
    value: &Value,
    place: &str,
    replace: &mut impl FnMut(&str, &str) -> Result<String, String>,
) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(replace(place, text)?),
        Value::Array(all) => {
            let all =
                all.iter().enumerate().map(|(index, one)| each(one, &format!("{place}/{index}"), replace));
            Value::Array(all.collect::<Result<_, _>>()?)
        }
        Value::Object(all) => {
            let mut done = Map::with_capacity(all.len());
            for (key, one) in all {
                done.insert(key.clone(), each(one, &format!("{place}/{key}"), replace)?);
            }
            Value::Object(done)
        }
        other => other.clone(),
    })
}

/// A text in Slack's mrkdwn: what makes links, mentions and markup does not. What has a character of no width before it begins nothing.
fn slack(text: &str) -> String {
    escaped(text, "*_~`", '\u{200b}')
}

/// A text in Markdown, with every character escaped that could be markup.
fn markdown(text: &str) -> String {
    escaped(text, "\\`*_{}[]()#|!~", '\\')
}

/// The text with `guard` before each of these marks, and with what begins or ends a tag or a reference of HTML as a reference.
fn escaped(text: &str, marks: &str, guard: char) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if marks.contains(c) => out.extend([guard, c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_are_rendered_and_everything_else_stays() {
        let text = r#"{"text": "{{ title }}", "n": 3, "a/b": [true, null, "{% for one in takes_down %}[{{ one }}]{% endfor %}"]}"#;
        let told = json!({"title": "x \"y\"", "takes_down": ["a", "b"]});
        let rendered = Template::new(text).unwrap().render(&told).unwrap();
        assert_eq!(rendered, json!({"text": "x \"y\"", "n": 3, "a/b": [true, null, "[a][b]"]}));
    }

    #[test]
    fn what_cannot_be_rendered_says_where() {
        for (text, expected) in [
            ("{", "it is no JSON"),
            (r#"{"a": ["{{ title"]}"#, "the string at /a/0"),
            (r#"{"a": "{{ title | nothing }}"}"#, "the string at /a"),
            (
                r#"{"a": "{% for i in range(9999) %}{% for k in range(9999) %}{% endfor %}{% endfor %}"}"#,
                "fuel",
            ),
            (r#"{"a": "{{ title * 99999999 }}"}"#, "fuel"),
            (r#"{"a\nb": "{{ x"}"#, "the string at /a b"),
        ] {
            let refused =
                Template::new(text).and_then(|template| template.render(&json!({"title": "x"}))).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        let unknown =
            Template::new(r#"{"b": "{{ titel }}"}"#).unwrap().render(&json!({"title": "x"})).unwrap_err();
        assert!(unknown.contains("the string at /b"), "{unknown}");
    }

    #[test]
    fn however_deep_a_template_nests_it_is_rendered_or_refused() {
        let nests = "{% set n = namespace(x=[]) %}{% for i in range(9000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}";
        let full = |unit: &str| format!("{{{{ {}1 }}}}", unit.repeat((LONGEST_STRING - 8) / unit.len()));
        for string in [nests.to_owned(), full("not "), full("-"), full("("), full("[")] {
            let template = Template::new(&json!({ "a": string }).to_string());
            let rendered = template.and_then(|template| template.render(&json!({})));
            assert!(rendered.is_ok() || !rendered.unwrap_err().is_empty());
        }
        let long = Template::new(&json!({ "a": "x".repeat(LONGEST_STRING + 1) }).to_string());
        assert!(long.unwrap_err().contains("the string at /a has more than"));
    }

    #[test]
    fn markup_of_a_text_is_none() {
        assert_eq!(
            slack("<!channel> <http://x|y> *b* & c"),
            "&lt;!channel&gt; &lt;http://x|y&gt; \u{200b}*b\u{200b}* &amp; c"
        );
        assert_eq!(markdown("[a](http://x) <b> *c*"), "\\[a\\]\\(http://x\\) &lt;b&gt; \\*c\\*");
    }

    proptest! {
        #[test]
        fn no_text_becomes_structure(title in any::<String>()) {
            let template = Template::new(r#"{"text": "{{ title }}", "deep": {"text": "{{ title | slack }}{{ title | markdown }}"}}"#).unwrap();
            let rendered = template.render(&json!({"title": title})).unwrap();
            prop_assert_eq!(rendered.as_object().unwrap().len(), 2);
            prop_assert_eq!(&rendered["text"], &json!(title));
            let deep = rendered["deep"]["text"].as_str().unwrap();
            prop_assert!(!deep.contains(['<', '>']));
            let written = serde_json::to_vec(&rendered).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), rendered);
        }
    }
}
