//! The picture of a state: pure, so that tests draw it. Nothing of it is remembered.

mod beliefs;
mod decision;
mod dialogs;
mod incident;
mod paint;
mod queue;

use std::time::SystemTime;

use countermove_proto::v1::Incident;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use self::paint::{Lines, Paint};
use super::rights::Deed;
use super::state::{Opened, State};
use crate::render::{cut, one_line, tenant, time};

/// From so many columns on an incident's page has two columns.
const WIDE: usize = 140;

/// Draws all of it.
pub(super) fn draw(state: &State, frame: &mut Frame<'_>) {
    let area = frame.area();
    let columns = usize::from(area.width);
    let (above, below) = frame_lines(state, columns);
    let body = body(state, area);
    let show = |frame: &mut Frame<'_>, lines: Lines, area: Rect| {
        frame.render_widget(Paragraph::new(lines), area);
    };
    let height = |lines: &Lines| u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let top = Rect { height: height(&above).min(area.height), ..area };
    show(frame, above, top);
    let rows = usize::from(body.height);
    match &state.opened {
        None => show(frame, queue::lines(state, columns, rows), body),
        Some(opened) => {
            let parts = columns_of(state, opened, body);
            let scrolled = opened.scrolled.min(last_of(&parts, rows));
            for (lines, part) in parts {
                show(frame, lines.into_iter().skip(scrolled).take(rows).collect(), part);
            }
        }
    }
    let end = body.y.saturating_add(body.height).min(area.y + area.height);
    let bottom = Rect { y: end, height: (area.y + area.height).saturating_sub(end), ..area };
    show(frame, below, bottom);
    if let Some(dialog) = &state.dialog {
        dialogs::draw(state, dialog, area, frame);
    }
}

/// The last line that an incident's page can be scrolled to.
pub(super) fn last_line(state: &State) -> usize {
    let (width, height) = state.size;
    let area = Rect { x: 0, y: 0, width, height };
    let body = body(state, area);
    let parts = state.opened.as_ref().map(|opened| columns_of(state, opened, body)).unwrap_or_default();
    last_of(&parts, usize::from(body.height))
}

/// Why something is not offered, in one sentence.
pub(super) fn may_not(deed: Deed, incident: &Incident) -> String {
    let who = match deed {
        Deed::Approve => "An approver",
        Deed::Act => "A responder",
    };
    format!("{who} of the tenant {} has to do that; you are not one.", one_line(tenant(incident)))
}

fn last_of(parts: &[(Lines, Rect)], rows: usize) -> usize {
    parts.iter().map(|(lines, _)| lines.len()).max().unwrap_or_default().saturating_sub(rows)
}

/// The page of an incident: in one column, or in two beside each other.
fn columns_of(state: &State, opened: &Opened, body: Rect) -> Vec<(Lines, Rect)> {
    let columns = usize::from(body.width);
    if columns < WIDE {
        let mut lines = incident::what_is(state, opened, columns);
        lines.push(Line::default());
        lines.extend(incident::what_led_to_it(state, opened, columns));
        return vec![(lines, body)];
    }
    let left = body.width / 2;
    let right = body.width - left - 2;
    vec![
        (incident::what_is(state, opened, usize::from(left)), Rect { width: left, ..body }),
        (
            incident::what_led_to_it(state, opened, usize::from(right)),
            Rect { x: body.x + left + 2, width: right, ..body },
        ),
    ]
}

/// What is left of the area for the page.
fn body(state: &State, area: Rect) -> Rect {
    let (above, below) = frame_lines(state, usize::from(area.width));
    let rows = |lines: &Lines| u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let (above, below) = (rows(&above).min(area.height), rows(&below));
    Rect { y: area.y + above, height: area.height.saturating_sub(above).saturating_sub(below), ..area }
}

/// What stands above the page and below it.
fn frame_lines(state: &State, columns: usize) -> (Lines, Lines) {
    let paint = Paint { has_colour: state.has_colour };
    let mut above = vec![Line::styled(cut(&head(state), columns), paint.heading())];
    if let Some(broken) = state.broken.iter().min_by_key(|broken| broken.since) {
        let lost = seconds_between(broken.since, state.now.wall);
        let again = seconds_between(state.now.wall, broken.again);
        let text = format!(
            "CONNECTION LOST {} ago, trying again in {}: {}",
            time(lost),
            time(again),
            one_line(&broken.why)
        );
        above.push(Line::styled(cut(&text, columns), paint.alarm()));
    }
    above.push(Line::default());
    let keys = match &state.opened {
        None => "j k select · Enter opens · / filters · ? keys · q quits",
        Some(_) => "j k scroll · a approves · r rejects · n p next and previous · ? keys · q back",
    };
    let mut below = Vec::new();
    if let Some(said) = &state.said {
        below.push(Line::styled(cut(said, columns), paint.warning()));
    }
    below.push(Line::styled(cut(keys, columns), paint.faint()));
    (above, below)
}

fn head(state: &State) -> String {
    let waiting = state.queue.waiting(state.caller.as_ref());
    let mut parts = vec!["Countermove".to_owned()];
    match &state.opened {
        None => parts.push(match waiting {
            0 => "nothing waits for you".to_owned(),
            1 => "1 waits for you".to_owned(),
            _ => format!("{waiting} wait for you"),
        }),
        Some(opened) => {
            parts.push(one_line(opened.name.trim_start_matches("incidents/")));
            if waiting > 0 {
                parts.push(format!("{waiting} waiting"));
            }
        }
    }
    if state.opened.is_none() && !state.filter.is_empty() {
        parts.push(format!("filter: {}", one_line(&state.filter)));
    }
    match &state.caller {
        None => {}
        Some(caller) if caller.name.is_empty() => parts.push("nobody is asked who calls".to_owned()),
        Some(caller) => parts.push(one_line(&caller.name)),
    }
    parts.join(" · ")
}

fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}
