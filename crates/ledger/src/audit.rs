//! The chain of the audit log.

use sha2::{Digest, Sha256};

use super::Hash;

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, from 1 without gaps.
    pub number: u64,
    /// The entry, encoded. These bytes are what the hash is about.
    pub entry: Vec<u8>,
    /// Chains it to the one before.
    pub hash: Hash,
}

/// The audit log as far as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditChain {
    /// Number of the last entry.
    pub number: u64,
    /// Its hash; zeros before the first.
    pub hash: Hash,
}

impl AuditChain {
    /// The record of the next entry: its hash is `SHA-256("countermove.audit.v1" ‖ 0 ‖ previous ‖ number ‖ len(entry) ‖ entry)`,
    /// numbers as big-endian `u64`.
    pub fn next(&self, entry: Vec<u8>) -> AuditRecord {
        let number = self.number.saturating_add(1);
        let mut hasher = Sha256::new();
        hasher.update(b"countermove.audit.v1\0");
        hasher.update(self.hash);
        hasher.update(number.to_be_bytes());
        hasher.update((entry.len() as u64).to_be_bytes());
        hasher.update(&entry);
        AuditRecord { number, hash: hasher.finalize().into(), entry }
    }

    /// Takes the next record of a log.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence about the entry that should come.
    pub fn take(&mut self, record: &AuditRecord) -> Result<(), String> {
        if record.number != self.number.saturating_add(1) {
            return Err(format!("is missing; the next one that is there has the number {}", record.number));
        }
        if self.next(record.entry.clone()).hash != record.hash {
            return Err("has a hash that does not fit its content and the entry before".to_owned());
        }
        *self = Self { number: record.number, hash: record.hash };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: u8) -> Vec<AuditRecord> {
        let mut chain = AuditChain::default();
        (0..count)
            .map(|number| {
                let record = chain.next(vec![number; 3]);
                chain.take(&record).unwrap();
                record
            })
            .collect()
    }

    fn read(records: &[AuditRecord]) -> (AuditChain, Result<(), String>) {
        let mut chain = AuditChain::default();
        let end = records.iter().try_for_each(|record| chain.take(record));
        (chain, end)
    }

    #[test]
    fn whatever_was_done_to_an_entry_shows_at_its_number() {
        let whole = records(5);
        assert_eq!(read(&whole), (AuditChain { number: 5, hash: whole[4].hash }, Ok(())));
        let edits: [fn(&mut Vec<AuditRecord>); 4] = [
            |records| records[2].entry = b"other".to_vec(),
            |records| records[2].hash = [0; 32],
            |records| drop(records.remove(2)),
            |records| records.swap(2, 3),
        ];
        for edit in edits {
            let mut changed = whole.clone();
            edit(&mut changed);
            let (chain, end) = read(&changed);
            assert_eq!(chain.number, 2);
            assert!(end.is_err());
        }
    }

    #[test]
    fn the_encoding_never_changes() {
        // Computed with Python's hashlib over the documented encoding.
        let record = AuditChain::default().next(b"entry".to_vec());
        assert_eq!(
            hex::encode(record.hash),
            "d5be923ce6a0cf4df6b9e5b8f8fa6ad93fc9c9cdaff03ee822d5a8afbefec15e"
        );
    }
}
