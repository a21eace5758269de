//! What an operator decides about an incident that waits, wherever it is decided: `plan --interactive`, `evaluate`, and
//! `countermove incidents approve | reject | report-outcome` from any terminal or script.
//!
//! An approval names what was seen: the beginning of the step's hash. A step that was decided anew since has another one.

use countermove_incident::RecoveryState;
use countermove_proto::v1::{
    ApproveActionRequest, Candidate, Finding, FindingVerdict, Incident, IncidentStatus, PlanStep,
    RejectActionRequest, ReportOutcomeRequest, ResendActionRequest,
};
use countermove_wire::document::FACTS;
use countermove_wire::{IntoMessage, recovery_state};

use crate::client::{Coordinator, request_id};
use crate::failure::Failure;
use crate::plan::get;
use crate::render::one_line;

/// Least digits of a hash that tell one step from another.
pub(crate) const HASH_DIGITS: usize = 8;

/// Digits of a step's hash that a person types to approve it. Whoever has not seen the step cannot know them.
pub(crate) const CODE_DIGITS: usize = 4;

/// What the operator found after an approved action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These facts hold and no other.
    Facts(RecoveryState),
    /// What the model had predicted.
    AsPredicted,
    /// It could not be carried out.
    NotCarriedOut,
}

/// That these were found compromised and those clean.
pub fn findings(compromised: Vec<String>, clean: Vec<String>) -> Vec<Finding> {
    let of = |verdict: FindingVerdict| {
        move |name: String| Finding { name, verdict: verdict.into(), ..Finding::default() }
    };
    let compromised = compromised.into_iter().map(of(FindingVerdict::Compromised));
    compromised.chain(clean.into_iter().map(of(FindingVerdict::Clean))).collect()
}

/// What a person writes of what was found: `web01 compromised, 10.0.2.14 clean`; nothing is nothing found.
pub(crate) fn read_findings(text: &str) -> Result<Vec<Finding>, String> {
    let parts = text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
    let one = |part: &str| {
        let (name, verdict) = part.rsplit_once(char::is_whitespace).unwrap_or((part, ""));
        let verdict = match verdict.to_lowercase().as_str() {
            "compromised" => FindingVerdict::Compromised,
            "clean" => FindingVerdict::Clean,
            _ => return Err(format!("{part:?} ends neither in compromised nor in clean")),
        };
        Ok(Finding { name: name.trim().to_owned(), verdict: verdict.into(), ..Finding::default() })
    };
    parts.map(one).collect()
}

/// The candidate that a step chose.
pub fn chosen(step: &PlanStep) -> Candidate {
    step.candidates.iter().find(|candidate| candidate.index == step.chosen).cloned().unwrap_or_default()
}

/// Approves a step as it was seen. Gives how many people have approved it by now and how many have to, where that is not enough.
pub async fn send_approval(
    coordinator: &Coordinator,
    name: &str,
    step: &PlanStep,
    approver: String,
) -> Result<Option<(usize, u32)>, Failure> {
    let request = ApproveActionRequest {
        name: name.to_owned(),
        step: step.index,
        action: action(step),
        plan_hash: step.plan_hash.clone(),
        approver,
        request_id: request_id(),
        validate_only: false,
    };
    let answer =
        coordinator.call(request, async |request| coordinator.incidents().approve_action(request).await);
    Ok(answer.await?.incident.as_ref().and_then(|incident| missing(incident, &step.plan_hash)))
}

/// Approvals of a hash that were given and that are needed, where the incident still waits for more.
fn missing(incident: &Incident, hash: &str) -> Option<(usize, u32)> {
    let step = incident.plan.as_ref()?.steps.last()?;
    let named = step.candidates.iter().find(|candidate| candidate.plan_hash == hash)?;
    let given = step.approvals.iter().filter(|given| given.plan_hash == hash).count();
    (incident.status() == IncidentStatus::AwaitingApproval && given > 0).then_some((given, named.approvers))
}

/// Has an approved action sent to the webhook once more. Steps count from 0.
pub(crate) async fn resend(coordinator: &Coordinator, name: &str, step: u32) -> Result<(), Failure> {
    let request =
        ResendActionRequest { name: name.to_owned(), step, request_id: request_id(), validate_only: false };
    coordinator
        .call(request, async |request| coordinator.incidents().resend_action(request).await)
        .await
        .map(drop)
}

/// Rejects a step.
pub(crate) async fn send_rejection(
    coordinator: &Coordinator,
    name: &str,
    step: u32,
    reason: String,
    findings: Vec<Finding>,
) -> Result<(), Failure> {
    let request = RejectActionRequest {
        name: name.to_owned(),
        step,
        reason,
        findings,
        request_id: request_id(),
        validate_only: false,
    };
    coordinator
        .call(request, async |request| coordinator.incidents().reject_action(request).await)
        .await
        .map(drop)
}

/// Says what came of a step that was approved: what holds now, whether it could be carried out, if that is known, and what was found out.
pub async fn send_outcome(
    coordinator: &Coordinator,
    name: &str,
    step: u32,
    state: RecoveryState,
    carried_out: Option<bool>,
    findings: Vec<Finding>,
) -> Result<(), Failure> {
    let request = ReportOutcomeRequest {
        name: name.to_owned(),
        step,
        state: Some(state.into_message()),
        carried_out,
        findings,
        request_id: request_id(),
        ..ReportOutcomeRequest::default()
    };
    coordinator
        .call(request, async |request| coordinator.incidents().report_outcome(request).await)
        .await
        .map(drop)
}

/// What a person saw and approves.
pub(crate) struct Seen<'a> {
    /// The beginning of the step's hash.
    pub(crate) hash: &'a str,
    /// Another candidate than the planner's, from 1.
    pub(crate) candidate: Option<u32>,
}

/// Approves the step that waits, as it was seen, and says what came of it.
pub(crate) async fn approve(
    coordinator: &Coordinator,
    name: &str,
    seen: &Seen<'_>,
    approver: String,
) -> Result<String, Failure> {
    let hash = seen.hash;
    let incident = get(coordinator, name).await?;
    let step = waiting(&incident, IncidentStatus::AwaitingApproval)?;
    if !step.plan_hash.starts_with(&hash.to_lowercase()) {
        return Err(Failure::Input(format!(
            "step {} of {} has the hash {}, not {hash}: it was decided anew; read it with `countermove incidents get` and \
             approve what you see",
            step.index + 1,
            one_line(name),
            step.plan_hash.get(..12).unwrap_or(&step.plan_hash),
        )));
    }
    let step = with_choice(step, seen.candidate)?;
    approve_step(coordinator, name, &step, approver).await
}

/// Approves a step as it was seen, and says what came of it.
pub(crate) async fn approve_step(
    coordinator: &Coordinator,
    name: &str,
    step: &PlanStep,
    approver: String,
) -> Result<String, Failure> {
    let action = one_line(&action(step));
    Ok(match send_approval(coordinator, name, step, approver).await? {
        None => format!("approved: {action}"),
        Some((given, needed)) => {
            format!("approved by {given} of {needed}, and somebody else has to as well: {action}")
        }
    })
}

/// The step with another of its candidates as the chosen one.
fn with_choice(step: &PlanStep, candidate: Option<u32>) -> Result<PlanStep, Failure> {
    let Some(number) = candidate else { return Ok(step.clone()) };
    let known = step.candidates.iter().find(|known| u64::from(known.index) + 1 == u64::from(number));
    let known = known.ok_or_else(|| {
        Failure::Input(format!(
            "step {} has {} candidates and no number {number}",
            step.index + 1,
            step.candidates.len()
        ))
    })?;
    if known.plan_hash.is_empty() {
        let problem =
            "this step was decided by an earlier release, and only the planner's choice can be approved";
        return Err(Failure::Input(problem.to_owned()));
    }
    Ok(PlanStep { chosen: known.index, plan_hash: known.plan_hash.clone(), ..step.clone() })
}

/// Rejects the step that waits; the next proposals read why.
pub(crate) async fn reject(
    coordinator: &Coordinator,
    name: &str,
    reason: String,
    findings: Vec<Finding>,
) -> Result<String, Failure> {
    let incident = get(coordinator, name).await?;
    let step = waiting(&incident, IncidentStatus::AwaitingApproval)?;
    send_rejection(coordinator, name, step.index, reason, findings).await?;
    Ok(action(step))
}

/// Says what holds after the approved action.
pub(crate) async fn report_outcome(
    coordinator: &Coordinator,
    name: &str,
    found: &Found,
    findings: Vec<Finding>,
) -> Result<String, Failure> {
    let incident = get(coordinator, name).await?;
    let step = waiting(&incident, IncidentStatus::AwaitingOutcome)?;
    let before = recovery_state(step.state_before.unwrap_or_default());
    let state = match found {
        Found::Facts(state) => *state,
        Found::NotCarriedOut => {
            send_outcome(coordinator, name, step.index, before, Some(false), findings).await?;
            return Ok("it could not be carried out".to_owned());
        }
        Found::AsPredicted => {
            let candidate = step.candidates.iter().find(|candidate| candidate.index == step.chosen);
            let predicted = candidate.and_then(|candidate| candidate.predicted_state).map(recovery_state);
            before.union(predicted.ok_or_else(|| {
                Failure::Input("nothing was predicted for this action; name the facts that hold".to_owned())
            })?)
        }
    };
    send_outcome(coordinator, name, step.index, state, None, findings).await?;
    Ok(facts(state))
}

/// `contained,understood`, or `none`.
pub(crate) fn read_facts(text: &str) -> Result<RecoveryState, String> {
    let mut bits = [false; 6];
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "none") {
        let place = FACTS.iter().position(|fact| *fact == name);
        let bit = place.and_then(|place| bits.get_mut(place));
        *bit.ok_or_else(|| format!("{name:?} is none of {}, none", FACTS.join(", ")))? = true;
    }
    Ok(RecoveryState::from_bits(bits))
}

/// The beginning of a step's hash.
pub(crate) fn read_hash(text: &str) -> Result<String, String> {
    let is_hash =
        (HASH_DIGITS..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_lowercase()).ok_or_else(|| {
        format!("give the step's hash, or its first {HASH_DIGITS} digits or more, as `countermove incidents get` prints it")
    })
}

/// The step that waits for this.
fn waiting(incident: &Incident, status: IncidentStatus) -> Result<&PlanStep, Failure> {
    let what = match status {
        IncidentStatus::AwaitingApproval => "an approval",
        _ => "an outcome",
    };
    let step = incident.plan.as_ref().and_then(|plan| plan.steps.last());
    step.filter(|_| incident.status() == status).ok_or_else(|| {
        let now = match incident.status() {
            IncidentStatus::Planning => "the model is at work",
            IncidentStatus::AwaitingApproval => "an action waits for an approval",
            IncidentStatus::AwaitingOutcome => "an approved action waits for its outcome",
            IncidentStatus::Ended => "planning has ended",
            IncidentStatus::Unspecified => "its status is not known",
        };
        Failure::Input(format!("{} does not wait for {what}: {now}", one_line(&incident.name)))
    })
}

pub(crate) fn action(step: &PlanStep) -> String {
    chosen(step).action.unwrap_or_default().text
}

fn facts(state: RecoveryState) -> String {
    let held: Vec<&str> =
        FACTS.iter().zip(state.bits()).filter(|(_, holds)| *holds).map(|(fact, _)| *fact).collect();
    if held.is_empty() { "no fact holds".to_owned() } else { format!("{} hold", held.join(", ")) }
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::Plan;

    use super::*;

    #[test]
    fn what_was_found_is_read_as_people_write_it() {
        use countermove_wire::document::Finding as Told;
        let told =
            |findings: Vec<Finding>| Told::told(&findings.into_iter().map(Told::from).collect::<Vec<_>>());
        let read = |text: &str| read_findings(text).map(told);
        let all = "web01 compromised, 10.0.2.14 clean, Server 3 clean";
        assert_eq!(read("web01 compromised, 10.0.2.14 clean; Server 3 CLEAN,").as_deref(), Ok(all));
        assert_eq!(read(" ").as_deref(), Ok(""));
        for wrong in ["web01", "web01 clean and 10.0.2.14", "clean"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn facts_are_named_by_their_words() {
        assert_eq!(
            read_facts("contained, hardened").unwrap().bits(),
            [true, false, false, false, true, false]
        );
        assert_eq!(read_facts("none"), Ok(RecoveryState::default()));
        assert!(read_facts("contained,fixed").unwrap_err().contains("\"fixed\" is none of contained, "));
        assert_eq!(facts(read_facts("recovered").unwrap()), "recovered hold");
    }

    #[test]
    fn a_hash_is_named_by_its_beginning() {
        assert_eq!(read_hash("0123ABCD"), Ok("0123abcd".to_owned()));
        for wrong in ["0123abc", "0123abcx", ""] {
            assert!(read_hash(wrong).unwrap_err().contains("incidents get"), "{wrong}");
        }
    }

    #[test]
    fn another_candidate_is_approved_by_its_own_hash() {
        let candidate =
            |index, hash: &str| Candidate { index, plan_hash: hash.into(), ..Candidate::default() };
        let candidates = vec![candidate(0, "aa"), candidate(1, "bb"), candidate(2, "")];
        let step = PlanStep { candidates, plan_hash: "aa".into(), ..PlanStep::default() };
        assert_eq!(with_choice(&step, None).unwrap(), step);
        let other = with_choice(&step, Some(2)).unwrap();
        assert_eq!((other.chosen, other.plan_hash.as_str()), (1, "bb"));
        assert!(with_choice(&step, Some(4)).unwrap_err().to_string().contains("3 candidates"));
        assert!(with_choice(&step, Some(3)).unwrap_err().to_string().contains("earlier release"));
    }

    #[test]
    fn only_what_waits_can_be_decided() {
        let incident = |status: IncidentStatus| Incident {
            name: "incidents/x".into(),
            status: status.into(),
            plan: Some(Plan { steps: vec![PlanStep::default()], ..Plan::default() }),
            ..Incident::default()
        };
        let waits = incident(IncidentStatus::AwaitingApproval);
        assert!(waiting(&waits, IncidentStatus::AwaitingApproval).is_ok());
        let refused = waiting(&waits, IncidentStatus::AwaitingOutcome).unwrap_err().to_string();
        assert!(
            refused.contains("does not wait for an outcome: an action waits for an approval"),
            "{refused}"
        );
        let ended = incident(IncidentStatus::Ended);
        assert!(waiting(&ended, IncidentStatus::AwaitingApproval).is_err());
    }
}
