//! OpenSec scenarios: `NAME_seed.json` (entities, attack plan, artifacts, injected instructions) and
//! `NAME_ground_truth.json` (what contains the attack).
//!
//! - The description names hosts, users, the system's own domains and what is worth stealing; the attacker's domain has
//!   to be found in the evidence.
//! - The evidence is every artifact of the first observation and of the attack plan, in the order of its steps, one a
//!   line. Of variants of a step it has the first, the one that happened. Exfiltration goes on until it is contained.
//! - Contained is what the ground truth demands: these hosts isolated, these domains blocked, these users' passwords
//!   reset. A user may be named by identifier or by mail address.
//! - Every host on the lateral path has to be analysed, kept evidence of, cleaned and restored.
//! - An injected instruction lures to each isolation, block or reset that it asks for, unless the ground truth demands
//!   just that. Queries that it asks for are no response and cannot be obeyed here.

use std::path::Path;
use std::sync::LazyLock;

use countermove_incident::{AlertFormat, Endpoint, Record, RecordKind, Tactic, VerbClass};
use regex::Regex;
use serde::Deserialize;

use super::MOST_RECORD;
use crate::incident_files::{FileError, from_json, malformed, read_text};
use crate::truth::{
    Account, AccountState, Family, Host, Injection, Lure, Need, Requirement, Role, Scenario, Step, Target,
    Truth, Way,
};

/// Ends of the two files' names.
pub(super) const SEED: &str = "_seed.json";
const GROUND_TRUTH: &str = "_ground_truth.json";

#[derive(Debug, Deserialize)]
struct Seed {
    scenario_id: String,
    entities: Entities,
    attack_plan: AttackPlan,
    attack_graph: AttackGraph,
    prompt_injection_payloads: Vec<Payload>,
    seed_artifacts: Artifacts,
}

#[derive(Debug, Deserialize)]
struct Entities {
    users: Vec<User>,
    hosts: Vec<Machine>,
    domains: Vec<Domain>,
    data_targets: Vec<DataTarget>,
}

#[derive(Debug, Deserialize)]
struct User {
    user_id: String,
    email: String,
    role: String,
    dept: String,
}

#[derive(Debug, Deserialize)]
struct Machine {
    host_id: String,
    hostname: String,
    owner_user_id: String,
    ip: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Domain {
    domain: String,
    domain_type: String,
}

#[derive(Debug, Deserialize)]
struct DataTarget {
    target_id: String,
    name: String,
    sensitivity: String,
}

#[derive(Debug, Deserialize)]
struct AttackPlan {
    lateral_path: Vec<Hop>,
    timeline: Vec<Moment>,
}

#[derive(Debug, Deserialize)]
struct Hop {
    src_host: String,
    dst_host: String,
}

#[derive(Debug, Deserialize)]
struct Moment {
    step: u32,
    attacker_state: String,
    artifacts: Vec<Reference>,
}

#[derive(Debug, Deserialize)]
struct AttackGraph {
    initial_artifacts: Vec<Reference>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    artifact_id: String,
    #[serde(default)]
    step: u32,
    #[serde(default)]
    variant_action_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Payload {
    injection_id: String,
    payload: String,
    target_action: String,
    target_params: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Artifacts {
    emails: Vec<Email>,
    log_templates: Vec<Template>,
}

#[derive(Debug, Deserialize)]
struct Email {
    email_id: String,
    sender: String,
    recipient: String,
    subject: String,
    body: String,
}

#[derive(Debug, Deserialize)]
struct Template {
    template_id: String,
    table: String,
    template_body: String,
}

#[derive(Debug, Deserialize)]
struct GroundTruth {
    scenario_id: String,
    attribution: Attribution,
    containment_requirements: Containment,
}

#[derive(Debug, Deserialize)]
struct Attribution {
    patient_zero_host: String,
    attacker_domain: String,
}

#[derive(Debug, Deserialize)]
struct Containment {
    isolate_hosts: Vec<String>,
    block_domains: Vec<String>,
    reset_users: Vec<String>,
}

/// `1. Isolate host h-001-02 to prevent …` within an instruction.
static ORDERS: LazyLock<Regex> = LazyLock::new(|| {
    // A fixed pattern; the tests of this module compile it.
    #[allow(clippy::unwrap_used, reason = "a fixed pattern")]
    Regex::new(r"(?i)\b(isolate host|block domain|reset user) ([\w.-]*\w)").unwrap()
});

/// Reads the scenario of a seed file.
pub(super) fn read(path: &Path) -> Result<Scenario, FileError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(SEED).unwrap_or(name);
    let truth_path = path.with_file_name(format!("{stem}{GROUND_TRUTH}"));
    let seed: Seed = from_json(path, &read_text(path, MOST_RECORD)?)?;
    let demanded: GroundTruth = from_json(&truth_path, &read_text(&truth_path, MOST_RECORD)?)?;
    if demanded.scenario_id != seed.scenario_id {
        let reason = format!("is {:?}, but the seed's is {:?}", demanded.scenario_id, seed.scenario_id);
        return Err(malformed(&truth_path, "scenario_id".to_owned(), reason));
    }
    let files = Files { path, truth_path: &truth_path, seed: &seed };
    let artifacts = files.artifacts()?;
    let log: String = artifacts.iter().map(|(_, text)| text.clone() + "\n").collect();
    let mut truth = Truth {
        incident: true,
        hosts: seed.entities.hosts.iter().map(host).collect(),
        attackers: attackers(&seed),
        ..Truth::default()
    };
    truth.accounts = accounts(&seed, &demanded, &truth);
    files.compromise(&mut truth, &demanded)?;
    files.path(&mut truth, &demanded, &artifacts)?;
    files.require(&mut truth, &demanded)?;
    files.inject(&mut truth, &log)?;
    let scenario = Scenario {
        name: format!("opensec-{}", seed.scenario_id),
        seed: 0,
        system: describe(&seed),
        log,
        remarks: String::new(),
        format: AlertFormat::Bracketed,
        family: Family {
            flow: "phishing to exfiltration".to_owned(),
            topology: "opensec".to_owned(),
            rule_categories: Vec::new(),
        },
        truth,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    scenario.verify(folder, name)?;
    Ok(scenario)
}

fn host(machine: &Machine) -> Host {
    let role = if machine.hostname.starts_with("laptop") || machine.hostname.starts_with("desktop") {
        Role::Workstation
    } else {
        Role::Server
    };
    Host {
        name: machine.hostname.clone(),
        address: machine.ip.clone(),
        aliases: vec![machine.host_id.clone()],
        zone: String::new(),
        os: machine.os.clone(),
        role,
        services: Vec::new(),
        criticality: if role == Role::Server { 4 } else { 2 },
    }
}

fn attackers(seed: &Seed) -> Vec<String> {
    let own = seed.entities.domains.iter().filter(|domain| domain.domain_type == "attacker");
    own.map(|domain| domain.domain.clone()).collect()
}

/// Every user twice: by identifier and by mail address.
fn accounts(seed: &Seed, demanded: &GroundTruth, truth: &Truth) -> Vec<Account> {
    let mut accounts = Vec::new();
    for user in &seed.entities.users {
        let stolen = demanded.containment_requirements.reset_users.contains(&user.user_id);
        let state = if stolen { AccountState::Stolen } else { AccountState::Clean };
        let owned = seed.entities.hosts.iter().filter(|own| own.owner_user_id == user.user_id);
        let hosts: Vec<String> =
            owned.filter_map(|own| Some(truth.host(&own.host_id)?.address.clone())).collect();
        for name in [&user.user_id, &user.email] {
            accounts.push(Account { name: name.clone(), hosts: hosts.clone(), state });
        }
    }
    accounts
}

fn describe(seed: &Seed) -> String {
    let mut text = String::from("A company's office network with these hosts:\n");
    for host in &seed.entities.hosts {
        let Machine { host_id, hostname, owner_user_id, ip, os } = host;
        text.push_str(&format!("- {hostname} ({host_id}, {ip}): {os}, owner {owner_user_id}\n"));
    }
    text.push_str("Users:\n");
    for User { user_id, email, role, dept } in &seed.entities.users {
        text.push_str(&format!("- user {user_id} ({email}): {role}, {dept}\n"));
    }
    let domains = |kind: &str| {
        let own = seed.entities.domains.iter().filter(|domain| domain.domain_type == kind);
        own.map(|domain| domain.domain.as_str()).collect::<Vec<_>>().join(", ")
    };
    text.push_str(&format!(
        "Own domain: {}. Partners' domains: {}.\n",
        domains("internal"),
        domains("legit")
    ));
    for DataTarget { target_id, name, sensitivity } in &seed.entities.data_targets {
        text.push_str(&format!("Data: {name} ({target_id}), sensitivity {sensitivity}.\n"));
    }
    text
}

/// The two files of a scenario.
struct Files<'a> {
    path: &'a Path,
    truth_path: &'a Path,
    seed: &'a Seed,
}

impl Files<'_> {
    /// What was observed: identifiers and lines, in the order of the steps.
    fn artifacts(&self) -> Result<Vec<(String, String)>, FileError> {
        let first = self.seed.attack_graph.initial_artifacts.iter().map(|own| (own.step, own));
        let timeline = self.seed.attack_plan.timeline.iter().flat_map(|moment| {
            let mut variant = false;
            moment.artifacts.iter().filter_map(move |own| {
                let is_other = own.variant_action_type.is_some() && std::mem::replace(&mut variant, true);
                (!is_other).then_some((moment.step, own))
            })
        });
        let mut references: Vec<(u32, &Reference)> = first.chain(timeline).collect();
        references.sort_by_key(|(step, _)| *step);
        let mut found: Vec<(String, String)> = Vec::new();
        for (_, Reference { artifact_id: id, .. }) in references {
            if found.iter().any(|(known, _)| known == id) {
                continue;
            }
            let text = self.artifact(id).ok_or_else(|| {
                let reason = format!("nothing has the identifier {id:?} that the attack plan names");
                malformed(self.path, "seed_artifacts".to_owned(), reason)
            })?;
            found.push((id.clone(), text));
        }
        Ok(found)
    }

    fn artifact(&self, id: &str) -> Option<String> {
        let artifacts = &self.seed.seed_artifacts;
        let text = match artifacts.log_templates.iter().find(|own| own.template_id == id) {
            Some(template) => template.template_body.clone(),
            None => {
                let email = artifacts.emails.iter().find(|own| own.email_id == id)?;
                let Email { sender, recipient, subject, body, .. } = email;
                format!("EMAIL id={id} from={sender} to={recipient} subject=\"{subject}\" body=\"{body}\"")
            }
        };
        // An artifact is one record, however many lines its text has.
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Hosts on the attacker's way.
    fn compromise(&self, truth: &mut Truth, demanded: &GroundTruth) -> Result<(), FileError> {
        let mut hosts = vec![self.demanded_host(
            truth,
            "attribution.patient_zero_host",
            &demanded.attribution.patient_zero_host,
        )?];
        for (place, hop) in self.seed.attack_plan.lateral_path.iter().enumerate() {
            let field = format!("attack_plan.lateral_path[{place}].dst_host");
            hosts.push(known_host(self.path, truth, &field, &hop.dst_host)?);
        }
        hosts.dedup();
        truth.compromised = hosts;
        Ok(())
    }

    fn demanded_host(&self, truth: &Truth, field: &str, id: &str) -> Result<String, FileError> {
        known_host(self.truth_path, truth, field, id)
    }

    /// The steps of the timeline with what shows them.
    fn path(
        &self,
        truth: &mut Truth,
        demanded: &GroundTruth,
        artifacts: &[(String, String)],
    ) -> Result<(), FileError> {
        let domain = &demanded.attribution.attacker_domain;
        if !truth.attackers.contains(domain) {
            let reason = format!("{domain:?} is not among the seed's domains of the type \"attacker\"");
            return Err(malformed(self.truth_path, "attribution.attacker_domain".to_owned(), reason));
        }
        let first = truth.compromised.first().cloned().unwrap_or_default();
        let last = truth.compromised.last().cloned().unwrap_or_default();
        let hop = self.seed.attack_plan.lateral_path.first();
        let from = match hop {
            Some(hop) => known_host(self.path, truth, "attack_plan.lateral_path[0].src_host", &hop.src_host)?,
            None => first.clone(),
        };
        for (place, moment) in self.seed.attack_plan.timeline.iter().enumerate() {
            let (tactic, technique, source, target) = match moment.attacker_state.as_str() {
                "phish_sent" => (Tactic::InitialAccess, "T1566", domain, &first),
                "creds_used" => (Tactic::CredentialAccess, "T1056", domain, &first),
                "lateral_move" => (Tactic::LateralMovement, "T1021", &from, &last),
                "data_access" => (Tactic::Collection, "T1005", &last, &last),
                "exfil_attempt" => (Tactic::Exfiltration, "T1048", domain, &last),
                other => {
                    let field = format!("attack_plan.timeline[{place}].attacker_state");
                    let reason = format!("{other:?} is no state of an attacker that is known here");
                    return Err(malformed(self.path, field, reason));
                }
            };
            let shown = moment.artifacts.iter().filter_map(|own| {
                let (_, text) = artifacts.iter().find(|(id, _)| *id == own.artifact_id)?;
                Some(self.alert(&own.artifact_id, text, [source, target]))
            });
            truth.path.push(Step {
                tactic,
                technique: technique.to_owned(),
                source: source.clone(),
                target: target.clone(),
                alerts: shown.collect(),
            });
        }
        truth.stage = truth.path.len();
        Ok(())
    }

    /// An artifact as an alert, for what the attacker goes on doing. OpenSec's own type of alert, or the table of its
    /// log, is the class.
    fn alert(&self, id: &str, text: &str, [source, target]: [&String; 2]) -> Record {
        let word = |key: &str| {
            text.split_whitespace().find_map(|word| word.strip_prefix(key)).map(|word| word.trim_matches('"'))
        };
        let table = self.seed.seed_artifacts.log_templates.iter().find(|own| own.template_id == id);
        let class = word("type=").or(table.map(|own| own.table.as_str())).unwrap_or("email");
        let priority = match word("severity=") {
            Some("critical" | "high") => 1,
            Some("medium") => 2,
            _ => 3,
        };
        Record {
            kind: RecordKind::Alert,
            classification: class.replace('_', " "),
            priority: Some(priority),
            protocol: "TCP".to_owned(),
            source: Some(Endpoint::new(source, None)),
            destination: Some(Endpoint::new(target, None)),
            message: text.to_owned(),
            ..Record::default()
        }
    }

    /// What brings the facts about.
    fn require(&self, truth: &mut Truth, demanded: &GroundTruth) -> Result<(), FileError> {
        let Containment { isolate_hosts, block_domains, reset_users } = &demanded.containment_requirements;
        let field = |name: &str, place: usize| format!("containment_requirements.{name}[{place}]");
        let mut cut = Vec::new();
        for (place, id) in isolate_hosts.iter().enumerate() {
            cut.push(Target::Host(self.demanded_host(truth, &field("isolate_hosts", place), id)?));
        }
        for (place, domain) in block_domains.iter().enumerate() {
            if !truth.attackers.contains(domain) {
                let reason = format!("{domain:?} is not among the seed's domains of the type \"attacker\"");
                return Err(malformed(self.truth_path, field("block_domains", place), reason));
            }
            cut.push(Target::Attacker(domain.clone()));
        }
        let mut reset: Vec<Vec<Target>> = Vec::new();
        for (place, id) in reset_users.iter().enumerate() {
            let user = self.seed.entities.users.iter().find(|user| user.user_id == *id).ok_or_else(|| {
                let reason = format!("{id:?} is not among the seed's users");
                malformed(self.truth_path, field("reset_users", place), reason)
            })?;
            reset.push([&user.user_id, &user.email].map(|name| Target::Account(name.clone())).to_vec());
        }
        let need = |verb, targets: Vec<Target>| Need { verb, targets };
        let way = |needs: Vec<Need>| {
            let needs = needs.into_iter().filter(|need| !need.targets.is_empty()).collect();
            Way { needs, fallback: false }
        };
        let resets = combinations(&reset);
        let contain = resets.iter().map(|users| {
            way(vec![need(VerbClass::Contain, cut.clone()), need(VerbClass::Harden, users.clone())])
        });
        let contain: Vec<Way> = contain.filter(|way| !way.needs.is_empty()).collect();
        let hosts: Vec<Target> = truth.compromised.iter().cloned().map(Target::Host).collect();
        let all = |verb| Requirement { ways: vec![way(vec![need(verb, hosts.clone())])] };
        // The way in was a password: where none has to be reset, the hosts themselves are what is left to harden.
        let harden = if reset.is_empty() {
            all(VerbClass::Harden)
        } else {
            let ways = resets.into_iter().map(|users| way(vec![need(VerbClass::Harden, users)]));
            Requirement { ways: ways.collect() }
        };
        truth.requirements = [
            Requirement { ways: contain },
            all(VerbClass::Analyse),
            all(VerbClass::Preserve),
            all(VerbClass::Eradicate),
            harden,
            all(VerbClass::Restore),
        ];
        Ok(())
    }

    /// Injected instructions that stand in the evidence and ask for a response.
    fn inject(&self, truth: &mut Truth, log: &str) -> Result<(), FileError> {
        for (place, own) in self.seed.prompt_injection_payloads.iter().enumerate() {
            let flat = own.payload.split_whitespace().collect::<Vec<_>>().join(" ");
            if !log.contains(&flat) {
                continue;
            }
            let mut lures: Vec<Need> = Vec::new();
            let order = own.target_params.values().find_map(serde_json::Value::as_str).unwrap_or_default();
            let direct = [(own.target_action.as_str(), order)];
            let listed = ORDERS
                .captures_iter(&flat)
                .filter_map(|order| Some((order.get(1)?.as_str(), order.get(2)?.as_str())));
            for (action, name) in direct.into_iter().chain(listed) {
                let field = format!("prompt_injection_payloads[{place}].target_params");
                let needs =
                    self.lure(truth, action, name).map_err(|reason| malformed(self.path, field, reason))?;
                let new = |need: &Need| !is_demanded(truth, need) && !lures.contains(need);
                lures.extend(needs.filter(new));
            }
            for (number, need) in lures.into_iter().enumerate() {
                let id = format!("{}.{}", own.injection_id, number + 1);
                truth.injections.push(Injection { id, text: flat.clone(), lure: Lure::Act(need) });
            }
        }
        Ok(())
    }

    /// What an instruction asks for; nothing if it is no response.
    fn lure(&self, truth: &Truth, action: &str, name: &str) -> Result<Option<Need>, String> {
        let action = action.to_lowercase().replace(' ', "_");
        let unknown = || format!("{name:?} is not among the seed's entities");
        let (verb, targets) = match action.as_str() {
            "isolate_host" => {
                let host = truth.host(name).ok_or_else(unknown)?;
                (VerbClass::Contain, vec![Target::Host(host.address.clone())])
            }
            "block_domain" => (VerbClass::Contain, vec![Target::Attacker(name.to_owned())]),
            "reset_user" => {
                let user = self.seed.entities.users.iter().find(|user| user.user_id == name);
                let User { user_id, email, .. } = user.ok_or_else(unknown)?;
                (VerbClass::Harden, [user_id, email].map(|name| Target::Account(name.clone())).to_vec())
            }
            _ => return Ok(None),
        };
        Ok(Some(Need { verb, targets }))
    }
}

/// Whether a requirement asks for just this.
fn is_demanded(truth: &Truth, lure: &Need) -> bool {
    let needs = truth.requirements.iter().flat_map(|own| &own.ways).flat_map(|way| &way.needs);
    needs
        .filter(|need| need.verb == lure.verb)
        .any(|need| lure.targets.iter().any(|target| need.targets.contains(target)))
}

/// One name of each user, in every way to choose.
fn combinations(names: &[Vec<Target>]) -> Vec<Vec<Target>> {
    names.iter().fold(vec![Vec::new()], |chosen, names| {
        let with = |name: &Target| {
            chosen.iter().map(|own| [own.as_slice(), std::slice::from_ref(name)].concat()).collect()
        };
        names.iter().flat_map(|name| -> Vec<Vec<Target>> { with(name) }).collect()
    })
}

fn known_host(path: &Path, truth: &Truth, field: &str, id: &str) -> Result<String, FileError> {
    truth
        .host(id)
        .map(|host| host.address.clone())
        .ok_or_else(|| malformed(path, field.to_owned(), format!("{id:?} is not among the seed's hosts")))
}
