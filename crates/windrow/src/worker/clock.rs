//! The wall clock, as workers see it.
//!
//! **In** nothing. **Out** milliseconds since the epoch. **Invariant:** a worker asks nobody else for the time of day, so that a
//! simulation, whose time is tokio's paused one, decides everything a worker sees.
//! **Not here:** pauses and deadlines, which are tokio's.

use tokio::time::Instant;

/// Tells the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Wall,
    /// Runs with tokio's clock, which tests pause and move.
    Runtime {
        begin: Instant,
        begin_ms: i64,
    },
}

impl Clock {
    /// The machine's clock.
    pub fn wall() -> Self {
        Self(Kind::Wall)
    }

    /// A clock that shows `now_ms` now and runs with tokio's.
    pub fn runtime(now_ms: i64) -> Self {
        Self(Kind::Runtime { begin: Instant::now(), begin_ms: now_ms })
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        match self.0 {
            Kind::Wall => jiff::Timestamp::now().as_millisecond(),
            Kind::Runtime { begin, begin_ms } => {
                begin_ms.saturating_add(i64::try_from(begin.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}
