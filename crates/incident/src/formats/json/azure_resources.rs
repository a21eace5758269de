//! What firewalls in Azure write by diagnostic settings: Azure Firewall in sentences and in columns, and the web application firewalls of
//! Application Gateway and Front Door. Calls of other resources are read with Entra ID's.
//!
//! What a rule against attacks matched is an alert; what was refused is a log, and what passed is telemetry.

use std::borrow::Cow;

use super::fields::{self, Fields, address};
use super::tags::severity;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told, traffic, verdict};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const AZURE_RESOURCES: ObjectFormat = ObjectFormat { format: Format::Firewall, recognises, read };

/// What a category is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Requests that a rule matched.
    Requests,
    /// Traffic, by name, address or feed.
    Traffic,
    /// Signatures and known bad addresses.
    Threats,
    /// Flows of a network, many in one object.
    Flows,
}

fn what(fields: Fields<'_>) -> Option<What> {
    let is_told =
        fields.has("resourceId") && ["time", "timeStamp", "timestamp"].iter().any(|key| fields.has(key));
    fields.object("properties").filter(|_| is_told)?;
    Some(match fields.string("category")? {
        "ApplicationGatewayFirewallLog"
        | "FrontDoorWebApplicationFirewallLog"
        | "FrontdoorWebApplicationFirewallLog" => What::Requests,
        "AZFWThreatIntel" | "AZFWIdpsSignature" => What::Threats,
        "NetworkSecurityGroupFlowEvent" | "FlowLogFlowEvent" => What::Flows,
        name if name.starts_with("AzureFirewall") || name.starts_with("AZFW") => What::Traffic,
        _ => return None,
    })
}

/// Whether the object is of one of them.
pub(super) fn recognises(object: &Object) -> bool {
    what(Fields(object)).is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let outer = Fields(object);
    let inner = outer.object("properties")?;
    let resource = outer.text("resourceId").unwrap_or_default();
    let mut draft = Draft {
        kind: RecordKind::Log,
        time: outer.time(&["time", "timeStamp", "timestamp"]),
        sensor: Cow::Borrowed("Azure firewall"),
        host: Cow::Owned(resource.rsplit('/').next().unwrap_or_default().to_owned()),
        classification: outer.text("category").unwrap_or_default(),
        protocol: inner.first(&["Protocol", "protocol"]).unwrap_or_default(),
        source: inner.end(&["SourceIp", "SourceIP", "clientIp", "clientIP"], &["SourcePort", "clientPort"]),
        destination: inner
            .end(&["DestinationIp", "DestinationIP", "Fqdn", "hostname", "host"], &["DestinationPort"]),
        ..Draft::default()
    };
    let action = inner.first(&["Action", "action"]).unwrap_or_default();
    draft.verdict = match action.to_ascii_lowercase().as_str() {
        "detected" | "matched" | "log" | "alert" | "anomalyscoring" => Some(SensorVerdict::Allowed),
        word => verdict(word),
    };
    match what(outer)? {
        What::Requests => matched(inner, &mut draft, &action),
        What::Threats => threat(inner, &mut draft),
        What::Traffic => passed(inner, &mut draft, &action),
        What::Flows => {
            draft.kind = RecordKind::Telemetry;
            draft.message = Cow::Owned(format!("flows of {}", draft.host));
        }
    }
    Some(draft.finish(Format::Firewall, object, envelope))
}

/// A request that a rule matched. Rules that only count and let pass are told once more by the one that decides.
fn matched<'a>(inner: Fields<'a>, draft: &mut Draft<'a>, action: &str) {
    draft.kind = RecordKind::Alert;
    draft.sensor = Cow::Borrowed("Azure WAF");
    draft.rule = inner.first(&["ruleId", "ruleName"]).unwrap_or_default();
    let said = inner.first(&["message", "Message", "details.msg", "details.message"]);
    draft.message = match said.filter(|text| !text.is_empty()) {
        Some(said) => said,
        None => Cow::Owned(format!("web application firewall: {}", draft.rule)),
    };
    draft.detail = Cow::Owned(listed([
        told("", inner.first(&["requestUri", "requestURI"])),
        told("", some(action)),
        told("policy", inner.first(&["policyId", "policy", "ruleSetType"])),
    ]));
}

fn threat<'a>(inner: Fields<'a>, draft: &mut Draft<'a>) {
    draft.kind = RecordKind::Alert;
    draft.rule = inner.first(&["SignatureId", "ThreatId"]).unwrap_or_default();
    let rank = inner.text("Severity");
    draft.priority = rank.and_then(|word| match word.as_ref() {
        // Of signatures the lowest number is the gravest.
        "1" => Some(1),
        "2" => Some(2),
        "3" => Some(3),
        word => severity(word),
    });
    let named = inner.first(&["Description", "ThreatDescription", "Category"]);
    draft.message = named.unwrap_or(Cow::Borrowed("traffic with a known bad address"));
    draft.detail = inner.first(&["TargetUrl", "Fqdn"]).unwrap_or_default();
}

/// Traffic in columns, or as `TCP request from 10.0.2.20:51234 to 203.0.113.9:443. Action: Deny. …`.
fn passed(inner: Fields<'_>, draft: &mut Draft<'_>, action: &str) {
    let mut action = action.to_owned();
    if let Some(said) = inner.string("msg") {
        let said_action =
            said.split_once("Action: ").map(|(_, rest)| rest.split(['.', ' ']).next().unwrap_or_default());
        if let Some((protocol, rest)) = said.split_once(" request from ") {
            let end = |text: &str| {
                let text = text.trim_end_matches(['.', ',']);
                let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
                let is_address = address(&name.into()).is_some() || super::is_name(name);
                is_address.then(|| Endpoint { port: port.parse().ok(), ..fields::end(name, None) })
            };
            let mut words = rest.split(' ');
            draft.source = words.next().and_then(end);
            draft.destination = words.nth(1).and_then(end);
            draft.protocol = Cow::Owned(protocol.rsplit(' ').next().unwrap_or_default().to_owned());
        }
        action = said_action.unwrap_or_default().to_owned();
        draft.verdict = verdict(&action);
        if said.contains("ThreatIntel: ") {
            draft.kind = RecordKind::Alert;
            draft.message = Cow::Borrowed("traffic with a known bad address");
            return;
        }
    }
    let is_stopped = draft.verdict == Some(SensorVerdict::Blocked);
    draft.kind = if is_stopped { RecordKind::Log } else { RecordKind::Telemetry };
    let flow = traffic(&draft.protocol, draft.source.as_ref(), draft.destination.as_ref());
    let what = inner.first(&["QueryName", "Fqdn", "Rule"]).unwrap_or_default();
    draft.message = Cow::Owned(format!("{action} {}", if flow.is_empty() { what.as_ref() } else { &flow }));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    #[test]
    fn what_a_rule_matched_is_an_alert() {
        let found = record(
            r#"{"timeStamp":"2026-06-03T12:59:31Z","resourceId":"/SUBSCRIPTIONS/X/PROVIDERS/MICROSOFT.NETWORK/APPLICATIONGATEWAYS/GW1","operationName":"ApplicationGatewayFirewall","category":"ApplicationGatewayFirewallLog","properties":{"clientIp":"203.0.113.9","requestUri":"/?id=1","ruleSetType":"OWASP_CRS","ruleId":"942100","message":"LOCAL injection","action":"Blocked","hostname":"shop.example"}}"#,
        );
        assert_eq!((found.kind, found.verdict), (RecordKind::Alert, Some(SensorVerdict::Blocked)));
        assert_eq!(
            (found.message.as_str(), found.rule.as_str(), found.host.as_str()),
            ("LOCAL injection", "942100", "GW1")
        );
        assert_eq!(found.source.unwrap().address, "203.0.113.9");
    }

    #[test]
    fn traffic_is_read_in_sentences_and_in_columns() {
        const SAID: &str = r#"{"time":"2026-06-03T12:59:31Z","resourceId":"/X/AZUREFIREWALLS/FW1","category":"AzureFirewallNetworkRule","operationName":"AzureFirewallNetworkRuleLog","properties":{"msg":"TCP request from 10.0.2.20:51234 to 203.0.113.9:443. Action: Deny. "}}"#;
        let said = record(SAID);
        assert_eq!(
            (said.kind, said.message.as_str()),
            (RecordKind::Log, "Deny TCP 10.0.2.20 -> 203.0.113.9:443")
        );
        let columns = serde_json::json!({"Protocol": "TCP", "SourceIp": "10.0.2.20", "SourcePort": 51234, "DestinationIp": "203.0.113.9", "DestinationPort": 443, "Action": "Allow"});
        let told = changed(SAID, &[("category", "AZFWNetworkRule".into()), ("properties", columns.clone())]);
        assert_eq!(
            (told.kind, told.message.as_str()),
            (RecordKind::Telemetry, "Allow TCP 10.0.2.20 -> 203.0.113.9:443")
        );
        let mut signature = columns;
        signature["Description"] = "LOCAL beacon".into();
        signature["Severity"] = 1.into();
        let found = changed(SAID, &[("category", "AZFWIdpsSignature".into()), ("properties", signature)]);
        assert_eq!(
            (found.kind, found.priority, found.message.as_str()),
            (RecordKind::Alert, Some(1), "LOCAL beacon")
        );
    }
}
