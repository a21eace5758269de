//! Against a small server on this machine that answers as the hub does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::model::{LoadOptions, Model};
use crate::source::ModelSource;
use crate::testing::TinyModel;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has, and what it was asked.
#[derive(Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    /// Etags that differ from the digest.
    etags: BTreeMap<String, String>,
    /// Answers with this status whatever is asked.
    status: Option<u16>,
    /// Cuts the next answer with content after so many bytes.
    cut: Option<usize>,
    /// Redirects requests for files to nowhere.
    sends_away: bool,
    requests: Vec<String>,
}

/// A server that lives as long as the test's process.
struct Server {
    shelf: Arc<Mutex<Shelf>>,
    endpoint: String,
}

impl Server {
    fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        shelf.lock().unwrap().files =
            files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let served = Arc::clone(&shelf);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&served);
                thread::spawn(move || answer(&stream, &shelf));
            }
        });
        Self { shelf, endpoint }
    }

    fn change(&self, change: impl FnOnce(&mut Shelf)) {
        change(&mut self.shelf.lock().unwrap());
    }

    /// Requests since the last call: the path, and `+` if it came with a token.
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shelf.lock().unwrap().requests)
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub {
            cache: cache.to_path_buf(),
            endpoint: Some(self.endpoint.clone()),
            token: Some("secret".to_owned()),
            offline: false,
            patience: PATIENCE,
        }
    }
}

/// Answers one request and closes.
fn answer(mut stream: &TcpStream, shelf: &Mutex<Shelf>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let (mut from, mut to, mut token) = (0, usize::MAX, "");
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match (name.to_lowercase().as_str(), value) {
            ("range", value) => {
                let (start, end) = value.trim_start_matches("bytes=").split_once('-').unwrap();
                from = start.parse().unwrap();
                to = end.parse::<usize>().map_or(usize::MAX, |end| end + 1);
            }
            ("authorization", "Bearer secret") => token = " +",
            _ => {}
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut shelf = shelf.lock().unwrap();
    shelf.requests.push(format!("{path}{token}"));
    let mut send = |status: u16, headers: &str, body: &[u8], sent: usize| {
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        // A client that has gone is the client's business.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
    };
    if let Some(status) = shelf.status {
        return send(status, "", b"", 0);
    }
    if let Some(revision) = path.strip_prefix("/api/models/org/name/revision/") {
        if !["main", "v1", COMMIT].contains(&revision) {
            return send(404, "", b"", 0);
        }
        let siblings: Vec<_> = shelf.files.keys().map(|name| json!({ "rfilename": name })).collect();
        let body = json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return send(200, "", body.as_bytes(), body.len());
    }
    let name = path.strip_prefix(&format!("/org/name/resolve/{COMMIT}/")).unwrap_or_default().to_owned();
    let Some(bytes) = shelf.files.get(&name).cloned() else { return send(404, "", b"", 0) };
    if shelf.sends_away {
        return send(302, &format!("ETag: \"x\"\r\nX-Repo-Commit: {COMMIT}\r\n"), b"", 0);
    }
    let to = to.min(bytes.len());
    let etag = shelf.etags.get(&name).cloned().unwrap_or_else(|| hex::encode(Sha256::digest(&bytes)));
    let headers = format!(
        "ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{}/{}\r\n",
        to.saturating_sub(1),
        bytes.len()
    );
    let body = &bytes[from.min(to)..to];
    let sent = if body.len() > 1 { shelf.cut.take() } else { None };
    send(206, &headers, body, sent.unwrap_or(body.len()).min(body.len()));
}

fn wanted<'a>(revision: Option<&'a str>, file: Option<&'a str>) -> Wanted<'a> {
    Wanted { id: "org/name", revision, file }
}

fn quiet(hub: &Hub, wanted: &Wanted<'_>) -> Result<PathBuf, LoadError> {
    hub.find(wanted, &mut |_| {})
}

fn gguf() -> Vec<u8> {
    let metadata = crate::tokenizer::tests::tiny_metadata();
    let vocab_size = crate::tokenizer::tests::tiny().vocab_size();
    TinyModel { metadata, vocab_size, ..TinyModel::default() }.gguf()
}

#[test]
fn a_model_is_fetched_once_and_found_without_a_network_later() {
    let bytes = gguf();
    let server = Server::start(&[("m.gguf", bytes.clone()), ("README.md", b"x".to_vec())]);
    let cache = tempfile::tempdir().unwrap();
    let mut hub = server.hub(cache.path());
    let (mut begun, mut came, mut ended) = (Vec::new(), 0, 0);
    let mut listen = |event: Fetch<'_>| match event {
        Fetch::Begins { file, bytes } => {
            begun.push((file.to_owned(), bytes));
            came = 0;
        }
        Fetch::Came(more) => came += more,
        Fetch::Ended => ended += 1,
    };
    let path = hub.find(&wanted(None, None), &mut listen).unwrap();
    assert_eq!(begun, [("m.gguf".to_owned(), bytes.len() as u64)]);
    assert_eq!((came, ended), (bytes.len() as u64, 1));
    assert!(path.ends_with(format!("snapshots/{COMMIT}/m.gguf")), "{}", path.display());
    assert_eq!(fs::read(&path).unwrap(), bytes);
    Model::load(&path, &LoadOptions { kv_budget: Some(1 << 20), ..LoadOptions::default() }).unwrap();
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.ends_with(" +")), "the token goes along: {requests:?}");

    // A branch costs one question, a commit none, and neither fetches again.
    assert_eq!(quiet(&hub, &wanted(None, None)).unwrap(), path);
    assert_eq!(server.requests(), ["/api/models/org/name/revision/main +"]);
    assert_eq!(quiet(&hub, &wanted(Some(COMMIT), Some("m.gguf"))).unwrap(), path);
    assert_eq!(server.requests(), [""; 0]);
    let pinned = "hf:org/name".parse::<ModelSource>().unwrap().pinned(&path);
    assert_eq!(pinned.to_string(), format!("hf:org/name@{COMMIT}"));

    // Without a network the cache serves, and what it does not hold is said.
    server.change(|shelf| shelf.status = Some(503));
    assert_eq!(quiet(&hub, &wanted(None, None)).unwrap(), path);
    let error = quiet(&hub, &wanted(Some("v1"), None)).unwrap_err().to_string();
    assert!(error.contains("status 503") && error.contains("does not hold the model"), "{error}");
    hub.offline = true;
    server.requests();
    assert_eq!(quiet(&hub, &wanted(None, None)).unwrap(), path);
    let error = quiet(&hub, &wanted(Some("v1"), None)).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
    assert_eq!(server.requests(), [""; 0]);
    let nowhere = Hub { endpoint: Some("http://127.0.0.1:1".to_owned()), offline: false, ..hub };
    assert_eq!(quiet(&nowhere, &wanted(None, None)).unwrap(), path);
    // One that takes the question and never answers: connections wait in its backlog.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let silent = Hub { endpoint, patience: Duration::from_millis(100), ..nowhere };
    assert_eq!(quiet(&silent, &wanted(None, None)).unwrap(), path);
    let error = quiet(&silent, &wanted(Some("v1"), None)).unwrap_err().to_string();
    let place = format!("the hub at {} cannot be reached", silent.endpoint.unwrap());
    assert!(error.contains(&place) && error.contains("did not answer in time"), "{error}");
}

#[test]
fn safetensors_come_with_what_belongs_to_them() {
    let model = tempfile::tempdir().unwrap();
    TinyModel::default().write_safetensors(model.path(), 2).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(model.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    let wanted_names = files.len() + 1;
    files.push(("tokenizer.json".to_owned(), b"{}".to_vec()));
    for other in ["pytorch_model.bin", "onnx/model.onnx", "model.Q8_0.gguf", "../escape", "/etc/x.gguf"] {
        files.push((other.to_owned(), b"no".to_vec()));
    }
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let server = Server::start(&files);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let folder = quiet(&hub, &wanted(Some("v1"), None)).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), wanted_names);
    assert!(is_whole(&folder));
    // A folder that a cut transfer left is made whole.
    fs::remove_file(folder.join("model-00002-of-00002.safetensors")).unwrap();
    assert!(hub.cached(&wanted(Some(COMMIT), None)).is_err());
    assert_eq!(quiet(&hub, &wanted(Some(COMMIT), None)).unwrap(), folder);
    assert!(is_whole(&folder));
}

#[test]
fn a_cut_transfer_goes_on_and_damage_is_noticed() {
    let bytes = gguf();
    let server = Server::start(&[("m.gguf", bytes.clone())]);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    server.change(|shelf| shelf.cut = Some(1000));
    let path = quiet(&hub, &wanted(None, None)).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);

    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    server.change(|shelf| {
        shelf.etags.insert("m.gguf".to_owned(), "a".repeat(64));
    });
    let error = quiet(&hub, &wanted(None, None)).unwrap_err();
    assert!(matches!(&error, LoadError::Digest { expected, .. } if *expected == "a".repeat(64)), "{error}");
    assert!(hub.cached(&wanted(Some(COMMIT), None)).is_err(), "what is damaged does not stay");
}

#[test]
fn what_the_hub_refuses_is_said() {
    let server = Server::start(&[("a.gguf", b"x".to_vec()), ("b.gguf", b"y".to_vec())]);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let message = |wanted: Wanted<'_>| {
        let error = quiet(&hub, &wanted).unwrap_err();
        assert!(matches!(error, LoadError::Hub { .. }), "{error}");
        error.to_string()
    };
    let several = message(wanted(None, None));
    assert!(several.contains("2 GGUF files") && several.contains("hf:org/name/a.gguf"), "{several}");
    assert!(message(wanted(None, Some("c.gguf"))).contains("no file c.gguf"));
    assert!(message(wanted(Some("v9"), None)).contains("no such model with a revision v9"));
    for (status, word) in [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (418, "status 418")] {
        server.change(|shelf| shelf.status = Some(status));
        assert!(message(wanted(None, None)).contains(word), "{status}");
    }
    // An endpoint that is no hub, and one whose answer makes the client panic.
    server.change(|shelf| shelf.status = Some(200));
    assert!(message(wanted(None, None)).contains("cannot be reached"));
    server.change(|shelf| {
        shelf.status = None;
        shelf.sends_away = true;
    });
    assert!(message(wanted(None, Some("a.gguf"))).contains("broke off"));
}
