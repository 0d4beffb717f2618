//! Latency: many durations in a fixed space, read back as quantiles.
//!
//! **Invariant:** a quantile is at most 1/64 below the true value.

use std::time::Duration;

/// Steps per power of two.
const STEPS: usize = 64;
const STEP_BITS: u32 = STEPS.ilog2();

/// A histogram of durations in nanoseconds, logarithmic with linear steps.
#[derive(Debug)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; STEPS * (u64::BITS - STEP_BITS + 1) as usize], total: 0 }
    }

    pub(super) fn add(&mut self, ns: u64) {
        self.counts[slot(ns)] += 1;
        self.total += 1;
    }

    /// Adds those of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
    }

    /// Returns the duration that the share `q` of all is below.
    pub(super) fn quantile(&self, q: f64) -> Duration {
        let wanted = (q * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let slot = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_nanos(slot.map_or(0, floor_of))
    }
}

fn slot(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(STEP_BITS + 1);
    shift as usize * STEPS + (ns >> shift) as usize
}

fn floor_of(slot: usize) -> u64 {
    let shift = (slot / STEPS).saturating_sub(1);
    ((slot - shift * STEPS) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_from_nanoseconds_to_hours() {
        for ns in [0, 1, 63, 64, 127, 128, 129, 1_000, 123_456_789, 3_600_000_000_000, u64::MAX] {
            let mut latencies = Latencies::new();
            latencies.add(ns);
            let got = latencies.quantile(0.99).as_nanos() as u64;
            assert!(got <= ns && ns - got <= ns / STEPS as u64, "{ns} -> {got}");
        }
        let mut latencies = Latencies::new();
        (1..=100).for_each(|ms| latencies.add(ms * 1_000_000));
        assert_eq!(latencies.quantile(0.5).as_millis(), 49);
        assert_eq!(latencies.quantile(0.99).as_millis(), 98);
    }
}
