//! Files of models: whoever publishes one may have made it to do harm.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use countermove_model::testing::TinyModel;
use countermove_model::{BaseModel, LoadError, LoadOptions, MetaValue, Model, Part, Role};
use serde_json::{Map, Value, json};

/// Tokens of the base that is changed: all bytes, some merges, and the marks of a chat.
const MERGES: [(&str, &str); 4] = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("{", "\"")];
const MARKS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

thread_local! {
    static BASE: OnceCell<Base> = const { OnceCell::new() };
}

/// A folder with a model that can be read, and one for adapters.
struct Base {
    folder: PathBuf,
    adapter: PathBuf,
    model: BaseModel,
}

impl Base {
    fn new() -> Self {
        let folder = crate::folder();
        let adapter = folder.join("adapter");
        fs::create_dir(&adapter).expect("the folder can be written");
        write(&folder);
        let model = BaseModel::open(&folder).expect("a model that can be read");
        Self { folder, adapter, model }
    }
}

/// Writes the model that is changed.
fn write(folder: &Path) {
    let model = tiny();
    model.write_safetensors(folder, 1).expect("the folder can be written");
    fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).expect("the folder can be written");
}

fn tiny() -> TinyModel {
    let tokens = tokens();
    let kinds = (0..tokens.len()).map(|id| if id < MARKS.len() { 3 } else { 1 }).collect();
    let merges = MERGES.iter().map(|(left, right)| format!("{left} {right}")).collect();
    let metadata = [
        ("model", MetaValue::Text("gpt2".to_owned())),
        ("pre", MetaValue::Text("smollm".to_owned())),
        ("token_type", MetaValue::Integers(kinds)),
        ("merges", MetaValue::Texts(merges)),
        ("eos_token_id", MetaValue::Unsigned(2)),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
    TinyModel {
        layers: 1,
        hidden: 8,
        intermediate: 8,
        heads: 1,
        kv_heads: 1,
        head_dim: 8,
        vocab_size: tokens.len(),
        context_length: 64,
        metadata: metadata
            .chain([
                ("tokenizer.ggml.tokens".to_owned(), MetaValue::Texts(tokens)),
                ("tokenizer.chat_template".to_owned(), MetaValue::Text(TEMPLATE.to_owned())),
            ])
            .collect(),
        ..TinyModel::default()
    }
}

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message.content | trim }}<|im_end|>\n\
     {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Tokens in the order of their ids, bytes as the alphabet of GPT-2 writes them.
fn tokens() -> Vec<String> {
    let is_shown = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let others = (0..256).filter(|byte| !is_shown(byte)).zip(256..);
    let bytes = (0..256).filter(is_shown).chain(others.map(|(_, code)| code));
    let bytes = bytes.filter_map(char::from_u32).map(String::from);
    let merged = MERGES.iter().map(|(left, right)| format!("{left}{right}"));
    MARKS.map(str::to_owned).into_iter().chain(bytes).chain(merged).collect()
}

fn tokenizer() -> Value {
    let ids = tokens().into_iter().enumerate();
    let (marks, vocab): (Vec<_>, Vec<_>) = ids.partition(|(id, _)| *id < MARKS.len());
    let vocab: Map<_, _> = vocab.into_iter().map(|(id, token)| (token, json!(id))).collect();
    let added =
        marks.into_iter().map(|(id, content)| json!({ "id": id, "content": content, "special": true }));
    json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocab, "merges": MERGES.map(|(left, right)| [left, right]) },
    })
}

fn with(work: impl FnOnce(&Base)) {
    BASE.with(|base| work(base.get_or_init(Base::new)));
}

/// Opens a model, and uses all that was read of it.
fn used(path: &Path) {
    let Some(model) = taken(BaseModel::open(path)) else { return };
    let parts = [Part::AttentionNorm, Part::Query, Part::Key, Part::Value];
    let layers =
        (0..model.config().layers.min(2)).flat_map(|layer| parts.map(|part| Role::Layer(layer, part)));
    for role in [Role::Embedding, Role::FinalNorm, Role::Head].into_iter().chain(layers) {
        let shape = model.shape(role);
        let tensor = taken(model.tensor(role)).flatten();
        if let (Some((rows, columns)), Some(values)) = (shape, tensor) {
            assert_eq!(values.len(), rows * columns);
        }
    }
    taken(model.rope_frequencies());
    let tokens = model.tokenizer();
    for text in ["Isolate 10.0.0.5 of the network, 1234567 \u{1f980}\0é<|im_end|>", ""] {
        for thinking in [true, false] {
            let prompt = model.prompt(text, &[text.to_owned()], thinking);
            assert!(prompt.iter().all(|&id| (id as usize) < tokens.vocab_size()));
            tokens.decode(&prompt);
        }
        model.answer(Some(text), text);
        tokens.encode_control(text);
    }
    tokens.decode(&[0, 7, u32::MAX]);
    // What a worker would do with it, where it is small.
    if model.parameters() < 1 << 20 {
        let options = LoadOptions { kv_budget: Some(1 << 20), threads: vec![0], ..LoadOptions::default() };
        taken(Model::load(path, &options));
    }
}

/// What was read; nothing if it was refused, which has to be said in one line.
fn taken<T>(read: Result<T, LoadError>) -> Option<T> {
    read.inspect_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// A file of the base's folder, changed, and then as it was.
fn changed(name: &str, data: &[u8]) {
    with(|base| {
        let path = base.folder.join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, data).expect("the folder can be written");
        used(&base.folder);
        match before {
            Some(before) => fs::write(&path, before),
            None => fs::remove_file(&path),
        }
        .expect("the folder can be written");
    });
}

/// A GGUF file.
pub fn gguf(data: &[u8]) {
    with(|base| {
        let path = base.folder.join("model.gguf");
        fs::write(&path, data).expect("the folder can be written");
        used(&path);
    });
}

/// Weights of a folder.
pub fn safetensors(data: &[u8]) {
    changed("model.safetensors", data);
}

/// The tokenizer of a folder.
pub fn tokenizer_json(data: &[u8]) {
    changed("tokenizer.json", data);
}

/// Another file of a folder: a byte for which, then its content.
pub fn model_folder(data: &[u8]) {
    let names = [
        "config.json",
        "chat_template.jinja",
        "tokenizer_config.json",
        "generation_config.json",
        "model.safetensors.index.json",
    ];
    let Some((&which, data)) = data.split_first() else { return };
    changed(names[usize::from(which) % names.len()], data);
}

/// An adapter: the length of its configuration in two bytes, the configuration, and its weights.
pub fn adapter(data: &[u8]) {
    let Some((length, data)) = data.split_first_chunk() else { return };
    let (config, weights) = data.split_at(data.len().min(u16::from_le_bytes(*length).into()));
    with(|base| {
        fs::write(base.adapter.join("adapter_config.json"), config).expect("the folder can be written");
        fs::write(base.adapter.join("adapter_model.safetensors"), weights)
            .expect("the folder can be written");
        if let Some(factors) = taken(base.model.read_adapter(&base.adapter)) {
            for (role, factors) in factors {
                let (rows, columns) = base.model.shape(role).expect("a projection that is there");
                assert_eq!((factors.a.len(), factors.b.len()), (factors.rank * columns, rows * factors.rank));
                assert!(factors.scale.is_finite());
            }
        }
    });
}
