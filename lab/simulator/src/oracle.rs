//! The cheapest plan, by one who knows the truth.
//!
//! Cheapest means: breaks the fewest constraints, and among those plans costs least. It is found by A* over the states
//! of play, with the actions that can matter: for each kind of response the targets that some set of ways asks it for.
//! Any other action counts for less and hurts no less, and the tests compare with a search that tries them all.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use countermove_incident::VerbClass;

use crate::action::Action;
use crate::phrasing::{STYLES, sentence};
use crate::play::{Judge, Move, Position};
use crate::{Need, Target, Truth};

/// A plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do, in order.
    pub actions: Vec<Planned>,
    /// What it costs.
    pub cost: f64,
    /// How many constraints it breaks, counted action by action.
    pub violations: usize,
}

/// An action of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The action as a responder writes it.
    pub text: String,
    /// Kind of response.
    pub kind: VerbClass,
    /// What it is applied to.
    pub targets: Vec<Target>,
}

/// Finds the cheapest plans of one incident, from any point in play.
#[derive(Debug)]
pub struct Oracle<'a> {
    truth: &'a Truth,
    judge: Judge<'a>,
    options: Vec<Choice>,
    /// For each fact, the kinds of response that can bring it about as the last of what it needs.
    kinds: [Vec<VerbClass>; 6],
}

#[derive(Debug)]
struct Choice {
    planned: Planned,
    made: Move,
    violations: usize,
}

/// Constraints broken, then cost.
type Price = (usize, u32);

/// Most groups of targets of one kind of response of which every union is tried.
const MOST_GROUPS: usize = 6;
/// Most points in play that are looked at. Incidents have a few dozen facts and ways; the bound is for those that
/// somebody made up.
const MOST_STEPS: usize = 200_000;

impl<'a> Oracle<'a> {
    /// An oracle that writes its actions in this style; see [`STYLES`].
    pub fn new(truth: &'a Truth, style: usize) -> Oracle<'a> {
        let judge = Judge::new(truth);
        let ways = |fact: usize| {
            truth.requirements.get(fact).map(|requirement| requirement.ways.as_slice()).unwrap_or_default()
        };
        let kinds = std::array::from_fn(|fact| {
            let mut kinds: Vec<VerbClass> =
                ways(fact).iter().flat_map(|way| &way.needs).map(|need| need.verb).collect();
            // Cleaning destroys evidence, and so opens a fallback that may be complete already.
            kinds.extend(ways(fact).iter().any(|way| way.fallback).then_some(VerbClass::Eradicate));
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        });
        let mut options = Vec::new();
        for (kind, targets) in unions(truth) {
            if let Some((text, action)) = worded(&judge, truth, kind, &targets, style) {
                let violations = judge.violations(&action).len();
                options.push(Choice {
                    planned: Planned { text, kind, targets },
                    made: judge.prepare(&action),
                    violations,
                });
            }
        }
        Oracle { truth, judge, options, kinds }
    }

    /// The rules by which it plans.
    pub fn judge(&self) -> &Judge<'a> {
        &self.judge
    }

    /// The cheapest plan from the beginning. None if nothing leads to recovery.
    pub fn plan(&self) -> Option<Plan> {
        self.plan_from(&self.judge.start())
    }

    /// The cheapest plan from a point in play.
    pub fn plan_from(&self, start: &Position) -> Option<Plan> {
        let mut points: Vec<Point> = vec![Point { position: start.clone(), from: None, price: (0, 0) }];
        let mut best: HashMap<Position, Price> = HashMap::from([(start.clone(), (0, 0))]);
        // Of equal ones the latest first, so that the search goes deep.
        let mut queue: BinaryHeap<(Reverse<Price>, usize)> =
            BinaryHeap::from([(Reverse((0, self.least(start))), 0)]);
        while let Some((_, at)) = queue.pop() {
            let Some(Point { position, price, .. }) = points.get(at).cloned() else { break };
            if self.judge.state(&position).is_terminal() {
                return Some(self.traced(&points, at));
            }
            if best.get(&position).is_some_and(|known| *known < price) {
                continue;
            }
            for (number, choice) in self.options.iter().enumerate() {
                let effect = self.judge.apply(&position, &choice.made);
                let cost = if effect.superfluous { 2 } else { 1 };
                let price = (price.0 + choice.violations, price.1 + cost);
                if best.get(&effect.position).is_some_and(|known| *known <= price)
                    || points.len() >= MOST_STEPS
                {
                    continue;
                }
                best.insert(effect.position.clone(), price);
                queue.push((Reverse((price.0, price.1 + self.least(&effect.position))), points.len()));
                points.push(Point { position: effect.position, from: Some((at, number)), price });
            }
        }
        None
    }

    /// No plan from here costs less: missing facts whose ways have no kind of response in common need an action each.
    fn least(&self, position: &Position) -> u32 {
        let state = self.judge.state(position).bits();
        let mut used: Vec<VerbClass> = Vec::new();
        let mut count = 0;
        for (kinds, _) in self.kinds.iter().zip(state).filter(|(_, holds)| !holds) {
            if kinds.iter().all(|kind| !used.contains(kind)) {
                used.extend(kinds);
                count += 1;
            }
        }
        count
    }

    fn traced(&self, points: &[Point], end: usize) -> Plan {
        let mut plan = Plan::default();
        let mut at = points.get(end);
        if let Some(point) = at {
            plan.violations = point.price.0;
            plan.cost = f64::from(point.price.1);
        }
        while let Some((from, number)) = at.and_then(|point| point.from) {
            plan.actions.extend(self.options.get(number).map(|choice| choice.planned.clone()));
            at = points.get(from);
        }
        plan.actions.reverse();
        plan
    }

    /// The truth that it knows.
    pub fn truth(&self) -> &'a Truth {
        self.truth
    }
}

/// A point in play that the search has reached.
#[derive(Clone, Debug)]
struct Point {
    position: Position,
    /// The point before, and the option that led here.
    from: Option<(usize, usize)>,
    price: Price,
}

/// For each kind of response, the unions of what ways ask it for.
fn unions(truth: &Truth) -> Vec<(VerbClass, Vec<Target>)> {
    let mut groups: Vec<(VerbClass, Vec<Vec<Target>>)> = Vec::new();
    for Need { verb, targets } in
        truth.requirements.iter().flat_map(|one| &one.ways).flat_map(|way| &way.needs)
    {
        let mut targets = targets.clone();
        targets.sort();
        targets.dedup();
        match groups.iter_mut().find(|(kind, _)| kind == verb) {
            Some((_, known)) if known.contains(&targets) => {}
            Some((_, known)) => known.push(targets),
            None => groups.push((*verb, vec![targets])),
        }
    }
    groups.sort();
    let mut out = Vec::new();
    for (kind, groups) in groups {
        let union = |chosen: usize| {
            let picked = groups.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
            let mut targets: Vec<Target> = picked.flat_map(|(_, targets)| targets.iter().cloned()).collect();
            targets.sort();
            targets.dedup();
            targets
        };
        let all = (1_usize << groups.len().min(usize::BITS as usize - 1)) - 1;
        let mut sets: Vec<Vec<Target>> = match groups.len() {
            0..=MOST_GROUPS => (1..=all).map(union).collect(),
            many => (0..many.min(60)).map(|at| union(1 << at)).chain([union(all)]).collect(),
        };
        sets.retain(|set| !set.is_empty());
        sets.sort();
        sets.dedup();
        out.extend(sets.into_iter().map(|targets| (kind, targets)));
    }
    out
}

/// The targets in a sentence that is read back as just them: in this style, or the first other one that is.
fn worded(
    judge: &Judge<'_>,
    truth: &Truth,
    kind: VerbClass,
    targets: &[Target],
    style: usize,
) -> Option<(String, Action)> {
    (0..STYLES).find_map(|further| {
        let text = sentence(truth, kind, targets, style + further);
        let action = judge.read(&text);
        let is_right = judge.done_by(&text, kind, targets).len() == targets.len() && action.kinds() == [kind];
        is_right.then_some((text, action))
    })
}

#[cfg(test)]
mod tests;
