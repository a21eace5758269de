//! Workers that lie: what can be reckoned again is, what cannot is asked of others, and who is found out gets no more work.
//! What is planned with them is what honest workers give.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use countermove_coordinator::dispatch::{DispatchOptions, Dispatcher, IncidentWorkers, Payer, notices};
use countermove_coordinator::workers::Fleet;
use countermove_incident::{Constraints, Pricing, RecoveryState};
use countermove_planner::{
    ModelError, Roles, RolloutBatch, RolloutEnd, RolloutKey, RolloutPolicy, RolloutResult, RolloutRunner,
    RolloutSpec, TokenCounter,
};
use countermove_proto::v1::{Worker, WorkerStatus};
use countermove_proto::{IncidentId, WorkerId};
use futures::StreamExt;
use support::worker::{FakeWorker, Script, outcome};
use support::{fleet, ready, until};

fn batch() -> RolloutBatch {
    let own = ["10.0.0.5", "10.0.0.6"].map(str::to_owned);
    let keys = (0..3).flat_map(|candidate| (0..4).map(move |rollout| (candidate, rollout)));
    let specs = keys.map(|(candidate, rollout)| RolloutSpec {
        key: RolloutKey { step: 0, candidate, rollout },
        seed: u64::from(candidate) * 1000 + u64::from(rollout) * 2,
        common_seed: u64::from(rollout),
        state: RecoveryState::default(),
        history: Vec::new(),
        action: ["Isolate 10.0.0.5 from the network", "Block all traffic from 203.0.113.7", "Wait"]
            [candidate as usize]
            .into(),
    });
    RolloutBatch {
        tenant: String::new(),
        incident: "incidents/test".into(),
        system: "You plan.".into(),
        context: vec!["Evidence of 10.0.0.5.".into()],
        entities: Roles {
            attackers: vec!["203.0.113.7".into()],
            systems: own.to_vec(),
            targets: own[..1].to_vec(),
            footholds: own[..1].to_vec(),
            compromised: [(own[0].clone(), 0.9), (own[1].clone(), 0.3)].into(),
            ..Roles::default()
        },
        policy: RolloutPolicy { max_depth: 8, temperature: 0.6, top_p: 0.9, thinking_tokens: 0 },
        pricing: Pricing::default(),
        constraints: Constraints::default(),
        rollouts: specs.collect(),
    }
}

type Outcomes = BTreeMap<RolloutKey, String>;

/// What these workers give with this share of checks, and what readers of the incident hear.
async fn run(fleet: &Fleet, checked: f64) -> (Result<Outcomes, ModelError>, Vec<String>) {
    let options =
        DispatchOptions { worker_wait: Duration::from_millis(300), checked, ..DispatchOptions::default() };
    let (tell, mut told) = notices();
    let dispatcher = Dispatcher::start(fleet.clone(), options);
    let workers =
        IncidentWorkers::new(dispatcher, IncidentId::generate(), Payer::default(), None, Some(tell));
    let mut stream = workers.run(batch(), &TokenCounter::default());
    let mut outcomes = Outcomes::new();
    while let Some(report) = stream.next().await {
        match report {
            Ok(report) => {
                let before = outcomes.insert(report.result.key, format!("{:?}", outcome(&report.result)));
                assert_eq!(before, None, "each rollout is reported once");
            }
            Err(error) => return (Err(error), told.ready()),
        }
    }
    assert_eq!(outcomes.len(), batch().rollouts.len());
    (Ok(outcomes), told.ready())
}

/// What honest workers give.
async fn reference() -> Outcomes {
    let worker = FakeWorker::start(Script::default());
    let fleet = fleet([worker.url.clone()]);
    ready(&fleet, 1).await;
    run(&fleet, 1.0).await.0.unwrap()
}

fn seen(fleet: &Fleet, id: &str) -> Worker {
    fleet.get(&WorkerId::new(id).unwrap()).unwrap()
}

/// A number of workers, the first of which is `rogue`.
async fn cluster(rogue: Script, honest: usize) -> (Vec<FakeWorker>, Fleet) {
    let mut workers = vec![FakeWorker::start(rogue)];
    workers.extend((0..honest).map(|at| FakeWorker::start(Script::named(&format!("honest-{at}")))));
    let fleet = fleet(workers.iter().map(|worker| worker.url.clone()));
    ready(&fleet, workers.len()).await;
    (workers, fleet)
}

#[tokio::test]
async fn what_cannot_be_is_not_believed_and_who_says_it_gets_no_more_work() {
    let expected = reference().await;
    type Forgery = (&'static str, fn(&mut RolloutResult));
    let forgeries: [Forgery; 8] = [
        ("cheap", |result| {
            result.steps.iter_mut().for_each(|step| step.cost = 0.001);
            result.cost = 0.001 * result.steps.len() as f64;
        }),
        ("dear", |result| result.steps[0].cost = 2.0 - (result.steps[0].cost - 1.0)),
        ("sum", |result| result.cost *= 0.5),
        ("recovered at once", |result| {
            result.steps.truncate(1);
            result.steps[0].state_after = RecoveryState::from_bits([true; 6]);
            (result.cost, result.end) = (result.steps[0].cost, RolloutEnd::Terminal);
        }),
        ("another action", |result| result.steps[0].action = "Shut down 10.0.0.6".into()),
        ("another end", |result| {
            result.end = match result.end {
                RolloutEnd::Terminal => RolloutEnd::Truncated,
                _ => RolloutEnd::Terminal,
            };
        }),
        ("nothing", |result| (result.steps, result.cost) = (Vec::new(), 0.0)),
        ("cancelled", |result| result.end = RolloutEnd::Cancelled),
    ];
    for (name, forge) in forgeries {
        let rogue = Script::named("rogue");
        *rogue.forges.lock().unwrap() = Some(forge);
        let (_workers, fleet) = cluster(rogue, 1).await;
        let (outcomes, notices) = run(&fleet, 0.0).await;
        assert_eq!(outcomes.unwrap(), expected, "{name}");
        let found = seen(&fleet, "rogue");
        assert_eq!(found.status(), WorkerStatus::Refused, "{name}: {found:?}");
        assert!(found.status_reason.contains("cannot be"), "{name}: {}", found.status_reason);
        assert!(
            notices.iter().any(|text| text.contains("rogue is not used any more")),
            "{name}: {notices:?}"
        );
        assert_eq!(seen(&fleet, "honest-0").status(), WorkerStatus::Ready);
    }
}

#[tokio::test]
async fn numbers_that_are_none_change_nothing() {
    let expected = reference().await;
    type Forgery = fn(&mut RolloutResult);
    let forgeries: [Forgery; 5] = [
        |result| result.cost = -1e300,
        |result| result.cost = f64::NAN,
        |result| result.steps[0].cost = f64::INFINITY,
        |result| result.steps[0].cost = -0.5,
        |result| result.steps = vec![result.steps[0].clone(); 9],
    ];
    for forge in forgeries {
        let rogue = Script::named("rogue");
        *rogue.forges.lock().unwrap() = Some(forge);
        let (_workers, fleet) = cluster(rogue, 1).await;
        assert_eq!(run(&fleet, 0.0).await.0.unwrap(), expected);
        let found = seen(&fleet, "rogue");
        assert_eq!(found.status(), WorkerStatus::Refused, "{found:?}");
    }
}

#[tokio::test]
async fn who_disagrees_with_two_others_gets_no_more_work_and_the_plan_is_theirs() {
    let expected = reference().await;
    let rogue = Script::named("rogue");
    rogue.lies.store(true, Ordering::SeqCst);
    let (_workers, fleet) = cluster(rogue, 2).await;
    let (outcomes, notices) = run(&fleet, 1.0).await;
    assert_eq!(outcomes.unwrap(), expected);
    let found = seen(&fleet, "rogue");
    assert_eq!(found.status(), WorkerStatus::Refused, "{found:?}");
    assert!(
        found.status_reason.contains("two workers that agree") && found.rollouts_disputed > 0,
        "{found:?}"
    );
    assert!(notices.iter().any(|text| text.contains("rogue is not used any more")), "{notices:?}");
    for honest in ["honest-0", "honest-1"] {
        let found = seen(&fleet, honest);
        assert_eq!((found.status(), found.rollouts_disputed), (WorkerStatus::Ready, 0), "{found:?}");
        assert!(found.rollouts_checked > 0);
    }
    // It comes back when an operator says so, and not by itself.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(seen(&fleet, "rogue").status(), WorkerStatus::Refused);
    fleet.set_drained(&WorkerId::new("rogue").unwrap(), false, false).unwrap();
    until("it is used again", || seen(&fleet, "rogue").status() == WorkerStatus::Ready).await;
}

#[tokio::test]
async fn of_two_that_disagree_neither_is_believed() {
    let rogue = Script::named("rogue");
    rogue.lies.store(true, Ordering::SeqCst);
    let (_workers, fleet) = cluster(rogue, 1).await;
    let (outcomes, _) = run(&fleet, 1.0).await;
    let error = outcomes.unwrap_err().to_string();
    assert!(error.contains("none tells which is right"), "{error}");
    for id in ["rogue", "honest-0"] {
        assert_eq!(seen(&fleet, id).status(), WorkerStatus::Refused);
    }
}

#[tokio::test]
async fn what_is_planned_does_not_depend_on_what_was_checked() {
    let expected = reference().await;
    for (honest, checked) in [(0, 1.0), (1, 0.0), (1, 0.3), (1, 1.0), (3, 1.0)] {
        let (workers, fleet) = cluster(Script::named("first"), honest).await;
        assert_eq!(run(&fleet, checked).await.0.unwrap(), expected, "{honest} beside, {checked} checked");
        until("all are ready and at rest", || {
            fleet.list().iter().all(|worker| worker.status() == WorkerStatus::Ready && worker.running == 0)
        })
        .await;
        let counted: u64 = fleet.list().iter().map(|worker| worker.rollouts_checked).sum();
        let ran: usize = workers.iter().map(|worker| worker.script.rollouts().len()).sum();
        match (honest, checked) {
            (0, _) | (_, 0.0) => assert_eq!((counted, ran), (0, 12)),
            // Each on two, and once more if one was lost on a busy machine.
            (_, 1.0) => assert!(counted > 0 && ran >= 24, "{counted} of {ran}"),
            _ => assert!((12..=24).contains(&ran)),
        }
    }
}

#[tokio::test]
async fn a_check_whose_worker_dies_holds_nothing_up() {
    let expected = reference().await;
    let (mut workers, fleet) = cluster(Script::slow("dying", Duration::from_millis(30)), 1).await;
    let mut dying = workers.remove(0);
    let running = tokio::spawn({
        let fleet = fleet.clone();
        async move { run(&fleet, 1.0).await.0 }
    });
    until("it is at work", || !dying.script.rollouts().is_empty()).await;
    dying.kill();
    assert_eq!(running.await.unwrap().unwrap(), expected);
}
