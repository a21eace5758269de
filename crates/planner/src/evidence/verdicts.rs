//! From what the model reads in each group to the assessment: all evidence on a group is weighed, and what follows from the
//! judgements is concluded.

use crate::evidence::assessment::Assessment;
use crate::evidence::conclusion::{Verdict, conclude};
use crate::evidence::groups::GroupView;
use crate::evidence::judgement::{Judgement, Reading, is_enough, judge, wording};
use crate::evidence::scene::Scene;

/// The assessment. `readings` are those of the scene's groups, in their order; a group without one counts as everyday traffic.
pub(crate) fn assess(scene: &Scene, readings: &[Option<Reading>]) -> Assessment {
    let mut verdicts: Vec<Verdict> = Vec::new();
    let mut judged: Vec<(&GroupView, Judgement)> = Vec::new();
    for (group, reading) in scene.groups.iter().zip(readings) {
        let Some(reading) = reading else {
            verdicts.push(Verdict::default());
            continue;
        };
        let words = wording(group);
        let judgement = judge(group, reading, &words, &scene.hosts, &scene.lines);
        let reading = reading.pooled(&words);
        verdicts.push(Verdict {
            tactic: reading.tactic().filter(|_| judgement.is_likely()),
            shares: reading.shares(),
            attack: judgement.attack,
            because: judgement.because(),
        });
        judged.push((group, judgement));
    }
    if !is_enough(judged.iter().map(|(group, judgement)| (*group, judgement))) {
        verdicts.iter_mut().for_each(|verdict| verdict.tactic = None);
    }
    conclude(scene, &verdicts)
}
