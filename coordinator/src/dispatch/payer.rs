//! On whose account model work is done, and how urgent it is.

use countermove_proto::Tenant;
use countermove_proto::v1::{Incident, Priority};

/// Whose share of the workers an incident uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Payer {
    priority: Priority,
    tenant: Tenant,
}

impl Payer {
    /// A priority that is not set is the normal one.
    pub fn new(priority: Priority, tenant: Tenant) -> Self {
        let priority = if priority == Priority::Unspecified { Priority::Normal } else { priority };
        Self { priority, tenant }
    }

    /// That of an incident as it is kept. What an earlier release left open, or a later one says in words that this one
    /// does not know, has the defaults: planning goes on in any case.
    pub(crate) fn of(incident: &Incident) -> Self {
        Self::new(incident.priority(), incident.tenant.parse().unwrap_or_default())
    }

    /// How urgent it is; never [`Priority::Unspecified`].
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The tenant.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}

impl Default for Payer {
    fn default() -> Self {
        Self::new(Priority::Normal, Tenant::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_without_tenant_and_priority_has_the_defaults() {
        assert_eq!(Payer::of(&Incident::default()), Payer::default());
        let odd = Incident { tenant: "a b".to_owned(), priority: 77, ..Incident::default() };
        assert_eq!(Payer::of(&odd), Payer::default());
        let known =
            Incident { tenant: "blue".into(), priority: Priority::Urgent.into(), ..Incident::default() };
        assert_eq!(Payer::of(&known), Payer::new(Priority::Urgent, "blue".parse().unwrap()));
    }
}
