//! `countermove.v1.IncidentService`.

use std::pin::Pin;
use std::sync::Arc;

use countermove_proto::v1::incident_service_server::IncidentService;
use countermove_proto::v1::{
    ApproveActionRequest, ApproveActionResponse, CancelIncidentRequest, CancelIncidentResponse,
    CreateIncidentRequest, CreateIncidentResponse, ExportFormat, ExportPlanRequest, ExportPlanResponse,
    GetIncidentRequest, GetIncidentResponse, ListIncidentsRequest, ListIncidentsResponse,
    RejectActionRequest, RejectActionResponse, ReportAlertsRequest, ReportAlertsResponse,
    ReportOutcomeRequest, ReportOutcomeResponse, ResendActionRequest, ResendActionResponse,
    VerifyIncidentRequest, VerifyIncidentResponse, WatchIncidentRequest, WatchIncidentResponse,
};
use countermove_proto::{Error, IncidentId};
use countermove_serving::InFlight;
use countermove_transport::Dial;
use countermove_wire::document::PlanDocument;
use countermove_wire::record::RecordDocument;
use countermove_wire::recovery_state;
use futures::{Stream, StreamExt};
use prost::Message;
use tonic::{Request, Response, Status};

use super::idempotency::{Fingerprint, Replies};
use super::pages::{List, page_size};
use super::peers::{Peer, Peers, answered, pass_on, was_passed_on};
use super::{REMEMBERED, checks};
use crate::export::{cacao, markdown};
use crate::incidents::{Change, Changed, Incidents, NewIncident};

/// The service over this coordinator's incidents.
#[derive(Clone)]
pub struct IncidentApi {
    incidents: Incidents,
    replies: Arc<Replies>,
    peers: Arc<Peers>,
}

impl IncidentApi {
    /// A service over these incidents; other coordinators are called like this.
    pub fn new(incidents: Incidents, peers: Dial) -> Self {
        Self { incidents, replies: Replies::new(REMEMBERED), peers: Arc::new(Peers::new(peers)) }
    }

    /// Carries out a change: only checked, once under its id, or each time without one.
    async fn change<T, F>(
        &self,
        print: Fingerprint,
        key: Key<'_>,
        change: Change,
        answer: F,
    ) -> Result<Response<T>, Status>
    where
        T: Message + Default + 'static,
        F: FnOnce(Changed) -> T + Copy + Send + 'static,
    {
        let id: IncidentId = checks::name(key.name)?;
        let request_id = checks::request_id(key.request_id)?;
        if key.validate_only {
            let changed = self.incidents.change(id, change, true, None).await?;
            return Ok(Response::new(answer(changed)));
        }
        let incidents = self.incidents.clone();
        let work = move |key| async move { incidents.change(id, change, false, key).await.map(answer) };
        let incidents = self.incidents.clone();
        let recall = move |id, event| async move { incidents.recall(id, event).await.map(answer) };
        let store = self.incidents.ownership();
        Ok(Response::new(self.replies.once_kept(store, request_id, print, work, recall).await?))
    }

    /// The fingerprint of a request that may be large.
    async fn fingerprint<T>(&self, method: &'static str, request: T) -> Result<(T, Fingerprint), Error>
    where
        T: Message + 'static,
    {
        let work = move || {
            let print = Fingerprint::of(method, &request);
            Ok((request, print))
        };
        self.incidents.compute(work).await
    }

    /// Where the call has to go, if another coordinator owns the incident and the call was not passed on already.
    async fn owner(
        &self,
        name: &str,
        metadata: &tonic::metadata::MetadataMap,
    ) -> Result<Option<(String, Peer)>, Status> {
        if was_passed_on(metadata) {
            return Ok(None);
        }
        let id: IncidentId = checks::name(name)?;
        let Some(address) = self.incidents.elsewhere(id).await? else { return Ok(None) };
        let peer = self.peers.at(&address)?;
        Ok(Some((address, peer)))
    }
}

/// What every change names.
struct Key<'a> {
    name: &'a str,
    request_id: &'a str,
    validate_only: bool,
}

#[tonic::async_trait]
impl IncidentService for IncidentApi {
    async fn create_incident(
        &self,
        request: Request<CreateIncidentRequest>,
    ) -> Result<Response<CreateIncidentResponse>, Status> {
        let in_flight = request.extensions().get::<InFlight>().cloned();
        let request = request.into_inner();
        let request_id = checks::request_id(&request.request_id)?;
        let payer = checks::payer(&request.tenant, request.priority)?;
        if let Some(in_flight) = &in_flight {
            in_flight.count_for(payer.tenant().as_str())?;
        }
        let (mut request, print) = self.fingerprint("CreateIncident", request).await?;
        let evidence = checks::evidence(request.evidence.take())?;
        let options = request.options.unwrap_or_default();
        let (incidents, validate_only) = (self.incidents.clone(), request.validate_only);
        let cost_model = request.cost_model.take();
        let order = NewIncident { evidence, options, cost_model, payer };
        let work = move |key| async move {
            // It goes on when its caller has left, and so does what it takes.
            let _in_flight = in_flight;
            let (incident, digest) = incidents.create(order, validate_only, key).await?;
            Ok(CreateIncidentResponse { incident: Some(incident), digest: Some(digest) })
        };
        if validate_only {
            return Ok(Response::new(work(None).await?));
        }
        let incidents = self.incidents.clone();
        let recall = move |id, event| async move {
            let Changed { incident, digest, .. } = incidents.recall(id, event).await?;
            Ok(CreateIncidentResponse { incident: Some(incident), digest: Some(digest) })
        };
        let store = self.incidents.ownership();
        Ok(Response::new(self.replies.once_kept(store, request_id, print, work, recall).await?))
    }

    async fn get_incident(
        &self,
        request: Request<GetIncidentRequest>,
    ) -> Result<Response<GetIncidentResponse>, Status> {
        let id = checks::name(&request.get_ref().name)?;
        Ok(Response::new(GetIncidentResponse { incident: Some(self.incidents.get(id).await?) }))
    }

    async fn list_incidents(
        &self,
        request: Request<ListIncidentsRequest>,
    ) -> Result<Response<ListIncidentsResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let before = match List::Incidents.key(&request.page_token)? {
            None => None,
            Some(key) => Some(checks::name::<IncidentId>(&String::from_utf8_lossy(&key))?),
        };
        // One more than asked for tells whether there is another page.
        let mut incidents = self.incidents.list(before, size + 1).await?;
        let more = incidents.len() > size;
        incidents.truncate(size);
        let next_page_token = match incidents.last() {
            Some(last) if more => List::Incidents.token(last.name.as_bytes()),
            _ => String::new(),
        };
        Ok(Response::new(ListIncidentsResponse { incidents, next_page_token }))
    }

    type WatchIncidentStream = Pin<Box<dyn Stream<Item = Result<WatchIncidentResponse, Status>> + Send>>;

    async fn watch_incident(
        &self,
        request: Request<WatchIncidentRequest>,
    ) -> Result<Response<Self::WatchIncidentStream>, Status> {
        let request = request.into_inner();
        let id = checks::name(&request.name)?;
        let updates = self.incidents.watch(id, request.resume_after).await?.stream();
        let messages = updates.map(|update| {
            update.map(|update| WatchIncidentResponse { update: Some(update) }).map_err(Status::from)
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn report_alerts(
        &self,
        request: Request<ReportAlertsRequest>,
    ) -> Result<Response<ReportAlertsResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        if let Some((address, mut owner)) = self.owner(&request.name, &metadata).await? {
            return answered(&address, owner.report_alerts(pass_on(request, &metadata)).await);
        }
        checks::more_alerts(&request.alerts)?;
        let in_flight = extensions.get::<InFlight>().cloned();
        if let (Some(in_flight), Some(tenant)) =
            (&in_flight, self.incidents.tenant(checks::name(&request.name)?))
        {
            in_flight.count_for(tenant.as_str())?;
        }
        let (mut request, print) = self.fingerprint("ReportAlerts", request).await?;
        let text = std::mem::take(&mut request.alerts);
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let change = Change::ReportAlerts { text, in_flight };
        let answer = |changed: Changed| ReportAlertsResponse {
            digest: Some(changed.digest),
            repeated_records: changed.repeated,
        };
        self.change(print, key, change, answer).await
    }

    async fn report_outcome(
        &self,
        request: Request<ReportOutcomeRequest>,
    ) -> Result<Response<ReportOutcomeResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        if let Some((address, mut owner)) = self.owner(&request.name, &metadata).await? {
            return answered(&address, owner.report_outcome(pass_on(request, &metadata)).await);
        }
        let state = request.state.ok_or_else(|| Error::invalid("state", "it has to be set"))?;
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let change = Change::ReportOutcome { step: request.step, state: recovery_state(state) };
        let answer = |changed: Changed| ReportOutcomeResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::of("ReportOutcome", &request), key, change, answer).await
    }

    async fn approve_action(
        &self,
        request: Request<ApproveActionRequest>,
    ) -> Result<Response<ApproveActionResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        if let Some((address, mut owner)) = self.owner(&request.name, &metadata).await? {
            return answered(&address, owner.approve_action(pass_on(request, &metadata)).await);
        }
        checks::plan_hash(&request.plan_hash)?;
        if !request.action.is_empty() {
            checks::sentence("action", &request.action)?;
        }
        checks::person("approver", &request.approver)?;
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let change = Change::Approve {
            step: request.step,
            plan_hash: request.plan_hash.clone(),
            action: Some(request.action.clone()).filter(|action| !action.is_empty()),
            approver: request.approver.clone(),
        };
        let answer = |changed: Changed| ApproveActionResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::of("ApproveAction", &request), key, change, answer).await
    }

    async fn reject_action(
        &self,
        request: Request<RejectActionRequest>,
    ) -> Result<Response<RejectActionResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        if let Some((address, mut owner)) = self.owner(&request.name, &metadata).await? {
            return answered(&address, owner.reject_action(pass_on(request, &metadata)).await);
        }
        checks::sentence("reason", &request.reason)?;
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let change = Change::Reject { step: request.step, reason: request.reason.clone() };
        let answer = |changed: Changed| RejectActionResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::of("RejectAction", &request), key, change, answer).await
    }

    async fn resend_action(
        &self,
        request: Request<ResendActionRequest>,
    ) -> Result<Response<ResendActionResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        if let Some((address, mut owner)) = self.owner(&request.name, &metadata).await? {
            return answered(&address, owner.resend_action(pass_on(request, &metadata)).await);
        }
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let change = Change::Resend { step: request.step };
        let answer = |changed: Changed| ResendActionResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::of("ResendAction", &request), key, change, answer).await
    }

    async fn cancel_incident(
        &self,
        request: Request<CancelIncidentRequest>,
    ) -> Result<Response<CancelIncidentResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        if let Some((address, mut owner)) = self.owner(&request.name, &metadata).await? {
            return answered(&address, owner.cancel_incident(pass_on(request, &metadata)).await);
        }
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let answer = |changed: Changed| CancelIncidentResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::of("CancelIncident", &request), key, Change::Cancel, answer).await
    }

    async fn verify_incident(
        &self,
        request: Request<VerifyIncidentRequest>,
    ) -> Result<Response<VerifyIncidentResponse>, Status> {
        let id = checks::name(&request.get_ref().name)?;
        let found = self.incidents.verify(id).await?;
        let (broken_event, problem) = match found.broken {
            Some((event, problem)) => (event, problem),
            None => (0, found.differs.unwrap_or_default()),
        };
        Ok(Response::new(VerifyIncidentResponse {
            events: found.events,
            head_sha256: hex::encode(found.head),
            inputs_gone: found.inputs_gone,
            broken_event,
            problem,
        }))
    }

    async fn export_plan(
        &self,
        request: Request<ExportPlanRequest>,
    ) -> Result<Response<ExportPlanResponse>, Status> {
        let request = request.into_inner();
        let id = checks::name(&request.name)?;
        let format = ExportFormat::try_from(request.format)
            .map_err(|_| Error::invalid("format", format!("there is no format {}", request.format)))?;
        let incident = self.incidents.get(id).await?;
        if format == ExportFormat::Record {
            let record = RecordDocument::new(incident, self.incidents.events(id).await?);
            let json = record.to_json().map_err(|error| Error::Internal(error.to_string()))?;
            let content_type = "application/json".to_owned();
            return Ok(Response::new(ExportPlanResponse { content_type, content: json.into_bytes() }));
        }
        let document = PlanDocument::new(incident, self.incidents.notices(id).await?);
        let (content_type, content) = match format {
            ExportFormat::Unspecified | ExportFormat::Json | ExportFormat::Record => {
                let json = document.to_json().map_err(|error| Error::Internal(error.to_string()))?;
                ("application/json", json)
            }
            ExportFormat::Cacao => {
                let json = serde_json::to_string_pretty(&cacao(&document));
                (
                    "application/cacao+json; version=2.0",
                    json.map_err(|error| Error::Internal(error.to_string()))?,
                )
            }
            ExportFormat::Markdown => ("text/markdown; charset=utf-8", markdown(&document)),
        };
        Ok(Response::new(ExportPlanResponse {
            content_type: content_type.to_owned(),
            content: content.into_bytes(),
        }))
    }
}
