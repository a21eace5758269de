//! Alerts as `[pri=2 cls=Misc activity] {TCP} a:1 -> b:2 [gid:sid:rev] message`, with a logger's prefix or without.
//!
//! The same form carries folded logs: `[pri=2 count=22 last=2026-06-03T13:00:00 cls=…]` stands for 22 alerts, and a
//! detail stands behind the message as ` [detail: …]`.

use super::{
    MAX_COUNT, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, endpoints, signature,
};
use crate::{Alert, Repeats, Timestamp};

/// Reads a line with `[pri=` in it.
pub(super) fn parse(line: &str) -> Option<Alert> {
    let (before, rest) = line.split_once("[pri=")?;
    let (fields, rest) = rest.split_once(']')?;
    let mut alert = Alert { time: Timestamp::parse_prefix(before).map(|(time, _)| time), ..Alert::default() };
    let (priority, fields) = fields.split_once(' ').unwrap_or((fields, ""));
    alert.priority = match priority {
        "" | "None" | "-" => None,
        number => Some(number.parse().ok()?),
    };
    let (fields, class) = match fields.split_once("cls=") {
        Some((fields, class)) => (fields, class),
        None => (fields, ""),
    };
    alert.classification = clean_classification(class);
    alert.repeats = repeats(fields);
    let mut rest = rest.trim_start();
    if let Some((protocol, behind)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        alert.protocol = clean_protocol(protocol);
        rest = behind;
    }
    let (source, destination, rest) = endpoints(rest, &alert.protocol)?;
    (alert.source, alert.destination) = (source, destination);
    let rest = match signature(rest) {
        Some((signature, rest)) => {
            alert.signature = Some(signature);
            rest
        }
        None => rest,
    };
    let rest = rest.trim();
    match rest.strip_suffix(']').and_then(|rest| rest.rsplit_once("[detail: ")) {
        Some((message, detail)) => {
            (alert.message, alert.detail) = (clean_message(message), clean(detail, MAX_DETAIL));
        }
        None => alert.message = clean_message(rest),
    }
    Some(alert)
}

/// `count=22 last=2026-06-03T13:00:00`.
pub(super) fn repeats(fields: &str) -> Repeats {
    let mut repeats = Repeats::default();
    for field in fields.split_whitespace() {
        match field.split_once('=') {
            Some(("count", count)) => repeats.count = count.parse().unwrap_or(1).clamp(1, MAX_COUNT),
            Some(("last", time)) => repeats.last = Timestamp::parse(time),
            _ => {}
        }
    }
    repeats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_loggers_prefix_is_read() {
        let alert = parse(
            "2026-06-03 12:59:31,343 [    INFO] Alert: [pri=1 cls=Attempted User Privilege Gain] {TCP} \
             10.0.1.11:37340 -> 10.0.2.14:22 [1:1000007:2] SSH connection attempt ",
        )
        .unwrap();
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.343000");
        assert_eq!(alert.classification, "Attempted User Privilege Gain");
        assert_eq!((alert.priority, alert.repeats.count), (Some(1), 1));
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.2.14:22");
        assert_eq!(alert.signature.unwrap().sid, 1_000_007);
        assert_eq!(alert.message, "SSH connection attempt");
    }

    #[test]
    fn what_is_missing_may_be_missing() {
        let alert = parse("[pri=None cls=None] {ICMP} 10.0.1.11 -> 10.0.2.14 ping").unwrap();
        assert_eq!((alert.priority, alert.classification.as_str(), alert.time), (None, "", None));
        assert_eq!((alert.signature, alert.message.as_str()), (None, "ping"));
        assert_eq!(parse("[pri=2 cls=x] no ends"), None);
        assert_eq!(parse("[pri=high cls=x] a -> b"), None);
    }

    #[test]
    fn a_folded_line_keeps_its_count() {
        let alert =
            parse("[pri=2 count=22 last=2026-06-03T13:00:00 cls=x] {TCP} a:1 -> b:2 m [detail: GET /]")
                .unwrap();
        assert_eq!(alert.repeats.count, 22);
        assert_eq!(alert.repeats.last.unwrap().clock(), "13:00:00");
        assert_eq!((alert.message.as_str(), alert.detail.as_str()), ("m", "GET /"));
        assert_eq!(repeats("count=99999999999999999999").count, 1);
        assert_eq!(repeats("count=9999999999999999").count, MAX_COUNT);
    }
}
