//! Near: the replica that a leader sends us to, because it stands in our rack.
//!
//! **In** what leaders name, and how that replica behaves. **Out** whom to fetch from. **Invariant:** a replica is read from for at most
//! [`FOLLOW_MAX`], then the leader is asked again, who may know a better one. One that fails, or has not what we ask for, is shunned for
//! [`SHUN`]: meanwhile no rack is named, so that the leader serves. **Not here:** fetching (`broker`), finding (`keeper`).
//!
//! A follower's high watermark lags behind its leader's by half a second at most; silence is measured by what is fetched, so by that.
//!
//! Source: KIP-392.

use std::time::Duration;

use tokio::time::Instant;

/// Kafka's consumer asks its leader again as often (`metadata.max.age.ms`).
const FOLLOW_MAX: Duration = Duration::from_secs(300);
/// A broker that is gone leaves the in-sync replicas after 30 s (`replica.lag.time.max.ms`); until then leaders go on naming it.
const SHUN: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Near {
    named: Option<(i32, Instant)>,
    shunned_until: Option<Instant>,
}

impl Near {
    /// The node to fetch from in the leader's place.
    pub(super) fn node(&self) -> Option<i32> {
        self.named.map(|(node, _)| node)
    }

    /// The leader names a replica.
    pub(super) fn follow(&mut self, node: i32) {
        self.named = Some((node, Instant::now() + FOLLOW_MAX));
    }

    /// Goes back to the leader when it is time to; tells whether.
    pub(super) fn is_over(&mut self) -> bool {
        self.named.take_if(|(_, until)| *until <= Instant::now()).is_some()
    }

    /// The replica was of no use; tells whether there was one.
    pub(super) fn shun(&mut self) -> bool {
        let was_named = self.named.take().is_some();
        if was_named {
            self.shunned_until = Some(Instant::now() + SHUN);
        }
        was_named
    }

    /// Tells whether the leader itself has to serve.
    pub(super) fn is_shunned(&self) -> bool {
        self.shunned_until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_followed_for_a_while_and_shunned_for_a_while_when_it_fails() {
        let mut near = Near::default();
        assert!(!near.shun() && !near.is_shunned(), "nobody was named");
        near.follow(2);
        tokio::time::advance(FOLLOW_MAX - Duration::from_millis(1)).await;
        assert!(!near.is_over());
        assert_eq!(near.node(), Some(2));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(near.is_over() && near.node().is_none() && !near.is_over());
        near.follow(3);
        assert!(near.shun());
        assert_eq!((near.node(), near.is_shunned()), (None, true));
        tokio::time::advance(SHUN).await;
        assert!(!near.is_shunned());
    }
}
