//! The watermark: up to which event time has a partition told its story?
//!
//! **In** event times of one partition's records; later also silence and the end of the input. **Out** a time that only grows.
//! **Invariant:** it never moves back, not even when `lateness` is raised between two runs. The *data* watermark is what
//! records alone say; retiring goes by it, so that the end of a bounded input does not retire everything at once.
//! **Not here:** what closes (`engine`), measuring silence (the worker).

/// Before the first record.
pub const NEVER_MS: i64 = i64::MIN;
/// After the end of a bounded input.
pub const ENDED_MS: i64 = i64::MAX;
/// Of a source whose topic is gone: it holds nobody, and says nothing about time.
pub(crate) const GONE_MS: i64 = i64::MAX - 1;

/// The watermark of one partition as one view has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    lateness_ms: i64,
    highest_ms: i64,
    flowed_ms: i64,
}

impl Watermark {
    /// Makes the watermark of a partition that has told nothing.
    pub fn new(lateness_ms: i64) -> Self {
        Self { lateness_ms, highest_ms: NEVER_MS, flowed_ms: NEVER_MS }
    }

    /// Takes the event time of a record; tells whether it is the highest so far.
    #[inline]
    pub fn observe(&mut self, ts_ms: i64) -> bool {
        let higher = ts_ms > self.highest_ms;
        if higher {
            self.highest_ms = ts_ms;
        }
        higher
    }

    /// Moves time on without records: silence, or the journal's word. What is lower changes nothing.
    pub fn flow_to(&mut self, ms: i64) {
        self.flowed_ms = self.flowed_ms.max(ms);
    }

    /// Returns the highest event time; [`NEVER_MS`] before the first record.
    pub fn highest_ms(&self) -> i64 {
        self.highest_ms
    }

    /// Returns what the records alone say: the highest event time less the lateness.
    #[inline]
    pub fn data_ms(&self) -> i64 {
        self.highest_ms.saturating_sub(self.lateness_ms)
    }

    /// Returns the watermark.
    #[inline]
    pub fn ms(&self) -> i64 {
        self.data_ms().max(self.flowed_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_highest_time_less_lateness_and_never_moves_back() {
        let mut watermark = Watermark::new(5);
        assert_eq!(watermark.ms(), NEVER_MS);
        for (ts, want) in [(12, 7), (3, 7), (13, 8), (12, 8), (-100, 8)] {
            watermark.observe(ts);
            assert_eq!(watermark.ms(), want, "after {ts}");
        }
    }

    #[test]
    fn more_lateness_after_a_restart_does_not_move_it_back() {
        let mut restarted = Watermark::new(100);
        restarted.observe(50);
        restarted.flow_to(45);
        assert_eq!((restarted.ms(), restarted.data_ms()), (45, -50));
    }

    #[test]
    fn the_end_of_the_input_is_infinity_but_not_for_the_data() {
        let mut watermark = Watermark::new(0);
        watermark.observe(50);
        watermark.flow_to(ENDED_MS);
        assert_eq!((watermark.ms(), watermark.data_ms()), (ENDED_MS, 50));
    }
}
