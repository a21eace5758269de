//! What is asked, over the page.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

use super::decision;
use super::paint::{Lines, Paint, behind};
use crate::decisions::CODE_DIGITS;
use crate::render::{approvals, cut, one_line};
use crate::watch::dialog::{Deciding, Dialog, Verdict};
use crate::watch::state::State;

/// Widest dialog.
const WIDEST: u16 = 90;

const KEYS: [(&str, &str); 11] = [
    ("j k, arrows", "the next one and the one before; in an incident, a line on and back"),
    ("space, PgDn, PgUp", "a page on and back"),
    ("g G, Home, End", "the beginning and the end"),
    ("Enter", "opens the incident"),
    ("/", "shows the incidents in which a text stands"),
    ("n p", "in an incident: the next and the one before that wait for you"),
    ("a", "opens the approval, which asks for digits of the step's hash"),
    ("r", "opens the rejection, which asks for a reason"),
    ("Esc", "closes a dialog, and nothing is sent; goes back; takes the filter away"),
    ("q", "back to the queue, and from there out"),
    ("?", "these keys"),
];

/// Draws a dialog in the middle of the area.
pub(super) fn draw(state: &State, dialog: &Dialog, area: Rect, frame: &mut Frame<'_>) {
    let width = area.width.saturating_sub(2).min(WIDEST);
    let columns = usize::from(width.saturating_sub(4));
    let (title, told, asked) = match dialog {
        Dialog::Help => ("Keys", help(columns), vec![Line::raw("Esc closes this")]),
        Dialog::Filter(input) => (
            "Filter",
            behind(
                "",
                "Show the incidents in whose name, labels, description, entities or action this stands:",
                columns,
                Style::new(),
            ),
            vec![
                Line::raw(typed(&input.0, columns)),
                Line::default(),
                Line::raw("Enter shows them · Esc closes"),
            ],
        ),
        Dialog::Decide(deciding) => {
            let (told, asked) = decide(state, deciding, columns);
            let title = match deciding.what {
                Verdict::Approve => "Approve",
                Verdict::Reject => "Reject",
            };
            (title, told, asked)
        }
    };
    let rows = u16::try_from(told.len() + asked.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - rows) / 2,
        width,
        height: rows,
    };
    // What is asked is always there; of what is told as much as there is room for.
    let room = usize::from(rows).saturating_sub(2 + asked.len());
    let mut lines: Lines = told;
    if lines.len() > room {
        lines.truncate(room.saturating_sub(1));
        lines.push(Line::raw("… the page has the rest"));
        lines.truncate(room);
    }
    lines.extend(asked);
    let block =
        Block::bordered().title(format!(" {title} ")).padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn help(columns: usize) -> Lines {
    KEYS.iter().flat_map(|(key, does)| behind(&format!("{key:<18}"), does, columns, Style::new())).collect()
}

/// What is decided about, and what is asked.
fn decide(state: &State, deciding: &Deciding, columns: usize) -> (Lines, Lines) {
    let paint = Paint { has_colour: state.has_colour };
    let incident = state.opened.as_ref().and_then(|opened| opened.incident.as_ref());
    let mut told =
        vec![Line::styled(format!("Step {}", u64::from(deciding.step.index) + 1), paint.heading())];
    let document = deciding.step.clone().into();
    if let Some(approvals) = approvals(&document) {
        told.extend(decision::told("approvals", &approvals, columns, paint.warning()));
    }
    if deciding.what == Verdict::Approve {
        let who = match state.approver.as_str() {
            "" => state.caller.as_ref().map(|caller| caller.name.clone()).unwrap_or_default(),
            who => who.to_owned(),
        };
        told.extend(decision::told("approver", &who, columns, Style::new()));
    }
    if let Some(incident) = incident {
        told.extend(decision::about(incident, &deciding.step, columns, paint));
    }
    told.push(Line::default());
    let mut asked = Lines::new();
    if let Some(why) = deciding.stale(incident).filter(|_| !deciding.is_sent) {
        let nothing = "Nothing was sent. Close this and look again.";
        asked.extend(behind("", &format!("{why} {nothing}"), columns, paint.alarm()));
        asked.push(Line::raw("Esc closes"));
        return (told, asked);
    }
    let question = match (deciding.what, deciding.code()) {
        (Verdict::Approve, Some(code)) => {
            let rest = deciding.step.plan_hash.get(CODE_DIGITS..12).unwrap_or_default();
            format!(
                "To approve exactly this, type the first {CODE_DIGITS} digits of its hash [{code}] {rest}…"
            )
        }
        (Verdict::Approve, None) => "The step has no hash, so it cannot be approved here.".to_owned(),
        (Verdict::Reject, _) => "Why not? The next proposals take it into account.".to_owned(),
    };
    asked.extend(behind("", &question, columns, Style::new()));
    asked.push(Line::styled(typed(&deciding.typed.0, columns), paint.heading()));
    if let Some(problem) = &deciding.problem {
        asked.extend(behind("", problem, columns, paint.alarm()));
    }
    let keys = match (deciding.is_sent, deciding.what) {
        (true, _) => "sending …",
        (false, Verdict::Approve) => "Enter approves · Esc closes, and nothing is sent",
        (false, Verdict::Reject) => "Enter rejects · Esc closes, and nothing is sent",
    };
    asked.push(Line::raw(cut(keys, columns)));
    (told, asked)
}

/// The line that is typed, with its end in sight.
fn typed(text: &str, columns: usize) -> String {
    // A space at the end is typed as well, and one_line would take it away.
    let space = if text.ends_with(' ') { " " } else { "" };
    let line = format!("> {}{space}_", one_line(text));
    let mut begin = line.chars();
    while crate::render::width(begin.as_str()) > columns && begin.next().is_some() {}
    begin.as_str().to_owned()
}
