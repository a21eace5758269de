//! Tactics and the report on how a log was read.

use countermove_incident::{AlertKind, DigestReport, Tactic};
use countermove_planner::{Comparison, ExpectedAlerts};

use crate::error::Error;
use crate::v1;

impl From<Tactic> for v1::Tactic {
    fn from(tactic: Tactic) -> Self {
        match tactic {
            Tactic::Reconnaissance => Self::Reconnaissance,
            Tactic::ResourceDevelopment => Self::ResourceDevelopment,
            Tactic::InitialAccess => Self::InitialAccess,
            Tactic::Execution => Self::Execution,
            Tactic::Persistence => Self::Persistence,
            Tactic::PrivilegeEscalation => Self::PrivilegeEscalation,
            Tactic::DefenseEvasion => Self::DefenseEvasion,
            Tactic::CredentialAccess => Self::CredentialAccess,
            Tactic::Discovery => Self::Discovery,
            Tactic::LateralMovement => Self::LateralMovement,
            Tactic::Collection => Self::Collection,
            Tactic::CommandAndControl => Self::CommandAndControl,
            Tactic::Exfiltration => Self::Exfiltration,
            Tactic::Impact => Self::Impact,
        }
    }
}

impl TryFrom<v1::Tactic> for Tactic {
    type Error = Error;

    fn try_from(tactic: v1::Tactic) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|&known| v1::Tactic::from(known) == tactic)
            .ok_or_else(|| Error::invalid("tactic", "it has to be set"))
    }
}

impl From<DigestReport> for v1::DigestReport {
    fn from(report: DigestReport) -> Self {
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

impl From<AlertKind> for v1::AlertKind {
    fn from(kind: AlertKind) -> Self {
        Self { classification: kind.classification, priority: kind.priority.map(u32::from) }
    }
}

impl From<ExpectedAlerts> for v1::ExpectedAlerts {
    fn from(expected: ExpectedAlerts) -> Self {
        Self {
            tactic: v1::Tactic::from(expected.tactic).into(),
            kinds: expected.kinds.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Comparison> for v1::AlertComparison {
    fn from(comparison: Comparison) -> Self {
        Self {
            tactic: v1::Tactic::from(comparison.tactic).into(),
            predicted: comparison.predicted.into_iter().map(Into::into).collect(),
            observed: comparison.observed.into_iter().map(Into::into).collect(),
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
            let message = v1::Tactic::from(tactic);
            assert_eq!(Tactic::try_from(message), Ok(tactic));
            let words = message.as_str_name().trim_start_matches("TACTIC_").replace('_', " ").to_lowercase();
            assert_eq!(words, tactic.name().to_lowercase());
        }
        assert!(Tactic::try_from(v1::Tactic::Unspecified).is_err());
    }
}
