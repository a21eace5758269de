//! Asterisk's lines, behind syslog's header or in files of its own: `NOTICE[1638] chan_sip.c: Registration from '"100"
//! <sip:100@10.0.2.5>' failed for '203.0.113.9:5060' - Wrong password`.
//!
//! Whoever calls or registers chooses names and numbers, and they stand before and behind the address.

use super::services::{Said, address, between, of, once};

const LEVELS: [&str; 6] = ["NOTICE", "WARNING", "ERROR", "SECURITY", "VERBOSE", "DEBUG"];

/// What is said behind the level, the thread, the call and the place in the source.
pub(super) fn message(line: &str) -> Option<&str> {
    let (level, rest) = line.split_once('[')?;
    let (thread, rest) = rest.split_once(']')?;
    let is_thread = !thread.is_empty() && thread.bytes().all(|byte| byte.is_ascii_digit());
    let rest = rest.strip_prefix("[C-").and_then(|rest| rest.split_once(']')).map_or(rest, |(_, rest)| rest);
    let (place, message) = rest.trim_start_matches([':', ' ']).split_once(": ")?;
    let is_place = place.split([' ', ':']).next().is_some_and(|file| file.ends_with(".c"))
        && place.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._: ".contains(&byte));
    (LEVELS.contains(&level) && is_thread && is_place).then_some(message)
}

/// Who was refused, or logged in.
pub(super) fn said(line: &str) -> Option<Said<'_>> {
    let message = message(line)?;
    if message.starts_with("Registration from '") {
        // Behind the address stands a reason, in Asterisk's own words.
        let (named, behind) = message.rsplit_once("' failed for '")?;
        return Some(of(between(named, "sip:", "@"), address(behind.split('\'').next()?)));
    }
    if message.starts_with("Call from '") {
        let (before, _) = once(message, ") to extension '")?;
        return Some(of("", address(before.rsplit_once('(')?.1)));
    }
    if let Some(rest) = message.strip_prefix("hacking attempt detected '") {
        return Some(of("", address(rest.trim_end_matches('\''))));
    }
    // `SecurityEvent="InvalidPassword",…,AccountID="100",…,RemoteAddress="IPV4/UDP/203.0.113.9/5060",…`
    let (before, behind) =
        once(message, ",RemoteAddress=\"").filter(|_| message.starts_with("SecurityEvent="))?;
    let mut parts = behind.split('"').next()?.split('/').skip(2);
    let (host, port) = (parts.next()?, parts.next()?);
    Some(of(between(before, ",AccountID=\"", "\""), address(&format!("[{host}]:{port}"))))
}
