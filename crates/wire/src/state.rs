//! The state of recovery, the roles that things play, how a rollout ended and what it took. Each converts both ways without
//! loss.

use std::sync::Arc;

use countermove_incident::RecoveryState;
use countermove_planner::{Finding, Roles, RolloutEnd, Usage};
use countermove_proto::{Error, duration_from_message, duration_to_message, v1};

use crate::bounds::{COUNT, WORK, within};
use crate::rules::target_kind;
use crate::{FromDomain, FromMessage};

impl FromDomain<RecoveryState> for v1::RecoveryState {
    fn from_domain(state: RecoveryState) -> Self {
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

/// The state that a message describes.
pub fn recovery_state(state: v1::RecoveryState) -> RecoveryState {
    RecoveryState {
        is_attack_contained: state.is_attack_contained,
        is_knowledge_sufficient: state.is_knowledge_sufficient,
        are_forensics_preserved: state.are_forensics_preserved,
        is_eradicated: state.is_eradicated,
        is_hardened: state.is_hardened,
        is_recovered: state.is_recovered,
    }
}

/// A state in which some facts are as a message says and the others as they are here.
pub fn with_facts(state: RecoveryState, facts: v1::RecoveryFacts) -> RecoveryState {
    RecoveryState {
        is_attack_contained: facts.is_attack_contained.unwrap_or(state.is_attack_contained),
        is_knowledge_sufficient: facts.is_knowledge_sufficient.unwrap_or(state.is_knowledge_sufficient),
        are_forensics_preserved: facts.are_forensics_preserved.unwrap_or(state.are_forensics_preserved),
        is_eradicated: facts.is_eradicated.unwrap_or(state.is_eradicated),
        is_hardened: facts.is_hardened.unwrap_or(state.is_hardened),
        is_recovered: facts.is_recovered.unwrap_or(state.is_recovered),
    }
}

impl FromDomain<Usage> for v1::Usage {
    fn from_domain(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            sampled_tokens: usage.sampled_tokens,
            forced_tokens: usage.forced_tokens,
            rollouts: usage.rollouts,
            elapsed: Some(duration_to_message(usage.elapsed)),
            discarded_tokens: usage.discarded_tokens,
        }
    }
}

impl FromMessage<v1::Usage> for Usage {
    fn from_message(usage: v1::Usage) -> Result<Self, Error> {
        let elapsed = duration_from_message(usage.elapsed.unwrap_or_default())
            .ok_or_else(|| Error::invalid("usage.elapsed", "it is negative or no duration"))?;
        Ok(Self {
            prompt_tokens: within("usage.prompt_tokens", usage.prompt_tokens, COUNT)?,
            cached_tokens: within("usage.cached_tokens", usage.cached_tokens, COUNT)?,
            sampled_tokens: within("usage.sampled_tokens", usage.sampled_tokens, COUNT)?,
            forced_tokens: within("usage.forced_tokens", usage.forced_tokens, COUNT)?,
            rollouts: within("usage.rollouts", usage.rollouts, COUNT)?,
            elapsed: within("usage.elapsed", elapsed, WORK)?,
            discarded_tokens: within("usage.discarded_tokens", usage.discarded_tokens, COUNT)?,
        })
    }
}

impl FromDomain<Roles> for v1::Entities {
    fn from_domain(roles: Roles) -> Self {
        Self {
            attackers: roles.attackers,
            systems: roles.systems,
            targets: roles.targets,
            footholds: roles.footholds,
            stolen_accounts: roles.stolen_accounts,
            planted_accounts: roles.planted_accounts,
            seen_accounts: roles.seen_accounts,
            contacts: roles.contacts,
            kept: roles.kept,
            names: roles.names.into_iter().map(|(name, address)| v1::HostName { name, address }).collect(),
            compromised: roles.compromised.into_iter().map(suspect).collect(),
            held_accounts: roles.held.into_iter().map(held_account).collect(),
        }
    }
}

/// A host with the chance that it is compromised.
pub(crate) fn suspect((host, probability): (String, f32)) -> v1::Suspect {
    v1::Suspect { host, probability }
}

/// An account with the chance that the attacker has it.
pub(crate) fn held_account((account, probability): (String, f32)) -> v1::HeldAccount {
    v1::HeldAccount { account, probability }
}

/// What is known of who is who after what people found out, as a record tells it.
pub fn with_findings(entities: v1::Entities, findings: &[v1::Finding]) -> v1::Entities {
    // What is out of range is nobody's to mend here.
    let Ok(mut roles) = roles(entities.clone()) else { return entities };
    for finding in findings {
        let Some(kind) = target_kind(finding.kind()) else { continue };
        let is_compromised = match finding.verdict() {
            v1::FindingVerdict::Compromised => true,
            v1::FindingVerdict::Clean => false,
            v1::FindingVerdict::Unspecified => continue,
        };
        roles.learn(&Finding { name: finding.name.clone(), kind, is_compromised });
    }
    v1::Entities::from_domain(roles)
}

/// The roles that a message describes.
pub(crate) fn roles(entities: v1::Entities) -> Result<Roles, Error> {
    let chance = |suspect: v1::Suspect| {
        let probability = within("entities.compromised.probability", suspect.probability, 0.0..=1.0)?;
        Ok((suspect.host, probability))
    };
    let held = |held: v1::HeldAccount| {
        let probability = within("entities.held_accounts.probability", held.probability, 0.0..=1.0)?;
        Ok((held.account, probability))
    };
    Ok(Roles {
        attackers: entities.attackers,
        systems: entities.systems,
        targets: entities.targets,
        footholds: entities.footholds,
        stolen_accounts: entities.stolen_accounts,
        planted_accounts: entities.planted_accounts,
        seen_accounts: entities.seen_accounts,
        contacts: entities.contacts,
        kept: entities.kept,
        names: entities.names.into_iter().map(|host| (host.name, host.address)).collect(),
        compromised: entities.compromised.into_iter().map(chance).collect::<Result<_, Error>>()?,
        held: entities.held_accounts.into_iter().map(held).collect::<Result<_, Error>>()?,
        // They travel with the prices.
        capabilities: Arc::default(),
    })
}

impl FromDomain<RolloutEnd> for v1::RolloutEnd {
    fn from_domain(end: RolloutEnd) -> Self {
        match end {
            RolloutEnd::Terminal => Self::Terminal,
            RolloutEnd::Truncated => Self::Truncated,
            RolloutEnd::Malformed => Self::Malformed,
            RolloutEnd::Cancelled => Self::Cancelled,
        }
    }
}

impl FromMessage<v1::RolloutEnd> for RolloutEnd {
    fn from_message(end: v1::RolloutEnd) -> Result<Self, Error> {
        match end {
            v1::RolloutEnd::Unspecified => Err(Error::invalid("end", "it has to be set")),
            v1::RolloutEnd::Terminal => Ok(Self::Terminal),
            v1::RolloutEnd::Truncated => Ok(Self::Truncated),
            v1::RolloutEnd::Malformed => Ok(Self::Malformed),
            v1::RolloutEnd::Cancelled => Ok(Self::Cancelled),
        }
    }
}
