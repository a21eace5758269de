//! Who may call this coordinator, and what for.
//!
//! Every call goes through the [`Gate`]: it finds out who calls (a token of an OpenID Connect provider, one of our own, a
//! certificate, or another coordinator that passes the call on), looks up what the call needs ([`rights`]), and lets it through
//! or refuses it. The services ask the [`Caller`] about tenants, which only they know.
//!
//! What a page of another site makes a browser call is refused before anything else ([`Sites`]).
//!
//! Invariants: what has no row in the table of rights is answered to nobody. A certificate of a coordinator gives the right to
//! pass calls on, and none of its own; one of a worker gives none. Who calls is never taken from a field of a request. Each
//! refusal, and each call that changed something, is told to the [`Record`], once.

mod caller;
mod gate;
mod grants;
mod issuer;
mod keys;
mod origin;
mod policy;
mod quotas;
mod record;
mod rights;
mod settings;
mod signatures;
mod tokens;

use std::sync::Arc;

use countermove_transport::SpiffeId;

pub(crate) use caller::Over;
pub use caller::{Caller, Principal};
pub use gate::{Gate, Guarded};
pub(crate) use gate::{PASSED_ON, PRINCIPAL, carried};
pub use grants::{Grant, Grants, Role, Where};
pub use origin::Sites;
pub use policy::PolicyFile;
pub use quotas::{QuotaOptions, Quotas};
pub use record::{LogRecord, Record, Told};
pub use rights::{RIGHTS, Right, Scope, right};
pub use settings::SettingsError;
pub(crate) use tokens::not_found;
pub use tokens::{KeptToken, MemoryTokens, TokenStore, Tokens};

use issuer::Issuer;
use policy::TwoApprovers;

/// Whom a coordinator knows, and what they may do.
pub(crate) struct Policy {
    /// Whether who created an incident, or rejected its action, may not approve it.
    pub(crate) four_eyes: bool,
    /// What takes two people.
    two_approvers: Vec<TwoApprovers>,
    issuers: Vec<Issuer>,
    certificates: Vec<(SpiffeId, Grants)>,
    /// SHA-256 of the token that may do everything.
    first_token: Option<[u8; 32]>,
}

impl Policy {
    /// The same, with the keys of issuers that were fetched already.
    fn going_on_from(mut self, before: &Self) -> Self {
        for issuer in &mut self.issuers {
            let known = before.issuers.iter().find(|known| known.keys.come_from_the_same(&issuer.keys));
            if let Some(known) = known {
                issuer.keys = Arc::clone(&known.keys);
            }
        }
        self
    }
}
