//! Lines of PAM's modules, which every program that lets people in writes under its own name:
//! `pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root`.

use super::super::format::Envelope;
use super::super::{Format, clean, clean_message};
use super::pairs::find;
use super::{MAX_NAME, begun, end, own_end};
use crate::record::{Record, RecordKind};

/// What older systems put between the program's name and the module's.
pub(super) const BY_MODULE: &str = "(pam_";

/// Whether a module of PAM wrote the line: `pam_unix(sshd:auth): …`, or, on older systems, `sshd(pam_unix)[12]: …`.
pub(super) fn is_pam(line: &str, envelope: &Envelope<'_>) -> bool {
    if envelope.program.ends_with(')') && envelope.program.contains(BY_MODULE) {
        return true;
    }
    let Some((module, rest)) = line.trim_start().split_once('(') else { return false };
    let is_module =
        module.starts_with("pam_") && module.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_module && rest.split_once("):").is_some_and(|(service, _)| !service.contains(char::is_whitespace))
}

/// The record of a line of PAM: the remote host came to the one that wrote it.
pub(super) fn read(line: &str, envelope: &Envelope<'_>, format: Format) -> Record {
    let mut record = begun(RecordKind::Log, format, envelope);
    record.message = clean_message(line);
    record.source = find(line, "rhost").and_then(|host| end(host, None));
    if record.source.is_some() {
        record.destination = own_end(envelope);
    }
    let account = find(line, "user").or_else(|| {
        let (_, rest) = line.split_once(" for user ")?;
        rest.split([' ', '(']).next()
    });
    record.account = clean(account.unwrap_or_default(), MAX_NAME);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_and_a_session_are_read() {
        let envelope = Envelope { host: "mail01", program: "dovecot", ..Envelope::default() };
        let line = "pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser=x \
                    rhost=::ffff:203.0.113.9  user=root";
        assert!(is_pam(line, &Envelope::default()));
        let record = read(line, &envelope, Format::Syslog);
        assert_eq!((record.account.as_str(), record.kind), ("root", RecordKind::Log));
        assert_eq!(record.destination.unwrap().address, "mail01");
        let line = "pam_unix(login:session): session opened for user bob(uid=1000) by (uid=0)";
        let record = read(line, &envelope, Format::Syslog);
        assert_eq!((record.account.as_str(), record.source), ("bob", None));
        for line in ["user pam_unix(x:y): z", "pam_unix(a b): c"] {
            assert!(!is_pam(line, &Envelope::default()), "{line}");
        }
        let older = Envelope { host: "old01", program: "sshd(pam_unix)", ..Envelope::default() };
        let line = "authentication failure; logname= uid=0 tty=ssh ruser= rhost=203.0.113.9  user=root";
        let record = read(line, &older, Format::Sshd);
        assert!(is_pam(line, &older));
        assert_eq!((record.sensor.as_str(), record.account.as_str()), ("sshd", "root"));
    }
}
