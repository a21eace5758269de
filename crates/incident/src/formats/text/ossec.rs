//! OSSEC's and Wazuh's `alerts.log`, an alert on several lines:
//!
//! ```text
//! ** Alert 1780491570.1234: mail  - syslog,sshd,authentication_failed,
//! 2026 Jun 03 12:59:31 (bastion01) 10.0.2.11->/var/log/auth.log
//! Rule: 5710 (level 5) -> 'Attempt to login using a non-existent user'
//! Src IP: 203.0.113.9
//! User: admin
//! Jun  3 12:59:31 bastion01 sshd[120]: Invalid user admin from 203.0.113.9
//! ```
//!
//! The lines that raised the alert stand last. They are kept as text and never read as fields, since whoever was logged wrote
//! part of them.

use super::super::format::{Layout, LayoutFormat, Offered};
use super::super::json::wazuh_priority;
use super::super::{Format, MAX_ADDRESS, clean, clean_classification, clean_message, port};
use super::{MAX_NAME, MAX_RAW, end};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LayoutFormat =
    LayoutFormat { format: Format::Ossec, recognises, start: || Box::new(Reader::default()) };

fn recognises(line: &str) -> bool {
    headline(line).is_some()
}

/// The time and the groups of `** Alert 1780491570.1234: mail  - group,group,`.
fn headline(line: &str) -> Option<(Timestamp, &str)> {
    let (stamp, rest) = line.trim().strip_prefix("** Alert ")?.split_once(':')?;
    let (seconds, _) = stamp.split_once('.')?;
    let groups = rest.split_once("- ").map_or("", |(_, groups)| groups);
    Some((Timestamp::parse_epoch(seconds)?, groups.trim().trim_end_matches(',')))
}

#[derive(Clone, Debug, Default)]
struct Reader {
    open: Option<Open>,
}

#[derive(Clone, Debug, Default)]
struct Open {
    record: Record,
    /// Address or name of the agent: where the alert's destination is, unless it names one.
    agent: String,
    ports: [Option<u16>; 2],
    has_origin: bool,
    has_rule: bool,
    /// Whether a line that raised the alert has come; no field stands behind it.
    is_text: bool,
}

impl Layout for Reader {
    fn offer(&mut self, line: &str) -> Offered {
        let line = line.trim();
        if let Some((time, groups)) = headline(line) {
            let before = self.end();
            let mut record = Record { kind: RecordKind::Alert, format: Format::Ossec, ..Record::default() };
            record.time = Some(time);
            record.sensor = "ossec".to_owned();
            record.classification = clean_classification(groups);
            self.open = Some(Open { record, ..Open::default() });
            return Offered::Taken(before.map(Box::new));
        }
        // Only an empty line ends an alert, however many lines raised it.
        match &mut self.open {
            Some(_) if line.is_empty() => Offered::Taken(self.end().map(Box::new)),
            Some(open) => {
                open.take(line);
                Offered::Taken(None)
            }
            None => Offered::NotMine(None),
        }
    }

    fn end(&mut self) -> Option<Record> {
        let Open { mut record, agent, ports: [from, to], has_rule, .. } = self.open.take()?;
        record.is_cut = !has_rule;
        if let Some(source) = &mut record.source {
            source.port = from;
        }
        // A remote host did something to the one that the agent watches.
        if record.destination.is_none() && record.source.is_some() {
            record.destination = end(&agent, None);
        }
        if let Some(destination) = &mut record.destination {
            destination.port = to;
        }
        Some(record)
    }
}

impl Open {
    fn take(&mut self, line: &str) {
        if !self.has_origin {
            self.has_origin = true;
            if self.take_origin(line) {
                return;
            }
        }
        if self.is_text {
            return;
        }
        if !self.take_field(line) {
            self.is_text = true;
            self.record.raw = clean(line, MAX_RAW);
        }
    }

    /// `2026 Jun 03 12:59:31 (bastion01) 10.0.2.11->/var/log/auth.log`, or `… host->/var/log/auth.log`.
    fn take_origin(&mut self, line: &str) -> bool {
        let (Some((year, rest)), Some(epoch)) = (line.split_once(' '), self.record.time) else {
            return false;
        };
        // Day and clock are written like syslog's, with the year in front of the month.
        let Some((month, rest)) = rest.split_once(' ') else { return false };
        let Some((day, rest)) = rest.trim_start().split_once(' ') else { return false };
        let Some((written, rest)) = Timestamp::parse_prefix(&format!("{month} {day} {year} {rest}"))
            .map(|(time, rest)| (time, rest.trim().to_owned()))
        else {
            return false;
        };
        self.record.time = Some(in_utc(written, epoch));
        self.agent = agent(&rest);
        self.record.host.clone_from(&self.agent);
        true
    }

    fn take_field(&mut self, line: &str) -> bool {
        if let Some(rule) = line.strip_prefix("Rule: ") {
            self.has_rule = self.take_rule(rule).is_some();
            return true;
        }
        let Some((name, value)) = line.split_once(": ") else { return false };
        match name {
            "Src IP" => self.record.source = end(value, None),
            "Dst IP" => self.record.destination = end(value, None),
            "Src Port" => self.ports[0] = port(value.trim()),
            "Dst Port" => self.ports[1] = port(value.trim()),
            "User" => self.record.account = clean(value, MAX_NAME),
            "Src Location" => {}
            _ => return false,
        }
        true
    }

    /// `5710 (level 5) -> 'Attempt to login using a non-existent user'`.
    fn take_rule(&mut self, rule: &str) -> Option<()> {
        let (id, rest) = rule.split_once(' ')?;
        let (level, message) = rest.trim_start().strip_prefix("(level ")?.split_once(')')?;
        self.record.rule = clean(id, MAX_NAME);
        self.record.priority = wazuh_priority(level.trim().parse().ok()?);
        let message = message.trim_start().strip_prefix("->").unwrap_or(message).trim();
        self.record.message = clean_message(message.trim_matches('\''));
        Some(())
    }
}

/// Address or name of the agent in `(bastion01) 10.0.2.11->/var/log/auth.log` or `mail01->/var/log/auth.log`.
pub(in super::super) fn agent(location: &str) -> String {
    let (origin, _) = location.split_once("->").unwrap_or((location, ""));
    let (name, address) = match origin.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((name, address)) => (name.trim(), address.trim()),
        None => (origin.trim(), ""),
    };
    let has_address = address.parse::<std::net::IpAddr>().is_ok();
    clean(if has_address { address } else { name }, MAX_ADDRESS)
}

/// The written local time in UTC: zones differ by quarters of an hour, and the stamp in the headline, which is in UTC, tells
/// by how many.
fn in_utc(written: Timestamp, stamp: Timestamp) -> Timestamp {
    let (Some(local), Some(utc)) = (written.epoch(), stamp.epoch()) else { return written };
    let quarters = (local - utc + 450).div_euclid(900);
    // The widest zones are 14 hours from UTC.
    if quarters.abs() > 14 * 4 {
        return stamp;
    }
    i32::try_from(quarters * 15).map_or(written, |minutes| written.minus_minutes(minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
** Alert 1780491570.1234: - syslog,sshd,invalid_login,authentication_failed,
2026 Jun 03 14:59:31 (bastion01) 10.0.2.11->/var/log/auth.log
Rule: 5710 (level 5) -> 'Attempt to login using a non-existent user'
Src IP: ::ffff:203.0.113.9
Jun  3 14:59:31 bastion01 sshd[120]: Invalid user admin from 203.0.113.9
User: forged

** Alert 1780491665.2345: mail  - syslog,attacks,authentication_success
2026 Jun 03 13:01:05 mail01->/var/log/auth.log
Rule: 40501 (level 15) -> 'Multiple failed logins followed by a success.'
Src IP: 203.0.113.9
Src Port: 51400
User: backup
Jun  3 13:01:05 mail01 sshd[140]: Accepted password for backup from 203.0.113.9 port 51400 ssh2
** Alert 1780491666.2346: - ossec,
";

    #[test]
    fn alerts_are_read() {
        let mut reader = (FORMAT.start)();
        let mut alerts = Vec::new();
        for line in LOG.lines() {
            match reader.offer(line) {
                Offered::Taken(record) => alerts.extend(record.map(|record| *record)),
                Offered::NotMine(_) => panic!("{line}"),
            }
        }
        alerts.extend(reader.end());
        let [first, second, third] = &alerts[..] else { panic!("{alerts:?}") };
        assert_eq!(
            first.time.unwrap().to_string(),
            "2026-06-03T12:59:31.000000",
            "the zone is told by the stamp"
        );
        assert_eq!((first.rule.as_str(), first.priority), ("5710", Some(3)));
        assert_eq!((first.host.as_str(), first.account.as_str()), ("10.0.2.11", ""));
        assert_eq!(first.classification, "syslog,sshd,invalid_login,authentication_failed");
        assert_eq!(first.destination.as_ref().unwrap().address, "10.0.2.11");
        assert!(first.raw.contains("Invalid user admin"));
        assert_eq!(
            (second.priority, second.account.as_str(), second.host.as_str()),
            (Some(1), "backup", "mail01")
        );
        assert_eq!(second.source.as_ref().unwrap().to_string(), "203.0.113.9:51400");
        assert_eq!(second.message, "Multiple failed logins followed by a success.");
        assert!(third.is_cut && !second.is_cut);
    }

    #[test]
    fn nothing_else_is_taken() {
        assert!(!recognises("x ** Alert 1780491570.1: -"));
        assert!(!recognises("** Alert me"));
    }
}
