//! Whom plans of labelled days take down.

use std::collections::BTreeSet;

use countermove::client::{Coordinator, bounded, request_id};
use countermove::console::Console;
use countermove::decisions;
use countermove::failure::Failure;
use countermove::plan::Watch;
use countermove_incident::VerbClass;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{CreateIncidentRequest, Evidence, PlanEnd, PlanOptions};
use serde::Serialize;

use super::Judged;
use super::scores::{Verdicts, account};
use super::site::{Day, Site};

/// What a plan does.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Planned {
    pub(super) actions: Vec<String>,
    /// Hosts and accounts of the site that are cut off.
    pub(super) cut_off: BTreeSet<String>,
    /// The same, and those that are cleaned.
    pub(super) taken_down: BTreeSet<String>,
    /// Those of whom both holds only once a search has shown that the attacker got in.
    pub(super) only_if_found: BTreeSet<String>,
}

/// Has a day planned in one go.
pub(super) async fn plan(
    coordinator: &Coordinator,
    console: &Console,
    options: PlanOptions,
    (site, day): (&Site, &Day),
    baseline: Option<String>,
) -> Result<Planned, Failure> {
    let request = CreateIncidentRequest {
        evidence: Some(Evidence {
            system_description: site.system.clone(),
            alerts: day.text.clone(),
            baseline: baseline.unwrap_or_default(),
            ..Evidence::default()
        }),
        options: Some(options),
        request_id: request_id(),
        ..CreateIncidentRequest::default()
    };
    let created = coordinator.incidents().create_incident(bounded(request)).await;
    let created = created.map_err(|status| coordinator.failure(&status))?;
    let name = created.into_inner().incident.unwrap_or_default().name;
    let mut watch = Watch::new(coordinator.clone(), name, console.clone(), true);
    let mut planned = Planned::default();
    loop {
        match watch.next().await?.kind {
            Some(Kind::Decided(step)) => {
                let chosen = decisions::chosen(&step);
                let action = chosen.action.unwrap_or_default().text;
                let awaits: BTreeSet<String> = chosen.awaits_search.into_iter().collect();
                let down: BTreeSet<String> =
                    chosen.takes_down.into_iter().filter(|name| !awaits.contains(name)).collect();
                planned.only_if_found.extend(awaits);
                if VerbClass::of(&action).contains(&VerbClass::Contain) {
                    planned.cut_off.extend(down.iter().cloned());
                }
                planned.taken_down.extend(down);
                planned.actions.push(action);
            }
            Some(Kind::Ended(ended)) if ended.end() == PlanEnd::Failed => {
                return Err(Failure::Failed(format!("{}: {}", day.name, ended.error)));
            }
            Some(Kind::Ended(_)) => return Ok(planned),
            _ => {}
        }
    }
}

/// Whom plans take down of whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Hits {
    /// Incidents in which somebody is cut off who has no part.
    pub(super) cut_off: Verdicts,
    /// Likewise, or cleaned.
    pub(super) taken_down: Verdicts,
    /// The same of ordinary days that look risky.
    pub(super) cut_off_ordinary: Verdicts,
    pub(super) taken_down_ordinary: Verdicts,
    /// Fallen hosts and taken accounts that are in the plan; hosts also where a search is to show it first.
    pub(super) hosts: Verdicts,
    pub(super) accounts: Verdicts,
}

impl Hits {
    pub(super) fn add(&mut self, day: &Day, judged: &Judged, planned: &Planned) {
        let fallen = judged.names.all(&day.labels.compromised);
        let held: BTreeSet<String> = day.labels.accounts.iter().map(|name| account(name)).collect();
        let is_guilty =
            |name: &&String| fallen.contains(&judged.names.one(name)) || held.contains(&account(name));
        let hits = |names: &BTreeSet<String>| !names.iter().all(|name| is_guilty(&name));
        let (cut_off, taken_down) = match day.labels.incident {
            true => (&mut self.cut_off, &mut self.taken_down),
            false => (&mut self.cut_off_ordinary, &mut self.taken_down_ordinary),
        };
        cut_off.add(hits(&planned.cut_off));
        taken_down.add(hits(&planned.taken_down));
        let down = judged.names.all(planned.taken_down.iter().chain(&planned.only_if_found));
        let locked: BTreeSet<String> = planned.taken_down.iter().map(|name| account(name)).collect();
        fallen.iter().for_each(|host| self.hosts.add(down.contains(host)));
        held.iter().for_each(|name| self.accounts.add(locked.contains(name)));
    }
}
