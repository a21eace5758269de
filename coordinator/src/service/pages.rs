//! Pages of lists: how many entries, and the token that says where the next page begins.
//!
//! A token is opaque to callers: the list it belongs to, the key of the last entry and a checksum, in hexadecimal. It
//! stays good while entries come and go, since it names a key and not a position.

use countermove_proto::Error;
use sha2::{Digest, Sha256};

const DEFAULT: usize = 50;
const MOST: usize = 1000;
const CHECKSUM: usize = 6;

/// Lists that have pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Incidents,
    Workers,
    Tokens,
    AuditEntries,
    Checkpoints,
}

impl List {
    fn tag(self) -> u8 {
        match self {
            Self::Incidents => 1,
            Self::Workers => 2,
            Self::Tokens => 3,
            Self::AuditEntries => 4,
            Self::Checkpoints => 5,
        }
    }

    /// The token of the page after the entry with this key.
    pub(crate) fn token(self, key: &[u8]) -> String {
        let mut bytes = vec![self.tag()];
        bytes.extend_from_slice(key);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum[..CHECKSUM]);
        hex::encode(bytes)
    }

    /// The key after which a page begins; `None` for the first page.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the token was not made by this list.
    pub(crate) fn key(self, token: &str) -> Result<Option<Vec<u8>>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = || {
            Error::invalid("page_token", "it is not the `next_page_token` of an earlier page of this list")
        };
        let bytes = hex::decode(token).map_err(|_| refused())?;
        let end = bytes.len().checked_sub(CHECKSUM).filter(|&end| end >= 1).ok_or_else(refused)?;
        let (content, checksum) = bytes.split_at(end);
        if content[0] != self.tag() || Sha256::digest(content)[..CHECKSUM] != *checksum {
            return Err(refused());
        }
        Ok(Some(content[1..].to_vec()))
    }
}

/// Entries of a page. 0 asks for the default; more than the most are cut to that.
///
/// # Errors
/// [`Error::InvalidArgument`] for a negative number.
pub(crate) fn page_size(asked: i32) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MOST)),
        Err(_) => Err(Error::invalid("page_size", format!("it is {asked}, and it must not be negative"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_a_default_and_a_bound() {
        assert_eq!(page_size(0), Ok(50));
        assert_eq!(page_size(7), Ok(7));
        assert_eq!(page_size(i32::MAX), Ok(1000));
        assert!(page_size(-1).is_err());
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let token = List::Workers.token(b"http://a:1");
        assert_eq!(List::Workers.key(&token), Ok(Some(b"http://a:1".to_vec())));
        assert!(List::Incidents.key(&token).is_err());
        assert_eq!(List::Incidents.key(""), Ok(None));
    }

    proptest! {
        #[test]
        fn tokens_come_back(key in proptest::collection::vec(any::<u8>(), 0..64)) {
            let token = List::Incidents.token(&key);
            prop_assert_eq!(List::Incidents.key(&token), Ok(Some(key)));
        }

        #[test]
        fn a_changed_token_is_refused(key in proptest::collection::vec(any::<u8>(), 1..32), at: usize, with in "[0-9a-f]") {
            let mut token = List::Incidents.token(&key);
            let at = at % token.len();
            if token[at..=at] != with {
                token.replace_range(at..=at, &with);
                prop_assert!(List::Incidents.key(&token).is_err());
            }
        }

        #[test]
        fn nothing_breaks_the_parser(token in "\\PC{0,60}") {
            let _ = List::Incidents.key(&token);
        }
    }
}
