//! Checkpoints: what a store held at some time, in one hash that covers the one before.
//!
//! A checkpoint names the incidents whose logs grew since the one before, with the new ends, and those that were forgotten as their
//! time was over. So the last checkpoint that names an incident says how far its log went at least, and all checkpoints together
//! say which incidents there are.

use std::collections::BTreeMap;

use countermove_proto::IncidentId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::keys::{Signature, SignatureFault, TrustedKeys};
use super::{AuditChain, Hash};

/// The end of an incident's log, as a checkpoint names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// The incident.
    pub incident: IncidentId,
    /// Number of its last event; 0 for an incident that was forgotten.
    pub sequence: u64,
    /// Hash of that event; zeros for one that was forgotten.
    pub hash: Hash,
}

/// What a store held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The store.
    pub store: Uuid,
    /// Its number, from 1 without gaps.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub time: u64,
    /// Hash of the one before; zeros before the first.
    pub previous: Hash,
    /// How many heads it names.
    pub heads: u64,
    /// [`heads_digest`] of them.
    pub heads_sha256: Hash,
    /// How far the audit log went.
    pub audit: AuditChain,
}

/// A checkpoint with its signature. As a line of text it is one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// By whom.
    pub signature: Signature,
}

/// Why a line is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is not of this form.
    #[error("it is no checkpoint: {0}")]
    Malformed(String),
    /// Its signature is none, or not of what it says.
    #[error(transparent)]
    Signature(#[from] SignatureFault),
}

/// The digest of heads, which stand in the order of their incidents: of 56 bytes each, incident, number as a big-endian `u64`, hash.
pub fn heads_digest(heads: &[Head]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"countermove.heads.v1\0");
    for head in heads {
        hasher.update(head.incident.as_bytes());
        hasher.update(head.sequence.to_be_bytes());
        hasher.update(head.hash);
    }
    hasher.finalize().into()
}

impl Checkpoint {
    /// What is signed: `SHA-256("countermove.checkpoint.v1" ‖ 0 ‖ store ‖ number ‖ time ‖ previous ‖ heads ‖ heads_sha256 ‖ audit
    /// number ‖ audit hash)`, the store as its 16 bytes, numbers as big-endian `u64`.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"countermove.checkpoint.v1\0");
        hasher.update(self.store.as_bytes());
        hasher.update(self.number.to_be_bytes());
        hasher.update(self.time.to_be_bytes());
        hasher.update(self.previous);
        hasher.update(self.heads.to_be_bytes());
        hasher.update(self.heads_sha256);
        hasher.update(self.audit.number.to_be_bytes());
        hasher.update(self.audit.hash);
        hasher.finalize().into()
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Version of this form.
    countermove_checkpoint: u32,
    store: String,
    number: u64,
    time: u64,
    previous: String,
    heads: u64,
    heads_sha256: String,
    audit_entries: u64,
    audit_sha256: String,
    signature: String,
}

impl Signed {
    /// One line, without its end.
    pub fn to_line(&self) -> String {
        let Checkpoint { store, number, time, previous, heads, heads_sha256, audit } = self.checkpoint;
        let line = Line {
            countermove_checkpoint: 1,
            store: store.to_string(),
            number,
            time,
            previous: hex::encode(previous),
            heads,
            heads_sha256: hex::encode(heads_sha256),
            audit_entries: audit.number,
            audit_sha256: hex::encode(audit.hash),
            signature: hex::encode(self.signature.to_bytes()),
        };
        // Numbers and texts always have a form in JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// The checkpoint of a line, if one of these keys signed it.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn from_line(line: &str, trusted: &TrustedKeys) -> Result<Self, LineError> {
        let signed = Self::read(line)?;
        trusted.check(&signed.checkpoint.hash(), &signed.signature.to_bytes())?;
        Ok(signed)
    }

    /// The checkpoint of a line, whoever wrote it.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn read(line: &str) -> Result<Self, LineError> {
        let malformed = |problem: &str| LineError::Malformed(problem.to_owned());
        let line: Line = serde_json::from_str(line.trim()).map_err(|error| malformed(&error.to_string()))?;
        if line.countermove_checkpoint != 1 {
            return Err(malformed("a later release wrote it"));
        }
        let hash = |text: &str| -> Result<Hash, LineError> {
            let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| malformed("a hash has 64 hexadecimal digits"))
        };
        let checkpoint = Checkpoint {
            store: line.store.parse().map_err(|_| malformed("its store has no id"))?,
            number: line.number,
            time: line.time,
            previous: hash(&line.previous)?,
            heads: line.heads,
            heads_sha256: hash(&line.heads_sha256)?,
            audit: AuditChain { number: line.audit_entries, hash: hash(&line.audit_sha256)? },
        };
        let bytes = hex::decode(&line.signature).map_err(|_| SignatureFault::Malformed)?;
        let signature = Signature::from_bytes(&bytes).ok_or(SignatureFault::Malformed)?;
        Ok(Self { checkpoint, signature })
    }
}

/// What all checkpoints of a store say together, as far as they were read.
#[derive(Clone, Debug, Default)]
pub struct Anchored {
    last: Option<Checkpoint>,
    hashes: Vec<Hash>,
    heads: BTreeMap<IncidentId, Head>,
}

impl Anchored {
    /// Takes the next checkpoint and the heads that it names.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence about the checkpoint that should come.
    pub fn take(&mut self, checkpoint: &Checkpoint, heads: &[Head]) -> Result<(), String> {
        let number = self.count() + 1;
        if checkpoint.number != number {
            return Err(format!(
                "is missing; the next one that is there has the number {}",
                checkpoint.number
            ));
        }
        if self.last.is_some_and(|last| last.store != checkpoint.store) {
            return Err("is of another store".to_owned());
        }
        if checkpoint.previous != self.hashes.last().copied().unwrap_or_default() {
            return Err("does not follow the one before".to_owned());
        }
        if checkpoint.heads != heads.len() as u64 || heads_digest(heads) != checkpoint.heads_sha256 {
            return Err("names other incidents than it did when it was signed".to_owned());
        }
        self.hashes.push(checkpoint.hash());
        self.heads.extend(heads.iter().map(|head| (head.incident, *head)));
        self.last = Some(*checkpoint);
        Ok(())
    }

    /// How many checkpoints were read.
    pub fn count(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// The last one.
    pub fn last(&self) -> Option<&Checkpoint> {
        self.last.as_ref()
    }

    /// Hash of the checkpoint with this number.
    pub fn hash(&self, number: u64) -> Option<Hash> {
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        self.hashes.get(place).copied()
    }

    /// The last end of each incident's log that a checkpoint names, without those that were forgotten.
    pub fn heads(&self) -> impl Iterator<Item = &Head> {
        self.heads.values().filter(|head| head.sequence > 0)
    }

    /// The last end of an incident's log.
    pub fn head(&self, incident: IncidentId) -> Option<&Head> {
        self.heads.get(&incident).filter(|head| head.sequence > 0)
    }

    /// Compares with a checkpoint that was written down elsewhere.
    ///
    /// # Errors
    /// What is wrong with the store, as a sentence.
    pub fn compare(&self, anchor: &Checkpoint) -> Result<(), String> {
        if self.last.is_some_and(|last| last.store != anchor.store) {
            return Err(format!("the anchor is of the store {}, and this is another one", anchor.store));
        }
        match self.hash(anchor.number) {
            None => Err(format!(
                "the store ends with checkpoint {}, and the anchor has number {}: an earlier state was put in its place, or \
                 checkpoints were removed",
                self.count(),
                anchor.number
            )),
            Some(hash) if hash != anchor.hash() => Err(format!(
                "checkpoint {} of the store is not the one that the anchor has: what came before it was written anew",
                anchor.number
            )),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::{FileKey, Signer};

    fn head(sequence: u64) -> Head {
        Head { incident: IncidentId::generate(), sequence, hash: [3; 32] }
    }

    fn checkpoint(number: u64, previous: Hash, heads: &[Head]) -> Checkpoint {
        Checkpoint {
            store: Uuid::from_bytes([9; 16]),
            number,
            time: 5,
            previous,
            heads: heads.len() as u64,
            heads_sha256: heads_digest(heads),
            audit: AuditChain { number: 2, hash: [4; 32] },
        }
    }

    #[test]
    fn what_was_done_to_checkpoints_shows() {
        let (first, second) = ([head(3), head(4)], [head(5)]);
        let one = checkpoint(1, [0; 32], &first);
        let two = checkpoint(2, one.hash(), &second);
        let mut whole = Anchored::default();
        whole.take(&one, &first).unwrap();
        assert!(whole.compare(&two).unwrap_err().contains("ends with checkpoint 1"));
        whole.take(&two, &second).unwrap();
        assert_eq!((whole.count(), whole.heads().count(), whole.last()), (2, 3, Some(&two)));
        assert_eq!((whole.compare(&one), whole.compare(&two)), (Ok(()), Ok(())));
        assert_eq!(whole.head(first[1].incident), Some(&first[1]));
        let read = |list: &[(Checkpoint, &[Head])]| {
            let mut read = Anchored::default();
            list.iter().try_for_each(|(checkpoint, heads)| read.take(checkpoint, heads))
        };
        let other = Checkpoint { time: 6, ..one };
        for (list, problem) in [
            (vec![(two, &second[..])], "is missing"),
            (vec![(one, &first[..1])], "names other incidents"),
            (
                vec![(one, &first[..]), (Checkpoint { store: Uuid::nil(), ..two }, &second[..])],
                "another store",
            ),
            (vec![(other, &first[..]), (two, &second[..])], "does not follow"),
        ] {
            assert!(read(&list).unwrap_err().contains(problem), "{problem}");
        }
        let mut rewritten = Anchored::default();
        rewritten.take(&other, &first).unwrap();
        assert!(rewritten.compare(&one).unwrap_err().contains("written anew"));
        // One that is forgotten is not looked for any more.
        let gone = [Head { sequence: 0, hash: [0; 32], ..first[0] }];
        let three = checkpoint(3, two.hash(), &gone);
        whole.take(&three, &gone).unwrap();
        assert_eq!((whole.heads().count(), whole.head(first[0].incident)), (2, None));
    }

    #[test]
    fn a_line_comes_back_and_a_changed_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let key = FileKey::open(&folder.path().join("key")).unwrap();
        let trusted = TrustedKeys::new([key.key()]);
        let checkpoint = checkpoint(1, [7; 32], &[]);
        let signature = key.sign(checkpoint.hash()).now_or_never().unwrap().unwrap();
        let signed = Signed { checkpoint, signature };
        let line = signed.to_line();
        assert_eq!(Signed::from_line(&line, &trusted).unwrap(), signed);
        assert!(Signed::from_line(&line, &TrustedKeys::default()).is_err());
        for (from, to) in [
            ("\"number\":1", "\"number\":2"),
            ("\"time\":5", "\"time\":6"),
            ("0707", "0807"),
            ("\"audit_entries\":2", "\"audit_entries\":1"),
        ] {
            let changed = line.replacen(from, to, 1);
            assert_ne!(changed, line);
            assert!(matches!(Signed::from_line(&changed, &trusted), Err(LineError::Signature(_))), "{from}");
        }
        let later = line.replace("checkpoint\":1", "checkpoint\":2");
        assert!(matches!(Signed::from_line(&later, &trusted), Err(LineError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_reader(line: String, field in "[a-z0-9\\\\\":{},]{0,80}") {
            let trusted = TrustedKeys::default();
            prop_assert!(Signed::from_line(&line, &trusted).is_err());
            let begun = format!("{{\"countermove_checkpoint\":1,{field}}}");
            prop_assert!(Signed::from_line(&begun, &trusted).is_err());
        }
    }
}
