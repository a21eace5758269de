//! `countermove.v1.IncidentService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::incident_service_server::IncidentService;
use countermove_proto::v1::{
    ApproveActionRequest, ApproveActionResponse, CancelIncidentRequest, CancelIncidentResponse,
    CreateIncidentRequest, CreateIncidentResponse, ExportFormat, ExportPlanRequest, ExportPlanResponse,
    GetIncidentRequest, GetIncidentResponse, Incident, ListIncidentsRequest, ListIncidentsResponse,
    RecoveryFacts, RejectActionRequest, RejectActionResponse, ReportAlertsRequest, ReportAlertsResponse,
    ReportOutcomeRequest, ReportOutcomeResponse, ResendActionRequest, ResendActionResponse,
    VerifyIncidentRequest, VerifyIncidentResponse, WatchIncidentRequest, WatchIncidentResponse,
    WatchIncidentsRequest, WatchIncidentsResponse,
};
use countermove_proto::{Condition, Error, IncidentId, Outage, Resource, Tenant};
use countermove_serving::InFlight;
use countermove_transport::Dial;
use countermove_wire::document::PlanDocument;
use countermove_wire::record::RecordDocument;
use countermove_wire::recovery_state;
use futures::{FutureExt, Stream, StreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::idempotency::{Fingerprint, Replies};
use super::pages::{List, page_size};
use super::peers::{Peer, Peers, answered, pass_on};
use super::{REMEMBERED, checks};
use crate::access::{Caller, Over, PolicyFile};
use crate::export::{Attack, cacao, markdown, misp, stix};
use crate::incidents::{Change, Changed, Filter, Found, Incidents, KnownAs, NewIncident, Part};

/// Incidents that are looked through at a time for those that a caller may see.
const LISTED: usize = 500;
/// Incidents that are looked through for one page at most: who wants more asks for the next one.
const SEARCHED: usize = 5000;

/// The service over this coordinator's incidents.
#[derive(Clone)]
pub struct IncidentApi {
    incidents: Incidents,
    replies: Arc<Replies>,
    peers: Arc<Peers>,
    /// What is asked of those who approve; absent where nobody is asked who calls.
    policy: Option<PolicyFile>,
}

impl IncidentApi {
    /// A service over these incidents; other coordinators are called like this.
    pub fn new(incidents: Incidents, peers: Dial, policy: Option<PolicyFile>) -> Self {
        Self { incidents, replies: Replies::new(REMEMBERED), peers: Arc::new(Peers::new(peers)), policy }
    }

    /// A stream that counts among the open ones for as long as it is there.
    fn counted<T>(
        &self,
        stream: impl Stream<Item = T> + Send + 'static,
    ) -> Pin<Box<dyn Stream<Item = T> + Send>> {
        let open = self.incidents.metrics().stream();
        let holds = move |_: &T| {
            let _ = &open;
        };
        stream.inspect(holds).boxed()
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
    async fn fingerprint<T>(
        &self,
        caller: &Caller,
        method: &'static str,
        request: T,
    ) -> Result<(T, Fingerprint), Error>
    where
        T: Message + 'static,
    {
        let caller = caller.clone();
        let work = move || {
            let print = Fingerprint::by(&caller, method, &request);
            Ok((request, print))
        };
        self.incidents.compute(work).await
    }

    /// The incident that a call names, if its caller may do with it what the call does. One of a tenant of which the caller sees
    /// nothing is not there for it.
    async fn named(&self, caller: &Caller, name: &str) -> Result<IncidentId, Error> {
        let id: IncidentId = checks::name(name)?;
        if caller.is_unbounded() {
            return Ok(id);
        }
        let tenant = match self.incidents.tenant(id) {
            Some(tenant) => tenant,
            None => tenant_of(&self.incidents.get(id).await?)?,
        };
        match (caller.may(&tenant), caller.sees(&tenant)) {
            (true, _) => Ok(id),
            (false, true) => Err(caller.denied(&format!("in the tenant {}", tenant.as_str()))),
            (false, false) => Err(Error::NotFound { kind: Resource::Incident, name: id.name() }),
        }
    }

    /// A page of incidents that the caller may see and that fit, and the name of the one after which the next page begins; empty on
    /// the last.
    async fn listed(
        &self,
        caller: &Caller,
        filter: &Filter,
        page: Part,
    ) -> Result<(Vec<Incident>, String), Error> {
        let takes_all = caller.is_unbounded() && filter.is_empty();
        // One more than asked for tells whether there is another page.
        let limit = if takes_all { page.limit + 1 } else { LISTED };
        let mut part = Part { limit, ..page };
        let (mut found, mut seen) = (Vec::new(), 0);
        loop {
            let incidents = self.incidents.list(part).await?;
            let is_last = incidents.len() < limit;
            seen += incidents.len();
            let last = incidents.last().map(|last| last.name.clone()).unwrap_or_default();
            part.after = last.parse().ok();
            for incident in incidents {
                if takes_all || filter.fits(&incident) && caller.may(&tenant_of(&incident)?) {
                    found.push(incident);
                }
            }
            if found.len() > page.limit {
                found.truncate(page.limit);
                let next = found.last().map(|last| last.name.clone()).unwrap_or_default();
                return Ok((found, next));
            }
            if is_last {
                return Ok((found, String::new()));
            }
            if seen >= SEARCHED {
                return Ok((found, last));
            }
        }
    }

    /// Whether who calls had a hand in the incident that bars it from approving, where four eyes are asked for.
    async fn other_eyes(&self, caller: &Caller, id: IncidentId) -> Result<(), Error> {
        if !self.policy.as_ref().is_some_and(|policy| policy.now().four_eyes) {
            return Ok(());
        }
        let own = |name: &str| name == caller.name();
        let events = self.incidents.events(id).await?;
        let deed = events.iter().find_map(|event| match &event.kind {
            Some(Kind::Created(created)) if own(&created.creator) => Some("created it"),
            Some(Kind::Rejected(rejected)) if own(&rejected.rejected_by) => Some("rejected an action of it"),
            _ => None,
        });
        match deed {
            None => Ok(()),
            Some(deed) => Err(Error::Denied(format!(
                "{} {deed}, and whoever did so approves no action of {id}: somebody else has to",
                caller.name()
            ))),
        }
    }

    /// Where the call has to go, if another coordinator owns the incident and the call was not passed on already.
    async fn owner(&self, name: &str, caller: &Caller) -> Result<Option<(String, Peer)>, Status> {
        let id = self.named(caller, name).await?;
        if caller.is_passed_on {
            return Ok(None);
        }
        let Some(address) = self.incidents.elsewhere(id).await? else { return Ok(None) };
        let peer = self.peers.at(&address)?;
        Ok(Some((address, peer)))
    }
}

/// The stream up to its end, or with a last item instead of the rest.
fn until<T>(
    stream: impl Stream<Item = T> + Send + 'static,
    over: impl Future<Output = T> + Send + 'static,
) -> impl Stream<Item = T> + Send {
    stream::unfold((Some(Box::pin(over)), Box::pin(stream)), |(over, mut stream)| async move {
        let mut over = over?;
        tokio::select! {
            biased;
            last = &mut over => Some((last, (None, stream))),
            item = stream.next() => item.map(|item| (item, (Some(over), stream))),
        }
    })
}

/// The last item of a caller's stream: who is no longer let in sees nothing more.
fn over<T>(caller: Caller) -> impl Future<Output = Result<T, Status>> + Send {
    caller.over().map(|over| {
        let error = match over {
            Over::Gone => {
                let why = "what this caller showed has expired or was revoked; show another one and resume";
                Error::Unauthenticated(why.to_owned())
            }
            Over::Changed => Error::Unavailable {
                cause: Outage::Access,
                message: "who may do what has changed; resume, and it is looked up anew".to_owned(),
                retry_after: Duration::from_secs(1),
            },
        };
        Err(error.into())
    })
}

/// On whose account an incident is planned.
fn tenant_of(incident: &Incident) -> Result<Tenant, Error> {
    Tenant::new(&incident.tenant).map_err(|error| Error::Internal(format!("{}: {error}", incident.name)))
}

/// Who approves: the caller where it is known, and nobody else; where nobody is asked, who the request says.
fn approver(caller: &Caller, named: &str) -> Result<String, Error> {
    if !caller.principal.is_known() {
        return Ok(named.to_owned());
    }
    match named {
        "" => Ok(caller.name().to_owned()),
        named if named == caller.name() => Ok(named.to_owned()),
        _ => Err(Error::Denied(format!("{} approves in its own name and in no other", caller.name()))),
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
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let request_id = checks::request_id(&request.request_id)?;
        let payer = checks::payer(caller.tenant(&request.tenant)?, request.priority)?;
        if let Some(in_flight) = &in_flight {
            in_flight.count_for(payer.tenant().as_str())?;
        }
        let (mut request, print) = self.fingerprint(&caller, "CreateIncident", request).await?;
        let evidence = checks::evidence(request.evidence.take())?;
        let known_as =
            KnownAs::new(std::mem::take(&mut request.labels), std::mem::take(&mut request.external_id))?;
        let options = request.options.unwrap_or_default();
        let (incidents, validate_only) = (self.incidents.clone(), request.validate_only);
        let cost_model = request.cost_model.take();
        let catalogue = std::mem::take(&mut request.catalogue);
        let creator = caller.name().to_owned();
        let order = NewIncident { evidence, options, cost_model, catalogue, payer, creator, known_as };
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
        let caller = Caller::of(request.extensions())?;
        let id = self.named(&caller, &request.get_ref().name).await?;
        Ok(Response::new(GetIncidentResponse { incident: Some(self.incidents.shown(id).await?) }))
    }

    async fn list_incidents(
        &self,
        request: Request<ListIncidentsRequest>,
    ) -> Result<Response<ListIncidentsResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = match List::Incidents.key(&request.page_token)? {
            None => None,
            Some(key) => Some(checks::name::<IncidentId>(&String::from_utf8_lossy(&key))?),
        };
        let oldest_first = checks::oldest_first(&request.order_by)?;
        let filter = Filter::read(request.filter.unwrap_or_default())?;
        let page = Part { after, oldest_first, open_only: filter.is_of_open_ones(), limit: size };
        let (incidents, next) = self.listed(&caller, &filter, page).await?;
        let next_page_token = match next.as_str() {
            "" => String::new(),
            next => List::Incidents.token(next.as_bytes()),
        };
        Ok(Response::new(ListIncidentsResponse { incidents, next_page_token }))
    }

    type WatchIncidentsStream = Pin<Box<dyn Stream<Item = Result<WatchIncidentsResponse, Status>> + Send>>;

    async fn watch_incidents(
        &self,
        request: Request<WatchIncidentsRequest>,
    ) -> Result<Response<Self::WatchIncidentsStream>, Status> {
        let caller = Caller::of(request.extensions())?;
        let filter = Filter::read(request.into_inner().filter.unwrap_or_default())?;
        let sees = caller.clone();
        // What is of no tenant that can be read is shown to nobody.
        let may = move |incident: &Incident| tenant_of(incident).is_ok_and(|tenant| sees.may(&tenant));
        let messages = self.incidents.follow(filter, may).map(|update| {
            update.map(|update| WatchIncidentsResponse { update: Some(update) }).map_err(Status::from)
        });
        Ok(Response::new(self.counted(until(messages, over(caller)))))
    }

    type WatchIncidentStream = Pin<Box<dyn Stream<Item = Result<WatchIncidentResponse, Status>> + Send>>;

    async fn watch_incident(
        &self,
        request: Request<WatchIncidentRequest>,
    ) -> Result<Response<Self::WatchIncidentStream>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let id = self.named(&caller, &request.name).await?;
        let updates = self.incidents.watch(id, request.resume_after).await?.stream();
        let messages = updates.map(|update| {
            update.map(|update| WatchIncidentResponse { update: Some(update) }).map_err(Status::from)
        });
        Ok(Response::new(self.counted(until(messages, over(caller)))))
    }

    async fn report_alerts(
        &self,
        request: Request<ReportAlertsRequest>,
    ) -> Result<Response<ReportAlertsResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        if let Some((address, mut owner)) = self.owner(&request.name, &caller).await? {
            let passed_on = pass_on(request, &metadata, &caller.principal);
            return answered(&address, owner.report_alerts(passed_on).await);
        }
        checks::more_alerts(&request.alerts)?;
        let in_flight = extensions.get::<InFlight>().cloned();
        if let (Some(in_flight), Some(tenant)) =
            (&in_flight, self.incidents.tenant(checks::name(&request.name)?))
        {
            in_flight.count_for(tenant.as_str())?;
        }
        let (mut request, print) = self.fingerprint(&caller, "ReportAlerts", request).await?;
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
        let (metadata, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        if let Some((address, mut owner)) = self.owner(&request.name, &caller).await? {
            let passed_on = pass_on(request, &metadata, &caller.principal);
            return answered(&address, owner.report_outcome(passed_on).await);
        }
        let found = match (request.state, request.facts) {
            (Some(state), None) => Found::State(recovery_state(state)),
            (None, Some(facts)) if facts != RecoveryFacts::default() => Found::Facts(facts),
            (None, None) if request.carried_out == Some(false) => Found::Facts(RecoveryFacts::default()),
            (None, Some(_)) => return Err(Error::invalid("facts", "it names no fact").into()),
            (None, None) => {
                return Err(Error::invalid("state", "either this or `facts` has to be set").into());
            }
            (Some(_), Some(_)) => {
                return Err(Error::invalid("facts", "either this or `state` is set, and both are").into());
            }
        };
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        checks::findings(&request.findings)?;
        let change = Change::ReportOutcome {
            step: request.step,
            found,
            carried_out: request.carried_out,
            findings: request.findings.clone(),
        };
        let answer = |changed: Changed| ReportOutcomeResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::by(&caller, "ReportOutcome", &request), key, change, answer).await
    }

    async fn approve_action(
        &self,
        request: Request<ApproveActionRequest>,
    ) -> Result<Response<ApproveActionResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        if let Some((address, mut owner)) = self.owner(&request.name, &caller).await? {
            let passed_on = pass_on(request, &metadata, &caller.principal);
            return answered(&address, owner.approve_action(passed_on).await);
        }
        checks::plan_hash(&request.plan_hash)?;
        if !request.action.is_empty() {
            checks::sentence("action", &request.action)?;
        }
        checks::person("approver", &request.approver)?;
        let approver = approver(&caller, &request.approver)?;
        self.other_eyes(&caller, checks::name(&request.name)?).await?;
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let change = Change::Approve {
            step: request.step,
            plan_hash: request.plan_hash.clone(),
            action: Some(request.action.clone()).filter(|action| !action.is_empty()),
            approver,
            is_person: caller.principal.is_person(),
        };
        let answer = |changed: Changed| ApproveActionResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::by(&caller, "ApproveAction", &request), key, change, answer).await
    }

    async fn reject_action(
        &self,
        request: Request<RejectActionRequest>,
    ) -> Result<Response<RejectActionResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        if let Some((address, mut owner)) = self.owner(&request.name, &caller).await? {
            let passed_on = pass_on(request, &metadata, &caller.principal);
            return answered(&address, owner.reject_action(passed_on).await);
        }
        checks::sentence("reason", &request.reason)?;
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let by = caller.name().to_owned();
        checks::findings(&request.findings)?;
        let (reason, findings) = (request.reason.clone(), request.findings.clone());
        let change = Change::Reject { step: request.step, reason, by, findings };
        let answer = |changed: Changed| RejectActionResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::by(&caller, "RejectAction", &request), key, change, answer).await
    }

    async fn resend_action(
        &self,
        request: Request<ResendActionRequest>,
    ) -> Result<Response<ResendActionResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        if let Some((address, mut owner)) = self.owner(&request.name, &caller).await? {
            let passed_on = pass_on(request, &metadata, &caller.principal);
            return answered(&address, owner.resend_action(passed_on).await);
        }
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let change = Change::Resend { step: request.step };
        let answer = |changed: Changed| ResendActionResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::by(&caller, "ResendAction", &request), key, change, answer).await
    }

    async fn cancel_incident(
        &self,
        request: Request<CancelIncidentRequest>,
    ) -> Result<Response<CancelIncidentResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?;
        if let Some((address, mut owner)) = self.owner(&request.name, &caller).await? {
            let passed_on = pass_on(request, &metadata, &caller.principal);
            return answered(&address, owner.cancel_incident(passed_on).await);
        }
        let key = Key {
            name: &request.name,
            request_id: &request.request_id,
            validate_only: request.validate_only,
        };
        let answer = |changed: Changed| CancelIncidentResponse { incident: Some(changed.incident) };
        self.change(Fingerprint::by(&caller, "CancelIncident", &request), key, Change::Cancel, answer).await
    }

    async fn verify_incident(
        &self,
        request: Request<VerifyIncidentRequest>,
    ) -> Result<Response<VerifyIncidentResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let id = self.named(&caller, &request.get_ref().name).await?;
        let found = self.incidents.verify(id, request.get_ref().sequence).await?;
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
            signed_events: found.signed,
            sequence_sha256: found.at.map(hex::encode).unwrap_or_default(),
        }))
    }

    async fn export_plan(
        &self,
        request: Request<ExportPlanRequest>,
    ) -> Result<Response<ExportPlanResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let id = self.named(&caller, &request.name).await?;
        let format = ExportFormat::try_from(request.format)
            .map_err(|_| Error::invalid("format", format!("there is no format {}", request.format)))?;
        let incident = self.incidents.get(id).await?;
        let json =
            |text: serde_json::Result<String>| text.map_err(|fault| Error::Internal(fault.to_string()));
        let plan = async |incident| {
            let notices = self.incidents.notices(id).await?;
            Ok::<_, Error>(PlanDocument::new(incident, notices))
        };
        let (content_type, content) = match format {
            ExportFormat::Unspecified | ExportFormat::Json => {
                ("application/json", json(plan(incident).await?.to_json())?)
            }
            ExportFormat::Markdown => ("text/markdown; charset=utf-8", markdown(&plan(incident).await?)),
            ExportFormat::Cacao => {
                let playbook = cacao(&plan(incident).await?);
                ("application/cacao+json; version=2.0", json(serde_json::to_string_pretty(&playbook))?)
            }
            ExportFormat::Record => {
                let record = RecordDocument::new(incident, self.incidents.events(id).await?);
                ("application/json", json(record.to_json())?)
            }
            ExportFormat::Stix => {
                let bundle = stix(&attack(&incident)?);
                ("application/stix+json;version=2.1", json(serde_json::to_string_pretty(&bundle))?)
            }
            ExportFormat::Misp => {
                let event = misp(&attack(&incident)?);
                ("application/json", json(serde_json::to_string_pretty(&event))?)
            }
        };
        Ok(Response::new(ExportPlanResponse {
            content_type: content_type.to_owned(),
            content: content.into_bytes(),
        }))
    }
}

/// What others can be told of the attack.
fn attack(incident: &Incident) -> Result<Attack, Error> {
    Attack::of(incident).ok_or_else(|| Error::Precondition {
        condition: Condition::Status,
        subject: incident.name.clone(),
        description: "there is no attack to tell others of: the evidence was not assessed yet, or shows none"
            .to_owned(),
    })
}
