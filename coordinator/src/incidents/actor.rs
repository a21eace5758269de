//! The task that owns one incident: its session, its evidence and the writing end of its log.
//!
//! Contract: what callers ask comes over a bounded channel and is answered after its events are written. Work that a
//! caller cancels, or that the deadline cuts, is dropped at once, and with it every call to a worker. The last event
//! is always `ended`, whatever went wrong, unless another owner can go on: then the task leaves the incident as its last
//! saved session has it.

mod desk;
mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use countermove_incident::{AlertLog, Dossier};
use countermove_planner::{ActionClass, Evidence, FellBack, Phase, PlanError, PlanSession, Planner};
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{Notice, PlanEnd, PlanEnded, PlanningStage, Progress, StateFellBack};
use countermove_proto::{Error, Tenant, system_time};
use countermove_telemetry::{TRACE, count};
use countermove_wire::IntoMessage;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use self::desk::Desk;
use self::outbox::Outbox;
use super::command::{Change, Changed, Command, apply, over};
use super::courier::Courier;
use super::log::Log;
use super::seal::names;
use super::store::StoreError;
use super::{Stop, takeover};
use crate::access::PolicyFile;
use crate::cpu::{Broken, Cpu};
use crate::dispatch::{IncidentWorkers, NoticeInbox};
use crate::webhook::Webhook;
use crate::workers::Fleet;

/// How often the count of tokens is told while nothing else happens.
const PULSE: Duration = Duration::from_millis(200);

/// Plans with workers.
pub(super) type IncidentPlanner = Planner<IncidentWorkers, IncidentWorkers>;

/// What an incident is made of when its task starts. The event `created` is in the log already.
pub(super) struct Beginning {
    pub(super) log: Log,
    pub(super) planner: Arc<IncidentPlanner>,
    pub(super) fleet: Fleet,
    /// Where it computes.
    pub(super) cpu: Cpu,
    /// How long it waits for a person's word.
    pub(super) patience: Option<Duration>,
    /// What says which actions two people have to approve.
    pub(super) policy: Option<PolicyFile>,
    pub(super) session: PlanSession,
    /// All evidence there is.
    pub(super) evidence: Evidence,
    /// Alerts in it that the session has not taken in yet.
    pub(super) fresh: Vec<AlertLog>,
    /// Lines of the evidence's log.
    pub(super) dossier: Dossier,
    /// Bytes of the evidence as it came, reports included.
    pub(super) length: usize,
    /// Reports of alerts in it, and of these the ones that the session has taken in.
    pub(super) reports: u32,
    pub(super) taken: u32,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Who is told of approved actions.
    pub(super) webhook: Option<Webhook>,
    pub(super) notices: NoticeInbox,
    pub(super) progress: watch::Sender<Progress>,
    /// True while the model is at work for the incident.
    pub(super) working: Arc<AtomicBool>,
    /// Cancelled when another coordinator owns the incident.
    pub(super) lost: CancellationToken,
    /// Says when the process stops.
    pub(super) stop: watch::Receiver<Stop>,
}

/// Plans an incident to its end.
pub(super) async fn run(beginning: Beginning) {
    let Beginning {
        log, planner, fleet, cpu, session, evidence, fresh, dossier, length, reports, taken, ..
    } = beginning;
    let Beginning { commands, webhook, notices, progress, working, lost, stop, patience, policy, .. } =
        beginning;
    let id = log.id();
    let tokens = session.tokens().clone();
    let proposed = log.incident().plan.as_ref().is_some_and(|plan| !plan.steps.is_empty());
    let mut actor = Actor {
        session,
        planner,
        desk: Desk {
            log,
            fleet,
            cpu,
            evidence,
            dossier,
            length,
            fresh,
            reports,
            taken,
            courier: Courier::new(webhook),
            notices,
            progress,
            tokens,
            proposed,
        },
        commands,
        working,
        lost,
        stop,
        patience,
        policy,
    };
    let mut left = false;
    if let Err(fault) = actor.live().await {
        left = fault.leaves_the_rest();
        match left {
            true => tracing::info!(incident = %id, reason = %fault, "incident is left to its next owner"),
            false => actor.fail(&fault).await,
        }
    }
    // Whoever asked too late hears so, instead of finding the channel closed.
    actor.commands.close();
    while let Some(command) = actor.commands.recv().await {
        let answer = match command.change {
            _ if left => Err(takeover::changes_hands(id)),
            Change::Cancel => Ok(actor.desk.changed(&actor.session)),
            _ => Err(over(id)),
        };
        let _ = command.reply.send(answer);
    }
}

struct Actor {
    session: PlanSession,
    planner: Arc<IncidentPlanner>,
    desk: Desk,
    commands: mpsc::Receiver<Command>,
    working: Arc<AtomicBool>,
    lost: CancellationToken,
    stop: watch::Receiver<Stop>,
    patience: Option<Duration>,
    policy: Option<PolicyFile>,
}

/// Why an incident cannot go on.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the log could not be written: {0}")]
    Store(#[from] StoreError),
    #[error("the evidence could not be made ready: {0}")]
    Evidence(String),
    #[error(transparent)]
    Work(#[from] Broken),
    #[error("the coordinator is about to stop")]
    HandedOver,
    #[error("the coordinator was stopped before planning ended")]
    Stopped,
}

impl Fault {
    /// Whether another owner, or this one later, may do better.
    fn leaves_the_rest(&self) -> bool {
        matches!(self, Self::Store(_) | Self::HandedOver)
    }
}

/// Why the session's work was broken off.
enum Break {
    Done(Box<PlanSession>),
    Cancelled(Command),
    Lost,
    Stopped,
}

impl Actor {
    async fn live(&mut self) -> Result<(), Fault> {
        self.desk.resume_deliveries();
        loop {
            if *self.stop.borrow() >= Stop::HandOver {
                return Err(self.stopped());
            }
            self.take_evidence_in().await?;
            match self.session.phase() {
                Phase::Perception | Phase::Revision | Phase::Decision => self.work().await?,
                Phase::Approval | Phase::Outcome => self.wait().await?,
                Phase::Ended(_) => return Ok(()),
            }
        }
    }

    /// What it means that the process stops.
    fn stopped(&self) -> Fault {
        match *self.stop.borrow() {
            Stop::HandOver | Stop::HandOverNow => Fault::HandedOver,
            Stop::Never | Stop::End => Fault::Stopped,
        }
    }

    /// Classes of actions that two people have to approve, as it holds now.
    fn two_approvers(&self) -> Arc<[ActionClass]> {
        let classes = self.policy.as_ref().and_then(|policy| {
            let tenant = Tenant::new(&self.desk.log.incident().tenant).ok()?;
            Some(policy.now().two_approvers(&tenant))
        });
        classes.unwrap_or_default()
    }

    /// Another coordinator owns the incident.
    fn fenced(&self) -> Fault {
        StoreError::Fenced(self.desk.log.id()).into()
    }

    /// One piece of model work, with an open ear for callers.
    async fn work(&mut self) -> Result<(), Fault> {
        self.working.store(true, Ordering::SeqCst);
        let (phase, begun) = (work_name(self.session.phase()), Instant::now());
        let step = self.desk.log.incident().plan.as_ref().map_or(0, |plan| plan.steps.len());
        // A trace of its own: what a person is waited for in between belongs to none.
        let span = info_span!(
            target: TRACE, parent: None, "step",
            phase, incident = %self.desk.log.id(), step = count(step)
        );
        // Its own: what is told by work that was broken off goes nowhere.
        let outbox = Arc::new(Outbox::new(self.desk.progress.clone()));
        let end = {
            let (planner, sink, mut session) =
                (Arc::clone(&self.planner), Arc::clone(&outbox), self.session.clone());
            session.ask_two_for(self.two_approvers());
            let work = async move {
                Box::pin(planner.step(&mut session, &*sink)).await;
                session
            };
            let mut work = self.desk.cpu.spawn(work.instrument(span));
            let mut pulse = interval(PULSE);
            pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stopped(&mut self.stop, Stop::HandOverNow) => break Break::Stopped,
                    () = self.lost.cancelled() => break Break::Lost,
                    command = self.commands.recv() => match command {
                        // Nobody can reach this task any more: another one has the incident.
                        None => break Break::Lost,
                        Some(command @ Command { change: Change::Cancel, check_only: false, .. }) => {
                            break Break::Cancelled(command);
                        }
                        Some(command) => {
                            self.desk.answer_at_work(command, &self.session, &self.planner).await?;
                        }
                    },
                    done = &mut work => break match done {
                        Ok(session) => Break::Done(Box::new(session)),
                        Err(error) => return Err(Broken::from(error).go_on_panicking().into()),
                    },
                    () = outbox.due() => {
                        let begun = Instant::now();
                        self.desk.write(outbox.take_told(), None).await?;
                        outbox.wrote(begun.elapsed());
                    }
                    sentences = self.desk.notices.take() => self.desk.tell(sentences).await?,
                    delivery = self.desk.courier.settled() => self.desk.settle(delivery).await?,
                    _ = pulse.tick() => self.desk.pulse(),
                }
            }
        };
        self.working.store(false, Ordering::SeqCst);
        match end {
            Break::Done(session) => {
                self.desk.fleet.metrics().worked(phase, begun.elapsed());
                // Work that is done is told and saved in one, so it is never done again.
                self.session = *session;
                let saved = takeover::save(&self.session, self.desk.taken);
                self.desk.write(outbox.take(), Some(saved)).await
            }
            Break::Lost => Err(self.fenced()),
            Break::Stopped => Err(self.stopped()),
            Break::Cancelled(command) => {
                self.desk.write(outbox.take_told(), None).await?;
                self.cancel(command).await
            }
        }
    }

    /// Waits for an operator, within the deadline and as long as its patience lasts.
    async fn wait(&mut self) -> Result<(), Fault> {
        let deadline = self.session.deadline().map(Instant::from_std);
        let silence = self.silence_ends();
        self.desk.progress.send_modify(|progress| progress.set_stage(PlanningStage::Waiting));
        let command = tokio::select! {
            biased;
            () = stopped(&mut self.stop, Stop::HandOver) => return Err(self.stopped()),
            () = self.lost.cancelled() => return Err(self.fenced()),
            command = self.commands.recv() => command.ok_or_else(|| self.fenced())?,
            sentences = self.desk.notices.take() => return self.desk.tell(sentences).await,
            delivery = self.desk.courier.settled() => return self.desk.settle(delivery).await,
            () = passed(deadline) => {
                self.session.expire();
                return self.announce_end().await;
            }
            () = passed(silence) => return self.end_unanswered().await,
        };
        match command {
            Command { change: Change::Cancel, check_only: false, .. } => self.cancel(command).await,
            Command { change: Change::ReportAlerts { .. } | Change::Resend { .. }, .. } => {
                self.desk.answer_at_work(command, &self.session, &self.planner).await
            }
            Command { change, check_only, reply, request } => {
                self.desk.log.answers(request);
                let answer = self.take_word(&change, check_only).await?;
                self.desk.log.answers(None);
                let _ = reply.send(answer);
                Ok(())
            }
        }
    }

    /// When its patience is over, counted from the last event by this machine's clock.
    fn silence_ends(&self) -> Option<Instant> {
        let last = self.desk.log.incident().update_time.and_then(system_time);
        let since = last.and_then(|last| SystemTime::now().duration_since(last).ok()).unwrap_or_default();
        let left = self.patience?.saturating_sub(since);
        // One that no clock can hold never comes.
        Instant::now().checked_add(left)
    }

    /// Ends an incident that nobody answers, so that its place is free for another one.
    async fn end_unanswered(&mut self) -> Result<(), Fault> {
        let hours = self.patience.unwrap_or_default().as_secs_f64() / 3600.0;
        let text = format!("Nobody answered for {hours:.1} hours, so planning ends.");
        self.desk.log.append(Kind::Notice(Notice { text }), None).await?;
        self.session.expire();
        self.announce_end().await
    }

    async fn take_word(
        &mut self,
        change: &Change,
        check_only: bool,
    ) -> Result<Result<Changed, Error>, Fault> {
        let mut next = self.session.clone();
        let event = match apply(&self.desk.log.incident(), &mut next, change) {
            Err(refused) => return Ok(Err(refused)),
            Ok(event) => event,
        };
        // What the session takes for its step has to be what the events say of it.
        if let Err(problem) = self.seals(change) {
            return Ok(Err(Error::Internal(problem)));
        }
        if let Some(event) = event.filter(|_| !check_only) {
            let saved = takeover::save(&next, self.desk.taken);
            self.desk.append(vec![event], Some(saved)).await?;
            self.session = next;
            if matches!(self.session.phase(), Phase::Ended(_)) {
                self.announce_end().await?;
            }
        }
        Ok(Ok(self.desk.changed(&self.session)))
    }

    /// Whether a step that is approved is the one that its hash names.
    fn seals(&self, change: &Change) -> Result<(), String> {
        let Change::Approve { step, plan_hash, .. } = change else { return Ok(()) };
        let named = names(&self.desk.log.incident(), *step, plan_hash);
        named.map_err(|problem| format!("{problem}; `countermove incidents verify` says more"))
    }

    async fn cancel(&mut self, command: Command) -> Result<(), Fault> {
        self.session.cancel();
        self.desk.log.answers(command.request);
        self.announce_end().await?;
        let _ = command.reply.send(Ok(self.desk.changed(&self.session)));
        Ok(())
    }

    /// Writes the event of an end that did not come from work.
    async fn announce_end(&mut self) -> Result<(), Fault> {
        let outbox = Outbox::new(self.desk.progress.clone());
        self.planner.step(&mut self.session, &outbox).await;
        self.desk.write(outbox.take(), None).await
    }

    /// Gives the session the evidence that came since its last piece of work. The state may fall back with it.
    async fn take_evidence_in(&mut self) -> Result<(), Fault> {
        // Work that is done again reads what it read the first time.
        let at_rest = self.desk.fresh.is_empty() || self.desk.log.repeats_work();
        if at_rest || matches!(self.session.phase(), Phase::Ended(_)) {
            return Ok(());
        }
        let (planner, evidence) = (Arc::clone(&self.planner), self.desk.evidence.clone());
        let (mut session, fresh) = (self.session.clone(), std::mem::take(&mut self.desk.fresh));
        let replaced = self.desk.cpu.run(move || {
            let mut fell_back = None;
            for alerts in &fresh {
                fell_back = planner.replace_evidence(&mut session, &evidence, alerts)?.or(fell_back);
            }
            Ok::<_, PlanError>((session, fell_back))
        });
        let replaced = replaced.await.map_err(|error| Fault::Evidence(error.to_string()))?;
        let (session, fell_back) = replaced.map_err(|error| Fault::Evidence(error.to_string()))?;
        self.session = session;
        self.desk.taken = self.desk.reports;
        if let Some(FellBack { state, reason, withdrawn }) = fell_back {
            let event =
                StateFellBack { state: Some(state.into_message()), reason, withdrawn_step: withdrawn };
            let saved = takeover::save(&self.session, self.desk.taken);
            self.desk.append(vec![Kind::FellBack(event)], Some(saved)).await?;
        }
        Ok(())
    }

    /// Ends the incident with what went wrong.
    async fn fail(&mut self, fault: &Fault) {
        let incident = self.desk.log.id();
        tracing::error!(%incident, %fault, "incident ended by a fault");
        let ended = PlanEnded {
            end: PlanEnd::Failed.into(),
            error: fault.to_string(),
            usage: Some(self.session.plan().ended.usage.into_message()),
        };
        if let Err(error) = self.desk.append(vec![Kind::Ended(ended)], None).await {
            tracing::error!(%incident, %error, "the end of an incident could not be written");
        }
    }
}

/// What is done in a phase that is not one of waiting.
fn work_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Perception => "perception",
        Phase::Revision => "revision",
        Phase::Decision | Phase::Approval | Phase::Outcome | Phase::Ended(_) => "decision",
    }
}

async fn stopped(stop: &mut watch::Receiver<Stop>, how: Stop) {
    // A sender that is gone means the same as a signal.
    let _ = stop.wait_for(|stop| *stop >= how).await;
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
