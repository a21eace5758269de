//! `countermove workers`: see and steer the workers of a coordinator.

use countermove_proto::v1::{DrainWorkerRequest, ListWorkersRequest, ResumeWorkerRequest, Worker};

use crate::args::{Remote, WorkersArgs, WorkersCommand};
use crate::client::{Coordinator, request_id, resource};
use crate::console::page;
use crate::failure::{Exit, Failure};
use crate::plan::write_out;
use crate::render;

/// Workers asked for at a time.
const PAGE: i32 = 200;

pub(crate) async fn workers(arguments: WorkersArgs, remote: &Remote) -> Result<Exit, Failure> {
    let coordinator = &Coordinator::connect(remote).await?;
    let shown = match arguments.command {
        WorkersCommand::List { json: true } => {
            write_out(render::workers_json(&list(coordinator).await?).as_bytes())?;
            return Ok(Exit::Success);
        }
        WorkersCommand::List { json: false } => list(coordinator).await?,
        WorkersCommand::Drain { id } => {
            let request = DrainWorkerRequest {
                name: resource("workers", &id),
                request_id: request_id(),
                validate_only: false,
            };
            let drained =
                coordinator.call(request, async |request| coordinator.cluster().drain_worker(request).await);
            drained.await?.worker.into_iter().collect()
        }
        WorkersCommand::Resume { id } => {
            let request = ResumeWorkerRequest {
                name: resource("workers", &id),
                request_id: request_id(),
                validate_only: false,
            };
            let resumed =
                coordinator.call(request, async |request| coordinator.cluster().resume_worker(request).await);
            resumed.await?.worker.into_iter().collect()
        }
    };
    write_out(render::workers(&shown, page().columns).as_bytes())?;
    Ok(Exit::Success)
}

/// All workers, page by page.
pub async fn list(coordinator: &Coordinator) -> Result<Vec<Worker>, Failure> {
    let mut workers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListWorkersRequest { page_size: PAGE, page_token };
        let page = coordinator
            .call(request, async |request| coordinator.cluster().list_workers(request).await)
            .await?;
        workers.extend(page.workers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(workers);
        }
    }
}
