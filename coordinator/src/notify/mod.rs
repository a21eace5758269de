//! Tells people and other systems how incidents stand: a chat, a gateway for mail, a system of tickets.
//!
//! An incident has a state that somebody may want to hear of ([`Event`]). When a write brings it into such a state, one notification for
//! each receiver that asked for it is written with the events that made it ([`crate::incidents`]), and whoever is alive delivers it: at
//! least once, under one `webhook-id`, as often and as patiently as an approved action ([`crate::webhook`]).
//!
//! What is sent is a [`Notification`] as JSON, or what a receiver's [template] makes of it.
//!
//! Invariants: one notification for each receiver and state, however often the coordinator changes; every text in it is one line without
//! characters that act instead of being seen, and of bounded length; no text can become structure of what is sent.

mod notification;
mod settings;
mod template;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use countermove_proto::v1::Incident;
use hyper::body::Bytes;

pub use notification::{Event, Notification};
pub use settings::NotifyError;
use template::Template;

use crate::incidents::Waiting;
use crate::webhook::{Undelivered, Webhook};

/// Who is told of what. Clones are the same.
#[derive(Clone, Debug)]
pub struct Notify(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where the console is, for links; without a slash at its end.
    console: Option<String>,
    receivers: BTreeMap<String, Receiver>,
}

/// Somebody who is told.
#[derive(Debug)]
struct Receiver {
    events: Vec<Event>,
    /// Of whose incidents; none: of all.
    tenants: Vec<String>,
    template: Option<Template>,
    webhook: Webhook,
}

impl Notify {
    /// Reads the file that names the receivers.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn read(file: &Path, allows_local: bool) -> Result<Self, NotifyError> {
        settings::read(file, allows_local)
    }

    /// Names of the receivers, in order.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = &str> {
        self.0.receivers.keys().map(String::as_str)
    }

    /// What has to be told since an incident went from one state into another.
    pub(crate) fn due(&self, before: &Incident, after: &Incident) -> Vec<Waiting> {
        let Some(stage) = notification::stage(after) else { return Vec::new() };
        if notification::stage(before).as_ref() == Some(&stage) {
            return Vec::new();
        }
        let wants = |receiver: &Receiver| {
            let is_its_tenant = receiver.tenants.is_empty() || receiver.tenants.contains(&after.tenant);
            receiver.events.contains(&stage.event) && is_its_tenant
        };
        let mut wanting = self.0.receivers.iter().filter(|(_, receiver)| wants(receiver)).peekable();
        if wanting.peek().is_none() {
            return Vec::new();
        }
        let told = Notification::of(after, &stage, self.0.console.as_deref());
        match serde_json::to_vec(&told) {
            Ok(body) => wanting
                .map(|(name, _)| Waiting { receiver: name.clone(), id: stage.id.clone(), body: body.clone() })
                .collect(),
            Err(error) => {
                tracing::error!(%error, id = stage.id, "a notification cannot be written");
                Vec::new()
            }
        }
    }

    /// Delivers one, and gives the number of the attempt that was taken. Dropping it stops trying.
    pub(crate) async fn deliver(&self, waiting: &Waiting) -> Result<u32, Undelivered> {
        let refused = |problem| Undelivered { attempts: 0, problem };
        let Some(receiver) = self.0.receivers.get(&waiting.receiver) else {
            return Err(refused("there is no such receiver any more".to_owned()));
        };
        let body = receiver.body(&waiting.body).map_err(refused)?;
        receiver.webhook.send(&waiting.id, body).await
    }

    /// What each receiver would get of an incident that was made up, as text for an operator.
    ///
    /// # Errors
    /// That of a template that cannot be rendered.
    pub fn samples(&self) -> Result<String, NotifyError> {
        use std::fmt::Write;
        let mut text = String::new();
        for (name, receiver) in &self.0.receivers {
            for &event in &receiver.events {
                let body = receiver.sample(event, self.0.console.as_deref());
                let body =
                    body.map_err(|problem| NotifyError::Template { receiver: name.clone(), problem })?;
                // Writing to a string cannot fail.
                let _ = writeln!(text, "# {name}: {}\n{body:#}", event.name());
            }
        }
        Ok(text)
    }
}

impl Receiver {
    /// What is posted for a notification as it was kept.
    fn body(&self, kept: &[u8]) -> Result<Bytes, String> {
        let Some(template) = &self.template else { return Ok(Bytes::copy_from_slice(kept)) };
        let told = serde_json::from_slice(kept).map_err(|error| format!("it cannot be read: {error}"))?;
        let rendered = template.render(&told)?;
        serde_json::to_vec(&rendered)
            .map(Bytes::from)
            .map_err(|error| format!("it cannot be written: {error}"))
    }

    /// What it would get of an incident that was made up.
    fn sample(&self, event: Event, console: Option<&str>) -> Result<serde_json::Value, String> {
        let told =
            serde_json::to_value(Notification::sample(event, console)).map_err(|error| error.to_string())?;
        match &self.template {
            Some(template) => template.render(&told),
            None => Ok(told),
        }
    }
}
