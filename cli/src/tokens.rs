//! `countermove tokens` and `countermove whoami`: who calls, and the tokens of those who do.

use std::time::SystemTime;

use countermove_proto::timestamp;
use countermove_proto::v1::{
    CreateTokenRequest, GetCallerRequest, GetCallerResponse, Grant, ListTokensRequest, RevokeTokenRequest,
    Token,
};

use crate::args::{Remote, TokensArgs, TokensCommand};
use crate::client::{Coordinator, resource};
use crate::console::{Console, page};
use crate::failure::{Exit, Failure};
use crate::plan::write_out;
use crate::render;

/// Tokens asked for at a time.
const PAGE: i32 = 200;

pub(crate) async fn tokens(
    arguments: TokensArgs,
    remote: &Remote,
    console: &Console,
) -> Result<Exit, Failure> {
    let coordinator = &Coordinator::connect(remote).await?;
    match arguments.command {
        TokensCommand::Create { description, tenant, role, expires } => {
            let roles: Vec<i32> = role.iter().map(|&role| role.message().into()).collect();
            let grants = tenant.into_iter().map(|tenant| Grant { tenant, roles: roles.clone() }).collect();
            let expires = SystemTime::now()
                .checked_add(expires)
                .ok_or_else(|| Failure::Input("--expires: it lies too far ahead".to_owned()))?;
            let request = CreateTokenRequest {
                description,
                grants,
                expire_time: Some(timestamp(expires)),
                validate_only: false,
            };
            let made = coordinator
                .call(request, async |request| coordinator.access().create_token(request).await)
                .await?;
            let name = made.token.unwrap_or_default().name;
            console.line(&format!("{name} was made; its secret, below, is shown this once"));
            write_out(format!("{}\n", made.secret).as_bytes())?;
        }
        TokensCommand::List => {
            let tokens = list(coordinator).await?;
            write_out(render::tokens(&tokens, SystemTime::now(), page().columns).as_bytes())?;
        }
        TokensCommand::Revoke { id } => {
            let request = RevokeTokenRequest { name: resource("tokens", &id), validate_only: false };
            let revoked = coordinator
                .call(request, async |request| coordinator.access().revoke_token(request).await)
                .await?;
            let tokens: Vec<Token> = revoked.token.into_iter().collect();
            write_out(render::tokens(&tokens, SystemTime::now(), page().columns).as_bytes())?;
        }
    }
    Ok(Exit::Success)
}

/// All tokens, page by page.
async fn list(coordinator: &Coordinator) -> Result<Vec<Token>, Failure> {
    let mut tokens = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTokensRequest { page_size: PAGE, page_token };
        let page = coordinator
            .call(request, async |request| coordinator.access().list_tokens(request).await)
            .await?;
        tokens.extend(page.tokens);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(tokens);
        }
    }
}

pub(crate) async fn whoami(remote: &Remote) -> Result<Exit, Failure> {
    let coordinator = &Coordinator::connect(remote).await?;
    let asked =
        coordinator.call(GetCallerRequest {}, async |request| coordinator.access().get_caller(request).await);
    let GetCallerResponse { name, grants, expire_time } = asked.await?;
    write_out(render::caller(&name, &grants, expire_time).as_bytes())?;
    Ok(Exit::Success)
}
