//! Approved actions on their way to the webhook, for one incident.
//!
//! Contract: a delivery is `pending` in the incident's log from the approval on, and until the log says that it was taken or
//! given up, whoever owns the incident tries. Every attempt has the same id, so the receiver can tell a repetition: it gets
//! an action at least once. What is sent is read from the incident as its events make it, and only if the step still is
//! the one that its hash names.

use countermove_incident::Measure;
use countermove_proto::v1::{ActionApproved, Delivery, DeliveryStatus, Incident, PlanStep};
use tokio::task::JoinSet;

use super::seal::{chosen, chosen_candidate, sealed};
use crate::webhook::{Approval, Response, Undelivered, Webhook, reversibility};

/// Delivers for one incident. Dropping it stops every attempt; what is pending then is the next owner's.
pub(super) struct Courier {
    webhook: Option<Webhook>,
    under_way: JoinSet<Delivery>,
}

impl Courier {
    pub(super) fn new(webhook: Option<Webhook>) -> Self {
        Self { webhook, under_way: JoinSet::new() }
    }

    /// Whether there is anybody to deliver to.
    pub(super) fn has_receiver(&self) -> bool {
        self.webhook.is_some()
    }

    /// The delivery that an approval begins; none without a webhook.
    pub(super) fn order(&self, incident: &str, approved: &ActionApproved) -> Option<Delivery> {
        self.webhook.as_ref()?;
        let mut delivery = Delivery {
            step: approved.step,
            id: format!("{incident}/steps/{}/{}", approved.step, approved.plan_hash),
            approver: approved.approver.clone(),
            is_automatic: approved.is_automatic,
            ..Delivery::default()
        };
        delivery.set_status(DeliveryStatus::Pending);
        Some(delivery)
    }

    /// Begins to deliver.
    pub(super) fn send(&mut self, incident: &Incident, mut delivery: Delivery) {
        let Some(webhook) = self.webhook.clone() else { return };
        match approval(incident, &delivery) {
            Ok(approval) => self.under_way.spawn(async move {
                match webhook.deliver(&delivery.id, &approval).await {
                    Ok(attempts) => {
                        delivery.attempts = attempts;
                        delivery.set_status(DeliveryStatus::Taken);
                    }
                    Err(Undelivered { attempts, problem }) => {
                        (delivery.attempts, delivery.problem) = (attempts, problem);
                        delivery.set_status(DeliveryStatus::Failed);
                    }
                }
                delivery
            }),
            Err(problem) => self.under_way.spawn(async move {
                delivery.problem = problem;
                delivery.set_status(DeliveryStatus::Failed);
                delivery
            }),
        };
    }

    /// The next delivery that was taken or given up; never while none is under way. Dropping this loses nothing.
    pub(super) async fn settled(&mut self) -> Delivery {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(delivery)) => return delivery,
                // It stays pending, and the next owner tries again.
                Some(Err(error)) => tracing::error!(%error, "a delivery broke off"),
                None => std::future::pending().await,
            }
        }
    }
}

/// What the webhook is told of an approved step.
fn approval(incident: &Incident, delivery: &Delivery) -> Result<Approval, String> {
    let step = sealed(incident, delivery.step)?;
    if !delivery.id.ends_with(&format!("/{}", step.plan_hash)) {
        return Err(format!("step {} was decided anew since its approval", delivery.step));
    }
    Ok(told(incident, delivery, step))
}

/// All who approved it, the last one at the end.
fn approvers(delivery: &Delivery, step: &PlanStep) -> Vec<String> {
    let given = step.approvals.iter().filter(|given| given.plan_hash == step.plan_hash);
    let names: Vec<String> = given.map(|given| given.approver.clone()).collect();
    match (names.is_empty(), delivery.approver.as_str()) {
        (true, "") => Vec::new(),
        (true, one) => vec![one.to_owned()],
        (false, _) => names,
    }
}

fn told(incident: &Incident, delivery: &Delivery, step: &PlanStep) -> Approval {
    let action = chosen(step);
    let orders = chosen_candidate(step).map(|candidate| candidate.orders.clone()).unwrap_or_default();
    let response = |Measure { class, react, d3fend }: Measure| Response {
        kind: class.name(),
        d3fend: d3fend.id,
        react: react.map(|react| react.id),
    };
    Approval {
        version: 1,
        event: "action_approved",
        incident: incident.name.clone(),
        step: step.index,
        plan_hash: step.plan_hash.clone(),
        responses: Measure::of(&action.text).into_iter().map(response).collect(),
        orders: orders.into_iter().map(Into::into).collect(),
        reversibility: reversibility(&action.text),
        action: action.text,
        explanation: action.explanation,
        approver: delivery.approver.clone(),
        approvers: approvers(delivery, step),
        is_automatic: delivery.is_automatic,
    }
}
