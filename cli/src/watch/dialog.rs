//! What is asked before anything is decided. A decision is about what stood there when its dialog was opened, and about nothing that came
//! later: it is bound to one hash, and cannot be sent any more once the step was decided anew.

use countermove_proto::v1::{Incident, IncidentStatus, PlanStep};

use crate::decisions::CODE_DIGITS;

/// Longest text that is taken, in characters.
const LONGEST: usize = 512;

/// A line that is typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Input(pub(super) String);

impl Input {
    /// Adds what was typed or pasted; a line break is a space, and what acts on a terminal is left out.
    pub(super) fn add(&mut self, text: &str) {
        for c in text.chars() {
            if self.0.chars().count() >= LONGEST {
                return;
            }
            match c {
                '\n' | '\t' => self.0.push(' '),
                c if c.is_control() => {}
                c => self.0.push(c),
            }
        }
    }

    /// Takes the last character away.
    pub(super) fn erase(&mut self) {
        self.0.pop();
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Dialog {
    /// The keys are shown.
    Help,
    /// Which incidents are shown.
    Filter(Input),
    /// Whether an action is to be done, or why not.
    Decide(Box<Deciding>),
}

/// A decision in the making.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deciding {
    pub(super) what: Verdict,
    /// Name of the incident.
    pub(super) incident: String,
    /// The step as it was seen.
    pub(super) step: PlanStep,
    pub(super) typed: Input,
    /// It was sent, and the answer is waited for.
    pub(super) is_sent: bool,
    /// Why it was refused.
    pub(super) problem: Option<String>,
}

/// What is to become of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Approve,
    Reject,
}

impl Deciding {
    pub(super) fn new(what: Verdict, incident: &Incident, step: &PlanStep) -> Self {
        let (incident, step) = (incident.name.clone(), step.clone());
        Self { what, incident, step, typed: Input::default(), is_sent: false, problem: None }
    }

    /// Takes what was typed: of a hash its digits alone.
    pub(super) fn add(&mut self, text: &str) {
        match self.what {
            Verdict::Reject => self.typed.add(text),
            Verdict::Approve => {
                for digit in text.chars().filter(char::is_ascii_hexdigit) {
                    if self.typed.0.len() < CODE_DIGITS {
                        self.typed.0.push(digit.to_ascii_lowercase());
                    }
                }
            }
        }
    }

    /// The digits that approve it; none if the step has no hash.
    pub(super) fn code(&self) -> Option<&str> {
        self.step.plan_hash.get(..CODE_DIGITS)
    }

    /// Whether what was typed is enough.
    pub(super) fn is_complete(&self) -> bool {
        match self.what {
            Verdict::Approve => self.code() == Some(self.typed.0.as_str()),
            Verdict::Reject => !self.typed.0.trim().is_empty(),
        }
    }

    /// Why the decision can no longer be sent, in one sentence; none: it can.
    pub(super) fn stale(&self, now: Option<&Incident>) -> Option<&'static str> {
        let Some(now) = now.filter(|now| now.name == self.incident) else {
            return Some("The incident is not on the page any more.");
        };
        match now.status() {
            IncidentStatus::AwaitingApproval => {}
            IncidentStatus::AwaitingOutcome => return Some("Somebody approved this step meanwhile."),
            _ => return Some("The step does not wait for a decision any more."),
        }
        let step = now.plan.as_ref().and_then(|plan| plan.steps.last());
        let is_same =
            step.is_some_and(|step| step.index == self.step.index && step.plan_hash == self.step.plan_hash);
        (!is_same).then_some("The step was decided anew since you opened this.")
    }
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::Plan;

    use super::*;

    fn incident(hash: &str) -> Incident {
        let step = PlanStep { plan_hash: hash.to_owned(), ..PlanStep::default() };
        let plan = Some(Plan { steps: vec![step], ..Plan::default() });
        let mut incident = Incident { name: "incidents/x".into(), plan, ..Incident::default() };
        incident.set_status(IncidentStatus::AwaitingApproval);
        incident
    }

    fn deciding(what: Verdict) -> Deciding {
        let incident = incident("3fa2b1c4d5");
        Deciding::new(what, &incident, &incident.plan.as_ref().unwrap().steps[0])
    }

    #[test]
    fn only_the_digits_of_the_hash_approve() {
        let mut approval = deciding(Verdict::Approve);
        assert!(!approval.is_complete());
        approval.add("3f a\n2z");
        assert!(approval.is_complete());
        approval.add("b");
        assert_eq!(approval.typed.0, "3fa2", "no more than four are taken");
        approval.typed.erase();
        approval.add("3");
        assert!(!approval.is_complete());
        approval.step.plan_hash.clear();
        approval.typed.0.clear();
        assert!(!approval.is_complete(), "a step without a hash cannot be approved");
    }

    #[test]
    fn a_rejection_needs_a_reason() {
        let mut rejection = deciding(Verdict::Reject);
        rejection.add("  ");
        assert!(!rejection.is_complete());
        rejection.add("it breaks\u{1b}[2J\nFTP");
        assert!(rejection.is_complete());
        assert_eq!(rejection.typed.0, "  it breaks[2J FTP");
        rejection.add(&"x".repeat(9999));
        assert_eq!(rejection.typed.0.chars().count(), LONGEST);
    }

    #[test]
    fn what_changed_meanwhile_disarms() {
        let approval = deciding(Verdict::Approve);
        assert_eq!(approval.stale(Some(&incident("3fa2b1c4d5"))), None);
        for (now, word) in [
            (incident("3fa2ffffff"), "decided anew"),
            (Incident { name: "incidents/y".into(), ..incident("3fa2b1c4d5") }, "not on the page"),
            (
                Incident { status: IncidentStatus::AwaitingOutcome.into(), ..incident("3fa2b1c4d5") },
                "approved this step",
            ),
            (Incident { status: IncidentStatus::Planning.into(), ..incident("3fa2b1c4d5") }, "does not wait"),
        ] {
            assert!(approval.stale(Some(&now)).unwrap().contains(word), "{word}");
        }
        assert!(approval.stale(None).is_some());
    }
}
