//! Alerts of Nozomi's Guardian about industrial networks, as its interface gives and forwards them: `type_id`, `ip_src`, `ip_dst`, `risk`.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, told};
use crate::record::RecordKind;

/// See the module.
pub(crate) const NOZOMI: ObjectFormat = ObjectFormat { format: Format::Detections, recognises, read };

/// Whether the object is one of them.
pub(super) fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    ["type_id", "risk"].iter().all(|key| fields.has(key))
        && ["ip_src", "ip_dst", "id_src", "id_dst", "mac_src"].iter().any(|key| fields.has(key))
        && ["name", "type_name"].iter().any(|key| fields.string(key).is_some())
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let name = fields.first(&["type_name", "name"])?;
    let described = fields.text("description").filter(|text| *text != name);
    // A number up to ten, with a fraction.
    let risk = fields.text("risk").and_then(|text| text.split('.').next()?.parse::<u32>().ok());
    let priority = risk.and_then(super::super::text::of_ten);
    let state = fields.text("status").unwrap_or_default();
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: fields.time(&["time", "record_created_at", "created_time"]),
        sensor: Cow::Borrowed("Nozomi Guardian"),
        host: fields.first(&["appliance_host", "sensor_host"]).unwrap_or_default(),
        rule: fields.text("type_id").unwrap_or_default(),
        protocol: fields.text("transport_protocol").unwrap_or_default(),
        detail: Cow::Owned(listed([
            told("", described),
            told("protocol", fields.text("protocol")),
            told("zones", fields.text("zone_src")),
            told("state", Some(state).filter(|state| !state.is_empty())),
        ])),
        source: fields.end(&["ip_src", "id_src"], &["port_src"]),
        destination: fields.end(&["ip_dst", "id_dst"], &["port_dst"]),
        message: name,
        priority,
        ..Draft::default()
    };
    for key in ["mitre_attack_tactics", "mitre_attack_techniques", "mitre_attack_for_ics.techniques"] {
        draft.tags.take_all(fields.texts(key).iter().flat_map(|text| text.split([',', ';'])));
    }
    Some(draft.finish(Format::Detections, object, envelope))
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn an_alert_names_both_ends() {
        let alert = record(
            r#"{"type_id":"SIGN:MALWARE-DETECTED","type_name":"Malware detected","name":"x","description":"File x.","severity":10,"risk":"9.0","ip_src":"10.0.2.20","ip_dst":"10.0.2.14","port_src":5,"port_dst":445,"time":1780491571342,"protocol":"smb","appliance_host":"guardian1","status":"open","transport_protocol":"tcp","mitre_attack_techniques":"T0843,T1021"}"#,
        );
        assert_eq!(
            (alert.kind, alert.priority, alert.host.as_str()),
            (RecordKind::Alert, Some(1), "guardian1")
        );
        assert_eq!(
            (alert.message.as_str(), alert.rule.as_str()),
            ("Malware detected", "SIGN:MALWARE-DETECTED")
        );
        assert_eq!(alert.destination.unwrap().to_string(), "10.0.2.14:445");
        assert_eq!(alert.techniques, ["T0843", "T1021"]);
    }
}
