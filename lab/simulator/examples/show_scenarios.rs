//! Prints scenarios with their truth, or how fast they are made.
//!
//! `cargo run -p countermove-simulator --example show_scenarios -- [--data DIR] [--measure] SEED [COUNT]`

use std::path::Path;
use std::time::Instant;

use countermove_simulator::{Generator, GeneratorOptions, Scenario, Vocabulary};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let measure =
        arguments.iter().position(|word| word == "--measure").map(|place| arguments.remove(place)).is_some();
    let vocabulary = match arguments.iter().position(|word| word == "--data") {
        Some(place) => {
            arguments.remove(place);
            if place >= arguments.len() {
                return Err("--data needs a folder".into());
            }
            Vocabulary::read(Path::new(&arguments.remove(place)))?
        }
        None => Vocabulary::builtin(),
    };
    let number =
        |place: usize, usual: u64| arguments.get(place).map_or(Ok(usual), |text| text.parse::<u64>());
    let (first, count) = (number(0, 0)?, number(1, 1)?);
    let generator = Generator::new(&vocabulary, GeneratorOptions::default())?;
    let start = Instant::now();
    let mut bytes = 0;
    for seed in first..first.saturating_add(count) {
        let scenario = generator.scenario(seed);
        bytes += scenario.system.len() + scenario.log.len();
        if !measure {
            show(&scenario)?;
        }
    }
    if measure {
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{count} scenarios in {seconds:.2} s on one thread: {:.0}/s, {:.1} MB/s",
            count as f64 / seconds,
            bytes as f64 / seconds / 1e6
        );
    }
    Ok(())
}

fn show(scenario: &Scenario) -> Result<(), serde_json::Error> {
    println!("=== {} ({:?})\n{}\n{}", scenario.name, scenario.family, scenario.system, scenario.log);
    let mut truth = serde_json::to_value(&scenario.truth)?;
    if let Some(truth) = truth.as_object_mut() {
        truth.remove("hosts");
    }
    println!("{}", serde_json::to_string_pretty(&truth)?);
    Ok(())
}
