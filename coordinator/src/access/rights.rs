//! Who may do what: one row for each call of the coordinator. What has no row is answered to nobody.

use super::grants::Role::{self, Admin, Approver, Operator, Responder, Viewer};

/// On what a role has to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing: whoever reaches the port may call.
    Open,
    /// Nothing but being known.
    Known,
    /// The tenant of the incident or of the token. The gate looks whether the role is held in any tenant, the service whether
    /// it is in this one.
    Tenant,
    /// All tenants, since workers serve them all.
    Cluster,
}

/// What a call needs.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// `package.Service/Method`.
    pub call: &'static str,
    /// Where a role has to be held.
    pub scope: Scope,
    /// Roles of which one has to be held.
    pub roles: &'static [Role],
    /// Whether the call changes anything, which is then told to the record.
    pub changes: bool,
}

const fn reads(call: &'static str, scope: Scope, roles: &'static [Role]) -> Right {
    Right { call, scope, roles, changes: false }
}

const fn changes(call: &'static str, scope: Scope, roles: &'static [Role]) -> Right {
    Right { call, scope, roles, changes: true }
}

/// Who sees incidents.
const SEE: &[Role] = &[Viewer, Responder, Approver];
/// Who responds.
const RESPOND: &[Role] = &[Responder, Approver];

/// All rows.
pub const RIGHTS: &[Right] = &[
    changes("countermove.v1.IncidentService/CreateIncident", Scope::Tenant, RESPOND),
    reads("countermove.v1.IncidentService/GetIncident", Scope::Tenant, SEE),
    reads("countermove.v1.IncidentService/ListIncidents", Scope::Tenant, SEE),
    reads("countermove.v1.IncidentService/WatchIncident", Scope::Tenant, SEE),
    reads("countermove.v1.IncidentService/WatchIncidents", Scope::Tenant, SEE),
    changes("countermove.v1.IncidentService/ReportAlerts", Scope::Tenant, RESPOND),
    changes("countermove.v1.IncidentService/ReportOutcome", Scope::Tenant, RESPOND),
    changes("countermove.v1.IncidentService/ApproveAction", Scope::Tenant, &[Approver]),
    changes("countermove.v1.IncidentService/RejectAction", Scope::Tenant, RESPOND),
    changes("countermove.v1.IncidentService/CancelIncident", Scope::Tenant, RESPOND),
    changes("countermove.v1.IncidentService/ResendAction", Scope::Tenant, &[Approver]),
    reads("countermove.v1.IncidentService/ExportPlan", Scope::Tenant, SEE),
    reads("countermove.v1.IncidentService/VerifyIncident", Scope::Tenant, SEE),
    reads("countermove.v1.ClusterService/ListWorkers", Scope::Cluster, &[Operator]),
    reads("countermove.v1.ClusterService/GetWorker", Scope::Cluster, &[Operator]),
    // How much waits of whom: of all tenants.
    reads("countermove.v1.ClusterService/GetQueue", Scope::Cluster, &[Operator]),
    changes("countermove.v1.ClusterService/DrainWorker", Scope::Cluster, &[Operator]),
    changes("countermove.v1.ClusterService/ResumeWorker", Scope::Cluster, &[Operator]),
    reads("countermove.v1.AccessService/GetCaller", Scope::Known, &[]),
    changes("countermove.v1.AccessService/CreateToken", Scope::Tenant, &[Admin]),
    reads("countermove.v1.AccessService/ListTokens", Scope::Tenant, &[Admin]),
    changes("countermove.v1.AccessService/RevokeToken", Scope::Tenant, &[Admin]),
    // The audit log and the checkpoints are of all tenants.
    reads("countermove.v1.AuditService/ListAuditEntries", Scope::Cluster, &[Admin]),
    reads("countermove.v1.AuditService/ListCheckpoints", Scope::Cluster, &[Admin]),
    // Whether the process serves is for those to ask who send traffic to it, and says nothing of anybody.
    reads("grpc.health.v1.Health/Check", Scope::Open, &[]),
    reads("grpc.health.v1.Health/Watch", Scope::Open, &[]),
    reads("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Scope::Known, &[]),
    reads("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Scope::Known, &[]),
];

/// The row of a call, by the path of its request.
pub fn right(path: &str) -> Option<&'static Right> {
    let call = path.strip_prefix('/')?;
    RIGHTS.iter().find(|right| right.call == call)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Calls that a descriptor holds, as paths name them.
    fn calls(descriptors: &[u8]) -> BTreeSet<String> {
        let set = FileDescriptorSet::decode(descriptors).unwrap();
        let services = set.file.iter().flat_map(|file| {
            let package = file.package().to_owned();
            file.service.iter().map(move |service| (format!("{package}.{}", service.name()), service))
        });
        services
            .flat_map(|(name, service)| {
                service.method.iter().map(move |method| format!("{name}/{}", method.name()))
            })
            .collect()
    }

    /// Everything that the coordinator serves: its own services, and those of its libraries.
    fn served() -> BTreeSet<String> {
        let mut served: BTreeSet<String> = [
            countermove_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]
        .into_iter()
        .flat_map(calls)
        .collect();
        served.retain(|call| !call.starts_with("countermove.worker."));
        served
    }

    #[test]
    fn every_call_that_is_served_has_one_row_and_no_row_is_idle() {
        let rows: BTreeSet<String> = RIGHTS.iter().map(|right| right.call.to_owned()).collect();
        assert_eq!(rows.len(), RIGHTS.len(), "a call has two rows");
        assert_eq!(rows, served());
    }

    #[test]
    fn what_changes_anything_needs_a_role() {
        for right in RIGHTS {
            let needs_role = matches!(right.scope, Scope::Tenant | Scope::Cluster);
            assert_eq!(needs_role, !right.roles.is_empty(), "{}", right.call);
            assert!(needs_role || !right.changes, "{}", right.call);
        }
    }

    #[test]
    fn a_path_that_is_not_quite_one_has_no_row() {
        assert!(right("/countermove.v1.IncidentService/GetIncident").is_some());
        for path in [
            "",
            "/",
            "countermove.v1.IncidentService/GetIncident",
            "/countermove.v1.IncidentService/GetIncident/",
            "/countermove.v1.incidentservice/GetIncident",
            "/countermove.v1.IncidentService/Other",
        ] {
            assert!(right(path).is_none(), "{path}");
        }
    }
}
