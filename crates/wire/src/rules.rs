//! Cost models, constraints and what is said about a choice.

use std::sync::Arc;

use countermove_incident::{
    ActionMinutes, Asset, Baseline, Capability, Catalogue, Constraint, HostNames, MinuteTable, Pricing,
    Reversibility, Rule, TargetKind, VerbClass,
};
use countermove_planner::{Assurance, PlanMode};
use countermove_proto::worker::v1 as wire;
use countermove_proto::{Error, v1};

use crate::{FromDomain, FromMessage, IntoMessage};

/// The cost model in force: the message's, or `default` where it names none.
///
/// # Errors
/// [`Error::InvalidArgument`] for `cost_model` or a part of it.
pub fn pricing(message: Option<v1::CostModel>, default: &Pricing) -> Result<Pricing, Error> {
    let Some(message) = message else { return Ok(default.clone()) };
    let kind = v1::CostKind::try_from(message.kind)
        .map_err(|_| Error::invalid("cost_model.kind", format!("there is no kind {}", message.kind)))?;
    match (kind, message.minutes) {
        (v1::CostKind::Minutes, Some(table)) => {
            Ok(Pricing::Minutes(Arc::new(MinuteTable::from_message(table)?)))
        }
        (v1::CostKind::Minutes, None) => {
            Err(Error::invalid("cost_model.minutes", "it has to be set for costs in minutes"))
        }
        (_, Some(_)) => {
            Err(Error::invalid("cost_model.minutes", "it has a meaning only for costs in minutes"))
        }
        (v1::CostKind::Unspecified, None) => Ok(default.clone()),
        (v1::CostKind::Unit, None) => Ok(Pricing::Unit),
        (v1::CostKind::Superfluous, None) => Ok(Pricing::Superfluous),
    }
}

/// Longest text of a catalogue, in bytes.
const LONGEST_CATALOGUE: usize = 256 << 10;

/// The catalogue that a text of TOML is, or none of an empty one.
///
/// # Errors
/// [`Error::InvalidArgument`] for `catalogue`.
pub fn catalogue(text: &str, mode: PlanMode) -> Result<Option<Catalogue>, Error> {
    let wrong = |what: String| Error::invalid("catalogue", what);
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > LONGEST_CATALOGUE {
        return Err(wrong(format!("it has {} bytes, and at most {LONGEST_CATALOGUE} are taken", text.len())));
    }
    if mode == PlanMode::Offline {
        return Err(wrong(
            "it needs an interactive plan: what is seen in each round decides the next".into(),
        ));
    }
    Catalogue::parse(text).map(Some).map_err(|error| wrong(error.to_string()))
}

/// The baseline that a text is, or none of an empty one.
///
/// # Errors
/// [`Error::InvalidArgument`] for `evidence.baseline`.
pub fn baseline(text: &str) -> Result<Option<Baseline>, Error> {
    let read =
        |text| Baseline::parse(text).map_err(|error| Error::invalid("evidence.baseline", error.to_string()));
    Some(text).filter(|text| !text.is_empty()).map(read).transpose()
}

impl FromDomain<&Pricing> for v1::CostModel {
    fn from_domain(pricing: &Pricing) -> Self {
        let (kind, minutes) = match pricing {
            Pricing::Unit => (v1::CostKind::Unit, None),
            Pricing::Superfluous => (v1::CostKind::Superfluous, None),
            Pricing::Minutes(table) => (v1::CostKind::Minutes, Some(v1::MinuteTable::from_domain(&**table))),
        };
        Self { kind: kind.into(), minutes }
    }
}

impl FromDomain<&MinuteTable> for v1::MinuteTable {
    fn from_domain(table: &MinuteTable) -> Self {
        let row = |verb_class: v1::VerbClass, minutes: &ActionMinutes| v1::ActionMinutes {
            verb_class: verb_class.into(),
            work: minutes.work,
            outage: minutes.outage,
        };
        let known = table.actions.iter().map(|(class, minutes)| row((*class).into_message(), minutes));
        Self {
            disruption_weight: table.disruption_weight,
            default_criticality: table.default_criticality,
            needless: table.needless,
            actions: [row(v1::VerbClass::Unspecified, &table.other)].into_iter().chain(known).collect(),
            assets: table
                .assets
                .iter()
                .map(|asset| v1::Asset { names: asset.names.clone(), criticality: asset.criticality })
                .collect(),
            capabilities: table.capabilities.iter().map(v1::Capability::from_domain).collect(),
        }
    }
}

impl FromMessage<v1::MinuteTable> for MinuteTable {
    fn from_message(message: v1::MinuteTable) -> Result<Self, Error> {
        let mut table = MinuteTable {
            disruption_weight: message.disruption_weight,
            default_criticality: message.default_criticality,
            needless: message.needless,
            actions: Default::default(),
            other: ActionMinutes::default(),
            assets: message
                .assets
                .into_iter()
                .map(|asset| Asset { names: asset.names, criticality: asset.criticality })
                .collect(),
            capabilities: message
                .capabilities
                .into_iter()
                .map(Capability::from_message)
                .collect::<Result<_, _>>()?,
        };
        let mut other = None;
        for row in message.actions {
            let field = "cost_model.minutes.actions";
            let class = v1::VerbClass::try_from(row.verb_class).map_err(|_| {
                Error::invalid(field, format!("there is no kind of response {}", row.verb_class))
            })?;
            let minutes = ActionMinutes { work: row.work, outage: row.outage };
            let known = match verb_class(class) {
                Some(class) => table.actions.insert(class, minutes),
                None => other.replace(minutes),
            };
            if known.is_some() {
                return Err(Error::invalid(field, format!("{} is there twice", class.as_str_name())));
            }
        }
        table.other = other.ok_or_else(|| {
            Error::invalid("cost_model.minutes.actions", "there is none for actions of no known kind")
        })?;
        table.validate().map_err(|error| Error::invalid("cost_model.minutes", error.to_string()))?;
        Ok(table)
    }
}

impl FromDomain<&Capability> for v1::Capability {
    fn from_domain(capability: &Capability) -> Self {
        let Capability { does, to, possible, except, work, outage, works, approvers, by, undo, command } =
            capability;
        Self {
            does: v1::VerbClass::from_domain(*does).into(),
            to: v1::TargetKind::from_domain(*to).into(),
            impossible: !possible,
            except: except.clone(),
            work: *work,
            outage: *outage,
            works: *works,
            approvers: *approvers,
            by: by.clone(),
            undo: undo.clone(),
            command: command.clone(),
        }
    }
}

impl FromMessage<v1::Capability> for Capability {
    fn from_message(message: v1::Capability) -> Result<Self, Error> {
        let invalid = |what: String| Error::invalid("cost_model.minutes.capabilities", what);
        let does = v1::VerbClass::try_from(message.does).ok().and_then(verb_class);
        let to = target_kind(message.to());
        Ok(Self {
            does: does.ok_or_else(|| invalid(format!("there is no kind of response {}", message.does)))?,
            to: to.ok_or_else(|| invalid(format!("there is no kind of target {}", message.to)))?,
            possible: !message.impossible,
            except: message.except,
            work: message.work,
            outage: message.outage,
            works: message.works,
            approvers: message.approvers.max(1),
            by: message.by,
            undo: message.undo,
            command: message.command,
        })
    }
}

impl FromDomain<TargetKind> for v1::TargetKind {
    fn from_domain(kind: TargetKind) -> Self {
        match kind {
            TargetKind::Host => Self::Host,
            TargetKind::Address => Self::Address,
            TargetKind::Account => Self::Account,
        }
    }
}

/// The kind of target of a message; `None` for one of no known kind.
pub(crate) fn target_kind(kind: v1::TargetKind) -> Option<TargetKind> {
    match kind {
        v1::TargetKind::Unspecified => None,
        v1::TargetKind::Host => Some(TargetKind::Host),
        v1::TargetKind::Address => Some(TargetKind::Address),
        v1::TargetKind::Account => Some(TargetKind::Account),
    }
}

impl FromDomain<VerbClass> for v1::VerbClass {
    fn from_domain(class: VerbClass) -> Self {
        match class {
            VerbClass::Contain => Self::Contain,
            VerbClass::Preserve => Self::Preserve,
            VerbClass::Analyse => Self::Analyse,
            VerbClass::Eradicate => Self::Eradicate,
            VerbClass::Harden => Self::Harden,
            VerbClass::Restore => Self::Restore,
        }
    }
}

/// The class of a message; `None` for actions of no known kind.
pub(crate) fn verb_class(class: v1::VerbClass) -> Option<VerbClass> {
    match class {
        v1::VerbClass::Unspecified => None,
        v1::VerbClass::Contain => Some(VerbClass::Contain),
        v1::VerbClass::Preserve => Some(VerbClass::Preserve),
        v1::VerbClass::Analyse => Some(VerbClass::Analyse),
        v1::VerbClass::Eradicate => Some(VerbClass::Eradicate),
        v1::VerbClass::Harden => Some(VerbClass::Harden),
        v1::VerbClass::Restore => Some(VerbClass::Restore),
    }
}

impl FromDomain<Reversibility> for v1::Reversibility {
    fn from_domain(reversibility: Reversibility) -> Self {
        match reversibility {
            Reversibility::Harmless => Self::Harmless,
            Reversibility::Reversible => Self::Reversible,
            Reversibility::Laborious => Self::Laborious,
            Reversibility::Irreversible => Self::Irreversible,
        }
    }
}

impl FromDomain<Assurance> for v1::Assurance {
    fn from_domain(assurance: Assurance) -> Self {
        Self {
            chance: assurance.chance,
            is_clear: assurance.is_clear,
            best: assurance.best,
            reversibility: v1::Reversibility::from_domain(assurance.reversibility).into(),
            doubts: assurance.doubts,
            wanted_evidence: assurance.wanted_evidence,
        }
    }
}

impl FromDomain<&Constraint> for wire::Constraint {
    fn from_domain(constraint: &Constraint) -> Self {
        let names = |host: &HostNames| {
            let first = host.shown().to_owned();
            wire::HostNames { names: [first].into_iter().chain(host.all().iter().cloned()).collect() }
        };
        let (kind, verb) = match &constraint.rule {
            Rule::KeepUp(_) => (wire::ConstraintKind::KeepUp, String::new()),
            Rule::KeepLink(..) => (wire::ConstraintKind::KeepLink, String::new()),
            Rule::NeverContact(..) => (wire::ConstraintKind::NeverContact, String::new()),
            Rule::Forbid(verb, _) => (wire::ConstraintKind::Forbid, verb.clone()),
        };
        Self {
            text: constraint.text.clone(),
            kind: kind.into(),
            hosts: constraint.rule.hosts().map(names).collect(),
            verb,
        }
    }
}

impl FromMessage<wire::Constraint> for Constraint {
    fn from_message(message: wire::Constraint) -> Result<Self, Error> {
        let kind = wire::ConstraintKind::try_from(message.kind).unwrap_or_default();
        let mut hosts = Vec::new();
        for host in message.hosts {
            let mut names = host.names.into_iter();
            let first =
                names.next().ok_or_else(|| Error::invalid("constraints.hosts", "a host has no name"))?;
            hosts.push(HostNames::new(first, names));
        }
        let rule = match (kind, hosts.as_slice()) {
            (wire::ConstraintKind::KeepUp, [host]) => Rule::KeepUp(host.clone()),
            (wire::ConstraintKind::KeepLink, [from, to]) => Rule::KeepLink(from.clone(), to.clone()),
            (wire::ConstraintKind::NeverContact, [first, second]) => {
                Rule::NeverContact(first.clone(), second.clone())
            }
            (wire::ConstraintKind::Forbid, [host]) => Rule::Forbid(message.verb, host.clone()),
            _ => {
                return Err(Error::invalid(
                    "constraints",
                    "a rule has a kind or hosts that do not fit together",
                ));
            }
        };
        Ok(Self { text: message.text, rule })
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::Constraints;

    use super::*;

    const TABLE: &str = include_str!("../../../deploy/costs.toml");

    #[test]
    fn cost_models_go_there_and_back() {
        const ABLE: &str = "other = { work = 1 }\n[[response]]\ndoes = \"contain\"\nto = \"address\"\nexcept = [\"10.0.0.0/8\"]\nwork = 2\n\
            works = 0.9\napprovers = 2\nby = \"us\"\ncommand = \"block {target}\"\nundo = \"unblock {target}\"\n[[response]]\n\
            does = \"contain\"\nto = \"account\"\npossible = false\noutage = 0";
        let [table, able] =
            [TABLE, ABLE].map(|text| Pricing::Minutes(Arc::new(MinuteTable::parse(text).unwrap())));
        for model in [Pricing::Unit, Pricing::Superfluous, table, able] {
            assert_eq!(pricing(Some((&model).into_message()), &Pricing::Unit), Ok(model.clone()));
            assert_eq!(pricing(None, &model), Ok(model.clone()));
            assert_eq!(pricing(Some(v1::CostModel::default()), &model), Ok(model));
        }
    }

    #[test]
    fn cost_models_that_say_nothing_or_too_much_are_refused() {
        let good = v1::MinuteTable::from_domain(&MinuteTable::parse(TABLE).unwrap());
        let minutes = |table: v1::MinuteTable| v1::CostModel {
            kind: v1::CostKind::Minutes.into(),
            minutes: Some(table),
        };
        let twice = v1::MinuteTable {
            actions: [good.actions.clone(), good.actions.clone()].concat(),
            ..good.clone()
        };
        let negative = v1::MinuteTable { disruption_weight: -1.0, ..good.clone() };
        let no_other = v1::MinuteTable { actions: Vec::new(), ..good.clone() };
        for (model, field) in [
            (v1::CostModel { kind: 9, minutes: None }, "cost_model.kind"),
            (v1::CostModel { kind: v1::CostKind::Minutes.into(), minutes: None }, "cost_model.minutes"),
            (v1::CostModel { kind: v1::CostKind::Unit.into(), minutes: Some(good) }, "cost_model.minutes"),
            (minutes(twice), "cost_model.minutes.actions"),
            (minutes(no_other), "cost_model.minutes.actions"),
            (minutes(negative), "cost_model.minutes"),
        ] {
            let Err(Error::InvalidArgument(violations)) = pricing(Some(model), &Pricing::Unit) else {
                panic!("{field} was taken")
            };
            assert_eq!(violations[0].field, field);
        }
    }

    #[test]
    fn constraints_go_there_and_back() {
        let sentences = [
            "Server 6 must not be taken offline.",
            "Server 2 must remain accessible from Server 6.",
            "No traffic may pass between Server 2 and Server 6.",
            "Server 6 must not be restarted.",
            "Server 6 must not be changed.",
        ];
        let read =
            Constraints::read(&sentences.map(String::from), "Server 6 (10.0.4.6)\nServer 2 (10.0.2.2)");
        assert_eq!(read.rules.len(), sentences.len());
        for constraint in read.rules {
            let message = wire::Constraint::from_domain(&constraint);
            assert_eq!(Constraint::from_message(message.clone()), Ok(constraint));
            let lone = wire::Constraint { hosts: Vec::new(), ..message };
            assert!(Constraint::from_message(lone).is_err());
        }
        assert!(Constraint::from_message(wire::Constraint::default()).is_err());
    }
}
