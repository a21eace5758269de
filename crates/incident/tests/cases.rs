//! The shared cases of evidence as sensors write it: what each has to be read as. They are read where they lie and said to be skipped
//! where they are absent.

use std::path::{Path, PathBuf};

use countermove_incident::{AlertLog, Digest, Dossier, Format, Record, RecordKind, SourceName};

fn folder() -> PathBuf {
    let data = std::env::var_os("COUNTERMOVE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    data.join("../cases/evidence")
}

/// The log of a case, if the cases are at hand.
fn bytes(name: &str) -> Option<Vec<u8>> {
    let folder = folder().join(name);
    let file =
        ["alerts.log", "alerts.json.gz"].into_iter().find_map(|file| std::fs::read(folder.join(file)).ok());
    if file.is_none() {
        eprintln!("SKIPPED: {name} is not in the shared cases");
    }
    file
}

fn log(name: &str) -> Option<AlertLog> {
    Some(AlertLog::read(bytes(name)?.as_slice()).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// What a log says, whatever it came in.
fn said(log: &AlertLog) -> (u64, u64, Vec<String>) {
    let digest = Digest::new(log, 10_000);
    let groups = digest.groups().iter().map(|group| group.text.clone()).collect();
    (digest.report().alerts, digest.report().plain_lines, groups)
}

fn ends(record: &Record) -> String {
    let end = |end: &Option<countermove_incident::Endpoint>| {
        end.as_ref().map_or("?".to_owned(), |end| end.address.clone())
    };
    format!("{} -> {}", end(&record.source), end(&record.destination))
}

#[test]
fn the_same_alerts_are_the_same_however_they_are_wrapped() {
    let Some(reference) = log("works-eve-jsonl-reference") else { return };
    let expected = said(&reference);
    assert_eq!((expected.0, expected.1, expected.2.len()), (7, 0, 3), "{expected:?}");
    for name in [
        "eve-array-one-line",
        "eve-array-pretty",
        "eve-docker-wrapped",
        "splunk-json-export",
        "plan-counts-duplicates",
    ] {
        let Some(log) = log(name) else { continue };
        assert_eq!(said(&log), expected, "{name}: {:?}", log.warnings);
    }
    let twice = log("plan-counts-duplicates").expect("the others are there");
    assert_eq!(twice.reading.repeated, 7, "{:?}", twice.warnings);
}

#[test]
fn alerts_are_counted_in_every_form() {
    for (name, alerts, others, format) in [
        ("eve-drop-event", 1, 0, Format::Eve),
        ("snort3-alert-json", 7, 0, Format::SnortJson),
        ("snort3-alert-json-default", 5, 0, Format::SnortJson),
        ("snort3-alert-csv", 5, 0, Format::SnortCsv),
        ("pfsense-snort-csv", 7, 0, Format::PfsenseCsv),
        ("ossec-alerts-log", 3, 0, Format::Ossec),
        ("wazuh-alerts-json", 6, 0, Format::Wazuh),
        ("ecs-kibana-alerts", 3, 0, Format::Ecs),
        ("zeek-notice-json", 3, 0, Format::ZeekJson),
        ("utf16-powershell", 7, 0, Format::SnortFast),
        ("cloudtrail-records", 0, 4, Format::CloudTrail),
        ("cloudtrail-records-gz", 0, 4, Format::CloudTrail),
        ("windows-events-mapped-ipv4", 0, 10, Format::WindowsEvent),
        ("eve-one-dns-query", 0, 1, Format::Eve),
    ] {
        let Some(log) = log(name) else { return };
        assert_eq!(
            (log.count(RecordKind::Alert), log.total()),
            (alerts, alerts + others),
            "{name}: {log:#?}"
        );
        assert_eq!(log.reading.unknown, 0, "{name}: {:?}", log.warnings);
        assert_eq!(
            log.reading.formats.iter().map(|count| count.format).collect::<Vec<_>>(),
            [format],
            "{name}"
        );
    }
}

#[test]
fn a_client_port_makes_no_group() {
    for name in ["snort3-alert-json-default", "snort3-alert-csv"] {
        let Some(log) = log(name) else { return };
        let digest = Digest::new(&log, 1000);
        assert_eq!(digest.groups().len(), 1, "{name}: {}", digest.text());
        assert_eq!((digest.groups()[0].count, digest.groups()[0].message.as_str()), (5, "rule 1:9900030:2"));
    }
}

#[test]
fn a_record_that_syslog_cut_is_read_as_far_as_it_goes() {
    let Some(log) = log("eve-syslog-truncated") else { return };
    assert_eq!((log.count(RecordKind::Alert), log.reading.cut), (3, 3), "{log:#?}");
    let alert = &log.records[0];
    assert!(alert.is_cut && alert.time.is_some_and(|time| time.to_string() == "2026-06-03T10:59:31.342001"));
    assert_eq!((alert.priority, alert.rule.as_str()), (Some(1), "1:9900010:2"));
    assert_eq!(ends(alert), "203.0.113.9 -> 10.0.2.13");
    assert!(
        log.warnings.iter().any(|warning| warning.starts_with("3 records break off")),
        "{:?}",
        log.warnings
    );
}

#[test]
fn one_alert_of_three_sinks_is_one() {
    let Some(log) = log("same-alert-three-sinks") else { return };
    assert_eq!((log.count(RecordKind::Alert), log.reading.other_sinks), (3, 6), "{log:#?}");
    assert!(log.warnings.iter().any(|warning| warning.contains("name their zone")), "{:?}", log.warnings);
}

#[test]
fn times_without_a_year_stand_where_they_belong() {
    let Some(log) = log("syslog-mixed-years") else { return };
    let digest = Digest::new(&log, 2000);
    let times: Vec<String> =
        digest.groups().iter().filter_map(|group| group.first).map(|time| time.clock()).collect();
    assert_eq!(
        times.iter().take(3).collect::<Vec<_>>(),
        ["12:59:31", "13:02:00", "13:03:00"],
        "{}",
        digest.text()
    );
    assert!(digest.groups().iter().all(|group| !group.message.contains('"')), "{}", digest.text());
}

#[test]
fn what_is_unset_is_unset() {
    let Some(log) = log("snort2-priority-0") else { return };
    assert!(log.records.iter().all(|record| record.priority.is_none()), "{log:#?}");
    assert!(!Digest::new(&log, 1000).text().contains("P0"));
    let Some(log) = self::log("suricata-no-classtype") else { return };
    assert!(log.alerts().all(|record| record.priority.is_none()), "{log:#?}");
}

#[test]
fn addresses_are_found_however_they_are_written() {
    for (name, address) in [("sshd-mapped-ipv4", "10.0.3.17"), ("tab-before-address", "203.0.113.9")] {
        let Some(log) = log(name) else { return };
        assert!(
            log.records.iter().all(|record| record.source.as_ref().is_some_and(|end| end.address == address)),
            "{name}: {log:#?}"
        );
        assert_eq!((log.total(), log.count(RecordKind::Log)), (4, 4), "{name}");
    }
}

#[test]
fn splitting_a_case_at_any_line_changes_nothing() {
    for name in [
        "works-authlog-iso-apache",
        "works-syslog-snort-suricata",
        "eve-telemetry-mixed",
        "wazuh-alerts-json",
    ] {
        let Some(bytes) = bytes(name) else { return };
        let whole = AlertLog::read(bytes.as_slice()).expect("text");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for cut in 0..=lines.len() {
            let mut dossier = Dossier::default();
            for part in [&lines[..cut], &lines[cut..]] {
                dossier.absorb(&SourceName::default(), part.concat().as_bytes()).expect("text");
            }
            assert_eq!(dossier.log().records, whole.records, "{name} at {cut}");
        }
    }
}
