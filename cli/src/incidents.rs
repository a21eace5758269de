//! `countermove incidents`: see and steer the incidents of a coordinator.

use std::time::SystemTime;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{
    ExportFormat, Incident, IncidentFilter, IncidentStatus, ListIncidentsRequest, PlanEnded, Priority,
};
use countermove_proto::{duration_from_message, system_time};
use countermove_wire::document::PlanDocument;

use crate::args::{IncidentsArgs, IncidentsCommand, ListArgs, Remote};
use crate::client::{Coordinator, resource};
use crate::console::{Console, page};
use crate::decisions::{self, Found};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::plan::{Watch, cancel, exit, export, get, work, write_out};
use crate::{proof, render, report};

/// Incidents listed.
const LISTED: usize = 100;
/// The order of a list in which the newest incident comes first.
pub(crate) const NEWEST_FIRST: &str = "create_time desc";

/// Incidents that fit, no more than `most`, and whether there are more.
pub(crate) async fn list(
    coordinator: &Coordinator,
    filter: IncidentFilter,
    order_by: &str,
    most: usize,
) -> Result<(Vec<Incident>, bool), Failure> {
    let (mut incidents, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListIncidentsRequest {
            page_size: i32::try_from(most - incidents.len()).unwrap_or(i32::MAX),
            page_token,
            filter: Some(filter.clone()),
            order_by: order_by.to_owned(),
        };
        let call = async |request| coordinator.incidents().list_incidents(request).await;
        let page = coordinator.call(request, call).await?;
        incidents.extend(page.incidents);
        page_token = page.next_page_token;
        // A page may be short although there is another one.
        if page_token.is_empty() || incidents.len() >= most {
            return Ok((incidents, !page_token.is_empty()));
        }
    }
}

/// Which incidents are asked for.
fn filter(asked: &ListArgs) -> IncidentFilter {
    IncidentFilter {
        statuses: asked.status.iter().map(|status| IncidentStatus::from(*status).into()).collect(),
        priorities: asked.priority.iter().map(|priority| Priority::from(*priority).into()).collect(),
        tenant: asked.tenant.clone().unwrap_or_default(),
        text: asked.text.clone().unwrap_or_default(),
        labels: asked.labels.iter().cloned().collect(),
        external_id: asked.external_id.clone().unwrap_or_default(),
    }
}

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
        IncidentsCommand::List(asked) => {
            let order_by = if asked.oldest_first { "create_time" } else { NEWEST_FIRST };
            let (incidents, more) = list(&coordinator, filter(&asked), order_by, LISTED).await?;
            let text = match asked.json {
                true => render::incidents_json(&incidents),
                false => render::incidents(&incidents, SystemTime::now(), page().columns),
            };
            write_out(text.as_bytes())?;
            if more {
                console.line(&format!("only the first {LISTED} are shown"));
            }
        }
        IncidentsCommand::Get { name, json } => {
            let incident = get(&coordinator, &full(&name)).await?;
            let now = under_way(&incident, SystemTime::now());
            let document = PlanDocument::new(incident, []);
            let text = match json {
                true => document.to_json().map_err(|error| Failure::Failed(error.to_string()))? + "\n",
                false => render::incident(&document, now.as_deref(), page()),
            };
            write_out(text.as_bytes())?;
        }
        IncidentsCommand::Watch { name, until_decision } => {
            let mut watch = Watch::new(coordinator.clone(), full(&name), console.clone(), false);
            let seen = tokio::select! {
                seen = look_on(&coordinator, &mut watch, until_decision) => Some(seen),
                () = interrupt.wait() => None,
            };
            watch.finish();
            return match seen {
                // Looking on is all that ends here; the planning goes on.
                None => Ok(Exit::Interrupted),
                Some(seen) => Ok(match seen? {
                    Seen::Ended(ended) => exit(&ended, watch.steps(), console),
                    Seen::Waits => Exit::Waiting,
                }),
            };
        }
        IncidentsCommand::Cancel { name } => {
            cancel(&coordinator, &full(&name)).await?;
            console.line(&format!("cancelled {}", render::one_line(&full(&name))));
        }
        IncidentsCommand::Approve { name, hash, candidate, approver } => {
            let seen = decisions::Seen { hash: &hash, candidate };
            let approver = coordinator.approver(approver);
            let said = decisions::approve(&coordinator, &full(&name), &seen, approver).await?;
            console.line(&said);
        }
        IncidentsCommand::Reject { name, reason, findings } => {
            let action = decisions::reject(&coordinator, &full(&name), reason, findings.all()).await?;
            console.line(&format!("rejected: {}", render::one_line(&action)));
        }
        IncidentsCommand::ReportOutcome { name, facts, not_carried_out, findings, .. } => {
            let found = match facts {
                Some(facts) => Found::Facts(facts),
                None if not_carried_out => Found::NotCarriedOut,
                None => Found::AsPredicted,
            };
            let told = decisions::report_outcome(&coordinator, &full(&name), &found, findings.all()).await?;
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
        IncidentsCommand::Export { name, markdown, cacao, record, stix, misp } => {
            let formats = [
                (markdown, ExportFormat::Markdown),
                (cacao, ExportFormat::Cacao),
                (record, ExportFormat::Record),
                (stix, ExportFormat::Stix),
                (misp, ExportFormat::Misp),
            ];
            let format = formats.into_iter().find(|(is_wanted, _)| *is_wanted);
            let format = format.map_or(ExportFormat::Json, |(_, format)| format);
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

/// What planning is doing at this moment, and how much of its time is left if it has an end; none while a person is waited for.
fn under_way(incident: &Incident, now: SystemTime) -> Option<String> {
    let progress = incident.progress.filter(|_| incident.status() == IncidentStatus::Planning)?;
    let mut text = work(&progress);
    let deadline = incident.options.and_then(|options| options.deadline).and_then(duration_from_message);
    let end =
        incident.create_time.and_then(system_time).zip(deadline).and_then(|(at, time)| at.checked_add(time));
    if let Some(left) = end.and_then(|end| end.duration_since(now).ok()) {
        text += &format!(" · {} until its deadline", render::time(left.as_secs_f64()));
    }
    Some(text)
}

/// What somebody who looks on waits for.
enum Seen {
    /// Planning has ended.
    Ended(PlanEnded),
    /// A person has to approve or reject an action, or to say what it achieved.
    Waits,
}

/// Looks on until planning has ended, or a person has to decide if that is what is waited for.
async fn look_on(
    coordinator: &Coordinator,
    watch: &mut Watch,
    until_decision: bool,
) -> Result<Seen, Failure> {
    let name = watch.name().to_owned();
    loop {
        match watch.next().await?.kind {
            Some(Kind::Ended(ended)) => return Ok(Seen::Ended(ended)),
            // What lies behind may be decided by now.
            Some(Kind::Decided(_) | Kind::Approved(_)) if until_decision => {
                let status = get(coordinator, &name).await?.status();
                if matches!(status, IncidentStatus::AwaitingApproval | IncidentStatus::AwaitingOutcome) {
                    return Ok(Seen::Waits);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use countermove_proto::v1::{PlanOptions, PlanningStage, Progress};
    use countermove_proto::{duration_to_message, timestamp};

    use super::*;

    #[test]
    fn what_is_under_way_says_how_far_it_is_and_when_it_has_to_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let progress = Progress {
            stage: PlanningStage::Rollouts.into(),
            step: 1,
            rollouts_finished: 4,
            rollouts_total: 9,
            tokens: 1200,
        };
        let mut incident = Incident { progress: Some(progress), ..Incident::default() };
        assert_eq!(under_way(&incident, now), None, "whoever waits for a person is not at work");
        incident.set_status(IncidentStatus::Planning);
        let told = "step 2: rollouts 4/9 · 1,200 tokens chosen or forced";
        assert_eq!(under_way(&incident, now).as_deref(), Some(told));
        incident.create_time = Some(timestamp(now - Duration::from_secs(30)));
        let deadline = Some(duration_to_message(Duration::from_secs(100)));
        incident.options = Some(PlanOptions { deadline, ..PlanOptions::default() });
        assert_eq!(under_way(&incident, now).unwrap(), format!("{told} · 1 min 10 s until its deadline"));
        assert_eq!(under_way(&incident, now + Duration::from_secs(80)).as_deref(), Some(told));
    }
}
