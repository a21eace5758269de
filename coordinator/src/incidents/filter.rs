//! Which incidents a caller wants to see. Pure.

use std::collections::BTreeMap;

use countermove_proto::v1::{Incident, IncidentFilter, IncidentStatus, Priority};
use countermove_proto::{Error, Tenant};

/// Most labels of an incident, or of a filter.
const LABELS: usize = 32;
/// Longest key of a label, in bytes.
const KEY: usize = 63;
/// Longest value of a label, external id or text to look for, in characters.
const VALUE: usize = 256;

/// What others know an incident by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownAs {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) external_id: String,
}

impl KnownAs {
    /// Takes what a caller gave.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the field that cannot be used.
    pub(crate) fn new(labels: BTreeMap<String, String>, external_id: String) -> Result<Self, Error> {
        check_labels("labels", &labels)?;
        check_value("external_id", &external_id)?;
        Ok(Self { labels, external_id })
    }
}

/// A condition that incidents are compared with, as lists show them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    statuses: Vec<IncidentStatus>,
    priorities: Vec<Priority>,
    tenant: Option<Tenant>,
    /// In lower case; empty: any.
    text: String,
    known_as: KnownAs,
}

impl Filter {
    /// What a caller asks for.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the field that cannot be used.
    pub(crate) fn read(message: IncidentFilter) -> Result<Self, Error> {
        let IncidentFilter { statuses, priorities, tenant, text, labels, external_id } = message;
        let status = |status: i32| match IncidentStatus::try_from(status) {
            Ok(IncidentStatus::Unspecified) | Err(_) => {
                Err(Error::invalid("filter.statuses", format!("there is no status {status}")))
            }
            Ok(status) => Ok(status),
        };
        let priority = |priority: i32| {
            let known = Priority::try_from(priority).map(normal);
            known.map_err(|_| Error::invalid("filter.priorities", format!("there is no priority {priority}")))
        };
        let tenant = match tenant.as_str() {
            "" => None,
            name => {
                Some(Tenant::new(name).map_err(|error| Error::invalid("filter.tenant", error.to_string()))?)
            }
        };
        check_value("filter.text", &text)?;
        check_labels("filter.labels", &labels)?;
        check_value("filter.external_id", &external_id)?;
        Ok(Self {
            statuses: statuses.into_iter().map(status).collect::<Result<_, _>>()?,
            priorities: priorities.into_iter().map(priority).collect::<Result<_, _>>()?,
            tenant,
            text: text.to_lowercase(),
            known_as: KnownAs { labels, external_id },
        })
    }

    /// Whether it leaves out whatever has ended.
    pub(crate) fn is_of_open_ones(&self) -> bool {
        !self.statuses.is_empty() && !self.statuses.contains(&IncidentStatus::Ended)
    }

    /// The same, for those alone that have not ended unless it names a status.
    pub(crate) fn of_open_ones(mut self) -> Self {
        if self.statuses.is_empty() {
            use IncidentStatus::{AwaitingApproval, AwaitingOutcome, Planning};
            self.statuses = vec![Planning, AwaitingApproval, AwaitingOutcome];
        }
        self
    }

    /// Whether it leaves out nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an incident is one of those.
    pub(crate) fn fits(&self, incident: &Incident) -> bool {
        let has = |key: &String, value: &String| incident.labels.get(key) == Some(value);
        (self.statuses.is_empty() || self.statuses.contains(&incident.status()))
            && (self.priorities.is_empty() || self.priorities.contains(&normal(incident.priority())))
            && self.tenant.as_ref().is_none_or(|tenant| is_of(incident, tenant))
            && (self.known_as.external_id.is_empty() || self.known_as.external_id == incident.external_id)
            && self.known_as.labels.iter().all(|(key, value)| has(key, value))
            && (self.text.is_empty() || self.is_in(incident))
    }

    /// Whether the text stands in what lists show of an incident.
    fn is_in(&self, incident: &Incident) -> bool {
        let Incident { name, external_id, labels, error, assessment, pending, .. } = incident;
        let labels = labels.iter().flat_map(|(key, value)| [key, value]);
        let assessment = assessment.iter().flat_map(|assessment| {
            let entities = assessment.entities.iter().flat_map(|entities| {
                let lists = [&entities.attackers, &entities.targets, &entities.stolen_accounts];
                let names = entities.names.iter().map(|host| &host.name);
                lists.into_iter().flatten().chain(&entities.planted_accounts).chain(names)
            });
            entities.chain([&assessment.description])
        });
        let action = pending.iter().flat_map(|pending| &pending.action).map(|action| &action.text);
        let mut texts = [name, external_id, error].into_iter().chain(labels).chain(assessment).chain(action);
        texts.any(|text| text.to_lowercase().contains(&self.text))
    }
}

fn normal(priority: Priority) -> Priority {
    if priority == Priority::Unspecified { Priority::Normal } else { priority }
}

/// Incidents of releases that knew no tenants are the default one's.
fn is_of(incident: &Incident, tenant: &Tenant) -> bool {
    Tenant::new(&incident.tenant).is_ok_and(|own| own == *tenant)
}

fn check_labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    if labels.len() > LABELS {
        let count = labels.len();
        return Err(Error::invalid(field, format!("there are {count}, and at most {LABELS} are taken")));
    }
    for (key, value) in labels {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
        if key.is_empty() || key.len() > KEY || !key.bytes().all(is_good) {
            let problem =
                format!("a key has 1 to {KEY} letters, digits, `-`, `.`, `_` and `/`, and {key:?} does not");
            return Err(Error::invalid(field, problem));
        }
        check_value(&format!("{field}.{key}"), value)?;
    }
    Ok(())
}

fn check_value(field: &str, value: &str) -> Result<(), Error> {
    let length = value.chars().count();
    if length > VALUE {
        return Err(Error::invalid(
            field,
            format!("it has {length} characters, and at most {VALUE} are taken"),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(Error::invalid(field, "it has a control character, such as a line feed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use countermove_proto::v1::{Action, Assessment, Entities, PendingAction};
    use proptest::prelude::*;

    use super::*;

    fn incident() -> Incident {
        let entities = Entities { attackers: vec!["203.0.113.9".into()], ..Entities::default() };
        let assessment = Assessment {
            description: "Somebody guesses passwords.".into(),
            entities: Some(entities),
            ..Assessment::default()
        };
        let action = Some(Action { text: "Isolate WEB01".into(), ..Action::default() });
        let mut incident = Incident {
            name: "incidents/0190".into(),
            tenant: "red".into(),
            labels: [("team".to_owned(), "emea".to_owned())].into(),
            external_id: "INC-7".into(),
            assessment: Some(assessment),
            pending: Some(PendingAction { action, ..PendingAction::default() }),
            ..Incident::default()
        };
        incident.set_status(IncidentStatus::AwaitingApproval);
        incident
    }

    fn labels(key: &str, value: &str) -> BTreeMap<String, String> {
        [(key.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn each_condition_leaves_out_what_it_says() {
        let default = IncidentFilter::default;
        let waits = IncidentStatus::AwaitingApproval.into();
        let fitting = [
            default(),
            IncidentFilter { statuses: vec![IncidentStatus::Planning.into(), waits], ..default() },
            IncidentFilter { priorities: vec![Priority::Normal.into()], ..default() },
            IncidentFilter { priorities: vec![Priority::Unspecified.into()], ..default() },
            IncidentFilter { tenant: "red".into(), ..default() },
            IncidentFilter { text: "isolate web01".into(), ..default() },
            IncidentFilter { text: "PASSWORDS".into(), ..default() },
            IncidentFilter { text: "203.0.113".into(), ..default() },
            IncidentFilter { text: "inc-7".into(), ..default() },
            IncidentFilter { text: "emea".into(), ..default() },
            IncidentFilter { labels: labels("team", "emea"), external_id: "INC-7".into(), ..default() },
        ];
        for filter in fitting {
            assert!(Filter::read(filter.clone()).unwrap().fits(&incident()), "{filter:?}");
        }
        let others = [
            IncidentFilter { statuses: vec![IncidentStatus::Ended.into()], ..default() },
            IncidentFilter { priorities: vec![Priority::Urgent.into()], ..default() },
            IncidentFilter { tenant: "blue".into(), ..default() },
            IncidentFilter { tenant: "default".into(), ..default() },
            IncidentFilter { text: "db01".into(), ..default() },
            IncidentFilter { labels: labels("team", "apac"), ..default() },
            IncidentFilter { labels: labels("shift", "emea"), ..default() },
            IncidentFilter { external_id: "INC-70".into(), ..default() },
            IncidentFilter { text: "emea".into(), external_id: "INC-8".into(), ..default() },
        ];
        for filter in others {
            assert!(!Filter::read(filter.clone()).unwrap().fits(&incident()), "{filter:?}");
        }
    }

    #[test]
    fn an_incident_of_no_tenant_is_the_default_ones() {
        let filter = Filter::read(IncidentFilter { tenant: "default".into(), ..Default::default() }).unwrap();
        assert!(filter.fits(&Incident { tenant: String::new(), ..incident() }));
    }

    #[test]
    fn what_has_ended_is_left_out_of_a_queue_unless_it_is_asked_for() {
        let ended = || {
            let mut ended = incident();
            ended.set_status(IncidentStatus::Ended);
            ended
        };
        let queue = Filter::default().of_open_ones();
        assert!(queue.fits(&incident()) && !queue.fits(&ended()) && queue.is_of_open_ones());
        let asked = IncidentFilter { statuses: vec![IncidentStatus::Ended.into()], ..Default::default() };
        let asked = Filter::read(asked).unwrap().of_open_ones();
        assert!(asked.fits(&ended()) && !asked.is_of_open_ones());
        assert!(!Filter::default().is_of_open_ones() && Filter::default().is_empty() && !asked.is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_field() {
        let default = IncidentFilter::default;
        for (field, filter) in [
            ("filter.statuses", IncidentFilter { statuses: vec![0], ..default() }),
            ("filter.statuses", IncidentFilter { statuses: vec![99], ..default() }),
            ("filter.priorities", IncidentFilter { priorities: vec![9], ..default() }),
            ("filter.tenant", IncidentFilter { tenant: "a b".into(), ..default() }),
            ("filter.text", IncidentFilter { text: "x".repeat(257), ..default() }),
            ("filter.labels", IncidentFilter { labels: labels("", "x"), ..default() }),
            ("filter.labels.a", IncidentFilter { labels: labels("a", "x\ny"), ..default() }),
            ("filter.external_id", IncidentFilter { external_id: "\u{7}".into(), ..default() }),
        ] {
            let Err(Error::InvalidArgument(violations)) = Filter::read(filter) else {
                panic!("{field} was taken")
            };
            assert_eq!(violations[0].field, field);
        }
        let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
        assert!(KnownAs::new(many, String::new()).is_err());
        assert!(KnownAs::new(labels("a/b.c_d-e", &"é".repeat(256)), "x".repeat(256)).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_that_is_asked_for_breaks_it(
            statuses: Vec<i32>, priorities: Vec<i32>, tenant in "\\PC{0,70}", text in "\\PC{0,300}",
            key in "\\PC{0,70}", external_id in ".{0,20}",
        ) {
            let labels = labels(&key, &text);
            let filter = IncidentFilter { statuses, priorities, tenant, text, labels, external_id };
            if let Ok(filter) = Filter::read(filter) {
                let _ = filter.fits(&incident());
            }
        }
    }
}
