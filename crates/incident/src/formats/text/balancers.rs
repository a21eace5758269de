//! Access logs of what stands before web servers or gives out files: HAProxy, Amazon's load balancers and Amazon S3.
//!
//! Each becomes a line in the words of an access log, from the client to whoever answered.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_message, endpoint};
use super::{MAX_COMMAND, MAX_NAME, MAX_RAW, begun, ip_end, own_end, program, quoted};
use crate::record::{Record, RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::WebAccess,
    recognises: |line, envelope| said(line, envelope).is_some(),
    read: |line, envelope| said(line, envelope),
};

fn said(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    match program(envelope) {
        "haproxy" => haproxy(line, envelope),
        "" => balancer(line, envelope).or_else(|| bucket(line, envelope)),
        _ => None,
    }
}

/// What the three have in common.
struct Request<'a> {
    time: Timestamp,
    client: Endpoint,
    account: &'a str,
    /// Method, address and version; empty for a connection that is no request.
    request: &'a str,
    status: &'a str,
    agent: &'a str,
}

impl Request<'_> {
    fn record(self, line: &str, sensor: &str, envelope: &Envelope<'_>) -> Record {
        let Request { time, client, account, request, status, agent } = self;
        let mut record = begun(RecordKind::Log, Format::WebAccess, envelope);
        sensor.clone_into(&mut record.sensor);
        record.time = Some(time);
        record.detail = clean(request, MAX_DETAIL);
        record.message = clean_message(&format!(
            "{} - {account} \"{request}\" {status} \"-\" \"{agent}\"",
            client.address
        ));
        record.account = clean(if account == "-" { "" } else { account }, MAX_NAME);
        record.source = Some(Endpoint { port: None, ..client });
        record.raw = clean(line, MAX_RAW);
        record
    }
}

/// An address with a port behind a colon.
fn client(text: &str) -> Option<Endpoint> {
    endpoint(text, "TCP").filter(|end| end.ip().is_some())
}

/// `203.0.113.9:51234 [03/Jun/2026:12:59:31.342] www~ app/app1 0/0/1/17/18 200 291 - - ---- 1/1/0/0/0 0/0 "GET / HTTP/1.1"`, and
/// without a request for a connection, which is telemetry. What the request holds stands last, in quotation marks.
fn haproxy(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (from, rest) = line.split_once(" [")?;
    let (time, rest) = rest.split_once(']')?;
    // The milliseconds and the zone that is missing are no part of an access log's time.
    let (time, _) = Timestamp::parse_access_log(time.split('.').next()?)?;
    let mut words = rest.split_whitespace();
    let (_front, back, third, fourth) = (words.next()?, words.next()?, words.next()?, words.next()?);
    // With a log format of one's own the site may stand before the times.
    let status = if third.contains('/') { fourth } else { words.next()? };
    back.contains('/').then_some(())?;
    let client = client(from);
    let request = rest.split_once(" \"").map(|(_, request)| request.trim_end().trim_end_matches('"'));
    let is_request = request.is_some();
    let mut record = match client {
        Some(client) => Request {
            time,
            client,
            account: "-",
            request: request.unwrap_or("-"),
            status: if is_request { status } else { "-" },
            agent: "-",
        }
        .record(line, "haproxy", envelope),
        None => {
            let mut record = begun(RecordKind::Log, Format::WebAccess, envelope);
            record.time = Some(time);
            record.detail = clean(request?, MAX_DETAIL);
            record.message = clean_message(&format!("- - - \"{}\" {status}", request?));
            record
        }
    };
    if !is_request {
        record.kind = RecordKind::Telemetry;
        record.message = clean_message(&format!("{} to {back}", from.split(':').next().unwrap_or_default()));
    }
    record.destination = own_end(envelope);
    Some(record)
}

/// `https 2026-06-03T12:59:31.342Z app/shop/50dc 203.0.113.9:51234 10.0.2.14:443 0.0 0.0 0.0 200 200 1 2 "GET https://… HTTP/1.1"
/// "curl/8.5" …`; older ones have no type at the beginning.
fn balancer(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (first, rest) = line.split_once(' ')?;
    let rest = if matches!(first, "http" | "https" | "h2" | "grpcs" | "ws" | "wss") { rest } else { line };
    let (head, _) = rest.split_once(" \"")?;
    let words: Vec<&str> = head.split(' ').collect();
    let [time, _name, from, to, took @ .., _received, _sent] = &words[..] else { return None };
    let [_, _, _, status, _] = took else { return None };
    let is_took = took.iter().take(3).all(|text| text.parse::<f64>().is_ok());
    let time = Timestamp::parse(time).filter(|time| is_took && time.has_zone())?;
    let mut texts = quoted(rest);
    let (request, agent) = (texts.next()?, texts.next().unwrap_or("-"));
    let mut record = Request { time, client: client(from)?, account: "-", request, status, agent }.record(
        line,
        "load balancer",
        envelope,
    );
    record.destination = client(to);
    Some(record)
}

/// `OWNER bucket [03/Jun/2026:12:59:31 +0000] 203.0.113.9 arn:aws:iam::1:user/bob ID REST.GET.OBJECT key "GET /x HTTP/1.1" 200 - …`.
fn bucket(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (head, rest) = line.split_once(" [")?;
    let (owner, bucket) = head.split_once(' ')?;
    let is_owner = owner.len() == 64 && owner.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (time, rest) = Timestamp::parse_access_log(rest).filter(|_| is_owner)?;
    let (head, behind) = match rest.split_once('"') {
        Some((head, behind)) => (head, Some(behind)),
        None => (rest, None),
    };
    let words: Vec<&str> = head.trim_start_matches(']').split_whitespace().collect();
    let [from, requester, _id, operation, key, others @ ..] = &words[..] else { return None };
    let request = behind.and_then(|_| quoted(rest).next());
    let status = match behind {
        Some(behind) => behind.split_once("\" ").and_then(|(_, rest)| rest.split(' ').next()),
        None => others.get(1).copied(),
    };
    // Whoever asks by a name of Amazon's has it at the end; everybody may ask without one.
    let account = requester.rsplit('/').next().unwrap_or("-");
    let told = format!("{operation} {bucket}/{key}");
    let status = status.unwrap_or("-");
    let agent = quoted(rest).nth(2).unwrap_or("-");
    let end = ip_end(from, None)?;
    let mut record =
        Request { time, client: end, account, request: &told, status, agent }.record(line, "S3", envelope);
    record.detail = clean(request.unwrap_or(&told), MAX_DETAIL);
    record.file = clean(&format!("{bucket}/{key}"), MAX_COMMAND);
    record.verdict = (status == "403").then_some(SensorVerdict::Blocked);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "lb01", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        (FORMAT.read)(line, &envelope).unwrap()
    }

    #[test]
    fn haproxys_requests_and_connections_are_read() {
        let line = "203.0.113.9:51234 [03/Jun/2026:12:59:31.342] www~ app/app1 0/0/1/17/18 200 291 - - ---- 1/1/0/0/0 0/0 {x|[y} \"GET /a?b=\"c HTTP/1.1\"";
        let record = parse("haproxy", line);
        assert_eq!(record.message, "203.0.113.9 - - \"GET /a?b=\"c HTTP/1.1\" 200 \"-\" \"-\"");
        assert_eq!((record.kind, record.time.unwrap().date().as_str()), (RecordKind::Log, "2026-06-03"));
        assert_eq!(record.destination.unwrap().address, "lb01");
        let line = "203.0.113.9:51234 [03/Jun/2026:12:59:31.342] tcp db/db1 1/0/5007 212 -- 0/0/0/0/3 0/0";
        let record = parse("haproxy", line);
        assert_eq!((record.kind, record.message.as_str()), (RecordKind::Telemetry, "203.0.113.9 to db/db1"));
        let envelope = Envelope { program: "haproxy", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("Server app/app1 is DOWN.", &envelope));
        assert!(!(FORMAT.recognises)(line, &Envelope::default()));
    }

    #[test]
    fn amazons_balancers_name_client_and_target() {
        let line = "https 2026-06-03T12:59:31.342Z app/shop/50dc 203.0.113.9:51234 10.0.2.14:443 0.086 0.048 0.037 200 201 0 57 \"GET https://shop.example:443/x HTTP/1.1\" \"curl/8.5\" ECDHE TLSv1.2";
        let record = parse("", line);
        assert_eq!(
            (record.source.unwrap().to_string(), record.destination.unwrap().to_string()),
            ("203.0.113.9".to_owned(), "10.0.2.14:443".to_owned())
        );
        assert_eq!(
            record.message,
            "203.0.113.9 - - \"GET https://shop.example:443/x HTTP/1.1\" 200 \"-\" \"curl/8.5\""
        );
        assert!(!(FORMAT.recognises)("2026-06-03T12:59:31Z a b c \"GET / HTTP/1.1\"", &Envelope::default()));
    }

    #[test]
    fn requests_to_a_bucket_name_who_asked() {
        let owner = "3".repeat(64);
        let line = format!(
            "{owner} backups [03/Jun/2026:12:59:31 +0000] 203.0.113.9 arn:aws:iam::1:user/bob 44EE REST.GET.OBJECT db.dump \"GET /db.dump HTTP/1.1\" 403 AccessDenied 142 - 17 - \"-\" \"curl/8.5\" - x"
        );
        let record = parse("", &line);
        assert_eq!(
            record.message,
            "203.0.113.9 - bob \"REST.GET.OBJECT backups/db.dump\" 403 \"-\" \"curl/8.5\""
        );
        assert_eq!((record.account.as_str(), record.file.as_str()), ("bob", "backups/db.dump"));
        assert_eq!(record.verdict, Some(SensorVerdict::Blocked));
        let line = format!(
            "{owner} b [03/Jun/2026:12:59:31 +0000] 203.0.113.9 - 8CD7 BATCH.DELETE.OBJECT x.war - 204 - - 34 -"
        );
        assert_eq!(
            parse("", &line).message,
            "203.0.113.9 - - \"BATCH.DELETE.OBJECT b/x.war\" 204 \"-\" \"-\""
        );
        assert!(!(FORMAT.recognises)("a b [03/Jun/2026:12:59:31 +0000] c", &Envelope::default()));
    }
}
