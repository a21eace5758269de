//! Models of the Hugging Face hub, in the cache that its own tools use.
//!
//! What the cache holds of a commit is used without asking anybody. For a branch or tag the hub is asked which commit
//! it is at; if the hub cannot be reached, the commit that the cache knows is used and the log says so.
//!
//! Invariants: all files of a model are of one commit; weights that came over the network have the SHA-256 that the hub
//! names; no name out of a listing leads out of the cache.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, thread};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::api::{Progress, RepoInfo};
use hf_hub::{Cache, Repo, RepoType};

use crate::digest::sha256_file;
use crate::error::LoadError;
use crate::source::is_plain;
use crate::weights::shard_names;

/// Times that a broken transfer is taken up again.
const RESUMES: u32 = 4;
/// How long the hub may take to say which commit it is at, connection included. The client itself would wait for ever, and a
/// network that swallows what is sent to the hub must not keep a worker from the model in its cache.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch<'a> {
    /// A file begins, or begins again after its connection broke.
    Begins {
        /// Its name at the hub.
        file: &'a str,
        /// Its length.
        bytes: u64,
    },
    /// So many more bytes are here.
    Came(u64),
    /// The file is here.
    Ended,
}

/// What hears how transfers go.
pub type OnFetch<'a> = dyn FnMut(Fetch<'_>) + Send + 'a;

/// What is wanted of the hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: &'a str,
    pub(crate) revision: Option<&'a str>,
    /// A GGUF file; otherwise the safetensors with what belongs to them, or the only GGUF file.
    pub(crate) file: Option<&'a str>,
}

impl Wanted<'_> {
    fn revision(&self) -> &str {
        self.revision.unwrap_or("main")
    }
}

/// The hub and the cache of its tools.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    cache: PathBuf,
    /// `None` is the public hub.
    endpoint: Option<String>,
    token: Option<String>,
    offline: bool,
    patience: Duration,
}

/// Why nothing was fetched.
enum Trouble {
    /// The hub could not be asked: what the cache holds will do.
    Unreachable(String),
    /// The hub answered, and asking again would not help.
    Final(LoadError),
}

impl Hub {
    /// As the environment says: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    pub(crate) fn from_env() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let text = |name| set(name).map(|value| value.to_string_lossy().trim().to_owned());
        let user_cache = || {
            let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
            cache.or_else(|| set("HOME").map(|user| PathBuf::from(user).join(".cache"))).unwrap_or_default()
        };
        let home = set("HF_HOME").map_or_else(|| user_cache().join("huggingface"), PathBuf::from);
        let saved = || fs::read_to_string(home.join("token")).ok().map(|token| token.trim().to_owned());
        Self {
            cache: set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            endpoint: text("HF_ENDPOINT"),
            token: text("HF_TOKEN").or_else(saved).filter(|token| !token.is_empty()),
            offline: text("HF_HUB_OFFLINE")
                .is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str())),
            patience: PATIENCE,
        }
    }

    /// The model's GGUF file or folder on this machine, fetched if need be.
    ///
    /// # Errors
    /// [`LoadError::Hub`] if it is not here and cannot be fetched, [`LoadError::Missing`] if it is not here and
    /// nothing may be fetched, [`LoadError::Digest`] if something else came than was promised.
    pub(crate) fn find(&self, wanted: &Wanted<'_>, on_fetch: &mut OnFetch<'_>) -> Result<PathBuf, LoadError> {
        let here = self.cached(wanted);
        if self.offline || (is_commit(wanted.revision()) && here.is_ok()) {
            return here;
        }
        // The client asserts what a server promises, and a strange server must not end this process.
        let fetched = thread::scope(|scope| scope.spawn(|| self.fetch(wanted, on_fetch)).join());
        let broken = || Trouble::Final(refusal(wanted, "the client of the hub broke off on its answer"));
        match (fetched.unwrap_or_else(|_| Err(broken())), here) {
            (Ok(path), _) => Ok(path),
            (Err(Trouble::Unreachable(reason)), Ok(path)) => {
                tracing::warn!(
                    model = wanted.id,
                    reason,
                    path = %path.display(),
                    "the hub cannot be reached, so the files in the cache are used"
                );
                Ok(path)
            }
            (Err(Trouble::Unreachable(reason)), Err(_)) => Err(refusal(
                wanted,
                &format!(
                    "the hub{} cannot be reached ({reason}) and {} does not hold the model; copy it there, or give the \
                     path of a model",
                    self.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default(),
                    self.cache.display()
                ),
            )),
            (Err(Trouble::Final(error)), _) => Err(error),
        }
    }

    /// The model as the cache has it.
    pub(crate) fn cached(&self, wanted: &Wanted<'_>) -> Result<PathBuf, LoadError> {
        let folder = self.cache.join(format!("models--{}", wanted.id.replace('/', "--")));
        let revision = wanted.revision();
        // A branch or tag is a file that holds the commit; a commit names its snapshot itself.
        let commit =
            fs::read_to_string(folder.join("refs").join(revision)).unwrap_or_else(|_| revision.to_owned());
        let commit = commit.trim();
        let snapshot = folder.join("snapshots").join(if is_plain(commit) { commit } else { "unknown" });
        let missing = |advice: String| LoadError::Missing { path: snapshot.clone(), advice };
        let absent = || missing("unset HF_HUB_OFFLINE to fetch it from the hub".to_owned());
        if let Some(file) = wanted.file {
            let path = snapshot.join(file);
            return if path.is_file() { Ok(path) } else { Err(absent()) };
        }
        if is_whole(&snapshot) {
            return Ok(snapshot);
        }
        let entries = fs::read_dir(&snapshot).map_err(|_| absent())?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
        files.sort();
        match files.as_slice() {
            [file] => Ok(file.clone()),
            [] => Err(absent()),
            [first, ..] => {
                let name = first.file_name().unwrap_or_default().to_string_lossy();
                Err(missing(format!(
                    "it holds several GGUF files; name one, such as {}",
                    named(wanted, &name)
                )))
            }
        }
    }

    /// Asks the hub for the commit and fetches what is not here of it.
    fn fetch(&self, wanted: &Wanted<'_>, on_fetch: &mut OnFetch<'_>) -> Result<PathBuf, Trouble> {
        let api = self.api().map_err(|error| trouble(wanted, &error))?;
        let repo =
            |revision: &str| Repo::with_revision(wanted.id.to_owned(), RepoType::Model, revision.to_owned());
        let info =
            self.ask(&api.repo(repo(wanted.revision()))).map_err(|error| unanswered(wanted, &error))?;
        if !is_commit(&info.sha) {
            return Err(Trouble::Final(refusal(wanted, "the hub names no commit; is HF_ENDPOINT right?")));
        }
        let names: Vec<&str> = info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
        let files = choose(wanted, &names).map_err(|reason| Trouble::Final(refusal(wanted, &reason)))?;
        let folder = self.cache.join(format!("models--{}", wanted.id.replace('/', "--")));
        let snapshot = folder.join("snapshots").join(&info.sha);
        let commit = api.repo(repo(&info.sha));
        for file in &files {
            fetch_file(wanted, &commit, &snapshot, file, on_fetch)?;
        }
        if wanted.revision() != info.sha {
            let noted = Cache::new(self.cache.clone()).repo(repo(wanted.revision())).create_ref(&info.sha);
            noted.map_err(|source| Trouble::Final(LoadError::Io { path: folder, source }))?;
        }
        match files.as_slice() {
            [file] if file.ends_with(".gguf") => Ok(snapshot.join(file)),
            _ => Ok(snapshot),
        }
    }

    /// Which commit a revision is at, and its files.
    fn ask(&self, revision: &ApiRepo) -> Result<RepoInfo, ureq::Error> {
        let question = revision.info_request().config().timeout_global(Some(self.patience)).build();
        question.call()?.body_mut().read_json()
    }

    fn api(&self) -> Result<Api, ApiError> {
        let builder = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_token(self.token.clone())
            .with_user_agent("countermove", env!("CARGO_PKG_VERSION"));
        match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/').to_owned()).build(),
            None => builder.build(),
        }
    }
}

/// Fetches one file of a commit unless it is here, going on where an earlier transfer stopped.
fn fetch_file(
    wanted: &Wanted<'_>,
    commit: &ApiRepo,
    snapshot: &Path,
    file: &str,
    on_fetch: &mut OnFetch<'_>,
) -> Result<(), Trouble> {
    let path = snapshot.join(file);
    let mut resumes = 0;
    while !path.is_file() {
        let told = Told { on_fetch: &mut *on_fetch, has_begun: false };
        match commit.download_with_progress(file, told) {
            Ok(path) => return check_digest(&path).map_err(Trouble::Final),
            // Another process fetches it, and holds the lock no longer than it lives.
            Err(ApiError::LockAcquisition(_)) => {}
            Err(error) => match trouble(wanted, &error) {
                Trouble::Unreachable(_) if resumes < RESUMES => {
                    resumes += 1;
                    thread::sleep(Duration::from_millis(200 << resumes));
                }
                trouble => return Err(trouble),
            },
        }
    }
    Ok(())
}

/// Large files are named by their digest; what differs goes away, so that the next try fetches it again.
fn check_digest(path: &Path) -> Result<(), LoadError> {
    let io = |source| LoadError::Io { path: path.to_path_buf(), source };
    let blob = fs::canonicalize(path).map_err(io)?;
    let expected = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if expected.len() != 64 || !expected.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let found = sha256_file(&blob)?;
    if found == expected {
        return Ok(());
    }
    for damaged in [path, &blob] {
        // If it stays, the digest is what tells, here and when the model is compared with that of other workers.
        let _ = fs::remove_file(damaged);
    }
    Err(LoadError::Digest { path: path.to_path_buf(), found, expected })
}

/// Passes the client's progress on.
struct Told<'a, 'b> {
    on_fetch: &'a mut OnFetch<'b>,
    /// The client tells the beginning of one transfer twice.
    has_begun: bool,
}

impl Progress for Told<'_, '_> {
    fn init(&mut self, size: usize, filename: &str) {
        if !std::mem::replace(&mut self.has_begun, true) {
            (self.on_fetch)(Fetch::Begins { file: filename, bytes: size as u64 });
        }
    }

    fn update(&mut self, size: usize) {
        (self.on_fetch)(Fetch::Came(size as u64));
    }

    fn finish(&mut self) {
        (self.on_fetch)(Fetch::Ended);
    }
}

/// Which files of a listing make the model.
fn choose<'a>(wanted: &Wanted<'_>, names: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let names: Vec<&str> = names.iter().copied().filter(|name| is_plain(name)).collect();
    let has = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    if let Some(file) = wanted.file {
        return has(file).map(|file| vec![file]).ok_or_else(|| format!("it has no file {file}"));
    }
    let is_shard =
        |name: &&str| name.starts_with("model-") && name.ends_with(".safetensors") && !name.contains('/');
    let index = has("model.safetensors.index.json");
    let weights: Vec<&str> = match index {
        Some(index) => names.iter().copied().filter(is_shard).chain([index]).collect(),
        None => has("model.safetensors").into_iter().collect(),
    };
    if let (Some(config), false) = (has("config.json"), weights.is_empty()) {
        let beside =
            ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
        return Ok(std::iter::once(config)
            .chain(beside.into_iter().filter_map(has))
            .chain(weights)
            .collect());
    }
    let files: Vec<&str> = names.iter().copied().filter(|name| name.ends_with(".gguf")).collect();
    match files.as_slice() {
        [file] => Ok(vec![file]),
        [] => Err("it has neither a GGUF file nor config.json with model.safetensors".to_owned()),
        [first, ..] => Err(format!(
            "it has {} GGUF files; name one, such as {}: {}",
            files.len(),
            named(wanted, first),
            files.join(", ")
        )),
    }
}

/// How a file of the model is asked for.
fn named(wanted: &Wanted<'_>, file: &str) -> String {
    let revision = wanted.revision.map(|revision| format!("@{revision}")).unwrap_or_default();
    format!("hf:{}{revision}/{file}", wanted.id)
}

/// Whether a folder of the cache has a model in safetensors with all its files: a transfer may have been cut.
fn is_whole(snapshot: &Path) -> bool {
    let has = |name: &str| snapshot.join(name).is_file();
    let index = snapshot.join("model.safetensors.index.json");
    let has_weights = if index.is_file() {
        shard_names(&index).is_ok_and(|names| names.iter().all(|name| has(name)))
    } else {
        has("model.safetensors")
    };
    has_weights && has("config.json") && has("tokenizer.json")
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn refusal(wanted: &Wanted<'_>, reason: &str) -> LoadError {
    LoadError::Hub { id: wanted.id.to_owned(), reason: reason.to_owned() }
}

fn trouble(wanted: &Wanted<'_>, error: &ApiError) -> Trouble {
    let last = |reason: String| Trouble::Final(refusal(wanted, &reason));
    match error {
        ApiError::RequestError(error) => unanswered(wanted, error),
        ApiError::IoError(error) => Trouble::Unreachable(error.to_string()),
        ApiError::InvalidResume => last(
            "what an earlier transfer left does not fit; delete the files *.part in the model's folder of the cache"
                .to_owned(),
        ),
        other => last(format!("the hub's answer is not understood ({other}); is HF_ENDPOINT right?")),
    }
}

/// What a request means that brought nothing.
fn unanswered(wanted: &Wanted<'_>, error: &ureq::Error) -> Trouble {
    let last = |reason: String| Trouble::Final(refusal(wanted, &reason));
    match error {
        ureq::Error::StatusCode(code @ (401 | 403)) => last(format!(
            "the hub refuses it (status {code}): it does not exist, or it needs a token in HF_TOKEN that may read it, of \
             somebody who has accepted its terms"
        )),
        ureq::Error::StatusCode(404) => {
            last(format!("the hub has no such model with a revision {}", wanted.revision()))
        }
        ureq::Error::StatusCode(code @ (408 | 429 | 500..)) => {
            Trouble::Unreachable(format!("it answered with status {code}"))
        }
        ureq::Error::StatusCode(code) => last(format!("the hub answered with status {code}")),
        ureq::Error::Timeout(_) => Trouble::Unreachable("it did not answer in time".to_owned()),
        ureq::Error::Io(error) => Trouble::Unreachable(error.to_string()),
        error => Trouble::Unreachable(error.to_string()),
    }
}
