//! What a running incident is doing, gathered from its updates: the line of progress, and the milestones.

use std::time::{Duration, Instant};

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    AlertsReported, Assessment, ConjectureRevised, IncidentEvent, OutcomeReported, PlanEnded, PlanStep,
    PlanningStage, Progress, TacticBelief,
};
use countermove_wire::document::{End, Finding};

use crate::decisions::chosen;
use crate::render::{cost, count, end_sentence, one_line, tactic_name, time};

/// Time over which tokens a second, chosen and forced, are averaged.
const WINDOW: Duration = Duration::from_secs(3);

/// Seconds of rollouts before which it is not told how long they will take.
const LEAST_TIME: f64 = 2.0;

/// What is known about an incident's planning.
#[derive(Debug)]
pub(crate) struct Activity {
    begun: Instant,
    progress: Progress,
    steps: usize,
    /// When the rollouts of the step under way were first told of, and how many had ended by then.
    rollouts: Option<(Instant, u32)>,
    /// Token counts and when they came, the oldest first, no more than [`WINDOW`] back.
    counts: std::collections::VecDeque<(Instant, u64)>,
}

impl Activity {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            progress: Progress::default(),
            steps: 0,
            rollouts: None,
            counts: [(now, 0)].into(),
        }
    }

    /// A sign of life.
    pub(crate) fn progressed(&mut self, progress: Progress, now: Instant) {
        let goes_on = (progress.stage(), progress.step) == (self.progress.stage(), self.progress.step);
        self.rollouts = match self.rollouts.filter(|_| goes_on) {
            Some(begun) => Some(begun),
            None => {
                (progress.stage() == PlanningStage::Rollouts).then_some((now, progress.rollouts_finished))
            }
        };
        self.progress = progress;
        self.counts.push_back((now, progress.tokens));
        while self.counts.len() > 2 && self.counts.front().is_some_and(|(then, _)| now - *then > WINDOW) {
            self.counts.pop_front();
        }
    }

    /// An event; gives the milestone that it is, if it is one.
    pub(crate) fn happened(&mut self, event: &IncidentEvent) -> Option<String> {
        match event.kind.as_ref()? {
            Kind::Created(_) | Kind::Rollout(_) => None,
            Kind::Alerts(alerts) => Some(reported(alerts)),
            Kind::Revised(revised) => Some(self::revised(revised)),
            Kind::FellBack(fell_back) => {
                Some(format!("the state fell back: {}", one_line(&fell_back.reason)))
            }
            Kind::Assessed(assessment) => Some(assessed(assessment)),
            Kind::Proposed(proposed) => {
                self.progress.step = proposed.step;
                let mut line = format!(
                    "step {}: {}",
                    proposed.step + 1,
                    count(proposed.candidates.len() as u64, "candidate")
                );
                if !proposed.rejected.is_empty() {
                    line += &format!(", {} thrown away", count(proposed.rejected.len() as u64, "proposal"));
                }
                Some(line)
            }
            Kind::Decided(step) => {
                self.steps = self.steps.max(step.index as usize + 1);
                Some(decided(step))
            }
            Kind::Approved(approved) if approved.is_automatic => {
                Some(format!("step {}: approved by the incident's autonomy", approved.step + 1))
            }
            Kind::Approved(approved) => {
                Some(format!("step {}: approved by {}", approved.step + 1, one_line(&approved.approver)))
            }
            Kind::Approval(given) => Some(format!(
                "step {}: approved by {}, and others have to as well",
                given.step + 1,
                one_line(&given.approver)
            )),
            Kind::Delivery(delivery) => Some(format!("note: {}", one_line(&delivery.sentence()))),
            Kind::Rejected(rejected) => {
                Some(format!("step {}: rejected: {}", rejected.step + 1, one_line(&rejected.reason)))
            }
            Kind::Outcome(outcome) => Some(self::outcome(outcome)),
            Kind::Ended(ended) => Some(self.ended(ended)),
            Kind::Notice(notice) => Some(format!("note: {}", one_line(&notice.text))),
        }
    }

    /// Steps decided so far.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// The line of progress.
    pub(crate) fn line(&self, now: Instant) -> String {
        let mut line = format!(
            "{} · {:.0}/s · {}",
            work(&self.progress),
            self.tokens_per_second(now),
            time((now - self.begun).as_secs_f64())
        );
        if let Some(left) = self.left(now) {
            line += &format!(" · about {} left of the rollouts", time(left));
        }
        line
    }

    /// What is being done, and what it took so far.
    pub(crate) fn doing(&self, now: Instant) -> String {
        let left = self.left(now).map(|left| format!(" · about {} left of the rollouts", time(left)));
        work(&self.progress) + &left.unwrap_or_default()
    }

    /// Seconds until the rollouts of the step have ended, by their speed until now; none before it can be told.
    fn left(&self, now: Instant) -> Option<f64> {
        let (begun, before) = self.rollouts?;
        let Progress { rollouts_finished: finished, rollouts_total: total, .. } = self.progress;
        let (ended, past) = (finished.checked_sub(before)?, (now - begun).as_secs_f64());
        let can_be_told = ended > 0 && past >= LEAST_TIME && total > finished;
        can_be_told.then(|| past * f64::from(total - finished) / f64::from(ended))
    }

    /// Speed over the last seconds.
    fn tokens_per_second(&self, now: Instant) -> f64 {
        let (Some((then, before)), Some((_, after))) = (self.counts.front(), self.counts.back()) else {
            return 0.0;
        };
        let seconds = (now - *then).as_secs_f64();
        if seconds <= 0.0 { 0.0 } else { after.saturating_sub(*before) as f64 / seconds }
    }

    fn ended(&self, ended: &PlanEnded) -> String {
        end_sentence(End::of(ended.end()), self.steps, &ended.error)
    }
}

/// What planning is doing and the work behind it.
pub(crate) fn work(progress: &Progress) -> String {
    let step = progress.step + 1;
    let stage = match progress.stage() {
        PlanningStage::Unspecified => "starting".to_owned(),
        PlanningStage::Perception => "reading the evidence".to_owned(),
        PlanningStage::Candidates => format!("step {step}: proposing candidates"),
        PlanningStage::Rollouts => {
            format!("step {step}: rollouts {}/{}", progress.rollouts_finished, progress.rollouts_total)
        }
        PlanningStage::Waiting => format!("step {step}: waiting for an answer"),
    };
    format!("{stage} · {} chosen or forced", count(progress.tokens, "token"))
}

fn assessed(assessment: &Assessment) -> String {
    if assessment.not_understood {
        return one_line(&assessment.description);
    }
    if !assessment.is_incident {
        return format!("no incident: {}", one_line(&assessment.description));
    }
    let tactics: Vec<_> =
        assessment.tactics.iter().map(|belief| tactic_name(belief.tactic().into())).collect();
    let mut line = format!("an incident: {}", one_line(&assessment.description));
    if !tactics.is_empty() {
        line += &format!(" [{}]", tactics.join(", "));
    }
    line
}

fn decided(step: &PlanStep) -> String {
    let chosen = chosen(step);
    let action = chosen.action.unwrap_or_default().text;
    let (mean, _, ends) = cost(&chosen.cost.unwrap_or_default().into());
    let rollouts = step.usage.map_or(0, |usage| usage.rollouts);
    format!(
        "step {}: {} (cost {mean}, {ends}; {} in all)",
        step.index + 1,
        one_line(&action),
        count(rollouts, "rollout")
    )
}

fn reported(alerts: &AlertsReported) -> String {
    let digest = alerts.digest.clone().unwrap_or_default();
    let mut line = format!("alerts came: the log now holds {}", count(digest.records, "record"));
    if alerts.repeated_records > 0 {
        line += &format!("; {} had come before", count(alerts.repeated_records, "record"));
    }
    line
}

fn outcome(outcome: &OutcomeReported) -> String {
    let mut line = format!("step {}: outcome reported", outcome.step + 1);
    if outcome.carried_out == Some(false) {
        line += "; the action could not be carried out";
    }
    let findings: Vec<Finding> = outcome.findings.iter().cloned().map(Into::into).collect();
    if !findings.is_empty() {
        line += &format!("; found: {}", one_line(&Finding::told(&findings)));
    }
    if let Some(comparison) = &outcome.comparison {
        let word = if comparison.holds { "as expected" } else { "not as expected" };
        line += &format!("; the alerts since are {word} (precision {:.2})", comparison.precision);
    }
    line
}

/// A revision in one line.
pub fn revised(revised: &ConjectureRevised) -> String {
    let first = |beliefs: &[TacticBelief]| {
        beliefs.first().map_or("none".into(), |belief| tactic_name(belief.tactic().into()))
    };
    let now = revised.assessment.as_ref().map_or(&[][..], |assessment| &assessment.tactics);
    format!(
        "the conjecture was revised from {} to {}: {}",
        first(&revised.before),
        first(now),
        one_line(&revised.reason)
    )
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{
        Action, Candidate, CandidatesProposed, CostEstimate, Notice, PlanEnd, Usage,
    };

    use super::*;

    fn event(kind: Kind) -> IncidentEvent {
        IncidentEvent { kind: Some(kind), ..IncidentEvent::default() }
    }

    #[test]
    fn the_line_tells_stage_rollouts_tokens_and_speed() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut activity = Activity::new(begun);
        assert_eq!(activity.line(begun), "starting · 0 tokens chosen or forced · 0/s · 0.0 s");
        let progress = |tokens| Progress {
            stage: PlanningStage::Rollouts.into(),
            step: 1,
            rollouts_finished: 4,
            rollouts_total: 9,
            tokens,
        };
        for second in 1..=10 {
            activity.progressed(progress(second * 100), at(second));
        }
        assert_eq!(
            activity.line(at(10)),
            "step 2: rollouts 4/9 · 1,000 tokens chosen or forced · 100/s · 10 s"
        );
        assert!(activity.counts.len() <= 6, "old counts are forgotten");
        assert!(!activity.line(at(10)).contains("left"), "nobody knows how long what has not moved takes");
        activity.progressed(Progress { rollouts_finished: 6, ..progress(1100) }, at(11));
        assert!(activity.doing(at(11)).ends_with(" forced · about 15 s left of the rollouts"));
        activity.progressed(Progress { step: 2, rollouts_finished: 8, ..progress(1200) }, at(12));
        assert!(!activity.line(at(12)).contains("left"), "another step begins anew");
        assert!(activity.line(at(100)).contains(" 3/s"), "a standstill shows");
    }

    #[test]
    fn milestones_are_one_line_each() {
        let mut activity = Activity::new(Instant::now());
        let step = PlanStep {
            candidates: vec![Candidate {
                action: Some(Action { text: "Isolate\nit.\u{1b}".to_owned(), ..Action::default() }),
                cost: Some(CostEstimate { terminal: 3, mean: Some(4.0), ..CostEstimate::default() }),
                ..Candidate::default()
            }],
            usage: Some(Usage { rollouts: 9, ..Usage::default() }),
            ..PlanStep::default()
        };
        let lines = [
            activity.happened(&event(Kind::Assessed(Assessment {
                is_incident: true,
                description: "Guessing.".to_owned(),
                ..Assessment::default()
            }))),
            activity.happened(&event(Kind::Proposed(CandidatesProposed {
                candidates: vec![Candidate::default(); 2],
                ..CandidatesProposed::default()
            }))),
            activity.happened(&event(Kind::Decided(step))),
            activity.happened(&event(Kind::Notice(Notice { text: "worker w-1 was lost".to_owned() }))),
            activity.happened(&event(Kind::Ended(PlanEnded {
                end: PlanEnd::Recovered.into(),
                ..PlanEnded::default()
            }))),
            activity.happened(&event(Kind::Created(Default::default()))),
        ];
        assert_eq!(
            lines,
            [
                Some("an incident: Guessing.".to_owned()),
                Some("step 1: 2 candidates".to_owned()),
                Some("step 1: Isolate it.\\u{1b} (cost 4.00, 3/3 recovered; 9 rollouts in all)".to_owned()),
                Some("note: worker w-1 was lost".to_owned()),
                Some("Recovery is complete after 1 step.".to_owned()),
                None,
            ]
        );
    }
}
