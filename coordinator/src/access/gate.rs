//! The gate: a layer around all services.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use countermove_proto::Error;
use countermove_serving::Peer;
use countermove_transport::{Kind, SpiffeId, Tls};
use hyper::body::{self as http_body, Bytes};
use sha2::{Digest, Sha256};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tonic::metadata::{Binary, MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::caller::{FIRST, denied};
use super::issuer;
use super::quotas::Counted;
use super::record::{LogRecord, Record, Told};
use super::rights::{Right, Scope, right};
use crate::incidents::View;

use super::{Caller, Grants, Policy, PolicyFile, Principal, Quotas, Sites, Tokens};

/// Says that a call was passed on by another coordinator.
pub(crate) const PASSED_ON: &str = "countermove-passed-on";
/// Who made a call that was passed on.
pub(crate) const PRINCIPAL: &str = "countermove-principal-bin";
/// Longest name of a call that is told.
const LONGEST: usize = 128;

/// Finds out who calls, and lets through who may. Clones are the same.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    /// Absent: nobody is asked who it is, and everybody may do everything.
    policy: Option<PolicyFile>,
    tokens: Tokens,
    /// The certificates of this process, by whose authority coordinators know each other.
    tls: Option<Tls>,
    /// What browsers may call this coordinator.
    sites: Sites,
    /// How much each tenant may ask; absent: without bound.
    quotas: Option<Quotas>,
    /// Who is told besides the log.
    record: Option<Arc<dyn Record>>,
}

impl Gate {
    /// A gate. Without a policy it is open, for who may do everything: somebody on this machine.
    pub fn new(policy: Option<PolicyFile>, tokens: Tokens, tls: Option<Tls>) -> Self {
        Self(Arc::new(Inner { policy, tokens, tls, sites: Sites::default(), quotas: None, record: None }))
    }

    /// The same, for so much of each tenant.
    #[must_use]
    pub fn within(&self, quotas: Quotas) -> Self {
        Self(Arc::new(Inner { quotas: Some(quotas), ..self.parts() }))
    }

    fn parts(&self) -> Inner {
        let Inner { policy, tokens, tls, sites, quotas, record } = &*self.0;
        Inner {
            policy: policy.clone(),
            tokens: tokens.clone(),
            tls: tls.clone(),
            sites: sites.clone(),
            quotas: quotas.clone(),
            record: record.clone(),
        }
    }

    /// The same, known to browsers by these names as well.
    #[must_use]
    pub fn known_as(&self, sites: Sites) -> Self {
        Self(Arc::new(Inner { sites, ..self.parts() }))
    }

    pub(crate) fn sites(&self) -> &Sites {
        &self.0.sites
    }

    /// The same, which tells somebody of calls besides the log.
    #[must_use]
    pub fn telling(&self, record: Arc<dyn Record>) -> Self {
        Self(Arc::new(Inner { record: Some(record), ..self.parts() }))
    }

    fn tell(&self, told: &Told) {
        LogRecord.tell(told);
        if let Some(record) = &self.0.record {
            record.tell(told);
        }
    }

    /// A gate that asks nobody, with tokens that nobody needs.
    pub fn open() -> Self {
        Self::new(None, Tokens::new(Arc::new(super::MemoryTokens::default())), None)
    }

    /// The tokens that it takes.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// What it judges by.
    pub(crate) fn policy(&self) -> Option<&PolicyFile> {
        self.0.policy.as_ref()
    }

    /// Whether it knows who calls.
    pub(crate) fn asks(&self) -> bool {
        self.0.policy.is_some()
    }

    /// The coordinator that a connection is of, by its certificate.
    fn member(&self, peer: Option<&Peer>) -> Option<SpiffeId> {
        let own = self.0.tls.as_ref()?.id()?;
        peer?.id().filter(|id| id.is_member(Kind::Coordinator, &own)).cloned()
    }

    /// Lets a call through, as its caller.
    async fn admit(
        &self,
        right: &'static Right,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        known: &mut Told,
    ) -> Result<Option<Caller>, Error> {
        if right.scope == Scope::Open {
            return Ok(None);
        }
        let Some(policy) = &self.0.policy else {
            let is_passed_on = headers.contains_key(PASSED_ON);
            let principal = Arc::new(Principal::local());
            return Ok(Some(Caller { principal, right, is_passed_on, tokens: None, policy: None }));
        };
        let policy = policy.subscribe();
        let member = self.member(peer);
        let is_passed_on = headers.contains_key(PASSED_ON) && member.is_some();
        let principal = if is_passed_on {
            known.by = member.map(|id| id.to_string());
            carried_by(headers)?
        } else {
            let now = Arc::clone(&policy.borrow());
            self.authenticate(&now, headers, peer).await?
        };
        known.who.clone_from(&principal.name);
        let grants = &principal.grants;
        let may = match right.scope {
            Scope::Open | Scope::Known => true,
            Scope::Tenant => grants.any(right.roles),
            Scope::Cluster => grants.any_everywhere(right.roles),
        };
        if !may {
            let place = if right.scope == Scope::Cluster { "for all tenants" } else { "in a tenant" };
            return Err(denied(&principal, right, place));
        }
        let (principal, tokens) = (Arc::new(principal), Some(self.0.tokens.clone()));
        Ok(Some(Caller { principal, right, is_passed_on, tokens, policy: Some(policy) }))
    }

    /// Who calls, by what it shows. A token counts before a certificate: who has both calls through somebody else's connection.
    async fn authenticate(
        &self,
        policy: &Policy,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Principal, Error> {
        let unknown = |why: &str| Err(Error::Unauthenticated(why.to_owned()));
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        match (shown.next(), shown.next()) {
            (Some(_), Some(_)) => unknown("several tokens came with the call, and one is taken"),
            (Some(header), None) => {
                let text = header.to_str().unwrap_or_default();
                let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
                if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
                    return unknown("the authorization is no bearer token");
                }
                if token.starts_with(super::tokens::PREFIX) {
                    self.0.tokens.authenticate(token).await
                } else if issuer::looks_like_one(token) {
                    issuer::authenticate(&policy.issuers, token).await
                } else if policy
                    .first_token
                    .is_some_and(|first| first == <[u8; 32]>::from(Sha256::digest(token)))
                {
                    // Compared as hashes, as other tokens are.
                    let name = FIRST.to_owned();
                    Ok(Principal { name, grants: Grants::all(), expires: None, token: None })
                } else {
                    unknown("the token is not known")
                }
            }
            (None, _) => match peer.and_then(Peer::id) {
                Some(id) => {
                    let grants = policy.certificates.iter().find(|(known, _)| known == id);
                    let grants = grants.map(|(_, grants)| grants.clone()).unwrap_or_default();
                    Ok(Principal { name: id.to_string(), grants, expires: None, token: None })
                }
                None => unknown("this coordinator asks who calls: show a token or a certificate"),
            },
        }
    }
}

/// Who made a call that another coordinator passed on.
fn carried_by(headers: &HeaderMap) -> Result<Principal, Error> {
    let wrong = || Error::Unauthenticated("who made the call that was passed on cannot be read".to_owned());
    let headers = MetadataMap::from_headers(headers.clone());
    let bytes = headers.get_bin(PRINCIPAL).ok_or_else(wrong)?.to_bytes().map_err(|_| wrong())?;
    serde_json::from_slice(&bytes).map_err(|_| wrong())
}

/// Who calls, as it goes with a call that is passed on.
pub(crate) fn carried(principal: &Principal) -> MetadataValue<Binary> {
    // A name and a list of words always become JSON.
    MetadataValue::from_bytes(&serde_json::to_vec(principal).unwrap_or_default())
}

impl<S> Layer<S> for Gate {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { gate: self.clone(), inner }
    }
}

/// Services behind a gate.
#[derive(Clone)]
pub struct Guarded<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The one that was ready goes with the call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let gate = self.gate.clone();
        Box::pin(async move {
            let peer = request.extensions().get::<Peer>().cloned();
            let path = request.uri().path().to_owned();
            let mut told = Told {
                who: String::new(),
                what: path
                    .trim_start_matches('/')
                    .chars()
                    .take(LONGEST)
                    .flat_map(char::escape_default)
                    .collect(),
                when: SystemTime::now(),
                from: peer.as_ref().map(Peer::address),
                by: None,
                outcome: Code::Ok,
                why: String::new(),
                was_let_through: false,
            };
            let is_secured = peer.as_ref().is_some_and(Peer::is_secured);
            if let Some(why) = gate.sites().refusal(&request, is_secured) {
                return Ok(gate.refuse(told, Error::Denied(why).into()));
            }
            let Some(right) = right(&path) else {
                return Ok(gate.refuse(told, Status::unimplemented("there is no such call")));
            };
            // Where nobody is known there is nothing to see but health.
            let mut view = View::Of([].into());
            let _counted = match gate.admit(right, request.headers(), peer.as_ref(), &mut told).await {
                Err(error) => return Ok(gate.refuse(told, error.into())),
                Ok(None) => None,
                Ok(Some(caller)) => match gate.count(&caller) {
                    Err(error) => return Ok(gate.refuse(told, error.into())),
                    Ok(counted) => {
                        view = caller.principal.grants.view();
                        request.extensions_mut().insert(caller);
                        counted
                    }
                },
            };
            let answer = view.clone().over(inner.call(request)).await?;
            gate.note(told, right, answer.headers());
            Ok(answer.map(|body| Body::new(Viewed { body, view })))
        })
    }
}

/// An answer that is made within a view, however long its stream goes on.
struct Viewed {
    body: Body,
    view: View,
}

impl http_body::Body for Viewed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let Self { body, view } = self.get_mut();
        view.during(|| http_body::Body::poll_frame(Pin::new(body), context))
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

impl Gate {
    /// Counts a call for its tenant, where tenants are known. One that is passed on was counted where it came.
    fn count(&self, caller: &Caller) -> Result<Option<Counted>, Error> {
        match &self.0.quotas {
            Some(quotas) if caller.principal.is_known() && !caller.is_passed_on => {
                quotas.count(&caller.principal).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn refuse(&self, mut told: Told, status: Status) -> Response<Body> {
        told.outcome = status.code();
        status.message().clone_into(&mut told.why);
        self.tell(&told);
        status.into_http()
    }

    /// Tells what came of a call that was let through, where that belongs to the record.
    fn note(&self, mut told: Told, right: &Right, answer: &HeaderMap) {
        told.was_let_through = true;
        let status = Status::from_header_map(answer);
        told.outcome = status.as_ref().map_or(Code::Ok, Status::code);
        let was_refused =
            matches!(told.outcome, Code::PermissionDenied | Code::Unauthenticated | Code::NotFound);
        if was_refused || right.changes && told.outcome == Code::Ok {
            if let Some(status) = status {
                status.message().clone_into(&mut told.why);
            }
            self.tell(&told);
        }
    }
}
