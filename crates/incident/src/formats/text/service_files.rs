//! Files that services write by themselves, with a time and no syslog header:
//!
//! - MySQL and MariaDB: `2026-06-03T12:59:31.342001Z 12 [Note] [MY-010926] [Server] Access denied for user …`
//! - PostgreSQL: `2026-06-03 12:59:31.342 UTC [99] bob@shop FATAL:  password authentication failed for user "bob"`
//! - vsftpd: `Wed Jun  3 12:59:31 2026 [pid 2] [bob] FAIL LOGIN: Client "203.0.113.9"`
//! - fail2ban: `2026-06-03 12:59:31,342 fail2ban.actions        [99]: NOTICE  [sshd] Ban 203.0.113.9`
//! - OpenVPN: `2026-06-03 12:59:31 203.0.113.9:1194 TLS Auth Error: …`
//! - BIND: `03-Jun-2026 12:59:31.342 client @0x7f3a 203.0.113.9#3076 (www.example): query (cache) 'x/A/IN' denied`
//! - Keycloak: `2026-06-03 12:59:31,342 WARN  [org.keycloak.events] (default task-2) type=LOGIN_ERROR, …, ipAddress=203.0.113.9, …`
//! - FreeRADIUS: `Wed Jun  3 12:59:31 2026 : Auth: (12) Login incorrect: [bob] (from client vpn1 port 7 cli 203.0.113.9)`
//! - Asterisk: `[2026-06-03 12:59:31] NOTICE[1638] chan_sip.c: Registration from '…' failed for '203.0.113.9' - Wrong password`

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean_message};
use super::{asterisk, begun, blanks, services};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::Service, recognises, read };

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    envelope.program.is_empty() && parts(line).is_some()
}

/// A line without its time.
struct Parts<'a> {
    time: Timestamp,
    program: &'static str,
    message: &'a str,
}

fn parts(line: &str) -> Option<Parts<'_>> {
    if let Some((time, message)) = vsftpd(line) {
        return Some(Parts { time, program: "vsftpd", message });
    }
    if let Some((time, message)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        let time = Timestamp::parse(time).filter(|_| asterisk::message(message).is_some())?;
        return Some(Parts { time, program: "asterisk", message });
    }
    if let Some((time, message)) = radius(line) {
        return Some(Parts { time, program: "radiusd", message });
    }
    if let Some((time, message)) = bind(line) {
        return Some(Parts { time, program: "named", message });
    }
    let (time, rest) = Timestamp::parse_prefix(line)?;
    let message = rest.trim_start();
    if let Some(message) = keycloak(message) {
        return Some(Parts { time, program: "keycloak", message });
    }
    let program = match () {
        () if message.starts_with("fail2ban.") => "fail2ban",
        () if is_mysql(message) => "mysqld",
        () if is_postgres(message) => "postgres",
        () if is_openvpn(message) => "openvpn",
        () => return None,
    };
    Some(Parts { time, program, message })
}

/// `03-Jun-2026 12:59:31.342 client @0x7f3a 203.0.113.9#3076 (…): …`, with category and level before the client where they are told.
fn bind(line: &str) -> Option<(Timestamp, &str)> {
    let (date, rest) = line.split_once(' ')?;
    let (clock, message) = rest.split_once(' ')?;
    let mut parts = date.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let is_date = month.len() == 3 && year.len() == 4 && parts.next().is_none();
    let time = Timestamp::parse(&format!("{month} {day} {year} {clock}")).filter(|_| is_date)?;
    services::said("named", message).map(|_| (time, message))
}

/// `DEBUG [org.keycloak.events] (default task-2) type=LOGIN, …`: what stands behind the thread.
fn keycloak(message: &str) -> Option<&str> {
    let (level, rest) = message.split_once(' ')?;
    let rest = rest.trim_start().strip_prefix("[org.keycloak.events] (")?;
    let is_level = level.bytes().all(|byte| byte.is_ascii_uppercase());
    rest.split_once(") ").map(|(_, said)| said).filter(|_| is_level)
}

/// The time in front, with the day of the week before it and the year behind.
fn vsftpd(line: &str) -> Option<(Timestamp, &str)> {
    let mut words = line.split_whitespace();
    let (day_of_week, month, day) = (words.next()?, words.next()?, words.next()?);
    let (clock, year) = (words.next()?, words.next()?);
    let at = line.find(" [pid ").filter(|at| *at <= 40)?;
    let is_time = day_of_week.len() == 3 && line.get(..at)?.trim_end().ends_with(year);
    let time = Timestamp::parse(&format!("{month} {day} {year} {clock}")).filter(|_| is_time)?;
    Some((time, line.get(at + 1..)?))
}

/// `Wed Jun  3 12:59:31 2026 : Auth: …`, with one of the server's own words behind the time.
fn radius(line: &str) -> Option<(Timestamp, &str)> {
    const WORDS: [&str; 6] = ["Auth: ", "Info: ", "Error: ", "Warning: ", "Proxy: ", "Debug: "];
    let (front, message) = line.split_once(" : ").filter(|(front, _)| front.len() <= 26)?;
    let mut words = front.split_whitespace();
    let (_, month, day) = (words.next()?, words.next()?, words.next()?);
    let (clock, year) = (words.next()?, words.next()?);
    let is_meant = WORDS.iter().any(|word| message.starts_with(word));
    let time = Timestamp::parse(&format!("{month} {day} {year} {clock}")).filter(|_| is_meant)?;
    Some((time, message))
}

/// `12 [Note] …`
fn is_mysql(message: &str) -> bool {
    const LEVELS: [&str; 5] = ["[Note] ", "[Warning] ", "[ERROR] ", "[Error] ", "[System] "];
    message.split_once(' ').is_some_and(|(thread, rest)| {
        is_number(thread) && LEVELS.iter().any(|level| rest.trim_start().starts_with(level))
    })
}

/// `[99] …` or `UTC [99] …`, and a word for how grave it is.
fn is_postgres(message: &str) -> bool {
    let is_zone =
        |word: &str| (1..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let rest = message.split_once(' ').filter(|(word, _)| is_zone(word)).map_or(message, |(_, rest)| rest);
    let process = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    process.is_some_and(|(number, _)| is_number(number.split('-').next().unwrap_or_default()))
        && services::is_postgres(rest)
}

/// A client, and what OpenVPN begins with.
fn is_openvpn(message: &str) -> bool {
    const BEGINNINGS: [&str; 10] =
        ["TLS", "VERIFY", "peer info", "Control Channel", "[", "SIGUSR1", "SENT", "PUSH", "MULTI", "AUTH"];
    let begins = |said: &str| BEGINNINGS.iter().any(|beginning| said.starts_with(beginning));
    message.split_once(' ').is_some_and(|(_, said)| begins(said))
        && services::said("openvpn", message)
            .is_some_and(|said| said.source.is_some_and(|end| end.port.is_some()))
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let line = &*blanks(line);
    let Parts { time, program, message } = parts(line)?;
    let said = services::said(program, message);
    // What else such a file holds may be anybody's words: statements, paths, certificates.
    let kind = if said.is_some() { RecordKind::Log } else { RecordKind::Unknown };
    let mut record = begun(kind, Format::Service, &Envelope { program, time: Some(time), ..*envelope });
    record.message = clean_message(message);
    if let Some(said) = said {
        said.tell(&mut record, envelope);
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [(&str, &str, &str); 9] = [
        (
            "2026-06-03T12:59:31.342001Z 12 [Note] [MY-010926] [Server] Access denied for user 'bob'@'203.0.113.9' (using password: YES)",
            "mysqld",
            "203.0.113.9",
        ),
        (
            "2026-06-03 12:59:31 12 [Warning] Access denied for user 'bob'@'203.0.113.9' (using password: NO)",
            "mysqld",
            "203.0.113.9",
        ),
        (
            "2026-06-03 12:59:31.342 UTC [99] LOG:  connection received: host=203.0.113.9 port=51234",
            "postgres",
            "203.0.113.9",
        ),
        (
            "Wed Jun  3 12:59:31 2026 [pid 2] [bob] FAIL LOGIN: Client \"203.0.113.9\"",
            "vsftpd",
            "203.0.113.9",
        ),
        (
            "2026-06-03 12:59:31,342 fail2ban.actions        [99]: NOTICE  [sshd] Ban 203.0.113.9",
            "fail2ban",
            "203.0.113.9",
        ),
        (
            "2026-06-03 12:59:31 203.0.113.9:1194 TLS Auth Error: Auth Username/Password verification failed for peer",
            "openvpn",
            "203.0.113.9:1194",
        ),
        (
            "03-Jun-2026 12:59:31.342 client @0x7f3a 203.0.113.9#3076 (www.example): query (cache) 'x/A/IN' denied",
            "named",
            "203.0.113.9:3076",
        ),
        (
            "2026-06-03 12:59:31,342 WARN  [org.keycloak.events] (default task-2) type=LOGIN_ERROR, realmId=x, ipAddress=203.0.113.9, error=x, username=bob",
            "keycloak",
            "203.0.113.9",
        ),
        (
            "[2026-06-03 12:59:31] NOTICE[1638] chan_sip.c: Registration from '<sip:100@a>' failed for '203.0.113.9' - Wrong password",
            "asterisk",
            "203.0.113.9",
        ),
    ];

    #[test]
    fn files_of_services_are_read() {
        let envelope = Envelope::default();
        for (line, program, source) in LINES {
            assert!(recognises(line, &envelope), "{line}");
            let record = read(line, &envelope).unwrap();
            assert_eq!((record.kind, record.sensor.as_str()), (RecordKind::Log, program), "{line}");
            assert_eq!(record.source.unwrap().to_string(), source, "{line}");
            assert_eq!(record.time.unwrap().date(), "2026-06-03", "{line}");
        }
        let line = "2026-06-03 12:59:31.342 UTC [99] bob@shop FATAL:  password authentication failed for user \"bob\"";
        assert_eq!(read(line, &envelope).unwrap().account, "bob");
        let line = "2026-06-03 12:59:31 UTC [99] LOG:  statement: SELECT 1";
        assert_eq!(read(line, &envelope).unwrap().kind, RecordKind::Unknown);
    }

    #[test]
    fn other_lines_with_a_time_are_none() {
        for line in [
            "2026-06-03 12:59:31 something",
            "2026-06-03 12:59:31 [99] said: user \"x\"",
            "2026-06-03 12:59:31 203.0.113.9:1194 said something",
            "2026-06-03 12:59:31 12 [note] x",
            "Wed Jun  3 12:59:31 2026 x",
            "Access denied for user 'bob'@'203.0.113.9' (using password: YES)",
        ] {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
        assert!(!recognises(LINES[0].0, &Envelope { program: "shop", ..Envelope::default() }));
    }
}
