//! Citrix NetScaler (ADC, Gateway): `06/03/2026:12:59:31 GMT ns 0-PPE-0 : default AAA LOGIN_FAILED 1234 0 : User bob - Client_ip
//! 203.0.113.9 - Failure_reason "…" - …`. Older ones leave out `default`.
//!
//! What its application firewall finds is an alert; logins, sessions and commands are logs; connections, handshakes and its own health
//! are telemetry. Facts are parted by dashes, and whoever logs in chooses the name: an address counts only where its key stands once.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_ADDRESS, MAX_DETAIL, clean, clean_message, endpoint};
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, ip_end, own_end, tell_traffic};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| envelope.program.is_empty() && head(line).is_some(),
    read,
};

/// Whether a line begins as NetScaler's do.
pub(crate) fn is_net_scaler(line: &str) -> bool {
    head(line).is_some()
}

/// What stands before the facts of a line.
struct Head<'a> {
    time: Option<Timestamp>,
    host: &'a str,
    /// The part of the product that speaks, and what it calls the event.
    module: &'a str,
    event: &'a str,
    said: &'a str,
}

fn head(line: &str) -> Option<Head<'_>> {
    let (front, rest) = line.split_at_checked(line.find(" : ").filter(|at| *at <= 128)?)?;
    let mut words = front.split_whitespace();
    let moment = words.next()?;
    let engine = words.next_back().filter(|word| word.contains("-PPE-"))?;
    let engine_is = engine.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // The zone and the name; either may be missing.
    let (zone, host) = match (words.next(), words.next()) {
        (Some(zone), Some(host)) => (zone, host),
        (Some("GMT" | "UTC"), None) => ("GMT", ""),
        (Some(host), None) => ("", host),
        _ => ("", ""),
    };
    let time = time(moment, zone).filter(|_| engine_is && words.next().is_none())?;
    let rest = rest.strip_prefix(" : ")?.trim_start();
    let (names, said) = rest.split_once(" :")?;
    let mut names = names.split_whitespace().skip_while(|word| *word == "default");
    let (module, event) = (names.next()?, names.next()?);
    // A counter and a mark behind them are numbers.
    let are_numbers = names.all(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    are_numbers.then_some(Head { time: Some(time), host, module, event, said: said.trim() })
}

/// `06/03/2026:12:59:31`, the month first unless that can be none.
fn time(text: &str, zone: &str) -> Option<Timestamp> {
    let (date, clock) = text.split_once(':')?;
    let mut parts = date.split('/');
    let (first, second, year) = (parts.next()?, parts.next()?, parts.next()?);
    let is_date = [first, second].iter().all(|part| part.len() == 2) && year.len() == 4;
    let is_day = first.parse::<u8>().ok()? > 12;
    let (month, day) = if is_day { (second, first) } else { (first, second) };
    let zone = if matches!(zone, "GMT" | "UTC") { "Z" } else { "" };
    Timestamp::parse(&format!("{year}-{month}-{day}T{clock}{zone}")).filter(|_| is_date)
}

/// The facts of a line.
#[derive(Clone, Copy)]
struct Facts<'a>(&'a str);

impl<'a> Facts<'a> {
    /// The value of a key that stands once, without its quotation marks.
    fn value(self, key: &str) -> Option<&'a str> {
        let mut found =
            self.0.split(" - ").filter_map(|part| part.trim().strip_prefix(key)?.strip_prefix([' ', ':']));
        let value = found.next().filter(|_| found.next().is_none())?;
        Some(value.trim().trim_matches('"').trim()).filter(|value| !matches!(*value, "" | "N/A" | "NONE"))
    }

    fn end(self, key: &str) -> Option<Endpoint> {
        endpoint(self.value(key)?, "TCP").filter(|end| end.ip().is_some())
    }

    /// Who acts and from where, by facts of their own or as `Context bob@203.0.113.9`.
    fn who(self) -> (&'a str, Option<Endpoint>) {
        let context = self.value("Context").and_then(|context| context.rsplit_once('@'));
        let account = self.value("User").or(context.map(|(name, _)| name)).unwrap_or_default();
        let own = ["Client_ip", "Remote_ip", "ClientIP"].iter().find_map(|key| self.end(key));
        // A client's system drew the port.
        let own = own.map(|end| Endpoint { port: None, ..end });
        (account, own.or_else(|| ip_end(context?.1, None)))
    }
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let Head { time, host, module, event, said } = head(line)?;
    let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
    record.time = time.filter(|time| time.has_zone()).or(envelope.time).or(time);
    record.sensor = "NetScaler".to_owned();
    if record.host.is_empty() {
        record.host = clean(host, MAX_ADDRESS);
    }
    record.rule = clean(event, MAX_NAME);
    record.classification = clean(module, MAX_NAME);
    record.raw = clean(line, MAX_RAW);
    let facts = Facts(said);
    match module {
        "APPFW" => violation(event, said, &mut record),
        "SSLVPN" | "AAA" | "AAATM" | "ICA" => session(event, facts, &mut record, envelope),
        "UI" | "CLI" | "GUI" | "API" => command(module, facts, &mut record, envelope),
        _ => {
            record.kind = RecordKind::Telemetry;
            record.source = facts.end("Source").or_else(|| facts.who().1);
            record.destination = facts.end("Destination");
            if record.source.is_some() && record.destination.is_some() {
                tell_traffic(&mut record, &event.replace('_', " "));
            } else {
                record.message = clean_message(&format!("{module} {event}: {said}"));
            }
        }
    }
    Some(record)
}

/// `203.0.113.9 12-PPE1 SESSION PROFILE URL what was found <blocked>`.
fn violation(event: &str, said: &str, record: &mut Record) {
    let what = event.strip_prefix("APPFW_").unwrap_or(event).replace('_', " ");
    let mut words = said.splitn(6, ' ');
    record.source = words.next().and_then(|word| ip_end(word, None));
    let url = words.find(|word| word.contains("://")).unwrap_or_default();
    record.kind = RecordKind::Alert;
    record.detail = clean(url, MAX_DETAIL);
    let found = words.next().or_else(|| said.split_once(url)?.1.get(1..)).unwrap_or(said).trim();
    record.verdict = match found.rsplit_once('<').map(|(_, done)| done.trim_end_matches('>')) {
        Some("blocked") => Some(SensorVerdict::Blocked),
        Some("not blocked") => Some(SensorVerdict::Allowed),
        _ => None,
    };
    // What was sent stands in it, so that only its beginning says what was found.
    let found = found.split(['<', '"', '=']).next().unwrap_or_default().trim();
    let title = format!("application firewall: {what} {found}");
    record.message = clean_message(title.trim_end());
}

/// What somebody did at the gateway.
fn session(event: &str, facts: Facts<'_>, record: &mut Record, envelope: &Envelope<'_>) {
    let (account, source) = facts.who();
    let what = match event {
        "LOGIN" => "login",
        "LOGIN_FAILED" => "login failed",
        "LOGOUT" => "logout",
        "TCPCONNSTAT" | "UDPFLOWSTAT" | "ICASTART" | "ICAEND_CONNSTAT" => "session to",
        "HTTPREQUEST" => "request",
        "HTTP_RESOURCEACCESS_DENIED" | "NONHTTP_RESOURCEACCESS_DENIED" => "access denied to",
        "Message" | "EXTRACTED_GROUPS" => {
            record.kind = RecordKind::Telemetry;
            "message"
        }
        other => other,
    };
    let is_denied = event.ends_with("_DENIED") || facts.value("Access") == Some("Denied");
    let to = facts.end("Destination").map(|end| end.to_string());
    let request = (event == "HTTPREQUEST").then(|| request(facts.0)).flatten();
    let words = [
        ("", to.as_deref()),
        ("by", Some(account)),
        ("from", source.as_ref().map(|end| end.address.as_str())),
        ("because", facts.value("Failure_reason")),
        ("", request),
        ("", Some(facts.0).filter(|_| what == "message")),
    ];
    record.message = clean_message(&told(&format!("{} {what}", record.classification), &words));
    record.detail = clean(facts.value("Browser_type").or(request).unwrap_or_default(), MAX_DETAIL);
    record.account = clean(account, MAX_NAME);
    record.destination = facts.end("Destination").or_else(|| own_end(envelope)).filter(|_| source.is_some());
    record.source = source;
    record.verdict = is_denied.then_some(SensorVerdict::Blocked);
}

/// The method and the path of `… : SSO is OFF : GET /index.html - -`.
fn request(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once(": SSO is ")?;
    let (_, request) = rest.split_once(" : ")?;
    request.split(" - ").next().map(str::trim).filter(|request| !request.is_empty())
}

/// What an administrator did: `User nsroot - Remote_ip 203.0.113.9 - Command "…" - Status "Success"`.
fn command(module: &str, facts: Facts<'_>, record: &mut Record, envelope: &Envelope<'_>) {
    let (account, source) = facts.who();
    let command = facts.value("Command").unwrap_or_default();
    let status = facts.value("Status");
    record.process = clean(command, MAX_COMMAND);
    record.account = clean(account, MAX_NAME);
    record.destination = own_end(envelope).filter(|_| source.is_some());
    let words = [
        ("", Some(command)),
        ("by", Some(account)),
        ("from", source.as_ref().map(|end| end.address.as_str())),
        ("ended with", status.filter(|status| *status != "Success")),
    ];
    record.message = clean_message(&told(&format!("{module} command"), &words));
    record.source = source;
}

/// A title, and the words before each value that there is.
fn told(title: &str, words: &[(&str, Option<&str>)]) -> String {
    let mut out = title.to_owned();
    for (word, value) in words {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let word = if word.is_empty() { String::new() } else { format!("{word} ") };
            out.push_str(&format!(" {word}{value}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(said: &str) -> Record {
        let line = format!("06/03/2026:12:59:31 GMT ns01 0-PPE-0 : {said}");
        assert!((FORMAT.recognises)(&line, &Envelope::default()), "{line}");
        read(&line, &Envelope { host: "10.0.0.4", ..Envelope::default() }).unwrap()
    }

    #[test]
    fn logins_name_account_and_client() {
        let came = parse(
            "default SSLVPN LOGIN 1234 0 : Context bob@203.0.113.9 - SessionId: 77 - User bob - Client_ip 203.0.113.9 - Nat_ip \
             \"Mapped Ip\" - Vserver 10.0.0.5:443 - Browser_type \"x\" - SSLVPN_client_type ICA - Group(s) \"N/A\"",
        );
        assert_eq!(
            (came.kind, came.message.as_str()),
            (RecordKind::Log, "SSLVPN login by bob from 203.0.113.9")
        );
        assert_eq!((came.account.as_str(), came.source.unwrap().address.as_str()), ("bob", "203.0.113.9"));
        assert_eq!(came.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let failed = parse(
            "default AAA LOGIN_FAILED 1235 0 : User bob - Client_ip 203.0.113.9 - Failure_reason \"server denied access\" - Browser x",
        );
        assert_eq!(failed.message, "AAA login failed by bob from 203.0.113.9 because server denied access");
        let named =
            parse("AAA LOGIN_FAILED 1235 0 : User x - Client_ip 6.6.6.6 - Client_ip 203.0.113.9 - Browser y");
        assert_eq!(named.source, None, "a name is never an end");
    }

    #[test]
    fn sessions_requests_and_commands_are_told() {
        let session = parse(
            "default SSLVPN TCPCONNSTAT 9 0 : Context bob@203.0.113.9 - SessionId: 77 - User bob - Client_ip 203.0.113.9 - Nat_ip \
             10.0.0.6 - Vserver 10.0.0.5:443 - Source 203.0.113.9:51234 - Destination 10.0.2.14:3389 - Access Allowed - Group(s) x",
        );
        assert_eq!(session.message, "SSLVPN session to 10.0.2.14:3389 by bob from 203.0.113.9");
        assert_eq!(session.destination.unwrap().to_string(), "10.0.2.14:3389");
        let asked = parse(
            "default SSLVPN HTTPREQUEST 9 0 : Context bob@203.0.113.9 - SessionId: 77- shop.local User bob : Group(s) N/A : Vserver \
             10.0.0.5:443 - 06/03/2026:12:59:31 GMT : SSO is OFF : GET /index.html - -",
        );
        assert_eq!(asked.message, "SSLVPN request by bob from 203.0.113.9 GET /index.html");
        let ran = parse(
            "default UI CMD_EXECUTED 9 0 : User nsroot - ADM_User NONE - Remote_ip 203.0.113.9 - Command \"show ns config\" - Status \
             \"ERROR: no\"",
        );
        assert_eq!(ran.message, "UI command show ns config by nsroot from 203.0.113.9 ended with ERROR: no");
        assert_eq!((ran.process.as_str(), ran.account.as_str()), ("show ns config", "nsroot"));
    }

    #[test]
    fn what_the_firewall_finds_is_an_alert() {
        let found = parse(
            "default APPFW APPFW_SQL 1237 0 :  203.0.113.9 12-PPE1 abc prof http://shop.example/a?id=1 SQL Keyword check failed for field \
             id=\"union(\" <blocked>",
        );
        assert_eq!((found.kind, found.verdict), (RecordKind::Alert, Some(SensorVerdict::Blocked)));
        assert_eq!(found.message, "application firewall: SQL SQL Keyword check failed for field id");
        assert_eq!(
            (found.source.unwrap().address.as_str(), found.rule.as_str()),
            ("203.0.113.9", "APPFW_SQL")
        );
        assert_eq!(found.detail, "http://shop.example/a?id=1");
        let seen = parse(
            "default TCP CONN_TERMINATE 5 0 : Source 10.0.3.7:51234 - Destination 10.0.2.14:443 - Start Time x",
        );
        assert_eq!(
            (seen.kind, seen.message.as_str()),
            (RecordKind::Telemetry, "CONN TERMINATE 10.0.3.7 -> 10.0.2.14:443")
        );
        assert_eq!(parse("default EVENT DEVICEUP 5 0 : Device \"x\" - State UP").kind, RecordKind::Telemetry);
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "06/03/2026:12:59:31 GMT ns01 x : default AAA LOGIN_FAILED 1 0 : User bob",
            "x 06/03/2026:12:59:31 GMT ns01 0-PPE-0 : default AAA LOGIN_FAILED 1 0 : x",
            "99/99/2026:12:59:31 GMT ns01 0-PPE-0 : default AAA X 1 0 : x",
            "06/03/2026:12:59:31 GMT ns01 0-PPE-0 : said : x",
            "",
        ] {
            assert!(!is_net_scaler(line), "{line}");
        }
        let shop = Envelope { program: "shop", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("06/03/2026:12:59:31 GMT n 0-PPE-0 : default AAA X 1 0 : x", &shop));
    }
}
