//! Tactics and the report on how a log was read.

use countermove_incident::{AlertKind, DigestReport, Tactic};
use countermove_planner::{Comparison, ExpectedAlerts};
use countermove_proto::{Error, v1};

use crate::{FromDomain, FromMessage, IntoMessage};

impl FromDomain<Tactic> for v1::Tactic {
    fn from_domain(tactic: Tactic) -> Self {
        match tactic {
            Tactic::Reconnaissance => Self::Reconnaissance,
            Tactic::ResourceDevelopment => Self::ResourceDevelopment,
            Tactic::InitialAccess => Self::InitialAccess,
            Tactic::Execution => Self::Execution,
            Tactic::Persistence => Self::Persistence,
            Tactic::PrivilegeEscalation => Self::PrivilegeEscalation,
            Tactic::Stealth => Self::Stealth,
            Tactic::CredentialAccess => Self::CredentialAccess,
            Tactic::Discovery => Self::Discovery,
            Tactic::LateralMovement => Self::LateralMovement,
            Tactic::Collection => Self::Collection,
            Tactic::CommandAndControl => Self::CommandAndControl,
            Tactic::Exfiltration => Self::Exfiltration,
            Tactic::Impact => Self::Impact,
            Tactic::DefenseImpairment => Self::DefenseImpairment,
        }
    }
}

impl FromMessage<v1::Tactic> for Tactic {
    fn from_message(tactic: v1::Tactic) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|&known| v1::Tactic::from_domain(known) == tactic)
            .ok_or_else(|| Error::invalid("tactic", "it has to be set"))
    }
}

impl FromDomain<DigestReport> for v1::DigestReport {
    fn from_domain(report: DigestReport) -> Self {
        Self {
            records: report.records,
            alerts: report.alerts,
            plain_lines: report.plain_lines,
            groups: report.groups,
            groups_shown: report.groups_shown,
            records_not_shown: report.records_not_shown,
            warnings: report.warnings,
        }
    }
}

impl FromDomain<AlertKind> for v1::AlertKind {
    fn from_domain(kind: AlertKind) -> Self {
        Self { classification: kind.classification, priority: kind.priority.map(u32::from) }
    }
}

impl FromDomain<ExpectedAlerts> for v1::ExpectedAlerts {
    fn from_domain(expected: ExpectedAlerts) -> Self {
        Self {
            tactic: v1::Tactic::from_domain(expected.tactic).into(),
            kinds: expected.kinds.into_iter().map(IntoMessage::into_message).collect(),
        }
    }
}

impl FromDomain<Comparison> for v1::AlertComparison {
    fn from_domain(comparison: Comparison) -> Self {
        Self {
            tactic: v1::Tactic::from_domain(comparison.tactic).into(),
            predicted: comparison.predicted.into_iter().map(IntoMessage::into_message).collect(),
            observed: comparison.observed.into_iter().map(IntoMessage::into_message).collect(),
            precision: comparison.precision,
            holds: comparison.holds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tactic_has_its_own_number_and_name() {
        for tactic in Tactic::ALL {
            let message = v1::Tactic::from_domain(tactic);
            assert_eq!(Tactic::from_message(message), Ok(tactic));
            let words = message.as_str_name().trim_start_matches("TACTIC_").replace('_', " ").to_lowercase();
            assert_eq!(words, tactic.name().to_lowercase());
        }
        assert!(Tactic::from_message(v1::Tactic::Unspecified).is_err());
    }
}
