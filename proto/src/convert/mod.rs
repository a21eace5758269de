//! Conversions between messages and domain types: what coordinator and worker would otherwise each write for
//! themselves.
//!
//! Domain to message is `From` and cannot fail. Message to domain is `TryFrom` with [`Error`] wherever a field can be
//! missing or out of range; the error names the field. States and usage convert both ways without loss.

mod evidence;
mod plan;
mod rules;
mod time;
mod worker;

use countermove_incident::RecoveryState;
use countermove_planner::{Roles, RolloutEnd, Usage};

pub use plan::plan_options;
pub use rules::pricing;
pub use time::{duration_from_message, duration_to_message, system_time, timestamp};
pub use worker::{rollout_result_message, run_rollouts_request};

use crate::error::Error;
use crate::v1;

impl From<RecoveryState> for v1::RecoveryState {
    fn from(state: RecoveryState) -> Self {
        Self {
            is_attack_contained: state.is_attack_contained,
            is_knowledge_sufficient: state.is_knowledge_sufficient,
            are_forensics_preserved: state.are_forensics_preserved,
            is_eradicated: state.is_eradicated,
            is_hardened: state.is_hardened,
            is_recovered: state.is_recovered,
        }
    }
}

impl From<v1::RecoveryState> for RecoveryState {
    fn from(state: v1::RecoveryState) -> Self {
        Self {
            is_attack_contained: state.is_attack_contained,
            is_knowledge_sufficient: state.is_knowledge_sufficient,
            are_forensics_preserved: state.are_forensics_preserved,
            is_eradicated: state.is_eradicated,
            is_hardened: state.is_hardened,
            is_recovered: state.is_recovered,
        }
    }
}

impl From<Usage> for v1::Usage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            sampled_tokens: usage.sampled_tokens,
            forced_tokens: usage.forced_tokens,
            rollouts: usage.rollouts,
            elapsed: Some(duration_to_message(usage.elapsed)),
        }
    }
}

impl From<v1::Usage> for Usage {
    /// A negative duration, which no peer of ours sends, reads as none.
    fn from(usage: v1::Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            sampled_tokens: usage.sampled_tokens,
            forced_tokens: usage.forced_tokens,
            rollouts: usage.rollouts,
            elapsed: usage.elapsed.and_then(duration_from_message).unwrap_or_default(),
        }
    }
}

impl From<Roles> for v1::Entities {
    fn from(roles: Roles) -> Self {
        Self {
            attackers: roles.attackers,
            systems: roles.systems,
            targets: roles.targets,
            footholds: roles.footholds,
            stolen_accounts: roles.stolen_accounts,
            planted_accounts: roles.planted_accounts,
            kept: roles.kept,
            names: roles.names.into_iter().map(|(name, address)| v1::HostName { name, address }).collect(),
        }
    }
}

impl From<v1::Entities> for Roles {
    fn from(entities: v1::Entities) -> Self {
        Self {
            attackers: entities.attackers,
            systems: entities.systems,
            targets: entities.targets,
            footholds: entities.footholds,
            stolen_accounts: entities.stolen_accounts,
            planted_accounts: entities.planted_accounts,
            kept: entities.kept,
            names: entities.names.into_iter().map(|host| (host.name, host.address)).collect(),
        }
    }
}

impl From<RolloutEnd> for v1::RolloutEnd {
    fn from(end: RolloutEnd) -> Self {
        match end {
            RolloutEnd::Terminal => Self::Terminal,
            RolloutEnd::Truncated => Self::Truncated,
            RolloutEnd::Malformed => Self::Malformed,
            RolloutEnd::Cancelled => Self::Cancelled,
        }
    }
}

impl TryFrom<v1::RolloutEnd> for RolloutEnd {
    type Error = Error;

    fn try_from(end: v1::RolloutEnd) -> Result<Self, Error> {
        match end {
            v1::RolloutEnd::Unspecified => Err(Error::invalid("end", "it has to be set")),
            v1::RolloutEnd::Terminal => Ok(Self::Terminal),
            v1::RolloutEnd::Truncated => Ok(Self::Truncated),
            v1::RolloutEnd::Malformed => Ok(Self::Malformed),
            v1::RolloutEnd::Cancelled => Ok(Self::Cancelled),
        }
    }
}

/// The value of a message field that has to be there.
fn required<T>(value: Option<T>, field: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(field, "it has to be set"))
}
