//! What is shown and asked, and what follows from keys and news: a pure state, and the effects that it asks for.

use std::time::{Duration, Instant, SystemTime};

use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update as IncidentUpdate;
use countermove_proto::v1::watch_incidents_response::Update as QueueUpdate;
use countermove_proto::v1::{AlertComparison, Incident, IncidentStatus, PlanStep};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::dialog::{Deciding, Dialog, Input, Verdict};
use super::facts::open;
use super::queue::Queue;
use super::rights::{Caller, Deed};
use super::timeline::Timeline;
use super::view;
use crate::render::tenant;

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) wall: SystemTime,
    pub(super) instant: Instant,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { wall: SystemTime::now(), instant: Instant::now() }
    }
}

/// Which of the streams that were opened a message came from; one of an earlier one is left out.
pub(super) type Turn = u64;

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// A text was pasted.
    Pasted(String),
    /// The terminal has this size now, in columns and rows.
    Resized(u16, u16),
    /// Time went by.
    Tick(Now),
    /// The coordinator said who calls.
    Caller(Caller),
    /// It could not be asked who calls.
    Unknown(String),
    /// The stream of the queue told something.
    Queue(Turn, Box<QueueUpdate>),
    /// Incidents that have ended were listed.
    Listed(Turn, Vec<Incident>),
    /// The stream of the incident told something.
    Incident(Turn, Box<IncidentUpdate>),
    /// The incident was read.
    Got(Turn, Box<Incident>),
    /// A stream broke, and is taken up again after a pause.
    Broke(Turn, String, Duration),
    /// A stream that broke was opened again.
    Back(Turn),
    /// A stream is not taken up again.
    Failed(Turn, String),
    /// The incident, or those that have ended, could not be read.
    Unread(Turn, String),
    /// What came of a decision: a sentence either way.
    Decided { incident: String, came: Result<String, String> },
}

/// Something that is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Go.
    Quit,
    /// Ask the coordinator who calls.
    AskWhoCalls,
    /// Follow the queue of incidents in which this text stands.
    FollowQueue { turn: Turn, text: String },
    /// Follow an incident, and read it.
    Open { turn: Turn, incident: String },
    /// Read the incident that is open anew.
    Read { turn: Turn, incident: String },
    /// Follow it no more.
    Close,
    /// Approve a step as it was seen.
    Approve { incident: String, step: Box<PlanStep> },
    /// Reject a step.
    Reject { incident: String, step: u32, reason: String },
}

/// An incident that is looked at.
#[derive(Debug)]
pub(super) struct Opened {
    turn: Turn,
    pub(super) name: String,
    pub(super) incident: Option<Incident>,
    pub(super) timeline: Timeline,
    /// The last comparison of predicted alerts with those that came, and the step after which it was made.
    pub(super) comparison: Option<(u32, AlertComparison)>,
    /// It was read, or is being read, with all events up to this one.
    last_change: u64,
    is_reading: bool,
    /// Its stream was refused, so that reading it is of no use.
    is_gone: bool,
    /// Lines that are scrolled past.
    pub(super) scrolled: usize,
}

/// A stream that broke.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Broken {
    turn: Turn,
    pub(super) since: SystemTime,
    /// When it is tried again.
    pub(super) again: SystemTime,
    pub(super) why: String,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) now: Now,
    /// Columns and rows.
    pub(super) size: (u16, u16),
    /// Whether colours are used.
    pub(super) has_colour: bool,
    pub(super) caller: Option<Caller>,
    /// Whom an approval names; empty where the coordinator sees who calls.
    pub(super) approver: String,
    pub(super) queue: Queue,
    queue_turn: Turn,
    /// Text that the incidents of the queue have to hold.
    pub(super) filter: String,
    pub(super) opened: Option<Opened>,
    pub(super) dialog: Option<Dialog>,
    pub(super) broken: Vec<Broken>,
    /// What came of the last key or call.
    pub(super) said: Option<String>,
    turns: Turn,
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(now: Now, size: (u16, u16), approver: String, has_colour: bool) -> Self {
        Self {
            now,
            size,
            has_colour,
            caller: None,
            approver,
            queue: Queue::default(),
            queue_turn: 0,
            filter: String::new(),
            opened: None,
            dialog: None,
            broken: Vec::new(),
            said: None,
            turns: 0,
        }
    }

    /// What is to be done at the beginning.
    pub(super) fn begin(&mut self, incident: Option<String>) -> Vec<Effect> {
        let mut effects = vec![Effect::AskWhoCalls, self.follow_queue()];
        effects.extend(incident.map(|incident| self.open(incident)));
        effects
    }

    /// Whether the caller may do this to the incident; not as long as nobody knows who calls.
    pub(super) fn may(&self, deed: Deed, incident: &Incident) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(deed, tenant(incident)))
    }

    /// Takes in what happened, and gives what is to be done.
    pub(super) fn update(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Pasted(text) => self.typed(&text),
            Event::Resized(columns, rows) => self.size = (columns, rows),
            Event::Tick(now) => {
                self.now = now;
                return self.read_if_behind();
            }
            Event::Caller(caller) => self.caller = Some(caller),
            Event::Unknown(why) => self.said = Some(why),
            Event::Queue(turn, update) if turn == self.queue_turn => {
                self.is_back(turn);
                self.queue.take(*update);
            }
            Event::Listed(turn, incidents) if turn == self.queue_turn => {
                incidents.into_iter().for_each(|incident| self.queue.put(incident));
            }
            Event::Incident(turn, update) => return self.told(turn, *update),
            Event::Got(turn, incident) => return self.got(turn, *incident),
            Event::Broke(turn, why, pause) if self.is_current(turn) => self.broke(turn, why, pause),
            Event::Back(turn) if self.is_current(turn) => {
                self.is_back(turn);
                // It may have been cut since that changed.
                return vec![Effect::AskWhoCalls];
            }
            Event::Failed(turn, why) if self.is_current(turn) => {
                self.is_back(turn);
                if let Some(opened) = self.opened.as_mut().filter(|opened| opened.turn == turn) {
                    opened.is_gone = true;
                }
                self.said = Some(why);
            }
            Event::Unread(turn, why) if self.is_current(turn) => {
                if let Some(opened) = self.opened.as_mut().filter(|opened| opened.turn == turn) {
                    opened.is_reading = false;
                }
                self.said = Some(why);
            }
            Event::Decided { incident, came } => return self.decided(&incident, came),
            // Of a stream that was left.
            Event::Queue(..)
            | Event::Listed(..)
            | Event::Broke(..)
            | Event::Back(_)
            | Event::Failed(..)
            | Event::Unread(..) => {}
        }
        Vec::new()
    }

    fn is_current(&self, turn: Turn) -> bool {
        turn == self.queue_turn || self.opened.as_ref().is_some_and(|opened| opened.turn == turn)
    }

    fn turn(&mut self) -> Turn {
        self.turns += 1;
        self.turns
    }

    fn follow_queue(&mut self) -> Effect {
        self.is_back(self.queue_turn);
        self.queue_turn = self.turn();
        Effect::FollowQueue { turn: self.queue_turn, text: self.filter.clone() }
    }

    fn open(&mut self, name: String) -> Effect {
        self.close();
        let turn = self.turn();
        self.queue.select(&name);
        self.opened = Some(Opened {
            turn,
            name: name.clone(),
            incident: None,
            timeline: Timeline::new(self.now.instant),
            comparison: None,
            last_change: 0,
            is_reading: true,
            is_gone: false,
            scrolled: 0,
        });
        Effect::Open { turn, incident: name }
    }

    fn close(&mut self) {
        if let Some(opened) = self.opened.take() {
            self.is_back(opened.turn);
        }
    }

    fn broke(&mut self, turn: Turn, why: String, pause: Duration) {
        let again = self.now.wall + pause;
        match self.broken.iter_mut().find(|broken| broken.turn == turn) {
            Some(broken) => (broken.again, broken.why) = (again, why),
            None => self.broken.push(Broken { turn, since: self.now.wall, again, why }),
        }
        if turn == self.queue_turn {
            self.queue.begin_anew();
        }
    }

    fn is_back(&mut self, turn: Turn) {
        self.broken.retain(|broken| broken.turn != turn);
    }

    fn told(&mut self, turn: Turn, update: IncidentUpdate) -> Vec<Effect> {
        let now = self.now.instant;
        let Some(opened) = self.opened.as_mut().filter(|opened| opened.turn == turn) else {
            return Vec::new();
        };
        match update {
            IncidentUpdate::Progress(progress) => opened.timeline.progressed(progress, now),
            IncidentUpdate::Event(event) => {
                opened.timeline.happened(&event);
                if let Some(Kind::Outcome(outcome)) = &event.kind {
                    opened.comparison =
                        outcome.comparison.clone().map(|comparison| (outcome.step, comparison));
                }
                if !matches!(event.kind, Some(Kind::Rollout(_) | Kind::Notice(_)) | None) {
                    opened.last_change = opened.last_change.max(event.sequence);
                }
            }
        }
        self.is_back(turn);
        self.read_if_behind()
    }

    fn got(&mut self, turn: Turn, incident: Incident) -> Vec<Effect> {
        self.queue_put(&incident);
        let Some(opened) = self.opened.as_mut().filter(|opened| opened.turn == turn) else {
            return Vec::new();
        };
        opened.is_reading = false;
        if opened.incident.as_ref().is_none_or(|known| known.last_sequence <= incident.last_sequence) {
            opened.incident = Some(incident);
        }
        self.read_if_behind()
    }

    /// Lists show no steps, and the queue keeps what lists show.
    fn queue_put(&mut self, incident: &Incident) {
        if self.queue.ordered().iter().any(|known| known.name == incident.name) {
            let mut summary = incident.clone();
            summary.plan.iter_mut().for_each(|plan| plan.steps.clear());
            self.queue.put(summary);
        }
    }

    /// What events led to is read once they have come, and not for each of them. What could not be read is tried again.
    fn read_if_behind(&mut self) -> Vec<Effect> {
        let Some(opened) = &mut self.opened else { return Vec::new() };
        let is_behind =
            opened.incident.as_ref().is_none_or(|incident| incident.last_sequence < opened.last_change);
        if opened.is_reading || opened.is_gone || !is_behind {
            return Vec::new();
        }
        opened.is_reading = true;
        vec![Effect::Read { turn: opened.turn, incident: opened.name.clone() }]
    }

    fn decided(&mut self, incident: &str, came: Result<String, String>) -> Vec<Effect> {
        let dialog = match &mut self.dialog {
            Some(Dialog::Decide(deciding)) if deciding.incident == incident && deciding.is_sent => {
                Some(deciding)
            }
            _ => None,
        };
        match (came, dialog) {
            (Ok(said), dialog) => {
                if dialog.is_some() {
                    self.dialog = None;
                }
                self.said = Some(said);
            }
            (Err(why), Some(deciding)) => {
                (deciding.is_sent, deciding.problem) = (false, Some(why));
            }
            (Err(why), None) => self.said = Some(why),
        }
        Vec::new()
    }

    fn typed(&mut self, text: &str) {
        match &mut self.dialog {
            Some(Dialog::Filter(input)) => input.add(text),
            Some(Dialog::Decide(deciding)) if !deciding.is_sent => deciding.add(text),
            _ => {}
        }
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            let is_end = matches!(key.code, KeyCode::Char('c'));
            return if is_end { vec![Effect::Quit] } else { Vec::new() };
        }
        if self.dialog.is_some() {
            return self.key_of_dialog(key.code);
        }
        self.said = None;
        match key.code {
            KeyCode::Char('?') => self.dialog = Some(Dialog::Help),
            _ if self.opened.is_some() => return self.key_of_incident(key.code),
            code => return self.key_of_queue(code),
        }
        Vec::new()
    }

    fn key_of_queue(&mut self, code: KeyCode) -> Vec<Effect> {
        let page = isize::from(i16::try_from(self.size.1 / 2).unwrap_or(i16::MAX));
        match code {
            KeyCode::Char('q') => return vec![Effect::Quit],
            KeyCode::Char('j') | KeyCode::Down => self.queue.step(1),
            KeyCode::Char('k') | KeyCode::Up => self.queue.step(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.queue.step(page),
            KeyCode::PageUp => self.queue.step(-page),
            KeyCode::Home | KeyCode::Char('g') => self.queue.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.queue.step(isize::MAX),
            KeyCode::Enter => {
                let name = self.queue.selected().map(str::to_owned);
                return name.map(|name| self.open(name)).into_iter().collect();
            }
            KeyCode::Char('/') => self.dialog = Some(Dialog::Filter(Input(self.filter.clone()))),
            KeyCode::Esc if !self.filter.is_empty() => return self.filter_by(String::new()),
            KeyCode::Char('a' | 'r') => {
                self.said = Some("Open the incident with Enter, and decide there.".to_owned())
            }
            _ => {}
        }
        Vec::new()
    }

    fn key_of_incident(&mut self, code: KeyCode) -> Vec<Effect> {
        let page = usize::from(self.size.1.saturating_sub(5)).max(1);
        match code {
            KeyCode::Esc | KeyCode::Char('q') => {
                self.close();
                return vec![Effect::Close];
            }
            KeyCode::Char('j') | KeyCode::Down => self.scroll(|line| line.saturating_add(1)),
            KeyCode::Char('k') | KeyCode::Up => self.scroll(|line| line.saturating_sub(1)),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll(|line| line.saturating_add(page)),
            KeyCode::PageUp => self.scroll(|line| line.saturating_sub(page)),
            KeyCode::Home | KeyCode::Char('g') => self.scroll(|_| 0),
            KeyCode::End | KeyCode::Char('G') => self.scroll(|_| usize::MAX),
            KeyCode::Char(c @ ('n' | 'p')) => {
                let name = self.opened.as_ref().map(|opened| opened.name.clone()).unwrap_or_default();
                match self.queue.neighbour(self.caller.as_ref(), &name, c == 'n') {
                    Some(next) => return vec![self.open(next)],
                    None => self.said = Some("No other incident waits for you.".to_owned()),
                }
            }
            KeyCode::Char('a') => self.decide(Verdict::Approve),
            KeyCode::Char('r') => self.decide(Verdict::Reject),
            _ => {}
        }
        Vec::new()
    }

    fn scroll(&mut self, to: impl FnOnce(usize) -> usize) {
        let last = view::last_line(self);
        if let Some(opened) = &mut self.opened {
            opened.scrolled = to(opened.scrolled.min(last)).min(last);
        }
    }

    /// Opens the dialog of a decision, or says why there is none.
    fn decide(&mut self, verdict: Verdict) {
        let Some(incident) = self.opened.as_ref().and_then(|opened| opened.incident.as_ref()) else { return };
        let waits = open(incident).filter(|_| incident.status() == IncidentStatus::AwaitingApproval);
        let deed = match verdict {
            Verdict::Approve => Deed::Approve,
            Verdict::Reject => Deed::Act,
        };
        let why_not = match waits {
            None => "No action waits for a decision here.".to_owned(),
            Some(_) if self.caller.is_none() => {
                "The coordinator has not said yet what you may do.".to_owned()
            }
            Some(_) if !self.may(deed, incident) => view::may_not(deed, incident),
            Some(step) => {
                self.dialog = Some(Dialog::Decide(Box::new(Deciding::new(verdict, incident, step))));
                return;
            }
        };
        self.said = Some(why_not);
    }

    fn key_of_dialog(&mut self, code: KeyCode) -> Vec<Effect> {
        match (code, &mut self.dialog) {
            (KeyCode::Esc, _) | (_, None) => self.dialog = None,
            (KeyCode::Char('q' | '?') | KeyCode::Enter, Some(Dialog::Help)) => self.dialog = None,
            (KeyCode::Char(c), _) => self.typed(c.encode_utf8(&mut [0; 4])),
            (KeyCode::Backspace, Some(Dialog::Filter(input))) => input.erase(),
            (KeyCode::Backspace, Some(Dialog::Decide(deciding))) if !deciding.is_sent => {
                deciding.typed.erase()
            }
            (KeyCode::Enter, Some(Dialog::Filter(input))) => {
                let text = input.0.trim().to_owned();
                self.dialog = None;
                return self.filter_by(text);
            }
            (KeyCode::Enter, Some(Dialog::Decide(_))) => return self.send(),
            _ => {}
        }
        Vec::new()
    }

    fn filter_by(&mut self, text: String) -> Vec<Effect> {
        // As long as the coordinator takes it.
        self.filter = text.chars().take(256).collect();
        self.queue.clear();
        vec![self.follow_queue()]
    }

    /// Sends the decision, if what was typed is enough and it is still about what stands there.
    fn send(&mut self) -> Vec<Effect> {
        let now = self.opened.as_ref().and_then(|opened| opened.incident.as_ref());
        let Some(Dialog::Decide(deciding)) = &mut self.dialog else { return Vec::new() };
        if deciding.is_sent || deciding.stale(now).is_some() {
            return Vec::new();
        }
        if !deciding.is_complete() {
            deciding.problem = Some(
                match deciding.what {
                    Verdict::Approve => "These are not the first digits of its hash; nothing was approved.",
                    Verdict::Reject => "Say why; the next proposals take it into account.",
                }
                .to_owned(),
            );
            return Vec::new();
        }
        (deciding.is_sent, deciding.problem) = (true, None);
        let incident = deciding.incident.clone();
        vec![match deciding.what {
            Verdict::Approve => Effect::Approve { incident, step: Box::new(deciding.step.clone()) },
            Verdict::Reject => {
                let reason = deciding.typed.0.trim().to_owned();
                Effect::Reject { incident, step: deciding.step.index, reason }
            }
        }]
    }
}
