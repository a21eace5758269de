//! What one tenant's callers may ask of a coordinator: so many calls a second, and so many at the same time.
//!
//! A call counts for the tenant of its caller, or for the caller by itself if that has roles in several. So a tenant that floods a
//! coordinator is refused, and others are served. A call counts from when its headers are there until its answer, or the beginning
//! of its stream, is; what another coordinator passes on was counted there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countermove_proto::{Error, Quota};
use tokio::time::Instant;

use super::Principal;
use crate::metrics::Metrics;

/// For how long a tenant that was silent may have its calls at once.
const BURST: Duration = Duration::from_secs(2);
/// When a call that was one too many at the same time is worth another try.
const SOON: Duration = Duration::from_millis(250);
/// Accounts that are kept before those are looked for which say nothing any more.
const KEPT: usize = 1024;

/// How much there is for each tenant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaOptions {
    /// Calls a second; 0: without bound.
    pub rate: f64,
    /// Calls at the same time; 0: without bound.
    pub calls: usize,
}

impl Default for QuotaOptions {
    fn default() -> Self {
        Self { rate: 200.0, calls: 128 }
    }
}

/// Counts calls. Clones count together.
#[derive(Clone)]
pub struct Quotas(Arc<Inner>);

struct Inner {
    options: QuotaOptions,
    accounts: Mutex<HashMap<String, Account>>,
    metrics: Metrics,
}

/// What one tenant did.
struct Account {
    /// When all its calls so far would have been made at the allowed rate.
    paid_until: Instant,
    /// Calls that are being answered.
    calls: usize,
}

impl Account {
    /// Counts one more call, or says of which there are too many and when to come back.
    fn take(&mut self, options: QuotaOptions, now: Instant) -> Result<(), (Quota, Duration)> {
        if options.calls > 0 && self.calls >= options.calls {
            return Err((Quota::Calls, SOON));
        }
        if options.rate > 0.0 {
            let due = self.paid_until.max(now);
            let ahead = due - now;
            if ahead > BURST {
                return Err((Quota::Rate, ahead - BURST));
            }
            self.paid_until = due + Duration::from_secs_f64(1.0 / options.rate);
        }
        self.calls += 1;
        Ok(())
    }

    fn says_nothing(&self, now: Instant) -> bool {
        self.calls == 0 && self.paid_until <= now
    }
}

/// A call that counts for as long as this is there.
pub(crate) struct Counted {
    quotas: Quotas,
    name: String,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(account) = self.quotas.accounts().get_mut(&self.name) {
            account.calls = account.calls.saturating_sub(1);
        }
    }
}

impl Quotas {
    /// So much for each tenant.
    pub fn new(options: QuotaOptions, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { options, accounts: Mutex::default(), metrics }))
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        // Nothing panics while it holds the lock.
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call.
    ///
    /// # Errors
    /// [`Error::OverQuota`] if there are too many.
    pub(crate) fn count(&self, principal: &Principal) -> Result<Counted, Error> {
        let name = principal.account();
        let (options, now) = (self.0.options, Instant::now());
        let mut accounts = self.accounts();
        if accounts.len() >= KEPT && !accounts.contains_key(&name) {
            accounts.retain(|_, account| !account.says_nothing(now));
        }
        let account = accounts.entry(name.clone()).or_insert(Account { paid_until: now, calls: 0 });
        let taken = account.take(options, now);
        drop(accounts);
        let Err((quota, retry_after)) = taken else { return Ok(Counted { quotas: self.clone(), name }) };
        self.0.metrics.over_quota(quota);
        let limit = match quota {
            Quota::Rate => format!("{} calls a second", options.rate),
            Quota::Calls => format!("{} calls at the same time", options.calls),
        };
        let message = format!("{name} may make {limit} at this coordinator, and makes more; ask again later");
        Err(Error::OverQuota { quota, subject: name, message, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Grant, Grants, Role};

    fn of(tenants: &[&str]) -> Principal {
        let grant = |name: &&str| Grant { tenant: name.parse().unwrap(), roles: vec![Role::Viewer] };
        let grants = Grants::new(tenants.iter().map(grant).collect());
        Principal { name: "ann".into(), grants, expires: None, token: None }
    }

    fn quotas(rate: f64, calls: usize) -> Quotas {
        Quotas::new(QuotaOptions { rate, calls }, Metrics::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_its_calls_a_second_and_none_of_anothers() {
        let quotas = quotas(10.0, 0);
        let served = |who: &Principal| (0..100).take_while(|_| quotas.count(who).is_ok()).count();
        assert_eq!(served(&of(&["blue"])), 21, "those of two seconds, and the one that is due");
        let refused = quotas.count(&of(&["blue"])).err().unwrap();
        assert!(
            matches!(&refused, Error::OverQuota { quota: Quota::Rate, subject, .. } if subject == "tenants/blue"),
            "{refused:?}"
        );
        assert_eq!(served(&of(&["red"])), 21);
        assert_eq!(served(&of(&["red", "blue"])), 21, "who has several counts by itself");
        tokio::time::sleep(refused.retry_after().unwrap()).await;
        assert_eq!(served(&of(&["blue"])), 1, "it is told when to come back");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(served(&of(&["blue"])), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_counts_until_it_is_answered() {
        let quotas = quotas(0.0, 2);
        let blue = of(&["blue"]);
        let held = (quotas.count(&blue).unwrap(), quotas.count(&blue).unwrap());
        assert!(matches!(quotas.count(&blue), Err(Error::OverQuota { quota: Quota::Calls, .. })));
        assert!(quotas.count(&of(&["red"])).is_ok());
        drop(held.0);
        assert!(quotas.count(&blue).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_that_say_nothing_are_forgotten() {
        let quotas = quotas(10.0, 2);
        for number in 0..KEPT * 3 {
            let name = format!("t{number}");
            drop(quotas.count(&of(&[name.as_str()])));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(quotas.accounts().len() <= KEPT, "{}", quotas.accounts().len());
    }
}
