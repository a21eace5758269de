//! The built binary: exit codes and messages for input that cannot be used, without any server.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use countermove_tests::Program;

const ALERT: &str = "02/06-10:15:22.341201 [**] [1:2006546:3] ET SCAN SSH Brute Force [**] [Classification: Attempted \
                     Information Leak] [Priority: 2] {TCP} 192.168.1.50:44321 -> 10.0.3.3:22\n";

fn countermove() -> Program {
    Program::new(env!("CARGO_BIN_EXE_countermove"))
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

#[test]
fn files_that_cannot_be_used_are_exit_2_and_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    write("system.txt", b"Two servers.");
    write("empty", b"");
    write("binary", &[0x7f, b'E', b'L', b'F', 0, 1, 2, 0, 0, 255].repeat(200));
    write("good.log", ALERT.as_bytes());
    fs::create_dir(folder.path().join("hollow")).unwrap();
    let (system, good) = (path(&folder, "system.txt"), path(&folder, "good.log"));
    for (log, word) in [
        ("empty", "is empty"),
        ("binary", "not text"),
        ("missing", "does not exist"),
        ("hollow", "holds no file"),
    ] {
        let log = path(&folder, log);
        countermove().refuses(&["plan", "--system", &system, "--alerts", &log], 2, &[word]);
    }
    for (system, word) in [("empty", "is empty"), ("binary", "UTF-8"), ("missing", "does not exist")] {
        let system = path(&folder, system);
        countermove().refuses(&["plan", "--system", &system, "--alerts", &good], 2, &[word]);
    }
    let constraints = path(&folder, "missing");
    countermove().refuses(
        &["plan", "--system", &system, "--alerts", &good, "--constraints", &constraints],
        2,
        &["does not exist"],
    );
    countermove().refuses(&["plan", "--incident", &path(&folder, "missing")], 2, &["does not exist"]);
    let folder = folder.path().to_str().unwrap();
    countermove().refuses(&["plan", "--incident", folder], 2, &["alerts.log", "--alerts"]);
}

#[test]
fn a_file_name_cannot_act_on_the_terminal() {
    countermove().refuses(&["plan", "--incident", "no\u{1b}[31m\nsuch"], 2, &["no\\u{1b}[31m\\nsuch"]);
}

#[test]
fn bad_input_shows_before_a_cluster_is_started() {
    countermove().refuses(&["up", "--", "plan", "--incident", "no/such/folder"], 2, &["no/such/folder"]);
    countermove().refuses(&["up", "--", "up"], 2, &["plan, workers, incidents, audit, or a program"]);
    countermove().refuses(
        &["up", "--", "no-such-program"],
        2,
        &["no-such-program", "neither a command of countermove nor a program"],
    );
}

#[test]
fn without_a_coordinator_the_address_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for command in [["workers", "list"], ["incidents", "list"], ["incidents", "watch"]] {
        let mut arguments = vec![command[0], "--coordinator", &url, command[1]];
        if command[1] == "watch" {
            arguments.push("x");
        }
        countermove().refuses(&arguments, 1, &[&url, "countermove up"]);
    }
    countermove().refuses(&["workers", "list", "--coordinator", &url], 1, &[&url, "countermove up"]);
    let second = format!("{url},{url}");
    countermove().refuses(
        &["--coordinator", &second, "workers", "list"],
        1,
        &["none of the coordinators", &url],
    );
    countermove().refuses(
        &["workers", "--coordinator", "ftp://h:1", "list"],
        2,
        &["ftp", "http://host:port"],
    );
}

/// A folder of tests/incidents.
fn sample(name: &str) -> String {
    format!("{}/../tests/incidents/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn evidence_is_shown_without_a_coordinator() {
    let log = sample("ssh-ransomware/alerts.log");
    let output = countermove().run(&["evidence", &log, &log]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("FORM ") && text.contains("alert") && text.contains("given twice"), "{text}");
    let output = countermove().run(&["evidence", "--json", &log]);
    let survey: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let counted: u64 =
        survey["forms"].as_array().unwrap().iter().map(|form| form["records"].as_u64().unwrap()).sum();
    assert_eq!(survey["records"].as_u64(), Some(counted));
    let folder = sample("ssh-ransomware");
    let output = countermove().run(&["plan", "--incident", &folder, "--validate", "--json"]);
    let validated: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &validated["forms"]), (Some(0), &survey["forms"]));
}

#[test]
fn logs_are_read_from_standard_input_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.log"), ALERT).unwrap();
    fs::write(folder.path().join("b.log"), ALERT.replace("2006546", "2006547")).unwrap();
    let input = fs::File::open(folder.path().join("a.log")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_countermove"))
        .args(["evidence", "--json", "-", folder.path().to_str().unwrap()])
        .stdin(input)
        .output()
        .unwrap();
    let survey: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(survey["sources"][0]["name"], "standard input");
    assert_eq!((survey["records"].as_u64(), survey["repeated"].as_u64()), (Some(2), Some(1)), "{survey}");
}

#[test]
fn what_is_in_no_known_form_is_shown_and_is_exit_4() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes"), "the pump in hall 3 was serviced\nit runs again\n").unwrap();
    let output = countermove().run(&["evidence", &path(&folder, "notes")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("NOT UNDERSTOOD") && text.contains("> the pump in hall 3 was serviced"), "{text}");
    countermove().refuses(&["evidence", &path(&folder, "missing")], 2, &["does not exist"]);
    countermove().refuses(
        &["up", "--", "evidence", &path(&folder, "notes")],
        2,
        &["plan, workers, incidents"],
    );
}

#[test]
fn help_lists_the_exit_codes() {
    for arguments in [&["--help"][..], &["plan", "--help"]] {
        let output = countermove().run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "130 "] {
            assert!(text.contains(&format!("\n  {code}")), "{code} in {text}");
        }
    }
    assert_eq!(countermove().run(&["plan", "--candidates", "99"]).status.code(), Some(2));
    assert_eq!(countermove().run(&["nonsense"]).status.code(), Some(2));
}

#[test]
fn the_reference_lists_every_command_and_flag() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
    let commands = countermove_settings::reference(&countermove::command(), 2);
    countermove_settings::compare(page.as_ref(), "countermove", &commands, true)
        .unwrap_or_else(|error| panic!("{error}"));
}
