//! Roles in tenants.

use std::fmt;
use std::str::FromStr;

use countermove_proto::v1;
use countermove_proto::{Error, Tenant};
use serde::{Deserialize, Serialize};

use crate::incidents::View;

/// Grants of one caller at most.
const MOST: usize = 64;

/// What somebody may do in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees incidents.
    Viewer,
    /// Sees, creates, reports, rejects and cancels.
    Responder,
    /// All that a responder may, and approves.
    Approver,
    /// Sees and steers workers.
    Operator,
    /// Makes and revokes tokens.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Responder, Self::Approver, Self::Operator, Self::Admin];
}

/// Where roles are held: one tenant, or all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Where {
    /// In every tenant, `*`.
    Everywhere,
    /// In this one.
    In(Tenant),
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::Everywhere),
            "" => Err("a grant names its tenant, or `*` for all".to_owned()),
            name => Tenant::new(name).map(Self::In).map_err(|error| error.to_string()),
        }
    }
}

impl TryFrom<String> for Where {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Where> for String {
    fn from(place: Where) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("*"),
            Self::In(tenant) => f.write_str(tenant.as_str()),
        }
    }
}

/// Roles in one tenant, or in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where.
    pub tenant: Where,
    /// Which.
    pub roles: Vec<Role>,
}

/// All that somebody may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// These.
    pub fn new(grants: Vec<Grant>) -> Self {
        Self(grants)
    }

    /// Every role everywhere.
    pub fn all() -> Self {
        Self(vec![Grant { tenant: Where::Everywhere, roles: Role::ALL.to_vec() }])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|grant| grant.roles.is_empty())
    }

    /// These and others.
    pub fn extend(&mut self, more: &Self) {
        for grant in &more.0 {
            if !self.0.contains(grant) {
                self.0.push(grant.clone());
            }
        }
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    fn holds(&self, role: Role, at: impl Fn(&Where) -> bool) -> bool {
        self.0.iter().any(|grant| at(&grant.tenant) && grant.roles.contains(&role))
    }

    /// Whether one of these roles is held in the tenant.
    pub fn any_in(&self, tenant: &Tenant, roles: &[Role]) -> bool {
        roles.iter().any(|&role| self.holds(role, |place| place.covers(tenant)))
    }

    /// Whether one of these roles is held in all tenants.
    pub fn any_everywhere(&self, roles: &[Role]) -> bool {
        roles.iter().any(|&role| self.holds(role, |place| *place == Where::Everywhere))
    }

    /// Whether one of these roles is held anywhere.
    pub fn any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|&role| self.holds(role, |_| true))
    }

    /// The only tenant in which one of these roles is held, if there is one.
    pub fn only(&self, roles: &[Role]) -> Option<&Tenant> {
        let mut held = self.0.iter().filter(|grant| roles.iter().any(|role| grant.roles.contains(role)));
        let Where::In(first) = &held.next()?.tenant else { return None };
        held.all(|grant| matches!(&grant.tenant, Where::In(other) if other == first)).then_some(first)
    }

    /// Whose incidents can be read by who holds these.
    pub(super) fn view(&self) -> View {
        let mut tenants = Vec::new();
        for grant in self.0.iter().filter(|grant| !grant.roles.is_empty()) {
            match &grant.tenant {
                Where::Everywhere => return View::All,
                Where::In(tenant) => tenants.push(tenant.clone()),
            }
        }
        View::Of(tenants.into())
    }

    /// Whether who holds these administers all that the others are about.
    pub fn administers(&self, others: &Self) -> bool {
        others.0.iter().all(|grant| match &grant.tenant {
            Where::Everywhere => self.any_everywhere(&[Role::Admin]),
            Where::In(tenant) => self.any_in(tenant, &[Role::Admin]),
        })
    }

    /// As messages.
    pub fn to_messages(&self) -> Vec<v1::Grant> {
        let message = |grant: &Grant| v1::Grant {
            tenant: grant.tenant.to_string(),
            roles: grant.roles.iter().map(|&role| v1::Role::from(role).into()).collect(),
        };
        self.0.iter().map(message).collect()
    }

    /// What a request asks for.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the field `grants`.
    pub fn from_messages(messages: &[v1::Grant]) -> Result<Self, Error> {
        let refused = |problem: String| Error::invalid("grants", problem);
        if messages.is_empty() || messages.len() > MOST {
            return Err(refused(format!("there are {}, and 1 to {MOST} are taken", messages.len())));
        }
        let grant = |message: &v1::Grant| {
            let roles = message.roles.iter().map(|&role| {
                let known = v1::Role::try_from(role).ok().and_then(|role| Role::try_from(role).ok());
                known.ok_or_else(|| format!("there is no role {role}"))
            });
            let mut roles: Vec<Role> = roles.collect::<Result<_, _>>()?;
            roles.sort_unstable();
            roles.dedup();
            if roles.is_empty() {
                return Err(format!("no role is named for {}", message.tenant));
            }
            Ok(Grant { tenant: message.tenant.parse()?, roles })
        };
        messages.iter().map(grant).collect::<Result<_, String>>().map(Self).map_err(refused)
    }
}

impl Where {
    pub(super) fn covers(&self, tenant: &Tenant) -> bool {
        match self {
            Self::Everywhere => true,
            Self::In(own) => own == tenant,
        }
    }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Responder => Self::Responder,
            Role::Approver => Self::Approver,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}

impl TryFrom<v1::Role> for Role {
    type Error = ();

    fn try_from(role: v1::Role) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|&known| v1::Role::from(known) == role).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::new(name).unwrap()
    }

    fn grants(of: &[(&str, &[Role])]) -> Grants {
        let grant = |(place, roles): &(&str, &[Role])| Grant {
            tenant: place.parse().unwrap(),
            roles: roles.to_vec(),
        };
        Grants(of.iter().map(grant).collect())
    }

    #[test]
    fn a_role_counts_where_it_is_held() {
        let held = grants(&[("blue", &[Role::Viewer]), ("red", &[Role::Approver]), ("*", &[Role::Operator])]);
        assert!(
            held.any_in(&tenant("blue"), &[Role::Viewer]) && !held.any_in(&tenant("blue"), &[Role::Approver])
        );
        assert!(
            held.any_in(&tenant("green"), &[Role::Operator])
                && !held.any_in(&tenant("green"), &[Role::Viewer])
        );
        assert!(
            held.any_everywhere(&[Role::Operator]) && !held.any_everywhere(&[Role::Viewer, Role::Approver])
        );
        assert!(held.any(&[Role::Approver]) && !held.any(&[Role::Admin]));
    }

    #[test]
    fn a_tenant_goes_without_saying_if_there_is_only_one() {
        let one = grants(&[("blue", &[Role::Responder]), ("red", &[Role::Viewer])]);
        assert_eq!(one.only(&[Role::Responder]), Some(&tenant("blue")));
        assert_eq!(one.only(&[Role::Responder, Role::Viewer]), None);
        assert_eq!(Grants::all().only(&[Role::Responder]), None);
    }

    #[test]
    fn a_view_is_of_the_tenants_in_which_a_role_is_held() {
        let held = grants(&[("blue", &[Role::Viewer]), ("red", &[])]);
        assert_eq!(held.view(), View::Of([tenant("blue")].into()));
        assert_eq!(Grants::default().view(), View::Of([].into()));
        assert_eq!(Grants::all().view(), View::All);
    }

    #[test]
    fn who_administers_some_gives_no_right_to_others() {
        let admin = grants(&[("blue", &[Role::Admin])]);
        assert!(admin.administers(&grants(&[("blue", &[Role::Approver])])));
        assert!(!admin.administers(&grants(&[("blue", &[Role::Approver]), ("red", &[Role::Viewer])])));
        assert!(!admin.administers(&grants(&[("*", &[Role::Viewer])])));
        assert!(Grants::all().administers(&grants(&[("*", &[Role::Admin])])));
    }

    #[test]
    fn messages_come_back_and_wrong_ones_are_refused() {
        let held = grants(&[("blue", &[Role::Viewer, Role::Admin]), ("*", &[Role::Operator])]);
        assert_eq!(Grants::from_messages(&held.to_messages()), Ok(held));
        let grant =
            |tenant: &str, roles: &[i32]| v1::Grant { tenant: tenant.to_owned(), roles: roles.to_vec() };
        for bad in [
            vec![],
            vec![grant("blue", &[])],
            vec![grant("blue", &[0])],
            vec![grant("blue", &[77])],
            vec![grant("a b", &[1])],
            vec![grant("", &[1])],
            vec![grant("blue", &[1]); 65],
        ] {
            assert!(matches!(Grants::from_messages(&bad), Err(Error::InvalidArgument(_))), "{bad:?}");
        }
    }
}
