//! Lines and their styles. What a colour says is said in words as well, and without colours everything is still there.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::render::{cut, hanging};

/// How things are marked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) has_colour: bool,
}

impl Paint {
    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn good(self) -> Style {
        self.in_colour(Color::Green)
    }

    pub(super) fn warning(self) -> Style {
        self.in_colour(Color::Yellow)
    }

    /// What has to be seen first.
    pub(super) fn alarm(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Where the keys are.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn in_colour(self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }
}

/// Lines of a part of a page.
pub(super) type Lines = Vec<Line<'static>>;

/// A text behind `lead`, broken to fit `columns`.
pub(super) fn behind(lead: &str, text: &str, columns: usize, style: Style) -> Lines {
    hanging(lead, text, columns).lines().map(|line| Line::styled(line.to_owned(), style)).collect()
}

/// A title, and a word beside it.
pub(super) fn title(title: &str, beside: &str, columns: usize, paint: Paint) -> Line<'static> {
    let left = columns.saturating_sub(crate::render::width(title) + 2);
    let title = Span::styled(title.to_owned(), paint.heading());
    match beside {
        "" => Line::from(title),
        beside => Line::from(vec![title, Span::raw("  "), Span::styled(cut(beside, left), paint.faint())]),
    }
}
