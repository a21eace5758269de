//! Finds the entities that a text names: addresses, networks, hosts, domains, accounts, CVEs.
//!
//! It is conservative where a mistake would call a word an entity that is none: a host or an account has to look like
//! one (`server_ssh`, `web-01`, `Server 3`, `user=backup`), since ordinary words cannot be told from names. It finds
//! no name like `mercury`.

mod patterns;

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use patterns::{ACCOUNTS, ADDRESSES, CVES, DOMAINS, HOSTS, NUMBERED_HOSTS};

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityKind {
    /// An IPv4 or IPv6 address.
    Address,
    /// A network in CIDR notation.
    Network,
    /// A host name without a domain, such as `server_ssh` or `Server 3`.
    Host,
    /// A domain name, or a host's full name.
    Domain,
    /// An account.
    Account,
    /// A CVE identifier.
    Vulnerability,
}

/// Something that a text names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity {
    /// What it is.
    pub kind: EntityKind,
    /// Its name: addresses and networks in their usual form, numbered hosts one by one (`Servers 3 and 6` are `Server
    /// 3` and `Server 6`), everything else as the text writes it.
    pub value: String,
}

impl Entity {
    /// A form in which the same entity is equal however it is written: lower case, and no space, hyphen or underscore
    /// between a host's noun and its number.
    pub fn normal(&self) -> String {
        let lower = self.value.to_lowercase();
        if self.kind != EntityKind::Host {
            return lower;
        }
        let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = lower.get(stem.len()..).unwrap_or_default();
        match stem.strip_suffix([' ', '-', '_']) {
            Some(noun) if !number.is_empty() => format!("{noun}{number}"),
            _ => lower,
        }
    }

    /// The same of a host that is known by this name or address.
    pub fn normal_host(name: &str) -> String {
        let name = name.trim();
        match name.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => Entity { kind: EntityKind::Host, value: name.to_owned() }.normal(),
        }
    }
}

/// The entities that a text names, each once, in the order in which they occur.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entities(Vec<Entity>);

impl Entities {
    /// Finds them.
    pub fn find(text: &str) -> Entities {
        let mut seen = HashSet::new();
        let keep =
            |(_, entity): (usize, Entity)| seen.insert((entity.kind, entity.normal())).then_some(entity);
        Entities(Entities::places(text).into_iter().filter_map(keep).collect())
    }

    /// Every place at which the text names an entity, in order, with the byte at which it begins; the same entity as
    /// often as it is named. All hosts of a range begin where the range does.
    pub fn places(text: &str) -> Vec<(usize, Entity)> {
        let mut found: Vec<(usize, Entity)> = Vec::new();
        // Parts of the text that are addresses or domains already, and so no hosts or accounts.
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let begins_word = |start: usize| {
            !text
                .get(..start)
                .is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        for part in ADDRESSES.find_iter(text).filter(|part| begins_word(part.start())) {
            for (offset, length, kind, value) in addresses(part.as_str()) {
                taken.push((part.start() + offset, part.start() + offset + length));
                found.push((part.start() + offset, Entity { kind, value }));
            }
        }
        for part in CVES.find_iter(text) {
            let value = part.as_str().to_uppercase();
            found.push((part.start(), Entity { kind: EntityKind::Vulnerability, value }));
        }
        for part in DOMAINS.find_iter(text) {
            if let Some(value) = domain(text, part.start(), part.end()) {
                taken.push((part.start(), part.end()));
                found.push((part.start(), Entity { kind: EntityKind::Domain, value }));
            }
        }
        taken.sort_unstable();
        let is_free = |start: usize| {
            let next = taken.partition_point(|&(begin, _)| begin <= start);
            next.checked_sub(1).and_then(|before| taken.get(before)).is_none_or(|&(_, end)| end <= start)
        };
        for part in HOSTS.find_iter(text).filter(|part| is_free(part.start())) {
            if patterns::is_host(text, part.start(), part.end()) {
                let value = part.as_str().to_owned();
                found.push((part.start(), Entity { kind: EntityKind::Host, value }));
            }
        }
        for part in NUMBERED_HOSTS.captures_iter(text) {
            let (Some(noun), Some(numbers)) = (part.get(1), part.get(2)) else { continue };
            for (offset, number) in patterns::numbers(text, noun.start(), numbers.start(), numbers.end()) {
                let value = format!("{} {number}", noun.as_str());
                found.push((offset, Entity { kind: EntityKind::Host, value }));
            }
        }
        for pattern in ACCOUNTS.iter() {
            let mut from = 0;
            while let Some(part) = pattern.captures_at(text, from) {
                let (Some(all), Some(name)) = (part.get(0), part.name("account")) else { break };
                let value = name.as_str().trim_end_matches(['.', '-', ',']);
                let is_account = patterns::is_account(value);
                if is_account && is_free(name.start()) {
                    found.push((name.start(), Entity { kind: EntityKind::Account, value: value.to_owned() }));
                }
                // A word that is no name may begin what names one: `new user: user=backup`.
                let overlaps = !is_account && name.start() > all.start();
                from = if overlaps { name.start() } else { all.end() };
            }
        }
        found.sort_by_key(|(position, _)| *position);
        found
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.0.iter()
    }

    /// Names of those of one kind.
    pub fn of(&self, kind: EntityKind) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |entity| entity.kind == kind).map(|entity| entity.value.as_str())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Entities {
    type Item = Entity;
    type IntoIter = std::vec::IntoIter<Entity>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    pub(crate) prefix: u8,
}

impl Network {
    /// `10.0.2.0/24`, with whatever bits behind the prefix.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix =
            prefix.parse().ok().filter(|&prefix| prefix <= if address.is_ipv4() { 32 } else { 128 })?;
        Some(Network { address: masked(address, prefix), prefix })
    }

    /// The network of this length in which the address lies; none if the address has not as many bits.
    pub(crate) fn around(address: IpAddr, prefix: u8) -> Option<Network> {
        let fits = prefix <= if address.is_ipv4() { 32 } else { 128 };
        fits.then(|| Network { address: masked(address, prefix), prefix })
    }

    /// Whether the address lies in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

impl fmt::Display for Network {
    /// `10.0.2.0/24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(
            v4.to_bits() & u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0),
        )),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(
            v6.to_bits() & u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0),
        )),
    }
}

/// Addresses and networks in a run of characters that may hold them, with place and length: `10.0.2.11:22` and
/// `10.0.2.11-10.0.2.15` hold one and two.
fn addresses(run: &str) -> Vec<(usize, usize, EntityKind, String)> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in run.split_inclusive('-') {
        let offset = start;
        start += part.len();
        let part = part.trim_end_matches(['-', '.', ':', '/']);
        let (host, rest) = part.split_once('/').map_or((part, None), |(host, rest)| (host, Some(rest)));
        let Some((length, address)) = address(host) else { continue };
        let prefix = rest.filter(|_| length == host.len()).map(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.get(..digits).unwrap_or_default()
        });
        match prefix.and_then(|prefix| {
            Network::parse(&format!("{address}/{prefix}")).map(|network| (prefix, network))
        }) {
            Some((prefix, network)) => {
                found.push((offset, length + 1 + prefix.len(), EntityKind::Network, network.to_string()));
            }
            None => found.push((offset, length, EntityKind::Address, address.to_string())),
        }
    }
    found
}

/// The address that a text is, with a port behind it or not.
fn address(text: &str) -> Option<(usize, IpAddr)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        // `::` is punctuation, and `a::b` a name in a program.
        let telling = text.bytes().any(|byte| byte.is_ascii_digit());
        return telling.then_some((text.len(), address));
    }
    let (host, port) = text.rsplit_once(':')?;
    let decimal = port.bytes().all(|byte| byte.is_ascii_digit()) && port.len() <= 5;
    let address = host.trim_end_matches(':').parse::<IpAddr>().ok().filter(|_| decimal && host.len() > 2)?;
    Some((host.len(), address))
}

/// The domain between these places of a text, unless it is a file name, a program or an abbreviation.
fn domain(text: &str, start: usize, end: usize) -> Option<String> {
    let value = text.get(start..end)?.trim_end_matches('.');
    let before = text.get(..start)?;
    // A part of a path is a file. `//` begins the host of a URL.
    let in_path = before.ends_with(['/', '\\', '_', '.', '-']) && !before.ends_with("//");
    let in_url = before.ends_with("://");
    let behind = text.get(end..)?.chars().next();
    if in_path || behind.is_some_and(|c| c == '_' || c == '(') {
        return None;
    }
    (in_url || patterns::is_domain(value)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<(EntityKind, String)> {
        Entities::find(text).into_iter().map(|entity| (entity.kind, entity.value)).collect()
    }

    fn of(kind: EntityKind, text: &str) -> Vec<String> {
        Entities::find(text).of(kind).map(str::to_owned).collect()
    }

    #[test]
    fn addresses_and_networks_are_found() {
        let text = "Block 203.0.113.9, 2001:DB8::9 and 10.0.2.11:22 (of 10.0.2.0/24), not 10.0.1.2-10.0.1.5. Or [2001:db8::1]:443.";
        assert_eq!(
            of(EntityKind::Address, text),
            ["203.0.113.9", "2001:db8::9", "10.0.2.11", "10.0.1.2", "10.0.1.5", "2001:db8::1"]
        );
        assert_eq!(of(EntityKind::Network, text), ["10.0.2.0/24"]);
        assert_eq!(of(EntityKind::Network, "fe80::/10 and 10.1.2.3/8."), ["fe80::/10", "10.0.0.0/8"]);
        assert_eq!(
            of(EntityKind::Address, "http://10.0.2.13/cgi-bin/vulnerable //10.0.4.6/share"),
            ["10.0.2.13", "10.0.4.6"]
        );
    }

    #[test]
    fn what_only_looks_like_an_address_is_left() {
        for text in
            ["at 12:59:31", "version 9.4.1", "1:2006546:3", "std::io", "999.1.1.1", "1.2.3.4.5", "a::b"]
        {
            assert!(of(EntityKind::Address, text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn hosts_are_found() {
        let text = "server_ssh at 10.0.2.11, web-01, db2 and dc01; Server 3 (10.0.3.3), Servers 1-2, hosts 5, 6 and 8";
        assert_eq!(
            of(EntityKind::Host, text),
            [
                "server_ssh",
                "web-01",
                "db2",
                "dc01",
                "Server 3",
                "Servers 1",
                "Servers 2",
                "hosts 5",
                "hosts 6",
                "hosts 8"
            ]
            .map(|name| name.replace("Servers", "Server").replace("hosts", "host"))
        );
    }

    #[test]
    fn ordinary_words_are_no_hosts() {
        for text in [
            "web-server, server-side and host-based rules",
            "set server_tokens off; the client_max_body_size; host_key",
            "Windows Server 2019 and SQL Server 2016",
            "log4j, sha256, ipv6, fail2ban, /etc/ssh/sshd_config, db.sqlite3",
            "port 22 on the server, host 10.0.2.11, proxy-protocol",
            "app2scale",
        ] {
            assert!(of(EntityKind::Host, text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn domains_are_found_and_files_are_not() {
        let text =
            "Sinkhole c2.example.net, shop.example/upload.php and https://run.sh/x; mail admin@corp.example.";
        assert_eq!(
            of(EntityKind::Domain, text),
            ["c2.example.net", "shop.example", "run.sh", "corp.example"]
        );
        for text in [
            "/var/log/auth.log nginx.conf payload.so shell.php run.sh script.py backup.zip e.g. i.e. Node.js ASP.NET",
            "/var/www/html/portal.db www-data ssh.service v2.9 Ubuntu 20.04 os.system(",
        ] {
            assert!(of(EntityKind::Domain, text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn accounts_are_found() {
        for (text, expected) in [
            ("user=svc_backup logged in", &["svc_backup"][..]),
            ("Failed password for invalid user oracle from 203.0.113.9", &["oracle"]),
            ("Accepted publickey for deploy from 10.0.1.11 port 22", &["deploy"]),
            ("host 10.0.2.11, login admin, password password123", &["admin"]),
            ("SSH login to 10.0.2.11 using admin/password123", &["admin"]),
            ("uid=33(www-data) gid=33(www-data)", &["www-data"]),
            ("ssh jsmith@10.0.2.11", &["jsmith"]),
            ("Disable the account \"j.doe\" and the svc_sql account", &["j.doe", "svc_sql"]),
            ("su: session opened for user root by bob(uid=0)", &["root"]),
            ("sudo:  alice : TTY=pts/0 ; USER=root", &["alice", "root"]),
            ("[22][ssh] host: 10.0.2.11 login: admin password: x", &["admin"]),
        ] {
            assert_eq!(of(EntityKind::Account, text), expected, "{text}");
        }
        for text in [
            "Reset the affected accounts and every user account.",
            "Disable the compromised account, the account used, a user account of the attacker",
            "user-agent, user data, login page, login attempts, read/write access, using TCP/IP",
            "break-glass account, built-in account, two-factor login",
            "Attempted User Privilege Gain; user login attempts; login to 10.0.2.11",
        ] {
            assert!(of(EntityKind::Account, text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn cves_are_found() {
        assert_eq!(
            of(EntityKind::Vulnerability, "cve-2014-6271, CVE-2017-7494."),
            ["CVE-2014-6271", "CVE-2017-7494"]
        );
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let network = Network::parse("10.0.2.0/24").unwrap();
        assert!(network.contains("10.0.2.255".parse().unwrap()));
        assert!(!network.contains("10.0.3.0".parse().unwrap()));
        assert!(!network.contains("::1".parse().unwrap()));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("203.0.113.9".parse().unwrap()));
        assert!(Network::parse("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(Network::parse("10.0.0.0/33").is_none());
    }

    proptest! {
        #[test]
        fn every_address_is_found_in_a_sentence(bits in any::<u32>(), six in any::<u128>()) {
            let (four, six) = (Ipv4Addr::from_bits(bits), Ipv6Addr::from_bits(six));
            let text = format!("Block {four}, then {six}.");
            prop_assert_eq!(of(EntityKind::Address, &text), [four.to_string(), six.to_string()]);
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = Entities::find(&text);
        }

        #[test]
        fn texts_of_telling_characters_are_survived(text in "[0-9a-f:./@_ servuno=-]{0,80}") {
            let _ = Entities::find(&text);
        }
    }
}
