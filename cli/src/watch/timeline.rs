//! An incident's events as a person reads them: each in a line, the rollouts of a step folded into one.

use std::collections::BTreeMap;
use std::time::Instant;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{IncidentEvent, Progress, RolloutEnd, RolloutFinished};

use crate::plan::Activity;
use crate::render::count;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) time: Option<prost_types::Timestamp>,
    pub(super) text: String,
}

/// What has happened to an incident, and what is being done about it.
#[derive(Debug)]
pub(super) struct Timeline {
    entries: Vec<Entry>,
    activity: Activity,
    /// The rollouts under way, and the entry that tells of them.
    rollouts: Option<Rollouts>,
    has_progress: bool,
}

#[derive(Debug)]
struct Rollouts {
    step: u32,
    entry: usize,
    /// How many of each candidate ended, and how many of them in recovery.
    tallies: BTreeMap<u32, (u64, u64)>,
}

impl Timeline {
    pub(super) fn new(now: Instant) -> Self {
        Self { entries: Vec::new(), activity: Activity::new(now), rollouts: None, has_progress: false }
    }

    /// What has happened, in order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is being done; nothing before a sign of life came.
    pub(super) fn doing(&self, now: Instant) -> Option<String> {
        self.has_progress.then(|| self.activity.doing(now))
    }

    pub(super) fn progressed(&mut self, progress: Progress, now: Instant) {
        self.has_progress = true;
        self.activity.progressed(progress, now);
    }

    pub(super) fn happened(&mut self, event: &IncidentEvent) {
        match &event.kind {
            Some(Kind::Rollout(rollout)) => self.rollout(event, rollout),
            Some(Kind::Created(created)) => {
                let records = created.digest.as_ref().map_or(0, |digest| digest.records);
                let by = if created.creator.is_empty() {
                    String::new()
                } else {
                    format!(" by {}", created.creator)
                };
                self.push(event, format!("created{by} with {}", count(records, "record")));
            }
            kind => {
                // What is proposed or decided anew is simulated anew.
                if matches!(kind, Some(Kind::Proposed(_) | Kind::Decided(_))) {
                    self.rollouts = None;
                }
                if let Some(line) = self.activity.happened(event) {
                    self.push(event, line);
                }
            }
        }
    }

    fn push(&mut self, event: &IncidentEvent, text: String) {
        self.entries.push(Entry { time: event.time, text });
    }

    fn rollout(&mut self, event: &IncidentEvent, rollout: &RolloutFinished) {
        if self.rollouts.as_ref().is_none_or(|under_way| under_way.step != rollout.step) {
            let entry = self.entries.len();
            self.push(event, String::new());
            self.rollouts = Some(Rollouts { step: rollout.step, entry, tallies: BTreeMap::new() });
        }
        let Some(under_way) = &mut self.rollouts else { return };
        let tally = under_way.tallies.entry(rollout.candidate).or_default();
        tally.0 += 1;
        tally.1 += u64::from(rollout.end() == RolloutEnd::Terminal);
        let total = under_way.tallies.values().map(|(ended, _)| ended).sum();
        let each: Vec<String> = under_way
            .tallies
            .iter()
            .map(|(candidate, (ended, recovered))| {
                format!("{}: {recovered}/{ended}", u64::from(*candidate) + 1)
            })
            .collect();
        if let Some(entry) = self.entries.get_mut(under_way.entry) {
            let step = u64::from(rollout.step) + 1;
            entry.text = format!(
                "step {step}: {} recovered, of candidate {}",
                count(total, "rollout"),
                each.join(", ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{ActionRejected, CandidatesProposed, PlanningStage};

    use super::*;

    fn event(kind: Kind) -> IncidentEvent {
        IncidentEvent { kind: Some(kind), ..IncidentEvent::default() }
    }

    fn rollout(step: u32, candidate: u32, end: RolloutEnd) -> IncidentEvent {
        event(Kind::Rollout(RolloutFinished {
            step,
            candidate,
            end: end.into(),
            ..RolloutFinished::default()
        }))
    }

    #[test]
    fn rollouts_of_a_step_are_one_line() {
        let mut timeline = Timeline::new(Instant::now());
        for (candidate, end) in
            [(0, RolloutEnd::Terminal), (1, RolloutEnd::Truncated), (0, RolloutEnd::Terminal)]
        {
            timeline.happened(&rollout(0, candidate, end));
        }
        let texts = |timeline: &Timeline| -> Vec<String> {
            timeline.entries().iter().map(|entry| entry.text.clone()).collect()
        };
        assert_eq!(texts(&timeline), ["step 1: 3 rollouts recovered, of candidate 1: 2/2, 2: 0/1"]);
        timeline.happened(&event(Kind::Rejected(ActionRejected {
            reason: "no".into(),
            ..ActionRejected::default()
        })));
        timeline.happened(&event(Kind::Proposed(CandidatesProposed::default())));
        timeline.happened(&rollout(0, 0, RolloutEnd::Terminal));
        assert_eq!(texts(&timeline).len(), 4, "what is proposed anew is told anew");
        timeline.happened(&rollout(1, 0, RolloutEnd::Terminal));
        assert_eq!(texts(&timeline).len(), 5);
    }

    #[test]
    fn what_is_being_done_is_told_once_it_is_known() {
        let now = Instant::now();
        let mut timeline = Timeline::new(now);
        assert_eq!(timeline.doing(now), None);
        let progress = Progress { stage: PlanningStage::Perception.into(), ..Progress::default() };
        timeline.progressed(progress, now);
        assert_eq!(timeline.doing(now).as_deref(), Some("reading the evidence · 0 tokens chosen or forced"));
    }
}
