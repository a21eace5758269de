//! Files that are damaged in any way: loading ends with a model or with an error that names the file, without a panic
//! and without taking more memory than the files account for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::allocations::peak_of;
use crate::model::{LoadOptions, Model, WeightFormat};
use crate::testing::TinyModel;

/// Memory that loading may take for each byte of the files. JSON takes most: a digit and a comma become a value.
const BYTES_PER_BYTE: usize = 24;
/// Memory that loading may take whatever the files say: buffers, tables of the tokenizer and of the grammar.
const BYTES_AT_LEAST: usize = 2 << 20;

/// Files of a model of the Qwen2 family and of its adapter, in a folder of their own.
const FILES: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
];

/// What is done to a file.
#[derive(Clone, Debug)]
enum Damage {
    /// One byte becomes another.
    Byte(Index, u8),
    /// Eight bytes become a number, as counts and offsets are.
    Number(Index, u64),
    /// The rest is missing.
    Cut(Index),
    /// Bytes come in between.
    Insert(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let number = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1 << 40),
        Just(1 << 31),
        Just(u64::from(u32::MAX)),
        0..300_u64,
        any::<u64>()
    ];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        3 => (any::<Index>(), number).prop_map(|(at, number)| Damage::Number(at, number)),
        2 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(at, b)| Damage::Insert(at, b)),
    ]
}

/// Damages the first `within` bytes, which hold the header, or any.
fn spoil(mut bytes: Vec<u8>, damages: &[Damage], within: usize) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let within = within.min(bytes.len());
        match damage {
            Damage::Byte(at, byte) => bytes[at.index(within)] = *byte,
            Damage::Number(at, number) => {
                let at = at.index(within);
                let end = (at + 8).min(bytes.len());
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Insert(at, more) => {
                let at = at.index(within);
                bytes.splice(at..at, more.iter().copied());
            }
        }
    }
    bytes
}

/// Values that a number, text or structure of a JSON file is replaced by.
fn replacement() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec![
            Value::Null,
            json!(true),
            json!(0),
            json!(-1),
            json!(1),
            json!(7),
            json!(1e300),
            json!(u64::MAX),
            json!(1_u64 << 32),
            json!(4_000_000),
            json!(""),
            json!("x"),
            json!("F64"),
            json!("../../../etc/passwd"),
            json!([]),
            json!({}),
            json!([[], {}]),
            json!([0, u64::MAX]),
            json!({ "type": "Sequence", "normalizers": [] }),
        ]),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,12}".prop_map(Value::from),
    ]
}

/// Goes down the structure by the path, as far as there is one, and replaces what is there.
fn replace(value: &mut Value, path: &[Index], with: &Value) {
    if let [step, rest @ ..] = path {
        let child = match value {
            Value::Array(items) if !items.is_empty() => {
                let at = step.index(items.len());
                items.get_mut(at)
            }
            Value::Object(map) if !map.is_empty() => {
                let at = step.index(map.len());
                map.values_mut().nth(at)
            }
            _ => None,
        };
        if let Some(child) = child {
            return replace(child, rest, with);
        }
    }
    *value = with.clone();
}

fn fixture() -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/fixtures/tiny-qwen2");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("adapter")).unwrap();
    for name in FILES {
        fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn gguf() -> Vec<u8> {
    let metadata = crate::tokenizer::tests::tiny_metadata();
    let vocab_size = crate::tokenizer::tests::tiny().vocab_size();
    TinyModel { architecture: "qwen3", layers: 1, metadata, vocab_size, ..TinyModel::default() }.gguf()
}

fn bytes_of(path: &Path) -> usize {
    if path.is_file() {
        return fs::metadata(path).unwrap().len() as usize;
    }
    FILES.iter().map(|name| fs::metadata(path.join(name)).unwrap().len() as usize).sum()
}

/// Loads, and computes with what was loaded. Gives the error, if there is one.
fn check(path: &Path, adapter: Option<PathBuf>, weights: WeightFormat) -> Option<String> {
    let options = LoadOptions {
        weights,
        threads: vec![0],
        kv_budget: Some(1 << 20),
        adapter,
        ..LoadOptions::default()
    };
    let limit = BYTES_AT_LEAST + BYTES_PER_BYTE * bytes_of(path);
    let (loaded, peak) = peak_of(|| Model::load(path, &options));
    assert!(peak <= limit, "{peak} bytes were taken, {limit} are allowed");
    match loaded {
        Ok(mut model) => {
            let rows = model.info().vocab_size.min(3) as u32;
            // Weights may be anything: the result does not matter, that there is one does.
            let _ = crate::score(&mut model, &[(0..rows).collect()], |_, _, _| {});
            None
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "the file is named: {text}");
            assert!(text.len() < 1500, "a file's own text is no message: {text}");
            Some(text)
        }
    }
}

#[test]
fn undamaged_files_load_within_the_limit() {
    let folder = fixture();
    assert_eq!(check(folder.path(), Some(folder.path().join("adapter")), WeightFormat::Q8_0), None);
    let path = folder.path().join("tiny.gguf");
    fs::write(&path, gguf()).unwrap();
    assert_eq!(check(&path, None, WeightFormat::Q8_0), None);
}

#[test]
fn a_tensor_that_is_cut_off_or_no_number_is_named() {
    let folder = fixture();
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let error = check(folder.path(), None, WeightFormat::Q8_0).unwrap();
    assert!(error.contains("model.safetensors: tensor ") && error.contains("cut short"), "{error}");
    // The last two bytes are a weight in half precision: a NaN, and an infinity.
    for high in [0x7f, 0xff] {
        for weights in [WeightFormat::Q8_0, WeightFormat::F32] {
            let mut bytes = whole.clone();
            let end = bytes.len();
            bytes[end - 2..].copy_from_slice(&[if high == 0x7f { 0xc1 } else { 0x80 }, high]);
            fs::write(&path, bytes).unwrap();
            let error = check(folder.path(), None, weights).unwrap();
            assert!(error.contains("tensor model.") && error.contains("NaN"), "{error}");
        }
    }
    fs::write(&path, &whole).unwrap();
    // An adapter may spoil what was sound.
    let path = folder.path().join("adapter/adapter_model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = check(folder.path(), Some(folder.path().join("adapter")), WeightFormat::Q8_0).unwrap();
    assert!(error.contains("with the adapter's change"), "{error}");
}

#[test]
fn a_pipe_in_the_place_of_a_file_keeps_nobody_waiting() {
    for name in FILES {
        let folder = fixture();
        fs::remove_file(folder.path().join(name)).unwrap();
        assert!(Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap().success());
        let path = folder.path().to_path_buf();
        let load = move || {
            let adapter = Some(path.join("adapter"));
            Model::load(&path, &LoadOptions { threads: vec![0], adapter, ..LoadOptions::default() }).map(drop)
        };
        let loaded = crate::regular::tests::at_once(load);
        // A model does without some of its files.
        let may_be_missing = ["tokenizer_config.json", "generation_config.json"];
        assert!(loaded.is_err() || may_be_missing.contains(&name), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_damaged_gguf_file_is_loaded_or_refused(
        damages in prop::collection::vec(damage(), 1..5),
        anywhere in prop::bool::weighted(0.2),
        full in any::<bool>(),
    ) {
        let whole = gguf();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        // Header values come first and take some 10 KB.
        let within = if anywhere { whole.len() } else { 12_000 };
        fs::write(&path, spoil(whole, &damages, within)).unwrap();
        check(&path, None, if full { WeightFormat::F32 } else { WeightFormat::Q8_0 });
    }

    #[test]
    fn a_damaged_file_of_a_folder_is_loaded_or_refused(
        file in prop::sample::select(FILES.to_vec()),
        damages in prop::collection::vec(damage(), 1..4),
        anywhere in any::<bool>(),
    ) {
        let folder = fixture();
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        let within = if anywhere { whole.len() } else { 1500 };
        fs::write(&path, spoil(whole, &damages, within)).unwrap();
        check(folder.path(), Some(folder.path().join("adapter")), WeightFormat::Q8_0);
    }

    #[test]
    fn a_file_of_a_folder_that_says_something_else_is_loaded_or_refused(
        file in prop::sample::select(FILES.to_vec()),
        path in prop::collection::vec(any::<Index>(), 0..6),
        with in replacement(),
    ) {
        let folder = fixture();
        let place = folder.path().join(file);
        let bytes = fs::read(&place).unwrap();
        // The header of safetensors is JSON as well, behind its length.
        let (json_bytes, data) = if file.ends_with(".safetensors") {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8..].split_at(length)
        } else {
            (bytes.as_slice(), &[][..])
        };
        let mut value: Value = serde_json::from_slice(json_bytes).unwrap();
        replace(&mut value, &path, &with);
        let text = value.to_string();
        let mut changed = Vec::new();
        if file.ends_with(".safetensors") {
            changed.extend((text.len() as u64).to_le_bytes());
        }
        changed.extend(text.as_bytes());
        changed.extend(data);
        fs::write(&place, changed).unwrap();
        check(folder.path(), Some(folder.path().join("adapter")), WeightFormat::Q8_0);
    }
}
