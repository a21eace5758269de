//! Entry of the fuzz target `events` in `fuzz/`, behind the feature `fuzzing`, which nothing else sets.

use std::sync::Arc;

use countermove_proto::v1::{Incident, IncidentEvent};
use countermove_proto::{IncidentId, remark};
use countermove_wire::document::PlanDocument;
use countermove_wire::record::RecordDocument;
use futures::FutureExt;
use prost::Message;

use super::log::Log;
use super::store::{Claim, EventLog, Input, MemoryStore, OwnerId, replay, verify};
use super::{projection, seal};
use crate::export::{Attack, cacao, markdown, misp, stix};

/// Reads `data` as what a store may hold, hashes and all, once somebody has written to its database: an input, and the events of an
/// incident, each behind its length. What they make is shown in every form that callers can ask for.
///
/// # Panics
///
/// If a reader does, if what was chained is called broken, and if an incident has no form in JSON.
pub fn events(data: &[u8]) {
    let _ = Input::decode(data);
    let (mut rest, mut events) = (data, Vec::new());
    while let Ok(event) = IncidentEvent::decode_length_delimited(&mut rest) {
        events.push(event);
    }
    if events.is_empty() {
        return;
    }
    let claim = Claim { id: IncidentId::generate(), owner: OwnerId::generate(), epoch: 1 };
    let mut incident = projection::empty(claim.id.name());
    events.iter().for_each(|event| projection::apply(&mut incident, event));
    show(incident, events.clone());

    let store: Arc<dyn EventLog> = Arc::new(MemoryStore::new(1));
    let kinds = events.into_iter().filter_map(|event| event.kind).collect();
    let mut log = Log::new(claim, Arc::clone(&store));
    let written = async {
        log.write(kinds, None, None).await?;
        let found = verify(&*store, claim.id, 1).await?;
        let (made, kept) = (replay(&*store, claim.id).await?.0, log.incident());
        assert_eq!(found.broken, None);
        // An incident with what is no number is equal to none, not even to itself.
        if *kept == Incident::clone(&kept) {
            assert_eq!((found.differs, &made), (None, &*kept));
        }
        Ok(())
    };
    match written.now_or_never() {
        // Without any kind of event nothing was written.
        Some(Ok(()) | Err(super::StoreError::NotFound(_))) => {}
        other => panic!("a store in memory said {other:?}"),
    }
}

fn show(incident: Incident, events: Vec<IncidentEvent>) {
    let steps = incident.plan.as_ref().map_or(&[][..], |plan| &plan.steps);
    for step in steps {
        let _ = seal::sealed(&incident, step.index);
        let _ = seal::names(&incident, step.index, &step.plan_hash);
    }
    drop(projection::summary(incident.clone()));
    let written = |text: serde_json::Result<String>| drop(text.expect("it has a form in JSON"));
    let notices: Vec<_> = events.iter().filter_map(|event| event.kind.as_ref().and_then(remark)).collect();
    let document = PlanDocument::new(incident.clone(), notices);
    written(document.to_json());
    drop(markdown(&document));
    written(serde_json::to_string(&cacao(&document)));
    if let Some(attack) = Attack::of(&incident) {
        written(serde_json::to_string(&stix(&attack)));
        written(serde_json::to_string(&misp(&attack)));
    }
    written(RecordDocument::new(incident, events).to_json());
}
