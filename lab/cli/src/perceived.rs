//! A log as perception sees it: the model asked by itself, without a cluster, in the planner's own words.

use std::sync::Arc;

use countermove_model::Engine;
use countermove_planner::{Assessment, Evidence, GroupJudgement, PlanOptions, Reading, Rendering, Templates};

use crate::readings::Readings;
use countermove::failure::Failure;

/// A group of a log with what the model and all evidence make of it.
pub(crate) struct Group {
    pub(crate) reading: Reading,
    pub(crate) judgement: GroupJudgement,
    /// Places of its records in the log.
    pub(crate) records: Vec<usize>,
}

/// What perception makes of a log.
pub(crate) struct Perceived {
    pub(crate) groups: Vec<Group>,
    pub(crate) assessment: Assessment,
}

impl Perceived {
    /// Asks about each group, and concludes.
    pub(crate) async fn of(
        evidence: &Evidence,
        engine: &Engine,
        readings: &mut Readings,
        templates: &Arc<Templates>,
    ) -> Result<Perceived, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
        let context = PlanOptions::default().context_tokens as usize;
        let rendering =
            Rendering::new(Arc::clone(templates), evidence, context).map_err(|error| failed(&error))?;
        let mut prompts = Vec::new();
        for at in 0..rendering.groups().count() {
            let rendered = rendering.incident(at, None).map_err(|error| failed(&error))?;
            prompts.extend(rendered.map(|rendered| rendered.prompt));
        }
        let read = readings.of(engine, prompts).await?;
        let group = |(at, (reading, records)): (usize, (&Reading, &[usize]))| {
            let (judgement, reading) = (rendering.judge(at, reading)?, reading.clone());
            Some(Group { reading, judgement, records: records.to_vec() })
        };
        let groups = read.iter().zip(rendering.groups()).enumerate().filter_map(group).collect();
        let readings: Vec<Option<Reading>> = read.into_iter().map(Some).collect();
        Ok(Perceived { groups, assessment: rendering.perceive(&readings) })
    }
}
