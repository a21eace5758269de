//! Zscaler's Nanolog service as lines: pairs with tabs between them, behind a time or `datetime=`. What the fields mean is said once, for
//! its objects ([`super::super::json::zscaler`]).

use serde_json::Value;

use super::super::Format;
use super::super::format::{Envelope, LineFormat, Object};
use super::super::json::zscaler;
use super::{MAX_RAW, may_be_from, unquoted};
use crate::Timestamp;
use crate::formats::clean;
use crate::record::Record;

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| {
        may_be_from(envelope, &["zscaler-nss", "zscaler", "NSS"])
            && fields(line).is_some_and(|fields| zscaler::is_one(&fields))
    },
    read: |line, envelope| read(line, envelope),
};

/// Most fields of a line.
const MAX_FIELDS: usize = 96;

/// The pairs of a line that begins as the service's do.
fn fields(line: &str) -> Option<Object> {
    // rsyslog writes a tab so.
    let line = line.trim().replace("#011", "\t");
    let mut cells = line.split('\t');
    let first = cells.next()?.trim();
    let time = match first.split_once('=') {
        Some(("datetime" | "time", time)) => unquoted(time),
        Some(_) => return None,
        None => Timestamp::parse(first).map(|_| first)?,
    };
    let mut object = Object::new();
    object.insert("datetime".to_owned(), Value::from(time));
    for (key, value) in cells.take(MAX_FIELDS).filter_map(|cell| cell.trim().split_once('=')) {
        // Of a key that comes twice the first counts.
        object.entry(key).or_insert_with(|| Value::from(unquoted(value)));
    }
    Some(object)
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let mut record = zscaler::read(&fields(line)?, envelope)?;
    if !record.raw.is_empty() {
        record.raw = clean(line, MAX_RAW);
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordKind, SensorVerdict};

    const WEB: &str = "2026-06-03 12:59:31\treason=Allowed\tevent_id=7\tprotocol=HTTPS\taction=Allowed\turlcategory=Internet Services\t\
                       serverip=203.0.113.66\trequestmethod=GET\tuseragent=\"curl\"\tproduct=NSS\tClientIP=10.0.2.20\tstatus=200\t\
                       user=alice@example.com\turl=\"files.example/x.exe\"\tvendor=Zscaler\thostname=files.example\tthreatname=None";
    const DROP: &str = "datetime=Wed Jun 03 12:59:31 2026\tuser=alice@example.com\tcdport=443\tcsport=51234\tcsip=10.0.2.20\t\
                        cdip=203.0.113.66\taction=Drop\tnwsvc=HTTPS\tproto=TCP\trulelabel=Block\tthreatname=None";

    fn parse(line: &str) -> Record {
        assert!((FORMAT.recognises)(line, &Envelope::default()), "{line}");
        read(line, &Envelope::default()).unwrap()
    }

    #[test]
    fn pages_and_traffic_are_read_as_objects_are() {
        let page = parse(WEB);
        assert_eq!((page.kind, page.account.as_str()), (RecordKind::Telemetry, "alice@example.com"));
        assert_eq!(page.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let found = parse(&WEB.replace("threatname=None", "threatname=Local.Worm"));
        assert_eq!((found.kind, found.rule.as_str()), (RecordKind::Alert, "Local.Worm"));
        for line in [DROP.to_owned(), DROP.replace('\t', "#011")] {
            let dropped = parse(&line);
            assert_eq!((dropped.kind, dropped.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
            assert_eq!(dropped.destination.unwrap().to_string(), "203.0.113.66:443");
        }
    }

    #[test]
    fn a_field_that_comes_again_and_lines_of_others_are_none() {
        let again = parse(&format!("{DROP}\tcsip=6.6.6.6\tthreatname=x"));
        assert_eq!((again.source.unwrap().address.as_str(), again.kind), ("10.0.2.20", RecordKind::Log));
        for line in ["2026-06-03 12:59:31\tx=1\ty=2", "x=1\tvendor=Zscaler\taction=x\turl=y", ""] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
    }
}
