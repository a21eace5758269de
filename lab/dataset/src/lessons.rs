//! What can be learnt from one incident: its groups, its moves and what they bring about, its alerts.
//!
//! The incident is played as the planner would play it, on the view that it would have if it judged every group
//! rightly. At each point the menu's actions and some that look right and are not are tried in a copy of the world; the
//! judge's word is the label: what holds after the action and the attacker's answer to it. Then one of them is taken,
//! mostly the best, so that histories with detours occur as well.

use std::collections::BTreeSet;
use std::sync::Arc;

use countermove_incident::{AlertKind, RecoveryState, Tactic, VerbClass};
use countermove_planner::{Assessment, Case, Evidence, PlanOptions, Rendering, Templates, derive_seed};
use countermove_simulator::oracle::Oracle;
use countermove_simulator::phrasing::{STYLES, sentence};
use countermove_simulator::{Distractor, Outcome, Scenario, Showing, Truth, World, distractors};

use crate::error::DatasetError;
use crate::example::{Example, Task};
use crate::split::Split;
use crate::thoughts;

/// Most moves that are played.
const MOST_MOVES: usize = 9;
/// Wrong responses that are tried at each point.
const WRONG_RESPONSES: u64 = 2;
/// Of 100 moves, how many are not the best.
const DETOURS: u64 = 25;

/// Counts that tell how far the planner's view carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Incidents whose log shows the attack.
    pub incidents: u64,
    /// Of these, those whose attacked hosts the planner's code concludes rightly from right verdicts.
    pub right_targets: u64,
    /// Of these, those whose known attackers it concludes rightly as well.
    pub right_roles: u64,
    /// Questions about states with one open fact.
    pub states: u64,
    /// Of these, those whose label is what the count of what is left suggests.
    pub suggested: u64,
    /// Points of play at which nothing on the menu helped.
    pub stuck: u64,
    /// Points of play.
    pub points: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.incidents += other.incidents;
        self.right_targets += other.right_targets;
        self.right_roles += other.right_roles;
        self.states += other.states;
        self.suggested += other.suggested;
        self.stuck += other.stuck;
        self.points += other.points;
    }
}

/// The examples of one incident.
#[derive(Clone, Debug, Default)]
pub struct Lessons {
    /// The examples, in a fixed order.
    pub examples: Vec<Example>,
    /// How far the planner's view carries.
    pub tally: Tally,
}

/// The examples of one incident.
///
/// # Errors
/// If a prompt cannot be rendered.
pub fn lessons(
    scenario: &Scenario,
    split: Split,
    templates: &Arc<Templates>,
) -> Result<Lessons, DatasetError> {
    let log = scenario.evidence().unwrap_or_default();
    let showing = Showing::new(&scenario.truth);
    let evidence = Evidence {
        system_description: scenario.system.clone(),
        log,
        constraints: scenario.truth.constraints.iter().map(|one| one.text.clone()).collect(),
        notes: Vec::new(),
        baseline: None,
    };
    let context = PlanOptions::default().context_tokens as usize;
    let rendering = Rendering::new(templates.clone(), &evidence, context)?;
    let mut school = School { scenario, split, lessons: Lessons::default(), draws: 0 };
    let mut verdicts: Vec<Option<Tactic>> = Vec::new();
    for (at, records) in rendering.groups().enumerate() {
        let records = records.iter().filter_map(|position| evidence.log.records.get(*position));
        let shown = records.filter_map(|record| showing.of(record)).next();
        verdicts.push(shown);
        if let Some(rendered) = rendering.incident(at, shown)? {
            let turn = rendered.prompt.segments.last().map_or("", String::as_str);
            let think = thoughts::incident(turn, shown);
            school.add(Example::new(Task::Incident, split, &scenario.name, rendered, think));
        }
    }
    if scenario.truth.incident {
        let assessment = rendering.assess(&verdicts);
        let case = rendering.case(&assessment)?;
        school.alerts(&case)?;
        if assessment.is_incident {
            school.compare(&assessment);
            school.play(&case)?;
        }
    }
    Ok(school.lessons)
}

/// An action that was tried, and what it did.
struct Tried {
    action: String,
    outcome: Outcome,
}

struct School<'a> {
    scenario: &'a Scenario,
    split: Split,
    lessons: Lessons,
    draws: u64,
}

impl School<'_> {
    fn add(&mut self, example: Example) {
        self.lessons.examples.push(example);
    }

    /// A number below `bound`, from the scenario's seed.
    fn draw(&mut self, bound: u64) -> u64 {
        self.draws += 1;
        derive_seed(self.scenario.seed, "lessons", &[self.draws]) % bound.max(1)
    }

    /// Counts whether right verdicts give right roles.
    fn compare(&mut self, assessment: &Assessment) {
        let truth = &self.scenario.truth;
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let roles = &assessment.entities;
        let tally = &mut self.lessons.tally;
        tally.incidents += 1;
        let right_targets = set(&roles.to_clean()) == set(&truth.compromised);
        tally.right_targets += u64::from(right_targets);
        // What blocking has to reach, and no more: an own host among the attackers is isolated.
        let known: BTreeSet<String> = truth
            .requirements
            .iter()
            .take(1)
            .flat_map(|requirement| requirement.ways.first())
            .flat_map(|way| &way.needs)
            .flat_map(|need| &need.targets)
            .filter_map(|target| match target {
                countermove_simulator::Target::Attacker(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let named = set(&roles.attackers);
        tally.right_roles += u64::from(right_targets && known.is_subset(&named));
    }

    /// The alerts of each step, under its tactic; those of the last one come again as long as the attack goes on.
    fn alerts(&mut self, case: &Case<'_>) -> Result<(), DatasetError> {
        let scenario = self.scenario;
        let path = &scenario.truth.path;
        let steps = path.iter().enumerate();
        let again = path.last().map(|last| (path.len(), last));
        for (at, step) in steps.chain(again).filter(|(_, step)| !step.alerts.is_empty()) {
            // The last first, as the planner tells them.
            let mut seen: Vec<AlertKind> = Vec::new();
            let before = path.iter().take(at).filter(|earlier| earlier.tactic == step.tactic);
            let alerts = before.flat_map(|earlier| &earlier.alerts).rev();
            alerts.for_each(|alert| add_new(&mut seen, alert.alert_kind()));
            let mut expected: Vec<AlertKind> = Vec::new();
            step.alerts.iter().for_each(|alert| add_new(&mut expected, alert.alert_kind()));
            let rendered = case.alerts(step.tactic, &seen, &expected)?;
            let think = thoughts::alerts(step.tactic, &expected);
            self.add(Example::new(Task::Alerts, self.split, &scenario.name, rendered, think));
        }
        Ok(())
    }

    fn play(&mut self, case: &Case<'_>) -> Result<(), DatasetError> {
        let scenario = self.scenario;
        let mut world = World::new(scenario);
        let wrong = distractors(&scenario.truth, scenario.seed);
        let style = usize::try_from(self.draw(STYLES as u64)).unwrap_or(0);
        let mut oracle: Option<Oracle<'_>> = None;
        let mut history: Vec<String> = Vec::new();
        for _ in 0..MOST_MOVES {
            let before = world.state();
            if before.is_terminal() {
                break;
            }
            let mut tried: Vec<Tried> = Vec::new();
            for action in case.openings(before, &history)? {
                tried.push(attempt(&world, action));
            }
            // The first that helps: the menu has containment first, and what reaches most before what reaches less.
            let best = tried.iter().position(helps);
            self.lessons.tally.points += 1;
            self.lessons.tally.stuck += u64::from(best.is_none());
            if let Some(best) = best.and_then(|best| tried.get(best)) {
                let rendered = case.action(before, &history, &best.action)?;
                let think = thoughts::action(before, reached(before, &best.outcome));
                self.add(Example::new(Task::Action, self.split, &scenario.name, rendered, think));
            }
            for action in self.wrong_responses(&wrong) {
                tried.push(attempt(&world, action));
            }
            let mut planned = || {
                let oracle = oracle.get_or_insert_with(|| Oracle::new(&scenario.truth, style));
                oracle.plan_from(world.position()).and_then(|plan| plan.actions.into_iter().next())
            };
            // What the oracle does is learnt from in words other than the menu's, and gets play out of a dead end.
            let right = if best.is_none() || self.draw(3) == 0 { planned() } else { None };
            if let Some(right) = &right {
                tried.push(attempt(&world, right.text.clone()));
            }
            for one in &tried {
                self.state(case, before, &history, one)?;
            }
            let detour = self.draw(100) < DETOURS;
            let taken = match best {
                Some(best) if !detour => tried.get(best),
                None if !detour => tried.last(),
                _ => {
                    let at = usize::try_from(self.draw(tried.len() as u64)).unwrap_or(0);
                    tried.get(at)
                }
            };
            let Some(taken) = taken else { break };
            let outcome = world.apply(&taken.action);
            history.push(Case::told(&taken.action, before, outcome.state));
        }
        Ok(())
    }

    /// An example of what an action brought about, unless the planner would not ask.
    fn state(
        &mut self,
        case: &Case<'_>,
        before: RecoveryState,
        history: &[String],
        tried: &Tried,
    ) -> Result<(), DatasetError> {
        let after = reached(before, &tried.outcome);
        let Some(rendered) = case.state(before, history, &tried.action, after)? else { return Ok(()) };
        let gained: Vec<&'static str> = before
            .gained(after)
            .into_iter()
            .filter_map(|at| RecoveryState::LABELS.get(at).copied())
            .collect();
        let turn = rendered.prompt.segments.last().map_or("", String::as_str);
        if rendered.answer.matches(':').count() == 1 {
            let suggests = turn.contains(": nothing is left.");
            self.lessons.tally.states += 1;
            self.lessons.tally.suggested += u64::from(suggests != gained.is_empty());
        }
        let think = thoughts::state(turn, &gained);
        self.add(Example::new(Task::State, self.split, &self.scenario.name, rendered, think));
        Ok(())
    }

    /// Some responses that look right and are not, in words.
    fn wrong_responses(&mut self, wrong: &[Distractor]) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..WRONG_RESPONSES {
            let at = usize::try_from(self.draw(wrong.len() as u64)).unwrap_or(0);
            let style = usize::try_from(self.draw(STYLES as u64)).unwrap_or(0);
            let Some(one) = wrong.get(at) else { continue };
            let text = worded(&self.scenario.truth, one, style);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }
}

fn attempt(world: &World<'_>, action: String) -> Tried {
    let outcome = world.clone().apply(&action);
    Tried { action, outcome }
}

/// Whether an action of the menu helps and hurts nobody.
fn helps(tried: &Tried) -> bool {
    let outcome = &tried.outcome;
    !outcome.superfluous && !outcome.flipped.is_empty() && outcome.violations.is_empty()
}

/// The state after an action and the attacker's answer to it: what does not last was not brought about.
fn reached(before: RecoveryState, outcome: &Outcome) -> RecoveryState {
    before.union(outcome.state)
}

/// A wrong response in words. One without targets is vague.
fn worded(truth: &Truth, wrong: &Distractor, style: usize) -> String {
    if !wrong.targets.is_empty() {
        return sentence(truth, wrong.verb, &wrong.targets, style);
    }
    let vague: [&str; STYLES] = match wrong.verb {
        VerbClass::Contain => {
            ["Contain the attack.", "Block the attacker.", "Isolate what is affected.", "Restrict access."]
        }
        VerbClass::Preserve => {
            ["Preserve the evidence.", "Save all relevant data.", "Collect evidence.", "Keep the logs."]
        }
        VerbClass::Analyse => [
            "Investigate the incident.",
            "Analyse what happened.",
            "Review everything.",
            "Look into the alerts.",
        ],
        VerbClass::Eradicate => {
            ["Remove the threat.", "Eradicate the malware.", "Clean up.", "Evict the attacker."]
        }
        VerbClass::Harden => [
            "Harden the system.",
            "Patch what is vulnerable.",
            "Improve the security.",
            "Update the software.",
        ],
        VerbClass::Restore => {
            ["Restore the services.", "Bring everything back.", "Recover the system.", "Resume operation."]
        }
    };
    vague.get(style % STYLES).map_or_else(String::new, |text| (*text).to_owned())
}

fn add_new(kinds: &mut Vec<AlertKind>, kind: AlertKind) {
    if !kinds.contains(&kind) {
        kinds.push(kind);
    }
}
