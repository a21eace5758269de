//! Who shares whose keys and values.
//!
//! A prefix that is found in the cache is found sooner than one that is not, and its length is counted. Whoever may find what
//! others asked learns it, guess by guess, token by token. So keys and values are shared within an owner alone; but for a
//! beginning that says nothing of anybody, such as an instruction.

use sha2::{Digest, Sha256};

use super::PAGE;

/// Whose a sequence is, and how many of its first tokens are nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    owner: Owner,
    common: usize,
}

/// Tells owners apart. A digest, so that a name of any length takes the same room.
pub(crate) type Owner = [u8; 16];

impl Scope {
    /// The scope of an owner's sequence whose first `common` tokens may be shared with everybody.
    pub fn of(owner: &str, common: usize) -> Self {
        Self { owner: owner_of(owner), common }
    }

    /// Who may find a sequence's page with this number; `None` is everybody. A page that holds anything of the owner is the
    /// owner's.
    pub(super) fn owner_of_page(self, page: usize) -> Option<Owner> {
        let is_common = page.saturating_add(1).saturating_mul(PAGE) <= self.common;
        (!is_common).then_some(self.owner)
    }

    /// How many tokens sequences of two scopes share at most, if they begin with the same ones.
    pub(crate) fn shared_with(self, other: Self) -> usize {
        if self == other { usize::MAX } else { self.common.min(other.common) / PAGE * PAGE }
    }
}

/// The owner of this name.
pub(crate) fn owner_of(name: &str) -> Owner {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let mut owner = Owner::default();
    owner.copy_from_slice(&digest[..16]);
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_everybodys_only_if_nothing_in_it_is_the_owners() {
        let scope = Scope::of("red", 40);
        assert_eq!([0, 1].map(|page| scope.owner_of_page(page)), [None, None]);
        assert_eq!([2, 3].map(|page| scope.owner_of_page(page)), [Some(owner_of("red")); 2]);
        assert_eq!(scope.owner_of_page(usize::MAX), Some(owner_of("red")));
        assert_eq!(scope.shared_with(scope), usize::MAX);
        assert_eq!(scope.shared_with(Scope::of("blue", 40)), 32);
        assert_eq!(scope.shared_with(Scope::of("blue", 15)), 0);
        assert_ne!(owner_of("red"), owner_of(""));
    }
}
