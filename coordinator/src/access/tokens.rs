//! Tokens by which services call: a secret of 256 random bits that is shown once and kept as its hash.
//!
//! A token reads `cmt_ID_SECRET`. The id finds it, the secret proves it. What a store says of a token is remembered for some
//! seconds, after which one that was revoked at another coordinator is of no use here either.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use countermove_proto::v1;
use countermove_proto::{Error, Resource, TokenId, timestamp};
use futures::future::{BoxFuture, FutureExt, ready};
use moka::sync::Cache;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::caller::Principal;
use super::grants::Grants;
use crate::incidents::StoreError;

/// How a token begins.
pub(super) const PREFIX: &str = "cmt_";
/// Bytes of a secret.
const SECRET: usize = 32;
/// For how long a store's word on a token is taken.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Tokens that are remembered.
const MOST: u64 = 10_000;

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptToken {
    /// Finds it.
    pub id: TokenId,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// What it is for.
    pub description: String,
    /// What may be done with it.
    pub grants: Grants,
    /// Who made it.
    pub creator: String,
    /// When it was made.
    pub created: SystemTime,
    /// From when it is of no use.
    pub expires: SystemTime,
    /// Since when it is revoked.
    pub revoked: Option<SystemTime>,
}

impl KeptToken {
    /// As a message, without its hash.
    pub fn message(&self) -> v1::Token {
        v1::Token {
            name: self.id.name(),
            description: self.description.clone(),
            grants: self.grants.to_messages(),
            creator: self.creator.clone(),
            create_time: Some(timestamp(self.created)),
            expire_time: Some(timestamp(self.expires)),
            revoke_time: self.revoked.map(timestamp),
        }
    }
}

/// Where tokens are kept.
pub trait TokenStore: Send + Sync + 'static {
    /// Keeps a new one.
    fn add(&self, token: KeptToken) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Finds one.
    fn find(&self, id: TokenId) -> BoxFuture<'_, Result<Option<KeptToken>, StoreError>>;
    /// All of them, newest first: people make tokens, so there are few.
    fn all(&self) -> BoxFuture<'_, Result<Vec<KeptToken>, StoreError>>;
    /// Revokes one at this time, if it is not yet.
    fn revoke(&self, id: TokenId, at: SystemTime) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Keeps tokens with the process.
#[derive(Debug, Default)]
pub struct MemoryTokens(Mutex<BTreeMap<TokenId, KeptToken>>);

impl MemoryTokens {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut BTreeMap<TokenId, KeptToken>) -> T,
    ) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
    {
        ready(Ok(work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))).boxed()
    }
}

impl TokenStore for MemoryTokens {
    fn add(&self, token: KeptToken) -> BoxFuture<'_, Result<(), StoreError>> {
        self.with(|tokens| drop(tokens.insert(token.id, token)))
    }

    fn find(&self, id: TokenId) -> BoxFuture<'_, Result<Option<KeptToken>, StoreError>> {
        self.with(|tokens| tokens.get(&id).cloned())
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<KeptToken>, StoreError>> {
        self.with(|tokens| {
            let mut all: Vec<KeptToken> = tokens.values().cloned().collect();
            all.sort_by_key(|token| std::cmp::Reverse((token.created, token.id)));
            all
        })
    }

    fn revoke(&self, id: TokenId, at: SystemTime) -> BoxFuture<'_, Result<(), StoreError>> {
        self.with(|tokens| {
            if let Some(token) = tokens.get_mut(&id) {
                token.revoked.get_or_insert(at);
            }
        })
    }
}

/// The tokens of this coordinator and of those that share its store. Clones are the same.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    store: Arc<dyn TokenStore>,
    known: Cache<TokenId, Option<Arc<KeptToken>>>,
    random: SystemRandom,
}

impl Tokens {
    /// Those that are kept there.
    pub fn new(store: Arc<dyn TokenStore>) -> Self {
        let known = Cache::builder().max_capacity(MOST).time_to_live(REMEMBERED).build();
        Self(Arc::new(Inner { store, known, random: SystemRandom::new() }))
    }

    /// Makes a token and gives it with its secret, which is nowhere else.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn create(
        &self,
        description: String,
        grants: Grants,
        creator: String,
        expires: SystemTime,
    ) -> Result<(KeptToken, String), Error> {
        let (mut id, mut secret) = ([0; 8], [0; SECRET]);
        for bytes in [&mut id[..], &mut secret[..]] {
            let filled = self.0.random.fill(bytes);
            filled.map_err(|_| Error::Internal("the system gives no random numbers".to_owned()))?;
        }
        let (id, secret) = (TokenId::from_bytes(id), hex::encode(secret));
        let token = KeptToken {
            id,
            hash: Sha256::digest(&secret).into(),
            description,
            grants,
            creator,
            created: SystemTime::now(),
            expires,
            revoked: None,
        };
        self.0.store.add(token.clone()).await?;
        Ok((token, format!("{PREFIX}{}_{secret}", id.digits())))
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn all(&self) -> Result<Vec<KeptToken>, Error> {
        Ok(self.0.store.all().await?)
    }

    /// One token.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of the store.
    pub(crate) async fn get(&self, id: TokenId) -> Result<KeptToken, Error> {
        self.0.store.find(id).await?.ok_or_else(|| not_found(id))
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// As of [`Self::get`].
    pub(crate) async fn revoke(&self, id: TokenId) -> Result<KeptToken, Error> {
        self.0.store.revoke(id, SystemTime::now()).await?;
        self.0.known.invalidate(&id);
        self.get(id).await
    }

    async fn known(&self, id: TokenId) -> Result<Option<Arc<KeptToken>>, Error> {
        if let Some(known) = self.0.known.get(&id) {
            return Ok(known);
        }
        let found = self.0.store.find(id).await?.map(Arc::new);
        self.0.known.insert(id, found.clone());
        Ok(found)
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], with nothing in it that tells one wrong token from another but for its holder; and those of
    /// the store.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Principal, Error> {
        let refused = || Error::Unauthenticated("the token is not known".to_owned());
        let (id, secret) =
            token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(refused)?;
        let id = TokenId::new(id).map_err(|_| refused())?;
        let found = self.known(id).await?;
        let hash: [u8; 32] = Sha256::digest(secret).into();
        // Hashes of secrets that nobody can choose: how long comparing two takes tells nothing of either.
        let token = found.filter(|found| found.hash == hash).ok_or_else(refused)?;
        if token.revoked.is_some() {
            return Err(Error::Unauthenticated(format!("{id} was revoked")));
        }
        if token.expires <= SystemTime::now() {
            return Err(Error::Unauthenticated(format!("{id} has expired")));
        }
        Ok(Principal {
            name: id.name(),
            grants: token.grants.clone(),
            expires: Some(token.expires),
            token: Some(id),
        })
    }

    /// Ends when the token is revoked, also by another coordinator. What a store does not say is no revocation.
    pub(super) async fn revoked(&self, id: TokenId) {
        loop {
            tokio::time::sleep(REMEMBERED).await;
            match self.known(id).await {
                Ok(Some(token)) if token.revoked.is_none() => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(token = %id, %error, "it is not known whether a token is revoked")
                }
            }
        }
    }
}

pub(crate) fn not_found(id: TokenId) -> Error {
    Error::NotFound { kind: Resource::Token, name: id.name() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(Arc::new(MemoryTokens::default()))
    }

    async fn make(tokens: &Tokens, lasts: Duration) -> (KeptToken, String) {
        let expires = SystemTime::now() + lasts;
        tokens.create("a test".into(), Grants::all(), "ann".into(), expires).await.unwrap()
    }

    fn why(result: Result<Principal, Error>) -> String {
        match result {
            Err(Error::Unauthenticated(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_token_proves_its_holder_until_it_is_revoked() {
        let tokens = tokens();
        let (kept, secret) = make(&tokens, Duration::from_secs(60)).await;
        let found = tokens.authenticate(&secret).await.unwrap();
        assert_eq!((found.name, found.token), (kept.id.name(), Some(kept.id)));
        let all = tokens.all().await.unwrap();
        assert!(
            !format!("{all:?}").contains(secret.rsplit('_').next().unwrap()),
            "the secret is kept nowhere"
        );
        tokens.revoke(kept.id).await.unwrap();
        assert!(why(tokens.authenticate(&secret).await).contains("revoked"));
        let first = tokens.get(kept.id).await.unwrap().revoked;
        assert_eq!(tokens.revoke(kept.id).await.unwrap().revoked, first, "once revoked it stays so");
    }

    #[tokio::test]
    async fn what_is_no_token_says_nothing_of_those_there_are() {
        let tokens = tokens();
        let (_, secret) = make(&tokens, Duration::from_secs(60)).await;
        let (_, other) = make(&tokens, Duration::from_secs(60)).await;
        let (head, tail) = secret.rsplit_once('_').unwrap();
        let foreign = other.rsplit('_').next().unwrap();
        let wrong = [
            "".to_owned(),
            "cmt_".to_owned(),
            "cmt__".to_owned(),
            head.to_owned(),
            format!("{head}_"),
            format!("{head}_{}", &tail[1..]),
            format!("{head}_{}", tail.to_uppercase()),
            format!("{head}_{foreign}"),
            format!("cmt_0000000000000000_{tail}"),
            format!("cmt_+00000000000000f_{tail}"),
            format!("{secret} "),
        ];
        for token in wrong.iter().filter(|token| **token != secret) {
            assert_eq!(why(tokens.authenticate(token).await), "the token is not known", "{token}");
        }
    }

    #[tokio::test]
    async fn a_token_expires() {
        let tokens = tokens();
        let (_, secret) = make(&tokens, Duration::ZERO).await;
        assert!(why(tokens.authenticate(&secret).await).contains("expired"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_hears_that_its_token_was_revoked() {
        let tokens = tokens();
        let (kept, _) = make(&tokens, Duration::from_secs(600)).await;
        let watching = tokio::spawn({
            let tokens = tokens.clone();
            async move { tokens.revoked(kept.id).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!watching.is_finished());
        tokens.revoke(kept.id).await.unwrap();
        watching.await.unwrap();
    }
}
