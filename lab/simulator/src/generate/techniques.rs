//! Techniques that fit a tactic and a host.

use Tactic::*;
use countermove_incident::{Tactic, technique};

use crate::data::{Kind, Os};
use crate::rng::Rng;
use crate::truth::Role;

/// What a technique has to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit<'a> {
    pub(super) tactic: Tactic,
    pub(super) os: Os,
    pub(super) role: Role,
    /// What the host's services have to do with.
    pub(super) kinds: &'a [Kind],
}

/// The technique that the flow names if it fits, else one that does.
pub(super) fn choose(named: &str, fit: Fit<'_>, rng: &mut Rng) -> String {
    if fits(named, fit) {
        return named.to_owned();
    }
    let usual: Vec<&str> = USUAL
        .iter()
        .filter(|(tactic, _)| *tactic == fit.tactic)
        .flat_map(|(_, ids)| ids.iter().copied())
        .filter(|id| fits(id, fit))
        .collect();
    rng.pick(&usual).copied().unwrap_or_default().to_owned()
}

/// Whether a technique exists, serves the tactic, and can be used on such a host.
pub(super) fn fits(id: &str, fit: Fit<'_>) -> bool {
    let serves = technique(id).is_some_and(|known| known.id == id && known.tactics.contains(&fit.tactic));
    serves
        && NEEDS.iter().filter(|(beginning, _)| id.starts_with(beginning)).all(|(_, need)| need.met_by(fit))
}

/// What a host has to be or to offer.
#[derive(Clone, Copy, Debug)]
enum Need {
    System(Os),
    Service(Kind),
    /// A person works there.
    Person,
    /// Machines talk to it; nobody reads mail there.
    Server,
    /// Something to log in to.
    Login,
    /// Seen in the cloud, in containers or in machines alone; never here.
    Elsewhere,
}

impl Need {
    fn met_by(self, fit: Fit<'_>) -> bool {
        match self {
            Need::System(os) => fit.os == os,
            Need::Service(kind) => fit.kinds.contains(&kind),
            Need::Person => fit.role == Role::Workstation,
            Need::Server => fit.role != Role::Workstation,
            Need::Login => {
                let logins = [Kind::Ssh, Kind::Rdp, Kind::Smb, Kind::Ftp, Kind::Mail];
                fit.kinds.iter().any(|kind| logins.contains(kind))
            }
            Need::Elsewhere => false,
        }
    }
}

/// By the beginning of the identifier. What is not named here is possible anywhere.
const NEEDS: &[(&str, Need)] = &[
    ("T1003.001", Need::System(Os::Windows)),
    ("T1003.002", Need::System(Os::Windows)),
    ("T1003.003", Need::System(Os::Windows)),
    ("T1003.006", Need::System(Os::Windows)),
    ("T1003.008", Need::System(Os::Linux)),
    ("T1012", Need::System(Os::Windows)),
    ("T1021.001", Need::Service(Kind::Rdp)),
    ("T1021.002", Need::Service(Kind::Smb)),
    ("T1021.004", Need::Service(Kind::Ssh)),
    ("T1021.006", Need::System(Os::Windows)),
    ("T1037.004", Need::System(Os::Linux)),
    ("T1047", Need::System(Os::Windows)),
    ("T1053.003", Need::System(Os::Linux)),
    ("T1053.005", Need::System(Os::Windows)),
    ("T1055", Need::System(Os::Windows)),
    ("T1059.001", Need::System(Os::Windows)),
    ("T1059.003", Need::System(Os::Windows)),
    ("T1059.004", Need::System(Os::Linux)),
    ("T1059.005", Need::System(Os::Windows)),
    ("T1070.001", Need::System(Os::Windows)),
    ("T1070.002", Need::System(Os::Linux)),
    ("T1078.004", Need::Elsewhere),
    ("T1087.002", Need::System(Os::Windows)),
    ("T1069.002", Need::System(Os::Windows)),
    ("T1110", Need::Login),
    ("T1112", Need::System(Os::Windows)),
    ("T1114", Need::Service(Kind::Mail)),
    ("T1133", Need::Login),
    ("T1134", Need::System(Os::Windows)),
    ("T1136.002", Need::System(Os::Windows)),
    ("T1189", Need::Person),
    ("T1190", Need::Server),
    ("T1195", Need::Server),
    ("T1203", Need::Person),
    ("T1204", Need::Person),
    ("T1218", Need::System(Os::Windows)),
    ("T1482", Need::System(Os::Windows)),
    ("T1484", Need::System(Os::Windows)),
    ("T1505.003", Need::Service(Kind::Web)),
    ("T1505.004", Need::System(Os::Windows)),
    ("T1530", Need::Elsewhere),
    ("T1542", Need::System(Os::Windows)),
    ("T1543.002", Need::System(Os::Linux)),
    ("T1543.003", Need::System(Os::Windows)),
    ("T1546.015", Need::System(Os::Windows)),
    ("T1547", Need::System(Os::Windows)),
    ("T1548.003", Need::System(Os::Linux)),
    ("T1550.002", Need::System(Os::Windows)),
    ("T1553.006", Need::System(Os::Windows)),
    ("T1557", Need::System(Os::Windows)),
    ("T1558", Need::System(Os::Windows)),
    ("T1559", Need::System(Os::Windows)),
    ("T1562.002", Need::System(Os::Windows)),
    ("T1562.009", Need::System(Os::Windows)),
    ("T1563.002", Need::Service(Kind::Rdp)),
    ("T1566", Need::Person),
    ("T1569.002", Need::System(Os::Windows)),
    ("T1574", Need::System(Os::Windows)),
    ("T1610", Need::Elsewhere),
];

/// What attackers use where the flow names nothing that fits. Each tactic has one that fits every host.
const USUAL: &[(Tactic, &[&str])] = &[
    (Reconnaissance, &["T1595.001", "T1595.002", "T1592.002"]),
    (ResourceDevelopment, &["T1583.001", "T1588.002", "T1608.001"]),
    (InitialAccess, &["T1190", "T1078", "T1133", "T1566.001", "T1566.002", "T1189"]),
    (Execution, &["T1059", "T1059.001", "T1059.004", "T1204.002", "T1203", "T1047"]),
    (Persistence, &["T1505.003", "T1136.001", "T1543.002", "T1543.003", "T1053.003", "T1098"]),
    (PrivilegeEscalation, &["T1068", "T1548.003", "T1134.001", "T1078.003"]),
    (Stealth, &["T1070.004", "T1027", "T1036.005", "T1140", "T1564.001"]),
    (CredentialAccess, &["T1110.001", "T1110.003", "T1003.001", "T1003.008", "T1552.001", "T1040"]),
    (Discovery, &["T1046", "T1018", "T1082", "T1083", "T1135", "T1016"]),
    (LateralMovement, &["T1210", "T1021.001", "T1021.002", "T1021.004", "T1570"]),
    (Collection, &["T1005", "T1560.001", "T1074.001", "T1213"]),
    (CommandAndControl, &["T1071.001", "T1105", "T1573.001", "T1571", "T1071.004"]),
    (Exfiltration, &["T1041", "T1048.003", "T1567.002"]),
    (Impact, &["T1486", "T1489", "T1490", "T1496", "T1499.002", "T1485"]),
    (DefenseImpairment, &["T1685", "T1686", "T1222.002", "T1685.006", "T1690"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Vec<(Os, Role, Vec<Kind>)> {
        vec![
            (Os::Linux, Role::Server, vec![Kind::Web]),
            (Os::Linux, Role::Server, vec![Kind::Ssh]),
            (Os::Windows, Role::Server, vec![Kind::Rdp]),
            (Os::Windows, Role::Workstation, vec![]),
            (Os::Any, Role::Controller, vec![Kind::Control]),
        ]
    }

    #[test]
    fn every_tactic_has_a_technique_for_every_host() {
        let mut rng = Rng::new(1);
        for tactic in Tactic::ALL {
            for (os, role, kinds) in hosts() {
                let fit = Fit { tactic, os, role, kinds: &kinds };
                let id = choose("", fit, &mut rng);
                assert!(
                    technique(&id).is_some_and(|known| known.tactics.contains(&tactic)),
                    "{tactic} {fit:?} {id:?}"
                );
            }
        }
    }

    #[test]
    fn the_flows_technique_is_kept_where_it_fits() {
        let mut rng = Rng::new(1);
        let kinds = [Kind::Web];
        let linux = Fit { tactic: Persistence, os: Os::Linux, role: Role::Server, kinds: &kinds };
        assert_eq!(choose("T1505.003", linux, &mut rng), "T1505.003");
        assert_ne!(choose("T1547.001", linux, &mut rng), "T1547.001", "a registry key on Linux");
        assert_ne!(choose("T1486", linux, &mut rng), "T1486", "of another tactic");
        assert_ne!(choose("T9999", linux, &mut rng), "T9999");
        assert_ne!(choose("T1505.003", Fit { kinds: &[], ..linux }, &mut rng), "T1505.003", "no web server");
    }

    #[test]
    fn every_row_names_techniques_that_exist() {
        for (tactic, ids) in USUAL {
            for id in *ids {
                assert!(technique(id).is_some_and(|known| known.tactics.contains(tactic)), "{tactic} {id}");
            }
        }
        for (beginning, need) in NEEDS {
            assert!(technique(beginning).is_some(), "{beginning} {need:?}");
        }
    }
}
