//! The state and its picture: what keys and news lead to, and that nothing hostile, narrow or colourless breaks it.

use std::time::{Duration, Instant, SystemTime};

use countermove_proto::timestamp;
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::watch_incident_response::Update as IncidentUpdate;
use countermove_proto::v1::watch_incidents_response::Update as QueueUpdate;
use countermove_proto::v1::{
    Action, AlertComparison, AlertKind, Assessment, Assurance, Candidate, CostEstimate, Entities,
    ExpectedAlerts, Grant, HeldAccount, HostName, Incident, IncidentEvent, IncidentStatus, OutcomeReported,
    PendingAction, Plan, PlanMode, PlanOptions, PlanStep, Present, Priority, Progress, RecoveryState,
    Reversibility, Role, RolloutEnd, RolloutFinished, Suspect, Tactic, TacticBelief,
};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::rights::Caller;
use super::state::{Effect, Event, Now, State};
use super::view;

const HASH: &str = "3fa2b1c4d5e6f708";
const NAME: &str = "incidents/018f3c1e-0000-7000-8000-000000000001";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn anybody() -> Caller {
    Caller { name: String::new(), grants: Vec::new() }
}

fn candidate(index: u32, text: &str, mean: f64, hash: &str) -> Candidate {
    let cost = CostEstimate {
        terminal: 3,
        mean: Some(mean),
        variance: Some(1.0),
        low: Some(mean - 1.0),
        high: Some(mean + 1.0),
        likely_low: Some(mean - 2.0),
        likely_high: Some(mean + 2.0),
        ..CostEstimate::default()
    };
    Candidate {
        index,
        action: Some(Action { text: text.into(), explanation: "It stops the attacker.".into() }),
        cost: Some(cost),
        predicted_state: Some(RecoveryState { is_attack_contained: true, ..RecoveryState::default() }),
        plan_hash: hash.into(),
        takes_down: vec!["10.0.2.11".into()],
        reversibility: Reversibility::Reversible.into(),
        ..Candidate::default()
    }
}

/// An incident whose first step waits for an approval.
fn waiting() -> Incident {
    let step = PlanStep {
        candidates: vec![
            candidate(0, "Isolate 10.0.2.11 from the server network.", 4.0, HASH),
            candidate(1, "Reset the passwords of 10.0.2.11.", 4.0, "77"),
            candidate(2, "Watch the traffic of 10.0.2.11.", 7.5, "88"),
        ],
        reason: "Its mean cost of 4.00 is as low as that of another.".into(),
        assurance: Some(Assurance {
            doubts: vec!["Two candidates cost the same.".into()],
            wanted_evidence: vec!["The logins of 10.0.2.11.".into()],
            ..Assurance::default()
        }),
        plan_hash: HASH.into(),
        expected_alerts: Some(ExpectedAlerts {
            tactic: Tactic::LateralMovement.into(),
            kinds: vec![AlertKind { classification: "remote service".into(), priority: Some(1) }],
        }),
        ..PlanStep::default()
    };
    let entities = Entities {
        attackers: vec!["203.0.113.9".into()],
        targets: vec!["10.0.2.11".into()],
        names: vec![HostName { name: "web01".into(), address: "10.0.2.11".into() }],
        compromised: vec![Suspect { host: "10.0.2.11".into(), probability: 0.62 }],
        ..Entities::default()
    };
    let pending = PendingAction {
        action: step.candidates[0].action.clone(),
        plan_hash: HASH.into(),
        decide_time: Some(timestamp(at(0))),
        takes_down: vec!["10.0.2.11".into()],
        reversibility: Reversibility::Reversible.into(),
        ..PendingAction::default()
    };
    Incident {
        name: NAME.into(),
        create_time: Some(timestamp(at(0))),
        update_time: Some(timestamp(at(0))),
        status: IncidentStatus::AwaitingApproval.into(),
        options: Some(PlanOptions { mode: PlanMode::Interactive.into(), ..PlanOptions::default() }),
        assessment: Some(Assessment {
            is_incident: true,
            description: "SSH password guessing from 203.0.113.9 succeeded against 10.0.2.11.".into(),
            entities: Some(entities),
            tactics: vec![TacticBelief {
                tactic: Tactic::CredentialAccess.into(),
                weight: 0.8,
                ..TacticBelief::default()
            }],
            ..Assessment::default()
        }),
        plan: Some(Plan { steps: vec![step], ..Plan::default() }),
        last_sequence: 9,
        tenant: "blue".into(),
        priority: Priority::Urgent.into(),
        pending: Some(pending),
        ..Incident::default()
    }
}

/// What lists show of it.
fn summary(mut incident: Incident) -> Incident {
    incident.plan.iter_mut().for_each(|plan| plan.steps.clear());
    incident
}

struct Desk {
    state: State,
    /// Turns of the queue and of the incident.
    turns: (u64, u64),
}

impl Desk {
    fn of(caller: Option<Caller>, size: (u16, u16)) -> Self {
        let now = Now { wall: at(60), instant: Instant::now() };
        let mut state = State::new(now, size, "ann".into(), true);
        state.begin(None);
        if let Some(caller) = caller {
            state.update(Event::Caller(caller));
        }
        let mut desk = Self { state, turns: (1, 0) };
        desk.tell(Event::Queue(1, Box::new(QueueUpdate::Incident(summary(waiting())))));
        desk.tell(Event::Queue(1, Box::new(QueueUpdate::Present(Present { incidents: 1 }))));
        desk
    }

    /// The same with the incident's page open and read.
    fn opened(caller: Option<Caller>, size: (u16, u16)) -> Self {
        let mut desk = Self::of(caller, size);
        let effects = desk.key(KeyCode::Enter);
        let [Effect::Open { turn, incident }] = &effects[..] else { panic!("Enter opens it: {effects:?}") };
        assert_eq!(incident, NAME);
        let turn = *turn;
        desk.turns.1 = turn;
        desk.tell(Event::Got(turn, Box::new(waiting())));
        desk
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.state.update(event)
    }

    fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        self.tell(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn type_in(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|c| self.key(KeyCode::Char(c))).collect()
    }

    fn event(&mut self, sequence: u64, kind: Kind) -> Vec<Effect> {
        let event = IncidentEvent { sequence, kind: Some(kind), time: Some(timestamp(at(sequence))) };
        self.tell(Event::Incident(self.turns.1, Box::new(IncidentUpdate::Event(event))))
    }

    fn buffer(&self) -> Buffer {
        let (columns, rows) = self.state.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| view::draw(&self.state, frame)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn picture(&self) -> String {
        let buffer = self.buffer();
        let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
    }

    fn shows(&self, words: &[&str]) {
        let picture = self.picture();
        for word in words {
            assert!(picture.contains(word), "{word:?} is missing in\n{picture}");
        }
    }
}

#[test]
fn the_queue_says_what_waits_and_what_it_would_do() {
    for size in [(80, 24), (200, 50)] {
        let desk = Desk::of(Some(anybody()), size);
        desk.shows(&[
            "Countermove · 1 waits for you · nobody is asked who calls",
            "Waits for a decision  1 incident",
            "> 1 min 0 s   Isolate 10.0.2.11 from the server network.",
            "URGENT; in doubt; blue; it can be taken back; takes down web01",
            "SSH password guessing from 203.0.113.9",
            "q quits",
        ]);
    }
    let desk = Desk::of(Some(Caller { name: "eve".into(), grants: Vec::new() }), (100, 24));
    desk.shows(&["nothing waits for you · eve", "needs an approver"]);
}

#[test]
fn the_queue_keeps_the_selected_one_in_sight_and_says_when_it_is_empty() {
    let mut desk = Desk::of(Some(anybody()), (80, 24));
    for number in 0..40 {
        let other =
            Incident { name: format!("incidents/{number:02}"), last_sequence: 1, ..summary(waiting()) };
        desk.tell(Event::Queue(1, Box::new(QueueUpdate::Incident(other))));
    }
    for _ in 0..41 {
        desk.shows(&["> 1 min 0 s"]);
        desk.key(KeyCode::Char('j'));
    }
    desk.shows(&["> 1 min 0 s"]);

    let effects = {
        desk.key(KeyCode::Char('/'));
        desk.type_in("web02");
        desk.key(KeyCode::Enter)
    };
    assert_eq!(effects, [Effect::FollowQueue { turn: 2, text: "web02".into() }]);
    desk.shows(&["Asking the coordinator", "filter: web02"]);
    desk.tell(Event::Queue(1, Box::new(QueueUpdate::Incident(summary(waiting())))));
    desk.tell(Event::Queue(2, Box::new(QueueUpdate::Present(Present { incidents: 0 }))));
    desk.shows(&["No incident fits the filter"]);
    assert_eq!(desk.key(KeyCode::Esc), [Effect::FollowQueue { turn: 3, text: String::new() }]);
}

#[test]
fn the_page_of_an_incident_has_all_of_it() {
    let mut desk = Desk::opened(Some(anybody()), (200, 50));
    for candidate in [0, 0, 1] {
        let rollout =
            RolloutFinished { candidate, end: RolloutEnd::Terminal.into(), ..RolloutFinished::default() };
        desk.event(3, Kind::Rollout(rollout));
    }
    let kind = |name: &str| AlertKind { classification: name.into(), priority: Some(2) };
    let comparison = AlertComparison {
        predicted: vec![kind("brute force"), kind("exploit")],
        observed: vec![kind("brute force"), kind("beacon")],
        precision: 0.5,
        ..AlertComparison::default()
    };
    desk.event(
        4,
        Kind::Outcome(OutcomeReported { comparison: Some(comparison), ..OutcomeReported::default() }),
    );
    let all = [
        "018f3c1e-0000-7000-8000-000000000001",
        "awaits approval · for 1 min 0 s · tenant blue · priority urgent",
        "SSH password guessing from 203.0.113.9 succeeded against 10.0.2.11.",
        "RECOVERY  0 of 6 facts hold",
        "[ ] contained (predicted next)",
        "STEP 1  waits for a decision since 1 min 0 s",
        "takes down   web01 (10.0.2.11)",
        "undo         it can be taken back",
        "brings       contained (predicted)",
        "doubt        Two candidates cost the same.",
        "would decide The logins of 10.0.2.11.",
        "hash         3fa2b1c4",
        "a approves it, r rejects it",
        "2 cost the same as far as the rollouts can tell: a tie",
        "4.00  n 3  tie",
        "7.50  n 3",
        "● mean",
        "██████░░░░  62 %  web01 (10.0.2.11), was reached",
        "attackers  203.0.113.9",
        "████████░░  80 %  Credential Access (TA0006)",
        "as predicted   brute force, priority 2",
        "did not come   exploit",
        "not predicted  beacon",
        "ALERTS TO EXPECT  if the attacker goes on with Lateral Movement (TA0008)",
        "remote service, priority 1",
        "step 1: 3 rollouts recovered, of candidate 1: 2/2, 2: 1/1",
    ];
    desk.shows(&all);
    // The same at 80x24, line by line.
    desk.tell(Event::Resized(80, 24));
    let mut seen = desk.picture();
    for _ in 0..200 {
        desk.key(KeyCode::Down);
        seen += &desk.picture();
    }
    for word in all.iter().filter(|word| word.len() < 60 && !word.contains("as far as")) {
        assert!(seen.contains(word), "{word:?} is missing at 80 columns");
    }
    let end = desk.picture();
    desk.key(KeyCode::Char('G'));
    assert_eq!(desk.picture(), end, "there is nothing behind the end");
    desk.key(KeyCode::Up);
    assert_ne!(desk.picture(), end, "and the way back begins there");
    desk.key(KeyCode::Home);
    desk.shows(&["RECOVERY"]);
}

#[test]
fn an_approval_takes_the_digits_of_what_was_seen() {
    let mut desk = Desk::opened(Some(anybody()), (80, 24));
    assert!(desk.type_in("a").is_empty());
    desk.shows(&["Approve", "approver     ann", "first 4 digits of its hash [3fa2]", "Isolate 10.0.2.11"]);
    assert!(desk.type_in("aaaa").is_empty());
    assert!(desk.key(KeyCode::Enter).is_empty());
    desk.shows(&["nothing was approved"]);
    for _ in 0..4 {
        desk.key(KeyCode::Backspace);
    }
    assert!(desk.type_in("3fa2").is_empty(), "the digits alone send nothing");
    let effects = desk.key(KeyCode::Enter);
    let [Effect::Approve { incident, step }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((incident.as_str(), step.plan_hash.as_str()), (NAME, HASH));
    assert!(desk.key(KeyCode::Enter).is_empty(), "it is sent once");
    desk.shows(&["sending"]);
    let problem = Err("the coordinator cannot be reached".to_owned());
    desk.tell(Event::Decided { incident: NAME.into(), came: problem });
    desk.shows(&["the coordinator cannot be reached", "[3fa2]"]);
    assert_eq!(desk.key(KeyCode::Enter).len(), 1, "and may be sent again");
    desk.tell(Event::Decided { incident: NAME.into(), came: Ok("approved: Isolate 10.0.2.11".into()) });
    assert!(desk.state.dialog.is_none());
    desk.shows(&["approved: Isolate 10.0.2.11"]);
}

#[test]
fn no_key_and_no_paste_decides_by_itself() {
    let mut desk = Desk::opened(Some(anybody()), (80, 24));
    desk.tell(Event::Pasted("a3fa2\n\nrno\n".into()));
    assert!(desk.state.dialog.is_none(), "what is pasted presses no keys");
    for code in (' '..='~').map(KeyCode::Char).chain([KeyCode::Enter, KeyCode::Tab]) {
        let mut desk = Desk::opened(Some(anybody()), (80, 24));
        let decides = |effects: &[Effect]| {
            effects.iter().any(|effect| matches!(effect, Effect::Approve { .. } | Effect::Reject { .. }))
        };
        assert!(!decides(&desk.key(code)) && !decides(&desk.key(KeyCode::Enter)), "{code:?}");
    }
}

#[test]
fn what_changed_under_an_open_dialog_disarms_it() {
    let mut desk = Desk::opened(Some(anybody()), (80, 24));
    desk.type_in("a3fa2");
    let mut anew = waiting();
    anew.last_sequence = 12;
    anew.plan.as_mut().unwrap().steps[0].plan_hash = "3fa2ffffffff".into();
    desk.tell(Event::Got(desk.turns.1, Box::new(anew)));
    desk.shows(&["decided anew since you opened this. Nothing was sent."]);
    assert!(desk.key(KeyCode::Enter).is_empty());
    desk.key(KeyCode::Esc);
    desk.type_in("rtoo risky");
    let approved =
        Incident { last_sequence: 13, status: IncidentStatus::AwaitingOutcome.into(), ..waiting() };
    desk.tell(Event::Got(desk.turns.1, Box::new(approved)));
    desk.shows(&["Somebody approved this step meanwhile."]);
    assert!(desk.key(KeyCode::Enter).is_empty());
    desk.key(KeyCode::Esc);
    desk.shows(&["report-outcome 018f3c1e-0000-7000-8000-000000000001"]);
    desk.type_in("a");
    desk.shows(&["No action waits for a decision here."]);
}

#[test]
fn a_rejection_needs_a_reason_that_may_be_pasted() {
    let mut desk = Desk::opened(Some(anybody()), (80, 24));
    desk.type_in("r ");
    assert!(desk.key(KeyCode::Enter).is_empty());
    desk.shows(&["Say why"]);
    desk.tell(Event::Pasted("the shop\nis open".into()));
    let effects = desk.key(KeyCode::Enter);
    assert_eq!(
        effects,
        [Effect::Reject { incident: NAME.into(), step: 0, reason: "the shop is open".into() }]
    );
}

#[test]
fn what_the_caller_may_not_do_is_not_offered() {
    let grant = |role: Role| Grant { tenant: "blue".into(), roles: vec![role.into()] };
    let caller = |role| Some(Caller { name: "bob".into(), grants: vec![grant(role)] });
    let mut viewer = Desk::opened(caller(Role::Viewer), (80, 60));
    viewer.shows(&["An approver of the tenant blue has to do that; you are not one."]);
    for key in ["a", "r"] {
        viewer.type_in(key);
        assert!(viewer.state.dialog.is_none());
    }
    let mut responder = Desk::opened(caller(Role::Responder), (80, 60));
    responder.shows(&["r rejects it"]);
    assert!(!responder.picture().contains("a approves it"));
    responder.type_in("a");
    assert!(responder.state.dialog.is_none());
    responder.type_in("r");
    assert!(responder.state.dialog.is_some());
    let mut unknown = Desk::opened(None, (80, 60));
    unknown.type_in("a");
    unknown.shows(&["has not said yet what you may do"]);
}

#[test]
fn a_broken_line_is_told_until_something_is_heard_again() {
    let mut desk = Desk::opened(Some(anybody()), (80, 24));
    let turn = desk.turns.1;
    desk.tell(Event::Broke(turn, "connection refused".into(), Duration::from_secs(4)));
    desk.tell(Event::Tick(Now { wall: at(63), instant: Instant::now() }));
    desk.shows(&["CONNECTION LOST 3.0 s ago, trying again in 1.0 s: connection refused"]);
    let back = desk.tell(Event::Back(turn));
    assert_eq!(back, [Effect::AskWhoCalls], "it may have been cut since rights changed");
    assert!(!desk.picture().contains("CONNECTION LOST"));
    desk.tell(Event::Broke(turn, "connection refused".into(), Duration::from_secs(4)));
    desk.tell(Event::Incident(turn, Box::new(IncidentUpdate::Progress(Progress::default()))));
    assert!(!desk.picture().contains("CONNECTION LOST"));
    desk.tell(Event::Broke(1, "gone".into(), Duration::from_secs(1)));
    desk.shows(&["CONNECTION LOST"]);
    desk.tell(Event::Queue(1, Box::new(QueueUpdate::Present(Present { incidents: 0 }))));
    assert!(!desk.picture().contains("CONNECTION LOST"));
    desk.key(KeyCode::Esc);
    desk.tell(Event::Broke(turn, "of a page that was left".into(), Duration::from_secs(1)));
    assert!(!desk.picture().contains("CONNECTION LOST"));
    assert!(desk.picture().contains("No incidents are known."), "what was not told again is gone");
}

#[test]
fn what_events_led_to_is_read_once() {
    let mut desk = Desk::opened(Some(anybody()), (80, 24));
    let decided = || Kind::Decided(PlanStep::default());
    assert!(desk.event(9, decided()).is_empty(), "that was read already");
    assert_eq!(desk.event(10, decided()).len(), 1);
    assert!(desk.event(11, decided()).is_empty(), "it is being read");
    let turn = desk.turns.1;
    let read = Incident { last_sequence: 10, ..waiting() };
    assert_eq!(desk.tell(Event::Got(turn, Box::new(read))), [Effect::Read { turn, incident: NAME.into() }]);
    let read = Incident { last_sequence: 11, ..waiting() };
    assert!(desk.tell(Event::Got(turn, Box::new(read))).is_empty());
    assert!(desk.tell(Event::Got(turn + 1, Box::new(waiting()))).is_empty());
}

#[test]
fn what_could_not_be_read_is_read_again_unless_it_is_refused() {
    let mut desk = Desk::of(Some(anybody()), (80, 24));
    let tick = || Event::Tick(Now { wall: at(61), instant: Instant::now() });
    let Some(Effect::Open { turn, .. }) = desk.key(KeyCode::Enter).pop() else { panic!("Enter opens it") };
    assert!(desk.tell(tick()).is_empty(), "it is being read");
    desk.tell(Event::Unread(turn, "the coordinator cannot be reached".into()));
    desk.shows(&["the coordinator cannot be reached"]);
    assert_eq!(desk.tell(tick()), [Effect::Read { turn, incident: NAME.into() }]);
    desk.tell(Event::Failed(turn, "there is no such incident".into()));
    desk.tell(Event::Unread(turn, "there is no such incident".into()));
    assert!(desk.tell(tick()).is_empty());
}

#[test]
fn keys_lead_there_and_back() {
    let mut desk = Desk::opened(Some(anybody()), (80, 24));
    desk.type_in("?");
    desk.shows(&["opens the approval, which asks for digits"]);
    desk.key(KeyCode::Esc);
    let other = Incident { name: "incidents/b".into(), ..summary(waiting()) };
    desk.tell(Event::Queue(1, Box::new(QueueUpdate::Incident(other))));
    let [Effect::Open { incident, .. }] = &desk.type_in("n")[..] else { panic!("n opens the next") };
    assert_eq!(incident, "incidents/b");
    assert_eq!(desk.type_in("q"), [Effect::Close]);
    desk.shows(&["2 wait for you"]);
    assert_eq!(desk.type_in("q"), [Effect::Quit]);
    let end = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(desk.tell(Event::Key(end)), [Effect::Quit]);
}

/// Evidence that wants to be a terminal's orders, or the frame of the page.
fn hostile() -> Incident {
    let text =
        "\u{1b}]0;owned\u{7}\u{1b}[2J\r\nSTEP 9\u{202e}gnihton\u{9b}31m 中文字中文字 é\u{301} \u{200d}"
            .repeat(4);
    let mut incident = waiting();
    incident.tenant = text.clone();
    incident.external_id = text.clone();
    incident.labels = [(text.clone(), text.clone())].into();
    let assessment = incident.assessment.as_mut().unwrap();
    assessment.description = text.clone();
    let entities = assessment.entities.as_mut().unwrap();
    entities.attackers = vec![text.clone(); 5];
    entities.names[0].name = text.clone();
    entities.compromised = (0..9).map(|_| Suspect { host: text.clone(), probability: f32::NAN }).collect();
    entities.held_accounts = vec![HeldAccount { account: text.clone(), probability: f32::NAN }];
    entities.compromised.extend((0..44).map(|_| Suspect { host: text.clone(), probability: 0.5 }));
    let step = &mut incident.plan.as_mut().unwrap().steps[0];
    step.reason = text.clone();
    step.candidates[0].action = Some(Action { text: text.clone(), explanation: text.clone() });
    step.candidates[0].takes_down = vec![text.clone()];
    step.assurance.as_mut().unwrap().doubts = vec![text.clone(); 9];
    incident.pending.as_mut().unwrap().action = step.candidates[0].action.clone();
    incident.pending.as_mut().unwrap().takes_down = vec![text];
    incident
}

#[test]
fn hostile_text_acts_on_no_terminal_of_any_size() {
    for size in [(80, 24), (200, 50), (20, 5), (1, 1)] {
        let mut desk = Desk::opened(Some(anybody()), size);
        desk.tell(Event::Queue(1, Box::new(QueueUpdate::Incident(summary(hostile())))));
        let bad = Incident { last_sequence: 99, ..hostile() };
        desk.tell(Event::Got(desk.turns.1, Box::new(bad)));
        let mut pictures = vec![desk.buffer()];
        for keys in ["a", "", "r", "?"] {
            desk.type_in(keys);
            pictures.push(desk.buffer());
            desk.key(KeyCode::Esc);
            if keys.is_empty() {
                let open = desk.key(KeyCode::Enter);
                let Some(Effect::Open { turn, .. }) = open.first() else { panic!("{open:?}") };
                desk.turns.1 = *turn;
                desk.tell(Event::Got(*turn, Box::new(hostile())));
            }
        }
        for buffer in pictures {
            let acts =
                |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!buffer.content().iter().any(|cell| cell.symbol().contains(acts)));
        }
    }
}

#[test]
fn without_colours_everything_is_still_there() {
    for page in [Desk::of, Desk::opened] {
        let mut desk = page(Some(anybody()), (80, 24));
        let coloured = (desk.picture(), desk.buffer());
        assert!(coloured.1.content().iter().any(|cell| cell.fg != Color::Reset));
        desk.state.has_colour = false;
        assert_eq!(desk.picture(), coloured.0);
        let is_plain = |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
        assert!(desk.buffer().content().iter().all(is_plain));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_keys_and_no_size_break_it(keys in proptest::collection::vec(0u8..130, 0..12), columns in 1u16..180, rows in 1u16..60) {
        let mut desk = Desk::opened(Some(anybody()), (columns, rows));
        for key in keys {
            let code = match key {
                0..=31 => [KeyCode::Enter, KeyCode::Esc, KeyCode::End, KeyCode::PageDown][usize::from(key) % 4],
                key => KeyCode::Char(char::from(key)),
            };
            for effect in desk.key(code) {
                if let Effect::Open { turn, .. } = effect {
                    desk.tell(Event::Got(turn, Box::new(hostile())));
                }
                // Bytes drawn at random do not begin with the digits of a hash that nobody told them.
                let is_approval = matches!(effect, Effect::Approve { .. });
                prop_assert!(!is_approval);
            }
            desk.buffer();
        }
    }
}
