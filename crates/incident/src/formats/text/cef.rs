//! ArcSight's Common Event Format: `CEF:0|vendor|product|version|rule|name|severity|key=value …`.
//!
//! What a device ranks medium or higher is an alert, what it ranks lower a log, and records of traffic are telemetry unless it was
//! refused.

use super::super::format::{Envelope, LineFormat};
use super::super::json::attack_tags;
use super::super::{
    Format, MAX_ADDRESS, MAX_DETAIL, clean, clean_classification, clean_message, clean_protocol, port,
};
use super::{
    MAX_COMMAND, MAX_NAME, MAX_RAW, begun, cef_vendors, end, may_be_from, of_ten, tell_traffic, unescaped_at,
    verdict,
};
use crate::Timestamp;
use crate::record::{Record, RecordKind, SensorVerdict};

pub(super) const FORMAT: LineFormat =
    LineFormat { format: Format::Cef, recognises: |line, envelope| header(line, envelope).is_some(), read };

/// The seven fields of the header and the extension. Behind syslog's header `CEF` may have been taken for the program.
fn header<'a>(line: &'a str, envelope: &Envelope<'_>) -> Option<([&'a str; 7], &'a str)> {
    let line = line.trim_start();
    let rest = match line.strip_prefix("CEF:") {
        Some(rest) if may_be_from(envelope, &["ossec", "wazuh", "ASM", "CheckPoint", "cef", "CEF"]) => {
            rest.trim_start()
        }
        None if envelope.program == "CEF" => line,
        // A program may have been told by others what to log.
        _ => return None,
    };
    let mut fields = [""; 7];
    let mut rest = rest;
    for field in &mut fields {
        let end = unescaped_at(rest, b'|')?;
        (*field, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
    }
    let [version, ..] = fields;
    (version.len() <= 2 && version.bytes().all(|byte| byte.is_ascii_digit())).then_some((fields, rest))
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let ([_, vendor, product, _, rule, name, severity], extension) = header(line, envelope)?;
    // What Palo Alto's cloud forwards has the log's name where its firewalls have the kind within.
    let (rule, name) = if product == FORWARDED { (name, rule) } else { (rule, name) };
    let event = Event {
        vendor: &unescaped(vendor),
        product: &unescaped(product),
        rule: &unescaped(rule),
        name: &unescaped(name),
        severity,
        pairs: extension_pairs(extension),
    };
    let mut record = event.record(envelope);
    record.raw = clean(line, MAX_RAW);
    Some(record)
}

/// What Palo Alto calls the service that forwards logs from its cloud.
const FORWARDED: &str = "LF";

/// What a device says of an event, whatever carries it: a line, or a SIEM's row with a column for each key.
pub(in crate::formats) struct Event<'a> {
    pub(in crate::formats) vendor: &'a str,
    pub(in crate::formats) product: &'a str,
    pub(in crate::formats) rule: &'a str,
    pub(in crate::formats) name: &'a str,
    pub(in crate::formats) severity: &'a str,
    /// Keys and values of the extension.
    pub(in crate::formats) pairs: Vec<(&'a str, String)>,
}

impl Event<'_> {
    pub(super) fn value(&self, key: &str) -> &str {
        let value = self.pairs.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value.trim());
        if matches!(value, "N/A" | "n/a") { "" } else { value }
    }

    /// The values of fields that a device names itself (`cs3Label=attack_type`), by what the names hold.
    fn labelled(&self, marks: &[&str]) -> impl Iterator<Item = &str> {
        let labels = self.pairs.iter().filter_map(move |(key, label)| {
            let label = label.to_ascii_lowercase();
            key.strip_suffix("Label").filter(|_| marks.iter().any(|mark| label.contains(mark)))
        });
        labels.map(|key| self.value(key)).filter(|value| !value.is_empty())
    }

    fn first(&self, keys: &[&str]) -> &str {
        keys.iter().map(|key| self.value(key)).find(|value| !value.is_empty()).unwrap_or_default()
    }

    /// The record, without the text that it was read from.
    pub(in crate::formats) fn record(&self, envelope: &Envelope<'_>) -> Record {
        let class = self.first(&["cat", "deviceEventCategory"]);
        let priority = self.priority();
        let mut record = self.in_own_words(envelope).unwrap_or_else(|| {
            let mut record = begun(kind(priority, [self.rule, self.name, class]), Format::Cef, envelope);
            record.sensor = clean(format!("{} {}", self.vendor, self.product).trim(), MAX_NAME);
            record.rule = clean(self.rule, MAX_NAME);
            record.message = clean_message(self.name);
            record.detail = clean(self.first(&["msg", "request"]), MAX_DETAIL);
            record.priority = priority;
            record.verdict = verdict(self.first(&["act", "outcome"]));
            if let Some(meant) = cef_vendors::meant(self) {
                (record.kind, record.priority) = (meant.kind, meant.priority);
                let found = meant.found.filter(|found| found != self.name);
                if let Some(found) = found {
                    record.message = clean_message(&format!("{found}: {}", self.name));
                }
            }
            record.protocol = clean_protocol(self.value("proto"));
            record
        });
        record.time = time(self.first(&["rt", "end", "start"])).or(record.time);
        let host = self.first(&["dvchost", "dvc"]);
        if !host.is_empty() {
            record.host = clean(host, MAX_ADDRESS);
        }
        let kind_of_attack = || self.labelled(&["attack_type"]).next().unwrap_or_default();
        record.classification = clean_classification(if class.is_empty() { kind_of_attack() } else { class });
        let tags = self.labelled(&["mitre", "tactic", "technique"]).flat_map(|text| text.split([',', ';']));
        (record.tactics, record.techniques) = attack_tags(tags);
        let account = self.first(&["duser", "suser", "duid", "suid"]);
        if !account.is_empty() {
            record.account = clean(account, MAX_NAME);
        }
        let process = self.first(&["dproc", "sproc", "deviceProcessName"]);
        let command =
            || self.labelled(&["initiator cmd", "command line", "commandline"]).next().unwrap_or_default();
        record.process = clean(if process.is_empty() { command() } else { process }, MAX_COMMAND);
        record.file = clean(self.first(&["filePath", "fname"]), MAX_COMMAND);
        let source = end(self.first(&["src", "c6a2", "PanOSPublicIPv4", "shost"]), port(self.value("spt")));
        let destination = end(self.first(&["dst", "c6a3", "dhost"]), port(self.value("dpt")));
        if source.is_some() || destination.is_some() {
            (record.source, record.destination) = (source, destination);
        }
        if record.format == Format::Cef {
            self.tell(&mut record);
        }
        record.format = Format::Cef;
        record
    }

    /// What Cisco's firewalls say in sentences, which collectors carry whole. Their level ranks the kind of message and not an attack.
    fn in_own_words(&self, envelope: &Envelope<'_>) -> Option<Record> {
        let said = Some(self.value("msg")).filter(|said| !said.is_empty()).unwrap_or(self.name);
        if !self.vendor.eq_ignore_ascii_case("cisco") {
            return None;
        }
        let (program, line) = match said.strip_prefix('%').and_then(|rest| rest.split_once(':')) {
            Some((name, line)) => (format!("%{name}"), line.trim_start()),
            None => (format!("%{}-{}-{}", self.product, self.severity, self.rule), said),
        };
        let envelope = Envelope { program: &program, ..*envelope };
        (super::cisco::FORMAT.recognises)(line, &envelope)
            .then(|| (super::cisco::FORMAT.read)(line, &envelope))
            .flatten()
    }

    /// Whether the firewalls of Palo Alto Networks wrote it, whose numbers for a severity go from 1 for informational to 5 for critical.
    fn is_palo_alto(&self) -> bool {
        self.vendor.starts_with("Palo Alto")
            && (self.product.starts_with("PAN-OS") || self.product == FORWARDED)
    }

    fn priority(&self) -> Option<u8> {
        match self.severity.trim().to_ascii_lowercase().as_str() {
            "low" => Some(3),
            "medium" => Some(2),
            "high" | "very-high" | "very high" => Some(1),
            // Of what is no threat the number ranks the kind of message.
            _ if self.is_palo_alto() && !matches!(self.name, "THREAT" | "CORRELATION") => None,
            number if self.is_palo_alto() => match number {
                "1" => Some(4),
                "2" => Some(3),
                "3" => Some(2),
                "4" | "5" => Some(1),
                _ => None,
            },
            number => number.parse().ok().and_then(of_ten),
        }
    }

    /// Says what the header's few words leave out: of traffic both ends, of a threat its name, of a login how it ended.
    fn tell(&self, record: &mut Record) {
        let is_new = |word: &str| {
            is_said(word) && !self.name.to_ascii_lowercase().contains(&word.to_ascii_lowercase())
        };
        let more = |keys: &[&str]| Some(self.first(keys)).filter(|word| is_new(word));
        match record.kind {
            RecordKind::Alert | RecordKind::Log if self.is_palo_alto() && self.name == "THREAT" => {
                self.tell_threat(record);
            }
            RecordKind::Telemetry => {
                // What a firewall refused tells of who tried.
                if record.verdict == Some(SensorVerdict::Blocked) {
                    record.kind = RecordKind::Log;
                }
                if record.source.is_some() && record.destination.is_some() {
                    let what = [Some(self.name), more(&["act"]), more(&["app"])];
                    tell_traffic(record, &what.into_iter().flatten().collect::<Vec<_>>().join(" "));
                }
            }
            RecordKind::Log => {
                let subtype = Some(self.rule).filter(|rule| self.is_palo_alto() && is_new(rule));
                let ended = more(&["outcome", "PanOSEventStatus", "PanOSEventResult", "PanOSAuthEvent"])
                    .filter(|word| word.len() <= MAX_OUTCOME);
                // Of a login to the gateway.
                let stage = more(&["PanOSEventIDValue", "PanOSEventID", "PanOSStage"])
                    .filter(|word| word.len() <= MAX_OUTCOME);
                let words = [Some(self.name), subtype, stage, ended];
                record.message = clean_message(&words.into_iter().flatten().collect::<Vec<_>>().join(" "));
            }
            // Some devices call every alert so, and say what it is beside.
            RecordKind::Alert if is_general(self.name) && !self.value("msg").is_empty() => {
                record.message = clean_message(self.value("msg"));
                record.detail = clean(self.value("request"), MAX_DETAIL);
            }
            _ => {}
        }
    }

    /// A threat by its own name, with its number as the rule. What PAN-OS calls informational is no alert.
    fn tell_threat(&self, record: &mut Record) {
        let named = ["cat", "msg"].into_iter().map(|key| self.value(key)).find_map(|text| {
            let (title, number) = text.rsplit_once('(')?;
            let number = number.strip_suffix(')')?;
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            (is_number && !title.trim().is_empty()).then(|| (title.trim(), number))
        });
        if let Some((title, number)) = named {
            record.message = clean_message(title);
            record.rule = clean(number, MAX_NAME);
        } else {
            let words = [self.rule, self.value("act"), self.first(&["msg", "request"])];
            let words: Vec<&str> = words.into_iter().filter(|word| is_said(word)).collect();
            record.message = clean_message(&words.join(" "));
        }
        if record.priority == Some(4) {
            record.priority = None;
            let is_stopped = record.verdict == Some(SensorVerdict::Blocked);
            record.kind = if is_stopped { RecordKind::Log } else { RecordKind::Telemetry };
        } else {
            record.kind = RecordKind::Alert;
        }
    }
}

/// Longest word for how something ended.
const MAX_OUTCOME: usize = 32;

/// Whether a name says no more than that there is something.
fn is_general(name: &str) -> bool {
    ["alert", "event", "incident", "security alert", "alarm"]
        .iter()
        .any(|word| name.trim().eq_ignore_ascii_case(word))
}

fn is_said(word: &str) -> bool {
    !matches!(word, "" | "not-applicable" | "incomplete" | "unknown" | "N/A" | "0" | "any")
}

/// What a device's record is: traffic by its rule, name or class; else by its severity.
pub(super) fn kind(priority: Option<u8>, names: [&str; 3]) -> RecordKind {
    let is_traffic = names.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        // What ClearPass calls logins.
        if name == "session logs" {
            return false;
        }
        ["traffic", "flow", "session", "netflow"].iter().any(|word| {
            name.strip_prefix(word)
                .is_some_and(|rest| !rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()))
        })
    });
    match priority {
        Some(1 | 2) => RecordKind::Alert,
        _ if is_traffic => RecordKind::Telemetry,
        _ => RecordKind::Log,
    }
}

/// The pairs of the extension: a value goes on to the word before the next equals sign that no backslash is before.
pub(super) fn extension_pairs(text: &str) -> Vec<(&str, String)> {
    /// More than any device writes.
    const MAX_PAIRS: usize = 128;
    let mut keys = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' | b'\t' => start = at + 1,
            b'=' if !is_escaped && keys.len() < MAX_PAIRS && start < at => {
                // A value may hold equals signs of its own, as web addresses do; no space stands before them.
                let key = text.get(start..at).unwrap_or_default();
                if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.[]-".contains(&byte)) {
                    keys.push((start, at));
                }
                // What follows on the same word is value.
                start = usize::MAX;
            }
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    let ends = keys.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    keys.iter()
        .zip(ends)
        .map(|((start, at), end)| {
            (
                text.get(*start..*at).unwrap_or_default(),
                unescaped(text.get(at + 1..end).unwrap_or_default().trim()),
            )
        })
        .collect()
}

/// A text without its escapes: `\=`, `\|`, `\\`, and `\n` for a line break.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('n' | 'r') => out.push(' '),
                Some(next) => out.push(next),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

/// Milliseconds since 1970, or `Jun 03 2026 12:59:31`.
fn time(text: &str) -> Option<Timestamp> {
    if text.len() == 13
        && let Ok(millis) = text.parse::<i64>()
    {
        return Timestamp::from_epoch(millis / 1000, u32::try_from(millis.rem_euclid(1000)).ok()? * 1000);
    }
    Timestamp::parse_epoch(text).or_else(|| Timestamp::parse_prefix(text).map(|(time, _)| time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SensorVerdict;

    const LINE: &str = "CEF:0|Example|IPS \\| gate|1.0|9900030|SSH guessing|8|src=203.0.113.9 spt=51234 dst=10.0.2.11 dpt=22 \
                        proto=tcp act=blocked suser=a\\=b rt=1780491571342 cat=bruteforce msg=many tries \
                        request=http://shop.example/?q=1";

    #[test]
    fn an_alert_is_read() {
        let record = read(LINE, &Envelope::default()).unwrap();
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((record.sensor.as_str(), record.rule.as_str()), ("Example IPS | gate", "9900030"));
        assert_eq!((record.message.as_str(), record.classification.as_str()), ("SSH guessing", "bruteforce"));
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.9:51234");
        assert_eq!(record.destination.unwrap().to_string(), "10.0.2.11:22");
        assert_eq!((record.account.as_str(), record.detail.as_str()), ("a=b", "many tries"));
        assert_eq!(record.verdict, Some(SensorVerdict::Blocked));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn fields_that_a_device_names_itself_are_read() {
        let line = "CEF:0|Nozomi Networks|N2OS|23.0|SIGN:X|Malware detected|9|src=10.0.2.20 dst=10.0.2.14 flexString1=T0843 \
                    flexString1Label=mitre_attack_techniques flexString2=Execution flexString2Label=mitre_attack_tactics suser=N/A";
        let record = read(line, &Envelope::default()).unwrap();
        assert_eq!((record.techniques, record.account.as_str()), (vec!["T0843".to_owned()], ""));
        assert_eq!(record.tactics, [crate::Tactic::Execution]);
        let line = "CEF:0|Palo Alto Networks|Cortex XDR|3.6|XDR BIOC|Credential dump|8|cs2=x.exe -a cs2Label=Initiator CMD";
        assert_eq!(read(line, &Envelope::default()).unwrap().process, "x.exe -a");
        let line = "CEF:0|Claroty|CTD|4.5|10|Alert|8|src=10.0.2.20 msg=A configuration was downloaded";
        assert_eq!(read(line, &Envelope::default()).unwrap().message, "A configuration was downloaded");
        let line = "CEF:0|Aruba Networks|ClearPass|6.9|0-1-0|Session Logs|0|duser=bob";
        assert_eq!(read(line, &Envelope::default()).unwrap().kind, RecordKind::Log);
    }

    #[test]
    fn what_the_cloud_forwards_is_read_as_the_firewalls_own() {
        let line = "CEF:0|Palo Alto Networks|LF|2.0|THREAT|vulnerability|4|rt=1780491571342 src=203.0.113.9 dst=10.0.2.14 act=reset-both \
                    cat=LOCAL command injection(30001)";
        let record = read(line, &Envelope::default()).unwrap();
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((record.message.as_str(), record.rule.as_str()), ("LOCAL command injection", "30001"));
        let line = "CEF:0|Palo Alto Networks|LF|2.0|GLOBALPROTECT|globalprotect|3|PanOSEventIDValue=gateway-auth PanOSEventStatus=failure \
                    suser=bob PanOSPublicIPv4=203.0.113.9";
        let record = read(line, &Envelope::default()).unwrap();
        assert_eq!((record.kind, record.priority), (RecordKind::Log, None));
        assert_eq!(record.message, "GLOBALPROTECT gateway-auth failure");
        assert_eq!(record.source.unwrap().address, "203.0.113.9");
    }

    #[test]
    fn severity_decides_unless_it_is_traffic() {
        for (severity, kind, priority) in [
            ("10", RecordKind::Alert, Some(1)),
            ("Medium", RecordKind::Alert, Some(2)),
            ("3", RecordKind::Log, Some(3)),
            ("0", RecordKind::Log, None),
            ("Unknown", RecordKind::Log, None),
        ] {
            let line = LINE.replace("|8|", &format!("|{severity}|"));
            let record = read(&line, &Envelope::default()).unwrap();
            assert_eq!((record.kind, record.priority), (kind, priority), "{severity}");
        }
        let traffic = "CEF:0|Example|FW|1|13|traffic:forward accept|3|src=10.0.3.17 dst=10.0.2.11";
        assert_eq!(read(traffic, &Envelope::default()).unwrap().kind, RecordKind::Telemetry);
    }

    #[test]
    fn what_a_firewall_lets_through_and_refuses_is_told_with_both_ends() {
        let line = |action: &str| {
            format!(
                "CEF:0|Palo Alto Networks|PAN-OS|10.1|end|TRAFFIC|1|src=203.0.113.9 spt=51234 dst=10.0.2.14 dpt=443 proto=tcp app=ssl act={action} msg=end tcp-fin"
            )
        };
        let passed = read(&line("allow"), &Envelope::default()).unwrap();
        assert_eq!((passed.kind, passed.priority), (RecordKind::Telemetry, None));
        assert_eq!(passed.message, "TRAFFIC allow ssl TCP 203.0.113.9 -> 10.0.2.14:443");
        let refused = read(&line("deny"), &Envelope::default()).unwrap();
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
    }

    #[test]
    fn a_threat_of_pan_os_has_its_own_name_and_rank() {
        let read = |severity: &str| {
            let line = format!(
                "CEF:0|Palo Alto Networks|PAN-OS|10.1|vulnerability|THREAT|{severity}|src=203.0.113.9 dst=10.0.2.14 act=reset-both cat=Command injection(30001)"
            );
            read(&line, &Envelope::default()).unwrap()
        };
        let threat = read("5");
        assert_eq!((threat.kind, threat.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((threat.message.as_str(), threat.rule.as_str()), ("Command injection", "30001"));
        assert_eq!((read("3").priority, read("2").priority, read("x").priority), (Some(2), Some(3), None));
        assert_eq!(read("1").kind, RecordKind::Log, "informational, and stopped");
    }

    #[test]
    fn the_header_stands_at_the_beginning() {
        let taken = Envelope { program: "CEF", host: "fw", ..Envelope::default() };
        assert!((FORMAT.recognises)("0|a|b|c|d|e|5|", &taken));
        for line in ["x CEF:0|a|b|c|d|e|5|", "CEF:0|a|b|c", "CEF:x|a|b|c|d|e|5|", "0|a|b|c|d|e|5|"] {
            assert!(!(FORMAT.recognises)(line, &Envelope::default()), "{line}");
        }
        assert_eq!(extension_pairs("no pairs"), []);
        assert_eq!(
            extension_pairs("a=1 2 b=x=y c="),
            [("a", "1 2".into()), ("b", "x=y".into()), ("c", String::new())]
        );
    }
}
