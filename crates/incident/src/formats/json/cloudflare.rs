//! What Cloudflare's Logpush writes of its firewall and its gateway: firewall events (`Action`, `RuleID`, `Source`, `ClientRequestPath`),
//! and what Zero Trust's gateway looked up, fetched and passed. Requests are among the access logs, and Access and audit logs among the
//! audit events.
//!
//! What a rule of Cloudflare's own matched is an alert; what a rule of the owner's did (countries, lists, rates) is a log, as is what the
//! gateway refused. What passes is telemetry.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, some, told, traffic};
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const CLOUDFLARE: ObjectFormat = ObjectFormat { format: Format::Firewall, recognises, read };

/// Sources of rules that are Cloudflare's own and judge what is sent.
const JUDGES: [&str; 8] =
    ["waf", "firewallmanaged", "sanitycheck", "l7ddos", "dlp", "apishield", "linkmaze", "securitycenter"];

fn recognises(object: &Object) -> bool {
    is_firewall(Fields(object)) || is_gateway(Fields(object))
}

/// Whether it is an event of the firewall, which has what no access log has.
pub(super) fn is_firewall(fields: Fields<'_>) -> bool {
    ["ClientIP", "RayID", "Source", "Action"].iter().all(|key| fields.has(key))
        && ["RuleID", "ClientRequestPath", "MatchIndex", "Ref"].iter().any(|key| fields.has(key))
}

fn is_gateway(fields: Fields<'_>) -> bool {
    let is_resolved = ["QueryName", "ResolverDecision"].iter().all(|key| fields.has(key));
    let is_passed =
        ["PolicyName", "Datetime", "SourceIP"].iter().all(|key| fields.has(key)) && fields.has("Action");
    (is_resolved || is_passed) && !fields.has("ClientIP")
}

fn verdict(action: &str) -> Option<SensorVerdict> {
    let action = action.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| action.starts_with(word));
    if begins(&[
        "block",
        "drop",
        "challenge",
        "jschallenge",
        "managedchallenge",
        "managed_challenge",
        "connectionclose",
        "override",
    ]) {
        // A challenge that was met lets the request pass.
        let is_met = ["solved", "bypassed"].iter().any(|end| action.ends_with(end));
        return Some(if is_met { SensorVerdict::Allowed } else { SensorVerdict::Blocked });
    }
    begins(&["allow", "log", "skip", "bypass", "simulate"]).then_some(SensorVerdict::Allowed)
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let fields = Fields(object);
    let draft = if is_firewall(fields) { matched(fields) } else { gateway(fields) };
    Some(draft.finish(Format::Firewall, object, envelope))
}

fn matched(fields: Fields<'_>) -> Draft<'_> {
    let source = fields.text("Source").unwrap_or_default();
    let action = fields.text("Action").unwrap_or_default();
    let verdict = verdict(&action);
    let is_judged = JUDGES.contains(&source.to_ascii_lowercase().as_str());
    let request = listed_request(fields);
    let described = fields.first(&["Description", "RuleMessage", "RuleID"]).unwrap_or_default();
    let is_skipped = ["skip", "allow", "bypass"].iter().any(|word| action.eq_ignore_ascii_case(word));
    Draft {
        kind: if is_judged && !is_skipped { RecordKind::Alert } else { RecordKind::Log },
        time: fields.time(&["Datetime", "EdgeStartTimestamp"]),
        sensor: Cow::Borrowed("Cloudflare firewall"),
        message: Cow::Owned(match is_judged {
            true => described.into_owned(),
            false => listed([
                Some(format!("{action} by {source} {described}")),
                told("from", fields.text("ClientIP")),
            ]),
        }),
        rule: fields.text("RuleID").unwrap_or_default(),
        detail: Cow::Owned(listed([
            told("", some(&request)),
            told("", some(&action)),
            told("status", fields.text("EdgeResponseStatus")),
        ])),
        source: fields.address(&["ClientIP"]),
        destination: fields.end(&["ClientRequestHost"], &[]),
        classification: source,
        verdict,
        ..Draft::default()
    }
}

/// `GET /a?b`.
fn listed_request(fields: Fields<'_>) -> String {
    let [method, path, query] = ["ClientRequestMethod", "ClientRequestPath", "ClientRequestQuery"]
        .map(|key| fields.text(key).unwrap_or_default());
    format!("{method} {path}{query}").trim().to_owned()
}

fn gateway(fields: Fields<'_>) -> Draft<'_> {
    let decision = fields.first(&["ResolverDecision", "Action"]).unwrap_or_default();
    let verdict = verdict(&decision);
    let account = fields.first(&["Email", "UserEmail"]).unwrap_or_default();
    let source = fields.end(&["SrcIP", "SourceIP"], &["SrcPort", "SourcePort"]);
    let destination = fields.end(&["DestinationIP", "DstIP"], &["DestinationPort", "DstPort"]);
    let what = fields.first(&["QueryName", "URL", "HTTPHost", "SNI"]).unwrap_or_default();
    let device = fields.text("DeviceName").filter(|name| super::is_name(name)).unwrap_or_default();
    let reason = fields.first(&["BlockedFileReason", "PolicyName", "MatchedCategoryNames"]);
    let is_stopped = verdict == Some(SensorVerdict::Blocked);
    let flow = traffic(
        fields.text("Transport").as_deref().unwrap_or_default(),
        source.as_ref(),
        destination.as_ref(),
    );
    Draft {
        kind: if is_stopped { RecordKind::Log } else { RecordKind::Telemetry },
        time: fields.time(&["Datetime"]),
        sensor: Cow::Borrowed("Cloudflare Gateway"),
        message: Cow::Owned(listed([
            Some(
                format!("{decision} {}", if what.is_empty() { &flow } else { what.as_ref() })
                    .trim()
                    .to_owned(),
            ),
            told("by", some(&account)),
            told("on", some(&device)),
            told("because", reason),
        ])),
        file: fields.first(&["DownloadedFileNames", "UploadedFileNames"]).unwrap_or_default(),
        host: device,
        source,
        destination,
        account,
        verdict,
        ..Draft::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const EVENT: &str = r#"{"Action":"block","ClientIP":"203.0.113.9","ClientRequestHost":"shop.example","ClientRequestMethod":"GET","ClientRequestPath":"/a","ClientRequestQuery":"?id=1","ClientRequestUserAgent":"curl","Datetime":"2026-06-03T12:59:31Z","Description":"SQLi","EdgeResponseStatus":403,"Kind":"firewall","MatchIndex":0,"RayID":"r","RuleID":"100008","Source":"firewallManaged"}"#;

    #[test]
    fn a_rule_of_cloudflares_is_an_alert_and_one_of_the_owners_a_log() {
        let found = record(EVENT);
        assert_eq!((found.kind, found.verdict), (RecordKind::Alert, Some(SensorVerdict::Blocked)));
        assert_eq!((found.message.as_str(), found.rule.as_str()), ("SQLi", "100008"));
        assert_eq!(found.detail, "GET /a?id=1, block, status 403");
        assert_eq!(found.source.unwrap().address, "203.0.113.9");
        assert_eq!(found.destination.unwrap().address, "shop.example");
        let own = changed(EVENT, &[("Source", "firewallCustom".into())]);
        assert_eq!(
            (own.kind, own.message.as_str()),
            (RecordKind::Log, "block by firewallCustom SQLi, from 203.0.113.9")
        );
        let met = changed(EVENT, &[("Action", "managedChallengeNonInteractiveSolved".into())]);
        assert_eq!(met.verdict, Some(SensorVerdict::Allowed));
    }

    #[test]
    fn what_the_gateway_refuses_is_a_log() {
        let asked = |decision: &str| {
            record(&format!(
                r#"{{"Datetime":"2026-06-03T12:59:31Z","DeviceName":"pc7","Email":"alice@example.com","QueryName":"bad.example","QueryTypeName":"A","ResolverDecision":"{decision}","SrcIP":"10.0.2.20","SrcPort":5}}"#
            ))
        };
        let refused = asked("blockedByCategory");
        assert_eq!((refused.kind, refused.account.as_str()), (RecordKind::Log, "alice@example.com"));
        assert_eq!(refused.message, "blockedByCategory bad.example, by alice@example.com, on pc7");
        assert_eq!(asked("allowedOnNoPolicyMatch").kind, RecordKind::Telemetry);
    }
}
