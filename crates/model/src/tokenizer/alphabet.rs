//! The byte-level alphabet: how byte-level BPE vocabularies write bytes as printable characters.
//!
//! Printable Latin-1 stands for itself; the other 68 bytes are written, in order, as U+0100 and up. So a space is
//! `Ġ` (U+0120) and a line feed is `Ċ` (U+010A).

/// Whether a byte stands for itself.
fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that each of the first 0x144 characters stands for.
pub(super) struct Alphabet([Option<u8>; 0x144]);

impl Alphabet {
    pub(super) fn new() -> Self {
        let mut bytes = [None; 0x144];
        let mut next = 0x100;
        for byte in 0..=u8::MAX {
            if stands_for_itself(byte) {
                bytes[usize::from(byte)] = Some(byte);
            } else {
                bytes[next] = Some(byte);
                next += 1;
            }
        }
        Self(bytes)
    }

    /// The bytes that a token stands for; `None` if one of its characters is not of the alphabet.
    pub(super) fn decode(&self, token: &str) -> Option<Vec<u8>> {
        token.chars().map(|c| self.0.get(c as usize).copied().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let alphabet = Alphabet::new();
        let bytes: HashSet<u8> = alphabet.0.iter().copied().flatten().collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(alphabet.decode("ĠaĊ\u{143}ÿ"), Some(vec![b' ', b'a', b'\n', 0xad, 0xff]));
        assert_eq!(alphabet.decode("\u{144}"), None);
    }
}
