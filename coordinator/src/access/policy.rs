//! The policy that holds now: read from its file, and again whenever the file changes.
//!
//! Contract: a file that cannot be used changes nothing and is said in the log, once for each thing that is wrong with it. Calls that
//! come after a change are judged by the new policy, and streams that go on learn of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countermove_planner::ActionClass;
use countermove_proto::Tenant;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::grants::Where;
use super::{Policy, SettingsError, settings};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The policy of a file. Clones are the same.
#[derive(Clone)]
pub struct PolicyFile {
    path: Arc<Path>,
    now: watch::Sender<Arc<Policy>>,
}

impl PolicyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn open(path: PathBuf) -> Result<Self, SettingsError> {
        let policy = settings::read(&path)?;
        Ok(Self { path: path.into(), now: watch::Sender::new(Arc::new(policy)) })
    }

    /// What holds now.
    pub(crate) fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.now.borrow())
    }

    /// What holds now, and what will.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Policy>> {
        self.now.subscribe()
    }

    /// Takes what the file says whenever that changes. Never ends.
    pub async fn follow(self) {
        let (mut known, mut problem) = (None, String::new());
        loop {
            // The first look comes at once: the file may have changed since it was read.
            let content = content(&self.path);
            if known.as_ref() != Some(&content) {
                self.take(&mut problem, known.is_none());
                known = Some(content);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn take(&self, problem: &mut String, is_first: bool) {
        match settings::read(&self.path) {
            Ok(policy) => {
                let policy = policy.going_on_from(&self.now());
                self.now.send_replace(Arc::new(policy));
                if !is_first {
                    tracing::info!(file = %self.path.display(), "a new policy of who may call is in use");
                }
                problem.clear();
            }
            Err(error) => {
                let text = error.to_string();
                if *problem != text {
                    tracing::error!(error = text, "the new policy cannot be used; the old one stays in use");
                    *problem = text;
                }
            }
        }
    }
}

impl fmt::Debug for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyFile").field(&self.path).finish()
    }
}

/// A hash of all that the policy is read from; of a file that cannot be read, of why.
fn content(path: &Path) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in settings::files(path) {
        match std::fs::read(&file) {
            Ok(bytes) => hash.update(Sha256::digest(bytes)),
            Err(error) => hash.update(error.to_string()),
        }
    }
    hash.finalize().into()
}

/// Classes of actions that two people have to approve, in some tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TwoApprovers {
    pub(super) tenants: Vec<Where>,
    pub(super) classes: Vec<ActionClass>,
}

impl Policy {
    /// Classes of actions that two people have to approve in a tenant.
    pub(crate) fn two_approvers(&self, tenant: &Tenant) -> Arc<[ActionClass]> {
        let here =
            self.two_approvers.iter().filter(|rule| rule.tenants.iter().any(|place| place.covers(tenant)));
        here.flat_map(|rule| rule.classes.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "four_eyes = true\n[[grant]]\ncertificate = \"spiffe://example/user/ann\"\ntenants = [\"*\"]\nroles = [\"viewer\"]\n";

    async fn until(file: &PolicyFile, holds: impl Fn(&Policy) -> bool) {
        while !holds(&file.now()) {
            tokio::time::sleep(LOOK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_is_read_anew_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.toml");
        std::fs::write(&path, ONE).unwrap();
        let file = PolicyFile::open(path.clone()).unwrap();
        assert!(file.now().four_eyes);
        let following = tokio::spawn(file.clone().follow());
        tokio::time::sleep(LOOK).await;

        std::fs::write(&path, "four_eyes = maybe").unwrap();
        tokio::time::sleep(LOOK * 3).await;
        assert!(file.now().four_eyes, "what cannot be read changes nothing");

        let changed =
            ONE.replace("true", "false") + "[[two_approvers]]\ntenants = [\"blue\"]\nclasses = [\"all\"]\n";
        std::fs::write(&path, changed).unwrap();
        tokio::time::timeout(LOOK * 10, until(&file, |policy| !policy.four_eyes)).await.unwrap();
        let classes = |name| file.now().two_approvers(&Tenant::new(name).unwrap()).to_vec();
        assert_eq!((classes("blue"), classes("red")), (vec![ActionClass::All], vec![]));
        following.abort();
    }
}
