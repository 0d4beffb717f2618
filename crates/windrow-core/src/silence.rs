//! Silence: how does time go on in a partition from which nothing comes?
//!
//! **In** a partition's fetch answers, each with the time it came at; what is known of all partitions of its stream. **Out** how long it
//! has been quiet, and the event time up to which it may flow.
//! **Before** this file: the log (answers). **After** it: `engine` (`Task::flow_to`).
//!
//! ```text
//! some partition is not heard from      → nobody flows
//! some are not idle                     → the idle ones follow the slowest of those
//! all are idle                          → on from the highest, as fast as they are seen to be quiet
//! ```
//!
//! **Invariant:** quiet time is time that was watched: outages, open transactions, a paused process and downtime add nothing. However
//! partitions follow each other, and however old what they know of each other is, together they never run faster than the clock.
//! **Not here:** the clock itself (times are arguments), how processes tell each other (the worker).

use crate::watermark::{ENDED_MS, NEVER_MS};

/// How long a partition must be seen empty before it counts as idle, where silence itself never does.
const EMPTY_WATCHED_MS: i64 = 30_000;

/// What is known of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its watermark.
    pub watermark_ms: i64,
    /// See [`QuietClock::is_idle`].
    pub idle: bool,
}

/// What the idle partitions of a stream do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They wait.
    Stay,
    /// They go to this watermark: the slowest of the partitions that are not idle.
    Follow(i64),
    /// All are idle: they go on by the clock from this watermark, the highest of all.
    Clock(i64),
}

impl Flow {
    /// Decides for one stream: one entry per partition, `None` = not heard from.
    ///
    /// A partition of a bounded input that has ended says nothing about time, and holds nobody.
    pub fn of(partitions: impl IntoIterator<Item = Option<Known>>) -> Self {
        let mut slowest: Option<i64> = None;
        let mut highest = NEVER_MS;
        for known in partitions {
            let Some(known) = known else { return Flow::Stay };
            if known.watermark_ms == ENDED_MS {
                continue;
            }
            highest = highest.max(known.watermark_ms);
            if !known.idle {
                slowest = Some(slowest.map_or(known.watermark_ms, |slowest| slowest.min(known.watermark_ms)));
            }
        }
        match slowest {
            Some(NEVER_MS) => Flow::Stay,
            Some(slowest) => Flow::Follow(slowest),
            None if highest == NEVER_MS => Flow::Stay,
            None => Flow::Clock(highest),
        }
    }
}

/// The quiet time of one partition, as its owner watches it.
#[derive(Debug, Clone, Copy)]
pub struct QuietClock {
    wait_max_ms: i64,
    quiet_ms: i64,
    /// When the last answer came, if it showed the end of the partition.
    end_seen_ms: Option<i64>,
    /// Quiet time up to which the watermark has gone by the clock, while nothing but such steps moves the partition.
    stepped_ms: Option<i64>,
    is_empty: bool,
}

impl QuietClock {
    /// Makes the clock of a partition that was just taken over: whatever it was before, it is watched from now on.
    ///
    /// - **Units:** `wait_max_ms` is the longest that a fetch waits for records: what two answers apart can prove at most.
    pub fn new(wait_max_ms: i64) -> Self {
        Self { wait_max_ms, quiet_ms: 0, end_seen_ms: None, stepped_ms: None, is_empty: false }
    }

    /// Takes one fetch answer: its time on a clock that never goes back, the positions before and after it, and the high watermark,
    /// which is above the position while an upstream transaction is open.
    pub fn answer(&mut self, at_ms: i64, from: i64, next: i64, high_watermark: i64) {
        let at_end = next == high_watermark;
        match self.end_seen_ms {
            Some(before_ms) if at_end && from == next => {
                self.quiet_ms += (at_ms - before_ms).clamp(0, self.wait_max_ms);
            }
            _ => {
                self.quiet_ms = 0;
                self.stepped_ms = None;
            }
        }
        self.end_seen_ms = at_end.then_some(at_ms);
        self.is_empty = at_end && next == 0;
    }

    /// Returns for how long nothing came.
    pub fn quiet_ms(&self) -> i64 {
        self.quiet_ms
    }

    /// Tells whether the partition counts as idle: quiet for longer than `idle_ms` (`None` = never), or confirmed empty.
    ///
    /// One that never had a record is watched first, too: where everything starts at once, partitions get their first records one after
    /// the other, and what follows at the first look makes them late. One that has flowed already (`watermark_ms`) is idle at once.
    pub fn is_idle(&self, idle_ms: Option<i64>, watermark_ms: i64) -> bool {
        let empty = self.is_empty && (watermark_ms != NEVER_MS || self.quiet_ms > EMPTY_WATCHED_MS);
        empty || idle_ms.is_some_and(|idle_ms| self.quiet_ms > idle_ms)
    }

    /// Goes on by the clock: returns the partition's next watermark, given its own and the highest of all at `now_ms`.
    ///
    /// Quiet time is added to the partition's own watermark alone; what others reached is only followed. So two that see each other
    /// move do not drive each other on. Where it follows, or goes by the clock for the first time, what passed before `now_ms` is in
    /// that watermark already, also what the next answer will show of it.
    pub fn step(&mut self, now_ms: i64, watermark_ms: i64, highest_ms: i64) -> i64 {
        let since_ms = self.stepped_ms.map(|stepped_ms| (self.quiet_ms - stepped_ms).max(0));
        let own_ms = match watermark_ms {
            NEVER_MS => NEVER_MS,
            own_ms => own_ms.saturating_add(since_ms.unwrap_or(0)),
        };
        if since_ms.is_none() || highest_ms > own_ms {
            let unseen_ms =
                self.end_seen_ms.map_or(0, |seen_ms| (now_ms - seen_ms).clamp(0, self.wait_max_ms));
            self.stepped_ms = Some(self.quiet_ms + unseen_ms);
        } else {
            self.stepped_ms = self.stepped_ms.max(Some(self.quiet_ms));
        }
        own_ms.max(highest_ms)
    }

    /// Notes that the stream does not go by the clock now: the time until it does again is not added.
    pub fn hold(&mut self) {
        self.stepped_ms = None;
    }
}

#[cfg(test)]
mod tests;
