//! Darktrace: model breaches (`pbid`, `score`, `model`, `device`, `triggeredComponents`), as its interface gives and its syslog sends them,
//! also with flat names; and incidents of its AI Analyst (`summariser`, `title`, `breachDevices`).
//!
//! Both are alerts. A score from 0 to 1, or in hundredths, ranks a breach; the model's priority from 0 to 5 does where there is none.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told};
use crate::Endpoint;
use crate::record::RecordKind;

/// See the module.
pub(crate) const DARKTRACE: ObjectFormat = ObjectFormat { format: Format::Detections, recognises, read };

const MODEL: [&str; 5] = ["model.then.name", "model.now.name", "model.name", "modelName", "model_name"];
const NUMBER: [&str; 4] = ["pbid", "modelBreachId", "model_breach_id", "breachId"];

/// Whether the object is one of them.
pub(super) fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    is_breach(fields) || is_incident(fields)
}

fn is_breach(fields: Fields<'_>) -> bool {
    let has = |keys: &[&str]| keys.iter().any(|key| fields.has(key));
    has(&NUMBER)
        && has(&MODEL)
        && has(&["device", "deviceHostname", "deviceIp", "device_hostname", "device_ip", "did"])
}

fn is_incident(fields: Fields<'_>) -> bool {
    fields.string("title").is_some()
        && fields.has("summary")
        && ["summariser", "aiaScore", "groupScore"].iter().any(|key| fields.has(key))
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let draft = if is_breach(fields) { breach(fields)? } else { incident(fields)? };
    Some(draft.finish(Format::Detections, object, envelope))
}

/// The priority of a score of 1 or 100 at most.
fn rank(fields: Fields<'_>, key: &str) -> Option<u8> {
    let score: f64 = fields.text(key)?.parse().ok()?;
    let score = if score <= 1.0 { score * 100.0 } else { score };
    match score {
        _ if score <= 0.0 => None,
        _ if score < 25.0 => Some(4),
        _ if score < 50.0 => Some(3),
        _ if score < 75.0 => Some(2),
        _ => Some(1),
    }
}

fn device<'a>(fields: Fields<'a>, before: &str) -> (Cow<'a, str>, Option<Endpoint>) {
    let keys = ["hostname", "identifier", "devicelabel", "label"].map(|key| format!("{before}.{key}"));
    let host = keys.iter().find_map(|key| fields.text(key)).filter(|name| super::is_name(name));
    let address = fields.address(&[&format!("{before}.ip"), &format!("{before}.ips.ip")]);
    (host.unwrap_or_default(), address)
}

fn breach(fields: Fields<'_>) -> Option<Draft<'_>> {
    let name = fields.first(&MODEL)?;
    let (host, address) = device(fields, "device");
    let host = some(&host).map(|host| Cow::Owned(host.to_owned()));
    let host = host.or_else(|| fields.first(&["deviceHostname", "device_hostname"])).unwrap_or_default();
    let own = address.or_else(|| fields.address(&["deviceIp", "device_ip"]));
    let own = own.or_else(|| some(&host).map(|host| Endpoint::new(host, None)));
    let of = |key: &str| {
        fields.first(&[&format!("model.then.{key}"), &format!("model.now.{key}"), &format!("model.{key}")])
    };
    let (remote, port) = triggers(fields);
    let priority = rank(fields, "score").or_else(|| rank(fields, "pbscore")).or_else(|| {
        Some(match of("priority")?.parse::<u8>().ok()? {
            4.. => 1,
            3 => 2,
            1 | 2 => 3,
            0 => 4,
        })
    });
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: fields.time(&["time", "timestamp", "breachTime", "creationTime"]),
        sensor: Cow::Borrowed("Darktrace"),
        classification: of("category").unwrap_or_default(),
        rule: of("uuid").or_else(|| of("pid")).unwrap_or_default(),
        detail: Cow::Owned(listed([
            told("", of("description").or_else(|| fields.first(&["description"]))),
            told("on", some(&host)),
        ])),
        account: fields
            .first(&["device.credentials.credential", "device.credentials", "username"])
            .unwrap_or_default(),
        message: Cow::Owned(name.replace("::", " / ")),
        // What a device did to others.
        source: own,
        destination: remote.map(|end| Endpoint { port, ..end }),
        priority,
        host,
        ..Draft::default()
    };
    for key in [
        "mitreTechniques.techniqueID",
        "model.then.mitre.techniques",
        "model.now.mitre.techniques",
        "model.mitre.techniques",
        "model.then.mitre.tactics",
        "model.now.mitre.tactics",
        "model.mitre.tactics",
    ] {
        draft.tags.take_all(fields.texts(key));
    }
    draft.tags.take_all(fields.objects("mitreTechniques").filter_map(|one| one.text("techniqueID")));
    if fields.text("acknowledged").is_some_and(|word| word == "true") {
        // Somebody has looked at it, which says nothing of what it is.
        draft.detail = Cow::Owned(format!("{}, acknowledged", draft.detail));
    }
    Some(draft)
}

/// The other end, by the values of the filters that made the model breach.
fn triggers(fields: Fields<'_>) -> (Option<Endpoint>, Option<u16>) {
    let (mut remote, mut port) = (None, None);
    for component in fields.objects("triggeredComponents") {
        for filter in component.objects("triggeredFilters") {
            let kind = filter.text("filterType").unwrap_or_default().to_ascii_lowercase();
            match kind.as_str() {
                "destination ip" | "destination address" if remote.is_none() => {
                    remote = filter.address(&["trigger.value"])
                }
                "destination port" if port.is_none() => port = filter.port(&["trigger.value"]),
                _ => {}
            }
        }
    }
    (remote, port)
}

fn incident(fields: Fields<'_>) -> Option<Draft<'_>> {
    let (host, address) = device(fields, "breachDevices");
    let title = fields.text("title")?;
    let own = address.or_else(|| some(&host).map(|host| Endpoint::new(host, None)));
    let breaches: Vec<String> = fields
        .objects("relatedBreaches")
        .filter_map(|one| one.text("modelName"))
        .map(Cow::into_owned)
        .collect();
    Some(Draft {
        kind: RecordKind::Alert,
        time: fields.time(&["periods.start", "createdAt", "time"]),
        sensor: Cow::Borrowed("Darktrace AI Analyst"),
        classification: fields.first(&["groupCategory", "category"]).unwrap_or_default(),
        rule: fields.first(&["summariser"]).unwrap_or_default(),
        priority: rank(fields, "groupScore").or_else(|| rank(fields, "aiaScore")),
        detail: Cow::Owned(listed([
            told("", fields.text("summary")),
            told("models", super::joined(breaches)),
        ])),
        message: title,
        source: own,
        host,
        ..Draft::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const BREACH: &str = r#"{"pbid":123,"score":0.83,"time":1780491571342,"creationTime":1780491572000,"mitreTechniques":[{"technique":"x","techniqueID":"T1041"}],"model":{"then":{"name":"Anomalous Connection::Data Sent to Rare Domain","uuid":"u1","priority":3,"description":"A device sends data.","category":"Suspicious"}},"device":{"did":5,"ip":"10.0.2.20","hostname":"pc7"},"triggeredComponents":[{"time":1780491571000,"triggeredFilters":[{"filterType":"Destination IP","trigger":{"value":"203.0.113.9"}},{"filterType":"Destination port","trigger":{"value":"443"}}]}]}"#;

    #[test]
    fn a_breach_names_model_device_and_the_other_end() {
        let breach = record(BREACH);
        assert_eq!((breach.kind, breach.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(breach.message, "Anomalous Connection / Data Sent to Rare Domain");
        assert_eq!((breach.host.as_str(), breach.rule.as_str()), ("pc7", "u1"));
        assert_eq!(breach.source.unwrap().address, "10.0.2.20");
        assert_eq!(breach.destination.unwrap().to_string(), "203.0.113.9:443");
        assert_eq!(breach.techniques, ["T1041"]);
        assert_eq!(breach.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
        assert_eq!(changed(BREACH, &[("score", 0.3.into())]).priority, Some(3));
        assert_eq!(changed(BREACH, &[("score", "".into())]).priority, Some(2));
        let flat = record(
            r#"{"modelBreachUrl":"x","modelBreachId":1,"modelName":"Device::New Admin","score":90,"timestamp":1780491571342,"deviceHostname":"pc7","deviceIp":"10.0.2.20"}"#,
        );
        assert_eq!(
            (flat.message.as_str(), flat.priority, flat.host.as_str()),
            ("Device / New Admin", Some(1), "pc7")
        );
    }

    #[test]
    fn an_incident_of_the_analyst_is_an_alert() {
        let found = record(
            r#"{"summariser":"AdminConnSummary","createdAt":1780491572000,"title":"Unusual administrative connections","id":"a","category":"suspicious","groupScore":72.9,"aiaScore":98,"summary":"The device did something.","periods":[{"start":1780491571342,"end":1780491571999}],"breachDevices":[{"identifier":"pc7","hostname":"pc7","ip":"10.0.2.20"}],"relatedBreaches":[{"modelName":"Unusual Activity","pbid":123}]}"#,
        );
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(
            (found.message.as_str(), found.host.as_str()),
            ("Unusual administrative connections", "pc7")
        );
        assert_eq!(found.detail, "The device did something., models Unusual Activity");
        assert_eq!(found.time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }
}
