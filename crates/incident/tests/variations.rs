//! What sensors, hosts and collectors write, in the many ways in which each of them does: `variations/*.txt` holds a text for each and
//! what its records have to say.
//!
//! A variation begins with `=== name`. `!crlf` and the like say how its text is encoded. A line with `---` stands for a record: its
//! kind, and then what has to be in it. What is not named is not compared.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use countermove_incident::{AlertLog, Endpoint, Record, RecordKind, SensorVerdict};

#[derive(Debug, Default)]
struct Variation {
    name: String,
    encodings: Vec<String>,
    expected: Vec<String>,
    text: String,
}

fn variations(file: &str) -> Vec<Variation> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/variations").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut all: Vec<Variation> = Vec::new();
    let mut is_head = false;
    for line in text.split('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            all.push(Variation { name: name.to_owned(), ..Variation::default() });
            is_head = true;
            continue;
        }
        let last = all.last_mut().expect("a file begins with a name");
        if let Some(encoding) = line.strip_prefix('!').filter(|_| is_head) {
            last.encodings.push(encoding.to_owned());
        } else if let Some(record) = line.strip_prefix("--- ").filter(|_| is_head) {
            last.expected.push(record.to_owned());
        } else {
            is_head = false;
            last.text.push_str(line);
            last.text.push('\n');
        }
    }
    all
}

fn encoded(text: &str, encodings: &[String]) -> Vec<u8> {
    let mut text = text.to_owned();
    let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let mut bytes = None;
    for encoding in encodings {
        match encoding.as_str() {
            "crlf" => text = text.replace('\n', "\r\n"),
            "nul" => text = text.replace('\n', "\n\0\0\0\0\0\0\0\0"),
            "utf16" => {
                bytes = Some(
                    units(&format!("\u{feff}{text}")).iter().flat_map(|unit| unit.to_le_bytes()).collect(),
                )
            }
            "utf16be" => {
                bytes = Some(
                    units(&format!("\u{feff}{text}")).iter().flat_map(|unit| unit.to_be_bytes()).collect(),
                )
            }
            "utf16bare" => bytes = Some(units(&text).iter().flat_map(|unit| unit.to_le_bytes()).collect()),
            "zstd" => {
                bytes = Some(ruzstd::encoding::compress_to_vec(
                    text.as_bytes(),
                    ruzstd::encoding::CompressionLevel::Fastest,
                ));
            }
            "gzip" => {
                // Two packed parts one behind the other.
                let half = text.find('\n').map_or(0, |at| at + 1);
                let parts = text.split_at(half);
                bytes = Some(
                    [parts.0, parts.1]
                        .iter()
                        .flat_map(|part| {
                            let mut packed =
                                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                            packed.write_all(part.as_bytes()).expect("memory");
                            packed.finish().expect("memory")
                        })
                        .collect(),
                );
            }
            other => panic!("no encoding {other}"),
        }
    }
    bytes.unwrap_or_else(|| text.into_bytes())
}

fn shown(end: &Option<Endpoint>) -> String {
    end.as_ref().map_or_else(|| "?".to_owned(), Endpoint::to_string)
}

fn kind(record: &Record) -> &'static str {
    match record.kind {
        RecordKind::Alert => "alert",
        RecordKind::Log => "log",
        RecordKind::Telemetry => "telemetry",
        RecordKind::Unknown => "unknown",
    }
}

/// What is wrong with a record.
fn faults(record: &Record, expected: &str) -> String {
    let mut out = String::new();
    let mut parts = expected.split(" | ");
    let own = kind(record);
    if let Some(kind) = parts.next().filter(|kind| *kind != own) {
        let _ = write!(out, " kind {own}, not {kind};");
    }
    for part in parts {
        let (key, wanted) = part.split_once('=').unwrap_or((part, ""));
        let found = match key {
            "prio" => record.priority.map_or("-".to_owned(), |priority| priority.to_string()),
            "ends" => format!("{} -> {}", shown(&record.source), shown(&record.destination)),
            "at" => record.time.map_or("-".to_owned(), |time| time.to_string()),
            "host" => record.host.clone(),
            "acct" => record.account.clone(),
            "msg" => record.message.clone(),
            "class" => record.classification.clone(),
            "rule" => record.rule.clone(),
            "proc" => record.process.clone(),
            "file" => record.file.clone(),
            "fmt" => record.format.name().to_owned(),
            "via" => record.via.join(","),
            "count" => record.repeats.count.to_string(),
            "tac" => record.tactics.iter().map(|tactic| tactic.name()).collect::<Vec<_>>().join(","),
            "tech" => record.techniques.join(","),
            "cut" => record.is_cut.to_string(),
            "verdict" => match record.verdict {
                Some(SensorVerdict::Blocked) => "blocked".to_owned(),
                Some(SensorVerdict::Allowed) => "allowed".to_owned(),
                None => "-".to_owned(),
            },
            "says" => {
                let said = format!("{} {}", record.message, record.detail);
                if said.contains(wanted) { wanted.to_owned() } else { said }
            }
            other => panic!("no key {other}"),
        };
        if found != wanted {
            let _ = write!(out, " {key} {found:?}, not {wanted:?};");
        }
    }
    out
}

fn check(file: &str) {
    let mut wrong = String::new();
    let (mut count, mut failed) = (0, 0);
    for variation in variations(file) {
        count += 1;
        let mut records = Vec::new();
        let bytes = encoded(&variation.text, &variation.encodings);
        let read = AlertLog::each(bytes.as_slice(), |record| records.push(record));
        let mut found = String::new();
        if let Err(error) = read {
            let _ = writeln!(found, "  {error}");
        } else if records.len() != variation.expected.len() {
            let _ = writeln!(found, "  {} records, not {}:", records.len(), variation.expected.len());
            for record in records.iter().take(4) {
                let text: String = record.message.chars().take(160).collect();
                let _ = writeln!(found, "    {} {}: {text}", kind(record), record.format.name());
            }
        } else {
            for (record, expected) in records.iter().zip(&variation.expected) {
                let faults = faults(record, expected);
                if !faults.is_empty() {
                    let _ = writeln!(found, "  {}:{faults}", record.format.name());
                }
            }
        }
        if !found.is_empty() {
            failed += 1;
            let _ = write!(wrong, "{}\n{found}", variation.name);
        }
    }
    assert!(wrong.is_empty(), "{failed} of {count} variations are misread:\n{wrong}");
}

#[test]
fn sensors_of_the_network() {
    check("network.txt");
}

#[test]
fn managers_clouds_and_rules() {
    check("siem.txt");
}

#[test]
fn hosts_and_services() {
    check("hosts.txt");
}

#[test]
fn wrappings() {
    check("wrappings.txt");
}

#[test]
fn one_alert_that_came_on_several_ways_is_one() {
    const EVE: &str = r#"{"timestamp":"2026-06-03T14:59:31.342001+0200","flow_id":1,"event_type":"alert","src_ip":"203.0.113.9","src_port":51234,"dest_ip":"10.0.2.11","dest_port":22,"proto":"TCP","alert":{"gid":1,"signature_id":9900030,"rev":2,"signature":"LOCAL SSH","category":"Misc Attack","severity":1}}"#;
    let through_syslog = format!("<141>Jun  3 14:59:31 ids1 suricata[900]: {EVE}");
    let through_graylog = serde_json::json!({"version": "1.1", "host": "ids1", "short_message": EVE, "timestamp": 1_780_491_571.3});
    let ecs = r#"{"@timestamp":"2026-06-03T12:59:31.342Z","event":{"module":"suricata","dataset":"suricata.alert","severity_label":"high"},"rule":{"name":"LOCAL SSH","uuid":"9900030"},"source":{"ip":"203.0.113.9","port":51234},"destination":{"ip":"10.0.2.11","port":22}}"#;
    let fast = "06/03/2026-14:59:31.342001  [**] [1:9900030:2] LOCAL SSH [**] [Classification: Misc Attack] [Priority: 1] {TCP} 203.0.113.9:51234 -> 10.0.2.11:22";
    // Files one behind the other, each with a later alert at its end.
    let file = |alert: &str| {
        format!("{alert}\n{}\n", alert.replace("59:31", "59:38").replace("1780491571", "1780491578"))
    };
    for other in [EVE, &through_syslog, &through_graylog.to_string(), ecs, fast] {
        for text in [file(EVE) + &file(other), file(other) + &file(EVE)] {
            let log = AlertLog::parse(text.as_bytes()).expect("text");
            assert_eq!(log.count(RecordKind::Alert), 2, "{other}: {:?}", log.reading);
        }
    }
    // Another connection, or the next packet, is another alert.
    for (from, to) in [("51234", "51235"), ("342001", "342002")] {
        let text = format!("{EVE}\n{}\n", through_syslog.replace(from, to));
        assert_eq!(AlertLog::parse(text.as_bytes()).expect("text").count(RecordKind::Alert), 2, "{to}");
    }
}
