//! The Linux audit daemon's records, as it writes them to its file or passes them to syslog:
//!
//! `type=USER_LOGIN msg=audit(1780491571.342:1234): pid=12 uid=0 auid=1000 ses=3 msg='op=login acct="root" exe="/usr/sbin/sshd"
//! hostname=? addr=203.0.113.9 terminal=ssh res=failed'`
//!
//! Text that users choose stands in quotation marks, or in hexadecimal where it holds spaces or marks.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_ADDRESS, clean, clean_message};
use super::pairs::{Pair, pairs};
use super::{MAX_COMMAND, MAX_NAME, begun, end, own_end, program};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::Auditd, recognises, read };

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    match program(envelope) {
        "auditd" | "audispd" | "audisp-syslog" | "audit" => true,
        "" | "kernel" => parts(line).is_some(),
        _ => false,
    }
}

/// The node, the type, the time, and the fields behind them.
struct Parts<'a> {
    node: &'a str,
    kind: &'a str,
    time: Option<Timestamp>,
    fields: &'a str,
}

fn parts(line: &str) -> Option<Parts<'_>> {
    let line = line.trim();
    // Through the kernel's log the time since the start and the word `audit:` stand before.
    let line = match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((since, rest)) if since.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b' ')) => {
            rest.trim_start()
        }
        _ => line,
    };
    let line = line.strip_prefix("audit: ").unwrap_or(line);
    let (node, line) = match line.strip_prefix("node=").and_then(|rest| rest.split_once(' ')) {
        Some((node, rest)) => (node, rest),
        None => ("", line),
    };
    let (kind, rest) = line.strip_prefix("type=")?.split_once(' ')?;
    let rest = rest.strip_prefix("msg=").unwrap_or(rest).strip_prefix("audit(")?;
    let (stamp, fields) = rest.split_once(')')?;
    let (seconds, _) = stamp.split_once(':')?;
    let fields = fields.trim_start_matches(':').trim_start();
    Some(Parts { node, kind, time: Timestamp::parse_epoch(seconds), fields })
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    // An enriched record has a separator of its own before the names that belong to its numbers.
    let line = &line.replace('\u{1d}', " ");
    let mut record = begun(RecordKind::Log, Format::Auditd, envelope);
    record.sensor = "auditd".to_owned();
    let Some(Parts { node, kind, time, fields }) = parts(line) else {
        // journald writes the type as a word: `USER_LOGIN pid=12 …`.
        fill(&mut record, line, envelope);
        record.message = clean_message(&lasting(line));
        return Some(record);
    };
    record.time = time.or(record.time);
    if !node.is_empty() {
        record.host = clean(node, MAX_ADDRESS);
    }
    fill(
        &mut record,
        fields,
        &Envelope { host: if node.is_empty() { envelope.host } else { node }, ..*envelope },
    );
    let told = match kind {
        "SYSCALL" => call(fields),
        _ => lasting(fields),
    };
    record.message = clean_message(&format!("{kind} {told}"));
    Some(record)
}

/// The fields without those that number processes and sessions, so that like records fold.
fn lasting(fields: &str) -> String {
    let is_number = |word: &str| ["pid=", "ppid=", "ses="].iter().any(|key| word.starts_with(key));
    fields.split_whitespace().filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ")
}

/// What a system call's record says of who did what: without registers, groups, and further users of the same number.
fn call(fields: &str) -> String {
    const KEPT: [&str; 9] = ["syscall", "success", "SYSCALL", "uid", "euid", "comm", "exe", "key", "UID"];
    let all: Vec<Pair<'_>> = pairs(fields).collect();
    let uid = all.iter().find(|pair| pair.key == "uid").map(|pair| pair.value);
    let is_told = |pair: &&Pair<'_>| {
        KEPT.contains(&pair.key)
            && !matches!(pair.value, "" | "?" | "(none)" | "(null)")
            && !(pair.key == "euid" && Some(pair.value) == uid)
    };
    // Names may be hexadecimal; numbers look so as well.
    let value = |pair: &Pair<'_>| match pair.key {
        "comm" | "exe" | "key" => decoded(pair),
        _ => pair.value.to_owned(),
    };
    let told = all.iter().filter(is_told).map(|pair| format!("{}={}", pair.key, value(pair)));
    told.collect::<Vec<_>>().join(" ")
}

fn fill(record: &mut Record, fields: &str, envelope: &Envelope<'_>) {
    let all: Vec<Pair<'_>> = pairs(fields).collect();
    let told = |key: &str| {
        all.iter()
            .find(|pair| pair.key == key && !matches!(pair.value, "" | "?" | "(none)" | "(null)"))
            .map(decoded)
    };
    if let Some(address) = told("addr").or_else(|| told("laddr")) {
        record.source = end(&address, None);
        record.destination = record.source.as_ref().and_then(|_| own_end(envelope));
    }
    record.account = clean(&told("acct").or_else(|| told("AUID")).unwrap_or_default(), MAX_NAME);
    let process = ["cmd", "proctitle"].into_iter().find_map(told).or_else(|| arguments(&all));
    let process = process.or_else(|| ["exe", "comm"].into_iter().find_map(told));
    record.process = clean(&process.unwrap_or_default(), MAX_COMMAND);
    record.file = clean(&told("name").unwrap_or_default(), MAX_COMMAND);
    record.rule = clean(&told("key").unwrap_or_default(), MAX_NAME);
}

/// The command line of an `EXECVE` record, `argc=2 a0="curl" a1="-s"`.
fn arguments(all: &[Pair<'_>]) -> Option<String> {
    let is_argument = |key: &str| {
        key.strip_prefix('a')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    // A `SYSCALL` record has a0 to a3 as well, which are numbers; only `EXECVE` counts them.
    all.iter().find(|pair| pair.key == "argc")?;
    let words: Vec<String> = all.iter().filter(|pair| is_argument(pair.key)).take(16).map(decoded).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// A value as text: one that is not quoted and in hexadecimal stands for its bytes, with spaces in place of the NULs
/// between arguments.
fn decoded(pair: &Pair<'_>) -> String {
    let value = pair.value;
    let is_hex = !pair.is_quoted
        && value.len().is_multiple_of(2)
        && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let text = || {
        let most = value.len().min(2 * MAX_COMMAND);
        let byte = |at: usize| u8::from_str_radix(value.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..most).step_by(2).map(byte).collect();
        Some(String::from_utf8_lossy(&bytes?).replace('\0', " ").trim_end().to_owned())
    };
    is_hex.then(text).flatten().unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        let envelope = Envelope { host: "db01", ..Envelope::default() };
        assert!(recognises(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    #[test]
    fn a_login_is_read() {
        let record = parse(
            "type=USER_LOGIN msg=audit(1780491571.342:1234): pid=12 uid=0 auid=4294967295 ses=4 msg='op=login \
             acct=\"root\" exe=\"/usr/sbin/sshd\" hostname=? addr=203.0.113.9 terminal=ssh res=failed'",
        );
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        assert_eq!((record.account.as_str(), record.process.as_str()), ("root", "/usr/sbin/sshd"));
        assert_eq!(record.source.unwrap().address, "203.0.113.9");
        assert_eq!(record.destination.unwrap().address, "db01");
        assert!(record.message.starts_with("USER_LOGIN uid=0 auid=4294967295 msg='op=login"));
    }

    #[test]
    fn commands_files_and_keys_are_read() {
        let record = parse(
            "node=web01 type=EXECVE msg=audit(1780491571.342:1): argc=3 a0=\"curl\" a1=\"-s\" a2=612062",
        );
        assert_eq!((record.host.as_str(), record.process.as_str()), ("web01", "curl -s a b"));
        let record = parse(
            "type=SYSCALL msg=audit(1780491571.342:1): arch=c000003e syscall=257 success=yes a0=ffffff9c a1=7ffe \
             comm=\"cat\" exe=\"/usr/bin/cat\" key=\"shadow-read\"",
        );
        assert_eq!((record.rule.as_str(), record.process.as_str()), ("shadow-read", "/usr/bin/cat"));
        assert_eq!(
            record.message,
            "SYSCALL syscall=257 success=yes comm=cat exe=/usr/bin/cat key=shadow-read"
        );
        let record = parse(
            "type=SYSCALL msg=audit(1780491571.342:1): arch=c000003e syscall=59 success=yes exit=0 a0=1 items=2 ppid=1 \
             pid=2 auid=1000 uid=1000 gid=1000 euid=0 tty=pts2 ses=1 comm=2F746D702F61 exe=\"/tmp/a\" key=(null)\u{1d}UID=\"bob\"",
        );
        assert_eq!(
            record.message,
            "SYSCALL syscall=59 success=yes uid=1000 euid=0 comm=/tmp/a exe=/tmp/a UID=bob"
        );
        let record = parse("type=PATH msg=audit(1780491571.342:1): item=0 name=\"/etc/shadow\" inode=1");
        assert_eq!(record.file, "/etc/shadow");
        let record =
            parse("[12.5] audit: type=1400 audit(1780491571.342:9): apparmor=\"DENIED\" comm=\"mysqld\"");
        assert_eq!(record.process, "mysqld");
    }

    #[test]
    fn a_name_in_hexadecimal_stays_one_name() {
        let record = parse(
            "type=USER_LOGIN msg=audit(1780491571.342:1): pid=1 msg='op=login acct=782061636374 exe=\"/x\" addr=203.0.113.9'",
        );
        assert_eq!(record.account, "x acct");
        assert!(!recognises("a type=USER_LOGIN msg=audit(1.2:3): x=y", &Envelope::default()));
        assert!(!recognises("type=USER_LOGIN of shop", &Envelope { program: "shop", ..Envelope::default() }));
    }
}
