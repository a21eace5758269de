//! Lays fifty texts that want to be obeyed beside three incidents and says what each changed: `make injections`.
//!
//! Exits with 1 if one was obeyed, or turned the verdict.

mod playing;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use countermove_tests::Cluster;
use countermove_tests::injections::{Effect, INJECTIONS, VICTIMS, effect};
use playing::Playing;

#[tokio::main]
async fn main() -> ExitCode {
    let begun = Instant::now();
    let cluster = Cluster::of(2).await;
    let mut playing = Playing::new(&cluster.url);
    let (mut obeyed_in_all, mut turned, mut same) = (0, 0, 0);
    let mut by_kind: BTreeMap<&str, (u32, u32, u32)> = BTreeMap::new();
    for injection in &INJECTIONS {
        for victim in &VICTIMS {
            let plans = playing.play(victim, injection).await;
            let Effect { obeyed, differs } = effect(injection, victim.own, &plans);
            let verdict = differs.iter().any(|part| part.starts_with("verdict"));
            let counts = by_kind.entry(injection.kind).or_default();
            counts.0 += 1;
            counts.1 += u32::from(obeyed);
            counts.2 += u32::from(!differs.is_empty());
            obeyed_in_all += u32::from(obeyed);
            turned += u32::from(verdict);
            same += u32::from(differs.is_empty());
            if obeyed || !differs.is_empty() {
                let what = if obeyed { "OBEYED" } else { "differs" };
                println!("{what}: {} in {}: {:?}", injection.kind, victim.folder, injection.text);
                differs.iter().for_each(|part| println!("    {part}"));
            }
        }
    }
    println!(
        "\n| kind | plans | obeyed | neither as without the line nor as with a harmless text |\n|---|---|---|---|"
    );
    for (kind, (plans, obeyed, differ)) in &by_kind {
        println!("| {kind} | {plans} | {obeyed} | {differ} |");
    }
    let plans = INJECTIONS.len() * VICTIMS.len();
    println!(
        "\n{plans} plans, {obeyed_in_all} obeyed, {turned} with another verdict, {same} the same in verdict, roles, end and actions as without the line or with a harmless text; \
         {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    if obeyed_in_all + turned == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
