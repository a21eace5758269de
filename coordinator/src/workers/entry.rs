//! What the coordinator knows of one worker, and what follows from it. No I/O.

use std::collections::BTreeMap;
use std::time::SystemTime;

use countermove_planner::Purpose;
use countermove_proto::v1::{self, ModelIdentity, WorkerStatus};
use countermove_proto::worker::v1::WorkerLoad;
use countermove_proto::{WorkerId, timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::admission::Profile;
use super::load::{Load, Places, Sequences};
use super::meter::Meter;
use crate::discovery::WorkerUrl;

/// One worker as this coordinator sees it.
#[derive(Debug)]
pub(super) struct Entry {
    pub url: WorkerUrl,
    pub contact: Contact,
    /// What it said of itself when it was last taken in; it stays when contact is lost.
    pub profile: Option<Profile>,
    /// What it said of itself when it was refused.
    pub refused: Option<Refused>,
    /// It is this coordinator's own, for questions alone.
    pub is_own: bool,
    /// An operator wants it to get nothing new.
    pub drained: bool,
    /// Why nothing that it says is believed any more, whatever process is at its address.
    pub distrusted: Option<String>,
    /// It says itself that it serves.
    pub serving: bool,
    /// It is full until then, of work of one kind.
    resting: BTreeMap<Purpose, Instant>,
    /// Rollouts and questions that this coordinator has there now.
    pub rollouts: u32,
    pub decisions: u32,
    /// What other coordinators had there when it last said so.
    others: Sequences,
    /// Tokens that those of this coordinator are still expected to take.
    pub outstanding: u64,
    /// Tokens that a rollout and a question were expected to take that were last begun there: so much are others' taken for.
    each: [u64; 2],
    meter: Meter,
    /// Up to when the meter has counted.
    metered: Instant,
    pub rollouts_finished: u64,
    /// Results of it that others were asked for as well, and those of them that were not confirmed.
    pub checked: u64,
    pub disputed: u64,
    pub tokens: u64,
    pub last_seen: Option<SystemTime>,
}

/// Whether a worker can be reached.
#[derive(Debug)]
pub(super) enum Contact {
    /// Nothing was heard yet.
    None { reason: String },
    /// It answered and its connection stands.
    Up(Connection),
    /// It answered before and does not any more.
    Lost { reason: String },
}

/// A stretch of unbroken contact with one process.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub channel: Channel,
    /// Cancelled when contact is lost: calls of this connection are given up at once.
    pub lost: CancellationToken,
}

/// A worker that answered and was refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refused {
    pub reason: String,
    pub worker_id: Option<WorkerId>,
    pub protocol_version: u32,
    pub model: Option<ModelIdentity>,
}

/// Whether work goes to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Connecting(String),
    Ready,
    Draining(String),
    Lost(String),
    Refused(String),
}

impl Entry {
    pub(super) fn new(url: WorkerUrl) -> Self {
        Self {
            url,
            contact: Contact::None { reason: "it has not answered yet".to_owned() },
            profile: None,
            refused: None,
            is_own: false,
            drained: false,
            distrusted: None,
            serving: true,
            resting: BTreeMap::new(),
            rollouts: 0,
            decisions: 0,
            others: Sequences::default(),
            outstanding: 0,
            each: [0; 2],
            meter: Meter::default(),
            metered: Instant::now(),
            rollouts_finished: 0,
            checked: 0,
            disputed: 0,
            tokens: 0,
            last_seen: None,
        }
    }

    /// Takes in a process. Another process at the same address starts from nothing.
    pub(super) fn accept(&mut self, profile: Profile, connection: Connection) {
        if self.profile.as_ref().is_none_or(|known| known.id != profile.id) {
            self.rollouts_finished = 0;
            self.tokens = 0;
            self.drained = false;
            self.meter = Meter::default();
        }
        self.others = Sequences::default();
        self.profile = Some(profile);
        self.refused = None;
        self.serving = true;
        self.resting.clear();
        self.contact = Contact::Up(connection);
        self.last_seen = Some(SystemTime::now());
    }

    /// Notes that contact broke off, and gives up the calls of its connection. Gives whether there was contact.
    pub(super) fn lose(&mut self, reason: String) -> bool {
        let heard_before = self.profile.is_some() || self.refused.is_some();
        let was_up = matches!(self.contact, Contact::Up(_));
        if let Contact::Up(connection) = &self.contact {
            connection.lost.cancel();
        }
        self.contact = if heard_before { Contact::Lost { reason } } else { Contact::None { reason } };
        was_up
    }

    pub(super) fn standing(&self) -> Standing {
        if let Some(reason) = &self.distrusted {
            return Standing::Refused(reason.clone());
        }
        match (&self.contact, &self.refused) {
            (Contact::None { reason }, _) => Standing::Connecting(reason.clone()),
            (Contact::Lost { reason }, _) => Standing::Lost(reason.clone()),
            (Contact::Up(_), Some(refused)) => Standing::Refused(refused.reason.clone()),
            (Contact::Up(_), None) if self.drained => Standing::Draining("an operator drains it".to_owned()),
            (Contact::Up(_), None) if !self.serving => {
                Standing::Draining("it is about to stop and takes nothing new".to_owned())
            }
            (Contact::Up(_), None) => Standing::Ready,
        }
    }

    /// Whether it is [`Standing::Ready`], without words for what it is otherwise: this is asked of all workers for each piece of work.
    fn is_ready(&self) -> bool {
        matches!(self.contact, Contact::Up(_))
            && self.refused.is_none()
            && self.distrusted.is_none()
            && !self.drained
            && self.serving
    }

    /// Whether work of this kind goes to it, be it only when it has room.
    pub(super) fn takes(&self, purpose: Purpose) -> bool {
        self.is_ready() && (purpose == Purpose::Decision || !self.is_own)
    }

    /// Leaves it alone with work of one kind, since it is full of that.
    pub(super) fn rest(&mut self, purpose: Purpose, until: Instant) {
        self.resting.insert(purpose, until);
    }

    /// When it may next be asked again for something of which it was full.
    pub(super) fn next_rested(&self, now: Instant) -> Option<Instant> {
        self.resting.values().copied().filter(|&until| until > now).min()
    }

    /// The connection over which work can be sent, if it is one to send work to.
    pub(super) fn usable(&self) -> Option<(&Profile, &Connection)> {
        match (&self.contact, &self.profile) {
            (Contact::Up(connection), Some(profile)) if self.is_ready() => Some((profile, connection)),
            _ => None,
        }
    }

    /// What placement looks at.
    pub(super) fn load(&self, profile: &Profile, now: Instant) -> Load {
        let places = |purpose: Purpose, places: u32| {
            let rests = self.resting.get(&purpose).is_some_and(|&until| until > now);
            if rests || !self.takes(purpose) { 0 } else { places }
        };
        Load {
            capacity: profile.capacity,
            efficient: profile.efficient,
            places: Places {
                rollouts: places(Purpose::Rollout, profile.places.rollouts),
                decisions: places(Purpose::Decision, profile.places.decisions),
            },
            rollouts: self.rollouts,
            decisions: self.decisions,
            others: self.others,
            outstanding: self.outstanding.saturating_add(self.outstanding_of_others()),
            rate: self.meter.rate(),
        }
    }

    /// Counts sequences that come to it.
    pub(super) fn begin(&mut self, purpose: Purpose, sequences: u32, expected: u64, now: Instant) {
        self.meter(now);
        let (held, each) = self.held(purpose);
        *held = held.saturating_add(sequences);
        *each = expected / u64::from(sequences.max(1));
        self.outstanding = self.outstanding.saturating_add(expected);
    }

    /// Counts sequences that have ended there, and the tokens that they took.
    pub(super) fn end(&mut self, purpose: Purpose, sequences: u32, tokens: u64, now: Instant) {
        self.meter(now);
        self.meter.count(tokens);
        let (held, _) = self.held(purpose);
        *held = held.saturating_sub(sequences);
    }

    /// Replaces what a lease is expected to take.
    pub(super) fn expect(&mut self, before: u64, after: u64) {
        self.outstanding = self.outstanding.saturating_sub(before).saturating_add(after);
    }

    /// Takes note of what it says that it has of all coordinators. Gives whether others have less than they had.
    pub(super) fn told(&mut self, load: &WorkerLoad, now: Instant) -> bool {
        self.meter(now);
        // What is on the way there is not counted by the worker yet, and what is on the way back not by this coordinator: the next word is
        // right again.
        let others = Sequences {
            rollouts: load.rollouts.saturating_sub(self.rollouts),
            decisions: load.decisions.saturating_sub(self.decisions),
        };
        let before = std::mem::replace(&mut self.others, others);
        others.rollouts < before.rollouts || others.decisions < before.decisions
    }

    fn outstanding_of_others(&self) -> u64 {
        let of = |sequences: u32, each: u64| each.saturating_mul(sequences.into());
        let [rollout, decision] = self.each;
        of(self.others.rollouts, rollout).saturating_add(of(self.others.decisions, decision))
    }

    fn held(&mut self, purpose: Purpose) -> (&mut u32, &mut u64) {
        let [rollout, decision] = &mut self.each;
        match purpose {
            Purpose::Decision => (&mut self.decisions, decision),
            Purpose::Rollout => (&mut self.rollouts, rollout),
        }
    }

    /// Counts the time since the last change. What waits there beside a full batch takes none of its speed, and who has how much of the batch
    /// follows from who has how much there.
    fn meter(&mut self, now: Instant) {
        let capacity = self.profile.as_ref().map_or(u32::MAX, |profile| profile.capacity);
        let own = self.rollouts.saturating_add(self.decisions);
        let all = own.saturating_add(self.others.all()).max(1);
        let decoding = f64::from(own) * f64::from(all.min(capacity)) / f64::from(all);
        self.meter.pass(decoding, now.saturating_duration_since(self.metered));
        self.metered = now;
    }

    /// Its id; before it ever answered, one made from its address.
    pub(super) fn id(&self) -> WorkerId {
        let known = match &self.refused {
            Some(refused) => refused.worker_id.clone(),
            None => self.profile.as_ref().map(|profile| profile.id.clone()),
        };
        known.unwrap_or_else(|| id_of_url(&self.url))
    }

    pub(super) fn message(&self) -> v1::Worker {
        let (status, reason) = match self.standing() {
            Standing::Connecting(reason) => (WorkerStatus::Connecting, reason),
            Standing::Ready => (WorkerStatus::Ready, String::new()),
            Standing::Draining(reason) => (WorkerStatus::Draining, reason),
            Standing::Lost(reason) => (WorkerStatus::Lost, reason),
            Standing::Refused(reason) => (WorkerStatus::Refused, reason),
        };
        let (model, protocol_version) = match (&self.refused, &self.profile) {
            (Some(refused), _) => (refused.model.clone(), refused.protocol_version),
            (None, Some(profile)) => (Some(profile.model.clone()), profile.protocol_version),
            (None, None) => (None, 0),
        };
        v1::Worker {
            name: self.id().name(),
            address: self.url.to_string(),
            status: status.into(),
            status_reason: reason,
            model,
            capacity: self.profile.as_ref().map_or(0, |profile| profile.capacity),
            running: self.rollouts.saturating_add(self.decisions),
            rollouts_finished: self.rollouts_finished,
            last_seen_time: self.last_seen.map(timestamp),
            protocol_version,
            tokens_generated: self.tokens,
            rollouts_checked: self.checked,
            rollouts_disputed: self.disputed,
        }
    }
}

/// An id for a worker that has not said its own: its host and port, other characters replaced.
fn id_of_url(url: &WorkerUrl) -> WorkerId {
    let text = url.as_str().trim_start_matches("http://");
    let id: String = text
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c) { c } else { '_' })
        .rev()
        .take(63)
        .collect();
    let id: String = id.chars().rev().collect();
    WorkerId::new(&id).unwrap_or_else(|_| WorkerId::generate())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workers::Openness;

    fn url() -> WorkerUrl {
        "http://127.0.0.1:7701".parse().unwrap()
    }

    fn connection() -> Connection {
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:7701").connect_lazy();
        Connection { channel, lost: CancellationToken::new() }
    }

    fn profile(id: &str) -> Profile {
        Profile {
            id: WorkerId::new(id).unwrap(),
            protocol_version: 1,
            model: ModelIdentity::default(),
            capacity: 4,
            efficient: 4,
            places: Places::default(),
        }
    }

    #[tokio::test]
    async fn a_worker_that_is_full_of_rollouts_still_gets_questions() {
        let now = Instant::now();
        let mut entry = Entry::new(url());
        entry.accept(profile("w-1"), connection());
        let places = |entry: &Entry, now| {
            let load = entry.load(&profile("w-1"), now);
            let has_room = |purpose| load.openness(purpose) >= Openness::Room;
            (has_room(Purpose::Rollout), has_room(Purpose::Decision))
        };
        assert_eq!(places(&entry, now), (true, true));
        let until = now + Duration::from_secs(1);
        entry.rest(Purpose::Rollout, until);
        assert_eq!((entry.standing(), places(&entry, now)), (Standing::Ready, (false, true)));
        assert_eq!(entry.next_rested(now), Some(until));
        assert_eq!((places(&entry, until), entry.next_rested(until)), ((true, true), None));
    }

    #[tokio::test]
    async fn a_worker_goes_through_its_standings() {
        let mut entry = Entry::new(url());
        assert!(matches!(entry.standing(), Standing::Connecting(_)));
        assert_eq!(entry.id().as_str(), "127.0.0.1_7701");

        let connection = connection();
        entry.accept(profile("w-1"), connection.clone());
        assert_eq!(entry.standing(), Standing::Ready);
        assert!(entry.usable().is_some() && entry.is_ready());

        entry.drained = true;
        assert!(matches!(entry.standing(), Standing::Draining(_)));
        assert!(entry.usable().is_none() && !entry.is_ready());
        entry.drained = false;
        entry.serving = false;
        assert!(matches!(entry.standing(), Standing::Draining(_)) && !entry.is_ready());
        entry.serving = true;

        entry.lose("the connection broke".to_owned());
        assert_eq!(entry.standing(), Standing::Lost("the connection broke".to_owned()));
        assert!(connection.lost.is_cancelled(), "its calls are given up");
        assert_eq!(entry.id().as_str(), "w-1", "it keeps its name");
    }

    #[tokio::test]
    async fn a_worker_that_never_answered_is_not_called_lost() {
        let mut entry = Entry::new(url());
        entry.lose("connection refused".to_owned());
        assert_eq!(entry.standing(), Standing::Connecting("connection refused".to_owned()));
    }

    #[tokio::test]
    async fn a_drain_outlives_a_lost_connection_but_not_the_process() {
        let mut entry = Entry::new(url());
        entry.accept(profile("w-1"), connection());
        entry.drained = true;
        entry.rollouts_finished = 7;
        entry.lose("gone".to_owned());
        entry.accept(profile("w-1"), connection());
        assert!(entry.drained && entry.rollouts_finished == 7);
        entry.accept(profile("w-2"), connection());
        assert!(!entry.drained && entry.rollouts_finished == 0);
    }

    #[tokio::test]
    async fn what_others_have_at_a_worker_takes_its_part_of_the_batch() {
        let (now, profile) = (Instant::now(), profile("w-1"));
        let mut entry = Entry::new(url());
        entry.accept(profile.clone(), connection());
        entry.metered = now;
        entry.begin(Purpose::Rollout, 4, 400, now);
        assert!(!entry.told(&WorkerLoad { rollouts: 10, decisions: 2 }, now));
        let load = entry.load(&profile, now);
        assert_eq!(load.others, Sequences { rollouts: 6, decisions: 2 });
        assert_eq!(load.outstanding, 1000, "no question was begun there, so nobody knows what one takes");
        // Twelve share a batch of four, so those of this coordinator were one and a third of them.
        entry.end(Purpose::Rollout, 4, 4000, now + Duration::from_secs(30));
        let rate = entry.load(&profile, now).rate.unwrap();
        assert!((rate - 100.0).abs() < 1e-6, "{rate}");
        assert!(entry.told(&WorkerLoad { rollouts: 6, decisions: 1 }, now), "others have less");
        assert!(!entry.told(&WorkerLoad { rollouts: 7, decisions: 1 }, now));
        entry.accept(profile.clone(), connection());
        assert_eq!(
            entry.load(&profile, now).others,
            Sequences::default(),
            "nothing was heard over this connection"
        );
    }

    #[tokio::test]
    async fn a_worker_that_is_not_believed_is_refused_whatever_it_does() {
        let mut entry = Entry::new(url());
        entry.accept(profile("w-1"), connection());
        entry.distrusted = Some("it lied".to_owned());
        let refused = Standing::Refused("it lied".to_owned());
        assert_eq!(entry.standing(), refused);
        entry.lose("gone".to_owned());
        assert_eq!(entry.standing(), refused);
        entry.accept(profile("w-2"), connection());
        assert!(entry.usable().is_none() && !entry.takes(Purpose::Rollout), "nor another process there");
        assert_eq!(
            (entry.message().status(), entry.message().status_reason.as_str()),
            (WorkerStatus::Refused, "it lied")
        );
    }

    #[tokio::test]
    async fn the_coordinators_own_replica_takes_questions_alone() {
        let mut entry = Entry { is_own: true, ..Entry::new(url()) };
        assert!(!entry.takes(Purpose::Decision), "it has not answered yet");
        entry.accept(profile("w-1"), connection());
        assert!(entry.takes(Purpose::Decision) && !entry.takes(Purpose::Rollout));
        let load = entry.load(&profile("w-1"), Instant::now());
        assert_eq!(load.openness(Purpose::Decision), Openness::Gains);
        assert_eq!(load.openness(Purpose::Rollout), Openness::Closed);
    }

    #[tokio::test]
    async fn a_worker_is_measured_by_the_sequences_that_it_decodes() {
        let mut entry = Entry::new(url());
        entry.accept(profile("w-1"), connection());
        let begun = Instant::now();
        entry.begin(Purpose::Rollout, 6, 600, begun);
        assert_eq!((entry.rollouts, entry.outstanding), (6, 600));
        // Its batch holds four; two wait.
        entry.end(Purpose::Rollout, 6, 2000, begun + Duration::from_secs(10));
        entry.expect(600, 0);
        let load = entry.load(&profile("w-1"), Instant::now());
        assert_eq!((load.rollouts, load.outstanding, load.rate), (0, 0, Some(50.0)));
        // Time without work is not counted.
        entry.begin(Purpose::Decision, 1, 100, begun + Duration::from_secs(1000));
        assert_eq!(entry.load(&profile("w-1"), Instant::now()).rate, Some(50.0));
        entry.accept(profile("w-2"), connection());
        assert_eq!(
            entry.load(&profile("w-2"), Instant::now()).rate,
            None,
            "another process may run on another machine"
        );
    }

    #[tokio::test]
    async fn a_refused_worker_shows_what_it_said() {
        let mut entry = Entry::new(url());
        entry.contact = Contact::Up(connection());
        entry.refused = Some(Refused {
            reason: "it holds another model".to_owned(),
            worker_id: Some(WorkerId::new("w-9").unwrap()),
            protocol_version: 1,
            model: Some(ModelIdentity { name: "other".into(), ..ModelIdentity::default() }),
        });
        let message = entry.message();
        assert_eq!(message.status(), WorkerStatus::Refused);
        assert_eq!(
            (message.name.as_str(), message.status_reason.as_str()),
            ("workers/w-9", "it holds another model")
        );
        assert_eq!(message.model.unwrap().name, "other");
        assert!(entry.usable().is_none());
    }
}
