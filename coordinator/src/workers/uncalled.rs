//! Workers that are known and never called, for the laboratory's simulation of many. What they are is what real ones answer, and
//! admission is the real one.

use std::sync::Arc;

use countermove_proto::worker::v1::{GetModelResponse, WorkerLoad};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use super::entry::{Connection, Entry};
use super::{Fleet, FleetOptions, Member};
use crate::discovery::{MemoryDiscovery, WorkerUrl};

impl Fleet {
    /// A fleet that finds nobody by itself and keeps contact with nobody. Needs a tokio runtime around it.
    pub fn uncalled() -> Self {
        Self::start(&MemoryDiscovery::default(), FleetOptions::default())
    }

    /// Takes a worker in as if it had given this answer over a new connection.
    pub fn answered(&self, url: &WorkerUrl, answer: &GetModelResponse) {
        let member = || Member {
            process: String::new(),
            entry: Entry::new(url.clone()),
            recheck: Arc::new(Notify::new()),
            task: None,
        };
        self.lock().roster.add(url, member);
        let channel = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
        self.take_in(url, answer, Connection { channel, lost: CancellationToken::new() });
    }

    /// Takes note of what a worker says that it has.
    pub fn told(&self, url: &WorkerUrl, load: &WorkerLoad) {
        let mut table = self.lock();
        let Some(member) = table.roster.get_mut(url) else { return };
        let is_less = member.entry.told(load, Instant::now());
        drop(table);
        if is_less {
            self.0.freed.send_replace(());
        }
    }

    /// Notes that contact with a worker broke off.
    pub fn broke_off(&self, url: &WorkerUrl, reason: &str) {
        self.mark_lost(url, reason.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use countermove_planner::Purpose;
    use countermove_proto::PROTOCOL_VERSION;
    use countermove_proto::v1::ModelIdentity;

    use super::*;
    use crate::workers::Outlook;

    fn answer(worker: &str) -> GetModelResponse {
        let model = ModelIdentity {
            weights_sha256: "w".to_owned(),
            tokenizer_sha256: "t".to_owned(),
            arithmetic: "a/1".to_owned(),
            ..ModelIdentity::default()
        };
        GetModelResponse {
            worker_id: worker.to_owned(),
            protocol_version: PROTOCOL_VERSION,
            model: Some(model),
            capacity: 1,
            ..GetModelResponse::default()
        }
    }

    #[tokio::test]
    async fn work_that_waits_hears_when_there_is_somebody_or_nobody_and_of_nothing_else() {
        let fleet = Fleet::uncalled();
        let (one, other): (WorkerUrl, WorkerUrl) =
            ("http://10.0.0.1:1".parse().unwrap(), "http://10.0.0.2:1".parse().unwrap());
        let (mut outlooks, mut changes) = (fleet.outlooks(), fleet.changes());
        let mut heard = |outlook| {
            assert!(changes.has_changed().unwrap(), "whoever hands out hears of everything");
            changes.mark_unchanged();
            let is_news = outlooks.has_changed().unwrap();
            assert_eq!(outlooks.borrow_and_update().of(Purpose::Rollout), outlook);
            is_news
        };
        fleet.answered(&one, &answer("w-1"));
        assert!(heard(Outlook::Someone));
        fleet.answered(&other, &answer("w-2"));
        assert!(!heard(Outlook::Someone));
        fleet.broke_off(&one, "gone");
        assert!(!heard(Outlook::Someone));
        fleet.broke_off(&other, "gone");
        assert!(heard(Outlook::Nobody));
    }
}
