//! Allowance: how many messages a client may still send.
//!
//! **Invariant:** a bucket that fills with time: a burst, then a rate. What is not allowed yet waits, it is not refused.

use std::time::Duration;

use tokio::time::Instant;

/// How many messages a client may still send: a bucket that fills with time.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: u32,
    burst: u32,
    left: u32,
    filled_at: Instant,
}

impl Allowance {
    /// The bucket holds a second's worth and all subscriptions that may be made at once after connecting.
    pub(super) fn new(per_second: u32, subscriptions_max: usize) -> Self {
        let per_second = per_second.max(1);
        let burst = per_second.saturating_add(u32::try_from(subscriptions_max).unwrap_or(u32::MAX));
        Self { per_second, burst, left: burst, filled_at: Instant::now() }
    }

    pub(super) fn has(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            let filled = now.duration_since(self.filled_at).as_secs_f64() * f64::from(self.per_second);
            self.left = (filled as u32).min(self.burst);
            if self.left > 0 {
                self.filled_at = now;
            }
        }
        self.left > 0
    }

    /// Uses one up and returns how many are left.
    pub(super) fn take(&mut self, now: Instant) -> u32 {
        if self.left == self.burst {
            self.filled_at = now;
        }
        self.left = self.left.saturating_sub(1);
        self.left
    }

    /// Returns when a client that has used everything up is heard again.
    pub(super) fn back_at(&self) -> Option<Instant> {
        (self.left == 0).then(|| self.filled_at + Duration::from_secs(1) / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_burst_then_a_rate() {
        let mut allowance = Allowance::new(100, 50);
        let count = |allowance: &mut Allowance, now| {
            let mut taken = 0;
            while allowance.has(now) {
                allowance.take(now);
                taken += 1;
            }
            taken
        };
        let start = Instant::now();
        assert_eq!(count(&mut allowance, start), 150);
        assert_eq!(allowance.back_at(), Some(start + Duration::from_millis(10)));
        assert_eq!(count(&mut allowance, start + Duration::from_millis(100)), 10);
        assert_eq!(count(&mut allowance, start + Duration::from_secs(60)), 150);
    }
}
