//! Tokenizers out of files: the header of a GGUF file, or the `tokenizer.json` of a safetensors folder.
//!
//! Both are byte-level BPE, the tokenizer of the Llama 3, Qwen and SmolLM families. A GGUF header names how text is
//! cut before merging (`tokenizer.ggml.pre`); what the names stand for is written down here.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::{TokenKind, Tokenizer, Vocabulary, digest};
use crate::error::LoadError;
use crate::regular;
use crate::weights::Gguf;

/// Longest `tokenizer.json` that is read. The largest known vocabularies take about 20 MB.
const LARGEST_JSON: u64 = 128 << 20;
/// Most embedding rows that may lie beyond the last token of a `tokenizer.json`, for padding.
const MOST_PADDING: usize = 1024;
/// Tokens that end a turn in the chat frames of the families that the engine runs.
const END_NAMES: [&str; 5] =
    ["<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"];

impl Tokenizer {
    /// The tokenizer in the header of a GGUF file.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] if it is incomplete, [`LoadError::Unsupported`] if it is not byte-level BPE.
    pub fn from_gguf(file: &Gguf) -> Result<Self, LoadError> {
        let malformed = |reason: String| LoadError::Malformed { path: file.path().to_path_buf(), reason };
        let unsupported = |reason: String| LoadError::Unsupported { path: file.path().to_path_buf(), reason };
        match file.text("tokenizer.ggml.model") {
            Some("gpt2") => {}
            Some(kind) => {
                return Err(unsupported(format!(
                    "the tokenizer is of kind {kind:?}; byte-level BPE (gpt2) is supported"
                )));
            }
            None => return Err(malformed("the header has no tokenizer.ggml.model".to_owned())),
        }
        let list =
            |key: &str| file.texts(key).ok_or_else(|| malformed(format!("the header has no list {key}")));
        let tokens = list("tokenizer.ggml.tokens")?;
        let merges = list("tokenizer.ggml.merges")?
            .iter()
            .map(|merge| {
                let cut = merge
                    .split_once(' ')
                    .ok_or_else(|| malformed(format!("merge {merge:?} has no space")))?;
                Ok((cut.0.to_owned(), cut.1.to_owned()))
            })
            .collect::<Result<Vec<_>, LoadError>>()?;
        let kinds = file.integers("tokenizer.ggml.token_type").unwrap_or(&[]);
        let tokens: Vec<(String, TokenKind)> = tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.clone(), kind_of(kinds.get(id).copied().unwrap_or(1))))
            .collect();
        let pre = file.text("tokenizer.ggml.pre").unwrap_or("default");
        let rules = Rules::named(pre).ok_or_else(|| {
            unsupported(format!("the tokenizer cuts text by the rules {pre:?}, which are not known; smollm, gpt-2, llama-bpe and qwen2 are"))
        })?;
        let id = |key: &str| file.unsigned(key).and_then(|id| u32::try_from(id).ok());
        let mut ends: Vec<u32> = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"]
            .into_iter()
            .filter_map(id)
            .collect();
        let add_begin = file.boolean("tokenizer.ggml.add_bos_token").unwrap_or(pre == "llama-bpe");
        let begin = if add_begin { id("tokenizer.ggml.bos_token_id") } else { None };
        add_named_ends(&tokens, &mut ends);
        let digest = digest_of(&tokens, &merges);
        let bpe = rules.build(&tokens, merges).map_err(malformed)?;
        Self::new(Vocabulary { tokens, digest, bpe, begin, ends }).map_err(malformed)
    }

    /// The tokenizer of a safetensors folder (`tokenizer.json`, and end tokens from `generation_config.json` and
    /// `config.json`) for a model with `vocab_size` embedding rows.
    ///
    /// # Errors
    /// As [`from_gguf`](Self::from_gguf); also if the embedding does not fit the vocabulary.
    pub fn from_folder(folder: &Path, vocab_size: usize) -> Result<Self, LoadError> {
        let path = folder.join("tokenizer.json");
        let malformed = |reason: String| LoadError::Malformed { path: path.clone(), reason };
        let mut json = read_json(&path)?;
        if json["model"]["type"] != "BPE" || !is_byte_level(&json) {
            let reason =
                "the tokenizer is not byte-level BPE, which is the kind that is supported".to_owned();
            return Err(LoadError::Unsupported { path, reason });
        }
        // The first two belong to other kinds of BPE; with the last, a text would have other tokens each time.
        for key in ["continuing_subword_prefix", "end_of_word_suffix", "dropout"] {
            let value = &json["model"][key];
            if !(value.is_null() || value == "" || value == 0.0) {
                let reason = format!("the tokenizer's model.{key} is {value}, which is not supported");
                return Err(LoadError::Unsupported { path, reason });
            }
        }
        let mut by_id = HashMap::new();
        let vocab = json["model"]["vocab"]
            .as_object()
            .ok_or_else(|| malformed("model.vocab is missing".to_owned()))?;
        for (token, id) in vocab {
            let id = id.as_u64().ok_or_else(|| malformed(format!("token {token:?} has no id")))?;
            by_id.insert(id, (token.clone(), TokenKind::Text));
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let (Some(id), Some(content)) = (added["id"].as_u64(), added["content"].as_str()) else {
                return Err(malformed("an added token has no id or no content".to_owned()));
            };
            by_id.insert(id, (content.to_owned(), TokenKind::Control));
        }
        let used = by_id.keys().max().map_or(0, |&last| last.saturating_add(1));
        if used > vocab_size as u64 || (vocab_size as u64) - used > MOST_PADDING as u64 {
            return Err(malformed(format!(
                "the tokenizer has {used} tokens, but the model's embedding has {vocab_size} rows"
            )));
        }
        let tokens: Vec<(String, TokenKind)> = (0..vocab_size as u64)
            .map(|id| by_id.remove(&id).unwrap_or((String::new(), TokenKind::Unused)))
            .collect();
        let merges = json_merges(&json["model"]["merges"])
            .ok_or_else(|| malformed("model.merges is not a list of pairs".to_owned()))?;
        let digest = digest_of(&tokens[..used as usize], &merges);
        let mut ends = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            if folder.join(name).is_file() {
                let id = &read_json(&folder.join(name))?["eos_token_id"];
                ends.extend(
                    id.as_array()
                        .map_or(std::slice::from_ref(id), Vec::as_slice)
                        .iter()
                        .filter_map(Value::as_u64),
                );
            }
        }
        let mut ends: Vec<u32> = ends.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
        add_named_ends(&tokens, &mut ends);
        let begin = begin_of(folder, &json, &tokens)?;
        for (key, plain) in [("added_tokens", Value::Array(Vec::new())), ("post_processor", Value::Null)] {
            json[key] = plain;
        }
        for key in ["truncation", "padding"] {
            json[key] = Value::Null;
        }
        let bpe = serde_json::to_vec(&json)
            .map_err(|error| error.to_string())
            .and_then(|bytes| tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| error.to_string()))
            .map_err(|error| malformed(format!("the tokenizer cannot be built: {error}")))?;
        Self::new(Vocabulary { tokens, digest, bpe, begin, ends }).map_err(malformed)
    }
}

/// What a GGUF token type stands for: 1 is text, 2 unknown, 3 control, 4 defined by a user, 5 unused, 6 a byte.
fn kind_of(kind: i64) -> TokenKind {
    match kind {
        2..=4 => TokenKind::Control,
        5 => TokenKind::Unused,
        _ => TokenKind::Text,
    }
}

fn add_named_ends(tokens: &[(String, TokenKind)], ends: &mut Vec<u32>) {
    for (id, (token, kind)) in (0..).zip(tokens) {
        if *kind == TokenKind::Control && END_NAMES.contains(&token.as_str()) {
            ends.push(id);
        }
    }
    let mut seen = HashSet::new();
    ends.retain(|&id| (id as usize) < tokens.len() && seen.insert(id));
}

fn digest_of(tokens: &[(String, TokenKind)], merges: &[(String, String)]) -> String {
    digest(
        tokens.iter().map(|(token, _)| token.as_str()),
        merges.iter().map(|(l, r)| (l.as_str(), r.as_str())),
    )
}

fn is_byte_level(json: &Value) -> bool {
    let names = |part: &Value, list: &str| {
        part["type"] == "ByteLevel"
            || part[list].as_array().is_some_and(|parts| parts.iter().any(|part| part["type"] == "ByteLevel"))
    };
    names(&json["pre_tokenizer"], "pretokenizers") || names(&json["decoder"], "decoders")
}

fn json_merges(merges: &Value) -> Option<Vec<(String, String)>> {
    merges
        .as_array()?
        .iter()
        .map(|merge| match merge {
            Value::String(text) => text.split_once(' ').map(|(l, r)| (l.to_owned(), r.to_owned())),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.clone(), right.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// The token that begins every prompt: where the post-processor adds one, or `tokenizer_config.json` says so.
fn begin_of(folder: &Path, json: &Value, tokens: &[(String, TokenKind)]) -> Result<Option<u32>, LoadError> {
    let path = folder.join("tokenizer_config.json");
    let config = if path.is_file() { read_json(&path)? } else { Value::Null };
    let name = match &config["bos_token"] {
        Value::String(name) => name.as_str(),
        other => other["content"].as_str().unwrap_or_default(),
    };
    let processors = &json["post_processor"];
    let adds = config["add_bos_token"] == true
        || std::iter::once(processors)
            .chain(processors["processors"].as_array().into_iter().flatten())
            .any(|part| part["single"][0]["SpecialToken"]["id"].as_str() == Some(name));
    let id = (0..)
        .zip(tokens)
        .find(|(_, (token, kind))| *kind == TokenKind::Control && token == name)
        .map(|(id, _)| id);
    Ok(id.filter(|_| adds && !name.is_empty()))
}

/// Reads a JSON file of a model's folder.
pub(crate) fn read_json(path: &Path) -> Result<Value, LoadError> {
    let io = |source| LoadError::Io { path: path.to_path_buf(), source };
    let malformed = |reason: String| LoadError::Malformed { path: path.to_path_buf(), reason };
    let file = regular::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() > LARGEST_JSON {
        return Err(malformed(format!("the file is larger than {} MiB", LARGEST_JSON >> 20)));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_JSON).read_to_end(&mut bytes).map_err(io)?;
    serde_json::from_slice(&bytes).map_err(|error| malformed(format!("this is not JSON: {error}")))
}

/// How text is cut before merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// The rules of GPT-2.
    Gpt2,
    /// Each digit alone, then the rules of GPT-2.
    SmolLm,
    /// Up to three digits together; words keep one leading mark.
    Llama3,
    /// As Llama 3 with each digit alone, over composed Unicode.
    Qwen2,
}

impl Rules {
    fn named(name: &str) -> Option<Self> {
        match name {
            "default" | "gpt2" | "gpt-2" => Some(Self::Gpt2),
            "smollm" | "starcoder" | "refact" | "codeshell" => Some(Self::SmolLm),
            "llama3" | "llama-v3" | "llama-bpe" => Some(Self::Llama3),
            "qwen2" | "deepseek-r1-qwen" => Some(Self::Qwen2),
            _ => None,
        }
    }

    fn build(
        self,
        tokens: &[(String, TokenKind)],
        merges: Vec<(String, String)>,
    ) -> Result<tokenizers::Tokenizer, String> {
        let merged: HashSet<String> =
            merges.iter().flat_map(|(l, r)| [l.clone(), r.clone(), format!("{l}{r}")]).collect();
        // Control tokens stay out, unless a merge names them: text must never turn into one.
        let vocab: Vocab = (0..)
            .zip(tokens)
            .filter(|(_, (token, kind))| *kind == TokenKind::Text || merged.contains(token))
            .map(|(id, (token, _))| (token.clone(), id))
            .collect();
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .ignore_merges(self == Self::Llama3)
            .build()
            .map_err(|error| format!("the merges cannot be used: {error}"))?;
        let mut tokenizer = tokenizers::Tokenizer::new(bpe);
        if self == Self::Qwen2 {
            tokenizer.with_normalizer(Some(NFC)).map_err(|error| error.to_string())?;
        }
        tokenizer.with_pre_tokenizer(Some(self.pre_tokenizer()?));
        Ok(tokenizer)
    }

    fn pre_tokenizer(self) -> Result<PreTokenizerWrapper, String> {
        let bytes = |cuts: bool| ByteLevel::new(false, true, cuts).into();
        let digits = match self {
            Self::Gpt2 => return Ok(bytes(true)),
            Self::SmolLm => return Ok(Sequence::new(vec![Digits::new(true).into(), bytes(true)]).into()),
            Self::Llama3 => r"\p{N}{1,3}",
            Self::Qwen2 => r"\p{N}",
        };
        let pattern = [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
            r"[^\r\n\p{L}\p{N}]?\p{L}+",
            digits,
            r" ?[^\s\p{L}\p{N}]+[\r\n]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
        .join("|");
        let split = Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| error.to_string())?;
        Ok(Sequence::new(vec![split.into(), bytes(false)]).into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    use super::*;

    pub(crate) fn tiny_merges() -> Vec<(String, String)> {
        [("t", "h"), ("th", "e"), ("Ġ", "the"), ("t", "r"), ("tr", "u"), ("f", "a"), ("\"", ":"), ("{", "\"")]
            .map(|(l, r)| (l.to_owned(), r.to_owned()))
            .to_vec()
    }

    /// 256 bytes, merges for ` the`, `tru`, `fal`, and ChatML's control tokens; then `padding` unused places.
    pub(crate) fn tiny_vocabulary(padding: usize) -> Vocabulary {
        let mut tokens: Vec<(String, TokenKind)> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
            .map(|token| (token.to_owned(), TokenKind::Control))
            .to_vec();
        let mut others = 0x100;
        for byte in 0..=255_u32 {
            let itself = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
            let code = if itself { byte } else { others };
            others += u32::from(!itself);
            tokens.push((char::from_u32(code).expect("below the surrogates").to_string(), TokenKind::Text));
        }
        let merges = tiny_merges();
        tokens.extend(merges.iter().map(|(l, r)| (format!("{l}{r}"), TokenKind::Text)));
        tokens.extend((0..padding).map(|_| (String::new(), TokenKind::Unused)));
        let bpe = Rules::SmolLm.build(&tokens, merges.clone()).expect("the merges are sound");
        let digest = digest_of(&tokens, &merges);
        Vocabulary { tokens, digest, bpe, begin: None, ends: vec![2, 0] }
    }

    fn cut(rules: Rules, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        rules
            .pre_tokenizer()
            .and_then(|p| p.pre_tokenize(&mut pieces).map_err(|e| e.to_string()))
            .expect("it cuts");
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(piece, _, _)| piece.to_owned()).collect()
    }

    #[test]
    fn text_is_cut_by_the_rules_of_its_family() {
        let text = "It's 10.24 a\n\n b";
        assert_eq!(cut(Rules::Gpt2, text), ["It", "'s", "Ġ10", ".", "24", "Ġa", "ĊĊ", "Ġb"]);
        assert_eq!(cut(Rules::SmolLm, text), ["It", "'s", "Ġ", "1", "0", ".", "2", "4", "Ġa", "ĊĊ", "Ġb"]);
        assert_eq!(cut(Rules::Llama3, text), ["It", "'s", "Ġ", "10", ".", "24", "Ġa", "ĊĊ", "Ġb"]);
        assert_eq!(cut(Rules::Qwen2, text), ["It", "'s", "Ġ", "1", "0", ".", "2", "4", "Ġa", "ĊĊ", "Ġb"]);
        assert_eq!(Rules::named("no such rules"), None);
    }

    fn folder(vocab_size: usize, change: impl FnOnce(&mut Value)) -> Result<Tokenizer, LoadError> {
        let vocabulary = tiny_vocabulary(0);
        let text = vocabulary.bpe.to_string(false).expect("it serialises");
        let mut json: Value = serde_json::from_str(&text).expect("it is JSON");
        json["decoder"] = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        json["added_tokens"] = (0..)
            .zip(&vocabulary.tokens[..3])
            .map(|(id, (token, _))| serde_json::json!({"id": id, "content": token, "special": true}))
            .collect();
        change(&mut json);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).expect("written");
        std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [2, 0]}"#)
            .expect("written");
        Tokenizer::from_folder(folder.path(), vocab_size)
    }

    #[test]
    fn a_folder_gives_the_tokenizer_of_the_header() {
        let size = tiny_vocabulary(0).tokens.len();
        let from_header = Tokenizer::new(tiny_vocabulary(0)).expect("sound");
        let from_folder = folder(size, |_| ()).expect("sound");
        assert_eq!(from_folder.digest(), from_header.digest());
        assert_eq!(from_folder.ends(), from_header.ends());
        for text in ["the truth: {\"a\": 10}", "→ ünï <|im_end|>", ""] {
            assert_eq!(from_folder.encode_data(text), from_header.encode_data(text), "{text}");
            assert_eq!(from_folder.encode_control(text), from_header.encode_control(text), "{text}");
        }
        assert_eq!(folder(size + 5, |_| ()).expect("padded").vocab_size(), size + 5);
    }

    #[test]
    fn a_vocabulary_that_does_not_fit_the_embedding_is_refused() {
        let size = tiny_vocabulary(0).tokens.len();
        for rows in [size - 1, size + MOST_PADDING + 1] {
            let error = folder(rows, |_| ()).expect_err("it does not fit").to_string();
            assert!(error.contains(&rows.to_string()) && error.contains("tokenizer.json"), "{error}");
        }
    }

    #[test]
    fn broken_tokenizer_files_are_refused() {
        let size = tiny_vocabulary(0).tokens.len();
        let breaks: [fn(&mut Value); 8] = [
            |json| json["model"]["continuing_subword_prefix"] = "##longer than any token".into(),
            |json| json["model"]["end_of_word_suffix"] = "</w>".into(),
            |json| json["model"]["dropout"] = 0.1.into(),
            |json| json["model"]["type"] = "Unigram".into(),
            |json| json["model"]["merges"] = serde_json::json!(["nospace"]),
            |json| json["model"]["vocab"] = Value::Null,
            |json| json["model"]["vocab"]["x"] = serde_json::json!(u64::MAX),
            |json| *json = Value::Null,
        ];
        for (case, change) in breaks.into_iter().enumerate() {
            assert!(folder(size, change).is_err(), "case {case}");
        }
    }
}
