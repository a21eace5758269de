//! Flow logs of Amazon's virtual networks, with a header that names the columns or in the default form of version 2:
//!
//! `2 123456789012 eni-1 203.0.113.9 10.0.2.11 51234 22 6 20 4249 1780491571 1780491631 ACCEPT OK`
//!
//! Each is telemetry. The address of a flow's end counts, not that of the packets behind a translator, where both are told.

use super::super::format::{Envelope, Layout, LayoutFormat, Offered};
use super::super::{Format, clean_protocol, has_ports, port};
use super::columns::Columns;
use super::{begun, end, protocol_of, tell_traffic, verdict};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LayoutFormat =
    LayoutFormat { format: Format::VpcFlow, recognises, start: || Box::new(Reader::default()) };

const DEFAULT: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";

fn recognises(line: &str) -> bool {
    is_header(line) || is_default(line)
}

/// Names of columns alone, with both ends among them.
fn is_header(line: &str) -> bool {
    let is_name = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let words = || line.split_whitespace().take(64);
    words().all(is_name)
        && ["srcaddr", "dstaddr", "start"].iter().all(|name| words().any(|word| word == *name))
}

fn is_default(line: &str) -> bool {
    let mut words = line.split(' ');
    let is_account = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_digit());
    words.next() == Some("2")
        && words.next().is_some_and(is_account)
        && words.next().is_some_and(|word| word.starts_with("eni-"))
}

#[derive(Clone, Debug, Default)]
struct Reader {
    columns: Columns,
}

impl Layout for Reader {
    fn offer(&mut self, line: &str) -> Offered {
        if is_header(line) {
            self.columns = Columns::named(line);
            return Offered::Taken(None);
        }
        if self.columns.is_empty() && is_default(line) {
            self.columns = Columns::named(DEFAULT);
        }
        Offered::line(self.record(line))
    }

    fn holds(&self) -> bool {
        true
    }
}

impl Reader {
    fn record(&self, line: &str) -> Option<Record> {
        let row = self.columns.row(line)?;
        let mut record = begun(RecordKind::Telemetry, Format::VpcFlow, &Envelope::default());
        "VPC flow logs".clone_into(&mut record.sensor);
        record.time = Some(Timestamp::parse_epoch(row.get("start")?)?);
        if let Some(state @ ("NODATA" | "SKIPDATA")) = row.get("log-status") {
            record.message = format!("no flow: {state}");
            return Some(record);
        }
        record.protocol = clean_protocol(row.get("protocol").map(protocol_of).unwrap_or_default());
        let port_of = |name| row.get(name).and_then(port).filter(|_| has_ports(&record.protocol));
        let (source, destination) = (row.get("srcaddr")?, row.get("dstaddr")?);
        let ends = (end(source, port_of("srcport")), end(destination, port_of("dstport")));
        (record.source, record.destination) = ends;
        let action = row.get("action").unwrap_or("flow");
        record.verdict = verdict(action);
        tell_traffic(&mut record, action);
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    fn read(text: &str) -> Vec<Option<Record>> {
        let mut reader = (FORMAT.start)();
        let offered = text.lines().map(|line| reader.offer(line));
        offered
            .filter_map(|offered| match offered {
                Offered::Taken(None) => None,
                Offered::Taken(Some(record)) => Some(Some(*record)),
                Offered::NotMine(_) => Some(None),
            })
            .collect()
    }

    #[test]
    fn flows_are_telemetry_with_both_ends() {
        let line =
            "2 123456789012 eni-1 203.0.113.9 10.0.2.11 51234 22 6 20 4249 1780491571 1780491631 REJECT OK";
        assert!(recognises(line));
        let [Some(flow)] = &read(line)[..] else { panic!() };
        assert_eq!((flow.kind, flow.verdict), (RecordKind::Telemetry, Some(SensorVerdict::Blocked)));
        assert_eq!(flow.message, "REJECT TCP 203.0.113.9 -> 10.0.2.11:22");
        assert_eq!(flow.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let named = "start srcaddr dstaddr protocol action log-status\n1780491571 10.0.2.11 203.0.113.9 1 ACCEPT OK\nx\n1780491571 - - - - NODATA";
        assert!(recognises(named.lines().next().unwrap()));
        let [Some(flow), None, Some(none)] = &read(named)[..] else { panic!() };
        assert_eq!(flow.message, "ACCEPT ICMP 10.0.2.11 -> 203.0.113.9");
        assert_eq!(none.message, "no flow: NODATA");
    }

    #[test]
    fn other_lines_are_none() {
        for line in
            ["2 1 eni-1 x", "2 123456789012 x", "srcaddr dstaddr start 1", "the srcaddr and start", ""]
        {
            assert!(!recognises(line), "{line}");
        }
    }
}
