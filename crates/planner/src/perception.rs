//! Perception: from the evidence to an assessment.
//!
//! Code does what is exact: which hosts are the system's, which names exist, which alert groups there are. The model
//! judges the rest, and what it names is checked; what does not exist is removed and listed in
//! [`Assessment::rejected`].
//!
//! Three cases are decided by code alone. An alert of priority 1 is an incident: the answer's grammar leaves no other
//! choice, since an untuned small model denies plain attacks about as often as it sees them. A log without records is no incident and the model is not asked: a system
//! description is no evidence of an attack. And where all evidence is alerts, no fact of recovery holds yet: alerts
//! show what an attacker does, not what responders did.

use countermove_incident::{Entities, RecoveryState, Tactic, Technique, technique, techniques_of};

use crate::assessment::{Assessment, EvidenceLine, TacticBelief, TechniqueName};
use crate::language_model::{
    Answer, AnswerFormat, LanguageModel, Purpose, Question, Sampling, TokenCounter, Usage,
};
use crate::options::PlanOptions;
use crate::planner::PlanError;
use crate::prompts::incident_prompt;
use crate::roles::Roles;
use crate::scene::Scene;
use crate::seeds::derive_seed;
use crate::tasks::{IncidentAnswer, TacticAnswer, TaskError, incident_schema, parse_incident};
use crate::templates::Templates;

/// Most tokens of the JSON answer.
const ANSWER_TOKENS: u32 = 900;

/// Most hosts that are listed as attacked, the worst hit first.
const MAX_TARGETS: usize = 8;

/// Asks the model what happened. Gives the assessment and the work behind it.
pub(crate) async fn perceive(
    model: &impl LanguageModel,
    templates: &Templates,
    scene: &Scene,
    options: &PlanOptions,
    tokens: &TokenCounter,
) -> Result<(Assessment, Usage), PlanError> {
    if !scene.has_records {
        return Ok((nothing_to_see(scene), Usage::default()));
    }
    let question = Question {
        prompt: incident_prompt(templates, scene)?,
        format: AnswerFormat {
            thinking_tokens: options.thinking_tokens,
            json_schema: incident_schema(&scene.vocabulary),
            max_tokens: options.thinking_tokens + ANSWER_TOKENS,
        },
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            seed: derive_seed(options.seed, "perception", &[]),
        },
        purpose: Purpose::Decision,
    };
    let answer = model.ask(question, tokens).await?;
    let assessment = assess(&answer, scene)?;
    Ok((assessment, answer.usage))
}

fn nothing_to_see(scene: &Scene) -> Assessment {
    Assessment {
        is_incident: false,
        description: "The log holds no records, so nothing shows an incident.".into(),
        entities: Roles { systems: scene.systems.clone(), ..Roles::default() },
        tactics: Vec::new(),
        state: RecoveryState::default(),
        reasoning: String::new(),
        rejected: Vec::new(),
        digest: scene.report.clone(),
    }
}

/// Checks an answer against what exists.
fn assess(answer: &Answer, scene: &Scene) -> Result<Assessment, TaskError> {
    let told = parse_incident(answer)?;
    let mut rejected = Vec::new();
    let attackers = attackers(&told, scene, &mut rejected);
    let targets = targets(&told, scene, &attackers, &mut rejected);
    let mut tactics = tactics(&told.tactics, scene, &mut rejected);
    let mut state = if scene.vocabulary.state { told.state } else { RecoveryState::default() };
    if state != told.state {
        rejected.push("The state: alerts of traffic cannot show how far recovery has come.".into());
    }
    if told.is_incident && state.is_terminal() {
        state = RecoveryState::default();
        rejected.push("The state: an incident that is over in every respect needs no plan.".into());
    }
    let mut roles = Roles { attackers, systems: scene.systems.clone(), targets };
    let description = if told.is_incident {
        describe(&told, scene, &roles, &mut rejected)
    } else {
        roles = Roles { systems: roles.systems, ..Roles::default() };
        tactics.clear();
        "The model takes none of the records for an attack.".into()
    };
    Ok(Assessment {
        is_incident: told.is_incident,
        description,
        entities: roles,
        tactics,
        state,
        reasoning: answer.thinking.clone(),
        rejected,
        digest: scene.report.clone(),
    })
}

fn attackers(told: &IncidentAnswer, scene: &Scene, rejected: &mut Vec<String>) -> Vec<String> {
    let known = |name: &String| scene.vocabulary.attackers.contains(name) || is_named(name, scene);
    keep(&told.attackers, known, "attacker", "occurs nowhere in the evidence", rejected)
}

/// Where alerts tell who is attacked, what the model says does not count. A host that attacks is listed as an attacker
/// alone, so that every entity has one role.
fn targets(
    told: &IncidentAnswer,
    scene: &Scene,
    attackers: &[String],
    rejected: &mut Vec<String>,
) -> Vec<String> {
    let mut attacked = scene.traffic.attacked_by(attackers, &scene.systems);
    if attacked.is_empty() {
        let others: Vec<String> =
            told.targets.iter().filter(|name| !attackers.contains(name)).cloned().collect();
        let known = |name: &String| scene.systems.contains(name) || scene.vocabulary.targets.contains(name);
        attacked = keep(&others, known, "target", "is no host of the system", rejected);
    }
    attacked.truncate(MAX_TARGETS);
    attacked
}

/// One sentence about what happened: the model's, unless it names what does not exist or goes round in circles.
fn describe(told: &IncidentAnswer, scene: &Scene, roles: &Roles, rejected: &mut Vec<String>) -> String {
    let fault = match scene.grounding.unknown_entities(&told.description).first() {
        Some(entity) => format!("it names {}, which occurs nowhere in the evidence", entity.value),
        None if repeats_itself(&told.description) => "it repeats itself".to_owned(),
        None => return told.description.clone(),
    };
    rejected.push(format!("The description: {fault}."));
    let list = |names: &[String]| if names.is_empty() { "unknown hosts".into() } else { names.join(", ") };
    format!("{} against {}.", list(&roles.attackers), list(&roles.targets))
}

/// Whether two neighbouring words come three times, as they do where a small model loses its thread.
fn repeats_itself(text: &str) -> bool {
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_end_matches(|c: char| c.is_ascii_punctuation()))
        .collect();
    let mut pairs: Vec<&[&str]> = words.windows(2).collect();
    pairs.sort_unstable();
    pairs.windows(3).any(|three| three.iter().all(|pair| three.first() == Some(pair)))
}

fn keep(
    names: &[String],
    known: impl Fn(&String) -> bool,
    role: &str,
    fault: &str,
    rejected: &mut Vec<String>,
) -> Vec<String> {
    let (kept, unknown): (Vec<String>, Vec<String>) = names.iter().cloned().partition(known);
    rejected.extend(unknown.into_iter().map(|name| format!("The {role} {name:?} {fault}.")));
    kept
}

fn tactics(told: &[TacticAnswer], scene: &Scene, rejected: &mut Vec<String>) -> Vec<TacticBelief> {
    let mut beliefs: Vec<TacticBelief> = Vec::new();
    for answer in told {
        let Some(tactic) = Tactic::parse(&answer.tactic) else {
            rejected.push(format!("The tactic {:?} is not one of the fourteen of ATT&CK.", answer.tactic));
            continue;
        };
        let mut techniques = Vec::new();
        for name in &answer.techniques {
            match find_technique(name, tactic) {
                Some(found) => {
                    techniques.push(TechniqueName { id: found.id.into(), name: found.name.into() })
                }
                None => rejected.push(format!("The technique {name:?} is not one of {}.", tactic.name())),
            }
        }
        let mut evidence = Vec::new();
        for name in &answer.evidence {
            let number = name.trim_start_matches(['A', 'a', '#']).parse().ok();
            match number.and_then(|number| scene.digest.group(number)) {
                Some(group) => evidence.push(EvidenceLine {
                    number: group.number,
                    text: group.text.clone(),
                    count: group.count,
                }),
                None => rejected.push(format!("The evidence {name:?} is no line of the alerts.")),
            }
        }
        match beliefs.iter_mut().find(|belief| belief.tactic == tactic) {
            Some(belief) => {
                add_new(&mut belief.techniques, techniques);
                add_new(&mut belief.evidence, evidence);
            }
            None => beliefs.push(TacticBelief { tactic, techniques, evidence }),
        }
    }
    beliefs
}

/// By identifier, by full name or by a sub-technique's own name, among those that serve the tactic.
fn find_technique(name: &str, tactic: Tactic) -> Option<&'static Technique> {
    let own =
        |found: &Technique| found.name.rsplit(": ").next().is_some_and(|own| own.eq_ignore_ascii_case(name));
    technique(name)
        .filter(|found| found.tactics.contains(&tactic))
        .or_else(|| techniques_of(tactic).find(|found| found.name.eq_ignore_ascii_case(name)))
        .or_else(|| techniques_of(tactic).find(|found| own(found)))
}

fn add_new<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for entry in more {
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
}

/// Whether the name is an entity, and occurs in the system description or the evidence.
fn is_named(name: &str, scene: &Scene) -> bool {
    !Entities::find(name).is_empty() && scene.grounding.unknown_entities(name).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_that_goes_round_in_circles_is_told_apart() {
        let circles = "10.0.1.11 attacks on 10.0.1.11 servers, 10.0.1.11 servers, 10.0.1.11 servers.";
        assert!(repeats_itself(circles));
        for sound in
            ["", "Attack.", "10.0.1.11 guesses the password of 10.0.2.11, then 10.0.2.11 attacks 10.0.2.12."]
        {
            assert!(!repeats_itself(sound), "{sound}");
        }
    }
}
