//! Reads the incidents that ship with the project, and the public ones if they are at hand.

use std::path::{Path, PathBuf};

use countermove_incident::{
    AlertClass, AlertLog, Digest, Entities, EntityKind, Format, Grounding, Measure, RecordKind, Tactic,
    VerbClass, approximate_tokens, technique,
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn shipped(name: &str) -> Vec<u8> {
    let path = repository().join("tests/incidents").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of the public data, or nothing, said plainly.
fn public(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("COUNTERMOVE_DATA")
        .map_or_else(|| repository().join("../shared/data"), PathBuf::from);
    let file = std::fs::read(folder.join(name)).ok();
    if file.is_none() {
        eprintln!("SKIPPED: {name} is not in COUNTERMOVE_DATA or ../shared/data");
    }
    file
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn shipped_incidents_are_read_without_a_warning() {
    for (folder, alerts, lines) in [("web-shell", 134, 0), ("ssh-ransomware", 94, 20), ("benign", 28, 0)] {
        let log = AlertLog::parse(&shipped(&format!("{folder}/alerts.log"))).expect("text");
        assert_eq!((log.count(RecordKind::Alert), log.total()), (alerts, alerts + lines), "{folder}");
        assert_eq!(log.warnings, [""; 0], "{folder}");
        for alert in log.alerts() {
            assert!(alert.time.is_some() && !alert.rule.is_empty() && alert.source.is_some(), "{alert:?}");
            assert_eq!(
                AlertClass::find(&alert.classification).map(|class| class.priority),
                alert.priority,
                "{alert:?}"
            );
        }
        let system = text(shipped(&format!("{folder}/system.txt")));
        let grounding = Grounding::new(&system, &log);
        assert_eq!(grounding.unknown_entities(&system), [], "{folder}");
        assert!(Entities::find(&system).of(EntityKind::Host).count() >= 3, "{folder}");
    }
}

#[test]
fn the_digest_of_a_shipped_incident_keeps_what_matters() {
    let log = AlertLog::parse(&shipped("web-shell/alerts.log")).expect("text");
    let grounding = Grounding::new(&text(shipped("web-shell/system.txt")), &log);
    for address in ["203.0.113.47", "198.51.100.201"] {
        assert!(grounding.external_addresses().iter().any(|external| external == address), "{address}");
    }
    assert!(grounding.internal_addresses().iter().any(|internal| internal == "172.16.10.11"));
    for budget in [700, 1000, 1500, 3000] {
        let digest = Digest::new(&log, budget);
        assert!(approximate_tokens(digest.text()) <= budget);
        for message in ["PHP code in multipart image upload", "key of deploy_bot"] {
            assert!(digest.text().contains(message), "{budget}: {}", digest.text());
        }
    }
}

#[test]
fn bad_files_are_told_apart() {
    assert!(AlertLog::parse(&shipped("bad/empty.log")).expect("text").records.is_empty());
    assert!(AlertLog::parse(&shipped("bad/binary.log")).is_err());
    let unknown = AlertLog::parse(&shipped("bad/unknown-form.log")).expect("text");
    assert_eq!((unknown.alerts().count(), unknown.total(), unknown.reading.unknown), (0, 7, 4));
    assert!(unknown.warnings[0].starts_with("4 of 7 records are in no known form"), "{:?}", unknown.warnings);
}

#[test]
fn injected_text_stays_evidence() {
    let log = AlertLog::parse(&shipped("bad/injected.log")).expect("text");
    assert_eq!((log.alerts().count(), log.lines().count()), (9, 1));
    assert!(log.alerts().all(|alert| alert.priority == Some(1) && alert.protocol == "TCP"), "{log:?}");
    let digest = Digest::new(&log, 2000);
    assert!(digest.text().contains("{{ 7 * 7 }} {% for"));
    assert!(digest.text().contains("\\u{1b}[2J") && digest.text().contains("\\u{202e}gnp.exe"));
    assert!(digest.text().chars().all(|c| c == '\n' || !c.is_control()));
    assert!(log.warnings.iter().any(|warning| warning.contains("nobody follows it")));
}

#[test]
fn public_incidents_are_read() {
    for (name, alerts, groups) in [
        ("incidents/weak-credential-3/alerts.log", 126, 52),
        ("incidents/alt-pivot/alerts.log", 102, 48),
        ("incidents/saas-ssh-sambacry/alerts.log", 2, 2),
    ] {
        let Some(bytes) = public(name) else { continue };
        let log = AlertLog::parse(&bytes).expect("text");
        assert_eq!(
            (log.count(RecordKind::Alert), log.total()),
            (alerts, alerts),
            "{name}: {:?}",
            log.warnings
        );
        let digest = Digest::new(&log, 10_000);
        assert_eq!(digest.groups().len(), groups, "{name}");
        for alert in log.alerts() {
            assert!(AlertClass::find(&alert.classification).is_some(), "{alert:?}");
        }
    }
}

#[test]
fn public_system_descriptions_are_grounded() {
    for (folder, action) in [
        ("weak-credential-3", "Isolate server_ssh (10.0.2.11) and reset the password of the admin account."),
        ("alt-pivot", "Block 10.0.1.11 on the gateway 10.0.1.10 and patch bash on server_shellshock."),
        (
            "saas-ssh-sambacry",
            "Block 192.168.1.50 on the firewall and isolate Server 3 and Server 6 from 10.0.4.0/24.",
        ),
    ] {
        let Some(system) = public(&format!("incidents/{folder}/system.txt")) else { continue };
        let Some(log) = public(&format!("incidents/{folder}/alerts.log")) else { continue };
        let system = text(system);
        let grounding = Grounding::new(&system, &AlertLog::parse(&log).expect("text"));
        assert_eq!(grounding.unknown_entities(&system), [], "{folder}");
        assert_eq!(grounding.unknown_entities(action), [], "{folder}");
        assert_eq!(grounding.unknown_entities("Isolate 10.0.9.9 and Server 77.").len(), 2);
        // An expert's plan names nothing that the evidence does not.
        if folder == "saas-ssh-sambacry"
            && let Some(json) = public(&format!("incidents/{folder}/incident.json"))
        {
            let incident: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
            let plan = incident["response_plan"].as_str().expect("a plan");
            assert_eq!(grounding.unknown_entities(plan), [], "{plan}");
        }
    }
}

#[test]
fn public_labels_are_known() {
    for folder in ["weak-credential-3", "alt-pivot"] {
        let Some(bytes) = public(&format!("incidents/{folder}/incident.txt")) else { continue };
        for line in text(bytes).lines() {
            if let Some(tactics) = line.strip_prefix("MITRE ATT&CK tactics being used: ") {
                assert!(tactics.split(", ").all(|name| Tactic::parse(name).is_some()), "{tactics}");
            }
            if let Some(techniques) = line.strip_prefix("MITRE ATT&CK techniques being used: ") {
                for named in techniques.split(", ") {
                    let (id, name) = named.split_once(' ').expect("an id and a name");
                    assert_eq!(
                        technique(named).map(|technique| (technique.id, technique.name)),
                        Some((id, name))
                    );
                }
            }
        }
    }
}

#[test]
fn public_classes_are_known() {
    let Some(bytes) = public("rules/classification.config") else { return };
    let mut count = 0;
    for line in text(bytes).lines() {
        let Some(class) = line.strip_prefix("config classification: ") else { continue };
        let columns: Vec<&str> = class.split(',').map(str::trim).collect();
        let [short_name, description, priority] = columns[..] else { panic!("{line}") };
        let class = AlertClass::find(short_name).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((class.description, class.priority.to_string().as_str()), (description, priority));
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn public_response_actions_are_classified() {
    let Some(bytes) = public("actions/react.json") else { return };
    let actions: Vec<serde_json::Value> = serde_json::from_slice(&bytes).expect("JSON");
    let (mut right, mut total) = (0, 0);
    for action in &actions {
        let (stage, title) =
            (action["stage"].as_str().unwrap_or_default(), action["title"].as_str().unwrap_or_default());
        let expected: &[VerbClass] = match stage {
            "identification" => &[VerbClass::Analyse, VerbClass::Preserve],
            "containment" => &[VerbClass::Contain, VerbClass::Harden],
            "eradication" => &[VerbClass::Eradicate],
            "recovery" => &[VerbClass::Restore, VerbClass::Eradicate],
            _ => continue,
        };
        total += 1;
        let found = VerbClass::of(title);
        if found.first().is_some_and(|class| expected.contains(class)) {
            right += 1;
        } else {
            eprintln!("{stage}: {title}: {found:?}");
        }
    }
    eprintln!("{right} of {total} response actions are classified as their stage");
    assert!(right * 10 >= total * 9, "{right} of {total}");
}

#[test]
fn measures_are_called_as_the_public_catalogue_calls_them() {
    let Some(bytes) = public("actions/react.json") else { return };
    let actions: Vec<serde_json::Value> = serde_json::from_slice(&bytes).expect("JSON");
    let texts = [
        "10.0.2.13",
        "all traffic from 203.0.113.7",
        "files.example.com",
        "the account bob",
        "the password of bob",
    ];
    let verbs = ["Isolate", "Block", "Save the logs of", "Search", "Remove", "Patch", "Reset", "Restore"];
    let all = verbs.iter().flat_map(|verb| texts.map(|text| format!("{verb} {text}")));
    let named: Vec<_> = all.flat_map(|text| Measure::of(&text)).filter_map(|measure| measure.react).collect();
    assert!(named.len() > 20, "{named:?}");
    for react in named {
        let same = |action: &&serde_json::Value| action["id"] == react.id;
        let public = actions.iter().find(same).unwrap_or_else(|| panic!("{react:?}"));
        assert_eq!(public["title"], react.name);
    }
}

#[test]
fn every_record_of_a_shipped_incident_survives_its_own_form() {
    for folder in ["web-shell", "ssh-ransomware", "benign"] {
        let log = AlertLog::read(shipped(&format!("{folder}/alerts.log")).as_slice()).expect("text");
        assert_eq!(AlertLog::from_bytes(&log.to_bytes()).expect("records"), log);
    }
}

#[test]
fn public_response_actions_name_no_entity() {
    let Some(bytes) = public("actions/react.json") else { return };
    let actions: Vec<serde_json::Value> = serde_json::from_slice(&bytes).expect("JSON");
    let nothing = Grounding::new("", &AlertLog::default());
    for action in &actions {
        for key in ["title", "description"] {
            let text = action[key].as_str().unwrap_or_default();
            assert_eq!(nothing.unknown_entities(text), [], "{text}");
        }
    }
}

#[test]
fn ordinary_actions_name_no_entity() {
    let nothing = Grounding::new("", &AlertLog::default());
    for action in [
        "Isolate the web server from the internal network by applying a deny-all rule on the firewall.",
        "Disable password-based SSH login and enforce key-based authentication with multi-factor (MFA) for all users.",
        "Capture a memory image with LiME 1.9 and copy /var/log/apache2/access.log and /var/log/auth.log to evidence storage.",
        "Remove shell.php and evil.so from /var/www/html/uploads/ and kill every process started by www-data.",
        "Update OpenSSL 3.0.7, PHP 7.4.33 and log4j to 2.17.1; set server_tokens off in nginx.conf.",
        "Rotate the credentials of the service account and all administrator accounts, then reset user passwords.",
        "Block TCP ports 22, 80, 443 and 8443 on the perimeter firewall, and rate-limit ICMP type 8.",
        "Restore the database from the backup of 02:00 and verify its SHA256 sum d41d8cd98f00b204e9800998ecf8427e.",
        "Patch Windows Server 2019 with KB5005565 and restart services between 01:00 and 03:30.",
        "Monitor HTTP/2 and TLS 1.3 traffic for 24/7 at T1110.001 level; run fail2ban with max-retry 3.",
        "Deploy a WAF rule (OWASP CRS 3.3.4) rejecting UNION SELECT and use iptables -I INPUT -j DROP.",
        "Check MAC 00:0c:29:4f:8e:35 in the switch's table.",
        "Use sudo systemctl restart ssh.service, then run ./clean.sh and python3 tool.py.",
    ] {
        assert_eq!(nothing.unknown_entities(action), [], "{action}");
    }
}

#[test]
fn what_its_owner_calls_other_lines_is_read_by_its_words_whatever_it_looks_like() {
    let sshd = "Jun  3 12:59:31 web01 sshd[120]: Failed password for root from 203.0.113.9 port 51234 ssh2\n";
    let text = format!("{sshd}2026/06/03 12:59:33 [error] the pump stands still\nno time here\n");
    let read = |format| AlertLog::read_as(format, text.as_bytes()).expect("text");
    let kinds =
        |log: &AlertLog| log.records.iter().map(|record| (record.kind, record.format)).collect::<Vec<_>>();
    let lines = read(Format::OtherLines);
    assert_eq!(
        kinds(&lines)[1..],
        [(RecordKind::Log, Format::OtherLines), (RecordKind::Unknown, Format::Unknown)]
    );
    assert_eq!(kinds(&read(Format::Eve))[1], (RecordKind::Unknown, Format::Unknown));
}
