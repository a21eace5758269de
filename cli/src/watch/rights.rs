//! What the caller may do, so that nothing is offered that would be refused. The coordinator decides.

use countermove_proto::v1::{Grant, Role};

/// What may be asked of an incident that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Approve its action.
    Approve,
    /// Reject its action, or say what came of it.
    Act,
}

/// Who sits here, as the coordinator sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Caller {
    /// Empty: the coordinator asks nobody who calls, and whoever reaches it may do everything.
    pub(super) name: String,
    pub(super) grants: Vec<Grant>,
}

impl Caller {
    /// Whether it may do this to incidents of a tenant.
    pub(super) fn may(&self, deed: Deed, tenant: &str) -> bool {
        let roles = match deed {
            Deed::Approve => &[Role::Approver][..],
            Deed::Act => &[Role::Responder, Role::Approver],
        };
        let grants = |grant: &Grant| {
            let is_of_it = grant.tenant == "*" || grant.tenant == tenant;
            is_of_it && grant.roles().any(|role| roles.contains(&role))
        };
        self.name.is_empty() || self.grants.iter().any(grants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_hold_in_their_tenant() {
        let grant = |tenant: &str, role: Role| Grant { tenant: tenant.into(), roles: vec![role.into()] };
        let caller = |grants| Caller { name: "ann".into(), grants };
        let approver = caller(vec![grant("blue", Role::Approver)]);
        assert!(approver.may(Deed::Approve, "blue") && approver.may(Deed::Act, "blue"));
        assert!(!approver.may(Deed::Approve, "red"));
        let responder = caller(vec![grant("*", Role::Responder)]);
        assert!(responder.may(Deed::Act, "red") && !responder.may(Deed::Approve, "red"));
        assert!(!caller(vec![grant("*", Role::Viewer)]).may(Deed::Act, "red"));
        let open = Caller { name: String::new(), grants: Vec::new() };
        assert!(open.may(Deed::Approve, "red"), "where nobody is asked everybody may");
    }
}
