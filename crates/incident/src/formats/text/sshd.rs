//! What the OpenSSH server writes about logins: who came from where, and whether they got in.
//!
//! Whoever logs in chooses the name that is written, spaces and all, so that the address is read from the end of the
//! line, where sshd puts it: `Failed password for invalid user NAME from ADDRESS port PORT ssh2`.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, clean, clean_message, port};
use super::syslog::repeated;
use super::{MAX_NAME, begun, blanks, end, own_end, pam, program};
use crate::Endpoint;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Sshd,
    recognises: |_, envelope| matches!(program(envelope), "sshd" | "sshd-session" | "sshd-auth"),
    read: |line, envelope| Some(read(line, envelope)),
};

fn read(line: &str, envelope: &Envelope<'_>) -> Record {
    let line = &*blanks(line);
    let (count, line) = repeated(line);
    // sshd repeats what PAM said in words of its own: `PAM 2 more authentication failures; … rhost=203.0.113.9  user=root`.
    let mut record = if pam::is_pam(line, envelope) || line.starts_with("PAM ") {
        pam::read(line, envelope, Format::Sshd)
    } else {
        let mut record = begun(RecordKind::Log, Format::Sshd, envelope);
        record.message = clean_message(line);
        let line = line.trim();
        let line = line.strip_prefix("error:").unwrap_or(line).trim_start();
        let words = words(line);
        if !line.starts_with("Server listening")
            && let Some(Origin { end, at }) = origin(line, &words)
        {
            record.message = clean_message(&without_port(line, &words, at));
            record.account = clean(account(line, &words, at), MAX_NAME);
            record.source = Some(end);
            record.destination = own_end(envelope);
        }
        record
    };
    record.sensor = "sshd".to_owned();
    record.repeats.count = count;
    record
}

/// Where each word begins, and the word.
fn words(line: &str) -> Vec<(usize, &str)> {
    let begin = line.as_ptr() as usize;
    line.split_whitespace().map(|word| (word.as_ptr() as usize - begin, word)).collect()
}

struct Origin {
    end: Endpoint,
    /// Which word the address is.
    at: usize,
}

/// Beginnings of lines in which the sender's own text (a reason, a key's comment) stands behind the address. In all
/// others it stands before: the name of an account that need not exist.
const ADDRESS_FIRST: [&str; 6] = [
    "Accepted ",
    "Connection from ",
    "Received disconnect from ",
    "Unable to negotiate with ",
    "banner exchange: Connection from ",
    "Did not receive identification string from ",
];

/// The address that a connection came from: before the last `port N`, else behind the last `from` (older versions), else
/// in brackets (`[203.0.113.9]`).
fn origin(line: &str, words: &[(usize, &str)]) -> Option<Origin> {
    let word = |at: usize| words.get(at).map(|(_, word)| *word);
    let bare = |word: &'static str| move |at: &usize| words.get(*at).is_some_and(|(_, other)| *other == word);
    let mut places: Vec<usize> = (1..words.len()).filter(bare("port")).collect();
    if !ADDRESS_FIRST.iter().any(|beginning| line.starts_with(beginning)) {
        places.reverse();
    }
    for at in places {
        let number = word(at + 1)
            .and_then(|word| port(word.trim_end_matches([':', ',', ']', '.']).split(':').next()?));
        let address = word(at - 1)?;
        if let Some(number) = number
            && (is_address(address) || at >= 2 && word(at - 2) == Some("from"))
        {
            return Some(Origin { end: end(address, Some(number))?, at: at - 1 });
        }
    }
    let at = (0..words.len())
        .rev()
        .filter(bare("from"))
        .map(|at| at + 1)
        .find(|at| word(*at).is_some_and(is_address));
    if let Some(at) = at {
        return Some(Origin { end: end(word(at)?.trim_end_matches([':', ',']), None)?, at });
    }
    // In brackets; with the port behind where a connection is dropped before it has said anything.
    let bracketed = |at: usize| {
        let (address, behind) = word(at)?.strip_prefix('[')?.split_once(']')?;
        is_address(address).then(|| end(address, behind.strip_prefix(':').and_then(port))).flatten()
    };
    if line.starts_with("drop connection ") {
        return (0..words.len()).find_map(|at| Some(Origin { end: bracketed(at)?, at }));
    }
    (0..words.len()).rev().find_map(|at| Some(Origin { end: bracketed(at)?, at }))
}

/// The line without the port behind the address of word `at`: it changes with every connection, and like lines are to fold.
fn without_port(line: &str, words: &[(usize, &str)], at: usize) -> String {
    let (Some((start, "port")), Some((number, word))) = (words.get(at + 1), words.get(at + 2)) else {
        return line.to_owned();
    };
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (before, behind) =
        (line.get(..*start).unwrap_or_default(), line.get(number + digits..).unwrap_or_default());
    format!("{}{behind}", before.trim_end())
}

fn is_address(word: &str) -> bool {
    word.trim_end_matches([':', ',']).parse::<std::net::IpAddr>().is_ok()
}

/// The account's name, which stands before the address of word `at`.
fn account<'a>(line: &'a str, words: &[(usize, &'a str)], at: usize) -> &'a str {
    let end = match at.checked_sub(1).and_then(|before| words.get(before)) {
        Some((start, "from")) => *start,
        _ => words.get(at).map_or(0, |(start, _)| *start),
    };
    let before = line.get(..end).unwrap_or_default();
    const MARKS: [&str; 4] =
        [" invalid user ", " authenticating user ", " from user ", "Disconnecting user "];
    /// Lines in which an account that exists stands behind `for`; in others it may be a host.
    const FOR: [&str; 7] = [
        "Failed ",
        "Accepted ",
        "Postponed ",
        "Partial ",
        "maximum ",
        "Starting session",
        "PAM: Authentication ",
    ];
    let behind = |mark: &str| before.split_once(mark).map(|(_, name)| name);
    let is_for = FOR.iter().any(|beginning| line.starts_with(beginning));
    let name = ["Invalid user ", "User "].iter().find_map(|beginning| before.strip_prefix(beginning));
    let name = name
        .or_else(|| MARKS.iter().find_map(|mark| behind(mark)))
        .or_else(|| is_for.then(|| behind(" for ")).flatten());
    name.unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_DB: Envelope<'_> = Envelope { host: "db01", program: "sshd", time: None };

    /// Account, source and destination of a line.
    fn shown(line: &str) -> (String, String, String) {
        let record = read(line, &AT_DB);
        assert_eq!((record.kind, record.format), (RecordKind::Log, Format::Sshd));
        let end = |end: Option<Endpoint>| end.map(|end| end.to_string()).unwrap_or_default();
        (record.account, end(record.source), end(record.destination))
    }

    fn told(account: &str, source: &str) -> (String, String, String) {
        (account.to_owned(), source.to_owned(), "db01".to_owned())
    }

    #[test]
    fn logins_are_read() {
        for (line, account, source) in [
            ("Failed password for root from 203.0.113.9 port 51234 ssh2", "root", "203.0.113.9:51234"),
            ("Failed password for root\t203.0.113.9\tport 51234 ssh2", "root", "203.0.113.9:51234"),
            ("Failed password for root#011203.0.113.9#011port 51234 ssh2", "root", "203.0.113.9:51234"),
            ("Failed password for invalid user a b from 203.0.113.9 port 1 ssh2", "a b", "203.0.113.9:1"),
            (
                "Accepted publickey for bob from 2001:db8::9 port 5 ssh2: ED25519 SHA256:x",
                "bob",
                "[2001:db8::9]:5",
            ),
            (
                "Accepted publickey for bob from 10.0.3.17 port 5 ssh2: ED25519-CERT SHA256:x ID from 10.9.9.9 port 1 CA",
                "bob",
                "10.0.3.17:5",
            ),
            ("Invalid user admin from 203.0.113.9", "admin", "203.0.113.9"),
            ("Invalid user  from 203.0.113.9 port 9", "", "203.0.113.9:9"),
            (
                "Connection closed by authenticating user root 203.0.113.9 port 5 [preauth]",
                "root",
                "203.0.113.9:5",
            ),
            ("Disconnected from invalid user x 203.0.113.9 port 5 [preauth]", "x", "203.0.113.9:5"),
            ("Received disconnect from 203.0.113.9 port 5:11: Bye Bye [preauth]", "", "203.0.113.9:5"),
            (
                "error: maximum authentication attempts exceeded for root from 203.0.113.9 port 5 ssh2 [preauth]",
                "root",
                "203.0.113.9:5",
            ),
            ("User bob from 203.0.113.9 not allowed because not listed in AllowUsers", "bob", "203.0.113.9"),
            ("Failed password for root from client.example.net port 5 ssh2", "root", "client.example.net:5"),
            ("Connection from 203.0.113.9 port 5 on 10.0.2.20 port 22 rdomain \"\"", "", "203.0.113.9:5"),
            ("reverse mapping checking getaddrinfo for x [203.0.113.9] failed.", "", "203.0.113.9"),
        ] {
            assert_eq!(shown(line), told(account, source), "{line}");
        }
        assert_eq!(read("Server listening on 0.0.0.0 port 22.", &AT_DB).source, None);
    }

    #[test]
    fn a_name_that_looks_like_an_address_is_a_name() {
        let line = "Received disconnect from 203.0.113.9 port 5:11: from 10.0.2.21 port 1 [preauth]";
        assert_eq!(shown(line), told("", "203.0.113.9:5"));
        let line =
            "Failed password for invalid user x from 10.0.2.21 port 1 ssh2 from 203.0.113.9 port 40022 ssh2";
        assert_eq!(shown(line), told("x from 10.0.2.21 port 1 ssh2", "203.0.113.9:40022"));
    }

    #[test]
    fn repeats_are_counted_where_syslog_says_so() {
        let record = read(
            "message repeated 5 times: [ Failed password for root from 203.0.113.9 port 51300 ssh2]",
            &AT_DB,
        );
        assert_eq!((record.repeats.count, record.account.as_str()), (5, "root"));
        assert_eq!(record.message, "Failed password for root from 203.0.113.9 ssh2");
        let inside = "Invalid user message repeated 900 times: [ x] from 203.0.113.9 port 5";
        assert_eq!(read(inside, &AT_DB).repeats.count, 1);
    }

    #[test]
    fn pam_and_other_lines_are_logs() {
        let line = "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= \
                    rhost=203.0.113.9  user=root";
        assert_eq!(shown(line), told("root", "203.0.113.9"));
        let line = "PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root";
        assert_eq!(shown(line), told("root", "203.0.113.9"));
        let line = "Disconnecting authenticating user root 203.0.113.9 port 5: Too many authentication failures [preauth]";
        assert_eq!(shown(line), told("root", "203.0.113.9:5"));
        assert_eq!(read("Received signal 15; terminating.", &AT_DB).source, None);
    }
}
