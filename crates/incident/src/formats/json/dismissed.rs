//! Whether somebody has looked at an alert and found that it is no attack, as products write that down.

use super::super::format::Format;
use super::fields::Fields;

/// Forms of consoles in which people work alerts through. What a sensor writes was looked at by nobody yet, and what stands in its records
/// may be the attacker's.
const CONSOLES: [Format; 6] =
    [Format::Detections, Format::Ecs, Format::EntraId, Format::GuardDuty, Format::Microsoft365, Format::Ocsf];
/// Where products keep what came of looking.
const PATHS: [&str; 26] = [
    "classification",
    "Classification",
    "properties.classification",
    "determination",
    "Determination",
    "status",
    "Status",
    "properties.status",
    "resolution",
    "Resolution",
    "close_reason",
    "closeReason",
    "disposition",
    "disposition_label",
    "verdict",
    "analystVerdict",
    "threatInfo.analystVerdict",
    "threatInfo.mitigationStatus",
    "alertInfo.analystVerdict",
    "Workflow.Status",
    "kibana.alert.workflow_reason",
    "feedback",
    "determination.value",
    "workflow.closure_reason",
    "closing_reason",
    "investigationResult",
];
/// What they write there, letters alone and small.
const WORDS: [&str; 17] = [
    "falsepositive",
    "benignpositive",
    "benignpositivesuspiciousbutexpected",
    "falsepositiveincorrectalertlogic",
    "falsepositiveincorrectanalyticlogic",
    "falsepositiveinaccuratedata",
    "informationalexpectedactivity",
    "confirmedactivity",
    "expectedactivity",
    "securitytesting",
    "lineofbusinessapplication",
    "markedasbenign",
    "suppressed",
    "falsepositivetuned",
    "nonissue",
    "resolvedbenignknowngood",
    "benigntruepositive",
];

/// Whether an alert was dismissed: it stays what happened, and accuses nobody.
pub(super) fn is_dismissed(format: Format, alert: Fields<'_>) -> bool {
    CONSOLES.contains(&format)
        && PATHS.iter().filter_map(|path| alert.text(path)).any(|found| {
            let letters = found.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase);
            WORDS.contains(&letters.collect::<String>().as_str())
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::record;
    use super::*;
    use crate::record::RecordKind;

    #[test]
    fn what_was_found_to_be_no_attack_is_known() {
        for (key, value) in [
            ("classification", "FalsePositive"),
            ("Classification", "BenignPositive"),
            ("determination", "SecurityTesting"),
            ("status", "false_positive"),
            ("disposition_label", "Benign Positive - Suspicious But Expected"),
        ] {
            let alert = json!({ key: value });
            assert!(is_dismissed(Format::Detections, Fields(alert.as_object().unwrap())), "{key} {value}");
        }
        for (key, value) in
            [("status", "new"), ("classification", "TruePositive"), ("message", "false positive")]
        {
            let alert = json!({ key: value });
            assert!(!is_dismissed(Format::Detections, Fields(alert.as_object().unwrap())), "{key} {value}");
        }
        let of_a_sensor = json!({ "status": "suppressed" });
        assert!(!is_dismissed(Format::Eve, Fields(of_a_sensor.as_object().unwrap())));
    }

    #[test]
    fn an_alert_that_was_dismissed_is_context() {
        let alert = |state: &str| {
            record(&format!(
                r#"{{"@timestamp":"2026-06-03T12:59:31Z","kibana.alert.rule.name":"Malware found","kibana.alert.severity":"high","host":{{"name":"web01"}},"kibana.alert.workflow_reason":"{state}"}}"#
            ))
        };
        assert_eq!(alert("true_positive").kind, RecordKind::Alert);
        let dismissed = alert("false_positive");
        assert_eq!(dismissed.kind, RecordKind::Telemetry);
        assert!(dismissed.message.ends_with("(dismissed)"), "{}", dismissed.message);
    }
}
