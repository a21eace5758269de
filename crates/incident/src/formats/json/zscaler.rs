//! Zscaler: what its Nanolog service streams of the web proxy, the firewall and name lookups (ZIA), and what its private access logs (ZPA).
//! Lines of pairs come here as objects, so that one place says what each field means.
//!
//! What names a threat is an alert, allowed or not; what passed is telemetry, what was refused a log; sessions of private access and what
//! administrators did are logs.

use std::borrow::Cow;

use super::super::text::{protocol_of, verdict};
use super::fields::{self, scalar};
use super::named::Named;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, quoted, some, tags, told};
use crate::record::{RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

/// See the module.
pub(crate) const ZSCALER: ObjectFormat = ObjectFormat { format: Format::Firewall, recognises: is_one, read };

// Names as `Named` compares them: in lower case, without what parts their words.
const TIME: [&str; 6] =
    ["timestamprequestreceivestart", "datetime", "time", "logtimestamp", "modifiedtime", "epochtime"];
const USER: [&str; 7] = ["user", "login", "elogin", "username", "nameid", "adminid", "modifiedby"];
const THREAT: [&str; 2] = ["threatname", "threat"];
const THREAT_CLASS: [&str; 6] =
    ["threatcategory", "malwarecat", "malwarecategory", "threatclass", "malwareclass", "threatcat"];
const CATEGORY: [&str; 4] = ["urlcategory", "urlcat", "ipcat", "category"];
const COMPUTER: [&str; 3] = ["devicehostname", "devname", "hostname"];

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    Web,
    Firewall,
    Names,
    Access,
    Session,
    Portal,
    Administration,
}

impl Log {
    /// By the names of its fields, of which each log has some that no other product has.
    fn of(object: &Object) -> Option<Log> {
        let log = Named(object);
        let has = |all: &[&str]| all.iter().all(|path| log.get(path).is_some());
        let is_zscalers = log.text(&["vendor"]).is_some_and(|vendor| vendor.eq_ignore_ascii_case("zscaler"));
        let is_web =
            is_zscalers || has(&["clientpublicip"]) || has(&["urlsupercategory"]) || has(&["urlsupercat"]);
        Some(match () {
            () if has(&["csip", "cdip"]) && (has(&["nwsvc"]) || has(&["rulelabel"]) || has(&["nwapp"])) => {
                Log::Firewall
            }
            () if has(&["cltsip", "srvdip"]) => Log::Names,
            () if is_web && has(&["action", "url"]) => Log::Web,
            () if is_web && has(&["action", "eurl"]) => Log::Web,
            () if has(&["auditlogtype", "adminid"]) || has(&["auditoperationtype", "objecttype"]) => {
                Log::Administration
            }
            () if !has(&["logtimestamp"]) => return None,
            () if has(&["exporter", "method"]) => Log::Portal,
            () if has(&["connectionid", "connectionstatus"]) => Log::Access,
            () if has(&["sessionstatus"]) => Log::Session,
            () => return None,
        })
    }
}

/// Whether an object is a record of one of these logs.
pub(in super::super) fn is_one(object: &Object) -> bool {
    Log::of(object).is_some()
}

/// The record of an object, or of a line's pairs.
pub(in super::super) fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let log = Named(object);
    let kind = Log::of(object)?;
    let draft = match kind {
        Log::Web | Log::Firewall | Log::Names => gateway(kind, log),
        Log::Access | Log::Portal => access(kind, log),
        Log::Session => session(log),
        Log::Administration => administration(log),
    };
    let sensor =
        if matches!(kind, Log::Web | Log::Firewall | Log::Names) { "Zscaler NSS" } else { "Zscaler" };
    let draft = Draft { time: time(log), sensor: Cow::Borrowed(sensor), ..draft };
    Some(draft.finish(Format::Firewall, object, envelope))
}

/// A time in one of the usual forms, or `Wed Jun  3 12:59:31 2026`.
fn time(log: Named<'_>) -> Option<Timestamp> {
    log.first(&TIME, |value| fields::time(value).or_else(|| calendar(&scalar(value)?)))
}

fn calendar(text: &str) -> Option<Timestamp> {
    let words: Vec<&str> = text.split_whitespace().take(6).collect();
    let [_, month, day, clock, year] = words.as_slice() else { return None };
    Timestamp::parse_prefix(&format!("{month} {day:0>2} {year} {clock}")).map(|(time, _)| time)
}

/// A text that stands for something.
fn said<'a>(log: Named<'a>, paths: &[&str]) -> Option<Cow<'a, str>> {
    let is_said = |text: &Cow<'_, str>| {
        !matches!(text.to_ascii_lowercase().as_str(), "none" | "n/a" | "na" | "unknown" | "0" | "other")
    };
    paths.iter().find_map(|path| log.text(&[path]).filter(is_said))
}

fn end(log: Named<'_>, address: &[&str], port: &[&str]) -> Option<Endpoint> {
    let port = log.text(port).and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    Some(Endpoint { port, ..log.address(address)? })
}

/// What went through the proxy, the firewall or the resolver.
fn gateway<'a>(kind: Log, log: Named<'a>) -> Draft<'a> {
    let action = log.text(&["action", "resaction", "reqaction"]).unwrap_or_default();
    let did = action.rsplit("REQ_").next().and_then(|rest| rest.rsplit("RES_").next()).unwrap_or_default();
    let verdict = verdict(did);
    let threat = said(log, &THREAT);
    let class = said(log, &THREAT_CLASS);
    let is_found = threat.is_some() || class.is_some();
    let is_refused = verdict == Some(SensorVerdict::Blocked);
    let (source, destination) = match kind {
        Log::Firewall => (end(log, &["csip", "ssip"], &["csport"]), end(log, &["cdip", "sdip"], &["cdport"])),
        Log::Names => (end(log, &["cltsip"], &[]), end(log, &["srvdip"], &["srvdport"])),
        _ => (end(log, &["clientip", "cip", "cltip", "clientpublicip"], &[]), site(log)),
    };
    let account = said(log, &USER).unwrap_or_default();
    let asked = log.text(&["url", "eurl", "req"]);
    let request = asked.map(|url| {
        listed([told("", log.text(&["requestmethod", "reqmethod", "reqtype"])), Some(quoted(&url))])
    });
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("to", destination.as_ref().map(Endpoint::to_string)),
        request,
        told("answer", said(log, &["status", "respcode"]).filter(|_| kind == Log::Web)),
        told("service", said(log, &["nwapp", "nwsvc"])),
        told("category", said(log, &CATEGORY)),
        told("rule", said(log, &["rulelabel", "reqrulelabel"])),
    ]);
    let what = match kind {
        Log::Firewall => "Firewall",
        Log::Names => "DNS",
        _ => "Web",
    };
    let title = format!("{what} {action}");
    let found = threat.clone().or_else(|| class.clone()).unwrap_or_default();
    let reason = said(log, &["reason"]).filter(|reason| *reason != action);
    let message = match is_found {
        true => super::titled(&found, &reason.unwrap_or(Cow::Owned(title))),
        false => super::titled(&title, &facts),
    };
    Draft {
        kind: match () {
            () if is_found => RecordKind::Alert,
            () if is_refused => RecordKind::Log,
            () => RecordKind::Telemetry,
        },
        message: Cow::Owned(message),
        detail: if is_found { Cow::Owned(facts) } else { Cow::default() },
        rule: threat.or_else(|| said(log, &["rulelabel", "reqrulelabel"])).unwrap_or_default(),
        priority: said(log, &["pagerisk", "riskscore"])
            .and_then(|score| score.parse().ok())
            .and_then(tags::risk)
            .filter(|_| is_found),
        classification: class.or_else(|| said(log, &CATEGORY)).unwrap_or_default(),
        protocol: log.text(&["proto", "protocol"]).unwrap_or_default(),
        host: Cow::Owned(computer(log, kind)),
        file: said(log, &["filename", "fname"]).unwrap_or_default(),
        source,
        destination,
        account,
        verdict,
        ..Draft::default()
    }
}

/// The client's computer. `hostname` is the site's name in the proxy's log.
fn computer(log: Named<'_>, kind: Log) -> String {
    let paths = if kind == Log::Session { &COMPUTER[..] } else { &COMPUTER[..2] };
    said(log, paths).filter(|name| super::is_name(name)).unwrap_or_default().into_owned()
}

/// The site that was asked: its address, else its name.
fn site(log: Named<'_>) -> Option<Endpoint> {
    log.address(&["serverip", "sip"]).or_else(|| {
        let name = log.text(&["hostname", "ehost", "host"]).filter(|name| super::is_name(name))?;
        Some(fields::end(&name, None))
    })
}

/// A connection to an application of the site, or a request to one from a browser.
fn access<'a>(kind: Log, log: Named<'a>) -> Draft<'a> {
    let account = said(log, &USER).unwrap_or_default();
    let source = log.address(&["clientpublicip", "clientprivateip"]);
    let name = log.text(&["host"]).filter(|name| super::is_name(name));
    let destination = end(log, &["serverip"], &["serverport", "serviceport"])
        .or_else(|| name.as_ref().map(|name| fields::end(name, None)));
    let refused = log.text(&["internalreason"]).filter(|reason| {
        let reason = reason.to_ascii_lowercase();
        ["block", "denied", "reject", "policy"].iter().any(|word| reason.contains(word))
    });
    let request = log.text(&["url"]).map(|url| quoted(&url));
    let title = match kind {
        Log::Portal => format!("Private access {}", log.text(&["method"]).unwrap_or_default()),
        _ => format!("Private access {}", log.text(&["connectionstatus"]).unwrap_or_default()),
    };
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("to", destination.as_ref().map(Endpoint::to_string)),
        told("", name.filter(|name| destination.as_ref().is_none_or(|end| end.address != **name))),
        told("application", said(log, &["application"])),
        request,
        told("answer", said(log, &["statuscode"])),
        told("policy", said(log, &["policy"])),
        told("because", refused.as_deref()),
    ]);
    Draft {
        kind: RecordKind::Log,
        message: Cow::Owned(super::titled(&title, &facts)),
        rule: said(log, &["policy"]).unwrap_or_default(),
        protocol: Cow::Owned(protocol_of(&log.text(&["ipprotocol"]).unwrap_or_default()).to_owned()),
        via: log.address(&["connectorip"]).map(|end| end.address).into_iter().collect(),
        verdict: refused.map(|_| SensorVerdict::Blocked),
        source,
        destination,
        account,
        ..Draft::default()
    }
}

/// A person's client that came or went.
fn session<'a>(log: Named<'a>) -> Draft<'a> {
    let account = said(log, &USER).unwrap_or_default();
    let status = log.text(&["sessionstatus"]).unwrap_or_default();
    let word = status.trim_start_matches("ZPN_STATUS_").to_ascii_lowercase().replace('_', " ");
    let source = log.address(&["publicip", "privateip"]);
    let host = computer(log, Log::Session);
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("on", some(&host)),
        told("country", said(log, &["countrycode"])),
        told("through", said(log, &["idp"])),
    ]);
    // Connectors report as people's clients do.
    let is_person = !account.is_empty();
    Draft {
        kind: if is_person { RecordKind::Log } else { RecordKind::Telemetry },
        message: Cow::Owned(super::titled(&format!("Private access session {word}"), &facts)),
        host: Cow::Owned(host),
        source,
        account,
        ..Draft::default()
    }
}

/// What an administrator did.
fn administration<'a>(log: Named<'a>) -> Draft<'a> {
    let account = said(log, &["adminid", "user", "modifiedby"]).unwrap_or_default();
    let source = log.address(&["clientip"]);
    let did = log.text(&["action", "auditoperationtype"]).unwrap_or_default();
    let facts = listed([
        told("by", some(&account)),
        told("from", source.as_ref().map(|end| end.address.as_str())),
        told("of", said(log, &["subcategory", "category", "objecttype"])),
        told("upon", said(log, &["resource", "objectname"]).map(|name| quoted(&name))),
        told("result", said(log, &["result"])),
        told("because", said(log, &["errorcode"])),
    ]);
    Draft {
        kind: RecordKind::Log,
        message: Cow::Owned(super::titled(&format!("Administrator {did}"), &facts)),
        source,
        account,
        ..Draft::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;

    const WEB: &str = r#"{"datetime":"2026-06-03 12:59:31","reason":"Allowed","event_id":"7","protocol":"HTTPS","action":"Allowed","urlcategory":"Internet Services","serverip":"203.0.113.66","requestmethod":"GET","refererURL":"None","useragent":"curl","product":"NSS","location":"HQ","ClientIP":"10.0.2.20","status":"200","user":"alice@example.com","url":"files.example/x.exe","vendor":"Zscaler","hostname":"files.example","clientpublicIP":"198.51.100.20","threatcategory":"None","threatname":"None","pagerisk":"0","threatclass":"None","devicehostname":"pc7"}"#;

    #[test]
    fn pages_are_telemetry_unless_they_are_refused_or_hold_a_threat() {
        let passed = record(WEB);
        assert_eq!(
            (passed.kind, passed.priority, passed.host.as_str()),
            (RecordKind::Telemetry, None, "pc7")
        );
        assert_eq!(
            passed.message,
            "Web Allowed: by alice@example.com, from 10.0.2.20, to 203.0.113.66, GET, \"files.example/x.exe\", answer 200, category Internet Services"
        );
        let refused =
            changed(WEB, &[("action", "Blocked".into()), ("reason", "Not allowed to browse".into())]);
        assert_eq!((refused.kind, refused.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        let found = changed(
            WEB,
            &[
                ("action", "Blocked".into()),
                ("reason", "Malware block".into()),
                ("threatname", "Local.Worm".into()),
                ("threatcategory", "Virus".into()),
                ("pagerisk", "100".into()),
            ],
        );
        assert_eq!((found.kind, found.priority), (RecordKind::Alert, Some(1)));
        assert_eq!(
            (found.message.as_str(), found.classification.as_str()),
            ("Local.Worm: Malware block", "Virus")
        );
        assert_eq!(
            (found.source.unwrap().address.as_str(), found.account.as_str()),
            ("10.0.2.20", "alice@example.com")
        );
    }

    #[test]
    fn traffic_and_names_have_both_ends() {
        let dropped = record(
            r#"{"datetime":"Wed Jun 03 12:59:31 2026","user":"alice@example.com","csip":"10.0.2.20","csport":"51234","cdip":"203.0.113.66","cdport":"443","ssip":"198.51.100.20","action":"Drop","nwsvc":"HTTPS","nwapp":"ssl","proto":"TCP","rulelabel":"Block","threatcat":"None","threatname":"None","devicehostname":"pc7"}"#,
        );
        assert_eq!((dropped.kind, dropped.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert_eq!(dropped.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let ends = [dropped.source, dropped.destination].map(|end| end.unwrap().to_string());
        assert_eq!(
            (ends, dropped.protocol.as_str()),
            (["10.0.2.20:51234".to_owned(), "203.0.113.66:443".to_owned()], "TCP")
        );
        let asked = record(
            r#"{"datetime":"Wed Jun 03 12:59:31 2026","user":"alice","reqaction":"REQ_ALLOW","resaction":"RES_BLOCK","reqrulelabel":"r","reqtype":"A","req":"c2.example.net","res":"203.0.113.66","clt_sip":"10.0.2.20","srv_dip":"10.0.2.53","srv_dport":"53","category":"Other"}"#,
        );
        assert_eq!((asked.kind, asked.verdict), (RecordKind::Log, Some(SensorVerdict::Blocked)));
        assert!(asked.message.contains("A, \"c2.example.net\""), "{}", asked.message);
    }

    #[test]
    fn private_access_says_who_came_from_where_to_what() {
        let text = r#"{"LogTimestamp":"Wed Jun  3 12:59:31 2026","Customer":"Example","SessionID":"s","ConnectionID":"c","InternalReason":"","ConnectionStatus":"close","IPProtocol":6,"Username":"alice@example.com","ServicePort":22,"ClientPublicIP":"203.0.113.9","Policy":"Admins","Connector":"conn01","ConnectorIP":"10.0.2.5","Host":"bastion01.corp.example","Application":"SSH","ServerIP":"10.0.2.11","ServerPort":22}"#;
        let access = record(text);
        assert_eq!((access.kind, access.account.as_str()), (RecordKind::Log, "alice@example.com"));
        assert_eq!(
            access.message,
            "Private access close: by alice@example.com, from 203.0.113.9, to 10.0.2.11:22, bastion01.corp.example, application SSH, policy Admins"
        );
        assert_eq!((access.via, access.protocol.as_str()), (vec!["10.0.2.5".to_owned()], "TCP"));
        let refused = changed(text, &[("InternalReason", "BRK_MT_SETUP_FAIL_REJECTED_BY_POLICY".into())]);
        assert_eq!(refused.verdict, Some(SensorVerdict::Blocked));
        let session = record(
            r#"{"LogTimestamp":"Wed Jun  3 12:59:31 2026","Username":"alice@example.com","SessionID":"s","SessionStatus":"ZPN_STATUS_AUTHENTICATED","PublicIP":"203.0.113.9","CountryCode":"NO","Idp":"Okta","Hostname":"pc7"}"#,
        );
        assert_eq!(
            session.message,
            "Private access session authenticated: by alice@example.com, from 203.0.113.9, on pc7, country NO, through Okta"
        );
        let done = record(
            r#"{"time":"2026-06-03 12:59:31","recordid":"7","action":"SIGN_IN","category":"LOGIN","subcategory":"LOGIN","resource":"None","adminid":"bob@example.com","clientip":"203.0.113.9","result":"FAILURE","errorcode":"AUTHENTICATION_FAILED","auditlogtype":"ZIA"}"#,
        );
        assert_eq!(
            done.message,
            "Administrator SIGN_IN: by bob@example.com, from 203.0.113.9, of LOGIN, result FAILURE, because AUTHENTICATION_FAILED"
        );
    }

    #[test]
    fn objects_of_others_are_none() {
        for text in [
            r#"{"vendor":"Zscaler"}"#,
            r#"{"action":"x","url":"/"}"#,
            r#"{"LogTimestamp":"x","Username":"alice"}"#,
            r#"{"csip":"10.0.2.20","cdip":"10.0.2.21"}"#,
        ] {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!is_one(&object), "{text}");
        }
    }
}
