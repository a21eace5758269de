//! What a request may hold. Everything is checked before anything is started, and each refusal names its field.

use std::collections::HashSet;
use std::str::FromStr;

use countermove_proto::v1::{Evidence, Finding, FindingVerdict, Priority};
use countermove_proto::{Error, ParseIdError, RequestId, Tenant, Violation};

use crate::dispatch::Payer;

const SYSTEM_DESCRIPTION: usize = 1 << 20;
const REMARKS: usize = 1 << 20;
const ALERTS: usize = 64 << 20;
const SENTENCES: usize = 64;
const SENTENCE: usize = 2000;
const NAME: usize = 256;

/// A resource name.
///
/// # Errors
/// [`Error::InvalidArgument`] for the field `name`.
pub(crate) fn name<T: FromStr<Err = ParseIdError>>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|error: ParseIdError| Error::invalid("name", error.to_string()))
}

/// An idempotency key; `None` if the caller gave none.
///
/// # Errors
/// [`Error::InvalidArgument`] for the field `request_id`.
pub(crate) fn request_id(text: &str) -> Result<Option<RequestId>, Error> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|error: ParseIdError| Error::invalid("request_id", error.to_string())),
    }
}

/// On whose account an incident is planned, and how urgent it is.
///
/// # Errors
/// [`Error::InvalidArgument`] for the field `priority`.
pub(crate) fn payer(tenant: Tenant, priority: i32) -> Result<Payer, Error> {
    let priority = Priority::try_from(priority)
        .map_err(|_| Error::invalid("priority", format!("there is no priority {priority}")))?;
    Ok(Payer::new(priority, tenant))
}

/// Whether a list begins with the oldest.
///
/// # Errors
/// [`Error::InvalidArgument`] for the field `order_by`.
pub(crate) fn oldest_first(order_by: &str) -> Result<bool, Error> {
    match order_by.split_whitespace().collect::<Vec<_>>()[..] {
        [] | ["create_time", "desc"] => Ok(false),
        ["create_time"] | ["create_time", "asc"] => Ok(true),
        _ => Err(Error::invalid(
            "order_by",
            format!("it is {order_by:?}, and `create_time` and `create_time desc` are known"),
        )),
    }
}

/// Evidence of a new incident; all that is wrong with it at once.
///
/// # Errors
/// [`Error::InvalidArgument`].
pub(crate) fn evidence(evidence: Option<Evidence>) -> Result<Evidence, Error> {
    let Some(evidence) = evidence else {
        return Err(Error::invalid("evidence", "it has to be set"));
    };
    let mut violations = Vec::new();
    let system = "evidence.system_description";
    check(&mut violations, system, text(&evidence.system_description, SYSTEM_DESCRIPTION, "1 MiB"));
    if evidence.records.len() > ALERTS {
        let problem = format!("it has {} bytes, and at most 64 MiB are taken", evidence.records.len());
        check(&mut violations, "evidence.records", Err(problem));
    }
    if !evidence.alerts.is_empty() {
        check(&mut violations, "evidence.alerts", alerts(&evidence.alerts));
    }
    if !evidence.remarks.is_empty() {
        check(&mut violations, "evidence.remarks", text(&evidence.remarks, REMARKS, "1 MiB"));
    }
    for (field, sentences) in
        [("evidence.constraints", &evidence.constraints), ("evidence.notes", &evidence.notes)]
    {
        if sentences.len() > SENTENCES {
            let count = sentences.len();
            check(
                &mut violations,
                field,
                Err(format!("there are {count}, and at most {SENTENCES} are taken")),
            );
        }
        for (position, sentence) in sentences.iter().enumerate().take(SENTENCES) {
            let field = format!("{field}[{position}]");
            check(&mut violations, &field, text(sentence, SENTENCE, "2000 bytes"));
        }
    }
    if violations.is_empty() { Ok(evidence) } else { Err(Error::InvalidArgument(violations)) }
}

/// Alerts that are added to an incident.
///
/// # Errors
/// [`Error::InvalidArgument`] for the field `alerts`.
pub(crate) fn more_alerts(text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::invalid("alerts", "it is empty"));
    }
    alerts(text).map_err(|problem| Error::invalid("alerts", problem))
}

/// An action, a reason or another sentence that a person wrote.
///
/// # Errors
/// [`Error::InvalidArgument`] for `field`.
pub(crate) fn sentence(field: &str, sentence: &str) -> Result<(), Error> {
    text(sentence, SENTENCE, "2000 bytes").map_err(|problem| Error::invalid(field, problem))
}

/// The hash of a step that is approved.
///
/// # Errors
/// [`Error::InvalidArgument`] for `plan_hash`.
pub(crate) fn plan_hash(hash: &str) -> Result<(), Error> {
    let problem = match hash.len() {
        64 if hash.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()) => {
            return Ok(());
        }
        0 => "it has to be set: approving an action names the hash of its step",
        _ => "it has to be the plan_hash of the step, 64 hexadecimal digits",
    };
    Err(Error::invalid("plan_hash", problem))
}

/// The name of a person. May be empty.
///
/// # Errors
/// [`Error::InvalidArgument`] for `field`.
pub(crate) fn person(field: &str, person: &str) -> Result<(), Error> {
    match person {
        "" => Ok(()),
        person => text(person, NAME, "256 bytes").map_err(|problem| Error::invalid(field, problem)),
    }
}

/// What was found out, all that is wrong with it at once.
///
/// # Errors
/// [`Error::InvalidArgument`] for fields of `findings`.
pub(crate) fn findings(findings: &[Finding]) -> Result<(), Error> {
    let mut violations = Vec::new();
    if findings.len() > SENTENCES {
        let problem = format!("there are {}, and at most {SENTENCES} are taken", findings.len());
        check(&mut violations, "findings", Err(problem));
    }
    let mut told = HashSet::new();
    for (at, finding) in findings.iter().enumerate().take(SENTENCES) {
        let name = format!("findings[{at}].name");
        check(&mut violations, &name, text(&finding.name, NAME, "256 bytes"));
        if !told.insert(finding.name.trim().to_lowercase()) {
            check(&mut violations, &name, Err("it is told twice".to_owned()));
        }
        if finding.verdict() == FindingVerdict::Unspecified {
            let problem = "it has to be COMPROMISED or CLEAN".to_owned();
            check(&mut violations, &format!("findings[{at}].verdict"), Err(problem));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::InvalidArgument(violations)) }
}

fn alerts(text: &str) -> Result<(), String> {
    match text.len() {
        size if size > ALERTS => {
            Err(format!("it has {size} bytes, and at most 64 MiB are taken; condense it before sending"))
        }
        _ if text.contains('\0') => Err("it is binary; send the text that the sensor logs".to_owned()),
        _ => Ok(()),
    }
}

fn text(text: &str, most: usize, bound: &str) -> Result<(), String> {
    match text.len() {
        _ if text.trim().is_empty() => Err("it is empty".to_owned()),
        size if size > most => Err(format!("it has {size} bytes, and at most {bound} are taken")),
        _ if text.contains('\0') => Err("it is binary, and text is needed".to_owned()),
        _ => Ok(()),
    }
}

fn check(violations: &mut Vec<Violation>, field: &str, checked: Result<(), String>) {
    if let Err(description) = checked {
        violations.push(Violation { field: field.to_owned(), description });
    }
}

#[cfg(test)]
mod tests {
    use countermove_proto::{IncidentId, WorkerId};

    use super::*;

    fn good() -> Evidence {
        Evidence {
            system_description: "A web server at 10.0.0.5".into(),
            alerts: "an alert".into(),
            constraints: vec!["The web server stays up.".into()],
            notes: Vec::new(),
            records: Vec::new(),
            remarks: "He was seen.".into(),
            baseline: String::new(),
        }
    }

    fn fields(result: Result<Evidence, Error>) -> Vec<String> {
        match result {
            Ok(_) => Vec::new(),
            Err(Error::InvalidArgument(violations)) => violations.into_iter().map(|v| v.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn good_evidence_passes_with_or_without_alerts() {
        assert_eq!(evidence(Some(good())), Ok(good()));
        assert!(evidence(Some(Evidence { alerts: String::new(), ..good() })).is_ok());
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        assert_eq!(fields(evidence(None)), ["evidence"]);
        let bad = Evidence {
            system_description: " \n".into(),
            alerts: "a\0b".into(),
            constraints: vec!["ok".into(), String::new()],
            notes: vec!["x".repeat(2001)],
            records: Vec::new(),
            remarks: "a\0b".into(),
            baseline: String::new(),
        };
        assert_eq!(
            fields(evidence(Some(bad))),
            [
                "evidence.system_description",
                "evidence.alerts",
                "evidence.remarks",
                "evidence.constraints[1]",
                "evidence.notes[0]"
            ]
        );
        let long = Evidence { system_description: "x".repeat((1 << 20) + 1), ..good() };
        assert_eq!(fields(evidence(Some(long))), ["evidence.system_description"]);
        let many = Evidence { constraints: vec!["rule".into(); 65], ..good() };
        assert_eq!(fields(evidence(Some(many))), ["evidence.constraints"]);
        let large = Evidence { alerts: "x".repeat((64 << 20) + 1), ..good() };
        assert_eq!(fields(evidence(Some(large))), ["evidence.alerts"]);
    }

    #[test]
    fn ids_are_checked_by_kind() {
        let incident = IncidentId::generate();
        assert_eq!(name(&incident.name()), Ok(incident));
        assert!(name::<WorkerId>(&incident.name()).is_err());
        assert_eq!(request_id(""), Ok(None));
        assert!(request_id("1").is_err());
        let id = RequestId::generate();
        assert_eq!(request_id(&id.to_string()), Ok(Some(id)));
    }

    #[test]
    fn who_pays_is_checked_and_has_defaults() {
        let of = |payer: Payer| (payer.tenant().as_str().to_owned(), payer.priority());
        assert_eq!(of(payer(Tenant::default(), 0).unwrap()), ("default".to_owned(), Priority::Normal));
        let blue = || Tenant::new("blue").unwrap();
        let urgent = payer(blue(), Priority::Urgent.into()).unwrap();
        assert_eq!(of(urgent), ("blue".to_owned(), Priority::Urgent));
        let Err(Error::InvalidArgument(violations)) = payer(blue(), 9) else { panic!("it passed") };
        assert_eq!(violations[0].field, "priority");
    }

    #[test]
    fn what_people_write_is_bounded() {
        assert!(sentence("reason", "").is_err() && sentence("reason", "no").is_ok());
        assert!(person("approver", "").is_ok() && person("approver", &"x".repeat(300)).is_err());
        let finding = |name: &str, verdict: FindingVerdict| Finding {
            name: name.into(),
            verdict: verdict.into(),
            ..Finding::default()
        };
        let clean = finding("web01", FindingVerdict::Clean);
        assert!(findings(&[]).is_ok() && findings(std::slice::from_ref(&clean)).is_ok());
        assert!(findings(&[clean.clone(), finding("WEB01 ", FindingVerdict::Compromised)]).is_err(), "twice");
        assert!(findings(&[finding("", FindingVerdict::Clean)]).is_err());
        assert!(findings(&[finding("web01", FindingVerdict::Unspecified)]).is_err());
        let many = |at: usize| finding(&format!("host{at}"), FindingVerdict::Clean);
        assert!(findings(&(0..65).map(many).collect::<Vec<_>>()).is_err());
        assert!(more_alerts(" ").is_err() && more_alerts("x").is_ok());
        assert!(plan_hash("").is_err() && plan_hash("abc").is_err() && plan_hash(&"0f".repeat(32)).is_ok());
    }
}
