//! Every call of the coordinator, as a list: each with a request that would do something.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use countermove_proto::v1 as api;
use countermove_proto::v1::access_service_client::AccessServiceClient;
use countermove_proto::v1::audit_service_client::AuditServiceClient;
use countermove_proto::v1::cluster_service_client::ClusterServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_proto::v1::watch_incidents_response::Update;
use countermove_tests::{alerts, evidence};
use prost_types::FileDescriptorSet;
use tonic::Status;
use tonic::transport::Channel;

use super::{Shown, approval};

/// Roles, from the one that may least of incidents on.
pub(super) const ROLES: [&str; 5] = ["viewer", "responder", "approver", "operator", "admin"];

/// On what a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// An incident that the request names.
    Incident,
    /// Incidents, or tokens, of the tenants that the caller sees.
    Listing,
    /// A tenant that the request names.
    Tenant,
    /// A token that the request names.
    Token,
    /// The cluster.
    Cluster,
    /// The caller itself.
    Caller,
}

/// A call, and who may make it. Written down a second time on purpose: the coordinator's own table is what is tested.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) about: About,
    pub(super) roles: &'static [&'static str],
}

const fn call(name: &'static str, about: About, roles: &'static [&'static str]) -> Call {
    Call { name, about, roles }
}

const SEE: &[&str] = &["viewer", "responder", "approver"];
const RESPOND: &[&str] = &["responder", "approver"];

pub(super) const CALLS: [Call; 24] = [
    call("IncidentService/CreateIncident", About::Tenant, RESPOND),
    call("IncidentService/GetIncident", About::Incident, SEE),
    call("IncidentService/ListIncidents", About::Listing, SEE),
    call("IncidentService/WatchIncident", About::Incident, SEE),
    call("IncidentService/WatchIncidents", About::Listing, SEE),
    call("IncidentService/ReportAlerts", About::Incident, RESPOND),
    call("IncidentService/ReportOutcome", About::Incident, RESPOND),
    call("IncidentService/ApproveAction", About::Incident, &["approver"]),
    call("IncidentService/RejectAction", About::Incident, RESPOND),
    call("IncidentService/CancelIncident", About::Incident, RESPOND),
    call("IncidentService/ResendAction", About::Incident, &["approver"]),
    call("IncidentService/ExportPlan", About::Incident, SEE),
    call("IncidentService/VerifyIncident", About::Incident, SEE),
    call("ClusterService/ListWorkers", About::Cluster, &["operator"]),
    call("ClusterService/GetWorker", About::Cluster, &["operator"]),
    call("ClusterService/GetQueue", About::Cluster, &["operator"]),
    call("ClusterService/DrainWorker", About::Cluster, &["operator"]),
    call("ClusterService/ResumeWorker", About::Cluster, &["operator"]),
    call("AccessService/GetCaller", About::Caller, &ROLES),
    call("AccessService/CreateToken", About::Tenant, &["admin"]),
    call("AccessService/ListTokens", About::Listing, &["admin"]),
    call("AccessService/RevokeToken", About::Token, &["admin"]),
    call("AuditService/ListAuditEntries", About::Cluster, &["admin"]),
    call("AuditService/ListCheckpoints", About::Cluster, &["admin"]),
];

/// The calls that the descriptors of the coordinator's services hold.
pub(super) fn served() -> BTreeSet<String> {
    use prost::Message;
    let set = FileDescriptorSet::decode(countermove_proto::FILE_DESCRIPTOR_SET).unwrap();
    let own = set.file.iter().filter(|file| file.package() == "countermove.v1");
    own.flat_map(|file| &file.service)
        .flat_map(|service| {
            service.method.iter().map(|method| format!("{}/{}", service.name(), method.name()))
        })
        .collect()
}

/// What requests are about.
pub(super) struct Target {
    pub(super) incident: api::Incident,
    pub(super) token: String,
    pub(super) worker: String,
}

pub(super) async fn workers(channel: &Channel, shown: &Shown) -> Result<Vec<api::Worker>, Status> {
    let request = shown.with(api::ListWorkersRequest::default());
    Ok(ClusterServiceClient::new(channel.clone()).list_workers(request).await?.into_inner().workers)
}

/// How many refusals of callers the audit log has.
pub(super) async fn refusals_written(channel: &Channel, shown: &Shown) -> usize {
    use prost::Message;
    use tonic::Code;
    let refused = [Code::Unauthenticated, Code::PermissionDenied, Code::NotFound, Code::Unimplemented];
    let (mut audit, mut found, mut page_token) = (AuditServiceClient::new(channel.clone()), 0, String::new());
    loop {
        let request = api::ListAuditEntriesRequest { page_size: 1000, page_token };
        let page = audit.list_audit_entries(shown.with(request)).await.unwrap().into_inner();
        let codes =
            page.entries.iter().map(|kept| api::AuditEntry::decode(kept.entry.as_slice()).unwrap().code);
        found += codes.filter(|code| refused.contains(&Code::from(*code))).count();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// A grant that somebody who makes tokens might give.
fn new_token(validate_only: bool) -> api::CreateTokenRequest {
    let mut grant = api::Grant { tenant: "blue".into(), roles: Vec::new() };
    grant.push_roles(api::Role::Approver);
    let expires = SystemTime::now() + Duration::from_secs(3600);
    api::CreateTokenRequest {
        description: "made by a test".into(),
        grants: vec![grant],
        expire_time: Some(countermove_proto::timestamp(expires)),
        validate_only,
    }
}

/// Makes a call; what it lists of others' is its answer.
pub(super) async fn make(
    call: Call,
    channel: Channel,
    shown: &Shown,
    target: &Target,
    validate_only: bool,
) -> Result<Vec<String>, Status> {
    let mut audit = AuditServiceClient::new(channel.clone());
    let (mut incidents, mut cluster, mut access) = (
        IncidentServiceClient::new(channel.clone()),
        ClusterServiceClient::new(channel.clone()),
        AccessServiceClient::new(channel),
    );
    let (name, worker) = (target.incident.name.clone(), target.worker.clone());
    let request_id = String::new();
    match call.name {
        "IncidentService/CreateIncident" => {
            let request = api::CreateIncidentRequest {
                evidence: Some(evidence()),
                tenant: "blue".into(),
                validate_only,
                ..api::CreateIncidentRequest::default()
            };
            incidents.create_incident(shown.with(request)).await.map(|_| Vec::new())
        }
        "AuditService/ListAuditEntries" => {
            let request = api::ListAuditEntriesRequest::default();
            audit.list_audit_entries(shown.with(request)).await.map(|_| Vec::new())
        }
        "AuditService/ListCheckpoints" => {
            let request = api::ListCheckpointsRequest::default();
            audit.list_checkpoints(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/GetIncident" => {
            incidents.get_incident(shown.with(api::GetIncidentRequest { name })).await.map(|_| Vec::new())
        }
        "IncidentService/ListIncidents" => {
            let answer = incidents.list_incidents(shown.with(api::ListIncidentsRequest::default())).await?;
            Ok(answer.into_inner().incidents.into_iter().map(|incident| incident.name).collect())
        }
        "IncidentService/WatchIncident" => {
            let request = api::WatchIncidentRequest { name, resume_after: 0 };
            let mut stream = incidents.watch_incident(shown.with(request)).await?.into_inner();
            stream.message().await.map(|_| Vec::new())
        }
        "IncidentService/WatchIncidents" => {
            let request = shown.with(api::WatchIncidentsRequest::default());
            let mut stream = incidents.watch_incidents(request).await?.into_inner();
            let mut names = Vec::new();
            loop {
                match stream.message().await?.and_then(|message| message.update) {
                    Some(Update::Incident(incident)) => names.push(incident.name),
                    Some(Update::Left(incident)) => names.push(incident.name),
                    Some(Update::Present(_)) | None => return Ok(names),
                }
            }
        }
        "IncidentService/ReportAlerts" => {
            let request = api::ReportAlertsRequest { name, alerts: alerts(), request_id, validate_only };
            incidents.report_alerts(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/ReportOutcome" => {
            let state = Some(api::RecoveryState::default());
            let request =
                api::ReportOutcomeRequest { name, state, request_id, validate_only, ..Default::default() };
            incidents.report_outcome(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/ApproveAction" => {
            let request = api::ApproveActionRequest { validate_only, ..approval(&target.incident) };
            incidents.approve_action(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/RejectAction" => {
            let step = approval(&target.incident).step;
            let request = api::RejectActionRequest {
                name,
                step,
                reason: "no".into(),
                request_id,
                validate_only,
                ..Default::default()
            };
            incidents.reject_action(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/CancelIncident" => {
            let request = api::CancelIncidentRequest { name, request_id, validate_only };
            incidents.cancel_incident(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/ResendAction" => {
            let request = api::ResendActionRequest { name, step: 0, request_id, validate_only };
            incidents.resend_action(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/ExportPlan" => {
            let request = api::ExportPlanRequest { name, ..api::ExportPlanRequest::default() };
            incidents.export_plan(shown.with(request)).await.map(|_| Vec::new())
        }
        "IncidentService/VerifyIncident" => {
            let request = api::VerifyIncidentRequest { name, sequence: 0 };
            incidents.verify_incident(shown.with(request)).await.map(|_| Vec::new())
        }
        "ClusterService/ListWorkers" => {
            cluster.list_workers(shown.with(api::ListWorkersRequest::default())).await.map(|_| Vec::new())
        }
        "ClusterService/GetWorker" => {
            cluster.get_worker(shown.with(api::GetWorkerRequest { name: worker })).await.map(|_| Vec::new())
        }
        "ClusterService/GetQueue" => {
            cluster.get_queue(shown.with(api::GetQueueRequest {})).await.map(|_| Vec::new())
        }
        "ClusterService/DrainWorker" => {
            let request = api::DrainWorkerRequest { name: worker, request_id, validate_only };
            cluster.drain_worker(shown.with(request)).await.map(|_| Vec::new())
        }
        "ClusterService/ResumeWorker" => {
            let request = api::ResumeWorkerRequest { name: worker, request_id, validate_only };
            cluster.resume_worker(shown.with(request)).await.map(|_| Vec::new())
        }
        "AccessService/GetCaller" => {
            access.get_caller(shown.with(api::GetCallerRequest {})).await.map(|_| Vec::new())
        }
        "AccessService/CreateToken" => {
            access.create_token(shown.with(new_token(validate_only))).await.map(|_| Vec::new())
        }
        "AccessService/ListTokens" => {
            let answer = access.list_tokens(shown.with(api::ListTokensRequest::default())).await?;
            Ok(answer.into_inner().tokens.into_iter().map(|token| token.name).collect())
        }
        "AccessService/RevokeToken" => {
            let request = api::RevokeTokenRequest { name: target.token.clone(), validate_only };
            access.revoke_token(shown.with(request)).await.map(|_| Vec::new())
        }
        other => panic!("there is no call {other}"),
    }
}
