//! What it costs to weigh the options of perception's questions, and what their probabilities are worth.
//!
//! `cargo run --release -p countermove-model --example options [-- QUESTIONS [ADAPTER]]` asks the default model which tactic
//! each of so many records shows, all at once, in turns without and with probabilities. The prompts share their beginning
//! and differ in their last 40 to 60 tokens, as perception's do.

use std::error::Error;
use std::time::Instant;

use countermove_model::{
    Completion, Engine, EngineOptions, LoadOptions, ModelSource, Priority, Request, home,
};
use serde_json::{Value, json};

const TACTICS: [&str; 14] = [
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
const RECORDS: [&str; 8] = [
    "possible SSH brute force login, 40 attempts within a minute",
    "DNS query for an update server of the vendor",
    "LSASS memory was read by a process that is not signed",
    "beacon to an address that is known for command and control",
    "scan of 1,000 ports from one outside address",
    "an archive of 2 GB left for a file sharing service",
    "volume shadow copies were deleted",
    "a new service was installed from a remote host",
];
const TURNS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let questions: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let load = LoadOptions { adapter: arguments.next().map(Into::into), ..LoadOptions::default() };
    let engine = Engine::start(
        ModelSource::default().load(&home(None), &load, &mut |_| {})?,
        EngineOptions::default(),
    )?;
    let schema = json!({"type": "object", "properties": {"Shows": {"enum": TACTICS}}, "required": ["Shows"]});
    // A first turn makes threads and buffers; every turn has a context that is in no cache.
    ask(&engine, &schema, questions, false, "warm").await?;
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..TURNS {
        for weigh_options in [false, true] {
            let before = engine.stats();
            let began = Instant::now();
            let answers =
                ask(&engine, &schema, questions, weigh_options, &format!("{turn} {weigh_options}")).await?;
            times[usize::from(weigh_options)].push(began.elapsed().as_secs_f64());
            let after = engine.stats();
            println!(
                "turn {turn}, {:>7}: {:.3} s, {} passes, {} prompt tokens computed, {} tokens weighed; {}",
                if weigh_options { "weighed" } else { "plain" },
                began.elapsed().as_secs_f64(),
                after.steps - before.steps,
                after.prefill_tokens - before.prefill_tokens,
                after.weighed_tokens - before.weighed_tokens,
                answers[0].text
            );
            if let Some(last) = answers.last().filter(|_| turn + 1 == TURNS && weigh_options) {
                for option in &last.options {
                    println!("    {:.4} {}", option.probability, option.value);
                }
            }
        }
    }
    let [plain, weighed] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 2]
    });
    println!("median of {TURNS}: {plain:.3} s plain, {weighed:.3} s weighed, {:.3} times", weighed / plain);
    Ok(())
}

async fn ask(
    engine: &Engine,
    schema: &Value,
    questions: usize,
    weigh_options: bool,
    context: &str,
) -> Result<Vec<Completion>, Box<dyn Error>> {
    let context =
        format!("Network {context}: hosts 10.0.0.1 to 10.0.0.99, a gateway and a sensor. ").repeat(12);
    let generations: Vec<_> = (0..questions)
        .map(|n| {
            let record = RECORDS[n % RECORDS.len()];
            engine.submit(Request {
                owner: String::new(),
                common_parts: 0,
                system: "You judge records of a log. Answer in JSON.".to_owned(),
                segments: vec![
                    context.clone(),
                    format!("Record {n}: {record}, 203.0.113.{n} to 10.0.0.{}. What does it show?", n % 7),
                ],
                thinking_tokens: 0,
                json_schema: Some(schema.clone()),
                weigh_options,
                max_tokens: 32,
                temperature: 0.0,
                top_p: 1.0,
                seed: 1,
                priority: Priority::Interactive,
            })
        })
        .collect();
    let mut answers = Vec::new();
    for generation in generations {
        answers.push(generation.completion().await?);
    }
    Ok(answers)
}
