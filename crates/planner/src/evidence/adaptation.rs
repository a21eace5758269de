//! Comparing what was expected with what came, and what follows from it.
//!
//! Before an action the conjectured tactic predicts pairs of class and priority; after it they are compared with the
//! pairs of the alerts that came in the meantime. What counts as "after" is decided by arrival, not by the alerts' own clocks:
//! a sensor's clock may jump, and alerts may come late or out of order.
//!
//! Invariants: comparing looks at distinct normalised pairs, so that neither the order nor the number of alerts matters;
//! without a prediction or without alerts nothing is compared, since silence after an action speaks for no tactic.

use std::collections::BTreeSet;

use countermove_incident::{AlertKind, AlertLog, Record, Tactic};
use serde::{Deserialize, Serialize};

use crate::evidence::groups::SERIOUS;
use crate::evidence::roles::Roles;

/// Alerts that a conjectured tactic is expected to raise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedAlerts {
    /// The tactic.
    pub tactic: Tactic,
    /// Distinct pairs, the likeliest first.
    pub kinds: Vec<AlertKind>,
}

/// Expected alerts beside those that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The tactic that predicted.
    pub tactic: Tactic,
    /// What it predicted.
    pub predicted: Vec<AlertKind>,
    /// What came, sorted.
    pub observed: Vec<AlertKind>,
    /// Share of the predicted pairs that came: |predicted ∩ observed| / |predicted|, as in the paper.
    pub precision: f64,
    /// Whether the precision reaches the threshold.
    pub holds: bool,
}

/// What came since a step was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Observed {
    pub(crate) kinds: BTreeSet<AlertKind>,
}

impl Observed {
    /// Takes alerts in.
    pub(crate) fn add(&mut self, log: &AlertLog) {
        self.kinds.extend(log.alerts().map(Record::alert_kind));
    }

    /// Compares with what was expected; `None` if there is nothing to compare.
    pub(crate) fn compare(&self, expected: Option<&ExpectedAlerts>, threshold: f64) -> Option<Comparison> {
        let expected = expected?;
        let mut predicted: Vec<AlertKind> = Vec::new();
        for kind in &expected.kinds {
            if !predicted.contains(kind) {
                predicted.push(kind.clone());
            }
        }
        if predicted.is_empty() || self.kinds.is_empty() {
            return None;
        }
        let came = predicted.iter().filter(|kind| self.kinds.contains(kind)).count();
        let precision = came as f64 / predicted.len() as f64;
        Some(Comparison {
            tactic: expected.tactic,
            predicted,
            observed: self.kinds.iter().cloned().collect(),
            precision,
            holds: precision >= threshold,
        })
    }
}

impl std::fmt::Display for Comparison {
    /// `Lateral Movement predicted A and B; A, C and D came: precision 0.50`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list =
            |kinds: &[AlertKind]| kinds.iter().map(AlertKind::to_string).collect::<Vec<_>>().join(", ");
        write!(
            f,
            "{} predicted {}; {} came: precision {:.2}",
            self.tactic.name(),
            list(&self.predicted),
            list(&self.observed),
            self.precision
        )
    }
}

/// The first alert that shows the attack going on: of priority 1 or 2, to or from an attacker or from an attacked host.
pub(crate) fn attack_goes_on(log: &AlertLog, roles: &Roles) -> Option<String> {
    let named = |end: &Option<countermove_incident::Endpoint>, names: &[String]| {
        end.as_ref().is_some_and(|end| names.contains(&end.address))
    };
    let shows = |alert: &&Record| {
        let grave = alert.alert_kind().priority.is_some_and(|priority| priority <= SERIOUS);
        let attacker = named(&alert.source, &roles.attackers) || named(&alert.destination, &roles.attackers);
        grave && (attacker || named(&alert.source, &roles.targets))
    };
    let alert = log.alerts().find(shows)?;
    let end = |end: &Option<countermove_incident::Endpoint>| {
        end.as_ref().map_or_else(|| "an unknown host".to_owned(), |end| end.address.clone())
    };
    Some(format!("{} -> {}: {}", end(&alert.source), end(&alert.destination), alert.alert_kind()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(class: &str, priority: u8) -> AlertKind {
        AlertKind::new(class, Some(priority))
    }

    fn expected(kinds: &[AlertKind]) -> ExpectedAlerts {
        ExpectedAlerts { tactic: Tactic::LateralMovement, kinds: kinds.to_vec() }
    }

    fn observed(kinds: &[AlertKind]) -> Observed {
        Observed { kinds: kinds.iter().cloned().collect() }
    }

    #[test]
    fn precision_is_the_share_of_what_was_predicted_that_came() {
        let (a, b, c) = (kind("misc-activity", 3), kind("trojan-activity", 1), kind("bad-unknown", 2));
        let compare = |predicted: &[AlertKind], came: &[AlertKind]| {
            observed(came).compare(Some(&expected(predicted)), 0.7).map(|c| (c.precision, c.holds))
        };
        assert_eq!(compare(&[a.clone(), b.clone()], &[b.clone(), a.clone(), c.clone()]), Some((1.0, true)));
        assert_eq!(compare(&[a.clone(), b.clone()], std::slice::from_ref(&b)), Some((0.5, false)));
        // The same pair in another spelling, and twice.
        let spelled = AlertKind::new("A Network Trojan was detected", Some(1));
        assert_eq!(compare(&[b.clone(), spelled], std::slice::from_ref(&b)), Some((1.0, true)));
        // A class with another priority is another pair.
        assert_eq!(compare(std::slice::from_ref(&a), &[kind("misc-activity", 1)]), Some((0.0, false)));
        assert_eq!(compare(std::slice::from_ref(&a), &[]), None, "silence speaks for no tactic");
        assert_eq!(compare(&[], std::slice::from_ref(&c)), None);
        assert_eq!(observed(&[c]).compare(None, 0.7), None);
    }

    #[test]
    fn an_attack_that_goes_on_is_seen() {
        let roles = Roles {
            attackers: vec!["203.0.113.7".into()],
            targets: vec!["10.0.2.13".into()],
            ..Roles::default()
        };
        let line = |priority: u8, ends: &str| {
            format!(
                "06/10-13:11:51.405000 [**] [1:1:1] x [**] [Classification: Misc activity] [Priority: {priority}] {{TCP}} {ends}\n"
            )
        };
        let seen = |text: String| attack_goes_on(&AlertLog::parse(text.as_bytes()).unwrap(), &roles);
        let expected = "203.0.113.7 -> 10.0.2.14: misc activity (priority 1)";
        assert_eq!(seen(line(1, "203.0.113.7:1 -> 10.0.2.14:80")).as_deref(), Some(expected));
        assert!(seen(line(2, "10.0.2.13:1 -> 10.0.2.14:22")).is_some());
        assert!(seen(line(2, "10.0.2.14:1 -> 203.0.113.7:443")).is_some());
        assert_eq!(seen(line(3, "203.0.113.7:1 -> 10.0.2.14:80")), None, "noise");
        assert_eq!(seen(line(1, "198.51.100.1:1 -> 10.0.2.14:80")), None, "somebody else");
        assert_eq!(seen(String::new()), None);
    }

    fn kinds() -> impl Strategy<Value = Vec<AlertKind>> {
        let names = prop::sample::select(vec![
            "misc-activity",
            "trojan-activity",
            "bad-unknown",
            "web-application-attack",
        ]);
        prop::collection::vec((names, 1u8..4).prop_map(|(name, priority)| kind(name, priority)), 0..10)
    }

    proptest! {
        #[test]
        fn order_and_number_do_not_matter(
            predicted in kinds(),
            (came, order) in kinds().prop_flat_map(|came| {
                let order = Just((0..came.len()).collect::<Vec<_>>()).prop_shuffle();
                (Just(came), order)
            }),
            threshold in 0.0f64..1.0,
        ) {
            let straight = observed(&came).compare(Some(&expected(&predicted)), threshold);
            let mut other = Observed::default();
            for i in order.iter().chain(&order) {
                other.kinds.insert(came[*i].clone());
            }
            let doubled = [predicted.clone(), predicted.clone()].concat();
            let again = other.compare(Some(&expected(&doubled)), threshold);
            prop_assert_eq!(&straight, &again);
            if let Some(comparison) = straight {
                prop_assert!((0.0..=1.0).contains(&comparison.precision));
                prop_assert_eq!(comparison.holds, comparison.precision >= threshold);
            }
        }
    }
}
