//! Which hosts pass traffic on or look at what passes: gateways, proxies, resolvers, sensors.
//!
//! An alert often names such a host because somebody behind it did something, or had something done to it.

/// What a host is that passes traffic on, by the words that its role ends with, and by products that are nothing else.
const ROLES: [&str; 21] = [
    "gateway",
    "router",
    "firewall",
    "load balancer",
    "loadbalancer",
    "reverse proxy",
    "proxy",
    "haproxy",
    "nat",
    "resolver",
    "name server",
    "nameserver",
    "dns server",
    "dns forwarder",
    "ids",
    "ips",
    "fortigate",
    "pfsense",
    "opnsense",
    "sonicwall",
    "meraki",
];
/// Beginnings of such a host's name, before a number or a further part.
const NAMES: [&str; 18] = [
    "gateway",
    "gw",
    "router",
    "rtr",
    "firewall",
    "fw",
    "lb",
    "loadbalancer",
    "haproxy",
    "proxy",
    "nat",
    "pfsense",
    "opnsense",
    "sensor",
    "ids",
    "ips",
    "snort",
    "suricata",
];
/// Words behind which a role is somebody else's.
const RELATING: [&str; 21] = [
    "behind", "via", "through", "to", "from", "for", "of", "in", "at", "on", "by", "with", "and", "or", "no",
    "not", "before", "after", "under", "client", "than",
];
/// Beginnings of the names of software that keeps data or runs applications of its own.
const SERVES: [&str; 16] = [
    "php",
    "sqlite",
    "postgres",
    "mysql",
    "mariadb",
    "mongodb",
    "redis",
    "tomcat",
    "wordpress",
    "django",
    "rails",
    "samba",
    "postfix",
    "exim",
    "dovecot",
    "vsftpd",
];
/// Most words of a role, with what stands before it: `is the edge gateway`.
const MAX_ROLE: usize = 5;

/// Whether a host of which this is said, its name first, passes traffic on or looks at what passes: `lb01: load balancer,
/// terminates TLS`. That it stands behind such a host does not make it one, and one that serves something itself is more than that.
pub(crate) fn passes_traffic(about: &str) -> bool {
    let lower = about.to_lowercase();
    let (name, told) = lower.split_once(": ").unwrap_or((lower.as_str(), ""));
    let clauses = || told.split([',', ';', '.', ':', '(', ')', '[', ']', '|']).map(str::trim);
    let serves = |clause: &str| SERVES.iter().any(|own| clause.starts_with(own));
    is_named_so(name) || clauses().any(has_role) && !clauses().any(serves)
}

/// `gw`, `lb01`, `fw-edge`, `the gateway`.
fn is_named_so(name: &str) -> bool {
    let first = name.split(['-', '_', '.', ' ']).next().unwrap_or_default();
    let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
    NAMES.contains(&stem) || ROLES.contains(&name)
}

/// Whether a clause tells a role: a few words that end with one, none of which points to another host.
fn has_role(clause: &str) -> bool {
    let words: Vec<&str> = clause.split_whitespace().collect();
    (1..=words.len().min(MAX_ROLE)).any(|count| {
        let head = words.get(..count).unwrap_or_default();
        let told = head.join(" ");
        let is_role = ROLES.iter().any(|role| {
            told.strip_suffix(role).is_some_and(|before| before.is_empty() || before.ends_with([' ', '-']))
        });
        is_role && !head.iter().any(|word| RELATING.contains(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_names_tell() {
        for about in [
            "lb01: Debian 12, HAProxy), load balancer, terminates TLS and forwards all web traffic",
            "gateway: runs Snort and filters all traffic from the Internet",
            "edge: (Debian 12) is the firewall",
            "fw-edge: OpenBSD",
            "dns01: Debian 12, resolver",
            "px: (Debian 12), reverse proxy for the shop",
            "gw2: Alpine",
            "sensor01: Suricata",
            "ABC-FG100: FortiGate, outside 203.0.113.66",
            "edge1: (FortiGate 100F, public 203.0.113.66",
        ] {
            assert!(passes_traffic(about), "{about}");
        }
        for about in [
            "web01: Debian 12, Apache behind the load balancer",
            "web01: (Debian 12) runs Apache and a reverse proxy",
            "server 1: (Debian 11): Nginx reverse proxy, PHP-FPM 7.4 customer portal",
            "app01: sends to the proxy lb01",
            "db01: PostgreSQL, no gateway",
            "ws-017: Windows 11, accounting workstation",
            "natalie: workstation",
            "lbdata: archive",
            "svr1: Windows, backup of the FortiGate",
            "10.0.2.13",
            "",
        ] {
            assert!(!passes_traffic(about), "{about}");
        }
    }
}
