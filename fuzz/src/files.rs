//! Files that an operator writes, and what is kept outside of a store.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use countermove_coordinator::access::PolicyFile;
use countermove_coordinator::notify::Notify;
use countermove_ledger::{Key, Signature, Signed, TrustedKeys};
use countermove_membership::Registration;
use countermove_wire::catalogue as read_catalogue;

thread_local! {
    static FOLDER: OnceCell<PathBuf> = const { OnceCell::new() };
}

fn written(name: &str, content: &[u8], read: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        let path = folder.get_or_init(crate::folder).join(name);
        fs::write(&path, content).expect("the folder can be written");
        read(&path);
    });
}

/// One sentence, on one line.
fn said(error: impl std::error::Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// The file of `--auth`.
pub fn auth_file(data: &[u8]) {
    written("auth.toml", data, |path| {
        if let Err(error) = PolicyFile::open(path.to_owned()) {
            said(error);
        }
    });
}

/// The file of `--notify`.
pub fn notify_file(data: &[u8]) {
    written("notify.toml", data, notify);
}

/// A template of a receiver.
pub fn notify_template(data: &[u8]) {
    const RECEIVER: &[u8] = b"console = \"https://soc.example\"\n[[receiver]]\nname = \"a\"\n\
        events = [\"waits_for_approval\", \"action_approved\", \"ended\", \"not_understood\"]\n\
        url = \"http://192.0.2.1/\"\ntemplate = \"template.json\"\n";
    written("template.json", data, |_| written("template.toml", RECEIVER, notify));
}

fn notify(path: &Path) {
    match Notify::read(path, false) {
        Ok(notify) => drop(notify.samples().expect("what was read can be shown")),
        Err(error) => said(error),
    }
}

/// A catalogue of actions, as it comes with a plan's options.
pub fn catalogue(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(Some(catalogue)) = read_catalogue(text, countermove_planner::PlanMode::Interactive) {
        catalogue.validate().expect("what was read is valid");
        catalogue.approvers("Isolate 10.0.0.5.");
        for action in &catalogue.actions {
            action.told_by(text, ["10.0.0.5"]);
        }
    }
}

/// A line of an anchor, as it is read from its file, and a signature as a store keeps it.
pub fn anchor(data: &[u8]) {
    let key: Key = "07".repeat(32).parse().expect("the bytes of a key");
    let trusted = TrustedKeys::new([key]);
    if let Some(signature) = Signature::from_bytes(data) {
        assert_eq!(signature.to_bytes()[..], *data);
    }
    assert!(trusted.check(&[1; 32], data).is_err());
    let Ok(line) = std::str::from_utf8(data) else { return };
    assert!(Signed::from_line(line, &trusted).is_err(), "nobody signed it");
    if let Ok(signed) = Signed::read(line) {
        let again = Signed::read(&signed.to_line()).expect("a line that was written can be read");
        assert_eq!(again.checkpoint, signed.checkpoint);
    }
}

/// What a worker says of itself in etcd.
pub fn registration(data: &[u8]) {
    if let Ok(registration) = Registration::decode(data) {
        assert_eq!(Registration::decode(&registration.encode()).ok(), Some(registration));
    }
}
