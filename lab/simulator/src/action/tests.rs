use countermove_incident::VerbClass;
use proptest::prelude::*;

use super::*;
use crate::testing::scenario;

/// What an action does, one part a clause: `contain 10.0.2.11 <- peer`.
fn read(text: &str) -> Vec<String> {
    let show = |subject: &Subject| match subject {
        Subject::Host(name)
        | Subject::Account(name)
        | Subject::Attacker(name)
        | Subject::Service(name)
        | Subject::Other(name) => name.clone(),
    };
    let action = Action::parse(text, &Names::new(&scenario().truth));
    let clause = |clause: &Clause| {
        let list = |subjects: &[Subject]| subjects.iter().map(show).collect::<Vec<_>>().join(" ");
        let deed = match clause.deed {
            Deed::Respond(kind) => format!("{kind:?}"),
            Deed::Open => "Open".to_owned(),
        };
        let peers =
            if clause.peers.is_empty() { String::new() } else { format!(" <- {}", list(&clause.peers)) };
        format!("{deed} {}{peers}", list(&clause.objects)).trim_end().to_owned()
    };
    action.told().map(clause).collect()
}

/// Compares all before it fails, so that one run shows everything that is wrong.
fn check(cases: &[(&str, &[&str])]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(text, expected)| read(text) != *expected)
        .map(|(text, expected)| format!("{text}\n    is {:?}\n    not {expected:?}", read(text)))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn each_thing_belongs_to_its_verb() {
    check(&[
        (
            "Isolate server_ssh and collect the logs of server_samba.",
            &["Contain 10.0.2.11", "Preserve 10.0.2.12"][..],
        ),
        ("Isolate and re-image 10.0.2.11.", &["Contain 10.0.2.11", "Eradicate 10.0.2.11"]),
        ("Isolate 10.0.2.11, then remove its web shell.", &["Contain 10.0.2.11", "Eradicate 10.0.2.11"]),
        (
            "On mercury, kill the miner and delete its cron job.",
            &["Eradicate 10.0.3.4", "Eradicate 10.0.3.4"],
        ),
        ("Server 3 should be isolated immediately.", &["Contain 10.0.3.3"]),
        (
            "Isolate server_ssh. Capture the memory of that host.",
            &["Contain 10.0.2.11", "Preserve 10.0.2.11"],
        ),
        ("Isolate server_ssh. Capture memory.", &["Contain 10.0.2.11", "Preserve"]),
        ("Isolate server_ssh, which talks to server_samba.", &["Contain 10.0.2.11"]),
        ("Isolate server_ssh to protect mercury.", &["Contain 10.0.2.11"]),
        ("Isolate 10.0.2.11 before the attacker moves to 10.0.2.12.", &["Contain 10.0.2.11"]),
        ("Reset the password of the account svc_backup on server_ssh.", &["Harden svc_backup 10.0.2.11"]),
        ("Disable the svc_backup account on server_ssh.", &["Contain svc_backup"]),
        (
            "Evict the attacker from Server 3:\nKill all sessions, remove the keys.",
            &["Eradicate 10.0.3.3", "Eradicate 10.0.3.3", "Eradicate 10.0.3.3"],
        ),
        ("Immediate isolation of mercury from the network", &["Contain 10.0.3.4"]),
    ]);
}

#[test]
fn the_ends_of_a_cut_are_told_apart() {
    check(&[
        ("Block 203.0.113.9 at the gateway 10.0.1.10.", &["Contain 203.0.113.9"]),
        ("Block all traffic from 203.0.113.9 on the gateway's firewall", &["Contain 203.0.113.9"]),
        (
            "Update the gateway's firewall to drop traffic from 203.0.113.9.",
            &["Contain", "Contain 203.0.113.9"],
        ),
        ("Isolate server_ssh from server_samba.", &["Contain 10.0.2.11 <- 10.0.2.12"]),
        ("Block traffic from server_ssh to 10.0.2.12.", &["Contain 10.0.2.11 <- 10.0.2.12"]),
        ("Cut off the traffic between mercury and server_ssh.", &["Contain 10.0.3.4 <- 10.0.2.11"]),
        ("Block access to mercury.", &["Contain 10.0.3.4"]),
        ("Block 203.0.113.9 from reaching server_ssh.", &["Contain 203.0.113.9 <- 10.0.2.11"]),
        ("Isolate the gateway 10.0.1.10.", &["Contain 10.0.1.10"]),
        ("Sinkhole evil.example and block 203.0.113.9.", &["Contain evil.example", "Contain 203.0.113.9"]),
        ("Stop the Samba service on server_samba.", &["Contain 10.0.2.12 Samba 4.2"]),
        ("Isolate all hosts in the dmz zone except mercury.", &["Contain 10.0.3.3"]),
        ("Block 10.0.2.0/24.", &["Contain 10.0.2.11 10.0.2.12"]),
        ("Copy the logs of server_ssh to the collector.", &["Preserve 10.0.2.11 <- 10.0.1.9"]),
        ("Save an image of Server 3 on collector.", &["Preserve 10.0.3.3"]),
        ("Restore mercury from 10.0.1.9.", &["Restore 10.0.3.4 <- 10.0.1.9"]),
    ]);
}

#[test]
fn what_is_not_to_be_done_is_not_done() {
    for text in [
        "Do not block 203.0.113.9.",
        "Don't isolate server_ssh or mercury!",
        "Never wipe server_ssh.",
        "Avoid isolating server_ssh.",
        "Should we block 203.0.113.9?",
        "Is it wise to isolate server_ssh",
        "Could you isolate server_ssh?",
        "Can 203.0.113.9 be blocked",
        "Consider isolating server_ssh.",
        "Prepare to isolate server_ssh.",
        "If the scan finds malware, isolate server_ssh.",
        "Isolate server_ssh if the scan finds malware.",
        "Make sure you have the ability to block 203.0.113.9.",
        "The attacker removed the logs of server_ssh.",
        "server_ssh was isolated by the night shift.",
        "Improve security.",
        "Improve the security of server_ssh.",
        "Monitor server_ssh closely.",
        "server_ssh must not be isolated.",
        "There is no need to isolate server_ssh.",
        "Refrain from wiping server_ssh.",
        "The block list names 203.0.113.9.",
        "",
        "???",
    ] {
        assert_eq!(read(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_ban_ends_where_it_ends() {
    check(&[
        ("Do not block server_ssh, isolate mercury.", &["Contain 10.0.3.4"]),
        ("Do not isolate, block, or wipe server_ssh.", &[]),
        ("Do not wipe server_ssh but isolate it.", &["Contain 10.0.2.11"]),
        ("Without rebooting server_ssh, capture its memory.", &["Preserve 10.0.2.11"]),
        ("Instead of wiping server_ssh, isolate it.", &["Contain 10.0.2.11"]),
        ("Isolate mercury rather than blocking 203.0.113.9.", &["Contain 10.0.3.4"]),
        ("Before wiping server_ssh, save its logs.", &["Preserve 10.0.2.11"]),
        ("Save the logs of server_ssh before wiping it.", &["Preserve 10.0.2.11"]),
        ("If possible, isolate server_ssh.", &["Contain 10.0.2.11"]),
        ("After collecting the logs, isolate server_ssh.", &["Contain 10.0.2.11"]),
        ("Block 203.0.113.9, not 10.0.2.12.", &["Contain 203.0.113.9"]),
        ("Please block 203.0.113.9 now!", &["Contain 203.0.113.9"]),
    ]);
}

#[test]
fn commands_are_read() {
    check(&[
        ("iptables -I FORWARD -s 203.0.113.9 -j DROP", &["Contain 203.0.113.9"]),
        ("Command: sudo iptables -A INPUT -s 203.0.113.9 -j DROP", &["Contain 203.0.113.9"]),
        ("Run `iptables -A FORWARD -d 203.0.113.9 -j REJECT` on the gateway.", &["Contain 203.0.113.9"]),
        (
            "Commands on Server 3:\n  iptables -I OUTPUT -d 10.0.2.0/24 -j DROP",
            &["Contain 10.0.3.3 <- 10.0.2.11 10.0.2.12"],
        ),
        ("iptables -D FORWARD -s 203.0.113.9 -j DROP", &[]),
        ("ufw deny from 203.0.113.9", &["Contain 203.0.113.9"]),
        (
            "Commands on mercury:\n passwd admin\n usermod -L svc_backup",
            &["Harden 10.0.3.4 admin", "Contain svc_backup"],
        ),
        ("On server_ssh: cp /var/log/auth.log /tmp/forensics_auth.log", &["Preserve 10.0.2.11"]),
        (
            "Commands on server_samba:\n  apt-get install --only-upgrade samba\n  systemctl restart smbd",
            &["Harden 10.0.2.12 Samba 4.2", "Restore 10.0.2.12 Samba 4.2"],
        ),
        (
            "Commands on Server 3:\n  pkill -u root sshd || true\n  rm -f /root/.ssh/authorized_keys\n  echo 'root:x' | chpasswd",
            &["Eradicate 10.0.3.3 OpenSSH", "Eradicate 10.0.3.3", "Harden 10.0.3.3"],
        ),
        ("dd if=/dev/sda of=/mnt/evidence.img on mercury", &["Preserve 10.0.3.4"]),
        ("grep 203.0.113.9 /var/log/auth.log on server_ssh", &["Analyse 10.0.2.11 203.0.113.9"]),
        ("scp root@10.0.2.11:/var/log/auth.log 10.0.1.9:/evidence/", &["Preserve root 10.0.2.11"]),
        ("userdel -r jdoe2 on server_ssh", &["Eradicate 10.0.2.11 jdoe2"]),
        ("Kill the processes of the attacker on server_ssh", &["Eradicate 10.0.2.11"]),
    ]);
}

#[test]
fn saying_that_nothing_happened_is_heard() {
    let dismisses = |text: &str| Action::parse(text, &Names::default()).dismisses;
    assert!(dismisses("This is a false positive, no action is required."));
    assert!(dismisses("Close the incident."));
    assert!(!dismisses("This is not a false positive."));
    assert!(!dismisses("Isolate 10.0.2.11."));
}

/// The 216 response actions of RE&CT, each by its title.
#[test]
fn public_response_actions_are_read() {
    use VerbClass::{Analyse, Contain, Eradicate, Harden, Preserve, Restore};
    let Some(folder) = crate::data::folder_for_tests() else { return };
    let text = std::fs::read_to_string(folder.join("actions/react.json")).unwrap();
    let actions: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(actions.len(), 216);
    let names = Names::new(&scenario().truth);
    let (mut wrong, mut responses, mut beside) = (Vec::new(), 0, Vec::new());
    for action in &actions {
        let field = |name: &str| action[name].as_str().unwrap_or_default();
        let (stage, title) = (field("stage"), field("title"));
        let expected: &[VerbClass] = match stage {
            "identification" => &[Analyse, Preserve],
            "containment" => &[Contain, Harden],
            "eradication" => &[Eradicate],
            "recovery" => &[Restore, Eradicate],
            // To be able to do something is not to do it.
            _ => {
                let found = kinds(field("description"));
                if stage == "preparation" && field("description").contains("ability") && !found.is_empty() {
                    wrong.push(format!("{stage}: {}: {found:?}", field("description")));
                }
                continue;
            }
        };
        responses += 1;
        let found = kinds(title);
        match found.first().filter(|kind| expected.contains(kind)) {
            None => wrong.push(format!("{stage}: {title}: {found:?}")),
            // What it is done to, where the title leaves that open.
            Some(kind) => {
                let text = format!("{title} on server_ssh");
                let read = Action::parse(&text, &names);
                let host = Subject::Host("10.0.2.11".to_owned());
                if !read.of(*kind).any(|clause| clause.objects.contains(&host)) {
                    beside.push(text);
                }
            }
        }
    }
    let shown =
        format!("of {responses}:\n{}\nnot done to the host:\n{}", wrong.join("\n"), beside.join("\n"));
    eprintln!("{} wrong, {} beside, {shown}", wrong.len(), beside.len());
    assert!(wrong.len() * 20 <= responses && beside.len() * 20 <= responses, "{shown}");
}

fn kinds(text: &str) -> Vec<VerbClass> {
    Action::parse(text, &Names::default()).kinds()
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in any::<String>()) {
        let _ = Action::parse(&text, &Names::new(&scenario().truth));
    }

    #[test]
    fn no_mix_of_telling_parts_is_too_much(parts in proptest::collection::vec(prop_oneof![
        Just("do not "), Just("isolate "), Just("10.0.2.11 "), Just("if "), Just(", "), Just(". "), Just("and "), Just("`"),
        Just("iptables -A INPUT -s "), Just("\n"), Just(":"), Just("be blocked "), Just("to "), Just("é"), Just("|"), Just("Server 3-9 "),
        Just("all hosts "), Just("between "), Just("except "), Just("by wiping "), Just("'"), Just(" on "), Just("svc_backup "),
    ], 0..24)) {
        let text = parts.concat();
        let action = Action::parse(&text, &Names::new(&scenario().truth));
        prop_assert!(action.kinds().len() <= 6);
    }

    #[test]
    fn nothing_is_told_by_a_question(verb in "(isolate|block|wipe|restore|collect|patch)", host in "(server_ssh|10.0.3.4|Server 3)") {
        let text = format!("Should we {verb} {host}?");
        prop_assert_eq!(kinds(&text), []);
    }
}
