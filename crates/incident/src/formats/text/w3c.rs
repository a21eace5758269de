//! W3C's extended log form, whose `#Fields:` names the columns: web servers (IIS, CloudFront), proxies (ProxySG), the firewall of
//! Windows, and the proxy in front of Exchange, which parts them by commas.
//!
//! ```text
//! #Software: Microsoft Internet Information Services 10.0
//! #Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) sc-status
//! 2026-06-03 12:59:31 10.0.2.14 GET /x a=1 443 - 203.0.113.9 curl/8.5 200
//! ```
//!
//! Requests that a server answered are a log, as are packets and requests that were refused; what a proxy or a firewall let through
//! is telemetry. Servers write a plus for a blank and no blank into a value, so that what a client sends stays in its column.

use super::super::format::{Envelope, Layout, LayoutFormat, LineFormat, Offered};
use super::super::{Format, MAX_DETAIL, clean, clean_message, clean_protocol, port};
use super::columns::{Columns, Row};
use super::{MAX_NAME, MAX_RAW, begun, end, ip_end, tell_traffic, verdict};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LayoutFormat =
    LayoutFormat { format: Format::W3c, recognises, start: || Box::new(Reader::default()) };

fn recognises(line: &str) -> bool {
    ["#Software: ", "#Version: ", "#Fields: "].iter().any(|beginning| line.starts_with(beginning))
}

/// A request in the order in which IIS writes it, of a file whose header is missing.
pub(super) const ROW: LineFormat = LineFormat {
    format: Format::W3c,
    recognises: |line, envelope| envelope.program.is_empty() && columns_of(line).is_some(),
    read: |line, _| {
        let columns = columns_of(line)?;
        Reader { software: String::new(), columns, date: String::new() }.record(line)
    },
};

/// The columns of a row by its shape: the server's address, a method, a path and a query, a port, an account and the client's address
/// follow each other, and the status comes first among the numbers at the end.
fn columns_of(line: &str) -> Option<Columns> {
    const BEFORE: [&[&str]; 3] = [&[], &["s-computername"], &["s-sitename", "s-computername"]];
    const BEHIND: [&str; 4] = ["cs(User-Agent)", "x-1", "cs(Referer)", "cs-host"];
    let words: Vec<&str> = line.split_ascii_whitespace().take(40).collect();
    let is_date = words.first()?.len() == 10 && Timestamp::parse(&words.get(..2)?.join(" ")).is_some();
    let is_method =
        |word: &&str| (3..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_number = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let own = BEFORE.iter().find(|before| {
        let place = 2 + before.len();
        let word = |at: usize| words.get(place + at);
        word(0).is_some_and(|server| ip_end(server, None).is_some())
            && word(1).is_some_and(is_method)
            && word(2).is_some_and(|path| path.starts_with('/'))
            && word(4).is_some_and(|number| port(number).is_some())
            && word(6).is_some_and(|client| ip_end(client, None).is_some())
    })?;
    let numbers = words.iter().rev().take_while(is_number).count();
    let between = words.get(2 + own.len() + 7..words.len().checked_sub(numbers)?)?;
    let mut names = vec!["date", "time"];
    names.extend_from_slice(own);
    names.extend(["s-ip", "cs-method", "cs-uri-stem", "cs-uri-query", "s-port", "cs-username", "c-ip"]);
    let version = between.first().is_some_and(|word| word.starts_with("HTTP/"));
    names.extend(version.then_some("cs-version"));
    let texts = between.len() - usize::from(version);
    // With two texts the second is the referrer; with three and more there are cookies between.
    names.extend(match texts {
        0..=1 => BEHIND.get(..texts)?.to_vec(),
        2 => vec!["cs(User-Agent)", "cs(Referer)"],
        3..=4 => BEHIND.get(..texts)?.to_vec(),
        _ => return None,
    });
    names.push("sc-status");
    names.extend(std::iter::repeat_n("x-2", numbers.checked_sub(1)?));
    Some(Columns::named(&names.join(" "))).filter(|_| is_date && numbers >= 3)
}

#[derive(Clone, Debug, Default)]
struct Reader {
    software: String,
    columns: Columns,
    /// The date of what follows, for columns without one.
    date: String,
}

impl Layout for Reader {
    fn offer(&mut self, line: &str) -> Offered {
        if let Some(header) = line.strip_prefix('#') {
            return match header.split_once(':') {
                Some((name, value)) if self.take_header(name, value.trim()) => Offered::Taken(None),
                _ => Offered::NotMine(None),
            };
        }
        Offered::line(self.record(line))
    }

    fn holds(&self) -> bool {
        true
    }
}

impl Reader {
    fn take_header(&mut self, name: &str, value: &str) -> bool {
        match name {
            "Software" => value.clone_into(&mut self.software),
            "Fields" => self.columns = Columns::named(value),
            "Date" | "Start-Date" => {
                value.split(' ').next().unwrap_or_default().clone_into(&mut self.date);
            }
            "Version" | "Remark" | "End-Date" | "Time Format" | "Log-type" | "Log-Type" => {}
            _ => return false,
        }
        true
    }

    fn record(&self, line: &str) -> Option<Record> {
        let row = self.columns.row(line)?;
        let is_packet = row.get("src-ip").is_some() && row.get("action").is_some();
        let date = row.get("date").unwrap_or(&self.date);
        // Windows' firewall writes local time, all others write UTC.
        let zone = if is_packet { "" } else { "Z" };
        let time = match row.get("DateTime") {
            Some(whole) => Timestamp::parse(whole),
            None => Timestamp::parse(&format!("{date} {}{zone}", row.get("time")?)),
        };
        let mut record = begun(RecordKind::Log, Format::W3c, &Envelope::default());
        record.time = Some(time?);
        record.sensor = clean(&self.software, MAX_NAME);
        record.raw = clean(line, MAX_RAW);
        if is_packet {
            packet(&row, &mut record);
        } else {
            request(&row, &mut record)?;
        }
        Some(record)
    }
}

/// A packet that the firewall of Windows let through or dropped.
fn packet(row: &Row<'_>, record: &mut Record) {
    let action = row.get("action").unwrap_or_default();
    record.protocol = clean_protocol(row.get("protocol").unwrap_or_default());
    let end_of = |address, number| end(row.get(address)?, row.get(number).and_then(port));
    record.source = end_of("src-ip", "src-port");
    record.destination = end_of("dst-ip", "dst-port");
    record.verdict = verdict(action);
    record.process = clean(row.get("path").filter(|path| path.contains(':')).unwrap_or_default(), MAX_NAME);
    if record.verdict != Some(SensorVerdict::Blocked) {
        record.kind = RecordKind::Telemetry;
    }
    tell_traffic(record, action);
}

/// A request, with the words of an access log.
fn request(row: &Row<'_>, record: &mut Record) -> Option<()> {
    let (client, method) = (row.first(&["c-ip", "ClientIpAddress"])?, row.first(&["cs-method", "Method"])?);
    let account = row.first(&["cs-username", "cs-user", "cs-auth-user", "AuthenticatedUser"]).unwrap_or("-");
    let path = row.first(&["cs-uri-stem", "cs-uri-path", "cs-uri", "c-uri", "UrlStem"]).unwrap_or("-");
    let query =
        row.first(&["cs-uri-query", "UrlQuery"]).map(|query| format!("?{}", query.trim_start_matches('?')));
    let query = query.unwrap_or_default();
    let status = row.first(&["sc-status", "rs-status", "HttpStatus"]).unwrap_or("-");
    let agent = row.first(&["cs(User-Agent)", "UserAgent"]).unwrap_or("-").replace('+', " ");
    let referrer = row.first(&["cs(Referer)", "cs(Referrer)"]).unwrap_or("-");
    // What a proxy asks for on behalf of somebody inside names another site in each request.
    let is_proxy = row.first(&["s-action", "r-ip", "rs-status", "x-bluecoat-application-name"]).is_some();
    let site = row.first(&["cs-host", "x-host-header", "cs(Host)"]);
    let target = match site.filter(|_| is_proxy) {
        Some(site) => format!("{site}{path}{query}"),
        None => format!("{path}{query}"),
    };
    record.detail = clean(&format!("{method} {target}"), MAX_DETAIL);
    record.message = clean_message(&format!(
        "{client} - {account} \"{method} {target}\" {status} \"{referrer}\" \"{agent}\""
    ));
    record.account = clean(if account == "-" { "" } else { account }, MAX_NAME);
    record.source = end(client, None);
    let own = row.first(&["s-ip", "s-computername", "ServerHostName"]);
    let refused = row.first(&["sc-filter-result", "x-exception-id"]);
    if is_proxy {
        let refused = refused.and_then(verdict) == Some(SensorVerdict::Blocked);
        record.verdict = refused.then_some(SensorVerdict::Blocked);
        record.kind = if refused { RecordKind::Log } else { RecordKind::Telemetry };
        record.destination = row.get("r-ip").and_then(|address| end(address, None));
        record.via = own.into_iter().map(|proxy| clean(proxy, MAX_NAME)).collect();
    } else {
        record.destination = own.or(site).and_then(|own| end(own, row.get("s-port").and_then(port)));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IIS: &str = "\
#Software: Microsoft Internet Information Services 10.0
#Version: 1.0
#Date: 2026-06-03 00:00:00
#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status
2026-06-03 12:59:31 10.0.2.14 GET /x a=1 443 CORP\\bob 203.0.113.9 Mozilla/5.0+(X11) - 401
not a row
2026-06-03 12:59:32 10.0.2.14 GET /y - 443 - 203.0.113.9 - - 200
";
    const EXCHANGE: &str = "\
#Software: Microsoft Exchange Server
#Log-type: HttpProxy Logs
#Fields: DateTime,Protocol,UrlStem,AuthenticatedUser,UserAgent,ClientIpAddress,ServerHostName,HttpStatus,Method,UrlQuery
2026-06-03T12:59:31.342Z,Ecp,/ecp/x.js,CORP\\bob,Mozilla/5.0,203.0.113.9,MX01,200,POST,\"?a=1,2\"
";
    const FIREWALL: &str = "\
#Version: 1.5
#Software: Microsoft Windows Firewall
#Time Format: Local
#Fields: date time action protocol src-ip dst-ip src-port dst-port size path
2026-06-03 12:59:31 DROP TCP 203.0.113.9 10.0.2.11 51234 445 0 RECEIVE
2026-06-03 12:59:31 ALLOW ICMP 10.0.2.11 10.0.2.12 - - 0 SEND
";
    const PROXY: &str = "\
#Fields: date time c-ip cs-username sc-filter-result s-action sc-status cs-method cs-host cs-uri-path cs(User-Agent) s-ip
2026-06-03 12:59:31 10.0.3.17 bob DENIED TCP_DENIED 403 GET bad.example /x \"curl 8\" 10.0.2.5
2026-06-03 12:59:31 10.0.3.17 bob OBSERVED TCP_MISS 200 GET good.example /x \"curl 8\" 10.0.2.5
";

    fn read(text: &str) -> (Vec<Record>, usize) {
        assert!(recognises(text));
        let mut reader = (FORMAT.start)();
        let offered: Vec<Offered> = text.lines().map(|line| reader.offer(line)).collect();
        let left = offered.iter().filter(|offered| matches!(offered, Offered::NotMine(_))).count();
        let taken = offered.into_iter().filter_map(|offered| match offered {
            Offered::Taken(record) => record.map(|record| *record),
            Offered::NotMine(_) => None,
        });
        (taken.collect(), left)
    }

    #[test]
    fn requests_are_logs_from_client_to_server() {
        let (records, left) = read(IIS);
        let [first, second] = &records[..] else { panic!("{records:?}") };
        assert_eq!(left, 1, "the header holds behind a line that is no row");
        assert_eq!(first.message, "203.0.113.9 - CORP\\bob \"GET /x?a=1\" 401 \"-\" \"Mozilla/5.0 (X11)\"");
        assert_eq!((first.kind, first.account.as_str()), (RecordKind::Log, "CORP\\bob"));
        assert_eq!(first.destination.as_ref().unwrap().to_string(), "10.0.2.14:443");
        assert_eq!(second.time.unwrap().to_string(), "2026-06-03T12:59:32.000000");
        assert!(second.account.is_empty() && second.time.unwrap().has_zone());
    }

    #[test]
    fn requests_to_exchange_are_parted_by_commas() {
        let (records, _) = read(EXCHANGE);
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!(
            record.message,
            "203.0.113.9 - CORP\\bob \"POST /ecp/x.js?a=1,2\" 200 \"-\" \"Mozilla/5.0\""
        );
        assert_eq!(record.destination.as_ref().unwrap().to_string(), "MX01");
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn packets_are_telemetry_unless_they_are_dropped() {
        let (records, _) = read(FIREWALL);
        let [dropped, passed] = &records[..] else { panic!("{records:?}") };
        assert_eq!((dropped.kind, dropped.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(dropped.message, "DROP TCP 203.0.113.9 -> 10.0.2.11:445");
        assert_eq!((passed.kind, passed.time.unwrap().has_zone()), (RecordKind::Telemetry, false));
    }

    #[test]
    fn what_a_proxy_fetched_is_telemetry_and_what_it_refused_a_log() {
        let (records, _) = read(PROXY);
        let [refused, fetched] = &records[..] else { panic!("{records:?}") };
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!((fetched.kind, fetched.verdict), (RecordKind::Telemetry, None));
        assert_eq!(
            (fetched.detail.as_str(), fetched.via.as_slice()),
            ("GET good.example/x", &["10.0.2.5".to_owned()][..])
        );
    }

    #[test]
    fn a_row_without_a_header_is_read_by_its_shape() {
        for line in [
            "2026-06-03 12:59:31 10.0.2.14 GET /x a=1 443 - 203.0.113.9 curl/8.5 401 0 0 15",
            "2026-06-03 12:59:31 10.0.2.14 GET /x a=1 443 - 203.0.113.9 curl/8.5 - 401 0 0",
            "2026-06-03 12:59:31 W3SVC1 WEB01 10.0.2.14 GET /x a=1 443 - 203.0.113.9 HTTP/1.1 curl/8.5 c=1 - shop 401 0 0 9 8 7",
        ] {
            assert!((ROW.recognises)(line, &Envelope::default()), "{line}");
            let record = (ROW.read)(line, &Envelope::default()).unwrap();
            assert_eq!(record.message, "203.0.113.9 - - \"GET /x?a=1\" 401 \"-\" \"curl/8.5\"", "{line}");
            assert_eq!(record.destination.unwrap().to_string(), "10.0.2.14:443", "{line}");
        }
        for line in [
            "2026-06-03 12:59:31 10.0.2.14 GET /x a=1 443 - 203.0.113.9 curl/8.5",
            "2026-06-03 12:59:31 10.0.2.14 GET x a=1 443 - 203.0.113.9 curl/8.5 401 0 0",
            "2026-06-03 12:59:31 shop GET /x a=1 443 - 203.0.113.9 curl/8.5 401 0 0",
            "12:59:31 x 10.0.2.14 GET /x a=1 443 - 203.0.113.9 curl/8.5 401 0 0",
        ] {
            assert!(!(ROW.recognises)(line, &Envelope::default()), "{line}");
        }
    }

    #[test]
    fn a_header_of_others_is_left() {
        assert!(!recognises("#fields\tts\tuid") && !recognises("# Software: x") && !recognises(""));
        let mut reader = Reader::default();
        assert_eq!(reader.offer("#separator \\x09"), Offered::NotMine(None));
        assert_eq!(reader.offer("2026-06-03 12:59:31"), Offered::NotMine(None));
    }
}
