//! Whether a result can be what came of a rollout, as far as that follows without a model.
//!
//! Which of the facts within an action's reach it brought about is the model's word. All else follows from the seed and the steps:
//! what they cost, which facts were within reach in that world, whether the rules allowed the action, and how the rollout ended. A worker is asked for
//! the steps; the rest is reckoned again by whoever plans with them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use countermove_incident::{Constraints, CostModel, Grounding, Pricing, RecoveryState};

use crate::evidence::roles::Roles;
use crate::prompts::past::{Deed, objects, past};
use crate::rollouts::checks::{Checks, beyond_reach};
use crate::rollouts::runner::{RolloutBatch, RolloutEnd, RolloutResult, RolloutSpec};
use crate::rollouts::world::World;

/// What is added to a cost before another one counts as different: a table of prices may lose its last bits on the way.
const ROUNDING: f64 = 1e-6;

/// Reckons the results of one batch again.
pub struct Auditor {
    max_depth: usize,
    pricing: Pricing,
    costs: Box<dyn CostModel>,
    entities: Roles,
    constraints: Constraints,
    /// Worlds that were drawn, by their seed: the candidates of a step meet the same.
    worlds: HashMap<u64, Drawn>,
}

/// A world, and what had been done before it was drawn.
struct Drawn {
    history: Vec<String>,
    state: RecoveryState,
    deeds: Vec<Deed>,
    world: Arc<World>,
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor").field("max_depth", &self.max_depth).finish_non_exhaustive()
    }
}

impl Auditor {
    /// For results of this batch.
    pub fn of(batch: &RolloutBatch) -> Self {
        Self {
            max_depth: usize::try_from(batch.policy.max_depth).unwrap_or(usize::MAX),
            pricing: batch.pricing.clone(),
            costs: batch.pricing.model(&batch.entities.systems),
            entities: batch.entities.clone(),
            constraints: batch.constraints.clone(),
            worlds: HashMap::new(),
        }
    }

    /// The world of a rollout, and what had been done before it.
    fn world(&mut self, spec: &RolloutSpec) -> (Arc<World>, Vec<Deed>) {
        let (history, state) = (&spec.history, spec.state);
        if let Some(drawn) = self.worlds.get(&spec.common_seed)
            && (&drawn.history, drawn.state) == (history, state)
        {
            return (Arc::clone(&drawn.world), drawn.deeds.clone());
        }
        let deeds = past(&self.entities, history, state);
        let world = Arc::new(World::draw(&self.entities, &deeds, spec.common_seed));
        let drawn =
            Drawn { history: history.clone(), state, deeds: deeds.clone(), world: Arc::clone(&world) };
        self.worlds.insert(spec.common_seed, drawn);
        (world, deeds)
    }

    /// The result with the costs that its steps have by this reckoning.
    ///
    /// # Errors
    /// What of it cannot be, as a clause that begins with "its".
    pub fn check(&mut self, spec: &RolloutSpec, mut result: RolloutResult) -> Result<RolloutResult, String> {
        let (mut world, mut deeds) = self.world(spec);
        // Names are not looked at: a menu names what is among the entities, and candidates were checked.
        let checks = Checks { grounding: &Grounding::default(), constraints: &self.constraints };
        let mut state = spec.state;
        let mut sum = 0.0;
        for (number, step) in result.steps.iter_mut().enumerate() {
            let of = |problem: &str| format!("its step {} {problem}", number + 1);
            let after = step.state_after;
            if number == 0 && step.action != spec.action {
                return Err(of("is not the candidate's action"));
            }
            if number > 0 && state.is_terminal() {
                return Err(of("comes after recovery"));
            }
            let is_barred = || {
                checks.rule_fault(state, &step.action).is_some()
                    || beyond_reach(&step.action, &self.entities).is_some()
            };
            if number > 0 && is_barred() {
                return Err(of("is an action that the rules do not allow"));
            }
            if state.union(after) != after {
                return Err(of("takes back what held before"));
            }
            let objects = objects(&step.action, &self.entities);
            let reach = world.reach(&deeds, &objects, state);
            if state.union(reach).union(after) != state.union(reach) {
                return Err(of("brings about what its action cannot"));
            }
            let cost = world.cost(&*self.costs, state, &step.action, after);
            if differs(step.cost, cost) {
                return Err(of(&format!("costs {cost}, and it says {}", step.cost)));
            }
            step.cost = cost;
            sum += cost;
            deeds.push(Deed::new(objects, state, after));
            // Rollouts of one number share the world; it is copied only where the attacker may change it.
            if !after.is_attack_contained {
                Arc::make_mut(&mut world).pass(self.pricing.minutes_of_work(&step.action), &mut deeds);
            }
            state = after;
        }
        if differs(result.cost, sum) {
            return Err(format!("its steps cost {sum} together, and it says {}", result.cost));
        }
        result.cost = sum;
        self.check_end(&result, state, &world).map(|()| result)
    }

    fn check_end(&self, result: &RolloutResult, last: RecoveryState, world: &World) -> Result<(), String> {
        let count = result.steps.len();
        if count > self.max_depth {
            return Err(format!(
                "its {count} steps are more than the {} that were asked for",
                self.max_depth
            ));
        }
        let recovered = last.is_terminal() && count > 0;
        let fits = match result.end {
            // Whether whoever responds knows that already follows from the menu, which is not looked at.
            RolloutEnd::Terminal => recovered || count > 0 && world.is_whole(last),
            // Before the depth is reached, a rollout ends so only where the rules leave no action.
            RolloutEnd::Truncated => {
                !recovered && count > 0 && (count == self.max_depth) == result.fault.is_empty()
            }
            RolloutEnd::Malformed => !recovered,
            RolloutEnd::Cancelled => {
                return Err("its end is that it was cancelled, and nobody did".to_owned());
            }
        };
        if fits { Ok(()) } else { Err(format!("its end {:?} does not fit its steps", result.end)) }
    }
}

/// Whether a cost is another one. One that is no number is.
fn differs(said: f64, reckoned: f64) -> bool {
    let difference = (said - reckoned).abs();
    difference.is_nan() || difference > ROUNDING * (1.0 + reckoned.abs())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countermove_incident::MinuteTable;
    use proptest::prelude::*;

    use super::*;
    use crate::language_model::{TokenCounter, Usage};
    use crate::rollouts::answers::Answers;
    use crate::rollouts::runner::{RolloutKey, RolloutPolicy, RolloutStep};
    use crate::rollouts::simulate::{Simulator, run_rollout};
    use crate::templates::Templates;
    use crate::testing::{ScriptedModel, optimist};

    fn batch(pricing: Pricing) -> RolloutBatch {
        let own = ["10.0.0.5", "10.0.0.6", "10.0.0.7"].map(str::to_owned);
        RolloutBatch {
            tenant: String::new(),
            incident: "incidents/test".into(),
            system: "You plan.".into(),
            context: vec!["Evidence of 10.0.0.5.".into()],
            entities: Roles {
                attackers: vec!["203.0.113.7".into()],
                systems: own.to_vec(),
                targets: vec![own[0].clone()],
                footholds: vec![own[0].clone()],
                compromised: [(own[0].clone(), 0.9), (own[1].clone(), 0.4), (own[2].clone(), 0.1)].into(),
                ..Roles::default()
            },
            policy: RolloutPolicy { max_depth: 6, temperature: 1.0, top_p: 1.0, thinking_tokens: 0 },
            pricing,
            constraints: Constraints::read(&["10.0.0.7 must stay up.".into()], ""),
            rollouts: Vec::new(),
        }
    }

    fn spec(seed: u64) -> RolloutSpec {
        RolloutSpec {
            key: RolloutKey { step: 0, candidate: 0, rollout: 0 },
            seed,
            common_seed: seed ^ 77,
            state: RecoveryState::default(),
            history: Vec::new(),
            action: "Isolate 10.0.0.5 and 10.0.0.6 from the network".into(),
        }
    }

    fn minutes() -> Pricing {
        let table = "other = { work = 7.3 }\n[actions]\ncontain = { work = 11.1, outage = 3.7 }\n";
        Pricing::Minutes(Arc::new(MinuteTable::parse(table).unwrap()))
    }

    async fn run(batch: &RolloutBatch, spec: &RolloutSpec) -> RolloutResult {
        let (templates, answers) = (Templates::load(None).unwrap(), Answers::default());
        let model = ScriptedModel::new(optimist);
        let simulator = Simulator { model: &model, templates: &templates, answers: &answers };
        run_rollout(&simulator, batch, spec, &TokenCounter::default()).await.unwrap()
    }

    #[tokio::test]
    async fn what_a_rollout_gives_is_taken_as_it_is() {
        for pricing in [Pricing::Unit, Pricing::Superfluous, minutes()] {
            let batch = batch(pricing);
            let mut auditor = Auditor::of(&batch);
            // The second leaves the attacker free.
            let actions = [spec(0).action, "Search the logs of 10.0.0.5".to_owned()];
            for (seed, action) in (0..24).zip(actions.iter().cycle()) {
                let spec = RolloutSpec { action: action.clone(), ..spec(seed) };
                let result = run(&batch, &spec).await;
                assert!(!result.steps.is_empty(), "{result:?}");
                assert_eq!(auditor.check(&spec, result.clone()), Ok(result));
            }
        }
    }

    #[tokio::test]
    async fn what_a_rollout_cannot_give_is_refused() {
        let batch = batch(minutes());
        let mut auditor = Auditor::of(&batch);
        let mut seeds = 0..200;
        let (spec, whole) = loop {
            let spec = spec(seeds.next().expect("some rollout recovers"));
            let whole = run(&batch, &spec).await;
            if whole.end == RolloutEnd::Terminal && whole.steps.len() > 1 {
                break (spec, whole);
            }
        };
        type Forgery = (&'static str, fn(&mut RolloutResult));
        let forgeries: [Forgery; 15] = [
            ("costs", |result| result.steps[0].cost = 0.001),
            ("costs", |result| result.steps[0].cost = f64::NAN),
            ("costs", |result| result.steps[1].cost = f64::INFINITY),
            ("cost", |result| result.cost = -1e300),
            ("cost", |result| result.cost = f64::NAN),
            ("cost", |result| result.cost -= 0.01),
            ("candidate", |result| result.steps[0].action = "Wait".into()),
            ("takes back", |result| result.steps[1].state_after = RecoveryState::default()),
            ("brings about", |result| result.steps[0].state_after = RecoveryState::from_bits([true; 6])),
            ("rules", |result| result.steps[1].action = "Isolate 10.0.0.7 from the network".into()),
            ("after recovery", |result| result.steps.push(result.steps[result.steps.len() - 1].clone())),
            ("does not fit", |result| result.end = RolloutEnd::Truncated),
            ("does not fit", |result| result.end = RolloutEnd::Malformed),
            ("nobody did", |result| result.end = RolloutEnd::Cancelled),
            ("does not fit", |result| (result.steps, result.cost) = (Vec::new(), 0.0)),
        ];
        for (word, forge) in forgeries {
            let mut forged = whole.clone();
            forge(&mut forged);
            let refused = auditor.check(&spec, forged.clone()).expect_err(word);
            assert!(refused.contains(word) && refused.starts_with("its "), "{word}: {refused}");
        }
        let mut cut = whole;
        cut.steps.truncate(1);
        cut.cost = cut.steps[0].cost;
        (cut.end, cut.fault) = (RolloutEnd::Truncated, "no action is left".into());
        assert!(auditor.check(&spec, cut.clone()).is_ok(), "where the rules leave no action");
        cut.fault.clear();
        assert!(auditor.check(&spec, cut).is_err(), "it went on");
        let mut long = run(&batch, &spec).await;
        long.steps = vec![RolloutStep { action: spec.action.clone(), state_after: spec.state, cost: 0.0 }; 7];
        assert!(auditor.check(&spec, long).is_err());
    }

    proptest! {
        #[test]
        fn no_numbers_break_the_auditor(costs in prop::collection::vec(any::<f64>(), 0..4), cost: f64, end in 0..4) {
            let batch = batch(Pricing::Superfluous);
            let spec = spec(1);
            let step = |&cost: &f64| RolloutStep { action: spec.action.clone(), state_after: spec.state, cost };
            let ends = [RolloutEnd::Terminal, RolloutEnd::Truncated, RolloutEnd::Malformed, RolloutEnd::Cancelled];
            let result = RolloutResult {
                key: spec.key,
                end: ends[end as usize],
                steps: costs.iter().map(step).collect(),
                cost,
                fault: String::new(),
                usage: Usage::default(),
            };
            if let Ok(taken) = Auditor::of(&batch).check(&spec, result) {
                prop_assert!(taken.cost.is_finite() && taken.cost >= 0.0);
            }
        }
    }
}
