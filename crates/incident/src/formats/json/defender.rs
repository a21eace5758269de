//! Alerts of Microsoft Defender for Endpoint as its own API gives them (`/api/alerts`). Graph's security API gives alerts of all of
//! Defender in another form, which [`super::log_analytics`] knows.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, described, listed, tags, told, verdict};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const DEFENDER: ObjectFormat = ObjectFormat { format: Format::Detections, recognises, read };

fn recognises(object: &Object) -> bool {
    let alert = Fields(object);
    ["id", "title", "severity", "alertCreationTime", "detectionSource"]
        .iter()
        .all(|key| alert.string(key).is_some())
}

/// What an alert was raised about.
#[derive(Clone, Copy)]
struct Evidence<'a>(Fields<'a>);

impl<'a> Evidence<'a> {
    /// The pieces of one kind: `Process`, `File`, `Ip`, `User`.
    fn of(self, kind: &'static str) -> impl Iterator<Item = Fields<'a>> {
        let all = self.0.objects("evidence");
        all.filter(move |one| one.string("entityType").is_some_and(|own| own.eq_ignore_ascii_case(kind)))
    }

    fn text(self, kind: &'static str, paths: &[&str]) -> Option<Cow<'a, str>> {
        self.of(kind).find_map(|one| one.first(paths))
    }

    /// The path of the first file. Its name and its folder stand apart.
    fn file(self) -> Option<Cow<'a, str>> {
        let file = self.of("File").find(|one| one.has("fileName") || one.has("filePath"))?;
        Some(match (file.text("filePath"), file.text("fileName")) {
            (Some(folder), Some(name)) => Cow::Owned(format!("{}\\{name}", folder.trim_end_matches('\\'))),
            (folder, name) => folder.or(name)?,
        })
    }
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    let evidence = Evidence(alert);
    let title = alert.text("title")?;
    let host = alert.text("computerDnsName").filter(|name| super::is_name(name));
    let account = alert
        .first(&["relatedUser.userName", "loggedOnUsers.accountName"])
        .or_else(|| evidence.text("User", &["userPrincipalName", "accountName"]));
    let mut draft = Draft {
        kind: RecordKind::Alert,
        // When it happened, else when the alert was made of it.
        time: alert.time(&["firstEventTime", "alertCreationTime"]),
        sensor: Cow::Borrowed("Microsoft Defender"),
        message: Cow::Owned(described(&title, alert.text("description"))),
        detail: Cow::Owned(listed([
            told("on", host.as_deref()),
            told("account", account.as_deref()),
            told("found by", alert.text("detectionSource")),
            told("threat", alert.first(&["threatName", "threatFamilyName"])),
            told("parent", evidence.text("Process", &["parentProcessFileName"])),
            told("url", evidence.text("Url", &["url"])),
            told("investigation", alert.text("investigationState")),
        ])),
        rule: alert.text("detectorId").unwrap_or_default(),
        priority: alert.text("severity").and_then(|word| tags::severity(&word)),
        classification: alert.text("category").unwrap_or_default(),
        source: evidence.of("Ip").find_map(|one| one.address(&["ipAddress"])),
        destination: host.as_deref().map(|host| fields::end(host, None)),
        process: evidence.text("Process", &["processCommandLine", "fileName"]).unwrap_or_default(),
        file: evidence.file().unwrap_or_default(),
        verdict: outcome(alert, &title),
        account: account.unwrap_or_default(),
        host: host.clone().unwrap_or_default(),
        ..Draft::default()
    };
    draft.tags.take_all(alert.text("category").into_iter().chain(alert.texts("mitreTechniques")));
    Some(draft.finish(Format::Detections, object, envelope))
}

/// Whether it was stopped: what is said of any of the evidence, else the title's own last words, since the name of what was found
/// stands before them (`'Wacatac' malware was prevented`).
fn outcome(alert: Fields<'_>, title: &str) -> Option<SensorVerdict> {
    let said = alert.objects("evidence").find_map(|one| verdict(&one.text("detectionStatus")?));
    let ended = || title.rsplit_once(" was ").and_then(|(_, end)| verdict(end));
    said.or_else(ended)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{changed, record};
    use super::*;
    use crate::{Endpoint, Tactic};

    const ALERT: &str = r#"{"id":"da7_1","incidentId":7,"severity":"High","status":"New","classification":null,"investigationState":"Running","detectionSource":"WindowsDefenderAtp","category":"CredentialAccess","threatFamilyName":null,"title":"Memory of a sensitive process was read","alertCreationTime":"2026-06-03T13:01:00.1234567Z","firstEventTime":"2026-06-03T12:59:31.342Z","computerDnsName":"pc7.corp.example","mitreTechniques":["T1003.001"],"relatedUser":{"userName":"alice","domainName":"CORP"},"evidence":[{"entityType":"Process","fileName":"x.exe","processCommandLine":"x.exe -a","parentProcessFileName":"cmd.exe"},{"entityType":"File","fileName":"x.exe","filePath":"C:\\Temp"},{"entityType":"Ip","ipAddress":"203.0.113.9"}]}"#;

    #[test]
    fn an_alert_says_what_was_found_on_which_host() {
        let alert = record(ALERT);
        assert_eq!((alert.kind, alert.priority, alert.verdict), (RecordKind::Alert, Some(1), None));
        assert_eq!(alert.message, "Memory of a sensitive process was read");
        assert_eq!((alert.host.as_str(), alert.account.as_str()), ("pc7.corp.example", "alice"));
        assert_eq!(alert.source, Some(Endpoint::new("203.0.113.9", None)));
        assert_eq!(alert.destination, Some(Endpoint::new("pc7.corp.example", None)));
        assert_eq!((alert.process.as_str(), alert.file.as_str()), ("x.exe -a", "C:\\Temp\\x.exe"));
        assert_eq!(
            (alert.tactics, alert.techniques),
            (vec![Tactic::CredentialAccess], vec!["T1003.001".to_owned()])
        );
        assert_eq!(
            alert.detail,
            "on pc7.corp.example, account alice, found by WindowsDefenderAtp, parent cmd.exe, investigation Running"
        );
        assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }

    #[test]
    fn what_was_stopped_is_blocked() {
        let titled = |title: &str| changed(ALERT, &[("title", title.into())]).verdict;
        assert_eq!(titled("'X' malware was prevented"), Some(SensorVerdict::Blocked));
        assert_eq!(titled("A suspicious file was blocked"), Some(SensorVerdict::Blocked));
        assert_eq!(titled("'X was blocked' malware was detected"), None);
        let evidence = json!([{"entityType": "File", "fileName": "x.exe", "detectionStatus": "Prevented"}]);
        assert_eq!(changed(ALERT, &[("evidence", evidence)]).verdict, Some(SensorVerdict::Blocked));
    }

    #[test]
    fn an_alert_without_evidence_is_one_and_a_dismissed_one_is_context() {
        let bare = changed(ALERT, &[("evidence", Value::Null), ("relatedUser", Value::Null)]);
        assert_eq!((bare.kind, bare.source, bare.account.as_str()), (RecordKind::Alert, None, ""));
        let over = changed(ALERT, &[("classification", "FalsePositive".into())]);
        assert_eq!(over.kind, RecordKind::Telemetry);
        let other: Object =
            serde_json::from_str(r#"{"id":"1","title":"x","severity":"High","alertCreationTime":"x"}"#)
                .unwrap();
        assert!(!recognises(&other));
    }

    #[test]
    fn what_an_attacker_calls_things_is_no_end() {
        let hostile = "x 6.6.6.6 user=root";
        let evidence = json!([{"entityType": "Ip", "ipAddress": hostile}, {"entityType": "File", "fileName": hostile}, 7, "x"]);
        let told = changed(ALERT, &[("evidence", evidence), ("computerDnsName", hostile.into())]);
        assert_eq!((told.source, told.destination, told.account.as_str()), (None, None, "alice"));
    }
}
