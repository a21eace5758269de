//! Incidents that come with a catalogue: round by round, by what came since.

use countermove_incident::{Catalogue, RecordKind};

use super::*;

const CATALOGUE: &str = r#"
    horizon = 8
    attacker = { breaks_in = 0.9, takes_over = 0.5, noticed = 0.95, false_alarm = 0.01 }
    [[zone]]
    name = "servers"
    hosts = ["web01", "db01"]
    reaches = ["servers"]
    loss = 5
    [[action]]
    text = "Watch"
    explanation = "Nothing is worth its price."
    [[action]]
    text = "Restore {host}"
    explanation = "It puts out whoever is there."
    cost = 2
    ends = "administrator"
"#;

/// That every record shows work on a host.
fn sees_work(_: &Question) -> Result<String, ModelError> {
    Ok(r#"{"Shows":"Execution"}"#.into())
}

fn rounds() -> PlanOptions {
    let catalogue = Some(Arc::new(Catalogue::parse(CATALOGUE).unwrap()));
    PlanOptions { mode: PlanMode::Interactive, catalogue, rollouts: 10, ..options() }
}

/// The evidence with so many more attempts on a host than before.
fn attempts(known: &Evidence, host: &str, count: u64) -> Evidence {
    let mut record = known.log.records[1].clone();
    assert_eq!(record.kind, RecordKind::Alert);
    record.destination.as_mut().unwrap().address = host.into();
    let mut more = known.clone();
    match more.log.records.iter_mut().find(|own| own.destination == record.destination) {
        Some(own) => own.repeats.count += count,
        None => {
            record.repeats.count = count;
            more.log.records.push(record);
        }
    }
    more
}

fn believed(session: &PlanSession, host: &str) -> f32 {
    session.steps().last().unwrap().belief.compromised[host]
}

/// Approves what was decided, and tells that it was done.
fn done(session: &mut PlanSession) -> String {
    let step = session.steps().last().unwrap().clone();
    session.approve(step.index, &step.hash, None).unwrap();
    session.report_outcome(step.index, RecoveryState::default()).unwrap();
    step.action().to_owned()
}

#[tokio::test]
async fn each_round_is_decided_by_what_came_since() {
    let model = model(sees_work);
    let planner = planner(&model);
    let quiet = Evidence { log: AlertLog::default(), constraints: Vec::new(), ..evidence() };
    let mut session = planner.session("incidents/1", &quiet, rounds()).unwrap();
    planner.run(&mut session, &|_| {}).await;
    assert_eq!(session.phase(), &Phase::Approval, "there is something to do before anything is seen");
    assert!(believed(&session, "web01") < 0.5);
    done(&mut session);
    assert_eq!(model.asked().len(), 0);

    let shown = Evidence { constraints: Vec::new(), ..evidence() };
    let first = attempts(&shown, "10.0.2.13", 1);
    planner.replace_evidence(&mut session, &first, &first.log).unwrap();
    planner.run(&mut session, &|_| {}).await;
    assert!(believed(&session, "web01") > 0.6, "{:?}", session.steps()[1].belief);
    let asked = model.asked().len();
    assert!(asked > 0);
    assert_eq!(done(&mut session), "Restore web01");

    planner.run(&mut session, &|_| {}).await;
    let after = believed(&session, "web01");
    assert!(after < 0.6, "nothing came since, and it was restored: {after}");
    done(&mut session);

    // One more of a record that is there already.
    let again = attempts(&first, "10.0.2.13", 1);
    planner.replace_evidence(&mut session, &again, &again.log).unwrap();
    planner.run(&mut session, &|_| {}).await;
    assert!(believed(&session, "web01") > after, "what comes again is seen again");
    assert_eq!(model.asked().len(), asked, "and not asked about again");
}

#[tokio::test]
async fn a_round_that_is_decided_again_has_seen_the_same() {
    let model = model(sees_work);
    let planner = planner(&model);
    let shown = Evidence { constraints: Vec::new(), ..evidence() };
    let mut session = planner.session("incidents/1", &shown, rounds()).unwrap();
    planner.run(&mut session, &|_| {}).await;
    let (action, before) = (session.steps()[0].action().to_owned(), believed(&session, "web01"));
    session.reject(0, "Not now.", Vec::new()).unwrap();
    let mut taken_over = planner.restore(&session.save(), &shown, Duration::ZERO).unwrap();
    for session in [&mut session, &mut taken_over] {
        planner.run(session, &|_| {}).await;
        assert_ne!(session.steps()[0].action(), action);
        assert!((believed(session, "web01") - before).abs() < 0.1);
    }
    assert_eq!(session.steps()[0].hash, taken_over.steps()[0].hash, "whoever goes on decides the same");
}

#[tokio::test]
async fn what_a_constraint_forbids_is_not_done() {
    let model = model(sees_work);
    let planner = planner(&model);
    let rule = "Do not restore 10.0.2.13 (web01).".to_owned();
    let kept = Evidence { constraints: vec!["web01 (10.0.2.13) stays up.".into(), rule], ..evidence() };
    let mut session = planner.session("incidents/1", &kept, rounds()).unwrap();
    planner.run(&mut session, &|_| {}).await;
    let step = session.steps()[0].clone();
    let broken = |text: &str| session.constraints.broken_by(text).is_some();
    assert!(step.candidates.iter().all(|candidate| !broken(&candidate.action.text)), "{step:?}");
}

#[test]
fn a_plan_that_nobody_follows_takes_no_catalogue() {
    let model = model(optimist);
    let options = PlanOptions { mode: PlanMode::Offline, ..rounds() };
    let error = planner(&model).session("incidents/1", &evidence(), options).unwrap_err();
    assert!(error.to_string().starts_with("catalogue is given"), "{error}");
}
