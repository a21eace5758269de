//! Who calls, as the gate found out, and what the services ask about it.

use std::sync::Arc;
use std::time::SystemTime;

use countermove_proto::{Error, Tenant, TokenId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Policy;
use super::grants::{Grants, Role};
use super::rights::Right;
use super::tokens::Tokens;

/// Name of the caller with the first token.
pub(super) const FIRST: &str = "first-token";

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The name that goes into the record; empty where nobody is asked.
    pub name: String,
    /// What it may do.
    pub grants: Grants,
    /// When what it showed expires.
    pub expires: Option<SystemTime>,
    /// The token by which it calls.
    #[serde(skip)]
    pub token: Option<TokenId>,
}

impl Principal {
    /// Whoever works on this machine, where nobody is asked.
    pub fn local() -> Self {
        Self { name: String::new(), grants: Grants::all(), expires: None, token: None }
    }

    /// Whether it stands for one person: what calls by a token of ours is a service, and whoever administers can make more of them.
    pub fn is_person(&self) -> bool {
        self.name.parse::<TokenId>().is_err() && self.name != FIRST
    }

    /// For whom its calls count: the only tenant in which it has a role, else itself.
    pub(super) fn account(&self) -> String {
        match self.grants.only(&Role::ALL) {
            Some(tenant) => format!("tenants/{tenant}"),
            None => format!("callers/{}", self.name),
        }
    }

    /// Whether the name is one that was proven.
    pub fn is_known(&self) -> bool {
        !self.name.is_empty()
    }
}

/// One call: who makes it, and what it needs.
#[derive(Clone)]
pub struct Caller {
    pub(crate) principal: Arc<Principal>,
    pub(crate) right: &'static Right,
    /// Whether another coordinator passed it on.
    pub(crate) is_passed_on: bool,
    pub(crate) tokens: Option<Tokens>,
    /// By what it was judged, as seen then; absent where nobody is asked.
    pub(crate) policy: Option<watch::Receiver<Arc<Policy>>>,
}

/// Why a caller is not let in any further.
pub(crate) enum Over {
    /// What it showed has expired or was revoked.
    Gone,
    /// Who may do what has changed.
    Changed,
}

impl Caller {
    /// Who called, of a request that came through the gate.
    ///
    /// # Errors
    /// [`Error::Internal`] if it did not: nothing is answered then.
    pub(crate) fn of(extensions: &tonic::Extensions) -> Result<Self, Error> {
        let fault = || Error::Internal("the call came by no gate that knows who calls".to_owned());
        extensions.get::<Self>().cloned().ok_or_else(fault)
    }

    /// The name for the record.
    pub(crate) fn name(&self) -> &str {
        &self.principal.name
    }

    /// Whether everything is open to it, so that nothing has to be looked up.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.principal.grants.any_everywhere(self.right.roles)
    }

    /// Whether it may see that there is anything in the tenant.
    pub(crate) fn sees(&self, tenant: &Tenant) -> bool {
        use super::grants::Role::{Approver, Responder, Viewer};
        self.principal.grants.any_in(tenant, &[Viewer, Responder, Approver])
    }

    /// Whether it may do in the tenant what the call does.
    pub(crate) fn may(&self, tenant: &Tenant) -> bool {
        self.principal.grants.any_in(tenant, self.right.roles)
    }

    /// The tenant for something new: the one that was asked for, else the only one there is for this caller.
    ///
    /// # Errors
    /// [`Error::Denied`] if it may not, [`Error::InvalidArgument`] if it has to say which.
    pub(crate) fn tenant(&self, asked: &str) -> Result<Tenant, Error> {
        let grants = &self.principal.grants;
        let tenant = match asked {
            "" => match grants.only(self.right.roles) {
                Some(only) => only.clone(),
                None => Tenant::default(),
            },
            name => Tenant::new(name).map_err(|error| Error::invalid("tenant", error.to_string()))?,
        };
        match (self.may(&tenant), asked) {
            (true, _) => Ok(tenant),
            (false, "") => Err(Error::invalid("tenant", "this caller has several, so it has to say which")),
            (false, _) => Err(self.denied(&format!("in the tenant {}", tenant.as_str()))),
        }
    }

    /// That it may not, as an error.
    pub(crate) fn denied(&self, place: &str) -> Error {
        denied(&self.principal, self.right, place)
    }

    /// Ends when the caller has to show anew who it is: when what it showed has expired or was revoked, or the policy has changed.
    pub(crate) async fn over(mut self) -> Over {
        let expired = async {
            match self.principal.expires {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let revoked = async {
            match (self.principal.token, &self.tokens) {
                (Some(id), Some(tokens)) => tokens.revoked(id).await,
                _ => std::future::pending().await,
            }
        };
        let changed = async {
            match &mut self.policy {
                // Without a policy file, and when the process ends.
                None => std::future::pending().await,
                Some(policy) => match policy.changed().await {
                    Ok(()) => {}
                    Err(_) => std::future::pending().await,
                },
            }
        };
        tokio::select! {
            () = expired => Over::Gone,
            () = revoked => Over::Gone,
            () = changed => Over::Changed,
        }
    }
}

/// By the clock on the wall, which may be set meanwhile.
async fn sleep_until(at: SystemTime) {
    const LOOK: std::time::Duration = std::time::Duration::from_secs(30);
    while let Ok(left) = at.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(LOOK)).await;
        if left.is_zero() {
            return;
        }
    }
}

pub(super) fn denied(principal: &Principal, right: &Right, place: &str) -> Error {
    let roles: Vec<String> = right.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
    let call = right.call.rsplit('/').next().unwrap_or(right.call);
    let who = if principal.is_known() { principal.name.as_str() } else { "this caller" };
    Error::Denied(format!("{call} needs the role {} {place}, which {who} does not have", roles.join(" or ")))
}
