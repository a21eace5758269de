//! Any other line that syslog carries. Of programs that guard a host (logins, accounts, the kernel, packet filters) it is a
//! log; of the rest only who wrote it is known, and what it says is for people.
//!
//! Packet filters' lines are read for their ends: netfilter's `[UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.9 DST=10.0.2.11 …` and
//! pfSense's `filterlog`.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean, clean_message, clean_protocol, has_ports, port};
use super::pairs::find;
use super::{MAX_RAW, begun, blanks, end, pam, program, services, verdict};
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Syslog,
    recognises: |_, envelope| !envelope.program.is_empty(),
    read: |line, envelope| Some(read(line, envelope)),
};

/// Programs whose lines are logs of logins, accounts, the kernel and packet filters, by how their names begin.
const GUARDS: [&str; 50] = [
    "kernel",
    "systemd",
    "login",
    "polkit",
    "pkexec",
    "doas",
    "useradd",
    "userdel",
    "usermod",
    "groupadd",
    "groupdel",
    "groupmod",
    "passwd",
    "chpasswd",
    "gpasswd",
    "chage",
    "cron",
    "CRON",
    "crond",
    "crontab",
    "atd",
    "firewalld",
    "ufw",
    "iptables",
    "nft",
    "filterlog",
    "pf",
    "fail2ban",
    "dropbear",
    "gdm",
    "lightdm",
    "sssd",
    "winbind",
    "krb5kdc",
    "vsftpd",
    "proftpd",
    "pure-ftpd",
    "dovecot",
    "xrdp",
    "cockpit",
    "openvpn",
    "smbd",
    // Those of macOS.
    "authd",
    "authorizationhost",
    "loginwindow",
    "opendirectoryd",
    "screensharingd",
    "securityd",
    "syspolicyd",
    "tccd",
];
/// How the names of macOS' antivirus begin, of which it has one for each kind of malware.
const XPROTECT: &str = "XProtect";

fn read(line: &str, envelope: &Envelope<'_>) -> Record {
    let line = &*blanks(line);
    let name = program(envelope);
    let (count, said) = repeated(line);
    let service = if pam::is_pam(said, envelope) { None } else { services::said(name, said) };
    let is_guard = || name.starts_with(XPROTECT) || GUARDS.iter().any(|guard| is_of(name, guard));
    if service.is_none() && !is_guard() {
        let mut record = begun(RecordKind::Unknown, Format::Syslog, envelope);
        record.message = clean_message(line);
        return record;
    }
    let line = said;
    let mut record = if pam::is_pam(line, envelope) {
        pam::read(line, envelope, Format::Syslog)
    } else {
        let mut record = begun(RecordKind::Log, Format::Syslog, envelope);
        record.message = clean_message(line);
        record
    };
    record.repeats.count = count;
    match (service, name) {
        (Some(said), _) => said.tell(&mut record, envelope),
        (None, "kernel") => netfilter(line, &mut record),
        (None, "filterlog") => filterlog(line, &mut record),
        _ => {}
    }
    record
}

/// `fail2ban.actions` and `systemd-logind` are of the guards `fail2ban` and `systemd`, `pfoo` is not of `pf`.
fn is_of(name: &str, guard: &str) -> bool {
    name.strip_prefix(guard)
        .is_some_and(|rest| rest.bytes().next().is_none_or(|byte| !byte.is_ascii_alphanumeric()))
}

/// Syslog's own way to write a line that came several times: the number, and the line. It stands at the beginning, where no
/// sender's text can stand.
pub(super) fn repeated(line: &str) -> (u64, &str) {
    /// More than this many of one line is a number that nobody counted.
    const MAX_REPEATED: u64 = 1_000_000;
    let counted = || {
        let rest = line.trim_start().strip_prefix("message repeated ")?;
        let (count, rest) = rest.split_once(" times: [")?;
        let inner = rest.trim_end().strip_suffix(']')?.trim();
        Some((count.parse::<u64>().ok()?.clamp(1, MAX_REPEATED), inner))
    };
    counted().unwrap_or((1, line))
}

/// `[UFW BLOCK] IN=eth0 OUT= MAC=… SRC=203.0.113.9 DST=10.0.2.11 … PROTO=TCP SPT=51234 DPT=22`, perhaps behind the
/// time since the start (`[12345.678] `).
fn netfilter(line: &str, record: &mut Record) {
    if !line.contains("IN=") || !line.contains("OUT=") {
        return;
    }
    let (Some(source), Some(destination)) = (find(line, "SRC"), find(line, "DST")) else { return };
    record.protocol = clean_protocol(find(line, "PROTO").unwrap_or_default());
    let port = |key| find(line, key).and_then(port).filter(|_| has_ports(&record.protocol));
    (record.source, record.destination) = (end(source, port("SPT")), end(destination, port("DPT")));
    // The rule's own words stand before the first field, the last of them says what it did.
    let words = line.split("IN=").next().unwrap_or_default();
    packet(words.rsplit("] [").next().unwrap_or_default().trim_matches(['[', ']', ' ']), line, record);
    record.verdict = words.split([' ', ':', '[', ']', '-']).rev().find_map(verdict);
}

/// `rule,sub,anchor,tracker,interface,reason,action,direction,version,…`, as pfSense and OPNsense write it.
fn filterlog(line: &str, record: &mut Record) {
    let fields: Vec<&str> = line.split(',').take(32).collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    // Behind the version come eleven fields of IPv4's header, or eight of IPv6's, in front of the addresses.
    let (protocol, source) = match field(8) {
        "4" => (field(16), 18),
        "6" => (field(12), 15),
        _ => return,
    };
    record.verdict = verdict(field(6));
    record.protocol = clean_protocol(protocol);
    let port = |at: usize| port(field(at)).filter(|_| has_ports(&record.protocol));
    record.source = end(field(source), port(source + 2));
    record.destination = end(field(source + 1), port(source + 3));
    packet(field(6), line, record);
}

/// Says what happened to a packet without what changes from one to the next, so that like ones fold.
fn packet(rule: &str, line: &str, record: &mut Record) {
    let (Some(source), Some(destination)) = (&record.source, &record.destination) else { return };
    let text = format!("{rule} {} {} -> {destination}", record.protocol, source.address);
    record.message = clean_message(&text);
    record.raw = clean(line, MAX_RAW);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "gw", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope));
        read(line, &envelope)
    }

    #[test]
    fn known_programs_write_logs() {
        for name in ["kernel", "systemd-logind", "useradd", "fail2ban.actions", "CRON"] {
            assert_eq!(parse(name, "x").kind, RecordKind::Log, "{name}");
        }
        for name in ["shop", "pfoo", "kernelx"] {
            let record = parse(name, "Failed password for root from 203.0.113.9");
            assert_eq!(
                (record.kind, record.format, record.source),
                (RecordKind::Unknown, Format::Syslog, None)
            );
        }
        assert!(!(FORMAT.recognises)("a bare line", &Envelope::default()));
    }

    #[test]
    fn packet_filters_name_both_ends() {
        let line = "[12345.678901] [UFW BLOCK] IN=eth0 OUT= MAC=00:0c:29 SRC=203.0.113.9 DST=10.0.2.11 LEN=60 TTL=52 \
                    PROTO=TCP SPT=51234 DPT=22 WINDOW=64240 SYN URGP=0";
        let record = parse("kernel", line);
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(record.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!((record.verdict, record.protocol.as_str()), (Some(SensorVerdict::Blocked), "TCP"));
        assert_eq!(record.message, "UFW BLOCK TCP 203.0.113.9 -> 10.0.2.11:22");
        let line = "5,,,1000000103,em0,match,block,in,4,0x0,,64,123,0,DF,6,tcp,60,203.0.113.9,10.0.2.11,51234,22,0,S,1,,,,";
        let record = parse("filterlog", line);
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(
            (record.verdict, record.destination.unwrap().port),
            (Some(SensorVerdict::Blocked), Some(22))
        );
        assert_eq!(parse("filterlog", "5,,").source, None);
        assert_eq!(parse("kernel", "audit SRC=10.0.0.1 DST=10.0.0.2").source, None);
    }

    #[test]
    fn counts_are_syslogs_own_and_bounded() {
        assert_eq!(repeated("message repeated 3 times: [ a [b]]"), (3, "a [b]"));
        assert_eq!(repeated("message repeated 99999999999 times: [ a]"), (1_000_000, "a"));
        for line in
            ["x message repeated 3 times: [ a]", "message repeated x times: [ a]", "message repeated 3 times"]
        {
            assert_eq!(repeated(line), (1, line));
        }
    }
}
