//! Conclusions from verdicts, by kind of evidence.

use countermove_incident::{AlertLog, Endpoint, Format, Record, RecordKind};
use proptest::prelude::*;

use super::*;
use crate::evidence::scene::Evidence;
use crate::templates::Templates;

const SYSTEM: &str = "The network is 10.0.2.0/24. web01 at 10.0.2.13 runs Apache.\ndb01 at 10.0.2.14 runs \
                      PostgreSQL.\ndesk01 at 10.0.2.20 is a workstation.\n";

fn scene(lines: &[&str]) -> Scene {
    scene_of(SYSTEM, AlertLog::parse(lines.join("\n").as_bytes()).unwrap().records)
}

fn scene_of(system: &str, records: Vec<Record>) -> Scene {
    let evidence = Evidence {
        system_description: system.into(),
        log: AlertLog { records, ..AlertLog::default() },
        constraints: vec!["db01 must stay up.".into()],
        notes: Vec::new(),
        baseline: None,
    };
    Scene::new(&evidence, &Templates::load(None).unwrap(), 2000).unwrap()
}

fn alert(message: &str, priority: u8, source: &str, destination: &str) -> String {
    format!(
        "06/10-13:10:51.405000 [**] [1:1:2] {message} [**] [Classification: Misc Attack] [Priority: {priority}] \
         {{TCP}} {source}:4711 -> {destination}:80"
    )
}

/// Draws the conclusion from verdicts by message.
fn concluded(lines: &[&str], verdict: impl Fn(&str) -> Option<Tactic>) -> Assessment {
    judged(&scene(lines), verdict)
}

fn concluded_of(records: &[Record], verdict: impl Fn(&str) -> Option<Tactic>) -> Assessment {
    judged(&scene_of(SYSTEM, records.to_vec()), verdict)
}

fn judged(scene: &Scene, verdict: impl Fn(&str) -> Option<Tactic>) -> Assessment {
    let verdicts: Vec<Verdict> =
        scene.groups.iter().map(|group| Verdict::sure(verdict(&group.words.message))).collect();
    conclude(scene, &verdicts)
}

fn end(address: &str, port: u16) -> Option<Endpoint> {
    (!address.is_empty()).then(|| Endpoint::new(address, Some(port)))
}

/// An alert of a sensor that sets no priority.
fn unset(message: &str, source: &str, destination: &str) -> Record {
    Record {
        kind: RecordKind::Alert,
        message: message.into(),
        protocol: "TCP".into(),
        source: end(source, 40_001),
        destination: end(destination, 80),
        ..Record::default()
    }
}

fn stated(message: &str, priority: u8, source: &str, destination: &str) -> Record {
    Record { priority: Some(priority), ..unset(message, source, destination) }
}

/// What a host wrote about a login, or about an account that was made.
fn log(host: &str, message: &str, account: &str, source: &str) -> Record {
    Record {
        kind: RecordKind::Log,
        host: host.into(),
        message: message.into(),
        account: account.into(),
        source: end(source, 40_001),
        destination: end(host, 22).filter(|_| !source.is_empty()),
        ..Record::default()
    }
}

fn telemetry(message: &str, source: &str, destination: &str, port: u16) -> Record {
    Record {
        kind: RecordKind::Telemetry,
        message: message.into(),
        source: end(source, 40_001),
        destination: end(destination, port),
        ..Record::default()
    }
}

#[test]
fn roles_follow_from_the_groups_of_the_attack() {
    let lines = [
        alert("Scan", 2, "203.0.113.7", "10.0.2.14"),
        alert("Exploit", 1, "203.0.113.7", "10.0.2.13"),
        alert("SMB exploit", 1, "10.0.2.13", "10.0.2.14"),
        alert("Beacon", 1, "10.0.2.14", "198.51.100.3"),
        alert("Chat", 3, "10.0.2.20", "192.0.2.9"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let assessment = concluded(&lines, |message| match message {
        "Scan" => Some(Tactic::Reconnaissance),
        "Exploit" => Some(Tactic::InitialAccess),
        "SMB exploit" => Some(Tactic::LateralMovement),
        "Beacon" => Some(Tactic::CommandAndControl),
        _ => None,
    });
    let roles = &assessment.entities;
    assert_eq!(roles.attackers, ["203.0.113.7", "198.51.100.3"]);
    assert_eq!(roles.targets, ["10.0.2.13", "10.0.2.14"]);
    assert_eq!(
        (roles.footholds.as_slice(), roles.kept.as_slice()),
        (&["10.0.2.13".to_owned()][..], &["10.0.2.14".to_owned()][..])
    );
    let weights: Vec<f32> = assessment.tactics.iter().map(|belief| belief.weight).collect();
    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert!(weights.is_sorted_by(|a, b| a >= b), "{weights:?}");
    assert_eq!(assessment.tactics.last().unwrap().tactic, Tactic::Reconnaissance);
    assert!(assessment.description.contains("web01 (10.0.2.13)"), "{}", assessment.description);
    assert!(scene(&lines).grounding.unknown_entities(&assessment.description).is_empty());
}

#[test]
fn a_host_that_was_tried_where_the_attacker_went_on_with_another_is_no_target() {
    let login = |port: u16, host: &str| {
        let line = alert("SSH login", 1, "203.0.113.7", host);
        line.replace(":4711", &format!(":{port}"))
    };
    let mut lines: Vec<String> = (1..=12).map(|port| login(port, "10.0.2.13")).collect();
    lines.push(login(13, "10.0.2.14"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let roles = concluded(&lines, |_| Some(Tactic::InitialAccess)).entities;
    assert_eq!(roles.targets, ["10.0.2.13"]);
    let chance = |host: &str| roles.compromised.get(host).copied().unwrap_or(0.0);
    assert!(
        (0.3..0.5).contains(&chance("10.0.2.13")) && (0.05..0.15).contains(&chance("10.0.2.14")),
        "a sensor sees what was sent: {:?}",
        roles.compromised
    );
    // Two pieces of evidence are more than one.
    let shell = alert("Shell", 1, "203.0.113.7", "10.0.2.13");
    let more = [lines.clone(), vec![shell.as_str()]].concat();
    let roles = concluded(&more, |_| Some(Tactic::InitialAccess)).entities;
    assert!(roles.compromised["10.0.2.13"] > 0.5, "{:?}", roles.compromised);
    // What a host does afterwards tells what came of it.
    let beacon = alert("Beacon", 1, "10.0.2.13", "203.0.113.7");
    let more = [lines, vec![beacon.as_str()]].concat();
    let shown = |message: &str| {
        Some(if message == "Beacon" { Tactic::CommandAndControl } else { Tactic::InitialAccess })
    };
    let roles = concluded(&more, shown).entities;
    assert!(roles.compromised["10.0.2.13"] > 0.9, "{:?}", roles.compromised);
    // All alike is a worm.
    let worm = [login(1, "10.0.2.13"), login(2, "10.0.2.14")];
    let roles = concluded(&[&worm[0], &worm[1]], |_| Some(Tactic::InitialAccess)).entities;
    assert_eq!(roles.targets.len(), 2);
}

#[test]
fn a_host_that_was_only_tried_is_no_target_beside_one_that_has_fallen() {
    let tried = |host: &str| alert("Exploit attempt", 1, "198.51.100.3", host);
    let fallen = [
        alert("Exploit attempt", 1, "203.0.113.7", "10.0.2.13"),
        alert("Beacon", 1, "10.0.2.13", "203.0.113.7"),
    ];
    let shown = |message: &str| {
        Some(if message == "Beacon" { Tactic::CommandAndControl } else { Tactic::InitialAccess })
    };
    let both = [fallen[0].as_str(), fallen[1].as_str(), &tried("10.0.2.14")];
    assert_eq!(concluded(&both, shown).entities.targets, ["10.0.2.13"]);
    let alone = tried("10.0.2.14");
    assert_eq!(concluded(&[&alone], shown).entities.targets, ["10.0.2.14"], "who else should it be about");
}

#[test]
fn whoever_logs_in_and_acts_in_the_attack_has_lost_the_account() {
    let records = [
        log("web01", "AUTH success for alice by form", "alice", ""),
        log("web01", "tool.exe exported all data", "alice", ""),
        log("web01", "sh was started by the web server", "www-data", ""),
        log("web01", "session opened for user root", "root", ""),
        log("web01", "cron job changed", "root", ""),
        log("web01", "AUTH success for bob by form", "bob", ""),
    ];
    let roles = concluded_of(&records, |message| match message {
        _ if message.contains("tool.exe") || message.contains("sh was") => Some(Tactic::Execution),
        _ if message.contains("cron") => Some(Tactic::Execution),
        _ => None,
    })
    .entities;
    assert_eq!(roles.stolen_accounts, ["alice"]);
}

#[test]
fn where_a_stolen_account_logs_in_the_attacker_may_be() {
    let records = [
        log("desk01", "Accepted password for ann with a stolen key", "ann", "203.0.113.7"),
        log("web01", "Accepted password for ann", "ann", "10.0.2.20"),
        log("db01", "Accepted password for bob", "bob", "10.0.2.20"),
    ];
    let stolen = |message: &str| message.contains("stolen").then_some(Tactic::CredentialAccess);
    let Assessment { entities, .. } = concluded_of(&records, stolen);
    assert_eq!(
        (entities.targets, entities.stolen_accounts),
        (vec!["10.0.2.20".to_owned()], vec!["ann".to_owned()])
    );
    let chance = |host: &str| entities.compromised.get(host).copied().unwrap_or_default();
    assert!(
        chance("10.0.2.20") > 0.7,
        "a login that worked and is part of the attack: {:?}",
        entities.compromised
    );
    assert!(
        (0.2..0.5).contains(&chance("10.0.2.13")),
        "its owner may have been there: {:?}",
        entities.compromised
    );
    assert!(chance("10.0.2.14") < 0.1, "another account: {:?}", entities.compromised);
}

#[test]
fn a_scan_alone_reaches_whom_it_touches() {
    let line = alert("Scan", 2, "203.0.113.7", "10.0.2.14");
    let assessment = concluded(&[&line], |_| Some(Tactic::Reconnaissance));
    assert_eq!(assessment.entities.targets, ["10.0.2.14"]);
}

#[test]
fn an_insider_attacks_and_has_to_be_cleaned() {
    let line = alert("Exploit", 1, "10.0.2.20", "10.0.2.13");
    let assessment = concluded(&[&line], |_| Some(Tactic::InitialAccess));
    assert_eq!(assessment.entities.attackers, ["10.0.2.20"]);
    assert_eq!(assessment.entities.targets, ["10.0.2.13"]);
    assert_eq!(assessment.entities.to_clean(), ["10.0.2.13", "10.0.2.20"]);
    // A host that nobody has described only has to be shut out.
    let line = alert("Exploit", 1, "10.0.2.99", "10.0.2.13");
    let assessment = concluded(&[&line], |_| Some(Tactic::InitialAccess));
    assert_eq!(assessment.entities.attackers, ["10.0.2.99"]);
    assert_eq!(assessment.entities.to_clean(), ["10.0.2.13"]);
}

#[test]
fn an_insider_that_has_to_stay_up_is_not_shut_out() {
    let lines = [
        alert("Brute force", 2, "203.0.113.7", "10.0.2.13"),
        alert("Scan", 3, "198.51.100.3", "10.0.2.13"),
        alert("Exploit", 1, "10.0.2.14", "10.0.2.13"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let assessment = concluded(&lines, |message| (message == "Exploit").then_some(Tactic::InitialAccess));
    assert_eq!(assessment.entities.attackers, ["203.0.113.7"]);
    assert_eq!(assessment.entities.targets, ["10.0.2.13", "10.0.2.14"]);
}

#[test]
fn accounts_are_those_that_were_made_or_that_got_in() {
    let made = Record {
        destination: None,
        ..log("web01", "new user: name=svc_helper, home=/tmp, shell=/bin/sh", "svc_helper", "")
    };
    let records = [
        log("web01", "Failed password for shop_rw from 203.0.113.7", "shop_rw", "203.0.113.7"),
        log("web01", "Accepted password for shop_rw from 203.0.113.7", "shop_rw", "203.0.113.7"),
        log("web01", "Failed password for backup_op from 203.0.113.7", "backup_op", "203.0.113.7"),
        made,
    ];
    let assessment = concluded_of(&records, |message| match message {
        message if message.contains("new user") => Some(Tactic::Persistence),
        message if message.contains("Failed") => Some(Tactic::CredentialAccess),
        _ => None,
    });
    assert_eq!(assessment.entities.stolen_accounts, ["shop_rw"]);
    assert_eq!(assessment.entities.planted_accounts, ["svc_helper"]);
    assert_eq!(assessment.entities.attackers, ["203.0.113.7"]);
    assert_eq!(assessment.entities.targets, ["10.0.2.13"], "where the account was made");
}

#[test]
fn an_account_that_was_made_on_an_attacked_host_may_be_the_attackers() {
    let made = |host: &str, account: &str| Record {
        destination: None,
        ..log(host, &format!("new user: name={account}, UID=1001, shell=/bin/sh"), account, "")
    };
    let records = [
        stated("Exploit", 1, "203.0.113.7", "10.0.2.13"),
        made("web01", "svc_helper"),
        made("db01", "intern"),
        log("web01", "Accepted password for carol from 10.0.2.20", "carol", "10.0.2.20"),
    ];
    let scene = scene_of(SYSTEM, records.to_vec());
    let verdict = |group: &GroupView| match group.is_alert {
        true => Verdict::sure(Some(Tactic::InitialAccess)),
        false => Verdict { attack: 0.2, ..Verdict::default() },
    };
    let verdicts: Vec<Verdict> = scene.groups.iter().map(verdict).collect();
    let Roles { stolen_accounts, planted_accounts, held, .. } = conclude(&scene, &verdicts).entities;
    assert!(stolen_accounts.is_empty() && planted_accounts.is_empty(), "the records count as everyday");
    assert_eq!(held.keys().collect::<Vec<_>>(), ["svc_helper"], "the one that was made where the attack is");
    assert!((held["svc_helper"] - 0.18).abs() < 1e-6, "{held:?}");
}

#[test]
fn alerts_of_low_priority_alone_are_no_incident() {
    let lines = [alert("Update", 3, "10.0.2.20", "192.0.2.9"), alert("Chat", 4, "10.0.2.20", "192.0.2.9")];
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let verdict = |_: &str| Some(Tactic::CommandAndControl);
    let assessment = concluded(&lines, verdict);
    assert!(!assessment.is_incident && assessment.tactics.is_empty());
    assert!(assessment.description.contains("low priority"), "{}", assessment.description);
    // What has no priority counts.
    lines.push("Jun 10 13:11:51 web01 useradd[3]: new user: user=svc_helper, home=/tmp, shell=/bin/sh");
    assert!(concluded(&lines, verdict).is_incident);
    let update = [unset("Update", "10.0.2.20", "192.0.2.9")];
    assert!(concluded_of(&update, verdict).is_incident, "unset is not low");
    let scene = scene_of(SYSTEM, vec![unset("Exploit", "10.0.2.20", "10.0.2.13")]);
    assert!(scene.groups.iter().all(|group| !group.around.comes_back), "and not high");
    let scene = scene_of(SYSTEM, vec![stated("Exploit", 1, "10.0.2.20", "10.0.2.13")]);
    assert!(scene.groups.iter().all(|group| group.around.comes_back));
}

#[test]
fn a_password_that_was_mistyped_once_is_no_incident() {
    let failed = log("web01", "Failed password for shop_rw from 10.0.2.20", "shop_rw", "10.0.2.20");
    let other = log("web01", "Failed password for root from 10.0.2.14", "root", "10.0.2.14");
    let works = log("web01", "Accepted password for shop_rw from 10.0.2.20", "shop_rw", "10.0.2.20");
    let guessed = |_: &str| Some(Tactic::CredentialAccess);
    for slip in [
        &[failed.clone(), works.clone()][..],
        std::slice::from_ref(&failed),
        &[failed.clone(), other, works.clone()],
    ] {
        let assessment = concluded_of(slip, guessed);
        assert!(!assessment.is_incident && assessment.tactics.is_empty(), "{slip:?}");
        assert!(assessment.description.contains("mistyped"), "{}", assessment.description);
    }
    let mut often = failed.clone();
    often.repeats.count = 40;
    for more in [vec![failed.clone(), failed.clone(), works.clone()], vec![often]] {
        assert!(concluded_of(&more, guessed).is_incident, "twice is more than a slip");
    }
    let outside = log("web01", "Failed password for shop_rw from 203.0.113.7", "shop_rw", "203.0.113.7");
    assert!(concluded_of(&[outside, works.clone()], guessed).is_incident, "from outside nobody mistypes");
    let alert = stated("Exploit", 1, "203.0.113.7", "10.0.2.13");
    assert!(concluded_of(&[failed, alert, works], guessed).is_incident, "an alert speaks beside it");
}

#[test]
fn nothing_but_everyday_traffic_is_no_incident() {
    let line = alert("Chat", 3, "10.0.2.20", "192.0.2.9");
    let assessment = concluded(&[&line], |_| None);
    assert!(!assessment.is_incident && assessment.tactics.is_empty());
    assert!(assessment.entities.attackers.is_empty() && assessment.entities.targets.is_empty());
    assert!(assessment.description.contains("likely enough"));
}

#[test]
fn where_there_is_no_incident_it_is_said_what_is_worth_a_look() {
    let scene = scene(
        &["Scan", "Probe", "Ping", "Update", "Chat"]
            .map(|said| alert(said, 2, "203.0.113.9", "10.0.2.13"))
            .each_ref()
            .map(String::as_str),
    );
    let said = |chances: [f32; 5]| {
        let verdicts = chances.map(|attack| Verdict { attack, ..Verdict::default() });
        conclude(&scene, &verdicts).description
    };
    assert!(said([0.1, 0.2, 0.05, 0.1, 0.1]).ends_with("The likeliest is group A2, with 20 %."));
    assert!(said([0.4, 0.2, 0.05, 0.1, 0.1]).ends_with("The likeliest is group A1, with 40 %."));
    let several = said([0.4, 0.5, 0.35, 0.32, 0.1]);
    assert!(several.ends_with("Worth a look are groups A2 (50 %), A1 (40 %) and A3 (35 %)."), "{several}");
    assert!(!said([0.0; 5]).contains("group"), "where nothing was judged nothing is likeliest");
}

#[test]
fn a_sensor_that_states_a_tactic_is_heard_beside_the_model() {
    let mine = |priority: Option<u8>| Record {
        priority,
        tactics: vec![Tactic::Impact],
        techniques: vec!["T1496".into()],
        ..unset("Pool login", "10.0.2.20", "203.0.113.66")
    };
    let moved =
        Record { techniques: vec!["T1021".into()], ..stated("Remote login", 2, "10.0.2.20", "10.0.2.14") };
    for priority in [Some(1), Some(2), None] {
        let assessment = concluded_of(&[mine(priority), moved.clone()], |_| None);
        let found: Vec<(Tactic, &str)> = assessment
            .tactics
            .iter()
            .flat_map(|belief| {
                belief.techniques.iter().map(|technique| (belief.tactic, technique.id.as_str()))
            })
            .collect();
        assert!(found.contains(&(Tactic::Impact, "T1496")), "{found:?}");
        assert!(
            found.contains(&(Tactic::LateralMovement, "T1021")),
            "a technique of one tactic states it: {found:?}"
        );
        assert_eq!(assessment.entities.attackers, ["203.0.113.66"]);
    }
    assert!(!concluded_of(&[mine(Some(3))], |_| None).is_incident, "the sensor itself calls it minor");
    let both = concluded_of(&[mine(None)], |_| Some(Tactic::CommandAndControl));
    assert_eq!(both.tactics.len(), 2, "{:?}", both.tactics);
}

#[test]
fn an_own_host_that_guesses_a_password_attacks_the_one_that_wrote_it() {
    let records = [
        log("db01", "Failed password for postgres from 10.0.2.20", "postgres", "10.0.2.20"),
        log("db01", "Failed password for postgres from 10.0.2.20", "postgres", "10.0.2.20"),
        log("db01", "Accepted password for postgres from 10.0.2.20", "postgres", "10.0.2.20"),
    ];
    let verdict = |message: &str| message.contains("Failed").then_some(Tactic::CredentialAccess);
    let roles = concluded_of(&records, verdict).entities;
    assert_eq!(roles.attackers, ["10.0.2.20"]);
    assert_eq!(roles.targets, ["10.0.2.14"]);
    assert_eq!(roles.stolen_accounts, ["postgres"]);
}

#[test]
fn an_account_in_a_line_that_nobody_understands_is_accused_of_nothing_and_kept_in_mind() {
    let attack = alert("Shell", 1, "203.0.113.7", "10.0.2.13");
    let lines = [
        attack.as_str(),
        "Jun 10 06:32:14 db01 vault: logon failed account=adm_domain source=10.0.2.13",
        "Jun 10 06:32:15 db01 vault: logon failed account=carol source=10.0.2.99",
    ];
    let roles =
        concluded(&lines, |message| message.contains("Shell").then_some(Tactic::InitialAccess)).entities;
    assert!(roles.stolen_accounts.is_empty(), "{:?}", roles.stolen_accounts);
    assert_eq!(roles.seen_accounts, ["adm_domain"], "carol has nothing to do with a host of the attack");
}

#[test]
fn whoever_acts_in_calls_of_an_attack_is_a_stolen_account_and_none_that_was_made() {
    let call = |message: &str, account: &str| Record {
        kind: RecordKind::Log,
        format: Format::Okta,
        message: format!("{message}: by {account}, from 203.0.113.7"),
        account: account.into(),
        source: end("203.0.113.7", 0).map(|end| Endpoint { port: None, ..end }),
        ..Record::default()
    };
    let found = |records: &[Record]| {
        let verdict = |message: &str| match () {
            () if message.contains("API token") => Some(Tactic::Persistence),
            () if message.contains("failed") => Some(Tactic::CredentialAccess),
            () => None,
        };
        concluded_of(records, verdict).entities
    };
    let token = call("Create API token", "bob@example.com");
    let roles = found(std::slice::from_ref(&token));
    assert_eq!(roles.stolen_accounts, ["bob@example.com"]);
    assert!(roles.planted_accounts.is_empty(), "{:?}", roles.planted_accounts);
    let chance = |roles: &Roles| roles.held["bob@example.com"];
    let twice = found(&[
        token.clone(),
        Record { message: token.message.replace("token", "token scope"), ..token.clone() },
    ]);
    assert!(chance(&roles) < 0.85 && chance(&twice) > 0.95, "{roles:?}, {twice:?}");
    assert_eq!(chance(&found(&[token.clone(), token.clone()])), chance(&roles), "one message is one piece");
    let failed = Record {
        message: "User login to Okta: by carol@example.com, from 203.0.113.7, failed: INVALID_CREDENTIALS"
            .into(),
        ..call("", "carol@example.com")
    };
    let entered = call("User login to Okta", "carol@example.com");
    assert_eq!(found(&[failed.clone(), entered]).stolen_accounts, ["carol@example.com"]);
    assert!(found(&[failed]).stolen_accounts.is_empty(), "it did not get in");
}

#[test]
fn an_account_whose_credentials_responders_noted_is_taken_for_stolen() {
    let attack = AlertLog::parse(alert("Shell", 1, "203.0.113.7", "10.0.2.13").as_bytes()).unwrap().records;
    let of = |remark: &str, tactic| {
        let remarks = AlertLog::of_remarks(remark).records;
        let records = [attack.clone(), remarks].concat();
        let verdict =
            |message: &str| if message.contains("Shell") { Some(Tactic::InitialAccess) } else { tactic };
        concluded_of(&records, verdict).entities.stolen_accounts
    };
    let guessed = "Hydra reports one valid pair on 10.0.2.13: login deploy, password x1";
    assert_eq!(of(guessed, Some(Tactic::CredentialAccess)), ["deploy"]);
    assert!(of(guessed, Some(Tactic::Discovery)).is_empty(), "nobody says that its credentials were found");
    assert!(of(guessed, None).is_empty(), "the remark is no part of the attack");
    let failed = "On 10.0.2.13 the login of user=deploy failed";
    assert!(of(failed, Some(Tactic::CredentialAccess)).is_empty());
    let only = concluded_of(&AlertLog::of_remarks(guessed).records, |_| Some(Tactic::CredentialAccess));
    assert!(!only.is_incident && only.not_understood, "remarks alone make no incident");
}

const PASSING: &str = "lb01 (10.0.2.5, HAProxy): load balancer\nweb01 (10.0.2.13): Apache\ndb01 (10.0.2.14): PostgreSQL\n\
                       gateway at 10.0.2.1 runs Snort.\ndns01 (10.0.2.53): resolver\n";

#[test]
fn whoever_passes_traffic_on_or_is_only_asked_is_no_part_of_it() {
    let roles = |records: &[Record]| {
        judged(&scene_of(PASSING, records.to_vec()), |_| Some(Tactic::CommandAndControl)).entities
    };
    let behind = Record { via: vec!["10.0.2.5".into()], ..stated("Exploit", 1, "203.0.113.9", "10.0.2.13") };
    let front = stated("Exploit", 1, "203.0.113.9", "10.0.2.5");
    let found = roles(&[front.clone(), behind]);
    assert_eq!(
        (found.attackers.as_slice(), found.targets.as_slice()),
        (&["203.0.113.9".to_owned()][..], &["10.0.2.13".to_owned()][..])
    );
    let translated = stated("Beacon", 1, "10.0.2.1", "203.0.113.9");
    assert!(roles(std::slice::from_ref(&translated)).targets.is_empty(), "somebody behind it called");
    let called = stated("Beacon", 1, "10.0.2.14", "203.0.113.9");
    assert_eq!(roles(&[translated, called.clone()]).targets, ["10.0.2.14"]);
    let mut asked = stated("Bad name", 1, "10.0.2.14", "10.0.2.53");
    asked.destination = end("10.0.2.53", 53);
    assert_eq!(roles(&[asked, called]).targets, ["10.0.2.14"]);
    assert_eq!(roles(&[front]).targets, ["10.0.2.5"], "attacked itself, as far as can be seen");
    let wrote = log("gateway", "Accepted password for root from 203.0.113.9", "root", "203.0.113.9");
    assert_eq!(roles(&[wrote]).targets, ["10.0.2.1"], "it says so itself");
    let turned = roles(&[stated("Exploit", 1, "10.0.2.5", "10.0.2.13")]);
    assert_eq!((turned.attackers.len(), turned.targets), (0, vec!["10.0.2.13".to_owned()]));
}

#[test]
fn those_against_whom_most_speaks_are_listed_and_the_others_counted() {
    let mut records: Vec<Record> = (0..9)
        .map(|at| {
            let mut flood = stated("Flood", 1, &format!("198.51.100.{}", at + 1), "10.0.2.13");
            flood.protocol = "UDP".into();
            flood.repeats.count = 200;
            flood
        })
        .collect();
    records.push(stated("Exploit", 2, "203.0.113.7", "10.0.2.13"));
    let assessment = concluded_of(&records, |_| Some(Tactic::Impact));
    let attackers = &assessment.entities.attackers;
    assert_eq!((attackers[0].as_str(), attackers.len()), ("203.0.113.7", 8));
    assert!(assessment.description.contains("and 2 more attacked"), "{}", assessment.description);
    let said = |warning: &String| warning.starts_with("2 more attackers are not listed");
    assert!(assessment.digest.warnings.iter().any(said), "{:?}", assessment.digest.warnings);
    // Severity and what was reached come before the number of alerts.
    let mut loud = stated("Scan", 2, "198.51.100.1", "10.0.2.13");
    loud.repeats.count = 100_000;
    let records = [loud, stated("Exploit", 1, "203.0.113.7", "10.0.2.13")];
    let found = concluded_of(&records, |message| match message {
        "Scan" => Some(Tactic::Reconnaissance),
        _ => Some(Tactic::InitialAccess),
    });
    assert_eq!(found.entities.attackers, ["203.0.113.7", "198.51.100.1"]);
}

#[test]
fn who_looks_at_others_by_order_is_no_attacker_for_that() {
    let system = format!("{SYSTEM}monitor01 at 10.0.2.30 checks the other devices every five minutes.\n");
    let looks = stated("SNMP query", 2, "10.0.2.30", "10.0.2.14");
    let judge =
        |records: &[Record], tactic: Tactic| judged(&scene_of(&system, records.to_vec()), |_| Some(tactic));
    let minor = stated("Update", 3, "10.0.2.20", "192.0.2.9");
    assert!(!judge(&[looks.clone(), minor], Tactic::Discovery).is_incident);
    assert!(judge(&[looks], Tactic::LateralMovement).is_incident, "that is more than looking");
    let other = stated("SNMP query", 2, "10.0.2.20", "10.0.2.14");
    assert!(judge(&[other], Tactic::Discovery).is_incident);
}

#[test]
fn what_is_minor_counts_beside_something_serious_that_it_has_to_do_with() {
    let records = [
        stated("Exploit", 1, "203.0.113.7", "10.0.2.13"),
        stated("Odd dialect", 3, "10.0.2.13", "10.0.2.14"),
        stated("Update", 3, "10.0.2.20", "192.0.2.9"),
    ];
    let roles = concluded_of(&records, |_| Some(Tactic::LateralMovement)).entities;
    assert_eq!(roles.attackers, ["203.0.113.7"]);
    assert_eq!(roles.targets, ["10.0.2.13", "10.0.2.14"]);
}

#[test]
fn what_was_not_understood_is_never_called_harmless() {
    let line = |message: &str| Record { message: message.into(), ..Record::default() };
    let lines = [line("job 4411 finished"), line("temperature;21.4"), line("10.0.2.13 hello 203.0.113.7")];
    let assessment = concluded_of(&lines, |_| Some(Tactic::Impact));
    assert!(!assessment.is_incident && assessment.not_understood);
    assert!(
        assessment.description.starts_with("Not understood: 3 lines, none in a known form"),
        "{}",
        assessment.description
    );
    let mut some = lines.to_vec();
    some.push(stated("Chat", 3, "10.0.2.20", "192.0.2.9"));
    assert!(!concluded_of(&some, |_| None).not_understood);
}

/// A line of a program that no format knows, as syslog carries it.
fn unknown(host: &str, message: &str) -> Record {
    Record { host: host.into(), message: message.into(), ..Record::default() }
}

#[test]
fn words_of_lines_that_nobody_understood_make_no_incident_beside_what_is_harmless() {
    let chat = stated("Chat", 3, "10.0.2.20", "192.0.2.9");
    let login = log("web01", "Accepted password for ann", "ann", "10.0.2.20");
    let forged = unknown("web01", "failed: x#012EXPLOIT shell {TCP} 198.18.7.7:1 -> 10.0.2.14:80");
    let shows = |message: &str| message.contains("EXPLOIT").then_some(Tactic::InitialAccess);
    let assessment = concluded_of(&[chat, login, forged], shows);
    assert!(!assessment.is_incident && !assessment.not_understood, "{}", assessment.description);
    assert!(assessment.description.contains("in no known form"), "{}", assessment.description);
}

#[test]
fn words_of_lines_that_nobody_understood_name_nobody_beside_an_attack() {
    let attack = [
        stated("Exploit", 1, "203.0.113.7", "10.0.2.13"),
        stated("SMB exploit", 1, "10.0.2.13", "10.0.2.14"),
    ];
    let roles = |records: &[Record]| {
        let found = concluded_of(records, |_| Some(Tactic::InitialAccess)).entities;
        (found.attackers, found.targets, found.footholds, found.stolen_accounts, found.compromised)
    };
    let without = roles(&attack);
    for words in [
        // About others alone, with the attacker's name beside an own host's, and the other way round.
        "failed: EXPLOIT shell {TCP} 198.18.7.7:1 -> 10.0.2.20:80",
        "failed: EXPLOIT shell {TCP} 203.0.113.7:1 -> 10.0.2.20:80",
        "failed: EXPLOIT shell {TCP} 198.18.7.7:1 -> 10.0.2.13:80 user=carol session opened",
    ] {
        for host in ["web01", "gate01", ""] {
            let mut records = attack.to_vec();
            records.push(unknown(host, words));
            assert_eq!(roles(&records), without, "{words} from {host:?}");
        }
    }
}

#[test]
fn who_wrote_a_line_that_nobody_understood_is_told_where_nothing_else_tells_who_was_attacked() {
    let records = [
        stated("Exploit", 1, "203.0.113.7", "192.0.2.80"),
        unknown("web01", "upload of shell.php by 203.0.113.7"),
    ];
    let roles = concluded_of(&records, |_| Some(Tactic::InitialAccess)).entities;
    assert_eq!((roles.attackers.len(), roles.targets), (2, vec!["10.0.2.13".to_owned()]));
}

#[test]
fn telemetry_alone_is_no_incident_and_no_question() {
    let scene =
        scene_of(SYSTEM, vec![telemetry("dns query www.example.com A", "10.0.2.20", "10.0.2.14", 53)]);
    assert!(scene.groups.is_empty());
    let assessment = conclude(&scene, &[]);
    assert!(!assessment.is_incident && !assessment.not_understood);
    assert!(assessment.description.contains("only what sensors saw pass"), "{}", assessment.description);
}

fn any_telemetry() -> impl Strategy<Value = Record> {
    let host = prop::sample::select(vec![
        "10.0.2.13",
        "10.0.2.14",
        "10.0.2.20",
        "10.0.2.99",
        "198.51.100.80",
        "cdn.example",
    ]);
    let text =
        prop::sample::select(vec!["dns query www.example.com A", "flow event TCP", "tls sni cdn.example"]);
    (host.clone(), host, text, 1_u16..1000)
        .prop_map(|(source, destination, text, port)| telemetry(text, source, destination, port))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn telemetry_changes_neither_questions_nor_conclusions(
        more in prop::collection::vec((any_telemetry(), 0_usize..5), 0..40),
    ) {
        let accusing = vec![
            stated("Scan", 2, "203.0.113.7", "10.0.2.13"),
            stated("Exploit", 1, "203.0.113.7", "10.0.2.13"),
            stated("SMB exploit", 1, "10.0.2.13", "10.0.2.14"),
            stated("Chat", 3, "10.0.2.20", "192.0.2.9"),
        ];
        let mut mixed = accusing.clone();
        for (record, at) in more {
            mixed.insert(at.min(mixed.len()), record);
        }
        let (plain, mixed) = (scene_of(SYSTEM, accusing), scene_of(SYSTEM, mixed));
        let asked = |scene: &Scene| -> Vec<String> {
            scene.groups.iter().map(|group| format!("{} {} {:?}", group.number, group.around.comes_back, group.words)).collect()
        };
        prop_assert_eq!(asked(&plain), asked(&mixed));
        let verdict = |message: &str| (message != "Chat").then_some(Tactic::LateralMovement);
        let (plain, mixed) = (judged(&plain, verdict), judged(&mixed, verdict));
        prop_assert_eq!(&plain.description, &mixed.description);
        prop_assert_eq!(&plain.tactics, &mixed.tactics);
        let roles = |assessment: Assessment| (assessment.entities.attackers, assessment.entities.targets, assessment.entities.footholds);
        prop_assert_eq!(roles(plain), roles(mixed));
    }
}

fn at(day: u8, line: &str) -> String {
    line.replacen("06/10", &format!("06/{day:02}"), 1)
}

fn of_attack(message: &str) -> Option<Tactic> {
    match message {
        "scan" => Some(Tactic::Reconnaissance),
        "exploit" => Some(Tactic::InitialAccess),
        "shell" => Some(Tactic::Execution),
        "moves" => Some(Tactic::LateralMovement),
        "beacon" => Some(Tactic::CommandAndControl),
        _ => None,
    }
}

#[test]
fn attackers_who_have_nothing_in_common_are_two_attacks() {
    let first = [
        alert("scan", 2, "203.0.113.7", "10.0.2.20"),
        alert("exploit", 1, "203.0.113.7", "10.0.2.13"),
        alert("shell", 1, "10.0.2.13", "203.0.113.7"),
    ];
    let second =
        [alert("exploit", 1, "198.51.100.3", "10.0.2.20"), alert("beacon", 1, "10.0.2.20", "198.51.100.9")];
    let all: Vec<&str> = first.iter().chain(&second).map(String::as_str).collect();
    let assessment = concluded(&all, of_attack);
    let told: Vec<_> =
        assessment.attacks.iter().map(|attack| (attack.attackers.clone(), attack.targets.clone())).collect();
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = [
        (strings(&["203.0.113.7"]), strings(&["10.0.2.13"])),
        (strings(&["198.51.100.3", "198.51.100.9"]), strings(&["10.0.2.20"])),
    ];
    assert_eq!(told.len(), 2, "{assessment:?}");
    assert!(expected.iter().all(|expected| told.contains(expected)), "{told:?}");
    assert!(
        assessment.description.contains("2 attacks that have nothing in common"),
        "{}",
        assessment.description
    );
    let groups: usize = assessment.attacks.iter().map(|attack| attack.groups.len()).sum();
    assert_eq!(groups, 5, "the scan is told of with the attack whose address it came from");

    // One host that is left for another joins them, and so does a host that both got into within a day.
    let moves = alert("moves", 1, "10.0.2.13", "10.0.2.20");
    let joined: Vec<&str> = all.iter().copied().chain([moves.as_str()]).collect();
    assert!(concluded(&joined, of_attack).attacks.is_empty(), "one attack is told as one");
    let same =
        [alert("exploit", 1, "203.0.113.7", "10.0.2.13"), alert("exploit", 1, "198.51.100.3", "10.0.2.13")];
    let lines =
        |lines: &[String]| concluded(&lines.iter().map(String::as_str).collect::<Vec<_>>(), of_attack);
    assert!(lines(&same).attacks.is_empty());
}

#[test]
fn whoever_only_looks_is_no_attack_beside_one() {
    let lines =
        [alert("scan", 2, "198.51.100.3", "10.0.2.20"), alert("exploit", 1, "203.0.113.7", "10.0.2.13")];
    let assessment = concluded(&lines.each_ref().map(String::as_str), of_attack);
    assert!(assessment.is_incident && assessment.attacks.is_empty(), "{assessment:?}");
}

#[test]
fn one_host_attacked_days_apart_by_others_is_attacked_twice() {
    let attacked = |days: [u8; 2]| {
        let lines = [
            at(days[0], &alert("exploit", 1, "203.0.113.7", "10.0.2.13")),
            at(days[1], &alert("beacon", 1, "10.0.2.13", "198.51.100.3")),
        ];
        concluded(&lines.each_ref().map(String::as_str), of_attack).attacks.len()
    };
    assert_eq!((attacked([10, 10]), attacked([10, 14])), (0, 2));
}

#[test]
fn looking_alone_that_no_alert_tells_of_is_no_incident() {
    let looks = log("web01", "looks around", "root", "10.0.2.20");
    let told = |records: &[Record]| {
        concluded_of(records, |message| match message {
            message if message.contains("looks around") => Some(Tactic::Discovery),
            "exploit" => Some(Tactic::InitialAccess),
            _ => None,
        })
    };
    let alone = told(std::slice::from_ref(&looks));
    assert!(!alone.is_incident && alone.description.contains("looked around"), "{}", alone.description);
    assert!(told(&[stated("looks around", 1, "10.0.2.20", "10.0.2.13")]).is_incident, "an alert says so");
    assert!(told(&[looks, stated("exploit", 1, "203.0.113.7", "10.0.2.13")]).is_incident);
}
