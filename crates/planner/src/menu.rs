//! How actions may begin in a state, as the template `openings.txt.j2` lists it: one opening a line.
//!
//! A line is a whole action, unless it ends in `...`, which lets the model go on. Behind ` | ` it may say why; then the
//! model is not asked. If the template lists nothing, actions are free text. A small model is a poor writer and a
//! better chooser, so the built-in list suits it; an empty file in the folder of templates sets a larger model free.

use countermove_incident::RecoveryState;
use serde::Serialize;

use crate::roles::Roles;
use crate::tasks::normalise;
use crate::templates::{TemplateError, TemplateName, Templates, fenced_line};

/// How an action may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The words, without the dots.
    pub(crate) text: String,
    /// Whether the model may go on.
    pub(crate) continued: bool,
    /// Why one would take it; empty if the template does not say.
    pub(crate) explanation: String,
}

/// How actions may begin in a state. Empty: actions are free text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Menu {
    pub(crate) openings: Vec<Opening>,
}

impl Menu {
    /// What the template lists.
    pub(crate) fn new(
        templates: &Templates,
        state: RecoveryState,
        roles: &Roles,
    ) -> Result<Menu, TemplateError> {
        #[derive(Serialize)]
        struct Values<'a> {
            state: RecoveryState,
            attackers: &'a [String],
            systems: &'a [String],
            targets: &'a [String],
        }
        let Roles { attackers, systems, targets } = roles;
        let text = templates.render(TemplateName::Openings, Values { state, attackers, systems, targets })?;
        let mut openings: Vec<Opening> = Vec::new();
        for line in text.lines() {
            let (opening, explanation) = line.split_once(" | ").unwrap_or((line, ""));
            let opening = fenced_line(opening);
            let (text, continued) = match opening.strip_suffix("...") {
                Some(start) => (start.trim_end(), true),
                None => (opening.as_str(), false),
            };
            if !text.is_empty() && !openings.iter().any(|known| known.text == text) {
                let explanation = fenced_line(explanation);
                openings.push(Opening { text: text.to_owned(), continued, explanation });
            }
        }
        Ok(Menu { openings })
    }

    /// The menu without the whole actions that say the same as one of `actions`.
    pub(crate) fn without<'a>(&self, actions: impl IntoIterator<Item = &'a str>) -> Menu {
        let gone: Vec<String> = actions.into_iter().map(normalise).collect();
        let stays = |opening: &&Opening| opening.continued || !gone.contains(&normalise(&opening.text));
        Menu { openings: self.openings.iter().filter(stays).cloned().collect() }
    }

    /// Whether actions are free text.
    pub(crate) fn is_empty(&self) -> bool {
        self.openings.is_empty()
    }

    /// Whether the menu explains every action that it allows.
    pub(crate) fn explains(&self) -> bool {
        !self.is_empty() && self.openings.iter().all(|opening| !opening.explanation.is_empty())
    }

    /// Why one would take this action; empty if the menu does not say.
    pub(crate) fn explanation(&self, action: &str) -> &str {
        let matches = |opening: &&Opening| match opening.continued {
            true => action.starts_with(&opening.text),
            false => action == opening.text,
        };
        self.openings.iter().find(matches).map_or("", |opening| &opening.explanation)
    }
}
