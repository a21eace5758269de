//! The alert file of pfSense's Snort package, which is also how Snort 2's `alert_csv` begins by default:
//!
//! `06/03/26-12:59:31.342001 ,1,9900030,2,"message",TCP,203.0.113.9,51234,10.0.2.11,22,26730,class,1,alert,Allow`

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean, clean_classification, clean_message, clean_protocol, has_ports, port};
use super::csv::{Field, fields};
use super::{MAX_RAW, begun, end, may_be_from, priority, unquoted, verdict};
use crate::record::{Record, RecordKind};
use crate::{Signature, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::PfsenseCsv, recognises, read };

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    // The time is looked at first, so that other lines cost little.
    may_be_from(envelope, &["snort"])
        && line.split(',').next().is_some_and(|first| Timestamp::parse(first).is_some())
        && parts(&fields(line)).is_some()
}

/// Time and rule, if the first fields are of this form.
fn parts(fields: &[Field<'_>]) -> Option<(Timestamp, Signature)> {
    let text = |at: usize| fields.get(at).map(|field| field.text);
    let number = |at: usize| text(at).and_then(|text| text.parse::<u32>().ok());
    let time = Timestamp::parse(text(0)?)?;
    let signature = Signature { gid: number(1)?, sid: number(2)?, rev: number(3)? };
    let is_address = |at: usize| text(at).is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    (is_address(6) && is_address(8)).then_some((time, signature))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = fields(line);
    let (time, signature) = parts(&fields)?;
    let text = |at: usize| fields.get(at).map_or("", |field| field.text);
    let mut record = begun(RecordKind::Alert, Format::PfsenseCsv, envelope);
    record.time = Some(time);
    record.rule = signature.to_string();
    record.message = clean_message(unquoted(text(4)));
    record.protocol = clean_protocol(text(5));
    let port = |at: usize| port(text(at)).filter(|_| has_ports(&record.protocol));
    (record.source, record.destination) = (end(text(6), port(7)), end(text(8), port(9)));
    // Behind the ends Snort 2 goes on with the frame's addresses, pfSense with a number, the class and the priority.
    let is_pfsense = text(10).parse::<u32>().is_ok() && fields.len() <= 15;
    if is_pfsense {
        record.classification = clean_classification(text(11));
        record.priority = priority(text(12));
        record.verdict = verdict(text(14)).or_else(|| verdict(text(13)));
    }
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    #[test]
    fn a_line_of_pfsense_is_read() {
        let line = "06/03/26-12:59:31.342001 ,1,9900030,2,\"LOCAL database login, jump host\",TCP,203.0.113.9,51234,\
                    10.0.2.11,22,26730,Attempted Administrator Privilege Gain,1,alert,Drop\r";
        assert!(recognises(line, &Envelope::default()));
        let alert = read(line, &Envelope::default()).unwrap();
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
        assert_eq!(
            (alert.rule.as_str(), alert.message.as_str()),
            ("1:9900030:2", "LOCAL database login, jump host")
        );
        assert_eq!((alert.priority, alert.verdict), (Some(1), Some(SensorVerdict::Blocked)));
        assert_eq!(alert.classification, "Attempted Administrator Privilege Gain");
        assert_eq!(alert.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.2.11:22");
    }

    #[test]
    fn snort_2_goes_on_with_the_frame() {
        let line = "06/03-12:59:31.342001 ,1,1000001,1,ICMP test,ICMP,10.0.1.11,,10.0.2.11,,00:0C:29:11:22:33,\
                    00:0C:29:44:55:66,0x62,,,,,,64,0,1,84,86016,8,0,1,1";
        let alert = read(line, &Envelope::default()).unwrap();
        assert_eq!((alert.priority, alert.classification.as_str()), (None, ""));
        assert_eq!(alert.source.unwrap().to_string(), "10.0.1.11");
        for line in
            ["06/03/26-12:59:31 ,1,2,3,m,TCP,a,1,b,2", "a,1,2,3,m,TCP,10.0.0.1,1,10.0.0.2,2", ",,,", ""]
        {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
    }
}
