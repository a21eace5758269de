//! Access logs of web servers and proxies as JSON: nginx and Apache under whatever names their owner gives, Caddy, Traefik, Envoy, Cloudflare,
//! the load balancers of Google Cloud; and what Beats took apart of such logs.
//!
//! Every server names the client, the request and the answer's status, and few agree on how.

use std::borrow::Cow;

use super::fields::{self, Fields};
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, is_own_proxy, listed, some, told};
use crate::record::{RecordKind, SensorVerdict};
use crate::{Endpoint, Timestamp};

/// See the module.
pub(crate) const WEB: ObjectFormat = ObjectFormat { format: Format::WebAccess, recognises, read };

const CLIENT: [&str; 18] = [
    "remote_addr",
    "remote_ip",
    "remote_address",
    "remoteAddr",
    "remoteip",
    "client_ip",
    "clientip",
    "client",
    "ClientHost",
    "request.client_ip",
    "request.remote_ip",
    "request.remote_addr",
    "downstream_remote_address",
    "ClientIP",
    "httpRequest.remoteIp",
    "source.ip",
    "source.address",
    "client.ip",
];
const METHOD: [&str; 8] = [
    "request_method",
    "method",
    "verb",
    "RequestMethod",
    "request.method",
    "ClientRequestMethod",
    "httpRequest.requestMethod",
    "http.request.method",
];
const PATH: [&str; 13] = [
    "request_uri",
    "uri",
    "url",
    "path",
    "RequestPath",
    "request.uri",
    "request_path",
    "ClientRequestURI",
    "ClientRequestPath",
    "httpRequest.requestUrl",
    "url.original",
    "url.full",
    "url.path",
];
const STATUS: [&str; 8] = [
    "status",
    "status_code",
    "response_code",
    "response",
    "DownstreamStatus",
    "EdgeResponseStatus",
    "httpRequest.status",
    "http.response.status_code",
];
const SITE: [&str; 10] = [
    "server_name",
    "vhost",
    "host",
    "RequestHost",
    "request.host",
    "authority",
    "ClientRequestHost",
    "host.name",
    "host.hostname",
    "url.domain",
];
const AGENT: [&str; 8] = [
    "http_user_agent",
    "user_agent",
    "agent",
    "request_User-Agent",
    "request.headers.User-Agent",
    "ClientRequestUserAgent",
    "httpRequest.userAgent",
    "user_agent.original",
];
const FORWARDED: [&str; 5] = [
    "http_x_forwarded_for",
    "x_forwarded_for",
    "xff",
    "request.headers.X-Forwarded-For",
    "network.forwarded_ip",
];
const TIMES: [&str; 10] = [
    "time_iso8601",
    "@timestamp",
    "timestamp",
    "time",
    "ts",
    "msec",
    "StartUTC",
    "start_time",
    "EdgeStartTimestamp",
    "Datetime",
];

fn recognises(object: &Object) -> bool {
    let log = Fields(object);
    let is_foreign = [
        "event_type",
        "class_uid",
        "id.orig_h",
        "eventName",
        "rule",
        "event",
        "ecs",
        "alert",
        "winlog",
        "_path",
    ]
    .iter()
    .any(|key| log.has(key));
    let has_status =
        STATUS.iter().any(|path| log.number(path).is_some_and(|status| (100..600).contains(&status)));
    !is_foreign
        && !super::zscaler::is_one(object)
        && !super::cloudflare::is_firewall(log)
        && has_status
        && client(log).is_some()
        && request(log).is_some()
}

pub(super) fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let log = Fields(object);
    let request = request(log)?;
    let source = client(log)?;
    let status = STATUS.iter().find_map(|path| log.number(path))?;
    let account = log.first(&["remote_user", "ClientUsername", "user_id", "user.name"]).unwrap_or_default();
    let agent = log.first(&AGENT);
    let site = log.end(&SITE, &[]).map(|end| match end.address.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => fields::end(name, None),
        _ => end,
    });
    let mut draft = Draft {
        kind: RecordKind::Log,
        time: time(log),
        message: Cow::Owned(listed([
            Some(format!("{} \"{request}\" {status}", source.address)),
            told("account", some(&account)),
            told("agent", agent),
        ])),
        detail: Cow::Owned(request),
        host: log.first(&["host.name", "host.hostname", "agent.name"]).unwrap_or_default(),
        destination: Some(envelope.host)
            .filter(|name| !name.is_empty())
            .map(|name| fields::end(name, None))
            .or(site),
        account,
        protocol: Cow::Borrowed(""),
        // Cloudflare's requests say whether a rule stopped them.
        verdict: log
            .first(&["SecurityAction", "SecurityActions", "WAFAction"])
            .filter(|action| *action == "block")
            .map(|_| SensorVerdict::Blocked),
        ..Draft::default()
    };
    // The last address is the one that the proxy in front of this server saw.
    let forwarded = log.first(&FORWARDED).and_then(|list| {
        let last = list.rsplit(',').next()?.trim().to_owned();
        last.parse::<std::net::IpAddr>().is_ok().then_some(last)
    });
    draft.source = match forwarded.filter(|_| is_own_proxy(&source, draft.destination.as_ref())) {
        Some(client) if client != source.address => {
            draft.via.push(source.address);
            Some(fields::end(&client, None))
        }
        _ => Some(source),
    };
    Some(draft.finish(Format::WebAccess, object, envelope))
}

fn client(log: Fields<'_>) -> Option<Endpoint> {
    CLIENT.iter().find_map(|path| {
        let text = log.text(path)?;
        let end = super::super::endpoint(&text, "TCP")?;
        end.ip().is_some().then(|| fields::end(&end.address, end.port))
    })
}

/// `GET /x HTTP/1.1`, or its parts.
fn request(log: Fields<'_>) -> Option<String> {
    if let Some(line) = log.string("request").filter(|line| line.contains(' ')) {
        return Some(line.to_owned());
    }
    let mut path = log.first(&PATH)?;
    // The common schema may part them.
    if let Some(query) = log.string("url.query").filter(|_| !path.contains('?') && log.has("url.path")) {
        path = Cow::Owned(format!("{path}?{query}"));
    }
    Some(match log.first(&METHOD) {
        Some(method) => format!("{method} {path}"),
        None => path.into_owned(),
    })
}

fn time(log: Fields<'_>) -> Option<Timestamp> {
    log.time(&TIMES).or_else(|| {
        let text = log.first(&["time_local", "time", "timestamp"])?;
        Timestamp::parse_access_log(text.trim_matches(['[', ']'])).map(|(time, _)| time)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;

    #[test]
    fn the_last_address_in_front_of_a_proxy_is_the_client() {
        let line = |client: &str| {
            record(&format!(
                r#"{{"time_local":"03/Jun/2026:14:59:31 +0200","remote_addr":"{client}","request":"GET / HTTP/1.1","status":"200","http_x_forwarded_for":"198.51.100.7, 203.0.113.9","host":"shop.example:443"}}"#
            ))
        };
        let record = line("10.0.2.5");
        assert_eq!(
            (record.source.unwrap().address.as_str(), record.via),
            ("203.0.113.9", vec!["10.0.2.5".to_owned()])
        );
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        assert_eq!(record.destination.unwrap().address, "shop.example");
        assert_eq!(
            line("203.0.113.50").source.unwrap().address,
            "203.0.113.50",
            "anybody can write the header"
        );
    }
}
