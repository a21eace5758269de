//! Flow logs of Amazon's virtual networks as objects, as a query or a conversion gives them: `srcaddr`, `dstaddr`, `action`, also with
//! underscores. Telemetry, as their lines are.

use std::borrow::Cow;

use super::super::text::protocol_of;
use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, traffic};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const FLOWS: ObjectFormat = ObjectFormat { format: Format::VpcFlow, recognises, read };

fn recognises(object: &Object) -> bool {
    let fields = Fields(object);
    let are_ends = ["srcaddr", "dstaddr"].iter().all(|key| fields.string(key).is_some());
    are_ends
        && ["start", "end", "action", "interface_id", "interfaceId"]
            .iter()
            .filter(|key| fields.has(key))
            .count()
            >= 2
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let protocol = fields.text("protocol").unwrap_or_default();
    let action = fields.text("action").unwrap_or_default();
    let protocol = protocol_of(&protocol).to_owned();
    let source = fields.end(&["srcaddr"], &["srcport"]);
    let destination = fields.end(&["dstaddr"], &["dstport"]);
    let flow = traffic(&protocol, source.as_ref(), destination.as_ref());
    let draft = Draft {
        kind: RecordKind::Telemetry,
        time: fields.time(&["start", "end", "@timestamp", "timestamp"]),
        sensor: Cow::Borrowed("VPC flow logs"),
        message: Cow::Owned(format!("{action} {flow}").trim().to_owned()),
        verdict: match action.as_ref() {
            "REJECT" => Some(SensorVerdict::Blocked),
            "ACCEPT" => Some(SensorVerdict::Allowed),
            _ => None,
        },
        protocol: Cow::Owned(protocol),
        source,
        destination,
        ..Draft::default()
    };
    Some(draft.finish(Format::VpcFlow, object, envelope))
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

    #[test]
    fn a_flow_is_telemetry_as_its_line_is() {
        let flow = record(
            r#"{"version":"2","interface_id":"eni-1","srcaddr":"203.0.113.9","dstaddr":"10.0.2.14","srcport":"51234","dstport":"22","protocol":"6","start":"1780491571","end":"1780491631","action":"REJECT"}"#,
        );
        assert_eq!(
            (flow.kind, flow.message.as_str()),
            (RecordKind::Telemetry, "REJECT TCP 203.0.113.9 -> 10.0.2.14:22")
        );
        assert_eq!(flow.verdict, Some(SensorVerdict::Blocked));
    }
}
