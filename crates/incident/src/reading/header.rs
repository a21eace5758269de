//! What loggers put before a message: syslog's headers (RFC 3164 and 5424, and with a time in ISO 8601), a container runtime's.

use std::net::IpAddr;

use crate::Timestamp;
use crate::formats::{MERAKI, is_clear_pass, is_net_scaler};

/// Longest name of a host or a program in a header.
const MAX_NAME: usize = 255;
/// What stands between the parts of a header.
const BLANKS: [char; 2] = [' ', '\t'];

/// A header and what stands behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) time: Option<Timestamp>,
    pub(super) host: &'a str,
    pub(super) program: &'a str,
    pub(super) message: &'a str,
    /// The structured data of RFC 5424, which the logger writes and no program; empty without.
    pub(super) data: &'a str,
}

/// The header of a line; nothing if it begins with none.
pub(super) fn header(line: &str) -> Option<Header<'_>> {
    let own = without_service(without_file(line));
    let (has_priority, rest) = priority(without_length(own));
    if let Some(found) = gateway(rest) {
        return Some(found);
    }
    if let Some(behind) = rest.strip_prefix("1 ") {
        let found = meraki(behind);
        if has_priority || found.is_some() {
            return found.or_else(|| rfc5424(behind));
        }
    }
    let found =
        container(rest).map(|(header, _)| header).or_else(|| rfc3164(rest)).or_else(|| before_object(rest));
    let found = found.or_else(|| device(rest)).or_else(|| firewall(rest)).or_else(|| without_host(rest));
    let found = found.or_else(|| bare(rest).filter(|_| has_priority));
    // A file's name alone is a header as well.
    found.or_else(|| (own.len() < line.len()).then_some(Header { message: own, ..Header::default() }))
}

/// What `grep` puts before the lines that it finds in several files: `/var/log/auth.log:`, with the number of the line at times.
fn without_file(line: &str) -> &str {
    if let Some((number, rest)) = line.split_once(':')
        && rest.starts_with('{')
        && (1..=9).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return rest;
    }
    let Some((_, rest)) = line.split_once(':').filter(|(name, _)| is_file(name)) else { return line };
    match rest.split_once(':') {
        Some((number, behind)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            // `12:59:31` is a time of day.
            if behind.as_bytes().get(2) == Some(&b':') { rest } else { behind }
        }
        _ => rest,
    }
}

/// What `docker compose logs` puts before what a service says, `web-1  | `; what it says as an object needs the service's name.
fn without_service(line: &str) -> &str {
    let Some((name, rest)) = line.split_once("| ").filter(|(_, rest)| !rest.starts_with('{')) else {
        return line;
    };
    let name = name.trim_end();
    let is_numbered = name
        .rsplit_once(['-', '_'])
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    // A name that its owner gave has no number; what the service says begins with a time then, or the bar may be anybody's.
    let is_service = is_numbered || Timestamp::parse_prefix(rest).is_some();
    if is_service && is_name(name) && name.len() <= 64 { rest } else { line }
}

/// Whether a word is the name of a file that holds a log.
fn is_file(name: &str) -> bool {
    const ENDS: [&str; 8] = [".log", ".json", ".jsonl", ".ndjson", ".csv", ".txt", ".ids", ".alert"];
    let bare =
        name.strip_suffix(".gz").unwrap_or(name).trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
        && (ENDS.iter().any(|end| bare.ends_with(end)) || name.starts_with("/var/log/"))
}

/// What counts the bytes of a message on a connection (RFC 6587), `123 <34>1 …`.
fn without_length(line: &str) -> &str {
    match line.split_once(' ') {
        Some((length, rest))
            if rest.starts_with('<')
                && (1..=6).contains(&length.len())
                && length.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            rest
        }
        _ => line,
    }
}

/// `<34>` at the beginning, or in words as NetScaler's own files have it, `<local0.info>`.
fn priority(line: &str) -> (bool, &str) {
    if let Some((name, rest)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>'))
        && let Some((facility, level)) = name.split_once('.')
        && (2..=9).contains(&facility.len())
        && facility.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && behind_level(&format!("{level} ")).is_some()
    {
        return (true, rest.trim_start_matches(BLANKS));
    }
    let found = line.strip_prefix('<').and_then(|rest| {
        let end = rest.bytes().take(4).position(|byte| byte == b'>')?;
        let (number, rest) = rest.split_at(end);
        (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| rest.get(1..))?
    });
    found.map_or((false, line), |rest| (true, rest))
}

/// `2026-06-03T12:59:31.342Z stdout F message`, as Kubernetes writes what a container says, and whether more of it comes (`P`).
pub(super) fn container(line: &str) -> Option<(Header<'_>, bool)> {
    let (time, rest) = Timestamp::parse_prefix(line)?;
    let rest = rest.strip_prefix(' ')?;
    let rest = rest.strip_prefix("stdout ").or_else(|| rest.strip_prefix("stderr "))?;
    let (mark, message) = rest.split_at_checked(2)?;
    let is_part = match mark {
        "F " => false,
        "P " => true,
        _ => return None,
    };
    Some((Header { time: Some(time), message, ..Header::default() }, is_part))
}

/// An object behind a time alone (`kubectl logs --timestamps`), behind a time and a tag between tabs (Fluentd), behind a tag that no
/// colon ends (rsyslog), or behind a container's name and a bar (`docker compose logs`).
fn before_object(line: &str) -> Option<Header<'_>> {
    let at = line.find('{').filter(|at| (1..=2 * MAX_NAME).contains(at))?;
    let (head, message) = line.split_at_checked(at)?;
    if let Some((name, "")) = head.split_once('|').map(|(name, rest)| (name.trim_end(), rest.trim())) {
        return is_name(name).then_some(Header { program: name, message, ..Header::default() });
    }
    let (time, rest) = Timestamp::parse_prefix(head)?;
    let words: Vec<&str> =
        rest.split_whitespace().map(|word| word.split('[').next().unwrap_or(word)).collect();
    let (host, program) = match words[..] {
        // Programs write a time and then what they were told as well, but seldom with its zone.
        [] if rest.starts_with(' ') && time.has_zone() => ("", ""),
        [tag] if rest.starts_with('\t') => ("", tag),
        [host, tag] if !tag.is_empty() => (host, tag),
        _ => return None,
    };
    let is_named = [host, program].iter().all(|name| name.is_empty() || is_name(name));
    is_named.then_some(Header { time: Some(time), host, program, message, ..Header::default() })
}

/// `TIME HOST PROGRAM PROCESS ID DATA MESSAGE`, each a dash if there is none.
fn rfc5424(rest: &str) -> Option<Header<'_>> {
    let (time, rest) = rest.split_once(' ')?;
    let time = if time == "-" { None } else { Some(Timestamp::parse(time)?) };
    let (host, rest) = rest.split_once(' ')?;
    let (program, rest) = rest.split_once(' ')?;
    let (_process, rest) = rest.split_once(' ')?;
    let from_id = rest;
    let (id, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let behind = behind_data(rest);
    // What is cut in its data has nothing behind it.
    let end = if behind.starts_with('[') { rest.len() } else { rest.len() - behind.len() };
    let data = rest.get(..end).unwrap_or_default().trim_start_matches('-');
    let mut message = behind.trim_start_matches(' ').trim_start_matches('\u{feff}');
    // Juniper's devices may repeat it in a sentence behind, without the name.
    if message.is_empty() && rest.starts_with('[') || rest.starts_with("[junos@") {
        // Firewalls say all that they say in it, and in the name of the message.
        message = if id == "-" { rest.trim_matches(['[', ']', ' ']) } else { from_id };
    }
    let named = |name| if is_name(name) && name != "-" { name } else { "" };
    Some(Header { time, host: named(host), program: named(program), message, data })
}

/// What stands behind `-` or `[id key="value"][…]`.
fn behind_data(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('-') {
        return rest;
    }
    let mut rest = text;
    while rest.starts_with('[') {
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.bytes().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b']' => return !quoted,
                _ => {}
            }
            false
        });
        match end.and_then(|end| rest.get(end + 1..)) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    rest
}

/// `TIME HOST PROGRAM[PROCESS]: MESSAGE`.
fn rfc3164(line: &str) -> Option<Header<'_>> {
    let (time, rest) = Timestamp::parse_prefix(line)?;
    // A time that a program wrote itself has something else behind it than a blank and a host.
    let (_, rest) = priority(rest.strip_prefix(BLANKS)?);
    let (host, rest) = rest.split_once(BLANKS)?;
    // Some relays put a colon behind the time or the host.
    let host = host.strip_suffix(':').unwrap_or(host);
    let rest = rest.trim_start_matches(BLANKS);
    // F5's hosts name the level before the program.
    let (program, message) = program(rest)
        .or_else(|| category(rest))
        .or_else(|| exported(rest))
        .or_else(|| program(behind_level(rest)?))?;
    // What a collector calls the device is less than the device's own mark.
    let is_device = program.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("cisco"));
    let (program, message) = ciscos(message).filter(|_| is_device).unwrap_or((program, message));
    if program.bytes().all(|byte| byte.is_ascii_digit())
        && let Some(own) = device(message)
    {
        // Cisco's routers count their messages where others name the program.
        return is_name(host).then_some(Header { time: Some(time), host, ..own });
    }
    // And they may name the zone of their clock where others name themselves, as ESXi's files do with a level.
    let is_unnamed = program.starts_with('%') && is_zone(host) || is_level(host);
    let host = if is_unnamed { "" } else { host };
    (host.is_empty() || is_name(host)).then_some(Header {
        time: Some(time),
        host,
        program,
        message,
        ..Header::default()
    })
}

/// `CISE_Failed_Attempts 0000000001 1 0 …`, what Cisco's Identity Services Engine has in place of a program and its colon.
fn category(text: &str) -> Option<(&str, &str)> {
    let (name, message) = text.split_once(' ').filter(|(name, _)| name.starts_with("CISE_"))?;
    let is_counted = message.get(..10).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    (is_counted && is_name(name)).then_some((name, message))
}

/// `CPPM_Session_Detail 123 1 0 Common.Username=…`, what ClearPass has there: the name that somebody gave the export, which may be of
/// several words, so that no program is named. All of it stays in the message.
fn exported(text: &str) -> Option<(&str, &str)> {
    is_clear_pass(text).then_some(("", text))
}

/// What stands behind a level, `notice mcpd[5000]: …`.
fn behind_level(text: &str) -> Option<&str> {
    const LEVELS: [&str; 10] =
        ["emerg", "alert", "crit", "err", "error", "warning", "warn", "notice", "info", "debug"];
    text.split_once(' ').filter(|(level, _)| LEVELS.contains(level)).map(|(_, rest)| rest)
}

/// `TIME <local0.info> HOST 06/03/2026:12:59:31 GMT ns 0-PPE-0 : …`: what NetScaler writes, which has its own time and name before what it
/// says, and syslog's in front of these or not. Its own stay in the message.
fn gateway(line: &str) -> Option<Header<'_>> {
    let (_, rest) = priority(line.trim_start_matches(BLANKS));
    if is_net_scaler(rest.trim_start_matches(BLANKS)) {
        return Some(Header { message: rest.trim_start_matches(BLANKS), ..Header::default() });
    }
    let (time, rest) = Timestamp::parse_prefix(rest)?;
    let (_, rest) = priority(rest.strip_prefix(BLANKS)?.trim_start_matches(BLANKS));
    let (host, message) = rest.trim_start_matches(BLANKS).split_once(BLANKS)?;
    let message = message.trim_start_matches(BLANKS);
    let is_meant = is_name(host) && is_net_scaler(message);
    is_meant.then_some(Header { time: Some(time), host, message, ..Header::default() })
}

/// `TIME: %ASA-6-302013: MESSAGE`: what Cisco's devices write by themselves. At times with the device's name and a blank before the
/// first colon (`logging device-id`), with the zone of its clock, with a number in front of all (`service sequence-numbers`), and with a
/// mark for a clock that nobody set (`*`, `.`).
fn device(line: &str) -> Option<Header<'_>> {
    let numbered = without_number(line).or_else(|| without_uptime(line));
    let rest = numbered.unwrap_or(line).trim_start_matches([' ', ':', '*', '.']);
    let (time, rest) = match Timestamp::parse_prefix(rest) {
        Some((time, rest)) => (Some(time), rest.trim_start_matches(BLANKS)),
        None => (None, rest),
    };
    // Who writes nothing before the mark is one of these only with a number or a time, or as a firewall, which numbers its messages.
    let is_sure = |name: &str| time.is_some() || numbered.is_some() || is_firewalls(name);
    if let Some((program, message)) = ciscos(rest).filter(|(name, _)| is_sure(name)) {
        return Some(Header { time, program, message, ..Header::default() });
    }
    time?;
    let (host, rest) = behind_word(rest)?;
    if let Some((program, message)) = ciscos(rest) {
        let host = if is_zone(host) { "" } else { host };
        return (host.is_empty() || is_name(host)).then_some(Header {
            time,
            host,
            program,
            message,
            ..Header::default()
        });
    }
    // `fw01 : 2026 Jun 3 12:59:31 UTC: %AUTHPRIV-3-X: …`, what a collector puts before what a switch writes by itself.
    let (_, rest) = Timestamp::parse_prefix(rest).filter(|_| is_name(host))?;
    let rest = rest.trim_start_matches(BLANKS);
    let zoned = || behind_word(rest).filter(|(zone, _)| is_zone(zone)).and_then(|(_, rest)| ciscos(rest));
    let (program, message) = ciscos(rest).or_else(zoned)?;
    Some(Header { time, host, program, message, ..Header::default() })
}

/// What stands behind a number of at most ten digits and a colon.
fn without_number(line: &str) -> Option<&str> {
    let end = line.bytes().take(11).position(|byte| byte == b':')?;
    let (number, rest) = line.split_at(end);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    rest.strip_prefix(": ").filter(|_| is_number)
}

/// What stands behind the time since a router's start (`00:00:46`, `3w5d`), where it has no clock.
fn without_uptime(line: &str) -> Option<&str> {
    let (since, rest) = line.split_once(": ")?;
    let is_since = (4..=9).contains(&since.len())
        && since.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && since.bytes().all(|byte| byte.is_ascii_digit() || b":ywdh".contains(&byte));
    (is_since && rest.starts_with('%')).then_some(rest)
}

/// A word, and what stands behind the colon or the blanks that end it.
fn behind_word(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once([':', ' '])?;
    Some((word, rest.trim_start_matches([' ', ':', '\t'])))
}

/// Cisco's mark in place of a program's name, and the message.
fn ciscos(text: &str) -> Option<(&str, &str)> {
    program(text).filter(|(name, _)| is_ciscos(name))
}

/// `%ASA-6-302013`.
fn is_ciscos(name: &str) -> bool {
    name.starts_with('%') && name.contains('-')
}

/// `%ASA-6-302013`, with six digits for the kind of message.
fn is_firewalls(name: &str) -> bool {
    let number = ["%ASA-", "%FTD-", "%PIX-", "%FWSM-"].iter().find_map(|mark| name.strip_prefix(mark));
    number.and_then(|rest| rest.split_once('-')).is_some_and(|(level, id)| {
        level.len() == 1
            && id.len() == 6
            && [level, id].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// `UTC`, `CEST`: what stands behind the time of a clock that tells its zone.
fn is_zone(word: &str) -> bool {
    (3..=4).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_uppercase())
        && (word.ends_with('T') || word == "UTC")
}

/// `TIME HOST 1,2026/06/03 12:59:31,…` and `TIME 1,2026/06/03 12:59:31,…`: what PAN-OS writes, which names no program and at times no
/// host; `TIME HOST 1 1780491571.342 ap01 flows …`: what a relay makes of Meraki's.
fn firewall(line: &str) -> Option<Header<'_>> {
    let (time, rest) = Timestamp::parse_prefix(line)?;
    let rest = rest.strip_prefix(BLANKS)?;
    if is_row(rest) {
        return Some(Header { time: Some(time), message: rest, ..Header::default() });
    }
    let (host, message) = rest.split_once(BLANKS).filter(|(host, _)| is_name(host))?;
    let own = || message.strip_prefix("1 ").and_then(meraki);
    let row = is_row(message).then_some(Header { time: Some(time), host, message, ..Header::default() });
    row.or_else(own)
}

/// Whether a text begins as PAN-OS' rows do: a short field, and a time with slashes.
fn is_row(text: &str) -> bool {
    let mut fields = text.splitn(3, ',');
    let (Some(first), Some(second)) = (fields.next(), fields.next()) else { return false };
    first.len() <= 8
        && first.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && second.as_bytes().get(4) == Some(&b'/')
        && Timestamp::parse_slashed(second).is_some()
}

/// `In(166)`: a level and syslog's priority.
fn is_level(word: &str) -> bool {
    let number = word.get(2..).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
    number.is_some_and(|number| {
        (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `1780491571.342001 ap01 flows …`, what Meraki's devices write behind a version that looks like syslog's: who, and what kind.
fn meraki(text: &str) -> Option<Header<'_>> {
    let (time, rest) = text.split_once(' ').filter(|(time, _)| time.contains('.'))?;
    let (host, rest) = rest.split_once(' ')?;
    let (kind, message) = rest.split_once(' ')?;
    let is_meant = is_name(host) && MERAKI.contains(&kind);
    let time = Timestamp::parse_epoch(time).filter(|_| is_meant)?;
    Some(Header { time: Some(time), host, program: kind, message, ..Header::default() })
}

/// `TIME PROGRAM[PROCESS]: MESSAGE`, as BSD's syslog writes what its own host says.
fn without_host(line: &str) -> Option<Header<'_>> {
    let (time, rest) = Timestamp::parse_prefix(line)?;
    let rest = rest.strip_prefix(BLANKS)?.trim_start_matches(BLANKS);
    let (name, message) = program(rest)?;
    let process = rest.get(name.len()..)?.strip_prefix('[')?.split(']').next()?;
    let is_process = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    is_process.then_some(Header { time: Some(time), program: name, message, ..Header::default() })
}

/// A header after a priority that says neither when nor, at times, who: `<34>program[1]: message`.
fn bare(line: &str) -> Option<Header<'_>> {
    let (time, rest) = match Timestamp::parse_prefix(line) {
        Some((time, rest)) => (Some(time), rest.trim_start_matches(' ')),
        None => (None, line),
    };
    let (program, message) = program(rest).unwrap_or(("", rest));
    Some(Header { time, program, message, ..Header::default() })
}

/// `PROGRAM[PROCESS]: `, `PROGRAM: ` or Cisco's `%ASA-6-302013: `, and what stands behind it.
fn program(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().take(MAX_NAME).position(|byte| matches!(byte, b'[' | b':' | b' ' | b'\t'))?;
    let (name, rest) = text.split_at(end);
    let rest = match rest.strip_prefix('[') {
        Some(inner) => {
            let end = inner.bytes().take(64).position(|byte| byte == b']')?;
            inner.get(end + 1..)?
        }
        None => rest,
    };
    // `sudo` puts blanks before its colon in some versions.
    let message = rest.trim_start_matches(BLANKS).strip_prefix(':')?;
    // `203.0.113.9:51234` is an end of a connection.
    let is_end = message.starts_with(|c: char| c.is_ascii_digit()) && name.parse::<IpAddr>().is_ok();
    (is_name(name) && !is_end).then_some((name, message.strip_prefix(BLANKS).unwrap_or(message)))
}

/// Whether a word is what hosts and programs are called: an attacker who writes a whole line chooses it freely, but a message is
/// seldom taken for one.
fn is_name(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= MAX_NAME
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/' | '%' | '@' | '(' | ')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_exports_keep_their_own_heads() {
        let said = "06/03/2026:12:59:31 GMT ns 0-PPE-0 : default AAA LOGIN_FAILED 7 0 : User bob";
        for (before, host) in [
            ("", ""),
            ("<134> ", ""),
            ("<local0.info> ", ""),
            ("Jun  3 12:59:31 ns01 ", "ns01"),
            ("Jun  3 12:59:31 <local0.info> 10.0.0.4 ", "10.0.0.4"),
            ("<134>Jun  3 12:59:31 ns01 ", "ns01"),
        ] {
            let line = format!("{before}{said}");
            let found = parts(&line).unwrap();
            assert_eq!((found.1, found.2, found.3), (host, "", said), "{line}");
        }
        let found = parts("Jun  3 12:59:31 f5a notice mcpd[5000]: 01070417:5: AUDIT - x").unwrap();
        assert_eq!((found.1, found.2, found.3), ("f5a", "mcpd", "01070417:5: AUDIT - x"));
        let found = parts("<143>Jun  3 12:59:31 cp01 Session Logs 5 1 0 Common.Username=bob").unwrap();
        assert_eq!((found.1, found.2, found.3), ("cp01", "", "Session Logs 5 1 0 Common.Username=bob"));
        let found = parts("Jun  3 12:59:31 <auth.info> ns sshd[5]: said").unwrap();
        assert_eq!((found.1, found.2, found.3), ("ns", "sshd", "said"));
    }

    fn parts(line: &str) -> Option<(String, &str, &str, &str)> {
        header(line).map(|header| {
            (
                header.time.map(|time| time.to_string()).unwrap_or_default(),
                header.host,
                header.program,
                header.message,
            )
        })
    }

    #[test]
    fn headers_of_every_kind_are_taken_off() {
        for (line, time, host, program, message) in [
            (
                "Jun  3 12:59:31 web01 sshd[120]: Failed x",
                "06-03T12:59:31.000000",
                "web01",
                "sshd",
                "Failed x",
            ),
            (
                "<34>Jun 13 2:59:31 web01 sudo:   bob : y",
                "06-13T02:59:31.000000",
                "web01",
                "sudo",
                "  bob : y",
            ),
            (
                "2026-06-03T12:59:31+02:00 10.0.0.1 postfix/smtpd[1]: z",
                "2026-06-03T10:59:31.000000",
                "10.0.0.1",
                "postfix/smtpd",
                "z",
            ),
            (
                "<165>1 2026-06-03T12:59:31Z fw suricata 9 - [a k=\"]\\\"\"][b] {\"x\":1}",
                "2026-06-03T12:59:31.000000",
                "fw",
                "suricata",
                "{\"x\":1}",
            ),
            ("<165>1 - - - - - -", "", "", "", ""),
            (
                "<14>1 - fw RT_FLOW - X [junos@2636 action=\"a\"]",
                "",
                "fw",
                "RT_FLOW",
                "X [junos@2636 action=\"a\"]",
            ),
            ("<134>1 - fw CheckPoint 9 - [action:\"a\"]", "", "fw", "CheckPoint", "action:\"a\""),
            (
                "Jun  3 12:59:31 10.0.0.2 585917: Jun  3 12:59:30.272: %SEC-6-IPACCESSLOGP: list",
                "06-03T12:59:31.000000",
                "10.0.0.2",
                "%SEC-6-IPACCESSLOGP",
                "list",
            ),
            (
                "*Jun  3 12:59:31.272 CEST: %SYS-5-CONFIG_I: by x",
                "06-03T12:59:31.272000",
                "",
                "%SYS-5-CONFIG_I",
                "by x",
            ),
            ("<189>29: %SYS-5-RESTART: x", "", "", "%SYS-5-RESTART", "x"),
            (
                "Jun  3 12:59:31 nx01 : 2026 Jun  3 12:59:30 UTC: %AUTHPRIV-3-SYSTEM_MSG: x",
                "06-03T12:59:31.000000",
                "nx01",
                "%AUTHPRIV-3-SYSTEM_MSG",
                "x",
            ),
            (
                "<14>Jun  3 12:59:31 fw01 1,2026/06/03 12:59:31,0011,TRAFFIC",
                "06-03T12:59:31.000000",
                "fw01",
                "",
                "1,2026/06/03 12:59:31,0011,TRAFFIC",
            ),
            (
                "<14>Jun  3 12:59:31 1,2026/06/03 12:59:31,0011,TRAFFIC",
                "06-03T12:59:31.000000",
                "",
                "",
                "1,2026/06/03 12:59:31,0011,TRAFFIC",
            ),
            (
                "<134>1 1780491571.5 ap01 flows deny x",
                "2026-06-03T12:59:31.500000",
                "ap01",
                "flows",
                "deny x",
            ),
            ("1 1780491571.5 ap01 events type=x", "2026-06-03T12:59:31.500000", "ap01", "events", "type=x"),
            (
                "Jun  3 12:59:32 10.0.0.2 1 1780491571.5 ap01 urls x",
                "2026-06-03T12:59:31.500000",
                "ap01",
                "urls",
                "x",
            ),
            (
                "Jun  3 2026 12:59:31 10.0.0.1 CiscoASA[9]: %ASA-6-302013: Built",
                "2026-06-03T12:59:31.000000",
                "10.0.0.1",
                "%ASA-6-302013",
                "Built",
            ),
            (
                "<181>Jun  3 12:59:31 ise01 CISE_Failed_Attempts 0000000001 1 0 x",
                "06-03T12:59:31.000000",
                "ise01",
                "CISE_Failed_Attempts",
                "0000000001 1 0 x",
            ),
            ("Jun  3 12:59:31 dhcpd[9]: DHCPACK on x", "06-03T12:59:31.000000", "", "dhcpd", "DHCPACK on x"),
            (
                "Jun  3 12:59:31 web01 shop[9]: %ASA-6-302013: x",
                "06-03T12:59:31.000000",
                "web01",
                "shop",
                "%ASA-6-302013: x",
            ),
            ("2026-06-03T12:59:31.1Z stdout F {\"x\":1}", "2026-06-03T12:59:31.100000", "", "", "{\"x\":1}"),
            ("<34>snort: [1:2:3] x", "", "", "snort", "[1:2:3] x"),
            (
                "2026-06-03T12:59:31.342Z In(166) Hostd[9]: [x] y",
                "2026-06-03T12:59:31.342000",
                "",
                "Hostd",
                "[x] y",
            ),
            (
                "Jun  3 12:59:31 fw %ASA-6-302013: Built",
                "06-03T12:59:31.000000",
                "fw",
                "%ASA-6-302013",
                "Built",
            ),
            (
                "Jun 03 2026 12:59:31: %ASA-6-302013: Built",
                "2026-06-03T12:59:31.000000",
                "",
                "%ASA-6-302013",
                "Built",
            ),
            (
                "Jun 03 2026 12:59:31 fw-1 : %FTD-4-106023: Deny",
                "2026-06-03T12:59:31.000000",
                "fw-1",
                "%FTD-4-106023",
                "Deny",
            ),
        ] {
            assert_eq!(parts(line), Some((time.to_owned(), host, program, message)), "{line}");
        }
    }

    #[test]
    fn a_header_within_a_header_within_a_header_is_none() {
        for part in ["Jun  3 12:59:31 a ", "Jun  3 12:59:31 a : ", "1: Jun  3 12:59:31 UTC: ", "1: "] {
            assert_eq!(header(&part.repeat(15_000)), None, "{part}");
        }
    }

    #[test]
    fn other_lines_have_none() {
        for line in [
            "06/03-12:59:31.342001  [**] [1:1:1] x [**]",
            "2026-06-03 12:59:31,343 [    INFO] Alert: [pri=1 cls=x] a",
            "203.0.113.9 - - [03/Jun/2026:12:59:31 +0000] \"GET / HTTP/1.1\" 200 1",
            "2026 Jun 03 12:59:31 (bastion01) 10.0.2.11->/var/log/auth.log",
            "Jun  3 12:59:31 a message without a program",
            "no time here: x",
            "Jun  3 12:59:31: x: y",
            "Jun  3 12:59:31 x[y]: z",
            "Jun  3 12:59:31 web01 CISE_x y",
            "00:00:46: x",
            "1 1780491571.5 ap01 something x",
            "2026-06-03T12:59:31.342Z shop 203.0.113.9:51234 10.0.2.14:443 0.0 200",
            "",
            "<>x",
        ] {
            assert_eq!(header(line), None, "{line}");
        }
    }
}
