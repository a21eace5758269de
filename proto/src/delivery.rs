//! What became of an approved action at the webhook, for people.

use crate::v1::incident_event::Kind;
use crate::v1::{Delivery, DeliveryStatus};

/// What an event has to say that a reader of the plan should know besides the plan itself.
pub fn remark(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Notice(notice) => Some(notice.text.clone()),
        Kind::Delivery(delivery) if delivery.status() != DeliveryStatus::Pending => Some(delivery.sentence()),
        _ => None,
    }
}

impl Delivery {
    /// It in one sentence.
    pub fn sentence(&self) -> String {
        let step = u64::from(self.step) + 1;
        match self.status() {
            DeliveryStatus::Taken => {
                format!("The webhook took the action of step {step} (attempt {}).", self.attempts)
            }
            DeliveryStatus::Failed => {
                format!("The webhook did not take the action of step {step}: {}.", self.problem)
            }
            DeliveryStatus::Pending | DeliveryStatus::Unspecified => {
                format!("The action of step {step} is on its way to the webhook.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_counts_steps_from_one_and_says_why_it_failed() {
        let mut delivery = Delivery { step: 1, attempts: 3, ..Delivery::default() };
        delivery.set_status(DeliveryStatus::Taken);
        assert_eq!(delivery.sentence(), "The webhook took the action of step 2 (attempt 3).");
        delivery.set_status(DeliveryStatus::Failed);
        delivery.problem = "it answered with status 403".to_owned();
        let failed = "The webhook did not take the action of step 2: it answered with status 403.";
        assert_eq!(delivery.sentence(), failed);
        assert_eq!(remark(&Kind::Delivery(delivery.clone())).as_deref(), Some(failed));
        delivery.set_status(DeliveryStatus::Pending);
        assert_eq!(remark(&Kind::Delivery(delivery)), None, "there is nothing to say yet");
    }
}
