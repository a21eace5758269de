//! Makes scenarios from seeds.
//!
//! Invariant: whatever a requirement asks for can be known: every compromised host and every attacker that it names
//! shows in the log, or in the alerts that come while the scenario is played if the log is empty.
//! Invariant: every scenario can be recovered from without breaking a constraint.

mod alerts;
mod attack;
mod clock;
mod constraints;
mod evidence;
mod injections;
mod lines;
mod noise;
mod options;
mod outside;
mod requirements;
mod techniques;

use std::collections::BTreeSet;

use countermove_incident::{AlertFormat, Tactic};

use crate::data::{Flow, FlowStep, Vocabulary};
use crate::rng::Rng;
use crate::topology::{Topology, describe};
use crate::truth::{Family, Scenario, Truth};
use attack::Attack;
use clock::Clock;
use evidence::Evidence;
use injections::Spot;
use noise::Background;
pub use options::{GeneratorError, GeneratorOptions};
pub(crate) use requirements::requirements;

/// Most times that an attacker repeats a step before the next one, while a scenario is played.
const MOST_REPEATS: usize = 2;

/// Makes scenarios.
#[derive(Clone, Debug)]
pub struct Generator<'a> {
    vocabulary: &'a Vocabulary,
    options: GeneratorOptions,
}

/// A scenario with its evidence still apart from the text.
pub(crate) struct Made {
    pub(crate) scenario: Scenario,
    #[cfg_attr(not(test), allow(dead_code, reason = "tests compare it with what is read back"))]
    evidence: Evidence,
}

impl<'a> Generator<'a> {
    /// A generator of scenarios from this vocabulary.
    ///
    /// # Errors
    /// [`GeneratorError`] if an option or the vocabulary does not serve.
    pub fn new(
        vocabulary: &'a Vocabulary,
        options: GeneratorOptions,
    ) -> Result<Generator<'a>, GeneratorError> {
        options.check()?;
        let (rules, flows) = (vocabulary.rules().len(), vocabulary.flows().len());
        if rules == 0 || flows == 0 {
            return Err(GeneratorError::Vocabulary { rules, flows });
        }
        Ok(Generator { vocabulary, options })
    }

    /// The scenario of a seed. The same seed, options and vocabulary give the same bytes. If the vocabulary has too
    /// few rules to show an attack, the scenario is no incident.
    pub fn scenario(&self, seed: u64) -> Scenario {
        self.make(seed).scenario
    }

    fn make(&self, seed: u64) -> Made {
        let mut rng = Rng::new(seed);
        let topology = Topology::new(&self.options.topologies, &mut rng.fork());
        // Drawn whether or not it is asked for, so that the form changes nothing else.
        let drawn = rng.one_of(&AlertFormat::ALL);
        let format = self.options.format.unwrap_or(drawn);
        let with_year = rng.chance(60) || matches!(format, AlertFormat::Eve | AlertFormat::Bracketed);
        let draft = Draft { topology, seed, format, with_year };
        let mut attempts = [rng.fork(), rng.fork(), rng.fork(), rng.fork(), rng.fork(), rng.fork()];
        if !rng.chance(self.options.benign) {
            for attempt in &mut attempts {
                if let Some(made) = self.incident(&draft, attempt) {
                    return made;
                }
            }
        }
        self.benign(draft, &mut rng)
    }

    fn benign(&self, draft: Draft, rng: &mut Rng) -> Made {
        let topology = &draft.topology;
        let first = Clock::new(draft.with_year, rng);
        let mut last = first.clone();
        last.pass(3600, 20_000, rng);
        let background = Background { vocabulary: self.vocabulary, topology, span: [&first, &last] };
        let mut evidence = Evidence::default();
        // One of ten has nothing to tell.
        if !rng.chance(10) {
            background.add(&mut evidence, rng.between(1, 14), rng);
            if rng.chance(40) {
                background.audit(&mut evidence, rng);
            }
            if rng.chance(50) {
                background.add_lines(&mut evidence, rng.between(1, 8), rng);
            }
            if rng.chance(25) {
                background.mistyped_password(&mut evidence, rng);
            }
        }
        let constraints = constraints::constraints(topology, &[], &[], rng);
        let truth = Truth {
            hosts: topology.hosts.clone(),
            accounts: topology.accounts.clone(),
            constraints,
            ..Truth::default()
        };
        let outside = outside::address(rng);
        self.finish(draft, truth, evidence, Story { flow: String::new(), source: outside, clock: last }, rng)
    }

    fn incident(&self, draft: &Draft, rng: &mut Rng) -> Option<Made> {
        let mut draft = draft.clone();
        let flow = rng.pick(self.vocabulary.flows())?;
        let steps = shortened(flow, rng);
        let silent = rng.chance(self.options.silent);
        let with_lines = !silent && rng.chance(60);
        let mut clock = Clock::new(draft.with_year, rng);
        let first = clock.clone();
        let mut evidence = Evidence::default();
        let mut attack = Attack::new(self.vocabulary, &mut draft.topology, &steps, with_lines, rng);
        let shown = rng.between(steps.len().div_ceil(2), steps.len());
        for step in steps.iter().take(shown) {
            attack.go(step, Some(&mut evidence), &mut clock, rng);
        }
        let last = clock.clone();
        attack.spreading = false;
        let (coming, switch) = self.coming(steps.get(shown..).unwrap_or_default(), &attack, rng);
        // As long as nobody stops it, an attacker goes on with what it does before it does something else.
        let mut turns_at = None;
        for (place, step) in coming.iter().enumerate() {
            for _ in 0..rng.between(1, MOST_REPEATS) {
                attack.go_on(&mut clock, rng);
            }
            if switch == Some(place) {
                turns_at = Some(attack.path.len());
            }
            attack.go(step, None, &mut clock, rng);
        }
        if rng.chance(self.options.lossy) {
            lose_a_step(&mut attack, shown, rng);
        }
        // Of a silent scenario the alerts come while it is played.
        let seen = if silent { attack.path.len() } else { shown };
        if attack.taken.is_empty() || !all_is_seen(&attack, seen) {
            return None;
        }
        for step in attack.path.iter().take(shown) {
            step.alerts.iter().for_each(|alert| evidence.add(alert.clone()));
        }
        let mut truth = self.truth(&attack, &evidence, seen, silent, rng);
        truth.stage = if silent { 0 } else { shown };
        truth.switch = turns_at;
        evidence.categories.append(&mut attack.categories);
        let story = Story { flow: flow.name.clone(), source: attack.origin.clone(), clock: last };
        if silent {
            evidence.clear();
        } else {
            let background = Background {
                vocabulary: self.vocabulary,
                topology: attack.topology,
                span: [&first, &story.clock],
            };
            background.add(&mut evidence, rng.below(12), rng);
            if with_lines {
                background.add_lines(&mut evidence, rng.below(6), rng);
            }
            if rng.chance(15) {
                background.audit(&mut evidence, rng);
            }
        }
        Some(self.finish(draft, truth, evidence, story, rng))
    }

    /// The steps that come while the scenario is played, and at which of them the line of attack changes.
    fn coming(
        &self,
        rest: &[FlowStep],
        attack: &Attack<'_>,
        rng: &mut Rng,
    ) -> (Vec<FlowStep>, Option<usize>) {
        let mut coming = rest.to_vec();
        if !rng.chance(self.options.switching) {
            return (coming, None);
        }
        coming.truncate(rng.below(coming.len() + 1));
        let before = coming.last().map(|step| step.tactic).or(attack.path.last().map(|step| step.tactic));
        let Some(other) = rng.pick(self.vocabulary.flows()) else { return (coming, None) };
        let tail: Vec<FlowStep> = shortened(other, rng)
            .into_iter()
            .skip(1)
            .skip_while(|step| Some(step.tactic) == before)
            .take(2)
            .collect();
        let switch = (!tail.is_empty()).then_some(coming.len());
        coming.extend(tail);
        (coming, switch)
    }

    fn truth(
        &self,
        attack: &Attack<'_>,
        evidence: &Evidence,
        shown: usize,
        silent: bool,
        rng: &mut Rng,
    ) -> Truth {
        let topology = &*attack.topology;
        let mut attackers = vec![attack.origin.clone()];
        attackers.extend(Some(attack.control.clone()).filter(|control| *control != attack.origin));
        attackers.extend(attack.domain.clone());
        let in_lines = |name: &str| {
            let mut records = evidence.records();
            !silent && records.any(|record| !record.is_alert() && record.message.contains(name))
        };
        let seen =
            |name: &String, steps| addresses_seen(attack, steps).contains(name.as_str()) || in_lines(name);
        // What neither acts nor shows is no part of the incident.
        attackers.retain(|name| {
            attack.path.iter().any(|step| step.source == *name) || seen(name, attack.path.len())
        });
        let mut known = attackers.clone();
        known.retain(|name| seen(name, shown));
        let address = |place: &usize| attack.host(*place).address.clone();
        let compromised: Vec<String> = attack.taken.iter().map(|(place, _)| address(place)).collect();
        let mut truth = Truth {
            incident: true,
            hosts: topology.hosts.clone(),
            accounts: topology.accounts.clone(),
            constraints: constraints::constraints(topology, &compromised, &known, rng),
            attackers,
            compromised,
            path: attack.path.clone(),
            ..Truth::default()
        };
        let fallen: Vec<(&str, _)> = attack
            .taken
            .iter()
            .map(|(place, offer)| (attack.host(*place).address.as_str(), *offer))
            .collect();
        let pivots: Vec<String> = attack.pivots.iter().map(address).collect();
        truth.requirements = requirements::requirements(&truth, &fallen, &pivots, &known);
        truth
    }

    /// Injections, description and text.
    fn finish(
        &self,
        draft: Draft,
        mut truth: Truth,
        mut evidence: Evidence,
        story: Story,
        rng: &mut Rng,
    ) -> Made {
        let Draft { topology, seed, format, .. } = draft;
        let mut apart = rng.fork();
        if apart.chance(self.options.injected) && !evidence.is_empty() {
            truth.injections.extend(injections::injection(&truth, &mut apart));
        }
        for injection in &truth.injections {
            let target = truth.compromised.first().or(truth.hosts.get(1).map(|host| &host.address));
            if let Some(host) = target.and_then(|address| truth.host(address)) {
                let spot = Spot { source: &story.source, host, format, clock: &story.clock };
                injections::plant(&mut evidence, injection, spot, &mut apart);
            }
        }
        evidence.sort();
        let system = describe(&topology, &truth.constraints, rng);
        let rule_categories = evidence.categories.iter().cloned().collect();
        let family = Family { flow: story.flow, topology: topology.family.to_owned(), rule_categories };
        let log = evidence.render(format);
        let scenario = Scenario {
            name: format!("simulated-{seed:016x}"),
            seed,
            system,
            log,
            remarks: String::new(),
            format,
            family,
            truth,
        };
        Made { scenario, evidence }
    }
}

/// What a scenario begins with.
#[derive(Clone)]
struct Draft {
    topology: Topology,
    seed: u64,
    format: AlertFormat,
    with_year: bool,
}

/// What a scenario's end needs of its beginning.
struct Story {
    flow: String,
    /// Address from which an instruction is sent.
    source: String,
    clock: Clock,
}

/// Three to seven steps of a flow in its order, the first included. Of steps with the same tactic in a row one is
/// kept, and none that happens outside the network.
fn shortened(flow: &Flow, rng: &mut Rng) -> Vec<FlowStep> {
    let mut steps: Vec<FlowStep> = Vec::new();
    for step in &flow.steps {
        let invisible = step.tactic == Tactic::ResourceDevelopment;
        match steps.last_mut() {
            _ if invisible => {}
            Some(last) if last.tactic == step.tactic => {
                if rng.chance(50) {
                    *last = step.clone();
                }
            }
            _ => steps.push(step.clone()),
        }
    }
    let most = rng.between(3, 7);
    while steps.len() > most {
        let place = rng.between(1, steps.len() - 1);
        // Flows of dozens of steps move on once or twice; what is left of one should mostly do so as well.
        let moves_on = steps.get(place).is_some_and(|step| step.tactic == Tactic::LateralMovement);
        if !moves_on || rng.chance(20) {
            steps.remove(place);
        }
    }
    steps.dedup_by_key(|step| step.tactic);
    steps
}

/// Takes the alerts of a step away, if everything that matters shows in the others.
fn lose_a_step(attack: &mut Attack<'_>, shown: usize, rng: &mut Rng) {
    let place = rng.below(shown);
    let Some(alerts) = attack.path.get_mut(place).map(|step| std::mem::take(&mut step.alerts)) else {
        return;
    };
    if !all_is_seen(attack, shown)
        && let Some(step) = attack.path.get_mut(place)
    {
        step.alerts = alerts;
    }
}

/// Whether the alerts of the first steps show every host that fell, and something of the attacker.
fn all_is_seen(attack: &Attack<'_>, steps: usize) -> bool {
    let seen = addresses_seen(attack, steps);
    let hosts = attack.taken.iter().all(|(place, _)| seen.contains(attack.host(*place).address.as_str()));
    hosts && (seen.contains(attack.origin.as_str()) || seen.contains(attack.control.as_str()))
}

fn addresses_seen<'a>(attack: &'a Attack<'_>, steps: usize) -> BTreeSet<&'a str> {
    let alerts = attack.path.iter().take(steps).flat_map(|step| &step.alerts);
    alerts
        .flat_map(|alert| [&alert.source, &alert.destination])
        .flatten()
        .map(|end| end.address.as_str())
        .collect()
}

#[cfg(test)]
mod tests;
