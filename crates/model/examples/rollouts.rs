//! How fast state predictions and actions come, alone and many at a time, over one shared context.
//!
//! `cargo run --release -p countermove-model --example rollouts [-- CONTEXT_TOKENS [sequential]]` uses the default model
//! and the engine's own way: grammar, masks and sampling included, unlike `countermove-worker model bench`.

use std::error::Error;
use std::time::Instant;

use countermove_model::{
    Completion, Engine, EngineOptions, LoadOptions, ModelSource, Priority, Request, home,
};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let context_tokens: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let sequential = arguments.next().is_some_and(|word| word == "sequential");
    let began = Instant::now();
    let model = ModelSource::default().load(&home(None), &LoadOptions::default(), &mut |_| {})?;
    println!("loaded in {:.1} s", began.elapsed().as_secs_f64());
    let engine = Engine::start(model, EngineOptions { sequential, ..EngineOptions::default() })?;
    let mut context = String::new();
    for minute in 0.. {
        if engine.count_tokens(&context) >= context_tokens {
            break;
        }
        context.push_str(&format!(
            "[Priority 1] 10:{:02}:07 TCP 203.0.113.9:51{minute} -> 10.0.0.{}:22 possible brute force\n",
            minute % 60,
            minute % 20,
        ));
    }
    let bits =
        ["contained", "knowledge_sufficient", "forensics_preserved", "eradicated", "hardened", "recovered"];
    let properties: serde_json::Map<String, Value> =
        bits.iter().map(|bit| (format!("is_{bit}"), json!({"type": "boolean"}))).collect();
    let required: Vec<&String> = properties.keys().collect();
    let state = json!({"type": "object", "required": required, "properties": properties});
    let text = |longest: usize| json!({"type": "string", "maxLength": longest});
    let action = json!({
        "type": "object",
        "properties": {"Action": text(200), "Explanation": text(300)},
        "required": ["Action", "Explanation"],
    });
    for (name, schema, thinking_tokens, max_tokens) in
        [("state", &state, 0, 120), ("action", &action, 0, 160), ("reasoned state", &state, 48, 160)]
    {
        for concurrent in [1, 9, 27] {
            let before = engine.stats();
            let began = Instant::now();
            let generations: Vec<_> = (0..concurrent)
                .map(|n| {
                    engine.submit(Request {
                        owner: String::new(),
                        common_parts: 0,
                        system: "You plan the response to network incidents. Answer in JSON.".to_owned(),
                        segments: vec![context.clone(), format!("\nQuestion {name} {n} of {concurrent}:\n")],
                        thinking_tokens,
                        json_schema: Some(schema.clone()),
                        weigh_options: false,
                        max_tokens,
                        temperature: 0.6,
                        top_p: 0.9,
                        seed: n,
                        priority: Priority::Bulk,
                    })
                })
                .collect();
            let mut last = Completion::default();
            for generation in generations {
                last = generation.completion().await?;
            }
            let time = began.elapsed().as_secs_f64();
            let after = engine.stats();
            let sampled = after.sampled_tokens - before.sampled_tokens;
            let passes = after.steps - before.steps;
            let forward = after.forward_seconds - before.forward_seconds;
            let of_forward = |seconds: f64| 100.0 * seconds / forward;
            println!(
                "{name:>14} x{concurrent:<2} {time:6.2} s, {passes:3} passes of {:5.1} ms, {:6.1} answer tokens/s \
                 ({sampled} chosen), {} computed and {} cached prompt tokens; of the passes' time masks take {:4.1} %, \
                 of which the steps wait for {:4.1} %, and choices {:4.1} %",
                1e3 * forward / passes as f64,
                (sampled + after.forced_tokens - before.forced_tokens) as f64 / time,
                after.prefill_tokens - before.prefill_tokens,
                after.cached_tokens - before.cached_tokens,
                of_forward(after.mask_seconds - before.mask_seconds),
                of_forward(after.mask_wait_seconds - before.mask_wait_seconds),
                of_forward(after.choice_seconds - before.choice_seconds),
            );
            if concurrent == 1 {
                println!(
                    "                {} | {} ({} chosen, {} forced)",
                    last.thinking, last.text, last.sampled_tokens, last.forced_tokens
                );
            }
        }
    }
    Ok(())
}
