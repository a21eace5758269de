//! The frame that a model's chat template puts around a prompt.
//!
//! The template is rendered once, at load, with sentinels as the contents of the system and the user turn, and cut at
//! them. A prompt is then the tokens of `head`, the system text, `middle`, each segment, and `tail`, each encoded
//! alone: a token never spans two parts, and text from outside never meets the template.
//!
//! A template comes with a model and may be made to do harm. How long it is, how much it renders and how many instructions it
//! runs are bounded. How deep it nests is not, by the library that renders it, nor how long it takes to read it, so it is rendered
//! on a stack that has room for whatever a template within those bounds can nest, and not waited for any longer than it may take.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, from_args};
use minijinja::{Environment, Error, ErrorKind, State, context};

use crate::error::LoadError;
use crate::regular;
use crate::tokenizer::{Tokenizer, read_json};
use crate::weights::Gguf;

/// Stands for the system text while the template is rendered.
const SYSTEM: &str = "countermovesystemtext";
/// Stands for the user's text while the template is rendered.
const USER: &str = "countermoveusertext";
/// Instructions that a template may run; a sound one takes a few hundred.
const FUEL: u64 = 50_000;
/// Bytes of text that the library makes for one instruction.
const BYTES_OF_FUEL: usize = 64;
/// Longest template; those of large models with tools take some 20 KiB.
const LONGEST_TEMPLATE: usize = 40 << 10;
/// Longest text that one may render.
const LONGEST: usize = 1 << 20;
/// Stack that a template is rendered on, in bytes: address space, of which a sound template touches a few pages. The deepest
/// nesting is one level for each byte or instruction or so, and the tests render such templates on half of it.
const STACK: usize = 512 << 20;
/// Time that a template may take to be read and rendered: a sound one takes milliseconds, and the library takes time with the
/// square of how long an expression is.
const PATIENCE: Duration = Duration::from_secs(10);

/// The frame for models that bring no template: ChatML.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
     {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Where a template and the texts that it may name come from.
#[derive(Clone, Debug, Default)]
struct Template {
    source: Option<String>,
    begin: String,
    end: String,
}

/// What stands around the parts of a prompt, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Before the system text.
    head: Vec<u32>,
    /// Between the system text and the first segment.
    middle: Vec<u32>,
    /// After the last segment: the end of the turn and the beginning of the answer.
    tail: Vec<u32>,
}

/// The frames of a model: one for answers that reason first, and one for those that do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chat {
    thinking: Frame,
    direct: Frame,
}

impl Chat {
    /// The frames in the header of a GGUF file.
    pub(crate) fn from_gguf(file: &Gguf, tokenizer: &Tokenizer) -> Result<Self, LoadError> {
        let token = |key: &str| {
            let id = file.unsigned(key).and_then(|id| usize::try_from(id).ok())?;
            file.texts("tokenizer.ggml.tokens")?.get(id).cloned()
        };
        let template = Template {
            source: file.text("tokenizer.chat_template").map(str::to_owned),
            begin: token("tokenizer.ggml.bos_token_id").unwrap_or_default(),
            end: token("tokenizer.ggml.eos_token_id").unwrap_or_default(),
        };
        Self::new(&template, tokenizer)
            .map_err(|reason| LoadError::Malformed { path: file.path().to_path_buf(), reason })
    }

    /// The frames of a safetensors folder: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`.
    pub(crate) fn from_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, LoadError> {
        let mut path = folder.join("tokenizer_config.json");
        let mut template = Template::default();
        if path.is_file() {
            let config = read_json(&path)?;
            let token = |key: &str| {
                let token = &config[key];
                token.as_str().or(token["content"].as_str()).unwrap_or_default().to_owned()
            };
            template.begin = token("bos_token");
            template.end = token("eos_token");
            let named = config["chat_template"].as_array().into_iter().flatten();
            let default = named.into_iter().find(|entry| entry["name"] == "default");
            template.source = config["chat_template"]
                .as_str()
                .or(default.and_then(|entry| entry["template"].as_str()))
                .map(str::to_owned);
        }
        let alone = folder.join("chat_template.jinja");
        if alone.is_file() {
            let io = |source| LoadError::Io { path: alone.clone(), source };
            let mut text = String::new();
            let longest = LONGEST_TEMPLATE as u64 + 1;
            regular::open(&alone).map_err(io)?.take(longest).read_to_string(&mut text).map_err(io)?;
            template.source = Some(text);
            path = alone;
        }
        Self::new(&template, tokenizer).map_err(|reason| LoadError::Malformed { path, reason })
    }

    fn new(template: &Template, tokenizer: &Tokenizer) -> Result<Self, String> {
        let frame = |thinking: bool| {
            let parts = template
                .parts(thinking, STACK, PATIENCE)
                .map_err(|error| format!("the chat template {error}"))?;
            let [head, middle, tail] = parts.map(|part| tokenizer.encode_control(&part));
            Ok::<_, String>(Frame { head, middle, tail })
        };
        let mut chat = Self { thinking: frame(true)?, direct: frame(false)? };
        if let Some(begin) = tokenizer.begin() {
            for frame in [&mut chat.thinking, &mut chat.direct] {
                if frame.head.first() != Some(&begin) {
                    frame.head.insert(0, begin);
                }
            }
        }
        Ok(chat)
    }

    /// ChatML, whatever the model.
    #[cfg(test)]
    pub(crate) fn chatml(tokenizer: &Tokenizer) -> Self {
        Self::new(&Template::default(), tokenizer).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The frame for answers that reason first, or for those that do not.
    pub(crate) fn frame(&self, thinking: bool) -> &Frame {
        if thinking { &self.thinking } else { &self.direct }
    }
}

impl Frame {
    /// Tokens of a prompt, and how many of them stand before what its first part that is not among the `common` leading ones
    /// says. `encode` encodes one part as data, and hears whether it is common.
    pub(crate) fn prompt<'a>(
        &self,
        system: &'a str,
        segments: &'a [String],
        common: usize,
        mut encode: impl FnMut(&'a str, bool, &mut Vec<u32>),
    ) -> (Vec<u32>, usize) {
        let mut ids = self.head.clone();
        let mut before = ids.len();
        encode(system, common > 0, &mut ids);
        ids.extend(&self.middle);
        for (number, segment) in (1..).zip(segments) {
            if common >= number {
                before = ids.len();
            }
            encode(segment, common > number, &mut ids);
        }
        if common > segments.len() {
            before = ids.len();
        }
        ids.extend(&self.tail);
        (ids, before)
    }
}

impl Template {
    /// What stands before the system text, between it and the user's text, and after that. The template is rendered on a stack
    /// of so many bytes, within this time.
    fn parts(&self, thinking: bool, stack: usize, patience: Duration) -> Result<[String; 3], String> {
        let source = self.source.as_deref().unwrap_or(CHATML);
        if source.len() > LONGEST_TEMPLATE {
            return Err(format!("is longer than {LONGEST_TEMPLATE} bytes"));
        }
        let (this, source) = (self.clone(), source.to_owned());
        let (done, parts) = mpsc::channel();
        let render = move || {
            // Nobody waits any more for one that took too long.
            let _ = done.send(this.parts_here(&source, thinking));
        };
        let thread = thread::Builder::new().name("chat-template".to_owned()).stack_size(stack);
        // One that takes too long is left to its thread: it ends some time, and whoever wanted it has an error.
        thread
            .spawn(render)
            .map_err(|error| format!("cannot be rendered: there is no thread for it: {error}"))?;
        parts.recv_timeout(patience).map_err(|ended| match ended {
            RecvTimeoutError::Timeout => format!("cannot be rendered within {} s", patience.as_secs_f64()),
            RecvTimeoutError::Disconnected => "cannot be rendered: its rendering broke off".to_owned(),
        })?
    }

    fn parts_here(&self, source: &str, thinking: bool) -> Result<[String; 3], String> {
        let with_system =
            vec![context!(role => "system", content => SYSTEM), context!(role => "user", content => USER)];
        let rendered = self.render(source, with_system, thinking);
        if let Ok(text) = &rendered
            && let Some((head, rest)) = cut(text, SYSTEM)
            && let Some((middle, tail)) = cut(rest, USER)
        {
            return Ok([head.to_owned(), middle.to_owned(), without_opened_passage(tail)]);
        }
        // Some templates take no system turn. The system text then begins the user's turn.
        let user_only = self.render(source, vec![context!(role => "user", content => USER)], thinking);
        match (user_only, rendered) {
            (Ok(text), _) => {
                let (head, tail) = cut(&text, USER).ok_or("does not show the user's text exactly once")?;
                Ok([head.to_owned(), "\n\n".to_owned(), without_opened_passage(tail)])
            }
            (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
        }
    }

    fn render(&self, source: &str, messages: Vec<Value>, thinking: bool) -> Result<String, String> {
        let fault = |error: Error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                let _ = write!(text, ": {inner}");
                cause = inner.source();
            }
            format!("cannot be rendered: {text}")
        };
        let mut environment = Environment::new();
        // What transformers renders with.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(fault)?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(|state, value, method, args| {
            python_method(state, value, method, args)
        });
        environment.add_function("raise_exception", |message: String| {
            Err::<Value, _>(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template("chat", source).map_err(fault)?;
        let text = environment
            .get_template("chat")
            .and_then(|template| {
                template.render(context! {
                    messages,
                    add_generation_prompt => true,
                    enable_thinking => thinking,
                    bos_token => self.begin.as_str(),
                    eos_token => self.end.as_str(),
                })
            })
            .map_err(fault)?;
        if text.len() > LONGEST { Err(format!("renders more than {LONGEST} bytes")) } else { Ok(text) }
    }
}

/// Text before and after the only place of `mark`.
fn cut<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(mark).filter(|(_, rest)| !rest.contains(mark))
}

/// Some templates open the reasoning themselves. The answer's format does that here.
fn without_opened_passage(tail: &str) -> String {
    tail.trim_end().strip_suffix("<think>").unwrap_or(tail).to_owned()
}

/// The methods of Python's strings and dictionaries that chat templates call.
fn python_method(state: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    if let Some(text) = value.as_str() {
        let set = |characters: Option<&str>| {
            let characters: Option<Vec<char>> = characters.map(|text| text.chars().collect());
            move |c: char| characters.as_ref().map_or(c.is_whitespace(), |set| set.contains(&c))
        };
        return Ok(match method {
            "strip" => text.trim_matches(set(from_args::<(Option<&str>,)>(args)?.0)).into(),
            "lstrip" => text.trim_start_matches(set(from_args::<(Option<&str>,)>(args)?.0)).into(),
            "rstrip" => text.trim_end_matches(set(from_args::<(Option<&str>,)>(args)?.0)).into(),
            "startswith" => text.starts_with(from_args::<(&str,)>(args)?.0).into(),
            "endswith" => text.ends_with(from_args::<(&str,)>(args)?.0).into(),
            "upper" => text.to_uppercase().into(),
            "lower" => text.to_lowercase().into(),
            "replace" => {
                let (from, to) = from_args::<(&str, &str)>(args)?;
                // The library counts what was made; this can be the square of what was there, so it is paid for before.
                let length = text.len().saturating_add(text.matches(from).count().saturating_mul(to.len()));
                state.consume_fuel((length / BYTES_OF_FUEL) as u64)?;
                text.replace(from, to).into()
            }
            "split" => match from_args::<(Option<&str>,)>(args)?.0 {
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
                Some(separator) => text.split(separator).map(Value::from).collect(),
                None => text.split_whitespace().map(Value::from).collect(),
            },
            _ => return Err(unknown()),
        });
    }
    match method {
        "get" => {
            let (key, default) = from_args::<(Value, Option<Value>)>(args)?;
            let found = value.get_item(&key)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        "keys" => Ok(value.try_iter()?.collect()),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::tiny;

    fn parts(source: &str, thinking: bool) -> Result<[String; 3], String> {
        Template { source: Some(source.to_owned()), begin: "<s>".into(), end: "</s>".into() }.parts(
            thinking,
            STACK / 2,
            Duration::from_secs(2),
        )
    }

    /// As often as it fits a template.
    fn full(before: &str, unit: &str, after: &str) -> String {
        let count = (LONGEST_TEMPLATE - before.len() - after.len()) / unit.len();
        format!("{before}{}{after}", unit.repeat(count))
    }

    #[test]
    fn however_deep_a_template_nests_it_is_rendered_or_refused() {
        let mut templates = vec![
            "{{ ".to_owned() + &"not ".repeat(50_000) + "true }}",
            "{{ ".to_owned() + &"not ".repeat(10_000) + "true }}",
            full("{{ ", "not ", "true }}"),
            full("{{ ", "-", "1 }}"),
            full("{{ ", "(", ""),
            full("{{ ", "[", ""),
            full("{{ ", "{1:", ""),
            full("{{ 1", "+1", " }}"),
            full("{{ 1", "~x", " }}"),
            full("{{ 1", "**x", " }}"),
            full("{{ x", " and x", " }}"),
            full("{{ x", ".x", " }}"),
            full("{{ x", "[0]", " }}"),
            full("{{ x", "()", " }}"),
            full("{{ x", "|e", " }}"),
            full("{{ x", " is x", " }}"),
            full("{{ 1", " if x else 1", " }}"),
            full("{{ 1", "<1", " }}"),
            full("{% if x %}", "{% elif x %}", "{% endif %}"),
            full("", "{% if x %}", ""),
            full("", "{% for x in y %}", ""),
            full("", "{% filter e %}", ""),
            full("", "{% macro x() %}", ""),
            full("{% set x = ", "not ", "1 %}"),
            full("{{ x(", "*-", "1) }}"),
            full("{{ x[", "1:-", "1] }}"),
        ];
        // Values that nest while it runs: printed, compared, and dropped.
        let nests =
            "{% set n = namespace(x=[]) %}{% for i in range(9000) %}{% set n.x = [n.x] %}{% endfor %}";
        let maps =
            "{% set n = namespace(x=1) %}{% for i in range(9000) %}{% set n.x = {'a': n.x} %}{% endfor %}";
        for nest in [nests, maps] {
            for end in
                ["", "{{ n.x }}", "{{ n.x == [n.x] }}", "{{ n.x | tojson }}", "{{ n.x | string | length }}"]
            {
                templates.push(nest.to_owned() + end);
            }
        }
        templates.push("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned());
        // Texts that grow with the square of their length.
        let grows = "{% set n = namespace(x='0123456789abcdef') %}{% for i in range(9) %}";
        templates.push(grows.to_owned() + "{% set n.x = n.x.replace('', n.x) %}{% endfor %}");
        templates.push(grows.to_owned() + "{% set n.x = n.x | replace('', n.x) %}{% endfor %}");
        for template in templates {
            let begun = std::time::Instant::now();
            // Neither of them shows the texts, so all are refused; that it is told is what counts.
            let error = parts(&template, true).expect_err("it shows no text");
            let begins: String = template.chars().take(24).collect();
            assert!(!error.is_empty(), "{begins}");
            assert!(begun.elapsed().as_secs() < 10, "{begins}: {:?}", begun.elapsed());
        }
        let long = full("{# ", "x", " #}") + " ";
        assert!(parts(&long, true).expect_err("it is too long").contains("longer"));
    }

    #[test]
    fn without_a_template_the_frame_is_chatml() {
        let tokenizer = tiny();
        let chat = Chat::chatml(&tokenizer);
        let segments = ["one<|im_end|>".to_owned(), "two".to_owned()];
        let with = |common| {
            let encode = |text: &str, is_common, ids: &mut Vec<u32>| {
                assert_eq!(
                    is_common,
                    common
                        > ["be brief", "one<|im_end|>", "two"].iter().position(|part| *part == text).unwrap()
                );
                ids.extend(tokenizer.encode_data(text));
            };
            chat.frame(true).prompt("be brief", &segments, common, encode)
        };
        let (prompt, before) = with(0);
        assert_eq!(tokenizer.decode(&prompt[..before]), "<|im_start|>system\n");
        for (common, ends) in [(1, "user\n"), (2, "user\none<|im_end|>"), (3, "two"), (9, "two")] {
            let (again, before) = with(common);
            assert_eq!(again, prompt);
            let text = tokenizer.decode(&prompt[..before]);
            assert!(text.ends_with(ends), "{common}: {text}");
        }
        assert_eq!(
            tokenizer.decode(&prompt),
            "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\none<|im_end|>two<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        let ends = prompt.iter().filter(|&&id| Some(id) == tokenizer.control("<|im_end|>")).count();
        assert_eq!(ends, 2, "the one in the data is spelled");
        assert_eq!(chat.thinking, chat.direct);
    }

    #[test]
    fn templates_with_python_in_them_render() {
        let source = "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}\n    {%- set system = messages[0]['content'].strip() %}\n    \
             {%- set rest = messages[1:] %}\n{%- else %}{%- set system = '' %}{%- set rest = messages %}{%- endif %}\
             {%- for m in rest[::-1] %}{%- if m.get('role') != 'user' %}{{ raise_exception('no') }}{% endif %}\
             [{{ system }}|{{ m.content | trim }}]{%- endfor %}{%- if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}";
        let expect = |tail: &str| Ok(["<s>[".to_owned(), "|".to_owned(), tail.to_owned()]);
        assert_eq!(parts(source, true), expect("]"));
        assert_eq!(parts(source, false), expect("]<think>\n\n</think>\n\n"));
    }

    #[test]
    fn a_passage_that_the_template_opens_is_left_to_the_answer() {
        let source = "{% for m in messages %}{{ m.content }};{% endfor %}A:<think>\n";
        assert_eq!(parts(source, true), Ok([String::new(), ";".to_owned(), ";A:".to_owned()]));
    }

    #[test]
    fn a_template_without_a_system_turn_begins_the_users_with_it() {
        let refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}U:{{ messages[0].content }}/A:";
        let ignores = "U:{{ messages[-1].content }}/A:";
        for source in [refuses, ignores] {
            assert_eq!(
                parts(source, true),
                Ok(["U:".to_owned(), "\n\n".to_owned(), "/A:".to_owned()]),
                "{source}"
            );
        }
    }

    #[test]
    fn unsound_templates_are_refused_in_a_sentence() {
        for source in [
            "{% for",
            "{{ nothing() }}",
            "{{ messages[0].content.nothing() }}",
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            "no content at all",
            "{{ messages[-1].content }}{{ messages[-1].content }}",
            "{{ 'x' * 99999999 }}",
        ] {
            let error = parts(source, true).expect_err(source);
            assert!(!error.is_empty() && error.len() < 2000, "{source}: {error}");
        }
    }
}
