//! `countermove plan`: sends the evidence, follows the planning, prints the plan.

mod activity;
mod interactive;
mod watch;

use std::io::Write;
use std::time::Duration;

use countermove_proto::v1::{
    Autonomy, CancelIncidentRequest, CreateIncidentRequest, Evidence, ExportFormat, ExportPlanRequest,
    GetIncidentRequest, Incident, PlanEnd, PlanEnded, PlanMode, PlanOptions, Priority,
};
use countermove_wire::IntoMessage;
use countermove_wire::document::PlanDocument;

use crate::args::{self, Budget, PlanArgs, Remote};
use crate::client::{Coordinator, request_id};
use crate::console::{Console, page};
use crate::evidence;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::render;

pub use activity::revised;
pub(crate) use activity::{Activity, work};
pub use watch::Watch;

/// Time that the coordinator has to stop an incident after Ctrl-C.
const CANCEL: Duration = Duration::from_secs(10);

/// What becomes of an incident that a person decides about when the person goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It goes on; any terminal can take it up.
    Detach,
    /// It is cancelled, since its coordinator ends as well.
    Cancel,
}

/// A plan whose input was read and found usable.
pub(crate) struct Prepared {
    arguments: PlanArgs,
    evidence: Evidence,
}

impl Prepared {
    /// Reads the files. Reading 200 MB takes seconds, in which signals still get through.
    pub(crate) async fn read(arguments: PlanArgs) -> Result<Self, Failure> {
        tokio::task::spawn_blocking(move || {
            let evidence = evidence::read(&arguments)?;
            Ok(Self { arguments, evidence })
        })
        .await
        .map_err(|error| Failure::Failed(format!("the evidence could not be read: {error}")))?
    }

    /// Plans the incident at this coordinator.
    pub(crate) async fn run(
        self,
        remote: &Remote,
        leave: Leave,
        console: &Console,
        interrupt: &mut Interrupt,
    ) -> Result<Exit, Failure> {
        let Self { arguments, evidence } = self;
        let (json, quiet) = (arguments.json, arguments.quiet);
        let coordinator = Coordinator::connect(remote).await?;
        let request = CreateIncidentRequest {
            evidence: Some(evidence),
            options: Some(options(&arguments)),
            cost_model: arguments.costs.as_ref().map(|costs| (&costs.0).into_message()),
            request_id: request_id(),
            validate_only: false,
            tenant: arguments.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            priority: arguments.priority.map_or(Priority::Unspecified, Priority::from).into(),
            labels: arguments.labels.iter().cloned().collect(),
            external_id: arguments.external_id.clone().unwrap_or_default(),
            catalogue: arguments.catalogue.as_ref().map(|catalogue| catalogue.0.clone()).unwrap_or_default(),
        };
        let name = create(&coordinator, request, console, quiet).await?;
        if arguments.detach {
            let text = if json { serde_json::json!({ "name": name }).to_string() } else { name };
            write_out(format!("{text}\n").as_bytes())?;
            return Ok(Exit::Success);
        }
        let coordinator = coordinator.about(&name);
        let mut watch = Watch::new(coordinator.clone(), name.clone(), console.clone(), quiet);
        let ended = {
            let work = async {
                if arguments.interactive {
                    interactive::decide(&coordinator, &mut watch).await
                } else {
                    watch.end().await
                }
            };
            tokio::select! {
                ended = work => Some(ended),
                () = interrupt.wait() => None,
            }
        };
        watch.finish();
        match ended {
            Some(Ok(ended)) => {
                print(&coordinator, &name, json).await?;
                Ok(exit(&ended, watch.steps(), console))
            }
            // Whoever decides about an incident may come back to it.
            Some(Err(failure)) if arguments.interactive && leave == Leave::Detach => {
                console.line(&detached(&coordinator, &name));
                Err(failure)
            }
            None if arguments.interactive && leave == Leave::Detach => {
                console.line(&detached(&coordinator, &name));
                Ok(Exit::Interrupted)
            }
            Some(Err(failure)) => {
                // Nobody reads this plan any more. If the coordinator is gone, so is its planning.
                let _ = tokio::time::timeout(CANCEL, cancel(&coordinator, &name)).await;
                Err(failure)
            }
            None => Ok(interrupted(&coordinator, &name, console, interrupt).await),
        }
    }
}

/// Starts planning, and tells what is to be known about the evidence. Gives the incident's name.
async fn create(
    coordinator: &Coordinator,
    request: CreateIncidentRequest,
    console: &Console,
    quiet: bool,
) -> Result<String, Failure> {
    let created = coordinator
        .call(request, async |request| coordinator.incidents().create_incident(request).await)
        .await?;
    let warnings = created.digest.map(|digest| digest.warnings).unwrap_or_default();
    // The notes of the evidence are among them.
    for warning in warnings.iter().filter(|_| !quiet) {
        console.line(&format!("warning: {}", render::one_line(warning)));
    }
    match created.incident {
        Some(incident) if !incident.name.is_empty() => Ok(incident.name),
        _ => Err(Failure::Failed("the coordinator took the incident and gave it no name".to_owned())),
    }
}

/// How to come back to an incident.
fn detached(coordinator: &Coordinator, name: &str) -> String {
    let (id, flag) = (name.trim_start_matches("incidents/"), coordinator.flag());
    format!(
        "\n{name} goes on without you. From any terminal:\n  countermove incidents get {id}{flag}     what waits, and how to \
         decide\n  countermove incidents watch {id}{flag}   follow it\n  countermove incidents cancel {id}{flag}  end it"
    )
}

/// Stops planning on the server and says so.
async fn interrupted(
    coordinator: &Coordinator,
    name: &str,
    console: &Console,
    interrupt: &mut Interrupt,
) -> Exit {
    let cancelled = tokio::select! {
        cancelled = tokio::time::timeout(CANCEL, cancel(coordinator, name)) => cancelled,
        // A second Ctrl-C is an order to go at once.
        () = interrupt.wait() => return Exit::Interrupted,
    };
    match cancelled {
        Ok(Ok(())) => console.line(&format!("cancelled {name}; nothing of it is left running")),
        Ok(Err(failure)) => console.line(&format!("error: {name} could not be cancelled: {failure}")),
        Err(_) => console.line(&format!(
            "error: the coordinator did not confirm within {} s that {name} is cancelled; try `countermove incidents \
             cancel {name}`",
            CANCEL.as_secs()
        )),
    }
    Exit::Interrupted
}

/// Stops planning.
pub async fn cancel(coordinator: &Coordinator, name: &str) -> Result<(), Failure> {
    let request =
        CancelIncidentRequest { name: name.to_owned(), request_id: request_id(), validate_only: false };
    coordinator
        .call(request, async |request| coordinator.incidents().cancel_incident(request).await)
        .await
        .map(drop)
}

/// The incident as it stands.
pub(crate) async fn get(coordinator: &Coordinator, name: &str) -> Result<Incident, Failure> {
    let request = GetIncidentRequest { name: name.to_owned() };
    let response = coordinator
        .call(request, async |request| coordinator.incidents().get_incident(request).await)
        .await?;
    response.incident.ok_or_else(|| Failure::Failed(format!("the coordinator gave no incident for {name}")))
}

/// The plan as a document.
pub(crate) async fn export(
    coordinator: &Coordinator,
    name: &str,
    format: ExportFormat,
) -> Result<Vec<u8>, Failure> {
    let request = ExportPlanRequest { name: name.to_owned(), format: format.into() };
    let exported =
        coordinator.call(request, async |request| coordinator.incidents().export_plan(request).await);
    Ok(exported.await?.content)
}

async fn print(coordinator: &Coordinator, name: &str, json: bool) -> Result<(), Failure> {
    if json {
        let mut document = export(coordinator, name, ExportFormat::Json).await?;
        if document.last() != Some(&b'\n') {
            document.push(b'\n');
        }
        return write_out(&document);
    }
    let document = PlanDocument::new(get(coordinator, name).await?, []);
    write_out(render::incident(&document, None, page()).as_bytes())
}

/// Writes to standard output. A reader that has gone, as after `| head`, is no failure.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// How the command ends; on standard error why, unless the plan says it.
pub(crate) fn exit(ended: &PlanEnded, steps: usize, console: &Console) -> Exit {
    let (exit, text) = match ended.end() {
        PlanEnd::Recovered => return Exit::Success,
        PlanEnd::StepLimit => return Exit::Unfinished,
        // What looked like one was none, or never got in.
        PlanEnd::NoIncident | PlanEnd::Cleared => return Exit::NoIncident,
        // What was planned until then is a plan.
        PlanEnd::NoCandidate if steps > 0 => return Exit::Unfinished,
        PlanEnd::NoCandidate => {
            let why = render::one_line(&ended.error);
            let text = "error: no usable action could be proposed".to_owned();
            (Exit::Failure, if why.is_empty() { text } else { format!("{text}: {why}") })
        }
        PlanEnd::NotUnderstood => (
            Exit::NotUnderstood,
            "error: nothing in the evidence is in a known form, so nothing was judged".to_owned(),
        ),
        PlanEnd::Deadline => {
            (Exit::Deadline, "the deadline passed; the plan holds what was decided until then".to_owned())
        }
        PlanEnd::Cancelled => (Exit::Failure, "error: somebody else cancelled this incident".to_owned()),
        PlanEnd::Failed | PlanEnd::Unspecified => {
            (Exit::Failure, format!("error: planning failed: {}", render::one_line(&ended.error)))
        }
    };
    console.line(&text);
    exit
}

fn options(arguments: &PlanArgs) -> PlanOptions {
    let mode = if arguments.interactive { PlanMode::Interactive } else { PlanMode::Offline };
    let autonomy = match arguments.approve_reversible {
        Some(_) => Autonomy::ApproveReversible,
        None => Autonomy::Advise,
    };
    PlanOptions {
        mode: mode.into(),
        autonomy: autonomy.into(),
        autonomy_confidence: arguments.approve_reversible,
        ..arguments.options.message()
    }
}

impl args::PlanOptions {
    /// As the coordinator reads them; what was not given is its default.
    pub fn message(&self) -> PlanOptions {
        let (mut budget_rollouts, mut budget_tokens, mut budget_time) = (0, 0, None);
        for budget in &self.budget {
            match *budget {
                Budget::Rollouts(most) => budget_rollouts = most,
                Budget::Tokens(most) => budget_tokens = most,
                Budget::Time(most) => budget_time = Some(countermove_proto::duration_to_message(most)),
            }
        }
        PlanOptions {
            candidates: self.candidates.unwrap_or_default(),
            rollouts: self.rollouts.unwrap_or_default(),
            max_depth: self.depth.unwrap_or_default(),
            max_steps: self.steps.unwrap_or_default(),
            seed: self.seed,
            temperature: self.temperature,
            top_p: None,
            thinking_tokens: self.thinking_tokens,
            deadline: self.deadline.map(countermove_proto::duration_to_message),
            mode: PlanMode::Unspecified.into(),
            exhaustive: self.exhaustive,
            confidence: self.confidence,
            budget_rollouts,
            budget_tokens,
            budget_time,
            autonomy: Autonomy::Unspecified.into(),
            autonomy_confidence: None,
            alert_precision: self.alert_precision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_exit() {
        let console = Console::new();
        for (end, steps, code) in [
            (PlanEnd::Recovered, 2, 0),
            (PlanEnd::StepLimit, 2, 5),
            (PlanEnd::NoIncident, 0, 6),
            (PlanEnd::Cleared, 2, 6),
            (PlanEnd::NotUnderstood, 0, 4),
            (PlanEnd::NoCandidate, 2, 5),
            (PlanEnd::NoCandidate, 0, 1),
            (PlanEnd::Deadline, 1, 3),
            (PlanEnd::Cancelled, 1, 1),
            (PlanEnd::Failed, 1, 1),
        ] {
            let ended = PlanEnded { end: end.into(), ..PlanEnded::default() };
            assert_eq!(exit(&ended, steps, &console).code(), code, "{end:?} after {steps} steps");
        }
    }
}
