//! What ARCHITECTURE.md promises about imports and paths, checked against the workspace: a page that nobody checks is
//! wrong within a month.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use countermove_tests::repository;
use serde_json::Value;

/// Crates that speak to a network. `incident` and `planner` know none.
const NETWORK: [&str; 6] = ["tonic", "hyper", "reqwest", "tower", "sqlx", "etcd-client"];

/// One row of the code map.
struct Row {
    path: String,
    krate: String,
    may_use: BTreeSet<String>,
    may_use_all: bool,
    /// Whether it is built by itself.
    is_outside: bool,
}

/// A crate of the workspace: its folder and the crates that it is built from, ours and others'.
struct Member {
    path: String,
    uses: BTreeSet<String>,
}

fn architecture() -> Result<String> {
    std::fs::read_to_string(repository().join("ARCHITECTURE.md")).context("ARCHITECTURE.md cannot be read")
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The section of the page under this heading.
fn section<'a>(page: &'a str, heading: &str) -> Result<&'a str> {
    let (_, rest) = page.split_once(heading).with_context(|| format!("the page has no `{heading}`"))?;
    Ok(rest.split("\n## ").next().unwrap_or(rest))
}

/// The rows of the code map that name a crate.
fn code_map(page: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in section(page, "## Code map")?.lines().filter(|line| line.starts_with("| `")) {
        let inner = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).unwrap_or(line);
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        let [path, krate, what, may_use] = cells[..] else { bail!("this row has not four cells: {line}") };
        let Some(krate) = quoted(krate).next() else { continue };
        let path = quoted(path).next().context("a row begins with its path")?;
        let short = may_use.split(',').map(|name| name.split('(').next().unwrap_or(name).trim().to_owned());
        rows.push(Row {
            path: path.trim_end_matches('/').to_owned(),
            krate: krate.to_owned(),
            may_use_all: may_use.starts_with("everything"),
            is_outside: what.contains("outside the workspace"),
            may_use: short.collect(),
        });
    }
    Ok(rows)
}

fn cargo_metadata() -> Result<Value> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--offline", "--no-deps"])
        .current_dir(repository())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The crates of the workspace, by name. Tests may use what they like: only what is built in counts.
fn members() -> Result<BTreeMap<String, Member>> {
    let metadata = cargo_metadata()?;
    let root = repository().canonicalize()?;
    let mut members = BTreeMap::new();
    for package in metadata["packages"].as_array().context("packages")? {
        let name = package["name"].as_str().context("name")?.to_owned();
        let manifest = std::path::PathBuf::from(package["manifest_path"].as_str().context("manifest_path")?);
        let folder = manifest.parent().context("folder")?.canonicalize()?;
        let path = folder.strip_prefix(&root)?.display().to_string();
        let dependencies = package["dependencies"].as_array().context("dependencies")?;
        let built_in = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        let uses = built_in.filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned())).collect();
        members.insert(name, Member { path, uses });
    }
    Ok(members)
}

/// A crate of ours as the page calls it.
fn short(name: &str) -> &str {
    name.strip_prefix("countermove-").unwrap_or("cli")
}

fn is_ours(name: &str) -> bool {
    name == "countermove" || name.starts_with("countermove-")
}

/// Everything of ours that a crate is built from, at any depth, with what these use of others.
fn reach(members: &BTreeMap<String, Member>, name: &str) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(next) = open.pop() {
        for used in members.get(&next).into_iter().flat_map(|member| &member.uses) {
            if found.insert(used.clone()) {
                open.push(used.clone());
            }
        }
    }
    found
}

#[test]
fn every_crate_uses_what_the_code_map_allows_and_nothing_else_of_ours() -> Result<()> {
    let page = architecture()?;
    let (rows, members) = (code_map(&page)?, members()?);
    for (name, member) in &members {
        let row = rows.iter().find(|row| row.krate == *name);
        let row = row.with_context(|| format!("{name} is in the workspace and not in the code map"))?;
        assert_eq!(row.path, member.path, "the code map says where {name} is");
        let used: BTreeSet<&str> =
            member.uses.iter().filter(|used| is_ours(used)).map(|used| short(used)).collect();
        let refused: Vec<&&str> =
            used.iter().filter(|used| !row.may_use_all && !row.may_use.contains(**used)).collect();
        assert!(refused.is_empty(), "{name} uses {refused:?}, which its row does not allow");
        let idle: Vec<&String> = row.may_use.iter().filter(|may| !used.contains(may.as_str())).collect();
        assert!(
            row.may_use_all || idle.is_empty() || row.may_use.contains("nothing of ours") && used.is_empty(),
            "the row of {name} allows {idle:?}, which it does not use"
        );
    }
    for row in rows.iter().filter(|row| !row.is_outside) {
        assert!(
            members.contains_key(&row.krate),
            "the code map names {}, which is not in the workspace",
            row.krate
        );
    }
    Ok(())
}

#[test]
fn the_invariants_about_imports_hold() -> Result<()> {
    let members = members()?;
    let uses = |name: &str, other: &str| reach(&members, name).contains(other);
    assert!(
        !uses("countermove-coordinator", "countermove-worker"),
        "coordinator and worker never import each other"
    );
    assert!(
        !uses("countermove-worker", "countermove-coordinator"),
        "coordinator and worker never import each other"
    );
    assert!(!uses("countermove-coordinator", "countermove-model"), "the coordinator holds no weights");
    assert!(!uses("countermove-model", "countermove-incident"), "the model knows no incidents");
    assert!(
        !uses("countermove-simulator", "countermove-planner"),
        "the simulator's truth never reaches a planner"
    );
    assert!(!uses("countermove-proto", "countermove-planner"), "proto is messages");
    for name in ["countermove-incident", "countermove-planner"] {
        for network in NETWORK {
            assert!(!uses(name, network), "{name} knows no network, and is built from {network}");
        }
    }
    let lab: BTreeSet<&String> =
        members.iter().filter(|(_, member)| member.path.starts_with("lab/")).map(|(name, _)| name).collect();
    assert!(!lab.is_empty(), "the lab is in lab/");
    for (name, member) in members.iter().filter(|(name, _)| !lab.contains(name)) {
        // The cluster tests look at both wings from outside.
        if member.path != "tests" {
            let imported: Vec<&String> = lab.iter().copied().filter(|own| uses(name, own)).collect();
            assert!(imported.is_empty(), "{name} is of the product and imports {imported:?} of the lab");
        }
    }
    Ok(())
}

#[test]
fn every_path_that_the_page_names_is_there() -> Result<()> {
    let page = architecture()?;
    let changes = section(&page, "## Where does my change go?")?;
    let is_path = |word: &&str| {
        !word.contains(' ') && (word.contains('/') || word.ends_with(".rs") || word.ends_with(".md"))
    };
    let named: Vec<&str> = quoted(&page).filter(is_path).collect();
    assert!(quoted(changes).filter(is_path).count() > 20, "the newcomer's list names its paths");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|path| {
            let plain = path.split('*').next().unwrap_or(path);
            !repository().join(plain).exists()
        })
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names paths that are not there: {missing:?}");
    Ok(())
}
