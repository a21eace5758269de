//! Sessions that somebody else takes part in: an operator who decides, or another owner who goes on.

use countermove_incident::RecoveryState;

use super::*;
use crate::session::plan::StateSource;
use crate::session::plan_session::{Outcome, SessionError};

#[tokio::test]
async fn an_operator_approves_rejects_and_reports() {
    let model = model(optimist);
    let planner = planner(&model);
    let options = PlanOptions { mode: PlanMode::Interactive, ..options() };
    let mut session = planner.session("incidents/1", &evidence(), options).unwrap();
    assert!(matches!(session.approve(0, "x", None), Err(SessionError::NotNow { .. })));
    planner.run(&mut session, &|_| {}).await;
    assert_eq!(session.phase(), &Phase::Approval);
    let first = session.steps()[0].action().to_owned();
    let hash = |session: &PlanSession| session.steps().last().unwrap().hash.clone();
    let first_hash = hash(&session);

    assert_eq!(
        session.approve(1, &first_hash, Some(&first)),
        Err(SessionError::WrongStep { step: 1, current: 0 })
    );
    assert!(matches!(
        session.approve(0, &first_hash, Some("Do something else")),
        Err(SessionError::WrongAction { .. })
    ));
    assert!(matches!(session.report_outcome(0, RecoveryState::default()), Err(SessionError::NotNow { .. })));
    session.reject(0, "The host must stay on the network.", Vec::new()).unwrap();
    assert_eq!(session.steps().len(), 0);

    let asked = model.asked().len();
    planner.run(&mut session, &|_| {}).await;
    let again = session.steps()[0].clone();
    assert_ne!(again.action(), first);
    assert_eq!(again.index, 0);
    let turn = model.asked()[asked].prompt.segments[1].clone();
    assert!(turn.contains(&format!("Not wanted: {first} (The host must stay on the network.)")), "{turn}");

    assert!(
        matches!(session.approve(0, &first_hash, None), Err(SessionError::Stale { .. })),
        "it was decided anew"
    );
    session.approve(0, &again.hash, Some(again.action())).unwrap();
    assert_eq!(session.phase(), &Phase::Outcome);
    let found = RecoveryState { is_hardened: true, ..RecoveryState::default() };
    session.report_outcome(0, found).unwrap();
    assert_eq!(session.state(), found);
    assert_eq!(session.steps()[0].state_after.unwrap().source, StateSource::Reported);

    planner.run(&mut session, &|_| {}).await;
    let step = session.steps()[1].clone();
    assert_eq!(step.state_before, found);
    session.approve(1, &step.hash, None).unwrap();
    session.report_outcome(1, RecoveryState::default()).unwrap();
    assert_eq!(session.state(), RecoveryState::default(), "a real state may fall back");

    planner.run(&mut session, &|_| {}).await;
    let step = session.steps()[2].clone();
    session.approve(2, &step.hash, None).unwrap();
    session.report_outcome(2, RecoveryState::from_bits([true; 6])).unwrap();
    assert_eq!(session.plan().ended.end, PlanEnd::Recovered);
    assert!(matches!(session.reject(2, "", Vec::new()), Err(SessionError::NotNow { .. })));
}

#[tokio::test]
async fn what_people_found_out_is_known_from_then_on() {
    let model = model(optimist);
    let planner = planner(&model);
    let options = PlanOptions { mode: PlanMode::Interactive, ..options() };
    let mut session = planner.session("incidents/1", &evidence(), options).unwrap();
    planner.run(&mut session, &|_| {}).await;
    let names = |session: &PlanSession, name: &str| {
        let last = session.steps().last().unwrap();
        last.candidates.iter().any(|candidate| candidate.action.text.contains(name))
    };
    assert!(names(&session, "10.0.2.13") && !names(&session, "10.0.2.14"));
    let finding = |session: &PlanSession, name: &str, is_compromised| {
        session.finding(name, is_compromised).map(|finding| (finding.name, finding.kind))
    };
    use countermove_incident::TargetKind::{Address, Host};
    assert_eq!(finding(&session, " WEB01", false), Ok(("10.0.2.13".into(), Host)));
    assert_eq!(finding(&session, "203.0.113.7", true), Ok(("203.0.113.7".into(), Address)));
    for unknown in ["198.51.100.9", "web02", "", "web01 and db01"] {
        assert!(matches!(finding(&session, unknown, true), Err(SessionError::Unknown { .. })), "{unknown}");
    }

    // The attacker is on the other host.
    let findings = [("web01", false), ("db01", true)];
    let findings = findings.map(|(name, is)| session.finding(name, is).unwrap()).to_vec();
    session.reject(0, "We have looked.", findings.clone()).unwrap();
    planner.run(&mut session, &|_| {}).await;
    assert!(names(&session, "10.0.2.14") && !names(&session, "10.0.2.13"), "{:?}", session.steps());
    let believed = session.steps()[0].belief.compromised.clone();
    assert_eq!(believed.into_iter().collect::<Vec<_>>(), [("10.0.2.14".to_owned(), 1.0)]);

    // It is kept, with whoever goes on, and goes on to hold where the evidence is read anew.
    let saved = session.save();
    let mut restored = planner.restore(&saved, &evidence(), Duration::ZERO).unwrap();
    assert_eq!(restored.save(), saved);
    let hash = restored.steps()[0].hash.clone();
    restored.approve(0, &hash, None).unwrap();
    let later = ALERTS.replace("06/10", "06/11");
    let alerts = |text: &str| AlertLog::parse(text.as_bytes()).unwrap();
    let more = |text: &str| Evidence { log: alerts(&format!("{ALERTS}{text}")), ..evidence() };
    let search = restored.finding("db01", true).unwrap();
    let outcome = Outcome { findings: vec![search.clone()], ..Outcome::default() };
    restored.report_outcome(0, outcome).unwrap();
    assert_eq!(restored.steps()[0].findings, [search]);
    let elsewhere = later.replace("10.0.2.13", "10.0.2.10");
    planner.replace_evidence(&mut restored, &more(&elsewhere), &alerts(&elsewhere)).unwrap();
    restored.revise("It is read anew.".into());
    planner.run(&mut restored, &|_| {}).await;
    assert!(!names(&restored, "10.0.2.13"), "clean it is");
    // Until records that come later tell of it.
    let hash = restored.steps()[1].hash.clone();
    restored.approve(1, &hash, None).unwrap();
    planner.replace_evidence(&mut restored, &more(&later), &alerts(&later)).unwrap();
    restored.report_outcome(1, RecoveryState::default()).unwrap();
    restored.revise("It is read anew.".into());
    planner.run(&mut restored, &|_| {}).await;
    assert!(names(&restored, "10.0.2.13") && names(&restored, "10.0.2.14"));
}

#[tokio::test]
async fn where_all_who_were_suspected_are_clean_and_the_attacker_is_shut_out_the_incident_is_cleared() {
    let model = model(optimist);
    let planner = planner(&model);
    let options = PlanOptions { mode: PlanMode::Interactive, ..options() };
    let cleared = "nobody is suspected any more, since 10.0.2.13 was found clean";
    for (is_contained, doubtful, end, why) in [
        (true, None, PlanEnd::Cleared, cleared),
        // It was blocked, and knocks still.
        (false, None, PlanEnd::NoCandidate, cleared),
        (
            true,
            Some(0.2),
            PlanEnd::NoCandidate,
            "nothing but a search can tell whether the attacker got into 10.0.2.14 (20 %)",
        ),
    ] {
        let mut session = planner.session("incidents/1", &evidence(), options.clone()).unwrap();
        planner.run(&mut session, &|_| {}).await;
        let suspects = &mut session.assessment.as_mut().unwrap().entities.compromised;
        suspects.retain(|host, _| host == "10.0.2.13");
        suspects.extend(doubtful.map(|chance| ("10.0.2.14".to_owned(), chance)));
        let hash = session.steps()[0].hash.clone();
        session.approve(0, &hash, None).unwrap();
        let findings = vec![session.finding("web01", false).unwrap()];
        let state = RecoveryState { is_attack_contained: is_contained, ..RecoveryState::default() };
        session.report_outcome(0, Outcome { state, findings, ..Outcome::default() }).unwrap();
        planner.run(&mut session, &|_| {}).await;
        let ended = session.plan().ended;
        assert_eq!(ended.end, end, "{}", ended.error);
        assert!(ended.error.ends_with(why), "{}", ended.error);
    }
}

#[tokio::test]
async fn another_candidate_is_approved_by_its_own_hash() {
    let model = model(optimist);
    let planner = planner(&model);
    let options = PlanOptions { mode: PlanMode::Interactive, ..options() };
    let mut session = planner.session("incidents/1", &evidence(), options).unwrap();
    planner.run(&mut session, &|_| {}).await;
    let step = session.steps()[0].clone();
    let own = step.chosen_candidate().unwrap();
    assert_eq!(own.hash, step.hash);
    let hashes: std::collections::BTreeSet<_> = step.candidates.iter().map(|one| &one.hash).collect();
    assert_eq!(hashes.len(), step.candidates.len());
    let other = step.candidates.iter().find(|one| one.index != step.chosen).unwrap().clone();

    assert_eq!(session.clone().approve(0, &step.hash, None), Ok(None));
    let named = session.approve(0, &other.hash, Some(step.action()));
    assert!(matches!(named, Err(SessionError::WrongAction { .. })), "{named:?}");
    assert_eq!(session.approve(0, &other.hash, Some(&other.action.text)), Ok(Some(other.index)));
    assert_eq!(session.phase(), &Phase::Outcome);
    let taken = &session.steps()[0];
    assert_eq!((taken.chosen, &taken.hash), (other.index, &other.hash));
    assert_eq!(taken.seal("incidents/1", &[], taken.chosen), taken.hash);

    // What follows knows which action was taken.
    session.report_outcome(0, RecoveryState { is_hardened: true, ..RecoveryState::default() }).unwrap();
    assert!(session.history()[0].contains(&other.action.text));
}

#[tokio::test]
async fn a_session_restored_before_every_step_gives_the_same_plan() {
    let model = model(optimist);
    let (expected, _) = plan(&model, options()).await;
    let planner = planner(&model);
    let mut session = planner.session("incidents/1", &evidence(), options()).unwrap();
    while !matches!(session.phase(), Phase::Ended(_)) {
        session = planner.restore(&session.save(), &evidence(), Duration::ZERO).unwrap();
        planner.step(&mut session, &Record::default()).await;
    }
    assert_eq!(essence(session.plan()), essence(expected));
}

#[tokio::test]
async fn a_saved_session_keeps_its_age_and_damage_is_refused() {
    let model = model(optimist);
    let planner = planner(&model);
    let options = PlanOptions { deadline: Some(Duration::from_secs(60)), ..options() };
    let saved = planner.session("incidents/1", &evidence(), options).unwrap().save();
    let late = planner.restore(&saved, &evidence(), Duration::from_secs(3600)).unwrap();
    assert!(late.deadline().unwrap() < Instant::now());
    let mut other = saved.clone();
    let at = other.windows(11).position(|part| part == b"\"version\":1").unwrap() + 10;
    other[at] = b'9';
    for damaged in [&saved[..saved.len() / 2], &other, b""] {
        let refused = planner.restore(damaged, &evidence(), Duration::ZERO).map(|_| ());
        assert!(
            matches!(refused, Err(crate::session::plan_session::RestoreError::Unreadable(_))),
            "{refused:?}"
        );
    }
}
