//! The defended system: zones, hosts, services, accounts, and the description of it that a planner reads.

mod describe;
mod families;
mod kits;
mod services;

pub(crate) use describe::describe;
use families::{PLANS, Plan, Stand};
use kits::Kit;
pub(crate) use services::{Offer, offer, os_of};

use crate::data::Os;
use crate::rng::Rng;
use crate::truth::{Account, AccountState, Host, Role, Service};

/// A defended system.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    /// Kind, by which sets are split.
    pub(crate) family: &'static str,
    pub(crate) owner: &'static str,
    pub(crate) zones: Vec<Zone>,
    /// The gateway first.
    pub(crate) hosts: Vec<Host>,
    /// What else is known of each host, in the order of [`Topology::hosts`].
    pub(crate) places: Vec<Place>,
    pub(crate) accounts: Vec<Account>,
    /// A host that looks for weak spots on the others every night.
    pub(crate) auditor: Option<usize>,
}

/// A network.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) name: &'static str,
    /// First three numbers of its addresses; it is a /24.
    pub(crate) prefix: [u8; 3],
}

impl Zone {
    pub(crate) fn network(&self) -> String {
        let [a, b, c] = self.prefix;
        format!("{a}.{b}.{c}.0/24")
    }

    fn address(&self, last: u8) -> String {
        let [a, b, c] = self.prefix;
        format!("{a}.{b}.{c}.{last}")
    }
}

/// What is known of a host beyond the truth that a planner is judged by.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Whether the Internet reaches its services.
    pub(crate) public: bool,
    pub(crate) purpose: &'static str,
    /// What its services have to do with, in their order.
    pub(crate) offers: Vec<&'static Offer>,
}

/// How hosts are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// `web_shop`
    Snake,
    /// `web-shop`
    Dashed,
    /// `web-01`
    Counted,
    /// `Server 3`
    Numbered,
}

/// The names of the kinds of topologies.
pub fn topology_families() -> Vec<&'static str> {
    PLANS.iter().map(|plan| plan.name).collect()
}

impl Topology {
    /// A system of one of these kinds, or of any if none is named.
    pub(crate) fn new(families: &[String], rng: &mut Rng) -> Topology {
        let allowed: Vec<&Plan> = PLANS
            .iter()
            .filter(|plan| families.is_empty() || families.iter().any(|own| own == plan.name))
            .collect();
        // The caller was told of unknown names; all of them being unknown means any kind.
        let plan = rng.pick(&allowed).copied().unwrap_or(&PLANS[0]);
        let zones = zones(plan, rng);
        let mut topology = Topology {
            family: plan.name,
            owner: rng.pick(plan.owners).copied().unwrap_or(plan.name),
            hosts: Vec::new(),
            places: Vec::new(),
            accounts: Vec::new(),
            auditor: None,
            zones,
        };
        topology.add_gateway(rng);
        let naming =
            rng.one_of(&[Naming::Snake, Naming::Snake, Naming::Dashed, Naming::Counted, Naming::Numbered]);
        let mut last = vec![rng.between(10, 40); topology.zones.len()];
        for stand in plan.stands {
            for _ in 0..rng.between(stand.count.0, stand.count.1) {
                let place = last.get_mut(stand.zone).map(|last| {
                    *last += if rng.chance(70) { 1 } else { rng.between(2, 9) };
                    *last
                });
                topology.add_host(stand, place.unwrap_or(10), naming, rng);
            }
        }
        let candidates = topology.with_role(&[Role::LogHost, Role::Backup]);
        topology.auditor = rng.pick(&candidates).copied().filter(|_| rng.chance(60));
        topology
    }

    /// Positions of the hosts with one of these roles.
    pub(crate) fn with_role(&self, roles: &[Role]) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.hosts.len()).collect();
        found.retain(|place| self.hosts.get(*place).is_some_and(|host| roles.contains(&host.role)));
        found
    }

    fn add_gateway(&mut self, rng: &mut Rng) {
        let last = rng.one_of(&[1, 1, 10, 254]);
        let mut addresses: Vec<String> = self.zones.iter().map(|zone| zone.address(last)).collect();
        let address = addresses.remove(0);
        let os = if rng.chance(80) { "Debian 12" } else { "OpenBSD 7.5" };
        self.places.push(Place { public: false, purpose: "routes between the networks", offers: Vec::new() });
        self.hosts.push(Host {
            name: "gateway".to_owned(),
            address,
            aliases: addresses,
            zone: self.zones.first().map(|zone| zone.name.to_owned()).unwrap_or_default(),
            os: os.to_owned(),
            role: Role::Gateway,
            services: Vec::new(),
            criticality: 5,
        });
    }

    fn add_host(&mut self, stand: &Stand, last: usize, naming: Naming, rng: &mut Rng) {
        let Some(zone) = self.zones.get(stand.zone) else { return };
        let kit = stand.kit;
        let address = zone.address(u8::try_from(last).unwrap_or(250));
        let zone = zone.name.to_owned();
        let os = rng.pick(kit.systems).copied().unwrap_or("Debian 12");
        let offers: Vec<&'static Offer> = rng
            .pick(kit.services)
            .into_iter()
            .flat_map(|names| names.iter())
            .filter_map(|name| offer(name))
            .filter(|offer| [Os::Any, os_of(os)].contains(&offer.os))
            .collect();
        let criticality = kit.criticality.saturating_add_signed(rng.one_of(&[0, 0, -1, 1])).clamp(1, 5);
        let services = offers
            .iter()
            .map(|offer| Service {
                name: offer.name.to_owned(),
                port: offer.port,
                critical: !offer.login && criticality >= 4,
            })
            .collect();
        let name = self.free_name(kit, naming, rng);
        self.add_account(kit, &address, &offers, rng);
        self.places.push(Place {
            public: stand.public,
            purpose: rng.pick(kit.purpose).copied().unwrap_or_default(),
            offers,
        });
        self.hosts.push(Host {
            name,
            address,
            aliases: Vec::new(),
            zone,
            os: os.to_owned(),
            role: kit.role,
            services,
            criticality,
        });
    }

    fn free_name(&self, kit: &Kit, naming: Naming, rng: &mut Rng) -> String {
        let taken = |name: &str| self.hosts.iter().any(|host| host.name == name);
        let noun = if kit.role == Role::Workstation { "Workstation" } else { "Server" };
        let start = rng.below(kit.parts.len());
        let words = kit.parts.iter().cycle().skip(start).take(kit.parts.len());
        let worded = words.filter_map(|part| match naming {
            Naming::Snake => Some(format!("{}_{part}", kit.noun)),
            Naming::Dashed => Some(format!("{}-{part}", kit.noun)),
            Naming::Counted | Naming::Numbered => None,
        });
        let counted = (1..1000).map(|number| match naming {
            Naming::Snake => format!("{}_{number}", kit.noun),
            Naming::Numbered => format!("{noun} {number}"),
            Naming::Dashed | Naming::Counted => format!("{}-{number:02}", kit.noun),
        });
        worded.chain(counted).find(|name| !taken(name)).unwrap_or_default()
    }

    fn add_account(&mut self, kit: &Kit, address: &str, offers: &[&Offer], rng: &mut Rng) {
        if !offers.iter().any(|offer| offer.login) {
            return;
        }
        let person =
            rng.one_of(&["a.novak", "j.meyer", "l.ferrari", "m.okafor", "p.larsen", "r.silva", "t.ito"]);
        let name = kit.account.filter(|_| rng.chance(70)).unwrap_or(person);
        match self.accounts.iter_mut().find(|account| account.name == name) {
            Some(account) => account.hosts.push(address.to_owned()),
            None => self.accounts.push(Account {
                name: name.to_owned(),
                hosts: vec![address.to_owned()],
                state: AccountState::Clean,
            }),
        }
    }
}

fn zones(plan: &Plan, rng: &mut Rng) -> Vec<Zone> {
    let (start, step) = (rng.between(0, 200), rng.one_of(&[1, 1, 10]));
    let base = match rng.below(3) {
        0 => [10, rng.between(0, 255), start],
        1 => [172, rng.between(16, 31), start],
        _ => [192, 168, start],
    };
    let octet = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    (0..)
        .zip(plan.zones)
        .map(|(place, name)| Zone {
            name,
            prefix: [octet(base[0]), octet(base[1]), octet(base[2] + place * step)],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use countermove_incident::{AlertLog, Grounding};

    use super::*;

    #[test]
    fn systems_are_sound_and_of_every_kind() {
        let mut families = HashSet::new();
        for seed in 0..500 {
            let topology = Topology::new(&[], &mut Rng::new(seed));
            families.insert(topology.family);
            assert_eq!(topology.hosts.len(), topology.places.len());
            assert!(topology.hosts.len() >= 5, "{}", topology.family);
            assert!(topology.places.iter().any(|place| place.public));
            let mut names = HashSet::new();
            for host in &topology.hosts {
                for name in host.names() {
                    assert!(names.insert(name.to_owned()), "seed {seed}: {name} stands twice");
                }
                assert!(host.address.parse::<std::net::Ipv4Addr>().is_ok(), "{}", host.address);
                let os = os_of(&host.os);
                let fits = |service: &Service| {
                    offer(&service.name).is_some_and(|offer| offer.os == Os::Any || offer.os == os)
                };
                assert!(host.services.iter().all(fits), "{host:?}");
            }
        }
        assert_eq!(families.len(), PLANS.len());
    }

    #[test]
    fn kits_offer_what_runs_on_their_systems() {
        for kit in PLANS.iter().flat_map(|plan| plan.stands).map(|stand| stand.kit) {
            for name in kit.services.iter().copied().flatten() {
                let offer = offer(name).unwrap_or_else(|| panic!("{name} is not in the catalogue"));
                for system in kit.systems {
                    assert!([Os::Any, os_of(system)].contains(&offer.os), "{name} on {system}");
                }
            }
        }
    }

    #[test]
    fn a_kind_can_be_asked_for() {
        for seed in 0..20 {
            assert_eq!(Topology::new(&["cloud".to_owned()], &mut Rng::new(seed)).family, "cloud");
        }
    }

    #[test]
    fn the_description_names_all_that_a_plan_may_name() {
        for seed in 0..300 {
            let topology = Topology::new(&[], &mut Rng::new(seed));
            let text = describe(&topology, &[], &mut Rng::new(seed));
            let grounding = Grounding::new(&text, &AlertLog::default());
            for host in &topology.hosts {
                let action = format!("Isolate {} and {}.", host.name, host.address);
                assert_eq!(grounding.unknown_entities(&action), [], "{text}");
                assert!(host.names().all(|name| text.contains(name)), "{host:?}\n{text}");
                for service in &host.services {
                    assert!(text.contains(&service.name), "{}\n{text}", service.name);
                }
            }
            for account in &topology.accounts {
                let action = format!("Disable the account {}.", account.name);
                assert_eq!(grounding.unknown_entities(&action), [], "{text}");
            }
        }
    }
}
