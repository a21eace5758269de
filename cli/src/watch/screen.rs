//! The terminal: taken over for the picture, and given back as it was, however the program ends.

use std::io::{IsTerminal, stdin, stdout};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, KeyEventKind};
use ratatui::crossterm::execute;
use tokio::sync::mpsc;

use super::state::Event;
use crate::failure::Failure;

/// Checks that there is a terminal.
///
/// # Errors
/// [`Failure::Input`] if there is none.
pub(super) fn check() -> Result<(), Failure> {
    if stdin().is_terminal() && stdout().is_terminal() {
        return Ok(());
    }
    let text = "`watch` draws on a terminal, and standard input or output is none; use `countermove incidents list` and `countermove \
                incidents get`, which print";
    Err(Failure::Input(text.to_owned()))
}

/// The terminal while it shows the picture. Dropping it gives it back; so does a panic, before its message is printed.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// If it cannot be drawn on.
    pub(super) fn take() -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| broken(&error))?;
        let screen = Self { terminal };
        // What is pasted is told apart from keys, so that no line of it presses any. A terminal that cannot do that ignores it.
        execute!(stdout(), EnableBracketedPaste).map_err(|error| broken(&error))?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> Result<(u16, u16), Failure> {
        let size = self.terminal.size().map_err(|error| broken(&error))?;
        Ok((size.width, size.height))
    }

    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut ratatui::Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(picture).map(drop).map_err(|error| broken(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody could be told of a terminal that cannot be given back.
        let _ = execute!(stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::Failed(format!("the terminal cannot be drawn on: {error}"))
}

/// Sends keys, pastes and sizes, from a thread of its own, until nobody listens or the terminal is gone.
pub(super) fn listen(events: mpsc::Sender<Event>) {
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let event = match event {
                event::Event::Key(key) if key.kind != KeyEventKind::Release => Event::Key(key),
                event::Event::Paste(text) => Event::Pasted(text),
                event::Event::Resize(columns, rows) => Event::Resized(columns, rows),
                _ => continue,
            };
            if events.blocking_send(event).is_err() {
                return;
            }
        }
    });
}
