//! The services with an audit log: every change that is asked for is written down with how it ended, before it is answered.
//! What only reads, or only checks and was not refused, is passed through.

use countermove_proto::v1::cluster_service_server::ClusterService;
use countermove_proto::v1::incident_service_server::IncidentService;
use countermove_proto::v1::{
    ApproveActionRequest, ApproveActionResponse, AuditEntry, CancelIncidentRequest, CancelIncidentResponse,
    CreateIncidentRequest, CreateIncidentResponse, DrainWorkerRequest, DrainWorkerResponse,
    ExportPlanRequest, ExportPlanResponse, GetIncidentRequest, GetIncidentResponse, GetQueueRequest,
    GetQueueResponse, GetWorkerRequest, GetWorkerResponse, ListIncidentsRequest, ListIncidentsResponse,
    ListWorkersRequest, ListWorkersResponse, RejectActionRequest, RejectActionResponse, ReportAlertsRequest,
    ReportAlertsResponse, ReportOutcomeRequest, ReportOutcomeResponse, ResendActionRequest,
    ResendActionResponse, ResumeWorkerRequest, ResumeWorkerResponse, VerifyIncidentRequest,
    VerifyIncidentResponse, WatchIncidentRequest, WatchIncidentsRequest,
};
use countermove_serving::Peer;
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use crate::access::Caller;
use crate::audit::Audit;

/// A service whose changes are written down.
#[derive(Clone)]
pub struct Audited<S> {
    inner: S,
    audit: Audit,
}

impl<S> Audited<S> {
    /// Writes down what is asked of `inner`.
    pub fn new(inner: S, audit: Audit) -> Self {
        Self { inner, audit }
    }
}

/// What a request says of itself.
struct Told<'a> {
    subject: &'a str,
    request_id: &'a str,
    validate_only: bool,
    tenant: &'a str,
    who: &'a str,
    detail: String,
}

/// The entry of a call; none if nothing was to change.
fn entry<T: Message>(
    method: &str,
    request: &Request<T>,
    told: impl FnOnce(&T) -> Told<'_>,
) -> (AuditEntry, bool) {
    let message = request.get_ref();
    let Told { subject, request_id, validate_only, tenant, who, detail } = told(message);
    // Who was proven to call counts before whom a caller names.
    let proven = request.extensions().get::<Caller>().map(Caller::name).unwrap_or_default();
    let who = if proven.is_empty() { who } else { proven };
    let from = request.extensions().get::<Peer>().map(|peer| peer.address().to_string());
    let entry = AuditEntry {
        who: who.to_owned(),
        from: from.unwrap_or_default(),
        tenant: tenant.to_owned(),
        method: method.to_owned(),
        subject: subject.to_owned(),
        request_id: request_id.to_owned(),
        request_sha256: hex::encode(Sha256::digest(message.encode_to_vec())),
        detail,
        ..AuditEntry::default()
    };
    (entry, validate_only)
}

/// What a request says of itself that is about something with a name.
macro_rules! told {
    ($asked:ident, $detail:expr) => {
        Told {
            subject: &$asked.name,
            request_id: &$asked.request_id,
            validate_only: $asked.validate_only,
            tenant: "",
            who: "",
            detail: $detail,
        }
    };
}

/// A call of the inner service between its request and its entry.
macro_rules! audited {
    ($self:ident, $request:ident, $method:ident, $name:literal, $told:expr) => {{
        let (entry, validate_only) = entry($name, &$request, $told);
        let answer = $self.inner.$method($request).await;
        match (validate_only, &answer) {
            (true, Ok(_)) => answer,
            _ => $self.audit.settle(entry, answer).await,
        }
    }};
}

#[tonic::async_trait]
impl<S: IncidentService> IncidentService for Audited<S> {
    async fn create_incident(
        &self,
        request: Request<CreateIncidentRequest>,
    ) -> Result<Response<CreateIncidentResponse>, Status> {
        // What it was made for has a name only afterwards.
        let (mut entry, validate_only) = entry("CreateIncident", &request, |asked| Told {
            subject: "",
            request_id: &asked.request_id,
            validate_only: asked.validate_only,
            tenant: &asked.tenant,
            who: "",
            detail: format!("priority {}", asked.priority().as_str_name()),
        });
        let answer = self.inner.create_incident(request).await;
        if validate_only && answer.is_ok() {
            return answer;
        }
        if let Ok(created) = &answer
            && let Some(incident) = &created.get_ref().incident
        {
            entry.subject.clone_from(&incident.name);
            entry.tenant.clone_from(&incident.tenant);
        }
        self.audit.settle(entry, answer).await
    }

    async fn get_incident(
        &self,
        request: Request<GetIncidentRequest>,
    ) -> Result<Response<GetIncidentResponse>, Status> {
        self.inner.get_incident(request).await
    }

    async fn list_incidents(
        &self,
        request: Request<ListIncidentsRequest>,
    ) -> Result<Response<ListIncidentsResponse>, Status> {
        self.inner.list_incidents(request).await
    }

    type WatchIncidentsStream = S::WatchIncidentsStream;

    async fn watch_incidents(
        &self,
        request: Request<WatchIncidentsRequest>,
    ) -> Result<Response<Self::WatchIncidentsStream>, Status> {
        self.inner.watch_incidents(request).await
    }

    type WatchIncidentStream = S::WatchIncidentStream;

    async fn watch_incident(
        &self,
        request: Request<WatchIncidentRequest>,
    ) -> Result<Response<Self::WatchIncidentStream>, Status> {
        self.inner.watch_incident(request).await
    }

    async fn report_alerts(
        &self,
        request: Request<ReportAlertsRequest>,
    ) -> Result<Response<ReportAlertsResponse>, Status> {
        audited!(self, request, report_alerts, "ReportAlerts", |asked: &ReportAlertsRequest| told!(
            asked,
            format!("{} bytes", asked.alerts.len())
        ))
    }

    async fn report_outcome(
        &self,
        request: Request<ReportOutcomeRequest>,
    ) -> Result<Response<ReportOutcomeResponse>, Status> {
        audited!(self, request, report_outcome, "ReportOutcome", |asked: &ReportOutcomeRequest| told!(
            asked,
            format!("step {}", u64::from(asked.step) + 1)
        ))
    }

    async fn approve_action(
        &self,
        request: Request<ApproveActionRequest>,
    ) -> Result<Response<ApproveActionResponse>, Status> {
        audited!(self, request, approve_action, "ApproveAction", |asked: &ApproveActionRequest| Told {
            who: &asked.approver,
            ..told!(asked, format!("step {}, plan hash {}", u64::from(asked.step) + 1, asked.plan_hash))
        })
    }

    async fn reject_action(
        &self,
        request: Request<RejectActionRequest>,
    ) -> Result<Response<RejectActionResponse>, Status> {
        audited!(self, request, reject_action, "RejectAction", |asked: &RejectActionRequest| told!(
            asked,
            format!("step {}", u64::from(asked.step) + 1)
        ))
    }

    async fn resend_action(
        &self,
        request: Request<ResendActionRequest>,
    ) -> Result<Response<ResendActionResponse>, Status> {
        audited!(self, request, resend_action, "ResendAction", |asked: &ResendActionRequest| told!(
            asked,
            format!("step {}", u64::from(asked.step) + 1)
        ))
    }

    async fn cancel_incident(
        &self,
        request: Request<CancelIncidentRequest>,
    ) -> Result<Response<CancelIncidentResponse>, Status> {
        audited!(self, request, cancel_incident, "CancelIncident", |asked: &CancelIncidentRequest| told!(
            asked,
            String::new()
        ))
    }

    async fn verify_incident(
        &self,
        request: Request<VerifyIncidentRequest>,
    ) -> Result<Response<VerifyIncidentResponse>, Status> {
        self.inner.verify_incident(request).await
    }

    async fn export_plan(
        &self,
        request: Request<ExportPlanRequest>,
    ) -> Result<Response<ExportPlanResponse>, Status> {
        self.inner.export_plan(request).await
    }
}

#[tonic::async_trait]
impl<S: ClusterService> ClusterService for Audited<S> {
    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        self.inner.list_workers(request).await
    }

    async fn get_worker(
        &self,
        request: Request<GetWorkerRequest>,
    ) -> Result<Response<GetWorkerResponse>, Status> {
        self.inner.get_worker(request).await
    }

    async fn get_queue(
        &self,
        request: Request<GetQueueRequest>,
    ) -> Result<Response<GetQueueResponse>, Status> {
        self.inner.get_queue(request).await
    }

    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        audited!(self, request, drain_worker, "DrainWorker", |asked: &DrainWorkerRequest| told!(
            asked,
            String::new()
        ))
    }

    async fn resume_worker(
        &self,
        request: Request<ResumeWorkerRequest>,
    ) -> Result<Response<ResumeWorkerResponse>, Status> {
        audited!(self, request, resume_worker, "ResumeWorker", |asked: &ResumeWorkerRequest| told!(
            asked,
            String::new()
        ))
    }
}
