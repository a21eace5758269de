//! Serving the console: the files of its bundle, which are part of the program (`console/dist`), and with them what the services take
//! and answer (`docs/openapi.json`).
//!
//! Contract: an answer is one of those files, found by its whole path, or a refusal; nothing is read from a disk and nothing of a
//! path is taken apart. The files hold no data, so nobody is asked who wants them; whatever the page shows it asks the services for,
//! through the gate. What is no `GET` or `HEAD` goes on to the services.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::task::{Context, Poll};

use countermove_serving::Peer;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::{BoxFuture, FutureExt};
use http_body_util::Full;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tower::{Layer, Service};

use crate::access::Sites;

#[derive(RustEmbed)]
#[folder = "../console/dist"]
// A program that is built before its bundle serves none.
#[allow_missing = true]
struct Files;

/// The page that every address without a file of its own leads to.
const PAGE: &str = "/index.html";
/// The services as others generate clients from them.
const OPENAPI: &str = "/openapi.json";
/// Files whose names change with their content.
const HASHED: &str = "/assets/";
/// What a page of ours may do: run its own scripts, and call where it came from. No markup in an alert can be more than text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file as it is sent.
#[derive(Debug)]
struct Asset {
    plain: Bytes,
    gzip: Bytes,
    /// Of both forms together; each has its own tag.
    sha256: String,
    content_type: &'static str,
    is_hashed: bool,
}

/// The console's files. Clones are the same.
#[derive(Clone, Debug)]
pub struct Bundle(Arc<BTreeMap<String, Asset>>);

impl Bundle {
    /// The files that are part of this program.
    pub fn of_this_program() -> Self {
        let files = Files::iter().filter_map(|name| {
            let content = Files::get(&name)?.data.into_owned();
            Some((format!("/{name}"), content))
        });
        Self::new(files.chain([(OPENAPI.to_owned(), include_bytes!("../../docs/openapi.json").to_vec())]))
    }

    fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let asset = |(path, content): (String, Vec<u8>)| {
            let asset = Asset {
                gzip: packed(&content),
                sha256: hex::encode(&Sha256::digest(&content)[..16]),
                content_type: content_type(&path),
                is_hashed: path.starts_with(HASHED),
                plain: content.into(),
            };
            (path, asset)
        };
        Self(Arc::new(files.into_iter().map(asset).collect()))
    }

    /// The answer to a request for a path.
    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Body> {
        let path = if path == "/" { PAGE } else { path };
        let Some(asset) = self.0.get(path) else {
            let text = match self.0.contains_key(PAGE) {
                true => "There is no such page.\n",
                false => "This coordinator was built without its console.\n",
            };
            return text_answer(StatusCode::NOT_FOUND, text.to_owned());
        };
        let takes_gzip = accepts_gzip(headers) && asset.gzip.len() < asset.plain.len();
        let (content, form) = if takes_gzip { (&asset.gzip, "-gzip") } else { (&asset.plain, "") };
        let tag = format!("\"{}{form}\"", asset.sha256);
        let is_known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|known| known.to_str().ok())
            .flat_map(|known| known.split(','))
            .any(|known| known.trim().trim_start_matches("W/") == tag);
        let (status, content) = if is_known {
            (StatusCode::NOT_MODIFIED, Bytes::new())
        } else {
            (StatusCode::OK, content.clone())
        };
        let mut answer = Response::new(Body::new(Full::new(content)));
        *answer.status_mut() = status;
        let caching = if asset.is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        if takes_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        protected(answer)
    }
}

/// An answer of a sentence.
fn text_answer(status: StatusCode, text: String) -> Response<Body> {
    let mut answer = Response::new(Body::new(Full::new(Bytes::from(text))));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    protected(answer)
}

/// The answer with what tells a browser to do nothing else with it.
fn protected(mut answer: Response<Body>) -> Response<Body> {
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    answer
}

fn packed(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Memory takes everything; what could not be packed is longer than the file and never sent.
    let packed = encoder.write_all(content).and_then(|()| encoder.finish());
    packed.map_or_else(|_| Bytes::copy_from_slice(content), Bytes::from)
}

/// Whether a browser takes gzip; one that gives it no weight does not.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refuses = |part: &str| {
            let weight = part.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
            weight.is_some_and(|weight| weight <= 0.0)
        };
        is_gzip && !parts.any(refuses)
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "webmanifest" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Lays the console before services.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    /// Absent: there is no console, and every request goes on.
    pub(crate) bundle: Option<Bundle>,
    pub(crate) sites: Sites,
}

impl<S> Layer<S> for Console {
    type Service = WithConsole<S>;

    fn layer(&self, inner: S) -> WithConsole<S> {
        WithConsole { console: self.clone(), inner }
    }
}

/// Services behind the console's files.
#[derive(Clone, Debug)]
pub(crate) struct WithConsole<S> {
    console: Console,
    inner: S,
}

impl<S> Service<Request<Body>> for WithConsole<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let Some(bundle) = self.console.bundle.as_ref().filter(|_| reads) else {
            return self.inner.call(request).boxed();
        };
        let is_secured = request.extensions().get::<Peer>().is_some_and(Peer::is_secured);
        let answer = match self.console.sites.misdirected(&request, is_secured) {
            Some(problem) => text_answer(StatusCode::MISDIRECTED_REQUEST, format!("{problem}\n")),
            None => bundle.answer(request.uri().path(), request.headers()),
        };
        std::future::ready(Ok(answer)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;
    use tower::ServiceExt;

    use super::*;

    fn bundle() -> Bundle {
        let script = "console.log(1);\n".repeat(100);
        Bundle::new([
            ("/index.html".to_owned(), b"<!doctype html>".to_vec()),
            ("/assets/index-a1b2c3.js".to_owned(), script.into_bytes()),
        ])
    }

    fn get(path: &str, headers: &[(&'static str, &str)]) -> Response<Body> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        bundle().answer(path, &map)
    }

    fn header<'a>(answer: &'a Response<Body>, name: &str) -> &'a str {
        answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    async fn body(answer: Response<Body>) -> Vec<u8> {
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn files_come_with_what_keeps_a_browser_to_them() {
        for path in ["/", "/index.html", "/assets/index-a1b2c3.js", "/nothing"] {
            let answer = get(path, &[]);
            assert!(
                header(&answer, "content-security-policy")
                    .starts_with("default-src 'none'; script-src 'self';")
            );
            assert!(header(&answer, "content-security-policy").ends_with("frame-ancestors 'none'"));
            assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
            assert_eq!(header(&answer, "referrer-policy"), "no-referrer");
            assert_eq!(header(&answer, "access-control-allow-origin"), "");
        }
        let page = get("/", &[]);
        assert_eq!((page.status(), header(&page, "cache-control")), (StatusCode::OK, "no-cache"));
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        assert_eq!(body(page).await, b"<!doctype html>");
        let script = get("/assets/index-a1b2c3.js", &[]);
        assert!(header(&script, "cache-control").contains("immutable"));
        assert_eq!(get("/nothing", &[]).status(), StatusCode::NOT_FOUND);
        assert_eq!(Bundle::new([]).answer("/", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn what_a_browser_has_already_is_not_sent_again_and_the_rest_is_packed() {
        let path = "/assets/index-a1b2c3.js";
        let plain = get(path, &[]);
        let packed = get(path, &[("accept-encoding", "br, gzip;q=0.8")]);
        assert_eq!(header(&packed, "content-encoding"), "gzip");
        assert_ne!(header(&packed, "etag"), header(&plain, "etag"));
        for (known, status) in [
            (header(&plain, "etag").to_owned(), StatusCode::NOT_MODIFIED),
            (format!("\"x\", W/{}", header(&plain, "etag")), StatusCode::NOT_MODIFIED),
            ("\"x\"".to_owned(), StatusCode::OK),
        ] {
            assert_eq!(get(path, &[("if-none-match", &known)]).status(), status, "{known}");
        }
        let packed = body(packed).await;
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).unwrap();
        assert_eq!(unpacked, body(plain).await);
        assert!(packed.len() < unpacked.len());
        for refused in ["identity", "gzip;q=0", "br"] {
            assert_eq!(header(&get(path, &[("accept-encoding", refused)]), "content-encoding"), "");
        }
    }

    #[tokio::test]
    async fn what_is_no_reading_goes_on_to_the_services_and_so_does_all_where_there_is_no_console() {
        let inner = tower::service_fn(async |_: Request<Body>| {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::IM_A_TEAPOT;
            Ok::<_, Infallible>(answer)
        });
        let asked = async |bundle, method: &str, host: &str| {
            let service = Console { bundle, sites: Sites::default() }.layer(inner);
            let request = Request::builder().method(method).uri("/").header("host", host);
            service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
        };
        assert_eq!(asked(Some(bundle()), "GET", "127.0.0.1:1").await, StatusCode::OK);
        assert_eq!(asked(Some(bundle()), "GET", "evil.example").await, StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(asked(Some(bundle()), "POST", "127.0.0.1:1").await, StatusCode::IM_A_TEAPOT);
        assert_eq!(asked(None, "GET", "127.0.0.1:1").await, StatusCode::IM_A_TEAPOT);
    }

    proptest! {
        #[test]
        fn no_path_leads_to_anything_but_the_files(path in "/(\\.\\./|\\./|%2e%2e%2f|assets/|\\\\|//|index\\.html|[a-z]{1,3}){0,8}") {
            let answer = get(&path, &[]);
            let is_file = matches!(path.as_str(), "/" | "/index.html");
            prop_assert_eq!(answer.status() == StatusCode::OK, is_file, "{}", path);
        }
    }
}
