use std::path::Path;

use clap::{ArgGroup, Args};

use super::*;
use crate::{SettingsArgs, reference};

#[derive(Clone, Debug, PartialEq, Parser)]
#[command(name = "thing", group = ArgGroup::new("cores"), args_conflicts_with_subcommands = true)]
struct Thing {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    settings: SettingsArgs,
    #[arg(long, default_value = "127.0.0.1:1")]
    listen: std::net::SocketAddr,
    #[arg(long, default_value_t = 10.0)]
    lease: f64,
    #[arg(long, value_delimiter = ',')]
    workers: Vec<String>,
    #[arg(long)]
    store: Option<String>,
    #[arg(long, group = "cores")]
    threads: Option<u16>,
    #[arg(long, group = "cores")]
    cpus: Option<String>,
    #[arg(long)]
    model: Option<String>,
    #[arg(long, conflicts_with = "model")]
    simulate: Option<u32>,
    #[arg(long, requires = "key")]
    cert: Option<String>,
    #[arg(long, requires = "cert")]
    key: Option<String>,
    #[command(flatten)]
    more: More,
}

#[derive(Clone, Debug, PartialEq, Args)]
struct More {
    #[arg(long)]
    insecure: bool,
}

#[derive(Clone, Debug, PartialEq, clap::Subcommand)]
enum Sub {
    Find { name: String },
}

const NAMES: Names = Names { own: &["listen"], prefix: "COUNTERMOVE_THING_" };

fn read(line: &[&str], environment: &[(&str, &str)]) -> Result<(Settings, Thing), SettingsError> {
    use clap::FromArgMatches;
    let line = ["thing"].iter().chain(line).map(OsString::from);
    let settings = Settings::read::<Thing>(&NAMES, line, |name| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    })?;
    let thing = Thing::from_arg_matches(settings.matches())?;
    Ok((settings, thing))
}

fn written(folder: &Path, text: &str) -> String {
    let file = folder.join("thing.toml");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(
        folder.path(),
        "lease = 5\nlisten = \"127.0.0.1:5\"\nworkers = [\"a\", \"b\"]\ninsecure = true\n",
    );
    let config = ["--config", file.as_str()];
    let (_, plain) = read(&[], &[]).unwrap();
    assert_eq!((plain.lease, plain.listen.port(), plain.more.insecure), (10.0, 1, false));
    let (settings, of_file) = read(&config, &[]).unwrap();
    assert_eq!((of_file.lease, of_file.listen.port(), of_file.more.insecure), (5.0, 5, true));
    assert_eq!(of_file.workers, ["a", "b"]);
    assert_eq!(settings.source("lease"), Source::File(file.clone().into()));
    let variables = [
        ("COUNTERMOVE_LEASE", "4"),
        ("COUNTERMOVE_THING_LISTEN", "127.0.0.1:4"),
        // Those of another program.
        ("COUNTERMOVE_LISTEN", "127.0.0.1:9"),
        ("COUNTERMOVE_WORKERS", "c,d"),
        ("COUNTERMOVE_INSECURE", "false"),
    ];
    let (settings, of_environment) = read(&config, &variables).unwrap();
    assert_eq!((of_environment.lease, of_environment.listen.port()), (4.0, 4));
    assert_eq!(of_environment.workers, ["c", "d"]);
    assert!(!of_environment.more.insecure, "what is switched off stays off");
    assert_eq!(settings.source("lease"), Source::Environment("COUNTERMOVE_LEASE".to_owned()));
    let (settings, of_flags) =
        read(&[&config[..], &["--lease", "3", "--workers", "e"]].concat(), &variables).unwrap();
    assert_eq!((of_flags.lease, of_flags.listen.port()), (3.0, 4));
    assert_eq!(of_flags.workers, ["e"], "a list is one setting");
    assert_eq!(settings.source("lease"), Source::Flag);
    let (_, named) = read(&[], &[("COUNTERMOVE_CONFIG", &file)]).unwrap();
    assert_eq!(named.lease, 5.0, "the environment may name the file");
}

#[test]
fn what_contradicts_something_further_up_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "cpus = \"0-1\"\nmodel = \"x.gguf\"\n");
    let (_, thing) = read(&["--threads", "2", "--config", &file], &[("COUNTERMOVE_CPUS", "0")]).unwrap();
    assert_eq!((thing.threads, thing.cpus), (Some(2), None), "one of a group");
    let (_, thing) = read(&["--config", &file], &[("COUNTERMOVE_THREADS", "3")]).unwrap();
    assert_eq!((thing.threads, thing.cpus), (Some(3), None));
    let (_, thing) = read(&["--simulate", "9"], &[("COUNTERMOVE_MODEL", "y")]).unwrap();
    assert_eq!((thing.simulate, thing.model), (Some(9), None), "a rival by name");
    let (_, thing) = read(&["--model", "z"], &[("COUNTERMOVE_SIMULATE", "9")]).unwrap();
    assert_eq!((thing.simulate, thing.model.as_deref()), (None, Some("z")), "and the other way round");
    let two = [("COUNTERMOVE_MODEL", "y"), ("COUNTERMOVE_SIMULATE", "9")];
    assert!(read(&[], &two).is_err(), "of two in the environment neither goes before the other");
}

#[test]
fn what_belongs_together_may_come_from_different_places() {
    let (_, thing) = read(&["--cert", "c"], &[("COUNTERMOVE_KEY", "k")]).unwrap();
    assert_eq!((thing.cert.as_deref(), thing.key.as_deref()), (Some("c"), Some("k")));
    let SettingsError::Clap { error, .. } = read(&["--cert", "c"], &[]).unwrap_err() else { panic!() };
    assert!(error.to_string().contains("--key"), "{error}");
}

#[test]
fn errors_are_claps_and_say_where_the_value_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "lease = \"soon\"\n");
    let SettingsError::Clap { error, note } = read(&["--config", &file], &[]).unwrap_err() else { panic!() };
    assert!(error.to_string().contains("invalid value 'soon' for '--lease <LEASE>'"), "{error}");
    assert!(note.as_deref().is_some_and(|note| note.contains(&file)), "{note:?}");
    let SettingsError::Clap { error, note } = read(&[], &[("COUNTERMOVE_LEASE", "x")]).unwrap_err() else {
        panic!()
    };
    assert!(error.to_string().contains("--lease"), "{error}");
    assert!(note.as_deref().is_some_and(|note| note.contains("COUNTERMOVE_LEASE")), "{note:?}");
    let SettingsError::Clap { note, .. } = read(&["--lease", "x"], &[]).unwrap_err() else { panic!() };
    assert_eq!(note, None);
    let error = read(&[], &[("COUNTERMOVE_INSECURE", "perhaps")]).unwrap_err().to_string();
    assert!(error.contains("COUNTERMOVE_INSECURE") && error.contains("true or false"), "{error}");
    let (_, thing) = read(&[], &[("COUNTERMOVE_LEASE", "")]).unwrap();
    assert_eq!(thing.lease, 10.0, "an empty variable is none");
}

#[test]
fn a_file_that_cannot_be_used_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (text, words) in [
        ("leese = 5\n", "`leese` is no setting of thing"),
        ("config = \"x\"\n", "`config` is no setting"),
        ("print-config = true\n", "no setting"),
        ("lease = { a = 1 }\n", "`lease` has to be"),
        ("insecure = \"yes\"\n", "true or false"),
        ("lease = \n", "not in TOML"),
    ] {
        let file = written(folder.path(), text);
        let error = read(&["--config", &file], &[]).unwrap_err();
        assert!(matches!(error, SettingsError::File(_)), "{text}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = read(&["--config", "no/such/file"], &[]).unwrap_err().to_string();
    assert!(error.contains("no/such/file"), "{error}");
}

#[test]
fn a_file_with_a_password_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), "store = \"postgres://u:s3cret@db/x\"\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = read(&["--config", &file], &[]).unwrap_err().to_string();
    assert!(error.contains("chmod o=") && !error.contains("s3cret"), "{error}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(read(&["--config", &file], &[]).is_ok());
}

#[test]
fn what_is_printed_is_a_file_that_says_the_same_and_keeps_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("COUNTERMOVE_STORE", "postgres://u:s3cret@db/x"), ("COUNTERMOVE_WORKERS", "a,b")];
    let (settings, _) = read(&["--lease", "2.5", "--print-config"], &variables).unwrap();
    assert!(settings.wants_print());
    let text = settings.print();
    assert!(!text.contains("s3cret"), "{text}");
    for line in [
        "lease = \"2.5\"  # flag",
        "listen = \"127.0.0.1:1\"  # default",
        "workers = [\"a\", \"b\"]  # environment: COUNTERMOVE_WORKERS",
        "store = \"postgres://u:***@db/x\"  # environment: COUNTERMOVE_STORE; the password is left out",
        "# threads: not set",
        "insecure = false  # default",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
    }
    let file = written(folder.path(), &text.replace("u:***@", ""));
    let (_, again) = read(&["--config", &file], &[]).unwrap();
    assert_eq!((again.lease, again.workers), (2.5, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_subcommand_takes_nothing_of_it() {
    let (_, thing) = read(&["find", "it"], &[("COUNTERMOVE_LEASE", "nonsense")]).unwrap();
    assert_eq!(thing.command, Some(Sub::Find { name: "it".to_owned() }));
}

#[test]
fn help_shows_the_names() {
    let SettingsError::Clap { error, .. } = read(&["--help"], &[]).unwrap_err() else { panic!() };
    assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp);
    let text = error.to_string();
    assert!(text.contains("COUNTERMOVE_THING_LISTEN") && text.contains("COUNTERMOVE_LEASE"), "{text}");
    assert!(reference(&crate::command::<Thing>(&NAMES), 2).contains("COUNTERMOVE_THING_LISTEN"));
}
