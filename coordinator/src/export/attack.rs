//! What the record says of an attack that others can use; [`super::stix()`] and [`super::misp()`] write it down.
//!
//! Invariants: nothing is in it that the record does not hold; what is not known is left out. Every text is on one line, with nothing in
//! it that acts instead of being seen.

use std::net::IpAddr;
use std::sync::LazyLock;

use countermove_incident::{Entities, EntityKind, Network, Tactic, Technique, printable_line, technique};
use countermove_proto::v1::{self, DecisionKind, IncidentStatus};
use countermove_wire::FromMessage;
use prost_types::Timestamp;

/// Addresses that mean another host everywhere, so that they tell nobody else who attacks. Those of documentation are none of them:
/// they are in no network, and examples live on them.
static REUSED: LazyLock<Vec<Network>> = LazyLock::new(|| {
    let v4 = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"];
    let more = ["192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"];
    v4.into_iter().chain(more).filter_map(Network::parse).collect()
});
/// Ends of names that every network gives out itself.
const OWN_NAMES: [&str; 3] = ["local", "localhost", "internal"];

/// An attack, as far as the record goes.
pub(crate) struct Attack {
    /// `incidents/{incident}`.
    pub(super) incident: String,
    pub(super) description: String,
    pub(super) is_over: bool,
    pub(super) created: Option<Timestamp>,
    pub(super) updated: Option<Timestamp>,
    pub(super) attackers: Vec<Attacker>,
    pub(super) hosts: Vec<Host>,
    pub(super) accounts: Vec<Account>,
    pub(super) behaviours: Vec<Behaviour>,
    pub(super) evidence: Vec<Evidence>,
    pub(super) actions: Vec<Approved>,
}

/// Somebody outside of the system who attacks it.
pub(super) struct Attacker {
    pub(super) observable: Observable,
    /// Whether it means the same one in other networks.
    pub(super) is_telling: bool,
    /// Places in [`Attack::evidence`] of what names it.
    pub(super) named_in: Vec<usize>,
    /// Chance that what names it is part of the attack: that of the likeliest.
    pub(super) probability: Option<f32>,
    /// Records that name it, and no other attacker beside it.
    pub(super) records: Option<u64>,
}

/// What is seen on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observable {
    Address(IpAddr),
    Domain(String),
}

/// A host of the system that the attack has reached.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) observable: Option<Observable>,
    /// How likely it is compromised.
    pub(super) probability: Option<f32>,
}

/// An account that the attacker has.
pub(super) struct Account {
    pub(super) login: String,
    /// How likely that is.
    pub(super) probability: Option<f32>,
    /// Whether the attacker made it; otherwise its password was guessed or stolen.
    pub(super) is_planted: bool,
}

/// A technique of ATT&CK, or a tactic for which none is named.
pub(super) struct Behaviour {
    pub(super) technique: Option<&'static Technique>,
    /// Tactics that it serves here, each with its share of the evidence.
    pub(super) tactics: Vec<(Tactic, f32)>,
    /// Chance that what speaks for it is part of the attack: that of the likeliest.
    pub(super) probability: Option<f32>,
}

/// A group of records that speaks for tactics.
pub(super) struct Evidence {
    pub(super) number: u32,
    pub(super) text: String,
    pub(super) count: u64,
    pub(super) probability: Option<f32>,
    pub(super) tactics: Vec<Tactic>,
}

/// An action that was approved, and not withdrawn since.
pub(super) struct Approved {
    pub(super) step: u32,
    pub(super) plan_hash: String,
    pub(super) time: Option<Timestamp>,
    /// As the record has it, for whoever reads verbs and names in it.
    pub(super) text: String,
    pub(super) explanation: String,
    pub(super) is_automatic: bool,
}

impl Attack {
    /// What is known of it; none while nothing was made of the evidence, and if there is no attack.
    pub(crate) fn of(incident: &v1::Incident) -> Option<Attack> {
        let assessment = incident.assessment.as_ref();
        let assessment = assessment.filter(|known| known.is_incident && !known.not_understood)?;
        let nobody = v1::Entities::default();
        let entities = assessment.entities.as_ref().unwrap_or(&nobody);
        let evidence = evidence(&assessment.tactics);
        Some(Attack {
            incident: printable_line(&incident.name),
            description: printable_line(&assessment.description),
            is_over: incident.status() == IncidentStatus::Ended,
            created: incident.create_time,
            updated: incident.update_time,
            attackers: attackers(entities, &evidence),
            hosts: hosts(entities),
            accounts: accounts(entities),
            behaviours: behaviours(&assessment.tactics, &evidence),
            evidence,
            actions: approved(&incident.decisions),
        })
    }
}

impl Observable {
    /// An address or a domain; none for a name that only the own network knows.
    fn parse(name: &str) -> Option<Observable> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Some(Observable::Address(address.to_canonical()));
        }
        let mut found = Entities::find(name).into_iter();
        let domain = found.next().filter(|one| one.kind == EntityKind::Domain && one.value == name)?;
        Some(Observable::Domain(domain.normal()))
    }

    pub(super) fn value(&self) -> String {
        match self {
            Observable::Address(address) => address.to_string(),
            Observable::Domain(domain) => domain.clone(),
        }
    }

    fn is_telling(&self) -> bool {
        match self {
            Observable::Address(address) => !REUSED.iter().any(|network| network.contains(*address)),
            Observable::Domain(domain) => !OWN_NAMES.contains(&domain.rsplit('.').next().unwrap_or_default()),
        }
    }

    pub(super) fn is_named_in(&self, text: &str) -> bool {
        Entities::find(text).into_iter().any(|one| one.normal() == self.value())
    }
}

impl Behaviour {
    /// ATT&CK's identifier.
    pub(super) fn id(&self) -> &'static str {
        let tactic = self.tactics.first().map_or("", |(tactic, _)| tactic.id());
        self.technique.map_or(tactic, |technique| technique.id)
    }

    /// Its own name: that of a sub-technique without its parent's.
    pub(super) fn name(&self) -> &'static str {
        match self.technique {
            Some(sub) if sub.parent().is_some() => sub.name.split_once(": ").map_or(sub.name, |(_, own)| own),
            Some(technique) => technique.name,
            None => self.tactics.first().map_or("", |(tactic, _)| tactic.name()),
        }
    }

    pub(super) fn url(&self) -> String {
        let kind = if self.technique.is_some() { "techniques" } else { "tactics" };
        format!("https://attack.mitre.org/{kind}/{}/", self.id().replace('.', "/"))
    }

    /// `Credential Access (TA0006): 60 % of the evidence of the attack.`
    pub(super) fn share(&self) -> String {
        let of = |(tactic, share): &(Tactic, f32)| {
            let share = 100.0 * share;
            format!("{} ({}): {share:.0} % of the evidence of the attack.", tactic.name(), tactic.id())
        };
        self.tactics.iter().map(of).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn serves(&self, tactic: Tactic) -> bool {
        self.tactics.iter().any(|(own, _)| *own == tactic)
    }
}

fn probability(value: f32) -> Option<f32> {
    value.is_finite().then(|| value.clamp(0.0, 1.0))
}

fn likeliest(probabilities: impl Iterator<Item = Option<f32>>) -> Option<f32> {
    probabilities.flatten().max_by(f32::total_cmp)
}

/// Every group once, by its number.
fn evidence(beliefs: &[v1::TacticBelief]) -> Vec<Evidence> {
    let mut all: Vec<Evidence> = Vec::new();
    for belief in beliefs {
        let Ok(tactic) = Tactic::from_message(belief.tactic()) else { continue };
        for line in &belief.evidence {
            match all.iter_mut().find(|known| known.number == line.number) {
                Some(known) if known.tactics.contains(&tactic) => {}
                Some(known) => known.tactics.push(tactic),
                None => all.push(Evidence {
                    number: line.number,
                    text: printable_line(&line.text),
                    count: line.count,
                    probability: probability(line.attack),
                    tactics: vec![tactic],
                }),
            }
        }
    }
    all.sort_by_key(|line| line.number);
    all
}

/// Whether the name is one of the system's own.
fn is_own(entities: &v1::Entities, name: &str) -> bool {
    let listed = [&entities.systems, &entities.targets, &entities.footholds].into_iter().flatten();
    let named = entities.names.iter().flat_map(|host| [&host.name, &host.address]);
    listed.chain(named).any(|own| own.eq_ignore_ascii_case(name))
}

fn attackers(entities: &v1::Entities, evidence: &[Evidence]) -> Vec<Attacker> {
    let mut outside: Vec<Observable> = Vec::new();
    for name in entities.attackers.iter().filter(|name| !is_own(entities, name)) {
        outside.extend(Observable::parse(name).filter(|one| !outside.contains(one)));
    }
    let attacker = |observable: &Observable| {
        let names = |(_, line): &(usize, &Evidence)| observable.is_named_in(&line.text);
        let named: Vec<(usize, &Evidence)> = evidence.iter().enumerate().filter(names).collect();
        // A line of several attackers does not tell how many of its records are whose.
        let alone = |text: &str| outside.iter().filter(|one| one.is_named_in(text)).count() == 1;
        let is_counted = !named.is_empty() && named.iter().all(|(_, line)| alone(&line.text));
        Attacker {
            observable: observable.clone(),
            is_telling: observable.is_telling(),
            probability: likeliest(named.iter().map(|(_, line)| line.probability)),
            records: is_counted.then(|| named.iter().map(|(_, line)| line.count).sum()),
            named_in: named.into_iter().map(|(place, _)| place).collect(),
        }
    };
    outside.iter().map(attacker).collect()
}

fn hosts(entities: &v1::Entities) -> Vec<Host> {
    let inside = entities.attackers.iter().filter(|name| is_own(entities, name));
    let mut hosts: Vec<Host> = Vec::new();
    for name in entities.targets.iter().chain(&entities.footholds).chain(inside) {
        let suspect = entities.compromised.iter().find(|suspect| suspect.host == *name);
        let address = entities.names.iter().find(|host| host.name.eq_ignore_ascii_case(name));
        let host = Host {
            name: printable_line(name),
            observable: Observable::parse(name)
                .or_else(|| address.and_then(|host| Observable::parse(&host.address))),
            probability: suspect.and_then(|suspect| probability(suspect.probability)),
        };
        if !host.name.is_empty() && !hosts.iter().any(|known| known.name == host.name) {
            hosts.push(host);
        }
    }
    hosts
}

fn accounts(entities: &v1::Entities) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for (names, is_planted) in [(&entities.planted_accounts, true), (&entities.stolen_accounts, false)] {
        for name in names {
            let login = printable_line(name);
            let held = entities.held_accounts.iter().find(|held| held.account == *name);
            let probability = held.and_then(|held| probability(held.probability));
            if !login.is_empty() && !accounts.iter().any(|known| known.login == login) {
                accounts.push(Account { login, probability, is_planted });
            }
        }
    }
    accounts
}

fn behaviours(beliefs: &[v1::TacticBelief], evidence: &[Evidence]) -> Vec<Behaviour> {
    let mut behaviours: Vec<Behaviour> = Vec::new();
    for belief in beliefs {
        let Ok(tactic) = Tactic::from_message(belief.tactic()) else { continue };
        let share = probability(belief.weight).unwrap_or_default();
        let speaks = |line: &&Evidence| line.tactics.contains(&tactic);
        let chance = likeliest(evidence.iter().filter(speaks).map(|line| line.probability));
        let mut named: Vec<Option<&'static Technique>> =
            belief.techniques.iter().filter_map(|named| technique(&named.id)).map(Some).collect();
        if named.is_empty() {
            named.push(None);
        }
        for technique in named {
            let same = |known: &&mut Behaviour| technique.is_some() && known.technique == technique;
            match behaviours.iter_mut().find(same) {
                Some(known) if known.serves(tactic) => {}
                Some(known) => {
                    known.tactics.push((tactic, share));
                    known.probability = likeliest([known.probability, chance].into_iter());
                }
                None => behaviours.push(Behaviour {
                    technique,
                    tactics: vec![(tactic, share)],
                    probability: chance,
                }),
            }
        }
    }
    behaviours
}

fn approved(decisions: &[v1::Decision]) -> Vec<Approved> {
    let mut approved: Vec<Approved> = Vec::new();
    for decision in decisions {
        // Whatever is decided about a step later takes the place of what was before.
        approved.retain(|known| known.step != decision.step);
        let action = decision.action.as_ref().filter(|_| decision.kind() == DecisionKind::Approved);
        approved.extend(action.map(|action| Approved {
            step: decision.step,
            plan_hash: decision.plan_hash.clone(),
            time: decision.time,
            text: printable_line(&action.text),
            explanation: printable_line(&action.explanation),
            is_automatic: decision.is_automatic,
        }));
    }
    approved
}
