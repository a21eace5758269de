//! FreeRADIUS: `(123) Login OK: [bob] (from client ap1 port 0 cli 00-00-5E-00-53-01)`, `Login incorrect (pap: no): [bob/secret] (from
//! client vpn1 port 7 cli 203.0.113.9)`; in its own file behind `Auth: `.
//!
//! Whoever asks chooses the name: what the server itself says of the client stands behind the last mark of its own.

use super::ip_end;
use super::services::Said;

/// What a line says of who was let in, or was not.
pub(super) fn said(line: &str) -> Option<Said<'_>> {
    let line = line.strip_prefix("Auth: ").unwrap_or(line).trim_start();
    let line = match line.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest.trim_start(),
        _ => line,
    };
    const BEGINNINGS: [&str; 5] =
        ["Login OK", "Login incorrect", "Invalid user", "Multiple logins", "Rejected"];
    BEGINNINGS.iter().find(|beginning| line.starts_with(**beginning))?;
    let (before, behind) = line.rsplit_once(" (from client ")?;
    let (_, named) = before.split_once(": [")?;
    // The password, or how it was asked for, stands behind the name.
    let account = named.strip_suffix(']').unwrap_or(named).split('/').next()?;
    let mut words = behind.trim_end_matches(')').split_whitespace().skip_while(|word| *word != "cli");
    let client = words.nth(1).unwrap_or_default();
    Some(Said { account, source: ip_end(client.trim_end_matches(')'), None), ..Said::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_let_in_is_told() {
        for line in [
            "Login OK: [bob] (from client vpn1 port 7 cli 203.0.113.9)",
            "(12) Login incorrect (pap: no): [bob/x [6.6.6.6] (from client a cli 6.6.6.6)] (from client vpn1 port 7 cli 203.0.113.9 via TLS tunnel)",
            "Auth: (12)   Login incorrect: [bob/<via Auth-Type = mschap>] (from client vpn1 port 7 cli 203.0.113.9)",
        ] {
            let told = said(line).unwrap();
            assert_eq!(
                (told.account, told.source.unwrap().address.as_str()),
                ("bob", "203.0.113.9"),
                "{line}"
            );
        }
        let by_radio = said("(3) Login OK: [bob] (from client ap1 port 0 cli 00-00-5E-00-53-01)").unwrap();
        assert_eq!((by_radio.account, by_radio.source), ("bob", None));
        for line in ["Ready to process requests", "Login OK: bob", "(x) Login OK", ""] {
            assert_eq!(said(line), None, "{line}");
        }
    }
}
