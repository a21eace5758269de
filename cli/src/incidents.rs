//! `countermove incidents`: see and steer the incidents of a coordinator.

use std::time::SystemTime;

use countermove_proto::v1::{ExportFormat, ListIncidentsRequest};
use countermove_wire::document::PlanDocument;

use crate::args::{IncidentsArgs, IncidentsCommand, Remote};
use crate::client::{Coordinator, resource};
use crate::console::{Console, page};
use crate::decisions::{self, Found};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::plan::{Watch, cancel, export, get, write_out};
use crate::{proof, render, report};

/// Incidents listed.
const LISTED: i32 = 100;

pub(crate) async fn incidents(
    arguments: IncidentsArgs,
    remote: &Remote,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let full = |name: &str| resource("incidents", name);
    let mut coordinator = Coordinator::connect(remote).await?;
    if let Some(name) = arguments.command.incident() {
        coordinator = coordinator.about(&full(name));
    }
    match arguments.command {
        IncidentsCommand::List => {
            let request = ListIncidentsRequest { page_size: LISTED, ..ListIncidentsRequest::default() };
            let response = coordinator
                .call(request, async |request| coordinator.incidents().list_incidents(request).await)
                .await?;
            write_out(render::incidents(&response.incidents, SystemTime::now(), page().columns).as_bytes())?;
            if !response.next_page_token.is_empty() {
                console.line(&format!("only the newest {LISTED} are shown"));
            }
        }
        IncidentsCommand::Get { name } => {
            let document = PlanDocument::new(get(&coordinator, &full(&name)).await?, []);
            write_out(render::incident(&document, page()).as_bytes())?;
        }
        IncidentsCommand::Watch { name } => {
            let mut watch = Watch::new(coordinator.clone(), full(&name), console.clone(), false);
            let ended = tokio::select! {
                ended = watch.end() => Some(ended),
                () = interrupt.wait() => None,
            };
            watch.finish();
            match ended {
                // Looking on is all that ends here; the planning goes on.
                None => return Ok(Exit::Interrupted),
                Some(ended) => drop(ended?),
            }
        }
        IncidentsCommand::Cancel { name } => {
            cancel(&coordinator, &full(&name)).await?;
            console.line(&format!("cancelled {}", render::one_line(&full(&name))));
        }
        IncidentsCommand::Approve { name, hash, approver } => {
            let action =
                decisions::approve(&coordinator, &full(&name), &hash, coordinator.approver(approver)).await?;
            console.line(&format!("approved: {}", render::one_line(&action)));
        }
        IncidentsCommand::Reject { name, reason } => {
            let action = decisions::reject(&coordinator, &full(&name), reason).await?;
            console.line(&format!("rejected: {}", render::one_line(&action)));
        }
        IncidentsCommand::ReportOutcome { name, facts, .. } => {
            let found = facts.map_or(Found::AsPredicted, Found::Facts);
            let told = decisions::report_outcome(&coordinator, &full(&name), &found).await?;
            console.line(&format!("reported: {told}"));
        }
        IncidentsCommand::Resend { name, step } => {
            decisions::resend(&coordinator, &full(&name), step.saturating_sub(1)).await?;
            console.line(&format!("the action of step {step} is on its way to the webhook again"));
        }
        IncidentsCommand::ReportAlerts { name, files, follow, from_start, every } => {
            let name = full(&name);
            return match follow {
                Some(path) => {
                    let follow = report::Follow { path: &path, from_start, every };
                    report::follow(&coordinator, &name, follow, console, interrupt).await
                }
                None => report::files(&coordinator, &name, &files, console).await,
            };
        }
        IncidentsCommand::Export { name, markdown, cacao, record } => {
            let format = match (markdown, cacao, record) {
                (true, ..) => ExportFormat::Markdown,
                (_, true, _) => ExportFormat::Cacao,
                (.., true) => ExportFormat::Record,
                _ => ExportFormat::Json,
            };
            let mut document = export(&coordinator, &full(&name), format).await?;
            if document.last() != Some(&b'\n') {
                document.push(b'\n');
            }
            write_out(&document)?;
        }
        IncidentsCommand::Verify { name: Some(name), .. } => {
            let name = full(&name);
            let checked = proof::incident(&coordinator, &name, 0).await?;
            let gone = || Failure::Failed(format!("there is no incident {}", render::one_line(&name)));
            let checked = checked.ok_or_else(gone)?.whole(&name)?;
            write_out(checked.sentence().as_bytes())?;
        }
        IncidentsCommand::Verify { name: None, anchor, keys } => {
            write_out(proof::everything(&coordinator, anchor.as_deref(), &keys).await?.as_bytes())?;
        }
    }
    Ok(Exit::Success)
}
