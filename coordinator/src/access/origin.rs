//! Calls that browsers make: a page of another site can do nothing here, even where nobody is asked who calls.
//!
//! A browser sends with each call which page makes it (`Origin`, `Sec-Fetch-Site`), and which host it believes to call (`Host`). The
//! first has to be the page that this coordinator serves. In plain text the second has to be an address or a name that is this
//! coordinator's: any site can have a name that leads to an address of this machine (DNS rebinding), and its pages would count as
//! ours. Over TLS the browser has compared the name with the certificate. Other clients send neither over HTTP/2, and are asked for
//! nothing of it.

use std::net::IpAddr;

use tonic::codegen::http::uri::Authority;
use tonic::codegen::http::{HeaderMap, HeaderName, Request, Version, header};

/// How a browser says from where a call comes.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What browsers may call this coordinator, beside its addresses and `localhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites(Vec<String>);

impl Sites {
    /// These names of hosts.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_lowercase()).collect())
    }

    /// Why a call is not answered, in one sentence; `None` if no page of another site can have made it.
    pub fn refusal<B>(&self, request: &Request<B>, is_secured: bool) -> Option<String> {
        let headers = request.headers();
        let is_of_browser = request.version() < Version::HTTP_2
            || headers.contains_key(header::ORIGIN)
            || headers.contains_key(FETCH_SITE);
        if !is_of_browser {
            return None;
        }
        let host = match authority(request) {
            Ok(host) => host,
            Err(problem) => return Some(problem.to_owned()),
        };
        self.wrong_host(&host, is_secured).or_else(|| {
            let is_ours = is_of(headers, &host, is_secured);
            (!is_ours)
                .then(|| "a page of another site made this call, and only the console's own may".to_owned())
        })
    }

    /// Why a page is not served under the name by which it was asked for.
    pub(crate) fn misdirected<B>(&self, request: &Request<B>, is_secured: bool) -> Option<String> {
        match authority(request) {
            Ok(host) => self.wrong_host(&host, is_secured),
            Err(problem) => Some(problem.to_owned()),
        }
    }

    fn wrong_host(&self, host: &Authority, is_secured: bool) -> Option<String> {
        let name = host.host().to_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_known = is_secured
            || address.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.0.contains(&name);
        (!is_known).then(|| {
            format!("this coordinator is not known as {name:?}: an operator names it with --console-host")
        })
    }
}

/// Which host a request is for.
fn authority<B>(request: &Request<B>) -> Result<Authority, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let authority = match (hosts.next(), hosts.next(), request.uri().authority()) {
        (None, _, Some(authority)) => return Ok(authority.clone()),
        (Some(host), None, _) => host.to_str().ok().and_then(|host| host.parse().ok()),
        _ => None,
    };
    authority.ok_or("the call does not say for which host it is")
}

/// Whether the page that makes a call, if it is one, is of this host.
fn is_of(headers: &HeaderMap, host: &Authority, is_secured: bool) -> bool {
    let from_here = headers
        .get_all(FETCH_SITE)
        .iter()
        .all(|site| site.as_bytes() == b"same-origin" || site.as_bytes() == b"none");
    let of_host = headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default().to_lowercase();
        // Where somebody before us ends TLS, the page is a secured one.
        let plain = origin.strip_prefix("http://").filter(|_| !is_secured);
        let page = origin.strip_prefix("https://").or(plain);
        page.is_some_and(|page| page == host.as_str().to_lowercase())
    });
    from_here && of_host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::builder().version(version).uri("/x.Y/Z");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn taken(headers: &[(&'static str, &str)], is_secured: bool) -> bool {
        let sites = Sites::new(["Console.Example".to_owned()]);
        sites.refusal(&request(Version::HTTP_11, headers), is_secured).is_none()
    }

    #[test]
    fn the_page_of_this_host_may_call_and_no_other() {
        let here = ("host", "127.0.0.1:7700");
        for headers in [
            &[here][..],
            &[here, ("origin", "http://127.0.0.1:7700")],
            &[here, ("origin", "http://127.0.0.1:7700"), ("sec-fetch-site", "same-origin")],
            &[("host", "localhost:7700"), ("origin", "http://localhost:7700")],
            &[("host", "[::1]:7700"), ("origin", "http://[::1]:7700")],
            &[("host", "CONSOLE.example"), ("origin", "http://console.example")],
            // TLS ends before us.
            &[("host", "console.example"), ("origin", "https://console.example")],
        ] {
            assert!(taken(headers, false), "{headers:?}");
        }
        for headers in [
            &[][..],
            &[here, ("origin", "http://evil.example")],
            &[here, ("origin", "null")],
            &[here, ("origin", "")],
            &[here, ("origin", "http://127.0.0.1:8080")],
            &[here, ("origin", "http://127.0.0.1")],
            &[here, ("origin", "http://127.0.0.1:7700.evil.example")],
            &[here, ("origin", "http://127.0.0.1:7700/")],
            &[here, ("origin", "ftp://127.0.0.1:7700")],
            &[here, ("origin", "http://127.0.0.1:7700"), ("origin", "http://evil.example")],
            &[here, ("sec-fetch-site", "cross-site")],
            &[here, ("sec-fetch-site", "same-site")],
            // A name that leads here, by which a page of somebody else was loaded.
            &[("host", "evil.example:7700"), ("origin", "http://evil.example:7700")],
            &[("host", "evil.example:7700")],
            &[("host", "127.0.0.1.evil.example"), ("origin", "http://127.0.0.1.evil.example")],
            &[("host", "localhost.evil.example")],
            &[("host", "a b")],
            &[here, ("host", "evil.example")],
        ] {
            assert!(!taken(headers, false), "{headers:?}");
        }
    }

    #[test]
    fn over_tls_the_certificate_says_which_host_it_is_and_the_page_is_secured() {
        let host = ("host", "any.example");
        assert!(taken(&[host, ("origin", "https://any.example")], true));
        assert!(!taken(&[host, ("origin", "http://any.example")], true));
        assert!(!taken(&[host, ("origin", "https://evil.example")], true));
    }

    #[test]
    fn a_client_that_is_no_browser_is_asked_for_nothing() {
        let sites = Sites::default();
        let call = request(Version::HTTP_2, &[("host", "coordinator.internal")]);
        assert_eq!(sites.refusal(&call, false), None);
        let page =
            request(Version::HTTP_2, &[("host", "coordinator.internal"), ("origin", "https://a.example")]);
        assert!(sites.refusal(&page, true).is_some());
    }
}
