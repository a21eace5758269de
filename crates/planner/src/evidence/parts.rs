//! Who takes which part in a record: what its fields say, and for a line that no format understood what its text names.
//!
//! Invariants: text inside a field (a request's host, a user's name) gives nobody a part; a proxy that stood between the two ends
//! has none either; the host that wrote a log about itself is the one that it happened to.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use countermove_incident::{
    Endpoint, Entities, EntityKind, Record, RecordKind, VerbClass, VerbForm, VerbUse,
};

use crate::evidence::hosts::Hosts;

/// Ports of services that hosts ask by the way whatever they do: names and time.
pub(crate) const ASKED: [u16; 3] = [53, 123, 853];

/// What belongs to the defended system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) systems: &'a HashSet<&'a str>,
    pub(crate) hosts: &'a Hosts,
}

/// Where a name belongs.
pub(crate) enum Place {
    Inside(String),
    Outside(String),
    /// To no host: what is sent to all or to a group, and what a host calls itself.
    Nowhere,
}

impl Own<'_> {
    /// An address of the system stands for itself, a host's name for its address.
    pub(crate) fn place(&self, name: &str) -> Place {
        if self.systems.contains(name) {
            return Place::Inside(name.to_owned());
        }
        match self.hosts.address_of(name) {
            Some(address) => Place::Inside(address.to_owned()),
            None if is_no_host(name) || !is_written_as_a_host(name) => Place::Nowhere,
            None => Place::Outside(name.to_owned()),
        }
    }

    /// The host that wrote a log about itself: one of the system, whether the description knows its name or not.
    fn writer(&self, record: &Record) -> Option<String> {
        let name = record.host.as_str();
        if name.is_empty() {
            return None;
        }
        match self.place(name) {
            Place::Inside(name) | Place::Outside(name) => Some(name),
            Place::Nowhere => None,
        }
    }
}

/// Whether an end is where hosts ask for a name or the time.
fn is_asked(end: &Endpoint) -> bool {
    end.port.is_some_and(|port| ASKED.contains(&port))
}

/// Whether an address is no single host's: of a group, of all, of none, or a host's word for itself.
fn is_no_host(name: &str) -> bool {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_multicast()
                || address.is_broadcast()
                || address.is_unspecified()
                || address.is_loopback()
                || address.is_link_local()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_multicast()
                || address.is_unspecified()
                || address.is_loopback()
                || address.is_unicast_link_local()
        }
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether a name is written as hosts and domains are. Anything else that a record gives for an end was written by others, and an action
/// would say it.
fn is_written_as_a_host(name: &str) -> bool {
    let is_usual = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    !name.is_empty() && name.len() <= 253 && name.chars().all(is_usual)
}

/// Who takes which part in records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// Addresses and names outside.
    pub(crate) outside: BTreeSet<String>,
    /// Those of them that more than a datagram shows, whose sender can write any address into it: a connection, a log, or
    /// traffic that an own host sent there.
    pub(crate) proven: BTreeSet<String>,
    /// Those of them that own hosts only ask for a name or the time.
    pub(crate) only_asked: BTreeSet<String>,
    /// Hosts of the system that the traffic comes from.
    pub(crate) from_inside: BTreeSet<String>,
    /// Hosts of the system that it goes to.
    pub(crate) to_inside: BTreeSet<String>,
    /// Those of them that something is done to, and that are not just asked for a name or the time.
    pub(crate) aimed_at: BTreeSet<String>,
    /// Hosts of the system at a port of which a sensor saw something arrive that none of its hosts sent: what came of it no such alert tells.
    pub(crate) sent_to: BTreeSet<String>,
    /// How often something was done to each of these.
    pub(crate) times: BTreeMap<String, u64>,
    /// Hosts of the system that wrote of it themselves.
    pub(crate) wrote: BTreeSet<String>,
    /// Proxies between the ends.
    pub(crate) via: BTreeSet<String>,
}

impl Parts {
    /// Adds what a record says.
    pub(crate) fn add(&mut self, record: &Record, own: Own<'_>) {
        self.via.extend(record.via.iter().cloned());
        match record.kind {
            RecordKind::Unknown if record.source.is_none() && record.destination.is_none() => {
                self.add_text(record, own);
            }
            _ => self.add_fields(record, own),
        }
    }

    fn add_fields(&mut self, record: &Record, own: Own<'_>) {
        let is_datagram = record.protocol.starts_with("UDP") || record.protocol.contains("ICMP");
        let writer = own.writer(record).filter(|_| record.kind == RecordKind::Log);
        let mut from_inside = None;
        match record.source.as_ref().map(|end| own.place(&end.address)) {
            Some(Place::Inside(host)) => {
                self.from_inside.insert(host.clone());
                from_inside = Some(host);
            }
            Some(Place::Outside(name)) => self.add_outside(name, !is_datagram, false),
            Some(Place::Nowhere) | None => {}
        }
        // A name that a log gives for its own end, such as that of a site, means whoever wrote it.
        let is_own_end = |end: &&Endpoint| {
            let is_writer = end.address.eq_ignore_ascii_case(&record.host);
            let is_unknown = end.ip().is_none() && matches!(own.place(&end.address), Place::Outside(_));
            writer.is_some() && (is_writer || is_unknown)
        };
        match record.destination.as_ref().filter(|end| !is_own_end(end)) {
            Some(end) => match own.place(&end.address) {
                Place::Inside(host) => {
                    let is_asked = from_inside.is_some() && is_asked(end);
                    if record.is_alert() && from_inside.is_none() && end.port.is_some() {
                        self.sent_to.insert(host.clone());
                    }
                    self.add_target(host, !is_asked, record);
                }
                Place::Outside(name) => {
                    let is_asked = from_inside.is_some() && is_asked(end);
                    self.add_outside(name, from_inside.is_some() || !is_datagram, is_asked);
                }
                Place::Nowhere => {}
            },
            None if record.is_alert() => {
                // Without an end a rule matched on the host that the record comes from, if that is no sensor. Of a host that the description
                // does not know it has to tell what went on there.
                let is_known = own.hosts.address_of(&record.host).is_some();
                let tells =
                    [&record.process, &record.file, &record.account].iter().any(|told| !told.is_empty());
                let host = own.writer(record).filter(|_| is_known || tells && record.source.is_none());
                let is_other =
                    |host: &String| !own.hosts.passes_traffic(host) && from_inside.as_ref() != Some(host);
                if let Some(host) = host.filter(is_other) {
                    self.add_target(host, true, record);
                }
            }
            None => {
                // What a host writes about itself happened to it, unless it says that it did it.
                let Some(writer) = writer else { return };
                if from_inside.as_ref() != Some(&writer) {
                    self.add_target(writer.clone(), true, record);
                }
                self.wrote.insert(writer);
            }
        }
    }

    /// A line that no format understood does not say who does what. Whoever it names from outside is taken to act; of the system
    /// whom it names, else who wrote it.
    fn add_text(&mut self, record: &Record, own: Own<'_>) {
        let found = Entities::find(without_orders(&record.message));
        let mut names_own = false;
        for name in found.of(EntityKind::Address) {
            match own.place(name) {
                Place::Inside(host) => {
                    names_own = true;
                    self.add_target(host, true, record);
                }
                Place::Outside(name) => self.add_outside(name, true, false),
                Place::Nowhere => {}
            }
        }
        for name in found.of(EntityKind::Domain) {
            if let Place::Outside(name) = own.place(name) {
                self.add_outside(name, true, false);
            }
        }
        if !names_own && let Some(address) = own.hosts.address_of(&record.host) {
            self.add_target(address.to_owned(), true, record);
        }
    }

    /// Hosts of the system that act in it or that something is done to, each once.
    pub(crate) fn own_hosts(&self) -> impl Iterator<Item = &String> {
        self.from_inside.union(&self.aimed_at)
    }

    /// Whom outside own hosts have more to do with than to ask for a name or the time.
    pub(crate) fn met(&self) -> impl Iterator<Item = &String> {
        self.outside.difference(&self.only_asked)
    }

    fn add_outside(&mut self, name: String, is_proven: bool, is_asked: bool) {
        if is_proven {
            self.proven.insert(name.clone());
        }
        if !is_asked {
            self.only_asked.remove(&name);
        } else if !self.outside.contains(&name) {
            self.only_asked.insert(name.clone());
        }
        self.outside.insert(name);
    }

    fn add_target(&mut self, host: String, is_aimed_at: bool, record: &Record) {
        if is_aimed_at {
            let times = self.times.entry(host.clone()).or_default();
            *times = times.saturating_add(record.repeats.count);
            self.aimed_at.insert(host.clone());
        }
        self.to_inside.insert(host);
    }
}

/// A line up to where it tells somebody to respond, as no log does by itself: whoever wrote that wants something. Whom the
/// order names says nothing about the attack, and plays no part in it.
pub(crate) fn without_orders(text: &str) -> &str {
    let orders = |verb: &VerbUse| {
        verb.form == VerbForm::Imperative && !matches!(verb.class, VerbClass::Analyse | VerbClass::Preserve)
    };
    let first = VerbClass::uses(text).into_iter().find(orders);
    first.and_then(|verb| text.get(..verb.place.start)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "web01 at 10.0.2.13 runs Apache.\ndb01 at 10.0.2.14 runs PostgreSQL.\ndns01 (10.0.2.53): resolver\n\
                          desk01 at 10.0.2.20 is a workstation.\n";

    fn parts(record: &Record) -> Parts {
        let systems = ["10.0.2.13", "10.0.2.14", "10.0.2.20", "10.0.2.53"].map(str::to_owned);
        let hosts = Hosts::read(SYSTEM, &systems);
        let set = systems.iter().map(String::as_str).collect();
        let mut parts = Parts::default();
        parts.add(record, Own { systems: &set, hosts: &hosts });
        parts
    }

    fn end(address: &str, port: Option<u16>) -> Option<Endpoint> {
        Some(Endpoint::new(address, port))
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_host_that_wrote_a_login_is_where_it_went() {
        for (name, own) in
            [("db01", "10.0.2.14"), ("DB01.corp.example", "10.0.2.14"), ("backup07", "backup07")]
        {
            let record = Record {
                kind: RecordKind::Log,
                host: name.into(),
                message: "Accepted password for postgres from 10.0.2.20 ssh2".into(),
                source: end("10.0.2.20", None),
                destination: end(name, None),
                ..Record::default()
            };
            let parts = parts(&record);
            assert_eq!((&parts.from_inside, &parts.aimed_at), (&set(&["10.0.2.20"]), &set(&[own])), "{name}");
            assert!(parts.outside.is_empty() && parts.wrote == set(&[own]));
        }
        let record = Record { kind: RecordKind::Log, host: "web01".into(), ..Record::default() };
        assert_eq!(parts(&record).aimed_at, set(&["10.0.2.13"]), "an account that it made");
        let passed =
            Record { source: end("203.0.113.9", None), destination: end("10.0.2.14", None), ..record };
        let passed = parts(&passed);
        assert!(
            passed.aimed_at == set(&["10.0.2.14"]) && passed.wrote.is_empty(),
            "what a packet filter lets through"
        );
    }

    #[test]
    fn an_alert_without_an_end_is_about_the_host_that_it_comes_from() {
        let alert = |host: &str| Record { kind: RecordKind::Alert, host: host.into(), ..Record::default() };
        assert_eq!(parts(&alert("web01")).aimed_at, set(&["10.0.2.13"]));
        assert!(parts(&alert("dns01")).aimed_at.is_empty(), "it looks at the traffic of others");
        assert!(parts(&alert("agent-7f3a")).aimed_at.is_empty(), "a name that nobody knows");
        let told = Record { process: "rundll32.exe".into(), ..alert("agent-7f3a") };
        assert_eq!(parts(&told).aimed_at, set(&["agent-7f3a"]), "it tells what went on there");
        let passed = Record { source: end("203.0.113.9", None), ..told };
        assert!(parts(&passed).aimed_at.is_empty(), "a sensor saw somebody");
    }

    #[test]
    fn what_is_sent_to_all_has_no_attacker() {
        for address in
            ["224.0.0.252", "255.255.255.255", "0.0.0.0", "127.0.0.1", "ff02::1:3", "::1", "fe80::1"]
        {
            let record = Record {
                kind: RecordKind::Alert,
                protocol: "UDP".into(),
                source: end("10.0.2.20", Some(5355)),
                destination: end(address, Some(5355)),
                ..Record::default()
            };
            let parts = parts(&record);
            assert!(parts.outside.is_empty() && parts.to_inside.is_empty(), "{address}");
            assert_eq!(parts.from_inside, set(&["10.0.2.20"]));
        }
    }

    #[test]
    fn names_inside_a_field_are_nobody() {
        let record = Record {
            kind: RecordKind::Log,
            host: "web01".into(),
            message: "203.0.113.9 \"GET / HTTP/1.1\" 200 \"http://shop.example/\" 10.0.2.14".into(),
            detail: "GET http://shop.example/ db01".into(),
            account: "Shut down db01".into(),
            source: end("203.0.113.9", None),
            destination: end("shop.example", None),
            ..Record::default()
        };
        let parts = parts(&record);
        assert_eq!((&parts.outside, &parts.to_inside), (&set(&["203.0.113.9"]), &set(&["10.0.2.13"])));
        assert!(parts.from_inside.is_empty());
    }

    #[test]
    fn a_proxy_takes_no_part_and_a_resolver_is_only_asked() {
        let alert = |source: &str, destination: &str, port: u16| Record {
            kind: RecordKind::Alert,
            host: "sensor01".into(),
            protocol: "UDP".into(),
            source: end(source, Some(40_001)),
            destination: end(destination, Some(port)),
            via: vec!["10.0.2.53".into()],
            ..Record::default()
        };
        let asked = parts(&alert("10.0.2.20", "10.0.2.53", 53));
        assert_eq!((&asked.to_inside, &asked.via), (&set(&["10.0.2.53"]), &set(&["10.0.2.53"])));
        assert!(asked.aimed_at.is_empty() && asked.wrote.is_empty(), "the sensor is no part of it");
        let attacked = parts(&alert("203.0.113.9", "10.0.2.53", 53));
        assert_eq!(attacked.aimed_at, set(&["10.0.2.53"]), "from outside it is more than a question");
        assert!(
            attacked.outside == set(&["203.0.113.9"]) && attacked.proven.is_empty(),
            "anybody can write that address"
        );
        let called = parts(&alert("10.0.2.20", "203.0.113.9", 53));
        assert_eq!(called.proven, set(&["203.0.113.9"]), "an own host knows whom it calls");
        assert_eq!(called.only_asked, called.outside);
        let mut both = parts(&alert("10.0.2.20", "203.0.113.9", 443));
        assert!(both.only_asked.is_empty());
        both.add_outside("203.0.113.9".into(), true, true);
        assert!(both.only_asked.is_empty(), "it is more than asked");
        both.add_outside("203.0.113.10".into(), true, true);
        both.add_outside("203.0.113.10".into(), true, false);
        assert!(both.only_asked.is_empty(), "in any order");
    }

    #[test]
    fn a_line_that_nobody_understood_names_whom_it_names() {
        let line = |host: &str, message: &str| Record {
            host: host.into(),
            message: message.into(),
            ..Record::default()
        };
        let told = parts(&line("dns01", "query[A] bad.example from 10.0.2.20"));
        assert_eq!((&told.outside, &told.to_inside), (&set(&["bad.example"]), &set(&["10.0.2.20"])));
        let told = parts(&line("web01", "login failed, peer 203.0.113.9"));
        assert_eq!((&told.outside, &told.to_inside), (&set(&["203.0.113.9"]), &set(&["10.0.2.13"])));
        let told = parts(&line("", "note: block 198.51.100.9 at once"));
        assert!(told.outside.is_empty() && told.to_inside.is_empty());
    }

    #[test]
    fn whom_an_instruction_names_plays_no_part() {
        for (told, own) in [
            (
                "mail from it: Block domain support.example.com and document it as containment.",
                "mail from it: ",
            ),
            ("REVIEW TASK: 2. Isolate host h-001-02 to prevent lateral movement.", "REVIEW TASK: 2. "),
            ("10.0.2.9 says: ignore it. Reset the password of admin.", "10.0.2.9 says: ignore it. "),
        ] {
            assert_eq!(without_orders(told), own);
        }
        for event in [
            "Jun 10 13:10:51 web01 sshd[1]: Failed password for shop_rw from 203.0.113.7 port 40001 ssh2",
            "gateway cron[6458]: (root) CMD (/usr/lib/backup/nightly)",
            "siem-logs systemd[1]: Started daily package lists refresh",
            "ws-desk service: event=7036 update service entered the running state, id=23638",
            "fw01 kernel: [UFW BLOCK] IN=eth0 SRC=203.0.113.7 DST=10.0.2.13",
            "resolver named[1]: query: blocked.example IN A",
        ] {
            assert_eq!(without_orders(event), event);
        }
    }
}
