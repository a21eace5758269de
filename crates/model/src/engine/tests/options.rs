//! Options that are weighed: against what whole texts score, and whatever happens on the way.

use std::sync::atomic::Ordering;

use super::*;
use crate::device::{Device, DeviceWeights};
use crate::options::{REST, option_values};

/// Options that begin alike, and end after as many tokens.
fn words() -> Value {
    json!({
        "type": "object",
        "properties": {"kind": {"enum": ["xab", "xac", "xbd", "yab", "ycd", "yce"]}, "sure": {"type": "boolean"}},
        "required": ["kind", "sure"],
    })
}

pub(super) fn weighed(request: Request) -> Request {
    Request { json_schema: Some(words()), weigh_options: true, ..request }
}

fn direct(own: &str) -> Request {
    Request { thinking_tokens: 0, temperature: 0.0, ..weighed(request(20, own, 1)) }
}

fn check(completion: &Completion, schema: &Value) {
    let values: Vec<&str> = completion.options.iter().map(|option| option.value.as_str()).collect();
    assert_eq!(values, option_values(schema).expect("a few"), "all of them, in the schema's order");
    let sum: f32 = completion.options.iter().map(|option| option.probability).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    assert!(completion.complete && values.contains(&completion.text.as_str()), "{completion:?}");
}

fn likeliest(completion: &Completion) -> &str {
    let best = completion.options.iter().rev().max_by(|a, b| a.probability.total_cmp(&b.probability));
    &best.expect("options").value
}

/// The probabilities of the options by what their whole texts score.
fn scored(model: &mut Model, request: &Request) -> Vec<f64> {
    let frame = model.text.chat.frame(false);
    let tokenizer = Arc::clone(&model.text.tokenizer);
    let encode = |text: &str, _, ids: &mut Vec<u32>| ids.extend(tokenizer.encode_data(text));
    let (prompt, _) = frame.prompt(&request.system, &request.segments, 0, encode);
    let values = option_values(request.json_schema.as_ref().expect("a schema")).expect("a few");
    let texts: Vec<Vec<u32>> =
        values.iter().map(|value| [prompt.as_slice(), &tokenizer.encode_data(value)].concat()).collect();
    let mut sums = vec![0.0; texts.len()];
    crate::score(model, &texts, |text, position, row| {
        let Some(&next) = texts[text].get(position + 1) else { return };
        if position + 1 >= prompt.len() {
            let all: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            sums[text] += f64::from(row[next as usize]) - all.ln();
        }
    })
    .expect("scores");
    let highest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = sums.iter().map(|sum| (sum - highest).exp()).sum();
    sums.into_iter().map(|sum| (sum - highest).exp() / total).collect()
}

/// Largest difference between what the engine says of options and what their whole texts score.
async fn largest_error(path: &Path, load: &LoadOptions, requests: &[Request]) -> f64 {
    let mut model = Model::load(path, load).expect("it loads");
    let expected: Vec<Vec<f64>> = requests.iter().map(|request| scored(&mut model, request)).collect();
    drop(model);
    let model = Model::load(path, load).expect("it loads");
    let engine = Engine::start(model, EngineOptions::default()).expect("a thread");
    let running: Vec<Generation> = requests.iter().map(|request| engine.submit(request.clone())).collect();
    let mut worst = 0_f64;
    for ((generation, expected), request) in running.into_iter().zip(expected).zip(requests) {
        let completion = generation.completion().await.expect("an answer");
        check(&completion, request.json_schema.as_ref().expect("a schema"));
        assert_eq!(completion.text, likeliest(&completion));
        for (option, expected) in completion.options.iter().zip(expected) {
            worst = worst.max((f64::from(option.probability) - expected).abs());
        }
    }
    worst
}

#[tokio::test]
async fn probabilities_are_those_of_whole_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let on = |device| LoadOptions { device, kv_budget: Some(64 << 20), ..LoadOptions::default() };
    let devices = [
        ("llama", on(Device::Cpu)),
        ("qwen2", LoadOptions { weights: WeightFormat::F32, ..on(Device::Cpu) }),
        ("qwen3", on(Device::CandleCpu { weights: DeviceWeights::F32 })),
    ];
    for (architecture, load) in devices {
        let tiny = TinyModel {
            architecture,
            vocab_size: tiny().vocab_size(),
            context_length: 1024,
            metadata: crate::tokenizer::tests::tiny_metadata(),
            ..TinyModel::default()
        };
        let path = folder.path().join(format!("{architecture}.gguf"));
        std::fs::write(&path, tiny.gguf()).expect("written");
        let of = |n: u64| Request { segments: vec![format!("record {n}")], ..direct("") };
        let requests: Vec<Request> = (0..3).map(of).collect();
        let error = largest_error(&path, &load, &requests).await;
        // A random model finds no option light, so nothing is left open.
        assert!(error < 1e-5, "{architecture}: {error}");
    }
}

#[tokio::test]
async fn the_default_models_probabilities_are_those_of_whole_texts() {
    let Ok(path) = crate::ModelSource::default().resolve(&crate::home(None), &mut |_| {}) else {
        eprintln!("skipped: the default model is not here; run 'countermove-worker model fetch'");
        return;
    };
    let names = [
        "Everyday Traffic",
        "Reconnaissance",
        "Initial Access",
        "Execution",
        "Persistence",
        "Privilege Escalation",
        "Defense Evasion",
        "Credential Access",
        "Discovery",
        "Lateral Movement",
        "Collection",
        "Command and Control",
        "Exfiltration",
        "Impact",
    ];
    let schema = json!({"type": "object", "properties": {"Shows": {"enum": names}}, "required": ["Shows"]});
    let records = [
        "SSH brute force from 203.0.113.9",
        "DNS query for example.org",
        "Mimikatz reads lsass memory",
        "Beacon to a known C2 server",
    ];
    let requests: Vec<Request> = records
        .iter()
        .map(|record| Request { json_schema: Some(schema.clone()), ..direct(record) })
        .collect();
    let error = largest_error(
        &path,
        &LoadOptions { kv_budget: Some(256 << 20), ..LoadOptions::default() },
        &requests,
    )
    .await;
    eprintln!("largest error {error:.5}");
    assert!(error <= REST, "{error}");
}

#[tokio::test]
async fn probabilities_have_the_same_bits_however_they_are_served() {
    let requests: Vec<Request> = (0..27)
        .map(|n| {
            let plain = Request {
                temperature: if n % 2 == 0 { 0.0 } else { 1.5 },
                ..request(60, &format!("{}", n % 9), n)
            };
            let thinking_tokens = if n % 4 < 2 { 0 } else { 6 };
            if n % 5 == 0 { plain } else { Request { thinking_tokens, ..weighed(plain) } }
        })
        .collect();
    let mut alone = Vec::new();
    for request in &requests {
        let (engine, _) = plain();
        let completion = ask(&engine, request).await.expect("an answer");
        if request.weigh_options {
            check(&completion, &words());
            if request.temperature == 0.0 {
                assert_eq!(completion.text, likeliest(&completion));
            }
        } else {
            assert!(completion.options.is_empty());
        }
        alone.push(bare(&completion));
    }
    same_however_served(&requests, &alone).await;
}

#[tokio::test]
async fn a_prompt_is_prefilled_once_for_all_its_options() {
    let (engine, log) = plain();
    let completion = ask(&engine, &direct("one")).await.expect("an answer");
    check(&completion, &words());
    let fed: usize = log.lock().expect("whole").iter().flatten().map(|(_, tokens)| tokens).sum();
    let stats = engine.stats();
    assert!(stats.weighed_tokens > 0);
    assert_eq!(fed as u64, stats.prefill_tokens + stats.weighed_tokens);
    assert!(
        stats.prefill_tokens <= completion.prompt_tokens + 16,
        "what all options begin with comes with it"
    );
    // Two letters of the kind part, then whether it is sure; some rounds take two passes for their rows.
    let passes = log.lock().expect("whole").len();
    assert!(passes <= 10, "{passes} passes");
}

#[tokio::test]
async fn the_calibration_divides_logarithms() {
    let mut probabilities = Vec::new();
    for temperature in [1.0, 2.0] {
        let (engine, _) = calibrated(&EngineOptions::default(), temperature, |_| {});
        let completion = ask(&engine, &direct("one")).await.expect("an answer");
        check(&completion, &words());
        probabilities.push(completion.options.iter().map(|o| f64::from(o.probability)).collect::<Vec<_>>());
    }
    let total: f64 = probabilities[0].iter().map(|p| p.sqrt()).sum();
    for (plain, flat) in probabilities[0].iter().zip(&probabilities[1]) {
        assert!((plain.sqrt() / total - flat).abs() < 1e-5, "{plain} {flat}");
    }
}

#[tokio::test]
async fn what_cannot_be_weighed_is_refused() {
    let (engine, log) = plain();
    let many: Vec<u32> = (0..65).collect();
    for schema in [Some(json!({"enum": many})), Some(json!({"type": "string"})), Some(schema()), None] {
        let error =
            ask(&engine, &Request { json_schema: schema, ..direct("one") }).await.expect_err("refused");
        assert!(matches!(&error, EngineError::Grammar(reason) if !reason.contains('\n')), "{error}");
    }
    let short = Request { max_tokens: 10, ..direct("one") };
    assert!(matches!(ask(&engine, &short).await, Err(EngineError::Grammar(_))));
    let one = Request { json_schema: Some(json!({"enum": [7]})), ..direct("one") };
    let completion = ask(&engine, &one).await.expect("an answer");
    assert_eq!((completion.text.as_str(), completion.options[0].probability), ("7", 1.0));
    assert!(log.lock().expect("whole").is_empty(), "nothing of this needs the model");
}

#[tokio::test]
async fn cancelled_requests_leave_no_sequences_behind() {
    let mut held = None;
    let (engine, log) = engine(&EngineOptions::default(), |fake| {
        fake.delay = Duration::from_millis(20);
        held = Some(fake.held());
    });
    let held = held.expect("the fake's");
    // Two long ways that part at once, and part again at their ends: several steps of branches.
    let way = |letter: &str, end: &str| letter.repeat(400) + end;
    let schema = json!({"enum": [way("x", "a"), way("x", "b"), way("y", "a"), way("y", "b")]});
    let long = Request { json_schema: Some(schema), max_tokens: 900, ..direct("one") };
    let generation = engine.submit(long);
    while log.lock().expect("whole").len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(held.load(Ordering::Relaxed) > 0 && engine.stats().weighed_tokens > 0);
    drop(generation);
    while engine.stats().cancelled == 0 {
        assert_eq!(engine.stats().completed, 0, "it ended before it could be cancelled");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(held.load(Ordering::Relaxed), 0);
    check(&ask(&engine, &direct("one")).await.expect("an answer"), &words());
    // The answer is told before its sequence is given back.
    while held.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn short_memory_delays_branches_and_changes_nothing() {
    let requests: Vec<Request> = (0..4)
        .map(|n| Request { segments: vec![format!("{n} {}", "own words ".repeat(9))], ..direct("") })
        .collect();
    let mut alone = Vec::new();
    let mut prompt = 0;
    for request in &requests {
        let (engine, _) = plain();
        let completion = ask(&engine, request).await.expect("an answer");
        prompt = completion.prompt_tokens as usize;
        alone.push(bare(&completion));
    }
    // One of them and one branch; one of them and several; nearly two of them.
    for budget in [prompt + 40, prompt + 90, 2 * prompt + 20] {
        let (engine, _) = engine(&EngineOptions::default(), |fake| fake.budget = budget);
        let running: Vec<Generation> =
            requests.iter().map(|request| engine.submit(request.clone())).collect();
        for (generation, alone) in running.into_iter().zip(&alone) {
            assert_eq!(bare(&generation.completion().await.expect("an answer")), *alone, "{budget}");
        }
    }
    let (engine, _) = engine(&EngineOptions::default(), |fake| fake.budget = prompt + 16);
    assert!(matches!(ask(&engine, &requests[0]).await, Err(EngineError::KvBudget { .. })));
}

#[tokio::test]
async fn a_fault_among_options_ends_their_request_alone() {
    // A token that stands in no prompt, behind where the options part.
    let poison = tiny().encode_data("q")[0];
    let (engine, _) = engine(&EngineOptions::default(), |fake| fake.poison = Some(poison));
    let bad = Request { json_schema: Some(json!({"enum": ["axqb", "ayqc"]})), ..direct("one") };
    let running = [engine.submit(direct("one")), engine.submit(bad), engine.submit(direct("two"))];
    let [first, second, third] = running;
    check(&first.completion().await.expect("an answer"), &words());
    assert!(matches!(second.completion().await, Err(EngineError::NotANumber { .. })));
    check(&third.completion().await.expect("an answer"), &words());

    let (engine, _) = super::engine(&EngineOptions::default(), |fake| fake.breaks_at = Some(1));
    assert!(matches!(ask(&engine, &direct("one")).await, Err(EngineError::Device(_))));
    assert_eq!(engine.stats().running, 0);
    check(&ask(&engine, &direct("one")).await.expect("an answer"), &words());
}
