//! Waiting in tests: for a condition, with a deadline, never for a time.

use std::time::Duration;

/// Long enough for a broker on a busy machine, short enough to be told from a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Awaits `future`, or fails saying what did not happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}
