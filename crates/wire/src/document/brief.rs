//! A plan in short: what has to be known before the next action is carried out, in the order in which it is asked.

use super::{
    Assurance, Belief, Candidate, CostKind, End, HeldAccount, Mode, PlanDocument, Reversibility, State, Step,
    Suspect,
};

/// The six facts of recovery in a word each, in the order of [`State::facts`].
pub const FACTS: [&str; 6] = ["contained", "understood", "preserved", "eradicated", "hardened", "recovered"];

/// Hosts and accounts that are less likely the attacker's are not told; the document has them all.
pub const LEAST_SUSPECTED: f32 = 0.01;

/// From this chance on it is told that something unseen may stand against a fact.
const TOLD_HINDRANCE: f32 = 0.1;

/// From this chance on somebody is said to be compromised, below it that they may be.
const LIKELY: f32 = 0.5;

/// Names of one kind that are told; of the others their number.
const NAMED: usize = 6;

/// What a line of a plan in short is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What is believed of the attack, and how surely.
    Believed,
    /// The next action.
    Now,
    /// What it is for.
    Because,
    /// What recovery costs from there, and how surely nothing is cheaper.
    Costs,
    /// Whom it cuts off, locks out or cleans.
    TakesDown,
    /// How well it can be taken back.
    Undo,
    /// How it is carried out, where the organisation says.
    How,
    /// What may go wrong.
    Risks,
    /// What would change the choice.
    Decisive,
    /// The actions after it.
    Then,
}

impl Topic {
    /// A word or two before the line.
    pub fn label(self) -> &'static str {
        match self {
            Topic::Believed => "believed",
            Topic::Now => "do now",
            Topic::Because => "because",
            Topic::Costs => "costs",
            Topic::TakesDown => "takes down",
            Topic::Undo => "undo",
            Topic::How => "how",
            Topic::Risks => "may fail",
            Topic::Decisive => "find out",
            Topic::Then => "then",
        }
    }
}

impl PlanDocument {
    /// The plan in short; nothing where there is no action to take. Several lines of one topic follow each other.
    pub fn brief(&self) -> Vec<(Topic, String)> {
        let Some((step, chosen)) = self.next_step().and_then(|step| Some((step, step.chosen_candidate()?)))
        else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        let mut tell = |topic, text: String| {
            if !text.trim().is_empty() {
                lines.push((topic, text));
            }
        };
        tell(Topic::Believed, self.believed(step));
        tell(Topic::Now, chosen.action.text.clone());
        tell(Topic::Because, chosen.action.explanation.clone());
        tell(Topic::Costs, costs(chosen, step.assurance.as_ref(), self.cost_model.kind));
        let down = listed(chosen.takes_down.iter().cloned());
        let down = if chosen.takes_down.is_empty() { "nobody".to_owned() } else { down };
        tell(Topic::TakesDown, chosen.provided(down));
        if let Some(assurance) = &step.assurance {
            tell(Topic::Undo, assurance.reversibility.taken_back().to_owned());
        }
        for order in &chosen.orders {
            tell(Topic::How, order.told());
        }
        for risk in risks(step, chosen) {
            tell(Topic::Risks, risk);
        }
        for wanted in step.assurance.iter().flat_map(|assurance| &assurance.wanted_evidence) {
            tell(Topic::Decisive, wanted.clone());
        }
        let after = self.steps.iter().filter(|other| other.index > step.index);
        for later in after {
            let action = later.action.as_ref().map(|action| action.text.clone()).unwrap_or_default();
            let action = later.chosen_candidate().map_or(action.clone(), |chosen| chosen.provided(action));
            tell(Topic::Then, format!("{}. {action}", u64::from(later.index) + 1));
        }
        lines
    }

    /// The step that a person has to decide or carry out next: the first of an offline plan, the last of an interactive one.
    fn next_step(&self) -> Option<&Step> {
        match self.options.mode {
            Mode::Interactive => self.steps.last().filter(|_| self.end.is_none()),
            Mode::Offline | Mode::Unspecified => {
                self.steps.first().filter(|_| self.end.is_none_or(|end| end != End::NoIncident))
            }
        }
    }

    fn believed(&self, step: &Step) -> String {
        let assessment = self.assessment.as_ref();
        let belief = step.belief.as_ref();
        let hosts: &[Suspect] = belief
            .map(|belief| &belief.compromised)
            .or(assessment.map(|own| &own.compromised))
            .map_or(&[], |all| all);
        let accounts: &[HeldAccount] = belief
            .map(|belief| &belief.held_accounts)
            .or(assessment.map(|own| &own.held_accounts))
            .map_or(&[], |all| all);
        let attackers = assessment.map(|own| own.attackers.as_slice()).unwrap_or_default();
        let of = |is_told: fn(f32) -> bool| {
            let hosts =
                hosts.iter().filter(move |one| is_told(one.probability) && !attackers.contains(&one.host));
            listed(hosts.map(|one| likely(&one.host, one.probability)))
        };
        let accounts = accounts.iter().filter(|one| one.probability >= LEAST_SUSPECTED);
        let told = [
            ("the attacker comes from", listed(attackers.iter().cloned())),
            ("it has", of(|chance| chance >= LIKELY)),
            ("it may have", of(|chance| (LEAST_SUSPECTED..LIKELY).contains(&chance))),
            ("of accounts it has", listed(accounts.map(|one| likely(&one.account, one.probability)))),
        ];
        let told: Vec<String> = told
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what} {names}"))
            .collect();
        told.join("; ")
    }
}

impl Step {
    /// The candidate that is chosen; none only if the step names one that it does not have.
    pub fn chosen_candidate(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.index == self.chosen)
    }

    /// Proposals that were thrown away, by their reasons: each reason once, with the actions and how often each was proposed.
    pub fn thrown_away(&self) -> Vec<(&str, Vec<(&str, usize)>)> {
        let mut reasons: Vec<(&str, Vec<(&str, usize)>)> = Vec::new();
        for rejected in &self.rejected {
            let (reason, action) = (rejected.reason.as_str(), rejected.action.text.as_str());
            let place = reasons.iter().position(|(known, _)| *known == reason).unwrap_or_else(|| {
                reasons.push((reason, Vec::new()));
                reasons.len() - 1
            });
            let Some((_, actions)) = reasons.get_mut(place) else { continue };
            match actions.iter_mut().find(|(known, _)| *known == action) {
                Some((_, times)) => *times += 1,
                None => actions.push((action, 1)),
            }
        }
        reasons
    }

    /// The first candidate before this one that costs the same in every figure.
    pub fn costs_as(&self, candidate: &Candidate) -> Option<&Candidate> {
        let before = self.candidates.iter().take_while(|other| other.index != candidate.index);
        before.filter(|_| candidate.cost.mean.is_some()).find(|other| other.cost == candidate.cost)
    }
}

impl Candidate {
    /// What is said of it, with the hosts that it is to take down only once a search has shown something.
    fn provided(&self, text: String) -> String {
        match self.awaits_search.as_slice() {
            [] => text,
            [one] => format!("{text} ({one} only if the search shows that the attacker got in)"),
            several => {
                format!(
                    "{text} (of {} only those in which the search shows the attacker)",
                    several.join(", ")
                )
            }
        }
    }
}

impl Belief {
    /// What no record tells of and may stand against facts that do not hold, in a sentence; none if nothing is likely enough to be
    /// told.
    pub fn hindered(&self, state: &State) -> Option<String> {
        let facts = FACTS.into_iter().zip(state.facts()).filter(|(_, (_, holds))| !holds);
        let hindered: Vec<String> = facts
            .filter_map(|(word, (name, _))| {
                let hindrance = self.hindered.iter().find(|one| one.fact == name)?;
                (hindrance.probability >= TOLD_HINDRANCE).then(|| likely(word, hindrance.probability))
            })
            .collect();
        let stands = format!("something that no record tells of stands against: {}", hindered.join(", "));
        let returns = format!("the attacker comes back from another address ({:.0} %)", 100.0 * self.returns);
        let is_told = self.returns >= TOLD_HINDRANCE && !state.is_attack_contained;
        let told: Vec<String> = [(!hindered.is_empty()).then_some(stands), is_told.then_some(returns)]
            .into_iter()
            .flatten()
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

impl Reversibility {
    /// How well an action can be taken back, as the rest of a sentence.
    pub fn taken_back(self) -> &'static str {
        match self {
            Reversibility::Harmless => "it changes nothing",
            Reversibility::Reversible => "it can be taken back",
            Reversibility::Laborious => "it is hard to take back",
            Reversibility::Irreversible => "it cannot be taken back",
            Reversibility::Unspecified => "nobody knows whether it can be taken back",
        }
    }
}

/// A name with a chance.
pub fn likely(name: &str, probability: f32) -> String {
    format!("{name} ({:.0} %)", 100.0 * probability)
}

/// The first names, and how many more there are.
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMED);
    let shown = names.get(..names.len() - more).unwrap_or_default().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn costs(chosen: &Candidate, assurance: Option<&Assurance>, kind: CostKind) -> String {
    let cost = &chosen.cost;
    let Some(mean) = cost.mean else {
        return "not known: no rollout reached recovery".to_owned();
    };
    let unit = match kind {
        CostKind::Minutes => " minutes",
        CostKind::Unit | CostKind::Superfluous | CostKind::Unspecified => "",
    };
    let range = match (cost.likely_low, cost.likely_high) {
        (Some(low), Some(high)) => format!(", nine times in ten {low:.2} to {high:.2}"),
        (Some(low), None) => format!(", nine times in ten {low:.2} or more"),
        _ => String::new(),
    };
    let sure = assurance.map(|own| format!("; {:.0} % that nothing is cheaper", 100.0 * own.chance));
    format!("{mean:.2}{unit} to recovery{range}{}", sure.unwrap_or_default())
}

/// What may go wrong, a sentence each.
fn risks(step: &Step, chosen: &Candidate) -> Vec<String> {
    let cost = &chosen.cost;
    let total: u64 =
        [cost.terminal, cost.truncated, cost.malformed, cost.cancelled].into_iter().map(u64::from).sum();
    let failed = u64::from(cost.truncated) + u64::from(cost.malformed);
    let ended = (failed > 0).then(|| format!("in {failed} of {total} rollouts recovery was not reached"));
    let unseen = step.belief.as_ref().and_then(|belief| belief.hindered(&step.state_before));
    let doubts =
        step.assurance.iter().filter(|assurance| !assurance.is_clear).flat_map(|own| own.doubts.clone());
    ended.into_iter().chain(unseen).chain(doubts).collect()
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1;

    use super::*;

    fn step(index: u32, text: &str) -> v1::PlanStep {
        let action = v1::Action { text: text.to_owned(), explanation: "It stops the attacker.".to_owned() };
        let cost = v1::CostEstimate {
            terminal: 38,
            truncated: 2,
            mean: Some(8.25),
            likely_low: Some(6.0),
            likely_high: Some(17.6),
            ..v1::CostEstimate::default()
        };
        let candidate = v1::Candidate {
            index: 0,
            action: Some(action.clone()),
            cost: Some(cost),
            takes_down: vec!["10.0.2.11".to_owned(), "admin".to_owned()],
            ..v1::Candidate::default()
        };
        let other = v1::Candidate { index: 1, takes_down: Vec::new(), ..candidate.clone() };
        let refused = |text: &str, reason: &str| v1::RejectedCandidate {
            action: Some(v1::Action { text: text.to_owned(), ..action.clone() }),
            reason: reason.to_owned(),
        };
        let mut assurance = v1::Assurance {
            chance: 0.6,
            doubts: vec!["It rests on a minority.".to_owned()],
            wanted_evidence: vec!["The logs of 10.0.2.11.".to_owned()],
            ..v1::Assurance::default()
        };
        assurance.set_reversibility(v1::Reversibility::Reversible);
        v1::PlanStep {
            index,
            candidates: vec![candidate, other],
            rejected: vec![refused("a", "x"), refused("b", "y"), refused("a", "x"), refused("c", "x")],
            assurance: Some(assurance),
            ..v1::PlanStep::default()
        }
    }

    fn document(mode: v1::PlanMode, end: v1::PlanEnd) -> PlanDocument {
        let suspect = |host: &str, probability| v1::Suspect { host: host.to_owned(), probability };
        let assessment = v1::Assessment {
            is_incident: true,
            entities: Some(v1::Entities {
                attackers: vec!["203.0.113.9".to_owned()],
                compromised: vec![
                    suspect("10.0.2.11", 0.97),
                    suspect("203.0.113.9", 0.9),
                    suspect("10.0.2.12", 0.2),
                    suspect("10.0.2.13", 0.001),
                ],
                held_accounts: vec![v1::HeldAccount { account: "admin".to_owned(), probability: 0.98 }],
                ..v1::Entities::default()
            }),
            ..v1::Assessment::default()
        };
        let mut plan = v1::Plan {
            steps: vec![step(0, "Isolate 10.0.2.11."), step(1, "Clean it.")],
            ..v1::Plan::default()
        };
        plan.set_end(end);
        let mut options = v1::PlanOptions::default();
        options.set_mode(mode);
        let incident = v1::Incident {
            assessment: Some(assessment),
            options: Some(options),
            plan: Some(plan),
            ..v1::Incident::default()
        };
        PlanDocument::new(incident, [])
    }

    #[test]
    fn what_has_to_be_known_before_the_next_action_is_told() {
        let document = document(v1::PlanMode::Offline, v1::PlanEnd::Recovered);
        let lines = document.brief();
        let told: Vec<(Topic, &str)> = lines.iter().map(|(topic, text)| (*topic, text.as_str())).collect();
        assert_eq!(
            told,
            [
                (
                    Topic::Believed,
                    "the attacker comes from 203.0.113.9; it has 10.0.2.11 (97 %); it may have 10.0.2.12 (20 %); of accounts it has admin (98 %)"
                ),
                (Topic::Now, "Isolate 10.0.2.11."),
                (Topic::Because, "It stops the attacker."),
                (
                    Topic::Costs,
                    "8.25 to recovery, nine times in ten 6.00 to 17.60; 60 % that nothing is cheaper"
                ),
                (Topic::TakesDown, "10.0.2.11, admin"),
                (Topic::Undo, "it can be taken back"),
                (Topic::Risks, "in 2 of 40 rollouts recovery was not reached"),
                (Topic::Risks, "It rests on a minority."),
                (Topic::Decisive, "The logs of 10.0.2.11."),
                (Topic::Then, "2. Clean it."),
            ]
        );
    }

    #[test]
    fn whom_a_search_has_to_tell_of_first_is_told() {
        let mut document = document(v1::PlanMode::Offline, v1::PlanEnd::Recovered);
        document.steps[0].candidates[0].awaits_search = vec!["10.0.2.11".to_owned()];
        document.steps[1].candidates[0].awaits_search = ["10.0.2.11", "10.0.2.12"].map(str::to_owned).into();
        let lines = document.brief();
        for (topic, text) in [
            (
                Topic::TakesDown,
                "10.0.2.11, admin (10.0.2.11 only if the search shows that the attacker got in)",
            ),
            (
                Topic::Then,
                "2. Clean it. (of 10.0.2.11, 10.0.2.12 only those in which the search shows the attacker)",
            ),
        ] {
            assert!(lines.contains(&(topic, text.to_owned())), "{lines:?}");
        }
    }

    #[test]
    fn where_nothing_is_to_be_done_nothing_is_told() {
        assert!(document(v1::PlanMode::Interactive, v1::PlanEnd::Recovered).brief().is_empty());
        let now = document(v1::PlanMode::Interactive, v1::PlanEnd::Unspecified).brief();
        assert!(now.contains(&(Topic::Now, "Clean it.".to_owned())), "{now:?}");
        assert!(!now.iter().any(|(topic, _)| *topic == Topic::Then), "{now:?}");
        assert!(PlanDocument::new(v1::Incident::default(), []).brief().is_empty());
    }

    #[test]
    fn equal_costs_and_equal_refusals_are_folded() {
        let document = document(v1::PlanMode::Offline, v1::PlanEnd::Recovered);
        let step = &document.steps[0];
        assert_eq!(step.costs_as(&step.candidates[0]), None);
        assert_eq!(step.costs_as(&step.candidates[1]).map(|other| other.index), Some(0));
        assert_eq!(step.thrown_away(), [("x", vec![("a", 2), ("c", 1)]), ("y", vec![("b", 1)])]);
    }

    #[test]
    fn many_names_are_counted() {
        let names = (0..8).map(|number| number.to_string());
        assert_eq!(listed(names), "0, 1, 2, 3, 4, 5 and 2 more");
        assert_eq!(listed(std::iter::once("a".to_owned())), "a");
    }
}
