//! Why planning cannot go on, whatever room it happens in.

use crate::language_model::ModelError;
use crate::options::OptionsError;
use crate::prompts::tasks::TaskError;
use crate::templates::TemplateError;

/// Why planning cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An option is out of its range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The description names more hosts than anybody can plan for.
    #[error(
        "the system description names {found} hosts, and at most {most} are taken; describe the part of the network that the \
         incident may concern"
    )]
    Hosts {
        /// Hosts in it.
        found: usize,
        /// Most that are taken.
        most: usize,
    },
    /// A prompt cannot be made.
    #[error("a prompt could not be made: {0}")]
    Template(#[from] TemplateError),
    /// The model does not answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Perception's answer cannot be used, and without it there is nothing to plan.
    #[error("the evidence could not be assessed: {0}")]
    Perception(#[from] TaskError),
    /// The incident has not been assessed yet.
    #[error("the incident has to be assessed before a step can be decided")]
    NotAssessed,
    /// No rollout of a step can be used.
    #[error("no rollout of step {step} could be used: {fault}")]
    Rollouts {
        /// The step, from 1 as people count.
        step: u32,
        /// The first fault.
        fault: String,
    },
}
