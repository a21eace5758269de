//! Aruba ClearPass, which admits people and devices: `Session Logs 123 1 0 Common.Username=bob,Common.NAS-IP-Address=10.0.0.9,
//! Common.Login-Status=REJECT,…`, behind the name that somebody gave the export, at times with the server's own time and address before it.
//!
//! Who was admitted or refused, and what administrators did, is a log; what is accounted and counted is telemetry. Pairs are parted by
//! commas, and whoever asks to be admitted chooses the name: a fact counts only where its key stands once.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_message};
use super::pairs::only;
use super::{MAX_NAME, MAX_RAW, begun, ip_end, without_domain};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Service,
    recognises: |line, envelope| envelope.program.is_empty() && said(line).is_some(),
    read,
};

/// How the keys begin.
const OF: [&str; 11] = [
    "Common.",
    "Auth.",
    "RADIUS.",
    "Radius.",
    "TACACS.",
    "WEBAUTH.",
    "Acct.",
    "Endpoint.",
    "Audit.",
    "CppmAlert.",
    "CppmNode.",
];

/// Whether a line begins as ClearPass' do.
pub(crate) fn is_clear_pass(line: &str) -> bool {
    said(line).is_some()
}

/// The words in front, and the pairs behind the message's three numbers.
fn said(line: &str) -> Option<(&str, &str)> {
    let at = line.find('=').filter(|at| *at <= 200)?;
    let (front, _) = line.split_at_checked(at)?;
    let (front, key) = front.rsplit_once(' ').filter(|(_, key)| OF.iter().any(|of| key.starts_with(of)))?;
    let mut words = front.split_whitespace().rev();
    let are_numbers = (0..3).all(|_| {
        words.next().is_some_and(|word| word.len() <= 9 && word.bytes().all(|b| b.is_ascii_digit()))
    });
    let is_named = words.next().is_some();
    (are_numbers && is_named).then(|| line.get(at - key.len()..).map(|pairs| (front, pairs)))?
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let (front, rest) = said(line)?;
    let one = |keys: &[&str]| {
        let mut of = OF.iter().flat_map(|of| keys.iter().map(move |key| format!("{of}{key}")));
        of.find_map(|key| only(rest.split(','), &key).map(str::trim).filter(|value| is_said(value)))
    };
    let mut record = begun(RecordKind::Log, Format::Service, envelope);
    record.sensor = "ClearPass".to_owned();
    let own = one(&["Request-Timestamp", "Timestamp", "Start-Time"]);
    let own = own.and_then(|text| Timestamp::parse_prefix(text).map(|(time, _)| time));
    let written = Timestamp::parse_prefix(front).map(|(time, _)| time);
    record.time = own.filter(|time| time.has_zone()).or(envelope.time).or(own).or(written);
    let account = one(&["Username", "User-Name", "Full-Username", "User", "Admin-User"]).unwrap_or_default();
    let account = without_domain(account);
    record.account = clean(account, MAX_NAME);
    let client =
        one(&["Remote-Address", "Calling-Station-Id", "Framed-IP-Address", "Host-IP-Address", "IP-Address"]);
    record.source = client.and_then(|address| ip_end(address, None));
    let device =
        one(&["NAS-IP-Address", "NAD-IP-Address", "NAS-IP"]).and_then(|address| ip_end(address, None));
    record.destination = device.filter(|device| record.source.as_ref() != Some(device));
    let status = one(&["Login-Status", "Status", "Auth-Status"]).unwrap_or_default();
    let reason =
        one(&["Alerts", "Error-Message", "Alerts-Present", "Error-Code"]).filter(|text| *text != "0");
    let is_refused = matches!(status.to_ascii_uppercase().as_str(), "REJECT" | "DENY" | "DENIED" | "FAILED")
        // The number of a login that was refused.
        || status.len() == 4 && status.starts_with('9');
    let is_over = matches!(status.to_ascii_uppercase().as_str(), "TIMEOUT" | "ERROR");
    record.verdict = is_refused.then_some(SensorVerdict::Blocked);
    let is_counted = ["Acct.", "CppmNode.", "Endpoint."].iter().any(|of| rest.starts_with(of));
    if is_counted && !is_refused {
        record.kind = RecordKind::Telemetry;
    } else {
        record.raw = clean(line, MAX_RAW);
    }
    let what = match () {
        () if is_refused => "login refused",
        () if is_over => "login failed",
        () if status.is_empty() => "event",
        () => "login accepted",
    };
    let mac = one(&["Host-MAC-Address", "Calling-Station-Id"]).filter(|_| record.source.is_none());
    let told: Vec<String> = [
        ("by", Some(account)),
        ("from", record.source.as_ref().map(|end| end.address.as_str()).or(mac)),
        ("on", record.destination.as_ref().map(|end| end.address.as_str())),
        ("to", one(&["Service"])),
        ("because", reason.filter(|_| is_refused || is_over)),
        ("", one(&["Action", "Category", "Description", "Level"]).filter(|_| status.is_empty())),
    ]
    .into_iter()
    .filter_map(|(word, value)| value.filter(|text| !text.is_empty()).map(|text| format!("{word} {text}")))
    .collect();
    record.message = clean_message(&format!("{what} {}", told.join(", ").trim()));
    record.detail =
        clean(&one(&["Roles"]).map(|roles| format!("roles {roles}")).unwrap_or_default(), MAX_DETAIL);
    Some(record)
}

fn is_said(value: &str) -> bool {
    !matches!(value, "" | "null" | "-" | "N/A" | "None" | "[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        let envelope = Envelope { host: "cp01", ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    #[test]
    fn who_was_refused_and_admitted_is_told() {
        let refused = parse(
            "2026-06-03 12:59:31,342 10.0.0.8 Session Logs 5 1 0 Common.Username=CORP\\bob,Common.Service=Wifi,Common.Roles=[Guest],\
             Common.NAS-IP-Address=10.0.0.9,Common.Host-MAC-Address=00005e005301,Common.Request-Timestamp=2026-06-03 12:59:31+00,\
             Common.Login-Status=REJECT,Common.Error-Code=206,Common.Alerts=Bad password",
        );
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(
            refused.message,
            "login refused by bob, from 00005e005301, on 10.0.0.9, to Wifi, because Bad password"
        );
        assert_eq!(
            (refused.account.as_str(), refused.destination.unwrap().address.as_str()),
            ("bob", "10.0.0.9")
        );
        assert_eq!(refused.time.unwrap().date(), "2026-06-03");
        let came = parse(
            "CPPM_Session_Detail 5 1 0 Auth.Username=bob,Auth.NAS-IP-Address=10.0.0.9,Auth.Login-Status=ACCEPT,\
             RADIUS.Acct-Framed-IP-Address=x,Radius.Calling-Station-Id=203.0.113.9",
        );
        assert_eq!(came.message, "login accepted by bob, from 203.0.113.9, on 10.0.0.9");
        assert_eq!(came.source.unwrap().address, "203.0.113.9");
    }

    #[test]
    fn what_is_accounted_is_telemetry_and_a_name_is_no_end() {
        assert_eq!(
            parse("Accounting 5 1 0 Acct.Username=bob,Acct.NAS-IP-Address=10.0.0.9").kind,
            RecordKind::Telemetry
        );
        let named = parse(
            "Session 5 1 0 Common.Username=x,Common.NAS-IP-Address=6.6.6.6,Common.NAS-IP-Address=10.0.0.9,Common.Login-Status=ACCEPT",
        );
        assert_eq!(named.destination, None);
        for line in
            ["Common.Username=bob", "5 1 0 Common.Username=bob", "Session 5 1 0 Other.Username=bob", "", "="]
        {
            assert!(!is_clear_pass(line), "{line}");
        }
    }
}
