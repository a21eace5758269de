//! Lines of hosts' own logs, which tell what no network sensor sees: who logged in, and which names were asked for.

use serde_json::{Value, json};

use super::clock::Clock;
use super::evidence::Evidence;
use crate::data::Os;
use crate::rng::Rng;
use crate::topology::{Topology, os_of};
use crate::truth::Host;

/// Somebody who logs in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login<'a> {
    pub(super) host: &'a Host,
    pub(super) account: &'a str,
    /// Address.
    pub(super) source: &'a str,
}

/// Failed logins, and then one that works.
pub(super) fn guessed_password(evidence: &mut Evidence, who: Login<'_>, clock: &mut Clock, rng: &mut Rng) {
    for _ in 0..rng.between(2, 5) {
        failed_login(evidence, who, clock, rng);
    }
    clock.pass(1, 60, rng);
    login(evidence, who, clock, rng);
}

/// One failed login.
pub(super) fn failed_login(evidence: &mut Evidence, who: Login<'_>, clock: &mut Clock, rng: &mut Rng) {
    let Login { host, account, source } = who;
    clock.pass(1, 6, rng);
    let (pid, port) = (rng.between(400, 30_000), rng.between(32_768, 60_999));
    let name = word(host);
    let text = match os_of(&host.os) {
        Os::Windows => {
            security(&name, 4625, json!({"TargetUserName": account, "IpAddress": source, "LogonType": "3"}))
        }
        _ => format!("{name} sshd[{pid}]: Failed password for {account} from {source} port {port} ssh2"),
    };
    evidence.add_line(clock, text);
}

/// A login that works.
pub(super) fn login(evidence: &mut Evidence, who: Login<'_>, clock: &Clock, rng: &mut Rng) {
    let Login { host, account, source } = who;
    let (pid, port) = (rng.between(400, 30_000), rng.between(32_768, 60_999));
    let name = word(host);
    let text = match os_of(&host.os) {
        Os::Windows => {
            security(&name, 4624, json!({"TargetUserName": account, "IpAddress": source, "LogonType": "3"}))
        }
        _ => format!("{name} sshd[{pid}]: Accepted password for {account} from {source} port {port} ssh2"),
    };
    evidence.add_line(clock, text);
}

/// An account that is made on a host.
pub(super) fn new_account(evidence: &mut Evidence, host: &Host, account: &str, clock: &Clock, rng: &mut Rng) {
    let name = word(host);
    let text = match os_of(&host.os) {
        Os::Windows => security(&name, 4720, json!({"TargetUserName": account, "SubjectUserName": "SYSTEM"})),
        _ => format!(
            "{name} useradd[{}]: new user: name={account}, UID=1001, GID=1001, home=/tmp, shell=/bin/sh, from=none",
            rng.between(400, 30_000)
        ),
    };
    evidence.add_line(clock, text);
}

/// A name that a host asked a resolver for.
pub(super) fn query(evidence: &mut Evidence, ends: [&Host; 2], domain: &str, clock: &Clock, rng: &mut Rng) {
    let [host, resolver] = ends;
    let pid = rng.between(200, 2000);
    evidence.add_line(
        clock,
        format!("{} dnsmasq[{pid}]: query[A] {domain} from {}", word(resolver), host.address),
    );
}

/// A line of an uneventful day.
pub(super) fn everyday(evidence: &mut Evidence, topology: &Topology, clock: &mut Clock, rng: &mut Rng) {
    let Some(host) = rng.pick(&topology.hosts) else { return };
    let pid = rng.between(200, 30_000);
    let name = word(host);
    let account = rng.pick(&topology.accounts).map_or("root", |account| account.name.as_str());
    let other = rng.pick(&topology.hosts).map(|other| other.address.as_str()).unwrap_or_default();
    let linux = os_of(&host.os) != Os::Windows;
    let text = match rng.below(4) {
        0 if linux => format!("{name} cron[{pid}]: (root) CMD (/usr/lib/backup/nightly)"),
        1 if linux => {
            format!("{name} sshd[{pid}]: Accepted publickey for {account} from {other} port 40022 ssh2")
        }
        2 if linux => format!("{name} systemd[1]: Started daily package lists refresh"),
        _ if linux => format!("{name} dhclient[{pid}]: bound to {}", host.address),
        _ => event(
            &name,
            ["Service Control Manager", "System"],
            7036,
            json!({"param1": "Windows Update", "param2": "running", "ExecutionProcessID": pid}),
        ),
    };
    evidence.add_line(clock, text);
}

/// An event of the security log.
fn security(host: &str, id: u32, data: Value) -> String {
    event(host, ["Microsoft-Windows-Security-Auditing", "Security"], id, data)
}

/// A Windows event as NXLog forwards it by syslog: JSON, its own fields before the event's data.
fn event(host: &str, [provider, channel]: [&str; 2], id: u32, data: Value) -> String {
    let own = json!({"Hostname": host, "EventID": id, "SourceName": provider, "Channel": channel});
    let fields = [own, data].into_iter().filter_map(|part| match part {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    format!("{host} nxlog[880]: {}", Value::Object(fields.flatten().collect()))
}

/// The host's name as one word, as system logs need it.
fn word(host: &Host) -> String {
    host.name.replace(' ', "-").to_lowercase()
}
