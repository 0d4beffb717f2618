//! Windows: which window does an event time fall into, and how is it written?
//!
//! **In** an event time and a size. **Out** a window, named by its end.
//! **Before** this file: `decode` (bytes became a row with a time). **After** it: `state` (one bucket per window).
//!
//! size 10, time 12  →  `[10, 20)`, bucket 20
//!
//! **Invariant:** windows are half-open, aligned to the Unix epoch, and never depend on arrival or on the clock.
//! **Not here:** when a window closes (`watermark`, `engine`).
//!
//! Source: the Dataflow paper (Akidau 2015); Kafka Streams' `TimeWindows`.

/// Bucket of a running table: it has no window and never closes.
pub const RUNNING_END_MS: i64 = i64::MAX;

/// A half-open span of event time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First millisecond in it.
    pub start_ms: i64,
    /// First millisecond after it.
    pub end_ms: i64,
}

impl Window {
    /// Returns the tumbling window that holds `ts_ms`.
    ///
    /// - **Limits:** `size_ms > 0`; `decode` keeps times within years 1 to 9999, so nothing overflows.
    #[inline]
    pub fn tumbling(ts_ms: i64, size_ms: i64) -> Self {
        debug_assert!(size_ms > 0, "a window has a size");
        let start_ms = ts_ms - ts_ms.rem_euclid(size_ms);
        Self { start_ms, end_ms: start_ms.saturating_add(size_ms) }
    }

    /// Tells whether `ts_ms` is inside.
    #[inline]
    pub fn holds(self, ts_ms: i64) -> bool {
        self.start_ms <= ts_ms && ts_ms < self.end_ms
    }

    /// Returns the text of the `window` header: `start/end`.
    pub fn header(self) -> String {
        format!("{}/{}", self.start_ms, self.end_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(size_ms: i64, times: &[i64], expect: Expect) {
        let mut out = String::new();
        for &ts in times {
            let window = Window::tumbling(ts, size_ms);
            assert!(window.holds(ts));
            assert!(!window.holds(window.end_ms));
            assert!(!window.holds(window.start_ms - 1));
            writeln!(out, "{ts} -> [{}, {})", window.start_ms, window.end_ms).unwrap();
        }
        expect.assert_eq(&out);
    }

    #[test]
    fn tumbling_start_is_inclusive_end_is_exclusive() {
        check(
            10,
            &[0, 9, 10, 19, -1, -10, -11],
            expect![[r#"
                0 -> [0, 10)
                9 -> [0, 10)
                10 -> [10, 20)
                19 -> [10, 20)
                -1 -> [-10, 0)
                -10 -> [-10, 0)
                -11 -> [-20, -10)
            "#]],
        );
    }

    #[test]
    fn minutes_are_aligned_to_the_epoch_and_not_to_the_first_record() {
        check(
            60_000,
            &[1_589_900_041_120, crate::decode::TS_MS_MIN, crate::decode::TS_MS_MAX],
            expect![[r#"
                1589900041120 -> [1589900040000, 1589900100000)
                -62135596800000 -> [-62135596800000, -62135596740000)
                253402300799999 -> [253402300740000, 253402300800000)
            "#]],
        );
    }
}
