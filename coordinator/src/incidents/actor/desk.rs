//! What an incident's task can do while its session is at work: answer callers, take evidence to the rest, write and send.
//!
//! Contract: what a caller hears of stands in the log already, and so does a delivery before it is sent. The session belongs to
//! whoever calls and is never changed here.

use std::sync::Arc;

use countermove_incident::{Absorbed, AlertLog, Dossier, SourceName};
use countermove_planner::{Evidence, PlanEvent, PlanSession, TokenCounter};
use countermove_proto::Error;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{self, AlertsReported, Delivery, DeliveryStatus, Incident, Notice, Progress};
use countermove_wire::{FromDomain, IntoMessage, told};
use tokio::sync::watch;

use super::{Fault, IncidentPlanner};
use crate::cpu::Cpu;
use crate::dispatch::NoticeInbox;
use crate::incidents::EVIDENCE;
use crate::incidents::command::{Change, Changed, Command, again, apply, no_room};
use crate::incidents::courier::Courier;
use crate::incidents::log::{Enclosure, Log};
use crate::incidents::store::Input;
use crate::workers::Fleet;

/// The log, the evidence and who hears of both.
pub(super) struct Desk {
    pub(super) log: Log,
    pub(super) fleet: Fleet,
    pub(super) cpu: Cpu,
    pub(super) evidence: Evidence,
    /// What the evidence was read into, to add to it.
    pub(super) dossier: Dossier,
    /// Bytes of the evidence as it came.
    pub(super) length: usize,
    /// Alerts that the session has not taken in yet; the evidence holds them already.
    pub(super) fresh: Vec<AlertLog>,
    /// Reports of alerts in the evidence, and of these the ones that the session has taken in.
    pub(super) reports: u32,
    pub(super) taken: u32,
    pub(super) courier: Courier,
    pub(super) notices: NoticeInbox,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) tokens: TokenCounter,
    /// Whether there were candidates yet.
    pub(super) proposed: bool,
}

impl Desk {
    /// Answers a caller while `session` is at work, or for a change that leaves it alone.
    pub(super) async fn answer_at_work(
        &mut self,
        command: Command,
        session: &PlanSession,
        planner: &Arc<IncidentPlanner>,
    ) -> Result<(), Fault> {
        let Command { change, check_only, reply, request } = command;
        self.log.answers(request);
        let answer = match change {
            Change::ReportAlerts { text, in_flight } => {
                let _in_flight = in_flight;
                self.add_alerts(text, check_only, session, planner).await?
            }
            Change::Resend { step } => self.resend(step, check_only).await?.map(|()| self.changed(session)),
            Change::Cancel => Ok(self.changed(session)),
            word => match apply(&self.log.incident(), &mut session.clone(), &word) {
                Err(refused) => Err(refused),
                Ok(_) => Err(Error::Internal("an operator's word was taken out of turn".to_owned())),
            },
        };
        self.log.answers(None);
        let _ = reply.send(answer);
        Ok(())
    }

    async fn add_alerts(
        &mut self,
        text: String,
        check_only: bool,
        session: &PlanSession,
        planner: &Arc<IncidentPlanner>,
    ) -> Result<Result<Changed, Error>, Fault> {
        let length = self.length.saturating_add(text.len());
        if length > EVIDENCE {
            return Ok(Err(no_room(self.log.id(), self.length, text.len())));
        }
        let (planner, options) = (Arc::clone(planner), session.options().clone());
        let (evidence, id, mut dossier) = (self.evidence.clone(), self.log.id(), self.dossier.clone());
        let merging = self.cpu.run(move || {
            let Absorbed { log: alerts, repeated } = dossier
                .absorb(&SourceName::default(), text.as_bytes())
                .map_err(|error| Error::invalid("alerts", error.to_string()))?;
            let evidence = Evidence { log: dossier.log(), ..evidence };
            // A session of its own reads the log as the next step will.
            let trial = planner
                .session(id.name(), &evidence, options)
                .map_err(|error| Error::invalid("alerts", error.to_string()))?;
            let digest = v1::DigestReport::from_domain(trial.digest().clone());
            Ok::<_, Error>(Merged { text, alerts, evidence, dossier, repeated, digest })
        });
        let Merged { text, alerts, evidence, dossier, repeated, digest } =
            match merging.await.map_err(|error| Fault::Evidence(error.to_string()))? {
                Ok(merged) => merged,
                Err(refused) => return Ok(Err(refused)),
            };
        if !check_only {
            let event = AlertsReported { digest: Some(digest.clone()), repeated_records: repeated };
            let input = self.cpu.run(move || Enclosure::of(&Input::Alerts(text))).await?;
            self.log.append(Kind::Alerts(event), Some(input)).await?;
            self.evidence = evidence;
            self.dossier = dossier;
            self.length = length;
            self.reports += 1;
            if alerts.total() > 0 {
                self.fresh.push(alerts);
            }
        }
        Ok(Ok(Changed { incident: Incident::clone(&self.log.incident()), digest, repeated }))
    }

    /// Writes what the planner told, and the session after it.
    pub(super) async fn write(
        &mut self,
        events: Vec<PlanEvent>,
        session: Option<Vec<u8>>,
    ) -> Result<(), Fault> {
        let kinds = events.into_iter().filter_map(|event| told(event, self.fleet.model()));
        self.append(kinds.collect(), session).await
    }

    /// Writes events. An approval begins a delivery, which is sent as soon as it is in the log.
    pub(super) async fn append(&mut self, kinds: Vec<Kind>, session: Option<Vec<u8>>) -> Result<(), Fault> {
        let name = self.log.id().name();
        let (mut all, mut pending) = (Vec::with_capacity(kinds.len()), Vec::new());
        if kinds.iter().any(|kind| matches!(kind, Kind::Ended(_))) {
            // The end is the last that is written.
            all.extend(self.notices.ready().into_iter().map(|text| Kind::Notice(Notice { text })));
        }
        for kind in kinds {
            let order = match &kind {
                Kind::Approved(approved) => self.courier.order(&name, approved),
                _ => None,
            };
            all.push(kind);
            if let Some(delivery) = order {
                pending.push(delivery.clone());
                all.push(Kind::Delivery(delivery));
            }
        }
        let proposes = all.iter().any(|kind| matches!(kind, Kind::Proposed(_)));
        self.log.write(all, None, session).await?;
        if proposes && !std::mem::replace(&mut self.proposed, true) {
            self.fleet.metrics().first_candidate(&self.log.incident());
        }
        for delivery in pending {
            self.courier.send(&self.log.incident(), delivery);
        }
        Ok(())
    }

    /// Goes on with what a former owner had on its way.
    pub(super) fn resume_deliveries(&mut self) {
        let incident = self.log.incident();
        for delivery in &incident.deliveries {
            if delivery.status() == DeliveryStatus::Pending {
                self.courier.send(&incident, delivery.clone());
            }
        }
    }

    /// Writes what became of a delivery.
    pub(super) async fn settle(&mut self, delivery: Delivery) -> Result<(), Fault> {
        tracing::info!(incident = %self.log.id(), outcome = delivery.sentence(), "webhook");
        self.fleet.metrics().delivered(delivery.status() == DeliveryStatus::Taken);
        Ok(self.log.append(Kind::Delivery(delivery), None).await?)
    }

    /// Sends an action once more.
    async fn resend(&mut self, step: u32, check_only: bool) -> Result<Result<(), Error>, Fault> {
        let delivery = match again(&self.log.incident(), step, self.courier.has_receiver()) {
            Ok(delivery) => delivery,
            Err(refused) => return Ok(Err(refused)),
        };
        if !check_only {
            self.log.append(Kind::Delivery(delivery.clone()), None).await?;
            self.courier.send(&self.log.incident(), delivery);
        }
        Ok(Ok(()))
    }

    pub(super) async fn tell(&mut self, sentences: Vec<String>) -> Result<(), Fault> {
        let notices = sentences.into_iter().map(|text| Kind::Notice(Notice { text }));
        Ok(self.log.write(notices.collect(), None, None).await?)
    }

    /// Tells watchers how many tokens there are by now.
    pub(super) fn pulse(&self) {
        let tokens = self.tokens.total();
        self.progress.send_if_modified(|progress| std::mem::replace(&mut progress.tokens, tokens) != tokens);
    }

    pub(super) fn changed(&self, session: &PlanSession) -> Changed {
        Changed {
            incident: Incident::clone(&self.log.incident()),
            digest: session.digest().clone().into_message(),
            repeated: 0,
        }
    }
}

/// The evidence with alerts that came.
struct Merged {
    /// The report as it came.
    text: String,
    /// What is new in it.
    alerts: AlertLog,
    evidence: Evidence,
    dossier: Dossier,
    repeated: u64,
    digest: v1::DigestReport,
}
