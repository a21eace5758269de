//! Passwords in URLs, which are never shown.

/// What stands in the place of a password.
const HIDDEN: &str = "***";

/// A value with the passwords of the URLs in it hidden, and whether there were any: those before the host, and those that a
/// parameter names.
pub fn masked(value: &str) -> (String, bool) {
    let (mut text, mut found) = (String::with_capacity(value.len()), false);
    for (index, part) in value.split(',').enumerate() {
        if index > 0 {
            text.push(',');
        }
        let (part, has_password) = mask_url(part);
        text.push_str(&part);
        found |= has_password;
    }
    (text, found)
}

fn mask_url(url: &str) -> (String, bool) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), false) };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (mut text, mut found) = (format!("{scheme}://"), false);
    match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => {
                text += &format!("{user}:{HIDDEN}@{host}");
                found = true;
            }
            None => text += authority,
        },
        None => text += authority,
    }
    let Some((path, query)) = tail.split_once('?') else {
        text += tail;
        return (text, found);
    };
    text += path;
    for (index, parameter) in query.split('&').enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("password") => {
                text += &format!("{name}={HIDDEN}");
                found = true;
            }
            _ => text += parameter,
        }
    }
    (text, found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_are_hidden_and_everything_else_stays() {
        for (value, shown) in [
            ("postgres://plan:s3cret@db:5432/x", "postgres://plan:***@db:5432/x"),
            ("postgres://plan:a@b@db/x?sslmode=verify-full", "postgres://plan:***@db/x?sslmode=verify-full"),
            ("postgres://db/x?user=plan&password=s3cret", "postgres://db/x?user=plan&password=***"),
            ("http://a:1,https://u:p@b:2", "http://a:1,https://u:***@b:2"),
        ] {
            let (text, _) = masked(value);
            assert_eq!(text, shown);
        }
        for open in ["postgres://plan@db/x", "sqlite:/var/lib/x.db", "http://127.0.0.1:7701", "a:b@c", ""] {
            assert_eq!(masked(open), (open.to_owned(), false));
        }
    }

    proptest! {
        #[test]
        fn no_password_gets_through(user in "[a-z]{1,8}", password in "[A-Z0-9]{4,12}", host in "[a-z.]{1,12}", path in "[a-z/]{0,8}") {
            let (text, found) = masked(&format!("postgres://{user}:{password}@{host}/{path}"));
            prop_assert!(found && !text.contains(&password), "{text}");
        }

        #[test]
        fn anything_is_read(value in ".*") {
            masked(&value);
        }
    }
}
