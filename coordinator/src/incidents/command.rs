//! What callers ask of an incident that goes on.

use countermove_incident::RecoveryState;
use countermove_planner::{Finding, Outcome, PlanSession, SessionError};
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    self, ActionApproved, ActionRejected, ApprovalGiven, Delivery, DeliveryStatus, DigestReport,
    FindingVerdict, Incident, OutcomeReported, RecoveryFacts,
};
use countermove_proto::{Condition, Error, IncidentId};
use countermove_serving::InFlight;
use countermove_wire::{IntoMessage, with_facts};
use tokio::sync::oneshot;

use super::EVIDENCE;
use super::store::RequestKey;

/// A change that a caller wants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Approve an action of a step: the chosen one, or that of the candidate that the hash names.
    Approve {
        step: u32,
        plan_hash: String,
        action: Option<String>,
        approver: String,
        /// Whether the approver counts as a person, where two have to approve.
        is_person: bool,
    },
    /// Reject it.
    Reject { step: u32, reason: String, by: String, findings: Vec<v1::Finding> },
    /// Report what an approved action achieved.
    ReportOutcome { step: u32, found: Found, carried_out: Option<bool>, findings: Vec<v1::Finding> },
    /// Add alerts.
    ReportAlerts { text: String, in_flight: Option<InFlight> },
    /// Send an approved action to the webhook once more.
    Resend { step: u32 },
    /// Stop planning.
    Cancel,
}

/// What was found after an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found {
    /// All of the state.
    State(RecoveryState),
    /// Some of its facts; the others are as they were.
    Facts(RecoveryFacts),
}

/// A change, and where the answer goes.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) change: Change,
    /// Say what would come of it and change nothing.
    pub(super) check_only: bool,
    /// Under which it is asked, so that its effect is remembered with it.
    pub(super) request: Option<RequestKey>,
    pub(super) reply: oneshot::Sender<Result<Changed, Error>>,
}

/// The incident after a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changed {
    pub(crate) incident: Incident,
    /// How the log reads now.
    pub(crate) digest: DigestReport,
    /// Records that were there already and were not taken again.
    pub(crate) repeated: u64,
}

/// What is said to a report that would make the evidence more than it may be.
pub(super) fn no_room(id: IncidentId, have: usize, more: usize) -> Error {
    let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    Error::Precondition {
        condition: Condition::Evidence,
        subject: id.name(),
        description: format!(
            "the incident has {:.1} MiB of evidence, and with {:.1} MiB more it would have more than the {:.0} MiB that are \
             taken; report the alerts that matter, or begin another incident with these",
            mebibytes(have),
            mebibytes(more),
            mebibytes(EVIDENCE)
        ),
    }
}

/// Takes an operator's word into the session of an incident and gives the event that it makes; `None` for a change that is not an
/// operator's word. An approval that is not the last of those that are needed leaves the session as it is.
pub(super) fn apply(
    incident: &Incident,
    session: &mut PlanSession,
    change: &Change,
) -> Result<Option<Kind>, Error> {
    let refused = |error| precondition(&incident.name, error);
    Ok(match change {
        Change::Approve { step, plan_hash, action, approver, is_person } => {
            let approvable = session.approvable(*step, plan_hash, action.as_deref());
            let candidate = approvable.map_err(refused)?.index;
            if is_one_of_several(incident, (*step, candidate, plan_hash), approver, *is_person)? {
                let (approver, plan_hash) = (approver.clone(), plan_hash.clone());
                return Ok(Some(Kind::Approval(ApprovalGiven { step: *step, approver, plan_hash })));
            }
            let chosen = session.approve(*step, plan_hash, action.as_deref()).map_err(refused)?;
            Some(Kind::Approved(ActionApproved {
                step: *step,
                approver: approver.clone(),
                is_automatic: false,
                plan_hash: plan_hash.clone(),
                chosen,
            }))
        }
        Change::Reject { step, reason, by, findings } => {
            let findings = known(session, findings)?;
            session.reject(*step, reason, findings.clone()).map_err(refused)?;
            Some(Kind::Rejected(ActionRejected {
                step: *step,
                reason: reason.clone(),
                rejected_by: by.clone(),
                findings: findings.into_iter().map(IntoMessage::into_message).collect(),
            }))
        }
        Change::ReportOutcome { step, found, carried_out, findings } => {
            let findings = known(session, findings)?;
            let state = match *found {
                Found::State(state) => state,
                Found::Facts(facts) => with_facts(session.state(), facts),
            };
            let outcome = Outcome { state, carried_out: *carried_out, findings: findings.clone() };
            let comparison = session.report_outcome(*step, outcome).map_err(refused)?;
            Some(Kind::Outcome(OutcomeReported {
                step: *step,
                state: Some(state.into_message()),
                comparison: comparison.map(IntoMessage::into_message),
                carried_out: *carried_out,
                findings: findings.into_iter().map(IntoMessage::into_message).collect(),
            }))
        }
        Change::ReportAlerts { .. } | Change::Resend { .. } | Change::Cancel => None,
    })
}

/// What was found out, by the names that the incident has.
fn known(session: &PlanSession, findings: &[v1::Finding]) -> Result<Vec<Finding>, Error> {
    let of = |(at, finding): (usize, &v1::Finding)| {
        let is_compromised = finding.verdict() == FindingVerdict::Compromised;
        let unknown = |error: SessionError| Error::invalid(format!("findings[{at}].name"), error.to_string());
        session.finding(&finding.name, is_compromised).map_err(unknown)
    };
    findings.iter().enumerate().map(of).collect()
}

/// Whether other people have to approve what `approver` does, after it, by what the record says of the candidate. Approvals count for the
/// hash that they name.
fn is_one_of_several(
    incident: &Incident,
    (step, candidate, plan_hash): (u32, u32, &str),
    approver: &str,
    is_person: bool,
) -> Result<bool, Error> {
    let steps = incident.plan.as_ref().map_or(&[][..], |plan| &plan.steps);
    let Some(step) = steps.iter().find(|known| known.index == step) else { return Ok(false) };
    let candidate = step.candidates.iter().find(|known| known.index == candidate);
    let needed = candidate.map_or(0, |candidate| candidate.approvers);
    if needed < 2 {
        return Ok(false);
    }
    if !is_person {
        return Err(Error::Denied(format!(
            "{needed} different people have to approve this action, and {approver} calls by a token, which stands for no person"
        )));
    }
    if approver.is_empty() {
        let who = format!("{needed} different people have to approve this action, so each says who it is");
        return Err(Error::invalid("approver", who));
    }
    let mut given = step.approvals.iter().filter(|approval| approval.plan_hash == plan_hash);
    let count = given.clone().count();
    if given.any(|approval| approval.approver == approver) {
        return Err(Error::Precondition {
            condition: Condition::Approver,
            subject: incident.name.clone(),
            description: format!(
                "{approver} has approved it already; {count} of {needed} different people did, and somebody else has to"
            ),
        });
    }
    Ok(count as u64 + 1 < u64::from(needed))
}

/// The delivery of a step as it is when it begins anew.
pub(super) fn again(incident: &Incident, step: u32, has_receiver: bool) -> Result<Delivery, Error> {
    let refused = |condition, description: String| Error::Precondition {
        condition,
        subject: incident.name.clone(),
        description,
    };
    if !has_receiver {
        let description = "this coordinator has no webhook; start it with --webhook";
        return Err(refused(Condition::Status, description.to_owned()));
    }
    let known = incident.deliveries.iter().find(|delivery| delivery.step == step);
    match known {
        None => Err(refused(
            Condition::Step,
            format!("no action of step {} was ever on its way to a webhook", u64::from(step) + 1),
        )),
        Some(known) if known.status() == DeliveryStatus::Pending => {
            Err(refused(Condition::Status, "it is on its way already".to_owned()))
        }
        Some(known) => {
            let mut delivery = Delivery { attempts: 0, problem: String::new(), ..known.clone() };
            delivery.set_status(DeliveryStatus::Pending);
            Ok(delivery)
        }
    }
}

/// What is said to a change that comes after the end.
pub(super) fn over(id: IncidentId) -> Error {
    Error::Precondition {
        condition: Condition::Status,
        subject: id.name(),
        description: "planning has ended; create a new incident to plan again".to_owned(),
    }
}

fn precondition(incident: &str, error: SessionError) -> Error {
    let condition = match error {
        SessionError::NotNow { .. } => Condition::Status,
        SessionError::WrongStep { .. } => Condition::Step,
        SessionError::WrongAction { .. } => Condition::Action,
        SessionError::Stale { .. } => Condition::Stale,
        SessionError::Unknown { .. } => return Error::invalid("findings", error.to_string()),
    };
    Error::Precondition { condition, subject: incident.to_owned(), description: error.to_string() }
}
