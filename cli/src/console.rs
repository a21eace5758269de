//! Standard error: one line of progress that stays at the bottom of a terminal, and lines above it.

use std::io::{IsTerminal, stderr, stdout};
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::render::{Page, Style};

/// Columns of a page that is no terminal, and the most that are used on one.
const COLUMNS: usize = 100;

/// Standard error as all parts of a command share it. Clones are the same console.
#[derive(Clone, Debug)]
pub struct Console {
    bars: MultiProgress,
    is_terminal: bool,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// The console of this process.
    pub fn new() -> Self {
        let is_terminal = stderr().is_terminal();
        let target =
            if is_terminal { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), is_terminal }
    }

    /// Whether a person sees it.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// A line above the progress.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }

    /// A line of progress; invisible where there is no terminal.
    pub fn progress(&self) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        // The template is a constant and a test draws it, so the fallback is never taken.
        let style = ProgressStyle::with_template("{spinner} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(style);
        if self.is_terminal {
            bar.enable_steady_tick(Duration::from_millis(125));
        }
        bar
    }
}

/// The page that standard output is.
pub(crate) fn page() -> Page {
    let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let columns =
        Term::stdout().size_checked().map_or(COLUMNS, |(_, columns)| usize::from(columns).clamp(60, COLUMNS));
    Page { columns, style: Style { colour } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_sound() {
        assert!(ProgressStyle::with_template("{spinner} {wide_msg}").is_ok());
    }

    #[test]
    fn without_a_terminal_there_is_a_plain_page() {
        if !stdout().is_terminal() {
            assert_eq!((page().columns, page().style.colour), (COLUMNS, false));
        }
    }
}
