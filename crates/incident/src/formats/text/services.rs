//! What services say of logins and accounts under their own names: databases, mail and file servers, VPNs, resolvers, and the
//! programs that keep accounts and bans.
//!
//! Whoever connects chooses names, paths and mail identifiers, and services write them into their lines. So an end is read only from
//! where the program puts it: from the line's beginning, or from a mark that stands in the line once. A line that could be read two
//! ways names nobody.

use super::super::format::Envelope;
use super::super::{clean, port};
use super::pairs::only;
use super::{MAX_COMMAND, MAX_NAME, asterisk, dhcp, ip_end, own_end, radius};
use crate::Endpoint;
use crate::record::{Record, RecordKind, SensorVerdict};

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said<'a> {
    /// Account that acts or is acted upon.
    pub(super) account: &'a str,
    /// Who came.
    pub(super) source: Option<Endpoint>,
    /// What was run.
    pub(super) process: &'a str,
    /// What was done with it.
    pub(super) verdict: Option<SensorVerdict>,
    /// Whether it only tells what passed: a name that was looked up.
    pub(super) is_telemetry: bool,
}

impl Said<'_> {
    /// Writes it into the record of the line. Who came, came to the host that wrote it.
    pub(super) fn tell(self, record: &mut Record, envelope: &Envelope<'_>) {
        if self.is_telemetry {
            record.kind = RecordKind::Telemetry;
        }
        record.account = clean(self.account, MAX_NAME);
        record.process = clean(self.process, MAX_COMMAND);
        record.verdict = self.verdict;
        if self.source.is_some() {
            record.destination = own_end(envelope);
            record.source = self.source;
        }
    }
}

/// What a line of this program says; nothing if program or line are none of those that are known here.
pub(super) fn said<'a>(program: &str, line: &'a str) -> Option<Said<'a>> {
    let line = line.trim();
    match program {
        "mysqld" | "mariadbd" | "mysql" | "mariadb" => mysql(line),
        "postgres" | "postgresql" => postgres(line),
        "vsftpd" => vsftpd(line),
        "proftpd" => proftpd(line),
        "pure-ftpd" => pure_ftpd(line),
        "ftpd" | "in.ftpd" | "in.telnetd" | "telnetd" => connected(line),
        "dovecot" => dovecot(line),
        "smtpd" => postfix(line),
        "named" => named(line),
        "dnsmasq" => dnsmasq(line),
        "dropbear" => dropbear(line),
        "smbd" => samba(line),
        "login" => login(line),
        "cron" | "CRON" | "crond" => cron(line),
        "useradd" | "userdel" | "usermod" | "groupadd" | "passwd" | "gpasswd" | "chage" => accounts(line),
        "systemd-logind" => logind(line),
        "openvpn" => openvpn(line),
        "fail2ban" | "fail2ban-server" => fail2ban(line),
        "asterisk" => asterisk::said(line),
        "slapd" => slapd(line),
        "monit" => monit(line),
        "charon" | "charon-systemd" | "ipsec" | "strongswan" => charon(line),
        "keycloak" => keycloak(line),
        "radiusd" | "freeradius" => radius::said(line),
        name if dhcp::is_of(name) => Some(dhcp::said(line)),
        name if name.starts_with("ovpn-") => openvpn(line),
        name if name.starts_with("fail2ban.") => fail2ban(line),
        _ => None,
    }
}

/// An address, or an address with a port behind a colon. Names are none: a service says by its address who came.
pub(super) fn address(text: &str) -> Option<Endpoint> {
    let text = text.trim();
    if let Some((inner, behind)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return ip_end(inner, behind.strip_prefix(':').and_then(port));
    }
    ip_end(text, None).or_else(|| {
        let (host, number) = text.rsplit_once(':')?;
        ip_end(host, Some(port(number)?))
    })
}

/// What stands before and behind a mark that stands in the line once.
pub(super) fn once<'a>(line: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    line.split_once(mark).filter(|(_, behind)| !behind.contains(mark))
}

/// The text between a mark and the first of an end behind it.
pub(super) fn between<'a>(line: &'a str, mark: &str, end: &str) -> &'a str {
    line.split_once(mark)
        .and_then(|(_, rest)| rest.split_once(end))
        .map(|(inner, _)| inner)
        .unwrap_or_default()
}

pub(super) fn of<'a>(account: &'a str, source: Option<Endpoint>) -> Said<'a> {
    Said { account, source, ..Said::default() }
}

/// `Access denied for user 'bob'@'203.0.113.9' (using password: YES)`; with the database at the end, which the client chooses as
/// well; `Aborted connection 12 to db: 'shop' user: 'bob' host: '203.0.113.9' (…)`.
fn mysql(line: &str) -> Option<Said<'_>> {
    let denied = line.split_once("Access denied for user '").filter(|(before, _)| !before.contains('\''));
    if let Some((_, rest)) = denied {
        let is_plain = line.ends_with("(using password: YES)") || line.ends_with("(using password: NO)");
        let (account, host) = if is_plain { rest.rsplit_once("'@'") } else { once(rest, "'@'") }?;
        return Some(of(account, address(host.split('\'').next()?)));
    }
    let (before, behind) = line.rsplit_once(" host: '").filter(|_| line.contains("Aborted connection"))?;
    Some(of(between(before, " user: '", "'"), address(behind.split('\'').next()?)))
}

/// Words that PostgreSQL writes before what it says.
const POSTGRES: [&str; 9] = [
    "LOG:  ",
    "FATAL:  ",
    "ERROR:  ",
    "WARNING:  ",
    "NOTICE:  ",
    "PANIC:  ",
    "DETAIL:  ",
    "HINT:  ",
    "STATEMENT:  ",
];

/// Whether a line has a word in which PostgreSQL says how grave it is.
pub(super) fn is_postgres(line: &str) -> bool {
    POSTGRES.iter().any(|word| line.contains(word))
}

/// What PostgreSQL says, without what its owner has it write before. The name of an account may stand there too, so that a line with
/// two such words is not read.
fn postgres_message(line: &str) -> Option<&str> {
    let mut found =
        POSTGRES.iter().flat_map(|word| line.match_indices(word).map(|(at, word)| at + word.len()));
    let at = found.next()?;
    found.next().is_none().then(|| line.get(at..)).flatten()
}

/// `FATAL:  password authentication failed for user "bob"`, `LOG:  connection received: host=203.0.113.9 port=51234`,
/// `FATAL:  no pg_hba.conf entry for host "203.0.113.9", user "bob", database "shop", no encryption`.
fn postgres(line: &str) -> Option<Said<'_>> {
    let message = postgres_message(line)?;
    if let Some(rest) = message.strip_prefix("connection received: host=") {
        return Some(of("", address(rest.split(' ').next()?)));
    }
    if let Some((host, rest)) =
        message.strip_prefix("no pg_hba.conf entry for host \"").and_then(|rest| rest.split_once('"'))
    {
        return Some(of(between(rest, "user \"", "\""), address(host)));
    }
    if message.starts_with("connection authorized: ") {
        return Some(of(between(message, "user=", " "), None));
    }
    let failed =
        message.split_once(" authentication failed for user \"").filter(|(how, _)| !how.contains('"'));
    let name = failed.map(|(_, name)| name.strip_suffix('"').unwrap_or(name));
    let unknown = || message.strip_prefix("role \"").and_then(|rest| rest.strip_suffix("\" does not exist"));
    Some(of(name.or_else(unknown)?, None))
}

/// `[pid 2] [bob] FAIL LOGIN: Client "203.0.113.9"`; behind the client of other lines stands a path.
fn vsftpd(line: &str) -> Option<Said<'_>> {
    let (before, behind) = once(line, ": Client \"")?;
    let account =
        before.rsplit_once("] ").and_then(|(names, _)| names.rsplit_once('[')).map(|(_, name)| name);
    Some(of(
        account.filter(|name| !name.starts_with("pid ")).unwrap_or(""),
        address(behind.split('"').next()?),
    ))
}

/// `ftp01 (host.example[203.0.113.9]) - USER bob (Login failed): Incorrect password`.
fn proftpd(line: &str) -> Option<Said<'_>> {
    let (before, said) = line.split_once("]) - ")?;
    let source = address(before.split_once(" (").map_or(before, |(_, client)| client).rsplit('[').next()?);
    let name = said.strip_prefix("USER ").and_then(|rest| {
        rest.rsplit_once(" (Login ").or_else(|| rest.split_once(": ")).map(|(name, _)| name)
    });
    Some(of(name.unwrap_or_default(), source))
}

/// `(bob@203.0.113.9) [WARNING] Authentication failed for user [bob]`; who has not logged in is a question mark.
fn pure_ftpd(line: &str) -> Option<Said<'_>> {
    let (client, said) = line.strip_prefix('(')?.split_once(") [")?;
    let (name, host) = client.split_once('@')?;
    let failed = said.split_once("failed for user [").map(|(_, rest)| rest.trim_end_matches(']'));
    Some(of(failed.unwrap_or(name.trim_matches('?')), address(host)))
}

/// `connection from 203.0.113.9 (host.example) at Wed Jun  3 12:59:31 2026`, `connect from 203.0.113.9`.
fn connected(line: &str) -> Option<Said<'_>> {
    let rest = line.strip_prefix("connection from ").or_else(|| line.strip_prefix("connect from "))?;
    Some(of("", Some(address(rest.split(' ').next()?)?)))
}

/// `imap-login: Disconnected (auth failed, 3 attempts): user=<bob>, method=PLAIN, rip=203.0.113.9, lip=10.0.2.5, …`. Other lines hold
/// what stands in mails.
fn dovecot(line: &str) -> Option<Said<'_>> {
    const LOGINS: [&str; 4] = ["imap-login: ", "pop3-login: ", "submission-login: ", "managesieve-login: "];
    LOGINS.iter().find(|login| line.starts_with(**login))?;
    let (before, behind) = line.rsplit_once(", rip=")?;
    let account =
        before.split_once("user=<").and_then(|(_, rest)| rest.rsplit_once('>')).map(|(name, _)| name);
    Some(of(account.unwrap_or_default(), address(behind.split(',').next()?)))
}

/// `warning: unknown[203.0.113.9]: SASL LOGIN authentication failed: …`, `A1B2C3: client=host.example[203.0.113.9],
/// sasl_method=LOGIN, sasl_username=bob`, `connect from unknown[203.0.113.9]`. The client stands before what it says.
fn postfix(line: &str) -> Option<Said<'_>> {
    const BEFORE: [&str; 6] = [
        "warning: ",
        "connect from ",
        "disconnect from ",
        "lost connection after ",
        "NOQUEUE: ",
        "timeout after ",
    ];
    let queued =
        || line.split_once(": client=").filter(|(id, _)| id.bytes().all(|b| b.is_ascii_alphanumeric()));
    if !BEFORE.iter().any(|beginning| line.starts_with(beginning)) && queued().is_none() {
        return None;
    }
    let (_, behind) = line.split_once('[')?;
    let (host, rest) = behind.split_once(']')?;
    let account = rest.split_once("sasl_username=").map_or("", |(_, name)| name);
    Some(of(account.trim_end_matches(','), address(host)))
}

/// `client @0x7f3a 10.0.2.20#53412 (www.example): query: www.example IN A + (10.0.2.53)`; `… query (cache) 'x/A/IN' denied`.
fn named(line: &str) -> Option<Said<'_>> {
    let rest = line.split_once("client ").filter(|(before, _)| before.len() <= 40).map(|(_, rest)| rest)?;
    let rest = match rest.strip_prefix("@0x") {
        Some(pointer) => pointer.split_once(' ')?.1,
        None => rest,
    };
    let (host, rest) = rest.split_once('#')?;
    let (number, said) = rest.split_once([' ', ':'])?;
    let source = address(host).map(|end| Endpoint { port: port(number), ..end });
    let verdict = said.ends_with(" denied").then_some(SensorVerdict::Blocked);
    Some(Said { source, verdict, is_telemetry: verdict.is_none(), ..Said::default() })
}

/// `conn=7 fd=64 ACCEPT from IP=203.0.113.9:51234 (IP=0.0.0.0:389)`, `conn=7 op=0 BIND dn="uid=bob,dc=example" method=128`,
/// `conn=7 op=0 RESULT tag=97 err=49 text=`: of these three lines the number of the connection makes one. Searches tell what passed.
fn slapd(line: &str) -> Option<Said<'_>> {
    let rest = line.strip_prefix("conn=")?.split_once(' ')?.1;
    if let Some((_, behind)) = rest.split_once(" ACCEPT from IP=") {
        return Some(of("", address(behind.split(' ').next()?)));
    }
    let (_, said) = rest.split_once(' ')?;
    if let Some(name) = said.strip_prefix("BIND dn=\"") {
        let name = name.split('"').next()?;
        let first = name.split(',').next().and_then(|part| part.split_once('='));
        return Some(of(first.map_or(name, |(_, value)| value), None));
    }
    let is_failed = said.starts_with("RESULT tag=97 ") && !said.starts_with("RESULT tag=97 err=0");
    Some(Said { is_telemetry: !is_failed, ..Said::default() })
}

/// `HttpRequest: access denied -- client 203.0.113.9: wrong password for user 'bob'`.
fn monit(line: &str) -> Option<Said<'_>> {
    let rest = line.strip_prefix("HttpRequest: access denied -- client ")?;
    let (host, said) = rest.split_once(": ").or_else(|| rest.split_once(' '))?;
    let source = address(host.trim_matches(['[', ']']));
    Some(Said {
        account: between(said, "'", "'"),
        source,
        verdict: Some(SensorVerdict::Blocked),
        ..Said::default()
    })
}

/// `08[IKE] 203.0.113.9 is initiating an IKE_SA`, `08[IKE] authentication of 'bob' with EAP failed`; the rest is negotiation.
fn charon(line: &str) -> Option<Said<'_>> {
    let (thread, said) = line.split_once("] ")?;
    let (number, _) = thread.split_once('[').filter(|(_, part)| part.len() == 3)?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let said = said.trim_start();
    if let Some((host, _)) = said.split_once(" is initiating ") {
        return Some(Said { source: address(host), is_telemetry: true, ..Said::default() });
    }
    let is_failed = said.starts_with("authentication of '") && said.ends_with(" failed");
    let account = if is_failed { between(said, "'", "'") } else { "" };
    Some(Said { account, is_telemetry: !is_failed, ..Said::default() })
}

/// `type=LOGIN_ERROR, realmId=x, clientId=shop, userId=null, ipAddress=203.0.113.9, error=…, username=bob`. Who logs in chooses the
/// name, and what is asked for stands in an address.
fn keycloak(line: &str) -> Option<Said<'_>> {
    let value = |key: &str| only(line.split(", "), key).map(|value| value.trim_matches('"'));
    let account = value("username").or_else(|| value("userId")).filter(|name| *name != "null");
    Some(of(account.unwrap_or_default(), value("ipAddress").and_then(address)))
}

/// `query[A] www.example from 10.0.2.20`, `reply www.example is 203.0.113.9`.
fn dnsmasq(line: &str) -> Option<Said<'_>> {
    const PASSED: [&str; 5] = ["query[", "reply ", "forwarded ", "cached ", "config "];
    let is_telemetry = PASSED.iter().any(|beginning| line.starts_with(beginning));
    let client = line.rsplit_once(" from ").filter(|_| line.starts_with("query["));
    let source = client.and_then(|(_, host)| address(host));
    Some(Said { source, is_telemetry, ..Said::default() })
}

/// `Bad password attempt for 'bob' from 203.0.113.9:51234`, `Password auth succeeded for 'bob' from …`.
fn dropbear(line: &str) -> Option<Said<'_>> {
    const ENDS: [&str; 6] = [
        "Bad password attempt for ",
        "Login attempt for nonexistent user",
        "Password auth succeeded for ",
        "Pubkey auth succeeded for ",
        "Child connection from ",
        "PAM password auth succeeded for ",
    ];
    ENDS.iter().find(|beginning| line.starts_with(**beginning))?;
    let (before, host) = line.rsplit_once("from ")?;
    Some(of(between(before, "'", "' "), address(host)))
}

/// `Auth: [SMB2,(null)] user [CORP]\[bob] at […] with [NTLMv2] status [NT_STATUS_WRONG_PASSWORD] workstation [PC7]
/// remote host [ipv4:203.0.113.9:51234] mapped to […]`.
fn samba(line: &str) -> Option<Said<'_>> {
    let (before, behind) = once(line, " remote host [ip")?;
    let host = behind.strip_prefix("v4:").or_else(|| behind.strip_prefix("v6:"))?;
    Some(of(between(before, "]\\[", "]"), address(host.split(']').next()?)))
}

/// `FAILED LOGIN (1) on '/dev/pts/0' from '203.0.113.9' FOR 'bob', Authentication failure`, `ROOT LOGIN on '/dev/tty1'`.
fn login(line: &str) -> Option<Said<'_>> {
    let lower = line.to_ascii_lowercase();
    let at = lower.find(" for ").unwrap_or(lower.len());
    let (before, behind) = line.split_at_checked(at)?;
    let place = lower.get(..at)?.find(" from ").and_then(|from| before.get(from + " from ".len()..));
    let source = place.and_then(|place| address(place.split([' ', ',']).next()?.trim_matches('\'')));
    let name = behind.get(" for ".len()..).unwrap_or_default();
    let name = name.rsplit_once(", ").map_or(name, |(name, _)| name);
    Some(of(name.trim_matches('\''), source))
}

/// `(root) CMD (/usr/local/bin/backup.sh)`.
fn cron(line: &str) -> Option<Said<'_>> {
    let (account, rest) = line.strip_prefix('(')?.split_once(") ")?;
    let process = rest.strip_prefix("CMD (").map(|command| command.strip_suffix(')').unwrap_or(command));
    Some(Said { account, process: process.unwrap_or_default().trim(), ..Said::default() })
}

/// `new user: name=bob, UID=1001, …`, `add 'bob' to group 'sudo'`, `delete user 'bob'`, `password for 'bob' changed by 'root'`.
fn accounts(line: &str) -> Option<Said<'_>> {
    let name = match line.strip_prefix("new user: name=").or_else(|| line.strip_prefix("new group: name=")) {
        Some(rest) => rest.split(',').next().unwrap_or_default(),
        None => between(line, "'", "'"),
    };
    Some(of(name, None))
}

/// `New session 5 of user bob.`
fn logind(line: &str) -> Option<Said<'_>> {
    let (_, name) = line.strip_prefix("New session ")?.split_once(" of user ")?;
    Some(of(name.trim_end_matches('.'), None))
}

/// `203.0.113.9:1194 TLS Auth Error: …`, `bob/203.0.113.9:1194 …`: who is connected, and what is said of it.
fn openvpn(line: &str) -> Option<Said<'_>> {
    let (client, said) = line.split_once(' ')?;
    let (common, host) = client.rsplit_once('/').unwrap_or(("", client));
    let source = address(host)?;
    let named = between(said, " for username '", "'");
    Some(of(if named.is_empty() { common } else { named }, Some(source)))
}

/// `NOTICE  [sshd] Ban 203.0.113.9`, `INFO    [sshd] Found 203.0.113.9 - 2026-06-03 12:59:31`.
fn fail2ban(line: &str) -> Option<Said<'_>> {
    let (_, said) = line.split_once("] ").filter(|(before, _)| before.contains('['))?;
    let (verb, rest) = ["Restore Ban ", "Unban ", "Ban ", "Found "]
        .iter()
        .find_map(|verb| Some((*verb, said.strip_prefix(verb)?)))?;
    let source = address(rest.split(' ').next()?);
    let verdict = verb.ends_with("Ban ").then_some(SensorVerdict::Blocked);
    Some(Said { source, verdict, ..Said::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Account, source and what else a line tells.
    fn told(program: &str, line: &str) -> (String, String) {
        let said = said(program, line).unwrap_or_else(|| panic!("{program}: {line}"));
        (said.account.to_owned(), said.source.map(|end| end.to_string()).unwrap_or_default())
    }

    /// Lines with `NAME` where whoever connects chooses the text, from 203.0.113.9.
    const LINES: [(&str, &str); 30] = [
        (
            "mysqld",
            "2026-06-03T12:59:31Z 12 [Note] Access denied for user 'NAME'@'203.0.113.9' (using password: YES)",
        ),
        ("mariadbd", "Access denied for user 'NAME'@'203.0.113.9' to database 'NAME'"),
        (
            "mysqld",
            "12 [Warning] Aborted connection 12 to db: 'NAME' user: 'NAME' host: '203.0.113.9' (Got timeout)",
        ),
        (
            "postgres",
            "[5-1] 2026-06-03 12:59:31 UTC [99] NAME@shop FATAL:  password authentication failed for user \"NAME\"",
        ),
        ("postgres", "[99] LOG:  connection received: host=203.0.113.9 port=51234"),
        (
            "postgres",
            "FATAL:  no pg_hba.conf entry for host \"203.0.113.9\", user \"NAME\", database \"NAME\", no encryption",
        ),
        ("vsftpd", "[pid 2] [NAME] FAIL LOGIN: Client \"203.0.113.9\""),
        ("vsftpd", "[pid 2] [bob] OK MKDIR: Client \"203.0.113.9\", \"/NAME\""),
        ("proftpd", "ftp01 (203.0.113.9[203.0.113.9]) - USER NAME (Login failed): Incorrect password"),
        ("pure-ftpd", "(?@203.0.113.9) [WARNING] Authentication failed for user [NAME]"),
        (
            "dovecot",
            "imap-login: Disconnected (auth failed, 3 attempts): user=<NAME>, method=PLAIN, rip=203.0.113.9, lip=10.0.2.5, TLS",
        ),
        ("smtpd", "warning: unknown[203.0.113.9]: SASL LOGIN authentication failed: NAME"),
        ("smtpd", "A1B2C3: client=host.example[203.0.113.9], sasl_method=LOGIN, sasl_username=NAME"),
        (
            "smtpd",
            "NOQUEUE: reject: RCPT from unknown[203.0.113.9]: 554 5.7.1 <NAME>: Relay access denied; helo=<NAME>",
        ),
        ("named", "client @0x7f3a 203.0.113.9#53412 (NAME): query (cache) 'NAME/A/IN' denied"),
        ("dnsmasq", "query[A] NAME from 203.0.113.9"),
        ("dropbear", "Bad password attempt for 'NAME' from 203.0.113.9:51234"),
        (
            "smbd",
            "Auth: [SMB2,(null)] user [CORP]\\[NAME] at [x] with [NTLMv2] status [NT_STATUS_WRONG_PASSWORD] workstation [NAME] remote host [ipv4:203.0.113.9:51234] mapped to [CORP]\\[NAME].",
        ),
        ("login", "FAILED LOGIN (1) on '/dev/pts/0' from '203.0.113.9' FOR 'NAME', Authentication failure"),
        ("openvpn", "203.0.113.9:1194 TLS: Username/Password authentication failed for username 'NAME'"),
        ("fail2ban.actions", "[99]: NOTICE  [sshd] Ban 203.0.113.9"),
        ("CRON", "(bob) CMD (/bin/echo NAME)"),
        ("useradd", "new user: name=NAME, UID=1001, GID=1001, home=/home/x, shell=/bin/sh, from=/dev/pts/0"),
        ("passwd", "password for 'NAME' changed by 'root'"),
        (
            "asterisk",
            "NOTICE[1638]: chan_sip.c:28926 in handle_request_register: Registration from '\"NAME\" <sip:NAME@10.0.2.5>' failed for '203.0.113.9:5060' - Wrong password",
        ),
        (
            "asterisk",
            "NOTICE[436][C-00000fa9] chan_sip.c: Call from 'NAME' (203.0.113.9:10836) to extension 'NAME' rejected because extension not found in context 'default'.",
        ),
        (
            "asterisk",
            "SECURITY[9] res_security_log.c: SecurityEvent=\"InvalidPassword\",Service=\"PJSIP\",AccountID=\"NAME\",SessionID=\"x\",LocalAddress=\"IPV4/UDP/10.0.2.5/5060\",RemoteAddress=\"IPV4/UDP/203.0.113.9/5060\",Challenge=\"x\"",
        ),
        ("dhcpd", "DHCPACK on 203.0.113.9 to 00:00:5e:00:53:01 (NAME) via eth0"),
        ("monit", "HttpRequest: access denied -- client 203.0.113.9: wrong password for user 'NAME'"),
        (
            "keycloak",
            "type=LOGIN_ERROR, realmId=x, clientId=shop, userId=null, ipAddress=203.0.113.9, error=invalid_user_credentials, username=NAME",
        ),
    ];

    #[test]
    fn who_came_from_where_is_read() {
        for (program, line) in LINES {
            let (_, source) = told(program, &line.replace("NAME", "bob"));
            let comes = line.contains("203.0.113.9");
            assert_eq!(source.starts_with("203.0.113.9"), comes, "{program}: {line}");
        }
        for (program, line, account) in [
            ("mysqld", LINES[0].1, "bob"),
            ("postgres", LINES[3].1, "bob"),
            ("postgres", LINES[5].1, "bob"),
            ("vsftpd", LINES[6].1, "bob"),
            ("proftpd", LINES[8].1, "bob"),
            ("pure-ftpd", LINES[9].1, "bob"),
            ("dovecot", LINES[10].1, "bob"),
            ("smtpd", LINES[12].1, "bob"),
            ("dropbear", LINES[16].1, "bob"),
            ("smbd", LINES[17].1, "bob"),
            ("login", LINES[18].1, "bob"),
            ("openvpn", LINES[19].1, "bob"),
            ("CRON", LINES[21].1, "bob"),
            ("useradd", LINES[22].1, "bob"),
            ("passwd", LINES[23].1, "bob"),
            ("asterisk", LINES[26].1, "bob"),
            ("monit", LINES[28].1, "bob"),
            ("keycloak", LINES[29].1, "bob"),
            ("slapd", "conn=7 op=0 BIND dn=\"uid=NAME,ou=People,dc=example\" method=128", "bob"),
            ("charon", "08[IKE] authentication of 'NAME' with EAP failed", "bob"),
            ("systemd-logind", "New session 5 of user NAME.", "bob"),
            ("usermod", "add 'NAME' to group 'sudo'", "bob"),
            ("openvpn", "NAME/203.0.113.9:1194 SIGUSR1[soft,ping-restart] received", "bob"),
        ] {
            assert_eq!(told(program, &line.replace("NAME", "bob")).0, account, "{program}: {line}");
        }
        assert_eq!(said("CRON", LINES[21].1).map(|said| said.process), Some("/bin/echo NAME"));
    }

    #[test]
    fn what_passed_is_told_from_what_was_refused() {
        let query =
            said("named", "client 10.0.2.20#53412 (www.example): query: www.example IN A + (10.0.2.53)");
        assert!(query.is_some_and(|said| said.is_telemetry && said.source.is_some()));
        let refused = said("named", LINES[14].1).unwrap();
        assert_eq!((refused.is_telemetry, refused.verdict), (false, Some(SensorVerdict::Blocked)));
        assert!(said("dnsmasq", "query[A] www.example from 10.0.2.20").is_some_and(|said| said.is_telemetry));
        assert_eq!(said("fail2ban", LINES[20].1).and_then(|said| said.verdict), Some(SensorVerdict::Blocked));
        for (program, line) in [
            ("dhcpd", LINES[27].1),
            ("dnsmasq-dhcp", "DHCPACK(eth0) 203.0.113.9 00:00:5e:00:53:01 pc7"),
            ("dhcp6c", "Sending Release"),
            ("charon", "08[IKE] 203.0.113.9 is initiating a Main Mode IKE_SA"),
            ("charon", "08[CFG]   mobike = 1"),
            ("slapd", "conn=7 op=1 SRCH base=\"dc=example\" scope=2"),
        ] {
            let said = said(program, line).unwrap();
            assert!(said.is_telemetry, "{line}");
            assert_eq!(said.source.is_some(), line.contains("203.0.113.9"), "{line}");
        }
        for (program, line) in [
            ("asterisk", "NOTICE[x] chan_sip.c: Registration from 'x' failed for '203.0.113.9' - x"),
            ("asterisk", "VERBOSE[1] pbx.c: Executing x"),
            ("shop", LINES[0].1),
            ("mysqld", "ready for connections"),
            ("postgres", "LOG:  statement: SELECT ' user \"x\"'"),
            ("dovecot", "lda(bob): msgid=<x, rip=203.0.113.9>: saved mail to INBOX"),
        ] {
            assert_eq!(said(program, line), None, "{program}: {line}");
        }
    }

    /// What somebody may call himself, so that it is taken for another line, or for an end of this one.
    fn name() -> impl Strategy<Value = String> {
        let forged = prop::sample::select(vec![
            "x'@'6.6.6.6' (using password: YES)",
            "x' host: '6.6.6.6' (Got",
            "x\" LOG:  connection received: host=6.6.6.6 port=1",
            "FATAL:  no pg_hba.conf entry for host \"6.6.6.6\"",
            "] FAIL LOGIN: Client \"6.6.6.6\"",
            ": Client \"6.6.6.6",
            "x (a[6.6.6.6]) - USER y",
            "x@6.6.6.6) [INFO] y",
            "x>, method=PLAIN, rip=6.6.6.6, lip=1",
            "y[6.6.6.6]: SASL",
            "client @0x1 6.6.6.6#1 (a): b denied",
            "x from 6.6.6.6:1",
            " remote host [ipv4:6.6.6.6:1] remote host [ipv6:6::6] ",
            "from '6.6.6.6' FOR 'x'",
            "6.6.6.6:1194 TLS",
            "x' failed for '6.6.6.6:5060' - Wrong password",
            "x' (6.6.6.6:1) to extension '1",
            "x\",RemoteAddress=\"IPV4/UDP/6.6.6.6/1\",",
            "[sshd] Ban 6.6.6.6",
            "user=root src=6.6.6.6",
        ]);
        prop_oneof![
            "[ -~é]{0,60}".prop_map(String::from),
            forged.clone().prop_map(str::to_owned),
            ("[ -~]{0,8}", forged, "[ -~]{0,8}").prop_map(|(a, text, b)| format!("{a}{text}{b}")),
        ]
    }

    proptest! {
        #[test]
        fn a_name_is_never_an_end(at in 0..LINES.len(), name in name()) {
            let (program, line) = LINES[at];
            if let Some(said) = said(program, &line.replace("NAME", &name)) {
                let source = said.source.map_or_else(|| "203.0.113.9".to_owned(), |end| end.address);
                prop_assert_eq!(source, "203.0.113.9", "{}: {}", program, line);
            }
        }

        #[test]
        fn any_line_is_survived(at in 0..LINES.len(), line in "\\PC{0,120}", from in 0..200_usize) {
            let (program, known) = LINES[at];
            let _ = said(program, &line);
            let cut: String = known.chars().skip(from % known.len()).chain(line.chars()).collect();
            let _ = said(program, &cut);
        }
    }
}
