//! `countermove watch`: what waits and what a decision would do, at a terminal.
//!
//! [`state`] is what is known and what follows from keys and news, [`view`] its picture; both are pure. Here the news comes from: streams
//! that are taken up again where they broke, and calls. A decision is about what stood there when its dialog was opened ([`dialog`]), and
//! no key approves by itself.
//!
//! Invariants: text of a coordinator is drawn as [`crate::render::one_line`] gives it; what the caller may not do is not offered; the
//! terminal is given back however this ends.

mod candidates;
mod dialog;
mod facts;
mod queue;
mod rights;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod timeline;
mod view;

use std::time::Duration;

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update;
use countermove_proto::v1::{
    GetCallerRequest, IncidentFilter, IncidentStatus, WatchIncidentRequest, WatchIncidentsRequest,
};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet};

use self::rights::Caller;
use self::screen::Screen;
use self::state::{Effect, Event, Now, State, Turn};
use crate::args::{Remote, WatchArgs};
use crate::client::{Coordinator, resource};
use crate::console::page;
use crate::decisions;
use crate::failure::{Exit, Failure};
use crate::following::{Followed, Following, Heard};
use crate::incidents::{NEWEST_FIRST, list};
use crate::interrupt::Interrupt;
use crate::plan::get;

/// Ended incidents that are shown.
const ENDED: usize = 50;
/// News that wait for being drawn.
const BEHIND: usize = 256;
/// Time after which it is asked again who calls, where there was no answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Time between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);

/// Shows the queue until the person leaves.
pub(crate) async fn watch(
    arguments: WatchArgs,
    remote: &Remote,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    // Whoever has no terminal need not reach a coordinator to hear of it.
    screen::check()?;
    let coordinator = tokio::select! {
        coordinator = Coordinator::connect(remote) => coordinator?,
        () = interrupt.wait() => return Ok(Exit::Interrupted),
    };
    let desk = LocalSet::new();
    desk.run_until(show(arguments, coordinator, interrupt)).await
}

async fn show(
    arguments: WatchArgs,
    coordinator: Coordinator,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let (sender, mut events) = mpsc::channel(BEHIND);
    let mut screen = Screen::take()?;
    let approver = coordinator.approver(arguments.approver);
    let mut state = State::new(Now::read(), screen.size()?, approver.clone(), page().style.colour);
    let tenant = arguments.tenant.unwrap_or_default();
    let mut desk = Desk {
        coordinator,
        events: sender.clone(),
        approver,
        tenant,
        caller: None,
        queue: None,
        opened: None,
    };
    screen::listen(sender);
    let incident = arguments.name.map(|name| resource("incidents", &name));
    let mut effects = state.begin(incident);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        for effect in effects.drain(..) {
            if effect == Effect::Quit {
                return Ok(Exit::Success);
            }
            desk.act(effect);
        }
        screen.draw(|frame| view::draw(&state, frame))?;
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => effects.extend(state.update(event)),
                // The desk holds a sender, so this does not come.
                None => return Ok(Exit::Success),
            },
            _ = ticks.tick() => {}
            () = interrupt.wait() => return Ok(Exit::Interrupted),
        }
        // Many events come at once; one picture is drawn of all.
        while let Ok(event) = events.try_recv() {
            effects.extend(state.update(event));
        }
        effects.extend(state.update(Event::Tick(Now::read())));
    }
}

/// Does what the state asks for, beside the picture.
struct Desk {
    coordinator: Coordinator,
    events: mpsc::Sender<Event>,
    approver: String,
    /// Whose incidents are shown; empty: all that may be seen.
    tenant: String,
    caller: Option<Task>,
    queue: Option<Task>,
    opened: Option<Task>,
}

/// Work that ends with its handle.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn task(work: impl Future<Output = ()> + 'static) -> Task {
    Task(tokio::task::spawn_local(work).abort_handle())
}

impl Desk {
    fn act(&mut self, effect: Effect) {
        let (coordinator, events) = (self.coordinator.clone(), self.events.clone());
        match effect {
            // Who asks for it has gone.
            Effect::Quit => {}
            Effect::AskWhoCalls => {
                self.caller = Some(task(async move { ask_who_calls(&coordinator, &events).await }));
            }
            Effect::FollowQueue { turn, text } => {
                let filter =
                    IncidentFilter { tenant: self.tenant.clone(), text, ..IncidentFilter::default() };
                self.queue = Some(task(async move {
                    tokio::join!(
                        follow_queue(&coordinator, &filter, turn, &events),
                        list_ended(&coordinator, &filter, turn, &events)
                    );
                }));
            }
            Effect::Open { turn, incident } => {
                let coordinator = coordinator.about(&incident);
                self.opened = Some(task(async move {
                    tokio::join!(
                        follow_incident(&coordinator, &incident, turn, &events),
                        read(&coordinator, &incident, turn, &events)
                    );
                }));
            }
            Effect::Read { turn, incident } => {
                let coordinator = coordinator.about(&incident);
                // One that comes late is of an earlier turn, and left out.
                tokio::task::spawn_local(async move { read(&coordinator, &incident, turn, &events).await });
            }
            Effect::Close => self.opened = None,
            Effect::Approve { incident, step } => {
                let (coordinator, approver) = (coordinator.about(&incident), self.approver.clone());
                tokio::task::spawn_local(async move {
                    let came = decisions::approve_step(&coordinator, &incident, &step, approver).await;
                    tell(
                        &events,
                        Event::Decided { incident, came: came.map_err(|failure| failure.to_string()) },
                    )
                    .await;
                });
            }
            Effect::Reject { incident, step, reason } => {
                let coordinator = coordinator.about(&incident);
                tokio::task::spawn_local(async move {
                    let sent =
                        decisions::send_rejection(&coordinator, &incident, step, reason, Vec::new()).await;
                    let came = sent.map(|()| format!("rejected: step {}", u64::from(step) + 1));
                    tell(
                        &events,
                        Event::Decided { incident, came: came.map_err(|failure| failure.to_string()) },
                    )
                    .await;
                });
            }
        }
    }
}

/// Whoever draws may be gone; then nobody wants to hear it.
async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    let _ = events.send(event).await;
}

/// Asks until there is an answer.
async fn ask_who_calls(coordinator: &Coordinator, events: &mpsc::Sender<Event>) {
    loop {
        let ask = async |request| coordinator.access().get_caller(request).await;
        match coordinator.call(GetCallerRequest {}, ask).await {
            Ok(told) => {
                return tell(events, Event::Caller(Caller { name: told.name, grants: told.grants })).await;
            }
            Err(failure) => tell(events, Event::Unknown(failure.to_string())).await,
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn follow_queue(
    coordinator: &Coordinator,
    filter: &IncidentFilter,
    turn: Turn,
    events: &mpsc::Sender<Event>,
) {
    let request = WatchIncidentsRequest { filter: Some(filter.clone()) };
    let mut following = Following::new(coordinator.clone(), request, None);
    while let Some(message) = next(&mut following, coordinator, turn, events).await {
        if let Some(update) = message.update {
            tell(events, Event::Queue(turn, Box::new(update))).await;
        }
    }
}

async fn follow_incident(coordinator: &Coordinator, name: &str, turn: Turn, events: &mpsc::Sender<Event>) {
    let request = WatchIncidentRequest { name: name.to_owned(), resume_after: 0 };
    let mut following = Following::new(coordinator.clone(), request, None);
    while let Some(message) = next(&mut following, coordinator, turn, events).await {
        let Some(update) = message.update else { continue };
        let is_last = matches!(&update, Update::Event(event) if matches!(event.kind, Some(Kind::Ended(_))));
        tell(events, Event::Incident(turn, Box::new(update))).await;
        if is_last {
            return;
        }
    }
}

/// The next message of a stream; none once it is not taken up again. Breaks are told.
async fn next<F: Followed>(
    following: &mut Following<F>,
    coordinator: &Coordinator,
    turn: Turn,
    events: &mpsc::Sender<Event>,
) -> Option<F::Message> {
    loop {
        match following.next().await {
            Ok(Heard::Message(message)) => return Some(message),
            Ok(Heard::Back) => tell(events, Event::Back(turn)).await,
            Ok(Heard::Broke { status, pause, .. }) => {
                tell(events, Event::Broke(turn, coordinator.failure(&status).to_string(), pause)).await;
            }
            Err(status) => {
                tell(events, Event::Failed(turn, coordinator.failure(&status).to_string())).await;
                return None;
            }
        }
    }
}

async fn list_ended(
    coordinator: &Coordinator,
    filter: &IncidentFilter,
    turn: Turn,
    events: &mpsc::Sender<Event>,
) {
    let filter = IncidentFilter { statuses: vec![IncidentStatus::Ended.into()], ..filter.clone() };
    let event = match list(coordinator, filter, NEWEST_FIRST, ENDED).await {
        Ok((incidents, _)) => Event::Listed(turn, incidents),
        Err(failure) => Event::Unread(turn, failure.to_string()),
    };
    tell(events, event).await;
}

async fn read(coordinator: &Coordinator, name: &str, turn: Turn, events: &mpsc::Sender<Event>) {
    let event = match get(coordinator, name).await {
        Ok(incident) => Event::Got(turn, Box::new(incident)),
        Err(failure) => Event::Unread(turn, failure.to_string()),
    };
    tell(events, event).await;
}
