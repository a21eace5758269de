//! Whether what an action names exists.
//!
//! Invariant: an entity that occurs in the system description or in the evidence is never unknown, in whatever
//! spelling. Of a log that [`crate::AlertLog::read`] had to fold coarsely it knows what the kept records name; the
//! log's warnings say when that was so.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use crate::entities::Network;
use crate::{AlertLog, Endpoint, Entities, Entity, EntityKind};

/// What the system description and the evidence name. An action may name nothing else.
#[derive(Clone, Debug, Default)]
pub struct Grounding {
    /// Normal forms of entities.
    known: HashSet<(EntityKind, String)>,
    /// Words of all texts, in lower case.
    words: HashSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// Networks and addresses of the defended system, as its description names them.
    networks: Networks,
    own: HashSet<IpAddr>,
}

impl Grounding {
    /// Collects what the system description and the evidence name.
    pub fn new(system: &str, evidence: &AlertLog) -> Grounding {
        let mut grounding = Grounding::default();
        grounding.add_text(system);
        let entities = Entities::find(system);
        entities
            .of(EntityKind::Network)
            .filter_map(Network::parse)
            .for_each(|network| grounding.networks.add(network));
        grounding.own.extend(entities.of(EntityKind::Address).filter_map(|text| text.parse::<IpAddr>().ok()));
        // Alerts repeat their texts; each is read once.
        let mut seen: HashSet<&str> = HashSet::new();
        for record in &evidence.records {
            for end in [&record.source, &record.destination].into_iter().flatten() {
                grounding.add_endpoint(end);
            }
            let fields = [
                &record.message,
                &record.detail,
                &record.host,
                &record.account,
                &record.process,
                &record.file,
            ];
            for text in fields.into_iter().chain(&record.via).chain(Some(&record.raw)) {
                if seen.insert(text) {
                    grounding.add_text(text);
                }
            }
            if !record.account.is_empty() {
                grounding.known.insert((EntityKind::Account, record.account.to_lowercase()));
            }
        }
        grounding
    }

    /// Adds what another text names, such as an analyst's notes or the constraints.
    pub fn add_text(&mut self, text: &str) {
        for entity in Entities::find(text) {
            if let Ok(address) = entity.value.parse() {
                self.addresses.insert(address);
            }
            self.known.insert((entity.kind, entity.normal()));
        }
        self.words.extend(words(text));
    }

    /// The entities that `action` names and that occur neither in the system description nor in the evidence.
    ///
    /// What every system has (`root`, `localhost`, `0.0.0.0/0`) is known. So is a network in which a known address
    /// lies, unless it is wider than /16 (IPv6: /32), and a domain of which a known one is part.
    pub fn unknown_entities(&self, action: &str) -> Vec<Entity> {
        Entities::find(action).into_iter().filter(|entity| !self.knows(entity)).collect()
    }

    /// Addresses in the system description and the evidence that belong to the defended system, in order: those that
    /// the description names, and those in a network that it names.
    pub fn internal_addresses(&self) -> Vec<String> {
        self.addresses.iter().filter(|address| self.is_internal(**address)).map(IpAddr::to_string).collect()
    }

    /// The other addresses, in order.
    pub fn external_addresses(&self) -> Vec<String> {
        self.addresses.iter().filter(|address| !self.is_internal(**address)).map(IpAddr::to_string).collect()
    }

    fn add_endpoint(&mut self, end: &Endpoint) {
        match end.ip() {
            Some(address) => {
                if self.addresses.insert(address) {
                    self.known.insert((EntityKind::Address, address.to_string()));
                }
            }
            None => {
                if !self.words.contains(&end.address) {
                    self.add_text(&end.address);
                }
            }
        }
    }

    fn is_internal(&self, address: IpAddr) -> bool {
        self.own.contains(&address) || self.networks.contain(address)
    }

    fn knows(&self, entity: &Entity) -> bool {
        let normal = entity.normal();
        if self.known.contains(&(entity.kind, normal.clone())) || self.words.contains(&normal) {
            return true;
        }
        match entity.kind {
            EntityKind::Address => normal.parse().is_ok_and(is_generic),
            EntityKind::Network => Network::parse(&normal).is_some_and(|network| self.knows_network(network)),
            EntityKind::Domain => {
                normal == "localhost.localdomain" || self.words.iter().any(|word| is_part_of(word, &normal))
            }
            EntityKind::Account => {
                GENERIC_ACCOUNTS.contains(&normal.as_str())
                    || normal.rsplit_once('\\').is_some_and(|(_, name)| self.words.contains(name))
            }
            // A host may be named by its number in one text and by its full name in the other.
            EntityKind::Host => [EntityKind::Account, EntityKind::Domain]
                .iter()
                .any(|kind| self.known.contains(&(*kind, normal.clone()))),
            EntityKind::Vulnerability => false,
        }
    }

    fn knows_network(&self, network: Network) -> bool {
        let everything = network.prefix == 0;
        let narrow = |address: &IpAddr| network.prefix >= if address.is_ipv4() { 16 } else { 32 };
        everything || self.addresses.iter().any(|address| narrow(address) && network.contains(*address))
    }
}

/// Networks, found by an address in as many steps as there are lengths of them, however many there are.
#[derive(Clone, Debug, Default)]
struct Networks {
    lengths: BTreeSet<u8>,
    all: HashSet<Network>,
}

impl Networks {
    fn add(&mut self, network: Network) {
        self.lengths.insert(network.prefix);
        self.all.insert(network);
    }

    fn contain(&self, address: IpAddr) -> bool {
        let mut around = self.lengths.iter().filter_map(|&length| Network::around(address, length));
        around.any(|network| self.all.contains(&network))
    }
}

/// Accounts that are there without anybody naming them.
const GENERIC_ACCOUNTS: [&str; 12] = [
    "root",
    "admin",
    "administrator",
    "www-data",
    "nobody",
    "guest",
    "system",
    "postgres",
    "mysql",
    "sshd",
    "ubuntu",
    "ec2-user",
];

/// Addresses that name no host: loopback, any, broadcast and masks.
fn is_generic(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified() || v4.octets()[0] == 255,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    }
}

/// Whether `name` is a name within `domain`, which has two parts at least.
fn is_part_of(name: &str, domain: &str) -> bool {
    domain.contains('.') && name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Words in lower case: runs of letters, digits and the signs that names hold, whole and in their dotted, hyphenated
/// or path parts as well.
fn words(text: &str) -> HashSet<String> {
    let mut out = HashSet::new();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '\\' | '$');
    for word in text.split(|c| !is_word(c)) {
        let word = word.trim_matches(['.', '-', '\\', '$']);
        if word.is_empty() {
            continue;
        }
        let lower = word.to_lowercase();
        for part in lower.split(['\\', '.']) {
            if part.len() < lower.len() && !part.is_empty() {
                out.insert(part.to_owned());
            }
        }
        out.insert(lower);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYSTEM: &str = "Networks 10.0.1.0/24 and 10.0.2.0/24. server_ssh at 10.0.2.11 runs OpenSSH for the account \
        deploy. Server 3 (10.0.2.13) is db.corp.example. The gateway is 10.0.1.10.";

    fn grounding() -> Grounding {
        let log = AlertLog::parse(
            b"06/03-12:59:31.0 [**] [1:1:1] probe of cdn.evil.example for CVE-2014-6271 [**] [Priority: 1] {TCP} \
              203.0.113.9:4444 -> 10.0.2.20:22\n\
              Jun  3 13:00:00 server_ssh sshd[1]: Accepted password for svc_backup from 2001:db8::7 port 22\n",
        )
        .unwrap();
        Grounding::new(SYSTEM, &log)
    }

    fn unknown(action: &str) -> Vec<String> {
        grounding().unknown_entities(action).into_iter().map(|entity| entity.value).collect()
    }

    #[test]
    fn what_is_named_somewhere_is_known() {
        for action in [
            "Block 203.0.113.9 and 2001:DB8:0::7 at the gateway 10.0.1.10.",
            "Isolate server-3, Server 3, SERVER_SSH and 10.0.2.20 from 10.0.2.0/24 and 203.0.113.0/24.",
            "Disable the svc_backup account and rotate the password of user=deploy and user=root.",
            "Sinkhole evil.example and cdn.evil.example; patch CVE-2014-6271 on db.corp.example.",
            "Deny 0.0.0.0/0 on port 22, allow 127.0.0.1.",
            "Collect /var/log/auth.log and image the disk.",
        ] {
            assert!(unknown(action).is_empty(), "{action}: {:?}", unknown(action));
        }
    }

    #[test]
    fn what_is_named_nowhere_is_unknown() {
        assert_eq!(unknown("Block 198.51.100.7."), ["198.51.100.7"]);
        assert_eq!(unknown("Isolate 10.0.2.99."), ["10.0.2.99"]);
        assert_eq!(unknown("Isolate Server 9 and server_db."), ["Server 9", "server_db"]);
        assert_eq!(unknown("Sinkhole www.evil.example."), ["www.evil.example"]);
        assert_eq!(unknown("Disable the svc_sql account."), ["svc_sql"]);
        assert_eq!(unknown("Patch CVE-2021-44228."), ["CVE-2021-44228"]);
        assert_eq!(unknown("Block 10.0.0.0/8."), ["10.0.0.0/8"]);
        assert_eq!(unknown("Block 192.0.2.0/24."), ["192.0.2.0/24"]);
    }

    #[test]
    fn addresses_are_internal_or_external() {
        let grounding = grounding();
        assert_eq!(grounding.internal_addresses(), ["10.0.1.10", "10.0.2.11", "10.0.2.13", "10.0.2.20"]);
        assert_eq!(grounding.external_addresses(), ["203.0.113.9", "2001:db8::7"]);
    }

    #[test]
    fn an_address_is_found_in_one_of_many_networks_at_once() {
        let mut networks = Networks::default();
        for high in 0..=255 {
            for low in 0..=255 {
                networks.add(Network::parse(&format!("10.{high}.{low}.0/24")).unwrap());
            }
        }
        networks.add(Network::parse("2001:db8::/32").unwrap());
        networks.add(Network::parse("192.168.7.9/32").unwrap());
        let begun = std::time::Instant::now();
        for n in 0..20_000_u32 {
            assert!(networks.contain(IpAddr::from([10, (n >> 8) as u8, n as u8, 7])));
            assert!(!networks.contain(IpAddr::from([11, (n >> 8) as u8, n as u8, 7])));
        }
        // One after the other, each of the others would be compared with 65,538.
        assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
        let is_in = |text: &str| networks.contain(text.parse().unwrap());
        assert!(is_in("2001:db8::9") && is_in("192.168.7.9"));
        assert!(!is_in("2001:db9::9") && !is_in("192.168.7.8") && !is_in("::ffff:10.0.0.1"));
    }

    proptest! {
        #[test]
        fn what_the_system_names_is_never_unknown(
            words in proptest::collection::vec(
                "(10\\.0\\.[0-9]\\.[0-9]{1,2}|server_[a-z]{1,4}|Server [0-9]{1,2}|user=[a-z]{2,6}|[a-z]{1,5}\\.example|\
                 CVE-20[0-9]{2}-[0-9]{4}|2001:db8::[1-9a-f]{1,3}|10\\.[0-9]\\.0\\.0/16|web-?[0-9]{1,2}|[a-z ,.]{1,6})", 0..12),
            junk in any::<String>(),
        ) {
            let system = format!("{} {junk}", words.join(" "));
            let grounding = Grounding::new(&system, &AlertLog::default());
            prop_assert_eq!(grounding.unknown_entities(&system), []);
            for entity in Entities::find(&system) {
                let action = format!("Isolate {} now.", entity.value);
                let unknown = grounding.unknown_entities(&action);
                prop_assert!(!unknown.contains(&entity), "{:?} in {:?}", entity, system);
            }
        }
    }
}
