//! Made-up records: when, how many, and of which preset.
//!
//! **In** the arguments. **Out** lines of JSON. **Invariant:** the same seed and the same times give the same records.
//! **Not here:** what a record is (one file for each preset).

use self::{clicks::Clicked, frames::Framed, visits::Visited};
use super::{Preset, ProduceArgs};
use crate::cli::failure::Failure;

mod clicks;
pub(super) mod frames;
pub(super) mod visits;

/// Records without a pace are this far apart in event time: 10,000 a second.
const STEP_MICROS: i64 = 100;

const COUNT_DEFAULT: u64 = 10_000;

/// Makes the records of one preset.
pub(super) trait Maker: Send {
    /// Appends the record of a moment, without the end of its line.
    fn push(&mut self, at_ms: i64, out: &mut Vec<u8>);
}

/// Records that are made up, one after the other.
pub(super) struct Made {
    maker: Box<dyn Maker>,
    /// How many are left; `None` = no end.
    left: Option<u64>,
    made: u64,
    times: Times,
}

/// Event times.
enum Times {
    /// The wall clock's.
    Now,
    /// The first one, and how far they are apart.
    Steps { start_ms: i64, step_micros: i64 },
}

/// How fast a preset goes where nothing is said, in records a second.
pub(super) fn per_second(args: &ProduceArgs) -> Option<f64> {
    match (args.rate, args.preset) {
        (Some(rate), _) => Some(f64::from(rate)),
        (None, Preset::Visits) => Some(args.visits.frequency()),
        (None, Preset::Clicks | Preset::Frames) => None,
    }
}

impl Made {
    pub(super) fn new(args: &ProduceArgs) -> Result<Self, Failure> {
        if args.preset != Preset::Visits {
            args.visits.refuse()?;
        }
        let (maker, default): (Box<dyn Maker>, _) = match args.preset {
            Preset::Clicks => (Box::new(Clicked::new(args)), args.rate.is_none().then_some(COUNT_DEFAULT)),
            Preset::Frames => (Box::new(Framed::of(args)), args.rate.is_none().then_some(frames::COUNT)),
            Preset::Visits => (Box::new(Visited::new(args)?), args.visits.count(args.rate)),
        };
        let count = args.count.or(default);
        Ok(Self { maker, left: count, made: 0, times: times(args, count) })
    }

    /// Returns how many are to come, if they end.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }

    /// Appends a line; returns its bytes, 0 at the end.
    pub(super) fn push(&mut self, out: &mut Vec<u8>) -> u64 {
        if self.left == Some(0) {
            return 0;
        }
        self.left = self.left.map(|left| left - 1);
        let at_ms = match self.times {
            Times::Now => now_ms(),
            Times::Steps { start_ms, step_micros } => {
                start_ms + (self.made.cast_signed() * step_micros) / 1_000
            }
        };
        self.made += 1;
        let before = out.len();
        self.maker.push(at_ms, out);
        out.push(b'\n');
        (out.len() - before) as u64
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn times(args: &ProduceArgs, count: Option<u64>) -> Times {
    let pace = per_second(args);
    if args.preset == Preset::Visits && args.start.is_none() {
        return Times::Now;
    }
    let step_micros = pace.map_or(STEP_MICROS, |pace| ((1_000_000.0 / pace) as i64).max(1));
    let span_ms = if pace.is_some() { 0 } else { count.unwrap_or(0).cast_signed() * step_micros / 1_000 };
    let start_ms = match (args.start, args.preset, pace) {
        (Some(start_ms), _, _) => start_ms,
        (None, Preset::Frames, None) => frames::START_MS,
        (None, _, _) => now_ms() - span_ms,
    };
    Times::Steps { start_ms, step_micros }
}
