//! The deadline that a caller sets with the header `grpc-timeout`.
//!
//! tonic applies the header to the start of an answer. The answers here are streams, so their whole length is bounded
//! by the same header.

use countermove_proto::caller_timeout;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// When the caller stops waiting. A header that cannot be read is no deadline, as in tonic.
pub(crate) fn of_request(metadata: &MetadataMap) -> Option<Instant> {
    Instant::now().checked_add(caller_timeout(metadata.as_ref())?)
}

/// Ends at the deadline; never, if there is none.
pub(crate) async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_tonic_writes_is_read() {
        let mut request = tonic::Request::new(());
        request.set_timeout(Duration::from_millis(1500));
        let left = of_request(request.metadata()).unwrap() - Instant::now();
        assert!(left > Duration::from_millis(1000) && left <= Duration::from_millis(1500), "{left:?}");
        assert!(of_request(&MetadataMap::new()).is_none());
    }
}
