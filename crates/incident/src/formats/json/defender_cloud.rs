//! Alerts of Microsoft Defender for Cloud: as Azure's interface gives them (`properties.alertDisplayName`, `intent`, `entities`) and as
//! they are exported, with names in capitals and no table's. They become the rows of Log Analytics, which tell the same.

use serde_json::Value;

use super::Object;
use super::fields::Fields;
use super::log_analytics::{self, first};

/// What an alert of Defender for Cloud says, as Azure's interface gives it or as it is exported, with names in capitals.
pub(super) fn alert_in(row: Fields<'_>) -> Option<Fields<'_>> {
    let itself = [row.object("properties"), Some(row)];
    itself.into_iter().flatten().find(|alert| {
        let has = |keys: &[&str]| keys.iter().any(|key| alert.string(key).is_some());
        has(&["alertDisplayName", "AlertDisplayName"])
            && has(&["severity", "Severity", "alertSeverity", "AlertSeverity", "reportedSeverity"])
    })
}

/// Such an alert with the columns of a row of Log Analytics; none if it is no such alert.
pub(super) fn columns(row: Fields<'_>) -> Option<Object> {
    let inner = alert_in(row)?;
    let mut columns = Object::new();
    for (name, keys) in [
        ("DisplayName", &["alertDisplayName", "AlertDisplayName"][..]),
        ("Description", &["description", "Description"]),
        ("AlertSeverity", &["severity", "Severity", "alertSeverity", "AlertSeverity", "reportedSeverity"]),
        ("Status", &["status", "Status", "state"]),
        ("CompromisedEntity", &["compromisedEntity", "CompromisedEntity"]),
        ("Tactics", &["intent", "Intent", "Tactics"]),
        ("Techniques", &["techniques", "Techniques"]),
    ] {
        columns.insert(name.to_owned(), first(inner, keys));
    }
    const TIMES: [&str; 8] = [
        "startTimeUtc",
        "StartTimeUtc",
        "StartTime",
        "timeGeneratedUtc",
        "TimeGenerated",
        "detectedTimeUtc",
        "reportedTimeUtc",
        "time",
    ];
    let time = match first(inner, &TIMES) {
        Value::Null => first(row, &TIMES),
        time => time,
    };
    columns.insert("StartTime".to_owned(), time);
    let listed = if inner.has("entities") { "entities" } else { "Entities" };
    let entities = match log_analytics::inner(inner, listed) {
        Value::Array(entities) => entities.into_iter().take(MAX_ENTITIES).map(capitalised).collect(),
        other => other,
    };
    columns.insert("Entities".to_owned(), entities);
    Some(columns)
}

/// Most of those whom an alert is about that are looked at.
const MAX_ENTITIES: usize = 64;

/// An entity with names as rows have them: `HostName` of `hostName`.
fn capitalised(entity: Value) -> Value {
    let Value::Object(entity) = entity else { return entity };
    let named = entity.into_iter().map(|(name, value)| {
        let name = match name.as_str() {
            "upnSuffix" => "UPNSuffix".to_owned(),
            _ => {
                let mut letters = name.chars();
                letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
            }
        };
        (name, value)
    });
    Value::Object(named.collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use crate::record::RecordKind;
    use crate::{Endpoint, Tactic};

    #[test]
    fn an_alert_of_defender_for_cloud_is_read_in_both_forms() {
        let asked = r#"{"id":"/subscriptions/x/alerts/1","name":"1","type":"Microsoft.Security/Locations/alerts","properties":{"status":"Active","timeGeneratedUtc":"2026-06-03T12:59:40Z","alertType":"VM_X","startTimeUtc":"2026-06-03T12:59:31Z","severity":"High","intent":"Execution","compromisedEntity":"web01","alertDisplayName":"Suspicious process","description":"A process ran.","entities":[{"hostName":"web01","type":"host"},{"address":"203.0.113.9","type":"ip"},{"commandLine":"x.exe -a","type":"process"},{"name":"alice","type":"account"}]}}"#;
        let exported = r#"{"AlertType":"VM_X","StartTimeUtc":"2026-06-03T12:59:31Z","TimeGenerated":"2026-06-03T12:59:40Z","Severity":"High","Status":"New","AlertDisplayName":"Suspicious process","Description":"A process ran.","Entities":[{"HostName":"web01","Type":"host"},{"Address":"203.0.113.9","Type":"ip"},{"CommandLine":"x.exe -a","Type":"process"},{"Name":"alice","Type":"account"}],"CompromisedEntity":"web01","Intent":"Execution"}"#;
        for text in [asked, exported] {
            let alert = record(text);
            assert_eq!((alert.kind, alert.priority), (RecordKind::Alert, Some(1)), "{text}");
            assert_eq!(alert.message, "Suspicious process: A process ran.");
            assert_eq!((alert.host.as_str(), alert.account.as_str()), ("web01", "alice"));
            assert_eq!(
                (alert.process.as_str(), alert.tactics.as_slice()),
                ("x.exe -a", &[Tactic::Execution][..])
            );
            assert_eq!(alert.source, Some(Endpoint::new("203.0.113.9", None)));
            assert_eq!(alert.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        }
        let short = record(
            r#"{"AlertDisplayName":"x y","AlertSeverity":"Low","TimeGenerated":"2026-06-03T12:59:40Z","CompromisedEntity":"web01"}"#,
        );
        assert_eq!((short.kind, short.priority), (RecordKind::Alert, Some(3)));
    }
}
