//! The simulation against queueing theory, and against itself.

use std::time::Duration;

use super::figures::{Figures, fairness};
use super::machine::Machine;
use super::scenario::{Demand, Fault, Scenario};
use super::simulate;

const ONE_QUESTION: Demand = Demand {
    perception: 1,
    steps: 0,
    candidates: 0,
    rounds: &[],
    question: 300.0,
    rollout: 300.0,
    lot: Duration::ZERO,
};
const ONE_ROLLOUT: Demand = Demand { perception: 0, steps: 1, rounds: &[1], ..ONE_QUESTION };

/// One worker, no way to it, and nothing that goes wrong.
fn small(demand: Demand, incidents: usize, arrival: f64) -> Scenario {
    Scenario {
        name: "small",
        seed: 7,
        workers: 1,
        coordinators: 1,
        machine: Machine::GPU,
        incidents,
        arrival: Duration::from_secs_f64(arrival),
        tenants: 1,
        demand,
        fault: Fault::None,
        near: Duration::ZERO,
        far: Duration::ZERO,
    }
}

/// Mean seconds that a piece of work spends at one worker and before it, if pieces come at random, `rate` a second, and take `tokens` on
/// average, exponentially.
///
/// The number of them is a birth and death process: one comes at `rate`, and with n of them one goes at `together(n)` / `tokens`. By
/// Little's law the mean time is their mean number by the rate.
fn theory(machine: Machine, rate: f64, tokens: f64) -> f64 {
    let (mut weight, mut all, mut number) = (1.0, 1.0, 0.0);
    for count in 1..10_000 {
        weight *= rate * tokens / machine.together(count.min(machine.capacity as usize));
        all += weight;
        number += weight * count as f64;
    }
    number / all / rate
}

#[test]
fn one_server_is_one_server() {
    // With one place, and passes of no time: M/M/1, whose mean time is 1 / (service rate - arrival rate).
    let machine = Machine { pass: 0.0, row: 0.01, rows: 1.0, capacity: 1 };
    let time = theory(machine, 5.0, 10.0);
    assert!((time - 1.0 / (10.0 - 5.0)).abs() < 1e-9, "{time}");
}

fn mean(figures: &Figures) -> f64 {
    figures.mean_of(|_| true)
}

/// Whether what waits waits in the queue or at the worker, the worker decodes as many as it can: the number of pieces of work is the
/// birth and death process of theory.
#[test]
fn times_are_those_of_queueing_theory() {
    for (demand, load, within) in
        [(ONE_QUESTION, 0.5, 0.05), (ONE_ROLLOUT, 0.5, 0.05), (ONE_ROLLOUT, 0.8, 0.1)]
    {
        let incidents = 6000;
        let rate = load * Machine::GPU.most() / 300.0;
        let figures = simulate(small(demand, incidents, incidents as f64 / rate)).unwrap();
        assert_eq!(figures.plans().len(), incidents);
        let theory = theory(Machine::GPU, rate, 300.0);
        let measured = mean(&figures);
        assert!((measured / theory - 1.0).abs() < within, "{measured} for {theory} at {load}");
    }
}

fn cluster(fault: Fault) -> Scenario {
    Scenario {
        workers: 8,
        coordinators: 2,
        tenants: 3,
        near: Duration::from_millis(1),
        far: Duration::from_millis(40),
        fault,
        ..small(Demand { perception: 3, steps: 3, ..Demand::USUAL }, 60, 1.0)
    }
}

#[test]
fn the_same_seed_is_the_same_play_and_another_one_is_not() {
    let play = |seed| simulate(Scenario { seed, ..cluster(Fault::None) }).unwrap();
    let (one, again, other) = (play(1), play(1), play(2));
    assert_eq!(one, again);
    assert_ne!(one.plans, other.plans);
}

#[test]
fn whatever_vanishes_every_incident_ends() {
    let calm = simulate(cluster(Fault::None)).unwrap();
    let at = calm.ended / 3;
    let region = simulate(cluster(Fault::Region(at))).unwrap();
    assert!(region.plans().len() == 60 && region.failed == 0 && region.lost > 0, "{}", region.lost);
    assert!(region.ended > calm.ended);
    let coordinator = simulate(cluster(Fault::Coordinator(at))).unwrap();
    assert!(coordinator.plans().len() == 60 && coordinator.failed == 0 && coordinator.taken_over > 0);
    let slow = simulate(cluster(Fault::Slow(4, 200.0))).unwrap();
    assert!(slow.plans().len() == 60 && slow.hedges > 0 && slow.ended > calm.ended);
}

#[test]
fn a_tenant_that_asks_for_more_has_no_more_for_it_than_others_leave() {
    let figures = simulate(Scenario { tenants: 5, incidents: 200, ..cluster(Fault::None) }).unwrap();
    let shares = figures.shares(5, 1);
    // The first one asks for as much as all others together, and waits longer for it.
    assert!(shares[0] < 0.45, "{shares:?}");
    assert!(figures.mean_of(|tenant| tenant == 0) > figures.mean_of(|tenant| tenant != 0));
}

/// Five coordinators that knew nothing of each other had an index of 0.64 here.
#[test]
fn shares_hold_with_many_coordinators() {
    let scenario = Scenario {
        seed: 1,
        machine: Machine::CPU,
        workers: 10,
        coordinators: 5,
        tenants: 10,
        incidents: 200,
        arrival: Duration::from_secs(10),
        demand: Demand::USUAL,
        ..cluster(Fault::None)
    };
    let shares = simulate(scenario).unwrap().shares(scenario.tenants, scenario.arrival.as_secs());
    assert!(fairness(&shares) > 0.75, "{shares:?}");
}
