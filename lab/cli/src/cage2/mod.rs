//! `countermove-lab cage2`: plays CAGE Challenge 2 through a running cluster, beside simple rules.
//!
//! The world, its attackers and its score are the challenge's. What is seen becomes records, the cluster decides each round as it would
//! any incident that comes with a catalogue, and nothing of the truth or of the score reaches it.

mod records;
mod rules;
mod world;

use std::time::{Duration, Instant};

use countermove_incident::RecoveryState;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    CreateIncidentRequest, Evidence, PlanMode, PlanOptions, PlanStep, ReportAlertsRequest,
};
use countermove_simulator::evaluation::Difference;

use self::records::records;
use self::rules::Rule;
use self::world::{Begun, World};
use crate::args::{Cage2Args, Part};
use countermove::client::{Coordinator, bounded, request_id};
use countermove::console::Console;
use countermove::decisions;
use countermove::failure::{Exit, Failure};
use countermove::interrupt::Interrupt;
use countermove::plan::{Watch, write_out};

/// The challenge as a catalogue.
const CATALOGUE: &str = include_str!("../../data/cage2.toml");
/// Who approves, in the incident's record.
const APPROVER: &str = "countermove-lab cage2";

/// What games cost, of one player against one attacker.
#[derive(Debug, Default)]
struct Scores {
    totals: Vec<f64>,
    rounds: u32,
    tokens: u64,
    took: Duration,
}

/// Plays. Ctrl-C ends it, and what it has begun with it.
pub(crate) async fn cage2(
    arguments: Cage2Args,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let mut world = World::start(&arguments.world)?;
    let coordinator = Coordinator::connect(&arguments.remote).await?;
    let work = async {
        let mut lines = vec![
            "| attacker | player | games | score | seconds a round | tokens a round |".to_owned(),
            "|---|---|---:|---:|---:|---:|".to_owned(),
        ];
        // What the same games cost with a part switched off, and with all parts.
        let mut pairs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); arguments.ablate.len()];
        for red in &arguments.red {
            for rule in Rule::ALL {
                let mut scores = Scores::default();
                for seed in arguments.seeds() {
                    rule.play(&mut world, red, seed, arguments.rounds, &mut scores).await?;
                }
                lines.push(scores.line(red, rule.name()));
            }
            let mut whole = Scores::default();
            let mut without: Vec<Scores> = arguments.ablate.iter().map(|_| Scores::default()).collect();
            for seed in arguments.seeds() {
                let mut game =
                    Game { coordinator: &coordinator, console, world: &mut world, arguments: &arguments };
                let total = game.play(red, seed, None, &mut whole).await?;
                let mut told = format!("{red}, seed {seed}: {total:.1}");
                for (part, (scores, pairs)) in arguments.ablate.iter().zip(without.iter_mut().zip(&mut pairs))
                {
                    let other = game.play(red, seed, Some(*part), scores).await?;
                    told += &format!(", {other:.1} without {}", part.name());
                    pairs.push((total, other));
                }
                console.line(&told);
            }
            lines.push(whole.line(red, "countermove"));
            for (part, scores) in arguments.ablate.iter().zip(&without) {
                lines.push(scores.line(red, &format!("countermove without {}", part.name())));
            }
        }
        lines.extend(
            arguments.ablate.iter().zip(&pairs).filter_map(|(part, pairs)| worth(part.name(), pairs)),
        );
        write_out(format!("{}\n", lines.join("\n")).as_bytes())?;
        Ok(Exit::Success)
    };
    tokio::select! {
        played = work => played,
        () = interrupt.wait() => Ok(Exit::Interrupted),
    }
}

/// What a part is worth, over games that were played with and without it.
fn worth(part: &str, pairs: &[(f64, f64)]) -> Option<String> {
    let differences: Vec<f64> = pairs.iter().map(|(with, without)| with - without).collect();
    let Difference { mean, interval: (low, high), chance } = Difference::of(&differences)?;
    let lost = -pairs.iter().map(|(_, without)| without).sum::<f64>() / pairs.len() as f64;
    let share = if lost > 0.0 {
        format!(", {:.0} % of what it costs without", 100.0 * mean / lost)
    } else {
        String::new()
    };
    Some(format!(
        "\nWith {part} a game costs {mean:.2} less{share} (95 % {low:.2} to {high:.2}, p = {chance:.4}, {} games)",
        pairs.len()
    ))
}

impl Scores {
    fn line(&self, red: &str, player: &str) -> String {
        let count = self.totals.len().max(1) as f64;
        let mean = self.totals.iter().sum::<f64>() / count;
        let squares: f64 = self.totals.iter().map(|total| (total - mean).powi(2)).sum();
        let spread = (squares / (count - 1.0).max(1.0)).sqrt();
        let rounds = f64::from(self.rounds.max(1));
        let (seconds, tokens) = (self.took.as_secs_f64() / rounds, self.tokens as f64 / rounds);
        format!(
            "| {red} | {player} | {} | {mean:.2} ± {spread:.2} | {seconds:.2} | {tokens:.1} |",
            self.totals.len()
        )
    }
}

/// Games of the cluster.
struct Game<'a> {
    coordinator: &'a Coordinator,
    console: &'a Console,
    world: &'a mut World,
    arguments: &'a Cage2Args,
}

impl Game<'_> {
    /// Plays, without a part if one is named.
    async fn play(
        &mut self,
        red: &str,
        seed: u64,
        without: Option<Part>,
        scores: &mut Scores,
    ) -> Result<f64, Failure> {
        let begun = self.world.reset(seed, red).await?;
        let started = Instant::now();
        let request = CreateIncidentRequest {
            evidence: Some(Evidence { system_description: description(&begun), ..Evidence::default() }),
            options: Some(PlanOptions {
                mode: PlanMode::Interactive.into(),
                max_steps: self.arguments.rounds,
                // 0 is the coordinator's own number.
                candidates: u32::from(without == Some(Part::Planning)),
                rollouts: self.arguments.rollouts,
                seed: Some(seed),
                ..PlanOptions::default()
            }),
            catalogue: CATALOGUE.to_owned(),
            request_id: request_id(),
            ..CreateIncidentRequest::default()
        };
        let created = self.coordinator.incidents().create_incident(bounded(request)).await;
        let created = created.map_err(|status| self.coordinator.failure(&status))?;
        let name = created.into_inner().incident.unwrap_or_default().name;
        let mut watch = Watch::new(self.coordinator.clone(), name.clone(), self.console.clone(), true);
        let mut total = 0.0;
        let ended = loop {
            match watch.next().await?.kind {
                Some(Kind::Decided(step)) => {
                    decisions::send_approval(self.coordinator, &name, &step, APPROVER.to_owned()).await?;
                    total = self.round(&name, &step, without != Some(Part::Revision)).await?;
                    scores.rounds += 1;
                }
                Some(Kind::Ended(ended)) => break ended,
                _ => {}
            }
        };
        if !ended.error.is_empty() {
            return Err(Failure::Failed(ended.error));
        }
        let usage = ended.usage.unwrap_or_default();
        scores.tokens += usage.sampled_tokens + usage.forced_tokens;
        scores.took += started.elapsed();
        scores.totals.push(total);
        Ok(total)
    }

    /// Does what was decided, and tells what is seen then, if it is to be told. Gives the score so far.
    async fn round(&mut self, name: &str, step: &PlanStep, is_told: bool) -> Result<f64, Failure> {
        let action = decisions::chosen(step).action.unwrap_or_default().text;
        let played = self.world.act(&command(&action)?).await?;
        let alerts = records(&played.seen, step.index + 1);
        if is_told && !alerts.is_empty() {
            let request = ReportAlertsRequest {
                name: name.to_owned(),
                alerts,
                request_id: request_id(),
                validate_only: false,
            };
            let sent = self.coordinator.incidents().report_alerts(bounded(request)).await;
            sent.map_err(|status| self.coordinator.failure(&status))?;
        }
        let state = RecoveryState::default();
        decisions::send_outcome(self.coordinator, name, step.index, state, played.worked).await?;
        Ok(played.total)
    }
}

/// The hosts and where they are.
fn description(begun: &Begun) -> String {
    let address = |host: &String| {
        let addresses = begun.seen.get(host).into_iter().flat_map(|seen| &seen.addresses);
        addresses.map(String::as_str).next().unwrap_or_default().to_owned()
    };
    let lines = begun.hosts.iter().map(|host| format!("- {host} ({})", address(host)));
    format!("Hosts of the network:\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// An action of the catalogue in the words of the world.
fn command(action: &str) -> Result<String, Failure> {
    const VERBS: [(&str, &str, &str); 4] = [
        ("Search ", " for what an attacker left", "Analyse"),
        ("Stop the attacker's processes on ", "", "Remove"),
        ("Restore ", " from a clean image", "Restore"),
        ("Set up a decoy service on ", "", "Decoy"),
    ];
    let of = |(before, behind, verb): &(&str, &str, &str)| {
        let host = action.strip_prefix(before)?.strip_suffix(behind)?;
        Some(format!("{verb} {host}"))
    };
    match VERBS.iter().find_map(of) {
        Some(command) => Ok(command),
        None if action == "Watch for a round" => Ok("Monitor".to_owned()),
        None => Err(Failure::Failed(format!("the world cannot do {action:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::Catalogue;

    use super::*;

    #[test]
    fn the_challenge_is_a_catalogue_whose_actions_it_knows() {
        let catalogue = Catalogue::parse(CATALOGUE).unwrap();
        let said: Vec<String> =
            catalogue.actions.iter().map(|action| command(&action.on(Some("User1"))).unwrap()).collect();
        assert_eq!(said, ["Monitor", "Analyse User1", "Remove User1", "Restore User1", "Decoy User1"]);
        assert!(command("Unplug User1").is_err());
    }

    #[test]
    fn what_a_part_is_worth_is_told_over_pairs_of_games() {
        assert_eq!(worth("planning", &[]), None);
        let pairs: Vec<(f64, f64)> =
            (0..20).map(|game| (-8.0 - f64::from(game), -10.0 - f64::from(game))).collect();
        let told = worth("planning", &pairs).unwrap();
        assert!(
            told.starts_with("\nWith planning a game costs 2.00 less, 10 % of what it costs without (95 % 2.00 to 2.00, p = 0.0001"),
            "{told}"
        );
    }

    #[test]
    fn scores_are_told_with_their_spread() {
        let scores =
            Scores { totals: vec![-2.0, -4.0], rounds: 60, tokens: 120, took: Duration::from_secs(30) };
        assert_eq!(scores.line("b_line", "x"), "| b_line | x | 2 | -3.00 ± 1.41 | 0.50 | 2.0 |");
    }
}
