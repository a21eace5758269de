//! Who is who in an incident: attackers, the defended system, and what in it is attacked.

use serde::{Deserialize, Serialize};

/// Who is who in an incident. Each entry occurs in the system description or in the alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Hosts, addresses or accounts that attack.
    pub attackers: Vec<String>,
    /// Hosts and addresses of the defended system.
    pub systems: Vec<String>,
    /// Those of them that the attack aims at.
    pub targets: Vec<String>,
}
