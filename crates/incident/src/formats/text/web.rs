//! Access logs of web servers, common and combined form:
//!
//! `203.0.113.9 - bob [03/Jun/2026:12:59:31 +0000] "GET /x HTTP/1.1" 200 12 "referrer" "browser" "forwarded for"`
//!
//! also with the site in front (`shop.example:443 203.0.113.9 …`). Servers escape quotation marks in what clients send, so that
//! the first one behind the time begins the request.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_ADDRESS, MAX_DETAIL, clean, clean_message};
use super::{MAX_NAME, begun, end, may_be_from, own_end, quoted};
use crate::Timestamp;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat { format: Format::WebAccess, recognises, read };

/// Programs under whose names syslog carries access logs.
pub(super) const SERVERS: [&str; 8] =
    ["nginx", "apache", "apache2", "httpd", "httpd_access", "apache_access", "nginx_access", "caddy"];

fn recognises(line: &str, envelope: &Envelope<'_>) -> bool {
    may_be_from(envelope, &SERVERS) && parts(line).is_some()
}

struct Parts<'a> {
    site: &'a str,
    client: &'a str,
    account: &'a str,
    time: Timestamp,
    /// What stands before the time and behind it.
    around: (&'a str, &'a str),
}

fn parts(line: &str) -> Option<Parts<'_>> {
    let line = line.trim();
    // However long the account's name is and whatever it holds: the time is the first one with a request behind it.
    let (time, before, behind) = line.match_indices('[').find_map(|(at, _)| {
        let (time, rest) = Timestamp::parse_access_log(line.get(at + 1..)?)?;
        let rest = rest.strip_prefix("] ")?;
        rest.starts_with('"').then_some((time, line.get(..at)?, rest))
    })?;
    let (first, rest) = before.split_once(' ')?;
    let is_site = first.contains('.') || first.contains(':') || first == "localhost";
    let second = rest.trim_start().split(' ').next().unwrap_or_default();
    // The site stands before the client if the word behind it is an address and the word itself is none.
    let (site, client, rest) = if is_site && !is_address(first) && is_address(second) {
        (first, second, rest.trim_start().split_once(' ')?.1)
    } else {
        ("", first, rest)
    };
    let (_, account) = rest.trim_start().split_once(' ')?;
    let is_client = is_address(client) || client == "-" || is_name(client);
    is_client.then_some(Parts { site, client, account: account.trim(), time, around: (before, behind) })
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let Parts { site, client, account, time, around: (before, behind) } = parts(line)?;
    let mut record = begun(RecordKind::Log, Format::WebAccess, envelope);
    record.time = Some(time);
    record.message = clean_message(&format!("{} {behind}", before.trim_end()));
    let request = quoted(behind).next().unwrap_or_default();
    record.detail = clean(request, MAX_DETAIL);
    if account != "-" {
        record.account = clean(account, MAX_NAME);
    }
    record.source = end(client, None);
    record.destination =
        own_end(envelope).or_else(|| end(site.rsplit_once(':').map_or(site, |(name, _)| name), None));
    // The last address in the list of those that it was forwarded for is the one that the proxy in front of this server
    // saw; the ones before it are what the client says. A client from elsewhere may write a list of its own.
    let forwarded = quoted(behind).nth(3).and_then(|list| list.rsplit(',').next()).map(str::trim);
    if let Some(forwarded) = forwarded.filter(|address| is_address(address) && is_inside(client)) {
        record.via.push(clean(client, MAX_ADDRESS));
        record.source = end(forwarded, None);
    }
    Some(record)
}

/// Whether an address is of a private network, as that of a proxy in front of a server is.
fn is_inside(address: &str) -> bool {
    match address.parse::<std::net::IpAddr>().map(|address| address.to_canonical()) {
        Ok(std::net::IpAddr::V4(address)) => address.is_private() || address.is_loopback(),
        Ok(std::net::IpAddr::V6(address)) => address.is_unique_local() || address.is_loopback(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        let envelope = Envelope { host: "web01", program: "nginx", ..Envelope::default() };
        assert!(recognises(line, &envelope) && recognises(line, &Envelope::default()), "{line}");
        read(line, &envelope).unwrap()
    }

    #[test]
    fn common_and_combined_forms_are_read() {
        let record = parse(
            "203.0.113.9 - bob [03/Jun/2026:12:59:31 +0200] \"GET /x?a=\\\"b HTTP/1.1\" 200 12 \"-\" \"curl/8\"",
        );
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T10:59:31.000000");
        assert_eq!((record.account.as_str(), record.detail.as_str()), ("bob", "GET /x?a=\\\"b HTTP/1.1"));
        assert_eq!(record.message, "203.0.113.9 - bob \"GET /x?a=\\\"b HTTP/1.1\" 200 12 \"-\" \"curl/8\"");
        assert_eq!(record.source.unwrap().address, "203.0.113.9");
        assert_eq!(record.destination.unwrap().address, "web01");
        let record =
            parse("shop.example:443 2001:db8::9 - - [03/Jun/2026:12:59:31 +0000] \"GET / HTTP/1.1\" 200 12");
        assert_eq!((record.source.unwrap().address.as_str(), record.account.as_str()), ("2001:db8::9", ""));
    }

    #[test]
    fn the_client_behind_a_proxy_is_the_source() {
        let line = |client| {
            format!(
                "{client} - - [03/Jun/2026:12:59:31 +0000] \"GET / HTTP/1.1\" 200 12 \"-\" \"x\" \"198.51.100.7, 203.0.113.9\""
            )
        };
        let record = parse(&line("10.0.2.5"));
        assert_eq!(
            (record.source.unwrap().address.as_str(), record.via),
            ("203.0.113.9", vec!["10.0.2.5".to_owned()])
        );
        let record = parse(&line("203.0.113.50"));
        assert_eq!((record.source.unwrap().address.as_str(), record.via.len()), ("203.0.113.50", 0));
    }

    #[test]
    fn an_account_may_hold_what_looks_like_a_time() {
        let record = parse(
            "203.0.113.9 - a [03/Jun/2025:00:00:00 +0000] b [03/Jun/2026:12:59:31 +0000] \"GET / HTTP/1.1\" 200 1",
        );
        assert_eq!(record.time.unwrap().date(), "2026-06-03");
        for line in [
            "took [03/Jun/2026:12:59:31 +0000] \"x\"",
            "a b c",
            "[03/Jun/2026:12:59:31 +0000] \"GET / HTTP/1.1\" 1",
            "",
        ] {
            assert!(!recognises(line, &Envelope::default()), "{line}");
        }
        let shop = Envelope { program: "shop", ..Envelope::default() };
        assert!(!recognises("203.0.113.9 - - [03/Jun/2026:12:59:31 +0000] \"GET / HTTP/1.1\" 200 1", &shop));
    }
}
