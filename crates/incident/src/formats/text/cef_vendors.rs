//! What products whose CEF ranks nothing say: Zscaler writes one severity for all, Trend Micro's Apex Central one for whatever its agents
//! found. Their records are alerts by what they are of.

use super::cef::Event;
use super::of_ten;
use crate::record::RecordKind;

/// What a record is, where its severity does not say so.
pub(super) struct Meant {
    pub(super) kind: RecordKind,
    pub(super) priority: Option<u8>,
    /// What was found, where the header does not name it.
    pub(super) found: Option<String>,
}

/// Beginnings of the rules of Apex Central's agents that are about something found.
const FOUND: [&str; 10] =
    ["AV:", "SPY:", "SPYWARE:", "BM:", "CNC:", "NCIE:", "PML:", "SUSPICIOUS_FILE:", "VAN:", "ATSE:"];

/// What a product of these vendors means; nothing of others.
pub(super) fn meant(event: &Event<'_>) -> Option<Meant> {
    match event.vendor {
        "Zscaler" => Some(zscaler(event)),
        "Trend Micro" if event.product.starts_with("Deep Security") => deep_security(event),
        "Trend Micro" => apex(event),
        _ => None,
    }
}

fn zscaler(event: &Event<'_>) -> Meant {
    let named = |label: &str| {
        Some(labelled(event, label)).filter(|name| !matches!(*name, "" | "None" | "NA" | "N/A"))
    };
    let found = ["threatname", "malwarecat", "malwarecategory", "threatcat"].into_iter().find_map(named);
    let score = found.and_then(|_| labelled(event, "riskscore").parse::<u32>().ok());
    Meant {
        // What was refused is told apart where traffic is.
        kind: if found.is_some() { RecordKind::Alert } else { RecordKind::Telemetry },
        // The page's risk, of a hundred.
        priority: score.and_then(|score| of_ten(score.div_ceil(10))),
        found: found.map(str::to_owned),
    }
}

/// The value of the custom field that has this label.
fn labelled<'a>(event: &'a Event<'_>, label: &str) -> &'a str {
    // A value that is a label's word is none: others may choose it.
    let mut named = event.pairs.iter().filter_map(|(key, value)| Some((key.strip_suffix("Label")?, value)));
    let key = named.find(|(_, value)| value.trim().eq_ignore_ascii_case(label));
    key.map_or("", |(key, _)| event.value(key))
}

/// Numbers tell the module: intrusion prevention, anti-malware, web reputation. Its firewall's records name the kind of frame.
fn deep_security(event: &Event<'_>) -> Option<Meant> {
    let severity = event.severity.trim().parse().ok().and_then(of_ten);
    let kind = match event.rule.parse::<u32>().ok()? {
        1_000_000..2_000_000 | 4_000_000..6_000_000 => RecordKind::Alert,
        10..200 if !event.value("TrendMicroDsFrameType").is_empty() => RecordKind::Telemetry,
        _ => return None,
    };
    Some(Meant { kind, priority: severity.filter(|_| kind == RecordKind::Alert), found: None })
}

fn apex(event: &Event<'_>) -> Option<Meant> {
    let rule = event.rule.to_ascii_uppercase();
    let is_found = FOUND.iter().any(|beginning| rule.starts_with(beginning));
    // Its agents' severity is the same for all that they find.
    is_found.then(|| Meant {
        kind: RecordKind::Alert,
        priority: event.severity.trim().parse().ok().and_then(of_ten).filter(|rank| *rank < 3),
        found: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::format::Envelope;
    use super::super::cef::FORMAT;
    use super::*;
    use crate::Record;

    fn parse(line: &str) -> Record {
        (FORMAT.read)(line, &Envelope::default()).unwrap()
    }

    #[test]
    fn a_page_is_an_alert_where_it_names_a_threat() {
        let page = |action: &str, threat: &str| {
            parse(&format!(
                "CEF:0|Zscaler|NSSWeblog|5.7|{action}|Malware block|3|act={action} app=HTTPS cat=Other dhost=files.example dst=203.0.113.66 src=10.0.2.20 outcome=403 request=files.example/x.exe suser=alice@example.com cn1=100 cn1Label=riskscore cs4=None cs4Label=malwarecat cs5={threat} cs5Label=threatname"
            ))
        };
        let found = page("Blocked", "Local.Worm");
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(
            (found.message.as_str(), found.account.as_str()),
            ("Local.Worm: Malware block", "alice@example.com")
        );
        assert_eq!(page("Blocked", "None").kind, RecordKind::Log);
        let passed = page("Allowed", "None");
        assert_eq!((passed.kind, passed.priority), (RecordKind::Telemetry, None));
    }

    #[test]
    fn what_agents_of_trend_found_is_an_alert_whatever_its_severity() {
        let found = parse(
            "CEF:0|Trend Micro|Apex Central|2019|AV:File cleaned|LOCAL_WORM|3|dhost=pc7 duser=alice act=File cleaned dvchost=apex01 fname=x.exe dst=10.0.2.20",
        );
        assert_eq!(
            (found.kind, found.priority, found.message.as_str()),
            (RecordKind::Alert, None, "LOCAL_WORM")
        );
        let deep = |rule: &str, severity: &str, rest: &str| {
            parse(&format!(
                "CEF:0|Trend Micro|Deep Security Agent|20.0|{rule}|x|{severity}|dvchost=web01 {rest}"
            ))
        };
        let rule = deep("1001111", "3", "act=IDS:Reset src=203.0.113.9 dst=10.0.2.11");
        assert_eq!((rule.kind, rule.priority), (RecordKind::Alert, Some(3)));
        assert_eq!(deep("4000000", "6", "act=Delete").priority, Some(2));
        let frame = |action: &str| {
            deep("20", "0", &format!("act={action} TrendMicroDsFrameType=IP src=203.0.113.9 dst=10.0.2.11"))
        };
        assert_eq!([frame("Log").kind, frame("Deny").kind], [RecordKind::Telemetry, RecordKind::Log]);
        assert_eq!(deep("600", "3", "").kind, RecordKind::Log);
    }
}
