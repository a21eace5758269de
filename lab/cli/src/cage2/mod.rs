//! `countermove-lab cage2`: plays CAGE Challenge 2 through a running cluster, beside simple rules.
//!
//! The world, its attackers and its score are the challenge's. What is seen becomes records, the cluster decides each round as it would
//! any incident that comes with a catalogue, and nothing of the truth or of the score reaches it.

mod records;
mod rules;
mod scores;
mod world;

use std::time::{Duration, Instant};

use countermove_incident::RecoveryState;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    CreateIncidentRequest, Evidence, PlanMode, PlanOptions, PlanStep, ReportAlertsRequest,
};

use self::records::records;
use self::rules::Rule;
use self::scores::Scores;
use self::world::{Begun, World};
use crate::args::{Cage2Args, Part};
use crate::write;
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

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Player {
    Rule(Rule),
    /// The cluster, without a part if one is named.
    Countermove(Option<Part>),
}

/// Work of one player.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    rounds: u32,
    tokens: u64,
    took: Duration,
}

impl Player {
    fn all() -> impl Iterator<Item = Player> {
        let parts = [None, Some(Part::Planning), Some(Part::Revision)];
        Rule::ALL.into_iter().map(Player::Rule).chain(parts.map(Player::Countermove))
    }

    fn name(self) -> &'static str {
        match self {
            Player::Rule(rule) => rule.name(),
            Player::Countermove(None) => "countermove",
            Player::Countermove(Some(Part::Planning)) => "without planning",
            Player::Countermove(Some(Part::Revision)) => "without revision",
        }
    }
}

/// Plays. Ctrl-C ends it, and what it has begun with it.
pub(crate) async fn cage2(
    arguments: Cage2Args,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    write::check(None, "cage2", arguments.chart.as_deref())?;
    let mut scores = Scores::open(arguments.scores.as_deref())?;
    let mut world = World::start(&arguments.world)?;
    let coordinator = Coordinator::connect(&arguments.remote).await?;
    let is_played = |player: &Player| match player {
        Player::Countermove(Some(part)) => arguments.ablate.contains(part),
        _ => true,
    };
    let players: Vec<Player> = Player::all().filter(is_played).collect();
    let mut works = vec![Work::default(); players.len()];
    let work = async {
        for red in &arguments.red {
            for seed in arguments.seeds() {
                let mut told = Vec::new();
                for (player, work) in players.iter().zip(&mut works) {
                    let score = match scores.of(red, *player, seed) {
                        Some(score) => score,
                        None => {
                            let arguments = &arguments;
                            let mut game =
                                Game { coordinator: &coordinator, console, world: &mut world, arguments };
                            let score = match player {
                                Player::Rule(rule) => {
                                    rule.play(game.world, red, seed, arguments.rounds).await?
                                }
                                Player::Countermove(without) => game.play(red, seed, *without, work).await?,
                            };
                            scores.take(red, *player, seed, score)?;
                            score
                        }
                    };
                    if matches!(player, Player::Countermove(_)) {
                        told.push(format!("{} {score:.1}", player.name()));
                    }
                }
                console.line(&format!("{red}, seed {seed}: {}", told.join(", ")));
            }
        }
        let pace = |player: Player| {
            let work = players.iter().position(|own| *own == player).and_then(|at| works.get(at))?;
            let rounds = f64::from(work.rounds);
            (rounds > 0.0).then(|| (work.took.as_secs_f64() / rounds, work.tokens as f64 / rounds))
        };
        let mut text = scores.table(&arguments.red, &players, pace);
        for worth in arguments.ablate.iter().filter_map(|part| scores.worth(*part)) {
            text += &format!("\n{worth}\n");
        }
        write_out(text.as_bytes())?;
        if let Some(path) = &arguments.chart {
            write::file(path, &scores.chart(&arguments.red, &players)?)?;
        }
        Ok(Exit::Success)
    };
    tokio::select! {
        played = work => played,
        () = interrupt.wait() => Ok(Exit::Interrupted),
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
        work: &mut Work,
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
                    work.rounds += 1;
                }
                Some(Kind::Ended(ended)) => break ended,
                _ => {}
            }
        };
        if !ended.error.is_empty() {
            return Err(Failure::Failed(ended.error));
        }
        let usage = ended.usage.unwrap_or_default();
        work.tokens += usage.sampled_tokens + usage.forced_tokens;
        work.took += started.elapsed();
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
        decisions::send_outcome(self.coordinator, name, step.index, state, played.worked, Vec::new()).await?;
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
}
