//! Alerts that OSSEC and Wazuh send to a collector by syslog:
//!
//! `Alert Level: 5; Rule: 5710 - Attempt to login using a non-existent user; Location: (bastion01) 10.0.2.11->/var/log/auth.log;
//! srcip: 203.0.113.9; user: admin; Jun  3 12:59:31 bastion01 sshd[120]: Invalid user admin from 203.0.113.9`
//!
//! The line that raised the alert stands last and is not read, since whoever was logged wrote part of it.

use super::super::format::{Envelope, LineFormat};
use super::super::json::wazuh_priority;
use super::super::{Format, clean, clean_classification, clean_message};
use super::ossec::agent;
use super::{MAX_NAME, MAX_RAW, begun, end, program};
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Ossec,
    recognises: |line, envelope| {
        matches!(program(envelope), "ossec" | "wazuh") && line.trim_start().starts_with("Alert Level:")
    },
    read,
};

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let mut rest = line.trim_start();
    let mut record = begun(RecordKind::Alert, Format::Ossec, envelope);
    let mut observer = String::new();
    let mut has_rule = false;
    // The first field that is none of these begins the line that raised the alert.
    while let Some((field, behind)) = rest.split_once(';') {
        let Some((name, value)) = field.trim().split_once(": ") else { break };
        let value = value.trim();
        match name {
            "Alert Level" => record.priority = wazuh_priority(value.parse().ok()?),
            "Rule" if !has_rule => {
                let (id, message) = value.split_once(" - ")?;
                (record.rule, record.message) = (clean(id, MAX_NAME), clean_message(message));
                has_rule = true;
            }
            "Location" if observer.is_empty() => observer = agent(value),
            "classification" => record.classification = clean_classification(value.trim_end_matches(',')),
            "srcip" if record.source.is_none() => record.source = end(value, None),
            "dstip" if record.destination.is_none() => record.destination = end(value, None),
            "user" if record.account.is_empty() => record.account = clean(value, MAX_NAME),
            _ => break,
        }
        rest = behind;
    }
    record.host.clone_from(&observer);
    if record.destination.is_none() && record.source.is_some() {
        record.destination = end(&observer, None);
    }
    record.raw = clean(line, MAX_RAW);
    has_rule.then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_read_up_to_the_line_that_raised_it() {
        let line = "Alert Level: 5; Rule: 5710 - Attempt to login using a non-existent user; Location: (bastion01) \
                    10.0.2.11->/var/log/auth.log; classification: syslog,sshd,; srcip: 203.0.113.9; Jun  3 12:59:31 bastion01 \
                    sshd[120]: Invalid user x; user: forged; y from 203.0.113.9";
        let envelope = Envelope { program: "ossec", host: "manager", ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope));
        let record = read(line, &envelope).unwrap();
        assert_eq!((record.rule.as_str(), record.priority, record.account.as_str()), ("5710", Some(3), ""));
        assert_eq!((record.host.as_str(), record.classification.as_str()), ("10.0.2.11", "syslog,sshd"));
        assert_eq!(record.message, "Attempt to login using a non-existent user");
        assert_eq!(record.destination.unwrap().address, "10.0.2.11");
        assert!(!(FORMAT.recognises)(line, &Envelope::default()));
    }
}
