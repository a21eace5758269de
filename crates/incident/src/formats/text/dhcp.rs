//! What servers and clients of DHCP say: `DHCPACK on 10.0.2.20 to 00:00:5e:00:53:01 (pc7) via eth0`, dnsmasq's `DHCPACK(eth0) 10.0.2.20
//! 00:00:5e:00:53:01 pc7`. Who has which address is telemetry. A client chooses what it calls itself, which stands behind the address.

use super::super::format::LineFormat;
use super::super::{Format, clean_message};
use super::services::{Said, address};
use super::{begun, ip_end};
use crate::Timestamp;
use crate::record::RecordKind;

/// What the DHCP server of Windows writes into `DhcpSrvLog-*.log`: `10,06/03/26,12:59:31,Assign,10.0.2.20,pc7.example,00005E005301,…`.
pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Service,
    recognises: |line, envelope| envelope.program.is_empty() && row(line).is_some(),
    read: |line, envelope| {
        let (time, event, host) = row(line)?;
        let mut record = begun(RecordKind::Telemetry, Format::Service, envelope);
        record.time = Some(time);
        record.sensor = "DHCP server".to_owned();
        record.source = ip_end(host, None);
        record.message = clean_message(&format!("{event} {host}"));
        Some(record)
    },
};

/// Time, event and address of a row.
fn row(line: &str) -> Option<(Timestamp, &str, &str)> {
    let mut fields = line.split(',');
    let id = fields.next()?;
    let (date, clock, event) = (fields.next()?, fields.next()?, fields.next()?);
    let (month, rest) = date.split_once('/')?;
    let (day, year) = rest.split_once('/')?;
    let is_number =
        |text: &str, of: usize| text.len() == of && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_row = is_number(month, 2) && is_number(day, 2) && is_number(year, 2) && is_number(id, 2);
    let time = Timestamp::parse(&format!("20{year}-{month}-{day} {clock}")).filter(|_| is_row)?;
    let host = fields.next()?;
    let is_event = !event.is_empty() && event.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_event.then_some((time, event, host))
}

/// Whether a program's name is one of theirs.
pub(super) fn is_of(program: &str) -> bool {
    const PROGRAMS: [&str; 10] = [
        "dhcpd",
        "dhcpd6",
        "dhcp6c",
        "dhcp6s",
        "dhcpcd",
        "dhclient",
        "dhcpleases",
        "dnsmasq-dhcp",
        "udhcpc",
        "udhcpd",
    ];
    PROGRAMS.contains(&program)
}

pub(super) fn said(line: &str) -> Said<'_> {
    let mut words = line.split_whitespace();
    let is_message = words.next().is_some_and(|word| word.starts_with("DHCP"));
    let second = words.next().unwrap_or_default();
    let host = if matches!(second, "on" | "for") { words.next().unwrap_or_default() } else { second };
    Said { source: address(host).filter(|_| is_message), is_telemetry: true, ..Said::default() }
}

#[cfg(test)]
mod tests {
    use super::super::super::format::Envelope;
    use super::*;

    #[test]
    fn a_row_of_windows_server_is_telemetry() {
        let line = "10,06/03/26,12:59:31,Assign,10.0.2.20,pc7.example,00005E005301,,7,0,,,,,,,,,0";
        assert!((FORMAT.recognises)(line, &Envelope::default()));
        let record = (FORMAT.read)(line, &Envelope::default()).unwrap();
        assert_eq!((record.kind, record.message.as_str()), (RecordKind::Telemetry, "Assign 10.0.2.20"));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        assert!((FORMAT.recognises)("00,06/03/26,12:59:31,Started,,,", &Envelope::default()));
        for line in
            ["ID,Date,Time,Description", "10,2026-06-03,12:59:31,Assign,x", "1,06/03/26,12:59:31,a,b", ""]
        {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
    }
}
