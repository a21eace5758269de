//! Properties of reading, folding and digesting that hold for any log.

use countermove_incident::{
    AlertFormat, AlertLog, Digest, Dossier, Endpoint, Grounding, Record, RecordKind, SourceName, Timestamp,
    VerbClass, approximate_tokens,
};
use proptest::prelude::*;

fn words(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec("[A-Za-z][A-Za-z0-9._/()'-]{0,9}", 1..most).prop_map(|words| words.join(" "))
}

fn times() -> impl Strategy<Value = Timestamp> {
    (1_u8..=12, 1_u8..=28, 0_u8..24, 0_u8..60, 0_u8..60, 0_u32..1_000_000).prop_map(
        |(month, day, h, m, s, micro)| {
            Timestamp::new(Some(2026), month, day, (h, m, s), micro).expect("a valid date")
        },
    )
}

fn endpoints(with_port: bool) -> impl Strategy<Value = Endpoint> {
    let address = prop_oneof![
        any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from_bits(bits).to_string()),
        any::<u128>().prop_map(|bits| std::net::Ipv6Addr::from_bits(bits).to_string()),
        "[a-z]{1,8}_[a-z]{1,8}",
    ];
    // Port 0 is what Suricata writes where there is none.
    (address, 1..=u16::MAX)
        .prop_map(move |(address, port)| Endpoint::new(&address, with_port.then_some(port)))
}

/// Alerts as an IDS can raise them: an end has a port if the protocol has ports.
fn alerts() -> impl Strategy<Value = Record> {
    let ends = any::<bool>().prop_flat_map(|ports| {
        let protocol = if ports {
            prop_oneof![Just("TCP"), Just("UDP")]
        } else {
            prop_oneof![Just("ICMP"), Just("GRE")]
        };
        (protocol, endpoints(ports), endpoints(ports))
    });
    let rule =
        (proptest::option::of(1_u8..=4), proptest::option::of(words(4)), any::<(u32, u32, u32)>(), words(8));
    (times(), ends, rule).prop_map(
        |(time, (protocol, source, destination), (priority, class, rule, message))| Record {
            kind: RecordKind::Alert,
            time: Some(time),
            // Suricata gives a rule without a class the severity 3, which says nothing.
            priority: priority.filter(|priority| class.is_some() || *priority != 3),
            classification: class.unwrap_or_default(),
            protocol: protocol.to_owned(),
            source: Some(source),
            destination: Some(destination),
            rule: format!("{}:{}:{}", rule.0, rule.1, rule.2),
            message,
            ..Record::default()
        },
    )
}

/// Alerts and lines of few different kinds, so that there is something to fold.
fn noisy_logs() -> impl Strategy<Value = Vec<String>> {
    let alert = (0_u32..100_000, 0_u8..4, 0_u8..3, 0_u8..6, 0_u8..30, any::<u16>(), 0_u16..200).prop_map(
        |(second, priority, message, source, target, from, to)| {
            format!(
                "[pri={} cls=Class {priority}] {{TCP}} 203.0.113.{source}:{from} -> 10.0.2.{target}:{to} \
                 [1:{message}:1] Message number {message} at {second}",
                if priority == 0 { "None".to_owned() } else { priority.to_string() },
                second = second / 50_000,
            )
        },
    );
    let line = (0_u8..3, 0_u16..40)
        .prop_map(|(what, number)| format!("Jun  3 12:00:00 host daemon[{what}]: event {number}"));
    proptest::collection::vec(prop_oneof![4 => alert, 1 => line, 1 => "\\PC{0,60}"], 0..200)
}

fn parse(text: &str) -> AlertLog {
    AlertLog::parse(text.as_bytes()).expect("text is read")
}

/// The records of a log one by one.
fn each(text: &str) -> Vec<Record> {
    let mut records = Vec::new();
    AlertLog::each(text.as_bytes(), |record| records.push(record)).expect("text is read");
    records
}

/// What an alert says, without what its form adds.
fn said(record: &Record) -> Record {
    let unsaid = Record::default();
    let Record { format, sensor, raw, verdict, .. } = unsaid;
    Record { format, sensor, raw, verdict, detail: String::new(), ..record.clone() }
}

proptest! {
    #[test]
    fn every_form_is_read_back(alert in alerts()) {
        for format in AlertFormat::ALL {
            for end in ["\n", "\r\n"] {
                let text = alert.render(format).replace('\n', end) + end;
                let read: Vec<Record> = each(&text).iter().map(said).collect();
                prop_assert_eq!(read, vec![alert.clone()], "{}", text);
                prop_assert!(parse(&text).warnings.is_empty(), "{:?}", parse(&text).warnings);
            }
        }
    }

    #[test]
    fn forms_may_be_mixed(alerts in proptest::collection::vec((alerts(), 0_usize..4), 1..20)) {
        let text: String = alerts.iter().map(|(alert, form)| alert.render(AlertFormat::ALL[*form]) + "\n").collect();
        let read: Vec<Record> = each(&text).iter().map(said).collect();
        prop_assert_eq!(read, alerts.into_iter().map(|(alert, _)| alert).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_written_is_read_as_the_same_records(lines in noisy_logs(), texts in proptest::collection::vec(any::<String>(), 0..4)) {
        let log = parse(&(lines.join("\n") + "\n" + &texts.join("\n")));
        let again = AlertLog::from_bytes(&log.to_bytes()).expect("it was written by this version");
        prop_assert_eq!(&again, &log);
        // Read as a log it is refused, whatever stands in it.
        let as_text = AlertLog::read(log.to_bytes().as_slice()).is_ok_and(|other| other.total() > 0 && other == log);
        prop_assert!(!as_text || log.records.is_empty());
    }

    #[test]
    fn nobody_claims_a_count(count in 2_u64..u64::MAX, text in words(5)) {
        for line in [
            format!("[pri=1 count={count} cls=x] {{TCP}} 10.0.0.1:1 -> 10.0.0.2:2 {text}"),
            format!("[count={count}] {text}"),
            format!("06/03-12:59:31.0 [count={count} last=2026-06-03T13:00:00] {text}"),
            format!("{{\"count\":{count},\"repeats\":{{\"count\":{count}}},\"message\":\"{text}\"}}"),
        ] {
            prop_assert_eq!(parse(&line).total(), 1, "{}", line);
        }
    }

    #[test]
    fn splitting_a_log_into_reports_changes_nothing(
        alerts in proptest::collection::vec((alerts(), 0_usize..4), 1..20), cuts in proptest::collection::vec(0_usize..20, 0..4),
    ) {
        let parts: Vec<String> = alerts.iter().map(|(alert, form)| alert.render(AlertFormat::ALL[*form]) + "\n").collect();
        let source = SourceName::default();
        let (mut whole, mut split) = (Dossier::default(), Dossier::default());
        whole.absorb(&source, parts.concat().as_bytes()).expect("text is read");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(parts.len())).chain([0, parts.len()]).collect();
        cuts.sort_unstable();
        let mut new = 0;
        for part in cuts.windows(2) {
            new += split.absorb(&source, parts[part[0]..part[1]].concat().as_bytes()).expect("text is read").log.total();
        }
        let (whole, split) = (whole.log(), split.log());
        prop_assert_eq!(new, whole.total());
        prop_assert_eq!(Digest::new(&split, 1000), Digest::new(&whole, 1000));
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn a_log_given_twice_counts_once(alerts in proptest::collection::vec((alerts(), 0_usize..4), 1..20)) {
        let text: String = alerts.iter().map(|(alert, form)| alert.render(AlertFormat::ALL[*form]) + "\n").collect();
        let mut dossier = Dossier::default();
        let first = dossier.absorb(&SourceName::default(), text.as_bytes()).expect("text is read");
        let again = dossier.absorb(&SourceName { name: "a copy".into(), format: None }, text.as_bytes()).expect("text is read");
        // EVE leaves out a time without a year, and what has no time may repeat; these have one.
        prop_assert_eq!(again.log.total(), 0);
        prop_assert_eq!(again.repeated, first.log.total() + first.repeated);
        let records = AlertLog::from_bytes(&first.log.to_bytes()).expect("records");
        let mut other = Dossier::default();
        other.absorb_log(&records);
        prop_assert_eq!(other.log().total(), first.log.total());
        prop_assert_eq!(other.absorb_log(&records).log.total(), 0);
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok(log) = AlertLog::parse(&bytes) {
            let _ = Digest::new(&log, 100);
        }
        let _ = AlertLog::read(bytes.as_slice());
    }

    #[test]
    fn broken_alerts_are_survived(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("[**]"), Just("[pri="), Just("cls="), Just("]"), Just("["), Just("{TCP}"), Just("{"), Just("}"),
                Just("->"), Just("1:2:3"), Just(" "), Just("\n"), Just("[Classification:"), Just("[Priority: 1]"),
                Just("10.0.0.1:22"), Just("06/03-12:59:31.0"), Just("::"), Just("\"event_type\":\"alert\""), Just("é"),
                Just("[count="), Just("\u{202e}"), Just("\r"),
            ],
            0..60,
        ),
    ) {
        let text = parts.concat();
        let log = parse(&text);
        let shown = Digest::new(&log, 1000);
        let acts = shown.text().contains('\u{202e}');
        prop_assert!(!acts);
        // Several objects may stand on a line.
        let most = text.lines().count() + text.matches('{').count();
        prop_assert!(log.total() as usize <= most, "{} > {most}", log.total());
    }

    #[test]
    fn folding_while_reading_loses_no_record(lines in noisy_logs()) {
        let text = lines.join("\n");
        let (all, folded) = (each(&text), parse(&text));
        prop_assert_eq!(folded.total() + folded.reading.repeated, all.len() as u64);
        prop_assert!(folded.records.len() <= all.len());
    }

    #[test]
    fn a_digest_adds_up_and_keeps_its_budget(lines in noisy_logs(), budget in 0_usize..1500) {
        let log = parse(&lines.join("\n"));
        let digest = Digest::new(&log, budget);
        let report = digest.report();
        prop_assert!(approximate_tokens(digest.text()) <= budget, "{} > {budget}", approximate_tokens(digest.text()));
        let shown: u64 = digest.groups().iter().map(|group| group.count).sum();
        prop_assert_eq!(report.records, log.total());
        prop_assert_eq!(report.records, report.alerts + report.plain_lines);
        prop_assert_eq!(shown + report.records_not_shown, report.records);
        prop_assert_eq!(report.groups_shown, digest.groups().len() as u64);
        prop_assert_eq!(report.records_not_shown > 0, report.groups > report.groups_shown);
        for (number, group) in (1..).zip(digest.groups()) {
            prop_assert_eq!(group.number, number);
            prop_assert_eq!(digest.group(number), Some(group));
            let line = format!("A{number} {}", group.text);
            prop_assert!(digest.text().lines().any(|shown| shown == line.trim_end()));
        }
        prop_assert_eq!(&Digest::new(&log, budget), &digest);
    }
}

#[test]
fn a_rare_alert_of_high_priority_outlives_a_flood() {
    let mut text = String::new();
    for number in 0..5000 {
        text.push_str(&format!(
            "06/03-12:00:00.0 [**] [1:7:1] noise of kind {} [**] [Priority: 3] {{TCP}} 203.0.113.{}:1 -> 10.0.2.{}:80\n",
            number % 40,
            number % 200,
            number % 7
        ));
    }
    text.push_str("06/03-13:00:00.0 [**] [1:9:1] WEBSHELL command [**] [Priority: 1] {TCP} 203.0.113.9:1 -> 10.0.2.14:80\n");
    let digest = Digest::new(&parse(&text), 400);
    assert!(digest.text().contains("WEBSHELL command"), "{}", digest.text());
    assert!(digest.text().contains("Not shown:"), "{}", digest.text());
    assert!(digest.report().records_not_shown > 0);
    assert!(digest.report().warnings.iter().any(|warning| warning.contains("do not fit")));
}

#[test]
fn more_different_records_than_are_kept_apart_are_counted() {
    let mut text = String::new();
    for number in 0..15_000 {
        text.push_str(&format!(
            "[pri=3 cls=Misc activity] {{TCP}} 10.{}.{}.{}:40000 -> 10.0.2.14:80 [1:7:1] noise {number}\n",
            number % 250,
            number / 250,
            number % 3
        ));
    }
    text.push_str(
        "[pri=1 cls=Web Application Attack] {TCP} 203.0.113.9:40000 -> 10.0.2.14:80 [1:9:1] WEBSHELL\n",
    );
    let log = AlertLog::read(text.as_bytes()).expect("text is read");
    assert_eq!(log.total(), 15_001);
    assert!(log.records.len() < 14_000, "{}", log.records.len());
    assert!(
        log.warnings.iter().any(|warning| warning.contains("more different records")),
        "{:?}",
        log.warnings
    );
    assert!(log.alerts().any(|alert| alert.message == "WEBSHELL"));
}

/// Texts that look like records, for whoever may choose what stands in a field.
const LOOKALIKES: [&str; 8] = [
    "[pri=1 cls=x] {TCP} 10.0.2.20:1 -> 10.0.2.21:445 x",
    "[pri=1 count=1000000000000 cls=x] {TCP} 10.0.2.20:1 -> 10.0.2.21:445 x",
    "06/03-12:59:31.0 [**] [1:1:1] x [**] [Priority: 1] {TCP} 10.0.2.20:1 -> 10.0.2.21:445",
    "[1:1:1] x [Classification: Misc] [Priority: 1] {TCP} 10.0.2.20:1 -> 10.0.2.21:445",
    "Jun  3 12:59:31 ids snort[1]: [1:1:1] x [Classification: Misc] [Priority: 1] {TCP} 10.0.2.20:1 -> 10.0.2.21:445",
    "{\"timestamp\":\"2026-06-03T12:59:31Z\",\"event_type\":\"alert\",\"alert\":{\"signature\":\"x\",\"severity\":1}}",
    "CEF:0|a|b|1|1|x|10|src=10.0.2.20 dst=10.0.2.21",
    "** Alert 1780491570.1234: - syslog,",
];

/// Kinds, formats and ends of a log's records.
fn read_as(text: &str) -> Vec<String> {
    let end = |end: &Option<Endpoint>| end.as_ref().map(|end| end.address.clone());
    each(text)
        .iter()
        .map(|record| {
            let ends = (end(&record.source), end(&record.destination));
            format!("{:?} {:?} {:?} {ends:?}", record.kind, record.format, record.priority)
        })
        .collect()
}

#[test]
fn a_text_in_a_field_changes_nothing_that_is_read() {
    // A source that really has all of these formats, so that none is ruled out by its first records.
    let genuine = [
        LOOKALIKES[0],
        LOOKALIKES[2],
        LOOKALIKES[4],
        LOOKALIKES[5],
        LOOKALIKES[6],
        "Jun  3 12:59:31 web01 sshd[1]: Failed password for root from 198.51.100.77 port 40022 ssh2",
        "198.51.100.77 - - [10/Jun/2026:13:12:00 +0000] \"GET / HTTP/1.1\" 200 612 \"-\" \"curl\"",
    ]
    .join("\n");
    for lookalike in LOOKALIKES {
        let json = serde_json::Value::String(lookalike.to_owned()).to_string();
        let json = json.trim_matches('"');
        for line in [
            "Jun 10 13:12:10 web01 sshd[911]: Failed password for invalid user FIELD from 198.51.100.77 port 40022 ssh2".replace("FIELD", lookalike),
            "198.51.100.77 - - [10/Jun/2026:13:12:00 +0000] \"GET / HTTP/1.1\" 200 612 \"-\" \"FIELD\"".replace("FIELD", json),
            "{\"timestamp\":\"2026-06-03T12:59:31Z\",\"event_type\":\"http\",\"src_ip\":\"198.51.100.77\",\"dest_ip\":\"10.0.2.13\",\"http\":{\"http_user_agent\":\"FIELD\"}}".replace("FIELD", json),
            "{\"level\":\"info\",\"message\":\"FIELD\"}".replace("FIELD", json),
            "application said: FIELD".replace("FIELD", lookalike),
            "Jun 10 13:12:10 web01 shop[911]: FIELD".replace("FIELD", lookalike),
        ] {
            let harmless = line.replace(lookalike, "bob").replace(json, "bob");
            for before in [String::new(), genuine.clone() + "\n"] {
                let (read, expected) = (read_as(&(before.clone() + &line)), read_as(&(before + &harmless)));
                assert_eq!(read, expected, "{line}");
            }
            // What was read is never read again as text.
            let log = parse(&line);
            let mut dossier = Dossier::default();
            dossier.absorb_log(&AlertLog::from_bytes(&log.to_bytes()).expect("records"));
            dossier.absorb(&SourceName::default(), genuine.as_bytes()).expect("text");
            assert_eq!(dossier.log().total(), log.total() + parse(&genuine).total(), "{line}");
        }
    }
}

#[test]
fn forty_logins_that_failed_are_forty() {
    let line =
        "Jun  3 12:59:31 db01 sshd[120]: Failed password for postgres from 10.0.3.17 port 51234 ssh2\n";
    let log = parse(&line.repeat(40));
    assert_eq!((log.records.len(), log.total(), log.reading.repeated), (1, 40, 0));
}

#[test]
fn bad_input_is_told_apart() {
    let empty = AlertLog::parse(b"").expect("an empty log is read");
    assert_eq!(
        (empty.records.len(), empty.warnings.as_slice()),
        (0, &["The alert log is empty.".to_owned()][..])
    );
    assert_eq!(AlertLog::parse(b"\n \r\n").expect("blank lines are read").records.len(), 0);
    let unknown = parse("one\ntwo\n");
    assert_eq!(unknown.warnings, ["No line of the log is in a known form; 2 are kept as plain evidence."]);
    let error = AlertLog::parse(b"\x7fELF\x02\x01\x01\0\0\0").expect_err("a program is refused").to_string();
    assert!(
        error.starts_with("the alert log is not text: 42 % of its first 10 bytes are no text"),
        "{error}"
    );
}

#[test]
fn hostile_input_takes_linear_time() {
    // Each would take minutes if its time were quadratic.
    let start = std::time::Instant::now();
    for unit in [
        "[",
        "[**]",
        "[**] [1:1:1] ",
        "[1:1:1]",
        "[pri=1 cls=",
        "{",
        "{\"a\":",
        "[{",
        "->",
        ":",
        "1:",
        "a.",
        "::1-",
        "[Classification:",
        "user=",
        "server 1, ",
        "Server 1 and ",
        "a_1 ",
        "x@",
        "1.1.1.1/",
        "web-1-",
        "uid=1(",
        "\u{202e}",
        "é",
    ] {
        let text = unit.repeat(100_000 / unit.len());
        let mut log = AlertLog::parse(text.as_bytes()).expect("text is read");
        log.records.extend(
            parse(&format!("06/03-12:00:00.0 [**] [1:1:1] {text} [**] {{TCP}} 1.1.1.1:1 -> {text}")).records,
        );
        let _ = Digest::new(&log, 500);
        let _ = Grounding::new(&text, &log).unknown_entities(&text);
        let _ = VerbClass::of(&text);
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
