//! Membership, played through: workers that crash, freeze, wake, leave and are replaced, followers, and a registry that
//! goes away, loses answers, loses its history and loses everything. Everything is drawn from a seed and runs on one clock
//! that only the play moves, so a play that goes wrong can be repeated.
//!
//! The real code of both sides runs over a model of the registry. What is checked all the time: no follower goes back to a
//! former process of an id, and none loses a worker that is well because of an outage. What is checked at the end: every
//! follower sees what is registered, and that is one living process for each id that has one.

mod model;

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use countermove_tests::Dice;
use model::{Line, Model, Mood};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::{Member, Registration, follow, register};

/// Plays; each has its own seed.
const PLAYS: u64 = 10_000;
/// What happens in a play before the faults stop.
const MOVES: usize = 60;
const IDS: [&str; 3] = ["w-0", "w-1", "w-2"];
const FOLLOWERS: usize = 2;
const LEASE: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(30);
/// Time in which a process that is well is registered, once the registry is: the longest pause, the lease of a former
/// process, and some calls.
const SETTLED: Duration = Duration::from_secs(25);

#[test]
fn no_worker_is_lost_and_no_former_one_comes_back() {
    let (first, plays) = match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => (seed, 1),
        None => (0, PLAYS),
    };
    let mut faults = Faults::default();
    for seed in first..first + plays {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        faults.add(runtime.block_on(Play::new(seed).run()));
    }
    eprintln!("{plays} plays; {faults:?}");
    let Faults { crashes, freezes, leaves, cuts, outages, lost_answers, losses, compactions, zombies } =
        faults;
    let seen = [crashes, freezes, leaves, cuts, outages, lost_answers, losses, compactions, zombies];
    assert!(
        plays == 1 || seen.iter().all(|&count| count > plays / 10),
        "every fault was met often: {faults:?}"
    );
}

/// What was done, and how often a process woke after its id had gone to another one.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    crashes: u64,
    freezes: u64,
    leaves: u64,
    cuts: u64,
    outages: u64,
    lost_answers: u64,
    losses: u64,
    compactions: u64,
    zombies: u64,
}

impl Faults {
    fn add(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.freezes += other.freezes;
        self.leaves += other.leaves;
        self.cuts += other.cuts;
        self.outages += other.outages;
        self.lost_answers += other.lost_answers;
        self.losses += other.losses;
        self.compactions += other.compactions;
        self.zombies += other.zombies;
    }
}

struct Play {
    seed: u64,
    dice: Dice,
    model: Arc<Model>,
    processes: Vec<Process>,
    followers: Vec<Follower>,
    started: u64,
    faults: Faults,
}

/// A worker's process.
struct Process {
    id: &'static str,
    name: String,
    line: Line,
    freezer: Freezer,
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    /// Since when it is neither frozen, nor cut off, nor about to leave.
    well_since: Option<Instant>,
}

/// A coordinator's view.
struct Follower {
    line: Line,
    members: watch::Receiver<BTreeMap<String, Member>>,
    /// Which registration of all that ever were was seen last of each id.
    seen: HashMap<String, usize>,
    /// Processes that were seen since they are well.
    kept: HashMap<String, String>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let model = Model::new(dice.roll(u64::MAX));
        Self {
            seed,
            dice,
            model,
            processes: Vec::new(),
            followers: Vec::new(),
            started: 0,
            faults: Faults::default(),
        }
    }

    async fn run(mut self) -> Faults {
        for _ in 0..FOLLOWERS {
            let line = self.model.line();
            let (sender, members) = watch::channel(BTreeMap::new());
            tokio::spawn(follow(line.clone(), GRACE, sender));
            self.followers.push(Follower { line, members, seen: HashMap::new(), kept: HashMap::new() });
        }
        for id in IDS {
            self.start(id);
        }
        self.pass(Duration::from_secs(2)).await;
        for _ in 0..MOVES {
            self.step().await;
        }
        self.calm_down().await;
        self.check_the_end();
        self.faults
    }

    /// One thing happens, and some time passes.
    async fn step(&mut self) {
        let id = IDS[self.dice.position(IDS.len())];
        let has_room = self.processes.iter().filter(|process| process.id == id).count() < 2;
        match self.dice.roll(100) {
            // An operator starts a process anew, whether the former one is gone or not.
            0..10 if has_room => self.start(id),
            10..18 => {
                if let Some(process) = self.draw() {
                    let process = self.processes.remove(process);
                    process.task.abort();
                    self.faults.crashes += 1;
                }
            }
            18..22 => {
                if let Some(index) = self.draw() {
                    let process = &mut self.processes[index];
                    self.faults.leaves += u64::from(process.leave.take().is_some());
                    process.well_since = None;
                }
            }
            22..34 => {
                if let Some(index) = self.draw() {
                    self.freeze_or_thaw(index);
                }
            }
            34..44 => {
                if let Some(index) = self.draw() {
                    let process = &mut self.processes[index];
                    let cut = !process.line.is_cut();
                    process.line.cut(cut);
                    process.note_health();
                    self.faults.cuts += u64::from(cut);
                }
            }
            44..50 => {
                let follower = self.dice.position(FOLLOWERS);
                let line = &self.followers[follower].line;
                line.cut(!line.is_cut());
            }
            50..56 => {
                self.faults.outages += 1;
                self.model.set_mood(Mood::Away);
            }
            56..60 => {
                self.faults.lost_answers += 1;
                self.model.set_mood(Mood::LosesAnswers);
            }
            60..74 => self.model.set_mood(Mood::Well),
            74..77 => {
                self.faults.losses += 1;
                self.model.lose_data();
            }
            77..83 => {
                self.faults.compactions += 1;
                self.model.compact();
            }
            _ => {}
        }
        let time = time(&mut self.dice, 10, 6000);
        self.pass(time).await;
    }

    fn draw(&mut self) -> Option<usize> {
        match self.processes.len() as u64 {
            0 => None,
            count => Some(self.dice.roll(count) as usize),
        }
    }

    fn start(&mut self, id: &'static str) {
        self.started += 1;
        let name = format!("{id} process {}", self.started);
        let registration = Registration {
            url: format!("http://{id}:1"),
            capacity: 8,
            weights_sha256: String::new(),
            process: name.clone(),
        };
        let (line, freezer) = (self.model.line(), Freezer::default());
        let (leave, left) = oneshot::channel::<()>();
        let shutdown = async move { drop(left.await) };
        let work = register(line.clone(), id.to_owned(), registration, LEASE, shutdown);
        let task = tokio::spawn(freezer.around(work));
        let (leave, well_since) = (Some(leave), Some(Instant::now()));
        self.processes.push(Process { id, name, line, freezer, leave, task, well_since });
    }

    fn freeze_or_thaw(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let frozen = process.freezer.toggle();
        process.note_health();
        if frozen {
            self.faults.freezes += 1;
            return;
        }
        let registered = self.model.entries().into_iter().find(|entry| entry.id == process.id);
        let owner = registered.and_then(|entry| Registration::decode(&entry.value).ok());
        self.faults.zombies += u64::from(owner.is_some_and(|owner| owner.process != process.name));
    }

    /// Time passes, and everything is looked at meanwhile.
    async fn pass(&mut self, time: Duration) {
        let part = Duration::from_millis(250);
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep(part).await;
            self.model.tick();
            // Whose renewals are not answered cannot know that it is registered, and of two with one id either may be.
            let is_deaf = self.model.mood() == Mood::LosesAnswers;
            let ids: Vec<_> = self.processes.iter().map(|process| process.id).collect();
            let is_twin = |id| ids.iter().filter(|other| **other == id).count() > 1;
            for process in self.processes.iter_mut().filter(|process| is_deaf || is_twin(process.id)) {
                process.note_health();
            }
            self.processes.retain(|process| !process.task.is_finished());
            self.look();
        }
    }

    /// What must hold at any time.
    fn look(&mut self) {
        let seed = self.seed;
        for follower in &mut self.followers {
            let members = follower.members.borrow_and_update().clone();
            for (id, member) in &members {
                let place = self.model.place(&member.registration.encode(), member.incarnation.0);
                let place = place.unwrap_or_else(|| panic!("{member:?} never was, seed {seed}"));
                if let Some(last) = follower.seen.insert(id.clone(), place) {
                    assert!(last <= place, "{id} fell back from registration {last} to {place}, seed {seed}");
                }
            }
            // Whoever was seen stays, as long as it is well: it may be out of the registry, and never out of sight.
            follower.kept.retain(|id, name| {
                let process = self.processes.iter().find(|process| process.name == *name);
                let is_well = process.is_some_and(Process::is_well);
                if !is_well {
                    return false;
                }
                assert!(
                    members.get(id).is_some_and(|member| member.registration.process == *name),
                    "{name} is well and out of sight, seed {seed}: {members:?}"
                );
                true
            });
            for (id, member) in members {
                let name = member.registration.process;
                let process = self.processes.iter().find(|process| process.name == name);
                if process.is_some_and(Process::is_well) {
                    follower.kept.insert(id, name);
                }
            }
        }
    }

    /// No more faults: everybody wakes, and the registry answers.
    async fn calm_down(&mut self) {
        self.model.set_mood(Mood::Well);
        for process in &mut self.processes {
            process.line.cut(false);
            if process.freezer.is_frozen() {
                process.freezer.toggle();
            }
            process.note_health();
        }
        self.followers.iter().for_each(|follower| follower.line.cut(false));
        self.pass(SETTLED + GRACE).await;
    }

    fn check_the_end(&self) {
        let seed = self.seed;
        let registered = self.model.entries();
        for entry in &registered {
            let owner = Registration::decode(&entry.value).unwrap().process;
            assert!(
                self.processes.iter().any(|process| process.name == owner),
                "{owner} is registered and lives, seed {seed}"
            );
        }
        for process in self.processes.iter().filter(|process| process.leave.is_some()) {
            assert!(
                registered.iter().any(|entry| entry.id == process.id),
                "{} is registered, seed {seed}: {registered:?}",
                process.id
            );
        }
        let expected: BTreeMap<String, Member> =
            registered.iter().filter_map(crate::follow::member).collect();
        for follower in &self.followers {
            assert_eq!(*follower.members.borrow(), expected, "a follower sees what is there, seed {seed}");
        }
    }
}

impl Process {
    /// Whether it had time to be registered since whatever befell it.
    fn is_well(&self) -> bool {
        self.well_since.is_some_and(|since| since.elapsed() > SETTLED)
    }

    /// Something befell it, or stopped to.
    fn note_health(&mut self) {
        let well = !self.line.is_cut() && !self.freezer.is_frozen() && self.leave.is_some();
        self.well_since = well.then(Instant::now);
    }
}

/// Stops what it is around, as SIGSTOP stops a process: time goes on meanwhile. Clones are the same.
#[derive(Clone, Default)]
struct Freezer(Arc<Mutex<Frozen>>);

#[derive(Default)]
struct Frozen {
    is: bool,
    wakers: Vec<Waker>,
}

impl Freezer {
    fn around<F: Future<Output = ()> + Send + 'static>(&self, work: F) -> impl Future<Output = ()> + use<F> {
        let (state, mut work) = (Arc::clone(&self.0), Box::pin(work));
        std::future::poll_fn(move |context: &mut Context<'_>| {
            {
                let mut state = state.lock().unwrap();
                if state.is {
                    state.wakers.push(context.waker().clone());
                    return Poll::Pending;
                }
            }
            Pin::as_mut(&mut work).poll(context)
        })
    }

    fn is_frozen(&self) -> bool {
        self.0.lock().unwrap().is
    }

    fn toggle(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        state.is = !state.is;
        state.wakers.drain(..).for_each(Waker::wake);
        state.is
    }
}

/// A time of so many milliseconds, at least and at most.
fn time(dice: &mut Dice, least: u64, most: u64) -> Duration {
    Duration::from_millis(least + dice.roll(most - least + 1))
}
