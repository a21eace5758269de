//! Tests that the rooms of this crate stand in a row, as `lib.rs` says.

use std::path::{Path, PathBuf};

/// Each uses those before it.
const ROOMS: [&str; 6] = ["evidence", "prompts", "rollouts", "choosing", "engagement", "session"];

/// Source files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The rooms that the text imports from outside its tests, which stand indented in a module of their own.
fn imported(text: &str) -> impl Iterator<Item = usize> {
    text.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| {
        let (_, path) = line.split_once("use crate::")?;
        let first = path.split("::").next()?;
        ROOMS.iter().position(|room| *room == first)
    })
}

#[test]
fn no_room_uses_one_behind_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for (own, room) in ROOMS.iter().enumerate() {
        for file in sources(&source.join(room)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for other in imported(&text) {
                assert!(other <= own, "{}: {room} must not use {}", file.display(), ROOMS[other]);
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "the imports are read: {seen}");
}

#[test]
fn what_is_for_all_rooms_uses_none() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(source).unwrap() {
        let file = entry.unwrap().path();
        // The crate's face shows what the rooms hold; the error of planning names what can go wrong in them.
        if file.is_dir() || file.ends_with("lib.rs") || file.ends_with("error.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(imported(&text).next(), None, "{}", file.display());
    }
}
