//! Check Point's Log Exporter in its syslog form: `[action:"Drop"; src:"203.0.113.9"; dst:"10.0.2.11"; service:"22"; …]` behind the
//! program `CheckPoint`. Quotation marks in values are escaped. In LEEF it says the same ([`super::leef`]).

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port};
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, end, program, protocol_of, tell_traffic, unescaped_at, verdict,
};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat = LineFormat {
    format: Format::Firewall,
    recognises: |line, envelope| program(envelope) == "CheckPoint" && fields(line).next().is_some(),
    read,
};

/// Key and value of each field. A value ends with the first quotation mark that no backslash is before.
fn fields(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = line.trim_start_matches(['[', ' ']);
    std::iter::from_fn(move || {
        let (key, behind) = rest.split_once(":\"")?;
        let end = unescaped_at(behind, b'"')?;
        let is_key = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(&byte));
        rest = behind.get(end + 1..)?.trim_start_matches([';', ' ']);
        is_key.then_some((key, behind.get(..end)?))
    })
}

/// Products of Check Point that judge what passes; all others filter or manage.
const JUDGES: [&str; 14] = [
    "IPS",
    "SmartDefense",
    "Anti-Bot",
    "Anti-Virus",
    "Anti Malware",
    "New Anti Virus",
    "Threat Emulation",
    "Threat Extraction",
    "Anti-Malware",
    "Anti-Exploit",
    "Anti-Ransomware",
    "Behavioral Guard",
    "Forensics",
    "Zero Phishing",
];
/// Products that sort pages and applications into categories.
const SORTERS: [&str; 2] = ["URL Filtering", "Application Control"];
/// Words in the names of categories that say that a page is an attacker's.
const HOSTILE: [&str; 5] = ["spyware", "malicious", "phishing", "botnet", "ransomware"];

/// What one record says, under the names that the product has for it.
struct Told<'a> {
    all: Vec<(&'a str, &'a str)>,
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let told = Told { all: fields(line).take(256).collect() };
    let mut record = told.record(envelope);
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

/// The record of what LEEF carries, which has other names for some of it, and product and action in its header.
pub(super) fn of_pairs(
    product: &str,
    action: &str,
    pairs: &[(&str, String)],
    envelope: &Envelope<'_>,
) -> Record {
    let own = |name| match name {
        "srcPort" => "s_port",
        "dstPort" => "service",
        "usrName" => "src_user_name",
        "url" => "resource",
        "devTime" => "time",
        "fileName" => "file_name",
        name => name,
    };
    let mut all: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (own(*name), value.as_str())).collect();
    // Behind the pairs, which say the same more fully where they have it.
    all.extend([("product", product), ("action", action)]);
    Told { all }.record(envelope)
}

impl<'a> Told<'a> {
    fn value(&self, key: &str) -> Option<&'a str> {
        self.all.iter().find(|(own, _)| *own == key).map(|(_, value)| *value)
    }

    fn first(&self, keys: &[&str]) -> Option<&'a str> {
        keys.iter().find_map(|key| self.value(key).filter(|value| !value.is_empty()))
    }

    fn record(&self, envelope: &Envelope<'_>) -> Record {
        let text = |keys: &[&str]| self.first(keys).unwrap_or_default();
        let mut record = begun(RecordKind::Log, Format::Firewall, envelope);
        record.sensor = "Check Point".to_owned();
        if record.host.is_empty() {
            record.host = clean(text(&["orig_name", "origin"]), MAX_NAME);
        }
        record.time = self.value("time").and_then(Timestamp::parse_epoch).or(record.time);
        record.protocol = clean_protocol(protocol_of(text(&["proto"])));
        let port_of = |key: &str| self.value(key).and_then(port).filter(|port| *port != 0);
        record.source = self.value("src").and_then(|address| end(address, port_of("s_port")));
        record.destination = self.value("dst").and_then(|address| end(address, port_of("service")));
        record.account = clean(account(text(&["src_user_name", "user", "administrator"])), MAX_NAME);
        record.detail = clean(text(&["resource", "reason", "description"]), MAX_DETAIL);
        record.process = clean(text(&["process_name", "proc_cmd"]), MAX_COMMAND);
        record.file = clean(text(&["file_name"]), MAX_COMMAND);
        record.verdict = match text(&["action"]) {
            "Detect" | "Encrypt" | "Decrypt" | "Bypass" | "Inspect" => Some(SensorVerdict::Allowed),
            action => verdict(action),
        };
        if !self.judges(&mut record) && !self.sorts(&mut record) {
            self.filters(&mut record);
        }
        record
    }

    /// What a product that judges found. A protection's own name says more than the kind of attack.
    fn judges(&self, record: &mut Record) -> bool {
        let product = self.value("product").unwrap_or_default();
        let title = self.first(&["protection_name", "attack", "malware_action"]);
        if !JUDGES.contains(&product) || title.is_none() && self.rank().is_none() {
            return false;
        }
        let title = title.unwrap_or(product);
        let is_new = |word: &&str| *word != title;
        let done = self.first(&["malware_action"]).filter(is_new);
        record.kind = RecordKind::Alert;
        record.message = clean_message(&done.map_or(title.to_owned(), |done| format!("{title}: {done}")));
        record.rule = clean(self.value("protection_id").unwrap_or_default(), MAX_NAME);
        let class = self.first(&["attack"]).filter(is_new);
        let class = class.or_else(|| self.first(&["attack_info", "protection_type"])).unwrap_or(product);
        record.classification = clean_classification(class);
        record.priority = self.rank();
        true
    }

    /// A page or an application that was sorted into a category. One of an attacker's is an alert.
    fn sorts(&self, record: &mut Record) -> bool {
        let product = self.value("product").unwrap_or_default();
        let category = self.first(&["matched_category", "app_category", "appi_name"]);
        let Some(category) = category.filter(|_| SORTERS.contains(&product)) else { return false };
        let words = category.to_ascii_lowercase();
        let is_hostile = HOSTILE.iter().any(|word| words.contains(word));
        record.kind = match record.verdict {
            _ if is_hostile => RecordKind::Alert,
            Some(SensorVerdict::Allowed) => RecordKind::Telemetry,
            _ => RecordKind::Log,
        };
        record.classification = clean_classification(category);
        if is_hostile {
            record.priority = self.value("app_risk").and_then(risk);
        }
        let action = self.value("action").unwrap_or_default();
        tell_traffic(record, &format!("{action} {product} {category}"));
        true
    }

    /// What a firewall let through and refused, tunnels, logins, and what administrators did.
    fn filters(&self, record: &mut Record) {
        let text = |keys: &[&str]| self.first(keys).unwrap_or_default();
        let is_done = self.first(&["operation", "administrator", "auth_status"]).is_some();
        if record.verdict == Some(SensorVerdict::Allowed) && !is_done {
            record.kind = RecordKind::Telemetry;
        }
        let action = text(&["action"]);
        if record.source.is_some() && record.destination.is_some() && record.verdict.is_some() {
            tell_traffic(record, action);
            return;
        }
        let said =
            text(&["sys_message", "operation", "auth_status", "information", "reason", "vpn_feature_name"]);
        record.message = clean_message(&format!("{} {action} {said}", text(&["product"])));
    }

    /// The product's own scale, or LEEF's from 1 to 10.
    fn rank(&self) -> Option<u8> {
        self.first(&["severity"])
            .and_then(rank)
            .or_else(|| self.first(&["sev"])?.parse().ok().and_then(super::of_ten))
    }
}

/// `Bob Example (bob)`, what the directory calls the account, as the account alone.
fn account(name: &str) -> &str {
    let inner = name.strip_suffix(')').and_then(|rest| rest.rsplit_once('('));
    inner.map(|(_, inner)| inner.trim()).filter(|inner| !inner.is_empty()).unwrap_or(name)
}

/// How risky a category or an application is: 5 is critical, 1 very low.
fn risk(text: &str) -> Option<u8> {
    match text {
        "5" | "4" => Some(1),
        "3" => Some(2),
        "2" => Some(3),
        "1" => Some(4),
        _ => None,
    }
}

/// 4 is critical, 0 informational; words in some versions.
fn rank(text: &str) -> Option<u8> {
    match text {
        "4" | "3" => Some(1),
        "2" => Some(2),
        "1" => Some(3),
        "0" => Some(4),
        word => super::super::json::severity(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Record {
        let envelope = Envelope { host: "fw01", program: "CheckPoint", ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    const ENDS: &str = "src:\"203.0.113.9\"; s_port:\"51234\"; dst:\"10.0.2.11\"; service:\"22\"; proto:\"6\"; time:\"1780491571\"";

    #[test]
    fn what_is_dropped_is_a_log_and_what_passes_telemetry() {
        let dropped = parse(&format!("action:\"Drop\"; {ENDS}; product:\"VPN-1 & FireWall-1\""));
        assert_eq!((dropped.kind, dropped.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(dropped.message, "Drop TCP 203.0.113.9 -> 10.0.2.11:22");
        assert_eq!(dropped.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        assert_eq!(parse(&format!("[action:\"Accept\"; {ENDS}]")).kind, RecordKind::Telemetry);
        let counted = parse("action:\"Accept\"; bytes:\"1\"; product:\"Log Update\"");
        assert_eq!((counted.kind, counted.message.as_str()), (RecordKind::Telemetry, "Log Update Accept"));
    }

    #[test]
    fn a_judgement_is_an_alert() {
        let attack = parse(&format!(
            "action:\"Prevent\"; {ENDS}; product:\"IPS\"; severity:\"4\"; attack:\"LOCAL overflow\"; resource:\"http://x/\\\"; src:\\\"6.6.6.6\""
        ));
        assert_eq!((attack.kind, attack.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(
            (attack.message.as_str(), attack.verdict),
            ("LOCAL overflow", Some(SensorVerdict::Blocked))
        );
        assert_eq!(attack.source.unwrap().to_string(), "203.0.113.9:51234");
        let bot = parse(&format!(
            "action:\"Prevent\"; {ENDS}; product:\"Anti-Bot\"; severity:\"High\"; protection_name:\"Trojan.Invented\"; malware_action:\"Communication with C&C\""
        ));
        assert_eq!(
            (bot.message.as_str(), bot.priority),
            ("Trojan.Invented: Communication with C&C", Some(1))
        );
        let page = |category: &str| {
            parse(&format!(
                "action:\"Block\"; {ENDS}; product:\"URL Filtering\"; matched_category:\"{category}\"; app_risk:\"4\""
            ))
        };
        assert_eq!((page("Phishing").kind, page("Phishing").priority), (RecordKind::Alert, Some(1)));
        assert_eq!((page("Games").kind, page("Games").priority), (RecordKind::Log, None));
        assert_eq!(page("Games").message, "Block URL Filtering Games TCP 203.0.113.9 -> 10.0.2.11:22");
        let managed = parse(
            "action:\"Accept\"; operation:\"Log In\"; administrator:\"root\"; product:\"SmartConsole\"",
        );
        assert_eq!((managed.kind, managed.message.as_str()), (RecordKind::Log, "SmartConsole Accept Log In"));
        let envelope = Envelope { program: "shop", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("action:\"Drop\"", &envelope));
        let own = Envelope { program: "CheckPoint", ..Envelope::default() };
        assert!(!(FORMAT.recognises)("started", &own) && !(FORMAT.recognises)("", &own));
    }
}
