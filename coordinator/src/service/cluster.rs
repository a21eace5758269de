//! `countermove.v1.ClusterService`.

use std::sync::Arc;

use countermove_proto::v1::cluster_service_server::ClusterService;
use countermove_proto::v1::{
    DrainWorkerRequest, DrainWorkerResponse, GetQueueRequest, GetQueueResponse, GetWorkerRequest,
    GetWorkerResponse, ListWorkersRequest, ListWorkersResponse, ResumeWorkerRequest, ResumeWorkerResponse,
    Worker,
};
use countermove_proto::{Error, WorkerId};
use prost::Message;
use tonic::{Request, Response, Status};

use super::idempotency::{Fingerprint, Replies};
use super::pages::{List, page_size};
use super::{REMEMBERED, checks};
use crate::access::Caller;
use crate::incidents::Incidents;
use crate::workers::Fleet;

/// The service over this coordinator's workers.
#[derive(Clone)]
pub struct ClusterApi {
    fleet: Fleet,
    incidents: Incidents,
    replies: Arc<Replies>,
}

impl ClusterApi {
    /// A service over these workers, and the incidents that they work for.
    pub fn new(fleet: Fleet, incidents: Incidents) -> Self {
        Self { fleet, incidents, replies: Replies::new(REMEMBERED) }
    }

    async fn set_drained<T>(
        &self,
        caller: &Caller,
        request: &impl Message,
        id: WorkerId,
        request_id: &str,
        drain: Drain,
        answer: impl FnOnce(Worker) -> T + Send + 'static,
    ) -> Result<Response<T>, Status>
    where
        T: Message + Default + 'static,
    {
        let request_id = checks::request_id(request_id)?;
        let method = if drain.drained { "DrainWorker" } else { "ResumeWorker" };
        if drain.validate_only {
            return Ok(Response::new(answer(self.fleet.set_drained(&id, drain.drained, true)?)));
        }
        let fleet = self.fleet.clone();
        let work = async move { fleet.set_drained(&id, drain.drained, false).map(answer) };
        Ok(Response::new(
            self.replies.once(request_id, Fingerprint::by(caller, method, request), work).await?,
        ))
    }
}

#[derive(Clone, Copy)]
struct Drain {
    drained: bool,
    validate_only: bool,
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = List::Workers.key(&request.page_token)?;
        let after = after.map(String::from_utf8).transpose();
        let after = after.map_err(|_| Error::invalid("page_token", "it names no worker"))?;
        let workers = self.fleet.list().into_iter();
        let mut workers: Vec<_> =
            workers.filter(|worker| after.as_ref().is_none_or(|after| worker.address > *after)).collect();
        let more = workers.len() > size;
        workers.truncate(size);
        let next_page_token = match workers.last() {
            Some(last) if more => List::Workers.token(last.address.as_bytes()),
            _ => String::new(),
        };
        Ok(Response::new(ListWorkersResponse { workers, next_page_token }))
    }

    async fn get_worker(
        &self,
        request: Request<GetWorkerRequest>,
    ) -> Result<Response<GetWorkerResponse>, Status> {
        let id = checks::name(&request.get_ref().name)?;
        Ok(Response::new(GetWorkerResponse { worker: Some(self.fleet.get(&id)?) }))
    }

    async fn get_queue(
        &self,
        _request: Request<GetQueueRequest>,
    ) -> Result<Response<GetQueueResponse>, Status> {
        let incidents = u32::try_from(self.incidents.active()).unwrap_or(u32::MAX);
        Ok(Response::new(GetQueueResponse { queued: self.incidents.queued(), incidents }))
    }

    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let (id, drain) =
            (checks::name(&request.name)?, Drain { drained: true, validate_only: request.validate_only });
        let answer = |worker| DrainWorkerResponse { worker: Some(worker) };
        self.set_drained(&caller, &request, id, &request.request_id, drain, answer).await
    }

    async fn resume_worker(
        &self,
        request: Request<ResumeWorkerRequest>,
    ) -> Result<Response<ResumeWorkerResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let (id, drain) =
            (checks::name(&request.name)?, Drain { drained: false, validate_only: request.validate_only });
        let answer = |worker| ResumeWorkerResponse { worker: Some(worker) };
        self.set_drained(&caller, &request, id, &request.request_id, drain, answer).await
    }
}
