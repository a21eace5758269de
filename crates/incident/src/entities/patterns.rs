//! What entities look like.
//!
//! Every pattern is a constant that the tests compile, and the `regex` crate searches in linear time.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// Runs of characters of which addresses are made; what they are is for the address parser.
pub(super) static ADDRESSES: LazyLock<Regex> = LazyLock::new(|| {
    compile(r"(?:[0-9]{1,3}\.|[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f.:-]*[0-9A-Fa-f:](?:/[0-9]{1,3}\b)?")
});

pub(super) static CVES: LazyLock<Regex> = LazyLock::new(|| compile(r"(?i)\bCVE-[0-9]{4}-[0-9]{4,7}\b"));

pub(super) static DOMAINS: LazyLock<Regex> =
    LazyLock::new(|| compile(r"(?i)\b(?:[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]\b"));

/// A noun for a host with a part behind it: `server_ssh`, `web-01`, `dc01`.
pub(super) static HOSTS: LazyLock<Regex> = LazyLock::new(|| {
    compile(&format!(r"(?i)\b(?:{HOST_NOUNS})(?:[_-][a-z0-9]+(?:[_-][a-z0-9]+)*|[0-9]+(?:[_-][a-z0-9]+)*)\b"))
});

/// `Server 3`, `Servers 1-2`, `hosts 5, 6 and 8`.
pub(super) static NUMBERED_HOSTS: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"(?i)\b(server|host|node|workstation|machine|client|gateway|firewall|router)s? ([0-9]+(?:(?: ?, ?| ?- ?| ?– ?| and | or | to |, and )[0-9]+)*)\b",
    )
});

/// Each has a group `account`.
pub(super) static ACCOUNTS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    const NAME: &str = r"(?P<account>[A-Za-z_][A-Za-z0-9_.\\$-]*)";
    // A name that cannot be an ordinary word, for places where ordinary words stand as well.
    const TELLING: &str =
        r"(?P<account>[A-Za-z][A-Za-z0-9]*(?:[_.\\][A-Za-z0-9]+|[A-Za-z0-9]*[0-9])[A-Za-z0-9_.\\$]*)";
    [
        // user=x, username: x, login: x, account = "x"
        format!(r#"(?i)\b(?:user|username|user name|login|account|acct|uid)\s?[=:]\s?["']?{NAME}"#),
        // sshd and PAM
        format!(r"(?i)\b(?:password|publickey|keyboard-interactive/pam) for (?:invalid user )?{NAME} from\b"),
        format!(r"(?i)\b(?:invalid|illegal) user {NAME} from\b"),
        format!(r"(?i)\bsession (?:opened|closed) for user {NAME}"),
        format!(r"(?i)\bsudo: +{NAME} : "),
        format!(r"\bsu - {NAME}"),
        format!(r"\b[ug]id=[0-9]+\({NAME}\)"),
        // login admin, password …
        format!(r"(?i)\blogin {NAME}, password\b"),
        // using admin/password123
        format!(r"(?i)\b(?:using|credentials?|with) {NAME}/[A-Za-z]*[0-9!@#$%][^\s]*"),
        // ssh jsmith@10.0.2.11, and mail addresses
        format!(r"{NAME}@[A-Za-z0-9_\[]"),
        // account "j.doe", user 'x', the "x" account
        format!(r#"(?i)\b(?:accounts?|users?|login)(?: named| called)? ["'`‘“]{NAME}["'`’”]"#),
        format!(r#"(?i)["'`‘“]{NAME}["'`’”] (?:user |service |domain )?account\b"#),
        // account svc_sql, user jdoe2, the svc_sql account
        format!(r"(?i)\b(?:accounts?|users?) {TELLING}\b"),
        format!(r"(?i)\b{TELLING} (?:user |service |domain )?account\b"),
    ]
    .iter()
    .map(|pattern| compile(pattern))
    .collect()
});

const HOST_NOUNS: &str = "server|srv|host|web|www|db|database|mail|mx|smtp|imap|dc|ad|ldap|client|gateway|gw|firewall|fw|router|switch|\
node|vm|ws|workstation|pc|desktop|laptop|printer|nas|san|app|api|proxy|vpn|bastion|jump|jumphost|file|files|fs|print|backup|\
dns|ns|ftp|sftp|sql|mysql|pgsql|postgres|redis|kafka|elk|siem|ids|build|ci|git|gitlab|jenkins|container|pod|worker|master|\
edge|lb|cache|portal|intranet|hmi|plc|scada|historian|monitor|sensor|camera|analyser|analyzer|syslog|logger";

/// Words that begin with a host's noun and are settings, files or properties.
const NO_HOSTS: [&str; 30] = [
    "server_tokens",
    "server_name",
    "server_names",
    "server_signature",
    "server_id",
    "server_side",
    "server_key",
    "server_cert",
    "client_max_body_size",
    "client_id",
    "client_secret",
    "client_side",
    "client_cert",
    "client_key",
    "host_key",
    "host_based",
    "host_name",
    "host_id",
    "file_name",
    "file_path",
    "file_type",
    "file_hash",
    "file_get_contents",
    "app_id",
    "app_key",
    "api_key",
    "api_token",
    "proxy_pass",
    "git_ssh",
    "container_id",
];

/// Top-level domains that are taken for one in running text. Those that are also endings of common files (`sh`, `py`,
/// `so`, `pl`, `rs`, `md`, `zip`) are left out: only a URL makes them a domain.
const TOP_LEVEL: &[&str] = &[
    "com",
    "net",
    "org",
    "edu",
    "gov",
    "mil",
    "int",
    "info",
    "biz",
    "name",
    "pro",
    "io",
    "co",
    "ai",
    "dev",
    "app",
    "cloud",
    "online",
    "site",
    "xyz",
    "top",
    "club",
    "shop",
    "store",
    "tech",
    "live",
    "icu",
    "cc",
    "tv",
    "me",
    "to",
    "ws",
    "tk",
    "ml",
    "ga",
    "cf",
    "gq",
    "pw",
    "su",
    "ru",
    "cn",
    "uk",
    "de",
    "fr",
    "nl",
    "se",
    "no",
    "fi",
    "dk",
    "pt",
    "es",
    "it",
    "ch",
    "at",
    "be",
    "eu",
    "us",
    "ca",
    "au",
    "nz",
    "jp",
    "kr",
    "in",
    "br",
    "mx",
    "ua",
    "cz",
    "gr",
    "tr",
    "ir",
    "il",
    "za",
    "hk",
    "tw",
    "sg",
    "vn",
    "id",
    "ro",
    "hu",
    "onion",
    "arpa",
    "local",
    "lan",
    "internal",
    "corp",
    "home",
    "intranet",
    "localdomain",
    "test",
    "example",
    "invalid",
    "localhost",
];

/// Names in running text that look like domains and are products.
const PRODUCTS: [&str; 8] =
    ["asp.net", "vb.net", "ado.net", "paint.net", "socket.io", "draw.io", "system.net", "microsoft.net"];

/// Words that stand where an account would and are none.
const NO_ACCOUNTS: [&str; 44] = [
    "the",
    "a",
    "an",
    "any",
    "all",
    "and",
    "or",
    "of",
    "for",
    "from",
    "with",
    "to",
    "in",
    "on",
    "by",
    "is",
    "was",
    "are",
    "were",
    "this",
    "that",
    "used",
    "access",
    "account",
    "accounts",
    "login",
    "logins",
    "user",
    "users",
    "password",
    "passwords",
    "attempt",
    "attempts",
    "failed",
    "successful",
    "invalid",
    "unknown",
    "none",
    "null",
    "page",
    "name",
    "id",
    "shell",
    "data",
];

fn compile(pattern: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "constant patterns, each compiled by the tests of this module")]
    Regex::new(pattern).expect("a constant pattern is valid")
}

/// Whether the text between these places is a host's name: it holds a digit, or an underscore as `server_ssh` does;
/// `web-server` is an ordinary word. It is no part of a path, a file name or a longer word.
pub(super) fn is_host(text: &str, start: usize, end: usize) -> bool {
    let Some(value) = text.get(start..end) else { return false };
    let lower = value.to_lowercase();
    let telling = value.bytes().any(|byte| byte.is_ascii_digit() || byte == b'_');
    let before = text.get(..start).and_then(|before| before.chars().next_back());
    let behind = text.get(end..).unwrap_or_default();
    let in_word = before.is_some_and(|c| matches!(c, '/' | '\\' | '-' | '.' | '_' | '$' | '=' | '%'))
        || behind.starts_with(['/', '\\', '_', '(', '='])
        || behind.strip_prefix('.').is_some_and(|behind| behind.starts_with(|c: char| c.is_alphanumeric()));
    // `db2` and `ad3` are short; a bare noun with one digit is taken, with a version behind it it is not.
    telling && !in_word && !NO_HOSTS.contains(&lower.as_str())
}

/// Largest number that counts hosts; `Windows Server 2019` names a product.
const MAX_NUMBER: u32 = 999;
/// Most hosts that one range stands for.
const MAX_RANGE: u32 = 64;

/// The numbers of hosts between these places, ranges one by one, each with its place.
pub(super) fn numbers(text: &str, noun: usize, start: usize, end: usize) -> Vec<(usize, u32)> {
    let behind = text.get(end..).unwrap_or_default();
    // The word in front alone is looked at, so that the time does not grow with the text.
    let word = text
        .get(..noun)
        .unwrap_or_default()
        .trim_end()
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let product = ["windows", "sql", "exchange"].iter().any(|product| word.eq_ignore_ascii_case(product));
    // `host 10.0.2.11` and `server 2.4` are an address and a version.
    let continues = behind.starts_with([':', '/', '-', '_', '%'])
        || behind.strip_prefix('.').is_some_and(|behind| behind.starts_with(|c: char| c.is_ascii_digit()));
    let mut runs = digit_runs(text, start, end);
    if continues {
        // `Server 1 to 10.0.2.2` names one server.
        runs.pop();
    }
    if product {
        return Vec::new();
    }
    let mut out: Vec<(usize, u32)> = Vec::new();
    for range in runs {
        let Some(number) = text.get(range.clone()).and_then(|digits| digits.parse::<u32>().ok()) else {
            continue;
        };
        let gap = out.last().and_then(|_| text.get(..range.start)).unwrap_or_default().trim_end();
        let is_range = gap.ends_with(['-', '–']) || gap.ends_with(" to");
        if let Some(&(_, last)) = out.last().filter(|_| is_range)
            && number > last
            && number - last <= MAX_RANGE
        {
            out.extend((last + 1..number).map(|between| (range.start, between)));
        }
        out.push((range.start, number));
    }
    out.retain(|(_, number)| *number <= MAX_NUMBER);
    out
}

fn digit_runs(text: &str, start: usize, end: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (offset, byte) in (start..).zip(text.get(start..end).unwrap_or_default().bytes()) {
        match runs.last_mut() {
            _ if !byte.is_ascii_digit() => {}
            Some(run) if run.end == offset => run.end = offset + 1,
            _ => runs.push(offset..offset + 1),
        }
    }
    runs
}

/// Whether a dotted name in running text is a domain.
pub(super) fn is_domain(value: &str) -> bool {
    let lower = value.to_lowercase();
    let Some((_, top)) = lower.rsplit_once('.') else { return false };
    let initials = lower.split('.').all(|label| label.len() == 1);
    TOP_LEVEL.contains(&top) && !initials && !PRODUCTS.contains(&lower.as_str())
}

/// Whether a word that stands where an account would is one.
pub(super) fn is_account(value: &str) -> bool {
    value.len() > 1 && !NO_ACCOUNTS.contains(&value.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in [&ADDRESSES, &CVES, &DOMAINS, &HOSTS, &NUMBERED_HOSTS] {
            assert!(!pattern.as_str().is_empty());
        }
        for pattern in ACCOUNTS.iter() {
            assert!(pattern.capture_names().flatten().any(|name| name == "account"), "{pattern}");
        }
    }
}
