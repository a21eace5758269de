//! `countermove.v1.AccessService`.

use std::time::{Duration, SystemTime};

use countermove_proto::v1::access_service_server::AccessService;
use countermove_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, GetCallerRequest, GetCallerResponse, ListTokensRequest,
    ListTokensResponse, RevokeTokenRequest, RevokeTokenResponse,
};
use countermove_proto::{Error, TokenId, system_time, timestamp};
use tonic::{Request, Response, Status};

use super::checks;
use super::pages::{List, page_size};
use crate::access::{Caller, Gate, Grants, KeptToken};

/// Longest time that a token may be good for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The service over the gate's tokens.
#[derive(Clone)]
pub struct AccessApi {
    gate: Gate,
}

impl AccessApi {
    /// A service over the tokens of this gate.
    pub fn new(gate: Gate) -> Self {
        Self { gate }
    }

    /// A token that the caller administers. Others are not there for it.
    async fn administered(&self, caller: &Caller, id: TokenId) -> Result<KeptToken, Error> {
        let token = self.gate.tokens().get(id).await?;
        if caller.principal.grants.administers(&token.grants) {
            Ok(token)
        } else {
            Err(crate::access::not_found(id))
        }
    }
}

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn get_caller(
        &self,
        request: Request<GetCallerRequest>,
    ) -> Result<Response<GetCallerResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        Ok(Response::new(GetCallerResponse {
            name: caller.name().to_owned(),
            grants: caller.principal.grants.to_messages(),
            expire_time: caller.principal.expires.map(timestamp),
        }))
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        if !self.gate.asks() {
            // It would be good for nothing here, and for everything where somebody is asked later.
            let why = "this coordinator asks nobody who calls, so it makes no tokens; start it with --auth";
            return Err(Error::Denied(why.to_owned()).into());
        }
        checks::sentence("description", &request.description)?;
        checks::person("description", &request.description)?;
        let grants = Grants::from_messages(&request.grants)?;
        if !caller.principal.grants.administers(&grants) {
            return Err(caller.denied("in all tenants that the token is for").into());
        }
        let now = SystemTime::now();
        let refused = |problem: &str| Error::invalid("expire_time", problem);
        let expires = request.expire_time.ok_or_else(|| refused("it has to be set: a token expires"))?;
        let expires = system_time(expires).ok_or_else(|| refused("it is no time"))?;
        if expires <= now || expires > now + LONGEST {
            return Err(refused("it has to lie between now and a year from now").into());
        }
        if request.validate_only {
            return Ok(Response::new(CreateTokenResponse::default()));
        }
        let made = self.gate.tokens().create(request.description, grants, caller.name().to_owned(), expires);
        let (token, secret) = made.await?;
        Ok(Response::new(CreateTokenResponse { token: Some(token.message()), secret }))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = List::Tokens.key(&request.page_token)?;
        let all = self.gate.tokens().all().await?;
        let own = all.into_iter().filter(|token| caller.principal.grants.administers(&token.grants));
        // What was made since the page before lies before its last entry.
        let mut page: Vec<KeptToken> = match after {
            None => own.collect(),
            Some(key) => own.skip_while(|token| token.id.as_bytes()[..] != key[..]).skip(1).collect(),
        };
        let more = page.len() > size;
        page.truncate(size);
        let next_page_token = match page.last() {
            Some(last) if more => List::Tokens.token(last.id.as_bytes()),
            _ => String::new(),
        };
        let tokens = page.iter().map(KeptToken::message).collect();
        Ok(Response::new(ListTokensResponse { tokens, next_page_token }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let token = self.administered(&caller, checks::name(&request.name)?).await?;
        let token = if request.validate_only { token } else { self.gate.tokens().revoke(token.id).await? };
        Ok(Response::new(RevokeTokenResponse { token: Some(token.message()) }))
    }
}
