//! From what the model reads in each group to the assessment: all evidence on a group is weighed, and what follows from the
//! judgements is concluded.

use crate::evidence::assessment::Assessment;
use crate::evidence::conclusion::{Verdict, conclude};
use crate::evidence::groups::GroupView;
use crate::evidence::judgement::{Judgement, is_enough, judge, wording};
use crate::evidence::reading::Reading;
use crate::evidence::scene::Scene;

/// The assessment. `readings` are those of the scene's groups, in their order; a group without one counts as everyday traffic.
pub(crate) fn assess(scene: &Scene, readings: &[Option<Reading>]) -> Assessment {
    let judged: Vec<(&GroupView, Option<(Judgement, Reading)>)> = scene
        .groups
        .iter()
        .zip(readings)
        .map(|(group, reading)| {
            let judged = reading.as_ref().map(|reading| {
                let words = wording(group);
                (judge(group, reading, &words, &scene.hosts, &scene.lines), reading.pooled(&words))
            });
            (group, judged)
        })
        .collect();
    let heard = judged.iter().filter_map(|(group, judged)| Some((*group, &judged.as_ref()?.0)));
    let is_attack = is_enough(heard);
    let verdict = |(group, judged): (&GroupView, Option<(Judgement, Reading)>)| {
        let Some((alone, reading)) = judged else { return Verdict::default() };
        let judgement = if is_attack { alone.beside_an_attack(group) } else { alone };
        Verdict {
            tactic: reading.tactic().filter(|_| is_attack && judgement.is_likely()),
            shares: reading.shares(),
            attack: judgement.attack,
            because: judgement.because(),
        }
    };
    let verdicts: Vec<Verdict> = judged.into_iter().map(verdict).collect();
    conclude(scene, &verdicts)
}
