//! Callers, and tokens as a table.

use std::time::SystemTime;

use countermove_proto::v1::{Grant, Role, Token};
use countermove_proto::{system_time, time_text};
use prost_types::Timestamp;

use super::table::lines;
use super::text::one_line;

/// Tokens as a table.
pub(crate) fn tokens(tokens: &[Token], now: SystemTime, columns: usize) -> String {
    if tokens.is_empty() {
        return "No tokens are known.\n".to_owned();
    }
    let rows = tokens
        .iter()
        .map(|token| {
            vec![
                token.name.trim_start_matches("tokens/").to_owned(),
                status(token, now),
                token.grants.iter().map(grant).collect::<Vec<_>>().join("; "),
                token.creator.clone(),
                token.description.clone(),
            ]
        })
        .collect();
    lines(&["ID", "STATUS", "MAY", "MADE BY", "FOR"], 1, rows, columns)
}

/// Who calls, and what it may do.
pub(crate) fn caller(name: &str, grants: &[Grant], expires: Option<Timestamp>) -> String {
    let mut text = match name {
        "" => "this coordinator asks nobody who calls\n".to_owned(),
        name => format!("{}\n", one_line(name)),
    };
    for held in grants {
        text += &format!("  {}\n", grant(held));
    }
    if !name.is_empty() && grants.is_empty() {
        text += "  may do nothing\n";
    }
    if let Some(until) = expires.and_then(time_text) {
        text += &format!("  until {until}\n");
    }
    text
}

fn status(token: &Token, now: SystemTime) -> String {
    let expires = token.expire_time.and_then(system_time);
    match (token.revoke_time, expires) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(at)) if at <= now => "expired".to_owned(),
        (None, _) => format!("until {}", token.expire_time.and_then(time_text).unwrap_or_default()),
    }
}

/// `blue: viewer, responder`.
fn grant(grant: &Grant) -> String {
    let role = |role: Role| role.as_str_name().trim_start_matches("ROLE_").to_lowercase();
    let roles: Vec<String> = grant.roles().map(role).collect();
    let tenant = if grant.tenant == "*" { "all tenants" } else { grant.tenant.as_str() };
    format!("{}: {}", one_line(tenant), roles.join(", "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use countermove_proto::timestamp;

    use super::*;

    #[test]
    fn a_token_shows_what_it_is_good_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut token = Token {
            name: "tokens/0001020304050607".into(),
            description: "export\u{1b}[31m".into(),
            grants: vec![Grant { tenant: "*".into(), roles: vec![Role::Viewer.into(), Role::Admin.into()] }],
            creator: "first-token".into(),
            expire_time: Some(timestamp(now + Duration::from_secs(60))),
            ..Token::default()
        };
        let text = tokens(std::slice::from_ref(&token), now, 200);
        for part in ["0001020304050607", "until 2023-11-14", "all tenants: viewer, admin", "first-token"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(tokens(std::slice::from_ref(&token), now + Duration::from_secs(60), 200).contains("expired"));
        token.revoke_time = Some(timestamp(now));
        assert!(tokens(&[token], now, 200).contains("revoked"));
    }

    #[test]
    fn a_caller_reads_who_it_is() {
        assert!(caller("", &[], None).contains("asks nobody"));
        assert!(caller("https://idp|ann", &[], None).contains("may do nothing"));
    }
}
