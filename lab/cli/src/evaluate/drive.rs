//! Plays one scenario as an operator would: sends the evidence, approves each action, carries it out in the simulated
//! world, reports the alerts that follow and what was found.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use countermove_incident::{AlertKind, Pricing, Tactic};
use countermove_proto::v1;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    Assessment, CreateIncidentRequest, Evidence, ExpectedAlerts, Incident, PlanEnd, PlanEnded, PlanMode,
    PlanOptions, PlanStep, ReportAlertsRequest,
};
use countermove_simulator::evaluation::{Episode, Likely, Move, with_inventory};
use countermove_simulator::{Scenario, World};
use countermove_wire::{FromMessage, IntoMessage, recovery_state};

use countermove::client::{Coordinator, bounded, request_id};
use countermove::console::Console;
use countermove::decisions;
use countermove::failure::Failure;
use countermove::plan::{Watch, revised};

/// Who approves, in the incident's record.
const APPROVER: &str = "countermove-lab evaluate";

/// How a scenario is played.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Options of each plan; the seed is that of the run.
    pub(super) options: PlanOptions,
    /// What actions cost, if the coordinator is not to say.
    pub(super) costs: Option<Pricing>,
    /// In how many portions the log is sent: the first at the beginning, another after each action.
    pub(super) portions: usize,
    /// Whether the planner hears what came of its actions. If not, it goes on from what it predicted.
    pub(super) told: bool,
    /// Whether it hears which of the hosts that an action searched the attacker got into.
    pub(super) finds: bool,
}

impl Rules {
    /// What actions cost in a scenario: of costs in minutes, its hosts are the inventory.
    pub(super) fn costs_in(&self, scenario: &Scenario) -> Option<Pricing> {
        self.costs.as_ref().map(|pricing| match pricing {
            Pricing::Minutes(table) => Pricing::Minutes(Arc::new(with_inventory(table, &scenario.truth))),
            other => other.clone(),
        })
    }

    /// Prices what was done, if costs are in minutes.
    pub(super) fn price(&self, scenario: &Scenario, episode: &mut Episode) {
        if let Some(pricing @ Pricing::Minutes(_)) = self.costs_in(scenario) {
            episode.price(&*pricing.model(&[]));
        }
    }
}

/// Plays a scenario. A fault ends the episode early and is noted in it. Where an action is one that an injected instruction
/// asks for, the scenario is played once more without the instruction, to see whether it was obeyed.
pub(super) async fn play(
    coordinator: &Coordinator,
    console: &Console,
    scenario: &Scenario,
    rules: &Rules,
    episode: Episode,
) -> Episode {
    let blank = episode.clone();
    let mut episode = once(coordinator, console, scenario, rules, episode).await;
    if episode.follows_instructions() {
        let control = once(coordinator, console, &scenario.without_instructions(), rules, blank).await;
        episode.discount(&control);
    }
    episode
}

async fn once(
    coordinator: &Coordinator,
    console: &Console,
    scenario: &Scenario,
    rules: &Rules,
    mut episode: Episode,
) -> Episode {
    let begun = Instant::now();
    let mut portions = VecDeque::from(scenario.portions(rules.portions));
    let scenario = &Scenario { log: portions.pop_front().unwrap_or_default(), ..scenario.clone() };
    let world = World::new(scenario);
    let mut operator = Operator { coordinator, console, rules, world, portions, name: String::new() };
    if let Err(failure) = operator.work(scenario, &mut episode).await {
        episode.error = Some(failure.to_string());
        if !operator.name.is_empty() {
            // The fault is told already; an incident that cannot be cancelled ends with its coordinator.
            let _ = countermove::plan::cancel(coordinator, &operator.name).await;
        }
    }
    rules.price(scenario, &mut episode);
    episode.elapsed = begun.elapsed();
    episode
}

/// Sends a scenario's evidence; with `dry` nothing is planned, and the options in force are told.
pub(super) async fn create(
    coordinator: &Coordinator,
    scenario: &Scenario,
    rules: &Rules,
    dry: bool,
) -> Result<Incident, Failure> {
    let request = CreateIncidentRequest {
        evidence: Some(Evidence {
            system_description: scenario.system.clone(),
            alerts: scenario.log.clone(),
            remarks: scenario.remarks.clone(),
            constraints: scenario.constraints(),
            notes: Vec::new(),
            ..Evidence::default()
        }),
        options: Some(PlanOptions { mode: PlanMode::Interactive.into(), ..rules.options }),
        cost_model: rules.costs_in(scenario).as_ref().map(IntoMessage::into_message),
        request_id: request_id(),
        validate_only: dry,
        ..CreateIncidentRequest::default()
    };
    let created = coordinator.incidents().create_incident(bounded(request)).await;
    let created = created.map_err(|status| coordinator.failure(&status))?;
    Ok(created.into_inner().incident.unwrap_or_default())
}

struct Operator<'a> {
    coordinator: &'a Coordinator,
    console: &'a Console,
    rules: &'a Rules,
    world: World<'a>,
    /// What is in the log and was not sent yet.
    portions: VecDeque<String>,
    name: String,
}

impl Operator<'_> {
    async fn work(&mut self, scenario: &Scenario, episode: &mut Episode) -> Result<(), Failure> {
        let mut sent = scenario.clone();
        let mut watch = self.open(&sent).await?;
        loop {
            match watch.next().await?.kind {
                Some(Kind::Assessed(assessment)) => {
                    let (verdict, tactics) = read(&assessment);
                    episode.assess(verdict, tactics, &scenario.truth);
                }
                Some(Kind::Decided(step)) => self.act(&step, episode).await?,
                Some(Kind::Revised(revision)) => {
                    self.console.line(&format!("  {}: {}", scenario.name, revised(&revision)));
                }
                Some(Kind::Ended(ended)) => match self.portions.pop_front() {
                    // More alerts are reason enough to ask again.
                    Some(portion) if ended.end() == PlanEnd::NoIncident => {
                        sent.log.push_str(&portion);
                        self.console.line(&format!("  {}: no incident so far", scenario.name));
                        watch = self.open(&sent).await?;
                    }
                    _ => return end(&ended, episode),
                },
                _ => {}
            }
        }
    }

    /// Opens an incident and follows it.
    async fn open(&mut self, scenario: &Scenario) -> Result<Watch, Failure> {
        self.name = create(self.coordinator, scenario, self.rules, false).await?.name;
        Ok(Watch::new(self.coordinator.clone(), self.name.clone(), self.console.clone(), true))
    }

    /// Approves the chosen action, carries it out and tells what came of it.
    async fn act(&mut self, step: &PlanStep, episode: &mut Episode) -> Result<(), Failure> {
        let chosen = decisions::chosen(step);
        let action = chosen.action.unwrap_or_default().text;
        let predicted = chosen.predicted_state.map(recovery_state);
        let likely =
            chosen.cost.and_then(|cost| Some(Likely { low: cost.likely_low?, high: cost.likely_high }));
        decisions::send_approval(self.coordinator, &self.name, step, APPROVER.to_owned()).await?;
        let before = self.world.state();
        let outcome = self.world.apply(&action);
        let portion = self.portions.pop_front().unwrap_or_default();
        let alerts = portion + &outcome.rendered(self.world.scenario().format);
        let state = if self.rules.told { outcome.state } else { predicted.unwrap_or(outcome.state) };
        if self.rules.told && !alerts.is_empty() {
            let request = ReportAlertsRequest {
                name: self.name.clone(),
                alerts,
                request_id: request_id(),
                validate_only: false,
            };
            let sent = self.coordinator.incidents().report_alerts(bounded(request)).await;
            sent.map_err(|status| self.coordinator.failure(&status))?;
        }
        let mut made = Move { likely, ..Move::new(action, before, predicted, &outcome) };
        if let Some(expected) = &step.expected_alerts {
            made.expected(&kinds(expected), &outcome);
        }
        episode.moves.push(made);
        let (fallen, clean) = if self.rules.finds { outcome.searched } else { Default::default() };
        let findings = decisions::findings(fallen, clean);
        decisions::send_outcome(self.coordinator, &self.name, step.index, state, None, findings).await
    }
}

fn kinds(expected: &ExpectedAlerts) -> Vec<AlertKind> {
    let kind = |kind: &v1::AlertKind| {
        AlertKind::new(&kind.classification, kind.priority.and_then(|priority| priority.try_into().ok()))
    };
    expected.kinds.iter().map(kind).collect()
}

fn read(assessment: &Assessment) -> (bool, Vec<Tactic>) {
    let tactics = assessment.tactics.iter().filter_map(|belief| Tactic::from_message(belief.tactic()).ok());
    (assessment.is_incident, tactics.collect())
}

/// Notes the work behind the plan.
fn end(ended: &PlanEnded, episode: &mut Episode) -> Result<(), Failure> {
    let usage = ended.usage.unwrap_or_default();
    episode.tokens = Some(usage.sampled_tokens + usage.forced_tokens);
    episode.rollouts = Some(usage.rollouts);
    // An incident for which no action could be proposed was played to its end, whatever it says.
    match ended.end() {
        PlanEnd::Failed => Err(Failure::Failed(ended.error.clone())),
        _ => Ok(()),
    }
}
