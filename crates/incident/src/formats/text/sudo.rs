//! What sudo and su write: who became whom, and what they ran.
//!
//! `backup : TTY=pts/0 ; PWD=/home/backup ; USER=root ; COMMAND=/usr/sbin/useradd -o sysadm`

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean, clean_message};
use super::syslog::repeated;
use super::{MAX_COMMAND, MAX_NAME, begun, blanks, pam, program};
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Sudo,
    recognises: |_, envelope| matches!(program(envelope), "sudo" | "su"),
    read: |line, envelope| Some(read(line, envelope)),
};

fn read(line: &str, envelope: &Envelope<'_>) -> Record {
    let line = &*blanks(line);
    let (count, line) = repeated(line);
    let line = line.trim();
    let mut record = begun(RecordKind::Log, Format::Sudo, envelope);
    record.message = clean_message(line);
    record.repeats.count = count;
    if pam::is_pam(line, envelope) {
        let read = pam::read(line, envelope, Format::Sudo);
        (record.account, record.source, record.destination) = (read.account, read.source, read.destination);
    } else if program(envelope) == "su" {
        record.account = clean(who_became(line), MAX_NAME);
    } else if let Some((account, rest)) = line.split_once(" : ") {
        record.account = clean(account, MAX_NAME);
        // The command is the last field, and may hold what looks like others.
        let command = rest.split_once("COMMAND=").map_or("", |(_, command)| command);
        record.process = clean(command, MAX_COMMAND);
    }
    record
}

/// The account that ran su: `(to root) bob on pts/0`, `Successful su for root by bob`, `+ /dev/pts/0 bob:root`.
fn who_became(line: &str) -> &str {
    let line = line
        .strip_prefix("FAILED SU")
        .or_else(|| line.strip_prefix("FAILED su"))
        .unwrap_or(line)
        .trim_start();
    if let Some((_, rest)) = line.strip_prefix("(to ").and_then(|rest| rest.split_once(") ")) {
        return rest.split_once(" on ").map_or(rest, |(name, _)| name);
    }
    if let Some((_, name)) = line.split_once(" by ") {
        return name.split_whitespace().next().unwrap_or_default();
    }
    let ends = line.strip_prefix(['+', '-']).and_then(|rest| rest.split_whitespace().nth(1));
    ends.and_then(|ends| ends.split_once(':')).map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(program: &str, line: &str) -> Record {
        read(line, &Envelope { host: "bastion01", program, ..Envelope::default() })
    }

    #[test]
    fn commands_and_accounts_are_read() {
        let line =
            "  backup : TTY=pts/0 ; PWD=/home/backup ; USER=root ; COMMAND=/usr/sbin/useradd -o -u 0 sysadm";
        let record = parse("sudo", line);
        assert_eq!(
            (record.account.as_str(), record.process.as_str()),
            ("backup", "/usr/sbin/useradd -o -u 0 sysadm")
        );
        assert_eq!((record.kind, record.host.as_str()), (RecordKind::Log, "bastion01"));
        let record =
            parse("sudo", "bob : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh");
        assert_eq!((record.account.as_str(), record.process.as_str()), ("bob", "/bin/sh"));
        let record =
            parse("sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by bob(uid=1000)");
        assert_eq!(record.account, "root");
    }

    #[test]
    fn su_has_several_forms() {
        for line in [
            "(to root) bob on pts/0",
            "FAILED SU (to root) bob on pts/0",
            "Successful su for root by bob",
            "+ /dev/pts/0 bob:root",
        ] {
            assert_eq!(parse("su", line).account, "bob", "{line}");
        }
        assert_eq!(parse("su", "").account, "");
    }
}
